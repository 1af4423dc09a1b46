//! What brokers do otherwise than MQTT or their users expect.

/// What a broker does otherwise than MQTT or its users expect. Where one of them is named at a
/// broker, a scenario holds what it does instead, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It delivers at the QoS of the subscription, whatever that of the message is (MQTT 5 §3.8.4
    /// has the lower one).
    QosOfSubscription,
    /// It loses messages that it was about to deliver when a connection was cut, at every QoS
    /// [MQTT-4.4.0-1], or sends a PUBLISH again after its PUBREL [MQTT-4.3.3-1]: through cuts all
    /// is acknowledged for who publishes, and that is all.
    LosesDeliveries,
    /// What was on its way when a connection was cut comes a second later, behind what came after
    /// it [MQTT-4.4.0-1]
    /// [MQTT-4.6.0-6]: all of it arrives, in whatever order.
    ResendsLater,
    /// It forgets QoS 2 flows with the connection although it keeps the session, and hangs up on
    /// the PUBREL of such a one, or leaves it without an answer [MQTT-4.3.3-2]: cuts are survived
    /// at QoS 1 only.
    ForgetsQos2Flows,
    /// It keeps a session of those only that have subscribed: a publisher's is lost with its
    /// connection.
    NoSessionOfPublishers,
    /// It has one topic alias for all topics that match a filter, so that all seem to come to the
    /// first of them (MQTT 5 §3.3.2.3.4).
    OneAliasForAFilter,
    /// It does not look at No Local [MQTT-3.8.3-3], Retain As Published [MQTT-3.3.1-13] and Retain
    /// Handling [MQTT-3.3.1-11].
    IgnoresOptions,
    /// A filter with wildcards gets no retained messages [MQTT-3.3.1-6].
    NoRetainedForWildcards,
    /// It leaves a CONNECT of a version that it does not know without an answer, and the connection
    /// open.
    SilentToOtherVersions,
    /// It has QoS 1 at most, and answers a PUBLISH of QoS 2 with PUBACK [MQTT-3.3.4-1].
    NoQos2,
    /// It retains and clears a message some time after it has acknowledged it: a subscription may
    /// get what was there before.
    RetainsLater,
}

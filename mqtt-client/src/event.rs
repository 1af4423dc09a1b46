//! What the client reports of itself.

use martlet_proto::{QoS, SubAckReasonCode, TopicFilter, TopicName, Utf8String};
use martlet_session::{
    Connected, ConnectionError, Details, OperationId, PublishError, PublishOutcome, Quarantined,
    RejectedMessage, RequestError, StoreError,
};
use martlet_transport::Endpoint;
use std::sync::Arc;
use std::time::Duration;

/// What happens to the client as a whole.
///
/// ```
/// # use martlet_client::{Client, ClientEvent};
/// # async fn example(client: Client) {
/// let mut events = client.events();
/// while let Some(event) = events.next().await {
///     match event {
///         ClientEvent::InboundDropped(messages) => println!("{messages} messages were not read in time"),
///         event => println!("{event}"),
///     }
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// An attempt to connect begins.
    Connecting(Endpoint),
    /// The server has accepted the connection.
    Connected(Arc<Connected>),
    /// The client has disconnected, as [`disconnect`](crate::Client::disconnect) asked, or as it
    /// does when its last handle or its driver is dropped. It is no error, and no attempt follows.
    Closed,
    /// An attempt or a connection has ended.
    Disconnected {
        /// The reason.
        reason: ConnectionError,
        /// When the next attempt begins; `None`: there will be none.
        retry_in: Option<Duration>,
    },
    /// The server, or the network, has ended one connection after the other when the server got
    /// this message of QoS 1 or 2, with nothing else in flight.
    /// [`Config::when_server_hangs_up`](martlet_session::Config::when_server_hangs_up) decides what
    /// becomes of it.
    ServerHangsUp {
        /// Which: see [`Receipt::operation`](crate::Receipt::operation).
        operation: OperationId,
        /// How many connections in a row have ended so, at most 255.
        connections: u32,
        /// Whether it was given up, as [`PublishError::ServerHungUp`]. Otherwise it is sent again,
        /// until it is given up or [withdrawn](crate::Client::withdraw).
        given_up: bool,
    },
    /// The attempt or connection that has just ended did so by an error that does not go away by
    /// itself, such as rejected credentials, and the client tries on: an operator should look at
    /// it. It comes with each such attempt after the client's first connection (see
    /// [`Reaction::RetrySlowly`](crate::reconnect::Reaction::RetrySlowly)), and from the third
    /// connection in a row on that ends by a [protocol
    /// error](crate::reconnect::ErrorClass::Protocol).
    ErrorPersists {
        /// Whose error it is.
        endpoint: Endpoint,
        /// What is wrong.
        error: ConnectionError,
        /// How many times in a row it was seen.
        times: u32,
    },
    /// The server has answered what the [builder](crate::Builder::subscriptions) subscribed to: a
    /// code for each filter. Or there was no answer. After [`RequestError::Timeout`],
    /// [`ConnectionsLost`](RequestError::ConnectionsLost) and
    /// [`TooMany`](RequestError::TooMany) it is asked for again after a pause, of a minute at
    /// first and an hour at most; except after `ConnectionsLost`, also on the next connection. What
    /// cannot be asked of this server ([`NotSupported`](RequestError::NotSupported),
    /// [`PacketTooLarge`](RequestError::PacketTooLarge)), or has a code that says so of the server (0x9E, 0xA2),
    /// is asked for on the next connection.
    Subscribed(Result<Vec<(TopicFilter, SubAckReasonCode)>, RequestError>),
    /// Subscriptions were made again because the server had lost the session. What was rejected is
    /// no longer subscribed to.
    Resubscribed(Vec<(TopicFilter, SubAckReasonCode)>),
    /// A subscribe or unsubscribe of one filter has failed and is not sent again: connections were
    /// lost before the answer, or the answers did not fit. It is emitted where no future returns
    /// the error: for subscriptions that were made again, whose streams lose the filter, for one
    /// filter among several, and for streams that were dropped.
    RequestFailed {
        /// The filter.
        filter: TopicFilter,
        /// The reason.
        error: RequestError,
    },
    /// This many messages were dropped because too many waited to be taken: of QoS 0, or of a
    /// stream that acknowledges on arrival. [`Subscription::dropped`](crate::Subscription::dropped)
    /// counts those of each stream.
    InboundDropped(u64),
    /// Messages were acknowledged and dropped although the application had not taken them: they
    /// matched no subscription, and the stream of unmatched messages was not taken in time; or
    /// their stream was dropped.
    Discarded {
        /// How many.
        messages: u64,
        /// The topic of the last of them.
        topic: TopicName,
        /// Its QoS.
        qos: QoS,
    },
    /// A message of QoS 1 or 2 that was not acknowledged has held back the acknowledgements of
    /// later ones for longer than
    /// [`Config::held_acknowledgements_after`](martlet_session::Config::held_acknowledgements_after);
    /// reported again each such time. When it holds back as many as the server may have
    /// unacknowledged, no more messages of QoS 1 and 2 come, for any stream.
    AcknowledgementsHeld {
        /// Its topic.
        topic: TopicName,
        /// Whether the application has received it from its stream. If not, it waits in its stream.
        received: bool,
        /// How many acknowledgements wait for it.
        held: usize,
    },
    /// The server has more messages of QoS 1 and 2 unacknowledged than this connection's Receive
    /// Maximum allows. They are taken within the hard bounds of
    /// [`InboundLimits`](martlet_session::InboundLimits), whose
    /// [`excess`](martlet_session::InboundLimits::excess) says otherwise; reported once for a
    /// connection.
    ReceiveMaximumExceeded {
        /// What the CONNECT allowed.
        receive_maximum: u16,
    },
    /// A message above
    /// [`Config::maximum_packet_size`](martlet_session::Config::maximum_packet_size) was not taken:
    /// its bytes were skipped, and at QoS 1 and 2 it was acknowledged. Where the server can know
    /// the maximum, in MQTT 5, the connection ends instead;
    /// [`Config::oversized`](martlet_session::Config::oversized) does that in 3.x too.
    MessageSkipped {
        /// Its topic.
        topic: TopicName,
        /// The size of its packet, in bytes.
        size: u32,
        /// Its quality of service.
        qos: QoS,
    },
    /// A message that cannot be taken has ended the connection, as others ended those before it:
    /// the third in a row and all that follow are named. It is likely a retained message, or one
    /// that the server sends again.
    MessageRejected(Box<RejectedMessage>),
    /// The observer has panicked: it was dropped, and the connection goes on without it.
    ObserverPanicked,
    /// Code of the application that the driver awaits has panicked: the attempt, or the connection
    /// that it was for, failed. It is called again for the next.
    HookPanicked(Callback),
    /// Files of the client's [`Trust`](crate::Trust) have changed; attempts from now on use what is
    /// in them.
    #[cfg(feature = "tls")]
    TrustReloaded,
    /// Files of the client's [`Trust`](crate::Trust) have changed, but what is in them cannot be
    /// used. What was in use before stays so; they are read again for the next attempt.
    #[cfg(feature = "tls")]
    TrustNotReloaded(martlet_transport::TrustError),
    /// A message whose receipt was dropped was not acknowledged.
    PublishFailed(PublishError),
    /// The content of the store; reported once, before anything else.
    Restored {
        /// Messages of earlier clients that are still to be acknowledged.
        unacknowledged: Vec<OperationId>,
        /// Records that cannot be used; they stay in the store, and are reported again the next
        /// time.
        quarantined: Vec<Quarantined>,
    },
    /// A message of an earlier client is completed.
    Published {
        /// Which, of those that were [`Restored`](Self::Restored).
        operation: OperationId,
        /// The result.
        result: Result<PublishOutcome, PublishError>,
    },
    /// The store could not take what is to be stored. It is tried again, with pauses of up to 10 s.
    StoreFailed(StoreError),
    /// The store has taken what it could not.
    StoreRecovered,
    /// This reader has missed this many events, the oldest, because it fell behind.
    Missed(u64),
}

impl ClientEvent {
    /// An attempt or a connection has ended like this.
    pub(crate) fn ended(reason: ConnectionError, retry_in: Option<Duration>) -> Self {
        match reason {
            ConnectionError::ClosedHere => Self::Closed,
            reason => Self::Disconnected { reason, retry_in },
        }
    }

    /// Whether it is about one message: there may be as many of these as there are messages.
    pub(crate) fn is_about_a_message(&self) -> bool {
        matches!(
            self,
            Self::PublishFailed(_)
                | Self::Published { .. }
                | Self::AcknowledgementsHeld { .. }
                | Self::MessageSkipped { .. }
        )
    }
}

impl ClientEvent {
    /// How many bytes it holds on to whose number is not fixed. A clone shares most of them.
    pub(crate) fn size(&self) -> usize {
        let codes = |codes: &[(TopicFilter, SubAckReasonCode)]| {
            codes
                .iter()
                .map(|(filter, _)| size_of_val(filter) + filter.as_bytes().len())
                .sum()
        };
        match self {
            Self::Connected(connected) => {
                let p = &connected.connack.properties;
                p.user_properties.size()
                    + size_of_texts(&[
                        &p.reason_string,
                        &p.server_reference,
                        &p.response_information,
                    ])
            }
            Self::Disconnected { reason: error, .. } | Self::ErrorPersists { error, .. } => {
                size_of_error(error)
            }
            Self::Subscribed(Ok(reasons)) | Self::Resubscribed(reasons) => codes(reasons),
            Self::Subscribed(Err(error)) => size_of_request_error(error),
            Self::RequestFailed { filter, error } => {
                filter.as_bytes().len() + size_of_request_error(error)
            }
            Self::PublishFailed(error)
            | Self::Published {
                result: Err(error), ..
            } => size_of_publish_error(error),
            Self::Published {
                result: Ok(PublishOutcome { details, .. }),
                ..
            } => size_of_details(details),
            Self::AcknowledgementsHeld { topic, .. } | Self::MessageSkipped { topic, .. } => {
                topic.as_bytes().len()
            }
            Self::MessageRejected(message) => {
                size_of_val(&**message) + message.topic.as_ref().map_or(0, Utf8String::len)
            }
            Self::Restored {
                unacknowledged,
                quarantined,
            } => size_of_val(&**unacknowledged) + size_of_val(&**quarantined),
            _ => 0,
        }
    }
}

fn size_of_texts(texts: &[&Option<Utf8String>]) -> usize {
    let sizes = texts
        .iter()
        .map(|text| text.as_ref().map_or(0, Utf8String::len));
    sizes.sum()
}

fn size_of_details(details: &Option<Box<Details>>) -> usize {
    details.as_ref().map_or(0, |details| details.size())
}

fn size_of_error(error: &ConnectionError) -> usize {
    match error {
        ConnectionError::Rejected(rejection) => {
            rejection.user_properties.size()
                + size_of_texts(&[&rejection.reason_string, &rejection.server_reference])
        }
        ConnectionError::DisconnectedByPeer(disconnect) => {
            disconnect.user_properties.size()
                + size_of_texts(&[&disconnect.reason_string, &disconnect.server_reference])
        }
        _ => 0,
    }
}

fn size_of_request_error(error: &RequestError) -> usize {
    match error {
        RequestError::Closed(error) => size_of_error(error),
        RequestError::InvalidAnswer(answer) => answer.bytes().len(),
        _ => 0,
    }
}

fn size_of_publish_error(error: &PublishError) -> usize {
    match error {
        PublishError::Rejected { details, .. } => size_of_details(details),
        PublishError::Closed(error) | PublishError::OnHold(error) => size_of_error(error),
        _ => 0,
    }
}

/// Code of the application that the driver awaits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Callback {
    /// The hook of [`Builder::before_connect`](crate::Builder::before_connect).
    BeforeConnect,
    /// The [`Authenticator`](crate::hooks::Authenticator).
    Authenticator,
    /// The recorder of metrics that the process has installed. Unlike the others it is not called
    /// again.
    #[cfg(feature = "metrics")]
    Metrics,
}

impl std::fmt::Display for Callback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BeforeConnect => "the hook before the connection",
            Self::Authenticator => "the authenticator",
            #[cfg(feature = "metrics")]
            Self::Metrics => "the recorder of metrics",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_proto::DisconnectReasonCode;
    use martlet_session::ServerDisconnect;

    /// What is counted bounds the events that wait to be read: counted too small, a hostile server
    /// makes them large.
    #[test]
    fn all_that_an_event_holds_is_counted() {
        let filter = |text: &str| TopicFilter::new(text).expect("a filter");
        let granted = |text| (filter(text), SubAckReasonCode::GrantedQos0);
        let one = ClientEvent::Resubscribed(vec![granted("a/b/c")]).size();
        assert_eq!(one, size_of::<TopicFilter>() + 5);
        let two = ClientEvent::Subscribed(Ok(vec![granted("a/b/c"), granted("defg")])).size();
        assert_eq!(two, one + size_of::<TopicFilter>() + 4);

        let text = |len: usize| Utf8String::new("x".repeat(len)).ok();
        assert_eq!(size_of_texts(&[&text(3), &None, &text(5)]), 8);
        let mut disconnect = ServerDisconnect::new(DisconnectReasonCode::ServerBusy);
        disconnect.reason_string = text(11);
        disconnect.server_reference = text(20);
        disconnect.user_properties = [("key", "value")].try_into().expect("short");
        let properties = disconnect.user_properties.size();
        assert!(properties >= 8);
        let error = ConnectionError::DisconnectedByPeer(Box::new(disconnect));
        let ended = ClientEvent::Disconnected {
            reason: error.clone(),
            retry_in: None,
        };
        assert_eq!(ended.size(), properties + 31);
        let failed = ClientEvent::RequestFailed {
            filter: filter("1234567"),
            error: RequestError::Closed(error),
        };
        assert_eq!(failed.size(), 7 + properties + 31);
        let skipped = ClientEvent::MessageSkipped {
            topic: TopicName::new("12/45").expect("a name"),
            size: 9_000,
            qos: QoS::AtMostOnce,
        };
        assert_eq!(skipped.size(), 5);
    }
}

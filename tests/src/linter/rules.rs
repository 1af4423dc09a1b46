//! The rules, and the statements of MQTT that they come from.

use martlet_proto::Version;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident: $v3:literal, $v5:literal;)+) => {
        /// A rule that a finding names. Each is a statement of MQTT, or, where MQTT numbers none, a
        /// section of it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Rule {
            $($(#[$doc])* $name,)+
        }

        impl Rule {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The statement in MQTT 3.1.1 (3.1 numbers none) and in MQTT 5; empty where that
            /// version has no such rule.
            pub(crate) const fn statements(self) -> [&'static str; 2] {
                match self {
                    $(Self::$name => [$v3, $v5],)+
                }
            }
        }
    };
}

impl Rule {
    /// The statement, or the section, in this version.
    pub(crate) const fn statement(self, version: Version) -> &'static str {
        let [v3, v5] = self.statements();
        if matches!(version, Version::V5) {
            v5
        } else {
            v3
        }
    }
}

rules! {
    // ---- framing
    /// Packet types and reserved flags have their values.
    FirstByte: "MQTT-2.2.2-1", "MQTT-2.1.3-1";
    /// A client sends no packets that only a server sends.
    Direction: "§2.2.1", "§2.1.2";
    /// A length takes as few bytes as it can, four at most.
    Length: "§2.2.3", "MQTT-1.5.5-1";
    /// Fields end where the packet ends.
    Layout: "§2.2.3", "§2.1.4";
    /// Strings are UTF-8.
    Utf8: "MQTT-1.5.3-1", "MQTT-1.5.4-1";
    /// Strings hold no U+0000.
    Null: "MQTT-1.5.3-2", "MQTT-1.5.4-2";
    /// Packet identifiers are not zero.
    IdentifierZero: "MQTT-2.3.1-1", "MQTT-2.2.1-3";

    // ---- properties
    /// A property stands only where it is allowed.
    PropertyPlace: "", "§2.2.2.2";
    /// A property stands once, but for user properties.
    PropertyTwice: "", "§2.2.2.2";
    /// A property has a value that it may have.
    PropertyValue: "", "§2.2.2.2";
    /// A client's PUBLISH has no subscription identifier.
    SubscriptionIdentifierSent: "", "MQTT-3.3.4-6";
    /// A response topic has no wildcards.
    ResponseTopic: "", "MQTT-3.3.2-14";
    /// A topic alias is not zero.
    AliasZero: "", "MQTT-3.3.2-8";

    // ---- reason codes
    /// Of PUBACK.
    PubAckReason: "", "MQTT-3.4.2-1";
    /// Of PUBREC.
    PubRecReason: "", "MQTT-3.5.2-1";
    /// Of PUBREL.
    PubRelReason: "", "MQTT-3.6.2-1";
    /// Of PUBCOMP.
    PubCompReason: "", "MQTT-3.7.2-1";
    /// Of DISCONNECT.
    DisconnectReason: "", "MQTT-3.14.2-1";
    /// Of AUTH.
    AuthReason: "", "MQTT-3.15.2-1";

    // ---- CONNECT
    /// It comes first.
    ConnectFirst: "MQTT-3.1.0-1", "MQTT-3.1.0-1";
    /// It comes once.
    ConnectOnce: "MQTT-3.1.0-2", "MQTT-3.1.0-2";
    /// It names the protocol and its level.
    Protocol: "§3.1.2.1", "§3.1.2.1";
    /// Its reserved flag is 0.
    ConnectFlags: "§3.1.2.3", "§3.1.2.3";
    /// A will's QoS is not 3.
    WillQos: "MQTT-3.1.2-14", "MQTT-3.1.2-12";
    /// Without a will its flags are 0.
    WillAbsent: "MQTT-3.1.2-11", "MQTT-3.1.2-11";
    /// No password without a user name.
    PasswordAlone: "MQTT-3.1.2-22", "";
    /// Without a client identifier a session is clean; in 3.1 there is always one, of 1 to 23
    /// characters.
    ClientIdentifier: "MQTT-3.1.3-7", "";

    // ---- the connection
    /// Before CONNACK a client that authenticates sends AUTH and DISCONNECT only; ours keeps to
    /// that always.
    BeforeConnAck: "§3.1.4", "MQTT-3.1.2-30";
    /// A connection that was rejected is over.
    AfterRefusal: "§3.2.2.3", "MQTT-4.13.2-1";
    /// Nothing follows a DISCONNECT.
    AfterDisconnect: "MQTT-3.14.4-2", "MQTT-3.14.4-1";
    /// A session that was to end with its connection is not made to last by the DISCONNECT.
    ExpiryInDisconnect: "", "§3.14.2.2.2";
    /// Not more than the keep alive passes without a packet.
    KeepAlive: "MQTT-3.1.2-23", "MQTT-3.1.2-20";
    /// No AUTH without an authentication method in CONNECT.
    AuthUnasked: "", "MQTT-4.12.0-7";
    /// AUTH repeats the method of CONNECT.
    AuthMethod: "", "MQTT-4.12.1-1";
    /// An AUTH that answers one says *continue*.
    AuthContinue: "", "MQTT-4.12.0-3";

    // ---- what the server allows
    /// Receive Maximum.
    ReceiveMaximum: "", "MQTT-3.3.4-7";
    /// Maximum Packet Size.
    PacketSize: "", "MQTT-3.2.2-15";
    /// Maximum QoS.
    MaximumQos: "", "MQTT-3.2.2-11";
    /// Retain Available.
    Retain: "", "MQTT-3.2.2-14";
    /// Topic Alias Maximum.
    AliasMaximum: "", "MQTT-3.2.2-17";
    /// Wildcard Subscription Available.
    WildcardSubscription: "", "§3.2.2.3.11";
    /// Subscription Identifiers Available.
    SubscriptionIdentifier: "", "§3.2.2.3.12";
    /// Shared Subscription Available.
    SharedSubscription: "", "§3.2.2.3.13";
    /// What the client was configured to have in flight at most: its own rule, which MQTT lets it
    /// have.
    Window: "§4.4", "§4.9";

    // ---- PUBLISH
    /// QoS 3 is none.
    Qos: "MQTT-3.3.1-4", "MQTT-3.3.1-4";
    /// No DUP at QoS 0.
    DupQos0: "MQTT-3.3.1-2", "MQTT-3.3.1-2";
    /// DUP on what is sent again.
    DupMissing: "MQTT-3.3.1-1", "MQTT-3.3.1-1";
    /// No DUP on what is sent for the first time.
    DupClaimed: "MQTT-4.3.2-1", "MQTT-4.3.2-2";
    /// A topic name has a character, or in MQTT 5 an alias.
    TopicEmpty: "MQTT-4.7.3-1", "MQTT-4.7.3-1";
    /// A topic name has no wildcards.
    TopicWildcard: "MQTT-3.3.2-2", "MQTT-3.3.2-2";
    /// An alias means what was said on this connection.
    AliasUnknown: "", "MQTT-3.3.2-7";
    /// What is new takes an identifier that is not in use.
    IdentifierInUse: "MQTT-2.3.1-2", "MQTT-2.2.1-3";
    /// Sent again only on another connection.
    SentTwice: "MQTT-4.4.0-1", "MQTT-4.4.0-1";
    /// Not sent again after its PUBREL.
    PublishReleased: "MQTT-4.3.3-1", "MQTT-4.3.3-6";
    /// Sent again in the order of the first time.
    ResendOrder: "MQTT-4.6.0-1", "MQTT-4.6.0-1";

    // ---- acknowledgements
    /// PUBREL follows PUBREC.
    PubRelUnasked: "MQTT-4.3.3-1", "MQTT-4.3.3-4";
    /// PUBRELs leave in the order of the PUBRECs.
    PubRelOrder: "MQTT-4.6.0-4", "MQTT-4.6.0-4";
    /// An acknowledgement repeats the identifier of a PUBLISH.
    AckUnasked: "MQTT-2.3.1-6", "MQTT-2.2.1-5";
    /// PUBACK answers QoS 1, and PUBREC QoS 2.
    AckKind: "MQTT-3.3.4-1", "MQTT-3.3.4-1";
    /// PUBACKs leave in the order of the PUBLISHes.
    PubAckOrder: "MQTT-4.6.0-2", "MQTT-4.6.0-2";
    /// PUBRECs likewise.
    PubRecOrder: "MQTT-4.6.0-3", "MQTT-4.6.0-3";
    /// PUBCOMP answers PUBREL.
    PubCompUnasked: "MQTT-4.3.3-2", "MQTT-4.3.3-11";

    // ---- SUBSCRIBE and UNSUBSCRIBE
    /// A SUBSCRIBE has a filter.
    SubscribeEmpty: "MQTT-3.8.3-3", "MQTT-3.8.3-2";
    /// An UNSUBSCRIBE likewise.
    UnsubscribeEmpty: "MQTT-3.10.3-2", "MQTT-3.10.3-2";
    /// The options of a subscription have no reserved bits and values.
    SubscribeOptions: "MQTT-3-8.3-4", "MQTT-3.8.3-5";
    /// No Local is not for shared subscriptions.
    NoLocalShared: "", "MQTT-3.8.3-4";
    /// A filter has a character.
    FilterEmpty: "MQTT-4.7.3-1", "MQTT-4.7.3-1";
    /// `#` is the last level and a whole one.
    FilterHash: "MQTT-4.7.1-2", "MQTT-4.7.1-1";
    /// `+` is a whole level.
    FilterPlus: "MQTT-4.7.1-3", "MQTT-4.7.1-2";
    /// A share has a name without wildcards, and a filter.
    ShareName: "", "MQTT-4.8.2-2";

    // ---- faults of the server, reported apart from those of the client
    /// Of the flags of CONNACK, only *session present* is there.
    ConnAckFlags: "§3.2.2.1", "MQTT-3.2.2-1";
    /// Of CONNACK.
    ConnAckReason: "§3.2.2.3", "MQTT-3.2.2-8";
    /// Of SUBACK.
    SubAckReason: "MQTT-3.9.3-2", "MQTT-3.9.3-2";
    /// Of UNSUBACK.
    UnsubAckReason: "", "MQTT-3.11.3-2";
    /// The server keeps to our Receive Maximum.
    ServerReceiveMaximum: "", "MQTT-3.3.4-9";
    /// The server keeps to our Maximum Packet Size.
    ServerPacketSize: "", "MQTT-3.1.2-24";
    /// The server keeps to our Topic Alias Maximum.
    ServerAlias: "", "MQTT-3.1.2-26";
}

impl Rule {
    /// Whether it binds the server.
    pub const fn is_servers(self) -> bool {
        matches!(
            self,
            Self::ConnAckFlags
                | Self::ConnAckReason
                | Self::SubAckReason
                | Self::UnsubAckReason
                | Self::ServerReceiveMaximum
                | Self::ServerPacketSize
                | Self::ServerAlias
        )
    }
}

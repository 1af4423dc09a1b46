//! Reason codes, one type for each packet that carries them (MQTT 5 §2.4): a code that a packet
//! cannot carry has no value there.

use crate::ground::version::QoS;

macro_rules! reason_codes {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $value:literal, $text:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = concat!("`", stringify!($value), "`: ", $text, ".")] $variant = $value,)+
        }

        impl $name {
            /// All codes, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code of this number; `None` when this packet cannot carry it.
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The number on the wire.
            pub const fn as_u8(self) -> u8 {
                self as u8
            }

            /// Whether it is a failure: 0x80 and above.
            pub const fn is_error(self) -> bool {
                self as u8 >= 0x80
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                let text = match self {
                    $(Self::$variant => $text,)+
                };
                write!(f, "{text} (0x{:02X})", self.as_u8())
            }
        }
    };
}

reason_codes! {
    /// The reason codes of a CONNACK (MQTT 5 §3.2.2.2). The return codes of 3.1 and 3.1.1 are spelt
    /// by the code of MQTT 5 that means the same.
    ConnectReasonCode {
        Success = 0x00, "success";
        UnspecifiedError = 0x80, "unspecified error";
        MalformedPacket = 0x81, "malformed packet";
        ProtocolError = 0x82, "protocol error";
        ImplementationSpecificError = 0x83, "implementation specific error";
        UnsupportedProtocolVersion = 0x84, "unsupported protocol version";
        ClientIdentifierNotValid = 0x85, "client identifier not valid";
        BadUserNameOrPassword = 0x86, "bad user name or password";
        NotAuthorized = 0x87, "not authorized";
        ServerUnavailable = 0x88, "server unavailable";
        ServerBusy = 0x89, "server busy";
        Banned = 0x8A, "banned";
        BadAuthenticationMethod = 0x8C, "bad authentication method";
        TopicNameInvalid = 0x90, "topic name invalid";
        PacketTooLarge = 0x95, "packet too large";
        QuotaExceeded = 0x97, "quota exceeded";
        PayloadFormatInvalid = 0x99, "payload format invalid";
        RetainNotSupported = 0x9A, "retain not supported";
        QosNotSupported = 0x9B, "QoS not supported";
        UseAnotherServer = 0x9C, "use another server";
        ServerMoved = 0x9D, "server moved";
        ConnectionRateExceeded = 0x9F, "connection rate exceeded";
    }
}

impl ConnectReasonCode {
    /// The code of a return code of MQTT 3.1 and 3.1.1 (3.1.1 §3.2.2.3).
    pub const fn from_return_code(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Success,
            1 => Self::UnsupportedProtocolVersion,
            2 => Self::ClientIdentifierNotValid,
            3 => Self::ServerUnavailable,
            4 => Self::BadUserNameOrPassword,
            5 => Self::NotAuthorized,
            _ => return None,
        })
    }

    /// The return code of MQTT 3.1 and 3.1.1 that means this, where there is one.
    pub const fn return_code(self) -> Option<u8> {
        Some(match self {
            Self::Success => 0,
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::ServerUnavailable => 3,
            Self::BadUserNameOrPassword => 4,
            Self::NotAuthorized => 5,
            _ => return None,
        })
    }
}

reason_codes! {
    /// What a PUBACK and a PUBREC say (MQTT 5 §3.4.2.1, §3.5.2.1). 3.x knows success only.
    PubAckReasonCode {
        Success = 0x00, "success";
        NoMatchingSubscribers = 0x10, "no matching subscribers";
        UnspecifiedError = 0x80, "unspecified error";
        ImplementationSpecificError = 0x83, "implementation specific error";
        NotAuthorized = 0x87, "not authorized";
        TopicNameInvalid = 0x90, "topic name invalid";
        PacketIdentifierInUse = 0x91, "packet identifier in use";
        QuotaExceeded = 0x97, "quota exceeded";
        PayloadFormatInvalid = 0x99, "payload format invalid";
    }
}

reason_codes! {
    /// What a PUBREL and a PUBCOMP say (MQTT 5 §3.6.2.1, §3.7.2.1).
    PubRelReasonCode {
        Success = 0x00, "success";
        PacketIdentifierNotFound = 0x92, "packet identifier not found";
    }
}

reason_codes! {
    /// The reason codes of a SUBACK, for one topic filter each (MQTT 5 §3.9.3). 3.1.1 has the
    /// three QoS and 0x80; 3.1 the QoS only.
    SubAckReasonCode {
        GrantedQos0 = 0x00, "granted QoS 0";
        GrantedQos1 = 0x01, "granted QoS 1";
        GrantedQos2 = 0x02, "granted QoS 2";
        UnspecifiedError = 0x80, "unspecified error";
        ImplementationSpecificError = 0x83, "implementation specific error";
        NotAuthorized = 0x87, "not authorized";
        TopicFilterInvalid = 0x8F, "topic filter invalid";
        PacketIdentifierInUse = 0x91, "packet identifier in use";
        QuotaExceeded = 0x97, "quota exceeded";
        SharedSubscriptionsNotSupported = 0x9E, "shared subscriptions not supported";
        SubscriptionIdentifiersNotSupported = 0xA1, "subscription identifiers not supported";
        WildcardSubscriptionsNotSupported = 0xA2, "wildcard subscriptions not supported";
    }
}

impl SubAckReasonCode {
    /// The code that grants this quality of service.
    pub const fn granted(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::GrantedQos0,
            QoS::AtLeastOnce => Self::GrantedQos1,
            QoS::ExactlyOnce => Self::GrantedQos2,
        }
    }
}

reason_codes! {
    /// The reason codes of an UNSUBACK, for one topic filter each (MQTT 5 §3.11.3). 3.x has none.
    UnsubAckReasonCode {
        Success = 0x00, "success";
        NoSubscriptionExisted = 0x11, "no subscription existed";
        UnspecifiedError = 0x80, "unspecified error";
        ImplementationSpecificError = 0x83, "implementation specific error";
        NotAuthorized = 0x87, "not authorized";
        TopicFilterInvalid = 0x8F, "topic filter invalid";
        PacketIdentifierInUse = 0x91, "packet identifier in use";
    }
}

reason_codes! {
    /// The reason codes of a DISCONNECT (MQTT 5 §3.14.2.1). 3.x knows a normal disconnection only.
    DisconnectReasonCode {
        NormalDisconnection = 0x00, "normal disconnection";
        DisconnectWithWillMessage = 0x04, "disconnect with will message";
        UnspecifiedError = 0x80, "unspecified error";
        MalformedPacket = 0x81, "malformed packet";
        ProtocolError = 0x82, "protocol error";
        ImplementationSpecificError = 0x83, "implementation specific error";
        NotAuthorized = 0x87, "not authorized";
        ServerBusy = 0x89, "server busy";
        ServerShuttingDown = 0x8B, "server shutting down";
        BadAuthenticationMethod = 0x8C, "bad authentication method";
        KeepAliveTimeout = 0x8D, "keep alive timeout";
        SessionTakenOver = 0x8E, "session taken over";
        TopicFilterInvalid = 0x8F, "topic filter invalid";
        TopicNameInvalid = 0x90, "topic name invalid";
        ReceiveMaximumExceeded = 0x93, "receive maximum exceeded";
        TopicAliasInvalid = 0x94, "topic alias invalid";
        PacketTooLarge = 0x95, "packet too large";
        MessageRateTooHigh = 0x96, "message rate too high";
        QuotaExceeded = 0x97, "quota exceeded";
        AdministrativeAction = 0x98, "administrative action";
        PayloadFormatInvalid = 0x99, "payload format invalid";
        RetainNotSupported = 0x9A, "retain not supported";
        QosNotSupported = 0x9B, "QoS not supported";
        UseAnotherServer = 0x9C, "use another server";
        ServerMoved = 0x9D, "server moved";
        SharedSubscriptionsNotSupported = 0x9E, "shared subscriptions not supported";
        ConnectionRateExceeded = 0x9F, "connection rate exceeded";
        MaximumConnectTime = 0xA0, "maximum connect time";
        SubscriptionIdentifiersNotSupported = 0xA1, "subscription identifiers not supported";
        WildcardSubscriptionsNotSupported = 0xA2, "wildcard subscriptions not supported";
    }
}

reason_codes! {
    /// The reason codes of an AUTH (MQTT 5 §3.15.2.1).
    AuthReasonCode {
        Success = 0x00, "success";
        ContinueAuthentication = 0x18, "continue authentication";
        ReAuthenticate = 0x19, "re-authenticate";
    }
}

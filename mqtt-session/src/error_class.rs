//! What kind of failure an error is: who reconnects has a reaction to each.

use crate::{ConnectionError, Instead, Misbehaviour};
use martlet_proto::{ConnectReasonCode, DisconnectReasonCode};

/// What kind of failure ended an attempt or a connection: what to do about it, such as whether to
/// try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// It may pass by itself: the network fails, a name has no address, the server is away, busy or
    /// full.
    Transient,
    /// It stays until somebody changes something, here or at the server: rejected credentials, a
    /// certificate that is not trusted, a path that does not exist, a version that the server does
    /// not speak.
    Permanent,
    /// One side sent what the other cannot read or may not accept: a malformed packet, a protocol
    /// error. It comes again when its cause does, such as a retained message.
    Protocol,
    /// Another client has connected with our client identifier (MQTT 5, reason code 0x8E).
    TakenOver,
    /// The application's own code gave up for good:
    /// [`GivenUp::for_good`](crate::GivenUp::for_good).
    Application,
}

impl ErrorClass {
    /// How many there are.
    #[doc(hidden)]
    pub const COUNT: usize = 5;

    /// The class of an error.
    pub fn of(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::Transport(error) if error.is_permanent() => Self::Permanent,
            ConnectionError::CannotConnect { .. } | ConnectionError::Configuration(_) => {
                Self::Permanent
            }
            ConnectionError::NoConnAck {
                instead: Instead::Unreadable(_),
                ..
            } => Self::Permanent,
            ConnectionError::Rejected(rejection) if may_pass(rejection.reason) => Self::Transient,
            ConnectionError::Rejected(_) => Self::Permanent,
            ConnectionError::DisconnectedByPeer(disconnect) => {
                Self::of_disconnect(disconnect.reason)
            }
            // All of them are sent again: that the server was ahead of us says nothing about any
            // one.
            ConnectionError::PeerMisbehaved(Misbehaviour::ReceiveMaximumExceeded) => {
                Self::Transient
            }
            ConnectionError::Malformed(_) | ConnectionError::PeerMisbehaved(_) => Self::Protocol,
            ConnectionError::GivenUp(why) if why.is_final() => Self::Application,
            _ => Self::Transient,
        }
    }

    fn of_disconnect(reason: DisconnectReasonCode) -> Self {
        use DisconnectReasonCode as Code;
        match reason {
            Code::SessionTakenOver => Self::TakenOver,
            Code::NotAuthorized
            | Code::BadAuthenticationMethod
            | Code::UseAnotherServer
            | Code::ServerMoved => Self::Permanent,
            Code::MalformedPacket
            | Code::ProtocolError
            | Code::TopicFilterInvalid
            | Code::TopicNameInvalid
            | Code::ReceiveMaximumExceeded
            | Code::TopicAliasInvalid
            | Code::PacketTooLarge
            | Code::PayloadFormatInvalid
            | Code::RetainNotSupported
            | Code::QosNotSupported
            | Code::SharedSubscriptionsNotSupported
            | Code::SubscriptionIdentifiersNotSupported
            | Code::WildcardSubscriptionsNotSupported => Self::Protocol,
            _ => Self::Transient,
        }
    }
}

fn may_pass(reason: ConnectReasonCode) -> bool {
    matches!(
        reason,
        ConnectReasonCode::ServerUnavailable
            | ConnectReasonCode::ServerBusy
            | ConnectReasonCode::QuotaExceeded
            | ConnectReasonCode::ConnectionRateExceeded
            | ConnectReasonCode::UnspecifiedError
            | ConnectReasonCode::ImplementationSpecificError
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GivenUp, Rejection, ServerDisconnect, TransportError, TransportErrorKind};
    use alloc::boxed::Box;

    #[test]
    fn every_layer_has_errors_that_stay_and_errors_that_pass() {
        let rejected =
            |reason| ErrorClass::of(&ConnectionError::Rejected(Box::new(Rejection::new(reason))));
        let disconnected = |reason| {
            ErrorClass::of(&ConnectionError::DisconnectedByPeer(Box::new(
                ServerDisconnect::new(reason),
            )))
        };
        assert_eq!(
            rejected(ConnectReasonCode::BadUserNameOrPassword),
            ErrorClass::Permanent
        );
        assert_eq!(rejected(ConnectReasonCode::Banned), ErrorClass::Permanent);
        assert_eq!(
            rejected(ConnectReasonCode::ServerUnavailable),
            ErrorClass::Transient
        );
        assert_eq!(
            disconnected(DisconnectReasonCode::SessionTakenOver),
            ErrorClass::TakenOver
        );
        assert_eq!(
            disconnected(DisconnectReasonCode::NotAuthorized),
            ErrorClass::Permanent
        );
        assert_eq!(
            disconnected(DisconnectReasonCode::MalformedPacket),
            ErrorClass::Protocol
        );
        assert_eq!(
            disconnected(DisconnectReasonCode::ServerShuttingDown),
            ErrorClass::Transient
        );
        let transport = TransportError::new(TransportErrorKind::Certificate, "not trusted");
        assert_eq!(
            ErrorClass::of(&ConnectionError::Transport(transport.clone())),
            ErrorClass::Transient
        );
        assert_eq!(
            ErrorClass::of(&ConnectionError::Transport(transport.permanent())),
            ErrorClass::Permanent
        );
        let misbehaved = |what| ErrorClass::of(&ConnectionError::PeerMisbehaved(what));
        assert_eq!(
            misbehaved(Misbehaviour::ReceiveMaximumExceeded),
            ErrorClass::Transient
        );
        assert_eq!(
            misbehaved(Misbehaviour::TopicAlias(0)),
            ErrorClass::Protocol
        );
        let given_up = |why| ErrorClass::of(&ConnectionError::GivenUp(why));
        assert_eq!(given_up(GivenUp::for_good("no")), ErrorClass::Application);
        assert_eq!(given_up(GivenUp::for_now("not yet")), ErrorClass::Transient);
    }
}

//! Events by name, for a caller that must not miss one: [`Event`] grows, so a `match` outside this
//! crate has an arm for the rest. A new event is a new method here, and code that has no place for
//! it does not compile.

use crate::StoreError;
use crate::error::{ConnectionError, PublishError, RequestError};
use crate::event::{
    Answer, AuthMessage, Connected, DeliveryId, Event, OperationId, PublishOutcome,
    ReceivedPublish, RejectedMessage, Undelivered,
};
use alloc::boxed::Box;
use alloc::vec::Vec;
use martlet_proto::{QoS, SubAckReasonCode, TopicFilter, TopicName, UnsubAckReasonCode};

/// A method for each [`Event`]. It grows with every version: for the crates of this workspace.
#[doc(hidden)]
pub trait EventHandler {
    fn connected(&mut self, connected: Box<Connected>);
    fn message(&mut self, message: ReceivedPublish);
    fn published(
        &mut self,
        operation: OperationId,
        key: Option<u32>,
        result: Result<PublishOutcome, PublishError>,
    );
    fn subscribed(
        &mut self,
        operation: OperationId,
        result: Result<Answer<SubAckReasonCode>, RequestError>,
    );
    fn unsubscribed(
        &mut self,
        operation: OperationId,
        result: Result<Answer<UnsubAckReasonCode>, RequestError>,
    );
    fn pong(&mut self, operation: OperationId, result: Result<(), RequestError>);
    fn auth_challenge(&mut self, message: Box<AuthMessage>);
    fn authenticated(&mut self, message: Box<AuthMessage>);
    fn reauthenticated(
        &mut self,
        operation: OperationId,
        result: Result<Box<AuthMessage>, RequestError>,
    );
    fn resubscribed(&mut self, reasons: Vec<(TopicFilter, SubAckReasonCode)>);
    fn request_failed(&mut self, filter: TopicFilter, error: RequestError);
    fn inbound_dropped(&mut self, messages: u64);
    fn receive_maximum_exceeded(&mut self, receive_maximum: u16);
    fn message_skipped(&mut self, topic: TopicName, size: u32, qos: QoS);
    fn message_rejected(&mut self, message: Box<RejectedMessage>);
    fn undelivered(&mut self, undelivered: Vec<Undelivered>);
    fn store_failed(&mut self, error: StoreError);
    fn store_recovered(&mut self);
    fn acknowledgements_held(&mut self, by: DeliveryId, held: usize);
    fn server_hangs_up(
        &mut self,
        operation: OperationId,
        key: Option<u32>,
        connections: u32,
        given_up: bool,
    );
    fn disconnected(&mut self, error: ConnectionError);
}

impl Event {
    /// Calls the method of this event.
    #[doc(hidden)]
    #[inline]
    pub fn hand_to(self, to: &mut impl EventHandler) {
        match self {
            Self::Connected(connected) => to.connected(connected),
            Self::Message(message) => to.message(message),
            Self::Published {
                operation,
                key,
                result,
            } => to.published(operation, key, result),
            Self::Subscribed { operation, result } => to.subscribed(operation, result),
            Self::Unsubscribed { operation, result } => to.unsubscribed(operation, result),
            Self::Pong { operation, result } => to.pong(operation, result),
            Self::AuthChallenge(message) => to.auth_challenge(message),
            Self::Authenticated(message) => to.authenticated(message),
            Self::Reauthenticated { operation, result } => to.reauthenticated(operation, result),
            Self::Resubscribed(reasons) => to.resubscribed(reasons),
            Self::RequestFailed { filter, error } => to.request_failed(filter, error),
            Self::InboundDropped(messages) => to.inbound_dropped(messages),
            Self::ReceiveMaximumExceeded { receive_maximum } => {
                to.receive_maximum_exceeded(receive_maximum);
            }
            Self::MessageSkipped { topic, size, qos } => to.message_skipped(topic, size, qos),
            Self::MessageRejected(message) => to.message_rejected(message),
            Self::Undelivered(undelivered) => to.undelivered(undelivered),
            Self::StoreFailed(error) => to.store_failed(error),
            Self::StoreRecovered => to.store_recovered(),
            Self::AcknowledgementsHeld { by, held } => to.acknowledgements_held(by, held),
            Self::ServerHangsUp {
                operation,
                key,
                connections,
                given_up,
            } => to.server_hangs_up(operation, key, connections, given_up),
            Self::Disconnected(error) => to.disconnected(error),
        }
    }
}

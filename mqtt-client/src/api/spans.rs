//! Spans of messages, with the feature `tracing`. One that is not enabled costs a load and a
//! comparison.

use crate::hub::message::Message;
use martlet_session::{OutgoingPublish, PublishError};
use tracing::Span;
use tracing::field::Empty;

/// A message is being published, in the span of the caller.
#[inline]
pub(crate) fn publish(message: &OutgoingPublish) -> Span {
    tracing::debug_span!(
        target: "martlet::messages",
        "publish",
        otel.kind = "producer",
        messaging.system = "mqtt",
        messaging.operation.name = "publish",
        messaging.destination.name = message.topic.as_str(),
        messaging.message.body.size = message.payload.len(),
        mqtt.qos = message.qos as u8,
        "error.type" = Empty,
    )
}

/// How the message has ended.
#[inline]
pub(crate) fn record_end<T>(span: &Span, end: &Result<T, PublishError>) {
    if let Err(error) = end {
        span.record("error.type", name_of(error));
    }
}

/// Many messages are being published, in the span of the caller.
pub(crate) fn publish_all() -> Span {
    tracing::debug_span!(
        target: "martlet::messages",
        "publish_all",
        otel.kind = "producer",
        messaging.system = "mqtt",
        messaging.operation.name = "publish",
        messaging.batch.message_count = Empty,
        mqtt.batch.failed_message = Empty,
        "error.type" = Empty,
    )
}

/// How many messages of a batch were accepted, which takes the client's lock.
pub(crate) fn record_accepted(span: &Span, accepted: impl FnOnce() -> usize) {
    if !span.is_disabled() {
        span.record("messaging.batch.message_count", accepted());
    }
}

/// A message of a batch has failed, the first of those that are known.
pub(crate) fn record_failed(span: &Span, index: usize, error: &PublishError) {
    span.record("mqtt.batch.failed_message", index);
    span.record("error.type", name_of(error));
}

/// A stream has given out a message.
#[inline]
pub(crate) fn deliver(message: &Message) -> Span {
    tracing::debug_span!(
        target: "martlet::messages",
        "deliver",
        otel.kind = "consumer",
        messaging.system = "mqtt",
        messaging.operation.name = "deliver",
        messaging.destination.name = message.topic(),
        messaging.message.body.size = message.payload().len(),
        mqtt.qos = message.qos() as u8,
    )
}

/// A name for an error that stays the same, and has no text of others.
fn name_of(error: &PublishError) -> &'static str {
    match error {
        PublishError::Rejected { .. } => "rejected",
        PublishError::Expired => "expired",
        PublishError::Dropped => "dropped",
        PublishError::QueueFull => "queue_full",
        PublishError::Timeout => "timeout",
        PublishError::InDoubt => "in_doubt",
        PublishError::Withdrawn => "withdrawn",
        PublishError::Closed(_) => "closed",
        PublishError::Store(_) => "store",
        _ => "_OTHER",
    }
}

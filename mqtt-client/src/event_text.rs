//! What an event says to people.

use crate::error::WithCauses;
use crate::event::ClientEvent;
use martlet_proto::{QoS, SubAckReasonCode, TopicFilter, TopicName};
use martlet_session::{ConnectionError, PublishError, PublishOutcome};
use std::fmt::{self, Display};
use std::time::Duration;

/// A line for people, such as `disconnected, next attempt in 1.3s: the server closed the
/// connection`, with the causes of an error, and without payloads and secrets.
impl Display for ClientEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ClientEvent as E;
        match self {
            E::Connecting(endpoint) => write!(f, "connecting to {endpoint}"),
            E::Connected(connected) => write!(f, "connected with {}", connected.version),
            E::Closed => f.write_str("closed"),
            E::Disconnected {
                reason: error,
                retry_in,
            } => disconnected(f, error, *retry_in),
            E::ErrorPersists {
                endpoint,
                error,
                times,
            } => write!(
                f,
                "{endpoint} needs attention, {times} times in a row: {}",
                WithCauses(error)
            ),

            E::Subscribed(Ok(filters)) => granted(f, "subscribed", filters),
            E::Subscribed(Err(error)) => write!(f, "not subscribed: {}", WithCauses(error)),
            E::Resubscribed(filters) => granted(f, "subscribed again", filters),
            E::RequestFailed { filter, error } => {
                let filter = filter.as_str();
                let error = WithCauses(error);
                write!(f, "{filter:?} failed and is not sent again: {error}")
            }

            E::Published { operation, result } => published(f, operation.get(), result),
            E::PublishFailed(error) => {
                write!(f, "a message was not acknowledged: {}", WithCauses(error))
            }
            E::ServerHangsUp {
                connections,
                given_up,
                ..
            } => server_hangs_up(f, *connections, *given_up),

            E::InboundDropped(n) => write!(f, "{n} messages dropped, too many wait"),
            E::Discarded {
                messages,
                topic,
                qos,
            } => discarded(f, *messages, topic, *qos),
            E::AcknowledgementsHeld { topic, held, .. } => {
                let topic = topic.as_str();
                write!(f, "{held} acknowledgements wait for a message on {topic:?}")
            }
            E::ReceiveMaximumExceeded { receive_maximum: n } => {
                write!(f, "the server exceeds the receive maximum of {n}")
            }
            E::MessageSkipped { topic, size, qos } => {
                let topic = topic.as_str();
                write!(
                    f,
                    "a message of {size} bytes and {qos} on {topic:?} was skipped"
                )
            }
            E::MessageRejected(message) => message.fmt(f),
            E::Missed(events) => write!(f, "{events} events missed"),

            E::Restored {
                unacknowledged,
                quarantined,
            } => restored(f, unacknowledged.len(), quarantined.len()),
            E::StoreFailed(error) => write!(f, "the store failed: {}", WithCauses(error)),
            E::StoreRecovered => f.write_str("the store works again"),

            E::HookPanicked(callback) => write!(f, "{callback} has panicked"),
            E::ObserverPanicked => f.write_str("the observer has panicked"),
            #[cfg(feature = "tls")]
            E::TrustReloaded => f.write_str("the certificates were read again"),
            #[cfg(feature = "tls")]
            E::TrustNotReloaded(error) => {
                write!(f, "the certificates stay as they were: {error}")
            }
        }
    }
}

fn disconnected(
    f: &mut fmt::Formatter<'_>,
    error: &ConnectionError,
    retry_in: Option<Duration>,
) -> fmt::Result {
    let error = WithCauses(error);
    match retry_in {
        Some(wait) => write!(f, "disconnected, next attempt in {wait:?}: {error}"),
        None => write!(f, "disconnected for good: {error}"),
    }
}

/// How many filters the server has granted, and which not.
fn granted(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    filters: &[(TopicFilter, SubAckReasonCode)],
) -> fmt::Result {
    let granted = filters.iter().filter(|(_, reason)| !reason.is_error());
    write!(f, "{what} to {} filters", granted.count())?;
    for (filter, reason) in filters.iter().filter(|(_, reason)| reason.is_error()) {
        write!(f, ", not to {:?}: {reason}", filter.as_str())?;
    }
    Ok(())
}

fn published(
    f: &mut fmt::Formatter<'_>,
    operation: u64,
    result: &Result<PublishOutcome, PublishError>,
) -> fmt::Result {
    match result {
        Ok(_) => write!(
            f,
            "message {operation} of an earlier client is acknowledged"
        ),
        Err(error) => write!(
            f,
            "message {operation} of an earlier client was not acknowledged: {}",
            WithCauses(error)
        ),
    }
}

fn server_hangs_up(f: &mut fmt::Formatter<'_>, connections: u32, given_up: bool) -> fmt::Result {
    write!(
        f,
        "the server ended {connections} connections at the same message; "
    )?;
    f.write_str(if given_up {
        "it was given up"
    } else {
        "it is sent again"
    })
}

fn discarded(
    f: &mut fmt::Formatter<'_>,
    messages: u64,
    topic: &TopicName,
    qos: QoS,
) -> fmt::Result {
    let qos = qos as u8;
    write!(
        f,
        "{messages} messages discarded that nobody took, the last of QoS {qos} for {topic:?}"
    )
}

fn restored(f: &mut fmt::Formatter<'_>, unacknowledged: usize, unreadable: usize) -> fmt::Result {
    write!(
        f,
        "restored with {unacknowledged} unacknowledged messages, {unreadable} records unreadable"
    )
}

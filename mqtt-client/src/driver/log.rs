//! What happens to a client, in the process's log: a client whose server is away is not silent.
//!
//! With the feature `tracing` each line is an event of `tracing`; without it, a record of `log`.

use crate::event::ClientEvent;
use crate::link::Link;
use martlet_session::ConnectionError;

/// How much an operator should care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

/// Whether anybody reads it.
#[inline]
pub(crate) fn is_on() -> bool {
    #[cfg(feature = "tracing")]
    return tracing::level_filters::LevelFilter::current()
        != tracing::level_filters::LevelFilter::OFF;
    #[cfg(not(feature = "tracing"))]
    return log::max_level() != log::LevelFilter::Off;
}

/// Writes a line: the client's name and what has happened, without payloads and secrets. With
/// `tracing` it is in the span of the attempt or connection.
#[cfg_attr(
    not(feature = "tracing"),
    expect(unused_variables, reason = "it has the spans")
)]
pub(crate) fn write(link: &mut Link, client: &str, event: &ClientEvent) {
    #[cfg(feature = "tracing")]
    link.spans
        .handle_event(client, event, || write_line(client, event));
    #[cfg(not(feature = "tracing"))]
    write_line(client, event);
}

fn write_line(client: &str, event: &ClientEvent) {
    #[cfg(feature = "tracing")]
    {
        macro_rules! line {
            ($level:ident) => {
                tracing::event!(
                    target: "martlet",
                    tracing::Level::$level,
                    client,
                    event = name(event),
                    "{event}"
                )
            };
        }
        match level(event) {
            Level::Error => line!(ERROR),
            Level::Warn => line!(WARN),
            Level::Info => line!(INFO),
            Level::Debug => line!(DEBUG),
        }
    }
    #[cfg(not(feature = "tracing"))]
    {
        let level = match level(event) {
            Level::Error => log::Level::Error,
            Level::Warn => log::Level::Warn,
            Level::Info => log::Level::Info,
            Level::Debug => log::Level::Debug,
        };
        log::log!(target: "martlet", level, "{client}: {event}");
    }
}

fn level(event: &ClientEvent) -> Level {
    use ClientEvent as E;
    match event {
        E::Connecting(_) | E::Published { result: Ok(_), .. } => Level::Debug,
        E::Connected(_)
        | E::Closed
        | E::Subscribed(Ok(_))
        | E::Resubscribed(_)
        | E::Restored { .. }
        | E::StoreRecovered => Level::Info,
        #[cfg(feature = "tls")]
        E::TrustReloaded => Level::Info,
        E::Disconnected {
            retry_in: Some(_),
            reason,
        } => match reason {
            ConnectionError::Rejected(_) | ConnectionError::PeerMisbehaved(_) => Level::Warn,
            _ => Level::Info,
        },
        E::Disconnected { retry_in: None, .. }
        | E::StoreFailed(_)
        | E::HookPanicked(_)
        | E::ObserverPanicked => Level::Error,
        _ => Level::Warn,
    }
}

/// A name that stays the same, to look for.
#[cfg(feature = "tracing")]
fn name(event: &ClientEvent) -> &'static str {
    use ClientEvent as E;
    match event {
        E::Connecting(_) => "connecting",
        E::Connected(_) => "connected",
        E::Closed => "closed",
        E::Disconnected {
            retry_in: Some(_), ..
        } => "disconnected",
        E::Disconnected { retry_in: None, .. } => "stopped",
        E::ErrorPersists { .. } => "error_persists",
        E::Subscribed(_) => "subscribed",
        E::Resubscribed(_) => "resubscribed",
        E::RequestFailed { .. } => "request_failed",
        E::Published { .. } => "published",
        E::PublishFailed(_) => "publish_failed",
        E::ServerHangsUp { .. } => "server_hangs_up",
        E::InboundDropped(_) => "inbound_dropped",
        E::Discarded { .. } => "discarded",
        E::AcknowledgementsHeld { .. } => "acknowledgements_held",
        E::ReceiveMaximumExceeded { .. } => "receive_maximum_exceeded",
        E::MessageSkipped { .. } => "message_skipped",
        E::MessageRejected(_) => "message_rejected",
        E::Missed(_) => "missed",
        E::Restored { .. } => "restored",
        E::StoreFailed(_) => "store_failed",
        E::StoreRecovered => "store_recovered",
        E::HookPanicked(_) => "hook_panicked",
        E::ObserverPanicked => "observer_panicked",
        #[cfg(feature = "tls")]
        E::TrustReloaded => "trust_reloaded",
        #[cfg(feature = "tls")]
        E::TrustNotReloaded(_) => "trust_not_reloaded",
    }
}

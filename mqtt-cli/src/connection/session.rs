//! A client that is connected, what it reports beside messages, and its end.

use super::plan::Plan;
use super::property::Properties;
use crate::exit::{Failure, Status, connection_error, in_one_line};
use crate::report::Report;
use crate::signals::Signals;
use martlet_tokio::proto::ConnectReasonCode;
use martlet_tokio::runtime::Tokio;
use martlet_tokio::session::ConnectionError;
use martlet_tokio::store::RedbStore;
use martlet_tokio::{Client, ClientEvent, Events};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// How long what was published may take to be acknowledged when the command is interrupted.
const INTERRUPTED_DRAIN: Duration = Duration::from_secs(2);

/// A client that is connected.
pub(crate) struct Session {
    pub(crate) client: Client,
    /// Ends when the client has.
    watching: JoinHandle<()>,
    lost: Arc<AtomicU64>,
    stop: watch::Receiver<bool>,
}

impl Session {
    /// Connects. `prepare` sees the client before the first byte is sent.
    pub(crate) async fn connect<T>(
        plan: &Plan,
        report: Report,
        signals: &mut Signals,
        prepare: impl FnOnce(&Client) -> T,
    ) -> Result<(Self, T), Failure> {
        let (session, prepared) = Self::start(plan, report, prepare)?;
        let connected = tokio::select! {
            status = signals.next() => Err(Failure::quiet(status)),
            connected = session.client.connected() => {
                connected.map(drop).map_err(|error| Failure::of_connect(&error))
            }
        };
        match connected {
            Ok(()) => Ok((session, prepared)),
            Err(failure) => {
                session.client.disconnect().at_once().await;
                Err(failure)
            }
        }
    }

    /// Begins to connect. `prepare` sees the client before the first byte is sent.
    pub(crate) fn start<T>(
        plan: &Plan,
        report: Report,
        prepare: impl FnOnce(&Client) -> T,
    ) -> Result<(Self, T), Failure> {
        let (client, driver) = match &plan.store {
            None => {
                let (client, driver) = plan
                    .builder
                    .clone()
                    .build(Tokio)
                    .map_err(|error| Failure::of_connect(&error))?;
                (client, driver)
            }
            Some(path) => {
                let store = RedbStore::open(path)
                    .map_err(|error| Failure::usage(format!("--store: {}", in_one_line(error))))?;
                let durable = plan.builder.clone().store(store);
                durable.build(Tokio).map_err(Failure::of_open)?
            }
        };
        let lost = Arc::new(AtomicU64::new(0));
        let events = client.events();
        let prepared = prepare(&client);
        let (stopping, stop) = watch::channel(false);
        let watching = tokio::spawn(watch(events, report, Arc::clone(&lost), stopping));
        tokio::spawn(driver);
        let session = Self {
            client,
            watching,
            lost,
            stop,
        };
        Ok((session, prepared))
    }

    /// Waits until the client has stopped by itself.
    pub(crate) async fn until_stopped(&self) {
        // Its sender ends with the client.
        let _ = self.stop.clone().wait_for(|stopped| *stopped).await;
    }

    /// Why there was no connection, where there was none. It waits for the first one.
    pub(crate) async fn unconnected(&self) -> Option<Failure> {
        if self.client.statistics().connections > 0 {
            return None;
        }
        let error = self.client.connected().await.err()?;
        Some(Failure::of_connect(&error))
    }

    /// Why the client has stopped by itself; call it when a stream has ended.
    pub(crate) async fn stopped(&self) -> Failure {
        match self.client.connected().await {
            Err(martlet_tokio::ConnectError::Connection(error)) => {
                Failure::of_connection(&error, true)
            }
            Err(error) => Failure::of_connect(&error),
            // It has a connection again: the stream ended for another reason.
            Ok(_) => Failure::new(Status::Lost, "the subscription has ended"),
        }
    }

    /// Disconnects in good order, and returns how many messages of others were lost here.
    pub(crate) async fn end(self, properties: &Properties, interrupted: bool) -> u64 {
        let mut disconnect = self.client.disconnect();
        if interrupted {
            disconnect = disconnect.drain(INTERRUPTED_DRAIN);
        }
        if let Some(seconds) = properties.disconnect_expiry {
            disconnect = disconnect.session_expiry_interval(seconds);
        }
        if !properties.disconnect.is_empty() {
            disconnect = disconnect.user_properties(properties.disconnect.clone());
        }
        disconnect.await;
        // The events of a client that has disconnected end.
        let _ = self.watching.await;
        self.lost.load(Ordering::Relaxed)
    }
}

/// How many messages were lost, as this event says.
pub(crate) fn lost_with(event: &ClientEvent) -> u64 {
    match event {
        ClientEvent::InboundDropped(messages) => *messages,
        ClientEvent::Discarded { messages, .. } => *messages,
        ClientEvent::MessageSkipped { .. } | ClientEvent::MessageRejected(_) => 1,
        // Each may have been about a lost message.
        ClientEvent::Missed(events) => *events,
        _ => 0,
    }
}

/// Reports what happens beside messages, and counts messages that were lost.
async fn watch(
    mut events: Events,
    report: Report,
    lost: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
) {
    let (mut was_connected, mut was_lost) = (false, false);
    // The server of the last attempt, and why it rejected the version that was tried first.
    let (mut server, mut rejected) = (None, None::<String>);
    let mut errors = Errors::new(report);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = sleep_until(errors.end), if errors.are_withheld() => {
                errors.begin();
                continue;
            }
        };
        let Some(event) = event else {
            return errors.begin();
        };
        lost.fetch_add(lost_with(&event), Ordering::Relaxed);
        match &event {
            // Its end is the command's error.
            ClientEvent::Disconnected { retry_in: None, .. } => drop(stop.send_replace(true)),
            ClientEvent::Connecting(next) => {
                // Where the same server is tried with another version, nothing has gone wrong.
                if let Some(warning) = rejected.take().filter(|_| server.as_ref() != Some(next)) {
                    was_lost = true;
                    report.warning(&warning);
                }
                server = Some(next.clone());
            }
            ClientEvent::Disconnected {
                retry_in: Some(wait),
                reason,
            } => {
                let is_version = matches!(reason, ConnectionError::Rejected(rejection)
                    if rejection.reason == ConnectReasonCode::UnsupportedProtocolVersion);
                let reason = match reason {
                    ConnectionError::ClosedByPeer => "the server closed the connection".to_owned(),
                    reason => connection_error(reason),
                };
                let seconds = wait.as_secs_f64();
                let warning = format!("{reason}; the next attempt is in {seconds:.1} s");
                if is_version && wait.is_zero() {
                    rejected = Some(warning);
                } else {
                    was_lost = true;
                    report.warning(&warning);
                }
            }
            ClientEvent::Connected(_) => {
                if std::mem::take(&mut was_lost) {
                    report.warning(match was_connected {
                        true => "connected again",
                        false => "connected",
                    });
                }
                was_connected = true;
            }
            ClientEvent::Resubscribed(filters) => {
                for (filter, reason) in filters.iter().filter(|(_, reason)| reason.is_error()) {
                    lost.fetch_add(1, Ordering::Relaxed);
                    let filter = filter.as_str();
                    report.error(&format!("the server rejected {filter:?}: {reason}"));
                }
            }
            event => errors.event(event, was_connected),
        }
    }
}

/// Errors about messages: a server can cause as many as it likes, and standard error may be a file.
struct Errors {
    report: Report,
    /// When the next lines may be printed.
    end: Instant,
    shown: u32,
    /// What was not printed since then.
    dropped: u64,
    others: u64,
}

impl Errors {
    /// The most lines that are printed in this time, beside the sums of what was not printed.
    const MOST: u32 = 10;
    const TIME: Duration = Duration::from_secs(1);

    fn new(report: Report) -> Self {
        Self {
            report,
            end: Instant::now(),
            shown: 0,
            dropped: 0,
            others: 0,
        }
    }

    /// Shows an event that is about messages, or the store.
    fn event(&mut self, event: &ClientEvent, was_connected: bool) {
        match event {
            ClientEvent::MessageSkipped { .. } => {
                self.show(&format!("{event}; raise --max-packet-size"));
            }
            ClientEvent::InboundDropped(messages) => self.dropped(*messages),
            ClientEvent::Discarded { .. }
            | ClientEvent::MessageRejected(_)
            | ClientEvent::RequestFailed { .. }
            | ClientEvent::TrustNotReloaded(_)
            | ClientEvent::StoreFailed(_)
            | ClientEvent::Missed(_)
            | ClientEvent::StoreRecovered => self.show(&event.to_string()),
            // Without a connection the store keeps all of them.
            ClientEvent::Published { result: Err(_), .. } if !was_connected => {}
            ClientEvent::Published {
                result: Err(error), ..
            } => self.show(&format!(
                "a message of an earlier command: {}",
                in_one_line(error.clone())
            )),
            _ => {}
        }
    }

    fn are_withheld(&self) -> bool {
        self.dropped + self.others > 0
    }

    /// Begins the next time with what was not printed in the one before.
    fn begin(&mut self) {
        self.end = Instant::now() + Self::TIME;
        self.shown = 0;
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            self.shown = Self::MOST;
            let event = ClientEvent::InboundDropped(dropped);
            self.report.error(&event.to_string());
        }
        let others = std::mem::take(&mut self.others);
        if others > 0 {
            self.shown = Self::MOST;
            self.report
                .error(&format!("{others} more errors like these"));
        }
    }

    fn has_room(&mut self) -> bool {
        if Instant::now() >= self.end {
            self.begin();
        }
        self.shown < Self::MOST
    }

    fn show(&mut self, text: &str) {
        match self.has_room() {
            true => {
                self.shown += 1;
                self.report.error(text);
            }
            false => self.others += 1,
        }
    }

    /// Their number says it all: one line at a time.
    fn dropped(&mut self, messages: u64) {
        self.dropped += messages;
        if Instant::now() >= self.end {
            self.begin();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_were_missed_count_as_lost() {
        assert_eq!(lost_with(&ClientEvent::Missed(3)), 3);
        assert_eq!(lost_with(&ClientEvent::InboundDropped(2)), 2);
        assert_eq!(lost_with(&ClientEvent::StoreRecovered), 0);
    }
}

//! The step that needs the session: it gets what has come, gives what is to be sent, and learns how
//! connections begin and end.

use super::{Link, Phase};
use crate::link::config::LinkEvent;
use crate::link::connection::{ConnectionProgress, SeenOfServer, ServerConnection};
use crate::link::servers::{EndedConnection, Next};
use martlet_session::{ConnectionError, Instant, RequestError, Session};
use std::time::Duration;

/// How a connection, or an attempt, has ended.
struct LostConnection {
    reason: ConnectionError,
    connection: Option<ServerConnection>,
}

impl Link {
    /// Moves plain bytes between the link and the session, and lets the session's time pass.
    /// Returns whether anything moved. Afterwards drain the session's events.
    pub fn exchange(&mut self, now: Instant, session: &mut Session) -> bool {
        self.handle_timeout(now);
        let mut moved = self.open_if_ready(now, session);
        if let Phase::Connected(connection) = &mut self.phase {
            // Before time passes: what has arrived was not late, only looked at late.
            moved |= connection.feed(now, session, self.servers.version());
        }
        if session.poll_timeout().is_some_and(|at| at <= now) {
            session.handle_timeout(now);
        }
        if let Phase::Connected(connection) = &mut self.phase {
            if session.was_accepted() && !connection.is_accepted {
                connection.accepted(session);
                self.backoff.connected(now);
                self.servers.accepted(now, &mut self.backoff);
            }
            moved |= connection.transmit(now, session);
        }
        // When it turns true the socket is to be read, or nobody would learn of what comes.
        let wants = session.wants_input();
        let wanted = std::mem::replace(&mut self.session_wants_input, wants);
        moved |= wants && !wanted;
        if self.has_failed() {
            // What came before the end counts, also where it takes several turns.
            if !self.has_more_to_say() {
                self.lose(now, session);
            }
            moved = true;
        }
        if !session.wants_connection() {
            self.stop();
        }
        // `poll_dial` has something to say.
        moved || matches!(self.phase, Phase::Dial)
    }

    /// Sends the CONNECT when the way to the server is open. Returns whether it is.
    fn open_if_ready(&mut self, now: Instant, session: &mut Session) -> bool {
        let Phase::Connected(connection) = &mut self.phase else {
            return false;
        };
        if !matches!(connection.progress, ConnectionProgress::Opening) {
            return false;
        }
        if !session.wants_connection() {
            // The application has disconnected while the socket was being opened.
            connection.progress = ConnectionProgress::Lost(ConnectionError::ClosedHere);
            return true;
        }
        let version = self.servers.version();
        if let Some(trace) = &mut self.trace {
            trace.open(version, session.client_identifier().as_str());
        }
        let connect = match self.prepared.as_deref() {
            Some(attempt) => attempt.options().clone(),
            None => self.servers.connect(&self.config.connect),
        };
        connection.progress = ConnectionProgress::Up;
        session.handle_open(now, connect.version(version));
        true
    }

    /// Whether a connection that has failed has something for the session, or for a server that may
    /// still hear it.
    fn has_more_to_say(&mut self) -> bool {
        match &mut self.phase {
            Phase::Connected(connection) => connection.may_take_more || connection.say_goodbye(),
            _ => false,
        }
    }

    /// Forgets the connection, or the attempt, that has failed.
    fn take_lost(&mut self) -> Option<LostConnection> {
        match std::mem::replace(&mut self.phase, Phase::Dial) {
            Phase::Lost(reason) => Some(LostConnection {
                reason,
                connection: None,
            }),
            Phase::Connected(connection) => match &connection.progress {
                ConnectionProgress::Lost(reason) => Some(LostConnection {
                    reason: reason.clone(),
                    connection: Some(connection),
                }),
                _ => None,
            },
            _ => None,
        }
    }

    /// The connection, or the attempt, is over.
    fn lose(&mut self, now: Instant, session: &mut Session) {
        let Some(LostConnection { reason, connection }) = self.take_lost() else {
            return;
        };
        // What the session itself made of the last bytes says more than that they were the last.
        let reason = session.poll_close().unwrap_or(reason);
        let (error, seen) = match connection {
            Some(connection) => {
                let error = connection.explain(reason, self.servers.version(), self.config.version);
                let seen = connection.seen();
                self.unwritten = connection.output;
                (error, seen)
            }
            None => (reason, SeenOfServer::default()),
        };
        session.handle_close(now, error.clone());
        let endpoint = self.endpoint().clone();
        let Next { retry_in, persists } = if !session.wants_connection() {
            Next::default()
        } else {
            let end = EndedConnection {
                error: &error,
                endpoint: &endpoint,
                spoke: seen.spoke,
                heard: seen.heard,
                delivered: seen.delivered,
                in_old_form: seen.in_old_form,
            };
            self.servers.ended(now, &end, &mut self.backoff)
        };
        self.attempt = if seen.is_accepted {
            1
        } else {
            self.attempt.saturating_add(1)
        };
        self.last_error = Some(error.clone());
        self.prepared = None;
        // A session that has ended has its own reason, such as a disconnect that had nothing left to
        // wait for when the connection broke.
        let error = match session.not_connected() {
            RequestError::Closed(why) => why,
            _ => error,
        };
        self.phase = match retry_in {
            Some(Duration::ZERO) => Phase::Dial,
            Some(wait) => Phase::Waiting(now + wait),
            None => Phase::Stopped(error.clone()),
        };
        let persists = persists.map(|times| LinkEvent::ErrorPersists {
            endpoint,
            error: error.clone(),
            times,
        });
        self.events.push_back(LinkEvent::Disconnected {
            reason: error,
            retry_in,
        });
        self.events.extend(persists);
    }

    /// Stops dialling: the session is disconnecting while there is no connection.
    fn stop(&mut self) {
        let goes_on = match &self.phase {
            // The socket of a handshake is to be dropped.
            Phase::Connected(connection) => {
                !matches!(connection.progress, ConnectionProgress::Handshaking(_))
            }
            Phase::Lost(_) | Phase::Stopped(_) => true,
            Phase::Waiting(_) | Phase::Preparing(_) | Phase::Dial | Phase::Dialing(_) => false,
        };
        if goes_on {
            return;
        }
        self.phase = Phase::Stopped(ConnectionError::ClosedHere);
        self.events.push_back(LinkEvent::Disconnected {
            reason: ConnectionError::ClosedHere,
            retry_in: None,
        });
    }
}

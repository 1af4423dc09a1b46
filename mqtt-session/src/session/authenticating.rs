//! Enhanced authentication (MQTT 5 §4.12): all transitions of its machine.
//!
//! A CONNECT with a method begins it, at *Server*:
//!
//! ```text
//! Server      ─► Application   AUTH 0x18
//! Application ─► Server        authenticate
//! Server      ─► Accepting     CONNACK 0
//! Accepting   ─► Idle          accept_server: the connection is accepted
//! Idle        ─► Server        reauthenticate
//! Server      ─► Idle          AUTH 0x00, when it authenticates again
//! ```
//!
//! Each turn is bounded by [`connect_timeout`](crate::Config::connect_timeout).

use crate::event::AuthMessage;
use crate::session::Phase;
use crate::session::timers::TimerKind;
use crate::{
    Awaited, ConnectionError, Event, GivenUp, Instant, Misbehaviour, OperationId, RequestError,
    Session, Unsupported,
};
use alloc::boxed::Box;
use martlet_proto::{Auth, AuthReasonCode, BinaryData, ConnAck, Packet, Utf8String};

#[derive(Debug)]
pub(crate) struct AuthenticationProgress {
    /// The method of the CONNECT: every later step names the same [MQTT-4.12.0-5].
    method: Utf8String,
    step: Step,
    /// The re-authentication that is under way.
    again: Option<OperationId>,
}

/// Whose turn it is.
#[derive(Debug)]
enum Step {
    Idle,
    /// CONNECT or AUTH has been written.
    Server,
    /// The application has got the server's challenge.
    Application,
    /// The server accepts; whether the application accepts the server is not known yet.
    Accepting(Box<ConnAck>),
}

impl Step {
    const ARROWS: &[(&str, &str)] = &[
        ("Server", "Application"),
        ("Application", "Server"),
        ("Server", "Accepting"),
        ("Accepting", "Idle"),
        ("Idle", "Server"),
        ("Server", "Idle"),
    ];

    const fn name(&self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Server => "Server",
            Self::Application => "Application",
            Self::Accepting(_) => "Accepting",
        }
    }
}

impl AuthenticationProgress {
    /// Goes to another step; gives back the one before.
    fn set_step(&mut self, step: Step) -> Step {
        let arrow = (self.step.name(), step.name());
        debug_assert!(Step::ARROWS.contains(&arrow), "{arrow:?} is no transition");
        core::mem::replace(&mut self.step, step)
    }
}

impl Session {
    // ---- commands

    /// Answers an [`Event::AuthChallenge`], with AUTH 0x18 (MQTT 5 §4.12). The method is that of
    /// the CONNECT.
    ///
    /// Words that the server's Maximum Packet Size has no room for are left out; without room for
    /// the data it fails.
    ///
    /// # Errors
    /// [`RequestError::NoChallenge`] when nothing waits for an answer, also because the connection
    /// is gone, and [`RequestError::PacketTooLarge`]; nothing has changed then.
    pub fn authenticate(&mut self, now: Instant, answer: AuthMessage) -> Result<(), RequestError> {
        match self.authentication() {
            Some(AuthenticationProgress {
                step: Step::Application,
                ..
            }) => {}
            _ => return Err(RequestError::NoChallenge),
        }
        self.write_auth(now, AuthReasonCode::ContinueAuthentication, answer)
    }

    /// Accepts the server after [`Event::Authenticated`]: what it said last proves what it should.
    /// Only now is the session connected; input that has come in the meantime is read with the next
    /// [`handle_input`](Self::handle_input), which needs no new bytes.
    ///
    /// # Errors
    /// [`RequestError::NoChallenge`] when there is nothing to accept, also because the connection
    /// is gone.
    pub fn accept_server(&mut self) -> Result<(), RequestError> {
        let Some(authentication) = self.authentication() else {
            return Err(RequestError::NoChallenge);
        };
        if !matches!(authentication.step, Step::Accepting(_)) {
            return Err(RequestError::NoChallenge);
        }
        let Step::Accepting(connack) = authentication.set_step(Step::Idle) else {
            unreachable!("looked at a moment ago")
        };
        self.enter(*connack);
        Ok(())
    }

    /// Authenticates again on the same connection, with AUTH 0x19 (MQTT 5 §4.12.1): the method is
    /// that of the CONNECT. Everything else goes on meanwhile. Challenges come as
    /// [`Event::AuthChallenge`], the end as [`Event::Reauthenticated`]. A server that rejects ends
    /// the connection.
    ///
    /// # Errors
    /// [`RequestError::NotConnected`] or [`RequestError::Closed`] without a connection,
    /// [`RequestError::NotSupported`] when it was made without enhanced authentication
    /// [MQTT-4.12.1-1], [`RequestError::TooMany`] while another is under way,
    /// [`RequestError::PacketTooLarge`].
    pub fn reauthenticate(
        &mut self,
        now: Instant,
        first: AuthMessage,
    ) -> Result<OperationId, RequestError> {
        if !self.is_connected() {
            return Err(self.not_connected());
        }
        match self.authentication() {
            None => return Err(RequestError::NotSupported(Unsupported::Reauthentication)),
            Some(AuthenticationProgress {
                step: Step::Idle, ..
            }) => {}
            Some(_) => return Err(RequestError::TooMany),
        }
        self.write_auth(now, AuthReasonCode::ReAuthenticate, first)?;
        let operation = OperationId(self.next_operation);
        self.next_operation += 1;
        if let Some(authentication) = self.authentication() {
            authentication.again = Some(operation);
        }
        Ok(operation)
    }

    /// Ends the connection because the application will not go on with it, as when the server's
    /// proof is wrong. The error comes back as [`ConnectionError::GivenUp`].
    pub fn give_up(&mut self, why: GivenUp) {
        self.fail(ConnectionError::GivenUp(why));
    }

    // ---- what the session tells

    /// A connection begins; `method` is that of its CONNECT.
    pub(crate) fn begin_authentication(&mut self, method: Option<Utf8String>) {
        let authentication = method.map(|method| AuthenticationProgress {
            method,
            step: Step::Server,
            again: None,
        });
        if authentication.is_some() || self.rare.is_some() {
            self.rare.get_or_insert_default().authentication = authentication;
        }
    }

    /// The connection is gone, or is about to go.
    pub(crate) fn end_authentication(&mut self, error: RequestError) {
        let authentication = self
            .rare
            .as_deref_mut()
            .and_then(|extras| extras.authentication.take());
        if let Some(operation) = authentication.and_then(|running| running.again) {
            self.events.push_back(Event::Reauthenticated {
                operation,
                result: Err(error),
            });
        }
    }

    pub(crate) fn handle_auth(&mut self, now: Instant, auth: Auth) -> Result<(), ConnectionError> {
        let connecting = matches!(self.phase, Phase::Connecting);
        let deadline = now + self.config.connect_timeout;
        let unexpected = Err(ConnectionError::PeerMisbehaved(
            Misbehaviour::UnexpectedAuth,
        ));
        let Some(authentication) = self.authentication() else {
            return unexpected;
        };
        if !matches!(authentication.step, Step::Server) {
            return unexpected;
        }
        // A plain success may leave out everything (MQTT 5 §3.15.2.1).
        if auth.authentication_method.is_some() {
            check_method(
                Some(&authentication.method),
                auth.authentication_method.as_ref(),
            )?;
        }
        let Auth {
            authentication_data: mut data,
            mut reason_string,
            mut user_properties,
            ..
        } = auth;
        match auth.reason {
            AuthReasonCode::ContinueAuthentication => {
                authentication.set_step(Step::Application);
                data.iter_mut().for_each(BinaryData::detach);
                self.own_diagnostics((&mut reason_string, &mut user_properties));
                let message = Box::new(AuthMessage {
                    data,
                    reason_string,
                    user_properties,
                });
                self.tell(Event::AuthChallenge(message));
                self.timers.set(TimerKind::Handshake, deadline);
            }
            // Before CONNACK it is the CONNACK that says so.
            AuthReasonCode::Success if !connecting => {
                authentication.set_step(Step::Idle);
                let operation = authentication.again.take();
                self.timers.stop(TimerKind::Handshake);
                data.iter_mut().for_each(BinaryData::detach);
                self.own_diagnostics((&mut reason_string, &mut user_properties));
                if let Some(operation) = operation {
                    let message = Box::new(AuthMessage {
                        data,
                        reason_string,
                        user_properties,
                    });
                    self.tell(Event::Reauthenticated {
                        operation,
                        result: Ok(message),
                    });
                }
            }
            _ => return unexpected,
        }
        Ok(())
    }

    /// The server accepts the connection. Gives the CONNACK back, unless the application is to look
    /// at it first.
    pub(crate) fn authenticated(
        &mut self,
        now: Instant,
        connack: ConnAck,
    ) -> Result<Option<ConnAck>, ConnectionError> {
        let deadline = now + self.config.connect_timeout;
        let properties = &connack.properties;
        let method = properties.authentication_method.as_ref();
        let Some(authentication) = self.authentication() else {
            check_method(None, method)?;
            return Ok(Some(connack));
        };
        check_method(Some(&authentication.method), method)?;
        if !matches!(authentication.step, Step::Server) {
            return Err(ConnectionError::PeerMisbehaved(
                Misbehaviour::ConnAckBeforeAnswer,
            ));
        }
        let message = AuthMessage {
            data: properties.authentication_data.clone(),
            reason_string: properties.reason_string.clone(),
            user_properties: properties.user_properties.clone(),
        };
        authentication.set_step(Step::Accepting(Box::new(connack)));
        self.set_phase(Phase::Accepting);
        self.timers.set(TimerKind::Handshake, deadline);
        self.tell(Event::Authenticated(Box::new(message)));
        Ok(None)
    }

    /// The party that did not act in time.
    pub(crate) fn awaited(&mut self) -> Awaited {
        let connecting = matches!(self.phase, Phase::Connecting);
        match self.authentication().map(|running| &running.step) {
            Some(Step::Application | Step::Accepting(_)) => Awaited::Authenticator,
            Some(Step::Server) if !connecting => Awaited::Auth,
            _ => Awaited::ConnAck,
        }
    }

    /// That of a connection that is not ending.
    fn authentication(&mut self) -> Option<&mut AuthenticationProgress> {
        if self.is_over() {
            return None;
        }
        self.rare.as_deref_mut()?.authentication.as_mut()
    }

    fn write_auth(
        &mut self,
        now: Instant,
        reason: AuthReasonCode,
        message: AuthMessage,
    ) -> Result<(), RequestError> {
        let version = self.output.version;
        let limit = self.limits.maximum_packet_size as usize;
        let timeout = self.config.connect_timeout;
        let Some(authentication) = self.authentication() else {
            return Err(RequestError::NoChallenge);
        };
        let mut packet = Packet::from(Auth {
            reason,
            authentication_method: Some(authentication.method.clone()),
            authentication_data: message.data,
            reason_string: message.reason_string,
            user_properties: message.user_properties,
        });
        if packet.encoded_len(version) > limit {
            if let Packet::Auth(auth) = &mut packet {
                auth.reason_string = None;
                auth.user_properties.clear();
            }
        }
        let size = packet.encoded_len(version);
        if size > limit {
            return Err(RequestError::PacketTooLarge { size, limit });
        }
        authentication.set_step(Step::Server);
        self.output.packet(&packet).expect("an AUTH with a method");
        self.timers.set(TimerKind::Handshake, now + timeout);
        Ok(())
    }
}

fn check_method(
    ours: Option<&Utf8String>,
    theirs: Option<&Utf8String>,
) -> Result<(), ConnectionError> {
    if ours == theirs {
        return Ok(());
    }
    Err(ConnectionError::PeerMisbehaved(
        Misbehaviour::AuthenticationMethod,
    ))
}

#[cfg(test)]
mod tests {
    use super::Step;
    use crate::session::arrows_of;

    #[test]
    fn the_diagram_is_the_table() {
        let diagram = arrows_of(include_str!("authenticating.rs"));
        assert_eq!(diagram, Step::ARROWS);
    }
}

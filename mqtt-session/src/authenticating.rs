//! Enhanced authentication (MQTT 5 §4.12): all transitions of its machine.
//!
//! ```text
//!                 handle_open with a method
//!                          │
//!                          ▼   AUTH 0x18
//!   Idle            ┌─► Server ──────────► Application
//!    │ ▲ ▲          └───── authenticate ──────┘
//!    │ │ │                 │ CONNACK 0
//!    │ │ └─accept_server── Accepting       (before the connection is accepted)
//!    │ └─────AUTH 0x00─────┘ from Server   (when it authenticates again)
//!    └─reauthenticate─► Server
//! ```
//!
//! Whoever's turn it is, [`connect_timeout`](crate::Config::connect_timeout) bounds it.

use crate::event::AuthMessage;
use crate::session::Phase;
use crate::timers::Timer;
use crate::{
    Awaited, ConnectionError, Event, GivenUp, Instant, Misbehaviour, OperationId, RequestError, Session,
};
use alloc::boxed::Box;
use martlet_proto::{Auth, AuthReasonCode, ConnAck, Packet, Utf8String};

#[derive(Debug)]
pub(crate) struct Authentication {
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
    /// The application has been told the server's challenge.
    Application,
    /// The server accepts; whether the application accepts the server is not known yet.
    Accepting(Box<ConnAck>),
}

impl Session {
    // ---- commands

    /// Answers an [`Event::AuthChallenge`], with AUTH 0x18 (MQTT 5 §4.12). The method is that of the CONNECT.
    ///
    /// Words that the server's Maximum Packet Size has no room for are left out; without room for the data it fails.
    ///
    /// # Errors
    /// [`RequestError::NoChallenge`] when nothing waits for an answer, also because the connection is gone, and
    /// [`RequestError::PacketTooLarge`]; nothing has changed then.
    pub fn authenticate(&mut self, now: Instant, answer: AuthMessage) -> Result<(), RequestError> {
        match self.authentication() {
            Some(Authentication { step: Step::Application, .. }) => {}
            _ => return Err(RequestError::NoChallenge),
        }
        self.write_auth(now, AuthReasonCode::ContinueAuthentication, answer)
    }

    /// Accepts the server after [`Event::Authenticated`]: what it said last proves what it should. Only now is the
    /// session connected; input that has come in the meantime is read with the next
    /// [`handle_input`](Self::handle_input), which needs no new bytes.
    ///
    /// # Errors
    /// [`RequestError::NoChallenge`] when there is nothing to accept, also because the connection is gone.
    pub fn accept_server(&mut self) -> Result<(), RequestError> {
        let authentication = self.authentication().filter(|it| matches!(it.step, Step::Accepting(_)));
        let step = authentication.map(|it| core::mem::replace(&mut it.step, Step::Idle));
        let Some(Step::Accepting(connack)) = step else { return Err(RequestError::NoChallenge) };
        self.enter(*connack);
        Ok(())
    }

    /// Authenticates again on the same connection, with AUTH 0x19 (MQTT 5 §4.12.1): the method is that of the CONNECT.
    /// Everything else goes on meanwhile. Challenges come as [`Event::AuthChallenge`], the end as
    /// [`Event::Reauthenticated`]. A server that refuses ends the connection.
    ///
    /// # Errors
    /// [`RequestError::NotConnected`] or [`RequestError::Closed`] without a connection,
    /// [`RequestError::NotSupported`] when it was made without enhanced authentication [MQTT-4.12.1-1],
    /// [`RequestError::TooMany`] while another is under way, [`RequestError::PacketTooLarge`].
    pub fn reauthenticate(&mut self, now: Instant, first: AuthMessage) -> Result<OperationId, RequestError> {
        if self.phase != Phase::Connected {
            return Err(if self.ended { RequestError::Closed } else { RequestError::NotConnected });
        }
        match self.authentication() {
            None => return Err(RequestError::NotSupported("authenticating again is")),
            Some(Authentication { step: Step::Idle, .. }) => {}
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

    /// Ends the connection because the application will not go on with it, as when the server's proof is wrong. The
    /// error comes back as [`ConnectionError::GivenUp`].
    pub fn give_up(&mut self, why: GivenUp) {
        self.fail(ConnectionError::GivenUp(why));
    }

    // ---- what the session tells

    /// A connection begins; `method` is that of its CONNECT.
    pub(crate) fn begin_authentication(&mut self, method: Option<Utf8String>) {
        let authentication = method.map(|method| Authentication { method, step: Step::Server, again: None });
        if authentication.is_some() || self.rare.is_some() {
            self.rare.get_or_insert_default().authentication = authentication;
        }
    }

    /// The connection is gone, or is about to go.
    pub(crate) fn end_authentication(&mut self, error: RequestError) {
        let authentication = self.rare.as_deref_mut().and_then(|it| it.authentication.take());
        if let Some(operation) = authentication.and_then(|it| it.again) {
            self.events.push_back(Event::Reauthenticated { operation, result: Err(error) });
        }
    }

    pub(crate) fn handle_auth(&mut self, now: Instant, auth: Auth) -> Result<(), ConnectionError> {
        let connecting = self.phase == Phase::Connecting;
        let deadline = now + self.config.connect_timeout;
        let unexpected = Err(ConnectionError::PeerMisbehaved(Misbehaviour::UnexpectedAuth));
        let Some(authentication) = self.authentication() else { return unexpected };
        if !matches!(authentication.step, Step::Server) {
            return unexpected;
        }
        // A plain success may leave out everything (MQTT 5 §3.15.2.1).
        if auth.authentication_method.is_some() {
            check_method(Some(&authentication.method), auth.authentication_method.as_ref())?;
        }
        let message = Box::new(AuthMessage {
            data: auth.authentication_data,
            reason_string: auth.reason_string,
            user_properties: auth.user_properties,
        });
        match auth.reason {
            AuthReasonCode::ContinueAuthentication => {
                authentication.step = Step::Application;
                self.events.push_back(Event::AuthChallenge(message));
                self.timers.set(Timer::Handshake, deadline);
            }
            // Before CONNACK it is the CONNACK that says so.
            AuthReasonCode::Success if !connecting => {
                authentication.step = Step::Idle;
                let operation = authentication.again.take();
                self.timers.stop(Timer::Handshake);
                if let Some(operation) = operation {
                    self.events.push_back(Event::Reauthenticated { operation, result: Ok(message) });
                }
            }
            _ => return unexpected,
        }
        Ok(())
    }

    /// The server accepts the connection. Gives the CONNACK back, unless the application is to look at it first.
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
            return Err(ConnectionError::PeerMisbehaved(Misbehaviour::ConnAckBeforeAnswer));
        }
        let message = AuthMessage {
            data: properties.authentication_data.clone(),
            reason_string: properties.reason_string.clone(),
            user_properties: properties.user_properties.clone(),
        };
        authentication.step = Step::Accepting(Box::new(connack));
        self.phase = Phase::Accepting;
        self.timers.set(Timer::Handshake, deadline);
        self.events.push_back(Event::Authenticated(Box::new(message)));
        Ok(None)
    }

    /// Who has kept the other waiting for too long.
    pub(crate) fn awaited(&mut self) -> Awaited {
        let connecting = self.phase == Phase::Connecting;
        match self.authentication().map(|it| &it.step) {
            Some(Step::Application | Step::Accepting(_)) => Awaited::Authenticator,
            Some(Step::Server) if !connecting => Awaited::Auth,
            _ => Awaited::ConnAck,
        }
    }

    /// That of a connection that is not ending.
    fn authentication(&mut self) -> Option<&mut Authentication> {
        if matches!(self.phase, Phase::Closed | Phase::Closing) {
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
        let Some(authentication) = self.authentication() else { return Err(RequestError::NoChallenge) };
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
        authentication.step = Step::Server;
        self.output.packet(&packet).expect("an AUTH with a method");
        self.timers.set(Timer::Handshake, now + timeout);
        Ok(())
    }
}

fn check_method(ours: Option<&Utf8String>, theirs: Option<&Utf8String>) -> Result<(), ConnectionError> {
    if ours == theirs {
        return Ok(());
    }
    Err(ConnectionError::PeerMisbehaved(Misbehaviour::AuthenticationMethod))
}

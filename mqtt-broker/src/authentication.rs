//! Enhanced authentication that follows a script (MQTT 5 §4.12).

use crate::broker::Broker;
use crate::config::ScriptedAuthentication;
use crate::connection::{Gone, LifecycleState};
use crate::ids::ConnectionId;
use core::time::Duration;
use martlet_proto::{
    Auth, AuthReasonCode, BinaryData, Connect, ConnectReasonCode, DisconnectReasonCode, Utf8String,
};

impl Broker {
    /// Sends the challenge of this step, or lets the client in behind the last.
    pub(crate) fn challenge(
        &mut self,
        now: Duration,
        id: ConnectionId,
        connect: Box<Connect>,
        step: usize,
    ) {
        let challenge = self.script().and_then(|script| script.challenge(step));
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match challenge {
            None => {
                connection.authenticated = true;
                self.welcome(now, id, &connect);
            }
            Some(auth) => {
                connection.state = LifecycleState::Authenticating { connect, step };
                self.send(now, id, &auth.into());
            }
        }
    }

    /// AUTH came before CONNACK.
    pub(crate) fn answer_challenge(
        &mut self,
        now: Duration,
        id: ConnectionId,
        connect: Box<Connect>,
        step: usize,
        auth: &Auth,
    ) {
        if auth.reason != AuthReasonCode::ContinueAuthentication {
            self.reject(now, id, ConnectReasonCode::ProtocolError);
        } else if self
            .script()
            .is_some_and(|script| script.is_answered(step, auth))
        {
            self.challenge(now, id, connect, step + 1);
        } else {
            self.reject(now, id, ConnectReasonCode::NotAuthorized);
        }
    }

    /// AUTH came on a connection: re-authentication begins or goes on.
    pub(crate) fn reauthenticate(&mut self, now: Duration, id: ConnectionId, auth: &Auth) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let step = match (auth.reason, connection.reauthenticating.take()) {
            // [MQTT-4.12.0-7]: without enhanced authentication in CONNECT there is none later.
            _ if !connection.authenticated => None,
            (AuthReasonCode::ReAuthenticate, None) => Some(0),
            (AuthReasonCode::ContinueAuthentication, Some(step)) => Some(step + 1),
            _ => None,
        };
        let (Some(step), Some(script)) = (step, self.script()) else {
            return self.close(now, id, Gone::Ended(DisconnectReasonCode::ProtocolError));
        };
        if auth.authentication_method.as_ref() != Some(&script.method) {
            return self.close(
                now,
                id,
                Gone::Ended(DisconnectReasonCode::BadAuthenticationMethod),
            );
        }
        if step > 0 && !script.is_answered(step - 1, auth) {
            return self.close(now, id, Gone::Ended(DisconnectReasonCode::NotAuthorized));
        }
        let next = script.challenge(step);
        let done = Auth {
            authentication_method: Some(script.method.clone()),
            authentication_data: script.success.clone(),
            ..Auth::new(AuthReasonCode::Success)
        };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.reauthenticating = next.is_some().then_some(step);
        }
        self.send(now, id, &next.unwrap_or(done).into());
    }

    fn script(&self) -> Option<&ScriptedAuthentication> {
        self.config.authentication.as_ref()
    }
}

impl ScriptedAuthentication {
    fn challenge(&self, step: usize) -> Option<Auth> {
        let (challenge, _) = self.steps.get(step)?;
        Some(Auth {
            authentication_method: Some(Utf8String::clone(&self.method)),
            authentication_data: BinaryData::new(challenge.clone()).ok(),
            ..Auth::new(AuthReasonCode::ContinueAuthentication)
        })
    }

    fn is_answered(&self, step: usize, auth: &Auth) -> bool {
        let data = auth
            .authentication_data
            .as_ref()
            .map_or(&[][..], BinaryData::as_bytes);
        auth.authentication_method.as_ref() == Some(&self.method)
            && self
                .steps
                .get(step)
                .is_some_and(|(_, answer)| answer == data)
    }
}

//! How connections, sessions and wills begin and end. All transitions are here.
//!
//! ```text
//! connection
//!               CONNECT                        welcome
//!   Waiting ───────────────▶ Authenticating ───────────▶ Connected(session)
//!      │    (no method: straight to Connected)               │
//!      │ reject, timeout         │ reject, timeout           │ close: DISCONNECT, error, keep alive,
//!      ▼                         ▼                           ▼        taken over, command
//!   Closing ◀────────────────────┴───────────────────────────┘
//!      │ output handed out after poll_close, or handle_close at any time
//!      ▼
//!     gone
//!
//! session
//!              CONNECT                close, expiry > 0
//!   none ─────────────▶ connected ─────────────────────▶ waiting
//!    ▲                   │     ▲                           │ │
//!    │ close, expiry 0   │     └───────────────────────────┘ │
//!    ├───────────────────┘           CONNECT, clean start 0  │
//!    └───────────────────────────────────────────────────────┘
//!      expiry passes; CONNECT, clean start 1; forget_sessions
//!
//! will
//!   CONNECT sets it; DISCONNECT 0x00 discards it. Any other end of the connection publishes it, when its delay has
//!   passed or the session ends, whichever is first; a CONNECT that resumes the session before discards it.
//! ```

use crate::broker::Broker;
use crate::config::reached;
use crate::connection::{Gone, LifecycleState};
use crate::deadlines::BrokerTimer;
use crate::event::BrokerEvent;
use crate::ids::{ConnectionId, SessionId};
use crate::session::BrokerSession;
use bytes::Bytes;
use core::num::{NonZeroU16, NonZeroU32};
use core::time::Duration;
use martlet_proto::{
    BinaryData, ConnAck, ConnAckProperties, Connect, ConnectReasonCode, DecodeError,
    DecodeErrorKind, Delivery, Disconnect, DisconnectReasonCode, MAX_PACKET_SIZE, PacketIdentifier,
    PublishRef, QoS, TopicName, Utf8String, Version, Will,
};

impl Broker {
    /// The first packet came, and it is a CONNECT.
    pub(crate) fn connect(&mut self, now: Duration, id: ConnectionId, connect: Box<Connect>) {
        if !self.config.versions.contains(&connect.version) {
            return self.reject_version(now, id, connect.version.level());
        }
        let config = &self.config;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.agree(
                &connect,
                config.limits,
                config.max_in_flight,
                config.outbound_topic_aliases,
            );
            let most = usize::from(config.max_in_flight.get());
            let allowed = &mut connection.outbound.max_in_flight;
            *allowed = (*allowed + usize::from(config.moods.overshoot)).min(most);
        }
        match self.admit(&connect) {
            Err(reason) => self.reject(now, id, reason),
            Ok(()) if connect.properties.authentication_method.is_some() => {
                self.challenge(now, id, connect, 0);
            }
            Ok(()) => self.welcome(now, id, &connect),
        }
    }

    /// Whether a client is accepted, judged by its CONNECT alone (MQTT 5 §3.1.4, 3.1.1 §3.1.4).
    fn admit(&self, connect: &Connect) -> Result<(), ConnectReasonCode> {
        let config = &self.config;
        let is_v5 = connect.version.has_properties();
        if let Some(reason) = config.reject {
            return Err(reason);
        }
        let identifier = &connect.client_identifier;
        let valid = match connect.version {
            Version::V3_1 => (1..=23).contains(&identifier.as_str().chars().count()),
            Version::V3_1_1 => !identifier.is_empty() || connect.clean_start,
            Version::V5 => true,
        };
        if !valid {
            return Err(ConnectReasonCode::ClientIdentifierNotValid);
        }
        if let Some(method) = &connect.properties.authentication_method {
            if config
                .authentication
                .as_ref()
                .is_none_or(|script| script.method != *method)
            {
                return Err(ConnectReasonCode::BadAuthenticationMethod);
            }
        }
        if let Some(users) = &config.users {
            let Some(name) = &connect.user_name else {
                return Err(ConnectReasonCode::NotAuthorized);
            };
            if users
                .get(name)
                .is_none_or(|password| connect.password.as_ref() != Some(password))
            {
                return Err(ConnectReasonCode::BadUserNameOrPassword);
            }
        }
        if let Some(will) = connect.will.as_ref().filter(|_| is_v5) {
            if will.qos > config.limits.maximum_qos {
                return Err(ConnectReasonCode::QosNotSupported);
            }
            if will.retain && !config.limits.retain_available {
                return Err(ConnectReasonCode::RetainNotSupported);
            }
        }
        if !self.clients.contains_key(identifier)
            && reached(self.sessions.len(), config.max_sessions)
        {
            return Err(ConnectReasonCode::QuotaExceeded);
        }
        Ok(())
    }

    /// Accepts a client: finds or creates its session, and sends CONNACK.
    pub(crate) fn welcome(&mut self, now: Duration, id: ConnectionId, connect: &Connect) {
        let identifier = match connect.client_identifier.is_empty() {
            true => self.assign_identifier(),
            false => detached(&connect.client_identifier),
        };
        // The session may have a connection, which is taken over [MQTT-3.1.4-3]; that may be the
        // end of it.
        if let Some(old) = self
            .clients
            .get(&identifier)
            .and_then(|id| self.sessions.get(id)?.connection)
        {
            self.close(
                now,
                old,
                Gone::Ended(DisconnectReasonCode::SessionTakenOver),
            );
        }
        let mut present = self.clients.get(&identifier).copied();
        if connect.clean_start {
            if let Some(session) = present.take() {
                self.end_session(now, session);
            }
        }
        let session_id = present.unwrap_or_else(|| self.create_session(&identifier));
        self.deadlines.stop(BrokerTimer::Will(session_id));
        self.deadlines.stop(BrokerTimer::SessionExpiry(session_id));
        self.deadlines.stop(BrokerTimer::Connect(id));

        let asked = match connect.version {
            Version::V5 => connect.properties.session_expiry_interval.unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => u32::MAX,
        };
        let expiry = asked.min(self.config.limits.maximum_session_expiry);
        let mut will = connect.will.as_ref().map(detached_will);
        if let Some(will) = &mut will {
            // A client of 3.x cannot know of it, and gets as far as with a PUBLISH.
            will.retain &= self.config.limits.retain_available;
        }
        if let Some(session) = self.sessions.get_mut(&session_id) {
            session.expiry = expiry;
            session.forgotten = false;
            session.will = will;
            session.resume(id);
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.state = LifecycleState::Connected(session_id);
            if let Some(timeout) = connection.keep_alive_timeout {
                self.deadlines
                    .set(BrokerTimer::KeepAlive(id), now.saturating_add(timeout));
            }
        }
        self.record(|_| BrokerEvent::Connected {
            connection: id,
            client_identifier: identifier.clone(),
            version: connect.version,
            session_present: present.is_some(),
        });
        let mut answer = ConnAck::new(ConnectReasonCode::Success);
        answer.session_present = present.is_some() && connect.version != Version::V3_1;
        if connect.version.has_properties() {
            answer.properties =
                self.connack_properties(connect, identifier, (expiry != asked).then_some(expiry));
        }
        self.send(now, id, &answer.into());
    }

    fn connack_properties(
        &self,
        connect: &Connect,
        identifier: Utf8String,
        session_expiry_interval: Option<u32>,
    ) -> ConnAckProperties {
        let limits = &self.config.limits;
        let method = connect.properties.authentication_method.clone();
        // What is the specification's default is left out.
        ConnAckProperties {
            session_expiry_interval,
            receive_maximum: Some(limits.receive_maximum).filter(|&max| max != NonZeroU16::MAX),
            maximum_qos: Some(limits.maximum_qos).filter(|&qos| qos != QoS::ExactlyOnce),
            retain_available: unless_true(limits.retain_available),
            maximum_packet_size: NonZeroU32::new(limits.maximum_packet_size)
                .filter(|max| max.get() < MAX_PACKET_SIZE),
            assigned_client_identifier: match &self.config.moods.renames {
                Some(other) if !connect.client_identifier.is_empty() => Some(other.clone()),
                _ => connect.client_identifier.is_empty().then_some(identifier),
            },
            topic_alias_maximum: Some(limits.topic_alias_maximum).filter(|&max| max > 0),
            wildcard_subscription_available: unless_true(limits.wildcard_subscription_available),
            subscription_identifier_available: unless_true(
                limits.subscription_identifier_available,
            ),
            shared_subscription_available: unless_true(limits.shared_subscription_available),
            server_keep_alive: limits.server_keep_alive,
            response_information: (self.config.response_information.clone())
                .filter(|_| connect.properties.request_response_information == Some(true)),
            authentication_data: (self.config.authentication.as_ref())
                .filter(|_| method.is_some())
                .and_then(|script| script.success.clone()),
            authentication_method: method,
            ..ConnAckProperties::default()
        }
    }

    /// Rejects a CONNECT, in the form of its version.
    pub(crate) fn reject(&mut self, now: Duration, id: ConnectionId, reason: ConnectReasonCode) {
        let Some(version) = self
            .connections
            .get(&id)
            .map(|connection| connection.version)
        else {
            return;
        };
        self.record(|_| BrokerEvent::Rejected {
            connection: id,
            reason,
        });
        let mut answer = ConnAck::new(reason);
        if version.has_properties() {
            if matches!(
                reason,
                ConnectReasonCode::UseAnotherServer | ConnectReasonCode::ServerMoved
            ) {
                answer.properties.server_reference = self.config.server_reference.clone();
            }
        } else if reason.return_code().is_none() {
            // 3.x has five words; this is the one that asks to try again.
            answer.reason = ConnectReasonCode::ServerUnavailable;
        }
        self.send(now, id, &answer.into());
        self.close(now, id, Gone::Dropped);
    }

    /// Rejects a version: in the form of 3.1.1, which every client understands, unless the client
    /// asks for one that came after MQTT 5 [MQTT-3.1.2-2].
    fn reject_version(&mut self, now: Duration, id: ConnectionId, level: u8) {
        let after_v5 = level > Version::V5.level() && self.config.versions.contains(&Version::V5);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.version = if after_v5 {
                Version::V5
            } else {
                Version::V3_1_1
            };
        }
        self.reject(now, id, ConnectReasonCode::UnsupportedProtocolVersion);
    }

    /// The first bytes are malformed. Only MQTT 5 has a reason code for it, and only for a CONNECT.
    pub(crate) fn reject_malformed(
        &mut self,
        now: Duration,
        id: ConnectionId,
        level: Option<u8>,
        error: DecodeError,
    ) {
        if let DecodeErrorKind::ProtocolLevel(level) = error.kind() {
            return self.reject_version(now, id, level);
        }
        if level == Some(Version::V5.level()) && self.config.versions.contains(&Version::V5) {
            let reason = ConnectReasonCode::from_u8(error.reason().as_u8());
            return self.reject(
                now,
                id,
                reason.unwrap_or(ConnectReasonCode::MalformedPacket),
            );
        }
        self.close(now, id, Gone::Dropped);
    }

    /// Ends a connection in whatever state it is; nothing is left to do for one that is ending
    /// already.
    pub(crate) fn close(&mut self, now: Duration, id: ConnectionId, gone: Gone) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let state = core::mem::replace(&mut connection.state, LifecycleState::Closing);
        self.deadlines.stop(BrokerTimer::Connect(id));
        self.deadlines.stop(BrokerTimer::KeepAlive(id));
        if matches!(state, LifecycleState::Closing) {
            if gone == Gone::Network {
                self.forget_connection(id);
            }
            return;
        }
        if let (LifecycleState::Connected(_), Gone::Ended(reason), Version::V5) =
            (&state, gone, connection.version)
        {
            // It is not sent to a client that accepts no packet that large.
            let sent = connection.send(&Disconnect::new(reason).into());
            self.statistics.packets_sent += u64::from(sent);
        }
        match gone {
            Gone::Network => self.forget_connection(id),
            Gone::Dropped | Gone::Ended(_) | Gone::Left(_) => self.ask_to_close(id),
        }
        if let LifecycleState::Connected(session) = state {
            self.leave(now, id, session, gone);
        }
    }

    /// A session has lost its connection.
    fn leave(&mut self, now: Duration, id: ConnectionId, session_id: SessionId, gone: Gone) {
        let Some(session) = self.sessions.get_mut(&session_id) else {
            return;
        };
        session.suspend();
        if gone == Gone::Left(DisconnectReasonCode::NormalDisconnection) {
            session.will = None;
        }
        let expiry = if session.forgotten { 0 } else { session.expiry };
        let delay = session
            .will
            .as_ref()
            .map(|will| will.delay_interval.unwrap_or(0).min(expiry));
        let client_identifier = session.client_identifier.clone();
        self.record(|_| BrokerEvent::Disconnected {
            connection: id,
            client_identifier,
            ending: gone.into(),
        });
        match delay {
            None => {}
            Some(0) => self.publish_will(now, session_id),
            Some(delay) => self
                .deadlines
                .set(BrokerTimer::Will(session_id), after(now, delay)),
        }
        match expiry {
            0 => self.end_session(now, session_id),
            u32::MAX => {}
            expiry => self
                .deadlines
                .set(BrokerTimer::SessionExpiry(session_id), after(now, expiry)),
        }
    }

    fn create_session(&mut self, identifier: &Utf8String) -> SessionId {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        self.clients.insert(identifier.clone(), id);
        self.sessions
            .insert(id, BrokerSession::new(identifier.clone()));
        id
    }

    /// Ends a session that has no connection; its will is not left behind [MQTT-3.1.2-8].
    pub(crate) fn end_session(&mut self, now: Duration, id: SessionId) {
        self.publish_will(now, id);
        self.deadlines.stop(BrokerTimer::SessionExpiry(id));
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        self.clients.remove(&session.client_identifier);
        for filter in &session.filters {
            self.subscriptions.unsubscribe(filter, id);
        }
        self.record(|_| BrokerEvent::SessionEnded {
            client_identifier: session.client_identifier,
        });
    }

    /// Publishes the will of a session, if there is one.
    pub(crate) fn publish_will(&mut self, now: Duration, id: SessionId) {
        self.deadlines.stop(BrokerTimer::Will(id));
        let Some(will) = self
            .sessions
            .get_mut(&id)
            .and_then(|session| session.will.take())
        else {
            return;
        };
        let packet_identifier = PacketIdentifier::MIN;
        let delivery = match will.qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce {
                packet_identifier,
                duplicate: false,
            },
            QoS::ExactlyOnce => Delivery::ExactlyOnce {
                packet_identifier,
                duplicate: false,
            },
        };
        let publish = PublishRef::new(&will.topic, will.payload.as_bytes())
            .with_delivery(delivery)
            .with_retain(will.retain)
            .with_properties(&will.properties);
        self.route(now, publish, Some(id));
    }

    /// A client identifier for a client that has none: unguessable only as far as the seed is.
    fn assign_identifier(&mut self) -> Utf8String {
        loop {
            self.assigned += 1;
            // SplitMix64: each seed and count give another number.
            let mut z = self
                .config
                .seed
                .wrapping_add(self.assigned.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let identifier = format!("auto-{:016x}", z ^ (z >> 31));
            let identifier = Utf8String::new(identifier).expect("short and without U+0000");
            if !self.clients.contains_key(&identifier) {
                return identifier;
            }
        }
    }
}

fn unless_true(available: bool) -> Option<bool> {
    (!available).then_some(false)
}

fn after(now: Duration, seconds: u32) -> Duration {
    now.saturating_add(Duration::from_secs(seconds.into()))
}

/// A copy that does not hold on to the buffer that the packet arrived in.
fn detached(text: &Utf8String) -> Utf8String {
    Utf8String::from_bytes(Bytes::copy_from_slice(text.as_bytes()))
        .expect("checked when it was decoded")
}

fn detached_will(will: &Will) -> Will {
    let topic = Bytes::copy_from_slice(will.topic.as_bytes());
    let payload = Bytes::copy_from_slice(will.payload.as_bytes());
    Will {
        topic: TopicName::from_bytes(topic).expect("checked when it was decoded"),
        payload: BinaryData::new(payload).expect("checked when it was decoded"),
        ..will.clone()
    }
}

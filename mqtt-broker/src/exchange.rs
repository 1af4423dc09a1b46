//! The packets of a client and the answers to them (MQTT 5 §3, §4).

use crate::broker::Broker;
use crate::config::reached;
use crate::connection::{Gone, LifecycleState};
use crate::event::BrokerEvent;
use crate::ids::{ConnectionId, SessionId};
use crate::session::BrokerSession;
use crate::subscriptions::{Grant, MAX_LEVELS};
use bytes::Bytes;
use core::time::Duration;
use martlet_proto::{
    Delivery, Disconnect, DisconnectReasonCode, Packet, PacketIdentifier, PacketType, PubAck,
    PubAckReasonCode, PubComp, PubRec, PubRel, PubRelReasonCode, Publish, PublishRef, QoS,
    RetainHandling, SubAck, SubAckReasonCode, Subscribe, SubscribeFilter, TopicFilter, UnsubAck,
    UnsubAckReasonCode, Unsubscribe, UserProperties, Version,
};

impl Broker {
    /// A whole packet came.
    pub(crate) fn packet(&mut self, now: Duration, id: ConnectionId, packet: Packet) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match &mut connection.state {
            LifecycleState::Closing => {}
            LifecycleState::Waiting => match packet {
                Packet::Connect(connect) => self.connect(now, id, connect),
                // [MQTT-3.1.0-1]
                _ => self.close(now, id, Gone::Dropped),
            },
            LifecycleState::Authenticating { .. } => {
                let Packet::Auth(auth) = packet else {
                    return self.close(now, id, Gone::Dropped);
                };
                if let LifecycleState::Authenticating { connect, step } =
                    core::mem::replace(&mut connection.state, LifecycleState::Waiting)
                {
                    self.answer_challenge(now, id, connect, step, &auth);
                }
            }
            &mut LifecycleState::Connected(session) => self.connected(now, id, session, packet),
        }
    }

    fn connected(&mut self, now: Duration, id: ConnectionId, session: SessionId, packet: Packet) {
        match packet {
            Packet::Publish(publish) => {
                if let Err(reason) = self.publish_from(now, id, session, &publish) {
                    self.close(now, id, Gone::Ended(reason));
                }
            }
            Packet::PubAck(PubAck {
                packet_identifier, ..
            }) => {
                let act = BrokerSession::acknowledge;
                self.acknowledged(id, session, PacketType::PubAck, packet_identifier, act);
            }
            Packet::PubRec(PubRec {
                packet_identifier,
                reason,
                ..
            }) if reason.is_error() => {
                let act = BrokerSession::reject;
                self.acknowledged(id, session, PacketType::PubRec, packet_identifier, act);
            }
            Packet::PubRec(PubRec {
                packet_identifier, ..
            }) => {
                let act = BrokerSession::release;
                let found =
                    self.acknowledged(id, session, PacketType::PubRec, packet_identifier, act);
                let release = PubRel::new(packet_identifier, self.release_reason(id, found));
                self.send(now, id, &Packet::PubRel(release));
            }
            Packet::PubRel(release) => {
                let received = &release.packet_identifier;
                let found = self.with_session(session, |session| session.received.remove(received));
                self.exchange_ended(id);
                let complete =
                    PubComp::new(release.packet_identifier, self.release_reason(id, found));
                self.send(now, id, &Packet::PubComp(complete));
            }
            Packet::PubComp(PubComp {
                packet_identifier, ..
            }) => {
                let act = BrokerSession::complete;
                self.acknowledged(id, session, PacketType::PubComp, packet_identifier, act);
            }
            Packet::Subscribe(subscribe) => self.subscribe(now, id, session, &subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(now, id, session, &unsubscribe),
            Packet::PingReq => self.send(now, id, &Packet::PingResp),
            Packet::Disconnect(disconnect) => self.disconnect_from(now, id, session, &disconnect),
            Packet::Auth(auth) => self.reauthenticate(now, id, &auth),
            // A second CONNECT [MQTT-3.1.0-2], and what only a server sends.
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => {
                self.close(now, id, Gone::Ended(DisconnectReasonCode::ProtocolError));
            }
        }
    }

    /// PUBLISH came: resolves its topic alias, routes it once, answers it. `Err`: the client broke
    /// a rule.
    fn publish_from(
        &mut self,
        now: Duration,
        id: ConnectionId,
        session: SessionId,
        publish: &Publish,
    ) -> Result<(), DisconnectReasonCode> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Ok(());
        };
        let alias = connection.check_publish(publish)?;
        let retain = publish.retain() && connection.limits.retain_available;
        let delivery = publish.delivery();
        if delivery.qos() != QoS::AtMostOnce && !connection.take_quota() {
            return Err(DisconnectReasonCode::ReceiveMaximumExceeded);
        }

        let aliased;
        let message_properties;
        let mut message = publish.as_ref().with_retain(retain);
        if let Some(alias) = alias {
            aliased = connection.resolve_alias(alias, publish)?;
            message_properties = publish.message_properties();
            message = PublishRef::new(&aliased, publish.payload())
                .with_delivery(delivery)
                .with_retain(retain)
                .with_properties(&message_properties);
        }
        if delivery.qos() != QoS::AtMostOnce && self.config.moods.forbids_topic(message.topic()) {
            self.misbehave(id, PacketType::Publish, Some(publish.clone()));
            self.close(now, id, Gone::Dropped);
            return Ok(());
        }
        let version = connection.version;
        match delivery {
            Delivery::AtMostOnce => {
                self.route(now, message, Some(session));
            }
            Delivery::AtLeastOnce {
                packet_identifier, ..
            } => {
                self.exchange_ended(id);
                let routed = self.route(now, message, Some(session));
                let ack = PubAck::new(packet_identifier, routed.reason(version));
                self.send(now, id, &Packet::PubAck(ack));
            }
            Delivery::ExactlyOnce {
                packet_identifier, ..
            } if self.config.moods.wrong_flow => {
                self.exchange_ended(id);
                // It holds nothing of it, also if it had taken it before.
                self.with_session(session, |session| {
                    session.received.remove(&packet_identifier)
                });
                self.misbehave(id, PacketType::Publish, Some(publish.clone()));
                let ack = PubAck::new(packet_identifier, PubAckReasonCode::Success);
                self.send(now, id, &Packet::PubAck(ack));
            }
            Delivery::ExactlyOnce {
                packet_identifier, ..
            } => self.receive_exactly_once(now, id, version, session, packet_identifier, message),
        }
        Ok(())
    }

    /// Routes a QoS 2 message, unless it did before, and sends the PUBREC.
    fn receive_exactly_once(
        &mut self,
        now: Duration,
        id: ConnectionId,
        version: Version,
        session: SessionId,
        packet_identifier: PacketIdentifier,
        message: PublishRef<'_>,
    ) {
        // What is routed here and now is not routed again until PUBREL came [MQTT-4.3.3-10].
        let is_new = self.with_session(session, |session| {
            session.received.insert(packet_identifier)
        });
        let reason = match is_new {
            true => self.route(now, message, Some(session)).reason(version),
            false => PubAckReasonCode::Success,
        };
        if reason.is_error() {
            // The exchange ends with this PUBREC (MQTT 5 §4.3.3).
            self.with_session(session, |session| {
                session.received.remove(&packet_identifier)
            });
            self.exchange_ended(id);
        }
        self.send(
            now,
            id,
            &Packet::PubRec(PubRec::new(packet_identifier, reason)),
        );
    }

    fn subscribe(
        &mut self,
        now: Duration,
        id: ConnectionId,
        session_id: SessionId,
        packet: &Subscribe,
    ) {
        if self.dislikes(now, id, packet) {
            return;
        }
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let (version, limits) = (connection.version, connection.limits);
        let mut reasons = Vec::with_capacity(packet.subscriptions.len());
        let mut granted = Vec::new();
        for subscription in &packet.subscriptions {
            let filter = &subscription.filter;
            let unavailable =
                if filter.share_name().is_some() && !limits.shared_subscription_available {
                    Some(DisconnectReasonCode::SharedSubscriptionsNotSupported)
                } else if filter.has_wildcards() && !limits.wildcard_subscription_available {
                    Some(DisconnectReasonCode::WildcardSubscriptionsNotSupported)
                } else if packet.subscription_identifier.is_some()
                    && !limits.subscription_identifier_available
                {
                    Some(DisconnectReasonCode::SubscriptionIdentifiersNotSupported)
                } else {
                    None
                };
            let reason = match unavailable {
                // CONNACK announced it (MQTT 5 §3.2.2.3.11 to §3.2.2.3.13); in 3.x it cannot.
                Some(reason) if version.has_properties() => {
                    return self.close(now, id, Gone::Ended(reason));
                }
                Some(_) => SubAckReasonCode::UnspecifiedError,
                None => {
                    match self.subscribe_one(session_id, packet, subscription, limits.maximum_qos) {
                        Ok((grant, is_new)) => {
                            granted.push((filter, grant, is_new, subscription.retain_handling));
                            SubAckReasonCode::granted(grant.qos)
                        }
                        Err(reason) if version.has_properties() => reason,
                        Err(_) => SubAckReasonCode::UnspecifiedError,
                    }
                }
            };
            if version == Version::V3_1 && reason.is_error() {
                // 3.1 has no way to say no.
                return self.close(now, id, Gone::Dropped);
            }
            reasons.push(reason);
        }
        if self.config.moods.miscount(&mut reasons) {
            self.misbehave(id, PacketType::Subscribe, None);
        }
        let answer = SubAck {
            packet_identifier: packet.packet_identifier,
            reason_string: None,
            user_properties: UserProperties::new(),
            reasons,
        };
        self.send(now, id, &answer.into());
        for (filter, grant, is_new, retain_handling) in granted {
            let wanted = match retain_handling {
                RetainHandling::Send => true,
                RetainHandling::SendIfNew => is_new,
                RetainHandling::DoNotSend => false,
            };
            if wanted && filter.share_name().is_none() {
                self.deliver_retained(now, session_id, filter, grant);
            }
        }
    }

    /// Makes or replaces one subscription: what was granted, and whether it is new.
    fn subscribe_one(
        &mut self,
        id: SessionId,
        packet: &Subscribe,
        subscription: &SubscribeFilter,
        maximum_qos: QoS,
    ) -> Result<(Grant, bool), SubAckReasonCode> {
        let filter = &subscription.filter;
        let Some(session) = self.sessions.get_mut(&id) else {
            return Err(SubAckReasonCode::UnspecifiedError);
        };
        if filter.pattern().split('/').count() > MAX_LEVELS {
            return Err(SubAckReasonCode::TopicFilterInvalid);
        }
        let is_new = !session.filters.contains(filter);
        if is_new {
            if reached(session.filters.len(), self.config.max_subscriptions) {
                return Err(SubAckReasonCode::QuotaExceeded);
            }
            // A copy that does not hold on to the buffer that the packet arrived in.
            let copy = TopicFilter::from_bytes(Bytes::copy_from_slice(filter.as_bytes()));
            session
                .filters
                .insert(copy.map_err(|_| SubAckReasonCode::TopicFilterInvalid)?);
        }
        let grant = Grant {
            qos: subscription.qos.min(maximum_qos),
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            identifier: packet.subscription_identifier,
        };
        self.subscriptions.subscribe(filter, id, grant);
        Ok((grant, is_new))
    }

    fn unsubscribe(
        &mut self,
        now: Duration,
        id: ConnectionId,
        session_id: SessionId,
        packet: &Unsubscribe,
    ) {
        let Some(session) = self.sessions.get_mut(&session_id) else {
            return;
        };
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let mut reasons = Vec::new();
        for filter in &packet.filters {
            let existed = session.filters.remove(filter);
            if existed {
                self.subscriptions.unsubscribe(filter, session_id);
            }
            if connection.version.has_properties() {
                reasons.push(match existed {
                    true => UnsubAckReasonCode::Success,
                    false => UnsubAckReasonCode::NoSubscriptionExisted,
                });
            }
        }
        if self.config.moods.miscount(&mut reasons) {
            self.misbehave(id, PacketType::Unsubscribe, None);
        }
        let answer = UnsubAck {
            packet_identifier: packet.packet_identifier,
            reason_string: None,
            user_properties: UserProperties::new(),
            reasons,
        };
        self.send(now, id, &answer.into());
    }

    fn disconnect_from(
        &mut self,
        now: Duration,
        id: ConnectionId,
        session: SessionId,
        packet: &Disconnect,
    ) {
        if let Some(expiry) = packet.session_expiry_interval {
            let maximum = self.config.limits.maximum_session_expiry;
            let allowed = self.with_session(session, |session| {
                // [MQTT-3.14.2-2] and §3.14.2.2.2: what was 0 in CONNECT stays 0.
                let allowed = session.expiry > 0 || expiry == 0;
                if allowed {
                    session.expiry = expiry.min(maximum);
                }
                allowed
            });
            if !allowed {
                return self.close(now, id, Gone::Ended(DisconnectReasonCode::ProtocolError));
            }
        }
        self.close(now, id, Gone::Left(packet.reason));
    }

    /// Gives an acknowledgement to the session, which may make room for the next message; returns
    /// whether there is something that it is for.
    fn acknowledged(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        packet_type: PacketType,
        packet_identifier: PacketIdentifier,
        act: fn(&mut BrokerSession, PacketIdentifier) -> bool,
    ) -> bool {
        let found = self.with_session(session, |session| act(session, packet_identifier));
        if found {
            let connection = self.connections.get(&id);
            let session = self.sessions.get(&session);
            if connection.is_some_and(|connection| {
                session.is_some_and(|session| session.has_output(connection))
            }) {
                self.mark_ready(id);
            }
        } else if let Some(session) = self.sessions.get(&session) {
            let client_identifier = session.client_identifier.clone();
            self.record(|_| BrokerEvent::UnexpectedAck {
                client_identifier,
                packet_type,
                packet_identifier,
            });
        }
        found
    }

    /// The exchange of a QoS 1 or 2 message ended.
    fn exchange_ended(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.exchange_ended();
        }
    }

    /// 3.x cannot say that it does not know a packet identifier.
    fn release_reason(&self, id: ConnectionId, found: bool) -> PubRelReasonCode {
        match self.connections.get(&id) {
            Some(connection) if connection.version.has_properties() && !found => {
                PubRelReasonCode::PacketIdentifierNotFound
            }
            _ => PubRelReasonCode::Success,
        }
    }

    fn with_session(
        &mut self,
        id: SessionId,
        act: impl FnOnce(&mut BrokerSession) -> bool,
    ) -> bool {
        self.sessions.get_mut(&id).is_some_and(act)
    }
}

//! Receiving: what the session does with a PUBLISH, over the machine in `inbound`.

use crate::error::Details;
use crate::event::AckToken;
use crate::inbound::Arrived;
use crate::session::timers::TimerKind;
use crate::store::context::Context;
use crate::{ConnectionError, DeliveryId, DropQos0, Event, Excess, Instant, Misbehaviour, Session};
use alloc::boxed::Box;
use core::time::Duration;
use martlet_proto::{Ack, AckProperties, Packet, PacketIdentifier, PubAckReasonCode, QoS};

impl Session {
    /// Messages that were delivered, or wait to be, and were not acknowledged with their token.
    pub fn unhandled(&self) -> usize {
        self.inbound.unhandled()
    }

    /// Bytes of their packets.
    pub fn unhandled_bytes(&self) -> usize {
        self.inbound.unhandled_bytes()
    }

    /// Whether a copy of this message that came later has taken its place: drop it, and acknowledge
    /// its token. It does not count for the bounds any more.
    pub fn is_superseded(&self, token: &AckToken) -> bool {
        self.inbound.is_superseded(token)
    }

    /// Whether any message was superseded since the last call: it is time to look for those in
    /// your own queues.
    #[must_use = "it is reported once"]
    pub fn poll_superseded(&mut self) -> bool {
        self.inbound.take_superseded()
    }

    #[inline]
    pub(crate) fn handle_publish(
        &mut self,
        publish: martlet_proto::Publish,
    ) -> Result<(), ConnectionError> {
        let aliased = if self.output.version.has_properties() && !publish.properties().is_empty() {
            let maximum = self.config.topic_alias_maximum;
            let scan = publish.properties().scan();
            if scan.has_empty_response_topic {
                self.output.tally.counters_mut().empty_response_topics += 1;
            }
            match scan.topic_alias {
                Some(alias) => self
                    .inbound
                    .resolve_alias(publish.as_ref().topic_bytes(), alias, maximum)
                    .map_err(ConnectionError::PeerMisbehaved)?,
                None => None,
            }
        } else {
            None
        };
        if publish.delivery().qos() == QoS::AtMostOnce {
            // A large message may need the room of several small ones.
            while self.inbound.is_full(&self.config.inbound) {
                if !self.make_room_for_qos0() {
                    self.output.tally.add_dropped();
                    return Ok(());
                }
            }
        } else {
            if self.output.version.has_properties() && self.inbound.is_window_full() {
                self.exceed_receive_maximum()?;
            }
            if self
                .inbound
                .is_overrun(&self.config.inbound, publish.delivery())
            {
                return Err(ConnectionError::InboundOverrun);
            }
        }
        let context = Context::new(&mut self.output, &mut self.journal);
        if let Arrived::Deliver(message) = self.inbound.arrive(publish, aliased, context) {
            self.events.push_back(Event::Message(message));
        }
        Ok(())
    }

    /// One more message than the Receive Maximum allows has come.
    #[cold]
    fn exceed_receive_maximum(&mut self) -> Result<(), ConnectionError> {
        if self.config.inbound.excess == Excess::Disconnect {
            return Err(ConnectionError::PeerMisbehaved(
                Misbehaviour::ReceiveMaximumExceeded,
            ));
        }
        self.output.tally.counters_mut().receive_maximum_exceeded += 1;
        if self.inbound.note_excess() {
            let receive_maximum = self.inbound.receive_maximum().get();
            self.events
                .push_back(Event::ReceiveMaximumExceeded { receive_maximum });
        }
        Ok(())
    }

    /// Drops the oldest QoS 0 message that is still here, if that is the policy.
    pub(crate) fn make_room_for_qos0(&mut self) -> bool {
        if self.config.inbound.qos0_when_full == DropQos0::Newest {
            return false;
        }
        let Some(message) = self.events.pop_qos0() else {
            return false;
        };
        self.inbound
            .acknowledge(&message.token, PubAckReasonCode::Success, None);
        self.output.tally.add_dropped();
        true
    }

    /// The application has taken a message. The acknowledgement leaves when all earlier messages of
    /// its QoS were taken too [MQTT-4.6.0-2]. In 3.x, which knows no reasons, any `reason` is
    /// success.
    ///
    /// Cheap, and needed for QoS 0 too: the limits count what was not taken.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "a delivery is taken once")]
    pub fn acknowledge(&mut self, token: AckToken, reason: PubAckReasonCode) {
        let online = self.is_online();
        if token.qos == QoS::AtMostOnce {
            return self.inbound.acknowledge(&token, reason, None);
        }
        let mut context = Context::new(&mut self.output, &mut self.journal);
        self.inbound
            .acknowledge(&token, reason, online.then_some(&mut context));
    }

    /// The application has taken several messages: the same as [`acknowledge`](Self::acknowledge)
    /// of each with success, in their order [MQTT-4.6.0-2], for less.
    pub fn acknowledge_all(&mut self, tokens: impl IntoIterator<Item = AckToken>) {
        let online = self.is_online();
        let mut context = Context::new(&mut self.output, &mut self.journal);
        self.inbound
            .acknowledge_all(tokens.into_iter(), online.then_some(&mut context));
    }

    /// The delivery whose place this one has taken: the message came on an earlier connection, was
    /// not acknowledged there, and has come again (MQTT 5 §4.4). Returned once for a token, of QoS 1
    /// only: what comes again of QoS 2 keeps its token.
    pub fn take_replaced(&mut self, token: &AckToken) -> Option<DeliveryId> {
        self.inbound.take_replaced(token)
    }

    /// The same as [`acknowledge`](Self::acknowledge), and tells the server more than a reason (MQTT 5 §3.4.2.2). The words are left out
    /// in 3.x, where the server does not take as large a packet [MQTT-3.4.2-2, MQTT-3.4.2-3], and
    /// when the connection ends before the acknowledgement leaves.
    pub fn acknowledge_with(
        &mut self,
        token: AckToken,
        reason: PubAckReasonCode,
        details: Details,
    ) {
        let Details {
            reason_string,
            user_properties,
        } = details.clone();
        let properties = AckProperties {
            reason_string,
            user_properties,
        };
        if !properties.is_empty() {
            let ack = Ack {
                properties: Some(Box::new(properties)),
                ..Ack::new(PacketIdentifier::MIN, reason)
            };
            let size = Packet::PubAck(ack).encoded_len(self.output.version);
            if self.output.version.has_properties()
                && size <= self.limits.maximum_packet_size as usize
            {
                self.inbound.explain(&token, Box::new(details));
            }
        }
        self.acknowledge(token, reason);
    }

    /// The application has dropped a message without an answer: it stays unacknowledged, and the
    /// acknowledgements of later ones stand behind it. On its next connection the server sends it
    /// again, and it is delivered again. One of QoS 0 is gone.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a delivery is abandoned once"
    )]
    pub fn abandon(&mut self, token: AckToken) {
        self.inbound.abandon(&token);
    }

    /// How long acknowledgements are held back before it is reported. Never so short that time
    /// stands still.
    fn holding_timeout(&self) -> Option<Duration> {
        self.config
            .held_acknowledgements_after
            .map(|timeout| timeout.max(Duration::from_millis(1)))
    }

    /// A message was taken before an earlier one: if that does not follow in time, it is reported.
    pub(crate) fn watch_acknowledgements(&mut self, now: Instant) {
        let Some(timeout) = self.holding_timeout() else {
            return;
        };
        if self.timers.get(TimerKind::Acknowledgements).is_none()
            && self.inbound.look_for_holders(|_, _| ())
        {
            self.timers.set(TimerKind::Acknowledgements, now + timeout);
        }
    }

    /// Tells what holds back acknowledgements now and did so a period ago.
    pub(crate) fn report_held_acknowledgements(&mut self, now: Instant) {
        let events = &mut self.events;
        let tell = |by, held| events.push_back(Event::AcknowledgementsHeld { by, held });
        let any = self.inbound.look_for_holders(tell);
        let next = self
            .holding_timeout()
            .filter(|_| any)
            .map(|timeout| now + timeout);
        self.timers.set(TimerKind::Acknowledgements, next);
    }
}

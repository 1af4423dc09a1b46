//! One session: what outlives connections (MQTT 5 §4.1), and the making of PUBLISH packets from
//! what waits in it.

use crate::connection::BrokerConnection;
use crate::event::DropReason;
use crate::ids::ConnectionId;
use crate::message::OutgoingMessage;
use bytes::{BufMut, BytesMut};
use core::num::NonZeroU16;
use core::time::Duration;
use martlet_proto::{
    Delivery, Packet, PacketIdentifier, PubRel, PubRelReasonCode, PublishProperties, PublishRef,
    QoS, TopicFilter, Utf8String, Will,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What was sent and not acknowledged.
#[derive(Debug)]
struct SentExchange {
    /// Its place among all packets that were sent and wait for an answer.
    sequence: u64,
    stage: ExchangeStage,
}

#[derive(Debug)]
enum ExchangeStage {
    /// PUBLISH was sent: PUBACK is due, or PUBREC.
    Published(OutgoingMessage),
    /// PUBREL was sent: PUBCOMP is due.
    Released,
}

#[derive(Debug)]
pub(crate) struct BrokerSession {
    pub(crate) client_identifier: Utf8String,
    pub(crate) connection: Option<ConnectionId>,
    /// Seconds that it outlives its connection; `u32::MAX` for ever.
    pub(crate) expiry: u32,
    /// It ends with its connection, whatever the client asked for.
    pub(crate) forgotten: bool,
    /// Kept until the connection ends well or it was published.
    pub(crate) will: Option<Will>,
    pub(crate) filters: BTreeSet<TopicFilter>,
    /// QoS 2 messages of the client that wait for its PUBREL.
    pub(crate) received: BTreeSet<PacketIdentifier>,
    /// QoS 0 that waits for room in the output.
    at_most_once: VecDeque<OutgoingMessage>,
    /// QoS 1 and 2 that wait for room, for the client's quota, or for the client.
    acknowledged: VecDeque<OutgoingMessage>,
    queued_bytes: usize,
    in_flight: BTreeMap<PacketIdentifier, SentExchange>,
    /// Of the exchanges in flight those that are yet to be resumed on this connection, in their
    /// order.
    resend: VecDeque<PacketIdentifier>,
    next_identifier: PacketIdentifier,
    next_sequence: u64,
}

impl BrokerSession {
    pub(crate) fn new(client_identifier: Utf8String) -> Self {
        Self {
            client_identifier,
            connection: None,
            expiry: 0,
            forgotten: false,
            will: None,
            filters: BTreeSet::new(),
            received: BTreeSet::new(),
            at_most_once: VecDeque::new(),
            acknowledged: VecDeque::new(),
            queued_bytes: 0,
            in_flight: BTreeMap::new(),
            resend: VecDeque::new(),
            next_identifier: PacketIdentifier::MIN,
            next_sequence: 0,
        }
    }

    /// How many messages wait or are in flight.
    pub(crate) fn pending(&self) -> usize {
        self.at_most_once.len() + self.acknowledged.len() + self.in_flight.len()
    }

    /// Bytes that the waiting messages hold.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Puts a message at the end of the queue of its kind.
    pub(crate) fn enqueue(
        &mut self,
        mut message: OutgoingMessage,
        max_queued: usize,
        max_bytes: usize,
    ) -> Result<(), DropReason> {
        if self.connection.is_none() && message.qos == QoS::AtMostOnce {
            return Err(DropReason::Offline);
        }
        let size = message.size();
        let count = self.at_most_once.len() + self.acknowledged.len();
        if crate::config::reached(count, max_queued)
            || crate::config::reached(self.queued_bytes + size, max_bytes)
        {
            return Err(DropReason::QueueFull);
        }
        self.queued_bytes += size;
        message.sequence = self.next_sequence;
        self.next_sequence += 1;
        match message.qos {
            QoS::AtMostOnce => self.at_most_once.push_back(message),
            QoS::AtLeastOnce | QoS::ExactlyOnce => self.acknowledged.push_back(message),
        }
        Ok(())
    }

    /// The connection has ended; state that belongs to it is discarded.
    pub(crate) fn suspend(&mut self) {
        self.connection = None;
        self.resend.clear();
        for message in self.at_most_once.drain(..) {
            self.queued_bytes -= message.size();
        }
    }

    /// A connection is there: every exchange in flight goes on with its last packet, in their order
    /// [MQTT-4.4.0-1, MQTT-4.6.0-1].
    pub(crate) fn resume(&mut self, connection: ConnectionId) {
        self.connection = Some(connection);
        let mut order: Vec<_> = self
            .in_flight
            .iter()
            .map(|(&id, exchange)| (exchange.sequence, id))
            .collect();
        order.sort_unstable();
        self.resend = order.into_iter().map(|(_, id)| id).collect();
    }

    /// PUBACK came. False when there was nothing to acknowledge.
    pub(crate) fn acknowledge(&mut self, id: PacketIdentifier) -> bool {
        self.end_exchange(
            id,
            |stage| matches!(stage, ExchangeStage::Published(message) if message.qos == QoS::AtLeastOnce),
        )
    }

    /// PUBREC of success came: PUBREL is the answer, also to one that came twice. False when there
    /// was nothing.
    pub(crate) fn release(&mut self, id: PacketIdentifier) -> bool {
        let sequence = self.next_sequence;
        match self.in_flight.get_mut(&id) {
            Some(SentExchange {
                stage: ExchangeStage::Released,
                ..
            }) => true,
            Some(exchange) if matches!(&exchange.stage, ExchangeStage::Published(m) if m.qos == QoS::ExactlyOnce) =>
            {
                *exchange = SentExchange {
                    sequence,
                    stage: ExchangeStage::Released,
                };
                self.next_sequence += 1;
                true
            }
            _ => false,
        }
    }

    /// A PUBREC with a failure came: the exchange has ended. False when there was none.
    pub(crate) fn reject(&mut self, id: PacketIdentifier) -> bool {
        self.end_exchange(
            id,
            |stage| matches!(stage, ExchangeStage::Published(message) if message.qos == QoS::ExactlyOnce),
        )
    }

    /// PUBCOMP came. False when nothing had been released.
    pub(crate) fn complete(&mut self, id: PacketIdentifier) -> bool {
        self.end_exchange(id, |stage| matches!(stage, ExchangeStage::Released))
    }

    fn end_exchange(
        &mut self,
        id: PacketIdentifier,
        fits: impl Fn(&ExchangeStage) -> bool,
    ) -> bool {
        match self.in_flight.get(&id) {
            Some(exchange) if fits(&exchange.stage) => {
                self.in_flight.remove(&id);
                true
            }
            _ => false,
        }
    }

    /// Whether [`fill`](Self::fill) would make a packet.
    pub(crate) fn has_output(&self, connection: &BrokerConnection) -> bool {
        let waiting = match self.resend.front().map(|id| self.in_flight.get(id)) {
            Some(Some(SentExchange {
                stage: ExchangeStage::Published(_),
                ..
            })) => self.has_room(connection),
            Some(_) => true,
            None => !self.acknowledged.is_empty() && self.has_room(connection),
        };
        waiting || !self.at_most_once.is_empty()
    }

    /// Makes packets until `out` holds `limit` bytes, or one packet more. Messages that cannot be
    /// sent are given to `dropped`. Returns how many packets there were.
    pub(crate) fn fill(
        &mut self,
        now: Duration,
        connection: &mut BrokerConnection,
        out: &mut BytesMut,
        limit: usize,
        mut dropped: impl FnMut(&Self, OutgoingMessage, DropReason),
    ) -> u64 {
        let mut packets = 0;
        while out.len() < limit {
            if let Some(&id) = self.resend.front() {
                if self.resend_one(now, connection, out, id, &mut dropped) {
                    packets += 1;
                    continue;
                }
                // The quota is used up; QoS 0 needs none.
            }
            let next = if self.resend.is_empty() && self.has_room(connection) {
                self.acknowledged.front()
            } else {
                None
            };
            let message = match (self.at_most_once.front(), next) {
                (None, None) => break,
                (Some(first), Some(second)) if first.sequence < second.sequence => {
                    self.at_most_once.pop_front()
                }
                (_, Some(_)) => self.acknowledged.pop_front(),
                (Some(_), None) => self.at_most_once.pop_front(),
            };
            let Some(message) = message else { break };
            self.queued_bytes -= message.size();
            if message.content.is_expired(now) {
                dropped(self, message, DropReason::Expired);
                continue;
            }
            let identifier = self.free_identifier();
            if !encode(
                now,
                connection,
                out,
                &message,
                delivery(message.qos, identifier, false),
            ) {
                dropped(self, message, DropReason::TooLarge);
                continue;
            }
            packets += 1;
            if message.qos != QoS::AtMostOnce {
                let sequence = self.next_sequence;
                self.next_sequence += 1;
                self.next_identifier = after(identifier);
                self.in_flight.insert(
                    identifier,
                    SentExchange {
                        sequence,
                        stage: ExchangeStage::Published(message),
                    },
                );
            }
        }
        packets
    }

    /// Goes on with the exchange at the front of `resend`. False when the client's quota does not
    /// allow it.
    fn resend_one(
        &mut self,
        now: Duration,
        connection: &mut BrokerConnection,
        out: &mut BytesMut,
        id: PacketIdentifier,
        dropped: &mut impl FnMut(&Self, OutgoingMessage, DropReason),
    ) -> bool {
        match self.in_flight.get(&id).map(|exchange| &exchange.stage) {
            None => {}
            Some(ExchangeStage::Released) => {
                let release = Packet::PubRel(PubRel::new(id, PubRelReasonCode::Success));
                release
                    .encode(connection.version, out)
                    .expect("PUBREL of success has a spelling in each version");
            }
            Some(ExchangeStage::Published(_)) if !self.has_room(connection) => return false,
            Some(ExchangeStage::Published(message)) => {
                let sent = encode(
                    now,
                    connection,
                    out,
                    message,
                    delivery(message.qos, id, true),
                );
                // What is too large is treated as if it had been sent and acknowledged (MQTT 5
                // §3.1.2.11.4).
                let unsent = if sent {
                    None
                } else {
                    self.in_flight.remove(&id)
                };
                if let Some(SentExchange {
                    stage: ExchangeStage::Published(message),
                    ..
                }) = unsent
                {
                    dropped(self, message, DropReason::TooLarge);
                }
            }
        }
        self.resend.pop_front();
        true
    }

    /// Whether the client may have one more exchange in flight. What is yet to be resumed does not
    /// count yet.
    fn has_room(&self, connection: &BrokerConnection) -> bool {
        self.in_flight.len().saturating_sub(self.resend.len()) < connection.outbound.max_in_flight
    }

    /// There is one: a client has at most 65,535 exchanges in flight, and one is about to begin
    /// only with room.
    fn free_identifier(&self) -> PacketIdentifier {
        let mut identifier = self.next_identifier;
        while self.in_flight.contains_key(&identifier)
            && self.in_flight.len() < usize::from(u16::MAX)
        {
            identifier = after(identifier);
        }
        identifier
    }
}

fn after(identifier: PacketIdentifier) -> PacketIdentifier {
    identifier.checked_add(1).unwrap_or(PacketIdentifier::MIN)
}

fn delivery(qos: QoS, packet_identifier: PacketIdentifier, duplicate: bool) -> Delivery {
    match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce {
            packet_identifier,
            duplicate,
        },
        QoS::ExactlyOnce => Delivery::ExactlyOnce {
            packet_identifier,
            duplicate,
        },
    }
}

/// Appends the PUBLISH. False when it is larger than the client takes; nothing is appended then.
fn encode(
    now: Duration,
    connection: &mut BrokerConnection,
    out: &mut impl BufMut,
    message: &OutgoingMessage,
    delivery: Delivery,
) -> bool {
    let content = &message.content;
    let publish = content
        .publish
        .as_ref()
        .with_delivery(delivery)
        .with_retain(message.retain);
    if !connection.version.has_properties() {
        return publish
            .with_properties(&PublishProperties::default())
            .encode(connection.version, out)
            .is_ok();
    }
    let mut publish = publish.with_subscription_identifiers(&message.identifiers);
    if let Some(at) = content.expires {
        publish = publish.with_message_expiry_interval(remaining(now, at));
    }
    let outbound = &mut connection.outbound;
    let topic = publish.topic_bytes();
    let (mut aliased, mut learn) = (publish, None);
    if outbound.topic_alias_maximum > 0 {
        if let Some(&alias) = outbound.aliases.get(topic) {
            aliased = publish.with_topic_alias_only(alias);
        } else if outbound.aliases.len() < usize::from(outbound.topic_alias_maximum) {
            learn = NonZeroU16::MIN.checked_add(outbound.aliases.len() as u16);
        }
    }
    if let Some(alias) = learn {
        aliased = publish.with_topic_alias(alias);
    }
    let version = connection.version;
    let is_too_large =
        |publish: &PublishRef<'_>| publish.encoded_len(version) > outbound.maximum_packet_size;
    // The alias takes room too: without it there may be enough.
    if is_too_large(&aliased) {
        if is_too_large(&publish) {
            return false;
        }
        (aliased, learn) = (publish, None);
    }
    if aliased.encode(version, out).is_err() {
        return false;
    }
    if let (Some(alias), Some(topic)) = (learn, content.publish.topic_name()) {
        outbound.aliases.insert(topic.into_bytes(), alias);
    }
    true
}

/// Seconds that are left of a message, a started one counting as whole; the nanosecond that one of
/// 0 seconds is given does not count.
fn remaining(now: Duration, at: Duration) -> u32 {
    let seconds = at.saturating_sub(now).as_micros().div_ceil(1_000_000);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

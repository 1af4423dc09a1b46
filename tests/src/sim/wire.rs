//! Watches the bytes between a client and the network against the rules of MQTT that bind a client.
//!
//! It sees what the session handed out when it was handed out, and what the session took when it was taken.

use super::model::{Verdict, ensure};
use bytes::{Bytes, BytesMut};
use core::time::Duration;
use martlet_proto::{ConnAck, Delivery, MAX_PACKET_SIZE, Packet, PacketType, Version};
use std::collections::{HashMap, VecDeque};

/// A packet, and its bytes.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) packet: Packet,
    pub(crate) bytes: Bytes,
}

/// Cuts a stream into packets.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: BytesMut,
}

impl Frames {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
    }

    /// The next whole packet.
    pub(crate) fn next(&mut self, version: Version) -> Result<Option<Frame>, String> {
        let Some(len) = frame_len(&self.buffer) else { return Ok(None) };
        let bytes = self.buffer.split_to(len).freeze();
        let mut copy = BytesMut::from(&bytes[..]);
        match Packet::decode(&mut copy, version, MAX_PACKET_SIZE) {
            Ok(Some(packet)) if copy.is_empty() => Ok(Some(Frame { packet, bytes })),
            other => Err(format!("not a packet: {other:?}, {:02x?}", &bytes[..bytes.len().min(32)])),
        }
    }
}

/// How long the packet at the front is, if it is all there.
fn frame_len(input: &[u8]) -> Option<usize> {
    let mut len = 0;
    for (i, &byte) in input.iter().skip(1).take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some(len + i + 2).filter(|&all| all <= input.len());
        }
    }
    None
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Published,
    Received,
    Released,
    Request,
}

/// What a packet identifier of the client stands for.
#[derive(Debug)]
struct Exchange {
    stage: Stage,
    number: u64,
    qos: u8,
    /// Its PUBLISH was sent on this connection: it counts against the window.
    here: bool,
}

#[derive(Debug)]
pub(crate) struct Wire {
    version: Version,
    max_in_flight: usize,
    keep_alive: u16,
    sent: Frames,
    taken: Frames,
    // ---- of the session
    exchanges: HashMap<u16, Exchange>,
    // ---- of the connection
    connects: u32,
    connected: bool,
    disconnected: bool,
    window: usize,
    maximum_packet_size: usize,
    maximum_qos: u8,
    patience: Duration,
    unacknowledged: usize,
    /// Identifiers in the order of arrival, of QoS 1 and of QoS 2.
    order: [VecDeque<u16>; 2],
    last_sent: Duration,
}

impl Wire {
    pub(crate) fn new(version: Version, max_in_flight: u16, keep_alive: u16) -> Self {
        Self {
            version,
            max_in_flight: usize::from(max_in_flight),
            keep_alive,
            sent: Frames::default(),
            taken: Frames::default(),
            exchanges: HashMap::new(),
            connects: 0,
            connected: false,
            disconnected: false,
            window: 0,
            maximum_packet_size: usize::MAX,
            maximum_qos: 2,
            patience: Duration::MAX,
            unacknowledged: 0,
            order: Default::default(),
            last_sent: Duration::ZERO,
        }
    }

    /// A new connection.
    pub(crate) fn open(&mut self, now: Duration) {
        self.sent.clear();
        self.taken.clear();
        (self.connects, self.connected, self.disconnected) = (0, false, false);
        self.unacknowledged = 0;
        self.maximum_packet_size = usize::MAX;
        self.patience = Duration::MAX;
        self.last_sent = now;
        self.order = Default::default();
        self.exchanges.retain(|_, exchange| {
            exchange.here = false;
            exchange.stage != Stage::Request
        });
    }

    /// The socket did not take bytes until now: silence was not the client's choice.
    pub(crate) fn was_blocked(&mut self, now: Duration) {
        self.last_sent = now;
    }

    /// The keep alive must not pass in silence (MQTT 5 §3.1.2.10).
    pub(crate) fn check_silence(&self, now: Duration) -> Verdict {
        let silent = now.saturating_sub(self.last_sent);
        ensure!(silent <= self.patience, "silent for {silent:?}, longer than the keep alive");
        Ok(())
    }

    /// The session has handed out bytes. Returns the numbers of the messages in them that are new.
    pub(crate) fn sent(&mut self, now: Duration, bytes: &[u8]) -> Verdict {
        self.check_silence(now)?;
        self.last_sent = now;
        self.sent.push(bytes);
        while let Some(frame) = self.sent.next(self.version)? {
            self.check(&frame).map_err(|what| format!("{what}: {:?}", frame.packet))?;
        }
        Ok(())
    }

    fn check(&mut self, frame: &Frame) -> Verdict {
        let packet = &frame.packet;
        ensure!(!self.disconnected, "a packet after DISCONNECT");
        let is_connect = packet.packet_type() == PacketType::Connect;
        ensure!(is_connect == (self.connects == 0), "CONNECT comes first, and once");
        ensure!(frame.bytes.len() <= self.maximum_packet_size, "larger than the server takes");
        match packet {
            Packet::Connect(_) => self.connects += 1,
            Packet::Disconnect(_) => {
                self.disconnected = true;
                self.patience = Duration::MAX;
            }
            Packet::Publish(publish) => {
                ensure!(self.connected, "before CONNACK");
                let qos = publish.delivery().qos().as_u8();
                ensure!(qos <= self.maximum_qos, "above the maximum QoS");
                let (id, duplicate) = match publish.delivery() {
                    Delivery::AtMostOnce => return Ok(()),
                    Delivery::AtLeastOnce { packet_identifier, duplicate }
                    | Delivery::ExactlyOnce { packet_identifier, duplicate } => {
                        (packet_identifier.get(), duplicate)
                    }
                };
                let number = number(publish.payload());
                if let Some(exchange) = self.exchanges.get_mut(&id) {
                    ensure!((exchange.number, exchange.qos) == (number, qos), "identifier {id} is in use");
                    ensure!(exchange.stage == Stage::Published, "PUBLISH again after PUBREC or PUBREL");
                    ensure!(!exchange.here, "PUBLISH twice on one connection");
                    ensure!(duplicate, "sent again without DUP");
                    exchange.here = true;
                } else {
                    ensure!(!duplicate, "DUP on what was never sent");
                    self.exchanges.insert(id, Exchange { stage: Stage::Published, number, qos, here: true });
                }
                self.unacknowledged += 1;
                ensure!(
                    self.unacknowledged <= self.window,
                    "{} in flight, the window is {}",
                    self.unacknowledged,
                    self.window
                );
            }
            Packet::PubRel(ack) if !ack.reason.is_error() => {
                let id = ack.packet_identifier.get();
                let released =
                    |exchange: &&mut Exchange| matches!(exchange.stage, Stage::Received | Stage::Released);
                let exchange = self.exchanges.get_mut(&id).filter(released);
                // 3.x cannot say that it knows nothing of an identifier; here the broker never asks.
                let Some(exchange) = exchange else { return Err("PUBREL before PUBREC".to_owned()) };
                exchange.stage = Stage::Released;
            }
            Packet::PubAck(ack) => self.acknowledges(0, ack.packet_identifier.get())?,
            Packet::PubRec(ack) => self.acknowledges(1, ack.packet_identifier.get())?,
            Packet::Subscribe(packet) => self.requests(packet.packet_identifier.get())?,
            Packet::Unsubscribe(packet) => self.requests(packet.packet_identifier.get())?,
            Packet::PubRel(_) | Packet::PubComp(_) | Packet::PingReq => {}
            Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp
            | Packet::Auth(_) => return Err("a packet that a client does not send".to_owned()),
        }
        Ok(())
    }

    fn acknowledges(&mut self, line: usize, id: u16) -> Verdict {
        let next = self.order[line].pop_front();
        ensure!(next == Some(id), "acknowledged out of order: {next:?} is next");
        Ok(())
    }

    fn requests(&mut self, id: u16) -> Verdict {
        let exchange = Exchange { stage: Stage::Request, number: 0, qos: 0, here: false };
        ensure!(self.exchanges.insert(id, exchange).is_none(), "identifier {id} is in use");
        Ok(())
    }

    /// The session has taken bytes.
    pub(crate) fn taken(&mut self, now: Duration, bytes: &[u8]) -> Verdict {
        self.taken.push(bytes);
        while let Some(frame) = self.taken.next(self.version)? {
            match frame.packet {
                Packet::ConnAck(connack) => {
                    // Until now it could say nothing.
                    self.last_sent = now;
                    self.connected(&connack);
                }
                Packet::PubAck(ack) => self.settled(ack.packet_identifier.get(), &[Stage::Published]),
                Packet::PubComp(ack) => {
                    self.settled(ack.packet_identifier.get(), &[Stage::Received, Stage::Released]);
                }
                Packet::PubRec(ack) if ack.reason.is_error() => {
                    self.settled(ack.packet_identifier.get(), &[Stage::Published]);
                }
                Packet::PubRec(ack) => {
                    if let Some(exchange) = self.exchanges.get_mut(&ack.packet_identifier.get()) {
                        if exchange.stage == Stage::Published {
                            exchange.stage = Stage::Received;
                        }
                    }
                }
                Packet::SubAck(packet) => {
                    self.settled(packet.packet_identifier.get(), &[Stage::Request]);
                }
                Packet::UnsubAck(packet) => {
                    self.settled(packet.packet_identifier.get(), &[Stage::Request]);
                }
                Packet::Publish(publish) => {
                    if let Some(id) = publish.delivery().packet_identifier() {
                        let line = usize::from(publish.delivery().qos().as_u8()) - 1;
                        self.order[line].push_back(id.get());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn connected(&mut self, connack: &ConnAck) {
        if connack.reason.is_error() {
            return;
        }
        self.connected = true;
        let properties = &connack.properties;
        let most = properties.receive_maximum.map_or(usize::MAX, |n| usize::from(n.get()));
        self.window = self.max_in_flight.min(most);
        self.maximum_packet_size = properties.maximum_packet_size.map_or(usize::MAX, |n| n.get() as usize);
        self.maximum_qos = properties.maximum_qos.map_or(2, martlet_proto::QoS::as_u8);
        let seconds = properties.server_keep_alive.unwrap_or(self.keep_alive);
        self.patience = match seconds {
            0 => Duration::MAX,
            seconds => Duration::from_secs(seconds.into()),
        };
        // In 3.1 a session that is not clean is there.
        if !connack.session_present && self.version != Version::V3_1 {
            self.exchanges.clear();
        }
    }

    fn settled(&mut self, id: u16, stages: &[Stage]) {
        if self.exchanges.get(&id).is_some_and(|exchange| stages.contains(&exchange.stage)) {
            if let Some(exchange) = self.exchanges.remove(&id) {
                self.unacknowledged -= usize::from(exchange.here);
            }
        }
    }
}

/// The number of a message, which its payload begins with.
pub(crate) fn number(payload: &[u8]) -> u64 {
    let bytes = payload.first_chunk().copied().unwrap_or([0xff; 8]);
    u64::from_be_bytes(bytes)
}

//! One connection whose packets are written one by one: also those that a correct client does not
//! send, and ends in the middle of an exchange. Dropping it cuts it.

use super::target::Socket;
use super::trouble::Trouble;
use crate::report::to_standard_error;
use bytes::{Buf, BytesMut};
use martlet_tokio::proto::{
    Ack, ConnAck, Connect, Delivery, Disconnect, DisconnectReasonCode, MAX_PACKET_SIZE, Packet,
    PacketIdentifier, PubAckReasonCode, PubRelReasonCode, Publish, PublishProperties, PublishRef,
    SubAckReasonCode, Subscribe, SubscribeFilter, SubscriptionIdentifier, UserProperties,
};
use martlet_tokio::transport::Transport;
use martlet_tokio::{QoS, TopicName, Version};
use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU16;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// What is read at once.
const READ: usize = 16 * 1024;

/// Reading ends after this number of messages that nobody asked for.
const MAX_INBOX: usize = 10_000;

/// Whether messages are acknowledged as they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acknowledging {
    AtOnce,
    Never,
}

/// How much a server may send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The largest packet, in bytes.
    pub(super) packet: u32,
    /// All packets of a connection.
    pub(super) bytes: u64,
}

/// A message to publish.
pub(super) struct Outgoing<'a> {
    pub(super) topic: &'a TopicName,
    pub(super) payload: &'a [u8],
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) properties: PublishProperties,
    /// A topic alias, and whether it takes the place of the topic.
    pub(super) alias: Option<(NonZeroU16, bool)>,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(topic: &'a TopicName, payload: &'a [u8], qos: QoS) -> Self {
        Self {
            topic,
            payload,
            qos,
            retain: false,
            properties: PublishProperties::default(),
            alias: None,
        }
    }
}

/// One connection.
pub(super) struct Connection {
    socket: Box<dyn Socket>,
    transport: Option<Transport>,
    version: Version,
    /// Bytes of the socket that the transport has not seen.
    wire: BytesMut,
    /// Bytes of MQTT that were not decoded.
    plain: BytesMut,
    bounds: Bounds,
    read: u64,
    inbox: VecDeque<Publish>,
    /// QoS 2 messages that came and were not released.
    unreleased: BTreeSet<PacketIdentifier>,
    pub(super) acknowledging: Acknowledging,
    /// Messages above QoS 0 that came and were not acknowledged to the end.
    unacknowledged: usize,
    /// The most of them at a time.
    most_unacknowledged: usize,
    next_identifier: u16,
    /// The last packet that was written.
    last: &'static str,
    /// How long an answer may take.
    wait: Duration,
    /// The name of the client, where packets are to be shown.
    shown: Option<String>,
}

impl Connection {
    /// Over this socket; nothing is sent yet.
    pub(super) fn new(
        socket: Box<dyn Socket>,
        transport: Option<Transport>,
        version: Version,
        bounds: Bounds,
        wait: Duration,
    ) -> Self {
        Self {
            socket,
            transport,
            version,
            wire: BytesMut::new(),
            plain: BytesMut::new(),
            bounds,
            read: 0,
            inbox: VecDeque::new(),
            unreleased: BTreeSet::new(),
            acknowledging: Acknowledging::AtOnce,
            unacknowledged: 0,
            most_unacknowledged: 0,
            next_identifier: 0,
            last: "the connection was opened",
            wait,
            shown: None,
        }
    }

    /// Shows packets on standard error from now on.
    pub(super) fn show_as(&mut self, name: &str) {
        self.shown = Some(name.to_owned());
    }

    /// Goes through the handshakes of the transport.
    pub(super) async fn open(&mut self, until: Instant) -> Result<(), Trouble> {
        let result = async {
            self.flush_transport(until).await?;
            while self.transport.as_ref().is_some_and(|way| !way.is_open()) {
                if !self.fill(until).await? {
                    return Err(Trouble::Unreachable("timed out".to_owned()));
                }
            }
            Ok(())
        };
        result.await.map_err(|trouble| match trouble {
            Trouble::Unreachable(why) => Trouble::Unreachable(why),
            other => Trouble::Unreachable(other.to_string()),
        })
    }

    /// Sends the CONNECT and waits for a CONNACK that accepts it.
    pub(super) async fn connect(
        &mut self,
        connect: Connect,
        until: Instant,
    ) -> Result<ConnAck, Trouble> {
        self.send_until(&Packet::Connect(Box::new(connect)), until)
            .await?;
        match self.packet(until).await? {
            Some(Packet::ConnAck(answer)) if answer.reason.is_error() => {
                Err(Trouble::Rejected(answer.reason))
            }
            Some(Packet::ConnAck(answer)) => Ok(*answer),
            Some(other) => Err(Trouble::Misbehaved(format!(
                "the server answers a CONNECT with {}",
                other.packet_type()
            ))),
            None => Err(Trouble::Silent("CONNACK")),
        }
    }

    // ---- what a client does

    /// Subscribes, and returns what the server says to each filter.
    pub(super) async fn subscribe(
        &mut self,
        subscriptions: Vec<SubscribeFilter>,
        identifier: Option<SubscriptionIdentifier>,
    ) -> Result<Vec<SubAckReasonCode>, Trouble> {
        let packet_identifier = self.identifier();
        let count = subscriptions.len();
        let subscribe = Subscribe {
            packet_identifier,
            subscription_identifier: identifier,
            user_properties: UserProperties::new(),
            subscriptions,
        };
        self.send(&Packet::Subscribe(Box::new(subscribe))).await?;
        let answer = self.answer("SUBACK", |packet| match packet {
            Packet::SubAck(answer) if answer.packet_identifier == packet_identifier => {
                Ok(answer.reasons)
            }
            other => Err(other),
        });
        let reasons = answer.await?;
        match reasons.len() == count {
            true => Ok(reasons),
            false => Err(Trouble::Misbehaved(format!(
                "the SUBACK has {} codes for {count} filters",
                reasons.len()
            ))),
        }
    }

    /// Publishes, and waits for what its QoS has for an answer. `None`: there is none at QoS 0.
    pub(super) async fn publish(
        &mut self,
        message: &Outgoing<'_>,
    ) -> Result<Option<PubAckReasonCode>, Trouble> {
        let identifier = self.identifier();
        self.send_publish(message, identifier, false).await?;
        match message.qos {
            QoS::AtMostOnce => Ok(None),
            QoS::AtLeastOnce => {
                let answer = self.answer("PUBACK", |packet| match packet {
                    Packet::PubAck(ack) if ack.packet_identifier == identifier => Ok(ack.reason),
                    other => Err(other),
                });
                answer.await.map(Some)
            }
            QoS::ExactlyOnce => {
                let reason = self.received(identifier).await?;
                if !reason.is_error() {
                    self.release(identifier).await?;
                }
                Ok(Some(reason))
            }
        }
    }

    /// Writes a PUBLISH and waits for nothing.
    pub(super) async fn send_publish(
        &mut self,
        message: &Outgoing<'_>,
        packet_identifier: PacketIdentifier,
        duplicate: bool,
    ) -> Result<(), Trouble> {
        let delivery = match message.qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce {
                packet_identifier,
                duplicate,
            },
            QoS::ExactlyOnce => Delivery::ExactlyOnce {
                packet_identifier,
                duplicate,
            },
        };
        let mut publish = PublishRef::new(message.topic, message.payload)
            .with_delivery(delivery)
            .with_retain(message.retain)
            .with_properties(&message.properties);
        match message.alias {
            Some((alias, true)) => publish = publish.with_topic_alias_only(alias),
            Some((alias, false)) => publish = publish.with_topic_alias(alias),
            None => {}
        }
        let mut bytes = BytesMut::new();
        publish
            .encode(self.version, &mut bytes)
            .map_err(|error| Trouble::NotEncodable(error.to_string()))?;
        self.show("-out->", "PUBLISH");
        self.last = "PUBLISH";
        self.write(&bytes, Instant::now() + self.wait).await
    }

    /// Waits for the PUBREC of a message.
    pub(super) async fn received(
        &mut self,
        identifier: PacketIdentifier,
    ) -> Result<PubAckReasonCode, Trouble> {
        let answer = self.answer("PUBREC", |packet| match packet {
            Packet::PubRec(ack) if ack.packet_identifier == identifier => Ok(Ok(ack.reason)),
            Packet::PubAck(ack) if ack.packet_identifier == identifier => Ok(Err(())),
            other => Err(other),
        });
        answer.await?.map_err(|()| {
            Trouble::Misbehaved("the server answers a PUBLISH of QoS 2 with PUBACK".to_owned())
        })
    }

    /// Sends the PUBREL of a message and waits for its PUBCOMP.
    pub(super) async fn release(
        &mut self,
        identifier: PacketIdentifier,
    ) -> Result<PubRelReasonCode, Trouble> {
        let release = Ack::new(identifier, PubRelReasonCode::Success);
        self.send(&Packet::PubRel(release)).await?;
        self.answer("PUBCOMP", |packet| match packet {
            Packet::PubComp(ack) if ack.packet_identifier == identifier => Ok(ack.reason),
            other => Err(other),
        })
        .await
    }

    /// Asks for a PINGRESP and waits for it: what was sent before has been read.
    pub(super) async fn ping(&mut self) -> Result<(), Trouble> {
        self.send(&Packet::PingReq).await?;
        self.answer("PINGRESP", |packet| match packet {
            Packet::PingResp => Ok(()),
            other => Err(other),
        })
        .await
    }

    /// The next message, if one comes until then.
    pub(super) async fn message(&mut self, until: Instant) -> Result<Option<Publish>, Trouble> {
        loop {
            if let Some(message) = self.inbox.pop_front() {
                return Ok(Some(message));
            }
            let Some(packet) = self.packet(until).await? else {
                return Ok(None);
            };
            self.take(packet).await?;
        }
    }

    /// The messages that come: the expected number of them within `wait`, and then more until none
    /// came for `quiet`.
    pub(super) async fn messages(
        &mut self,
        expected: usize,
        wait: Duration,
        quiet: Duration,
    ) -> Result<Vec<Publish>, Trouble> {
        let mut messages = Vec::new();
        let until = Instant::now() + wait;
        while messages.len() < expected {
            match self.message(until).await? {
                Some(message) => messages.push(message),
                None => return Ok(messages),
            }
        }
        // More than was expected?
        while messages.len() < MAX_INBOX {
            match self.message(Instant::now() + quiet).await? {
                Some(message) => messages.push(message),
                None => break,
            }
        }
        Ok(messages)
    }

    /// A message that has come already.
    pub(super) fn pending(&mut self) -> Option<Publish> {
        self.inbox.pop_front()
    }

    /// The most messages above QoS 0 that were unacknowledged at a time.
    pub(super) fn most_unacknowledged(&self) -> usize {
        self.most_unacknowledged
    }

    /// Acknowledges a message that came with [`Acknowledging::Never`].
    pub(super) async fn acknowledge(&mut self, message: &Publish) -> Result<(), Trouble> {
        match message.delivery() {
            Delivery::AtMostOnce => Ok(()),
            Delivery::AtLeastOnce {
                packet_identifier, ..
            } => {
                self.unacknowledged = self.unacknowledged.saturating_sub(1);
                let ack = Ack::new(packet_identifier, PubAckReasonCode::Success);
                self.send(&Packet::PubAck(ack)).await
            }
            Delivery::ExactlyOnce {
                packet_identifier, ..
            } => self.send(&received(packet_identifier)).await,
        }
    }

    /// Disconnects in good order. `expiry`: how long the session is kept from now on (MQTT 5).
    pub(super) async fn disconnect(mut self, expiry: Option<u32>) -> Result<(), Trouble> {
        let mut disconnect = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
        if self.version == Version::V5 {
            disconnect.session_expiry_interval = expiry;
        }
        self.send(&Packet::Disconnect(Box::new(disconnect))).await?;
        let until = Instant::now() + self.wait;
        if let Some(transport) = &mut self.transport {
            transport.close();
            self.flush_transport(until).await?;
        }
        // Nothing can be done about a socket that is closed already.
        let _ = timeout_at(until, self.socket.shutdown()).await;
        // The server closes it when it has read the DISCONNECT.
        while let Ok(true) = self.fill(until).await {
            self.plain.clear();
        }
        Ok(())
    }

    // ---- packets

    /// A packet identifier that was not used before on this connection.
    pub(super) fn identifier(&mut self) -> PacketIdentifier {
        self.next_identifier = self.next_identifier.checked_add(1).unwrap_or(1);
        PacketIdentifier::new(self.next_identifier).expect("it is at least 1")
    }

    /// Writes a packet.
    pub(super) async fn send(&mut self, packet: &Packet) -> Result<(), Trouble> {
        self.send_until(packet, Instant::now() + self.wait).await
    }

    async fn send_until(&mut self, packet: &Packet, until: Instant) -> Result<(), Trouble> {
        let mut bytes = BytesMut::new();
        packet
            .encode(self.version, &mut bytes)
            .map_err(|error| Trouble::NotEncodable(error.to_string()))?;
        let name = name(packet);
        self.show("-out->", name);
        self.last = name;
        self.write(&bytes, until).await
    }

    /// The next packet, whichever it is; `None`: none comes until then.
    pub(super) async fn packet(&mut self, until: Instant) -> Result<Option<Packet>, Trouble> {
        loop {
            match Packet::decode(&mut self.plain, self.version, self.bounds.packet) {
                Ok(Some(Packet::Disconnect(disconnect))) => {
                    self.show("<-in--", "DISCONNECT");
                    return Err(Trouble::Closed {
                        after: self.last,
                        reason: Some(disconnect.reason),
                    });
                }
                Ok(Some(packet)) => {
                    self.show("<-in--", name(&packet));
                    return Ok(Some(packet));
                }
                Ok(None) => {}
                Err(error) => {
                    return Err(Trouble::Misbehaved(format!(
                        "the server's answer to {} is malformed: {error}",
                        self.last
                    )));
                }
            }
            if !self.fill(until).await? {
                return Ok(None);
            }
        }
    }

    /// Waits for what `pick` takes; messages that come before it wait in the inbox.
    async fn answer<T>(
        &mut self,
        what: &'static str,
        mut pick: impl FnMut(Packet) -> Result<T, Packet>,
    ) -> Result<T, Trouble> {
        let until = Instant::now() + self.wait;
        loop {
            let Some(packet) = self.packet(until).await? else {
                return Err(Trouble::Silent(what));
            };
            match pick(packet) {
                Ok(picked) => return Ok(picked),
                Err(other) => self.take(other).await?,
            }
        }
    }

    /// Does with a packet what a client does with it.
    async fn take(&mut self, packet: Packet) -> Result<(), Trouble> {
        match packet {
            Packet::Publish(publish) => {
                let delivery = publish.delivery();
                let is_new = match (delivery, self.acknowledging) {
                    (
                        Delivery::ExactlyOnce {
                            packet_identifier, ..
                        },
                        Acknowledging::AtOnce,
                    ) => self.unreleased.insert(packet_identifier),
                    _ => true,
                };
                if is_new && delivery != Delivery::AtMostOnce {
                    self.unacknowledged += 1;
                    self.most_unacknowledged = self.most_unacknowledged.max(self.unacknowledged);
                }
                if self.acknowledging == Acknowledging::AtOnce {
                    self.acknowledge(&publish).await?;
                }
                if is_new {
                    if self.inbox.len() >= MAX_INBOX {
                        return Err(Trouble::Flooded(self.read));
                    }
                    self.inbox.push_back(publish);
                }
                Ok(())
            }
            Packet::PubRel(release) => {
                self.unreleased.remove(&release.packet_identifier);
                self.unacknowledged = self.unacknowledged.saturating_sub(1);
                self.send(&completed(release.packet_identifier)).await
            }
            // No check waits for this packet.
            _ => Ok(()),
        }
    }

    fn show(&self, direction: &str, packet: &str) {
        if let Some(name) = &self.shown {
            to_standard_error(&format!("{name} {direction} {packet}\n"));
        }
    }

    // ---- bytes

    /// Reads what there is; `false`: nothing comes until then.
    async fn fill(&mut self, until: Instant) -> Result<bool, Trouble> {
        let buffer = match self.transport {
            Some(_) => &mut self.wire,
            None => &mut self.plain,
        };
        buffer.reserve(READ);
        let length = match timeout_at(until, self.socket.read_buf(buffer)).await {
            Err(_) => return Ok(false),
            // A connection that was reset is one that is closed.
            Ok(Ok(0) | Err(_)) => return Err(self.closed()),
            Ok(Ok(length)) => length as u64,
        };
        self.read += length;
        if self.read > self.bounds.bytes {
            return Err(Trouble::Flooded(self.bounds.bytes));
        }
        if let Some(transport) = &mut self.transport {
            let was_open = transport.is_open();
            let result = transport.handle_wire(&mut self.wire, &mut self.plain);
            self.flush_transport(until).await?;
            match result {
                Err(error) if !was_open => return Err(Trouble::Unreachable(error.to_string())),
                // What came before counts.
                Err(_) if self.plain.is_empty() => return Err(self.closed()),
                _ => {}
            }
        }
        Ok(true)
    }

    fn closed(&self) -> Trouble {
        Trouble::Closed {
            after: self.last,
            reason: None,
        }
    }

    async fn write(&mut self, bytes: &[u8], until: Instant) -> Result<(), Trouble> {
        if self.transport.is_none() {
            return self.write_wire(bytes, until).await;
        }
        let mut rest = bytes;
        while rest.has_remaining() {
            let Some(transport) = &mut self.transport else {
                break;
            };
            let written = transport
                .write(&mut rest)
                .map_err(|error| Trouble::Misbehaved(error.to_string()))?;
            self.flush_transport(until).await?;
            if written == 0 {
                return Err(self.closed());
            }
        }
        Ok(())
    }

    async fn flush_transport(&mut self, until: Instant) -> Result<(), Trouble> {
        let Some(transport) = &mut self.transport else {
            return Ok(());
        };
        let mut wire = BytesMut::new();
        if transport.poll_wire(&mut wire) == 0 {
            return Ok(());
        }
        self.write_wire(&wire, until).await
    }

    /// A server that reads nothing is one that does not answer.
    async fn write_wire(&mut self, bytes: &[u8], until: Instant) -> Result<(), Trouble> {
        match timeout_at(until, self.socket.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            // What the server has said before it closed the connection says why.
            Ok(Err(_)) => Err(self.last_words(until).await),
            Err(_) => Err(Trouble::Silent("reading by the server")),
        }
    }

    /// Looks for a DISCONNECT in what came before the end.
    async fn last_words(&mut self, until: Instant) -> Trouble {
        if self.transport.is_some() {
            return self.closed();
        }
        loop {
            match Packet::decode(&mut self.plain, self.version, self.bounds.packet) {
                Ok(Some(Packet::Disconnect(disconnect))) => {
                    return Trouble::Closed {
                        after: self.last,
                        reason: Some(disconnect.reason),
                    };
                }
                Ok(Some(_)) => {}
                Ok(None) => match timeout_at(until, self.socket.read_buf(&mut self.plain)).await {
                    Ok(Ok(1..)) if self.plain.len() <= self.bounds.packet as usize => {}
                    _ => return self.closed(),
                },
                Err(_) => return self.closed(),
            }
        }
    }
}

/// The PUBREC of a message.
pub(super) fn received(identifier: PacketIdentifier) -> Packet {
    Packet::PubRec(Ack::new(identifier, PubAckReasonCode::Success))
}

/// The PUBCOMP of a message.
pub(super) fn completed(identifier: PacketIdentifier) -> Packet {
    Packet::PubComp(Ack::new(identifier, PubRelReasonCode::Success))
}

/// What a server may send where payloads of this size are to come back.
pub(super) fn bounds(max_payload: u32) -> Bounds {
    // Beside the payload a PUBLISH has a topic and properties.
    const HEAD: u32 = 64 * 1024;
    let packet = max_payload.saturating_add(HEAD).min(MAX_PACKET_SIZE);
    Bounds {
        packet,
        bytes: 4 * u64::from(packet) + 16 * 1024 * 1024,
    }
}

fn name(packet: &Packet) -> &'static str {
    match packet {
        Packet::Connect(_) => "CONNECT",
        Packet::ConnAck(_) => "CONNACK",
        Packet::Publish(_) => "PUBLISH",
        Packet::PubAck(_) => "PUBACK",
        Packet::PubRec(_) => "PUBREC",
        Packet::PubRel(_) => "PUBREL",
        Packet::PubComp(_) => "PUBCOMP",
        Packet::Subscribe(_) => "SUBSCRIBE",
        Packet::SubAck(_) => "SUBACK",
        Packet::Unsubscribe(_) => "UNSUBSCRIBE",
        Packet::UnsubAck(_) => "UNSUBACK",
        Packet::PingReq => "PINGREQ",
        Packet::PingResp => "PINGRESP",
        Packet::Disconnect(_) => "DISCONNECT",
        Packet::Auth(_) => "AUTH",
    }
}

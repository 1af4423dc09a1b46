//! Small worlds, tried whole: a few messages, a few cuts, and every order in which packets can
//! arrive, the application can act and the connection can break between packets.
//!
//! A world is a session, a literal server and two lanes of packets; [`explore`] walks depth first
//! over what can happen next. A session cannot be copied, so a branch is reached by replaying its
//! choices from the start, and what was seen before, by its fingerprint, is not walked again. At
//! each step nothing may come twice that must come once, out of order, or against the
//! [linter](crate::linter); when nothing more can happen everything must be acknowledged.

use crate::linter::Linter;
use crate::sim::{Reported, Sabotage, Saboteur, WireFrames};
use bytes::{BufMut, BytesMut};
use core::fmt::{self, Write};
use core::hash::Hasher;
use core::time::Duration;
use martlet_proto::{
    Ack, ConnAck, ConnectReasonCode, Delivery, MAX_PACKET_SIZE, Packet, PacketIdentifier,
    PubAckReasonCode, PublishRef, QoS, TopicName, Utf8String, Version,
};
use martlet_session::CleanStart;
use martlet_session::drain::Drain;
use martlet_session::{
    AckToken, Config, ConnectOptions, ConnectionError, Event, Instant, OutgoingPublish, SendBuffer,
    Session,
};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Nothing here waits for a time.
const NOW: Instant = Instant::from_epoch(Duration::from_secs(1000));

/// What a small world is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Small {
    /// What is spoken.
    pub version: Version,
    /// The messages: who publishes each, and its QoS.
    pub messages: Vec<(From, QoS)>,
    /// How often the connection breaks at most.
    pub cuts: usize,
    /// How many messages the session has in flight at most.
    pub window: u16,
    /// A bug that the client has.
    pub sabotage: Option<Sabotage>,
}

/// The publisher of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum From {
    /// The client.
    Client,
    /// The server.
    Server,
}

impl Small {
    /// All worlds with this number of messages and cuts: in 3.1.1 and 5, each message from either
    /// side at each QoS, with a window of one message and of all.
    pub fn all(messages: u32, cuts: usize) -> Vec<Self> {
        let mut all = Vec::new();
        for version in [Version::V3_1_1, Version::V5] {
            for window in [1, messages as u16] {
                for number in 0..6usize.pow(messages) {
                    let digits = (0..messages).map(|i| number / 6usize.pow(i) % 6);
                    let messages = digits.map(|digit| {
                        let from = if digit < 3 {
                            From::Client
                        } else {
                            From::Server
                        };
                        (
                            from,
                            [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][digit % 3],
                        )
                    });
                    let messages: Vec<_> = messages.collect();
                    let from_client = |&&(from, qos): &&(From, QoS)| {
                        from == From::Client && qos > QoS::AtMostOnce
                    };
                    // With one message the window makes no difference.
                    if window == 1 || messages.iter().filter(from_client).count() > 1 {
                        all.push(Self {
                            version,
                            messages,
                            cuts,
                            window,
                            sabotage: None,
                        });
                    }
                }
            }
        }
        all
    }
}

/// Something that can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorldAction {
    /// The next message is published.
    Publish,
    /// The server takes the next packet.
    ToServer,
    /// The client takes the next packet.
    ToClient,
    /// The application takes the message at this place of those that it has.
    Take(usize),
    /// The connection breaks, with all that is on its way, and is made again.
    Cut,
}

/// What was walked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Walked {
    /// Different worlds, from the beginning to the end.
    pub worlds: u128,
    /// Different states that they go through.
    pub states: u64,
}

/// A world that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The world.
    pub small: Small,
    /// What happened in it.
    pub path: Vec<WorldAction>,
    /// What was wrong.
    pub what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\n  after {:?}\n  in {:?}",
            self.what, self.path, self.small
        )
    }
}

impl std::error::Error for Wrong {}

/// Walks through all that can happen in a world.
///
/// # Errors
/// [`Wrong`], with the way to what was wrong.
pub fn explore(small: &Small) -> Result<Walked, Box<Wrong>> {
    let mut walk = Walk {
        small,
        path: Vec::new(),
        seen: HashMap::new(),
    };
    let world = World::new(small).map_err(|what| walk.wrong(what))?;
    let worlds = walk.walk(world)?;
    Ok(Walked {
        worlds,
        states: walk.seen.len() as u64,
    })
}

struct Walk<'a> {
    small: &'a Small,
    path: Vec<WorldAction>,
    /// By fingerprint of a state: how many worlds go on from it.
    seen: HashMap<u64, u128>,
}

impl Walk<'_> {
    fn walk(&mut self, world: World) -> Result<u128, Box<Wrong>> {
        let fingerprint = world.fingerprint();
        if let Some(&worlds) = self.seen.get(&fingerprint) {
            return Ok(worlds);
        }
        let actions = world.actions();
        let mut worlds = 0;
        if actions.iter().all(|action| *action == WorldAction::Cut) {
            world
                .check_acknowledged()
                .map_err(|what| self.wrong(what))?;
            worlds += 1;
        }
        let mut here = Some(world);
        for action in actions {
            let world = match here.take() {
                Some(world) => Ok(world),
                None => self.replay(),
            };
            self.path.push(action);
            let next = world.and_then(|mut world| world.act(action).map(|()| world));
            worlds += match next {
                Ok(next) => self.walk(next)?,
                Err(what) => return Err(self.wrong(what)),
            };
            self.path.pop();
        }
        self.seen.insert(fingerprint, worlds);
        Ok(worlds)
    }

    fn replay(&self) -> Result<World, String> {
        let mut world = World::new(self.small)?;
        self.path.iter().try_for_each(|&action| world.act(action))?;
        Ok(world)
    }

    fn wrong(&self, what: String) -> Box<Wrong> {
        Box::new(Wrong {
            small: self.small.clone(),
            path: self.path.clone(),
            what,
        })
    }
}

/// A client with its application, a server, and what is between them.
#[derive(Debug)]
struct World {
    small: Small,
    session: Session,
    saboteur: Option<Saboteur>,
    linter: Linter,
    server: Server,
    to_server: VecDeque<Packet>,
    to_client: VecDeque<Packet>,
    published: usize,
    cuts: usize,
    /// What the application has and has not taken.
    held: Vec<AckToken>,
    /// Per message: how often it arrived at the other side, and whether its end was reported.
    books: Vec<(u32, bool)>,
    /// Per sender and QoS: the last message that has arrived for the first time, plus one.
    last: BTreeMap<(From, u8), usize>,
}

type Verdict = Result<(), String>;

impl World {
    fn new(small: &Small) -> Result<Self, String> {
        let config = Config::default()
            .client_identifier(Utf8String::new("small").expect("a short name"))
            .clean_start(CleanStart::Never)
            .keep_alive(0)
            .max_in_flight(small.window);
        let mut world = Self {
            small: small.clone(),
            session: Session::new(config),
            saboteur: small.sabotage.map(|bug| Saboteur::new(bug, small.version)),
            linter: Linter::new().with_window(small.window),
            server: Server::default(),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            published: 0,
            cuts: 0,
            held: Vec::new(),
            books: vec![(0, false); small.messages.len()],
            last: BTreeMap::new(),
        };
        world.open()?;
        Ok(world)
    }

    fn actions(&self) -> Vec<WorldAction> {
        let mut actions = Vec::new();
        if self.published < self.small.messages.len() {
            actions.push(WorldAction::Publish);
        }
        if !self.to_server.is_empty() {
            actions.push(WorldAction::ToServer);
        }
        if !self.to_client.is_empty() {
            actions.push(WorldAction::ToClient);
        }
        actions.extend((0..self.held.len()).map(WorldAction::Take));
        if self.cuts < self.small.cuts {
            actions.push(WorldAction::Cut);
        }
        actions
    }

    fn act(&mut self, action: WorldAction) -> Verdict {
        match action {
            WorldAction::Publish => self.publish()?,
            WorldAction::ToServer => {
                if let Some(packet) = self.to_server.pop_front() {
                    for number in self.server.take(packet, &mut self.to_client)? {
                        self.arrived(number)?;
                    }
                }
            }
            WorldAction::ToClient => {
                if let Some(packet) = self.to_client.pop_front() {
                    self.receive(&packet)?;
                }
            }
            WorldAction::Take(place) => {
                let token = self.held.remove(place);
                self.session.acknowledge(token, PubAckReasonCode::Success);
            }
            WorldAction::Cut => {
                self.cuts += 1;
                self.to_server.clear();
                self.to_client.clear();
                self.server.connected = false;
                self.session
                    .handle_close(NOW, ConnectionError::ClosedByPeer);
                self.drain()?;
                return self.open();
            }
        }
        self.drain()
    }

    fn open(&mut self) -> Verdict {
        self.linter.open(NOW.since_epoch());
        if let Some(saboteur) = &mut self.saboteur {
            saboteur.open();
        }
        self.session
            .handle_open(NOW, ConnectOptions::new(self.small.version));
        self.drain()
    }

    fn publish(&mut self) -> Verdict {
        let (from, qos) = self.small.messages[self.published];
        let payload = vec![self.published as u8];
        self.published += 1;
        if from == From::Server {
            self.server.publish(qos, payload[0], &mut self.to_client);
            return Ok(());
        }
        let topic = TopicName::new("t").expect("a topic name");
        let key = u32::from(payload[0]);
        let publish = OutgoingPublish::new(topic, payload).qos(qos).key(key);
        match self.session.publish(NOW, publish) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("publish was rejected: {error}")),
        }
    }

    fn receive(&mut self, packet: &Packet) -> Verdict {
        let mut input = BytesMut::new();
        packet
            .encode(self.small.version, &mut input)
            .map_err(|error| error.to_string())?;
        self.linter.received(NOW.since_epoch(), &input);
        if let Some(saboteur) = &mut self.saboteur {
            input = BytesMut::from(&saboteur.takes(&input)?[..]);
        }
        self.session.handle_input(NOW, &mut input);
        if input.is_empty() {
            Ok(())
        } else {
            Err("a packet was left unread".to_owned())
        }
    }

    fn drain(&mut self) -> Verdict {
        let drained = Drain::default().run(&mut self.session, NOW)?;
        if let Some(error) = drained.close {
            return Err(format!("the session closes: {error}"));
        }
        self.transmit(drained.output)?;
        let mut reported = Vec::new();
        for event in drained.events {
            match &mut self.saboteur {
                Some(saboteur) => saboteur.report(event, &mut reported),
                None => reported.push(Reported { event, times: 1 }),
            }
        }
        for Reported { event, times } in reported {
            self.deliver_event(event, times)?;
        }
        self.linter
            .findings()
            .first()
            .map_or(Ok(()), |finding| Err(finding.to_string()))
    }

    fn transmit(&mut self, output: SendBuffer) -> Verdict {
        let mut bytes = Vec::new();
        bytes.put(output);
        if let Some(saboteur) = &mut self.saboteur {
            bytes = saboteur.sends(&bytes)?;
        }
        self.linter.sent(NOW.since_epoch(), &bytes);
        let mut frames = WireFrames::default();
        frames.push(&bytes);
        while let Some(frame) = frames.next(self.small.version)? {
            self.to_server.push_back(frame.packet);
        }
        Ok(())
    }

    fn deliver_event(&mut self, event: Event, times: u8) -> Verdict {
        match event {
            Event::Message(message) => {
                let number = message
                    .publish
                    .payload()
                    .first()
                    .copied()
                    .unwrap_or(u8::MAX);
                for _ in 0..times {
                    self.arrived(number)?;
                }
                self.held.push(message.token);
            }
            Event::Published { key, result, .. } => {
                let number = key.unwrap_or_default() as usize;
                let (arrived, ended) = &mut self.books[number];
                let (_, qos) = self.small.messages[number];
                if let Err(error) = result {
                    return Err(format!("message {number} failed: {error}"));
                }
                if core::mem::replace(ended, true) || times > 1 {
                    return Err(format!("message {number} ended twice"));
                }
                if *arrived == 0 && qos > QoS::AtMostOnce {
                    return Err(format!(
                        "message {number} was acknowledged and has not arrived"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A message is with the application of the other side.
    fn arrived(&mut self, number: u8) -> Verdict {
        let number = usize::from(number);
        let Some(&(from, qos)) = self.small.messages.get(number) else {
            return Err(format!("message {number} was never published"));
        };
        self.books[number].0 += 1;
        if self.books[number].0 > 1 {
            return match qos {
                QoS::AtLeastOnce => Ok(()),
                _ => Err(format!(
                    "message {number} of QoS {} arrived twice",
                    qos.as_u8()
                )),
            };
        }
        let last = self.last.entry((from, qos.as_u8())).or_default();
        if number < *last {
            return Err(format!(
                "message {number} arrived after message {}",
                *last - 1
            ));
        }
        *last = number + 1;
        Ok(())
    }

    /// Nothing can happen any more.
    fn check_acknowledged(&self) -> Verdict {
        for (number, (&(from, qos), &(arrived, ended))) in
            self.small.messages.iter().zip(&self.books).enumerate()
        {
            if qos > QoS::AtMostOnce && arrived == 0 {
                return Err(format!("message {number} was lost"));
            }
            if qos > QoS::AtMostOnce && from == From::Client && !ended {
                return Err(format!("message {number} is never acknowledged"));
            }
        }
        let left = self.session.in_flight() + self.session.queued() + self.session.unhandled();
        if left > 0 || !self.server.is_idle() {
            return Err(format!(
                "{left} messages are left in the session; the server: {:?}",
                self.server
            ));
        }
        Ok(())
    }

    /// The same for the same state: a hash of its complete `Debug` text.
    fn fingerprint(&self) -> u64 {
        struct Print(DefaultHasher);
        impl Write for Print {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.write(text.as_bytes());
                Ok(())
            }
        }
        let mut print = Print(DefaultHasher::new());
        let written = write!(print, "{self:?}");
        written.expect("a hash takes everything");
        print.0.finish()
    }
}

/// A server as the specification has it, with one session.
#[derive(Debug, Default)]
struct Server {
    connected: bool,
    has_session: bool,
    /// QoS 2 identifiers between PUBLISH and PUBREL.
    received: BTreeSet<PacketIdentifier>,
    /// In the order in which they were published.
    outgoing: Vec<Outgoing>,
    next_id: u16,
}

#[derive(Debug)]
struct Outgoing {
    id: PacketIdentifier,
    qos: QoS,
    number: u8,
    sent: bool,
    released: bool,
}

impl Server {
    fn is_idle(&self) -> bool {
        self.outgoing.is_empty() && self.received.is_empty()
    }

    fn publish(&mut self, qos: QoS, number: u8, out: &mut VecDeque<Packet>) {
        if qos == QoS::AtMostOnce {
            if self.connected {
                out.push_back(message(Delivery::AtMostOnce, number));
            }
            return;
        }
        self.next_id += 1;
        let id = PacketIdentifier::new(self.next_id).expect("fewer than 65,535");
        let mut outgoing = Outgoing {
            id,
            qos,
            number,
            sent: false,
            released: false,
        };
        if self.connected {
            out.push_back(outgoing.send());
        }
        self.outgoing.push(outgoing);
    }

    /// Takes a packet; gives the numbers of the messages that it accepts.
    fn take(&mut self, packet: Packet, out: &mut VecDeque<Packet>) -> Result<Vec<u8>, String> {
        let mut accepted = Vec::new();
        match packet {
            Packet::Connect(connect) => {
                let present = self.has_session && !connect.clean_start;
                (self.has_session, self.connected) = (true, true);
                out.push_back(
                    ConnAck {
                        session_present: present,
                        ..ConnAck::new(ConnectReasonCode::Success)
                    }
                    .into(),
                );
                for outgoing in &mut self.outgoing {
                    out.push_back(outgoing.send());
                }
            }
            Packet::Publish(publish) => {
                let number = publish.payload()[0];
                match publish.delivery() {
                    Delivery::AtMostOnce => accepted.push(number),
                    Delivery::AtLeastOnce {
                        packet_identifier, ..
                    } => {
                        accepted.push(number);
                        out.push_back(Packet::PubAck(Ack::new(
                            packet_identifier,
                            PubAckReasonCode::Success,
                        )));
                    }
                    Delivery::ExactlyOnce {
                        packet_identifier, ..
                    } => {
                        if self.received.insert(packet_identifier) {
                            accepted.push(number);
                        }
                        out.push_back(Packet::PubRec(Ack::new(
                            packet_identifier,
                            PubAckReasonCode::Success,
                        )));
                    }
                }
            }
            Packet::PubRel(ack) => {
                self.received.remove(&ack.packet_identifier);
                out.push_back(Packet::PubComp(Ack::new(ack.packet_identifier, ack.reason)));
            }
            Packet::PubRec(ack) => {
                let outgoing = self
                    .outgoing
                    .iter_mut()
                    .find(|outgoing| outgoing.id == ack.packet_identifier);
                let Some(outgoing) = outgoing else {
                    return Err("PUBREC of what was never sent".to_owned());
                };
                outgoing.released = true;
                out.push_back(outgoing.send());
            }
            Packet::PubAck(ack) => self
                .outgoing
                .retain(|outgoing| outgoing.id != ack.packet_identifier),
            Packet::PubComp(ack) => self
                .outgoing
                .retain(|outgoing| outgoing.id != ack.packet_identifier),
            other => return Err(format!("the server has no use for {other:?}")),
        }
        Ok(accepted)
    }
}

impl Outgoing {
    /// The PUBLISH, for the first time or again, or its PUBREL.
    fn send(&mut self) -> Packet {
        let (packet_identifier, duplicate) = (self.id, core::mem::replace(&mut self.sent, true));
        if self.released {
            return Packet::PubRel(Ack::new(
                packet_identifier,
                martlet_proto::PubRelReasonCode::Success,
            ));
        }
        let delivery = match self.qos {
            QoS::AtLeastOnce => Delivery::AtLeastOnce {
                packet_identifier,
                duplicate,
            },
            _ => Delivery::ExactlyOnce {
                packet_identifier,
                duplicate,
            },
        };
        message(delivery, self.number)
    }
}

fn message(delivery: Delivery, number: u8) -> Packet {
    let topic = TopicName::new("t").expect("a topic name");
    let payload = [number];
    let publish = PublishRef::new(&topic, &payload).with_delivery(delivery);
    let mut wire = BytesMut::new();
    publish
        .encode_head(Version::V3_1_1, &mut wire)
        .expect("a small message");
    wire.extend_from_slice(&payload);
    let packet = Packet::decode(&mut wire, Version::V3_1_1, MAX_PACKET_SIZE);
    packet.expect("it was encoded").expect("all of it")
}

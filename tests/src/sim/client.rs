//! A client of the world: a session, the application around it, and those who watch it.

use super::model::Judgement;
use super::saboteur::{Reported, Saboteur};
use super::wire::{WireFrames, frame_len, number};
use super::{Options, Random};
use crate::linter::Linter;
use bytes::{BufMut, Bytes, BytesMut};
use core::time::Duration;
use martlet_proto::{
    Packet, PacketIdentifier, PubAckReasonCode, QoS, SubscribeFilter, TopicFilter, Utf8String,
    Version,
};
use martlet_session::CleanStart;
use martlet_session::drain::{Drain, Drained, run_timers};
use martlet_session::{
    AckToken, Config, ConnectOptions, ConnectionError, Durable, Event, InboundLimits, Instant,
    QueueLimits, RecordKey, RequestError, SendBuffer, Session, StoreOp, StoreSeq, SubscribeRequest,
    UnsubscribeRequest,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Debug)]
pub(crate) struct SimClient {
    pub(crate) name: &'static str,
    pub(crate) session: Session,
    /// Sees every byte when the session hands it out or takes it.
    pub(crate) linter: Linter,
    /// Its number among those that publish.
    pub(crate) publisher: Option<usize>,
    pub(crate) subscribes: bool,
    /// A subscribe was asked for and did not fail.
    subscribing: bool,
    /// It was granted, and no end of it was asked for.
    pub(crate) subscribed: bool,
    /// How many messages it may have in flight.
    window: u16,
    saboteur: Option<Saboteur>,
    /// The broker has begun a new session, and the client does not know yet.
    pub(crate) lost: bool,
    /// The connection that is open.
    pub(crate) link: Option<u64>,
    input: BytesMut,
    /// The server may send something at which the session ends the connection.
    may_overrun: bool,
    /// Why the session wants the connection closed.
    closing: Option<ConnectionError>,
    /// How often it was drained.
    drains: u32,
    /// The socket takes no bytes.
    pub(crate) blocked: bool,
    /// Messages that the application has not taken, and their numbers.
    held: VecDeque<(AckToken, u64)>,
    /// In how many of 1,000 cases it rejects one, and those that it has rejected.
    reject: u32,
    pub(crate) rejected: Vec<u64>,
    /// What is sent, to look at the expiry of messages.
    expiring: Option<WireFrames>,
    /// What is sent, to look for packets that nobody wants.
    watched: Option<WireFrames>,
    pub(crate) sent: Vec<Packet>,
    /// The identifiers of requests that are about the subscription to everything, as far as they
    /// were watched.
    about_everything: BTreeSet<PacketIdentifier>,
    /// Of a session that is stored.
    pub(crate) disk: Option<Disk>,
}

/// What outlives a process of a client, and what does not yet.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    records: BTreeMap<RecordKey, Bytes>,
    /// Not stored yet.
    operations: VecDeque<(StoreSeq, StoreOp)>,
    /// So many of them are being stored.
    writing: Option<usize>,
    /// Processes so far.
    pub(crate) process: u64,
    /// The operation that stores that the server has begun a new session, as far as it is not
    /// stored.
    loss: Option<StoreSeq>,
    /// QoS 2 messages that were delivered, and whose PUBREC was not sent.
    unrecorded: BTreeMap<PacketIdentifier, u64>,
    /// What is sent, to look for them.
    sent: WireFrames,
    /// What a bug has not waited for: key, value, and the value before.
    undone: VecDeque<(RecordKey, Option<Bytes>, Option<Bytes>)>,
}

/// The invariants of a session are checked at each fourth drain, which takes a tenth of the time of
/// a run; at each it takes more than a third.
const CHECKED: u32 = 4;

/// So many operations may be under way when a process dies that does not wait for them.
const UNDONE: usize = 10;

/// What the death of a process leaves.
#[derive(Debug)]
pub(crate) struct Remains {
    /// Operations with a message, and with a message or its flow.
    pub(crate) messages: BTreeSet<u64>,
    pub(crate) traces: BTreeSet<u64>,
    /// QoS 2 messages that may be delivered again.
    pub(crate) unrecorded: Vec<u64>,
}

impl SimClient {
    pub(crate) fn new(
        name: &'static str,
        options: &Options,
        publisher: Option<usize>,
        subscribes: bool,
    ) -> Self {
        // After a restart a client may send again what it has seen the end of, and not stored.
        let linter = if options.durable.is_some() {
            Linter::on_the_way()
        } else {
            Linter::new()
        };
        Self {
            name,
            session: Session::new(config(name, options)),
            linter: if options.misdeeds.overshoot > 0 {
                linter.taking_excess()
            } else {
                linter
            }
            .with_window(options.max_in_flight),
            publisher,
            subscribes,
            subscribing: false,
            subscribed: false,
            window: options.max_in_flight,
            saboteur: options
                .sabotage
                .map(|bug| Saboteur::new(bug, options.version)),
            lost: false,
            link: None,
            input: BytesMut::new(),
            may_overrun: !options.version.has_properties() || !options.misdeeds.is_none(),
            closing: None,
            drains: 0,
            blocked: false,
            held: VecDeque::new(),
            reject: if options.version.has_properties() {
                options.reject
            } else {
                0
            },
            rejected: Vec::new(),
            expiring: (options.expiry > 0 && options.version.has_properties())
                .then(WireFrames::default),
            watched: (!options.misdeeds.is_none()).then(WireFrames::default),
            sent: Vec::new(),
            about_everything: BTreeSet::new(),
            disk: options.durable.map(|_| Disk::default()),
        }
    }

    // ---- the disk

    /// What the session wants stored. Returns whether the disk has nothing to do but this.
    pub(crate) fn gather(&mut self, operations: Vec<(StoreSeq, StoreOp)>) -> bool {
        let Some(disk) = &mut self.disk else {
            return false;
        };
        disk.operations.extend(operations);
        let begins = disk.writing.is_none() && !disk.operations.is_empty();
        if begins {
            disk.writing = Some(disk.operations.len());
        }
        begins
    }

    /// The disk has stored what it was given.
    pub(crate) fn stored(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        let n = disk.writing.take().unwrap_or(0);
        if let Some(last) = disk.write(n, self.saboteur.as_ref()) {
            disk.loss = disk.loss.filter(|&loss| loss > last);
            self.session.handle_stored(last);
        }
    }

    /// The application got the event that the server has begun a new session; the operations
    /// gathered so far contain it.
    pub(crate) fn loss_noticed(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.loss = disk.operations.back().map(|&(seq, _)| seq);
        }
    }

    /// A QoS 2 message was delivered.
    pub(crate) fn received(&mut self, id: Option<PacketIdentifier>, number: u64) {
        if let (Some(disk), Some(id)) = (&mut self.disk, id) {
            disk.unrecorded.insert(id, number);
        }
    }

    /// The process dies, and another begins with what the disk has stored and the given number of
    /// further operations.
    pub(crate) fn crash(
        &mut self,
        now: Duration,
        random: &mut Random,
    ) -> Result<Option<Remains>, String> {
        let Some(disk) = &mut self.disk else {
            return Ok(None);
        };
        let n = random.below(disk.operations.len() as u64 + 1) as usize;
        let last = disk.write(n, self.saboteur.as_ref());
        disk.undo();
        // The next process does not know of it, whatever this one did.
        let unaware = disk
            .loss
            .take()
            .is_some_and(|loss| last.is_none_or(|last| last < loss));
        self.lost |= unaware;
        disk.operations.clear();
        disk.writing = None;
        disk.process += 1;
        disk.sent.clear();
        let of = |kinds: &[u8]| {
            let keys = disk
                .records
                .keys()
                .filter(|key| kinds.contains(&key.to_bytes()[0]));
            keys.filter_map(|key| Some(key.operation()?.get()))
                .collect::<BTreeSet<_>>()
        };
        let (messages, traces) = (of(&[2]), of(&[2, 3]));
        let unrecorded = core::mem::take(&mut disk.unrecorded)
            .into_values()
            .collect();
        let saboteur = &self.saboteur;
        let records = disk
            .records
            .iter()
            .map(|(key, value)| (*key, value.clone()));
        let records = records.filter(|(key, _)| {
            saboteur
                .as_ref()
                .is_none_or(|saboteur| saboteur.restores(*key))
        });
        let config = self.session.config().clone();
        let restored =
            Session::restore(config, instant(now), records).map_err(|error| error.to_string())?;
        if !restored.quarantined.is_empty() {
            return Err(format!(
                "records were set aside: {:?}",
                restored.quarantined
            ));
        }
        self.session = restored.session;
        if unaware {
            // It goes on with a session that is gone: what it sends again was never sent in this
            // one.
            self.linter = Linter::on_the_way().with_window(self.window);
        }
        self.link = None;
        self.blocked = false;
        self.input.clear();
        self.held.clear();
        self.not_subscribed();
        Ok(Some(Remains {
            messages,
            traces,
            unrecorded,
        }))
    }

    // ---- the session

    pub(crate) fn open(&mut self, now: Duration, link: u64, options: &Options) {
        self.link = Some(link);
        self.closing = None;
        self.input.clear();
        self.blocked = false;
        self.linter.open(now);
        if let Some(saboteur) = &mut self.saboteur {
            saboteur.open();
        }
        if let Some(expiring) = &mut self.expiring {
            expiring.clear();
        }
        if let Some(watched) = &mut self.watched {
            watched.clear();
        }
        if let Some(disk) = &mut self.disk {
            disk.sent.clear();
        }
        self.session
            .handle_open(instant(now), ConnectOptions::new(options.version));
    }

    /// Whether an answer to this request is about the subscription to everything.
    pub(crate) fn is_about_everything(&self, id: PacketIdentifier) -> bool {
        self.watched.is_none() || self.about_everything.contains(&id)
    }

    /// Subscribes to everything, unless that was done. Returns whether it was asked for.
    pub(crate) fn subscribe(&mut self, now: Duration) -> Result<bool, String> {
        if !self.subscribes || self.subscribing || self.session.is_ended() {
            return Ok(false);
        }
        self.subscribing = true;
        let subscribe =
            SubscribeRequest::new([SubscribeFilter::new(everything(), QoS::ExactlyOnce)]);
        match self.session.subscribe(instant(now), subscribe) {
            Ok(_) => Ok(true),
            // Connected once more, only to settle what is left.
            Err(RequestError::Closed(_)) => {
                self.subscribing = false;
                Ok(false)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Ends the subscription.
    pub(crate) fn unsubscribe(&mut self, now: Duration) -> Judgement {
        self.subscribed = false;
        let unsubscribe = UnsubscribeRequest::new([everything()]);
        self.session
            .unsubscribe(instant(now), unsubscribe)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    /// The subscribe failed, or the unsubscribe did not: it is asked for again.
    pub(crate) fn not_subscribed(&mut self) {
        self.subscribing = false;
        self.subscribed = false;
    }

    /// Runs the timers that are due, and drains the session.
    pub(crate) fn drain(&mut self, now: Duration) -> Result<Drained, String> {
        self.drains += 1;
        run_timers(&mut self.session, instant(now))?;
        let drain = Drain {
            socket_full: self.blocked,
            unchecked: self.drains % CHECKED != 0,
        };
        let mut drained = drain.run(&mut self.session, instant(now))?;
        // It may have been noticed between two packets.
        drained.close = self.closing.take().or(drained.close);
        Ok(drained)
    }

    /// What goes to the network, after those who watch have seen it.
    pub(crate) fn transmit(
        &mut self,
        now: Duration,
        mut output: SendBuffer,
    ) -> Result<Vec<u8>, String> {
        if output.is_empty() {
            return Ok(Vec::new());
        }
        let mut bytes = Vec::with_capacity(output.len());
        bytes.put(&mut output);
        if let Some(saboteur) = &mut self.saboteur {
            bytes = saboteur.sends(&bytes)?;
            if bytes.is_empty() {
                return Ok(bytes);
            }
        }
        self.linter.sent(now, &bytes);
        self.check()?;
        self.check_expiry(now, &bytes)?;
        if let Some(watched) = &mut self.watched {
            watched.push(&bytes);
            while let Some(frame) = watched.next(self.linter.version().unwrap_or(Version::V5))? {
                let (id, is_about) = match &frame.packet {
                    Packet::Subscribe(packet) => {
                        let mut filters = packet.subscriptions.iter().map(|entry| &entry.filter);
                        (
                            packet.packet_identifier,
                            filters.any(|filter| *filter == everything()),
                        )
                    }
                    Packet::Unsubscribe(it) => (
                        it.packet_identifier,
                        it.filters.iter().any(|filter| *filter == everything()),
                    ),
                    _ => {
                        self.sent.push(frame.packet);
                        continue;
                    }
                };
                match is_about {
                    true => self.about_everything.insert(id),
                    false => self.about_everything.remove(&id),
                };
                self.sent.push(frame.packet);
            }
        }
        if let Some(disk) = &mut self.disk {
            disk.sent.push(&bytes);
            while let Some(frame) = disk
                .sent
                .next(self.linter.version().unwrap_or(Version::V5))?
            {
                if let Packet::PubRec(ack) = frame.packet {
                    disk.unrecorded.remove(&ack.packet_identifier);
                }
            }
        }
        Ok(bytes)
    }

    /// What is sent says how long the message has still to live [MQTT-3.3.2-6], in whole seconds,
    /// and lives.
    fn check_expiry(&mut self, now: Duration, bytes: &[u8]) -> Judgement {
        let Some(frames) = &mut self.expiring else {
            return Ok(());
        };
        frames.push(bytes);
        while let Some(frame) = frames.next(Version::V5)? {
            let Packet::Publish(publish) = &frame.packet else {
                continue;
            };
            let said = publish
                .properties()
                .message_expiry_interval()
                .map(u64::from);
            let expected = expires_at(publish.payload()).map(|at| at.saturating_sub(now));
            let fits = match expected {
                None => said.is_none(),
                // Of what was sent before, which is not forgotten for its age, nothing may be left;
                // never 0. A second that has only begun is left. The payload knows the millisecond.
                Some(left) => {
                    let seconds =
                        |left: Duration| (left.as_micros().div_ceil(1_000_000) as u64).max(1);
                    (left > Duration::ZERO || publish.delivery().duplicate())
                        && (said == Some(seconds(left))
                            || said == Some(seconds(left + Duration::from_millis(1))))
                }
            };
            if !fits {
                return Err(format!(
                    "an expiry of {said:?} s where {expected:?} is left: {publish:?}"
                ));
            }
        }
        Ok(())
    }

    /// Bytes have arrived.
    pub(crate) fn receive(&mut self, now: Duration, bytes: &[u8]) -> Judgement {
        if let Some(saboteur) = &mut self.saboteur {
            self.linter.received(now, bytes);
            self.input.extend_from_slice(&saboteur.takes(bytes)?);
            self.session.handle_input(instant(now), &mut self.input);
            return self.check();
        }
        self.input.extend_from_slice(bytes);
        self.read_on(now)
    }

    /// The session may want what it has left.
    pub(crate) fn read_on(&mut self, now: Duration) -> Judgement {
        if self.saboteur.is_some() {
            self.session.handle_input(instant(now), &mut self.input);
            return Ok(());
        }
        // A session that ends the connection takes nothing more, and throws it away: where it did
        // must be known.
        while !self.input.is_empty() && self.closing.is_none() {
            let len = frame_len(&self.input)
                .filter(|_| self.may_overrun)
                .unwrap_or(self.input.len());
            let rest = self.input.split_off(len);
            let before = self.input.clone();
            self.session.handle_input(instant(now), &mut self.input);
            let taken = before.len() - self.input.len();
            self.linter.received(now, &before[..taken]);
            self.closing = self.session.poll_close();
            self.input.unsplit(rest);
            if taken == 0 || !self.may_overrun {
                break;
            }
        }
        self.check()
    }

    /// What the linter has found. The broker is watched too.
    fn check(&self) -> Judgement {
        if let Some(nonsense) = self.linter.server_nonsense() {
            return Err(format!("from the broker: {nonsense}"));
        }
        self.linter
            .findings()
            .first()
            .map_or(Ok(()), |finding| Err(finding.to_string()))
    }

    pub(crate) fn report(&mut self, events: Vec<Event>, reported: &mut Vec<Reported>) {
        for event in events {
            match &mut self.saboteur {
                Some(saboteur) => saboteur.report(event, reported),
                None => reported.push(Reported { event, times: 1 }),
            }
        }
    }

    /// The application has a message, and takes it later.
    pub(crate) fn hold(&mut self, token: AckToken, number: u64) {
        self.held.push_back((token, number));
    }

    /// The application takes some of what it has, in an order of its own.
    pub(crate) fn take(&mut self, now: Duration, random: &mut Random, slow: u32) -> Judgement {
        let mut later = VecDeque::new();
        while let Some((token, number)) = self.held.pop_front() {
            if random.per_mille(slow) {
                later.push_back((token, number));
            } else if self.reject > 0 && random.per_mille(self.reject) {
                self.rejected.push(number);
                self.session
                    .acknowledge(token, PubAckReasonCode::QuotaExceeded);
            } else {
                self.session.acknowledge(token, PubAckReasonCode::Success);
            }
        }
        self.held = later;
        self.read_on(now)
    }

    /// The connection is gone; `Disconnected` follows among the events.
    pub(crate) fn close(&mut self, now: Duration, reason: ConnectionError) -> Judgement {
        if !self.blocked {
            self.linter.passes(now);
            self.check()?;
        }
        self.link = None;
        self.blocked = false;
        self.input.clear();
        self.session.handle_close(instant(now), reason);
        Ok(())
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.session.poll_timeout().map(Instant::since_epoch)
    }
}

fn config(name: &'static str, options: &Options) -> Config {
    Config::default()
        .client_identifier(Utf8String::new(name).expect("a short name"))
        .clean_start(CleanStart::Never)
        .session_expiry_interval(Some(u32::MAX))
        .keep_alive(options.keep_alive)
        .ping_timeout(Duration::from_secs(8))
        .max_in_flight(options.max_in_flight)
        .inbound(
            InboundLimits::default()
                .receive_maximum(options.receive_maximum)
                .soft_messages(options.inbound.0)
                .hard_messages(options.inbound.1),
        )
        .queue(
            QueueLimits::default()
                .messages(options.queue.0)
                .when_full(options.queue.1),
        )
        .publish_timeout(options.publish_timeout.map(Duration::from_secs))
        .hang_up_time(Duration::ZERO)
        .lost_qos1(options.lost_qos1)
        .lost_qos2(options.lost_qos2)
        .durable(options.durable.map(|_| {
            // Simulated time goes on between processes.
            Durable::default().epoch(Duration::ZERO)
        }))
}

impl Disk {
    /// So many operations reach it; gives back the last.
    fn write(&mut self, n: usize, saboteur: Option<&Saboteur>) -> Option<StoreSeq> {
        let mut last = None;
        for (seq, operation) in self.operations.drain(..n) {
            let undoes = saboteur.is_some_and(|saboteur| saboteur.undoes(&operation));
            let key = operation.key();
            let before = match operation {
                StoreOp::Put { value, .. } => self.records.insert(key, value),
                StoreOp::Delete { .. } => self.records.remove(&key),
            };
            if undoes {
                self.undone
                    .push_back((key, self.records.get(&key).cloned(), before));
            }
            last = Some(seq);
        }
        while self.undone.len() > UNDONE {
            self.undone.pop_front();
        }
        last
    }

    /// What a bug has not waited for was not stored, as far as it was not overtaken.
    fn undo(&mut self) {
        for (key, after, before) in self.undone.drain(..).rev() {
            if self.records.get(&key) == after.as_ref() {
                match before {
                    Some(before) => drop(self.records.insert(key, before)),
                    None => drop(self.records.remove(&key)),
                }
            }
        }
    }
}

pub(crate) fn everything() -> TopicFilter {
    TopicFilter::new("t/#").expect("a filter")
}

/// The payload of a message: its number, when it expires, and as many bytes more.
pub(crate) fn payload(number: u64, expires_at: Option<Duration>, more: usize) -> Vec<u8> {
    let expires_at = expires_at.map_or(0, |at| at.as_millis() as u64);
    let mut payload = [number.to_be_bytes(), expires_at.to_be_bytes()].concat();
    payload.resize(payload.len() + more, b'.');
    payload
}

fn expires_at(payload: &[u8]) -> Option<Duration> {
    let millis = payload.get(8..16).map_or(0, number);
    (millis > 0).then(|| Duration::from_millis(millis))
}

pub(crate) fn instant(at: Duration) -> Instant {
    Instant::from_epoch(at)
}

/// The topic's number.
pub(crate) fn topic_of(event: &martlet_session::ReceivedPublish) -> usize {
    usize::from(event.topic().as_bytes().last().copied().unwrap_or(b'0') - b'0')
}

//! Sessions against anything: bytes of a hostile server, and arbitrary commands, packets and
//! pauses.
//!
//! Whatever happens, nothing panics, the rule to drain holds, memory stays bounded, and what the
//! session sends is what a client may send: the [linter](crate::linter) finds nothing.

use crate::linter::Linter;
use bytes::{Buf, BytesMut};
use core::num::NonZeroU16;
use core::time::Duration;
use martlet_proto::{
    PubAckReasonCode, PublishProperties, QoS, SubscribeFilter, SubscriptionIdentifier, TopicFilter,
    TopicName, UserProperties, Utf8String, Version,
};
use martlet_session::CleanStart;
use martlet_session::drain::{Drain, run_timers};
use martlet_session::{
    Accepted, AckToken, AuthMessage, Authentication, Config, ConnectOptions, ConnectionError,
    Details, DisconnectOptions, DropQos0, Durable, Event, GivenUp, InboundLimits, Instant,
    LostSession, OperationId, OutgoingPublish, PublishError, QueueLimits, SendBuffer, Session,
    StoreError, StoreErrorKind, StoreOp, StoreSeq, SubscribeRequest, TopicAliases,
    UnsubscribeRequest, WhenFull, WhenStoreFails,
};
use std::collections::{BTreeSet, VecDeque};

/// Small, so that they are met.
const HARD_MESSAGES: usize = 12;
const QUEUED: usize = 8;
const IN_FLIGHT: u16 = 5;

/// More than a write's worth, a packet and the answers that nobody reads come to.
const MOST_OUTPUT: usize = 2 * 1024 * 1024;

/// Bytes that choose; zeros when they have run out.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn take(&mut self, n: usize) -> &'a [u8] {
        let n = n.min(self.0.len());
        let (taken, rest) = self.0.split_at(n);
        self.0 = rest;
        taken
    }

    fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[usize::from(self.byte()) % these.len()]
    }
}

/// A session and its driver.
struct Driven {
    session: Session,
    linter: Linter,
    version: Version,
    now: Duration,
    open: bool,
    blocked: bool,
    input: BytesMut,
    /// The end of what has left on this connection.
    sent: Vec<u8>,
    unhandled: Vec<AckToken>,
    /// Operations whose end was not reported.
    pending: BTreeSet<OperationId>,
    /// Messages that the store has kept over a goodbye.
    kept: BTreeSet<OperationId>,
    /// How many messages have failed.
    failed: usize,
    /// What was handed out to be stored and is not.
    unstored: VecDeque<StoreSeq>,
    /// The store takes its time.
    slow_store: bool,
}

impl Driven {
    fn new(choices: &mut Choices<'_>) -> Self {
        let first = choices.byte();
        let version = Version::ALL[usize::from(first) % 3];
        let when_store_fails = if first & 0x40 == 0 {
            WhenStoreFails::Fail
        } else {
            WhenStoreFails::Hold
        };
        let durable = Durable::default().when_store_fails(when_store_fails);
        let bits = choices.byte();
        let lost = |bit| {
            if bit == 0 {
                LostSession::Requeue
            } else {
                LostSession::InDoubt
            }
        };
        let config = Config::default()
            .client_identifier(Utf8String::new("fuzzed").expect("short"))
            .clean_start(match bits & 1 {
                0 => CleanStart::Never,
                _ => CleanStart::First,
            })
            .keep_alive(if bits & 2 != 0 { 10 } else { 0 })
            .publish_timeout((bits & 4 != 0).then_some(Duration::from_secs(3)))
            .max_in_flight(IN_FLIGHT)
            .queue(
                QueueLimits::default()
                    .messages(QUEUED)
                    .bytes(4096)
                    .when_full(
                        [WhenFull::Reject, WhenFull::DropOldest, WhenFull::DropNewest]
                            [usize::from(bits >> 4) % 3],
                    ),
            )
            .inbound(
                InboundLimits::default()
                    .receive_maximum(8)
                    .soft_messages(4)
                    .hard_messages(HARD_MESSAGES)
                    .qos0_when_full(if bits & 8 != 0 {
                        DropQos0::Oldest
                    } else {
                        DropQos0::Newest
                    }),
            )
            .maximum_packet_size(2048)
            .topic_alias_maximum(3)
            .topic_aliases_out(if first & 0x20 == 0 {
                TopicAliases::Automatic
            } else {
                TopicAliases::Manual
            })
            .session_expiry_interval((first & 0x10 != 0).then_some(0))
            .durable((first & 0x80 != 0).then_some(durable))
            .lost_qos1(lost(bits & 0x40))
            .lost_qos2(lost(bits & 0x80));
        Self {
            session: Session::new(config),
            linter: Linter::new().with_window(IN_FLIGHT),
            version,
            now: Duration::from_secs(1000),
            open: false,
            blocked: false,
            input: BytesMut::new(),
            sent: Vec::new(),
            unhandled: Vec::new(),
            pending: BTreeSet::new(),
            kept: BTreeSet::new(),
            failed: 0,
            unstored: VecDeque::new(),
            slow_store: false,
        }
    }

    fn instant(&self) -> Instant {
        Instant::from_epoch(self.now)
    }

    fn open(&mut self, with_method: bool) {
        self.open = true;
        self.blocked = false;
        self.input.clear();
        self.sent.clear();
        self.linter.open(self.now);
        let authentication = (with_method && self.version.has_properties())
            .then(|| Authentication::new(Utf8String::new("method").expect("short")));
        let options = ConnectOptions::new(self.version).authentication(authentication);
        self.session.handle_open(self.instant(), options);
        self.drain();
    }

    fn close(&mut self) {
        self.open = false;
        self.input.clear();
        self.session
            .handle_close(self.instant(), ConnectionError::ClosedByPeer);
        self.drain();
    }

    /// Bytes of the server, as many as are taken before the connection is to end.
    fn receive(&mut self, bytes: &[u8]) {
        // A full socket and a server that answers what it has not seen: that would be another
        // client's.
        if !self.open || (self.blocked && self.session.has_output()) {
            return;
        }
        self.input.extend_from_slice(bytes);
        self.read();
    }

    fn read(&mut self) {
        while self.open && !self.input.is_empty() {
            let len = packet_len(&self.input).unwrap_or(self.input.len());
            let rest = self.input.split_off(len);
            let before = self.input.clone();
            self.session.handle_input(self.instant(), &mut self.input);
            let taken = before.len() - self.input.len();
            self.linter.received(self.now, &before[..taken]);
            self.input.unsplit(rest);
            self.drain();
            if let Some(nonsense) = self.linter.server_nonsense() {
                let packet = &before[..before.len().min(64)];
                assert!(!self.open, "taken from a server: {nonsense}: {packet:02x?}");
            }
            if taken == 0 {
                break;
            }
        }
    }

    fn drain(&mut self) {
        loop {
            let drain = Drain {
                socket_full: self.blocked,
                unchecked: false,
            };
            let now = self.instant();
            let drained = drain.run(&mut self.session, now).expect("it is drained");
            let mut goes_on = !drained.is_empty();
            goes_on |= self.store(drained.operations) > 0;
            self.transmit(drained.output);
            for event in drained.events {
                self.take_note(event);
            }
            if let Some(error) = drained.close {
                self.check_disconnect(&error);
                self.open = false;
                self.input.clear();
                self.session
                    .handle_close(now, ConnectionError::ClosedByPeer);
            }
            goes_on |= run_timers(&mut self.session, now).expect("no timer is left behind");
            if !goes_on {
                break;
            }
        }
        assert_eq!(
            self.linter
                .findings()
                .iter()
                .find(|finding| !finding.rule.is_servers()),
            None
        );
        let queued = self.session.queued();
        assert!(queued <= QUEUED + usize::from(IN_FLIGHT), "{queued} queued");
        // A PUBREC may still come for a message that has failed: the server has it after all.
        let most = usize::from(IN_FLIGHT) + self.failed;
        assert!(self.session.in_flight() <= most);
        if self.session.poll_superseded() {
            let tokens = std::mem::take(&mut self.unhandled).into_iter();
            let (superseded, rest): (Vec<_>, _) =
                tokens.partition(|token| self.session.is_superseded(token));
            self.unhandled = rest;
            for token in superseded {
                self.session.acknowledge(token, PubAckReasonCode::Success);
            }
        }
        assert_eq!(self.session.unhandled(), self.unhandled.len());
        // QoS 0 has bounds of its own beside those of QoS 1 and 2.
        assert!(
            self.unhandled.len() <= 2 * HARD_MESSAGES,
            "{} unhandled",
            self.unhandled.len()
        );
    }

    /// Each accepted operation ends once. A message that is kept in the store has not ended: its
    /// end is reported to the next session on that store.
    fn take_note(&mut self, event: Event) {
        let failure = match &event {
            Event::Published { result, .. } => result.as_ref().err(),
            _ => None,
        };
        let is_kept = failure == Some(&PublishError::Kept);
        self.failed += usize::from(failure.is_some());
        let ended = match event {
            Event::Message(message) => return self.unhandled.push(message.token),
            Event::Published { operation, .. }
            | Event::Subscribed { operation, .. }
            | Event::Unsubscribed { operation, .. }
            | Event::Pong { operation, .. }
            | Event::Reauthenticated { operation, .. } => operation,
            _ => return,
        };
        let goes_on = self.pending.remove(&ended) || self.kept.remove(&ended);
        assert!(goes_on, "{ended:?} has ended before, or has never begun");
        if is_kept {
            self.kept.insert(ended);
        }
    }

    fn begun(&mut self, operation: OperationId) {
        let is_new = self.pending.insert(operation);
        assert!(is_new, "{operation:?} is used again");
    }

    /// Hands the store what it is to store. Returns how much became stored.
    fn store(&mut self, operations: Vec<(StoreSeq, StoreOp)>) -> usize {
        self.unstored
            .extend(operations.into_iter().map(|(upto, _)| upto));
        if self.slow_store {
            0
        } else {
            self.stored(usize::MAX)
        }
    }

    /// The store has done the first `n` operations. Returns how many that were.
    fn stored(&mut self, n: usize) -> usize {
        let n = n.min(self.unstored.len());
        if let Some(upto) = self.unstored.drain(..n).next_back() {
            self.session.handle_stored(upto);
        }
        n
    }

    fn let_store(&mut self, choices: &mut Choices<'_>) {
        let bits = choices.byte();
        match bits & 3 {
            0 => self.slow_store = true,
            1 => self.slow_store = false,
            2 => drop(self.stored(usize::from(bits >> 2))),
            _ => {
                let error = StoreError::new(StoreErrorKind::Full, "full");
                if let Some(&from) = self.unstored.get(usize::from(bits >> 2)) {
                    self.session.handle_store_failed(from, &error);
                }
            }
        }
    }

    /// The session has ended the connection: an MQTT 5 server at fault was sent the reason.
    fn check_disconnect(&self, error: &ConnectionError) {
        let Some(reason) = error
            .disconnect_reason()
            .filter(|_| self.version.has_properties())
        else {
            return;
        };
        let disconnect = [0xe0, 1, reason.as_u8()];
        let fits = self.linter.largest_packet() >= disconnect.len();
        assert!(
            self.blocked || !fits || self.sent.ends_with(&disconnect),
            "{error}: {:02x?}",
            self.sent
        );
    }

    fn transmit(&mut self, mut output: SendBuffer) {
        assert!(output.len() <= MOST_OUTPUT);
        while output.has_remaining() {
            let n = output.chunk().len();
            self.linter.sent(self.now, output.chunk());
            self.sent.extend_from_slice(output.chunk());
            output.advance(n);
        }
        self.sent.drain(..self.sent.len().saturating_sub(16));
    }

    /// Time passes, timer by timer.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self
            .session
            .poll_timeout()
            .map(Instant::since_epoch)
            .filter(|&at| at <= end)
        {
            self.now = self.now.max(at);
            self.drain();
        }
        self.now = end;
        if self.blocked {
            self.linter.was_blocked(self.now);
        }
    }

    fn publish(&mut self, choices: &mut Choices<'_>) {
        let bits = choices.byte();
        let name = ["a", "b/c", "a/topic/with/a/name"][usize::from(bits >> 2) % 3];
        let mut properties = PublishProperties::default();
        if bits & 0x10 != 0 {
            properties = PublishProperties::builder()
                .message_expiry_interval(u32::from(bits >> 6) * 4)
                .build();
        }
        let payload = vec![
            b'.';
            if bits & 0x20 != 0 {
                600
            } else {
                usize::from(bits >> 4)
            }
        ];
        let publish = OutgoingPublish::new(TopicName::new(name).expect("a topic name"), payload)
            .qos(QoS::from_u8(bits & 3).unwrap_or(QoS::AtMostOnce))
            .retain(bits & 0x80 != 0)
            .properties(properties)
            .key(Some(bits.into()))
            .topic_alias(NonZeroU16::new(u16::from(bits >> 5)));
        if bits & 0x0c == 0x0c && self.session.publish_at_once(&publish) == Ok(true) {
            return;
        }
        if let Ok(Accepted::Pending(operation)) = self.session.publish(self.instant(), publish) {
            self.begun(operation);
        }
    }

    fn subscribe(&mut self, choices: &mut Choices<'_>) {
        let bits = choices.byte();
        let filter = TopicFilter::new(["a", "b/+", "#", "$share/s/a"][usize::from(bits & 3)])
            .expect("a filter");
        let user_properties = UserProperties::new();
        // Now and then there is none, which is rejected.
        let n = usize::from(bits & 0x70 != 0x70);
        let asked = if bits & 4 != 0 {
            let unsubscribe =
                UnsubscribeRequest::new(vec![filter; n]).user_properties(user_properties);
            self.session.unsubscribe(self.instant(), unsubscribe)
        } else {
            let subscription = SubscribeFilter {
                no_local: bits & 0x80 != 0,
                ..SubscribeFilter::new(filter, QoS::ExactlyOnce)
            };
            let subscribe = SubscribeRequest::new(vec![subscription; n])
                .subscription_identifier(SubscriptionIdentifier::new(u32::from(bits & 8)))
                .user_properties(user_properties);
            self.session.subscribe(self.instant(), subscribe)
        };
        assert!(n > 0 || asked.is_err());
        if let Ok(operation) = asked {
            self.begun(operation);
        }
    }

    fn ping(&mut self) {
        if let Ok(operation) = self.session.ping() {
            self.begun(operation);
        }
    }

    fn take(&mut self, choices: &mut Choices<'_>) {
        if self.unhandled.is_empty() {
            return;
        }
        let token = self
            .unhandled
            .remove(usize::from(choices.byte()) % self.unhandled.len());
        let reasons = PubAckReasonCode::ALL;
        let choice = choices.byte();
        let reason = if choice < 200 {
            reasons[0]
        } else {
            choices.one_of(reasons)
        };
        match choice {
            250.. => self.session.abandon(token),
            240.. => {
                let reason_string = Utf8String::new("why").ok();
                self.session.acknowledge_with(
                    token,
                    reason,
                    Details::default().reason_string(reason_string),
                );
            }
            _ => self.session.acknowledge(token, reason),
        }
        self.read();
    }

    fn authenticate(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() & 3 {
            0 => drop(
                self.session
                    .authenticate(self.instant(), AuthMessage::default()),
            ),
            1 => drop(self.session.accept_server()),
            2 => {
                if let Ok(operation) = self
                    .session
                    .reauthenticate(self.instant(), AuthMessage::default())
                {
                    self.begun(operation);
                }
            }
            _ => {}
        }
        self.read();
    }

    fn disconnect(&mut self, drain: Duration) {
        let session_expiry_interval = (drain.as_secs() & 1 != 0).then_some(7);
        let options = DisconnectOptions::default()
            .drain(drain)
            .session_expiry_interval(session_expiry_interval);
        self.session.disconnect(self.instant(), options);
        self.drain();
    }

    /// In the end the connection goes, another brings no surprise, and with the goodbye everything
    /// has ended.
    fn end(&mut self, pause: Duration) {
        self.close();
        self.open(false);
        self.pass(pause);
        self.disconnect(Duration::ZERO);
        assert!(
            self.pending.is_empty(),
            "never reported: {:?}",
            self.pending
        );
    }

    /// A packet that makes sense more often than bytes do.
    fn server_packet(&mut self, choices: &mut Choices<'_>) {
        let v5 = self.version.has_properties();
        let (kind, id) = (choices.byte(), choices.byte() % 12);
        let mut packet = match kind % 12 {
            0 | 1 => {
                let mut packet = vec![0x20, 0, kind >> 7, 0];
                if v5 {
                    let bits = choices.byte();
                    let mut properties = vec![0x22, 0, bits & 3];
                    if bits & 4 != 0 {
                        properties.extend([0x21, 0, 1 + (bits >> 6)]);
                    }
                    if bits & 8 != 0 {
                        properties.extend([0x27, 0, 0, 0, 20 + (bits >> 4)]);
                    }
                    if bits & 16 != 0 {
                        properties.extend([0x24, bits >> 7]);
                    }
                    if bits & 32 != 0 {
                        properties.extend([0x25, 0, 0x28, 0, 0x29, 0, 0x2a, 0]);
                    }
                    packet.push(properties.len() as u8);
                    packet.extend(properties);
                }
                packet
            }
            2 => vec![0x40, 0, 0, id],
            3 => vec![0x50, 0, 0, id],
            4 => vec![0x62, 0, 0, id],
            5 => vec![0x70, 0, 0, id],
            6..=8 => {
                let qos = kind >> 6 & 3;
                let first = 0x30 | (kind >> 2 & 8) | qos.min(2) << 1;
                let first = if qos == 0 { first & !8 } else { first };
                let mut packet = vec![first, 0, 0, 1, b't'];
                if qos > 0 {
                    packet.extend([0, id]);
                }
                if v5 {
                    let alias = choices.byte() % 8;
                    packet.extend(if alias < 4 {
                        vec![0]
                    } else {
                        vec![3, 0x23, 0, alias - 3]
                    });
                }
                packet.extend_from_slice(b"payload");
                packet
            }
            9 if v5 => vec![0x90, 0, 0, id, 0, kind >> 6],
            9 => vec![0x90, 0, 0, id, kind >> 6 & 2],
            10 if v5 => vec![0xb0, 0, 0, id, 0, 0],
            10 => vec![0xb0, 0, 0, id],
            _ if v5 && kind & 0x80 != 0 => {
                let mut packet = vec![
                    0xf0,
                    0,
                    if kind & 0x40 != 0 { 0x18 } else { 0 },
                    9,
                    0x15,
                    0,
                    6,
                ];
                packet.extend_from_slice(b"method");
                packet
            }
            _ => vec![0xd0, 0],
        };
        if v5 && matches!(kind % 12, 2..=5) && kind & 0x80 != 0 {
            packet.push(choices.one_of(&[0, 0x10, 0x80, 0x92]));
        }
        packet[1] = packet.len() as u8 - 2;
        self.receive(&packet);
    }
}

/// The length of the packet at the front, if it is all there.
fn packet_len(input: &[u8]) -> Option<usize> {
    crate::sim::frame_len(input)
}

/// Any bytes from the server, in any phase: before the CONNACK, after it, with messages and
/// requests under way, while the client leaves, and after the server has the session still.
pub fn session_bytes(data: &[u8]) {
    let mut choices = Choices(data);
    let mut driven = Driven::new(&mut choices);
    let phase = choices.byte();
    driven.open(phase & 0x80 != 0);
    if phase & 1 != 0 {
        let connack: &[u8] = if driven.version.has_properties() {
            &[0x20, 3, 0, 0, 0]
        } else {
            &[0x20, 2, 0, 0]
        };
        driven.receive(connack);
    }
    for quality in [phase >> 1 & 3, phase >> 3 & 3] {
        driven.publish(&mut Choices(&[quality]));
    }
    if phase & 0x20 != 0 {
        driven.subscribe(&mut Choices(&[0]));
        driven.subscribe(&mut Choices(&[4]));
        driven.ping();
    }
    driven.drain();
    if phase & 0x40 != 0 {
        driven.disconnect(Duration::from_secs(9));
    }
    let chunk = 1 + usize::from(choices.byte());
    for bytes in choices.0.chunks(chunk) {
        driven.receive(bytes);
    }
    driven.pass(Duration::from_secs(30));
    driven.end(Duration::from_secs(30));
}

/// Arbitrary commands, packets, bytes and pauses.
pub fn session_operations(data: &[u8]) {
    let mut choices = Choices(data);
    let mut driven = Driven::new(&mut choices);
    driven.open(false);
    while !choices.0.is_empty() {
        let choice = choices.byte();
        match choice % 16 {
            0 => driven.open(choice & 0x80 != 0),
            1 if choice & 0x80 != 0 => driven.session.give_up(GivenUp::for_now("enough")),
            1 => driven.close(),
            2..=4 => driven.publish(&mut choices),
            5 => driven.subscribe(&mut choices),
            6 => driven.ping(),
            7 | 8 => driven.take(&mut choices),
            9 if choice & 0x80 != 0 => driven.let_store(&mut choices),
            9 => driven.pass(Duration::from_millis(u64::from(choices.byte()) * 100)),
            10 => {
                driven.blocked = driven.open && choice & 0x80 != 0;
                driven.linter.was_blocked(driven.now);
            }
            11 if choice & 0x80 != 0 => {
                driven.disconnect(Duration::from_secs(u64::from(choice >> 4 & 7)));
            }
            11 => {
                let n = usize::from(choices.byte() % 16);
                let bytes = choices.take(n);
                driven.receive(bytes);
            }
            12 => driven.authenticate(&mut choices),
            _ => driven.server_packet(&mut choices),
        }
        driven.drain();
    }
    driven.end(Duration::from_secs(100));
}

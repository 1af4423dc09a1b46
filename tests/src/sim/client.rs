//! A client of the world: a session, the application around it, and those who watch it.

use super::model::Verdict;
use super::saboteur::{Saboteur, Told};
use super::wire::{Frames, frame_len, number};
use super::{Options, Random};
use crate::linter::Linter;
use bytes::{Buf, BytesMut};
use core::num::NonZeroU16;
use core::time::Duration;
use martlet_proto::{Packet, PubAckReasonCode, QoS, Subscription, TopicFilter, UserProperties, Utf8String};
use martlet_session::{
    AckToken, Config, ConnectOptions, InboundLimits, Instant, QueueLimits, SendBuffer, Session, Subscribe,
    Unsubscribe,
};
use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) struct Client {
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
    saboteur: Option<Saboteur>,
    /// The broker has begun a new session, and the client was not told yet.
    pub(crate) lost: bool,
    /// The connection that is open.
    pub(crate) link: Option<u64>,
    input: BytesMut,
    /// The server may send more than is taken.
    may_overrun: bool,
    /// The session wants the connection closed.
    closing: bool,
    output: SendBuffer,
    /// The socket takes no bytes.
    pub(crate) blocked: bool,
    /// Messages that the application has not taken, and their numbers.
    held: VecDeque<(AckToken, u64)>,
    /// In how many of 1,000 cases it refuses one, and those that it has refused.
    refuse: u32,
    pub(crate) refused: Vec<u64>,
    /// What is sent, to look at the expiry of messages.
    expiring: Option<Frames>,
}

impl Client {
    pub(crate) fn new(
        name: &'static str,
        options: &Options,
        publisher: Option<usize>,
        subscribes: bool,
    ) -> Self {
        let config = Config {
            client_identifier: Utf8String::new(name).expect("a short name"),
            clean_start: false,
            session_expiry_interval: Some(u32::MAX),
            keep_alive: options.keep_alive,
            ping_timeout: Duration::from_secs(8),
            max_in_flight: NonZeroU16::new(options.max_in_flight).unwrap_or(NonZeroU16::MIN),
            inbound: InboundLimits {
                receive_maximum: NonZeroU16::new(options.receive_maximum).unwrap_or(NonZeroU16::MIN),
                soft_messages: options.inbound.0,
                hard_messages: options.inbound.1,
                ..InboundLimits::default()
            },
            queue: QueueLimits {
                messages: options.queue.0,
                when_full: options.queue.1,
                ..QueueLimits::default()
            },
            publish_timeout: options.publish_timeout.map(Duration::from_secs),
            lost_qos1: options.lost_qos1,
            lost_qos2: options.lost_qos2,
            ..Config::default()
        };
        Self {
            name,
            session: Session::new(config),
            linter: Linter::new().with_window(options.max_in_flight),
            publisher,
            subscribes,
            subscribing: false,
            subscribed: false,
            saboteur: options.sabotage.map(|bug| Saboteur::new(bug, options.version)),
            lost: false,
            link: None,
            input: BytesMut::new(),
            may_overrun: !options.version.has_properties(),
            closing: false,
            output: SendBuffer::new(),
            blocked: false,
            held: VecDeque::new(),
            refuse: if options.version.has_properties() { options.refuse } else { 0 },
            refused: Vec::new(),
            expiring: (options.expiry > 0 && options.version.has_properties()).then(Frames::default),
        }
    }

    pub(crate) fn open(&mut self, now: Duration, link: u64, options: &Options) {
        self.link = Some(link);
        self.closing = false;
        self.input.clear();
        self.output.clear();
        self.blocked = false;
        self.linter.open(now);
        if let Some(saboteur) = &mut self.saboteur {
            saboteur.open();
        }
        if let Some(expiring) = &mut self.expiring {
            expiring.clear();
        }
        self.session.handle_open(instant(now), ConnectOptions::new(options.version));
    }

    /// Subscribes to everything, unless that was done. Returns whether it was asked for.
    pub(crate) fn subscribe(&mut self, now: Duration) -> Result<bool, String> {
        if !self.subscribes || self.subscribing || self.session.is_ended() {
            return Ok(false);
        }
        self.subscribing = true;
        let subscribe = Subscribe {
            subscriptions: vec![Subscription::new(everything(), QoS::ExactlyOnce)],
            subscription_identifier: None,
            user_properties: UserProperties::new(),
        };
        let asked = self.session.subscribe(instant(now), subscribe);
        asked.map(|_| true).map_err(|error| error.to_string())
    }

    /// Ends the subscription.
    pub(crate) fn unsubscribe(&mut self, now: Duration) -> Verdict {
        self.subscribed = false;
        let unsubscribe = Unsubscribe { filters: vec![everything()], user_properties: UserProperties::new() };
        self.session.unsubscribe(instant(now), unsubscribe).map(drop).map_err(|error| error.to_string())
    }

    /// The subscribe failed, or the unsubscribe did not: it is asked for again.
    pub(crate) fn not_subscribed(&mut self) {
        self.subscribing = false;
        self.subscribed = false;
    }

    /// What goes to the network, after those who watch have seen it.
    pub(crate) fn transmit(&mut self, now: Duration) -> Result<Vec<u8>, String> {
        if self.blocked {
            return Ok(Vec::new());
        }
        while self.session.poll_transmit(instant(now), &mut self.output) > 0 {}
        if self.output.is_empty() {
            return Ok(Vec::new());
        }
        let mut bytes = Vec::with_capacity(self.output.len());
        while self.output.has_remaining() {
            let chunk = self.output.chunk();
            bytes.extend_from_slice(chunk);
            let n = chunk.len();
            self.output.advance(n);
        }
        if let Some(saboteur) = &mut self.saboteur {
            bytes = saboteur.sends(&bytes)?;
            if bytes.is_empty() {
                return Ok(bytes);
            }
        }
        self.linter.sent(now, &bytes);
        self.check()?;
        self.check_expiry(now, &bytes)?;
        Ok(bytes)
    }

    /// What is sent says how long the message has still to live [MQTT-3.3.2-6], in whole seconds, and lives.
    fn check_expiry(&mut self, now: Duration, bytes: &[u8]) -> Verdict {
        let Some(frames) = &mut self.expiring else { return Ok(()) };
        frames.push(bytes);
        while let Some(frame) = frames.next(martlet_proto::Version::V5)? {
            let Packet::Publish(publish) = &frame.packet else { continue };
            let said = publish.properties().message_expiry_interval().map(u64::from);
            let expected = expires_at(publish.payload()).map(|at| at.saturating_sub(now));
            let fits = match expected {
                None => said.is_none(),
                // Of what was sent before, which is not forgotten for its age, nothing may be left; never 0.
                Some(left) => {
                    (left > Duration::ZERO || publish.delivery().duplicate())
                        && said == Some(left.as_secs().max(1))
                }
            };
            if !fits {
                return Err(format!("an expiry of {said:?} s where {expected:?} is left: {publish:?}"));
            }
        }
        Ok(())
    }

    /// Bytes have arrived.
    pub(crate) fn receive(&mut self, now: Duration, bytes: &[u8]) -> Verdict {
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
    pub(crate) fn read_on(&mut self, now: Duration) -> Verdict {
        if self.saboteur.is_some() {
            self.session.handle_input(instant(now), &mut self.input);
            return Ok(());
        }
        // A session that ends the connection takes nothing more, and throws it away: where it did must be known.
        while !self.input.is_empty() && !self.closing {
            let len = frame_len(&self.input).filter(|_| self.may_overrun).unwrap_or(self.input.len());
            let rest = self.input.split_off(len);
            let before = self.input.clone();
            self.session.handle_input(instant(now), &mut self.input);
            let taken = before.len() - self.input.len();
            self.linter.received(now, &before[..taken]);
            self.closing = self.session.poll_close().is_some();
            self.input.unsplit(rest);
            if taken == 0 || !self.may_overrun {
                break;
            }
        }
        self.check()
    }

    /// Whether the session wants the connection closed; told once.
    pub(crate) fn is_closing(&mut self) -> bool {
        core::mem::take(&mut self.closing) || self.session.poll_close().is_some()
    }

    /// What the linter has found. The broker is watched too.
    fn check(&self) -> Verdict {
        if let Some(nonsense) = self.linter.server_nonsense() {
            return Err(format!("from the broker: {nonsense}"));
        }
        self.linter.findings().first().map_or(Ok(()), |finding| Err(finding.to_string()))
    }

    pub(crate) fn events(&mut self, told: &mut Vec<Told>) {
        while let Some(event) = self.session.poll_event() {
            match &mut self.saboteur {
                Some(saboteur) => saboteur.tells(event, told),
                None => told.push(Told { event, times: 1 }),
            }
        }
    }

    /// The application has a message, and takes it later.
    pub(crate) fn hold(&mut self, token: AckToken, number: u64) {
        self.held.push_back((token, number));
    }

    /// The application takes some of what it has, in an order of its own.
    pub(crate) fn take(&mut self, now: Duration, random: &mut Random, slow: u32) -> Verdict {
        let mut later = VecDeque::new();
        while let Some((token, number)) = self.held.pop_front() {
            if random.per_mille(slow) {
                later.push_back((token, number));
            } else if self.refuse > 0 && random.per_mille(self.refuse) {
                self.refused.push(number);
                self.session.acknowledge(token, PubAckReasonCode::QuotaExceeded);
            } else {
                self.session.acknowledge(token, PubAckReasonCode::Success);
            }
        }
        self.held = later;
        self.read_on(now)
    }

    /// The connection is gone; `Disconnected` follows among the events.
    pub(crate) fn close(&mut self, now: Duration, reason: martlet_session::ConnectionError) -> Verdict {
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

    /// Whether a drained session has nothing left to tell (the rule to drain).
    pub(crate) fn check_drained(&mut self, now: Duration) -> Verdict {
        if self.session.poll_timeout().is_some_and(|at| at <= instant(now)) {
            self.session.handle_timeout(instant(now));
            if self.session.poll_timeout().is_some_and(|at| at <= instant(now)) {
                return Err("a timer that has run out was left behind".to_owned());
            }
        }
        Ok(())
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.session.poll_timeout().map(Instant::since_epoch)
    }
}

fn everything() -> TopicFilter {
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
pub(crate) fn topic_of(event: &martlet_session::Message) -> usize {
    usize::from(event.topic().as_bytes().last().copied().unwrap_or(b'0') - b'0')
}

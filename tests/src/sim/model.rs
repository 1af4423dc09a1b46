//! The books of what is published: each message from its acceptance by the session to its end, and each copy that the
//! broker accepted to its delivery. Every entry costs the same, however many there are.

use std::collections::VecDeque;

/// What the checkers say of a step.
pub(crate) type Verdict = Result<(), String>;

macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}

const TOPICS: usize = 8;

/// How a message ended for its publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Settled,
    /// It will not be sent again.
    Failed,
    /// The application disconnected; the session may still send it.
    GivenUp,
}

#[derive(Debug)]
struct Entry {
    topic: u8,
    qos: u8,
    operation: u64,
    end: Option<End>,
    /// How often the broker has accepted it, and how often it may at QoS 2.
    accepted: u32,
    allowed: u32,
    delivered: u32,
    /// Copies that the broker has for the subscriber.
    waiting: u32,
}

/// Copies that one life of the subscriber's session at the broker is to bring, for one topic and QoS.
type Line = VecDeque<(u64, bool)>;

/// One life of the subscriber's session at the broker.
#[derive(Debug, Default)]
struct Life {
    number: u64,
    lines: [[Line; 2]; TOPICS],
    /// The broker has granted the subscription: from then on each copy must come.
    subscribed: bool,
    required: u64,
    /// Copies of this turn that came before the subscription.
    unsubscribed: u64,
    /// The subscriber could not know that the one before was lost: what it knows of identifiers is wrong.
    unnoticed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    /// Number of the first entry.
    base: u64,
    entries: VecDeque<Entry>,
    /// Accepted by the session, without an end.
    open: usize,
    /// Given up by the application: the session may have them still.
    given_up: u64,
    /// By topic and QoS: the last message that the broker accepted for the first time, plus one.
    accepted: [[u64; 3]; TOPICS],
    delivered_qos0: [u64; TOPICS],
    life: Life,
    /// The one before: its last bytes may still be on their way.
    past: Life,
    pub(crate) settled: u64,
    pub(crate) failed: u64,
    pub(crate) delivered: u64,
    pub(crate) repeated: u64,
}

impl Model {
    /// The number of the next message.
    pub(crate) fn next(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// Messages without an end.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// The session has accepted the next message.
    pub(crate) fn published(&mut self, topic: u8, qos: u8, operation: u64, settled: bool) {
        let end = settled.then_some(End::Settled);
        self.open += usize::from(!settled);
        self.settled += u64::from(settled);
        let (accepted, allowed, delivered, waiting) = (0, 1, 0, 0);
        self.entries.push_back(Entry { topic, qos, operation, end, accepted, allowed, delivered, waiting });
    }

    /// The number that these lower bits stand for.
    pub(crate) fn number(&self, key: u32) -> u64 {
        self.base.wrapping_add(u64::from(key.wrapping_sub(self.base as u32)))
    }

    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        self.entries.get_mut(number.checked_sub(self.base)? as usize)
    }

    /// The session has told the end of a message.
    pub(crate) fn ended(&mut self, number: u64, operation: u64, end: End) -> Verdict {
        let Some(entry) = self.entry(number) else { return Err(format!("message {number} ended twice")) };
        ensure!(entry.operation == operation, "message {number} ended as operation {operation}");
        ensure!(entry.end.is_none(), "message {number} ended twice: {:?}, {end:?}", entry.end);
        entry.end = Some(end);
        ensure!(
            end != End::Settled || entry.qos == 0 || entry.accepted > 0,
            "message {number} was settled and never reached the broker"
        );
        self.open -= 1;
        match end {
            End::Settled => self.settled += 1,
            End::Failed | End::GivenUp => self.failed += 1,
        }
        self.given_up += u64::from(end == End::GivenUp);
        self.retire();
        Ok(())
    }

    /// The session says how many messages it holds.
    pub(crate) fn balance(&self, held: usize) -> Verdict {
        let most = self.open as u64 + self.given_up;
        ensure!(
            self.open <= held && held as u64 <= most,
            "{} messages are open, and the session holds {held}",
            self.open
        );
        Ok(())
    }

    /// The publisher's session was lost at the broker: what is open may reach it once more, by choice.
    pub(crate) fn publisher_lost(&mut self, requeued: bool) {
        for entry in &mut self.entries {
            if requeued && matches!(entry.end, None | Some(End::GivenUp)) {
                entry.allowed += 1;
            }
        }
    }

    /// The session began with a CONNECT whose answer was lost, and the subscriber was told that it is present: MQTT
    /// gives no promise for what follows in it.
    pub(crate) fn loss_unnoticed(&mut self) {
        self.life.unnoticed = true;
    }

    /// The broker has accepted a copy.
    pub(crate) fn accepted(&mut self, number: u64) -> Verdict {
        let required = self.life.subscribed && !self.life.unnoticed;
        let Some(entry) = self.entry(number) else {
            return Err(format!("message {number} came to the broker after its end"));
        };
        let (topic, qos) = (usize::from(entry.topic), usize::from(entry.qos));
        ensure!(
            qos == 0 || matches!(entry.end, None | Some(End::GivenUp)),
            "message {number} came to the broker after its end ({:?})",
            entry.end
        );
        entry.accepted += 1;
        ensure!(
            qos == 1 || entry.accepted <= entry.allowed,
            "QoS {qos} message {number} came to the broker {} times",
            entry.accepted
        );
        entry.waiting += u32::from(qos > 0);
        if entry.accepted == 1 {
            let last = &mut self.accepted[topic][qos];
            ensure!(
                number >= *last,
                "message {number} of topic {topic} and QoS {qos} came to the broker after {}",
                *last - 1
            );
            *last = number + 1;
        }
        if qos > 0 {
            self.life.lines[topic][qos - 1].push_back((number, required));
            self.life.required += u64::from(required);
            self.life.unsubscribed += u64::from(!self.life.subscribed);
        }
        Ok(())
    }

    /// The session has delivered a message that came on a connection of this life.
    pub(crate) fn delivered(&mut self, number: u64, topic: usize, qos: u8, life: u64) -> Verdict {
        self.delivered += 1;
        if qos == 0 {
            let last = &mut self.delivered_qos0[topic];
            ensure!(number >= *last, "QoS 0 message {number} was delivered after {}", *last - 1);
            *last = number + 1;
            return Ok(());
        }
        let known = self.entry(number).map(|entry| (entry.topic, entry.qos, entry.delivered));
        if let Some((was_topic, was_qos, _)) = known {
            ensure!(
                (usize::from(was_topic), was_qos) == (topic, qos),
                "message {number} was delivered with topic {topic} and QoS {qos}"
            );
        }
        let past = life < self.life.number;
        let lives = if past { &mut self.past } else { &mut self.life };
        ensure!(lives.number == life, "a delivery of a life long past");
        let line = &mut lives.lines[topic][usize::from(qos) - 1];
        // Those in front that need not come may be left out.
        let place = line
            .iter()
            .take_while(|&&(_, required)| !required)
            .position(|&(waiting, _)| waiting == number)
            .or_else(|| {
                let optional = line.iter().take_while(|&&(_, required)| !required).count();
                (line.get(optional).map(|&(waiting, _)| waiting) == Some(number)).then_some(optional)
            });
        let Some(place) = place else {
            let first = line.front().copied();
            let again = qos == 1 && known.is_none_or(|(_, _, delivered)| delivered > 0);
            ensure!(
                again,
                "QoS {qos} message {number} was delivered twice or out of order (next is {first:?})"
            );
            self.repeated += 1;
            return Ok(());
        };
        let popped: Vec<_> = line.drain(..=place).collect();
        for (popped, required) in popped {
            if !past {
                self.life.required -= u64::from(required);
            }
            if let Some(entry) = self.entry(popped).filter(|_| !past) {
                entry.waiting -= 1;
            }
        }
        if let Some(entry) = self.entry(number) {
            entry.delivered += 1;
        }
        self.retire();
        Ok(())
    }

    /// The broker has granted the subscription. Of what it accepted in the same turn some may come.
    pub(crate) fn subscribed(&mut self) {
        self.life.subscribed = true;
    }

    /// What was accepted in this turn without a subscription does not come.
    pub(crate) fn forget_unsubscribed(&mut self) {
        if self.life.subscribed || self.life.unsubscribed == 0 {
            return;
        }
        self.life.unsubscribed = 0;
        let mut lines = core::mem::take(&mut self.life.lines);
        for (number, _) in lines.iter_mut().flatten().flat_map(|line| line.drain(..)) {
            if let Some(entry) = self.entry(number) {
                entry.waiting -= 1;
            }
        }
        self.life.lines = lines;
        self.retire();
    }

    /// The subscription stands.
    pub(crate) fn is_subscribed(&self) -> bool {
        self.life.subscribed
    }

    /// The life of the subscriber's session at the broker.
    pub(crate) fn life(&self) -> u64 {
        self.life.number
    }

    /// The broker has begun a new session for the subscriber: copies that the old one had do not come any more.
    pub(crate) fn new_life(&mut self) {
        let number = self.life.number + 1;
        self.past = core::mem::replace(&mut self.life, Life { number, ..Life::default() });
        let past = core::mem::take(&mut self.past.lines);
        for (number, _) in past.iter().flatten().flatten() {
            if let Some(entry) = self.entry(*number) {
                entry.waiting -= 1;
            }
        }
        self.past.lines = past;
        for line in self.past.lines.iter_mut().flatten().flatten() {
            line.1 = false;
        }
    }

    /// Copies that the broker has for the subscriber.
    pub(crate) fn undelivered(&self) -> u64 {
        self.life.required
    }

    /// Nothing is open, and nothing is to be delivered.
    pub(crate) fn is_settled(&self) -> bool {
        self.open == 0 && self.life.required == 0
    }

    pub(crate) fn describe(&self) -> String {
        let first = self.entries.iter().position(|entry| entry.end.is_none() || entry.waiting > 0);
        let entry = first.map(|i| (self.base + i as u64, &self.entries[i]));
        format!("{} open, {} to be delivered; the first is {entry:?}", self.open, self.life.required)
    }

    /// Forgets those at the front that are done with. An end that may be followed by another sending stays for long.
    fn retire(&mut self) {
        while let Some(entry) = self.entries.front() {
            let young = self.entries.len() < 10_000;
            let lingers = young && (entry.qos == 0 && entry.accepted == 0 || entry.end == Some(End::GivenUp));
            if entry.end.is_none() || entry.waiting > 0 || lingers {
                break;
            }
            self.entries.pop_front();
            self.base += 1;
        }
    }
}

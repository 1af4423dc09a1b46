//! The books of what is published: each message from its acceptance by the session to its end, and
//! each copy that the broker accepted to its delivery. Every entry costs the same, however many
//! there are.

use std::collections::{BTreeSet, VecDeque};

/// What the checkers say of a step.
pub(crate) type Judgement = Result<(), String>;

macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}

const TOPICS: usize = 8;

/// More clients than this do not publish.
pub(crate) const PUBLISHERS: usize = 3;

/// How a message ended for its publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Acknowledged,
    /// It will not be sent again.
    Failed,
    /// The application disconnected; the session may still send it.
    GivenUp,
}

#[derive(Debug)]
struct Entry {
    publisher: u8,
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
    /// A process has died before the end of this message was stored: the next one may send it, and
    /// tell its end, again.
    revived: bool,
    /// The broker has not taken it when it came in order.
    unordered: bool,
}

/// Copies that one life of the subscriber's session at the broker is to bring, for one topic and
/// QoS.
type Line = VecDeque<Copy>;

#[derive(Debug, Clone, Copy)]
struct Copy {
    number: u64,
    /// It must come.
    required: bool,
    /// There was no subscription when the broker accepted it.
    stray: bool,
}

/// One life of the subscriber's session at the broker.
#[derive(Debug, Default)]
struct Life {
    number: u64,
    lines: [[Line; 2]; TOPICS],
    /// The broker has granted the subscription: from then on each copy must come.
    subscribed: bool,
    /// It has done so before, and may have the subscription still.
    known: bool,
    /// The application has asked to end it: from then on no copy must come.
    unsubscribing: bool,
    required: u64,
    /// Copies of this turn that came before the subscription.
    unsubscribed: u64,
    /// The subscriber could not know that the one before was lost: what it knows of identifiers is
    /// wrong.
    unnoticed: bool,
}

impl Life {
    /// The copies of this message in a line, from this place on, need not come any more.
    fn waive(&mut self, topic: usize, qos: usize, from: usize, number: u64) {
        for copy in self.lines[topic][qos - 1]
            .iter_mut()
            .skip(from)
            .filter(|copy| copy.number == number && copy.required)
        {
            copy.required = false;
            self.required -= 1;
        }
    }
}

/// Where the copy of this message is that may come next. Those in front that need not come may be
/// left out.
fn next_place(line: &Line, number: u64) -> Option<usize> {
    let optional = || line.iter().take_while(|copy| !copy.required);
    optional()
        .position(|copy| copy.number == number)
        .or_else(|| {
            let first_required = optional().count();
            (line.get(first_required)?.number == number).then_some(first_required)
        })
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    /// Number of the first entry.
    base: u64,
    entries: VecDeque<Entry>,
    /// By publisher: accepted by the session, without an end.
    open: [usize; PUBLISHERS],
    /// Given up by the application: the session may have them still.
    given_up: [u64; PUBLISHERS],
    /// By topic and QoS: the last message that the broker accepted for the first time, plus one.
    accepted: [[u64; 3]; TOPICS],
    delivered_qos0: [u64; TOPICS],
    /// The subscriber has rejected them: the broker may not have heard of that, and send them again.
    rejected: BTreeSet<u64>,
    /// QoS 2 messages that were delivered to a process that died before that was stored.
    undone: BTreeSet<u64>,
    /// Processes die: ends may be undone.
    mortal: bool,
    life: Life,
    /// The one before: its last bytes may still be on their way.
    past: Life,
    pub(crate) acknowledged: u64,
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
        self.open.iter().sum()
    }

    /// The session of this publisher has accepted the next message.
    pub(crate) fn published(
        &mut self,
        publisher: usize,
        topic: u8,
        qos: u8,
        operation: u64,
        acknowledged: bool,
    ) {
        self.open[publisher] += usize::from(!acknowledged);
        self.acknowledged += u64::from(acknowledged);
        self.entries.push_back(Entry {
            publisher: publisher as u8,
            topic,
            qos,
            operation,
            end: acknowledged.then_some(End::Acknowledged),
            accepted: 0,
            allowed: 1,
            delivered: 0,
            waiting: 0,
            revived: false,
            unordered: false,
        });
    }

    /// The number that these lower bits stand for.
    pub(crate) fn number(&self, key: u32) -> u64 {
        self.base
            .wrapping_add(u64::from(key.wrapping_sub(self.base as u32)))
    }

    /// The number of the message that this operation of a publisher has published.
    pub(crate) fn number_of(&self, publisher: usize, operation: u64) -> Result<u64, String> {
        let is_it = |entry: &Entry| {
            entry.qos > 0
                && (usize::from(entry.publisher), entry.operation) == (publisher, operation)
        };
        let found = self.entries.iter().rposition(is_it);
        found
            .map(|i| self.base + i as u64)
            .ok_or_else(|| format!("nobody knows operation {operation}"))
    }

    /// Sessions are stored, and their processes die.
    pub(crate) fn expect_deaths(&mut self) {
        self.mortal = true;
    }

    /// The process of a publisher has died, and has left the messages of these operations, and
    /// traces of those. What was not stored may be lost, if it was not sent either.
    pub(crate) fn crashed(
        &mut self,
        publisher: usize,
        messages: &BTreeSet<u64>,
        traces: &BTreeSet<u64>,
    ) -> Judgement {
        for entry in self
            .entries
            .iter_mut()
            .filter(|entry| usize::from(entry.publisher) == publisher)
        {
            if entry.end.is_none() && !(entry.qos > 0 && messages.contains(&entry.operation)) {
                ensure!(
                    entry.qos == 0 || entry.accepted == 0,
                    "operation {} was sent before it was stored",
                    entry.operation
                );
                entry.end = Some(End::Failed);
                // A process that has stored nothing leaves its numbers to the next.
                entry.operation = u64::MAX;
                self.open[publisher] -= 1;
                self.failed += 1;
            } else if entry.end.is_some() && entry.qos > 0 && traces.contains(&entry.operation) {
                entry.revived = true;
                self.given_up[publisher] += 1;
            }
        }
        Ok(())
    }

    /// A process has died before it stored that it had received these QoS 2 messages.
    pub(crate) fn may_come_again(&mut self, numbers: impl IntoIterator<Item = u64>) {
        self.undone.extend(numbers);
    }

    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        self.entries
            .get_mut(number.checked_sub(self.base)? as usize)
    }

    /// The session has reported the end of a message.
    pub(crate) fn ended(&mut self, number: u64, operation: u64, end: End) -> Judgement {
        let Some(entry) = self.entry(number) else {
            return Err(format!("message {number} ended twice"));
        };
        ensure!(
            entry.operation == operation,
            "message {number} ended as operation {operation}"
        );
        if entry.end.is_some() && entry.revived {
            return Ok(());
        }
        ensure!(
            entry.end.is_none(),
            "message {number} ended twice: {:?}, {end:?}",
            entry.end
        );
        entry.end = Some(end);
        ensure!(
            end != End::Acknowledged || entry.qos == 0 || entry.accepted > 0,
            "message {number} was acknowledged and never reached the broker"
        );
        let publisher = usize::from(entry.publisher);
        self.open[publisher] -= 1;
        match end {
            End::Acknowledged => self.acknowledged += 1,
            End::Failed | End::GivenUp => self.failed += 1,
        }
        self.given_up[publisher] += u64::from(end == End::GivenUp);
        self.retire();
        Ok(())
    }

    /// The session of this publisher says how many messages it holds. Of others, which are not in
    /// these books, `others` has the least and the most that it holds.
    pub(crate) fn balance(&self, publisher: usize, held: usize, others: (usize, u64)) -> Judgement {
        let open = self.open[publisher] + others.0;
        let most = self.open[publisher] as u64 + self.given_up[publisher] + others.1;
        ensure!(
            open <= held && held as u64 <= most,
            "{open} messages are open, and the session holds {held}"
        );
        Ok(())
    }

    /// The broker has not taken this message, or has forgotten that it has: it takes it for new if
    /// it comes again, behind what it has taken since.
    pub(crate) fn forgotten(&mut self, number: u64) {
        if let Some(entry) = self.entry(number) {
            entry.allowed += 1;
            entry.unordered = true;
        }
    }

    /// This publisher's session was lost at the broker: what is open may reach it once more, by
    /// choice.
    pub(crate) fn publisher_lost(&mut self, publisher: usize, requeued: bool) {
        for entry in self
            .entries
            .iter_mut()
            .filter(|entry| usize::from(entry.publisher) == publisher)
        {
            if requeued && (entry.revived || matches!(entry.end, None | Some(End::GivenUp))) {
                entry.allowed += 1;
            }
        }
    }

    /// The session began with a CONNECT whose answer was lost, and the next CONNACK to the
    /// subscriber has *session present*: MQTT gives no promise for QoS 2 messages in it.
    pub(crate) fn loss_unnoticed(&mut self) {
        self.life.unnoticed = true;
        for line in self.life.lines.iter_mut().map(|[_, qos2]| qos2) {
            for copy in line.iter_mut().filter(|copy| copy.required) {
                copy.required = false;
                self.life.required -= 1;
            }
        }
    }

    /// The broker has accepted a copy.
    pub(crate) fn accepted(&mut self, number: u64) -> Judgement {
        let stray = !self.life.known;
        let subscribed = self.life.subscribed && !self.life.unsubscribing;
        let unnoticed = self.life.unnoticed;
        let Some(entry) = self.entry(number) else {
            return Err(format!("message {number} came to the broker after its end"));
        };
        let (topic, qos) = (usize::from(entry.topic), usize::from(entry.qos));
        ensure!(
            qos == 0 || entry.revived || matches!(entry.end, None | Some(End::GivenUp)),
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
        if entry.accepted == 1 && !entry.unordered {
            let last = &mut self.accepted[topic][qos];
            ensure!(
                number >= *last,
                "message {number} of topic {topic} and QoS {qos} came to the broker after {}",
                *last - 1
            );
            *last = number + 1;
        }
        if qos > 0 {
            let required = subscribed && !(unnoticed && qos == 2);
            self.life.lines[topic][qos - 1].push_back(Copy {
                number,
                required,
                stray,
            });
            self.life.required += u64::from(required);
            self.life.unsubscribed += u64::from(stray);
        }
        Ok(())
    }

    /// The session has delivered a message that came on a connection of this life.
    pub(crate) fn delivered(&mut self, number: u64, topic: usize, qos: u8, life: u64) -> Judgement {
        self.delivered += 1;
        if qos == 0 {
            return self.delivered_qos0(number, topic);
        }
        let known = self
            .entry(number)
            .map(|entry| (entry.topic, entry.qos, entry.delivered));
        if let Some((was_topic, was_qos, _)) = known {
            ensure!(
                (usize::from(was_topic), was_qos) == (topic, qos),
                "message {number} was delivered with topic {topic} and QoS {qos}"
            );
        }
        let qos = usize::from(qos);
        let past = life < self.life.number;
        let lives = if past { &mut self.past } else { &mut self.life };
        ensure!(lives.number == life, "a delivery of a life long past");
        if qos == 1 && known.is_some_and(|(_, _, delivered)| delivered > 0) {
            // Which copy this is, nobody can tell; none must come any more.
            lives.waive(topic, qos, 0, number);
            self.repeated += 1;
            return Ok(());
        }
        let line = &lives.lines[topic][qos - 1];
        let Some(place) = next_place(line, number) else {
            let first = line.front().copied();
            let delivered = known.is_none_or(|(_, _, delivered)| delivered > 0);
            let again = delivered
                && (qos == 1 || self.rejected.contains(&number) || self.undone.remove(&number));
            ensure!(
                again,
                "QoS {qos} message {number} was delivered twice or out of order (next is {first:?})"
            );
            self.repeated += 1;
            return Ok(());
        };
        // Of a message that the broker accepted more than once, this copy or another has come: then
        // none must.
        if !line[place].required {
            lives.waive(topic, qos, place + 1, number);
        }
        let come = lives.lines[topic][qos - 1].drain(..=place).collect();
        if !past {
            self.wait_no_more(come);
        }
        if let Some(entry) = self.entry(number) {
            entry.delivered += 1;
        }
        self.retire();
        Ok(())
    }

    fn delivered_qos0(&mut self, number: u64, topic: usize) -> Judgement {
        let last = &mut self.delivered_qos0[topic];
        ensure!(
            number >= *last,
            "QoS 0 message {number} was delivered after {}",
            *last - 1
        );
        *last = number + 1;
        Ok(())
    }

    /// These copies of the present life have come, or were left out.
    fn wait_no_more(&mut self, copies: Vec<Copy>) {
        for copy in copies {
            self.life.required -= u64::from(copy.required);
            if let Some(entry) = self.entry(copy.number) {
                entry.waiting -= 1;
            }
        }
    }

    /// The broker has granted the subscription. Of what it accepted in the same turn some may come.
    pub(crate) fn subscribed(&mut self) {
        self.life.subscribed = !self.life.unsubscribing;
        self.life.known = true;
        if core::mem::take(&mut self.life.unsubscribed) > 0 {
            self.life
                .lines
                .iter_mut()
                .flatten()
                .flatten()
                .for_each(|copy| copy.stray = false);
        }
    }

    /// The broker has ended the subscription, also for an UNSUBSCRIBE that was sent again after
    /// another SUBSCRIBE.
    pub(crate) fn unsubscribed(&mut self) {
        self.life.subscribed = false;
    }

    /// The application ends its subscription: what the broker accepts from now on may come or not.
    pub(crate) fn unsubscribing(&mut self) {
        self.life.unsubscribing = true;
        self.life.subscribed = false;
    }

    /// The application subscribes again: the next SUBACK grants it.
    pub(crate) fn subscribing(&mut self) {
        self.life.unsubscribing = false;
    }

    /// The subscriber has rejected this message.
    pub(crate) fn rejected(&mut self, number: u64) {
        self.rejected.insert(number);
    }

    /// The broker has dropped its copy of this message, because it has expired.
    pub(crate) fn expired(&mut self, number: u64) {
        let Some((topic, qos)) = self.entry(number).map(|entry| (entry.topic, entry.qos)) else {
            return;
        };
        if qos == 0 {
            return;
        }
        let line = &mut self.life.lines[usize::from(topic)][usize::from(qos) - 1];
        if let Some(copy) = line
            .iter_mut()
            .find(|copy| copy.number == number && copy.required)
        {
            copy.required = false;
            self.life.required -= 1;
        }
    }

    /// What was accepted in this turn without a subscription does not come.
    pub(crate) fn forget_unsubscribed(&mut self) {
        if self.life.known || self.life.unsubscribed == 0 {
            return;
        }
        self.life.unsubscribed = 0;
        let mut lines = core::mem::take(&mut self.life.lines);
        for line in lines.iter_mut().flatten() {
            line.retain(|copy| {
                if let Some(entry) = self.entry(copy.number).filter(|_| copy.stray) {
                    entry.waiting -= 1;
                }
                !copy.stray
            });
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

    /// The broker has begun a new session for the subscriber: copies that the old one had do not
    /// come any more.
    pub(crate) fn new_life(&mut self) {
        let number = self.life.number + 1;
        let unsubscribing = self.life.unsubscribing;
        self.past = core::mem::replace(
            &mut self.life,
            Life {
                number,
                unsubscribing,
                ..Life::default()
            },
        );
        let past = core::mem::take(&mut self.past.lines);
        for copy in past.iter().flatten().flatten() {
            if let Some(entry) = self.entry(copy.number) {
                entry.waiting -= 1;
            }
        }
        self.past.lines = past;
        for copy in self.past.lines.iter_mut().flatten().flatten() {
            copy.required = false;
        }
    }

    /// Copies that the broker has for the subscriber.
    pub(crate) fn undelivered(&self) -> u64 {
        self.life.required
    }

    /// Nothing is open, and nothing is to be delivered.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.open() == 0 && self.life.required == 0
    }

    pub(crate) fn describe(&self) -> String {
        let first = self
            .entries
            .iter()
            .position(|entry| entry.end.is_none() || entry.waiting > 0);
        let entry = first.map(|i| (self.base + i as u64, &self.entries[i]));
        format!(
            "{} open, {} to be delivered; the first is {entry:?}",
            self.open(),
            self.life.required
        )
    }

    /// Forgets those at the front that are done with. An end that may be followed by another
    /// sending stays for long.
    fn retire(&mut self) {
        while let Some(entry) = self.entries.front() {
            let young = self.entries.len() < 10_000;
            let lingers = young
                && (entry.qos == 0 && entry.accepted == 0
                    || entry.end == Some(End::GivenUp)
                    || entry.qos > 0 && self.mortal);
            if entry.end.is_none() || entry.waiting > 0 || lingers {
                break;
            }
            self.entries.pop_front();
            self.base += 1;
        }
    }
}

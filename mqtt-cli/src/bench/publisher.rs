//! Publishers: in an open loop messages leave when they are due, in a closed loop as fast as the
//! server answers.

use super::meter::Meter;
use super::payload::Header;
use super::schedule::{Offer, Pacer, Schedule};
use super::shard::{Phase, Phases, Progress, Shard, Window, has_ended, is_draining, until};
use crate::exit::Failure;
use bytes::Bytes;
use martlet_tokio::client::PublishBuilder;
use martlet_tokio::{Client, PublishError, QoS, Receipt, TopicName};
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Publishes until the run drains, and waits for the answers until it has ended.
pub(super) async fn run(
    shard: &Arc<Shard>,
    clients: Vec<(u32, Client)>,
    mut phases: Phases,
    progress: &watch::Sender<Progress>,
) {
    let phase: Phase = *phases.borrow_and_update();
    let Some(window) = phase.window().filter(|_| !has_ended(&phase)) else {
        return;
    };
    let publishers: Vec<Publisher> = clients
        .into_iter()
        .map(|(number, client)| Publisher::new(shard, number, client))
        .collect();
    let mut tasks = JoinSet::new();
    match shard.run.work.rate {
        None => {
            let (sender, mut sent) = mpsc::channel::<()>(1);
            for publisher in publishers {
                let sender = sender.clone();
                tasks.spawn(closed_loop(publisher, window, phases.clone(), sender));
            }
            drop(sender);
            // Each drops its sender when it has nothing left to send.
            let _ = sent.recv().await;
        }
        Some(rate) => {
            let mut takers = Vec::new();
            for publisher in publishers {
                let (sender, receipts) = mpsc::unbounded_channel();
                tasks.spawn(take_answers(
                    publisher.clone(),
                    window,
                    receipts,
                    phases.clone(),
                ));
                takers.push((publisher, sender));
            }
            let schedule = Schedule::new(rate);
            open_loop(shard, schedule, window, takers).await;
        }
    }
    progress.send_replace(Progress::Idle);
    tasks.join_all().await;
}

/// One client that publishes.
#[derive(Clone)]
struct Publisher {
    shard: Arc<Shard>,
    number: u32,
    client: Client,
    /// The topic, where it is the same for all messages.
    topic: Option<TopicName>,
}

impl Publisher {
    fn new(shard: &Arc<Shard>, number: u32, client: Client) -> Self {
        let template = &shard.run.work.topic;
        let topic = (!template.has_number()).then(|| {
            let topic = TopicName::try_from(template.topic(number, 0));
            topic.expect("the template was checked")
        });
        Self {
            shard: Arc::clone(shard),
            number,
            client,
            topic,
        }
    }

    fn qos(&self) -> QoS {
        self.shard.run.work.qos
    }

    /// Messages of QoS 0 have no acknowledgement.
    fn is_answered(&self) -> bool {
        self.qos() != QoS::AtMostOnce
    }

    fn answers(&self) -> &Meter {
        &self.shard.answers
    }

    /// The message with this number. `due` is a time of the run.
    fn message(&self, sequence: u64, due: u64) -> PublishBuilder<'_> {
        let run = &self.shard.run;
        let payload: Bytes = run.payloads.with(&Header {
            run: run.id,
            client: self.number,
            sequence,
            due: run.clock.unix(due),
        });
        let publish = match &self.topic {
            Some(topic) => self.client.publish(topic.clone(), payload),
            None => {
                let topic = run.work.topic.topic(self.number, sequence);
                self.client.publish(topic, payload)
            }
        };
        let properties = &run.work.plan.properties;
        let mut publish = publish.qos(run.work.qos);
        if !properties.publish.is_empty() {
            publish = publish.properties(properties.publish.clone());
        }
        if let Some(alias) = properties.topic_alias {
            publish = publish.topic_alias(alias);
        }
        publish
    }

    /// A client has accepted messages, of which the last was due then.
    fn count_sent(&self, messages: u64, due: u64) {
        self.shard.counters.sent.add(messages);
        self.shard.published(self.number).add(messages);
        self.shard.last_due.set(due);
    }

    /// A message that was sent has failed: until then it has waited.
    fn fail(&self, window: Window, due: u64, error: &PublishError) {
        self.shard.counters.failed.add(1);
        if due >= window.measured {
            let now = self.shard.run.clock.now();
            self.answers().lock().at_least(now.saturating_sub(due), 1);
        }
        self.shard.run.errors.add(Failure::of_publish(error));
    }

    /// The client has not accepted a message, and would accept no other.
    fn end(&self, error: &PublishError) {
        self.shard.counters.not_accepted.add(1);
        self.shard.run.errors.add(Failure::of_publish(error));
    }

    /// A client was given a message that has no acknowledgement.
    fn count_unanswerable(&self, window: Window, due: u64, now: u64) {
        if due >= window.measured {
            self.answers().lock().count(now, 1);
        }
    }

    /// Gives the client messages that have no acknowledgement, from this number on, for as long as it
    /// has room. Returns how many. They are counted together: one by one, the rate is a quarter lower.
    fn give_unanswerable(&self, window: Window, sequence: u64, count: u64) -> u64 {
        const MOST: u64 = 256;
        let (mut given, mut measured, mut last) = (0, 0, 0);
        while given < MOST.min(count - sequence) {
            let due = self.shard.run.clock.now();
            if self.message(sequence + given, due).try_enqueue().is_err() {
                break;
            }
            given += 1;
            measured += u64::from(due >= window.measured);
            last = due;
        }
        if given > 0 {
            self.count_sent(given, last);
        }
        if measured > 0 {
            self.answers().lock().count(last, measured);
        }
        given
    }

    /// Waits until the server has read what was sent at QoS 0; it answers the PINGREQ that follows.
    /// On a connection that was lost some may be lost.
    async fn confirm(&self, sent: u64, phases: &mut Phases) {
        let is_read = async {
            self.client.flush().await.is_ok()
                && self.client.ping().await.is_ok()
                && self.client.statistics().connections == 1
        };
        let is_read = tokio::select! {
            biased;
            is_read = is_read => is_read,
            _ = until(phases, has_ended) => false,
        };
        let counters = &self.shard.counters;
        match is_read {
            true => {
                counters.acknowledged.add(sent);
                let now = self.shard.run.clock.now();
                self.answers().lock().count(now, 0);
            }
            false => counters.unanswered.add(sent),
        }
    }
}

/// A message that was accepted.
struct Sent {
    /// A time of the run.
    due: u64,
    receipt: Receipt,
}

/// Hands out messages at their times, on a thread that does nothing else: timers of the runtime are
/// a thousandth of a second late.
async fn open_loop(
    shard: &Arc<Shard>,
    schedule: Schedule,
    window: Window,
    takers: Vec<(Publisher, mpsc::UnboundedSender<Sent>)>,
) {
    let (sender, done) = oneshot::channel::<()>();
    let paced = Arc::clone(shard);
    let thread = std::thread::Builder::new()
        .name("bench-pacer".to_owned())
        .spawn(move || {
            pace(&paced, schedule, window, &takers);
            drop(sender);
        });
    if let Err(error) = thread {
        let text = format!("cannot start a thread: {error}");
        let failure = Failure::new(crate::exit::Status::Failed, text);
        return shard.run.errors.add(failure);
    }
    // Its end is all that it says.
    let _ = done.await;
}

/// The thread looks this often whether the run is stopped.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

fn pace(
    shard: &Shard,
    schedule: Schedule,
    window: Window,
    takers: &[(Publisher, mpsc::UnboundedSender<Sent>)],
) {
    super::machine::wake_precisely();
    let run = &shard.run;
    let limit = run.work.count.unwrap_or(u64::MAX);
    let mut pacer = Pacer::new(schedule, run.work.clients, &shard.mine, limit);
    let since = |now: u64| now.saturating_sub(window.start);
    let last = window.end.map(|end| since(end).saturating_sub(1));
    loop {
        let now = run.clock.now();
        let is_over = window.end.is_some_and(|end| now >= end) || run.is_stopped();
        let due_until = last.map_or(since(now), |last| since(now).min(last));
        pacer.turn(due_until, |place, sequence, due| {
            let (publisher, sender) = &takers[place];
            hand_over(publisher, sender, window, sequence, window.start + due)
        });
        shard.counters.behind.set(pacer.behind(due_until));
        if is_over {
            break;
        }
        let Some(next) = pacer.next_turn(since(now)) else {
            break;
        };
        let wait = (window.start + next).saturating_sub(run.clock.now());
        if wait > 0 {
            std::thread::sleep(Duration::from_nanos(wait).min(LONGEST_SLEEP));
        }
    }
    give_up(shard, &pacer, window);
}

fn hand_over(
    publisher: &Publisher,
    sender: &mpsc::UnboundedSender<Sent>,
    window: Window,
    sequence: u64,
    due: u64,
) -> Offer {
    let shard = &publisher.shard;
    let receipt = match publisher.message(sequence, due).try_enqueue() {
        Ok(receipt) => receipt,
        Err(PublishError::QueueFull) => return Offer::Full,
        Err(error) => {
            publisher.end(&error);
            return Offer::Ended;
        }
    };
    let now = shard.run.clock.now();
    if due >= window.measured {
        let lateness = shard.lateness.lock();
        let mut lateness = lateness.unwrap_or_else(PoisonError::into_inner);
        lateness.record(now.saturating_sub(due));
    }
    publisher.count_sent(1, due);
    if publisher.is_answered() {
        // Its receiver lives until the sender is dropped, or the run has ended.
        let _ = sender.send(Sent { due, receipt });
    } else {
        publisher.count_unanswerable(window, due, now);
    }
    Offer::Taken
}

/// What was due and not taken: it has waited until now, and is slower than that.
fn give_up(shard: &Shard, pacer: &Pacer, window: Window) {
    let run = &shard.run;
    let now = run.clock.now();
    let end = window.end.map_or(now, |end| end.min(now));
    let until = end.saturating_sub(window.start);
    // At the end itself the next would be due.
    let until = match window.end {
        Some(_) => until.saturating_sub(1),
        None => until,
    };
    let mut unsent = 0;
    let mut answers = shard.answers.lock();
    let mut arrivals = shard.arrivals.lock();
    for (due, messages) in pacer.untaken(until) {
        unsent += messages;
        let due = window.start + due;
        let waited = now.saturating_sub(due);
        if due >= window.measured && run.work.qos != QoS::AtMostOnce {
            answers.at_least(waited, messages);
        }
        if due >= window.measured && run.work.task.subscribes() {
            arrivals.at_least(waited, messages);
        }
    }
    shard.counters.unsent.add(unsent);
    shard.counters.behind.set(0);
}

/// Takes the server's answers of one client, in the order of its messages.
async fn take_answers(
    publisher: Publisher,
    window: Window,
    mut receipts: mpsc::UnboundedReceiver<Sent>,
    mut phases: Phases,
) {
    let mut end = phases.clone();
    let mut ended = std::pin::pin!(until(&mut end, has_ended));
    let mut pending = None;
    loop {
        if pending.is_none() {
            pending = tokio::select! {
                biased;
                next = receipts.recv() => match next {
                    Some(next) => Some(next),
                    None => break,
                },
                _ = &mut ended => break,
            };
        }
        let Some(Sent { due, receipt }) = &mut pending else {
            continue;
        };
        let result = tokio::select! {
            biased;
            result = receipt => result,
            _ = &mut ended => break,
        };
        answered(&publisher, window, *due, result.map(drop));
        pending = None;
    }
    let now = publisher.shard.run.clock.now();
    receipts.close();
    let mut left = pending;
    while let Some(Sent { due, .. }) = left {
        unanswered(&publisher, window, now, due);
        left = receipts.recv().await;
    }
    if !publisher.is_answered() && !publisher.shard.run.work.task.subscribes() {
        let number = publisher.client.statistics().published[0];
        publisher.confirm(number, &mut phases).await;
    }
}

fn answered(publisher: &Publisher, window: Window, due: u64, result: Result<(), PublishError>) {
    match result {
        Ok(()) => {
            let now = publisher.shard.run.clock.now();
            publisher.shard.counters.acknowledged.add(1);
            if due >= window.measured {
                publisher
                    .answers()
                    .lock()
                    .record(now, now.saturating_sub(due));
            }
        }
        Err(error) => publisher.fail(window, due, &error),
    }
}

fn unanswered(publisher: &Publisher, window: Window, now: u64, due: u64) {
    publisher.shard.counters.unanswered.add(1);
    if due >= window.measured {
        let waited = now.saturating_sub(due);
        publisher.answers().lock().at_least(waited, 1);
    }
}

/// Sends the next message when there is room for it in the window. `_sending` is dropped when nothing
/// is left to send.
async fn closed_loop(
    publisher: Publisher,
    window: Window,
    mut phases: Phases,
    _sending: mpsc::Sender<()>,
) {
    let run = Arc::clone(&publisher.shard.run);
    let in_flight = run.work.in_flight(&publisher.client);
    let mut pending: VecDeque<Sent> = VecDeque::new();
    let mut draining = phases.clone();
    let mut drains = std::pin::pin!(until(&mut draining, is_draining));
    let mut sequence = 0;
    let count = run.work.count_of(publisher.number);
    while sequence < count && !run.is_stopped() {
        if pending.len() >= in_flight {
            tokio::select! {
                biased;
                () = next_answer(&publisher, window, &mut pending) => {}
                _ = &mut drains => break,
            }
            continue;
        }
        if !publisher.is_answered() {
            sequence += publisher.give_unanswerable(window, sequence, count);
            if sequence == count {
                break;
            }
        }
        let due = run.clock.now();
        let accepted = tokio::select! {
            biased;
            accepted = give(&publisher, window, &mut pending, sequence, due) => accepted,
            _ = &mut drains => break,
        };
        match accepted {
            Ok(receipt) => {
                publisher.count_sent(1, due);
                if publisher.is_answered() {
                    pending.push_back(Sent { due, receipt });
                } else {
                    publisher.count_unanswerable(window, due, due);
                }
            }
            Err(error) => {
                publisher.end(&error);
                break;
            }
        }
        sequence += 1;
    }
    drop(_sending);
    drain(&publisher, window, pending, &mut phases).await;
}

/// Gives the client a message once it has room for it, and takes answers meanwhile.
async fn give(
    publisher: &Publisher,
    window: Window,
    pending: &mut VecDeque<Sent>,
    sequence: u64,
    due: u64,
) -> Result<Receipt, PublishError> {
    let mut enqueue = std::pin::pin!(publisher.message(sequence, due).enqueue());
    loop {
        tokio::select! {
            biased;
            () = next_answer(publisher, window, pending) => {}
            accepted = &mut enqueue => return accepted,
        }
    }
}

/// Waits for the answer to the first of these messages, and takes it. Cancel safe.
async fn next_answer(publisher: &Publisher, window: Window, pending: &mut VecDeque<Sent>) {
    let Some(Sent { due, receipt }) = pending.front_mut() else {
        return std::future::pending().await;
    };
    let result = receipt.await;
    answered(publisher, window, *due, result.map(drop));
    pending.pop_front();
}

/// Waits for the answers that are outstanding, until the run has ended.
async fn drain(
    publisher: &Publisher,
    window: Window,
    mut pending: VecDeque<Sent>,
    phases: &mut Phases,
) {
    while !pending.is_empty() {
        let has_ended = tokio::select! {
            biased;
            () = next_answer(publisher, window, &mut pending) => false,
            _ = until(phases, has_ended) => true,
        };
        if has_ended {
            let now = publisher.shard.run.clock.now();
            for sent in &pending {
                unanswered(publisher, window, now, sent.due);
            }
            return;
        }
    }
    if !publisher.is_answered() && !publisher.shard.run.work.task.subscribes() {
        let sent = publisher.client.statistics().published[0];
        publisher.confirm(sent, phases).await;
    }
}

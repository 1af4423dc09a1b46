//! Subscribers: they take messages, and track their sequence numbers and times.

use super::payload::Header;
use super::schedule::{MOST_PARTS, Schedule, parts};
use super::sequence::{Arrival, Sequence};
use super::shard::{Phases, Run, Shard, Window, has_ended, until};
use martlet_tokio::{Message, Subscription};
use std::collections::HashMap;
use std::sync::Arc;

/// The sequence numbers that a subscriber tracks: of the publishers of all runs, or of one.
struct Tracker {
    sequences: HashMap<(u64, u32), Sequence>,
    /// The client of this run whose messages are expected; none: all messages are.
    expected: Option<u32>,
}

/// A subscriber tracks no more publishers than this.
const MOST_PUBLISHERS: usize = 10_000;

/// Receives until the run has ended, or the client has stopped.
pub(super) async fn run(
    shard: Arc<Shard>,
    number: u32,
    mut stream: Subscription,
    mut phases: Phases,
) {
    let run = Arc::clone(&shard.run);
    let has_own = run.work.task.publishes();
    let mut tracker = Tracker {
        sequences: HashMap::new(),
        expected: has_own.then_some(number),
    };
    let mut window = None;
    let mut end = phases.clone();
    let mut ended = std::pin::pin!(until(&mut end, has_ended));
    loop {
        let message = tokio::select! {
            biased;
            message = stream.next() => message,
            _ = &mut ended => break,
        };
        // The client has stopped; its end is reported where it is noticed.
        let Some(message) = message else {
            if has_own {
                ended.await;
            }
            break;
        };
        if window.is_none() {
            window = phases.borrow_and_update().window();
        }
        receive(&shard, &run, &mut tracker, window, &message);
    }
    let counters = &shard.counters;
    for sequence in tracker.sequences.values() {
        counters.missing.add(sequence.missing());
    }
    if let (true, Some(window)) = (has_own, phases.borrow().window()) {
        let sequence = tracker.sequences.remove(&(run.id, number));
        let sequence = sequence.unwrap_or_else(Sequence::from_zero);
        count_absent(&shard, number, window, &sequence);
    }
    // Dropped before the client has disconnected, it would be unsubscribed.
    stream.detach();
}

/// What was sent and has not come has waited until now, and is slower than that.
fn count_absent(shard: &Shard, number: u32, window: Window, sequence: &Sequence) {
    let work = &shard.run.work;
    let schedule = work.rate.map(Schedule::new);
    let due = |sequence: u64| match schedule {
        Some(schedule) => {
            let number = sequence * u64::from(work.clients) + u64::from(number);
            window.start + schedule.due(number)
        }
        // Each was due by then.
        None => shard.last_due.get(),
    };
    let now = shard.run.clock.now();
    let mut arrivals = shard.arrivals.lock();
    let mut at_least = |due: u64, messages| {
        if due >= window.measured {
            arrivals.at_least(now.saturating_sub(due), messages);
        }
    };
    let (absent, mut older) = sequence.absent(shard.published(number).get());
    for numbers in absent {
        if older > 0 {
            at_least(due(numbers.start), std::mem::take(&mut older));
        }
        for (last, messages) in parts(numbers, MOST_PARTS) {
            at_least(due(last), messages);
        }
    }
}

fn receive(
    shard: &Shard,
    run: &Run,
    tracker: &mut Tracker,
    window: Option<Window>,
    message: &Message,
) {
    let now = run.clock.now();
    let counters = &shard.counters;
    let header = Header::decode(message.payload());
    if let Some(client) = tracker.expected {
        let is_ours =
            |header: &Header| (header.run, header.client) == (run.id, client) && !message.retain();
        if !header.as_ref().is_some_and(is_ours) {
            return counters.foreign.add(1);
        }
    } else if !run.to_receive.take() {
        return;
    }
    counters.received.add(1);
    counters.bytes.add(message.payload().len() as u64);
    let is_first = header.is_none_or(|header| track(shard, tracker, &header, message.retain()));
    let Some(window) = window else { return };
    let Some(header) = header.filter(|_| !message.retain()) else {
        counters.unstamped.add(1);
        if now >= window.measured {
            shard.arrivals.lock().count(now, 1);
        }
        return;
    };
    // A message of another program was due by the clock of that; of this run, by ours.
    let decides = match tracker.expected {
        Some(_) => header.due.saturating_sub(run.clock.unix(0)),
        None => now,
    };
    if decides < window.measured {
        return;
    }
    match run.clock.unix(now).checked_sub(header.due) {
        Some(latency) if is_first => shard.arrivals.lock().record(now, latency),
        // The first has the latency of the message.
        Some(_) => shard.arrivals.lock().count(now, 1),
        None => {
            counters.early.add(1);
            shard.arrivals.lock().count(now, 1);
        }
    }
}

/// Whether the message comes for the first time, as far as is known.
fn track(shard: &Shard, tracker: &mut Tracker, header: &Header, is_retained: bool) -> bool {
    let counters = &shard.counters;
    let key = (header.run, header.client);
    // A retained message is an old one, whatever came since.
    if is_retained
        || tracker.sequences.len() >= MOST_PUBLISHERS && !tracker.sequences.contains_key(&key)
    {
        counters.distinct.add(1);
        return true;
    }
    let is_own = tracker.expected.is_some();
    let sequence = tracker
        .sequences
        .entry(key)
        .or_insert_with(|| match is_own {
            true => Sequence::from_zero(),
            false => Sequence::default(),
        });
    match sequence.arrived(header.sequence) {
        Arrival::InOrder => counters.distinct.add(1),
        Arrival::OutOfOrder => {
            counters.distinct.add(1);
            counters.out_of_order.add(1);
        }
        Arrival::Duplicate => {
            counters.duplicates.add(1);
            return false;
        }
    }
    true
}

//! Subscribers: they take messages, and keep books of their numbers and times.

use super::payload::Header;
use super::sequence::{Arrival, Sequence};
use super::shard::{Phases, Run, Shard, Window, has_ended, until};
use martlet_tokio::{Message, Subscription};
use std::collections::HashMap;
use std::sync::Arc;

/// Whose messages a subscriber keeps books of: the publishers of all runs, or one.
struct Books {
    sequences: HashMap<(u64, u32), Sequence>,
    /// The client of this run whose messages are expected; none: all messages are.
    expected: Option<u32>,
}

/// A subscriber keeps books of no more publishers than this.
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
    let mut books = Books {
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
        let Some(message) = message else { break };
        if window.is_none() {
            window = phases.borrow_and_update().window();
        }
        receive(&shard, &run, &mut books, window, &message);
    }
    let counters = &shard.counters;
    for sequence in books.sequences.values() {
        counters.missing.add(sequence.missing());
    }
    // Dropped before the client has disconnected, it would be unsubscribed.
    stream.detach();
}

fn receive(shard: &Shard, run: &Run, books: &mut Books, window: Option<Window>, message: &Message) {
    let now = run.clock.now();
    let counters = &shard.counters;
    let header = Header::decode(message.payload());
    if let Some(client) = books.expected {
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
    let is_first = header.is_none_or(|header| keep_books(shard, books, &header, message.retain()));
    let Some(window) = window else { return };
    let Some(header) = header.filter(|_| !message.retain()) else {
        counters.unstamped.add(1);
        if now >= window.measured {
            shard.arrivals.lock().count(now, 1);
        }
        return;
    };
    // A message of another program was due by the clock of that; of this run, by ours.
    let decides = match books.expected {
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
fn keep_books(shard: &Shard, books: &mut Books, header: &Header, is_retained: bool) -> bool {
    let counters = &shard.counters;
    let key = (header.run, header.client);
    // A retained message is an old one, whatever came since.
    if is_retained
        || books.sequences.len() >= MOST_PUBLISHERS && !books.sequences.contains_key(&key)
    {
        counters.distinct.add(1);
        return true;
    }
    let is_own = books.expected.is_some();
    let sequence = books.sequences.entry(key).or_insert_with(|| match is_own {
        true => Sequence::from_zero(),
        false => Sequence::default(),
    });
    match sequence.arrived(header.sequence) {
        Arrival::InOrder => counters.distinct.add(1),
        Arrival::Overtaken => {
            counters.distinct.add(1);
            counters.overtaken.add(1);
        }
        Arrival::Duplicate => {
            counters.duplicates.add(1);
            return false;
        }
    }
    true
}

//! When messages are due. Nothing here reads a clock: times are arguments, in nanoseconds since the
//! first message is due.

use std::ops::Range;

/// Messages at a fixed rate, the first at 0. They are due whether or not the server keeps up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// Nanoseconds from one message to the next.
    period: f64,
}

impl Schedule {
    /// `rate`: messages a second, above 0.
    pub(super) fn new(rate: f64) -> Self {
        Self { period: 1e9 / rate }
    }

    /// When this message is due.
    pub(super) fn due(&self, number: u64) -> u64 {
        (number as f64 * self.period) as u64
    }

    /// How many messages are due at this time.
    pub(super) fn due_by(&self, now: u64) -> u64 {
        let mut count = (now as f64 / self.period) as u64 + 1;
        // What is rounded here agrees with what is rounded there.
        while count > 0 && self.due(count - 1) > now {
            count -= 1;
        }
        while self.due(count) <= now {
            count += 1;
        }
        count
    }
}

/// How many parts the messages of a thread are in at most when they are counted one by one no more.
pub(super) const MOST_PARTS: u64 = 1_000_000;

/// These messages in about `most` parts: the last one of each, and how many it has. The last is due
/// last, so all have waited as long as it has.
pub(super) fn parts(numbers: Range<u64>, most: u64) -> impl Iterator<Item = (u64, u64)> {
    let length = numbers.end.saturating_sub(numbers.start);
    let step = length.div_ceil(most.max(1)).max(1);
    (0..length.div_ceil(step)).map(move |part| {
        let count = step.min(length - part * step);
        (numbers.start + part * step + count - 1, count)
    })
}

/// What became of a message that was offered to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    Taken,
    /// The client's queue is full: the message is offered again.
    Full,
    /// The client takes no more messages.
    Ended,
}

/// Hands out messages as they become due, to the clients of one thread in turn: message `n` of the
/// run is that of client `n % clients`. A client that is full delays no other; what is due for it
/// meanwhile is a number, not a queue.
#[derive(Debug)]
pub(super) struct Pacer {
    schedule: Schedule,
    /// All clients of the run.
    clients: u64,
    /// Messages of the whole run.
    limit: u64,
    slots: Vec<Slot>,
    /// The next message, counted over the clients of this thread.
    next: u64,
    /// Clients that were full when they were last offered a message.
    full: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    client: u64,
    /// How many messages it has taken.
    taken: u64,
    state: SlotState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    Ready,
    Full,
    Ended,
}

/// Between two looks at the clock.
const MOST_IN_A_TURN: u64 = 4_096;

impl Pacer {
    /// `mine`: the clients of this thread, in ascending order.
    pub(super) fn new(schedule: Schedule, clients: u32, mine: &[u32], limit: u64) -> Self {
        let slot = |&client: &u32| Slot {
            client: client.into(),
            taken: 0,
            state: SlotState::Ready,
        };
        Self {
            schedule,
            clients: clients.into(),
            limit,
            slots: mine.iter().map(slot).collect(),
            next: 0,
            full: Vec::new(),
        }
    }

    /// Offers what is due: the client's place among those of this thread, the sequence number of the
    /// message among those of its client, and when it was due.
    pub(super) fn turn(&mut self, now: u64, mut offer: impl FnMut(usize, u64, u64) -> Offer) {
        let mut left = MOST_IN_A_TURN;
        let mut still_full = Vec::new();
        for place in std::mem::take(&mut self.full) {
            if !self.catch_up(place, now, &mut left, &mut offer) {
                still_full.push(place);
            }
        }
        self.full = still_full;
        while let Some((place, round)) = self.following() {
            let due = self.due(place, round);
            if due > now || left == 0 {
                break;
            }
            self.next += 1;
            left -= 1;
            if self.slots[place].state != SlotState::Ready {
                continue;
            }
            self.offer(place, due, &mut offer);
            if self.slots[place].state == SlotState::Full {
                self.full.push(place);
            }
        }
    }

    /// Offers a client that was full what it has missed; whether it has all of that now, or has
    /// ended.
    fn catch_up(
        &mut self,
        place: usize,
        now: u64,
        left: &mut u64,
        offer: &mut impl FnMut(usize, u64, u64) -> Offer,
    ) -> bool {
        let missed = self.rounds(place);
        self.slots[place].state = SlotState::Ready;
        while self.slots[place].taken < missed {
            let due = self.due(place, self.slots[place].taken);
            if due > now || *left == 0 {
                self.slots[place].state = SlotState::Full;
                return false;
            }
            *left -= 1;
            self.offer(place, due, offer);
            match self.slots[place].state {
                SlotState::Ready => {}
                SlotState::Full => return false,
                SlotState::Ended => return true,
            }
        }
        true
    }

    fn offer(&mut self, place: usize, due: u64, offer: &mut impl FnMut(usize, u64, u64) -> Offer) {
        let slot = &mut self.slots[place];
        slot.state = match offer(place, slot.taken, due) {
            Offer::Taken => {
                slot.taken += 1;
                SlotState::Ready
            }
            Offer::Full => SlotState::Full,
            Offer::Ended => SlotState::Ended,
        };
    }

    /// How many messages of this client have had their turn.
    fn rounds(&self, place: usize) -> u64 {
        let slots = self.slots.len() as u64;
        self.next / slots + u64::from(self.next % slots > place as u64)
    }

    /// The client and the number of the message whose turn it is; none after the last.
    fn following(&self) -> Option<(usize, u64)> {
        let slots = self.slots.len() as u64;
        if slots == 0 {
            return None;
        }
        let (place, round) = ((self.next % slots) as usize, self.next / slots);
        let number = self.number(place, round)?;
        (number < self.limit).then_some((place, round))
    }

    /// The number of a client's message in the run.
    fn number(&self, place: usize, round: u64) -> Option<u64> {
        let before = round.checked_mul(self.clients)?;
        before.checked_add(self.slots[place].client)
    }

    fn due(&self, place: usize, round: u64) -> u64 {
        let number = self.number(place, round);
        self.schedule.due(number.unwrap_or(u64::MAX))
    }

    /// When to take the next turn; none where nothing is left to hand out.
    pub(super) fn next_turn(&self, now: u64) -> Option<u64> {
        /// How soon a client that is full is offered a message again.
        const RETRY: u64 = 1_000_000;
        let retry = (!self.full.is_empty()).then_some(now.saturating_add(RETRY));
        let next = self
            .following()
            .filter(|_| self.slots.iter().any(|slot| slot.state != SlotState::Ended))
            .map(|(place, round)| self.due(place, round));
        match (retry, next) {
            (Some(retry), Some(next)) => Some(retry.min(next)),
            (retry, next) => retry.or(next),
        }
    }

    /// How many messages were due at this time and no client has taken.
    pub(super) fn behind(&self, now: u64) -> u64 {
        let due = self.schedule.due_by(now).min(self.limit);
        self.slots
            .iter()
            .map(|slot| self.due_of(slot, due) - slot.taken)
            .sum()
    }

    /// How many of the first `due` messages of the run are those of this client.
    fn due_of(&self, slot: &Slot, due: u64) -> u64 {
        match due.checked_sub(slot.client + 1) {
            Some(more) => more / self.clients + 1,
            None => 0,
        }
    }

    /// When messages were due that no client has taken by this time, and how many.
    pub(super) fn untaken(&self, now: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let due = self.schedule.due_by(now).min(self.limit);
        let most = MOST_PARTS / self.slots.len().max(1) as u64;
        self.slots
            .iter()
            .enumerate()
            .flat_map(move |(place, slot)| {
                let rounds = slot.taken..self.due_of(slot, due);
                parts(rounds, most).map(move |(round, count)| (self.due(place, round), count))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn messages_are_due_at_fixed_times() {
        let schedule = Schedule::new(1000.0);
        assert_eq!((schedule.due(0), schedule.due(7)), (0, 7 * MS));
        assert_eq!(schedule.due_by(0), 1);
        assert_eq!(schedule.due_by(MS - 1), 1);
        assert_eq!(schedule.due_by(MS), 2);
        for rate in [0.3, 1.0, 3.0, 7.7, 999.0, 123_456.7, 3e6] {
            let schedule = Schedule::new(rate);
            for number in [0, 1, 2, 3, 10, 99, 12_345, 1_000_000_007] {
                let due = schedule.due(number);
                assert_eq!(schedule.due_by(due), number + 1, "{rate} {number}");
                assert!(due == 0 || schedule.due_by(due - 1) <= number);
            }
        }
    }

    /// What a run hands out: client, sequence, due.
    fn turn(
        pacer: &mut Pacer,
        now: u64,
        answer: impl Fn(usize) -> Offer,
    ) -> Vec<(usize, u64, u64)> {
        let mut taken = Vec::new();
        pacer.turn(now, |place, sequence, due| {
            let answer = answer(place);
            if answer == Offer::Taken {
                taken.push((place, sequence, due));
            }
            answer
        });
        taken
    }

    #[test]
    fn clients_take_turns_and_nothing_is_early() {
        // Clients 1 and 3 of four, the others are another thread's.
        let mut pacer = Pacer::new(Schedule::new(1000.0), 4, &[1, 3], 100);
        assert_eq!(turn(&mut pacer, 0, |_| Offer::Taken), []);
        assert_eq!(pacer.next_turn(0), Some(MS));
        assert_eq!(turn(&mut pacer, MS, |_| Offer::Taken), [(0, 0, MS)]);
        let late = turn(&mut pacer, 7 * MS, |_| Offer::Taken);
        assert_eq!(late, [(1, 0, 3 * MS), (0, 1, 5 * MS), (1, 1, 7 * MS)]);
        assert_eq!(pacer.behind(7 * MS), 0);
        assert_eq!(pacer.next_turn(7 * MS), Some(9 * MS));
    }

    #[test]
    fn a_full_client_delays_no_other_and_keeps_its_times() {
        let mut pacer = Pacer::new(Schedule::new(1000.0), 2, &[0, 1], 1000);
        let first_is_full = |place| match place {
            0 => Offer::Full,
            _ => Offer::Taken,
        };
        let taken = turn(&mut pacer, 5 * MS, first_is_full);
        assert_eq!(taken, [(1, 0, MS), (1, 1, 3 * MS), (1, 2, 5 * MS)]);
        assert_eq!(pacer.behind(5 * MS), 3);
        assert_eq!(pacer.next_turn(5 * MS), Some(6 * MS));
        assert_eq!(turn(&mut pacer, 9 * MS, first_is_full).len(), 2);
        assert_eq!(pacer.behind(9 * MS), 5);
        let waiting: Vec<_> = pacer.untaken(9 * MS).collect();
        assert_eq!(waiting, [0, 2, 4, 6, 8].map(|due| (due * MS, 1)));
        let caught_up = turn(&mut pacer, 10 * MS, |_| Offer::Taken);
        let expected: Vec<_> = (0..6).map(|round| (0, round, round * 2 * MS)).collect();
        assert_eq!(caught_up, expected);
        assert_eq!(pacer.behind(10 * MS), 0);
        assert_eq!(pacer.untaken(10 * MS).count(), 0);
    }

    #[test]
    fn a_count_ends_the_run() {
        let mut pacer = Pacer::new(Schedule::new(1e6), 3, &[0, 1, 2], 7);
        let taken = turn(&mut pacer, 1000 * MS, |_| Offer::Taken);
        assert_eq!(taken.len(), 7);
        assert_eq!(pacer.next_turn(1000 * MS), None);
        assert_eq!(pacer.behind(1000 * MS), 0);
        // A client that has ended is owed what was due for it.
        let mut pacer = Pacer::new(Schedule::new(1e6), 3, &[0, 1, 2], 7);
        turn(&mut pacer, 1000 * MS, |_| Offer::Ended);
        assert_eq!(pacer.next_turn(1000 * MS), None);
        assert_eq!(pacer.behind(1000 * MS), 7);
    }

    #[test]
    fn parts_have_all_messages_and_are_bounded() {
        assert!(parts(3..6, 5).eq([(3, 1), (4, 1), (5, 1)]));
        assert!(parts(3..8, 2).eq([(5, 3), (7, 2)]));
        assert_eq!(parts(7..7, 0).count(), 0);
        let pacer = Pacer::new(Schedule::new(1e8), 2, &[0, 1], u64::MAX);
        let (mut all, mut records) = (0, 0);
        for (due, count) in pacer.untaken(4_000 * MS - 1) {
            assert!(due < 4_000 * MS);
            all += count;
            records += 1;
        }
        assert_eq!(all, 400_000_000);
        assert!(records <= MOST_PARTS);
    }

    /// However far behind, a turn ends, and the next goes on where it was.
    #[test]
    fn turns_are_bounded() {
        let mut pacer = Pacer::new(Schedule::new(1e6), 1, &[0], u64::MAX);
        assert_eq!(turn(&mut pacer, 100 * MS, |_| Offer::Full), []);
        let mut all = Vec::new();
        while pacer.behind(100 * MS) > 0 {
            let taken = turn(&mut pacer, 100 * MS, |_| Offer::Taken);
            assert!(!taken.is_empty() && taken.len() as u64 <= MOST_IN_A_TURN);
            all.extend(taken);
        }
        assert!(all.iter().map(|(_, sequence, _)| *sequence).eq(0..100_001));
    }
}

//! When to try again: a pure policy.

use martlet_session::ErrorClass;
use martlet_session::Instant;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// When a lost connection is made again: exponential back-off with full jitter. Attempt *n* waits a
/// random time between 0 and `min(max, initial × 2ⁿ)`; of several servers, those that are tried without
/// a wait count as one attempt. The waits begin anew after a connection that
/// lasted, or on which a message or an acknowledgement went through; a connection that ends by a
/// [protocol error](ErrorClass::Protocol) as the one before it did is neither.
///
/// Errors have [classes](ErrorClass), and the policy has a [`Reaction`] to each, one before the
/// client's first connection and one after it:
///
/// | class | before | after |
/// |---|---|---|
/// | [`Transient`](ErrorClass::Transient), [`Protocol`](ErrorClass::Protocol) | retry | retry |
/// | [`Permanent`](ErrorClass::Permanent) | stop | retry slowly |
/// | [`TakenOver`](ErrorClass::TakenOver) | stop | stop |
/// | [`Application`](ErrorClass::Application) | stop | stop |
///
/// A permanent error before the first connection is likely to be a mistake in the settings, which
/// somebody is there to see; after it nobody may be there, and what was right once will be right
/// again. Where there are several servers, a permanent error concerns only its server.
/// [`enabled`](Self::enabled) and [`retry_first`](Self::retry_first) come first: where they are
/// false, every reaction is to stop. A client that has stopped can be revived:
/// [`Client::reconnect`](crate::Client::reconnect).
///
/// ```
/// # use martlet_client::{Client, Reconnect};
/// # use std::time::Duration;
/// let policy = Reconnect::default()
///     .retry_first(true) // the broker may start after this program
///     .initial(Duration::from_millis(200))
///     .max(Duration::from_secs(10));
/// let builder = Client::builder("mqtt://broker.example").reconnect(policy);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconnect {
    pub(crate) enabled: bool,
    pub(crate) initial: Duration,
    pub(crate) max: Duration,
    pub(crate) retries: Option<u32>,
    pub(crate) stable_after: Duration,
    pub(crate) retry_first: bool,
    pub(crate) server_references: u32,
    pub(crate) credentials_elsewhere: bool,
    reactions: [(Reaction, Reaction); ErrorClass::COUNT],
}

impl Reconnect {
    /// Sets whether a lost connection is made again. Default: true.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Sets the longest wait before the first retry. Default: 1 s.
    #[must_use]
    pub fn initial(mut self, initial: Duration) -> Self {
        self.initial = initial;
        self
    }

    /// Sets the longest wait before any retry. Default: 60 s.
    #[must_use]
    pub fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// Sets how many attempts in a row may fail before the client stops; `None`: never. Default:
    /// `None`.
    #[must_use]
    pub fn retries(mut self, retries: impl Into<Option<u32>>) -> Self {
        self.retries = retries.into();
        self
    }

    /// Sets how long a connection must last to count as a success: then the waits begin again from
    /// `initial`. Default: 10 s.
    #[must_use]
    pub fn stable_after(mut self, stable_after: Duration) -> Self {
        self.stable_after = stable_after;
        self
    }

    /// Sets whether the first connection is retried like all others, or its failure ends the client
    /// at once. Default: false.
    #[must_use]
    pub fn retry_first(mut self, retry_first: bool) -> Self {
        self.retry_first = retry_first;
        self
    }

    /// Sets how many Server References (MQTT 5 §4.11) are followed in a row: a server that rejects
    /// or disconnects with *use another server* or *server moved* may name the other, which is then
    /// asked at once, with the same scheme and path; of *server moved* it takes the place of the
    /// one that moved. The row ends with a connection that lasted, or a wait. Default: 0, none: an
    /// attacker that can speak for a server could send the client anywhere.
    #[must_use]
    pub fn server_references(mut self, server_references: u32) -> Self {
        self.server_references = server_references;
        self
    }

    /// Sets whether a server on another host that a Server Reference named is sent the user name
    /// and password as well. Default: false.
    #[must_use]
    pub fn credentials_elsewhere(mut self, credentials_elsewhere: bool) -> Self {
        self.credentials_elsewhere = credentials_elsewhere;
        self
    }
}

/// What follows an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reaction {
    /// Another attempt, after the wait that the back-off says.
    Retry,
    /// Another attempt at the longest interval: after a random time between half of
    /// [`Reconnect::max`] and all of it.
    /// [`ClientEvent::ErrorPersists`](crate::ClientEvent::ErrorPersists) reports the error each
    /// time.
    RetrySlowly,
    /// The client stops.
    Stop,
}

impl Default for Reconnect {
    fn default() -> Self {
        let policy = Self {
            enabled: true,
            initial: Duration::from_secs(1),
            max: Duration::from_secs(60),
            retries: None,
            stable_after: Duration::from_secs(10),
            retry_first: false,
            server_references: 0,
            credentials_elsewhere: false,
            reactions: [(Reaction::Retry, Reaction::Retry); ErrorClass::COUNT],
        };
        policy
            .before_first(ErrorClass::Permanent, Reaction::Stop)
            .after_first(ErrorClass::Permanent, Reaction::RetrySlowly)
            .before_first(ErrorClass::TakenOver, Reaction::Stop)
            .after_first(ErrorClass::TakenOver, Reaction::Stop)
            .before_first(ErrorClass::Application, Reaction::Stop)
            .after_first(ErrorClass::Application, Reaction::Stop)
    }
}

impl Reconnect {
    /// Sets what follows an error of this class before the client's first connection. See
    /// [`Reconnect`] for the defaults.
    ///
    /// ```
    /// use martlet_client::{Reconnect, reconnect::{ErrorClass, Reaction}};
    ///
    /// // A service that is restarted from outside: rejected credentials end it whenever they are.
    /// let policy = Reconnect::default().after_first(ErrorClass::Permanent, Reaction::Stop);
    /// ```
    #[must_use]
    pub fn before_first(mut self, class: ErrorClass, reaction: Reaction) -> Self {
        self.reactions[class as usize].0 = reaction;
        self
    }

    /// Sets what follows an error of this class once there was a connection, as
    /// [`before_first`](Self::before_first) does for the time before.
    #[must_use]
    pub fn after_first(mut self, class: ErrorClass, reaction: Reaction) -> Self {
        self.reactions[class as usize].1 = reaction;
        self
    }

    /// What follows an error of this class, before the first connection and after it.
    pub(crate) fn reactions(&self, class: ErrorClass) -> (Reaction, Reaction) {
        self.reactions[class as usize]
    }
}

/// Which server is tried next, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextTry {
    /// Another server of this round, at once.
    AtOnce,
    /// Any of them, after the backoff.
    Backoff,
    /// The same after this time.
    After(Duration),
}

/// The policy at work.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: Reconnect,
    random: SplitMix,
    /// Attempts that have failed in a row.
    failed: u32,
    /// How many of those were followed by a wait: as many as make the next one longer.
    waits: u32,
    /// Connections in a row that ended by a protocol error.
    broken: u32,
    connected_at: Option<Instant>,
    ever_connected: bool,
    /// The client has begun, or was revived, and there was no connection since.
    beginning: bool,
}

impl Backoff {
    pub(crate) fn new(policy: Reconnect, seed: u64) -> Self {
        Self {
            policy,
            random: SplitMix(seed),
            failed: 0,
            waits: 0,
            broken: 0,
            connected_at: None,
            ever_connected: false,
            beginning: true,
        }
    }

    /// All counts anew.
    pub(crate) fn revive(&mut self) {
        (self.failed, self.waits, self.broken, self.beginning) = (0, 0, 0, true);
    }

    pub(crate) fn policy(&self) -> &Reconnect {
        &self.policy
    }

    pub(crate) fn connected(&mut self, now: Instant) {
        self.connected_at = Some(now);
        self.ever_connected = true;
        self.beginning = false;
    }

    /// Connections in a row that ended by a protocol error.
    pub(crate) fn broken(&self) -> u32 {
        self.broken
    }

    /// An attempt or a connection has ended by an error of this class; `delivered`: a message or an
    /// acknowledgement went through. Returns whether it was a success, after which all counts anew.
    pub(crate) fn ended(&mut self, now: Instant, class: ErrorClass, delivered: bool) -> bool {
        let lasted = self
            .connected_at
            .take()
            .map(|at| now.saturating_duration_since(at));
        let is_stable = lasted.is_some_and(|lasted| lasted >= self.policy.stable_after);
        let mut success = is_stable || delivered;
        if class == ErrorClass::Protocol {
            // What happens less often than that does no harm.
            let is_rare = lasted
                .is_some_and(|lasted| lasted >= self.policy.max.max(self.policy.stable_after));
            self.broken = if is_rare {
                1
            } else {
                self.broken.saturating_add(1)
            };
            success &= self.broken == 1;
        } else if success {
            self.broken = 0;
        }
        if success {
            (self.failed, self.waits) = (0, 0);
        }
        success
    }

    pub(crate) fn reaction(&self, class: ErrorClass) -> Reaction {
        let (before, after) = self.policy.reactions(class);
        if self.ever_connected { after } else { before }
    }

    /// How long to wait before the next attempt, or `None` to stop.
    pub(crate) fn retry(&mut self, turn: NextTry) -> Option<Duration> {
        let each_once = !self.ever_connected && !self.policy.retry_first;
        if each_once || (self.beginning && !self.policy.enabled) {
            return (turn == NextTry::AtOnce).then_some(Duration::ZERO);
        }
        if !self.policy.enabled
            || self
                .policy
                .retries
                .is_some_and(|retries| self.failed >= retries)
        {
            return None;
        }
        let exponent = self.waits.min(32);
        self.failed = self.failed.saturating_add(1);
        if turn != NextTry::AtOnce {
            self.waits = self.waits.saturating_add(1);
        }
        Some(match turn {
            NextTry::AtOnce => Duration::ZERO,
            NextTry::After(wait) => wait,
            NextTry::Backoff => {
                let ceiling = self
                    .policy
                    .initial
                    .saturating_mul(2u32.saturating_pow(exponent));
                ceiling
                    .min(self.policy.max)
                    .mul_f64(self.random.next_fraction())
            }
        })
    }

    /// The longest interval, a little different each time, so that those who failed together do not
    /// come back together.
    pub(crate) fn longest(&mut self) -> Duration {
        self.policy
            .max
            .mul_f64(0.5 + self.random.next_fraction() / 2.0)
    }
}

/// Another one each time.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().hash_one(0)
}

/// SplitMix64: small, and good enough to keep clients from marching in step.
#[derive(Debug)]
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    fn next_fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Reconnect {
        Reconnect {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(8),
            retry_first: true,
            ..Reconnect::default()
        }
    }

    #[test]
    fn waits_grow_to_the_maximum_with_full_jitter() {
        let mut longest = [Duration::ZERO; 6];
        let mut shortest = [Duration::MAX; 6];
        for seed in 0..1000 {
            let mut backoff = Backoff::new(policy(), seed);
            for n in 0..6 {
                let wait = backoff.retry(NextTry::Backoff).unwrap();
                longest[n] = longest[n].max(wait);
                shortest[n] = shortest[n].min(wait);
            }
        }
        for (n, ceiling) in [1, 2, 4, 8, 8, 8].into_iter().enumerate() {
            let ceiling = Duration::from_secs(ceiling);
            assert!(
                longest[n] <= ceiling && longest[n] > ceiling.mul_f64(0.95),
                "{n}: {:?}",
                longest[n]
            );
            assert!(
                shortest[n] < ceiling.mul_f64(0.05),
                "{n}: {:?}",
                shortest[n]
            );
        }
    }

    #[test]
    fn only_a_stable_connection_starts_over() {
        let mut backoff = Backoff::new(
            Reconnect {
                retries: Some(2),
                ..policy()
            },
            1,
        );
        let at = |seconds| Instant::from_epoch(Duration::from_secs(seconds));
        let failed = |backoff: &mut Backoff, seconds| {
            backoff.ended(at(seconds), ErrorClass::Transient, false);
            backoff.retry(NextTry::Backoff)
        };
        assert!(failed(&mut backoff, 0).is_some());
        backoff.connected(at(1));
        assert!(failed(&mut backoff, 2).is_some());
        backoff.connected(at(3));
        assert!(failed(&mut backoff, 20).is_some(), "17 s were stable");
        assert!(failed(&mut backoff, 21).is_some());
        assert_eq!(failed(&mut backoff, 22), None, "the budget is deferred");
    }

    #[test]
    fn the_first_failure_is_told_unless_retries_are_wanted() {
        let mut backoff = Backoff::new(Reconnect::default(), 1);
        assert_eq!(
            backoff.retry(NextTry::AtOnce),
            Some(Duration::ZERO),
            "the next server, at once"
        );
        assert_eq!(backoff.retry(NextTry::Backoff), None);
    }

    /// With six servers that were away for a moment the first wait was up to 32 s, in place of 1 s: each of those
    /// that were tried at once doubled it.
    #[test]
    fn servers_that_are_tried_at_once_do_not_make_the_wait_longer() {
        let mut longest = [Duration::ZERO; 4];
        for seed in 0..200 {
            let mut backoff = Backoff::new(policy(), seed);
            for longest in &mut longest {
                for _ in 0..5 {
                    assert_eq!(backoff.retry(NextTry::AtOnce), Some(Duration::ZERO));
                }
                let wait = backoff.retry(NextTry::Backoff).unwrap();
                *longest = wait.max(*longest);
            }
        }
        for (round, longest) in longest.into_iter().enumerate() {
            let ceiling = Duration::from_secs(1 << round);
            assert!(
                longest <= ceiling && longest > ceiling.mul_f64(0.9),
                "{round}: {longest:?}"
            );
        }
    }

    /// A broker that sent more than it may was left after every few messages, and the waits grew
    /// although each connection delivered some: 2,849 of 3,000 messages were missing after two
    /// minutes.
    #[test]
    fn waits_do_not_grow_while_connections_deliver() {
        let mut backoff = Backoff::new(policy(), 1);
        for seconds in 0..100 {
            backoff.connected(Instant::from_epoch(Duration::from_secs(seconds)));
            backoff.ended(
                Instant::from_epoch(Duration::from_secs(seconds)),
                ErrorClass::Transient,
                true,
            );
            assert!(backoff.retry(NextTry::Backoff).unwrap() <= policy().initial);
        }
    }

    /// One retained message that cannot be read ends every connection in turn, however many others
    /// come before it.
    #[test]
    fn waits_grow_while_each_connection_ends_by_a_protocol_error() {
        let mut longest = Duration::ZERO;
        for seed in 0..100 {
            let mut backoff = Backoff::new(policy(), seed);
            for seconds in 0..6 {
                // Each lasts longer than is stable, and delivers.
                backoff.connected(Instant::from_epoch(Duration::from_secs(100 * seconds)));
                let at = Instant::from_epoch(Duration::from_secs(100 * seconds + 5));
                backoff.ended(at, ErrorClass::Protocol, true);
                longest = longest.max(backoff.retry(NextTry::Backoff).unwrap());
            }
        }
        assert!(longest > Duration::from_secs(7), "{longest:?}");
    }

    #[test]
    fn a_wait_at_the_longest_interval_is_at_least_half_of_it() {
        let mut backoff = Backoff::new(policy(), 1);
        for _ in 0..1000 {
            let wait = backoff.longest();
            assert!(
                (Duration::from_secs(4)..=Duration::from_secs(8)).contains(&wait),
                "{wait:?}"
            );
        }
    }
}

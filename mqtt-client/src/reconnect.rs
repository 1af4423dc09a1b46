//! When to try again: a pure policy.

use martlet_proto::{ConnectReasonCode, DisconnectReasonCode};
use martlet_session::{ConnectionError, Instant};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// When a lost connection is made again: exponential back-off with full jitter. Attempt *n* waits a random time between
/// 0 and `min(max, initial × 2ⁿ)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconnect {
    /// Whether at all. Default: true.
    pub enabled: bool,
    /// The longest wait before the first retry. Default: 1 s.
    pub initial: Duration,
    /// The longest wait before any retry. Default: 60 s.
    pub max: Duration,
    /// How many attempts in a row may fail before the client gives up; `None`: never. Default: `None`.
    pub retries: Option<u32>,
    /// How long a connection must last to count as a success: only then the waits begin again from `initial`.
    /// Default: 10 s.
    pub stable_after: Duration,
    /// Whether the first connection is retried like all others, or its failure is told at once. Default: false.
    pub retry_first: bool,
    /// How many Server References (MQTT 5 §4.11) are followed in a row: a server that refuses or disconnects with *use
    /// another server* or *server moved* may name the other, which is then asked at once, with the same scheme and
    /// path; of *server moved* it takes the place of the one that moved. The row ends with a connection that lasted, or
    /// a wait. Default: 0, none: whoever can speak for a server could send the client anywhere.
    pub server_references: u32,
    /// Whether a server on another host that a Server Reference named is sent the user name and password as well.
    /// Default: false.
    pub credentials_elsewhere: bool,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            enabled: true,
            initial: Duration::from_secs(1),
            max: Duration::from_secs(60),
            retries: None,
            stable_after: Duration::from_secs(10),
            retry_first: false,
            server_references: 0,
            credentials_elsewhere: false,
        }
    }
}

/// The policy at work.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: Reconnect,
    random: SplitMix,
    /// Attempts that have failed in a row.
    failed: u32,
    connected_at: Option<Instant>,
    ever_connected: bool,
}

impl Backoff {
    pub(crate) fn new(policy: Reconnect, seed: u64) -> Self {
        Self { policy, random: SplitMix(seed), failed: 0, connected_at: None, ever_connected: false }
    }

    pub(crate) fn policy(&self) -> &Reconnect {
        &self.policy
    }

    pub(crate) fn connected(&mut self, now: Instant) {
        self.connected_at = Some(now);
        self.ever_connected = true;
    }

    /// An attempt or a connection has ended. Returns whether it was a stable connection, after which all counts anew.
    pub(crate) fn ended(&mut self, now: Instant) -> bool {
        let connected_at = self.connected_at.take();
        let stable =
            connected_at.is_some_and(|at| now.saturating_duration_since(at) >= self.policy.stable_after);
        if stable {
            self.failed = 0;
        }
        stable
    }

    /// How long to wait before the next attempt, or `None` to give up. `servers_left` says that there is another server
    /// to try at once.
    pub(crate) fn retry(&mut self, servers_left: bool) -> Option<Duration> {
        if !self.ever_connected && !self.policy.retry_first {
            // Each server is tried once.
            return servers_left.then_some(Duration::ZERO);
        }
        if !self.policy.enabled {
            return None;
        }
        if self.policy.retries.is_some_and(|retries| self.failed >= retries) {
            return None;
        }
        let exponent = self.failed.min(32);
        self.failed += 1;
        if servers_left {
            return Some(Duration::ZERO);
        }
        let ceiling = self.policy.initial.saturating_mul(2u32.saturating_pow(exponent)).min(self.policy.max);
        Some(ceiling.mul_f64(self.random.next_fraction()))
    }
}

/// Whether there is nothing more to try, with any server.
pub(crate) fn ends_client(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::ClosedHere => true,
        ConnectionError::GivenUp(why) => why.is_final(),
        // Another client has our identifier; coming back would start a fight.
        ConnectionError::DisconnectedByPeer(farewell) => {
            farewell.reason == DisconnectReasonCode::SessionTakenOver
        }
        _ => false,
    }
}

/// Whether trying again would only hammer a server that has made up its mind.
pub(crate) fn is_permanent(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::CannotConnect { .. } => true,
        ConnectionError::Transport(error) => error.is_permanent(),
        ConnectionError::Refused(refusal) => !matches!(
            refusal.reason,
            ConnectReasonCode::ServerUnavailable
                | ConnectReasonCode::ServerBusy
                | ConnectReasonCode::QuotaExceeded
                | ConnectReasonCode::ConnectionRateExceeded
                | ConnectReasonCode::UnspecifiedError
                | ConnectReasonCode::ImplementationSpecificError
        ),
        ConnectionError::DisconnectedByPeer(farewell) => matches!(
            farewell.reason,
            DisconnectReasonCode::NotAuthorized
                | DisconnectReasonCode::BadAuthenticationMethod
                | DisconnectReasonCode::UseAnotherServer
                | DisconnectReasonCode::ServerMoved
        ),
        _ => false,
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
    use martlet_session::{TransportError, TransportErrorKind};

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
                let wait = backoff.retry(false).unwrap();
                longest[n] = longest[n].max(wait);
                shortest[n] = shortest[n].min(wait);
            }
        }
        for (n, ceiling) in [1, 2, 4, 8, 8, 8].into_iter().enumerate() {
            let ceiling = Duration::from_secs(ceiling);
            assert!(longest[n] <= ceiling && longest[n] > ceiling.mul_f64(0.95), "{n}: {:?}", longest[n]);
            assert!(shortest[n] < ceiling.mul_f64(0.05), "{n}: {:?}", shortest[n]);
        }
    }

    #[test]
    fn only_a_stable_connection_starts_over() {
        let mut backoff = Backoff::new(Reconnect { retries: Some(2), ..policy() }, 1);
        let at = |seconds| Instant::from_epoch(Duration::from_secs(seconds));
        let failed = |backoff: &mut Backoff, seconds| {
            backoff.ended(at(seconds));
            backoff.retry(false)
        };
        assert!(failed(&mut backoff, 0).is_some());
        backoff.connected(at(1));
        assert!(failed(&mut backoff, 2).is_some());
        backoff.connected(at(3));
        assert!(failed(&mut backoff, 20).is_some(), "17 s were stable");
        assert!(failed(&mut backoff, 21).is_some());
        assert_eq!(failed(&mut backoff, 22), None, "the budget is spent");
    }

    #[test]
    fn the_first_failure_is_told_unless_retries_are_wanted() {
        let mut backoff = Backoff::new(Reconnect::default(), 1);
        assert_eq!(backoff.retry(true), Some(Duration::ZERO), "the next server, at once");
        assert_eq!(backoff.retry(false), None);
    }

    #[test]
    fn permanent_errors_are_told_from_others() {
        let refused = |reason| {
            ConnectionError::Refused(Box::new(martlet_session::Refusal {
                reason,
                reason_string: None,
                server_reference: None,
                user_properties: Vec::new(),
            }))
        };
        assert!(is_permanent(&refused(ConnectReasonCode::BadUserNameOrPassword)));
        assert!(is_permanent(&refused(ConnectReasonCode::Banned)));
        assert!(!is_permanent(&refused(ConnectReasonCode::ServerUnavailable)));
        let transport = TransportError::new(TransportErrorKind::Certificate, "not trusted");
        assert!(!is_permanent(&ConnectionError::Transport(transport.clone())));
        assert!(is_permanent(&ConnectionError::Transport(transport.permanent())));
    }
}

//! When to try again: a pure policy.

use martlet_proto::{ConnectReasonCode, DisconnectReasonCode};
use martlet_session::{ConnectionError, Instant};
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

    pub(crate) fn connected(&mut self, now: Instant) {
        self.connected_at = Some(now);
        self.ever_connected = true;
    }

    /// An attempt or a connection has ended with `error`: how long to wait, or `None` to give up. `servers_left` says
    /// that there is another server to try at once.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        error: &ConnectionError,
        servers_left: bool,
    ) -> Option<Duration> {
        let connected_at = self.connected_at.take();
        if is_final(error) {
            return None;
        }
        if !self.ever_connected && !self.policy.retry_first {
            // Each server is tried once.
            return servers_left.then_some(Duration::ZERO);
        }
        if !self.policy.enabled {
            return None;
        }
        if connected_at.is_some_and(|at| now.saturating_duration_since(at) >= self.policy.stable_after) {
            self.failed = 0;
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

/// Whether trying again would only hammer a server that has made up its mind.
pub(crate) fn is_final(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::ClosedHere | ConnectionError::CannotConnect { .. } => true,
        ConnectionError::GivenUp(why) => why.is_final(),
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
            // Another client has our identifier; coming back would start a fight.
            DisconnectReasonCode::SessionTakenOver
                | DisconnectReasonCode::NotAuthorized
                | DisconnectReasonCode::BadAuthenticationMethod
                | DisconnectReasonCode::UseAnotherServer
                | DisconnectReasonCode::ServerMoved
        ),
        _ => false,
    }
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

    const LOST: ConnectionError = ConnectionError::ClosedByPeer;

    #[test]
    fn waits_grow_to_the_maximum_with_full_jitter() {
        let mut longest = [Duration::ZERO; 6];
        let mut shortest = [Duration::MAX; 6];
        for seed in 0..1000 {
            let mut backoff = Backoff::new(policy(), seed);
            for n in 0..6 {
                let wait = backoff.failed(Instant::EPOCH, &LOST, false).unwrap();
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
        assert!(backoff.failed(at(0), &LOST, false).is_some());
        backoff.connected(at(1));
        assert!(backoff.failed(at(2), &LOST, false).is_some());
        backoff.connected(at(3));
        assert!(backoff.failed(at(20), &LOST, false).is_some(), "17 s were stable");
        assert!(backoff.failed(at(21), &LOST, false).is_some());
        assert_eq!(backoff.failed(at(22), &LOST, false), None, "the budget is spent");
    }

    #[test]
    fn the_first_failure_is_told_unless_retries_are_wanted() {
        let mut backoff = Backoff::new(Reconnect::default(), 1);
        assert_eq!(
            backoff.failed(Instant::EPOCH, &LOST, true),
            Some(Duration::ZERO),
            "the next server, at once"
        );
        assert_eq!(backoff.failed(Instant::EPOCH, &LOST, false), None);
    }

    #[test]
    fn final_errors_are_not_hammered() {
        let refused = |reason| {
            ConnectionError::Refused(Box::new(martlet_session::Refusal {
                reason,
                reason_string: None,
                server_reference: None,
                user_properties: Vec::new(),
            }))
        };
        assert!(is_final(&refused(ConnectReasonCode::BadUserNameOrPassword)));
        assert!(is_final(&refused(ConnectReasonCode::NotAuthorized)));
        assert!(!is_final(&refused(ConnectReasonCode::ServerUnavailable)));
        assert_eq!(
            Backoff::new(policy(), 1).failed(Instant::EPOCH, &refused(ConnectReasonCode::Banned), false),
            None
        );
    }
}

//! What a callback counts for a peer whose messages come by callback.

use crate::messages::Tally;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

#[derive(Default)]
pub struct Inbox {
    tally: Mutex<Tally>,
    /// The number of messages at which the waiting task is woken.
    wanted: AtomicU64,
    reached: Notify,
}

impl Inbox {
    pub fn add(&self, payload: &[u8]) {
        let mut tally = self.tally.lock().expect("a lock");
        tally.add(payload);
        if tally.count == self.wanted.load(Ordering::Relaxed) {
            self.reached.notify_one();
        }
    }

    pub fn tally(&self) -> Tally {
        *self.tally.lock().expect("a lock")
    }

    /// Waits until `n` messages have arrived.
    pub async fn until(&self, n: u64) -> Tally {
        let mut tally = self.expect(n);
        while tally.count < n {
            self.reached.notified().await;
            tally = self.tally();
        }
        tally
    }

    fn expect(&self, n: u64) -> Tally {
        let tally = self.tally.lock().expect("a lock");
        self.wanted.store(n, Ordering::Relaxed);
        *tally
    }
}

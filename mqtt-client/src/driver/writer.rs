//! The thread of a store, and what the driver hands to it.
//!
//! ```text
//!   session ──poll_store──► gathered ──hand_over──► waiting ──all at once──► commit ──► handle_stored, driver woken
//!            (under the lock)        (without it)            (the thread)      │ error
//!                                                              again ◄─ pause ─┴─► handle_store_failed
//! ```

use crate::event::ClientEvent;
use crate::hub::shared::Shared;
use crate::hub::wakers::Wakers;
use crate::store::Store;
use crate::sync::{AtomicUsize, Condvar, Mutex, MutexGuard, thread};
use martlet_session::{
    Instant, OperationId, Session, StoreError, StoreErrorKind, StoreOp, StoreSeq,
};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The most operations, and bytes of values, that may be under way: more would not make commits
/// cheaper. The rest stays in the session.
const ENOUGH: usize = 4096;
const ENOUGH_BYTES: usize = 8 * 1024 * 1024;

/// Pauses between attempts while the store fails: from this on they double, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// The driver's end. Dropping it waits for the commit that is under way; what was handed over is
/// committed, unless the store fails.
#[derive(Debug)]
pub(crate) struct Writer {
    desk: Arc<Desk>,
    thread: Option<thread::JoinHandle<()>>,
    gathered: Batch,
    /// Told once, when the driver first runs.
    restored: Option<ClientEvent>,
}

#[derive(Debug, Default)]
struct Batch {
    operations: Vec<StoreOp>,
    bytes: usize,
    /// The numbers of the first and of the last.
    range: Option<(StoreSeq, StoreSeq)>,
}

/// Where both meet. Nobody takes another lock while holding its own.
#[derive(Debug, Default)]
struct Desk {
    tray: Mutex<Tray>,
    bell: Condvar,
    /// Handed over and not committed.
    operations: AtomicUsize,
    bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct Tray {
    batch: Batch,
    /// The driver has gone.
    closing: bool,
    /// The client has disconnected: what is tried again is so without long pauses.
    hurry: bool,
    /// Why the last attempt to commit failed.
    failure: Option<StoreError>,
    /// There will be no more attempts.
    over: bool,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Tray> {
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    pub(crate) fn start(
        store: Box<dyn Store>,
        shared: Arc<Shared>,
        restored: ClientEvent,
    ) -> Result<Self, StoreError> {
        let desk = Arc::new(Desk::default());
        let at_desk = Arc::clone(&desk);
        let thread = thread::Builder::new()
            .name("martlet-store".to_owned())
            .spawn(move || {
                Clerk {
                    desk: at_desk,
                    shared,
                    store,
                    first: None,
                    given_up: BTreeSet::new(),
                }
                .work();
            })
            .map_err(|error| {
                StoreError::new(
                    StoreErrorKind::Io,
                    format!("no thread for the store: {error}"),
                )
            })?;
        Ok(Self {
            desk,
            thread: Some(thread),
            gathered: Batch::default(),
            restored: Some(restored),
        })
    }

    /// What was found in the store; once.
    pub(crate) fn take_restored(&mut self) -> Option<ClientEvent> {
        self.restored.take()
    }

    /// Takes what the session wants stored, under its lock.
    pub(crate) fn gather(&mut self, now: Instant, session: &mut Session) {
        let (operations, bytes) = (&self.desk.operations, &self.desk.bytes);
        while operations.load(Ordering::Relaxed) + self.gathered.operations.len() < ENOUGH
            && bytes.load(Ordering::Relaxed) + self.gathered.bytes < ENOUGH_BYTES
        {
            let Some((seq, operation)) = session.poll_store(now) else {
                break;
            };
            self.gathered.push(seq, operation);
        }
    }

    /// Takes all of it, however much that is.
    pub(crate) fn gather_all(&mut self, now: Instant, session: &mut Session) {
        while let Some((seq, operation)) = session.poll_store(now) {
            self.gathered.push(seq, operation);
        }
    }

    /// Hands it to the thread, without the session's lock.
    pub(crate) fn hand_over(&mut self) {
        if self.gathered.operations.is_empty() {
            return;
        }
        self.desk
            .operations
            .fetch_add(self.gathered.operations.len(), Ordering::Relaxed);
        self.desk
            .bytes
            .fetch_add(self.gathered.bytes, Ordering::Relaxed);
        self.desk.lock().batch.append(&mut self.gathered);
        self.desk.bell.notify_one();
    }

    /// The client has disconnected: what failed before is tried again now, and from now on without
    /// long pauses.
    pub(crate) fn hurry(&self) {
        let mut tray = self.desk.lock();
        tray.hurry = true;
        if !tray.over {
            tray.failure = None;
        }
        drop(tray);
        self.desk.bell.notify_one();
    }

    /// What has become of all that was handed over: it is stored, or never will be. `None`: it is
    /// under way.
    pub(crate) fn outcome(&self) -> Option<Result<(), StoreError>> {
        if self.gathered.operations.is_empty() && self.desk.operations.load(Ordering::Acquire) == 0
        {
            return Some(Ok(()));
        }
        let tray = self.desk.lock();
        if tray.over {
            tray.failure.clone().map(Err)
        } else {
            None
        }
    }

    /// Why the last attempt to commit failed, if it did.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.desk.lock().failure.clone()
    }

    /// Waits for the commit that is under way. What has failed is tried once more, and then there
    /// will be no more.
    pub(crate) fn close(&mut self) {
        self.desk.lock().closing = true;
        self.desk.bell.notify_one();
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A task that is woken by the thread may drop the driver on it.
        if thread.thread().id() != thread::current().id() {
            // A panic of the store was reported to the session.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Batch {
    fn push(&mut self, seq: StoreSeq, operation: StoreOp) {
        if let StoreOp::Put { value, .. } = &operation {
            self.bytes += value.len();
        }
        self.operations.push(operation);
        self.range = Some((self.range.map_or(seq, |(first, _)| first), seq));
    }

    fn append(&mut self, other: &mut Self) {
        self.operations.append(&mut other.operations);
        self.bytes += std::mem::take(&mut other.bytes);
        if let Some((first, last)) = other.range.take() {
            self.range = Some((self.range.map_or(first, |(first, _)| first), last));
        }
    }
}

/// The thread's end.
struct Clerk {
    desk: Arc<Desk>,
    shared: Arc<Shared>,
    store: Box<dyn Store>,
    /// The first operation of the batch under way.
    first: Option<StoreSeq>,
    /// Messages that the session has given up because the store failed, until their records are
    /// deleted.
    given_up: BTreeSet<OperationId>,
}

impl Clerk {
    fn work(mut self) {
        while let Some(mut batch) = self.next_batch() {
            let Some((first, last)) = batch.range else {
                continue;
            };
            let count = batch.operations.len();
            self.first = Some(first);
            if !self.commit(&mut batch.operations, first) {
                return;
            }
            self.first = None;
            self.forget_deleted(&batch.operations);
            // Messages are put in the order of their numbers.
            let newest = batch
                .operations
                .iter()
                .filter_map(|operation| match operation {
                    StoreOp::Put { key, .. } => key.operation(),
                    StoreOp::Delete { .. } => None,
                });
            let newest = newest.max();
            self.desk.bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
            let mut wakers = Wakers::default();
            self.shared.act(|state, _| {
                state.publishers.set_stored(newest, &mut wakers);
                // Not before it is known what was stored.
                self.desk.operations.fetch_sub(count, Ordering::Release);
                state.session.handle_stored(last);
            });
            wake(&mut wakers);
        }
    }

    /// Everything that waits; `None` when there is nothing and will be nothing.
    fn next_batch(&self) -> Option<Batch> {
        let mut tray = self.desk.lock();
        while tray.batch.operations.is_empty() {
            if tray.closing {
                return None;
            }
            tray = self
                .desk
                .bell
                .wait(tray)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Some(std::mem::take(&mut tray.batch))
    }

    /// Until it works; false when the driver has gone before it did.
    fn commit(&mut self, operations: &mut Vec<StoreOp>, first: StoreSeq) -> bool {
        let mut pause = FIRST_PAUSE;
        // What this attempt was made for: the last ones are for the end.
        let (mut hurried, mut closing) = (false, false);
        self.leave_out_given_up(operations);
        while let Err(error) = self.store.commit(operations) {
            self.desk.lock().failure = Some(error.clone());
            self.give_up(first, &error);
            self.leave_out_given_up(operations);
            let tray = self.desk.lock();
            let waited = self
                .desk
                .bell
                .wait_timeout_while(tray, pause, |tray| {
                    !tray.closing && (hurried || !tray.hurry)
                })
                .unwrap_or_else(PoisonError::into_inner);
            let tray = waited.0;
            if closing {
                return false;
            }
            (hurried, closing) = (tray.hurry, tray.closing);
            pause = if hurried {
                FIRST_PAUSE
            } else {
                (pause * 2).min(LAST_PAUSE)
            };
        }
        self.desk.lock().failure = None;
        true
    }

    /// The store has failed. The ends of the messages that are given up are dispatched before
    /// anything else is stored.
    fn give_up(&mut self, first: StoreSeq, error: &StoreError) {
        let mut wakers = Wakers::default();
        let mut is_backlog = self.shared.act(|state, _| {
            let given_up = state.session.handle_store_failed(first, error);
            self.given_up.extend(given_up);
            state.dispatch(&mut wakers);
            state.has_backlog()
        });
        wake(&mut wakers);
        while is_backlog {
            is_backlog = self.shared.act(|state, _| {
                state.dispatch(&mut wakers);
                state.has_backlog()
            });
            wake(&mut wakers);
        }
    }

    /// What was given up was reported as failed: it must not be sent after a crash.
    fn leave_out_given_up(&self, operations: &mut Vec<StoreOp>) {
        if !self.given_up.is_empty() {
            operations.retain(|operation| match operation {
                StoreOp::Put { key, .. } => key
                    .operation()
                    .is_none_or(|message| !self.given_up.contains(&message)),
                StoreOp::Delete { .. } => true,
            });
        }
    }

    /// Nothing follows the deletion of a message.
    fn forget_deleted(&mut self, operations: &[StoreOp]) {
        if self.given_up.is_empty() {
            return;
        }
        for operation in operations {
            let StoreOp::Delete { key } = operation else {
                continue;
            };
            if let Some(message) = key.operation() {
                self.given_up.remove(&message);
            }
        }
    }
}

/// A waker of the application that panics is no failure of the store, which goes on. The process has reported
/// the panic.
fn wake(wakers: &mut Wakers) {
    let _ = catch_unwind(AssertUnwindSafe(|| wakers.wake()));
}

impl Drop for Clerk {
    fn drop(&mut self) {
        // The store has panicked.
        if let (true, Some(first)) = (thread::panicking(), self.first) {
            let error = StoreError::new(StoreErrorKind::Closed, "the store has panicked");
            let mut tray = self.desk.lock();
            tray.failure = Some(error.clone());
            tray.over = true;
            drop(tray);
            self.shared
                .act(|state, _| state.session.handle_store_failed(first, &error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that wait for the store are bounded: what is put together counts together.
    #[test]
    fn batches_add_up() {
        let of = |bytes| Batch {
            bytes,
            ..Batch::default()
        };
        let (mut first, mut second) = (of(5), of(7));
        first.append(&mut second);
        assert_eq!((first.bytes, second.bytes), (12, 0));
    }
}

//! Publishers that wait for room: in the output, in the queue, or past the queue for what is larger
//! than it.

use crate::hub::wakers::{Caller, KeptWaker, Wakers};
use martlet_proto::QoS;
use martlet_session::{Admission, OutgoingPublish, PublishError, Session};
use std::collections::BTreeMap;

/// How many waiting publishers are woken for each turn of the driver: enough to fill a write, few
/// enough not to wake thousands for nothing.
const WOKEN_AT_ONCE: usize = 64;

/// Publishers that wait for room, in the order in which they came. One that was woken and must wait
/// on keeps its place.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// In the output: QoS 0, on a connection.
    output: BTreeMap<u64, KeptWaker>,
    /// In the queue, for this many bytes.
    queue: BTreeMap<u64, (usize, KeptWaker)>,
    /// For a connection with nothing before it: a message that is larger than the queue.
    direct: BTreeMap<u64, (QoS, KeptWaker)>,
}

/// What a publisher waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    /// Room in the output.
    Output,
    /// Room in the queue for this many bytes.
    Queue(usize),
    /// A connection that takes the message at once.
    Direct(QoS),
}

impl Room {
    /// It does not wait any more.
    pub(crate) fn remove(&mut self, id: u64) -> Option<KeptWaker> {
        let Self {
            output,
            queue,
            direct,
        } = self;
        let in_queue = || queue.remove(&id).map(|(_, waker)| waker);
        output
            .remove(&id)
            .or_else(in_queue)
            .or_else(|| direct.remove(&id).map(|(_, waker)| waker))
    }

    /// Whether somebody waits for the queue who came before; on a connection also somebody with a
    /// message that is larger than the queue, for which nothing must be queued.
    fn is_behind(&self, id: Option<u64>, is_connected: bool) -> bool {
        let came_before =
            |first: Option<&u64>| first.is_some_and(|&first| id.is_none_or(|id| first < id));
        came_before(self.queue.keys().next())
            || (is_connected && came_before(self.direct.keys().next()))
    }

    /// What publishers wait for has changed as a whole, as with a connection: all of them look
    /// again.
    pub(crate) fn wake_all(&mut self, wakers: &mut Wakers) {
        let Self {
            output,
            queue,
            direct,
        } = std::mem::take(self);
        let output = output.into_iter();
        let queue = queue.into_iter().map(|(id, (_, waker))| (id, waker));
        let direct = direct.into_iter().map(|(id, (_, waker))| (id, waker));
        let all: BTreeMap<u64, KeptWaker> = output.chain(queue).chain(direct).collect();
        all.into_values().for_each(|waker| wakers.push(waker));
    }

    /// What a message has to wait for, if it has to. `id`: it waits already.
    pub(crate) fn need(
        &self,
        session: &Session,
        message: &OutgoingPublish,
        id: Option<u64>,
    ) -> Result<Option<Need>, PublishError> {
        let is_behind = self.is_behind(id, session.is_connected());
        Ok(match session.admission(message, is_behind)? {
            Admission::Output => Some(Need::Output),
            Admission::Queue(bytes) => Some(Need::Queue(bytes)),
            Admission::Connection => Some(Need::Direct(message.qos)),
            _ => None,
        })
    }

    /// Waits under this number, at the place that it has if it waits already.
    pub(crate) fn wait(&mut self, id: u64, need: Need, caller: &mut Caller<'_>) {
        let mut waker = self.remove(id);
        caller.wait_in(&mut waker);
        // Under a number that was removed or is new, nothing is there to be dropped.
        let Some(waker) = waker else { return };
        match need {
            Need::Output => drop(self.output.insert(id, waker)),
            Need::Queue(bytes) => drop(self.queue.insert(id, (bytes, waker))),
            Need::Direct(qos) => drop(self.direct.insert(id, (qos, waker))),
        }
    }

    /// There may be room.
    pub(crate) fn wake(&mut self, session: &Session, wakers: &mut Wakers) {
        if session.is_ended() {
            // They will get an error.
            return self.wake_all(wakers);
        }
        let is_connected = session.is_connected();
        let Room {
            output,
            queue,
            direct,
        } = self;
        if let Some(first) = direct.first_entry() {
            if session.may_send_at_once(first.get().0) {
                wakers.push(first.remove().1);
            }
        }
        if !output.is_empty() && session.has_output_room() {
            for _ in 0..WOKEN_AT_ONCE {
                let Some((_, waker)) = output.pop_first() else {
                    break;
                };
                wakers.push(waker);
            }
        }
        let held_back_from = if is_connected {
            direct.keys().next().copied()
        } else {
            None
        };
        let mut bytes = 0;
        for _ in 0..WOKEN_AT_ONCE {
            let Some(first) = queue.first_entry() else {
                break;
            };
            bytes += first.get().0;
            if !session.has_room(bytes) || held_back_from.is_some_and(|from| *first.key() > from) {
                break;
            }
            wakers.push(first.remove().1);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::hub::shared::Shared;
    use martlet_session::{Config, Instant, QueueLimits};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};
    use std::time::Duration;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A publisher that was woken for room and gave up instead of taking it kept the room from all
    /// that waited behind it.
    #[test]
    fn a_woken_publisher_that_gives_up_passes_its_room_on() {
        let queue = QueueLimits::default().bytes(10);
        let session = Session::new(Config::default().queue(queue));
        let shared = Shared::new(session, Clock::new(|| Instant::EPOCH), Duration::ZERO, None);
        let woken = [Arc::<Woken>::default(), Arc::default()];
        let mut ids = [None, None];
        for (id, woken) in ids.iter_mut().zip(&woken) {
            let waker = Waker::from(Arc::clone(woken));
            // There is room for one of them at a time.
            let caller = Caller::new(&Context::from_waker(&waker));
            let waits = shared.poll(caller, |state, caller| -> Poll<()> {
                state.await_room(id, Need::Queue(9), caller);
                Poll::Pending
            });
            assert!(waits.is_pending());
        }
        let mut state = shared.lock();
        let counts = |wakers: &mut Wakers| {
            wakers.wake();
            woken
                .each_ref()
                .map(|woken| woken.0.load(Ordering::Relaxed))
        };
        let mut wakers = Wakers::default();
        let state = &mut *state;
        state.publishers.room.wake(&state.session, &mut wakers);
        assert_eq!(counts(&mut wakers), [1, 0]);
        state.leave_room(ids[0].take().unwrap(), &mut wakers);
        assert_eq!(counts(&mut wakers), [1, 1]);
    }
}

//! What handles and the driver share: the session, the routes, and who waits for what; all under one mutex that is
//! never held across a system call, user code or a wake-up.

use crate::authenticator::{Authenticating, Task};
use crate::client::LeftBehind;
use crate::completions::Completions;
use crate::defaults::PublishDefaults;
use crate::events::{ClientEvent, Subscribers};
use crate::routes::{CATCH_ALL, Routes, Verdict};
use crate::spent::{Locked, set_waker};
use crate::state::{Connection, ConnectionState};
use crate::wakers::Wakers;
use martlet_proto::PubAckReasonCode;
use martlet_proto::{SubAckReasonCode, Subscription, UnsubAckReasonCode, UserProperties};
use martlet_session::{
    AckToken, Answer, Connected, ConnectionError, DisconnectOptions, Event, Instant, OperationId,
    PublishError, RequestError, Session, StoreError, Subscribe, Unsettled,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// How many waiting publishers are woken for each turn of the driver: enough to fill a write, few enough not to wake
/// thousands for nothing.
const WOKEN_AT_ONCE: usize = 64;

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// The runtime's clock.
    pub(crate) clock: fn() -> Instant,
    /// What a publish uses when it does not say; `None`: what every message has.
    pub(crate) publish_defaults: Option<Box<PublishDefaults>>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) session: Session,
    /// The time of the driver's last turn: good enough for what starts no wait.
    pub(crate) now: Instant,
    pub(crate) routes: Routes,
    pub(crate) completions: Completions,
    pub(crate) events: Subscribers,
    pub(crate) authenticating: Authenticating,
    pub(crate) connection: Connection,
    /// The connection as it is; `None` while there is none.
    pub(crate) connected: Option<Arc<Connected>>,
    /// Why there will be no connection any more.
    pub(crate) terminated: Option<ConnectionError>,
    /// What was not settled when the client disconnected.
    unsettled: Unsettled,
    /// Whether the store has all that the session wants stored; `None`: it is at work, or will be.
    stored: Option<Result<(), StoreError>>,
    /// The newest message that the store has.
    last_stored: Option<OperationId>,
    /// Who waits for messages that were not settled, which the store keeps if it gets them in the end.
    kept: Vec<(u32, OperationId)>,
    /// How much the last owner of a handle lets the session settle.
    pub(crate) drain: std::time::Duration,
    /// Everything that was published has been written to the socket.
    flushed: bool,
    requests: BTreeMap<OperationId, RequestState>,
    /// Publishers that wait for room, in order.
    room: Room,
    /// Those who wait for a change of the connection, or for the socket to take everything.
    watchers: BTreeMap<u64, Waker>,
    /// Those who wait for a moment.
    sleepers: BTreeMap<(Instant, u64), Waker>,
    next_id: u64,
    driver: Option<Waker>,
    /// Something was asked of the driver while it was awake.
    attention: bool,
    /// Messages that nobody has taken and nobody will, not reported yet.
    discarded: u64,
    /// Wakers that nobody needs any more: dropped after the unlock.
    pub(crate) spent: Vec<Waker>,
    /// The next attempt to connect shall be made now.
    pub(crate) retry_now: bool,
    /// What the builder wanted subscribed to, until it is answered.
    at_start: Option<Subscribe>,
    /// The SUBSCRIBE that asks for them, when it waits for its answer or a connection.
    asked_at_start: Option<OperationId>,
}

/// Publishers that wait for room. Who was woken and must wait on keeps its place.
#[derive(Debug, Default)]
struct Room {
    /// In the output: QoS 0, on a connection.
    output: BTreeMap<u64, Waker>,
    /// In the queue, for so many bytes.
    queue: BTreeMap<u64, (usize, Waker)>,
}

/// What a publisher waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    /// Room in the output.
    Output,
    /// Room in the queue for so many bytes.
    Queue(usize),
}

#[derive(Debug)]
enum RequestState {
    Waiting(Option<Waker>),
    Done(Reply),
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) enum Reply {
    Subscribed(Result<Answer<SubAckReasonCode>, RequestError>),
    Unsubscribed(Result<Answer<UnsubAckReasonCode>, RequestError>),
    Pong(Result<(), RequestError>),
}

impl Shared {
    pub(crate) fn new(
        mut session: Session,
        clock: fn() -> Instant,
        drain: std::time::Duration,
        publish_defaults: Option<Box<PublishDefaults>>,
    ) -> Self {
        session.keep_spent();
        let state = State {
            session,
            now: clock(),
            routes: Routes::default(),
            completions: Completions::default(),
            events: Subscribers::default(),
            authenticating: Authenticating::default(),
            connection: Connection::default(),
            connected: None,
            terminated: None,
            unsettled: Unsettled::default(),
            stored: Some(Ok(())),
            last_stored: None,
            kept: Vec::new(),
            drain,
            flushed: true,
            requests: BTreeMap::new(),
            room: Room::default(),
            watchers: BTreeMap::new(),
            sleepers: BTreeMap::new(),
            next_id: 0,
            driver: None,
            attention: false,
            discarded: 0,
            spent: Vec::new(),
            retry_now: false,
            at_start: None,
            asked_at_start: None,
        };
        Self { state: Mutex::new(state), clock, publish_defaults }
    }

    /// Subscribes, before there is a connection, to what the catch-all shall get.
    pub(crate) fn subscribe_at_start(&self, mut subscriptions: Vec<Subscription>) {
        if subscriptions.is_empty() {
            return;
        }
        let mut state = self.lock();
        let subscription_identifier = Some(state.routes.add_to_catch_all(&mut subscriptions));
        let user_properties = UserProperties::new();
        state.at_start = Some(Subscribe { subscriptions, subscription_identifier, user_properties });
        state.ask_at_start();
    }

    /// A panic under the lock can only come from a bug; what it left behind is still better than a second panic.
    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked::new(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `act` under the lock and wakes the driver after it.
    pub(crate) fn act<T>(&self, act: impl FnOnce(&mut State, Instant) -> T) -> T {
        let now = (self.clock)();
        let mut state = self.lock();
        let result = act(&mut state, now);
        let driver = state.call_driver();
        drop(state);
        wake(driver);
        result
    }
}

#[inline]
pub(crate) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    /// The driver is to look at the session: wake what this returns after the lock is released.
    #[inline]
    #[must_use = "wake it after the lock is released"]
    pub(crate) fn call_driver(&mut self) -> Option<Waker> {
        let waker = self.driver.take();
        self.attention |= waker.is_none();
        waker
    }

    /// The driver begins a turn.
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        self.now = now;
        self.attention = false;
        // It is awake: a wake-up would be for nothing, or go to a task that does not poll it any more.
        self.spent.extend(self.driver.take());
    }

    /// The driver has nothing to do; `false` when something has come up in the meantime.
    pub(crate) fn rest(&mut self, cx: &Context<'_>) -> bool {
        if self.attention {
            return false;
        }
        set_waker(&mut self.driver, cx, &mut self.spent);
        true
    }

    pub(crate) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The application has taken a message, or nobody will. Returns whether the driver should look.
    #[inline]
    pub(crate) fn acknowledge(&mut self, token: AckToken) -> bool {
        let wanted = self.session.wants_input();
        let is_acknowledged = token.qos() != martlet_proto::QoS::AtMostOnce;
        self.session.acknowledge(token, PubAckReasonCode::Success);
        is_acknowledged || (!wanted && self.session.wants_input())
    }

    /// All streams are done with a message. Returns whether the driver should look.
    #[inline]
    pub(crate) fn conclude(&mut self, token: AckToken, verdict: Verdict) -> bool {
        let wanted = self.session.wants_input();
        match verdict {
            Verdict::Acknowledged => return self.acknowledge(token),
            Verdict::Answered(reason, details) => self.session.acknowledge_with(token, reason, details),
            Verdict::Abandoned => {
                self.session.abandon(token);
                return !wanted && self.session.wants_input();
            }
        }
        true
    }

    /// Tells the session of messages that were dropped or that nobody has.
    pub(crate) fn conclude_dropped(&mut self) {
        while let Some((token, verdict)) = self.routes.poll_concluded() {
            self.conclude(token, verdict);
        }
    }

    /// A stream is dropped: it had not taken so many messages.
    pub(crate) fn discard(&mut self, untaken: u64) {
        self.discarded += untaken;
        self.conclude_dropped();
    }

    // ---- what the driver tells

    /// Subscribes to what the builder was told, unless that is under way.
    fn ask_at_start(&mut self) {
        if self.asked_at_start.is_some() {
            return;
        }
        let Some(request) = &mut self.at_start else { return };
        // Since it was last asked for, somebody may have subscribed to the same at another QoS, or unsubscribed.
        self.routes.renew_catch_all(&mut request.subscriptions);
        if request.subscriptions.is_empty() {
            self.at_start = None;
            return;
        }
        self.asked_at_start = self.session.subscribe(self.now, request.clone()).ok();
    }

    /// Hands the session's events to those who wait for them. Returns whether there were any.
    pub(crate) fn dispatch(&mut self, wakers: &mut Wakers) -> bool {
        let mut any = false;
        let mut deliveries = 0;
        while let Some(event) = self.session.poll_event() {
            any = true;
            match event {
                Event::Message(delivery) => {
                    deliveries += 1;
                    let routed = self.routes.deliver(delivery, self.now, self.may_have_resumed(), wakers);
                    self.discarded += u64::from(!routed);
                    self.give_up_unheld();
                    self.conclude_dropped();
                }
                Event::AcknowledgementsHeld { by, held } => {
                    if let Some((topic, taken)) = self.routes.whereabouts(by) {
                        self.events.push(&ClientEvent::AcknowledgementsHeld { topic, taken, held }, wakers);
                    }
                }
                Event::Published { operation, key: Some(key), result: Err(PublishError::Kept) }
                    if self.stored.is_none() =>
                {
                    // Told when that is known.
                    self.kept.push((key, operation));
                }
                Event::Published { key: Some(key), result, .. } => {
                    self.completions.complete(key, result, wakers);
                }
                Event::Published { operation, key: None, result } if self.session.is_durable() => {
                    self.events.push(&ClientEvent::Published { operation, result }, wakers);
                }
                Event::StoreFailed(error) => self.events.push(&ClientEvent::StoreFailed(error), wakers),
                Event::StoreRecovered => self.events.push(&ClientEvent::StoreRecovered, wakers),
                Event::Published { key: None, result: Err(error), .. } => {
                    self.events.push(&ClientEvent::PublishFailed(error), wakers);
                }
                Event::Subscribed { operation, result } if self.asked_at_start == Some(operation) => {
                    self.asked_at_start = None;
                    if result == Err(RequestError::NotConnected) {
                        // They wait for a connection as long as it takes.
                        continue;
                    }
                    let asked = self.at_start.take().into_iter().flat_map(|request| request.subscriptions);
                    let filters = asked.map(|subscription| subscription.filter);
                    let result = result.map(|answer| filters.zip(answer.reasons).collect::<Vec<_>>());
                    let answered = result.iter().flatten();
                    for (filter, _) in answered.filter(|(_, reason)| reason.is_error()) {
                        self.routes.refuse_filter(CATCH_ALL, filter);
                    }
                    self.events.push(&ClientEvent::Subscribed(result), wakers);
                }
                Event::Subscribed { operation, result } => {
                    self.reply(operation, Reply::Subscribed(result), wakers);
                }
                Event::Unsubscribed { operation, result } => {
                    self.reply(operation, Reply::Unsubscribed(result), wakers);
                }
                Event::Pong { operation, result } => self.reply(operation, Reply::Pong(result), wakers),
                Event::Connected(connected) => {
                    let connected: Arc<Connected> = Arc::from(connected);
                    self.connected = Some(Arc::clone(&connected));
                    self.routes.handle_connected();
                    self.ask_at_start();
                    self.events.push(&ClientEvent::Connected(Arc::clone(&connected)), wakers);
                    self.set_connection(ConnectionState::Connected(connected), wakers);
                }
                Event::Disconnected(_) => {
                    // The link tells it, with what comes next.
                    self.connected = None;
                    self.forget_authentication(RequestError::NotConnected, wakers);
                    self.notify_watchers(wakers);
                }
                Event::AuthChallenge(message) => self.authenticating.ask(Task::Answer(message)),
                Event::Authenticated(message) => self.authenticating.ask(Task::Accept(message)),
                Event::Reauthenticated { result: Ok(message), .. } => {
                    self.authenticating.ask(Task::AcceptAgain(message));
                }
                Event::Reauthenticated { result: Err(error), .. } => {
                    self.forget_authentication(error, wakers);
                }
                Event::Unsettled(unsettled) => self.unsettled = unsettled,
                Event::Resubscribed(reasons) => {
                    for (filter, _) in reasons.iter().filter(|(_, reason)| reason.is_error()) {
                        self.routes.remove_filter(filter, wakers);
                    }
                    self.events.push(&ClientEvent::Resubscribed(reasons), wakers);
                }
                Event::InboundDropped(messages) => {
                    self.events.push(&ClientEvent::InboundDropped(messages), wakers);
                }
                _ => {}
            }
        }
        if self.session.poll_superseded() {
            let session = &self.session;
            self.routes.supersede(deliveries.max(1), |token| session.is_superseded(token));
            self.conclude_dropped();
        }
        any |= self.stop_waiting_for_a_taker();
        match self.routes.take_dropped() {
            0 => {}
            messages => self.events.push(&ClientEvent::InboundDropped(messages), wakers),
        }
        match std::mem::take(&mut self.discarded) {
            0 => {}
            messages => self.events.push(&ClientEvent::Discarded(messages), wakers),
        }
        self.wake_publishers(wakers);
        any
    }

    /// The server may have kept a session of an earlier process, with subscriptions that no stream here explains.
    fn may_have_resumed(&self) -> bool {
        !self.session.config().clean_start
            && self.connected.as_ref().is_some_and(|connected| connected.session_present)
    }

    /// What waits for somebody to take the catch-all must not hold up others: their acknowledgements stand behind its
    /// own, and above the soft bound nothing is read.
    fn give_up_unheld(&mut self) {
        let patience = u64::from(self.session.config().inbound.receive_maximum.get() / 2);
        while self.routes.give_up_unheld(patience, !self.session.wants_input()) {
            self.discarded += 1;
            self.conclude_dropped();
        }
    }

    /// However few the server sends unacknowledged, what waits for somebody to take the catch-all does not stop it for
    /// ever. Returns whether anything was given up.
    fn stop_waiting_for_a_taker(&mut self) -> bool {
        if self.routes.poll_timeout().is_none_or(|until| self.now < until) {
            return false;
        }
        self.drop_superseded();
        self.discarded += self.routes.handle_timeout(self.now);
        self.conclude_dropped();
        true
    }

    /// What waits is what was not taken, and nothing twice.
    pub(crate) fn drop_superseded(&mut self) {
        let session = &self.session;
        self.routes.drop_superseded(|token| session.is_superseded(token));
        self.conclude_dropped();
    }

    /// There will be no connection any more: everyone who waits is told.
    pub(crate) fn terminate(&mut self, error: ConnectionError, wakers: &mut Wakers) {
        // From here on the session refuses everything.
        self.session.handle_close(self.now, error.clone());
        self.session.disconnect(self.now, DisconnectOptions::default());
        self.dispatch(wakers);
        self.connected = None;
        self.terminated = Some(error.clone());
        self.forget_authentication(RequestError::Closed, wakers);
        self.spent.extend(self.driver.take());
        if self.stored.is_some() {
            self.completions.fail_all(wakers);
        }
        self.routes.end(wakers);
        self.events.end(wakers);
        let waiting: Vec<_> = self.requests.keys().copied().collect();
        for operation in waiting {
            if matches!(self.requests.get(&operation), Some(RequestState::Waiting(_))) {
                self.reply(operation, Reply::Pong(Err(RequestError::Closed)), wakers);
            }
        }
        self.wake_publishers(wakers);
        for (_, waker) in std::mem::take(&mut self.sleepers) {
            wakers.push(waker);
        }
        self.set_disconnected(error, None, wakers);
    }

    /// The session has a store. What it holds is told in the end.
    pub(crate) fn expect_stored(&mut self) {
        self.stored = None;
    }

    /// The store holds all that it ever will.
    pub(crate) fn set_stored(&mut self, stored: Result<(), StoreError>, wakers: &mut Wakers) {
        if self.stored.is_some() {
            return;
        }
        for (key, operation) in std::mem::take(&mut self.kept) {
            let end = match &stored {
                Err(error) if self.last_stored.is_none_or(|last| last < operation) => {
                    PublishError::Store(error.clone())
                }
                _ => PublishError::Kept,
            };
            self.completions.complete(key, Err(end), wakers);
        }
        self.completions.fail_all(wakers);
        self.stored = Some(stored);
        self.notify_watchers(wakers);
    }

    /// The store has the messages up to this one, if there were any among what it has got.
    pub(crate) fn set_last_stored(&mut self, newest: Option<OperationId>) {
        self.last_stored = self.last_stored.max(newest);
    }

    /// What the client has left behind, once it has disconnected for good.
    pub(crate) fn left_behind(&self) -> Option<LeftBehind> {
        let stored = self.stored.clone().filter(|_| self.terminated.is_some())?;
        let Unsettled { in_flight, queued, .. } = self.unsettled;
        Some(LeftBehind { in_flight, queued, stored })
    }

    fn reply(&mut self, operation: OperationId, reply: Reply, wakers: &mut Wakers) {
        let Some(state) = self.requests.get_mut(&operation) else { return };
        if let RequestState::Waiting(Some(waker)) = std::mem::replace(state, RequestState::Done(reply)) {
            wakers.push(waker);
        }
    }

    fn wake_publishers(&mut self, wakers: &mut Wakers) {
        let Room { output, queue } = &mut self.room;
        if self.session.is_ended() {
            // They will be told so.
            std::mem::take(output).into_values().for_each(|waker| wakers.push(waker));
            std::mem::take(queue).into_values().for_each(|(_, waker)| wakers.push(waker));
            return;
        }
        if !output.is_empty() && (self.session.has_output_room() || !self.session.is_connected()) {
            for _ in 0..WOKEN_AT_ONCE {
                let Some((_, waker)) = output.pop_first() else { break };
                wakers.push(waker);
            }
        }
        let mut bytes = 0;
        for _ in 0..WOKEN_AT_ONCE {
            let Some(first) = queue.first_entry() else { break };
            bytes += first.get().0;
            if !self.session.has_room(bytes) {
                break;
            }
            wakers.push(first.remove().1);
        }
    }

    /// Whether the socket has taken everything.
    pub(crate) fn set_flushed(&mut self, output_is_empty: bool, wakers: &mut Wakers) {
        // What was in flight on a lost connection may never have been written.
        let unsent = self.session.has_output()
            || self.session.queued() > 0
            || (self.connected.is_none() && self.session.in_flight() > 0);
        let flushed = output_is_empty && !unsent;
        if flushed && !self.flushed {
            self.notify_watchers(wakers);
        }
        self.flushed = flushed;
    }

    pub(crate) fn notify_watchers(&mut self, wakers: &mut Wakers) {
        for (_, waker) in std::mem::take(&mut self.watchers) {
            wakers.push(waker);
        }
    }

    pub(crate) fn next_sleeper(&self) -> Option<Instant> {
        self.sleepers.first_key_value().map(|(&(at, _), _)| at)
    }

    pub(crate) fn wake_sleepers(&mut self, now: Instant, wakers: &mut Wakers) {
        while let Some(entry) = self.sleepers.first_entry().filter(|entry| entry.key().0 <= now) {
            wakers.push(entry.remove());
        }
    }

    // ---- those who wait

    /// A request has been accepted; its answer will be kept for whoever asks.
    pub(crate) fn expect_reply(&mut self, operation: OperationId) {
        self.requests.insert(operation, RequestState::Waiting(None));
    }

    pub(crate) fn poll_reply(&mut self, operation: OperationId, cx: &Context<'_>) -> Poll<Reply> {
        match self.requests.remove(&operation) {
            Some(RequestState::Done(reply)) => Poll::Ready(reply),
            waiting => {
                let mut waker = match waiting {
                    Some(RequestState::Waiting(waker)) => waker,
                    _ => None,
                };
                set_waker(&mut waker, cx, &mut self.spent);
                self.requests.insert(operation, RequestState::Waiting(waker));
                Poll::Pending
            }
        }
    }

    pub(crate) fn forget_reply(&mut self, operation: OperationId) {
        if let Some(RequestState::Waiting(waker)) = self.requests.remove(&operation) {
            self.spent.extend(waker);
        }
    }

    pub(crate) fn await_room(&mut self, id: &mut Option<u64>, need: Need, cx: &Context<'_>) {
        let id = *id.get_or_insert_with(|| self.new_id());
        self.forget_room(id);
        match need {
            Need::Output => drop(self.room.output.insert(id, cx.waker().clone())),
            Need::Queue(bytes) => drop(self.room.queue.insert(id, (bytes, cx.waker().clone()))),
        }
    }

    /// A publisher does not wait any more. If it had been woken for room that it will not use, others are.
    pub(crate) fn leave_room(&mut self, id: u64, wakers: &mut Wakers) {
        match self.room.remove(id) {
            Some(waker) => self.spent.push(waker),
            None => self.wake_publishers(wakers),
        }
    }

    /// A publisher has found room by itself.
    pub(crate) fn forget_room(&mut self, id: u64) {
        self.spent.extend(self.room.remove(id));
    }

    pub(crate) fn watch(&mut self, id: &mut Option<u64>, cx: &Context<'_>) {
        let key = *id.get_or_insert_with(|| self.next_id + 1);
        self.next_id = self.next_id.max(key);
        self.spent.extend(self.watchers.insert(key, cx.waker().clone()));
    }

    pub(crate) fn unwatch(&mut self, id: u64) {
        self.spent.extend(self.watchers.remove(&id));
    }

    pub(crate) fn sleep(&mut self, at: Instant, id: u64, cx: &Context<'_>) {
        self.spent.extend(self.sleepers.insert((at, id), cx.waker().clone()));
    }

    pub(crate) fn unsleep(&mut self, at: Instant, id: u64) {
        self.spent.extend(self.sleepers.remove(&(at, id)));
    }

    /// Nothing is left to write, neither here nor, when the driver last looked, in the link. If not, the driver looks
    /// again and tells.
    pub(crate) fn is_flushed(&mut self) -> bool {
        self.flushed &= !self.session.has_output() && self.session.queued() == 0;
        self.flushed
    }
}

impl Room {
    fn remove(&mut self, id: u64) -> Option<Waker> {
        self.output.remove(&id).or_else(|| self.queue.remove(&id).map(|(_, waker)| waker))
    }
}

/// Kept by clients and streams: when the last is gone, the connection ends.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.act(|state, now| {
            let drain = state.drain;
            state.session.disconnect(now, DisconnectOptions { drain, ..DisconnectOptions::default() });
        });
    }
}

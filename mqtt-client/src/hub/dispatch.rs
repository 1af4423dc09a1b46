//! Where each event of the session goes, and how much is read.

use crate::event::ClientEvent;
use crate::hub::authenticating::Task;
use crate::hub::requests::Reply;
use crate::hub::routes::{BEFORE_DEADLINE, Owed};
use crate::hub::shared::State;
use crate::hub::wakers::Wakers;
use martlet_proto::{QoS, SubAckReasonCode, TopicFilter, TopicName, UnsubAckReasonCode};
use martlet_session::{
    Answer, AuthMessage, Connected, ConnectionError, DeliveryId, EventHandler, Instant,
    OperationId, PublishError, PublishOutcome, ReceivedPublish, RejectedMessage, RequestError,
    StoreError, Undelivered,
};
use std::sync::Arc;

/// After how many copies of messages, one for each stream, the lock is released before the next
/// message is routed.
const ROUTED_AT_ONCE: usize = 16 * 1024;

/// How many messages of streams whose readers are gone are dropped at a time to make room.
const DROPPED_AT_ONCE: usize = 4096;

impl State {
    /// Hands the session's events to those who wait for them. Returns whether there were any. When
    /// that takes long, some are left ([`has_backlog`](Self::has_backlog)): release the lock before
    /// the next call.
    pub(crate) fn dispatch(&mut self, wakers: &mut Wakers) -> bool {
        let mut any = false;
        let mut dispatch = Dispatch {
            state: self,
            wakers,
            deliveries: 0,
            copies: 0,
        };
        loop {
            let is_long = dispatch.copies >= ROUTED_AT_ONCE;
            dispatch.state.turns.backlog = is_long;
            if is_long {
                break;
            }
            let Some(event) = dispatch.state.session.poll_event() else {
                break;
            };
            any = true;
            event.hand_to(&mut dispatch);
        }
        let deliveries = dispatch.deliveries;
        self.report_deliveries(deliveries, wakers) || any
    }

    /// What is done once for all messages of a turn. Returns whether any were given up.
    fn report_deliveries(&mut self, deliveries: u64, wakers: &mut Wakers) -> bool {
        if self.session.poll_superseded() {
            let session = &self.session;
            self.routes
                .supersede(deliveries.max(1), |token| session.is_superseded(token));
            self.conclude_dropped();
        }
        let any = self.stop_waiting_for_a_taker() | self.retry_at_start(wakers);
        let dropped = self.routes.take_dropped();
        if dropped > 0 {
            let event = ClientEvent::InboundDropped(dropped);
            self.events.push(&event, wakers);
        }
        if let Some(discarded) = self.routes.take_discards().report() {
            self.events.push(&discarded, wakers);
        }
        self.publishers.room.wake(&self.session, wakers);
        any
    }

    /// Whether [`dispatch`](Self::dispatch) has left anything.
    pub(crate) fn has_backlog(&self) -> bool {
        self.turns.backlog
    }

    /// Until when the socket is to be left unread at most, because a stream fills whose reader is
    /// waited for; `None`: it is to be read. `is_flushed`: the socket has taken all that there was
    /// before this turn; `write_deadline`: when it must take more.
    pub(crate) fn hold_input(
        &mut self,
        now: Instant,
        is_flushed: bool,
        write_deadline: Option<Instant>,
    ) -> Option<Instant> {
        if !self.session.is_connected() {
            self.routes.release();
            return None;
        }
        let deadlines = [self.session.reply_deadline(), write_deadline];
        let read_from = deadlines
            .into_iter()
            .flatten()
            .min()
            .map(|at| at - BEFORE_DEADLINE);
        let is_crowded = self.session.is_above_soft_bound();
        // A response comes behind messages as an answer does. The session does not know of it, and
        // reads nothing for it above its bound: readers that are gone make room there.
        let response = !is_crowded && self.routes.responses.awaits_response();
        let owed = Owed {
            answer: self.session.awaits_answer() || !is_flushed || response,
            read_from,
        };
        let until = self.routes.hold(now, owed, is_crowded);
        if until.is_none() && is_crowded {
            // Those who do not come for theirs make room for the others.
            for _ in 0..DROPPED_AT_ONCE {
                if !self.routes.drop_of_gone() {
                    break;
                }
                // There is something to read again.
                self.turns.attention = true;
                self.conclude_dropped();
            }
        }
        until
    }

    /// The server may have kept a session of an earlier process, with subscriptions that no stream
    /// here explains.
    fn may_have_resumed(&self) -> bool {
        let connected = self.connection.connected();
        let is_present = connected.is_some_and(|connected| connected.session_present);
        is_present && self.session.resumes_earlier()
    }

    /// Messages of QoS 0 in the stream of unmatched messages must not hold up others while it is not
    /// taken: above the soft bound nothing is read.
    fn give_up_unheld(&mut self) {
        while !self.session.wants_input() && self.routes.give_up_unheld() {
            self.conclude_dropped();
        }
    }

    /// Gives up messages of the stream of unmatched messages that was not taken in time: a server
    /// that sends few unacknowledged would wait for them. Returns whether there were any.
    fn stop_waiting_for_a_taker(&mut self) -> bool {
        if self
            .routes
            .poll_timeout()
            .is_none_or(|until| self.now < until)
        {
            return false;
        }
        self.drop_superseded();
        self.routes.handle_timeout(self.now);
        self.conclude_dropped();
        true
    }

    /// What waits is what was not taken, and nothing twice.
    pub(crate) fn drop_superseded(&mut self) {
        let session = &self.session;
        self.routes
            .drop_superseded(|token| session.is_superseded(token));
        self.conclude_dropped();
    }
}

/// One run of [`State::dispatch`]. Each event goes to the owner of what it is about.
struct Dispatch<'a> {
    state: &'a mut State,
    wakers: &'a mut Wakers,
    /// How many messages there were, and how many copies of them for streams.
    deliveries: u64,
    copies: usize,
}

impl Dispatch<'_> {
    /// Shows it to everyone who reads events.
    fn show(&mut self, event: &ClientEvent) {
        self.state.events.push(event, self.wakers);
    }

    fn wake_all_publishers(&mut self) {
        self.state.publishers.room.wake_all(self.wakers);
    }

    fn forget_authentication(&mut self, error: RequestError) {
        let state = &mut *self.state;
        let authenticating = &mut state.connection.authenticating;
        authenticating.forget(error, &mut state.waiters, self.wakers);
    }
}

impl EventHandler for Dispatch<'_> {
    // ---- the connection

    fn connected(&mut self, connected: Box<Connected>) {
        let connected: Arc<Connected> = Arc::from(connected);
        self.wake_all_publishers();
        let state = &mut *self.state;
        state.routes.handle_connected();
        state.routes.renew_positions(connected.session_present);
        state.conclude_dropped();
        state.handle_connected_at_start(self.wakers);
        let event = ClientEvent::Connected(Arc::clone(&connected));
        state.events.push(&event, self.wakers);
        let connection = &mut state.connection;
        connection.set_connected(connected, &mut state.waiters, self.wakers);
    }

    fn disconnected(&mut self, _: ConnectionError) {
        self.wake_all_publishers();
        self.state.connection.set_lost();
        self.forget_authentication(RequestError::NotConnected);
        self.state.waiters.notify(self.wakers);
    }

    fn undelivered(&mut self, undelivered: Vec<Undelivered>) {
        self.state.connection.set_undelivered(undelivered);
    }

    fn auth_challenge(&mut self, message: Box<AuthMessage>) {
        let authenticating = &mut self.state.connection.authenticating;
        authenticating.ask(Task::Answer(message));
    }

    fn authenticated(&mut self, message: Box<AuthMessage>) {
        let authenticating = &mut self.state.connection.authenticating;
        authenticating.ask(Task::Accept(message));
    }

    fn reauthenticated(&mut self, _: OperationId, result: Result<Box<AuthMessage>, RequestError>) {
        match result {
            Ok(message) => {
                let authenticating = &mut self.state.connection.authenticating;
                authenticating.ask(Task::AcceptAgain(message));
            }
            Err(error) => self.forget_authentication(error),
        }
    }

    // ---- publishers

    #[inline]
    fn published(
        &mut self,
        operation: OperationId,
        key: Option<u32>,
        result: Result<PublishOutcome, PublishError>,
    ) {
        self.state.counts.ended(&result);
        if let Some(key) = key {
            let publishers = &mut self.state.publishers;
            publishers.complete(key, operation, result, self.wakers);
        } else if self.state.session.is_durable() {
            self.show(&ClientEvent::Published { operation, result });
        } else if let Err(error) = result {
            self.show(&ClientEvent::PublishFailed(error));
        }
    }

    fn store_failed(&mut self, error: StoreError) {
        self.show(&ClientEvent::StoreFailed(error));
        self.wake_all_publishers();
    }

    fn store_recovered(&mut self) {
        self.show(&ClientEvent::StoreRecovered);
        self.wake_all_publishers();
    }

    fn server_hangs_up(
        &mut self,
        operation: OperationId,
        _: Option<u32>,
        connections: u32,
        given_up: bool,
    ) {
        self.show(&ClientEvent::ServerHangsUp {
            operation,
            connections,
            given_up,
        });
    }

    // ---- requests

    fn subscribed(
        &mut self,
        operation: OperationId,
        result: Result<Answer<SubAckReasonCode>, RequestError>,
    ) {
        if self.state.requests.at_start.is(operation) {
            return self.state.answered_at_start(result, self.wakers);
        }
        let reply = Reply::Subscribed(result);
        self.state.requests.reply(operation, reply, self.wakers);
    }

    fn unsubscribed(
        &mut self,
        operation: OperationId,
        result: Result<Answer<UnsubAckReasonCode>, RequestError>,
    ) {
        let reply = Reply::Unsubscribed(result);
        self.state.requests.reply(operation, reply, self.wakers);
    }

    fn pong(&mut self, operation: OperationId, result: Result<(), RequestError>) {
        let reply = Reply::Pong(result);
        self.state.requests.reply(operation, reply, self.wakers);
    }

    fn resubscribed(&mut self, reasons: Vec<(TopicFilter, SubAckReasonCode)>) {
        for (filter, reason) in &reasons {
            if reason.is_error() {
                self.state.routes.remove_filter(filter, self.wakers);
            }
        }
        self.show(&ClientEvent::Resubscribed(reasons));
    }

    fn request_failed(&mut self, filter: TopicFilter, error: RequestError) {
        self.show(&ClientEvent::RequestFailed { filter, error });
    }

    // ---- messages that come

    #[inline]
    fn message(&mut self, message: ReceivedPublish) {
        let state = &mut *self.state;
        self.deliveries += 1;
        state.counts.received(message.token.qos());
        let resumed = state.may_have_resumed();
        let copies = state
            .routes
            .deliver(message, state.now, resumed, self.wakers);
        self.copies += 1 + copies;
        if state.routes.has_unheld() {
            state.give_up_unheld();
        }
        state.conclude_dropped();
    }

    fn acknowledgements_held(&mut self, by: DeliveryId, held: usize) {
        if let Some((mut topic, received)) = self.state.routes.whereabouts(by) {
            // The event may wait for longer than the message.
            topic.detach();
            self.show(&ClientEvent::AcknowledgementsHeld {
                topic,
                received,
                held,
            });
        }
    }

    fn inbound_dropped(&mut self, messages: u64) {
        self.show(&ClientEvent::InboundDropped(messages));
    }

    fn receive_maximum_exceeded(&mut self, receive_maximum: u16) {
        self.show(&ClientEvent::ReceiveMaximumExceeded { receive_maximum });
    }

    fn message_skipped(&mut self, topic: TopicName, size: u32, qos: QoS) {
        self.show(&ClientEvent::MessageSkipped { topic, size, qos });
    }

    fn message_rejected(&mut self, message: Box<RejectedMessage>) {
        self.show(&ClientEvent::MessageRejected(message));
    }
}

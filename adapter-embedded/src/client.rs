//! The client: a session, the connection that it has, and the way to the next one.

use crate::session::*;
use crate::{Backoff, Clock, Network};
use alloc::{boxed::Box, collections::VecDeque, vec};
use bytes::{Buf, BytesMut};
use core::future::{Future, pending};
use core::time::Duration;
use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::{Error as _, ErrorKind, Read, Write};
use martlet_proto::{
    PubAckReasonCode, Publish, SubAckReasonCode, TopicName, UnsubAckReasonCode, Version,
};

/// How long making a connection may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last bytes of a connection have.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that lasts for this long was a success.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// How many bytes are read at a time.
const READ_SIZE: usize = 256;
/// With more to be written nothing is read: a server that does not read gets no more answers.
const MOST_OUTPUT: usize = 512;

/// An MQTT client that belongs to one task, and does its work in the futures of its methods: it
/// connects, keeps the connection alive and makes it again while one of them is polled. A task that
/// has other things to do waits for them and for [`next`](Self::next) at once.
///
/// **Cancel safety.** Every future may be dropped, and the next call goes on. Dropping the future of
/// a command does not take the command back: the message or request stays with the session. Its end
/// is returned by [`next_event`](Self::next_event) if that is the next call; other calls drop it. A
/// message that arrives is returned by the call that completes, and by no other.
pub struct Client<N, C> {
    session: Session,
    network: N,
    clock: C,
    connect: ConnectOptions,
    backoff: Backoff,
    state: State,
    /// When the connection began, if there is one.
    began: Instant,
    /// Messages that came while something else was waited for.
    received: VecDeque<ReceivedPublish>,
    input: BytesMut,
    buffer: Box<[u8]>,
    output: SendBuffer,
    unflushed: bool,
    /// Once a server has accepted the client, its settings are right.
    accepted: bool,
    last_error: Option<ConnectionError>,
    /// The last attempt did not get as far as the session, and that was not reported yet.
    not_dialed: bool,
}

enum State {
    /// There is no connection, and none before this moment.
    Waiting(Instant),
    Open,
    /// The connection ends for this reason, once the output has left, or at this moment.
    Closing(ConnectionError, Instant),
}

/// A message that has arrived, and is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The topic name; a topic alias is resolved.
    pub topic: TopicName,
    /// The PUBLISH, with payload, properties and QoS.
    pub publish: Publish,
}

impl<N: Network, C: Clock> Client<N, C> {
    /// A client that is not connected yet. Nothing happens before one of its futures is polled.
    pub fn new(config: Config, network: N, clock: C, backoff: Backoff) -> Self {
        Self {
            session: Session::new(config),
            network,
            connect: ConnectOptions::new(Version::V5),
            backoff,
            state: State::Waiting(clock.now()),
            began: clock.now(),
            clock,
            received: VecDeque::new(),
            input: BytesMut::new(),
            buffer: vec![0; READ_SIZE].into(),
            output: SendBuffer::new(),
            unflushed: false,
            accepted: false,
            last_error: None,
            not_dialed: false,
        }
    }

    /// Sets what each CONNECT says: version, credentials, will. Default: MQTT 5 without any.
    #[must_use]
    pub fn connect_options(self, connect: ConnectOptions) -> Self {
        Self { connect, ..self }
    }

    // ---- getters

    /// The session: whether it is connected, what the server allows, its counters.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Why the last connection ended, or could not be made.
    pub fn last_error(&self) -> Option<&ConnectionError> {
        self.last_error.as_ref()
    }

    // ---- commands

    /// Waits until the server has accepted the client.
    ///
    /// # Errors
    /// What ended the attempt. The next call goes on trying, unless the client has
    /// [stopped](Self::next_event).
    pub async fn connected(&mut self) -> Result<(), ConnectionError> {
        while !self.session.is_connected() {
            match self.drive().await? {
                Event::Disconnected(error) => return Err(error),
                event => self.keep(event),
            }
        }
        Ok(())
    }

    /// Publishes, and waits until the server has acknowledged the message; at QoS 0 until it is
    /// written.
    ///
    /// # Errors
    /// [`PublishError`]: the message was not accepted, or not acknowledged.
    pub async fn publish(
        &mut self,
        message: OutgoingPublish,
    ) -> Result<PublishOutcome, PublishError> {
        let accepted = self.session.publish(self.clock.now(), message.key(0))?;
        if let Accepted::Sent(_) = accepted {
            return match self.write_all().await {
                true => Ok(PublishOutcome::SUCCESS),
                false => Err(PublishError::ConnectionEnded),
            };
        }
        loop {
            match self.drive().await.map_err(PublishError::Closed)? {
                Event::Published {
                    operation, result, ..
                } if operation == accepted.operation() => return result,
                event => self.keep(event),
            }
        }
    }

    /// Publishes without waiting: the message leaves, and is sent again where that is due, in the
    /// futures of later calls. [`next_event`](Self::next_event) reports its end, but not that of a message of QoS 0 that
    /// left at once.
    ///
    /// # Errors
    /// [`PublishError`]: the message was not accepted.
    pub fn enqueue(&mut self, message: OutgoingPublish) -> Result<OperationId, PublishError> {
        Ok(self
            .session
            .publish(self.clock.now(), message.key(0))?
            .operation())
    }

    /// Subscribes, and waits for the server's answer: a code for each filter, of which some may be
    /// errors. [`next`](Self::next) returns the messages, whatever they match; subscriptions are
    /// made again where the server has lost them.
    ///
    /// # Errors
    /// [`RequestError`]: it was not answered.
    pub async fn subscribe(
        &mut self,
        request: SubscribeRequest,
    ) -> Result<Answer<SubAckReasonCode>, RequestError> {
        let asked = self.session.subscribe(self.clock.now(), request)?;
        loop {
            match self.drive().await.map_err(RequestError::Closed)? {
                Event::Subscribed { operation, result } if operation == asked => return result,
                event => self.keep(event),
            }
        }
    }

    /// Unsubscribes, and waits for the server's answer.
    ///
    /// # Errors
    /// [`RequestError`]: it was not answered.
    pub async fn unsubscribe(
        &mut self,
        request: UnsubscribeRequest,
    ) -> Result<Answer<UnsubAckReasonCode>, RequestError> {
        let asked = self.session.unsubscribe(self.clock.now(), request)?;
        loop {
            match self.drive().await.map_err(RequestError::Closed)? {
                Event::Unsubscribed { operation, result } if operation == asked => return result,
                event => self.keep(event),
            }
        }
    }

    /// The next message. With that it counts as handled, and is acknowledged.
    ///
    /// # Errors
    /// Why the client has [stopped](Self::next_event).
    pub async fn next(&mut self) -> Result<Message, ConnectionError> {
        loop {
            if let Event::Message(message) = self.next_event().await? {
                let topic = message.topic_name();
                let ReceivedPublish { publish, token, .. } = message;
                self.acknowledge(token, PubAckReasonCode::Success);
                return Ok(Message { topic, publish });
            }
        }
    }

    /// The next message, or whatever else has happened: the end of what was
    /// [enqueued](Self::enqueue), connections that begin and end. What happens while another method
    /// waits is not kept, but for messages. A message is [acknowledged](Self::acknowledge) by the
    /// caller.
    ///
    /// # Errors
    /// Why the client has stopped: it was disconnected; another client has its identifier; its
    /// settings cannot work; or the server rejects them, and has never accepted the client. After
    /// all but the first, [`retry`](Self::retry) revives it.
    pub async fn next_event(&mut self) -> Result<Event, ConnectionError> {
        // Of a message that has come again meanwhile there are two, and the earlier one is over.
        while let Some(message) = self.received.pop_front() {
            if !self.session.is_superseded(&message.token) {
                return Ok(Event::Message(message));
            }
            self.acknowledge(message.token, PubAckReasonCode::Success);
        }
        self.drive().await
    }

    /// The application has handled a message: the server gets its acknowledgement in a later call.
    pub fn acknowledge(&mut self, token: AckToken, reason: PubAckReasonCode) {
        self.session.acknowledge(token, reason);
    }

    /// Disconnects: what was accepted is sent and acknowledged, within 5 s unless the options say
    /// otherwise. Then the client has stopped.
    pub async fn disconnect(&mut self, options: DisconnectOptions) {
        self.session.disconnect(self.clock.now(), options);
        while let Ok(event) = self.drive().await {
            self.keep(event);
        }
    }

    /// Makes the next attempt to connect now, also for a client that has stopped because of an error.
    pub fn retry(&mut self) {
        self.session.resume();
        if let State::Waiting(until) = &mut self.state {
            *until = self.clock.now();
        }
    }

    // ---- the work

    async fn drive(&mut self) -> Result<Event, ConnectionError> {
        loop {
            if let Some(event) = self.drain() {
                return Ok(event);
            }
            if matches!(self.state, State::Waiting(_)) && !self.session.wants_connection() {
                let error = self
                    .last_error
                    .clone()
                    .filter(|_| self.session.is_on_hold());
                return Err(error.unwrap_or(ConnectionError::ClosedHere));
            }
            self.wait().await;
        }
    }

    /// Drains the session until it has an event, or there is only the network and the time to wait
    /// for.
    fn drain(&mut self) -> Option<Event> {
        let now = self.clock.now();
        self.session.handle_timeout(now);
        if matches!(self.state, State::Open) && self.output.len() < MOST_OUTPUT {
            self.session.handle_input(now, &mut self.input);
        }
        if !matches!(self.state, State::Waiting(_)) {
            while self.session.poll_transmit(now, &mut self.output) > 0 {}
        }
        if core::mem::take(&mut self.not_dialed) {
            return self.last_error.clone().map(Event::Disconnected);
        }
        let event = self.session.poll_event();
        self.accepted |= matches!(event, Some(Event::Connected(_)));
        if let (None, State::Open) = (&event, &self.state) {
            if let Some(reason) = self.session.poll_close() {
                self.state = State::Closing(reason, now + FLUSH_TIMEOUT);
            }
        }
        event
    }

    fn keep(&mut self, event: Event) {
        if let Event::Message(mut message) = event {
            // Memory of its own: a small message would keep all that was read with it.
            message.publish.detach();
            self.received.push_back(message);
        }
    }

    fn is_written(&self) -> bool {
        !self.output.has_remaining() && !self.unflushed
    }

    /// Returns whether all of it was written, before the connection ended.
    async fn write_all(&mut self) -> bool {
        while self.session.has_output() || !self.is_written() {
            match self.drain() {
                Some(event) => self.keep(event),
                None if matches!(self.state, State::Waiting(_)) => return false,
                None => self.wait().await,
            }
        }
        true
    }

    /// Waits for the network or the time, whichever has something first.
    async fn wait(&mut self) {
        let timeout = self.session.poll_timeout();
        let lost = match self.state {
            State::Waiting(until) if self.clock.now() < until => {
                let first = timeout.map_or(until, |at| at.min(until));
                return self.clock.sleep_until(first).await;
            }
            State::Waiting(_) => self.dial().await.err(),
            State::Open => self.exchange(timeout).await.err(),
            State::Closing(ref reason, until) => {
                let reason = reason.clone();
                let is_over = self.is_written() || self.exchange(Some(until)).await.is_err();
                Some(reason).filter(|_| is_over || self.clock.now() >= until)
            }
        };
        if let Some(reason) = lost {
            self.lose(reason);
        }
    }

    /// Makes a connection, and begins one of the session on it.
    async fn dial(&mut self) -> Result<(), ConnectionError> {
        let until = self.clock.now() + DIAL_TIMEOUT;
        let dialed = select(self.network.dial(), self.clock.sleep_until(until)).await;
        self.input.clear();
        self.output.clear();
        self.unflushed = false;
        self.began = self.clock.now();
        let (kind, error) = match dialed {
            Either::First(Ok(())) => {
                self.state = State::Open;
                self.session.handle_open(self.began, self.connect.clone());
                return Ok(());
            }
            Either::First(Err(error)) => (TransportErrorKind::Connect, error.into()),
            Either::Second(()) => (
                TransportErrorKind::ConnectTimeout,
                "no connection in time".into(),
            ),
        };
        self.not_dialed = true;
        Err(ConnectionError::Transport(TransportError::new(kind, error)))
    }

    /// Reads or writes once, but waits no longer than until `timeout`.
    async fn exchange(&mut self, timeout: Option<Instant>) -> Result<(), ConnectionError> {
        let may_read = matches!(self.state, State::Open) && self.output.len() < MOST_OUTPUT;
        let wants_input = may_read && self.session.wants_input();
        let (output, unflushed) = (self.output.chunk(), self.unflushed);
        let has_output = !output.is_empty();
        let (mut reader, mut writer) = self.network.split();
        let write = async {
            match (has_output, unflushed) {
                (true, _) => writer.write(output).await,
                (false, true) => writer.flush().await.map(|()| 0),
                (false, false) => pending().await,
            }
        };
        let read = maybe(wants_input.then(|| reader.read(&mut self.buffer)));
        let sleep = maybe(timeout.map(|at| self.clock.sleep_until(at)));
        match select3(write, read, sleep).await {
            Either3::First(Ok(n)) if n > 0 || !has_output => {
                self.output.advance(n);
                self.unflushed = has_output;
            }
            Either3::Second(Ok(0)) => return Err(ConnectionError::ClosedByPeer),
            Either3::Second(Ok(n)) => self.input.extend_from_slice(&self.buffer[..n]),
            Either3::Second(Err(error)) => return Err(failed(error.kind())),
            Either3::First(Err(error)) => return Err(failed(error.kind())),
            Either3::First(Ok(_)) => return Err(failed(ErrorKind::WriteZero)),
            Either3::Third(()) => {}
        }
        Ok(())
    }

    /// The connection has ended, or there was none to be had.
    fn lose(&mut self, reason: ConnectionError) {
        let now = self.clock.now();
        if now.saturating_duration_since(self.began) >= STABLE_AFTER {
            self.backoff.reset();
        }
        self.network.hang_up();
        self.session.handle_close(now, reason.clone());
        let class = ErrorClass::of(&reason);
        let is_permanent = class == ErrorClass::Permanent;
        self.state = State::Waiting(now + self.backoff.next(is_permanent));
        if class == ErrorClass::TakenOver || (is_permanent && !self.accepted) {
            self.session.stop(now, reason.clone());
        }
        self.last_error = Some(reason);
    }
}

/// Reading or writing failed. The network's own error need not be `Send`; its kind is the cause.
fn failed(kind: ErrorKind) -> ConnectionError {
    let error = TransportError::new(TransportErrorKind::Io, "the network connection failed");
    ConnectionError::Transport(error.caused_by(kind))
}

async fn maybe<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

impl<N, C> core::fmt::Debug for Client<N, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

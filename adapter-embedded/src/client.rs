//! The client: what it decides is in its [`Machine`]; here it reads, writes and waits.

use crate::machine::{Exchange, Machine, Step, Writes, not_in_time};
use crate::session::*;
use crate::{Backoff, Clock, Network};
use alloc::{boxed::Box, vec};
use core::future::{Future, pending};
use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::{Error as _, Read, Write};
use martlet_proto::{
    PubAckReasonCode, Publish, QoS, SubAckReasonCode, TopicName, UnsubAckReasonCode,
};

/// How many bytes are read at a time.
const READ_SIZE: usize = 256;

/// An MQTT client that belongs to one task, and does its work in the futures of its methods: it
/// connects, keeps the connection alive and makes it again while one of them is polled. A task that
/// has other things to do waits for them and for [`next`](Self::next) at once.
///
/// **Cancel safety.** Every future may be dropped, and the next call goes on. Dropping the future of
/// a command does not take the command back: the message or request stays with the session. Its end
/// is returned by [`next_event`](Self::next_event) if that is the next call; other calls drop it. A
/// message that arrives is returned by the call that completes, and by no other. Dropping a future
/// that connects ends the attempt, and the next call begins another: a future needs as much time as one attempt.
///
/// **Pauses.** Between two calls nothing is read, sent or pinged. The server ends the connection when it has
/// had nothing of the client for one and a half times the keep alive. After a shorter pause it goes on: what
/// has arrived meanwhile is in time, and a PINGREQ that was due has all of its time.
pub struct Client<N, C> {
    machine: Machine,
    network: N,
    clock: C,
    buffer: Box<[u8]>,
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
            machine: Machine::new(config, backoff, clock.now()),
            network,
            clock,
            buffer: vec![0; READ_SIZE].into(),
        }
    }

    /// Sets what each CONNECT says: version, credentials, will. Default: MQTT 5 without any.
    #[must_use]
    pub fn connect_options(mut self, connect: ConnectOptions) -> Self {
        self.machine.connect = connect;
        self
    }

    // ---- getters

    /// The session: whether it is connected, what the server allows, its counters.
    pub fn session(&self) -> &Session {
        &self.machine.session
    }

    /// Why the last connection ended, or could not be made.
    pub fn last_error(&self) -> Option<&ConnectionError> {
        self.machine.last_error()
    }

    // ---- commands

    /// Waits until the server has accepted the client.
    ///
    /// # Errors
    /// What ended the attempt. The next call goes on trying, unless the client has
    /// [stopped](Self::next_event).
    pub async fn connected(&mut self) -> Result<(), ConnectionError> {
        while !self.machine.session.is_connected() {
            match self.drive().await? {
                Event::Disconnected(error) => return Err(error),
                event => self.machine.keep(event),
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
        let qos = message.qos;
        let accepted = self
            .machine
            .session
            .publish(self.clock.now(), message.key(0))?;
        let result = match accepted {
            Accepted::Sent(_) => Ok(PublishOutcome::SUCCESS),
            _ => self.published(accepted.operation()).await,
        };
        // With QoS 0 the session has done its part when the message is in the output.
        if qos == QoS::AtMostOnce && result.is_ok() && !self.write_all().await {
            return Err(PublishError::ConnectionEnded);
        }
        result
    }

    /// Waits for the end of this message.
    async fn published(&mut self, wanted: OperationId) -> Result<PublishOutcome, PublishError> {
        loop {
            match self.drive().await.map_err(PublishError::Closed)? {
                Event::Published {
                    operation, result, ..
                } if operation == wanted => return result,
                event => self.machine.keep(event),
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
        let now = self.clock.now();
        let accepted = self.machine.session.publish(now, message.key(0))?;
        Ok(accepted.operation())
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
        let asked = self.machine.session.subscribe(self.clock.now(), request)?;
        loop {
            match self.drive().await.map_err(RequestError::Closed)? {
                Event::Subscribed { operation, result } if operation == asked => return result,
                event => self.machine.keep(event),
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
        let asked = self
            .machine
            .session
            .unsubscribe(self.clock.now(), request)?;
        loop {
            match self.drive().await.map_err(RequestError::Closed)? {
                Event::Unsubscribed { operation, result } if operation == asked => return result,
                event => self.machine.keep(event),
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
        match self.machine.take_kept() {
            Some(message) => Ok(Event::Message(message)),
            None => self.drive().await,
        }
    }

    /// The application has handled a message: the server gets its acknowledgement in a later call.
    pub fn acknowledge(&mut self, token: AckToken, reason: PubAckReasonCode) {
        self.machine.session.acknowledge(token, reason);
    }

    /// Disconnects: what was accepted is sent and acknowledged, within 5 s unless the options say
    /// otherwise. Then the client has stopped.
    pub async fn disconnect(&mut self, options: DisconnectOptions) {
        let now = self.clock.now();
        self.machine.handle_pause(now);
        self.machine.session.disconnect(now, options);
        while let Ok(event) = self.drive().await {
            self.machine.keep(event);
        }
    }

    /// Makes the next attempt to connect now, also for a client that has stopped because of an error.
    pub fn retry(&mut self) {
        self.machine.retry(self.clock.now());
    }

    // ---- the work

    async fn drive(&mut self) -> Result<Event, ConnectionError> {
        self.catch_up().await;
        loop {
            if let Some(event) = self.machine.drain(self.clock.now()) {
                return Ok(event);
            }
            if let Some(error) = self.machine.stopped() {
                return Err(error);
            }
            self.wait().await;
        }
    }

    /// Reads what has arrived since the last call, before a timer that ran out meanwhile is looked at.
    async fn catch_up(&mut self) {
        self.machine.handle_pause(self.clock.now());
        while self.machine.is_late() {
            self.wait().await;
            self.machine.take_input(self.clock.now());
        }
    }

    /// Returns whether all of it was written, before the connection ended.
    async fn write_all(&mut self) -> bool {
        self.catch_up().await;
        while !self.machine.is_written() {
            match self.machine.drain(self.clock.now()) {
                Some(event) => self.machine.keep(event),
                None if self.machine.is_closed() => return false,
                None => self.wait().await,
            }
        }
        true
    }

    /// Waits for the network or the time, whichever has something first.
    async fn wait(&mut self) {
        let lost = match self.machine.step(self.clock.now()) {
            Step::Sleep(until) => return self.clock.sleep_until(until).await,
            Step::Dial(until) => self.dial(until).await.err(),
            Step::Exchange(exchange) => self.exchange(exchange).await.err(),
            Step::Lose(reason) => Some(reason),
        };
        if let Some(reason) = lost {
            self.network.hang_up();
            self.machine.lose(self.clock.now(), reason);
        }
    }

    async fn dial(&mut self, until: Instant) -> Result<(), ConnectionError> {
        let dialed = match select(self.network.dial(), self.clock.sleep_until(until)).await {
            Either::First(dialed) => dialed
                .map_err(|error| TransportError::new(TransportErrorKind::Connect, error.into())),
            Either::Second(()) => Err(not_in_time()),
        };
        self.machine.handle_dialed(self.clock.now(), dialed)
    }

    async fn exchange(&mut self, exchange: Exchange) -> Result<(), ConnectionError> {
        let (mut reader, mut writer) = self.network.split();
        let output = self.machine.output();
        let write = async {
            match exchange.writes {
                Writes::Bytes => writer.write(output).await,
                Writes::Flush => writer.flush().await.map(|()| 0),
                Writes::Nothing => pending().await,
            }
        };
        let read = maybe(exchange.reads.then(|| reader.read(&mut self.buffer)));
        let sleep = maybe(exchange.until.map(|at| self.clock.sleep_until(at)));
        match select3(write, read, sleep).await {
            Either3::First(written) => self
                .machine
                .handle_written(written.map_err(|error| error.kind())),
            Either3::Second(read) => {
                let read = read.map(|n| &self.buffer[..n]);
                self.machine.handle_read(read.map_err(|error| error.kind()))
            }
            Either3::Third(()) => {
                self.machine.handle_nothing();
                Ok(())
            }
        }
    }
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

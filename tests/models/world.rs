//! A network in memory between a client and the embedded broker, in which no time passes but the pauses
//! before reconnecting. All of it is of tasks that the model's scheduler runs.

use bytes::{Buf, BytesMut};
use futures_io::{AsyncRead, AsyncWrite};
use martlet_broker::{Broker, BrokerConfig, BrokerEvent, ConnectionId};
use martlet_client::{
    Builder, Client, Driver, Reconnect,
    embedded::Target,
    runtime::{Clock, Runtime, SocketOptions, Timer},
    session::{Instant, TransportError},
};
use std::future::{Future, pending, poll_fn, ready};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Bytes that a connection holds on their way to the server: few, so that writing has to wait.
const ROOM: usize = 16;

/// Timers that are set to more than this never fire.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>, Arc<AtomicU64>);

struct State {
    broker: Broker,
    /// The newest connection.
    wire: Option<Wire>,
    connections: u64,
    server: Option<Waker>,
    /// After how many bytes to the server the first connection is cut.
    cut_after: Option<usize>,
    /// Nothing but the CONNACK comes back.
    is_mute: bool,
    /// Attempts to connect are not answered.
    is_gone: bool,
    /// Payloads that the broker has accepted, in order.
    accepted: Vec<String>,
    /// Those who wait for one.
    watchers: Vec<Waker>,
    has_ended: bool,
}

struct Wire {
    id: ConnectionId,
    number: u64,
    to_server: BytesMut,
    /// What the server has taken, and not as whole packets yet.
    taken: BytesMut,
    to_client: BytesMut,
    has_answered: bool,
    /// The server's end is closed; what is on its way arrives.
    is_closed: bool,
    /// Nothing more will be written.
    is_shut_down: bool,
    /// The client has dropped its end.
    is_dropped: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl World {
    pub(crate) fn new(config: BrokerConfig) -> Self {
        let config = config.record_events(true).sys_interval(Duration::ZERO);
        let state = State {
            broker: Broker::new(config),
            wire: None,
            connections: 0,
            server: None,
            cut_after: None,
            is_mute: false,
            is_gone: false,
            accepted: Vec::new(),
            watchers: Vec::new(),
            has_ended: false,
        };
        Self(Arc::new(Mutex::new(state)), Arc::new(AtomicU64::new(0)))
    }

    /// Never held where the scheduler could let another task run.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn client(
        &self,
        change: impl FnOnce(Builder) -> Builder,
    ) -> (Client, Driver<Memory>) {
        change(builder()).build(self.runtime()).unwrap()
    }

    pub(crate) fn runtime(&self) -> Memory {
        Memory(self.clone())
    }

    /// The first connection is cut when this number of bytes has come to the server.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.lock().cut_after = Some(bytes);
    }

    /// The connection is cut, and there will be no other.
    pub(crate) fn leave(&self) {
        let server = {
            let mut state = self.lock();
            (state.cut_after, state.is_gone) = (Some(0), true);
            state.server.take()
        };
        server.into_iter().for_each(Waker::wake);
    }

    /// The server answers nothing but CONNECT.
    pub(crate) fn mute(&self) {
        self.lock().is_mute = true;
    }

    pub(crate) fn is_subscribed(&self, filter: &'static str) -> bool {
        let filter = filter.try_into().unwrap();
        self.lock().broker.is_subscribed(&filter)
    }

    /// Waits until the broker has accepted this payload.
    pub(crate) async fn arrival(&self, payload: &str) {
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.accepted.iter().any(|other| other == payload) {
                return Poll::Ready(());
            }
            state.watchers.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// How often the broker has accepted this payload.
    pub(crate) fn count(&self, payload: &str) -> usize {
        let state = self.lock();
        state
            .accepted
            .iter()
            .filter(|other| *other == payload)
            .count()
    }

    /// The payloads that the broker has accepted, in order.
    pub(crate) fn accepted(&self) -> Vec<String> {
        self.lock().accepted.clone()
    }

    /// The server's task: until [`end`](Self::end).
    pub(crate) fn serve(&self) -> impl Future<Output = ()> + Send + use<> {
        let world = self.clone();
        poll_fn(move |cx| {
            let (wakers, has_ended) = {
                let mut state = world.lock();
                state.server = Some(cx.waker().clone());
                (state.step(), state.has_ended)
            };
            wakers.into_iter().for_each(Waker::wake);
            if has_ended {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
    }

    pub(crate) fn end(&self) {
        let server = {
            let mut state = self.lock();
            state.has_ended = true;
            state.server.take()
        };
        server.into_iter().for_each(Waker::wake);
    }
}

pub(crate) fn builder() -> Builder {
    let reconnect = Reconnect::default().retry_first(true).initial(PAUSE);
    Client::builder("mqtt://broker.example")
        .client_identifier("me")
        .seed(1)
        .reconnect(reconnect.max(PAUSE))
}

impl State {
    /// The server takes what has come, and answers.
    fn step(&mut self) -> Vec<Waker> {
        let wire = self.wire.as_mut().filter(|wire| !wire.is_closed);
        let Some(wire) = wire else {
            return Vec::new();
        };
        let now = Duration::ZERO;
        let mut came = wire.to_server.split();
        if let Some(left) = &mut self.cut_after {
            came.truncate(*left);
            *left -= came.len();
            // The rest is lost, and so is what was on its way back.
            if *left == 0 {
                wire.taken.extend_from_slice(&came.split());
                self.broker.handle_input(now, wire.id, &mut wire.taken);
                self.broker.handle_close(now, wire.id);
                wire.is_closed = true;
                self.cut_after = None;
            }
        }
        wire.taken.extend_from_slice(&came);
        if !wire.is_closed {
            self.broker.handle_input(now, wire.id, &mut wire.taken);
            let mut output = BytesMut::new();
            while self.broker.poll_transmit(now, wire.id, &mut output) > 0 {}
            let is_silent = self.is_mute && wire.has_answered;
            if !output.is_empty() && !is_silent {
                wire.has_answered = true;
                wire.to_client.extend_from_slice(&output);
            }
            wire.is_closed = self.broker.poll_close() == Some(wire.id);
            if wire.is_dropped || (wire.is_shut_down && wire.to_server.is_empty()) {
                self.broker.handle_close(now, wire.id);
                wire.is_closed = true;
            }
        }
        while let Some(event) = self.broker.poll_event() {
            if let BrokerEvent::Accepted { publish, .. } = event {
                let payload = String::from_utf8(publish.payload().to_vec()).unwrap();
                self.accepted.push(payload);
            }
        }
        let has_input = wire.is_closed || !wire.to_client.is_empty();
        let has_room = wire.is_closed || wire.to_server.len() < ROOM;
        let reader = wire.reader.take_if(|_| has_input);
        let writer = wire.writer.take_if(|_| has_room);
        let watchers = std::mem::take(&mut self.watchers);
        reader.into_iter().chain(writer).chain(watchers).collect()
    }
}

/// A runtime whose sockets are in memory.
pub(crate) struct Memory(World);

impl Runtime for Memory {
    type Socket = Socket;
    type Dial = Pin<Box<dyn Future<Output = Result<Socket, TransportError>> + Send>>;
    type Timer = Pause;

    fn dial(&self, _: &Target, _: &SocketOptions) -> Self::Dial {
        let mut state = self.0.lock();
        if state.is_gone {
            return Box::pin(pending());
        }
        state.connections += 1;
        let number = state.connections;
        let before = state.wire.take();
        if let Some(before) = before.filter(|before| !before.is_closed) {
            state.broker.handle_close(Duration::ZERO, before.id);
        }
        state.wire = Some(Wire {
            id: state.broker.handle_open(Duration::ZERO),
            number,
            to_server: BytesMut::new(),
            taken: BytesMut::new(),
            to_client: BytesMut::new(),
            has_answered: false,
            is_closed: false,
            is_shut_down: false,
            is_dropped: false,
            reader: None,
            writer: None,
        });
        drop(state);
        Box::pin(ready(Ok(Socket(self.0.clone(), number))))
    }

    fn timer(&self) -> Pause {
        Pause(Arc::clone(&self.0.1), None)
    }

    fn clock(&self) -> Clock {
        let nanoseconds = Arc::clone(&self.0.1);
        Clock::new(move || {
            Instant::from_epoch(Duration::from_nanos(nanoseconds.load(Ordering::Relaxed)))
        })
    }
}

/// The client's end of a connection.
pub(crate) struct Socket(World, u64);

impl Socket {
    /// Does this with the connection.
    fn with<T>(&self, act: impl FnOnce(Option<&mut Wire>) -> T) -> T {
        let mut state = self.0.lock();
        act(state.wire.as_mut().filter(|wire| wire.number == self.1))
    }

    /// There is something for the server to do.
    fn wake_server(&self) {
        let server = self.0.lock().server.take();
        server.into_iter().for_each(Waker::wake);
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.with(|wire| {
            let Some(wire) = wire else {
                return Poll::Ready(Ok(0));
            };
            if wire.to_client.is_empty() && !wire.is_closed {
                wire.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let taken = wire.to_client.len().min(buffer.len());
            wire.to_client.copy_to_slice(&mut buffer[..taken]);
            Poll::Ready(Ok(taken))
        })
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.with(|wire| {
            let Some(wire) = wire.filter(|wire| !wire.is_closed && !wire.is_shut_down) else {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            };
            let taken = bytes.len().min(ROOM - wire.to_server.len());
            if taken == 0 {
                wire.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            wire.to_server.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        });
        if written.is_ready() {
            self.wake_server();
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|wire| {
            if let Some(wire) = wire {
                wire.is_shut_down = true;
            }
        });
        self.wake_server();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.with(|wire| {
            if let Some(wire) = wire {
                wire.is_dropped = true;
            }
        });
        self.wake_server();
    }
}

/// A timer for the pauses before reconnecting: they pass at once.
pub(crate) struct Pause(Arc<AtomicU64>, Option<Duration>);

impl Timer for Pause {
    fn reset(&mut self, wait: Duration) {
        self.1 = Some(wait);
    }

    fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
        match self.1.take_if(|wait| *wait <= PAUSE) {
            Some(wait) => {
                self.0.fetch_add(wait.as_nanos() as u64, Ordering::Relaxed);
                Poll::Ready(())
            }
            None => Poll::Pending,
        }
    }
}

//! A runtime of the tests' own, on the caller's thread: its socket is a [`Wire`], and its time moves
//! only by [`pass`].

use bytes::{Buf, Bytes, BytesMut};
use futures_io::{AsyncRead, AsyncWrite};
use martlet_client::proto::{ConnAck, ConnectReasonCode, Packet};
use martlet_client::runtime::Clock;
use martlet_client::{
    Builder, Client, ConnectionState, Driver, Version,
    embedded::Target,
    runtime::{Runtime, SocketOptions, Timer},
    session::{Instant, TransportError},
};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, Ready, ready};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How many chunks and how many bytes a wire has room for from the start: what is counted later is
/// the client's.
const CHUNKS: usize = 1024;
const OUTPUT: usize = 1024 * 1024;

thread_local! {
    static NOW: Cell<Instant> = const { Cell::new(Instant::EPOCH) };
}

/// Moves the time of this thread.
pub(crate) fn pass(time: Duration) {
    NOW.set(NOW.get() + time);
}

/// What the socket's other end has for us, a chunk for each read, and what it was given.
pub(crate) struct Wire {
    pub(crate) input: VecDeque<Bytes>,
    pub(crate) output: BytesMut,
    /// Where the payload lies that the application has published, and how many bytes were written
    /// from there.
    pub(crate) payload: Option<Range<usize>>,
    pub(crate) from_payload: usize,
    /// How many bytes the socket takes at a time.
    pub(crate) takes: usize,
    /// How often it was called: a system call each, on other runtimes.
    pub(crate) reads: usize,
    pub(crate) writes: usize,
}

/// A wire that the test shares with the runtime.
pub(crate) type SharedWire = Rc<RefCell<Wire>>;

impl Wire {
    /// What a shared wire takes of the heap.
    pub(crate) const HEAP: usize =
        OUTPUT + CHUNKS * size_of::<Bytes>() + size_of::<RefCell<Self>>() + 2 * size_of::<usize>();

    fn new() -> Self {
        Self {
            input: VecDeque::with_capacity(CHUNKS),
            output: BytesMut::with_capacity(OUTPUT),
            payload: None,
            from_payload: 0,
            takes: usize::MAX,
            reads: 0,
            writes: 0,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.takes);
        let begin = bytes.as_ptr() as usize;
        match &self.payload {
            Some(payload) if payload.contains(&begin) => self.from_payload += n,
            _ => self.output.extend_from_slice(&bytes[..n]),
        }
        n
    }
}

/// The runtime, and its only socket.
#[derive(Clone)]
pub(crate) struct InMemory(SharedWire);

#[derive(Default)]
pub(crate) struct Alarm(Option<Instant>);

impl Timer for Alarm {
    fn reset(&mut self, wait: Duration) {
        self.0 = Some(NOW.get() + wait);
    }

    fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
        match self.0 {
            Some(at) if at <= NOW.get() => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

impl Runtime for InMemory {
    type Socket = Self;
    type Dial = Ready<Result<Self, TransportError>>;
    type Timer = Alarm;

    fn dial(&self, _: &Target, _: &SocketOptions) -> Self::Dial {
        ready(Ok(self.clone()))
    }

    fn timer(&self) -> Alarm {
        Alarm::default()
    }

    fn clock(&self) -> Clock {
        Clock::new(|| NOW.get())
    }
}

impl AsyncRead for InMemory {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        wire.reads += 1;
        let Some(chunk) = wire.input.front_mut() else {
            return Poll::Pending;
        };
        let n = chunk.len().min(buf.len());
        chunk.copy_to_slice(&mut buf[..n]);
        if chunk.is_empty() {
            wire.input.pop_front();
        }
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for InMemory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        wire.writes += 1;
        Poll::Ready(Ok(wire.write(bytes)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        wire.writes += 1;
        let mut written = 0;
        for slice in slices {
            let n = wire.write(slice);
            written += n;
            if n < slice.len() {
                break;
            }
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A client over a wire of its own.
pub(crate) fn client(builder: Builder) -> (Client, Driver<InMemory>, SharedWire) {
    let wire = Rc::new(RefCell::new(Wire::new()));
    let (client, driver) = builder.build(InMemory(Rc::clone(&wire))).unwrap();
    (client, driver, wire)
}

/// A client that is connected.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) driver: Driver<InMemory>,
    pub(crate) wire: SharedWire,
}

impl World {
    /// What is counted belongs to the caller's thread, so the server says its part before.
    pub(crate) fn new() -> Self {
        let (client, driver, wire) = client(Client::builder("mqtt://localhost"));
        wire.borrow_mut().input.push_back(accept(Version::V5));
        let mut world = Self {
            client,
            driver,
            wire,
        };
        world.run();
        assert!(matches!(
            world.client.state(),
            ConnectionState::Connected(_)
        ));
        world
    }

    fn run(&mut self) {
        for _ in 0..100 {
            assert!(poll(&mut self.driver).is_pending());
        }
        assert!(self.wire.borrow().input.is_empty());
    }
}

pub(crate) fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

pub(crate) fn encoded(version: Version, packet: impl Into<Packet>) -> Bytes {
    let mut bytes = BytesMut::new();
    packet.into().encode(version, &mut bytes).unwrap();
    bytes.freeze()
}

/// The CONNACK of a server that accepts.
pub(crate) fn accept(version: Version) -> Bytes {
    encoded(version, ConnAck::new(ConnectReasonCode::Success))
}

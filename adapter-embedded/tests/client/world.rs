//! A world in memory: the embedded broker, a network of one connection that breaks on demand, simulated time, and an
//! executor that lets it pass when nothing else can happen.

use crate::clock::TestClock;
use bytes::{Buf, BytesMut};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use martlet_broker::{Broker, BrokerConfig, BrokerEvent, ConnectionId};
use martlet_embedded::session::Config;
use martlet_embedded::{Backoff, Client, Clock, Network};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(crate) struct Inner {
    pub(crate) broker: Broker,
    pub(crate) clock: TestClock,
    connection: Option<ConnectionId>,
    to_broker: BytesMut,
    to_client: BytesMut,
    /// How many bytes the network carries at a time.
    pub(crate) chunk: usize,
    /// After how many bytes more, of both directions together, the network breaks.
    pub(crate) breaks_after: Option<usize>,
    /// So many attempts to connect fail, from now on.
    pub(crate) failing_dials: u32,
    /// Attempts do not end.
    pub(crate) silent_dials: bool,
    pub(crate) dials: Vec<Duration>,
    has_moved: bool,
    unflushed: bool,
    /// The client has written in this turn.
    is_full: bool,
}

#[derive(Clone)]
pub(crate) struct World(pub(crate) Rc<RefCell<Inner>>);

impl World {
    pub(crate) fn new() -> Self {
        Self::with(BrokerConfig::default())
    }

    pub(crate) fn with(config: BrokerConfig) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            broker: Broker::new(config.record_events(true)),
            clock: TestClock::default(),
            connection: None,
            to_broker: BytesMut::new(),
            to_client: BytesMut::new(),
            chunk: usize::MAX,
            breaks_after: None,
            failing_dials: 0,
            silent_dials: false,
            dials: Vec::new(),
            has_moved: false,
            unflushed: false,
            is_full: false,
        })))
    }

    pub(crate) fn client(&self, config: Config) -> Client<World, TestClock> {
        let config = config.client_identifier("device".try_into().unwrap());
        Client::new(config, self.clone(), self.clock(), Backoff::new(7))
    }

    pub(crate) fn clock(&self) -> TestClock {
        self.0.borrow().clock.clone()
    }

    /// The time since the world began.
    pub(crate) fn now(&self) -> Duration {
        self.0.borrow().clock.elapsed()
    }

    /// What the broker says that has happened since the last call.
    pub(crate) fn events(&self) -> Vec<BrokerEvent> {
        let inner = &mut *self.0.borrow_mut();
        std::iter::from_fn(|| inner.broker.poll_event()).collect()
    }

    /// The payloads that clients have published since the last call, each as often as the broker has accepted it.
    pub(crate) fn accepted(&self) -> Vec<String> {
        let accepted = self.events().into_iter().filter_map(|event| match event {
            BrokerEvent::Accepted {
                publish,
                client_identifier: Some(_),
                ..
            } => Some(String::from_utf8(publish.payload().to_vec()).unwrap()),
            _ => None,
        });
        accepted.collect()
    }

    pub(crate) fn has_connection(&self) -> bool {
        self.0.borrow().connection.is_some()
    }

    /// The task that owns the client has other work for this long, in which nothing of the client is polled.
    pub(crate) fn pause(&self, time: Duration) {
        let inner = &mut *self.0.borrow_mut();
        inner.serve();
        let until = inner.clock.elapsed() + time;
        inner.clock.advance_to(until);
        inner.broker.handle_timeout(until);
        inner.serve();
    }

    /// The network breaks.
    pub(crate) fn cut(&self) {
        self.0.borrow_mut().hang_up();
    }

    /// Runs a future to its end.
    pub(crate) fn run<F: Future>(&self, future: F) -> F::Output {
        self.run_turns(usize::MAX, future).expect("it ends")
    }

    /// Polls a future so often at most, and then drops it.
    pub(crate) fn run_turns<F: Future>(&self, turns: usize, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        for turn in 0..turns {
            assert!(turn < 1_000_000, "it goes round and round");
            self.0.borrow().clock.begin_turn();
            self.0.borrow_mut().has_moved = false;
            if let Poll::Ready(output) = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                return Some(output);
            }
            let inner = &mut *self.0.borrow_mut();
            inner.serve();
            if !inner.has_moved {
                let timers = [inner.clock.wake_at(), inner.broker.poll_timeout()];
                let next = timers.into_iter().flatten().min();
                let next = next.expect("nothing will happen any more");
                inner.clock.advance_to(next);
                inner.broker.handle_timeout(inner.clock.elapsed());
                inner.serve();
            }
        }
        None
    }

    /// Runs a future for this long, and then drops it.
    pub(crate) fn run_for<F: Future>(&self, time: Duration, future: F) -> Option<F::Output> {
        let mut timer = self.clock();
        let until = timer.now() + time;
        self.run(async {
            let mut future = pin!(future);
            let mut sleep = pin!(timer.sleep_until(until));
            poll_fn(|context| match future.as_mut().poll(context) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
            })
            .await
        })
    }
}

impl Inner {
    fn serve(&mut self) {
        self.is_full = false;
        let now = self.clock.elapsed();
        let Some(id) = self.connection else { return };
        if !self.to_broker.is_empty() {
            self.broker.handle_input(now, id, &mut self.to_broker);
        }
        while self.broker.poll_transmit(now, id, &mut self.to_client) > 0 {
            self.has_moved = true;
        }
        if self.broker.poll_close() == Some(id) {
            self.broker.handle_close(now, id);
            self.connection = None;
            self.has_moved = true;
        }
    }

    fn hang_up(&mut self) {
        if let Some(id) = self.connection.take() {
            self.broker.handle_close(self.clock.elapsed(), id);
            while self.broker.poll_close().is_some() {}
        }
        self.to_broker.clear();
        self.to_client.clear();
    }

    /// How many of these bytes the network carries; it may break then.
    fn carry(&mut self, n: usize) -> usize {
        let n = n.min(self.chunk);
        match &mut self.breaks_after {
            Some(left) if n > *left => {
                let n = *left;
                self.breaks_after = None;
                self.hang_up();
                n
            }
            Some(left) => {
                *left -= n;
                n
            }
            None => n,
        }
    }
}

impl Network for World {
    type Reader<'a> = Half<'a>;
    type Writer<'a> = Half<'a>;
    type Error = &'static str;

    async fn dial(&mut self) -> Result<(), &'static str> {
        poll_fn(|_| {
            let inner = &mut *self.0.borrow_mut();
            let now = inner.clock.elapsed();
            inner.hang_up();
            inner.dials.push(now);
            if inner.silent_dials {
                return Poll::Pending;
            }
            if inner.failing_dials > 0 {
                inner.failing_dials -= 1;
                return Poll::Ready(Err("nobody answers"));
            }
            inner.connection = Some(inner.broker.handle_open(now));
            inner.unflushed = false;
            Poll::Ready(Ok(()))
        })
        .await
    }

    fn split(&mut self) -> (Half<'_>, Half<'_>) {
        (Half(&self.0), Half(&self.0))
    }

    fn hang_up(&mut self) {
        assert!(
            !self.0.borrow().unflushed || self.0.borrow().connection.is_none(),
            "what was written is flushed"
        );
        let inner = &mut *self.0.borrow_mut();
        // What was flushed arrives.
        inner.serve();
        inner.hang_up();
    }
}

pub(crate) struct Half<'a>(&'a Rc<RefCell<Inner>>);

impl ErrorType for Half<'_> {
    type Error = ErrorKind;
}

impl Read for Half<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        poll_fn(|_| {
            let inner = &mut *self.0.borrow_mut();
            if inner.to_client.is_empty() || inner.chunk == 0 {
                return match inner.connection {
                    Some(_) => Poll::Pending,
                    None => Poll::Ready(Ok(0)),
                };
            }
            let n = inner.carry(buffer.len().min(inner.to_client.len()));
            if inner.to_client.is_empty() {
                return Poll::Ready(Err(ErrorKind::ConnectionReset));
            }
            inner.to_client.split_to(n).copy_to_slice(&mut buffer[..n]);
            inner.has_moved = true;
            Poll::Ready(Ok(n))
        })
        .await
    }
}

impl Write for Half<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        poll_fn(|_| {
            let inner = &mut *self.0.borrow_mut();
            if inner.connection.is_none() {
                return Poll::Ready(Err(ErrorKind::ConnectionReset));
            }
            // A socket that takes one chunk for each turn.
            if inner.is_full || inner.chunk == 0 {
                return Poll::Pending;
            }
            let n = inner.carry(bytes.len());
            if inner.connection.is_none() || n == 0 {
                return Poll::Ready(Err(ErrorKind::ConnectionReset));
            }
            inner.to_broker.extend_from_slice(&bytes[..n]);
            inner.unflushed = true;
            inner.is_full = true;
            inner.has_moved = true;
            Poll::Ready(Ok(n))
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        self.0.borrow_mut().unflushed = false;
        Ok(())
    }
}

//! The broker on real sockets: a listener on tokio, with the feature `tokio`.
//!
//! ```
//! # #[::tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! use martlet_broker::tokio::Server;
//! use martlet_broker::{BrokerConfig, Memory};
//!
//! let mut server = Server::start(BrokerConfig::default()).await?;
//! println!("point a client at {}", server.uri());
//! // The broker crashes, forgets everything, and comes back at the same address.
//! server.kill(Memory::Lost).await;
//! server.revive().await?;
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```

use crate::{Broker, BrokerConfig, BrokerEvent, ConnectionId, Memory, Statistics};
use ::tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use ::tokio::net::TcpListener;
use ::tokio::sync::{Notify, mpsc, watch};
use ::tokio::task::{JoinHandle, JoinSet};
use ::tokio::time::{Instant, sleep, timeout};
use bytes::{Buf, BytesMut};
use core::future::{Future, poll_fn};
use core::net::{Ipv4Addr, SocketAddr};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;
use martlet_proto::PublishRef;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, PoisonError};

/// How long a connection may take to accept its last bytes.
const LINGER: Duration = Duration::from_secs(1);

/// How much is read at once, and how much may wait to be written before more is asked for.
const BUFFER: usize = 64 * 1024;

/// A [`Broker`] that listens. Dropping it closes the listener and all connections, soon.
#[derive(Debug)]
pub struct Server {
    shared: Arc<SharedServer>,
    local_addr: SocketAddr,
    /// The task that accepts connections, while there is one.
    listening: Option<Listening>,
}

#[derive(Debug)]
struct Listening {
    task: JoinHandle<()>,
    orders: watch::Sender<Order>,
    streams: mpsc::UnboundedSender<BoxedStream>,
}

type BoxedStream = Pin<Box<dyn ByteStream>>;

/// What a client's bytes come and go by.
trait ByteStream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> ByteStream for S {}

impl core::fmt::Debug for dyn ByteStream {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Stream")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Listen,
    Shutdown,
    Kill,
}

#[derive(Debug)]
struct SharedServer {
    state: Mutex<ServerState>,
    epoch: Instant,
    /// The earliest deadline may have changed.
    rescheduled: Notify,
}

#[derive(Debug)]
struct ServerState {
    broker: Broker,
    /// Wakes the task of a connection.
    wakers: BTreeMap<ConnectionId, Arc<Notify>>,
    /// Connections that are to be closed when their output is written.
    closing: BTreeSet<ConnectionId>,
    deadline: Option<Duration>,
    /// How much the broker's clock is ahead of tokio's.
    advanced: Duration,
}

impl Server {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// The operating system's error.
    pub async fn start(config: BrokerConfig) -> Result<Self> {
        Self::bind((Ipv4Addr::LOCALHOST, 0).into(), config).await
    }

    /// Listens on this address.
    ///
    /// # Errors
    /// The operating system's error; most likely that the address is in use.
    pub async fn bind(address: SocketAddr, config: BrokerConfig) -> Result<Self> {
        let state = ServerState {
            broker: Broker::new(config),
            wakers: BTreeMap::new(),
            closing: BTreeSet::new(),
            deadline: None,
            advanced: Duration::ZERO,
        };
        let (epoch, rescheduled) = (Instant::now(), Notify::new());
        let shared = Arc::new(SharedServer {
            state: Mutex::new(state),
            epoch,
            rescheduled,
        });
        let mut server = Self {
            shared,
            local_addr: address,
            listening: None,
        };
        server.revive().await?;
        Ok(server)
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where it listens, as `mqtt://host:port`.
    pub fn uri(&self) -> String {
        format!("mqtt://{}", self.local_addr)
    }

    /// Serves a client on a stream that was opened elsewhere, until one of both ends it: an end of
    /// [`::tokio::io::duplex`], or what is left when TLS was taken off a socket. It ends with the
    /// server's own connections, and is dropped at once when the server [is killed](Self::kill)
    /// already.
    pub fn serve(&self, stream: impl AsyncRead + AsyncWrite + Send + 'static) {
        if let Some(listening) = &self.listening {
            // The task runs until it gets an order to end.
            let _ = listening.streams.send(Box::pin(stream));
        }
    }

    /// The broker's events since the last call, if it [records](BrokerConfig::record_events) them.
    pub fn events(&self) -> Vec<BrokerEvent> {
        self.shared
            .run(|state, _| core::iter::from_fn(|| state.broker.poll_event()).collect())
    }

    /// The broker's counts.
    pub fn statistics(&self) -> Statistics {
        self.shared.run(|state, _| state.broker.statistics())
    }

    /// Whether a client of this identifier is connected.
    pub fn is_connected(&self, client_identifier: &str) -> bool {
        let act = |state: &mut ServerState, _| state.broker.connection_of(client_identifier);
        self.shared.run(act).is_some()
    }

    /// Whether there is a session of this client identifier, connected or not.
    pub fn has_session(&self, client_identifier: &str) -> bool {
        self.shared
            .run(|state, _| state.broker.has_session(client_identifier))
    }

    /// Publishes a message as the broker itself, with the QoS and the RETAIN flag of `publish`; its
    /// packet identifier is not used. Returns whether any client has subscribed to it.
    pub fn publish(&self, publish: PublishRef<'_>) -> bool {
        self.shared
            .run(|state, now| state.broker.publish(now, publish))
    }

    /// Cuts the connection of a client without a word. Returns whether it was connected.
    pub fn cut_client(&self, client_identifier: &str) -> bool {
        self.shared.run(|state, now| {
            let connection = state.broker.connection_of(client_identifier);
            if let Some(connection) = connection {
                state.broker.drop_connection(now, connection);
            }
            connection.is_some()
        })
    }

    /// Changes how the broker behaves from now on. The limits that a client got in its CONNACK hold
    /// until it connects again.
    pub fn configure(&self, config: BrokerConfig) {
        self.shared.run(|state, _| state.broker.configure(config));
    }

    /// Lets this time pass for the broker at once, besides the time of tokio's clock.
    pub fn advance(&self, by: Duration) {
        self.shared.run(|state, now| {
            state.advanced = state.advanced.saturating_add(by);
            state.broker.handle_timeout(now.saturating_add(by));
        });
        self.shared.rescheduled.notify_one();
    }

    /// Ends the listener and all connections without a word, as a crash does, and forgets or keeps
    /// the rest. When it returns all sockets are closed.
    pub async fn kill(&mut self, memory: Memory) {
        self.end(Order::Kill).await;
        self.shared
            .run(|state, now| state.broker.restart(now, memory));
    }

    /// Listens again after [`kill`](Self::kill), on the same address. Does nothing when it listens
    /// already.
    ///
    /// # Errors
    /// The operating system's error; most likely that the address is in use by now.
    pub async fn revive(&mut self) -> Result<()> {
        if self.listening.is_none() {
            let listener = TcpListener::bind(self.local_addr).await?;
            self.local_addr = listener.local_addr()?;
            let (orders, received) = watch::channel(Order::Listen);
            let (streams, served) = mpsc::unbounded_channel();
            let task = ::tokio::spawn(listen(self.shared.clone(), listener, served, received));
            self.listening = Some(Listening {
                task,
                orders,
                streams,
            });
        }
        Ok(())
    }

    /// Sends a DISCONNECT to all clients (*server shutting down*), and closes everything when it
    /// is sent.
    pub async fn shutdown(mut self) {
        self.end(Order::Shutdown).await;
    }

    async fn end(&mut self, order: Order) {
        if let Some(listening) = self.listening.take() {
            // The task runs until it gets this order, and then ends by itself.
            let _ = listening.orders.send(order);
            let _ = listening.task.await;
        }
    }
}

impl SharedServer {
    /// Runs `act` with the broker, then wakes the connections that have something to do.
    fn run<R>(&self, act: impl FnOnce(&mut ServerState, Duration) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let now = self.epoch.elapsed().saturating_add(state.advanced);
        let result = act(state, now);
        while let Some(id) = state.broker.poll_close() {
            state.closing.insert(id);
            state.wake(id);
        }
        while let Some(id) = state.broker.poll_ready() {
            state.wake(id);
        }
        let deadline = state.broker.poll_timeout();
        if deadline != state.deadline {
            state.deadline = deadline;
            self.rescheduled.notify_one();
        }
        result
    }
}

impl ServerState {
    fn wake(&self, id: ConnectionId) {
        if let Some(waker) = self.wakers.get(&id) {
            waker.notify_one();
        }
    }
}

/// Accepts connections and keeps time until there is another order.
async fn listen(
    shared: Arc<SharedServer>,
    listener: TcpListener,
    mut streams: mpsc::UnboundedReceiver<BoxedStream>,
    mut orders: watch::Receiver<Order>,
) {
    let mut connections = JoinSet::new();
    let order = loop {
        let deadline = shared.run(|state, now| {
            let deadline = state.broker.poll_timeout()?;
            Some(deadline.saturating_sub(now))
        });
        let due = async {
            match deadline {
                Some(after) => sleep(after).await,
                None => core::future::pending().await,
            }
        };
        ::tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    // A packet should not wait for the acknowledgement of the one before.
                    let _ = socket.set_nodelay(true);
                    connections.spawn(serve(shared.clone(), socket));
                }
                // Such as too many open files: a connection that ends may help.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(stream) = streams.recv() => {
                connections.spawn(serve(shared.clone(), stream));
            }
            () = due => shared.run(|state, now| state.broker.handle_timeout(now)),
            () = shared.rescheduled.notified() => {}
            Some(_) = connections.join_next() => {}
            changed = orders.changed() => match changed {
                Ok(()) => break *orders.borrow(),
                Err(_) => break Order::Kill,
            },
        }
    };
    drop(listener);
    if order == Order::Shutdown {
        shared.run(|state, now| state.broker.shutdown(now));
        while connections.join_next().await.is_some() {}
    }
    connections.shutdown().await;
    shared.run(|state, _| {
        state.wakers.clear();
        state.closing.clear();
    });
}

/// Serves one connection until one of both sides ends it.
async fn serve(shared: Arc<SharedServer>, stream: impl AsyncRead + AsyncWrite + Send) {
    let waker = Arc::new(Notify::new());
    let id = shared.run(|state, now| {
        let id = state.broker.handle_open(now);
        state.wakers.insert(id, waker.clone());
        id
    });
    let _ = exchange(&shared, pin!(stream), id, &waker).await;
    shared.run(|state, now| {
        state.broker.handle_close(now, id);
        state.wakers.remove(&id);
        state.closing.remove(&id);
    });
}

async fn exchange<S: AsyncRead + AsyncWrite>(
    shared: &SharedServer,
    mut stream: Pin<&mut S>,
    id: ConnectionId,
    waker: &Notify,
) -> Result<()> {
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut flushed = true;
    loop {
        let closing = shared.run(|state, now| {
            state.broker.handle_input(now, id, &mut input);
            while output.len() < BUFFER && state.broker.poll_transmit(now, id, &mut output) > 0 {}
            state.closing.contains(&id)
        });
        if closing {
            let last = async {
                stream.write_all_buf(&mut output).await?;
                stream.shutdown().await
            };
            return timeout(LINGER, last).await?;
        }
        // When there was that much the broker may have more.
        let full = output.len() >= BUFFER;
        let mut woken = pin!(waker.notified());
        poll_fn(|cx| {
            flushed &= output.is_empty();
            let written = poll_write(stream.as_mut(), cx, &mut output, &mut flushed)?;
            let read = poll_read(stream.as_mut(), cx, &mut input)?;
            if read || (full && written) || woken.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok::<_, Error>(()));
            }
            Poll::Pending
        })
        .await?;
    }
}

/// Reads what there is, up to a bound, and returns whether that was anything. The other side's end
/// of the stream is an error here.
fn poll_read(
    mut stream: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
    input: &mut BytesMut,
) -> Result<bool> {
    input.reserve(BUFFER);
    match pin!(stream.read_buf(input)).poll(cx)? {
        Poll::Ready(0) => Err(ErrorKind::UnexpectedEof.into()),
        Poll::Ready(_) => Ok(true),
        Poll::Pending => Ok(false),
    }
}

/// Writes what the stream takes now, and returns whether that was anything.
fn poll_write(
    mut stream: Pin<&mut impl AsyncWrite>,
    cx: &mut Context<'_>,
    output: &mut BytesMut,
    flushed: &mut bool,
) -> Result<bool> {
    let before = output.len();
    while !output.is_empty() {
        match stream.as_mut().poll_write(cx, output)? {
            Poll::Ready(0) => return Err(ErrorKind::WriteZero.into()),
            Poll::Ready(written) => output.advance(written),
            Poll::Pending => break,
        }
    }
    if !*flushed {
        *flushed = stream.poll_flush(cx)?.is_ready() && output.is_empty();
    }
    Ok(output.len() < before)
}

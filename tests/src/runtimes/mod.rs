//! What every adapter must do: one body of tests, compiled once for each of them by
//! [`runtime_tests!`](crate::runtime_tests!).
//!
//! The server has its own thread and runtime, so that the client is alone on the runtime under
//! test.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing, its parts too"
)]
#![expect(missing_docs, reason = "a test's name says what it holds")]

mod adapter;
mod hostile;
mod kit;
mod transcript;
mod transports;

pub use adapter::Adapter;
pub use hostile::*;
pub use kit::*;
pub use transports::*;

use crate::certificates::Directory;
use crate::server::{Setup, TestServer};
use adapter::{ALL_QOS, until};
use martlet_broker::{BrokerConfig, BrokerEvent, Ending, Memory};
use martlet_client::Reconnect;
use martlet_client::{
    Client, ClientEvent, ConnectError, ConnectionError, Endpoint, QoS,
    runtime::{Address, Network, Runtime, SocketOptions, Streams, Timer},
    session::TransportErrorKind,
};
use martlet_proto::{ConnectReasonCode, DisconnectReasonCode};
use std::future::{Future, IntoFuture, poll_fn};
use std::io;
use std::net::ToSocketAddrs;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use transcript::transcribed;

/// Makes a `#[test]` of each function of [`runtimes`](self) for this [`Adapter`].
#[macro_export]
macro_rules! runtime_tests {
    ($adapter:ty) => {
        $crate::runtime_tests! { $adapter =>
            connects
            a_name_is_looked_up
            a_connection_that_is_rejected_is_told
            publishes_one_after_the_other
            publishes_concurrently
            subscribes_and_receives
            reconnects_and_subscribes_again
            disconnect_lets_everything_be_acknowledged
            the_last_handle_ends_the_driver
            a_dropped_connect_ends_the_attempt
            the_server_is_told_of_the_end
            streams_of_ones_own
            a_driver_that_is_not_send
            a_timer_can_be_set_again
            the_transcript_is_the_same
        }
    };
    ($adapter:ty => $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                $crate::runtimes::run::<$adapter>($crate::runtimes::$name::<$adapter>());
            }
        )*
    };
}

/// Much longer than any of this takes: what hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test on the adapter's runtime.
pub fn run<A: Adapter>(test: impl Future<Output = ()>) {
    A::block_on(in_time::<A::Runtime>(test));
}

/// Fails when the test takes too long, by the runtime's timer.
pub async fn in_time<R: Runtime + Default>(test: impl Future<Output = ()>) {
    let mut test = pin!(test);
    let mut timer = R::default().timer();
    timer.reset(PATIENCE);
    poll_fn(|cx| match test.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => timer
            .poll_expired(cx)
            .map(|()| panic!("this takes too long")),
    })
    .await;
}

// ---- the tests

pub async fn connects<A: Adapter>() {
    let broker = TestServer::start(Setup::tcp()).await;
    let client = A::connect(&broker.uri()).await.unwrap();
    assert!(client.connection().is_some());
    client.ping().await.unwrap();
    client.disconnect().await;
    assert!(client.connection().is_none());
}

pub async fn a_name_is_looked_up<A: Adapter>() {
    let broker = TestServer::start(Setup::tcp()).await;
    let client = A::connect(&broker.uri_by_name()).await.unwrap();
    client.disconnect().await;
}

pub async fn a_connection_that_is_rejected_is_told<A: Adapter>() {
    let broker = TestServer::start(Setup::tcp()).await;
    broker.kill(Memory::Lost).await;
    match A::connect(&broker.uri()).await {
        Err(ConnectError::Connection(ConnectionError::Transport(error))) => {
            assert_eq!(error.kind(), TransportErrorKind::Connect);
        }
        other => panic!("{other:?}"),
    }
    let reject = Some(ConnectReasonCode::NotAuthorized);
    let broker =
        TestServer::start(Setup::tcp().broker(BrokerConfig::default().reject(reject))).await;
    match A::connect(&broker.uri()).await {
        Err(ConnectError::Connection(ConnectionError::Rejected(rejection))) => {
            assert_eq!(rejection.reason, ConnectReasonCode::NotAuthorized);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        A::connect("mqtt//").await,
        Err(ConnectError::Uri(_))
    ));
}

pub async fn publishes_one_after_the_other<A: Adapter>() {
    let broker = TestServer::start(recording()).await;
    let client = A::connect(&broker.uri()).await.unwrap();
    for (n, qos) in ALL_QOS.into_iter().cycle().take(30).enumerate() {
        client.publish("a", n.to_string()).qos(qos).await.unwrap();
    }
    client.disconnect().await;
    let expected: Vec<_> = ALL_QOS.into_iter().cycle().take(30).enumerate().collect();
    let accepted = accepted(&broker).await;
    assert_eq!(accepted, expected);
}

pub async fn publishes_concurrently<A: Adapter>() {
    let broker = TestServer::start(recording()).await;
    let client = A::connect(&broker.uri()).await.unwrap();
    let (zero, one, two) = tokio::join!(
        client.publish("a", "0").qos(QoS::AtMostOnce).into_future(),
        client.publish("a", "1").qos(QoS::AtLeastOnce).into_future(),
        client.publish("a", "2").qos(QoS::ExactlyOnce).into_future(),
    );
    for acknowledged in [zero, one, two] {
        acknowledged.unwrap();
    }
    // More than fits into a window or a socket's buffer, each of them awaited only when all are on
    // their way.
    let mut receipts = Vec::new();
    for n in 3..3000 {
        let message = client.publish("a", n.to_string()).qos(ALL_QOS[n % 3]);
        receipts.push(message.enqueue().await.unwrap());
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    client.disconnect().await;
    let mut accepted = accepted(&broker).await;
    accepted.sort_unstable_by_key(|(n, _)| *n);
    let expected: Vec<_> = (0..3000).map(|n| (n, ALL_QOS[n % 3])).collect();
    assert_eq!(accepted, expected);
}

pub async fn subscribes_and_receives<A: Adapter>() {
    let broker = TestServer::start(Setup::tcp()).await;
    let client = A::connect(&broker.uri()).await.unwrap();
    let mut plus = client.subscribe("a/+").qos(QoS::ExactlyOnce).await.unwrap();
    let mut one = client.subscribe("b/1").qos(QoS::AtLeastOnce).await.unwrap();
    for qos in ALL_QOS {
        client.publish("a/1", "to plus").qos(qos).await.unwrap();
        let message = plus.next().await.unwrap();
        assert_eq!(
            (message.topic(), message.text(), message.qos()),
            ("a/1", Some("to plus"), qos)
        );
    }
    // Larger than any buffer on the way.
    let large = vec![b'x'; 3_000_000];
    client
        .publish("b/1", large.clone())
        .qos(QoS::AtLeastOnce)
        .await
        .unwrap();
    assert_eq!(one.next().await.unwrap().payload(), large);
    assert!(plus.try_next().is_none());
    assert!(one.next_timeout(Duration::from_millis(1)).await.is_err());
    one.unsubscribe().await.unwrap();
    client.disconnect().await;
    assert!(plus.next().await.is_none());
}

pub async fn reconnects_and_subscribes_again<A: Adapter>() {
    let broker = TestServer::start(Setup::tcp()).await;
    let builder = Client::builder(broker.uri()).reconnect(
        Reconnect::default()
            .initial(Duration::from_millis(10))
            .max(Duration::from_millis(50)),
    );
    let client = A::connect_with(builder).await.unwrap();
    let mut messages = client.subscribe("a").qos(QoS::AtLeastOnce).await.unwrap();
    let mut events = client.events();
    broker.kill(Memory::Lost).await;
    until(&mut events, |event| {
        matches!(
            event,
            ClientEvent::Disconnected {
                retry_in: Some(_),
                ..
            }
        )
    })
    .await;
    // At least one attempt fails.
    until(&mut events, |event| {
        matches!(
            event,
            ClientEvent::Disconnected {
                retry_in: Some(_),
                ..
            }
        )
    })
    .await;
    let receipt = client
        .publish("b", "queued")
        .qos(QoS::AtLeastOnce)
        .enqueue()
        .await
        .unwrap();
    assert!(client.connection().is_none());
    broker.revive().await;
    until(&mut events, |event| {
        matches!(event, ClientEvent::Resubscribed(_))
    })
    .await;
    receipt.await.unwrap();
    client
        .publish("a", "after")
        .qos(QoS::AtLeastOnce)
        .await
        .unwrap();
    assert_eq!(messages.next().await.unwrap().text(), Some("after"));
    client.disconnect().await;
}

pub async fn disconnect_lets_everything_be_acknowledged<A: Adapter>() {
    let broker = TestServer::start(recording()).await;
    let client = A::connect(&broker.uri()).await.unwrap();
    for n in 0..500 {
        drop(
            client
                .publish("a", n.to_string())
                .qos(ALL_QOS[n % 3])
                .enqueue()
                .await
                .unwrap(),
        );
    }
    client.disconnect().await;
    // QoS 0 overtakes what waits for the window.
    let mut accepted = accepted(&broker).await;
    accepted.sort_unstable_by_key(|(n, _)| *n);
    assert_eq!(
        accepted,
        (0..500).map(|n| (n, ALL_QOS[n % 3])).collect::<Vec<_>>()
    );
}

pub async fn the_last_handle_ends_the_driver<A: Adapter>() {
    let broker = TestServer::start(recording()).await;
    let (client, driver) = Client::builder(broker.uri())
        .build(A::Runtime::default())
        .unwrap();
    let ended = A::spawn(driver);
    client.connected().await.unwrap();
    drop(
        client
            .publish("a", "0")
            .qos(QoS::AtLeastOnce)
            .enqueue()
            .await
            .unwrap(),
    );
    let other = client.clone();
    drop(client);
    other.ping().await.unwrap();
    drop(other);
    assert_eq!(ended.await, ConnectionError::ClosedHere);
    // The driver has waited for the server's end of the connection.
    let events = broker.events().await;
    assert!(events.iter().any(|event| matches!(
        event,
        BrokerEvent::Accepted {
            client_identifier: Some(_),
            ..
        }
    )));
    let goodbye = Ending::Client(DisconnectReasonCode::NormalDisconnection);
    assert!(events.iter().any(
        |event| matches!(event, BrokerEvent::Disconnected { ending, .. } if *ending == goodbye)
    ));
}

pub async fn a_dropped_connect_ends_the_attempt<A: Adapter>() {
    // It takes connections, and never says a word.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("mqtt://{}", listener.local_addr().unwrap());
    let (client, driver) = Client::builder(&uri).build(A::Runtime::default()).unwrap();
    let ended = A::spawn(driver);
    {
        let mut connected = pin!(client.connected());
        poll_fn(|cx| {
            assert!(connected.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }
    drop(client);
    assert_eq!(ended.await, ConnectionError::ClosedHere);
}

/// It sees the end of what the client says while the client still listens, so that it need not be
/// waited for in vain.
pub async fn the_server_is_told_of_the_end<A: Adapter>() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("mqtt://{}", listener.local_addr().unwrap());
    let directory = Directory::new();
    let path = directory.path().join("mqtt.sock");
    let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let (local_done, mut ended) = mpsc::unbounded_channel();
    let tcp_done = local_done.clone();
    let tcp = std::thread::spawn(move || {
        tcp_done.send(listens_after_the_end(listener.accept().unwrap().0))
    });
    let local = std::thread::spawn(move || {
        local_done.send(listens_after_the_end(unix.accept().unwrap().0))
    });
    for uri in [uri, format!("mqtt+unix://{}", path.display())] {
        A::connect_with(Client::builder(&uri))
            .await
            .unwrap()
            .disconnect()
            .await;
    }
    assert_eq!(
        (ended.recv().await, ended.recv().await),
        (Some(true), Some(true))
    );
    for thread in [tcp, local] {
        thread.join().unwrap().unwrap();
    }
}

/// Accepts a client, reads until it ends its side, and returns whether it can still be written to.
fn listens_after_the_end(mut socket: impl io::Read + io::Write) -> bool {
    assert!(socket.read(&mut [0; 1024]).unwrap() > 0);
    socket.write_all(b"\x20\x03\x00\x00\x00").unwrap();
    io::copy(&mut socket, &mut io::sink()).unwrap();
    // A socket that is gone answers the first with a reset, which the second finds.
    (0..2).all(|_| socket.write_all(b"\xd0\x00").is_ok())
}

pub async fn streams_of_ones_own<A: Adapter>() {
    let broker = TestServer::start(Setup::tcp()).await;
    let open = |endpoint| open::<A>(endpoint);
    let streams = Streams::new(A::Runtime::default(), open);
    let (client, driver) = Client::builder(broker.uri()).build(streams).unwrap();
    tokio::join!(driver, async {
        client
            .publish("a", "b")
            .qos(QoS::ExactlyOnce)
            .await
            .unwrap();
        client.disconnect().await;
    });
}

/// The driver asks nobody to be `Send`: it can be polled by the task that uses the client.
pub async fn a_driver_that_is_not_send<A: Adapter>() {
    let broker = TestServer::start(Setup::tcp()).await;
    let opened = Rc::new(std::cell::Cell::new(0));
    let open = |endpoint| {
        let opened = Rc::clone(&opened);
        async move {
            opened.set(opened.get() + 1);
            let socket = open::<A>(endpoint).await?;
            Ok(Local {
                socket,
                _opened: opened,
            })
        }
    };
    let streams = Streams::new(A::Runtime::default(), open);
    let (client, driver) = Client::builder(broker.uri()).build(streams).unwrap();
    tokio::join!(driver, async {
        let mut messages = client.subscribe("a").qos(QoS::AtLeastOnce).await.unwrap();
        client
            .publish("a", "b")
            .qos(QoS::AtLeastOnce)
            .await
            .unwrap();
        assert_eq!(messages.next().await.unwrap().text(), Some("b"));
        client.disconnect().await;
    });
    assert_eq!(opened.get(), 1);
}

pub async fn a_timer_can_be_set_again<A: Adapter>() {
    let runtime = A::Runtime::default();
    let (clock, mut timer) = (runtime.clock(), runtime.timer());
    let pending = |timer: &mut <A::Runtime as Runtime>::Timer, cx: &mut Context<'_>| {
        assert!(timer.poll_expired(cx).is_pending());
    };
    poll_fn(|cx| {
        pending(&mut timer, cx);
        timer.reset(PATIENCE);
        pending(&mut timer, cx);
        // The longest that there is.
        timer.reset(Duration::from_secs(24 * 3600));
        pending(&mut timer, cx);
        Poll::Ready(())
    })
    .await;
    // Again and again: earlier than it was, and after it has fired.
    for _ in 0..3 {
        let at = clock.now() + Duration::from_millis(5);
        timer.reset(Duration::from_millis(5));
        poll_fn(|cx| timer.poll_expired(cx)).await;
        assert!(clock.now() >= at, "it fired early");
    }
    // No time has passed at once.
    timer.reset(Duration::ZERO);
    poll_fn(|cx| timer.poll_expired(cx)).await;
    timer.reset(PATIENCE);
    poll_fn(|cx| {
        pending(&mut timer, cx);
        Poll::Ready(())
    })
    .await;
}

/// Nothing that a server sees may depend on the runtime: `transcript.txt` is what each of them has
/// to say, byte for byte.
pub async fn the_transcript_is_the_same<A: Adapter>() {
    let broker = TestServer::start(Setup::tcp()).await;
    let builder = |name: &str| Client::builder(broker.uri()).client_identifier(name);
    let (mut subscriber, mut receives) = transcribed::<A>(builder("subscriber")).await;
    let (mut publisher, mut sends) = transcribed::<A>(builder("publisher")).await;
    let mut messages = subscriber
        .subscribe_all([("a", QoS::ExactlyOnce)])
        .await
        .unwrap();
    for qos in ALL_QOS {
        publisher.publish("a", "b").qos(qos).await.unwrap();
        assert_eq!(messages.next().await.unwrap().qos(), qos);
        // The next message does not leave before this one is acknowledged.
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => receives.until("out PUBACK").await,
            QoS::ExactlyOnce => receives.until("out PUBCOMP").await,
        }
    }
    messages.unsubscribe().await.unwrap();
    for client in [&mut publisher, &mut subscriber] {
        client.ping().await.unwrap();
        client.disconnect().await;
    }
    let transcript = format!(
        "# publisher\n{}# subscriber\n{}",
        sends.bytes(),
        receives.bytes()
    );
    let expected = include_str!("transcript.txt");
    for (line, (said, expected)) in transcript.lines().zip(expected.lines()).enumerate() {
        assert_eq!(said, expected, "line {} of transcript.txt", line + 1);
    }
    assert_eq!(transcript, expected);
}

// ---- their parts

fn recording() -> Setup {
    Setup::tcp().broker(BrokerConfig::default().record_events(true))
}

/// The messages that the broker has accepted, each of them a number, with their QoS.
async fn accepted(broker: &TestServer) -> Vec<(usize, QoS)> {
    let events = broker.events().await.into_iter();
    let accepted = events.filter_map(|event| match event {
        BrokerEvent::Accepted {
            client_identifier: Some(_),
            publish,
        } => {
            let number = std::str::from_utf8(&publish.payload_bytes())
                .unwrap()
                .parse()
                .unwrap();
            Some((number, publish.delivery().qos()))
        }
        _ => None,
    });
    accepted.collect()
}

/// A socket of the runtime.
async fn open<A: Adapter>(endpoint: Endpoint) -> io::Result<<A::Runtime as Runtime>::Socket> {
    let address = (endpoint.host(), endpoint.port())
        .to_socket_addrs()?
        .next()
        .ok_or(io::ErrorKind::NotFound)?;
    A::Runtime::default()
        .connect(&Address::Tcp(address), &SocketOptions::default())
        .await
}

/// A socket that stays on its thread.
struct Local<S> {
    socket: S,
    _opened: Rc<std::cell::Cell<u32>>,
}

impl<S: futures_io::AsyncRead + Unpin> futures_io::AsyncRead for Local<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: futures_io::AsyncWrite + Unpin> futures_io::AsyncWrite for Local<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}

//! Streams of the user's own, which may do anything within the driver's poll.

use crate::scripted::{builder, encode, qos1, settle, soon, try_publish, with_broker};
use bytes::BytesMut;
use martlet_broker::BrokerConfig;
use martlet_client::session::QueueLimits;
use martlet_client::{
    Client, ClientEvent, ConnectionError, Endpoint, QoS, TopicName, Version, proto::Packet,
    session::OutgoingPublish,
};
use martlet_proto::{ConnAck, ConnectReasonCode, Disconnect, DisconnectReasonCode};
use martlet_tokio::runtime::TokioStreams;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

type Hook = Box<dyn FnMut(&mut Context<'_>, &mut DuplexStream) -> Poll<io::Result<()>> + Send>;

/// A stream in memory that does something of its own when it is written to or flushed; what it says
/// instead of `Ok` is the answer.
struct Odd {
    stream: DuplexStream,
    write: Hook,
    flush: Hook,
}

fn even() -> Hook {
    Box::new(|_, _| Poll::Ready(Ok(())))
}

impl AsyncRead for Odd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Odd {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        std::task::ready!((this.write)(cx, &mut this.stream))?;
        Pin::new(&mut this.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        std::task::ready!((this.flush)(cx, &mut this.stream))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A runtime with one stream, and the server's end of it.
fn once(
    write: Hook,
    flush: Hook,
) -> (
    TokioStreams<impl Fn(Endpoint) -> std::future::Ready<io::Result<Odd>>>,
    DuplexStream,
) {
    let (stream, far) = tokio::io::duplex(64 * 1024);
    let odd = Mutex::new(Some(Odd {
        stream,
        write,
        flush,
    }));
    let open = move |_| {
        let odd = odd.lock().unwrap().take();
        std::future::ready(odd.ok_or_else(|| io::ErrorKind::ConnectionRefused.into()))
    };
    (TokioStreams::new(open), far)
}

fn bytes(packet: impl Into<Packet>) -> BytesMut {
    let mut bytes = BytesMut::new();
    packet.into().encode(Version::V5, &mut bytes).unwrap();
    bytes
}

fn message(payload: &'static str) -> OutgoingPublish {
    OutgoingPublish::new(TopicName::new("a").unwrap(), payload)
}

fn connack() -> BytesMut {
    bytes(ConnAck::new(ConnectReasonCode::Success))
}

/// The server says that another client has taken our session over, and closes. Our write fails
/// before we have read that: its words used to be lost, and we came back to throw the other one
/// out.
#[tokio::test(start_paused = true)]
async fn a_failed_write_does_not_hide_the_last_words() {
    let far = Arc::new(Mutex::new(None::<DuplexStream>));
    let write = {
        let far = far.clone();
        move |cx: &mut Context<'_>, _: &mut DuplexStream| match far.lock().unwrap().take() {
            None => Poll::Ready(Ok(())),
            Some(mut far) => {
                // Between the driver's read and its write.
                let words = bytes(Disconnect::new(DisconnectReasonCode::SessionTakenOver));
                assert!(Pin::new(&mut far).poll_write(cx, &words).is_ready());
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
        }
    };
    let (runtime, mut server) = once(Box::new(write), even());
    let (client, driver) = builder().build(runtime).unwrap();
    let driver = tokio::spawn(driver);
    server.write_all(&connack()).await.unwrap();
    soon(client.connected()).await.unwrap();
    settle().await;
    *far.lock().unwrap() = Some(server);
    let mut events = client.events();
    client.publish("a", "b").await.unwrap();
    match soon(events.next()).await {
        Some(ClientEvent::Disconnected {
            reason: ConnectionError::DisconnectedByPeer(disconnect),
            retry_in: None,
        }) => {
            assert_eq!(disconnect.reason, DisconnectReasonCode::SessionTakenOver);
        }
        other => panic!("{other:?}"),
    }
    drop(client);
    soon(driver).await.unwrap();
}

/// The driver was polled by one task and then by another. A publish that came while the second one
/// polled it used to wake the first one only: the message lay there until something else happened.
#[tokio::test(start_paused = true)]
async fn who_polls_the_driver_now_is_woken() {
    let client = Arc::new(OnceLock::<Client>::new());
    let flushes = Arc::new(AtomicUsize::new(usize::MAX));
    let flush = {
        let (client, flushes) = (client.clone(), flushes.clone());
        move |_: &mut Context<'_>, _: &mut DuplexStream| {
            match flushes.fetch_add(1, Ordering::Relaxed) {
                // The turn has written; the next one has nothing to do but to flush …
                0 => return Poll::Pending,
                // … and that is when somebody publishes.
                1 => drop(try_publish(client.get().unwrap(), message("second")).unwrap()),
                _ => {}
            }
            Poll::Ready(Ok(()))
        }
    };
    flushes.store(1000, Ordering::Relaxed);
    let (runtime, mut server) = once(even(), Box::new(flush));
    let (handle, mut driver) = builder().build(runtime).unwrap();
    let handle = client.get_or_init(|| handle);
    server.write_all(&connack()).await.unwrap();
    let connected = async {
        handle.connected().await.unwrap();
        settle().await;
    };
    // Here, beside the application …
    tokio::select! {
        error = &mut driver => panic!("{error}"),
        () = connected => {}
    }
    // … and then on a task, because the socket has something that wants an answer.
    let mut wanted = BytesMut::new();
    encode(&mut wanted, Version::V5, "a", b"first", qos1(1), &[]);
    server.write_all(&wanted).await.unwrap();
    flushes.store(0, Ordering::Relaxed);
    tokio::spawn(driver);
    let mut input = BytesMut::new();
    let both = async {
        while !input.windows(6).any(|window| window == b"second") {
            server.read_buf(&mut input).await.unwrap();
        }
    };
    let start = tokio::time::Instant::now();
    soon(both).await;
    assert_eq!(
        start.elapsed(),
        std::time::Duration::ZERO,
        "and not only when the keep alive wakes it"
    );
}

/// Clients on many threads, publishing, subscribing, dropping: whatever is lost on the way shows as
/// a hang.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_lose_no_wake_up() {
    let (_server, client) = with_broker(BrokerConfig::default(), |builder| {
        builder.queue(QueueLimits::default().messages(10))
    })
    .await;
    let mut tasks = Vec::new();
    for task in 0..8 {
        let client = client.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0..50 {
                let topic = format!("t/{task}/{n}");
                let mut stream = client
                    .subscribe(&*topic)
                    .qos(QoS::AtLeastOnce)
                    .await
                    .unwrap();
                let others = client.subscribe("shared").await.unwrap();
                for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                    client.publish(&*topic, "x").qos(qos).await.unwrap();
                    drop(
                        client
                            .publish("shared", "y")
                            .qos(qos)
                            .enqueue()
                            .await
                            .unwrap(),
                    );
                    stream.next().await.unwrap();
                }
                client.flush().await.unwrap();
                client.ping().await.unwrap();
                if n % 2 == 0 {
                    stream.unsubscribe().await.unwrap();
                } else {
                    drop(stream);
                }
                drop(others);
            }
        }));
    }
    for task in tasks {
        soon(task).await.unwrap();
    }
    soon(client.disconnect()).await;
}

/// A server sent faster than the application was polled: tokio's current-thread runtime polls what
/// `block_on` was given after some dozens of tasks, the driver was a task and was polled again and
/// again, and the stream dropped what it had no room for, though its reader did nothing but read.
#[tokio::test]
async fn a_reader_that_only_reads_misses_nothing() {
    const MESSAGES: usize = 100_000;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("mqtt://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut socket, _) = listener.accept().unwrap();
        let mut packet = [0; 1024];
        let _ = socket.read(&mut packet).unwrap();
        socket.write_all(b"\x20\x02\x00\x00").unwrap();
        let _ = socket.read(&mut packet).unwrap();
        socket
            .write_all(&[0x90, 3, packet[2], packet[3], 0])
            .unwrap();
        let mut message = vec![0x30, 0x84, 0x02, 0, 2, b'a', b'b'];
        message.resize(message.len() + 256, b'x');
        let block = message.repeat(100);
        (0..MESSAGES / 100).for_each(|_| socket.write_all(&block).unwrap());
        let _ = socket.read(&mut packet);
    });
    let builder = Client::builder(&uri).version(Version::V3_1_1);
    let client = martlet_tokio::connect_with(builder).await.unwrap();
    let mut events = client.events();
    let mut messages = client.subscribe("ab").await.unwrap();
    for n in 0..MESSAGES {
        tokio::select! {
            biased;
            message = messages.next() => assert!(message.is_some(), "{n}"),
            event = events.next() => {
                assert!(!matches!(event, Some(ClientEvent::InboundDropped(_))), "at {n}: {event:?}");
            }
        }
    }
    client.disconnect().await;
    server.join().unwrap();
}

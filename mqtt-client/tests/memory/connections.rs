//! What a connection over plain TCP holds, and how often its payloads are copied: counted, on a
//! runtime of the test's own whose socket sees what it is given.

use bytes::{Buf, Bytes, BytesMut};
use futures_core::Stream;
use futures_io::{AsyncRead, AsyncWrite};
use martlet_client::proto::{
    Ack, ConnAck, ConnectReasonCode, Packet, PubAckReasonCode, PublishRef,
};
use martlet_client::session::{Config, Event, OutgoingPublish};
use martlet_client::{
    Client, ConnectionState, Driver, Message, QoS, SocketOptions, TopicName, Version,
    embedded::{Embedded, EmbeddedEvent, LinkConfig, Target},
    runtime::{Runtime, Timer},
    session::{Instant, Session, TransportError},
};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, Ready, ready};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

const LARGE: usize = 64 * 1024;

/// What the socket's other end has for us, a chunk for each read, and what it was given.
#[derive(Default)]
struct Wire {
    input: VecDeque<Bytes>,
    output: BytesMut,
    /// Where the payload lies that the application has published, and how many bytes were written
    /// from there.
    payload: Option<Range<usize>>,
    from_payload: usize,
    /// How many bytes the socket takes at a time.
    takes: usize,
}

/// A runtime with one socket, where time stands still.
#[derive(Clone)]
struct Still(Rc<RefCell<Wire>>);

struct Never;

impl Timer for Never {
    fn reset(&mut self, _: Instant) {}

    fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Runtime for Still {
    type Socket = Self;
    type Dial = Ready<Result<Self, TransportError>>;
    type Timer = Never;

    fn now() -> Instant {
        Instant::EPOCH
    }

    fn dial(&self, _: &Target, _: &SocketOptions) -> Self::Dial {
        ready(Ok(self.clone()))
    }

    fn timer(&self) -> Never {
        Never
    }
}

impl AsyncRead for Still {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
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

impl Wire {
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

impl AsyncWrite for Still {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(self.0.borrow_mut().write(bytes)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
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

fn encoded(packet: impl Into<Packet>) -> Bytes {
    let mut bytes = BytesMut::new();
    packet.into().encode(Version::V5, &mut bytes).unwrap();
    bytes.freeze()
}

fn connack() -> Bytes {
    encoded(ConnAck::new(ConnectReasonCode::Success))
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

struct World {
    client: Client,
    driver: Driver<Still>,
    wire: Rc<RefCell<Wire>>,
}

impl World {
    /// Connected. What is counted belongs to the caller's thread, so the server says its part
    /// before.
    fn new() -> Self {
        let mut wire = Wire {
            takes: usize::MAX,
            ..Wire::default()
        };
        wire.input.reserve(1024);
        wire.output.reserve(1024 * 1024);
        wire.input.push_back(connack());
        let wire = Rc::new(RefCell::new(wire));
        let (client, driver) = Client::builder("mqtt://localhost")
            .build(Still(Rc::clone(&wire)))
            .unwrap();
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

/// The goal is 4 KiB for a connection with nothing to do, on top of the task that drives it.
#[test]
fn an_idle_connection_takes_less_than_4_kib_of_heap() {
    // What a thread has once, such as the buffer that it reads into.
    drop(World::new());
    let mut world = None;
    let wire = 1024 * 1024
        + 1024 * size_of::<Bytes>()
        + size_of::<RefCell<Wire>>()
        + 2 * size_of::<usize>();
    let all = allocation_counter::measure(|| world = Some(World::new())).bytes_current;
    let fresh = all - i64::try_from(wire).unwrap();
    let world = world.as_mut().unwrap();
    // A message each way, and then nothing.
    let answer = encoded(Packet::PubAck(Ack::new(
        1.try_into().unwrap(),
        PubAckReasonCode::Success,
    )));
    let message = message(100);
    let used = allocation_counter::measure(|| {
        {
            let publish = world.client.publish("a/b", "21.5").qos(QoS::AtLeastOnce);
            let mut publish = pin!(publish.into_future());
            assert!(poll(&mut publish).is_pending());
            for _ in 0..4 {
                assert!(poll(&mut world.driver).is_pending());
            }
            world.wire.borrow_mut().input.push_back(answer.clone());
            for _ in 0..4 {
                assert!(poll(&mut world.driver).is_pending());
            }
            assert!(poll(&mut publish).is_ready());
        }
        let mut messages = world.client.catch_all().unwrap();
        world.wire.borrow_mut().input.push_back(message.clone());
        for _ in 0..4 {
            assert!(poll(&mut world.driver).is_pending());
        }
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(
            Pin::new(&mut messages).poll_next(&mut cx),
            Poll::Ready(Some(_))
        ));
        for _ in 0..4 {
            assert!(poll(&mut world.driver).is_pending());
        }
    })
    .bytes_current;
    println!("the driver itself: {} bytes", size_of::<Driver<Still>>());
    println!(
        "on the heap: {fresh} bytes when connected, {} after a message each way",
        fresh + used
    );
    assert!(fresh <= 4096, "{fresh}");
    // The tables of messages are there from the first one on.
    assert!(fresh + used <= 5 * 1024 + 512, "{used} more");
}

fn message(size: usize) -> Bytes {
    let topic = TopicName::new("a/b").unwrap();
    let mut bytes = BytesMut::new();
    PublishRef::new(&topic, &vec![7; size])
        .encode(Version::V5, &mut bytes)
        .unwrap();
    bytes.freeze()
}

/// The socket is given the application's own bytes, whole or in pieces.
#[test]
fn a_large_payload_is_not_copied_on_its_way_out() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for takes in [usize::MAX, 10_000, 1] {
            let mut world = World::new();
            let payload = Bytes::from(vec![7; LARGE]);
            let begin = payload.as_ptr() as usize;
            {
                let mut wire = world.wire.borrow_mut();
                wire.payload = Some(begin..begin + LARGE);
                wire.takes = takes;
                wire.output.clear();
            }
            let publish = world.client.publish("a/b", payload.clone()).qos(qos);
            let mut publish = pin!(publish.into_future());
            let counted = allocation_counter::measure(|| {
                let _ = poll(&mut publish);
                for _ in 0..100_000 {
                    assert!(poll(&mut world.driver).is_pending());
                    if world.wire.borrow().from_payload == LARGE {
                        break;
                    }
                }
            });
            let wire = world.wire.borrow();
            assert_eq!(wire.from_payload, LARGE, "{qos}, {takes} at a time");
            assert!(
                wire.output.len() < 64,
                "the rest is the head of the packet: {:?}",
                wire.output
            );
            assert!(
                counted.bytes_total < 8 * 1024,
                "{qos}, {takes} at a time: {}",
                counted.bytes_total
            );
        }
    }
}

#[test]
fn an_embedded_client_is_given_the_payload_itself() {
    let now = Instant::EPOCH;
    let mut client = Embedded::new(
        Session::new(Config::default()),
        LinkConfig::new("mqtt://localhost".parse().unwrap()),
    );
    assert!(client.poll_dial(now).is_some());
    client.handle_dialed(now);
    let n = client.poll_wire(now).unwrap().remaining();
    client.handle_written(now, n);
    client.handle_wire(now, &connack());
    assert!(matches!(client.poll_event(), Some(EmbeddedEvent::Link(_))));
    assert!(matches!(
        client.poll_event(),
        Some(EmbeddedEvent::Session(Event::Connected(_)))
    ));
    let payload = Bytes::from(vec![7; LARGE]);
    client
        .session_mut()
        .publish(
            now,
            OutgoingPublish::new("a/b".try_into().unwrap(), payload.clone()),
        )
        .unwrap();
    let output = client.poll_wire(now).unwrap();
    let mut slices = [IoSlice::new(&[]); 4];
    let used = output.chunks_vectored(&mut slices);
    assert_eq!(used, 2, "the head of the packet and the payload");
    assert_eq!(
        (slices[1].as_ptr(), slices[1].len()),
        (payload.as_ptr(), LARGE)
    );
}

/// What is allocated has room for each message once: the copy out of the buffer that the thread
/// reads into. That they are not moved within it is held where it is made, in `src/intake.rs`.
#[test]
fn a_large_payload_is_copied_once_on_its_way_in() {
    const MESSAGES: usize = 16;
    for read in [usize::MAX, 64 * 1024, 16 * 1024, 1460] {
        let mut world = World::new();
        let mut messages = world.client.catch_all().unwrap();
        let mut stream = BytesMut::new();
        (0..MESSAGES).for_each(|_| stream.extend_from_slice(&message(LARGE)));
        let mut stream = stream.freeze();
        let mut received: Vec<Message> = Vec::with_capacity(MESSAGES);
        let size = stream.len() / MESSAGES;
        {
            let mut wire = world.wire.borrow_mut();
            while !stream.is_empty() {
                let chunk = stream.split_to(read.min(stream.len()));
                wire.input.push_back(chunk);
            }
        }
        let counted = allocation_counter::measure(|| {
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..10_000 {
                assert!(poll(&mut world.driver).is_pending());
                while let Poll::Ready(Some(message)) = Pin::new(&mut messages).poll_next(&mut cx) {
                    received.push(message);
                }
                if received.len() == MESSAGES {
                    break;
                }
            }
        });
        assert_eq!(received.len(), MESSAGES, "in reads of {read}");
        assert!(
            received
                .iter()
                .all(|message| message.payload() == [7; LARGE])
        );
        let each = usize::try_from(counted.bytes_total).unwrap() / MESSAGES;
        println!("reads of {read}: {each} bytes allocated for a message of {size}");
        assert!(
            each < size + size / 8,
            "reads of {read}: {each} bytes for a message of {size}"
        );
    }
}

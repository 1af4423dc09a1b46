//! What a hostile server costs a client with `Config::small()`: never more than 16 KiB, whatever it sends, however often
//! it comes back, and although the messages are not taken.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod clock;

use bytes::{Buf, Bytes, BytesMut};
use clock::TestClock;
use embedded_io_async::{ErrorType, Read, Write};
use martlet_embedded::proto::*;
use martlet_embedded::session::{Config, Event, OutgoingPublish, SubscribeRequest};
use martlet_embedded::{Backoff, Client, Network};
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::num::NonZeroU16;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What the heap may hold: with the client itself 16 KiB where words have 32 bits, as on a microcontroller. Pointers and
/// lengths of 64 bits take more.
const CEILING: u64 = match size_of::<usize>() {
    4 => 16 * 1024 - size_of::<Client<Server, TestClock>>() as u64,
    _ => 20 * 1024,
};
const V5: Version = Version::V5;

/// A server that sends its script in pieces, and reads nothing.
struct Inner {
    /// What it sends on each connection, the last one on all that follow.
    connections: Vec<Bytes>,
    input: Bytes,
    chunk: usize,
    /// It reads this much of a connection, and then nothing.
    reads: usize,
    read: usize,
    dials: usize,
    has_moved: bool,
}

#[derive(Clone)]
struct Server(Rc<RefCell<Inner>>);

impl Network for Server {
    type Reader<'a> = Server;
    type Writer<'a> = Server;
    type Error = &'static str;

    async fn dial(&mut self) -> Result<(), &'static str> {
        let inner = &mut *self.0.borrow_mut();
        let n = inner.dials.min(inner.connections.len() - 1);
        inner.input = inner.connections[n].clone();
        inner.dials += 1;
        inner.read = 0;
        Ok(())
    }

    fn split(&mut self) -> (Server, Server) {
        (self.clone(), self.clone())
    }

    fn hang_up(&mut self) {}
}

impl ErrorType for Server {
    type Error = Infallible;
}

impl Read for Server {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        poll_fn(|_| {
            let inner = &mut *self.0.borrow_mut();
            let n = buffer.len().min(inner.input.len()).min(inner.chunk);
            if n == 0 {
                return Poll::Pending;
            }
            inner.input.copy_to_slice(&mut buffer[..n]);
            inner.has_moved = true;
            Poll::Ready(Ok(n))
        })
        .await
    }
}

impl Write for Server {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        poll_fn(|_| {
            let inner = &mut *self.0.borrow_mut();
            let n = bytes.len().min(inner.reads - inner.read);
            inner.read += n;
            inner.has_moved |= n > 0;
            if n == 0 {
                Poll::Pending
            } else {
                Poll::Ready(Ok(n))
            }
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

fn id(n: u16) -> PacketIdentifier {
    NonZeroU16::new(n).unwrap()
}

fn encoded(packet: impl Into<Packet>) -> Bytes {
    let mut bytes = BytesMut::new();
    packet.into().encode(V5, &mut bytes).unwrap();
    bytes.freeze()
}

fn publish(qos: QoS, n: u16, size: usize) -> Bytes {
    let (packet_identifier, duplicate) = (id(n), n % 3 == 0);
    let delivery = match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce {
            packet_identifier,
            duplicate,
        },
        QoS::ExactlyOnce => Delivery::ExactlyOnce {
            packet_identifier,
            duplicate,
        },
    };
    let mut bytes = BytesMut::new();
    let topic = TopicName::new("a").unwrap();
    PublishRef::new(&topic, &vec![0; size])
        .with_delivery(delivery)
        .encode(V5, &mut bytes)
        .unwrap();
    bytes.freeze()
}

/// The shortest pairs are the dearest.
fn pairs() -> UserProperties {
    std::iter::repeat_with(|| (Utf8String::default(), Utf8String::default()))
        .take(90)
        .collect()
}

fn acked<R>(n: u16, reason: R) -> Ack<R> {
    let properties = AckProperties {
        reason_string: None,
        user_properties: pairs(),
    };
    Ack::new(id(n), reason).with_properties(properties)
}

fn accept() -> Bytes {
    encoded(ConnAck::new(ConnectReasonCode::Success))
}

fn accept_with_words() -> Bytes {
    let mut accept = ConnAck::new(ConnectReasonCode::Success);
    accept.properties.user_properties = pairs();
    encoded(accept)
}

/// What the server may say at any time.
fn phrases() -> Vec<(&'static str, Bytes)> {
    let mut phrases = vec![
        ("CONNACK", accept_with_words()),
        ("PINGRESP", encoded(Packet::PingResp)),
        (
            "half of a packet",
            publish(QoS::AtLeastOnce, 1, 490).slice(..480),
        ),
        ("an oversized packet", publish(QoS::AtLeastOnce, 1, 60_000)),
        ("not MQTT", Bytes::from_static(&[0xff; 64])),
    ];
    for n in [1, 2, 3, 40, 41, 42, 43, 44, 45, 46, 47, 48] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for size in [0, 1, 100, 450] {
                phrases.push(("PUBLISH", publish(qos, n, size)));
            }
        }
        phrases.push((
            "PUBREL",
            encoded(Packet::PubRel(Ack::new(id(n), PubRelReasonCode::Success))),
        ));
    }
    for n in 1..=12 {
        phrases.push((
            "PUBACK",
            encoded(Packet::PubAck(acked(n, PubAckReasonCode::NotAuthorized))),
        ));
        phrases.push((
            "PUBREC",
            encoded(Packet::PubRec(acked(n, PubAckReasonCode::Success))),
        ));
        phrases.push((
            "PUBCOMP",
            encoded(Packet::PubComp(acked(n, PubRelReasonCode::Success))),
        ));
        let suback = SubAck {
            packet_identifier: id(n),
            reason_string: None,
            user_properties: pairs(),
            reasons: vec![SubAckReasonCode::GrantedQos1],
        };
        phrases.push(("SUBACK", encoded(suback)));
    }
    let mut disconnect = Disconnect::new(DisconnectReasonCode::ServerBusy);
    disconnect.user_properties = pairs();
    phrases.push(("DISCONNECT", encoded(disconnect)));
    phrases
}

/// What a client costs whose server says this, for an hour.
fn cost(connections: Vec<Bytes>, chunk: usize, reads: usize) -> u64 {
    let clock = TestClock::default();
    let inner = Inner {
        connections,
        input: Bytes::new(),
        chunk,
        dials: 0,
        reads,
        read: 0,
        has_moved: false,
    };
    let server = Server(Rc::new(RefCell::new(inner)));
    let network = server.clone();
    let payload = Bytes::from_static(&[0; 200]);
    let cost = allocation_counter::measure(|| {
        let config = Config::small().client_identifier("device".try_into().unwrap());
        let mut client = Client::new(config, network, clock.clone(), Backoff::new(1));
        for n in 0..12 {
            let qos = if n % 2 == 0 {
                QoS::AtLeastOnce
            } else {
                QoS::ExactlyOnce
            };
            let message = OutgoingPublish::new("a/b".try_into().unwrap(), payload.clone()).qos(qos);
            let _ = client.enqueue(message);
        }
        // The messages pile up while it waits for what does not come.
        let filters = [SubscribeFilter::new(
            "a".try_into().unwrap(),
            QoS::ExactlyOnce,
        )];
        let request = SubscribeRequest::new(filters).offline_timeout(Duration::MAX);
        let mut waits = pin!(async {
            let _ = client.subscribe(request).await;
            let _ = client
                .unsubscribe(martlet_embedded::session::UnsubscribeRequest::new(["b"
                    .try_into()
                    .unwrap()]))
                .await;
            std::future::pending::<()>().await;
        });
        let until = Duration::from_secs(3600);
        for turn in 0.. {
            assert!(turn < 3_000_000, "it goes round and round");
            clock.begin_turn();
            server.0.borrow_mut().has_moved = false;
            assert!(
                waits
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
            if !server.0.borrow().has_moved {
                let Some(next) = clock.wake_at().filter(|&at| at < until) else {
                    break;
                };
                clock.advance_to(next);
            }
        }
    });
    cost.bytes_max
}

fn joined<'a>(packets: impl IntoIterator<Item = &'a Bytes>) -> Bytes {
    packets
        .into_iter()
        .flat_map(|bytes| bytes.iter().copied())
        .collect()
}

#[test]
fn each_packet_over_and_over_on_every_connection() {
    let mut dearest = ("", 0);
    for (name, packet) in phrases() {
        let often = joined(
            [&accept()]
                .into_iter()
                .chain(std::iter::repeat_n(&packet, 100)),
        );
        for chunk in [7, 256] {
            let cost = cost(vec![often.clone()], chunk, usize::MAX).max(cost(
                vec![often.clone()],
                chunk,
                100,
            ));
            assert!(cost <= CEILING, "{name}: {cost} bytes");
            if cost > dearest.1 {
                dearest = (name, cost);
            }
        }
    }
    println!("{dearest:?}");
}

#[test]
fn floods_of_messages_with_identifiers_of_their_own() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for size in [0, 1, 50, 250, 450] {
            let flood: Vec<_> = (100..400).map(|n| publish(qos, n, size)).collect();
            let connection = joined([&accept()].into_iter().chain(&flood));
            let cost = cost(vec![connection], 256, usize::MAX);
            assert!(cost <= CEILING, "{qos:?} of {size} bytes: {cost}");
        }
    }
}

/// Conversations at random, with a new one on each of the first connections.
#[test]
fn anything_in_any_order() {
    let phrases = phrases();
    let mut most = 0;
    for seed in 0..300_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % below
        };
        let connections = (0..20).map(|_| {
            let first = if random(8) == 0 {
                accept_with_words()
            } else {
                accept()
            };
            let rest: Vec<_> = (0..random(60))
                .map(|_| phrases[random(phrases.len())].1.clone())
                .collect();
            joined([&first].into_iter().chain(&rest))
        });
        let connections = connections.collect();
        let (chunk, reads) = (
            1 + random(256),
            if random(2) == 0 {
                usize::MAX
            } else {
                random(1000)
            },
        );
        let cost = cost(connections, chunk, reads);
        most = most.max(cost);
        assert!(cost <= CEILING, "seed {seed}: {cost} bytes");
    }
    println!("at most {most} bytes");
}

/// The ceiling is one: with the usual bounds it is passed.
#[test]
fn the_usual_bounds_are_not_small() {
    let flood: Vec<_> = (100..400)
        .map(|n| publish(QoS::AtLeastOnce, n, 1000))
        .collect();
    let connection = joined([&accept()].into_iter().chain(&flood));
    let inner = Inner {
        connections: vec![connection],
        input: Bytes::new(),
        chunk: 256,
        dials: 0,
        reads: usize::MAX,
        read: 0,
        has_moved: false,
    };
    let server = Server(Rc::new(RefCell::new(inner)));
    let cost = allocation_counter::measure(|| {
        let mut client = Client::new(
            Config::default(),
            server,
            TestClock::default(),
            Backoff::new(1),
        );
        let mut kept: Vec<Event> = Vec::new();
        for _ in 0..3000 {
            let mut next = pin!(client.next_event());
            if let Poll::Ready(Ok(event)) =
                next.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                kept.push(event);
            }
        }
    });
    assert!(cost.bytes_max > 10 * CEILING, "{}", cost.bytes_max);
}

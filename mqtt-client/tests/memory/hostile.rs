//! What a hostile server costs in memory, counted for every packet type that a server can send,
//! through a client of which nobody reads the events, the receipts and the answers: at most four
//! times the maximum packet size plus the stated bounds.

use bytes::{Buf, Bytes, BytesMut};
use futures_io::{AsyncRead, AsyncWrite};
use martlet_client::proto::*;
use martlet_client::session::InboundLimits;
use martlet_client::session::{Event, OutgoingPublish};
use martlet_client::{
    Client, ConnectionState, Driver, SocketOptions, StreamLimits,
    embedded::Target,
    runtime::{Runtime, Timer},
    session::{Config, ConnectOptions, Instant, SendBuffer, Session, TransportError},
};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, Ready, ready};
use std::io;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The largest packet that the client takes.
const LARGEST: usize = 512 << 10;

/// Diagnostics in the session's events and in its error, in one reader's events, in receipts, and
/// in answers, of 1 MiB each; buffers of the socket and the output's block beside them.
const BOUNDS: usize = 5 * (1 << 20) + (1 << 19);

/// Messages that nobody takes: the bound of their bytes, which buffers that grew may exceed twice
/// over.
const HARD_BYTES: usize = 2 << 20;

/// How often the server does it.
const TIMES: u16 = 8;

thread_local! {
    static NOW: Cell<Instant> = const { Cell::new(Instant::EPOCH) };
}

#[derive(Default)]
struct Wire {
    input: VecDeque<Bytes>,
}

#[derive(Clone)]
struct World(Rc<RefCell<Wire>>);

#[derive(Default)]
struct Alarm(Option<Instant>);

impl Timer for Alarm {
    fn reset(&mut self, at: Instant) {
        self.0 = Some(at);
    }

    fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
        match self.0 {
            Some(at) if at <= NOW.get() => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

impl Runtime for World {
    type Socket = Self;
    type Dial = Ready<Result<Self, TransportError>>;
    type Timer = Alarm;

    fn now() -> Instant {
        NOW.get()
    }

    fn dial(&self, _: &Target, _: &SocketOptions) -> Self::Dial {
        ready(Ok(self.clone()))
    }

    fn timer(&self) -> Alarm {
        Alarm::default()
    }
}

impl AsyncRead for World {
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

impl AsyncWrite for World {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn encoded(version: Version, packet: impl Into<Packet>) -> Bytes {
    let mut bytes = BytesMut::new();
    packet.into().encode(version, &mut bytes).unwrap();
    bytes.freeze()
}

fn text(size: usize) -> Option<Utf8String> {
    Utf8String::new("x".repeat(size)).ok()
}

/// As many pairs as there is room for: the shortest are the dearest.
fn pairs() -> UserProperties {
    let pair = || (Utf8String::default(), Utf8String::default());
    std::iter::repeat_with(pair)
        .take((LARGEST - 70_000) / 5)
        .collect()
}

fn ack<R>(n: u16, reason: R, user_properties: &UserProperties) -> Ack<R> {
    let properties = AckProperties {
        reason_string: text(60_000),
        user_properties: user_properties.clone(),
    };
    Ack::new(NonZeroU16::new(n).unwrap(), reason).with_properties(properties)
}

fn accept(version: Version) -> Bytes {
    encoded(version, ConnAck::new(ConnectReasonCode::Success))
}

fn publish(version: Version, qos: QoS, n: u16, size: usize) -> Bytes {
    let (packet_identifier, duplicate) = (NonZeroU16::new(n).unwrap(), false);
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
    let (topic, payload) = (TopicName::new("a").unwrap(), vec![0; size]);
    let mut bytes = BytesMut::new();
    PublishRef::new(&topic, &payload)
        .with_delivery(delivery)
        .encode(version, &mut bytes)
        .unwrap();
    bytes.freeze()
}

/// What the server does.
struct Attack {
    name: &'static str,
    version: Version,
    /// What it sends on each connection, the CONNACK included; a new connection for each.
    connections: Vec<Vec<Bytes>>,
    /// Whether a stream that acknowledges on arrival waits for its SUBACK, which does not come.
    has_pending_stream: bool,
    /// What it may cost.
    most: usize,
}

fn attacks() -> Vec<Attack> {
    let v5 = Version::V5;
    let most = 4 * LARGEST + BOUNDS;
    let pairs = pairs();
    let mut attacks = Vec::new();
    let mut often = |name, make: &dyn Fn(u16) -> Bytes| {
        let packets = (1..=TIMES).map(make);
        let connection = std::iter::once(accept(v5)).chain(packets).collect();
        attacks.push(Attack {
            name,
            version: v5,
            connections: vec![connection],
            has_pending_stream: false,
            most,
        });
    };
    // The client has published and subscribed: these are its packet identifiers.
    often("PUBACK", &|n| {
        encoded(
            v5,
            Packet::PubAck(ack(n, PubAckReasonCode::QuotaExceeded, &pairs)),
        )
    });
    often("PUBREC", &|n| {
        encoded(
            v5,
            Packet::PubRec(ack(n + TIMES, PubAckReasonCode::QuotaExceeded, &pairs)),
        )
    });
    often("PUBACK of success", &|n| {
        encoded(
            v5,
            Packet::PubAck(ack(n, PubAckReasonCode::Success, &pairs)),
        )
    });
    often("PUBREL", &|n| {
        encoded(
            v5,
            Packet::PubRel(ack(n, PubRelReasonCode::Success, &pairs)),
        )
    });
    often("PUBCOMP", &|n| {
        encoded(
            v5,
            Packet::PubComp(ack(n + TIMES, PubRelReasonCode::Success, &pairs)),
        )
    });
    often("SUBACK", &|n| {
        let packet_identifier = NonZeroU16::new(n + 2 * TIMES).unwrap();
        let reasons = vec![SubAckReasonCode::GrantedQos0];
        let user_properties = pairs.clone();
        encoded(
            v5,
            SubAck {
                packet_identifier,
                reason_string: text(60_000),
                user_properties,
                reasons,
            },
        )
    });
    often("UNSUBACK", &|n| {
        let packet_identifier = NonZeroU16::new(n + 3 * TIMES).unwrap();
        let reasons = vec![UnsubAckReasonCode::Success];
        let user_properties = pairs.clone();
        encoded(
            v5,
            UnsubAck {
                packet_identifier,
                reason_string: text(60_000),
                user_properties,
                reasons,
            },
        )
    });
    let mut each = |name, version, make: &dyn Fn(u16) -> Vec<Bytes>| {
        let connections = (1..=TIMES).map(make).collect();
        attacks.push(Attack {
            name,
            version,
            connections,
            has_pending_stream: false,
            most,
        });
    };
    let first = |n: u16| n == 1;
    each("CONNACK", v5, &|_| {
        let mut connack = ConnAck::new(ConnectReasonCode::Success);
        connack.properties.user_properties = pairs.clone();
        connack.properties.reason_string = text(10_000);
        connack.properties.response_information = text(50_000);
        vec![
            encoded(v5, connack),
            encoded(v5, Disconnect::new(DisconnectReasonCode::ServerBusy)),
        ]
    });
    each("CONNACK that refuses", v5, &|n| {
        let mut connack = ConnAck::new(ConnectReasonCode::ServerBusy);
        connack.properties.user_properties = pairs.clone();
        connack.properties.reason_string = text(60_000);
        let disconnect = encoded(v5, Disconnect::new(DisconnectReasonCode::ServerBusy));
        if first(n) {
            vec![accept(v5), disconnect]
        } else {
            vec![encoded(v5, connack)]
        }
    });
    each("DISCONNECT", v5, &|_| {
        let mut disconnect = Disconnect::new(DisconnectReasonCode::ServerBusy);
        disconnect.user_properties = pairs.clone();
        disconnect.reason_string = text(60_000);
        vec![accept(v5), encoded(v5, disconnect)]
    });
    each("AUTH", v5, &|_| {
        let mut auth = Auth::new(AuthReasonCode::ContinueAuthentication);
        auth.authentication_method = text(10);
        auth.authentication_data = BinaryData::new(vec![0; 60_000]).ok();
        auth.user_properties = pairs.clone();
        vec![accept(v5), encoded(v5, auth)]
    });
    each("SUBACK with too many codes", v5, &|n| {
        let packet_identifier = NonZeroU16::new(2 * TIMES + 1).unwrap();
        let reasons = vec![SubAckReasonCode::GrantedQos0; LARGEST - 10];
        let user_properties = UserProperties::new();
        let _ = n;
        vec![
            accept(v5),
            encoded(
                v5,
                SubAck {
                    packet_identifier,
                    reason_string: None,
                    user_properties,
                    reasons,
                },
            ),
        ]
    });
    each("malformed PUBLISH", v5, &|_| {
        let mut bytes = BytesMut::from(&publish(v5, QoS::AtLeastOnce, 1, LARGEST - 100)[..]);
        bytes[6] = b'#';
        vec![accept(v5), bytes.freeze()]
    });
    for version in [Version::V3_1, Version::V3_1_1, v5] {
        each("PUBLISH above the maximum", version, &|n| {
            vec![
                accept(version),
                publish(version, QoS::AtLeastOnce, n, 2 * LARGEST),
            ]
        });
    }
    for (qos, name) in [
        (QoS::AtMostOnce, "PUBLISH of QoS 0"),
        (QoS::AtLeastOnce, "PUBLISH of QoS 1"),
        (QoS::ExactlyOnce, "PUBLISH of QoS 2"),
    ] {
        for (size, has_pending_stream) in [
            (LARGEST / 2 + 1000, false),
            (5000, false),
            (300, false),
            (LARGEST / 2 + 1000, true),
            (5000, true),
        ] {
            let times = if has_pending_stream { 20 } else { 2 };
            let messages = (1..60_000)
                .take(times * HARD_BYTES / size)
                .map(|n| publish(v5, qos, n, size));
            let connection = std::iter::once(accept(v5)).chain(messages).collect();
            // Messages have a table beside their bytes.
            let most = most + 2 * HARD_BYTES + (4 << 20);
            attacks.push(Attack {
                name,
                version: v5,
                connections: vec![connection],
                has_pending_stream,
                most,
            });
        }
    }
    attacks
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Some turns of the driver, while time goes on. Returns whether it goes on too.
fn run(driver: &mut Driver<World>, turns: usize) -> bool {
    for _ in 0..turns {
        if poll(driver).is_ready() {
            return false;
        }
    }
    true
}

fn inbound() -> InboundLimits {
    InboundLimits::default()
        .receive_maximum(10)
        .soft_bytes(HARD_BYTES / 2)
        .hard_bytes(HARD_BYTES)
}

fn client(version: Version) -> (Client, Driver<World>, Rc<RefCell<Wire>>) {
    let wire = Rc::new(RefCell::new(Wire::default()));
    let builder = Client::builder("mqtt://localhost")
        .version(version)
        .maximum_packet_size(LARGEST as u32)
        .client_identifier("me")
        .keep_alive(0)
        .inbound(inbound());
    let (client, driver) = builder.build(World(Rc::clone(&wire))).unwrap();
    (client, driver, wire)
}

/// The peak above what there was before.
fn cost_to_a_client(attack: &Attack) -> usize {
    let (client, mut driver, wire) = client(attack.version);
    let _unread_events = client.events();
    let mut unread = Vec::new();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for _ in 0..TIMES {
            unread.push(Box::pin(client.publish("a", "x").qos(qos).into_future()));
        }
    }
    let filters: Vec<String> = (0..TIMES).map(|n| format!("filter/{n}")).collect();
    let mut subscribing: Vec<_> = filters
        .iter()
        .map(|filter| Box::pin(client.subscribe(filter.as_str()).into_future()))
        .collect();
    let mut unsubscribing: Vec<_> = filters
        .iter()
        .map(|filter| Box::pin(client.unsubscribe(filter.as_str()).into_future()))
        .collect();
    assert!(unread.iter_mut().all(|publish| poll(publish).is_pending()));
    assert!(
        subscribing
            .iter_mut()
            .all(|subscribe| poll(subscribe).is_pending())
    );
    assert!(
        unsubscribing
            .iter_mut()
            .all(|unsubscribe| poll(unsubscribe).is_pending())
    );
    let mut pending = attack.has_pending_stream.then(|| {
        let limits = StreamLimits::default().bytes(HARD_BYTES);
        let subscribe = client.subscribe("a").limits(limits);
        Box::pin(subscribe.acknowledge_on_arrival().into_future())
    });
    assert!(
        pending
            .as_mut()
            .is_none_or(|stream| poll(stream).is_pending())
    );
    let cost = allocation_counter::measure(|| {
        for connection in &attack.connections {
            // The attempt that this connection is for.
            run(&mut driver, 3);
            let mut first = true;
            for packet in connection {
                wire.borrow_mut().input.push_back(packet.clone());
                if !run(&mut driver, 3 + packet.len() / 30_000) {
                    return;
                }
                if std::mem::take(&mut first) && matches!(attack.connections[0].len(), 1..) {
                    run(&mut driver, 3);
                }
            }
            if attack.connections.len() > 1 {
                NOW.set(NOW.get() + Duration::from_secs(100));
                run(&mut driver, 10);
                wire.borrow_mut().input.clear();
            }
        }
    });
    let connected = matches!(client.state(), ConnectionState::Connected(_));
    assert!(
        connected || attack.connections.len() > 1 || attack.name.contains("PUBLISH"),
        "{}",
        attack.name
    );
    usize::try_from(cost.bytes_max).unwrap()
}

/// The same for a session of which nobody reads the events.
fn cost_to_a_session(attack: &Attack) -> usize {
    let config = Config::default()
        .maximum_packet_size(LARGEST as u32)
        .client_identifier("me".try_into().unwrap())
        .keep_alive(0)
        .inbound(inbound());
    let mut session = Session::new(config);
    let now = Instant::EPOCH;
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for _ in 0..TIMES {
            let topic = TopicName::new("a").unwrap();
            session
                .publish(now, OutgoingPublish::new(topic, "x").qos(qos).key(Some(1)))
                .unwrap();
        }
    }
    let cost = allocation_counter::measure(|| {
        let mut out = SendBuffer::new();
        for connection in &attack.connections {
            session.handle_open(now, ConnectOptions::new(attack.version));
            let mut input = BytesMut::new();
            for packet in connection {
                for chunk in packet.chunks(64 * 1024) {
                    while session.poll_transmit(now, &mut out) > 0 {
                        let n = out.remaining();
                        out.advance(n);
                    }
                    if session.wants_input() {
                        input.extend_from_slice(chunk);
                        session.handle_input(now, &mut input);
                    }
                }
            }
            session.handle_close(now, martlet_client::ConnectionError::ClosedByPeer);
        }
    });
    assert!(matches!(session.poll_event(), Some(Event::Connected(_))));
    usize::try_from(cost.bytes_max).unwrap()
}

/// One DISCONNECT of 15.7 MiB cost 675 MiB; six, with events that nobody reads, 2.8 GiB.
#[test]
fn a_hostile_server_costs_at_most_four_packets_and_the_stated_bounds() {
    // What a thread has once.
    drop(client(Version::V5));
    println!(
        "{:34} {:>12} {:>12} {:>12}",
        "", "client", "session", "most"
    );
    let mut dearest = Vec::new();
    for attack in attacks() {
        let (client, session) = (cost_to_a_client(&attack), cost_to_a_session(&attack));
        let Attack {
            name,
            version,
            has_pending_stream,
            most,
            ..
        } = attack;
        println!(
            "{:34} {client:>12} {session:>12} {most:>12}",
            format!(
                "{name}, {version}{}",
                if has_pending_stream { ", pending" } else { "" }
            )
        );
        if client.max(session) > most {
            dearest.push((name, version, client, session, most));
        }
    }
    assert!(dearest.is_empty(), "{dearest:?}");
}

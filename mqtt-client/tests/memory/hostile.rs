//! What a hostile server costs in memory, counted for every packet type that a server can send,
//! through a client of which nobody reads the events, the receipts and the answers: at most four
//! times the maximum packet size plus the stated bounds.

use crate::wire::{self, InMemory, SharedWire, accept, encoded, pass, poll};
use bytes::{Buf, Bytes, BytesMut};
use martlet_client::proto::*;
use martlet_client::session::{Event, OutgoingPublish};
use martlet_client::{
    Client, ConnectionState, Driver, StreamLimits,
    session::{Config, ConnectOptions, InboundLimits, Instant, SendBuffer, Session},
};
use std::num::NonZeroU16;
use std::time::Duration;

/// The largest packet that the client takes.
const LARGEST: usize = 512 << 10;

/// Diagnostics in the session's events and in its error, in one reader's events, in receipts, and
/// in answers, of 1 MiB each; buffers of the socket and the output's block beside them.
const BOUNDS: usize = 5 * (1 << 20) + (1 << 19);

/// Messages that nobody takes: the bound of their bytes, which buffers that grew may exceed twice
/// over.
const HARD_BYTES: usize = 2 << 20;

const V5: Version = Version::V5;

/// How often the server does it.
const TIMES: u16 = 8;

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

/// What an attack may cost.
const MOST: usize = 4 * LARGEST + BOUNDS;

impl Attack {
    fn new(name: &'static str, version: Version, connections: Vec<Vec<Bytes>>) -> Self {
        Self {
            name,
            version,
            connections,
            has_pending_stream: false,
            most: MOST,
        }
    }

    /// Such packets, one after the other, on one connection.
    fn often(name: &'static str, packet: impl Fn(u16) -> Packet) -> Self {
        let packets = (1..=TIMES).map(|n| encoded(V5, packet(n)));
        let connection = std::iter::once(accept(V5)).chain(packets).collect();
        Self::new(name, V5, vec![connection])
    }

    /// A connection with such packets, again and again.
    fn each(name: &'static str, version: Version, packets: impl Fn(u16) -> Vec<Bytes>) -> Self {
        Self::new(name, version, (1..=TIMES).map(packets).collect())
    }
}

fn attacks() -> Vec<Attack> {
    let mut attacks = acknowledgements();
    attacks.extend(whole_connections());
    attacks.extend(packets_that_break_rules());
    attacks.extend(floods());
    attacks
}

/// Acknowledgements with all the diagnostics that have room. The client has published and
/// subscribed: these are its packet identifiers.
fn acknowledgements() -> Vec<Attack> {
    use PubAckReasonCode::QuotaExceeded;
    let pairs = pairs();
    vec![
        Attack::often("PUBACK", |n| Packet::PubAck(ack(n, QuotaExceeded, &pairs))),
        Attack::often("PUBREC", |n| {
            Packet::PubRec(ack(n + TIMES, QuotaExceeded, &pairs))
        }),
        Attack::often("PUBACK of success", |n| {
            Packet::PubAck(ack(n, PubAckReasonCode::Success, &pairs))
        }),
        Attack::often("PUBREL", |n| {
            Packet::PubRel(ack(n, PubRelReasonCode::Success, &pairs))
        }),
        Attack::often("PUBCOMP", |n| {
            Packet::PubComp(ack(n + TIMES, PubRelReasonCode::Success, &pairs))
        }),
        Attack::often("SUBACK", |n| {
            Packet::from(SubAck {
                packet_identifier: NonZeroU16::new(n + 2 * TIMES).unwrap(),
                reason_string: text(60_000),
                user_properties: pairs.clone(),
                reasons: vec![SubAckReasonCode::GrantedQos0],
            })
        }),
        Attack::often("UNSUBACK", |n| {
            Packet::from(UnsubAck {
                packet_identifier: NonZeroU16::new(n + 3 * TIMES).unwrap(),
                reason_string: text(60_000),
                user_properties: pairs.clone(),
                reasons: vec![UnsubAckReasonCode::Success],
            })
        }),
    ]
}

/// Packets that begin or end a connection, with all the diagnostics that have room.
fn whole_connections() -> Vec<Attack> {
    let pairs = pairs();
    let busy = encoded(V5, Disconnect::new(DisconnectReasonCode::ServerBusy));
    vec![
        Attack::each("CONNACK", V5, |_| {
            let mut connack = ConnAck::new(ConnectReasonCode::Success);
            connack.properties.user_properties = pairs.clone();
            connack.properties.reason_string = text(10_000);
            connack.properties.response_information = text(50_000);
            vec![encoded(V5, connack), busy.clone()]
        }),
        Attack::each("CONNACK that rejects", V5, |n| {
            if n == 1 {
                return vec![accept(V5), busy.clone()];
            }
            let mut connack = ConnAck::new(ConnectReasonCode::ServerBusy);
            connack.properties.user_properties = pairs.clone();
            connack.properties.reason_string = text(60_000);
            vec![encoded(V5, connack)]
        }),
        Attack::each("DISCONNECT", V5, |_| {
            let mut disconnect = Disconnect::new(DisconnectReasonCode::ServerBusy);
            disconnect.user_properties = pairs.clone();
            disconnect.reason_string = text(60_000);
            vec![accept(V5), encoded(V5, disconnect)]
        }),
        Attack::each("AUTH", V5, |_| {
            let mut auth = Auth::new(AuthReasonCode::ContinueAuthentication);
            auth.authentication_method = text(10);
            auth.authentication_data = BinaryData::new(vec![0; 60_000]).ok();
            auth.user_properties = pairs.clone();
            vec![accept(V5), encoded(V5, auth)]
        }),
    ]
}

/// Packets for which the client ends the connection.
fn packets_that_break_rules() -> Vec<Attack> {
    let suback = SubAck {
        packet_identifier: NonZeroU16::new(2 * TIMES + 1).unwrap(),
        reason_string: None,
        user_properties: UserProperties::new(),
        reasons: vec![SubAckReasonCode::GrantedQos0; LARGEST - 10],
    };
    let suback = encoded(V5, suback);
    let mut malformed = BytesMut::from(&publish(V5, QoS::AtLeastOnce, 1, LARGEST - 100)[..]);
    malformed[6] = b'#';
    let malformed = malformed.freeze();
    let mut attacks = vec![
        Attack::each("SUBACK with too many codes", V5, |_| {
            vec![accept(V5), suback.clone()]
        }),
        Attack::each("malformed PUBLISH", V5, |_| {
            vec![accept(V5), malformed.clone()]
        }),
    ];
    for version in [Version::V3_1, Version::V3_1_1, V5] {
        attacks.push(Attack::each("PUBLISH above the maximum", version, |n| {
            vec![
                accept(version),
                publish(version, QoS::AtLeastOnce, n, 2 * LARGEST),
            ]
        }));
    }
    attacks
}

/// Messages that nobody takes.
fn floods() -> Vec<Attack> {
    let mut attacks = Vec::new();
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
                .map(|n| publish(V5, qos, n, size));
            let connection = std::iter::once(accept(V5)).chain(messages).collect();
            attacks.push(Attack {
                has_pending_stream,
                // Messages have a table beside their bytes.
                most: MOST + 2 * HARD_BYTES + (4 << 20),
                ..Attack::new(name, V5, vec![connection])
            });
        }
    }
    attacks
}

/// Some turns of the driver, while time goes on. Returns whether it goes on too.
fn run(driver: &mut Driver<InMemory>, turns: usize) -> bool {
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

fn client(version: Version) -> (Client, Driver<InMemory>, SharedWire) {
    wire::client(
        Client::builder("mqtt://localhost")
            .version(version)
            .maximum_packet_size(LARGEST as u32)
            .client_identifier("me")
            .keep_alive(0)
            .inbound(inbound()),
    )
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
                pass(Duration::from_secs(100));
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

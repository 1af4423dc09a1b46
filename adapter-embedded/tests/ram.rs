//! What a session takes of RAM. `--nocapture` prints the table; on a target of 32 bits it is that of
//! `docs/microcontrollers.md`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use bytes::{Buf, Bytes, BytesMut};
use martlet_embedded::proto::*;
use martlet_embedded::session::*;

const NOW: Instant = Instant::EPOCH;

/// Bytes of heap that are still there after `work`, without what the payloads take.
fn held<T>(work: impl FnOnce() -> T) -> (T, i64) {
    let mut made = None;
    let cost = allocation_counter::measure(|| made = Some(work()));
    (made.unwrap(), cost.bytes_current)
}

fn drain(session: &mut Session) {
    let mut output = SendBuffer::new();
    while session.poll_transmit(NOW, &mut output) > 0 {
        let n = output.remaining();
        output.advance(n);
    }
    while session.poll_event().is_some() {}
}

fn answer(session: &mut Session, packet: impl Into<Packet>) {
    let mut input = BytesMut::new();
    packet.into().encode(Version::V5, &mut input).unwrap();
    session.handle_input(NOW, &mut input);
    drain(session);
}

fn connected() -> Session {
    let limits = QueueLimits::default();
    let mut session = Session::new(Config::small().max_in_flight(1000).queue(limits));
    session.handle_open(NOW, ConnectOptions::new(Version::V5));
    drain(&mut session);
    answer(&mut session, ConnAck::new(ConnectReasonCode::Success));
    session
}

/// A session with `n` subscriptions.
fn subscribed(n: u16) -> Session {
    let mut session = connected();
    for i in 0..n {
        let filter = SubscribeFilter::new(
            format!("sensors/{i:04}/set").try_into().unwrap(),
            QoS::AtLeastOnce,
        );
        session
            .subscribe(NOW, SubscribeRequest::new([filter]))
            .unwrap();
        drain(&mut session);
        // Identifiers rise while sixteen are free.
        for id in 1..=40 {
            let suback = SubAck {
                packet_identifier: PacketIdentifier::new(id).unwrap(),
                reason_string: None,
                user_properties: UserProperties::new(),
                reasons: vec![SubAckReasonCode::GrantedQos1],
            };
            answer(&mut session, suback);
        }
    }
    assert_eq!(session.subscriptions().count(), usize::from(n));
    session
}

/// A session that has published `n` messages, of a topic that it shares.
fn published(mut session: Session, n: u16, qos: QoS) -> Session {
    let topic = TopicName::new("sensors/7/temp").unwrap();
    for _ in 0..n {
        let message = OutgoingPublish::new(topic.clone(), Bytes::from_static(&[0; 20])).qos(qos);
        session.publish(NOW, message).unwrap();
        drain(&mut session);
    }
    session
}

/// A session that has received `n` messages, and taken none.
fn received(n: u16) -> (Session, Vec<Event>) {
    let mut session = Session::new(Config::default());
    session.handle_open(NOW, ConnectOptions::new(Version::V5));
    drain(&mut session);
    answer(&mut session, ConnAck::new(ConnectReasonCode::Success));
    let topic = TopicName::new("sensors/7/temp").unwrap();
    let mut events = Vec::with_capacity(n.into());
    for i in 1..=n {
        let packet_identifier = PacketIdentifier::new(i).unwrap();
        let delivery = Delivery::AtLeastOnce {
            packet_identifier,
            duplicate: false,
        };
        let mut input = BytesMut::new();
        PublishRef::new(&topic, &[0; 20])
            .with_delivery(delivery)
            .encode(Version::V5, &mut input)
            .unwrap();
        session.handle_input(NOW, &mut input);
        events.extend(session.poll_event());
    }
    (session, events)
}

/// What one more costs, on average.
fn each<T>(make: impl Fn(u16) -> T) -> i64 {
    let [few, many] = [8, 72].map(|n| held(|| make(n)).1);
    (many - few + 63) / 64
}

#[test]
fn what_a_session_takes_of_ram() {
    // What a thread has once.
    drop(subscribed(1));
    let offline = || Session::new(Config::small().queue(QueueLimits::default()));
    let rows = [
        ("a session, itself", size_of::<Session>() as i64, 1016),
        (
            "a new session, on the heap",
            held(|| Session::new(Config::small())).1,
            0,
        ),
        ("a connected session, on the heap", held(connected).1, 560),
        (
            "each subscription, with a topic filter of 16 bytes",
            each(subscribed),
            300,
        ),
        (
            "each message in flight, QoS 1",
            each(|n| published(connected(), n, QoS::AtLeastOnce)),
            350,
        ),
        (
            "each message in flight, QoS 2",
            each(|n| published(connected(), n, QoS::ExactlyOnce)),
            350,
        ),
        (
            "each message that waits to be sent",
            each(|n| published(offline(), n, QoS::AtLeastOnce)),
            300,
        ),
        (
            "each message that waits to be taken, of 41 bytes",
            each(received),
            350,
        ),
    ];
    for (what, bytes, most) in rows {
        println!("| {what} | {bytes} |");
        assert!(bytes <= most, "{what}: {bytes} bytes, at most {most}");
    }
}

use super::*;
use bytes::BytesMut;
use martlet_proto::{ConnAck, ConnectReasonCode, Delivery as Way, PacketIdentifier, PublishRef, Version};
use martlet_session::{Config, ConnectOptions, ConnectionError, Event, SendBuffer, Session};
use std::cell::Cell;
use std::num::NonZeroU16;

fn subscription(filter: &str) -> Subscription {
    Subscription::new(TopicFilter::new(filter).unwrap(), QoS::AtMostOnce)
}

/// A second stream's `no_local` used to take the first stream's own publishes from it.
#[test]
fn what_is_asked_for_serves_every_stream_of_a_filter() {
    let mut routes = Routes::default();
    let mut first = [Subscription { qos: QoS::ExactlyOnce, ..subscription("a/+") }];
    routes.add(&mut first, StreamOptions::default());
    let wanted = Subscription { no_local: true, retain_as_published: true, ..subscription("a/+") };
    let mut second = [wanted.clone()];
    routes.add(&mut second, StreamOptions::default());
    let expected = Subscription { no_local: false, qos: QoS::ExactlyOnce, ..wanted };
    assert_eq!(second, [expected]);
}

/// Streams that come and go beside one that stays use no identifiers up, and leave none behind.
#[test]
fn identifiers_are_bounded() {
    let mut routes = Routes::default();
    let (first, identifier) = routes.add(&mut [subscription("a")], StreamOptions::default());
    let (second, again) = routes.add(&mut [subscription("a")], StreamOptions::default());
    assert_eq!(again, identifier, "one filter, one identifier");
    routes.remove(second, &mut Vec::new());
    for n in 0..100 {
        let (key, _) = routes.add(&mut [subscription("a")], StreamOptions::default());
        routes.remove(key, &mut Vec::new());
        let both = &mut [subscription("a"), subscription(&format!("b{n}"))];
        let (key, _) = routes.add(both, StreamOptions::default());
        routes.remove(key, &mut Vec::new());
    }
    assert!(routes.identifiers.len() <= IDENTIFIERS, "{:?}", routes.identifiers);
    routes.remove(first, &mut Vec::new());
    assert!(routes.identifiers.is_empty() && routes.filters.is_empty());
}

/// A session with a server that has sent, and sends again, messages of QoS 1.
struct Resending(Session);

impl Resending {
    fn new() -> Self {
        let mut config = Config { clean_start: false, ..Config::default() };
        config.inbound.receive_maximum = NonZeroU16::MAX;
        Self(Session::new(config))
    }

    fn connect(&mut self) {
        let session = &mut self.0;
        session.handle_close(Instant::EPOCH, ConnectionError::ClosedByPeer);
        session.handle_open(Instant::EPOCH, ConnectOptions::new(Version::V5));
        let _ = session.poll_transmit(Instant::EPOCH, &mut SendBuffer::new());
        let mut bytes = BytesMut::new();
        let connack = ConnAck { session_present: true, ..ConnAck::new(ConnectReasonCode::Success) };
        martlet_proto::Packet::from(connack).encode(Version::V5, &mut bytes).unwrap();
        session.handle_input(Instant::EPOCH, &mut bytes);
        assert!(session.is_connected());
    }

    fn message(&mut self, id: u16, duplicate: bool) -> Delivery {
        let packet_identifier = PacketIdentifier::new(id).unwrap();
        let (topic, mut bytes) = (TopicName::new("a").unwrap(), BytesMut::new());
        PublishRef::new(&topic, &id.to_be_bytes())
            .with_delivery(Way::AtLeastOnce { packet_identifier, duplicate })
            .encode(Version::V5, &mut bytes)
            .unwrap();
        self.0.handle_input(Instant::EPOCH, &mut bytes);
        loop {
            if let Event::Message(delivery) = self.0.poll_event().unwrap() {
                return delivery;
            }
        }
    }
}

/// Whenever the server had sent one more message again, each queue was built anew: with 32,000 that nobody had taken, they
/// were moved 70 million times, under the lock.
#[test]
fn messages_that_come_again_cost_little_and_take_little_room() {
    const MESSAGES: u16 = 8_000;
    let (mut server, mut routes, mut wakers) = (Resending::new(), Routes::default(), Wakers::default());
    let (key, _) = routes.add(&mut [subscription("a")], StreamOptions::default());
    let looked = Cell::new(0);
    for round in 0..3 {
        server.connect();
        for id in 1..=MESSAGES {
            let delivery = server.message(id, round > 0);
            routes.deliver(delivery, Instant::EPOCH, false, &mut wakers);
            if server.0.poll_superseded() {
                assert!(round > 0);
                let session = &server.0;
                routes.supersede(1, |token| {
                    looked.set(looked.get() + 1);
                    session.is_superseded(token)
                });
            }
            while let Some((token, _)) = routes.poll_concluded() {
                server.0.acknowledge(token, martlet_proto::PubAckReasonCode::Success);
            }
            assert!(routes.known(key).queue.len() <= usize::from(MESSAGES) * 4 / 3 + FEW);
        }
    }
    assert!(looked.get() < 20 * usize::from(MESSAGES), "{looked:?}");
    // Taken is each once, also while some wait that are superseded.
    let (mut taken, cx) = (Vec::new(), &mut Context::from_waker(Waker::noop()));
    let is_superseded = |token: &AckToken| server.0.is_superseded(token);
    while let Poll::Ready(Some(queued)) = routes.poll_next(key, is_superseded, cx, &mut Vec::new()) {
        taken.push(u16::from_be_bytes(queued.message.payload().try_into().unwrap()));
    }
    assert_eq!(taken, (1..=MESSAGES).collect::<Vec<_>>());
}

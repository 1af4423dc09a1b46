//! A receiver that awaits its own QoS 1 publish while it is flooded never wedges: it takes no
//! message until the server has acknowledged what it published for the one before, its bounds are
//! small, its socket is full of what it has not taken, and yet each acknowledgement gets through.

use bytes::{Buf, BytesMut};
use core::num::NonZeroU16;
use core::time::Duration;
use martlet_broker::Broker;
use martlet_proto::{
    Delivery, PubAckReasonCode, PublishRef, QoS, SubscribeFilter, TopicFilter, TopicName,
    Utf8String, Version,
};
use martlet_session::drain::Drain;
use martlet_session::{
    Config, ConnectOptions, Event, InboundLimits, Instant, OutgoingPublish, ReceivedPublish,
    Session, SubscribeRequest,
};
use martlet_tests::linter::Linter;
use std::collections::VecDeque;

/// Nothing waits for a time.
const NOW: Duration = Duration::from_secs(1000);

/// How many messages the receiver handles.
const ENOUGH: usize = 2_000;

struct Receiver {
    session: Session,
    linter: Linter,
    messages: VecDeque<ReceivedPublish>,
    /// What it awaits the end of.
    awaiting: bool,
    handled: usize,
    ready: bool,
}

impl Receiver {
    fn new(version: Version) -> Self {
        let config = Config::default()
            .client_identifier(Utf8String::new("receiver").expect("short"))
            .keep_alive(0)
            .inbound(
                InboundLimits::default()
                    .receive_maximum(4)
                    .soft_messages(2)
                    // A 3.x server does not know of the bound: it has all of its window in flight.
                    .hard_messages(8),
            );
        let mut session = Session::new(config);
        session.handle_open(Instant::from_epoch(NOW), ConnectOptions::new(version));
        let mut linter = Linter::new();
        linter.open(NOW);
        Self {
            session,
            linter,
            messages: VecDeque::new(),
            awaiting: false,
            handled: 0,
            ready: false,
        }
    }

    /// Drains the session for its network and its application, until neither does anything.
    fn work(&mut self, to_broker: &mut BytesMut) {
        let now = Instant::from_epoch(NOW);
        loop {
            let drained = Drain::default()
                .run(&mut self.session, now)
                .expect("it is drained");
            assert_eq!(drained.close, None);
            let is_idle = drained.is_empty();
            let mut output = drained.output;
            while output.has_remaining() {
                self.linter.sent(NOW, output.chunk());
                to_broker.extend_from_slice(output.chunk());
                output.advance(output.chunk().len());
            }
            for event in drained.events {
                self.hear(event);
            }
            if is_idle && (self.awaiting || !self.answer()) {
                break;
            }
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Connected(_) => {
                let filter = TopicFilter::new("flood").expect("a filter");
                let subscribe =
                    SubscribeRequest::new([SubscribeFilter::new(filter, QoS::ExactlyOnce)]);
                let now = Instant::from_epoch(NOW);
                self.session.subscribe(now, subscribe).expect("connected");
            }
            Event::Subscribed { .. } => self.ready = true,
            Event::Message(message) => self.messages.push_back(message),
            Event::Published { result, .. } => {
                result.expect("the server takes it");
                self.awaiting = false;
                self.handled += 1;
            }
            Event::InboundDropped(_) => {}
            other => panic!("{other:?}"),
        }
    }

    /// The application takes a message, publishes for it, and waits. Returns whether there was one.
    fn answer(&mut self) -> bool {
        let Some(message) = self.messages.pop_front() else {
            return false;
        };
        self.session
            .acknowledge(message.token, PubAckReasonCode::Success);
        let topic = TopicName::new("answer").expect("a topic name");
        let answer = OutgoingPublish::new(topic, "answer")
            .qos(QoS::AtLeastOnce)
            .key(Some(0));
        let now = Instant::from_epoch(NOW);
        self.session.publish(now, answer).expect("room for one");
        self.awaiting = true;
        true
    }
}

fn flood(version: Version) {
    let mut broker = Broker::new(
        martlet_broker::BrokerConfig::default()
            .sys_interval(Duration::ZERO)
            .max_in_flight(NonZeroU16::MIN.saturating_add(5)),
    );
    let connection = broker.handle_open(NOW);
    let mut receiver = Receiver::new(version);
    let (mut to_broker, mut to_client) = (BytesMut::new(), BytesMut::new());
    let mut sent = 0u32;
    let mut idle = 0;
    while receiver.handled < ENOUGH {
        let before = (receiver.handled, to_broker.len(), to_client.len());
        // The flood never ends: the client's side of the network is always full.
        let topic = TopicName::new("flood").expect("a topic name");
        while receiver.ready && to_client.len() < 4096 && broker.statistics().pending < 100 {
            sent += 1;
            let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][sent as usize % 3];
            let text = sent.to_string();
            broker.publish(
                NOW,
                PublishRef::new(&topic, text.as_bytes()).with_delivery(delivery(qos)),
            );
            while to_client.len() < 4096
                && broker.poll_transmit(NOW, connection, &mut to_client) > 0
            {}
        }
        while broker.poll_transmit(NOW, connection, &mut to_client) > 0 {}
        // The client reads a little, if it reads.
        if receiver.session.wants_input() && !to_client.is_empty() {
            let taken = to_client.clone();
            receiver
                .session
                .handle_input(Instant::from_epoch(NOW), &mut to_client);
            receiver
                .linter
                .received(NOW, &taken[..taken.len() - to_client.len()]);
        }
        receiver.work(&mut to_broker);
        assert!(
            receiver.session.unhandled() <= 16,
            "{version}: the bounds hold"
        );
        broker.handle_input(NOW, connection, &mut to_broker);
        let after = (receiver.handled, to_broker.len(), to_client.len());
        idle = if before == after { idle + 1 } else { 0 };
        assert!(
            idle < 10,
            "{version}: wedged after {} messages, {before:?}",
            receiver.handled
        );
    }
    assert_eq!(receiver.linter.findings(), [], "{version}");
}

fn delivery(qos: QoS) -> Delivery {
    let (packet_identifier, duplicate) = (NonZeroU16::MIN, false);
    match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce {
            packet_identifier,
            duplicate,
        },
        QoS::ExactlyOnce => Delivery::ExactlyOnce {
            packet_identifier,
            duplicate,
        },
    }
}

#[test]
fn a_receiver_that_awaits_its_own_publish_while_it_is_flooded_never_wedges() {
    for version in Version::ALL {
        flood(version);
    }
}

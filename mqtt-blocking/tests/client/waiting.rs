//! Waiting for operations, with and without a limit.

use super::{LONG, builder, in_time, recording, serve};
use martlet_blocking::client::{BatchError, OutgoingPublish};
use martlet_blocking::proto::BinaryData;
use martlet_blocking::session::TransportErrorKind;
use martlet_blocking::{
    Client, ClientEvent, ConnectError, ConnectionError, ConnectionState, Error, NothingCame,
    PublishError, PublishProperties, QoS, RequestError, ResponseError, SubscribeError, TopicName,
    UnsubscribeError, Wait,
};
use martlet_tests::server::Setup;
use std::io::Write;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(1);

/// A client whose server accepts connections and never says a word.
fn unanswered() -> (TcpListener, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("mqtt://{}", listener.local_addr().unwrap());
    let client = martlet_blocking::start(Client::builder(&*uri)).unwrap();
    (listener, client)
}

#[test]
fn each_operation_waits_for_its_answer() {
    in_time(|| {
        let server = recording();
        let client = martlet_blocking::connect(&*server.uri()).unwrap();
        client.ping().unwrap();
        client.flush().unwrap();
        client.connected_timeout(LONG).unwrap();
        client
            .publish("a", "b")
            .qos(QoS::AtMostOnce)
            .wait()
            .unwrap();
        let mut receipt = client
            .publish("a", "b")
            .qos(QoS::AtLeastOnce)
            .enqueue()
            .wait()
            .unwrap();
        (&mut receipt).wait_timeout(LONG).unwrap();
        let all = [("a/+", QoS::AtLeastOnce), ("b", QoS::AtMostOnce)];
        let both = client.subscribe_all(all).wait().unwrap();
        assert_eq!(both.reasons().len(), 2);
        let answer = client.unsubscribe_all(["a/+", "b"]).wait().unwrap();
        assert_eq!(answer.reasons.len(), 2);
        let before = client.connected().unwrap();
        let after = client.reconnect().replace().wait().unwrap();
        assert_ne!(before.connack, after.connack);
        assert!(matches!(
            client.reauthenticate(),
            Err(martlet_blocking::AuthenticateError::Request(_))
        ));
        client.disconnect().wait().unwrap();
        assert!(matches!(client.ping(), Err(RequestError::Closed(_))));
        assert!(matches!(client.flush(), Err(ConnectionError::ClosedHere)));
    });
}

/// A limit that is not reached changes nothing.
#[test]
fn each_operation_is_done_before_its_time_is_up() {
    in_time(|| {
        let server = serve(Setup::tcp());
        let client = martlet_blocking::connect(&*server.uri()).unwrap();
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let publish = || client.publish("a", "b").qos(qos);
            publish().wait_timeout(LONG).unwrap();
            let receipt = publish().enqueue().wait_timeout(LONG).unwrap();
            receipt.wait_timeout(LONG).unwrap();
            let message = || OutgoingPublish::new(TopicName::new("a").unwrap(), "b").qos(qos);
            let batch = || client.publish_all([message(), message()]);
            batch().wait_timeout(LONG).unwrap();
            let mut receipt = batch().enqueue().wait_timeout(LONG).unwrap();
            (&mut receipt).wait_timeout(LONG).unwrap();
            receipt.wait_timeout(LONG).unwrap();
        }
        client.flush_timeout(LONG).unwrap();
        let subscription = client.subscribe("a").wait_timeout(LONG).unwrap();
        subscription.unsubscribe().wait_timeout(LONG).unwrap();
        client.reconnect().replace().wait_timeout(LONG).unwrap();
        client.disconnect().wait_timeout(LONG).unwrap();
    });
}

#[test]
fn a_request_waits_for_its_response() {
    in_time(|| {
        let server = serve(Setup::tcp());
        let client = martlet_blocking::connect(&*server.uri()).unwrap();
        let requests = client.subscribe("lamps/+/get").wait().unwrap();
        let answering = client.clone();
        let answers = thread::spawn(move || {
            for request in requests.take(2) {
                let asked = request.properties();
                let data = BinaryData::new(asked.correlation_data().unwrap().to_vec()).unwrap();
                let properties = PublishProperties::builder().correlation_data(data);
                let topic = asked.response_topic().unwrap();
                let answer = answering
                    .publish(topic, "on")
                    .properties(properties.build());
                answer.wait().unwrap();
            }
        });
        let response = client.request("lamps/1/get", "").wait().unwrap();
        assert_eq!(response.text(), Some("on"));
        let response = client.request("lamps/1/get", "").wait_timeout(LONG);
        assert_eq!(response.unwrap().text(), Some("on"));
        answers.join().unwrap();
        let none = client.request("nobody/answers", "").qos(QoS::AtMostOnce);
        assert_eq!(
            none.wait_timeout(SHORT).unwrap_err(),
            ResponseError::Timeout
        );
    });
}

#[test]
fn what_is_not_done_in_time_says_so() {
    in_time(|| {
        let (_listener, client) = unanswered();
        let qos = QoS::AtLeastOnce;
        assert_eq!(
            client.publish("a", "b").qos(qos).wait_timeout(SHORT),
            Err(PublishError::Timeout)
        );
        assert_eq!(client.queued(), 1);
        let mut receipt = client.publish("a", "b").qos(qos).try_enqueue().unwrap();
        assert_eq!(
            (&mut receipt).wait_timeout(SHORT),
            Err(PublishError::Timeout)
        );
        assert!(receipt.operation().is_some());
        assert_eq!(receipt.wait_timeout(SHORT), Err(PublishError::Timeout));
        assert_eq!(
            client.subscribe("a").wait_timeout(SHORT).unwrap_err(),
            SubscribeError::Request(RequestError::Timeout)
        );
        assert_eq!(
            client.unsubscribe("a").wait_timeout(SHORT).unwrap_err(),
            UnsubscribeError::Request(RequestError::Timeout)
        );
        let kind = |error| match error {
            ConnectError::Connection(ConnectionError::Transport(error)) => error.kind(),
            other => panic!("{other:?}"),
        };
        let late = client.connected_timeout(SHORT).unwrap_err();
        assert_eq!(kind(late), TransportErrorKind::ConnectTimeout);
        let late = client.reconnect().wait_timeout(SHORT).unwrap_err();
        assert_eq!(kind(late), TransportErrorKind::ConnectTimeout);
        let late = client.flush_timeout(SHORT).unwrap_err();
        assert_eq!(kind(late.into()), TransportErrorKind::WriteTimeout);
        let mut events = client.events();
        assert_eq!(events.recv_timeout(SHORT), Err(NothingCame));
        assert_eq!(events.try_recv(), None);
        assert_eq!(client.disconnect().drain(LONG).wait_timeout(SHORT), None);
        // The second takes the place of the first.
        let left = client.disconnect().at_once().wait().unwrap();
        assert_eq!(left.queued, 2);
    });
}

/// A full queue has no room, and nothing is published.
#[test]
fn no_room_in_time_says_so() {
    in_time(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("mqtt://{}", listener.local_addr().unwrap());
        let limits = martlet_blocking::session::QueueLimits::default().messages(1);
        let builder = Client::builder(&*uri).queue(limits);
        let client = martlet_blocking::start(builder).unwrap();
        let publish = || client.publish("a", "b").qos(QoS::AtLeastOnce);
        publish().enqueue().wait().unwrap();
        assert_eq!(
            publish().enqueue().wait_timeout(SHORT).unwrap_err(),
            PublishError::QueueFull
        );
        assert_eq!(
            publish().wait_timeout(SHORT).unwrap_err(),
            PublishError::QueueFull
        );
        assert_eq!(client.queued(), 1);
        client.disconnect().at_once().wait();
    });
}

/// Of a batch, the first message that is late is named: here the queue takes the first two.
#[test]
fn a_batch_is_waited_for() {
    let message = |n: usize| {
        let topic = TopicName::new("a").unwrap();
        OutgoingPublish::new(topic, n.to_string()).qos(QoS::AtLeastOnce)
    };
    in_time(move || {
        let server = recording();
        let client = martlet_blocking::connect(&*server.uri()).unwrap();
        client.publish_all((0..100).map(message)).wait().unwrap();
        let receipt = client.publish_all((100..300).map(message)).enqueue().wait();
        receipt.unwrap().wait().unwrap();
        client.disconnect().wait();
        let expected: Vec<_> = (0..300).map(|n| n.to_string()).collect();
        assert_eq!(super::accepted(&super::events(&server)), expected);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("mqtt://{}", listener.local_addr().unwrap());
        let limits = martlet_blocking::session::QueueLimits::default().messages(2);
        let client = martlet_blocking::start(Client::builder(&*uri).queue(limits)).unwrap();
        let late = client.publish_all((0..3).map(message)).wait_timeout(SHORT);
        assert_eq!(late, Err(BatchError::new(2, PublishError::QueueFull)));
        assert_eq!(client.undelivered().len(), 2);
        let all = client.publish_all(std::iter::empty()).enqueue();
        all.wait().unwrap().wait().unwrap();
        client.disconnect().at_once().wait();
    });
    in_time(move || {
        let (_listener, client) = unanswered();
        let batch = client.publish_all((0..3).map(message));
        let mut receipt = batch.enqueue().wait().unwrap();
        let late = Err(BatchError::new(0, PublishError::Timeout));
        assert_eq!((&mut receipt).wait_timeout(SHORT), late);
        assert_eq!(receipt.wait_timeout(SHORT), late);
        let batch = client.publish_all((0..3).map(message));
        assert_eq!(batch.wait_timeout(SHORT), late, "it is accepted");
        client.disconnect().at_once().wait();
    });
}

/// The server acknowledges two of three.
#[test]
fn a_late_batch_reports_its_place() {
    in_time(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("mqtt://{}", listener.local_addr().unwrap());
        let client = martlet_blocking::start(Client::builder(&*uri)).unwrap();
        let message = || OutgoingPublish::new(TopicName::new("a").unwrap(), "b");
        let batch = [message(), message(), message()].map(|m| m.qos(QoS::AtLeastOnce));
        let mut receipt = client.publish_all(batch).enqueue().wait().unwrap();
        let mut server = listener.accept().unwrap().0;
        let connack = [0x20, 3, 0, 0, 0];
        let pubacks = [[0x40, 2, 0, 1], [0x40, 2, 0, 2]].concat();
        server.write_all(&connack).unwrap();
        client.connected().unwrap();
        client.flush().unwrap();
        server.write_all(&pubacks).unwrap();
        while receipt.acknowledged() < 2 {
            thread::yield_now();
        }
        let late = Err(BatchError::new(2, PublishError::Timeout));
        assert_eq!((&mut receipt).wait_timeout(SHORT), late);
        assert_eq!(receipt.wait_timeout(SHORT), late);
        client.disconnect().at_once().wait();
    });
}

#[test]
fn states_and_events_end_with_the_client() {
    in_time(|| {
        let server = serve(Setup::tcp());
        let client = martlet_blocking::start(builder(&server)).unwrap();
        let (events, states) = (client.events(), client.state_changes());
        client.connected().unwrap();
        client.disconnect().wait().unwrap();
        let states: Vec<_> = states.collect();
        assert!(
            matches!(states[..], [ConnectionState::Closed]),
            "{states:?}"
        );
        let events: Vec<_> = events.collect();
        assert!(
            matches!(events[..], [.., ClientEvent::Closed]),
            "{events:?}"
        );
    });
}

#[test]
fn one_error_for_all_of_them() {
    fn run() -> Result<(), Error> {
        Err(NothingCame)?
    }
    let error = run().unwrap_err();
    assert_eq!(format!("{error:#}"), "no event came in time");
}

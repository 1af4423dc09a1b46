//! `martlet rr`: both ends.

use crate::run::{Running, at, run, status};
use martlet_broker::TestBroker;
use martlet_broker::proto::{BinaryData, Packet, PublishProperties, PublishRef, TopicName};

#[test]
fn a_request_is_answered() {
    let broker = TestBroker::start().unwrap();
    let server = Running::start(&mut at(&broker, "rr --respond --echo -t lamps/+ -C 3 -v"));
    broker.wait_for_subscription("lamps/+").blocking().unwrap();
    let ended = run(&mut at(&broker, "rr -t lamps/1 -m bright -q 1")).expect(status::DONE);
    assert_eq!(ended.text(), "bright\n");
    let ended = run(&mut at(
        &broker,
        "rr -t lamps/2 -e answers -m dark -F %t:%p",
    ))
    .expect(status::DONE);
    assert_eq!(ended.text(), "answers:dark\n");
    let ended = run(&mut at(&broker, "rr -t lamps/3 -e answers -n -v")).expect(status::DONE);
    assert_eq!(ended.text(), "answers (null)\n");
    let ended = server.end().expect(status::DONE);
    assert_eq!(
        ended.text(),
        "lamps/1 bright\nlamps/2 dark\nlamps/3 (null)\n"
    );
}

#[test]
fn without_mqtt_5_the_topic_of_the_response_is_named_on_both_sides() {
    let broker = TestBroker::start().unwrap();
    let server = Running::start(&mut at(
        &broker,
        "rr --respond -V 311 -t q -e answers -m fixed -C 1",
    ));
    broker.wait_for_subscription("q").blocking().unwrap();
    let ended = run(&mut at(&broker, "rr -V 311 -t q -e answers -m x")).expect(status::DONE);
    assert_eq!(ended.text(), "fixed\n");
    assert_eq!(server.end().expect(status::DONE).text(), "x\n");
}

#[test]
fn a_request_without_a_topic_for_its_response_is_reported() {
    let broker = TestBroker::start().unwrap();
    let server = Running::start(&mut at(&broker, "rr --respond -t q -m fixed -C 1"));
    broker.wait_for_subscription("q").blocking().unwrap();
    run(&mut at(&broker, "pub -t q -m x")).expect(status::DONE);
    server
        .end()
        .expect(status::PARTIAL)
        .says("names no topic for its response");
}

/// mosquitto_rr takes any message on the topic of the response.
#[test]
fn the_correlation_data_of_a_response_is_checked() {
    let broker = TestBroker::start().unwrap();
    let ask = |arguments: &str| {
        let broker = TestBroker::start().unwrap();
        let running = Running::start(&mut at(&broker, &format!("rr -t q -e r -m x {arguments}")));
        let request = broker.wait_for_message("q").blocking().unwrap();
        let data = request.properties().correlation_data().unwrap().to_vec();
        let topic = TopicName::new("r").unwrap();
        for (data, payload) in [(b"other".to_vec(), b"wrong"), (data, b"right")] {
            let properties = PublishProperties::builder()
                .correlation_data(BinaryData::new(data).unwrap())
                .build();
            broker.publish(PublishRef::new(&topic, payload).with_properties(&properties));
        }
        running.end().expect(status::DONE)
    };
    assert_eq!(ask("").text(), "right\n");
    assert_eq!(ask("--any-correlation").text(), "wrong\n");
    let running = Running::start(&mut at(
        &broker,
        "rr -t q -e r -m x -W 1 -D publish correlation-data mine",
    ));
    let request = broker.wait_for_message("q").blocking().unwrap();
    assert_eq!(request.properties().correlation_data(), Some(&b"mine"[..]));
    broker.publish(PublishRef::new(&TopicName::new("r").unwrap(), b"wrong"));
    running
        .end()
        .expect(status::TIMED_OUT)
        .says("no response in time");
}

#[test]
fn nobody_answers() {
    let broker = TestBroker::start().unwrap();
    run(&mut at(&broker, "rr -t q -m x -q 1"))
        .expect(status::PUBLISH)
        .says("nobody subscribes");
    run(&mut at(&broker, "rr -t q -e r -m x -q 1"))
        .expect(status::PUBLISH)
        .says("nobody subscribes");
    run(&mut at(&broker, "rr -t q -m x -W 0.1"))
        .expect(status::TIMED_OUT)
        .says("-W");
    let is_request = |packet: &&Packet| matches!(packet, Packet::Publish(_));
    assert_eq!(
        broker.transcript()[0].received().filter(is_request).count(),
        1
    );
}

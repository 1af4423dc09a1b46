//! How a broker begins and ends, what it does meanwhile, and what it writes down.

use crate::client::*;
use martlet_broker::{BrokerConfig, BrokerLimits, Direction, TestBroker};
use martlet_proto::{ConnectReasonCode, PacketType, PublishRef, QoS, TopicName};
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

#[test]
fn one_line_starts_it() {
    let broker = TestBroker::start().unwrap();
    assert_eq!(broker.uri(), format!("mqtt://{}", broker.local_addr()));
    let mut a = Client::connect(&broker, CLEAN, CONNACK);
    a.says(SUBSCRIBE);
    a.hears(SUBACK);
    let mut b = Client::connect(&broker, V5, b"\x20\x06\x00\x00\x03\x22\x00\x10");
    b.says(b"\x32\x07\x00\x01t\x00\x09\x00x");
    b.hears(PUBACK);
    a.hears(b"\x32\x06\x00\x01t\x00\x01x");
    // A message of the test reaches them as well.
    let topic = TopicName::new("t").unwrap();
    assert!(broker.publish(PublishRef::new(&topic, b"y")));
    a.hears(b"\x30\x04\x00\x01ty");
    a.says(b"\xe0\x00");
    a.hears_last(b"");
    broker.wait_for_disconnect("a").blocking().unwrap();
    assert!(!broker.publish(PublishRef::new(&topic, b"z")));
    assert_eq!(broker.statistics().connections, 1);
}

#[test]
fn it_is_configured() {
    let limits = BrokerLimits::default().maximum_qos(QoS::AtMostOnce);
    let config = BrokerConfig::default().limits(limits);
    let broker = TestBroker::start_with(config.clone()).unwrap();
    let mut client = Client::connect(&broker, CLEAN, CONNACK);
    client.says(SUBSCRIBE);
    client.hears(b"\x90\x03\x00\x01\x00");
    broker.configure(config.reject(ConnectReasonCode::NotAuthorized));
    Client::connect(&broker, CLEAN, b"\x20\x02\x00\x05").hears_last(b"");
    // Events are recorded all the same.
    client.says(b"\x30\x04\x00\x01tx");
    let message = broker.wait_for_message("t").blocking().unwrap();
    assert_eq!(message.payload(), b"x");
}

#[test]
fn stopping_ends_everything_once() {
    let broker = TestBroker::start().unwrap();
    let mut client = Client::connect(&broker, CLEAN, CONNACK);
    client.says(QOS_1);
    client.hears(PUBACK);
    for _ in 0..2 {
        broker.stop();
        assert_eq!(
            TcpStream::connect(broker.local_addr()).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
    }
    client.hears_last(b"");
    let error = broker.accept_connections().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    broker.refuse_connections();
    broker.cut();
    broker.advance(Duration::from_secs(3600));
    // What was can still be asked for.
    assert_eq!(broker.messages().len(), 1);
    assert_eq!(broker.transcript().len(), 1);
    let address = broker.local_addr();
    drop(broker);
    TcpListener::bind(address).unwrap();
}

#[test]
fn dropping_ends_it_with_clients_that_do_nothing() {
    let broker = TestBroker::start().unwrap();
    let mut silent = Client::dial(&broker);
    let mut half = Client::dial(&broker);
    half.says(&CLEAN[..5]);
    // One that does not read what it gets.
    let mut deaf = Client::connect(&broker, CLEAN, CONNACK);
    deaf.says(SUBSCRIBE);
    deaf.hears(SUBACK);
    let topic = TopicName::new("t").unwrap();
    let payload = vec![0; 1 << 20];
    for _ in 0..32 {
        broker.publish(PublishRef::new(&topic, &payload));
    }
    broker.wait_for_connections(3).blocking().unwrap();
    drop(broker);
    silent.hears_last(b"");
    half.hears_last(b"");
    deaf.ends();
}

#[test]
fn it_is_shared_by_threads() {
    let broker = TestBroker::start().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::dial(&broker);
                // An identifier that the broker assigns.
                client.says(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00");
                client.hears(CONNACK);
                for _ in 0..100 {
                    client.says(QOS_1);
                    client.hears(PUBACK);
                }
            });
        }
    });
    assert_eq!(broker.messages().len(), 800);
}

#[test]
fn much_arrives() {
    let broker = TestBroker::start().unwrap();
    let mut client = Client::connect(&broker, CLEAN, CONNACK);
    client.says(b"\x82\x06\x00\x01\x00\x01t\x00");
    client.hears(b"\x90\x03\x00\x01\x00");
    let topic = TopicName::new("t").unwrap();
    for n in 0..5000_u32 {
        broker.publish(PublishRef::new(&topic, &n.to_be_bytes().repeat(100)));
    }
    for n in 0..5000_u32 {
        client.hears(&[b"\x30\x93\x03\x00\x01t", &*n.to_be_bytes().repeat(100)].concat());
    }
}

#[test]
fn time_passes_at_once() {
    let broker = TestBroker::start().unwrap();
    // Keep alive of a minute, and a session that is kept.
    let mut client = Client::dial(&broker);
    client.says(b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x3c\x00\x01a");
    client.hears(CONNACK);
    broker.advance(Duration::from_secs(80));
    client.says(PINGREQ);
    client.hears(PINGRESP);
    broker.advance(Duration::from_secs(91));
    client.hears_last(b"");
    assert!(broker.has_session("a"));
    // MQTT 5: Session Expiry Interval of a minute.
    let connect = b"\x10\x13\x00\x04MQTT\x05\x02\x00\x00\x05\x11\x00\x00\x00\x3c\x00\x01b";
    drop(Client::connect(
        &broker,
        connect,
        b"\x20\x06\x00\x00\x03\x22\x00\x10",
    ));
    broker.wait_for_disconnect("b").blocking().unwrap();
    broker.advance(Duration::from_secs(30));
    assert!(broker.has_session("b"));
    broker.advance(Duration::from_secs(60));
    assert!(!broker.has_session("b"));
}

#[test]
fn a_message_that_is_sent_twice_is_one() {
    let broker = TestBroker::start().unwrap();
    let mut client = Client::connect(&broker, CLEAN, CONNACK);
    client.says(QOS_2);
    client.hears(PUBREC);
    client.says(QOS_2_AGAIN);
    client.hears(PUBREC);
    let topic = TopicName::new("t").unwrap();
    broker.publish(PublishRef::new(&topic, b"of the broker"));
    assert_eq!(broker.messages().len(), 1);
}

#[test]
fn a_will_is_a_message_of_its_client() {
    let broker = TestBroker::start().unwrap();
    let connect = b"\x10\x13\x00\x04MQTT\x04\x06\x00\x00\x00\x01a\x00\x01w\x00\x01x";
    drop(Client::connect(&broker, connect, CONNACK));
    let will = broker.wait_for_message("w").blocking().unwrap();
    assert_eq!(will.payload(), b"x");
}

#[test]
fn the_transcript_has_all_in_order() {
    use Direction::{FromClient, ToClient};
    use PacketType as P;
    let broker = TestBroker::start().unwrap();
    let mut client = Client::connect(&broker, CLEAN, CONNACK);
    client.says(QOS_2);
    client.hears(PUBREC);
    client.says(PUBREL);
    client.hears(PUBCOMP);
    let mut other = Client::dial(&broker);
    other.says(b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00");
    let answers = broker.wait_for_packets(ToClient, P::ConnAck, 2);
    answers.blocking().unwrap();
    other.says(b"\xff");
    other.ends();
    let [first, second] = &broker.transcript()[..] else {
        panic!("two connections");
    };
    let types: Vec<_> = first
        .packets()
        .iter()
        .map(|(direction, packet)| (*direction, packet.packet_type()))
        .collect();
    let expected = [
        (FromClient, P::Connect),
        (ToClient, P::ConnAck),
        (FromClient, P::Publish),
        (ToClient, P::PubRec),
        (FromClient, P::PubRel),
        (ToClient, P::PubComp),
    ];
    assert_eq!(types, expected);
    assert_eq!((first.number(), first.client_identifier()), (0, "a"));
    assert!(first.is_open() && !first.is_malformed());
    assert_eq!(
        first.to_string(),
        "connection 0, client `a`, open: > CONNECT < CONNACK > PUBLISH `t` < PUBREC > PUBREL < PUBCOMP"
    );
    assert!(second.client_identifier().starts_with("auto-"));
    assert!(!second.is_open() && second.is_malformed());
}

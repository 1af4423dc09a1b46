//! Each fault, and how it is switched off.

use crate::client::*;
use martlet_broker::{BrokerConfig, Direction, Fault, Memory, TestBroker};
use martlet_proto::{ConnectReasonCode, DisconnectReasonCode, PacketType};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// A broker with this fault on its next connection.
fn with(fault: Fault) -> TestBroker {
    let broker = TestBroker::start().unwrap();
    broker.inject(fault);
    broker
}

/// Everything works on the next connection.
fn assert_works(broker: &TestBroker) {
    let mut client = Client::connect(broker, CLEAN, CONNACK);
    client.says(QOS_1);
    client.hears(PUBACK);
}

#[test]
fn cut_from_client_counts_the_bytes_of_the_client() {
    let broker = with(Fault::cut_from_client(CLEAN.len() + 5));
    let mut client = Client::connect(&broker, CLEAN, CONNACK);
    client.says(QOS_1);
    client.hears_last(b"");
    assert!(broker.messages().is_empty());
    assert_eq!(
        broker.transcript()[0].received_types(),
        [PacketType::Connect]
    );
    // The bound may be at the end of a packet, which is handled then.
    broker.inject(Fault::cut_from_client(CLEAN.len() + QOS_1.len()));
    let mut client = Client::connect(&broker, CLEAN, CONNACK);
    client.says(QOS_1);
    // Its answer may come before the end.
    client.ends();
    assert_eq!(broker.messages().len(), 1);
    // Or at the beginning of everything.
    broker.inject(Fault::cut_from_client(0));
    Client::dial(&broker).hears_last(b"");
    assert_works(&broker);
}

#[test]
fn cut_to_client_counts_the_bytes_of_the_broker() {
    let broker = with(Fault::cut_to_client(3));
    let mut client = Client::dial(&broker);
    client.says(CLEAN);
    client.hears_last(&CONNACK[..3]);
    let conversation = &broker.transcript()[0];
    assert!(conversation.sent_types().is_empty() && !conversation.is_open());
    broker.inject(Fault::cut_to_client(CONNACK.len() + PUBACK.len()));
    let mut client = Client::connect(&broker, CLEAN, CONNACK);
    client.says(QOS_1);
    client.hears_last(PUBACK);
    broker.inject(Fault::cut_to_client(0));
    Client::dial(&broker).hears_last(b"");
    assert_works(&broker);
}

#[test]
fn hang_up_on_a_packet_of_the_client() {
    let broker = with(Fault::hang_up_on(PacketType::Publish));
    let mut client = Client::connect(&broker, CLEAN, CONNACK);
    client.says(PINGREQ);
    client.hears(PINGRESP);
    client.says(QOS_1);
    client.hears_last(b"");
    // It is in the transcript, but the broker has not handled it.
    let types = broker.transcript()[0].received_types();
    assert_eq!(
        types,
        [
            PacketType::Connect,
            PacketType::PingReq,
            PacketType::Publish
        ]
    );
    assert!(broker.messages().is_empty());
    assert_works(&broker);
}

#[test]
fn hang_up_instead_of_a_packet_of_the_broker() {
    let broker = with(Fault::hang_up_instead_of(PacketType::PubRec));
    let mut client = Client::connect(&broker, LASTING, CONNACK);
    client.says(QOS_2);
    client.hears_last(b"");
    assert_eq!(broker.messages().len(), 1);
    assert_eq!(broker.transcript()[0].sent_types(), [PacketType::ConnAck]);
    // The session is there, and knows the message.
    let mut client = Client::connect(&broker, LASTING, SESSION_PRESENT);
    client.says(QOS_2_AGAIN);
    client.hears(PUBREC);
    client.says(PUBREL);
    client.hears(PUBCOMP);
    assert_eq!(broker.messages().len(), 1);
}

#[test]
fn what_was_answered_before_a_hang_up_arrives() {
    let broker = with(Fault::hang_up_instead_of(PacketType::PubAck));
    let mut client = Client::dial(&broker);
    client.says(&[CLEAN, PINGREQ, QOS_1].concat());
    client.hears_last(&[CONNACK, PINGRESP].concat());
}

#[test]
fn delayed_answers_come_with_time_or_without_the_fault() {
    let broker = with(Fault::delay_answers(HOUR));
    let mut client = Client::dial(&broker);
    client.says(CLEAN);
    client.hears_nothing();
    assert!(broker.is_connected("a"));
    broker.advance(HOUR);
    client.hears(CONNACK);
    client.says(QOS_1);
    client.hears_nothing();
    assert_eq!(broker.messages().len(), 1);
    broker.clear_faults();
    client.hears(PUBACK);
    assert_works(&broker);
}

#[test]
fn a_short_answer_is_the_last() {
    let broker = with(Fault::answer_short(PacketType::PubAck));
    let mut client = Client::connect(&broker, CLEAN, CONNACK);
    client.says(QOS_1);
    client.hears(&PUBACK[..3]);
    client.says(PINGREQ);
    client.hears_nothing();
    let packets = broker.wait_for_packets(Direction::FromClient, PacketType::PingReq, 1);
    packets.blocking().unwrap();
    let conversation = &broker.transcript()[0];
    assert_eq!(conversation.sent_types(), [PacketType::ConnAck]);
    assert!(conversation.is_open());
    assert_works(&broker);
}

#[test]
fn a_drip_is_one_byte_at_a_time() {
    let broker = with(Fault::drip(HOUR));
    let mut client = Client::dial(&broker);
    client.says(CLEAN);
    client.hears(&CONNACK[..1]);
    client.hears_nothing();
    broker.advance(HOUR);
    client.hears(&CONNACK[1..2]);
    client.hears_nothing();
    broker.clear_faults();
    client.hears(&CONNACK[2..]);
    client.says(QOS_1);
    client.hears(PUBACK);
    // Without a pause everything comes, in the end.
    broker.inject(Fault::drip(Duration::ZERO));
    assert_works(&broker);
}

#[test]
fn a_handshake_stalls() {
    let broker = with(Fault::stall_handshake());
    let mut client = Client::dial(&broker);
    client.says(CLEAN);
    let connect = broker.wait_for_packets(Direction::FromClient, PacketType::Connect, 1);
    connect.blocking().unwrap();
    client.hears_nothing();
    // The broker's own time limit for a CONNECT does not end it.
    broker.advance(HOUR);
    client.says(QOS_1);
    client.hears_nothing();
    assert!(!broker.is_connected("a") && broker.messages().is_empty());
    assert_works(&broker);
}

#[test]
fn a_session_is_lost() {
    let broker = TestBroker::start().unwrap();
    drop(Client::connect(&broker, LASTING, CONNACK));
    drop(Client::connect(&broker, LASTING, SESSION_PRESENT));
    broker.inject(Fault::lose_session());
    drop(Client::connect(&broker, LASTING, CONNACK));
    // Also under a connection that is open.
    let _open = Client::connect(&broker, LASTING, SESSION_PRESENT);
    broker.inject(Fault::lose_session());
    let mut client = Client::connect(&broker, LASTING, CONNACK);
    client.says(SUBSCRIBE);
    client.hears(SUBACK);
}

#[test]
fn a_connection_is_rejected() {
    let broker = with(Fault::reject(ConnectReasonCode::NotAuthorized));
    let mut client = Client::connect(&broker, V5, b"\x20\x03\x00\x87\x00");
    client.hears_last(b"");
    assert_works(&broker);
    // The broker's own configuration is what it was.
    let config = BrokerConfig::default().reject(ConnectReasonCode::ServerBusy);
    broker.configure(config);
    broker.inject(Fault::reject(ConnectReasonCode::Banned));
    for reason in [b"\x20\x03\x00\x8a\x00", b"\x20\x03\x00\x89\x00"] {
        Client::connect(&broker, V5, reason).hears_last(b"");
    }
}

#[test]
fn faults_count_connections() {
    let fault = Fault::cut_from_client(0);
    let broker = with(fault.clone().after_connections(1).for_connections(2));
    assert_works(&broker);
    for _ in 0..2 {
        Client::dial(&broker).hears_last(b"");
    }
    assert_works(&broker);
    broker.inject(fault.clone().until_cleared());
    for _ in 0..3 {
        Client::dial(&broker).hears_last(b"");
    }
    broker.clear_faults();
    assert_works(&broker);
    broker.inject(fault.for_connections(0));
    assert_works(&broker);
}

#[test]
fn several_faults_are_on_one_connection() {
    let broker = with(Fault::drip(Duration::ZERO));
    broker.inject(Fault::hang_up_on(PacketType::Publish));
    broker.inject(Fault::cut_to_client(10));
    broker.inject(Fault::cut_to_client(2));
    let mut client = Client::dial(&broker);
    client.says(CLEAN);
    client.hears_last(&CONNACK[..2]);
}

#[test]
fn a_fault_is_put_on_open_connections() {
    let broker = TestBroker::start().unwrap();
    let mut client = Client::connect(&broker, CLEAN, CONNACK);
    client.says(QOS_1);
    client.hears(PUBACK);
    broker.inject_now(Fault::stall_handshake()); // it is over
    broker.inject_now(Fault::hang_up_on(PacketType::Publish));
    client.says(PINGREQ);
    client.hears(PINGRESP);
    client.says(QOS_1);
    client.hears_last(b"");
    // Bytes count from now, and nothing is left for the next connection.
    let mut client = Client::connect(&broker, CLEAN, CONNACK);
    broker.inject_now(Fault::cut_to_client(1));
    client.says(PINGREQ);
    client.hears_last(&PINGRESP[..1]);
    let mut client = Client::connect(&broker, CLEAN, CONNACK);
    broker.inject_now(Fault::cut_to_client(0));
    client.hears_last(b"");
    assert_works(&broker);
}

#[test]
fn connections_are_refused_until_they_are_not() {
    let broker = TestBroker::start().unwrap();
    let mut open = Client::connect(&broker, CLEAN, CONNACK);
    for _ in 0..2 {
        broker.refuse_connections();
        let refused = TcpStream::connect(broker.local_addr());
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    open.says(PINGREQ);
    open.hears(PINGRESP);
    for _ in 0..2 {
        broker.accept_connections().unwrap();
        assert_works(&broker);
    }
}

/// While nobody listens, a connection holds the port, so that the system gives it to no other.
#[cfg(target_os = "linux")]
#[test]
fn the_port_is_kept_while_connections_are_refused() {
    let broker = TestBroker::start().unwrap();
    broker.refuse_connections();
    // Its local address, and the state *established*.
    let local = format!("0100007F:{:04X}", broker.local_addr().port());
    let holds = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let holds = holds.lines().any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns[1] == local && columns[3] == "01"
    });
    assert!(holds);
    broker.accept_connections().unwrap();
    assert_works(&broker);
}

#[test]
fn a_restart_keeps_or_loses() {
    let broker = TestBroker::start().unwrap();
    for (memory, keeps) in [(Memory::Kept, true), (Memory::Lost, false)] {
        let mut client = Client::dial(&broker);
        client.says(LASTING);
        client.hears(CONNACK);
        broker.restart(memory);
        client.hears_last(b"");
        assert_eq!(broker.has_session("a"), keeps);
        broker.restart(Memory::Lost);
    }
    assert_works(&broker);
}

#[test]
fn all_are_cut() {
    let broker = TestBroker::start().unwrap();
    let mut clients = [
        Client::connect(&broker, LASTING, CONNACK),
        Client::connect(&broker, V5, b"\x20\x06\x00\x00\x03\x22\x00\x10"),
    ];
    broker.cut();
    for client in &mut clients {
        client.hears_last(b"");
    }
    assert!(!broker.is_connected("a") && broker.has_session("a"));
    broker.forget_sessions();
    assert!(!broker.has_session("a"));
}

#[test]
fn a_client_is_disconnected() {
    let broker = TestBroker::start().unwrap();
    let mut client = Client::connect(&broker, V5, b"\x20\x06\x00\x00\x03\x22\x00\x10");
    let reason = DisconnectReasonCode::AdministrativeAction;
    assert!(broker.disconnect("b", reason));
    client.hears_last(b"\xe0\x01\x98");
    assert!(!broker.disconnect("b", reason));
}

//! How commands end: signals, pipes, servers that reject, vanish or keep silent.

use crate::peer::{Peer, listen};
use crate::run::{Running, at, at_port, martlet, run, run_with, status};
use martlet_broker::proto::{
    ConnectReasonCode, DisconnectReasonCode, Packet, PacketType, PublishRef, TopicName,
};
use martlet_broker::{Direction, Fault, Memory, TestBroker};
use martlet_tests::certificates::Directory;
use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;

/// Whether the client that came last has said goodbye.
fn has_disconnected(broker: &TestBroker) -> bool {
    let transcript = broker.transcript();
    let last = transcript.last().unwrap().received().last();
    matches!(last, Some(Packet::Disconnect(_)))
}

#[test]
fn a_signal_ends_a_command_in_good_order() {
    for (signal, code) in [("-INT", status::INTERRUPTED), ("-TERM", status::TERMINATED)] {
        let broker = TestBroker::start().unwrap();
        let mut running = Running::start(&mut at(&broker, "sub -i me -t a -C 1"));
        broker.wait_for_subscription("a").blocking().unwrap();
        running.signal(signal);
        assert_eq!(running.end().expect(code).errors, "");
        assert!(has_disconnected(&broker));
        // Without -C it is to run until it is stopped.
        let mut running = Running::start(&mut at(&broker, "sub -i me -t b"));
        broker.wait_for_subscription("b").blocking().unwrap();
        running.signal(signal);
        running.end().expect(status::DONE);
        assert!(has_disconnected(&broker));
    }
}

/// Standard input that has nothing, and does not end, holds up nobody.
#[test]
fn a_signal_ends_a_command_that_reads_standard_input() {
    let broker = TestBroker::start().unwrap();
    for command in ["pub -t a -s", "rr -t a -e b -s"] {
        let mut running = Running::start(at(&broker, command).stdin(Stdio::piped()));
        let mut stdin = running.child().stdin.take().unwrap();
        // More than a pipe holds: the command has begun to read.
        stdin.write_all(&[b'x'; 1024 * 1024]).unwrap();
        running.signal("-INT");
        assert_eq!(running.end().expect(status::INTERRUPTED).errors, "");
        drop(stdin);
    }
    assert_eq!(broker.transcript().len(), 0, "nothing was sent");
    let mut running = Running::start(at(&broker, "pub -t a -l").stdin(Stdio::piped()));
    let mut stdin = running.child().stdin.take().unwrap();
    stdin.write_all(b"first\nno line yet").unwrap();
    broker.wait_for_message("a").blocking().unwrap();
    running.signal("-INT");
    assert_eq!(running.end().expect(status::INTERRUPTED).errors, "");
    assert!(has_disconnected(&broker));
    drop(stdin);
}

/// A file that is named may be a pipe without an end. The first signal was noted, and the command went
/// on reading.
#[cfg(unix)]
#[test]
fn a_signal_ends_a_command_that_reads_a_file() {
    use std::os::unix::process::ExitStatusExt;
    let folder = Directory::new();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let mut command = martlet("pub -t a -m x --config".split(' '));
    let mut running = Running::start(command.arg(&pipe));
    // Opened when the command reads it.
    let writer = File::options().write(true).open(&pipe).unwrap();
    running.signal("-INT");
    drop(writer);
    // There is nothing to end in good order: the signal has its own effect.
    let status = running.child().wait().unwrap();
    assert_eq!(status.signal(), Some(2), "{status:?}");
}

/// A server that is not there any more holds up the end in good order; the second signal does not
/// wait for it.
#[test]
fn the_second_signal_ends_a_command_at_once() {
    let (listener, port) = listen();
    let command = "pub -V 311 -t a -q 1 -m x";
    let mut running = Running::start(&mut at_port(port, command));
    let mut peer = Peer::accept(&listener);
    // The PUBLISH, which stays without an answer.
    assert_eq!(peer.read().unwrap()[0], 0x32);
    running.signal("-INT");
    running.signal("-TERM");
    let ended = running.end();
    // The process may have seen both signals at once, in either order.
    assert!(
        [status::INTERRUPTED, status::TERMINATED].contains(&ended.status),
        "{ended:?}"
    );
}

#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    let broker = TestBroker::start().unwrap();
    let mut running = Running::start(&mut at(&broker, "sub -t a"));
    broker.wait_for_subscription("a").blocking().unwrap();
    drop(running.child().stdout.take());
    // Until no process that another test is just starting holds the other end as well.
    let publish = "pub -t a -m x --repeat 1000000 --repeat-delay 0.02";
    let publisher = Running::start(&mut at(&broker, publish));
    let ended = running.end().expect(status::BROKEN_PIPE);
    drop(publisher);
    assert_eq!(ended.errors, "");
    let mut running = Running::start(&mut martlet(["man", "pub"]));
    drop(running.child().stdout.take());
    assert_eq!(running.end().errors, "");
}

/// The reader of the output has stopped reading, and the command waited for it without end: the time
/// of -W was over, and the first signal was not noticed.
#[test]
fn a_reader_that_stops_reading_holds_up_no_end() {
    let large = TopicName::new("a").unwrap();
    // More than a pipe holds.
    let payload = vec![b'x'; 1024 * 1024];
    for (arguments, code) in [
        ("sub -t a -W 0.5", status::TIMED_OUT),
        ("sub -t a -C 2", status::INTERRUPTED),
        ("sub -t a", status::FAILED),
    ] {
        let broker = TestBroker::start().unwrap();
        let mut running = Running::start(&mut at(&broker, arguments));
        broker.wait_for_subscription("a").blocking().unwrap();
        broker.publish(PublishRef::new(&large, &payload));
        // It has begun to write when there is something to read.
        let mut out = running.child().stdout.take().unwrap();
        out.read_exact(&mut [0]).unwrap();
        if code != status::TIMED_OUT {
            running.signal("-INT");
        }
        let ended = running.end().expect(code);
        assert_eq!(ended.errors.is_empty(), code == status::INTERRUPTED);
        drop(out);
    }
}

/// Each message that a server sends may be worth an error: a line for each would fill the disk that
/// standard error goes to.
#[test]
fn a_flood_of_messages_is_no_flood_of_errors() {
    const MESSAGES: usize = 5_000;
    let broker = TestBroker::start().unwrap();
    let command = "sub -t a -C 1 -V 311 --max-packet-size 200";
    let running = Running::start(&mut at(&broker, command));
    broker.wait_for_subscription("a").blocking().unwrap();
    let topic = TopicName::new("a").unwrap();
    for _ in 0..MESSAGES {
        broker.publish(PublishRef::new(&topic, &[b'x'; 200]));
    }
    broker.publish(PublishRef::new(&topic, b"small"));
    let ended = running.end().expect(status::PARTIAL);
    assert_eq!(ended.text(), "small\n");
    let lines = ended.errors.lines().count();
    assert!((11..100).contains(&lines), "{lines} lines");
    assert!(ended.errors.contains(" more errors like these"));
}

#[test]
fn nothing_listens() {
    let (listener, port) = listen();
    drop(listener);
    for command in ["pub -t a -m x", "sub -t a", "rr -t a -m x"] {
        let ended = run(&mut at_port(port, command)).expect(status::CONNECTION);
        ended.says("is a server running");
        let ended = run(at_port(port, command).arg("--quiet"));
        assert_eq!(ended.expect(status::CONNECTION).errors, "");
    }
}

#[test]
fn the_server_rejects() {
    let broker = TestBroker::start().unwrap();
    for version in ["311", "5", "auto"] {
        let reason = ConnectReasonCode::BadUserNameOrPassword;
        broker.inject(Fault::reject(reason).for_connections(2));
        let ended = run(&mut at(&broker, &format!("pub -t a -m x -V {version}")));
        ended.expect(status::REJECTED).says("the user name (-u)");
        broker.clear_faults();
    }
}

/// A server of 3.1.1 rejects a CONNECT of MQTT 5, which is no reason for a warning.
#[test]
fn a_version_is_found_without_a_word() {
    let (listener, port) = listen();
    let running = Running::start(&mut at_port(port, "pub -t a -m x -q 1"));
    let mut peer = Peer::connecting(&listener);
    assert_eq!(peer.read().unwrap()[0], 0x10);
    peer.write(&[0x20, 2, 0, 1]);
    let mut peer = Peer::accept(&listener);
    let publish = peer.read().unwrap();
    peer.acknowledge(&publish);
    assert_eq!(running.end().expect(status::DONE).errors, "");
}

/// What answers is no MQTT server, or nothing answers.
#[test]
fn a_server_that_is_none() {
    let (listener, port) = listen();
    let publish = |timeout| {
        let command = format!("pub -V 311 -t a -m x --connect-timeout {timeout}");
        Running::start(&mut at_port(port, &command))
    };
    let running = publish(10.0);
    let mut peer = Peer::connecting(&listener);
    peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    running.end().expect(status::CONNECTION);
    let running = publish(0.1);
    let silent = Peer::connecting(&listener);
    running.end().expect(status::CONNECTION).says("-V");
    drop(silent);
}

#[test]
fn the_connection_is_lost() {
    let subscribed = |broker: &TestBroker, times: usize| {
        let answers = broker.wait_for_packets(Direction::ToClient, PacketType::SubAck, times);
        answers.blocking().unwrap();
    };
    let broker = TestBroker::start().unwrap();
    let running = Running::start(&mut at(&broker, "sub -t a --retries 0"));
    subscribed(&broker, 1);
    broker.restart(Memory::Lost);
    running
        .end()
        .expect(status::LOST)
        .says("closed the connection");

    let broker = TestBroker::start().unwrap();
    let running = Running::start(&mut at(&broker, "sub -t b -i me --retry-max-wait 0.01"));
    subscribed(&broker, 1);
    assert!(broker.disconnect("me", DisconnectReasonCode::SessionTakenOver));
    running
        .end()
        .expect(status::LOST)
        .says("session taken over");

    // It is made again, and the subscription with it.
    let broker = TestBroker::start().unwrap();
    let running = Running::start(&mut at(&broker, "sub -t c -C 1 --retry-max-wait 0.01"));
    subscribed(&broker, 1);
    broker.restart(Memory::Lost);
    subscribed(&broker, 2);
    run(&mut at(&broker, "pub -t c -m again")).expect(status::DONE);
    let ended = running.end().expect(status::DONE);
    assert_eq!(ended.text(), "again\n");
    assert!(ended.errors.contains("connected again"), "{ended:?}");
}

/// The end of the connection, or of the input, is no message that was not published.
#[test]
fn lines_end_before_their_end() {
    let (listener, port) = listen();
    let mut command = at_port(port, "pub -V 311 -t a -l -q 1 --retries 0");
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let mut stdin = running.child().stdin.take().unwrap();
    let mut peer = Peer::accept(&listener);
    stdin.write_all(b"1\n").unwrap();
    // It is acknowledged, and then there is neither a line nor a server.
    let publish = peer.read().unwrap();
    peer.acknowledge(&publish);
    drop(peer);
    let ended = running.end().expect(status::LOST);
    ended.says("closed the connection");
    drop(stdin);

    let broker = TestBroker::start().unwrap();
    let folder = File::open(std::env::temp_dir()).unwrap();
    let mut command = at(&broker, "pub -t a -l");
    run(command.stdin(folder))
        .expect(status::FAILED)
        .says("standard input: ");
}

/// With QoS 0 no server acknowledges; the exit status is true all the same.
#[test]
fn a_message_at_which_the_server_hangs_up_was_not_published() {
    for (qos, part) in [("0", "-q 1"), ("1", ""), ("2", "")] {
        let broker = TestBroker::start().unwrap();
        broker.inject(Fault::hang_up_on(PacketType::Publish).until_cleared());
        let command = format!("pub -t a -m x -q {qos} --retries 3 --retry-max-wait 0.01");
        let ended = run(&mut at(&broker, &command)).expect(status::PUBLISH);
        assert!(
            ended.errors.lines().last().unwrap().contains(part),
            "{ended:?}"
        );
        assert_eq!(broker.messages().len(), 0);
    }
    let broker = TestBroker::start().unwrap();
    broker.inject(Fault::hang_up_on(PacketType::Publish));
    let ended = run_with(
        &mut at(&broker, "pub -t a -l -q 0 --retry-max-wait 0.01"),
        b"1\n2\n3\n",
    );
    assert_ne!(ended.status, status::DONE, "{ended:?}");
}

#[test]
fn the_time_is_over() {
    let broker = TestBroker::start().unwrap();
    run(&mut at(&broker, "sub -t a -W 0.05"))
        .expect(status::TIMED_OUT)
        .says("-W");
    assert!(has_disconnected(&broker));
    let mut running = Running::start(at(&broker, "pub -t a -l -W 0.05").stdin(Stdio::piped()));
    let stdin = running.child().stdin.take().unwrap();
    running.end().expect(status::TIMED_OUT).says("-W");
    drop(stdin);
}

#[test]
fn output_that_fails_is_an_error() {
    let broker = TestBroker::start().unwrap();
    let folder = Directory::new();
    let path = folder.path().join("messages");
    std::fs::create_dir(&path).unwrap();
    let command = format!("sub -t a --to-dir {}", path.display());
    let running = Running::start(&mut at(&broker, &command));
    broker.wait_for_subscription("a").blocking().unwrap();
    std::fs::remove_dir(&path).unwrap();
    run(&mut at(&broker, "pub -t a -m x")).expect(status::DONE);
    running.end().expect(status::FAILED).says("--to-dir");
}

#[test]
fn debugging_shows_packets_and_no_secrets() {
    let broker = TestBroker::start().unwrap();
    let ended = run(&mut at(
        &broker,
        "pub -d -i me -t a -m payload -u user -P secret",
    ))
    .expect(status::DONE);
    for line in [
        "me -out-> CONNECT",
        "me <-in-- CONNACK",
        "me -out-> PUBLISH QoS 0 \"a\" [7 bytes]",
    ] {
        assert!(ended.errors.contains(line), "{line}: {ended:?}");
    }
    assert!(!ended.errors.contains("secret") && !ended.errors.contains("payload"));
    assert_eq!(ended.text(), "");
}

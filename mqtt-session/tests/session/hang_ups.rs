//! A server that hangs up at a message instead of answering: the message is found, and it does not
//! take the others with it.

use crate::driver::*;
use martlet_proto::{Disconnect, DisconnectReasonCode, Packet, QoS, SubAckReasonCode, Version};
use martlet_session::CleanStart;
use martlet_session::{
    Config, ConnectionError, Event, PublishError, TransportError, TransportErrorKind,
    WhenServerHangsUp,
};
use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::time::Duration;

pub(crate) fn config() -> Config {
    named()
        .clean_start(CleanStart::Never)
        .keep_alive(0)
        .hang_up_time(Duration::ZERO)
}

/// A server that acknowledges in order, and hangs up at the payload "bad".
pub(crate) struct Server {
    version: Version,
    /// It has the session each time.
    keeps_session: bool,
    /// How often each connection was ended at the message, with how many messages in flight.
    hung_up: Vec<usize>,
}

impl Server {
    pub(crate) fn new(version: Version, keeps_session: bool) -> Self {
        Self {
            version,
            keeps_session,
            hung_up: Vec::new(),
        }
    }

    /// Answers what has come. Returns whether it has hung up.
    pub(crate) fn answer(&mut self, peer: &mut Peer) -> bool {
        let mut in_flight = 0;
        loop {
            let packets = peer.packets();
            if packets.is_empty() {
                return false;
            }
            in_flight += packets
                .iter()
                .filter(|packet| matches!(packet, Packet::Publish(_)))
                .count();
            for packet in packets {
                match packet {
                    Packet::Publish(publish) if publish.payload() == b"bad".as_slice() => {
                        self.hung_up.push(in_flight);
                        peer.cut();
                        return true;
                    }
                    Packet::Publish(publish) => {
                        let Some(id) = publish.delivery().packet_identifier() else {
                            continue;
                        };
                        let is_qos1 = publish.delivery().qos() == QoS::AtLeastOnce;
                        peer.send(if is_qos1 {
                            puback(id.get())
                        } else {
                            pubrec(id.get())
                        });
                        in_flight -= 1;
                    }
                    Packet::PubRel(ack) => peer.send(pubcomp(ack.packet_identifier.get())),
                    Packet::PingReq => peer.send(Packet::PingResp),
                    Packet::Subscribe(packet) => {
                        let codes = vec![SubAckReasonCode::GrantedQos1; packet.subscriptions.len()];
                        peer.send(suback(packet.packet_identifier.get(), &codes));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Connects until it does not hang up any more, a bounded number of times.
    fn serve(&mut self, peer: &mut Peer, most: usize) -> usize {
        for n in 0..most {
            peer.reconnect(
                self.version,
                self.keeps_session && self.version != Version::V3_1,
            );
            peer.store_all();
            if !self.answer(peer) {
                return n;
            }
        }
        most
    }
}

pub(crate) fn ends(peer: &mut Peer) -> Vec<String> {
    peer.reported()
        .into_iter()
        .filter(|line| line.starts_with("published"))
        .collect()
}

pub(crate) const HUNG_UP: &str = "the server ended 3 connections in a row when it got this message: \
                       it may forbid its topic, size or QoS";

/// A publish to a forbidden topic, on servers that hang up instead of answering: it was sent on
/// each connection anew, for ever, and nothing behind it was ever acknowledged.
// [MQTT-4.4.0-1]
#[test]
fn a_message_at_which_the_server_hangs_up_fails_and_the_others_go_on() {
    for version in Version::ALL {
        for (bad, keeps_session) in [(1, true), (2, true), (1, false)] {
            let mut peer = Peer::connected(version, config());
            let mut server = Server::new(version, keeps_session);
            // A QoS 2 message would be in doubt without the session. With it, its PUBCOMP makes one
            // connection more count for nothing.
            let other = if keeps_session { 2 } else { 1 };
            for (quality, payload) in [
                (1, "1"),
                (other, "2"),
                (bad, "bad"),
                (1, "4"),
                (other, "5"),
                (1, "6"),
            ] {
                peer.publish(message(quality, "a", payload));
            }
            assert!(server.answer(&mut peer));
            let connections = server.serve(&mut peer, 20);
            let counted = if keeps_session { 4 } else { 3 };
            assert_eq!(connections, counted + 3, "{version}");
            // At first with all that is behind it, then alone.
            let (first, alone) = server.hung_up.split_at(counted + 1);
            assert!(
                first.iter().all(|&n| n > 1) && alone == [1, 1, 1],
                "{version}: {:?}",
                server.hung_up
            );
            let mut ends = ends(&mut peer);
            ends.sort();
            let failed = format!("published 3: {HUNG_UP}");
            assert!(ends.contains(&failed), "{version}: {ends:?}");
            let acknowledged = ends.iter().filter(|line| line.ends_with("ok")).count();
            assert_eq!(
                (ends.len(), acknowledged, peer.session.in_flight()),
                (6, 5, 0),
                "{version}: {ends:?}"
            );
            // All is as it was: the whole window is open.
            for payload in ["7", "8", "9"] {
                peer.publish(message(1, "a", payload));
            }
            assert_eq!(peer.said().len(), 3, "{version}");
        }
    }
}

/// A clean session of 3.1.1 is lost on each connection: the message is a new one each time, and
/// still the same.
#[test]
fn a_clean_session_does_not_make_it_another_message() {
    let mut peer = Peer::connected(
        Version::V3_1_1,
        Config::default().keep_alive(0).hang_up_time(Duration::ZERO),
    );
    let mut server = Server::new(Version::V3_1_1, false);
    peer.subscribe("b", 1);
    peer.publish(message(1, "a", "1"));
    peer.publish(message(1, "a", "bad"));
    peer.publish(message(1, "a", "3"));
    assert!(server.answer(&mut peer));
    assert_eq!(server.serve(&mut peer, 20), 6);
    assert_eq!(server.hung_up[4..], [1, 1, 1]);
    assert_eq!(
        ends(&mut peer),
        [
            "published 2: ok".into(),
            format!("published 3: {HUNG_UP}"),
            "published 4: ok".into()
        ]
    );
}

/// Two of them, one behind the other, with good ones between.
#[test]
fn each_of_several_is_found() {
    let mut peer = Peer::connected(Version::V5, config());
    let mut server = Server::new(Version::V5, true);
    for payload in ["bad", "2", "bad", "bad", "5"] {
        peer.publish(message(1, "a", payload));
    }
    assert!(server.answer(&mut peer));
    assert_eq!(server.serve(&mut peer, 30), 2 + 3 + 3 + 3);
    let ends = ends(&mut peer);
    assert_eq!(
        ends.iter().filter(|line| line.ends_with("QoS")).count(),
        3,
        "{ends:?}"
    );
    assert_eq!(
        ends.iter().filter(|line| line.ends_with("ok")).count(),
        2,
        "{ends:?}"
    );
}

/// The server has the message and hangs up at its PUBREL: that loops just as well.
#[test]
fn a_pubrel_at_which_the_server_hangs_up_is_found() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.publish(message(2, "a", "1"));
    peer.publish(message(2, "a", "2"));
    peer.send_all(&[pubrec(1), pubrec(2)]);
    peer.forget();
    peer.cut();
    let mut alone = 0;
    for _ in 0..7 {
        peer.reconnect(Version::V5, true);
        let said = peer.said();
        alone += usize::from(said[1..] == ["PUBREL #1"]);
        if said.iter().any(|line| line == "PUBREL #1") {
            peer.cut();
        }
    }
    assert_eq!(alone, 3);
    assert_eq!(ends(&mut peer), [format!("published 1: {HUNG_UP}")]);
    peer.send(pubcomp(2));
    assert_eq!(ends(&mut peer), ["published 2: ok"]);
}

/// A network that breaks again and again, and lets something through now and then, is no server
/// that hangs up.
#[test]
fn an_acknowledgement_resets_the_count() {
    let mut peer = Peer::connected(Version::V5, config());
    for payload in ["1", "2", "3", "4", "5", "6"] {
        peer.publish(message(1, "a", payload));
    }
    for n in 1..=6 {
        for _ in 0..2 {
            peer.cut();
            peer.reconnect(Version::V5, true);
            assert_eq!(peer.packets().len(), 1 + 7 - usize::from(n));
        }
        peer.send(puback(n));
    }
    assert_eq!(ends(&mut peer).len(), 6);
}

/// The server acknowledges what is behind it before it hangs up: the count of connections without
/// an acknowledgement never rises.
#[test]
fn a_message_that_never_is_acknowledged_is_found_beside_others_that_are() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.publish(message(1, "a", "bad"));
    let mut ended = 0;
    for n in 0..40 {
        peer.publish(message(1, "a", &n.to_string()));
        let packets = peer.packets();
        let ids = packets.iter().filter_map(|packet| match packet {
            Packet::Publish(publish) if publish.payload() != b"bad".as_slice() => {
                publish.delivery().packet_identifier()
            }
            _ => None,
        });
        let acknowledged: Vec<_> = ids.map(|id| puback(id.get())).collect();
        peer.send_all(&acknowledged);
        ended = n;
        if ends(&mut peer).iter().any(|line| line.ends_with(HUNG_UP)) {
            break;
        }
        peer.cut();
        peer.reconnect(Version::V5, true);
    }
    assert!(ended < 20, "after {ended} connections");
}

fn write_timeout(peer: &mut Peer) {
    let error = TransportError::new(TransportErrorKind::WriteTimeout, "no progress");
    peer.session
        .handle_close(peer.now, ConnectionError::Transport(error));
    peer.drain();
}

/// A server that gives a reason of its own, what it should not have sent, and the end of the
/// connection from our side say nothing about a message.
#[test]
fn only_a_hang_up_counts() {
    let reasons: [fn(&mut Peer); 4] = [
        |peer| {
            peer.send(Packet::from(Disconnect::new(
                DisconnectReasonCode::ServerShuttingDown,
            )));
        },
        |peer| {
            peer.send(Packet::from(Disconnect::new(
                DisconnectReasonCode::SessionTakenOver,
            )));
        },
        |peer| peer.send_bytes(&[0xff, 0xff]),
        |peer| {
            peer.session
                .handle_close(peer.now, ConnectionError::Replaced);
            peer.drain();
        },
    ];
    for (i, end) in reasons.into_iter().enumerate() {
        let mut peer = Peer::connected(Version::V5, config());
        peer.publish(message(1, "a", "1"));
        peer.publish(message(1, "a", "2"));
        for _ in 0..10 {
            end(&mut peer);
            if peer.close.is_some() {
                peer.close();
            }
            peer.forget();
            peer.reconnect(Version::V5, true);
            assert_eq!(peer.said().len(), 3, "{i}");
        }
    }
}

/// A message that the path to the server does not carry, or at which the server falls silent, was
/// the first on every connection, and everything behind it starved. The others get past it; it is
/// not given up, because nobody said no to it.
#[test]
fn a_message_at_which_all_falls_silent_does_not_hold_up_the_others() {
    let ends: [fn(&mut Peer); 2] = [|peer| peer.wait(seconds(100)), write_timeout];
    for end in ends {
        let keep_alive = 20;
        let mut peer = Peer::connected(Version::V5, config().keep_alive(keep_alive));
        peer.publish(message(1, "a", "large"));
        peer.publish(message(1, "a", "2"));
        for _ in 0..10 {
            end(&mut peer);
            if peer.close.is_some() {
                peer.close();
            }
            peer.forget();
            peer.reconnect(Version::V5, true);
        }
        let said = peer.said();
        assert!(said[1..] == ["PUBLISH q1 #1 dup a large"], "{said:?}");
        peer.wait(seconds(10));
        let said = peer.said();
        assert!(said.iter().any(|line| line.ends_with("a 2")), "{said:?}");
        let reported = peer.reported();
        assert!(
            !reported.iter().any(|line| line.starts_with("published")),
            "{reported:?}"
        );
    }
}

/// Silent is not gone: a server that keeps the connection and does not answer holds up the others
/// for a while only.
#[test]
fn a_server_that_neither_answers_nor_hangs_up_does_not_hold_up_the_others() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.publish(message(1, "a", "1"));
    peer.publish(message(1, "a", "2"));
    for _ in 0..3 {
        peer.cut();
        peer.forget();
        peer.reconnect(Version::V5, true);
    }
    assert_eq!(peer.said()[1..], ["PUBLISH q1 #1 dup a 1"]);
    peer.publish(message(1, "a", "3"));
    peer.wait(millis(9_999));
    assert!(peer.said().is_empty());
    peer.wait(millis(1));
    assert_eq!(peer.said(), ["PUBLISH q1 #2 dup a 2", "PUBLISH q1 #3 a 3"]);
    peer.send_all(&[puback(3), puback(2)]);
    peer.cut();
    peer.forget();
    // It is still to be found out.
    peer.reconnect(Version::V5, true);
    assert_eq!(peer.said()[1..], ["PUBLISH q1 #1 dup a 1"]);
    peer.send(puback(1));
    assert_eq!(peer.session.in_flight(), 0);
}

/// Which of the two the server does not like would not be known: the message waits for the answer
/// to the request.
#[test]
fn a_suspect_is_not_sent_beside_a_request() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.publish(message(1, "a", "1"));
    for _ in 0..3 {
        peer.cut();
        peer.reconnect(Version::V5, true);
    }
    peer.cut();
    peer.forget();
    peer.open(Version::V5);
    peer.subscribe("b", 0);
    peer.send(connack(true));
    peer.answer_ping();
    let said = peer.said();
    assert!(
        said.len() == 2 && said[1].starts_with("SUBSCRIBE"),
        "{said:?}"
    );
    peer.send(suback(2, &[SubAckReasonCode::GrantedQos0]));
    assert_eq!(peer.said(), ["PUBLISH q1 #1 dup a 1"]);
}

/// Requests that follow one another without a pause held back the message for ever.
#[test]
fn a_suspect_has_its_turn_among_many_requests() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.publish(message(1, "a", "1"));
    peer.publish(message(1, "a", "2"));
    for _ in 0..3 {
        peer.cut();
        peer.reconnect(Version::V5, true);
    }
    peer.cut();
    peer.open(Version::V5);
    peer.forget();
    peer.subscribe("b", 0);
    peer.send(connack(true));
    let (mut asked, mut published, mut unanswered) = (0, Vec::new(), VecDeque::new());
    for n in 0..40 {
        peer.subscribe(&format!("b/{n}"), 0);
        let packets = peer.packets();
        let is_quiet = packets.is_empty();
        for packet in packets {
            match packet {
                Packet::Subscribe(subscribe) => {
                    asked += 1;
                    unanswered.push_back(subscribe.packet_identifier.get());
                }
                Packet::Publish(publish) => {
                    let id = publish.delivery().packet_identifier().expect("QoS 1");
                    published.push((publish.payload().to_vec(), asked));
                    peer.send(puback(id.get()));
                }
                Packet::PingReq => peer.send(Packet::PingResp),
                other => panic!("{other:?}"),
            }
        }
        // Of two that follow one another the first is answered when the second has left.
        if unanswered.len() > 1 || is_quiet {
            let id = unanswered.pop_front().expect("it waits for an answer");
            peer.send(suback(id, &[SubAckReasonCode::GrantedQos0]));
        }
    }
    let [(first, early), (second, late)] = &published[..] else {
        panic!("{published:?}")
    };
    assert_eq!((&first[..], &second[..]), (&b"1"[..], &b"2"[..]));
    assert!(*early <= 2 && *late <= 4, "{published:?}");
    assert!(asked > 10, "{asked}");
}

#[test]
fn what_becomes_of_it_is_a_policy() {
    for when_server_hangs_up in [WhenServerHangsUp::KeepTrying, WhenServerHangsUp::Ask] {
        let mut peer = Peer::connected(
            Version::V5,
            config().when_server_hangs_up(when_server_hangs_up),
        );
        let mut server = Server::new(Version::V5, true);
        let operation = peer.publish(message(1, "a", "bad"));
        peer.publish(message(1, "a", "2"));
        assert!(server.answer(&mut peer));
        assert_eq!(server.serve(&mut peer, 20), 20);
        let asked: Vec<_> = peer
            .events()
            .into_iter()
            .filter_map(|event| match event {
                Event::ServerHangsUp {
                    operation,
                    key,
                    connections,
                    given_up,
                } => Some((operation, key, connections, given_up)),
                Event::Published { .. } => panic!("{event:?}"),
                _ => None,
            })
            .collect();
        if when_server_hangs_up == WhenServerHangsUp::KeepTrying {
            assert_eq!(asked, []);
        } else {
            let counted = [3, 6, 9, 12, 15, 18];
            assert_eq!(asked, counted.map(|n| (operation, Some(1), n, false)));
        }
        peer.session.withdraw(operation);
        assert_eq!(server.serve(&mut peer, 20), 0);
        assert_eq!(
            ends(&mut peer),
            ["published 1: the message was withdrawn", "published 2: ok"]
        );
    }
}

/// What the application does is reported as an event too, and the limit is a setting.
#[test]
fn giving_up_is_an_event_and_the_limit_a_setting() {
    let mut peer = Peer::connected(Version::V5, config().hang_up_limit(1));
    let mut server = Server::new(Version::V5, true);
    let operation = peer.publish(message(1, "a", "bad"));
    assert!(server.answer(&mut peer));
    assert_eq!(server.serve(&mut peer, 20), 1);
    let events = peer.events();
    let given_up = Event::ServerHangsUp {
        operation,
        key: Some(1),
        connections: 1,
        given_up: true,
    };
    let i = events
        .iter()
        .position(|event| *event == given_up)
        .expect("it is reported");
    let error = PublishError::ServerHungUp { connections: 1 };
    assert_eq!(
        events[i + 1],
        Event::Published {
            operation,
            key: Some(1),
            result: Err(error)
        }
    );
}

/// A message whose time was over went on to be sent, and the server went on to hang up at it.
#[test]
fn a_message_that_nobody_waits_for_does_not_loop() {
    for when_server_hangs_up in [
        WhenServerHangsUp::Fail,
        WhenServerHangsUp::KeepTrying,
        WhenServerHangsUp::Ask,
    ] {
        let publish_timeout = Some(seconds(5));
        let mut peer = Peer::connected(
            Version::V5,
            config()
                .when_server_hangs_up(when_server_hangs_up)
                .publish_timeout(publish_timeout),
        );
        let mut server = Server::new(Version::V5, true);
        peer.publish(message(1, "a", "bad"));
        peer.wait(seconds(5));
        peer.publish(message(1, "a", "2"));
        assert!(server.answer(&mut peer));
        assert_eq!(server.serve(&mut peer, 20), 5);
        assert_eq!(peer.session.in_flight(), 0);
    }
}

/// The server's Receive Maximum changes from one connection to the next, and is obeyed when nothing
/// is suspect any more.
#[test]
fn the_window_is_the_server_s_again_afterwards() {
    let mut peer = Peer::connected(Version::V5, config());
    let mut server = Server::new(Version::V5, true);
    for payload in ["bad", "2", "3", "4"] {
        peer.publish(message(1, "a", payload));
    }
    assert!(server.answer(&mut peer));
    assert_eq!(server.serve(&mut peer, 5), 5);
    peer.open(Version::V5);
    let mut accepted = connack(true);
    accepted.properties.receive_maximum = NonZeroU16::new(2);
    peer.send(accepted);
    assert!(!server.answer(&mut peer));
    for payload in ["5", "6", "7"] {
        peer.publish(message(1, "a", payload));
    }
    assert_eq!(peer.said().len(), 2);
}

/// An unsteady network, or a server that cannot take anything for a while, cost a message within
/// seconds where connections were made again at once.
#[test]
fn a_minute_of_cuts_costs_no_message() {
    let mut peer = Peer::connected(Version::V5, config().hang_up_time(seconds(120)));
    peer.publish(message(1, "a", "1"));
    peer.publish(message(1, "a", "2"));
    for _ in 0..240 {
        peer.cut();
        peer.wait(millis(250));
        peer.reconnect(Version::V5, true);
    }
    assert_eq!(ends(&mut peer), [""; 0]);
    peer.send(puback(1));
    peer.cut();
    for _ in 0..2 {
        peer.reconnect(Version::V5, true);
        peer.cut();
        // What was acknowledged begins the time anew.
        peer.wait(seconds(59));
    }
    peer.reconnect(Version::V5, true);
    peer.cut();
    assert_eq!(ends(&mut peer), ["published 1: ok"]);
    peer.wait(seconds(2));
    peer.reconnect(Version::V5, true);
    peer.cut();
    let failed = HUNG_UP.replace("3 connections", "5 connections");
    assert_eq!(ends(&mut peer), [format!("published 2: {failed}")]);
}

/// While it is tried, the application hears of it.
#[test]
fn a_message_that_is_still_tried_is_named() {
    let mut peer = Peer::connected(Version::V5, config().hang_up_time(seconds(120)));
    let mut server = Server::new(Version::V5, true);
    peer.publish(message(1, "a", "bad"));
    assert!(server.answer(&mut peer));
    assert_eq!(server.serve(&mut peer, 9), 9);
    peer.wait(seconds(120));
    assert_eq!(server.serve(&mut peer, 9), 1);
    let named: Vec<_> = peer
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::ServerHangsUp {
                connections,
                given_up,
                ..
            } => Some((connections, given_up)),
            _ => None,
        })
        .collect();
    assert_eq!(named, [(3, false), (6, false), (8, true)]);
}

/// Each process made one connection, failed, and was started again: the count began anew each time.
#[test]
fn the_count_outlives_the_process_of_a_stored_session() {
    for version in [Version::V3_1_1, Version::V5] {
        let mut peer = connected(version, durable().keep_alive(0));
        let mut server = Server::new(version, true);
        for payload in ["bad", "2", "3"] {
            peer.publish(message(1, "a", payload));
        }
        peer.store_all();
        assert!(server.answer(&mut peer));
        let mut reported = Vec::new();
        let mut processes = 0;
        while processes < 20 {
            peer.store_all();
            reported.extend(ends(&mut peer));
            peer.crash(durable().keep_alive(0));
            processes += 1;
            if server.serve(&mut peer, 1) == 0 {
                break;
            }
        }
        assert_eq!(processes, 3 + 12, "{version}");
        let failed = HUNG_UP.replace("3 connections", "12 connections");
        assert_eq!(reported, [format!("published 1: {failed}")], "{version}");
        peer.store_all();
        assert!(!server.answer(&mut peer));
        peer.store_all();
        assert_eq!(
            peer.session.in_flight() + peer.session.queued(),
            0,
            "{version}"
        );
    }
}

/// The server hung up at what it now acknowledges, and other messages were published meanwhile. A
/// durable session noticed only when it made bytes that they may leave now: it had nothing to
/// store before, and no bytes after, so that they waited for the next packet, or the keep alive.
#[test]
fn messages_behind_the_suspects_of_a_durable_session_are_stored_at_once() {
    let mut peer = connected(Version::V5, durable());
    peer.publish(message(1, "t", "suspect"));
    peer.store_all();
    for _ in 0..3 {
        peer.cut();
        peer.reconnect(Version::V5, true);
    }
    peer.publish(message(1, "t", "next"));
    peer.publish(message(1, "t", "after it"));
    peer.store_all();
    assert_eq!(peer.said().last().unwrap(), "PUBLISH q1 #1 dup t suspect");
    peer.send(puback(1));
    peer.store_all();
    assert_eq!(
        peer.said(),
        ["PUBLISH q1 #2 t next", "PUBLISH q1 #3 t after it"]
    );
}

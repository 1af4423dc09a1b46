//! Keep alive: when a PINGREQ is due, and how a dead link is found.

use crate::driver::*;
use martlet_proto::{Packet, Version};
use martlet_session::InboundLimits;
use martlet_session::{Awaited, Config, ConnectionError};

/// Due after 45 s without anything sent, or after 60 s without anything received; dead 10 s later.
fn connected() -> Peer {
    Peer::connected(
        Version::V5,
        Config::default().keep_alive(60).ping_timeout(seconds(10)),
    )
}

fn nothing() -> Vec<String> {
    Vec::new()
}

#[test]
fn a_ping_is_due_a_quarter_before_the_keep_alive_has_passed() {
    let mut peer = connected();
    peer.wait(millis(44_999));
    assert_eq!(peer.said(), nothing());
    peer.wait(millis(1));
    assert_eq!(peer.said(), ["PINGREQ"]);
    peer.send(Packet::PingResp);
    assert_eq!(
        peer.reported(),
        nothing(),
        "only the application's own pings are reported"
    );
    peer.wait(seconds(44));
    assert_eq!(peer.said(), nothing());
    peer.wait(seconds(1));
    assert_eq!(peer.said(), ["PINGREQ"]);
}

#[test]
fn the_margin_can_be_chosen_up_to_the_last_second() {
    for (margin, due) in [
        (10, 50),
        (0, 60),
        (59, 1),
        (60, 45),
        (u64::from(u32::MAX), 45),
        (u64::MAX, 45),
    ] {
        let config = Config::default().keep_alive_margin(Some(seconds(margin)));
        let mut peer = Peer::connected(Version::V5, config);
        peer.wait(seconds(due) - millis(1));
        assert_eq!(peer.said(), nothing());
        peer.wait(millis(1));
        assert_eq!(peer.said(), ["PINGREQ"]);
    }
}

#[test]
fn what_is_sent_postpones_the_ping() {
    let mut peer = connected();
    peer.wait(seconds(40));
    peer.publish(message(0, "a", ""));
    peer.said();
    peer.send(publish(0, 0, "a", ""));
    peer.wait(seconds(44));
    assert_eq!(peer.said(), nothing());
    peer.wait(seconds(1));
    assert_eq!(peer.said(), ["PINGREQ"]);
}

/// Another client is dropped by the server because it only listens.
#[test]
fn what_is_received_never_postpones_the_ping() {
    let mut peer = connected();
    for _ in 0..44 {
        peer.wait(seconds(1));
        peer.send(publish(0, 0, "a", ""));
    }
    assert_eq!(peer.said(), nothing());
    peer.wait(seconds(1));
    assert_eq!(peer.said(), ["PINGREQ"]);
}

/// A client that publishes all the time would never notice that nobody listens.
#[test]
fn nothing_received_for_a_keep_alive_asks_too() {
    let mut peer = connected();
    for _ in 0..59 {
        peer.wait(seconds(1));
        peer.publish(message(0, "a", ""));
    }
    assert!(!peer.said().contains(&"PINGREQ".to_owned()));
    peer.wait(seconds(1));
    peer.publish(message(0, "a", ""));
    assert!(peer.said().contains(&"PINGREQ".to_owned()));
    for _ in 0..9 {
        peer.wait(seconds(1));
        peer.publish(message(0, "a", ""));
    }
    assert!(peer.close.is_none());
    peer.wait(seconds(1));
    assert_eq!(
        peer.close,
        Some(ConnectionError::Timeout(Awaited::PingResp))
    );
}

/// Other clients never notice.
#[test]
fn a_missing_pingresp_ends_the_connection() {
    let mut peer = connected();
    peer.wait(seconds(45));
    assert_eq!(peer.said(), ["PINGREQ"]);
    peer.wait(millis(9_999));
    assert!(peer.close.is_none());
    peer.wait(millis(1));
    assert_eq!(
        peer.close,
        Some(ConnectionError::Timeout(Awaited::PingResp))
    );
    assert_eq!(peer.said(), ["DISCONNECT 0x80"]);
}

#[test]
fn any_byte_answers() {
    let mut peer = connected();
    peer.wait(seconds(45));
    peer.wait(seconds(9));
    // The first byte of a PUBLISH.
    peer.send_bytes(&[0x30]);
    peer.wait(seconds(30));
    assert!(peer.close.is_none());
}

#[test]
fn the_deadline_counts_though_the_socket_takes_nothing() {
    let mut peer = connected();
    peer.blocked = true;
    peer.wait(seconds(54));
    assert!(peer.close.is_none());
    peer.wait(seconds(1));
    assert_eq!(
        peer.close,
        Some(ConnectionError::Timeout(Awaited::PingResp))
    );
}

#[test]
fn one_ping_waits_for_the_socket_however_long_it_takes() {
    let mut peer = connected();
    peer.blocked = true;
    for _ in 0..100 {
        peer.wait(seconds(9));
        peer.send(publish(0, 0, "a", ""));
    }
    assert!(
        peer.close.is_none(),
        "the link is alive, though we cannot send"
    );
    peer.unblock();
    assert_eq!(peer.said(), ["PINGREQ"]);
}

/// A ping of the application that waited in a blocked output stopped the clock of the keep alive.
#[test]
fn a_ping_of_the_application_does_not_hide_a_dead_link() {
    let mut peer = connected();
    peer.blocked = true;
    peer.session.ping().expect("connected");
    peer.send(publish(0, 0, "a", ""));
    peer.wait(seconds(70));
    assert_eq!(
        peer.close,
        Some(ConnectionError::Timeout(Awaited::PingResp))
    );
}

/// The program was busy for longer than both timers, while the server went on sending: what it sent
/// is an answer. The deadline, counted from when the PINGREQ had been due, used to be over already.
#[test]
fn bytes_that_arrived_while_nobody_looked_at_the_clock_have_answered() {
    let mut peer = connected();
    peer.now += seconds(100);
    peer.send(publish(0, 0, "a", ""));
    peer.wait(seconds(1));
    assert!(peer.close.is_none());
    assert_eq!(peer.said(), ["PINGREQ"]);
    peer.wait(seconds(9));
    assert_eq!(
        peer.close,
        Some(ConnectionError::Timeout(Awaited::PingResp))
    );
}

/// A long sleep of the machine, and nothing arrived.
#[test]
fn both_timers_may_run_out_at_once() {
    let mut peer = connected();
    peer.now += seconds(1000);
    peer.session.handle_timeout(peer.now);
    peer.drain();
    assert_eq!(
        peer.close,
        Some(ConnectionError::Timeout(Awaited::PingResp))
    );
}

/// The program waited for something else, in which it did not read. It had no connection after that.
#[test]
fn silence_in_a_pause_says_nothing_of_the_link() {
    let mut peer = connected();
    peer.now += seconds(80);
    peer.session.handle_pause(peer.now);
    peer.session.handle_timeout(peer.now);
    peer.drain();
    assert_eq!(peer.said(), ["PINGREQ"]);
    peer.wait(millis(9_999));
    assert!(peer.close.is_none());
    // However many pauses follow, it has that time once.
    peer.session.handle_pause(peer.now);
    peer.wait(millis(1));
    assert_eq!(
        peer.close,
        Some(ConnectionError::Timeout(Awaited::PingResp))
    );
}

/// A device that publishes at QoS 0 and pauses between its messages asks whether anybody listens, too.
#[test]
fn pauses_do_not_postpone_the_ping() {
    let mut peer = connected();
    for _ in 0..3 {
        peer.now += seconds(20);
        peer.session.handle_pause(peer.now);
        peer.session.handle_timeout(peer.now);
        peer.publish(message(0, "a", ""));
    }
    assert!(peer.said().contains(&"PINGREQ".to_owned()));
    peer.now += seconds(20);
    peer.session.handle_pause(peer.now);
    peer.session.handle_timeout(peer.now);
    peer.drain();
    assert_eq!(
        peer.close,
        Some(ConnectionError::Timeout(Awaited::PingResp))
    );
}

#[test]
fn a_long_ping_timeout_does_not_stop_the_pings() {
    let mut peer = Peer::connected(Version::V5, Config::default().ping_timeout(seconds(1000)));
    peer.wait(seconds(45 * 4));
    assert_eq!(peer.said(), ["PINGREQ", "PINGREQ", "PINGREQ", "PINGREQ"]);
}

#[test]
fn the_server_s_keep_alive_replaces_ours() {
    for (theirs, due) in [(20, Some(15)), (0, None)] {
        let mut peer = Peer::new(Config::default());
        peer.open(Version::V5);
        let mut connack = connack(false);
        connack.properties.server_keep_alive = Some(theirs);
        peer.send(connack);
        peer.forget();
        assert_eq!(peer.session.limits().keep_alive, theirs);
        assert_eq!(
            peer.session.poll_timeout(),
            due.map(|due| peer.now + seconds(due))
        );
    }
}

#[test]
fn without_keep_alive_nothing_is_due() {
    let mut peer = Peer::connected(Version::V5, Config::default().keep_alive(0));
    assert_eq!(peer.session.poll_timeout(), None);
    peer.wait(seconds(1_000_000));
    assert_eq!(peer.said(), nothing());
}

/// Reading was paused because too much waits to be taken: a ping makes the session read on, up to
/// the answer.
#[test]
fn a_ping_resumes_paused_reading() {
    let config = Config::default().inbound(InboundLimits::default().soft_messages(1));
    let mut peer = Peer::connected(Version::V5, config);
    peer.send_all(&[publish(0, 0, "a", "1"), publish(0, 0, "a", "2")]);
    assert!(!peer.session.wants_input());
    peer.wait(seconds(45));
    assert!(peer.session.wants_input());
    peer.send(Packet::PingResp);
    assert_eq!(peer.unread(), 0);
    assert!(!peer.session.wants_input());
}

/// Whatever is sent and received, and whenever: from one sending to the next it is never longer
/// than the keep alive.
// [MQTT-3.1.2-20] [MQTT-3.1.2-23]
#[test]
#[cfg_attr(miri, ignore = "too slow: 700,000 steps")]
fn the_gap_between_two_packets_is_never_longer_than_the_keep_alive() {
    for version in Version::ALL {
        for margin in [None, Some(seconds(0)), Some(seconds(5))] {
            let config = named().keep_alive(20).keep_alive_margin(margin);
            let mut peer = Peer::connected(version, config);
            let mut last = peer.now;
            // Numerical Recipes' generator: the same steps each time.
            let mut random = 1u32;
            for _ in 0..5_000 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                match random >> 29 {
                    0 => {
                        peer.publish(message(0, "a", ""));
                        last = peer.now;
                    }
                    1..=3 => peer.send(publish(0, 0, "a", "")),
                    _ => {}
                }
                for _ in 0..random >> 16 & 31 {
                    peer.wait(millis(500));
                    if !peer.packets().is_empty() {
                        last = peer.now;
                    }
                    assert!(
                        peer.now <= last + seconds(20),
                        "{version}, margin {margin:?}"
                    );
                    peer.send(Packet::PingResp);
                }
                peer.forget();
                peer.messages.clear();
            }
            assert!(peer.close.is_none());
        }
    }
}

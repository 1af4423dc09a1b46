//! Acknowledgements that wait for others, say more than a code, or never come.

use crate::driver::*;
use martlet_proto::{Ack, AckProperties, Packet, PubAckReasonCode, Version};
use martlet_session::CleanStart;
use martlet_session::{Config, Details, Event};
use std::num::NonZeroU32;

fn config() -> Config {
    named().clean_start(CleanStart::Never).keep_alive(0)
}

/// How many acknowledgements wait, as reported.
fn held(peer: &mut Peer) -> Vec<usize> {
    let held = |event| match event {
        Event::AcknowledgementsHeld { held, .. } => Some(held),
        _ => None,
    };
    peer.events().into_iter().filter_map(held).collect()
}

/// The first of three is with a slow consumer: the acknowledgements of the others wait for it, and
/// nobody knew why the server had stopped.
#[test]
fn a_message_that_holds_back_acknowledgements_is_told_until_it_is_taken() {
    for quality in [1, 2] {
        let mut peer = Peer::connected(Version::V5, config());
        for n in 1..=3 {
            peer.send(publish(quality, n, "a", "x"));
        }
        peer.reported();
        peer.take(1);
        let by = peer.messages[0].token.delivery();
        assert_eq!(peer.said(), [""; 0]);
        peer.wait(millis(9_999));
        assert_eq!(held(&mut peer), [0; 0]);
        peer.take(1);
        peer.wait(millis(1));
        let reported = peer.events();
        assert!(
            matches!(reported[..], [Event::AcknowledgementsHeld { by: found, held: 2 }] if found == by),
            "{reported:?}"
        );
        peer.wait(seconds(30));
        assert_eq!(held(&mut peer), [2; 3], "and again each time");
        peer.take(0);
        assert_eq!(peer.said().len(), 3);
        peer.wait(seconds(60));
        assert_eq!(held(&mut peer), [0; 0]);
        assert_eq!(peer.session.poll_timeout(), None);
    }
}

#[test]
fn who_is_slow_and_holds_back_nobody_is_not_told() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.send_all(&[
        publish(1, 1, "a", "x"),
        publish(1, 2, "a", "x"),
        publish(2, 3, "a", "x"),
    ]);
    peer.reported();
    assert_eq!(peer.session.poll_timeout(), None, "it costs no timer");
    peer.take(2);
    peer.take(0);
    assert_eq!(peer.said(), ["PUBREC #3", "PUBACK #1"]);
    peer.wait(seconds(60));
    assert_eq!(held(&mut peer), [0; 0]);
}

/// The holder changes in between: each has its own time, one to two periods.
#[test]
fn each_holder_has_its_time() {
    let mut peer = Peer::connected(Version::V5, config());
    for n in 1..=4 {
        peer.send(publish(1, n, "a", "x"));
    }
    peer.reported();
    peer.take(3);
    peer.wait(seconds(9));
    peer.take(0);
    peer.wait(seconds(10));
    assert_eq!(
        held(&mut peer),
        [0; 0],
        "the second has held for ten seconds, nobody for two looks"
    );
    peer.wait(seconds(1));
    assert_eq!(held(&mut peer), [1]);
    // It ends with the connection, and nothing is left of it on the next.
    peer.cut();
    assert_eq!(peer.session.poll_timeout(), None);
    peer.reconnect(Version::V5, true);
    peer.wait(seconds(60));
    assert_eq!(held(&mut peer), [0; 0]);
}

#[test]
fn it_can_be_turned_off() {
    let mut peer = Peer::connected(Version::V5, config().held_acknowledgements_after(None));
    peer.send_all(&[publish(1, 1, "a", "x"), publish(1, 2, "a", "x")]);
    peer.reported();
    peer.take(1);
    assert_eq!(peer.session.poll_timeout(), None);
}

/// Abandoned, a message is not acknowledged; sent again it is delivered again, at QoS 2 too, where
/// an unhandled copy would stay instead.
#[test]
fn an_abandoned_message_comes_again() {
    for late in [false, true] {
        let mut peer = Peer::connected(Version::V5, config());
        peer.send_all(&[
            publish(0, 0, "a", "0"),
            publish(1, 1, "a", "1"),
            publish(2, 2, "a", "2"),
        ]);
        peer.reported();
        if late {
            peer.cut();
        }
        for message in std::mem::take(&mut peer.messages) {
            peer.session.abandon(message.token);
        }
        peer.drain();
        assert_eq!(peer.session.unhandled(), 0, "nobody holds them");
        if !late {
            // What comes later stands behind them.
            peer.send_all(&[publish(1, 11, "a", "11"), publish(2, 12, "a", "12")]);
            peer.reported();
            peer.take(0);
            peer.take(0);
            assert_eq!(peer.said(), [""; 0]);
            peer.cut();
        }
        peer.reconnect(Version::V5, true);
        peer.forget();
        peer.send_all(&[duplicate(1, 1, "a", "1"), duplicate(2, 2, "a", "2")]);
        assert_eq!(
            peer.reported(),
            ["message q1 a 1", "message q2 a 2"],
            "late: {late}"
        );
        peer.take(0);
        peer.take(0);
        assert_eq!(peer.said(), ["PUBACK #1", "PUBREC #2"]);
        peer.send(pubrel(2));
        assert_eq!(peer.said(), ["PUBCOMP #2"]);
    }
}

fn details(text: &str) -> Details {
    Details::default()
        .reason_string(Some(words(text)))
        .user_properties([(words("name"), words("value"))].into())
}

/// PUBACK and PUBREC have the words of the application, each its own, also when it has waited for
/// its turn [MQTT-4.6.0-2].
#[test]
fn an_acknowledgement_can_say_more() {
    for quality in [1, 2] {
        let mut peer = Peer::connected(Version::V5, config());
        for n in 1..=3 {
            peer.send(publish(quality, n, "a", "x"));
        }
        peer.reported();
        let mut messages = std::mem::take(&mut peer.messages);
        let last = messages.pop().unwrap().token;
        peer.session
            .acknowledge_with(last, PubAckReasonCode::QuotaExceeded, details("full"));
        let middle = messages.pop().unwrap().token;
        peer.session
            .acknowledge_with(middle, PubAckReasonCode::Success, Details::default());
        let first = messages.pop().unwrap().token;
        peer.session
            .acknowledge_with(first, PubAckReasonCode::Success, details("fine"));
        peer.drain();
        let said: Vec<_> = peer
            .packets()
            .into_iter()
            .map(|packet| match packet {
                Packet::PubAck(ack) | Packet::PubRec(ack) => {
                    let text = ack
                        .properties
                        .map(|ack| ack.reason_string.unwrap().as_str().to_owned());
                    (ack.packet_identifier.get(), ack.reason, text)
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            said,
            [
                (1, PubAckReasonCode::Success, Some("fine".into())),
                (2, PubAckReasonCode::Success, None),
                (3, PubAckReasonCode::QuotaExceeded, Some("full".into())),
            ]
        );
    }
}

/// Words that the server has no room for are left out, not the acknowledgement [MQTT-3.4.2-2,
/// MQTT-3.4.2-3, MQTT-3.5.2-2, MQTT-3.5.2-3]. In 3.x there are none.
#[test]
fn words_that_do_not_fit_are_left_out() {
    // Header 2, identifier 2, reason 1, property length 1, a reason string of 3 + 8, a user
    // property of 1 + 6 + 7.
    for (version, largest, fits) in [
        (Version::V5, 31, true),
        (Version::V5, 30, false),
        (Version::V3_1_1, 31, false),
    ] {
        let mut peer = Peer::new(config());
        peer.open(version);
        let mut accepted = connack(false);
        if version == Version::V5 {
            accepted.properties.maximum_packet_size = NonZeroU32::new(largest);
        }
        peer.send(accepted);
        peer.forget();
        peer.send_all(&[publish(1, 1, "a", "x"), publish(2, 2, "a", "x")]);
        peer.reported();
        for message in std::mem::take(&mut peer.messages) {
            peer.session.acknowledge_with(
                message.token,
                PubAckReasonCode::Success,
                details("too long"),
            );
        }
        peer.drain();
        let Details {
            reason_string,
            user_properties,
            ..
        } = details("too long");
        let properties = AckProperties {
            reason_string,
            user_properties,
        };
        let ack = |n| {
            let ack = Ack::new(id(n), PubAckReasonCode::Success);
            if fits {
                ack.with_properties(properties.clone())
            } else {
                ack
            }
        };
        assert_eq!(
            peer.packets(),
            [Packet::PubAck(ack(1)), Packet::PubRec(ack(2))],
            "{version} {largest}"
        );
    }
}

/// A token whose session the server has lost does nothing, whatever it says.
#[test]
fn tokens_of_a_lost_session_are_inert() {
    for quality in [1, 2] {
        let mut peer = Peer::connected(Version::V5, config());
        for n in 1..=3 {
            peer.send(publish(quality, n, "a", "x"));
        }
        peer.reported();
        peer.cut();
        peer.reconnect(Version::V5, false);
        peer.forget();
        let mut old = std::mem::take(&mut peer.messages)
            .into_iter()
            .map(|message| message.token);
        peer.send(publish(quality, 1, "a", "new"));
        assert_eq!(peer.reported().len(), 1);
        peer.acknowledge(old.next().unwrap(), PubAckReasonCode::Success);
        peer.session.acknowledge_with(
            old.next().unwrap(),
            PubAckReasonCode::NotAuthorized,
            details("no"),
        );
        peer.session.abandon(old.next().unwrap());
        peer.drain();
        assert_eq!(peer.said(), [""; 0]);
        peer.take(0);
        assert_eq!(peer.said().len(), 1);
    }
}

//! Those who wait for an answer beside many who had theirs: they are neither forgotten nor
//! remembered for ever.

use crate::driver::*;
use martlet_proto::{Packet, SubAckReasonCode, Version};
use martlet_session::{Config, LostSession, RequestError};

fn config() -> Config {
    named()
        .keep_alive(0)
        .request_timeout(seconds(10))
        .publish_timeout(Some(seconds(10)))
}

#[test]
fn a_message_without_an_acknowledgement_beside_many_with_one() {
    for quality in [1, 2] {
        let mut peer = connected(Version::V5, config());
        peer.publish(message(quality, "a", "unanswered"));
        if quality == 2 {
            peer.send(pubrec(1));
        }
        peer.forget();
        peer.wait(seconds(1));
        for _ in 0..500 {
            peer.publish(message(1, "a", "answered"));
            let Some(Packet::Publish(publish)) = peer.packets().pop() else {
                panic!("a PUBLISH")
            };
            peer.send(puback(
                publish
                    .delivery()
                    .packet_identifier()
                    .expect("above QoS 0")
                    .get(),
            ));
        }
        peer.forget();
        peer.wait(seconds(8));
        assert_eq!(peer.reported(), Vec::<String>::new());
        peer.wait(seconds(1));
        assert_eq!(
            peer.reported(),
            ["published 1: no acknowledgement in time; the message is not given up"]
        );
        // Nobody else waits.
        peer.wait(seconds(10));
        assert_eq!(
            (peer.reported(), peer.session.poll_timeout()),
            (vec![], None)
        );
    }
}

#[test]
fn a_request_without_an_answer_beside_many_with_one() {
    let mut peer = connected(Version::V5, config());
    peer.subscribe("unanswered", 1);
    peer.forget();
    peer.wait(seconds(1));
    for _ in 0..500 {
        peer.subscribe("answered", 1);
        let Some(Packet::Subscribe(subscribe)) = peer.packets().pop() else {
            panic!("a SUBSCRIBE")
        };
        peer.send(suback(
            subscribe.packet_identifier.get(),
            &[SubAckReasonCode::GrantedQos1],
        ));
    }
    peer.forget();
    peer.wait(seconds(8));
    assert_eq!(peer.reported(), Vec::<String>::new());
    peer.wait(seconds(1));
    assert_eq!(peer.reported(), ["subscribed 1: no answer in time"]);
}

#[test]
fn a_ping_without_an_answer_behind_many_with_one() {
    let mut peer = connected(Version::V5, config());
    for n in 1..=500 {
        peer.session.ping().expect("connected");
        peer.drain();
        peer.send(Packet::PingResp);
        assert_eq!(peer.reported(), [format!("pong {n}: ok")]);
    }
    peer.session.ping().expect("connected");
    peer.drain();
    peer.wait(seconds(10));
    assert_eq!(peer.reported(), ["pong 501: no answer in time"]);
    assert_eq!(peer.session.poll_timeout(), None);
}

#[test]
fn pings_without_answers_are_bounded() {
    let mut peer = connected(Version::V5, config().request_timeout(seconds(100)));
    let mut accepted = 0;
    while peer.session.ping().is_ok() {
        accepted += 1;
    }
    assert_eq!(
        (accepted, peer.session.ping()),
        (65_535, Err(RequestError::TooMany))
    );
    peer.drain();
    peer.send(Packet::PingResp);
    assert_eq!(peer.reported(), ["pong 1: ok"]);
    assert!(peer.session.ping().is_ok());
    assert_eq!(peer.session.ping(), Err(RequestError::TooMany));
}

/// A publisher whose acknowledgement did not come in time does not expect the message in
/// another session, nor to hear of it again.
#[test]
fn what_is_late_ends_with_the_session() {
    for (lost, quality, recorded) in [
        (LostSession::Requeue, 1, false),
        (LostSession::Requeue, 2, false),
        (LostSession::Requeue, 2, true),
        (LostSession::InDoubt, 1, false),
        (LostSession::InDoubt, 2, true),
    ] {
        let mut peer = connected(Version::V5, config().lost_qos1(lost).lost_qos2(lost));
        peer.publish(message(quality, "a", "late"));
        if recorded {
            peer.send(pubrec(1));
        }
        peer.wait(seconds(10));
        assert_eq!(
            peer.reported(),
            ["published 1: no acknowledgement in time; the message is not given up"]
        );
        peer.cut();
        peer.forget();
        peer.reconnect(Version::V5, false);
        assert_eq!(
            peer.said()[1..],
            Vec::<String>::new(),
            "{lost:?} {quality} {recorded}"
        );
        assert_eq!(
            (peer.reported(), peer.session.in_flight()),
            (vec!["connected".to_owned()], 0)
        );
    }
}

//! Subscribing, unsubscribing and pinging: answers, rejections, timeouts, reconnects, restoring.

use crate::driver::*;
use martlet_proto::{
    ConnAck, Packet, RetainHandling, SubAckReasonCode as Code, SubscribeFilter,
    SubscriptionIdentifier, TopicFilter, UnsubAckReasonCode, Version,
};
use martlet_session::CleanStart;
use martlet_session::{
    Config, ConnectionError, Misbehaviour, RequestError, SubscribeRequest, UnsubscribeRequest,
    Unsupported,
};
use std::num::NonZeroU32;

pub(crate) fn config() -> Config {
    named().clean_start(CleanStart::Never)
}

pub(crate) fn nothing() -> Vec<String> {
    Vec::new()
}

pub(crate) fn one(name: &str) -> SubscribeRequest {
    SubscribeRequest::new([SubscribeFilter::new(filter(name), qos(0))])
}

pub(crate) fn limited(change: impl FnOnce(&mut ConnAck)) -> ConnAck {
    let mut connack = connack(false);
    change(&mut connack);
    connack
}

#[test]
fn subscribe_and_unsubscribe_are_answered() {
    for version in Version::ALL {
        for chunking in [Chunking::Whole, Chunking::Bytes] {
            let mut peer = Peer::connected(version, config());
            peer.chunking = chunking;
            peer.subscribe_to(vec![
                SubscribeFilter::new(filter("a/+"), qos(1)),
                SubscribeFilter::new(filter("b"), qos(2)),
            ]);
            assert_eq!(peer.said(), ["SUBSCRIBE #1 a/+:1 b:2"]);
            peer.send(suback(1, &[Code::GrantedQos0, Code::GrantedQos2]));
            assert_eq!(peer.reported(), ["subscribed 1: [0, 2]"]);
            assert_eq!(peer.session.subscriptions().count(), 2);
            peer.unsubscribe("a/+");
            assert_eq!(peer.said(), ["UNSUBSCRIBE #2 a/+"]);
            let codes = [UnsubAckReasonCode::Success];
            peer.send(unsuback(
                2,
                if version.has_properties() {
                    &codes
                } else {
                    &[]
                },
            ));
            assert_eq!(peer.reported(), ["unsubscribed 2: [0]"]);
            assert_eq!(
                peer.session
                    .subscriptions()
                    .map(TopicFilter::as_str)
                    .collect::<Vec<_>>(),
                ["b"]
            );
        }
    }
}

/// The second subscribe of a filter is rejected: the first used to be forgotten with it, and was
/// not made again when the server lost the session.
#[test]
fn a_rejected_second_subscribe_leaves_the_first() {
    let mut peer = Peer::connected(Version::V5, named());
    peer.subscribe("a", 1);
    peer.send(suback(1, &[Code::GrantedQos1]));
    peer.subscribe("a", 2);
    peer.send(suback(2, &[Code::QuotaExceeded]));
    peer.cut();
    peer.reconnect(Version::V5, false);
    let said = peer.said();
    assert_eq!(said.last().unwrap(), "SUBSCRIBE #3 a:1");
    // When restoring is rejected, it is over.
    peer.send(suback(3, &[Code::QuotaExceeded]));
    assert_eq!(peer.session.subscriptions().count(), 0);
}

#[test]
fn a_rejected_filter_is_told_and_not_restored() {
    let mut peer = Peer::connected(Version::V3_1_1, config());
    peer.subscribe_to(vec![
        SubscribeFilter::new(filter("a"), qos(1)),
        SubscribeFilter::new(filter("b"), qos(1)),
    ]);
    peer.send(suback(1, &[Code::UnspecifiedError, Code::GrantedQos1]));
    assert_eq!(peer.reported(), ["subscribed 1: [128, 1]"]);
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V3_1_1, false);
    assert_eq!(peer.said()[1..], ["SUBSCRIBE #2 b:1"]);
}

#[test]
fn misuse_is_rejected_at_once() {
    let mut peer = Peer::connected(Version::V5, config());
    let none = SubscribeRequest::new(Vec::new());
    assert_eq!(
        peer.session.subscribe(peer.now, none),
        Err(RequestError::NoFilter)
    );
    let none = UnsubscribeRequest::new(Vec::new());
    assert_eq!(
        peer.session.unsubscribe(peer.now, none),
        Err(RequestError::NoFilter)
    );
    let mut shared = SubscribeFilter::new(filter("$share/g/a"), qos(0));
    shared.no_local = true;
    assert_eq!(
        peer.session
            .subscribe(peer.now, SubscribeRequest::new([shared])),
        Err(RequestError::NoLocalShared)
    );
    assert_eq!(
        Peer::new(config()).session.ping(),
        Err(RequestError::NotConnected)
    );
    peer.drain();
    assert_eq!(peer.said(), nothing());
}

#[test]
fn what_the_server_does_not_have_is_not_asked_for() {
    let mut peer = Peer::new(config());
    peer.open(Version::V5);
    peer.send(limited(|connack| {
        connack.properties.wildcard_subscription_available = Some(false);
        connack.properties.shared_subscription_available = Some(false);
        connack.properties.subscription_identifier_available = Some(false);
        connack.properties.maximum_packet_size = NonZeroU32::new(20);
    }));
    peer.forget();
    for (name, what) in [
        ("a/#", Unsupported::WildcardSubscriptions),
        ("+", Unsupported::WildcardSubscriptions),
        ("$share/g/a", Unsupported::SharedSubscriptions),
    ] {
        let rejected = peer.session.subscribe(peer.now, one(name));
        assert_eq!(rejected, Err(RequestError::NotSupported(what)));
    }
    let rejected = peer.session.subscribe(peer.now, one("012345678901234"));
    assert_eq!(
        rejected,
        Err(RequestError::PacketTooLarge {
            size: 23,
            limit: 20
        })
    );
    // Messages are assigned to subscriptions by their topics then.
    let with_identifier = one("a").subscription_identifier(SubscriptionIdentifier::new(5));
    peer.session
        .subscribe(peer.now, with_identifier)
        .expect("an identifier can be left out");
    peer.drain();
    assert_eq!(peer.said(), ["SUBSCRIBE #1 a:0"]);
}

#[test]
fn options_are_left_out_in_3x_and_counted() {
    let mut peer = Peer::connected(Version::V3_1_1, config());
    let mut subscription = SubscribeFilter::new(filter("a"), qos(0));
    subscription.no_local = true;
    subscription.retain_handling = RetainHandling::DoNotSend;
    let subscribe = SubscribeRequest::new([subscription])
        .subscription_identifier(SubscriptionIdentifier::new(5));
    peer.session
        .subscribe(peer.now, subscribe)
        .expect("they can be left out");
    peer.drain();
    assert_eq!(peer.said(), ["SUBSCRIBE #1 a:0"]);
    assert_eq!(peer.session.counters().left_out_in_3x, 1);
    // The next server has them.
    peer.send(suback(1, &[Code::GrantedQos0]));
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V5, false);
    let Some(Packet::Subscribe(subscribe)) = peer.packets().pop() else {
        panic!("restored")
    };
    assert!(subscribe.subscriptions[0].no_local);
    assert_eq!(
        subscribe.subscription_identifier,
        SubscriptionIdentifier::new(5)
    );
}

#[test]
fn requests_wait_for_a_connection_in_their_order() {
    let mut peer = Peer::new(config());
    peer.subscribe("a", 0);
    peer.unsubscribe("b");
    peer.subscribe("#", 0);
    peer.open(Version::V5);
    peer.said();
    peer.send(limited(|connack| {
        connack.session_present = true;
        connack.properties.wildcard_subscription_available = Some(false);
    }));
    assert_eq!(peer.said(), ["SUBSCRIBE #1 a:0", "UNSUBSCRIBE #2 b"]);
    assert_eq!(
        peer.reported(),
        [
            "connected, session present",
            "subscribed 3: wildcard subscriptions are not supported on this connection"
        ]
    );
}

/// One by one, and after what was not sent yet: any of them may be why the connection ended.
#[test]
fn unanswered_requests_are_sent_again_in_their_order() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.subscribe("a", 0);
    peer.unsubscribe("b");
    peer.subscribe("c", 0);
    peer.send(unsuback(2, &[UnsubAckReasonCode::Success]));
    peer.cut();
    peer.subscribe("d", 0);
    peer.forget();
    peer.reconnect(Version::V5, true);
    assert_eq!(peer.said()[1..], ["SUBSCRIBE #4 d:0"]);
    peer.send(suback(4, &[Code::GrantedQos0]));
    peer.answer_ping();
    assert_eq!(peer.said(), ["SUBSCRIBE #5 a:0"]);
    peer.send(suback(5, &[Code::GrantedQos0]));
    assert_eq!(peer.said(), ["SUBSCRIBE #6 c:0"]);
}

#[test]
fn a_request_without_an_answer_times_out_from_when_its_bytes_left() {
    let mut peer = Peer::connected(Version::V5, config().keep_alive(0));
    peer.blocked = true;
    peer.subscribe("a", 0);
    peer.unsubscribe("b");
    peer.wait(seconds(100));
    assert_eq!(peer.reported(), nothing(), "nothing has left yet");
    peer.unblock();
    peer.wait(millis(9_999));
    assert_eq!(peer.reported(), nothing());
    peer.wait(millis(1));
    assert_eq!(
        peer.reported(),
        [
            "subscribed 1: no answer in time",
            "unsubscribed 2: no answer in time"
        ]
    );
    // The late answer finds nobody who waits, and is not unexpected.
    peer.send(suback(1, &[Code::GrantedQos0]));
    assert_eq!(peer.reported(), nothing());
    assert_eq!(peer.session.counters().unexpected_acknowledgements, 0);
    assert_eq!(peer.session.subscriptions().count(), 1, "the server has it");
}

/// A drain, and reading above the soft bound, went on for a request whose time was over.
#[test]
fn a_timed_out_request_is_not_waited_for() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.subscribe("a", 0);
    peer.wait(seconds(10));
    peer.forget();
    peer.disconnect(seconds(1000));
    assert_eq!(peer.said(), ["DISCONNECT 0x00 expiry=0"]);
}

#[test]
fn pings_are_answered_in_order_and_time_out() {
    let mut peer = Peer::connected(Version::V5, config().keep_alive(0));
    for _ in 0..2 {
        peer.session.ping().expect("connected");
        peer.drain();
    }
    assert_eq!(peer.said(), ["PINGREQ", "PINGREQ"]);
    peer.send(Packet::PingResp);
    assert_eq!(peer.reported(), ["pong 1: ok"]);
    peer.wait(seconds(10));
    assert_eq!(peer.reported(), ["pong 2: no answer in time"]);
    peer.session.ping().expect("connected");
    peer.cut();
    assert_eq!(
        peer.reported(),
        [
            "pong 3: not connected",
            "disconnected: the server closed the connection"
        ]
    );
}

/// The SUBACK between UNSUBSCRIBE and UNSUBACK brought the subscription back: after a lost session
/// it was made again.
#[test]
fn an_unsubscribe_outlives_the_suback_of_an_earlier_subscribe() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.subscribe("a", 0);
    peer.unsubscribe("a");
    peer.send_all(&[
        suback(1, &[Code::GrantedQos0]),
        unsuback(2, &[UnsubAckReasonCode::Success]),
    ]);
    assert_eq!(peer.session.subscriptions().count(), 0);
    // And a later subscribe outlives the unsubscribe, even when the server answers out of order.
    peer.unsubscribe("a");
    peer.subscribe("a", 0);
    peer.send_all(&[
        suback(4, &[Code::GrantedQos0]),
        unsuback(3, &[UnsubAckReasonCode::Success]),
    ]);
    assert_eq!(peer.session.subscriptions().count(), 1);
}

#[test]
fn unsubscribing_without_a_connection_ends_restoring() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.subscribe("a", 0);
    peer.send(suback(1, &[Code::GrantedQos0]));
    peer.cut();
    peer.unsubscribe("a");
    peer.forget();
    peer.reconnect(Version::V5, false);
    assert_eq!(peer.said()[1..], nothing());
    assert_eq!(peer.reported(), ["connected", "unsubscribed 2: [17]"]);
}

#[test]
fn in_3_1_which_cannot_say_that_it_lost_the_session_subscriptions_are_made_again() {
    let mut peer = Peer::connected(Version::V3_1, config());
    peer.subscribe("a", 0);
    peer.send(suback(1, &[Code::GrantedQos0]));
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V3_1, false);
    assert_eq!(peer.said()[1..], ["SUBSCRIBE #2 a:0"]);
}

#[test]
fn an_answer_with_another_number_of_codes_ends_the_connection() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.subscribe("a", 0);
    peer.said();
    peer.send(suback(1, &[Code::GrantedQos0, Code::GrantedQos0]));
    assert_eq!(
        peer.close,
        Some(ConnectionError::PeerMisbehaved(Misbehaviour::ReasonCodes {
            asked: 1,
            given: 2
        }))
    );
    assert_eq!(peer.said(), ["DISCONNECT 0x82"]);
}

/// One packet, one answer, and a code for each filter in their order; also for what was never
/// subscribed to.
#[test]
fn one_unsuback_answers_all_filters_of_an_unsubscribe() {
    for version in Version::ALL {
        let mut peer = Peer::connected(version, config());
        let filters = ["a", "b/+", "never"].map(filter).to_vec();
        let unsubscribe = UnsubscribeRequest::new(filters);
        peer.session.unsubscribe(peer.now, unsubscribe).unwrap();
        peer.drain();
        assert_eq!(peer.said(), ["UNSUBSCRIBE #1 a b/+ never"]);
        let codes = [
            UnsubAckReasonCode::Success,
            UnsubAckReasonCode::NotAuthorized,
            UnsubAckReasonCode::NoSubscriptionExisted,
        ];
        let (codes, reported): (&[_], _) = match version.has_properties() {
            true => (&codes, "unsubscribed 1: [0, 135, 17]"),
            false => (&[], "unsubscribed 1: [0, 0, 0]"),
        };
        peer.send(unsuback(1, codes));
        assert_eq!(peer.reported(), [reported]);
    }
}

#[test]
fn unknown_and_mistaken_answers_are_counted_and_ignored() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.subscribe("a", 0);
    peer.unsubscribe("b");
    peer.publish(message(1, "c", ""));
    peer.forget();
    peer.send_all(&[
        suback(2, &[Code::GrantedQos0]),
        suback(3, &[Code::GrantedQos0]),
        suback(99, &[Code::GrantedQos0]),
        unsuback(1, &[UnsubAckReasonCode::Success]),
        unsuback(3, &[UnsubAckReasonCode::Success]),
        puback(1),
    ]);
    assert_eq!(peer.reported(), nothing());
    assert_eq!(peer.session.counters().unexpected_acknowledgements, 6);
    peer.send_all(&[
        suback(1, &[Code::GrantedQos0]),
        unsuback(2, &[UnsubAckReasonCode::Success]),
        puback(3),
    ]);
    assert_eq!(
        peer.reported(),
        [
            "subscribed 1: [0]",
            "unsubscribed 2: [0]",
            "published 3: ok"
        ]
    );
}

#[test]
fn a_session_that_has_ended_asks_for_nothing() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.subscribe("a", 0);
    peer.forget();
    peer.disconnect(seconds(0));
    peer.close();
    assert_eq!(
        peer.reported(),
        [
            "subscribed 1: the client has stopped: disconnected as asked",
            "disconnected: disconnected as asked"
        ]
    );
    assert_eq!(
        peer.session.subscribe(peer.now, one("b")),
        Err(RequestError::Closed(ConnectionError::ClosedHere))
    );
    assert_eq!(
        peer.session.ping(),
        Err(RequestError::Closed(ConnectionError::ClosedHere))
    );
}

/// One byte more is rejected, and nothing leaves.
// [MQTT-3.2.2-15]
#[test]
fn requests_are_as_large_as_the_server_takes() {
    let mut peer = Peer::new(config());
    peer.open(Version::V5);
    peer.send(limited(|connack| {
        connack.properties.maximum_packet_size = NonZeroU32::new(20);
    }));
    peer.forget();
    // Two bytes of header, two of identifier, one of properties, two of length; SUBSCRIBE has
    // options.
    let (fits, too_long) = ("x".repeat(12), "x".repeat(13));
    peer.session
        .subscribe(peer.now, one(&fits))
        .expect("20 bytes");
    let rejected = peer.session.subscribe(peer.now, one(&too_long));
    assert_eq!(
        rejected,
        Err(RequestError::PacketTooLarge {
            size: 21,
            limit: 20
        })
    );
    let unsubscribe = |name: &str| UnsubscribeRequest::new([filter(name)]);
    peer.session
        .unsubscribe(peer.now, unsubscribe(&too_long))
        .expect("20 bytes");
    let rejected = peer
        .session
        .unsubscribe(peer.now, unsubscribe(&format!("{too_long}x")));
    assert_eq!(
        rejected,
        Err(RequestError::PacketTooLarge {
            size: 21,
            limit: 20
        })
    );
    peer.drain();
    assert_eq!(
        peer.packets()
            .iter()
            .map(|p| p.encoded_len(Version::V5))
            .collect::<Vec<_>>(),
        [20, 20]
    );
}

/// A subscribe without a connection waited for ever.
#[test]
fn requests_wait_for_a_connection_for_so_long() {
    let mut peer = Peer::new(config());
    peer.subscribe("a", 0);
    peer.wait(seconds(1));
    peer.unsubscribe("b");
    peer.wait(millis(58_999));
    assert!(peer.reported().is_empty());
    peer.wait(millis(1));
    assert_eq!(peer.reported(), ["subscribed 1: not connected"]);
    peer.wait(seconds(1));
    assert_eq!(peer.reported(), ["unsubscribed 2: not connected"]);
    assert_eq!(peer.session.poll_timeout(), None);
    // What was given up is not asked; what the server should forget still is.
    peer.reconnect(Version::V5, true);
    assert_eq!(peer.said()[1..], ["UNSUBSCRIBE #1 b"]);
    peer.send(unsuback(1, &[UnsubAckReasonCode::Success]));
    assert_eq!(peer.reported(), ["connected, session present"]);
}

/// A request with a timeout of its own waited as long as an older one with a longer timeout.
#[test]
fn a_request_does_not_wait_for_the_timeouts_of_others() {
    for unsubscribes in [false, true] {
        let mut peer = Peer::new(config());
        peer.subscribe("a", 0);
        for (name, timeout) in [("b", 10), ("c", 5), ("d", 20)] {
            let asked = if unsubscribes {
                let request = UnsubscribeRequest::new([filter(name)]);
                let request = request.offline_timeout(seconds(timeout));
                peer.session.unsubscribe(peer.now, request)
            } else {
                let request = one(name).offline_timeout(seconds(timeout));
                peer.session.subscribe(peer.now, request)
            };
            asked.expect("room");
            peer.drain();
        }
        let what = if unsubscribes {
            "unsubscribed"
        } else {
            "subscribed"
        };
        let failed = |operation| vec![format!("{what} {operation}: not connected")];
        let mut waited = |until| {
            peer.wait(until - (peer.now.since_epoch() - seconds(1000)));
            peer.reported()
        };
        assert_eq!(waited(millis(4999)), nothing());
        assert_eq!(waited(seconds(5)), failed(3));
        assert_eq!(waited(millis(9999)), nothing());
        assert_eq!(waited(seconds(10)), failed(2));
        assert_eq!(waited(seconds(20)), failed(4));
        assert_eq!(waited(millis(59_999)), nothing());
        assert_eq!(waited(seconds(60)), ["subscribed 1: not connected"]);
        assert_eq!(peer.session.poll_timeout(), None);
    }
}

/// Each loss of a connection began the wait anew: against a server that hung up, a subscribe waited
/// for ever.
#[test]
fn the_wait_for_a_connection_does_not_begin_anew_with_a_loss() {
    let mut peer = Peer::connected(Version::V5, config().max_request_losses(100).keep_alive(0));
    peer.subscribe("a", 0);
    for _ in 0..5 {
        peer.cut();
        peer.wait(seconds(9));
        peer.reconnect(Version::V5, true);
        peer.wait(seconds(1));
    }
    peer.cut();
    peer.forget();
    peer.wait(millis(9_999));
    assert_eq!(peer.reported(), nothing());
    peer.wait(millis(1));
    assert_eq!(peer.reported(), ["subscribed 1: not connected"]);
    peer.reconnect(Version::V5, true);
    assert_eq!(peer.said().len(), 1, "CONNECT");
}

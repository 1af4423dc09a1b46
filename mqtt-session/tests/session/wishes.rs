//! Subscriptions as state: the last wish for each filter, and what becomes of wishes that a server
//! does not answer.

use crate::driver::*;
use martlet_proto::{
    ConnAck, Packet, SubAckReasonCode as Code, Subscribe, SubscribeFilter, SubscriptionIdentifier,
    UnsubAckReasonCode as Unsub, Version,
};
use martlet_session::{
    CleanStart, Config, Event, RequestError, SubscribeRequest, UnsubscribeRequest,
};
use std::num::NonZeroU32;

pub(crate) fn config() -> Config {
    named().clean_start(CleanStart::Never)
}

pub(crate) fn nothing() -> Vec<String> {
    Vec::new()
}

fn most(filters: u16) -> Config {
    config().max_filters_per_packet(filters)
}

pub(crate) fn subscriptions(names: &[&str]) -> Vec<SubscribeFilter> {
    names
        .iter()
        .map(|name| SubscribeFilter::new(filter(name), qos(0)))
        .collect()
}

pub(crate) fn withdraw(peer: &mut Peer, name: &str) {
    peer.session
        .withdraw_subscriptions(peer.now, vec![filter(name)]);
    peer.drain();
}

/// Answers the packets that a server grants, and hangs up at the first with a filter that
/// `hangs_up`. Returns what it was asked for on this connection.
pub(crate) fn serve(peer: &mut Peer, hangs_up: impl Fn(&str) -> bool) -> Vec<String> {
    let mut said = Vec::new();
    loop {
        let packets = peer.packets();
        if packets.is_empty() {
            return said;
        }
        for packet in packets {
            said.push(describe(&packet));
            let (filters, answer) = match packet {
                Packet::Subscribe(packet) => {
                    let filters: Vec<_> = packet
                        .subscriptions
                        .into_iter()
                        .map(|entry| entry.filter)
                        .collect();
                    let codes = vec![Code::GrantedQos0; filters.len()];
                    (filters, suback(packet.packet_identifier.get(), &codes))
                }
                Packet::Unsubscribe(packet) => {
                    let codes = vec![Unsub::Success; packet.filters.len()];
                    (
                        packet.filters,
                        unsuback(packet.packet_identifier.get(), &codes),
                    )
                }
                Packet::Publish(publish) => {
                    let id = publish.delivery().packet_identifier().expect("QoS 1");
                    (Vec::new(), puback(id.get()))
                }
                Packet::PingReq => (Vec::new(), Packet::PingResp),
                _ => continue,
            };
            if filters.iter().any(|filter| hangs_up(filter.as_str())) {
                peer.cut();
                return said;
            }
            peer.send(answer);
        }
    }
}

pub(crate) fn reports_of(peer: &mut Peer, what: &str) -> Vec<String> {
    peer.reported()
        .into_iter()
        .filter(|line| line.contains(what))
        .collect()
}

/// A server that hangs up at a SUBSCRIBE got it again on each connection, for ever, and the
/// subscribe was never answered.
#[test]
fn a_subscribe_that_ends_three_connections_fails() {
    for version in Version::ALL {
        let mut peer = Peer::connected(version, config());
        peer.subscribe("forbidden", 0);
        let mut times = 0;
        for _ in 0..10 {
            times += serve(&mut peer, |name| name == "forbidden")
                .iter()
                .filter(|line| line.contains("SUBSCRIBE"))
                .count();
            peer.reconnect(version, version != Version::V3_1);
        }
        assert_eq!(times, 3);
        let reported = reports_of(&mut peer, "subscribed");
        assert_eq!(reported.len(), 1);
        assert!(
            reported[0].starts_with("subscribed 1: 3 connections were lost before the answer"),
            "{reported:?}"
        );
        peer.forget();
        withdraw(&mut peer, "forbidden");
        assert_eq!(peer.said(), nothing(), "there is nothing to take back");
    }
}

/// Likewise for an UNSUBSCRIBE, also when nobody waits for it.
#[test]
fn an_unsubscribe_that_ends_connections_fails() {
    for waits in [true, false] {
        let mut peer = Peer::connected(Version::V5, config().max_request_losses(2));
        peer.subscribe("a", 0);
        serve(&mut peer, |_| false);
        peer.forget();
        if waits {
            peer.unsubscribe("a");
        } else {
            withdraw(&mut peer, "a");
        }
        let mut times = 0;
        for _ in 0..5 {
            times += serve(&mut peer, |_| true)
                .iter()
                .filter(|line| line.starts_with("UNSUBSCRIBE"))
                .count();
            peer.reconnect(Version::V5, true);
        }
        assert_eq!(times, 2);
        let failures = peer.events().into_iter().filter(|event| match event {
            Event::Unsubscribed { result, .. } => {
                waits && *result == Err(RequestError::ConnectionsLost { connections: 2 })
            }
            Event::RequestFailed { filter, error } => {
                !waits
                    && filter.as_str() == "a"
                    && *error == RequestError::ConnectionsLost { connections: 2 }
            }
            _ => false,
        });
        assert_eq!(failures.count(), 1);
    }
}

/// One bad filter among nine: its neighbours used to share its fate.
#[test]
fn healthy_filters_beside_a_bad_one_are_granted() {
    let names = ["a", "b", "c", "bad", "d", "e", "f", "g", "h"];
    for filters in [1, 4, 8, 100] {
        let mut peer = Peer::connected(Version::V5, most(filters));
        peer.subscribe_to(subscriptions(&names));
        // Somebody else subscribes at the same time.
        peer.subscribe("innocent", 0);
        for _ in 0..4 {
            serve(&mut peer, |name| name == "bad");
            peer.reconnect(Version::V5, true);
        }
        let events = peer.events();
        let answers: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Subscribed {
                    result: Ok(answer), ..
                } => Some(answer.reasons.clone()),
                _ => None,
            })
            .collect();
        let bad = Code::UnspecifiedError;
        let expected: Vec<_> = names
            .iter()
            .map(|name| {
                if *name == "bad" {
                    bad
                } else {
                    Code::GrantedQos0
                }
            })
            .collect();
        assert!(answers.contains(&expected), "{filters}: {answers:?}");
        assert!(answers.contains(&vec![Code::GrantedQos0]));
        let failed = Event::RequestFailed {
            filter: filter("bad"),
            error: RequestError::ConnectionsLost { connections: 3 },
        };
        assert_eq!(events.iter().filter(|event| **event == failed).count(), 1);
        assert_eq!(peer.session.subscriptions().count(), 9);
    }
}

/// A server that takes eight filters in a SUBSCRIBE and hangs up at nine, as AWS IoT does.
#[test]
fn nine_filters_travel_in_two_subscribes_and_have_one_answer() {
    let names = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let mut peer = Peer::connected(Version::V3_1_1, config());
    peer.subscribe_to(subscriptions(&names));
    assert_eq!(
        peer.said(),
        [
            "SUBSCRIBE #1 1:0 2:0 3:0 4:0 5:0 6:0 7:0 8:0",
            "SUBSCRIBE #2 9:0"
        ]
    );
    peer.send(suback(2, &[Code::UnspecifiedError]));
    assert_eq!(peer.reported(), nothing(), "half of the answer is none");
    peer.send(suback(1, &[Code::GrantedQos0; 8]));
    assert_eq!(
        peer.reported(),
        ["subscribed 1: [0, 0, 0, 0, 0, 0, 0, 0, 128]"]
    );
    // Made again likewise, and unsubscribed from.
    peer.send(suback(2, &[Code::GrantedQos0]));
    peer.subscribe("9", 0);
    serve(&mut peer, |_| false);
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V3_1_1, false);
    assert_eq!(
        peer.said()[1..],
        [
            "SUBSCRIBE #4 1:0 2:0 3:0 4:0 5:0 6:0 7:0 8:0",
            "SUBSCRIBE #5 9:0"
        ]
    );
    let unsubscribe = UnsubscribeRequest::new(names.map(filter).to_vec());
    peer.send_all(&[
        suback(4, &[Code::GrantedQos0; 8]),
        suback(5, &[Code::GrantedQos0]),
    ]);
    peer.forget();
    peer.session
        .unsubscribe(peer.now, unsubscribe)
        .expect("connected");
    peer.drain();
    assert_eq!(
        peer.said(),
        ["UNSUBSCRIBE #6 1 2 3 4 5 6 7 8", "UNSUBSCRIBE #7 9"]
    );
    peer.send_all(&[unsuback(6, &[]), unsuback(7, &[])]);
    assert_eq!(
        peer.reported(),
        ["unsubscribed 3: [0, 0, 0, 0, 0, 0, 0, 0, 0]"]
    );
}

/// Each of many operations on one filter looked through all of them when their time was over.
#[test]
fn many_subscribes_of_one_filter_fail_at_once() {
    const MANY: usize = 50_000;
    let mut peer = Peer::new(config());
    for _ in 0..MANY {
        let subscribe = SubscribeRequest::new(subscriptions(&["a"]));
        peer.session
            .subscribe(peer.now, subscribe)
            .expect("there is room");
    }
    peer.wait(seconds(60));
    let failed = reports_of(&mut peer, "subscribed");
    assert_eq!(failed.len(), MANY);
}

/// To subscribe and drop in a loop without a connection left a SUBSCRIBE and an UNSUBSCRIBE each
/// time, until no packet identifier was left.
#[test]
#[cfg_attr(miri, ignore = "too slow: 100,000 requests")]
fn what_is_withdrawn_without_a_connection_leaves_nothing() {
    let mut peer = Peer::new(config());
    for n in 0..100_000 {
        let name = if n % 2 == 0 {
            "same".to_owned()
        } else {
            format!("a/{n}")
        };
        peer.session
            .subscribe(peer.now, SubscribeRequest::new(subscriptions(&[&name])))
            .expect("room");
        peer.session
            .withdraw_subscriptions(peer.now, vec![filter(&name)]);
        if n % 1000 == 0 {
            peer.drain();
            peer.events();
        }
    }
    peer.drain();
    peer.reconnect(Version::V5, true);
    assert_eq!(peer.said().len(), 1, "CONNECT");
    assert_eq!(
        peer.session.poll_timeout().map(|at| at > peer.now),
        Some(true)
    );
    peer.subscribe("b", 0);
    assert_eq!(peer.said(), ["SUBSCRIBE #1 b:0"]);
}

/// Of what the server has, the last wish counts.
#[test]
fn the_last_wish_for_a_filter_is_what_is_asked_for() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.subscribe("a", 0);
    peer.subscribe("b", 0);
    serve(&mut peer, |_| false);
    peer.cut();
    for _ in 0..10 {
        withdraw(&mut peer, "a");
        peer.subscribe("a", 1);
        peer.subscribe("b", 1);
        withdraw(&mut peer, "b");
    }
    peer.forget();
    peer.reconnect(Version::V5, true);
    assert_eq!(peer.said()[1..], ["SUBSCRIBE #3 a:1", "UNSUBSCRIBE #4 b"]);
}

/// A SUBSCRIBE that was lost with its connection took the place of a later one for the same filter
/// that had not been sent, so its QoS and its subscription identifier came back.
#[test]
fn the_last_wish_counts_also_when_an_earlier_one_was_on_its_way() {
    let identified = |quality, identifier| {
        SubscribeRequest::new([SubscribeFilter::new(filter("a"), qos(quality))])
            .subscription_identifier(SubscriptionIdentifier::new(identifier))
    };
    for is_restored in [false, true] {
        let mut peer = Peer::connected(Version::V5, config());
        let ask = |peer: &mut Peer, request| {
            let operation = peer.session.subscribe(peer.now, request);
            peer.drain();
            operation.expect("room").get()
        };
        let first = ask(&mut peer, identified(0, 1));
        if is_restored {
            serve(&mut peer, |_| false);
            peer.cut();
            peer.reconnect(Version::V5, false);
        }
        // As many as may wait for their answers.
        for n in 0..63 {
            peer.subscribe(&n.to_string(), 0);
        }
        peer.forget();
        let second = ask(&mut peer, identified(1, 2));
        assert_eq!(peer.said(), nothing(), "it waits");
        peer.cut();
        peer.reconnect(Version::V5, true);
        let asked: Vec<_> = all_subscribes(&mut peer)
            .into_iter()
            .filter(|packet| packet.subscriptions[0].filter == filter("a"))
            .map(|packet| (packet.subscription_identifier, packet.subscriptions[0].qos))
            .collect();
        assert_eq!(asked, [(SubscriptionIdentifier::new(2), qos(1))]);
        let answered = reports_of(&mut peer, "subscribed");
        for operation in [first, second] {
            let answers = answered
                .iter()
                .filter(|line| line.starts_with(&format!("subscribed {operation}: [")));
            let expected = usize::from(operation == second || !is_restored);
            assert_eq!(answers.count(), expected, "{operation}: {answered:?}");
        }
    }
}

/// Grants whatever is subscribed to, with the QoS that is asked for. Returns the SUBSCRIBEs.
fn all_subscribes(peer: &mut Peer) -> Vec<Subscribe> {
    let mut all = Vec::new();
    loop {
        let packets = peer.packets();
        if packets.is_empty() {
            return all;
        }
        for packet in packets {
            if let Packet::Subscribe(subscribe) = packet {
                let granted = |entry: &SubscribeFilter| Code::granted(entry.qos);
                let codes: Vec<_> = subscribe.subscriptions.iter().map(granted).collect();
                peer.send(suback(subscribe.packet_identifier.get(), &codes));
                all.push(*subscribe);
            }
        }
    }
}

/// Everyone who waits for a filter has an answer, whatever becomes of the others' wishes.
#[test]
fn each_of_several_wishes_is_answered() {
    let mut peer = Peer::new(config());
    for _ in 0..3 {
        peer.subscribe("a", 0);
    }
    peer.subscribe_to(subscriptions(&["b", "a"]));
    peer.unsubscribe("b");
    peer.unsubscribe("c");
    peer.subscribe("c", 2);
    peer.reconnect(Version::V5, true);
    assert_eq!(
        peer.said()[1..],
        ["SUBSCRIBE #1 a:0", "UNSUBSCRIBE #2 b", "SUBSCRIBE #3 c:2"]
    );
    peer.send_all(&[
        suback(1, &[Code::GrantedQos0]),
        unsuback(2, &[Unsub::Success]),
        suback(3, &[Code::GrantedQos2]),
    ]);
    assert_eq!(
        peer.reported(),
        [
            "unsubscribed 6: a later request for the same filter has taken its place",
            "connected, session present",
            "subscribed 1: [0]",
            "subscribed 2: [0]",
            "subscribed 3: [0]",
            "subscribed 4: [128, 0]",
            "unsubscribed 5: [0]",
            "subscribed 7: [2]",
        ]
    );
}

/// On a connection too, a server that does not answer does not cost all packet identifiers.
#[test]
fn requests_leave_packet_identifiers_to_messages() {
    let mut peer = Peer::connected(Version::V5, config());
    for n in 0..1000 {
        let name = n.to_string();
        peer.subscribe(&name, 0);
        withdraw(&mut peer, &name);
    }
    let said = peer.said();
    assert_eq!(said.len(), 64, "at most 64 wait for their answers");
    let filters = serve(&mut peer, |_| false);
    assert_eq!(filters, nothing());
    for id in 1..=64 {
        let line = &said[usize::from(id) - 1];
        let packet = match line.starts_with("UN") {
            true => unsuback(id, &[Unsub::Success]),
            false => suback(id, &[Code::GrantedQos0]),
        };
        peer.send(packet);
    }
    // Only what had left is taken back.
    let rest = serve(&mut peer, |_| false);
    assert!(
        rest.iter().all(|line| line.starts_with("UNSUBSCRIBE")) && rest.len() <= 64,
        "{rest:?}"
    );
    assert_eq!(peer.session.subscriptions().count(), 0);
}

/// The bound is there for who does not withdraw.
#[test]
fn so_many_wishes_may_wait() {
    let mut peer = Peer::new(config());
    for n in 0..65_535 {
        peer.session
            .subscribe(
                peer.now,
                SubscribeRequest::new(subscriptions(&[&n.to_string()])),
            )
            .expect("room");
    }
    let rejected = peer.session.subscribe(
        peer.now,
        SubscribeRequest::new(subscriptions(&["one more"])),
    );
    assert_eq!(rejected, Err(RequestError::TooMany));
}

/// After the loss of the server's session an UNSUBSCRIBE was sent for what the new session never
/// had.
#[test]
fn an_unsubscribe_is_answered_when_the_session_is_lost() {
    for (version, code) in [(Version::V5, 17), (Version::V3_1_1, 0)] {
        let mut peer = Peer::connected(version, config());
        peer.subscribe_to(subscriptions(&["a", "b"]));
        serve(&mut peer, |_| false);
        // It was on its way when the connection ended.
        peer.unsubscribe("a");
        peer.cut();
        peer.forget();
        peer.reconnect(version, false);
        assert_eq!(peer.said()[1..], ["SUBSCRIBE #3 b:0"]);
        assert_eq!(
            peer.reported(),
            ["connected".to_owned(), format!("unsubscribed 2: [{code}]")]
        );
    }
}

/// The version, the request, the answer that does not fit it, and what the error says of it.
const MISFITS: [(Version, &str, &[u8], &str); 10] = [
    // One code too many; the form of 3.1.1; a code that does not exist; nothing at all.
    (
        Version::V5,
        "SUBSCRIBE",
        &[0x90, 5, 0, 1, 0, 0, 0],
        "2 reason codes for 1 filters; it sent 90 05 00 01 00 00 00",
    ),
    (
        Version::V5,
        "SUBSCRIBE",
        &[0x90, 3, 0, 1, 1],
        "it sent 90 03 00 01 01",
    ),
    (
        Version::V5,
        "SUBSCRIBE",
        &[0x90, 4, 0, 1, 0, 0x55],
        "it sent 90 04 00 01 00 55",
    ),
    (
        Version::V5,
        "SUBSCRIBE",
        &[0x90, 2, 0, 1],
        "it sent 90 02 00 01",
    ),
    (
        Version::V5,
        "UNSUBSCRIBE",
        &[0xb0, 5, 0, 1, 0, 0, 0],
        "2 reason codes for 1 filters; it sent b0 05 00 01 00 00 00",
    ),
    (
        Version::V5,
        "UNSUBSCRIBE",
        &[0xb0, 2, 0, 1],
        "it sent b0 02 00 01",
    ),
    (
        Version::V3_1_1,
        "SUBSCRIBE",
        &[0x90, 4, 0, 1, 0, 0],
        "2 reason codes for 1 filters; it sent 90 04 00 01 00 00",
    ),
    (
        Version::V3_1_1,
        "SUBSCRIBE",
        &[0x90, 4, 0, 1, 0, 0x87],
        "it sent 90 04 00 01 00 87",
    ),
    (
        Version::V3_1_1,
        "UNSUBSCRIBE",
        &[0xb0, 4, 0, 1, 0, 0],
        "it sent b0 04 00 01 00 00",
    ),
    // 3.1 has no code for a rejection, and servers send that of 3.1.1.
    (
        Version::V3_1,
        "SUBSCRIBE",
        &[0x90, 4, 0, 1, 0x80, 0],
        "2 reason codes for 1 filters; it sent 90 04 00 01 80 00",
    ),
];

/// A SUBACK or UNSUBACK that does not fit ended the connection each time, for ever.
#[test]
fn an_answer_that_does_not_fit_ends_the_request_after_one_reconnect() {
    for (version, kind, answer, quoted) in MISFITS {
        let mut peer = Peer::connected(version, config());
        match kind {
            "SUBSCRIBE" => peer.subscribe("a", 0),
            _ => peer.unsubscribe("a"),
        };
        peer.forget();
        peer.send_bytes(answer);
        assert!(peer.close.is_some(), "it may be damage");
        peer.close();
        peer.forget();
        peer.reconnect(version, version != Version::V3_1);
        let again = peer.said();
        assert!(again[1].starts_with(kind), "{again:?}");
        let id = again[1]
            .split(['#', ' '])
            .nth(2)
            .and_then(|id| id.parse().ok())
            .expect("an identifier");
        let mut answer = answer.to_vec();
        answer[3] = id;
        peer.forget();
        peer.send_bytes(&answer);
        assert_eq!(peer.close, None, "the client goes on");
        let reported = peer.reported();
        let quoted = quoted.replacen("00 01", &format!("00 {id:02x}"), 1);
        assert!(
            reported.len() == 1
                && reported[0].contains("the server's answer does not fit the request: "),
            "{reported:?}"
        );
        assert!(reported[0].ends_with(&quoted), "{reported:?}, {quoted}");
        // The next packet is understood.
        peer.publish(message(1, "b", ""));
        peer.forget();
        peer.send(puback(u16::from(id) + 1));
        assert_eq!(peer.reported().len(), 1, "published");
    }
}

/// Planted once, and found by nobody: the codes of an UNSUBACK were not counted.
// [MQTT-3.11.3-1]
#[test]
fn an_unsuback_has_a_code_for_each_filter() {
    for codes in [1, 3] {
        let mut peer = Peer::connected(Version::V5, config());
        let filters = vec![filter("a"), filter("b")];
        let unsubscribe = UnsubscribeRequest::new(filters);
        peer.session
            .unsubscribe(peer.now, unsubscribe)
            .expect("connected");
        peer.drain();
        peer.forget();
        peer.send(unsuback(1, &vec![Unsub::Success; codes]));
        let expected = format!(
            "the server broke the protocol: an answer with {codes} reason codes for 2 filters"
        );
        assert_eq!(peer.end(), (expected, vec!["DISCONNECT 0x82".to_owned()]));
        assert_eq!(peer.reported(), nothing(), "not answered");
    }
}

/// A limit that the server never announced is not reported.
#[test]
fn maximum_packet_size_can_be_left_out_of_connect() {
    for (announce_maximum_packet_size, expected) in
        [(true, NonZeroU32::new(16 << 20)), (false, None)]
    {
        let mut peer =
            Peer::new(config().announce_maximum_packet_size(announce_maximum_packet_size));
        peer.open(Version::V5);
        let Some(Packet::Connect(connect)) = peer.packets().pop() else {
            panic!("CONNECT")
        };
        assert_eq!(connect.properties.maximum_packet_size, expected);
    }
}

/// Of several filters only those fail that this server does not take.
#[test]
fn what_waits_for_a_server_without_wildcards_is_answered_filter_by_filter() {
    let mut peer = Peer::new(config());
    peer.subscribe_to(subscriptions(&["a", "#", "b"]));
    peer.open(Version::V5);
    peer.forget();
    let mut connack: ConnAck = connack(false);
    connack.properties.wildcard_subscription_available = Some(false);
    peer.send(connack);
    assert_eq!(peer.said(), ["SUBSCRIBE #1 a:0 b:0"]);
    peer.forget();
    peer.send(suback(1, &[Code::GrantedQos0; 2]));
    let reported = peer.reported();
    assert_eq!(
        reported.last().expect("an answer"),
        "subscribed 1: [0, 162, 0]"
    );
}

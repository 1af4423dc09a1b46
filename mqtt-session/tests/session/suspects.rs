//! Which requests a lost connection is held against.

use crate::driver::*;
use crate::wishes::{config, nothing, reports_of, serve, subscriptions, withdraw};
use martlet_proto::{
    Disconnect, DisconnectReasonCode, Packet, SubAckReasonCode as Code, TopicFilter, Version,
};
use martlet_session::ConnectionError;
use martlet_session::Durable;

/// A subscription that the server had granted once, and hangs up at after it has lost the session,
/// ended every connection. In a durable session it went on with the next process.
#[test]
fn a_restored_subscription_that_ends_connections_fails() {
    for durable in [false, true] {
        let durable = durable.then(Durable::default);
        let mut peer = Peer::connected(Version::V5, config().durable(durable));
        peer.subscribe_to(subscriptions(&["a", "bad", "c"]));
        serve(&mut peer, |_| false);
        peer.cut();
        peer.forget();
        let mut connections = 0;
        for _ in 0..6 {
            peer.reconnect(Version::V5, false);
            let said = serve(&mut peer, |name| name == "bad");
            connections += usize::from(said.iter().any(|line| line.contains("bad")));
        }
        assert_eq!(connections, 3);
        let reported = peer.reported();
        assert_eq!(
            reported
                .iter()
                .filter(|line| *line == "resubscribed bad:0x80")
                .count(),
            1,
            "{reported:?}"
        );
        assert_eq!(
            reported
                .iter()
                .filter(|line| line.contains("ConnectionsLost { connections: 3 }"))
                .count(),
            1
        );
        let names: Vec<_> = peer
            .session
            .subscriptions()
            .map(TopicFilter::as_str)
            .collect();
        assert_eq!(names, ["a", "c"]);
        if peer.session.is_durable() {
            peer.store_all();
            let records = peer.store.iter().map(|(key, value)| (*key, value.clone()));
            let restored =
                martlet_session::Session::restore(config(), peer.now, records).expect("stored");
            let names: Vec<_> = restored
                .session
                .subscriptions()
                .map(TopicFilter::as_str)
                .collect();
            assert_eq!(names, ["a", "c"]);
        }
    }
}

/// A network that cut three connections in a row between a SUBSCRIBE and its answer ended a stream
/// that the server had granted: in 3.1 each connection asks again.
#[test]
fn a_restored_subscription_outlives_a_bad_network() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.subscribe("a", 0);
    serve(&mut peer, |_| false);
    peer.cut();
    for connection in 1..=12 {
        peer.forget();
        peer.reconnect(Version::V5, false);
        let said = peer.said();
        assert!(
            said.iter().any(|line| line.starts_with("SUBSCRIBE")),
            "{connection}: {said:?}"
        );
        // The server goes on sending, so that it is not the SUBSCRIBE at which it stopped.
        peer.wait(millis(1));
        peer.send(publish(0, 0, "b", "x"));
        peer.cut();
    }
    let reported = reports_of(&mut peer, "resubscribed");
    assert_eq!(reported, ["resubscribed a:0x80"], "but not for ever");
}

/// Connections that ended for a reason of their own, such as a malformed message before the SUBACK,
/// were held against the SUBSCRIBE, and it failed "because of this request".
#[test]
fn a_subscribe_is_not_blamed_for_what_has_another_reason() {
    let reasons: [fn(&mut Peer); 3] = [
        |peer| peer.send_bytes(&[0x32, 0x03, 0x00, 0x01, 0xff]),
        |peer| {
            peer.send(Packet::from(Disconnect::new(
                DisconnectReasonCode::ServerShuttingDown,
            )));
        },
        |peer| {
            peer.session
                .handle_close(peer.now, ConnectionError::Replaced);
            peer.drain();
        },
    ];
    for (i, end) in reasons.into_iter().enumerate() {
        let mut peer = Peer::connected(Version::V5, config());
        peer.subscribe("a", 0);
        for _ in 0..6 {
            end(&mut peer);
            if peer.close.is_some() {
                peer.close();
            }
            peer.reconnect(Version::V5, true);
        }
        serve(&mut peer, |_| false);
        assert_eq!(
            reports_of(&mut peer, "subscribed"),
            ["subscribed 1: [0]"],
            "{i}"
        );
    }
}

/// In 3.1 nobody knows whether the server has kept its subscriptions. One that was to be made
/// again, and was not, was not unsubscribed from either: the server went on delivering.
#[test]
fn what_the_server_may_have_kept_is_unsubscribed_from() {
    let mut peer = Peer::connected(Version::V3_1, config());
    peer.subscribe("a", 0);
    serve(&mut peer, |_| false);
    peer.cut();
    // The connection is accepted, and gone before anything has left.
    peer.open(Version::V3_1);
    peer.blocked = true;
    peer.send(connack(false));
    peer.cut();
    withdraw(&mut peer, "a");
    peer.forget();
    peer.unblock();
    peer.reconnect(Version::V3_1, false);
    let said = peer.said();
    assert!(
        said.iter().any(|line| line.starts_with("UNSUBSCRIBE")),
        "{said:?}"
    );
}

/// While a SUBSCRIBE ended each connection at once, nothing else got through.
#[test]
fn messages_go_before_a_suspected_request() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.subscribe("bad", 0);
    serve(&mut peer, |_| true);
    let operation = peer.publish(message(1, "a", "1"));
    peer.forget();
    peer.reconnect(Version::V5, true);
    let said = peer.said();
    assert_eq!(said[1..], ["PUBLISH q1 #2 a 1"]);
    peer.send(puback(2));
    peer.answer_ping();
    assert_eq!(peer.said(), ["SUBSCRIBE #3 bad:0"]);
    assert_eq!(
        reports_of(&mut peer, "published"),
        [format!("published {}: ok", operation.get())]
    );
    // A message that comes later does not hold it back, nor one that is not acknowledged in time.
    peer.cut();
    peer.publish(message(1, "a", "2"));
    peer.reconnect(Version::V5, true);
    peer.said();
    peer.wait(millis(9_999));
    assert_eq!(peer.said(), nothing());
    peer.wait(millis(1));
    peer.answer_ping();
    assert_eq!(peer.said(), ["SUBSCRIBE #5 bad:0"]);
}

/// A subscription that was lost with the session, and on its way when the connection ended, was not
/// made again as long as the application subscribed to other filters without a pause.
#[test]
fn other_requests_do_not_hold_back_a_suspected_one_for_ever() {
    // It waits for 10 s, and then for those without an answer; of these there are 64 at most.
    for (unanswered_at_most, sent_at) in [(1, 100..110), (64, 155..175)] {
        let mut peer = Peer::connected(Version::V5, config());
        peer.subscribe("wanted", 0);
        serve(&mut peer, |_| false);
        peer.cut();
        peer.reconnect(Version::V5, false);
        assert_eq!(peer.said()[1..], ["SUBSCRIBE #2 wanted:0"]);
        peer.cut();
        peer.open(Version::V5);
        peer.forget();
        for n in 0..unanswered_at_most + 5 {
            peer.subscribe(&format!("before/{n}"), 0);
        }
        peer.send(connack(true));
        let mut unanswered = std::collections::VecDeque::new();
        let sent = (0..).find(|n| {
            assert!(*n < 200, "the subscription was not made again");
            peer.subscribe(&format!("other/{n}"), 0);
            for packet in peer.packets() {
                if let Packet::Subscribe(subscribe) = packet {
                    if subscribe.subscriptions[0].filter.to_string() == "wanted" {
                        return true;
                    }
                    unanswered.push_back(subscribe.packet_identifier.get());
                } else if packet == Packet::PingReq {
                    peer.send(Packet::PingResp);
                }
            }
            peer.wait(millis(100));
            if unanswered.len() >= unanswered_at_most || *n > 100 {
                let answered = unanswered.pop_front();
                answered.inspect(|&id| peer.send(suback(id, &[Code::GrantedQos0])));
            }
            false
        });
        assert!(sent_at.contains(&sent.unwrap()), "{sent:?}");
    }
}

/// What was never handed out cannot have ended the connection.
#[test]
fn what_was_not_sent_is_not_suspected() {
    let mut peer = Peer::connected(Version::V5, config());
    for _ in 0..10 {
        peer.blocked = true;
        peer.subscribe("a", 0);
        peer.cut();
        peer.blocked = false;
        peer.forget();
        peer.reconnect(Version::V5, true);
    }
    assert_eq!(peer.said().len(), 2, "CONNECT and SUBSCRIBE");
    assert_eq!(reports_of(&mut peer, "lost"), nothing());
}

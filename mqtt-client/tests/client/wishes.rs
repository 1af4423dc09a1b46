//! Subscriptions as state: what is taken back leaves nothing, and what a server does not answer is
//! given up.

use crate::scripted::{
    Script, builder, client, connected, is_pending, qos1, settle, soon, stopped,
};
use martlet_client::{
    ClientEvent, Events, QoS, RequestError, SubscribeError, TopicFilter, UnsubscribeError,
    proto::{Packet, SubAckReasonCode},
};
use martlet_proto::{
    ConnAck, ConnectReasonCode, Delivery, Disconnect, DisconnectReasonCode, UnsubAckReasonCode,
};
use std::future::IntoFuture;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep};

fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text).unwrap()
}

/// Serves until a SUBSCRIBE has a filter named `bad`, and hangs up there. Returns how many filters
/// were granted.
async fn serve_until_bad(mut server: Script) -> usize {
    let mut granted = 0;
    loop {
        match server.packet().await {
            Packet::Subscribe(asked) => {
                if asked
                    .subscriptions
                    .iter()
                    .any(|entry| entry.filter.as_str().starts_with("bad"))
                {
                    return granted;
                }
                granted += asked.subscriptions.len();
                let reasons = vec![SubAckReasonCode::GrantedQos0; asked.subscriptions.len()];
                server.suback(asked.packet_identifier, reasons).await;
            }
            Packet::Publish(publish) => {
                server
                    .puback(publish.delivery().packet_identifier().unwrap())
                    .await;
            }
            Packet::PingReq => server.send(Packet::PingResp).await,
            other => panic!("not expected here: {other:?}"),
        }
    }
}

/// A SUBSCRIBE at which the server hangs up was sent again for ever; its future and a publish
/// beside it never ended.
#[tokio::test(start_paused = true)]
async fn a_subscribe_at_which_the_server_hangs_up_ends_and_starves_nobody() {
    let (client, server, mut network) = connected(builder()).await;
    let world = async {
        serve_until_bad(server).await;
        for _ in 0..2 {
            let server = network.resume().await;
            serve_until_bad(server).await;
        }
        network.resume().await
    };
    let publish = async {
        // Among the first attempts.
        settle().await;
        client.publish("a", "1").qos(QoS::AtLeastOnce).await
    };
    let (subscribed, published, server) =
        tokio::join!(soon(client.subscribe("bad")), soon(publish), soon(world));
    assert_eq!(
        subscribed.unwrap_err(),
        RequestError::ConnectionsLost { connections: 3 }.into()
    );
    published.unwrap();
    // It is not sent again, and nothing is taken back that the server never granted.
    let mut server = server;
    let (stream, asked) = tokio::join!(soon(client.subscribe("good")), server.grant());
    stream.unwrap();
    assert_eq!(asked.subscriptions[0].filter, filter("good"));
}

/// Nine `martlet.subscriptions` could never work with a server that takes eight filters in a
/// SUBSCRIBE, and one bad one took the others with it.
#[tokio::test(start_paused = true)]
async fn what_the_builder_subscribes_to_travels_in_eights_without_the_bad_one() {
    let names = ["1", "2", "3", "4", "5", "bad", "6", "7", "8", "9"];
    let wanted = names.map(|name| (filter(name), QoS::AtMostOnce));
    let (client, _, mut network) = client(builder().subscriptions(wanted));
    let mut events = client.events();
    let mut granted = 0;
    for connection in 0..3 {
        let mut server = network.dial().await.open();
        server.accept(connection > 0).await;
        granted += soon(serve_until_bad(server)).await;
    }
    let mut server = network.resume().await;
    while granted < 9 {
        granted += soon(server.grant()).await.subscriptions.len();
    }
    let mut answered = None;
    while answered.is_none() {
        match soon(events.next()).await.unwrap() {
            ClientEvent::Subscribed(result) => answered = Some(result.unwrap()),
            ClientEvent::RequestFailed { filter, error } => {
                assert_eq!(filter.as_str(), "bad");
                assert_eq!(error, RequestError::ConnectionsLost { connections: 3 });
            }
            _ => {}
        }
    }
    let rejected: Vec<_> = answered
        .iter()
        .flatten()
        .filter(|(_, reason)| reason.is_error())
        .collect();
    assert_eq!(
        rejected,
        [&(filter("bad"), SubAckReasonCode::UnspecifiedError)]
    );
}

/// A subscription that the server had granted ended every connection once it had to be made again,
/// and all others with it.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_cannot_be_made_again_ends_its_stream_only() {
    let (client, mut server, mut network) = connected(builder()).await;
    let mut events = client.events();
    let (bad, _) = tokio::join!(soon(client.subscribe("bad")), server.grant());
    let (good, _) = tokio::join!(soon(client.subscribe("good")), server.grant());
    let (mut bad, mut good) = (bad.unwrap(), good.unwrap());
    drop(server);
    for _ in 0..3 {
        // The session is lost the first time; what was asked for then is known to be asked for.
        let server = network.accept().await;
        soon(serve_until_bad(server)).await;
    }
    let mut server = network.resume().await;
    assert_eq!(soon(bad.next()).await, None);
    server.message("good", "1", Delivery::AtMostOnce, &[]).await;
    assert_eq!(soon(good.next()).await.unwrap().text(), Some("1"));
    let mut failed = Vec::new();
    client.disconnect().at_once().await;
    while let Some(event) = soon(events.next()).await {
        if let ClientEvent::RequestFailed { filter, .. } = event {
            failed.push(filter);
        }
    }
    assert_eq!(failed, [filter("bad")]);
}

/// Subscribing and dropping in a loop without a connection: after the reconnect the server got tens
/// of thousands of SUBSCRIBEs and UNSUBSCRIBEs for filters that nobody wanted, and no packet
/// identifier was left.
#[tokio::test(start_paused = true)]
async fn what_is_dropped_without_a_connection_leaves_nothing() {
    let (client, mut server, mut network) = connected(builder()).await;
    let (stream, _) = tokio::join!(soon(client.subscribe("kept")), server.grant());
    let (other, _) = tokio::join!(soon(client.subscribe("left")), server.grant());
    let _stream = stream.unwrap();
    drop(server);
    let dial = network.dial().await;
    drop(other.unwrap());
    for n in 0..20_000 {
        assert!(is_pending(&mut pin!(
            client.subscribe(format!("a/{n}")).into_future()
        )));
        assert!(is_pending(&mut pin!(
            client.subscribe("kept").into_future()
        )));
        assert!(is_pending(&mut pin!(
            client.subscribe("left").into_future()
        )));
    }
    let mut server = dial.open();
    server.accept(true).await;
    settle().await;
    let (pong, packets) = tokio::join!(soon(client.ping()), async {
        let mut packets = Vec::new();
        loop {
            match server.packet().await {
                Packet::PingReq => break server.send(Packet::PingResp).await,
                other => packets.push(other),
            }
        }
        packets
    });
    pong.unwrap();
    // The stream on the filter that was subscribed to again is still there; whether it is asked for
    // again does not matter.
    let unsubscribed: Vec<_> = packets
        .iter()
        .filter_map(|packet| match packet {
            Packet::Unsubscribe(packet) => Some(packet.filters.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(unsubscribed, [vec![filter("left")]]);
    assert!(packets.len() <= 2, "{packets:?}");
}

/// The first stream had left while the second's SUBSCRIBE was under way; when that was rejected
/// nobody had the filter, and the server kept the first subscription.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_its_last_stream_leaves_by_being_rejected_is_unsubscribed() {
    let (client, mut server, _network) = connected(builder()).await;
    let (first, _) = tokio::join!(soon(client.subscribe("a")), server.grant());
    let (rejected, ()) = tokio::join!(soon(client.subscribe("a").qos(QoS::ExactlyOnce)), async {
        let asked = server.subscribe().await;
        drop(first);
        server
            .suback(
                asked.packet_identifier,
                vec![SubAckReasonCode::QuotaExceeded],
            )
            .await;
    });
    assert!(matches!(rejected, Err(SubscribeError::Rejected { .. })));
    assert_eq!(server.ungrant().await.filters, [filter("a")]);
    // What nobody had before needs no end.
    let (rejected, ()) = tokio::join!(soon(client.subscribe("b")), async {
        let asked = server.subscribe().await;
        server
            .suback(
                asked.packet_identifier,
                vec![SubAckReasonCode::QuotaExceeded],
            )
            .await;
    });
    assert!(rejected.is_err());
    // Likewise where other filters of the stream are granted.
    let (first, _) = tokio::join!(soon(client.subscribe("c")), server.grant());
    let both = [("c", QoS::AtLeastOnce), ("d", QoS::AtLeastOnce)];
    let (both, ()) = tokio::join!(soon(client.subscribe_all(both)), async {
        let asked = server.subscribe().await;
        drop(first);
        let reasons = vec![
            SubAckReasonCode::NotAuthorized,
            SubAckReasonCode::GrantedQos1,
        ];
        server.suback(asked.packet_identifier, reasons).await;
    });
    assert_eq!(server.ungrant().await.filters, [filter("c")]);
    drop(both.unwrap());
    assert_eq!(server.ungrant().await.filters, [filter("d")]);
}

/// There was no way to unsubscribe from several filters with one UNSUBSCRIBE.
#[tokio::test(start_paused = true)]
async fn several_filters_can_be_unsubscribed_at_once() {
    let (client, mut server, _network) = connected(builder()).await;
    let wanted = ["a", "b", "c"].map(|name| (name, QoS::AtMostOnce));
    let (stream, _) = tokio::join!(soon(client.subscribe_all(wanted)), server.grant());
    let mut stream = stream.unwrap();
    let (answer, asked) = tokio::join!(
        soon(client.unsubscribe_all(["a", "b"]).and("c")),
        server.ungrant()
    );
    assert_eq!(asked.filters, [filter("a"), filter("b"), filter("c")]);
    assert_eq!(answer.unwrap().reasons, [UnsubAckReasonCode::Success; 3]);
    assert_eq!(soon(stream.next()).await, None);
    let wrong = soon(client.unsubscribe("a").and("b#")).await;
    assert!(
        matches!(wrong, Err(UnsubscribeError::Filter(_))),
        "{wrong:?}"
    );
    let none: [&str; 0] = [];
    assert_eq!(
        soon(client.unsubscribe_all(none)).await,
        Err(RequestError::NoFilter.into())
    );
}

/// Some servers reject SUBSCRIBEs with a Subscription Identifier although they say that they take
/// them.
#[tokio::test(start_paused = true)]
async fn a_subscription_can_do_without_an_identifier() {
    let (client, mut server, _network) = connected(builder()).await;
    let subscribe = client
        .subscribe("a/+")
        .qos(QoS::AtLeastOnce)
        .without_identifier();
    let (stream, asked) = tokio::join!(soon(subscribe), server.grant());
    assert_eq!(asked.subscription_identifier, None);
    let (other, asked) = tokio::join!(soon(client.subscribe("a/#")), server.grant());
    let identifier = asked.subscription_identifier.unwrap();
    let (mut stream, mut other) = (stream.unwrap(), other.unwrap());
    // One copy for both, which names the one that has a name.
    server.message("a/b", "1", qos1(1), &[identifier]).await;
    assert_eq!(soon(stream.next()).await.unwrap().text(), Some("1"));
    assert_eq!(soon(other.next()).await.unwrap().text(), Some("1"));
    assert!(matches!(soon(server.packet()).await, Packet::PubAck(_)));
}

/// A SUBACK in the form of 3.1.1 ended every connection; the client never got any further.
#[tokio::test(start_paused = true)]
async fn an_answer_in_the_other_versions_form_ends_the_subscribe_and_not_the_client() {
    let (client, mut server, mut network) = connected(builder()).await;
    let world = async {
        let asked = server.subscribe().await;
        let [high, low] = asked.packet_identifier.get().to_be_bytes();
        server.send_bytes(&[0x90, 3, high, low, 1]).await;
        server.rest().await;
        let mut server = network.resume().await;
        let asked = server.subscribe().await;
        let [high, low] = asked.packet_identifier.get().to_be_bytes();
        server.send_bytes(&[0x90, 3, high, low, 1]).await;
        server
    };
    let (subscribed, mut server) = tokio::join!(soon(client.subscribe("a")), soon(world));
    let Err(SubscribeError::Request(RequestError::InvalidAnswer(answer))) = subscribed else {
        panic!("{subscribed:?}")
    };
    assert_eq!(answer.bytes()[4..], [1]);
    assert_eq!(
        server.ungrant().await.filters,
        [filter("a")],
        "the server may have it"
    );
    let published = client.publish("b", "1").qos(QoS::AtLeastOnce);
    let (published, _) = tokio::join!(soon(published), async {
        let publish = server.published().await;
        server
            .puback(publish.delivery().packet_identifier().unwrap())
            .await;
    });
    published.unwrap();
}

/// The wait for a connection began anew with each loss.
#[tokio::test(start_paused = true)]
async fn a_subscribe_waits_no_longer_than_it_may() {
    let builder = builder()
        .offline_timeout(Duration::from_secs(20))
        .max_request_losses(1000);
    let (client, mut server, mut network) = connected(builder).await;
    let start = Instant::now();
    let world = async {
        loop {
            server.subscribe().await;
            drop(server);
            server = network.dial().await.open();
            server.accept(true).await;
        }
    };
    tokio::select! {
        subscribed = client.subscribe("bad") => {
            assert_eq!(subscribed.unwrap_err(), RequestError::NotConnected.into());
            assert!(start.elapsed() <= Duration::from_secs(21), "{:?}", start.elapsed());
        }
        () = world => {}
    }
}

/// A client that stops ends its streams, so they are dropped while it is stopped. After
/// `reconnect()` it subscribed for them again, acknowledged what came and threw it away.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_dropped_while_the_client_is_stopped_leaves_nothing() {
    for session_present in [false, true] {
        let (client, mut server, mut network) = connected(builder()).await;
        let mut streams = Vec::new();
        for filter in ["dropped", "kept"] {
            let (stream, _) = tokio::join!(soon(client.subscribe(filter)), server.grant());
            streams.push(stream.unwrap());
        }
        server
            .send(Disconnect::new(DisconnectReasonCode::SessionTakenOver))
            .await;
        stopped(&client).await;
        assert!(soon(streams[0].next()).await.is_none());
        drop(streams.remove(0));
        let (revived, mut server) = tokio::join!(soon(client.reconnect()), async {
            let mut server = network.dial().await.open();
            server.accept(session_present).await;
            server
        });
        revived.unwrap();
        if session_present {
            let asked = soon(server.ungrant()).await;
            assert_eq!(asked.filters, [filter("dropped")]);
        } else {
            let asked = soon(server.grant()).await.subscriptions;
            let asked: Vec<_> = asked.iter().map(|asked| asked.filter.as_str()).collect();
            assert_eq!(asked, ["kept"]);
        }
    }
}

/// The next answer to what the builder subscribes to.
async fn answer(events: &mut Events) -> Result<usize, RequestError> {
    loop {
        if let ClientEvent::Subscribed(answer) = soon(events.next()).await.unwrap() {
            return answer.map(|codes| codes.len());
        }
    }
}

/// One slow SUBACK, and a client that nobody watches was deaf until it was started again: what the
/// builder subscribes to was forgotten with the first failure.
#[tokio::test(start_paused = true)]
async fn what_the_builder_subscribes_to_is_asked_for_until_it_is_answered() {
    let wanted = || {
        let wanted = [(filter("a"), QoS::AtMostOnce)];
        builder().keep_alive(0).subscriptions(wanted)
    };
    // On the same connection, after pauses that double.
    let (client, _, mut network) = client(wanted());
    let mut events = client.events();
    let mut server = network.accept().await;
    for pause in [0, 60, 120] {
        let start = Instant::now();
        server.subscribe().await;
        let waited = start.elapsed().as_secs();
        assert!((pause..pause + 2).contains(&waited), "{waited} s");
        assert_eq!(answer(&mut events).await, Err(RequestError::Timeout));
    }
    // On the next connection at once.
    drop(server);
    let mut server = network.accept().await;
    let start = Instant::now();
    soon(server.grant()).await;
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(answer(&mut events).await, Ok(1));
}

/// Three connections that a bad network ended looked as if the SUBSCRIBE had ended them. It is sent
/// again, but not so often that it would end each connection.
#[tokio::test(start_paused = true)]
async fn what_the_builder_subscribes_to_outlives_a_bad_network() {
    let wanted = [(filter("a"), QoS::AtMostOnce)];
    let (client, _, mut network) = client(builder().keep_alive(0).subscriptions(wanted));
    let mut events = client.events();
    for _ in 0..3 {
        let mut server = network.accept().await;
        server.subscribe().await;
    }
    let lost = RequestError::ConnectionsLost { connections: 3 };
    assert_eq!(answer(&mut events).await, Err(lost));
    let start = Instant::now();
    let mut server = network.accept().await;
    server.grant().await;
    let waited = start.elapsed().as_secs();
    assert!((55..70).contains(&waited), "{waited} s");
    assert_eq!(answer(&mut events).await, Ok(1));
}

/// What waited for the first connection was asked of its server only: where that has no wildcards, the next one was
/// not asked.
#[tokio::test(start_paused = true)]
async fn what_one_server_does_not_support_is_asked_of_the_next() {
    for others in [0, 1] {
        let wanted = ["a/#", "b"].map(|name| (filter(name), QoS::AtMostOnce));
        let wanted = wanted.into_iter().take(1 + others);
        let (client, _, mut network) = client(builder().subscriptions(wanted));
        let mut events = client.events();
        for n in 0..2 {
            let mut server = network.dial().await.open();
            server.connect().await;
            let mut connack = ConnAck::new(ConnectReasonCode::Success);
            connack.session_present = n > 0;
            connack.properties.wildcard_subscription_available = Some(false);
            server.send(connack).await;
            if n == 0 && others > 0 {
                let asked = soon(server.grant()).await.subscriptions;
                assert_eq!(asked[0].filter, filter("b"));
                assert_eq!(answer(&mut events).await, Ok(2));
            } else {
                let answer = answer(&mut events).await;
                assert!(
                    matches!(answer, Err(RequestError::NotSupported(_))),
                    "{answer:?}"
                );
            }
        }
        let mut server = network.resume().await;
        let asked = soon(server.grant()).await.subscriptions;
        assert_eq!(asked[0].filter, filter("a/#"));
        assert_eq!(answer(&mut events).await, Ok(1));
        let message = server.message("a/1", "on", Delivery::AtMostOnce, &[]);
        soon(message).await;
        let mut unmatched = client.unmatched().unwrap();
        assert_eq!(soon(unmatched.next()).await.unwrap().topic(), "a/1");
    }
}

/// After a minute without a connection, a server without wildcards: nothing was subscribed to, and
/// nobody learned of it.
#[tokio::test(start_paused = true)]
async fn what_the_builder_cannot_subscribe_to_is_reported() {
    let wanted = [(filter("a/#"), QoS::AtMostOnce)];
    let builder = builder()
        .subscriptions(wanted)
        .offline_timeout(Duration::from_secs(1));
    let (client, _, mut network) = client(builder);
    let mut events = client.events();
    let dial = network.dial().await;
    sleep(Duration::from_secs(2)).await;
    let mut server = dial.open();
    server.connect().await;
    let mut connack = ConnAck::new(ConnectReasonCode::Success);
    connack.properties.wildcard_subscription_available = Some(false);
    server.send(connack).await;
    let answer = answer(&mut events).await;
    assert!(
        matches!(answer, Err(RequestError::NotSupported(_))),
        "{answer:?}"
    );
    // Another server takes it.
    drop(server);
    let mut server = network.accept().await;
    soon(server.grant()).await;
}

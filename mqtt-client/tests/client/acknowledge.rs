//! When messages are acknowledged: by whom, in which order, and when not.

use crate::scripted::{
    Script, builder, client, connected, discarded, is_pending, qos1, qos2, settle, soon,
};
use martlet_client::{
    Client, ClientEvent, QoS, StreamLimits, Subscription,
    proto::{Packet, PubAckReasonCode},
    session::{CleanStart, Details, DropQos0},
};
use martlet_proto::{Delivery, SubscriptionIdentifier};
use std::pin::pin;
use std::time::Duration;

async fn subscribe(client: &Client, server: &mut Script, filter: &str) -> Subscription {
    let (stream, _) = tokio::join!(
        soon(client.subscribe(filter).qos(QoS::ExactlyOnce)),
        server.grant()
    );
    stream.unwrap()
}

/// What the client says next: the acknowledgement of which message, with which reason.
async fn acknowledged(server: &mut Script) -> (u16, PubAckReasonCode) {
    match soon(server.packet()).await {
        Packet::PubAck(ack) | Packet::PubRec(ack) => (ack.packet_identifier.get(), ack.reason),
        other => panic!("expected an acknowledgement, got {other:?}"),
    }
}

async fn is_silent(server: &mut Script) -> bool {
    settle().await;
    is_pending(&mut pin!(server.packet()))
}

const SUCCESS: PubAckReasonCode = PubAckReasonCode::Success;

#[tokio::test(start_paused = true)]
async fn the_application_says_when() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut stream = subscribe(&client, &mut server, "a")
        .await
        .acknowledge_manually();
    server.message("a", "0", Delivery::AtMostOnce, &[]).await;
    for id in 1..=3 {
        server.message("a", &id.to_string(), qos1(id), &[]).await;
    }
    server.message("a", "4", qos2(4), &[]).await;
    let mut messages = Vec::new();
    for n in 0..=4 {
        let message = soon(stream.next()).await.unwrap();
        assert_eq!(message.text(), Some(n.to_string().as_str()));
        messages.push(message);
    }
    assert!(is_silent(&mut server).await, "taken is not acknowledged");
    // In the order of arrival, whatever the order of the application [MQTT-4.6.0-2].
    let [zero, one, two, three, four] = <[_; 5]>::try_from(messages).unwrap();
    zero.acknowledge();
    assert_eq!(three.acknowledge().text(), Some("3"));
    two.reject(PubAckReasonCode::NotAuthorized);
    assert!(is_silent(&mut server).await);
    let text = "done".try_into().unwrap();
    four.acknowledge_with(SUCCESS, Details::default().reason_string(Some(text)));
    match soon(server.packet()).await {
        Packet::PubRec(ack) => {
            assert_eq!(
                ack.properties.unwrap().reason_string.unwrap().as_str(),
                "done"
            );
        }
        other => panic!("{other:?}"),
    }
    one.acknowledge();
    assert_eq!(acknowledged(&mut server).await, (1, SUCCESS));
    assert_eq!(
        acknowledged(&mut server).await,
        (2, PubAckReasonCode::NotAuthorized)
    );
    assert_eq!(acknowledged(&mut server).await, (3, SUCCESS));
}

/// A reader that fails has not acknowledged: the message comes again on the next connection, at QoS
/// 2 too, where the server's copy used to be taken for one that the application still had.
#[tokio::test(start_paused = true)]
async fn a_dropped_message_stays_unacknowledged_and_comes_again() {
    let (client, mut server, mut network) = connected(builder()).await;
    let mut stream = subscribe(&client, &mut server, "a")
        .await
        .acknowledge_manually();
    for round in 0..3 {
        server.message("a", "1", qos1(1), &[]).await;
        server.message("a", "2", qos2(2), &[]).await;
        for text in ["1", "2"] {
            let message = soon(stream.next()).await.unwrap();
            assert_eq!(message.text(), Some(text), "{round}");
            drop(message);
        }
        assert!(is_silent(&mut server).await);
        drop(server);
        server = network.dial().await.open();
        server.accept(true).await;
    }
    server.message("a", "2", qos2(2), &[]).await;
    soon(stream.next()).await.unwrap().acknowledge();
    assert_eq!(acknowledged(&mut server).await, (2, SUCCESS));
}

/// A token is the session's: it acknowledges on the connection that there is. When the server has
/// lost the session, it does nothing.
#[tokio::test(start_paused = true)]
async fn a_token_outlives_its_connection_not_its_session() {
    let (client, mut server, mut network) = connected(builder()).await;
    let mut stream = subscribe(&client, &mut server, "a")
        .await
        .acknowledge_manually();
    server.message("a", "2", qos2(2), &[]).await;
    let message = soon(stream.next()).await.unwrap();
    drop(server);
    let mut server = network.resume().await;
    server.message("a", "2", qos2(2), &[]).await;
    assert!(is_silent(&mut server).await);
    assert!(
        stream.try_next().is_none(),
        "it is with the application already"
    );
    message.acknowledge();
    assert_eq!(acknowledged(&mut server).await, (2, SUCCESS));
    server.message("a", "3", qos1(3), &[]).await;
    let message = soon(stream.next()).await.unwrap();
    drop(server);
    let mut server = network.accept().await;
    server.grant().await;
    server.message("a", "4", qos1(3), &[]).await;
    let next = soon(stream.next()).await.unwrap();
    message.acknowledge();
    assert!(is_silent(&mut server).await);
    next.acknowledge();
    assert_eq!(acknowledged(&mut server).await, (3, SUCCESS));
}

/// A message of two streams is acknowledged when both are done with it; who rejects it is heard,
/// and who drops it keeps it unacknowledged.
#[tokio::test(start_paused = true)]
async fn several_streams_answer_as_one() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut by_hand = subscribe(&client, &mut server, "a/+")
        .await
        .acknowledge_manually();
    let mut taken = subscribe(&client, &mut server, "a/b").await;
    server.message("a/b", "1", qos1(1), &[]).await;
    soon(taken.next()).await.unwrap();
    assert!(is_silent(&mut server).await);
    soon(by_hand.next()).await.unwrap().acknowledge();
    assert_eq!(acknowledged(&mut server).await, (1, SUCCESS));
    server.message("a/b", "2", qos1(2), &[]).await;
    soon(by_hand.next())
        .await
        .unwrap()
        .reject(PubAckReasonCode::QuotaExceeded);
    assert!(is_silent(&mut server).await);
    soon(taken.next()).await.unwrap();
    assert_eq!(
        acknowledged(&mut server).await,
        (2, PubAckReasonCode::QuotaExceeded)
    );
    server.message("a/b", "3", qos1(3), &[]).await;
    drop(soon(by_hand.next()).await.unwrap());
    soon(taken.next()).await.unwrap();
    assert!(is_silent(&mut server).await);
}

/// A stream that acknowledges on arrival holds back nobody, and drops at its bounds.
#[tokio::test(start_paused = true)]
async fn on_arrival() {
    for (when_full, expected) in [
        (DropQos0::Oldest, ["3", "4"]),
        (DropQos0::Newest, ["1", "2"]),
    ] {
        let (client, mut server, _network) = connected(builder()).await;
        let limits = StreamLimits::default().messages(2).when_full(when_full);
        let subscribe = client
            .subscribe("slow")
            .qos(QoS::ExactlyOnce)
            .acknowledge_on_arrival()
            .limits(limits);
        let (slow, _) = tokio::join!(soon(subscribe), server.grant());
        let mut slow = slow.unwrap();
        let mut events = client.events();
        for id in 1..=4 {
            let delivery = if id % 2 == 0 { qos2(id) } else { qos1(id) };
            server.message("slow", &id.to_string(), delivery, &[]).await;
            assert_eq!(acknowledged(&mut server).await, (id, SUCCESS));
        }
        assert_eq!(
            soon(events.next()).await,
            Some(ClientEvent::InboundDropped(2))
        );
        assert_eq!(slow.dropped(), 2);
        for text in expected {
            assert_eq!(slow.try_next().unwrap().text(), Some(text));
        }
        assert!(slow.try_next().is_none());
    }
}

/// One that acknowledges on arrival and one that does not: the message waits for the latter only.
#[tokio::test(start_paused = true)]
async fn on_arrival_beside_another() {
    let (client, mut server, _network) = connected(builder()).await;
    let (slow, _) = tokio::join!(
        soon(client.subscribe("a/+").acknowledge_on_arrival()),
        server.grant()
    );
    let mut taken = subscribe(&client, &mut server, "a/b").await;
    server.message("a/b", "1", qos1(1), &[]).await;
    assert!(is_silent(&mut server).await);
    soon(taken.next()).await.unwrap();
    assert_eq!(acknowledged(&mut server).await, (1, SUCCESS));
    assert_eq!(slow.unwrap().try_next().unwrap().text(), Some("1"));
}

/// The first stream is not read. The others go on until the server has as many messages
/// unacknowledged as it may; after a while an event names the message that holds them back.
#[tokio::test(start_paused = true)]
async fn who_holds_back_acknowledgements_is_told() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut slow = subscribe(&client, &mut server, "slow").await;
    let mut quick = subscribe(&client, &mut server, "quick").await;
    let mut events = client.events();
    server.message("slow", "1", qos1(1), &[]).await;
    for id in 2..=4 {
        server.message("quick", "x", qos1(id), &[]).await;
        soon(quick.next()).await.unwrap();
    }
    let start = tokio::time::Instant::now();
    let topic = |name: &str| name.try_into().unwrap();
    let held = ClientEvent::AcknowledgementsHeld {
        topic: topic("slow"),
        received: false,
        held: 3,
    };
    assert_eq!(soon(events.next()).await, Some(held));
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    // Taken by hand, it is with the application.
    let message = slow.try_next().unwrap();
    for id in 1..=4 {
        assert_eq!(acknowledged(&mut server).await, (id, SUCCESS));
    }
    drop(message);
    let mut slow = slow.acknowledge_manually();
    server.message("slow", "5", qos2(5), &[]).await;
    server.message("quick", "6", qos2(6), &[]).await;
    let message = soon(slow.next()).await.unwrap();
    soon(quick.next()).await.unwrap();
    let held = ClientEvent::AcknowledgementsHeld {
        topic: topic("slow"),
        received: true,
        held: 1,
    };
    assert_eq!(soon(events.next()).await, Some(held));
    message.acknowledge();
    assert_eq!(acknowledged(&mut server).await, (5, SUCCESS));
    assert_eq!(acknowledged(&mut server).await, (6, SUCCESS));
}

/// What was not taken from a dropped stream is acknowledged and reported; a detached one leaves it,
/// and its subscription, to the server.
#[tokio::test(start_paused = true)]
async fn a_dropped_stream_and_a_detached_one() {
    let (client, _, mut network) = client(builder().clean_start(CleanStart::Never));
    let mut server = network.accept().await;
    soon(client.connected()).await.unwrap();
    let dropped = subscribe(&client, &mut server, "a").await;
    let detached = subscribe(&client, &mut server, "b").await;
    let kept = tokio::join!(
        soon(client.subscribe("c").qos(QoS::AtLeastOnce).keep_on_server()),
        server.grant()
    );
    let kept = kept.0.unwrap();
    let mut events = client.events();
    for (id, topic) in [(1, "a"), (2, "b"), (3, "c")] {
        server.message(topic, topic, qos1(id), &[]).await;
    }
    settle().await;
    drop(dropped);
    assert_eq!(acknowledged(&mut server).await, (1, SUCCESS));
    assert_eq!(server.ungrant().await.filters[0].as_str(), "a");
    assert_eq!(
        soon(events.next()).await,
        discarded(1, "a", QoS::AtLeastOnce)
    );
    detached.detach();
    drop(kept);
    assert!(
        is_silent(&mut server).await,
        "neither acknowledged nor unsubscribed"
    );
    // While the client lives, the stream of unmatched messages has them, and what comes for them.
    server.message("c", "later", qos1(4), &[]).await;
    assert!(is_silent(&mut server).await);
    let mut rest = client.unmatched().unwrap();
    for (id, text) in [(2, "b"), (3, "c")] {
        assert_eq!(rest.try_next().unwrap().text(), Some(text));
        assert_eq!(acknowledged(&mut server).await, (id, SUCCESS));
    }
    // It can be left with the server too.
    rest.detach();
    assert!(is_silent(&mut server).await);
    assert_eq!(
        client.unmatched().unwrap().try_next().unwrap().text(),
        Some("later")
    );
    assert_eq!(acknowledged(&mut server).await, (4, SUCCESS));
    drop(client);
    assert!(matches!(soon(server.packet()).await, Packet::Disconnect(_)));
}

/// A flood for a stream that nobody reads holds up nothing: not the other stream at any QoS, not a
/// ping, not a publish. What the stream cannot hold is dropped, counted and reported.
#[tokio::test(start_paused = true)]
async fn a_slow_stream_holds_up_nobody() {
    let (client, mut server, _network) = connected(builder()).await;
    let limits = StreamLimits::default().messages(100);
    let (slow, _) = tokio::join!(
        soon(client.subscribe("slow").limits(limits)),
        server.grant()
    );
    let mut slow = slow.unwrap();
    let mut quick = subscribe(&client, &mut server, "quick").await;
    let none: [SubscriptionIdentifier; 0] = [];
    for n in 0..50_u16 {
        for _ in 0..1000 {
            server
                .message("slow", "flood", Delivery::AtMostOnce, &none)
                .await;
        }
        server
            .message("quick", "0", Delivery::AtMostOnce, &none)
            .await;
        server.message("quick", "1", qos1(n + 1), &none).await;
        assert_eq!(soon(quick.next()).await.unwrap().text(), Some("0"));
        assert_eq!(soon(quick.next()).await.unwrap().text(), Some("1"));
        assert_eq!(acknowledged(&mut server).await, (n + 1, SUCCESS));
    }
    assert_eq!(slow.dropped(), 49_900);
    let (pong, _) = tokio::join!(soon(client.ping()), async {
        assert_eq!(server.packet().await, Packet::PingReq);
        server.send(Packet::PingResp).await;
    });
    pong.unwrap();
    let (published, ()) = tokio::join!(
        soon(client.publish("a", "b").qos(QoS::AtLeastOnce)),
        async {
            let id = server.published_id().await;
            server.puback(id).await;
        }
    );
    published.unwrap();
    let waiting = std::iter::from_fn(|| slow.try_next()).count();
    assert_eq!(waiting, 100);
}

/// By bytes too; and QoS 1, which is never dropped, makes room for itself.
#[tokio::test(start_paused = true)]
async fn what_a_full_stream_drops() {
    let (client, mut server, _network) = connected(builder()).await;
    // A PUBLISH of 20 bytes each: 6 of header, topic and properties, 14 of payload; two more with
    // an identifier.
    let limits = StreamLimits::default().bytes(70);
    let subscribe = client
        .subscribe("a")
        .qos(QoS::AtLeastOnce)
        .limits(limits)
        .drop_when_full();
    let (stream, _) = tokio::join!(soon(subscribe), server.grant());
    let mut stream = stream.unwrap();
    for n in 0..4 {
        server
            .message("a", &format!("{n}-------------"), Delivery::AtMostOnce, &[])
            .await;
    }
    for id in 10..14 {
        server
            .message("a", &format!("{id}------------"), qos1(id), &[])
            .await;
    }
    settle().await;
    let texts: Vec<_> = std::iter::from_fn(|| stream.try_next()).collect();
    let texts: Vec<_> = texts
        .iter()
        .map(|message| &message.text().unwrap()[..2])
        .collect();
    assert_eq!(texts, ["10", "11", "12", "13"]);
    assert_eq!(stream.dropped(), 4);
}

/// Messages of QoS 0 are taken out together, and pass nobody: the order is that of arrival, one of
/// QoS 1 among them is acknowledged when it is taken and not before, and by hand from when that was
/// chosen.
#[tokio::test(start_paused = true)]
async fn messages_that_are_taken_together_keep_their_order() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut stream = subscribe(&client, &mut server, "a").await;
    for (n, delivery) in [
        Delivery::AtMostOnce,
        Delivery::AtMostOnce,
        Delivery::AtMostOnce,
        qos1(1),
        Delivery::AtMostOnce,
        qos1(2),
    ]
    .into_iter()
    .enumerate()
    {
        server.message("a", &n.to_string(), delivery, &[]).await;
    }
    settle().await;
    assert_eq!(stream.try_next().unwrap().text(), Some("0"));
    assert!(is_silent(&mut server).await);
    let mut stream = stream.acknowledge_manually();
    let rest: Vec<_> = std::iter::from_fn(|| stream.try_next()).collect();
    let texts: Vec<_> = rest.iter().map(|message| message.text().unwrap()).collect();
    assert_eq!(texts, ["1", "2", "3", "4", "5"]);
    assert!(is_silent(&mut server).await);
    for message in rest {
        message.acknowledge();
    }
    assert_eq!(acknowledged(&mut server).await, (1, SUCCESS));
    assert_eq!(acknowledged(&mut server).await, (2, SUCCESS));
}

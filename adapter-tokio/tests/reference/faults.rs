//! What amqtt's client does wrong, done right; each named by the numbers of the list in
//! `docs/migrating-from-amqtt.md`. The story at a test is the fault.

use super::peer::Peer;
use super::{broker, broker_with, connect, lasting, message, next, settings, try_connect};
use martlet_broker::{BrokerConfig, BrokerEvent};
use martlet_proto::{Delivery, PacketIdentifier, PacketType};
use martlet_tokio::{
    ClientEvent, ConnectError, ConnectionError, Events, PublishError, QoS, RequestError,
    SubscribeError, Tokio, TopicFilter, client::TopicDefaults, session::Awaited,
};
use std::future::IntoFuture;
use std::time::Duration;

const ONE: PacketIdentifier = PacketIdentifier::MIN;

async fn disconnected(events: &mut Events) -> ConnectionError {
    loop {
        if let ClientEvent::Disconnected { reason: error, .. } =
            events.next().await.expect("an end")
        {
            return error;
        }
    }
}

/// The connection breaks under a publish, which raises `AttributeError` there.
#[tokio::test]
async fn f02_a_publish_outlives_its_connection() {
    let broker = broker().await;
    let client = connect(&lasting(broker.uri())).await;
    let mut messages = client.subscribe("a").qos(QoS::ExactlyOnce).await.unwrap();
    for (qos, text) in [(QoS::AtLeastOnce, "1"), (QoS::ExactlyOnce, "2")] {
        let publish = client.publish("a", text).qos(qos).into_future();
        let cut = async {
            assert!(broker.cut_client("lasting"), "it is connected");
        };
        let ((), published) = tokio::join!(cut, publish);
        published.unwrap();
    }
    client
        .publish("a", "end")
        .qos(QoS::ExactlyOnce)
        .await
        .unwrap();
    let mut texts = Vec::new();
    while texts.last().is_none_or(|last| last != "end") {
        texts.push(next(&mut messages).await.1);
    }
    // At least once, and exactly once.
    texts.dedup_by(|a, b| a == b && a == "1");
    assert_eq!(texts, ["1", "2", "end"]);
}

/// The server repeats the PUBREL of a message that is acknowledged here, for ever.
#[tokio::test]
async fn f04_an_unknown_pubrel_is_answered() {
    let peer = Peer::start().await;
    let settings = settings(peer.uri());
    let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
    server.acknowledge(PacketType::PubRel, ONE).await;
    assert_eq!(server.acknowledged(PacketType::PubComp).await, ONE);
    assert!(client.connection().is_some());
}

/// A request hangs for ever when the connection breaks under it.
#[tokio::test]
async fn f05_requests_do_not_hang_when_the_connection_breaks() {
    let peer = Peer::start().await;
    let settings = lasting(peer.uri());
    let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
    let filter = TopicFilter::new("b").unwrap();
    let breaks = async {
        for _ in 0..3 {
            server.receive().await;
        }
        drop(server);
        // The subscription is asked for again; of a session that is lost there is nothing to
        // unsubscribe.
        let mut server = peer.accept(false).await;
        server.answer_subscribe(&[0]).await;
        server
    };
    let (subscribed, unsubscribed, pinged, _server) = tokio::join!(
        client.subscribe("a").into_future(),
        client.unsubscribe(&filter),
        client.ping(),
        breaks
    );
    subscribed.unwrap();
    unsubscribed.unwrap();
    assert_eq!(pinged, Err(RequestError::NotConnected));
}

/// Without a CONNACK it waits for ever, and a rejected connection stays open.
#[tokio::test]
async fn f06_12_a_rejected_connection_is_closed() {
    let peer = Peer::start().await;
    let settings = settings(peer.uri());
    let server = async {
        let mut server = peer.socket().await;
        server.connect().await;
        server.send_bytes(&[0x20, 2, 0, 5]).await;
        assert!(
            server.try_receive().await.is_none(),
            "the end of the connection"
        );
    };
    let (rejected, ()) = tokio::join!(try_connect(&settings), server);
    assert!(matches!(
        rejected,
        Err(ConnectError::Connection(ConnectionError::Rejected(_)))
    ));
}

/// The server is gone without a word, and the client believes itself connected for ever.
#[tokio::test]
async fn f07_a_missing_pingresp_ends_the_connection() {
    let peer = Peer::start().await;
    let mut settings = settings(peer.uri());
    settings.keep_alive = 1;
    settings.auto_reconnect = false;
    settings.martlet.ping_timeout = Some(Duration::from_millis(50));
    let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
    let mut events = client.events();
    let (error, ping) = tokio::join!(disconnected(&mut events), server.receive());
    assert_eq!(ping.packet_type(), PacketType::PingReq);
    assert_eq!(error, ConnectionError::Timeout(Awaited::PingResp));
}

/// It connects again after `disconnect()`.
#[tokio::test]
async fn f08_disconnect_ends_reconnecting() {
    let peer = Peer::start().await;
    let uri = peer.uri();
    let mut settings = lasting(uri);
    settings.reconnect_retries = -1;
    let (client, driver) = settings.builder().unwrap().build(Tokio).unwrap();
    let driver = tokio::spawn(driver);
    let (connected, server) = tokio::join!(client.connected(), peer.accept(false));
    connected.unwrap();
    // From here on nobody listens.
    drop((peer, server));
    let mut events = client.events();
    disconnected(&mut events).await;
    client.disconnect().await;
    assert_eq!(driver.await.unwrap(), ConnectionError::ClosedHere);
    assert_eq!(
        client.publish("a", "b").qos(QoS::AtLeastOnce).await,
        Err(PublishError::Closed(ConnectionError::ClosedHere))
    );
}

/// A client that gave up spoils the next one, two `connect()` spoil each other, and the arguments
/// of one change the configuration. Here clients of one configuration have nothing to do with each
/// other.
#[tokio::test]
async fn f09_10_14_clients_of_one_configuration_are_apart() {
    let broker = broker().await;
    let settings = settings(broker.uri());
    let before = settings.clone();
    let first = connect(&settings).await;
    let second = connect(&settings).await;
    first.disconnect().await;
    second.ping().await.unwrap();
    let third = connect(&settings).await;
    let mut messages = third.subscribe("a").await.unwrap();
    second.publish("a", "b").await.unwrap();
    assert_eq!(next(&mut messages).await, message("a", "b", 0));
    assert_eq!(settings, before);
}

/// One half-received QoS 2 message delays each reconnect by ten seconds.
#[tokio::test]
async fn f11_half_a_message_does_not_delay_the_next_connection() {
    let peer = Peer::start().await;
    let settings = lasting(peer.uri());
    let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
    let delivery = |duplicate| Delivery::ExactlyOnce {
        packet_identifier: ONE,
        duplicate,
    };
    let (messages, ()) = tokio::join!(
        client.subscribe("a").qos(QoS::ExactlyOnce).into_future(),
        server.answer_subscribe(&[2])
    );
    let mut messages = messages.unwrap();
    server.publish_to("once", delivery(false)).await;
    assert_eq!(next(&mut messages).await, message("a", "once", 2));
    assert_eq!(server.acknowledged(PacketType::PubRec).await, ONE);
    drop(server);
    let mut server = peer.accept(true).await;
    // The first thing that the client does is what it is asked.
    let (pinged, ping) = tokio::join!(
        async {
            client.connected().await.unwrap();
            client.ping().await
        },
        async {
            let ping = server.receive().await;
            server.send_bytes(&[0xd0, 0]).await;
            ping
        }
    );
    pinged.unwrap();
    assert_eq!(ping.packet_type(), PacketType::PingReq);
    server.publish_to("once", delivery(true)).await;
    assert_eq!(server.acknowledged(PacketType::PubRec).await, ONE);
    server.acknowledge(PacketType::PubRel, ONE).await;
    assert_eq!(server.acknowledged(PacketType::PubComp).await, ONE);
    server.publish_to("next", Delivery::AtMostOnce).await;
    assert_eq!(
        next(&mut messages).await,
        message("a", "next", 0),
        "the other one came once"
    );
}

/// What the configuration says of a topic cannot be taken back for one message: `retain=False`
/// counts as nothing said.
#[tokio::test]
async fn f13_what_is_said_of_one_message_counts() {
    let peer = Peer::start().await;
    let mut settings = settings(peer.uri());
    settings.default_retain = true;
    settings.default_qos = QoS::AtLeastOnce;
    let topic = TopicDefaults::default()
        .qos(Some(QoS::ExactlyOnce))
        .retain(Some(true));
    settings.topics.insert("a".into(), topic);
    let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
    for topic in ["a", "b"] {
        client
            .publish(topic, "")
            .qos(QoS::AtMostOnce)
            .retain(false)
            .await
            .unwrap();
        let publish = server.publish().await;
        assert_eq!(
            (publish.delivery(), publish.retain()),
            (Delivery::AtMostOnce, false),
            "{topic}"
        );
    }
}

/// A keep alive of 0 raises an error there.
#[tokio::test]
async fn f15_no_keep_alive() {
    let peer = Peer::start().await;
    let mut settings = settings(peer.uri());
    settings.keep_alive = 0;
    let (_, connect) = tokio::join!(try_connect(&settings), peer.reject_with_connect());
    assert_eq!(connect.keep_alive, 0);
}

/// After bytes that are no MQTT it goes on, out of step.
#[tokio::test]
async fn f16_malformed_bytes_end_the_connection() {
    let wrong: [&[u8]; 6] = [
        // A topic with a wildcard, a remaining length of five bytes, no UTF-8, QoS 3, packet
        // identifier 0, type 15.
        &[0x30, 4, 0, 1, b'#', b'x'],
        &[0x30, 0x80, 0x80, 0x80, 0x80, 1],
        &[0x30, 5, 0, 2, 0xff, 0xfe, b'x'],
        &[0x36, 5, 0, 1, b'a', 0, 1],
        &[0x32, 5, 0, 1, b'a', 0, 0],
        &[0xf0, 0],
    ];
    for bytes in wrong {
        let peer = Peer::start().await;
        let mut settings = settings(peer.uri());
        settings.auto_reconnect = false;
        let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
        let mut events = client.events();
        server.send_bytes(bytes).await;
        let end = async move { while server.try_receive().await.is_some() {} };
        let (error, ()) = tokio::join!(disconnected(&mut events), end);
        assert!(
            matches!(
                error,
                ConnectionError::Malformed(_) | ConnectionError::PeerMisbehaved(_)
            ),
            "{bytes:?}: {error}"
        );
    }
}

/// A packet that takes longer to come than the keep alive gets lost in part.
#[tokio::test]
async fn f19_bytes_that_come_one_at_a_time() {
    let peer = Peer::start().await;
    let settings = settings(peer.uri());
    let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
    let (messages, ()) = tokio::join!(
        client.subscribe("a").into_future(),
        server.answer_subscribe(&[0])
    );
    let mut messages = messages.unwrap();
    for byte in [0x30, 4, 0, 1, b'a', b'b'] {
        server.send_bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(next(&mut messages).await, message("a", "b", 0));
}

/// A message that cannot be sent stays in flight.
#[tokio::test]
async fn f20_a_rejected_publish_leaves_nothing_behind() {
    let broker = broker().await;
    let client = connect(&settings(broker.uri())).await;
    for _ in 0..100 {
        client
            .publish("a/#", "b")
            .qos(QoS::AtLeastOnce)
            .await
            .unwrap_err();
    }
    assert_eq!((client.in_flight(), client.queued()), (0, 0));
}

/// Giving up a `connect()` is reported as an error. Here it is not, and the attempt ends.
#[tokio::test]
async fn f21_a_connect_that_is_given_up_ends() {
    let peer = Peer::start().await;
    let settings = settings(peer.uri());
    let mut server = tokio::select! {
        _ = try_connect(&settings) => panic!("nobody answers"),
        server = async {
            let mut server = peer.socket().await;
            server.connect().await;
            server
        } => server,
    };
    while server.try_receive().await.is_some() {}
}

/// A publish that failed ends like one that did not, an empty message is none, and a rejected
/// subscription is waited on. Here a failure is an error, which a program's `main` can return, and
/// an empty message is a message.
#[tokio::test]
async fn f22_a_failure_is_an_error_and_an_empty_message_a_message() {
    let peer = Peer::start().await;
    let settings = settings(peer.uri());
    let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
    let (rejected, ()) = tokio::join!(client.subscribe("a"), server.answer_subscribe(&[0x80]));
    assert!(
        matches!(rejected, Err(SubscribeError::Rejected { .. })),
        "{rejected:?}"
    );

    let (messages, ()) = tokio::join!(client.subscribe("a"), server.answer_subscribe(&[0]));
    server.publish_to("", Delivery::AtMostOnce).await;
    assert_eq!(next(&mut messages.unwrap()).await, message("a", "", 0));

    assert!(matches!(
        client.publish("a/#", "b").await,
        Err(PublishError::Topic(_))
    ));
    let late = client
        .publish("a", "b")
        .qos(QoS::AtLeastOnce)
        .timeout(Duration::from_millis(20));
    assert_eq!(late.await, Err(PublishError::Timeout));
    let cut_off = client.publish("a", "b").qos(QoS::AtLeastOnce).into_future();
    let (cut_off, _) = tokio::join!(cut_off, client.disconnect().at_once().into_future());
    assert_eq!(
        cut_off,
        Err(PublishError::Closed(ConnectionError::ClosedHere))
    );
}

/// What cannot become right is tried again and again.
#[tokio::test]
async fn f24_what_cannot_become_right_is_not_tried_again() {
    let broker = broker_with(BrokerConfig::default().with_user("ann", "right").unwrap()).await;
    let mut settings = settings(broker.uri().replace("mqtt://", "mqtt://ann:wrong@"));
    settings.reconnect_retries = -1;
    assert!(matches!(
        try_connect(&settings).await,
        Err(ConnectError::Connection(ConnectionError::Rejected(_)))
    ));
    let rejected = super::events(&broker)
        .iter()
        .filter(|event| matches!(event, BrokerEvent::Rejected { .. }))
        .count();
    assert_eq!(rejected, 1);
    assert!(settings.clone().builder().is_ok());
    settings.connection.uri = "mq://h".into();
    assert!(matches!(
        try_connect(&settings).await,
        Err(ConnectError::Settings(_))
    ));
}

/// Of several who wait for a message one is forgotten. Here each has a stream, and a stream can be
/// taken turns on.
#[tokio::test]
async fn f25_several_wait_for_messages() {
    let broker = broker().await;
    let client = connect(&settings(broker.uri())).await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let mut messages = client.subscribe("a").await.unwrap();
        waiting.push(tokio::spawn(async move { next(&mut messages).await }));
    }
    client.publish("a", "b").await.unwrap();
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), message("a", "b", 0));
    }
}

/// A write on a socket that was reset is swallowed, and the publish fails by its timeout.
#[tokio::test]
async fn f26_a_publish_on_a_reset_socket_is_sent_again() {
    let peer = Peer::start().await;
    let settings = lasting(peer.uri());
    let (client, server) = tokio::join!(connect(&settings), peer.accept(false));
    server.reset();
    let server = async {
        let mut server = peer.accept(true).await;
        let identifier = server.published().await;
        server.acknowledge(PacketType::PubAck, identifier).await;
        server
    };
    let (published, _server) = tokio::join!(
        client.publish("a", "b").qos(QoS::AtLeastOnce).into_future(),
        server
    );
    published.unwrap();
}

/// Without a number: an acknowledgement is waited for five seconds there, whatever the timeout
/// says.
#[tokio::test]
async fn the_acknowledgement_timeout_is_the_one_that_is_set() {
    let peer = Peer::start().await;
    let short = Duration::from_millis(30);
    let mut for_all = settings(peer.uri());
    for_all.martlet.publish_timeout = Some(short);
    for (settings, for_one) in [(for_all, None), (settings(peer.uri()), Some(short))] {
        let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut publish = client.publish("a", "b").qos(qos);
            if let Some(time) = for_one {
                publish = publish.timeout(time);
            }
            let (published, _) = tokio::join!(publish.into_future(), server.publish());
            assert_eq!(published, Err(PublishError::Timeout));
        }
        // They stay in flight: the acknowledgements may still come.
        assert_eq!(client.in_flight(), 2);
    }
}

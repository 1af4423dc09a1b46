//! Subscriptions: each a stream of its own.

use crate::scripted::{
    builder, connected, identifier, is_pending, qos1, qos2, settle, soon, with_broker,
};
use martlet_broker::{BrokerConfig, BrokerLimits};
use martlet_client::{
    Builder, Client, QoS, Reconnect, RequestError, SubscribeError, TopicFilter, Version,
    client::NoMessage,
    proto::{Packet, PubAckReasonCode, SubAckReasonCode, TopicError},
    session::{CleanStart, InboundLimits, Unsupported},
};
use martlet_proto::{Ack, ConnectReasonCode, Delivery};
use std::future::IntoFuture;
use std::pin::pin;
use std::time::Duration;
use tokio::time::Instant;

pub(crate) fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text).unwrap()
}

#[tokio::test]
async fn each_subscription_has_its_own_stream() {
    for version in [Version::V5, Version::V3_1_1] {
        let (_server, client) =
            with_broker(BrokerConfig::default(), |builder| builder.version(version)).await;
        let mut a = soon(client.subscribe("a/+").qos(QoS::AtLeastOnce))
            .await
            .unwrap();
        let mut b = soon(client.subscribe("b/#").qos(QoS::ExactlyOnce))
            .await
            .unwrap();
        assert_eq!(a.reasons(), [SubAckReasonCode::GrantedQos1]);
        assert_eq!(b.reasons(), [SubAckReasonCode::GrantedQos2]);
        for n in 0..100 {
            let topic = if n % 2 == 0 { "a/x" } else { "b/x/y" };
            soon(client.publish(topic, n.to_string()).qos(QoS::ExactlyOnce))
                .await
                .unwrap();
        }
        for n in (0..100).step_by(2) {
            let message = soon(a.next()).await.unwrap();
            assert_eq!(
                (message.topic(), message.text().unwrap(), message.qos()),
                ("a/x", n.to_string().as_str(), QoS::AtLeastOnce)
            );
            let message = soon(b.next()).await.unwrap();
            assert_eq!(
                (message.topic(), message.text().unwrap(), message.qos()),
                ("b/x/y", (n + 1).to_string().as_str(), QoS::ExactlyOnce)
            );
        }
        assert!(a.try_next().is_none() && b.try_next().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn each_filter_has_its_answer() {
    let (client, mut server, _network) = connected(builder()).await;
    let wanted = [
        ("a", QoS::AtMostOnce),
        ("b", QoS::AtLeastOnce),
        ("c", QoS::ExactlyOnce),
    ];
    let codes = [
        SubAckReasonCode::GrantedQos0,
        SubAckReasonCode::NotAuthorized,
        SubAckReasonCode::GrantedQos1,
    ];
    let (stream, ()) = tokio::join!(soon(client.subscribe_all(wanted)), async {
        let asked = server.subscribe().await;
        assert_eq!(asked.subscriptions.len(), 3);
        server.suback(asked.packet_identifier, codes.to_vec()).await;
    });
    let mut stream = stream.unwrap();
    assert_eq!(stream.reasons(), codes);
    server.message("a", "1", Delivery::AtMostOnce, &[]).await;
    server.message("b", "2", Delivery::AtMostOnce, &[]).await;
    server.message("c", "3", Delivery::AtMostOnce, &[]).await;
    assert_eq!(soon(stream.next()).await.unwrap().topic(), "a");
    assert_eq!(
        soon(stream.next()).await.unwrap().topic(),
        "c",
        "what was rejected is not its own"
    );
    drop(stream);
    assert_eq!(
        server.unsubscribe().await.filters,
        [filter("a"), filter("c")]
    );
}

#[tokio::test(start_paused = true)]
async fn a_rejected_subscription_is_an_error() {
    let (client, mut server, _network) = connected(builder()).await;
    let (rejected, ()) = tokio::join!(soon(client.subscribe("a")), async {
        let asked = server.subscribe().await;
        server
            .suback(
                asked.packet_identifier,
                vec![SubAckReasonCode::TopicFilterInvalid],
            )
            .await;
    });
    let reasons = vec![SubAckReasonCode::TopicFilterInvalid];
    assert_eq!(
        rejected.unwrap_err(),
        SubscribeError::Rejected {
            reasons,
            details: None
        }
    );
    for wrong in ["sport+", "a/#/b", "", "$share/g"] {
        assert!(
            matches!(
                client.subscribe(wrong).await.unwrap_err(),
                SubscribeError::Filter(_)
            ),
            "{wrong:?}"
        );
    }
    let none: [(&str, QoS); 0] = [];
    assert_eq!(
        client.subscribe_all(none).await.unwrap_err(),
        RequestError::NoFilter.into()
    );
    // Nothing of it was sent, and nothing is to be taken back.
    let (pong, packet) = tokio::join!(soon(client.ping()), async {
        let packet = server.packet().await;
        server.send(Packet::PingResp).await;
        packet
    });
    pong.unwrap();
    assert_eq!(packet, Packet::PingReq);
}

/// A SUBACK that does not come is an error, and the subscription is taken back.
#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come() {
    let (client, mut server, _network) = connected(builder()).await;
    let start = Instant::now();
    let (subscribed, _) = tokio::join!(soon(client.subscribe("a")), server.subscribe());
    assert_eq!(subscribed.unwrap_err(), RequestError::Timeout.into());
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!(server.ungrant().await.filters, [filter("a")]);
}

/// One message for two subscriptions: the identifiers say for whom it is, and each copy is for its
/// own.
#[tokio::test(start_paused = true)]
async fn overlapping_filters_are_told_apart_by_identifiers() {
    let (client, mut server, _network) = connected(builder()).await;
    let (a, first) = tokio::join!(
        soon(client.subscribe("a/#").qos(QoS::AtLeastOnce)),
        server.grant()
    );
    let (b, second) = tokio::join!(
        soon(client.subscribe("a/b").qos(QoS::AtLeastOnce)),
        server.grant()
    );
    let (mut a, mut b) = (a.unwrap(), b.unwrap());
    let [one, two] = [first, second].map(|asked| asked.subscription_identifier.unwrap());
    assert_ne!(one, two);
    server
        .message("a/b", "for a", Delivery::AtMostOnce, &[one])
        .await;
    server
        .message("a/b", "for b", Delivery::AtMostOnce, &[two])
        .await;
    server
        .message("a/b", "for both", qos1(1), &[one, two])
        .await;
    server
        .message("a/b", "says nothing", Delivery::AtMostOnce, &[])
        .await;
    for text in ["for a", "for both", "says nothing"] {
        assert_eq!(soon(a.next()).await.unwrap().text(), Some(text));
    }
    settle().await;
    // Acknowledged when both have taken it.
    assert!(is_pending(&mut pin!(server.packet())));
    for text in ["for b", "for both", "says nothing"] {
        assert_eq!(soon(b.next()).await.unwrap().text(), Some(text));
    }
    assert!(
        matches!(soon(server.packet()).await, Packet::PubAck(ack) if ack.packet_identifier.get() == 1)
    );
}

/// Streams of one filter share its subscription; the last one takes it back.
#[tokio::test(start_paused = true)]
async fn streams_may_share_a_filter() {
    let (client, mut server, _network) = connected(builder()).await;
    let (a, _) = tokio::join!(
        soon(client.subscribe("t").qos(QoS::AtLeastOnce)),
        server.grant()
    );
    let (b, asked) = tokio::join!(soon(client.subscribe("t")), server.grant());
    let (mut a, mut b) = (a.unwrap(), b.unwrap());
    assert_eq!(
        asked.subscriptions[0].qos,
        QoS::AtLeastOnce,
        "the higher one of both"
    );
    let identifiers = asked.subscription_identifier;
    server
        .message("t", "1", qos1(1), identifiers.as_slice())
        .await;
    assert_eq!(soon(a.next()).await.unwrap().text(), Some("1"));
    assert_eq!(soon(b.next()).await.unwrap().text(), Some("1"));
    assert!(matches!(soon(server.packet()).await, Packet::PubAck(_)));
    // What one has not taken is acknowledged for it when it is dropped.
    server
        .message("t", "2", qos1(2), identifiers.as_slice())
        .await;
    assert_eq!(soon(a.next()).await.unwrap().text(), Some("2"));
    drop(b);
    assert!(matches!(soon(server.packet()).await, Packet::PubAck(_)));
    server
        .message("t", "3", qos1(3), identifiers.as_slice())
        .await;
    settle().await;
    drop(a);
    assert!(
        matches!(soon(server.packet()).await, Packet::PubAck(ack) if ack.packet_identifier.get() == 3)
    );
    assert_eq!(server.ungrant().await.filters, [filter("t")]);
}

/// One task subscribes to a filter while another unsubscribes its own stream of the same filter:
/// the new subscription stays.
#[tokio::test(start_paused = true)]
async fn unsubscribing_one_stream_leaves_the_others() {
    let (client, mut server, _network) = connected(builder()).await;
    let (a, _) = tokio::join!(soon(client.subscribe("t")), server.grant());
    let (b, _) = tokio::join!(soon(client.subscribe("t")), server.grant());
    soon(a.unwrap().unsubscribe()).await.unwrap();
    server.message("t", "1", Delivery::AtMostOnce, &[]).await;
    let mut b = b.unwrap();
    assert_eq!(soon(b.next()).await.unwrap().text(), Some("1"));
    let (unsubscribed, asked) = tokio::join!(soon(b.unsubscribe()), server.ungrant());
    unsubscribed.unwrap();
    assert_eq!(asked.filters, [filter("t")]);
}

/// By its filter all streams of it end, after what they have.
#[tokio::test(start_paused = true)]
async fn unsubscribing_from_a_filter_ends_its_streams() {
    let (client, mut server, _network) = connected(builder()).await;
    let (a, _) = tokio::join!(soon(client.subscribe("t")), server.grant());
    let both = [("t", QoS::AtMostOnce), ("u", QoS::AtMostOnce)];
    let (b, _) = tokio::join!(soon(client.subscribe_all(both)), server.grant());
    let (mut a, mut b) = (a.unwrap(), b.unwrap());
    server.message("t", "1", Delivery::AtMostOnce, &[]).await;
    settle().await;
    let (unsubscribed, _) = tokio::join!(soon(client.unsubscribe("t")), server.ungrant());
    unsubscribed.unwrap();
    assert!(soon(a.next()).await.is_some());
    assert!(soon(a.next()).await.is_none());
    assert!(soon(b.next()).await.is_some());
    server.message("u", "2", Delivery::AtMostOnce, &[]).await;
    assert_eq!(soon(b.next()).await.unwrap().text(), Some("2"));
    drop(b);
    assert_eq!(server.ungrant().await.filters, [filter("u")]);
    // What was never subscribed to can be unsubscribed from.
    let (unsubscribed, _) = tokio::join!(soon(client.unsubscribe("x")), server.ungrant());
    unsubscribed.unwrap();
}

/// Dropped at each point: before it is polled nothing happens, later the subscription is taken
/// back.
#[tokio::test(start_paused = true)]
async fn a_dropped_subscribe_is_taken_back() {
    let (client, mut server, mut network) = connected(builder()).await;
    drop(client.subscribe("never"));
    drop(client.subscribe("never").into_future());
    assert!(is_pending(&mut pin!(client.subscribe("a").into_future())));
    assert_eq!(server.grant().await.subscriptions[0].filter, filter("a"));
    assert_eq!(server.ungrant().await.filters, [filter("a")]);
    // The answer was on its way already.
    {
        let mut pending = pin!(client.subscribe("b").into_future());
        assert!(is_pending(&mut pending.as_mut()));
        server.grant().await;
        settle().await;
    }
    assert_eq!(server.ungrant().await.filters, [filter("b")]);
    settle().await;
    // Nothing of them is left to be restored.
    drop(server);
    let mut server = network.accept().await;
    let (stream, asked) = tokio::join!(soon(client.subscribe("c")), server.grant());
    stream.unwrap();
    assert_eq!(asked.subscriptions[0].filter, filter("c"));
}

/// The SUBACK comes after the subscribe was dropped and its UNSUBSCRIBE had left: the filter used
/// to stay in the session's list of what to restore, and messages came that nobody wanted.
#[tokio::test(start_paused = true)]
async fn a_late_answer_does_not_bring_a_subscription_back() {
    let (client, mut server, mut network) = connected(builder()).await;
    assert!(is_pending(&mut pin!(client.subscribe("a").into_future())));
    settle().await;
    server.grant().await;
    server.ungrant().await;
    settle().await;
    drop(server);
    let mut server = network.accept().await;
    let (stream, asked) = tokio::join!(soon(client.subscribe("b")), server.grant());
    stream.unwrap();
    assert_eq!(asked.subscriptions[0].filter, filter("b"), "and not a");
}

#[tokio::test(start_paused = true)]
async fn a_subscribe_waits_through_a_reconnect() {
    let (client, mut server, mut network) = connected(builder()).await;
    let (stream, _server) = tokio::join!(soon(client.subscribe("a")), async {
        server.subscribe().await;
        drop(server);
        let mut server = network.accept().await;
        server.grant().await;
        server
    });
    assert_eq!(stream.unwrap().reasons(), [SubAckReasonCode::GrantedQos0]);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_message_can_have_an_end() {
    let (client, mut server, _network) = connected(builder()).await;
    let (stream, _) = tokio::join!(soon(client.subscribe("a")), server.grant());
    let mut stream = stream.unwrap();
    let start = Instant::now();
    assert_eq!(
        soon(stream.next_timeout(Duration::from_secs(3))).await,
        Err(NoMessage)
    );
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    assert!(stream.try_next().is_none());
    server.message("a", "1", Delivery::AtMostOnce, &[]).await;
    // As long as can be said.
    assert_eq!(
        soon(stream.next_timeout(Duration::MAX))
            .await
            .unwrap()
            .unwrap()
            .text(),
        Some("1")
    );
    // Dropped while they wait, they take nothing with them.
    assert!(is_pending(&mut pin!(
        stream.next_timeout(Duration::from_secs(1))
    )));
    assert!(is_pending(&mut pin!(stream.next())));
    server.message("a", "2", Delivery::AtMostOnce, &[]).await;
    settle().await;
    assert_eq!(stream.try_next().unwrap().text(), Some("2"));
    client.disconnect().drain(Duration::ZERO).await;
    assert_eq!(
        soon(stream.next_timeout(Duration::from_secs(3))).await,
        Ok(None)
    );
    assert!(stream.try_next().is_none());
}

pub(crate) fn acknowledgement(id: u16) -> Packet {
    Packet::PubAck(Ack::new(identifier(id), PubAckReasonCode::Success))
}

/// More messages wait than the soft bound allows, and the socket is not read. When the application
/// takes them reading must begin again, although no byte is left over from before: the driver used
/// to fall asleep.
#[tokio::test(start_paused = true)]
async fn reading_goes_on_when_messages_are_taken() {
    let (client, mut server, _network) =
        connected(builder().inbound(InboundLimits::default().soft_messages(10))).await;
    let (stream, _) = tokio::join!(soon(client.subscribe("a")), server.grant());
    let mut stream = stream.unwrap();
    for n in 0..10 {
        server
            .message("a", &n.to_string(), Delivery::AtMostOnce, &[])
            .await;
    }
    settle().await;
    for n in 0..50 {
        if n >= 10 {
            settle().await;
        }
        server
            .message("a", &(n + 10).to_string(), Delivery::AtMostOnce, &[])
            .await;
        settle().await;
        let start = Instant::now();
        assert_eq!(
            soon(stream.next()).await.unwrap().text(),
            Some(n.to_string().as_str())
        );
        settle().await;
        assert_eq!(start.elapsed(), Duration::ZERO, "{n}");
    }
}

/// Taken after the connection was lost, a QoS 1 message that comes again is delivered once; QoS 2
/// always is.
#[tokio::test(start_paused = true)]
async fn a_resent_message_takes_the_place_of_the_untaken_one() {
    let (client, mut server, mut network) = connected(builder()).await;
    let (stream, _) = tokio::join!(
        soon(client.subscribe("a").qos(QoS::ExactlyOnce)),
        server.grant()
    );
    let mut stream = stream.unwrap();
    server.message("a", "1", qos1(1), &[]).await;
    server.message("a", "2", qos2(2), &[]).await;
    settle().await;
    drop(server);
    let mut server = network.resume().await;
    let again = |qos, packet_identifier| match qos {
        QoS::ExactlyOnce => Delivery::ExactlyOnce {
            packet_identifier,
            duplicate: true,
        },
        _ => Delivery::AtLeastOnce {
            packet_identifier,
            duplicate: true,
        },
    };
    server
        .message("a", "1", again(QoS::AtLeastOnce, identifier(1)), &[])
        .await;
    server
        .message("a", "2", again(QoS::ExactlyOnce, identifier(2)), &[])
        .await;
    settle().await;
    let mut texts = Vec::new();
    while let Some(message) = stream.try_next() {
        texts.push(message.text().unwrap().to_owned());
    }
    texts.sort();
    assert_eq!(texts, ["1", "2"]);
    let mut acks = [
        soon(server.packet()).await.packet_type(),
        soon(server.packet()).await.packet_type(),
    ];
    acks.sort();
    assert_eq!(
        acks,
        [
            martlet_proto::PacketType::PubAck,
            martlet_proto::PacketType::PubRec
        ]
    );
}

#[tokio::test]
async fn retained_messages_come_with_the_subscription() {
    let (_server, client) = with_broker(BrokerConfig::default(), |builder| builder).await;
    for text in ["old", "new"] {
        soon(client.publish("r", text).qos(QoS::AtLeastOnce).retain(true))
            .await
            .unwrap();
    }
    let mut stream = soon(client.subscribe("r")).await.unwrap();
    let message = soon(stream.next()).await.unwrap();
    assert_eq!((message.text(), message.retain()), (Some("new"), true));
}

/// A persistent session: what came for it while the client was away arrives when it is back.
#[tokio::test]
async fn a_session_outlives_its_client() {
    for version in [Version::V5, Version::V3_1_1] {
        let persistent = |builder: Builder| {
            builder
                .version(version)
                .clean_start(CleanStart::Never)
                .session_expiry_interval(3600)
        };
        let once = |builder| persistent(builder).reconnect(Reconnect::default().enabled(false));
        let (server, client) = with_broker(BrokerConfig::default(), once).await;
        let stream = soon(client.subscribe("a").qos(QoS::ExactlyOnce))
            .await
            .unwrap();
        // The process dies: nothing is unsubscribed.
        server.configure(BrokerConfig::default().reject(ConnectReasonCode::NotAuthorized));
        assert!(server.cut_client("me"));
        let mut stream = stream;
        assert!(soon(stream.next()).await.is_none());
        server.configure(BrokerConfig::default());
        let other = soon(martlet_tokio::connect(server.uri())).await.unwrap();
        for (n, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
            .into_iter()
            .enumerate()
        {
            soon(other.publish("a", n.to_string()).qos(qos))
                .await
                .unwrap();
        }
        let again = Client::builder(server.uri()).client_identifier("me");
        let (again, driver) = persistent(again).build(martlet_tokio::Tokio).unwrap();
        let mut rest = again.unmatched().unwrap();
        tokio::spawn(driver);
        for text in ["1", "2"] {
            assert_eq!(
                soon(rest.next()).await.unwrap().text(),
                Some(text),
                "{version}"
            );
        }
        assert!(again.connection().unwrap().session_present);
    }
}

/// A stream that named a filter twice had each message twice, and acknowledged it with the second.
#[tokio::test(start_paused = true)]
async fn a_filter_that_is_named_twice_is_one() {
    let (client, mut server, _network) = connected(builder()).await;
    let (stream, _) = tokio::join!(
        soon(client.subscribe_all([("a", QoS::AtMostOnce), ("a", QoS::AtLeastOnce)])),
        server.grant()
    );
    let mut stream = stream.unwrap();
    server.message("a", "1", qos1(1), &[]).await;
    assert_eq!(soon(stream.next()).await.unwrap().text(), Some("1"));
    assert!(matches!(soon(server.packet()).await, Packet::PubAck(_)));
    assert!(stream.try_next().is_none());
}

/// A stream that was made to leave its subscription with the server did so too when it was
/// unsubscribed: its messages went to the stream of unmatched messages, unacknowledged.
#[tokio::test(start_paused = true)]
async fn who_unsubscribes_leaves_nothing_with_the_server() {
    let (client, mut server, _network) = connected(builder()).await;
    let subscribe = client.subscribe("a").qos(QoS::AtLeastOnce).keep_on_server();
    let (stream, _) = tokio::join!(soon(subscribe), server.grant());
    server.message("a", "1", qos1(1), &[]).await;
    settle().await;
    let unsubscribe = stream.unwrap().unsubscribe();
    let (unsubscribed, packets) = tokio::join!(soon(unsubscribe), async {
        let asked = server.ungrant().await;
        (asked.filters, soon(server.packet()).await)
    });
    unsubscribed.unwrap();
    assert_eq!(packets, (vec![filter("a")], acknowledgement(1)));
    assert!(client.unmatched().unwrap().try_next().is_none());
}

/// Each message goes to one of two clients, and each client gets some, in all versions: this broker
/// knows shared subscriptions in 3.x too.
#[tokio::test]
async fn clients_share_a_load() {
    for version in Version::ALL {
        let set = |builder: Builder| builder.version(version);
        let (server, sender) = with_broker(BrokerConfig::default(), set).await;
        let join = async |name: &str| {
            let builder = Client::builder(server.uri()).client_identifier(name);
            soon(martlet_tokio::connect_with(set(builder)))
                .await
                .unwrap()
        };
        let (ann, bob) = (join("ann").await, join("bob").await);
        let mut streams = Vec::new();
        for client in [&ann, &bob] {
            let jobs = client.subscribe_shared("workers", "jobs/+");
            streams.push(soon(jobs.qos(QoS::AtLeastOnce)).await.unwrap());
        }
        // Another group has everything.
        let others = sender.subscribe_shared(String::from("others"), filter("jobs/+"));
        let mut others = soon(others).await.unwrap();
        for n in 0..10 {
            let job = sender.publish(format!("jobs/{n}"), "do it");
            soon(job.qos(QoS::AtLeastOnce)).await.unwrap();
        }
        for n in 0..10 {
            let job = soon(others.next()).await.unwrap();
            assert_eq!(job.topic(), format!("jobs/{n}"), "{version}");
        }
        // The streams end behind their last messages.
        for client in [&ann, &bob] {
            let shared = TopicFilter::shared("workers", "jobs/+").unwrap();
            soon(client.unsubscribe(shared)).await.unwrap();
        }
        let mut done = Vec::new();
        for stream in &mut streams {
            let before = done.len();
            while let Some(job) = soon(stream.next()).await {
                done.push(job.topic().to_owned());
            }
            assert!(done.len() > before, "{version}: one has everything");
        }
        done.sort();
        let all: Vec<_> = (0..10).map(|n| format!("jobs/{n}")).collect();
        assert_eq!(done, all, "{version}: each job once");
    }
}

/// Where CONNACK says that there are none: on a connection, and for what was asked before it.
#[tokio::test]
async fn a_server_without_shared_subscriptions_is_a_typed_error() {
    let limits = BrokerLimits::default().shared_subscription_available(false);
    let config = BrokerConfig::default().limits(limits);
    let (server, client) = with_broker(config, |builder| builder).await;
    let shared = client.subscribe_shared("workers", "jobs/+");
    let error = soon(shared).await.unwrap_err();
    let no_shared =
        SubscribeError::from(RequestError::NotSupported(Unsupported::SharedSubscriptions));
    assert_eq!(error, no_shared);
    let text = "shared subscriptions are not supported on this connection";
    assert_eq!(error.to_string(), text);
    // Nothing was sent at which this server hangs up, and all else is as before.
    let subscribed = soon(client.subscribe("jobs/+")).await;
    let both = client
        .subscribe("a")
        .and("$share/workers/jobs/+", QoS::AtMostOnce);
    assert_eq!(soon(both).await.unwrap_err(), no_shared);
    assert!(subscribed.is_ok() && client.connection().is_some());

    let early = Client::builder(server.uri()).client_identifier("early");
    let (early, driver) = early.build(martlet_tokio::Tokio).unwrap();
    let shared = tokio::spawn({
        let early = early.clone();
        async move { early.subscribe_shared("workers", "jobs/+").await.map(drop) }
    });
    settle().await;
    tokio::spawn(driver);
    let early_error = soon(shared).await.unwrap().unwrap_err();
    assert_eq!(early_error, no_shared);
}

/// Other errors of a shared subscription are not taken for that.
#[tokio::test]
async fn other_errors_of_shared_subscriptions_stay_what_they_are() {
    let limits = BrokerLimits::default().wildcard_subscription_available(false);
    let config = BrokerConfig::default().limits(limits);
    let (_server, client) = with_broker(config, |builder| builder).await;
    let error = soon(client.subscribe_shared("g", "#")).await.unwrap_err();
    assert!(
        matches!(
            error,
            SubscribeError::Request(RequestError::NotSupported(
                Unsupported::WildcardSubscriptions
            ))
        ),
        "{error:?}"
    );
    for name in ["", "a/b", "+", "a#"] {
        let error = client
            .subscribe_shared(name, "a")
            .qos(QoS::AtLeastOnce)
            .await;
        assert_eq!(error.unwrap_err(), TopicError::ShareName.into(), "{name:?}");
    }
    for (filter, wrong) in [
        ("", TopicError::Empty),
        ("a#", TopicError::MultiLevel { at: 1 }),
        ("$share/g/a", TopicError::ShareFilter),
    ] {
        let error = client.subscribe_shared("g", filter).await.unwrap_err();
        assert_eq!(error, wrong.into(), "{filter}");
    }
}

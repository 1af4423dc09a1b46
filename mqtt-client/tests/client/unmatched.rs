//! The stream of messages that no subscription explains, and of the builder's subscriptions.

use crate::scripted::{builder, client, discarded, is_pending, qos1, qos2, settle, soon};
use crate::subscribe::{acknowledgement, filter};
use martlet_client::{
    ClientEvent, QoS, Reconnect, RequestError, UnsubscribeError, Version,
    proto::{Packet, SubAckReasonCode},
    session::{CleanStart, InboundLimits},
};
use martlet_proto::{ConnAck, ConnectReasonCode};
use std::future::IntoFuture;
use std::num::NonZeroU32;
use std::pin::pin;
use std::time::Duration;
use tokio::time::Instant;

/// A session is resumed, and its messages come before anybody could subscribe again: the stream of
/// unmatched messages, taken before the client connects, gets them, and they are acknowledged when
/// they are taken.
#[tokio::test(start_paused = true)]
async fn a_resumed_sessions_messages_go_to_the_unmatched() {
    let (client, _, mut network) = client(builder().clean_start(CleanStart::Never));
    let mut rest = client.unmatched().unwrap();
    assert!(client.unmatched().is_none(), "there is one");
    let mut server = network.resume().await;
    server.message("old/1", "1", qos1(1), &[]).await;
    server.message("old/2", "2", qos2(2), &[]).await;
    settle().await;
    assert!(is_pending(&mut pin!(server.packet())));
    assert_eq!(soon(rest.next()).await.unwrap().text(), Some("1"));
    assert!(matches!(soon(server.packet()).await, Packet::PubAck(_)));
    assert_eq!(soon(rest.next()).await.unwrap().text(), Some("2"));
    assert!(matches!(soon(server.packet()).await, Packet::PubRec(_)));
    server.message("old/1", "3", qos1(3), &[]).await;
    settle().await;
    drop(rest);
    assert!(
        matches!(soon(server.packet()).await, Packet::PubAck(_)),
        "dropped means acknowledged"
    );
    // Kept for the next reader.
    server.message("old/1", "4", qos1(4), &[]).await;
    settle().await;
    assert_eq!(
        soon(client.unmatched().unwrap().next())
            .await
            .unwrap()
            .text(),
        Some("4")
    );
}

/// A program that is ported from another client connects with its session and subscribes at once,
/// which is too late for what the server sends with the CONNACK: that was acknowledged and
/// discarded, 10 s later, beside a stream that it was for.
#[tokio::test(start_paused = true)]
async fn a_stream_gets_what_came_before_it_could_be_there() {
    let (client, _, mut network) = client(builder().clean_start(CleanStart::Never));
    let mut server = network.resume().await;
    server.message("jobs/1", "1", qos1(1), &[]).await;
    server.message("other", "2", qos1(2), &[]).await;
    server.message("jobs/2", "3", qos2(3), &[]).await;
    settle().await;
    // A subscribe that is rejected takes nothing with it.
    let (rejected, ()) = tokio::join!(soon(client.subscribe("jobs/+")), async {
        let asked = server.subscribe().await;
        let reasons = vec![SubAckReasonCode::NotAuthorized];
        server.suback(asked.packet_identifier, reasons).await;
    });
    assert!(rejected.is_err());
    let (jobs, _) = tokio::join!(
        soon(client.subscribe("jobs/#").qos(QoS::ExactlyOnce)),
        server.grant()
    );
    let mut jobs = jobs.unwrap();
    assert_eq!(soon(jobs.next()).await.unwrap().text(), Some("1"));
    assert_eq!(soon(server.packet()).await, acknowledgement(1));
    assert_eq!(soon(jobs.next()).await.unwrap().text(), Some("3"));
    // The rest waits until the stream of unmatched messages is taken.
    let mut rest = client.unmatched().unwrap();
    assert_eq!(soon(rest.next()).await.unwrap().text(), Some("2"));
    assert!(matches!(soon(server.packet()).await, Packet::PubRec(_)));
    assert_eq!(soon(server.packet()).await, acknowledgement(2));
    assert!(is_pending(&mut pin!(rest.next())));
}

/// The stream of unmatched messages of a resumed session is not taken. Its messages used to be held
/// for ever; the acknowledgements of all later ones stood behind theirs, and the server stopped
/// sending.
#[tokio::test(start_paused = true)]
async fn what_nobody_takes_does_not_hold_up_the_others() {
    let (client, _, mut network) = client(
        builder()
            .clean_start(CleanStart::Never)
            .inbound(InboundLimits::default().receive_maximum(10)),
    );
    let mut server = network.resume().await;
    server.message("old", "x", qos1(1), &[]).await;
    let (stream, _) = tokio::join!(
        soon(client.subscribe("new").qos(QoS::AtLeastOnce)),
        server.grant()
    );
    let mut stream = stream.unwrap();
    let mut events = client.events();
    for id in 2..=6 {
        server.message("new", "y", qos1(id), &[]).await;
        soon(stream.next()).await.unwrap();
    }
    // For 10 s they do, since the stream may still be taken; an event reports what they wait for.
    let held = soon(events.next()).await;
    assert!(matches!(
        held,
        Some(ClientEvent::AcknowledgementsHeld { .. })
    ));
    for id in 1..=6 {
        assert!(
            matches!(soon(server.packet()).await, Packet::PubAck(ack) if ack.packet_identifier.get() == id)
        );
    }
    assert_eq!(
        soon(events.next()).await,
        discarded(1, "old", QoS::AtLeastOnce)
    );
}

/// A service whose session had thousands of messages waiting connected, and then subscribed: what had
/// come before the SUBACK, but for half of the receive maximum, was acknowledged and dropped. Of
/// 1,000 jobs it got 512.
#[tokio::test(start_paused = true)]
async fn however_many_come_before_the_subscribe_they_wait_for_it() {
    for (version, messages) in [(Version::V5, 1_000), (Version::V3_1_1, 20_000)] {
        let builder = builder().version(version).clean_start(CleanStart::Never);
        let (client, _, mut network) = client(builder);
        let mut server = network.resume().await;
        soon(client.connected()).await.unwrap();
        let mut events = client.events();
        for id in 1..=messages {
            server
                .message("jobs/1", &id.to_string(), qos1(id), &[])
                .await;
        }
        settle().await;
        let subscribe = client.subscribe("jobs/+").qos(QoS::AtLeastOnce);
        let (jobs, _) = tokio::join!(soon(subscribe), server.grant());
        let mut jobs = jobs.unwrap();
        let reader = async {
            for id in 1..=messages {
                let job = soon(jobs.next()).await.unwrap();
                assert_eq!(job.text(), Some(id.to_string().as_str()), "{version}");
            }
        };
        let acknowledged = async {
            for id in 1..=messages {
                assert_eq!(soon(server.packet()).await, acknowledgement(id));
            }
        };
        tokio::join!(reader, acknowledged);
        assert!(
            is_pending(&mut pin!(events.next())),
            "nothing was discarded"
        );
    }
}

/// A server that sends few messages unacknowledged, as many of 3.x do, had sent them all for
/// subscriptions that this process does not know: it waited for acknowledgements, the client waited
/// for the stream of unmatched messages to be taken, and nothing above QoS 0 came any more.
#[tokio::test(start_paused = true)]
async fn messages_do_not_wait_for_ever_for_the_unmatched_to_be_taken() {
    let (client, _, mut network) = client(
        builder()
            .version(Version::V3_1_1)
            .clean_start(CleanStart::Never),
    );
    let mut server = network.resume().await;
    soon(client.connected()).await.unwrap();
    let mut events = client.events();
    let start = Instant::now();
    for id in 1..=20 {
        server.message("old", "x", qos1(id), &[]).await;
    }
    settle().await;
    assert!(is_pending(&mut pin!(server.packet())));
    for id in 1..=20 {
        assert_eq!(soon(server.packet()).await, acknowledgement(id));
    }
    let given_up = start.elapsed();
    assert!(
        (Duration::from_secs(10)..Duration::from_secs(11)).contains(&given_up),
        "{given_up:?}"
    );
    assert_eq!(
        soon(events.next()).await,
        discarded(20, "old", QoS::AtLeastOnce)
    );
    // The stream of unmatched messages was not taken in time: later messages do not wait for it.
    server.message("old", "x", qos1(1), &[]).await;
    assert_eq!(soon(server.packet()).await, acknowledgement(1));
    assert_eq!(start.elapsed(), given_up);
    assert_eq!(
        soon(events.next()).await,
        discarded(1, "old", QoS::AtLeastOnce)
    );
    // A client that leaves a subscription with the server may want it again.
    let (stream, _) = tokio::join!(
        soon(client.subscribe("new").qos(QoS::AtLeastOnce)),
        server.grant()
    );
    stream.unwrap().detach();
    server.message("new", "y", qos1(2), &[]).await;
    settle().await;
    assert!(is_pending(&mut pin!(server.packet())));
    assert_eq!(
        client.unmatched().unwrap().try_next().unwrap().text(),
        Some("y")
    );
    assert_eq!(soon(server.packet()).await, acknowledgement(2));
    server.message("new", "z", qos1(3), &[]).await;
    assert_eq!(soon(server.packet()).await, acknowledgement(3));
    assert_eq!(
        soon(events.next()).await,
        discarded(1, "new", QoS::AtLeastOnce)
    );
    // On a new connection there is time again.
    drop(server);
    let mut server = network.resume().await;
    server.message("old", "x", qos1(4), &[]).await;
    settle().await;
    assert!(is_pending(&mut pin!(server.packet())));
    assert_eq!(
        client.unmatched().unwrap().try_next().unwrap().text(),
        Some("x")
    );
    assert_eq!(soon(server.packet()).await, acknowledgement(4));
}

/// A stream on a filter of the builder's took the subscription with it when it was dropped; and as
/// long as it lived, the messages came at its own QoS, and to it alone.
#[tokio::test(start_paused = true)]
async fn what_the_builder_subscribes_to_stays() {
    let wanted = [
        (filter("a/+"), QoS::AtLeastOnce),
        (filter("b"), QoS::AtMostOnce),
    ];
    let (client, _, mut network) = client(builder().subscriptions(wanted));
    let mut server = network.accept().await;
    server.grant().await;
    let (stream, asked) = tokio::join!(soon(client.subscribe("a/+")), server.grant());
    let mut stream = stream.unwrap();
    assert_eq!(
        asked.subscriptions[0].qos,
        QoS::AtLeastOnce,
        "the higher one of both"
    );
    let identifiers = asked.subscription_identifier;
    // Nobody holds the stream of unmatched messages: nothing waits for that.
    server
        .message("a/b", "1", qos1(1), identifiers.as_slice())
        .await;
    assert_eq!(soon(stream.next()).await.unwrap().text(), Some("1"));
    assert!(
        matches!(soon(server.packet()).await, Packet::PubAck(ack) if ack.packet_identifier.get() == 1)
    );
    let mut rest = client.unmatched().unwrap();
    server
        .message("a/b", "2", qos1(2), identifiers.as_slice())
        .await;
    assert_eq!(soon(stream.next()).await.unwrap().text(), Some("2"));
    assert_eq!(soon(rest.next()).await.unwrap().text(), Some("2"));
    assert!(
        matches!(soon(server.packet()).await, Packet::PubAck(ack) if ack.packet_identifier.get() == 2)
    );
    drop(stream);
    drop(client.publish("next", "").enqueue().await.unwrap());
    assert_eq!(
        server.published().await.topic(),
        "next",
        "and no UNSUBSCRIBE"
    );
    server
        .message("a/b", "3", qos1(3), identifiers.as_slice())
        .await;
    assert_eq!(soon(rest.next()).await.unwrap().text(), Some("3"));
    // Only the last call ends it.
    assert!(matches!(soon(server.packet()).await, Packet::PubAck(_)));
    let (unsubscribed, _) = tokio::join!(soon(client.unsubscribe("a/+")), server.ungrant());
    unsubscribed.unwrap();
}

/// What the server has rejected is nobody's but the stream's.
#[tokio::test(start_paused = true)]
async fn a_rejected_subscription_of_the_builder_does_not_stay() {
    let wanted = [
        (filter("a"), QoS::AtLeastOnce),
        (filter("b"), QoS::AtMostOnce),
    ];
    let (client, _, mut network) = client(builder().subscriptions(wanted));
    let mut server = network.accept().await;
    let asked = server.subscribe().await;
    let reasons = vec![
        SubAckReasonCode::NotAuthorized,
        SubAckReasonCode::GrantedQos0,
    ];
    server.suback(asked.packet_identifier, reasons).await;
    settle().await;
    let (stream, asked) = tokio::join!(soon(client.subscribe("a")), server.grant());
    assert_eq!(asked.subscriptions[0].qos, QoS::AtMostOnce);
    drop(stream.unwrap());
    assert_eq!(server.ungrant().await.filters, [filter("a")]);
}

/// The stream had left its filter before it was known that the UNSUBSCRIBE could not be sent: the
/// subscription stayed with the server, and nobody took its messages.
#[tokio::test(start_paused = true)]
async fn an_unsubscribe_that_cannot_be_sent_leaves_no_subscription_behind() {
    let (client, _, mut network) = client(builder());
    let mut server = network.dial().await.open();
    server.connect().await;
    let mut connack = ConnAck::new(ConnectReasonCode::Success);
    connack.properties.maximum_packet_size = NonZeroU32::new(64);
    server.send(connack).await;
    let (stream, _) = tokio::join!(soon(client.subscribe("a")), server.grant());
    let properties = [(
        "name".try_into().unwrap(),
        "value".repeat(100).try_into().unwrap(),
    )]
    .into();
    let rejected = soon(stream.unwrap().unsubscribe().user_properties(properties)).await;
    assert!(matches!(
        rejected,
        Err(UnsubscribeError::Request(
            RequestError::PacketTooLarge { .. }
        ))
    ));
    // As when it is dropped.
    let asked = soon(server.ungrant()).await;
    assert_eq!(
        (asked.filters, asked.user_properties.len()),
        (vec![filter("a")], 0)
    );
}

/// What the builder subscribes to was asked for as it was at the start, however long ago that was:
/// a stream's messages came at the lower QoS from then on, and what was unsubscribed came back.
#[tokio::test(start_paused = true)]
async fn what_the_builder_subscribes_to_is_asked_for_as_it_is() {
    let wanted = ["a", "b", "c"].map(|name| (filter(name), QoS::AtMostOnce));
    let builder = builder().subscriptions(wanted).reconnect(
        Reconnect::default()
            .retry_first(true)
            .max(Duration::from_secs(5)),
    );
    let (client, _, mut network) = client(builder);
    let start = Instant::now();
    // Longer than a request waits for a connection.
    while start.elapsed() < Duration::from_secs(70) {
        network.dial().await.reject();
    }
    let (mut subscribe, mut unsubscribe) = (
        pin!(client.subscribe("a").qos(QoS::AtLeastOnce).into_future()),
        pin!(client.unsubscribe("b").into_future()),
    );
    assert!(is_pending(&mut subscribe) && is_pending(&mut unsubscribe));
    let (stream, unsubscribed, last) = tokio::join!(soon(subscribe), soon(unsubscribe), async {
        let mut server = network.accept().await;
        assert_eq!(server.grant().await.subscriptions.len(), 1);
        server.grant().await
    });
    unsubscribed.unwrap();
    assert!(stream.is_ok());
    let asked: Vec<_> = last
        .subscriptions
        .iter()
        .map(|entry| (entry.filter.as_str(), entry.qos))
        .collect();
    assert_eq!(asked, [("a", QoS::AtLeastOnce), ("c", QoS::AtMostOnce)]);
}

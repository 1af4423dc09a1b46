//! Lost connections, and when they are made again.

use crate::scripted::{builder, client, connected, enqueue, soon, stopped};
use martlet_broker::BrokerConfig;
use martlet_broker::tokio::Server;
use martlet_client::{
    Client, ClientEvent, ConnectionError, PublishError, QoS, Reconnect, RequestError,
    SubscribeError, TopicName, Version,
    proto::Packet,
    reconnect::{ErrorClass, Reaction},
};
use martlet_proto::{ConnectReasonCode, Delivery, Disconnect, DisconnectReasonCode};
use std::time::Duration;
use tokio::time::Instant;

/// The driver used to fall asleep when the wait between two attempts was over: nothing woke it to
/// dial.
#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_made_again() {
    let (client, server, mut network) = connected(builder()).await;
    for _ in 0..5 {
        drop(network.accept().await);
    }
    let _server = network.accept().await;
    soon(client.connected()).await.unwrap();
    drop(server);
}

pub(crate) fn quick() -> Reconnect {
    Reconnect::default()
        .initial(Duration::from_millis(1))
        .max(Duration::from_millis(5))
}

/// Attempt n waits up to 1, 2, 4, 8, … s; a connection that did not last does not begin the row
/// anew.
#[tokio::test(start_paused = true)]
async fn waits_grow_until_a_connection_is_stable() {
    let (client, server, mut network) = connected(builder()).await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    drop(server);
    let mut last = Instant::now();
    let mut longest = Duration::ZERO;
    for n in 0..20 {
        let dial = network.dial().await;
        let waited = last.elapsed();
        longest = longest.max(waited);
        assert!(
            waited <= Duration::from_secs(1 << n.min(6)).min(Duration::from_secs(60)),
            "{n}: {waited:?}"
        );
        last = Instant::now();
        if n % 2 == 0 {
            dial.reject();
        } else {
            drop(dial.open());
        }
    }
    assert!(longest > Duration::from_secs(8), "{longest:?}");
    let server = network.accept().await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    drop(server);
    last = Instant::now();
    let _dial = network.dial().await;
    assert!(
        last.elapsed() <= Duration::from_secs(1),
        "{:?}",
        last.elapsed()
    );
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_spent_in_the_end() {
    let (client, _, mut network) = client(builder().reconnect(Reconnect::default().retries(3)));
    drop(network.accept().await);
    for _ in 0..3 {
        network.dial().await.reject();
    }
    assert!(network.try_dial().await.is_none());
    assert!(matches!(
        stopped(&client).await,
        ConnectionError::Transport(_)
    ));
    soon(client.connected()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn no_reconnect_means_none() {
    let (client, _, mut network) = client(builder().reconnect(Reconnect::default().enabled(false)));
    drop(network.accept().await);
    assert!(network.try_dial().await.is_none());
    assert_eq!(stopped(&client).await, ConnectionError::ClosedByPeer);
}

/// After a final error publishes and requests used to be queued for a connection that would never
/// come: their futures waited for ever.
#[tokio::test(start_paused = true)]
async fn nothing_waits_for_a_client_that_has_ended() {
    let (client, driver, mut network) = client(builder());
    let waiting = enqueue(&client, "a", "b").await;
    network.reject(ConnectReasonCode::NotAuthorized).await;
    let why = stopped(&client).await;
    assert!(matches!(why, ConnectionError::Rejected(_)));
    assert_eq!(soon(waiting).await, Err(PublishError::OnHold(why.clone())));
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let rejected = soon(client.publish("a", "b").qos(qos)).await;
        assert_eq!(rejected.unwrap_err(), PublishError::Closed(why.clone()));
    }
    let closed = RequestError::Closed(why.clone());
    let subscribed = soon(client.subscribe("a")).await;
    assert_eq!(
        subscribed.unwrap_err(),
        SubscribeError::Request(closed.clone())
    );
    assert_eq!(
        soon(client.unsubscribe("a")).await,
        Err(closed.clone().into())
    );
    assert_eq!(soon(client.ping()).await, Err(closed));
    assert!(soon(client.flush()).await.is_err());
    assert!(client.unmatched().unwrap().next().await.is_none());
    assert!(client.events().next().await.is_none());
    soon(client.disconnect()).await;
    assert_eq!(soon(driver).await.unwrap(), why);
}

/// A command-line program must not hang: before anything has worked, what does not change by itself
/// is final.
#[tokio::test(start_paused = true)]
async fn before_the_first_connection_a_permanent_error_is_final() {
    for reason in [
        ConnectReasonCode::BadUserNameOrPassword,
        ConnectReasonCode::NotAuthorized,
    ] {
        let (client, _, mut network) =
            client(builder().reconnect(Reconnect::default().retry_first(true)));
        network.reject(reason).await;
        assert!(matches!(
            stopped(&client).await,
            ConnectionError::Rejected(_)
        ));
        assert!(network.try_dial().await.is_none());
    }
}

/// Connected, cut, one attempt rejected, then all well: the client had given up, and a device that
/// nobody attends was lost, with its queue. It comes back, at the longest interval, and reports
/// what is wrong.
#[tokio::test(start_paused = true)]
async fn permanent_errors_are_not_hammered() {
    use ConnectReasonCode as Code;
    for (version, reason) in [
        (Version::V5, Code::BadUserNameOrPassword),
        (Version::V5, Code::NotAuthorized),
        (Version::V5, Code::BadAuthenticationMethod),
        (Version::V3_1_1, Code::ClientIdentifierNotValid),
        (Version::V3_1_1, Code::BadUserNameOrPassword),
        (Version::V3_1_1, Code::NotAuthorized),
    ] {
        let (client, _, mut network) = client(builder().version(version));
        drop(network.accept().await);
        let mut events = client.events();
        let receipt = enqueue(&client, "a", "kept").await;
        network.reject(reason).await;
        for times in 1..=3 {
            let rejected = Instant::now();
            let reported = loop {
                if let ClientEvent::ErrorPersists { error, times, .. } =
                    soon(events.next()).await.unwrap()
                {
                    break (error, times);
                }
            };
            assert!(
                matches!(reported, (ConnectionError::Rejected(_), n) if n == times),
                "{reported:?}"
            );
            let dial = network.dial().await;
            let waited = rejected.elapsed().as_secs();
            assert!((29..=60).contains(&waited), "{waited}");
            if times < 3 {
                dial.open().reject(reason).await;
            } else {
                let mut server = dial.open();
                server.accept(version == Version::V5).await;
                let id = server.published_id().await;
                server.puback(id).await;
            }
        }
        soon(receipt).await.unwrap();
    }
}

/// What the policy says of a class goes before its default.
#[tokio::test(start_paused = true)]
async fn the_policy_says_what_follows_each_class_of_errors() {
    let stop = Reconnect::default()
        .before_first(ErrorClass::Permanent, Reaction::Stop)
        .after_first(ErrorClass::Permanent, Reaction::Stop);
    let (strict, _, mut network) = client(builder().reconnect(stop));
    drop(network.accept().await);
    network.reject(ConnectReasonCode::NotAuthorized).await;
    assert!(matches!(
        stopped(&strict).await,
        ConnectionError::Rejected(_)
    ));

    let stay = Reconnect::default()
        .before_first(ErrorClass::TakenOver, Reaction::Stop)
        .after_first(ErrorClass::TakenOver, Reaction::RetrySlowly);
    let (_stubborn, _, mut network) = client(builder().reconnect(stay));
    let mut server = network.accept().await;
    server
        .send(Disconnect::new(DisconnectReasonCode::SessionTakenOver))
        .await;
    let before = Instant::now();
    let _again = network.dial().await;
    assert!(before.elapsed().as_secs() >= 30);
}

/// A client that had given up was lost, with its queue, its streams and its handles. Everything
/// that waits gets the reason, and `reconnect` continues where it was.
#[tokio::test(start_paused = true)]
async fn a_client_that_has_stopped_is_revived() {
    let (client, mut server, mut network) = connected(builder()).await;
    let (stream, _) = tokio::join!(
        async { client.subscribe("a/+").qos(QoS::AtLeastOnce).await },
        server.grant()
    );
    let mut stream = stream.unwrap();
    let (mut events, mut states) = (client.events(), client.state_changes());
    let in_flight = enqueue(&client, "in", "flight").await;
    server.published().await;
    server
        .send(Disconnect::new(DisconnectReasonCode::SessionTakenOver))
        .await;
    let why = stopped(&client).await;
    assert_eq!(
        soon(in_flight).await,
        Err(PublishError::OnHold(why.clone()))
    );
    let rejected = soon(client.publish("a", "b").qos(QoS::AtLeastOnce)).await;
    assert_eq!(rejected, Err(PublishError::Closed(why.clone())));
    assert!(soon(stream.next()).await.is_none());
    while soon(events.next()).await.is_some() {}
    while soon(states.next()).await.is_some() {}
    assert!(network.is_quiet());

    for session_present in [true, false] {
        let (revived, (mut server, again)) = tokio::join!(soon(client.reconnect()), async {
            let mut server = network.dial().await.open();
            server.accept(session_present).await;
            let mut again = None;
            if !session_present {
                again = Some(server.grant().await);
            }
            (server, again)
        });
        revived.unwrap();
        if session_present {
            // It is sent again on the session that the server has kept.
            let publish = server.published().await;
            assert_eq!(publish.topic_name(), Some(TopicName::new("in").unwrap()));
            server
                .puback(publish.delivery().packet_identifier().unwrap())
                .await;
        } else {
            assert_eq!(again.unwrap().subscriptions[0].filter.as_str(), "a/+");
        }
        server.message("a/b", "on", Delivery::AtMostOnce, &[]).await;
        assert_eq!(soon(stream.next()).await.unwrap().text(), Some("on"));
        while !matches!(soon(events.next()).await, Some(ClientEvent::Connected(_))) {}
        assert!(soon(states.next()).await.is_some());
        server
            .send(Disconnect::new(DisconnectReasonCode::SessionTakenOver))
            .await;
        stopped(&client).await;
    }
    soon(client.disconnect()).await;
    assert!(soon(client.reconnect()).await.is_err(), "that is for good");
}

/// The first attempt failed, somebody mended the server, and the program had to begin anew.
#[tokio::test(start_paused = true)]
async fn a_client_that_was_never_connected_is_revived() {
    let (client, _, mut network) = client(builder());
    let receipt = enqueue(&client, "a", "b").await;
    network.reject(ConnectReasonCode::NotAuthorized).await;
    let why = stopped(&client).await;
    assert_eq!(soon(receipt).await, Err(PublishError::OnHold(why.clone())));
    let (again, ()) = tokio::join!(soon(client.reconnect()), async {
        network.reject(ConnectReasonCode::NotAuthorized).await;
    });
    assert_eq!(again.unwrap_err(), why.into());
    let (revived, mut server) = tokio::join!(soon(client.reconnect()), network.accept());
    revived.unwrap();
    assert_eq!(
        server.published().await.topic_name(),
        Some(TopicName::new("a").unwrap())
    );
}

/// A token was about to expire, or a certificate new: nothing but the end of the program made
/// another connection.
#[tokio::test(start_paused = true)]
async fn a_live_connection_is_replaced() {
    for version in [Version::V5, Version::V3_1_1] {
        let (client, mut server, mut network) = connected(builder().version(version)).await;
        let receipt = enqueue(&client, "a", "b").await;
        server.published().await;
        let start = Instant::now();
        let (replaced, mut second) = tokio::join!(soon(client.reconnect().replace()), async {
            let Packet::Disconnect(disconnect) = server.packet().await else {
                panic!("a DISCONNECT")
            };
            assert_eq!(disconnect.reason, DisconnectReasonCode::NormalDisconnection);
            assert_eq!(
                disconnect.session_expiry_interval, None,
                "the session goes on"
            );
            drop(server);
            let mut second = network.dial().await.open();
            second.accept(version == Version::V5).await;
            second
        });
        replaced.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        let id = second.published_id().await;
        second.puback(id).await;
        soon(receipt).await.unwrap();
        // An attempt that is under way has the old token.
        drop(second);
        let mut old = network.dial().await;
        let (replaced, _third) = tokio::join!(soon(client.reconnect().replace()), async {
            old.given_up().await;
            network.accept().await
        });
        replaced.unwrap();
    }
}

/// A task that wanted any connection replaced the request of another for a new one before the driver had
/// seen it: that task waited until the connection broke.
#[tokio::test(start_paused = true)]
async fn a_reconnect_does_not_cancel_a_replacement() {
    let (client, mut server, mut network) = connected(builder()).await;
    let (replaced, any, _second) = tokio::join!(
        soon(client.reconnect().replace()),
        soon(client.reconnect()),
        async {
            assert!(matches!(server.packet().await, Packet::Disconnect(_)));
            drop(server);
            network.accept().await
        }
    );
    assert!(!std::sync::Arc::ptr_eq(&replaced.unwrap(), &any.unwrap()));
}

/// Where the connection broke, or the attempt failed, at the moment when `reconnect` was called, as with a change
/// of the network, the call was forgotten, and its caller waited for the backoff.
#[tokio::test(start_paused = true)]
async fn a_reconnect_at_the_moment_of_a_failure_is_not_forgotten() {
    let (client, server, mut network) = connected(builder()).await;
    let start = Instant::now();
    let (replaced, second) = tokio::join!(soon(client.reconnect().replace()), async {
        drop(server);
        network.accept().await
    });
    replaced.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO, "at once");
    drop(second);
    let dial = network.dial().await;
    let start = Instant::now();
    let (again, _third) = tokio::join!(soon(client.reconnect()), async {
        dial.reject();
        network.accept().await
    });
    again.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO, "at once");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_busy_is_asked_again() {
    let (client, _, mut network) =
        client(builder().reconnect(Reconnect::default().retry_first(true)));
    for _ in 0..3 {
        network.reject(ConnectReasonCode::ServerBusy).await;
    }
    let _server = network.accept().await;
    soon(client.connected()).await.unwrap();
}

/// Two clients with one name would throw each other out for ever.
#[tokio::test]
async fn a_client_whose_session_was_taken_over_stays_away() {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let (first, driver) = Client::builder(server.uri())
        .client_identifier("me")
        .build(martlet_tokio::Tokio)
        .unwrap();
    tokio::spawn(driver);
    soon(first.connected()).await.unwrap();
    let second = Client::builder(server.uri()).client_identifier("me");
    let second = soon(martlet_tokio::connect_with(second)).await.unwrap();
    match stopped(&first).await {
        ConnectionError::DisconnectedByPeer(disconnect) => {
            assert_eq!(disconnect.reason, DisconnectReasonCode::SessionTakenOver);
        }
        other => panic!("{other}"),
    }
    soon(second.ping()).await.unwrap();
}

/// The server says that we were thrown out and closes; our next write fails before we have read
/// that. The words must not be lost, or we would come back and throw the other one out.
#[tokio::test(start_paused = true)]
async fn a_failed_write_does_not_hide_the_last_words() {
    let (client, mut server, mut network) = connected(builder()).await;
    let mut events = client.events();
    server
        .send(Disconnect::new(DisconnectReasonCode::SessionTakenOver))
        .await;
    drop(server);
    // Both happen before the driver looks.
    let _receipt = client.publish("a", "b").enqueue().await.unwrap();
    match soon(events.next()).await {
        Some(ClientEvent::Disconnected {
            reason: ConnectionError::DisconnectedByPeer(disconnect),
            retry_in: None,
        }) => {
            assert_eq!(disconnect.reason, DisconnectReasonCode::SessionTakenOver);
        }
        other => panic!("{other:?}"),
    }
    assert!(network.try_dial().await.is_none());
}

/// The session is kept: nothing is asked again. It is lost: everything is, with the identifiers.
#[tokio::test(start_paused = true)]
async fn subscriptions_are_restored_when_the_session_was_lost() {
    let (client, mut server, mut network) = connected(builder()).await;
    let (stream, first) = tokio::join!(
        async { client.subscribe("a/+").qos(QoS::AtLeastOnce).await },
        server.grant()
    );
    let mut stream = stream.unwrap();
    drop(server);
    let mut server = network.resume().await;
    server
        .message("a/b", "kept", Delivery::AtMostOnce, &[])
        .await;
    assert_eq!(soon(stream.next()).await.unwrap().text(), Some("kept"));
    drop(server);
    let mut server = network.accept().await;
    let again = server.grant().await;
    assert_eq!(again.subscriptions, first.subscriptions);
    assert_eq!(again.subscription_identifier, first.subscription_identifier);
    server
        .message(
            "a/b",
            "restored",
            Delivery::AtMostOnce,
            again.subscription_identifier.as_slice(),
        )
        .await;
    assert_eq!(soon(stream.next()).await.unwrap().text(), Some("restored"));
}

/// What is not granted any more ends its stream.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_not_restored_ends() {
    let (client, mut server, mut network) = connected(builder()).await;
    let (stream, _) = tokio::join!(async { client.subscribe("a").await }, server.grant());
    let mut stream = stream.unwrap();
    let mut events = client.events();
    drop(server);
    let mut server = network.accept().await;
    let asked = server.subscribe().await;
    server
        .suback(
            asked.packet_identifier,
            vec![martlet_client::proto::SubAckReasonCode::NotAuthorized],
        )
        .await;
    assert!(soon(stream.next()).await.is_none());
    let mut rejected = false;
    while !rejected {
        rejected = matches!(soon(events.next()).await.unwrap(), ClientEvent::Resubscribed(reasons) if reasons[0].1.is_error());
    }
}

//! Lost connections, and when they are made again.

use crate::scripted::{builder, client, connected, settle, soon};
use martlet_broker::tokio::Server;
use martlet_broker::{Config, Memory};
use martlet_proto::{ConnAck, ConnectReasonCode, Delivery, Disconnect, DisconnectReasonCode};
use martlet_tokio::{
    Client, ClientEvent, ConnectionError, Packet, PublishError, QoS, Reconnect, RequestError, SubscribeError,
};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// The driver used to fall asleep when the wait between two attempts was over: nothing woke it to dial.
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

fn quick(policy: &mut Reconnect) {
    policy.initial = Duration::from_millis(1);
    policy.max = Duration::from_millis(5);
}

/// Attempt n waits up to 1, 2, 4, 8, … s; a connection that did not last does not begin the row anew.
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
        assert!(waited <= Duration::from_secs(1 << n.min(6)).min(Duration::from_secs(60)), "{n}: {waited:?}");
        last = Instant::now();
        if n % 2 == 0 { dial.refuse() } else { drop(dial.open()) }
    }
    assert!(longest > Duration::from_secs(8), "{longest:?}");
    let server = network.accept().await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    drop(server);
    last = Instant::now();
    let _dial = network.dial().await;
    assert!(last.elapsed() <= Duration::from_secs(1), "{:?}", last.elapsed());
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_spent_in_the_end() {
    let (client, driver, mut network) = client(builder().reconnect(|policy| policy.retries = Some(3)));
    drop(network.accept().await);
    for _ in 0..3 {
        network.dial().await.refuse();
    }
    assert!(network.try_dial().await.is_none());
    assert!(matches!(soon(driver).await.unwrap(), ConnectionError::Transport(_)));
    soon(client.connected()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn no_reconnect_means_none() {
    let (client, driver, mut network) = client(builder().reconnect(|policy| policy.enabled = false));
    drop(network.accept().await);
    assert!(network.try_dial().await.is_none());
    assert_eq!(soon(driver).await.unwrap(), ConnectionError::ClosedByPeer);
    drop(client);
}

/// After a final error publishes and requests used to be queued for a connection that would never come: their futures
/// waited for ever.
#[tokio::test(start_paused = true)]
async fn nothing_waits_for_a_client_that_has_ended() {
    let (client, driver, mut network) = client(builder());
    let waiting = client.publish("a", "b").qos(QoS::AtLeastOnce).enqueue().await.unwrap();
    network.dial().await.open().refuse(ConnectReasonCode::NotAuthorized).await;
    assert_eq!(soon(waiting).await, Err(PublishError::Closed));
    soon(driver).await.unwrap();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        assert_eq!(soon(client.publish("a", "b").qos(qos)).await.unwrap_err(), PublishError::Closed);
    }
    let subscribed = soon(client.subscribe("a")).await;
    assert_eq!(subscribed.unwrap_err(), SubscribeError::Request(RequestError::Closed));
    assert_eq!(soon(client.unsubscribe("a")).await, Err(RequestError::Closed.into()));
    assert_eq!(soon(client.ping()).await, Err(RequestError::Closed));
    assert!(soon(client.flush()).await.is_err());
    assert!(client.catch_all().unwrap().next().await.is_none());
    assert!(client.events().next().await.is_none());
    soon(client.disconnect()).await;
}

#[tokio::test(start_paused = true)]
async fn permanent_errors_are_not_hammered() {
    for reason in [ConnectReasonCode::BadUserNameOrPassword, ConnectReasonCode::NotAuthorized] {
        let (_client, driver, mut network) = client(builder().reconnect(|policy| policy.retry_first = true));
        drop(network.accept().await);
        network.dial().await.open().refuse(reason).await;
        assert!(network.try_dial().await.is_none());
        assert!(matches!(soon(driver).await.unwrap(), ConnectionError::Refused(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_busy_is_asked_again() {
    let (client, _, mut network) = client(builder().reconnect(|policy| policy.retry_first = true));
    for _ in 0..3 {
        network.dial().await.open().refuse(ConnectReasonCode::ServerBusy).await;
    }
    let _server = network.accept().await;
    soon(client.connected()).await.unwrap();
}

/// Two clients with one name would throw each other out for ever.
#[tokio::test]
async fn a_client_whose_session_was_taken_over_stays_away() {
    let server = Server::start(Config::default()).await.unwrap();
    let (first, driver) =
        Client::builder(&server.uri()).unwrap().client_identifier("me").unwrap().build(martlet_tokio::Tokio);
    let driver = tokio::spawn(driver);
    soon(first.connected()).await.unwrap();
    let second = Client::builder(&server.uri()).unwrap().client_identifier("me").unwrap();
    let second = soon(martlet_tokio::connect_with(second)).await.unwrap();
    match soon(driver).await.unwrap() {
        ConnectionError::DisconnectedByPeer(farewell) => {
            assert_eq!(farewell.reason, DisconnectReasonCode::SessionTakenOver);
        }
        other => panic!("{other}"),
    }
    soon(second.ping()).await.unwrap();
}

/// The server says that we were thrown out and closes; our next write fails before we have read that. The words must
/// not be lost, or we would come back and throw the other one out.
#[tokio::test(start_paused = true)]
async fn a_failed_write_does_not_hide_the_last_words() {
    let (client, mut server, mut network) = connected(builder()).await;
    let mut events = client.events();
    server.send(Disconnect::new(DisconnectReasonCode::SessionTakenOver)).await;
    drop(server);
    // Both happen before the driver looks.
    let _receipt = client.publish("a", "b").enqueue().await.unwrap();
    match soon(events.next()).await {
        Some(ClientEvent::Disconnected {
            error: ConnectionError::DisconnectedByPeer(farewell),
            retry_in: None,
        }) => {
            assert_eq!(farewell.reason, DisconnectReasonCode::SessionTakenOver);
        }
        other => panic!("{other:?}"),
    }
    assert!(network.try_dial().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn servers_are_tried_in_turn() {
    let uris = ["mqtt://10.0.0.1", "mqtt://10.0.0.2", "mqtt://10.0.0.3:9"];
    let build = || {
        let builder = Client::builder(uris[0]).unwrap().seed(1);
        builder.server(uris[1]).unwrap().server(uris[2]).unwrap()
    };
    for enabled in [true, false] {
        let (client, _, mut network) = client(build().reconnect(|policy| policy.enabled = enabled));
        let start = Instant::now();
        for address in ["mqtt://10.0.0.1:1883", "mqtt://10.0.0.2:1883", "mqtt://10.0.0.3:9"] {
            let dial = network.dial().await;
            assert_eq!(dial.endpoint.to_string(), address);
            dial.refuse();
        }
        soon(client.connected()).await.unwrap_err();
        assert_eq!(start.elapsed(), Duration::ZERO, "at once, and the first round only");
        assert!(network.try_dial().await.is_none());
    }
    let (client, _, mut network) = client(build());
    network.dial().await.refuse();
    let server = network.accept().await;
    soon(client.connected()).await.unwrap();
    drop(server);
    let dial = network.dial().await;
    assert_eq!(dial.endpoint.to_string(), "mqtt://10.0.0.3:9", "the next one, at once");
    dial.refuse();
    assert_eq!(network.dial().await.endpoint.to_string(), "mqtt://10.0.0.1:1883");
}

/// One server's refusal used to end the client, whatever others there were.
#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_for_good_is_left_out() {
    let builder = Client::builder("mqtt://one").unwrap().server("mqtt://two").unwrap().seed(1);
    let (client, driver, mut network) = client(builder);
    network.dial().await.open().refuse(ConnectReasonCode::NotAuthorized).await;
    for _ in 0..3 {
        let dial = network.dial().await;
        assert_eq!(dial.endpoint.host(), "two");
        let mut server = dial.open();
        server.accept(false).await;
        soon(client.connected()).await.unwrap();
    }
    let dial = network.dial().await;
    assert_eq!(dial.endpoint.host(), "two");
    dial.open().refuse(ConnectReasonCode::Banned).await;
    assert!(network.try_dial().await.is_none(), "nobody is left");
    assert!(matches!(soon(driver).await.unwrap(), ConnectionError::Refused(_)));
}

fn refusal(reason: ConnectReasonCode, reference: &str) -> ConnAck {
    let mut refusal = ConnAck::new(reason);
    refusal.properties.server_reference = Some(reference.try_into().unwrap());
    refusal
}

/// Until somebody allows it, a Server Reference is a refusal.
#[tokio::test(start_paused = true)]
async fn a_server_reference_is_not_followed_unasked() {
    let (client, driver, mut network) = client(builder());
    let mut server = network.dial().await.open();
    server.connect().await;
    server.send(refusal(ConnectReasonCode::UseAnotherServer, "other")).await;
    assert!(network.try_dial().await.is_none());
    assert!(matches!(soon(driver).await.unwrap(), ConnectionError::Refused(_)));
    drop(client);
}

/// For the time being: the next connection is to the server that we know.
#[tokio::test(start_paused = true)]
async fn another_server_is_used_once() {
    let uri = "mqtt://user:secret@test";
    let builder = Client::builder(uri).unwrap().seed(1).reconnect(|policy| policy.server_references = 1);
    let (client, _, mut network) = client(builder);
    let start = Instant::now();
    let mut server = network.dial().await.open();
    assert_eq!(server.connect().await.user_name.unwrap().as_str(), "user");
    server.send(refusal(ConnectReasonCode::UseAnotherServer, "other.example:99 third")).await;
    let dial = network.dial().await;
    assert_eq!(
        (dial.endpoint.to_string(), start.elapsed()),
        ("mqtt://other.example:99".into(), Duration::ZERO)
    );
    let mut server = dial.open();
    let connect = server.accept(false).await;
    assert_eq!((connect.user_name, connect.password), (None, None), "another host is not told who we are");
    soon(client.connected()).await.unwrap();
    drop(server);
    assert_eq!(network.dial().await.endpoint.to_string(), "mqtt://test:1883");
}

/// It takes the place of the one that has moved; on the same host, or when allowed, it is told who we are.
#[tokio::test(start_paused = true)]
async fn a_server_that_has_moved_is_found_again() {
    for (reference, elsewhere, is_told) in
        [("test:99", false, true), ("other:99", false, false), ("other:99", true, true)]
    {
        let builder = Client::builder("mqtt://user:secret@test").unwrap().seed(1).reconnect(|policy| {
            policy.server_references = 1;
            policy.credentials_elsewhere = elsewhere;
        });
        let (client, _, mut network) = client(builder);
        let mut server = network.accept().await;
        soon(client.connected()).await.unwrap();
        let mut moved = Disconnect::new(DisconnectReasonCode::ServerMoved);
        moved.server_reference = Some(reference.try_into().unwrap());
        server.send(moved).await;
        for _ in 0..2 {
            let dial = network.dial().await;
            assert_eq!(dial.endpoint.to_string(), format!("mqtt://{reference}"));
            let connect = dial.open().accept(false).await;
            assert_eq!((connect.user_name.is_some(), connect.password.is_some()), (is_told, is_told));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn servers_that_refer_to_each_other_are_not_followed_for_ever() {
    let builder = builder().reconnect(|policy| policy.server_references = 5);
    let (client, driver, mut network) = client(builder);
    let mut dials = 0;
    while let Some(dial) = network.try_dial().await {
        dials += 1;
        let mut server = dial.open();
        server.accept(false).await;
        let mut away = Disconnect::new(DisconnectReasonCode::UseAnotherServer);
        away.server_reference = Some(["one", "two"][dials % 2].try_into().unwrap());
        server.send(away).await;
    }
    // The last of them is given up, and then the one that began it.
    assert!((6..=12).contains(&dials), "{dials}");
    assert!(matches!(soon(driver).await.unwrap(), ConnectionError::DisconnectedByPeer(_)));
    drop(client);
}

/// What cannot be said in 3.x is found out when that is asked for, and not asked again.
#[tokio::test(start_paused = true)]
async fn a_password_alone_needs_mqtt_5() {
    let (client, driver, mut network) = client(Client::builder("mqtt://:secret@test").unwrap());
    let mut server = network.dial().await.open();
    let connect = server.connect().await;
    assert_eq!((connect.user_name, connect.password.unwrap().as_bytes()), (None, &b"secret"[..]));
    server.send_bytes(&[0x20, 2, 0, 1]).await;
    let _second = network.dial().await.open();
    let error = soon(client.connected()).await.unwrap_err();
    assert!(error.to_string().contains("password"), "{error}");
    assert!(matches!(soon(driver).await.unwrap(), ConnectionError::CannotConnect { .. }));
    assert!(network.try_dial().await.is_none());
}

/// What `disconnect()` must end, wherever the client is.
async fn ends(client: Client, driver: tokio::task::JoinHandle<ConnectionError>) {
    soon(client.disconnect()).await;
    assert_eq!(soon(driver).await.unwrap(), ConnectionError::ClosedHere);
    assert_eq!(client.publish("a", "b").await.unwrap_err(), PublishError::Closed);
}

#[tokio::test(start_paused = true)]
async fn disconnect_wins_while_dialling() {
    let (client, driver, mut network) = client(builder());
    let mut dial = network.dial().await;
    ends(client, driver).await;
    dial.given_up().await;
}

/// The socket was open and `disconnect()` called before the driver had seen either: opening the session used to forget
/// the disconnect, and the client connected.
#[tokio::test(start_paused = true)]
async fn disconnect_wins_as_the_socket_opens() {
    let (client, driver, mut network) = client(builder());
    let server = network.dial().await.open();
    ends(client, driver).await;
    assert_eq!(server.rest().await, []);
}

#[tokio::test(start_paused = true)]
async fn disconnect_wins_before_the_connack() {
    let (client, driver, mut network) = client(builder());
    let mut server = network.dial().await.open();
    server.connect().await;
    let server = tokio::spawn(server.rest());
    ends(client, driver).await;
    // The server may have read the CONNECT already: without a DISCONNECT it would publish the will.
    assert!(matches!(soon(server).await.unwrap()[..], [Packet::Disconnect(_)]));
    assert!(network.is_quiet());
}

#[tokio::test(start_paused = true)]
async fn disconnect_wins_between_two_attempts() {
    let (client, driver, mut network) = client(builder());
    drop(network.accept().await);
    settle().await;
    ends(client, driver).await;
    assert!(network.is_quiet());
}

#[tokio::test(start_paused = true)]
async fn disconnect_wins_while_the_connection_is_closing() {
    let (client, driver, mut network) = client(builder());
    let mut server = network.accept().await;
    soon(client.connected()).await.unwrap();
    // A second CONNACK: the client says why it goes, and waits for the server's end.
    server.send(ConnAck::new(ConnectReasonCode::Success)).await;
    assert!(matches!(server.packet().await, Packet::Disconnect(_)));
    soon(client.disconnect()).await;
    assert!(matches!(soon(driver).await.unwrap(), ConnectionError::PeerMisbehaved(_)));
    assert!(network.is_quiet());
}

/// The session is kept: nothing is asked again. It is lost: everything is, with the identifiers.
#[tokio::test(start_paused = true)]
async fn subscriptions_are_restored_when_the_session_was_lost() {
    let (client, mut server, mut network) = connected(builder()).await;
    let (stream, first) =
        tokio::join!(async { client.subscribe("a/+").qos(QoS::AtLeastOnce).await }, server.grant());
    let mut stream = stream.unwrap();
    drop(server);
    let mut server = network.dial().await.open();
    server.accept(true).await;
    server.message("a/b", "kept", Delivery::AtMostOnce, &[]).await;
    assert_eq!(soon(stream.next()).await.unwrap().text(), Some("kept"));
    drop(server);
    let mut server = network.accept().await;
    let again = server.grant().await;
    assert_eq!(again.subscriptions, first.subscriptions);
    assert_eq!(again.subscription_identifier, first.subscription_identifier);
    server.message("a/b", "restored", Delivery::AtMostOnce, again.subscription_identifier.as_slice()).await;
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
    server.suback(asked.packet_identifier, vec![martlet_tokio::SubAckReasonCode::NotAuthorized]).await;
    assert!(soon(stream.next()).await.is_none());
    let mut told = false;
    while !told {
        told = matches!(soon(events.next()).await.unwrap(), ClientEvent::Resubscribed(reasons) if reasons[0].1.is_error());
    }
}

const MESSAGES: usize = 10_000;

async fn broker_and_clients() -> (Server, Client, Client) {
    let server = Server::start(Config::default()).await.unwrap();
    let publisher = Client::builder(&server.uri()).unwrap().reconnect(quick);
    let publisher = soon(martlet_tokio::connect_with(publisher)).await.unwrap();
    let subscriber = Client::builder(&server.uri()).unwrap().reconnect(quick);
    let subscriber = soon(martlet_tokio::connect_with(subscriber)).await.unwrap();
    (server, publisher, subscriber)
}

/// 10,000 messages of QoS 1, and the broker crashes and forgets everything, three times. Each is settled.
#[tokio::test]
async fn every_qos_1_message_is_settled_through_crashes() {
    let (mut server, publisher, subscriber) = broker_and_clients().await;
    let mut stream = soon(subscriber.subscribe("n").qos(QoS::AtLeastOnce)).await.unwrap();
    let reader = tokio::spawn(async move {
        let mut seen = 0;
        while stream.next().await.is_some() {
            seen += 1;
        }
        seen
    });
    let sender = tokio::spawn({
        let publisher = publisher.clone();
        async move {
            let mut receipts = Vec::new();
            for n in 0..MESSAGES {
                let message = publisher.publish("n", n.to_string()).qos(QoS::AtLeastOnce);
                receipts.push(message.enqueue().await.unwrap());
                if n % 100 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            let mut settled = 0;
            for receipt in receipts {
                settled += usize::from(receipt.await.is_ok());
            }
            settled
        }
    });
    for crash in 1..=3 {
        while server.with_broker(|broker, _| broker.statistics().packets_received) < crash * 2500 {
            tokio::task::yield_now().await;
        }
        server.kill(Memory::Lost).await;
        server.revive().await.unwrap();
    }
    assert_eq!(soon(sender).await.unwrap(), MESSAGES);
    assert_eq!((publisher.in_flight(), publisher.queued()), (0, 0));
    soon(subscriber.disconnect()).await;
    assert!(soon(reader).await.unwrap() > 0);
}

/// 10,000 messages of QoS 2, and the broker crashes but keeps its sessions, three times. Each arrives exactly once, in
/// order.
#[tokio::test]
async fn every_qos_2_message_arrives_once_through_crashes() {
    let (mut server, publisher, subscriber) = broker_and_clients().await;
    let mut stream = soon(subscriber.subscribe("n").qos(QoS::ExactlyOnce)).await.unwrap();
    let reader = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < MESSAGES {
            seen.push(stream.next().await.unwrap().text().unwrap().parse::<usize>().unwrap());
        }
        assert!(stream.try_next().is_none());
        seen
    });
    let sender = tokio::spawn({
        let publisher = publisher.clone();
        async move {
            let mut receipts = Vec::new();
            for n in 0..MESSAGES {
                let message = publisher.publish("n", n.to_string()).qos(QoS::ExactlyOnce);
                receipts.push(message.enqueue().await.unwrap());
                if n % 100 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            for receipt in receipts {
                receipt.await.unwrap();
            }
        }
    });
    for crash in 1..=3 {
        while server.with_broker(|broker, _| broker.statistics().packets_received) < crash * 8000 {
            tokio::task::yield_now().await;
        }
        server.kill(Memory::Kept).await;
        server.revive().await.unwrap();
    }
    soon(sender).await.unwrap();
    let seen = soon(reader).await.unwrap();
    let mut counts = BTreeMap::new();
    for n in &seen {
        *counts.entry(n).or_insert(0) += 1;
    }
    assert!(counts.len() == MESSAGES && counts.values().all(|&count| count == 1));
    assert!(seen.is_sorted(), "in order");
}

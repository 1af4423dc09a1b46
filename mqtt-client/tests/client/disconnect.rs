//! Ending it: on request, by dropping handles, by dropping the driver.

use crate::scripted::{
    Script, builder, client, connected, enqueue, network, settle, soon, with_broker,
};
use martlet_broker::BrokerConfig;
use martlet_client::{
    Client, ClientEvent, ConnectionError, ConnectionState, PublishError, PublishProperties, QoS,
    RequestError, SubscribeError, TopicName, Version, Will,
    proto::{BinaryData, Packet},
    session::QueueLimits,
};
use martlet_proto::{ConnAck, ConnectReasonCode, DisconnectReasonCode};
use std::time::Duration;
use tokio::time::Instant;

fn is_disconnect(packet: Option<&Packet>, reason: DisconnectReasonCode) -> bool {
    matches!(packet, Some(Packet::Disconnect(disconnect)) if disconnect.reason == reason)
}

#[tokio::test(start_paused = true)]
async fn what_was_published_is_acknowledged_first() {
    let (client, server, _network) = connected(builder()).await;
    let server = tokio::spawn(server.serve());
    for n in 0..500 {
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][n % 3];
        drop(
            client
                .publish("a", n.to_string())
                .qos(qos)
                .enqueue()
                .await
                .unwrap(),
        );
    }
    soon(client.disconnect()).await;
    assert_eq!(soon(server).await.unwrap().len(), 500);
}

/// The server is slow: the drain ends, unacknowledged messages are reported, and the DISCONNECT is
/// still sent.
#[tokio::test(start_paused = true)]
async fn a_drain_has_an_end() {
    let (client, mut server, _network) = connected(builder().drain(Duration::from_secs(3))).await;
    let receipt = enqueue(&client, "a", "b").await;
    server.published().await;
    let start = Instant::now();
    let server = tokio::spawn(async move { (server.packet().await, Instant::now()) });
    soon(client.disconnect()).await;
    let (packet, at) = soon(server).await.unwrap();
    assert!(is_disconnect(
        Some(&packet),
        DisconnectReasonCode::NormalDisconnection
    ));
    assert_eq!((at - start).as_secs(), 3);
    assert_eq!(
        soon(receipt).await,
        Err(PublishError::Closed(ConnectionError::ClosedHere))
    );
}

#[tokio::test(start_paused = true)]
async fn at_once_means_at_once() {
    let (client, server, _network) = connected(builder()).await;
    let receipt = enqueue(&client, "a", "b").await;
    let start = Instant::now();
    let server = tokio::spawn(server.rest());
    soon(client.disconnect().drain(Duration::ZERO)).await;
    let packets = soon(server).await.unwrap();
    assert!(matches!(packets[0], Packet::Publish(_)), "{packets:?}");
    assert!(is_disconnect(
        packets.last(),
        DisconnectReasonCode::NormalDisconnection
    ));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(
        soon(receipt).await,
        Err(PublishError::Closed(ConnectionError::ClosedHere))
    );
}

/// A server that does not read the DISCONNECT, or does not close after it, is waited for two
/// seconds.
#[tokio::test(start_paused = true)]
async fn the_last_write_has_a_deadline() {
    for stream in [64 * 1024, 1024] {
        let (client, driver, mut network) = client(builder());
        let mut server = network.dial().await.open_with(stream);
        server.accept(false).await;
        soon(client.connected()).await.unwrap();
        drop(client.publish("a", vec![0; 2000]).enqueue().await.unwrap());
        settle().await;
        let start = Instant::now();
        soon(client.disconnect()).await;
        assert_eq!(start.elapsed().as_secs(), 2);
        assert_eq!(soon(driver).await.unwrap(), ConnectionError::ClosedHere);
        drop(server);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_disconnects_and_lets_everything_be_acknowledged() {
    let (client, server, _network) = connected(builder()).await;
    let server = tokio::spawn(server.serve());
    let other = client.clone();
    let receipt = client
        .publish("a", "b")
        .qos(QoS::ExactlyOnce)
        .enqueue()
        .await
        .unwrap();
    drop(client);
    other.ping().await.unwrap();
    drop(
        other
            .publish("a", "c")
            .qos(QoS::AtLeastOnce)
            .enqueue()
            .await
            .unwrap(),
    );
    drop(other);
    assert_eq!(soon(server).await.unwrap().len(), 2);
    soon(receipt).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_keeps_the_connection() {
    let (client, mut server, _network) = connected(builder()).await;
    let (stream, _) = tokio::join!(async { client.subscribe("a").await }, server.grant());
    let mut stream = stream.unwrap();
    drop(client);
    server
        .message("a", "b", martlet_proto::Delivery::AtMostOnce, &[])
        .await;
    assert!(soon(stream.next()).await.is_some());
    let goodbye = tokio::spawn(async move {
        server.ungrant().await;
        server.packet().await
    });
    drop(stream);
    assert!(is_disconnect(
        Some(&soon(goodbye).await.unwrap()),
        DisconnectReasonCode::NormalDisconnection
    ));
}

/// All futures that are pending when the driver is dropped return an error, and so do later calls;
/// nothing hangs.
#[tokio::test(start_paused = true)]
async fn dropping_the_driver_resolves_every_waiter() {
    let (runtime, mut network) = network();
    let (client, driver) = builder()
        .queue(QueueLimits::default().messages(1))
        .build(runtime)
        .unwrap();
    let driver = tokio::spawn(driver);
    let mut server: Script = network.accept().await;
    soon(client.connected()).await.unwrap();
    let (stream, _) = tokio::join!(async { client.subscribe("s").await }, server.grant());
    let mut stream = stream.unwrap();
    let in_flight = enqueue(&client, "a", "b").await;
    macro_rules! waits {
        ($client:ident => $what:expr) => {{
            let $client = client.clone();
            tokio::spawn(async move { $what })
        }};
    }
    let subscribe = waits!(c => c.subscribe("t").await.map(|_| ()));
    let unsubscribe = waits!(c => c.unsubscribe("u").await);
    let ping = waits!(c => c.ping().await);
    let next = tokio::spawn(async move { stream.next().await });
    let disconnected = waits!(c => {
        let mut events = c.events();
        while events.next().await.is_some() {}
    });
    settle().await;
    driver.abort();
    assert_eq!(
        soon(in_flight).await,
        Err(PublishError::Closed(ConnectionError::ClosedHere))
    );
    assert_eq!(
        soon(subscribe).await.unwrap(),
        Err(SubscribeError::Request(RequestError::Closed(
            ConnectionError::ClosedHere
        )))
    );
    assert_eq!(
        soon(unsubscribe).await.unwrap(),
        Err(RequestError::Closed(ConnectionError::ClosedHere).into())
    );
    assert!(soon(ping).await.unwrap().is_err());
    assert!(soon(next).await.unwrap().is_none());
    soon(disconnected).await.unwrap();
    assert!(client.connection().is_none());
    assert_eq!(
        soon(client.connected()).await.unwrap_err(),
        ConnectionError::ClosedHere.into()
    );
    assert_eq!(soon(client.flush()).await, Err(ConnectionError::ClosedHere));
    // Asked later.
    assert_eq!(
        soon(client.publish("a", "b").qos(QoS::AtLeastOnce)).await,
        Err(PublishError::Closed(ConnectionError::ClosedHere))
    );
    assert_eq!(
        soon(async { client.subscribe("a").await.map(|_| ()) }).await,
        Err(RequestError::Closed(ConnectionError::ClosedHere).into())
    );
    soon(client.disconnect()).await;
    // Without a DISCONNECT: the server publishes the will.
    assert!(
        !server
            .rest()
            .await
            .iter()
            .any(|packet| matches!(packet, Packet::Disconnect(_)))
    );
}

#[tokio::test(start_paused = true)]
async fn publishers_that_wait_for_room_are_told_too() {
    let (runtime, _network) = network();
    let (client, driver) = builder()
        .queue(QueueLimits::default().messages(1))
        .build(runtime)
        .unwrap();
    drop(enqueue(&client, "a", "1").await);
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.publish("a", "2").qos(QoS::AtLeastOnce).await }
    });
    settle().await;
    assert!(!waiting.is_finished());
    drop(driver);
    assert_eq!(
        soon(waiting).await.unwrap(),
        Err(PublishError::Closed(ConnectionError::ClosedHere))
    );
}

fn will() -> Will {
    Will {
        topic: TopicName::new("will").unwrap(),
        payload: BinaryData::try_from("gone").unwrap(),
        qos: QoS::AtLeastOnce,
        retain: false,
        delay_interval: None,
        properties: PublishProperties::default(),
    }
}

/// The will is published when asked for, and when the driver is dropped; not at a plain disconnect.
#[tokio::test]
async fn the_will_is_published_when_it_is_meant_to() {
    for version in [Version::V5, Version::V3_1_1] {
        let (server, watcher) = with_broker(BrokerConfig::default(), |builder| builder).await;
        let mut wills = soon(watcher.subscribe("will")).await.unwrap();
        let connect = || {
            Client::builder(server.uri())
                .version(version)
                .will_message(will())
        };

        let client = soon(martlet_tokio::connect_with(connect())).await.unwrap();
        soon(client.disconnect()).await;
        soon(watcher.publish("will", "no will so far"))
            .await
            .unwrap();
        assert_eq!(
            soon(wills.next()).await.unwrap().text(),
            Some("no will so far")
        );

        let client = soon(martlet_tokio::connect_with(connect())).await.unwrap();
        let reason = DisconnectReasonCode::DisconnectWithWillMessage;
        soon(client.disconnect().reason(reason)).await;
        assert_eq!(soon(wills.next()).await.unwrap().text(), Some("gone"));

        let (client, driver) = connect().build(martlet_tokio::Tokio).unwrap();
        let driver = tokio::spawn(driver);
        soon(client.connected()).await.unwrap();
        driver.abort();
        assert_eq!(soon(wills.next()).await.unwrap().text(), Some("gone"));
    }
}

/// Dropped at each point where it waits, `disconnect()` goes on.
#[tokio::test(start_paused = true)]
async fn a_disconnect_that_nobody_waits_for_goes_on() {
    let (client, server, _network) = connected(builder()).await;
    {
        let mut disconnect = Box::pin(async { client.disconnect().await });
        assert!(crate::scripted::is_pending(&mut disconnect.as_mut()));
    }
    let packets = soon(server.rest()).await;
    assert!(is_disconnect(
        packets.last(),
        DisconnectReasonCode::NormalDisconnection
    ));
}

/// … but until it is polled, nothing happens.
#[tokio::test(start_paused = true)]
async fn a_disconnect_that_is_not_awaited_does_nothing() {
    let (client, mut server, _network) = connected(builder()).await;
    let _ = client.disconnect();
    let (pong, ()) = tokio::join!(client.ping(), async {
        assert_eq!(server.packet().await, Packet::PingReq);
        server.send(Packet::PingResp).await;
    });
    pong.unwrap();
}

/// The connection broke while a disconnect waited for the answer to an UNSUBSCRIBE only. There was
/// nothing to connect again for, and the client ended as if it had stopped by itself: with that
/// error as its state and its last event, and in the log as an error.
#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_in_the_drain_is_not_why_the_client_ends() {
    let (client, driver, mut network) = client(builder());
    let mut server = network.accept().await;
    soon(client.connected()).await.unwrap();
    let (stream, _) = tokio::join!(client.subscribe("a"), server.grant());
    let mut events = client.events();
    drop(stream.unwrap());
    let disconnect = tokio::spawn({
        let client = client.clone();
        async move { client.disconnect().await }
    });
    server.unsubscribe().await;
    drop(server);
    soon(disconnect).await.unwrap();
    assert_eq!(soon(driver).await.unwrap(), ConnectionError::ClosedHere);
    assert_eq!(client.state(), ConnectionState::Closed);
    assert_eq!(soon(events.next()).await, Some(ClientEvent::Closed));
    assert_eq!(soon(events.next()).await, None);
}

/// What `disconnect()` must end, wherever the client is.
async fn ends(client: Client, driver: tokio::task::JoinHandle<ConnectionError>) {
    soon(client.disconnect()).await;
    assert_eq!(soon(driver).await.unwrap(), ConnectionError::ClosedHere);
    assert_eq!(
        client.publish("a", "b").await.unwrap_err(),
        PublishError::Closed(ConnectionError::ClosedHere)
    );
}

#[tokio::test(start_paused = true)]
async fn disconnect_wins_while_dialling() {
    let (client, driver, mut network) = client(builder());
    let mut dial = network.dial().await;
    ends(client, driver).await;
    dial.given_up().await;
}

/// The socket was open and `disconnect()` called before the driver had seen either: opening the
/// session used to forget the disconnect, and the client connected.
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
    assert!(matches!(
        soon(server).await.unwrap()[..],
        [Packet::Disconnect(_)]
    ));
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
    assert_eq!(soon(driver).await.unwrap(), ConnectionError::ClosedHere);
    assert!(network.is_quiet());
}

//! The connection as a value and as a stream, and what calls do while there is none.

use crate::scripted::{builder, client, connected, enqueue, settle, soon};
use martlet_client::{
    ConnectionError, ConnectionState, Error, PublishError, QoS, Reconnect, RequestError,
    StateChanges, SubscribeError, UnsubscribeError, proto::Packet,
};
use martlet_proto::{ConnAck, ConnectReasonCode, Disconnect, DisconnectReasonCode};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The next state, in a word.
async fn next(changes: &mut StateChanges) -> String {
    match soon(changes.next()).await {
        Some(ConnectionState::Connecting { attempt }) => format!("attempt {attempt}"),
        Some(ConnectionState::Connected(connected)) => {
            format!("connected, {}", connected.session_present)
        }
        Some(ConnectionState::Disconnected { reason, .. }) => {
            format!("waits: {:#}", Error::from(reason))
        }
        Some(ConnectionState::Stopped { reason }) => format!("stopped: {:#}", Error::from(reason)),
        Some(ConnectionState::Closed) => "closed".to_owned(),
        Some(other) => format!("{other:?}"),
        None => "the end".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_states_of_a_client() {
    let (client, _, mut network) = client(builder().reconnect(Reconnect::default().retries(2)));
    let mut states = client.state_changes();
    assert_eq!(next(&mut states).await, "attempt 1");
    let mut server = network.accept().await;
    assert_eq!(next(&mut states).await, "connected, false");
    assert_eq!(
        client.state(),
        ConnectionState::Connected(client.connection().unwrap())
    );
    server
        .send(Disconnect::new(DisconnectReasonCode::ServerShuttingDown))
        .await;
    assert_eq!(
        next(&mut states).await,
        "waits: the server disconnected: server shutting down (0x8B)"
    );
    let ConnectionState::Disconnected { retry_in, .. } = client.state() else {
        panic!("it waits")
    };
    assert!(retry_in <= Duration::from_secs(1));
    assert_eq!(next(&mut states).await, "attempt 1");
    network.dial().await.reject();
    assert_eq!(
        next(&mut states).await,
        "waits: the connection's stream cannot be opened: connection refused"
    );
    assert_eq!(next(&mut states).await, "attempt 2");
    network.dial().await.reject();
    assert_eq!(
        next(&mut states).await,
        "stopped: the connection's stream cannot be opened: connection refused"
    );
    assert_eq!(next(&mut states).await, "the end");
    let gave_up = client.state();
    assert_eq!(
        next(&mut client.state_changes()).await,
        "stopped: the connection's stream cannot be opened: connection refused"
    );
    // A stream of states that has ended goes on when the client is revived.
    let revived = tokio::spawn({
        let client = client.clone();
        async move { client.reconnect().await }
    });
    settle().await;
    assert_eq!(next(&mut states).await, "attempt 1");
    assert_ne!(client.state(), gave_up);
    revived.abort();
}

/// `events()` after `connect()` never showed that the client was connected.
#[tokio::test(start_paused = true)]
async fn the_stream_begins_with_what_is() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut states = client.state_changes();
    assert_eq!(next(&mut states).await, "connected, false");
    // The latest counts: who did not look missed what came in between.
    server
        .send(Disconnect::new(DisconnectReasonCode::SessionTakenOver))
        .await;
    settle().await;
    assert_eq!(
        next(&mut states).await,
        "stopped: the server disconnected: session taken over (0x8E)"
    );
    assert_eq!(next(&mut states).await, "the end");
}

#[tokio::test(start_paused = true)]
async fn what_the_server_allows_is_told() {
    let (client, _, mut network) = client(builder());
    let mut server = network.dial().await.open();
    server.connect().await;
    let mut connack = ConnAck::new(ConnectReasonCode::Success);
    connack.properties.receive_maximum = NonZeroU16::new(7);
    server.send(connack).await;
    let connected = soon(client.connected()).await.unwrap();
    assert_eq!(
        (
            connected.limits.receive_maximum,
            connected.limits.retain_available
        ),
        (7, true)
    );
}

#[tokio::test(start_paused = true)]
async fn dropping_the_driver_is_giving_up() {
    let (runtime, _network) = crate::scripted::network();
    let (client, driver) = builder().build(runtime).unwrap();
    let mut states = client.state_changes();
    assert_eq!(next(&mut states).await, "attempt 1");
    drop(driver);
    assert_eq!(next(&mut states).await, "closed");
    assert_eq!(next(&mut states).await, "the end");
}

/// A subscribe without a connection waited for ever.
#[tokio::test(start_paused = true)]
async fn requests_wait_for_a_connection_for_so_long() {
    let (client, _, mut network) = client(builder());
    let dial = network.dial().await;
    let start = Instant::now();
    let change = builder().offline_timeout(Duration::from_secs(3));
    let (hasty, _, mut other_network) = crate::scripted::client(change);
    let other_dial = other_network.dial().await;
    let patient = async {
        let own = hasty.subscribe("c").offline_timeout(Duration::from_secs(5));
        (
            soon(own.into_future()).await.map(drop),
            start.elapsed().as_secs(),
        )
    };
    let (subscribed, unsubscribed) = tokio::join!(
        soon(async { hasty.subscribe("a").await.map(|_| ()) }),
        async {
            let unsubscribed = soon(hasty.unsubscribe("b")).await;
            assert_eq!(start.elapsed().as_secs(), 3);
            unsubscribed
        }
    );
    assert_eq!(
        subscribed,
        Err(SubscribeError::Request(RequestError::NotConnected))
    );
    assert_eq!(
        unsubscribed,
        Err(UnsubscribeError::Request(RequestError::NotConnected))
    );
    assert_eq!(
        soon(patient).await,
        (
            Err(SubscribeError::Request(RequestError::NotConnected)),
            3 + 5
        )
    );
    assert_eq!(soon(client.ping()).await, Err(RequestError::NotConnected));
    drop((dial, other_dial));
}

fn retrying() -> martlet_client::Builder {
    builder().reconnect(Reconnect::default().retry_first(true))
}

/// What was published while the server was away failed when the client disconnected, however long
/// the drain was.
#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_a_connection() {
    let (client, driver, mut network) = client(retrying());
    network.dial().await.reject();
    let receipt = enqueue(&client, "a", "b").await;
    let leaving = tokio::spawn({
        let client = client.clone();
        async move { client.disconnect().await }
    });
    settle().await;
    assert_eq!(
        soon(client.publish("a", "c").qos(QoS::AtLeastOnce)).await,
        Err(PublishError::Closed(ConnectionError::ClosedHere))
    );
    let server = network.accept().await;
    assert_eq!(soon(tokio::spawn(server.serve())).await.unwrap().len(), 1);
    let left = soon(leaving).await.unwrap();
    assert_eq!((left.in_flight, left.queued, left.stored), (0, 0, Ok(())));
    soon(receipt).await.unwrap();
    assert_eq!(soon(driver).await.unwrap(), ConnectionError::ClosedHere);
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_a_connection_has_an_end() {
    let (client, driver, mut network) = client(retrying());
    // It never comes to anything.
    let _dial = network.dial().await;
    let receipts =
        [QoS::AtMostOnce, QoS::AtLeastOnce].map(|qos| client.publish("a", "b").qos(qos).enqueue());
    for receipt in receipts {
        drop(receipt.await.unwrap());
    }
    let start = Instant::now();
    let unacknowledged = soon(client.disconnect()).await;
    assert_eq!((unacknowledged.in_flight, unacknowledged.queued), (0, 2));
    assert_eq!(start.elapsed().as_secs(), 5);
    assert_eq!(soon(driver).await.unwrap(), ConnectionError::ClosedHere);
}

#[tokio::test(start_paused = true)]
async fn at_once_does_not_wait_for_a_connection() {
    let (client, driver, mut network) = client(retrying());
    let _dial = network.dial().await;
    let receipt = enqueue(&client, "a", "b").await;
    let start = Instant::now();
    let leaving = tokio::spawn({
        let client = client.clone();
        async move { client.disconnect().await }
    });
    settle().await;
    // The second call shortens the drain, and both get the report.
    assert_eq!(soon(client.disconnect().at_once()).await.queued, 1);
    assert_eq!(soon(leaving).await.unwrap().queued, 1);
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(
        soon(receipt).await,
        Err(PublishError::Closed(ConnectionError::ClosedHere))
    );
    assert_eq!(soon(driver).await.unwrap(), ConnectionError::ClosedHere);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_acknowledged_is_counted() {
    let (client, mut server, _network) = connected(builder().max_in_flight(1)).await;
    for _ in 0..3 {
        drop(
            client
                .publish("a", "b")
                .qos(QoS::ExactlyOnce)
                .enqueue()
                .await
                .unwrap(),
        );
    }
    server.published().await;
    let server = tokio::spawn(server.rest());
    let unacknowledged = soon(client.disconnect().with_will()).await;
    assert_eq!((unacknowledged.in_flight, unacknowledged.queued), (1, 2));
    let packets = soon(server).await.unwrap();
    let reason = DisconnectReasonCode::DisconnectWithWillMessage;
    assert!(
        matches!(&packets[..], [Packet::Disconnect(packet)] if packet.reason == reason),
        "{packets:?}"
    );
}

/// What looks at a client now and then left its waker with it each time.
#[tokio::test(start_paused = true)]
async fn a_dropped_stream_of_states_leaves_no_waker_behind() {
    struct Idle;
    impl std::task::Wake for Idle {
        fn wake(self: Arc<Self>) {}
    }
    let (client, _server, _network) = connected(builder()).await;
    let idle = Arc::new(Idle);
    let waker = std::task::Waker::from(Arc::clone(&idle));
    let mut states = client.state_changes();
    soon(states.next()).await.unwrap();
    let mut next = Box::pin(states.next());
    let mut cx = std::task::Context::from_waker(&waker);
    assert!(next.as_mut().poll(&mut cx).is_pending());
    assert!(Arc::strong_count(&idle) > 2, "it waits");
    drop(next);
    drop(states);
    settle().await;
    assert_eq!(Arc::strong_count(&idle), 2, "this and the waker");
}

/// Each wake-up for nothing was a system call of the runtime and a turn of the driver.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_change_is_not_woken_when_something_was_written() {
    #[derive(Default)]
    struct Woken(AtomicUsize);
    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (client, mut server, _network) = connected(builder()).await;
    let mut states = client.state_changes();
    soon(states.next()).await.unwrap();
    let woken = Arc::new(Woken::default());
    let waker = std::task::Waker::from(Arc::clone(&woken));
    let mut next = Box::pin(states.next());
    assert!(
        next.as_mut()
            .poll(&mut std::task::Context::from_waker(&waker))
            .is_pending()
    );
    client.publish("a/b", "21.5").await.unwrap();
    soon(client.flush()).await.unwrap();
    server.published().await;
    settle().await;
    assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    drop(server);
    settle().await;
    assert_eq!(woken.0.load(Ordering::Relaxed), 1, "the connection is gone");
}

//! Payloads and wakers are anybody's code when they are dropped, and that code may call the client:
//! it never runs under the client's lock. Where it did, these tests hang.

use crate::scripted::{
    builder, client, connected, enqueue, network, qos1, settle, soon, try_publish,
};
use bytes::Bytes;
use martlet_client::{
    Builder, Client, PublishError, PublishProperties, QoS, Reconnect, TopicFilter, TopicName,
    UserProperties, Will,
    hooks::Attempt,
    proto::{BinaryData, Packet, PubAckReasonCode, Utf8String},
    session::{Details, LostSession, OutgoingPublish, QueueLimits, WhenFull},
};
use std::future::{Future, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

/// Calls the client when it is dropped.
struct Caller {
    client: Client,
    publishes: bool,
    dropped: Arc<AtomicUsize>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.client.queued();
        if self.publishes {
            // Accepted or rejected, as it may be.
            let message = OutgoingPublish::new(TopicName::from_static("dropped").unwrap(), "");
            drop(try_publish(&self.client, message));
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

struct Payload(
    Vec<u8>,
    #[expect(dead_code, reason = "it is there to be dropped")] Caller,
);

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {}
}

/// Makes payloads, topics and wakers, and counts those that are gone.
struct Calls {
    client: Client,
    publishes: bool,
    made: usize,
    dropped: Arc<AtomicUsize>,
}

impl Calls {
    fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            publishes: true,
            made: 0,
            dropped: Arc::default(),
        }
    }

    /// For servers that expect no messages.
    fn quiet(client: &Client) -> Self {
        Self {
            publishes: false,
            ..Self::new(client)
        }
    }

    fn caller(&mut self) -> Caller {
        self.made += 1;
        Caller {
            client: self.client.clone(),
            publishes: self.publishes,
            dropped: self.dropped.clone(),
        }
    }

    fn message(&mut self, qos: QoS, size: usize) -> OutgoingPublish {
        let topic = TopicName::from_bytes(self.bytes(b"a")).unwrap();
        OutgoingPublish::new(topic, self.bytes(&vec![b'x'; size])).qos(qos)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Bytes {
        Bytes::from_owner(Payload(bytes.to_vec(), self.caller()))
    }

    fn text(&mut self) -> Utf8String {
        Utf8String::from_bytes(self.bytes(b"text")).unwrap()
    }

    fn data(&mut self) -> BinaryData {
        BinaryData::new(self.bytes(b"data")).unwrap()
    }

    fn properties(&mut self) -> UserProperties {
        UserProperties::from([(self.text(), self.text())])
    }

    fn filter(&mut self) -> TopicFilter {
        TopicFilter::from_bytes(self.bytes(b"a/+")).unwrap()
    }

    fn waker(&mut self) -> Waker {
        Arc::new(self.caller()).into()
    }

    fn are_gone(&self) {
        assert_eq!(self.dropped.load(Ordering::Relaxed), self.made);
    }
}

#[tokio::test(start_paused = true)]
async fn settled_by_the_server() {
    for kept in [LostSession::InDoubt, LostSession::Requeue] {
        for size in [1, 10_000] {
            let (client, server, _network) = connected(builder().lost_qos2(kept)).await;
            tokio::spawn(server.serve());
            let mut calls = Calls::new(&client);
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let message = calls.message(qos, size);
                soon(client.publish(message.topic, message.payload).qos(qos))
                    .await
                    .unwrap();
                let receipt = try_publish(&client, calls.message(qos, size)).unwrap();
                soon(receipt).await.unwrap();
            }
            soon(client.flush()).await.unwrap();
            settle().await;
            calls.are_gone();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn queued_and_sent_later() {
    let (client, _, mut network) = client(builder());
    let mut calls = Calls::new(&client);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        drop(try_publish(&client, calls.message(qos, 10_000)).unwrap());
    }
    tokio::spawn(network.accept().await.serve());
    settle().await;
    soon(client.flush()).await.unwrap();
    settle().await;
    calls.are_gone();
}

#[tokio::test(start_paused = true)]
async fn rejected_or_dropped_by_a_full_queue() {
    for when_full in [WhenFull::Reject, WhenFull::DropOldest, WhenFull::DropNewest] {
        let limited = |builder: Builder| {
            builder.queue(QueueLimits::default().messages(1).when_full(when_full))
        };
        let (client, _, _network) = client(limited(builder()));
        let mut calls = Calls::new(&client);
        // What is queued in its place, as the last, is that of the last drop.
        for _ in 0..5 {
            drop(try_publish(&client, calls.message(QoS::AtLeastOnce, 1)));
        }
        soon(client.disconnect()).await;
        settle().await;
        calls.are_gone();
    }
}

#[tokio::test(start_paused = true)]
async fn expired() {
    let (client, _, _network) = client(builder());
    let mut calls = Calls::new(&client);
    let mut receipts = Vec::new();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let properties = PublishProperties::builder()
            .message_expiry_interval(1)
            .build();
        let message = calls.message(qos, 1).properties(properties);
        receipts.push(try_publish(&client, message).unwrap());
    }
    for receipt in receipts {
        assert_eq!(soon(receipt).await, Err(PublishError::Expired));
    }
    settle().await;
    calls.are_gone();
}

/// The client ends with messages queued and in flight, by each of the ways.
#[tokio::test(start_paused = true)]
async fn left_when_the_client_ends() {
    for (online, drop_driver) in [(false, false), (false, true), (true, false), (true, true)] {
        let (client, driver, mut network) = client(builder());
        let server = if online {
            Some(network.accept().await)
        } else {
            None
        };
        settle().await;
        let mut calls = Calls::new(&client);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            drop(try_publish(&client, calls.message(qos, 10_000)).unwrap());
        }
        settle().await;
        if drop_driver {
            driver.abort();
            settle().await;
        }
        // The one that disconnects gets what was left, and drops it.
        soon(client.disconnect().drain(Duration::ZERO)).await;
        // What is in flight stays with the session, which goes with its last handle.
        let dropped = calls.dropped.clone();
        let made = calls.made;
        if online {
            assert!(dropped.load(Ordering::Relaxed) >= 2, "of QoS 0");
        } else {
            assert_eq!(dropped.load(Ordering::Relaxed), made);
        }
        drop(server);
    }
}

/// The socket takes nothing; large payloads wait in the output when the connection breaks, and the
/// server then says that it has lost the session.
#[tokio::test(start_paused = true)]
async fn lost_with_the_connection_and_the_session() {
    let (client, _, mut network) = client(builder().lost_qos1(LostSession::InDoubt));
    let mut server = network.dial().await.open_with(4096);
    server.accept(false).await;
    soon(client.connected()).await.unwrap();
    let mut calls = Calls::new(&client);
    let mut receipts = Vec::new();
    for qos in [
        QoS::AtMostOnce,
        QoS::AtMostOnce,
        QoS::AtLeastOnce,
        QoS::ExactlyOnce,
    ] {
        receipts.push(try_publish(&client, calls.message(qos, 10_000)).unwrap());
        settle().await;
    }
    drop(server);
    let server = network.accept().await;
    tokio::spawn(server.serve());
    for receipt in receipts {
        let _ = soon(receipt).await;
    }
    settle().await;
    calls.are_gone();
}

/// Polls once with a waker of its own, then with another, and again with a third before the future
/// is dropped: each that is not needed any more is dropped when it is not.
fn wakers(calls: &mut Calls, future: impl Future) {
    let mut future = pin!(future);
    for _ in 0..2 {
        let waker = calls.waker();
        assert!(
            future
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(waker);
    }
    assert_eq!(
        calls.dropped.load(Ordering::Relaxed),
        calls.made - 1,
        "the last is needed"
    );
}

#[tokio::test(start_paused = true)]
async fn wakers_of_those_who_do_not_wait_any_more() {
    let (client, mut server, mut network) =
        connected(builder().queue(QueueLimits::default().messages(1))).await;
    let (stream, _) = tokio::join!(soon(client.subscribe("a")), server.grant());
    let mut stream = stream.unwrap();
    let mut calls = Calls::new(&client);
    wakers(&mut calls, stream.next());
    wakers(&mut calls, stream.next_timeout(Duration::from_secs(1)));
    drop(stream);
    calls.are_gone();
    let mut rest = client.unmatched().unwrap();
    wakers(&mut calls, rest.next());
    drop(rest);
    calls.are_gone();
    let mut events = client.events();
    wakers(&mut calls, events.next());
    drop(events);
    calls.are_gone();
    wakers(&mut calls, client.ping());
    calls.are_gone();
    wakers(&mut calls, client.subscribe("b").into_future());
    calls.are_gone();
    let mut receipt = enqueue(&client, "a", "1").await;
    wakers(&mut calls, &mut receipt);
    drop(receipt);
    calls.are_gone();
    // Without a connection: a place in the queue, the socket, the connection itself.
    drop(server);
    drop(network.dial().await);
    settle().await;
    let _queued = try_publish(
        &client,
        OutgoingPublish::new(TopicName::from_static("a").unwrap(), ""),
    )
    .unwrap();
    wakers(
        &mut calls,
        client.publish("a", "2").qos(QoS::AtLeastOnce).into_future(),
    );
    calls.are_gone();
    wakers(&mut calls, client.flush());
    calls.are_gone();
    wakers(&mut calls, client.connected());
    calls.are_gone();
}

/// The waker of the task that polled the driver before.
#[tokio::test(start_paused = true)]
async fn the_drivers_wakers() {
    let (runtime, _network) = network();
    let (client, mut driver) = builder().build(runtime).unwrap();
    let mut calls = Calls::new(&client);
    for _ in 0..10 {
        let waker = calls.waker();
        assert!(
            pin!(&mut driver)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
    }
    drop(driver);
    settle().await;
    calls.are_gone();
}

/// What a stream has not taken goes with it, and wakers with what woke them.
#[tokio::test(start_paused = true)]
async fn a_stream_with_messages_in_it() {
    let (client, mut server, mut network) = connected(builder()).await;
    let (stream, _) = tokio::join!(
        soon(client.subscribe("a").qos(QoS::AtLeastOnce)),
        server.grant()
    );
    let mut stream = stream.unwrap();
    let mut calls = Calls::new(&client);
    let waker = calls.waker();
    assert!(
        pin!(stream.next())
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(waker);
    server.message("a", "1", qos1(1), &[]).await;
    settle().await;
    calls.are_gone();
    // Sent again, it takes the place of the first copy.
    drop(server);
    let mut server = network.resume().await;
    server.message("a", "1", qos1(1), &[]).await;
    settle().await;
    drop(stream);
    settle().await;
    assert_eq!(client.queued(), 0);
}

/// Filters and user properties were dropped where the session or the routes were done with them:
/// under the lock.
#[tokio::test(start_paused = true)]
async fn filters_and_what_is_said_to_the_server() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut calls = Calls::quiet(&client);
    let subscribe = client
        .subscribe(calls.filter())
        .and(calls.filter(), QoS::AtLeastOnce);
    let subscribe = subscribe.user_properties(calls.properties());
    let (stream, _) = tokio::join!(soon(subscribe), server.grant());
    let mut stream = stream.unwrap().acknowledge_manually();
    server.message("a/b", "1", qos1(1), &[]).await;
    let message = soon(stream.next()).await.unwrap();
    let details = Details::default()
        .reason_string(Some(calls.text()))
        .user_properties(calls.properties());
    message.acknowledge_with(PubAckReasonCode::QuotaExceeded, details);
    assert!(matches!(soon(server.packet()).await, Packet::PubAck(_)));
    let unsubscribe = stream.unsubscribe().user_properties(calls.properties());
    soon(async { tokio::join!(unsubscribe, server.ungrant()) })
        .await
        .0
        .unwrap();
    // By its filter, and not at all.
    let unsubscribe = client
        .unsubscribe(calls.filter())
        .user_properties(calls.properties());
    soon(async { tokio::join!(unsubscribe, server.ungrant()) })
        .await
        .0
        .unwrap();
    drop(
        client
            .subscribe(calls.filter())
            .user_properties(calls.properties()),
    );
    let (stream, _) = tokio::join!(soon(client.subscribe(calls.filter())), server.grant());
    drop(stream.unwrap());
    server.ungrant().await;
    let disconnect = client
        .disconnect()
        .reason_string(calls.text())
        .user_properties(calls.properties());
    let rest = tokio::spawn(server.rest());
    soon(disconnect).await;
    soon(rest).await.unwrap();
    settle().await;
    calls.are_gone();
}

/// What a hook and an authenticator say goes into the session, which is done with it under the
/// lock.
#[tokio::test(start_paused = true)]
async fn what_a_hook_says() {
    let (runtime, mut network) = network();
    let calls = Arc::new(Mutex::new(None::<Calls>));
    let hook = {
        let calls = Arc::clone(&calls);
        move |mut attempt: Attempt| {
            let mut calls = calls.lock().unwrap();
            let calls = calls.as_mut().unwrap();
            attempt.set_user_properties(calls.properties());
            let topic = TopicName::from_bytes(calls.bytes(b"will")).unwrap();
            attempt.set_will(Will::new(topic, calls.data()).unwrap());
            ready(Ok(attempt))
        }
    };
    let builder = builder()
        .before_connect(hook)
        .reconnect(Reconnect::default().retry_first(true));
    let (client, driver) = builder.build(runtime).unwrap();
    *calls.lock().unwrap() = Some(Calls::quiet(&client));
    tokio::spawn(driver);
    for _ in 0..2 {
        drop(network.accept().await);
    }
    let _server = network.accept().await;
    settle().await;
    calls.lock().unwrap().take().unwrap().are_gone();
}

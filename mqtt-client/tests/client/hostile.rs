//! What runs the application's code in the middle of the client: wakers when they are cloned, woken and dropped,
//! payloads when they are dropped, observers, authenticators. All of it may call the client. Where it ran under the
//! client's lock, these tests hung: they run on a thread of their own, so that they fail instead.

use crate::scripted::{Network, Script, builder, client, network, settle, soon};
use bytes::Bytes;
use cooked_waker::{IntoWaker, Wake, WakeRef};
use martlet_client::{
    Builder, Client, ClientEvent, QoS, ResponseError, TopicName,
    hooks::{AuthMessage, Authenticator, HookFuture, Observer},
    proto::{BinaryData, Packet, Utf8String},
    session::{Instant, OutgoingPublish, QueueLimits},
    store::MemoryStore,
};
use martlet_proto::{Auth, AuthReasonCode, Delivery};
use std::future::{Future, ready};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Runs a test in simulated time, on a thread that the test can leave behind when it hangs.
fn watched<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    watch(true, test);
}

/// `is_paused`: in simulated time, which passes while a store's thread is at work.
fn watch<F: Future<Output = ()>>(is_paused: bool, test: impl FnOnce() -> F + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(is_paused)
            .build()
            .unwrap();
        runtime.block_on(test());
        drop(runtime);
        done.send(()).unwrap();
    });
    match ended.recv_timeout(Duration::from_secs(60)) {
        Ok(()) => {}
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().unwrap_err())
        }
    }
}

/// Calls all that takes the client's lock and does not wait, and begins what waits.
fn call(client: &Client) {
    client.statistics();
    client.counters();
    client.state();
    client.connection();
    client.queued();
    client.in_flight();
    drop(client.events());
    drop(client.state_changes());
    drop(client.unmatched());
    // Accepted or rejected, as it may be.
    drop(client.publish("hostile", "").try_enqueue());
    let mut cx = Context::from_waker(Waker::noop());
    let mut subscribe = pin!(client.subscribe("hostile/a").into_future());
    let _ = subscribe.as_mut().poll(&mut cx);
    let mut ping = pin!(client.ping());
    let _ = ping.as_mut().poll(&mut cx);
}

/// What a waker does at one of its moments.
type Act = Arc<dyn Fn() + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Clone,
    Wake,
    Drop,
}

const MOMENTS: [Moment; 3] = [Moment::Clone, Moment::Wake, Moment::Drop];

/// A waker that acts at a moment, beside waking another. It is in a box, not in an `Arc`: to clone it runs
/// its own `clone`, and no two are the same.
struct Hostile {
    inner: Waker,
    at: Moment,
    act: Act,
}

impl Hostile {
    fn moment(&self, moment: Moment) {
        if self.at == moment {
            (self.act)();
        }
    }
}

impl Clone for Hostile {
    fn clone(&self) -> Self {
        self.moment(Moment::Clone);
        Self {
            inner: self.inner.clone(),
            at: self.at,
            act: Arc::clone(&self.act),
        }
    }
}

impl WakeRef for Hostile {
    fn wake_by_ref(&self) {
        self.moment(Moment::Wake);
        self.inner.wake_by_ref();
    }
}

impl Wake for Hostile {}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.moment(Moment::Drop);
    }
}

/// Polls a future with a new hostile waker each time.
struct Harassed<F> {
    future: Pin<Box<F>>,
    at: Moment,
    act: Act,
}

impl<F: Future> Future for Harassed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let hostile = Hostile {
            inner: cx.waker().clone(),
            at: self.at,
            act: Arc::clone(&self.act),
        };
        let waker = Box::new(hostile).into_waker();
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

/// Makes wakers that act at a moment, and counts how often they did.
#[derive(Clone)]
struct Harasser {
    at: Moment,
    act: Act,
    acts: Arc<AtomicUsize>,
}

impl Harasser {
    fn new(at: Moment, act: impl Fn() + Send + Sync + 'static) -> Self {
        let acts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&acts);
        let act = Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            act();
        });
        Self { at, act, acts }
    }

    fn calling(at: Moment, client: &Client) -> Self {
        let client = client.clone();
        Self::new(at, move || call(&client))
    }

    /// Awaits with hostile wakers.
    async fn wait<T>(&self, future: impl IntoFuture<Output = T>) -> T {
        soon(Harassed {
            future: Box::pin(future.into_future()),
            at: self.at,
            act: Arc::clone(&self.act),
        })
        .await
    }
}

/// Answers all that a client asks, and sends each message on topic "a" back. Gives the payloads that came.
async fn serve(mut script: Script) -> Vec<String> {
    let mut payloads = Vec::new();
    while let Some(packet) = script.try_packet().await {
        match packet {
            Packet::Publish(publish) => {
                script.acknowledge(&publish).await;
                if publish.topic() == "a" {
                    let payload = std::str::from_utf8(publish.payload()).unwrap().to_owned();
                    script
                        .message("a", &payload, Delivery::AtMostOnce, &[])
                        .await;
                    payloads.push(payload);
                }
            }
            Packet::PubRel(ack) => script.pubcomp(ack.packet_identifier).await,
            Packet::PingReq => script.send(Packet::PingResp).await,
            Packet::Subscribe(subscribe) => {
                let reasons = vec![
                    martlet_proto::SubAckReasonCode::GrantedQos0;
                    subscribe.subscriptions.len()
                ];
                script.suback(subscribe.packet_identifier, reasons).await;
            }
            Packet::Unsubscribe(unsubscribe) => {
                script
                    .send(martlet_proto::UnsubAck {
                        packet_identifier: unsubscribe.packet_identifier,
                        reason_string: None,
                        user_properties: martlet_proto::UserProperties::new(),
                        reasons: vec![
                            martlet_proto::UnsubAckReasonCode::Success;
                            unsubscribe.filters.len()
                        ],
                    })
                    .await;
            }
            Packet::Disconnect(_) => break,
            other => panic!("not expected here: {other:?}"),
        }
    }
    payloads
}

/// A client that is connected, and its server.
async fn served(builder: Builder) -> (Client, tokio::task::JoinHandle<Vec<String>>, Network) {
    let (client, _, mut network) = client(builder);
    let server = tokio::spawn(serve(network.accept().await));
    soon(client.connected()).await.unwrap();
    (client, server, network)
}

/// Ends the client, and holds that each of these messages came once.
async fn came_once(client: &Client, server: tokio::task::JoinHandle<Vec<String>>, sent: &[&str]) {
    soon(client.disconnect()).await;
    let mut came = soon(server).await.unwrap();
    came.sort_unstable();
    let mut sent = sent.to_vec();
    sent.sort_unstable();
    assert_eq!(came, sent);
}

#[test]
fn wakers_of_publishers_call_the_client() {
    for at in MOMENTS {
        watched(move || async move {
            let (client, server, _network) = served(builder()).await;
            let hostile = Harasser::calling(at, &client);
            for (qos, payload) in [
                (QoS::AtMostOnce, "0"),
                (QoS::AtLeastOnce, "1"),
                (QoS::ExactlyOnce, "2"),
            ] {
                hostile
                    .wait(client.publish("a", payload).qos(qos))
                    .await
                    .unwrap();
            }
            let enqueue = client
                .publish("a", "3")
                .qos(QoS::AtLeastOnce)
                .timeout(Duration::from_secs(9))
                .enqueue();
            let receipt = hostile.wait(enqueue).await.unwrap();
            hostile.wait(receipt).await.unwrap();
            let batch = ["4", "5"].map(|payload| {
                OutgoingPublish::new(TopicName::from_static("a").unwrap(), payload)
                    .qos(QoS::AtLeastOnce)
            });
            hostile.wait(client.publish_all(batch)).await.unwrap();
            hostile.wait(client.flush()).await.unwrap();
            assert!(hostile.acts.load(Ordering::Relaxed) > 0, "{at:?}");
            came_once(&client, server, &["0", "1", "2", "3", "4", "5"]).await;
        });
    }
}

#[test]
fn wakers_of_those_who_wait_for_room_or_a_connection_call_the_client() {
    for at in MOMENTS {
        watched(move || async move {
            let limits = QueueLimits::default().messages(1);
            let (client, _, mut network) = client(builder().queue(limits));
            let hostile = Harasser::calling(at, &client);
            // What the wakers publish takes the room as well, and comes from nobody else.
            let payloads = ["0", "1", "2", "3"];
            let waiting = payloads.map(|payload| {
                let (client, hostile) = (client.clone(), hostile.clone());
                let qos = match payload {
                    "3" => QoS::AtMostOnce,
                    _ => QoS::AtLeastOnce,
                };
                tokio::spawn(async move {
                    let publish = client.publish("a", payload).qos(qos);
                    hostile.wait(publish).await.unwrap();
                })
            });
            let connected = tokio::spawn({
                let (client, hostile) = (client.clone(), hostile.clone());
                async move { hostile.wait(client.connected()).await.unwrap() }
            });
            let mut changes = client.state_changes();
            let changes = tokio::spawn({
                let hostile = hostile.clone();
                async move {
                    let mut seen = 0;
                    while hostile.wait(changes.next()).await.is_some() {
                        seen += 1;
                    }
                    seen
                }
            });
            settle().await;
            let server = tokio::spawn(serve(network.accept().await));
            soon(connected).await.unwrap();
            for task in waiting {
                soon(task).await.unwrap();
            }
            assert!(hostile.acts.load(Ordering::Relaxed) > 0, "{at:?}");
            came_once(&client, server, &payloads).await;
            assert!(soon(changes).await.unwrap() > 1);
        });
    }
}

#[test]
fn wakers_of_readers_and_requests_call_the_client() {
    for at in MOMENTS {
        watched(move || async move {
            let (client, server, _network) = served(builder()).await;
            let hostile = Harasser::calling(at, &client);
            let mut stream = hostile.wait(client.subscribe("a")).await.unwrap();
            let mut events = client.events();
            let reader = tokio::spawn({
                let hostile = hostile.clone();
                async move {
                    let first = hostile.wait(stream.next()).await.unwrap();
                    let next = hostile.wait(stream.next_timeout(Duration::from_secs(5)));
                    let second = next.await.unwrap().unwrap();
                    let none = hostile.wait(stream.next_timeout(Duration::from_secs(1)));
                    none.await.unwrap_err();
                    hostile.wait(stream.unsubscribe()).await.unwrap();
                    [first, second].map(|message| message.text().unwrap().to_owned())
                }
            });
            settle().await;
            for payload in ["0", "1"] {
                soon(client.publish("a", payload)).await.unwrap();
                settle().await;
            }
            assert_eq!(soon(reader).await.unwrap(), ["0", "1"]);
            hostile.wait(client.ping()).await.unwrap();
            // Nobody answers it.
            let request = client.request("ask", "").timeout(Duration::from_secs(5));
            let response = hostile.wait(request).await;
            assert_eq!(response.unwrap_err(), ResponseError::Timeout);
            let events = tokio::spawn({
                let hostile = hostile.clone();
                async move {
                    let mut last = None;
                    while let Some(event) = hostile.wait(events.next()).await {
                        last = Some(event);
                    }
                    last
                }
            });
            settle().await;
            assert!(hostile.acts.load(Ordering::Relaxed) > 0, "{at:?}");
            came_once(&client, server, &["0", "1"]).await;
            assert!(soon(events).await.unwrap().is_some(), "the end is an event");
        });
    }
}

#[test]
fn wakers_of_those_who_wait_for_the_store_call_the_client() {
    for at in MOMENTS {
        watch(false, move || async move {
            let (runtime, mut network) = network();
            let durable = builder().store(MemoryStore::new());
            let (client, driver) = durable.build(runtime).unwrap();
            let driver = tokio::spawn(driver);
            let server = tokio::spawn(serve(network.accept().await));
            let hostile = Harasser::calling(at, &client);
            let publish = || client.publish("a", "0").qos(QoS::AtLeastOnce);
            let mut receipt = publish().try_enqueue().unwrap();
            hostile.wait(receipt.stored()).await.unwrap();
            hostile.wait(receipt).await.unwrap();
            drop(hostile.wait(publish().enqueue()).await.unwrap());
            let message = OutgoingPublish::new(TopicName::from_static("a").unwrap(), "1");
            let batch = [message.qos(QoS::ExactlyOnce)];
            let receipt = hostile.wait(client.publish_all(batch).enqueue()).await;
            hostile.wait(receipt.unwrap()).await.unwrap();
            assert!(hostile.acts.load(Ordering::Relaxed) > 0, "{at:?}");
            came_once(&client, server, &["0", "0", "1"]).await;
            soon(driver).await.unwrap();
        });
    }
}

/// A waker that panicked ended the thread of the store, without a word: nothing was stored any more.
#[test]
fn a_waker_that_panics_does_not_end_the_store() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker");
        }
    }
    watch(false, move || async move {
        let (runtime, _network) = network();
        let (client, driver) = builder().store(MemoryStore::new()).build(runtime).unwrap();
        let driver = tokio::spawn(driver);
        let publish = || client.publish("a", "0").qos(QoS::AtLeastOnce);
        let mut receipt = publish().try_enqueue().unwrap();
        {
            let mut stored = pin!(receipt.stored());
            let panics = Waker::from(Arc::new(Panics));
            let polled = stored.as_mut().poll(&mut Context::from_waker(&panics));
            assert!(
                polled.is_pending(),
                "the driver has given the store nothing yet"
            );
            // What comes later is stored after it, and by a thread that has woken it.
            drop(publish().enqueue().await.unwrap());
        }
        drop(publish().enqueue().await.unwrap());
        receipt.stored().await.unwrap();
        drop(client);
        driver.abort();
    });
}

/// The executor's own waker.
#[test]
fn wakers_of_the_driver_call_the_client() {
    for at in MOMENTS {
        watched(move || async move {
            let (runtime, mut network) = network();
            let (client, driver) = builder().build(runtime).unwrap();
            let hostile = Harasser::calling(at, &client);
            let driving = Harassed {
                future: Box::pin(driver),
                at,
                // What it calls wakes the driver again: a few times are enough.
                act: {
                    let (act, acts) = (Arc::clone(&hostile.act), Arc::clone(&hostile.acts));
                    Arc::new(move || {
                        if acts.load(Ordering::Relaxed) < 20 {
                            act();
                        }
                    })
                },
            };
            let driver = tokio::spawn(driving);
            let server = tokio::spawn(serve(network.accept().await));
            for payload in ["0", "1"] {
                soon(client.publish("a", payload).qos(QoS::ExactlyOnce))
                    .await
                    .unwrap();
            }
            assert!(hostile.acts.load(Ordering::Relaxed) > 0, "{at:?}");
            came_once(&client, server, &["0", "1"]).await;
            soon(driver).await.unwrap();
        });
    }
}

/// A stream, and a receipt, that go inside the waker of something else.
#[test]
fn streams_and_receipts_are_dropped_inside_wakers() {
    for at in MOMENTS {
        watched(move || async move {
            let (client, server, _network) = served(builder()).await;
            let stream = soon(client.subscribe("a")).await.unwrap();
            let other = soon(client.subscribe("a/b")).await.unwrap();
            let receipt = client
                .publish("a", "0")
                .qos(QoS::ExactlyOnce)
                .enqueue()
                .await
                .unwrap();
            let held = Mutex::new((Some((stream, other)), Some(receipt)));
            let hostile = Harasser::new(at, move || {
                // Taken out first: dropping wakes, and may come here again.
                let taken = std::mem::take(&mut *held.lock().unwrap());
                drop(taken);
            });
            let mut own = soon(client.subscribe("a")).await.unwrap();
            let publish = client.publish("a", "1").qos(QoS::AtLeastOnce);
            let (published, message) =
                tokio::join!(hostile.wait(publish), hostile.wait(own.next()));
            published.unwrap();
            assert_eq!(message.unwrap().text(), Some("0"));
            assert!(hostile.acts.load(Ordering::Relaxed) > 0, "{at:?}");
            drop(own);
            came_once(&client, server, &["0", "1"]).await;
        });
    }
}

/// Calls the client when it is dropped.
struct Payload(Client, Arc<AtomicUsize>);

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        b"payload"
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        call(&self.0);
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn payloads_call_all_of_the_client_when_they_are_dropped() {
    watched(|| async {
        let (client, server, _network) = served(builder()).await;
        let dropped = Arc::new(AtomicUsize::new(0));
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let payload = Bytes::from_owner(Payload(client.clone(), Arc::clone(&dropped)));
            soon(client.publish("a", payload).qos(qos)).await.unwrap();
        }
        soon(client.flush()).await.unwrap();
        settle().await;
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
        came_once(&client, server, &["payload"; 3]).await;
    });
}

/// An observer and an authenticator that call the client, once there is one.
#[derive(Clone, Default)]
struct Caller {
    client: Arc<OnceLock<Client>>,
    calls: Arc<AtomicUsize>,
}

impl Caller {
    fn call(&self) {
        // A packet that is observed makes others: a few are enough.
        if self.calls.fetch_add(1, Ordering::Relaxed) < 20 {
            self.client.get().into_iter().for_each(call);
        }
    }
}

impl Observer for Caller {
    fn packet_sent(&mut self, _: Instant, _: &Packet) {
        self.call();
    }

    fn packet_received(&mut self, _: Instant, _: &Packet) {
        self.call();
    }

    fn client_event(&mut self, _: Instant, _: &ClientEvent) {
        self.call();
    }
}

#[test]
fn an_observer_calls_the_client() {
    watched(|| async {
        let caller = Caller::default();
        let (client, _, mut network) = client(builder().observer(caller.clone()));
        caller.client.set(client.clone()).unwrap();
        let server = tokio::spawn(serve(network.accept().await));
        for (qos, payload) in [(QoS::AtLeastOnce, "0"), (QoS::ExactlyOnce, "1")] {
            soon(client.publish("a", payload).qos(qos)).await.unwrap();
        }
        assert!(caller.calls.load(Ordering::Relaxed) > 6);
        came_once(&client, server, &["0", "1"]).await;
    });
}

impl Authenticator for Caller {
    fn method(&self) -> Utf8String {
        self.call();
        "CALL".try_into().unwrap()
    }

    fn begin(&mut self) -> HookFuture<Option<BinaryData>> {
        self.call();
        Box::pin(ready(Ok(None)))
    }

    fn answer(&mut self, challenge: AuthMessage) -> HookFuture<Option<BinaryData>> {
        self.call();
        let this = self.clone();
        Box::pin(async move {
            this.call();
            Ok(challenge.data)
        })
    }

    fn accept(&mut self, _: AuthMessage) -> HookFuture<()> {
        self.call();
        Box::pin(ready(Ok(())))
    }
}

#[test]
fn an_authenticator_calls_the_client() {
    watched(|| async {
        let caller = Caller::default();
        let (client, _, mut network) = client(builder().authenticator(caller.clone()));
        caller.client.set(client.clone()).unwrap();
        let mut script = network.dial().await.open();
        script.connect().await;
        let mut challenge = Auth::new(AuthReasonCode::ContinueAuthentication);
        challenge.authentication_method = Some("CALL".try_into().unwrap());
        script.send(challenge).await;
        assert!(matches!(soon(script.packet()).await, Packet::Auth(_)));
        let mut connack = martlet_proto::ConnAck::new(martlet_proto::ConnectReasonCode::Success);
        connack.properties.authentication_method = Some("CALL".try_into().unwrap());
        script.send(connack).await;
        let server = tokio::spawn(serve(script));
        soon(client.publish("a", "0").qos(QoS::ExactlyOnce))
            .await
            .unwrap();
        assert!(caller.calls.load(Ordering::Relaxed) >= 4);
        came_once(&client, server, &["0"]).await;
    });
}

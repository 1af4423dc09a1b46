//! "Accepted" means stored, on a client with a store; and what its end tells.

use crate::scripted::{is_pending, soon, try_publish};
use crate::store::{Failing, Process, builder, is_message, puts_message};
use bytes::Bytes;
use martlet_broker::tokio::Server;
use martlet_broker::{BrokerConfig, Memory};
use martlet_client::{
    ClientEvent, OpenError, PublishError, QoS, TopicName,
    session::OutgoingPublish,
    store::{MemoryStore, RecordKey, Store, StoreError, StoreErrorKind, StoreOp, WhenStoreFails},
};
use martlet_tokio::Tokio;
use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use tokio::sync::mpsc;

/// A store whose commits of messages wait until they are let go.
struct Gate {
    store: MemoryStore,
    /// Told when such a commit is under way.
    entered: mpsc::UnboundedSender<()>,
    released: Receiver<()>,
}

impl Store for Gate {
    fn load(&mut self) -> Result<Vec<(RecordKey, Bytes)>, StoreError> {
        self.store.load()
    }

    fn commit(&mut self, operations: &[StoreOp]) -> Result<(), StoreError> {
        if operations.iter().any(puts_message) {
            let _ = self.entered.send(());
            let _ = self.released.recv();
        }
        self.store.commit(operations)
    }
}

fn gate() -> (Gate, MemoryStore, mpsc::UnboundedReceiver<()>, Sender<()>) {
    let (entered, is_entered) = mpsc::unbounded_channel();
    let (release, released) = channel();
    let store = MemoryStore::new();
    (
        Gate {
            store: store.clone(),
            entered,
            released,
        },
        store,
        is_entered,
        release,
    )
}

fn messages(store: &MemoryStore) -> usize {
    store.records().keys().filter(|key| is_message(key)).count()
}

fn outgoing(qos: QoS) -> OutgoingPublish {
    let mut message = OutgoingPublish::new(TopicName::new("t").unwrap(), "1");
    message.qos = qos;
    message
}

/// A batch is accepted when the store has all of it.
#[tokio::test]
async fn a_batch_is_accepted_when_it_is_stored() {
    let mut server = Server::start(BrokerConfig::default()).await.unwrap();
    let (gate, store, mut entered, release) = gate();
    let process = Process::start(builder(&server), gate);
    let client = process.client.clone();
    soon(client.connected()).await.unwrap();
    server.kill(Memory::Kept).await;

    let batch = [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtMostOnce].map(outgoing);
    let mut enqueue = pin!(client.publish_all(batch).enqueue());
    assert!(is_pending(&mut enqueue));
    soon(entered.recv()).await.unwrap();
    assert!(is_pending(&mut enqueue), "the store is at work");
    assert_eq!(messages(&store), 0);
    drop(release); // from here on it commits
    let receipt = soon(enqueue).await.unwrap();
    assert_eq!(messages(&store), 2);
    assert_eq!((receipt.len(), receipt.acknowledged()), (3, 0));
}

/// A batch that is dropped while it waits for the store does not keep the waker of its task there.
#[tokio::test]
async fn a_batch_that_is_dropped_is_not_woken_by_the_store() {
    struct Idle;
    impl Wake for Idle {
        fn wake(self: Arc<Self>) {}
    }
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let (gate, _, mut entered, release) = gate();
    let process = Process::start(builder(&server), gate);
    let client = process.client.clone();
    soon(client.connected()).await.unwrap();
    let idle = Arc::new(Idle);
    let waker = Waker::from(Arc::clone(&idle));
    let mut enqueue = Box::pin(client.publish_all([outgoing(QoS::AtLeastOnce)]).enqueue());
    let polled = enqueue.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    soon(entered.recv()).await.unwrap();
    drop((enqueue, waker));
    assert_eq!(Arc::strong_count(&idle), 1);
    drop(release);
}

/// `enqueue().await` gave its receipt before the message was on the disk: of 20,000 messages that
/// were accepted so, a SIGKILL lost up to 145.
#[tokio::test]
async fn accepted_means_stored() {
    let mut server = Server::start(BrokerConfig::default()).await.unwrap();
    let (gate, store, mut entered, release) = gate();
    let process = Process::start(builder(&server), gate);
    let client = process.client.clone();
    soon(client.connected()).await.unwrap();
    // Nothing is acknowledged, and deleted, in the meantime.
    server.kill(Memory::Kept).await;

    let mut enqueue = pin!(client.publish("t", "1").qos(QoS::AtLeastOnce).enqueue());
    assert!(is_pending(&mut enqueue));
    soon(entered.recv()).await.unwrap();
    assert!(is_pending(&mut enqueue), "its commit is under way");
    // What is published now waits for the next commit.
    let mut receipt = try_publish(&client, outgoing(QoS::ExactlyOnce)).unwrap();
    release.send(()).unwrap();
    let _accepted = soon(enqueue).await.unwrap();
    assert_eq!(messages(&store), 1);
    {
        let mut stored = pin!(receipt.stored());
        assert!(is_pending(&mut stored));
        soon(entered.recv()).await.unwrap();
        assert!(is_pending(&mut stored), "its commit is under way");
        release.send(()).unwrap();
        assert_eq!(soon(stored).await, Ok(()));
        assert_eq!(messages(&store), 2);
    }
    // It is known from now on.
    assert_eq!(soon(receipt.stored()).await, Ok(()));
    drop(release);
    process.kill().await;
}

/// It may take as long as it likes where nothing is stored, or where nobody would know.
#[tokio::test]
async fn what_is_not_stored_says_so() {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let (gate, _, _, release) = gate();
    let process = Process::start(builder(&server), gate);
    soon(process.client.connected()).await.unwrap();
    let mut receipt = soon(process.client.publish("t", "1").enqueue())
        .await
        .unwrap();
    assert_eq!(
        soon(receipt.stored()).await,
        Err(PublishError::NotStored),
        "QoS 0"
    );
    let client = martlet_tokio::connect(server.uri()).await.unwrap();
    let mut receipt = soon(client.publish("t", "1").qos(QoS::AtLeastOnce).enqueue())
        .await
        .unwrap();
    assert_eq!(
        soon(receipt.stored()).await,
        Err(PublishError::NotStored),
        "no store"
    );
    soon(&mut receipt).await.unwrap();
    assert_eq!(
        soon(receipt.stored()).await,
        Err(PublishError::NotStored),
        "its end was reported"
    );
    drop(release);
    process.kill().await;
}

/// A store that is slow is no reason to wait longer than asked; the message is delivered all the
/// same.
#[tokio::test]
async fn waiting_for_the_store_ends_in_time() {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let listener = martlet_tokio::connect(server.uri()).await.unwrap();
    let mut stream = listener.subscribe("t").qos(QoS::AtLeastOnce).await.unwrap();
    let (gate, _, mut entered, release) = gate();
    let process = Process::start(builder(&server), gate);
    soon(process.client.connected()).await.unwrap();
    let client = process.client.clone();
    let publish = client
        .publish("t", "1")
        .qos(QoS::AtLeastOnce)
        .timeout(Duration::from_secs(1));
    let mut enqueue = pin!(publish.enqueue());
    assert!(is_pending(&mut enqueue));
    soon(entered.recv()).await.unwrap();
    tokio::time::pause();
    assert_eq!(soon(enqueue).await.map(drop), Err(PublishError::Timeout));
    tokio::time::resume();
    release.send(()).unwrap();
    assert_eq!(soon(stream.next()).await.unwrap().text(), Some("1"));
    drop(release);
    process.kill().await;
}

#[tokio::test]
async fn a_store_that_fails_accepts_nothing() {
    for policy in [WhenStoreFails::Fail, WhenStoreFails::Hold] {
        let server = Server::start(BrokerConfig::default()).await.unwrap();
        let store = Failing::default();
        let mut process = Process::try_start(builder(&server), store.clone(), policy).unwrap();
        soon(process.client.connected()).await.unwrap();
        store.fails.store(true, Ordering::SeqCst);
        let client = process.client.clone();
        let mut enqueue = pin!(client.publish("t", "1").qos(QoS::AtLeastOnce).enqueue());
        assert!(is_pending(&mut enqueue));
        process
            .event(|event| matches!(event, ClientEvent::StoreFailed(_)).then_some(()))
            .await;
        if policy == WhenStoreFails::Fail {
            let error = soon(enqueue).await.map(drop).unwrap_err();
            assert!(matches!(error, PublishError::Store(_)), "{error}");
        } else {
            assert!(is_pending(&mut enqueue), "it is held");
            store.fails.store(false, Ordering::SeqCst);
            soon(soon(enqueue).await.unwrap()).await.unwrap();
        }
    }
}

/// A store whose first commit of a message waits until it is let go, and fails; it says when it
/// has done the next.
struct FailsOnce {
    store: MemoryStore,
    entered: Option<mpsc::UnboundedSender<()>>,
    released: Receiver<()>,
    recovered: Sender<()>,
}

impl Store for FailsOnce {
    fn load(&mut self) -> Result<Vec<(RecordKey, Bytes)>, StoreError> {
        self.store.load()
    }

    fn commit(&mut self, operations: &[StoreOp]) -> Result<(), StoreError> {
        if operations.iter().any(puts_message) {
            if let Some(entered) = self.entered.take() {
                let _ = entered.send(());
                let _ = self.released.recv();
                return Err(StoreError::new(StoreErrorKind::Io, "once"));
            }
        }
        self.store.commit(operations)?;
        if self.entered.is_none() {
            let _ = self.recovered.send(());
        }
        Ok(())
    }
}

/// A store failed once and took the same operations 50 ms later. The message had been given up in
/// the meantime, but a busy task that awaited `enqueue()` got `Ok` for it; and had the
/// process died then, the next would have sent it, although its failure was reported.
#[tokio::test]
async fn a_message_that_was_given_up_is_not_accepted_later() {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let (entered, mut is_entered) = mpsc::unbounded_channel();
    let (release, released) = channel();
    let (recovered, is_recovered) = channel();
    let memory = MemoryStore::new();
    let store = FailsOnce {
        store: memory.clone(),
        entered: Some(entered),
        released,
        recovered,
    };
    let process = Process::start(builder(&server), store);
    let client = process.client.clone();
    soon(client.connected()).await.unwrap();
    let mut enqueue = pin!(client.publish("t", "1").qos(QoS::AtLeastOnce).enqueue());
    assert!(is_pending(&mut enqueue));
    soon(is_entered.recv()).await.unwrap();
    // From here on the executor is busy.
    release.send(()).unwrap();
    is_recovered.recv().unwrap();
    let accepted = loop {
        let cx = &mut Context::from_waker(Waker::noop());
        if let std::task::Poll::Ready(accepted) = enqueue.as_mut().poll(cx) {
            break accepted;
        }
        std::thread::yield_now();
    };
    let error = accepted.map(drop).unwrap_err();
    assert!(matches!(error, PublishError::Store(_)), "{error}");
    assert_eq!(messages(&memory), 0, "nothing of it is stored");
    process.kill().await;
}

// ---- the end of the driver

/// Notes that it was woken, and tells.
struct Noted(AtomicBool, Mutex<Sender<()>>);

impl Noted {
    fn new() -> (Arc<Self>, Receiver<()>) {
        let (sender, receiver) = channel();
        (
            Arc::new(Self(AtomicBool::new(false), Mutex::new(sender))),
            receiver,
        )
    }
}

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
        let _ = self.1.lock().unwrap().send(());
    }
}

/// A driver that was dropped waits for the commit that is under way. A task that had asked in the
/// meantime for the end of the client was not woken when it was done, and waited for ever.
#[tokio::test]
async fn who_waits_for_the_end_of_the_store_is_woken_by_a_dropped_driver() {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let (gate, _, mut entered, release) = gate();
    let (client, mut driver) = builder(&server).store(gate).build(Tokio).unwrap();
    let receipt = try_publish(&client, outgoing(QoS::AtLeastOnce)).unwrap();
    // The driver hands the message to the store, and stands then.
    let mut poll_driver = || Pin::new(&mut driver).poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll_driver().is_pending());
    soon(entered.recv()).await.unwrap();

    let (first, ends) = Noted::new();
    let (second, _woken) = Noted::new();
    let (done, is_done) = channel::<()>();
    let waits = {
        let second = Arc::clone(&second);
        let (ready, is_ready) = channel();
        let thread = std::thread::spawn(move || {
            let mut disconnect = client.disconnect().at_once().into_future();
            let mut poll = |waker: &Arc<Noted>| {
                let waker = Waker::from(Arc::clone(waker));
                disconnect.as_mut().poll(&mut Context::from_waker(&waker))
            };
            assert!(poll(&first).is_pending());
            ready.send(()).unwrap();
            // The connection's end is reported; the store's is not known yet.
            ends.recv().unwrap();
            assert!(poll(&second).is_pending());
            release.send(()).unwrap();
            drop(release);
            // It goes on to wait.
            let _ = is_done.recv();
        });
        is_ready.recv().unwrap();
        thread
    };
    drop(driver);
    drop(done);
    let woken = second.0.load(Ordering::SeqCst);
    waits.join().unwrap();
    assert!(woken, "it was not woken when the store was done");
    assert!(matches!(
        soon(receipt).await,
        Err(PublishError::Kept | PublishError::Closed(_) | PublishError::OnHold(_))
    ));
}

#[expect(
    dead_code,
    reason = "says at compile time what can be moved between threads"
)]
#[expect(clippy::manual_async_fn, reason = "the bound is what is shown")]
fn enqueued_can_be_sent(client: &martlet_client::Client) -> impl Future<Output = ()> + Send + '_ {
    async {
        let receipt = client.publish("t", "1").enqueue().await;
        if let Ok(mut receipt) = receipt {
            let _ = receipt.stored().await;
        }
    }
}

/// The messages of a store can be looked at without a connection, and stay there.
#[tokio::test]
async fn what_a_store_holds_can_be_looked_at() {
    let mut server = Server::start(BrokerConfig::default()).await.unwrap();
    let store = MemoryStore::new();
    let process = Process::start(builder(&server), store.clone());
    let client = process.client.clone();
    soon(client.connected()).await.unwrap();
    server.kill(Memory::Kept).await;
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let publish = client.publish("t", qos.to_string()).qos(qos);
        soon(publish.enqueue()).await.unwrap();
    }
    process.kill().await;
    for _ in 0..2 {
        let found = builder(&server).store(store.clone()).undelivered().unwrap();
        let messages: Vec<_> = found
            .into_iter()
            .filter_map(|found| found.message)
            .collect();
        let qos: Vec<_> = messages.iter().map(|message| message.qos).collect();
        assert_eq!(qos, [QoS::AtLeastOnce, QoS::ExactlyOnce]);
        for message in messages {
            assert_eq!(message.payload, message.qos.to_string());
        }
    }
    let other = builder(&server).client_identifier("other").store(store);
    let error = other.undelivered().unwrap_err();
    assert!(matches!(error, OpenError::Restore(_)), "{error}");
}

//! A session that outlives its client: kept in a store, against the embedded broker.

use crate::scripted::{is_pending, soon, try_publish};
use bytes::Bytes;
use martlet_broker::tokio::Server;
use martlet_broker::{BrokerConfig, Memory};
use martlet_client::Reconnect;
use martlet_client::{
    Builder, Client, ClientEvent, Events, OpenError, PublishError, QoS, TopicName,
    session::OutgoingPublish,
    store::{
        MemoryStore, Quarantined, RecordKey, RestoreErrorKind, Store, StoreError, StoreErrorKind,
        StoreOp, WhenStoreFails,
    },
};
use martlet_tokio::Tokio;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

/// A client with a store, its events from the first on, and its driver, which dies when it is
/// aborted.
pub(crate) struct Process {
    pub(crate) client: Client,
    events: Events,
    driver: JoinHandle<()>,
}

impl Process {
    pub(crate) fn start(builder: Builder, store: impl Store + 'static) -> Self {
        Self::try_start(builder, store, WhenStoreFails::Fail).unwrap()
    }

    pub(crate) fn try_start(
        builder: Builder,
        store: impl Store + 'static,
        policy: WhenStoreFails,
    ) -> Result<Self, OpenError> {
        let (client, driver) = builder.store(store).when_store_fails(policy).build(Tokio)?;
        let events = client.events();
        let driver = tokio::spawn(async move { drop(driver.await) });
        Ok(Self {
            client,
            events,
            driver,
        })
    }

    /// The driver is dropped where it stands, without a DISCONNECT.
    pub(crate) async fn kill(self) {
        self.driver.abort();
        self.driver.await.unwrap_err();
    }

    pub(crate) async fn event<T>(&mut self, wanted: impl Fn(ClientEvent) -> Option<T>) -> T {
        loop {
            let event = soon(self.events.next()).await.expect("the client goes on");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    }

    /// What was found in the store.
    async fn restored(&mut self) -> (BTreeSet<u64>, Vec<Quarantined>) {
        self.event(|event| match event {
            ClientEvent::Restored {
                unacknowledged,
                quarantined,
            } => Some((
                unacknowledged
                    .into_iter()
                    .map(martlet_client::session::OperationId::get)
                    .collect(),
                quarantined,
            )),
            _ => None,
        })
        .await
    }

    /// The next message of an earlier process whose end is reported.
    async fn acknowledged(&mut self) -> u64 {
        self.event(|event| match event {
            ClientEvent::Published { operation, result } => {
                result.unwrap();
                Some(operation.get())
            }
            _ => None,
        })
        .await
    }
}

pub(crate) fn builder(server: &Server) -> Builder {
    let builder = Client::builder(server.uri()).client_identifier("durable");
    builder.reconnect(
        Reconnect::default()
            .initial(Duration::from_millis(1))
            .max(Duration::from_millis(20)),
    )
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

pub(crate) async fn survive_kills(open: impl Fn() -> Box<dyn Store>) {
    const MESSAGES: u64 = 1_000;
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let subscriber = martlet_tokio::connect(server.uri()).await.unwrap();
    let mut stream = subscriber
        .subscribe("t/#")
        .qos(QoS::ExactlyOnce)
        .await
        .unwrap();

    let mut process = Process::start(builder(&server), Boxed(open()));
    let (unacknowledged, quarantined) = process.restored().await;
    assert_eq!((unacknowledged.len(), quarantined.len()), (0, 0));
    // Many at once share a commit.
    let mut publishers = JoinSet::new();
    for n in 0..MESSAGES {
        let client = process.client.clone();
        publishers.spawn(async move {
            let qos = if n % 2 == 0 {
                QoS::AtLeastOnce
            } else {
                QoS::ExactlyOnce
            };
            let topic = ["t/0", "t/1"][n as usize % 2];
            let enqueued = client
                .publish(topic, n.to_be_bytes().to_vec())
                .qos(qos)
                .enqueue();
            drop(soon(enqueued).await.unwrap());
        });
    }
    publishers.join_all().await;
    process.kill().await;

    let mut acknowledged = BTreeSet::new();
    let mut first = None;
    for killed_after in [Some(100), Some(100), None] {
        let mut process = Process::start(builder(&server), Boxed(open()));
        let (unacknowledged, quarantined) = process.restored().await;
        assert_eq!(quarantined, []);
        first.get_or_insert_with(|| unacknowledged.clone());
        let wanted = killed_after
            .unwrap_or(unacknowledged.len())
            .min(unacknowledged.len());
        for _ in 0..wanted {
            let operation = process.acknowledged().await;
            assert!(unacknowledged.contains(&operation));
            acknowledged.insert(operation);
        }
        match killed_after {
            Some(_) => process.kill().await,
            None => {
                soon(process.client.disconnect()).await;
                soon(process.driver).await.unwrap();
            }
        }
    }
    assert!(first.unwrap().is_superset(&acknowledged));

    let mut came: BTreeMap<u64, u32> = BTreeMap::new();
    while came.len() < MESSAGES as usize {
        let message = soon(stream.next()).await.unwrap();
        *came
            .entry(u64::from_be_bytes(
                message.payload()[..].try_into().unwrap(),
            ))
            .or_default() += 1;
    }
    for (n, times) in came {
        assert!(
            times == 1 || n % 2 == 0,
            "QoS 2 message {n} came {times} times"
        );
    }
    // Nothing is left but who the session is.
    assert_eq!(open().load().unwrap().len(), 1);
}

struct Boxed(Box<dyn Store>);

impl Store for Boxed {
    fn load(&mut self) -> Result<Vec<(RecordKey, Bytes)>, StoreError> {
        self.0.load()
    }

    fn commit(&mut self, operations: &[StoreOp]) -> Result<(), StoreError> {
        self.0.commit(operations)
    }
}

#[tokio::test]
async fn what_was_accepted_survives_kills_in_memory() {
    let store = MemoryStore::new();
    survive_kills(|| Box::new(store.clone())).await;
}

/// What a QoS 2 message's acknowledgement was stored for does not come again.
#[tokio::test]
async fn what_was_received_once_is_not_delivered_again() {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let store = MemoryStore::new();
    let publisher = martlet_tokio::connect(server.uri()).await.unwrap();
    let mut process = Process::start(builder(&server), store.clone());
    let mut stream = soon(
        process
            .client
            .subscribe("t")
            .qos(QoS::ExactlyOnce)
            .into_future(),
    )
    .await
    .unwrap();
    let mut came = Vec::new();
    for n in 0..60u8 {
        soon(
            publisher
                .publish("t", vec![n])
                .qos(QoS::ExactlyOnce)
                .into_future(),
        )
        .await
        .unwrap();
        came.push(soon(stream.next()).await.unwrap().payload()[0]);
        if n % 20 == 19 {
            // Stored, and what was stored before it.
            soon(
                process
                    .client
                    .publish("x", "")
                    .qos(QoS::AtLeastOnce)
                    .into_future(),
            )
            .await
            .unwrap();
            process.kill().await;
            process = Process::start(builder(&server), store.clone());
            stream = soon(
                process
                    .client
                    .subscribe("t")
                    .qos(QoS::ExactlyOnce)
                    .into_future(),
            )
            .await
            .unwrap();
        }
    }
    assert_eq!(came, (0..60).collect::<Vec<_>>());
}

// ---- the end

/// Holds back the commit that has a deletion in it: of a message that is acknowledged.
struct Held {
    store: MemoryStore,
    /// Told when that commit is under way.
    entered: mpsc::UnboundedSender<()>,
    released: std::sync::mpsc::Receiver<()>,
}

impl Store for Held {
    fn load(&mut self) -> Result<Vec<(RecordKey, Bytes)>, StoreError> {
        self.store.load()
    }

    fn commit(&mut self, operations: &[StoreOp]) -> Result<(), StoreError> {
        if operations
            .iter()
            .any(|operation| matches!(operation, StoreOp::Delete { .. }))
        {
            let _ = self.entered.send(());
            let _ = self.released.recv();
        }
        self.store.commit(operations)
    }
}

/// A client that has published a message, whose end is about to be stored, and what lets go of it.
async fn held(server: &Server) -> (Process, MemoryStore, std::sync::mpsc::Sender<()>) {
    let (entered, mut is_entered) = mpsc::unbounded_channel();
    let (release, released) = std::sync::mpsc::channel();
    let store = MemoryStore::new();
    let process = Process::start(
        builder(server),
        Held {
            store: store.clone(),
            entered,
            released,
        },
    );
    soon(process.client.publish("t", "1").qos(QoS::AtLeastOnce))
        .await
        .unwrap();
    soon(is_entered.recv()).await.unwrap();
    (process, store, release)
}

/// `disconnect()` was ready before the store had its last operations: a program that ended then, as
/// programs do, sent a acknowledged message again when it was next started.
#[tokio::test]
async fn disconnecting_waits_for_the_store() {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let (mut process, store, release) = held(&server).await;
    let before = store.records().len();
    let client = process.client.clone();
    let mut disconnect = pin!(client.disconnect().into_future());
    assert!(is_pending(&mut disconnect));
    let is_end = |event| matches!(event, ClientEvent::Closed).then_some(());
    process.event(is_end).await;
    assert!(is_pending(&mut disconnect), "the store has not done it yet");
    release.send(()).unwrap();
    assert_eq!(soon(disconnect).await.stored, Ok(()));
    assert!(store.records().len() < before);
    soon(process.driver).await.unwrap();
}

/// A store that hangs does not hang the program.
#[tokio::test]
async fn disconnecting_does_not_wait_for_the_store_for_ever() {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let (process, _, release) = held(&server).await;
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let left = soon(process.client.disconnect()).await;
    assert_eq!(left.stored.unwrap_err().kind(), StoreErrorKind::Io);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    drop(release);
    tokio::time::resume();
    soon(process.driver).await.unwrap();
}

// ---- a store that fails

/// A store that has no room for messages while it `fails`. What else is committed may still be under
/// way when a test begins to let it fail, and must not be what fails.
#[derive(Clone, Default)]
pub(crate) struct Failing {
    store: MemoryStore,
    pub(crate) fails: Arc<AtomicBool>,
}

impl Store for Failing {
    fn load(&mut self) -> Result<Vec<(RecordKey, Bytes)>, StoreError> {
        self.store.load()
    }

    fn commit(&mut self, operations: &[StoreOp]) -> Result<(), StoreError> {
        if self.fails.load(Ordering::SeqCst) && operations.iter().any(puts_message) {
            return Err(StoreError::new(StoreErrorKind::Full, "no space left"));
        }
        self.store.commit(operations)
    }
}

/// Whether a message of ours is to be kept.
pub(crate) fn puts_message(operation: &StoreOp) -> bool {
    matches!(operation, StoreOp::Put { key, .. } if is_message(key))
}

/// Whether it is the key of a message of ours.
pub(crate) fn is_message(key: &RecordKey) -> bool {
    key.to_bytes()[0] == 2
}

#[tokio::test]
async fn a_store_that_fails_fails_messages_or_holds_them() {
    for policy in [WhenStoreFails::Fail, WhenStoreFails::Hold] {
        let server = Server::start(BrokerConfig::default()).await.unwrap();
        let store = Failing::default();
        let mut process = Process::try_start(builder(&server), store.clone(), policy).unwrap();
        let publish = || {
            process
                .client
                .publish("t", "1")
                .qos(QoS::AtLeastOnce)
                .into_future()
        };
        soon(publish()).await.unwrap();
        store.fails.store(true, Ordering::SeqCst);
        let message = OutgoingPublish::new(topic("t"), "2").qos(QoS::AtLeastOnce);
        let mut receipt = try_publish(&process.client, message).unwrap();
        if policy == WhenStoreFails::Fail {
            let error = soon(&mut receipt).await.unwrap_err();
            assert!(
                matches!(error, PublishError::Store(ref it) if it.kind() == StoreErrorKind::Full),
                "{error}"
            );
            assert!(matches!(soon(publish()).await, Err(PublishError::Store(_))));
        }
        // QoS 0 needs no store.
        soon(process.client.publish("t", "3").into_future())
            .await
            .unwrap();
        process
            .event(|event| matches!(event, ClientEvent::StoreFailed(_)).then_some(()))
            .await;
        store.fails.store(false, Ordering::SeqCst);
        process
            .event(|event| (event == ClientEvent::StoreRecovered).then_some(()))
            .await;
        if policy == WhenStoreFails::Hold {
            soon(receipt).await.unwrap();
        }
        soon(
            process
                .client
                .publish("t", "4")
                .qos(QoS::ExactlyOnce)
                .into_future(),
        )
        .await
        .unwrap();
    }
}

/// The end was reported as if all had been stored.
#[tokio::test]
async fn a_store_that_fails_at_the_end_is_told_of() {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let store = Failing::default();
    let policy = WhenStoreFails::Hold;
    let mut process = Process::try_start(builder(&server), store.clone(), policy).unwrap();
    soon(process.client.publish("t", "1").qos(QoS::AtLeastOnce))
        .await
        .unwrap();
    store.fails.store(true, Ordering::SeqCst);
    let message = OutgoingPublish::new(topic("t"), "2").qos(QoS::AtLeastOnce);
    let receipt = try_publish(&process.client, message).unwrap();
    process
        .event(|event| matches!(event, ClientEvent::StoreFailed(_)).then_some(()))
        .await;
    let left = soon(process.client.disconnect().at_once()).await;
    assert_eq!(
        (
            left.in_flight + left.queued,
            left.stored.unwrap_err().kind()
        ),
        (1, StoreErrorKind::Full)
    );
    let end = soon(receipt).await.unwrap_err();
    assert!(
        matches!(end, PublishError::Store(_)),
        "what was never stored is not kept: {end}"
    );
    // As when the driver is dropped.
    let store = Failing::default();
    let process = Process::start(builder(&server), store.clone());
    soon(process.client.publish("t", "1").qos(QoS::AtLeastOnce))
        .await
        .unwrap();
    let client = process.client.clone();
    process.kill().await;
    assert_eq!(soon(client.disconnect()).await.stored, Ok(()));
}

/// A store that had failed was not tried again: a message that it could have taken by then was
/// reported as kept, and was lost.
#[tokio::test]
async fn a_store_that_has_failed_is_tried_again_at_the_end() {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let store = Failing::default();
    let policy = WhenStoreFails::Hold;
    let mut process = Process::try_start(builder(&server), store.clone(), policy).unwrap();
    soon(process.client.connected()).await.unwrap();
    store.fails.store(true, Ordering::SeqCst);
    let message = OutgoingPublish::new(topic("t"), "1").qos(QoS::AtLeastOnce);
    let receipt = try_publish(&process.client, message).unwrap();
    process
        .event(|event| matches!(event, ClientEvent::StoreFailed(_)).then_some(()))
        .await;
    let mut disconnect = pin!(process.client.disconnect().at_once().into_future());
    assert!(is_pending(&mut disconnect));
    store.fails.store(false, Ordering::SeqCst);
    let left = soon(disconnect).await;
    assert_eq!((left.in_flight + left.queued, left.stored), (1, Ok(())));
    assert_eq!(soon(receipt).await, Err(PublishError::Kept));
    let mut process = Process::start(builder(&server), store);
    assert_eq!(process.restored().await.0.len(), 1);
}

struct Panicking;

impl Store for Panicking {
    fn load(&mut self) -> Result<Vec<(RecordKey, Bytes)>, StoreError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: &[StoreOp]) -> Result<(), StoreError> {
        panic!("on purpose");
    }
}

#[tokio::test]
async fn a_store_that_panics_is_reported() {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let mut process = Process::start(builder(&server), Panicking);
    process
        .event(|event| {
            matches!(event, ClientEvent::StoreFailed(error) if error.kind() == StoreErrorKind::Closed)
                .then_some(())
        })
        .await;
    let rejected = soon(
        process
            .client
            .publish("t", "1")
            .qos(QoS::AtLeastOnce)
            .into_future(),
    )
    .await;
    assert!(matches!(rejected, Err(PublishError::Store(_))));
    process.kill().await;
}

// ---- opening

#[tokio::test]
async fn a_store_of_another_client_is_rejected() {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let store = MemoryStore::new();
    Process::start(builder(&server), store.clone()).kill().await;
    let other = Client::builder(server.uri()).client_identifier("other");
    let Err(OpenError::Restore(error)) = other.store(store).build(Tokio) else {
        panic!("it was taken")
    };
    assert!(
        matches!(error.kind(), RestoreErrorKind::ClientIdentifier { stored, .. } if stored == "durable")
    );
}

#[tokio::test]
async fn a_generated_client_identifier_is_kept() {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let store = MemoryStore::new();
    let start = || Process::start(Client::builder(server.uri()), store.clone());
    for _ in 0..3 {
        let process = start();
        let connected = soon(process.client.connected()).await.unwrap();
        drop(connected);
        process.kill().await;
    }
    let records = store.records();
    let (key, identity) = records.first_key_value().unwrap();
    assert_eq!((records.len(), key.to_string()), (1, "identity".to_owned()));
    let name = String::from_utf8_lossy(&identity[23..identity.len() - 4]);
    assert!(name.starts_with("martlet") && name.len() == 23, "{name}");
}

#[tokio::test]
async fn a_bad_record_is_told_of() {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let mut store = MemoryStore::new();
    Process::start(builder(&server), store.clone()).kill().await;
    let key = RecordKey::from_bytes([2, 0, 0, 0, 0, 0, 0, 0, 1]);
    store
        .commit(&[StoreOp::Put {
            key,
            value: Bytes::from_static(b"torn"),
        }])
        .unwrap();
    let mut process = Process::start(builder(&server), store);
    let (unacknowledged, quarantined) = process.restored().await;
    assert!(unacknowledged.is_empty());
    assert_eq!((quarantined.len(), quarantined[0].key), (1, key));
}

/// The server forgets the session while no client runs: what was published with QoS 1 is sent anew.
#[tokio::test]
async fn a_session_that_the_server_has_lost_begins_anew() {
    let mut server = Server::start(BrokerConfig::default()).await.unwrap();
    let store = MemoryStore::new();
    let process = Process::start(builder(&server), store.clone());
    soon(process.client.connected()).await.unwrap();
    server.kill(Memory::Lost).await;
    for n in 0..10u8 {
        drop(
            soon(
                process
                    .client
                    .publish("t", vec![n])
                    .qos(QoS::AtLeastOnce)
                    .enqueue(),
            )
            .await
            .unwrap(),
        );
    }
    process.kill().await;
    server.revive().await.unwrap();
    let mut process = Process::start(builder(&server), store);
    let (unacknowledged, _) = process.restored().await;
    assert_eq!(unacknowledged.len(), 10);
    for _ in 0..10 {
        process.acknowledged().await;
    }
}

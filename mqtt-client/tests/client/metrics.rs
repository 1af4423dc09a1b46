//! The figures of a client, as the recorder of `metrics` sees them: each test has one of its own.

use crate::scripted::{builder, connected, qos1, settle, soon};
use martlet_client::client::Callback;
use martlet_client::{ClientEvent, QoS};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Keeps what was recorded: by name and labels.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<BTreeMap<String, f64>>>);

struct Handle(Kept, String);

impl Handle {
    fn set(&self, value: f64) {
        self.0.0.lock().unwrap().insert(self.1.clone(), value);
    }

    fn add(&self, value: f64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += value;
    }
}

impl CounterFn for Handle {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, value: u64) {
        let mut values = self.0.0.lock().unwrap();
        let known = values.entry(self.1.clone()).or_default();
        *known = known.max(value as f64);
    }
}

impl GaugeFn for Handle {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        self.set(value);
    }
}

impl HistogramFn for Handle {
    fn record(&self, _: f64) {
        self.add(1.0);
    }
}

impl Kept {
    fn handle(&self, key: &Key) -> Arc<Handle> {
        let labels = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()));
        let mut labels: Vec<_> = labels.collect();
        labels.sort();
        let name = format!("{} {}", key.name(), labels.join(" "));
        Arc::new(Handle(self.clone(), name))
    }

    /// The value of a metric with these labels beside those of the client.
    fn value(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let kept = self.0.lock().unwrap();
        let found = kept.iter().find(|(key, _)| {
            let mut words = key.split(' ');
            let is_named = words.next() == Some(name);
            let own: Vec<_> = words
                .filter(|label| {
                    !label.starts_with("messaging.client.id=") && *label != "messaging.system=mqtt"
                })
                .collect();
            is_named && own.len() == labels.len() && labels.iter().all(|label| own.contains(label))
        });
        found.map(|(_, value)| *value)
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.handle(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.handle(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.handle(key))
    }
}

async fn a_second() {
    tokio::time::sleep(Duration::from_millis(1001)).await;
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn figures_are_recorded_once_a_second_and_at_the_end() {
    let kept = Kept::default();
    let _guard = metrics::set_default_local_recorder(&kept);
    let (client, mut server, _network) = connected(builder().client_identifier("meter-7")).await;
    let subscribe = client.subscribe("a/+").qos(QoS::AtLeastOnce);
    let (stream, _) = tokio::join!(soon(subscribe), server.grant());
    let mut stream = stream.unwrap();
    soon(client.publish("a/b", "0")).await.unwrap();
    let publish = client.publish("a/b", "1").qos(QoS::AtLeastOnce);
    let receipt = soon(publish.enqueue()).await.unwrap();
    server.published().await;
    let id = server.published_id().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    server.puback(id).await;
    soon(receipt).await.unwrap();
    server.message("a/b", "1", qos1(1), &[]).await;
    server.message("a/b", "2", qos1(2), &[]).await;
    a_second().await;
    a_second().await;
    let by_name = |name, labels: &[&str]| kept.value(name, labels);
    let publish = "messaging.operation.name=publish";
    let receive = "messaging.operation.name=receive";
    let sent = "messaging.client.sent.messages";
    assert_eq!(by_name(sent, &[publish]), Some(2.0));
    let consumed = by_name(
        "messaging.client.consumed.messages",
        &[receive, "mqtt.qos=1"],
    );
    assert_eq!(consumed, Some(2.0));
    assert_eq!(by_name("mqtt.client.connected", &[]), Some(1.0));
    let publishes = ["mqtt.packet.type=PUBLISH", "network.io.direction=transmit"];
    assert_eq!(by_name("mqtt.client.packets", &publishes), Some(2.0));
    assert!(by_name("mqtt.client.packet.bytes", &publishes).unwrap() > 14.0);
    let waiting = ["messaging.destination.subscription.name=a/+"];
    let in_stream = "mqtt.client.stream.waiting.messages";
    assert_eq!(by_name(in_stream, &waiting), Some(2.0));
    let times = [publish, "messaging.operation.type=send"];
    let timed = by_name("messaging.client.operation.duration", &times);
    assert_eq!(timed, Some(1.0), "and not again each second");
    soon(stream.next()).await.unwrap();
    a_second().await;
    assert_eq!(by_name(in_stream, &waiting), Some(1.0));
    // A stream that is gone waits for nothing.
    drop(stream);
    a_second().await;
    a_second().await;
    assert_eq!(by_name(in_stream, &waiting), Some(0.0));
    soon(client.publish("a/b", "at the end")).await.unwrap();
    client.disconnect().at_once().await;
    drop((client, server));
    settle().await;
    assert_eq!(by_name("mqtt.client.connected", &[]), Some(0.0));
    assert_eq!(by_name(sent, &[publish]), Some(3.0));
    let kept = kept.0.lock().unwrap();
    assert!(
        kept.keys()
            .all(|key| key.contains("messaging.client.id=meter-7"))
    );
}

/// Where nothing happens, the driver is not woken for figures.
#[tokio::test(start_paused = true)]
async fn an_idle_client_records_nothing() {
    let recorder = Panicking {
        left: AtomicU32::new(u32::MAX),
        kept: Kept::default(),
    };
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (_client, _server, _network) = connected(builder().keep_alive(0)).await;
    a_second().await;
    a_second().await;
    let calls = recorder.left.load(Ordering::Relaxed);
    assert!(calls < u32::MAX);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(recorder.left.load(Ordering::Relaxed), calls);
}

/// A recorder whose `call`th call panics.
struct Panicking {
    left: AtomicU32,
    kept: Kept,
}

impl Panicking {
    fn call(&self) {
        let left = self.left.fetch_sub(1, Ordering::Relaxed);
        assert!(left != 0, "on purpose");
    }
}

impl Recorder for Panicking {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.call();
    }
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.call();
        self.kept.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.call();
        self.kept.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.call();
        self.kept.register_histogram(key, metadata)
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_panics_is_reported_and_the_client_goes_on() {
    for call in [0, 1, 12, 30] {
        let recorder = Panicking {
            left: AtomicU32::new(call),
            kept: Kept::default(),
        };
        let _guard = metrics::set_default_local_recorder(&recorder);
        let (client, _, mut network) = crate::scripted::client(builder());
        let mut events = client.events();
        let mut server = network.accept().await;
        loop {
            let event = soon(events.next()).await.unwrap();
            if let ClientEvent::HookPanicked(callback) = event {
                assert_eq!(callback, Callback::Metrics);
                break;
            }
        }
        let calls = recorder.left.load(Ordering::Relaxed);
        let publish = client.publish("a", "2").qos(QoS::AtLeastOnce);
        let receipt = soon(publish.enqueue()).await.unwrap();
        let id = server.published_id().await;
        server.puback(id).await;
        soon(receipt).await.unwrap();
        assert!(client.statistics().connections == 1, "nothing is poisoned");
        client.disconnect().at_once().await;
        drop(client);
        settle().await;
        let after = recorder.left.load(Ordering::Relaxed);
        assert_eq!(after, calls, "it is not called again");
    }
}

/// A count is added to what others have recorded under the same labels: it stood still until it had
/// passed theirs.
#[tokio::test(start_paused = true)]
async fn clients_of_one_name_count_together() {
    let kept = Kept::default();
    let _guard = metrics::set_default_local_recorder(&kept);
    for total in [1.0, 2.0] {
        let (client, server, _network) = connected(builder().client_identifier("meter-7")).await;
        soon(client.publish("a/b", "1")).await.unwrap();
        client.disconnect().at_once().await;
        drop((client, server));
        settle().await;
        let sent = "messaging.client.sent.messages";
        let publish = ["messaging.operation.name=publish"];
        assert_eq!(kept.value(sent, &publish), Some(total));
    }
}

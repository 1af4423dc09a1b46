//! The client against a real mosquitto: in each version, both ways, through everything that a
//! broker does to a client.
//!
//! They run with `--ignored`, and need a mosquitto: CI has both.

mod mosquitto;

use martlet_tokio::Reconnect;
use martlet_tokio::session::CleanStart;
use martlet_tokio::{
    Builder, Client, ClientEvent, ConnectError, ConnectionError, Driver, Message, QoS,
    Subscription, Tokio, TopicName, Version, Will,
    hooks::Observer,
    proto::{BinaryData, Packet},
    session::Instant,
};
use mosquitto::{Mosquitto, in_time};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// What `mosquitto_sub` is to print of a message: the topic, the QoS, the retain flag, the payload.
const FORMAT: [&str; 2] = ["-F", "%t %q %r %p"];

/// A builder of a client of this broker that reconnects soon.
fn builder(broker: &Mosquitto, version: Version) -> Builder {
    let builder = Client::builder(broker.uri()).version(version);
    builder.reconnect(
        Reconnect::default()
            .initial(Duration::from_millis(50))
            .max(Duration::from_millis(200)),
    )
}

/// A builder of a client whose session the broker keeps.
fn persistent(broker: &Mosquitto, version: Version, client_identifier: &str) -> Builder {
    let builder = builder(broker, version).client_identifier(client_identifier);
    builder
        .clean_start(CleanStart::Never)
        .session_expiry_interval(3600)
}

async fn connect(builder: Builder) -> Client {
    in_time("connecting", martlet_tokio::connect_with(builder))
        .await
        .expect("a connection")
}

async fn next(messages: &mut Subscription) -> Message {
    in_time("a message", messages.next())
        .await
        .expect("the stream goes on")
}

async fn disconnect(client: Client) {
    in_time("disconnecting", client.disconnect().into_future()).await;
}

#[tokio::test]
#[ignore = "needs a mosquitto: see .ci/run"]
async fn messages_cross_in_each_version_at_each_qos() {
    let broker = Mosquitto::start().await;
    for version in VERSIONS {
        let client = connect(builder(&broker, version)).await;
        assert_eq!(client.connection().expect("connected").version, version);
        for qos in QOS {
            let (topic, text) = (
                format!("{version}/{qos}").replace(' ', "-"),
                format!("grüß {version} {qos}"),
            );

            // Theirs to us.
            let mut messages = client
                .subscribe(&*topic)
                .qos(qos)
                .await
                .expect("a subscription");
            broker.publish(version, &topic, qos, &["-m", &text]).await;
            let message = next(&mut messages).await;
            assert_eq!(
                (message.topic(), message.text(), message.qos()),
                (&*topic, Some(&*text), qos)
            );
            assert!(!message.retain() && !message.duplicate());
            messages.unsubscribe().await.expect("an answer");

            // Ours to them.
            let subscriber =
                broker.subscribe(version, &topic, qos, &["-C", "1", FORMAT[0], FORMAT[1]]);
            let subscriber = subscriber.await;
            client
                .publish(&*topic, text.clone())
                .qos(qos)
                .await
                .expect("acknowledged");
            assert_eq!(
                subscriber.lines().await,
                [format!("{topic} {} 0 {text}", qos as u8)]
            );
        }
        disconnect(client).await;
    }
}

#[tokio::test]
#[ignore = "needs a mosquitto: see .ci/run"]
async fn the_versions_understand_each_other_and_properties_arrive() {
    let broker = Mosquitto::start().await;
    let new = connect(builder(&broker, Version::V5)).await;
    let old = connect(builder(&broker, Version::V3_1)).await;
    let mut at_new = new
        .subscribe("a/#")
        .qos(QoS::ExactlyOnce)
        .await
        .expect("a subscription");
    let mut at_old = old
        .subscribe("a/#")
        .qos(QoS::ExactlyOnce)
        .await
        .expect("a subscription");
    let property = ["-D", "publish", "user-property", "name", "value", "-m", "x"];
    broker
        .publish(Version::V5, "a/b", QoS::AtLeastOnce, &property)
        .await;
    let message = next(&mut at_new).await;
    assert_eq!(
        message.properties().user_properties().collect::<Vec<_>>(),
        [("name", "value")]
    );
    assert_eq!(next(&mut at_old).await.text(), Some("x"));
    old.publish("a/c", "from 3.1")
        .qos(QoS::ExactlyOnce)
        .await
        .expect("acknowledged");
    assert_eq!(next(&mut at_new).await.text(), Some("from 3.1"));
    assert_eq!(next(&mut at_old).await.topic(), "a/c");
}

/// By default the client speaks MQTT 5, learns that there are no subscribers, and gets a PINGRESP.
#[tokio::test]
#[ignore = "needs a mosquitto: see .ci/run"]
async fn the_defaults_work() {
    let broker = Mosquitto::start().await;
    let client = in_time("connecting", martlet_tokio::connect(broker.uri()))
        .await
        .expect("a connection");
    assert_eq!(client.connection().expect("connected").version, Version::V5);
    let acknowledged = client
        .publish("nobody/listens", "x")
        .qos(QoS::AtLeastOnce)
        .await
        .expect("acknowledged");
    assert_eq!(
        acknowledged.reason.to_string(),
        "no matching subscribers (0x10)"
    );
    client.ping().await.expect("an answer");
    disconnect(client).await;
}

#[tokio::test]
#[ignore = "needs a mosquitto: see .ci/run"]
async fn retained_messages_go_both_ways() {
    let broker = Mosquitto::start().await;
    for version in VERSIONS {
        let client = connect(builder(&broker, version)).await;

        broker
            .publish(
                version,
                "retained/theirs",
                QoS::AtLeastOnce,
                &["-r", "-m", "theirs"],
            )
            .await;
        let mut messages = client
            .subscribe("retained/#")
            .qos(QoS::AtLeastOnce)
            .await
            .expect("a subscription");
        let message = next(&mut messages).await;
        assert_eq!(
            (message.topic(), message.text()),
            ("retained/theirs", Some("theirs"))
        );
        assert!(message.retain(), "it was there before the subscription");

        client
            .publish("retained/ours", "ours")
            .qos(QoS::AtLeastOnce)
            .retain(true)
            .await
            .expect("acknowledged");
        assert!(
            !next(&mut messages).await.retain(),
            "it comes to a subscription that was there before it"
        );
        let arguments = ["-C", "1", FORMAT[0], FORMAT[1]];
        let subscriber = broker
            .subscribe(version, "retained/ours", QoS::AtLeastOnce, &arguments)
            .await;
        assert_eq!(subscriber.lines().await, ["retained/ours 1 1 ours"]);

        // An empty one clears.
        for topic in ["retained/ours", "retained/theirs"] {
            client
                .publish(topic, "")
                .qos(QoS::AtLeastOnce)
                .retain(true)
                .await
                .expect("acknowledged");
            assert_eq!(next(&mut messages).await.payload(), b"");
        }
        messages.unsubscribe().await.expect("an answer");
        let mut messages = client
            .subscribe("retained/#")
            .qos(QoS::AtLeastOnce)
            .await
            .expect("a subscription");
        client
            .publish("retained/last", "")
            .qos(QoS::AtLeastOnce)
            .await
            .expect("acknowledged");
        assert_eq!(
            next(&mut messages).await.topic(),
            "retained/last",
            "nothing is retained any more"
        );
        disconnect(client).await;
    }
}

fn will(topic: &str, text: &str) -> Will {
    Will {
        topic: TopicName::new(topic).expect("a topic name"),
        payload: BinaryData::new(text.to_owned()).expect("short"),
        qos: QoS::ExactlyOnce,
        retain: false,
        delay_interval: None,
        properties: Default::default(),
    }
}

#[tokio::test]
#[ignore = "needs a mosquitto: see .ci/run"]
async fn a_will_is_published_when_a_client_breaks_off_and_only_then() {
    let broker = Mosquitto::start().await;
    for version in VERSIONS {
        let witness = connect(builder(&broker, version)).await;
        let mut wills = witness
            .subscribe("will/#")
            .qos(QoS::ExactlyOnce)
            .await
            .expect("a subscription");

        // Ours, with a goodbye: nothing.
        let polite =
            connect(builder(&broker, version).will_message(will("will/polite", "never"))).await;
        disconnect(polite).await;

        // Ours, without: the driver is dropped, and the socket with it.
        let subscriber = broker
            .subscribe(
                version,
                "will/ours",
                QoS::ExactlyOnce,
                &["-C", "1", FORMAT[0], FORMAT[1]],
            )
            .await;
        let (rude, driver) = builder(&broker, version)
            .will_message(will("will/ours", "gone"))
            .build(Tokio)
            .expect("settings that work");
        let driver: JoinHandle<_> = tokio::spawn(driver);
        in_time("connecting", rude.connected())
            .await
            .expect("a connection");
        driver.abort();
        let message = next(&mut wills).await;
        assert_eq!(
            (message.topic(), message.text()),
            ("will/ours", Some("gone"))
        );
        assert_eq!(subscriber.lines().await, ["will/ours 2 0 gone"]);

        // Theirs.
        let arguments = [
            "--will-topic",
            "will/theirs",
            "--will-payload",
            "killed",
            "--will-qos",
            "1",
        ];
        let doomed = broker
            .subscribe(version, "nothing", QoS::AtMostOnce, &arguments)
            .await;
        doomed.kill().await;
        let message = next(&mut wills).await;
        assert_eq!(
            (message.topic(), message.text(), message.qos()),
            ("will/theirs", Some("killed"), QoS::AtLeastOnce)
        );
        disconnect(witness).await;
    }
}

#[tokio::test]
#[ignore = "needs a mosquitto: see .ci/run"]
async fn what_comes_while_the_client_is_away_arrives_when_it_is_back() {
    let broker = Mosquitto::start().await;
    for version in VERSIONS {
        let client = connect(persistent(&broker, version, "away")).await;
        let filters = [
            ("offline/1", QoS::AtLeastOnce),
            ("offline/2", QoS::ExactlyOnce),
        ];
        let messages = client.subscribe_all(filters).await.expect("a subscription");
        // The streams are dropped after the client has disconnected: nothing is unsubscribed.
        in_time("disconnecting", client.disconnect().into_future()).await;
        drop(messages);
        drop(client);

        for text in ["1", "2", "3"] {
            broker
                .publish(version, "offline/1", QoS::ExactlyOnce, &["-m", text])
                .await;
            broker
                .publish(version, "offline/2", QoS::ExactlyOnce, &["-m", text])
                .await;
        }

        let (client, driver) = persistent(&broker, version, "away")
            .build(Tokio)
            .expect("settings that work");
        let mut messages = client.unmatched().expect("it is not taken");
        tokio::spawn(driver);
        let connected = in_time("connecting", client.connected())
            .await
            .expect("a connection");
        assert!(connected.session_present);
        for text in ["1", "2", "3"] {
            for (topic, qos) in filters {
                let message = next(&mut messages).await;
                assert_eq!(
                    (message.topic(), message.qos(), message.text()),
                    (topic, qos, Some(text))
                );
            }
        }

        // A clean start forgets it all.
        disconnect(client).await;
        drop(messages);
        let client =
            connect(persistent(&broker, version, "away").clean_start(CleanStart::First)).await;
        assert!(!client.connection().expect("connected").session_present);
        disconnect(client).await;
    }
}

/// How many messages the broker is stopped in the middle of.
const MANY: u32 = 10_000;

/// mosquitto takes 20 QoS 2 messages at a time (`max_inflight_messages`). In MQTT 5 it says so in
/// its CONNACK; in 3.x it cannot, and cuts off who sends more.
const WINDOW: u16 = 20;

/// What the wire shows of QoS 2 on the subscriber's side.
///
/// mosquitto 2.0 now and then wakes up with a state that is older than what it has said: it sends a
/// PUBLISH again, with DUP, although it had sent the PUBREL and got the PUBCOMP, which no sender
/// may do (MQTT 5, section 4.3.3). No client can tell that from a new message. Such a message, and
/// no other, may arrive twice here.
#[derive(Default)]
struct Books {
    /// By packet identifier: the last message, and whether its PUBCOMP has left.
    last: BTreeMap<u16, (Vec<u8>, bool)>,
    sent_after_pubrel: Vec<Vec<u8>>,
}

#[derive(Clone)]
struct Bookkeeper(Arc<Mutex<Books>>);

impl Observer for Bookkeeper {
    fn packet_sent(&mut self, _: Instant, packet: &Packet) {
        if let Packet::PubComp(ack) = packet {
            let mut books = self.0.lock().expect("the books");
            if let Some((_, completed)) = books.last.get_mut(&ack.packet_identifier.get()) {
                *completed = true;
            }
        }
    }

    fn packet_received(&mut self, _: Instant, packet: &Packet) {
        let Packet::Publish(publish) = packet else {
            return;
        };
        let Some(id) = publish.delivery().packet_identifier() else {
            return;
        };
        let payload = publish.payload().to_vec();
        let mut books = self.0.lock().expect("the books");
        let before = books.last.insert(id.get(), (payload.clone(), false));
        if publish.delivery().duplicate() && before == Some((payload.clone(), true)) {
            books.sent_after_pubrel.push(payload);
        }
    }
}

/// The next message that the broker owed us.
async fn next_owed(messages: &mut Subscription, books: &Mutex<Books>) -> String {
    loop {
        let message = next(messages).await;
        let mut books = books.lock().expect("the books");
        match books
            .sent_after_pubrel
            .iter()
            .position(|payload| payload == message.payload())
        {
            Some(i) => drop(books.sent_after_pubrel.remove(i)),
            None => return message.text().expect("text").to_owned(),
        }
    }
}

/// The broker is stopped and started again while 10,000 QoS 2 messages are on their way from one
/// client through it to another. Both ends have persistent sessions and so has the broker: each
/// message arrives once, in order.
async fn each_message_arrives_once(version: Version) {
    let mut broker = Mosquitto::start().await;
    let books = Arc::new(Mutex::new(Books::default()));
    let subscriber = connect(
        persistent(&broker, version, "subscriber").observer(Bookkeeper(Arc::clone(&books))),
    )
    .await;
    let mut messages = subscriber
        .subscribe("many")
        .qos(QoS::ExactlyOnce)
        .await
        .expect("a subscription");
    let publisher = persistent(&broker, version, "publisher").max_in_flight(WINDOW);
    let publisher = connect(publisher).await;

    let publishing = tokio::spawn({
        let publisher = publisher.clone();
        async move {
            let mut receipts = Vec::new();
            for n in 0..MANY {
                let publish = publisher
                    .publish("many", n.to_string())
                    .qos(QoS::ExactlyOnce);
                receipts.push(publish.enqueue().await.expect("accepted"));
            }
            for (n, receipt) in receipts.into_iter().enumerate() {
                receipt
                    .await
                    .unwrap_or_else(|error| panic!("message {n}: {error}"));
            }
            publisher
                .publish("many", "end")
                .qos(QoS::ExactlyOnce)
                .await
                .expect("acknowledged");
        }
    });
    for expected in 0..MANY {
        if expected == MANY / 3 {
            broker.stop().await;
            broker.start_again().await;
        }
        assert_eq!(next_owed(&mut messages, &books).await, expected.to_string());
    }
    assert_eq!(next_owed(&mut messages, &books).await, "end");
    in_time("settling", publishing)
        .await
        .expect("all are acknowledged");
    assert_eq!((publisher.in_flight(), publisher.queued()), (0, 0));
    disconnect(publisher).await;
    disconnect(subscriber).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a mosquitto: see .ci/run"]
async fn a_broker_that_restarts_delivers_each_message_once_3_1() {
    each_message_arrives_once(Version::V3_1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a mosquitto: see .ci/run"]
async fn a_broker_that_restarts_delivers_each_message_once_3_1_1() {
    each_message_arrives_once(Version::V3_1_1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a mosquitto: see .ci/run"]
async fn a_broker_that_restarts_delivers_each_message_once_5() {
    each_message_arrives_once(Version::V5).await;
}

/// Tells of each PINGREQ and PINGRESP.
#[derive(Clone)]
struct Pings(mpsc::UnboundedSender<&'static str>);

impl Observer for Pings {
    fn packet_sent(&mut self, _at: Instant, packet: &Packet) {
        if matches!(packet, Packet::PingReq) {
            let _ = self.0.send("asked");
        }
    }

    fn packet_received(&mut self, _at: Instant, packet: &Packet) {
        if matches!(packet, Packet::PingResp) {
            let _ = self.0.send("answered");
        }
    }
}

/// With a keep alive of one second mosquitto disconnects a client that is silent for a second and a
/// half. An idle client is not silent; one whose broker is stopped notices, and reconnects when the
/// broker goes on.
async fn keep_alive_works(version: Version) {
    let broker = Mosquitto::start().await;
    let (sender, mut pings) = mpsc::unbounded_channel();
    let builder = persistent(&broker, version, "idle")
        .keep_alive(1)
        .observer(Pings(sender));
    let builder = builder.ping_timeout(Duration::from_millis(500));
    let (client, driver): (Client, Driver<Tokio>) =
        builder.build(Tokio).expect("settings that work");
    let mut events = client.events();
    tokio::spawn(driver);
    let mut event = async || {
        in_time("an event", events.next())
            .await
            .expect("the client goes on")
    };
    assert!(matches!(event().await, ClientEvent::Connecting(_)));
    assert!(matches!(event().await, ClientEvent::Connected(_)));
    for _ in 0..3 {
        assert_eq!(in_time("a ping", pings.recv()).await, Some("asked"));
        assert_eq!(in_time("a pong", pings.recv()).await, Some("answered"));
    }

    broker.freeze().await;
    match event().await {
        ClientEvent::Disconnected {
            reason: ConnectionError::Timeout(what),
            retry_in: Some(_),
        } => {
            assert_eq!(what, martlet_tokio::session::Awaited::PingResp);
        }
        other => panic!("{other:?}"),
    }
    broker.thaw().await;
    in_time("connecting", client.connected())
        .await
        .expect("a connection");
    disconnect(client).await;
}

#[tokio::test]
#[ignore = "needs a mosquitto: see .ci/run"]
async fn keep_alive_keeps_an_idle_connection_and_finds_a_dead_one_3_1() {
    keep_alive_works(Version::V3_1).await;
}

#[tokio::test]
#[ignore = "needs a mosquitto: see .ci/run"]
async fn keep_alive_keeps_an_idle_connection_and_finds_a_dead_one_3_1_1() {
    keep_alive_works(Version::V3_1_1).await;
}

#[tokio::test]
#[ignore = "needs a mosquitto: see .ci/run"]
async fn keep_alive_keeps_an_idle_connection_and_finds_a_dead_one_5() {
    keep_alive_works(Version::V5).await;
}

#[tokio::test]
#[ignore = "needs a mosquitto: see .ci/run"]
async fn large_payloads_arrive_as_they_were_sent() {
    let broker = Mosquitto::start().await;
    for size in [64 * 1024, 1024 * 1024] {
        // No period that a buffer's size could hide.
        let payload: Vec<u8> = (0..size as u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let file =
            std::env::temp_dir().join(format!("martlet-payload-{}-{size}", std::process::id()));
        std::fs::write(&file, &payload).expect("a temporary file");
        for version in VERSIONS {
            let client = connect(builder(&broker, version)).await;
            for qos in QOS {
                let mut messages = client
                    .subscribe("large")
                    .qos(qos)
                    .await
                    .expect("a subscription");
                let subscriber = broker
                    .subscribe(version, "large", qos, &["-C", "1", "-N"])
                    .await;
                client
                    .publish("large", payload.clone())
                    .qos(qos)
                    .await
                    .expect("acknowledged");
                assert!(
                    next(&mut messages).await.payload() == payload,
                    "{version}, {qos}: ours to us"
                );
                assert!(
                    subscriber.output().await == payload,
                    "{version}, {qos}: ours to theirs"
                );
                broker
                    .publish(
                        version,
                        "large",
                        qos,
                        &["-f", file.to_str().expect("a plain path")],
                    )
                    .await;
                assert!(
                    next(&mut messages).await.payload() == payload,
                    "{version}, {qos}: theirs to us"
                );
                messages.unsubscribe().await.expect("an answer");
            }
            disconnect(client).await;
        }
        std::fs::remove_file(file).expect("it is there");
    }
}

#[tokio::test]
#[ignore = "needs a mosquitto: see .ci/run"]
async fn a_wrong_password_is_rejected_with_its_code() {
    let broker = Mosquitto::start_with_user("user", "secret").await;
    for version in VERSIONS {
        for uri in [
            broker.uri_of("user", "wrong"),
            broker.uri_of("nobody", "secret"),
            broker.uri(),
        ] {
            let builder = Client::builder(&uri).version(version);
            match in_time("the rejection", martlet_tokio::connect_with(builder)).await {
                // mosquitto says the same whatever was wrong: 5 in 3.x, 0x87 in MQTT 5.
                Err(ConnectError::Connection(ConnectionError::Rejected(rejection))) => {
                    assert_eq!(
                        rejection.reason.to_string(),
                        "not authorized (0x87)",
                        "{version}: {uri}"
                    );
                }
                other => panic!("{version}: {uri}: {other:?}"),
            }
        }
        let builder = Client::builder(broker.uri_of("user", "secret")).version(version);
        disconnect(connect(builder).await).await;
        let builder = Client::builder(broker.uri()).version(version);
        disconnect(connect(builder.credentials("user", "secret")).await).await;
    }
}

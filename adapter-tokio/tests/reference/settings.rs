//! 70, 71 and 76, and what settings do on the wire.

use super::peer::Peer;
use super::{broker, broker_with, connect, message, next, settings, try_connect};
use martlet_broker::BrokerConfig;
use martlet_tokio::Reconnect;
use martlet_tokio::client::PublishDefaults;
use martlet_tokio::settings::WillSettings;
use martlet_tokio::{
    ClientEvent, QoS, Settings, TopicFilter, Version, client::TopicDefaults,
    proto::SubAckReasonCode,
};
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

/// Users of amqtt rely on `cleansession: false`: what comes while they are away waits for them. In
/// MQTT 5 the session ended with `disconnect()`, and the message was gone.
#[tokio::test]
async fn a_session_without_cleansession_outlives_the_client_in_every_version() {
    for version in ["3.1", "3.1.1", "5", "auto"] {
        let broker = broker().await;
        let yaml = format!(
            "connection: {{uri: '{}'}}\ncleansession: false\n\
             martlet: {{client_identifier: lasting, version: '{version}'}}",
            broker.uri()
        );
        let lasting = Settings::from_yaml(&yaml).unwrap();
        let client = connect(&lasting).await;
        let messages = client.subscribe("a").qos(QoS::AtLeastOnce).await.unwrap();
        client.disconnect().await;
        drop(messages);
        let other = connect(&settings(broker.uri())).await;
        other
            .publish("a", "meanwhile")
            .qos(QoS::AtLeastOnce)
            .await
            .unwrap();

        let client = connect(&lasting).await;
        assert!(
            client.connected().await.unwrap().session_present,
            "{version}"
        );
        let mut messages = client.unmatched().unwrap();
        assert_eq!(
            next(&mut messages).await,
            message("a", "meanwhile", 1),
            "{version}"
        );
    }
}

/// How long the session outlives the last connection of MQTT 5 is what the file says, or for ever.
#[tokio::test]
async fn the_session_expiry_of_a_file() {
    let table = [
        ("cleansession: false", 100 * 365 * 24 * 3600, true),
        (
            "cleansession: false\nmartlet: {session_expiry_interval: 60}",
            // Well before its end: real time passes too.
            30,
            true,
        ),
        (
            "cleansession: false\nmartlet: {session_expiry_interval: 60}",
            61,
            false,
        ),
        ("cleansession: true", 0, false),
    ];
    for (yaml, seconds, is_there) in table {
        let broker = broker().await;
        let mut settings = Settings::from_yaml(&yaml.replace('{', "{version: 5, ")).unwrap();
        settings.connection.uri = broker.uri().into();
        settings.martlet.version = Some(Version::V5);
        settings.martlet.client_identifier = Some("lasting".into());
        connect(&settings).await.disconnect().await;
        while broker.is_connected("lasting") {
            tokio::task::yield_now().await;
        }
        broker.advance(Duration::from_secs(seconds));
        assert_eq!(
            broker.has_session("lasting"),
            is_there,
            "{yaml}, after {seconds} s"
        );
    }
}

/// amqtt begins it with `amqtt/`, which not every server must take (3.1.1 §3.1.3.1).
#[tokio::test]
async fn t70_a_client_identifier_of_our_own() {
    let peer = Peer::start().await;
    let mut seen = HashSet::new();
    for _ in 0..3 {
        let settings = settings(peer.uri());
        let connect = tokio::select! {
            connect = async { peer.socket().await.connect().await } => connect,
            _ = try_connect(&settings) => panic!("nobody answers"),
        };
        let identifier = connect.client_identifier.as_str().to_owned();
        assert_eq!(identifier.len(), 23);
        assert!(
            identifier.chars().all(|c| c.is_ascii_alphanumeric()),
            "{identifier}"
        );
        seen.insert(identifier);
    }
    assert_eq!(seen.len(), 3, "another one each time");
}

#[tokio::test]
async fn t71_a_file_of_yaml() {
    let path = std::env::temp_dir().join(format!("martlet-reference-{}.yaml", std::process::id()));
    let yaml =
        "keep_alive: 7\ntopics:\n  a/b: {qos: 1}\nconnection:\n  uri: mqtt://broker.example\n";
    std::fs::write(&path, yaml).unwrap();
    let loaded = Settings::load(&path);
    std::fs::remove_file(&path).unwrap();
    let mut expected = Settings::amqtt();
    expected.keep_alive = 7;
    expected.connection.uri = "mqtt://broker.example".into();
    expected.topics.insert(
        "a/b".into(),
        TopicDefaults::default()
            .qos(Some(QoS::AtLeastOnce))
            .retain(None),
    );
    assert_eq!(loaded, Ok(expected));
}

#[tokio::test]
async fn t76_the_uri_and_the_will_of_the_configuration() {
    let peer = Peer::start().await;
    let yaml = format!(
        "connection: {{uri: '{}'}}\nkeep_alive: 20\ncleansession: false\n\
         will: {{topic: will/t, message: gone, qos: 2, retain: true}}\n\
         martlet: {{client_identifier: it, user_name: ann, password: secret}}",
        peer.uri()
    );
    let from_yaml = Settings::from_yaml(&yaml).unwrap();
    let mut will = WillSettings::new("will/t", "gone");
    will.qos = QoS::ExactlyOnce;
    will.retain = true;
    let mut in_code = settings(peer.uri());
    in_code.keep_alive = 20;
    in_code.cleansession = false;
    in_code.will = Some(will);
    in_code.martlet.client_identifier = Some("it".into());
    in_code.martlet.user_name = Some("ann".into());
    in_code.martlet.password = Some("secret".into());
    for settings in [from_yaml, in_code] {
        let (_client, connect) = tokio::join!(try_connect(&settings), async {
            peer.reject_with_connect().await
        });
        // What amqtt sends is less by its `ping_delay`.
        assert_eq!(connect.keep_alive, 20);
        assert!(!connect.clean_start);
        assert_eq!(connect.client_identifier.as_str(), "it");
        assert_eq!(connect.user_name.unwrap().as_str(), "ann");
        assert_eq!(connect.password.unwrap().as_bytes(), b"secret");
        let will = connect.will.unwrap();
        assert_eq!(
            (will.topic.as_str(), will.payload.as_bytes()),
            ("will/t", &b"gone"[..])
        );
        assert_eq!((will.qos, will.retain), (QoS::ExactlyOnce, true));
    }
}

/// What is said counts, also when it is no; then the topic; then what all topics have.
#[tokio::test]
async fn a_publish_uses_what_its_topic_has() {
    let peer = Peer::start().await;
    let yaml = format!(
        "connection: {{uri: '{}'}}\ndefault_qos: 1\ndefault_retain: true\n\
         topics: {{qos: {{qos: 0}}, retain: {{retain: false}}, both: {{qos: 0, retain: false}}}}",
        peer.uri()
    );
    let settings = Settings::from_yaml(&yaml).unwrap();
    let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
    let published = async |publish: martlet_tokio::client::PublishBuilder<'_>| {
        drop(publish.enqueue().await.unwrap());
    };
    published(client.publish("other", "")).await;
    published(client.publish("qos", "")).await;
    published(client.publish("retain", "")).await;
    published(client.publish("both", "")).await;
    published(client.publish("other", "").retain(false)).await;
    published(client.publish("other", "").qos(QoS::AtMostOnce)).await;
    published(
        client
            .publish("both", "")
            .qos(QoS::ExactlyOnce)
            .retain(true),
    )
    .await;
    // Another topic than those below it.
    published(client.publish("both/below", "")).await;
    for (qos, retain) in [
        (1, true),
        (0, true),
        (1, false),
        (0, false),
        (1, false),
        (0, true),
        (2, true),
        (1, true),
    ] {
        let publish = server.publish().await;
        assert_eq!(
            (publish.delivery().qos().as_u8(), publish.retain()),
            (qos, retain),
            "{publish:?}"
        );
    }
}

#[tokio::test]
async fn defaults_without_a_configuration() {
    let peer = Peer::start().await;
    let of_a = TopicDefaults::default().retain(true);
    let defaults = PublishDefaults::default()
        .qos(QoS::AtLeastOnce)
        .topics([("a".try_into().unwrap(), of_a)].into());
    let builder = settings(peer.uri())
        .builder()
        .unwrap()
        .publish_defaults(defaults);
    let (client, mut server) =
        tokio::join!(martlet_tokio::connect_with(builder), peer.accept(false));
    drop(client.unwrap().publish("a", "").enqueue().await.unwrap());
    let publish = server.publish().await;
    assert_eq!(
        (publish.delivery().qos(), publish.retain()),
        (QoS::AtLeastOnce, true)
    );
}

#[tokio::test]
async fn subscriptions_of_the_configuration() {
    let broker = broker().await;
    let yaml = format!(
        "connection: {{uri: '{}'}}\nmartlet: {{subscriptions: {{a/#: {{qos: 1}}, b: {{}}}}}}",
        broker.uri()
    );
    let (client, driver) = Settings::from_yaml(&yaml)
        .unwrap()
        .builder()
        .unwrap()
        .build(martlet_tokio::Tokio)
        .unwrap();
    let mut events = client.events();
    let mut messages = client.unmatched().unwrap();
    tokio::spawn(driver);
    let answer = loop {
        if let ClientEvent::Subscribed(answer) = events.next().await.unwrap() {
            break answer.unwrap();
        }
    };
    let filter = |filter: &str| TopicFilter::new(filter).unwrap();
    let granted = [
        (filter("a/#"), SubAckReasonCode::GrantedQos1),
        (filter("b"), SubAckReasonCode::GrantedQos0),
    ];
    assert_eq!(answer, granted);
    client
        .publish("a/b", "1")
        .qos(QoS::ExactlyOnce)
        .await
        .unwrap();
    client
        .publish("b", "2")
        .qos(QoS::ExactlyOnce)
        .await
        .unwrap();
    assert_eq!(next(&mut messages).await, message("a/b", "1", 1));
    assert_eq!(next(&mut messages).await, message("b", "2", 0));
}

#[tokio::test]
async fn how_often_is_tried() {
    let peer = Peer::start().await;
    let mut settings = settings(peer.uri());
    settings.reconnect_retries = 2;
    settings.reconnect_max_interval = Duration::from_millis(1);
    let attempts = async {
        let mut attempts = 0;
        loop {
            drop(peer.socket().await);
            attempts += 1;
            if attempts == 4 {
                return;
            }
        }
    };
    // The first, one after it, and two retries; each ends without a word.
    let (result, ()) = tokio::join!(try_connect(&settings), attempts);
    assert!(result.is_err());
}

/// What was logged with the target of packets.
struct Log(Mutex<Vec<String>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == "martlet::packets"
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            assert_eq!(record.level(), log::Level::Debug);
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Fault 23: a packet logger writes the password, too.
#[tokio::test]
async fn f23_the_packet_logger_of_the_configuration() {
    log::set_logger(&LOG).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
    let broker = broker_with(
        BrokerConfig::default()
            .with_user("ann", "kanarienvogel")
            .unwrap(),
    )
    .await;
    let yaml = format!(
        "connection: {{uri: '{}'}}\nplugins: {{amqtt.plugins.logging_amqtt.PacketLoggerPlugin: }}\n\
         martlet: {{client_identifier: it, user_name: ann, password: kanarienvogel}}",
        broker.uri()
    );
    let client = connect(&Settings::from_yaml(&yaml).unwrap()).await;
    client
        .publish("a", "kanarienvogel")
        .qos(QoS::AtLeastOnce)
        .await
        .unwrap();
    client.disconnect().await;
    // Other tests log too.
    let mut lines = LOG.0.lock().unwrap().clone();
    lines.retain(|line| line.starts_with("it "));
    for packet in [
        "-out-> CONNECT",
        "<-in-- CONNACK",
        "-out-> PUBLISH",
        "<-in-- PUBACK",
        "-out-> DISCONNECT",
    ] {
        // The client logs its packets by itself: with the plugin each of them was there twice.
        let found = lines.iter().filter(|line| line.contains(packet)).count();
        let once = usize::from(!cfg!(feature = "tracing"));
        assert_eq!(found, once, "{packet}: {lines:?}");
    }
    let event = lines.iter().find(|line| line.starts_with("it ------ "));
    assert!(event.is_some(), "{lines:?}");
    assert!(
        lines.iter().all(|line| !line.contains("kanarien")),
        "{lines:?}"
    );
}

/// The wait would be ten seconds and more.
#[tokio::test]
async fn reconnect_does_not_wait_for_its_time() {
    let peer = Peer::start().await;
    let builder = settings(peer.uri()).builder().unwrap().seed(1).reconnect(
        Reconnect::default()
            .initial(Duration::from_secs(3600))
            .max(Duration::from_secs(3600)),
    );
    let (client, server) = tokio::join!(martlet_tokio::connect_with(builder), peer.accept(false));
    let client = client.unwrap();
    let mut events = client.events();
    drop(server);
    loop {
        if let ClientEvent::Disconnected { retry_in, .. } = events.next().await.unwrap() {
            assert!(
                retry_in.unwrap() > Duration::from_secs(60),
                "this seed waits: {retry_in:?}"
            );
            break;
        }
    }
    let (connected, _server) = tokio::join!(client.reconnect(), peer.accept(false));
    connected.unwrap();
    // On a connection there is nothing to do.
    client.reconnect().await.unwrap();
}

//! `martlet probe`: a broker that has everything, brokers that lack something, and how it ends.

use crate::meddler::{Meddle, Parts, meddler};
use crate::run::{Ended, Running, at, martlet, run, status};
use martlet_broker::Direction::FromClient;
use martlet_broker::proto::{
    Packet, PacketType, PubAckReasonCode, QoS, SubAckReasonCode, TopicFilter, Utf8String, Version,
};
use martlet_broker::{BrokerConfig, BrokerLimits, Memory, Moods, TestBroker};
use martlet_tests::certificates::{Certificates, Directory};
use martlet_tests::server::{Setup, TestServer};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::num::NonZeroU16;
use std::sync::Arc;

/// What a probe has printed as JSON.
#[derive(Debug)]
pub(crate) struct Probed(Value);

impl Probed {
    pub(crate) fn of(ended: &Ended) -> Self {
        Self(serde_json::from_str(ended.text()).unwrap())
    }

    pub(crate) fn result(&self, name: &str) -> &str {
        self.text(name, "result")
    }

    /// Empty where there is none.
    pub(crate) fn text(&self, name: &str, key: &str) -> &str {
        let capability = &self.0["capabilities"][name];
        assert!(capability.is_object(), "{name}: {self:?}");
        capability[key].as_str().unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        let value = &self.0["capabilities"][name]["value"];
        value.as_u64().unwrap_or_else(|| panic!("{name}: {self:?}"))
    }

    /// The capabilities that are not `yes`.
    fn others(&self) -> Vec<(&str, &str)> {
        let capabilities = self.0["capabilities"].as_object().unwrap();
        let names = capabilities.keys().map(String::as_str);
        names
            .map(|name| (name, self.result(name)))
            .filter(|(_, result)| *result != "yes")
            .collect()
    }
}

fn probe(broker: &TestBroker, options: &str) -> Probed {
    let ended = run(&mut at(broker, &format!("probe --json {options}"))).expect(status::DONE);
    Probed::of(&ended)
}

#[track_caller]
fn assert_tidy(broker: &TestBroker) {
    // The last connections may not have ended yet; sessions that are kept would stay.
    let sessions = broker.statistics().sessions - broker.statistics().connections;
    assert_eq!(sessions, 0);
    assert_eq!(broker.statistics().retained, sys_topics());
}

/// How many retained messages a broker has by itself.
fn sys_topics() -> usize {
    let broker = TestBroker::start().unwrap();
    run(&mut at(&broker, "pub -t a -m x")).expect(status::DONE);
    broker.statistics().retained
}

#[test]
fn a_broker_that_has_everything() {
    let broker = TestBroker::start().unwrap();
    let probed = probe(&broker, "");
    assert_eq!(
        probed.others(),
        [
            ("denied-publish", "not-tried"),
            ("denied-subscribe", "not-tried"),
            ("offline-qos-0", "no"),
        ]
    );
    assert_eq!(probed.0["version"], "5");
    assert_eq!(probed.0["left_behind"].as_array().unwrap().len(), 0);
    assert_eq!(probed.number("maximum-qos"), 2);
    assert_eq!(probed.number("largest-payload"), 1024 * 1024);
    assert_eq!(probed.text("receive-maximum", "evidence"), "announced");
    assert_eq!(probed.text("wildcards", "evidence"), "observed");
    assert_eq!(probed.text("denied-publish", "evidence"), "");
    assert!(probed.text("offline-qos-0", "advice").contains("QoS 1"));
    assert_tidy(&broker);
}

#[test]
fn the_older_versions() {
    for version in ["311", "31"] {
        let broker = TestBroker::start().unwrap();
        let probed = probe(&broker, &format!("-V {version}"));
        for (name, result) in probed.others() {
            let note = probed.text(name, "note");
            match name {
                "offline-qos-0" => assert_eq!(result, "no"),
                "denied-publish" | "denied-subscribe" => assert_eq!(result, "not-tried"),
                // MQTT 3.1 has none, and says nothing of sessions.
                "empty-client-identifier" | "session-without-subscriptions" => {
                    assert_eq!(version, "31");
                }
                _ => assert!(note.contains("needs MQTT 5"), "{name}: {result}, {note}"),
            }
        }
        assert_tidy(&broker);
    }
    let broker =
        TestBroker::start_with(BrokerConfig::default().versions([Version::V3_1_1])).unwrap();
    let probed = probe(&broker, "--only mqtt-5,no-local,wildcards");
    assert_eq!(probed.0["version"], "3.1.1");
    assert_eq!(probed.result("mqtt-5"), "no");
    assert!(probed.text("mqtt-5", "advice").contains("-V 311"));
    assert_eq!(probed.result("no-local"), "not-tried");
    assert_eq!(probed.result("wildcards"), "yes");
}

#[test]
fn what_a_broker_announces_that_it_lacks() {
    let limits = BrokerLimits::default()
        .receive_maximum(NonZeroU16::new(7).unwrap())
        .maximum_qos(QoS::AtLeastOnce)
        .retain_available(false)
        .maximum_packet_size(4096)
        .topic_alias_maximum(0)
        .wildcard_subscription_available(false)
        .subscription_identifier_available(false)
        .shared_subscription_available(false)
        .server_keep_alive(30)
        .maximum_session_expiry(60);
    let broker = TestBroker::start_with(BrokerConfig::default().limits(limits)).unwrap();
    let probed = probe(&broker, "");
    for (name, value) in [
        ("receive-maximum", 7),
        ("maximum-packet-size", 4096),
        ("topic-alias-maximum", 0),
        ("server-keep-alive", 30),
        ("session-expiry", 60),
        ("maximum-qos", 1),
    ] {
        assert_eq!(probed.number(name), value, "{name}");
    }
    for name in [
        "topic-aliases",
        "retained-messages",
        "retain-handling",
        "wildcards",
        "shared-subscriptions",
        "subscription-identifiers",
    ] {
        assert_eq!(probed.result(name), "no", "{name}");
        assert_eq!(probed.text(name, "evidence"), "announced", "{name}");
    }
    assert_eq!(probed.result("maximum-qos"), "limited");
    assert!(probed.text("maximum-qos", "advice").contains("-q 1"));
    assert_eq!(probed.result("qos-2-publish"), "not-tried");
    let size = probed.number("largest-payload");
    assert!((3900..4096).contains(&size), "{size}");
    assert_tidy(&broker);
}

#[test]
fn a_capability_that_is_required() {
    let limits = BrokerLimits::default().shared_subscription_available(false);
    let broker = TestBroker::start_with(BrokerConfig::default().limits(limits)).unwrap();
    let only = "--only shared-subscriptions,no-local,offline-qos-0";
    let required = "--require offline-qos-0,no-local --require shared-subscriptions,mqtt-5";
    let command = format!("probe --json {only} {required}");
    let ended = run(&mut at(&broker, &command)).expect(status::MISSING);
    let ended = ended.says("required and missing: offline-qos-0, shared-subscriptions");
    let probed = Probed::of(&ended);
    let names = |key: &str| probed.0[key].to_string();
    assert_eq!(
        names("missing"),
        r#"["offline-qos-0","shared-subscriptions"]"#
    );
    assert_eq!(
        names("required"),
        r#"["offline-qos-0","no-local","shared-subscriptions","mqtt-5"]"#
    );
    run(&mut at(
        &broker,
        "probe --only no-local --require no-local,mqtt-5",
    ))
    .expect(status::DONE);
}

#[test]
fn the_table_is_for_people() {
    let broker = TestBroker::start().unwrap();
    let command = "probe --only no-local,offline-qos-0,receive-maximum";
    let ended = run(&mut at(&broker, command)).expect(status::DONE);
    let text = ended.text();
    assert!(!text.contains('\x1b'), "{text}");
    for line in [
        "Connecting",
        "  mqtt-5                         yes",
        "  receive-maximum                yes        65535       announced: none in CONNACK, which stands for this",
        "  offline-qos-0                  no                     dropped",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(
        text.contains("\n                                 -> publish at QoS 1"),
        "{text}"
    );
    assert!(text.ends_with(" not tried\n"), "{text}");
}

/// What a client may not do is no fact about the broker.
#[test]
fn what_is_denied_is_not_tried() {
    let broker = TestBroker::start().unwrap();
    let at = |meddle: Meddle, options: &str| {
        let port = meddler(broker.local_addr(), &meddle);
        let options = format!("probe --json -h 127.0.0.1 -p {port} {options}");
        run(&mut martlet(options.split(' ')))
    };
    // No topic of the probe.
    let subscriptions: Meddle = Arc::new(|_, mut packet| {
        if let Packet::SubAck(answer) = &mut packet {
            answer.reasons.fill(SubAckReasonCode::NotAuthorized);
        }
        vec![packet]
    });
    let ended = at(subscriptions, "--topic-prefix mine").expect(status::SUBSCRIBE);
    let ended = ended.says("cannot use mine/#: the server rejects a subscription: not authorized");
    assert!(ended.errors.contains("--topic-prefix"), "{ended:?}");
    let probed = Probed::of(&ended);
    assert_eq!(probed.result("mqtt-5"), "yes");
    assert_eq!(probed.result("largest-payload"), "not-tried");
    // Messages that vanish, as in 3.1.1.
    let messages: Meddle = Arc::new(|_, packet| match packet {
        Packet::Publish(_) => Vec::new(),
        packet => vec![packet],
    });
    let ended = at(messages, "-V 311 --answer-timeout 1").expect(status::SUBSCRIBE);
    ended.says("cannot use martlet-probe/#: no message in time");
    // Some topics.
    let some: Meddle = Arc::new(|direction, mut packet| {
        match &mut packet {
            Packet::PubAck(answer) => answer.reason = PubAckReasonCode::NotAuthorized,
            Packet::Publish(publish) if direction == FromClient => {
                let mut parts = Parts::of(publish);
                parts.retain = false;
                return vec![parts.packet(Version::V5)];
            }
            _ => {}
        }
        vec![packet]
    });
    let names = "retained-messages,largest-payload,topic-aliases,will-not-on-disconnect";
    let ended = at(some, &format!("--only {names}")).expect(status::DONE);
    assert!(!ended.errors.contains("could not be removed"), "{ended:?}");
    let probed = Probed::of(&ended);
    for name in ["retained-messages", "largest-payload", "topic-aliases"] {
        assert_eq!(probed.result(name), "not-tried", "{probed:?}");
        let note = probed.text(name, "note");
        assert!(note.contains("not authorized"), "{note}");
    }
    // Without a will nothing is known of a will that does not come.
    let wills: Meddle = Arc::new(|_, mut packet| {
        if let Packet::Connect(connect) = &mut packet {
            connect.will = None;
        }
        vec![packet]
    });
    let ended = at(wills, "--only will-not-on-disconnect").expect(status::DONE);
    let probed = Probed::of(&ended);
    assert_eq!(probed.result("will-on-cut"), "no");
    assert_eq!(probed.result("will-not-on-disconnect"), "not-tried");
}

/// What the broker of the tests does wrong when it is asked to.
#[test]
fn moods_of_a_broker() {
    let filter = |text: &str| TopicFilter::new(text).unwrap();
    let cases = [
        (
            Moods::new().hang_up_on_filters(8),
            "nine-filters",
            "no",
            "max_filters_per_packet(8)",
        ),
        (
            Moods::new().hang_up_on_filters(50),
            "hundred-filters",
            "no",
            "max_filters_per_packet",
        ),
        (
            Moods::new().overshoot(2),
            "receive-maximum-obeyed",
            "no",
            "ReceiveMaximumExceeded",
        ),
        (
            Moods::new().acknowledge_in_the_wrong_flow(),
            "maximum-qos",
            "limited",
            "-q 1",
        ),
        (
            Moods::new().hang_up_on_subscribe(filter("secret")),
            "denied-subscribe",
            "limited",
            "an error for the filter",
        ),
        (
            Moods::new().hang_up_on_publish(filter("secret")),
            "denied-publish",
            "limited",
            "an error for the message",
        ),
    ];
    for (moods, name, result, advice) in cases {
        let broker = TestBroker::start_with(BrokerConfig::default().moods(moods)).unwrap();
        let options = format!("--denied-topic secret --only {name}");
        let probed = probe(&broker, &options);
        assert_eq!(probed.result(name), result, "{probed:?}");
        assert!(probed.text(name, "advice").contains(advice), "{probed:?}");
    }
    // A broker that counts wrong: nothing that subscribes can be tried.
    let moods = Moods::new().miscount_codes();
    let broker = TestBroker::start_with(BrokerConfig::default().moods(moods)).unwrap();
    let probed = probe(&broker, "--only no-local,wildcards");
    assert!(
        probed
            .text("no-local", "note")
            .contains("SUBACK has 2 codes for 1")
    );
    assert_tidy(&broker);
}

/// 3.1.1 has no field for it: the broker closes the connection.
#[test]
fn the_largest_payload_is_measured() {
    let limits = BrokerLimits::default().maximum_packet_size(10_000);
    let broker = TestBroker::start_with(BrokerConfig::default().limits(limits)).unwrap();
    let probed = probe(
        &broker,
        "-V 311 --only largest-payload --max-payload 1000000",
    );
    assert_eq!(probed.result("largest-payload"), "limited");
    let size = probed.number("largest-payload");
    assert!((9_800..10_000).contains(&size), "{size}");
}

/// What a server says is shown, and a terminal does nothing else with it.
#[test]
fn untrusted_text_is_escaped() {
    let broker = TestBroker::start().unwrap();
    let meddle: Meddle = Arc::new(|_, packet| match packet {
        Packet::ConnAck(mut answer) => {
            let name = &mut answer.properties.assigned_client_identifier;
            *name = name
                .is_some()
                .then(|| Utf8String::new("a\u{9b}2J\u{202e}b").unwrap());
            vec![Packet::ConnAck(answer)]
        }
        packet => vec![packet],
    });
    let port = meddler(broker.local_addr(), &meddle);
    let options = format!("probe -h 127.0.0.1 -p {port} --only empty-client-identifier");
    let ended = run(&mut martlet(options.split(' '))).expect(status::DONE);
    assert!(ended.text().contains("a\\u{9b}2J\\u{202e}b"), "{ended:?}");
}

#[test]
fn a_signal_leaves_nothing_behind() {
    let broker = TestBroker::start().unwrap();
    let mut running = Running::start(&mut at(&broker, "probe --json"));
    // By then sessions are kept, and messages are retained.
    let retained = broker.wait_for_message("martlet-probe/+/handling");
    retained.blocking().unwrap();
    assert!(broker.statistics().retained > sys_topics());
    running.signal("-INT");
    let ended = running.end().expect(status::INTERRUPTED);
    let probed = Probed::of(&ended);
    assert_eq!(probed.result("retained-messages"), "yes");
    assert!(
        probed
            .text("will-delay", "note")
            .contains("stopped before this check")
    );
    assert_tidy(&broker);
}

/// A probe with the identifier of a client that runs, or with its configuration, leaves it alone.
#[test]
fn a_client_of_the_same_identifier_is_left_alone() {
    let broker = TestBroker::start().unwrap();
    let client = Running::start(&mut at(&broker, "sub -i me -t a -c"));
    broker.wait_for_subscription("a").blocking().unwrap();
    let folder = Directory::new();
    let config = folder.write(
        "client.yaml",
        "{cleansession: false, martlet: {client_identifier: me, store: /nonexistent/store}}",
    );
    let config = format!("--config {} --only session-kept", config.display());
    for options in ["-i me --only session-takeover", &config] {
        assert_eq!(
            probe(&broker, options).0["left_behind"]
                .as_array()
                .unwrap()
                .len(),
            0
        );
    }
    let transcript = broker.transcript();
    let connections = transcript
        .iter()
        .filter(|conversation| conversation.client_identifier() == "me");
    assert_eq!(connections.count(), 1);
    assert!(broker.is_connected("me"));
    drop(client);
}

#[test]
fn a_probe_that_times_out() {
    let broker = TestBroker::start().unwrap();
    let ended = run(&mut at(&broker, "probe --json -W 2")).expect(status::TIMED_OUT);
    let ended = ended.says("-W");
    assert_eq!(Probed::of(&ended).result("will-delay"), "not-tried");
    assert_tidy(&broker);
}

#[test]
fn a_broker_that_vanishes() {
    let broker = TestBroker::start().unwrap();
    let running = Running::start(&mut at(&broker, "probe --json --require will-delay"));
    // The second one: the first is of the round before the checks.
    let subscribed = broker.wait_for_packets(FromClient, PacketType::Subscribe, 2);
    subscribed.blocking().unwrap();
    broker.refuse_connections();
    broker.restart(Memory::Kept);
    let ended = running.end().expect(status::LOST);
    let last = ended.errors.lines().last().unwrap();
    assert!(last.contains("does not answer any more"), "{ended:?}");
    let probed = Probed::of(&ended);
    assert_eq!(probed.result("mqtt-5"), "yes");
    assert!(!probed.0["left_behind"].as_array().unwrap().is_empty());
    assert!(ended.errors.contains("could not be removed"), "{ended:?}");
}

/// A server that answers every CONNECT, and then does this.
fn after_connecting(then: fn(std::net::TcpStream)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                let length = stream.read(&mut bytes).unwrap_or(0);
                let is_5 = length > 8 && bytes[8] == 5;
                let answer: &[u8] = if is_5 {
                    b"\x20\x03\0\0\0"
                } else {
                    b"\x20\x02\0\0"
                };
                if stream.write_all(answer).is_ok() {
                    then(stream);
                }
            });
        }
    });
    port
}

#[test]
fn servers_that_hang_and_flood() {
    let hangs = |mut stream: std::net::TcpStream| {
        let mut bytes = [0; 4096];
        while matches!(stream.read(&mut bytes), Ok(1..)) {}
    };
    let floods = |mut stream: std::net::TcpStream| {
        let flood = b"\x30\x05\0\x01a\0x".repeat(10_000);
        while stream.write_all(&flood).is_ok() {}
    };
    for (then, note) in [
        (hangs as fn(std::net::TcpStream), "no PINGRESP in time"),
        (floods, "has sent more than"),
    ] {
        let port = after_connecting(then);
        let options =
            format!("probe --json -h 127.0.0.1 -p {port} --answer-timeout 1 --max-payload 1000");
        let ended = run(&mut martlet(options.split(' '))).expect(status::LOST);
        let last = ended.errors.lines().last().unwrap();
        assert!(last.contains("spoke no version"), "{ended:?}");
        let probed = Probed::of(&ended);
        let found = probed.text("mqtt-5", "note");
        assert!(
            found.contains(note) || found.contains("reading"),
            "{note}: {found}"
        );
    }
}

#[test]
fn there_is_no_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let options = format!("probe -h 127.0.0.1 -p {port}");
    let ended = run(&mut martlet(options.split(' '))).expect(status::CONNECTION);
    assert_eq!(ended.text(), "");
    ended.says("is a server running");
}

#[test]
fn what_cannot_be_probed_is_a_usage_error() {
    for (options, parts) in [
        ("--require no-locl", &["--require", "no-local"][..]),
        ("--only mqtt5", &["--only", "mqtt-5"]),
        (
            "--only mqtt-5 --require no-local",
            &["--require", "no-local", "--only"],
        ),
        ("--topic-prefix a/#", &["--topic-prefix"]),
        ("--topic-prefix a\u{1}", &["--topic-prefix", "control"]),
        ("--denied-topic +", &["--denied-topic"]),
        ("--answer-timeout 0", &["--answer-timeout"]),
        ("-c -i me", &["-c "]),
        ("--store file", &["--store"]),
        ("-D connect user-property a b", &["-D"]),
        ("--will-topic a", &["--will-topic"]),
        ("--max-payload 300000000", &["--max-payload"]),
    ] {
        let command = format!("probe -h 127.0.0.1 -p 1 {options}");
        let ended = run(&mut martlet(command.split(' '))).expect(status::USAGE);
        for part in parts {
            assert!(ended.errors.contains(part), "{part}: {ended:?}");
        }
    }
}

/// Cuts and raw packets go through TLS and WebSocket, too.
#[tokio::test]
async fn over_tls_and_websocket() {
    let certificates = Certificates::shared();
    let folder = Directory::new();
    let authority = folder.write("ca.pem", &certificates.authority.pem);
    for setup in [
        Setup::tls(),
        Setup::tcp().websocket(),
        Setup::tls().websocket(),
    ] {
        let server = TestServer::start(setup).await;
        let uri = server.uri_by_name();
        let mut command = martlet(["probe", "--json", "-L", &uri]);
        command.args(["--only", "qos-2-publish,largest-payload,will-on-cut"]);
        if uri.starts_with("mqtts") || uri.starts_with("wss") {
            command.arg("--cafile").arg(&authority);
        }
        let ended = tokio::task::spawn_blocking(move || run(&mut command)).await;
        let probed = Probed::of(&ended.unwrap().expect(status::DONE));
        assert_eq!(probed.others(), [], "{uri}");
    }
}

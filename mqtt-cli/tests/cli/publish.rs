//! `martlet pub`: where payloads come from, and what the server gets.

use crate::run::{Running, at, martlet, run, run_with, status};
use martlet_broker::proto::{Packet, Publish, QoS, Utf8String};
use martlet_broker::{BrokerConfig, BrokerLimits, Memory, ScriptedAuthentication, TestBroker};
use martlet_tests::certificates::Directory;
use std::io::Write;
use std::process::Stdio;

fn payloads(messages: &[Publish]) -> Vec<Vec<u8>> {
    messages
        .iter()
        .map(|message| message.payload().to_vec())
        .collect()
}

#[test]
fn a_payload_comes_from_each_of_its_places() {
    let broker = TestBroker::start().unwrap();
    let folder = Directory::new();
    let one = folder.write("one", b"\x00one\n");
    let two = folder.write("two", b"two\xff");
    run(&mut at(&broker, "pub -t a -m text")).expect(status::DONE);
    run(&mut at(&broker, "pub -t a -m -5 -q 1")).expect(status::DONE);
    run(&mut at(&broker, "pub -t a -n -q 2")).expect(status::DONE);
    run(at(&broker, "pub -t a -q 1 -f")
        .arg(&one)
        .arg("-f")
        .arg(&two))
    .expect(status::DONE);
    run_with(&mut at(&broker, "pub -t a -s"), b"all\n\0of it\n").expect(status::DONE);
    run_with(&mut at(&broker, "pub -t a -q 1 -l"), b"x\n\ny\0z\nlast").expect(status::DONE);
    run_with(&mut at(&broker, "pub -t a -q 1 -l -0"), b"p\nq\0r\0").expect(status::DONE);
    let expected: [&[u8]; 12] = [
        b"text",
        b"-5",
        b"",
        b"\x00one\n",
        b"two\xff",
        b"all\n\0of it\n",
        b"x",
        b"",
        b"y\0z",
        b"last",
        b"p\nq",
        b"r",
    ];
    assert_eq!(payloads(&broker.messages()), expected);
}

#[test]
fn every_topic_gets_every_message_with_its_qos() {
    let broker = TestBroker::start().unwrap();
    let command =
        "pub -t a --topic-qos b 1 --topic-qos c 2 -q 0 -r -m x --repeat 2 --repeat-delay 0.001";
    run(&mut at(&broker, command)).expect(status::DONE);
    let messages = broker.messages();
    let found: Vec<_> = messages
        .iter()
        .map(|m| (m.topic(), m.delivery().qos(), m.retain()))
        .collect();
    let once = [
        ("a", QoS::AtMostOnce, true),
        ("b", QoS::AtLeastOnce, true),
        ("c", QoS::ExactlyOnce, true),
    ];
    for (topic, ..) in once {
        assert_eq!(
            found.iter().filter(|(found, ..)| *found == topic).count(),
            2
        );
    }
    assert!(found.iter().all(|found| once.contains(found)), "{found:?}");
}

#[test]
fn connect_says_what_the_options_say() {
    let broker = TestBroker::start().unwrap();
    let mut command = at(
        &broker,
        "pub -t a -m x -i me -k 33 -u user -P secret -x 60 --will-topic w --will-payload gone --will-qos 1 --will-retain \
         -D will will-delay-interval 5 -D connect receive-maximum 7 -D publish content-type text -D publish topic-alias 1 \
         -D connect user-property k v -D publish user-property a b -D disconnect user-property bye now",
    );
    run(&mut command).expect(status::DONE);
    let conversation = &broker.transcript()[0];
    let packets: Vec<_> = conversation.received().collect();
    let Packet::Connect(connect) = packets[0] else {
        panic!("{packets:?}")
    };
    assert_eq!(
        (connect.client_identifier.as_str(), connect.keep_alive),
        ("me", 33)
    );
    assert_eq!(connect.user_name.as_ref().unwrap().as_str(), "user");
    assert_eq!(connect.password.as_ref().unwrap().as_bytes(), b"secret");
    assert_eq!(connect.properties.session_expiry_interval, Some(60));
    assert_eq!(connect.properties.user_properties.get("k"), Some("v"));
    let will = connect.will.as_ref().unwrap();
    assert_eq!(
        (will.topic.as_str(), will.payload.as_bytes()),
        ("w", &b"gone"[..])
    );
    assert_eq!(
        (will.qos, will.retain, will.delay_interval),
        (QoS::AtLeastOnce, true, Some(5))
    );
    let Packet::Publish(publish) = packets[1] else {
        panic!("{packets:?}")
    };
    assert_eq!(publish.properties().content_type(), Some("text"));
    assert_eq!(
        publish.properties().user_properties().collect::<Vec<_>>(),
        [("a", "b")]
    );
    let Some(Packet::Disconnect(disconnect)) = packets.last() else {
        panic!("{packets:?}")
    };
    assert_eq!(disconnect.user_properties.get("bye"), Some("now"));
}

/// `-rD` and what follows it have become `-D` alone: the message was published and not retained, with
/// status 0.
#[test]
fn an_option_that_is_joined_to_a_property_counts() {
    let broker = TestBroker::start().unwrap();
    let command = "pub -t a -m x -q 1 -rD publish content-type text";
    run(&mut at(&broker, command)).expect(status::DONE);
    let messages = broker.messages();
    assert!(messages[0].retain());
    assert_eq!(messages[0].properties().content_type(), Some("text"));
}

/// An option that lacks its value took what the command line begins with for it: `-r` became the
/// payload of the will, and the message was not retained.
#[test]
fn an_option_of_a_file_takes_nothing_of_the_command_line() {
    let broker = TestBroker::start().unwrap();
    let folder = Directory::new();
    folder.write("martlet_pub", "-q 1\n--will-topic w\n--will-payload\n");
    let port = broker.local_addr().port().to_string();
    let mut command = martlet(["pub", "-r", "-h", "127.0.0.1", "-p", &port]);
    command.args(["-t", "a", "-m", "x"]);
    let ended = run(command.env("XDG_CONFIG_HOME", folder.path()));
    ended
        .expect(status::USAGE)
        .says("line 3: --will-payload needs a value");
    assert_eq!(broker.messages().len(), 0);
}

/// The CONNECT has all that the server needs, or the command says what is missing.
#[test]
fn enhanced_authentication_has_one_step() {
    let method = Utf8String::try_from("TOKEN").unwrap();
    let script = ScriptedAuthentication::default().method(method);
    let config = BrokerConfig::default().authentication(script.clone());
    let broker = TestBroker::start_with(config).unwrap();
    let command = "pub -t a -m x -q 1 -D connect authentication-method TOKEN \
                   -D connect authentication-data secret";
    let ended = run(&mut at(&broker, &format!("{command} -d"))).expect(status::DONE);
    assert!(!ended.errors.contains("secret"), "{ended:?}");
    let conversation = &broker.transcript()[0];
    let Some(Packet::Connect(connect)) = conversation.received().next() else {
        panic!("{conversation:?}")
    };
    let found = &connect.properties;
    let data = found.authentication_data.as_ref().unwrap();
    assert_eq!(data.as_bytes(), b"secret");
    let other = command.replace("TOKEN", "OTHER");
    run(&mut at(&broker, &other))
        .expect(status::REJECTED)
        .says("bad authentication method");

    let steps = [("who?".into(), "me".into())];
    broker.configure(BrokerConfig::default().authentication(script.steps(steps)));
    run(&mut at(&broker, command))
        .expect(status::REJECTED)
        .says("another step of the authentication method TOKEN");
}

#[test]
fn secrets_come_from_the_environment_or_a_file() {
    let config = BrokerConfig::default().with_user("me", "s p").unwrap();
    let broker = TestBroker::start_with(config).unwrap();
    let folder = Directory::new();
    let file = folder.write("password", "s p\n");
    run(at(&broker, "pub -t a -m 1 -u me --password-env SECRET").env("SECRET", "s p"))
        .expect(status::DONE);
    run(at(&broker, "pub -t a -m 2 -u me --password-file").arg(&file)).expect(status::DONE);
    run(at(&broker, "pub -t a -m 3 -u me -P").arg("s p")).expect(status::DONE);
    let url = format!("mqtt://me:s%20p@127.0.0.1:{}/a", broker.local_addr().port());
    run(&mut martlet(["pub", "-m", "4", "-L", &url])).expect(status::DONE);
    let wrong = url.replace("s%20p", "wrong");
    run(martlet(["pub", "-m", "5", "-L", &wrong, "-P", "s p"]).arg("-d")).expect(status::DONE);
    let ended = run(&mut martlet(["pub", "-m", "6", "-d", "-L", &wrong])).expect(status::REJECTED);
    assert!(!ended.errors.contains("wrong"), "{ended:?}");
    assert_eq!(broker.messages().len(), 5);
}

#[test]
fn options_come_from_files_and_the_command_line_has_precedence() {
    let broker = TestBroker::start().unwrap();
    let folder = Directory::new();
    let port = broker.local_addr().port();
    folder.write(
        "martlet_pub",
        format!("# a comment\n-h 127.0.0.1\r\n-p {port}\n-t from file\n-q 1\n\n-m text of the file\n-D publish user-property a b c\n"),
    );
    let in_folder = |arguments: &[&str]| {
        let mut command = martlet(arguments);
        run(command.env("XDG_CONFIG_HOME", folder.path()))
    };
    in_folder(&["pub"]).expect(status::DONE);
    in_folder(&["pub", "-q", "2", "-n", "-t", "x"]).expect(status::DONE);
    let messages = broker.messages();
    let found: Vec<_> = messages
        .iter()
        .map(|m| (m.topic(), m.payload(), m.delivery().qos()))
        .collect();
    let first: (&str, &[u8], QoS) = ("from file", b"text of the file", QoS::AtLeastOnce);
    assert_eq!(
        found,
        [
            first,
            ("from file", b"", QoS::ExactlyOnce),
            ("x", b"", QoS::ExactlyOnce)
        ]
    );
    assert_eq!(
        messages[0]
            .properties()
            .user_properties()
            .collect::<Vec<_>>(),
        [("a", "b c")]
    );
    in_folder(&["pub", "--no-options-file", "-n"])
        .expect(status::USAGE)
        .says("--topic");
    let other = folder.write("other", "nonsense\n");
    let ended = in_folder(&["pub", "--options-file", other.to_str().unwrap()]);
    ended
        .expect(status::USAGE)
        .says("line 1: expected an option");
    let named = format!("--options-file={}", other.display());
    in_folder(&["pub", &named])
        .expect(status::USAGE)
        .says("line 1: expected an option");
    // A pipe does not say how large it is.
    let comment = b"# a comment\n".repeat(100_000);
    let mut piped = martlet(["pub", "--options-file", "/dev/stdin"]);
    run_with(piped.args(["-t", "a", "-m", "x"]), &comment)
        .expect(status::USAGE)
        .says("larger than");

    let config = folder.write(
        "client.yaml",
        format!("connection: {{uri: 'mqtt://127.0.0.1:{port}'}}\ntopics: {{y: {{qos: 2, retain: true}}}}\nmartlet: {{version: 5, client_identifier: of-file}}\n"),
    );
    let config = config.to_str().unwrap();
    run(&mut martlet([
        "pub", "--config", config, "-t", "y", "-m", "z",
    ]))
    .expect(status::DONE);
    let message = broker.wait_for_message("y").blocking().unwrap();
    assert_eq!(
        (message.delivery().qos(), message.retain()),
        (QoS::ExactlyOnce, true)
    );
    assert_eq!(
        broker.transcript().last().unwrap().client_identifier(),
        "of-file"
    );
}

/// mosquitto_pub does not send it, and exits with 0.
#[test]
fn an_oversized_message_is_an_error() {
    let limits = BrokerLimits::default().maximum_packet_size(1_000);
    let broker = TestBroker::start_with(BrokerConfig::default().limits(limits)).unwrap();
    let large = [b'x'; 2_000];
    for (qos, version) in [("0", "5"), ("1", "5"), ("2", "5")] {
        let command = format!("pub -t a -s -q {qos} -V {version}");
        let ended = run_with(&mut at(&broker, &command), &large).expect(status::PUBLISH);
        ended.says("the limit is 1000");
    }
    // In 3.1.1 the server cannot announce it, and hangs up.
    let ended = run_with(&mut at(&broker, "pub -t a -s -q 0 -V 311"), &large);
    let ended = ended.expect(status::PUBLISH);
    assert!(
        ended.errors.lines().last().unwrap().contains("-q 1"),
        "{ended:?}"
    );
    let lines = [&b"first\n"[..], &large, b"\nlast\n"].concat();
    let ended = run_with(&mut at(&broker, "pub -t b -l -q 1"), &lines).expect(status::PARTIAL);
    assert!(ended.errors.contains("1 of 3 messages"), "{ended:?}");
    assert_eq!(payloads(&broker.messages()), [&b"first"[..], b"last"]);
}

#[test]
fn what_was_stored_is_sent_by_the_next_command() {
    let broker = TestBroker::start().unwrap();
    let folder = Directory::new();
    let store = folder.path().join("store.redb");
    let command = |payload: &str| {
        let mut command = at(&broker, "pub -t a -q 1 -i keeper --retries 0 -m");
        command.arg(payload).arg("--store").arg(&store);
        command
    };
    broker.inject(martlet_broker::Fault::hang_up_instead_of(
        martlet_broker::proto::PacketType::PubAck,
    ));
    run(&mut command("one")).expect(status::PUBLISH);
    broker.restart(Memory::Lost);
    broker.clear_faults();
    run(&mut command("two")).expect(status::DONE);
    let messages = payloads(&broker.messages());
    assert!(
        messages.ends_with(&[b"one".to_vec(), b"two".to_vec()]),
        "{messages:?}"
    );
}

/// There was no server: the message was not even stored, although the option promises that.
#[test]
fn what_was_stored_without_a_server_is_sent_by_the_next_command() {
    let folder = Directory::new();
    let store = folder.path().join("store.redb");
    let (listener, port) = crate::peer::listen();
    drop(listener);
    let without = |arguments: &str| {
        let mut command = crate::run::at_port(port, arguments);
        command.arg("--store").arg(&store);
        command
    };
    let ended = run(&mut without("pub -t a -i keeper -q 1 -m one"));
    ended.expect(status::CONNECTION).says("1 messages are kept");
    let ended = run_with(&mut without("pub -t a -i keeper -q 2 -l --quiet"), b"two\n");
    ended.expect(status::CONNECTION);
    // QoS 0 is not kept.
    let ended = run(&mut without("pub -t a -i keeper -q 0 -m lost"));
    let ended = ended.expect(status::CONNECTION);
    assert!(!ended.errors.contains("kept"), "{ended:?}");
    let broker = TestBroker::start().unwrap();
    let mut command = at(&broker, "pub -t a -i keeper -q 1 -m last");
    run(command.arg("--store").arg(&store)).expect(status::DONE);
    let mut messages = payloads(&broker.messages());
    messages.sort();
    assert_eq!(messages, [&b"last"[..], b"one", b"two"]);
}

/// Lines leave when they come, not when the input ends.
#[test]
fn a_line_is_published_while_the_input_stays_open() {
    let broker = TestBroker::start().unwrap();
    let mut running = Running::start(at(&broker, "pub -t a -l -q 1").stdin(Stdio::piped()));
    let mut stdin = running.child().stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    broker.wait_for_messages("a", 1).blocking().unwrap();
    stdin.write_all(b"two\nthree").unwrap();
    broker.wait_for_messages("a", 2).blocking().unwrap();
    drop(stdin);
    running.end().expect(status::DONE);
    assert_eq!(
        payloads(&broker.messages()),
        [&b"one"[..], b"two", b"three"]
    );
}

#[test]
fn a_hundred_thousand_lines_arrive_in_their_order() {
    let broker = TestBroker::start().unwrap();
    let lines: String = (0..100_000).map(|line| format!("{line}\n")).collect();
    run_with(&mut at(&broker, "pub -t a -l -q 0"), lines.as_bytes()).expect(status::DONE);
    let found: String = payloads(&broker.messages())
        .into_iter()
        .map(|payload| String::from_utf8(payload).unwrap() + "\n")
        .collect();
    assert!(found == lines);
}

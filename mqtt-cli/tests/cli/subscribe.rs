//! `martlet sub`: which messages are printed, and how.

use crate::run::{Ended, Running, at, run, status};
use martlet_broker::proto::{Packet, PublishProperties, PublishRef, QoS, TopicName};
use martlet_broker::{BrokerConfig, BrokerLimits, Moods, TestBroker};
use martlet_tests::certificates::Directory;

fn publish(broker: &TestBroker, topic: &str, payload: &[u8]) {
    let topic = TopicName::new(topic).unwrap();
    assert!(broker.publish(PublishRef::new(&topic, payload)));
}

fn retain(broker: &TestBroker, topic: &str, payload: &[u8]) {
    let topic = TopicName::new(topic).unwrap();
    broker.publish(PublishRef::new(&topic, payload).with_retain(true));
}

/// Starts it, and waits for its subscription to the filter `a/#`.
fn start(broker: &TestBroker, arguments: &str) -> Running {
    let running = Running::start(&mut at(broker, &format!("sub -t a/# {arguments}")));
    broker.wait_for_subscription("a/#").blocking().unwrap();
    running
}

#[test]
fn payloads_are_printed_as_they_came() {
    let broker = TestBroker::start().unwrap();
    let print = |arguments: &str| {
        let running = start(&broker, arguments);
        for payload in [&b"one"[..], b"", b"t\0w\xffo", b"\x1b[2J"] {
            publish(&broker, "a/b", payload);
        }
        let ended = running.end().expect(status::DONE);
        assert_eq!(ended.errors, "");
        ended.out
    };
    assert_eq!(print("-C 4"), b"one\nt\0w\xffo\n\x1b[2J\n");
    let broker = TestBroker::start().unwrap();
    let print = |arguments: &str| {
        let running = start(&broker, arguments);
        for payload in [&b"one"[..], b"", b"t\0w\xffo"] {
            publish(&broker, "a/b", payload);
        }
        running.end().expect(status::DONE).out
    };
    assert_eq!(print("-C 3 -v"), b"a/b one\na/b (null)\na/b t\0w\xffo\n");
}

/// As mosquitto_sub prints them: what a message lacks has its width, and the times of the C locale
/// are not another language's.
#[test]
fn columns_stay_columns_and_dates_are_those_of_c() {
    let broker = TestBroker::start().unwrap();
    let running = start(&broker, "-C 1 -F [%6C][%-3S][%04E]%p");
    publish(&broker, "a/b", b"x");
    assert_eq!(
        running.end().expect(status::DONE).text(),
        "[      ][   ][0000]x\n"
    );
    let broker = TestBroker::start().unwrap();
    let running = start(
        &broker,
        "-C 1 -F @a|@b|@e|@T|@Y|@c|@m/@d/@y|@x|@I:@M:@S|@p|@r",
    );
    publish(&broker, "a/b", b"x");
    let ended = running.end().expect(status::DONE);
    let parts: Vec<_> = ended.text().trim_end().split('|').collect();
    let [
        day,
        month,
        date,
        time,
        year,
        all,
        numbers,
        x,
        hours,
        half,
        r,
    ] = parts[..]
    else {
        panic!("{ended:?}")
    };
    assert_eq!(all, format!("{day} {month} {date} {time} {year}"));
    assert_eq!((x, r), (numbers, &*format!("{hours} {half}")));
}

#[test]
fn what_follows_a_message_can_be_chosen() {
    for (arguments, expected) in [
        ("-N", &b"onetwo"[..]),
        ("-0", b"one\0two\0"),
        ("-F %t:%p|", b"a/b:one|\na/b:two|\n"),
        ("-F %l -N -v", b"33"),
        ("--output raw", b"one\ntwo\n"),
    ] {
        let broker = TestBroker::start().unwrap();
        let running = start(&broker, &format!("-C 2 {arguments}"));
        publish(&broker, "a/b", b"one");
        publish(&broker, "a/b", b"two");
        assert_eq!(
            running.end().expect(status::DONE).out,
            expected,
            "{arguments}"
        );
    }
}

#[test]
fn json_is_json_whatever_the_payload() {
    let broker = TestBroker::start().unwrap();
    let running = start(&broker, "-C 3 --output json");
    publish(&broker, "a/\"", b"text\n");
    publish(&broker, "a/b", b"\xff\0");
    publish(&broker, "a/b", b"");
    let ended = running.end().expect(status::DONE);
    let lines: Vec<serde_json::Value> = ended
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["topic"], "a/\"");
    assert_eq!(lines[0]["payload"], "text\n");
    assert_eq!(lines[1]["payload_base64"], "/wA=");
    assert_eq!(lines[2]["payload"], serde_json::Value::Null);
    let time: jiff::Timestamp = lines[0]["tst"].as_str().unwrap().parse().unwrap();
    assert!(time > jiff::Timestamp::UNIX_EPOCH);

    let broker = TestBroker::start().unwrap();
    let running = start(&broker, "-C 2 -F %J");
    publish(&broker, "a/b", b"no JSON");
    publish(&broker, "a/b", b"{\"x\": 1}");
    let ended = running.end().expect(status::PARTIAL).says("is not JSON");
    assert_eq!(ended.text().lines().count(), 1);
    assert!(ended.text().ends_with("\"payload\":{\"x\":1}}\n"));
}

#[test]
fn properties_are_printed() {
    let broker = TestBroker::start().unwrap();
    let running = start(&broker, "-C 1 -F %C|%E|%P|%q|%r");
    let properties = PublishProperties::builder()
        .content_type("text".try_into().unwrap())
        .message_expiry_interval(60)
        .try_user_property("k", "v")
        .unwrap()
        .build();
    let topic = TopicName::new("a/b").unwrap();
    broker.publish(PublishRef::new(&topic, b"x").with_properties(&properties));
    assert_eq!(
        running.end().expect(status::DONE).text(),
        "text|60|k:v|0|0\n"
    );
}

#[test]
fn each_payload_goes_to_a_file_of_its_own() {
    let broker = TestBroker::start().unwrap();
    let folder = Directory::new();
    folder.write("00000002", "was here before");
    let path = folder.path().to_str().unwrap().to_owned();
    let running = start(&broker, &format!("-C 2 --to-dir {path}"));
    publish(&broker, "a/b", b"one\0");
    publish(&broker, "a/b", b"two");
    let ended = running.end().expect(status::DONE);
    assert_eq!(ended.text(), format!("{path}/00000001\n{path}/00000003\n"));
    let read = |name| std::fs::read(folder.path().join(name)).unwrap();
    assert_eq!(
        (read("00000001"), read("00000003")),
        (b"one\0".to_vec(), b"two".to_vec())
    );
    assert_eq!(read("00000002"), b"was here before");
}

#[test]
fn messages_are_selected() {
    let retained = |arguments: &str| -> Ended {
        let broker = TestBroker::start().unwrap();
        retain(&broker, "a/kept", b"old");
        let running = start(&broker, arguments);
        // It may have all that it wants already, and be gone.
        for (topic, payload) in [("a/b", b"new".as_slice()), ("a/c", b"newer")] {
            let topic = TopicName::new(topic).unwrap();
            broker.publish(PublishRef::new(&topic, payload));
        }
        running.end().expect(status::DONE)
    };
    assert_eq!(retained("-C 2").text(), "old\nnew\n");
    assert_eq!(retained("-C 1 -R").text(), "new\n");
    assert_eq!(retained("--retained-only").text(), "old\n");
    assert_eq!(retained("-C 1 -T a/kept -T a/b").text(), "newer\n");
    assert_eq!(
        retained("-C 3 --random-filter 100").text(),
        "old\nnew\nnewer\n"
    );
}

#[test]
fn retained_messages_are_removed_but_those_that_are_filtered_out() {
    let broker = TestBroker::start().unwrap();
    retain(&broker, "a/1", b"one");
    retain(&broker, "a/2", b"two");
    let running = start(&broker, "--remove-retained --retained-only -T a/2");
    assert_eq!(running.end().expect(status::DONE).text(), "one\n");
    let removed = broker.wait_for_message("a/1").blocking().unwrap();
    assert!(removed.retain() && removed.payload().is_empty());
    let running = Running::start(&mut at(&broker, "sub -t a/+ -v -C 1"));
    assert_eq!(running.end().expect(status::DONE).text(), "a/2 two\n");
}

#[test]
fn each_filter_has_its_qos() {
    let broker = TestBroker::start().unwrap();
    run(&mut at(
        &broker,
        "sub -E -t a -t b -q 1 --topic-qos c 2 --topic-qos d 0 -V 5 --no-local",
    ))
    .expect(status::DONE);
    let conversation = &broker.transcript()[0];
    let found: Vec<_> = conversation
        .received()
        .filter_map(|packet| match packet {
            Packet::Subscribe(subscribe) => Some(&subscribe.subscriptions),
            _ => None,
        })
        .flatten()
        .map(|entry| (entry.filter.as_str().to_owned(), entry.qos, entry.no_local))
        .collect();
    let expected = [("a", 1), ("b", 1), ("c", 2), ("d", 0)].map(|(filter, qos)| {
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][qos];
        (filter.to_owned(), qos, true)
    });
    assert_eq!(found, expected);
}

#[test]
fn a_session_goes_on_where_it_was() {
    let broker = TestBroker::start().unwrap();
    run(&mut at(&broker, "sub -c -i me -t a/# -q 1 -E")).expect(status::DONE);
    assert!(broker.has_session("me"));
    for payload in ["1", "2", "3"] {
        run(&mut at(&broker, &format!("pub -t a/b -q 1 -m {payload}"))).expect(status::DONE);
    }
    let ended = run(&mut at(&broker, "sub -c -i me -t a/# -q 1 -C 1")).expect(status::DONE);
    assert_eq!(ended.text(), "1\n");
    // Another filter: those of the session come all the same.
    let ended = run(&mut at(&broker, "sub -c -i me -t other -q 1 -C 2")).expect(status::DONE);
    assert_eq!(ended.text(), "2\n3\n");
    run(&mut at(&broker, "sub -c -i me -U a/# -t x -E")).expect(status::DONE);
    run(&mut at(&broker, "sub -i me -t x -E")).expect(status::DONE);
    broker.wait_for_disconnect("me").blocking().unwrap();
    assert!(!broker.has_session("me"));
}

#[test]
fn a_filter_that_is_rejected_changes_the_exit_status() {
    let limits = BrokerLimits::default()
        .shared_subscription_available(false)
        .wildcard_subscription_available(false);
    let broker = TestBroker::start_with(BrokerConfig::default().limits(limits)).unwrap();
    run(&mut at(&broker, "sub -t a/# -E"))
        .expect(status::SUBSCRIBE)
        .says("not subscribed");
    // In 3.1.1 the server says so when it is asked.
    run(&mut at(&broker, "sub -t a/# -E -V 311"))
        .expect(status::SUBSCRIBE)
        .says("rejected");
    let ended = run(&mut at(&broker, "sub -t a/# -t b -E -V 311")).expect(status::PARTIAL);
    ended.says("rejected \"a/#\"");
    let moods = Moods::new().hang_up_on_subscribe("bad".try_into().unwrap());
    let broker = TestBroker::start_with(BrokerConfig::default().moods(moods)).unwrap();
    let ended =
        run(&mut at(&broker, "sub -t bad -E --retry-max-wait 0.01")).expect(status::SUBSCRIBE);
    assert!(
        ended
            .errors
            .lines()
            .last()
            .unwrap()
            .contains("not sent again"),
        "{ended:?}"
    );
}

#[test]
fn a_message_that_is_too_large_is_reported() {
    let broker = TestBroker::start().unwrap();
    let running = start(&broker, "-C 1 -V 311 --max-packet-size 1000");
    publish(&broker, "a/b", &[b'x'; 2_000]);
    publish(&broker, "a/b", b"small");
    let ended = running
        .end()
        .expect(status::PARTIAL)
        .says("--max-packet-size");
    assert_eq!(ended.text(), "small\n");
}

#[test]
fn many_messages_are_printed_in_their_order() {
    let broker = TestBroker::start().unwrap();
    let running = start(&broker, "-C 20000 -q 1");
    let lines: String = (0..20_000).map(|line| format!("{line}\n")).collect();
    let input = crate::run::run_with(&mut at(&broker, "pub -t a/b -l -q 1"), lines.as_bytes());
    input.expect(status::DONE);
    assert!(running.end().expect(status::DONE).text() == lines);
}

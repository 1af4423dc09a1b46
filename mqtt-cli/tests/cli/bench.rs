//! `martlet bench`: what it measures is checked against servers whose faults are known.

use crate::peer::{Peer, listen};
use crate::run::{Ended, Running, at, martlet, run, status};
use martlet_broker::proto::{ConnectReasonCode, PacketType, Publish};
use martlet_broker::{Direction, Fault, TestBroker};
use martlet_tests::certificates::Directory;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

fn json(ended: &Ended) -> Value {
    serde_json::from_slice(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// A number of the JSON, by the keys that lead to it.
fn number(json: &Value, keys: &str) -> f64 {
    let found = keys.split('.').fold(json, |value, key| &value[key]);
    found.as_f64().unwrap_or_else(|| panic!("{keys}: {json:#}"))
}

fn bench(broker: &TestBroker, arguments: &str) -> Command {
    let (task, rest) = arguments.split_once(' ').unwrap();
    bench_at(broker.local_addr().port(), task, rest)
}

fn bench_at(port: u16, task: &str, rest: &str) -> Command {
    let mut command = martlet(["bench", task, "-h", "127.0.0.1", "-p", &port.to_string()]);
    command.args(rest.split(' ')).arg("--json");
    command
}

/// Serves in a thread of its own.
fn serve<T: Send + 'static>(
    script: impl FnOnce(TcpListener) -> T + Send + 'static,
) -> (u16, JoinHandle<T>) {
    let (listener, port) = listen();
    (port, std::thread::spawn(move || script(listener)))
}

/// The server stops until it is sent a message that is due a second after the first that it did not
/// answer. So message i of those that it held up waited for 1 s - i ms, at least.
#[test]
fn a_server_that_stops_for_a_second_is_in_the_percentiles() {
    let (port, server) = serve(|listener| {
        let mut peer = Peer::accept(&listener);
        let mut held = Vec::new();
        let mut number = 0;
        while let Some(packet) = peer.read() {
            if packet[0] >> 4 != 3 {
                continue;
            }
            match number {
                1000..2000 => held.push(packet),
                _ => {
                    for packet in std::mem::take(&mut held) {
                        peer.acknowledge(&packet);
                    }
                    peer.acknowledge(&packet);
                }
            }
            number += 1;
        }
        number
    });
    let arguments = "-V 311 -q 1 -M 65535 --rate 1000 --count 3000 -t a";
    let ended = run(&mut bench_at(port, "pub", arguments));
    assert_eq!(server.join().unwrap(), 3000);
    let found = json(&ended);
    assert_eq!(number(&found, "messages.acknowledged"), 3000.0);
    assert_eq!(number(&found, "latency_us.count"), 3000.0);
    // The 30 slowest of 3000 waited for 970 ms, the 300 slowest for 700 ms; three digits are kept.
    assert!(number(&found, "latency_us.max") >= 999_000.0, "{found:#}");
    assert!(number(&found, "latency_us.p99") >= 969_000.0, "{found:#}");
    assert!(number(&found, "latency_us.p90") >= 699_000.0, "{found:#}");
    let timeline = found["timeline"].as_array().unwrap();
    let most = timeline.iter().map(|point| number(point, "outstanding"));
    assert!(most.fold(0.0, f64::max) >= 900.0, "{found:#}");
    ended.expect(status::DONE);
}

/// The window and the queue are full long before the server goes on, which it does at the PINGREQ of
/// a client that has sent nothing for a second. Messages that could not even be handed to the client
/// were due all the same.
#[test]
fn messages_that_could_not_be_sent_have_waited_since_they_were_due() {
    let (port, server) = serve(|listener| {
        let mut peer = Peer::accept(&listener);
        let mut held = Vec::new();
        let (mut number, mut stopped, mut stalled) = (0, None, None);
        while let Some(packet) = peer.read() {
            match packet[0] >> 4 {
                3 => {
                    number += 1;
                    if number > 500 && stalled.is_none() {
                        stopped.get_or_insert_with(Instant::now);
                        held.push(packet);
                    } else {
                        peer.acknowledge(&packet);
                    }
                }
                12 => {
                    if let Some(stopped) = stopped {
                        stalled.get_or_insert_with(|| stopped.elapsed());
                    }
                    peer.write(&[0xd0, 0]);
                    for packet in std::mem::take(&mut held) {
                        peer.acknowledge(&packet);
                    }
                }
                _ => {}
            }
        }
        (number, stalled.unwrap())
    });
    let arguments = "-V 311 -q 1 -M 20 -k 1 --rate 5000 --count 6000 -t a";
    let ended = run(&mut bench_at(port, "pub", arguments));
    let (arrived, stalled) = server.join().unwrap();
    assert_eq!(arrived, 6000, "{ended:?}");
    let found = json(&ended);
    assert_eq!(number(&found, "latency_us.count"), 6000.0);
    // Message 500 + x was due x / 5000 s after the stop, or before. The 60 slowest are those of the
    // first 12 ms of the stop, the 3000 slowest those of the first 600 ms.
    let bound = |milliseconds: u64| {
        let bound = stalled.saturating_sub(Duration::from_millis(milliseconds));
        bound.as_micros() as f64 * 0.999
    };
    assert!(stalled >= Duration::from_millis(700), "{stalled:?}");
    assert!(number(&found, "latency_us.p99") >= bound(13), "{found:#}");
    assert!(number(&found, "latency_us.p50") >= bound(601), "{found:#}");
}

/// 10,000 messages are due, and the window and the queue take some of them.
#[test]
fn a_server_that_does_not_keep_up_is_reported_and_memory_is_bounded() {
    let (port, server) = serve(|listener| {
        let mut peer = Peer::accept(&listener);
        while peer.read().is_some() {}
    });
    let arguments =
        "-V 311 -q 1 -M 20 --rate 20000 --duration 0.5 --answer-timeout 0.1 -t a --retries 0";
    let ended = run(&mut bench_at(port, "pub", arguments)).expect(status::PUBLISH);
    drop(server.join());
    let found = json(&ended);
    let (sent, unsent) = (
        number(&found, "messages.sent"),
        number(&found, "messages.unsent"),
    );
    assert_eq!(sent + unsent, 10_000.0, "{found:#}");
    assert!(sent <= 2_020.0, "{found:#}");
    assert_eq!(number(&found, "messages.unanswered"), sent);
    assert_eq!(number(&found, "latency_us.count"), 10_000.0);
    // When nothing more was due, half of them had waited for a quarter of a second.
    assert!(number(&found, "latency_us.p50") >= 249_000.0, "{found:#}");
    assert_eq!(found["is_rate_reached"], false);
    for part in [
        &format!("{unsent} messages were due and not sent"),
        "the wanted rate of 20000/s was not reached",
    ] {
        assert!(ended.errors.contains(part), "{ended:?}");
    }
}

/// What a server loses, repeats, turns around and brings in from elsewhere is counted, each as what
/// it is.
#[test]
fn losses_and_duplicates_are_counted_by_their_numbers() {
    let (port, server) = serve(|listener| {
        let mut subscriber = Peer::accept(&listener);
        subscriber.accept_subscribe();
        let mut publisher = Peer::accept(&listener);
        let mut late = Vec::new();
        let mut number = 0;
        while let Some(packet) = publisher.read() {
            if packet[0] >> 4 != 3 {
                continue;
            }
            match number {
                10 | 20 => {}
                7 => subscriber.write(&[packet.clone(), packet].concat()),
                30 => late = packet,
                31 => subscriber.write(&[packet, std::mem::take(&mut late)].concat()),
                40 => subscriber.write(&[packet, b"\x30\x05\x00\x01ahi".to_vec()].concat()),
                // Of another run: the identifier behind the first four bytes differs.
                41 => {
                    let mut foreign = packet.clone();
                    foreign[5 + 4] ^= 1;
                    subscriber.write(&[packet, foreign].concat());
                }
                _ => subscriber.write(&packet),
            }
            number += 1;
        }
    });
    let arguments = "-V 311 -t a --count 100 --answer-timeout 0.3";
    let ended = run(&mut bench_at(port, "pubsub", arguments)).expect(status::PARTIAL);
    server.join().unwrap();
    let found = json(&ended);
    for (key, expected) in [
        ("sent", 100),
        ("received", 99),
        ("lost", 2),
        ("duplicates", 1),
        ("out_of_order", 1),
        ("foreign", 2),
    ] {
        let value = number(&found, &format!("messages.{key}"));
        assert_eq!(value, f64::from(expected), "{key}: {found:#}");
    }
    // Those that were lost have waited for as long as anything was waited for.
    assert_eq!(number(&found, "latency_us.count"), 100.0);
    assert!(number(&found, "latency_us.p99") >= 299_000.0, "{found:#}");
    for part in ["2 messages were lost", "1 messages came more than once"] {
        assert!(ended.errors.contains(part), "{ended:?}");
    }
}

/// The server stops for good after 800 of 1000 messages. Message 800 + x was due 200 - x ms before the
/// last, and answers were waited for 0.2 s longer. All that wait is in the latencies from end to end.
#[test]
fn messages_that_never_came_are_in_the_latency_from_end_to_end() {
    let (port, server) = serve(|listener| {
        let mut subscriber = Peer::accept(&listener);
        subscriber.accept_subscribe();
        let mut publisher = Peer::accept(&listener);
        let mut number = 0;
        while let Some(packet) = publisher.read() {
            if packet[0] >> 4 != 3 {
                continue;
            }
            if number < 800 {
                subscriber.write(&packet);
            }
            number += 1;
        }
    });
    let arguments = "-V 311 -t a --rate 1000 --count 1000 --answer-timeout 0.2";
    let ended = run(&mut bench_at(port, "pubsub", arguments)).expect(status::PARTIAL);
    server.join().unwrap();
    let found = json(&ended);
    assert_eq!(number(&found, "messages.lost"), 200.0);
    assert_eq!(number(&found, "latency_us.count"), 1000.0);
    // The 100 slowest waited for 0.3 s at least, the 10 slowest for 0.39 s.
    assert!(number(&found, "latency_us.p90") >= 299_000.0, "{found:#}");
    assert!(number(&found, "latency_us.p99") >= 389_000.0, "{found:#}");
}

/// The server answers the first three messages and no other, so no client sends many. What was
/// answered while the time ran is the rate, and nothing is sent when it is over.
#[test]
fn a_closed_loop_counts_answers_when_they_come() {
    let (port, server) = serve(|listener| {
        let mut peer = Peer::accept(&listener);
        let mut number = 0;
        while let Some(packet) = peer.read() {
            if packet[0] >> 4 == 3 {
                number += 1;
                if number <= 3 {
                    peer.acknowledge(&packet);
                }
            }
        }
        number
    });
    let arguments = "-V 311 -q 1 -M 2 --duration 0.5 --answer-timeout 0.1 -t a --retries 0";
    let ended = run(&mut bench_at(port, "pub", arguments)).expect(status::PARTIAL);
    // Three that were answered, and two in flight.
    assert_eq!(server.join().unwrap(), 5);
    let found = json(&ended);
    assert_eq!(number(&found, "messages.sent"), 5.0);
    assert_eq!(number(&found, "messages.unanswered"), 2.0);
    let counted = number(&found, "rate") * number(&found, "seconds");
    assert!((counted - 3.0).abs() < 1e-6, "{found:#}");
    assert_eq!(number(&found, "latency_us.count"), 5.0);
}

/// No CONNACK comes before the last connection was due.
#[test]
fn a_rate_of_connections_that_was_missed_is_reported() {
    let (port, server) = serve(|listener| {
        let mut peers: Vec<Peer> = (0..40).map(|_| Peer::connecting(&listener)).collect();
        for peer in &mut peers {
            peer.accept_connect();
        }
        for peer in &mut peers {
            while peer.read().is_some() {}
        }
    });
    let arguments = "-V 311 --clients 40 --rate 200";
    let ended = run(&mut bench_at(port, "conn", arguments)).expect(status::PARTIAL);
    server.join().unwrap();
    let found = json(&ended);
    assert_eq!(number(&found, "connections.made"), 40.0);
    assert_eq!(found["is_rate_reached"], false);
    ended.says("the wanted rate of 200/s was not reached");
}

#[test]
fn a_subscriber_that_receives_too_little_says_so() {
    let broker = TestBroker::start().unwrap();
    for (arguments, part) in [
        ("sub --count 5 --duration 0.1", "5 messages did not come"),
        ("sub --duration 0.1", "no message came"),
    ] {
        let ended = run(&mut bench(&broker, arguments)).expect(status::PARTIAL);
        assert!(ended.errors.contains(part), "{ended:?}");
    }
    // The rate is that of the whole time, however few came at its begin.
    let arguments = "sub -t a --duration 1";
    let subscriber = Running::start(&mut bench(&broker, arguments));
    broker.wait_for_subscription("a").blocking().unwrap();
    for _ in 0..2 {
        run(&mut at(&broker, "pub -t a -m hello -q 1")).expect(status::DONE);
    }
    let found = json(&subscriber.end());
    if number(&found, "messages.received") > 0.0 {
        assert_eq!(number(&found, "seconds"), 1.0);
        assert_eq!(number(&found, "rate"), number(&found, "messages.received"));
    }
}

#[test]
fn messages_are_published_at_each_qos() {
    for qos in 0..3 {
        let broker = TestBroker::start().unwrap();
        let arguments = format!("pub -q {qos} --clients 3 --threads 2 --count 50 --size 40");
        let ended = run(&mut bench(&broker, &arguments)).expect(status::DONE);
        let found = json(&ended);
        assert_eq!(number(&found, "messages.sent"), 50.0);
        assert_eq!(number(&found, "messages.acknowledged"), 50.0);
        assert_eq!(found["latency_us"].is_null(), qos == 0);
        assert_eq!(found["loop"], "closed");
        let messages = broker.messages();
        assert_eq!(messages.len(), 50);
        let topics: BTreeSet<_> = messages.iter().map(Publish::topic).collect();
        let expected = ["martlet/bench/0", "martlet/bench/1", "martlet/bench/2"];
        assert!(topics.into_iter().eq(expected));
        for message in &messages {
            assert_eq!(message.payload().len(), 40);
            assert!(message.payload().starts_with(b"mlt1"));
        }
    }
}

#[test]
fn an_open_loop_sends_what_is_due() {
    let broker = TestBroker::start().unwrap();
    let arguments =
        "pub -q 1 --rate 500 --duration 0.3 --warm-up 0.2 -t a/{client}/{n} --clients 2";
    let ended = run(&mut bench(&broker, arguments));
    let found = json(&ended);
    // Due at 0, 2, … 498 ms; the first 100 of them in the warm-up.
    assert_eq!(number(&found, "messages.sent"), 250.0);
    assert_eq!(number(&found, "latency_us.count"), 150.0);
    assert_eq!(number(&found, "lateness_us.count"), 150.0);
    assert_eq!(found["loop"], "open");
    let messages = broker.messages();
    let topics: BTreeSet<_> = messages.iter().map(Publish::topic).collect();
    assert_eq!(topics.len(), 250);
    assert!(topics.contains("a/0/124") && topics.contains("a/1/124"));
}

/// With lines, and with letters: a font that is missing would leave their places white.
#[cfg(feature = "png")]
#[test]
fn a_plot_can_be_an_image() {
    let folder = Directory::new();
    let plot = folder.path().join("plot.PNG");
    let broker = TestBroker::start().unwrap();
    let arguments = "pub -q 1 --rate 400 --count 100 -t a";
    run(bench(&broker, arguments).arg("--plot").arg(&plot)).expect(status::DONE);
    let file = std::io::BufReader::new(std::fs::File::open(&plot).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (900, 640));
    let rows: Vec<_> = pixels.chunks(info.line_size).collect();
    let dark = |rows: &[&[u8]]| {
        let pixels = rows.iter().flat_map(|row| row.chunks(3));
        pixels.filter(|pixel| pixel[0] < 128).count()
    };
    // The title stands above everything that has lines.
    let title = dark(&rows[..22]);
    assert!((100..5_000).contains(&title), "{title}");
    assert!(dark(&rows[40..]) > 1_000);
}

#[test]
fn messages_come_back() {
    let folder = Directory::new();
    let plot = folder.path().join("plot.svg");
    for qos in 0..3 {
        let broker = TestBroker::start().unwrap();
        let arguments =
            format!("pubsub -q {qos} --clients 2 --rate 400 --count 100 -t a/{{client}}");
        let ended = run(bench(&broker, &arguments).arg("--plot").arg(&plot)).expect(status::DONE);
        let found = json(&ended);
        for key in ["sent", "received"] {
            assert_eq!(
                number(&found, &format!("messages.{key}")),
                100.0,
                "{found:#}"
            );
        }
        for key in ["lost", "duplicates", "out_of_order", "foreign", "unsent"] {
            assert_eq!(number(&found, &format!("messages.{key}")), 0.0, "{found:#}");
        }
        assert_eq!(number(&found, "latency_us.count"), 100.0);
        assert_eq!(number(&found, "connections.made"), 4.0);
        let drawn = std::fs::read_to_string(&plot).unwrap();
        assert!(drawn.starts_with("<svg") && drawn.contains("p99"));
        // The text says the same as the JSON.
        let words = "bench pubsub -q 1 --count 10 -L".split(' ');
        let text = run(martlet(words).arg(broker.uri())).expect(status::DONE);
        for part in [
            "closed loop",
            "10 sent, 10 acknowledged",
            "0 lost",
            "p99.99",
            "end to end",
        ] {
            assert!(text.text().contains(part), "{part}: {text:?}");
        }
    }
}

#[test]
fn a_subscriber_measures_what_another_process_publishes() {
    let broker = TestBroker::start().unwrap();
    let subscriber = Running::start(&mut bench(&broker, "sub -t x/# --count 31"));
    broker.wait_for_subscription("x/#").blocking().unwrap();
    run(&mut at(&broker, "pub -t x/0 -m hello -q 1")).expect(status::DONE);
    let arguments = "pub -q 1 -t x/{client} --clients 3 --count 30";
    run(&mut bench(&broker, arguments)).expect(status::DONE);
    let found = json(&subscriber.end().expect(status::DONE));
    assert_eq!(number(&found, "messages.received"), 31.0);
    assert_eq!(number(&found, "messages.without_time"), 1.0);
    assert_eq!(number(&found, "messages.lost"), 0.0);
    assert_eq!(number(&found, "latency_us.count"), 30.0);
}

#[test]
fn connections_are_made_and_held() {
    let broker = TestBroker::start().unwrap();
    let ended = run(&mut bench(
        &broker,
        "conn --clients 20 --threads 2 --duration 0.1",
    ));
    let found = json(&ended.expect(status::DONE));
    assert_eq!(number(&found, "connections.made"), 20.0);
    assert_eq!(number(&found, "latency_us.count"), 20.0);
    assert!(found["messages"].is_null());

    let reason = ConnectReasonCode::ServerBusy;
    broker.inject(Fault::reject(reason).for_connections(5));
    let ended = run(&mut bench(&broker, "conn --clients 20 --rate 400 -V 5"));
    let found = json(&ended.expect(status::PARTIAL));
    assert_eq!(number(&found, "connections.made"), 15.0);
    assert_eq!(number(&found, "connections.failed"), 5.0);
    assert_eq!(number(&found["errors"][0], "count"), 5.0);

    broker.inject(Fault::reject(reason).for_connections(5));
    let ended = run(&mut bench(&broker, "conn --clients 5 -V 5")).expect(status::REJECTED);
    ended.says("5 connections were not made");
    broker.clear_faults();

    // It is lost, which ends what there is to hold. A client that sends a PINGREQ has its CONNACK.
    let broker = TestBroker::start().unwrap();
    let arguments = "conn --clients 1 --duration 1000 -k 1";
    let running = Running::start(&mut bench(&broker, arguments));
    let pinged = broker.wait_for_packets(Direction::FromClient, PacketType::PingReq, 1);
    pinged.blocking().unwrap();
    broker.cut();
    running
        .end()
        .expect(status::PARTIAL)
        .says("1 connections were lost");
}

#[test]
fn what_goes_wrong_is_the_exit_status() {
    let (listener, port) = listen();
    drop(listener);
    for (task, rest) in [
        ("pub", "--count 1"),
        ("sub", "--count 1"),
        ("pubsub", "--count 1"),
        ("conn", "--clients 2"),
    ] {
        let ended = run(&mut bench_at(port, task, rest)).expect(status::CONNECTION);
        ended.says("is a server running");
    }
    let broker = TestBroker::start().unwrap();
    broker.inject(Fault::hang_up_on(PacketType::Publish).until_cleared());
    let arguments = "pub -q 1 --count 100 --retries 0 -t a";
    let ended = run(&mut bench(&broker, arguments));
    let found = json(&ended);
    assert_eq!(number(&found, "messages.acknowledged"), 0.0);
    assert_eq!(number(&found, "connections.lost"), 1.0);
    assert!(
        [status::PUBLISH, status::LOST].contains(&ended.status),
        "{ended:?}"
    );
    assert!(
        ended.errors.contains("1 connections were lost"),
        "{ended:?}"
    );
}

#[test]
fn a_signal_ends_a_run_with_its_result() {
    let broker = TestBroker::start().unwrap();
    let mut running = Running::start(&mut bench(&broker, "pub -q 1 --rate 1000 -t a"));
    broker.wait_for_messages("a", 50).blocking().unwrap();
    running.signal("-INT");
    let found = json(&running.end().expect(status::INTERRUPTED));
    assert_eq!(found["is_interrupted"], true);
    assert!(number(&found, "messages.acknowledged") >= 50.0);

    // Without an end it is to run until it is stopped.
    // A client that sends a PINGREQ has its SUBACK.
    let mut running = Running::start(&mut bench(&broker, "sub -t b -k 1"));
    let pinged = broker.wait_for_packets(Direction::FromClient, PacketType::PingReq, 1);
    pinged.blocking().unwrap();
    running.signal("-INT");
    json(&running.end().expect(status::DONE));

    let mut running = Running::start(&mut bench(&broker, "conn --clients 7 --duration 1000"));
    broker
        .wait_for_packets(Direction::ToClient, PacketType::ConnAck, 9)
        .blocking()
        .unwrap();
    running.signal("-TERM");
    json(&running.end().expect(status::TERMINATED));
}

#[test]
fn what_cannot_work_names_its_option() {
    for (command, part) in [
        ("pubsub --size 31", "--size"),
        ("pubsub --clients 2 -t a", "{client}"),
        ("pubsub --clients 2 -t a/{client}-{n}", "{client}"),
        ("pub --clients 20 --size 20000000", "--size, --clients"),
        ("pub -t a/+", "--topic"),
        ("pub -t a/{clint}", "--topic"),
        ("pub --rate 0", "--rate"),
        ("pub --rate x", "--rate"),
        ("pub --rate 0.001 --count 100000000", "--count"),
        ("pub --clients 0", "--clients"),
        ("pub --clients 2 --threads 3", "--threads"),
        ("pub --size 999999999", "--size"),
        ("pub -q 3", "--qos"),
        ("pub --duration 0", "--duration"),
        ("pub --count 0", "--count"),
        ("pub --warm-up -1", "--warm-up"),
        #[cfg(not(feature = "png"))]
        ("pub --plot a.png", "--features png"),
        ("pub --plot a.jpg", "ends with .svg or .png"),
        ("pub --plot svg", "ends with .svg or .png"),
        ("pub --plot /nonexistent/a.svg", "--plot"),
        ("pub --answer-timeout 0", "--answer-timeout"),
        ("pub -c -i a", "-c"),
        ("pub --store /tmp/x", "--store"),
        ("pub --tls --unix /tmp/x", "--tls"),
        ("sub --rate 5", "--rate"),
        ("sub -t a/{n}", "--topic"),
        ("sub -t a/#/b", "--topic"),
        ("conn --rate 5 --concurrency 5", "--concurrency"),
        ("conn --retries 5", "--retries"),
        ("conn --topic a", "--topic"),
        ("conn --clients 900000", "ulimit"),
        ("conn -L mqtt://127.0.0.1:1/a", "--url"),
    ] {
        let ended = run(martlet(["bench"]).args(command.split(' ')));
        assert_eq!(ended.status, status::USAGE, "{command}: {ended:?}");
        assert!(ended.errors.contains(part), "{command}: {ended:?}");
        assert!(ended.out.is_empty(), "{command}: {ended:?}");
    }
    let help = run(&mut martlet(["bench", "pubsub", "--help"])).expect(status::DONE);
    for part in ["--rate", "martlet_bench_pubsub", "  27  "] {
        assert!(help.text().contains(part), "{part}");
    }
}

/// Each member of a shared subscription gets a part of the messages. What the others got was reported
/// as lost.
#[test]
fn what_other_members_of_a_shared_subscription_get_is_not_lost() {
    let broker = TestBroker::start().unwrap();
    let subscriber = Running::start(&mut bench(
        &broker,
        "sub --clients 2 -q 1 --count 100 -t $share/g/martlet/bench/#",
    ));
    let answers = broker.wait_for_packets(Direction::ToClient, PacketType::SubAck, 2);
    answers.blocking().unwrap();
    run(&mut bench(&broker, "pub -q 1 --count 100")).expect(status::DONE);
    let found = json(&subscriber.end().expect(status::DONE));
    assert_eq!(number(&found, "messages.received"), 100.0);
    assert_eq!(found["messages"]["lost"], Value::Null, "{found:#}");
}

/// A run that is over before its warm-up has measured nothing, and says so.
#[test]
fn a_run_within_its_warm_up_says_so() {
    let broker = TestBroker::start().unwrap();
    let ended = run(&mut bench(&broker, "pub -q 1 --count 1 --warm-up 60"));
    ended.expect(status::DONE).says("nothing was measured");
}

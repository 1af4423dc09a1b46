//! The decisions, one by one, without a network: bytes and the time in, steps and events out.

use super::*;
use alloc::vec::Vec;
use martlet_proto::{QoS, SubscribeFilter};

/// The packets of a server of MQTT 5.
const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];
const NOT_AUTHORIZED: &[u8] = &[0x20, 3, 0, 0x87, 0];
const TAKEN_OVER: &[u8] = &[0xe0, 1, 0x8e];
const PUBLISH: &[u8] = &[0x30, 5, 0, 1, b'a', 0, b'!'];
const MALFORMED: &[u8] = &[0x00, 0];
const PINGREQ: &[u8] = &[0xc0, 0];

fn at(seconds: u64) -> Instant {
    Instant::from_epoch(Duration::from_secs(seconds))
}

fn machine() -> Machine {
    let identifier = "device".try_into().expect("a text");
    let config = Config::default()
        .client_identifier(identifier)
        .keep_alive(20);
    Machine::new(config, Backoff::new(7), at(0))
}

fn settle(machine: &mut Machine, now: Instant) -> Vec<Event> {
    core::iter::from_fn(|| machine.drain(now)).collect()
}

fn exchange(machine: &Machine, now: Instant) -> Exchange {
    match machine.step(now) {
        Step::Exchange(exchange) => exchange,
        other => panic!("{other:?}"),
    }
}

/// All output leaves.
fn flush(machine: &mut Machine) {
    while machine.writes() != Writes::Nothing {
        let n = machine.output().len();
        machine.handle_written(Ok(n)).expect("it is written");
    }
}

fn receive(machine: &mut Machine, now: Instant, bytes: &[u8]) -> Vec<Event> {
    machine.handle_read(Ok(bytes)).expect("it is read");
    settle(machine, now)
}

fn connect(machine: &mut Machine, now: Instant) {
    open(machine, now);
    let events = receive(machine, now, CONNACK);
    assert!(matches!(events[..], [Event::Connected(_)]), "{events:?}");
}

/// There is a connection, and the CONNECT has left.
fn open(machine: &mut Machine, now: Instant) {
    machine.handle_dialed(now, Ok(())).expect("it is open");
    assert!(settle(machine, now).is_empty());
    assert_eq!(machine.output().first(), Some(&0x10), "a CONNECT");
    flush(machine);
}

/// How long it waits before the next attempt.
fn wait(machine: &Machine, now: Instant) -> Duration {
    match machine.step(now) {
        Step::Sleep(until) => until.saturating_duration_since(now),
        other => panic!("{other:?}"),
    }
}

/// An attempt that fails, at a moment when one is due. Returns the next such moment.
fn fail(machine: &mut Machine, now: Instant) -> Instant {
    assert_eq!(machine.step(now), Step::Dial(now + Duration::from_secs(10)));
    let error = TransportError::new(TransportErrorKind::Connect, "nobody answers");
    let lost = machine
        .handle_dialed(now, Err(error))
        .expect_err("none was made");
    machine.lose(now, lost);
    assert!(matches!(
        settle(machine, now)[..],
        [Event::Disconnected(ConnectionError::Transport(_))]
    ));
    now + wait(machine, now)
}

fn publish(machine: &mut Machine, now: Instant, size: usize) {
    let topic = "a".try_into().expect("a topic name");
    let message = OutgoingPublish::new(topic, alloc::vec![b'x'; size]).qos(QoS::AtLeastOnce);
    machine.session.publish(now, message).expect("accepted");
}

#[test]
fn an_attempt_is_made_at_once_and_after_one_that_failed_when_its_wait_is_over() {
    let mut machine = machine();
    let next = fail(&mut machine, at(0));
    let just_before = next - Duration::from_nanos(1);
    assert_eq!(machine.step(just_before), Step::Sleep(next));
    assert!(fail(&mut machine, next) > next);
    assert!(machine.is_closed() && machine.stopped().is_none());
    machine.retry(next);
    assert!(matches!(machine.step(next), Step::Dial(_)));
}

#[test]
fn the_waits_begin_anew_after_a_connection_that_lasted() {
    for (lasted, is_success) in [(9, false), (10, true)] {
        // Of waits at random one is short by chance, and not in all of them.
        let longest = (0..50).map(|seed| {
            let mut machine = machine();
            machine.backoff = Backoff::new(seed);
            let mut now = at(0);
            for _ in 0..8 {
                now = fail(&mut machine, now);
            }
            connect(&mut machine, now);
            now += Duration::from_secs(lasted);
            let _ = settle(&mut machine, now);
            machine.lose(now, ConnectionError::ClosedByPeer);
            wait(&machine, now)
        });
        let longest = longest.max().expect("some");
        assert_eq!(longest <= Duration::from_secs(1), is_success, "{longest:?}");
    }
}

/// A server that hangs, and accepts connections but no client, was taken for one that works: the time
/// for its answer is as long as a connection has to last. All devices came back each second.
#[test]
fn the_waits_go_on_where_the_server_does_not_answer() {
    let longest = (0..50).map(|seed| {
        let mut machine = machine();
        machine.backoff = Backoff::new(seed);
        let mut now = at(0);
        let mut longest = Duration::ZERO;
        for _ in 0..8 {
            open(&mut machine, now);
            now = exchange(&machine, now).until.expect("the time to answer");
            assert!(settle(&mut machine, now).is_empty());
            flush(&mut machine);
            let Step::Lose(reason) = machine.step(now) else {
                panic!("it has ended")
            };
            machine.lose(now, reason);
            let _ = settle(&mut machine, now);
            longest = wait(&machine, now);
            now += longest;
        }
        longest
    });
    let longest = longest.max().expect("some");
    assert!(longest > Duration::from_secs(10), "{longest:?}");
}

#[test]
fn a_rejection_stops_a_client_that_was_never_accepted_and_slows_one_that_was() {
    let mut machine = machine();
    open(&mut machine, at(0));
    let _ = receive(&mut machine, at(0), NOT_AUTHORIZED);
    let Step::Lose(reason) = machine.step(at(0)) else {
        panic!("it has ended")
    };
    assert!(matches!(reason, ConnectionError::Rejected(_)));
    assert_eq!(machine.stopped(), None, "there is a connection");
    machine.lose(at(0), reason.clone());
    let _ = settle(&mut machine, at(0));
    assert_eq!(machine.stopped(), Some(reason.clone()));
    assert_eq!(machine.last_error(), Some(&reason));

    machine.retry(at(1));
    assert_eq!(machine.stopped(), None);
    connect(&mut machine, at(1));
    machine.lose(at(2), reason);
    let _ = settle(&mut machine, at(2));
    assert_eq!(machine.stopped(), None);
    let wait = wait(&machine, at(2));
    assert!((30..=60).contains(&wait.as_secs()), "{wait:?}");
}

#[test]
fn a_client_whose_session_was_taken_over_stops_although_it_was_accepted() {
    let mut machine = machine();
    connect(&mut machine, at(0));
    let _ = receive(&mut machine, at(1), TAKEN_OVER);
    let Step::Lose(reason) = machine.step(at(1)) else {
        panic!("it has ended")
    };
    machine.lose(at(1), reason.clone());
    assert_eq!(machine.stopped(), Some(reason));
}

#[test]
fn a_disconnect_ends_the_connection_when_its_packet_has_left() {
    let mut machine = machine();
    connect(&mut machine, at(0));
    machine
        .session
        .disconnect(at(1), DisconnectOptions::default());
    let _ = settle(&mut machine, at(1));
    assert_eq!(machine.output().first(), Some(&0xe0), "a DISCONNECT");
    assert_eq!(exchange(&machine, at(1)).writes, Writes::Bytes);
    flush(&mut machine);
    assert_eq!(machine.step(at(1)), Step::Lose(ConnectionError::ClosedHere));
    machine.lose(at(1), ConnectionError::ClosedHere);
    let _ = settle(&mut machine, at(1));
    assert_eq!(machine.stopped(), Some(ConnectionError::ClosedHere));
}

#[test]
fn output_leaves_byte_by_byte_in_order_and_is_flushed() {
    let mut machine = machine();
    machine.handle_dialed(at(0), Ok(())).expect("it is open");
    let _ = settle(&mut machine, at(0));
    let whole = machine.output().to_vec();
    for n in 0..whole.len() {
        assert_eq!(machine.output(), &whole[n..]);
        assert_eq!(exchange(&machine, at(0)).writes, Writes::Bytes);
        assert!(!machine.is_written());
        machine.handle_written(Ok(1)).expect("it is written");
    }
    assert_eq!(exchange(&machine, at(0)).writes, Writes::Flush);
    assert!(!machine.is_written());
    machine.handle_written(Ok(0)).expect("it is flushed");
    assert_eq!(exchange(&machine, at(0)).writes, Writes::Nothing);
    assert!(machine.is_written());
}

#[test]
fn what_goes_wrong_on_the_network_ends_the_connection_with_its_cause() {
    type Failure = fn(&mut Machine) -> Result<(), ConnectionError>;
    let kind = ErrorKind::ConnectionReset;
    let failures: [Failure; 4] = [
        |machine| machine.handle_read(Err(ErrorKind::ConnectionReset)),
        |machine| machine.handle_written(Err(ErrorKind::ConnectionReset)),
        // A flush.
        |machine| {
            flush(machine);
            machine.handle_written(Err(ErrorKind::ConnectionReset))
        },
        |machine| machine.handle_written(Ok(0)),
    ];
    for (n, failure) in failures.iter().enumerate() {
        let mut machine = machine();
        connect(&mut machine, at(0));
        publish(&mut machine, at(0), 1);
        let _ = settle(&mut machine, at(0));
        let Err(ConnectionError::Transport(error)) = failure(&mut machine) else {
            panic!("{n}: it has ended")
        };
        assert_eq!(error.kind(), TransportErrorKind::Io);
        let kind = if n == 3 { ErrorKind::WriteZero } else { kind };
        let cause = core::error::Error::source(&error).and_then(|cause| cause.downcast_ref());
        assert_eq!(cause, Some(&kind), "{n}");
    }
    let mut machine = machine();
    connect(&mut machine, at(0));
    assert_eq!(
        machine.handle_read(Ok(&[])),
        Err(ConnectionError::ClosedByPeer)
    );
}

#[test]
fn while_much_is_to_be_written_nothing_is_read() {
    let mut machine = machine();
    connect(&mut machine, at(0));
    assert!(exchange(&machine, at(0)).reads);
    publish(&mut machine, at(0), MOST_OUTPUT);
    let _ = settle(&mut machine, at(0));
    assert!(!exchange(&machine, at(0)).reads);
    // Nor is looked at what was read before.
    assert!(receive(&mut machine, at(0), PUBLISH).is_empty());
    let over = machine.output.len() - MOST_OUTPUT;
    machine.handle_written(Ok(over)).expect("it is written");
    assert!(!exchange(&machine, at(0)).reads);
    machine.handle_written(Ok(1)).expect("it is written");
    assert!(exchange(&machine, at(0)).reads);
    let events = settle(&mut machine, at(0));
    assert!(matches!(events[..], [Event::Message(_)]), "{events:?}");
}

#[test]
fn the_last_packet_has_a_time_to_leave_and_the_first_reason_counts() {
    let mut machine = machine();
    connect(&mut machine, at(0));
    let _ = receive(&mut machine, at(5), MALFORMED);
    assert_eq!(machine.output().first(), Some(&0xe0), "a DISCONNECT");
    let expected = Exchange {
        reads: false,
        writes: Writes::Bytes,
        until: Some(at(7)),
    };
    assert_eq!(exchange(&machine, at(5)), expected);
    let Err(reason) = machine.handle_written(Err(ErrorKind::BrokenPipe)) else {
        panic!("it has ended")
    };
    assert!(!matches!(reason, ConnectionError::Transport(_)));
    assert_eq!(machine.step(at(7)), Step::Lose(reason.clone()));
    flush(&mut machine);
    assert_eq!(machine.step(at(5)), Step::Lose(reason));
}

#[test]
fn a_timer_of_the_session_ends_each_wait() {
    let mut machine = machine();
    connect(&mut machine, at(0));
    let mut now = at(0);
    for _ in 0..3 {
        let until = exchange(&machine, now).until.expect("keep alive");
        assert!(until > now && until <= now + Duration::from_secs(20));
        now = until;
        assert!(settle(&mut machine, now).is_empty());
        assert_eq!(machine.output(), PINGREQ);
        flush(&mut machine);
        let _ = receive(&mut machine, now, &[0xd0, 0]);
    }
    // And without a connection.
    machine.lose(now, ConnectionError::ClosedByPeer);
    let _ = settle(&mut machine, now);
    let filter = SubscribeFilter::new("a".try_into().expect("a filter"), QoS::AtLeastOnce);
    let timeout = Duration::from_nanos(1);
    let request = SubscribeRequest::new([filter]).offline_timeout(timeout);
    machine.session.subscribe(now, request).expect("accepted");
    assert_eq!(machine.step(now), Step::Sleep(now + timeout));
    let events = settle(&mut machine, now + timeout);
    assert!(matches!(
        events[..],
        [Event::Subscribed { result: Err(_), .. }]
    ));
}

#[test]
fn what_arrives_when_a_timer_runs_out_is_in_time() {
    let mut machine = machine();
    connect(&mut machine, at(0));
    let due = exchange(&machine, at(0)).until.expect("keep alive");
    let _ = settle(&mut machine, due);
    flush(&mut machine);
    let late = exchange(&machine, due).until.expect("an answer is due");
    let _ = receive(&mut machine, late, &[0xd0, 0]);
    assert!(exchange(&machine, late).reads, "the connection goes on");
}

#[test]
fn after_a_pause_a_few_reads_come_before_the_timers() {
    let mut machine = machine();
    connect(&mut machine, at(0));
    machine.handle_pause(at(14));
    assert!(!machine.is_late(), "nothing is due");
    machine.handle_pause(at(30));
    for _ in 0..LATE_READS {
        assert!(machine.is_late());
        assert_eq!(exchange(&machine, at(30)).until, Some(at(30)));
        machine.handle_read(Ok(PUBLISH)).expect("it is read");
        machine.take_input(at(30));
    }
    assert!(!machine.is_late());
    machine.handle_pause(at(30));
    machine.handle_nothing();
    assert!(!machine.is_late());
    let events = settle(&mut machine, at(30));
    assert_eq!(events.len(), LATE_READS.into(), "{events:?}");
    assert_eq!(machine.output(), PINGREQ);
}

#[test]
fn nothing_of_one_connection_gets_into_the_next() {
    let mut machine = machine();
    connect(&mut machine, at(0));
    publish(&mut machine, at(0), 100);
    let _ = receive(&mut machine, at(0), &PUBLISH[..3]);
    machine.handle_written(Ok(1)).expect("it is written");
    machine.lose(at(1), ConnectionError::ClosedByPeer);
    let _ = settle(&mut machine, at(1));
    machine.handle_dialed(at(2), Ok(())).expect("it is open");
    assert_eq!(exchange(&machine, at(2)).writes, Writes::Nothing);
    assert!(settle(&mut machine, at(2)).is_empty());
    assert_eq!(machine.output().first(), Some(&0x10), "a CONNECT");
    flush(&mut machine);
    let events = receive(&mut machine, at(2), CONNACK);
    assert!(
        matches!(events[..], [Event::Connected(_), ..]),
        "{events:?}"
    );
}

#[test]
fn messages_are_kept_in_order_and_other_events_are_not() {
    let mut machine = machine();
    connect(&mut machine, at(0));
    for payload in b"123" {
        let mut bytes = PUBLISH.to_vec();
        bytes[6] = *payload;
        for event in receive(&mut machine, at(0), &bytes) {
            machine.keep(event);
        }
        machine.keep(Event::Disconnected(ConnectionError::ClosedByPeer));
    }
    let kept: Vec<_> = core::iter::from_fn(|| machine.take_kept()).collect();
    let kept: Vec<_> = kept.iter().map(|kept| kept.publish.payload()).collect();
    assert_eq!(kept, [b"1", b"2", b"3"]);
}

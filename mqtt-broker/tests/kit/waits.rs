//! Waits: what they return, when they fail and what they say then.

use crate::client::*;
use martlet_broker::{Direction, TestBroker, WaitErrorKind};
use martlet_proto::{PacketType, Publish};
use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// A time limit for what never comes.
const SHORT: Duration = Duration::from_millis(20);

#[test]
fn each_wait_ends_with_what_it_is_for() {
    let broker = TestBroker::start().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::connect(&broker, CLEAN, CONNACK);
            client.says(SUBSCRIBE);
            client.hears(SUBACK);
            for payload in ["1", "2", "3"] {
                client.says(&[b"\x30\x04\x00\x01t", payload.as_bytes()].concat());
            }
            // It stays until the test has seen it.
            broker
                .wait_for_packets(Direction::FromClient, PacketType::Publish, 3)
                .blocking()
                .unwrap();
        });
        broker.wait_for_connections(1).blocking().unwrap();
        let message = broker.wait_for_message("+").blocking().unwrap();
        assert_eq!((message.topic(), message.payload()), ("t", &b"1"[..]));
        let messages = broker.wait_for_messages("t", 3).blocking().unwrap();
        let payloads: Vec<&[u8]> = messages.iter().map(Publish::payload).collect();
        assert_eq!(payloads, [b"1", b"2", b"3"]);
        broker.wait_for_disconnect("a").blocking().unwrap();
    });
    let mut client = Client::connect(&broker, CLEAN, CONNACK);
    broker.wait_for_client("a").blocking().unwrap();
    client.says(SUBSCRIBE);
    broker.wait_for_subscription("t").blocking().unwrap();
    // What is not there yet is waited for.
    for wait in [
        broker.wait_for_client("b"),
        broker.wait_for_disconnect("a"),
        broker.wait_for_connections(3),
        broker.wait_for_subscription("+"),
    ] {
        assert!(wait.timeout(SHORT).blocking().is_err());
    }
    let messages = broker.wait_for_messages("t", 4).timeout(SHORT);
    assert!(messages.blocking().is_err());
    let packets = broker.wait_for_packets(Direction::ToClient, PacketType::ConnAck, 3);
    assert!(packets.timeout(SHORT).blocking().is_err());
    assert!(
        broker
            .wait_for_message("u")
            .timeout(SHORT)
            .blocking()
            .is_err()
    );
}

#[test]
fn an_error_says_what_was_seen_instead() {
    let broker = TestBroker::start().unwrap();
    let error = broker
        .wait_for_client("a")
        .timeout(SHORT)
        .blocking()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "timed out after 20ms waiting for client `a` to connect; no client has connected"
    );
    assert_eq!(*error.kind(), WaitErrorKind::TimedOut(SHORT));
    assert!(error.source().is_none());
    let mut client = Client::connect(&broker, CLEAN, CONNACK);
    client.says(QOS_1);
    client.hears(PUBACK);
    let wait = broker.wait_for_messages("a/#", 2).timeout(SHORT);
    let error = wait.blocking().unwrap_err();
    let text = "timed out after 20ms waiting for 2 messages to `a/#`; seen instead: 1 message (to `t`); \
                connection 0, client `a`, open: > CONNECT < CONNACK > PUBLISH `t` < PUBACK";
    assert_eq!(error.to_string(), text);
    // A failed test shows it in this form.
    assert_eq!(format!("{error:?}"), text);
}

#[test]
fn what_is_no_filter_is_an_error_at_once() {
    let broker = TestBroker::start().unwrap();
    for error in [
        broker.wait_for_message("a/#/b").blocking().unwrap_err(),
        broker.wait_for_messages("", 1).blocking().unwrap_err(),
    ] {
        assert!(matches!(error.kind(), WaitErrorKind::Filter(_)), "{error}");
        assert!(error.source().is_some());
    }
    assert!(broker.wait_for_subscription("#a").blocking().is_err());
}

#[test]
fn stopping_ends_the_waits() {
    let broker = TestBroker::start().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let wait = broker.wait_for_message("t");
            wait.timeout(Duration::MAX).blocking().unwrap_err()
        });
        broker.stop();
        let error = waiting.join().unwrap();
        assert_eq!(*error.kind(), WaitErrorKind::Stopped);
        assert_eq!(
            error.to_string(),
            "the broker stopped while waiting for a message to `t`; no client has connected"
        );
    });
    // A future outlives the broker.
    let broker = TestBroker::start().unwrap();
    let wait = broker.wait_for_client("a");
    drop(broker);
    let error = wait.blocking().unwrap_err();
    assert_eq!(*error.kind(), WaitErrorKind::Stopped);
}

struct Report(Sender<()>);

impl Wake for Report {
    fn wake(self: Arc<Self>) {
        // A wake-up after the test's end is for nobody.
        let _ = self.0.send(());
    }
}

/// With nothing but a waker: by a packet, and by the time limit.
#[test]
fn a_wait_needs_no_runtime() {
    let broker = TestBroker::start().unwrap();
    let (sender, wakes) = channel();
    let waker = Waker::from(Arc::new(Report(sender)));
    let mut cx = Context::from_waker(&waker);
    let mut wait = pin!(broker.wait_for_client("a"));
    assert!(wait.as_mut().poll(&mut cx).is_pending());
    let _client = Client::connect(&broker, CLEAN, CONNACK);
    loop {
        wakes.recv().unwrap();
        match wait.as_mut().poll(&mut cx) {
            Poll::Ready(found) => break found.unwrap(),
            Poll::Pending => {}
        }
    }
    let mut wait = pin!(broker.wait_for_client("b").timeout(SHORT));
    loop {
        match wait.as_mut().poll(&mut cx) {
            Poll::Ready(found) => {
                assert!(found.is_err());
                break;
            }
            Poll::Pending => wakes.recv().unwrap(),
        }
    }
}

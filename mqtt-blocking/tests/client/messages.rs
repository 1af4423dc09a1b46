//! Messages there and back, over every kind of connection, and through one that is cut.

use super::{LONG, builder, in_time, serve};
use martlet_blocking::client::NoMessage;
use martlet_blocking::{Client, ClientEvent, ConnectionState, QoS, Trust, Wait, wait_for};
use martlet_tests::certificates::Certificates;
use martlet_tests::server::Setup;
use std::thread;
use std::time::{Duration, Instant};

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

#[test]
fn a_loop_over_messages_ends_with_the_client() {
    in_time(|| {
        let server = serve(Setup::tcp());
        let client = martlet_blocking::connect(&*server.uri()).unwrap();
        let messages = client.subscribe("a").qos(QoS::ExactlyOnce).wait().unwrap();
        let reader = thread::spawn(move || {
            let mut texts = Vec::new();
            for message in messages {
                texts.push(message.text().unwrap().to_owned());
            }
            texts
        });
        let mut seen = client.subscribe("a").qos(QoS::ExactlyOnce).wait().unwrap();
        for n in 0..300 {
            let publish = client.publish("a", n.to_string()).qos(QoS::ExactlyOnce);
            publish.enqueue().wait().unwrap();
        }
        assert_eq!(seen.by_ref().take(300).count(), 300);
        let left = client.disconnect().wait().unwrap();
        assert_eq!((left.in_flight, left.queued), (0, 0));
        let expected: Vec<_> = (0..300).map(|n| n.to_string()).collect();
        assert_eq!(reader.join().unwrap(), expected);
        assert!(seen.next().is_none());
    });
}

#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../../examples/hello.rs"]
mod hello;

#[test]
fn the_example_runs() {
    in_time(|| {
        let server = super::recording();
        hello::hello(&server.uri()).unwrap();
        let texts = super::accepted(&super::events(&server));
        assert_eq!(texts, ["hello from a thread"]);
    });
}

#[test]
fn a_message_is_waited_for_as_long_as_asked_for() {
    in_time(|| {
        let server = serve(Setup::tcp());
        let client = martlet_blocking::connect(&*server.uri()).unwrap();
        let mut messages = client.subscribe("a").wait().unwrap();
        assert_eq!(
            messages.recv_timeout(Duration::from_millis(1)).unwrap_err(),
            NoMessage
        );
        assert!(messages.try_recv().is_none());
        client.publish("a", "1").wait().unwrap();
        let message = messages.recv_timeout(LONG).unwrap().unwrap();
        assert_eq!(message.text(), Some("1"));
        // In one write, so that what came with the second is there when that is.
        client.publish("a", "2").wait().unwrap();
        assert_eq!(messages.recv().unwrap().text(), Some("2"));
        let mut manual = messages.acknowledge_manually();
        client.publish("a", "3").wait().unwrap();
        assert_eq!(manual.recv().unwrap().acknowledge().text(), Some("3"));
        let mut positioned = client.subscribe("b").qos(QoS::AtLeastOnce).wait().unwrap();
        assert!(positioned.try_recv().is_none());
        let mut positioned = positioned.acknowledge_by_position();
        let publish = client.publish("b", "4").qos(QoS::AtLeastOnce);
        publish.wait().unwrap();
        let position = positioned.recv().unwrap().position();
        assert_eq!(positioned.acknowledge_up_to(position), Ok(1));
        assert_eq!(positioned.acknowledger().acknowledge_up_to(position), Ok(0));
        assert_eq!(manual.reasons().len(), 1);
        assert_eq!(manual.dropped(), 0);
        client.disconnect().wait();
        assert!(manual.recv_timeout(LONG).unwrap().is_none());
    });
}

/// What has come is there without a wait, and what comes when a wait is over is not lost.
#[test]
fn what_has_come_is_taken_without_a_wait() {
    in_time(|| {
        let server = serve(Setup::tcp());
        let client = martlet_blocking::connect(&*server.uri()).unwrap();
        let mut messages = client.subscribe("a").wait().unwrap();
        let (mut events, mut states) = (client.events(), client.state_changes());
        assert!(matches!(
            states.try_recv(),
            Some(ConnectionState::Connected(_))
        ));
        assert!(states.try_recv().is_none());
        let (time, begin) = (Duration::from_millis(5), Instant::now());
        messages.recv_timeout(time).unwrap_err();
        assert!(begin.elapsed() >= time);
        events.recv_timeout(time).unwrap_err();
        assert!(begin.elapsed() >= 2 * time);
        for n in 0..4 {
            client.publish("a", n.to_string()).wait().unwrap();
        }
        // The answer to it comes after the messages.
        client.ping().unwrap();
        let at_once = messages.recv_timeout(Duration::ZERO).unwrap();
        assert_eq!(at_once.unwrap().text(), Some("0"));
        assert_eq!(messages.try_recv().unwrap().text(), Some("1"));
        assert_eq!(messages.next().unwrap().text(), Some("2"));
        assert_eq!(messages.recv().unwrap().text(), Some("3"));
        assert!(messages.try_recv().is_none());
        client.disconnect().wait().unwrap();
        assert_eq!(events.try_recv(), Some(ClientEvent::Closed));
        let state = states.recv_timeout(Duration::ZERO);
        assert_eq!(state, Ok(Some(ConnectionState::Closed)));
        assert_eq!(events.recv_timeout(Duration::ZERO), Ok(None));
    });
}

/// Messages of a subscription whose stream is detached.
#[test]
fn messages_that_match_no_subscription() {
    in_time(|| {
        let server = serve(Setup::tcp());
        let client = martlet_blocking::connect(&*server.uri()).unwrap();
        client.subscribe("a").wait().unwrap().detach();
        let mut unmatched = client.unmatched().unwrap();
        assert!(client.unmatched().is_none(), "they are taken");
        client.publish("a", "1").wait().unwrap();
        assert_eq!(unmatched.recv().unwrap().text(), Some("1"));
    });
}

/// Threads that share a handle, and wait for each other's messages.
#[test]
fn threads_share_a_client() {
    in_time(|| {
        let server = serve(Setup::tcp());
        let client = martlet_blocking::connect(&*server.uri()).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let client = client.clone();
                thread::spawn(move || {
                    let topic = format!("a/{thread}");
                    let subscribe = client.subscribe(&*topic).qos(QoS::ExactlyOnce);
                    let mut messages = subscribe.wait().unwrap();
                    for n in 0..50 {
                        let publish = client.publish(&*topic, n.to_string());
                        publish.qos(ALL_QOS[n % 3]).wait().unwrap();
                        let message = messages.recv().unwrap();
                        assert_eq!(message.text(), Some(&*n.to_string()));
                    }
                    messages.unsubscribe().wait().unwrap();
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_connection_is_cut_and_comes_back() {
    in_time(|| {
        let server = serve(Setup::tcp());
        let client = martlet_blocking::connect_with(builder(&server)).unwrap();
        let mut messages = client.subscribe("a").qos(QoS::AtLeastOnce).wait().unwrap();
        let mut events = client.events();
        for n in 0..3 {
            wait_for(server.cut()).unwrap();
            // The client may not know yet that its connection is gone.
            client
                .publish("a", n.to_string())
                .qos(QoS::AtLeastOnce)
                .wait()
                .unwrap();
            events
                .find(|event| matches!(event, ClientEvent::Connected(_)))
                .unwrap();
            client
                .publish("a", "after")
                .qos(QoS::AtLeastOnce)
                .wait()
                .unwrap();
            assert!(messages.any(|message| message.text() == Some("after")));
        }
    });
}

/// Larger than the buffers on the way.
fn exchange(client: &Client) {
    let payload: Vec<_> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let mut messages = client.subscribe("a").qos(QoS::ExactlyOnce).wait().unwrap();
    for qos in ALL_QOS {
        let publish = client.publish("a", payload.clone()).qos(qos);
        publish.wait().unwrap();
        assert!(messages.recv().unwrap().payload() == payload);
    }
    client.disconnect().wait().unwrap();
}

#[test]
fn tls_and_websocket() {
    in_time(|| {
        let trust = || Trust::new().ca_pem(&*Certificates::shared().authority.pem);
        for setup in [
            Setup::tls(),
            Setup::tcp().websocket(),
            Setup::tls().websocket(),
        ] {
            let is_tls = setup.tls.is_some();
            let server = serve(setup);
            let mut builder = Client::builder(server.uri_by_name());
            if is_tls {
                builder = builder.trust(trust());
            }
            exchange(&martlet_blocking::connect_with(builder).unwrap());
        }
    });
}

#[cfg(unix)]
#[test]
fn unix_sockets() {
    in_time(|| {
        let server = serve(Setup::unix());
        exchange(&martlet_blocking::connect(&*server.uri()).unwrap());
    });
}

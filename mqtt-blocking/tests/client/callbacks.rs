//! The application's code on the client's own thread.

use super::{Receives, in_time, recording, serve};
use martlet_blocking::hooks::GivenUp;
use martlet_blocking::proto::Packet;
use martlet_blocking::runtime::off_thread;
use martlet_blocking::session::TransportErrorKind;
use martlet_blocking::{
    Client, ConnectError, ConnectionError, PublishError, QoS, RequestError, SubscribeError,
    Subscription, Wait, connect,
};
use martlet_tests::server::Setup;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

/// Everything that waits, on the thread that would have to do what is waited for.
fn waits(client: &Client, messages: &mut Subscription, uri: &str) {
    let publish = || client.publish("a", "b").qos(QoS::AtLeastOnce);
    assert_eq!(publish().wait(), Err(PublishError::Timeout));
    let mut receipt = publish().enqueue().wait().unwrap();
    assert_eq!((&mut receipt).wait(), Err(PublishError::Timeout));
    assert_eq!(
        client.subscribe("c").wait().unwrap_err(),
        SubscribeError::Request(RequestError::Timeout)
    );
    assert_eq!(client.ping(), Err(RequestError::Timeout));
    assert!(client.unsubscribe("d").wait().is_err());
    assert!(client.request("e", "").wait().is_err());
    assert!(client.flush().is_err());
    assert!(messages.recv().is_none());
    assert!(client.events().recv().is_none());
    // What needs no wait is returned.
    assert!(client.connected().is_ok());
    assert!(client.reconnect().wait().is_ok());
    assert!(client.state_changes().recv().is_some());
    // Another client has another thread, but may wait for this one.
    match connect(uri) {
        Err(ConnectError::Connection(ConnectionError::Transport(error))) => {
            assert_eq!(error.kind(), TransportErrorKind::ConnectTimeout);
        }
        other => panic!("{other:?}"),
    }
    assert!(client.disconnect().wait().is_none());
}

#[test]
fn nothing_waits_on_the_clients_own_thread() {
    in_time(|| {
        let server = recording();
        let (done, has_waited) = mpsc::channel();
        let given: Arc<Mutex<Option<(Client, Subscription)>>> = Arc::default();
        let observer = Receives::new({
            let (given, uri) = (Arc::clone(&given), server.uri());
            move |packet| {
                if let (Packet::PingResp, Some((client, mut messages))) =
                    (packet, given.lock().unwrap().take())
                {
                    let all = std::panic::AssertUnwindSafe(|| waits(&client, &mut messages, &uri));
                    done.send(std::panic::catch_unwind(all)).unwrap();
                }
            }
        });
        let builder = Client::builder(server.uri()).observer(observer);
        let client = martlet_blocking::connect_with(builder).unwrap();
        let messages = client.subscribe("nothing").wait().unwrap();
        *given.lock().unwrap() = Some((client.clone(), messages));
        let _ = client.ping();
        has_waited.recv().unwrap().unwrap();
        // What began there goes on.
        drop(client);
        let texts = super::accepted(&super::events(&server));
        assert_eq!(texts, ["b", "b"]);
    });
}

/// Work that blocks is done elsewhere before each attempt; when it fails, so does the attempt.
#[test]
fn a_hook_may_block_off_the_thread() {
    in_time(|| {
        let server = serve(Setup::tcp());
        let (called, calls) = mpsc::channel();
        let called = Mutex::new(called);
        let called = Arc::new(called);
        let builder = |succeeds: bool| {
            let called = Arc::clone(&called);
            Client::builder(server.uri()).before_connect(move |mut attempt| {
                let called = Arc::clone(&called);
                async move {
                    let token = off_thread(move || {
                        assert!(succeeds, "as it should");
                        let id = thread::current().id();
                        called.lock().unwrap().send(id).unwrap();
                        "secret"
                    });
                    let token = token.await.map_err(GivenUp::for_now)?;
                    attempt.set_credentials("device-7", token)?;
                    Ok(attempt)
                }
            })
        };
        let client = martlet_blocking::connect_with(builder(true)).unwrap();
        client.ping().unwrap();
        assert_ne!(calls.recv().unwrap(), thread::current().id());
        let failed = martlet_blocking::connect_with(builder(false)).unwrap_err();
        assert!(matches!(
            failed,
            ConnectError::Connection(ConnectionError::GivenUp(_))
        ));
    });
}

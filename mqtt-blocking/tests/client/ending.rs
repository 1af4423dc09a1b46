//! How a client ends, with its thread.

use super::{accepted, events, has_ended, in_time, recording, serve, until_ended, watched};
use martlet_blocking::proto::{ConnectReasonCode, DisconnectReasonCode, Packet};
use martlet_blocking::store::MemoryStore;
use martlet_blocking::{
    Client, ConnectError, ConnectionError, ConnectionState, QoS, Wait, wait_for,
};
use martlet_broker::{BrokerConfig, BrokerEvent, Ending, Memory};
use martlet_tests::server::{Setup, TestServer};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn enqueue(client: &Client, messages: usize) {
    for n in 0..messages {
        let publish = client.publish("a", n.to_string()).qos(ALL_QOS[n % 3]);
        publish.enqueue().wait().unwrap();
    }
}

/// All of them have arrived, and the client has said that it goes.
fn assert_drained(server: &TestServer, messages: usize) {
    let events = events(server);
    let mut numbers: Vec<usize> = accepted(&events)
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..messages).collect::<Vec<_>>());
    let goodbye = Ending::Client(DisconnectReasonCode::NormalDisconnection);
    let said = |event: &BrokerEvent| matches!(event, BrokerEvent::Disconnected { ending, .. } if *ending == goodbye);
    assert!(events.iter().any(said), "{events:?}");
}

/// The last of the handles, while a subscription is left, which ends.
#[test]
fn dropping_the_last_handle_sends_what_was_published() {
    in_time(|| {
        let server = recording();
        let (observer, ended) = watched();
        let builder = Client::builder(server.uri()).observer(observer);
        let client = martlet_blocking::connect_with(builder).unwrap();
        let mut messages = client.subscribe("b").wait().unwrap();
        enqueue(&client, 600);
        let last = client.clone();
        drop(client);
        last.ping().unwrap();
        drop(last);
        assert!(has_ended(&ended));
        assert_drained(&server, 600);
        assert!(messages.recv().is_none());
    });
}

#[test]
fn dropping_the_last_handle_in_a_callback_does_not_wait() {
    in_time(|| {
        let server = recording();
        let (alive, ended) = mpsc::channel::<()>();
        let (give, given) = mpsc::channel::<Client>();
        let (dropped, has_dropped) = mpsc::channel();
        let given = Mutex::new(given);
        let observer = super::Receives::new(move |packet| {
            let _ = &alive;
            if let Packet::Publish(_) = packet {
                drop(given.lock().unwrap().recv().unwrap());
                dropped.send(()).unwrap();
            }
        });
        let builder = Client::builder(server.uri()).observer(observer);
        let client = martlet_blocking::connect_with(builder).unwrap();
        let messages = client.subscribe("end").wait().unwrap();
        enqueue(&client, 30);
        let events = client.events();
        give.send(client).unwrap();
        let other = martlet_blocking::connect(&*server.uri()).unwrap();
        other.publish("end", "30").wait().unwrap();
        has_dropped.recv().unwrap();
        until_ended(&ended);
        assert_drained(&server, 31);
        // They end, whatever had come.
        let _ = (messages.count(), events.count());
    });
}

/// A handle, and a message for when it has been dropped.
struct Held(Option<Client>, mpsc::Sender<()>);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.take());
        self.1.send(()).unwrap();
    }
}

/// An observer that holds a handle of its own client keeps it, until it is disconnected. Then the
/// thread drops that handle, the last one, and does not wait for itself.
#[test]
fn a_handle_in_the_clients_own_observer() {
    in_time(|| {
        let server = serve(Setup::tcp());
        let own: Arc<Mutex<Option<Held>>> = Arc::default();
        let observer = super::Receives::new({
            let own = Arc::clone(&own);
            move |_| {
                let _ = &own;
            }
        });
        let builder = Client::builder(server.uri()).observer(observer);
        let client = martlet_blocking::connect_with(builder).unwrap();
        let (dropped, has_dropped) = mpsc::channel();
        *own.lock().unwrap() = Some(Held(Some(client.clone()), dropped));
        drop(own);
        // Not the last: it does not disconnect.
        drop(client.clone());
        client.ping().unwrap();
        let end = client.state_changes();
        // It may take longer than that, and be dropped meanwhile.
        let _ = client.disconnect().wait_timeout(Duration::ZERO);
        drop(client);
        assert!(matches!(end.last(), Some(ConnectionState::Closed)));
        has_dropped.recv().unwrap();
    });
}

/// Nobody joins the thread of a handle that is leaked.
#[test]
fn the_thread_of_a_leaked_handle_ends_with_the_client() {
    in_time(|| {
        let server = serve(Setup::tcp());
        let (observer, ended) = watched();
        let builder = Client::builder(server.uri()).observer(observer);
        let client = martlet_blocking::connect_with(builder).unwrap();
        std::mem::forget(client.clone());
        client.disconnect().wait().unwrap();
        until_ended(&ended);
    });
}

#[test]
fn a_client_that_cannot_connect_leaves_no_thread() {
    in_time(|| {
        let reject = Some(ConnectReasonCode::NotAuthorized);
        let server = serve(Setup::tcp().broker(BrokerConfig::default().reject(reject)));
        let (observer, ended) = watched();
        let builder = Client::builder(server.uri()).observer(observer);
        match martlet_blocking::connect_with(builder) {
            Err(ConnectError::Connection(ConnectionError::Rejected(rejection))) => {
                assert_eq!(rejection.reason, ConnectReasonCode::NotAuthorized);
            }
            other => panic!("{other:?}"),
        }
        assert!(has_ended(&ended));
        let wrong = martlet_blocking::connect("mqtt//");
        assert!(matches!(wrong, Err(ConnectError::Uri(_))));
    });
}

/// A client that has stopped by itself can be revived; dropping it ends its thread.
#[test]
fn a_client_that_has_stopped_is_revived_and_dropped() {
    in_time(|| {
        let server = serve(Setup::tcp());
        wait_for(server.kill(Memory::Lost)).unwrap();
        let (observer, ended) = watched();
        let builder = Client::builder(server.uri()).observer(observer);
        let client = martlet_blocking::start(builder).unwrap();
        client.connected().unwrap_err();
        assert!(!has_ended(&ended));
        wait_for(server.revive()).unwrap();
        client.reconnect().wait().unwrap();
        client.ping().unwrap();
        wait_for(server.kill(Memory::Lost)).unwrap();
        drop(client);
        assert!(has_ended(&ended));
    });
}

#[test]
fn the_thread_of_an_asynchronous_handle_goes_on() {
    in_time(|| {
        let server = recording();
        let (observer, ended) = watched();
        let builder = Client::builder(server.uri()).observer(observer);
        let client = martlet_blocking::connect_with(builder).unwrap();
        let other = client.clone();
        let handle = client.into_async();
        drop(other);
        let publish = handle.publish("a", "0").qos(QoS::AtLeastOnce);
        wait_for(publish).unwrap().unwrap();
        drop(handle);
        until_ended(&ended);
        assert_drained(&server, 1);
    });
}

/// Dropping it waits for the store, too.
#[test]
fn a_client_with_a_store() {
    in_time(|| {
        let server = recording();
        let builder = Client::builder(server.uri()).client_identifier("stored");
        let store = MemoryStore::new();
        let client = martlet_blocking::connect_with(builder.store(store.clone())).unwrap();
        let publish = |n| client.publish("a", n).qos(QoS::AtLeastOnce);
        publish("0").wait().unwrap();
        publish("1").enqueue().wait().unwrap();
        let mut receipt = publish("2").try_enqueue().unwrap();
        wait_for(receipt.stored()).unwrap().unwrap();
        drop(client);
        assert_drained(&server, 3);
        assert!(!store.records().is_empty());
    });
}

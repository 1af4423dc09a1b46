//! 45–48: what the server publishes for a client that is gone.

use super::{broker, connect, message, next, settings};
use martlet_tokio::settings::Will;
use martlet_tokio::{QoS, Settings, Tokio};

fn with_will(uri: String, text: &str, retain: bool) -> Settings {
    let will = Will { topic: "will/t".into(), message: text.into(), qos: QoS::AtLeastOnce, retain };
    Settings { will: Some(will), ..settings(uri) }
}

/// Connects, and is gone without a word.
async fn vanishes(settings: &Settings) {
    let (client, driver) = settings.builder().unwrap().build(Tokio);
    tokio::select! {
        end = driver => panic!("{end}"),
        connected = client.connected() => drop(connected.unwrap()),
    }
}

#[tokio::test]
async fn t45_a_clean_disconnect_has_no_will() {
    let broker = broker().await;
    let watcher = connect(&settings(broker.uri())).await;
    let mut messages = watcher.subscribe("#").await.unwrap();
    connect(&with_will(broker.uri(), "gone", false)).await.disconnect().await;
    watcher.publish("after", "it").await.unwrap();
    assert_eq!(next(&mut messages).await, message("after", "it", 0));
}

#[tokio::test]
async fn t46_a_lost_client_has() {
    let broker = broker().await;
    let watcher = connect(&settings(broker.uri())).await;
    let mut messages = watcher.subscribe("#").qos(QoS::ExactlyOnce).await.unwrap();
    vanishes(&with_will(broker.uri(), "gone", false)).await;
    assert_eq!(next(&mut messages).await, message("will/t", "gone", 1));
}

#[tokio::test]
async fn t47_a_retained_will_comes_to_who_subscribes_later() {
    let broker = broker().await;
    let watcher = connect(&settings(broker.uri())).await;
    let mut messages = watcher.subscribe("will/t").await.unwrap();
    vanishes(&with_will(broker.uri(), "gone", true)).await;
    next(&mut messages).await;
    let mut later = watcher.subscribe("will/#").await.unwrap();
    let message = later.next().await.unwrap();
    assert_eq!((message.text(), message.retain()), (Some("gone"), true));
}

#[tokio::test]
async fn t48_an_empty_will() {
    let broker = broker().await;
    let watcher = connect(&settings(broker.uri())).await;
    let mut messages = watcher.subscribe("will/t").await.unwrap();
    vanishes(&with_will(broker.uri(), "", false)).await;
    assert_eq!(next(&mut messages).await, message("will/t", "", 0));
}

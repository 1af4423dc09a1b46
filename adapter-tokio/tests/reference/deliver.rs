//! 28–36: messages that come.

use super::{broker, broker_with, connect, message, next, settings};
use martlet_broker::Config;
use martlet_tokio::{NoMessage, QoS, Settings};
use std::time::Duration;

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A session of its own name, which the server keeps.
fn lasting(uri: String) -> Settings {
    let mut settings = Settings { cleansession: false, ..settings(uri) };
    settings.martlet.client_id = Some("lasting".to_owned());
    settings
}

#[tokio::test]
async fn t28_a_message_with_its_topic_and_its_data() {
    let broker = broker().await;
    let client = connect(&settings(broker.uri())).await;
    let mut messages = client.subscribe("a/#").await.unwrap();
    client.publish("a/b", "data").await.unwrap();
    let message = messages.next().await.unwrap();
    assert_eq!((message.topic(), message.payload()), ("a/b", &b"data"[..]));
    assert_eq!((message.qos(), message.retain(), message.duplicate()), (QoS::AtMostOnce, false, false));
}

#[tokio::test]
async fn t29_waiting_for_a_message_that_does_not_come() {
    let broker = broker().await;
    let client = connect(&settings(broker.uri())).await;
    let mut messages = client.subscribe("a").await.unwrap();
    assert_eq!(messages.next_timeout(Duration::from_millis(20)).await, Err(NoMessage));
    // The wait that ended has taken nothing.
    client.publish("a", "b").await.unwrap();
    assert_eq!(next(&mut messages).await, message("a", "b", 0));
}

#[tokio::test]
async fn t30_messages_of_each_qos_in_order() {
    let broker = broker().await;
    let client = connect(&settings(broker.uri())).await;
    let mut messages = client.subscribe("a").qos(QoS::ExactlyOnce).await.unwrap();
    for qos in ALL_QOS {
        client.publish("a", "b").qos(qos).await.unwrap();
    }
    for qos in 0..3 {
        assert_eq!(next(&mut messages).await, message("a", "b", qos));
    }
}

#[tokio::test]
async fn t31_a_retained_message_comes_to_who_subscribes_later() {
    let broker = broker().await;
    let client = connect(&settings(broker.uri())).await;
    client.publish("a", "kept").qos(QoS::AtLeastOnce).retain(true).await.unwrap();
    let mut messages = client.subscribe("a").await.unwrap();
    let message = messages.next().await.unwrap();
    assert_eq!((message.text(), message.retain()), (Some("kept"), true));
}

#[tokio::test]
async fn t32_the_last_retained_message_counts() {
    let broker = broker().await;
    let client = connect(&settings(broker.uri())).await;
    for text in ["first", "second", "last"] {
        client.publish("a", text).qos(QoS::AtLeastOnce).retain(true).await.unwrap();
    }
    let mut messages = client.subscribe("a").await.unwrap();
    assert_eq!(next(&mut messages).await, message("a", "last", 0));
}

#[tokio::test]
async fn t33_a_retained_message_of_the_time_away() {
    let broker = broker().await;
    let client = connect(&lasting(broker.uri())).await;
    let messages = client.subscribe("a").qos(QoS::AtLeastOnce).await.unwrap();
    client.disconnect().await;
    drop(messages);

    let other = connect(&settings(broker.uri())).await;
    other.publish("a", "kept").qos(QoS::AtLeastOnce).retain(true).await.unwrap();
    let client = connect(&lasting(broker.uri())).await;
    assert!(client.connected().await.unwrap().session_present);
    let mut messages = client.catch_all().unwrap();
    assert_eq!(next(&mut messages).await, message("a", "kept", 1));
}

#[tokio::test]
async fn t34_a_lasting_session_gets_what_was_sent_meanwhile_but_not_qos_0() {
    let broker = broker().await;
    let client = connect(&lasting(broker.uri())).await;
    let messages = client.subscribe("a").qos(QoS::ExactlyOnce).await.unwrap();
    client.disconnect().await;
    drop(messages);

    let other = connect(&settings(broker.uri())).await;
    for (qos, text) in ALL_QOS.into_iter().zip(["0", "1", "2"]) {
        other.publish("a", text).qos(qos).await.unwrap();
    }
    let builder = lasting(broker.uri()).builder().unwrap();
    let (client, driver) = builder.build(martlet_tokio::Tokio);
    // There before the first connection, so that nothing can come before it.
    let mut messages = client.catch_all().unwrap();
    tokio::spawn(driver);
    assert_eq!(next(&mut messages).await, message("a", "1", 1));
    assert_eq!(next(&mut messages).await, message("a", "2", 2));
    other.publish("a", "3").await.unwrap();
    assert_eq!(next(&mut messages).await, message("a", "3", 0), "and nothing before it");
}

#[tokio::test]
async fn t35_wildcards_at_the_beginning_do_not_stand_for_topics_of_the_server() {
    let config = Config { sys_interval: Duration::from_millis(5), ..Config::default() };
    let broker = broker_with(config).await;
    let client = connect(&settings(broker.uri())).await;
    let mut system = client.subscribe("$SYS/#").await.unwrap();
    let all = [("#", QoS::AtMostOnce), ("+/broker/#", QoS::AtMostOnce)];
    let mut all = client.subscribe_all(all).await.unwrap();
    for _ in 0..10 {
        assert!(next(&mut system).await.0.starts_with("$SYS/"));
    }
    client.publish("a", "b").await.unwrap();
    assert_eq!(next(&mut all).await, message("a", "b", 0));
    // What the server does with a client's own is its affair.
    let mut own = client.subscribe("$my/#").await.unwrap();
    client.publish("$my/own", "c").await.unwrap();
    assert_eq!(next(&mut own).await, message("$my/own", "c", 0));
}

#[tokio::test]
async fn t36_an_asterisk_is_a_letter() {
    let broker = broker().await;
    let client = connect(&settings(broker.uri())).await;
    let mut messages = client.subscribe("a/*/+").await.unwrap();
    client.publish("a/b/*", "no").await.unwrap();
    client.publish("a/*/*", "yes").await.unwrap();
    assert_eq!(next(&mut messages).await, message("a/*/*", "yes", 0));
}

//! What any broker serves: each is a test with the embedded one, and in `interop` with brokers that
//! others have made.

use crate::client::{connect, lasting, message, next, settings};
use martlet_proto::ConnectReasonCode;
use martlet_tokio::settings::WillSettings;
use martlet_tokio::{
    QoS, Settings, SubscribeError, Tokio, TopicFilter, client::NoMessage, proto::SubAckReasonCode,
};
use std::future::{IntoFuture, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Topics to subscribe to at the QoS at which they are published to: amqtt delivers at that of the
/// subscription.
const TOPICS: [(&str, QoS); 3] = [
    ("a/0", QoS::AtMostOnce),
    ("a/1", QoS::AtLeastOnce),
    ("a/2", QoS::ExactlyOnce),
];

// ---- connecting

pub(crate) async fn t15_without_a_uri_the_configured_or_the_default_one(uri: &str) {
    assert_eq!(
        Settings::default().connection.uri.as_str(),
        "mqtt://127.0.0.1:1883"
    );
    let yaml = format!("connection: {{uri: '{uri}'}}");
    connect(&Settings::from_yaml(&yaml).unwrap())
        .await
        .disconnect()
        .await;
}

pub(crate) async fn t17_the_servers_answer(uri: &str) {
    let client = connect(&settings(uri)).await;
    let connected = client.connected().await.unwrap();
    assert_eq!(
        (connected.connack.reason, connected.session_present),
        (ConnectReasonCode::Success, false)
    );
}

// ---- subscribing and unsubscribing

pub(crate) async fn t20_a_ping_is_answered(uri: &str) {
    connect(&settings(uri)).await.ping().await.unwrap();
}

/// In one SUBSCRIBE.
pub(crate) async fn t22_one_filter_at_each_qos(uri: &str) {
    let client = connect(&settings(uri)).await;
    let filters = [
        ("a", QoS::AtMostOnce),
        ("a", QoS::AtLeastOnce),
        ("a", QoS::ExactlyOnce),
    ];
    let mut messages = client.subscribe_all(filters).await.unwrap();
    let codes: Vec<u8> = messages
        .reasons()
        .iter()
        .map(|reason| reason.as_u8())
        .collect();
    assert_eq!(codes, [0, 1, 2]);
    client
        .publish("a", "b")
        .qos(QoS::ExactlyOnce)
        .await
        .unwrap();
    assert_eq!(messages.next().await.unwrap().text(), Some("b"));
}

pub(crate) async fn t23_what_is_unsubscribed_from_does_not_come(uri: &str) {
    let client = connect(&settings(uri)).await;
    let messages = client.subscribe("a").await.unwrap();
    let mut others = client.subscribe("b").await.unwrap();
    messages.unsubscribe().await.unwrap();
    client.publish("a", "no").await.unwrap();
    client.publish("b", "yes").await.unwrap();
    assert_eq!(next(&mut others).await, message("b", "yes", 0));
}

pub(crate) async fn t24_unsubscribing_from_what_was_never_subscribed_to(uri: &str) {
    let client = connect(&settings(uri)).await;
    client
        .unsubscribe(TopicFilter::new("never").unwrap())
        .await
        .unwrap();
}

/// amqtt sends these four in one SUBSCRIBE, and the server rejects the third. A filter that MQTT
/// does not have is an error here, and nothing is sent; the others are good.
pub(crate) async fn t25_wildcards_in_the_wrong_places(uri: &str) {
    let client = connect(&settings(uri)).await;
    let four =
        ["+", "+/tennis/#", "sport+", "sport/+/player1"].map(|filter| (filter, QoS::AtMostOnce));
    let rejected = client.subscribe_all(four).await.unwrap_err();
    assert!(matches!(rejected, SubscribeError::Filter(_)), "{rejected}");
    let good = ["+", "+/tennis/#", "sport/+/player1"].map(|filter| (filter, QoS::AtMostOnce));
    let messages = client.subscribe_all(good).await.unwrap();
    assert_eq!(messages.reasons(), [SubAckReasonCode::GrantedQos0; 3]);
}

/// The server has one subscription: each message comes once.
pub(crate) async fn t26_subscribing_twice_to_one_filter(uri: &str) {
    let client = connect(&settings(uri)).await;
    let mut first = client.subscribe("a").await.unwrap();
    let mut second = client.subscribe("a").await.unwrap();
    client.publish("a", "b").await.unwrap();
    client.publish("a", "c").await.unwrap();
    for messages in [&mut first, &mut second] {
        assert_eq!(next(messages).await, message("a", "b", 0));
        assert_eq!(next(messages).await, message("a", "c", 0));
    }
}

// ---- messages that come

pub(crate) async fn t28_a_message_with_its_topic_and_its_data(uri: &str) {
    let client = connect(&settings(uri)).await;
    let mut messages = client.subscribe("a/#").await.unwrap();
    client.publish("a/b", "data").await.unwrap();
    let message = messages.next().await.unwrap();
    assert_eq!((message.topic(), message.payload()), ("a/b", &b"data"[..]));
    assert_eq!(
        (message.qos(), message.retain(), message.duplicate()),
        (QoS::AtMostOnce, false, false)
    );
}

pub(crate) async fn t29_waiting_for_a_message_that_does_not_come(uri: &str) {
    let client = connect(&settings(uri)).await;
    let mut messages = client.subscribe("a").await.unwrap();
    assert_eq!(
        messages.next_timeout(Duration::from_millis(20)).await,
        Err(NoMessage)
    );
    // The wait that ended has taken nothing.
    client.publish("a", "b").await.unwrap();
    assert_eq!(next(&mut messages).await, message("a", "b", 0));
}

pub(crate) async fn t30_messages_of_each_qos_in_order(uri: &str) {
    let client = connect(&settings(uri)).await;
    let mut messages = client.subscribe_all(TOPICS).await.unwrap();
    for (topic, qos) in TOPICS {
        client.publish(topic, "b").qos(qos).await.unwrap();
    }
    for (topic, qos) in TOPICS {
        assert_eq!(next(&mut messages).await, message(topic, "b", qos.as_u8()));
    }
}

pub(crate) async fn t31_a_retained_message_comes_to_who_subscribes_later(uri: &str) {
    let client = connect(&settings(uri)).await;
    client
        .publish("a", "kept")
        .qos(QoS::AtLeastOnce)
        .retain(true)
        .await
        .unwrap();
    let mut messages = client.subscribe("a").await.unwrap();
    let message = messages.next().await.unwrap();
    assert_eq!((message.text(), message.retain()), (Some("kept"), true));
}

pub(crate) async fn t32_the_last_retained_message_counts(uri: &str) {
    let client = connect(&settings(uri)).await;
    for text in ["first", "second", "last"] {
        client
            .publish("a", text)
            .qos(QoS::AtLeastOnce)
            .retain(true)
            .await
            .unwrap();
    }
    let mut messages = client.subscribe("a").await.unwrap();
    assert_eq!(next(&mut messages).await, message("a", "last", 0));
}

pub(crate) async fn t33_a_retained_message_of_the_time_away(uri: &str) {
    let client = connect(&lasting(uri)).await;
    let messages = client.subscribe("a").qos(QoS::AtLeastOnce).await.unwrap();
    client.disconnect().await;
    drop(messages);

    let other = connect(&settings(uri)).await;
    other
        .publish("a", "kept")
        .qos(QoS::AtLeastOnce)
        .retain(true)
        .await
        .unwrap();
    let client = connect(&lasting(uri)).await;
    assert!(client.connected().await.unwrap().session_present);
    let mut messages = client.unmatched().unwrap();
    assert_eq!(next(&mut messages).await, message("a", "kept", 1));
}

pub(crate) async fn t34_a_lasting_session_gets_what_was_sent_meanwhile_but_not_qos_0(uri: &str) {
    let client = connect(&lasting(uri)).await;
    let messages = client.subscribe_all(TOPICS).await.unwrap();
    client.disconnect().await;
    drop(messages);

    let other = connect(&settings(uri)).await;
    for (topic, qos) in TOPICS {
        other.publish(topic, "away").qos(qos).await.unwrap();
    }
    let (client, driver) = lasting(uri).builder().unwrap().build(Tokio).unwrap();
    // There before the first connection, so that nothing can come before it.
    let mut messages = client.unmatched().unwrap();
    tokio::spawn(driver);
    assert_eq!(next(&mut messages).await, message("a/1", "away", 1));
    assert_eq!(next(&mut messages).await, message("a/2", "away", 2));
    other.publish("a/0", "back").await.unwrap();
    assert_eq!(
        next(&mut messages).await,
        message("a/0", "back", 0),
        "and nothing before it"
    );
}

pub(crate) async fn t35_wildcards_at_the_beginning_do_not_stand_for_topics_of_the_server(
    uri: &str,
) {
    let client = connect(&settings(uri)).await;
    let all = [("#", QoS::AtMostOnce), ("+/own", QoS::AtMostOnce)];
    let mut messages = client.subscribe_all(all).await.unwrap();
    // amqtt ends the connection of who publishes to such a topic.
    let other = connect(&settings(uri)).await;
    other.publish("$my/own", "no").await.unwrap();
    other.disconnect().await;
    client.publish("a", "yes").await.unwrap();
    assert_eq!(next(&mut messages).await, message("a", "yes", 0));
}

pub(crate) async fn t36_an_asterisk_is_a_letter(uri: &str) {
    let client = connect(&settings(uri)).await;
    let mut messages = client.subscribe("a/*/+").await.unwrap();
    client.publish("a/b/*", "no").await.unwrap();
    client.publish("a/*/*", "yes").await.unwrap();
    assert_eq!(next(&mut messages).await, message("a/*/*", "yes", 0));
}

// ---- publishing

pub(crate) async fn t37_each_qos_one_after_the_other_and_together(uri: &str) {
    let client = connect(&settings(uri)).await;
    let mut messages = client.subscribe_all(TOPICS).await.unwrap();
    for (topic, qos) in TOPICS {
        client.publish(topic, "b").qos(qos).await.unwrap();
        assert_eq!(next(&mut messages).await, message(topic, "b", qos.as_u8()));
    }
    let [zero, one, two] =
        TOPICS.map(|(topic, qos)| client.publish(topic, "b").qos(qos).into_future());
    let (zero, one, two) = tokio::join!(zero, one, two);
    assert!(zero.is_ok() && one.is_ok() && two.is_ok());
    let mut together = [
        next(&mut messages).await,
        next(&mut messages).await,
        next(&mut messages).await,
    ];
    together.sort();
    assert_eq!(
        together,
        TOPICS.map(|(topic, qos)| message(topic, "b", qos.as_u8()))
    );
    assert_eq!((client.in_flight(), client.queued()), (0, 0));
}

pub(crate) async fn t38_a_large_message(uri: &str) {
    let client = connect(&settings(uri)).await;
    let mut messages = client.subscribe("a").qos(QoS::ExactlyOnce).await.unwrap();
    let payload: Vec<u8> = (0..256 * 1024).map(|n| n as u8).collect();
    client
        .publish("a", payload.clone())
        .qos(QoS::ExactlyOnce)
        .await
        .unwrap();
    assert_eq!(messages.next().await.unwrap().payload(), payload);
}

pub(crate) async fn t40_retained_and_cleared(uri: &str) {
    let client = connect(&settings(uri)).await;
    client
        .publish("a", "b")
        .qos(QoS::AtLeastOnce)
        .retain(true)
        .await
        .unwrap();
    let mut messages = client.subscribe("a").await.unwrap();
    assert_eq!(next(&mut messages).await, message("a", "b", 0));
    messages.unsubscribe().await.unwrap();
    client
        .publish("a", "")
        .qos(QoS::AtLeastOnce)
        .retain(true)
        .await
        .unwrap();
    let mut messages = client.subscribe("a").await.unwrap();
    client.publish("a", "only this").await.unwrap();
    assert_eq!(next(&mut messages).await, message("a", "only this", 0));
}

/// Whatever was given up, the client goes on and disconnects as it should.
pub(crate) async fn t44_disconnecting_after_giving_up(uri: &str) {
    for qos in ALL_QOS {
        let client = connect(&settings(uri)).await;
        let mut messages = client.subscribe("a").await.unwrap();
        {
            let mut publish = pin!(client.publish("a", "given up").qos(qos).into_future());
            let _ = poll_fn(|cx| Poll::Ready(publish.as_mut().poll(cx))).await;
        }
        client.publish("a", "then").await.unwrap();
        // A server may hold back what is not released yet.
        let mut texts = [next(&mut messages).await.1, next(&mut messages).await.1];
        texts.sort();
        assert_eq!(texts, ["given up", "then"]);
        client.disconnect().await;
    }
}

/// Each way that a message takes, out and in.
pub(crate) async fn t59_nothing_is_left_after_all_flows(uri: &str) {
    let client = connect(&settings(uri)).await;
    let mut messages = client.subscribe_all(TOPICS).await.unwrap();
    for (topic, qos) in TOPICS {
        client.publish(topic, "b").qos(qos).await.unwrap();
        assert_eq!(next(&mut messages).await, message(topic, "b", qos.as_u8()));
    }
    // What has been answered now was asked after everything else.
    messages.unsubscribe().await.unwrap();
    assert_eq!((client.in_flight(), client.queued()), (0, 0));
}

// ---- wills

fn with_will(uri: &str, text: &str, retain: bool) -> Settings {
    let mut will = WillSettings::new("will/t", text);
    will.qos = QoS::AtLeastOnce;
    will.retain = retain;
    {
        let mut settings = settings(uri);
        settings.will = Some(will);
        settings
    }
}

/// Connects, and is gone without a word.
async fn vanishes(settings: &Settings) {
    let (client, driver) = settings.builder().unwrap().build(Tokio).unwrap();
    tokio::select! {
        end = driver => panic!("{end}"),
        connected = client.connected() => drop(connected.unwrap()),
    }
}

pub(crate) async fn t45_a_clean_disconnect_has_no_will(uri: &str) {
    let watcher = connect(&settings(uri)).await;
    let mut messages = watcher.subscribe("#").await.unwrap();
    connect(&with_will(uri, "gone", false))
        .await
        .disconnect()
        .await;
    watcher.publish("after", "it").await.unwrap();
    assert_eq!(next(&mut messages).await, message("after", "it", 0));
}

pub(crate) async fn t46_a_lost_client_has(uri: &str) {
    let watcher = connect(&settings(uri)).await;
    let mut messages = watcher.subscribe("#").qos(QoS::ExactlyOnce).await.unwrap();
    vanishes(&with_will(uri, "gone", false)).await;
    assert_eq!(next(&mut messages).await, message("will/t", "gone", 1));
}

pub(crate) async fn t47_a_retained_will_comes_to_who_subscribes_later(uri: &str) {
    let watcher = connect(&settings(uri)).await;
    let mut messages = watcher.subscribe("will/t").await.unwrap();
    vanishes(&with_will(uri, "gone", true)).await;
    next(&mut messages).await;
    let mut later = watcher.subscribe("will/#").await.unwrap();
    let message = later.next().await.unwrap();
    assert_eq!((message.text(), message.retain()), (Some("gone"), true));
}

pub(crate) async fn t48_an_empty_will(uri: &str) {
    let watcher = connect(&settings(uri)).await;
    let mut messages = watcher.subscribe("will/t").await.unwrap();
    vanishes(&with_will(uri, "", false)).await;
    assert_eq!(messages.next().await.unwrap().payload(), b"");
}

/// Calls a macro with the names of all of them.
macro_rules! with_any_broker {
    ($make:ident) => {
        $make! {
            t15_without_a_uri_the_configured_or_the_default_one
            t17_the_servers_answer
            t20_a_ping_is_answered
            t22_one_filter_at_each_qos
            t23_what_is_unsubscribed_from_does_not_come
            t24_unsubscribing_from_what_was_never_subscribed_to
            t25_wildcards_in_the_wrong_places
            t26_subscribing_twice_to_one_filter
            t28_a_message_with_its_topic_and_its_data
            t29_waiting_for_a_message_that_does_not_come
            t30_messages_of_each_qos_in_order
            t31_a_retained_message_comes_to_who_subscribes_later
            t32_the_last_retained_message_counts
            t33_a_retained_message_of_the_time_away
            t34_a_lasting_session_gets_what_was_sent_meanwhile_but_not_qos_0
            t35_wildcards_at_the_beginning_do_not_stand_for_topics_of_the_server
            t36_an_asterisk_is_a_letter
            t37_each_qos_one_after_the_other_and_together
            t38_a_large_message
            t40_retained_and_cleared
            t44_disconnecting_after_giving_up
            t59_nothing_is_left_after_all_flows
            t45_a_clean_disconnect_has_no_will
            t46_a_lost_client_has
            t47_a_retained_will_comes_to_who_subscribes_later
            t48_an_empty_will
        }
    };
}
pub(crate) use with_any_broker;

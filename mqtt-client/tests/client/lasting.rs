//! Sessions that last, by one setting, and builders that are used more than once.

use crate::scripted::{builder, client, connected, settle, soon};
use martlet_client::{Builder, Client, Message, PublishError, QoS, TopicName};
use martlet_proto::{Packet, Version};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// An identifier, an expiry and no clean start had to be set together: three of the four
/// combinations of the last two delivered nothing. And a stream that was dropped took its
/// subscription away.
#[tokio::test(start_paused = true)]
async fn a_lasting_session_is_one_setting() {
    let lasting = builder().lasting_session("meter-7", HOUR);
    let (client, _, mut network) = client(lasting);
    let mut server = network.dial().await.open();
    let connect = server.accept(false).await;
    assert_eq!(connect.client_identifier.as_str(), "meter-7");
    assert_eq!(connect.properties.session_expiry_interval, Some(3600));
    assert!(!connect.clean_start);
    let (stream, _) = tokio::join!(soon(client.subscribe("a")), server.grant());
    drop(stream.unwrap());
    settle().await;
    // It leaves no UNSUBSCRIBE, and with the disconnect the expiry stays what it was.
    let (_, rest) = tokio::join!(client.disconnect(), server.rest());
    let [Packet::Disconnect(goodbye)] = &rest[..] else {
        panic!("{rest:?}");
    };
    assert_eq!(goodbye.session_expiry_interval, None);
}

#[tokio::test(start_paused = true)]
async fn without_one_a_dropped_stream_unsubscribes() {
    let (client, mut server, _network) = connected(builder()).await;
    let (stream, _) = tokio::join!(soon(client.subscribe("a")), server.grant());
    drop(stream.unwrap());
    server.unsubscribe().await;
}

/// One that expires is not sent late, also where the server knows of no expiry.
#[tokio::test(start_paused = true)]
async fn a_message_that_has_expired_is_not_sent() {
    let (client, _, _network) = client(builder());
    let publish = client.publish("a", "late").qos(QoS::AtLeastOnce);
    let expired = publish.expires_after(Duration::from_millis(1500)).await;
    assert_eq!(expired, Err(PublishError::Expired));
}

#[tokio::test(start_paused = true)]
async fn the_server_is_told_when_a_message_expires() {
    let (client, mut server, _network) = connected(builder()).await;
    let publish = client.publish("a", "soon").expires_after(HOUR);
    let (sent, publish) = tokio::join!(publish, server.published());
    sent.unwrap();
    let interval = publish.properties().message_expiry_interval();
    assert_eq!(interval, Some(3600));
}

#[tokio::test(start_paused = true)]
async fn a_builder_makes_clients_that_are_alike() {
    fn can_go_anywhere<T: Clone + Send + Sync + 'static>(_: &T) {}
    let one = Client::builder("mqtt://test")
        .client_identifier("alike")
        .before_connect(|attempt| async move { Ok(attempt) });
    can_go_anywhere::<Builder>(&one);
    for builder in [one.clone(), one] {
        let (_client, _, mut network) = client(builder);
        let connect = network.dial().await.open().connect().await;
        assert_eq!(connect.client_identifier.as_str(), "alike");
    }
}

/// Only who embeds the session could see them.
#[tokio::test(start_paused = true)]
async fn what_was_left_out_is_counted_for_the_application() {
    let old = builder().version(Version::V3_1_1);
    let (client, mut server, _network) = connected(old).await;
    let publish = client.publish("a", "b").expires_after(HOUR);
    let (sent, _) = tokio::join!(publish, server.published());
    sent.unwrap();
    assert_eq!(client.counters().left_out_in_3x, 1);
}

/// A handler of messages can be tested without a connection.
#[test]
fn a_message_can_be_made_for_a_test() {
    let topic = TopicName::new("a/b").unwrap();
    let message = Message::new(&topic, "text");
    assert_eq!((message.topic(), message.text()), ("a/b", Some("text")));
    assert_eq!((message.qos(), message.retain()), (QoS::AtMostOnce, false));
}

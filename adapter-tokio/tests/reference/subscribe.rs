//! 20, 22–27: a ping, subscribing and unsubscribing.

use super::peer::Peer;
use super::{broker, connect, message, next, settings};
use martlet_tokio::{QoS, SubAckReasonCode, SubscribeError, TopicFilter};

#[tokio::test]
async fn t20_a_ping_is_answered() {
    let broker = broker().await;
    connect(&settings(broker.uri())).await.ping().await.unwrap();
}

/// In one SUBSCRIBE; the last one counts.
#[tokio::test]
async fn t22_one_filter_at_each_qos() {
    let broker = broker().await;
    let client = connect(&settings(broker.uri())).await;
    let filters = [("a", QoS::AtMostOnce), ("a", QoS::AtLeastOnce), ("a", QoS::ExactlyOnce)];
    let mut messages = client.subscribe_all(filters).await.unwrap();
    let codes: Vec<u8> = messages.reasons().iter().map(|reason| reason.as_u8()).collect();
    assert_eq!(codes, [0, 1, 2]);
    client.publish("a", "b").qos(QoS::ExactlyOnce).await.unwrap();
    assert_eq!(next(&mut messages).await, message("a", "b", 2));
}

#[tokio::test]
async fn t23_what_is_unsubscribed_from_does_not_come() {
    let broker = broker().await;
    let client = connect(&settings(broker.uri())).await;
    let messages = client.subscribe("a").await.unwrap();
    let mut others = client.subscribe("b").await.unwrap();
    messages.unsubscribe().await.unwrap();
    client.publish("a", "no").await.unwrap();
    client.publish("b", "yes").await.unwrap();
    assert_eq!(next(&mut others).await, message("b", "yes", 0));
}

#[tokio::test]
async fn t24_unsubscribing_from_what_was_never_subscribed_to() {
    let broker = broker().await;
    let client = connect(&settings(broker.uri())).await;
    client.unsubscribe(TopicFilter::new("never").unwrap()).await.unwrap();
}

/// A filter that MQTT does not have is refused here and not sent; the others are good.
#[tokio::test]
async fn t25_wildcards_in_the_wrong_places() {
    let broker = broker().await;
    let client = connect(&settings(broker.uri())).await;
    let refused = client.subscribe("sport+").await.unwrap_err();
    assert!(matches!(refused, SubscribeError::Filter(_)), "{refused}");
    let good = ["+", "+/tennis/#", "sport/+/player1"].map(|filter| (filter, QoS::AtMostOnce));
    let messages = client.subscribe_all(good).await.unwrap();
    assert_eq!(messages.reasons(), [SubAckReasonCode::GrantedQos0; 3]);
}

#[tokio::test]
async fn t26_subscribing_twice_to_one_filter() {
    let broker = broker().await;
    let client = connect(&settings(broker.uri())).await;
    let mut first = client.subscribe("a").await.unwrap();
    let mut second = client.subscribe("a").await.unwrap();
    client.publish("a", "b").await.unwrap();
    client.publish("a", "c").await.unwrap();
    for messages in [&mut first, &mut second] {
        assert_eq!(next(messages).await, message("a", "b", 0));
        assert_eq!(next(messages).await, message("a", "c", 0));
    }
}

#[tokio::test]
async fn t27_some_are_refused() {
    let peer = Peer::start().await;
    let filters = ["a", "b", "c", "d", "e", "f"].map(|filter| (filter, QoS::AtLeastOnce));
    let settings = settings(peer.uri());
    let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
    let (messages, ()) =
        tokio::join!(client.subscribe_all(filters), server.answer_subscribe(&[128, 1, 128, 1, 128, 1]));
    let messages = messages.unwrap();
    let codes: Vec<u8> = messages.reasons().iter().map(|reason| reason.as_u8()).collect();
    assert_eq!(codes, [128, 1, 128, 1, 128, 1]);
    // All of them: that is an error.
    let (refused, ()) = tokio::join!(client.subscribe("g"), server.answer_subscribe(&[128]));
    assert!(
        matches!(refused.unwrap_err(), SubscribeError::Refused { reasons, .. } if reasons == [SubAckReasonCode::UnspecifiedError])
    );
}

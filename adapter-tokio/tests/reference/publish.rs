//! 39, 41–43: what cannot be published, and giving up.

use super::peer::{Conversation, Peer};
use super::{broker, connect, settings};
use martlet_proto::PacketType;
use martlet_tokio::{Client, PublishError, QoS, proto::SubAckReasonCode};
use std::future::{IntoFuture, poll_fn};
use std::pin::pin;

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

#[tokio::test]
async fn t39_no_wildcards_in_what_is_published_to() {
    let broker = broker().await;
    let client = connect(&settings(broker.uri())).await;
    for topic in ["a/#", "a/+/b", ""] {
        for qos in ALL_QOS {
            let rejected = client.publish(topic, "b").qos(qos).await.unwrap_err();
            assert!(
                matches!(rejected, PublishError::Topic(_)),
                "{topic}: {rejected}"
            );
        }
    }
    assert_eq!(client.in_flight(), 0);
}

/// Polls a publish until the server has it, and drops it there.
async fn abandoned(client: &Client, qos: QoS, until: impl Future<Output = ()>) {
    let mut publish = pin!(client.publish("a", "b").qos(qos).into_future());
    let mut until = pin!(until);
    poll_fn(|cx| {
        assert!(publish.as_mut().poll(cx).is_pending());
        until.as_mut().poll(cx)
    })
    .await;
}

/// In amqtt's test nothing is in flight any more when the task was cancelled; whether the server
/// has the message is not known. Here a publish whose future was dropped is delivered in the
/// background, and then nothing is left of it.
#[tokio::test]
async fn t41_given_up_while_waiting_for_puback() {
    let peer = Peer::start().await;
    let settings = settings(peer.uri());
    let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
    let mut identifier = None;
    abandoned(&client, QoS::AtLeastOnce, async {
        identifier = Some(server.published().await);
    })
    .await;
    assert_eq!(client.in_flight(), 1);
    server
        .acknowledge(PacketType::PubAck, identifier.unwrap())
        .await;
    acknowledged(&client, &mut server).await;
    disconnects(&client, server).await;
}

#[tokio::test]
async fn t42_given_up_while_waiting_for_pubrec() {
    let peer = Peer::start().await;
    let settings = settings(peer.uri());
    let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
    let mut identifier = None;
    abandoned(&client, QoS::ExactlyOnce, async {
        identifier = Some(server.published().await);
    })
    .await;
    server
        .acknowledge(PacketType::PubRec, identifier.unwrap())
        .await;
    assert_eq!(
        Some(server.acknowledged(PacketType::PubRel).await),
        identifier
    );
    server
        .acknowledge(PacketType::PubComp, identifier.unwrap())
        .await;
    acknowledged(&client, &mut server).await;
    disconnects(&client, server).await;
}

#[tokio::test]
async fn t43_given_up_while_waiting_for_pubcomp() {
    let peer = Peer::start().await;
    let settings = settings(peer.uri());
    let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
    let mut identifier = None;
    let until = async {
        identifier = Some(server.published().await);
        server
            .acknowledge(PacketType::PubRec, identifier.unwrap())
            .await;
        assert_eq!(
            Some(server.acknowledged(PacketType::PubRel).await),
            identifier
        );
    };
    abandoned(&client, QoS::ExactlyOnce, until).await;
    assert_eq!(client.in_flight(), 1);
    server
        .acknowledge(PacketType::PubComp, identifier.unwrap())
        .await;
    acknowledged(&client, &mut server).await;
    disconnects(&client, server).await;
}

async fn disconnects(client: &Client, mut server: Conversation) {
    let server =
        async move { assert_eq!(server.receive().await.packet_type(), PacketType::Disconnect) };
    tokio::join!(client.disconnect(), server);
}

/// Waits until the client has read everything that the server sent, and looks.
async fn acknowledged(client: &Client, server: &mut Conversation) {
    let (subscription, ()) = tokio::join!(client.subscribe("x"), server.answer_subscribe(&[0]));
    let subscription = subscription.unwrap();
    assert_eq!(subscription.reasons(), [SubAckReasonCode::GrantedQos0]);
    assert_eq!((client.in_flight(), client.queued()), (0, 0));
    let (unsubscribed, ()) = tokio::join!(subscription.unsubscribe(), server.answer_unsubscribe());
    unsubscribed.unwrap();
}

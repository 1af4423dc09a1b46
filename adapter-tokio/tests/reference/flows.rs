//! 57, 58: what was in flight when the connection broke.

use super::peer::{Conversation, Peer};
use super::{connect, lasting};
use martlet_proto::{PacketIdentifier, PacketType};
use martlet_tokio::QoS;
use std::future::IntoFuture;

/// Publishes, while `server` does the rest from the first connection to the last.
async fn settles(qos: QoS, server: impl AsyncFnOnce(&Peer, Conversation) -> Conversation) {
    let peer = Peer::start().await;
    let settings = lasting(peer.uri());
    let (client, first) = tokio::join!(connect(&settings), peer.accept(false));
    let (published, _last) = tokio::join!(
        client.publish("a", "b").qos(qos).into_future(),
        server(&peer, first)
    );
    published.unwrap();
    assert_eq!((client.in_flight(), client.queued()), (0, 0));
}

/// Gets the message, breaks the connection, and gets it again on the next, where the session is
/// still known.
async fn breaks_after_publish(
    peer: &Peer,
    mut first: Conversation,
) -> (Conversation, PacketIdentifier) {
    let identifier = first.published().await;
    drop(first);
    let mut second = peer.accept(true).await;
    let again = second.publish().await;
    assert!(again.delivery().duplicate());
    assert_eq!(again.delivery().packet_identifier(), Some(identifier));
    (second, identifier)
}

#[tokio::test]
async fn t57_qos_1_is_sent_again_and_acknowledged() {
    let server = async |peer: &Peer, first| {
        let (mut second, identifier) = breaks_after_publish(peer, first).await;
        second.acknowledge(PacketType::PubAck, identifier).await;
        second
    };
    settles(QoS::AtLeastOnce, server).await;
}

#[tokio::test]
async fn t58_qos_2_is_sent_again_and_acknowledged() {
    let server = async |peer: &Peer, first| {
        let (mut second, identifier) = breaks_after_publish(peer, first).await;
        second.acknowledge(PacketType::PubRec, identifier).await;
        assert_eq!(second.acknowledged(PacketType::PubRel).await, identifier);
        second.acknowledge(PacketType::PubComp, identifier).await;
        second
    };
    settles(QoS::ExactlyOnce, server).await;
}

/// Fault 3: the message is forgotten when the PUBREC has come.
#[tokio::test]
async fn f03_a_pubrel_is_sent_again() {
    let server = async |peer: &Peer, mut first: Conversation| {
        let identifier = first.published().await;
        first.acknowledge(PacketType::PubRec, identifier).await;
        assert_eq!(first.acknowledged(PacketType::PubRel).await, identifier);
        drop(first);
        let mut second = peer.accept(true).await;
        assert_eq!(second.acknowledged(PacketType::PubRel).await, identifier);
        second.acknowledge(PacketType::PubComp, identifier).await;
        second
    };
    settles(QoS::ExactlyOnce, server).await;
}

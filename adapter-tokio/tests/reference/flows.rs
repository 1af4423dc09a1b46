//! 57–59: what was in flight when the connection broke.

use super::peer::Peer;
use super::{connect, settings};
use martlet_proto::PacketType;
use martlet_tokio::{QoS, Settings};
use std::future::IntoFuture;

/// A session that outlives its connections, and a wait between them that is over at once.
fn lasting(uri: String) -> Settings {
    let mut settings = Settings { cleansession: false, ..settings(uri) };
    settings.reconnect_max_interval = std::time::Duration::from_millis(1);
    settings.martlet.client_id = Some("lasting".to_owned());
    settings
}

#[tokio::test]
async fn t57_qos_1_is_sent_again_and_settled() {
    let peer = Peer::start().await;
    let settings = lasting(peer.uri());
    let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
    let server = async {
        let identifier = server.published().await;
        drop(server);
        let mut server = peer.accept(true).await;
        let again = server.publish().await;
        assert!(again.delivery().duplicate());
        assert_eq!(again.delivery().packet_identifier(), Some(identifier));
        server.acknowledge(PacketType::PubAck, identifier).await;
        server
    };
    let (published, _server) =
        tokio::join!(client.publish("a", "b").qos(QoS::AtLeastOnce).into_future(), server);
    published.unwrap();
    // 59: nothing is left.
    assert_eq!((client.in_flight(), client.queued()), (0, 0));
}

#[tokio::test]
async fn t58_qos_2_is_sent_again_and_settled() {
    let peer = Peer::start().await;
    let settings = lasting(peer.uri());
    let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
    let server = async {
        let identifier = server.published().await;
        drop(server);
        let mut server = peer.accept(true).await;
        let again = server.publish().await;
        assert!(again.delivery().duplicate());
        assert_eq!(again.delivery().packet_identifier(), Some(identifier));
        server.acknowledge(PacketType::PubRec, identifier).await;
        assert_eq!(server.acknowledged(PacketType::PubRel).await, identifier);
        server.acknowledge(PacketType::PubComp, identifier).await;
        server
    };
    let (published, _server) =
        tokio::join!(client.publish("a", "b").qos(QoS::ExactlyOnce).into_future(), server);
    published.unwrap();
    assert_eq!((client.in_flight(), client.queued()), (0, 0));
}

/// 7.2, 3: amqtt forgets the message when the PUBREC has come.
#[tokio::test]
async fn a_pubrel_is_sent_again() {
    let peer = Peer::start().await;
    let settings = lasting(peer.uri());
    let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
    let server = async {
        let identifier = server.published().await;
        server.acknowledge(PacketType::PubRec, identifier).await;
        assert_eq!(server.acknowledged(PacketType::PubRel).await, identifier);
        drop(server);
        let mut server = peer.accept(true).await;
        assert_eq!(server.acknowledged(PacketType::PubRel).await, identifier);
        server.acknowledge(PacketType::PubComp, identifier).await;
        server
    };
    let (published, _server) =
        tokio::join!(client.publish("a", "b").qos(QoS::ExactlyOnce).into_future(), server);
    published.unwrap();
    assert_eq!(client.in_flight(), 0);
}

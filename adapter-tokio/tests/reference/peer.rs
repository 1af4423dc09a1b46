//! A server that does what a test says, packet by packet.

use bytes::{Buf, BytesMut};
use martlet_proto::{
    ConnAck, Connect, ConnectReasonCode, Delivery, PacketIdentifier, PacketType, Publish,
    PublishRef, SubAck, SubAckReasonCode,
};
use martlet_tokio::{TopicName, Version, proto::Packet};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Peer(TcpListener);

impl Peer {
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn uri(&self) -> String {
        format!("mqtt://{}", self.0.local_addr().unwrap())
    }

    /// The next connection, from its first byte.
    pub(crate) async fn socket(&self) -> Conversation {
        let (socket, _) = self.0.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        Conversation::over(socket)
    }

    /// The CONNECT of the next connection, which is rejected.
    pub(crate) async fn reject_with_connect(&self) -> Connect {
        let mut conversation = self.socket().await;
        let connect = conversation.connect().await;
        conversation
            .send(ConnAck::new(ConnectReasonCode::NotAuthorized))
            .await;
        connect
    }

    /// The next connection, which is accepted.
    pub(crate) async fn accept(&self, session_present: bool) -> Conversation {
        let mut conversation = self.socket().await;
        conversation.accept(session_present).await;
        conversation
    }
}

pub(crate) struct Conversation<S = TcpStream> {
    socket: S,
    input: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    pub(crate) fn over(socket: S) -> Self {
        Self {
            socket,
            input: BytesMut::new(),
        }
    }

    /// Accepts the client whose CONNECT is next.
    pub(crate) async fn accept(&mut self, session_present: bool) -> Connect {
        let connect = self.connect().await;
        self.send(ConnAck {
            session_present,
            ..ConnAck::new(ConnectReasonCode::Success)
        })
        .await;
        connect
    }

    /// The next packet; `None` at the end.
    pub(crate) async fn try_receive(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = Packet::decode(&mut self.input, Version::V3_1_1, 1 << 20).unwrap()
            {
                return Some(packet);
            }
            match self.socket.read_buf(&mut self.input).await {
                Ok(n) if n > 0 => {}
                _ => return None,
            }
        }
    }

    pub(crate) async fn receive(&mut self) -> Packet {
        self.try_receive().await.expect("a packet")
    }

    pub(crate) async fn connect(&mut self) -> Connect {
        match self.receive().await {
            Packet::Connect(connect) => *connect,
            other => panic!("{other:?} in place of a CONNECT"),
        }
    }

    pub(crate) async fn publish(&mut self) -> Publish {
        match self.receive().await {
            Packet::Publish(publish) => publish,
            other => panic!("{other:?} in place of a PUBLISH"),
        }
    }

    /// The packet identifier of the next packet, which is a PUBLISH of QoS 1 or 2.
    pub(crate) async fn published(&mut self) -> PacketIdentifier {
        self.publish()
            .await
            .delivery()
            .packet_identifier()
            .expect("QoS 1 or 2")
    }

    /// The packet identifier of the next packet, which is this acknowledgement.
    pub(crate) async fn acknowledged(&mut self, expected: PacketType) -> PacketIdentifier {
        let packet = self.receive().await;
        assert_eq!(packet.packet_type(), expected, "{packet:?}");
        match packet {
            Packet::PubAck(ack) | Packet::PubRec(ack) => ack.packet_identifier,
            Packet::PubRel(ack) | Packet::PubComp(ack) => ack.packet_identifier,
            other => panic!("{other:?} acknowledges nothing"),
        }
    }

    /// Sends this acknowledgement.
    pub(crate) async fn acknowledge(&mut self, kind: PacketType, identifier: PacketIdentifier) {
        let flags = if kind == PacketType::PubRel { 2 } else { 0 };
        let [high, low] = identifier.get().to_be_bytes();
        self.send_bytes(&[kind.as_u8() << 4 | flags, 2, high, low])
            .await;
    }

    /// Answers the next packet, an UNSUBSCRIBE.
    pub(crate) async fn answer_unsubscribe(&mut self) {
        let Packet::Unsubscribe(unsubscribe) = self.receive().await else {
            panic!("no UNSUBSCRIBE")
        };
        self.acknowledge(PacketType::UnsubAck, unsubscribe.packet_identifier)
            .await;
    }

    /// Sends a message to the topic `a`.
    pub(crate) async fn publish_to(&mut self, payload: &str, delivery: Delivery) {
        let topic = TopicName::from_static("a").unwrap();
        let mut wire = BytesMut::new();
        let publish = PublishRef::new(&topic, payload.as_bytes()).with_delivery(delivery);
        publish.encode(Version::V3_1_1, &mut wire).unwrap();
        self.send_bytes(&wire).await;
    }

    /// Answers the next packet, a SUBSCRIBE, with these codes.
    pub(crate) async fn answer_subscribe(&mut self, codes: &[u8]) {
        let Packet::Subscribe(subscribe) = self.receive().await else {
            panic!("no SUBSCRIBE")
        };
        let suback = SubAck {
            packet_identifier: subscribe.packet_identifier,
            reason_string: None,
            user_properties: Default::default(),
            reasons: codes
                .iter()
                .map(|code| SubAckReasonCode::from_u8(*code).unwrap())
                .collect(),
        };
        self.send(suback).await;
    }

    pub(crate) async fn send(&mut self, packet: impl Into<Packet>) {
        let mut wire = BytesMut::new();
        packet.into().encode(Version::V3_1_1, &mut wire).unwrap();
        self.send_bytes(wire.chunk()).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }
}

impl Conversation {
    /// Cuts the connection so that the other side gets a reset.
    pub(crate) fn reset(self) {
        self.socket.set_zero_linger().unwrap();
    }
}

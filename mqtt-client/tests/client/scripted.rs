//! A network in memory: each dial waits until the test says what becomes of it, and each server
//! does what the test writes down. With paused time everything is deterministic.

use bytes::BytesMut;
use martlet_broker::BrokerConfig;
use martlet_broker::tokio::Server;
use martlet_client::{
    Builder, Client, ClientEvent, ConnectionError, ConnectionState, Endpoint, PublishError, QoS,
    Receipt, TopicName, Version, proto::Packet, session::OutgoingPublish,
};
use martlet_proto::{
    Ack, ConnAck, Connect, ConnectReasonCode, Delivery, PacketIdentifier, PubAckReasonCode,
    PubRelReasonCode, Publish, PublishRef, SubAck, SubAckReasonCode, Subscribe,
    SubscriptionIdentifier, UnsubAck, UnsubAckReasonCode, Unsubscribe,
};
use martlet_tokio::runtime::TokioStreams;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Bytes that a stream holds for a reader.
const STREAM: usize = 64 * 1024;

/// Nothing takes that long unless it hangs: a day of simulated time, or a minute of a real one.
pub(crate) async fn soon<T>(future: impl IntoFuture<Output = T>) -> T {
    timeout(Duration::from_secs(60), future.into_future())
        .await
        .expect("it hangs")
}

type OpenStream = Pin<Box<dyn Future<Output = io::Result<DuplexStream>> + Send>>;

/// Dials as they come.
pub(crate) struct Network {
    dials: mpsc::UnboundedReceiver<Dial>,
}

/// A client wants a stream to this server.
pub(crate) struct Dial {
    pub(crate) endpoint: Endpoint,
    answer: oneshot::Sender<io::Result<DuplexStream>>,
}

pub(crate) fn network() -> (
    TokioStreams<impl Fn(Endpoint) -> OpenStream + Send + Clone>,
    Network,
) {
    let (dial, dials) = mpsc::unbounded_channel();
    let open = move |endpoint| -> OpenStream {
        let (answer, answered) = oneshot::channel();
        let sent = dial.send(Dial { endpoint, answer });
        Box::pin(async move {
            sent.map_err(|_| io::ErrorKind::NetworkUnreachable)?;
            answered
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::ConnectionRefused.into()))
        })
    };
    (TokioStreams::new(open), Network { dials })
}

impl Network {
    pub(crate) async fn dial(&mut self) -> Dial {
        let dial = timeout(Duration::from_secs(86_400), self.dials.recv()).await;
        dial.expect("the client does not dial")
            .expect("the client is gone")
    }

    /// The next dial, unless the client has stopped.
    pub(crate) async fn try_dial(&mut self) -> Option<Dial> {
        timeout(Duration::from_secs(86_400), self.dials.recv())
            .await
            .ok()
            .flatten()
    }

    /// Accepts the next stream and the CONNECT on it.
    pub(crate) async fn accept(&mut self) -> Script {
        let mut script = self.dial().await.open();
        script.accept(false).await;
        script
    }

    /// Accepts the next stream and the CONNECT on it, and has kept the session.
    pub(crate) async fn resume(&mut self) -> Script {
        let mut script = self.dial().await.open();
        script.accept(true).await;
        script
    }

    /// Accepts the next stream, and rejects the CONNECT on it.
    pub(crate) async fn reject(&mut self, reason: ConnectReasonCode) {
        self.dial().await.open().reject(reason).await;
    }

    pub(crate) fn is_quiet(&mut self) -> bool {
        self.dials.try_recv().is_err()
    }
}

impl Dial {
    pub(crate) fn open(self) -> Script {
        self.open_with(STREAM)
    }

    /// With a stream that holds this number of bytes.
    pub(crate) fn open_with(self, bytes: usize) -> Script {
        let (near, far) = tokio::io::duplex(bytes);
        let _ = self.answer.send(Ok(near));
        Script {
            stream: far,
            input: BytesMut::new(),
            version: Version::V5,
        }
    }

    pub(crate) fn reject(self) {
        let _ = self
            .answer
            .send(Err(io::ErrorKind::ConnectionRefused.into()));
    }

    /// The client does not want it any more.
    pub(crate) async fn given_up(&mut self) {
        self.answer.closed().await;
    }
}

/// The server's end of a connection.
pub(crate) struct Script {
    pub(crate) stream: DuplexStream,
    input: BytesMut,
    pub(crate) version: Version,
}

impl Script {
    /// The next packet, or `None` at the end of the stream.
    pub(crate) async fn try_packet(&mut self) -> Option<Packet> {
        loop {
            let decoded = Packet::decode(
                &mut self.input,
                self.version,
                martlet_proto::MAX_PACKET_SIZE,
            );
            if let Some(packet) = decoded.expect("the client speaks MQTT") {
                return Some(packet);
            }
            let read = timeout(
                Duration::from_secs(86_400),
                self.stream.read_buf(&mut self.input),
            )
            .await;
            if read
                .expect("the client sends nothing")
                .expect("a stream in memory does not fail")
                == 0
            {
                assert!(self.input.is_empty(), "half a packet at the end");
                return None;
            }
        }
    }

    pub(crate) async fn packet(&mut self) -> Packet {
        self.try_packet()
            .await
            .expect("a packet, not the end of the stream")
    }

    /// The next packet but for a PINGREQ, which is answered: one is sent before what may have ended
    /// an earlier connection.
    async fn asked(&mut self) -> Packet {
        let packet = self.packet().await;
        if packet != Packet::PingReq {
            return packet;
        }
        self.send(Packet::PingResp).await;
        self.packet().await
    }

    /// What comes until the stream ends.
    pub(crate) async fn rest(mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        while let Some(packet) = self.try_packet().await {
            packets.push(packet);
        }
        packets
    }

    pub(crate) async fn send(&mut self, packet: impl Into<Packet>) {
        let mut bytes = BytesMut::new();
        packet
            .into()
            .encode(self.version, &mut bytes)
            .expect("a packet of this version");
        self.send_bytes(&bytes).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes))
            .await
            .expect("a stream in memory does not fail");
    }

    pub(crate) async fn connect(&mut self) -> Connect {
        match self.packet().await {
            Packet::Connect(connect) => {
                self.version = connect.version;
                *connect
            }
            other => panic!("expected CONNECT, got {other:?}"),
        }
    }

    pub(crate) async fn accept(&mut self, session_present: bool) -> Connect {
        let connect = self.connect().await;
        self.send(ConnAck {
            session_present,
            ..ConnAck::new(ConnectReasonCode::Success)
        })
        .await;
        connect
    }

    pub(crate) async fn reject(&mut self, reason: ConnectReasonCode) {
        self.connect().await;
        self.send(ConnAck::new(reason)).await;
    }

    pub(crate) async fn published(&mut self) -> Publish {
        match self.asked().await {
            Packet::Publish(publish) => publish,
            other => panic!("expected PUBLISH, got {other:?}"),
        }
    }

    /// The packet identifier of the next PUBLISH, which is not of QoS 0.
    pub(crate) async fn published_id(&mut self) -> PacketIdentifier {
        let publish = self.published().await;
        let id = publish.delivery().packet_identifier();
        id.expect("it is not of QoS 0")
    }

    pub(crate) async fn subscribe(&mut self) -> Subscribe {
        match self.asked().await {
            Packet::Subscribe(subscribe) => *subscribe,
            other => panic!("expected SUBSCRIBE, got {other:?}"),
        }
    }

    /// Grants the next SUBSCRIBE as it asks.
    pub(crate) async fn grant(&mut self) -> Subscribe {
        let subscribe = self.subscribe().await;
        let reasons = subscribe.subscriptions.iter().map(|asked| match asked.qos {
            QoS::AtMostOnce => SubAckReasonCode::GrantedQos0,
            QoS::AtLeastOnce => SubAckReasonCode::GrantedQos1,
            QoS::ExactlyOnce => SubAckReasonCode::GrantedQos2,
        });
        self.suback(subscribe.packet_identifier, reasons.collect())
            .await;
        subscribe
    }

    pub(crate) async fn suback(
        &mut self,
        packet_identifier: PacketIdentifier,
        reasons: Vec<SubAckReasonCode>,
    ) {
        let user_properties = martlet_proto::UserProperties::new();
        self.send(SubAck {
            packet_identifier,
            reason_string: None,
            user_properties,
            reasons,
        })
        .await;
    }

    pub(crate) async fn unsubscribe(&mut self) -> Unsubscribe {
        match self.asked().await {
            Packet::Unsubscribe(unsubscribe) => *unsubscribe,
            other => panic!("expected UNSUBSCRIBE, got {other:?}"),
        }
    }

    /// Answers the next UNSUBSCRIBE.
    pub(crate) async fn ungrant(&mut self) -> Unsubscribe {
        let unsubscribe = self.unsubscribe().await;
        let packet_identifier = unsubscribe.packet_identifier;
        let reasons = vec![UnsubAckReasonCode::Success; unsubscribe.filters.len()];
        let user_properties = martlet_proto::UserProperties::new();
        self.send(UnsubAck {
            packet_identifier,
            reason_string: None,
            user_properties,
            reasons,
        })
        .await;
        unsubscribe
    }

    pub(crate) async fn puback(&mut self, id: PacketIdentifier) {
        self.send(Packet::PubAck(Ack::new(id, PubAckReasonCode::Success)))
            .await;
    }

    pub(crate) async fn pubrec(&mut self, id: PacketIdentifier) {
        self.send(Packet::PubRec(Ack::new(id, PubAckReasonCode::Success)))
            .await;
    }

    pub(crate) async fn pubcomp(&mut self, id: PacketIdentifier) {
        self.send(Packet::PubComp(Ack::new(id, PubRelReasonCode::Success)))
            .await;
    }

    /// A message to the client, with the identifiers of the subscriptions that it is for.
    pub(crate) async fn message(
        &mut self,
        topic: &str,
        payload: &str,
        delivery: Delivery,
        identifiers: &[SubscriptionIdentifier],
    ) {
        let mut bytes = BytesMut::new();
        encode(
            &mut bytes,
            self.version,
            topic,
            payload.as_bytes(),
            delivery,
            identifiers,
        );
        self.send_bytes(&bytes).await;
    }

    /// Sends the PUBACK or PUBREC of a PUBLISH.
    pub(crate) async fn acknowledge(&mut self, publish: &Publish) {
        match publish.delivery() {
            Delivery::AtMostOnce => {}
            Delivery::AtLeastOnce {
                packet_identifier, ..
            } => self.puback(packet_identifier).await,
            Delivery::ExactlyOnce {
                packet_identifier, ..
            } => self.pubrec(packet_identifier).await,
        }
    }

    /// Answers all that the client asks, as a plain server does, until the stream ends. Gives back
    /// the messages.
    pub(crate) async fn serve(mut self) -> Vec<Publish> {
        let mut messages = Vec::new();
        while let Some(packet) = self.try_packet().await {
            match packet {
                Packet::Publish(publish) => {
                    self.acknowledge(&publish).await;
                    messages.push(publish);
                }
                Packet::PubRel(ack) => self.pubcomp(ack.packet_identifier).await,
                Packet::PingReq => self.send(Packet::PingResp).await,
                Packet::Disconnect(_) => break,
                other => panic!("not expected here: {other:?}"),
            }
        }
        messages
    }
}

pub(crate) fn encode(
    bytes: &mut BytesMut,
    version: Version,
    topic: &str,
    payload: &[u8],
    delivery: Delivery,
    identifiers: &[SubscriptionIdentifier],
) {
    let topic = TopicName::new(topic).expect("a topic name");
    PublishRef::new(&topic, payload)
        .with_delivery(delivery)
        .with_subscription_identifiers(identifiers)
        .encode(version, bytes)
        .expect("a PUBLISH");
}

pub(crate) fn qos1(id: u16) -> Delivery {
    Delivery::AtLeastOnce {
        packet_identifier: identifier(id),
        duplicate: false,
    }
}

pub(crate) fn qos2(id: u16) -> Delivery {
    Delivery::ExactlyOnce {
        packet_identifier: identifier(id),
        duplicate: false,
    }
}

pub(crate) fn identifier(id: u16) -> PacketIdentifier {
    PacketIdentifier::new(id).expect("not zero")
}

/// What a client of these tests begins with.
pub(crate) fn builder() -> Builder {
    Client::builder("mqtt://test")
        .client_identifier("me")
        .seed(1)
}

/// A client, its driver on a task, and the network that it is on.
pub(crate) fn client(builder: Builder) -> (Client, JoinHandle<ConnectionError>, Network) {
    let (runtime, network) = network();
    let (client, driver) = builder.build(runtime).unwrap();
    (client, tokio::spawn(driver), network)
}

/// Publishes a message that was made before.
pub(crate) fn try_publish(
    client: &Client,
    message: OutgoingPublish,
) -> Result<Receipt, PublishError> {
    client
        .publish(message.topic, message.payload)
        .qos(message.qos)
        .properties(message.properties)
        .try_enqueue()
}

/// Publishes with QoS 1, and does not wait for the PUBACK.
pub(crate) async fn enqueue(client: &Client, topic: &str, payload: &'static str) -> Receipt {
    let publish = client.publish(topic, payload).qos(QoS::AtLeastOnce);
    publish.enqueue().await.expect("it is accepted")
}

/// Why the client has stopped, once it has.
pub(crate) async fn stopped(client: &Client) -> ConnectionError {
    let mut states = client.state_changes();
    loop {
        if let ConnectionState::Stopped { reason } = soon(states.next()).await.expect("a state") {
            return reason;
        }
    }
}

/// A client with a connection.
pub(crate) async fn connected(builder: Builder) -> (Client, Script, Network) {
    let (client, _, mut network) = client(builder);
    let script = network.accept().await;
    soon(client.connected()).await.expect("a connection");
    (client, script, network)
}

/// The embedded broker and a client that is connected to it.
pub(crate) async fn with_broker(
    config: BrokerConfig,
    change: impl FnOnce(Builder) -> Builder,
) -> (Server, Client) {
    let server = Server::start(config).await.expect("a listener");
    let client = Client::builder(server.uri()).client_identifier("me");
    let client = soon(martlet_tokio::connect_with(change(client)))
        .await
        .expect("a connection");
    (server, client)
}

/// Messages that nobody took, the last with this topic and QoS.
pub(crate) fn discarded(messages: u64, topic: &str, qos: QoS) -> Option<ClientEvent> {
    Some(ClientEvent::Discarded {
        messages,
        topic: topic.try_into().expect("a topic name"),
        qos,
    })
}

/// Lets all tasks that can go on do so.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Polls once.
pub(crate) fn is_pending<F: Future>(future: &mut Pin<&mut F>) -> bool {
    future
        .as_mut()
        .poll(&mut Context::from_waker(std::task::Waker::noop()))
        .is_pending()
}

/// Counts how often a future is polled.
pub(crate) struct Counted<F> {
    future: Pin<Box<F>>,
    polls: Arc<AtomicUsize>,
}

impl<F: Future> Counted<F> {
    pub(crate) fn new(future: F, polls: Arc<AtomicUsize>) -> Self {
        Self {
            future: Box::pin(future),
            polls,
        }
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.future.as_mut().poll(cx)
    }
}

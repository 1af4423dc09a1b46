//! The servers of the tests do what they say: seen with the client sides of rustls and tungstenite.

#![allow(clippy::unwrap_used)]

mod certificates;
mod faults;
mod proxies;
mod silence;
mod transports;

use martlet_tests::certificates::Certificates;
use martlet_tests::server::{BoxedStream, TestServer};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// MQTT 3.1.1, clean session.
pub(crate) const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
pub(crate) const CONNACK: &[u8] = b"\x20\x02\x00\x00";
pub(crate) const PINGREQ: &[u8] = b"\xc0\x00";
pub(crate) const PINGRESP: &[u8] = b"\xd0\x00";
/// To topic `t`.
pub(crate) const SUBSCRIBE: &[u8] = b"\x82\x06\x00\x01\x00\x01t\x00";
pub(crate) const SUBACK: &[u8] = b"\x90\x03\x00\x01\x00";
/// QoS 0, topic `t`, payload `x`.
pub(crate) const PUBLISH: &[u8] = b"\x30\x04\x00\x01tx";

pub(crate) async fn socket(server: &TestServer) -> BoxedStream {
    match server.uri().strip_prefix("mqtt+unix://") {
        Some(path) => Box::new(UnixStream::connect(path).await.unwrap()),
        None => Box::new(TcpStream::connect(server.socket_addr()).await.unwrap()),
    }
}

pub(crate) async fn tls<S>(
    stream: S,
    config: Arc<ClientConfig>,
    name: &str,
) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    TlsConnector::from(config)
        .connect(ServerName::try_from(name.to_owned()).unwrap(), stream)
        .await
}

/// With the certificate of the client that the authority knows.
pub(crate) fn known() -> Arc<ClientConfig> {
    let certificates = Certificates::shared();
    certificates.client_config(Some(&certificates.client))
}

/// Without a certificate.
pub(crate) fn nobody() -> Arc<ClientConfig> {
    Certificates::shared().client_config(None)
}

pub(crate) async fn upgrade<S>(stream: S) -> tungstenite::Result<WebSocketStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = "ws://localhost/mqtt?a=b".into_client_request().unwrap();
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
    Ok(client_async(request, stream).await?.0)
}

pub(crate) fn binary(bytes: &[u8]) -> Message {
    Message::Binary(bytes.to_vec().into())
}

/// Takes `Stream` and `Sink` of a WebSocket for what is needed here.
pub(crate) trait Frames {
    async fn say(&mut self, message: Message) -> tungstenite::Result<()>;
    async fn hear(&mut self) -> Option<tungstenite::Result<Message>>;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames for WebSocketStream<S> {
    async fn say(&mut self, message: Message) -> tungstenite::Result<()> {
        use futures_sink::Sink;
        use std::future::poll_fn;
        use std::pin::Pin;
        poll_fn(|cx| Pin::new(&mut *self).poll_ready(cx)).await?;
        Pin::new(&mut *self).start_send(message)?;
        poll_fn(|cx| Pin::new(&mut *self).poll_flush(cx)).await
    }

    async fn hear(&mut self) -> Option<tungstenite::Result<Message>> {
        use futures_core::Stream;
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut *self).poll_next(cx)).await
    }
}

pub(crate) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    say: &[u8],
    hear: &[u8],
) {
    stream.write_all(say).await.unwrap();
    stream.flush().await.unwrap();
    let mut heard = vec![0; hear.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert!(heard == hear, "{heard:02x?}");
}

pub(crate) async fn exchange_frames<S>(socket: &mut WebSocketStream<S>, say: &[u8], hear: &[u8])
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    socket.say(binary(say)).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < hear.len() {
        heard.extend(socket.hear().await.unwrap().unwrap().into_data());
    }
    assert!(heard == hear, "{heard:02x?}");
}

/// Everything until the end of the stream, and how that came.
pub(crate) async fn rest(mut stream: impl AsyncRead + Unpin) -> (Vec<u8>, io::Result<usize>) {
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest).await;
    (rest, end)
}

/// A publish of 300 KB to a topic that this client has subscribed to, and what comes back.
pub(crate) fn large() -> Vec<u8> {
    let mut publish = b"\x30\xe3\xa7\x12\x00\x01t".to_vec();
    publish.resize(publish.len() + 300_000, b'x');
    publish
}

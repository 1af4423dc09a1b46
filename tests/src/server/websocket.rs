//! The server's side of WebSocket.

use super::BoxedStream;
use super::faults::{Fault, Level, Valve, say, says};
use bytes::{Buf, Bytes};
use futures_core::Stream as _;
use futures_sink::Sink;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};

/// How a server answers an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerWebSocket {
    /// The subprotocol that it chooses.
    pub subprotocol: Option<&'static str>,
    /// The most bytes of MQTT in one frame.
    pub frame_size: usize,
}

impl Default for ServerWebSocket {
    fn default() -> Self {
        Self {
            subprotocol: Some("mqtt"),
            frame_size: 64 * 1024,
        }
    }
}

/// Answers an upgrade; what comes then are the bytes in the frames. `None`: the faults have had the
/// last word.
pub(super) async fn accept(
    stream: BoxedStream,
    options: ServerWebSocket,
    faults: &[Fault],
    valve: &Valve,
    seen: impl FnOnce(&Request) + Send + Unpin,
) -> io::Result<Option<BoxedStream>> {
    #[expect(clippy::result_large_err, reason = "tungstenite wants it so")]
    let answer =
        move |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            seen(request);
            if let Some(subprotocol) = options.subprotocol {
                let subprotocol = HeaderValue::from_static(subprotocol);
                response
                    .headers_mut()
                    .insert("Sec-WebSocket-Protocol", subprotocol);
            }
            Ok(response)
        };
    let accepted = tokio_tungstenite::accept_hdr_async(stream, answer).await;
    let socket = accepted.map_err(into_io)?;
    valve.set(faults, Level::Frames);
    if let Some(speech) = says(faults, Level::Frames) {
        say(socket.into_inner(), speech).await?;
        return Ok(None);
    }
    Ok(Some(Box::new(Payloads {
        socket,
        left: Bytes::new(),
        frame_size: options.frame_size,
    })))
}

/// The bytes in the binary frames.
struct Payloads {
    socket: WebSocketStream<BoxedStream>,
    left: Bytes,
    frame_size: usize,
}

impl AsyncRead for Payloads {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.left.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx))
                .transpose()
                .map_err(into_io)?
            {
                Some(Message::Binary(payload)) => self.left = payload,
                Some(Message::Text(_)) => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "MQTT comes in binary frames",
                    )));
                }
                // The next call sends the answer, and tells when that was the last of it.
                Some(
                    Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_),
                ) => {}
                None => return Poll::Ready(Ok(())),
            }
        }
        let n = self.left.len().min(buf.remaining());
        buf.put_slice(&self.left[..n]);
        self.left.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Payloads {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(into_io)?;
        let part = &buf[..buf.len().min(self.frame_size)];
        let message = Message::Binary(Bytes::copy_from_slice(part));
        Pin::new(&mut self.socket)
            .start_send(message)
            .map_err(into_io)?;
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(into_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.socket).poll_close(cx)) {
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => {}
            Err(error) => return Poll::Ready(Err(into_io(error))),
        }
        Pin::new(self.socket.get_mut()).poll_shutdown(cx)
    }
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

/// The kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "RFC 6455 §11.8 tells")]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// A whole frame as a server sends it (RFC 6455 §5.2), with the last bit set.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    frame_that_claims(payload.len(), opcode, payload)
}

/// A frame whose header claims another length than that of its payload.
pub fn frame_that_claims(len: usize, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode as u8];
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..126), _) => bytes.push(len),
        (_, Ok(len)) => {
            bytes.push(126);
            bytes.extend(len.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

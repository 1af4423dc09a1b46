//! The other end: reads and acknowledges, or sends, on blocking sockets in a thread of its own.

use bytes::{Buf, Bytes};
use martlet_tests::certificates::{Certificates, ClientAuthentication};
use martlet_tokio::QoS;
use rustls::{ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Publish(QoS),
    Receive,
}

pub struct Server {
    port: u16,
    thread: JoinHandle<()>,
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

impl Server {
    /// A server of one connection, which sends `n` messages if it is to.
    pub fn start(tls: bool, websocket: bool, work: Work, n: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let thread = std::thread::spawn(move || {
            let (socket, _) = listener.accept().expect("a connection");
            socket.set_nodelay(true).expect("a socket");
            let mut stream: Box<dyn Stream> = match (tls, websocket) {
                (false, false) => Box::new(socket),
                (true, false) => Box::new(secure(socket)),
                (false, true) => Box::new(Frames::accept(socket)),
                (true, true) => Box::new(Frames::accept(secure(socket))),
            };
            // It ends with the connection.
            drop(serve(&mut stream, work, n));
        });
        Self { port, thread }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn join(self) {
        self.thread.join().expect("a server that did not panic");
    }
}

fn secure(socket: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
    let certificates = Certificates::shared();
    let config = certificates.server_config(&certificates.server, ClientAuthentication::None);
    StreamOwned::new(
        ServerConnection::new(config).expect("a configuration"),
        socket,
    )
}

/// MQTT 3.1.1, as much of it as is needed here.
fn serve(stream: &mut Box<dyn Stream>, work: Work, n: usize) -> io::Result<()> {
    let mut input = vec![0; 1 << 18];
    let (mut have, mut replies) = (0, Vec::new());
    loop {
        match stream.read(&mut input[have..])? {
            0 => return Ok(()),
            read => have += read,
        }
        let mut at = 0;
        while let Some((header, len)) = frame(&input[at..have]) {
            let packet = &input[at..at + len];
            match packet[0] >> 4 {
                1 => replies.extend_from_slice(b"\x20\x02\x00\x00"),
                3 if packet[0] & 6 != 0 => {
                    let topic =
                        usize::from(u16::from_be_bytes([packet[header], packet[header + 1]]));
                    let id = &packet[header + 2 + topic..][..2];
                    replies.extend_from_slice(&[0x40, 2, id[0], id[1]]);
                }
                8 => {
                    replies.extend_from_slice(&[0x90, 3, packet[header], packet[header + 1], 0]);
                    if work == Work::Receive {
                        stream.write_all(&replies)?;
                        replies.clear();
                        send(stream, n)?;
                    }
                }
                _ => {}
            }
            at += len;
        }
        input.copy_within(at..have, 0);
        have -= at;
        if !replies.is_empty() {
            stream.write_all(&replies)?;
            stream.flush()?;
            replies.clear();
        }
    }
}

fn send(stream: &mut Box<dyn Stream>, n: usize) -> io::Result<()> {
    let topic = super::TOPIC.as_bytes();
    let len = 2 + topic.len() + super::PAYLOAD.len();
    let mut one = vec![
        0x30,
        (len & 127 | 128) as u8,
        (len >> 7) as u8,
        0,
        topic.len() as u8,
    ];
    one.extend_from_slice(topic);
    one.extend_from_slice(super::PAYLOAD);
    // As a broker with much to send does: as many in a write as make about 16 KiB.
    let block = one.repeat(50);
    for left in (0..n).rev().step_by(50) {
        stream.write_all(&block[..one.len() * (left + 1).min(50)])?;
    }
    stream.flush()
}

/// The length of the header and of the packet at the front, if it is whole.
fn frame(input: &[u8]) -> Option<(usize, usize)> {
    let mut len = 0;
    for i in 1..5 {
        let byte = *input.get(i)?;
        len |= usize::from(byte & 127) << (7 * (i - 1));
        if byte < 128 {
            return (input.len() > i + len).then_some((i + 1, i + 1 + len));
        }
    }
    panic!("not a length");
}

/// The bytes in the binary frames of a WebSocket.
struct Frames<S> {
    socket: WebSocket<S>,
    left: Bytes,
}

impl<S: Read + Write> Frames<S> {
    fn accept(stream: S) -> Self {
        #[expect(clippy::result_large_err, reason = "tungstenite wants it so")]
        let answer = |_: &Request, mut response: Response| {
            response
                .headers_mut()
                .insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
            Ok(response)
        };
        let Ok(socket) = tungstenite::accept_hdr(stream, answer) else {
            panic!("a handshake")
        };
        Self {
            socket,
            left: Bytes::new(),
        }
    }
}

impl<S: Read + Write> Read for Frames<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() {
            match self.socket.read() {
                Ok(Message::Binary(payload)) => self.left = payload,
                Ok(Message::Close(_)) => return Ok(0),
                Ok(_) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        let n = self.left.len().min(buf.len());
        buf[..n].copy_from_slice(&self.left[..n]);
        self.left.advance(n);
        Ok(n)
    }
}

impl<S: Read + Write> Write for Frames<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket
            .send(Message::Binary(Bytes::copy_from_slice(bytes)))
            .map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush().map_err(io::Error::other)
    }
}

//! MQTT over WebSocket (MQTT 5, section 6; RFC 6455), in memory. The payload of data frames is
//! passed on as it arrives, see [`Frames`]; tungstenite gets the control frames, answers pings and
//! closes.
//!
//! What is sent is made here. tungstenite would write the request's headers and each frame's
//! payload to the log at level *trace*, and an `Authorization` and MQTT's CONNECT are among them; a
//! payload would be copied thrice.
//!
//! The head of the answer is collected and then looked at whole. What lies behind it stays with the
//! caller, so no byte of a frame is ever inside the handshake.

use crate::error::{CONNACK, Speaks, StackError, StackErrorKind, TLS_ALERT, shown};
use crate::head::{self, Head, NotHttp};
use crate::request::{WebSocketRequest, shown_path};
use crate::wire::{WRITE_LIMIT, move_bytes};
use bytes::{Buf, BufMut, BytesMut};
use frames::{FrameFault, Frames};
use std::io;
use tungstenite::handshake::client::{Response, generate_key};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::{HeaderMap, HeaderValue};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error as FrameError, Message};

mod frames;

/// What tungstenite reads at once: a control frame.
const READ_BUFFER: usize = 256;
/// The longest header of a frame.
pub(crate) const MAX_HEADER: usize = 14;
/// The most that waits to be sent before pings are no longer answered one by one: the data that may
/// wait, and some answers.
const MAX_OUTPUT: usize = WRITE_LIMIT + 16 * 1024;
/// What tungstenite holds beyond that: some answers, of which none is longer than 139 bytes.
const MAX_REPLIES: usize = 1024;

pub(crate) struct WebSocket {
    state: WebSocketState,
    output: BytesMut,
    frames: Frames,
    /// The close frame of the server is here, or the connection has failed: what follows is not
    /// looked at.
    ended: bool,
}

enum WebSocketState {
    Handshake {
        head: Head,
        key: String,
        path: String,
    },
    Open(Box<WebSocketContext>),
}

/// What tungstenite takes for a socket.
struct Wire<'a> {
    input: &'a mut BytesMut,
    output: &'a mut BytesMut,
    /// Where there is as much already, nothing more is taken.
    max_output: usize,
}

impl WebSocket {
    pub(crate) fn new(request: &WebSocketRequest) -> Result<Self, StackError> {
        check(request)?;
        let key = generate_key();
        let mut output = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: mqtt\r\n",
            request.path, request.authority
        );
        for (name, value) in &request.headers {
            output.extend([name, ": ", value, "\r\n"]);
        }
        output.push_str("\r\n");
        let path = shown_path(&request.path).to_owned();
        Ok(Self {
            state: WebSocketState::Handshake {
                head: Head::default(),
                key,
                path,
            },
            output: BytesMut::from(output.as_bytes()),
            frames: Frames::default(),
            ended: false,
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.state, WebSocketState::Handshake { .. })
    }

    /// Takes all of `input`, and appends what the frames hold to `plain`.
    pub(crate) fn handle(
        &mut self,
        input: &mut BytesMut,
        plain: &mut BytesMut,
    ) -> Result<(), StackError> {
        if let WebSocketState::Handshake { head, key, path } = &mut self.state {
            let whole = match take_final(head, input) {
                Ok(None) => return Ok(()),
                Ok(Some(whole)) => whole,
                Err(what) if head.is_empty() && input.first() == Some(&TLS_ALERT) => {
                    return Err(StackError::permanent(
                        StackErrorKind::UnexpectedTls,
                        format!("the server {what}; use wss:// or its port for plain connections"),
                    )
                    .speaking(Speaks::Tls));
                }
                Err(what) => {
                    let text = format!("the server {what}; does this port serve WebSocket?");
                    let is_mqtt = head.is_empty() && input.first() == Some(&CONNACK);
                    let speaks = if is_mqtt { Speaks::Mqtt } else { Speaks::Other };
                    return Err(StackError::new(StackErrorKind::WebSocket, text).speaking(speaks));
                }
            };
            accept(&whole, key, path)?;
            self.state = WebSocketState::Open(Box::new(WebSocketContext::new(
                Role::Client,
                Some(config()),
            )));
        }
        let WebSocketState::Open(context) = &mut self.state else {
            return Ok(());
        };
        if self.ended {
            return Ok(());
        }
        let (error, code) = loop {
            match self.frames.read(input, plain) {
                Ok(None) => return Ok(()),
                Ok(Some(mut frame)) => {
                    if let Err(end) = handle_control(context, &mut frame, &mut self.output) {
                        break end;
                    }
                }
                Err(FrameFault::Text) => break (text(), Some(CloseCode::Unsupported)),
                Err(FrameFault::Broken(what)) => break (broken(&what), Some(CloseCode::Protocol)),
            }
        };
        self.ended = true;
        if let Some(code) = code {
            say_close(context, &mut self.output, code);
        }
        Err(error)
    }

    /// The connection has ended under it.
    pub(crate) fn handle_end(&self) -> Result<(), StackError> {
        match &self.state {
            WebSocketState::Handshake { head, path, .. } if head.is_empty() => {
                let text = format!(
                    "the server closed the connection without an answer to the WebSocket request for {path:?}; does \
                     this port serve WebSocket?"
                );
                Err(StackError::new(StackErrorKind::WebSocket, text).speaking(Speaks::PerhapsMqtt))
            }
            WebSocketState::Handshake { .. } => Err(StackError::new(
                StackErrorKind::WebSocket,
                "the server closed the connection in the middle of its answer to the WebSocket request",
            )),
            WebSocketState::Open(_) if self.ended => Ok(()),
            WebSocketState::Open(_) => Err(StackError::new(
                StackErrorKind::Truncated,
                "the connection ended without a WebSocket close frame: it broke, or the server skips that",
            )),
        }
    }

    /// Makes a frame of the first `length` bytes of `plain`.
    pub(crate) fn seal(&mut self, plain: &mut impl Buf, length: usize) {
        let mask: [u8; 4] = rand::random();
        let header = FrameHeader {
            opcode: OpCode::Data(Data::Binary),
            mask: Some(mask),
            ..FrameHeader::default()
        };
        self.output.reserve(MAX_HEADER + length);
        header
            .format(length as u64, &mut (&mut self.output).writer())
            .expect("memory takes it all");
        let payload = self.output.len();
        self.output.put(plain.take(length));
        apply_mask(&mut self.output[payload..], mask);
    }

    /// Says that nothing more will be sent.
    pub(crate) fn close(&mut self) {
        if let WebSocketState::Open(context) = &mut self.state {
            say_close(context, &mut self.output, CloseCode::Normal);
        }
    }

    /// What is to be sent is moved to `wire`.
    pub(crate) fn poll(&mut self, wire: &mut BytesMut) {
        move_bytes(&mut self.output, wire);
        let WebSocketState::Open(context) = &mut self.state else {
            return;
        };
        // Answers that found no room: those that it holds, and then the last one.
        loop {
            let input = &mut BytesMut::new();
            let _ = context.flush(&mut Wire {
                input,
                output: &mut self.output,
                max_output: MAX_OUTPUT,
            });
            if self.output.is_empty() {
                return;
            }
            move_bytes(&mut self.output, wire);
        }
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        // A reply goes out at once.
        .write_buffer_size(0)
        // Beyond it a pong replaces the one before (RFC 6455, section 5.5.3).
        .max_write_buffer_size(MAX_REPLIES)
}

/// Answers a whole control frame.
///
/// # Errors
/// The error that ends the connection, and the close code that is still to be sent to the server.
fn handle_control(
    context: &mut WebSocketContext,
    frame: &mut BytesMut,
    output: &mut BytesMut,
) -> Result<(), (StackError, Option<CloseCode>)> {
    let mut wire = Wire {
        input: frame,
        output,
        max_output: MAX_OUTPUT,
    };
    loop {
        match context.read(&mut wire) {
            // Pings are answered in there.
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Close(frame)) => {
                // The reply to it is in there.
                let _ = context.flush(&mut wire);
                return Err((closed(frame.as_ref()), None));
            }
            Ok(Message::Binary(_) | Message::Text(_) | Message::Frame(_)) => {
                unreachable!("it is a control frame")
            }
            Err(FrameError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(());
            }
            Err(error) => {
                let what = match error {
                    FrameError::Protocol(error) => error.to_string(),
                    other => other.to_string(),
                };
                return Err((broken(&what), Some(CloseCode::Protocol)));
            }
        }
    }
}

impl io::Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = buffer.len().min(self.input.len());
        self.input.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl io::Write for Wire<'_> {
    /// All of it or nothing, so that our frames can come between those of tungstenite.
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        if self.output.len() >= self.max_output {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.output.extend_from_slice(frame);
        Ok(frame.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// RFC 6455, section 5.3; 16 bytes at once, which a processor does in one step.
fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let wide: [u8; 16] = std::array::from_fn(|at| mask[at % 4]);
    let mut blocks = payload.chunks_exact_mut(wide.len());
    for block in &mut blocks {
        block
            .iter_mut()
            .zip(&wide)
            .for_each(|(byte, mask)| *byte ^= mask);
    }
    blocks
        .into_remainder()
        .iter_mut()
        .zip(&wide)
        .for_each(|(byte, mask)| *byte ^= mask);
}

/// Says that nothing more will be sent, after the answers that still wait, and whether or not there
/// is room: it happens once.
fn say_close(context: &mut WebSocketContext, output: &mut BytesMut, code: CloseCode) {
    let mut wire = Wire {
        input: &mut BytesMut::new(),
        output,
        max_output: usize::MAX,
    };
    // Neither can fail: memory takes it all.
    let _ = context.flush(&mut wire);
    let _ = context.close(
        &mut wire,
        Some(CloseFrame {
            code,
            reason: "".into(),
        }),
    );
}

/// Whether the request can be sent. Nothing in it may begin a line of its own.
fn check(request: &WebSocketRequest) -> Result<(), StackError> {
    let wrong = |text: String| Err(StackError::permanent(StackErrorKind::Configuration, text));
    if !request.path.bytes().all(|b| b.is_ascii_graphic()) || request.path.contains('#') {
        return wrong(
            "the path or query of a WebSocket URI has a character that must be percent-encoded"
                .into(),
        );
    }
    if request.authority.starts_with(':')
        || !request
            .authority
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"/@?#\\".contains(&b))
    {
        return wrong("the host of a WebSocket URI has a character that no host name has".into());
    }
    for (name, value) in &request.headers {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return wrong(format!(
                "\"{}\" is not the name of an HTTP header",
                shown(name.as_bytes(), 80)
            ));
        }
        let reserved = [
            "Host",
            "Connection",
            "Upgrade",
            "Content-Length",
            "Transfer-Encoding",
        ];
        if reserved
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other))
            || name.to_ascii_lowercase().starts_with("sec-websocket-")
        {
            return wrong(format!(
                "the header {name} belongs to the WebSocket handshake and cannot be set"
            ));
        }
        if value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
            return wrong(format!(
                "the value of the header {name} has a control character"
            ));
        }
    }
    Ok(())
}

/// Takes the head of the final answer. Interim answers (RFC 9110, section 15.2), such as 103 Early Hints, may come
/// before it, and a client that does not expect them ignores them.
fn take_final(head: &mut Head, input: &mut BytesMut) -> Result<Option<BytesMut>, NotHttp> {
    while let Some(whole) = head.take(input)? {
        if !matches!(head::status(&whole), Some(100 | 102..=199)) {
            return Ok(Some(whole));
        }
    }
    Ok(None)
}

/// Whether the server's answer opens the connection (RFC 6455, section 4.1).
fn accept(head: &[u8], key: &str, path: &str) -> Result<(), StackError> {
    if let Some(status) = head::status(head).filter(|&status| status != 101) {
        return Err(rejected(head, status, path));
    }
    let Ok(Some((_, response))) = Response::try_parse(head) else {
        let line = head::status_line(head);
        let text =
            format!("the server's answer to the WebSocket request cannot be read: \"{line}\"");
        return Err(StackError::new(StackErrorKind::WebSocket, text));
    };
    let headers = response.headers();
    let broken = |what: &str| {
        Err(StackError::new(
            StackErrorKind::WebSocket,
            format!("the server's answer to the WebSocket request {what}"),
        ))
    };
    if !has_token(headers, "Upgrade", "websocket") {
        return broken("has no header \"Upgrade: websocket\"");
    }
    if !has_token(headers, "Connection", "upgrade") {
        return broken("has no header \"Connection: Upgrade\"");
    }
    let expected = derive_accept_key(key.as_bytes());
    if headers
        .get("Sec-WebSocket-Accept")
        .is_none_or(|value| value.as_bytes() != expected.as_bytes())
    {
        return broken(
            "is not the one to our key (Sec-WebSocket-Accept); a cache may have made it",
        );
    }
    if headers.contains_key("Sec-WebSocket-Extensions") {
        return broken("names an extension, and none was asked for");
    }
    let mut protocols = headers.get_all("Sec-WebSocket-Protocol").iter();
    match (
        protocols.next().map(HeaderValue::as_bytes),
        protocols.next(),
    ) {
        (Some(b"mqtt"), None) => Ok(()),
        (None, _) => Err(StackError::permanent(
            StackErrorKind::WebSocketRejected,
            format!(
                "the server has WebSocket at {path:?}, but does not speak MQTT there: it left out the subprotocol \
                 mqtt; is the path right?"
            ),
        )),
        (Some(other), _) => Err(StackError::permanent(
            StackErrorKind::WebSocketRejected,
            format!(
                "the server chose the WebSocket subprotocol \"{}\", not mqtt",
                shown(other, 80)
            ),
        )),
    }
}

fn has_token(headers: &HeaderMap, name: &str, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','))
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn rejected(head: &[u8], status: u16, path: &str) -> StackError {
    let line = head::status_line(head);
    let hint = match status {
        401 | 403 | 407 => {
            "; it wants credentials, or others than those given (see the request's headers)"
        }
        404 | 405 | 410 => "; is the path right?",
        200..=299 => "; there is a web page but no WebSocket: is the path right?",
        300..=399 => "; it is elsewhere, see Location",
        426 => "; it wants another version of HTTP or WebSocket",
        502..=504 => "; the broker behind it may be down",
        _ => "",
    };
    let fields = fields(head);
    let fields = if fields.is_empty() {
        fields
    } else {
        format!(" ({fields})")
    };
    let text = format!(
        "the server answered \"{line}\" to the WebSocket request for {path:?}{hint}{fields}"
    );
    let passes = matches!(status, 408 | 425 | 429 | 500..);
    if passes {
        StackError::new(StackErrorKind::WebSocketRejected, text)
    } else if status == 400 {
        // What servers of HTTPS answer to HTTP; why stands only in what follows the head.
        StackError::permanent(StackErrorKind::WebSocketRejected, text).speaking(Speaks::PerhapsTls)
    } else {
        StackError::permanent(StackErrorKind::WebSocketRejected, text)
    }
}

/// What follows the first line, cut and fit to be shown: header lines without secrets, with `; `
/// between them.
fn fields(head: &[u8]) -> String {
    let lines: Vec<_> = head
        .split(|&b| b == b'\n')
        .skip(1)
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && !line.to_ascii_lowercase().starts_with(b"set-cookie"))
        .map(without_secrets)
        .collect();
    shown(&lines.join(&b"; "[..]), head::SHOWN)
}

/// A header line up to where it may have a secret. A redirect repeats the query of the request, in
/// which tokens travel, as its own or escaped; the parameters of a challenge may quote credentials.
fn without_secrets(line: &[u8]) -> Vec<u8> {
    let lower = line.to_ascii_lowercase();
    let query = (0..line.len()).find(|&at| lower[at] == b'?' || lower[at..].starts_with(b"%3f"));
    let colon = lower.iter().position(|&b| b == b':').unwrap_or_default();
    let parameters = if lower[..colon].trim_ascii().ends_with(b"-authenticate") {
        let value = colon
            + 1
            + lower[colon + 1..]
                .iter()
                .take_while(|b| b.is_ascii_whitespace())
                .count();
        let scheme = lower[value..].iter().position(u8::is_ascii_whitespace);
        scheme.map(|length| value + length)
    } else {
        None
    };
    match query.into_iter().chain(parameters).min() {
        None => line.to_vec(),
        Some(end) => [&line[..end], "…".as_bytes()].concat(),
    }
}

fn text() -> StackError {
    StackError::new(
        StackErrorKind::WebSocket,
        "the server sent a WebSocket text frame; MQTT is carried in binary ones only",
    )
}

fn broken(what: &str) -> StackError {
    StackError::new(
        StackErrorKind::WebSocket,
        format!("the server broke the WebSocket protocol: {what}"),
    )
}

fn closed(frame: Option<&CloseFrame>) -> StackError {
    let text = match frame {
        None => "the server closed the WebSocket connection, without a code".to_owned(),
        Some(CloseFrame { code, reason }) => {
            let meaning = match code {
                CloseCode::Normal => " (normal)",
                CloseCode::Away => " (going away)",
                CloseCode::Protocol => " (protocol error)",
                CloseCode::Unsupported => " (data that it does not take)",
                CloseCode::Invalid => " (inconsistent data)",
                CloseCode::Policy => " (policy)",
                CloseCode::Size => " (message too big)",
                CloseCode::Error => " (error of the server)",
                CloseCode::Restart => " (the server restarts)",
                CloseCode::Again => " (try again later)",
                _ => "",
            };
            let reason = shown(reason.as_bytes(), 125);
            let colon = if reason.is_empty() { "" } else { ": " };
            format!(
                "the server closed the WebSocket connection with {}{meaning}{colon}{reason}",
                u16::from(*code)
            )
        }
    };
    StackError::new(StackErrorKind::Closed, text)
}

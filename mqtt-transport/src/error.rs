//! Why a byte stack ended.

use crate::endpoint::Endpoint;
use crate::scheme::Scheme;
use std::fmt;

/// What ended a [`Transport`](crate::Transport): where it happened, and in words what it means and
/// what to do.
///
/// The text never holds a password, a key or the value of a header of ours; what a peer said is cut
/// short and its control characters are escaped. `source()` is the error of rustls, where there is
/// one.
#[derive(Debug, Clone)]
pub struct StackError {
    kind: StackErrorKind,
    permanent: bool,
    text: Box<str>,
    speaks: Option<Speaks>,
    #[cfg(feature = "tls")]
    cause: Option<Box<rustls::Error>>,
}

/// What the server seems to speak instead of what it was spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "tls", feature = "websocket")),
    allow(
        dead_code,
        reason = "some are seen only where TLS or WebSocket is spoken"
    )
)]
pub(crate) enum Speaks {
    Mqtt,
    Http,
    Tls,
    /// It answered the request of WebSocket as servers of TLS do.
    PerhapsTls,
    /// It hung up on TLS.
    PerhapsPlain,
    /// It hung up on the request of WebSocket.
    PerhapsMqtt,
    /// Something else.
    Other,
}

/// Where, and by whose fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StackErrorKind {
    /// The [`Stack`](crate::Stack) asks for what cannot be sent, or for what this build leaves out.
    Configuration,
    /// The proxy does not speak as a proxy should, or hung up.
    Proxy,
    /// The proxy understood, and rejected.
    ProxyRejected,
    /// TLS failed, but not over a certificate.
    Tls,
    /// The certificate of the server is not accepted here.
    Certificate,
    /// The server does not accept our certificate, or wants one and there is none.
    ClientCertificate,
    /// The server speaks something else where TLS was expected, or nothing.
    NotTls,
    /// The server speaks TLS where it was not expected.
    UnexpectedTls,
    /// The server, or a network that answers for it, speaks something else where MQTT was expected.
    NotMqtt,
    /// The server answered the WebSocket request, and the answer is no.
    WebSocketRejected,
    /// The server breaks the WebSocket protocol, or sends what MQTT does not allow over it.
    WebSocket,
    /// The server ended an open connection in good order: with a WebSocket close frame or a TLS
    /// close_notify. As with the end of a plain TCP connection, what came before it counts.
    Closed,
    /// The connection ended, but TLS or WebSocket had not: something may be missing.
    Truncated,
}

impl StackError {
    /// One that may pass: trying again makes sense.
    pub(crate) fn new(kind: StackErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            permanent: false,
            text: text.into().into_boxed_str(),
            speaks: None,
            #[cfg(feature = "tls")]
            cause: None,
        }
    }

    /// With the error of rustls that it explains.
    #[cfg(feature = "tls")]
    pub(crate) fn caused_by(self, cause: rustls::Error) -> Self {
        Self {
            cause: Some(Box::new(cause)),
            ..self
        }
    }

    /// With what the server seems to speak, for [`at`](Self::at).
    pub(crate) fn speaking(self, speaks: Speaks) -> Self {
        Self {
            speaks: Some(speaks),
            ..self
        }
    }

    /// One that will be the same the next time.
    pub(crate) fn permanent(kind: StackErrorKind, text: impl Into<String>) -> Self {
        Self {
            permanent: true,
            ..Self::new(kind, text)
        }
    }

    /// Where it happened, and by whose fault.
    pub fn kind(&self) -> StackErrorKind {
        self.kind
    }

    /// Whether trying again must fail in the same way until a setting changes: a certificate that
    /// is not trusted, credentials that are rejected, a wrong path. A certificate that has expired
    /// is not such an error, since its renewal on the server, or a clock that is set right, cures
    /// it.
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }

    /// The same with the server's host and port, and the URI to try, where the server seems to
    /// speak another protocol than the one that it was spoken to in. Other errors stay as they are.
    #[must_use]
    pub fn at(mut self, endpoint: &Endpoint) -> Self {
        let Some(speaks) = self
            .speaks
            .take()
            .filter(|_| endpoint.scheme() != Scheme::Unix)
        else {
            return self;
        };
        let (host, port) = (endpoint.host(), endpoint.port());
        let place = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        let advice = match (speaks, endpoint.scheme()) {
            (Speaks::Mqtt, _) => format!("; try mqtt://{place}"),
            (Speaks::Http, _) => format!("; if it has WebSocket, try ws://{place}"),
            (Speaks::Tls, Scheme::Ws) => format!("; try wss://{place}"),
            (Speaks::Tls, _) => format!("; try mqtts://{place}"),
            (Speaks::PerhapsTls, Scheme::Ws) => format!("; if it wants TLS, try wss://{place}"),
            (Speaks::PerhapsTls, Scheme::Mqtt) => format!("; if it wants TLS, try mqtts://{place}"),
            (Speaks::PerhapsPlain, Scheme::Wss) => format!("; if it is plain, try ws://{place}"),
            (Speaks::PerhapsPlain, _) => format!("; if it is plain, try mqtt://{place}"),
            (Speaks::PerhapsMqtt, Scheme::Wss) => {
                format!("; if it has MQTT without WebSocket, try mqtts://{place}")
            }
            (Speaks::PerhapsMqtt, _) => {
                format!(
                    "; if it has MQTT without WebSocket, try mqtt://{place}, and if it wants TLS, wss://{place}"
                )
            }
            (Speaks::PerhapsTls | Speaks::Other, _) => String::new(),
        };
        self.text = format!("{} (at {place}{advice})", self.text).into_boxed_str();
        self
    }

    /// What the first byte that a server sends says about a plain connection: a TLS server answers
    /// what it cannot read with an alert, which no MQTT packet begins like. `None`: nothing is
    /// wrong with it. [`of_plain_bytes`](Self::of_plain_bytes) knows more.
    pub fn of_plain_answer(first: u8) -> Option<Self> {
        (first == TLS_ALERT).then(|| {
            Self::permanent(
                StackErrorKind::UnexpectedTls,
                "the server speaks TLS on this port; use mqtts:// or wss://, or its port for plain connections",
            )
            .speaking(Speaks::Tls)
        })
    }

    /// What the first bytes that a server sends say about a plain connection: an alert of TLS, an
    /// answer of HTTP, or the header of AMQP, none of which an MQTT packet begins like. `None`:
    /// none of these.
    pub fn of_plain_bytes(bytes: &[u8]) -> Option<Self> {
        let &first = bytes.first()?;
        if let Some(tls) = Self::of_plain_answer(first) {
            return Some(tls);
        }
        let not_mqtt = |text: String| Self::new(StackErrorKind::NotMqtt, text);
        let line = || {
            shown(
                bytes
                    .split(|&byte| matches!(byte, b'\r' | b'\n'))
                    .next()
                    .unwrap_or_default(),
                80,
            )
        };
        let begins_like = |word: &[u8]| bytes.starts_with(word) || word.starts_with(bytes);
        // Each of these is a packet that no server begins with, and with flags or a length that
        // MQTT does not allow.
        if begins_like(b"HTTP/") || begins_like(b"<html") || begins_like(b"<!DOCTYPE") {
            let text = format!(
                "the server answered with HTTP (\"{}\") where MQTT was spoken; use ws:// if it has WebSocket there, or its \
                 MQTT port; or a proxy or portal of the network answered for it",
                line()
            );
            return Some(not_mqtt(text).speaking(Speaks::Http));
        }
        if begins_like(b"AMQP") {
            let text = "the server speaks AMQP on this port, not MQTT; RabbitMQ has MQTT as a plugin, on port 1883";
            return Some(not_mqtt(text.to_owned()).speaking(Speaks::Other));
        }
        None
    }

    /// A server on a plain connection hung up on its first packet without an answer, as servers of
    /// TLS do. `None`: its port is not one that is usual for TLS, so that there are likelier
    /// reasons.
    pub fn of_plain_end(endpoint: &Endpoint) -> Option<Self> {
        let is_for_tls =
            matches!(endpoint.port(), 443 | 8443 | 8883 | 8884) && !endpoint.scheme().is_tls();
        is_for_tls.then(|| {
            let text =
                "the server closed the connection without an answer, as one does that wants TLS";
            Self::new(StackErrorKind::UnexpectedTls, text)
                .speaking(Speaks::PerhapsTls)
                .at(endpoint)
        })
    }
}

/// Errors of rustls differ from themselves where they hold one of another library's.
impl PartialEq for StackError {
    fn eq(&self, other: &Self) -> bool {
        let parts = |error: &Self| (error.kind, error.permanent, error.speaks);
        parts(self) == parts(other) && self.text == other.text
    }
}

impl Eq for StackError {}

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for StackError {
    #[cfg(feature = "tls")]
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// The first byte of a TLS record that holds an alert, and of one that holds a part of the
/// handshake (RFC 8446, 5.1).
pub(crate) const TLS_ALERT: u8 = 0x15;
#[cfg(feature = "tls")]
pub(crate) const TLS_HANDSHAKE: u8 = 0x16;
/// The first byte of MQTT's CONNACK.
pub(crate) const CONNACK: u8 = 0x20;

/// What a peer said, fit to be shown: at most `limit` bytes of it, printable.
pub(crate) fn shown(said: &[u8], limit: usize) -> String {
    let cut = &said[..said.len().min(limit)];
    let mut text: String = String::from_utf8_lossy(cut)
        .trim_end()
        .chars()
        .flat_map(char::escape_debug)
        .collect();
    if cut.len() < said.len() {
        text.push('…');
    }
    text
}

//! Why a byte stack ended.

/// What ended a [`Transport`](crate::Transport): where it happened, and in words what it means and what to do.
///
/// The words never hold a password, a key or the value of a header of ours; what a peer said is cut short and its
/// control characters are escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    kind: ErrorKind,
    permanent: bool,
    text: Box<str>,
}

/// Where, and by whose fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The [`Stack`](crate::Stack) asks for what cannot be sent, or for what this build leaves out.
    Configuration,
    /// The proxy does not speak as a proxy should, or hung up.
    Proxy,
    /// The proxy understood, and refused.
    ProxyRefused,
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
    /// The server answered the WebSocket request, and the answer is no.
    WebSocketRefused,
    /// The server breaks the WebSocket protocol, or sends what MQTT does not allow over it.
    WebSocket,
    /// The server ended an open connection in good order: with a WebSocket close frame or a TLS close_notify. As with
    /// the end of a plain TCP connection, what came before it counts.
    Closed,
    /// The connection ended, but TLS or WebSocket had not: something may be missing.
    Truncated,
}

impl Error {
    /// One that may pass: trying again makes sense.
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, permanent: false, text: text.into().into_boxed_str() }
    }

    /// One that will be the same the next time.
    pub(crate) fn permanent(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { permanent: true, ..Self::new(kind, text) }
    }

    /// Where it happened, and by whose fault.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether trying again must fail in the same way until somebody changes something: a certificate that is not
    /// trusted, credentials that are refused, a wrong path. A certificate that has expired is not such an error,
    /// since its renewal, or a clock that is set right, cures it without anybody here.
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }

    /// What the first byte that a server sends says about a plain connection: a TLS server answers what it cannot read
    /// with an alert, which no MQTT packet begins like. `None`: nothing is wrong with it.
    pub fn of_plain_answer(first: u8) -> Option<Self> {
        (first == TLS_ALERT).then(|| {
            Self::permanent(
                ErrorKind::UnexpectedTls,
                "the server speaks TLS on this port; use mqtts:// or wss://, or its port for plain connections",
            )
        })
    }
}

/// The first byte of a TLS record that holds an alert, and of one that holds a part of the handshake (RFC 8446, 5.1).
pub(crate) const TLS_ALERT: u8 = 0x15;
#[cfg(feature = "tls")]
pub(crate) const TLS_HANDSHAKE: u8 = 0x16;
/// The first byte of MQTT's CONNACK.
pub(crate) const CONNACK: u8 = 0x20;

/// What a peer said, fit to be shown: at most `limit` bytes of it, printable.
pub(crate) fn shown(said: &[u8], limit: usize) -> String {
    let cut = &said[..said.len().min(limit)];
    let mut text: String =
        String::from_utf8_lossy(cut).trim_end().chars().flat_map(char::escape_debug).collect();
    if cut.len() < said.len() {
        text.push('…');
    }
    text
}

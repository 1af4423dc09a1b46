//! The proxy, TLS and WebSocket layers of one connection, if there are any, and their buffers.

use crate::link::observer::Trace;
use bytes::{Buf, BytesMut};
use martlet_session::{ConnectionError, Instant, SendBuffer, TransportError, TransportErrorKind};
use martlet_transport::{
    Endpoint, Handshake, ProxyUri, Scheme, Stack, StackError, StackErrorKind, TlsClient, Transport,
    WebSocketRequest,
};
#[cfg(feature = "tls")]
use martlet_transport::{TlsConfig, TrustError};

/// Sealed bytes that the socket has not taken, above which no more are sealed.
const ENOUGH: usize = 64 * 1024;

/// What connections have between the socket and MQTT beside what the URI's scheme says. `Debug`
/// shows no headers: tokens travel in them.
#[derive(Clone, Default)]
pub(crate) struct StackConfig {
    /// The proxy that sockets are opened to. Not for Unix sockets.
    pub(crate) proxy: Option<ProxyUri>,
    /// TLS's configuration, or why there is none; servers that need it then fail.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Result<TlsConfig, TrustError>>,
    /// Headers of the WebSocket request.
    pub(crate) headers: Vec<(String, String)>,
}

impl std::fmt::Debug for StackConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StackConfig")
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}

/// Whether this can be a header of the WebSocket request.
pub(crate) fn check_header(name: &str, value: &str) -> Result<(), StackError> {
    let web_socket = Some(WebSocketRequest::ws("localhost", 80, "/").header(name, value));
    Transport::new(&Stack::default().web_socket(web_socket)).map(drop)
}

impl StackConfig {
    /// The proxy on the way to `endpoint`, if there is one.
    pub(crate) fn proxy(&self, endpoint: &Endpoint) -> Option<&ProxyUri> {
        if endpoint.scheme() == Scheme::Unix {
            return None;
        }
        self.proxy.as_ref()
    }

    /// The layers between a socket and `endpoint`; `None` if there are none.
    fn stack(&self, endpoint: &Endpoint) -> Result<Option<Stack>, TransportError> {
        let (scheme, host, port) = (endpoint.scheme(), endpoint.host(), endpoint.port());
        let proxy = self.proxy(endpoint).map(|proxy| proxy.tunnel(endpoint));
        if proxy.is_none() && !scheme.is_tls() && !scheme.is_web_socket() {
            return Ok(None);
        }
        let request = match scheme {
            Scheme::Ws => Some(WebSocketRequest::ws(host, port, endpoint.path())),
            Scheme::Wss => Some(WebSocketRequest::wss(host, port, endpoint.path())),
            _ => None,
        };
        let web_socket = request.map(|request| {
            self.headers.iter().fold(request, |request, (name, value)| {
                request.header(name, value)
            })
        });
        Ok(Some(
            Stack::default()
                .proxy(proxy)
                .tls(self.tls(endpoint)?)
                .web_socket(web_socket),
        ))
    }

    #[cfg(feature = "tls")]
    fn tls(&self, endpoint: &Endpoint) -> Result<Option<TlsClient>, TransportError> {
        if !endpoint.scheme().is_tls() {
            return Ok(None);
        }
        let wrong = |what: Box<dyn std::error::Error + Send + Sync>| {
            TransportError::new(TransportErrorKind::Configuration, what).permanent()
        };
        match &self.tls {
            None => Err(wrong("there is no configuration of TLS".into())),
            Some(Err(error)) => Err(wrong(error.clone().into())),
            Some(Ok(config)) => TlsClient::new(config, endpoint.host())
                .map(Some)
                .map_err(transport_error),
        }
    }

    /// Without the feature `tls` no [`Endpoint`] asks for it.
    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unnecessary_wraps, reason = "with the feature it can fail")]
    fn tls(&self, _: &Endpoint) -> Result<Option<TlsClient>, TransportError> {
        Ok(None)
    }
}

/// The transport of one connection and the bytes on its way. Credentials are among them: `Debug`
/// shows how many.
pub(crate) struct Stage {
    transport: Transport,
    /// For what errors say.
    endpoint: Endpoint,
    /// Where bytes of the socket wait to be opened, within one call.
    incoming: BytesMut,
    /// For the socket.
    outgoing: BytesMut,
    /// Bytes of MQTT are among what was sealed.
    sealed: bool,
    closed: bool,
}

impl Stage {
    /// For a connection to `endpoint` whose socket is open; `None`: MQTT's bytes are the socket's.
    pub(crate) fn new(
        config: &StackConfig,
        endpoint: &Endpoint,
    ) -> Result<Option<Box<Self>>, TransportError> {
        let transport = match config.stack(endpoint)? {
            None => return Ok(None),
            Some(stack) => Transport::new(&stack).map_err(transport_error)?,
        };
        Ok(Some(Box::new(Self {
            transport,
            endpoint: endpoint.clone().without_query(),
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            sealed: false,
            closed: false,
        })))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.transport.is_open()
    }

    /// What is waited for.
    pub(crate) fn handshake(&self) -> &'static str {
        match self.transport.handshake() {
            Some(Handshake::Proxy) => "proxy",
            Some(Handshake::Tls) => "TLS",
            Some(Handshake::WebSocket) => "WebSocket",
            _ => "no",
        }
    }

    /// For the socket, as far as it is sealed.
    pub(crate) fn outgoing(&self) -> &BytesMut {
        &self.outgoing
    }

    /// The socket has taken `n` bytes. Returns whether all sealed bytes of MQTT are sent.
    pub(crate) fn written(&mut self, n: usize) -> bool {
        self.outgoing.advance(n);
        self.sealed && self.outgoing.is_empty()
    }

    /// Bytes have come from the socket; those of MQTT are appended to `plain`, also when there is
    /// an error.
    pub(crate) fn open(
        &mut self,
        bytes: &[u8],
        plain: &mut BytesMut,
    ) -> Result<(), ConnectionError> {
        self.incoming.extend_from_slice(bytes);
        let opened = self.transport.handle_wire(&mut self.incoming, plain);
        opened.map_err(|error| connection_error(error.at(&self.endpoint)))
    }

    /// The socket gives no more.
    pub(crate) fn end(&mut self) -> ConnectionError {
        match self.transport.handle_eof() {
            Ok(()) => ConnectionError::ClosedByPeer,
            Err(error) => connection_error(error.at(&self.endpoint)),
        }
    }

    /// Seals bytes of MQTT, as many as there is room for, and what the transport itself has to say.
    pub(crate) fn seal(
        &mut self,
        now: Instant,
        plain: &mut SendBuffer,
        trace: &mut Option<Trace>,
    ) -> Result<(), ConnectionError> {
        let _ = self.transport.poll_wire(&mut self.outgoing);
        while self.outgoing.len() < ENOUGH {
            let mut watched = Watched {
                plain,
                trace: trace.as_mut(),
                now,
            };
            let taken = self
                .transport
                .write(&mut watched)
                .map_err(connection_error)?;
            self.sealed |= taken > 0;
            let _ = self.transport.poll_wire(&mut self.outgoing);
            if taken == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Nothing more will be written: what the transport has to say about that. Returns whether that
    /// is news.
    pub(crate) fn close(&mut self) -> bool {
        if std::mem::replace(&mut self.closed, true) {
            return false;
        }
        self.transport.close();
        self.transport.poll_wire(&mut self.outgoing) > 0
    }

    /// The same after the connection has ended, if the server may still hear it.
    pub(crate) fn say_goodbye(&mut self, error: &ConnectionError) -> bool {
        let hears = matches!(
            error,
            ConnectionError::Rejected(_)
                | ConnectionError::DisconnectedByPeer(_)
                | ConnectionError::ClosedByPeer
                | ConnectionError::ClosedHere
        );
        hears && self.is_open() && self.close()
    }

    /// What the transport has to say to a server that it cannot go on with.
    pub(crate) fn last_words(&mut self) -> &BytesMut {
        let _ = self.transport.poll_wire(&mut self.outgoing);
        &self.outgoing
    }
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage")
            .field("transport", &self.transport)
            .field("outgoing", &self.outgoing.len())
            .finish_non_exhaustive()
    }
}

/// MQTT's bytes on their way into the transport, with somebody who looks at them.
struct Watched<'a> {
    plain: &'a mut SendBuffer,
    trace: Option<&'a mut Trace>,
    now: Instant,
}

impl Buf for Watched<'_> {
    fn remaining(&self) -> usize {
        self.plain.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.plain.chunk()
    }

    /// Several pieces share a record.
    fn chunks_vectored<'b>(&'b self, slices: &mut [std::io::IoSlice<'b>]) -> usize {
        self.plain.chunks_vectored(slices)
    }

    fn advance(&mut self, n: usize) {
        if let Some(trace) = &mut self.trace {
            trace.sent(self.now, self.plain, n);
        }
        self.plain.advance(n);
    }
}

/// What the first bytes of a server on a plain connection say, if they are not MQTT's.
pub(crate) fn not_plain(bytes: &[u8], endpoint: &Endpoint) -> Option<ConnectionError> {
    let error = StackError::of_plain_bytes(bytes)?.at(endpoint);
    Some(connection_error(error))
}

/// How a plain connection ended whose server had not answered anything.
pub(crate) fn plain_end(error: Option<TransportError>, endpoint: &Endpoint) -> ConnectionError {
    match (StackError::of_plain_end(endpoint), error) {
        (Some(wants_tls), _) => connection_error(wants_tls),
        (None, Some(error)) => ConnectionError::Transport(error),
        (None, None) => ConnectionError::ClosedByPeer,
    }
}

/// An end in good order is the peer's close, as it is without a transport.
fn connection_error(error: StackError) -> ConnectionError {
    match error.kind() {
        StackErrorKind::Closed => ConnectionError::ClosedByPeer,
        _ => ConnectionError::Transport(transport_error(error)),
    }
}

fn transport_error(error: StackError) -> TransportError {
    let kind = match error.kind() {
        StackErrorKind::Configuration => TransportErrorKind::Configuration,
        StackErrorKind::Proxy | StackErrorKind::ProxyRejected => TransportErrorKind::Proxy,
        StackErrorKind::Certificate => TransportErrorKind::Certificate,
        StackErrorKind::ClientCertificate => TransportErrorKind::ClientCertificate,
        StackErrorKind::Tls | StackErrorKind::NotTls | StackErrorKind::UnexpectedTls => {
            TransportErrorKind::Tls
        }
        StackErrorKind::WebSocket | StackErrorKind::WebSocketRejected => {
            TransportErrorKind::WebSocket
        }
        _ => TransportErrorKind::Io,
    };
    let is_permanent = error.is_permanent();
    let mapped = TransportError::new(kind, error);
    if is_permanent {
        mapped.permanent()
    } else {
        mapped
    }
}

//! The pipe: what comes from the socket goes up through the stages, what the client writes goes
//! down.
//!
//! ```text
//!            handle_wire ──►                                      ──► plain
//!   socket   ═══════════ proxy ═══ TLS ═══ WebSocket ══════════════════════   MQTT
//!            ◄── poll_wire                                        ◄── write
//! ```
//!
//! Each stage is optional. The proxy goes away once it has opened the way; the others stay. A stage
//! begins to speak when the one before it is open.

use crate::error::{StackError, StackErrorKind};
use crate::proxy::{Conversation, ProxyTunnel};
use crate::request::WebSocketRequest;
use crate::tls::{Tls, TlsClient};
use crate::web_socket::{self, WebSocket};
use crate::wire::{WRITE_LIMIT, move_bytes};
use bytes::{Buf, BufMut, BytesMut};
use std::fmt;

/// The proxy, TLS and WebSocket layers for one server, in order from the wire. The default is
/// plain TCP, for which no [`Transport`] is needed.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    proxy: Option<ProxyTunnel>,
    tls: Option<TlsClient>,
    web_socket: Option<WebSocketRequest>,
}

impl Stack {
    /// Sets the proxy. Default: none.
    #[must_use]
    pub fn proxy(mut self, proxy: impl Into<Option<ProxyTunnel>>) -> Self {
        self.proxy = proxy.into();
        self
    }

    /// Sets TLS. Default: none.
    #[must_use]
    pub fn tls(mut self, tls: impl Into<Option<TlsClient>>) -> Self {
        self.tls = tls.into();
        self
    }

    /// Sets WebSocket. Default: none.
    #[must_use]
    pub fn web_socket(mut self, request: impl Into<Option<WebSocketRequest>>) -> Self {
        self.web_socket = request.into();
        self
    }
}

/// What is under way before a connection is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Handshake {
    /// The proxy has not opened the way yet.
    Proxy,
    /// TLS is not established yet.
    Tls,
    /// The WebSocket request is not answered yet.
    WebSocket,
}

/// One connection's stages. It holds no socket and reads no clock (but for the time that
/// certificates are held against): bytes are handed to it, and taken from it.
///
/// **Getters:** [`is_open`](Self::is_open), [`handshake`](Self::handshake). **Handlers:**
/// [`handle_wire`](Self::handle_wire), [`handle_eof`](Self::handle_eof). **Commands:**
/// [`write`](Self::write), [`close`](Self::close). **Polls:** [`poll_wire`](Self::poll_wire), after
/// [`new`](Self::new) and after every handler and command, also one that returned an error: the
/// peer is sent the reason. While the socket takes nothing the poll may wait; what gathers inside
/// meanwhile is bounded.
///
/// The first error ends it. Every later call of a handler returns that error again.
pub struct Transport {
    proxy: Option<Box<Conversation>>,
    tls: Option<Tls>,
    web_socket: Option<WebSocket>,
    /// What is on its way between TLS and WebSocket, in either direction, within one call.
    between: BytesMut,
    /// What waits for the poll when the proxy was the only stage.
    output: BytesMut,
    /// Bytes of the wire, or a little more, that were written since the last poll.
    unpolled: usize,
    failed: Option<StackError>,
    closing: bool,
}

impl Transport {
    /// A connection whose socket is open, to the proxy if there is one, else to the server. The
    /// first bytes are ready for [`poll_wire`](Self::poll_wire).
    ///
    /// # Errors
    /// [`StackErrorKind::Configuration`](crate::StackErrorKind::Configuration): the stack has something that
    /// cannot be said on the wire, or that this build leaves out.
    pub fn new(stack: &Stack) -> Result<Self, StackError> {
        Ok(Self {
            proxy: stack
                .proxy
                .as_ref()
                .map(Conversation::new)
                .transpose()?
                .map(Box::new),
            tls: stack.tls.as_ref().map(Tls::new).transpose()?,
            web_socket: stack.web_socket.as_ref().map(WebSocket::new).transpose()?,
            between: BytesMut::new(),
            output: BytesMut::new(),
            unpolled: 0,
            failed: None,
            closing: false,
        })
    }

    /// Whether all handshakes are done: MQTT may be written. It stays so when the connection ends.
    pub fn is_open(&self) -> bool {
        self.handshake().is_none()
    }

    /// The handshake that is under way, `None` once all are done. It is for deadlines and for what
    /// is said when one passes.
    pub fn handshake(&self) -> Option<Handshake> {
        if self.proxy.is_some() {
            Some(Handshake::Proxy)
        } else if self.tls.as_ref().is_some_and(|tls| !tls.is_open()) {
            Some(Handshake::Tls)
        } else if self
            .web_socket
            .as_ref()
            .is_some_and(|web_socket| !web_socket.is_open())
        {
            Some(Handshake::WebSocket)
        } else {
            None
        }
    }

    /// Takes what came from the socket, all of it, and appends what it holds of MQTT to `plain`:
    /// no more than there was in `wire`, and with TLS what a record was waiting for.
    ///
    /// # Errors
    /// A stage failed, or the server closed it before we did. What came before is in `plain`, and
    /// counts.
    pub fn handle_wire(
        &mut self,
        wire: &mut BytesMut,
        plain: &mut BytesMut,
    ) -> Result<(), StackError> {
        let result = match &self.failed {
            Some(error) => Err(error.clone()),
            None => match self.open(wire, plain) {
                // It is the answer to ours.
                Err(error) if self.closing && error.kind() == StackErrorKind::Closed => Ok(()),
                other => other,
            },
        };
        wire.clear();
        self.between.clear();
        self.fail(result)
    }

    /// The socket will give no more bytes.
    ///
    /// # Errors
    /// The connection should not have ended here: in a handshake, or before the peer said so. The
    /// error explains it. After [`close`](Self::close) every end will do.
    pub fn handle_eof(&mut self) -> Result<(), StackError> {
        let result = match (&self.failed, &self.proxy) {
            (Some(error), _) => Err(error.clone()),
            _ if self.closing => Ok(()),
            (None, Some(proxy)) => Err(proxy.end()),
            (None, None) => {
                let tls = self.tls.as_ref().map_or(Ok(()), Tls::handle_end);
                let web_socket = self
                    .web_socket
                    .as_ref()
                    .map_or(Ok(()), WebSocket::handle_end);
                // The error of the WebSocket handshake is more precise, once TLS is established.
                match self.handshake() {
                    Some(Handshake::WebSocket) => web_socket,
                    _ => tls.and(web_socket),
                }
            }
        };
        self.fail(result)
    }

    /// Takes MQTT bytes from the front of `plain`, and returns how many: up to about 64 KiB between
    /// two calls of [`poll_wire`](Self::poll_wire), none before the connection is open and after
    /// [`close`](Self::close). The caller keeps the rest.
    ///
    /// # Errors
    /// The connection has failed; the error is the one that a handler returned.
    pub fn write(&mut self, plain: &mut impl Buf) -> Result<usize, StackError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.closing || !self.is_open() {
            return Ok(0);
        }
        let length = plain
            .remaining()
            .min(WRITE_LIMIT.saturating_sub(self.unpolled));
        if length == 0 {
            return Ok(0);
        }
        self.unpolled += length + MAX_OVERHEAD;
        match (&mut self.tls, &mut self.web_socket) {
            (_, Some(web_socket)) => web_socket.seal(plain, length),
            (Some(tls), None) => tls.seal(plain, length),
            (None, None) => self.output.put(plain.take(length)),
        }
        Ok(length)
    }

    /// Announces to the peer that nothing more will be sent: a WebSocket close frame, a TLS
    /// close_notify. What was written is sent before. The socket is the caller's to close, once the
    /// last [`poll_wire`](Self::poll_wire) is written.
    pub fn close(&mut self) {
        if std::mem::replace(&mut self.closing, true) {
            return;
        }
        if let Some(web_socket) = &mut self.web_socket {
            web_socket.close();
        }
        self.seal_frames();
        if let Some(tls) = self.tls.as_mut().filter(|_| self.proxy.is_none()) {
            tls.close();
        }
    }

    /// Appends what is for the socket to `wire`, and returns how many bytes that is: handshakes,
    /// replies, data, a close.
    #[must_use]
    pub fn poll_wire(&mut self, wire: &mut BytesMut) -> usize {
        let before = wire.len();
        self.unpolled = 0;
        if let Some(proxy) = &mut self.proxy {
            proxy.poll(wire);
            return wire.len() - before;
        }
        self.seal_frames();
        match (&mut self.tls, &mut self.web_socket) {
            (Some(tls), _) => tls.poll(wire),
            (None, Some(web_socket)) => web_socket.poll(wire),
            (None, None) => move_bytes(&mut self.output, wire),
        }
        wire.len() - before
    }

    fn open(&mut self, wire: &mut BytesMut, plain: &mut BytesMut) -> Result<(), StackError> {
        if let Some(proxy) = &mut self.proxy {
            if !proxy.handle(wire)? {
                return Ok(());
            }
            self.proxy = None;
        }
        if wire.is_empty() {
            return Ok(());
        }
        match (&mut self.tls, &mut self.web_socket) {
            (None, None) => {
                move_bytes(wire, plain);
                Ok(())
            }
            (Some(tls), None) => tls.open(wire, plain),
            (None, Some(web_socket)) => web_socket.handle(wire, plain),
            (Some(tls), Some(web_socket)) => {
                let tls = tls.open(wire, &mut self.between);
                web_socket.handle(&mut self.between, plain)?;
                match tls {
                    // The end of TLS in good order is not the end of the request in good order.
                    Err(error)
                        if error.kind() == StackErrorKind::Closed && !web_socket.is_open() =>
                    {
                        web_socket.handle_end()
                    }
                    other => other,
                }
            }
        }
    }

    /// What WebSocket has for the server goes into TLS, where there are both.
    fn seal_frames(&mut self) {
        if let (Some(tls), Some(web_socket), None) =
            (&mut self.tls, &mut self.web_socket, &self.proxy)
        {
            if tls.is_open() {
                web_socket.poll(&mut self.between);
                let length = self.between.len();
                tls.seal(&mut self.between, length);
                self.between.clear();
            }
        }
    }

    fn fail(&mut self, result: Result<(), StackError>) -> Result<(), StackError> {
        if let Err(error) = &result {
            self.failed.get_or_insert_with(|| error.clone());
        }
        result
    }
}

/// More than a frame's and a record's header and tag, so that many small writes are bounded too.
const MAX_OVERHEAD: usize = web_socket::MAX_HEADER + 50;

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("handshake", &self.handshake())
            .field("failed", &self.failed)
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}

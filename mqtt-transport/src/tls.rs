//! TLS by rustls, driven in memory. The one file that knows rustls' buffered connection:
//!
//! * `read_tls` with nothing to read means the end of the stream, so it is never called then;
//! * it takes 4 KiB at once and fails while plaintext waits, so records are processed and plaintext
//!   is taken each time;
//! * after a close_notify it takes nothing, and returns 0;
//! * `write` is short above a limit, so there is none, and [`Transport`](crate::Transport) has the
//!   bound.

use crate::error::{Speaks, StackError, StackErrorKind, TLS_ALERT, TLS_HANDSHAKE};
use crate::explain::{self, Moment};
use crate::trust::TlsConfig;
use bytes::{Buf, BytesMut};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use std::fmt;
use std::io::{self, BufRead, IoSlice, Write};

/// TLS with one server.
#[derive(Clone)]
pub struct TlsClient {
    config: TlsConfig,
    server_name: ServerName<'static>,
}

impl TlsClient {
    /// With the server of this name or address, which its certificate must have. An IPv6 address is
    /// written without brackets. A [server name of the configuration](crate::Trust::server_name)
    /// goes before it.
    ///
    /// # Errors
    /// [`StackErrorKind::Configuration`]: it is neither a name nor an address.
    pub fn new(config: &TlsConfig, host: &str) -> Result<Self, StackError> {
        let server_name = match &config.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(|_| {
                let text = format!(
                    "{host:?} is neither a host name nor an address, so no certificate can have it"
                );
                StackError::permanent(StackErrorKind::Configuration, text)
            })?,
        };
        Ok(Self {
            config: config.clone(),
            server_name,
        })
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient")
            .field("server_name", &self.server_name.to_str())
            .finish_non_exhaustive()
    }
}

/// One TLS connection.
pub(crate) struct Tls {
    connection: Box<ClientConnection>,
    /// Something came that can be the beginning of TLS.
    answered: bool,
    has_certificate: bool,
}

impl Tls {
    pub(crate) fn new(client: &TlsClient) -> Result<Self, StackError> {
        let config = client.config.config.clone();
        let has_certificate = config.client_auth_cert_resolver.has_certs();
        let mut connection =
            ClientConnection::new(config, client.server_name.clone()).map_err(|error| {
                StackError::permanent(
                    StackErrorKind::Configuration,
                    "TLS cannot begin with this configuration",
                )
                .caused_by(error)
            })?;
        connection.set_buffer_limit(None);
        Ok(Self {
            connection: Box::new(connection),
            answered: false,
            has_certificate,
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Takes records from `wire`, and appends what they hold to `plain`.
    pub(crate) fn open(
        &mut self,
        wire: &mut BytesMut,
        plain: &mut BytesMut,
    ) -> Result<(), StackError> {
        if !self.answered && !wire.is_empty() {
            if !matches!(wire[0], TLS_HANDSHAKE | TLS_ALERT) {
                return Err(explain::not_tls(wire[0]));
            }
            self.answered = true;
        }
        let mut wire = &wire[..];
        while !wire.is_empty() {
            match self.connection.read_tls(&mut wire) {
                // A close_notify came before: what follows it is nobody's.
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => {
                    let text =
                        format!("the server sent more of a TLS message than there may be: {error}");
                    return Err(StackError::new(StackErrorKind::Tls, text));
                }
            }
            let result = self.connection.process_new_packets();
            // What came before an error counts.
            self.read(plain);
            match result {
                Ok(state) if state.peer_has_closed() && self.connection.is_handshaking() => {
                    let text = "the server closed TLS in the middle of the handshake";
                    return Err(StackError::new(StackErrorKind::Tls, text));
                }
                Ok(state) if state.peer_has_closed() => {
                    return Err(StackError::new(
                        StackErrorKind::Closed,
                        "the server closed the TLS connection",
                    ));
                }
                Ok(_) => {}
                Err(error) => return Err(explain::failure(&error, self.moment()).caused_by(error)),
            }
        }
        Ok(())
    }

    /// The connection has ended under it.
    pub(crate) fn handle_end(&self) -> Result<(), StackError> {
        if !self.answered {
            return Err(StackError::new(
                StackErrorKind::NotTls,
                "the server closed the connection in the TLS handshake without an answer; it may not speak TLS on \
                 this port",
            )
            .speaking(Speaks::PerhapsPlain));
        }
        if self.connection.is_handshaking() {
            let text = "the server closed the connection in the middle of the TLS handshake, and did not say why";
            return Err(StackError::new(StackErrorKind::Tls, text));
        }
        Err(StackError::new(
            StackErrorKind::Truncated,
            "the connection ended without TLS's close_notify: it was cut, or the server skips that",
        ))
    }

    /// Makes records of the first `length` bytes of `plain`.
    pub(crate) fn seal(&mut self, plain: &mut impl Buf, length: usize) {
        let mut plain = plain.take(length);
        while plain.has_remaining() {
            // Small pieces share a record.
            let mut slices = [IoSlice::new(&[]); 16];
            let count = plain.chunks_vectored(&mut slices);
            match self.connection.writer().write_vectored(&slices[..count]) {
                // The connection has failed: a handler has said why.
                Ok(0) | Err(_) => return,
                Ok(written) => plain.advance(written),
            }
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn close(&mut self) {
        self.connection.send_close_notify();
    }

    /// What is to be sent is moved to `wire`.
    pub(crate) fn poll(&mut self, wire: &mut BytesMut) {
        while self.connection.wants_write() {
            self.connection
                .write_tls(&mut Append(wire))
                .expect("memory takes it all");
        }
    }

    fn read(&mut self, plain: &mut BytesMut) {
        let mut reader = self.connection.reader();
        while let Ok(chunk) = reader.fill_buf() {
            let length = chunk.len();
            if length == 0 {
                return;
            }
            plain.extend_from_slice(chunk);
            reader.consume(length);
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            is_handshaking: self.connection.is_handshaking(),
            has_certificate: self.has_certificate,
        }
    }
}

/// What rustls takes for a socket.
struct Append<'a>(&'a mut BytesMut);

impl Write for Append<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        self.0.reserve(length);
        for slice in slices {
            self.0.extend_from_slice(slice);
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

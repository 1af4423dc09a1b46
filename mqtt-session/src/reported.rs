//! Errors that the caller of a session reports to it, with what caused them.

use crate::shared_error::{SharedError, show_its_error};
use alloc::boxed::Box;
use core::error::Error;

/// How the network failed, as described by the caller. `source()` is what the operating system, or
/// the library in between, said of it, such as a [`std::io::Error`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportError {
    kind: TransportErrorKind,
    permanent: bool,
    error: SharedError,
}

/// Where the network, or what lies between it and MQTT, failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// The host's name has no address.
    Resolve,
    /// No connection could be made.
    Connect,
    /// Making the connection took too long.
    ConnectTimeout,
    /// Reading or writing failed.
    Io,
    /// The peer took no bytes for too long.
    WriteTimeout,
    /// The socket was open, but not all that lies between it and MQTT in time.
    HandshakeTimeout,
    /// The proxy failed or rejected.
    Proxy,
    /// TLS failed, but not over a certificate.
    Tls,
    /// The server's certificate is not accepted here.
    Certificate,
    /// The server does not accept our certificate, or wants one and there is none.
    ClientCertificate,
    /// WebSocket failed, or was rejected.
    WebSocket,
    /// What was asked for cannot be done at all.
    Configuration,
}

impl TransportError {
    /// With this error, whose text and cause it has from then on, or this text for people: lower
    /// case, without a full stop, without secrets.
    pub fn new(kind: TransportErrorKind, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            permanent: false,
            error: SharedError::new(error),
        }
    }

    /// Sets the error that caused it: what `source()` returns.
    #[must_use]
    pub fn caused_by(self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            error: self.error.caused_by(cause),
            ..self
        }
    }

    /// Marks it as permanent: trying again must fail in the same way until a setting changes.
    #[must_use]
    pub fn permanent(self) -> Self {
        Self {
            permanent: true,
            ..self
        }
    }

    /// Whether trying again must fail in the same way until a setting changes.
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }

    /// Where it failed.
    pub fn kind(&self) -> TransportErrorKind {
        self.kind
    }
}

/// A socket that failed.
#[cfg(feature = "std")]
impl From<std::io::Error> for TransportError {
    fn from(error: std::io::Error) -> Self {
        Self::new(TransportErrorKind::Io, "the network connection failed").caused_by(error)
    }
}

/// Why the application would not connect, or not stay connected: the error of its own code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    error: SharedError,
    is_final: bool,
}

impl GivenUp {
    /// This time only: a later attempt may do better. The error, or a text in its place, comes
    /// without secrets.
    pub fn for_now(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            error: SharedError::new(why),
            is_final: false,
        }
    }

    /// For good: trying again would not help. The error, or a text in its place, comes without
    /// secrets.
    pub fn for_good(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            error: SharedError::new(why),
            is_final: true,
        }
    }

    /// Whether trying again would not help.
    pub fn is_final(&self) -> bool {
        self.is_final
    }
}

/// How a store failed, as described by the caller. `source()` is what the operating system said of
/// it, where it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    kind: StoreErrorKind,
    error: SharedError,
}

/// Why a store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Reading or writing failed.
    Io,
    /// The disk, or what is granted of it, is full.
    Full,
    /// Somebody else has it open.
    Locked,
    /// It is not a store, or damaged beyond single records.
    Corrupt,
    /// It is closed.
    Closed,
}

impl StoreError {
    /// With this error, whose text and cause it has from then on, or this text for people: lower
    /// case, without a full stop, without secrets.
    pub fn new(kind: StoreErrorKind, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            error: SharedError::new(error),
        }
    }

    /// Sets the error that caused it: what `source()` returns.
    #[must_use]
    pub fn caused_by(self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            error: self.error.caused_by(cause),
            ..self
        }
    }

    /// Why it failed.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

show_its_error!(TransportError, GivenUp, StoreError);

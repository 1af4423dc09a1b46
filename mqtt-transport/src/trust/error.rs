//! What is wrong with what TLS is to trust or to show.

use std::fmt;
use std::path::PathBuf;

/// Where something that is wrong came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PemSource {
    /// A file or directory.
    Path(PathBuf),
    /// Bytes that the program gave.
    Memory,
}

/// What is wrong with a [`Trust`](crate::Trust). All of it is found before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// There is nothing that does the cryptography of TLS 1.2 and 1.3.
    #[error(
        "no cryptography for TLS: turn on the cargo feature \"ring\" or \"aws-lc-rs\", or install a provider of rustls \
         (rustls::crypto::CryptoProvider::install_default) before"
    )]
    NoCrypto,
    /// A file or directory is missing or cannot be read.
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// The kind of the operating system's error.
        kind: std::io::ErrorKind,
        /// The text of the operating system's error.
        reason: String,
    },
    /// There is no certificate where one should be.
    #[error("{source_name} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----){hint}")]
    NoCertificate {
        /// Where it should be.
        source_name: PemSource,
        /// What else it may be.
        hint: &'static str,
    },
    /// There is no private key where one should be.
    #[error("{source_name} holds no private key in PEM form (-----BEGIN PRIVATE KEY-----){hint}")]
    NoKey {
        /// Where it should be.
        source_name: PemSource,
        /// What else it may be.
        hint: &'static str,
    },
    /// The PEM form is broken.
    #[error("{source_name} is not well-formed PEM: {reason}")]
    BadPem {
        /// Where it came from.
        source_name: PemSource,
        /// What is wrong with it, and in which section.
        reason: String,
    },
    /// A certificate that is to be trusted cannot be read.
    #[error(
        "certificate number {number} in {source_name} ({}, line {line}) cannot be used as a CA: {reason}",
        subject.as_ref().map_or_else(|| "its subject cannot be read".to_owned(), |subject| format!("{subject:?}"))
    )]
    BadCertificate {
        /// Where it came from.
        source_name: PemSource,
        /// Its place among the certificates there, from 1.
        number: usize,
        /// The line that it begins in, from 1.
        line: usize,
        /// What its subject is called, if that can be read.
        subject: Option<String>,
        /// What is wrong with it.
        reason: String,
    },
    /// Our private key cannot be read, or is of a kind that is not supported.
    #[error("the private key in {source_name} cannot be used: {reason}")]
    BadKey {
        /// Where it came from.
        source_name: PemSource,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// Our private key is encrypted, and this program cannot decrypt any.
    #[error(
        "the private key in {source_name} is encrypted, and this program was built without the cargo feature \
         \"encrypted-keys\"; turn it on, or decrypt the key: openssl pkey -in FILE -out NEW.pem"
    )]
    EncryptedKeysOff {
        /// Where it came from.
        source_name: PemSource,
    },
    /// The private key is encrypted, and there is no password.
    #[error("the private key in {source_name} is encrypted; give its password")]
    KeyPasswordMissing {
        /// Where it came from.
        source_name: PemSource,
    },
    /// The password does not decrypt the private key.
    #[error("the password does not decrypt the private key in {source_name}")]
    KeyPasswordWrong {
        /// Where it came from.
        source_name: PemSource,
    },
    /// A client certificate without its private key.
    #[error("there is a client certificate but no private key; give the key too")]
    CertificateWithoutKey,
    /// A private key without its certificate.
    #[error("there is a private key but no client certificate; give the certificate too")]
    KeyWithoutCertificate,
    /// The private key belongs to another certificate.
    #[error(
        "the private key in {key} does not belong to the certificate in {certificate}; in a chain the client's own \
         certificate is the first"
    )]
    KeyMismatch {
        /// Where the certificate came from.
        certificate: PemSource,
        /// Where the key came from.
        key: PemSource,
    },
    /// The operating system has no CAs.
    #[error(
        "the operating system has no CA certificates ({reason}); install them, or give a CA file"
    )]
    NoSystemAuthorities {
        /// What was found instead.
        reason: String,
    },
    /// The server name is neither a name nor an address.
    #[error("the server name {0:?} is neither a host name nor an address")]
    ServerName(String),
    /// A protocol name of ALPN is empty or has over 255 bytes.
    #[error("a protocol name of ALPN has 1 to 255 bytes")]
    Alpn,
}

impl fmt::Display for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Memory => f.write_str("the PEM given in memory"),
        }
    }
}

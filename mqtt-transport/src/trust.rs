//! Whom to trust, and who we are: everything that TLS needs to know, from files or memory.

use crate::verify::Verifier;
use data_encoding::BASE64;
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};
use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whom to trust and who we are, in words: a description that [`build`](Self::build) makes a [`TlsConfig`] of.
///
/// The default trusts the certificate authorities (CAs) of the operating system, as rustls-native-certs finds them.
/// That crate only reads certificates, and all checks stay here, the same on every platform and with a private CA;
/// rustls-platform-verifier would leave them to each system's own library, with other answers on each, and needs a
/// bridge to Java on Android.
///
/// `Debug` shows neither keys nor the password.
///
/// ```no_run
/// use martlet_transport::{TlsClient, Trust};
///
/// let config = Trust::new()
///     .ca_file("/etc/ssl/plant-ca.pem")
///     .certificate_file("sensor-7.pem")
///     .key_file("sensor-7.key")
///     .build()?;
/// let tls = TlsClient::new(&config, "broker.plant.example")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Trust {
    authorities: Vec<Authority>,
    certificate: Option<Pem>,
    key: Option<Pem>,
    key_password: Option<Vec<u8>>,
    alpn: Vec<Vec<u8>>,
    server_name: Option<String>,
    crypto: Crypto,
    key_log: bool,
    skip_host_name: bool,
    skip_certificate: bool,
}

/// What does TLS's cryptography.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Crypto {
    /// The crate `ring`.
    #[default]
    Ring,
    /// The crate `aws-lc-rs`; it adds key exchange that withstands quantum computers.
    #[cfg(feature = "aws-lc-rs")]
    AwsLcRs,
}

/// TLS's configuration, complete and checked. Cloning it is cheap; connections of one configuration resume each
/// other's TLS sessions.
#[derive(Clone)]
pub struct TlsConfig {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) server_name: Option<ServerName<'static>>,
}

#[derive(Clone)]
enum Authority {
    System,
    Pem(Pem),
    Directory(PathBuf),
}

#[derive(Clone)]
enum Pem {
    File(PathBuf),
    Memory(Vec<u8>),
}

/// Where something that is wrong came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PemSource {
    /// A file or directory.
    Path(PathBuf),
    /// Bytes that the program gave.
    Memory,
}

/// What is wrong with a [`Trust`]. All of it is found before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// A file or directory is missing or cannot be read.
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
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
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate of a CA cannot be read.
    #[error("a certificate in {source_name} cannot be used as a CA: {reason}")]
    BadCertificate {
        /// Where it came from.
        source_name: PemSource,
        /// What is wrong with it.
        reason: String,
    },
    /// A private key cannot be read, or is of a kind that is not supported.
    #[error("the private key in {source_name} cannot be used: {reason}")]
    BadKey {
        /// Where it came from.
        source_name: PemSource,
        /// What is wrong with it.
        reason: String,
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
    #[error("the operating system has no CA certificates ({reason}); install them, or give a CA file")]
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

impl Trust {
    /// Trusts the CAs of the operating system; has no client certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the CAs in this PEM file, and no longer those of the operating system, unless
    /// [`system_authorities`](Self::system_authorities) says so. May be called repeatedly.
    #[must_use]
    pub fn ca_file(self, path: impl Into<PathBuf>) -> Self {
        self.authority(Authority::Pem(Pem::File(path.into())))
    }

    /// Trusts the CAs in the PEM files of this directory; files that hold no certificate are passed over. Otherwise as
    /// [`ca_file`](Self::ca_file).
    #[must_use]
    pub fn ca_directory(self, path: impl Into<PathBuf>) -> Self {
        self.authority(Authority::Directory(path.into()))
    }

    /// Trusts the CAs in these PEM bytes. Otherwise as [`ca_file`](Self::ca_file).
    #[must_use]
    pub fn ca_pem(self, pem: impl Into<Vec<u8>>) -> Self {
        self.authority(Authority::Pem(Pem::Memory(pem.into())))
    }

    /// Trusts the CAs of the operating system beside those that are given.
    #[must_use]
    pub fn system_authorities(self) -> Self {
        self.authority(Authority::System)
    }

    /// Shows the server this certificate if it asks for one: a PEM file with our own certificate, followed by
    /// intermediate ones.
    #[must_use]
    pub fn certificate_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.certificate = Some(Pem::File(path.into()));
        self
    }

    /// As [`certificate_file`](Self::certificate_file), with the bytes of such a file.
    #[must_use]
    pub fn certificate_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificate = Some(Pem::Memory(pem.into()));
        self
    }

    /// The private key of the client certificate, a PEM file: PKCS#8, encrypted or not, PKCS#1 or SEC 1. It may be the
    /// certificate's file.
    #[must_use]
    pub fn key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.key = Some(Pem::File(path.into()));
        self
    }

    /// As [`key_file`](Self::key_file), with the bytes of such a file.
    #[must_use]
    pub fn key_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.key = Some(Pem::Memory(pem.into()));
        self
    }

    /// The password of an encrypted private key. Other keys do not use it.
    #[must_use]
    pub fn key_password(mut self, password: impl Into<Vec<u8>>) -> Self {
        self.key_password = Some(password.into());
        self
    }

    /// The application protocols to offer (ALPN, RFC 7301), the best first. None by default; some servers want `mqtt`,
    /// or `x-amzn-mqtt-ca`.
    #[must_use]
    pub fn alpn(mut self, protocols: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// The name to ask the server for (SNI) and to look for in its certificate, where that is not the host that is
    /// connected to. An address is not asked for, only looked for.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// What does the cryptography; the default is [`Crypto::Ring`]. A default of the process is never looked at.
    #[must_use]
    pub fn crypto(mut self, crypto: Crypto) -> Self {
        self.crypto = crypto;
        self
    }

    /// Writes the secrets of connections to the file that the environment variable `SSLKEYLOGFILE` names, for tools
    /// like Wireshark. Without this call the variable does nothing.
    #[must_use]
    pub fn key_log(mut self) -> Self {
        self.key_log = true;
        self
    }

    /// Does not ask whether the certificate is for the host that is connected to. It must still be one that a trusted
    /// CA vouches for, **so any holder of such a certificate can pretend to be the server.**
    #[must_use]
    pub fn danger_skip_host_name_check(mut self) -> Self {
        self.skip_host_name = true;
        self
    }

    /// Does not ask who vouches for the certificate, nor whether it is out of date. It must still be for the host; skip
    /// [that](Self::danger_skip_host_name_check) too and every certificate will do. **Anybody on the way to the server
    /// can then read and change everything.**
    #[must_use]
    pub fn danger_skip_certificate_check(mut self) -> Self {
        self.skip_certificate = true;
        self
    }

    /// Reads the files, and checks all of it. This blocks for as long as the files take; the CAs of an operating system
    /// are some hundred. Do it once, not for each connection.
    ///
    /// # Errors
    /// [`TrustError`] says what is wrong, with which file, and what to do.
    pub fn build(&self) -> Result<TlsConfig, TrustError> {
        let provider = self.crypto.provider();
        let server_name = match &self.server_name {
            None => None,
            Some(name) => {
                Some(ServerName::try_from(name.clone()).map_err(|_| TrustError::ServerName(name.clone()))?)
            }
        };
        if self.alpn.iter().any(|name| name.is_empty() || name.len() > 255) {
            return Err(TrustError::Alpn);
        }
        let client = self.client(&provider)?;
        let verifier = Verifier {
            roots: if self.skip_certificate { None } else { Some(self.roots()?) },
            check_host_name: !self.skip_host_name,
            algorithms: provider.signature_verification_algorithms,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("either provider has TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some(client) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(client))),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        if self.key_log {
            config.key_log = Arc::new(rustls::KeyLogFile::new());
        }
        Ok(TlsConfig { config: Arc::new(config), server_name })
    }

    fn authority(mut self, authority: Authority) -> Self {
        self.authorities.push(authority);
        self
    }

    fn roots(&self) -> Result<RootCertStore, TrustError> {
        let mut roots = RootCertStore::empty();
        if self.authorities.is_empty() {
            add_system(&mut roots)?;
        }
        for authority in &self.authorities {
            match authority {
                Authority::System => add_system(&mut roots)?,
                Authority::Pem(pem) => {
                    let bytes = pem.read()?;
                    let certificates = certificates(&bytes, &pem.source())?;
                    if certificates.is_empty() {
                        let hint = hint(&bytes);
                        return Err(TrustError::NoCertificate { source_name: pem.source(), hint });
                    }
                    add(&mut roots, certificates, &pem.source())?;
                }
                Authority::Directory(path) => add_directory(&mut roots, path)?,
            }
        }
        Ok(roots)
    }

    fn client(&self, provider: &CryptoProvider) -> Result<Option<CertifiedKey>, TrustError> {
        let (certificate, key) = match (&self.certificate, &self.key) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(TrustError::CertificateWithoutKey),
            (None, Some(_)) => return Err(TrustError::KeyWithoutCertificate),
            (Some(certificate), Some(key)) => (certificate, key),
        };
        let bytes = certificate.read()?;
        let chain = certificates(&bytes, &certificate.source())?;
        if chain.is_empty() {
            return Err(TrustError::NoCertificate { source_name: certificate.source(), hint: hint(&bytes) });
        }
        let der = private_key(&key.read()?, &key.source(), self.key_password.as_deref())?;
        let bad = |reason: String| TrustError::BadKey { source_name: key.source(), reason };
        let signer = provider.key_provider.load_private_key(der).map_err(|error| match error {
            rustls::Error::General(reason) => bad(reason),
            other => bad(other.to_string()),
        })?;
        let certified = CertifiedKey::new(chain, signer);
        match certified.keys_match() {
            // That a key cannot tell its public half is no proof that it is another.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Some(certified)),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(TrustError::KeyMismatch { certificate: certificate.source(), key: key.source() })
            }
            Err(error) => Err(TrustError::BadCertificate {
                source_name: certificate.source(),
                reason: error.to_string(),
            }),
        }
    }
}

impl Crypto {
    fn provider(self) -> CryptoProvider {
        match self {
            Self::Ring => ring::default_provider(),
            #[cfg(feature = "aws-lc-rs")]
            Self::AwsLcRs => rustls::crypto::aws_lc_rs::default_provider(),
        }
    }
}

impl Pem {
    fn source(&self) -> PemSource {
        match self {
            Self::File(path) => PemSource::Path(path.clone()),
            Self::Memory(_) => PemSource::Memory,
        }
    }

    fn read(&self) -> Result<Vec<u8>, TrustError> {
        match self {
            Self::File(path) => fs::read(path).map_err(|error| unreadable(path, &error)),
            Self::Memory(pem) => Ok(pem.clone()),
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> TrustError {
    TrustError::Unreadable { path: path.to_owned(), reason: error.to_string() }
}

fn add_system(roots: &mut RootCertStore) -> Result<(), TrustError> {
    let found = rustls_native_certs::load_native_certs();
    // A few that nobody can read are not worth failing for.
    let (added, _ignored) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(());
    }
    let reason = match found.errors.first() {
        Some(error) => error.to_string(),
        None => "none were found".into(),
    };
    Err(TrustError::NoSystemAuthorities { reason })
}

fn add_directory(roots: &mut RootCertStore, path: &Path) -> Result<(), TrustError> {
    let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut files: Vec<_> =
        entries.map_err(|error| unreadable(path, &error))?.iter().map(fs::DirEntry::path).collect();
    files.sort();
    // In a directory that OpenSSL can use each stands twice, the second time as a link.
    let mut seen = HashSet::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let source = PemSource::Path(file.clone());
        let bytes = fs::read(file).map_err(|error| unreadable(file, &error))?;
        let mut new = certificates(&bytes, &source)?;
        new.retain(|certificate| seen.insert(certificate.clone()));
        add(roots, new, &source)?;
    }
    if seen.is_empty() {
        return Err(TrustError::NoCertificate { source_name: PemSource::Path(path.to_owned()), hint: "" });
    }
    Ok(())
}

fn add(
    roots: &mut RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
    source: &PemSource,
) -> Result<(), TrustError> {
    for certificate in certificates {
        roots.add(certificate).map_err(|error| TrustError::BadCertificate {
            source_name: source.clone(),
            reason: error.to_string(),
        })?;
    }
    Ok(())
}

fn certificates(pem: &[u8], source: &PemSource) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| bad_pem(&error, source))
}

/// Says nothing of the content, which may be a key.
fn bad_pem(error: &pem::Error, source: &PemSource) -> TrustError {
    let reason = match error {
        pem::Error::MissingSectionEnd { .. } => {
            "a section has no end (-----END …-----); is the file cut off?"
        }
        pem::Error::IllegalSectionStart { .. } => "a line that begins a section is wrong",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be read",
    };
    TrustError::BadPem { source_name: source.clone(), reason: reason.into() }
}

/// What was given instead of PEM.
fn hint(bytes: &[u8]) -> &'static str {
    if bytes.is_empty() {
        "; it is empty"
    } else if bytes.starts_with(&[0x30, 0x82]) {
        "; it looks like DER or PKCS#12, convert it with openssl"
    } else {
        ""
    }
}

const ENCRYPTED_BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";

fn private_key(
    pem: &[u8],
    source: &PemSource,
    password: Option<&[u8]>,
) -> Result<PrivateKeyDer<'static>, TrustError> {
    let source_name = source.clone();
    let bad = |reason: &str| Err(TrustError::BadKey { source_name: source.clone(), reason: reason.into() });
    let text = String::from_utf8_lossy(pem);
    if let Some((_, behind)) = text.split_once(ENCRYPTED_BEGIN) {
        let Some((body, _)) = behind.split_once(ENCRYPTED_END) else {
            let reason = "a section has no end (-----END …-----); is the file cut off?".into();
            return Err(TrustError::BadPem { source_name, reason });
        };
        let Some(password) = password else { return Err(TrustError::KeyPasswordMissing { source_name }) };
        let body: Vec<u8> = body.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let Ok(der) = BASE64.decode(&body) else {
            return Err(TrustError::BadPem { source_name, reason: "a section is not base64".into() });
        };
        let Ok(encrypted) = EncryptedPrivateKeyInfoRef::try_from(&der[..]) else {
            return bad(
                "it is encrypted in a way that is not supported; use PBES2: openssl pkcs8 -topk8 -v2 aes-256-cbc",
            );
        };
        return match encrypted.decrypt(password) {
            Ok(key) => Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into()),
            Err(pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. })) => bad(
                "it is encrypted in a way that is not supported; use PBES2: openssl pkcs8 -topk8 -v2 aes-256-cbc",
            ),
            Err(_) => Err(TrustError::KeyPasswordWrong { source_name }),
        };
    }
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return bad("it is encrypted in OpenSSL's old way; convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc");
    }
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(TrustError::NoKey { source_name, hint: hint(pem) }),
        Err(error) => Err(bad_pem(&error, source)),
    }
}

impl fmt::Display for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Memory => f.write_str("the PEM given in memory"),
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("authorities", &self.authorities)
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .field("alpn", &self.alpn.iter().map(|name| String::from_utf8_lossy(name)).collect::<Vec<_>>())
            .field("server_name", &self.server_name)
            .field("crypto", &self.crypto)
            .field("key_log", &self.key_log)
            .field("skip_host_name", &self.skip_host_name)
            .field("skip_certificate", &self.skip_certificate)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("System"),
            Self::Pem(pem) => pem.fmt(f),
            Self::Directory(path) => path.fmt(f),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Memory(_) => f.write_str("in memory"),
        }
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

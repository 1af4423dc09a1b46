//! The TLS configuration: trusted CAs and the client certificate, from files or memory.

mod crypto;
mod error;
mod keys;
mod pem;
mod roots;
mod source;

pub use crypto::Crypto;
pub use error::{PemSource, TrustError};
pub(crate) use roots::Roots;

use crate::der::DerReader;
use crate::verify::Verifier;
use pem::PemContent;
use roots::Authority;
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use source::Pem;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The trusted CAs and the client certificate: a description that [`build`](Self::build) makes a
/// [`TlsConfig`] of.
///
/// The default trusts the certificate authorities (CAs) of the operating system, as
/// rustls-native-certs finds them. That crate only reads certificates, and all checks stay here,
/// the same on every platform and with a private CA; rustls-platform-verifier would leave them to
/// each system's own library, with other answers on each, and needs a bridge to Java on Android.
///
/// # Certificates of servers
/// A server's certificate is accepted when a trusted CA vouches for it, it is within its dates, it
/// is for servers, and it has the host that is connected to among its subject alternative names.
///
/// **A certificate that is itself among those given** ([`ca_file`](Self::ca_file),
/// [`ca_directory`](Self::ca_directory), [`ca_pem`](Self::ca_pem)) is accepted as it is, when the
/// server shows it byte for byte and has its key: whatever its names, dates, versions and
/// CAs. The certificate is then *pinned*: no CA is asked. This is
/// what a self-signed certificate needs, such as one of `openssl req -x509`. It ends when the file
/// no longer holds the certificate. Certificates of the operating system are not pinned.
///
/// # Our own certificate
/// A certificate of ours is sent as it is in its file, and the server decides about it. All that is
/// checked here is that its key can be read and belongs to it.
///
/// # Files
/// Files are PEM. A byte order mark, comments and Windows' line ends do no harm. What is missing,
/// damaged or of another form is named, with the command of OpenSSL that helps: see [`TrustError`].
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

/// TLS's configuration, complete and checked. Cloning it is cheap; connections of one configuration
/// resume each other's TLS sessions.
///
/// ```
/// # use martlet_transport::{Trust, TrustError};
/// let config = Trust::new().ca_file("plant-ca.pem").build();
/// assert!(matches!(config, Err(TrustError::Unreadable { .. }))); // there is no such file
/// ```
#[derive(Clone)]
pub struct TlsConfig {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) server_name: Option<ServerName<'static>>,
}

impl TlsConfig {
    /// Wraps your own configuration of rustls. Nothing is added to it, and all of it is used:
    /// verifier, clock, session cache, limits.
    pub fn from_rustls(config: impl Into<Arc<ClientConfig>>) -> Self {
        Self {
            config: config.into(),
            server_name: None,
        }
    }
}

impl Trust {
    /// Trusts the CAs of the operating system; has no client certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the CAs in this PEM file, and no longer those of the operating system, unless
    /// [`system_authorities`](Self::system_authorities) is set. May be called repeatedly.
    ///
    /// It may also hold the certificate of a server itself, which is then
    /// [pinned](Self#certificates-of-servers).
    #[must_use]
    pub fn ca_file(self, path: impl Into<PathBuf>) -> Self {
        self.authority(Authority::Pem(Pem::File(path.into())))
    }

    /// Trusts the CAs in the PEM files of this directory; files that hold no certificate are passed
    /// over. Otherwise as [`ca_file`](Self::ca_file).
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

    /// Shows the server this certificate if it asks for one: a PEM file with our own certificate,
    /// followed by intermediate ones.
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

    /// The private key of the client certificate, a PEM file: PKCS#8, PKCS#1 or SEC 1. It may be
    /// the certificate's file; the first key in it counts.
    ///
    /// Encrypted keys are read with the cargo feature `encrypted-keys`: PKCS#8 with PBES2, which is
    /// what `openssl pkcs8`, `req` and `genpkey` write, and `genrsa` of OpenSSL 3. Ciphers are
    /// AES-CBC, AES-GCM and 3DES. Those that OpenSSL encrypted in its old way
    /// (`Proc-Type: 4,ENCRYPTED`, PBES1) must be converted; the error names the command.
    ///
    /// Keys are of RSA, Ed25519, or on the curves P-256 and P-384; P-521 needs the feature
    /// `aws-lc-rs` and [`Crypto`]`::AwsLcRs`.
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

    /// The application protocols to offer (ALPN, RFC 7301), the best first. None by default; some
    /// servers want `mqtt`, or `x-amzn-mqtt-ca`.
    #[must_use]
    pub fn alpn(mut self, protocols: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// The name to ask the server for (SNI) and to look for in its certificate, where that is not
    /// the host that is connected to. An address is not asked for, only looked for.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// What does the cryptography: see [`Crypto`] for the default. What the process has installed
    /// in rustls counts with [`Crypto::Installed`] alone.
    #[must_use]
    pub fn crypto(mut self, crypto: Crypto) -> Self {
        self.crypto = crypto;
        self
    }

    /// Writes the secrets of connections to the file that the environment variable `SSLKEYLOGFILE`
    /// names, for tools like Wireshark. Without this call the variable does nothing.
    #[must_use]
    pub fn key_log(mut self) -> Self {
        self.key_log = true;
        self
    }

    /// Does not ask whether the certificate is for the host that is connected to. It must still be
    /// one that a trusted CA vouches for, **so any holder of such a certificate can pretend to be
    /// the server.**
    #[must_use]
    pub fn danger_skip_host_name_check(mut self) -> Self {
        self.skip_host_name = true;
        self
    }

    /// Does not check which CA has signed the certificate, nor whether it is out of date. It must
    /// still be for the host; skip [that](Self::danger_skip_host_name_check) too and every
    /// certificate will do, of whatever version, with whatever key the server was able to agree on.
    /// **Anyone on the way to the server can then read and change everything.**
    ///
    /// For one server with a certificate that no CA has signed, it is as easy and safe to trust
    /// that certificate: [`ca_file`](Self::ca_file).
    #[must_use]
    pub fn danger_skip_certificate_check(mut self) -> Self {
        self.skip_certificate = true;
        self
    }

    /// Reads the files, and checks all of it. This blocks for as long as the files take; the CAs of
    /// an operating system are some hundred. Do it once, not for each connection.
    ///
    /// # Errors
    /// [`TrustError`] names what is wrong, with which file, and what to do.
    pub fn build(&self) -> Result<TlsConfig, TrustError> {
        let provider = self.crypto.provider()?;
        let server_name = match &self.server_name {
            None => None,
            Some(name) => Some(
                ServerName::try_from(name.clone())
                    .map_err(|_| TrustError::ServerName(name.clone()))?,
            ),
        };
        if self
            .alpn
            .iter()
            .any(|name| name.is_empty() || name.len() > 255)
        {
            return Err(TrustError::Alpn);
        }
        let client = self.client(&provider)?;
        let verifier = Verifier {
            roots: if self.skip_certificate {
                None
            } else {
                Some(Roots::new(&self.authorities)?)
            },
            check_host_name: !self.skip_host_name,
            algorithms: provider.signature_verification_algorithms,
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| TrustError::NoCrypto)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(client)))
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        if self.key_log {
            config.key_log = Arc::new(rustls::KeyLogFile::new());
        }
        Ok(TlsConfig {
            config: Arc::new(config),
            server_name,
        })
    }

    /// The files and directories that it names.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let authorities = self
            .authorities
            .iter()
            .filter_map(|authority| match authority {
                Authority::Pem(Pem::File(path)) | Authority::Directory(path) => {
                    Some(path.as_path())
                }
                Authority::Pem(Pem::Memory(_)) | Authority::System => None,
            });
        let own = [&self.certificate, &self.key]
            .into_iter()
            .flatten()
            .filter_map(|pem| match pem {
                Pem::File(path) => Some(path.as_path()),
                Pem::Memory(_) => None,
            });
        authorities.chain(own)
    }

    fn authority(mut self, authority: Authority) -> Self {
        self.authorities.push(authority);
        self
    }

    /// Our own certificate and its key. Whether the certificate is any good is for the server to
    /// say.
    fn client(&self, provider: &CryptoProvider) -> Result<Option<CertifiedKey>, TrustError> {
        let (certificate, key) = match (&self.certificate, &self.key) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(TrustError::CertificateWithoutKey),
            (None, Some(_)) => return Err(TrustError::KeyWithoutCertificate),
            (Some(certificate), Some(key)) => (certificate, key),
        };
        let chain = own_chain(&certificate.read()?, &certificate.source())?;
        let password = self.key_password.as_deref();
        let signer = keys::load(&key.read()?, &key.source(), password, self.crypto, provider)?;
        let belong = signer
            .public_key()
            .and_then(|key| keys::belong_together(&chain[0], &key));
        if belong == Some(false) {
            return Err(TrustError::KeyMismatch {
                certificate: certificate.source(),
                key: key.source(),
            });
        }
        Ok(Some(CertifiedKey::new(chain, signer)))
    }
}

/// The certificates of a PEM file, as they are. There is at least one.
fn own_chain(bytes: &[u8], source: &PemSource) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let mut chain = Vec::new();
    for section in pem::sections(bytes).map_err(|fault| fault.of(source))? {
        let annotated = section.is_annotated_certificate();
        if !annotated && !section.is_certificate() {
            continue;
        }
        let mut der = section.decode().map_err(|fault| fault.of(source))?;
        // OpenSSL's notes follow the certificate.
        if let Some(certificate) = DerReader::new(&der).next().filter(|_| annotated) {
            der = certificate.whole.to_vec();
        }
        chain.push(CertificateDer::from(der));
    }
    if chain.is_empty() {
        let hint = pem::instead(bytes, PemContent::OwnCertificate);
        return Err(TrustError::NoCertificate {
            source_name: source.clone(),
            hint,
        });
    }
    Ok(chain)
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("authorities", &self.authorities)
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .field(
                "alpn",
                &self
                    .alpn
                    .iter()
                    .map(|name| String::from_utf8_lossy(name))
                    .collect::<Vec<_>>(),
            )
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

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

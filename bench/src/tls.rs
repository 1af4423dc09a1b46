//! TLS of both ends, with a certificate that the server makes and no resumption: each handshake is a
//! whole one.

use martlet_tests::certificates::{Certificates, ClientAuthentication};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;

/// What a client trusts.
pub struct Trusted {
    /// The certificate of the authority.
    pub pem: String,
    /// The same as a configuration of rustls with ring, for the clients that take one.
    pub config: Arc<ClientConfig>,
}

impl Trusted {
    pub fn new(pem: String) -> Self {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
        roots.add(authority).expect("a certificate of an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions that ring has")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        Self { pem, config }
    }
}

/// The authority of this process, which signed the server's certificate.
pub fn authority() -> &'static str {
    &Certificates::shared().authority.pem
}

pub fn server() -> Arc<ServerConfig> {
    let certificates = Certificates::shared();
    let config = certificates.server_config(&certificates.server, ClientAuthentication::None);
    let mut config = Arc::unwrap_or_clone(config);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

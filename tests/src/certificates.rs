//! Certificates for tests, made when they are asked for: good ones, and one of each kind that must be refused.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing, its parts too")]

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto};

/// What signs certificates.
type Issuer = CertifiedIssuer<'static, KeyPair>;

/// An authority, an intermediate of it, and what they have signed.
#[derive(Debug)]
pub struct Certificates {
    /// Who is to be trusted.
    pub authority: Authority,
    /// Who is not: nothing that is in use here is of this one but [`unknown_authority`](Self::unknown_authority).
    pub other_authority: Authority,
    /// A server at `localhost`, 127.0.0.1 and ::1. The chain holds the intermediate.
    pub server: Identity,
    /// A client, signed by the authority itself.
    pub client: Identity,
    /// A client of which the authority knows nothing.
    pub unknown_client: Identity,
    /// A server of another name and other addresses.
    pub wrong_host: Identity,
    /// Good until the end of 2001.
    pub expired: Identity,
    /// Good from 2900 on.
    pub not_yet_valid: Identity,
    /// Signed by an authority that is not trusted.
    pub unknown_authority: Identity,
    /// Signed by its own key.
    pub self_signed: Identity,
    /// A server at `localhost` that does not name its addresses.
    pub name_only: Identity,
    /// As [`server`](Self::server), but the chain has a hole where the intermediate should be.
    pub without_intermediate: Identity,
    /// A server with a certificate that is for clients.
    pub for_clients_only: Identity,
}

/// An authority's own certificate.
#[derive(Debug, Clone)]
pub struct Authority {
    /// As it stands in a file.
    pub pem: String,
    /// The certificate itself.
    pub certificate: CertificateDer<'static>,
}

/// A certificate with what leads to an authority, and its key.
#[derive(Debug)]
pub struct Identity {
    /// The chain, the certificate itself first, as it stands in a file.
    pub chain_pem: String,
    /// The key, likewise (PKCS #8).
    pub key_pem: String,
    /// The chain.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
}

/// Whom a server lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// Everybody.
    None,
    /// Who has a certificate of the authority.
    Required,
}

impl Certificates {
    /// The ones of this process: made once, as nothing changes them.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Certificates> = OnceLock::new();
        SHARED.get_or_init(Self::new)
    }

    /// Makes new ones.
    #[expect(clippy::new_without_default, reason = "they are different each time")]
    pub fn new() -> Self {
        let root = Issuer::self_signed(authority("Martlet test authority"), key()).unwrap();
        let other = Issuer::self_signed(authority("Another test authority"), key()).unwrap();
        let intermediate = Issuer::signed_by(authority("Martlet test intermediate"), key(), &root).unwrap();

        let name = || vec!["localhost".to_owned()];
        let everywhere = || {
            let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
            name().into_iter().chain(addresses.map(|address| address.to_string())).collect()
        };
        let elsewhere = || vec!["elsewhere.example".to_owned(), "192.0.2.1".to_owned()];
        let server = |hosts| leaf(hosts, ExtendedKeyUsagePurpose::ServerAuth);
        let client = |name: &str| {
            let mut parameters = leaf(Vec::new(), ExtendedKeyUsagePurpose::ClientAuth);
            parameters.distinguished_name.push(DnType::CommonName, name);
            parameters
        };
        let expired = {
            let mut parameters = server(everywhere());
            (parameters.not_before, parameters.not_after) =
                (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 12, 31));
            parameters
        };
        let not_yet_valid = {
            let mut parameters = server(everywhere());
            (parameters.not_before, parameters.not_after) =
                (date_time_ymd(2900, 1, 1), date_time_ymd(2901, 1, 1));
            parameters
        };
        let own_key = key();
        let self_signed = server(everywhere()).self_signed(&own_key).unwrap();

        Self {
            server: Identity::new(&server(everywhere()), &intermediate, &[&intermediate]),
            client: Identity::new(&client("a client"), &root, &[]),
            unknown_client: Identity::new(&client("a client of others"), &other, &[]),
            wrong_host: Identity::new(&server(elsewhere()), &intermediate, &[&intermediate]),
            expired: Identity::new(&expired, &intermediate, &[&intermediate]),
            not_yet_valid: Identity::new(&not_yet_valid, &intermediate, &[&intermediate]),
            unknown_authority: Identity::new(&server(everywhere()), &other, &[]),
            self_signed: Identity {
                chain_pem: self_signed.pem(),
                key_pem: own_key.serialize_pem(),
                chain: vec![self_signed.der().clone()],
                key: der(&own_key),
            },
            name_only: Identity::new(&server(name()), &intermediate, &[&intermediate]),
            without_intermediate: Identity::new(&server(everywhere()), &intermediate, &[]),
            for_clients_only: Identity::new(
                &leaf(everywhere(), ExtendedKeyUsagePurpose::ClientAuth),
                &intermediate,
                &[&intermediate],
            ),
            authority: Authority { pem: root.pem(), certificate: root.der().clone() },
            other_authority: Authority { pem: other.pem(), certificate: other.der().clone() },
        }
    }

    /// A server that shows this identity.
    pub fn server_config(&self, identity: &Identity, clients: ClientAuthentication) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = match clients {
            ClientAuthentication::None => builder.unwrap().with_no_client_auth(),
            ClientAuthentication::Required => {
                let roots = Arc::new(self.authority.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
                builder.unwrap().with_client_cert_verifier(verifier.unwrap())
            }
        };
        let config = builder.with_single_cert(identity.chain.clone(), identity.key.clone_key());
        Arc::new(config.unwrap())
    }

    /// A client that trusts the authority and shows this identity, if any.
    pub fn client_config(&self, identity: Option<&Identity>) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_root_certificates(self.authority.roots());
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                builder.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key()).unwrap()
            }
        })
    }
}

impl Authority {
    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        roots
    }
}

impl Identity {
    fn new(parameters: &CertificateParams, issuer: &Issuer, between: &[&Issuer]) -> Self {
        let key = key();
        let certificate = parameters.signed_by(&key, issuer).unwrap();
        let mut chain = Self {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            chain: vec![certificate.der().clone()],
            key: der(&key),
        };
        for issuer in between {
            chain.chain_pem.push_str(&issuer.pem());
            chain.chain.push(issuer.der().clone());
        }
        chain
    }
}

/// Rustls as it is set up here, whatever else is compiled in.
fn provider() -> Arc<crypto::CryptoProvider> {
    Arc::new(crypto::ring::default_provider())
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn der(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

/// Later than all tests, and not later than what Erlang sets a timer to.
const LAST_YEAR: i32 = 2200;

fn authority(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.not_after = date_time_ymd(LAST_YEAR, 1, 1);
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    parameters
}

fn leaf(hosts: Vec<String>, purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut parameters = CertificateParams::new(hosts).unwrap();
    parameters.not_after = date_time_ymd(LAST_YEAR, 1, 1);
    parameters.distinguished_name.push(DnType::CommonName, "a test");
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![purpose];
    // Without it OpenSSL takes nothing that an intermediate has signed.
    parameters.use_authority_key_identifier_extension = true;
    parameters
}

/// A new directory, which is removed with what is in it when this is dropped.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// Makes it where the system keeps what is temporary.
    #[expect(clippy::new_without_default, reason = "it is another one each time")]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let process = std::process::id();
        let name = format!("martlet-tests-{process}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

//! Certificates for tests, made when they are asked for: good ones, and one of each kind that must
//! be rejected.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing, its parts too"
)]

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use std::sync::{Arc, OnceLock};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto};

pub use crate::directory::Directory;

/// What signs certificates.
type Issuer = CertifiedIssuer<'static, KeyPair>;

/// An authority, an intermediate of it, and what they have signed.
#[derive(Debug)]
pub struct Certificates {
    /// The certificate authority to trust.
    pub authority: TestAuthority,
    /// An authority that is not trusted. Of the certificates here it has signed only
    /// [`unknown_authority`](Self::unknown_authority).
    pub other_authority: TestAuthority,
    /// A server at `localhost`, 127.0.0.1 and ::1. The chain holds the intermediate.
    pub server: TestIdentity,
    /// A client, signed by the authority itself.
    pub client: TestIdentity,
    /// A client of which the authority knows nothing.
    pub unknown_client: TestIdentity,
    /// A server of another name and other addresses.
    pub wrong_host: TestIdentity,
    /// Good until the end of 2001.
    pub expired: TestIdentity,
    /// Good from 2900 on.
    pub not_yet_valid: TestIdentity,
    /// Signed by an authority that is not trusted.
    pub unknown_authority: TestIdentity,
    /// Signed by its own key.
    pub self_signed: TestIdentity,
    /// As tutorials and amqtt's tests make it, with
    /// `openssl req -x509 -nodes -newkey … -subj /CN=localhost`: signed by its own key, a CA, and
    /// without names but its subject.
    pub by_tutorial: TestIdentity,
    /// A server at `localhost` that does not name its addresses.
    pub name_only: TestIdentity,
    /// As [`server`](Self::server), but the chain has a hole where the intermediate should be.
    pub without_intermediate: TestIdentity,
    /// A server with a certificate that is for clients.
    pub for_clients_only: TestIdentity,
}

/// An authority's own certificate.
#[derive(Debug, Clone)]
pub struct TestAuthority {
    /// As it stands in a file.
    pub pem: String,
    /// The certificate itself.
    pub certificate: CertificateDer<'static>,
}

/// A certificate with what leads to an authority, and its key.
#[derive(Debug)]
pub struct TestIdentity {
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
    /// A client needs a certificate of the authority.
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
        let intermediate =
            Issuer::signed_by(authority("Martlet test intermediate"), key(), &root).unwrap();

        let by_intermediate =
            |parameters| TestIdentity::new(&parameters, &intermediate, &[&intermediate]);

        Self {
            server: by_intermediate(server(&EVERYWHERE)),
            client: TestIdentity::new(&client("a client"), &root, &[]),
            unknown_client: TestIdentity::new(&client("a client of others"), &other, &[]),
            wrong_host: by_intermediate(server(&["elsewhere.example", "192.0.2.1"])),
            expired: by_intermediate(server_in(2000, 2001)),
            not_yet_valid: by_intermediate(server_in(2900, 2901)),
            unknown_authority: TestIdentity::new(&server(&EVERYWHERE), &other, &[]),
            self_signed: TestIdentity::self_signed(&server(&EVERYWHERE)),
            by_tutorial: TestIdentity::self_signed(&by_tutorial()),
            name_only: by_intermediate(server(&["localhost"])),
            without_intermediate: TestIdentity::new(&server(&EVERYWHERE), &intermediate, &[]),
            for_clients_only: by_intermediate(leaf(
                &EVERYWHERE,
                ExtendedKeyUsagePurpose::ClientAuth,
            )),
            authority: TestAuthority {
                pem: root.pem(),
                certificate: root.der().clone(),
            },
            other_authority: TestAuthority {
                pem: other.pem(),
                certificate: other.der().clone(),
            },
        }
    }

    /// A server that shows this identity.
    pub fn server_config(
        &self,
        identity: &TestIdentity,
        clients: ClientAuthentication,
    ) -> Arc<ServerConfig> {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = match clients {
            ClientAuthentication::None => builder.unwrap().with_no_client_auth(),
            ClientAuthentication::Required => {
                let roots = Arc::new(self.authority.roots());
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
                builder
                    .unwrap()
                    .with_client_cert_verifier(verifier.unwrap())
            }
        };
        let config = builder.with_single_cert(identity.chain.clone(), identity.key.clone_key());
        Arc::new(config.unwrap())
    }

    /// A client that trusts the authority and shows this identity, if any.
    pub fn client_config(&self, identity: Option<&TestIdentity>) -> Arc<ClientConfig> {
        let builder =
            ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder
            .unwrap()
            .with_root_certificates(self.authority.roots());
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .unwrap(),
        })
    }
}

impl TestAuthority {
    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        roots
    }
}

impl TestIdentity {
    fn new(parameters: &CertificateParams, issuer: &Issuer, between: &[&Issuer]) -> Self {
        let key = key();
        let certificate = parameters.signed_by(&key, issuer).unwrap();
        let mut identity = Self::of(&certificate, &key);
        for issuer in between {
            identity.chain_pem.push_str(&issuer.pem());
            identity.chain.push(issuer.der().clone());
        }
        identity
    }

    fn self_signed(parameters: &CertificateParams) -> Self {
        let key = key();
        Self::of(&parameters.self_signed(&key).unwrap(), &key)
    }

    fn of(certificate: &Certificate, key: &KeyPair) -> Self {
        Self {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }
}

/// Rustls as it is set up here, whatever else is compiled in.
fn provider() -> Arc<crypto::CryptoProvider> {
    Arc::new(crypto::ring::default_provider())
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// Later than all tests, and not later than what Erlang sets a timer to.
const LAST_YEAR: i32 = 2200;

fn authority(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.not_after = date_time_ymd(LAST_YEAR, 1, 1);
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    parameters
}

/// The names and addresses of a server on this machine.
const EVERYWHERE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

fn server(hosts: &[&str]) -> CertificateParams {
    leaf(hosts, ExtendedKeyUsagePurpose::ServerAuth)
}

/// A server whose certificate is valid in these years.
fn server_in(first: i32, last: i32) -> CertificateParams {
    let mut parameters = server(&EVERYWHERE);
    parameters.not_before = date_time_ymd(first, 1, 1);
    parameters.not_after = date_time_ymd(last, 12, 31);
    parameters
}

fn client(name: &str) -> CertificateParams {
    let mut parameters = leaf(&[], ExtendedKeyUsagePurpose::ClientAuth);
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

/// See [`Certificates::by_tutorial`].
fn by_tutorial() -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.not_after = date_time_ymd(LAST_YEAR, 1, 1);
    parameters.distinguished_name = DistinguishedName::new();
    parameters
        .distinguished_name
        .push(DnType::CommonName, "localhost");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters
}

fn leaf(hosts: &[&str], purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut parameters = CertificateParams::new(hosts).unwrap();
    parameters.not_after = date_time_ymd(LAST_YEAR, 1, 1);
    parameters
        .distinguished_name
        .push(DnType::CommonName, "a test");
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![purpose];
    // Without it OpenSSL takes nothing that an intermediate has signed.
    parameters.use_authority_key_identifier_extension = true;
    parameters
}

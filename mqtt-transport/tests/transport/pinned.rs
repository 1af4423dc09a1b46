//! Servers with certificates that nobody vouches for, or that are made in ways that no CA would:
//! those that are given as trusted are, and with all checks off every one will do.

use crate::pair::{Ca, HOST, Identity, Pair, leaf, provider, world};
use martlet_transport::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use martlet_transport::rustls::sign::{CertifiedKey, SingleCertAndKey};
use martlet_transport::rustls::{ServerConfig, version};
use martlet_transport::{StackError, StackErrorKind, TlsClient, Trust};
use rcgen::{CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use std::sync::Arc;

/// A server that shows what it is given, in TLS 1.2 or 1.3, without a look at it.
fn pair(trust: &Trust, host: &str, identity: &Identity, tls12: bool) -> Pair {
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let signer = provider().key_provider.load_private_key(key).unwrap();
    let chain = identity
        .chain
        .iter()
        .map(|der| der.clone().into())
        .collect();
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[if tls12 {
            &version::TLS12
        } else {
            &version::TLS13
        }])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(
            chain, signer,
        ))));
    let client = TlsClient::new(&trust.build().unwrap(), host).unwrap();
    Pair::over_tls(client, config)
}

fn connects(trust: &Trust, identity: &Identity) {
    for tls12 in [false, true] {
        let _ = pair(trust, HOST, identity, tls12).open();
    }
}

fn rejected(trust: &Trust, host: &str, identity: &Identity) -> StackError {
    let [error, of_tls12] =
        [false, true].map(|tls12| pair(trust, host, identity, tls12).drive().unwrap_err());
    assert_eq!(error, of_tls12);
    assert_eq!(error.kind(), StackErrorKind::Certificate, "{error}");
    error
}

fn self_signed(params: &CertificateParams) -> Identity {
    let key = KeyPair::generate().unwrap();
    Identity::new(&params.self_signed(&key).unwrap(), &key)
}

/// Files of `tests/certificates` and `tests/keys`.
fn from_files(certificate: &str, key: &str) -> Identity {
    Identity {
        chain: vec![
            CertificateDer::from_pem_slice(certificate.as_bytes())
                .unwrap()
                .to_vec(),
        ],
        chain_pem: certificate.to_owned(),
        key: Vec::new(),
        key_pem: key.to_owned(),
    }
}

const PLAIN: &str = include_str!("../keys/plain.pem");

fn with_critical_extension(params: CertificateParams) -> CertificateParams {
    let mut params = params;
    let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    extension.set_criticality(true);
    params.custom_extensions.push(extension);
    params
}

/// What people make for a broker at home, each by its name.
fn made_at_home() -> Vec<(&'static str, Identity)> {
    let mut authority = Ca::params("broker at home");
    authority.subject_alt_names = leaf(&[HOST]).subject_alt_names;
    let mut expired = leaf(&[HOST]);
    expired.not_after = date_time_ymd(2020, 2, 29);
    let mut for_clients = leaf(&[HOST]);
    for_clients.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    vec![
        ("self-signed", self_signed(&leaf(&[HOST]))),
        (
            "self-signed, of another name",
            self_signed(&leaf(&["other.example"])),
        ),
        ("self-signed, without names", self_signed(&leaf(&[]))),
        ("self-signed, marked as a CA", self_signed(&authority)),
        (
            "marked as a CA, from a CA",
            Ca::new("CA at home").sign(&authority),
        ),
        (
            "from a CA, without names",
            Ca::new("CA at home").server(&[]),
        ),
        ("expired", self_signed(&expired)),
        ("for clients", self_signed(&for_clients)),
        (
            "with a critical extension",
            self_signed(&with_critical_extension(leaf(&[HOST]))),
        ),
        // openssl req -x509 -key plain.pem -subj /CN=localhost: a CA, with a common name only.
        (
            "of openssl req",
            from_files(include_str!("../certificates/req_x509.pem"), PLAIN),
        ),
        // openssl req -new -key plain.pem -subj /CN=broker.example | openssl x509 -req -signkey
        // plain.pem
        (
            "of version 1",
            from_files(include_str!("../certificates/v1.pem"), PLAIN),
        ),
    ]
}

/// The broker at home: "self-signed; give it as a CA", then "marked as that of a CA; needs one of
/// its own", then "has no names at all": the advice of the errors led in a circle.
#[test]
fn a_certificate_that_is_given_as_trusted_is_trusted() {
    for (name, identity) in made_at_home() {
        for tls12 in [false, true] {
            let trust = Trust::new().ca_pem(identity.chain_pem.clone());
            let mut pair = pair(&trust, HOST, &identity, tls12);
            let driven = pair.drive();
            assert!(
                driven.is_ok() && pair.client.is_open(),
                "{name}: {driven:?}"
            );
        }
    }
    // Among others, and beside those of the operating system.
    let (_, identity) = made_at_home().swap_remove(3);
    let bundle = world().ca.pem() + &identity.chain_pem;
    connects(&Trust::new().ca_pem(bundle.clone()), &identity);
    connects(&Trust::new().ca_pem(bundle), &world().server);
}

/// Only that very certificate is: another of the same name and key is not, nor is one that it is
/// said to have signed.
#[test]
fn a_certificate_that_is_only_alike_is_not_trusted() {
    let key = KeyPair::generate().unwrap();
    let old = leaf(&[HOST]).self_signed(&key).unwrap();
    let trust = Trust::new().ca_pem(old.pem());
    let stranger = self_signed(&leaf(&[HOST]));
    let error = rejected(&trust, HOST, &stranger);
    assert!(
        error
            .to_string()
            .contains("another one of this name is trusted here: was it made anew?"),
        "{error}"
    );
    // The name is still asked for of all others.
    let error = rejected(
        &trust,
        HOST,
        &Ca::new("CA at home").server(&["other.example"]),
    );
    assert!(
        error.to_string().contains("not a CA that is trusted"),
        "{error}"
    );
}

/// A peer that has the certificate, which is no secret, but not its key, is not the server.
#[test]
fn the_server_of_a_trusted_certificate_must_have_its_key() {
    for (name, mut identity) in made_at_home() {
        let trust = Trust::new().ca_pem(identity.chain_pem.clone());
        identity.key_pem = KeyPair::generate().unwrap().serialize_pem();
        let error = rejected(&trust, HOST, &identity);
        assert!(error.to_string().contains("signature"), "{name}: {error}");
    }
}

/// A CA that was made anew under the same name: "a signature is wrong" was no help.
#[test]
fn a_ca_that_was_made_anew_is_recognised() {
    let trust = Trust::new().ca_pem(Ca::new("CA at home").pem());
    let error = rejected(&trust, HOST, &Ca::new("CA at home").server(&[HOST]));
    assert!(
        error
            .to_string()
            .contains("signed by another \"CA at home\" than the one"),
        "{error}"
    );
}

/// Each error about a certificate also says what to do if the certificate cannot be changed, and
/// that works.
#[test]
fn no_text_leads_in_a_circle() {
    let ca = Ca::new("CA at home");
    // openssl req -new -key rsa.pem -subj /CN=broker.example | openssl x509 -req -CA req_x509.pem
    // -CAkey plain.pem
    let version_1 = from_files(
        include_str!("../certificates/v1_by_ca.pem"),
        include_str!("../keys/rsa.pem"),
    );
    let its_ca = include_str!("../certificates/req_x509.pem").to_owned();
    let mut authority = Ca::params("a server");
    authority.subject_alt_names = leaf(&[HOST]).subject_alt_names;
    let table = [
        (ca.pem(), ca.sign(&authority), "marked as that of a CA"),
        (ca.pem(), ca.server(&[]), "no names at all"),
        (
            ca.pem(),
            ca.sign(&with_critical_extension(leaf(&[HOST]))),
            "marked as critical",
        ),
        (its_ca, version_1, "of X.509 version 1 or 2"),
        (ca.pem(), self_signed(&leaf(&[HOST])), "self-signed"),
        (ca.pem(), self_signed(&authority), "self-signed"),
        (
            ca.pem(),
            self_signed(&with_critical_extension(leaf(&[HOST]))),
            "self-signed",
        ),
        (
            ca.pem(),
            from_files(include_str!("../certificates/v1.pem"), PLAIN),
            "self-signed",
        ),
    ];
    for (trusted, identity, words) in table {
        let error = rejected(&Trust::new().ca_pem(trusted), HOST, &identity);
        let text = error.to_string();
        assert!(
            text.contains(words) && text.contains("give this very certificate as a trusted one"),
            "{text}"
        );
        assert!(error.is_permanent());
        connects(&Trust::new().ca_pem(identity.chain_pem.clone()), &identity);
    }
}

/// With both checks off, certificates of version 1, with unknown critical extensions, or with a key
/// of a kind that the provider does not know were still rejected.
#[test]
fn with_all_checks_off_every_certificate_will_do() {
    let trust = Trust::new()
        .danger_skip_certificate_check()
        .danger_skip_host_name_check();
    // openssl req -x509 -key explicit.pem -subj /CN=broker.example; the key is that of plain.pem.
    let explicit = from_files(include_str!("../certificates/explicit.pem"), PLAIN);
    for (name, identity) in made_at_home()
        .into_iter()
        .chain([("by parameters", explicit)])
    {
        for tls12 in [false, true] {
            let driven = pair(&trust, HOST, &identity, tls12).drive();
            assert!(driven.is_ok(), "{name}: {driven:?}");
        }
    }
}

/// If only names are checked they are found in every certificate, and the error says what else can
/// be done.
#[test]
fn names_alone_are_found_in_every_certificate() {
    let trust = Trust::new().danger_skip_certificate_check();
    let identity = self_signed(&with_critical_extension(leaf(&[
        HOST,
        "192.0.2.1",
        "2001:db8::1",
        "*.home",
    ])));
    for host in [
        HOST,
        "Broker.Example",
        "192.0.2.1",
        "2001:db8::1",
        "mqtt.home",
    ] {
        for tls12 in [false, true] {
            let _ = pair(&trust, host, &identity, tls12).open();
        }
    }
    for host in ["home", "a.mqtt.home", "192.0.2.2"] {
        let error = rejected(&trust, host, &identity).to_string();
        assert!(
            error.contains("is not for") && error.contains("broker.example"),
            "{error}"
        );
    }
    let error = rejected(
        &trust,
        HOST,
        &from_files(include_str!("../certificates/v1.pem"), PLAIN),
    )
    .to_string();
    assert!(
        error.contains("leave out the check of host names too"),
        "{error}"
    );
}

/// A trusted certificate whose key no signature can be checked with is named as that; it is not
/// advised to be trusted.
#[test]
fn a_key_that_is_unknown_is_named() {
    let explicit = from_files(include_str!("../certificates/explicit.pem"), PLAIN);
    let error = rejected(
        &Trust::new().ca_pem(explicit.chain_pem.clone()),
        HOST,
        &explicit,
    )
    .to_string();
    assert!(
        error.contains("EC on a curve that is given by parameters"),
        "{error}"
    );
    assert!(!error.contains("give this very certificate"), "{error}");
}

/// `subjectAltName=DNS:192.168.1.5` is what many pages advise, and it does not count: "it has no
/// address among them" did not say why.
#[test]
fn an_address_that_is_written_as_a_name_is_said_in_those_words() {
    use rcgen::SanType;
    for address in ["192.0.2.1", "2001:db8::1"] {
        let mut params = leaf(&[HOST]);
        params
            .subject_alt_names
            .push(SanType::DnsName(address.try_into().unwrap()));
        let identity = world().ca.sign(&params);
        let trust = Trust::new().ca_pem(world().ca.pem());
        let error = rejected(&trust, address, &identity).to_string();
        assert!(
            error.contains(&format!("(DNS:{address})")) && error.contains(&format!("IP:{address}")),
            "{error}"
        );
        connects(&trust, &identity);
    }
}

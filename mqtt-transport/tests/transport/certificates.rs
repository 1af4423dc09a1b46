//! Certificates of servers that are not accepted, and what is said of each.

use crate::pair::{Ca, ClientCertificates, HOST, Identity, Pair, leaf, server_config, world};
use martlet_transport::{StackError, StackErrorKind, TlsClient, Trust};
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use std::sync::Arc;

fn pair(trust: &Trust, host: &str, identity: &Identity) -> Pair {
    let config = server_config(identity, ClientCertificates::NotAsked);
    let client = TlsClient::new(&trust.build().unwrap(), host).unwrap();
    Pair::over_tls(client, config)
}

fn trust() -> Trust {
    Trust::new().ca_pem(world().ca.pem())
}

fn rejected(trust: &Trust, host: &str, identity: &Identity) -> StackError {
    let mut pair = pair(trust, host, identity);
    let error = pair.drive().unwrap_err();
    assert_eq!(error.kind(), StackErrorKind::Certificate, "{error}");
    assert!(!pair.client.is_open());
    assert!(
        pair.server.tls_error.is_some(),
        "the server gets the reason"
    );
    error
}

fn self_signed(params: &rcgen::CertificateParams) -> Identity {
    let key = KeyPair::generate().unwrap();
    Identity::new(&params.self_signed(&key).unwrap(), &key)
}

/// Asserts that a certificate is rejected, with these words.
#[track_caller]
fn assert_rejected(name: &str, host: &str, identity: &Identity, permanent: bool, words: &[&str]) {
    let error = rejected(&trust(), host, identity);
    assert_eq!(error.is_permanent(), permanent, "{name}: {error}");
    for word in words {
        assert!(
            error.to_string().contains(word),
            "{name}: {word} is not in: {error}"
        );
    }
}

#[test]
fn a_certificate_for_another_name_is_rejected() {
    let ca = &world().ca;
    let table: &[(&str, &str, Identity, &[&str])] = &[
        (
            "another host",
            HOST,
            ca.server(&["a.example", "*.b.example"]),
            &["is not for \"broker.example\"", "a.example", "*.b.example"],
        ),
        (
            "no names",
            HOST,
            ca.server(&[]),
            &["no names at all", "common name"],
        ),
        (
            "an address, names only",
            "192.0.2.1",
            ca.server(&[HOST]),
            &["\"192.0.2.1\"", HOST, "no address"],
        ),
        (
            "another address",
            "192.0.2.1",
            ca.server(&["192.0.2.2"]),
            &["\"192.0.2.1\"", "192.0.2.2"],
        ),
    ];
    for (name, host, identity, words) in table {
        assert_rejected(name, host, identity, true, words);
    }
    let _ = pair(&trust(), "127.0.0.1", &world().server).open();
}

/// The error is not permanent: a renewed certificate, or the right time, makes it good.
#[test]
fn a_certificate_at_another_time_is_rejected() {
    let ca = &world().ca;
    let mut expired = leaf(&[HOST]);
    expired.not_after = date_time_ymd(2020, 2, 29);
    let mut future = leaf(&[HOST]);
    (future.not_before, future.not_after) = (date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1));
    let table: &[(&str, Identity, &[&str])] = &[
        (
            "expired",
            ca.sign(&expired),
            &["expired on 2020-02-29", "today is 2"],
        ),
        (
            "not yet valid",
            ca.sign(&future),
            &["not valid before 2090-01-01", "is the clock right?"],
        ),
    ];
    for (name, identity, words) in table {
        assert_rejected(name, HOST, identity, false, words);
    }
}

/// With what was missing, the same certificates are accepted.
#[test]
fn a_certificate_of_an_unknown_issuer_is_rejected() {
    let own = self_signed(&leaf(&[HOST]));
    let intermediate = world().ca.intermediate("Intermediate");
    let other = Ca::new("Other CA");
    let table: &[(&str, Identity, &[&str])] = &[
        ("self-signed", own.clone(), &["self-signed", HOST]),
        (
            "an unknown CA",
            other.server(&[HOST]),
            &["\"Other CA\"", "not a CA that is trusted"],
        ),
        (
            "an unknown CA, sent along",
            other.server(&[HOST]).with(&other),
            &["chain ends with \"Other CA\""],
        ),
        (
            "a missing intermediate",
            intermediate.server(&[HOST]),
            &["\"Intermediate\"", "intermediate certificate"],
        ),
    ];
    for (name, identity, words) in table {
        assert_rejected(name, HOST, identity, true, words);
    }

    let complete = intermediate.server(&[HOST]).with(&intermediate);
    let _ = pair(&trust(), HOST, &complete).open();
    let trusted = Trust::new().ca_pem(other.pem());
    let _ = pair(&trusted, HOST, &other.server(&[HOST])).open();
    let _ = pair(&Trust::new().ca_pem(own.chain_pem.clone()), HOST, &own).open();
}

#[test]
fn a_certificate_for_another_purpose_is_rejected() {
    let ca = &world().ca;
    let mut for_clients = leaf(&[HOST]);
    for_clients.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let mut a_ca = Ca::params("A CA");
    a_ca.subject_alt_names = leaf(&[HOST]).subject_alt_names;
    let table: &[(&str, Identity, &[&str])] = &[
        ("a CA's", ca.sign(&a_ca), &["marked as that of a CA"]),
        (
            "for clients",
            ca.sign(&for_clients),
            &["not one for servers"],
        ),
    ];
    for (name, identity, words) in table {
        assert_rejected(name, HOST, identity, true, words);
    }
}

#[test]
fn a_certificate_with_many_names_is_cut_short() {
    let names: Vec<String> = (0..300)
        .map(|number| format!("host-{number}.example"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let error = rejected(&trust(), HOST, &world().ca.server(&names));
    assert!(error.to_string().contains("and 292 more"), "{error}");
    assert!(error.to_string().len() < 1000);
}

#[test]
fn without_the_host_name_check_the_chain_is_still_checked() {
    let trust = trust().danger_skip_host_name_check();
    let _ = pair(&trust, HOST, &world().ca.server(&["other.example"])).open();
    let error = rejected(&trust, HOST, &Ca::new("Other CA").server(&[HOST]));
    assert!(error.to_string().contains("\"Other CA\""), "{error}");
    let mut expired = leaf(&[HOST]);
    expired.not_after = date_time_ymd(2020, 2, 29);
    assert!(
        rejected(&trust, HOST, &world().ca.sign(&expired))
            .to_string()
            .contains("expired")
    );
}

#[test]
fn without_the_certificate_check_the_name_is_still_checked() {
    let trust = trust().danger_skip_certificate_check();
    let _ = pair(&trust, HOST, &self_signed(&leaf(&[HOST]))).open();
    let error = rejected(&trust, HOST, &self_signed(&leaf(&["other.example"])));
    assert!(error.to_string().contains("other.example"), "{error}");
}

#[test]
fn without_either_check_the_server_must_still_have_the_key() {
    let trust = Trust::new()
        .danger_skip_certificate_check()
        .danger_skip_host_name_check();
    let _ = pair(&trust, HOST, &self_signed(&leaf(&["other.example"]))).open();
    // Somebody shows the certificate of the broker, but has another key.
    let mut thief = world().server.clone();
    thief.key = KeyPair::generate().unwrap().serialize_der();
    let client = TlsClient::new(&trust.build().unwrap(), HOST).unwrap();
    let error = Pair::over_tls(client, stolen(&thief)).drive().unwrap_err();
    assert_eq!(error.kind(), StackErrorKind::Certificate);
    assert!(error.to_string().contains("signature"), "{error}");
}

/// rustls rejects to be configured so, unless it is asked to.
fn stolen(thief: &Identity) -> rustls::ServerConfig {
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    let provider = crate::pair::provider();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(thief.key.clone()));
    let signer = provider.key_provider.load_private_key(key).unwrap();
    let chain = thief.chain.iter().map(|der| der.clone().into()).collect();
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(
            chain, signer,
        ))))
}

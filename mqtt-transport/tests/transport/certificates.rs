//! Certificates of servers that are not accepted, and what is said of each.

use crate::pair::{Ca, ClientCertificates, HOST, Identity, Pair, Server, leaf, server_config, world};
use martlet_transport::rustls::ServerConnection;
use martlet_transport::{Error, ErrorKind, Stack, TlsClient, Trust};
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use std::sync::Arc;

fn pair(trust: &Trust, host: &str, identity: &Identity) -> Pair {
    let config = server_config(identity, ClientCertificates::NotAsked);
    let stack =
        Stack { tls: Some(TlsClient::new(&trust.build().unwrap(), host).unwrap()), ..Stack::default() };
    Pair::new(&stack, Server::new(None, Some(ServerConnection::new(Arc::new(config)).unwrap()), None))
}

fn trust() -> Trust {
    Trust::new().ca_pem(world().ca.pem())
}

fn refused(trust: &Trust, host: &str, identity: &Identity) -> Error {
    let mut pair = pair(trust, host, identity);
    let error = pair.drive().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Certificate, "{error}");
    assert!(!pair.client.is_open());
    assert!(pair.server.tls_error.is_some(), "the server is told");
    error
}

fn self_signed(params: &rcgen::CertificateParams) -> Identity {
    let key = KeyPair::generate().unwrap();
    Identity::new(&params.self_signed(&key).unwrap(), &key)
}

#[test]
fn bad_certificates_are_told_apart() {
    let ca = &world().ca;
    let mut expired = leaf(&[HOST]);
    expired.not_after = date_time_ymd(2020, 2, 29);
    let mut future = leaf(&[HOST]);
    (future.not_before, future.not_after) = (date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1));
    let mut for_clients = leaf(&[HOST]);
    for_clients.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let mut a_ca = Ca::params("A CA");
    a_ca.subject_alt_names = leaf(&[HOST]).subject_alt_names;
    let intermediate = ca.intermediate("Intermediate");
    let other = Ca::new("Other CA");

    let table: &[(&str, &str, Identity, bool, &[&str])] = &[
        (
            "another host",
            HOST,
            ca.server(&["a.example", "*.b.example"]),
            true,
            &["is not for \"broker.example\"", "a.example", "*.b.example"],
        ),
        ("no names", HOST, ca.server(&[]), true, &["no names at all", "common name"]),
        (
            "an address, names only",
            "192.0.2.1",
            ca.server(&[HOST]),
            true,
            &["\"192.0.2.1\"", HOST, "no address"],
        ),
        ("another address", "192.0.2.1", ca.server(&["192.0.2.2"]), true, &["\"192.0.2.1\"", "192.0.2.2"]),
        ("expired", HOST, ca.sign(&expired), false, &["expired on 2020-02-29", "today is 2"]),
        (
            "not yet valid",
            HOST,
            ca.sign(&future),
            false,
            &["not valid before 2090-01-01", "is the clock right?"],
        ),
        ("self-signed", HOST, self_signed(&leaf(&[HOST])), true, &["self-signed", HOST]),
        ("an unknown CA", HOST, other.server(&[HOST]), true, &["\"Other CA\"", "not a CA that is trusted"]),
        (
            "an unknown CA, sent along",
            HOST,
            other.server(&[HOST]).with(&other),
            true,
            &["chain ends with \"Other CA\""],
        ),
        (
            "a missing intermediate",
            HOST,
            intermediate.server(&[HOST]),
            true,
            &["\"Intermediate\"", "intermediate certificate"],
        ),
        ("a CA's", HOST, ca.sign(&a_ca), true, &["marked as that of a CA"]),
        ("for clients", HOST, ca.sign(&for_clients), true, &["not one for servers"]),
    ];
    for (name, host, identity, permanent, words) in table {
        let error = refused(&trust(), host, identity);
        assert_eq!(error.is_permanent(), *permanent, "{name}: {error}");
        for word in *words {
            assert!(error.to_string().contains(word), "{name}: {word} is not in: {error}");
        }
    }

    // The other way round: with what was missing they are accepted.
    let complete = intermediate.server(&[HOST]).with(&intermediate);
    let _ = pair(&trust(), HOST, &complete).open();
    let _ = pair(&Trust::new().ca_pem(other.pem()), HOST, &other.server(&[HOST])).open();
    let _ = pair(&trust(), "127.0.0.1", &world().server).open();
    let own = self_signed(&leaf(&[HOST]));
    let _ = pair(&Trust::new().ca_pem(own.chain_pem.clone()), HOST, &own).open();
}

#[test]
fn a_certificate_with_many_names_is_cut_short() {
    let names: Vec<String> = (0..300).map(|number| format!("host-{number}.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let error = refused(&trust(), HOST, &world().ca.server(&names));
    assert!(error.to_string().contains("and 292 more"), "{error}");
    assert!(error.to_string().len() < 1000);
}

#[test]
fn without_the_host_name_check_the_chain_is_still_checked() {
    let trust = trust().danger_skip_host_name_check();
    let _ = pair(&trust, HOST, &world().ca.server(&["other.example"])).open();
    let error = refused(&trust, HOST, &Ca::new("Other CA").server(&[HOST]));
    assert!(error.to_string().contains("\"Other CA\""), "{error}");
    let mut expired = leaf(&[HOST]);
    expired.not_after = date_time_ymd(2020, 2, 29);
    assert!(refused(&trust, HOST, &world().ca.sign(&expired)).to_string().contains("expired"));
}

#[test]
fn without_the_certificate_check_the_name_is_still_checked() {
    let trust = trust().danger_skip_certificate_check();
    let _ = pair(&trust, HOST, &self_signed(&leaf(&[HOST]))).open();
    let error = refused(&trust, HOST, &self_signed(&leaf(&["other.example"])));
    assert!(error.to_string().contains("other.example"), "{error}");
}

#[test]
fn without_either_check_the_server_must_still_have_the_key() {
    let trust = Trust::new().danger_skip_certificate_check().danger_skip_host_name_check();
    let _ = pair(&trust, HOST, &self_signed(&leaf(&["other.example"]))).open();
    // Somebody shows the certificate of the broker, but has another key.
    let mut thief = world().server.clone();
    thief.key = KeyPair::generate().unwrap().serialize_der();
    let config = stolen(&thief);
    let stack =
        Stack { tls: Some(TlsClient::new(&trust.build().unwrap(), HOST).unwrap()), ..Stack::default() };
    let tls = ServerConnection::new(Arc::new(config)).unwrap();
    let error = Pair::new(&stack, Server::new(None, Some(tls), None)).drive().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Certificate);
    assert!(error.to_string().contains("signature"), "{error}");
}

/// rustls refuses to be configured so, unless it is asked to.
fn stolen(thief: &Identity) -> martlet_transport::rustls::ServerConfig {
    use martlet_transport::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use martlet_transport::rustls::sign::{CertifiedKey, SingleCertAndKey};
    let provider = crate::pair::provider();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(thief.key.clone()));
    let signer = provider.key_provider.load_private_key(key).unwrap();
    let chain = thief.chain.iter().map(|der| der.clone().into()).collect();
    martlet_transport::rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, signer))))
}

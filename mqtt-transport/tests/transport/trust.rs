//! What is wrong with files and keys is said before anything is sent.

use crate::pair::{Ca, ClientCertificates, HOST, Identity, Pair, leaf, server_config, world};
use martlet_transport::{Crypto, PemSource, TlsClient, Trust, TrustError};
use rcgen::KeyPair;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder for one test, empty.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn file(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path
}

fn ca() -> Trust {
    Trust::new().ca_pem(world().ca.pem())
}

fn connects(trust: &Trust, clients: ClientCertificates) {
    let config = server_config(&world().server, clients);
    let client = TlsClient::new(&trust.build().unwrap(), HOST).unwrap();
    let _ = Pair::over_tls(client, config).open();
}

/// The one key of `tests/keys`, with a certificate.
#[cfg(feature = "encrypted-keys")]
fn keeper() -> Identity {
    let key = KeyPair::from_pem(include_str!("../keys/plain.pem")).unwrap();
    Identity::new(&leaf(&["client.example"]).self_signed(&key).unwrap(), &key)
}

#[test]
fn cas_come_from_files_directories_and_memory() {
    let folder = folder("cas");
    let ca_file = file(&folder, "plant.pem", world().ca.pem());
    let both = file(
        &folder,
        "both.pem",
        Ca::new("Other").pem() + &world().ca.pem(),
    );
    // As OpenSSL has them: each twice, and something else beside it.
    let directory = folder.join("hashed");
    fs::create_dir(&directory).unwrap();
    for name in ["5ed36f99.0", "plant.crt"] {
        file(&directory, name, world().ca.pem());
    }
    file(&directory, "README", "CAs of the plant");
    fs::create_dir(directory.join("old")).unwrap();

    connects(
        &Trust::new().ca_file(&ca_file),
        ClientCertificates::NotAsked,
    );
    connects(&Trust::new().ca_file(&both), ClientCertificates::NotAsked);
    connects(
        &Trust::new().ca_directory(&directory),
        ClientCertificates::NotAsked,
    );
    connects(
        &Trust::new()
            .ca_pem(Ca::new("Other").pem())
            .ca_file(&ca_file),
        ClientCertificates::NotAsked,
    );
    let windows = world().ca.pem().replace('\n', "\r\n");
    connects(
        &Trust::new().ca_pem(format!("a comment\r\n{windows}")),
        ClientCertificates::NotAsked,
    );
}

#[test]
fn what_is_wrong_with_a_ca_is_told_with_its_file() {
    let folder = folder("bad-cas");
    let missing = folder.join("missing.pem");
    let error = Trust::new().ca_file(&missing).build().unwrap_err();
    assert!(
        matches!(&error, TrustError::Unreadable { path, .. } if *path == missing),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("missing.pem cannot be read: No such file"),
        "{error}"
    );
    let error = Trust::new()
        .ca_directory(folder.join("nowhere"))
        .build()
        .unwrap_err();
    assert!(matches!(&error, TrustError::Unreadable { .. }), "{error}");
    let error = Trust::new().ca_directory(&folder).build().unwrap_err();
    assert_eq!(
        error,
        TrustError::NoCertificate {
            source_name: PemSource::Path(folder.clone()),
            hint: ""
        }
    );

    let pem = world().ca.pem();
    let cut = &pem[..pem.len() / 2];
    let garbled = pem.replacen("MII", "*II", 1);
    // Well-formed PEM, but no certificate in it.
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let table: &[(&str, &[u8], &str)] = &[
        ("empty.pem", b"", "it is empty"),
        ("text.pem", b"hello", "holds no certificate"),
        ("der.pem", world().ca.certificate.der(), "DER"),
        (
            "key.pem",
            world().client.key_pem.as_bytes(),
            "holds no certificate",
        ),
        ("cut.pem", cut.as_bytes(), "cut off"),
        ("garbled.pem", garbled.as_bytes(), "not base64"),
        (
            "nonsense.pem",
            nonsense.as_bytes(),
            "cannot be used as a CA",
        ),
    ];
    for (name, content, words) in table {
        let path = file(&folder, name, content);
        let error = Trust::new().ca_file(&path).build().unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.to_string().contains(name), "{error}");
        let error = Trust::new().ca_pem(*content).build().unwrap_err();
        assert!(
            error.to_string().contains("the PEM given in memory"),
            "{error}"
        );
    }
}

#[test]
fn the_operating_systems_cas_are_the_default() {
    // What the machine has, if it has any, does not know this server.
    let trusts = |trust: Trust| -> Option<bool> {
        let config = match trust.build() {
            Ok(config) => config,
            Err(TrustError::NoSystemAuthorities { .. }) => return None,
            Err(error) => panic!("{error}"),
        };
        let client = TlsClient::new(&config, HOST).unwrap();
        let server = server_config(&world().server, ClientCertificates::NotAsked);
        Some(Pair::over_tls(client, server).drive().is_ok())
    };
    assert_ne!(trusts(Trust::new()), Some(true));
    assert_ne!(trusts(ca().system_authorities()), Some(false));
    assert_eq!(trusts(ca()), Some(true));
}

#[test]
fn client_certificates_come_from_files_and_memory() {
    let folder = folder("clients");
    let client = &world().client;
    let chain = file(&folder, "client.pem", &client.chain_pem);
    let key = file(&folder, "client.key", &client.key_pem);
    let both = file(
        &folder,
        "both.pem",
        format!("{}{}", client.chain_pem, client.key_pem),
    );
    for trust in [
        ca().certificate_file(&chain).key_file(&key),
        ca().certificate_file(&both).key_file(&both),
        ca().certificate_pem(client.chain_pem.clone())
            .key_pem(client.key_pem.clone()),
    ] {
        connects(&trust, ClientCertificates::Required);
    }
}

#[test]
fn half_of_a_client_certificate_is_none() {
    let client = &world().client;
    let certificate = ca().certificate_pem(client.chain_pem.clone());
    let key = ca().key_pem(client.key_pem.clone());
    assert_eq!(
        certificate.build().unwrap_err(),
        TrustError::CertificateWithoutKey
    );
    assert_eq!(key.build().unwrap_err(), TrustError::KeyWithoutCertificate);
    let error = certificate
        .key_pem(world().server.key_pem.clone())
        .build()
        .unwrap_err();
    assert_eq!(
        error,
        TrustError::KeyMismatch {
            certificate: PemSource::Memory,
            key: PemSource::Memory
        }
    );
    // The CA's certificate before our own.
    let wrong_order = world().ca.pem() + &client.chain_pem;
    let error = key.certificate_pem(wrong_order).build().unwrap_err();
    assert!(
        error.to_string().contains("own certificate is the first"),
        "{error}"
    );
    let error = ca()
        .certificate_pem("")
        .key_pem(client.key_pem.clone())
        .build()
        .unwrap_err();
    assert!(matches!(error, TrustError::NoCertificate { .. }), "{error}");
}

#[cfg(feature = "encrypted-keys")]
#[test]
fn keys_of_every_form_are_read() {
    let keeper = keeper();
    let trust = ca().certificate_pem(keeper.chain_pem.clone());
    for key in [
        include_str!("../keys/plain.pem"),
        include_str!("../keys/sec1.pem"),
    ] {
        trust.clone().key_pem(key).build().unwrap();
        // A password is no harm.
        trust
            .clone()
            .key_pem(key)
            .key_password("unused")
            .build()
            .unwrap();
    }
    for key in [
        include_str!("../keys/pbkdf2.pem"),
        include_str!("../keys/scrypt.pem"),
    ] {
        let trust = trust.clone().key_pem(key);
        trust.clone().key_password("martlet").build().unwrap();
        let source_name = PemSource::Memory;
        let error = trust.build().unwrap_err();
        assert_eq!(
            error,
            TrustError::KeyPasswordMissing {
                source_name: source_name.clone()
            }
        );
        let error = trust.key_password("canary").build().unwrap_err();
        assert_eq!(error, TrustError::KeyPasswordWrong { source_name });
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
    // RSA is read, and is another key.
    let error = trust
        .clone()
        .key_pem(include_str!("../keys/rsa.pem"))
        .build()
        .unwrap_err();
    assert!(matches!(error, TrustError::KeyMismatch { .. }), "{error}");
}

#[cfg(feature = "encrypted-keys")]
#[test]
fn keys_that_cannot_be_read_say_why() {
    let trust = ca()
        .certificate_pem(keeper().chain_pem)
        .key_password("martlet");
    let encrypted = include_str!("../keys/pbkdf2.pem");
    let table = [
        (
            include_str!("../keys/traditional.pem").to_owned(),
            "OpenSSL's old way",
        ),
        (
            include_str!("../keys/pbes1.pem").to_owned(),
            "openssl pkcs8 -topk8",
        ),
        (encrypted[..encrypted.len() - 20].to_owned(), "cut off"),
        (encrypted.replacen("MIH", "*IH", 1), "not base64"),
        (String::new(), "it is empty"),
        (world().ca.pem(), "holds no private key"),
        (
            include_str!("../keys/plain.pem").replacen("MIGH", "MIGI", 1),
            "cannot be used",
        ),
    ];
    for (key, words) in table {
        let error = trust.clone().key_pem(key).build().expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
    }
    let error = ca()
        .certificate_pem(keeper().chain_pem)
        .key_file("/nowhere/key.pem")
        .build()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("/nowhere/key.pem cannot be read"),
        "{error}"
    );
}

/// A program that brings its own cryptography compiles neither of ours.
#[test]
fn the_cryptography_of_the_process_may_be_used() {
    let trust = ca().crypto(Crypto::Installed);
    assert_eq!(trust.build().unwrap_err(), TrustError::NoCrypto);
    let provider = rustls::crypto::ring::default_provider();
    provider.install_default().unwrap();
    trust.build().unwrap();
}

#[test]
fn names_and_protocols_are_checked() {
    assert_eq!(
        ca().server_name("a b").build().unwrap_err(),
        TrustError::ServerName("a b".into())
    );
    assert_eq!(ca().alpn([""]).build().unwrap_err(), TrustError::Alpn);
    assert_eq!(
        ca().alpn([vec![b'a'; 256]]).build().unwrap_err(),
        TrustError::Alpn
    );
    ca().alpn(["mqtt"])
        .server_name("::1")
        .key_log()
        .build()
        .unwrap();
}

#[test]
fn debug_shows_neither_keys_nor_passwords() {
    let client = &world().client;
    let trust = ca()
        .certificate_pem(client.chain_pem.clone())
        .key_pem(client.key_pem.clone())
        .key_password("canary")
        .alpn(["mqtt"]);
    let text = format!("{trust:?} {:?}", trust.build().unwrap());
    assert!(
        !text.contains("canary") && !text.contains("PRIVATE"),
        "{text}"
    );
    assert!(
        text.contains("in memory") && text.contains("mqtt"),
        "{text}"
    );
}

#[cfg(feature = "aws-lc-rs")]
/// A device in place of a file was read until the memory was full.
#[cfg(unix)]
#[test]
fn a_file_without_an_end_is_rejected() {
    let endless = || PathBuf::from("/dev/zero");
    for trust in [
        Trust::new().ca_file(endless()),
        ca().certificate_file(endless()).key_file(endless()),
    ] {
        let error = trust.build().unwrap_err();
        assert!(matches!(error, TrustError::Unreadable { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("/dev/zero") && text.contains("16 MiB"),
            "{text}"
        );
    }
}

#[test]
fn aws_lc_rs_does_the_same() {
    let client = &world().client;
    let trust = ca()
        .certificate_pem(client.chain_pem.clone())
        .key_pem(client.key_pem.clone());
    connects(&trust.crypto(Crypto::AwsLcRs), ClientCertificates::Required);
}

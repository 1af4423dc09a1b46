//! Certificates that are not accepted, and files of them.

use crate::{nobody, socket, tls};
use martlet_tests::certificates::{Certificates, Directory, TestIdentity};
use martlet_tests::server::{Setup, TestServer};
use tokio::io::AsyncReadExt;
use tokio_rustls::rustls::{self, AlertDescription, CertificateError};

#[tokio::test]
async fn each_bad_certificate_is_rejected_for_what_is_bad() {
    let certificates = Certificates::shared();
    type Is = fn(&CertificateError) -> bool;
    let table: [(&str, &TestIdentity, &str, Is); 8] = [
        (
            "wrong host",
            &certificates.wrong_host,
            "localhost",
            |error| matches!(error, CertificateError::NotValidForNameContext { .. }),
        ),
        ("expired", &certificates.expired, "localhost", |error| {
            matches!(error, CertificateError::ExpiredContext { .. })
        }),
        (
            "not yet valid",
            &certificates.not_yet_valid,
            "localhost",
            |error| matches!(error, CertificateError::NotValidYetContext { .. }),
        ),
        (
            "unknown authority",
            &certificates.unknown_authority,
            "localhost",
            |error| matches!(error, CertificateError::UnknownIssuer),
        ),
        (
            "self-signed",
            &certificates.self_signed,
            "localhost",
            |error| matches!(error, CertificateError::UnknownIssuer),
        ),
        ("name only", &certificates.name_only, "127.0.0.1", |error| {
            matches!(error, CertificateError::NotValidForNameContext { .. })
        }),
        (
            "without intermediate",
            &certificates.without_intermediate,
            "localhost",
            |error| matches!(error, CertificateError::UnknownIssuer),
        ),
        (
            "for clients only",
            &certificates.for_clients_only,
            "localhost",
            |error| matches!(error, CertificateError::InvalidPurposeContext { .. }),
        ),
    ];
    for (what, identity, name, is) in table {
        let server = TestServer::start(Setup::tls_as(identity)).await;
        let error = tls(socket(&server).await, nobody(), name)
            .await
            .unwrap_err();
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(error)) if is(error) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
    // What is wrong with it is the address only.
    let server = TestServer::start(Setup::tls_as(&certificates.name_only)).await;
    tls(socket(&server).await, nobody(), "localhost")
        .await
        .unwrap();
}

/// In TLS 1.3 the client's handshake is over before the server has seen its certificate.
#[tokio::test]
async fn a_client_that_is_not_known_is_told_after_the_handshake() {
    let certificates = Certificates::shared();
    let unknown = certificates.client_config(Some(&certificates.unknown_client));
    for (config, alert) in [
        (nobody(), AlertDescription::CertificateRequired),
        (unknown, AlertDescription::UnknownCA),
    ] {
        let server = TestServer::start(Setup::mutual_tls()).await;
        let mut client = tls(socket(&server).await, config, "localhost")
            .await
            .unwrap();
        let error = client.read_u8().await.unwrap_err();
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(rustls::Error::AlertReceived(received)) => assert_eq!(*received, alert),
            other => panic!("{other:?}"),
        }
    }
}

/// The files say the same as the bytes.
#[test]
fn certificates_can_be_files() {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let certificates = Certificates::new();
    let directory = Directory::new();
    let authority = directory.write("authority.pem", &certificates.authority.pem);
    let chain = directory.write("chain.pem", &certificates.server.chain_pem);
    let key = directory.write("key.pem", &certificates.server.key_pem);
    let read = |path| {
        CertificateDer::pem_file_iter(path)
            .unwrap()
            .collect::<Result<Vec<_>, _>>()
            .unwrap()
    };
    assert!(
        read(&authority)
            .iter()
            .eq([&certificates.authority.certificate])
    );
    assert_eq!(read(&chain), certificates.server.chain);
    assert_eq!(
        PrivateKeyDer::from_pem_file(&key).unwrap(),
        certificates.server.key
    );
    assert_eq!(certificates.server.chain.len(), 2);
    let path = directory.path().to_owned();
    drop(directory);
    assert!(!path.exists());
}

//! What is asked of a server's certificate.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use std::sync::Arc;
use webpki::EndEntityCert;

/// As rustls' own verifier, except that each of its two questions can be left out, and that it says more.
///
/// That the server has the certificate's key is always asked: the signature of the handshake is checked.
#[derive(Debug)]
pub(crate) struct Verifier {
    /// The CAs; `None`: any certificate will do.
    pub(crate) roots: Option<RootCertStore>,
    pub(crate) check_host_name: bool,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

/// What rustls has no words for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    #[error("not from a trusted CA")]
    Untrusted(Untrusted),
    #[error("a CA's certificate")]
    Authority,
    #[error("not of X.509 version 3")]
    Version,
}

/// A certificate that no CA here vouches for.
#[derive(Debug)]
pub(crate) struct Untrusted {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) self_signed: bool,
    /// The issuer of the last certificate that came with it, if any came.
    pub(crate) intermediates: Option<String>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.roots.is_none() && !self.check_host_name {
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = ParsedCertificate::try_from(end_entity).map_err(in_words)?;
        if let Some(roots) = &self.roots {
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)
                .map_err(|error| match error {
                    Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                        untrusted(end_entity, intermediates).map_or(error, other)
                    }
                    error => in_words(error),
                })?;
        }
        if self.check_host_name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms).map_err(in_words)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms).map_err(in_words)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Two errors of webpki that rustls passes on as they are, and that people meet.
fn in_words(error: Error) -> Error {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(source))) = &error else { return error };
    match source.downcast_ref::<webpki::Error>() {
        Some(webpki::Error::CaUsedAsEndEntity) => other(VerifyError::Authority),
        Some(webpki::Error::UnsupportedCertVersion) => other(VerifyError::Version),
        _ => error,
    }
}

fn other(error: VerifyError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

fn untrusted(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Option<VerifyError> {
    let certificate = EndEntityCert::try_from(end_entity).ok()?;
    let last = intermediates.last().map(EndEntityCert::try_from);
    Some(VerifyError::Untrusted(Untrusted {
        subject: common_name(certificate.subject()),
        issuer: common_name(certificate.issuer()),
        self_signed: certificate.subject() == certificate.issuer(),
        intermediates: last.map(|last| last.map_or_else(|_| "?".into(), |last| common_name(last.issuer()))),
    }))
}

/// What a distinguished name (RFC 5280, section 4.1.2.4) calls somebody: the common name, else the organisation.
/// Only good for being shown.
fn common_name(name: &[u8]) -> String {
    // An object identifier with its tag and length; behind it is a string with its own.
    for attribute in [[0x06, 0x03, 0x55, 0x04, 0x03], [0x06, 0x03, 0x55, 0x04, 0x0a]] {
        let found = name.windows(attribute.len()).position(|window| window == attribute);
        if let Some([_tag, length, value @ ..]) = found.map(|at| &name[at + attribute.len()..]) {
            if let Some(value) = value.get(..usize::from(*length)) {
                return crate::error::shown(value, 80);
            }
        }
    }
    "no name".to_owned()
}

//! What is asked of a server's certificate.

use crate::der::{self, Certificate, Name};
use crate::trust::Roots;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use std::net::IpAddr;
use std::sync::Arc;
use webpki::{EndEntityCert, RawPublicKeyEntity};

/// As rustls' own verifier, except that it knows pinned certificates, that each of its two
/// questions can be left out, and that its errors are more detailed.
///
/// That the server has the certificate's key is always asked: the signature of the handshake is
/// checked. Only where any certificate will do, and the kind of the key is unknown to the provider,
/// it is not: an attacker who could impersonate the server with such a key can do so with another.
#[derive(Debug)]
pub(crate) struct Verifier {
    /// What is trusted; `None`: any certificate will do.
    pub(crate) roots: Option<Roots>,
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
    #[error("an address among the DNS names")]
    AddressAsName(IpAddr),
    #[error("a key whose signatures cannot be checked")]
    Key(String),
    #[error("an unknown extension that is critical")]
    Extension,
    #[error("another name, of which alone something is asked")]
    NameAlone(CertificateError),
}

/// A certificate that no CA here vouches for.
#[derive(Debug)]
pub(crate) struct Untrusted {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) self_signed: bool,
    /// A certificate of the issuer's name is trusted, but it has another key.
    pub(crate) namesake: bool,
    /// The issuer of the last certificate that came with it, if any came.
    pub(crate) intermediates: Option<String>,
}

impl Verifier {
    /// Whether a trusted CA vouches for it.
    fn check_chain(
        &self,
        roots: &Roots,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let checked = ParsedCertificate::try_from(end_entity).and_then(|certificate| {
            let (roots, algorithms) = (&roots.authorities, self.algorithms.all);
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                algorithms,
            )
        });
        checked.map_err(|error| in_words(error, roots, end_entity, intermediates))
    }

    /// What becomes of a signature by a key that the provider does not know.
    fn or_key_unknown(
        &self,
        checked: Result<HandshakeSignatureValid, Error>,
        certificate: &CertificateDer<'_>,
    ) -> Result<HandshakeSignatureValid, Error> {
        checked.or_else(|error| match unknown_key(&error, certificate) {
            Some(_) if self.roots.is_none() => Ok(HandshakeSignatureValid::assertion()),
            Some(key) => Err(other(VerifyError::Key(key))),
            None => Err(error),
        })
    }

    /// The signature of the handshake by the key of a certificate that webpki does not read.
    fn check_bare_key(
        &self,
        message: &[u8],
        key: &SubjectPublicKeyInfoDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = self
            .algorithms
            .mapping
            .iter()
            .find(|(scheme, _)| *scheme == signed.scheme);
        let key = RawPublicKeyEntity::try_from(key).map_err(|_| CertificateError::BadEncoding)?;
        // In TLS 1.2 the curve is not part of the scheme: each is tried.
        let mut wrong = CertificateError::BadSignature;
        for algorithm in algorithms.map_or(&[][..], |(_, algorithms)| algorithms) {
            match key.verify_signature(*algorithm, message, signed.signature()) {
                Ok(()) => return Ok(HandshakeSignatureValid::assertion()),
                Err(webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(context)) => {
                    wrong = CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                        signature_algorithm_id: context.signature_algorithm_id,
                        public_key_algorithm_id: context.public_key_algorithm_id,
                    };
                }
                Err(_) => return Err(CertificateError::BadSignature.into()),
            }
        }
        Err(wrong.into())
    }
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
        match &self.roots {
            Some(roots) if roots.pinned.contains(end_entity.as_ref()) => {}
            Some(roots) => {
                self.check_chain(roots, end_entity, intermediates, now)?;
                if self.check_host_name {
                    check_name(end_entity, server_name)?;
                }
            }
            None if self.check_host_name => check_name_alone(end_entity, server_name)?,
            None => {}
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let checked = match bare_key(certificate) {
            Some(key) => self.check_bare_key(message, &key, signed),
            None => verify_tls12_signature(message, certificate, signed, &self.algorithms),
        };
        self.or_key_unknown(checked, certificate)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let checked = match bare_key(certificate) {
            Some(key) => {
                verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
            }
            None => verify_tls13_signature(message, certificate, signed, &self.algorithms),
        };
        self.or_key_unknown(checked, certificate)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn check_name(end_entity: &CertificateDer<'_>, server_name: &ServerName<'_>) -> Result<(), Error> {
    let certificate = ParsedCertificate::try_from(end_entity)?;
    verify_server_name(&certificate, server_name)
        .map_err(|error| misplaced_address(end_entity, server_name).map_or(error, other))
}

/// The name, where any certificate will do: also one that webpki does not read, which matters only
/// where a CA vouches for it.
fn check_name_alone(
    end_entity: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
) -> Result<(), Error> {
    let unread = match ParsedCertificate::try_from(end_entity) {
        Ok(_) => None,
        Err(_) => Certificate::read(end_entity),
    };
    let checked = match unread {
        Some(certificate) => name_of_unchecked(&certificate, server_name),
        None => check_name(end_entity, server_name),
    };
    checked.map_err(|error| match error {
        Error::InvalidCertificate(error) => other(VerifyError::NameAlone(error)),
        error => error,
    })
}

/// The key of a certificate that webpki does not read, such as one of X.509 version 1.
fn bare_key(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    if EndEntityCert::try_from(certificate).is_ok() {
        return None;
    }
    Some(SubjectPublicKeyInfoDer::from(
        Certificate::read(certificate)?.key.whole.to_vec(),
    ))
}

/// What webpki finds wrong with a chain, in words that rustls does not have.
fn in_words(
    error: Error,
    roots: &Roots,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Error {
    let Error::InvalidCertificate(wrong) = &error else {
        return error;
    };
    let Some(certificate) = Certificate::read(end_entity) else {
        return error;
    };
    let of_webpki = match wrong {
        CertificateError::Other(OtherError(source)) => source.downcast_ref::<webpki::Error>(),
        _ => None,
    };
    let untrusted = || untrusted(&certificate, roots, intermediates);
    match (wrong, of_webpki) {
        (CertificateError::UnknownIssuer, _) => untrusted(),
        // Who signed his own certificate is not asked for another one, but for that one to be
        // trusted.
        (
            _,
            Some(
                webpki::Error::CaUsedAsEndEntity
                | webpki::Error::UnsupportedCertVersion
                | webpki::Error::UnsupportedCriticalExtension,
            ),
        ) if certificate.is_self_issued() => untrusted(),
        // A CA of that name is trusted, and its signature would be another.
        (CertificateError::BadSignature, _) if is_namesake(&certificate, roots) => untrusted(),
        (_, Some(webpki::Error::CaUsedAsEndEntity)) => other(VerifyError::Authority),
        (_, Some(webpki::Error::UnsupportedCertVersion)) => other(VerifyError::Version),
        (_, Some(webpki::Error::UnsupportedCriticalExtension)) => other(VerifyError::Extension),
        _ => error,
    }
}

fn other(error: VerifyError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

fn is_namesake(certificate: &Certificate<'_>, roots: &Roots) -> bool {
    roots
        .authorities
        .roots
        .iter()
        .any(|anchor| anchor.subject.as_ref() == certificate.issuer)
}

fn untrusted(
    certificate: &Certificate<'_>,
    roots: &Roots,
    intermediates: &[CertificateDer<'_>],
) -> Error {
    let last = intermediates.last().map(|last| Certificate::read(last));
    other(VerifyError::Untrusted(Untrusted {
        subject: der::called(certificate.subject),
        issuer: der::called(certificate.issuer),
        self_signed: certificate.is_self_issued(),
        namesake: is_namesake(certificate, roots),
        intermediates: last
            .map(|last| last.map_or_else(|| "?".into(), |last| der::called(last.issuer))),
    }))
}

/// What the key of a certificate is, if that is why its signature is not valid here.
fn unknown_key(error: &Error, certificate: &CertificateDer<'_>) -> Option<String> {
    let Error::InvalidCertificate(error) = error else {
        return None;
    };
    let key = Certificate::read(certificate)?.key;
    match error {
        // The providers take none of those.
        CertificateError::BadSignature => key
            .rsa_bits()
            .filter(|&bits| bits < 2048)
            .map(|bits| format!("RSA of {bits} bits")),
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            public_key_algorithm_id,
            ..
        } => Some(der::key_kind(public_key_algorithm_id)),
        _ => None,
    }
}

/// The address that is looked for stands among the DNS names, where it does not count (RFC 9525,
/// section 6.2).
fn misplaced_address(
    end_entity: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
) -> Option<VerifyError> {
    let ServerName::IpAddress(address) = server_name else {
        return None;
    };
    let address = IpAddr::from(*address);
    let certificate = Certificate::read(end_entity)?;
    let found = certificate
        .names()
        .any(|name| name.misplaced_address() == Some(address));
    found.then_some(VerifyError::AddressAsName(address))
}

/// Looks for a name in a certificate of which nothing else is asked.
fn name_of_unchecked(
    certificate: &Certificate<'_>,
    server_name: &ServerName<'_>,
) -> Result<(), Error> {
    let is_it = |name: Name<'_>| match (name, server_name) {
        (Name::Dns(pattern), ServerName::DnsName(name)) => {
            matches_name(pattern, name.as_ref().as_bytes())
        }
        (Name::Address(found), ServerName::IpAddress(address)) => match IpAddr::from(*address) {
            IpAddr::V4(address) => found == address.octets(),
            IpAddr::V6(address) => found == address.octets(),
        },
        _ => false,
    };
    if certificate.names().any(is_it) {
        return Ok(());
    }
    let presented = certificate.names().map(|name| match name {
        Name::Dns(name) => format!("DnsName({:?})", String::from_utf8_lossy(name)),
        Name::Address(address) => format!("IpAddress({address:?})"),
    });
    Err(Error::InvalidCertificate(
        CertificateError::NotValidForNameContext {
            expected: server_name.to_owned(),
            presented: presented.collect(),
        },
    ))
}

/// Whether a DNS name of a certificate, perhaps with `*` as its first label, is for this host.
fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    if let Some(parent) = pattern.strip_prefix(b"*.") {
        let dot = name.iter().position(|&byte| byte == b'.');
        return dot.is_some_and(|dot| dot > 0 && parent.eq_ignore_ascii_case(&name[dot + 1..]));
    }
    pattern.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_one_label() {
        for (pattern, name, expected) in [
            ("a.example", "A.Example", true),
            ("a.example", "a.example.", true),
            ("*.example", "a.example", true),
            ("*.example", "a.b.example", false),
            ("*.example", "example", false),
            ("*.example", ".example", false),
            ("a.*", "a.example", false),
        ] {
            assert_eq!(
                matches_name(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }
}

//! What rustls' errors mean for somebody who wants to connect.

use crate::der;
use crate::error::{CONNACK, Speaks, StackError, StackErrorKind};
use crate::verify::{Untrusted, VerifyError};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};

/// When an error came, as far as it changes what it means.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) is_handshaking: bool,
    /// We have a certificate of our own to show.
    pub(crate) has_certificate: bool,
}

/// The first byte is not TLS's.
pub(crate) fn not_tls(first: u8) -> StackError {
    let (what, speaks) = match first {
        CONNACK => ("with MQTT; use its TLS port, or mqtt://", Speaks::Mqtt),
        b'H' => (
            "with what looks like HTTP; use its TLS port, or ws://",
            Speaks::Http,
        ),
        _ => {
            let text = format!(
                "the server does not speak TLS on this port (its first byte is {first:#04x})"
            );
            return StackError::new(StackErrorKind::NotTls, text).speaking(Speaks::PerhapsPlain);
        }
    };
    let text = format!("the server does not speak TLS on this port: it answered {what}");
    StackError::permanent(StackErrorKind::NotTls, text).speaking(speaks)
}

pub(crate) fn failure(error: &rustls::Error, moment: Moment) -> StackError {
    match error {
        rustls::Error::InvalidCertificate(error) => certificate(error, OR_PIN),
        rustls::Error::NoCertificatesPresented => StackError::permanent(
            StackErrorKind::Certificate,
            "the server sent no certificate",
        ),
        rustls::Error::AlertReceived(alert) => self::alert(*alert, moment),
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) if moment.is_handshaking => StackError::new(
            StackErrorKind::NotTls,
            "the server does not speak TLS on this port, or its TLS is broken",
        )
        .speaking(Speaks::PerhapsPlain),
        rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            StackError::permanent(
                StackErrorKind::Tls,
                "the server speaks only TLS versions that are too old; 1.2 is the least",
            )
        }
        rustls::Error::PeerIncompatible(_) => StackError::permanent(
            StackErrorKind::Tls,
            "the server and this client have no TLS version or cipher suite in common",
        ),
        rustls::Error::DecryptError => StackError::new(
            StackErrorKind::Tls,
            "a TLS record was changed on its way, or the server is broken",
        ),
        _ => StackError::new(StackErrorKind::Tls, "TLS failed"),
    }
}

/// What the server did not like.
fn alert(alert: AlertDescription, moment: Moment) -> StackError {
    use AlertDescription as Alert;
    let of_ours = match alert {
        Alert::CertificateRequired => "it is required",
        Alert::BadCertificate => "it is bad, or missing",
        Alert::UnsupportedCertificate => "its kind is not supported",
        Alert::CertificateRevoked => "it was revoked",
        Alert::CertificateExpired => "it has expired",
        Alert::CertificateUnknown => "the server does not say why",
        Alert::UnknownCA => "its CA is not one that the server knows",
        Alert::AccessDenied => "it has no access",
        _ => "",
    };
    if !of_ours.is_empty() {
        return StackError::permanent(
            StackErrorKind::ClientCertificate,
            if moment.has_certificate {
                format!("the server does not accept our client certificate: {of_ours}")
            } else {
                "the server wants a client certificate, and none was given".to_owned()
            },
        );
    }
    match alert {
        Alert::ProtocolVersion => StackError::permanent(
            StackErrorKind::Tls,
            "the server supports neither TLS 1.2 nor TLS 1.3",
        ),
        Alert::UnrecognisedName => StackError::permanent(
            StackErrorKind::Tls,
            "the server does not know the name that it was asked for; is the host name right?",
        ),
        Alert::NoApplicationProtocol => StackError::permanent(
            StackErrorKind::Tls,
            "the server has none of the application protocols that were offered (ALPN)",
        ),
        Alert::HandshakeFailure if !moment.has_certificate => StackError::new(
            StackErrorKind::Tls,
            "the server found no cipher or parameter in common, or wants a client certificate, of which there is none; \
             if its certificate has a key on P-521, that needs the feature aws-lc-rs",
        ),
        Alert::HandshakeFailure => StackError::new(
            StackErrorKind::Tls,
            "the server found no cipher or parameter in common, or does not accept our client certificate",
        ),
        _ => StackError::new(StackErrorKind::Tls, "the server ended TLS"),
    }
}

/// What is wrong with the server's certificate.
fn certificate(error: &CertificateError, way_out: &str) -> StackError {
    let permanent = |text: String| StackError::permanent(StackErrorKind::Certificate, text);
    // Time, setting the clock, or renewing the certificate cures it, and nobody has to come
    // here for that.
    let passing = |text: String| StackError::new(StackErrorKind::Certificate, text);
    match error {
        CertificateError::ExpiredContext { time, not_after } => passing(format!(
            "the server's certificate, or one that vouches for it, expired on {}; today is {}",
            date(*not_after),
            date(*time)
        )),
        CertificateError::NotValidYetContext { time, not_before } => passing(format!(
            "the server's certificate, or one that vouches for it, is not valid before {}; today is {}: is the clock \
             right?",
            date(*not_before),
            date(*time)
        )),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => permanent(wrong_name(expected, presented, way_out)),
        CertificateError::UnknownIssuer => {
            permanent("the server's certificate is not from a CA that is trusted here".into())
        }
        CertificateError::BadSignature => {
            permanent("a signature in the server's certificates, or of its key, is wrong".into())
        }
        CertificateError::BadEncoding => {
            permanent("the server's certificate cannot be read".into())
        }
        CertificateError::Revoked => permanent("the server's certificate was revoked".into()),
        CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
            permanent(
                "the server's certificate is not one for servers (extended key usage serverAuth)"
                    .into(),
            )
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<VerifyError>() {
            Some(error) => not_verified(error, way_out),
            None => permanent("the server's certificate is not accepted".into()),
        },
        CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id,
            ..
        } => {
            let name = der::algorithm(signature_algorithm_id).map_or_else(|| "?".into(), der::name);
            permanent(format!(
                "the server's certificate, or one that vouches for it, is signed with an algorithm that is too old, or not \
                 known here ({name}); {way_out}"
            ))
        }
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            public_key_algorithm_id,
            ..
        } => permanent(format!(
            "the server's certificate, or one that vouches for it, is signed by a key of a kind that is not known here \
                 ({}; P-521 needs the feature aws-lc-rs); {way_out}",
            der::key_kind(public_key_algorithm_id)
        )),
        _ => permanent("the server's certificate is not accepted".into()),
    }
}

/// What our own verifier found wrong with the server's certificate.
fn not_verified(error: &VerifyError, way_out: &str) -> StackError {
    let text = match error {
        VerifyError::Untrusted(why) => untrusted(why),
        VerifyError::Authority => format!(
            "the server's certificate is marked as that of a CA, which no server may use; it needs one of its own \
             (basicConstraints CA:FALSE); {way_out}"
        ),
        VerifyError::Version => format!(
            "the server's certificate is of X.509 version 1 or 2, which have no server names; it needs version 3 \
             (with openssl x509 -req that takes -extfile); {way_out}"
        ),
        VerifyError::AddressAsName(address) => format!(
            "the server's certificate is not for {:?}: it has this IP address as a DNS name (DNS:{address}), which \
             does not count; it needs IP:{address} (subjectAltName); {way_out}",
            address.to_string()
        ),
        VerifyError::Key(key) => format!(
            "the server's certificate has a key whose signatures cannot be checked here ({key}); it needs RSA of 2048 \
             bits or more, a key on P-256 or P-384 (with the feature aws-lc-rs also P-521), or Ed25519"
        ),
        VerifyError::Extension => format!(
            "the server's certificate, or one that vouches for it, has an extension that is unknown here and marked as \
             critical; {way_out}"
        ),
        VerifyError::NameAlone(error) => return certificate(error, OR_SKIP),
    };
    StackError::permanent(StackErrorKind::Certificate, text)
}

/// What to do if the server is known but its CA is not.
const OR_PIN: &str =
    "or, if it is the right one, give this very certificate as a trusted one (as a CA file)";

/// The way out where names are checked and nothing else.
const OR_SKIP: &str =
    "or, as certificates are not checked here, leave out the check of host names too";

fn wrong_name(expected: &ServerName<'_>, presented: &[String], way_out: &str) -> String {
    /// As many names as an error shows; there are certificates with hundreds.
    const NAMES: usize = 8;
    let is_address = matches!(expected, ServerName::IpAddress(_));
    let expected = expected.to_str();
    if presented.is_empty() {
        return format!(
            "the server's certificate is not for {expected:?}: it has no names at all (subjectAltName; a common name \
             does not count); it needs one with this name, {way_out}"
        );
    }
    let more = presented.len().saturating_sub(NAMES);
    let names: Vec<_> = presented
        .iter()
        .take(NAMES)
        .map(|name| bare(name))
        .collect();
    let names = names.join(", ");
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let hint = if is_address && !presented.iter().any(|name| name.starts_with("IpAddress")) {
        "; it has no address among them: connect by name, or set the server name"
    } else {
        ""
    };
    format!("the server's certificate is not for {expected:?}; it is for {names}{more}{hint}")
}

/// A name of a certificate, which rustls writes like `DnsName("a.example")` and
/// `IpAddress(127.0.0.1)`.
fn bare(name: &str) -> String {
    let within = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    crate::error::shown(within.unwrap_or(name).trim_matches('"').as_bytes(), 120)
}

fn untrusted(why: &Untrusted) -> String {
    let Untrusted {
        subject,
        issuer,
        self_signed,
        namesake,
        intermediates,
    } = why;
    if *self_signed && *namesake {
        return format!(
            "the server's certificate (\"{subject}\") is self-signed, and another one of this name is trusted here: was it \
             made anew? If it is the right one, give this very certificate as a trusted one (as a CA file)"
        );
    }
    if *self_signed {
        return format!(
            "the server's certificate (\"{subject}\") is self-signed and not trusted here; if it is the right one, give \
             this very certificate as a trusted one (as a CA file)"
        );
    }
    if *namesake {
        return format!(
            "the server's certificate is signed by another \"{issuer}\" than the one that is trusted here: was that CA made \
             anew? Then give its new certificate"
        );
    }
    match intermediates {
        None => format!(
            "the server's certificate is from \"{issuer}\", which is not a CA that is trusted here, and the server sent \
             nothing else: either that CA is missing here, or the server leaves out an intermediate certificate"
        ),
        Some(last) => format!(
            "the server's certificate is from \"{issuer}\", and its chain ends with \"{last}\", which is not a CA that is \
             trusted here; if it is the right one, give it as a CA"
        ),
    }
}

/// The day in the Gregorian calendar, UTC.
fn date(time: UnixTime) -> String {
    // Days are counted from 1 March 0000, so that a leap day is the last of its year; 400 years
    // have 146,097 days.
    let days = time.as_secs() / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn days_have_their_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (68_169_600, "1972-02-29"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_689_599, "2024-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(
                date(UnixTime::since_unix_epoch(Duration::from_secs(seconds))),
                expected
            );
        }
    }
}

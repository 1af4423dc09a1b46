//! What rustls' errors mean for somebody who wants to connect.

use crate::error::{CONNACK, Error, ErrorKind};
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
pub(crate) fn not_tls(first: u8) -> Error {
    let what = match first {
        CONNACK => "with MQTT; use its TLS port, or mqtt://",
        b'H' => "with what looks like HTTP; use its TLS port, or ws://",
        _ => {
            return Error::new(
                ErrorKind::NotTls,
                format!("the server does not speak TLS on this port (its first byte is {first:#04x})"),
            );
        }
    };
    Error::permanent(
        ErrorKind::NotTls,
        format!("the server does not speak TLS on this port: it answered {what}"),
    )
}

pub(crate) fn failure(error: &rustls::Error, moment: Moment) -> Error {
    match error {
        rustls::Error::InvalidCertificate(error) => certificate(error),
        rustls::Error::NoCertificatesPresented => {
            Error::permanent(ErrorKind::Certificate, "the server sent no certificate")
        }
        rustls::Error::AlertReceived(alert) => self::alert(*alert, moment),
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) if moment.is_handshaking => {
            Error::new(ErrorKind::NotTls, "the server does not speak TLS on this port, or a broken one")
        }
        rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => Error::permanent(
            ErrorKind::Tls,
            "the server speaks only TLS versions that are too old; 1.2 is the least",
        ),
        rustls::Error::PeerIncompatible(why) => Error::permanent(
            ErrorKind::Tls,
            format!("the server and this client have no way to speak TLS in common ({why:?})"),
        ),
        rustls::Error::DecryptError => {
            Error::new(ErrorKind::Tls, "a TLS record was changed on its way, or the server is broken")
        }
        other => Error::new(ErrorKind::Tls, format!("TLS failed: {other}")),
    }
}

/// What the server did not like.
fn alert(alert: AlertDescription, moment: Moment) -> Error {
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
        return Error::permanent(
            ErrorKind::ClientCertificate,
            if moment.has_certificate {
                format!("the server does not accept our client certificate: {of_ours} (alert {alert:?})")
            } else {
                format!("the server wants a client certificate, and none was given (alert {alert:?})")
            },
        );
    }
    match alert {
        Alert::ProtocolVersion => Error::permanent(
            ErrorKind::Tls,
            "the server supports neither TLS 1.2 nor TLS 1.3 (alert ProtocolVersion)",
        ),
        Alert::UnrecognisedName => Error::permanent(
            ErrorKind::Tls,
            "the server does not know the name that it was asked for (alert UnrecognisedName); is the host name right?",
        ),
        Alert::NoApplicationProtocol => Error::permanent(
            ErrorKind::Tls,
            "the server has none of the application protocols that were offered (ALPN; alert NoApplicationProtocol)",
        ),
        Alert::HandshakeFailure if !moment.has_certificate => Error::new(
            ErrorKind::Tls,
            "the server found no cipher or parameter in common, or wants a client certificate, of which there is none \
             (alert HandshakeFailure)",
        ),
        Alert::HandshakeFailure => Error::new(
            ErrorKind::Tls,
            "the server found no cipher or parameter in common, or does not accept our client certificate (alert \
             HandshakeFailure)",
        ),
        other => Error::new(ErrorKind::Tls, format!("the server ended TLS with the alert {other:?}")),
    }
}

/// What is wrong with the server's certificate.
fn certificate(error: &CertificateError) -> Error {
    let permanent = |text: String| Error::permanent(ErrorKind::Certificate, text);
    // Time, a clock that is set, or whoever renews certificates cures it, and nobody has to come here for that.
    let passing = |text: String| Error::new(ErrorKind::Certificate, text);
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
        CertificateError::NotValidForNameContext { expected, presented } => permanent(wrong_name(expected, presented)),
        CertificateError::UnknownIssuer => permanent("the server's certificate is not from a CA that is trusted here".into()),
        CertificateError::BadSignature => {
            permanent("a signature in the server's certificates, or of its key, is wrong".into())
        }
        CertificateError::BadEncoding => permanent("the server's certificate cannot be read".into()),
        CertificateError::Revoked => permanent("the server's certificate was revoked".into()),
        CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
            permanent("the server's certificate is not one for servers (extended key usage serverAuth)".into())
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<VerifyError>() {
            Some(VerifyError::Untrusted(why)) => permanent(untrusted(why)),
            Some(VerifyError::Authority) => permanent(
                "the server's certificate is marked as that of a CA, which no server may use; it needs one of its own \
                 (basicConstraints CA:FALSE)"
                    .into(),
            ),
            Some(VerifyError::Version) => permanent(
                "the server's certificate is of X.509 version 1 or 2, which have no server names; it needs version 3"
                    .into(),
            ),
            None => permanent(format!("the server's certificate is not accepted: {}", other.0)),
        },
        other => permanent(format!("the server's certificate is not accepted: {}", Shown(other))),
    }
}

/// `CertificateError` has no words of its own; rustls' error has.
struct Shown<'a>(&'a CertificateError);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", rustls::Error::InvalidCertificate(self.0.clone()))
    }
}

fn wrong_name(expected: &ServerName<'_>, presented: &[String]) -> String {
    /// As many names as an error shows; there are certificates with hundreds.
    const NAMES: usize = 8;
    let is_address = matches!(expected, ServerName::IpAddress(_));
    let expected = expected.to_str();
    if presented.is_empty() {
        return format!(
            "the server's certificate is not for {expected:?}: it has no names at all (subjectAltName; a common name \
             does not count)"
        );
    }
    let more = presented.len().saturating_sub(NAMES);
    let names: Vec<_> = presented.iter().take(NAMES).map(|name| bare(name)).collect();
    let names = names.join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let hint = if is_address && !presented.iter().any(|name| name.starts_with("IpAddress")) {
        "; it has no address among them: connect by name, or set the server name"
    } else {
        ""
    };
    format!("the server's certificate is not for {expected:?}; it is for {names}{more}{hint}")
}

/// A name of a certificate, which rustls writes like `DnsName("a.example")` and `IpAddress(127.0.0.1)`.
fn bare(name: &str) -> String {
    let within = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    crate::error::shown(within.unwrap_or(name).trim_matches('"').as_bytes(), 120)
}

fn untrusted(why: &Untrusted) -> String {
    let Untrusted { subject, issuer, self_signed, intermediates } = why;
    if *self_signed {
        return format!(
            "the server's certificate (\"{subject}\") is self-signed and not trusted here; if it is the right one, give \
             it as a CA"
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
    // Days are counted from 1 March 0000, so that a leap day is the last of its year; 400 years have 146,097 days.
    let days = time.as_secs() / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
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
            assert_eq!(date(UnixTime::since_unix_epoch(Duration::from_secs(seconds))), expected);
        }
    }
}

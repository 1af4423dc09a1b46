//! The sections of a PEM file, as they are met: with a byte order mark, comments, headers, Windows'
//! line ends, two files put together without a line end between them.

use super::{PemSource, TrustError};
use crate::der::{DerReader, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE};
use data_encoding::BASE64_NOPAD;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// The lines between `-----BEGIN X-----` and `-----END X-----`.
pub(super) struct Section<'a> {
    /// The X.
    pub(super) label: &'a str,
    body: &'a [u8],
    /// Its place among the sections of the file, from 1.
    number: usize,
    /// The line of the file that it begins in, from 1.
    pub(super) line: usize,
}

/// What is wrong with PEM, and where. It holds nothing of the content, which may be a key.
pub(super) struct PemError {
    what: &'static str,
    number: usize,
    line: usize,
}

impl PemError {
    pub(super) fn of(&self, source: &PemSource) -> TrustError {
        let Self { what, number, line } = self;
        let reason = format!("{what} (section {number}, which begins in line {line})");
        TrustError::BadPem {
            source_name: source.clone(),
            reason,
        }
    }
}

/// All sections of a file.
pub(super) fn sections(pem: &[u8]) -> Result<Vec<Section<'_>>, PemError> {
    let mut sections = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(begin) = find(pem, BEGIN, at) {
        line += lines(&pem[at..begin]);
        let number = sections.len() + 1;
        let fault = |what| PemError { what, number, line };
        let bad_begin = || fault("the line that begins a section is wrong");
        let label = begin + BEGIN.len();
        let label_end = find(pem, DASHES, label).ok_or_else(bad_begin)?;
        let label = std::str::from_utf8(&pem[label..label_end]).map_err(|_| bad_begin())?;
        if label.contains(['\n', '\r']) {
            return Err(bad_begin());
        }
        let body = label_end + DASHES.len();
        let no_end = || fault("a section has no end (-----END …-----); is the file cut off?");
        let end = find(pem, END, body).ok_or_else(no_end)?;
        // The next one begins before this one ends.
        if find(&pem[..end], BEGIN, body).is_some() {
            return Err(no_end());
        }
        let marker = &pem[end + END.len()..];
        let Some(name_end) = find(marker, DASHES, 0) else {
            return Err(no_end());
        };
        if &marker[..name_end] != label.as_bytes() {
            return Err(fault(
                "a section ends with another name than it begins with",
            ));
        }
        sections.push(Section {
            label,
            body: &pem[body..end],
            number,
            line,
        });
        line += lines(&pem[begin..end]);
        at = end + END.len() + label.len() + DASHES.len();
    }
    Ok(sections)
}

impl Section<'_> {
    pub(super) fn is_certificate(&self) -> bool {
        // The second is what programs of the nineties wrote, and OpenSSL still reads.
        matches!(self.label, "CERTIFICATE" | "X509 CERTIFICATE")
    }

    /// A certificate with OpenSSL's notes on what it is trusted for.
    pub(super) fn is_annotated_certificate(&self) -> bool {
        self.label == "TRUSTED CERTIFICATE"
    }

    pub(super) fn is_private_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }

    /// The bytes.
    pub(super) fn decode(&self) -> Result<Vec<u8>, PemError> {
        let lines = self.body.split(|byte| matches!(byte, b'\n' | b'\r'));
        let text: Vec<u8> = lines
            // Headers (RFC 1421) end with an empty line, but base64 has no colon either.
            .filter(|line| !line.contains(&b':'))
            .flatten()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        let unpadded = text
            .iter()
            .rposition(|&byte| byte != b'=')
            .map_or(&[][..], |last| &text[..=last]);
        BASE64_NOPAD.decode(unpadded).map_err(|_| PemError {
            what: "a section is not base64",
            number: self.number,
            line: self.line,
        })
    }

    /// The value of a header (RFC 1421), such as `Proc-Type`.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.body
            .split(|byte| matches!(byte, b'\n' | b'\r'))
            .find_map(|line| {
                let line = String::from_utf8_lossy(line);
                let (found, value) = line.split_once(':')?;
                (found.trim() == name).then(|| value.trim().to_owned())
            })
    }
}

fn find(bytes: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    // A dash is rare in between.
    while let Some(next) = bytes.get(at..)?.iter().position(|byte| *byte == wanted[0]) {
        if bytes[at + next..].starts_with(wanted) {
            return Some(at + next);
        }
        at += next + 1;
    }
    None
}

fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

/// What a file was to hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PemContent {
    /// Certificates to be trusted.
    Trusted,
    /// Our own certificate.
    OwnCertificate,
    /// Our own key.
    OwnKey,
}

/// Describes what a file holds instead of what is wanted: the end of an error's sentence.
pub(super) fn instead(bytes: &[u8], wanted: PemContent) -> &'static str {
    /// For certificates, of which it matters whose they are.
    macro_rules! hint {
        ($what:literal) => {
            match wanted {
                PemContent::OwnCertificate => {
                    concat!("; our own certificate was to be there, but ", $what)
                }
                _ => concat!("; ", $what),
            }
        };
    }
    let labels: Vec<_> = sections(bytes)
        .unwrap_or_default()
        .iter()
        .map(|section| section.label.to_owned())
        .collect();
    let has = |end: &str| labels.iter().any(|label| label.ends_with(end));
    if bytes.trim_ascii().is_empty() {
        hint!("it is empty")
    } else if is_utf16(bytes) {
        hint!("it is UTF-16, as some programs of Windows write text: save it as UTF-8 or ASCII")
    } else if wanted != PemContent::OwnKey && has("TRUSTED CERTIFICATE") {
        hint!(
            "it holds a TRUSTED CERTIFICATE, which only OpenSSL reads; convert it: openssl x509 -in FILE -out NEW.pem"
        )
    } else if has("CERTIFICATE REQUEST") {
        hint!("it holds a certificate request; what the CA made of the request is needed")
    } else if wanted != PemContent::OwnKey && has("PRIVATE KEY") {
        hint!("it holds a private key; are two files mixed up?")
    } else if has("PUBLIC KEY") {
        hint!("it holds a public key")
    } else if has("PKCS7") {
        hint!("it holds PKCS#7; convert it: openssl pkcs7 -print_certs -in FILE -out NEW.pem")
    } else if wanted == PemContent::OwnKey && has("CERTIFICATE") {
        "; it holds a certificate; are two files mixed up?"
    } else if bytes.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) {
        hint!(
            "it is a Java key store; convert it: keytool -importkeystore -deststoretype PKCS12, then openssl pkcs12"
        )
    } else {
        match (of_der(bytes), wanted) {
            (Some(Der::Pkcs12), PemContent::OwnKey) => {
                "; it is PKCS#12 (.p12, .pfx); convert it: openssl pkcs12 -in FILE -nocerts -nodes -out NEW.pem"
            }
            (Some(Der::Pkcs12), _) => {
                hint!(
                    "it is PKCS#12 (.p12, .pfx); convert it: openssl pkcs12 -in FILE -nokeys -out NEW.pem"
                )
            }
            (Some(Der::Certificate), PemContent::OwnKey) => {
                "; it holds a certificate (in DER form); are two files mixed up?"
            }
            (Some(Der::Key), PemContent::OwnKey) => {
                "; it is in DER form; convert it: openssl pkey -inform DER -in FILE -out NEW.pem"
            }
            (Some(Der::EncryptedKey), PemContent::OwnKey) => {
                "; it is encrypted and in DER form; convert it: openssl pkcs8 -inform DER -in FILE -topk8 -out NEW.pem"
            }
            (Some(Der::Key | Der::EncryptedKey), _) => {
                hint!("it holds a private key (in DER form); are two files mixed up?")
            }
            (Some(Der::Certificate), _) => {
                hint!(
                    "it is in DER form; convert it: openssl x509 -inform DER -in FILE -out NEW.pem"
                )
            }
            (Some(Der::Other), _) => hint!("it looks like DER or PKCS#12, convert it with openssl"),
            (None, PemContent::OwnCertificate) => "; our own certificate was to be there",
            (None, _) => "",
        }
    }
}

fn is_utf16(bytes: &[u8]) -> bool {
    let zeros = |first: usize| {
        bytes
            .iter()
            .skip(first)
            .step_by(2)
            .take(16)
            .filter(|&&byte| byte == 0)
            .count()
    };
    bytes.starts_with(&[0xff, 0xfe])
        || bytes.starts_with(&[0xfe, 0xff])
        || zeros(0) > 12
        || zeros(1) > 12
}

enum Der {
    Certificate,
    Key,
    EncryptedKey,
    Pkcs12,
    Other,
}

/// What a file without PEM holds, by the first values in it.
fn of_der(bytes: &[u8]) -> Option<Der> {
    let mut whole = DerReader::new(bytes).enter(SEQUENCE)?;
    let rest = whole;
    let (first, second) = (whole.next()?, whole.next());
    let second = second.map(|element| element.tag);
    Some(match (first.tag, first.content, second) {
        (INTEGER, [3], _) => Der::Pkcs12,
        (INTEGER, [0 | 1], Some(SEQUENCE | INTEGER | OCTET_STRING)) => Der::Key,
        (SEQUENCE, algorithm, Some(OCTET_STRING))
            if algorithm.first() == Some(&OBJECT_IDENTIFIER) =>
        {
            Der::EncryptedKey
        }
        (SEQUENCE, _, Some(SEQUENCE)) if rest.count() == 3 => Der::Certificate,
        _ => Der::Other,
    })
}

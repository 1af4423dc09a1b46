//! As much of DER and X.509 as it takes to name what is wrong with a certificate or a key, and to
//! recognise one.
//!
//! webpki decides which certificates are good. This reader has no opinion: it reads those that
//! webpki rejects (version 1, unknown extensions, any algorithm), and nothing that it finds is
//! evidence of trust.

use std::net::IpAddr;

/// The tags that are looked for (X.690, section 8.1.2).
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
const BOOLEAN: u8 = 0x01;
const BMP_STRING: u8 = 0x1e;
/// `[0]`, constructed.
pub(crate) const CONTEXT_0: u8 = 0xa0;
const CONTEXT_3: u8 = 0xa3;

/// One value with its tag.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// The content with the tag and the length before it.
    pub(crate) whole: &'a [u8],
}

/// Reads one value after another, up to the end or to the first that is not DER.
#[derive(Clone, Copy)]
pub(crate) struct DerReader<'a> {
    rest: &'a [u8],
    /// A value that is cut off counts as far as it goes.
    cut: bool,
}

impl<'a> DerReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            cut: false,
        }
    }

    /// The content of the next value, which has this tag.
    pub(crate) fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|element| element.tag == tag)
            .map(|element| element.content)
    }

    /// Passes over the next value if it has this tag.
    fn skip_optional(&mut self, tag: u8) {
        if self.rest.first() == Some(&tag) {
            self.next();
        }
    }

    /// Reads the values within the next one, which has this tag.
    pub(crate) fn enter(&mut self, tag: u8) -> Option<Self> {
        let cut = self.cut;
        self.content(tag).map(|rest| Self { rest, cut })
    }
}

impl<'a> Iterator for DerReader<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (&[tag, first], rest) = self.rest.split_first_chunk()?;
        // Tags of several bytes are not used in what is read here; a length without an end is not
        // DER.
        if tag & 0x1f == 0x1f || first == 0x80 {
            return None;
        }
        let (length, header) = if first < 0x80 {
            (usize::from(first), 2)
        } else {
            let bytes = rest
                .get(..usize::from(first & 0x7f))
                .filter(|bytes| bytes.len() <= 4)?;
            (
                bytes
                    .iter()
                    .fold(0, |length, &byte| length << 8 | usize::from(byte)),
                2 + bytes.len(),
            )
        };
        let mut end = header.checked_add(length)?;
        if end > self.rest.len() && self.cut {
            end = self.rest.len();
        }
        let whole = self.rest.get(..end)?;
        self.rest = &self.rest[end..];
        Some(Element {
            tag,
            content: &whole[header..],
            whole,
        })
    }
}

/// The parts of a certificate that are compared or shown.
pub(crate) struct Certificate<'a> {
    /// The content of the distinguished name.
    pub(crate) subject: &'a [u8],
    /// Likewise.
    pub(crate) issuer: &'a [u8],
    pub(crate) key: PublicKey<'a>,
    extensions: Option<DerReader<'a>>,
}

/// A SubjectPublicKeyInfo.
#[derive(Clone, Copy)]
pub(crate) struct PublicKey<'a> {
    /// All of it, with its tag and length.
    pub(crate) whole: &'a [u8],
    /// The object identifier.
    pub(crate) algorithm: &'a [u8],
    /// The key, without the number of unused bits.
    pub(crate) bits: &'a [u8],
}

/// A name in the extension subjectAltName.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    Dns(&'a [u8]),
    Address(&'a [u8]),
}

impl<'a> Certificate<'a> {
    /// Reads a certificate of any version; what follows it does not count.
    pub(crate) fn read(der: &'a [u8]) -> Option<Self> {
        let mut signed = DerReader::new(der).enter(SEQUENCE)?.enter(SEQUENCE)?;
        let (issuer, subject) = names_of(&mut signed)?;
        let key = PublicKey::read(signed.next()?.whole)?;
        let extensions = signed.find(|element| element.tag == CONTEXT_3);
        let extensions =
            extensions.and_then(|element| DerReader::new(element.content).enter(SEQUENCE));
        Some(Self {
            subject,
            issuer,
            key,
            extensions,
        })
    }

    pub(crate) fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// Whether the extension basicConstraints says that this is a CA.
    pub(crate) fn is_authority(&self) -> bool {
        let constraints = self
            .extension("2.5.29.19")
            .and_then(|value| DerReader::new(value).enter(SEQUENCE));
        constraints.is_some_and(|mut constraints| {
            constraints
                .content(BOOLEAN)
                .is_some_and(|value| value != [0])
        })
    }

    /// The names and addresses of the extension subjectAltName; there may be other kinds beside
    /// them.
    pub(crate) fn names(&self) -> impl Iterator<Item = Name<'a>> {
        let names = self
            .extension("2.5.29.17")
            .and_then(|value| DerReader::new(value).enter(SEQUENCE));
        names
            .into_iter()
            .flatten()
            .filter_map(|element| match element.tag {
                0x82 => Some(Name::Dns(element.content)),
                0x87 => Some(Name::Address(element.content)),
                _ => None,
            })
    }

    fn extension(&self, oid: &str) -> Option<&'a [u8]> {
        self.extensions?.find_map(|extension| {
            let mut parts = DerReader::new(extension.content);
            let found = dotted(parts.content(OBJECT_IDENTIFIER)?) == oid;
            parts.skip_optional(BOOLEAN);
            parts.content(OCTET_STRING).filter(|_| found)
        })
    }
}

impl Name<'_> {
    /// An IP address that is written where DNS names stand.
    pub(crate) fn misplaced_address(self) -> Option<IpAddr> {
        match self {
            Self::Dns(name) => std::str::from_utf8(name).ok()?.parse().ok(),
            Self::Address(_) => None,
        }
    }
}

impl<'a> PublicKey<'a> {
    pub(crate) fn read(whole: &'a [u8]) -> Option<Self> {
        let mut parts = DerReader::new(whole).enter(SEQUENCE)?;
        let algorithm = parts.enter(SEQUENCE)?.content(OBJECT_IDENTIFIER)?;
        let bits = parts.content(BIT_STRING)?.get(1..)?;
        Some(Self {
            whole,
            algorithm,
            bits,
        })
    }

    /// The length of an RSA key's modulus; `None` for other kinds.
    pub(crate) fn rsa_bits(&self) -> Option<usize> {
        let is_rsa = matches!(dotted(self.algorithm).as_str(), RSA | RSA_PSS);
        integer_bits(
            DerReader::new(self.bits)
                .enter(SEQUENCE)?
                .content(INTEGER)?,
        )
        .filter(|_| is_rsa)
    }
}

/// The number of bits of a positive integer.
pub(crate) fn integer_bits(integer: &[u8]) -> Option<usize> {
    let first = integer.iter().position(|&byte| byte != 0)?;
    Some((integer.len() - first) * 8 - integer[first].leading_zeros() as usize)
}

/// The issuer and the subject of what is signed in a certificate.
fn names_of<'a>(signed: &mut DerReader<'a>) -> Option<(&'a [u8], &'a [u8])> {
    signed.skip_optional(CONTEXT_0);
    signed.content(INTEGER)?;
    signed.content(SEQUENCE)?;
    let issuer = signed.content(SEQUENCE)?;
    signed.content(SEQUENCE)?;
    Some((issuer, signed.content(SEQUENCE)?))
}

/// What the subject of a certificate is called, which may be damaged or cut off behind it.
pub(crate) fn subject_of_damaged(der: &[u8]) -> Option<String> {
    let mut certificate = DerReader {
        rest: der,
        cut: true,
    };
    let (_, subject) = names_of(&mut certificate.enter(SEQUENCE)?.enter(SEQUENCE)?)?;
    Some(called(subject))
}

/// What a distinguished name (RFC 5280, section 4.1.2.4) calls somebody: the common name, else the
/// organisation, else its unit. Only for being shown.
pub(crate) fn called(name: &[u8]) -> String {
    let attributes = || DerReader::new(name).flat_map(|set| DerReader::new(set.content));
    for wanted in ["2.5.4.3", "2.5.4.10", "2.5.4.11"] {
        let found = attributes().find_map(|attribute| {
            let mut parts = DerReader::new(attribute.content);
            (dotted(parts.content(OBJECT_IDENTIFIER)?) == wanted).then(|| parts.next())?
        });
        if let Some(value) = found {
            let text = match value.tag {
                BMP_STRING => {
                    let units = value
                        .content
                        .chunks_exact(2)
                        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                    char::decode_utf16(units)
                        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                        .collect()
                }
                _ => String::from_utf8_lossy(value.content).into_owned(),
            };
            return crate::error::shown(text.as_bytes(), 80);
        }
    }
    "no name".to_owned()
}

/// The object identifier of an AlgorithmIdentifier, given by its content, such as a signature's.
pub(crate) fn algorithm(identifier: &[u8]) -> Option<&[u8]> {
    DerReader::new(identifier).content(OBJECT_IDENTIFIER)
}

/// What kind of key has this AlgorithmIdentifier, given by its content.
pub(crate) fn key_kind(identifier: &[u8]) -> String {
    let mut parts = DerReader::new(identifier);
    let Some(oid) = parts.content(OBJECT_IDENTIFIER) else {
        return "unknown".to_owned();
    };
    match parts.next() {
        Some(curve) if curve.tag == OBJECT_IDENTIFIER => {
            format!("{} on {}", name(oid), name(curve.content))
        }
        Some(parameters) if parameters.tag == SEQUENCE && dotted(oid) == EC => {
            format!(
                "{} on a curve that is given by parameters, not by name",
                name(oid)
            )
        }
        _ => name(oid),
    }
}

pub(crate) const RSA: &str = "1.2.840.113549.1.1.1";
pub(crate) const RSA_PSS: &str = "1.2.840.113549.1.1.10";
pub(crate) const EC: &str = "1.2.840.10045.2.1";
pub(crate) const ED25519: &str = "1.3.101.112";
pub(crate) const P256: &str = "1.2.840.10045.3.1.7";
pub(crate) const P384: &str = "1.3.132.0.34";
pub(crate) const P521: &str = "1.3.132.0.35";
pub(crate) const PBES2: &str = "1.2.840.113549.1.5.13";

/// An object identifier as people write it.
pub(crate) fn dotted(oid: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0_u64;
    for &byte in oid {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                // The first two share a place (X.690, section 8.19.4).
                let first = (number / 40).min(2);
                numbers.extend([first, number - first * 40]);
            } else {
                numbers.push(number);
            }
            number = 0;
        }
    }
    numbers
        .iter()
        .map(u64::to_string)
        .collect::<Vec<_>>()
        .join(".")
}

/// What people call the algorithm or curve of this object identifier; the identifier itself where
/// it is none of those that they meet.
pub(crate) fn name(oid: &[u8]) -> String {
    let dotted = dotted(oid);
    match NAMES.iter().find(|(known, _)| *known == dotted) {
        Some((_, name)) => (*name).to_owned(),
        None => dotted,
    }
}

const NAMES: &[(&str, &str)] = &[
    (RSA, "RSA"),
    ("1.2.840.10040.4.1", "DSA"),
    (EC, "EC"),
    ("1.3.101.110", "X25519"),
    ("1.3.101.111", "X448"),
    (ED25519, "Ed25519"),
    ("1.3.101.113", "Ed448"),
    ("1.2.840.113549.1.3.1", "DH"),
    ("1.2.840.10046.2.1", "DH"),
    ("1.2.840.10045.3.1.1", "P-192 (prime192v1)"),
    ("1.3.132.0.33", "P-224 (secp224r1)"),
    (P256, "P-256 (prime256v1)"),
    (P384, "P-384 (secp384r1)"),
    (P521, "P-521 (secp521r1)"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"),
    ("1.2.156.10197.1.301", "SM2"),
    ("1.2.840.113549.1.1.4", "MD5 with RSA"),
    ("1.2.840.113549.1.1.5", "SHA-1 with RSA"),
    ("1.2.840.113549.1.1.14", "SHA-224 with RSA"),
    ("1.2.840.10045.4.1", "SHA-1 with ECDSA"),
    ("1.2.840.10045.4.3.2", "SHA-256 with ECDSA"),
    ("1.2.840.10045.4.3.3", "SHA-384 with ECDSA"),
    ("1.2.840.10045.4.3.4", "SHA-512 with ECDSA"),
    (PBES2, "PBES2"),
    ("1.2.840.113549.1.5.3", "PBE-MD5-DES"),
    ("1.2.840.113549.1.5.6", "PBE-MD5-RC2-64"),
    ("1.2.840.113549.1.5.10", "PBE-SHA1-DES"),
    ("1.2.840.113549.1.5.11", "PBE-SHA1-RC2-64"),
    ("1.2.840.113549.1.12.1.1", "PBE-SHA1-RC4-128"),
    ("1.2.840.113549.1.12.1.2", "PBE-SHA1-RC4-40"),
    ("1.2.840.113549.1.12.1.3", "PBE-SHA1-3DES"),
    ("1.2.840.113549.1.12.1.4", "PBE-SHA1-2DES"),
    ("1.2.840.113549.1.12.1.5", "PBE-SHA1-RC2-128"),
    ("1.2.840.113549.1.12.1.6", "PBE-SHA1-RC2-40"),
    ("1.3.14.3.2.7", "DES-CBC"),
    ("1.2.840.113549.3.2", "RC2-CBC"),
    ("1.2.840.113549.3.7", "DES-EDE3-CBC"),
    ("2.16.840.1.101.3.4.1.2", "AES-128-CBC"),
    ("2.16.840.1.101.3.4.1.22", "AES-192-CBC"),
    ("2.16.840.1.101.3.4.1.42", "AES-256-CBC"),
    ("1.2.392.200011.61.1.1.1.2", "CAMELLIA-128-CBC"),
    ("1.2.392.200011.61.1.1.1.3", "CAMELLIA-192-CBC"),
    ("1.2.392.200011.61.1.1.1.4", "CAMELLIA-256-CBC"),
    ("1.2.410.200046.1.1.2", "ARIA-128-CBC"),
    ("1.2.410.200046.1.1.7", "ARIA-192-CBC"),
    ("1.2.410.200046.1.1.12", "ARIA-256-CBC"),
    ("1.2.410.200004.1.4", "SEED-CBC"),
    ("1.2.156.10197.1.104.2", "SM4-CBC"),
    ("1.2.840.113549.1.5.12", "PBKDF2"),
    ("1.3.6.1.4.1.11591.4.11", "scrypt"),
    ("1.2.840.113549.2.6", "HMAC-MD5"),
    ("1.2.840.113549.2.7", "HMAC-SHA1"),
    ("1.2.840.113549.2.9", "HMAC-SHA256"),
    ("1.2.840.113549.2.11", "HMAC-SHA512"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_identifiers_are_written_with_dots() {
        assert_eq!(
            dotted(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]),
            RSA
        );
        assert_eq!(dotted(&[0x55, 0x04, 0x03]), "2.5.4.3");
        assert_eq!(dotted(&[0x88, 0x37, 0x01]), "2.999.1");
        assert_eq!(dotted(&[]), "");
        assert_eq!(name(&[0x2b, 0x81, 0x04, 0x00, 0x23]), "P-521 (secp521r1)");
    }

    #[test]
    fn what_is_not_der_ends_the_reading() {
        let long = [&[OCTET_STRING, 0x81, 0x80][..], &[7; 128]].concat();
        assert_eq!(
            DerReader::new(&long).content(OCTET_STRING),
            Some(&[7; 128][..])
        );
        let table: &[&[u8]] = &[
            &[],
            &[0x30],
            &[0x30, 0x01],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x82, 0x01],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x1f, 0x01, 0x00],
        ];
        for bytes in table {
            assert!(DerReader::new(bytes).next().is_none(), "{bytes:?}");
        }
        let cut = DerReader {
            rest: &[0x30, 0x7f, 1, 2],
            cut: true,
        }
        .next()
        .unwrap();
        assert_eq!(cut.content, [1, 2]);
    }

    #[test]
    fn somebody_is_called_by_common_name_or_organisation() {
        // SET { SEQUENCE { organizationName, PrintableString "Co" } }, then a common name as
        // BMPString "Ä".
        let organisation = [
            0x31, 0x0b, 0x30, 0x09, 6, 3, 0x55, 4, 0x0a, 0x13, 2, b'C', b'o',
        ];
        let common = [
            0x31, 0x0b, 0x30, 0x09, 6, 3, 0x55, 4, 0x03, 0x1e, 2, 0x00, 0xc4,
        ];
        assert_eq!(called(&organisation), "Co");
        assert_eq!(called(&[organisation, common].concat()), "Ä");
        assert_eq!(called(&[]), "no name");
    }

    #[test]
    fn integers_have_bits() {
        for (integer, bits) in [
            (&[0x80][..], Some(8)),
            (&[0, 0x80, 0], Some(16)),
            (&[1], Some(1)),
            (&[0], None),
        ] {
            assert_eq!(integer_bits(integer), bits);
        }
    }
}

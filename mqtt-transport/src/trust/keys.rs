//! Our own private key: read in every form that OpenSSL writes, or named with a command that helps.

use super::crypto::Crypto;
use super::error::{PemSource, TrustError};
use super::pem::{self, PemContent, Section};
use crate::der::{
    self, BIT_STRING, CONTEXT_0, DerReader, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, PublicKey,
    SEQUENCE,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::sign::SigningKey;
use std::sync::Arc;

/// The first private key of a PEM file, ready to sign.
pub(super) fn load(
    bytes: &[u8],
    source: &PemSource,
    password: Option<&[u8]>,
    crypto: Crypto,
    provider: &CryptoProvider,
) -> Result<Arc<dyn SigningKey>, TrustError> {
    let bad = |reason: String| TrustError::BadKey {
        source_name: source.clone(),
        reason,
    };
    let sections = pem::sections(bytes).map_err(|fault| fault.of(source))?;
    let Some(section) = sections.iter().find(|section| section.is_private_key()) else {
        let hint = pem::instead(bytes, PemContent::OwnKey);
        return Err(TrustError::NoKey {
            source_name: source.clone(),
            hint,
        });
    };
    let der = read(section, source, password)?;
    let wrong = |error: rustls::Error| bad(why_not(&der, source, crypto, &error));
    provider
        .key_provider
        .load_private_key(der.clone_key())
        .map_err(wrong)
}

fn read(
    section: &Section<'_>,
    source: &PemSource,
    password: Option<&[u8]>,
) -> Result<PrivateKeyDer<'static>, TrustError> {
    let bad = |reason: String| TrustError::BadKey {
        source_name: source.clone(),
        reason,
    };
    let file = file(source);
    if section
        .header("Proc-Type")
        .is_some_and(|value| value.contains("ENCRYPTED"))
    {
        let cipher = section.header("DEK-Info").unwrap_or_default();
        let cipher =
            crate::error::shown(cipher.split(',').next().unwrap_or_default().as_bytes(), 40);
        return Err(bad(format!(
            "it is encrypted in OpenSSL's old way ({cipher}); convert it: {}",
            converted(&file, &cipher)
        )));
    }
    let decoded = || section.decode().map_err(|fault| fault.of(source));
    match section.label {
        "PRIVATE KEY" => Ok(PrivatePkcs8KeyDer::from(decoded()?).into()),
        "RSA PRIVATE KEY" => Ok(PrivatePkcs1KeyDer::from(decoded()?).into()),
        "EC PRIVATE KEY" => Ok(PrivateSec1KeyDer::from(decoded()?).into()),
        "ENCRYPTED PRIVATE KEY" => decrypt(&decoded()?, source, password),
        "OPENSSH PRIVATE KEY" => Err(bad(format!(
            "it is in OpenSSH's own form; convert a copy of it, in place: ssh-keygen -p -m PKCS8 -f {file}"
        ))),
        "DSA PRIVATE KEY" => Err(bad(no_tls("DSA"))),
        label => Err(bad(format!(
            "it is of the kind {:?}, which is not supported; convert it: openssl pkey -in {file} -out NEW.pem",
            crate::error::shown(label.as_bytes(), 40)
        ))),
    }
}

#[cfg(feature = "encrypted-keys")]
fn decrypt(
    der: &[u8],
    source: &PemSource,
    password: Option<&[u8]>,
) -> Result<PrivateKeyDer<'static>, TrustError> {
    use pkcs8::EncryptedPrivateKeyInfoRef;
    use pkcs8::pkcs5::Error;

    let source_name = source.clone();
    let Some(password) = password else {
        return Err(TrustError::KeyPasswordMissing { source_name });
    };
    let unsupported = |source_name| {
        let cipher = encryption(der).unwrap_or_else(|| "it cannot be read".to_owned());
        let command = converted(&file(source), &cipher);
        let reason = format!(
            "it is encrypted in a way that is not supported ({cipher}); convert it: {command}"
        );
        TrustError::BadKey {
            source_name,
            reason,
        }
    };
    let Ok(encrypted) = EncryptedPrivateKeyInfoRef::try_from(der) else {
        return Err(unsupported(source_name));
    };
    match encrypted.decrypt(password) {
        // With a wrong password one in 256 seems to be decrypted, to nonsense.
        Ok(key)
            if DerReader::new(key.as_bytes())
                .enter(SEQUENCE)
                .is_some_and(|mut key| key.content(INTEGER).is_some()) =>
        {
            Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
        }
        Err(pkcs8::Error::EncryptedPrivateKey(
            Error::UnsupportedAlgorithm { .. }
            | Error::AlgorithmParametersInvalid { .. }
            | Error::NoPbes1CryptSupport,
        )) => Err(unsupported(source_name)),
        _ => Err(TrustError::KeyPasswordWrong { source_name }),
    }
}

#[cfg(not(feature = "encrypted-keys"))]
fn decrypt(
    _: &[u8],
    source: &PemSource,
    _: Option<&[u8]>,
) -> Result<PrivateKeyDer<'static>, TrustError> {
    Err(TrustError::EncryptedKeysOff {
        source_name: source.clone(),
    })
}

/// What a key is encrypted with.
#[cfg(feature = "encrypted-keys")]
fn encryption(der: &[u8]) -> Option<String> {
    let mut scheme = DerReader::new(der).enter(SEQUENCE)?.enter(SEQUENCE)?;
    let oid = scheme.content(OBJECT_IDENTIFIER)?;
    if der::dotted(oid) != der::PBES2 {
        return Some(der::name(oid));
    }
    let mut parameters = scheme.enter(SEQUENCE)?;
    let mut derivation = parameters.enter(SEQUENCE)?;
    let cipher = der::name(parameters.enter(SEQUENCE)?.content(OBJECT_IDENTIFIER)?);
    let function = der::name(derivation.content(OBJECT_IDENTIFIER)?);
    let random = derivation.enter(SEQUENCE).and_then(|parameters| {
        let mut last = parameters.filter(|element| element.tag == SEQUENCE);
        Some(der::name(
            DerReader::new(last.next()?.content).content(OBJECT_IDENTIFIER)?,
        ))
    });
    Some(match random {
        Some(random) => format!("PBES2 with {cipher}, {function}, {random}"),
        None => format!("PBES2 with {cipher}, {function}"),
    })
}

/// The file, for a command.
fn file(source: &PemSource) -> String {
    match source {
        PemSource::Path(path) => path.display().to_string(),
        PemSource::Memory => "FILE".to_owned(),
    }
}

/// The command for a key that is encrypted with this cipher.
fn converted(file: &str, cipher: &str) -> String {
    // OpenSSL 3 has these apart.
    let is_legacy = ["RC2", "RC4", "MD5", "DES-CBC", "SHA1-DES"]
        .iter()
        .any(|name| cipher.contains(name));
    let legacy = if is_legacy {
        " -provider legacy -provider default"
    } else {
        ""
    };
    format!("openssl pkcs8 -topk8 -v2 aes-256-cbc{legacy} -in {file} -out NEW.pem")
}

fn no_tls(kind: &str) -> String {
    format!(
        "it is a key of the kind {kind}, which cannot be used for TLS here; make a new key, and a certificate for it: \
         openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEW.pem"
    )
}

/// Why rustls does not take a key.
fn why_not(
    key: &PrivateKeyDer<'_>,
    source: &PemSource,
    crypto: Crypto,
    error: &rustls::Error,
) -> String {
    let file = file(source);
    let known = match key {
        PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der(), crypto),
        PrivateKeyDer::Sec1(key) => {
            let mut parts = DerReader::new(key.secret_sec1_der()).enter(SEQUENCE);
            let parameters = parts
                .as_mut()
                .and_then(|parts| parts.find(|element| element.tag == CONTEXT_0));
            parameters
                .and_then(|parameters| curve(parameters.content, key.secret_sec1_der(), &file))
        }
        PrivateKeyDer::Pkcs8(key) => pkcs8(key.secret_pkcs8_der(), crypto, &file),
        _ => None,
    };
    known.unwrap_or_else(|| {
        let reason = match error {
            rustls::Error::General(reason) => reason.clone(),
            other => other.to_string(),
        };
        format!("{reason}; is it damaged? Check it: openssl pkey -in {file} -check -noout")
    })
}

fn pkcs8(der: &[u8], crypto: Crypto, file: &str) -> Option<String> {
    let mut parts = DerReader::new(der).enter(SEQUENCE)?;
    parts.content(INTEGER)?;
    let algorithm = parts.content(SEQUENCE)?;
    let key = parts.content(OCTET_STRING)?;
    let mut algorithm = DerReader::new(algorithm);
    let oid = algorithm.content(OBJECT_IDENTIFIER)?;
    match der::dotted(oid).as_str() {
        der::RSA => rsa(key, crypto),
        der::EC => curve(algorithm.next()?.whole, key, file),
        // A good kind, so it is damaged.
        der::ED25519 => None,
        der::RSA_PSS => Some(no_tls("RSASSA-PSS (an RSA key that is for PSS only)")),
        _ => Some(no_tls(&der::name(oid))),
    }
}

/// A key of RSA, given as PKCS#1.
fn rsa(der: &[u8], crypto: Crypto) -> Option<String> {
    let mut parts = DerReader::new(der).enter(SEQUENCE)?;
    parts.content(INTEGER)?;
    let bits = der::integer_bits(parts.content(INTEGER)?)?;
    let (name, most) = match crypto {
        #[cfg(feature = "ring")]
        Crypto::Ring => ("ring", 4096),
        #[cfg(feature = "aws-lc-rs")]
        Crypto::AwsLcRs => ("aws-lc-rs", 8192),
        // Which it is, is not known here.
        Crypto::Installed => ("TLS", 4096),
    };
    (bits < 2048 || bits > most).then(|| {
        format!(
            "it is an RSA key of {bits} bits, and {name} takes 2048 to {most}; make a new key, and a certificate for it: \
             openssl genrsa -out NEW.pem 3072"
        )
    })
}

/// A key on an elliptic curve, given by the parameters and as SEC 1.
fn curve(parameters: &[u8], key: &[u8], file: &str) -> Option<String> {
    let parameters = DerReader::new(parameters).next()?;
    if parameters.tag == SEQUENCE {
        return Some(format!(
            "its curve is given by parameters, not by name; convert it: openssl pkey -ec_param_enc named_curve -in {file} \
             -out NEW.pem"
        ));
    }
    let oid = (parameters.tag == OBJECT_IDENTIFIER).then_some(parameters.content)?;
    match der::dotted(oid).as_str() {
        der::P256 | der::P384 => {
            // SEC 1, C.4: the public key is [1], a string of bits.
            let public = DerReader::new(key).enter(SEQUENCE)?.find(|element| element.tag == 0xa1);
            match public.map(|public| DerReader::new(public.content).content(BIT_STRING)) {
                None => Some(format!("its public half is left out; add it: openssl ec -in {file} -out NEW.pem")),
                Some(Some([0, 2 | 3, ..])) => Some(format!(
                    "its public half is compressed; convert it: openssl ec -conv_form uncompressed -in {file} -out NEW.pem"
                )),
                _ => None,
            }
        }
        der::P521 => Some(
            "it is a key on the curve P-521, which ring does not have; turn on the cargo feature \"aws-lc-rs\" and use \
             Crypto::AwsLcRs, or make a key on P-256 or P-384"
                .to_owned(),
        ),
        _ => Some(format!(
            "it is a key on the curve {}, which is not supported; make a key on P-256, and a certificate for it: openssl \
             genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEW.pem",
            der::name(oid)
        )),
    }
}

/// Whether the key of a certificate is this public key; `None` when there is no way to know.
pub(super) fn belong_together(certificate: &[u8], key: &[u8]) -> Option<bool> {
    let shown = der::Certificate::read(certificate)?.key;
    let key = PublicKey::read(key)?;
    if shown.bits == key.bits || compressed(key.bits).is_some_and(|short| shown.bits == short) {
        return Some(true);
    }
    // A key that is written in a way unknown here may still be the same.
    let kind = der::dotted(shown.algorithm);
    let is_point = |bits: &[u8]| matches!(bits.first(), Some(2..=4));
    match kind.as_str() {
        der::RSA | der::RSA_PSS | der::ED25519 => Some(false),
        der::EC if is_point(shown.bits) => Some(false),
        _ if shown.algorithm != key.algorithm => Some(false),
        _ => None,
    }
}

/// A point on a curve in the short form (SEC 1, section 2.3.3).
fn compressed(point: &[u8]) -> Option<Vec<u8>> {
    let (_, coordinates) = point.split_first()?;
    let (x, y) = coordinates.split_at(coordinates.len() / 2);
    let mut short = vec![2 + (y.last()? & 1)];
    short.extend_from_slice(x);
    Some(short)
}

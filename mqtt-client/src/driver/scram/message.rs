//! The messages of SCRAM (RFC 5802 §7): what the server sends is taken apart, and names are escaped.

use crate::driver::scram::error::{ScramError, ScramPart};
use data_encoding::BASE64;

pub(super) const MIN_ITERATIONS: u32 = 4096;
pub(super) const MAX_ITERATIONS: u32 = 1_000_000;

/// The longest error of a server that is shown. RFC 5802 has none over 33 characters.
const MAX_ERROR: usize = 64;

/// The server's first message: `r=nonce,s=salt,i=iterations`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerFirst<'a> {
    /// The client's nonce, and the server's behind it.
    pub(super) nonce: &'a str,
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
}

impl<'a> ServerFirst<'a> {
    /// Takes it apart, as the answer to this nonce of the client.
    pub(super) fn parse(text: &'a str, own_nonce: &str) -> Result<Self, ScramError> {
        let mut parts = text.split(',');
        if let Some(error) = error(text) {
            return Err(error);
        }
        let mut part = |prefix, kind| {
            let part = parts.next().and_then(|part| part.strip_prefix(prefix));
            part.ok_or(ScramError::Malformed(kind))
        };
        let nonce: &str = part("r=", ScramPart::Nonce)?;
        let salt = part("s=", ScramPart::Salt)?;
        let iterations = part("i=", ScramPart::IterationCount)?;
        // Everything printable in ASCII but a comma, which has ended it.
        if !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ScramError::Malformed(ScramPart::Nonce));
        }
        if nonce.len() <= own_nonce.len() || !nonce.starts_with(own_nonce) {
            return Err(ScramError::WrongNonce);
        }
        let salt = BASE64
            .decode(salt.as_bytes())
            .ok()
            .filter(|salt| !salt.is_empty())
            .ok_or(ScramError::Malformed(ScramPart::Salt))?;
        let iterations = iteration_count(iterations)?;
        extensions(parts)?;
        Ok(Self {
            nonce,
            salt,
            iterations,
        })
    }
}

/// The signature of the server's final message: `v=signature`.
pub(super) fn signature(text: &str) -> Result<Vec<u8>, ScramError> {
    if let Some(error) = error(text) {
        return Err(error);
    }
    let mut parts = text.split(',');
    let signature = parts
        .next()
        .and_then(|part| part.strip_prefix("v="))
        .and_then(|signature| BASE64.decode(signature.as_bytes()).ok())
        .ok_or(ScramError::Malformed(ScramPart::Signature))?;
    extensions(parts)?;
    Ok(signature)
}

/// A user name as it is in a message: a comma and an equals sign are escaped.
pub(super) fn escape(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

fn iteration_count(text: &str) -> Result<u32, ScramError> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || text.is_empty() || text.starts_with('0') {
        return Err(ScramError::Malformed(ScramPart::IterationCount));
    }
    match text.parse().unwrap_or(u32::MAX) {
        count if count < MIN_ITERATIONS => Err(ScramError::TooFewIterations(count)),
        count if count > MAX_ITERATIONS => Err(ScramError::TooManyIterations(count)),
        count => Ok(count),
    }
}

/// Optional extensions are a letter and a value each, and are ignored.
fn extensions<'a>(mut parts: impl Iterator<Item = &'a str>) -> Result<(), ScramError> {
    let is_extension = |part: &str| {
        let mut chars = part.chars();
        chars
            .next()
            .is_some_and(|letter| letter.is_ascii_alphabetic())
            && chars.next() == Some('=')
            && chars.next().is_some()
    };
    if parts.all(is_extension) {
        Ok(())
    } else {
        Err(ScramError::Malformed(ScramPart::Extension))
    }
}

/// What the message says instead of what it is expected to: an extension that the client must know,
/// wherever that is, or the server's error.
fn error(text: &str) -> Option<ScramError> {
    let mut parts = text.split(',');
    if parts.clone().any(|part| part.starts_with("m=")) {
        return Some(ScramError::MandatoryExtension);
    }
    let value = parts.next()?.strip_prefix("e=")?;
    Some(rejected(value))
}

/// The server's error, which is shown to people.
fn rejected(value: &str) -> ScramError {
    let is_shown = (1..=MAX_ERROR).contains(&value.len())
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_shown {
        ScramError::Rejected(value.to_owned())
    } else {
        ScramError::Malformed(ScramPart::Error)
    }
}

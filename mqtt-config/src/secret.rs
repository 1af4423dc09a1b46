//! Secrets and URIs, whose secret parts are not shown.

use crate::error::{PathStep, SettingsError, SettingsErrorKind};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Replaces a secret that is not shown. A file that contains it was printed by us, and lacks the
/// secret.
pub(crate) const HIDDEN: &str = "***";

/// No key, password or token is larger.
const MAX_FILE_SIZE: u64 = 64 * 1024;

/// A secret, or the place where it is found; it is never shown. In a file `password: text`,
/// `password: {env: NAME}` or `password: {file: path}`. It is looked up when the
/// [builder](crate::Settings::builder) is made.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Secret {
    /// The secret itself, as text.
    Text(String),
    /// The secret itself, as bytes that are not text; `!!binary` in a YAML file.
    Bytes(Vec<u8>),
    /// The environment variable of this name holds it.
    Env(String),
    /// This file holds it, at most 64 KiB. One line break at its end is not part of it, nor is a
    /// byte order mark at its beginning; UTF-16 is rejected.
    File(PathBuf),
}

impl Secret {
    /// Looks it up; `path` is the key that asks for it.
    pub(crate) fn look_up(
        &self,
        path: impl IntoIterator<Item: Into<PathStep>>,
    ) -> Result<Vec<u8>, SettingsError> {
        let found = match self {
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::Env(name) => match std::env::var(name) {
                Ok(text) => Ok(text.into_bytes()),
                Err(std::env::VarError::NotPresent) => {
                    Err("the environment variable that is named here is not set".to_owned())
                }
                Err(std::env::VarError::NotUnicode(_)) => {
                    Err("the environment variable that is named here is not UTF-8".to_owned())
                }
            },
            Self::File(file) => read(file),
        };
        found.map_err(|text| SettingsError::new(path, SettingsErrorKind::Secret(text)))
    }

    pub(crate) fn is_hidden(&self) -> bool {
        matches!(self, Self::Text(text) if text == HIDDEN)
    }
}

/// The name of the file may be the secret itself, written in the wrong place; the errors do not
/// quote it.
fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read the file that is named here: {error}"))?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(format!(
            "the file that is named here is larger than {MAX_FILE_SIZE} bytes"
        ));
    }
    if is_utf16(&bytes) {
        return Err(
            "the file that is named here is UTF-16, not UTF-8; save it as UTF-8".to_owned(),
        );
    }
    let content = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    Ok(content.strip_suffix(b"\r").unwrap_or(content).to_vec())
}

/// What editors of Windows put in front of UTF-8.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether it begins with a byte order mark of UTF-16 and is UTF-16.
pub(crate) fn is_utf16(bytes: &[u8]) -> bool {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return false,
    };
    let pairs = bytes.chunks_exact(2);
    pairs.remainder().is_empty()
        && char::decode_utf16(pairs.map(|pair| unit([pair[0], pair[1]]))).all(|c| c.is_ok())
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(|error| Self::Bytes(error.into_bytes()), Self::Text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) | Self::Bytes(_) => f.write_str(HIDDEN),
            Self::Env(name) => write!(f, "env {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// A URI as it was written; it may hold a password or a token, which are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Uri(String);

impl Uri {
    /// Returns it as it was written, secrets included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.0.contains(":***@") || self.0.ends_with("?***")
    }
}

impl From<&str> for Uri {
    fn from(uri: &str) -> Self {
        Self(uri.to_owned())
    }
}

impl From<String> for Uri {
    fn from(uri: String) -> Self {
        Self(uri)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// Without the password and what follows a question mark.
impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.find(['?', '#']).unwrap_or(self.0.len());
        let (place, behind) = self.0.split_at(end);
        // The URI may be broken in any way: whatever stands before the last `@` is taken for
        // credentials. One behind a question mark is part of a query, or ends a password that has
        // such a mark in it: then the first name is all that is surely no secret.
        if behind.contains('@') {
            let (scheme, rest) = place.split_once("://").unwrap_or(("", place));
            let name = rest.split([':', '@', '/']).next().unwrap_or_default();
            return match scheme {
                "" => write!(f, "{HIDDEN}?{HIDDEN}"),
                _ => write!(f, "{scheme}://{name}?{HIDDEN}"),
            };
        }
        let (credentials, server) = match place.rsplit_once('@') {
            Some((credentials, server)) => (Some(credentials), server),
            None => (None, place),
        };
        if let Some(credentials) = credentials {
            let (scheme, user) = credentials.split_once("://").unwrap_or(("", credentials));
            let separator = if scheme.is_empty() { "" } else { "://" };
            match user.split_once(':') {
                Some((user, "")) => write!(f, "{scheme}{separator}{user}:@")?,
                Some((user, _)) => write!(f, "{scheme}{separator}{user}:{HIDDEN}@")?,
                None if scheme.is_empty() => write!(f, "{HIDDEN}@")?,
                None => write!(f, "{scheme}{separator}{user}@")?,
            }
        }
        match behind {
            "" => f.write_str(server),
            _ => write!(f, "{server}?{HIDDEN}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_shows_all_but_its_secrets() {
        let table = [
            ("mqtt://h", "mqtt://h"),
            ("mqtt://h:1883", "mqtt://h:1883"),
            ("mqtt://[::1]:1883/", "mqtt://[::1]:1883/"),
            ("mqtt://u@h", "mqtt://u@h"),
            ("mqtt://u:@h", "mqtt://u:@h"),
            ("mqtt://u:canary@h:1", "mqtt://u:***@h:1"),
            ("mqtt://:canary@h", "mqtt://:***@h"),
            (
                "wss://u:can:ary@h/a?token=canary#canary",
                "wss://u:***@h/a?***",
            ),
            ("wss://h/a#canary", "wss://h/a?***"),
            // The query was taken for credentials, and shown where it had an `@` in it.
            ("wss://h/a?user=canary@canary&token=canary", "wss://h?***"),
            (
                "wss://h:443/a?user=canary@canary&token=canary",
                "wss://h?***",
            ),
            ("wss://u:canary@h:443/a?user=canary@canary", "wss://u?***"),
            // Broken ones.
            ("mqtt://u:canary/canary@h", "mqtt://u:***@h"),
            ("mqtt://u:canary?canary#canary@canary@h", "mqtt://u?***"),
            ("u:canary?canary@h", "***?***"),
            ("mqtt:u:canary@h", "mqtt:***@h"),
            ("canary@h", "***@h"),
            ("h", "h"),
            ("", ""),
        ];
        for (uri, shown) in table {
            let uri = Uri::from(uri);
            assert_eq!(
                (uri.to_string(), format!("{uri:?}")),
                (shown.to_owned(), format!("{shown:?}"))
            );
        }
    }

    #[test]
    fn a_secret_is_looked_up_where_it_is() {
        assert_eq!(
            Secret::from("a\n").look_up(["password"]),
            Ok(b"a\n".to_vec())
        );
        assert_eq!(
            Secret::Bytes(vec![0xff]).look_up(["password"]),
            Ok(vec![0xff])
        );
        let error = Secret::Env("MARTLET_NOT_SET".into())
            .look_up(["martlet", "password"])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "martlet.password: the environment variable that is named here is not set"
        );
        // Set by cargo for every test.
        let version = Secret::Env("CARGO_PKG_VERSION".into())
            .look_up(["file"])
            .unwrap();
        assert_eq!(version, env!("CARGO_PKG_VERSION").as_bytes());
        let manifest = Secret::File(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into())
            .look_up(["file"])
            .unwrap();
        assert!(manifest.starts_with(b"[package]") && !manifest.ends_with(b"\n"));
        let missing = Secret::File("/no/such/file".into())
            .look_up(["file"])
            .unwrap_err()
            .to_string();
        assert!(
            missing.starts_with("file: cannot read the file that is named here: "),
            "{missing}"
        );
        let endless = Secret::File("/dev/zero".into())
            .look_up(["file"])
            .unwrap_err()
            .to_string();
        assert_eq!(
            endless,
            "file: the file that is named here is larger than 65536 bytes"
        );
    }

    /// A password whose last characters were blanks never worked: all white space at the end was
    /// cut. Only what an editor puts in a file by itself is not part of the secret.
    #[test]
    fn of_a_secret_file_one_line_break_and_a_byte_order_mark_are_cut() {
        let path = std::env::temp_dir().join(format!("martlet-secret-{}", std::process::id()));
        let looked_up = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            Secret::File(path.clone()).look_up(["password"])
        };
        let table: [(&[u8], &[u8]); 12] = [
            (b"secret", b"secret"),
            (b"secret\n", b"secret"),
            (b"secret\r\n", b"secret"),
            (b"secret\n\n", b"secret\n"),
            (b"secret\r\n\r\n", b"secret\r\n"),
            (b"secret  \t\n", b"secret  \t"),
            (b"secret ", b"secret "),
            (b" \n", b" "),
            (b"\n", b""),
            (b"\xef\xbb\xbfsecret\n", b"secret"),
            (b"secret\xef\xbb\xbf", b"secret\xef\xbb\xbf"),
            // Bytes that are no text are a secret too, also where they begin like UTF-16.
            (b"\xff\xfe\x00\xdc\x01", b"\xff\xfe\x00\xdc\x01"),
        ];
        for (content, secret) in table {
            assert_eq!(looked_up(content), Ok(secret.to_vec()), "{content:?}");
        }
        for utf16 in [&b"\xff\xfes\0e\0c\0"[..], b"\xfe\xff\0s\0e\0c"] {
            let error = looked_up(utf16).unwrap_err().to_string();
            assert_eq!(
                error,
                "password: the file that is named here is UTF-16, not UTF-8; save it as UTF-8"
            );
        }
        std::fs::remove_file(&path).unwrap();
    }
}

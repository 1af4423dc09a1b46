//! Texts that are not shown.

use super::error::{SettingsError, SettingsErrorKind};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// Stands for what is not shown. A file with it was printed by us, and lacks the secret.
pub(super) const HIDDEN: &str = "***";

/// No key, password or token is larger.
const MAX_FILE_SIZE: u64 = 64 * 1024;

/// A text that is never shown: written out, or where it is found. In a file `password: text`, `password: {env: NAME}`
/// or `password: {file: path}`. It is looked up when the [builder](super::Settings::builder) is made.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The text itself.
    Text(String),
    /// The environment variable of this name holds it.
    Env(String),
    /// This file holds it, at most 64 KiB; one line break at its end is not part of it.
    File(PathBuf),
}

impl Secret {
    /// Looks it up; `path` is the key that asks for it.
    pub(super) fn look_up<const N: usize>(&self, path: [&str; N]) -> Result<Vec<u8>, SettingsError> {
        let fail = |text: String| SettingsError::new(path, SettingsErrorKind::Secret(text));
        match self {
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::Env(name) => match std::env::var(name) {
                Ok(text) => Ok(text.into_bytes()),
                Err(std::env::VarError::NotPresent) => {
                    Err(fail(format!("the environment variable {name} is not set")))
                }
                Err(std::env::VarError::NotUnicode(_)) => {
                    Err(fail(format!("the environment variable {name} is not UTF-8")))
                }
            },
            Self::File(file) => {
                let mut bytes = Vec::new();
                File::open(file)
                    .and_then(|opened| opened.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes))
                    .map_err(|error| fail(format!("cannot read {}: {error}", file.display())))?;
                if bytes.len() as u64 > MAX_FILE_SIZE {
                    return Err(fail(format!("{} is larger than {MAX_FILE_SIZE} bytes", file.display())));
                }
                let content = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                Ok(content.strip_suffix(b"\r").unwrap_or(content).to_vec())
            }
        }
    }

    pub(super) fn is_hidden(&self) -> bool {
        matches!(self, Self::Text(text) if text == HIDDEN)
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
            Self::Text(_) => f.write_str(HIDDEN),
            Self::Env(name) => write!(f, "env {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// A URI as it was written; it may hold a password or a token, which are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Uri(String);

impl Uri {
    /// As it was written, secrets included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_hidden(&self) -> bool {
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
        // The URI may be broken in any way: whatever stands before the last `@` is taken for credentials.
        let (credentials, server) = match self.0.rsplit_once('@') {
            Some((credentials, server)) => (Some(credentials), server),
            None => (None, self.0.as_str()),
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
        match server.split_once(['?', '#']) {
            Some((server, _)) => write!(f, "{server}?{HIDDEN}"),
            None => f.write_str(server),
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
            ("wss://u:can:ary@h/a?token=canary#canary", "wss://u:***@h/a?***"),
            ("wss://h/a#canary", "wss://h/a?***"),
            // Broken ones.
            ("mqtt://u:canary/canary@h", "mqtt://u:***@h"),
            ("mqtt://u:canary?canary#canary@canary@h", "mqtt://u:***@h"),
            ("mqtt:u:canary@h", "mqtt:***@h"),
            ("canary@h", "***@h"),
            ("h", "h"),
            ("", ""),
        ];
        for (uri, shown) in table {
            let uri = Uri::from(uri);
            assert_eq!((uri.to_string(), format!("{uri:?}")), (shown.to_owned(), format!("{shown:?}")));
        }
    }

    #[test]
    fn a_secret_is_looked_up_where_it_is() {
        assert_eq!(Secret::from("a\n").look_up(["password"]), Ok(b"a\n".to_vec()));
        let error = Secret::Env("MARTLET_NOT_SET".into()).look_up(["martlet", "password"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "martlet.password: the environment variable MARTLET_NOT_SET is not set"
        );
        // Set by cargo for every test.
        let version = Secret::Env("CARGO_PKG_VERSION".into()).look_up(["x"]).unwrap();
        assert_eq!(version, env!("CARGO_PKG_VERSION").as_bytes());
        let manifest =
            Secret::File(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into()).look_up(["x"]).unwrap();
        assert!(manifest.starts_with(b"[package]") && !manifest.ends_with(b"\n"));
        let missing = Secret::File("/no/such/file".into()).look_up(["x"]).unwrap_err().to_string();
        assert!(missing.starts_with("x: cannot read /no/such/file: "), "{missing}");
        let endless = Secret::File("/dev/zero".into()).look_up(["x"]).unwrap_err().to_string();
        assert_eq!(endless, "x: /dev/zero is larger than 65536 bytes");
    }
}

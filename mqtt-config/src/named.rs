//! Errors about the files that a configuration names, without their names: a secret may stand where
//! the name of a file should. The key is named instead.

#[cfg(feature = "tls")]
use crate::Settings;
use crate::error::{SettingsError, SettingsErrorKind as Kind};
#[cfg(feature = "redb")]
use martlet_client::store::StoreError;
#[cfg(feature = "tls")]
use martlet_client::{
    ConnectError,
    transport::{PemSource, TrustError},
};
use std::path::Path;
#[cfg(feature = "tls")]
use std::path::PathBuf;

const FILE: &str = "the file that is named here";

/// Why the file of `martlet.store` cannot be opened.
#[cfg(feature = "redb")]
pub(crate) fn store_error(path: &Path, error: &StoreError) -> SettingsError {
    let text = without(path, FILE, error.to_string());
    SettingsError::new(["martlet", "store"], Kind::Value(text))
}

/// A text in which this path is called something else.
fn without(path: &Path, name: &str, text: String) -> String {
    match path.display().to_string() {
        path if path.is_empty() => text,
        path => text.replace(&path, name),
    }
}

#[cfg(feature = "tls")]
impl Settings {
    /// What is wrong with what TLS is to trust or to show.
    pub(crate) fn without_values(&self, error: ConnectError) -> ConnectError {
        let ConnectError::Trust(mut error) = error else {
            return error;
        };
        let key = match &mut error {
            TrustError::ServerName(_) => {
                let text = "it is neither a host name nor an address".to_owned();
                return SettingsError::new(["martlet", "server_name"], Kind::Value(text)).into();
            }
            TrustError::Unreadable { path, .. } => {
                self.rename(path, &["cafile", "capath", "certfile", "keyfile"])
            }
            TrustError::BadCertificate { source_name, .. } => {
                self.rename_source(source_name, &["cafile", "capath"])
            }
            TrustError::NoCertificate { source_name, .. }
            | TrustError::BadPem { source_name, .. } => {
                self.rename_source(source_name, &["cafile", "capath", "certfile", "keyfile"])
            }
            TrustError::BadKey {
                source_name,
                reason,
            } => {
                if let PemSource::Path(path) = source_name {
                    // The command that helps has it.
                    *reason = without(path, "FILE", std::mem::take(reason));
                }
                self.rename_source(source_name, &["keyfile"])
            }
            TrustError::NoKey { source_name, .. }
            | TrustError::EncryptedKeysOff { source_name }
            | TrustError::KeyPasswordMissing { source_name }
            | TrustError::KeyPasswordWrong { source_name } => {
                self.rename_source(source_name, &["keyfile"])
            }
            TrustError::KeyMismatch { certificate, key } => {
                *certificate = PemSource::Path("the file of connection.certfile".into());
                self.rename_source(key, &["keyfile"])
            }
            _ => return error.into(),
        };
        SettingsError::new(["connection", key], Kind::Value(error.to_string())).into()
    }

    fn rename_source(&self, source: &mut PemSource, keys: &[&'static str]) -> &'static str {
        match source {
            PemSource::Path(path) => self.rename(path, keys),
            _ => "cadata",
        }
    }

    /// Takes the path out of an error. Returns which of these keys names it.
    fn rename(&self, path: &mut PathBuf, keys: &[&'static str]) -> &'static str {
        let connection = &self.connection;
        for &key in keys {
            let named = match key {
                "cafile" => &connection.cafile,
                "capath" => &connection.capath,
                "certfile" => &connection.certfile,
                _ => &connection.keyfile,
            };
            let Some(rest) = named
                .as_deref()
                .and_then(|named| path.strip_prefix(named).ok())
            else {
                continue;
            };
            let name = match (key, rest.as_os_str().is_empty()) {
                ("capath", true) => "the directory that is named here".to_owned(),
                ("capath", false) => {
                    format!("{} in the directory that is named here", rest.display())
                }
                (_, true) => FILE.to_owned(),
                (_, false) => continue,
            };
            *path = name.into();
            return key;
        }
        *path = FILE.into();
        keys[0]
    }
}

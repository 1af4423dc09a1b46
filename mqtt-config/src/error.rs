//! The errors of a configuration, with their place.

use martlet_client::ConnectError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with a configuration, and where.
///
/// Of the file it quotes the names of our own keys and nothing else: a secret may stand anywhere by
/// mistake, as a value, a key, a tag or the name of a file. What is wrong is found by its line and
/// column.
#[derive(Clone, PartialEq, Eq)]
pub struct SettingsError(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    file: Option<PathBuf>,
    at: Option<Position>,
    path: Vec<PathStep>,
    kind: SettingsErrorKind,
}

/// One step from a value into it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum PathStep {
    /// A key of ours.
    Key(&'static str),
    /// A key that the file chose: a topic, the name of a header, one that does not exist. It is
    /// kept to find its place, and not shown.
    Named(String),
    Item(usize),
}

/// Every key that a configuration can have. No other is quoted.
const KEYS: &[&str] = &[
    "keep_alive",
    "ping_delay",
    "default_qos",
    "default_retain",
    "auto_reconnect",
    "connection_timeout",
    "reconnect_retries",
    "reconnect_max_interval",
    "cleansession",
    "topics",
    "connection",
    "broker",
    "plugins",
    "check_hostname",
    "verify_cert",
    "will",
    "martlet",
    "qos",
    "retain",
    "topic",
    "message",
    "uri",
    "cafile",
    "capath",
    "cadata",
    "certfile",
    "keyfile",
    "version",
    "retry_first",
    "client_identifier",
    "user_name",
    "password",
    "servers",
    "proxy",
    "headers",
    "key_password",
    "server_name",
    "alpn",
    "max_in_flight",
    "max_in_flight_3x",
    "queue",
    "inbound",
    "maximum_packet_size",
    "publish_timeout",
    "request_timeout",
    "ping_timeout",
    "session_expiry_interval",
    "store",
    "subscriptions",
    "messages",
    "bytes",
    "when_full",
    "qos0_offline",
    "receive_maximum",
    "soft_messages",
    "soft_bytes",
    "hard_messages",
    "hard_bytes",
    "excess",
    "qos0_when_full",
    "env",
    "file",
];

/// The key itself if it is one of ours.
pub(crate) fn own_key(key: &str) -> Option<&'static str> {
    KEYS.iter().find(|own| **own == key).copied()
}

impl PathStep {
    /// Whether it leads to this key.
    #[cfg(feature = "yaml")]
    pub(crate) fn is_key(&self, wanted: &str) -> bool {
        match self {
            Self::Key(key) => *key == wanted,
            Self::Named(key) => key == wanted,
            Self::Item(_) => false,
        }
    }
}

impl From<&str> for PathStep {
    fn from(key: &str) -> Self {
        own_key(key).map_or_else(|| Self::Named(key.to_owned()), Self::Key)
    }
}

impl From<usize> for PathStep {
    fn from(item: usize) -> Self {
        Self::Item(item)
    }
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character of the line, from 1.
    pub column: usize,
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsErrorKind {
    /// The file cannot be read: it does not exist, is a folder, or access is denied.
    #[error("cannot read it: {text}")]
    Unreadable {
        /// The kind of the operating system's error.
        kind: io::ErrorKind,
        /// The text of the operating system's error.
        text: String,
    },
    /// The file is too large.
    #[error("it is larger than the {limit} bytes that a configuration may have")]
    TooLarge {
        /// The largest size, in bytes.
        limit: usize,
    },
    /// The file is not text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// The file is text of another encoding, as editors of Windows may write it.
    #[error("it is UTF-16, not UTF-8; save it as UTF-8")]
    Utf16,
    /// The file is empty.
    #[error("there is no configuration in it")]
    Empty,
    /// The text is not YAML.
    #[error("not YAML: {0}")]
    Syntax(String),
    /// YAML that no configuration needs: tags, deep nesting, aliases that make it huge.
    #[error("{0}")]
    Excess(&'static str),
    /// A key that does not exist.
    #[error("there is no such key{}", hint(suggestion.as_deref(), known))]
    UnknownKey {
        /// The key that was meant, most likely.
        suggestion: Option<String>,
        /// The keys that exist.
        known: Vec<&'static str>,
    },
    /// A word that does not exist.
    #[error("there is no such word{}", hint(suggestion.as_deref(), known))]
    UnknownWord {
        /// The word that was meant, most likely.
        suggestion: Option<String>,
        /// The words that exist.
        known: Vec<&'static str>,
    },
    /// A key that stands there twice, under another name perhaps. It is named if it is one of ours.
    #[error("{} is given twice", .0.map_or_else(|| "a key".to_owned(), |key| format!("{key:?}")))]
    DuplicateKey(Option<&'static str>),
    /// A required key is missing.
    #[error("{0:?} is missing")]
    MissingKey(&'static str),
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// The type that was expected.
        expected: String,
        /// The type that was found.
        found: &'static str,
    },
    /// A value that cannot be.
    #[error("{0}")]
    Value(String),
    /// A setting contradicts another one.
    #[error("{0}")]
    Conflict(String),
    /// The file was printed without its secrets.
    #[error("the secret was left out when this was printed; put it in again")]
    Hidden,
    /// A secret could not be looked up.
    #[error("{0}")]
    Secret(String),
}

impl SettingsErrorKind {
    /// Whether it is the key that is wrong, and not its value.
    pub(crate) fn is_about_the_key(&self) -> bool {
        matches!(self, Self::UnknownKey { .. } | Self::DuplicateKey(_))
    }
}

fn hint(suggestion: Option<&str>, known: &[&str]) -> String {
    match suggestion {
        Some(suggestion) => format!("; did you mean {suggestion:?}?"),
        None if known.is_empty() => "; there is none".to_owned(),
        None => format!("; there is {}", known.join(", ")),
    }
}

impl SettingsError {
    pub(crate) fn new(
        path: impl IntoIterator<Item: Into<PathStep>>,
        kind: SettingsErrorKind,
    ) -> Self {
        Self(Box::new(Inner {
            file: None,
            at: None,
            path: path.into_iter().map(Into::into).collect(),
            kind,
        }))
    }

    #[cfg(feature = "yaml")]
    pub(crate) fn at(mut self, at: Option<Position>) -> Self {
        self.0.at = at;
        self
    }

    #[cfg(feature = "yaml")]
    pub(crate) fn steps(&self) -> &[PathStep] {
        &self.0.path
    }

    /// Forgets what its path was for.
    #[cfg(feature = "yaml")]
    pub(crate) fn without_names(mut self) -> Self {
        for step in &mut self.0.path {
            if let PathStep::Named(name) = step {
                name.clear();
            }
        }
        self
    }

    #[cfg(feature = "yaml")]
    pub(crate) fn in_file(mut self, file: &Path) -> Self {
        self.0.file = Some(file.to_owned());
        self
    }

    /// Returns the file, if the configuration was read from one.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// Returns the line and column, if the configuration was read from text.
    pub fn position(&self) -> Option<Position> {
        self.0.at
    }

    /// The key that is wrong, with those around it, such as `connection.uri` or
    /// `martlet.servers[1]`; empty for the whole. `*` stands for a key that the file chose, such as
    /// a topic.
    pub fn path(&self) -> String {
        Self::join(&self.0.path)
    }

    fn join(steps: &[PathStep]) -> String {
        let mut path = String::new();
        for step in steps {
            match step {
                PathStep::Item(item) => path += &format!("[{item}]"),
                PathStep::Key(_) | PathStep::Named(_) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path += if let PathStep::Key(key) = step {
                        key
                    } else {
                        "*"
                    };
                }
            }
        }
        path
    }

    /// What is wrong.
    pub fn kind(&self) -> &SettingsErrorKind {
        &self.0.kind
    }
}

impl fmt::Debug for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingsError")
            .field("file", &self.0.file)
            .field("at", &self.0.at)
            .field("path", &self.path())
            .field("kind", &self.0.kind)
            .finish()
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.0.file {
            write!(f, "{}:", file.display())?;
        }
        if let Some(Position { line, column }) = self.0.at {
            write!(f, "{line}:{column}:")?;
        }
        if self.0.file.is_some() || self.0.at.is_some() {
            f.write_str(" ")?;
        }
        // The message already names this key.
        let outer = match self.0.path.as_slice() {
            [outer @ .., _] if self.0.kind.is_about_the_key() => outer,
            all => all,
        };
        if !outer.is_empty() {
            write!(f, "{}: ", Self::join(outer))?;
        }
        self.0.kind.fmt(f)
    }
}

impl std::error::Error for SettingsError {}

impl From<SettingsError> for ConnectError {
    fn from(error: SettingsError) -> Self {
        Self::settings(error)
    }
}

/// For callers who only report errors.
impl From<SettingsError> for martlet_client::Error {
    fn from(error: SettingsError) -> Self {
        Self::other(error)
    }
}

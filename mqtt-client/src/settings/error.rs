//! What can be wrong with a configuration, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with a configuration, and where. It never holds a value of the configuration, which may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SettingsError(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    file: Option<PathBuf>,
    at: Option<Position>,
    path: Vec<Step>,
    kind: SettingsErrorKind,
}

/// One step from a value into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Item(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
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
    /// The file cannot be read: it is not there, or a folder, or one may not.
    #[error("cannot read it: {text}")]
    Unreadable {
        /// The kind of the operating system's error.
        kind: io::ErrorKind,
        /// Its words.
        text: String,
    },
    /// The file is too large.
    #[error("it is larger than the {limit} bytes that a configuration may have")]
    TooLarge {
        /// What would be read, in bytes.
        limit: usize,
    },
    /// The file is not text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// There is nothing in it.
    #[error("there is no configuration in it")]
    Empty,
    /// It is not YAML.
    #[error("not YAML: {0}")]
    Syntax(String),
    /// YAML that no configuration needs: tags, deep nesting, aliases that make it huge.
    #[error("{0}")]
    Excess(&'static str),
    /// A key that does not exist.
    #[error("there is no key {key:?}{}", hint(suggestion.as_deref(), known))]
    UnknownKey {
        /// The key.
        key: String,
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
    /// A key that stands there twice, under another name perhaps.
    #[error("{0:?} is given twice")]
    DuplicateKey(String),
    /// A key that must be there.
    #[error("{0:?} is missing")]
    MissingKey(&'static str),
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// The type that should be there.
        expected: String,
        /// The type that is there.
        found: &'static str,
    },
    /// A value that cannot be.
    #[error("{0}")]
    Value(String),
    /// It does not go together with another setting.
    #[error("{0}")]
    Conflict(String),
    /// It was printed without its secrets.
    #[error("the secret was left out when this was printed; put it in again")]
    Hidden,
    /// A secret is not where it should be.
    #[error("{0}")]
    Secret(String),
}

impl SettingsErrorKind {
    /// Whether it is the key that is wrong, and not its value.
    pub(super) fn is_about_the_key(&self) -> bool {
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
    pub(super) fn new(path: impl IntoIterator<Item: Into<Step>>, kind: SettingsErrorKind) -> Self {
        Self(Box::new(Inner { file: None, at: None, path: path.into_iter().map(Into::into).collect(), kind }))
    }

    #[cfg(feature = "yaml")]
    pub(super) fn at(mut self, at: Option<Position>) -> Self {
        self.0.at = at;
        self
    }

    #[cfg(feature = "yaml")]
    pub(super) fn steps(&self) -> &[Step] {
        &self.0.path
    }

    #[cfg(feature = "yaml")]
    pub(super) fn in_file(mut self, file: &Path) -> Self {
        self.0.file = Some(file.to_owned());
        self
    }

    /// The file, if it was one.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// Where in the text it is, if it was text.
    pub fn position(&self) -> Option<Position> {
        self.0.at
    }

    /// The key that is wrong, with those around it, such as `connection.uri` or `martlet.servers[1]`; empty for the
    /// whole.
    pub fn path(&self) -> String {
        Self::join(&self.0.path)
    }

    fn join(steps: &[Step]) -> String {
        let mut path = String::new();
        for step in steps {
            match step {
                Step::Item(item) => path += &format!("[{item}]"),
                Step::Key(key) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    let is_plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                    path += &if is_plain { key.clone() } else { format!("{key:?}") };
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
        // A key that is told of need not be told again.
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

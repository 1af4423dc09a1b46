//! Where PEM data comes from, and reading it.

use super::error::{PemSource, TrustError};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// PEM data in a file or in memory.
#[derive(Clone)]
pub(super) enum Pem {
    File(PathBuf),
    Memory(Vec<u8>),
}

impl Pem {
    pub(super) fn source(&self) -> PemSource {
        match self {
            Self::File(path) => PemSource::Path(path.clone()),
            Self::Memory(_) => PemSource::Memory,
        }
    }

    pub(super) fn read(&self) -> Result<Vec<u8>, TrustError> {
        match self {
            Self::File(path) => fs::read(path).map_err(|error| unreadable(path, &error)),
            Self::Memory(pem) => Ok(pem.clone()),
        }
    }
}

pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> TrustError {
    TrustError::Unreadable {
        path: path.to_owned(),
        kind: error.kind(),
        reason: error.to_string(),
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Memory(_) => f.write_str("in memory"),
        }
    }
}

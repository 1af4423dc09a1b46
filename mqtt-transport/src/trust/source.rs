//! Where PEM data comes from, and reading it.

use super::error::{PemSource, TrustError};
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
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
            Self::File(path) => read_file(path),
            Self::Memory(pem) => Ok(pem.clone()),
        }
    }
}

/// Reads a file of certificates or keys. One that does not end, such as a device, costs bounded memory.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, TrustError> {
    const MOST: u64 = 16 * 1024 * 1024;
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes));
    match read {
        Ok(length) if length as u64 > MOST => {
            let text = "it has more than 16 MiB, so it is no file of certificates or keys";
            Err(unreadable(
                path,
                &io::Error::new(ErrorKind::FileTooLarge, text),
            ))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(unreadable(path, &error)),
    }
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> TrustError {
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

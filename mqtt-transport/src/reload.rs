//! Certificates that change while the process lives, as with cert-manager, step-ca or SPIFFE.

use crate::trust::{TlsConfig, Trust, TrustError};
use std::fs::{self, Metadata};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// A [`Trust`] whose files may change: it knows what they were when they were read, and reads them
/// again when they are something else. The certificate authorities of the operating system are only
/// read again together with a file.
///
/// Reading blocks for as long as the files take, and decrypting an encrypted key takes tens to
/// hundreds of milliseconds of the processor. The client's driver does both on the thread that
/// polls it, before an attempt to connect for which a file has changed.
///
/// ```no_run
/// use martlet_transport::{Trust, TrustFiles};
///
/// let mut files = TrustFiles::new(Trust::new().certificate_file("sensor-7.pem").key_file("sensor-7.key"));
/// // Before each attempt to connect:
/// if let Err(error) = files.refresh() {
///     eprintln!("the old certificate stays in use: {error}");
/// }
/// let config = files.config().clone()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TrustFiles {
    trust: Trust,
    stamps: Vec<Option<Stamp>>,
    config: Result<TlsConfig, TrustError>,
    /// What was read last was of no use: it is read again whether or not it has changed.
    failed: bool,
}

/// What tells a file from another of the same name. A file that was replaced within the clock's
/// resolution, by one of the same length, still is another file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    identity: FileIdentity,
}

#[cfg(unix)]
type FileIdentity = (u64, u64, i64, i64);
#[cfg(not(unix))]
type FileIdentity = ();

impl TrustFiles {
    /// Reads the files, as [`Trust::build`] does.
    pub fn new(trust: Trust) -> Self {
        // Before the files are read: a change in between is found later.
        let stamps = stamps(&trust);
        let config = trust.build();
        Self {
            trust,
            stamps,
            failed: config.is_err(),
            config,
        }
    }

    /// The configuration that is in use, or why there was never one.
    pub fn config(&self) -> &Result<TlsConfig, TrustError> {
        &self.config
    }

    /// Reads the files again if they have changed since they were last read, or if they were of no
    /// use then. Returns whether there is another [`config`](Self::config) now. Looking costs a
    /// system call for each file.
    ///
    /// # Errors
    /// [`TrustError`] when they cannot be used; the configuration that was in use stays so.
    pub fn refresh(&mut self) -> Result<bool, TrustError> {
        let stamps = stamps(&self.trust);
        if !self.failed && stamps == self.stamps {
            return Ok(false);
        }
        self.stamps = stamps;
        let built = self.trust.build();
        self.failed = built.is_err();
        match built {
            Ok(config) => self.config = Ok(config),
            Err(error) => {
                if self.config.is_err() {
                    self.config = Err(error.clone());
                }
                return Err(error);
            }
        }
        Ok(true)
    }
}

/// The same configuration, not only an equal one.
impl PartialEq for TlsConfig {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.server_name == other.server_name
    }
}

impl Eq for TlsConfig {}

fn stamps(trust: &Trust) -> Vec<Option<Stamp>> {
    let mut stamps = Vec::new();
    for path in trust.paths() {
        stamps.push(stamp(path));
        let Ok(entries) = fs::read_dir(path) else {
            continue;
        };
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        stamps.extend(files.iter().map(|file| stamp(file)));
    }
    stamps
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        modified: metadata.modified().ok(),
        length: metadata.len(),
        identity: identity(&metadata),
    })
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> FileIdentity {
    use std::os::unix::fs::MetadataExt;
    (
        metadata.dev(),
        metadata.ino(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    )
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> FileIdentity {}

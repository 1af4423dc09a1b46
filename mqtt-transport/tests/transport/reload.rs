//! Files that change while the process lives.

use crate::pair::{Ca, world};
use martlet_transport::{Trust, TrustError, TrustFiles};
use std::fs;
use std::path::{Path, PathBuf};

fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// With cert-manager, step-ca or SPIFFE certificates live for hours: a process that had read its
/// own at the start was rejected from then on.
#[test]
fn files_are_read_again_when_they_have_changed() {
    let folder = folder("reload");
    let file = folder.join("ca.pem");
    fs::write(&file, world().ca.pem()).unwrap();
    let mut files = TrustFiles::new(Trust::new().ca_file(&file));
    let first = files.config().clone().unwrap();
    assert_eq!(files.refresh(), Ok(false));
    assert_eq!(files.config().as_ref(), Ok(&first), "nothing has changed");

    // As they are replaced: written beside, and moved there.
    fs::write(folder.join("new"), Ca::new("Other").pem()).unwrap();
    fs::rename(folder.join("new"), &file).unwrap();
    assert_eq!(files.refresh(), Ok(true));
    let second = files.config().clone().unwrap();
    assert_ne!(first, second);
    assert_eq!(files.refresh(), Ok(false));

    // Half of it is there: the old one stays, until it is whole.
    fs::write(&file, "-----BEGIN CERTIFICATE-----\n").unwrap();
    for _ in 0..2 {
        assert!(files.refresh().is_err());
        assert_eq!(files.config().as_ref(), Ok(&second));
    }
    fs::remove_file(&file).unwrap();
    assert!(matches!(
        files.refresh(),
        Err(TrustError::Unreadable { .. })
    ));
    fs::write(&file, world().ca.pem()).unwrap();
    assert_eq!(files.refresh(), Ok(true));
    assert_eq!(files.refresh(), Ok(false));
}

/// A file in the directory of authorities changes, or comes to it.
#[test]
fn a_directory_is_read_again_when_anything_in_it_has_changed() {
    let folder = folder("reload-directory");
    fs::write(folder.join("one.pem"), world().ca.pem()).unwrap();
    let mut files = TrustFiles::new(Trust::new().ca_directory(&folder));
    assert_eq!(files.refresh(), Ok(false));
    fs::write(folder.join("two.pem"), Ca::new("Other").pem()).unwrap();
    assert_eq!(files.refresh(), Ok(true));
    fs::write(folder.join("one.pem"), Ca::new("Third").pem()).unwrap();
    assert_eq!(files.refresh(), Ok(true));
    assert_eq!(files.refresh(), Ok(false));
}

/// Where there was nothing to read yet, a later attempt finds it.
#[test]
fn what_was_not_there_at_first_is_found_later() {
    let folder = folder("reload-late");
    let file = folder.join("ca.pem");
    let mut files = TrustFiles::new(Trust::new().ca_file(&file));
    assert!(files.config().is_err() && files.refresh().is_err());
    fs::write(&file, world().ca.pem()).unwrap();
    assert_eq!(files.refresh(), Ok(true));
    assert!(files.config().is_ok());
}

//! The store in a file, when the file is damaged, large, or half made.

use crate::store::survive_kills;
use bytes::Bytes;
use martlet_client::store::{RecordKey, RedbStore, Store, StoreError, StoreErrorKind, StoreOp};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// A folder of this name that is empty, in memory where the system has such a place: these tests
/// would spend their time with waiting for the disk.
fn folder(name: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() {
        memory
    } else {
        Path::new(env!("CARGO_TARGET_TMPDIR"))
    };
    let folder = base.join(format!("martlet-redb-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    folder
}

/// A file of this name that is not there yet.
fn file(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.redb"));
    if path.exists() {
        std::fs::remove_file(&path).unwrap();
    }
    path
}

fn key(n: u64) -> RecordKey {
    let mut bytes = [2; RecordKey::LEN];
    bytes[1..].copy_from_slice(&n.to_be_bytes());
    RecordKey::from_bytes(bytes)
}

fn put(n: u64, size: usize) -> StoreOp {
    StoreOp::Put {
        key: key(n),
        value: Bytes::from(vec![n as u8; size]),
    }
}

fn delete(n: u64) -> StoreOp {
    StoreOp::Delete { key: key(n) }
}

/// Numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

type Records = BTreeMap<RecordKey, Bytes>;

/// Two files with what may be found in them: one that was closed, and one whose process was killed.
fn files(folder: &Path) -> [(Vec<u8>, Vec<Records>); 2] {
    let path = folder.join("whole");
    let mut store = RedbStore::open(&path).unwrap();
    let mut states = Vec::new();
    // Some commits, and something deleted, so that there are free pages and a branch.
    for n in 0..4u64 {
        let mut operations: Vec<_> = (n * 100..n * 100 + 100).map(|n| put(n, 60)).collect();
        operations.extend((n * 100..n * 100 + 30).map(delete));
        store.commit(&operations).unwrap();
        states.push(store.load().unwrap().into_iter().collect::<Records>());
    }
    let killed = std::fs::read(&path).unwrap();
    drop(store);
    let closed = std::fs::read(&path).unwrap();
    let last = states.last().unwrap().clone();
    // A commit that looks as if a crash had cut it off is taken back: only one.
    [(closed, vec![last]), (killed, states.split_off(2))]
}

/// Opens, reads, writes, reads again and closes.
fn use_store(path: &Path) -> Result<Records, StoreError> {
    let mut store = RedbStore::open(path)?;
    let records = store.load()?;
    store.commit(&[put(1_000, 100), delete(350)])?;
    store.load()?;
    Ok(records.into_iter().collect())
}

/// A power failure or a failing disk left a file that was too short, or with other bits in it. redb
/// asserts then: the process died at every start, until somebody found the file and deleted it.
#[test]
fn a_damaged_file_is_an_error_and_never_a_panic() {
    let folder = folder("damaged");
    let path = folder.join("damaged");
    // The default hook writes a page for each.
    std::panic::set_hook(Box::new(|_| {}));
    let mut random = Random(9);
    let (mut corrupt, mut unharmed) = (0, 0);
    for (whole, states) in files(&folder) {
        for round in 0..150 {
            let mut bytes = whole.clone();
            let length = bytes.len() as u64;
            let what = match round % 4 {
                0 => {
                    bytes.truncate(random.below(length) as usize);
                    format!("cut to {}", bytes.len())
                }
                // The header, its two commit slots, and the first pages; then anywhere.
                n => {
                    let place = random.below(if n == 1 {
                        320
                    } else if n == 2 {
                        64 << 10
                    } else {
                        length
                    });
                    let bit = random.below(8);
                    bytes[place as usize] ^= 1 << bit;
                    format!("bit {bit} of byte {place}")
                }
            };
            std::fs::write(&path, &bytes).unwrap();
            let used = catch_unwind(AssertUnwindSafe(|| use_store(&path)));
            let Ok(used) = used else {
                panic!("round {round}, {what}: it panicked")
            };
            match used {
                Ok(records) => {
                    unharmed += 1;
                    assert!(
                        states.contains(&records),
                        "round {round}, {what}: other records"
                    );
                }
                Err(error) => {
                    corrupt += 1;
                    assert_eq!(
                        error.kind(),
                        StoreErrorKind::Corrupt,
                        "round {round}, {what}: {error}"
                    );
                    assert!(error.to_string().contains("damaged"), "{error}");
                    assert!(path.exists(), "round {round}, {what}: nothing is deleted");
                }
            }
        }
    }
    let _ = std::panic::take_hook();
    assert!(
        corrupt > 80 && unharmed > 30,
        "{corrupt} corrupt, {unharmed} unharmed"
    );
    std::fs::remove_dir_all(folder).unwrap();
}

/// A power failure left a file of no bytes, which became a new store: the outbox was lost without a
/// word.
#[test]
fn an_empty_file_is_damaged_and_not_a_new_store() {
    let folder = folder("empty");
    let path = folder.join("outbox");
    std::fs::write(&path, b"").unwrap();
    let error = RedbStore::open(&path).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    let text = error.to_string();
    assert!(
        text.contains("it is empty") && text.contains("move it away"),
        "{text}"
    );
    assert_eq!(
        std::fs::metadata(&path).unwrap().len(),
        0,
        "nothing is repaired"
    );
    std::fs::remove_file(&path).unwrap();
    assert!(RedbStore::open(&path).unwrap().load().unwrap().is_empty());
    std::fs::remove_dir_all(folder).unwrap();
}

/// A week without a network made a file of a gigabyte, which kept its size for ever after.
#[test]
fn the_file_of_an_acknowledged_outbox_shrinks() {
    let folder = folder("large");
    let path = folder.join("outbox");
    let size = || std::fs::metadata(&path).unwrap().len();
    let fill = |store: &mut RedbStore| {
        for n in 0..20 {
            store.commit(&[put(n, 1 << 20)]).unwrap();
        }
    };
    // While the process runs.
    let mut store = RedbStore::open(&path).unwrap();
    store.load().unwrap();
    store.commit(&[put(100, 10)]).unwrap();
    fill(&mut store);
    assert!(size() > 20 << 20);
    store
        .commit(&(0..20).map(delete).collect::<Vec<_>>())
        .unwrap();
    assert!(size() < 4 << 20, "{} bytes", size());
    assert_eq!(store.load().unwrap().len(), 1);
    // What is closed before, when it is opened.
    fill(&mut store);
    drop(store);
    let mut store = RedbStore::open(&path).unwrap();
    // It has not read the file: it does not know how much is left.
    store
        .commit(&(0..20).map(delete).collect::<Vec<_>>())
        .unwrap();
    assert!(size() > 20 << 20);
    drop(store);
    let mut store = RedbStore::open(&path).unwrap();
    assert_eq!(store.load().unwrap().len(), 1);
    assert!(size() < 4 << 20, "{} bytes", size());
    store.commit(&[put(101, 10)]).unwrap();
    drop(store);
    assert_eq!(RedbStore::open(&path).unwrap().load().unwrap().len(), 2);
    std::fs::remove_dir_all(folder).unwrap();
}

/// A process that was killed while it made its store left a file that could never be opened. It
/// gets its name when it is whole.
#[test]
fn a_file_has_its_name_when_it_is_whole() {
    let folder = folder("made");
    let path = folder.join("outbox");
    let store = RedbStore::open(&path).unwrap();
    let names = || {
        std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(), ["outbox"]);
    assert_eq!(
        RedbStore::open(&path).unwrap_err().kind(),
        StoreErrorKind::Locked
    );
    drop(store);
    // Many at once: one has it.
    let path = folder.join("raced");
    let opened = std::thread::scope(|scope| {
        let openers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| RedbStore::open(&path)))
            .collect();
        openers
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    let errors = opened
        .iter()
        .filter_map(|result| result.as_ref().err())
        .map(StoreError::kind);
    assert!(
        errors.clone().all(|kind| kind == StoreErrorKind::Locked),
        "{opened:?}"
    );
    assert_eq!(errors.count(), 7);
    drop(opened);
    assert_eq!(names().len(), 2, "{:?}", names());
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn what_was_accepted_survives_kills_in_a_file() {
    let path = file("kills");
    survive_kills(|| Box::new(RedbStore::open(&path).unwrap())).await;
}

#[test]
fn a_file_says_why_it_cannot_be_opened() {
    let path = file("locked");
    let _open = RedbStore::open(&path).unwrap();
    let error = RedbStore::open(&path).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Locked);
    assert!(
        error
            .to_string()
            .contains("locked.redb: another client has it open"),
        "{error}"
    );

    let path = file("garbage");
    std::fs::write(
        &path,
        b"this is not a database, but long enough to be looked at",
    )
    .unwrap();
    assert_eq!(
        RedbStore::open(&path).unwrap_err().kind(),
        StoreErrorKind::Corrupt
    );

    let path = file("missing").join("no folder");
    assert_eq!(
        RedbStore::open(&path).unwrap_err().kind(),
        StoreErrorKind::Io
    );
}

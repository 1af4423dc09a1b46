//! A store in a file, with [redb](https://docs.rs/redb): one file, no C, a commit is atomic and on
//! the disk.
//!
//! redb asserts where a file is damaged. Every call of it goes through [`guarded`], so that a panic
//! becomes an error; the database is dropped while that panic unwinds, because redb writes nothing
//! then.

use super::Store;
use bytes::Bytes;
use martlet_session::{RecordKey, StoreError, StoreErrorKind, StoreOp};
use redb::{
    CommitError, CompactionError, Database, DatabaseError, ReadableTable, StorageError,
    TableDefinition, TableError, TransactionError,
};
use std::any::Any;
use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

const TABLE: TableDefinition<'static, [u8; RecordKey::LEN], &[u8]> =
    TableDefinition::new("martlet");

/// A file of at least this size is compacted when it holds far less than that.
const COMPACT_FROM: u64 = 8 * 1024 * 1024;

/// A file is compacted when it is this many times as large as the records in it.
const COMPACT_RATIO: u64 = 16;

/// A store in a file. One process has it open at a time.
///
/// # Size
/// The file grows with what waits in it. A file of 8 MiB or more is compacted when it is 16 times
/// as large as the records in it: when it is opened, and after the commit that settles them.
///
/// # Examples
/// ```no_run
/// # use martlet_client::{Client, session::StoreError, store::RedbStore};
/// let store = RedbStore::open("outbox.redb")?;
/// let builder = Client::builder("mqtt://broker.example").client_identifier("meter-7").store(store);
/// # Ok::<(), StoreError>(())
/// ```
///
/// # A damaged file
/// A file that was cut short, be it to nothing, or in which bits have changed, gives an error of
/// the kind [`Corrupt`](StoreErrorKind::Corrupt): from [`open`](Self::open), when it is read, or as
/// [`ClientEvent::StoreFailed`](crate::ClientEvent::StoreFailed) when a commit finds the damage.
/// The checksums of the whole file are verified when it is opened. Nothing is deleted and nothing
/// is repaired by guessing. To go on:
///
/// 1. Keep a copy of the file, or restore it from a backup. A backup that is older than the last
///    run may deliver messages again that were acknowledged since.
/// 2. Without a backup, move the file away and start again: the client begins with an empty
///    session. Messages that were accepted and not acknowledged are lost with the file.
/// 3. Look for the cause: a disk that fails, a file that was copied while a client had it open, a
///    file system that does not keep its promises about `fsync`.
///
/// redb reports damage by a panic, which is caught here. The process's panic hook still prints it,
/// and a program that is compiled with `panic = "abort"` ends instead.
#[derive(Debug)]
pub struct RedbStore {
    path: PathBuf,
    /// `None` after a failure: the file is opened anew.
    database: Option<Database>,
    /// The bytes of the records in it, once it was read; `None` after compacting has failed.
    held: Option<u64>,
    /// A smaller file is not compacted.
    compact_from: u64,
}

impl RedbStore {
    /// Opens the file at this path and verifies it, or makes it; its folder must exist. A file that
    /// a crash has left is repaired. Blocks.
    ///
    /// # Errors
    /// [`StoreError`]: `Locked` when another process, or another store of this one, has it open;
    /// `Corrupt` when it is not such a file or is [damaged](Self#a-damaged-file); `Io` or `Full`
    /// otherwise.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let mut store = Self {
            path: path.as_ref().to_owned(),
            database: None,
            held: None,
            compact_from: COMPACT_FROM,
        };
        store.with_database(|_| Ok(()))?;
        Ok(store)
    }

    /// Works with the database, which is opened if it is not open. After an error it is closed:
    /// redb rejects everything then until it is opened again.
    fn with_database<T>(
        &mut self,
        work: impl FnOnce(&mut Database) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let (path, database) = (&self.path, self.database.take());
        let done = guarded(|| {
            let mut database = database.map_or_else(|| open(path), Ok)?;
            match work(&mut database) {
                Ok(value) => Ok((database, value)),
                // Closing a database writes to it; while a panic unwinds it does not.
                Err(failure)
                    if failure.kind == StoreErrorKind::Corrupt && cfg!(panic = "unwind") =>
                {
                    resume_unwind(Box::new(failure))
                }
                Err(failure) => Err(failure),
            }
        });
        match done {
            Ok((database, value)) => {
                self.database = Some(database);
                Ok(value)
            }
            Err(failure) => Err(failure.at(&self.path)),
        }
    }

    fn size(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// Gives the file system back what acknowledged messages have left, if that is much. It is
    /// worth no error: without it the file is larger than it could be.
    fn compact(&mut self) {
        let Some(held) = self.held else { return };
        if self.size() < self.compact_from.max(held.saturating_mul(COMPACT_RATIO)) {
            return;
        }
        match self.with_database(|database| Ok(database.compact().map(drop)?)) {
            // Not again for what could not be made smaller.
            Ok(()) => self.compact_from = COMPACT_FROM.max(2 * self.size()),
            Err(_) => self.held = None,
        }
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        let database = self.database.take();
        // There is nobody to report it to. What is committed is on the disk.
        let _ = guarded(|| {
            drop(database);
            Ok(())
        });
    }
}

/// Runs what calls redb, and makes an error of a panic.
fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    // Whatever a panic leaves half done is dropped with it, the database among it.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(match panic.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(panic) => Failure::panicked(&*panic),
        })
    })
}

/// Opens the file and verifies it.
fn open(path: &Path) -> Result<Database, Failure> {
    if !path.try_exists().unwrap_or(true) {
        return make(path);
    }
    // `make` names no such file, and redb would begin a new store in it.
    if std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0) {
        return Err(Failure::new(StoreErrorKind::Corrupt, &"it is empty"));
    }
    let repaired = Rc::new(Cell::new(false));
    let noted = Rc::clone(&repaired);
    let mut builder = Database::builder();
    // A repair verifies all checksums. It takes the state before a commit that a crash has cut off.
    builder.set_repair_callback(move |_| noted.set(true));
    let mut database = builder.create(path)?;
    if !repaired.get() {
        database.check_integrity()?;
    }
    Ok(database)
}

/// Makes the file. It gets its name when it is whole: a crash leaves none, rather than one that
/// cannot be opened.
fn make(path: &Path) -> Result<Database, Failure> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(
        ".{}-{}.new",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    ));
    let unfinished = path.with_file_name(name);
    // Left behind by an earlier process of the same number.
    let _ = std::fs::remove_file(&unfinished);
    let database = Database::create(&unfinished)?;
    let named = match std::fs::hard_link(&unfinished, path) {
        Ok(()) => std::fs::remove_file(&unfinished),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Another process was faster.
            drop(database);
            let _ = std::fs::remove_file(&unfinished);
            return open(path);
        }
        // A file system without links.
        Err(_) => std::fs::rename(&unfinished, path),
    };
    named.map_err(StorageError::Io)?;
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        // So that its name outlasts a crash of the machine. Some file systems cannot.
        let _ = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(database)
}

impl Store for RedbStore {
    fn load(&mut self) -> Result<Vec<(RecordKey, Bytes)>, StoreError> {
        let records = self.with_database(|database| load(database))?;
        self.held = Some(
            records
                .iter()
                .map(|(_, value)| size_of_record(value.len()))
                .sum(),
        );
        self.compact();
        Ok(records)
    }

    fn commit(&mut self, operations: &[StoreOp]) -> Result<(), StoreError> {
        let (added, removed) = self.with_database(|database| commit(database, operations))?;
        self.held = self.held.map(|held| (held + added).saturating_sub(removed));
        if removed > 0 {
            self.compact();
        }
        Ok(())
    }
}

/// What a record with a value of this length counts for.
fn size_of_record(value: usize) -> u64 {
    (RecordKey::LEN + value) as u64
}

fn load(database: &Database) -> Result<Vec<(RecordKey, Bytes)>, Failure> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(TABLE) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        table => table?,
    };
    let mut records = Vec::new();
    for record in table.iter()? {
        let (key, value) = record?;
        records.push((
            RecordKey::from_bytes(key.value()),
            Bytes::copy_from_slice(value.value()),
        ));
    }
    Ok(records)
}

/// Does all of it. Returns how many bytes of records were added and removed.
fn commit(database: &Database, operations: &[StoreOp]) -> Result<(u64, u64), Failure> {
    let transaction = database.begin_write()?;
    let (mut added, mut removed) = (0, 0);
    {
        let mut table = transaction.open_table(TABLE)?;
        for operation in operations {
            let before = match operation {
                StoreOp::Put { key, value } => {
                    added += size_of_record(value.len());
                    table.insert(key.to_bytes(), &value[..])?
                }
                StoreOp::Delete { key } => table.remove(key.to_bytes())?,
            };
            removed += before.map_or(0, |before| size_of_record(before.value().len()));
        }
    }
    transaction.commit()?;
    Ok((added, removed))
}

/// An error of redb's as one of ours.
struct Failure {
    kind: StoreErrorKind,
    text: String,
    cause: Option<io::Error>,
}

impl Failure {
    fn new(kind: StoreErrorKind, error: &impl std::fmt::Display) -> Self {
        Self {
            kind,
            text: error.to_string(),
            cause: None,
        }
    }

    fn of_system(kind: StoreErrorKind, error: io::Error) -> Self {
        Self {
            kind,
            text: "cannot be read or written".to_owned(),
            cause: Some(error),
        }
    }

    /// redb asserts where a file is damaged.
    fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        // It may have several lines, and end with what a developer of redb looks for.
        let line = text
            .and_then(|text| text.lines().next())
            .unwrap_or("the database has panicked");
        Self::new(StoreErrorKind::Corrupt, &line)
    }

    fn at(self, path: &Path) -> StoreError {
        let Self { kind, text, cause } = self;
        let mut text = text.trim_end_matches('.').to_owned();
        if let Some(first) = text.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        let advice = match kind {
            StoreErrorKind::Corrupt => {
                "damaged, or not a store of Martlet's; restore it from a backup, or move it away to begin \
                 with an empty session: "
            }
            _ => "",
        };
        let error = StoreError::new(kind, format!("{}: {advice}{text}", path.display()));
        match cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupted(_) => Self::new(StoreErrorKind::Corrupt, &error),
            StorageError::Io(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Self::of_system(StoreErrorKind::Full, error)
                }
                // What redb says of a file that is none of its own.
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                    Self::new(StoreErrorKind::Corrupt, &error)
                }
                _ => Self::of_system(StoreErrorKind::Io, error),
            },
            error => Self::new(StoreErrorKind::Io, &error),
        }
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::new(
                StoreErrorKind::Locked,
                &"another client has it open; give each a file of its own",
            ),
            DatabaseError::Storage(error) => error.into(),
            error => Self::new(StoreErrorKind::Corrupt, &error),
        }
    }
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            error => Self::new(StoreErrorKind::Corrupt, &error),
        }
    }
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            error => Self::new(StoreErrorKind::Io, &error),
        }
    }
}

impl From<CompactionError> for Failure {
    fn from(error: CompactionError) -> Self {
        match error {
            CompactionError::Storage(error) => error.into(),
            error => Self::new(StoreErrorKind::Io, &error),
        }
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            error => Self::new(StoreErrorKind::Io, &error),
        }
    }
}

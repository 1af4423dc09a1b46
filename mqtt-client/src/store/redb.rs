//! A store in a file, with [redb](https://docs.rs/redb): one file, no C, a commit is atomic and on the disk.

use super::Store;
use bytes::Bytes;
use martlet_session::{RecordKey, StoreError, StoreErrorKind, StoreOp};
use redb::{
    CommitError, Database, DatabaseError, ReadableTable, StorageError, TableDefinition, TableError,
    TransactionError,
};
use std::io;
use std::path::{Path, PathBuf};

const TABLE: TableDefinition<'static, [u8; RecordKey::LEN], &[u8]> = TableDefinition::new("martlet");

/// A store in a file. One process has it open at a time.
#[derive(Debug)]
pub struct RedbStore {
    path: PathBuf,
    /// `None` after a failure: the file is opened anew.
    database: Option<Database>,
}

impl RedbStore {
    /// Opens the file at this path, or makes it; its folder must be there. A file that a crash has left is repaired.
    /// Blocks.
    ///
    /// # Errors
    /// [`StoreError`]: `Locked` when another process, or another store of this one, has it open; `Corrupt` when it is
    /// not such a file or is damaged; `Io` or `Full` otherwise.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let database = Some(open(&path)?);
        Ok(Self { path, database })
    }

    fn database(&mut self) -> Result<&Database, StoreError> {
        if self.database.is_none() {
            self.database = Some(open(&self.path)?);
        }
        Ok(self.database.as_ref().expect("it was opened"))
    }
}

fn open(path: &Path) -> Result<Database, StoreError> {
    Database::create(path).map_err(|error| Failure::from(error).at(path))
}

impl Store for RedbStore {
    fn load(&mut self) -> Result<Vec<(RecordKey, Bytes)>, StoreError> {
        let path = self.path.clone();
        load(self.database()?).map_err(|failure| failure.at(&path))
    }

    fn commit(&mut self, operations: &[StoreOp]) -> Result<(), StoreError> {
        let path = self.path.clone();
        let done = commit(self.database()?, operations).map_err(|failure| failure.at(&path));
        if done.is_err() {
            // After an error of the disk a database refuses everything until it is opened again.
            self.database = None;
        }
        done
    }
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
        records.push((RecordKey::from_bytes(key.value()), Bytes::copy_from_slice(value.value())));
    }
    Ok(records)
}

fn commit(database: &Database, operations: &[StoreOp]) -> Result<(), Failure> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(TABLE)?;
        for operation in operations {
            match operation {
                StoreOp::Put { key, value } => drop(table.insert(key.to_bytes(), &value[..])?),
                StoreOp::Delete { key } => drop(table.remove(key.to_bytes())?),
            }
        }
    }
    Ok(transaction.commit()?)
}

/// An error of redb's as one of ours.
struct Failure {
    kind: StoreErrorKind,
    text: String,
}

impl Failure {
    fn new(kind: StoreErrorKind, error: &impl std::fmt::Display) -> Self {
        Self { kind, text: error.to_string() }
    }

    fn at(self, path: &Path) -> StoreError {
        let Self { kind, text } = self;
        let mut text = text.trim_end_matches('.').to_owned();
        if let Some(first) = text.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        StoreError::new(kind, format!("{}: {text}", path.display()))
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        let kind = match &error {
            StorageError::Corrupted(_) => StoreErrorKind::Corrupt,
            StorageError::Io(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
                // What redb says of a file that is none of its own.
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => StoreErrorKind::Corrupt,
                _ => StoreErrorKind::Io,
            },
            _ => StoreErrorKind::Io,
        };
        Self::new(kind, &error)
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => {
                Self::new(StoreErrorKind::Locked, &"another client has it open; give each a file of its own")
            }
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

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            error => Self::new(StoreErrorKind::Io, &error),
        }
    }
}

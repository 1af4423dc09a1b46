//! Where a session is kept while no process runs.

mod memory;
#[cfg(feature = "redb")]
mod redb;

#[cfg(feature = "redb")]
pub use self::redb::RedbStore;
pub use memory::MemoryStore;

use bytes::Bytes;
pub use martlet_session::{
    BadRecord, Durable, Quarantined, RecordKey, RestoreError, RestoreErrorKind, StoreError,
    StoreErrorKind, StoreOp, WhenStoreFails,
};

/// A map from keys to values that outlives the process, for one session. It may block: it runs on a
/// thread of its own. How keys and values look is described at [`RecordKey`]; a store need not
/// know.
pub trait Store: Send {
    /// Everything that is in it. Called once, before anything else.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    fn load(&mut self) -> Result<Vec<(RecordKey, Bytes)>, StoreError>;

    /// Does these operations in their order, and returns when they will outlast a crash of the
    /// machine. All that have gathered since the last call come at once: one transaction and one
    /// flush to the disk will do for them.
    ///
    /// # Errors
    /// [`StoreError`] when it could not. Then none of them is there, or a part from the front; the
    /// same operations come again, after a while, until it works.
    fn commit(&mut self, operations: &[StoreOp]) -> Result<(), StoreError>;
}

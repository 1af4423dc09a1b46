//! A store in memory.

use super::Store;
use bytes::Bytes;
use martlet_session::{RecordKey, StoreError, StoreOp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A store in memory. Its clones share what they hold, so that one client can go on where another
/// has stopped, as long as the process lives; and so that a test can look at it.
///
/// ```
/// # use martlet_client::{Client, store::MemoryStore};
/// let store = MemoryStore::new();
/// let builder = Client::builder("mqtt://broker.example").client_identifier("meter-7").store(store.clone());
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<BTreeMap<RecordKey, Bytes>>>);

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it holds.
    pub fn records(&self) -> BTreeMap<RecordKey, Bytes> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Vec<(RecordKey, Bytes)>, StoreError> {
        Ok(self.records().into_iter().collect())
    }

    fn commit(&mut self, operations: &[StoreOp]) -> Result<(), StoreError> {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for operation in operations {
            match operation {
                StoreOp::Put { key, value } => drop(records.insert(*key, value.clone())),
                StoreOp::Delete { key } => drop(records.remove(key)),
            }
        }
        Ok(())
    }
}

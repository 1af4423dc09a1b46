//! What of a durable session outlives the process: the format of its records, the operations on the
//! store and what waits for them, and the way back after a restart. Without the feature `durable` the
//! journal is a type without values, and the rest is not there.

pub(crate) mod context;
#[cfg(feature = "durable")]
pub(crate) mod journal;
#[cfg(not(feature = "durable"))]
#[path = "no_journal.rs"]
pub(crate) mod journal;
#[cfg(feature = "durable")]
pub(crate) mod lag;
#[cfg(feature = "durable")]
pub(crate) mod record;
#[cfg(feature = "durable")]
pub(crate) mod restore;
#[cfg(feature = "durable")]
pub(crate) mod sorting;

//! What of a durable session outlives the process: the format of its records, the operations on the
//! store and what waits for them, and the way back after a restart.

pub(crate) mod journal;
pub(crate) mod lag;
pub(crate) mod record;
pub(crate) mod restore;
pub(crate) mod sorting;

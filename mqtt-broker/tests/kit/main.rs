//! The test kit on real sockets. Each fault is one that its test misses when it does not happen.
//!
//! No test waits for time to pass, but one kind: that nothing comes for a moment. Where it should
//! not come, it never does; only a broken kit depends on the moment.
#![allow(clippy::unwrap_used)]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "clients are threads and sockets"
)]

mod client;
mod faults;
mod life;
mod waits;

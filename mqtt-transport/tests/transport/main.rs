//! The byte stack against servers that are made of the same crates, or of plain bytes; all of it in
//! memory.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod certificates;
mod own_identity;
mod pair;
mod pinned;
mod proxies;
mod reload;
mod stages;
mod tls;
mod trust;
mod web_socket;

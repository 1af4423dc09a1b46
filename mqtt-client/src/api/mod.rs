//! What an application holds: handles, futures and streams.

pub(crate) mod batch;
pub(crate) mod client;
pub(crate) mod events;
pub(crate) mod message;
pub(crate) mod place;
pub(crate) mod position;
pub(crate) mod publish;
pub(crate) mod receipt;
pub(crate) mod request;
pub(crate) mod sending;
#[cfg(feature = "tracing")]
pub(crate) mod spans;
pub(crate) mod state_changes;
pub(crate) mod subscribe;
pub(crate) mod subscription;
pub(crate) mod unsubscribe;

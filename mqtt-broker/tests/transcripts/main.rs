//! Conversations with the broker, as transcripts: what goes in, what comes out.
#![allow(clippy::unwrap_used)]

mod connect;
mod publish;
mod retained;
mod robust;
mod sessions;
mod subscriptions;
mod time;
mod wills;
mod world;

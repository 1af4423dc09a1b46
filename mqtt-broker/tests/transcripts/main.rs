//! Conversations with the broker, as transcripts of what is sent and received.
#![allow(clippy::unwrap_used)]

mod connect;
mod moods;
mod publish;
mod retained;
mod robust;
mod sessions;
mod subscriptions;
mod time;
mod wills;
mod world;

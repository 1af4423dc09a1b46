//! The Martlet MQTT client for microcontrollers: `no_std` with `alloc`, on any executor, over the
//! traits of `embedded-io-async` and a clock that you give it.
//!
//! **What it does.** [`Client`] connects, keeps the connection alive and makes it again, publishes,
//! subscribes and receives at QoS 0, 1 and 2, in MQTT 3.1, 3.1.1 and 5, with every bound and every
//! deadline of [`martlet-session`](session). **What it does not touch.** It opens no socket and
//! spawns nothing: a [`Network`] makes the connections, a [`Timer`] tells the time, and the client
//! does its work while your task waits for one of its futures.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

mod backoff;
mod client;
mod network;

pub use backoff::Backoff;
pub use client::{Client, Message};
#[cfg(feature = "embassy-time")]
pub use network::EmbassyTimer;
pub use network::{Network, Timer};

pub use martlet_proto as proto;
pub use martlet_session as session;

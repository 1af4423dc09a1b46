//! The client. On tokio, against servers that follow a script, in memory and in simulated time, and
//! against the embedded broker over TCP; in an event loop, without a runtime. A module for each
//! family.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing, its parts too"
)]

mod scripted;

mod acknowledge;
mod authenticate;
mod batches;
mod cancel;
mod connect;
mod crashes;
mod disconnect;
mod drops;
mod embedded;
mod events;
#[cfg(all(feature = "ring", feature = "websocket"))]
mod examples;
mod flood;
mod hooks;
mod hostile;
mod keep_alive;
#[cfg(all(feature = "ring", feature = "websocket"))]
mod last_bytes;
mod lasting;
#[cfg(feature = "metrics")]
mod metrics;
mod observer;
mod positions;
mod publish;
mod publish_all;
mod reading;
mod reconnect;
#[cfg(feature = "redb")]
mod redb;
mod request;
mod room;
#[cfg(feature = "scram")]
mod scram;
mod secrets;
mod servers;
#[cfg(all(feature = "ring", feature = "websocket"))]
mod stalled;
mod state;
mod statistics;
mod store;
mod stored;
mod streams;
mod subscribe;
mod system_calls;
mod timeout;
#[cfg(feature = "ring")]
mod tls;
mod unmatched;
mod wishes;
mod withdraw;

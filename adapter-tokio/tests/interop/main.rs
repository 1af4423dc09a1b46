//! The client against brokers and through proxies that others have made.
//!
//! They run where `MARTLET_INTEROP` is set and the peers are installed; those that are heavy, where it is set to `full`. CI
//! does all of that.

#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing, its parts too")]
#[path = "../reference/any_broker.rs"]
mod any_broker;
mod brokers;
#[expect(clippy::unwrap_used, reason = "likewise")]
#[path = "../reference/client.rs"]
mod client;
mod peers;
mod reference;
mod scenarios;
mod transports;

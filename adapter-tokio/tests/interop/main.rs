//! The client against brokers and through proxies that others have made.
//!
//! They run with `--ignored`, and need the peers: CI has them, those that are heavy where it is
//! asked for `full`.

#[expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing, its parts too"
)]
#[path = "../reference/any_broker.rs"]
mod any_broker;
mod brokers;
#[expect(clippy::unwrap_used, reason = "likewise")]
#[path = "../reference/client.rs"]
mod client;
mod flaws;
mod nats;
mod peers;
mod reference;
mod scenarios;
mod transports;

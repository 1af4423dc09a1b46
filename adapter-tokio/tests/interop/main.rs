//! The client against brokers and through proxies that others have made.
//!
//! They run where `MARTLET_INTEROP` is set and the peers are installed; those that are heavy, where it is set to `full`. CI
//! does all of that.

mod brokers;
mod peers;
mod scenarios;
mod transports;

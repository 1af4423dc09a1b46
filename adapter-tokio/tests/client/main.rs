//! The client on tokio: against servers that follow a script, in memory and in simulated time, and against the embedded
//! broker over TCP. A module for each family.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing, its parts too")]

mod scripted;

mod acknowledge;
mod authenticate;
mod cancel;
mod connect;
mod disconnect;
mod drops;
mod events;
mod farewell;
mod hooks;
mod keep_alive;
mod observer;
mod publish;
mod reconnect;
mod request;
mod state;
mod store;
mod streams;
mod subscribe;
mod system_calls;
mod timeout;

//! What the tests of Martlet share: arbitrary inputs and the properties that hold for them, what
//! every adapter must do, the examples as tests, and servers that do what servers must not.
//!
//! Nothing here is published, and nothing that is published depends on it.

pub mod canary;
#[cfg(feature = "server")]
pub mod certificates;
pub mod conformance;
pub mod directory;
#[cfg(feature = "runtimes")]
pub mod examples;
pub mod exhaustive_codec;
pub mod fuzz;
pub mod fuzz_transport;
pub mod linter;
pub mod packets;
#[cfg(feature = "runtimes")]
pub mod runtimes;
#[cfg(feature = "server")]
pub mod server;
pub mod settings;
pub mod sim;
pub mod small_world;
pub mod storm;

//! What the tests of Martlet share: arbitrary inputs and the properties that hold for them, and what every
//! adapter must do.
//!
//! Nothing here is published, and nothing that is published depends on it.

pub mod conformance;
pub mod fuzz;
pub mod linter;
pub mod packets;
#[cfg(feature = "runtimes")]
pub mod runtimes;
pub mod settings;
pub mod sim;

//! The options of every command that connects, and the client that they stand for.

mod authentication;
mod options;
mod plan;
mod property;
mod server;
mod session;

pub(crate) use options::{ConnectionOptions, pause, seconds};
pub(crate) use plan::{Kind, Plan, causes, qos};
pub(crate) use property::{Properties, SEPARATOR};
pub(crate) use session::{Session, lost_with};

//! The settings of durable sessions, where there are none.

/// Has no values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Durable {}

//! What all packets are made of: numbers, strings, topics, errors, and reading and writing them.

pub(crate) mod error;
pub(crate) mod fixed_header;
pub(crate) mod packet_type;
pub(crate) mod property_table;
pub(crate) mod reason;
pub(crate) mod text;
pub(crate) mod topic;
pub(crate) mod version;
pub(crate) mod wire;

//! Reading and writing properties (MQTT 5 §2.2.2).

pub(crate) mod reader;
pub(crate) mod user_properties;
pub(crate) mod writer;

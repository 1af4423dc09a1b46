//! A bridge from MQTT to NATS JetStream and back. The README says what it shows and how to run it.

pub mod cluster;
pub mod names;
pub mod to_jetstream;
pub mod to_mqtt;

/// What ends a bridge. It starts again where it was: nothing was acknowledged that is not on the other side.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

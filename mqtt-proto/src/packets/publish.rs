//! PUBLISH (MQTT 5 §3.3, 3.1.1 §3.3): the packet that must be fast.
//!
//! [`PublishRef`] is a PUBLISH by reference: what a borrowed decode gives, and what is encoded.
//! [`Publish`] is an owned one: a single [`Bytes`] with the packet as it is on the wire, and eight
//! bytes that say where its parts are. [`PublishProperties`] are the properties that travel with a
//! message from end to end, kept as they are on the wire, so that sending them is a copy and
//! cloning them is free.

mod delivery;
mod head;
mod layout;
mod owned;
pub(crate) mod properties;
mod reference;

pub use delivery::Delivery;
pub use head::PublishHead;
pub use owned::Publish;
pub use properties::{
    PropertyScan, PublishProperties, PublishPropertiesBuilder, PublishPropertiesRef,
};
pub use reference::PublishRef;

//! MQTT packets to bytes and back: one set of types for MQTT 3.1, 3.1.1 and 5.
//!
//! **What it does.** [`Packet::decode`] takes bytes from the front of a buffer and gives one whole,
//! checked packet; [`Packet::encode`] appends one. Everything that a specification calls malformed
//! is rejected with an error that names the packet, the place and the reason code to answer with.
//! Topic names and filters are checked when they are made, so what can be constructed can be sent.
//!
//! **What it does not touch.** No sockets, no clock, no state between packets: keep alive,
//! identifiers in use, topic aliases and acknowledgements are `martlet-session`'s.
//!
//! ```
//! use bytes::BytesMut;
//! use martlet_proto::{Delivery, Packet, PublishRef, TopicFilter, TopicName, Version};
//!
//! // Out: a PUBLISH is written by reference, straight into the caller's buffer.
//! let topic = TopicName::new("sensors/1/temp")?;
//! let mut wire = BytesMut::new();
//! PublishRef::new(&topic, b"21.5").with_retain(true).encode(Version::V5, &mut wire)?;
//!
//! // In: `None` means that the packet is not all there yet; nothing was consumed.
//! let mut arrived = BytesMut::from(&wire[..4]);
//! assert!(Packet::decode(&mut arrived, Version::V5, 1024)?.is_none());
//! arrived.extend_from_slice(&wire[4..]);
//! let Some(Packet::Publish(publish)) = Packet::decode(&mut arrived, Version::V5, 1024)? else { panic!() };
//! assert_eq!(publish.topic(), "sensors/1/temp");
//! assert_eq!(publish.payload(), b"21.5");
//! assert_eq!(publish.delivery(), Delivery::AtMostOnce);
//! assert!(TopicFilter::new("sensors/+/temp")?.matches(publish.topic()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Memory: a decoded PUBLISH is one [`bytes::Bytes`] with the packet as it arrived, and eight bytes
//! that say where its parts are; nothing is allocated and nothing copied. [`Packet::decode`] checks
//! a packet's size against the caller's limit as soon as its length is known, before the caller has
//! buffered it.
//!
//! Features: `std` (on by default) implements `std::error::Error` through `bytes` and `thiserror`
//! with `std`. Without it the crate needs `alloc` only. `portable-atomic` is for targets without
//! compare-and-swap.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

// From the ground up: each may use those above it.
mod ground;
mod packet;
mod packets;
mod properties;
mod topic_tree;

pub use ground::error::{DecodeError, DecodeErrorKind, EncodeError, Field};
pub use ground::fixed_header::FixedHeader;
pub use ground::packet_type::{MAX_PACKET_SIZE, MAX_REMAINING_LENGTH, PacketType};
pub use ground::property_table::{PropertyId, SubscriptionIdentifier};
pub use ground::reason::{
    AuthReasonCode, ConnectReasonCode, DisconnectReasonCode, PubAckReasonCode, PubRelReasonCode,
    SubAckReasonCode, UnsubAckReasonCode,
};
pub use ground::text::{BinaryData, TextError, Utf8String};
pub use ground::topic::{TopicError, TopicFilter, TopicName};
pub use ground::version::{QoS, Version};
pub use ground::wire::PacketIdentifier;
pub use packet::Packet;
pub use packets::ack::{Ack, AckProperties, PubAck, PubComp, PubRec, PubRel};
pub use packets::auth::Auth;
pub use packets::connack::{ConnAck, ConnAckProperties};
pub use packets::connect::{Connect, ConnectProperties, Will, WillError};
pub use packets::disconnect::Disconnect;
pub use packets::publish::{
    Delivery, PropertyScan, Publish, PublishHead, PublishProperties, PublishPropertiesBuilder,
    PublishPropertiesRef, PublishRef,
};
pub use packets::subscribe::{
    RetainHandling, SubAck, Subscribe, SubscribeFilter, UnsubAck, Unsubscribe,
};
pub use properties::user_properties::UserProperties;
pub use topic_tree::{Matches, TopicTree};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

//! The front of a PUBLISH: enough to answer, or to name, a message whose payload is not kept.

use super::reference::PublishRef;
use crate::ground::error::{DecodeError, DecodeErrorKind};
use crate::ground::fixed_header::FixedHeader;
use crate::ground::packet_type::PacketType;
use crate::ground::version::Version;

/// A PUBLISH up to its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishHead<'a> {
    /// Everything but the payload, which is empty here.
    pub publish: PublishRef<'a>,
    /// The number of bytes in front of the payload.
    pub head_size: usize,
    /// The size of the whole packet in bytes.
    pub packet_size: usize,
}

impl<'a> PublishHead<'a> {
    /// Reads the head of the PUBLISH at the front of `input`, of which the rest may still be
    /// missing. `Ok(None)` when the head is not all there, or it is another packet. The size of the
    /// packet is not limited.
    ///
    /// # Errors
    /// [`DecodeError`] when the head is malformed.
    pub fn decode(input: &'a [u8], version: Version) -> Result<Option<Self>, DecodeError> {
        let Some(header) = FixedHeader::decode(input, version)? else {
            return Ok(None);
        };
        if header.packet_type != PacketType::Publish {
            return Ok(None);
        }
        let packet_size = header.packet_size();
        let there = &input[..packet_size.min(input.len())];
        match PublishRef::read::<DecodeError>(there, header, version) {
            Ok((publish, layout)) => {
                let publish = PublishRef {
                    payload: &[],
                    ..publish
                };
                Ok(Some(Self {
                    publish,
                    head_size: layout.payload as usize,
                    packet_size,
                }))
            }
            Err(error)
                if there.len() < packet_size
                    && matches!(error.kind(), DecodeErrorKind::Truncated(_)) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::topic::TopicName;
    use crate::ground::wire::PacketIdentifier;
    use crate::packets::publish::{Delivery, PublishProperties};
    use core::num::NonZeroU16;

    #[test]
    fn a_head_is_read_as_soon_as_it_is_there() {
        let topic = TopicName::new("a/b").unwrap();
        let properties = PublishProperties::builder()
            .try_user_property("k", "v")
            .unwrap()
            .message_expiry_interval(7)
            .build();
        let packet_identifier = PacketIdentifier::MIN;
        let delivery = Delivery::ExactlyOnce {
            packet_identifier,
            duplicate: true,
        };
        for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
            let publish = PublishRef::new(&topic, &[7; 300])
                .with_delivery(delivery)
                .with_retain(true);
            let publish = match version {
                Version::V5 => publish
                    .with_properties(&properties)
                    .with_topic_alias(NonZeroU16::MIN),
                _ => publish,
            };
            let mut wire = std::vec::Vec::new();
            publish.encode(version, &mut wire).unwrap();
            let head_size = wire.len() - 300;
            for len in 0..wire.len() {
                let head = PublishHead::decode(&wire[..len], version).unwrap();
                assert_eq!(head.is_some(), len >= head_size, "{len} of {head_size}");
                let Some(head) = head else { continue };
                assert_eq!((head.head_size, head.packet_size), (head_size, wire.len()));
                assert_eq!(
                    (head.publish.topic(), head.publish.delivery()),
                    ("a/b", delivery)
                );
                assert!(head.publish.retain() && head.publish.payload().is_empty());
                assert_eq!(
                    head.publish.properties().topic_alias().is_some(),
                    version.has_properties()
                );
            }
            assert_eq!(PublishRef::readable_topic(&wire), Some("a/b"));
        }
    }

    #[test]
    fn what_is_malformed_in_a_head_is_found() {
        // A packet identifier of 0, and a topic name with a wildcard.
        for (wire, topic) in [
            (&b"\x32\x07\0\x01a\0\0pp"[..], "a"),
            (b"\x30\x08\0\x03a/#ppp", "a/#"),
        ] {
            for len in 0..=wire.len() {
                let head = PublishHead::decode(&wire[..len], Version::V3_1_1);
                assert!(matches!(head, Ok(None) | Err(_)), "{head:?}");
            }
            assert!(PublishHead::decode(wire, Version::V3_1_1).is_err());
            assert_eq!(PublishRef::readable_topic(wire), Some(topic));
        }
        assert_eq!(PublishHead::decode(b"\xd0\0", Version::V5), Ok(None));
        for unreadable in [
            &b""[..],
            b"\x30",
            b"\x30\x05\0",
            b"\x30\x05\0\x09abc",
            b"\x30\x05\0\x02\xff\xff",
            b"\x30\x02\0\0",
        ] {
            assert_eq!(PublishRef::readable_topic(unreadable), None);
        }
    }
}

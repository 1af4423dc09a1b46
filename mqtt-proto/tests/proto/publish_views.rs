//! An owned PUBLISH is its bytes and a few numbers: whatever the sizes of its headers, however it
//! was made, all views of it say the same.

use bytes::BytesMut;
use martlet_proto::*;

/// Payloads for each size of the fixed header; the last two are on either side of five bytes.
const PAYLOADS: [usize; 6] = [0, 100, 200, 20_000, 2_000_000, 2_200_000];

fn deliveries() -> [Delivery; 4] {
    let packet_identifier = PacketIdentifier::new(0x1234).unwrap();
    [
        Delivery::AtMostOnce,
        Delivery::AtLeastOnce {
            packet_identifier,
            duplicate: false,
        },
        Delivery::AtLeastOnce {
            packet_identifier,
            duplicate: true,
        },
        Delivery::ExactlyOnce {
            packet_identifier,
            duplicate: true,
        },
    ]
}

/// Property lengths of one, one, two and three bytes.
fn properties(version: Version) -> Vec<PublishProperties> {
    let value = |len| Utf8String::new("v".repeat(len)).unwrap();
    let name = || Utf8String::from_static("n").unwrap();
    let mut all = vec![PublishProperties::default()];
    if version == Version::V5 {
        all.extend([1, 200, 20_000].map(|len| {
            PublishProperties::builder()
                .payload_is_utf8(true)
                .user_property(name(), value(len))
                .build()
        }));
    }
    all
}

fn says(publish: &Publish, expected: PublishRef<'_>) {
    assert!(publish.as_ref() == expected);
    assert_eq!(
        (publish.delivery(), publish.retain()),
        (expected.delivery(), expected.retain())
    );
    assert_eq!(publish.topic(), expected.topic());
    assert_eq!(publish.topic_name().unwrap().as_str(), expected.topic());
    assert!(
        publish.payload() == expected.payload() && publish.payload_bytes() == expected.payload()
    );
    assert!(publish.properties() == expected.properties());
    assert!(publish.message_properties().as_ref() == expected.properties());
}

#[test]
#[cfg_attr(miri, ignore = "too slow: payloads of megabytes")]
fn all_views_agree() {
    for version in Version::ALL {
        for topic in ["t".to_owned(), "t/".repeat(100), "t".repeat(65_535)] {
            let topic = TopicName::new(topic).unwrap();
            for (payload, properties, delivery) in PAYLOADS
                .iter()
                .flat_map(|&len| properties(version).into_iter().map(move |p| (len, p)))
                .flat_map(|(len, p)| {
                    deliveries().map(|delivery| (vec![b'x'; len], p.clone(), delivery))
                })
            {
                let made = PublishRef::new(&topic, &payload)
                    .with_delivery(delivery)
                    .with_retain(delivery.duplicate())
                    .with_properties(&properties);
                let mut wire = BytesMut::new();
                made.encode(version, &mut wire).unwrap();
                let size = wire.len();

                let mut owned = Publish::from(made);
                says(&owned, made);
                assert_eq!(owned.len(), made.encoded_len(Version::V5));
                owned.detach();
                says(&owned, made);

                let Ok(Some(Packet::Publish(mut decoded))) =
                    Packet::decode(&mut wire, version, MAX_PACKET_SIZE)
                else {
                    panic!("{version}: {} bytes", payload.len());
                };
                says(&decoded, made);
                assert_eq!((decoded.len(), wire.len()), (size, 0));
                decoded.detach();
                says(&decoded, made);
            }
        }
    }
}

/// What MQTT cannot say is kept whole, and rejected when it is to leave.
#[test]
#[cfg_attr(miri, ignore = "too slow: a payload of 256 MiB")]
fn a_message_too_large_for_mqtt_is_kept_as_it_is() {
    let topic = TopicName::from_static("t").unwrap();
    let properties = PublishProperties::builder().payload_is_utf8(true).build();
    let payload = vec![b'x'; MAX_REMAINING_LENGTH as usize];
    let publish = PublishRef::new(&topic, &payload).with_properties(&properties);
    let owned = Publish::from(publish);
    says(&owned, publish);
    let size = MAX_REMAINING_LENGTH as usize + 6;
    let mut out = BytesMut::new();
    assert_eq!(
        Packet::from(owned).encode(Version::V5, &mut out),
        Err(EncodeError::PacketTooLarge { size })
    );
    assert!(out.is_empty());
}

/// One publisher with an empty Response Topic, which a server passed on, cut off every subscriber.
/// It counts as none.
#[test]
fn an_empty_response_topic_is_none() {
    // A topic name "a", and properties: response topic "", user property ("k", "v").
    let wire = b"\x30\x0f\0\x01a\x0a\x08\0\0\x26\0\x01k\0\x01vp";
    let packet = Packet::decode(&mut BytesMut::from(&wire[..]), Version::V5, 100).unwrap();
    let Some(Packet::Publish(publish)) = packet else {
        panic!("{packet:?}")
    };
    assert_eq!(
        (publish.properties().response_topic(), publish.payload()),
        (None, &b"p"[..])
    );
    assert!(publish.properties().scan().has_empty_response_topic);
    assert_eq!(publish.properties().scan().topic_alias, None);
    // What travels on does not have it.
    let properties = publish.message_properties();
    assert_eq!(properties.as_bytes(), b"\x26\0\x01k\0\x01v");
    assert!(!properties.as_ref().scan().has_empty_response_topic);
    // The wills that we make never have one, and one that comes is rejected.
    let connect = b"\x10\x16\0\x04MQTT\x05\x06\0\0\0\0\0\x03\x08\0\0\0\x01a\0\0";
    let rejected = Packet::decode(&mut BytesMut::from(&connect[..]), Version::V5, 100);
    assert!(rejected.is_err(), "{rejected:?}");
}

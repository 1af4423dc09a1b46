//! What belongs to one sending of a message replaces what its properties say, and stands where it
//! always stands: payload format indicator, message expiry interval, topic alias, response topic,
//! correlation data, content type, subscription identifiers, user properties.

use bytes::BytesMut;
use martlet_proto::*;

const ORDER: [u8; 8] = [0x01, 0x02, 0x23, 0x08, 0x09, 0x03, 0x0b, 0x26];

/// One property as it is on the wire; `mark` distinguishes existing properties from edits.
fn property(id: u8, mark: u8) -> Vec<u8> {
    match id {
        0x01 => vec![id, mark & 1],
        0x02 => vec![id, 0, 0, 0, mark],
        0x23 => vec![id, 0, mark],
        0x0b => vec![id, mark],
        0x26 => vec![id, 0, 1, b'a' + mark, 0, 0],
        _ => vec![id, 0, 1, b'a' + mark],
    }
}

fn publish(properties: &[u8]) -> Vec<u8> {
    let mut wire = vec![
        0x30,
        4 + properties.len() as u8,
        0,
        1,
        b't',
        properties.len() as u8,
    ];
    wire.extend_from_slice(properties);
    wire
}

/// Every set of properties, every set of edits.
///
/// An alias set on a message with an expiry of its own was once written before the expiry.
#[test]
fn edits_replace_and_keep_the_order() {
    let identifiers = [SubscriptionIdentifier::new(2).unwrap()];
    for there in 0..=255u8 {
        let has = |i: usize| there >> i & 1 == 1;
        let ids = || ORDER.iter().enumerate();
        let original: Vec<u8> = ids()
            .filter(|(i, _)| has(*i))
            .flat_map(|(_, &id)| property(id, 1))
            .collect();
        let wire = publish(&original);
        let (decoded, _) = PublishRef::decode(&wire, Version::V5, 1000)
            .unwrap()
            .unwrap();
        for edits in 0..8 {
            let mut edited = decoded;
            let mut set = Vec::new();
            if edits & 1 != 0 {
                edited = edited.with_message_expiry_interval(2);
                set.push(0x02);
            }
            if edits & 2 != 0 {
                edited = edited.with_topic_alias(PacketIdentifier::new(2).unwrap());
                set.push(0x23);
            }
            if edits & 4 != 0 {
                edited = edited.with_subscription_identifiers(&identifiers);
                set.push(0x0b);
            }
            let expected: Vec<u8> = ids()
                .filter(|(i, id)| has(*i) || set.contains(id))
                .flat_map(|(_, &id)| property(id, if set.contains(&id) { 2 } else { 1 }))
                .collect();
            let mut out = BytesMut::new();
            edited.encode(Version::V5, &mut out).unwrap();
            assert_eq!(&out[..], publish(&expected), "{there:08b} {edits:03b}");
            assert_eq!(edited.encoded_len(Version::V5), out.len());
            // An owned copy has the edits for good.
            let owned = Publish::from(edited);
            let mut again = BytesMut::new();
            owned.as_ref().encode(Version::V5, &mut again).unwrap();
            assert_eq!(out, again);
        }
    }
}

#[test]
fn properties_of_another_order_are_replaced_too() {
    let original: Vec<u8> = ORDER.iter().rev().flat_map(|&id| property(id, 1)).collect();
    let wire = publish(&original);
    let (decoded, _) = PublishRef::decode(&wire, Version::V5, 1000)
        .unwrap()
        .unwrap();
    let identifiers = [3, 4].map(|n| SubscriptionIdentifier::new(n).unwrap());
    let edited = decoded
        .with_message_expiry_interval(9)
        .with_topic_alias(PacketIdentifier::new(8).unwrap())
        .with_subscription_identifiers(&identifiers);
    let owned = Publish::from(edited);
    let properties = owned.properties();
    assert_eq!(properties.message_expiry_interval(), Some(9));
    assert_eq!(properties.topic_alias(), PacketIdentifier::new(8));
    assert_eq!(
        properties.subscription_identifiers().collect::<Vec<_>>(),
        identifiers
    );
    assert_eq!(properties.response_topic(), Some("b"));
    let mut out = BytesMut::new();
    owned.as_ref().encode(Version::V5, &mut out).unwrap();
    assert!(PublishRef::decode(&out, Version::V5, 1000).is_ok());
}

#[test]
fn an_alias_can_stand_for_the_topic() {
    let topic = TopicName::from_static("a/b").unwrap();
    let publish =
        PublishRef::new(&topic, b"x").with_topic_alias_only(PacketIdentifier::new(1).unwrap());
    let mut out = BytesMut::new();
    publish.encode(Version::V5, &mut out).unwrap();
    assert_eq!(&out[..], b"\x30\x07\x00\x00\x03\x23\x00\x01x");
    let (decoded, size) = PublishRef::decode(&out, Version::V5, 100).unwrap().unwrap();
    assert_eq!((decoded.topic(), size), ("", out.len()));
    assert_eq!(Publish::from(decoded).topic_name(), None);
}

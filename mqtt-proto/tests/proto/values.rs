//! What applications make and read: strings, topics, the parts of a message. Each is what it was
//! made from.

use bytes::{Bytes, BytesMut};
use martlet_proto::*;
use std::str::FromStr;

#[test]
fn a_string_is_its_text() {
    for text in ["", "a", "grüße \u{feff}"] {
        let string = Utf8String::new(text).unwrap();
        assert_eq!(
            (string.as_str(), string.as_bytes()),
            (text, text.as_bytes())
        );
        assert_eq!(
            (string.len(), string.is_empty()),
            (text.len(), text.is_empty())
        );
        assert_eq!(
            (string.to_string(), format!("{string:?}")),
            (text.to_owned(), format!("{text:?}"))
        );
        assert_eq!(Utf8String::try_from(text), Ok(string.clone()));
        assert_eq!(Utf8String::try_from(text.to_owned()), Ok(string.clone()));
        assert_eq!(
            Utf8String::from_bytes(Bytes::from_static(text.as_bytes())),
            Ok(string.clone())
        );
        // Text of both kinds, and no other text.
        assert!(string == text && string == *text);
        assert!(string != "b" && string != *"b");
        assert_eq!(string.into_bytes(), text);
    }
    assert_eq!(Utf8String::try_from("a\0"), Err(TextError::Null { at: 1 }));
    assert_eq!(
        Utf8String::try_from("a\0".to_owned()),
        Err(TextError::Null { at: 1 })
    );
}

#[test]
fn binary_data_is_its_bytes() {
    let data = BinaryData::new(&b"\x00\xff"[..]).unwrap();
    assert_eq!(BinaryData::try_from(&b"\x00\xff"[..]), Ok(data.clone()));
    assert_eq!(data.as_bytes(), b"\x00\xff");
    assert_eq!(data.into_bytes(), &b"\x00\xff"[..]);
    assert_eq!(BinaryData::try_from("pw").unwrap().as_bytes(), b"pw");
    let longest = vec![0; 65_535];
    assert!(BinaryData::try_from(&longest[..]).is_ok());
    let too_long = [&longest[..], &[0]].concat();
    assert_eq!(
        BinaryData::try_from(&too_long[..]),
        Err(TextError::TooLong { len: 65_536 })
    );
}

#[test]
fn a_topic_is_its_text() {
    let name = TopicName::new("a/b").unwrap();
    assert_eq!(
        (name.as_str(), name.as_bytes(), name.as_ref()),
        ("a/b", &b"a/b"[..], "a/b")
    );
    assert_eq!(
        (name.to_string(), format!("{name:?}")),
        ("a/b".to_owned(), "\"a/b\"".to_owned())
    );
    assert_eq!(TopicName::try_from("a/b"), Ok(name.clone()));
    assert_eq!(TopicName::try_from("a/b".to_owned()), Ok(name.clone()));
    assert_eq!(TopicName::from_str("a/b"), Ok(name.clone()));
    assert_eq!(TopicName::from(&name), name);
    assert_eq!(TopicName::from_bytes(name.clone().into_bytes()), Ok(name));
    let wildcard = TopicError::Wildcard {
        wildcard: '#',
        at: 2,
    };
    assert_eq!(TopicName::try_from("a/#"), Err(wildcard));
    assert_eq!(TopicName::try_from("a/#".to_owned()), Err(wildcard));
    assert_eq!(TopicName::from_str("a/#"), Err(wildcard));

    let filter = TopicFilter::new("a/#").unwrap();
    assert_eq!(
        (filter.as_str(), filter.as_bytes(), filter.as_ref()),
        ("a/#", &b"a/#"[..], "a/#")
    );
    assert_eq!(
        (filter.to_string(), format!("{filter:?}")),
        ("a/#".to_owned(), "\"a/#\"".to_owned())
    );
    assert_eq!(TopicFilter::try_from("a/#"), Ok(filter.clone()));
    assert_eq!(TopicFilter::try_from("a/#".to_owned()), Ok(filter.clone()));
    assert_eq!(TopicFilter::from_str("a/#"), Ok(filter.clone()));
    assert_eq!(TopicFilter::from(&filter), filter);
    assert_eq!(
        TopicFilter::from_str("a#"),
        Err(TopicError::MultiLevel { at: 1 })
    );
}

#[test]
fn versions_qualities_and_packets_have_their_names() {
    assert_eq!(
        Version::ALL.map(|version| version.to_string()),
        ["MQTT 3.1", "MQTT 3.1.1", "MQTT 5"]
    );
    assert_eq!(Version::ALL.map(Version::level), [3, 4, 5]);
    let granted = [0, 1, 2].map(|qos| SubAckReasonCode::granted(QoS::from_u8(qos).unwrap()));
    assert_eq!(granted.map(SubAckReasonCode::as_u8), [0, 1, 2]);
    for packet_type in PacketType::ALL {
        let name = format!("{packet_type:?}").to_uppercase();
        assert_eq!(packet_type.to_string(), name);
        assert_eq!(format!("[{packet_type:>12}]"), format!("[{name:>12}]"));
    }
}

#[test]
fn a_borrowed_publish_has_its_flags() {
    for first in 0x30..=0x35u8 {
        let wire = match first & 6 {
            0 => vec![first, 3, 0, 1, b't'],
            _ => vec![first, 5, 0, 1, b't', 0, 9],
        };
        let (publish, size) = PublishRef::decode(&wire, Version::V3_1_1, 100)
            .unwrap()
            .unwrap();
        assert_eq!(size, wire.len());
        assert_eq!(publish.retain(), first & 1 == 1);
        assert_eq!(publish.delivery().qos().as_u8(), first >> 1 & 3);
        assert_eq!(publish.topic_bytes(), b"t");
    }
}

#[test]
fn properties_read_as_they_were_set() {
    let read = |yes| {
        PublishProperties::builder()
            .payload_is_utf8(yes)
            .build()
            .as_ref()
            .payload_is_utf8()
    };
    assert_eq!((read(true), read(false)), (Some(true), Some(false)));
    assert_eq!(
        PublishProperties::default().as_ref().payload_is_utf8(),
        None
    );

    let builder = PublishProperties::builder()
        .try_user_property("k", "v")
        .unwrap();
    assert_eq!(
        builder
            .clone()
            .build()
            .as_ref()
            .user_properties()
            .collect::<Vec<_>>(),
        [("k", "v")]
    );
    assert_eq!(
        builder.clone().try_user_property("a\0", ""),
        Err(TextError::Null { at: 1 })
    );
    assert_eq!(
        builder.try_user_property("", "\0"),
        Err(TextError::Null { at: 0 })
    );
}

#[test]
fn a_publish_shows_its_parts() {
    let topic = TopicName::from_static("t").unwrap();
    let properties = PublishProperties::builder()
        .message_expiry_interval(60)
        .response_topic(TopicName::from_static("r").unwrap())
        .correlation_data(BinaryData::new(&b"\x01\x02"[..]).unwrap())
        .user_property(
            Utf8String::from_static("k").unwrap(),
            Utf8String::from_static("v").unwrap(),
        )
        .build();
    let publish = Publish::from(
        PublishRef::new(&topic, b"hi")
            .with_retain(true)
            .with_properties(&properties),
    );
    assert!(!publish.is_empty());
    assert_eq!(
        format!("{publish:?}"),
        "Publish { delivery: AtMostOnce, retain: true, topic: \"t\", properties: {MessageExpiryInterval: 60, \
         ResponseTopic: \"r\", CorrelationData: [1, 2], \"k\": \"v\"}, payload: b\"hi\" }"
    );
    assert_eq!(
        format!("{properties:?}"),
        format!("{:?}", publish.properties())
    );
}

/// Not only a PUBLISH can be too large: so can a SUBSCRIBE of many filters.
#[test]
fn a_subscribe_is_at_most_256_mib() {
    let filter = TopicFilter::new("f".repeat(65_535)).unwrap();
    let subscribe = |n| {
        Packet::from(Subscribe {
            packet_identifier: PacketIdentifier::MIN,
            subscription_identifier: None,
            user_properties: UserProperties::new(),
            subscriptions: vec![SubscribeFilter::new(filter.clone(), QoS::AtMostOnce); n],
        })
    };
    let mut out = BytesMut::new();
    let size = 2 + 4096 * (2 + 65_535 + 1);
    let packet = subscribe(4096);
    assert_eq!(
        packet.encode(Version::V3_1_1, &mut out),
        Err(EncodeError::PacketTooLarge { size })
    );
    assert!(out.is_empty());
    assert_eq!(
        subscribe(4095).encoded_len(Version::V3_1_1),
        5 + 2 + 4095 * (2 + 65_535 + 1)
    );
}

/// The interval is set where it belongs, whatever else there is, and takes the place of another.
#[test]
fn a_message_expiry_interval_is_set_on_properties_that_are_there() {
    let with = |utf8: bool, seconds: Option<u32>, content: bool| {
        let mut builder = PublishProperties::builder();
        if utf8 {
            builder = builder.payload_is_utf8(true);
        }
        if let Some(seconds) = seconds {
            builder = builder.message_expiry_interval(seconds);
        }
        if content {
            builder = builder.content_type("text".try_into().unwrap());
        }
        builder.build()
    };
    for (utf8, content) in [(false, false), (false, true), (true, false), (true, true)] {
        for before in [None, Some(1)] {
            let after = with(utf8, before, content).with_message_expiry_interval(60);
            assert_eq!(after, with(utf8, Some(60), content));
        }
    }
}

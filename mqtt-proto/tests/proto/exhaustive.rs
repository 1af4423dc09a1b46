//! Small spaces, tried whole, against rules written down a second time.

use bytes::BytesMut;
use martlet_proto::Version::{V3_1, V3_1_1, V5};
use martlet_proto::*;

fn decode(version: Version, wire: &[u8]) -> Result<Packet, DecodeErrorKind> {
    let mut input = BytesMut::from(wire);
    let packet =
        Packet::decode(&mut input, version, MAX_PACKET_SIZE).map_err(|error| error.kind())?;
    assert!(input.is_empty(), "{wire:02x?}");
    Ok(packet.unwrap())
}

/// A packet of these bytes behind the first one and the length.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    [&[first, body.len() as u8], body].concat()
}

/// MQTT 5 §2.1.3; 3.1 §2.1 for DUP.
#[test]
fn first_bytes() {
    for version in Version::ALL {
        for first in 0..=255u8 {
            let (kind, flags) = (first >> 4, first & 15);
            let known = kind != 0 && (kind != 15 || version == V5);
            let allowed = match kind {
                3 => flags & 6 != 6 && flags & 14 != 8,
                6 | 8 | 10 => flags == 2 || (flags == 10 && version == V3_1),
                _ => flags == 0,
            };
            let result = FixedHeader::decode(&[first, 0], version);
            match result.map_err(|error| error.kind()) {
                Ok(header) => {
                    let packet_type = PacketType::from_u8(kind).unwrap();
                    assert_eq!(
                        header,
                        Some(FixedHeader {
                            packet_type,
                            flags,
                            remaining_length: 0
                        })
                    );
                    assert!(known && allowed, "{version}: {first:#x}");
                }
                Err(DecodeErrorKind::ReservedPacketType(number)) => {
                    assert!(!known && number == kind);
                }
                Err(DecodeErrorKind::FixedHeaderFlags(bad)) => {
                    assert!(!allowed && bad == flags && kind != 3);
                }
                Err(DecodeErrorKind::Qos(3)) => assert!(kind == 3 && flags & 6 == 6),
                Err(DecodeErrorKind::DuplicateQos0) => assert!(kind == 3 && flags & 14 == 8),
                Err(other) => panic!("{version}: {first:#x}: {other:?}"),
            }
            // Told from the first byte alone.
            assert_eq!(FixedHeader::decode(&[first], version), result.map(|_| None));
        }
    }
}

/// MQTT 5 §3.2.2.2, §3.4.2.1, §3.5.2.1, §3.6.2.1, §3.7.2.1, §3.9.3, §3.11.3, §3.14.2.1, §3.15.2.1.
#[test]
#[cfg_attr(miri, ignore = "too slow: every byte in every packet")]
fn reason_codes() {
    const CONNACK: &[u8] = &[
        0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95,
        0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
    ];
    const PUBACK: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    const PUBREL: &[u8] = &[0x00, 0x92];
    const SUBACK: &[u8] = &[
        0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2,
    ];
    const UNSUBACK: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91];
    // 0x8C stands in the table of §2.4 only.
    const DISCONNECT: &[u8] = &[
        0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x93,
        0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
    ];
    const AUTH: &[u8] = &[0x00, 0x18, 0x19];
    const RETURN_CODES: &[u8] = &[0, 1, 2, 3, 4, 5];
    type Body = fn(u8) -> Vec<u8>;
    let table: &[(Version, u8, Body, &[u8])] = &[
        (V3_1, 0x20, |code| vec![0, code], RETURN_CODES),
        (V3_1_1, 0x20, |code| vec![0, code], RETURN_CODES),
        (V5, 0x20, |code| vec![0, code, 0], CONNACK),
        (V5, 0x40, |code| vec![0, 1, code], PUBACK),
        (V5, 0x40, |code| vec![0, 1, code, 0], PUBACK),
        (V5, 0x50, |code| vec![0, 1, code], PUBACK),
        (V5, 0x62, |code| vec![0, 1, code], PUBREL),
        (V5, 0x70, |code| vec![0, 1, code], PUBREL),
        (V3_1, 0x90, |code| vec![0, 1, code], &[0, 1, 2, 0x80]),
        (V3_1_1, 0x90, |code| vec![0, 1, code], &[0, 1, 2, 0x80]),
        (V5, 0x90, |code| vec![0, 1, 0, code], SUBACK),
        (V5, 0xb0, |code| vec![0, 1, 0, code], UNSUBACK),
        (V5, 0xe0, |code| vec![code], DISCONNECT),
        (V5, 0xe0, |code| vec![code, 0], DISCONNECT),
        (V5, 0xf0, |code| vec![code, 4, 0x15, 0, 1, b'm'], AUTH),
    ];
    for &(version, first, body, allowed) in table {
        for code in 0..=255 {
            let wire = packet(first, &body(code));
            let result = decode(version, &wire);
            match allowed.contains(&code) {
                true => assert!(result.is_ok(), "{version}: {wire:02x?}: {result:?}"),
                false => assert_eq!(
                    result,
                    Err(DecodeErrorKind::ReasonCode(code)),
                    "{version}: {wire:02x?}"
                ),
            }
        }
    }
    // In MQTT 5 a CONNACK without properties is a rejection of some version, or cut short.
    for code in 0..=255 {
        let expected = match code {
            0 => Err(DecodeErrorKind::Truncated(Field::PropertyLength)),
            _ if CONNACK.contains(&code) || RETURN_CODES.contains(&code) => Ok(()),
            _ => Err(DecodeErrorKind::ReasonCode(code)),
        };
        assert_eq!(decode(V5, &[0x20, 2, 0, code]).map(|_| ()), expected);
    }
}

/// MQTT 5 §1.5.5, written as the specification's algorithm is.
fn encode_integer(mut value: u32) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = (value % 128) as u8;
        value /= 128;
        if value == 0 {
            out.push(byte);
            return out;
        }
        out.push(byte | 128);
    }
}

/// The same for reading; `Ok(None)` when more is needed.
fn decode_integer(bytes: &[u8]) -> Result<Option<u32>, DecodeErrorKind> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        if i == 4 {
            break;
        }
        value += u32::from(byte & 127) * 128u32.pow(i as u32);
        if byte & 128 == 0 {
            let overlong = encode_integer(value).len() != i + 1;
            return if overlong {
                Err(DecodeErrorKind::IntegerOverlong)
            } else {
                Ok(Some(value))
            };
        }
    }
    if bytes.len() >= 4 {
        Err(DecodeErrorKind::IntegerTooLong)
    } else {
        Ok(None)
    }
}

/// The boundaries, and every 251st of the 268,435,456 variable byte integers, both ways and in both
/// places. The payload is never looked at, so that its pages are never touched.
#[test]
#[cfg_attr(
    miri,
    ignore = "too slow: a million integers, and a payload of 256 MiB"
)]
fn variable_byte_integers() {
    let payload = vec![0; MAX_REMAINING_LENGTH as usize];
    let topic = TopicName::from_static("t").unwrap();
    let boundaries = [0, 128, 16_384, 2_097_152, 268_435_455u32];
    let near = boundaries
        .into_iter()
        .flat_map(|b| b.saturating_sub(2)..=(b + 2).min(MAX_REMAINING_LENGTH));
    let mut head = BytesMut::new();
    for value in near.chain((0..=MAX_REMAINING_LENGTH).step_by(251)) {
        let written = encode_integer(value);
        // As a remaining length; PUBLISH has at least three bytes here.
        let mut wire = vec![0xc0];
        wire.extend_from_slice(&written);
        let header = FixedHeader::decode(&wire, V5).unwrap().unwrap();
        assert_eq!(
            (header.remaining_length, header.header_size()),
            (value, wire.len())
        );
        if let Some(len) = value.checked_sub(3) {
            head.clear();
            let publish = PublishRef::new(&topic, &payload[..len as usize]);
            publish.encode_head(V3_1_1, &mut head).unwrap();
            assert_eq!(&head[1..head.len() - 3], written);
        }
        // As a subscription identifier, which is never 0.
        if let Some(identifier) = SubscriptionIdentifier::new(value) {
            head.clear();
            PublishRef::new(&topic, b"")
                .with_subscription_identifiers(&[identifier])
                .encode(V5, &mut head)
                .unwrap();
            assert_eq!(&head[7..], written);
            let Ok(Packet::Publish(publish)) = decode(V5, &head) else {
                panic!("{value}")
            };
            assert_eq!(
                publish.properties().subscription_identifiers().next(),
                Some(identifier)
            );
        }
    }
}

/// All of one and two bytes, and up to five of the bytes that matter.
#[test]
#[cfg_attr(miri, ignore = "too slow: 90,000 strings")]
fn hostile_variable_byte_integers() {
    let check = |bytes: &[u8]| {
        let wire = [&[0xc0], bytes].concat();
        let header = FixedHeader::decode(&wire, V5);
        assert_eq!(
            header
                .map(|header| header.map(|h| h.remaining_length))
                .map_err(|error| error.kind()),
            decode_integer(bytes),
            "{bytes:02x?}"
        );
    };
    for first in 0..=255 {
        check(&[first]);
        for second in 0..=255 {
            check(&[first, second]);
        }
    }
    let bytes = [0x00, 0x01, 0x7f, 0x80, 0x81, 0xff];
    for n in 0..bytes.len().pow(5) {
        let five: Vec<u8> = (0..5)
            .map(|i| bytes[n / bytes.len().pow(i) % bytes.len()])
            .collect();
        for len in 3..=5 {
            check(&five[..len]);
        }
    }
}

/// MQTT 5 §2.2.2.2: which property may stand where.
#[test]
#[cfg_attr(miri, ignore = "too slow: every property in every packet")]
fn properties_of_every_place() {
    const CONNECT: &[u8] = &[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27];
    const WILL: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26];
    const CONNACK: &[u8] = &[
        0x11, 0x12, 0x13, 0x15, 0x16, 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28,
        0x29, 0x2a,
    ];
    const PUBLISH: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x23, 0x26];
    const ACK: &[u8] = &[0x1f, 0x26];
    const KNOWN: &[u8] = &[
        0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x11, 0x12, 0x13, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a,
        0x1c, 0x1f, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a,
    ];
    /// First byte, what is before the properties, what is behind them, what may be in them.
    type Place = (u8, &'static [u8], &'static [u8], &'static [u8]);
    let table: &[Place] = &[
        (0x10, b"\0\x04MQTT\x05\x02\0\0", b"\0\0", CONNECT),
        (0x10, b"\0\x04MQTT\x05\x06\0\0\0\0\0", b"\0\x01w\0\0", WILL),
        (0x20, b"\0\0", b"", CONNACK),
        (0x30, b"\0\x01t", b"payload", PUBLISH),
        (0x40, b"\0\x01\0", b"", ACK),
        (0x50, b"\0\x01\0", b"", ACK),
        (0x62, b"\0\x01\0", b"", ACK),
        (0x70, b"\0\x01\0", b"", ACK),
        (0x82, b"\0\x01", b"\0\x01f\x00", &[0x0b, 0x26]),
        (0x90, b"\0\x01", b"\0", ACK),
        (0xa2, b"\0\x01", b"\0\x01f", &[0x26]),
        (0xb0, b"\0\x01", b"\0", ACK),
        (0xe0, b"\0", b"", &[0x11, 0x1c, 0x1f, 0x26]),
        (0xf0, b"\x18", b"", &[0x15, 0x16, 0x1f, 0x26]),
    ];
    let value = |id: u8| -> &'static [u8] {
        match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a | 0x0b => b"\x01",
            0x13 | 0x21 | 0x22 | 0x23 => b"\0\x01",
            0x02 | 0x11 | 0x18 | 0x27 => b"\0\0\0\x01",
            0x26 => b"\0\x01k\0\x01v",
            _ => b"\0\x01x",
        }
    };
    let name = PropertyId::from_u8;
    for &(first, before, behind, allowed) in table {
        for id in 0..=255u8 {
            for times in 1..=2 {
                let mut properties = Vec::new();
                // Authentication data needs a method, and so does every AUTH but a plain success.
                if (id == 0x16 && allowed.contains(&id)) || (first == 0xf0 && id != 0x15) {
                    properties.extend_from_slice(b"\x15\0\x01m");
                }
                for _ in 0..times {
                    // Identifiers of two bytes exist on paper only.
                    properties.extend_from_slice(&encode_integer(u32::from(id)));
                    properties.extend_from_slice(value(id));
                }
                let wire = packet(
                    first,
                    &[before, &[properties.len() as u8], &properties, behind].concat(),
                );
                let repeats = id == 0x26 || (id == 0x0b && first == 0x30);
                let expected = if !KNOWN.contains(&id) {
                    Err(DecodeErrorKind::UnknownProperty(u32::from(id)))
                } else if !allowed.contains(&id) {
                    Err(DecodeErrorKind::PropertyNotAllowed(name(id).unwrap()))
                } else if times == 2 && !repeats {
                    Err(DecodeErrorKind::DuplicateProperty(name(id).unwrap()))
                } else {
                    Ok(())
                };
                assert_eq!(decode(V5, &wire).map(|_| ()), expected, "{wire:02x?}");
            }
        }
    }
    assert_eq!(
        PropertyId::ALL
            .iter()
            .map(|id| id.as_u8())
            .collect::<Vec<_>>(),
        KNOWN
    );
}

/// Properties of one byte are 0 or 1 (MQTT 5 §3.3.2.3.2 and others).
#[test]
fn flags_among_properties() {
    for id in [0x24, 0x25, 0x28, 0x29, 0x2a] {
        for value in 0..=255 {
            let result = decode(V5, &packet(0x20, &[0, 0, 2, id, value]));
            assert_eq!(result.is_ok(), value < 2, "{id:#x} {value}: {result:?}");
        }
    }
}

/// MQTT 5 §3.1.2.3, 3.1.1 §3.1.2.3.
#[test]
fn connect_flags() {
    for version in Version::ALL {
        for flags in 0..=255u8 {
            let bit = |n: u8| flags >> n & 1 == 1;
            let (will, qos, retain, password, user_name) =
                (bit(2), flags >> 3 & 3, bit(5), bit(6), bit(7));
            let mut body = Vec::new();
            let name = version.protocol_name().as_bytes();
            body.extend_from_slice(&[0, name.len() as u8]);
            body.extend_from_slice(name);
            body.extend_from_slice(&[version.level(), flags, 0, 0]);
            let properties: &[u8] = if version == V5 { &[0] } else { &[] };
            body.extend_from_slice(properties);
            body.extend_from_slice(b"\0\x01c");
            if will {
                body.extend_from_slice(properties);
                body.extend_from_slice(b"\0\x01w\0\0");
            }
            body.extend_from_slice(if user_name { b"\0\x01u" } else { b"" });
            body.extend_from_slice(if password { b"\0\x01p" } else { b"" });
            let good = (!bit(0) || version == V3_1)
                && qos < 3
                && (will || (qos == 0 && !retain))
                && (user_name || !password || version == V5);
            match decode(version, &packet(0x10, &body)) {
                Ok(Packet::Connect(connect)) => {
                    assert!(good, "{version}: {flags:#010b}");
                    assert_eq!(connect.version, version);
                    assert_eq!(connect.clean_start, bit(1));
                    assert_eq!(connect.will.is_some(), will);
                    if let Some(will) = connect.will {
                        assert_eq!((will.qos.as_u8(), will.retain), (qos, retain));
                    }
                    assert_eq!(connect.user_name.is_some(), user_name);
                    assert_eq!(connect.password.is_some(), password);
                }
                other => assert!(
                    !good && other == Err(DecodeErrorKind::ConnectFlags(flags)),
                    "{other:?}"
                ),
            }
        }
    }
}

/// MQTT 5 §3.2.2.1, 3.1.1 §3.2.2.1; in 3.1 the byte is unused.
#[test]
fn connack_flags() {
    for version in Version::ALL {
        for flags in 0..=255u8 {
            let body: &[u8] = if version == V5 {
                &[flags, 0, 0]
            } else {
                &[flags, 0]
            };
            let expected = match (version, flags) {
                (V3_1, _) | (_, 0) => Ok(false),
                (_, 1) => Ok(true),
                _ => Err(DecodeErrorKind::ConnAckFlags(flags)),
            };
            let present = decode(version, &packet(0x20, body)).map(|packet| match packet {
                Packet::ConnAck(connack) => connack.session_present,
                other => panic!("{other:?}"),
            });
            assert_eq!(present, expected, "{version}: {flags:#x}");
        }
    }
}

/// MQTT 5 §3.8.3.1, 3.1.1 §3.8.3.
#[test]
fn subscription_options() {
    for version in Version::ALL {
        for options in 0..=255u8 {
            let body: &[u8] = if version == V5 {
                b"\0\x01\0\0\x01f"
            } else {
                b"\0\x01\0\x01f"
            };
            let wire = packet(0x82, &[body, &[options]].concat());
            let good = if version == V5 {
                options & 0xc0 == 0 && options & 3 != 3 && options & 0x30 != 0x30
            } else {
                options < 3
            };
            let result = decode(version, &wire);
            assert_eq!(
                result.is_ok(),
                good,
                "{version}: {options:#010b}: {result:?}"
            );
            let Ok(Packet::Subscribe(subscribe)) = result else {
                continue;
            };
            let subscription = &subscribe.subscriptions[0];
            assert_eq!(subscription.qos.as_u8(), options & 3);
            assert_eq!(subscription.no_local, options & 4 != 0);
            assert_eq!(subscription.retain_as_published, options & 8 != 0);
            assert_eq!(subscription.retain_handling as u8, options >> 4);
        }
    }
}

/// Every packet identifier but 0.
#[test]
#[cfg_attr(miri, ignore = "too slow: 130,000 packets")]
fn packet_identifiers() {
    for value in 0..=u16::MAX {
        let [high, low] = value.to_be_bytes();
        let expected = match PacketIdentifier::new(value) {
            Some(identifier) => Ok(Packet::PubAck(Ack::new(
                identifier,
                PubAckReasonCode::Success,
            ))),
            None => Err(DecodeErrorKind::PacketIdentifierZero),
        };
        assert_eq!(decode(V5, &[0x40, 2, high, low]), expected);
        assert_eq!(
            decode(V3_1_1, &[0x32, 5, 0, 1, b't', high, low]).is_ok(),
            value != 0
        );
    }
}

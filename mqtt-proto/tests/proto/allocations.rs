//! What is exact can be held: how often the packets that must be fast allocate, in steady state.
//! Never.

use bytes::BytesMut;
use martlet_proto::*;

fn allocations(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).count_total
}

fn properties() -> PublishProperties {
    PublishProperties::builder()
        .payload_is_utf8(true)
        .message_expiry_interval(60)
        .content_type(Utf8String::from_static("text/plain").unwrap())
        .user_property(
            Utf8String::from_static("k").unwrap(),
            Utf8String::from_static("v").unwrap(),
        )
        .build()
}

fn deliveries() -> [Delivery; 3] {
    let packet_identifier = PacketIdentifier::MIN;
    [
        Delivery::AtMostOnce,
        Delivery::AtLeastOnce {
            packet_identifier,
            duplicate: false,
        },
        Delivery::ExactlyOnce {
            packet_identifier,
            duplicate: true,
        },
    ]
}

/// Each kind of PUBLISH, written into a buffer that is large enough.
fn publishes(version: Version, payload: &[u8], out: &mut BytesMut) {
    let topic = TopicName::from_static("sensors/building-7/t/001").unwrap();
    let properties = if version == Version::V5 {
        properties()
    } else {
        PublishProperties::default()
    };
    let alias = PacketIdentifier::new(3).unwrap();
    let identifiers = [SubscriptionIdentifier::new(7).unwrap()];
    let written = allocations(|| {
        for delivery in deliveries() {
            let publish = PublishRef::new(&topic, payload).with_delivery(delivery);
            publish.encode(version, out).unwrap();
            publish
                .with_properties(&properties)
                .with_retain(true)
                .encode(version, out)
                .unwrap();
            if version == Version::V5 {
                publish
                    .with_properties(&properties)
                    .with_message_expiry_interval(59)
                    .with_topic_alias(alias)
                    .with_subscription_identifiers(&identifiers)
                    .encode(version, out)
                    .unwrap();
            }
        }
    });
    assert_eq!(written, 0, "{version}: encode");
}

#[test]
fn publish_allocates_nothing() {
    for version in Version::ALL {
        for payload in [16, 64, 4096] {
            let mut input = BytesMut::with_capacity(64 << 10);
            let payload = vec![b'x'; payload];
            publishes(version, &payload, &mut input);

            let mut at = 0;
            let borrowed = allocations(|| {
                while let Some((publish, size)) =
                    PublishRef::decode(&input[at..], version, MAX_PACKET_SIZE).unwrap()
                {
                    assert_eq!(publish.payload().len(), payload.len());
                    at += size;
                }
            });
            assert_eq!(
                (borrowed, at),
                (0, input.len()),
                "{version}: borrowed decode"
            );

            // The first packet taken from a block of memory makes the block's reference count; all
            // others share it.
            drop(Packet::decode(&mut input, version, MAX_PACKET_SIZE).unwrap());
            let owned = allocations(|| {
                while let Some(packet) =
                    Packet::decode(&mut input, version, MAX_PACKET_SIZE).unwrap()
                {
                    let Packet::Publish(publish) = &packet else {
                        panic!("{packet:?}")
                    };
                    // Parts and clones share its memory; properties are read where they are.
                    let shared = (
                        publish.topic_name(),
                        publish.payload_bytes(),
                        publish.clone(),
                    );
                    assert_eq!(shared.1.len(), payload.len());
                    assert!(
                        publish
                            .properties()
                            .user_properties()
                            .all(|pair| pair == ("k", "v"))
                    );
                }
            });
            assert_eq!((owned, input.len()), (0, 0), "{version}: owned decode");
        }
    }
}

#[test]
fn acknowledgements_allocate_nothing() {
    let id = PacketIdentifier::MIN;
    let acks = [
        Packet::PubAck(Ack::new(id, PubAckReasonCode::Success)),
        Packet::PubRec(Ack::new(id, PubAckReasonCode::Success)),
        Packet::PubRel(Ack::new(id, PubRelReasonCode::Success)),
        Packet::PubComp(Ack::new(id, PubRelReasonCode::Success)),
        Packet::PingReq,
        Packet::PingResp,
    ];
    for version in Version::ALL {
        let mut buffer = BytesMut::with_capacity(1024);
        for round in 0..3 {
            // One buffer for all rounds: it is empty again after each.
            let count = allocations(|| {
                for ack in &acks {
                    ack.encode(version, &mut buffer).unwrap();
                }
                for ack in &acks {
                    let decoded = Packet::decode(&mut buffer, version, MAX_PACKET_SIZE).unwrap();
                    assert_eq!(decoded.as_ref(), Some(ack));
                }
                buffer.clear();
            });
            assert!(count == 0 || round == 0, "{version}: {count}");
        }
    }
}

/// A large payload goes by reference: its head is all that is written.
#[test]
fn a_large_payload_is_not_copied() {
    let payload = bytes::Bytes::from(vec![0; 64 << 10]);
    let _ = payload.clone(); // makes the reference count
    let topic = TopicName::from_static("t").unwrap();
    let mut out = BytesMut::with_capacity(64);
    let count = allocations(|| {
        PublishRef::new(&topic, &payload)
            .encode_head(Version::V5, &mut out)
            .unwrap();
        drop(payload.clone());
    });
    assert_eq!((count, out.len()), (0, 8));
}

/// One allocation for a message that is kept: the copy itself and, when it is shared for the first
/// time, its count.
#[test]
fn an_owned_copy_is_one_allocation() {
    let topic = TopicName::from_static("t").unwrap();
    let properties = properties();
    let publish = PublishRef::new(&topic, b"payload").with_properties(&properties);
    let mut owned = None;
    assert_eq!(allocations(|| owned = Some(Publish::from(publish))), 1);
    assert_eq!(allocations(|| owned.as_mut().unwrap().detach()), 1);
}

/// A packet of each type that has user properties, with these.
fn packets_with(user_properties: &UserProperties) -> Vec<Packet> {
    let text = || Some(Utf8String::from_static("why").unwrap());
    let id = PacketIdentifier::MIN;
    let filter = || TopicFilter::new("a").unwrap();
    let user_properties = || user_properties.clone();
    let ack_properties = || AckProperties {
        reason_string: text(),
        user_properties: user_properties(),
    };
    let mut connect = Connect::new(Version::V5, Utf8String::default());
    connect.properties.user_properties = user_properties();
    let mut connack = ConnAck::new(ConnectReasonCode::Success);
    connack.properties.user_properties = user_properties();
    let mut disconnect = Disconnect::new(DisconnectReasonCode::ServerBusy);
    disconnect.user_properties = user_properties();
    let mut auth = Auth::new(AuthReasonCode::ContinueAuthentication);
    (auth.authentication_method, auth.user_properties) = (text(), user_properties());
    vec![
        connect.into(),
        connack.into(),
        Packet::PubAck(Ack::new(id, PubAckReasonCode::Success).with_properties(ack_properties())),
        Packet::PubRec(Ack::new(id, PubAckReasonCode::Success).with_properties(ack_properties())),
        Packet::PubRel(Ack::new(id, PubRelReasonCode::Success).with_properties(ack_properties())),
        Packet::PubComp(Ack::new(id, PubRelReasonCode::Success).with_properties(ack_properties())),
        Subscribe {
            packet_identifier: id,
            subscription_identifier: None,
            user_properties: user_properties(),
            subscriptions: vec![SubscribeFilter::new(filter(), QoS::AtMostOnce)],
        }
        .into(),
        SubAck {
            packet_identifier: id,
            reason_string: text(),
            user_properties: user_properties(),
            reasons: vec![SubAckReasonCode::GrantedQos0],
        }
        .into(),
        Unsubscribe {
            packet_identifier: id,
            user_properties: user_properties(),
            filters: vec![filter()],
        }
        .into(),
        UnsubAck {
            packet_identifier: id,
            reason_string: text(),
            user_properties: user_properties(),
            reasons: vec![UnsubAckReasonCode::Success],
        }
        .into(),
        disconnect.into(),
        auth.into(),
    ]
}

/// Every user property came apart into two strings in a vector: a DISCONNECT of 15.7 MiB took 675
/// MiB. Whatever a packet has of them, decoding it takes the same few small allocations, and a
/// clone none that depends on them.
#[test]
#[cfg_attr(miri, ignore = "too slow: thousands of properties")]
fn user_properties_cost_nothing_however_many_there_are() {
    let many: UserProperties = (0..20_000)
        .map(|_| (Utf8String::default(), Utf8String::default()))
        .collect();
    for packet in packets_with(&many) {
        let mut wire = BytesMut::new();
        packet.encode(Version::V5, &mut wire).unwrap();
        assert!(wire.len() > 100_000);
        let cost = allocation_counter::measure(|| {
            let decoded = Packet::decode(&mut wire, Version::V5, MAX_PACKET_SIZE).unwrap();
            assert_eq!(decoded.clone().as_ref(), Some(&packet));
        });
        let kind = packet.packet_type();
        assert!(
            cost.count_total <= 8 && cost.bytes_max <= 2048,
            "{kind}: {cost:?}"
        );
    }
}

//! Transcripts that break one rule each.

use super::Step::{C, Open, S, Wait};
use super::*;
use Rule as R;
use Version::{V3_1, V3_1_1, V5};

/// A rule, and a transcript that breaks it.
type Broken = (Rule, Vec<Step>);

/// Transcripts that break one rule each, and it alone.
pub(super) fn broken() -> Vec<Broken> {
    [
        fields(),
        properties(),
        reason_codes(),
        connects(),
        wills_and_names(),
        connections(),
        limits_of_the_server(),
        publishes(),
        identifiers_in_use(),
        resending(),
        releases(),
        acknowledgements(),
        subscribes(),
        filters(),
        breaches_of_the_server(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A PUBLISH of QoS 0 in MQTT 5 with these properties.
fn publish5(properties: &[u8]) -> Step {
    C(packet(
        0x30,
        &[&text("t"), &[properties.len() as u8], properties],
    ))
}

/// Bytes that are no packet, and fields that are none.
fn fields() -> Vec<Broken> {
    vec![
        (R::FirstByte, v5(&[], vec![C(vec![0xc1, 0])])),
        (R::FirstByte, v5(&[], vec![C(vec![0x00, 0])])),
        (
            R::FirstByte,
            v5(&[], vec![C(packet(0x80, &[&[0, 1, 0], &text("t"), &[0]]))]),
        ),
        (R::FirstByte, v3(vec![C(vec![0xf0, 0])])),
        (R::Direction, v5(&[], vec![C(vec![0xd0, 0])])),
        (R::Length, v5(&[], vec![C(vec![0xc0, 0x80, 0])])),
        (
            R::Length,
            v5(&[], vec![C(vec![0xc0, 0x80, 0x80, 0x80, 0x80, 1])]),
        ),
        (
            R::Length,
            v5(&[], vec![C(packet(0x30, &[&text("t"), &[0x80, 0]]))]),
        ),
        (R::Layout, v5(&[], vec![C(vec![0xc0, 1, 0])])),
        (R::Layout, v5(&[], vec![C(vec![0x30, 3, 0, 9, b't'])])),
        (R::Layout, v3(vec![C(vec![0x40, 3, 0, 1, 0])])),
        (
            R::Utf8,
            v5(&[], vec![C(packet(0x30, &[&[0, 1, 0xff], &[0]]))]),
        ),
        (
            R::Utf8,
            v3(vec![C(packet(0x30, &[&[0, 3, 0xed, 0xa0, 0x80]]))]),
        ),
        (
            R::Null,
            v5(&[], vec![C(packet(0x30, &[&text("\0"), &[0]]))]),
        ),
        (R::IdentifierZero, v5(&[], vec![C(publish(0x32, 0, 1))])),
    ]
}

fn properties() -> Vec<Broken> {
    vec![
        (
            R::PropertyPlace,
            v5(&[], vec![publish5(&[0x11, 0, 0, 0, 1])]),
        ),
        (
            R::PropertyPlace,
            v5(&[], vec![C(vec![0xe0, 4, 0, 2, 0x1c, 0])]),
        ),
        (R::PropertyPlace, vec![Open, connect5(&[0x16, 0, 1, 0])]),
        (
            R::PropertyTwice,
            v5(&[], vec![publish5(&[0x01, 0, 0x01, 0])]),
        ),
        (
            R::PropertyTwice,
            v5(
                &[],
                vec![C(packet(
                    0x82,
                    &[&[0, 1, 4, 0x0b, 1, 0x0b, 2], &text("t"), &[0]],
                ))],
            ),
        ),
        (R::PropertyValue, v5(&[], vec![publish5(&[0x01, 2])])),
        (R::PropertyValue, vec![Open, connect5(&[0x21, 0, 0])]),
        (
            R::PropertyValue,
            v5(
                &[],
                vec![C(packet(0x82, &[&[0, 1, 2, 0x0b, 0], &text("t"), &[0]]))],
            ),
        ),
        (
            R::SubscriptionIdentifierSent,
            v5(&[], vec![publish5(&[0x0b, 1])]),
        ),
        (
            R::ResponseTopic,
            v5(&[], vec![publish5(&[0x08, 0, 1, b'#'])]),
        ),
        (
            R::AliasZero,
            v5(&[0x22, 0, 9], vec![publish5(&[0x23, 0, 0])]),
        ),
    ]
}

fn reason_codes() -> Vec<Broken> {
    vec![
        (
            R::PubAckReason,
            v5(
                &[],
                vec![S(publish(0x32, 1, 1)), C(vec![0x40, 3, 0, 1, 0x92])],
            ),
        ),
        (
            R::PubRecReason,
            v5(
                &[],
                vec![S(publish(0x34, 1, 1)), C(vec![0x50, 3, 0, 1, 0x01])],
            ),
        ),
        (
            R::PubRelReason,
            v5(&[], vec![S(ack(0x50, 1)), C(vec![0x62, 3, 0, 1, 0x80])]),
        ),
        (
            R::PubCompReason,
            v5(&[], vec![S(ack(0x62, 1)), C(vec![0x70, 3, 0, 1, 0x80])]),
        ),
        (R::DisconnectReason, v5(&[], vec![C(vec![0xe0, 1, 0x8d])])),
        (R::AuthReason, v5(&[], vec![C(vec![0xf0, 2, 0x01, 0])])),
    ]
}

fn connects() -> Vec<Broken> {
    vec![
        (R::ConnectFirst, vec![Open, C(vec![0xc0, 0])]),
        (R::ConnectOnce, v5(&[], vec![connect5(&[])])),
        (
            R::Protocol,
            vec![
                Open,
                C(packet(0x10, &[&text("MQTT"), &[6, 0, 0, 0, 0], &text("a")])),
            ],
        ),
        (
            R::Protocol,
            vec![
                Open,
                C(packet(0x10, &[&text("mqtt"), &[4, 0, 0, 0], &text("a")])),
            ],
        ),
        (R::ConnectFlags, vec![Open, connect(V3_1_1, 1, 0, &[], &[])]),
    ]
}

fn wills_and_names() -> Vec<Broken> {
    vec![
        (
            R::WillQos,
            vec![Open, connect(V3_1_1, 0x1c, 0, &[], &[0, 1, b't', 0, 0])],
        ),
        (
            R::WillAbsent,
            vec![Open, connect(V3_1_1, 0x08, 0, &[], &[])],
        ),
        (R::WillAbsent, vec![Open, connect(V5, 0x20, 0, &[], &[])]),
        (R::Layout, vec![Open, connect(V3_1_1, 0x04, 0, &[], &[])]),
        (
            R::TopicEmpty,
            vec![Open, connect(V3_1_1, 0x04, 0, &[], &[0, 0, 0, 0])],
        ),
        (
            R::TopicWildcard,
            vec![Open, connect(V5, 0x04, 0, &[], &[0, 0, 1, b'#', 0, 0])],
        ),
        (
            R::PasswordAlone,
            vec![Open, connect(V3_1_1, 0x40, 0, &[], &[0, 0])],
        ),
        (
            R::ClientIdentifier,
            vec![
                Open,
                C(packet(0x10, &[&text("MQTT"), &[4, 0, 0, 0], &text("")])),
            ],
        ),
        (
            R::ClientIdentifier,
            vec![
                Open,
                C(packet(0x10, &[&text("MQIsdp"), &[3, 2, 0, 0], &text("")])),
            ],
        ),
    ]
}

/// What is sent too early, too late, or not at all, and authentication.
fn connections() -> Vec<Broken> {
    vec![
        (
            R::BeforeConnAck,
            vec![Open, connect5(&[]), C(publish(0x30, 0, 1))],
        ),
        (
            R::AfterRefusal,
            vec![
                Open,
                connect5(&[]),
                S(vec![0x20, 3, 0, 0x87, 0]),
                C(vec![0xe0, 0]),
            ],
        ),
        (R::AfterDisconnect, v5(&[], vec![C(vec![0xe0, 0, 0xc0, 0])])),
        (
            R::ExpiryInDisconnect,
            v5(&[], vec![C(vec![0xe0, 7, 0, 5, 0x11, 0, 0, 0, 1])]),
        ),
        (
            R::KeepAlive,
            vec![
                Open,
                connect(V5, 0, 9, &[], &[]),
                connack5(0, &[]),
                Wait(10),
            ],
        ),
        (
            R::KeepAlive,
            v5(
                &[0x13, 0, 5],
                vec![C(vec![0xc0, 0]), Wait(6), C(vec![0xc0, 0])],
            ),
        ),
        (
            R::AuthUnasked,
            v5(&[], vec![C(vec![0xf0, 6, 0x19, 4, 0x15, 0, 1, b'm'])]),
        ),
        (
            R::AuthMethod,
            vec![
                Open,
                connect5(&[0x15, 0, 1, b'm']),
                S(vec![0xf0, 6, 0x18, 4, 0x15, 0, 1, b'm']),
                C(vec![0xf0, 6, 0x18, 4, 0x15, 0, 1, b'x']),
            ],
        ),
        (
            R::AuthContinue,
            vec![
                Open,
                connect5(&[0x15, 0, 1, b'm']),
                C(vec![0xf0, 6, 0x18, 4, 0x15, 0, 1, b'm']),
            ],
        ),
    ]
}

fn limits_of_the_server() -> Vec<Broken> {
    vec![
        (
            R::ReceiveMaximum,
            v5(
                &[0x21, 0, 1],
                vec![C(publish(0x32, 1, 1)), C(publish(0x34, 2, 2))],
            ),
        ),
        (
            R::PacketSize,
            v5(
                &[0x27, 0, 0, 0, 7],
                vec![C(publish(0x30, 0, 1)), C(publish(0x32, 1, 1))],
            ),
        ),
        (R::MaximumQos, v5(&[0x24, 0], vec![C(publish(0x32, 1, 1))])),
        (R::Retain, v5(&[0x25, 0], vec![C(publish(0x31, 0, 1))])),
        (
            R::AliasMaximum,
            v5(&[0x22, 0, 1], vec![publish5(&[0x23, 0, 2])]),
        ),
        (R::AliasMaximum, v5(&[], vec![publish5(&[0x23, 0, 1])])),
        (
            R::WildcardSubscription,
            v5(&[0x28, 0], vec![subscribe("a/+", 0)]),
        ),
        (
            R::SubscriptionIdentifier,
            v5(
                &[0x29, 0],
                vec![C(packet(0x82, &[&[0, 1, 2, 0x0b, 1], &text("t"), &[0]]))],
            ),
        ),
        (
            R::SharedSubscription,
            v5(&[0x2a, 0], vec![subscribe("$share/s/t", 0)]),
        ),
    ]
}

fn publishes() -> Vec<Broken> {
    vec![
        (R::Qos, v5(&[], vec![C(publish(0x36, 1, 1))])),
        (R::DupQos0, v5(&[], vec![C(publish(0x38, 0, 1))])),
        (
            R::DupMissing,
            v5(
                &[],
                [
                    vec![C(publish(0x32, 1, 1))],
                    again().into(),
                    vec![C(publish(0x32, 1, 1))],
                ]
                .into_iter()
                .flatten()
                .collect(),
            ),
        ),
        (R::DupClaimed, v3(vec![C(publish3(0x3a, 1, 1))])),
        (
            R::TopicEmpty,
            v5(&[], vec![C(packet(0x30, &[&text(""), &[0]]))]),
        ),
        (R::TopicEmpty, v5(&[], vec![publish5(&[0x08, 0, 0])])),
        (
            R::TopicWildcard,
            v5(&[], vec![C(packet(0x30, &[&text("a/+"), &[0]]))]),
        ),
        (
            R::AliasUnknown,
            v5(
                &[0x22, 0, 9],
                vec![
                    publish5(&[0x23, 0, 1]),
                    Open,
                    connect5(&[]),
                    connack5(0, &[0x22, 0, 9]),
                    C(packet(0x30, &[&text(""), &[3, 0x23, 0, 1]])),
                ],
            ),
        ),
        // 3.1 knows the flag of an older time.
        (
            R::DupMissing,
            vec![
                Open,
                connect(V3_1, 0, 0, &[], &[]),
                S(vec![0x20, 2, 0, 0]),
                C(publish3(0x32, 1, 1)),
                Open,
                connect(V3_1, 0, 0, &[], &[]),
                S(vec![0x20, 2, 0, 0]),
                C(publish3(0x32, 1, 1)),
            ],
        ),
    ]
}

fn identifiers_in_use() -> Vec<Broken> {
    vec![
        (
            R::IdentifierInUse,
            v5(&[], vec![C(publish(0x32, 1, 1)), C(publish(0x32, 1, 2))]),
        ),
        (
            R::IdentifierInUse,
            v5(&[], vec![C(publish(0x32, 1, 1)), subscribe("t", 0)]),
        ),
        (
            R::IdentifierInUse,
            v5(&[], vec![subscribe("t", 0), C(publish(0x34, 1, 1))]),
        ),
        (
            R::IdentifierInUse,
            v5(
                &[],
                vec![
                    C(publish(0x34, 1, 1)),
                    S(vec![0x90, 4, 0, 1, 0, 0]),
                    C(publish(0x34, 1, 2)),
                ],
            ),
        ),
    ]
}

fn resending() -> Vec<Broken> {
    vec![
        (
            R::SentTwice,
            v5(&[], vec![C(publish(0x32, 1, 1)), C(publish(0x3a, 1, 1))]),
        ),
        (
            R::SentTwice,
            v5(
                &[],
                vec![
                    C(publish(0x34, 1, 1)),
                    S(ack(0x50, 1)),
                    C(ack(0x62, 1)),
                    C(ack(0x62, 1)),
                ],
            ),
        ),
        (
            R::PublishReleased,
            v5(
                &[],
                [
                    vec![C(publish(0x34, 1, 1)), S(ack(0x50, 1)), C(ack(0x62, 1))],
                    again().into(),
                    vec![C(publish(0x3c, 1, 1))],
                ]
                .into_iter()
                .flatten()
                .collect(),
            ),
        ),
        (
            R::ResendOrder,
            v5(
                &[],
                [
                    vec![C(publish(0x32, 1, 1)), C(publish(0x34, 2, 2))],
                    again().into(),
                    vec![C(publish(0x3c, 2, 2)), C(publish(0x3a, 1, 1))],
                ]
                .into_iter()
                .flatten()
                .collect(),
            ),
        ),
    ]
}

fn releases() -> Vec<Broken> {
    vec![
        (
            R::PubRelUnasked,
            v5(&[], vec![C(publish(0x34, 1, 1)), C(ack(0x62, 1))]),
        ),
        (R::PubRelUnasked, v3(vec![C(ack(0x62, 1))])),
        (
            R::PubRelOrder,
            v5(
                &[],
                vec![
                    C(publish(0x34, 1, 1)),
                    C(publish(0x34, 2, 2)),
                    S(ack(0x50, 1)),
                    S(ack(0x50, 2)),
                    C(ack(0x62, 2)),
                ],
            ),
        ),
        (
            R::PubRelOrder,
            v5(
                &[],
                [
                    vec![
                        C(publish(0x34, 1, 1)),
                        C(publish(0x34, 2, 2)),
                        S(ack(0x50, 2)),
                        S(ack(0x50, 1)),
                    ],
                    vec![C(ack(0x62, 2)), C(ack(0x62, 1))],
                    again().into(),
                    vec![C(ack(0x62, 1)), C(ack(0x62, 2))],
                ]
                .into_iter()
                .flatten()
                .collect(),
            ),
        ),
    ]
}

fn acknowledgements() -> Vec<Broken> {
    vec![
        (R::AckUnasked, v5(&[], vec![C(ack(0x40, 1))])),
        (
            R::AckUnasked,
            v5(
                &[],
                vec![S(publish(0x34, 1, 1)), C(ack(0x50, 1)), C(ack(0x50, 1))],
            ),
        ),
        (
            R::AckKind,
            v5(&[], vec![S(publish(0x34, 1, 1)), C(ack(0x40, 1))]),
        ),
        (
            R::AckKind,
            v5(&[], vec![S(publish(0x32, 1, 1)), C(ack(0x50, 1))]),
        ),
        (
            R::PubAckOrder,
            v5(
                &[],
                vec![
                    S(publish(0x32, 1, 1)),
                    S(publish(0x32, 2, 2)),
                    C(ack(0x40, 2)),
                ],
            ),
        ),
        (
            R::PubRecOrder,
            v5(
                &[],
                vec![
                    S(publish(0x34, 1, 1)),
                    S(publish(0x34, 2, 2)),
                    C(ack(0x50, 2)),
                ],
            ),
        ),
        (
            R::PubCompUnasked,
            v5(
                &[],
                vec![S(publish(0x34, 1, 1)), C(ack(0x50, 1)), C(ack(0x70, 1))],
            ),
        ),
    ]
}

fn subscribes() -> Vec<Broken> {
    vec![
        (
            R::SubscribeEmpty,
            v5(&[], vec![C(packet(0x82, &[&[0, 1, 0]]))]),
        ),
        (R::UnsubscribeEmpty, v3(vec![C(packet(0xa2, &[&[0, 1]]))])),
        (R::SubscribeOptions, v5(&[], vec![subscribe("t", 3)])),
        (R::SubscribeOptions, v5(&[], vec![subscribe("t", 0x40)])),
        (R::SubscribeOptions, v5(&[], vec![subscribe("t", 0x30)])),
        (
            R::SubscribeOptions,
            v3(vec![C(packet(0x82, &[&[0, 1], &text("t"), &[4]]))]),
        ),
        (R::NoLocalShared, v5(&[], vec![subscribe("$share/s/t", 4)])),
    ]
}

fn filters() -> Vec<Broken> {
    vec![
        (R::FilterEmpty, v5(&[], vec![subscribe("", 0)])),
        (R::FilterHash, v5(&[], vec![subscribe("a/#/b", 0)])),
        (R::FilterHash, v5(&[], vec![subscribe("a#", 0)])),
        (
            R::FilterPlus,
            v3(vec![C(packet(0xa2, &[&[0, 1], &text("a+/b")]))]),
        ),
        (R::ShareName, v5(&[], vec![subscribe("$share/s", 0)])),
        (R::ShareName, v5(&[], vec![subscribe("$share//t", 0)])),
        (R::ShareName, v5(&[], vec![subscribe("$share/+/t", 0)])),
        (R::ShareName, v5(&[], vec![subscribe("$share/s/", 0)])),
    ]
}

/// The limits of the client, which the server breaks.
fn breaches_of_the_server() -> Vec<Broken> {
    vec![
        (
            R::ServerReceiveMaximum,
            vec![
                Open,
                connect5(&[0x21, 0, 1]),
                connack5(0, &[]),
                S(publish(0x32, 1, 1)),
                S(publish(0x34, 2, 2)),
            ],
        ),
        (
            R::ServerPacketSize,
            vec![
                Open,
                connect5(&[0x27, 0, 0, 0, 7]),
                connack5(0, &[]),
                S(publish(0x30, 0, 1)),
                S(publish(0x32, 1, 1)),
            ],
        ),
        (
            R::ServerAlias,
            v5(&[], vec![S(packet(0x30, &[&text("t"), &[3, 0x23, 0, 1]]))]),
        ),
    ]
}

//! Arbitrary packets of a version, as proptest strategies: whatever can be constructed and spelt in
//! it.

use martlet_proto::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Any packet that `version` has a spelling for.
pub fn packet(version: Version) -> BoxedStrategy<Packet> {
    let common = prop_oneof![
        1 => connect(version),
        1 => connack(version),
        4 => publish(version).prop_map(Packet::from),
        1 => ack(version, PubAckReasonCode::ALL).prop_map(Packet::PubAck),
        1 => ack(version, PubAckReasonCode::ALL).prop_map(Packet::PubRec),
        1 => ack(version, PubRelReasonCode::ALL).prop_map(Packet::PubRel),
        1 => ack(version, PubRelReasonCode::ALL).prop_map(Packet::PubComp),
        1 => subscribe(version),
        1 => suback(version),
        1 => unsubscribe(version),
        1 => unsuback(version),
        1 => Just(Packet::PingReq),
        1 => Just(Packet::PingResp),
        1 => disconnect(version),
    ];
    match version {
        Version::V5 => prop_oneof![14 => common, 1 => auth()].boxed(),
        _ => common.boxed(),
    }
}

/// In MQTT 5 what `strategy` gives; the default in 3.x.
fn only_v5<T: Clone + Default + core::fmt::Debug + 'static>(
    version: Version,
    strategy: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    if version == Version::V5 {
        strategy.boxed()
    } else {
        Just(T::default()).boxed()
    }
}

fn character() -> impl Strategy<Value = char> {
    prop_oneof![
        8 => proptest::char::range(' ', '~'),
        1 => select(vec!['\u{1}', '\u{7f}', 'é', '€', '\u{feff}', '\u{fffd}', '\u{10ffff}', '$', '/']),
        1 => any::<char>(),
    ]
    .prop_filter("U+0000 is not allowed", |c| *c != '\0')
}

fn string(len: core::ops::Range<usize>) -> impl Strategy<Value = String> {
    vec(character(), len).prop_map(|chars| chars.into_iter().collect())
}

fn text() -> impl Strategy<Value = Utf8String> {
    string(0..12).prop_map(|text| Utf8String::new(text).expect("short, and without U+0000"))
}

fn data() -> impl Strategy<Value = BinaryData> {
    vec(any::<u8>(), 0..12).prop_map(|bytes| BinaryData::new(bytes).expect("short"))
}

fn identifier() -> impl Strategy<Value = PacketIdentifier> {
    prop_oneof![1..=3u16, any::<u16>()]
        .prop_filter_map("0 is not an identifier", PacketIdentifier::new)
}

fn user_properties() -> impl Strategy<Value = UserProperties> {
    vec((text(), text()), 0..3).prop_map(UserProperties::from)
}

/// A topic name, wildcards left out.
pub fn topic_name() -> impl Strategy<Value = TopicName> {
    string(1..20).prop_map(|text| {
        TopicName::new(text.replace(['+', '#'], "x")).expect("not empty, and without wildcards")
    })
}

/// A topic filter, shared or not, out of few levels, so that it matches now and then.
pub fn topic_filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof![
        4 => select(vec!["a", "b", "+", "", "$SYS"]).prop_map(String::from),
        1 => string(1..5).prop_map(|text| text.replace(['+', '#', '/'], "x")),
    ];
    (
        vec(level, 1..5),
        any::<bool>(),
        option::weighted(0.2, "[a-z]{1,3}"),
    )
        .prop_map(|(mut levels, all, share)| {
            if all {
                levels.push("#".into());
            }
            let pattern = levels.join("/");
            let pattern = if pattern.is_empty() {
                "a".into()
            } else {
                pattern
            };
            let text = match share {
                Some(name) => format!("$share/{name}/{pattern}"),
                None => pattern,
            };
            // A first level "$share" would make it a shared one; there is none.
            TopicFilter::new(text).expect("wildcards are whole levels, '#' the last")
        })
}

/// A name made of the levels that filters are made of.
pub fn likely_topic_name() -> impl Strategy<Value = TopicName> {
    vec(select(vec!["a", "b", "", "$SYS", "c"]), 1..5).prop_map(|levels| {
        let name = levels.join("/");
        TopicName::new(if name.is_empty() { "a".into() } else { name })
            .expect("levels without wildcards")
    })
}

fn qos() -> impl Strategy<Value = QoS> {
    select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn delivery() -> impl Strategy<Value = Delivery> {
    prop_oneof![
        Just(Delivery::AtMostOnce),
        (identifier(), any::<bool>()).prop_map(|(packet_identifier, duplicate)| {
            Delivery::AtLeastOnce {
                packet_identifier,
                duplicate,
            }
        }),
        (identifier(), any::<bool>()).prop_map(|(packet_identifier, duplicate)| {
            Delivery::ExactlyOnce {
                packet_identifier,
                duplicate,
            }
        }),
    ]
}

/// Properties of a message.
pub fn properties() -> impl Strategy<Value = PublishProperties> {
    (
        option::of(any::<bool>()),
        option::of(any::<u32>()),
        option::of(topic_name()),
        option::of(data()),
        option::of(text()),
        user_properties(),
    )
        .prop_map(|(utf8, expiry, response, correlation, content, user)| {
            let mut builder = PublishProperties::builder();
            if let Some(yes) = utf8 {
                builder = builder.payload_is_utf8(yes);
            }
            if let Some(seconds) = expiry {
                builder = builder.message_expiry_interval(seconds);
            }
            if let Some(topic) = response {
                builder = builder.response_topic(topic);
            }
            if let Some(data) = correlation {
                builder = builder.correlation_data(data);
            }
            if let Some(content_type) = content {
                builder = builder.content_type(content_type);
            }
            user.iter()
                .fold(builder, |builder, (name, value)| {
                    builder.try_user_property(name, value).expect("it was one")
                })
                .build()
        })
}

/// A PUBLISH, in MQTT 5 with whatever it can have.
pub fn publish(version: Version) -> impl Strategy<Value = Publish> {
    let subscription_identifier = (1..=SubscriptionIdentifier::MAX)
        .prop_map(|value| SubscriptionIdentifier::new(value).expect("in its range"));
    let sending = (
        option::of(any::<u32>()),
        option::of((identifier(), any::<bool>())),
        vec(subscription_identifier, 0..3),
    );
    (
        topic_name(),
        vec(any::<u8>(), 0..200),
        delivery(),
        any::<bool>(),
        only_v5(version, properties()),
        only_v5(version, sending),
    )
        .prop_map(
            |(topic, payload, delivery, retain, properties, (expiry, alias, identifiers))| {
                let mut publish = PublishRef::new(&topic, &payload)
                    .with_delivery(delivery)
                    .with_retain(retain)
                    .with_properties(&properties)
                    .with_subscription_identifiers(&identifiers);
                if let Some(seconds) = expiry {
                    publish = publish.with_message_expiry_interval(seconds);
                }
                publish = match alias {
                    Some((alias, true)) => publish.with_topic_alias_only(alias),
                    Some((alias, false)) => publish.with_topic_alias(alias),
                    None => publish,
                };
                Publish::from(publish)
            },
        )
}

fn connect(version: Version) -> impl Strategy<Value = Packet> {
    let will = (
        topic_name(),
        data(),
        qos(),
        any::<bool>(),
        only_v5(version, option::of(any::<u32>())),
        only_v5(version, properties()),
    )
        .prop_map(
            |(topic, payload, qos, retain, delay_interval, properties)| Will {
                topic,
                payload,
                qos,
                retain,
                delay_interval,
                properties,
            },
        );
    let limits = (
        option::of(any::<u32>()),
        option::of(identifier()),
        option::of(any::<u32>()),
        option::of(any::<u16>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
    );
    let properties = (limits, authentication(), user_properties()).prop_map(
        |(limits, (method, data), user_properties)| ConnectProperties {
            session_expiry_interval: limits.0,
            receive_maximum: limits.1,
            maximum_packet_size: limits.2.and_then(core::num::NonZeroU32::new),
            topic_alias_maximum: limits.3,
            request_response_information: limits.4,
            request_problem_information: limits.5,
            authentication_method: method,
            authentication_data: data,
            user_properties,
        },
    );
    let head = (any::<bool>(), any::<u16>(), string(0..12));
    (
        head,
        option::of(will),
        option::of(text()),
        option::of(data()),
        only_v5(version, properties),
    )
        .prop_map(
            move |((clean_start, keep_alive, name), will, user_name, password, properties)| {
                // Only MQTT 5 knows a nameless client that is to be remembered, and a password
                // without a name.
                let name = if name.is_empty() && version != Version::V5 {
                    "c".into()
                } else {
                    name
                };
                let password = password.filter(|_| version == Version::V5 || user_name.is_some());
                Connect {
                    version,
                    clean_start,
                    keep_alive,
                    client_identifier: Utf8String::new(name).expect("short, and without U+0000"),
                    will,
                    user_name,
                    password,
                    properties,
                }
                .into()
            },
        )
}

/// A method, and data only with it.
fn authentication() -> impl Strategy<Value = (Option<Utf8String>, Option<BinaryData>)> {
    option::of((text(), option::of(data()))).prop_map(|both| match both {
        Some((method, data)) => (Some(method), data),
        None => (None, None),
    })
}

fn connack(version: Version) -> impl Strategy<Value = Packet> {
    let reasons: Vec<_> = ConnectReasonCode::ALL
        .iter()
        .copied()
        .filter(|reason| version == Version::V5 || reason.return_code().is_some())
        .collect();
    let numbers = (
        option::of(any::<u32>()),
        option::of(identifier()),
        option::of(any::<u32>()),
        option::of(any::<u16>()),
        option::of(any::<u16>()),
    );
    let flags = vec(option::of(any::<bool>()), 5);
    let texts = vec(option::of(text()), 4);
    let properties = (numbers, flags, texts, authentication(), user_properties()).prop_map(
        |(numbers, flags, mut texts, (method, data), user_properties)| ConnAckProperties {
            session_expiry_interval: numbers.0,
            receive_maximum: numbers.1,
            maximum_packet_size: numbers.2.and_then(core::num::NonZeroU32::new),
            topic_alias_maximum: numbers.3,
            server_keep_alive: numbers.4,
            // QoS 2 is spelt by leaving it out.
            maximum_qos: flags[0].map(|once| {
                if once {
                    QoS::AtLeastOnce
                } else {
                    QoS::AtMostOnce
                }
            }),
            retain_available: flags[1],
            wildcard_subscription_available: flags[2],
            subscription_identifier_available: flags[3],
            shared_subscription_available: flags[4],
            assigned_client_identifier: texts[0].take(),
            reason_string: texts[1].take(),
            response_information: texts[2].take(),
            server_reference: texts[3].take(),
            authentication_method: method,
            authentication_data: data,
            user_properties,
        },
    );
    (any::<bool>(), select(reasons), only_v5(version, properties)).prop_map(
        move |(present, reason, properties)| {
            let session_present = present && !reason.is_error() && version != Version::V3_1;
            ConnAck {
                session_present,
                reason,
                properties,
            }
            .into()
        },
    )
}

fn explanation(version: Version) -> impl Strategy<Value = (Option<Utf8String>, UserProperties)> {
    only_v5(version, (option::of(text()), user_properties()))
}

fn ack<R: Copy + core::fmt::Debug + 'static>(
    version: Version,
    reasons: &'static [R],
) -> impl Strategy<Value = Ack<R>> {
    // The first of each list is success, which is all that 3.x knows.
    let reasons = if version == Version::V5 {
        reasons
    } else {
        &reasons[..1]
    };
    (identifier(), select(reasons), explanation(version)).prop_map(
        |(packet_identifier, reason, (reason_string, user_properties))| {
            Ack::new(packet_identifier, reason).with_properties(AckProperties {
                reason_string,
                user_properties,
            })
        },
    )
}

fn subscribe(version: Version) -> impl Strategy<Value = Packet> {
    let handling = select(vec![
        RetainHandling::Send,
        RetainHandling::SendIfNew,
        RetainHandling::DoNotSend,
    ]);
    let options = only_v5(version, (any::<bool>(), any::<bool>(), handling));
    let subscription = (topic_filter(), qos(), options).prop_map(
        |(filter, qos, (no_local, retain_as_published, retain_handling))| SubscribeFilter {
            no_local: no_local && filter.share_name().is_none(),
            filter,
            qos,
            retain_as_published,
            retain_handling,
        },
    );
    let subscription_identifier = option::of(
        (1..=SubscriptionIdentifier::MAX)
            .prop_map(|value| SubscriptionIdentifier::new(value).expect("in its range")),
    );
    (
        identifier(),
        only_v5(version, subscription_identifier),
        only_v5(version, user_properties()),
        vec(subscription, 1..4),
    )
        .prop_map(
            |(packet_identifier, subscription_identifier, user_properties, subscriptions)| {
                Subscribe {
                    packet_identifier,
                    subscription_identifier,
                    user_properties,
                    subscriptions,
                }
                .into()
            },
        )
}

fn suback(version: Version) -> impl Strategy<Value = Packet> {
    let known = match version {
        Version::V3_1 => 3,
        Version::V3_1_1 => 4,
        Version::V5 => SubAckReasonCode::ALL.len(),
    };
    (
        identifier(),
        explanation(version),
        vec(select(&SubAckReasonCode::ALL[..known]), 1..4),
    )
        .prop_map(
            |(packet_identifier, (reason_string, user_properties), reasons)| {
                SubAck {
                    packet_identifier,
                    reason_string,
                    user_properties,
                    reasons,
                }
                .into()
            },
        )
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Packet> {
    (
        identifier(),
        only_v5(version, user_properties()),
        vec(topic_filter(), 1..4),
    )
        .prop_map(|(packet_identifier, user_properties, filters)| {
            Unsubscribe {
                packet_identifier,
                user_properties,
                filters,
            }
            .into()
        })
}

fn unsuback(version: Version) -> impl Strategy<Value = Packet> {
    let reasons = only_v5(version, vec(select(UnsubAckReasonCode::ALL), 1..4));
    (identifier(), explanation(version), reasons).prop_map(
        |(packet_identifier, (reason_string, user_properties), reasons)| {
            UnsubAck {
                packet_identifier,
                reason_string,
                user_properties,
                reasons,
            }
            .into()
        },
    )
}

fn disconnect(version: Version) -> impl Strategy<Value = Packet> {
    let known = if version == Version::V5 {
        DisconnectReasonCode::ALL.len()
    } else {
        1
    };
    let rest = only_v5(version, (option::of(any::<u32>()), option::of(text())));
    (
        select(&DisconnectReasonCode::ALL[..known]),
        explanation(version),
        rest,
    )
        .prop_map(
            |(
                reason,
                (reason_string, user_properties),
                (session_expiry_interval, server_reference),
            )| {
                Disconnect {
                    reason,
                    session_expiry_interval,
                    reason_string,
                    user_properties,
                    server_reference,
                }
                .into()
            },
        )
}

fn auth() -> impl Strategy<Value = Packet> {
    let full = (
        select(AuthReasonCode::ALL),
        text(),
        option::of(data()),
        explanation(Version::V5),
    )
        .prop_map(
            |(reason, method, authentication_data, (reason_string, user_properties))| Auth {
                reason,
                authentication_method: Some(method),
                authentication_data,
                reason_string,
                user_properties,
            },
        );
    prop_oneof![4 => full, 1 => Just(Auth::new(AuthReasonCode::Success))].prop_map(Packet::from)
}

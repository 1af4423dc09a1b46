//! Flaws that a relay makes up before a broker, and what `martlet probe` says of them.

use crate::meddler::{Meddle, Parts, meddler};
use crate::probe::Probed;
use crate::run::{martlet, run, status};
use martlet_broker::Direction::{FromClient, ToClient};
use martlet_broker::proto::{
    Connect, Delivery, Packet, PublishProperties, RetainHandling, SubscribeFilter, TopicFilter,
    TopicName, Version,
};
use martlet_broker::{Direction, TestBroker};
use std::num::NonZeroU16;
use std::sync::Arc;

/// Does this to each PUBLISH in one direction.
fn publishes(
    in_direction: Direction,
    change: impl Fn(&mut Parts) + Send + Sync + 'static,
) -> Meddle {
    Arc::new(move |direction, packet| match packet {
        Packet::Publish(publish) if direction == in_direction => {
            let mut parts = Parts::of(&publish);
            change(&mut parts);
            vec![parts.packet(Version::V5)]
        }
        packet => vec![packet],
    })
}

/// Does this to each packet; `None` drops it.
fn packets(
    in_direction: Direction,
    change: impl Fn(Packet) -> Option<Packet> + Send + Sync + 'static,
) -> Meddle {
    Arc::new(move |direction, packet| match direction == in_direction {
        true => change(packet).into_iter().collect(),
        false => vec![packet],
    })
}

/// Loses messages to clients whose topic ends with this.
fn loses(end: &'static str) -> Meddle {
    packets(ToClient, move |packet| match packet {
        Packet::Publish(publish) if publish.topic().ends_with(end) => None,
        packet => Some(packet),
    })
}

/// Does this to each filter of a SUBSCRIBE.
fn filters(change: impl Fn(&mut SubscribeFilter) + Send + Sync + 'static) -> Meddle {
    packets(FromClient, move |mut packet| {
        if let Packet::Subscribe(subscribe) = &mut packet {
            subscribe.subscriptions.iter_mut().for_each(&change);
        }
        Some(packet)
    })
}

/// Does this to each CONNECT.
fn connects(change: impl Fn(&mut Connect) + Send + Sync + 'static) -> Meddle {
    packets(FromClient, move |mut packet| {
        if let Packet::Connect(connect) = &mut packet {
            change(connect);
        }
        Some(packet)
    })
}

fn is_duplicate(packet: &Packet) -> bool {
    matches!(packet, Packet::Publish(publish) if publish.delivery().duplicate())
}

/// A flaw, the capability that it is about, the result, and a part of the note.
type Flaw = (Meddle, &'static str, &'static str, &'static str);

fn flaws_of_messages() -> Vec<Flaw> {
    let without_properties = || {
        publishes(ToClient, |parts| {
            parts.properties = PublishProperties::default();
        })
    };
    vec![
        (without_properties(), "user-properties", "no", "dropped"),
        (without_properties(), "message-properties", "no", "dropped"),
        (
            without_properties(),
            "message-expiry",
            "limited",
            "not passed on",
        ),
        (
            publishes(ToClient, |parts| {
                let expiry = parts.properties.as_ref().message_expiry_interval();
                if expiry.is_some() {
                    parts.properties = parts.properties.with_message_expiry_interval(100);
                }
            }),
            "message-expiry",
            "limited",
            "not counted down",
        ),
        (
            publishes(FromClient, |parts| {
                if parts.payload == "short" {
                    parts.properties = PublishProperties::default();
                }
            }),
            "message-expiry",
            "no",
            "after it has expired",
        ),
        (
            publishes(ToClient, |parts| {
                if parts.payload == "4" {
                    parts.topic = Some(TopicName::new("elsewhere").unwrap());
                }
            }),
            "topic-aliases",
            "no",
            "other topics",
        ),
        (
            publishes(ToClient, |parts| {
                if let (None, Some(alias)) = (&parts.topic, parts.alias) {
                    parts.alias = NonZeroU16::new(3 - alias.get());
                }
            }),
            "topic-aliases-from-server",
            "no",
            "wrong topic",
        ),
        (
            connects(|connect| connect.properties.topic_alias_maximum = None),
            "topic-aliases-from-server",
            "no",
            "whole topic",
        ),
        (
            packets(ToClient, |packet| match packet {
                Packet::Publish(publish) if publish.payload() == b"changed" => None,
                Packet::Publish(publish) if !publish.is_empty() => {
                    let mut parts = Parts::of(&publish);
                    parts.payload = parts.payload.slice(..parts.payload.len().min(1000));
                    Some(parts.packet(Version::V5))
                }
                packet => Some(packet),
            }),
            "largest-payload",
            "limited",
            "comes back changed",
        ),
    ]
}

fn flaws_of_retained_messages() -> Vec<Flaw> {
    vec![
        (
            publishes(FromClient, |parts| parts.retain = false),
            "retained-messages",
            "no",
            "does not get it",
        ),
        (
            publishes(ToClient, |parts| parts.retain = false),
            "retained-messages",
            "limited",
            "without the flag",
        ),
        (
            publishes(FromClient, |parts| {
                parts.retain &= !parts.payload.is_empty();
            }),
            "retained-cleared",
            "no",
            "does not clear",
        ),
        (
            filters(|filter| {
                if filter.filter.has_wildcards() {
                    filter.retain_handling = RetainHandling::DoNotSend;
                }
            }),
            "retained-for-wildcards",
            "no",
            "topic itself",
        ),
        (
            filters(|filter| filter.retain_handling = RetainHandling::Send),
            "retain-handling",
            "no",
            "1 at a repeated subscription, 2 at a new subscription",
        ),
        (
            filters(|filter| filter.retain_as_published = false),
            "retain-as-published",
            "no",
            "cleared",
        ),
        (
            filters(|filter| filter.retain_as_published = true),
            "retain-as-published",
            "no",
            "without it",
        ),
    ]
}

fn flaws_of_wildcards() -> Vec<Flaw> {
    vec![
        (loses("/y"), "wildcards", "limited", "y/# does not match y"),
        (loses("/c/d"), "wildcards", "no", "a/+/c/# and a/b/c/d"),
        (
            filters(|filter| {
                if let Some(rest) = filter.filter.as_str().strip_suffix("+/x") {
                    filter.filter = TopicFilter::new(format!("{rest}#")).unwrap();
                }
            }),
            "wildcards",
            "limited",
            "+/x and 1/2/x",
        ),
        (
            filters(|filter| {
                if let Some(rest) = filter.filter.as_str().strip_prefix("+/") {
                    filter.filter = TopicFilter::new(format!("$SYS/{rest}")).unwrap();
                }
            }),
            "wildcards-spare-dollar-topics",
            "no",
            "matches $SYS",
        ),
    ]
}

fn flaws_of_subscriptions() -> Vec<Flaw> {
    vec![
        (
            filters(|filter| {
                filter.filter = TopicFilter::new(filter.filter.pattern()).unwrap();
            }),
            "shared-subscriptions",
            "no",
            "at both members",
        ),
        (
            filters(|filter| {
                if filter.filter.share_name().is_some() {
                    filter.filter = TopicFilter::new("nothing").unwrap();
                }
            }),
            "shared-subscriptions",
            "no",
            "taken for a topic",
        ),
        // RabbitMQ has a queue for each QoS: a message for two subscriptions of one QoS comes once.
        (
            Arc::new(|direction, packet| match &packet {
                Packet::Publish(publish)
                    if direction == ToClient && publish.topic().ends_with("/overlap/x") =>
                {
                    let mut parts = Parts::of(publish);
                    parts.delivery = Delivery::AtMostOnce;
                    vec![parts.packet(Version::V5), packet]
                }
                _ => vec![packet],
            }),
            "overlapping-subscriptions",
            "yes",
            "where they differ",
        ),
        (
            publishes(ToClient, |parts| parts.identifiers.clear()),
            "subscription-identifiers",
            "no",
            "without them",
        ),
        (
            publishes(ToClient, |parts| parts.identifiers.truncate(1)),
            "subscription-identifiers",
            "limited",
            "one is named",
        ),
        (
            filters(|filter| filter.no_local = false),
            "no-local",
            "no",
            "its own messages",
        ),
        (
            publishes(ToClient, |parts| {
                if parts.delivery == Delivery::AtMostOnce {
                    parts.delivery = Delivery::AtLeastOnce {
                        packet_identifier: NonZeroU16::MAX,
                        duplicate: false,
                    };
                }
            }),
            "delivery-qos",
            "no",
            "published at QoS 0, subscribed at QoS 2, delivered at QoS 1",
        ),
    ]
}

/// Of a server that forgets each session with its connection.
fn flaws_of_a_forgetful_server() -> Vec<Flaw> {
    let forgetful = || connects(|connect| connect.clean_start = true);
    vec![
        (
            forgetful(),
            "session-kept",
            "no",
            "ends with its connection",
        ),
        (
            forgetful(),
            "session-without-subscriptions",
            "no",
            "not kept",
        ),
        (forgetful(), "offline-qos-1", "no", "dropped"),
        (forgetful(), "offline-order", "not-tried", "do not wait"),
        (forgetful(), "redelivery", "no", "nothing comes"),
        (
            forgetful(),
            "receive-maximum-obeyed",
            "not-tried",
            "no message arrives",
        ),
        (
            forgetful(),
            "qos-2-publish",
            "no",
            "did not keep the session",
        ),
    ]
}

fn flaws_of_sessions() -> Vec<Flaw> {
    vec![
        (
            // A server for which Clean Start is the Clean Session of 3.1.1.
            connects(|connect| {
                if connect.clean_start {
                    connect.properties.session_expiry_interval = None;
                }
            }),
            "session-kept",
            "limited",
            "with Clean Start",
        ),
        (
            packets(ToClient, |packet| match packet {
                Packet::ConnAck(mut answer) => {
                    answer.properties.assigned_client_identifier = None;
                    Some(Packet::ConnAck(answer))
                }
                packet => Some(packet),
            }),
            "empty-client-identifier",
            "limited",
            "assigns no identifier",
        ),
        (
            packets(ToClient, |packet| match packet {
                Packet::Disconnect(_) => None,
                packet => Some(packet),
            }),
            "session-takeover",
            "limited",
            "without a reason",
        ),
        (
            // The same message once more, as long as it is not on its way for the second time.
            Arc::new(|direction, packet| match &packet {
                Packet::Publish(publish) if direction == ToClient => {
                    let mut parts = Parts::of(publish);
                    parts.delivery = Delivery::AtMostOnce;
                    vec![parts.packet(Version::V5), packet]
                }
                _ => vec![packet],
            }),
            "offline-qos-1",
            "no",
            "arrives 2 times",
        ),
        (
            publishes(ToClient, |parts| {
                let last = parts.payload.last().copied();
                parts.payload = last.map(|byte| vec![19 - byte]).unwrap_or_default().into();
            }),
            "offline-order",
            "no",
            "another order",
        ),
    ]
}

fn flaws_of_redelivery() -> Vec<Flaw> {
    vec![
        (
            packets(ToClient, |packet| {
                (!is_duplicate(&packet)).then_some(packet)
            }),
            "redelivery",
            "no",
            "nothing comes",
        ),
        (
            publishes(ToClient, |parts| {
                if let Delivery::AtLeastOnce { duplicate, .. } = &mut parts.delivery {
                    *duplicate = false;
                }
            }),
            "redelivery-dup",
            "no",
            "for the first time",
        ),
        (
            publishes(ToClient, |parts| {
                if parts.delivery.duplicate() {
                    parts.payload = vec![4 - parts.payload[0]].into();
                }
            }),
            "redelivery-order",
            "no",
            "[4, 3, 2, 1, 0]",
        ),
        // ejabberd sends a message when the one before it is acknowledged.
        (
            window_of_one(),
            "redelivery",
            "yes",
            "1 of 5 came before the cut",
        ),
    ]
}

/// Of messages that come for the first time, the others wait.
fn window_of_one() -> Meddle {
    packets(ToClient, |packet| match &packet {
        Packet::Publish(publish) => {
            let is_later = publish.topic().ends_with("/redelivery")
                && !publish.delivery().duplicate()
                && publish.payload() != [0];
            (!is_later).then_some(packet)
        }
        _ => Some(packet),
    })
}

fn flaws_of_qos_2() -> Vec<Flaw> {
    vec![
        (
            Arc::new(|direction, packet| match &packet {
                Packet::Publish(publish) if direction == ToClient => {
                    let mut parts = Parts::of(publish);
                    parts.delivery = Delivery::AtMostOnce;
                    vec![parts.packet(Version::V5), packet]
                }
                _ => vec![packet],
            }),
            "qos-2-publish",
            "no",
            "before PUBREC: 2 times",
        ),
        (
            packets(FromClient, |packet| match packet {
                Packet::Publish(publish) if publish.payload() == b"after PUBLISH" => None,
                packet => Some(packet),
            }),
            "qos-2-publish",
            "no",
            "after PUBLISH: no PUBREC in time",
        ),
        (
            publishes(ToClient, |parts| {
                if let Delivery::ExactlyOnce {
                    packet_identifier,
                    duplicate: true,
                } = &mut parts.delivery
                {
                    *packet_identifier = NonZeroU16::MAX;
                }
            }),
            "qos-2-deliver",
            "no",
            "after PUBLISH: it arrives twice",
        ),
        (
            packets(ToClient, |packet| {
                (!is_duplicate(&packet)).then_some(packet)
            }),
            "qos-2-deliver",
            "no",
            "after PUBLISH: it is not sent again",
        ),
    ]
}

fn flaws_of_wills_and_windows() -> Vec<Flaw> {
    vec![
        (
            connects(|connect| connect.will = None),
            "will-on-cut",
            "no",
            "not within",
        ),
        (
            packets(FromClient, |packet| match packet {
                Packet::Disconnect(_) => None,
                packet => Some(packet),
            }),
            "will-not-on-disconnect",
            "no",
            "all the same",
        ),
        (
            connects(|connect| {
                if let Some(will) = &mut connect.will {
                    will.delay_interval = None;
                }
            }),
            "will-delay",
            "no",
            "at once",
        ),
        (
            connects(|connect| connect.properties.receive_maximum = None),
            "receive-maximum-obeyed",
            "no",
            "for 1",
        ),
    ]
}

/// Each flaw is seen for what it is. They are tried a few at a time: most of the time passes.
#[track_caller]
fn assert_seen(flaws: &[Flaw]) {
    for some in flaws.chunks(4) {
        std::thread::scope(|scope| {
            for (meddle, name, result, note) in some {
                scope.spawn(move || {
                    let broker = TestBroker::start().unwrap();
                    let port = meddler(broker.local_addr(), meddle);
                    let options = format!("probe --json -h 127.0.0.1 -p {port} --only {name}");
                    let ended = run(&mut martlet(options.split(' '))).expect(status::DONE);
                    let probed = Probed::of(&ended);
                    assert_eq!(probed.result(name), *result, "{name}, {note}: {probed:?}");
                    assert!(
                        probed.text(name, "note").contains(note),
                        "{note}: {probed:?}"
                    );
                });
            }
        });
    }
}

#[test]
fn flaws_of_messages_are_seen() {
    assert_seen(&flaws_of_messages());
}

#[test]
fn flaws_of_retained_messages_are_seen() {
    assert_seen(&flaws_of_retained_messages());
}

#[test]
fn flaws_of_subscriptions_are_seen() {
    assert_seen(&flaws_of_wildcards());
    assert_seen(&flaws_of_subscriptions());
}

#[test]
fn flaws_of_sessions_are_seen() {
    assert_seen(&flaws_of_a_forgetful_server());
    assert_seen(&flaws_of_sessions());
}

#[test]
fn flaws_of_delivery_are_seen() {
    assert_seen(&flaws_of_redelivery());
    assert_seen(&flaws_of_qos_2());
    assert_seen(&flaws_of_wills_and_windows());
}

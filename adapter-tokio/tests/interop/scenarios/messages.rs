//! How messages of each kind arrive.

use super::{Place, connect, disconnect, next, next_text, publish, subscribe};
use crate::flaws::Flaw;
use martlet_tokio::hooks::Observer;
use martlet_tokio::proto::{BinaryData, Packet, Utf8String};
use martlet_tokio::{PublishProperties, QoS, TopicName, Version, session::Instant};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) async fn messages_of_each_qos_cross_at_once(place: Place) {
    const MANY: usize = 100;
    let subscriber = connect(place.builder()).await;
    let (filter, highest) = (place.own("each/+"), place.highest_qos());
    let mut messages = subscribe(&subscriber, &filter, highest).await;
    let publisher = connect(place.builder()).await;
    let topics = place
        .qos()
        .iter()
        .map(|&qos| (place.own(&format!("each/{}", qos as u8)), qos));
    let topics: BTreeMap<String, QoS> = topics.collect();
    let publishing = topics.clone().into_iter().map(|(topic, qos)| {
        let publisher = publisher.clone();
        tokio::spawn(async move {
            let mut receipts = Vec::new();
            for n in 0..MANY {
                let publish = publisher.publish(&*topic, n.to_string()).qos(qos);
                receipts.push(publish.enqueue().await.expect("accepted"));
            }
            for receipt in receipts {
                receipt.await.expect("acknowledged");
            }
        })
    });
    let publishing: Vec<_> = publishing.collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..MANY * topics.len() {
        let message = next(&mut messages).await;
        let (topic, &qos) = topics
            .get_key_value(message.topic())
            .expect("one of the topics");
        let count = counts.entry(topic).or_default();
        let qos = if place.has(Flaw::QosOfSubscription) {
            highest
        } else {
            qos
        };
        assert_eq!(
            (message.text(), message.qos()),
            (Some(&*count.to_string()), qos),
            "{topic}"
        );
        *count += 1;
    }
    for publishing in publishing {
        publishing.await.expect("all are acknowledged");
    }
    assert_eq!((publisher.in_flight(), publisher.queued()), (0, 0));
    disconnect(publisher).await;
    disconnect(subscriber).await;
}

pub(super) async fn retained_messages_come_and_are_cleared(place: Place) {
    if place.has(Flaw::RetainsLater) {
        return;
    }
    let client = connect(place.builder()).await;
    let topic = place.own("retained/one");
    let filter = if place.has(Flaw::NoRetainedForWildcards) {
        topic.clone()
    } else {
        place.own("retained/+")
    };
    for &qos in place.qos() {
        client
            .publish(&*topic, "before")
            .qos(qos)
            .retain(true)
            .await
            .expect("acknowledged");
        // At QoS 0 this is how to know that it has come.
        client.ping().await.expect("an answer");
        let mut messages = subscribe(&client, &filter, qos).await;
        let message = next(&mut messages).await;
        assert_eq!(
            (message.topic(), message.text(), message.retain()),
            (&*topic, Some("before"), true)
        );
        client
            .publish(&*topic, "after")
            .qos(qos)
            .retain(true)
            .await
            .expect("acknowledged");
        let message = next(&mut messages).await;
        assert_eq!((message.text(), message.retain()), (Some("after"), false));
        // An empty one clears.
        client
            .publish(&*topic, "")
            .qos(qos)
            .retain(true)
            .await
            .expect("acknowledged");
        assert_eq!(next(&mut messages).await.payload(), b"");
        messages.unsubscribe().await.expect("an answer");
        let mut messages = subscribe(&client, &filter, qos).await;
        publish(&client, &topic, "fence", qos).await;
        assert_eq!(
            next_text(&mut messages).await,
            "fence",
            "nothing is retained any more"
        );
        messages.unsubscribe().await.expect("an answer");
    }
    disconnect(client).await;
}

pub(super) async fn large_payloads_arrive_as_they_were_sent(place: Place) {
    let client = connect(place.builder()).await;
    // No period that a buffer's size could hide.
    let payload: Vec<u8> = (0..300_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let topic = place.own("large");
    for &qos in place.qos() {
        let mut messages = subscribe(&client, &topic, qos).await;
        publish(&client, &topic, payload.clone(), qos).await;
        let message = next(&mut messages).await;
        assert!(
            message.payload() == payload,
            "{qos}: {} bytes",
            message.payload().len()
        );
        messages.unsubscribe().await.expect("an answer");
    }
    disconnect(client).await;
}

/// Counts topic aliases that stand for a topic.
#[derive(Default, Clone)]
struct Aliases(Arc<AtomicUsize>);

impl Observer for Aliases {
    fn packet_sent(&mut self, _at: Instant, packet: &Packet) {
        if let Packet::Publish(publish) = packet {
            let is_alias =
                publish.topic().is_empty() && publish.properties().topic_alias().is_some();
            self.0.fetch_add(usize::from(is_alias), Ordering::Relaxed);
        }
    }

    fn packet_received(&mut self, _at: Instant, _packet: &Packet) {}
}

pub(super) async fn topic_aliases_are_used_and_understood(place: Place) {
    if place.version != Version::V5 {
        return;
    }
    const MANY: usize = 20;
    let aliases = Aliases::default();
    let publisher = connect(place.builder().observer(aliases.clone())).await;
    let subscriber = connect(place.builder()).await;
    let topics = ["one", "two", "three"]
        .map(|name| place.own(&format!("a/rather/long/topic/aliased/{name}")));
    let filter = place.own("a/rather/long/topic/aliased/+");
    let mut messages = subscribe(&subscriber, &filter, QoS::AtLeastOnce).await;
    for n in 0..MANY {
        for topic in &topics {
            publish(&publisher, topic, n.to_string(), QoS::AtLeastOnce).await;
        }
    }
    let mut counts = BTreeMap::from(topics.clone().map(|topic| (topic, 0)));
    for _ in 0..MANY * topics.len() {
        let message = next(&mut messages).await;
        let count = counts.get_mut(message.topic()).expect("one of the topics");
        assert_eq!(message.text(), Some(&*count.to_string()));
        *count += 1;
    }
    let allowed = publisher
        .connection()
        .expect("connected")
        .limits
        .topic_alias_maximum;
    assert_eq!(
        aliases.0.load(Ordering::Relaxed) > 0,
        allowed > 0,
        "{allowed} are allowed"
    );
    disconnect(publisher).await;
    disconnect(subscriber).await;
}

pub(super) async fn properties_arrive_and_requests_are_answered(place: Place) {
    if place.version != Version::V5 {
        return;
    }
    let text = |text: &'static str| Utf8String::from_static(text).expect("text");
    let [client, other] = [
        connect(place.builder()).await,
        connect(place.builder()).await,
    ];
    let (topic, responses) = (place.own("properties"), place.own("responses"));
    let mut messages = subscribe(&client, &topic, QoS::AtLeastOnce).await;
    let properties = PublishProperties::builder()
        .payload_is_utf8(true)
        .message_expiry_interval(1000)
        .content_type(text("text/plain"))
        .response_topic(TopicName::new(&*responses).expect("a topic name"))
        .correlation_data(BinaryData::new(&b"\0\xff"[..]).expect("short"))
        .user_property(text("b"), text("1"))
        .user_property(text("a"), text("2"))
        .user_property(text("b"), text("3"))
        .build();
    other
        .publish(&*topic, "x")
        .qos(QoS::AtLeastOnce)
        .properties(properties)
        .await
        .expect("acknowledged");
    let message = next(&mut messages).await;
    let properties = message.properties();
    assert_eq!(properties.payload_is_utf8(), Some(true));
    assert!(
        properties
            .message_expiry_interval()
            .is_some_and(|seconds| (900..=1000).contains(&seconds))
    );
    assert_eq!(properties.content_type(), Some("text/plain"));
    assert_eq!(properties.response_topic(), Some(&*responses));
    assert_eq!(properties.correlation_data(), Some(&b"\0\xff"[..]));
    assert!(
        properties
            .user_properties()
            .eq([("b", "1"), ("a", "2"), ("b", "3")])
    );

    let answering = async {
        let question = next(&mut messages).await;
        let topic = question
            .properties()
            .response_topic()
            .expect("it is a request")
            .to_owned();
        let data = question
            .properties()
            .correlation_data()
            .expect("it is a request")
            .to_vec();
        let properties =
            PublishProperties::builder().correlation_data(BinaryData::new(data).expect("short"));
        let answer = client
            .publish(&*topic, "yes")
            .qos(QoS::AtLeastOnce)
            .properties(properties.build());
        answer.await.expect("acknowledged");
    };
    let (answer, ()) = tokio::join!(other.request(&*topic, "well?").into_future(), answering);
    assert_eq!(answer.expect("an answer").text(), Some("yes"));
    disconnect(other).await;
    disconnect(client).await;
}

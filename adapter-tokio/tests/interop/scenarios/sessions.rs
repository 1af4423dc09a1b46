//! Sessions, wills, and connections that are cut.

use super::{Place, connect, disconnect, next, next_text, publish, subscribe};
use crate::flaws::Flaw;
use martlet_tokio::proto::BinaryData;
use martlet_tokio::{Client, QoS, Subscription, Tokio, TopicName, Will, session::CleanStart};
use std::collections::{BTreeMap, BTreeSet};

pub(super) async fn sessions_are_clean_or_resumed(place: Place) {
    let client = connect(place.builder()).await;
    assert!(!client.connection().expect("connected").session_present);
    client.ping().await.expect("an answer");
    disconnect(client).await;

    let topics = [
        (place.own("away/1"), QoS::AtLeastOnce),
        (place.own("away/2"), place.highest_qos()),
    ];
    let client = connect(place.persistent("away")).await;
    let messages = client
        .subscribe_all(topics.clone())
        .await
        .expect("a subscription");
    // The streams are dropped after the client has disconnected: nothing is unsubscribed.
    client.disconnect().await;
    drop((messages, client));
    let publisher = connect(place.builder()).await;
    for text in ["1", "2", "3"] {
        for (topic, qos) in &topics {
            publish(&publisher, topic, text, *qos).await;
        }
    }
    disconnect(publisher).await;

    let (client, driver) = place.persistent("away").build(Tokio).expect("a client");
    let mut messages = client.unmatched().expect("it is not taken");
    tokio::spawn(driver);
    assert!(
        client
            .connected()
            .await
            .expect("a connection")
            .session_present
    );
    let mut arrived: BTreeMap<(String, QoS), Vec<String>> = BTreeMap::new();
    for _ in 0..6 {
        let message = next(&mut messages).await;
        let text = message.text().expect("text").to_owned();
        arrived
            .entry((message.topic().to_owned(), message.qos()))
            .or_default()
            .push(text);
    }
    let expected = topics.map(|topic| (topic, ["1", "2", "3"].map(str::to_owned).to_vec()));
    assert_eq!(arrived, BTreeMap::from(expected));

    // A clean start forgets it all.
    disconnect(client).await;
    drop(messages);
    let client = connect(place.persistent("away").clean_start(CleanStart::First)).await;
    assert!(!client.connection().expect("connected").session_present);
    disconnect(client).await;
}

fn will(topic: &str, text: &str) -> Will {
    Will {
        topic: TopicName::new(topic).expect("a topic name"),
        payload: BinaryData::new(text.to_owned()).expect("short"),
        qos: QoS::AtLeastOnce,
        retain: false,
        delay_interval: None,
        properties: Default::default(),
    }
}

pub(super) async fn a_will_is_published_when_a_client_breaks_off_and_only_then(place: Place) {
    let witness = connect(place.builder()).await;
    let filter = place.own("will/+");
    let mut wills = subscribe(&witness, &filter, QoS::AtLeastOnce).await;
    let topic = place.own("will/said");
    disconnect(connect(place.builder().will_message(will(&topic, "polite"))).await).await;
    // The driver is dropped, and the socket with it.
    let rude = place.builder().will_message(will(&topic, "rude"));
    let (rude, driver) = rude.build(Tokio).expect("a client");
    let driver = tokio::spawn(driver);
    rude.connected().await.expect("a connection");
    driver.abort();
    let message = next(&mut wills).await;
    assert_eq!(
        (message.topic(), message.text(), message.qos()),
        (&*topic, Some("rude"), QoS::AtLeastOnce)
    );
    disconnect(witness).await;
}

/// How many messages are published while connections are cut, and one more in the end.
const THROUGH_CUTS: usize = 600;

/// Publishes all of them, each a number.
async fn publish_through_cuts(publisher: Client, topic: String, qos: QoS) {
    let mut receipts = Vec::new();
    for n in 0..THROUGH_CUTS {
        let publish = publisher.publish(&*topic, format!("{n:050}")).qos(qos);
        receipts.push(publish.enqueue().await.expect("accepted"));
    }
    for (n, receipt) in receipts.into_iter().enumerate() {
        receipt
            .await
            .unwrap_or_else(|error| panic!("message {n}: {error}"));
    }
    publish(&publisher, &topic, format!("{THROUGH_CUTS:050}"), qos).await;
}

async fn next_number(messages: &mut Subscription) -> usize {
    next_text(messages).await.parse().expect("a number")
}

async fn assert_each_arrives(messages: &mut Subscription, qos: QoS) {
    let mut arrived = BTreeSet::new();
    while arrived.len() <= THROUGH_CUTS {
        let n = next_number(messages).await;
        assert!(
            arrived.insert(n) || qos != QoS::ExactlyOnce,
            "message {n} came twice"
        );
    }
}

async fn assert_each_arrives_in_order(messages: &mut Subscription, qos: QoS) {
    let mut expected = 0;
    while expected <= THROUGH_CUTS {
        let n = next_number(messages).await;
        // At QoS 1 what has come may come again.
        if qos == QoS::ExactlyOnce || n >= expected {
            assert_eq!(n, expected, "the next one, and no other");
            expected += 1;
        }
    }
}

/// Both the publisher's connection and the subscriber's are cut again and again, in the middle of
/// packets and of QoS 2 flows. Both have sessions.
pub(super) async fn each_message_arrives_once_through_cuts(place: Place) {
    const CUTS: usize = 24;
    let topic = place.own("cut");
    let qos = if place.has(Flaw::ForgetsQos2Flows) {
        QoS::AtLeastOnce
    } else {
        place.highest_qos()
    };
    let subscriber = connect(place.persistent("cutto")).await;
    let mut messages = subscribe(&subscriber, &topic, qos).await;
    let publisher = connect(place.persistent("cutfrom")).await;
    if place.has(Flaw::NoSessionOfPublishers) {
        publisher
            .subscribe(&*place.own("nothing"))
            .await
            .expect("a subscription")
            .detach();
    }
    let relay = &place.broker.relay;
    let before = relay.connections();
    // No packet has such a length: they fall on everything.
    relay.cut_after((0..CUTS).map(|n| 503 + 227 * n));
    relay.cut();

    let mut publishing = tokio::spawn(publish_through_cuts(publisher.clone(), topic.clone(), qos));
    if place.has(Flaw::LosesDeliveries) {
        tokio::select! {
            () = async { while messages.next().await.is_some() {} } => panic!("the stream has ended"),
            published = &mut publishing => published.expect("all are acknowledged"),
        }
    } else {
        if place.has(Flaw::ResendsLater) {
            assert_each_arrives(&mut messages, qos).await;
        } else {
            assert_each_arrives_in_order(&mut messages, qos).await;
        }
        publishing.await.expect("all are acknowledged");
    }
    let was_cut = relay.connections() - before > CUTS || place.has(Flaw::LosesDeliveries);
    assert!(was_cut, "all cuts were made");
    assert_eq!((publisher.in_flight(), publisher.queued()), (0, 0));
    disconnect(publisher).await;
    disconnect(subscriber).await;
}

//! What subscriptions bring, and how they end.

use super::{Place, connect, disconnect, next, next_text, publish, subscribe};
use crate::flaws::Flaw;
use martlet_tokio::proto::RetainHandling;
use martlet_tokio::{QoS, Version};

pub(super) async fn what_is_unsubscribed_comes_no_more(place: Place) {
    let client = connect(place.builder()).await;
    let mut rest = client.unmatched().expect("it is not taken");
    for &qos in place.qos() {
        let [stays, goes] = ["stays", "goes"].map(|name| place.own(&format!("unsubscribe/{name}")));
        let mut staying = subscribe(&client, &stays, qos).await;
        let going = subscribe(&client, &goes, qos).await;
        going.unsubscribe().await.expect("an answer");
        for topic in [&goes, &stays] {
            publish(&client, topic, "x", qos).await;
        }
        assert_eq!(next(&mut staying).await.topic(), stays);
        staying.unsubscribe().await.expect("an answer");
        assert!(rest.try_next().is_none());
    }
    disconnect(client).await;
}

pub(super) async fn shared_subscriptions_share(place: Place) {
    const MANY: usize = 40;
    let publisher = connect(place.builder()).await;
    if !publisher
        .connection()
        .expect("connected")
        .limits
        .shared_subscription_available
        || place.version != Version::V5
    {
        return disconnect(publisher).await;
    }
    let (filter, topic) = (place.own("shared/+"), place.own("shared/one"));
    let filter = format!("$share/group/{filter}");
    let [one, two] = [
        connect(place.builder()).await,
        connect(place.builder()).await,
    ];
    let mut at_one = subscribe(&one, &filter, QoS::AtLeastOnce).await;
    let mut at_two = subscribe(&two, &filter, QoS::AtLeastOnce).await;
    for n in 0..MANY {
        publish(&publisher, &topic, n.to_string(), QoS::AtLeastOnce).await;
    }
    let mut arrived = Vec::new();
    while arrived.len() < MANY {
        let text = tokio::select! {
            text = next_text(&mut at_one) => text,
            text = next_text(&mut at_two) => text,
        };
        arrived.push(text.parse::<usize>().expect("a number"));
    }
    // What came to both would have come by now.
    for client in [&one, &two] {
        client.ping().await.expect("an answer");
    }
    assert!(at_one.try_next().is_none() && at_two.try_next().is_none());
    arrived.sort_unstable();
    assert!(arrived.into_iter().eq(0..MANY));
    for client in [one, two, publisher] {
        disconnect(client).await;
    }
}

pub(super) async fn subscription_identifiers_tell_streams_apart(place: Place) {
    if place.version != Version::V5 {
        return;
    }
    let client = connect(place.builder()).await;
    let available = client
        .connection()
        .expect("connected")
        .limits
        .subscription_identifier_available;
    let (deep, flat) = (place.own("identified/#"), place.own("identified/+"));
    let mut deep = subscribe(&client, &deep, QoS::AtLeastOnce).await;
    let mut flat = subscribe(&client, &flat, QoS::AtLeastOnce).await;
    for n in 0..10 {
        let topic = place.own("identified/one");
        publish(&client, &topic, n.to_string(), QoS::AtLeastOnce).await;
    }
    for n in 0..10 {
        for stream in [&mut deep, &mut flat] {
            let message = next(stream).await;
            assert_eq!(
                message.text(),
                Some(&*n.to_string()),
                "once in each, however often it comes"
            );
            let identifiers = message.properties().subscription_identifiers().count();
            assert_eq!(identifiers > 0, available, "{identifiers} identifiers");
        }
    }
    disconnect(client).await;
}

pub(super) async fn options_of_subscriptions_are_kept(place: Place) {
    if place.version != Version::V5 {
        return;
    }
    let [client, other] = [
        connect(place.builder()).await,
        connect(place.builder()).await,
    ];
    let topic = place.own("options/one");

    // No Local: what others say only.
    let messages = client.subscribe(&*topic).qos(QoS::AtLeastOnce).no_local();
    let mut messages = messages.await.expect("a subscription");
    publish(&client, &topic, "ours", QoS::AtLeastOnce).await;
    if place.has(Flaw::IgnoresOptions) {
        assert_eq!(next_text(&mut messages).await, "ours");
    }
    publish(&other, &topic, "theirs", QoS::AtLeastOnce).await;
    assert_eq!(next_text(&mut messages).await, "theirs");
    messages.unsubscribe().await.expect("an answer");

    // Retain As Published: the flag stays.
    let messages = client
        .subscribe(&*topic)
        .qos(QoS::AtLeastOnce)
        .retain_as_published();
    let mut messages = messages.await.expect("a subscription");
    other
        .publish(&*topic, "kept")
        .qos(QoS::AtLeastOnce)
        .retain(true)
        .await
        .expect("acknowledged");
    let message = next(&mut messages).await;
    let kept = !place.has(Flaw::IgnoresOptions);
    assert_eq!((message.text(), message.retain()), (Some("kept"), kept));
    messages.unsubscribe().await.expect("an answer");

    // Retain Handling: what is retained does not come.
    let messages = client
        .subscribe(&*topic)
        .qos(QoS::AtLeastOnce)
        .retain_handling(RetainHandling::DoNotSend);
    let mut messages = messages.await.expect("a subscription");
    if place.has(Flaw::IgnoresOptions) {
        assert_eq!(next_text(&mut messages).await, "kept");
    }
    other
        .publish(&*topic, "")
        .qos(QoS::AtLeastOnce)
        .retain(true)
        .await
        .expect("acknowledged");
    assert_eq!(next(&mut messages).await.payload(), b"");
    messages.unsubscribe().await.expect("an answer");
    disconnect(other).await;
    disconnect(client).await;
}

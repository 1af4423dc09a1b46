//! Retained messages.

use crate::probe::connection::{Connection, Outgoing};
use crate::probe::context::Context;
use crate::probe::finding::Finding;
use crate::probe::trouble::Trouble;
use martlet_tokio::TopicName;
use martlet_tokio::proto::{Publish, RetainHandling, SubscribeFilter};
use std::time::Duration;
use tokio::time::Instant;

/// What the server announced about it.
fn unavailable(cx: &Context) -> Option<Finding> {
    let announced = cx.announced().retain_available;
    let finding = Finding::no("CONNACK announces that it has none").announced();
    (announced == Some(false)).then(|| finding.advice("publish without .retain(), -r"))
}

async fn retain(cx: &Context, topic: &TopicName, payload: &[u8]) -> Result<(), Trouble> {
    let mut client = cx.client().await?;
    let mut message = Outgoing::new(topic, payload, cx.qos());
    message.retain = true;
    cx.publish_message(&mut client, &message).await?;
    client.disconnect(None).await
}

/// The first message of a subscription, if one comes within this after a PINGRESP.
async fn first(client: &mut Connection, within: Duration) -> Result<Option<Publish>, Trouble> {
    client.ping().await?;
    client.message(Instant::now() + within).await
}

/// What a new subscription to this gets. `None` as soon as the server is quiet.
async fn found(cx: &Context, filter: SubscribeFilter) -> Result<Option<Publish>, Trouble> {
    let mut client = cx.subscriber(vec![filter]).await?;
    let message = first(&mut client, cx.quiet()).await?;
    client.disconnect(None).await?;
    Ok(message)
}

/// Whether new subscriptions get a retained message that is there, or one that was cleared, after
/// how many of them.
async fn tries_until(
    cx: &Context,
    filter: &SubscribeFilter,
    is_there: bool,
) -> Result<Option<(usize, Option<Publish>)>, Trouble> {
    let until = Instant::now() + cx.wait();
    let mut tries = 1;
    loop {
        let message = found(cx, filter.clone()).await?;
        if message.is_some() == is_there {
            return Ok(Some((tries, message)));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        tries += 1;
    }
}

/// A message is retained for later subscriptions, and an empty one clears it.
pub(in crate::probe) async fn retained_messages(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    if let Some(finding) = unavailable(cx) {
        let cleared = Finding::not_tried("there are no retained messages");
        return Ok(vec![finding, cleared]);
    }
    let later = "it takes a while after the acknowledgement";
    let patient = "do not subscribe at once and rely on what comes first";
    let topic = cx.topic("retained")?;
    let filter = SubscribeFilter::new(cx.filter("retained")?, cx.qos());
    match retain(cx, &topic, b"kept").await {
        Ok(()) => {}
        Err(trouble) if trouble.is_an_answer() => {
            let kept = Finding::no(trouble.to_string()).advice("publish without .retain(), -r");
            let cleared = Finding::not_tried("there are no retained messages");
            return Ok(vec![kept, cleared]);
        }
        Err(trouble) => return Err(trouble),
    }
    let kept = match tries_until(cx, &filter, true).await? {
        Some((_, Some(message))) if message.payload() != b"kept" => {
            Finding::no("another message comes in its place")
        }
        Some((_, Some(message))) if !message.retain() => {
            Finding::limited("it comes without the flag RETAIN")
        }
        Some((1, _)) => Finding::yes(),
        Some(_) => Finding::limited(later).advice(patient),
        None => {
            let kept = Finding::no("a later subscription does not get it");
            let cleared = Finding::not_tried("there are no retained messages");
            return Ok(vec![
                kept.advice("publish again for clients that subscribe later"),
                cleared,
            ]);
        }
    };
    retain(cx, &topic, b"").await?;
    let cleared = match tries_until(cx, &filter, false).await? {
        Some((1, _)) => Finding::yes(),
        Some(_) => Finding::limited(later).advice(patient),
        None => Finding::no("an empty message does not clear it"),
    };
    Ok(vec![kept, cleared])
}

/// A subscription with wildcards gets retained messages too.
pub(in crate::probe) async fn retained_for_wildcards(
    cx: &Context,
) -> Result<Vec<Finding>, Trouble> {
    if let Some(finding) = unavailable(cx) {
        return Ok(vec![finding]);
    }
    if cx.announced().wildcard_subscription_available == Some(false) {
        return Ok(vec![Finding::not_tried("there are no wildcards")]);
    }
    retain(cx, &cx.topic("wild/a/b")?, b"x").await?;
    let mut missing = Vec::new();
    for rest in ["wild/+/b", "wild/#"] {
        let filter = SubscribeFilter::new(cx.filter(rest)?, cx.qos());
        if tries_until(cx, &filter, true).await?.is_none() {
            missing.push(&rest["wild".len()..]);
        }
    }
    let exact = SubscribeFilter::new(cx.filter("wild/a/b")?, cx.qos());
    let advice = "subscribe to the topic itself for its retained message";
    let finding = match missing.len() {
        0 => Finding::yes(),
        _ if tries_until(cx, &exact, true).await?.is_none() => {
            Finding::not_tried("there are no retained messages")
        }
        1 => Finding::limited(format!("not for filters like …{}", missing[0])).advice(advice),
        _ => Finding::no("only a subscription to the topic itself gets them").advice(advice),
    };
    Ok(vec![finding])
}

/// Retain Handling 0, 1 and 2, for subscriptions that are new and that are there already.
pub(in crate::probe) async fn retain_handling(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    if let Some(finding) = unavailable(cx) {
        return Ok(vec![finding]);
    }
    let filter = |handling| -> Result<_, Trouble> {
        let mut filter = SubscribeFilter::new(cx.filter("handling")?, cx.qos());
        filter.retain_handling = handling;
        Ok(filter)
    };
    retain(cx, &cx.topic("handling")?, b"x").await?;
    let plain = SubscribeFilter::new(cx.filter("handling")?, cx.qos());
    if tries_until(cx, &plain, true).await?.is_none() {
        let finding = Finding::not_tried("there are no retained messages");
        return Ok(vec![finding]);
    }
    // What comes at a new subscription, and at the same once more.
    let cases = [
        (RetainHandling::Send, [true, true]),
        (RetainHandling::SendIfNew, [true, false]),
        (RetainHandling::DoNotSend, [false, false]),
    ];
    let mut wrong = Vec::new();
    for (handling, expected) in cases {
        let mut client = cx.client().await?;
        for (place, expected) in ["new", "repeated"].into_iter().zip(expected) {
            let number = handling as u8;
            match cx.subscribe(&mut client, vec![filter(handling)?]).await {
                Ok(()) => {}
                Err(trouble) if trouble.is_an_answer() => {
                    return Ok(vec![Finding::no(format!("{number}: {trouble}"))]);
                }
                Err(trouble) => return Err(trouble),
            }
            let within = if expected { cx.wait() } else { cx.quiet() };
            if first(&mut client, within).await?.is_some() != expected {
                wrong.push(format!("{number} at a {place} subscription"));
            }
        }
        client.disconnect(None).await?;
    }
    let advice = "tell retained messages by Message::retain, and expect them";
    let finding = match wrong.is_empty() {
        true => Finding::yes(),
        false => Finding::no(format!("not obeyed: {}", wrong.join(", "))).advice(advice),
    };
    Ok(vec![finding])
}

/// Retain As Published keeps the flag of messages that are new.
pub(in crate::probe) async fn retain_as_published(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    if let Some(finding) = unavailable(cx) {
        return Ok(vec![finding]);
    }
    let topic = cx.topic("as-published")?;
    let mut filter = SubscribeFilter::new(cx.filter("as-published")?, cx.qos());
    let mut plain = cx.subscriber(vec![filter.clone()]).await?;
    filter.retain_as_published = true;
    let mut keeping = match cx.subscriber(vec![filter]).await {
        Ok(client) => client,
        Err(trouble) if trouble.is_an_answer() => {
            return Ok(vec![Finding::no(trouble.to_string())]);
        }
        Err(trouble) => return Err(trouble),
    };
    retain(cx, &topic, b"x").await?;
    let mut flags = Vec::new();
    for client in [&mut plain, &mut keeping] {
        match client.message(Instant::now() + cx.wait()).await? {
            Some(message) => flags.push(message.retain()),
            None => return Err(Trouble::Silent("message")),
        }
    }
    let advice = "do not tell retained messages by the flag alone";
    let finding = match flags[..] {
        [false, true] => Finding::yes(),
        [true, true] => Finding::no("the flag is kept without it, too").advice(advice),
        _ => Finding::no("the flag is cleared all the same").advice(advice),
    };
    Ok(vec![finding])
}

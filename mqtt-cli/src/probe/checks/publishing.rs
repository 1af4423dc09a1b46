//! What travels with a message: properties, topic aliases, the expiry interval.

use crate::probe::connection::{Connection, Outgoing};
use crate::probe::context::{Ask, Context};
use crate::probe::finding::Finding;
use crate::probe::trouble::Trouble;
use martlet_tokio::proto::{BinaryData, Publish, PublishProperties, SubscribeFilter, Utf8String};
use martlet_tokio::{TopicName, Version};
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;
use tokio::time::Instant;

/// Publishes with these properties, and returns the message that comes.
async fn passed_on(
    cx: &Context,
    name: &str,
    properties: PublishProperties,
) -> Result<Option<Publish>, Trouble> {
    let topic = cx.topic(name)?;
    let filter = SubscribeFilter::new(cx.filter(name)?, cx.qos());
    let mut client = cx.subscriber(vec![filter]).await?;
    let mut message = Outgoing::new(&topic, b"text", cx.qos());
    message.properties = properties;
    cx.publish_message(&mut client, &message).await?;
    let message = client.message(Instant::now() + cx.wait()).await?;
    client.disconnect(None).await?;
    Ok(message)
}

/// User properties arrive, all of them and in their order.
pub(in crate::probe) async fn user_properties(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    let pairs = [("a", "1"), ("b", "2"), ("a", "3"), ("", "")];
    let mut properties = PublishProperties::builder();
    for (name, value) in pairs {
        properties = properties
            .try_user_property(name, value)
            .map_err(|error| Trouble::NotEncodable(error.to_string()))?;
    }
    let Some(message) = passed_on(cx, "user-properties", properties.build()).await? else {
        return Ok(vec![Finding::no("a message with them does not arrive")]);
    };
    let found: Vec<_> = message.properties().user_properties().collect();
    let mut sorted = found.clone();
    sorted.sort_unstable();
    let mut expected = pairs.to_vec();
    expected.sort_unstable();
    let finding = if found == pairs {
        Finding::yes()
    } else if found.is_empty() {
        Finding::no("they are dropped").advice("put what matters into the payload")
    } else if sorted == expected {
        Finding::limited("their order is changed").advice("do not rely on the order")
    } else {
        let note = format!("{} of {} arrive", found.len(), pairs.len());
        Finding::limited(note).advice("do not use a name twice, nor an empty one")
    };
    Ok(vec![finding])
}

/// Content type, response topic, correlation data and payload format arrive.
pub(in crate::probe) async fn message_properties(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    let response = cx.topic("response")?;
    let not_encodable = |error| Trouble::NotEncodable(format!("{error}"));
    let properties = PublishProperties::builder()
        .content_type(Utf8String::new("text/plain").map_err(not_encodable)?)
        .response_topic(response.clone())
        .correlation_data(BinaryData::new(&b"\0\xff"[..]).map_err(not_encodable)?)
        .payload_is_utf8(true);
    let Some(message) = passed_on(cx, "properties", properties.build()).await? else {
        return Ok(vec![Finding::no("a message with them does not arrive")]);
    };
    let found = message.properties();
    let kept = [
        ("content type", found.content_type() == Some("text/plain")),
        (
            "response topic",
            found.response_topic() == Some(response.as_str()),
        ),
        (
            "correlation data",
            found.correlation_data() == Some(b"\0\xff"),
        ),
        ("payload format", found.payload_is_utf8() == Some(true)),
    ];
    let lost: Vec<_> = kept.iter().filter(|(_, kept)| !kept).collect();
    let names: Vec<_> = lost.iter().map(|(name, _)| *name).collect();
    let finding = match lost.len() {
        0 => Finding::yes(),
        4 => Finding::no("they are dropped"),
        _ => Finding::limited(format!("changed or dropped: {}", names.join(", "))),
    };
    let finding = match lost.is_empty() {
        true => finding,
        false => finding.advice("put what matters into the payload; name response topics with -e"),
    };
    Ok(vec![finding])
}

/// A client publishes by alias, and gives the alias to another topic.
pub(in crate::probe) async fn aliases_to_server(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    if cx.announced().topic_alias_maximum.unwrap_or(0) == 0 {
        let finding = Finding::no("CONNACK announces a Topic Alias Maximum of 0");
        return Ok(vec![finding.announced()]);
    }
    let (first, second) = (cx.topic("alias/1")?, cx.topic("alias/2")?);
    let filter = SubscribeFilter::new(cx.filter("alias/+")?, cx.qos());
    let mut subscriber = cx.subscriber(vec![filter]).await?;
    let mut publisher = cx.client().await?;
    let steps = [
        (&first, false, "1"),
        (&first, true, "2"),
        (&second, false, "3"),
        (&second, true, "4"),
    ];
    for (topic, alone, payload) in steps {
        let mut message = Outgoing::new(topic, payload.as_bytes(), cx.qos());
        message.alias = Some((NonZeroU16::MIN, alone));
        match cx.publish_message(&mut publisher, &message).await {
            Ok(()) => {}
            Err(trouble) if trouble.is_an_answer() => {
                let finding = Finding::no(format!("message {payload} of 4: {trouble}"));
                return Ok(vec![finding.advice(WITHOUT_ALIASES)]);
            }
            Err(trouble) => return Err(trouble),
        }
    }
    let messages = subscriber
        .messages(steps.len(), cx.wait(), cx.quiet())
        .await?;
    let found: Vec<_> = messages
        .iter()
        .map(|message| (message.topic(), message.payload()))
        .collect();
    let expected: Vec<_> = steps
        .iter()
        .map(|(topic, _, payload)| (topic.as_str(), payload.as_bytes()))
        .collect();
    let finding = match found == expected {
        true => Finding::yes().note("a topic by its alias, and an alias that is given to another"),
        false => {
            Finding::no("messages arrive on other topics, or not at all").advice(WITHOUT_ALIASES)
        }
    };
    Ok(vec![finding])
}

const WITHOUT_ALIASES: &str = "leave topic aliases off, which is the library's default";

/// The server uses aliases towards a client that allows them, and they stand for the right topics.
pub(in crate::probe) async fn aliases_from_server(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    const EACH: usize = 3;
    let mut ask = Ask::new(cx.identifier());
    ask.topic_alias_maximum = Some(10);
    let (mut client, _) = cx.connect(ask).await?;
    let filter = SubscribeFilter::new(cx.filter("aliases/+")?, cx.qos());
    cx.subscribe(&mut client, vec![filter]).await?;
    let topics = [cx.topic("aliases/1")?, cx.topic("aliases/2")?];
    for _ in 0..EACH {
        for topic in &topics {
            // The payload says which topic is meant.
            cx.publish(&mut client, topic, topic.as_bytes()).await?;
        }
    }
    let messages = client
        .messages(EACH * topics.len(), cx.wait(), cx.quiet())
        .await?;
    let mut aliases: BTreeMap<NonZeroU16, TopicName> = BTreeMap::new();
    let mut used = 0_u64;
    for message in &messages {
        let topic = match (message.properties().topic_alias(), message.topic_name()) {
            (Some(alias), Some(topic)) => {
                aliases.insert(alias, topic.clone());
                Some(topic)
            }
            (Some(alias), None) => {
                used += 1;
                aliases.get(&alias).cloned()
            }
            (None, topic) => topic,
        };
        if topic.is_none_or(|topic| topic.as_bytes() != message.payload()) {
            let finding = Finding::no("an alias stands for the wrong topic, or for none");
            return Ok(vec![finding.advice(
                "Builder::topic_alias_maximum(0): the server then sends topics",
            )]);
        }
    }
    let finding = match (messages.len() == EACH * topics.len(), used) {
        (false, _) => return Err(Trouble::Silent("message")),
        (true, 0) => Finding::no("each message comes with its whole topic"),
        (true, used) => Finding::yes().text(format!("{used} of {}", messages.len())),
    };
    Ok(vec![finding])
}

/// A message for an offline session expires, and another comes with what is left of its interval.
pub(in crate::probe) async fn message_expiry(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    const LONG: u32 = 100;
    /// More than the short interval, and more than a second of the long one.
    const PAUSE: Duration = Duration::from_millis(2500);
    debug_assert_eq!(cx.version(), Version::V5);
    let filter = SubscribeFilter::new(cx.filter("expiry")?, cx.qos());
    let topic = cx.topic("expiry")?;
    let session = cx.offline_session(vec![filter]).await?;
    let mut publisher = cx.client().await?;
    for (payload, interval) in [("short", Some(1)), ("long", Some(LONG)), ("none", None)] {
        let mut message = Outgoing::new(&topic, payload.as_bytes(), cx.qos());
        if let Some(seconds) = interval {
            let properties = PublishProperties::builder().message_expiry_interval(seconds);
            message.properties = properties.build();
        }
        cx.publish_message(&mut publisher, &message).await?;
    }
    tokio::time::sleep(PAUSE).await;
    let (mut client, _) = cx.connect(Ask::session(&session)).await?;
    let messages = come_back(cx, &mut client).await?;
    let find = |payload: &[u8]| messages.iter().find(|message| message.payload() == payload);
    if find(b"none").is_none() {
        let note = "messages do not wait for an offline session";
        return Ok(vec![Finding::not_tried(note)]);
    }
    let advice = "put the time into the payload, and drop what is too old";
    if find(b"short").is_some() {
        let finding = Finding::no("a message is delivered after it has expired");
        return Ok(vec![finding.advice(advice)]);
    }
    let Some(long) = find(b"long") else {
        let finding = Finding::no(format!(
            "a message of {LONG} s is dropped within {} s",
            PAUSE.as_secs_f32()
        ));
        return Ok(vec![finding]);
    };
    let finding = match long.properties().message_expiry_interval() {
        Some(left) if left < LONG => {
            let note = format!("{left} s were left of {LONG}; one of 1 s was dropped");
            Finding::yes().note(note)
        }
        Some(_) => {
            Finding::limited("the interval is not counted down; what has expired is dropped")
                .advice(advice)
        }
        None => Finding::limited("the interval is not passed on; what has expired is dropped")
            .advice(advice),
    };
    Ok(vec![finding])
}

/// The messages of a session that was resumed.
async fn come_back(cx: &Context, client: &mut Connection) -> Result<Vec<Publish>, Trouble> {
    // Two of them, if the first has expired.
    client.messages(2, cx.wait(), cx.quiet()).await
}

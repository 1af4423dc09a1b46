//! A topic that the client may not use.

use crate::probe::connection::Outgoing;
use crate::probe::context::{Context, filter};
use crate::probe::finding::Finding;
use crate::probe::trouble::Trouble;
use martlet_tokio::proto::SubscribeFilter;

/// What happens to a subscription to the topic of `--denied-topic`, and to a message.
pub(in crate::probe) async fn denied_topic(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    let Some(topic) = cx.denied() else {
        let finding = Finding::not_tried("name a topic that is denied with --denied-topic");
        return Ok(vec![finding; 2]);
    };
    let mut client = cx.client().await?;
    let subscription = SubscribeFilter::new(filter(topic.as_str())?, cx.qos());
    let subscribed = match client.subscribe(vec![subscription], None).await {
        Ok(reasons) => match reasons.first() {
            Some(reason) if reason.is_error() => Finding::yes().text(reason.to_string()),
            _ => Finding::no("the subscription is accepted; whether messages come was not tried"),
        },
        Err(trouble @ Trouble::Unreachable(_)) => return Err(trouble),
        Err(trouble) => ended(&trouble, "the filter"),
    };
    let mut client = cx.client().await?;
    let message = Outgoing::new(topic, b"martlet probe", cx.qos());
    let published = match client.publish(&message).await {
        Ok(Some(reason)) if reason.is_error() => Finding::yes().text(reason.to_string()),
        Ok(Some(_)) if cx.is_5() => Finding::no("the message is acknowledged as published"),
        // A PUBACK of 3.x has no reason.
        Ok(Some(_)) => Finding::limited("acknowledged: 3.x has no reason codes")
            .advice("use MQTT 5: in 3.x nobody learns that a message was dropped"),
        Ok(None) => {
            client.ping().await?;
            Finding::limited("QoS 0 has no answer")
        }
        Err(trouble @ Trouble::Unreachable(_)) => return Err(trouble),
        Err(trouble) => ended(&trouble, "the message"),
    };
    Ok(vec![subscribed, published])
}

fn ended(trouble: &Trouble, what: &str) -> Finding {
    let advice = format!("the library reports an error for {what}; the connection continues");
    match trouble {
        Trouble::Silent(_) => Finding::limited(trouble.to_string())
            .advice("request_timeout and publish(..).timeout(..) bound the wait"),
        _ => Finding::limited(trouble.to_string()).advice(advice),
    }
}

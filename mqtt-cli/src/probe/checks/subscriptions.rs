//! Filters and the options of subscriptions.

use crate::probe::connection::{Connection, Outgoing};
use crate::probe::context::{Context, filter};
use crate::probe::finding::Finding;
use crate::probe::trouble::Trouble;
use martlet_tokio::proto::{Publish, SubAckReasonCode, SubscribeFilter, SubscriptionIdentifier};
use martlet_tokio::{QoS, TopicFilter};
use std::collections::BTreeSet;
use tokio::time::Instant;

/// `+` and `#` match what they should, and nothing else.
pub(in crate::probe) async fn wildcards(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    if cx.announced().wildcard_subscription_available == Some(false) {
        let finding = Finding::no("CONNACK announces that it has none").announced();
        return Ok(vec![finding.advice("subscribe to each topic by its name")]);
    }
    let mut missing = Vec::new();
    let mut wrong = Vec::new();
    let cases: [(&str, &[&str], &[&str]); 3] = [
        ("+/x", &["1/x", "/x"], &["1", "1/x/y", "1/2/x"]),
        ("y/#", &["y/z", "y/z/w", "y"], &["yy", "x/y"]),
        ("a/+/c/#", &["a/b/c", "a/b/c/d"], &["a/c", "a/b/d"]),
    ];
    for (number, (pattern, matching, others)) in cases.into_iter().enumerate() {
        let root = format!("wildcards/{number}");
        let filter = cx.filter(&format!("{root}/{pattern}"))?;
        let subscribed = cx
            .subscriber(vec![SubscribeFilter::new(filter, cx.qos())])
            .await;
        let mut subscriber = match subscribed {
            Ok(subscriber) => subscriber,
            Err(trouble) if trouble.is_an_answer() => {
                let finding = Finding::no(format!("{pattern}: {trouble}"));
                return Ok(vec![finding.advice("subscribe to each topic by its name")]);
            }
            Err(trouble) => return Err(trouble),
        };
        let mut publisher = cx.client().await?;
        for rest in others.iter().chain(matching) {
            let topic = cx.topic(&format!("{root}/{rest}"))?;
            cx.publish(&mut publisher, &topic, rest.as_bytes()).await?;
        }
        let messages = subscriber
            .messages(matching.len(), cx.wait(), cx.quiet())
            .await?;
        let found: BTreeSet<_> = messages.iter().map(Publish::payload).collect();
        let describe = |rest: &&&str| format!("{pattern} and {rest}");
        let lost = matching
            .iter()
            .filter(|rest| !found.contains(rest.as_bytes()));
        missing.extend(lost.map(|rest| describe(&rest)));
        let extra = others.iter().filter(|rest| found.contains(rest.as_bytes()));
        wrong.extend(extra.map(|rest| describe(&rest)));
    }
    let finding = match (&missing[..], &wrong[..]) {
        ([], []) => Finding::yes(),
        ([only], []) if only == "y/# and y" => Finding::limited("y/# does not match y")
            .advice("subscribe to the topic without /# as well"),
        ([], wrong) => Finding::limited(format!("match and should not: {}", wrong.join(", "))),
        (missing, _) => Finding::no(format!("do not match: {}", missing.join(", ")))
            .advice("subscribe to each topic by its name"),
    };
    Ok(vec![finding])
}

/// A filter that begins with a wildcard does not match a topic that begins with `$`.
pub(in crate::probe) async fn dollar_topics(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    let sys = SubscribeFilter::new(filter("$SYS/#")?, QoS::AtMostOnce);
    let mut client = match cx.subscriber(vec![sys]).await {
        Ok(client) => client,
        Err(trouble) if trouble.is_an_answer() => {
            let finding = Finding::not_tried(format!("a subscription to $SYS/#: {trouble}"));
            return Ok(vec![finding]);
        }
        Err(trouble) => return Err(trouble),
    };
    let until = Instant::now() + cx.wait();
    let retained = loop {
        match client.message(until).await? {
            Some(message) if message.retain() => break message,
            Some(_) => {}
            None => {
                let finding = Finding::not_tried("there is no retained message below $SYS");
                return Ok(vec![finding]);
            }
        }
    };
    client.disconnect(None).await?;
    // The same topic with a wildcard in the first place: it would come at once.
    let Some((_, rest)) = retained.topic().split_once('/') else {
        return Ok(vec![Finding::not_tried("$SYS has no levels")]);
    };
    let hidden = SubscribeFilter::new(filter(&format!("+/{rest}"))?, QoS::AtMostOnce);
    let mut client = cx.subscriber(vec![hidden]).await?;
    client.ping().await?;
    let mut messages = client.messages(0, cx.quiet(), cx.quiet()).await?;
    messages.retain(|message| message.topic() == retained.topic());
    let finding = match messages.is_empty() {
        true => Finding::yes().note(format!("tried with {}", retained.topic())),
        false => Finding::no(format!("+ matches $SYS, seen with {}", retained.topic()))
            .advice("do not subscribe to # or +/#; ignore topics that begin with $"),
    };
    Ok(vec![finding])
}

/// Each message goes to exactly one of two members.
pub(in crate::probe) async fn shared(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    const MESSAGES: usize = 20;
    const ADVICE: &str = "give each worker topics of its own";
    if cx.announced().shared_subscription_available == Some(false) {
        let finding = Finding::no("CONNACK announces that it has none").announced();
        return Ok(vec![finding.advice(ADVICE)]);
    }
    let topic = cx.topic("shared")?;
    let filter = TopicFilter::shared("probe", cx.filter("shared")?)
        .map_err(|error| Trouble::NotEncodable(error.to_string()))?;
    let mut members = Vec::new();
    for _ in 0..2 {
        let filter = SubscribeFilter::new(filter.clone(), cx.qos());
        match cx.subscriber(vec![filter]).await {
            Ok(member) => members.push(member),
            Err(trouble) if trouble.is_an_answer() => {
                return Ok(vec![Finding::no(trouble.to_string()).advice(ADVICE)]);
            }
            Err(trouble) => return Err(trouble),
        }
    }
    let mut publisher = cx.client().await?;
    for number in 0..MESSAGES {
        cx.publish(&mut publisher, &topic, number.to_string().as_bytes())
            .await?;
    }
    let [first, second] = &mut members[..] else {
        return Err(Trouble::Silent("second member"));
    };
    // Neither is waited for while the other has all of them.
    let (first, second) = tokio::join!(some(cx, first), some(cx, second));
    let (first, second) = (first?, second?);
    let all: Vec<_> = first.iter().chain(&second).map(Publish::payload).collect();
    let different: BTreeSet<_> = all.iter().collect();
    let (arrived, different) = (all.len(), different.len());
    let finding = match (arrived, different) {
        (0, _) => Finding::no("nothing arrives: the filter is taken for a topic").advice(ADVICE),
        (MESSAGES, MESSAGES) => Finding::yes(),
        (arrived, different) if arrived > different => {
            let twice = arrived - different;
            Finding::no(format!("{twice} of {MESSAGES} arrive at both members")).advice(ADVICE)
        }
        (_, different) => {
            let lost = MESSAGES - different;
            Finding::no(format!("{lost} of {MESSAGES} arrive at neither member")).advice(ADVICE)
        }
    };
    let (first, second) = (first.len(), second.len());
    Ok(vec![finding.text(format!("{first} + {second}"))])
}

/// What comes until nothing comes: at first for longer.
async fn some(cx: &Context, client: &mut Connection) -> Result<Vec<Publish>, Trouble> {
    let Some(first) = client.message(Instant::now() + cx.wait()).await? else {
        return Ok(Vec::new());
    };
    let mut messages = vec![first];
    messages.extend(client.messages(0, cx.wait(), cx.quiet()).await?);
    Ok(messages)
}

/// Messages come with the identifiers of all subscriptions that they match.
pub(in crate::probe) async fn subscription_identifiers(
    cx: &Context,
) -> Result<Vec<Finding>, Trouble> {
    let advice = "without_identifier(); the library does without where CONNACK says so";
    if cx.announced().subscription_identifier_available == Some(false) {
        let finding = Finding::no("CONNACK announces that it has none").announced();
        return Ok(vec![finding.advice(advice)]);
    }
    let mut client = cx.client().await?;
    for (rest, number) in [("identifiers/+", 7), ("identifiers/#", 300)] {
        let filter = SubscribeFilter::new(cx.filter(rest)?, cx.qos());
        let identifier = SubscriptionIdentifier::new(number);
        match client.subscribe(vec![filter], identifier).await {
            Ok(reasons) if reasons[0] == SubAckReasonCode::NotAuthorized => {
                return Err(Trouble::Denied(format!("{rest}: {}", reasons[0])));
            }
            Ok(reasons) if reasons[0].is_error() => {
                let finding = Finding::no(format!("the server rejects it: {}", reasons[0]));
                return Ok(vec![finding.advice(advice)]);
            }
            Ok(_) => {}
            Err(trouble) if trouble.is_an_answer() => {
                return Ok(vec![Finding::no(trouble.to_string()).advice(advice)]);
            }
            Err(trouble) => return Err(trouble),
        }
    }
    cx.publish(&mut client, &cx.topic("identifiers/x")?, b"x")
        .await?;
    let messages = client.messages(1, cx.wait(), cx.quiet()).await?;
    let found: BTreeSet<u32> = messages
        .iter()
        .flat_map(|message| message.properties().subscription_identifiers())
        .map(SubscriptionIdentifier::get)
        .collect();
    let found: Vec<_> = found.into_iter().collect();
    let finding = match found[..] {
        _ if messages.is_empty() => return Err(Trouble::Silent("message")),
        [7, 300] => Finding::yes(),
        [] => Finding::no("messages come without them").advice(advice),
        _ => Finding::limited("of two subscriptions that a message matches one is named")
            .advice(advice),
    };
    Ok(vec![finding])
}

/// No Local keeps a client's own messages from it.
pub(in crate::probe) async fn no_local(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    let topic = cx.topic("no-local")?;
    let mut filter = SubscribeFilter::new(cx.filter("no-local")?, cx.qos());
    filter.no_local = true;
    let advice = "ignore your own messages, by a user property or a topic of your own";
    let mut client = match cx.subscriber(vec![filter]).await {
        Ok(client) => client,
        Err(trouble) if trouble.is_an_answer() => {
            return Ok(vec![Finding::no(trouble.to_string()).advice(advice)]);
        }
        Err(trouble) => return Err(trouble),
    };
    cx.publish(&mut client, &topic, b"own").await?;
    let mut other = cx.client().await?;
    cx.publish(&mut other, &topic, b"other").await?;
    let messages = client.messages(1, cx.wait(), cx.quiet()).await?;
    let payloads: Vec<_> = messages.iter().map(Publish::payload).collect();
    let finding = match payloads[..] {
        [b"other"] => Finding::yes(),
        [] => Finding::no("messages of others do not arrive either"),
        _ => Finding::no("a client gets its own messages all the same").advice(advice),
    };
    Ok(vec![finding])
}

/// Nine filters in a SUBSCRIBE, and a hundred.
pub(in crate::probe) async fn many_filters(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    let mut findings = Vec::new();
    for count in [9, 100] {
        findings.push(filters(cx, count).await?);
    }
    Ok(findings)
}

async fn filters(cx: &Context, count: usize) -> Result<Finding, Trouble> {
    let advice = match count {
        9 => "subscribe in portions: max_filters_per_packet(8), the library's default",
        _ => "subscribe in portions: max_filters_per_packet; the library's default is 8",
    };
    let name = |number: usize| format!("filters-{count}/{number}");
    let mut filters = Vec::new();
    for number in 0..count {
        filters.push(SubscribeFilter::new(cx.filter(&name(number))?, cx.qos()));
    }
    let mut client = cx.client().await?;
    let reasons = match client.subscribe(filters, None).await {
        Ok(reasons) => reasons,
        Err(trouble) if trouble.is_an_answer() => {
            return Ok(Finding::no(trouble.to_string()).advice(advice));
        }
        Err(trouble) => return Err(trouble),
    };
    let rejected = reasons.iter().filter(|reason| reason.is_error()).count();
    if rejected > 0 {
        let note = format!("{rejected} of {count} are rejected");
        if reasons.contains(&SubAckReasonCode::NotAuthorized) {
            return Err(Trouble::Denied(note));
        }
        return Ok(Finding::no(note).advice(advice));
    }
    let last = cx.topic(&name(count - 1))?;
    cx.publish(&mut client, &last, b"x").await?;
    Ok(match client.message(Instant::now() + cx.wait()).await? {
        Some(_) => Finding::yes(),
        None => Finding::no("the last of them gets no messages").advice(advice),
    })
}

/// What a client gets whose subscriptions overlap: some servers have a queue for each QoS, so it may
/// matter whether the subscriptions have the same.
pub(in crate::probe) async fn overlapping(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    let qos = cx.at_most(QoS::AtLeastOnce);
    let (different, highest) = overlap(cx, "overlap", [QoS::AtMostOnce, qos]).await?;
    let (same, _) = match qos {
        QoS::AtMostOnce => (different, highest),
        _ => overlap(cx, "overlap-same", [qos, qos]).await?,
    };
    let advice = "expect a message once for each subscription that it matches";
    let finding = match (different.min(same), highest) {
        (0, _) | (_, None) => Finding::no("a message for both does not arrive"),
        (_, Some(highest)) if highest < qos => {
            Finding::limited("it comes at the lower QoS of the two").number(different)
        }
        _ if different != same => Finding::yes()
            .number(same)
            .note(format!(
                "where both have one QoS, and {different} where they differ"
            ))
            .advice("expect a message once or more often: it depends on the QoS of subscriptions"),
        (1, _) => Finding::yes().number(1_u64).note("message for both"),
        (count, _) => Finding::yes()
            .number(count)
            .note("messages, one for each")
            .advice(advice),
    };
    Ok(vec![finding])
}

/// How often a message for two subscriptions with this QoS comes, and its highest QoS.
async fn overlap(
    cx: &Context,
    root: &str,
    [first, second]: [QoS; 2],
) -> Result<(u64, Option<QoS>), Trouble> {
    let mut client = cx.client().await?;
    for (rest, qos) in [("+", first), ("#", second)] {
        let filter = SubscribeFilter::new(cx.filter(&format!("{root}/{rest}"))?, qos);
        cx.subscribe(&mut client, vec![filter]).await?;
    }
    cx.publish(&mut client, &cx.topic(&format!("{root}/x"))?, b"x")
        .await?;
    let messages = client.messages(1, cx.wait(), cx.quiet()).await?;
    let all = messages.iter().map(|message| message.delivery().qos());
    Ok((messages.len() as u64, all.max()))
}

/// A message is delivered at its own QoS or that of the subscription, whichever is lower.
pub(in crate::probe) async fn delivery_qos(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    let mut wrong = Vec::new();
    let highest = cx.at_most(QoS::ExactlyOnce);
    if highest == QoS::AtMostOnce {
        return Ok(vec![Finding::not_tried("there is only QoS 0")]);
    }
    for (number, (published, subscribed)) in
        [(QoS::AtMostOnce, highest), (highest, QoS::AtMostOnce)]
            .into_iter()
            .enumerate()
    {
        let rest = format!("delivery-qos/{number}");
        let mut client = cx.client().await?;
        let filter = SubscribeFilter::new(cx.filter(&rest)?, subscribed);
        let reasons = client.subscribe(vec![filter], None).await?;
        if reasons != [SubAckReasonCode::granted(subscribed)] {
            let note = format!(
                "a subscription at {subscribed} is not granted: {}",
                reasons[0]
            );
            return Ok(vec![Finding::not_tried(note)]);
        }
        let topic = cx.topic(&rest)?;
        cx.publish_message(&mut client, &Outgoing::new(&topic, b"x", published))
            .await?;
        match client.message(Instant::now() + cx.wait()).await? {
            Some(message) if message.delivery().qos() == QoS::AtMostOnce => {}
            Some(message) => wrong.push(format!(
                "published at {published}, subscribed at {subscribed}, delivered at {}",
                message.delivery().qos()
            )),
            None => return Err(Trouble::Silent("message")),
        }
    }
    let finding = match wrong.is_empty() {
        true => Finding::yes(),
        false => Finding::no(wrong.join("; "))
            .advice("do not tell by the QoS how a message was published"),
    };
    Ok(vec![finding])
}

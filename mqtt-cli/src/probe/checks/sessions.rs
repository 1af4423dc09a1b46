//! Client identifiers, and sessions that are kept.

use crate::probe::connection::Outgoing;
use crate::probe::context::{Ask, Context};
use crate::probe::finding::Finding;
use crate::probe::trouble::Trouble;
use martlet_tokio::proto::{DisconnectReasonCode, Publish, SubscribeFilter};
use martlet_tokio::{QoS, Version};
use tokio::time::Instant;

/// A client that has no identifier is accepted.
pub(in crate::probe) async fn empty_identifier(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    if cx.version() == Version::V3_1 {
        return Ok(vec![Finding::no("MQTT 3.1 has no empty identifier")]);
    }
    let (client, answer) = match cx.connect(Ask::new("")).await {
        Ok(connected) => connected,
        Err(trouble) if trouble.is_an_answer() => {
            let finding = Finding::no(trouble.to_string());
            return Ok(vec![finding.advice("client_identifier(..), -i")]);
        }
        Err(trouble) => return Err(trouble),
    };
    client.disconnect(None).await?;
    let assigned = answer.properties.assigned_client_identifier;
    let finding = match (cx.version(), assigned) {
        (Version::V5, None) => Finding::limited("the server assigns no identifier")
            .advice("client_identifier(..), -i, where the session is to be resumed"),
        (_, Some(assigned)) => Finding::yes().note(format!("assigned: {}", assigned.as_str())),
        (_, None) => Finding::yes(),
    };
    Ok(vec![finding])
}

/// A second client of the same identifier takes the session over, and the first gets the reason.
pub(in crate::probe) async fn takeover(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    let identifier = cx.identifier();
    let (mut first, _) = cx.connect(Ask::session(&identifier)).await?;
    first.ping().await?;
    let (mut second, _) = cx.connect(Ask::session(&identifier)).await?;
    let ended = first.message(Instant::now() + cx.wait()).await;
    second.ping().await?;
    let advice = "client_identifier(..), -i: never give two clients the same";
    let finding = match ended {
        Err(Trouble::Closed {
            reason: Some(DisconnectReasonCode::SessionTakenOver),
            ..
        }) => Finding::yes().note("the first connection ends with 0x8E"),
        Err(Trouble::Closed {
            reason: Some(reason),
            ..
        }) => Finding::limited(format!("the first connection ends with {reason}")).advice(advice),
        Err(Trouble::Closed { reason: None, .. }) if cx.is_5() => {
            Finding::limited("the first connection ends without a reason").advice(advice)
        }
        Err(Trouble::Closed { reason: None, .. }) => {
            Finding::yes().note("the first connection is closed")
        }
        Ok(_) => Finding::no("both connections stay").advice(advice),
        Err(trouble) => return Err(trouble),
    };
    Ok(vec![finding])
}

/// A session and its subscription are there after a cut, however it began.
pub(in crate::probe) async fn session_kept(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    let advice = "subscribe again after each connection: the library does";
    let finding = match kept(cx, false).await? {
        (true, true) if cx.is_5() && kept(cx, true).await? != (true, true) => {
            Finding::limited("it ends with its connection where that began with Clean Start")
                .advice("Builder::lasting_session, -c: they begin it without Clean Start")
        }
        (true, true) => Finding::yes(),
        (true, false) => Finding::no("the session is there, without its subscription"),
        (false, true) => Finding::limited("it is there, and the CONNACK says that it is not"),
        (false, false) => Finding::no("the session ends with its connection").advice(advice),
    };
    Ok(vec![finding])
}

/// Whether a session is there after a cut, as the CONNACK says, and whether its subscription is.
async fn kept(cx: &Context, clean_start: bool) -> Result<(bool, bool), Trouble> {
    let identifier = cx.identifier();
    let topic = cx.topic("session")?;
    let mut ask = Ask::session(&identifier);
    ask.clean_start = clean_start;
    let (mut client, _) = cx.connect(ask).await?;
    let filter = SubscribeFilter::new(cx.filter("session")?, cx.qos());
    cx.subscribe(&mut client, vec![filter]).await?;
    drop(client);
    let (mut client, answer) = cx.connect(Ask::session(&identifier)).await?;
    cx.publish(&mut client, &topic, b"x").await?;
    let message = client.message(Instant::now() + cx.wait()).await?;
    // A CONNACK of MQTT 3.1 has no Session Present flag.
    let is_present = answer.session_present || cx.version() == Version::V3_1;
    Ok((is_present, message.is_some()))
}

/// A session without a subscription is kept, too: that of a publisher, with its QoS 2 flows.
pub(in crate::probe) async fn session_without_subscriptions(
    cx: &Context,
) -> Result<Vec<Finding>, Trouble> {
    if cx.version() == Version::V3_1 {
        return Ok(vec![Finding::not_tried(
            "MQTT 3.1 cannot say whether there is a session",
        )]);
    }
    let identifier = cx.identifier();
    let (mut client, _) = cx.connect(Ask::session(&identifier)).await?;
    client.ping().await?;
    drop(client);
    let (_client, answer) = cx.connect(Ask::session(&identifier)).await?;
    let finding = match answer.session_present {
        true => Finding::yes(),
        false => Finding::no("the session of a client that only publishes is not kept")
            .advice("publish at QoS 1, or subscribe to a topic of your own"),
    };
    Ok(vec![finding])
}

/// Messages of each QoS wait for a session whose client is away.
pub(in crate::probe) async fn offline_queue(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    let highest = cx.at_most(QoS::ExactlyOnce);
    let all = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    let tried: Vec<_> = all.into_iter().filter(|qos| *qos <= highest).collect();
    let filter = SubscribeFilter::new(cx.filter("offline")?, highest);
    let session = cx.offline_session(vec![filter]).await?;
    let topic = cx.topic("offline")?;
    let mut publisher = cx.client().await?;
    for qos in &tried {
        let payload = [qos.as_u8()];
        cx.publish_message(&mut publisher, &Outgoing::new(&topic, &payload, *qos))
            .await?;
    }
    let (mut client, _) = cx.connect(Ask::session(&session)).await?;
    // A server may well drop those of QoS 0.
    let expected = tried.len().saturating_sub(1).max(1);
    let messages = client.messages(expected, cx.wait(), cx.quiet()).await?;
    let finding = |qos: QoS| {
        let count = messages
            .iter()
            .filter(|message| message.payload() == [qos.as_u8()])
            .count();
        match (tried.contains(&qos), count, qos) {
            (false, ..) => Finding::not_tried(format!("the server has no {qos}")),
            (true, 1, _) => Finding::yes(),
            (true, 0, QoS::AtMostOnce) => Finding::no("dropped")
                .advice("publish at QoS 1 what a client that is away has to get"),
            (true, 0, _) => Finding::no("dropped").advice("do not rely on sessions: publish again"),
            (true, count, _) => Finding::no(format!("it arrives {count} times"))
                .advice("look for duplicates by the content of messages"),
        }
    };
    Ok(all.into_iter().map(finding).collect())
}

/// What waited comes in its order.
pub(in crate::probe) async fn offline_order(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    const MESSAGES: u8 = 20;
    let filter = SubscribeFilter::new(cx.filter("offline-order")?, cx.qos());
    let session = cx.offline_session(vec![filter]).await?;
    let topic = cx.topic("offline-order")?;
    let mut publisher = cx.client().await?;
    for number in 0..MESSAGES {
        cx.publish(&mut publisher, &topic, &[number]).await?;
    }
    let (mut client, _) = cx.connect(Ask::session(&session)).await?;
    let messages = client
        .messages(MESSAGES.into(), cx.wait(), cx.quiet())
        .await?;
    let found: Vec<_> = messages
        .iter()
        .flat_map(Publish::payload)
        .copied()
        .collect();
    let expected: Vec<_> = (0..MESSAGES).collect();
    let mut sorted = found.clone();
    sorted.sort_unstable();
    let advice = "number messages where their order matters";
    let finding = match found.len() {
        _ if found == expected => Finding::yes(),
        0 => Finding::not_tried("messages do not wait for an offline session"),
        _ if sorted == expected => Finding::no("they come in another order").advice(advice),
        count if found.is_sorted() => {
            Finding::limited(format!("{count} of {MESSAGES} come, in their order"))
                .advice("the server's limit of queued messages is lower")
        }
        count => Finding::no(format!("{count} come for {MESSAGES}")).advice(advice),
    };
    Ok(vec![finding.text(format!("{} of {MESSAGES}", found.len()))])
}

//! Deliveries through cuts, and the client's Receive Maximum.

use crate::probe::connection::{Acknowledging, Connection, Outgoing, completed, received};
use crate::probe::context::{Ask, Context};
use crate::probe::finding::Finding;
use crate::probe::trouble::Trouble;
use martlet_tokio::proto::{
    Delivery, Packet, PacketIdentifier, PubRelReasonCode, Publish, SubscribeFilter,
};
use martlet_tokio::{QoS, TopicName, Version};
use std::collections::VecDeque;
use std::num::NonZeroU16;
use tokio::time::Instant;

/// What to do where a QoS 2 message is lost or comes twice.
const NOT_ONCE: &str = "look for duplicates by the content of messages, and publish at QoS 1";

/// What to do where nothing comes again.
const LATER: &str = "some servers resend later: try a longer --answer-timeout";

/// Where a publisher's connection is cut within the exchange of a QoS 2 message.
#[derive(Debug, Clone, Copy)]
enum Published {
    /// After the PUBLISH.
    Unanswered,
    /// Before the PUBREC was read: the PUBLISH is sent again.
    PubRecLost,
    /// The PUBREC was read: the PUBREL is sent.
    PubRecRead,
    /// Before the PUBCOMP was read: the PUBREL is sent again.
    PubCompLost,
}

impl Published {
    const ALL: [(Self, &str); 4] = [
        (Self::Unanswered, "after PUBLISH"),
        (Self::PubRecLost, "before PUBREC"),
        (Self::PubRecRead, "after PUBREC"),
        (Self::PubCompLost, "before PUBCOMP"),
    ];
}

/// A QoS 2 message arrives once, wherever its publisher's connection is cut.
pub(in crate::probe) async fn published_once(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    if cx.at_most(QoS::ExactlyOnce) != QoS::ExactlyOnce {
        return Ok(vec![Finding::not_tried("the server has no QoS 2")]);
    }
    let topic = cx.topic("once/publish")?;
    let filter = SubscribeFilter::new(cx.filter("once/publish")?, QoS::ExactlyOnce);
    let mut subscriber = cx.subscriber(vec![filter]).await?;
    let mut wrong = Vec::new();
    for (place, name) in Published::ALL {
        match publish_through_cut(cx, &topic, place, name).await {
            Ok(()) => {}
            Err(trouble) if trouble.is_an_answer() => {
                wrong.push(format!("{name}: {trouble}"));
                continue;
            }
            Err(trouble) => return Err(trouble),
        }
        let messages = subscriber.messages(1, cx.wait(), cx.quiet()).await?;
        // What a place before left behind is not this one's.
        let count = messages
            .iter()
            .filter(|message| message.payload() == name.as_bytes())
            .count();
        match count {
            1 => {}
            0 => wrong.push(format!("{name}: lost")),
            count => wrong.push(format!("{name}: {count} times")),
        }
    }
    Ok(vec![once(&wrong, Published::ALL.len(), NOT_ONCE)])
}

fn once(wrong: &[String], places: usize, advice: &str) -> Finding {
    let finding = match wrong.is_empty() {
        true => Finding::yes().note("places of the exchange to cut"),
        false => Finding::no(wrong.join("; ")).advice(advice),
    };
    finding.text(format!("{} of {places}", places - wrong.len()))
}

async fn publish_through_cut(
    cx: &Context,
    topic: &TopicName,
    place: Published,
    payload: &str,
) -> Result<(), Trouble> {
    let identifier = cx.identifier();
    let (mut client, _) = cx.connect(Ask::session(&identifier)).await?;
    // Some servers keep a session only of those who have subscribed.
    let own = SubscribeFilter::new(cx.filter("once/own")?, QoS::AtMostOnce);
    cx.subscribe(&mut client, vec![own]).await?;
    let message = Outgoing::new(topic, payload.as_bytes(), QoS::ExactlyOnce);
    let packet = client.identifier();
    client.send_publish(&message, packet, false).await?;
    if !matches!(place, Published::Unanswered) {
        let reason = client.received(packet).await?;
        if reason.is_error() {
            return Err(Trouble::unpublished(reason));
        }
    }
    if matches!(place, Published::PubCompLost) {
        client.release(packet).await?;
    }
    drop(client);
    let (mut client, answer) = cx.connect(Ask::session(&identifier)).await?;
    if !answer.session_present && cx.version() != Version::V3_1 {
        return Err(Trouble::Misbehaved(
            "the server did not keep the session".to_owned(),
        ));
    }
    if matches!(place, Published::Unanswered | Published::PubRecLost) {
        client.send_publish(&message, packet, true).await?;
        client.received(packet).await?;
    }
    match client.release(packet).await? {
        PubRelReasonCode::Success => {}
        // It was completed before.
        PubRelReasonCode::PacketIdentifierNotFound if matches!(place, Published::PubCompLost) => {}
        reason => return Err(Trouble::Misbehaved(format!("PUBCOMP: {reason}"))),
    }
    client.disconnect(Some(0)).await
}

/// Where a subscriber's connection is cut within the exchange of a QoS 2 message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivered {
    /// The PUBLISH was read: it has to come again.
    PublishRead,
    /// After the PUBREC: either the PUBLISH or the PUBREL has to come.
    PubRecSent,
    /// The PUBREL was read: the PUBLISH may not come again.
    PubRelRead,
    /// After the PUBCOMP: the PUBLISH may not come again.
    PubCompSent,
}

impl Delivered {
    const ALL: [(Self, &str); 4] = [
        (Self::PublishRead, "after PUBLISH"),
        (Self::PubRecSent, "after PUBREC"),
        (Self::PubRelRead, "after PUBREL"),
        (Self::PubCompSent, "after PUBCOMP"),
    ];
}

/// The server is silent after the cut: for now, or for good.
const NOT_AGAIN: &str = "it is not sent again";
const NOT_RESUMED: &str = "the exchange is not resumed";

/// A QoS 2 message arrives once, wherever its subscriber's connection is cut.
pub(in crate::probe) async fn delivered_once(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    if cx.at_most(QoS::ExactlyOnce) != QoS::ExactlyOnce {
        return Ok(vec![Finding::not_tried("the server has no QoS 2")]);
    }
    let mut wrong = Vec::new();
    let mut is_only_late = true;
    for (number, (place, name)) in Delivered::ALL.into_iter().enumerate() {
        let rest = format!("once/deliver/{number}");
        match deliver_through_cut(cx, &rest, place).await {
            Ok(None) => {}
            Ok(Some(why)) => {
                is_only_late &= [NOT_AGAIN, NOT_RESUMED].contains(&why);
                wrong.push(format!("{name}: {why}"));
            }
            Err(trouble) if trouble.is_an_answer() => {
                is_only_late = false;
                wrong.push(format!("{name}: {trouble}"));
            }
            Err(trouble) => return Err(trouble),
        }
    }
    let advice = if is_only_late { LATER } else { NOT_ONCE };
    Ok(vec![once(&wrong, Delivered::ALL.len(), advice)])
}

/// Why it does not arrive once.
async fn deliver_through_cut(
    cx: &Context,
    rest: &str,
    place: Delivered,
) -> Result<Option<&'static str>, Trouble> {
    let identifier = cx.identifier();
    let (mut client, _) = cx.connect(Ask::session(&identifier)).await?;
    let filter = SubscribeFilter::new(cx.filter(rest)?, QoS::ExactlyOnce);
    cx.subscribe(&mut client, vec![filter]).await?;
    let mut publisher = cx.client().await?;
    let topic = cx.topic(rest)?;
    cx.publish_message(
        &mut publisher,
        &Outgoing::new(&topic, b"x", QoS::ExactlyOnce),
    )
    .await?;
    let packet = published_to(cx, &mut client).await?;
    if place != Delivered::PublishRead {
        client.send(&received(packet)).await?;
    }
    if matches!(place, Delivered::PubRelRead | Delivered::PubCompSent) {
        released_to(cx, &mut client, packet).await?;
    }
    if place == Delivered::PubCompSent {
        client.send(&completed(packet)).await?;
        // It has been read.
        client.ping().await?;
    }
    drop(client);
    let (mut client, _) = cx.connect(Ask::session(&identifier)).await?;
    resume(cx, &mut client, packet, place).await
}

/// Goes on with the exchange of one message after the cut.
async fn resume(
    cx: &Context,
    client: &mut Connection,
    packet: PacketIdentifier,
    place: Delivered,
) -> Result<Option<&'static str>, Trouble> {
    // A client that has read the PUBREL has forgotten the identifier.
    let mut is_known = matches!(place, Delivered::PublishRead | Delivered::PubRecSent);
    let mut came_again = false;
    let mut until = match place {
        // Nothing has to come.
        Delivered::PubCompSent => Instant::now() + cx.quiet(),
        _ => Instant::now() + cx.wait(),
    };
    while let Some(found) = client.packet(until).await? {
        match found {
            Packet::Publish(publish) => {
                let Some(found) = publish.delivery().packet_identifier() else {
                    return Ok(Some("it comes again at QoS 0"));
                };
                if !is_known || found != packet {
                    return Ok(Some("it arrives twice"));
                }
                came_again = true;
                client.send(&received(packet)).await?;
            }
            Packet::PubRel(release) => {
                came_again |= place != Delivered::PublishRead;
                is_known = false;
                client.send(&completed(release.packet_identifier)).await?;
                // Nothing more may come.
                until = Instant::now() + cx.quiet();
            }
            _ => {}
        }
    }
    Ok(match place {
        Delivered::PublishRead if !came_again => Some(NOT_AGAIN),
        Delivered::PubRecSent | Delivered::PubRelRead if !came_again => Some(NOT_RESUMED),
        _ => None,
    })
}

/// Waits for the PUBLISH of a QoS 2 message, and acknowledges nothing.
async fn published_to(cx: &Context, client: &mut Connection) -> Result<PacketIdentifier, Trouble> {
    let until = Instant::now() + cx.wait();
    while let Some(packet) = client.packet(until).await? {
        if let Packet::Publish(publish) = packet {
            return match publish.delivery() {
                Delivery::ExactlyOnce {
                    packet_identifier, ..
                } => Ok(packet_identifier),
                _ => Err(Trouble::Misbehaved(
                    "a message of QoS 2 does not come at QoS 2".to_owned(),
                )),
            };
        }
    }
    Err(Trouble::Silent("PUBLISH"))
}

async fn released_to(
    cx: &Context,
    client: &mut Connection,
    packet: PacketIdentifier,
) -> Result<(), Trouble> {
    let until = Instant::now() + cx.wait();
    while let Some(found) = client.packet(until).await? {
        if matches!(found, Packet::PubRel(release) if release.packet_identifier == packet) {
            return Ok(());
        }
    }
    Err(Trouble::Silent("PUBREL"))
}

/// What was not acknowledged when the connection was cut comes again, in its order, with DUP.
pub(in crate::probe) async fn redelivery(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    const MESSAGES: u8 = 5;
    if cx.qos() == QoS::AtMostOnce {
        let finding = Finding::not_tried("the server has no QoS 1");
        return Ok(vec![finding; 3]);
    }
    let identifier = cx.identifier();
    let (mut client, _) = cx.connect(Ask::session(&identifier)).await?;
    client.acknowledging = Acknowledging::Never;
    let filter = SubscribeFilter::new(cx.filter("redelivery")?, QoS::AtLeastOnce);
    cx.subscribe(&mut client, vec![filter]).await?;
    let topic = cx.topic("redelivery")?;
    let mut publisher = cx.client().await?;
    for number in 0..MESSAGES {
        cx.publish(&mut publisher, &topic, &[number]).await?;
    }
    let before = client
        .messages(MESSAGES.into(), cx.wait(), cx.quiet())
        .await?;
    // A server with a small window has sent only some of them; the others have to come all the same.
    if before.is_empty() {
        let finding = Finding::not_tried("no message came before the cut");
        return Ok(vec![finding; 3]);
    }
    drop(client);
    let (mut client, _) = cx.connect(Ask::session(&identifier)).await?;
    let again = client
        .messages(MESSAGES.into(), cx.wait(), cx.quiet())
        .await?;
    Ok(judge_redelivery(&before, &again, MESSAGES, cx))
}

/// `before`: what came before the cut, and has to come again.
fn judge_redelivery(
    before: &[Publish],
    again: &[Publish],
    count: u8,
    cx: &Context,
) -> Vec<Finding> {
    let found: Vec<_> = again.iter().flat_map(Publish::payload).copied().collect();
    let mut sorted = found.clone();
    sorted.sort_unstable();
    let mut sent: Vec<_> = before.iter().flat_map(Publish::payload).copied().collect();
    sent.sort_unstable();
    // What was not on its way is not redelivered.
    let expected = match sorted == sent {
        true => sent.clone(),
        false => (0..count).collect(),
    };
    if sorted != expected {
        let note = match found.len() {
            0 => format!("nothing comes within {} s", cx.wait().as_secs_f32()),
            arrived => format!("{arrived} come for {count}"),
        };
        let lost = Finding::no(note).advice(LATER);
        let others = Finding::not_tried("they do not all come again");
        return vec![
            lost.text(format!("{} of {count}", found.len())),
            others.clone(),
            others,
        ];
    }
    let order = match found == expected {
        true => Finding::yes(),
        false => Finding::no(format!("{found:?}"))
            .advice("do not rely on the order across reconnects: number messages"),
    };
    let came = |message: &&Publish| message.payload().iter().all(|number| sent.contains(number));
    let repeated = again.iter().filter(came);
    let marked = repeated
        .filter(|message| message.delivery().duplicate())
        .count();
    let marks = match marked == sent.len() {
        true => Finding::yes(),
        false => Finding::no("they come as if for the first time")
            .advice("look for duplicates by the content of messages, not by DUP"),
    };
    let all = Finding::yes().text(format!("{} of {}", found.len(), expected.len()));
    let all = match sent.len() == usize::from(count) {
        true => all,
        false => all.note(format!("{} of {count} came before the cut", sent.len())),
    };
    vec![
        all,
        order,
        marks.text(format!("{marked} of {}", sent.len())),
    ]
}

/// Where messages are before a client with a Receive Maximum gets them.
#[derive(Debug, Clone, Copy)]
enum Before {
    /// They are published while it is connected.
    Published,
    /// They wait for its session.
    Queued,
    /// They were on their way to its session when its connection was cut.
    Unacknowledged,
}

/// The server keeps within the client's Receive Maximum, and goes on as messages are acknowledged.
pub(in crate::probe) async fn receive_maximum(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    const MESSAGES: usize = 10;
    let highest = cx.at_most(QoS::ExactlyOnce);
    if highest == QoS::AtMostOnce {
        return Ok(vec![Finding::not_tried("the server has no QoS 1")]);
    }
    let cases = [
        (1, QoS::AtLeastOnce, Before::Unacknowledged),
        (2, highest, Before::Unacknowledged),
        (1, QoS::AtLeastOnce, Before::Published),
        (3, highest, Before::Published),
        (1, highest, Before::Queued),
        (3, QoS::AtLeastOnce, Before::Queued),
    ];
    let (mut tried, mut exceeded, mut unknown) = (0, Vec::new(), None);
    for (maximum, qos, before) in cases {
        let place = match before {
            Before::Published => "as they are published",
            Before::Queued => "of a session that was offline",
            Before::Unacknowledged => "of a connection that was cut",
        };
        let (most, all) = window(cx, maximum, qos, before, MESSAGES).await?;
        if all == 0 && (tried == 0 || !matches!(before, Before::Published)) {
            // It is a matter of sessions, which all cases have: nothing is known of the window.
            unknown.get_or_insert_with(|| format!("{qos} {place}: no message arrives"));
            continue;
        }
        tried += 1;
        if most > maximum.into() {
            exceeded.push(format!("{most} for {maximum}: {qos} {place}"));
        } else if all < MESSAGES {
            let note = format!("{all} of {MESSAGES} arrive at {maximum}: {qos} {place}");
            let finding = Finding::no(note).advice("do not set a small Receive Maximum");
            return Ok(vec![finding]);
        }
    }
    let kept = format!("{} of {tried}", tried - exceeded.len());
    let finding = match (exceeded.first(), unknown) {
        (None, None) => Finding::yes(),
        (None, Some(note)) => return Ok(vec![Finding::not_tried(note)]),
        (Some(first), _) => Finding::no(format!("{first}, unacknowledged at a time"))
            .advice("take what exceeds it: the library does, and reports ReceiveMaximumExceeded"),
    };
    Ok(vec![finding.text(kept)])
}

/// The most messages that are unacknowledged at a time, and how many come in all.
async fn window(
    cx: &Context,
    maximum: u16,
    qos: QoS,
    before: Before,
    count: usize,
) -> Result<(usize, usize), Trouble> {
    let rest = format!("receive-maximum/{}", cx.identifier());
    let filter = SubscribeFilter::new(cx.filter(&rest)?, qos);
    let session = cx.offline_session(vec![filter]).await?;
    let ask = || {
        let mut ask = Ask::session(&session);
        ask.receive_maximum = NonZeroU16::new(maximum);
        ask
    };
    let mut client = match before {
        Before::Published => Some(cx.connect(ask()).await?.0),
        Before::Queued => None,
        Before::Unacknowledged => Some(cx.connect(Ask::session(&session)).await?.0),
    };
    if let Some(client) = &mut client {
        client.acknowledging = Acknowledging::Never;
    }
    let topic = cx.topic(&rest)?;
    let mut publisher = cx.client().await?;
    for number in 0..count {
        let payload = number.to_string();
        let message = Outgoing::new(&topic, payload.as_bytes(), qos);
        cx.publish_message(&mut publisher, &message).await?;
    }
    if matches!(before, Before::Unacknowledged) {
        if let Some(mut cut) = client.take() {
            // They are on their way when the connection is cut.
            cut.messages(count, cx.wait(), cx.quiet()).await?;
        }
    }
    let mut client = match client {
        Some(client) => client,
        None => cx.connect(ask()).await?.0,
    };
    client.acknowledging = Acknowledging::Never;
    let at_once = client
        .messages(maximum.into(), cx.wait(), cx.quiet())
        .await?;
    let all = acknowledge_one_by_one(cx, &mut client, at_once, count).await?;
    let most = client.most_unacknowledged();
    client.disconnect(Some(0)).await?;
    Ok((most, all))
}

/// Acknowledges what has come, and what comes then; returns how many there were.
async fn acknowledge_one_by_one(
    cx: &Context,
    client: &mut Connection,
    came: Vec<Publish>,
    count: usize,
) -> Result<usize, Trouble> {
    let mut waiting = VecDeque::from(came);
    let mut all = waiting.len();
    while let Some(message) = waiting.pop_front() {
        client.acknowledge(&message).await?;
        // The server has read the acknowledgement, and of QoS 2 both.
        client.ping().await?;
        client.ping().await?;
        while let Some(message) = client.pending() {
            waiting.push_back(message);
            all += 1;
        }
        if waiting.is_empty() && all < count {
            if let Some(message) = client.message(Instant::now() + cx.wait()).await? {
                waiting.push_back(message);
                all += 1;
            }
        }
    }
    Ok(all)
}

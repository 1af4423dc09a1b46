//! Limits: those that the CONNACK announces, and those that are measured.

use crate::probe::connection::Outgoing;
use crate::probe::context::{Ask, Context, KEEP_ALIVE};
use crate::probe::finding::Finding;
use crate::probe::trouble::Trouble;
use martlet_tokio::proto::{Delivery, MAX_PACKET_SIZE, PublishRef, SubscribeFilter};
use martlet_tokio::{QoS, TopicName, Version};
use std::num::{NonZeroU16, NonZeroU32};
use tokio::time::Instant;

/// The session expiry that the limits are asked for with: a day.
const DAY: u32 = 24 * 60 * 60;

/// How many payloads the search for the largest tries.
const MOST_TRIES: usize = 14;

/// What the CONNACK says: Receive Maximum, Maximum Packet Size, Topic Alias Maximum, Server Keep
/// Alive, Session Expiry Interval.
pub(in crate::probe) async fn announced(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    let mut ask = Ask::session(cx.identifier());
    ask.expiry = DAY;
    let (client, answer) = cx.connect(ask).await?;
    client.disconnect(Some(0)).await?;
    let properties = answer.properties;
    let receive_maximum = match properties.receive_maximum {
        Some(messages) => Finding::yes().number(messages.get()),
        None => Finding::yes()
            .number(u16::MAX)
            .note("none in CONNACK, which stands for this"),
    };
    let packet_size = match properties.maximum_packet_size {
        Some(bytes) => Finding::yes().number(bytes.get()).note("bytes"),
        None => Finding::yes().text("no limit"),
    };
    let aliases = match properties.topic_alias_maximum {
        Some(aliases @ 1..) => Finding::yes().number(aliases),
        _ => Finding::no("clients may not use topic aliases").number(0_u64),
    };
    let keep_alive = match properties.server_keep_alive {
        Some(seconds) if seconds != KEEP_ALIVE => Finding::yes()
            .number(seconds)
            .note(format!("seconds, in place of {KEEP_ALIVE}")),
        _ => Finding::yes()
            .number(KEEP_ALIVE)
            .note("seconds, as asked for"),
    };
    let expiry = match properties.session_expiry_interval {
        Some(0) => Finding::no("sessions end with their connection").number(0_u64),
        Some(seconds) if seconds != DAY => Finding::yes()
            .number(seconds)
            .note(format!("seconds, in place of {DAY}")),
        _ => Finding::yes().number(DAY).note("seconds, as asked for"),
    };
    let findings = [receive_maximum, packet_size, aliases, keep_alive, expiry];
    Ok(findings.into_iter().map(Finding::announced).collect())
}

/// The highest QoS at which a message comes back as it was published.
pub(in crate::probe) async fn maximum_qos(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    let announced = cx.announced().maximum_qos.unwrap_or(QoS::ExactlyOnce);
    let mut highest = None;
    let mut note = None;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        if qos > announced {
            note = Some(format!("CONNACK announces {announced} as the highest"));
            break;
        }
        match comes_back(cx, qos).await {
            Ok(true) => highest = Some(qos),
            Ok(false) => {
                note = Some(format!("a message of {qos} does not come back at {qos}"));
                break;
            }
            Err(trouble) if trouble.is_an_answer() => {
                note = Some(format!("{qos}: {trouble}"));
                break;
            }
            Err(trouble) => return Err(trouble),
        }
    }
    let Some(highest) = highest else {
        return Ok(vec![Finding::no(note.unwrap_or_default())]);
    };
    cx.limit_qos(highest);
    let finding = match note {
        None => Finding::yes(),
        Some(note) => Finding::limited(note).advice(format!(
            "publish and subscribe at {highest} at most: .qos(..), -q {}",
            highest.as_u8()
        )),
    };
    Ok(vec![finding.number(highest.as_u8())])
}

async fn comes_back(cx: &Context, qos: QoS) -> Result<bool, Trouble> {
    let topic = cx.topic(&format!("qos/{}", qos.as_u8()))?;
    let filter = SubscribeFilter::new(cx.filter(&format!("qos/{}", qos.as_u8()))?, qos);
    let mut client = cx.subscriber(vec![filter]).await?;
    cx.publish_message(&mut client, &Outgoing::new(&topic, b"x", qos))
        .await?;
    let message = client.message(Instant::now() + cx.wait()).await?;
    client.disconnect(None).await?;
    Ok(message.is_some_and(|message| message.delivery().qos() == qos))
}

/// The largest payload that comes back unchanged, found by bisection.
pub(in crate::probe) async fn largest_payload(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    let topic = cx.topic("size")?;
    let announced = cx.announced().maximum_packet_size;
    let wanted = cx.max_payload();
    let fits = largest_that_fits(&topic, cx.version(), announced);
    let most = wanted.min(fits);
    let (finding, advice) = match size_comes_back(cx, &topic, most).await {
        Ok(()) if most == wanted => {
            let finding = Finding::yes()
                .number(most)
                .note("bytes; nothing larger was tried");
            return Ok(vec![finding]);
        }
        Ok(()) => {
            let finding = Finding::limited("bytes: what the announced packet size allows");
            (finding.number(most), most)
        }
        Err(trouble) if trouble.is_an_answer() => {
            let (works, fails, why) = bisect(cx, &topic, most, trouble).await?;
            let Some(works) = works else {
                return Ok(vec![Finding::no(format!("not even 0 bytes: {why}"))]);
            };
            let note = format!("bytes; {fails} do not come back: {why}");
            (Finding::limited(note).number(works), works)
        }
        Err(trouble) => return Err(trouble),
    };
    Ok(vec![finding.advice(format!(
        "keep payloads to {advice} bytes; in MQTT 5 the library obeys an announced limit"
    ))])
}

/// The largest payload that is known to come back, and the smallest that does not.
async fn bisect(
    cx: &Context,
    topic: &TopicName,
    most: u32,
    why: Trouble,
) -> Result<(Option<u32>, u32, Trouble), Trouble> {
    let (mut fails, mut why) = (most, why);
    match size_comes_back(cx, topic, 0).await {
        Ok(()) => {}
        Err(trouble) if trouble.is_an_answer() => return Ok((None, 0, trouble)),
        Err(trouble) => return Err(trouble),
    }
    let mut works = 0;
    for _ in 0..MOST_TRIES {
        // To one in a hundred.
        if fails - works <= (works / 100).max(1) {
            break;
        }
        let middle = works + (fails - works) / 2;
        match size_comes_back(cx, topic, middle).await {
            Ok(()) => works = middle,
            Err(trouble) if trouble.is_an_answer() => (fails, why) = (middle, trouble),
            Err(trouble) => return Err(trouble),
        }
    }
    Ok((Some(works), fails, why))
}

async fn size_comes_back(cx: &Context, topic: &TopicName, size: u32) -> Result<(), Trouble> {
    let payload: Vec<u8> = (0..size).map(|place| (place % 251) as u8).collect();
    let filter = SubscribeFilter::new(cx.filter("size")?, cx.qos());
    let mut subscriber = cx.subscriber(vec![filter]).await?;
    let mut publisher = cx.client().await?;
    // The subscriber is read meanwhile: a server may wait for it.
    let until = Instant::now() + cx.wait();
    let ((), message) = tokio::try_join!(
        cx.publish(&mut publisher, topic, &payload),
        subscriber.message(until)
    )?;
    match message {
        Some(message) if message.payload() == payload => Ok(()),
        Some(_) => Err(Trouble::Misbehaved(
            "the payload comes back changed".to_owned(),
        )),
        None => Err(Trouble::Silent("message")),
    }
}

/// The largest payload whose PUBLISH is no larger than this.
fn largest_that_fits(topic: &TopicName, version: Version, limit: Option<NonZeroU32>) -> u32 {
    let limit = limit.map_or(MAX_PACKET_SIZE, NonZeroU32::get);
    let delivery = Delivery::AtLeastOnce {
        packet_identifier: NonZeroU16::MIN,
        duplicate: false,
    };
    let empty = PublishRef::new(topic, b"").with_delivery(delivery);
    // The length field of an empty message has one byte, and four at most; the copy for the
    // subscriber is no larger.
    let head = empty.encoded_len(version) as u32 + 3;
    limit.saturating_sub(head)
}

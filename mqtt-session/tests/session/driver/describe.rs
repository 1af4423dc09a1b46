//! Packets and events as short lines.

use martlet_proto::*;
use martlet_session::{DeliveryStage, Event, Undelivered};
use std::error::Error;

fn text(bytes: &[u8]) -> String {
    if bytes.len() > 32 {
        return format!("{} bytes", bytes.len());
    }
    String::from_utf8_lossy(bytes).into_owned()
}

fn auth_data(message: &martlet_session::AuthMessage) -> String {
    message
        .data
        .as_ref()
        .map_or_else(|| "nothing".to_owned(), |data| text(data.as_bytes()))
}

fn ack<R>(name: &str, ack: &Ack<R>, reason: u8) -> String {
    let id = ack.packet_identifier;
    if reason == 0 {
        format!("{name} #{id}")
    } else {
        format!("{name} #{id} {reason:#04x}")
    }
}

/// `PUBLISH q1 #3 dup a/b hello`
pub fn describe(packet: &Packet) -> String {
    match packet {
        Packet::Connect(packet) => {
            let mut line = format!(
                "CONNECT {} {} id={:?}",
                packet.version.level(),
                if packet.clean_start {
                    "clean"
                } else {
                    "resume"
                },
                packet.client_identifier.as_str(),
            );
            if let Some(expiry) = packet.properties.session_expiry_interval {
                line += &format!(" expiry={expiry}");
            }
            line
        }
        Packet::Publish(publish) => {
            let mut line = format!("PUBLISH q{}", publish.delivery().qos().as_u8());
            if let Some(id) = publish.delivery().packet_identifier() {
                line += &format!(" #{id}");
            }
            if publish.delivery().duplicate() {
                line += " dup";
            }
            if publish.retain() {
                line += " retain";
            }
            line += &format!(" {} {}", publish.topic(), text(publish.payload()));
            if let Some(expiry) = publish.properties().message_expiry_interval() {
                line += &format!(" expiry={expiry}");
            }
            line
        }
        Packet::PubAck(packet) => ack("PUBACK", packet, packet.reason.as_u8()),
        Packet::PubRec(packet) => ack("PUBREC", packet, packet.reason.as_u8()),
        Packet::PubRel(packet) => ack("PUBREL", packet, packet.reason.as_u8()),
        Packet::PubComp(packet) => ack("PUBCOMP", packet, packet.reason.as_u8()),
        Packet::Subscribe(packet) => {
            let mut line = format!("SUBSCRIBE #{}", packet.packet_identifier);
            for subscription in &packet.subscriptions {
                line += &format!(
                    " {}:{}",
                    subscription.filter.as_str(),
                    subscription.qos.as_u8()
                );
            }
            if let Some(identifier) = packet.subscription_identifier {
                line += &format!(" identifier={}", identifier.get());
            }
            line
        }
        Packet::Unsubscribe(packet) => {
            let mut line = format!("UNSUBSCRIBE #{}", packet.packet_identifier);
            for filter in &packet.filters {
                line += &format!(" {}", filter.as_str());
            }
            line
        }
        Packet::Disconnect(packet) => {
            let mut line = format!("DISCONNECT {:#04x}", packet.reason.as_u8());
            if let Some(expiry) = packet.session_expiry_interval {
                line += &format!(" expiry={expiry}");
            }
            line
        }
        other => other.packet_type().to_string(),
    }
}

fn outcome<T>(what: &str, result: &Result<T, impl Error>, ok: impl FnOnce(&T) -> String) -> String {
    match result {
        Ok(value) => format!("{what}: {}", ok(value)),
        Err(error) => format!("{what}: {}", whole(error)),
    }
}

/// An error and its causes.
pub fn whole(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", whole(cause)),
        None => error.to_string(),
    }
}

fn codes(reasons: impl Iterator<Item = u8>) -> String {
    format!("{:?}", reasons.collect::<Vec<_>>())
}

/// `message q1 a/b hello`, `published: ok`, `disconnected: …`
pub fn describe_event(event: &Event) -> String {
    match event {
        Event::Connected(connected) if connected.session_present => {
            "connected, session present".into()
        }
        Event::Connected(_) => "connected".into(),
        Event::Message(message) => {
            let quality = message.publish.delivery().qos().as_u8();
            format!(
                "message q{quality} {} {}",
                message.topic(),
                text(message.publish.payload())
            )
        }
        Event::Published {
            operation, result, ..
        } => outcome(
            &format!("published {}", operation.get()),
            result,
            |acknowledged| match acknowledged.reason {
                PubAckReasonCode::Success => "ok".into(),
                reason => reason.to_string(),
            },
        ),
        Event::Subscribed { operation, result } => outcome(
            &format!("subscribed {}", operation.get()),
            result,
            |answer| codes(answer.reasons.iter().map(|reason| reason.as_u8())),
        ),
        Event::Unsubscribed { operation, result } => outcome(
            &format!("unsubscribed {}", operation.get()),
            result,
            |answer| codes(answer.reasons.iter().map(|reason| reason.as_u8())),
        ),
        Event::Pong { operation, result } => {
            outcome(&format!("pong {}", operation.get()), result, |()| {
                "ok".into()
            })
        }
        Event::ReceiveMaximumExceeded { receive_maximum } => {
            format!("receive maximum of {receive_maximum} exceeded")
        }
        Event::MessageSkipped { topic, size, qos } => {
            format!(
                "skipped q{} {} of {size} bytes",
                qos.as_u8(),
                topic.as_str()
            )
        }
        Event::MessageRejected(message) => message.to_string(),
        Event::Resubscribed(codes) => {
            let codes: Vec<_> = codes
                .iter()
                .map(|(filter, code)| format!("{}:{:#04x}", filter.as_str(), code.as_u8()))
                .collect();
            format!("resubscribed {}", codes.join(" "))
        }
        Event::AuthChallenge(message) => format!("challenge {}", auth_data(message)),
        Event::Authenticated(message) => format!("authenticated: {}", auth_data(message)),
        Event::Reauthenticated { operation, result } => outcome(
            &format!("reauthenticated {}", operation.get()),
            result,
            |message| auth_data(message),
        ),
        Event::Undelivered(undelivered) => {
            let is_queued = |message: &&Undelivered| message.stage == DeliveryStage::Queued;
            let queued = undelivered.iter().filter(is_queued).count();
            let in_flight = undelivered.len() - queued;
            format!("unacknowledged: {in_flight} in flight, {queued} queued")
        }
        Event::InboundDropped(n) => format!("dropped {n}"),
        Event::Disconnected(reason) => format!("disconnected: {}", whole(reason)),
        other => format!("{other:?}"),
    }
}

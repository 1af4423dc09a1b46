//! A decoder of its own: slow, literal, in the order of the specification. It shares nothing with
//! the one it judges.

mod reader;

use super::Rule;
use martlet_proto::Version;
use reader::{Decoded, Properties, WireReader, wrong};

/// The sender of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Party {
    Client,
    Server,
}

/// A packet, as far as the rules ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WirePacket {
    Connect(WireConnect),
    ConnAck(WireConnAck),
    Publish(WirePublish),
    PubAck(WireAck),
    PubRec(WireAck),
    PubRel(WireAck),
    PubComp(WireAck),
    Subscribe(WireSubscribe),
    SubAck(u16),
    Unsubscribe(u16),
    UnsubAck(u16),
    PingReq,
    PingResp,
    Disconnect { session_expiry: Option<u32> },
    Auth { reason: u8, method: Option<String> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WireConnect {
    pub(crate) client_identifier: String,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive: u16,
    pub(crate) session_expiry: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet_size: usize,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) authentication_method: Option<String>,
}

/// With the defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WireConnAck {
    pub(crate) accepted: bool,
    pub(crate) session_present: bool,
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet_size: usize,
    pub(crate) maximum_qos: u8,
    pub(crate) retain_available: bool,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) wildcards: bool,
    pub(crate) subscription_identifiers: bool,
    pub(crate) shared: bool,
    pub(crate) keep_alive: Option<u16>,
    pub(crate) client_identifier: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WirePublish {
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) topic: String,
    /// 0 at QoS 0.
    pub(crate) id: u16,
    pub(crate) alias: Option<u16>,
    /// A hash of what must be the same when it is sent again, but for the topic.
    pub(crate) content: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WireAck {
    pub(crate) id: u16,
    pub(crate) reason: u8,
}

impl WireAck {
    pub(crate) fn is_error(self) -> bool {
        self.reason >= 0x80
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WireSubscribe {
    pub(crate) id: u16,
    pub(crate) has_identifier: bool,
    pub(crate) wildcards: bool,
    pub(crate) shared: bool,
}

/// The packet at the front and its size, if it is all there.
pub(crate) fn decode(
    input: &[u8],
    version: Option<Version>,
    from: Party,
) -> Decoded<Option<(WirePacket, usize, Version)>> {
    let Some((&first, rest)) = input.split_first() else {
        return Ok(None);
    };
    let mut length = 0;
    let mut size = 1;
    for (i, &byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            if byte == 0 && i > 0 {
                return wrong(Rule::Length, "a length with a byte too many");
            }
            size = i + 2;
            break;
        } else if i == 3 {
            return wrong(Rule::Length, "a length of five bytes");
        }
    }
    if size == 1 {
        return Ok(None);
    }
    let Some(body) = input.get(size..size + length) else {
        return Ok(None);
    };
    let mut reader = WireReader { rest: body };
    let (packet, version) = match (version, first >> 4) {
        (_, 1) => connect(first, &mut reader, from)?,
        (None, kind) => {
            return wrong(
                Rule::ConnectFirst,
                format!("packet type {kind} comes first"),
            );
        }
        (Some(version), _) => (packet(first, &mut reader, version, from)?, version),
    };
    reader.end()?;
    Ok(Some((packet, size + length, version)))
}

fn packet(
    first: u8,
    reader: &mut WireReader<'_>,
    version: Version,
    from: Party,
) -> Decoded<WirePacket> {
    let (kind, flags) = (first >> 4, first & 15);
    let v5 = version == Version::V5;
    let expected = match kind {
        3 => flags,
        // DUP has a meaning there in 3.1.
        6 | 8 | 10 if version == Version::V3_1 => 2 | flags & 8,
        6 | 8 | 10 => 2,
        _ => 0,
    };
    if kind == 0 || kind == 15 && !v5 || flags != expected {
        return wrong(Rule::FirstByte, format!("{first:#04x} begins no packet"));
    }
    let by_client = match kind {
        2 | 9 | 11 | 13 => false,
        8 | 10 | 12 => true,
        14 if !v5 => true,
        _ => from == Party::Client,
    };
    if by_client != (from == Party::Client) {
        return wrong(
            Rule::Direction,
            format!("the {from:?} has sent packet type {kind}"),
        );
    }
    Ok(match kind {
        2 => WirePacket::ConnAck(connack(reader, version)?),
        3 => WirePacket::Publish(publish(flags, reader, v5, from)?),
        4 => WirePacket::PubAck(ack(reader, v5, Rule::PubAckReason)?),
        5 => WirePacket::PubRec(ack(reader, v5, Rule::PubRecReason)?),
        6 => WirePacket::PubRel(ack(reader, v5, Rule::PubRelReason)?),
        7 => WirePacket::PubComp(ack(reader, v5, Rule::PubCompReason)?),
        8 => WirePacket::Subscribe(subscribe(reader, v5)?),
        9 => WirePacket::SubAck(answers(reader, v5, Rule::SubAckReason)?),
        11 => WirePacket::UnsubAck(answers(reader, v5, Rule::UnsubAckReason)?),
        10 => {
            let id = reader.identifier()?;
            if v5 {
                reader.properties(&[0x26])?;
            }
            if reader.rest.is_empty() {
                return wrong(Rule::UnsubscribeEmpty, "an UNSUBSCRIBE without a filter");
            }
            while !reader.rest.is_empty() {
                filter(&reader.string()?, v5)?;
            }
            WirePacket::Unsubscribe(id)
        }
        12 => WirePacket::PingReq,
        13 => WirePacket::PingResp,
        14 => disconnect(reader, v5, from)?,
        _ => auth(reader)?,
    })
}

fn connect(first: u8, reader: &mut WireReader<'_>, from: Party) -> Decoded<(WirePacket, Version)> {
    if first != 0x10 {
        return wrong(Rule::FirstByte, format!("{first:#04x} begins no packet"));
    }
    if from == Party::Server {
        return wrong(Rule::Direction, "CONNECT from the server");
    }
    let (name, level) = (reader.string()?, reader.byte()?);
    let version = match (&*name, level) {
        ("MQIsdp", 3) => Version::V3_1,
        ("MQTT", 4) => Version::V3_1_1,
        ("MQTT", 5) => Version::V5,
        _ => return wrong(Rule::Protocol, format!("{name:?}, level {level}")),
    };
    let v5 = version == Version::V5;
    let flags = reader.byte()?;
    if flags & 1 != 0 {
        return wrong(Rule::ConnectFlags, "the reserved flag is set");
    }
    let (has_will, will_qos, will_retain) = (flags & 4 != 0, flags >> 3 & 3, flags & 0x20 != 0);
    if will_qos == 3 {
        return wrong(Rule::WillQos, "the will's QoS is 3");
    }
    if !has_will && (will_qos != 0 || will_retain) {
        return wrong(Rule::WillAbsent, "flags of a will without a will");
    }
    let (has_password, has_user) = (flags & 0x40 != 0, flags & 0x80 != 0);
    if has_password && !has_user && !v5 {
        return wrong(Rule::PasswordAlone, "a password without a user name");
    }
    let keep_alive = reader.u16()?;
    let mut properties = Properties::default();
    if v5 {
        properties = reader.properties(&[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27])?;
    }
    if properties.has(0x16) && !properties.has(0x15) {
        return wrong(Rule::PropertyPlace, "authentication data without a method");
    }
    let client_identifier = reader.string()?;
    let clean_start = flags & 2 != 0;
    check_client_identifier(&client_identifier, version, clean_start)?;
    if has_will {
        will(reader, v5)?;
    }
    if has_user {
        reader.string()?;
    }
    if has_password {
        reader.binary()?;
    }
    let connect = WireConnect {
        client_identifier,
        clean_start,
        keep_alive,
        session_expiry: properties.number(0x11).unwrap_or(0),
        receive_maximum: properties.number(0x21).map_or(u16::MAX, |n| n as u16),
        maximum_packet_size: properties.number(0x27).map_or(usize::MAX, |n| n as usize),
        topic_alias_maximum: properties.number(0x22).map_or(0, |n| n as u16),
        authentication_method: properties.text(0x15),
    };
    Ok((WirePacket::Connect(connect), version))
}

fn check_client_identifier(text: &str, version: Version, clean_start: bool) -> Decoded<()> {
    match version {
        Version::V3_1 if !(1..=23).contains(&text.chars().count()) => {
            wrong(Rule::ClientIdentifier, format!("{text:?} in 3.1"))
        }
        Version::V3_1_1 if text.is_empty() && !clean_start => wrong(
            Rule::ClientIdentifier,
            "a session to keep, and no name for it",
        ),
        _ => Ok(()),
    }
}

/// The will in the payload of a CONNECT.
fn will(reader: &mut WireReader<'_>, v5: bool) -> Decoded<()> {
    if v5 {
        response_topic(&reader.properties(&[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26])?)?;
    }
    let topic = reader.string()?;
    if topic.is_empty() {
        return wrong(Rule::TopicEmpty, "a will without a topic");
    }
    topic_name(&topic, Rule::TopicWildcard)?;
    reader.binary()?;
    Ok(())
}

fn connack(reader: &mut WireReader<'_>, version: Version) -> Decoded<WireConnAck> {
    let v5 = version == Version::V5;
    let (flags, code) = (reader.byte()?, reader.byte()?);
    // In 3.1 the byte means nothing.
    if flags > 1 && version != Version::V3_1 {
        return wrong(Rule::ConnAckFlags, format!("flags {flags:#04x}"));
    }
    // A server without MQTT 5 says no in its own words.
    let foreign = v5 && reader.rest.is_empty() && code != 0;
    let in_3x = code <= 5;
    let in_5 =
        code == 0 || matches!(code, 0x80..=0x8a | 0x8c | 0x90 | 0x95 | 0x97 | 0x99..=0x9d | 0x9f);
    if !(in_5 && v5 || in_3x && (foreign || !v5)) {
        return wrong(Rule::ConnAckReason, format!("reason code {code:#04x}"));
    }
    let mut properties = Properties::default();
    if v5 && !foreign {
        properties = reader.properties(&[
            0x11, 0x12, 0x13, 0x15, 0x16, 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27,
            0x28, 0x29, 0x2a,
        ])?;
    }
    if properties.has(0x16) && !properties.has(0x15) {
        return wrong(Rule::PropertyPlace, "authentication data without a method");
    }
    let available = |id| properties.number(id).is_none_or(|n| n != 0);
    Ok(WireConnAck {
        accepted: code == 0,
        // The flag is not there in 3.1, and means nothing in a rejection.
        session_present: flags & 1 != 0 && version != Version::V3_1 && code == 0,
        receive_maximum: properties.number(0x21).map_or(u16::MAX, |n| n as u16),
        maximum_packet_size: properties.number(0x27).map_or(usize::MAX, |n| n as usize),
        maximum_qos: properties.number(0x24).map_or(2, |n| n as u8),
        retain_available: available(0x25),
        topic_alias_maximum: properties.number(0x22).map_or(0, |n| n as u16),
        wildcards: available(0x28),
        subscription_identifiers: available(0x29),
        shared: available(0x2a),
        keep_alive: properties.number(0x13).map(|n| n as u16),
        client_identifier: properties.text(0x12),
    })
}

fn publish(flags: u8, reader: &mut WireReader<'_>, v5: bool, from: Party) -> Decoded<WirePublish> {
    let (dup, qos, retain) = (flags & 8 != 0, flags >> 1 & 3, flags & 1 != 0);
    if qos == 3 {
        return wrong(Rule::Qos, "QoS 3");
    }
    if dup && qos == 0 {
        return wrong(Rule::DupQos0, "DUP at QoS 0");
    }
    let topic = reader.string()?;
    topic_name(&topic, Rule::TopicWildcard)?;
    let id = if qos > 0 { reader.identifier()? } else { 0 };
    let mut alias = None;
    if v5 {
        let properties = reader.properties(&[0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x23, 0x26])?;
        if from == Party::Client && properties.has(0x0b) {
            return wrong(
                Rule::SubscriptionIdentifierSent,
                "a subscription identifier in a client's PUBLISH",
            );
        }
        response_topic(&properties)?;
        alias = properties.number(0x23).map(|n| n as u16);
    }
    if alias == Some(0) {
        return wrong(Rule::AliasZero, "topic alias 0");
    }
    if topic.is_empty() && alias.is_none() {
        return wrong(Rule::TopicEmpty, "a PUBLISH without a topic");
    }
    let payload = core::mem::take(&mut reader.rest);
    let content = hash(hash(0, &[qos, u8::from(retain)]), payload);
    Ok(WirePublish {
        qos,
        dup,
        retain,
        topic,
        id,
        alias,
        content,
    })
}

fn ack(reader: &mut WireReader<'_>, v5: bool, rule: Rule) -> Decoded<WireAck> {
    let id = reader.identifier()?;
    let mut reason = 0;
    if v5 && !reader.rest.is_empty() {
        reason = reader.byte()?;
        let known: &[u8] = match rule {
            Rule::PubAckReason | Rule::PubRecReason => {
                &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]
            }
            _ => &[0x00, 0x92],
        };
        if !known.contains(&reason) {
            return wrong(rule, format!("reason code {reason:#04x}"));
        }
        if !reader.rest.is_empty() {
            reader.properties(&[0x1f, 0x26])?;
        }
    }
    Ok(WireAck { id, reason })
}

/// What SUBACK and UNSUBACK say of each filter.
fn answers(reader: &mut WireReader<'_>, v5: bool, rule: Rule) -> Decoded<u16> {
    let id = reader.identifier()?;
    if v5 {
        reader.properties(&[0x1f, 0x26])?;
    }
    let known: &[u8] = match rule {
        Rule::SubAckReason if v5 => &[
            0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2,
        ],
        // 3.1 has no failure, but nothing else can be meant.
        Rule::SubAckReason => &[0x00, 0x01, 0x02, 0x80],
        _ if v5 => &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91],
        // There are none in 3.x.
        _ => return Ok(id),
    };
    if reader.rest.is_empty() {
        return wrong(Rule::Layout, "no reason code");
    }
    while !reader.rest.is_empty() {
        let code = reader.byte()?;
        if !known.contains(&code) {
            return wrong(rule, format!("reason code {code:#04x}"));
        }
    }
    Ok(id)
}

fn subscribe(reader: &mut WireReader<'_>, v5: bool) -> Decoded<WireSubscribe> {
    let id = reader.identifier()?;
    let mut properties = Properties::default();
    if v5 {
        properties = reader.properties(&[0x0b, 0x26])?;
    }
    if reader.rest.is_empty() {
        return wrong(Rule::SubscribeEmpty, "a SUBSCRIBE without a filter");
    }
    let mut subscribe = WireSubscribe {
        id,
        has_identifier: properties.has(0x0b),
        wildcards: false,
        shared: false,
    };
    while !reader.rest.is_empty() {
        let text = reader.string()?;
        let shared = filter(&text, v5)?;
        let options = reader.byte()?;
        let reserved = if v5 { 0xc0 } else { 0xfc };
        if options & 3 == 3 || options & reserved != 0 || options >> 4 & 3 == 3 {
            return wrong(Rule::SubscribeOptions, format!("options {options:#04x}"));
        }
        if shared && options & 4 != 0 {
            return wrong(Rule::NoLocalShared, "no local on a shared subscription");
        }
        subscribe.shared |= shared;
        subscribe.wildcards |= text.contains(['+', '#']);
    }
    Ok(subscribe)
}

fn disconnect(reader: &mut WireReader<'_>, v5: bool, from: Party) -> Decoded<WirePacket> {
    let mut session_expiry = None;
    if v5 && !reader.rest.is_empty() {
        let reason = reader.byte()?;
        let known: &[u8] = match from {
            Party::Client => &[
                0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x8c, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
                0x99,
            ],
            Party::Server => &[
                0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x93,
                0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1,
                0xa2,
            ],
        };
        if !known.contains(&reason) {
            return wrong(Rule::DisconnectReason, format!("reason code {reason:#04x}"));
        }
        if !reader.rest.is_empty() {
            let allowed: &[u8] = if from == Party::Client {
                &[0x11, 0x1f, 0x26]
            } else {
                &[0x1c, 0x1f, 0x26]
            };
            session_expiry = reader.properties(allowed)?.number(0x11);
        }
    }
    Ok(WirePacket::Disconnect { session_expiry })
}

fn auth(reader: &mut WireReader<'_>) -> Decoded<WirePacket> {
    if reader.rest.is_empty() {
        return Ok(WirePacket::Auth {
            reason: 0,
            method: None,
        });
    }
    let reason = reader.byte()?;
    if ![0x00, 0x18, 0x19].contains(&reason) {
        return wrong(Rule::AuthReason, format!("reason code {reason:#04x}"));
    }
    let properties = reader.properties(&[0x15, 0x16, 0x1f, 0x26])?;
    if properties.has(0x16) && !properties.has(0x15) {
        return wrong(Rule::PropertyPlace, "authentication data without a method");
    }
    // Success may come without words, and then without a method (MQTT 5 §3.15.2.1).
    if !properties.has(0x15) && (reason != 0 || !properties.is_empty()) {
        return wrong(Rule::AuthMethod, "AUTH without a method");
    }
    Ok(WirePacket::Auth {
        reason,
        method: properties.text(0x15),
    })
}

fn topic_name(topic: &str, rule: Rule) -> Decoded<()> {
    if topic.contains(['+', '#']) {
        return wrong(rule, format!("a wildcard in {topic:?}"));
    }
    Ok(())
}

fn response_topic(properties: &Properties) -> Decoded<()> {
    let Some(topic) = properties.text(0x08) else {
        return Ok(());
    };
    if topic.is_empty() {
        return wrong(Rule::TopicEmpty, "a response topic without a character");
    }
    topic_name(&topic, Rule::ResponseTopic)
}

/// Checks a filter; says whether it is of a shared subscription, which 3.x does not know.
fn filter(text: &str, v5: bool) -> Decoded<bool> {
    if text.is_empty() {
        return wrong(Rule::FilterEmpty, "an empty filter");
    }
    let mut levels = text.split('/');
    // Without a slash it is a filter like any other.
    let shared = v5 && text.starts_with("$share/");
    if shared {
        levels.next();
        let name = levels.next().unwrap_or("");
        let behind = levels.clone().next();
        if name.is_empty() || name.contains(['+', '#']) || behind.is_none() {
            return wrong(Rule::ShareName, format!("{text:?}"));
        }
        if text.splitn(3, '/').last() == Some("") {
            return wrong(Rule::ShareName, format!("{text:?} has no filter"));
        }
    }
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.clone().next().is_some()) {
            return wrong(Rule::FilterHash, format!("{text:?}"));
        }
        if level.contains('+') && level != "+" {
            return wrong(Rule::FilterPlus, format!("{text:?}"));
        }
    }
    Ok(shared)
}

/// FNV-1a.
pub(crate) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let start = seed ^ 0xcbf2_9ce4_8422_2325;
    bytes.iter().fold(start, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

//! Two decoders, one question: is this a packet, and what does it say?

use crate::linter::Rule;
use crate::linter::decode::{self, Party, WireAck, WirePacket as Theirs};
use bytes::BytesMut;
use martlet_proto::{DecodeErrorKind as Kind, MAX_PACKET_SIZE, Packet, TopicError, Version};

/// What two decoders say of the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// Both reject them, or find the same packet in them.
    Agreed,
    /// They differ, and are meant to: the codec tolerates what the linter does not, or the reverse.
    Tolerated,
    /// It is not all there, so there is nothing to compare.
    Incomplete,
}

/// Whether the linter's decoder and the codec agree on the packet at the front: the first byte
/// chooses the version, the others are the wire's.
pub fn second_opinion(data: &[u8]) {
    if let Some((&choice, wire)) = data.split_first() {
        agreement(Version::ALL[usize::from(choice % 3)], wire);
    }
}

/// Whether the linter's decoder and the codec agree on the packet at the front.
///
/// # Panics
/// When they do not.
pub fn agreement(version: Version, wire: &[u8]) -> Agreement {
    // Of a part the codec may know already that it is none.
    if crate::sim::frame_len(wire).is_none() {
        return Agreement::Incomplete;
    }
    let ours = Packet::decode(&mut BytesMut::from(wire), version, MAX_PACKET_SIZE);
    let [client, server] =
        [Party::Client, Party::Server].map(|party| decode::decode(wire, Some(version), party));
    match ours {
        Ok(None) => panic!("a whole packet is not enough: {client:?}, {server:?}"),
        Ok(Some(packet)) => {
            match client.or_else(|of_client| server.map_err(|of_server| [of_client, of_server])) {
                Ok(Some((theirs, ..))) => {
                    assert_eq!(
                        says(&packet, version),
                        theirs_says(&theirs),
                        "{version}: {packet:?}, {theirs:?}"
                    );
                    Agreement::Agreed
                }
                // What is wrong as a client's may be right as a server's, but for what is tolerated.
                Err(both) if both.iter().any(|(rule, _)| is_tolerated(&packet, *rule)) => {
                    Agreement::Tolerated
                }
                theirs => panic!("{version}: {theirs:?}, but {packet:?}"),
            }
        }
        Err(_) if client.is_err() && server.is_err() => Agreement::Agreed,
        Err(error) => {
            // The codec holds a share to its rules in 3.x too.
            let is_share = !version.has_properties()
                && matches!(
                    error.kind(),
                    Kind::TopicFilter(TopicError::ShareName | TopicError::ShareFilter)
                );
            assert!(is_share, "{version}: {error}, but {client:?}, {server:?}");
            Agreement::Tolerated
        }
    }
}

/// What nobody should send, and the codec takes all the same.
fn is_tolerated(packet: &Packet, rule: Rule) -> bool {
    match packet {
        // A server takes any client identifier, and in 3.1 flags of what is not there.
        Packet::Connect(it) => rule == Rule::ClientIdentifier || it.version == Version::V3_1,
        // It does not ask who says goodbye: one packet may have a reason of clients and a property
        // of servers.
        Packet::Disconnect(_) => matches!(rule, Rule::DisconnectReason | Rule::PropertyPlace),
        // An empty response topic is its publisher's fault, and counts as none.
        Packet::Publish(it) => {
            rule == Rule::TopicEmpty && it.properties().scan().has_empty_response_topic
        }
        _ => false,
    }
}

/// The packet type and what identifies it.
fn says(packet: &Packet, version: Version) -> String {
    match packet {
        Packet::Connect(it) => format!(
            "connect {:?} {} {} {:?}",
            it.client_identifier.as_str(),
            it.clean_start,
            it.keep_alive,
            it.properties.session_expiry_interval.unwrap_or(0),
        ),
        Packet::ConnAck(it) => format!("connack {} {}", !it.reason.is_error(), it.session_present),
        Packet::Publish(it) => format!(
            "publish {:?} {} {} {} {} {:?}",
            it.topic(),
            it.delivery().qos().as_u8(),
            it.delivery().duplicate(),
            it.as_ref().retain(),
            it.delivery()
                .packet_identifier()
                .map_or(0, core::num::NonZero::get),
            it.properties().topic_alias().map(core::num::NonZero::get),
        ),
        Packet::PubAck(it) => format!("puback {} {}", it.packet_identifier, it.reason.as_u8()),
        Packet::PubRec(it) => format!("pubrec {} {}", it.packet_identifier, it.reason.as_u8()),
        Packet::PubRel(it) => format!("pubrel {} {}", it.packet_identifier, it.reason.as_u8()),
        Packet::PubComp(it) => format!("pubcomp {} {}", it.packet_identifier, it.reason.as_u8()),
        Packet::Subscribe(it) => format!(
            "subscribe {} {} {} {}",
            it.packet_identifier,
            it.subscription_identifier.is_some(),
            it.subscriptions
                .iter()
                .any(|one| one.filter.as_str().contains(['+', '#'])),
            // 3.x knows no shares: to it they are filters like others.
            version.has_properties()
                && it
                    .subscriptions
                    .iter()
                    .any(|one| one.filter.share_name().is_some()),
        ),
        Packet::SubAck(it) => format!("suback {}", it.packet_identifier),
        Packet::Unsubscribe(it) => format!("unsubscribe {}", it.packet_identifier),
        Packet::UnsubAck(it) => format!("unsuback {}", it.packet_identifier),
        Packet::PingReq => "pingreq".to_owned(),
        Packet::PingResp => "pingresp".to_owned(),
        Packet::Disconnect(it) => format!("disconnect {:?}", it.session_expiry_interval),
        Packet::Auth(it) => format!("auth {}", it.reason.as_u8()),
    }
}

fn theirs_says(packet: &Theirs) -> String {
    let ack = |name, ack: &WireAck| format!("{name} {} {}", ack.id, ack.reason);
    match packet {
        Theirs::Connect(it) => format!(
            "connect {:?} {} {} {:?}",
            it.client_identifier, it.clean_start, it.keep_alive, it.session_expiry
        ),
        Theirs::ConnAck(it) => format!("connack {} {}", it.accepted, it.session_present),
        Theirs::Publish(it) => {
            format!(
                "publish {:?} {} {} {} {} {:?}",
                it.topic, it.qos, it.dup, it.retain, it.id, it.alias
            )
        }
        Theirs::PubAck(it) => ack("puback", it),
        Theirs::PubRec(it) => ack("pubrec", it),
        Theirs::PubRel(it) => ack("pubrel", it),
        Theirs::PubComp(it) => ack("pubcomp", it),
        Theirs::Subscribe(it) => {
            format!(
                "subscribe {} {} {} {}",
                it.id, it.has_identifier, it.wildcards, it.shared
            )
        }
        Theirs::SubAck(id) => format!("suback {id}"),
        Theirs::Unsubscribe(id) => format!("unsubscribe {id}"),
        Theirs::UnsubAck(id) => format!("unsuback {id}"),
        Theirs::PingReq => "pingreq".to_owned(),
        Theirs::PingResp => "pingresp".to_owned(),
        Theirs::Disconnect { session_expiry } => format!("disconnect {session_expiry:?}"),
        Theirs::Auth { reason, .. } => format!("auth {reason}"),
    }
}

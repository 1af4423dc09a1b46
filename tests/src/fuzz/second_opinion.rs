//! Two decoders, one question: is this a packet, and what does it say?

use crate::linter::Rule;
use crate::linter::decode::{self, Party, WireAck, WirePacket as Theirs, WireSubscribe};
use bytes::BytesMut;
use core::num::NonZero;
use martlet_proto::{
    DecodeErrorKind as Kind, MAX_PACKET_SIZE, Packet, PacketType, TopicError, Version,
};

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
                        ours_says(&packet, version),
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

/// The packet type and what identifies it, as both decoders can put it.
#[derive(Debug, PartialEq)]
enum Contents<'a> {
    Connect {
        client_identifier: &'a str,
        clean_start: bool,
        keep_alive: u16,
        session_expiry: u32,
    },
    ConnAck {
        accepted: bool,
        session_present: bool,
    },
    Publish {
        topic: &'a str,
        qos: u8,
        duplicate: bool,
        retain: bool,
        /// 0 at QoS 0.
        id: u16,
        alias: Option<u16>,
    },
    /// The packet type, the packet identifier and the reason code.
    Ack(PacketType, u16, u8),
    Subscribe(WireSubscribe),
    /// An answer or request of which the packet identifier is compared.
    Identified(PacketType, u16),
    Empty(PacketType),
    Disconnect {
        session_expiry: Option<u32>,
    },
    Auth(u8),
}

fn ours_says(packet: &Packet, version: Version) -> Contents<'_> {
    let packet_type = packet.packet_type();
    match packet {
        Packet::Connect(it) => Contents::Connect {
            client_identifier: it.client_identifier.as_str(),
            clean_start: it.clean_start,
            keep_alive: it.keep_alive,
            session_expiry: it.properties.session_expiry_interval.unwrap_or(0),
        },
        Packet::ConnAck(it) => Contents::ConnAck {
            accepted: !it.reason.is_error(),
            session_present: it.session_present,
        },
        Packet::Publish(it) => Contents::Publish {
            topic: it.topic(),
            qos: it.delivery().qos().as_u8(),
            duplicate: it.delivery().duplicate(),
            retain: it.as_ref().retain(),
            id: it.delivery().packet_identifier().map_or(0, NonZero::get),
            alias: it.properties().topic_alias().map(NonZero::get),
        },
        Packet::PubAck(it) | Packet::PubRec(it) => {
            Contents::Ack(packet_type, it.packet_identifier.get(), it.reason.as_u8())
        }
        Packet::PubRel(it) | Packet::PubComp(it) => {
            Contents::Ack(packet_type, it.packet_identifier.get(), it.reason.as_u8())
        }
        Packet::Subscribe(it) => {
            let mut filters = it.subscriptions.iter().map(|one| &one.filter);
            Contents::Subscribe(WireSubscribe {
                id: it.packet_identifier.get(),
                has_identifier: it.subscription_identifier.is_some(),
                wildcards: filters
                    .clone()
                    .any(|filter| filter.as_str().contains(['+', '#'])),
                // 3.x knows no shares: to it they are filters like others.
                shared: version.has_properties()
                    && filters.any(|filter| filter.share_name().is_some()),
            })
        }
        Packet::SubAck(it) => Contents::Identified(packet_type, it.packet_identifier.get()),
        Packet::Unsubscribe(it) => Contents::Identified(packet_type, it.packet_identifier.get()),
        Packet::UnsubAck(it) => Contents::Identified(packet_type, it.packet_identifier.get()),
        Packet::PingReq | Packet::PingResp => Contents::Empty(packet_type),
        Packet::Disconnect(it) => Contents::Disconnect {
            session_expiry: it.session_expiry_interval,
        },
        Packet::Auth(it) => Contents::Auth(it.reason.as_u8()),
    }
}

fn theirs_says(packet: &Theirs) -> Contents<'_> {
    let ack = |packet_type, ack: &WireAck| Contents::Ack(packet_type, ack.id, ack.reason);
    match packet {
        Theirs::Connect(it) => Contents::Connect {
            client_identifier: &it.client_identifier,
            clean_start: it.clean_start,
            keep_alive: it.keep_alive,
            session_expiry: it.session_expiry,
        },
        Theirs::ConnAck(it) => Contents::ConnAck {
            accepted: it.accepted,
            session_present: it.session_present,
        },
        Theirs::Publish(it) => Contents::Publish {
            topic: &it.topic,
            qos: it.qos,
            duplicate: it.dup,
            retain: it.retain,
            id: it.id,
            alias: it.alias,
        },
        Theirs::PubAck(it) => ack(PacketType::PubAck, it),
        Theirs::PubRec(it) => ack(PacketType::PubRec, it),
        Theirs::PubRel(it) => ack(PacketType::PubRel, it),
        Theirs::PubComp(it) => ack(PacketType::PubComp, it),
        Theirs::Subscribe(it) => Contents::Subscribe(it.clone()),
        Theirs::SubAck(id) => Contents::Identified(PacketType::SubAck, *id),
        Theirs::Unsubscribe(id) => Contents::Identified(PacketType::Unsubscribe, *id),
        Theirs::UnsubAck(id) => Contents::Identified(PacketType::UnsubAck, *id),
        Theirs::PingReq => Contents::Empty(PacketType::PingReq),
        Theirs::PingResp => Contents::Empty(PacketType::PingResp),
        Theirs::Disconnect { session_expiry } => Contents::Disconnect {
            session_expiry: *session_expiry,
        },
        Theirs::Auth { reason, .. } => Contents::Auth(*reason),
    }
}

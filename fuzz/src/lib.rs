//! Bodies of fuzz targets that need what the workspace does not depend on.
//!
//! Differential decoding: what our codec takes, another one must read in the same way.

use bytes::BytesMut;
use core::num::{NonZeroU16, NonZeroU32};
use core::str::from_utf8;
use martlet_proto::{ConnAck, Connect, MAX_PACKET_SIZE, Packet, Publish, Version};
use mqttbytes::{v4, v5};

/// Packets that the other codec reads in another way, or not at all, and why that is its fault.
/// Reviewed one by one.
fn is_known(version: Version, packet: &Packet, wire: &[u8]) -> Option<&'static str> {
    let v5 = version == Version::V5;
    match packet {
        Packet::Auth(_) => Some("it has no AUTH"),
        Packet::Disconnect(_) if v5 && wire.len() == 2 => {
            Some("it asks for a reason code that may be left out (MQTT 5 §3.14.2.1)")
        }
        Packet::Disconnect(_) if v5 && wire.len() == 3 => {
            Some("likewise for the properties (MQTT 5 §3.14.2.2.1)")
        }
        Packet::Unsubscribe(_) if v5 => Some("it prints what it reads"),
        Packet::Connect(it) if it.version != version => {
            Some("it has a reader for each version, and a CONNECT says its own (MQTT 5 §3.1.2.2)")
        }
        Packet::Connect(it)
            if it
                .password
                .as_ref()
                .is_some_and(|password| from_utf8(password.as_bytes()).is_err()) =>
        {
            Some("it wants a password to be text (against MQTT 5 §3.1.3.6, 3.1.1 §3.1.3.5)")
        }
        Packet::Publish(it) if it.properties().subscription_identifiers().count() > 1 => Some(
            "it counts each subscription identifier a byte too long, and takes the last for payload",
        ),
        Packet::ConnAck(_) if v5 && wire.len() == 4 => {
            Some("it does not take the answer of a server without MQTT 5 (3.1.1 §3.1.2.2)")
        }
        Packet::Disconnect(it) if it.reason.as_u8() == 0x8c => {
            Some("it does not know bad authentication method (MQTT 5 §2.4)")
        }
        _ => None,
    }
}

/// The first byte chooses the version, the others are the wire's.
pub fn differential(data: &[u8]) {
    let Some((&choice, wire)) = data.split_first() else {
        return;
    };
    let version = [Version::V3_1_1, Version::V5][usize::from(choice % 2)];
    let mut input = BytesMut::from(wire);
    loop {
        let before = input.clone();
        let Ok(Some(packet)) = Packet::decode(&mut input, version, MAX_PACKET_SIZE) else {
            return;
        };
        let wire = &before[..before.len() - input.len()];
        if is_known(version, &packet, wire).is_some() {
            continue;
        }
        let theirs = match version {
            Version::V5 => {
                v5::read(&mut BytesMut::from(wire), usize::MAX).map(|packet| five(&packet))
            }
            _ => v4::read(&mut BytesMut::from(wire), usize::MAX).map(|packet| four(&packet)),
        };
        assert_eq!(
            theirs,
            Ok(ours(&packet)),
            "{version}: {packet:?}: {wire:02x?}"
        );
    }
}

fn ours(packet: &Packet) -> String {
    match packet {
        Packet::Connect(it) => our_connect(it),
        // A rejection leaves no session, whatever its flag says.
        Packet::ConnAck(it) if it.reason.is_error() => "rejected".to_owned(),
        Packet::ConnAck(it) => our_connack(it),
        Packet::Publish(it) => our_publish(it),
        Packet::PubAck(it) => format!("puback {} {}", it.packet_identifier, it.reason.as_u8()),
        Packet::PubRec(it) => format!("pubrec {} {}", it.packet_identifier, it.reason.as_u8()),
        Packet::PubRel(it) => format!("pubrel {} {}", it.packet_identifier, it.reason.as_u8()),
        Packet::PubComp(it) => format!("pubcomp {} {}", it.packet_identifier, it.reason.as_u8()),
        Packet::Subscribe(it) => {
            let filters: Vec<_> = it
                .subscriptions
                .iter()
                .map(|one| (one.filter.as_str(), one.qos.as_u8()))
                .collect();
            format!("subscribe {} {filters:?}", it.packet_identifier)
        }
        Packet::SubAck(it) => {
            let codes: Vec<_> = it.reasons.iter().map(|reason| reason.as_u8()).collect();
            format!("suback {} {codes:?}", it.packet_identifier)
        }
        Packet::Unsubscribe(it) => {
            let filters: Vec<_> = it.filters.iter().map(|filter| filter.as_str()).collect();
            format!("unsubscribe {} {filters:?}", it.packet_identifier)
        }
        Packet::UnsubAck(it) => format!("unsuback {}", it.packet_identifier),
        Packet::PingReq => "pingreq".to_owned(),
        Packet::PingResp => "pingresp".to_owned(),
        Packet::Disconnect(it) => format!("disconnect {}", it.reason.as_u8()),
        Packet::Auth(_) => unreachable!("known to be read in another way"),
    }
}

fn our_connect(packet: &Connect) -> String {
    let properties = &packet.properties;
    let will = packet.will.as_ref();
    connect((packet.clean_start, packet.keep_alive, packet.client_identifier.as_str()))
        + &format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            will.map(|will| (
                will.topic.as_str(),
                will.payload.as_bytes(),
                will.qos.as_u8(),
                will.retain
            )),
            packet.user_name.as_ref().map_or("", |text| text.as_str()),
            packet.password
                .as_ref()
                .map_or("", |password| from_utf8(password.as_bytes())
                    .expect("looked at")),
            properties.session_expiry_interval,
            properties.receive_maximum.map(NonZeroU16::get),
            properties.maximum_packet_size.map(NonZeroU32::get),
            properties.topic_alias_maximum,
            properties
                .authentication_method
                .as_ref()
                .map(|text| text.as_str()),
        )
}

fn our_connack(packet: &ConnAck) -> String {
    let properties = &packet.properties;
    format!(
        "connack {} {:?} {:?} {:?} {:?} {:?} {:?}",
        packet.session_present,
        properties.session_expiry_interval,
        properties.receive_maximum.map(NonZeroU16::get),
        properties.maximum_packet_size.map(NonZeroU32::get),
        properties.topic_alias_maximum,
        properties.server_keep_alive,
        properties
            .assigned_client_identifier
            .as_ref()
            .map(|text| text.as_str()),
    )
}

fn our_publish(packet: &Publish) -> String {
    let (delivery, properties) = (packet.delivery(), packet.properties());
    publish(
        (
            delivery.duplicate(),
            delivery.qos().as_u8(),
            packet.as_ref().retain(),
        ),
        packet.topic(),
        delivery.packet_identifier().map_or(0, |id| id.get()),
        packet.payload(),
    ) + &format!(
        "{:?} {:?} {:?} {:?}",
        properties.topic_alias().map(|alias| alias.get()),
        properties.message_expiry_interval(),
        properties.response_topic(),
        properties.user_properties().collect::<Vec<_>>(),
    )
}

fn connect((clean, keep_alive, identifier): (bool, u16, &str)) -> String {
    format!("connect {clean} {keep_alive} {identifier:?} ")
}

fn publish(flags: (bool, u8, bool), topic: &str, id: u16, payload: &[u8]) -> String {
    format!("publish {flags:?} {topic:?} {id} {payload:02x?}")
}

fn four(packet: &v4::Packet) -> String {
    use v4::Packet as P;
    match packet {
        P::Connect(it) => {
            let (will, login) = (it.last_will.as_ref(), it.login.as_ref());
            connect((it.clean_session, it.keep_alive, &it.client_id))
                + &format!(
                    "{:?} {:?} {:?} None None None None None",
                    will.map(|will| (&*will.topic, &*will.message, will.qos as u8, will.retain)),
                    login.map_or("", |login| &login.username),
                    login.map_or("", |login| &login.password),
                )
        }
        P::ConnAck(it) if it.code != v4::ConnectReturnCode::Success => "rejected".to_owned(),
        P::ConnAck(it) => format!(
            "connack {} None None None None None None",
            it.session_present
        ),
        P::Publish(it) => {
            publish(
                (it.dup, it.qos as u8, it.retain),
                &it.topic,
                it.pkid,
                &it.payload,
            ) + "None None None []"
        }
        P::PubAck(it) => format!("puback {} 0", it.pkid),
        P::PubRec(it) => format!("pubrec {} 0", it.pkid),
        P::PubRel(it) => format!("pubrel {} 0", it.pkid),
        P::PubComp(it) => format!("pubcomp {} 0", it.pkid),
        P::Subscribe(it) => {
            let filters: Vec<_> = it
                .filters
                .iter()
                .map(|one| (&one.path, one.qos as u8))
                .collect();
            format!("subscribe {} {filters:?}", it.pkid)
        }
        P::SubAck(it) => {
            let code = |code: &v4::SubscribeReasonCode| match code {
                v4::SubscribeReasonCode::Success(qos) => *qos as u8,
                v4::SubscribeReasonCode::Failure => 0x80,
            };
            let codes: Vec<_> = it.return_codes.iter().map(code).collect();
            format!("suback {} {codes:?}", it.pkid)
        }
        P::Unsubscribe(it) => format!("unsubscribe {} {:?}", it.pkid, it.topics),
        P::UnsubAck(it) => format!("unsuback {}", it.pkid),
        P::PingReq => "pingreq".to_owned(),
        P::PingResp => "pingresp".to_owned(),
        P::Disconnect => "disconnect 0".to_owned(),
    }
}

fn five(packet: &v5::Packet) -> String {
    use v5::Packet as P;
    match packet {
        P::Connect(it) => {
            let (will, login) = (it.last_will.as_ref(), it.login.as_ref());
            let properties = it.properties.as_ref();
            connect((it.clean_session, it.keep_alive, &it.client_id))
                + &format!(
                    "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                    will.map(|will| (&*will.topic, &*will.message, will.qos as u8, will.retain)),
                    login.map_or("", |login| &login.username),
                    login.map_or("", |login| &login.password),
                    properties.and_then(|properties| properties.session_expiry_interval),
                    properties.and_then(|properties| properties.receive_maximum),
                    properties.and_then(|properties| properties.max_packet_size),
                    properties.and_then(|properties| properties.topic_alias_max),
                    properties.and_then(|properties| properties.authentication_method.as_deref()),
                )
        }
        P::ConnAck(it) if it.code != v5::ConnectReturnCode::Success => "rejected".to_owned(),
        P::ConnAck(it) => {
            let properties = it.properties.as_ref();
            format!(
                "connack {} {:?} {:?} {:?} {:?} {:?} {:?}",
                it.session_present,
                properties.and_then(|properties| properties.session_expiry_interval),
                properties.and_then(|properties| properties.receive_max),
                properties.and_then(|properties| properties.max_packet_size),
                properties.and_then(|properties| properties.topic_alias_max),
                properties.and_then(|properties| properties.server_keep_alive),
                properties.and_then(|properties| properties.assigned_client_identifier.as_deref()),
            )
        }
        P::Publish(it) => {
            let properties = it.properties.as_ref();
            publish(
                (it.dup, it.qos as u8, it.retain),
                &it.topic,
                it.pkid,
                &it.payload,
            ) + &format!(
                "{:?} {:?} {:?} {:?}",
                properties.and_then(|properties| properties.topic_alias),
                properties.and_then(|properties| properties.message_expiry_interval),
                // Forbidden [MQTT-4.7.3-1]; ours takes an empty one for none.
                properties
                    .and_then(|properties| properties.response_topic.as_ref())
                    .filter(|topic| !topic.is_empty()),
                properties.map_or(&[][..], |properties| &properties.user_properties),
            )
        }
        P::PubAck(it) => format!("puback {} {}", it.pkid, it.reason as u8),
        P::PubRec(it) => format!("pubrec {} {}", it.pkid, it.reason as u8),
        P::PubRel(it) => format!("pubrel {} {}", it.pkid, it.reason as u8),
        P::PubComp(it) => format!("pubcomp {} {}", it.pkid, it.reason as u8),
        P::Subscribe(it) => {
            let filters: Vec<_> = it
                .filters
                .iter()
                .map(|one| (&one.path, one.qos as u8))
                .collect();
            format!("subscribe {} {filters:?}", it.pkid)
        }
        P::SubAck(it) => {
            let codes: Vec<_> = it
                .return_codes
                .iter()
                .map(|code| suback_code(*code))
                .collect();
            format!("suback {} {codes:?}", it.pkid)
        }
        P::UnsubAck(it) => format!("unsuback {}", it.pkid),
        P::PingReq => "pingreq".to_owned(),
        P::PingResp => "pingresp".to_owned(),
        P::Disconnect(it) => format!("disconnect {}", it.reason_code as u8),
        P::Unsubscribe(_) => unreachable!("known to print what it reads"),
    }
}

fn suback_code(code: v5::SubscribeReasonCode) -> u8 {
    use v5::SubscribeReasonCode as C;
    match code {
        C::QoS0 => 0,
        C::QoS1 => 1,
        C::QoS2 => 2,
        C::Unspecified => 0x80,
        C::ImplementationSpecific => 0x83,
        C::NotAuthorized => 0x87,
        C::TopicFilterInvalid => 0x8f,
        C::PkidInUse => 0x91,
        C::QuotaExceeded => 0x97,
        C::SharedSubscriptionsNotSupported => 0x9e,
        C::SubscriptionIdNotSupported => 0xa1,
        C::WildcardSubscriptionsNotSupported => 0xa2,
    }
}

#[cfg(test)]
mod tests {
    use super::differential;
    use std::path::Path;

    /// The seeds, and what one changed byte makes of them.
    #[test]
    fn the_seeds_and_their_neighbours() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/differential");
        let mut seeds = 0;
        for entry in std::fs::read_dir(folder).expect("the seeds") {
            let mut data = std::fs::read(entry.expect("an entry").path()).expect("a seed");
            seeds += 1;
            for version in 0..2 {
                data[0] = version;
                differential(&data);
                for at in 1..data.len() {
                    let byte = data[at];
                    for bit in 0..8 {
                        data[at] = byte ^ 1 << bit;
                        differential(&data);
                    }
                    data[at] = byte;
                }
            }
        }
        assert!(seeds > 0);
    }
}

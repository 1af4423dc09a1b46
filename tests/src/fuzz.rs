//! The bodies of the fuzz targets: ordinary functions that assert what must hold for any bytes.
//! `cargo fuzz` calls them with bytes of its own; `cargo test` calls them with the seeds, with
//! proptest's bytes and with bolero's, and a proof with all bytes that there are up to a length.

mod restore;
mod second_opinion;
mod session;

pub use crate::settings::config;
pub use restore::restore;
pub use second_opinion::{Agreement, agreement, second_opinion};
pub use session::{session_bytes, session_operations};

use bytes::{BufMut, BytesMut};
use core::fmt;
use martlet_proto::{
    DecodeError, FixedHeader, MAX_PACKET_SIZE, Packet, PacketType, Publish, PublishRef,
    SubAckReasonCode, TextError, TopicError, TopicFilter, TopicName, Utf8String, Version,
};
use martlet_transport::{Endpoint, ProxyUri, Scheme};

/// Bytes that arrive: the first chooses version and limit, the others are the wire's.
fn arrival(data: &[u8]) -> Option<(Version, u32, &[u8])> {
    let (&choice, wire) = data.split_first()?;
    let version = Version::ALL[usize::from(choice % 3)];
    let limit = [MAX_PACKET_SIZE, 64, 4, 0][usize::from(choice / 3 % 4)];
    Some((version, limit, wire))
}

/// Any bytes are packets, or the beginning of one, or rejected: the owned and the borrowed decoder
/// agree on which, and everything in a packet can be looked at.
pub fn decode(data: &[u8]) {
    let Some((version, limit, wire)) = arrival(data) else {
        return;
    };
    let mut input = BytesMut::from(wire);
    loop {
        let front = input.clone();
        let header = FixedHeader::decode(&front, version);
        let borrowed = PublishRef::decode(&front, version, limit);
        match Packet::decode(&mut input, version, limit) {
            Ok(Some(packet)) => {
                let header = header.expect("a packet has a header").expect("all of it");
                let size = front.len() - input.len();
                assert_eq!(size, header.packet_size());
                assert!(size <= limit as usize);
                assert_eq!(&front[size..], &input[..], "what follows is not touched");
                assert_eq!(packet.packet_type(), header.packet_type);
                match &packet {
                    Packet::Publish(publish) => {
                        assert_eq!(borrowed, Ok(Some((publish.as_ref(), size))));
                        look(publish);
                    }
                    _ => assert_eq!(borrowed, Ok(None)),
                }
                assert!(prints(format_args!("{packet:?}")));
            }
            Ok(None) => {
                assert_eq!(front, input, "nothing is taken of a part");
                assert_eq!(borrowed, Ok(None));
                if let Ok(Some(header)) = header {
                    assert!(
                        front.len() < header.packet_size()
                            && header.packet_size() <= limit as usize
                    );
                }
                return;
            }
            Err(error) => {
                assert!(error.at() <= front.len());
                assert!(error.reason().is_error());
                assert!(prints(format_args!("{error}")));
                assert!(
                    error
                        .packet_type()
                        .is_none_or(|t| t.as_u8() == front[0] >> 4)
                );
                let publish = error.packet_type() == Some(PacketType::Publish);
                match header {
                    // Of a header that is no one's, and of a packet too large, both say the same.
                    Err(header) => assert_eq!((header, borrowed), (error, Err(error))),
                    Ok(_) if publish => assert_eq!(borrowed, Err(error)),
                    Ok(_) => assert!(borrowed == Ok(None) || borrowed == Err(error)),
                }
                return;
            }
        }
    }
}

/// Whether something is printed. A proof leaves that out: there is no bound for the loops of std's formatting.
fn prints(what: fmt::Arguments<'_>) -> bool {
    cfg!(kani) || !what.to_string().is_empty()
}

/// Every view of a PUBLISH agrees with every other.
fn look(publish: &Publish) {
    let (view, properties) = (publish.as_ref(), publish.properties());
    assert_eq!(
        (view.topic(), view.payload()),
        (publish.topic(), publish.payload())
    );
    assert_eq!(publish.payload_bytes(), publish.payload());
    assert_eq!(
        publish.topic_name().as_ref().map_or("", TopicName::as_str),
        publish.topic()
    );
    assert!(!publish.topic().is_empty() || properties.topic_alias().is_some());
    let message = publish.message_properties();
    let kept = message.as_ref();
    assert_eq!(kept.payload_is_utf8(), properties.payload_is_utf8());
    assert_eq!(
        kept.message_expiry_interval(),
        properties.message_expiry_interval()
    );
    assert_eq!(kept.response_topic(), properties.response_topic());
    assert_eq!(kept.correlation_data(), properties.correlation_data());
    assert_eq!(kept.content_type(), properties.content_type());
    assert!(kept.user_properties().eq(properties.user_properties()));
    assert_eq!(
        (kept.topic_alias(), kept.subscription_identifiers().next()),
        (None, None)
    );
    let mut detached = publish.clone();
    detached.detach();
    assert_eq!(&detached, publish);
}

/// What was decoded can be encoded and decodes to the same; what is not in one version is rejected
/// without a byte.
pub fn round_trip(data: &[u8]) {
    let Some((version, limit, wire)) = arrival(data) else {
        return;
    };
    for packet in stream(version, limit, [wire]).packets {
        let version = if let Packet::Connect(connect) = &packet {
            connect.version
        } else {
            version
        };
        let encoded = survives(version, &packet);
        assert!(
            encoded || tolerated(version, &packet),
            "{version}: {packet:?}"
        );
        for other in Version::ALL {
            survives(other, &packet);
        }
    }
}

/// Encodes and decodes; false when the version cannot express the packet.
pub fn survives(version: Version, packet: &Packet) -> bool {
    let mut wire = BytesMut::new();
    let len = packet.encoded_len(version);
    if packet.encode(version, &mut wire).is_err() {
        assert!(wire.is_empty(), "{version}: {packet:?}");
        return false;
    }
    assert_eq!(wire.len(), len, "{version}: {packet:?}");
    let mut input = wire.clone();
    let decoded = Packet::decode(&mut input, version, MAX_PACKET_SIZE);
    assert_eq!(
        decoded.as_ref().map(Option::as_ref),
        Ok(Some(packet)),
        "{version}"
    );
    assert!(input.is_empty());
    let mut again = BytesMut::new();
    packet
        .encode(version, &mut again)
        .expect("it was encoded before");
    assert_eq!(wire, again);
    true
}

/// What is understood when it arrives but not said.
pub(crate) fn tolerated(version: Version, packet: &Packet) -> bool {
    match packet {
        // A server may take any identifier; what it rejects, it rejects with a CONNACK.
        Packet::Connect(connect) => match version {
            Version::V3_1 => {
                !(1..=23).contains(&connect.client_identifier.as_str().chars().count())
            }
            Version::V3_1_1 => connect.client_identifier.is_empty() && !connect.clean_start,
            Version::V5 => false,
        },
        Packet::SubAck(suback) => {
            version == Version::V3_1 && suback.reasons.contains(&SubAckReasonCode::UnspecifiedError)
        }
        _ => false,
    }
}

/// Where bytes are cut does not matter: the same packets come, and the same error ends them.
pub fn chunking(data: &[u8]) {
    let Some((version, limit, wire)) = arrival(data) else {
        return;
    };
    let whole = stream(version, limit, [wire]);
    assert_eq!(
        whole,
        stream(version, limit, wire.chunks(1)),
        "a byte at a time"
    );
    let step = 2 + usize::from(data[0]) % 13;
    assert_eq!(
        whole,
        stream(version, limit, wire.chunks(step)),
        "{step} bytes at a time"
    );
}

/// What a connection brings.
#[derive(Debug, PartialEq)]
struct Stream {
    packets: Vec<Packet>,
    error: Option<DecodeError>,
}

fn stream<'a>(version: Version, limit: u32, chunks: impl IntoIterator<Item = &'a [u8]>) -> Stream {
    let mut stream = Stream {
        packets: Vec::new(),
        error: None,
    };
    let mut input = BytesMut::new();
    for chunk in chunks {
        input.put_slice(chunk);
        loop {
            match Packet::decode(&mut input, version, limit) {
                Ok(Some(packet)) => stream.packets.push(packet),
                Ok(None) => break,
                Err(error) => {
                    return Stream {
                        error: Some(error),
                        ..stream
                    };
                }
            }
        }
    }
    stream
}

/// Names and filters are what a naive reading of the specification says, and match as it says. The
/// first byte tells how many of the others are the filter.
pub fn topic(data: &[u8]) {
    let Some((&len, rest)) = data.split_first() else {
        return;
    };
    let (filter, name) = rest.split_at(usize::from(len).min(rest.len()));
    let text = core::str::from_utf8(name)
        .ok()
        .filter(|text| !text.contains('\0'));
    let is_text = Utf8String::from_bytes(name.to_vec().into());
    assert_eq!(is_text.as_ref().ok().map(Utf8String::as_str), text);

    let topic = TopicName::from_bytes(name.to_vec().into());
    let is_name = text.filter(|text| !text.is_empty() && !text.contains(['+', '#']));
    assert_eq!(topic.as_ref().ok().map(TopicName::as_str), is_name);
    match &topic {
        Err(TopicError::Wildcard { wildcard, at }) => {
            assert_eq!(name[*at as usize], *wildcard as u8);
        }
        Err(TopicError::Text(TextError::Null { at })) => assert_eq!(name[*at as usize], 0),
        _ => {}
    }

    let wanted = TopicFilter::from_bytes(filter.to_vec().into());
    let reading = core::str::from_utf8(filter)
        .ok()
        .filter(|text| !text.contains('\0'))
        .and_then(read_filter);
    assert_eq!(wanted.is_ok(), reading.is_some(), "{filter:?}: {wanted:?}");
    let (Ok(wanted), Some((share_name, levels))) = (wanted, reading) else {
        return;
    };
    assert_eq!(
        (wanted.share_name(), wanted.pattern()),
        (share_name, levels.join("/").as_str())
    );
    assert_eq!(
        wanted.has_wildcards(),
        levels.iter().any(|&level| level == "+" || level == "#")
    );
    if let Ok(topic) = topic {
        let system = topic.as_str().starts_with('$') && matches!(levels[0], "+" | "#");
        let there: Vec<&str> = topic.as_str().split('/').collect();
        let expected = !system && level_by_level(&levels, &there);
        assert_eq!(wanted.matches(topic.as_str()), expected, "{wanted} {topic}");
    }
}

/// The share name and the levels of a filter, if it is one (MQTT 5 §4.7.1, §4.8.2).
fn read_filter(text: &str) -> Option<(Option<&str>, Vec<&str>)> {
    let levels: Vec<&str> = text.split('/').collect();
    let (share_name, levels) = match &levels[..] {
        ["$share", name, behind @ ..] => (Some(*name), behind),
        all => (None, all),
    };
    let last = levels.len().checked_sub(1)?;
    let good_name = share_name.is_none_or(|name| !name.is_empty() && !name.contains(['+', '#']));
    let good_levels = levels.iter().enumerate().all(|(i, &level)| match level {
        "+" => true,
        "#" => i == last,
        _ => !level.contains(['+', '#']),
    });
    let empty = levels == [""];
    (good_name && good_levels && !empty).then(|| (share_name, levels.to_vec()))
}

fn level_by_level(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => level_by_level(filter, topic),
        ([wanted, filter @ ..], [level, topic @ ..]) => {
            wanted == level && level_by_level(filter, topic)
        }
        _ => false,
    }
}

/// Any text is a URI of a server or a proxy, or rejected with words that keep its password: what it
/// is shown as leads to the same place.
pub fn url(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    match Endpoint::parse(text) {
        Err(error) => tells_no_password(text, &format!("{error} {error:?}")),
        Ok(endpoint) => {
            let shown = endpoint.to_string();
            assert_eq!(shown, format!("{endpoint:?}"));
            assert!(!endpoint.host().is_empty() && !endpoint.host().contains(['[', ']', '@', '/']));
            assert_eq!(endpoint.port() == 0, endpoint.scheme() == Scheme::Unix);
            let limit = usize::from(u16::MAX);
            assert!(
                endpoint
                    .user_name()
                    .is_none_or(|name| !name.is_empty() && name.len() <= limit)
            );
            assert!(
                endpoint
                    .password()
                    .is_none_or(|password| !password.is_empty() && password.len() <= limit)
            );
            if endpoint.scheme() != Scheme::Unix && !endpoint.path().contains('?') {
                let again = Endpoint::parse(&shown).expect("it is a URI");
                assert_eq!((again.user_name(), again.password()), (None, None));
                assert_eq!(again.to_string(), shown);
            }
            for reference in ["other", text] {
                if let Ok(other) = endpoint.referred(reference) {
                    assert_eq!(
                        (other.scheme(), other.path()),
                        (endpoint.scheme(), endpoint.path())
                    );
                    assert_eq!((other.user_name(), other.password()), (None, None));
                }
            }
        }
    }
    match ProxyUri::parse(text) {
        Err(error) => tells_no_password(text, &format!("{error} {error:?}")),
        Ok(proxy) => {
            let again = ProxyUri::parse(&proxy.to_string()).expect("it is a URI");
            assert_eq!((again.host(), again.port()), (proxy.host(), proxy.port()));
        }
    }
}

/// Whatever stands where a password does.
fn tells_no_password(uri: &str, error: &str) {
    let password = uri
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('@')?.0.split_once(':'));
    if let Some((_, password)) = password {
        // A short one may be in the words of the error by chance, and one that is also a part of
        // the scheme or the host is there with it.
        let is_elsewhere = password.len() < 8 || uri.matches(password).count() > 1;
        assert!(is_elsewhere || !error.contains(password), "{error}");
    }
}

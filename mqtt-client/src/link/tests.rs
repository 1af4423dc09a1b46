use super::*;
use crate::link::observer::Observer;
use crate::link::reconnect::Reconnect;
use crate::link::stage::StackConfig;
use bytes::BytesMut;
use martlet_proto::{ConnAck, ConnectReasonCode, Packet};
use martlet_session::{Config, ConnectOptions, Event, Instead};
use std::time::Duration;

fn link() -> Link {
    link_of(config())
}

fn link_of(config: LinkConfig) -> Link {
    Link::new(config, &Session::new(Config::default()))
}

fn config() -> LinkConfig {
    LinkConfig {
        endpoints: vec![Endpoint::parse("mqtt://broker.example").unwrap()],
        version: VersionChoice::Negotiate,
        connect: ConnectOptions::new(Version::V5),
        reconnect: Reconnect::default(),
        prepare_timeout: None,
        stack: StackConfig::default(),
        dial_timeout: Duration::from_secs(10),
        handshake_timeout: Duration::from_secs(10),
        seed: 1,
    }
}

fn open(link: &mut Link, session: &mut Session, now: Instant) {
    link.exchange(now, session);
    assert!(link.poll_dial(now).is_some());
    link.handle_dialed(now);
    link.exchange(now, session);
    let n = link.poll_wire(now).expect("a CONNECT").remaining();
    link.handle_written(now, n);
}

fn accept(link: &mut Link, session: &mut Session, now: Instant) {
    let mut connack = BytesMut::new();
    let packet = Packet::from(ConnAck::new(ConnectReasonCode::Success));
    packet.encode(link.version(), &mut connack).unwrap();
    link.handle_wire(now, &connack);
    link.exchange(now, session);
    assert!(session.is_connected());
}

fn at(seconds: u64) -> Instant {
    Instant::from_epoch(Duration::from_secs(seconds))
}

/// A server that was restarting behind a load balancer closed twice without a byte, and was spoken
/// to in 3.1.1 from then on, although it had accepted MQTT 5 before.
#[test]
fn a_server_that_has_accepted_mqtt_5_is_not_asked_for_less_when_it_is_silent() {
    let (mut link, mut session) = (link(), Session::new(Config::default()));
    open(&mut link, &mut session, at(0));
    accept(&mut link, &mut session, at(0));
    for n in 1..5 {
        link.handle_eof(None);
        link.exchange(at(100 * n), &mut session);
        open(&mut link, &mut session, at(100 * n + 90));
        assert_eq!(link.version(), Version::V5, "{n}");
    }
}

#[test]
fn a_server_that_never_answers_mqtt_5_is_asked_for_3_1_1_at_once() {
    let (mut link, mut session) = (link(), Session::new(Config::default()));
    for expected in [Version::V5, Version::V5, Version::V3_1_1] {
        open(&mut link, &mut session, at(0));
        assert_eq!(link.version(), expected);
        link.handle_eof(None);
        link.exchange(at(0), &mut session);
    }
}

/// A server that closed twice without a byte, because it was starting, was spoken to in 3.1.1 for as
/// long as the process lived, although it would have taken MQTT 5 a moment later.
#[test]
fn a_server_that_only_closed_is_asked_for_mqtt_5_again() {
    let (mut link, mut session) = (link(), Session::new(Config::default()));
    for _ in 0..2 {
        open(&mut link, &mut session, at(0));
        link.handle_eof(None);
        link.exchange(at(0), &mut session);
    }
    for n in 1..4 {
        open(&mut link, &mut session, at(200 * n));
        assert_eq!(link.version(), Version::V3_1_1, "{n}");
        accept(&mut link, &mut session, at(200 * n));
        link.handle_eof(None);
        link.exchange(at(200 * n + 20), &mut session);
        // It is one that hangs up at MQTT 5 after all: that costs one attempt, at once.
        open(&mut link, &mut session, at(200 * n + 100));
        assert_eq!(link.version(), Version::V5, "{n}");
        link.handle_eof(None);
        link.exchange(at(200 * n + 100), &mut session);
        while link.poll_event().is_some() {}
    }
    open(&mut link, &mut session, at(900));
    accept(&mut link, &mut session, at(900));
    link.handle_eof(None);
    link.exchange(at(920), &mut session);
    open(&mut link, &mut session, at(1000));
    accept(&mut link, &mut session, at(1000));
    assert_eq!(link.version(), Version::V5);
}

/// What was left when a connection ended went to the session in one piece, under the client's lock,
/// however much that was.
#[test]
fn what_is_left_at_the_end_is_given_in_turns() {
    const MOST: usize = 1000;
    let (mut link, mut session) = (link(), Session::new(Config::default()));
    link.set_most(MOST);
    open(&mut link, &mut session, at(0));
    accept(&mut link, &mut session, at(0));
    while session.poll_event().is_some() {}
    // 2,000 messages of 6 bytes each, and the beginning of another.
    let mut bytes = b"\x30\x04\0\x01a\0".repeat(2000);
    bytes.extend_from_slice(b"\x30\x04\0");
    link.handle_wire(at(0), &bytes);
    link.handle_eof(None);
    let mut came = 0;
    while link.has_failed() {
        assert!(link.exchange(at(0), &mut session), "it is not done");
        let before = came;
        while let Some(Event::Message(_)) = session.poll_event() {
            came += 1;
        }
        assert!(came - before <= MOST / 6 + 1, "{} at once", came - before);
    }
    assert_eq!(came, 2000);
    assert_eq!(why(&mut link).0, ConnectionError::ClosedByPeer);
}

/// A program that was busy for longer than the deadline lost a healthy connection: the deadline was
/// judged before the write was tried.
#[test]
fn a_write_that_is_due_can_still_be_made() {
    let (mut link, mut session) = (link(), Session::new(Config::default()));
    open(&mut link, &mut session, at(0));
    accept(&mut link, &mut session, at(0));
    let topic = martlet_proto::TopicName::new("a").unwrap();
    session
        .publish(at(0), martlet_session::OutgoingPublish::new(topic, "b"))
        .unwrap();
    link.exchange(at(0), &mut session);
    assert!(!link.is_write_due(at(9)) && link.is_write_due(at(30)));
    let n = link.poll_wire(at(30)).unwrap().remaining();
    link.handle_written(at(30), n);
    link.exchange(at(30), &mut session);
    assert!(session.is_connected());
}

/// A link through an HTTP proxy: a handshake that a test can write down.
fn through_proxy(change: impl FnOnce(&mut LinkConfig)) -> Link {
    let mut config = config();
    config.stack.proxy = Some("http://proxy.example:3128".parse().unwrap());
    change(&mut config);
    link_of(config)
}

/// What the socket is given, all of it.
fn wire(link: &mut Link, now: Instant) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(output) = link.poll_wire(now) {
        let chunk = output.chunk().to_vec();
        link.handle_written(now, chunk.len());
        all.extend(chunk);
    }
    all
}

/// The socket to the proxy is open, and the proxy was asked.
fn ask_proxy(link: &mut Link, session: &mut Session, now: Instant) {
    link.exchange(now, session);
    let target = link.poll_dial(now).expect("a dial");
    assert_eq!((target.host(), target.port()), ("proxy.example", 3128));
    assert_eq!(target.endpoint().host(), "broker.example");
    link.handle_dialed(now);
    link.exchange(now, session);
    let asked = wire(link, now);
    assert!(
        asked.starts_with(b"CONNECT broker.example:1883 HTTP/1.1\r\n"),
        "{asked:?}"
    );
    assert!(asked.ends_with(b"\r\n\r\n"), "no MQTT yet");
}

const OPEN: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

fn why(link: &mut Link) -> (ConnectionError, Option<Duration>) {
    loop {
        match link.poll_event().expect("it has ended") {
            LinkEvent::Disconnected {
                reason: error,
                retry_in,
            } => return (error, retry_in),
            LinkEvent::Connecting(_) | LinkEvent::ErrorPersists { .. } => {}
        }
    }
}

fn kind(error: &ConnectionError) -> TransportErrorKind {
    match error {
        ConnectionError::Transport(error) => error.kind(),
        other => panic!("{other}"),
    }
}

/// Packets as they are seen, in a list that the test has too.
struct Seen(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

impl Observer for Seen {
    fn packet_sent(&mut self, _: Instant, packet: &Packet) {
        self.0
            .lock()
            .unwrap()
            .push(format!("out {}", packet.packet_type()));
    }
    fn packet_received(&mut self, _: Instant, packet: &Packet) {
        self.0
            .lock()
            .unwrap()
            .push(format!("in {}", packet.packet_type()));
    }
}

#[test]
fn connect_leaves_when_the_way_is_open_and_is_seen() {
    let (mut link, mut session) = (through_proxy(|_| {}), Session::new(Config::default()));
    let seen = std::sync::Arc::default();
    link.set_observer(Box::new(Seen(std::sync::Arc::clone(&seen))));
    ask_proxy(&mut link, &mut session, at(0));
    for byte in &OPEN[..OPEN.len() - 1] {
        link.handle_wire(at(1), &[*byte]);
        link.exchange(at(1), &mut session);
        assert!(link.poll_wire(at(1)).is_none());
    }
    // The server's first bytes may come with the proxy's last.
    link.handle_wire(at(1), &OPEN[OPEN.len() - 1..]);
    link.exchange(at(1), &mut session);
    assert_eq!(wire(&mut link, at(1))[0], 0x10, "CONNECT");
    accept(&mut link, &mut session, at(1));
    session.disconnect(at(2), martlet_session::DisconnectOptions::default());
    link.exchange(at(2), &mut session);
    assert_eq!(wire(&mut link, at(2))[0], 0xe0, "DISCONNECT");
    assert!(link.is_closing() && link.is_flushed());
    assert_eq!(
        *seen.lock().unwrap(),
        ["out CONNECT", "in CONNACK", "out DISCONNECT"]
    );
}

#[test]
fn a_handshake_has_a_deadline() {
    let mut link = through_proxy(|config| config.handshake_timeout = Duration::from_secs(3));
    let mut session = Session::new(Config::default());
    ask_proxy(&mut link, &mut session, at(100));
    assert_eq!(link.poll_timeout(), Some(at(103)));
    link.exchange(at(102), &mut session);
    assert!(link.has_socket());
    link.exchange(at(103), &mut session);
    assert!(!link.has_socket());
    let (error, _) = why(&mut link);
    assert_eq!(kind(&error), TransportErrorKind::HandshakeTimeout);
    assert_eq!(
        error.to_string(),
        "the proxy handshake with mqtt://broker.example:1883 was not done in 3s"
    );
}

/// Behind the handshake, how the socket ended is all there is to say.
#[test]
fn an_open_transport_ends_as_its_socket_does() {
    let (mut link, mut session) = (through_proxy(|_| {}), Session::new(Config::default()));
    ask_proxy(&mut link, &mut session, at(0));
    link.handle_wire(at(0), OPEN);
    link.exchange(at(0), &mut session);
    wire(&mut link, at(0));
    accept(&mut link, &mut session, at(0));
    let reset = TransportError::new(TransportErrorKind::Io, "reset");
    link.handle_eof(Some(reset.clone()));
    link.exchange(at(1), &mut session);
    assert_eq!(why(&mut link).0, ConnectionError::Transport(reset));
}

/// Neither an end in the middle of a handshake nor a failed one says anything about the versions of
/// MQTT.
#[test]
fn a_failed_handshake_is_no_answer_to_a_connect() {
    let mut link = through_proxy(|config| config.reconnect.retry_first = true);
    let mut session = Session::new(Config::default());
    for n in 0..6 {
        let now = at(100 * n);
        ask_proxy(&mut link, &mut session, now);
        match n % 3 {
            0 => link.handle_eof(None),
            1 => link.handle_eof(Some(TransportError::new(TransportErrorKind::Io, "reset"))),
            _ => link.handle_wire(now, b"HTTP/1.1 502 Bad Gateway\r\n\r\n"),
        }
        link.exchange(now, &mut session);
        let (error, retry_in) = why(&mut link);
        assert_eq!(kind(&error), TransportErrorKind::Proxy, "{error}");
        assert!(retry_in.is_some());
        assert_eq!(link.version(), Version::V5, "{n}");
    }
}

#[test]
fn what_cannot_change_by_itself_is_not_tried_again() {
    let mut link = through_proxy(|config| config.reconnect.retry_first = true);
    let mut session = Session::new(Config::default());
    ask_proxy(&mut link, &mut session, at(0));
    link.handle_wire(at(0), b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    link.exchange(at(0), &mut session);
    assert!(
        matches!(why(&mut link), (ConnectionError::Transport(error), None) if error.is_permanent())
    );
    assert!(link.stopped().is_some());
}

#[test]
fn a_tls_server_on_a_plain_port_is_recognised() {
    let (mut link, mut session) = (link(), Session::new(Config::default()));
    open(&mut link, &mut session, at(0));
    link.handle_wire(at(0), &[0x15, 3, 3, 0, 2, 2, 10]);
    link.exchange(at(0), &mut session);
    let (error, _) = why(&mut link);
    assert_eq!(kind(&error), TransportErrorKind::Tls);
    assert!(error.to_string().contains("mqtts://"), "{error}");
}

/// A socket that takes nothing stops the session, and what is sealed ahead of it stays small.
#[test]
fn what_is_sealed_ahead_is_bounded() {
    let (mut link, mut session) = (through_proxy(|_| {}), Session::new(Config::default()));
    ask_proxy(&mut link, &mut session, at(0));
    link.handle_wire(at(0), OPEN);
    link.exchange(at(0), &mut session);
    wire(&mut link, at(0));
    accept(&mut link, &mut session, at(0));
    let topic = martlet_proto::TopicName::new("a").unwrap();
    let mut published = 0;
    for _ in 0..100 {
        let message = martlet_session::OutgoingPublish::new(topic.clone(), vec![b'x'; 100_000]);
        published += usize::from(session.publish(at(0), message).is_ok());
        link.exchange(at(0), &mut session);
        let ahead = link.poll_wire(at(0)).map_or(0, Buf::remaining);
        assert!(ahead <= 160 * 1024, "{ahead}");
    }
    let deadline = link.poll_timeout().expect("the socket must take something");
    assert!(!link.is_write_due(at(0)) && link.is_write_due(deadline));
    let mut sent = 0;
    loop {
        sent += wire(&mut link, at(1)).len();
        if !link.exchange(at(1), &mut session) {
            break;
        }
    }
    assert!(
        published > 10 && sent > published * 100_000,
        "{published} messages in {sent} bytes"
    );
    assert!(link.is_flushed());
}

/// The socket of a handshake that `disconnect()` had ended was to be dropped, and there was still
/// something to write to it.
#[test]
fn nothing_is_written_to_a_socket_that_is_not_wanted() {
    let (mut link, mut session) = (through_proxy(|_| {}), Session::new(Config::default()));
    link.exchange(at(0), &mut session);
    assert!(link.poll_dial(at(0)).is_some());
    link.handle_dialed(at(0));
    assert!(link.poll_wire(at(0)).is_some(), "what the proxy is asked");
    session.disconnect(at(0), martlet_session::DisconnectOptions::default());
    link.exchange(at(0), &mut session);
    assert!(link.stopped().is_some() && !link.has_socket());
    assert!(link.poll_wire(at(0)).is_none() && link.is_flushed());
}

/// A server behind a network that answers for it took the CONNECT of MQTT 5 and never said a word:
/// every attempt was of MQTT 5, for ever. After silence there is one attempt in 3.1.1, at once;
/// what a silent server speaks stays open.
#[test]
fn a_connect_that_meets_silence_is_followed_by_one_in_3_1_1() {
    let mut link = link_of(LinkConfig {
        reconnect: retrying(),
        ..config()
    });
    let mut session = Session::new(Config::default());
    let mut now = 0;
    for (version, at_once) in [
        (Version::V5, true),
        (Version::V3_1_1, false),
        (Version::V5, true),
    ] {
        open(&mut link, &mut session, at(now));
        assert_eq!(link.version(), version);
        now += 11;
        link.exchange(at(now), &mut session);
        link.handle_eof(None);
        link.exchange(at(now), &mut session);
        let (error, retry_in) = why(&mut link);
        let instead = Instead::Silence;
        assert_eq!(error, ConnectionError::NoConnAck { version, instead });
        for part in [
            version.to_string().as_str(),
            "Builder::version",
            "`martlet.version`",
        ] {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert_eq!(retry_in.unwrap().is_zero(), at_once, "{version}");
        now += 100;
    }
}

fn retrying() -> Reconnect {
    let mut policy = Reconnect::default();
    policy.retry_first = true;
    policy
}

/// Old servers answer a CONNECT of MQTT 5 in the form of 3.1.1, and others with values that MQTT 5
/// forbids: the client tried MQTT 5 for ever.
#[test]
fn a_connack_that_cannot_be_read_leads_to_3_1_1() {
    const FORBIDDEN: &[u8] = &[0x20, 5, 0, 0, 2, 0x24, 2]; // Maximum QoS 2
    for answer in [
        &[0x20, 2, 0, 0][..],
        &[0x20, 2, 0, 5],
        &[0x20, 2, 1, 0],
        FORBIDDEN,
    ] {
        let (mut link, mut session) = (link(), Session::new(Config::default()));
        open(&mut link, &mut session, at(0));
        link.handle_wire(at(0), answer);
        link.exchange(at(0), &mut session);
        link.handle_eof(None);
        link.exchange(at(0), &mut session);
        let (error, retry_in) = why(&mut link);
        let unreadable = matches!(
            error,
            ConnectionError::NoConnAck {
                version: Version::V5,
                instead: Instead::Unreadable(_)
            }
        );
        // An earlier rejection is reported as one.
        assert!(
            unreadable || matches!(error, ConnectionError::Rejected(_)),
            "{error}"
        );
        assert_eq!(retry_in, Some(Duration::ZERO));
        open(&mut link, &mut session, at(1));
        assert_eq!(link.version(), Version::V3_1_1);
        accept(&mut link, &mut session, at(1));
    }
}

/// Where the version is fixed, the error said only that a packet was malformed.
#[test]
fn with_a_fixed_version_the_error_names_it_and_the_setting() {
    let fixed = VersionChoice::Fixed(Version::V5);
    for answer in [None, Some(&[0x20, 2, 0, 0][..])] {
        let mut link = link_of(LinkConfig {
            version: fixed,
            ..config()
        });
        let mut session = Session::new(Config::default());
        open(&mut link, &mut session, at(0));
        if let Some(answer) = answer {
            link.handle_wire(at(0), answer);
            link.exchange(at(0), &mut session);
        }
        link.handle_eof(None);
        link.exchange(at(0), &mut session);
        let (error, retry_in) = why(&mut link);
        assert_eq!(retry_in, None);
        let text = error.to_string();
        assert!(
            text.contains("MQTT 5") && text.contains("Builder::version"),
            "{text}"
        );
    }
}

/// A malformed packet behind the CONNACK, in one read, was taken for a failure of the handshake.
#[test]
fn what_follows_the_connack_says_nothing_of_the_version() {
    let (mut link, mut session) = (link(), Session::new(Config::default()));
    open(&mut link, &mut session, at(0));
    link.handle_wire(at(0), &[0x20, 3, 0, 0, 0, 0x36, 0]);
    link.exchange(at(0), &mut session);
    link.handle_eof(None);
    link.exchange(at(0), &mut session);
    let (error, retry_in) = why(&mut link);
    assert!(matches!(error, ConnectionError::Malformed(_)), "{error}");
    assert!(retry_in.is_some());
    open(&mut link, &mut session, at(100));
    assert_eq!(link.version(), Version::V5);
}

/// The SHA-1 of fewer than 120 bytes, as the handshake of WebSocket wants it.
#[cfg(feature = "websocket")]
fn sha1(text: &[u8]) -> [u8; 20] {
    let mut message = text.to_vec();
    message.push(0x80);
    while message.len() % 64 != 56 {
        message.push(0);
    }
    message.extend((8 * text.len() as u64).to_be_bytes());
    let mut state = [
        0x6745_2301_u32,
        0xefcd_ab89,
        0x98ba_dcfe,
        0x1032_5476,
        0xc3d2_e1f0,
    ];
    for block in message.chunks(64) {
        let mut words: Vec<u32> = block
            .chunks(4)
            .map(|word| u32::from_be_bytes(word.try_into().unwrap()))
            .collect();
        for n in 16..80 {
            words
                .push((words[n - 3] ^ words[n - 8] ^ words[n - 14] ^ words[n - 16]).rotate_left(1));
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (n, word) in words.iter().enumerate() {
            let (f, k) = match n {
                0..20 => ((b & c) | (!b & d), 0x5a82_7999_u32),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6),
            };
            let next = a
                .rotate_left(5)
                .wrapping_add(f)
                .wrapping_add(e)
                .wrapping_add(k)
                .wrapping_add(*word);
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        for (sum, part) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(part);
        }
    }
    let mut digest = [0; 20];
    digest
        .chunks_mut(4)
        .zip(state)
        .for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_be_bytes()));
    digest
}

#[cfg(feature = "websocket")]
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, n| {
            bits << 8 | u32::from(*chunk.get(n).unwrap_or(&0))
        });
        for n in 0..4 {
            let letter = char::from(ALPHABET[(bits >> (18 - 6 * n) & 63) as usize]);
            text.push(if n <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

/// A header may hold a token: it went to whatever server another one had named, also by way of a
/// hook, which passes on what the attempt has.
#[cfg(feature = "websocket")]
#[test]
fn headers_are_not_sent_to_a_server_that_another_one_has_named() {
    for prepare_timeout in [None, Some(Duration::from_secs(1))] {
        check_headers(prepare_timeout);
    }
}

#[cfg(feature = "websocket")]
fn check_headers(prepare_timeout: Option<Duration>) {
    let mut config = LinkConfig {
        prepare_timeout,
        ..config()
    };
    config.endpoints = vec![Endpoint::parse("ws://test/mqtt?token=secret").unwrap()];
    config.stack.headers = vec![("X-Token".into(), "secret too".into())];
    config.reconnect.server_references = 1;
    let (mut link, mut session) = (link_of(config), Session::new(Config::default()));
    for (host, is_told) in [("test", true), ("other", false)] {
        link.exchange(at(0), &mut session);
        if let Some(attempt) = link.poll_prepare(at(0)) {
            link.handle_prepared(Ok(attempt));
            link.exchange(at(0), &mut session);
        }
        let target = link.poll_dial(at(0)).expect("a dial");
        assert_eq!(target.host(), host);
        link.handle_dialed(at(0));
        let head = String::from_utf8(wire(&mut link, at(0))).unwrap();
        for secret in ["secret ", "secret too"] {
            assert_eq!(head.contains(secret), is_told, "{secret}: {head}");
        }
        if !is_told {
            break;
        }
        let find = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("sec-websocket-key")
                .then(|| value.to_owned())
        };
        let key = head.lines().find_map(find).unwrap();
        let accept = base64(&sha1(
            format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
        ));
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        link.handle_wire(at(0), answer.as_bytes());
        link.exchange(at(0), &mut session);
        assert!(!wire(&mut link, at(0)).is_empty(), "a CONNECT");
        let mut rejection = ConnAck::new(ConnectReasonCode::UseAnotherServer);
        rejection.properties.server_reference = Some("other".try_into().unwrap());
        let mut packet = BytesMut::new();
        Packet::from(rejection)
            .encode(Version::V5, &mut packet)
            .unwrap();
        let mut frame = vec![0x82, u8::try_from(packet.len()).unwrap()];
        frame.extend_from_slice(&packet);
        link.handle_wire(at(0), &frame);
        for _ in 0..3 {
            link.exchange(at(0), &mut session);
            wire(&mut link, at(0));
        }
    }
}

/// A listed server that rejected before the first connection was left out for as long as the
/// process lived.
#[test]
fn a_server_that_rejected_before_the_first_connection_has_its_turn_after_it() {
    let mut config = config();
    config
        .endpoints
        .push(Endpoint::parse("mqtt://second.example").unwrap());
    let (mut link, mut session) = (link_of(config), Session::new(Config::default()));
    open(&mut link, &mut session, at(0));
    let mut rejection = BytesMut::new();
    Packet::from(ConnAck::new(ConnectReasonCode::NotAuthorized))
        .encode(Version::V5, &mut rejection)
        .unwrap();
    link.handle_wire(at(0), &rejection);
    link.exchange(at(0), &mut session);
    open(&mut link, &mut session, at(0));
    accept(&mut link, &mut session, at(0));
    link.handle_eof(None);
    link.exchange(at(100), &mut session);
    link.exchange(at(200), &mut session);
    assert_eq!(
        link.poll_dial(at(200)).expect("a dial").host(),
        "broker.example"
    );
}

use super::*;
use bytes::BytesMut;
use martlet_proto::{ConnAck, ConnectReasonCode, Packet};
use martlet_session::Config;

fn link() -> Link {
    Link::new(config())
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
        maximum_packet_size: 1 << 20,
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

/// A server that was restarting behind a load balancer closed twice without a byte, and was spoken to in 3.1.1 from
/// then on, although it had accepted MQTT 5 before.
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

/// A program that was busy for longer than the deadline lost a healthy connection: the deadline was judged before the
/// write was tried.
#[test]
fn a_write_that_is_due_can_still_be_made() {
    let (mut link, mut session) = (link(), Session::new(Config::default()));
    open(&mut link, &mut session, at(0));
    accept(&mut link, &mut session, at(0));
    let topic = martlet_proto::TopicName::new("a").unwrap();
    session.publish(at(0), martlet_session::Publish::new(topic, "b")).unwrap();
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
    Link::new(config)
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
    assert!(asked.starts_with(b"CONNECT broker.example:1883 HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked.ends_with(b"\r\n\r\n"), "no MQTT yet");
}

const OPEN: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

fn why(link: &mut Link) -> (ConnectionError, Option<Duration>) {
    loop {
        match link.poll_event().expect("it has ended") {
            LinkEvent::Disconnected { error, retry_in } => return (error, retry_in),
            LinkEvent::Connecting(_) => {}
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
        self.0.lock().unwrap().push(format!("out {}", packet.packet_type()));
    }
    fn packet_received(&mut self, _: Instant, packet: &Packet) {
        self.0.lock().unwrap().push(format!("in {}", packet.packet_type()));
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
    assert_eq!(*seen.lock().unwrap(), ["out CONNECT", "in CONNACK", "out DISCONNECT"]);
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
    assert_eq!(error.to_string(), "the proxy handshake with mqtt://broker.example:1883 was not done in 3s");
}

/// Neither an end in the middle of a handshake nor a failed one says anything about the versions of MQTT.
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
    assert!(matches!(why(&mut link), (ConnectionError::Transport(error), None) if error.is_permanent()));
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
        let message = martlet_session::Publish::new(topic.clone(), vec![b'x'; 100_000]);
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
    assert!(published > 10 && sent > published * 100_000, "{published} messages in {sent} bytes");
    assert!(link.is_flushed());
}

/// The socket of a handshake that `disconnect()` had ended was to be dropped, and there was still something to write to it.
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

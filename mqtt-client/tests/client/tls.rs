//! A client in an event loop, with TLS, against a server of rustls in memory.

use bytes::BytesMut;
use martlet_client::proto::{
    ConnAck, ConnectReasonCode, Disconnect, DisconnectReasonCode, Packet, Version,
};
use martlet_client::session::{Config, DisconnectOptions};
use martlet_client::transport::rustls::ServerConnection;
use martlet_client::{
    ConnectionError, Trust,
    embedded::{Embedded, EmbeddedEvent, LinkConfig, LinkEvent},
    session::{Instant, Session, TransportErrorKind},
};
use martlet_tests::certificates::{Certificates, ClientAuthentication, TestIdentity};
use std::io::{Read, Write};

struct Server {
    tls: ServerConnection,
    /// What the client has sent, in plain.
    plain: BytesMut,
    /// The client has said that it sends no more.
    heard_goodbye: bool,
    /// Why TLS has failed.
    error: Option<String>,
}

impl Server {
    fn new(identity: &TestIdentity) -> Self {
        let config = Certificates::shared().server_config(identity, ClientAuthentication::None);
        let tls = ServerConnection::new(config).unwrap();
        Self {
            tls,
            plain: BytesMut::new(),
            heard_goodbye: false,
            error: None,
        }
    }

    fn read(&mut self, mut wire: &[u8]) {
        while !wire.is_empty() && self.error.is_none() {
            self.tls.read_tls(&mut wire).unwrap();
            match self.tls.process_new_packets() {
                Ok(state) => {
                    let mut plain = vec![0; state.plaintext_bytes_to_read()];
                    self.tls.reader().read_exact(&mut plain).unwrap();
                    self.plain.extend_from_slice(&plain);
                    self.heard_goodbye |= state.peer_has_closed();
                }
                Err(error) => self.error = Some(error.to_string()),
            }
        }
    }

    fn say(&mut self, packet: impl Into<Packet>) {
        let mut bytes = BytesMut::new();
        packet.into().encode(Version::V5, &mut bytes).unwrap();
        self.tls.writer().write_all(&bytes).unwrap();
    }

    fn write(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut wire).unwrap();
        }
        wire
    }
}

const NOW: Instant = Instant::EPOCH;

/// A client that has dialled, and the server that it has reached.
fn dialed(identity: &TestIdentity) -> (Embedded, Server) {
    let link = LinkConfig::new("mqtts://localhost".parse().unwrap())
        .tls(trusting(&Certificates::shared().authority.pem));
    let mut client = Embedded::new(Session::new(Config::default()), link);
    assert!(client.poll_dial(NOW).is_some());
    client.handle_dialed(NOW);
    (client, Server::new(identity))
}

/// Drains the client once, as a loop does.
fn drain(client: &mut Embedded, server: &mut Server) -> Vec<EmbeddedEvent> {
    while let Some(output) = client.poll_wire(NOW) {
        let chunk = output.chunk();
        server.read(chunk);
        let n = chunk.len();
        client.handle_written(NOW, n);
    }
    assert!(client.poll_dial(NOW).is_none());
    std::iter::from_fn(|| client.poll_event()).collect()
}

/// Lets both talk until they have nothing more to say.
fn talk(client: &mut Embedded, server: &mut Server) -> Vec<EmbeddedEvent> {
    let mut events = drain(client, server);
    loop {
        let wire = server.write();
        if wire.is_empty() {
            return events;
        }
        client.handle_wire(NOW, &wire);
        events.append(&mut drain(client, server));
    }
}

fn ended(events: &[EmbeddedEvent]) -> &ConnectionError {
    match events.last() {
        Some(EmbeddedEvent::Link(LinkEvent::Disconnected { reason: error, .. })) => error,
        other => panic!("{other:?}"),
    }
}

fn connected() -> (Embedded, Server) {
    let (mut client, mut server) = dialed(&Certificates::shared().server);
    talk(&mut client, &mut server);
    assert!(matches!(
        Packet::decode(&mut server.plain, Version::V5, 1000),
        Ok(Some(Packet::Connect(_)))
    ));
    (client, server)
}

#[test]
fn a_certificate_that_is_not_trusted_is_told_to_both() {
    for identity in [
        &Certificates::shared().unknown_authority,
        &Certificates::shared().wrong_host,
    ] {
        let (mut client, mut server) = dialed(identity);
        let events = talk(&mut client, &mut server);
        let ConnectionError::Transport(error) = ended(&events) else {
            panic!("{events:?}")
        };
        assert_eq!(error.kind(), TransportErrorKind::Certificate, "{error}");
        assert!(error.is_permanent() && client.stopped().is_some() && !client.wants_socket());
        assert!(
            server.error.is_some_and(|error| error.contains("alert")),
            "TLS tells the server"
        );
    }
}

/// The socket was closed without a close_notify, which looks like an attack to the server.
#[test]
fn a_server_that_rejects_hears_the_end_of_tls() {
    let (mut client, mut server) = connected();
    server.say(ConnAck::new(ConnectReasonCode::NotAuthorized));
    let events = talk(&mut client, &mut server);
    assert!(matches!(ended(&events), ConnectionError::Rejected(_)));
    assert!(server.heard_goodbye);
    assert!(!client.wants_socket());
}

#[test]
fn a_server_that_ends_it_hears_the_end_of_tls() {
    for says_why in [true, false] {
        let (mut client, mut server) = connected();
        server.say(ConnAck::new(ConnectReasonCode::Success));
        talk(&mut client, &mut server);
        if says_why {
            server.say(Disconnect::new(DisconnectReasonCode::ServerShuttingDown));
        } else {
            server.tls.send_close_notify();
        }
        let events = talk(&mut client, &mut server);
        match ended(&events) {
            ConnectionError::DisconnectedByPeer(_) => assert!(says_why),
            error => assert_eq!((error, says_why), (&ConnectionError::ClosedByPeer, false)),
        }
        assert!(server.heard_goodbye, "{says_why}");
    }
}

#[test]
fn disconnecting_ends_tls_before_the_socket() {
    let (mut client, mut server) = connected();
    server.say(ConnAck::new(ConnectReasonCode::Success));
    talk(&mut client, &mut server);
    client
        .session_mut()
        .disconnect(NOW, DisconnectOptions::default());
    assert!(
        !client.poll_shutdown(NOW),
        "DISCONNECT is to be written before"
    );
    drain(&mut client, &mut server);
    assert!(matches!(
        Packet::decode(&mut server.plain, Version::V5, 1000),
        Ok(Some(Packet::Disconnect(_)))
    ));
    assert!(server.heard_goodbye && client.poll_shutdown(NOW) && !client.poll_shutdown(NOW));
    client.handle_eof(NOW, None);
    assert!(client.poll_dial(NOW).is_none());
    assert_eq!(client.stopped(), Some(&ConnectionError::ClosedHere));
}

/// A loop whose socket fails while last words wait would write them for ever.
#[test]
fn a_socket_that_has_failed_is_not_written() {
    let (mut client, mut server) = connected();
    server.say(ConnAck::new(ConnectReasonCode::NotAuthorized));
    let wire = server.write();
    client.handle_wire(NOW, &wire);
    assert!(client.poll_wire(NOW).is_some());
    client.handle_eof(NOW, Some(std::io::Error::other("reset").into()));
    assert!(client.poll_wire(NOW).is_none());
    assert!(matches!(
        client.stopped(),
        Some(ConnectionError::Rejected(_))
    ));
}

/// Nor may a full socket hold up the end.
#[test]
fn last_words_that_the_socket_does_not_take_are_given_up() {
    let (mut client, mut server) = connected();
    server.say(ConnAck::new(ConnectReasonCode::NotAuthorized));
    let wire = server.write();
    client.handle_wire(NOW, &wire);
    assert!(client.poll_dial(NOW).is_none());
    assert!(matches!(
        client.stopped(),
        Some(ConnectionError::Rejected(_))
    ));
    assert!(!client.wants_socket());
}

fn trusting(pem: &str) -> martlet_client::TlsConfig {
    Trust::new().ca_pem(pem).build().unwrap()
}

/// A client that trusts somebody else, and has not dialled yet.
fn misled(change: impl FnOnce(LinkConfig) -> LinkConfig) -> Embedded {
    let link = LinkConfig::new("mqtts://localhost".parse().unwrap())
        .tls(trusting(&Certificates::shared().other_authority.pem));
    Embedded::new(Session::new(Config::default()), change(link))
}

fn is_accepted(client: &mut Embedded) -> bool {
    assert!(client.poll_dial(NOW).is_some());
    client.handle_dialed(NOW);
    let mut server = Server::new(&Certificates::shared().server);
    talk(client, &mut server);
    matches!(
        Packet::decode(&mut server.plain, Version::V5, 1000),
        Ok(Some(Packet::Connect(_)))
    )
}

/// A hook had a word on credentials and headers, but not on certificates, which some services issue
/// for an hour.
#[test]
fn a_prepared_attempt_may_have_a_configuration_of_its_own() {
    for has_own in [true, false] {
        let mut client = misled(|link| link.prepare_timeout(std::time::Duration::from_secs(10)));
        let mut attempt = client.poll_prepare(NOW).unwrap();
        if has_own {
            attempt.set_tls_config(trusting(&Certificates::shared().authority.pem));
        }
        client.handle_prepared(NOW, Ok(attempt));
        assert_eq!(is_accepted(&mut client), has_own);
    }
}

/// Certificates are replaced while an event loop runs; a client that has stopped over them is
/// revived.
#[test]
fn later_attempts_may_have_another_configuration() {
    let mut client = misled(|link| link);
    assert!(!is_accepted(&mut client));
    assert!(client.stopped().is_some());
    client.set_tls(trusting(&Certificates::shared().authority.pem));
    client.retry_now();
    assert!(is_accepted(&mut client));
}

//! What a server hears when it has had the last word of MQTT: TLS's close_notify and WebSocket's
//! close frame, not only the end of the socket, which anybody on the way could fake.

use crate::scripted::{soon, stopped};
use bytes::BytesMut;
use martlet_client::Reconnect;
use martlet_client::{Client, ClientEvent, ConnectionError, Trust, Version, proto::Packet};
use martlet_proto::{ConnAck, ConnectReasonCode, Disconnect, DisconnectReasonCode};
use martlet_tests::certificates::{Certificates, Directory};
use martlet_tests::server::{BoxedStream, Seen, Setup, TestServer};
use martlet_tokio::{Tokio, runtime::TokioStreams};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

/// A stream in memory whose other end still takes bytes when this one has gone, as a socket's does.
fn patient_duplex() -> (DuplexStream, DuplexStream) {
    let (near, near_end) = tokio::io::duplex(64 * 1024);
    let (far, far_end) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let (mut from_near, mut to_near) = tokio::io::split(near_end);
        let (mut from_far, mut to_far) = tokio::io::split(far_end);
        let forth = async {
            let copied = tokio::io::copy(&mut from_near, &mut to_far).await;
            copied.and(to_far.shutdown().await)
        };
        let back = async {
            let _ = tokio::io::copy(&mut from_far, &mut to_near).await;
            tokio::io::copy(&mut from_far, &mut tokio::io::sink()).await
        };
        tokio::join!(forth, back)
    });
    (near, far)
}

async fn connect(setup: &Setup) -> (Client, JoinHandle<ConnectionError>, BoxedStream) {
    let (near, far) = patient_duplex();
    let near = Mutex::new(Some(near));
    let streams = TokioStreams::new(move |_| {
        let stream = near
            .lock()
            .unwrap()
            .take()
            .ok_or(std::io::ErrorKind::ConnectionRefused.into());
        std::future::ready(stream)
    });
    let trust = Trust::new().ca_pem(Certificates::shared().authority.pem.as_str());
    let builder = Client::builder(format!("{}://localhost", setup.scheme())).trust(trust);
    let (client, driver) = builder
        .reconnect(Reconnect::default().enabled(false))
        .build(streams)
        .unwrap();
    let driver = tokio::spawn(driver);
    let mut stream = setup
        .accept(far, &mut Seen::default())
        .await
        .unwrap()
        .unwrap();
    let mut input = BytesMut::new();
    while Packet::decode(&mut input, Version::V5, 1000)
        .unwrap()
        .is_none()
    {
        assert!(stream.read_buf(&mut input).await.unwrap() > 0);
    }
    (client, driver, stream)
}

async fn say(stream: &mut BoxedStream, packet: impl Into<Packet>) {
    let mut bytes = BytesMut::new();
    packet.into().encode(Version::V5, &mut bytes).unwrap();
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
}

fn setups() -> [Setup; 3] {
    [
        Setup::tls(),
        Setup::tcp().websocket(),
        Setup::tls().websocket(),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_rejected_connection_ends_in_good_order() {
    for setup in setups() {
        let (client, _, mut stream) = connect(&setup).await;
        say(&mut stream, ConnAck::new(ConnectReasonCode::NotAuthorized)).await;
        // An error here is an end without a goodbye.
        assert_eq!(
            soon(stream.read(&mut [0; 8])).await.unwrap(),
            0,
            "{}",
            setup.scheme()
        );
        assert!(matches!(
            stopped(&client).await,
            ConnectionError::Rejected(_)
        ));
        drop(client);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_the_server_ends_does_so_in_good_order() {
    for setup in setups() {
        let (client, _, mut stream) = connect(&setup).await;
        say(&mut stream, ConnAck::new(ConnectReasonCode::Success)).await;
        soon(client.connected()).await.unwrap();
        say(
            &mut stream,
            Disconnect::new(DisconnectReasonCode::ServerShuttingDown),
        )
        .await;
        assert_eq!(
            soon(stream.read(&mut [0; 8])).await.unwrap(),
            0,
            "{}",
            setup.scheme()
        );
        assert!(matches!(
            stopped(&client).await,
            ConnectionError::DisconnectedByPeer(_)
        ));
    }
}

/// With cert-manager, step-ca or SPIFFE certificates change while the process lives: what it had
/// read at the start was all that it ever trusted.
#[tokio::test]
async fn files_of_trust_are_read_again_for_an_attempt() {
    let (certificates, folder) = (Certificates::shared(), Directory::new());
    let file = folder.write("ca.pem", &certificates.other_authority.pem);
    let server = TestServer::start(Setup::tls()).await;
    let trust = Trust::new().ca_file(&file);
    let (client, driver) = Client::builder(server.uri_by_name())
        .trust(trust)
        .build(Tokio)
        .unwrap();
    tokio::spawn(driver);
    soon(client.connected()).await.unwrap_err();
    let mut events = client.events();
    // Cut off in the middle: what was in use stays so, and that is reported.
    folder.write("ca.pem", &certificates.authority.pem[..60]);
    soon(client.reconnect()).await.unwrap_err();
    assert!(matches!(
        soon(events.next()).await,
        Some(ClientEvent::TrustNotReloaded(_))
    ));
    folder.write("ca.pem", &certificates.authority.pem);
    soon(client.reconnect()).await.unwrap();
    while soon(events.next()).await.unwrap() != ClientEvent::TrustReloaded {}
    soon(client.disconnect()).await;
}

//! Lengths that lie, cuts, and bytes that come one at a time.

use super::web_socket::frames;
use super::{CONNACK, HALF_PUBLISH, assert_says, builder, ends, failure, instead, loss};
use crate::runtimes::adapter::{Adapter, until};
use crate::runtimes::transcript::observed;
use crate::server::{
    Fault, FaultEnd, HttpProxy, Level, Opcode, Proxy, Setup, SocksProxy, TestServer, frame,
    frame_that_claims,
};
use martlet_client::{ClientEvent, ConnectionError, QoS, Version, session::TransportErrorKind};

pub async fn lengths_that_lie<A: Adapter>() {
    // A frame that claims more than comes.
    let claims = frame_that_claims(1000, Opcode::Binary, HALF_PUBLISH);
    let server = frames(
        [frame(Opcode::Binary, CONNACK), claims].concat(),
        FaultEnd::Cut,
    )
    .await;
    let lost = loss::<A>(builder(&server.uri())).await;
    assert!(matches!(lost, ConnectionError::Transport(_)), "{lost:?}");
    // One that claims more than there is memory for, and one that claims too much for MQTT: what is
    // in it counts.
    for len in [1 << 60, 300_000_000] {
        let claims = frame_that_claims(len, Opcode::Binary, b"\x30\xff\xff\xff\x7f\x00\x01t");
        let server = frames(
            [frame(Opcode::Binary, CONNACK), claims].concat(),
            FaultEnd::Hang,
        )
        .await;
        let builder = builder(&server.uri()).maximum_packet_size(1_000_000);
        match loss::<A>(builder).await {
            ConnectionError::Transport(error) => panic!("{error}"),
            error => {
                let text = format!("{:#}", martlet_client::Error::from(error));
                assert!(text.contains("over the limit of 1000000"), "{text}");
            }
        }
    }
    // Packets: one that comes in part, one that is larger than allowed, and a length that is none.
    for setup in [Setup::tcp(), Setup::tls(), Setup::tcp().websocket()] {
        let says = |bytes: &[u8], end| {
            setup
                .clone()
                .fault(instead(Level::Packets, [CONNACK, bytes].concat(), end))
        };
        let server = TestServer::start(says(HALF_PUBLISH, FaultEnd::Close)).await;
        assert_eq!(
            loss::<A>(builder(&server.uri())).await,
            ConnectionError::ClosedByPeer
        );
        for bytes in [
            &b"\x30\xff\xff\xff\x7f\x00\x01t"[..],
            b"\x30\xff\xff\xff\xff\x01",
        ] {
            let server = TestServer::start(says(bytes, FaultEnd::Hang)).await;
            let builder = builder(&server.uri()).maximum_packet_size(1_000_000);
            let lost = loss::<A>(builder).await;
            assert!(
                !matches!(
                    lost,
                    ConnectionError::Transport(_) | ConnectionError::ClosedByPeer
                ),
                "{lost:?}"
            );
        }
    }
}

/// A retained message above the client's maximum in MQTT 3.1.1, where the server cannot know that.
/// Over TCP it was skipped; over WebSocket each connection ended with an error that named neither
/// the message nor its topic.
pub async fn a_message_above_the_maximum_is_skipped_over_websocket<A: Adapter>() {
    const LENGTH: usize = 20 << 20;
    let connack = frame(Opcode::Binary, b"\x20\x02\0\0");
    // The remaining length is that of the topic, the packet identifier and the payload.
    let head = b"\x32\x85\x80\x80\x0a\0\x01t\0\x07";
    let large = frame(Opcode::Binary, &[&head[..], &vec![0; LENGTH]].concat());
    let small = frame(Opcode::Binary, b"\x30\x05\0\x01asm");
    let server = frames([connack, large, small].concat(), FaultEnd::Hang).await;
    let (builder, mut transcript) = observed(builder(&server.uri()).version(Version::V3_1_1));
    let (client, driver) = builder.build(A::Runtime::default()).unwrap();
    let mut events = client.events();
    let mut all = client.unmatched().unwrap();
    let ended = A::spawn(driver);
    let mut skipped = None;
    until(&mut events, |event| match event {
        ClientEvent::MessageSkipped { topic, size, qos } => {
            skipped = Some((topic.to_string(), *size as usize, *qos));
            true
        }
        ClientEvent::Disconnected { reason: error, .. } => panic!("{error}"),
        _ => false,
    })
    .await;
    let expected = ("t".into(), head.len() + LENGTH, QoS::AtLeastOnce);
    assert_eq!(skipped, Some(expected));
    assert_eq!(all.next().await.unwrap().text(), Some("sm"));
    transcript.until("out PUBACK 7").await;
    drop((client, events, all));
    assert_eq!(ended.await, ConnectionError::ClosedHere);
}

pub async fn cuts_are_told_from_ends<A: Adapter>() {
    // In the middle of the TLS handshake.
    let server =
        TestServer::start(Setup::tls().fault(ends(Level::Socket, 100, FaultEnd::Cut))).await;
    let error = failure::<A>(builder(&server.uri())).await;
    assert_says(
        &error,
        TransportErrorKind::Tls,
        &["in the middle of the TLS handshake"],
    );
    // Before MQTT has its answer: in the middle of a record, of a frame, of the answer itself.
    for (setup, fault) in [
        (Setup::tls(), ends(Level::Records, 7, FaultEnd::Cut)),
        (
            Setup::tcp().websocket(),
            ends(Level::Frames, 3, FaultEnd::Cut),
        ),
        (
            Setup::tls().websocket(),
            ends(Level::Packets, 2, FaultEnd::Cut),
        ),
    ] {
        let server = TestServer::start(setup.fault(fault)).await;
        let error = failure::<A>(builder(&server.uri())).await;
        assert_says(&error, TransportErrorKind::Io, &["ended without"]);
    }
    // After its answer, between two packets: with a word it is an end like that of TCP, without it
    // is a cut.
    for setup in [
        Setup::tls(),
        Setup::tcp().websocket(),
        Setup::tls().websocket(),
    ] {
        for end in [FaultEnd::Close, FaultEnd::Cut] {
            let setup = setup.clone().fault(instead(Level::Packets, CONNACK, end));
            let server = TestServer::start(setup).await;
            let lost = loss::<A>(builder(&server.uri())).await;
            match end {
                FaultEnd::Close => assert_eq!(lost, ConnectionError::ClosedByPeer),
                _ => assert!(
                    matches!(&lost, ConnectionError::Transport(error) if error.to_string().contains("ended without")),
                    "{lost:?}"
                ),
            }
        }
    }
}

pub async fn drips_are_as_good_as_floods<A: Adapter>() {
    for level in [
        Level::Socket,
        Level::Records,
        Level::Stream,
        Level::Frames,
        Level::Packets,
    ] {
        let server = TestServer::start(Setup::tls().websocket().fault(Fault::Drips(level))).await;
        let http = Proxy::http(HttpProxy {
            drips: true,
            ..HttpProxy::default()
        })
        .await;
        let socks = Proxy::socks(SocksProxy {
            drips: true,
            ..SocksProxy::default()
        })
        .await;
        for proxy in [
            format!("http://{}", http.address()),
            format!("socks5://{}", socks.address()),
        ] {
            let client = A::connect_with(builder(&server.uri()).proxy(&proxy))
                .await
                .unwrap();
            let mut messages = client.subscribe("a").qos(QoS::ExactlyOnce).await.unwrap();
            client
                .publish("a", "drip")
                .qos(QoS::ExactlyOnce)
                .await
                .unwrap();
            assert_eq!(messages.next().await.unwrap().text(), Some("drip"));
            client.disconnect().await;
        }
    }
}

//! Signs of life, in simulated time.

use crate::scripted::{builder, client, connected, soon};
use martlet_client::{ConnectionError, Version, proto::Packet, session::TransportErrorKind};
use std::time::Duration;
use tokio::time::{Instant, timeout};

#[tokio::test(start_paused = true)]
async fn a_pingreq_leaves_before_the_keep_alive_ends() {
    let (_client, mut server, _network) = connected(builder().keep_alive(20)).await;
    for _ in 0..5 {
        let start = Instant::now();
        assert_eq!(server.packet().await, Packet::PingReq);
        let waited = start.elapsed();
        assert!(
            waited >= Duration::from_secs(14) && waited < Duration::from_secs(20),
            "{waited:?}"
        );
        server.send(Packet::PingResp).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_arrives_does_not_postpone_it() {
    let (client, mut server, _network) = connected(builder().keep_alive(20)).await;
    let start = Instant::now();
    let mut stream = client.unmatched().expect("it is not taken");
    let ping = async {
        loop {
            match timeout(Duration::from_secs(1), server.packet()).await {
                Ok(packet) => break packet,
                Err(_) => {
                    server
                        .message("a", "b", martlet_proto::Delivery::AtMostOnce, &[])
                        .await;
                    assert!(stream.next().await.is_some());
                }
            }
        }
    };
    assert_eq!(soon(ping).await, Packet::PingReq);
    assert!(start.elapsed() < Duration::from_secs(20));
}

/// The server is gone without a word: known within the keep alive and the time for a PINGRESP, and
/// dialled anew.
#[tokio::test(start_paused = true)]
async fn a_server_that_falls_silent_is_noticed() {
    let (client, mut server, mut network) = connected(builder().keep_alive(20)).await;
    let mut events = client.events();
    let start = Instant::now();
    assert_eq!(server.packet().await, Packet::PingReq);
    match events.next().await {
        Some(martlet_client::ClientEvent::Disconnected { reason: error, .. }) => {
            assert_eq!(error.to_string(), "no PINGRESP from the server in time");
        }
        other => panic!("{other:?}"),
    }
    // 15 s of silence, and 10 s for the answer; a dead server's end of the connection is not waited
    // for.
    assert_eq!(start.elapsed().as_secs(), 25);
    network.accept().await;
}

/// … also when it stops in the middle of a packet,
#[tokio::test(start_paused = true)]
async fn half_a_packet_is_not_a_sign_of_life_for_ever() {
    let (_client, mut server, mut network) = connected(builder().keep_alive(20)).await;
    server.send_bytes(&[0x30, 100, 0, 1, b'a']).await;
    let start = Instant::now();
    network.accept().await;
    assert!(
        start.elapsed() <= Duration::from_secs(32),
        "{:?}",
        start.elapsed()
    );
}

/// … and when it takes no bytes any more: a stalled write has a deadline of its own.
#[tokio::test(start_paused = true)]
async fn a_stalled_write_ends_the_connection() {
    let (client, _driver, mut network) = client(builder().keep_alive(600));
    let mut server = network.dial().await.open_with(1024);
    server.accept(false).await;
    soon(client.connected()).await.unwrap();
    let mut events = client.events();
    client.publish("a", vec![0; 100_000]).await.unwrap();
    let start = Instant::now();
    match events.next().await {
        Some(martlet_client::ClientEvent::Disconnected {
            reason: ConnectionError::Transport(error),
            ..
        }) => {
            assert_eq!(error.kind(), TransportErrorKind::WriteTimeout);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn without_keep_alive_nothing_is_sent() {
    for version in Version::ALL {
        let (_client, mut server, mut network) =
            connected(builder().keep_alive(0).version(version)).await;
        assert!(
            timeout(Duration::from_secs(36_000), server.packet())
                .await
                .is_err(),
            "{version}"
        );
        assert!(network.is_quiet());
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_or_not() {
    let (client, mut server, _network) = connected(builder()).await;
    let answer = async {
        assert_eq!(server.packet().await, Packet::PingReq);
        server.send(Packet::PingResp).await;
    };
    let (pong, ()) = tokio::join!(client.ping(), answer);
    pong.unwrap();
    let (pong, ping) = tokio::join!(client.ping(), server.packet());
    assert_eq!(ping, Packet::PingReq);
    assert_eq!(pong, Err(martlet_client::RequestError::Timeout));
    drop(server);
    crate::scripted::settle().await;
    assert_eq!(
        client.ping().await,
        Err(martlet_client::RequestError::NotConnected)
    );
}

/// The task that drives the client was held up, longer than the PINGRESP may take: it had come in
/// time.
#[tokio::test(start_paused = true)]
async fn an_answer_that_was_looked_at_late_was_not_late() {
    let (_client, mut server, mut network) = connected(builder().keep_alive(20)).await;
    assert_eq!(server.packet().await, Packet::PingReq);
    server.send(Packet::PingResp).await;
    // Nothing else runs meanwhile.
    tokio::time::advance(Duration::from_secs(14)).await;
    assert_eq!(server.packet().await, Packet::PingReq);
    assert!(network.is_quiet());
}

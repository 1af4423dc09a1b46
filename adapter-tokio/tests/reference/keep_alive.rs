//! 21, and what `keep_alive` and `ping_delay` are on the wire; in simulated time.

use super::peer::Conversation;
use super::{broker, settings};
use martlet_proto::PacketType;
use martlet_tokio::{Client, ConnectError, Settings, runtime::TokioStreams};
use std::io;
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::time::{Instant, timeout};

/// Long in simulated time.
const HOURS: Duration = Duration::from_secs(36_000);

/// A client that is about to connect, and the server's end of the only stream that it gets. It is
/// in memory, because time that is simulated does not wait for sockets.
fn connecting(settings: &Settings) -> (Client, DuplexStream) {
    let (near, far) = tokio::io::duplex(4096);
    let near = Mutex::new(Some(near));
    let streams = TokioStreams::new(move |_| {
        let near = near.lock().unwrap().take();
        async { near.ok_or(io::ErrorKind::ConnectionRefused.into()) }
    });
    let (client, driver) = settings.builder().unwrap().build(streams).unwrap();
    tokio::spawn(driver);
    (client, far)
}

fn with(keep_alive: u16, ping_delay: Option<u16>) -> Settings {
    let mut settings = settings("mqtt://broker.example");
    settings.keep_alive = keep_alive;
    settings.ping_delay = ping_delay;
    settings.auto_reconnect = false;
    settings
}

/// The broker closes a connection on which nothing comes for one and a half times the keep alive.
#[tokio::test(start_paused = true)]
async fn t21_an_idle_connection_stays() {
    let broker = broker().await;
    let (client, stream) = connecting(&with(5, Some(1)));
    broker.serve(stream);
    client.connected().await.unwrap();
    let mut events = client.events();
    assert!(
        timeout(Duration::from_secs(15), events.next())
            .await
            .is_err(),
        "nothing happens"
    );
    assert!(client.connection().is_some());
    client.ping().await.unwrap();
}

/// The keep alive is announced as it is; a PINGREQ goes so much before its end, again and again.
#[tokio::test(start_paused = true)]
async fn a_pingreq_goes_ping_delay_before_the_end() {
    // In milliseconds. 0 is a margin of our own, a quarter; without a word it is one second, or a
    // quarter if that is less.
    let table = [
        (10, Some(1), 9000),
        (10, Some(4), 6000),
        (10, Some(9), 1000),
        (5, Some(1), 4000),
        (10, Some(0), 7500),
        (10, None, 9000),
        (2, None, 1500),
        // amqtt takes as many as the keep alive, and announces none; here it is a quarter too.
        (1, Some(1), 750),
        (10, Some(10), 7500),
        (65_535, Some(1), 65_534_000),
    ];
    for (keep_alive, ping_delay, due) in table {
        let (client, stream) = connecting(&with(keep_alive, ping_delay));
        let mut server = Conversation::over(stream);
        assert_eq!(server.accept(false).await.keep_alive, keep_alive);
        client.connected().await.unwrap();
        for _ in 0..3 {
            let start = Instant::now();
            assert_eq!(server.receive().await.packet_type(), PacketType::PingReq);
            let waited = start.elapsed();
            // The timer of the runtime has steps of one millisecond.
            let expected = Duration::from_millis(due)..=Duration::from_millis(due + 1);
            assert!(
                expected.contains(&waited),
                "{keep_alive} {ping_delay:?}: {waited:?}"
            );
            server.send_bytes(&[0xd0, 0]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_keep_alive_there_are_no_pings() {
    for ping_delay in [None, Some(0), Some(1), Some(9)] {
        let (client, stream) = connecting(&with(0, ping_delay));
        let mut server = Conversation::over(stream);
        assert_eq!(server.accept(false).await.keep_alive, 0);
        client.connected().await.unwrap();
        assert!(
            timeout(HOURS, server.receive()).await.is_err(),
            "{ping_delay:?}"
        );
        assert!(client.connection().is_some());
    }
}

#[test]
fn a_delay_longer_than_the_keep_alive_is_rejected() {
    for (keep_alive, ping_delay) in [(5, 6), (1, 2)] {
        let error = with(keep_alive, Some(ping_delay)).builder().unwrap_err();
        assert!(matches!(error, ConnectError::Settings(_)), "{error:?}");
        assert!(
            error
                .to_string()
                .ends_with("ping_delay: must not be more than keep_alive"),
            "{error}"
        );
    }
}

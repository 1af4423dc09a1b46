//! A server that says nothing.

use crate::{CONNACK, CONNECT, Frames, exchange, nobody, tls, upgrade};
use martlet_tests::server::{Fault, FaultEnd, Level, Seen, Setup};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;

/// In simulated time: an hour passes, and nothing has come.
#[tokio::test(start_paused = true)]
async fn silence() {
    const HOUR: Duration = Duration::from_secs(3600);
    let start = |setup: Setup| {
        let (here, there) = duplex(64 * 1024);
        tokio::spawn(async move {
            let accepted = setup.accept(there, &mut Seen::default()).await;
            if let Ok(Some(mut stream)) = accepted {
                stream.write_all(CONNACK).await.unwrap();
                stream.flush().await.unwrap();
                std::future::pending::<()>().await;
            }
        });
        here
    };
    let silent = |setup: Setup, at| start(setup.fault(Fault::silent(at)));

    timeout(HOUR, silent(Setup::tcp(), Level::Socket).read_u8())
        .await
        .unwrap_err();
    let client = tls(silent(Setup::tls(), Level::Socket), nobody(), "localhost");
    timeout(HOUR, client).await.unwrap_err();
    let mut client = tls(silent(Setup::tls(), Level::Records), nobody(), "localhost")
        .await
        .unwrap();
    timeout(HOUR, client.read_u8()).await.unwrap_err();
    let mut client = tls(silent(Setup::tls(), Level::Packets), nobody(), "localhost")
        .await
        .unwrap();
    timeout(HOUR, client.read_u8()).await.unwrap_err();
    let client = upgrade(silent(Setup::tcp().websocket(), Level::Stream));
    timeout(HOUR, client).await.unwrap_err();
    let mut client = upgrade(silent(Setup::tcp().websocket(), Level::Frames))
        .await
        .unwrap();
    timeout(HOUR, client.hear()).await.unwrap_err();
    // After a part of the answer.
    let part = Fault::Ends {
        at: Level::Stream,
        after: 20,
        end: FaultEnd::Hang,
    };
    let mut client = start(Setup::tcp().fault(Fault::Ends {
        at: Level::Packets,
        after: 3,
        end: FaultEnd::Hang,
    }));
    exchange(&mut client, CONNECT, &CONNACK[..3]).await;
    timeout(HOUR, client.read_u8()).await.unwrap_err();
    timeout(HOUR, upgrade(start(Setup::tcp().websocket().fault(part))))
        .await
        .unwrap_err();
    // Without the fault it is not silent.
    let mut client = tls(start(Setup::tls()), nobody(), "localhost")
        .await
        .unwrap();
    exchange(&mut client, CONNECT, CONNACK).await;
}

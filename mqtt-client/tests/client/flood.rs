//! Servers that send without end, and applications that do everything at once meanwhile: no task
//! waits forever, and nothing is lost.

use crate::reading::{limits, numbered, subscribe};
use crate::scripted::{Script, builder, soon, with_broker};
use bytes::BytesMut;
use martlet_broker::BrokerConfig;
use martlet_client::{
    Client, QoS, Subscription, TopicName,
    proto::{Packet, PubAckReasonCode},
    session::InboundLimits,
};
use martlet_proto::{Ack, MAX_PACKET_SIZE, PublishRef, Version};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

// ---- no task waits forever

/// A server of the simplest kind: it reads nothing before it has written what it has, and answers
/// in order.
async fn simple_server(mut server: Script, floods: Vec<BytesMut>) -> Script {
    let mut floods = floods.into_iter();
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    loop {
        output.extend(floods.next().unwrap_or_default());
        server.stream.write_all(&output).await.unwrap();
        output.clear();
        if server.stream.read_buf(&mut input).await.unwrap() == 0 {
            return server;
        }
        while let Some(packet) = Packet::decode(&mut input, Version::V5, MAX_PACKET_SIZE).unwrap() {
            let answer = match packet {
                Packet::PingReq => Packet::PingResp,
                Packet::Publish(publish) => match publish.delivery().packet_identifier() {
                    Some(id) => Packet::PubAck(Ack::new(id, PubAckReasonCode::Success)),
                    None => continue,
                },
                Packet::Disconnect(_) => return server,
                _ => continue,
            };
            answer.encode(Version::V5, &mut output).unwrap();
        }
    }
}

/// Awaits a publish for each message, with a pause after every tenth, until none comes any more.
async fn answer_each(client: Client, mut stream: Subscription, qos: QoS, pause: Duration) {
    let mut n = 0;
    while let Ok(Some(_)) = stream.next_timeout(Duration::from_secs(20)).await {
        n += 1;
        client
            .publish("answer", vec![0; 500])
            .qos(qos)
            .await
            .unwrap();
        if n % 10 == 0 {
            sleep(pause).await;
        }
    }
}

/// Reads up to message 999, and returns the numbers that came and how many messages were dropped.
async fn read_slowly(mut stream: Subscription, pause: Duration) -> (Vec<usize>, u64) {
    let mut seen = Vec::new();
    while seen.last() != Some(&999) {
        let message = stream.next().await.unwrap();
        seen.push(message.text().unwrap().parse().unwrap());
        sleep(pause).await;
    }
    (seen, stream.dropped())
}

async fn publish_and_ping(client: Client) {
    for _ in 0..30 {
        client
            .publish("other", "")
            .qos(QoS::AtLeastOnce)
            .await
            .unwrap();
        client.ping().await.unwrap();
        client.flush().await.unwrap();
    }
}

/// Readers that await what they publish, that are slow, that never come; a publisher and a task
/// that pings; small streams, a small socket and a server that reads nothing while it writes. In
/// each of these worlds everything that is awaited ends, on the one connection, and readers that
/// are alive and wait for nothing miss nothing.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever() {
    for seed in 0..60_usize {
        let choose = |n: usize, of: usize| (seed * 7919 + n * 104_729) / 13 % of;
        let (client, driver, mut network) = crate::scripted::client(
            builder()
                .inbound(InboundLimits::default().soft_messages([20, 100, 100_000][choose(0, 3)])),
        );
        tokio::spawn(driver);
        let mut server = network
            .dial()
            .await
            .open_with([256, 4096, 65_536][choose(1, 3)]);
        server.accept(false).await;
        soon(client.connected()).await.unwrap();
        let size = |n| [1, 2, 10, 50, 1000][choose(n, 5)];
        let echo = subscribe(&client, &mut server, "echo", size(2)).await;
        let slow = subscribe(&client, &mut server, "slow", size(3)).await;
        let unread = subscribe(&client, &mut server, "unread", size(4)).await;
        let floods = (0..20).map(|n| {
            let mut bytes = numbered("slow", n * 50..n * 50 + 50);
            bytes.extend(numbered("echo", 0..20));
            bytes.extend(numbered("unread", 0..50));
            bytes
        });
        let server = tokio::spawn(simple_server(server, floods.collect()));
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce][choose(5, 2)];
        let pause = Duration::from_millis(choose(6, 3) as u64 * 30);
        let echoing = tokio::spawn(answer_each(client.clone(), echo, qos, pause));
        let pause = Duration::from_millis([0, 1, 20][choose(7, 3)]);
        let slowly = tokio::spawn(read_slowly(slow, pause));
        let asking = tokio::spawn(publish_and_ping(client.clone()));
        let all = async {
            asking.await.unwrap();
            echoing.await.unwrap();
            slowly.await.unwrap()
        };
        let (seen, dropped) = timeout(Duration::from_secs(3600), all)
            .await
            .expect("a task waits forever");
        assert_eq!(
            seen.len() as u64 + dropped,
            1000,
            "{seed}: what is not seen is counted"
        );
        assert!(seen.is_sorted());
        assert!(network.is_quiet(), "{seed}: one connection");
        drop(unread);
        soon(client.disconnect().at_once()).await;
        soon(server).await.unwrap();
    }
}

/// The same on two threads, over TCP and against a broker that floods: no task waits forever, and a
/// reader that only reads misses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_ever_on_two_threads() {
    const MESSAGES: usize = 20_000;
    let (server, client) = with_broker(BrokerConfig::default(), |builder| builder).await;
    let mut read = soon(client.subscribe("flood").limits(limits(64)))
        .await
        .unwrap();
    let mut echo = soon(
        client
            .subscribe("flood")
            .limits(limits(16))
            .drop_when_full(),
    )
    .await
    .unwrap();
    let _unread = soon(
        client
            .subscribe("flood")
            .limits(limits(64))
            .drop_when_full(),
    )
    .await
    .unwrap();
    let reading = tokio::spawn(async move {
        for n in 0..MESSAGES {
            assert_eq!(
                read.next().await.unwrap().text(),
                Some(n.to_string().as_str())
            );
        }
        read.dropped()
    });
    let echoing = tokio::spawn({
        let client = client.clone();
        async move {
            for _ in 0..20 {
                echo.next().await.unwrap();
                client
                    .publish("answer", "")
                    .qos(QoS::AtLeastOnce)
                    .await
                    .unwrap();
                client.ping().await.unwrap();
            }
        }
    });
    let topic = TopicName::from_static("flood").unwrap();
    for n in 0..MESSAGES {
        while server.statistics().pending > 100 {
            tokio::task::yield_now().await;
        }
        let text = n.to_string();
        server.publish(PublishRef::new(&topic, text.as_bytes()));
    }
    assert_eq!(soon(reading).await.unwrap(), 0);
    soon(echoing).await.unwrap();
}

// ---- a blast over TCP

/// How a reader reads.
#[derive(Debug, Clone, Copy)]
enum Pace {
    Fast,
    /// It is busy for 20 µs with each message.
    Busy,
    /// It begins a second late.
    Late,
    /// Never.
    Never,
}

/// Writes numbered messages of QoS 0 as fast as it can, then answers all that is asked.
fn blast_server(listener: &std::net::TcpListener, messages: usize, done: &AtomicUsize) {
    let (mut socket, _) = listener.accept().unwrap();
    let mut packet = [0; 1024];
    let _ = socket.read(&mut packet).unwrap();
    socket.write_all(b"\x20\x02\x00\x00").unwrap();
    let mut granted = Vec::new();
    while granted.len() < 2 {
        let n = socket.read(&mut packet).unwrap();
        let mut rest = &packet[..n];
        while let [0x82, len, high, low, ..] = rest {
            granted.push([*high, *low]);
            socket.write_all(&[0x90, 3, *high, *low, 0]).unwrap();
            rest = &rest[2 + usize::from(*len)..];
        }
    }
    let mut block = Vec::new();
    for n in 0..messages {
        block.extend_from_slice(&[0x30, 13, 0, 5, b'b', b'l', b'a', b's', b't']);
        block.extend_from_slice(&(n as u64).to_be_bytes()[2..]);
        if block.len() > 64 * 1024 || n + 1 == messages {
            if socket.write_all(&block).is_err() {
                return;
            }
            block.clear();
            done.store(n + 1, Ordering::Relaxed);
        }
    }
    socket
        .write_all(&[0x30, 8, 0, 5, b'o', b't', b'h', b'e', b'r', b'!'])
        .unwrap();
    let mut have = Vec::new();
    while let Ok(n @ 1..) = socket.read(&mut packet) {
        have.extend_from_slice(&packet[..n]);
        while have.len() >= 2 && have.len() >= 2 + usize::from(have[1]) {
            let rest = have.split_off(2 + usize::from(have[1]));
            let answer = match have[0] {
                0xc0 => socket.write_all(&[0xd0, 0]),
                0x32 => socket.write_all(&[0x40, 2, have[5], have[6]]),
                _ => Ok(()),
            };
            answer.unwrap();
            have = rest;
        }
    }
}

/// Returns how many came and how many were dropped.
async fn blast(messages: usize, pace: Pace) -> (usize, u64) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("mqtt://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let done = Arc::new(AtomicUsize::new(0));
    let server = std::thread::spawn({
        let done = done.clone();
        move || blast_server(&listener, messages, &done)
    });
    let builder = Client::builder(&uri).version(Version::V3_1_1);
    let client = martlet_tokio::connect_with(builder).await.unwrap();
    let mut other = client.subscribe("other").await.unwrap();
    let mut stream = client.subscribe("blast").await.unwrap();
    if let Pace::Late = pace {
        sleep(Duration::from_secs(1)).await;
    }
    let mut came = 0;
    if let Pace::Never = pace {
        // Everything else goes on, and in the end the stream holds no more than it may.
        client
            .publish("a", "b")
            .qos(QoS::AtLeastOnce)
            .await
            .unwrap();
        client.ping().await.unwrap();
        other.next().await.unwrap();
        assert_eq!(done.load(Ordering::Relaxed), messages);
        came += std::iter::from_fn(|| stream.try_next()).count();
        assert!(came <= 8192, "{came}");
        return (came, stream.dropped());
    }
    while came < messages {
        let message = stream.next().await.unwrap();
        let mut number = [0; 8];
        number[2..].copy_from_slice(message.payload());
        assert_eq!(
            u64::from_be_bytes(number) as usize,
            came + stream.dropped() as usize,
            "{pace:?}"
        );
        came += 1;
        if let Pace::Busy = pace {
            let until = std::time::Instant::now() + Duration::from_micros(20);
            while std::time::Instant::now() < until {}
        }
    }
    let dropped = stream.dropped();
    client.disconnect().await;
    server.join().unwrap();
    (came, dropped)
}

/// tokio's current-thread runtime: 8 of 11 runs of 2,000,000 lost thousands; a second thread: 80 to
/// 95 % were lost.
#[tokio::test]
async fn a_blast_on_one_thread() {
    assert_eq!(blast(100_000, Pace::Fast).await, (100_000, 0));
    assert_eq!(blast(20_000, Pace::Busy).await, (20_000, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blast_on_two_threads() {
    let on_task = |messages, pace| tokio::spawn(blast(messages, pace));
    assert_eq!(on_task(100_000, Pace::Fast).await.unwrap(), (100_000, 0));
    assert_eq!(on_task(20_000, Pace::Busy).await.unwrap(), (20_000, 0));
}

/// The whole of it, as it was measured: 2,000,000 messages and real time.
#[test]
#[ignore = "takes minutes; run it with --ignored --nocapture"]
#[expect(clippy::print_stdout, reason = "it reports what it measures")]
fn a_blast_of_two_million() {
    const MESSAGES: usize = 2_000_000;
    for threads in [1, 2] {
        for pace in [Pace::Fast, Pace::Busy, Pace::Late, Pace::Never] {
            let runtime = match threads {
                1 => tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap(),
                _ => tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .unwrap(),
            };
            let start = std::time::Instant::now();
            let (came, dropped) =
                runtime.block_on(async { tokio::spawn(blast(MESSAGES, pace)).await.unwrap() });
            println!(
                "{threads} threads, {pace:?}: {came} came, {dropped} dropped, {:?}",
                start.elapsed()
            );
            match pace {
                Pace::Never => assert_eq!(came as u64 + dropped, MESSAGES as u64),
                _ => assert_eq!((came, dropped), (MESSAGES, 0)),
            }
        }
    }
}

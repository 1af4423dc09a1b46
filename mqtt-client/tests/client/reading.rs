//! TCP is the queue: the socket is left unread while a stream with a reader that is alive fills.
//! Nothing of it is dropped, and no task waits forever.

use crate::scripted::{Counted, Script, builder, connected, encode, network, settle, soon};
use bytes::BytesMut;
use martlet_client::{
    Client, ClientEvent, QoS, StreamLimits, Subscription, proto::Packet, session::InboundLimits,
};
use martlet_proto::{Delivery, Version};
use std::future::IntoFuture;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

pub(crate) fn limits(messages: usize) -> StreamLimits {
    StreamLimits::default().messages(messages)
}

pub(crate) async fn subscribe(
    client: &Client,
    server: &mut Script,
    filter: &str,
    messages: usize,
) -> Subscription {
    let subscribe = client.subscribe(filter).limits(limits(messages));
    let (stream, _) = tokio::join!(soon(subscribe), server.grant());
    stream.unwrap()
}

/// Numbered messages of QoS 0, one after the other.
pub(crate) fn numbered(topic: &str, numbers: std::ops::Range<usize>) -> BytesMut {
    let mut bytes = BytesMut::new();
    for n in numbers {
        encode(
            &mut bytes,
            Version::V5,
            topic,
            n.to_string().as_bytes(),
            Delivery::AtMostOnce,
            &[],
        );
    }
    bytes
}

/// Takes the messages with these numbers, and no others.
pub(crate) async fn take(stream: &mut Subscription, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let message = timeout(Duration::from_secs(600), stream.next())
            .await
            .expect("it hangs")
            .unwrap();
        assert_eq!(message.text(), Some(n.to_string().as_str()));
    }
}

// ---- a reader that is alive misses nothing

/// `subscribe("homeassistant/#")` brings 30,000 retained messages, of state that never comes again.
/// They come before the SUBACK and after it; between the SUBACK and the first poll the stream
/// counted as nobody's, and kept 8,192.
#[tokio::test(start_paused = true)]
async fn retained_messages_are_not_dropped_before_the_first_poll() {
    const MESSAGES: usize = 30_000;
    for before in [0, MESSAGES / 2, MESSAGES] {
        let (client, mut server, _network) = connected(builder()).await;
        let mut subscribing = pin!(client.subscribe("home/#").into_future());
        let subscribe = async {
            let asked = server.subscribe().await;
            let sent = server
                .stream
                .write_all(&numbered("home/a", 0..before))
                .await;
            sent.unwrap();
            let granted = vec![martlet_client::proto::SubAckReasonCode::GrantedQos0];
            server.suback(asked.packet_identifier, granted).await;
            server
        };
        let (stream, mut server) = tokio::join!(soon(&mut subscribing), subscribe);
        let mut stream = stream.unwrap();
        let sender = tokio::spawn(async move {
            server
                .stream
                .write_all(&numbered("home/a", before..MESSAGES))
                .await
                .unwrap();
            server
        });
        sleep(Duration::from_secs(4)).await;
        take(&mut stream, 0..MESSAGES).await;
        assert_eq!(stream.dropped(), 0);
        drop(sender.await.unwrap());
    }
}

/// However small its stream is, and whatever waits in the socket.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_a_small_stream_misses_nothing() {
    for messages in [1, 2, 3, 10, 100] {
        let (client, mut server, _network) = connected(builder()).await;
        let mut stream = subscribe(&client, &mut server, "a", messages).await;
        let mut events = client.events();
        let sender = tokio::spawn(async move {
            server
                .stream
                .write_all(&numbered("a", 0..20_000))
                .await
                .unwrap();
            server
        });
        for n in (0..20_000).step_by(1000) {
            take(&mut stream, n..n + 1000).await;
            sleep(Duration::from_secs(3)).await;
        }
        assert_eq!(stream.dropped(), 0, "{messages}");
        drop(sender.await.unwrap());
        soon(client.disconnect().at_once()).await;
        while let Some(event) = soon(events.next()).await {
            assert!(
                !matches!(event, ClientEvent::InboundDropped(_)),
                "{messages}: {event:?}"
            );
        }
    }
}

/// The keep alive's PINGRESP comes behind what is not read. It is nobody's to wait for: the
/// connection stays, and nothing is dropped for it.
#[tokio::test(start_paused = true)]
async fn a_reader_slower_than_the_keep_alive_misses_nothing() {
    let (client, mut server, mut network) = connected(builder().keep_alive(10)).await;
    let mut stream = subscribe(&client, &mut server, "a", 10).await;
    let (mut input, mut output) = tokio::io::split(server.stream);
    let (pings, mut pinged) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(2) = input.read_exact(&mut [0; 2]).await {
            let _ = pings.send(());
        }
    });
    let answers = Arc::new(AtomicUsize::new(0));
    tokio::spawn({
        let answers = answers.clone();
        async move {
            for n in 0..40_000 {
                output.write_all(&numbered("a", n..n + 1)).await.unwrap();
                while pinged.try_recv().is_ok() {
                    output.write_all(&[0xd0, 0]).await.unwrap();
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            }
            while pinged.recv().await.is_some() {
                output.write_all(&[0xd0, 0]).await.unwrap();
            }
        }
    });
    for n in 0..40_000 {
        take(&mut stream, n..n + 1).await;
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(stream.dropped(), 0);
    let answers = answers.load(Ordering::Relaxed);
    assert!(answers > 20, "{answers} came behind the messages");
    assert!(
        network.is_quiet() && client.connection().is_some(),
        "it is the same connection"
    );
}

/// Somebody else publishes all the time, so the server always owes an answer. A reader that goes on
/// all the same is waited for.
#[tokio::test(start_paused = true)]
async fn a_reader_beside_a_publisher_misses_nothing() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut stream = subscribe(&client, &mut server, "a", 1000).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = tokio::spawn({
        let (client, stop) = (client.clone(), stop.clone());
        async move {
            let mut published = 0;
            while !stop.load(Ordering::Relaxed) {
                client.publish("b", "").qos(QoS::AtLeastOnce).await.unwrap();
                published += 1;
                // Time passes only where everybody waits.
                sleep(Duration::from_millis(1)).await;
            }
            published
        }
    });
    // Answers come behind the flood.
    tokio::spawn(async move {
        let mut sent = 0;
        while let Some(packet) = server.try_packet().await {
            let Packet::Publish(publish) = packet else {
                continue;
            };
            if sent < 20_000 {
                server
                    .stream
                    .write_all(&numbered("a", sent..sent + 200))
                    .await
                    .unwrap();
                sent += 200;
            }
            server
                .puback(publish.delivery().packet_identifier().unwrap())
                .await;
        }
    });
    for n in 0..20_000 {
        take(&mut stream, n..n + 1).await;
        if n % 10 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(stream.dropped(), 0);
    stop.store(true, Ordering::Relaxed);
    assert!(soon(publisher).await.unwrap() >= 100);
}

// ---- a reader that is gone holds up nobody

/// Streams that nobody reads held as much as all streams may together: the socket was not read any
/// more, and a reader that did nothing but read got nothing.
#[tokio::test(start_paused = true)]
async fn streams_that_nobody_reads_make_room_for_the_others() {
    let small = builder().inbound(InboundLimits::default().soft_messages(100));
    let (client, mut server, _network) = connected(small).await;
    let mut unread = Vec::new();
    for n in 0..4 {
        unread.push(subscribe(&client, &mut server, &format!("unread/{n}"), 60).await);
    }
    let mut read = subscribe(&client, &mut server, "read", 60).await;
    let sender = tokio::spawn(async move {
        for n in 0..2000 {
            let topic = format!("unread/{}", n % 4);
            server
                .message(&topic, "flood", Delivery::AtMostOnce, &[])
                .await;
            server
                .stream
                .write_all(&numbered("read", n..n + 1))
                .await
                .unwrap();
        }
        server
    });
    take(&mut read, 0..2000).await;
    assert_eq!(read.dropped(), 0);
    let mut server = soon(sender).await.unwrap();
    for stream in &mut unread {
        assert!(stream.dropped() >= 400, "{}", stream.dropped());
        assert!(std::iter::from_fn(|| stream.try_next()).count() <= 60);
    }
    // A reader that comes back is waited for again.
    let mut back = unread.remove(0);
    let sender = tokio::spawn(async move {
        server
            .stream
            .write_all(&numbered("unread/0", 0..5000))
            .await
            .unwrap();
        server
    });
    take(&mut back, 0..5000).await;
    drop(sender.await.unwrap());
}

/// Beside a stream that nobody reads: publishes and pings are answered at once, other streams wait
/// once, for as long as its reader might still come.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_never_read_is_waited_for_once() {
    let (client, mut server, _network) = connected(builder()).await;
    let unread = subscribe(&client, &mut server, "unread", 100).await;
    let mut other = subscribe(&client, &mut server, "other", 100).await;
    let start = Instant::now();
    let sender = tokio::spawn(async move {
        server
            .stream
            .write_all(&numbered("unread", 0..50_000))
            .await
            .unwrap();
        server
            .stream
            .write_all(&numbered("other", 0..1))
            .await
            .unwrap();
        server
            .stream
            .write_all(&numbered("unread", 0..50_000))
            .await
            .unwrap();
        server
            .stream
            .write_all(&numbered("other", 1..2))
            .await
            .unwrap();
        server
    });
    take(&mut other, 0..1).await;
    let waited = start.elapsed();
    assert!(
        (Duration::from_secs(5)..Duration::from_secs(6)).contains(&waited),
        "{waited:?}"
    );
    take(&mut other, 1..2).await;
    assert_eq!(start.elapsed(), waited, "once");
    assert_eq!(unread.dropped(), 100_000 - 100);
    let mut server = sender.await.unwrap();
    server
        .stream
        .write_all(&numbered("unread", 0..1000))
        .await
        .unwrap();
    let (published, ()) = tokio::join!(
        soon(client.publish("a", "b").qos(QoS::AtLeastOnce)),
        async {
            let id = server.published_id().await;
            server.puback(id).await;
        }
    );
    published.unwrap();
    assert_eq!(start.elapsed(), waited);
}

/// A stream for which only the latest counts holds up nobody, whether it is read or not.
#[tokio::test(start_paused = true)]
async fn a_stream_that_drops_is_not_waited_for() {
    let (client, mut server, _network) = connected(builder()).await;
    let subscribe = client.subscribe("a").limits(limits(1)).drop_when_full();
    let (stream, _) = tokio::join!(soon(subscribe), server.grant());
    let mut latest = stream.unwrap();
    let start = Instant::now();
    server
        .stream
        .write_all(&numbered("a", 0..10_000))
        .await
        .unwrap();
    settle().await;
    assert_eq!(latest.try_next().unwrap().text(), Some("9999"));
    assert!(latest.try_next().is_none());
    assert_eq!((latest.dropped(), start.elapsed()), (9_999, Duration::ZERO));
}

/// The driver has nothing to do for messages of QoS 0 that are taken while the socket is read.
#[tokio::test(start_paused = true)]
async fn taking_messages_of_qos_0_does_not_call_the_driver() {
    let (runtime, mut network) = network();
    let (client, driver) = builder().build(runtime).unwrap();
    let polls = Arc::new(AtomicUsize::new(0));
    tokio::spawn(Counted::new(driver, polls.clone()));
    let mut server = network.accept().await;
    soon(client.connected()).await.unwrap();
    let mut stream = subscribe(&client, &mut server, "a", 100).await;
    server.send_bytes(&numbered("a", 0..10)).await;
    settle().await;
    let before = polls.load(Ordering::Relaxed);
    for _ in 0..10 {
        soon(stream.next()).await.unwrap();
    }
    settle().await;
    assert_eq!(polls.load(Ordering::Relaxed), before);
}

//! How often the socket is asked to do something, counted.

use crate::scripted::soon;
use bytes::BytesMut;
use martlet_client::{Client, QoS, Version, proto::Packet};
use martlet_proto::{Ack, ConnAck, ConnectReasonCode, Delivery, MAX_PACKET_SIZE, PubAckReasonCode};
use martlet_tokio::runtime::TokioStreams;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

const MESSAGES: usize = 10_000;

#[derive(Debug, Default)]
struct Counts {
    reads: AtomicUsize,
    writes: AtomicUsize,
}

/// A stream that counts what would be system calls; a read that finds nothing is one too.
struct Counting(DuplexStream, Arc<Counts>);

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.1.reads.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.1.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.1.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A client with a stream that counts, and a server that acknowledges what it read in one write.
async fn client() -> (Client, Arc<Counts>, tokio::task::JoinHandle<usize>) {
    let (near, far) = tokio::io::duplex(1024 * 1024);
    let counts = Arc::new(Counts::default());
    let near = std::sync::Mutex::new(Some(Counting(near, counts.clone())));
    let streams = TokioStreams::new(move |_| {
        let stream = near
            .lock()
            .unwrap()
            .take()
            .ok_or(io::ErrorKind::ConnectionRefused.into());
        std::future::ready(stream)
    });
    let (client, driver) = Client::builder("mqtt://test").build(streams).unwrap();
    tokio::spawn(driver);
    let server = tokio::spawn(sink(far));
    soon(client.connected()).await.unwrap();
    counts.reads.store(0, Ordering::Relaxed);
    counts.writes.store(0, Ordering::Relaxed);
    (client, counts, server)
}

async fn sink(mut stream: DuplexStream) -> usize {
    let (mut input, mut output, mut messages) = (BytesMut::new(), BytesMut::new(), 0);
    while stream.read_buf(&mut input).await.unwrap() > 0 {
        while let Some(packet) = Packet::decode(&mut input, Version::V5, MAX_PACKET_SIZE).unwrap() {
            let answer = match packet {
                Packet::Connect(_) => ConnAck::new(ConnectReasonCode::Success).into(),
                Packet::Publish(publish) => {
                    messages += 1;
                    let Delivery::AtLeastOnce {
                        packet_identifier, ..
                    } = publish.delivery()
                    else {
                        continue;
                    };
                    Packet::PubAck(Ack::new(packet_identifier, PubAckReasonCode::Success))
                }
                Packet::Disconnect(_) => return messages,
                _ => continue,
            };
            answer.encode(Version::V5, &mut output).unwrap();
        }
        stream.write_all_buf(&mut output).await.unwrap();
    }
    messages
}

#[tokio::test(start_paused = true)]
async fn one_write_takes_many_messages_of_qos_0() {
    let (client, counts, server) = client().await;
    for _ in 0..MESSAGES {
        soon(client.publish("sensors/1/temp", "21.5"))
            .await
            .unwrap();
    }
    soon(client.flush()).await.unwrap();
    let writes = counts.writes.load(Ordering::Relaxed);
    assert!(
        writes * 20 <= MESSAGES,
        "{writes} writes for {MESSAGES} messages"
    );
    soon(client.disconnect()).await;
    assert_eq!(soon(server).await.unwrap(), MESSAGES);
}

#[tokio::test(start_paused = true)]
async fn one_write_and_one_read_take_a_window_of_qos_1() {
    let (client, counts, server) = client().await;
    let mut receipts = Vec::new();
    for _ in 0..MESSAGES {
        let message = client
            .publish("sensors/1/temp", "21.5")
            .qos(QoS::AtLeastOnce);
        receipts.push(soon(message.enqueue()).await.unwrap());
    }
    for receipt in receipts {
        soon(receipt).await.unwrap();
    }
    let (reads, writes) = (
        counts.reads.load(Ordering::Relaxed),
        counts.writes.load(Ordering::Relaxed),
    );
    assert!(
        (reads + writes) * 20 <= MESSAGES,
        "{reads} reads and {writes} writes for {MESSAGES} messages"
    );
    drop(client);
    assert_eq!(soon(server).await.unwrap(), MESSAGES);
}

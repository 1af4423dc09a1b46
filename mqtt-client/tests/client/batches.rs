//! A stream takes several messages of QoS 0 out at a time: what counts is when the application
//! takes them.

use crate::reading::{numbered, subscribe, take};
use crate::scripted::{Script, builder, connected};
use bytes::BytesMut;
use martlet_client::{
    QoS,
    proto::{Packet, PubAckReasonCode},
};
use martlet_proto::{Ack, MAX_PACKET_SIZE, Version};
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

/// Sends numbered messages until the client is gone, and answers what it publishes.
async fn flood(server: Script, messages: usize) {
    let (mut input, mut output) = tokio::io::split(server.stream);
    let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut bytes = BytesMut::new();
        while let Ok(1..) = input.read_buf(&mut bytes).await {
            while let Some(packet) =
                Packet::decode(&mut bytes, Version::V5, MAX_PACKET_SIZE).unwrap()
            {
                if let Packet::Publish(publish) = packet {
                    let _ = ask.send(publish.delivery().packet_identifier().unwrap());
                }
            }
        }
    });
    for n in 0..messages {
        output.write_all(&numbered("a", n..n + 1)).await.unwrap();
        while let Ok(id) = asked.try_recv() {
            let (mut ack, answer) = (BytesMut::new(), Ack::new(id, PubAckReasonCode::Success));
            Packet::PubAck(answer)
                .encode(Version::V5, &mut ack)
                .unwrap();
            output.write_all(&ack).await.unwrap();
        }
    }
    while asked.recv().await.is_some() {}
}

/// A stream takes messages of QoS 0 out by the dozen. A reader that took longer for one such batch
/// than it is waited for counted as gone in the middle of it: 80 ms for each message were too much,
/// and 2 ms while another task published.
#[tokio::test(start_paused = true)]
async fn a_reader_in_the_middle_of_a_batch_is_alive() {
    for (pause, publishes) in [(200, false), (5, true)] {
        let builder = builder().keep_alive(0);
        let (client, mut server, _network) = connected(builder).await;
        let mut stream = subscribe(&client, &mut server, "a", 200).await;
        let mut sender = pin!(flood(server, 3000));
        let mut publisher = pin!(async {
            if !publishes {
                std::future::pending::<()>().await;
            }
            loop {
                client.publish("b", "").qos(QoS::AtLeastOnce).await.unwrap();
            }
        });
        let reader = async {
            for n in 0..2500 {
                take(&mut stream, n..n + 1).await;
                sleep(Duration::from_millis(pause)).await;
            }
            assert_eq!(stream.dropped(), 0, "{pause} ms");
        };
        tokio::select! {
            () = reader => {}
            () = &mut sender => {}
            never = &mut publisher => never,
        }
    }
}

//! Acknowledging all up to a position: in order, once, and across connections.

use crate::scripted::{
    Network, Script, builder, client, connected, is_pending, qos1, qos2, settle, soon,
};
use martlet_client::{
    Client, QoS, Subscription,
    client::{Position, PositionError, Positioned},
    proto::Packet,
    session::CleanStart,
};
use martlet_proto::{Delivery, PacketIdentifier};
use std::pin::pin;

async fn subscribe(client: &Client, server: &mut Script, filter: &str) -> Subscription<Positioned> {
    let (stream, _) = tokio::join!(
        soon(client.subscribe(filter).qos(QoS::ExactlyOnce)),
        server.grant()
    );
    stream.unwrap().acknowledge_by_position()
}

/// Takes what has come, by payload.
async fn take(stream: &mut Subscription<Positioned>, payloads: &[&str]) -> Vec<Positioned> {
    let mut taken = Vec::new();
    for payload in payloads {
        let message = soon(stream.next()).await.unwrap();
        assert_eq!(message.text(), Some(*payload));
        taken.push(message);
    }
    assert!(taken.is_sorted_by_key(Positioned::position));
    taken
}

/// The packet identifiers of the acknowledgements that the client sends next.
async fn acknowledged(server: &mut Script, count: usize) -> Vec<u16> {
    let mut ids = Vec::new();
    for _ in 0..count {
        match soon(server.packet()).await {
            Packet::PubAck(ack) | Packet::PubRec(ack) => ids.push(ack.packet_identifier.get()),
            other => panic!("expected an acknowledgement, got {other:?}"),
        }
    }
    ids
}

async fn is_silent(server: &mut Script) -> bool {
    settle().await;
    is_pending(&mut pin!(server.packet()))
}

fn again(id: u16) -> Delivery {
    Delivery::AtLeastOnce {
        packet_identifier: PacketIdentifier::new(id).unwrap(),
        duplicate: true,
    }
}

/// A connection whose session the server keeps.
async fn lasting() -> (Client, Script, Network) {
    let (client, _, mut network) = client(builder().clean_start(CleanStart::Never));
    let server = network.accept().await;
    (client, server, network)
}

#[tokio::test(start_paused = true)]
async fn all_up_to_a_position_are_acknowledged_at_once() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut stream = subscribe(&client, &mut server, "a").await;
    server.message("a", "0", Delivery::AtMostOnce, &[]).await;
    for id in 1..=3 {
        server.message("a", &id.to_string(), qos1(id), &[]).await;
    }
    server.message("a", "4", qos2(4), &[]).await;
    server.message("a", "5", qos1(5), &[]).await;
    let positions: Vec<Position> = take(&mut stream, &["0", "1", "2", "3", "4", "5"])
        .await
        .iter()
        .map(Positioned::position)
        .collect();
    let acknowledger = stream.acknowledger();
    assert!(is_silent(&mut server).await, "taken is not acknowledged");
    assert_eq!(acknowledger.held(), 5);
    // From any thread, more than once, and in any form.
    let third = Position::from(u128::from(positions[3]));
    let on_thread = acknowledger.clone();
    let count = std::thread::spawn(move || on_thread.acknowledge_up_to(third));
    assert_eq!(count.join().unwrap(), Ok(3));
    assert_eq!(acknowledged(&mut server, 3).await, [1, 2, 3]);
    for before in &positions[..=3] {
        assert_eq!(stream.acknowledge_up_to(*before), Ok(0));
    }
    assert!(is_silent(&mut server).await);
    assert_eq!(stream.acknowledge_up_to(positions[5]), Ok(2));
    let mut rest = acknowledged(&mut server, 2).await;
    rest.sort_unstable();
    assert_eq!(rest, [4, 5]);
    assert_eq!(acknowledger.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn positions_that_mean_nothing_here_are_rejected() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut stream = subscribe(&client, &mut server, "a").await;
    let mut other = subscribe(&client, &mut server, "b").await;
    server.message("a", "1", qos1(1), &[]).await;
    server.message("b", "2", qos1(2), &[]).await;
    let here = take(&mut stream, &["1"]).await[0].position();
    let there = take(&mut other, &["2"]).await[0].position();
    let later = Position::from(u128::from(here) + 1);
    assert_eq!(
        stream.acknowledge_up_to(there),
        Err(PositionError::OtherStream)
    );
    assert_eq!(
        stream.acknowledge_up_to(later),
        Err(PositionError::NotReached)
    );
    let acknowledger = stream.acknowledger();
    drop(stream);
    assert_eq!(
        acknowledger.acknowledge_up_to(here),
        Err(PositionError::StreamEnded)
    );
    assert_eq!(acknowledger.held(), 0);
    assert_eq!(other.acknowledge_up_to(there), Ok(1));
    server.ungrant().await;
    // The first was not acknowledged, so this waits behind it [MQTT-4.6.0-2].
    assert!(is_silent(&mut server).await);
}

#[tokio::test(start_paused = true)]
async fn what_comes_again_says_where_it_was() {
    let (client, mut server, mut network) = lasting().await;
    let mut stream = subscribe(&client, &mut server, "a").await;
    for id in 1..=3 {
        server.message("a", &id.to_string(), qos1(id), &[]).await;
    }
    server.message("a", "4", qos2(4), &[]).await;
    let first = take(&mut stream, &["1", "2", "3", "4"]).await;
    assert!(first.iter().all(|m| m.earlier_position().is_none()));
    assert_eq!(stream.acknowledge_up_to(first[0].position()), Ok(1));
    assert_eq!(acknowledged(&mut server, 1).await, [1]);
    // Twice, so that the first copy of the second connection is replaced without being taken.
    for _ in 0..2 {
        drop(server);
        server = network.resume().await;
        for id in [2, 3] {
            server.message("a", &id.to_string(), again(id), &[]).await;
        }
        settle().await;
    }
    server.message("a", "5", qos1(5), &[]).await;
    let second = take(&mut stream, &["2", "3", "5"]).await;
    let earlier: Vec<_> = second.iter().map(Positioned::earlier_position).collect();
    let before = [Some(first[1].position()), Some(first[2].position()), None];
    assert_eq!(earlier, before);
    assert_eq!(
        stream.acknowledger().held(),
        4,
        "2, 3, 5 and the one of QoS 2"
    );
    // The old place of the third is before the new one of the second.
    assert_eq!(stream.acknowledge_up_to(first[2].position()), Ok(0));
    assert!(is_silent(&mut server).await);
    assert_eq!(stream.acknowledge_up_to(second[2].position()), Ok(4));
    assert_eq!(acknowledged(&mut server, 3).await, [2, 3, 5]);
    // What is of QoS 2 keeps its place: it is acknowledged when it comes again, and not delivered.
    let four = Delivery::ExactlyOnce {
        packet_identifier: PacketIdentifier::new(4).unwrap(),
        duplicate: true,
    };
    server.message("a", "4", four, &[]).await;
    assert_eq!(acknowledged(&mut server, 1).await, [4]);
    assert!(is_pending(&mut pin!(stream.next())));
}

#[tokio::test(start_paused = true)]
async fn positions_of_a_session_that_is_lost_say_so() {
    let (client, mut server, mut network) = lasting().await;
    let mut stream = subscribe(&client, &mut server, "a").await;
    for id in 1..=3 {
        server.message("a", &id.to_string(), qos1(id), &[]).await;
    }
    let lost = take(&mut stream, &["1", "2", "3"]).await;
    assert_eq!(stream.acknowledge_up_to(lost[0].position()), Ok(1));
    assert_eq!(acknowledged(&mut server, 1).await, [1]);
    drop(server);
    let mut server = network.accept().await;
    server.grant().await;
    server.message("a", "4", qos1(2), &[]).await;
    let new = take(&mut stream, &["4"]).await[0].position();
    for lost in &lost[1..] {
        let void = stream.acknowledge_up_to(lost.position());
        assert_eq!(void, Err(PositionError::SessionLost));
    }
    assert_eq!(stream.acknowledge_up_to(lost[0].position()), Ok(0));
    assert_eq!(stream.acknowledger().held(), 1);
    assert_eq!(stream.acknowledge_up_to(new), Ok(1));
    assert_eq!(acknowledged(&mut server, 1).await, [2]);
    // It stays void, although what came later is acknowledged.
    let void = stream.acknowledge_up_to(lost[2].position());
    assert_eq!(void, Err(PositionError::SessionLost));
}

/// Two streams have the same message: it is acknowledged when both are done with it.
#[tokio::test(start_paused = true)]
async fn a_message_of_two_streams_waits_for_both() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut stream = subscribe(&client, &mut server, "a").await;
    let mut other = subscribe(&client, &mut server, "+").await;
    server.message("a", "1", qos1(1), &[]).await;
    server.message("a", "2", qos1(2), &[]).await;
    let here = take(&mut stream, &["1", "2"]).await;
    let there = take(&mut other, &["1", "2"]).await;
    // The number counts acknowledgements to the server.
    assert_eq!(stream.acknowledge_up_to(here[1].position()), Ok(0));
    assert!(is_silent(&mut server).await);
    assert_eq!(other.acknowledge_up_to(there[0].position()), Ok(1));
    assert_eq!(acknowledged(&mut server, 1).await, [1]);
    assert_eq!(other.acknowledge_up_to(there[1].position()), Ok(1));
    assert_eq!(acknowledged(&mut server, 1).await, [2]);
}

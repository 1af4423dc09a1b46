//! Messages that the application takes back, and those at which the server hangs up.

use crate::scripted::{builder, client, connected, enqueue, settle, soon};
use martlet_client::{
    ClientEvent, PublishError, QoS,
    client::{DeliveryStage, Undelivered, Withdrawn},
    session::{QueueLimits, WhenFull, WhenServerHangsUp, Withdrawal},
};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_receipt_takes_its_message_back() {
    let (client, _, mut network) = client(builder());
    let unsent = enqueue(&client, "a", "unsent").await;
    let qos0 = client.publish("a", "unsent").enqueue().await.unwrap();
    let sent = enqueue(&client, "a", "sent").await;
    assert_eq!(unsent.withdraw(), Withdrawn::Unsent);
    assert_eq!(qos0.withdraw(), Withdrawn::Unsent);
    assert_eq!(client.queued(), 1);
    let mut server = network.accept().await;
    assert_eq!(server.published().await.payload(), b"sent".as_slice());
    assert_eq!(sent.withdraw(), Withdrawn::InFlight);
    assert_eq!(client.in_flight(), 0);
    drop(server);
    // It is not sent again.
    let mut server = network.resume().await;
    let acknowledged = enqueue(&client, "a", "next").await;
    let published = server.published().await;
    assert_eq!(published.payload(), b"next".as_slice());
    server
        .puback(published.delivery().packet_identifier().unwrap())
        .await;
    settle().await;
    assert!(matches!(acknowledged.withdraw(), Withdrawn::Ended(Ok(_))));
}

/// An application gave up a message because its timeout had run out, and `withdraw` panicked. The
/// receipt had forgotten the message too, so nothing else could withdraw it, and it was sent on
/// every further connection.
#[tokio::test(start_paused = true)]
async fn a_receipt_takes_its_message_back_after_a_timeout() {
    let (client, mut server, mut network) = connected(builder()).await;
    let mut receipts = Vec::new();
    for payload in ["withdrawn", "awaited"] {
        let publish = client.publish("a", payload).qos(QoS::AtLeastOnce);
        let receipt = publish.timeout(Duration::from_secs(1)).enqueue().await;
        receipts.push(receipt.unwrap());
        server.published().await;
    }
    for receipt in &mut receipts {
        assert_eq!(soon(&mut *receipt).await, Err(PublishError::Timeout));
        let operation = receipt.operation();
        assert!(operation.is_some(), "the message still has its name");
    }
    let mut awaited = receipts.pop().unwrap();
    assert_eq!(receipts.pop().unwrap().withdraw(), Withdrawn::InFlight);
    drop(server);
    let mut server = network.resume().await;
    let published = server.published().await;
    assert_eq!(published.payload(), b"awaited".as_slice());
    server
        .puback(published.delivery().packet_identifier().unwrap())
        .await;
    soon(&mut awaited).await.unwrap();
}

/// `withdraw` panicked when the receipt had returned the server's answer.
#[tokio::test(start_paused = true)]
async fn a_receipt_that_has_returned_its_answer_takes_nothing_back() {
    let (client, server, _network) = connected(builder()).await;
    tokio::spawn(server.serve());
    let publish = client.publish("a", "b").qos(QoS::AtLeastOnce);
    let mut receipt = publish.enqueue().await.unwrap();
    soon(&mut receipt).await.unwrap();
    assert_eq!(receipt.operation(), None);
    assert_eq!(receipt.withdraw(), Withdrawn::TooLate);
}

/// A full queue had dropped a message to make room for the next, which was not dispatched yet. The
/// receipt made up an end for it, as for messages that the server had acknowledged.
#[tokio::test(start_paused = true)]
async fn a_receipt_returns_the_end_that_there_was() {
    let (client, _, _network) = client(
        builder().queue(
            QueueLimits::default()
                .messages(1)
                .when_full(WhenFull::DropOldest),
        ),
    );
    let publish = || client.publish("a", "b").qos(QoS::AtLeastOnce).enqueue();
    let first = publish().await.unwrap();
    let _second = publish().await.unwrap();
    assert_eq!(
        first.withdraw(),
        Withdrawn::Ended(Err(PublishError::Dropped))
    );
}

/// A publisher that waits for room gets that of a message that is withdrawn.
#[tokio::test(start_paused = true)]
async fn the_room_of_a_withdrawn_message_is_given_away() {
    let (client, _, _network) = client(builder().queue(QueueLimits::default().messages(1)));
    let receipt = enqueue(&client, "a", "1").await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move {
            client
                .publish("a", "2")
                .qos(QoS::AtLeastOnce)
                .enqueue()
                .await
                .map(drop)
        }
    });
    settle().await;
    assert_eq!(receipt.withdraw(), Withdrawn::Unsent);
    soon(waiting).await.unwrap().unwrap();
}

/// A QoS 1 publish to a forbidden topic was sent on each connection for ever, after its timeout
/// too, and those behind it were never acknowledged.
#[tokio::test(start_paused = true)]
async fn a_publish_at_which_the_server_hangs_up_ends() {
    for policy in [WhenServerHangsUp::Fail, WhenServerHangsUp::Ask] {
        let (client, mut server, mut network) = connected(
            builder()
                .hang_up_time(Duration::ZERO)
                .when_server_hangs_up(policy),
        )
        .await;
        let mut events = client.events();
        let bad = enqueue(&client, "a", "bad").await;
        let operation = bad.operation().unwrap();
        let good = enqueue(&client, "a", "good").await;
        let serving = tokio::spawn(async move {
            loop {
                while let Some(packet) = server.try_packet().await {
                    match packet {
                        martlet_client::proto::Packet::Publish(publish)
                            if publish.payload() == b"good".as_slice() =>
                        {
                            server
                                .puback(publish.delivery().packet_identifier().unwrap())
                                .await;
                        }
                        // It hangs up.
                        martlet_client::proto::Packet::Publish(_) => break,
                        _ => {}
                    }
                }
                drop(server);
                server = network.dial().await.open();
                server.accept(true).await;
            }
        });
        let given_up = loop {
            let event = soon(events.next()).await.unwrap();
            if let ClientEvent::ServerHangsUp {
                operation: which,
                connections: 3,
                given_up,
            } = event
            {
                assert_eq!(which, operation);
                break given_up;
            }
        };
        assert_eq!(given_up, policy == WhenServerHangsUp::Fail);
        let expected = if given_up {
            PublishError::ServerHungUp { connections: 3 }
        } else {
            assert_eq!(client.withdraw(operation), Withdrawal::InFlight);
            PublishError::Withdrawn
        };
        assert_eq!(soon(bad).await.unwrap_err(), expected);
        soon(good).await.unwrap();
        assert_eq!(client.withdraw(operation), Withdrawal::Ended);
        serving.abort();
    }
}

/// Messages without an acknowledgement can be read with their content, before and after disconnecting.
#[tokio::test(start_paused = true)]
async fn what_is_not_delivered_can_be_looked_at() {
    let (client, mut server, _network) = connected(builder().max_in_flight(1)).await;
    for payload in ["1", "2"] {
        let _receipt = enqueue(&client, "a", payload).await;
    }
    server.published().await;
    let look = |messages: &[Undelivered]| {
        let look = |it: &Undelivered| {
            let payload = it.message.as_ref().unwrap().payload.clone();
            (it.stage, String::from_utf8(payload.to_vec()).unwrap())
        };
        messages.iter().map(look).collect::<Vec<_>>()
    };
    let expected = [
        (DeliveryStage::InFlight, "1".to_owned()),
        (DeliveryStage::Queued, "2".to_owned()),
    ];
    assert_eq!(look(&client.undelivered()), expected);
    let left = client.disconnect().at_once().await;
    assert_eq!((left.in_flight, left.queued), (1, 1));
    assert_eq!(look(&left.messages), expected);
    assert_eq!(client.undelivered(), []);
}

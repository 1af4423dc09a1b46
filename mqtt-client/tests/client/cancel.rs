//! Futures that are dropped while they wait: what they leave behind. Those of publishing,
//! subscribing and disconnecting have their stories with their families.

use crate::scripted::{builder, client, connected, discarded, enqueue, is_pending, settle, soon};
use martlet_client::{QoS, TopicFilter, proto::Packet};
use martlet_proto::Delivery;
use std::pin::pin;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_ping_goes_its_way() {
    let (client, mut server, _network) = connected(builder()).await;
    drop(client.ping());
    assert!(is_pending(&mut pin!(client.ping())));
    assert_eq!(soon(server.packet()).await, Packet::PingReq);
    server.send(Packet::PingResp).await;
    settle().await;
    // The next one gets its own answer, not that of the first.
    let mut ping = Box::pin(client.ping());
    assert!(is_pending(&mut ping.as_mut()));
    settle().await;
    assert!(is_pending(&mut ping.as_mut()));
    assert_eq!(soon(server.packet()).await, Packet::PingReq);
    server.send(Packet::PingResp).await;
    soon(ping).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_unsubscribe_goes_its_way() {
    let (client, mut server, _network) = connected(builder()).await;
    let (stream, _) = tokio::join!(soon(client.subscribe("a")), server.grant());
    let stream = stream.unwrap();
    // Not polled, the stream is dropped with it.
    drop(stream.unsubscribe());
    assert_eq!(server.ungrant().await.filters[0].as_str(), "a");
    let (stream, _) = tokio::join!(soon(client.subscribe("b")), server.grant());
    let stream = stream.unwrap();
    assert!(is_pending(&mut pin!(stream.unsubscribe().into_future())));
    assert_eq!(server.ungrant().await.filters[0].as_str(), "b");
    let (stream, _) = tokio::join!(soon(client.subscribe("c")), server.grant());
    let mut stream = stream.unwrap();
    let filter = TopicFilter::new("c").unwrap();
    drop(client.unsubscribe(&filter));
    assert!(
        is_pending(&mut pin!(stream.next())),
        "nothing happens before it is polled"
    );
    assert!(is_pending(&mut pin!(
        client.unsubscribe(&filter).into_future()
    )));
    assert!(soon(stream.next()).await.is_none());
    assert_eq!(server.ungrant().await.filters[0].as_str(), "c");
    drop(stream);
    // Once each, and nothing more.
    let (pong, packet) = tokio::join!(soon(client.ping()), async {
        let packet = server.packet().await;
        server.send(Packet::PingResp).await;
        packet
    });
    pong.unwrap();
    assert_eq!(packet, Packet::PingReq);
}

#[tokio::test(start_paused = true)]
async fn a_flush_and_a_receipt_leave_nothing_behind() {
    let (client, _, mut network) = client(builder());
    let mut receipt = enqueue(&client, "a", "1").await;
    assert!(is_pending(&mut pin!(&mut receipt)));
    assert!(is_pending(&mut pin!(client.flush())));
    let mut events = client.events();
    let mut server = network.accept().await;
    let id = server.published_id().await;
    drop(receipt);
    server.puback(id).await;
    soon(client.flush()).await.unwrap();
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(1), events.next()).await {}
    // Dropped while it waited, the reader of events has lost nothing.
    server.message("a", "b", Delivery::AtMostOnce, &[]).await;
    settle().await;
    assert_eq!(
        soon(events.next()).await,
        discarded(1, "a", QoS::AtMostOnce)
    );
    assert_eq!((client.in_flight(), client.queued()), (0, 0));
}

/// The driver itself may be polled anywhere, and by turns: here first beside the application in a
/// `select!`, then on a task. Calls must wake the task that polls it now.
#[tokio::test(start_paused = true)]
async fn a_driver_may_move_between_tasks() {
    let (runtime, mut network) = crate::scripted::network();
    let (client, mut driver) = builder().build(runtime).unwrap();
    let server = tokio::select! {
        error = &mut driver => panic!("{error}"),
        server = network.accept() => server,
    };
    tokio::select! {
        error = &mut driver => panic!("{error}"),
        connected = client.connected() => drop(connected.unwrap()),
    }
    let publishing = enqueue(&client, "a", "1").await;
    tokio::spawn(driver);
    let server = tokio::spawn(server.serve());
    soon(publishing).await.unwrap();
    soon(client.publish("a", "2").qos(QoS::ExactlyOnce))
        .await
        .unwrap();
    drop(client);
    assert_eq!(soon(server).await.unwrap().len(), 2);
}

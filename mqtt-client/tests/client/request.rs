//! Requests and their responses.

use crate::scripted::{Script, builder, client, connected, is_pending, settle, soon, with_broker};
use bytes::BytesMut;
use martlet_broker::BrokerConfig;
use martlet_client::{
    Client, ConnectionError, PublishError, PublishProperties, QoS, ResponseError, StreamLimits,
    SubscribeError, TopicName, Version,
    proto::{Packet, PubAckReasonCode, SubAckReasonCode},
};
use martlet_proto::{Ack, ConnAck, ConnectReasonCode, Delivery, Publish, PublishRef};
use std::pin::pin;
use std::time::Duration;
use tokio::time::Instant;

/// The next request, acknowledged.
async fn asked(server: &mut Script) -> Publish {
    let request = server.published().await;
    if let Some(id) = request.delivery().packet_identifier() {
        server.puback(id).await;
    }
    request
}

/// Answers a request as its properties say.
async fn answer(server: &mut Script, request: &Publish, text: &str) {
    let topic = TopicName::new(request.properties().response_topic().unwrap()).unwrap();
    let data = request.properties().correlation_data().unwrap();
    let properties = PublishProperties::builder()
        .correlation_data(data.try_into().unwrap())
        .build();
    let mut bytes = BytesMut::new();
    PublishRef::new(&topic, text.as_bytes())
        .with_delivery(Delivery::AtMostOnce)
        .with_properties(&properties)
        .encode(server.version, &mut bytes)
        .unwrap();
    server.send_bytes(&bytes).await;
}

/// Requests share a subscription; their responses may come in any order, and find who asked.
#[tokio::test(start_paused = true)]
async fn responses_find_their_requests() {
    let (client, mut server, _network) = connected(builder()).await;
    let ask = |text: &'static str| soon(client.request("ask", text));
    let (one, two, ()) = tokio::join!(ask("1"), ask("2"), async {
        let subscribe = server.grant().await;
        assert_eq!(subscribe.subscriptions.len(), 1);
        assert_eq!(subscribe.subscriptions[0].filter.as_str(), "responses/me");
        let identifier = subscribe.subscription_identifier;
        assert!(
            identifier.is_some(),
            "it sets responses apart from other messages"
        );
        let first = asked(&mut server).await;
        let second = asked(&mut server).await;
        assert_eq!(first.properties().response_topic(), Some("responses/me"));
        for request in [second, first] {
            let text = format!("to {}", std::str::from_utf8(request.payload()).unwrap());
            answer(&mut server, &request, &text).await;
        }
    });
    assert_eq!(
        (one.unwrap().text(), two.unwrap().text()),
        (Some("to 1"), Some("to 2"))
    );
    // No other subscription is needed later, and none of its messages is anybody else's.
    let mut rest = client.unmatched().unwrap();
    let (three, ()) = tokio::join!(
        soon(client.request("ask", "3").qos(QoS::AtMostOnce)),
        async {
            let request = asked(&mut server).await;
            server
                .message(
                    "responses/me",
                    "without correlation",
                    Delivery::AtMostOnce,
                    &[],
                )
                .await;
            answer(&mut server, &request, "yes").await;
            answer(&mut server, &request, "twice").await;
        }
    );
    assert_eq!(three.unwrap().text(), Some("yes"));
    settle().await;
    assert!(rest.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_response_that_does_not_come() {
    let (client, mut server, _network) = connected(builder()).await;
    let start = Instant::now();
    let (late, request) = tokio::join!(
        soon(client.request("ask", "1").timeout(Duration::from_secs(5))),
        async {
            server.grant().await;
            asked(&mut server).await
        }
    );
    assert_eq!(late.unwrap_err(), ResponseError::Timeout);
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    // It comes after all, and is not taken for that of the next, which waits in the same place.
    let (next, ()) = tokio::join!(soon(client.request("ask", "2")), async {
        let next = asked(&mut server).await;
        answer(&mut server, &request, "late").await;
        answer(&mut server, &next, "right").await;
    });
    assert_eq!(next.unwrap().text(), Some("right"));
    // The server knows better than to wait.
    let (nobody, ()) = tokio::join!(soon(client.request("ask", "3")), async {
        let id = server.published_id().await;
        server
            .send(Packet::PubAck(Ack::new(
                id,
                PubAckReasonCode::NoMatchingSubscribers,
            )))
            .await;
    });
    assert_eq!(nobody.unwrap_err(), ResponseError::NobodyListens);
    let (rejected, ()) = tokio::join!(soon(client.request("ask", "4")), async {
        let id = server.published_id().await;
        server
            .send(Packet::PubAck(Ack::new(
                id,
                PubAckReasonCode::NotAuthorized,
            )))
            .await;
    });
    assert!(
        matches!(
            rejected,
            Err(ResponseError::Publish(PublishError::Rejected { .. }))
        ),
        "{rejected:?}"
    );
    assert!(matches!(
        client.request("a/+", "").await,
        Err(ResponseError::Publish(PublishError::Topic(_)))
    ));
}

/// Correlation data began at the same number in each process: the response to "unlock 7?", asked by
/// a process that is gone, answered the "unlock 9?" of the next.
#[tokio::test(start_paused = true)]
async fn a_response_to_an_earlier_process_answers_nothing() {
    let process = || Client::builder("mqtt://test").client_identifier("me");
    let mut earlier: Vec<Publish> = Vec::new();
    for _ in 0..3 {
        let (client, mut server, _network) = connected(process()).await;
        let (answered, request) = tokio::join!(soon(client.request("lock", "unlock?")), async {
            server.grant().await;
            let request = asked(&mut server).await;
            for old in &earlier {
                answer(&mut server, old, "yes, of the other").await;
            }
            answer(&mut server, &request, "yes").await;
            request
        });
        assert_eq!(answered.unwrap().text(), Some("yes"));
        let data = request.properties().correlation_data().unwrap();
        assert!(
            earlier
                .iter()
                .all(|old| old.properties().correlation_data().unwrap()[4..] != data[4..])
        );
        earlier.push(request);
    }
    // The caller's seed makes them the same again, for tests.
    let mut data = Vec::new();
    for _ in 0..2 {
        let (client, mut server, _network) = connected(builder()).await;
        let (answered, request) = tokio::join!(soon(client.request("a", "")), async {
            server.grant().await;
            let request = asked(&mut server).await;
            answer(&mut server, &request, "yes").await;
            request
        });
        answered.unwrap();
        data.push(request.properties().correlation_data().unwrap().to_vec());
    }
    assert_eq!(data[0], data[1]);
}

/// An identifier with a wildcard in it cannot stand in a topic: it is escaped, so that it has a
/// topic of its own. What cannot be said at all is an error.
#[tokio::test(start_paused = true)]
async fn each_identifier_has_a_response_topic_of_its_own() {
    let named = |name: &str| Client::builder("mqtt://test").client_identifier(name);
    for (name, topic) in [
        ("a+b", "responses/a%2Bb"),
        ("ab", "responses/ab"),
        ("a%2Bb", "responses/a%252Bb"),
    ] {
        let (client, mut server, _network) = connected(named(name)).await;
        let mut request = pin!(client.request("ask", "").into_future());
        assert!(is_pending(&mut request));
        assert_eq!(server.grant().await.subscriptions[0].filter.as_str(), topic);
    }
    let (client, _server, _network) = connected(named(&"+".repeat(65_535))).await;
    let rejected = soon(client.request("ask", "")).await.unwrap_err();
    assert!(
        matches!(rejected, ResponseError::Publish(PublishError::Topic(_))),
        "{rejected:?}"
    );
}

/// A task awaited a response that came behind messages for a stream of its own. The socket was left
/// unread for 5 s, so that the stream could be emptied, and then the stream dropped messages.
#[tokio::test(start_paused = true)]
async fn a_response_behind_messages_for_the_same_task_comes_at_once() {
    let (client, mut server, _network) = connected(builder()).await;
    let limits = StreamLimits::default().messages(100);
    let subscribe = client.subscribe("a").limits(limits);
    let (stream, _) = tokio::join!(soon(subscribe), server.grant());
    let mut stream = stream.unwrap();
    let start = Instant::now();
    let (answered, ()) = tokio::join!(soon(client.request("ask", "")), async {
        server.grant().await;
        let request = asked(&mut server).await;
        for _ in 0..80 {
            server.message("a", "", Delivery::AtMostOnce, &[]).await;
            settle().await;
        }
        answer(&mut server, &request, "yes").await;
    });
    assert_eq!(answered.unwrap().text(), Some("yes"));
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(stream.dropped(), 0);
    assert_eq!(std::iter::from_fn(|| stream.try_next()).count(), 80);
}

/// 1,024 responses of 16 MiB each could wait for requests that were not polled, and no bound
/// counted them.
#[tokio::test(start_paused = true)]
async fn responses_that_nobody_fetches_are_bounded() {
    const MIB: usize = 1024 * 1024;
    let (client, mut server, _network) = connected(builder()).await;
    let text = "x".repeat(MIB);
    let mut requests: Vec<_> = (0..18)
        .map(|_| Box::pin(client.request("ask", "").into_future()))
        .collect();
    assert!(is_pending(&mut requests[0].as_mut()));
    server.grant().await;
    let mut asked_for = Vec::new();
    for request in &mut requests {
        settle().await;
        assert!(is_pending(&mut request.as_mut()));
        asked_for.push(asked(&mut server).await);
    }
    for request in &asked_for {
        answer(&mut server, request, &text).await;
    }
    settle().await;
    let mut dropped = 0;
    for request in requests {
        match soon(request).await {
            Ok(response) => assert_eq!(response.payload().len(), MIB),
            Err(error) => {
                assert_eq!(error, ResponseError::Dropped);
                dropped += 1;
            }
        }
    }
    assert!((2..4).contains(&dropped), "{dropped} of 18");
    // There is room again.
    let (answered, ()) = tokio::join!(soon(client.request("ask", "")), async {
        let request = asked(&mut server).await;
        answer(&mut server, &request, "yes").await;
    });
    assert_eq!(answered.unwrap().text(), Some("yes"));
}

#[tokio::test(start_paused = true)]
async fn a_3x_server_has_no_responses() {
    let (client, _server, _network) = connected(builder().version(Version::V3_1_1)).await;
    let rejected = soon(client.request("ask", "1")).await.unwrap_err();
    assert_eq!(rejected, ResponseError::NotInVersion(Version::V3_1_1));
}

/// A rejected subscription is an error of the request that needed it; the next request tries again,
/// and so does one that waited for another that was dropped.
#[tokio::test(start_paused = true)]
async fn the_subscription_is_tried_again() {
    let (client, mut server, _network) = connected(builder()).await;
    let (rejected, ()) = tokio::join!(soon(client.request("ask", "1")), async {
        let subscribe = server.subscribe().await;
        server
            .suback(
                subscribe.packet_identifier,
                vec![SubAckReasonCode::NotAuthorized],
            )
            .await;
        server.ungrant().await;
    });
    assert!(
        matches!(
            rejected,
            Err(ResponseError::Subscribe(SubscribeError::Rejected { .. }))
        ),
        "{rejected:?}"
    );
    let mut waiting = pin!(client.request("ask", "2").into_future());
    {
        let mut dropped = pin!(client.request("ask", "3").into_future());
        assert!(is_pending(&mut dropped.as_mut()));
        assert!(is_pending(&mut waiting.as_mut()));
        server.subscribe().await;
    }
    let (answered, ()) = tokio::join!(soon(waiting), async {
        server.ungrant().await;
        server.grant().await;
        let request = asked(&mut server).await;
        assert_eq!(request.payload(), b"2");
        answer(&mut server, &request, "yes").await;
    });
    assert_eq!(answered.unwrap().text(), Some("yes"));
}

/// The server says where responses should go.
#[tokio::test(start_paused = true)]
async fn response_information() {
    let asks = builder().request_response_information(true);
    let (client, _, mut network) = client(asks);
    let mut server = network.dial().await.open();
    assert_eq!(
        server
            .connect()
            .await
            .properties
            .request_response_information,
        Some(true)
    );
    let mut connack = ConnAck::new(ConnectReasonCode::Success);
    connack.properties.response_information = Some("r/42/".try_into().unwrap());
    server.send(connack).await;
    let (answered, ()) = tokio::join!(soon(client.request("ask", "1")), async {
        assert_eq!(
            server.grant().await.subscriptions[0].filter.as_str(),
            "r/42/responses"
        );
        let request = asked(&mut server).await;
        answer(&mut server, &request, "yes").await;
    });
    answered.unwrap();
    // The next server has another: the old subscription goes.
    drop(server);
    let mut server = network.resume().await;
    soon(client.connected()).await.unwrap();
    let (answered, ()) = tokio::join!(soon(client.request("ask", "2")), async {
        assert_eq!(server.ungrant().await.filters[0].as_str(), "r/42/responses");
        assert_eq!(
            server.grant().await.subscriptions[0].filter.as_str(),
            "responses/me"
        );
        let request = asked(&mut server).await;
        answer(&mut server, &request, "yes").await;
    });
    answered.unwrap();
}

/// Requests that wait when the client ends return an error; their number is bounded.
#[tokio::test(start_paused = true)]
async fn requests_are_bounded_and_end_with_the_client() {
    let (client, mut server, _network) = connected(builder()).await;
    let (first, ()) = tokio::join!(soon(client.request("ask", "1")), async {
        server.grant().await;
        let request = asked(&mut server).await;
        answer(&mut server, &request, "yes").await;
    });
    first.unwrap();
    tokio::spawn(server.serve());
    let mut requests = Vec::new();
    for _ in 0..1024 {
        let mut request = Box::pin(client.request("ask", "").into_future());
        assert!(is_pending(&mut request.as_mut()));
        requests.push(request);
    }
    assert_eq!(
        soon(client.request("ask", "")).await.unwrap_err(),
        ResponseError::TooMany
    );
    drop(requests.pop());
    let mut last = Box::pin(client.request("ask", "").into_future());
    assert!(is_pending(&mut last.as_mut()));
    soon(client.disconnect()).await;
    assert_eq!(
        soon(last).await.unwrap_err(),
        ResponseError::Publish(PublishError::Closed(ConnectionError::ClosedHere))
    );
    assert_eq!(
        soon(requests.remove(0)).await.unwrap_err(),
        ResponseError::Publish(PublishError::Closed(ConnectionError::ClosedHere))
    );
    assert!(matches!(
        soon(client.request("ask", "")).await,
        Err(ResponseError::Connect(_))
    ));
}

/// Two clients and a broker, through a connection that breaks.
#[tokio::test]
async fn between_two_clients() {
    let (server, asking) = with_broker(BrokerConfig::default(), |builder| builder).await;
    let answering: Client = soon(martlet_tokio::connect(server.uri())).await.unwrap();
    let mut requests = soon(answering.subscribe("double/+").qos(QoS::AtLeastOnce))
        .await
        .unwrap();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let properties = request.properties();
            let data = properties.correlation_data().unwrap().try_into().unwrap();
            let doubled = request.text().unwrap().repeat(2);
            let answer = answering
                .publish(properties.response_topic().unwrap(), doubled)
                .properties(PublishProperties::builder().correlation_data(data).build());
            answer.qos(QoS::AtLeastOnce).await.unwrap();
        }
    });
    for n in 0..20 {
        if n == 10 {
            assert!(server.cut_client("me"));
        }
        let response = soon(asking.request(format!("double/{n}"), n.to_string()))
            .await
            .unwrap();
        assert_eq!(response.text(), Some(n.to_string().repeat(2).as_str()));
    }
}

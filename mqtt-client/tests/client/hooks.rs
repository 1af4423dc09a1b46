//! The application's hook before each CONNECT.

use crate::scripted::{builder, client, network, settle, soon, stopped};
use martlet_client::{
    Client, ClientEvent, ConnectError, ConnectionError, Endpoint, QoS, Reconnect, TopicName,
    UserProperties, Version, Will,
    client::{Callback, PublishBuilder},
    hooks::{Attempt, GivenUp},
    session::Awaited,
};
use martlet_proto::{ConnAck, ConnectReasonCode, Disconnect, DisconnectReasonCode};
use martlet_tokio::runtime::TokioStreams;
use std::future::{pending, ready};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The number and the server reference of each attempt.
type Seen = Arc<Mutex<Vec<(u32, Option<String>)>>>;

fn note(seen: &Seen, attempt: &Attempt) {
    seen.lock().unwrap().push((
        attempt.number(),
        attempt
            .last_error()
            .map(|error| format!("{:#}", martlet_client::Error::from(error.clone()))),
    ));
}

/// A token that is good once.
#[tokio::test(start_paused = true)]
async fn each_attempt_has_fresh_credentials() {
    let (seen, issued) = (Seen::default(), Arc::new(AtomicUsize::new(0)));
    let hook = {
        let seen = Arc::clone(&seen);
        move |mut attempt: Attempt| {
            note(&seen, &attempt);
            let issued = Arc::clone(&issued);
            async move {
                // From a service that takes a while.
                tokio::time::sleep(Duration::from_secs(3)).await;
                let token = format!("token {}", issued.fetch_add(1, Ordering::Relaxed));
                attempt.set_credentials("me", token)?;
                Ok(attempt)
            }
        }
    };
    let (client, _, mut network) = client(
        builder()
            .before_connect(hook)
            .reconnect(Reconnect::default().retry_first(true)),
    );
    network.dial().await.reject();
    let mut server = network.dial().await.open();
    server.reject(ConnectReasonCode::ServerBusy).await;
    for n in 2..4 {
        let mut server = network.dial().await.open();
        let connect = server.accept(false).await;
        let password = connect.password.unwrap();
        assert_eq!(password.as_bytes(), format!("token {n}").as_bytes());
        soon(client.connected()).await.unwrap();
    }
    let not_open = "the connection's stream cannot be opened: connection refused";
    let rejected = "the server rejected the connection: server busy (0x89)";
    let expected = [
        (1, None),
        (2, Some(not_open.to_owned())),
        (3, Some(rejected.to_owned())),
        (1, Some("the server closed the connection".to_owned())),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_hook_may_change_where_it_goes_and_what_is_said() {
    let hook = |mut attempt: Attempt| {
        assert_eq!(attempt.endpoint().host(), "test");
        attempt.set_endpoint(Endpoint::parse("mqtt://second:secret@127.0.0.1:1884").unwrap());
        attempt.set_will(Will::new("will", "gone").unwrap());
        let mut properties = UserProperties::new();
        properties.push("a".try_into().unwrap(), "b".try_into().unwrap());
        attempt.set_user_properties(properties);
        ready(Ok(attempt))
    };
    let builder = Client::builder("mqtt://first:secret@test").before_connect(hook);
    let (_client, _, mut network) = client(builder);
    let dial = network.dial().await;
    assert_eq!(dial.endpoint.to_string(), "mqtt://127.0.0.1:1884");
    let connect = dial.open().accept(false).await;
    assert_eq!(connect.user_name.unwrap().as_str(), "second");
    assert_eq!(connect.will.unwrap().topic.as_str(), "will");
    assert_eq!(connect.properties.user_properties.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_hook_says_whether_there_is_another_attempt() {
    let calls = Arc::new(AtomicUsize::new(0));
    let hook = {
        let calls = Arc::clone(&calls);
        move |_: Attempt| {
            ready(Err(match calls.fetch_add(1, Ordering::Relaxed) {
                0..3 => GivenUp::for_now("no token yet"),
                _ => GivenUp::for_good("there are no tokens"),
            }))
        }
    };
    let builder = builder()
        .before_connect(hook)
        .reconnect(Reconnect::default().retry_first(true));
    let (client, _, mut network) = client(builder);
    let error = soon(client.connected()).await.unwrap_err();
    let expected = ConnectionError::GivenUp(GivenUp::for_good("there are no tokens"));
    assert_eq!(error, ConnectError::Connection(expected.clone()));
    assert_eq!(stopped(&client).await, expected);
    assert_eq!(calls.load(Ordering::Relaxed), 4);
    assert!(network.is_quiet(), "nothing was dialled");
}

#[tokio::test(start_paused = true)]
async fn a_hook_has_a_deadline() {
    let start = tokio::time::Instant::now();
    let builder = builder()
        .before_connect(|_| pending())
        .hook_timeout(Duration::from_secs(7));
    let (client, _, _network) = client(builder);
    let error = soon(client.connected()).await.unwrap_err();
    assert_eq!(error, ConnectionError::Timeout(Awaited::Preparation).into());
    assert_eq!(start.elapsed().as_secs(), 7);
}

/// Says when it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn disconnecting_does_not_wait_for_a_hook() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let guard = Arc::clone(&dropped);
    let hook = move |_: Attempt| {
        let guard = Dropped(Arc::clone(&guard));
        async move {
            let _guard = guard;
            pending().await
        }
    };
    let (client, driver, _network) = client(builder().before_connect(hook));
    settle().await;
    let start = tokio::time::Instant::now();
    soon(client.disconnect()).await;
    assert_eq!(soon(driver).await.unwrap(), ConnectionError::ClosedHere);
    assert_eq!(
        (start.elapsed(), dropped.load(Ordering::Relaxed)),
        (Duration::ZERO, 1)
    );
}

/// A hook that publishes would hang for ever if it ran under the lock.
#[tokio::test(start_paused = true)]
async fn a_hook_may_use_the_client() {
    let (runtime, mut network) = network();
    let handle = Arc::new(Mutex::new(None::<Client>));
    let hook = {
        let handle = Arc::clone(&handle);
        move |attempt: Attempt| {
            let client = handle.lock().unwrap().take().unwrap();
            async move {
                let publish: PublishBuilder<'_> =
                    client.publish("hook", "was here").qos(QoS::AtLeastOnce);
                drop(publish.enqueue().await.map_err(GivenUp::for_good)?);
                Ok(attempt)
            }
        }
    };
    let (client, driver) = builder().before_connect(hook).build(runtime).unwrap();
    *handle.lock().unwrap() = Some(client.clone());
    tokio::spawn(driver);
    let mut server = network.accept().await;
    assert_eq!(
        server.published().await.topic_name(),
        Some(TopicName::new("hook").unwrap())
    );
}

/// A gateway that asks for a token before there is any MQTT.
#[cfg(feature = "websocket")]
#[tokio::test(start_paused = true)]
async fn a_hook_may_set_headers_of_the_websocket_request() {
    let hook = |mut attempt: Attempt| {
        assert!(
            attempt.set_header("Upgrade", "nothing").is_err()
                && attempt.set_header("a b", "c").is_err()
        );
        let shown = attempt
            .set_header("authorization", "Bearer fresh")
            .map(|()| format!("{attempt:?}"));
        assert!(!shown.unwrap().contains("fresh"));
        ready(Ok(attempt))
    };
    let builder = Client::builder("ws://test/mqtt");
    let builder = builder
        .header("Authorization", "Bearer old")
        .header("X-Other", "kept");
    let (_client, _, mut network) = client(builder.before_connect(hook));
    let mut server = network.dial().await.open();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(soon(server.stream.read_buf(&mut head)).await.unwrap() > 0);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(
        head.contains("authorization: bearer fresh\r\n") && head.contains("x-other: kept\r\n"),
        "{head}"
    );
    assert!(!head.contains("bearer old"), "{head}");
}

/// A hook that sends the attempts of these numbers, counted from 0, elsewhere.
fn elsewhere(
    which: impl Fn(usize) -> Option<&'static str> + Clone + Send + Sync + 'static,
) -> impl FnMut(Attempt) -> std::future::Ready<Result<Attempt, GivenUp>> + Clone + Send + Sync {
    let mut attempts = 0..;
    move |mut attempt: Attempt| {
        if let Some(uri) = attempts.next().and_then(&which) {
            attempt.set_endpoint(Endpoint::parse(uri).unwrap());
        }
        ready(Ok(attempt))
    }
}

/// Its rejection was booked on the listed server, which nobody had asked: the client gave up.
#[tokio::test(start_paused = true)]
async fn a_rejection_counts_for_the_server_that_was_dialled() {
    let builder = builder()
        .before_connect(elsewhere(|n| (n < 2).then_some("mqtt://chosen")))
        .reconnect(Reconnect::default().retry_first(true));
    let (client, _, mut network) = client(builder);
    let dial = network.dial().await;
    assert_eq!(dial.endpoint.host(), "chosen");
    dial.reject();
    let dial = network.dial().await;
    assert_eq!(dial.endpoint.host(), "chosen");
    dial.open().reject(ConnectReasonCode::Banned).await;
    let dial = network.dial().await;
    assert_eq!(dial.endpoint.host(), "test");
    let mut server = dial.open();
    server.accept(false).await;
    soon(client.connected()).await.unwrap();
}

/// That it knows no MQTT 5 was remembered of the listed server, which was then asked for less than
/// it could do.
#[tokio::test(start_paused = true)]
async fn the_version_is_remembered_of_the_server_that_was_dialled() {
    let old = |n: usize| (n % 2 == 0).then_some("mqtt://old");
    let builder = builder()
        .before_connect(elsewhere(old))
        .reconnect(Reconnect::default().retry_first(true));
    let (client, _, mut network) = client(builder);
    network
        .reject(ConnectReasonCode::UnsupportedProtocolVersion)
        .await;
    for (host, version) in [
        ("test", Version::V5),
        ("old", Version::V3_1_1),
        ("test", Version::V5),
        ("old", Version::V3_1_1),
    ] {
        let dial = network.dial().await;
        assert_eq!(dial.endpoint.host(), host);
        let mut server = dial.open();
        assert_eq!(server.accept(false).await.version, version, "{host}");
        soon(client.connected()).await.unwrap();
    }
}

/// A server that does not know the version is asked at once for another; a hook that goes to a new
/// one each time made a busy loop of that.
#[tokio::test(start_paused = true)]
async fn going_from_server_to_server_for_the_version_takes_its_time() {
    const URIS: [&str; 3] = ["mqtt://a", "mqtt://b", "mqtt://c"];
    let builder = builder()
        .before_connect(elsewhere(|n| Some(URIS[n % 3])))
        .reconnect(Reconnect::default().retry_first(true));
    let (_client, _, mut network) = client(builder);
    let start = tokio::time::Instant::now();
    for _ in 0..3 {
        network
            .reject(ConnectReasonCode::UnsupportedProtocolVersion)
            .await;
    }
    network.dial().await.reject();
    assert!(start.elapsed() > Duration::ZERO);
}

/// It was resolved against the scheme of the listed server, which may be that of another protocol.
#[tokio::test(start_paused = true)]
async fn a_server_reference_is_resolved_against_the_server_that_was_dialled() {
    let builder = Client::builder("ws://test/mqtt?token");
    let builder = builder.before_connect(elsewhere(|n| (n == 0).then_some("mqtt://chosen")));
    let (_client, _, mut network) =
        client(builder.reconnect(Reconnect::default().server_references(1)));
    let mut server = network.dial().await.open();
    server.connect().await;
    let mut rejection = ConnAck::new(ConnectReasonCode::UseAnotherServer);
    rejection.properties.server_reference = Some("other:1884".try_into().unwrap());
    server.send(rejection).await;
    assert_eq!(
        network.dial().await.endpoint.to_string(),
        "mqtt://other:1884"
    );
}

/// A token that the server does not take any more ended the client, although the hook had fresh
/// ones. It is asked for one, after the wait of the policy; when the server rejects that, too, at
/// the longest interval.
#[tokio::test(start_paused = true)]
async fn a_hook_may_do_better_after_a_rejection() {
    let seen = Seen::default();
    let hook = {
        let seen = Arc::clone(&seen);
        move |attempt: Attempt| {
            note(&seen, &attempt);
            ready(Ok(attempt))
        }
    };
    let (client, _, mut network) = client(builder().before_connect(hook));
    for expired_while_connected in [false, true, false] {
        let mut server = network.accept().await;
        soon(client.connected()).await.unwrap();
        // Long enough to count as a success.
        tokio::time::sleep(Duration::from_secs(11)).await;
        if expired_while_connected {
            server
                .send(Disconnect::new(DisconnectReasonCode::NotAuthorized))
                .await;
        } else {
            drop(server);
            network.reject(ConnectReasonCode::NotAuthorized).await;
        }
    }
    let before = tokio::time::Instant::now();
    network
        .reject(ConnectReasonCode::BadUserNameOrPassword)
        .await;
    assert!(
        (1..1000).contains(&before.elapsed().as_millis()),
        "not at once, and not at the longest interval"
    );
    let rejected = "the server rejected the connection: not authorized (0x87)";
    assert_eq!(
        seen.lock().unwrap().last().unwrap().1.as_deref(),
        Some(rejected)
    );
    let before = tokio::time::Instant::now();
    let _server = network.accept().await;
    assert!(
        before.elapsed().as_secs() >= 29,
        "twice in a row is no accident"
    );
}

/// However often the hook goes back to it, a server that has rejected for good is not asked for
/// ever.
#[tokio::test(start_paused = true)]
async fn a_server_that_the_hook_chose_is_not_hammered() {
    let builder = Client::builder("mqtt://one").server("mqtt://two");
    let builder = builder.before_connect(elsewhere(|_| Some("mqtt://chosen")));
    let (client, _, mut network) =
        client(builder.reconnect(Reconnect::default().retry_first(true)));
    for _ in 0..2 {
        network.reject(ConnectReasonCode::NotAuthorized).await;
    }
    assert!(network.try_dial().await.is_none());
    assert!(matches!(
        stopped(&client).await,
        ConnectionError::Rejected(_)
    ));
}

/// A hook that panicked ended the driver, and every waiter got "disconnected as asked". It fails
/// the attempt, and is reported, in its own code and in its future.
#[tokio::test(start_paused = true)]
async fn a_panic_of_a_hook_fails_the_attempt() {
    let mut calls = 0..;
    let hook = move |attempt: Attempt| {
        let call = calls.next();
        assert_ne!(call, Some(0), "a panic in the hook");
        async move {
            assert_ne!(call, Some(1), "a panic in its future, before it has waited");
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_ne!(call, Some(2), "and after it");
            Ok(attempt)
        }
    };
    let builder = builder()
        .before_connect(hook)
        .reconnect(Reconnect::default().retry_first(true));
    let (client, _, mut network) = client(builder);
    let mut events = client.events();
    for _ in 0..3 {
        assert_eq!(
            soon(events.next()).await,
            Some(ClientEvent::HookPanicked(Callback::BeforeConnect))
        );
        match soon(events.next()).await {
            Some(ClientEvent::Disconnected {
                reason: ConnectionError::GivenUp(why),
                retry_in: Some(_),
            }) => {
                assert!(why.to_string().contains("panicked"), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
    let _server = network.accept().await;
    soon(client.connected()).await.unwrap();
}

/// What opens streams is the application's code where it brings its own.
#[tokio::test(start_paused = true)]
async fn a_panic_of_what_opens_streams_fails_the_attempt() {
    let open = |_: Endpoint| -> std::future::Ready<io::Result<tokio::io::DuplexStream>> {
        panic!("there is no network")
    };
    let (client, driver) = builder().build(TokioStreams::new(open)).unwrap();
    tokio::spawn(driver);
    let error = soon(client.connected()).await.unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
}

/// A zone is for our own socket: no server has heard of our interfaces.
#[tokio::test(start_paused = true)]
async fn the_zone_of_an_address_stays_here() {
    let (_client, _, mut network) = client(Client::builder("ws://[fe80::1%25eth0]/mqtt"));
    let dial = network.dial().await;
    assert_eq!(dial.endpoint.zone(), Some("eth0"));
    let mut server = dial.open();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(soon(server.stream.read_buf(&mut head)).await.unwrap() > 0);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(
        head.contains("host: [fe80::1]\r\n") && !head.contains("eth0"),
        "{head}"
    );
}

/// A stream of the application's own that panics, in a place for each connection.
struct Panicking(u32);

const IN_WRITE: u32 = 0;
const IN_READ: u32 = 1;
const IN_FLUSH: u32 = 2;
const IN_DROP: u32 = 3;

impl AsyncRead for Panicking {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.0 {
            IN_READ => panic!("in a read"),
            // The end.
            IN_DROP => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

impl AsyncWrite for Panicking {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        assert_ne!(self.0, IN_WRITE, "in a write");
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        assert_ne!(self.0, IN_FLUSH, "in a flush");
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        assert_ne!(self.0, IN_DROP, "in its drop");
    }
}

/// A bug in the application's stream ended the client for good, as "the client's driver panicked".
/// It is an error of that connection, and the next one is made.
#[tokio::test(start_paused = true)]
async fn a_panic_of_an_own_stream_ends_the_connection_and_not_the_client() {
    let connections = std::cell::Cell::new(0);
    let open = move |_: Endpoint| {
        let connection = connections.replace(connections.get() + 1);
        ready(Ok(Panicking(connection)))
    };
    let builder = builder().reconnect(Reconnect::default().retry_first(true));
    let (client, driver) = builder.build(TokioStreams::new(open)).unwrap();
    let mut events = client.events();
    tokio::spawn(driver);
    for connection in [IN_WRITE, IN_READ, IN_FLUSH, IN_DROP] {
        let (error, retry_in) = loop {
            if let ClientEvent::Disconnected {
                reason: error,
                retry_in,
            } = soon(events.next()).await.unwrap()
            {
                break (error, retry_in);
            }
        };
        assert!(retry_in.is_some(), "{connection}: {error}");
        let panicked = format!("{:#}", martlet_client::Error::from(error.clone()))
            .contains("the connection's stream panicked");
        assert_eq!(panicked, connection != IN_DROP, "{error}");
    }
    // The one that panicked when it was dropped was followed by another.
    while !matches!(soon(events.next()).await, Some(ClientEvent::Connecting(_))) {}
    assert!(client.connection().is_none());
}

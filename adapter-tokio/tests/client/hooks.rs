//! The application's hook before each CONNECT.

use crate::scripted::{builder, client, network, settle, soon};
use martlet_client::settings::Secret;
use martlet_proto::{ConnAck, ConnectReasonCode, Disconnect, DisconnectReasonCode};
use martlet_tokio::{
    Attempt, Awaited, Client, ConnectError, ConnectionError, Endpoint, GivenUp, Publish, QoS, Settings,
    TopicName, Version, Will,
};
use std::future::{pending, ready};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// What each attempt told about itself.
type Seen = Arc<Mutex<Vec<(u32, Option<String>)>>>;

fn note(seen: &Seen, attempt: &Attempt) {
    seen.lock().unwrap().push((attempt.number(), attempt.last_error().map(ToString::to_string)));
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
    let (client, _, mut network) =
        client(builder().before_connect(hook).reconnect(|it| it.retry_first = true));
    network.dial().await.refuse();
    let mut server = network.dial().await.open();
    server.refuse(ConnectReasonCode::ServerBusy).await;
    for n in 2..4 {
        let mut server = network.dial().await.open();
        let connect = server.accept(false).await;
        let password = connect.password.unwrap();
        assert_eq!(password.as_bytes(), format!("token {n}").as_bytes());
        soon(client.connected()).await.unwrap();
    }
    let refused = "the server refused the connection: server busy (0x89)";
    let expected = [
        (1, None),
        (2, Some("connection refused".to_owned())),
        (3, Some(refused.to_owned())),
        (1, Some("the server closed the connection".to_owned())),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_hook_may_change_where_it_goes_and_what_is_said() {
    let hook = |mut attempt: Attempt| {
        assert_eq!(attempt.endpoint().host(), "test");
        assert_eq!(attempt.connect().user_name.as_ref().map(ToString::to_string).as_deref(), Some("first"));
        attempt.set_endpoint(Endpoint::parse("mqtt://second:secret@127.0.0.1:1884").unwrap());
        let connect = attempt.connect();
        connect.will = Some(Box::new(Will::new("will".try_into().unwrap(), "gone".try_into().unwrap())));
        connect.user_properties.push(("a".try_into().unwrap(), "b".try_into().unwrap()));
        ready(Ok(attempt))
    };
    let builder = Client::builder("mqtt://first:secret@test").unwrap().before_connect(hook);
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
    let builder = builder().before_connect(hook).reconnect(|policy| policy.retry_first = true);
    let (client, driver, mut network) = client(builder);
    let error = soon(client.connected()).await.unwrap_err();
    let expected = ConnectionError::GivenUp(GivenUp::for_good("there are no tokens"));
    assert_eq!(error, ConnectError::Connection(expected.clone()));
    assert_eq!(soon(driver).await.unwrap(), expected);
    assert_eq!(calls.load(Ordering::Relaxed), 4);
    assert!(network.is_quiet(), "nothing was dialled");
}

#[tokio::test(start_paused = true)]
async fn a_hook_has_a_deadline() {
    let start = tokio::time::Instant::now();
    let builder = builder().before_connect(|_| pending()).hook_timeout(Duration::from_secs(7));
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
    assert_eq!((start.elapsed(), dropped.load(Ordering::Relaxed)), (Duration::ZERO, 1));
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
                let publish: Publish<'_> = client.publish("hook", "was here").qos(QoS::AtLeastOnce);
                drop(publish.enqueue().await.map_err(GivenUp::for_good)?);
                Ok(attempt)
            }
        }
    };
    let (client, driver) = builder().before_connect(hook).build(runtime);
    *handle.lock().unwrap() = Some(client.clone());
    tokio::spawn(driver);
    let mut server = network.accept().await;
    assert_eq!(server.published().await.topic_name(), Some(TopicName::new("hook").unwrap()));
}

/// A gateway that asks for a token before there is any MQTT.
#[tokio::test(start_paused = true)]
async fn a_hook_may_set_headers_of_the_websocket_request() {
    let hook = |mut attempt: Attempt| {
        assert!(attempt.set_header("Upgrade", "nothing").is_err() && attempt.set_header("a b", "c").is_err());
        let shown = attempt.set_header("authorization", "Bearer fresh").map(|()| format!("{attempt:?}"));
        assert!(!shown.unwrap().contains("fresh"));
        ready(Ok(attempt))
    };
    let builder = Client::builder("ws://test/mqtt").unwrap();
    let builder = builder.header("Authorization", "Bearer old").unwrap().header("X-Other", "kept").unwrap();
    let (_client, _, mut network) = client(builder.before_connect(hook));
    let mut server = network.dial().await.open();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(soon(server.stream.read_buf(&mut head)).await.unwrap() > 0);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.contains("authorization: bearer fresh\r\n") && head.contains("x-other: kept\r\n"), "{head}");
    assert!(!head.contains("bearer old"), "{head}");
}

/// A hook that sends the attempts of these numbers, counted from 0, elsewhere.
fn elsewhere(
    which: impl Fn(usize) -> Option<&'static str> + Send + 'static,
) -> impl FnMut(Attempt) -> std::future::Ready<Result<Attempt, GivenUp>> + Send {
    let mut attempts = 0..;
    move |mut attempt: Attempt| {
        if let Some(uri) = attempts.next().and_then(&which) {
            attempt.set_endpoint(Endpoint::parse(uri).unwrap());
        }
        ready(Ok(attempt))
    }
}

/// Its refusal was booked on the listed server, which nobody had asked: the client gave up.
#[tokio::test(start_paused = true)]
async fn a_refusal_counts_for_the_server_that_was_dialled() {
    let builder = builder()
        .before_connect(elsewhere(|n| (n < 2).then_some("mqtt://chosen")))
        .reconnect(|policy| policy.retry_first = true);
    let (client, _, mut network) = client(builder);
    let dial = network.dial().await;
    assert_eq!(dial.endpoint.host(), "chosen");
    dial.refuse();
    let dial = network.dial().await;
    assert_eq!(dial.endpoint.host(), "chosen");
    dial.open().refuse(ConnectReasonCode::Banned).await;
    let dial = network.dial().await;
    assert_eq!(dial.endpoint.host(), "test");
    let mut server = dial.open();
    server.accept(false).await;
    soon(client.connected()).await.unwrap();
}

/// That it knows no MQTT 5 was remembered of the listed server, which was then asked for less than it could do.
#[tokio::test(start_paused = true)]
async fn the_version_is_remembered_of_the_server_that_was_dialled() {
    let old = |n: usize| (n % 2 == 0).then_some("mqtt://old");
    let builder = builder().before_connect(elsewhere(old)).reconnect(|policy| policy.retry_first = true);
    let (client, _, mut network) = client(builder);
    network.dial().await.open().refuse(ConnectReasonCode::UnsupportedProtocolVersion).await;
    for (host, version) in
        [("test", Version::V5), ("old", Version::V3_1_1), ("test", Version::V5), ("old", Version::V3_1_1)]
    {
        let dial = network.dial().await;
        assert_eq!(dial.endpoint.host(), host);
        let mut server = dial.open();
        assert_eq!(server.accept(false).await.version, version, "{host}");
        soon(client.connected()).await.unwrap();
    }
}

/// A server that does not know the version is asked at once for another; a hook that goes to a new one each time made a
/// busy loop of that.
#[tokio::test(start_paused = true)]
async fn going_from_server_to_server_for_the_version_takes_its_time() {
    const URIS: [&str; 3] = ["mqtt://a", "mqtt://b", "mqtt://c"];
    let builder = builder()
        .before_connect(elsewhere(|n| Some(URIS[n % 3])))
        .reconnect(|policy| policy.retry_first = true);
    let (_client, _, mut network) = client(builder);
    let start = tokio::time::Instant::now();
    for _ in 0..3 {
        network.dial().await.open().refuse(ConnectReasonCode::UnsupportedProtocolVersion).await;
    }
    network.dial().await.refuse();
    assert!(start.elapsed() > Duration::ZERO);
}

/// It was resolved against the scheme of the listed server, which may be that of another protocol.
#[tokio::test(start_paused = true)]
async fn a_server_reference_is_resolved_against_the_server_that_was_dialled() {
    let builder = Client::builder("ws://test/mqtt?token").unwrap();
    let builder = builder.before_connect(elsewhere(|n| (n == 0).then_some("mqtt://chosen")));
    let (_client, _, mut network) = client(builder.reconnect(|policy| policy.server_references = 1));
    let mut server = network.dial().await.open();
    server.connect().await;
    let mut refusal = ConnAck::new(ConnectReasonCode::UseAnotherServer);
    refusal.properties.server_reference = Some("other:1884".try_into().unwrap());
    server.send(refusal).await;
    assert_eq!(network.dial().await.endpoint.to_string(), "mqtt://other:1884");
}

/// A token that the server does not take any more ended the client, although the hook had fresh ones. It is asked for one,
/// after the wait of the policy.
#[tokio::test(start_paused = true)]
async fn a_hook_may_do_better_after_a_refusal() {
    let seen = Seen::default();
    let hook = {
        let seen = Arc::clone(&seen);
        move |attempt: Attempt| {
            note(&seen, &attempt);
            ready(Ok(attempt))
        }
    };
    let (client, driver, mut network) = client(builder().before_connect(hook));
    for expired_while_connected in [false, true, false] {
        let mut server = network.accept().await;
        soon(client.connected()).await.unwrap();
        // Long enough to count as a success.
        tokio::time::sleep(Duration::from_secs(11)).await;
        if expired_while_connected {
            server.send(Disconnect::new(DisconnectReasonCode::NotAuthorized)).await;
        } else {
            drop(server);
            network.dial().await.open().refuse(ConnectReasonCode::NotAuthorized).await;
        }
    }
    let before = tokio::time::Instant::now();
    network.dial().await.open().refuse(ConnectReasonCode::BadUserNameOrPassword).await;
    assert!(before.elapsed() > Duration::ZERO, "not at once");
    assert!(matches!(soon(driver).await.unwrap(), ConnectionError::Refused(_)), "twice is for good");
    assert!(network.try_dial().await.is_none());
    let refused = "the server refused the connection: not authorized (0x87)";
    assert_eq!(seen.lock().unwrap().last().unwrap().1.as_deref(), Some(refused));
}

/// However often the hook goes back to it, a server that has refused for good is not asked for ever.
#[tokio::test(start_paused = true)]
async fn a_server_that_the_hook_chose_is_not_hammered() {
    let builder = Client::builder("mqtt://one").unwrap().server("mqtt://two").unwrap();
    let builder = builder.before_connect(elsewhere(|_| Some("mqtt://chosen")));
    let (_client, driver, mut network) = client(builder.reconnect(|policy| policy.retry_first = true));
    for _ in 0..2 {
        network.dial().await.open().refuse(ConnectReasonCode::NotAuthorized).await;
    }
    assert!(network.try_dial().await.is_none());
    assert!(matches!(soon(driver).await.unwrap(), ConnectionError::Refused(_)));
}

/// Settings with plain servers only: what they say of TLS was not looked at, and a server that the hook chose was judged by
/// the operating system's authorities.
#[tokio::test(start_paused = true)]
async fn the_settings_trust_holds_wherever_a_hook_goes() {
    let mut settings = Settings { auto_reconnect: false, ..Settings::default() };
    settings.connection.uri = "mqtt://test".into();
    settings.connection.cafile = Some("/no/such/file".into());
    let plain = settings.builder().unwrap();
    let builder = settings.builder().unwrap().before_connect(elsewhere(|_| Some("mqtts://chosen")));
    let (client, _, mut network) = client(builder);
    let _server = network.dial().await.open();
    let error = soon(client.connected()).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/file"), "{error}");
    // Where no TLS is spoken nobody looks for it.
    let (client, _, mut network) = crate::scripted::client(plain);
    let _server = network.accept().await;
    soon(client.connected()).await.unwrap();
}

/// The password of a client's key was looked up although no server was spoken to over TLS. What is wrong with it is told
/// when the hook goes to one that is.
#[tokio::test(start_paused = true)]
async fn the_password_of_a_key_is_looked_up_where_tls_is_spoken() {
    let mut settings = Settings { auto_reconnect: false, ..Settings::default() };
    settings.connection.uri = "mqtt://test".into();
    settings.connection.certfile = Some("cert.pem".into());
    settings.connection.keyfile = Some("key.pem".into());
    settings.martlet.key_password = Some(Secret::Env("MARTLET_NOT_SET".into()));
    let (plain, _, mut network) = client(settings.builder().unwrap());
    let _server = network.accept().await;
    soon(plain.connected()).await.unwrap();
    let hook = |mut attempt: Attempt| {
        attempt.set_endpoint(Endpoint::parse("mqtts://test").unwrap());
        ready(Ok(attempt))
    };
    let (other, _, mut network) = client(settings.builder().unwrap().before_connect(hook));
    let _server = network.dial().await.open();
    let error = soon(other.connected()).await.unwrap_err().to_string();
    assert!(error.contains("martlet.key_password") && error.contains("MARTLET_NOT_SET"), "{error}");
    settings.connection.uri = "mqtts://test".into();
    let error = settings.builder().unwrap_err().to_string();
    assert!(error.contains("martlet.key_password"), "{error}");
}

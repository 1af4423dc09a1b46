//! Proxies that reject or break off.

use super::{assert_says, builder, failure, recording};
use crate::runtimes::adapter::Adapter;
use crate::server::{FaultEnd, HttpProxy, Proxy, ProxyFault, Setup, SocksProxy, Step, TestServer};
use martlet_client::session::{TransportError, TransportErrorKind};

async fn through<A: Adapter>(proxy: &Proxy, scheme: &str, user: &str) -> TransportError {
    let server = TestServer::start(Setup::tls().broker(recording())).await;
    let proxy = format!("{scheme}://{user}{}", proxy.address());
    let error = failure::<A>(builder(&server.uri_by_name()).proxy(&proxy)).await;
    assert!(server.seen().is_empty());
    assert!(!error.to_string().contains("secret"));
    error
}

/// An HTTP proxy that says this to every request.
async fn http_that_says(says: &[u8], end: FaultEnd) -> Proxy {
    let fault = Some(ProxyFault {
        to: Step::Request,
        says: says.to_vec(),
        end,
    });
    Proxy::http(HttpProxy {
        fault,
        ..HttpProxy::default()
    })
    .await
}

/// A SOCKS proxy that says this in this step.
async fn socks_that_says(to: Step, says: &[u8], end: FaultEnd) -> Proxy {
    let fault = Some(ProxyFault {
        to,
        says: says.to_vec(),
        end,
    });
    Proxy::socks(SocksProxy {
        fault,
        ..SocksProxy::default()
    })
    .await
}

pub async fn an_http_proxy_rejects<A: Adapter>() {
    let user = Some(("user", "right"));
    let proxy = Proxy::http(HttpProxy {
        user,
        ..HttpProxy::default()
    })
    .await;
    for user in ["", "user:secret@"] {
        let error = through::<A>(&proxy, "http", user).await;
        assert_says(
            &error,
            TransportErrorKind::Proxy,
            &["407", "user name and password"],
        );
        assert!(error.is_permanent());
    }
    assert!(proxy.targets().is_empty());
    for (answer, word, permanent) in [
        (
            "HTTP/1.0 401 Unauthorized\r\n\r\n",
            "user name and password",
            true,
        ),
        (
            "HTTP/1.1 403 Filtered\r\nContent-Length: 9\r\n\r\nforbidden",
            "403 Filtered",
            true,
        ),
        ("HTTP/1.0 405 Method Not Allowed\r\n\r\n", "405", true),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "502", false),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n",
            "302",
            false,
        ),
        (
            "220 mail.example ESMTP\r\n\r\n",
            "did not answer with HTTP",
            false,
        ),
    ] {
        let proxy = http_that_says(answer.as_bytes(), FaultEnd::Hang).await;
        let error = through::<A>(&proxy, "http", "").await;
        assert_says(&error, TransportErrorKind::Proxy, &[word]);
        assert_eq!(error.is_permanent(), permanent, "{error}");
    }
    // A SOCKS proxy is no HTTP proxy: it hangs up, as it does not understand.
    let proxy = Proxy::socks(SocksProxy::default()).await;
    let error = through::<A>(&proxy, "http", "").await;
    assert_eq!(error.kind(), TransportErrorKind::Proxy, "{error}");
}

pub async fn a_socks_proxy_rejects<A: Adapter>() {
    let user = Some(("user", "right"));
    let proxy = Proxy::socks(SocksProxy {
        user,
        ..SocksProxy::default()
    })
    .await;
    let error = through::<A>(&proxy, "socks5", "").await;
    assert_says(
        &error,
        TransportErrorKind::Proxy,
        &["no user name was given"],
    );
    let error = through::<A>(&proxy, "socks5", "user:secret@").await;
    assert_says(
        &error,
        TransportErrorKind::Proxy,
        &["does not accept the user name and password"],
    );
    assert!(error.is_permanent());
    assert!(proxy.targets().is_empty());
    for (code, word) in [
        (1, "general failure"),
        (2, "rules"),
        (3, "network is unreachable"),
        (4, "server is unreachable"),
        (5, "refused the connection"),
        (6, "time to live"),
        (7, "CONNECT"),
        (8, "type of address"),
        (9, "code 9"),
    ] {
        let says = [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
        let proxy = socks_that_says(Step::Request, &says, FaultEnd::Hang).await;
        let error = through::<A>(&proxy, "socks5", "").await;
        assert_says(&error, TransportErrorKind::Proxy, &[word]);
    }
    for (says, word) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x0a", "TLS"),
        (b"\x04\x00", "0x04"),
        (b"\x05\x01", "method 1"),
    ] {
        let proxy = socks_that_says(Step::Greeting, says, FaultEnd::Hang).await;
        let error = through::<A>(&proxy, "socks5", "").await;
        assert_says(&error, TransportErrorKind::Proxy, &[word]);
    }
}

pub async fn proxies_break_off<A: Adapter>() {
    for (says, words) in [
        (&b""[..], "without an answer"),
        (b"HTTP/1.1 200", "before the way to the server was open"),
        (
            b"HTTP/1.1 200 OK\r\nVia: x\r\n",
            "before the way to the server was open",
        ),
    ] {
        let proxy = http_that_says(says, FaultEnd::Cut).await;
        let error = through::<A>(&proxy, "http", "").await;
        assert_says(&error, TransportErrorKind::Proxy, &[words]);
    }
    for (to, says, words) in [
        (Step::Greeting, &b""[..], "without an answer"),
        (
            Step::Greeting,
            b"\x05",
            "before the way to the server was open",
        ),
        (Step::Request, b"", "before the way to the server was open"),
        (
            Step::Request,
            b"\x05\x00\x00\x01\x7f",
            "before the way to the server was open",
        ),
    ] {
        let proxy = socks_that_says(to, says, FaultEnd::Cut).await;
        let error = through::<A>(&proxy, "socks5", "").await;
        assert_says(&error, TransportErrorKind::Proxy, &[words]);
    }
}

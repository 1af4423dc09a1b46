//! HTTP and SOCKS5 proxies.

use crate::{CONNACK, CONNECT, exchange, rest};
use martlet_tests::server::{
    FaultEnd, HttpProxy, Proxy, ProxyFault, Setup, SocksProxy, Step, TestServer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Through a proxy that lets in one user.
const USER: Option<(&str, &str)> = Some(("user", "pass"));

fn connect(server: &TestServer, headers: &str) -> Vec<u8> {
    let port = server.socket_addr().port();
    format!(
        "CONNECT broker.example:{port} HTTP/1.1\r\nHost: broker.example:{port}\r\n{headers}\r\n"
    )
    .into()
}

/// The head of an answer, its status in front.
async fn head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn an_http_proxy() {
    let server = TestServer::start(Setup::tcp()).await;
    for drips in [false, true] {
        let proxy = Proxy::http(HttpProxy {
            user: USER,
            drips,
            ..HttpProxy::default()
        })
        .await;
        // user:pass
        let right = connect(&server, "proxy-authorization: Basic dXNlcjpwYXNz\r\n");
        let wrong = connect(&server, "proxy-authorization: Basic dXNlcjpwYXNX\r\n");
        for (request, status) in [
            (right, "200"),
            (wrong, "407"),
            (connect(&server, ""), "407"),
        ] {
            let mut client = TcpStream::connect(proxy.address()).await.unwrap();
            client.write_all(&request).await.unwrap();
            assert_eq!(head(&mut client).await.split(' ').nth(1), Some(status));
            if status == "200" {
                exchange(&mut client, CONNECT, CONNACK).await;
            } else {
                assert!(rest(client).await.0.is_empty());
            }
        }
        assert_eq!(
            proxy.targets(),
            [format!("broker.example:{}", server.socket_addr().port())]
        );
    }
    let proxy = Proxy::http(HttpProxy::default()).await;
    let port = server.socket_addr().port();
    for (request, status) in [
        (format!("CONNECT [::1]:{port} HTTP/1.1\r\n\r\n"), "502"),
        (format!("CONNECT 192.0.2.1:{port} HTTP/1.1\r\n\r\n"), "502"),
        (format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n"), "200"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "405"),
    ] {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(
            head(&mut client).await.split(' ').nth(1),
            Some(status),
            "{request}"
        );
    }
    let says = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let fault = ProxyFault {
        to: Step::Request,
        says: says.to_vec(),
        end: FaultEnd::Cut,
    };
    let proxy = Proxy::http(HttpProxy {
        fault: Some(fault),
        ..HttpProxy::default()
    })
    .await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(&connect(&server, "")).await.unwrap();
    assert_eq!(rest(client).await.0, says);
}

/// Requests of SOCKS5 for the broker at this port: by its name, and by its address.
fn socks_requests(server: &TestServer) -> [Vec<u8>; 2] {
    let port = server.socket_addr().port().to_be_bytes();
    [
        [b"\x05\x01\x00\x03\x0ebroker.example", &port[..]].concat(),
        [b"\x05\x01\x00\x01\x7f\x00\x00\x01", &port[..]].concat(),
    ]
}

/// The reply of SOCKS5 to a request that is fulfilled.
const FULFILLED: &[u8] = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00";

#[tokio::test]
async fn a_socks_proxy_connects_by_name_and_address() {
    let server = TestServer::start(Setup::tcp()).await;
    for drips in [false, true] {
        let proxy = Proxy::socks(SocksProxy {
            drips,
            ..SocksProxy::default()
        })
        .await;
        for request in &socks_requests(&server) {
            let mut client = TcpStream::connect(proxy.address()).await.unwrap();
            exchange(&mut client, b"\x05\x02\x02\x00", b"\x05\x00").await;
            exchange(&mut client, request, FULFILLED).await;
            exchange(&mut client, CONNECT, CONNACK).await;
        }
        let port = server.socket_addr().port();
        assert_eq!(
            proxy.targets(),
            [
                format!("broker.example:{port}"),
                format!("127.0.0.1:{port}")
            ]
        );
    }
}

#[tokio::test]
async fn a_socks_proxy_lets_in_one_user() {
    let server = TestServer::start(Setup::tcp()).await;
    let [by_name, _] = socks_requests(&server);
    let proxy = Proxy::socks(SocksProxy {
        user: USER,
        ..SocksProxy::default()
    })
    .await;
    let open = async || TcpStream::connect(proxy.address()).await.unwrap();
    let mut client = open().await;
    exchange(&mut client, b"\x05\x02\x00\x02", b"\x05\x02").await;
    exchange(&mut client, b"\x01\x04user\x04pass", b"\x01\x00").await;
    exchange(&mut client, &by_name, FULFILLED).await;
    exchange(&mut client, CONNECT, CONNACK).await;
    let mut client = open().await;
    exchange(&mut client, b"\x05\x01\x02", b"\x05\x02").await;
    exchange(&mut client, b"\x01\x04user\x04pasX", b"\x01\x01").await;
    assert!(rest(client).await.0.is_empty());
    let mut client = open().await;
    exchange(&mut client, b"\x05\x01\x00", b"\x05\xff").await;
    assert!(rest(client).await.0.is_empty());
}

/// Another destination, and another command.
#[tokio::test]
async fn a_socks_proxy_rejects_with_a_code() {
    let proxy = Proxy::socks(SocksProxy::default()).await;
    for (request, code) in [
        (&b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x01"[..], 5),
        (b"\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x01", 7),
        (
            b"\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x00",
            5,
        ),
    ] {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        exchange(&mut client, b"\x05\x01\x00", b"\x05\x00").await;
        exchange(&mut client, request, &[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    }
}

/// A configured answer to each step.
#[tokio::test]
async fn a_socks_proxy_gives_the_configured_answers() {
    let server = TestServer::start(Setup::tcp()).await;
    let [by_name, _] = socks_requests(&server);
    for (to, heard) in [
        (Step::Greeting, &b"x"[..]),
        (Step::Password, b"\x05\x02x"),
        (Step::Request, b"\x05\x02\x01\x00x"),
    ] {
        let fault = Some(ProxyFault {
            to,
            says: b"x".to_vec(),
            end: FaultEnd::Close,
        });
        let proxy = Proxy::socks(SocksProxy {
            user: USER,
            fault,
            ..SocksProxy::default()
        })
        .await;
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        client
            .write_all(b"\x05\x01\x02\x01\x04user\x04pass")
            .await
            .unwrap();
        client.write_all(&by_name).await.unwrap();
        let mut all = vec![0; heard.len()];
        client.read_exact(&mut all).await.unwrap();
        assert_eq!(all, heard, "{to:?}");
    }
}

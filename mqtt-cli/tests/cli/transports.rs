//! Every transport, proxies, and what goes wrong with TLS.

use crate::run::{Ended, martlet, run, status};
use martlet_tests::certificates::{Certificates, Directory};
use martlet_tests::server::{HttpProxy, Proxy, Setup, SocksProxy, TestServer};
use std::ffi::OsStr;

/// Publishes with these options; the server is on another thread.
fn publish(options: &[&dyn AsRef<OsStr>]) -> Ended {
    let mut command = martlet(["pub", "-t", "a", "-m", "x", "-q", "1"]);
    for option in options {
        command.arg(option);
    }
    run(&mut command)
}

#[tokio::test]
async fn a_unix_socket() {
    let server = TestServer::start(Setup::unix()).await;
    let uri = server.uri();
    let path = uri.strip_prefix("mqtt+unix://").unwrap();
    publish(&[&"--unix", &path]).expect(status::DONE);
    publish(&[&"-L", &uri]).expect(status::DONE);
}

#[tokio::test]
async fn tls() {
    let certificates = Certificates::shared();
    let folder = Directory::new();
    let authority = folder.write("ca.pem", &certificates.authority.pem);
    let server = TestServer::start(Setup::tls()).await;
    let port = server.socket_addr().port().to_string();
    let at = |host: &'static str, rest: &[&dyn AsRef<OsStr>]| {
        publish(&[&[&"-h" as &dyn AsRef<OsStr>, &host, &"-p", &port], rest].concat())
    };
    at("localhost", &[&"--cafile", &authority]).expect(status::DONE);
    at("localhost", &[&"--capath", &folder.path()]).expect(status::DONE);
    at("localhost", &[&"--tls"])
        .expect(status::TLS)
        .says("--cafile");
    publish(&[&"-L", &server.uri_by_name(), &"--cafile", &authority]).expect(status::DONE);
    // The configuration's server is kept: its host is not the default one.
    let config = folder.write(
        "client.yaml",
        format!("connection: {{uri: '{}'}}\n", server.uri()),
    );
    publish(&[&"--config", &config, &"--cafile", &authority]).expect(status::DONE);
    // A server that speaks TLS, and a client that does not.
    at("localhost", &[&"-V", &"311"])
        .expect(status::TLS)
        .says("TLS");

    let server = TestServer::start(Setup::tls_as(&certificates.wrong_host)).await;
    let port = server.socket_addr().port().to_string();
    let at = |rest: &[&dyn AsRef<OsStr>]| {
        publish(
            &[
                &[&"-p" as &dyn AsRef<OsStr>, &port, &"--cafile", &authority],
                rest,
            ]
            .concat(),
        )
    };
    at(&[]).expect(status::TLS);
    at(&[&"--insecure"]).expect(status::DONE);
    at(&[&"--server-name", &"elsewhere.example"]).expect(status::DONE);
}

#[tokio::test]
async fn certificates_of_both_sides() {
    let certificates = Certificates::shared();
    let folder = Directory::new();
    let authority = folder.write("ca.pem", &certificates.authority.pem);
    let chain = folder.write("client.pem", &certificates.client.chain_pem);
    let key = folder.write("client.key", &certificates.client.key_pem);
    let other = folder.write("other.key", &certificates.unknown_client.key_pem);
    let server = TestServer::start(Setup::mutual_tls()).await;
    let port = server.socket_addr().port().to_string();
    let with = |rest: &[&dyn AsRef<OsStr>]| {
        publish(
            &[
                &[&"-p" as &dyn AsRef<OsStr>, &port, &"--cafile", &authority],
                rest,
            ]
            .concat(),
        )
    };
    with(&[&"--cert", &chain, &"--key", &key]).expect(status::DONE);
    with(&[]).expect(status::TLS).says("--cert");
    with(&[&"--cert", &chain, &"--key", &other])
        .expect(status::USAGE)
        .says("--key: ");
    with(&[&"--cert", &key, &"--key", &key])
        .expect(status::USAGE)
        .says("--cert");
}

#[tokio::test]
async fn web_socket() {
    let server = TestServer::start(Setup::tcp().websocket()).await;
    let port = server.socket_addr().port().to_string();
    let header = "X-Token: abc";
    publish(&[
        &"-h",
        &"127.0.0.1",
        &"-p",
        &port,
        &"--ws",
        &"--header",
        &header,
    ])
    .expect(status::DONE);
    let seen = server.seen();
    assert_eq!(seen[0].path.as_deref(), Some("/mqtt"));
    assert_eq!(seen[0].header("x-token"), Some("abc"));
    publish(&[&"-L", &format!("{}/mqtt", server.uri())]).expect(status::DONE);
    // The @ is the query's: what follows is no host.
    let url = format!("{}/mqtt?user=ann@invalid.invalid", server.uri());
    publish(&[&"-L", &url, &"-u", &"x", &"-P", &"y"]).expect(status::DONE);

    let folder = Directory::new();
    let authority = folder.write("ca.pem", &Certificates::shared().authority.pem);
    let server = TestServer::start(Setup::tls().websocket()).await;
    let port = server.socket_addr().port().to_string();
    publish(&[&"-p", &port, &"--ws", &"--cafile", &authority]).expect(status::DONE);
}

#[tokio::test]
async fn proxies() {
    let server = TestServer::start(Setup::tcp()).await;
    let port = server.socket_addr().port().to_string();
    let http = Proxy::http(HttpProxy::default()).await;
    let socks = Proxy::socks(SocksProxy::default()).await;
    for uri in [
        format!("http://{}", http.address()),
        format!("socks5://{}", socks.address()),
        format!("socks5h://{}", socks.address()),
    ] {
        publish(&[&"-h", &"127.0.0.1", &"-p", &port, &"--proxy", &uri]).expect(status::DONE);
    }
    let target = format!("127.0.0.1:{port}");
    assert_eq!(
        (http.targets(), socks.targets()),
        (vec![target.clone()], vec![target.clone(), target])
    );
    let wrong = format!("http://{}", server.socket_addr());
    publish(&[&"-p", &port, &"--proxy", &wrong, &"--connect-timeout", &"1"])
        .expect(status::CONNECTION);
}

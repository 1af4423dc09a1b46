//! The examples with sockets, against servers of another kind than they bring themselves.
#![allow(dead_code, reason = "what they do when they are run by themselves")]

#[path = "../../examples/embed_blocking.rs"]
mod embed_blocking;
#[path = "../../examples/embed_mio.rs"]
mod embed_mio;

use martlet_client::Trust;
use martlet_tests::certificates::Certificates;
use martlet_tests::server::{Fault, Level, Setup, TestServer};
use std::net::TcpListener;

/// What else the test does runs on a thread of the server's.
fn start(setup: Setup) -> TestServer {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(TestServer::start(setup))
}

fn trust() -> Trust {
    Trust::new().ca_pem(Certificates::shared().authority.pem.as_str())
}

#[test]
fn the_blocking_loop_speaks_every_transport() {
    for setup in [
        Setup::tcp(),
        Setup::tcp().websocket(),
        Setup::tls().websocket(),
    ] {
        let server = start(setup);
        embed_blocking::run(&server.uri_by_name(), &trust()).unwrap();
    }
}

#[test]
fn the_loop_of_mio_speaks_what_needs_no_certificate() {
    for setup in [
        Setup::tcp().websocket(),
        Setup::tcp().fault(Fault::Drips(Level::Socket)),
    ] {
        let server = start(setup);
        embed_mio::run(&server.uri()).unwrap();
    }
}

#[test]
fn what_went_wrong_is_how_they_end() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = format!("mqtt://{address}");
    assert!(embed_mio::run(&nobody).is_err());
    assert!(embed_blocking::run(&nobody, &trust()).is_err());
    // The operating system's authorities know nothing of this one.
    let server = start(Setup::tls());
    let error = embed_blocking::run(
        &server.uri_by_name(),
        &Trust::new().ca_pem(Certificates::shared().other_authority.pem.as_str()),
    );
    assert!(error.is_err());
}

//! What a connection holds while nothing happens, and what a message costs. Each number was
//! measured and rounded up; a change that passes it should know why.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(clippy::print_stdout, reason = "`--nocapture` shows the numbers")]

#[path = "transport/pair.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod pair;

use bytes::BytesMut;
use martlet_transport::Transport;
use martlet_transport::rustls::{ClientConfig, ClientConnection, RootCertStore};
use pair::{HOST, Stages, provider, world};
use std::io::{Read, Write};
use std::sync::Arc;

const TLS: Stages = Stages {
    proxy: None,
    tls: true,
    web_socket: false,
};
const WEB_SOCKET: Stages = Stages {
    proxy: None,
    tls: false,
    web_socket: true,
};

/// An open connection over which something went each way, and what it holds.
fn idle(stages: Stages) -> i64 {
    let stack = stages.stack();
    let mut server = stages.server();
    let (mut wire, mut plain) = (
        BytesMut::with_capacity(1 << 16),
        BytesMut::with_capacity(1 << 16),
    );
    // What rustls keeps of a session for the next connection belongs to the configuration, not to
    // the connection.
    for _ in 0..2 {
        let mut warm = stages.pair();
        warm.client = Transport::new(&stack).unwrap();
        drop(warm.open());
    }
    let mut answers = Vec::with_capacity(1 << 16);
    let mut held = 0;
    let mut client = None;
    let count = |held: &mut i64, step: &mut dyn FnMut()| {
        *held += allocation_counter::measure(step).bytes_current;
    };
    count(&mut held, &mut || {
        client = Some(Transport::new(&stack).unwrap());
    });
    let client = client.as_mut().unwrap();
    for round in 0..10 {
        count(&mut held, &mut || {
            if client.is_open() {
                client.write(&mut &[7; 100][..]).unwrap();
            }
            let _ = client.poll_wire(&mut wire);
        });
        server.handle(&wire);
        wire.clear();
        if round == 5 {
            server.send(&[9; 100]);
        }
        answers.append(&mut server.output);
        count(&mut held, &mut || {
            wire.extend_from_slice(&answers);
            client.handle_wire(&mut wire, &mut plain).unwrap();
        });
        answers.clear();
    }
    assert!(client.is_open());
    assert_eq!(plain, &[9; 100][..]);
    held
}

/// What rustls itself holds after the same.
fn idle_rustls() -> i64 {
    let mut roots = RootCertStore::empty();
    roots.add(world().ca.certificate.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let mut held = 0;
    // The second one counts, as above.
    for _ in 0..3 {
        let mut server = TLS.server();
        let mut client = None;
        let mut wire = Vec::with_capacity(1 << 16);
        let mut plain = Vec::with_capacity(1 << 16);
        let name = HOST.try_into().unwrap();
        held = 0;
        let mut count =
            |step: &mut dyn FnMut()| held += allocation_counter::measure(step).bytes_current;
        count(&mut || {
            client = Some(ClientConnection::new(config.clone(), Clone::clone(&name)).unwrap());
        });
        let client = client.as_mut().unwrap();
        for round in 0..10 {
            count(&mut || {
                if !client.is_handshaking() {
                    client.writer().write_all(&[7; 100]).unwrap();
                }
                while client.wants_write() {
                    client.write_tls(&mut wire).unwrap();
                }
            });
            server.handle(&wire);
            wire.clear();
            if round == 5 {
                server.send(&[9; 100]);
            }
            let answers = std::mem::take(&mut server.output);
            count(&mut || {
                let mut answers = &answers[..];
                while !answers.is_empty() {
                    client.read_tls(&mut answers).unwrap();
                    client.process_new_packets().unwrap();
                    let _ = client.reader().read_to_end(&mut plain);
                }
            });
        }
        assert_eq!(plain, [9; 100]);
    }
    held
}

#[test]
fn an_idle_connection_holds_little() {
    let inline = i64::try_from(size_of::<Transport>()).unwrap();
    let (tls, web_socket) = (idle(TLS), idle(WEB_SOCKET));
    let both = idle(Stages {
        web_socket: true,
        ..TLS
    });
    let rustls = idle_rustls() + i64::try_from(size_of::<ClientConnection>()).unwrap();
    println!("Transport itself: {inline}");
    println!(
        "on the heap: TLS {tls} (rustls alone: {rustls}), WebSocket {web_socket}, both {both}"
    );
    assert!(inline <= 512, "{inline}");
    assert!(tls <= rustls + 512, "TLS: {tls}, rustls alone: {rustls}");
    assert!(web_socket <= 1024, "{web_socket}");
    assert!(both <= tls + web_socket + 2 * 1024, "{both}");
}

/// One small message each way, over and over.
#[test]
fn a_message_allocates_no_more_than_its_records() {
    // rustls makes a buffer for each record, either way.
    for (stages, most) in [
        (TLS, 2),
        (WEB_SOCKET, 0),
        (
            Stages {
                web_socket: true,
                ..TLS
            },
            2,
        ),
    ] {
        let mut pair = stages.pair().open();
        let mut wire = BytesMut::with_capacity(1 << 16);
        let mut plain = BytesMut::with_capacity(1 << 16);
        let mut worst = 0;
        for round in 0..200 {
            pair.server.send(&[9; 100]);
            let answers = std::mem::take(&mut pair.server.output);
            wire.extend_from_slice(&answers);
            let info = allocation_counter::measure(|| {
                pair.client.handle_wire(&mut wire, &mut plain).unwrap();
                plain.clear();
                wire.clear();
                pair.client.write(&mut &[7; 100][..]).unwrap();
                let _ = pair.client.poll_wire(&mut wire);
            });
            pair.server.handle(&wire);
            wire.clear();
            // The buffers have found their sizes.
            if round > 50 {
                worst = worst.max(info.count_total);
            }
        }
        println!("{stages:?}: {worst} allocations for a message each way");
        assert!(worst <= most, "{stages:?}: {worst}");
    }
}

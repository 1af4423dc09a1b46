//! What holds for every stack: the bytes of MQTT pass, however they are cut on their way.

use crate::pair::{HOST, Pair, Stages, header};
use bytes::{Buf, Bytes, BytesMut};
use martlet_transport::{Handshake, Stack, StackErrorKind, Transport};
use proptest::prelude::*;

/// Opens, says something both ways in several pieces, and returns what each got.
fn conversation(stages: Stages, sizes: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let mut pair = stages.pair();
    pair.sizes = sizes.to_vec();
    assert_eq!(pair.client.is_open(), pair.client.handshake().is_none());
    let mut pair = pair.open();
    for part in 0..5u8 {
        pair.write(&[part; 300]);
        pair.server.send(&[part + 100; 20_000]);
        pair.server.send(b"more");
        pair.drive().unwrap();
    }
    (pair.server.received.clone(), pair.received.to_vec())
}

#[test]
fn bytes_pass_through_every_stack_whole_and_one_at_a_time() {
    for stages in Stages::all() {
        let (to_server, to_client) = conversation(stages, &[usize::MAX]);
        assert_eq!(to_server.len(), 5 * 300, "{stages:?}");
        assert_eq!(to_client.len(), 5 * 20_004, "{stages:?}");
        assert!(
            to_client[20_000..].starts_with(b"more\x65\x65"),
            "{stages:?}"
        );
        assert_eq!(
            conversation(stages, &[1]),
            (to_server, to_client),
            "{stages:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn bytes_pass_however_they_are_cut(
        which in 0..Stages::all().len(),
        sizes in prop::collection::vec(1usize..3000, 1..12),
    ) {
        let (to_server, to_client) = conversation(Stages::all()[which], &sizes);
        let (whole_to_server, whole_to_client) = conversation(Stages::all()[which], &[usize::MAX]);
        prop_assert!(to_server == whole_to_server && to_client == whole_to_client);
    }
}

#[test]
fn handshakes_come_in_order() {
    for stages in Stages::all() {
        let mut pair = stages.pair();
        pair.sizes = vec![1];
        let mut seen = Vec::new();
        let mut wire = BytesMut::new();
        loop {
            if let Some(handshake) = pair.client.handshake() {
                if seen.last() != Some(&handshake) {
                    seen.push(handshake);
                }
                assert_eq!(
                    pair.client.write(&mut &b"early"[..]),
                    Ok(0),
                    "nothing is taken in a handshake"
                );
            }
            let polled = pair.client.poll_wire(&mut wire);
            pair.server.handle(&wire.split());
            let answer = std::mem::take(&mut pair.server.output);
            if polled + answer.len() == 0 {
                break;
            }
            // One byte, and then what it makes the client say.
            for byte in answer {
                pair.client
                    .handle_wire(&mut BytesMut::from(&[byte][..]), &mut pair.received)
                    .unwrap();
                if let Some(handshake) = pair.client.handshake() {
                    if seen.last() != Some(&handshake) {
                        seen.push(handshake);
                    }
                }
            }
        }
        let expected: Vec<_> = [
            stages.proxy.map(|_| Handshake::Proxy),
            stages.tls.then_some(Handshake::Tls),
            stages.web_socket.then_some(Handshake::WebSocket),
        ]
        .into_iter()
        .flatten()
        .collect();
        assert_eq!(seen, expected, "{stages:?}");
        assert!(pair.client.is_open());
    }
}

/// The answer of one stage and the first bytes of the next come in one read.
#[test]
fn what_comes_behind_the_last_byte_of_a_handshake_is_not_lost() {
    for stages in Stages::all() {
        let mut pair = stages.pair();
        let mut wire = BytesMut::new();
        let mut last = Vec::new();
        for _ in 0..20 {
            if pair.client.poll_wire(&mut wire) == 0 {
                break;
            }
            pair.server.handle(&wire.split());
            last = std::mem::take(&mut pair.server.output);
            // The handshake's last bytes are held back until there is data behind them.
            if pair.server.is_open() {
                break;
            }
            pair.client
                .handle_wire(&mut BytesMut::from(&last[..]), &mut pair.received)
                .unwrap();
        }
        pair.server.send(b"at once");
        last.append(&mut pair.server.output);
        pair.client
            .handle_wire(&mut BytesMut::from(&last[..]), &mut pair.received)
            .unwrap();
        assert_eq!(pair.received, &b"at once"[..], "{stages:?}");
    }
}

#[test]
fn a_mebibyte_each_way_in_bounded_memory() {
    const SIZE: usize = 1 << 20;
    let payload: Bytes = (0..SIZE).map(|at| (at % 251) as u8).collect();
    for stages in Stages::all() {
        let mut pair = stages.pair().open();
        let mut left = payload.clone();
        while left.has_remaining() {
            let (mut taken, mut wire) = (0, BytesMut::new());
            // Without a poll it stops taking.
            loop {
                match pair.client.write(&mut (&mut left).take(1000)).unwrap() {
                    0 => break,
                    some => taken += some,
                }
            }
            assert!(taken <= 64 * 1024, "{stages:?}: {taken}");
            let polled = pair.client.poll_wire(&mut wire);
            assert!(polled <= 70 * 1024, "{stages:?}: {polled}");
            pair.server.handle(&wire);
        }
        assert_eq!(pair.server.received, payload, "{stages:?}");

        pair.server.send(&payload);
        pair.sizes = vec![16 * 1024];
        pair.drive().unwrap();
        assert_eq!(pair.received, payload, "{stages:?}");
    }
}

/// Many tiny writes cost more on the wire than they hold.
#[test]
fn tiny_writes_are_bounded_by_what_they_cost() {
    for stages in Stages::all() {
        let mut pair = stages.pair().open();
        let mut taken = 0;
        while pair.client.write(&mut &b"x"[..]).unwrap() > 0 {
            taken += 1;
        }
        assert!(taken > 500);
        let mut wire = BytesMut::new();
        let polled = pair.client.poll_wire(&mut wire);
        assert!(
            polled <= 70 * 1024,
            "{stages:?}: {taken} bytes became {polled}"
        );
    }
}

#[test]
fn scattered_pieces_share_a_record() {
    /// Two pieces that are apart in memory.
    fn pieces() -> impl Buf {
        Bytes::from_static(b"head").chain(Bytes::from_static(b"payload"))
    }
    let mut pair = Stages {
        proxy: None,
        tls: true,
        web_socket: false,
    }
    .pair()
    .open();
    let mut wire = BytesMut::new();
    assert_eq!(pair.client.write(&mut pieces()), Ok(11));
    let scattered = pair.client.poll_wire(&mut wire);
    assert_eq!(pair.client.write(&mut &b"headpayload"[..]), Ok(11));
    assert_eq!(
        pair.client.poll_wire(&mut wire),
        scattered,
        "one record as well"
    );
    pair.server.handle(&wire);
    assert_eq!(pair.server.received, b"headpayloadheadpayload");
}

#[test]
fn the_end_of_each_handshake_says_what_it_means() {
    for stages in Stages::all() {
        let mut pair = stages.pair();
        let Some(handshake) = pair.client.handshake() else {
            assert_eq!(
                pair.client.handle_eof(),
                Ok(()),
                "plain TCP ends as it likes"
            );
            continue;
        };
        let error = pair.client.handle_eof().unwrap_err();
        let (kind, word) = match handshake {
            Handshake::Proxy => (
                StackErrorKind::Proxy,
                "the proxy closed the connection without an answer",
            ),
            Handshake::Tls => (StackErrorKind::NotTls, "may not speak TLS"),
            Handshake::WebSocket => (StackErrorKind::WebSocket, "does this port serve WebSocket?"),
            other => panic!("{other:?}"),
        };
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(word), "{error}");
        assert!(!error.is_permanent());
        assert_eq!(pair.client.write(&mut &b"x"[..]), Err(error.clone()));
        let mut wire = BytesMut::from("x");
        assert_eq!(
            pair.client.handle_wire(&mut wire, &mut pair.received),
            Err(error)
        );
        assert!(wire.is_empty() && pair.received.is_empty());
    }
}

#[test]
fn a_farewell_follows_what_was_written() {
    for stages in Stages::all() {
        let mut pair = stages.pair().open();
        assert_eq!(pair.client.write(&mut &b"last"[..]), Ok(4));
        pair.client.close();
        pair.client.close();
        assert_eq!(pair.client.write(&mut &b"later"[..]), Ok(0));
        pair.drive().unwrap();
        assert_eq!(pair.server.received, b"last", "{stages:?}");
        if let Some(tls) = &mut pair.server.tls {
            assert!(
                tls.process_new_packets().unwrap().peer_has_closed(),
                "{stages:?}"
            );
        }
        if let Some(web_socket) = &pair.server.web_socket {
            assert_eq!(web_socket.control.len(), 1, "{:?}", web_socket.control);
            assert!(web_socket.control[0].is_close());
        }
        assert_eq!(pair.client.handle_eof(), Ok(()), "{stages:?}");
    }
}

#[test]
fn data_still_arrives_after_our_farewell_and_the_servers_is_no_error() {
    for stages in Stages::all() {
        let mut pair = stages.pair().open();
        pair.client.close();
        pair.server.send(b"on its way");
        pair.drive().unwrap();
        assert_eq!(pair.received, &b"on its way"[..], "{stages:?}");
        if stages.tls {
            pair.server.close_notify();
            pair.drive().unwrap();
        }
        assert_eq!(pair.client.handle_eof(), Ok(()), "{stages:?}");
    }
}

#[test]
fn closing_in_a_handshake_is_quiet() {
    for stages in Stages::all() {
        let mut pair = stages.pair();
        pair.client.close();
        let mut wire = BytesMut::new();
        let _ = pair.client.poll_wire(&mut wire);
        assert_eq!(pair.client.handle_eof(), Ok(()));
    }
}

#[test]
fn an_empty_read_is_not_the_end() {
    for stages in Stages::all() {
        let mut pair = stages.pair();
        let (mut nothing, mut plain) = (BytesMut::new(), BytesMut::new());
        pair.client.handle_wire(&mut nothing, &mut plain).unwrap();
        let mut pair = pair.open();
        pair.client.handle_wire(&mut nothing, &mut plain).unwrap();
        pair.server.send(b"still here");
        pair.drive().unwrap();
        assert_eq!(pair.received, &b"still here"[..]);
    }
}

/// [MQTT-6.0.0-3]
#[test]
fn the_request_has_path_query_and_headers_as_they_were_given() {
    let mut pair = Stages {
        proxy: None,
        tls: true,
        web_socket: true,
    }
    .pair()
    .open();
    let request = std::mem::take(&mut pair.server.web_socket.as_mut().unwrap().request);
    assert!(
        request.starts_with("GET /mqtt?token=%20a HTTP/1.1\r\n"),
        "{request}"
    );
    assert_eq!(header(&request, "Host"), Some("broker.example:8883"));
    assert_eq!(header(&request, "Sec-WebSocket-Protocol"), Some("mqtt"));
    assert_eq!(header(&request, "Sec-WebSocket-Version"), Some("13"));
    assert_eq!(header(&request, "Authorization"), Some("Bearer abc"));
}

#[test]
fn debug_has_no_secrets() {
    for stages in Stages::all() {
        let stack = stages.stack();
        let transport = Transport::new(&stack).unwrap();
        let text = format!("{stack:?} {transport:?}");
        for secret in ["p@ss", "Bearer", "token"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(stages.proxy.is_none() || text.contains(HOST));
    }
}

#[test]
fn a_transport_may_go_to_another_thread() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Transport>();
    is_send_and_sync::<Stack>();
}

#[test]
fn no_stage_at_all_passes_bytes_on() {
    let mut pair = Pair::new(
        &Stack::default(),
        Stages {
            proxy: None,
            tls: false,
            web_socket: false,
        }
        .server(),
    );
    assert!(pair.client.is_open());
    pair.write(b"there");
    pair.server.send(b"back");
    pair.drive().unwrap();
    assert_eq!(
        (&pair.server.received[..], &pair.received[..]),
        (&b"there"[..], &b"back"[..])
    );
}

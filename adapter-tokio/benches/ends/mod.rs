//! The other end of a client that is measured, and the clock.
#![allow(dead_code, reason = "each benchmark uses what it needs")]

use cpu_time::ThreadTime;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

#[allow(clippy::all, clippy::semicolon_if_nothing_returned, unreachable_pub, dead_code, missing_docs, reason = "a yardstick, kept as it is")]
#[rustfmt::skip]
#[path = "../../../bench/floors/codec.rs"]
pub(crate) mod codec;

pub(crate) const TOPIC: &str = "sensors/building-7/t/001";
pub(crate) const WINDOW: usize = 100;

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs a client on a current-thread runtime; `work` gives the nanoseconds of this thread for `n`
/// messages.
pub(crate) fn run<F: Future<Output = ThreadTime>>(
    n: usize,
    work: impl FnOnce(u16) -> F,
    sink: impl FnOnce(TcpStream) + Send + 'static,
) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_nodelay(true).unwrap();
        sink(socket);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let start = runtime.block_on(work(port));
    let nanos = start.elapsed().as_nanos() as f64 / n as f64;
    drop(runtime);
    server.join().unwrap();
    nanos
}

/// Accepts the connection, then counts PUBLISHes and acknowledges them, a batch for each read.
pub(crate) fn sink(mut socket: TcpStream) {
    let mut buf = vec![0; 1 << 18];
    let (mut have, mut replies) = (0, Vec::new());
    loop {
        match socket.read(&mut buf[have..]) {
            Ok(0) | Err(_) => return,
            Ok(n) => have += n,
        }
        let mut at = 0;
        while let Some((header, len)) = codec::frame(&buf[at..have]) {
            let packet = &buf[at..at + len];
            match packet[0] >> 4 {
                1 => replies.extend_from_slice(b"\x20\x02\x00\x00"),
                3 if packet[0] & 6 != 0 => {
                    let topic =
                        usize::from(u16::from_be_bytes([packet[header], packet[header + 1]]));
                    let id = &packet[header + 2 + topic..][..2];
                    replies.extend_from_slice(&[0x40, 2, id[0], id[1]]);
                }
                8 => replies.extend_from_slice(&[0x90, 3, packet[header], packet[header + 1], 0]),
                _ => {}
            }
            at += len;
        }
        buf.copy_within(at..have, 0);
        have -= at;
        if !replies.is_empty() && socket.write_all(&replies).is_err() {
            return;
        }
        replies.clear();
    }
}

/// Accepts, waits for the SUBSCRIBE, then sends `n` messages of QoS 0.
pub(crate) fn source(mut socket: TcpStream, n: usize) {
    let mut buf = [0; 1024];
    let _ = socket.read(&mut buf).unwrap();
    socket.write_all(b"\x20\x02\x00\x00").unwrap();
    let _ = socket.read(&mut buf).unwrap();
    socket.write_all(&[0x90, 3, buf[2], buf[3], 0]).unwrap();
    let mut one = bytes::BytesMut::new();
    codec::encode(&mut one, 4, 0, 0, TOPIC, &[], &[b'x'; 16]);
    let block = one.repeat(1000);
    for _ in 0..n / 1000 {
        socket.write_all(&block).unwrap();
    }
    let _ = socket.read(&mut buf);
}

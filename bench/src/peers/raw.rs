//! No client at all: a blocking socket and writes of 64 KiB. What it reaches is what the server and
//! the machine allow.

use super::Peer;
use crate::client::Job;
use crate::codec;
use crate::control::Done;
use crate::messages::{Outgoing, Tally};
use crate::scenario::{Scenario, TOPIC};
use bytes::BytesMut;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const BLOCK: usize = 1 << 16;

pub struct Raw(TcpStream);

impl Peer for Raw {
    fn lacks(scenario: Scenario) -> Option<&'static str> {
        match scenario {
            Scenario::Publish { qos: 0, .. } | Scenario::Receive { qos: 0, .. } => None,
            _ => Some("only shows what the server does"),
        }
    }

    async fn connect(job: &Job, _: &str) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", job.port)).expect("a connection");
        socket.set_nodelay(true).expect("a socket");
        let connect = b"\x10\x0f\x00\x04MQTT\x04\x02\x02\x58\x00\x03raw";
        socket.write_all(connect).expect("a server");
        socket.read_exact(&mut [0; 4]).expect("a CONNACK");
        Self(socket)
    }

    async fn publish(&mut self, messages: Outgoing, done: Done) {
        let mut block = BytesMut::with_capacity(2 * BLOCK);
        for payload in messages.payloads() {
            codec::encode(&mut block, 4, 0, 0, TOPIC, &[], &payload);
            if block.len() >= BLOCK {
                self.0.write_all(&block).expect("a server");
                block.clear();
            }
        }
        self.0.write_all(&block).expect("a server");
        done.await.expect("a server");
    }

    async fn subscribe(&mut self, filters: Vec<String>, qos: u8) {
        for filter in filters {
            let len = filter.len() as u8;
            let mut packet = vec![0x82, 5 + len, 0, 1, 0, len];
            packet.extend_from_slice(filter.as_bytes());
            packet.push(qos);
            self.0.write_all(&packet).expect("a server");
            self.0.read_exact(&mut [0; 5]).expect("a SUBACK");
        }
    }

    async fn receive(&mut self, n: usize, _: Duration) -> Tally {
        let mut input = vec![0; 4 * BLOCK];
        let (mut have, mut tally) = (0, Tally::default());
        while tally.count < n as u64 {
            have += self.0.read(&mut input[have..]).expect("a server");
            let mut at = 0;
            while let Some((packet, len)) = codec::decode_borrowed(&input[at..have], 4) {
                tally.add(packet.payload);
                at += len;
            }
            input.copy_within(at..have, 0);
            have -= at;
        }
        tally
    }

    async fn ping(&mut self, _: Vec<u8>) {
        unreachable!("lacking");
    }

    async fn disconnect(self) {}
}

//! A server whose part a test plays, in MQTT 3.1.1.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// Where clients find the test, and the port of that.
pub(crate) fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// One connection of a client.
pub(crate) struct Peer(TcpStream);

impl Peer {
    /// Waits for a client, and accepts its CONNECT.
    pub(crate) fn accept(listener: &TcpListener) -> Self {
        let mut peer = Self::connecting(listener);
        peer.accept_connect();
        peer
    }

    /// Waits for a client, whose CONNECT stays unread.
    pub(crate) fn connecting(listener: &TcpListener) -> Self {
        Self(listener.accept().unwrap().0)
    }

    pub(crate) fn accept_connect(&mut self) {
        assert_eq!(self.read().unwrap()[0], 0x10);
        self.write(&[0x20, 2, 0, 0]);
    }

    /// Reads a SUBSCRIBE of one filter, and accepts it.
    pub(crate) fn accept_subscribe(&mut self) {
        let subscribe = self.read().unwrap();
        assert_eq!(subscribe[0], 0x82, "{subscribe:?}");
        self.write(&[0x90, 3, subscribe[2], subscribe[3], 0]);
    }

    /// The next packet; none at the end of the connection.
    pub(crate) fn read(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![0];
        self.0.read_exact(&mut packet).ok()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let mut byte = [0];
            self.0.read_exact(&mut byte).ok()?;
            packet.push(byte[0]);
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] < 0x80 {
                break;
            }
        }
        let head = packet.len();
        packet.resize(head + length, 0);
        self.0.read_exact(&mut packet[head..]).ok()?;
        Some(packet)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        // The client may have ended.
        let _ = self.0.write_all(bytes);
    }

    /// Acknowledges a PUBLISH of QoS 1 that is shorter than 128 bytes.
    pub(crate) fn acknowledge(&mut self, publish: &[u8]) {
        assert_eq!(publish[0] & 0xf6, 0x32, "{publish:?}");
        let id = 4 + usize::from(publish[3]);
        self.write(&[0x40, 2, publish[id], publish[id + 1]]);
    }
}

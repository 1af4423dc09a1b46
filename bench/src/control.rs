//! A connection beside MQTT, on which the client starts the server's part of a measurement, and the
//! server reports that it has all messages. It makes the end of a measurement the same for all.

use std::io::{Read, Write};
use std::net::TcpStream;
use tokio::sync::oneshot;

/// The first byte of such a connection. MQTT begins with 0x10.
pub const HELLO: u8 = b'C';
const GO: u8 = b'g';
const DONE: u8 = b'd';

/// Completes when the server has completed all messages.
pub type Done = oneshot::Receiver<()>;

pub struct Control(TcpStream);

impl Control {
    /// The client's end.
    pub fn connect(port: u16) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a control connection");
        stream.set_nodelay(true).expect("a socket");
        stream.write_all(&[HELLO]).expect("a server");
        stream.read_exact(&mut [0]).expect("a server");
        Self(stream)
    }

    /// The certificate of the authority that the server sends before anything else over TLS.
    pub fn authority(&mut self) -> String {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).expect("a server");
        let mut pem = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut pem).expect("a server");
        String::from_utf8(pem).expect("PEM")
    }

    /// The server's end, of which the first byte is read.
    pub fn accept(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// Lets the client begin: the server knows this connection.
    pub fn welcome(&mut self) {
        // A client that has gone shows at the next read.
        let _ = self.0.write_all(&[HELLO]);
    }

    pub fn send_authority(&mut self, pem: &str) {
        let length = (pem.len() as u32).to_be_bytes();
        // A client that has gone shows at the next read.
        let _ = self.0.write_all(&length);
        let _ = self.0.write_all(pem.as_bytes());
    }

    pub fn share(&self) -> Self {
        Self(self.0.try_clone().expect("a socket"))
    }

    pub fn go(&mut self) {
        self.0.write_all(&[GO]).expect("a server");
    }

    /// Waits for `go` of the client; `false` when the client has gone.
    pub fn wait(&mut self) -> bool {
        self.0.read_exact(&mut [0]).is_ok()
    }

    pub fn report_done(&mut self) {
        // The client may have seen enough.
        let _ = self.0.write_all(&[DONE]);
    }

    pub fn done(&self) -> Done {
        let (sender, receiver) = oneshot::channel();
        let mut control = self.share();
        std::thread::spawn(move || {
            if control.wait() {
                let _ = sender.send(());
            }
        });
        receiver
    }
}

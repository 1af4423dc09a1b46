//! A client that is a socket and bytes.

use martlet_broker::TestBroker;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// MQTT 3.1.1, clean session, keep alive off, client identifier `a`.
pub(crate) const CLEAN: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
/// The same with a session that is kept.
pub(crate) const LASTING: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x00\x00\x01a";
/// MQTT 5, clean start, client identifier `b`.
pub(crate) const V5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01b";
pub(crate) const CONNACK: &[u8] = b"\x20\x02\x00\x00";
pub(crate) const SESSION_PRESENT: &[u8] = b"\x20\x02\x01\x00";
pub(crate) const SUBSCRIBE: &[u8] = b"\x82\x06\x00\x01\x00\x01t\x01";
pub(crate) const SUBACK: &[u8] = b"\x90\x03\x00\x01\x01";
/// To the topic `t`, with the payload `x`.
pub(crate) const QOS_1: &[u8] = b"\x32\x06\x00\x01t\x00\x09x";
pub(crate) const PUBACK: &[u8] = b"\x40\x02\x00\x09";
pub(crate) const QOS_2: &[u8] = b"\x34\x06\x00\x01t\x00\x09x";
pub(crate) const QOS_2_AGAIN: &[u8] = b"\x3c\x06\x00\x01t\x00\x09x";
pub(crate) const PUBREC: &[u8] = b"\x50\x02\x00\x09";
pub(crate) const PUBREL: &[u8] = b"\x62\x02\x00\x09";
pub(crate) const PUBCOMP: &[u8] = b"\x70\x02\x00\x09";
pub(crate) const PINGREQ: &[u8] = b"\xc0\x00";
pub(crate) const PINGRESP: &[u8] = b"\xd0\x00";

/// Nothing takes that long unless it hangs.
const HANGS: Duration = Duration::from_secs(20);

/// How long nothing is to come.
const MOMENT: Duration = Duration::from_millis(50);

pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) fn dial(broker: &TestBroker) -> Self {
        let socket = TcpStream::connect(broker.local_addr()).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(HANGS)).unwrap();
        Self(socket)
    }

    /// Connects, and gets this answer.
    pub(crate) fn connect(broker: &TestBroker, connect: &[u8], answer: &[u8]) -> Self {
        let mut client = Self::dial(broker);
        client.says(connect);
        client.hears(answer);
        client
    }

    pub(crate) fn says(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub(crate) fn hears(&mut self, bytes: &[u8]) {
        let mut heard = vec![0; bytes.len()];
        self.0.read_exact(&mut heard).unwrap();
        assert_eq!(heard, bytes);
    }

    /// These are the last bytes. (A reset is an end too.)
    pub(crate) fn hears_last(&mut self, bytes: &[u8]) {
        let mut heard = Vec::new();
        if let Err(error) = self.0.read_to_end(&mut heard) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{heard:?}");
        }
        assert_eq!(heard, bytes);
    }

    /// Whatever comes, there is an end.
    pub(crate) fn ends(&mut self) {
        if let Err(error) = self.0.read_to_end(&mut Vec::new()) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }

    /// Nothing comes, and the connection stays open.
    pub(crate) fn hears_nothing(&mut self) {
        self.0.set_read_timeout(Some(MOMENT)).unwrap();
        let heard = self.0.read(&mut [0]).map_err(|error| error.kind());
        self.0.set_read_timeout(Some(HANGS)).unwrap();
        assert!(
            matches!(heard, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)),
            "{heard:?}"
        );
    }
}

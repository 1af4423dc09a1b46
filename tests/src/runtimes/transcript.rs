//! What a client says and hears, packet by packet, and byte by byte.

use super::adapter::Adapter;
use bytes::BytesMut;
use martlet_client::{Builder, Client, Version, hooks::Observer, proto::Packet, session::Instant};
use std::fmt::Write;
use tokio::sync::mpsc;

/// A client whose packets are written down.
pub(super) async fn transcribed<A: Adapter>(builder: Builder) -> (Client, Transcript) {
    let (builder, transcript) = observed(builder);
    (A::connect_with(builder).await.unwrap(), transcript)
}

/// The same before it connects.
pub(super) fn observed(builder: Builder) -> (Builder, Transcript) {
    let (observer, lines) = mpsc::unbounded_channel();
    let transcript = Transcript {
        lines,
        seen: Vec::new(),
    };
    (builder.observer(Lines(observer)), transcript)
}

#[derive(Clone)]
struct Lines(mpsc::UnboundedSender<Line>);

/// A packet: its direction, type and identifier.
struct Line {
    packet: String,
    bytes: BytesMut,
}

impl Lines {
    fn line(&self, direction: &str, packet: &Packet) {
        let identifier = match packet {
            Packet::Publish(publish) => publish.delivery().packet_identifier(),
            Packet::PubAck(ack) | Packet::PubRec(ack) => Some(ack.packet_identifier),
            Packet::PubRel(ack) | Packet::PubComp(ack) => Some(ack.packet_identifier),
            Packet::Subscribe(subscribe) => Some(subscribe.packet_identifier),
            Packet::SubAck(suback) => Some(suback.packet_identifier),
            Packet::Unsubscribe(unsubscribe) => Some(unsubscribe.packet_identifier),
            Packet::UnsubAck(unsuback) => Some(unsuback.packet_identifier),
            _ => None,
        };
        let identifier = identifier.map_or_else(String::new, |identifier| format!(" {identifier}"));
        let mut bytes = BytesMut::new();
        // A CONNECT has its own.
        let version = match packet {
            Packet::Connect(connect) => connect.version,
            _ => Version::V5,
        };
        packet.encode(version, &mut bytes).unwrap();
        // Nobody reads it any more when the test has ended.
        let packet = format!("{direction} {}{identifier}", packet.packet_type());
        let _ = self.0.send(Line { packet, bytes });
    }
}

impl Observer for Lines {
    fn packet_sent(&mut self, _at: Instant, packet: &Packet) {
        self.line("out", packet);
    }

    fn packet_received(&mut self, _at: Instant, packet: &Packet) {
        self.line("in", packet);
    }
}

/// The packets of a client.
pub(super) struct Transcript {
    lines: mpsc::UnboundedReceiver<Line>,
    seen: Vec<Line>,
}

impl Transcript {
    /// Waits for the next packet whose line begins like this.
    pub(super) async fn until(&mut self, line: &str) {
        loop {
            let next = self.lines.recv().await.expect("the client goes on");
            let is_it = next.packet.starts_with(line);
            self.seen.push(next);
            if is_it {
                return;
            }
        }
    }

    /// All that were seen so far.
    pub(super) fn all(&mut self) -> Vec<&str> {
        self.read().map(|line| &*line.packet).collect()
    }

    /// Likewise, one a line, with its bytes.
    pub(super) fn bytes(&mut self) -> String {
        let mut text = String::new();
        for line in self.read() {
            text += &line.packet;
            text.push(':');
            for byte in &line.bytes {
                write!(text, " {byte:02x}").unwrap();
            }
            text.push('\n');
        }
        text
    }

    fn read(&mut self) -> impl Iterator<Item = &Line> {
        while let Ok(line) = self.lines.try_recv() {
            self.seen.push(line);
        }
        self.seen.iter()
    }
}

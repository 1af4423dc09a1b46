//! What a client says and hears, packet by packet.

use super::Adapter;
use martlet_client::{Builder, Client, Instant, Observer, Packet};
use tokio::sync::mpsc;

/// A client whose packets are written down.
pub(super) async fn transcribed<A: Adapter>(builder: Builder) -> (Client, Transcript) {
    let (observer, lines) = mpsc::unbounded_channel();
    let builder = builder.observer(Lines(observer));
    (A::connect_with(builder).await.unwrap(), Transcript { lines, seen: Vec::new() })
}

struct Lines(mpsc::UnboundedSender<String>);

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
        // Nobody reads it any more when the test has ended.
        let _ = self.0.send(format!("{direction} {}{identifier}", packet.packet_type()));
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

/// The packets of a client, one a line.
pub(super) struct Transcript {
    lines: mpsc::UnboundedReceiver<String>,
    seen: Vec<String>,
}

impl Transcript {
    /// Waits for the next packet whose line begins like this.
    pub(super) async fn until(&mut self, line: &str) {
        loop {
            let next = self.lines.recv().await.expect("the client goes on");
            let is_it = next.starts_with(line);
            self.seen.push(next);
            if is_it {
                return;
            }
        }
    }

    /// All that were seen so far.
    pub(super) fn all(&mut self) -> &[String] {
        while let Ok(line) = self.lines.try_recv() {
            self.seen.push(line);
        }
        &self.seen
    }
}

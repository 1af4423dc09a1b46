//! Bytes of the server become packets, and each packet goes to its handler.

use crate::session::Phase;
use crate::session::rejecting::Rejected;
use crate::session::timers::TimerKind;
use crate::store::context::Context;
use crate::{ConnectionError, Event, Instant, Misbehaviour, Session};
use bytes::BytesMut;
use martlet_proto::Packet;

impl Session {
    // ---- handlers

    /// Bytes have arrived, or [`wants_input`](Self::wants_input) has become true again. Whole
    /// packets are consumed from the front; keep the rest and append to it.
    pub fn handle_input(&mut self, now: Instant, input: &mut BytesMut) {
        self.handle_input_upto(now, input, usize::MAX);
    }

    /// Like [`handle_input`](Self::handle_input), but stops after the first packet with which
    /// `bytes` bytes or more are consumed. Call it again with what is left, even without new bytes,
    /// as long as it consumes any. A caller that holds a lock bounds the work for each time that it
    /// holds it.
    pub fn handle_input_upto(&mut self, now: Instant, input: &mut BytesMut, bytes: usize) {
        let enough = input.len().saturating_sub(bytes);
        if input.len() > self.unread as usize && !self.is_over() {
            self.last_received = now;
            // Any byte answers for the link. Otherwise the next PINGREQ only becomes due later.
            if self.timers.get(TimerKind::PingResponse).is_some() {
                self.timers.stop(TimerKind::PingResponse);
                self.arm_keep_alive();
            }
        }
        self.inbound.begin_turn(now);
        let (mut publishes, mut bytes_of_publishes) = (0, 0);
        loop {
            if self.is_over() {
                input.clear();
                break;
            }
            if input.is_empty() || !self.wants_input() || (input.len() <= enough && enough > 0) {
                break;
            }
            if self.skipping > 0 {
                self.skip(input);
                continue;
            }
            if self.handle_short_acks(input) {
                continue;
            }
            let before = input.len();
            let done =
                match Packet::decode(input, self.output.version, self.config.maximum_packet_size) {
                    Ok(None) => break,
                    // The packet that must be fast takes no detour.
                    Ok(Some(Packet::Publish(publish)))
                        if !matches!(self.phase, Phase::Connecting) =>
                    {
                        publishes += 1;
                        bytes_of_publishes += publish.len();
                        self.handle_publish(publish)
                    }
                    Ok(Some(packet)) => {
                        let bytes = before - input.len();
                        let tally = &mut self.output.tally;
                        tally.add_received_packet(packet.packet_type(), bytes);
                        self.handle_packet(now, packet)
                    }
                    Err(error) => match self.reject(error, input) {
                        Rejected::Skip => continue,
                        Rejected::Incomplete => break,
                        Rejected::Fail(error) => Err(error),
                    },
                };
            if let Err(error) = done {
                self.fail(error);
            }
        }
        let tally = &mut self.output.tally;
        tally.add_received(publishes, bytes_of_publishes);
        self.unread = u32::try_from(input.len()).unwrap_or(u32::MAX);
        self.finish_drain();
    }

    fn handle_packet(&mut self, now: Instant, packet: Packet) -> Result<(), ConnectionError> {
        match packet {
            Packet::Disconnect(packet) if self.output.version.has_properties() => {
                return self.handle_disconnect(*packet);
            }
            Packet::ConnAck(packet) if matches!(self.phase, Phase::Connecting) => {
                return self.handle_connack(now, *packet);
            }
            Packet::Auth(packet) => return self.handle_auth(now, *packet),
            packet if matches!(self.phase, Phase::Connecting) => {
                return Err(ConnectionError::PeerMisbehaved(
                    Misbehaviour::BeforeConnAck(packet.packet_type()),
                ));
            }
            Packet::Publish(publish) => return self.handle_publish(publish),
            Packet::PubAck(ack) => self.handle_puback(ack),
            Packet::PubRec(ack) => self.handle_pubrec(ack),
            Packet::PubRel(ack) => self.inbound.handle_pubrel(
                ack.packet_identifier,
                &mut Context::new(&mut self.output, &mut self.journal),
            ),
            Packet::PubComp(ack) => {
                self.note_answer();
                self.handle_pubcomp(ack.packet_identifier);
            }
            Packet::SubAck(packet) => return self.handle_suback(*packet),
            Packet::UnsubAck(packet) => return self.handle_unsuback(*packet),
            Packet::PingResp => {
                self.output.tally.end_ping(now);
                self.show_liveness();
                if let Some(Some(operation)) = self.requests.pings.pop_front() {
                    self.events.push_back(Event::Pong {
                        operation,
                        result: Ok(()),
                    });
                }
            }
            Packet::ConnAck(_) => {
                return Err(ConnectionError::PeerMisbehaved(Misbehaviour::SecondConnAck));
            }
            Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Disconnect(_) => {
                return Err(ConnectionError::PeerMisbehaved(
                    Misbehaviour::NotAServerPacket(packet.packet_type()),
                ));
            }
        }
        Ok(())
    }
}

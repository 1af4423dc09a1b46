//! The server of the random conversations, which keeps books of what a client may do.

use crate::driver::*;
use martlet_proto::{
    Ack, Packet, PubAckReasonCode, Publish, SubAckReasonCode, UnsubAckReasonCode, Version,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owed {
    PubAck(u16),
    PubRec(u16),
    PubComp(u16),
    PubRel(u16),
    SubAck(u16),
    UnsubAck(u16),
    PingResp,
}

/// A message of the server's on its way to the client.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) quality: u8,
    pub(super) id: u16,
    pub(super) payload: String,
    pub(super) recorded: bool,
}

/// Keeps books of what a client may do.
#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) connected: bool,
    pub(super) window: usize,
    pub(super) owed: Vec<Owed>,
    /// PUBLISHes of this connection that were not acknowledged.
    pub(super) unacknowledged: BTreeSet<u16>,
    /// Packet identifiers that the client may not use for anything new.
    pub(super) live: BTreeSet<u16>,
    /// Those of them that are requests of this connection.
    pub(super) requests: BTreeSet<u16>,
    /// QoS 2: identifiers between PUBLISH and PUBREL.
    pub(super) received: BTreeMap<u16, String>,
    /// The payloads of QoS 2 that were taken in this session.
    pub(super) arrived: BTreeSet<String>,
    pub(super) outgoing: Vec<Outgoing>,
    /// Identifiers that this connection is to acknowledge, in order, of QoS 1 and of QoS 2.
    pub(super) order: [VecDeque<u16>; 2],
    pub(super) next_id: u16,
    pub(super) next_payload: usize,
}

impl Server {
    pub(super) fn disconnected(&mut self) {
        self.connected = false;
        self.owed.clear();
        self.unacknowledged.clear();
        self.order = Default::default();
        // Requests end with the connection; messages do not.
        for id in std::mem::take(&mut self.requests) {
            self.live.remove(&id);
        }
    }

    pub(super) fn lose_session(&mut self) {
        self.live.clear();
        self.received.clear();
        self.arrived.clear();
        self.outgoing.clear();
    }

    pub(super) fn handle(&mut self, packet: Packet) {
        match packet {
            Packet::Publish(publish) => self.handle_publish(&publish),
            Packet::PubRel(ack) => {
                let id = ack.packet_identifier.get();
                self.received.remove(&id);
                if !self.owed.contains(&Owed::PubComp(id)) {
                    self.owed.push(Owed::PubComp(id));
                }
            }
            Packet::Subscribe(packet) => {
                self.handle_request(packet.packet_identifier.get(), Owed::SubAck);
            }
            Packet::Unsubscribe(packet) => {
                self.handle_request(packet.packet_identifier.get(), Owed::UnsubAck);
            }
            Packet::PingReq => self.owed.push(Owed::PingResp),
            Packet::PubAck(ack) => {
                let id = ack.packet_identifier.get();
                assert_eq!(
                    self.order[0].pop_front(),
                    Some(id),
                    "PUBACKs in the order of PUBLISHes"
                );
                self.outgoing.retain(|out| (out.quality, out.id) != (1, id));
            }
            Packet::PubRec(ack) => self.handle_pubrec(&ack),
            Packet::PubComp(ack) => {
                let id = ack.packet_identifier.get();
                self.outgoing
                    .retain(|out| (out.quality, out.id, out.recorded) != (2, id, true));
            }
            Packet::Connect(_) | Packet::Disconnect(_) => {}
            other => panic!("{other:?} from a client"),
        }
    }

    fn handle_publish(&mut self, publish: &Publish) {
        let Some(id) = publish.delivery().packet_identifier().map(NonZeroU16::get) else {
            return;
        };
        assert!(
            self.unacknowledged.insert(id),
            "#{id} twice on this connection"
        );
        assert!(
            self.unacknowledged.len() <= self.window,
            "the window is {}",
            self.window
        );
        let fresh = self.live.insert(id);
        assert!(fresh || publish.delivery().duplicate(), "#{id} is in use");
        if publish.delivery().qos().as_u8() == 1 {
            self.owed.push(Owed::PubAck(id));
            return;
        }
        if !self.received.contains_key(&id) {
            let payload = String::from_utf8(publish.payload().to_vec()).expect("a number");
            assert!(self.arrived.insert(payload.clone()), "exactly once");
            self.received.insert(id, payload);
        }
        self.owed.push(Owed::PubRec(id));
    }

    /// A SUBSCRIBE or UNSUBSCRIBE.
    fn handle_request(&mut self, id: u16, answer: fn(u16) -> Owed) {
        assert!(self.live.insert(id), "#{id} is in use");
        self.requests.insert(id);
        self.owed.push(answer(id));
    }

    fn handle_pubrec(&mut self, ack: &Ack<PubAckReasonCode>) {
        let id = ack.packet_identifier.get();
        assert_eq!(
            self.order[1].pop_front(),
            Some(id),
            "PUBRECs in the order of PUBLISHes"
        );
        if ack.reason.is_error() {
            self.outgoing.retain(|out| (out.quality, out.id) != (2, id));
        } else if let Some(out) = self
            .outgoing
            .iter_mut()
            .find(|out| (out.quality, out.id) == (2, id))
        {
            out.recorded = true;
            self.owed.push(Owed::PubRel(id));
        }
    }

    /// The answer, and what it means for the books.
    pub(super) fn answer(&mut self, version: Version, i: usize, bad: bool) -> Packet {
        let owed = self.owed.remove(i);
        let reason = if bad {
            PubAckReasonCode::QuotaExceeded
        } else {
            PubAckReasonCode::Success
        };
        match owed {
            Owed::PubAck(n) => {
                self.settle(n);
                Packet::PubAck(Ack::new(id(n), reason))
            }
            Owed::PubRec(n) => {
                if bad {
                    let rejected = self.received.remove(&n);
                    self.arrived.remove(&rejected.unwrap_or_default());
                    self.settle(n);
                }
                Packet::PubRec(Ack::new(id(n), reason))
            }
            Owed::PubComp(n) => {
                self.settle(n);
                pubcomp(n)
            }
            Owed::PubRel(n) => pubrel(n),
            Owed::SubAck(n) => {
                self.requests.remove(&n);
                self.live.remove(&n);
                suback(
                    n,
                    &[if bad {
                        SubAckReasonCode::UnspecifiedError
                    } else {
                        SubAckReasonCode::GrantedQos1
                    }],
                )
            }
            Owed::UnsubAck(n) => {
                self.requests.remove(&n);
                self.live.remove(&n);
                unsuback_of(version, n)
            }
            Owed::PingResp => Packet::PingResp,
        }
    }

    pub(super) fn settle(&mut self, id: u16) {
        self.unacknowledged.remove(&id);
        self.live.remove(&id);
    }
}

pub(super) fn unsuback_of(version: Version, n: u16) -> Packet {
    unsuback(
        n,
        if version.has_properties() {
            &[UnsubAckReasonCode::Success]
        } else {
            &[]
        },
    )
}

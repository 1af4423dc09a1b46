//! Bugs, planted between a session and the world: what a session with that bug would do.

use super::wire::{Frame, WireFrames, number};
use super::wishes::DISLIKED;
use bytes::Bytes;
use martlet_proto::{Packet, Publish, Subscribe, Version};
use martlet_session::{Event, RecordKey, StoreOp};
use std::num::NonZeroU16;

/// Kinds of records, as their format has them.
const FLOW: u8 = 3;
const RECEIVED: u8 = 4;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// What is sent again does not say so.
    ForgetsDup,
    /// What is sent for the first time says that it is sent again.
    ClaimsDup,
    /// A PUBLISH is sent once more after its PUBREL.
    PublishesAfterPubrel,
    /// A PUBREL is never sent again after a reconnect.
    SwallowsPubrel,
    /// A new message has the identifier of one in flight.
    ReusesIdentifiers,
    /// The server's receive maximum is not looked at.
    IgnoresReceiveMaximum,
    /// The server's maximum packet size is not looked at.
    IgnoresPacketSize,
    /// The server's maximum QoS is not looked at.
    IgnoresMaximumQos,
    /// Something follows a DISCONNECT.
    TalksAfterDisconnect,
    /// A CONNECT is sent twice.
    ConnectsTwice,
    /// Acknowledgements leave in another order than the messages came.
    AcknowledgesOutOfOrder,
    /// No PINGREQ is sent.
    NeverPings,
    /// A QoS 2 message is delivered twice.
    DeliversTwice,
    /// Two deliveries change places.
    DeliversOutOfOrder,
    /// A message of QoS 1 or 2 is acknowledged and not delivered.
    LosesDeliveries,
    /// The end of a message is reported twice.
    SettlesTwice,
    /// The end of a message is not reported.
    NeverSettles,
    /// A PUBREC does not wait until its identifier is stored.
    ReceivesUnstored,
    /// A PUBREL does not wait until *released* is stored.
    ReleasesUnstored,
    /// Identifiers that were stored are forgotten when a process begins.
    ForgetsReceived,
    /// A message at which the server hangs up is sent again for ever, also after its end was
    /// reported.
    PublishesForEver,
    /// Likewise a SUBSCRIBE.
    SubscribesForEver,
    /// The failure of a SUBSCRIBE is not reported.
    NeverRefuses,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::ForgetsDup,
        Self::ClaimsDup,
        Self::PublishesAfterPubrel,
        Self::SwallowsPubrel,
        Self::ReusesIdentifiers,
        Self::IgnoresReceiveMaximum,
        Self::IgnoresPacketSize,
        Self::IgnoresMaximumQos,
        Self::TalksAfterDisconnect,
        Self::ConnectsTwice,
        Self::AcknowledgesOutOfOrder,
        Self::NeverPings,
        Self::DeliversTwice,
        Self::DeliversOutOfOrder,
        Self::LosesDeliveries,
        Self::SettlesTwice,
        Self::NeverSettles,
        Self::ReceivesUnstored,
        Self::ReleasesUnstored,
        Self::ForgetsReceived,
        Self::PublishesForEver,
        Self::SubscribesForEver,
        Self::NeverRefuses,
    ];
}

/// Changes what passes between a session and the rest of its world.
#[derive(Debug)]
pub(crate) struct Saboteur {
    bug: Sabotage,
    version: Version,
    sent: WireFrames,
    taken: WireFrames,
    /// Whatever the bug needs to remember of the bytes: a PUBLISH, a PUBACK.
    kept: Option<Bytes>,
    /// Likewise of the events.
    event: Option<Event>,
    /// How often there was an occasion.
    occasions: u64,
    /// On this connection, packets sent.
    packets: u64,
    /// The key of the message in `kept`, and whether its end was reported.
    disliked: Option<u32>,
    has_ended: bool,
}

impl Saboteur {
    pub(crate) fn new(bug: Sabotage, version: Version) -> Self {
        let (sent, taken) = (WireFrames::default(), WireFrames::default());
        Self {
            bug,
            version,
            sent,
            taken,
            kept: None,
            event: None,
            occasions: 0,
            packets: 0,
            disliked: None,
            has_ended: false,
        }
    }

    pub(crate) fn open(&mut self) {
        self.sent.clear();
        self.taken.clear();
        if !matches!(
            self.bug,
            Sabotage::PublishesForEver | Sabotage::SubscribesForEver
        ) {
            self.kept = None;
        }
        self.packets = 0;
    }

    /// Takes one occasion in `one_in`.
    fn occasion(&mut self, one_in: u64) -> bool {
        self.occasions += 1;
        self.occasions % one_in == 0
    }

    /// Whether a crash finds this operation undone, since what had to wait for it did not.
    pub(crate) fn undoes(&self, operation: &StoreOp) -> bool {
        let StoreOp::Put { key, value } = operation else {
            return false;
        };
        match (self.bug, key.to_bytes()[0]) {
            (Sabotage::ReceivesUnstored, RECEIVED) => true,
            // Format, incarnation and packet identifier stand before the phase.
            (Sabotage::ReleasesUnstored, FLOW) => value.get(11) == Some(&2),
            _ => false,
        }
    }

    /// Whether a process that begins sees this record.
    pub(crate) fn restores(&self, key: RecordKey) -> bool {
        self.bug != Sabotage::ForgetsReceived || key.to_bytes()[0] != RECEIVED
    }

    /// What the session sends, and what it sends with the bug.
    pub(crate) fn sends(&mut self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        self.sent.push(bytes);
        let mut out = Vec::new();
        while let Some(frame) = self.sent.next(self.version)? {
            self.packets += 1;
            self.send(frame, &mut out);
        }
        Ok(out)
    }

    fn send(&mut self, frame: Frame, out: &mut Vec<u8>) {
        let mut bytes = frame.bytes.to_vec();
        match (self.bug, &frame.packet) {
            (Sabotage::ForgetsDup, Packet::Publish(_)) => bytes[0] &= !8,
            (Sabotage::ClaimsDup, Packet::Publish(publish))
                if publish.delivery().packet_identifier().is_some() && self.occasion(5) =>
            {
                bytes[0] |= 8;
            }
            (Sabotage::PublishesAfterPubrel, Packet::Publish(publish))
                if publish.delivery().qos().as_u8() == 2 && self.kept.is_none() =>
            {
                bytes[0] |= 8;
                self.kept = Some(bytes.clone().into());
                bytes = frame.bytes.to_vec();
            }
            (Sabotage::PublishesAfterPubrel, Packet::PubRel(_)) => {
                bytes.extend_from_slice(&self.kept.take().unwrap_or_default());
            }
            // Those of an earlier connection are the first to be sent: CONNECT is before them.
            (Sabotage::SwallowsPubrel, Packet::PubRel(ack))
                if !self.has_kept_identifier(ack.packet_identifier) =>
            {
                return;
            }
            (Sabotage::ReusesIdentifiers, Packet::Publish(publish)) => {
                self.reuse_identifier(publish, &mut bytes);
            }
            (Sabotage::TalksAfterDisconnect, Packet::Disconnect(_)) => {
                bytes.extend_from_slice(&[0xc0, 0]);
            }
            (Sabotage::ConnectsTwice, Packet::Connect(_)) => bytes.extend_from_slice(&frame.bytes),
            (Sabotage::AcknowledgesOutOfOrder, Packet::PubAck(_)) => match self.kept.take() {
                Some(earlier) => bytes.extend_from_slice(&earlier),
                None => {
                    self.kept = Some(frame.bytes);
                    return;
                }
            },
            (Sabotage::NeverPings, Packet::PingReq) => return,
            // The second packet of a connection: it has begun.
            (Sabotage::PublishesForEver | Sabotage::SubscribesForEver, _)
                if self.packets == 2 && self.kept.is_some() && self.sends_again() =>
            {
                // What is sent again comes first.
                let mut first = self.kept.clone().unwrap_or_default().to_vec();
                first.extend_from_slice(&bytes);
                bytes = first;
            }
            (Sabotage::PublishesForEver, Packet::Publish(publish))
                if number(publish.payload()) >= u64::from(DISLIKED) && self.kept.is_none() =>
            {
                let mut again = bytes.clone();
                again[0] |= 8;
                self.kept = Some(again.into());
                self.disliked = Some(number(publish.payload()) as u32);
            }
            (Sabotage::SubscribesForEver, Packet::Subscribe(subscribe))
                if is_forbidden(subscribe) && self.kept.is_none() =>
            {
                self.kept = Some(frame.bytes);
            }
            _ => {}
        }
        out.extend_from_slice(&bytes);
    }

    /// Whether this identifier was kept of a PUBREC.
    fn has_kept_identifier(&self, id: NonZeroU16) -> bool {
        let id = id.get().to_be_bytes();
        self.kept
            .as_ref()
            .is_some_and(|ids| ids.chunks(2).any(|pair| pair == id))
    }

    /// Gives a new message the identifier of the one before, and keeps its own.
    fn reuse_identifier(&mut self, publish: &Publish, bytes: &mut [u8]) {
        let Some(id) = publish.delivery().packet_identifier() else {
            return;
        };
        let longer = bytes[1..].iter().take_while(|&&byte| byte & 0x80 != 0);
        let head = 1 + longer.count() + 1;
        let at = head + 2 + publish.topic().len();
        let last = self.kept.replace(id.get().to_be_bytes().to_vec().into());
        if let Some(last) = last.filter(|_| bytes[0] & 8 == 0) {
            bytes[at..at + 2].copy_from_slice(&last);
        }
    }

    /// Whether what is kept is sent on each connection: a PUBLISH only after its end.
    fn sends_again(&self) -> bool {
        self.has_ended || self.bug == Sabotage::SubscribesForEver
    }

    /// What the network brings, and what a session with the bug makes of it.
    pub(crate) fn takes(&mut self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        self.taken.push(bytes);
        let mut out = Vec::new();
        while let Some(mut frame) = self.taken.next(self.version)? {
            match &mut frame.packet {
                Packet::ConnAck(connack) => {
                    match self.bug {
                        Sabotage::IgnoresReceiveMaximum => {
                            connack.properties.receive_maximum = None;
                        }
                        Sabotage::IgnoresPacketSize => {
                            connack.properties.maximum_packet_size = None;
                        }
                        Sabotage::IgnoresMaximumQos => connack.properties.maximum_qos = None,
                        _ => {}
                    }
                    let encoded = frame.packet.encode(self.version, &mut out);
                    encoded.map_err(|error| error.to_string())?;
                    continue;
                }
                Packet::PubRec(ack) if self.bug == Sabotage::SwallowsPubrel => {
                    let mut ids = self.kept.take().unwrap_or_default().to_vec();
                    ids.extend_from_slice(&ack.packet_identifier.get().to_be_bytes());
                    self.kept = Some(ids.into());
                }
                _ => {}
            }
            out.extend_from_slice(&frame.bytes);
        }
        Ok(out)
    }

    /// Reports an event as the bug has it: not at all, later, or twice.
    pub(crate) fn report(&mut self, event: Event, reported: &mut Vec<Reported>) {
        let qos = match &event {
            Event::Message(message) => message.publish.delivery().qos().as_u8(),
            _ => 0,
        };
        if let Event::Published {
            key,
            result: Err(_),
            ..
        } = &event
        {
            self.has_ended |= key.is_some() && *key == self.disliked;
        }
        let times = match (self.bug, &event) {
            (Sabotage::DeliversTwice, _) if qos == 2 && self.occasion(10) => 2,
            (Sabotage::LosesDeliveries, _) if qos > 0 && self.occasion(10) => 0,
            (Sabotage::SettlesTwice, Event::Published { .. }) if self.occasion(10) => 2,
            (Sabotage::NeverSettles, Event::Published { .. }) if self.occasion(10) => 0,
            (Sabotage::NeverRefuses, Event::Subscribed { result: Err(_), .. }) => 0,
            (Sabotage::DeliversOutOfOrder, _) if qos == 2 => {
                match self.event.take() {
                    None => self.event = Some(event),
                    Some(earlier) => {
                        reported.extend([event, earlier].map(|event| Reported { event, times: 1 }));
                    }
                }
                return;
            }
            _ => 1,
        };
        reported.push(Reported { event, times });
    }
}

fn is_forbidden(subscribe: &Subscribe) -> bool {
    let filter = &subscribe.subscriptions[0].filter;
    filter.as_str().starts_with("forbidden/")
}

/// An event, and how often it is reported.
#[derive(Debug)]
pub(crate) struct Reported {
    pub(crate) event: Event,
    pub(crate) times: u8,
}

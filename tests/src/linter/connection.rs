//! What holds for one connection.

use super::Finding;
use super::decode::{WireConnAck, WireConnect};
use core::time::Duration;
use martlet_proto::Version;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Debug)]
pub(crate) struct ObservedConnection {
    pub(crate) version: Option<Version>,
    pub(crate) client_identifier: Option<String>,
    pub(crate) connect: Option<WireConnect>,
    /// The CONNACK of success.
    pub(crate) limits: Option<WireConnAck>,
    pub(crate) rejected: bool,
    /// The server has the session.
    pub(crate) resumed: bool,
    /// The client has sent a DISCONNECT.
    pub(crate) disconnected: bool,
    pub(crate) own_maximum_packet_size: usize,
    /// When the client sent something last, and how long it may be silent.
    pub(crate) last_sent: Duration,
    pub(crate) keep_alive_timeout: Duration,
    /// Parts of packets.
    pub(crate) sent: Vec<u8>,
    pub(crate) received: Vec<u8>,
    /// What the server has sent and is not MQTT.
    pub(crate) nonsense: Option<Finding>,
    /// Topic aliases that the client has sent to the server.
    pub(crate) aliases: BTreeMap<u16, String>,
    /// PUBLISHes of QoS 1 and of QoS 2 that were not acknowledged, in order of arrival.
    lines: [VecDeque<Arrived>; 2],
    /// Identifiers that the server counts against our Receive Maximum.
    pub(crate) owed: BTreeSet<u16>,
    /// PUBRECs whose PUBREL is due, in order of arrival.
    pub(crate) pubrecs: VecDeque<u16>,
    /// PUBRELs whose PUBCOMP is due.
    pub(crate) pubrels: Counted,
    /// The server's AUTH waits for ours.
    pub(crate) auth_asked: bool,
}

#[derive(Debug, Clone, Copy)]
struct Arrived {
    id: u16,
    /// The client may leave this one unanswered: another answer is one to it too.
    optional: bool,
}

impl ObservedConnection {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            version: None,
            client_identifier: None,
            connect: None,
            limits: None,
            rejected: false,
            resumed: false,
            disconnected: false,
            own_maximum_packet_size: usize::MAX,
            last_sent: now,
            keep_alive_timeout: Duration::MAX,
            sent: Vec::new(),
            received: Vec::new(),
            nonsense: None,
            aliases: BTreeMap::new(),
            lines: Default::default(),
            owed: BTreeSet::new(),
            pubrecs: VecDeque::new(),
            pubrels: Counted::default(),
            auth_asked: false,
        }
    }

    /// A PUBLISH has arrived.
    pub(crate) fn arrived(&mut self, qos: u8, id: u16) {
        // A QoS 2 message that comes twice before it is answered may be answered once.
        let optional = !self.owed.insert(id) && qos == 2;
        self.lines[usize::from(qos) - 1].push_back(Arrived { id, optional });
    }

    /// The client acknowledges a PUBLISH. An error has the one that is next, or nothing if it is
    /// not there at all.
    pub(crate) fn acknowledge(&mut self, qos: u8, id: u16) -> Result<(), Option<u16>> {
        let line = &mut self.lines[usize::from(qos) - 1];
        while line
            .front()
            .is_some_and(|front| front.optional && front.id != id)
        {
            line.pop_front();
        }
        match line.front().copied() {
            Some(front) if front.id == id => {
                line.pop_front();
                if qos == 1 {
                    self.owed.remove(&id);
                }
                Ok(())
            }
            Some(front) => match line.iter().position(|arrived| arrived.id == id) {
                Some(i) => {
                    line.remove(i);
                    Err(Some(front.id))
                }
                None => Err(None),
            },
            None => Err(None),
        }
    }

    /// Whether a PUBLISH of this QoS and identifier waits for its answer.
    pub(crate) fn is_unanswered(&self, qos: u8, id: u16) -> bool {
        self.lines[usize::from(qos) - 1]
            .iter()
            .any(|arrived| arrived.id == id)
    }

    /// A PUBREL has arrived: the server needs no answer any more to what it sent before.
    pub(crate) fn released(&mut self, id: u16) {
        self.pubrels.add(id);
        self.owed.remove(&id);
        for arrived in self.lines[1].iter_mut().filter(|arrived| arrived.id == id) {
            arrived.optional = true;
        }
    }
}

/// How often something is due, by identifier.
#[derive(Debug, Default)]
pub(crate) struct Counted(BTreeMap<u16, u32>);

impl Counted {
    fn add(&mut self, id: u16) {
        *self.0.entry(id).or_default() += 1;
    }

    /// Whether it was due.
    pub(crate) fn answer(&mut self, id: u16) -> bool {
        match self.0.get_mut(&id) {
            Some(1) => self.0.remove(&id).is_some(),
            Some(n) => {
                *n -= 1;
                true
            }
            None => false,
        }
    }
}

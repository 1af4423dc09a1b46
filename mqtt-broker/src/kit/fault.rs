//! Faults by name, the connections that they are for, and what they come to on one of them.

use core::time::Duration;
use martlet_proto::{ConnectReasonCode, PacketType};

/// Something that goes wrong on a connection, on purpose: for
/// [`TestBroker::inject`](crate::TestBroker::inject).
///
/// By default it is for one connection, the next. Several faults can be on one connection.
///
/// ```
/// use martlet_broker::{Fault, proto::PacketType};
///
/// // The next connection ends at its first PUBLISH.
/// let once = Fault::hang_up_on(PacketType::Publish);
/// // The one after it and two more are cut after 100 bytes.
/// let later = Fault::cut_to_client(100).after_connections(1).for_connections(3);
/// # let _ = (once, later);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    kind: FaultKind,
    /// How many connections it leaves alone first.
    skips: usize,
    /// For how many it is then; `None`: for all.
    connections: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum FaultKind {
    CutFromClient(usize),
    CutToClient(usize),
    HangUpOn(PacketType),
    HangUpInsteadOf(PacketType),
    AnswerShort(PacketType),
    DelayAnswers(Duration),
    Drip(Duration),
    StallHandshake,
    LoseSession,
    Reject(ConnectReasonCode),
}

impl Fault {
    fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            skips: 0,
            connections: Some(1),
        }
    }

    /// Cuts the connection when this number of bytes has come from the client, in the middle of a
    /// packet or not. 0: as soon as the connection is open.
    pub fn cut_from_client(bytes: usize) -> Self {
        Self::new(FaultKind::CutFromClient(bytes))
    }

    /// Cuts the connection when this number of bytes was sent to the client, in the middle of a
    /// packet or not. 0: as soon as the connection is open.
    pub fn cut_to_client(bytes: usize) -> Self {
        Self::new(FaultKind::CutToClient(bytes))
    }

    /// Cuts the connection when the client sends a packet of this type. The broker does not handle
    /// that packet.
    pub fn hang_up_on(packet: PacketType) -> Self {
        Self::new(FaultKind::HangUpOn(packet))
    }

    /// Cuts the connection where the broker would send a packet of this type, which is lost. The
    /// broker has handled what the packet answers.
    pub fn hang_up_instead_of(packet: PacketType) -> Self {
        Self::new(FaultKind::HangUpInsteadOf(packet))
    }

    /// Sends a packet of this type without its last byte, and then nothing more; the connection
    /// stays open.
    pub fn answer_short(packet: PacketType) -> Self {
        Self::new(FaultKind::AnswerShort(packet))
    }

    /// Delays all that is sent to the client, by the broker's clock; see
    /// [`TestBroker::advance`](crate::TestBroker::advance).
    pub fn delay_answers(by: Duration) -> Self {
        Self::new(FaultKind::DelayAnswers(by))
    }

    /// Sends one byte at a time, and waits for this long after each, by the broker's clock.
    pub fn drip(pause: Duration) -> Self {
        Self::new(FaultKind::Drip(pause))
    }

    /// Answers no CONNECT: the connection stays open, and nothing comes.
    pub fn stall_handshake() -> Self {
        Self::new(FaultKind::StallHandshake)
    }

    /// Discards the session of the client that connects, so that CONNACK does not report it.
    pub fn lose_session() -> Self {
        Self::new(FaultKind::LoseSession)
    }

    /// Rejects the CONNECT with this reason; 3.x has its own codes for some of them.
    pub fn reject(reason: ConnectReasonCode) -> Self {
        Self::new(FaultKind::Reject(reason))
    }

    /// For this number of connections instead of one.
    #[must_use]
    pub fn for_connections(self, connections: usize) -> Self {
        Self {
            connections: Some(connections),
            ..self
        }
    }

    /// For all connections, until [`TestBroker::clear_faults`](crate::TestBroker::clear_faults).
    #[must_use]
    pub fn until_cleared(self) -> Self {
        Self {
            connections: None,
            ..self
        }
    }

    /// Leaves this number of connections alone first.
    #[must_use]
    pub fn after_connections(self, connections: usize) -> Self {
        Self {
            skips: connections,
            ..self
        }
    }
}

/// The faults of connections that are still to come.
#[derive(Debug, Default)]
pub(super) struct Schedule(Vec<Fault>);

impl Schedule {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The faults of the connection that opens now.
    pub(super) fn open(&mut self) -> LineFaults {
        let mut faults = LineFaults::default();
        for fault in &mut self.0 {
            if fault.skips > 0 {
                fault.skips -= 1;
            } else if fault.connections != Some(0) {
                faults.add(fault);
                fault.connections = fault.connections.map(|connections| connections - 1);
            }
        }
        self.0.retain(|fault| fault.connections != Some(0));
        faults
    }
}

/// The faults of one connection.
#[derive(Debug, Default)]
pub(super) struct LineFaults {
    /// How many bytes may still come, and how many may still be sent.
    pub(super) from_client: Option<usize>,
    pub(super) to_client: Option<usize>,
    pub(super) hang_up_on: Vec<PacketType>,
    pub(super) hang_up_instead_of: Vec<PacketType>,
    pub(super) answer_short: Vec<PacketType>,
    pub(super) delay: Duration,
    pub(super) drip: Option<Duration>,
    pub(super) stalls: bool,
    pub(super) loses_session: bool,
    pub(super) reject: Option<ConnectReasonCode>,
}

impl LineFaults {
    pub(super) fn add(&mut self, fault: &Fault) {
        let fewer = |old: Option<usize>, new: usize| Some(old.map_or(new, |old| old.min(new)));
        match fault.kind {
            FaultKind::CutFromClient(bytes) => self.from_client = fewer(self.from_client, bytes),
            FaultKind::CutToClient(bytes) => self.to_client = fewer(self.to_client, bytes),
            FaultKind::HangUpOn(packet) => self.hang_up_on.push(packet),
            FaultKind::HangUpInsteadOf(packet) => self.hang_up_instead_of.push(packet),
            FaultKind::AnswerShort(packet) => self.answer_short.push(packet),
            FaultKind::DelayAnswers(by) => self.delay = self.delay.max(by),
            FaultKind::Drip(pause) => self.drip = Some(pause),
            FaultKind::StallHandshake => self.stalls = true,
            FaultKind::LoseSession => self.loses_session = true,
            FaultKind::Reject(reason) => self.reject = Some(reason),
        }
    }

    /// Whether nothing more may pass in one of both directions.
    pub(super) fn cuts_now(&self) -> bool {
        self.from_client == Some(0) || self.to_client == Some(0)
    }
}

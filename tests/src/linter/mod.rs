//! A linter of MQTT as a client speaks it: it watches the bytes of one client, in both directions,
//! over all its connections, against what MQTT 3.1, 3.1.1 and 5 demand of a client, and names the
//! statement that is broken.
//!
//! It has a decoder of its own, so that it does not share a mistake with the codec that it judges,
//! and it asks nobody but the bytes. What a packet costs it does not grow with how many there were
//! before.
//!
//! ```
//! use core::time::Duration;
//! use martlet_tests::linter::{Linter, Rule};
//!
//! let mut linter = Linter::new();
//! linter.open(Duration::ZERO);
//! linter.sent(Duration::ZERO, b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a");
//! linter.received(Duration::ZERO, b"\x20\x02\x00\x00");
//! assert_eq!(linter.findings(), []);
//! linter.sent(Duration::ZERO, b"\x3a\x06\x00\x01t\x00\x01!");
//! assert_eq!(linter.findings()[0].rule, Rule::DupClaimed);
//! ```

mod connection;
pub(crate) mod decode;
mod relay;
mod rules;
mod session;
#[cfg(test)]
mod tests;

pub use relay::Relay;
pub use rules::Rule;

use connection::ObservedConnection;
use core::fmt;
use core::time::Duration;
use decode::{Party, WireConnAck, WirePacket, WirePublish, WireSubscribe};
use martlet_proto::Version;
use session::{Kind, ObservedSession};

/// More findings than this are not kept: one is enough to begin with.
const ENOUGH: usize = 100;

/// Something that MQTT forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was broken.
    pub rule: Rule,
    /// The statement of MQTT 3.1.1 or 5, or the section, that says so.
    pub statement: &'static str,
    /// By what.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} [{}]: {}", self.rule, self.statement, self.what)
    }
}

/// Where the bytes are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where the client hands them out and takes them.
    Client,
    /// Somewhere on their way: what came for the client may never have reached it, and what it has
    /// sent may never come by.
    Way,
}

/// Watches one client.
#[derive(Debug)]
pub struct Linter {
    place: Place,
    window: Option<usize>,
    /// The client may take more than its Receive Maximum.
    takes_excess: bool,
    session: ObservedSession,
    /// The server began a session on a connection with enhanced authentication. The client may not
    /// have accepted the server then, and goes on with the session it had.
    unsure: bool,
    connection: ObservedConnection,
    /// Connections so far.
    connections: u64,
    findings: Vec<Finding>,
}

impl Default for Linter {
    fn default() -> Self {
        Self::new()
    }
}

impl Linter {
    /// A linter that sees each byte when the client hands it out or takes it.
    pub fn new() -> Self {
        Self {
            place: Place::Client,
            window: None,
            takes_excess: false,
            session: ObservedSession::default(),
            unsure: false,
            connection: ObservedConnection::new(Duration::ZERO),
            connections: 0,
            findings: Vec::new(),
        }
    }

    /// A linter somewhere on the way. What the server sends must pass it before the client has it.
    #[must_use]
    pub fn on_the_way() -> Self {
        Self {
            place: Place::Way,
            ..Self::new()
        }
    }

    /// The client is configured to have no more than this many messages in flight.
    #[must_use]
    pub fn with_window(self, most: u16) -> Self {
        Self {
            window: Some(most.into()),
            ..self
        }
    }

    /// The client takes what a server sends beyond its Receive Maximum, instead of ending the
    /// connection.
    #[must_use]
    pub fn taking_excess(self) -> Self {
        Self {
            takes_excess: true,
            ..self
        }
    }

    // ---- getters

    /// What was wrong so far.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The version that this connection's CONNECT names.
    pub fn version(&self) -> Option<Version> {
        self.connection.version
    }

    /// Why what the server sent on this connection is not MQTT; nothing is known of what it sent
    /// later.
    pub fn server_nonsense(&self) -> Option<&Finding> {
        self.connection.nonsense.as_ref()
    }

    /// The largest packet that the server takes, as far as it has said so on this connection.
    pub(crate) fn largest_packet(&self) -> usize {
        self.connection
            .limits
            .as_ref()
            .map_or(usize::MAX, |limits| limits.maximum_packet_size)
    }

    /// The client identifier in use: of the CONNECT, or assigned to it.
    pub fn client_identifier(&self) -> Option<&str> {
        self.connection
            .client_identifier
            .as_deref()
            .filter(|identifier| !identifier.is_empty())
    }

    // ---- handlers

    /// A new network connection; the one before is over.
    pub fn open(&mut self, now: Duration) {
        self.connections += 1;
        self.connection = ObservedConnection::new(now);
        self.session.open();
    }

    /// Time passes; the client must not be silent for longer than its keep alive (MQTT 5
    /// §3.1.2.10).
    pub fn passes(&mut self, now: Duration) {
        let silent = now.saturating_sub(self.connection.last_sent);
        if silent > self.connection.keep_alive_timeout {
            self.connection.last_sent = now;
            self.find(Rule::KeepAlive, format!("silent for {silent:?}"));
        }
    }

    /// The socket has taken no bytes until now: silence was not the client's choice.
    pub fn was_blocked(&mut self, now: Duration) {
        self.connection.last_sent = now;
    }

    /// The client sends bytes.
    pub fn sent(&mut self, now: Duration, bytes: &[u8]) {
        self.passes(now);
        self.connection.last_sent = now;
        let mut input = core::mem::take(&mut self.connection.sent);
        input.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            match decode::decode(&input[at..], self.connection.version, Party::Client) {
                Ok(None) => break,
                Ok(Some((packet, size, version))) => {
                    at += size;
                    self.connection.version = Some(version);
                    self.check_sent(&packet, size);
                }
                Err((rule, what)) => {
                    self.find(rule, what);
                    // Where the next packet begins is known in most cases, and of no use.
                    at = input.len();
                    break;
                }
            }
        }
        input.drain(..at);
        self.connection.sent = input;
    }

    /// The client takes bytes.
    pub fn received(&mut self, now: Duration, bytes: &[u8]) {
        if self.connection.nonsense.is_some() {
            return;
        }
        let mut input = core::mem::take(&mut self.connection.received);
        input.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            match decode::decode(&input[at..], self.connection.version, Party::Server) {
                Ok(None) => break,
                Ok(Some((packet, size, _))) => {
                    at += size;
                    if size > self.connection.own_maximum_packet_size {
                        self.find(
                            Rule::ServerPacketSize,
                            format!("{size} bytes from the server"),
                        );
                    }
                    self.take_in(now, packet);
                }
                Err((rule, what)) => {
                    self.connection.nonsense = Some(self.finding(rule, what));
                    break;
                }
            }
        }
        input.drain(..at);
        self.connection.received = input;
    }

    fn finding(&self, rule: Rule, what: String) -> Finding {
        Finding {
            rule,
            statement: rule.statement(self.connection.version.unwrap_or(Version::V5)),
            what,
        }
    }

    fn find(&mut self, rule: Rule, what: impl Into<String>) {
        if self.findings.len() < ENOUGH {
            self.findings.push(self.finding(rule, what.into()));
        }
    }

    fn ensure(&mut self, holds: bool, rule: Rule, what: impl FnOnce() -> String) {
        if !holds {
            self.find(rule, what());
        }
    }

    // ---- what the client sends

    fn check_sent(&mut self, packet: &WirePacket, size: usize) {
        let is_connect = matches!(packet, WirePacket::Connect(_));
        let is_farewell = matches!(packet, WirePacket::Disconnect { .. });
        let connection = &self.connection;
        if connection.disconnected {
            return self.find(Rule::AfterDisconnect, format!("{packet:?}"));
        }
        if connection.rejected && self.place == Place::Client {
            return self.find(Rule::AfterRefusal, format!("{packet:?}"));
        }
        if is_connect && connection.connect.is_some() {
            return self.find(Rule::ConnectOnce, "a second CONNECT");
        }
        let is_early = connection.limits.is_none() && !is_connect;
        if is_early && !is_farewell && !matches!(packet, WirePacket::Auth { .. }) {
            return self.find(Rule::BeforeConnAck, format!("{packet:?}"));
        }
        let largest = self.largest_packet();
        self.ensure(size <= largest, Rule::PacketSize, || {
            format!("{size} bytes of {largest}: {packet:?}")
        });
        match packet {
            WirePacket::Connect(connect) => {
                self.connection.own_maximum_packet_size = connect.maximum_packet_size;
                self.connection.client_identifier = Some(connect.client_identifier.clone());
                self.connection.connect = Some(connect.clone());
            }
            WirePacket::Publish(publish) => self.check_publish(publish),
            WirePacket::PubAck(ack) => {
                let answered = self.connection.acknowledge(1, ack.id);
                self.check_acknowledgement(answered, ack.id, Rule::PubAckOrder);
            }
            WirePacket::PubRec(ack) => {
                let answered = self.connection.acknowledge(2, ack.id);
                self.check_acknowledgement(answered, ack.id, Rule::PubRecOrder);
                if ack.is_error() {
                    self.connection.owed.remove(&ack.id);
                }
            }
            WirePacket::PubRel(ack) => self.check_pubrel(ack.id),
            WirePacket::PubComp(ack) => {
                let asked = self.connection.pubrels.answer(ack.id);
                self.ensure(asked, Rule::PubCompUnasked, || {
                    format!("PUBCOMP {}", ack.id)
                });
            }
            WirePacket::Subscribe(subscribe) => self.check_subscribe(subscribe),
            WirePacket::Unsubscribe(id) => self.check_identifier(*id, Kind::Unsubscribe),
            WirePacket::PingReq => {}
            WirePacket::Disconnect { session_expiry } => {
                let was = self
                    .connection
                    .connect
                    .as_ref()
                    .map_or(0, |connect| connect.session_expiry);
                self.ensure(
                    was > 0 || session_expiry.unwrap_or(0) == 0,
                    Rule::ExpiryInDisconnect,
                    || "a session that was to end is to last".to_owned(),
                );
                self.connection.disconnected = true;
                self.connection.keep_alive_timeout = Duration::MAX;
            }
            WirePacket::Auth { reason, method } => self.check_auth(*reason, method.as_deref()),
            WirePacket::ConnAck(_)
            | WirePacket::SubAck(_)
            | WirePacket::UnsubAck(_)
            | WirePacket::PingResp => {
                unreachable!("the decoder takes none of them from a client")
            }
        }
    }

    fn check_publish(&mut self, publish: &WirePublish) {
        let Some(limits) = &self.connection.limits else {
            return;
        };
        let (maximum_qos, retain, aliases) = (
            limits.maximum_qos,
            limits.retain_available,
            limits.topic_alias_maximum,
        );
        self.ensure(publish.qos <= maximum_qos, Rule::MaximumQos, || {
            format!("QoS {}", publish.qos)
        });
        self.ensure(retain || !publish.retain, Rule::Retain, || {
            "RETAIN".to_owned()
        });
        let mut topic = publish.topic.clone();
        if let Some(alias) = publish.alias {
            self.ensure(alias <= aliases, Rule::AliasMaximum, || {
                format!("alias {alias} of {aliases}")
            });
            if topic.is_empty() {
                match self.connection.aliases.get(&alias) {
                    Some(known) => topic.clone_from(known),
                    None => self.find(Rule::AliasUnknown, format!("alias {alias}")),
                }
            } else {
                self.connection.aliases.insert(alias, topic.clone());
            }
        }
        if publish.qos == 0 {
            return;
        }
        let content = decode::hash(publish.content, topic.as_bytes());
        let kind = if publish.qos == 1 {
            Kind::Qos1
        } else {
            Kind::Qos2
        };
        let lenient = (self.place == Place::Way || self.unsure) && self.connection.resumed;
        if let Err((rule, what)) = self.session.publish(publish, content, kind, lenient) {
            self.find(rule, what);
        }
        let (in_flight, window) = (self.session.in_flight, self.window.unwrap_or(usize::MAX));
        let allowed = self
            .connection
            .limits
            .as_ref()
            .map_or(u16::MAX, |limits| limits.receive_maximum);
        self.ensure(in_flight <= allowed.into(), Rule::ReceiveMaximum, || {
            format!("{in_flight} in flight of {allowed}")
        });
        self.ensure(in_flight <= window, Rule::Window, || {
            format!("{in_flight} in flight of {window}")
        });
    }

    fn check_acknowledgement(&mut self, answered: Result<(), Option<u16>>, id: u16, order: Rule) {
        match answered {
            Ok(()) => {}
            Err(Some(next)) => self.find(order, format!("{id} before {next}")),
            Err(None) => {
                let line = if order == Rule::PubAckOrder { 2 } else { 1 };
                let rule = if self.connection.is_unanswered(line, id) {
                    Rule::AckKind
                } else {
                    Rule::AckUnasked
                };
                self.find(rule, format!("an acknowledgement of {id}"));
            }
        }
    }

    fn check_pubrel(&mut self, id: u16) {
        let front = self.connection.pubrecs.front().copied();
        let asked = front == Some(id);
        if asked {
            self.connection.pubrecs.pop_front();
        } else if self.connection.pubrecs.contains(&id) && !self.session.is_released(id) {
            self.connection.pubrecs.retain(|&it| it != id);
            self.find(Rule::PubRelOrder, format!("{id} before {front:?}"));
        }
        if let Err((rule, what)) =
            self.session
                .pubrel(id, asked, self.place == Place::Way || self.unsure)
        {
            self.find(rule, what);
        }
    }

    fn check_subscribe(&mut self, subscribe: &WireSubscribe) {
        self.check_identifier(subscribe.id, Kind::Subscribe);
        let Some(limits) = &self.connection.limits else {
            return;
        };
        let (wildcards, identifiers, shared) = (
            limits.wildcards,
            limits.subscription_identifiers,
            limits.shared,
        );
        let no = || "the server has none".to_owned();
        self.ensure(
            wildcards || !subscribe.wildcards,
            Rule::WildcardSubscription,
            no,
        );
        self.ensure(
            identifiers || !subscribe.has_identifier,
            Rule::SubscriptionIdentifier,
            no,
        );
        self.ensure(shared || !subscribe.shared, Rule::SharedSubscription, no);
    }

    fn check_identifier(&mut self, id: u16, kind: Kind) {
        let free = self.session.request(id, kind);
        self.ensure(free, Rule::IdentifierInUse, || format!("{kind:?} {id}"));
    }

    fn check_auth(&mut self, reason: u8, method: Option<&str>) {
        let connect = self.connection.connect.as_ref();
        let agreed = connect.and_then(|connect| connect.authentication_method.clone());
        let asked = core::mem::take(&mut self.connection.auth_asked);
        match agreed {
            None => self.find(Rule::AuthUnasked, "AUTH"),
            Some(agreed) => {
                self.ensure(method == Some(&agreed), Rule::AuthMethod, || {
                    format!("{method:?} after {agreed:?}")
                });
                // 0x19 begins anew; everything else answers.
                let fits = if reason == 0x19 {
                    self.connection.limits.is_some()
                } else {
                    asked && reason == 0x18
                };
                self.ensure(fits, Rule::AuthContinue, || {
                    format!("AUTH with {reason:#04x}")
                });
            }
        }
    }

    // ---- what the server sends

    fn take_in(&mut self, now: Duration, packet: WirePacket) {
        let may_be_first = matches!(
            packet,
            WirePacket::ConnAck(_) | WirePacket::Auth { .. } | WirePacket::Disconnect { .. }
        );
        if self.connection.limits.is_none() && !may_be_first {
            // The client closes, and what came means nothing.
            return;
        }
        match packet {
            WirePacket::ConnAck(connack) => self.connected(now, connack),
            WirePacket::Publish(publish) => {
                if let Some(alias) = publish.alias {
                    let most = self
                        .connection
                        .connect
                        .as_ref()
                        .map_or(0, |connect| connect.topic_alias_maximum);
                    self.ensure(alias <= most, Rule::ServerAlias, || {
                        format!("alias {alias} of {most}")
                    });
                }
                if publish.qos > 0 {
                    self.connection.arrived(publish.qos, publish.id);
                    let most = self
                        .connection
                        .connect
                        .as_ref()
                        .map_or(u16::MAX, |connect| connect.receive_maximum);
                    let owed = self.connection.owed.len();
                    let fits = owed <= most.into() || self.takes_excess;
                    self.ensure(fits, Rule::ServerReceiveMaximum, || {
                        format!("{owed} unacknowledged of {most}")
                    });
                }
            }
            WirePacket::PubAck(ack) => self.session.completed(ack.id),
            WirePacket::PubRec(ack) if ack.is_error() => self.session.completed(ack.id),
            WirePacket::PubRec(ack) => {
                self.connection.pubrecs.push_back(ack.id);
                self.session.received(ack.id);
            }
            WirePacket::PubRel(ack) => self.connection.released(ack.id),
            WirePacket::PubComp(ack) => self.session.completed(ack.id),
            WirePacket::SubAck(id) => self.session.answered(id, Kind::Subscribe),
            WirePacket::UnsubAck(id) => self.session.answered(id, Kind::Unsubscribe),
            WirePacket::Auth { reason, .. } => self.connection.auth_asked = reason == 0x18,
            WirePacket::PingResp | WirePacket::Disconnect { .. } => {}
            WirePacket::Connect(_)
            | WirePacket::Subscribe(_)
            | WirePacket::Unsubscribe(_)
            | WirePacket::PingReq => {
                unreachable!("the decoder takes none of them from a server")
            }
        }
    }

    fn connected(&mut self, now: Duration, connack: WireConnAck) {
        let Some(connect) = self
            .connection
            .connect
            .as_ref()
            .filter(|_| self.connection.limits.is_none())
        else {
            return;
        };
        if !connack.accepted {
            self.connection.rejected = true;
            return;
        }
        // 3.1 cannot say; a session that is not clean is there.
        let in_3_1 = self.connection.version == Some(Version::V3_1);
        let present = connack.session_present || in_3_1 && !connect.clean_start;
        // 3.1.1 goes on with the session of the client.
        let goes_on = self.connection.version != Some(Version::V5) && !connect.clean_start;
        self.connection.resumed = present || goes_on;
        if !present {
            if goes_on {
                self.session.go_on();
            } else {
                self.session = ObservedSession::default();
            }
            self.unsure = connect.authentication_method.is_some();
        }
        // Until now the client could say nothing.
        self.connection.last_sent = now;
        self.connection.keep_alive_timeout = match connack.keep_alive.unwrap_or(connect.keep_alive)
        {
            0 => Duration::MAX,
            seconds => Duration::from_secs(seconds.into()),
        };
        if let Some(assigned) = &connack.client_identifier {
            self.connection.client_identifier = Some(assigned.clone());
        }
        self.connection.limits = Some(connack);
    }
}

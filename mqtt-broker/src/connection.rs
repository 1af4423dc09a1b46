//! One connection: what was agreed on it, and what is to be written to it. It knows nothing of
//! sessions.

use crate::config::BrokerLimits;
use crate::ids::SessionId;
use bytes::{Bytes, BytesMut};
use core::num::NonZeroU16;
use core::time::Duration;
use martlet_proto::{Connect, DisconnectReasonCode, Packet, Publish, TopicName, Version};
use std::collections::BTreeMap;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// The network connection is gone.
    Network,
    /// The broker ends it without a word.
    Dropped,
    /// The broker ends it; a client of MQTT 5 is sent the reason.
    Ended(DisconnectReasonCode),
    /// The client sent DISCONNECT.
    Left(DisconnectReasonCode),
}

/// Where a connection is in its life; the diagram is in `lifecycle.rs`.
#[derive(Debug)]
pub(crate) enum LifecycleState {
    /// Nothing came yet.
    Waiting,
    /// CONNECT came; a challenge of this step is out.
    Authenticating { connect: Box<Connect>, step: usize },
    /// CONNACK of success was sent.
    Connected(SessionId),
    /// What is left of the output is written, then it is closed.
    Closing,
}

#[derive(Debug)]
pub(crate) struct BrokerConnection {
    pub(crate) state: LifecycleState,
    pub(crate) version: Version,
    /// What this client is held to; those of the configuration at its CONNECT.
    pub(crate) limits: BrokerLimits,
    /// How long the client may be silent: one and a half times its keep alive [MQTT-3.1.2-22].
    pub(crate) keep_alive_timeout: Option<Duration>,
    pub(crate) last_packet: Duration,
    /// Acknowledgements and answers, encoded.
    pub(crate) output: BytesMut,
    /// It is among those that `poll_ready` will return.
    pub(crate) ready: bool,
    /// The method of enhanced authentication, when there was one, and the step of a
    /// re-authentication.
    pub(crate) authenticated: bool,
    pub(crate) reauthenticating: Option<usize>,
    pub(crate) inbound: FromClient,
    pub(crate) outbound: ToClient,
}

/// What the client sends (MQTT 5).
#[derive(Debug)]
pub(crate) struct FromClient {
    /// How many QoS 1 and 2 messages it may still send: a mirror of its own send quota (MQTT 5
    /// §4.9).
    pub(crate) quota: u16,
    /// Acknowledgements in the output that will raise the quota as soon as they are handed out.
    pub(crate) unsent_acks: u16,
    pub(crate) aliases: BTreeMap<NonZeroU16, TopicName>,
}

/// What the client takes.
#[derive(Debug)]
pub(crate) struct ToClient {
    pub(crate) max_in_flight: usize,
    pub(crate) maximum_packet_size: usize,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) aliases: BTreeMap<Bytes, NonZeroU16>,
}

impl BrokerConnection {
    pub(crate) fn new(now: Duration, limits: BrokerLimits) -> Self {
        Self {
            state: LifecycleState::Waiting,
            // The first packet is a CONNECT, which has its own version.
            version: Version::V5,
            limits,
            keep_alive_timeout: None,
            last_packet: now,
            output: BytesMut::new(),
            ready: false,
            authenticated: false,
            reauthenticating: None,
            inbound: FromClient {
                quota: 0,
                unsent_acks: 0,
                aliases: BTreeMap::new(),
            },
            outbound: ToClient {
                max_in_flight: 0,
                maximum_packet_size: usize::MAX,
                topic_alias_maximum: 0,
                aliases: BTreeMap::new(),
            },
        }
    }

    /// Takes over the parameters of a CONNECT, and the limits that the client is held to.
    pub(crate) fn agree(
        &mut self,
        connect: &Connect,
        limits: BrokerLimits,
        max_in_flight: NonZeroU16,
        aliases: u16,
    ) {
        self.version = connect.version;
        self.limits = limits;
        let keep_alive = match limits.server_keep_alive {
            Some(seconds) if self.version.has_properties() => seconds,
            _ => connect.keep_alive,
        };
        self.keep_alive_timeout =
            (keep_alive > 0).then(|| Duration::from_millis(u64::from(keep_alive) * 1500));
        self.inbound.quota = limits.receive_maximum.get();
        let properties = &connect.properties;
        let receive_maximum = properties.receive_maximum.unwrap_or(NonZeroU16::MAX);
        self.outbound = ToClient {
            max_in_flight: usize::from(receive_maximum.min(max_in_flight).get()),
            maximum_packet_size: properties
                .maximum_packet_size
                .map_or(usize::MAX, |max| max.get() as usize),
            topic_alias_maximum: properties.topic_alias_maximum.unwrap_or(0).min(aliases),
            aliases: BTreeMap::new(),
        };
    }

    /// Appends a packet to the output. False when this version cannot express it or it is larger
    /// than the client takes; nothing is appended then.
    #[must_use]
    pub(crate) fn send(&mut self, packet: &Packet) -> bool {
        if self.outbound.maximum_packet_size != usize::MAX
            && packet.encoded_len(self.version) > self.outbound.maximum_packet_size
        {
            return false;
        }
        packet.encode(self.version, &mut self.output).is_ok()
    }

    /// Checks a PUBLISH against the limits that CONNACK announced, and returns its topic alias.
    pub(crate) fn check_publish(
        &self,
        publish: &Publish,
    ) -> Result<Option<NonZeroU16>, DisconnectReasonCode> {
        if !self.version.has_properties() {
            return Ok(None);
        }
        if publish.delivery().qos() > self.limits.maximum_qos {
            return Err(DisconnectReasonCode::QosNotSupported);
        }
        if publish.retain() && !self.limits.retain_available {
            return Err(DisconnectReasonCode::RetainNotSupported);
        }
        let properties = publish.properties();
        // Walking the properties is left out where there are none.
        if properties.is_empty() {
            return Ok(None);
        }
        if properties.subscription_identifiers().next().is_some() {
            return Err(DisconnectReasonCode::ProtocolError);
        }
        Ok(properties.topic_alias())
    }

    /// Returns the topic that the alias of a PUBLISH stands for, and keeps one that it sets.
    pub(crate) fn resolve_alias(
        &mut self,
        alias: NonZeroU16,
        publish: &Publish,
    ) -> Result<TopicName, DisconnectReasonCode> {
        if alias.get() > self.limits.topic_alias_maximum {
            return Err(DisconnectReasonCode::TopicAliasInvalid);
        }
        let aliases = &mut self.inbound.aliases;
        if !publish.topic().is_empty() {
            let topic =
                TopicName::from_bytes(Bytes::copy_from_slice(publish.as_ref().topic_bytes()));
            aliases.insert(
                alias,
                topic.map_err(|_| DisconnectReasonCode::TopicNameInvalid)?,
            );
        }
        aliases
            .get(&alias)
            .cloned()
            .ok_or(DisconnectReasonCode::ProtocolError)
    }

    /// Counts a QoS 1 or 2 message; false when the client had no quota for it.
    #[must_use]
    pub(crate) fn take_quota(&mut self) -> bool {
        if !self.version.has_properties() {
            return true;
        }
        match self.inbound.quota.checked_sub(1) {
            Some(quota) => {
                self.inbound.quota = quota;
                true
            }
            None => false,
        }
    }

    /// An acknowledgement that ends an exchange is in the output.
    pub(crate) fn exchange_ended(&mut self) {
        self.inbound.unsent_acks = self.inbound.unsent_acks.saturating_add(1);
    }

    /// Moves the output to `out`.
    pub(crate) fn hand_out(&mut self, out: &mut BytesMut) {
        if !self.output.is_empty() {
            out.extend_from_slice(&self.output);
            self.output.clear();
        }
        if self.inbound.unsent_acks > 0 {
            let quota = self.inbound.quota.saturating_add(self.inbound.unsent_acks);
            self.inbound.quota = quota.min(self.limits.receive_maximum.get());
            self.inbound.unsent_acks = 0;
        }
    }
}

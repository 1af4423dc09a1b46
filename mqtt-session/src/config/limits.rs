//! Bounds of what waits.

/// Bounds of the messages that wait to be sent: for a connection, for the window, for the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct QueueLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) when_full: WhenFull,
    pub(crate) qos0_offline: bool,
}

impl QueueLimits {
    /// Sets how many messages wait at most. Default: 10,000.
    #[must_use]
    pub fn messages(mut self, messages: usize) -> Self {
        self.messages = messages;
        self
    }

    /// Sets how many bytes of topics, properties and payloads wait at most. Default: 64 MiB.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets what to do when one more comes. Default: reject it.
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Sets whether QoS 0 messages are queued while there is no connection, or rejected. Default:
    /// queued.
    #[must_use]
    pub fn qos0_offline(mut self, qos0_offline: bool) -> Self {
        self.qos0_offline = qos0_offline;
        self
    }
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            messages: 10_000,
            bytes: 64 * 1024 * 1024,
            when_full: WhenFull::Reject,
            qos0_offline: true,
        }
    }
}

/// What a full queue does with one more message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum WhenFull {
    /// Rejects it.
    #[default]
    Reject,
    /// Drops the oldest to make room.
    DropOldest,
    /// Accepts it and drops it at once.
    DropNewest,
}

/// What to do with a server that has more unacknowledged messages of QoS 1 and 2 than our Receive
/// Maximum allows [MQTT-3.3.4-9].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Excess {
    /// They are taken like others: the hard bounds hold for them too. The first of a connection is
    /// reported as [`Event::ReceiveMaximumExceeded`](crate::Event::ReceiveMaximumExceeded), all are
    /// counted. There are servers that do this without any fault of the network, and all that they
    /// have sent would come again on the next connection.
    #[default]
    Tolerate,
    /// The connection is closed with reason code 0x93, as the specification says (MQTT 5 §3.3.4).
    Disconnect,
}

/// Bounds of the messages that have arrived and were not taken yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct InboundLimits {
    #[cfg_attr(feature = "serde", serde(deserialize_with = "not_zero"))]
    pub(crate) receive_maximum: u16,
    pub(crate) soft_messages: usize,
    pub(crate) soft_bytes: usize,
    pub(crate) hard_messages: usize,
    pub(crate) hard_bytes: usize,
    pub(crate) excess: Excess,
    pub(crate) qos0_when_full: DropQos0,
}

impl InboundLimits {
    /// Sets how many QoS 1 and 2 messages the server may have unacknowledged (MQTT 5 §3.1.2.11.3);
    /// each connection allows no more than `hard_messages` leaves room for. A 3.x server does not
    /// know of it. Default: 1,024.
    #[must_use]
    pub fn receive_maximum(mut self, receive_maximum: u16) -> Self {
        self.receive_maximum = receive_maximum;
        self
    }

    /// Sets the number of messages above which the socket is not read while the server owes us
    /// nothing. Default: 32,768.
    #[must_use]
    pub fn soft_messages(mut self, soft_messages: usize) -> Self {
        self.soft_messages = soft_messages;
        self
    }

    /// Sets the number of bytes above which it is not read either. Default: 64 MiB.
    #[must_use]
    pub fn soft_bytes(mut self, soft_bytes: usize) -> Self {
        self.soft_bytes = soft_bytes;
        self
    }

    /// Sets the number of messages at which QoS 0 is dropped. A server that sends more QoS 1 and 2
    /// than this loses the connection (in MQTT 5 the receive maximum keeps a server that obeys it
    /// below). Default: 65,536.
    #[must_use]
    pub fn hard_messages(mut self, hard_messages: usize) -> Self {
        self.hard_messages = hard_messages;
        self
    }

    /// Sets the number of bytes at which QoS 0 is dropped, and a server of any version that sends
    /// more than this as QoS 1 and 2, not counting QoS 0, loses the connection. Default: 128 MiB.
    #[must_use]
    pub fn hard_bytes(mut self, hard_bytes: usize) -> Self {
        self.hard_bytes = hard_bytes;
        self
    }

    /// Sets what to do with a server that has more than `receive_maximum` unacknowledged. Default:
    /// tolerate it.
    #[must_use]
    pub fn excess(mut self, excess: Excess) -> Self {
        self.excess = excess;
        self
    }

    /// Sets which QoS 0 message is dropped: the oldest that the session still holds, or the one
    /// that came. Default: the oldest.
    #[must_use]
    pub fn qos0_when_full(mut self, qos0_when_full: DropQos0) -> Self {
        self.qos0_when_full = qos0_when_full;
        self
    }
}

impl Default for InboundLimits {
    fn default() -> Self {
        Self {
            receive_maximum: 1024,
            soft_messages: 32 * 1024,
            soft_bytes: 64 * 1024 * 1024,
            hard_messages: 64 * 1024,
            hard_bytes: 128 * 1024 * 1024,
            excess: Excess::Tolerate,
            qos0_when_full: DropQos0::Oldest,
        }
    }
}

/// Which message of QoS 0 to drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum DropQos0 {
    /// The oldest that the session still holds.
    #[default]
    #[cfg_attr(feature = "serde", serde(rename = "drop_oldest"))]
    Oldest,
    /// The one that came last.
    #[cfg_attr(feature = "serde", serde(rename = "drop_newest"))]
    Newest,
}

#[cfg(feature = "serde")]
fn not_zero<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    serde::Deserialize::deserialize(from).map(core::num::NonZeroU16::get)
}

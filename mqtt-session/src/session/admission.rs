//! Whether a message is accepted, and what it waits for otherwise.

use crate::{OutgoingPublish, PublishError, Session, WhenFull};
use martlet_proto::{QoS, Version};

/// What one more message has to wait for, from [`Session::admission`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admission {
    /// Nothing: waiting would not change what [`Session::publish`] does with it.
    Now,
    /// Room in the output: it is of QoS 0 and could only be queued.
    Output,
    /// Room in the queue for this many bytes.
    Queue(usize),
    /// A connection that takes it at once: it is larger than the queue.
    Connection,
}

impl Session {
    /// What a caller who can wait has to wait for before [`publish`](Self::publish) takes this
    /// message. [`has_room`](Self::has_room), [`has_output_room`](Self::has_output_room)
    /// and [`may_send_at_once`](Self::may_send_at_once) then say when to ask again. `is_behind`:
    /// others wait for room in the queue, and come first.
    ///
    /// # Errors
    /// [`PublishError`] when no room would help.
    pub fn admission(
        &self,
        message: &OutgoingPublish,
        is_behind: bool,
    ) -> Result<Admission, PublishError> {
        let size = message.size();
        let is_connected = self.is_connected();
        let rejects = self.config.queue.when_full == WhenFull::Reject;
        let is_stored = message.qos != QoS::AtMostOnce && self.is_durable();
        let admission = if self.is_ended() {
            Admission::Now
        } else if rejects && self.never_fits(size) {
            // What is stored does not go past the queue: `publish` rejects it.
            if is_stored || self.may_send_at_once(message.qos) {
                Admission::Now
            } else {
                Admission::Connection
            }
        } else if message.qos == QoS::AtMostOnce && is_connected {
            if self.has_output_room() {
                Admission::Now
            } else {
                Admission::Output
            }
        } else if rejects && (is_behind || !self.has_room(size)) {
            Admission::Queue(size)
        } else {
            Admission::Now
        };
        if admission == Admission::Now {
            return Ok(admission);
        }
        match self.check(message, is_connected, !message.properties.is_empty()) {
            // The store may work again.
            Ok(()) | Err(PublishError::Store(_)) => Ok(admission),
            Err(error) => Err(error),
        }
    }

    /// Whether [`publish`](Self::publish) would accept a message of `bytes` bytes of topic,
    /// properties and payload without dropping another. None while messages are held until the
    /// store works again.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.outbound.queue().fits(bytes, &self.config.queue) && !self.is_held_by_store()
    }

    /// Whether a QoS 0 message would go into the output at once.
    pub fn has_output_room(&self) -> bool {
        self.is_connected() && self.output.has_room() && self.outbound.may_pass(QoS::AtMostOnce, 0)
    }

    /// Whether a message of this QoS would leave at once, whatever its size.
    pub fn may_send_at_once(&self, qos: QoS) -> bool {
        self.is_connected()
            && self.output.has_room()
            && self.outbound.may_pass(qos, self.window())
            && !(qos != QoS::AtMostOnce && self.is_durable())
    }

    /// Why [`publish`](Self::publish) rejects a message for which there is no room.
    pub fn no_room_for(&self, message: &OutgoingPublish) -> PublishError {
        let (size, limit) = (message.size(), self.config.queue.bytes);
        // No completion makes room for it; waiting for one would be for nothing.
        if size > limit {
            PublishError::LargerThanQueue { size, limit }
        } else {
            PublishError::QueueFull
        }
    }

    /// Whether a message of this size would be rejected even by an empty queue.
    pub(crate) fn never_fits(&self, bytes: usize) -> bool {
        self.config.queue.messages == 0 || bytes > self.config.queue.bytes
    }

    /// Whether the message can be accepted, if there is room.
    #[inline]
    pub(crate) fn check(
        &self,
        message: &OutgoingPublish,
        connected: bool,
        has_properties: bool,
    ) -> Result<(), PublishError> {
        if self.is_ended() {
            return Err(PublishError::Closed(self.why_closed()));
        }
        let version = self.output.version;
        if connected
            && has_properties
            && !version.has_properties()
            && self.config.reject_properties_in_3x
        {
            return Err(PublishError::NotInVersion(version));
        }
        if message.qos == QoS::AtMostOnce && !connected && !self.config.queue.qos0_offline {
            return Err(PublishError::NotConnected);
        }
        self.limits
            .check(message, if connected { version } else { Version::V5 })?;
        let stored = message.qos != QoS::AtMostOnce && self.is_durable();
        match self.store_failure().filter(|_| stored) {
            Some(error) => Err(PublishError::Store(error.clone())),
            None => Ok(()),
        }
    }
}

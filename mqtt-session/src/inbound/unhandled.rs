//! The count of messages that the application has not taken.

use martlet_proto::QoS;

/// How many there are and how many bytes they have: of QoS 0, and of QoS 1 and 2.
#[derive(Debug, Default)]
pub(crate) struct Unhandled {
    pub(crate) messages: [u32; 2],
    pub(crate) bytes: [usize; 2],
}

/// Where messages of this QoS are counted.
#[inline]
fn kind(qos: QoS) -> usize {
    usize::from(qos != QoS::AtMostOnce)
}

impl Unhandled {
    /// A message waits from now on.
    #[inline]
    pub(crate) fn enter(&mut self, qos: QoS, bytes: u32) {
        let kind = kind(qos);
        self.messages[kind] += 1;
        self.bytes[kind] += bytes as usize;
    }

    /// A message does not wait any more.
    #[inline]
    pub(crate) fn leave(&mut self, qos: QoS, bytes: u32) {
        // A token of another session would be a mistake, not a reason to panic.
        let kind = kind(qos);
        self.messages[kind] = self.messages[kind].saturating_sub(1);
        self.bytes[kind] = self.bytes[kind].saturating_sub(bytes as usize);
    }
}

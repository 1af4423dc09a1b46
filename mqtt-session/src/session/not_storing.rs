//! What a session that cannot be durable does where others store: next to nothing.

use crate::outbound::Acked;
use crate::outbound::queue::TrackedMessage;
use crate::{Instant, OperationId, Session, StoreError};
use alloc::vec::Vec;
use martlet_proto::{PacketIdentifier, Version};

impl Session {
    /// Whether what must outlive the process is stored.
    #[inline]
    pub fn is_durable(&self) -> bool {
        false
    }

    pub(crate) fn begin_journal(&mut self) {}

    pub(crate) fn store_failure(&self) -> Option<&StoreError> {
        None
    }

    pub(crate) fn is_held_by_store(&self) -> bool {
        false
    }

    #[inline]
    pub(crate) fn is_store_far_behind(&self) -> bool {
        false
    }

    #[inline]
    pub(crate) fn is_of_earlier_process(&self, _: OperationId) -> bool {
        false
    }

    pub(crate) fn store_identity(&mut self, _: Option<Version>) {}

    pub(crate) fn store_message(&mut self, _: OperationId, _: Instant) {}

    pub(crate) fn admit(&mut self, _: TrackedMessage) {}

    pub(crate) fn store_release(&mut self, _: PacketIdentifier) {}

    pub(crate) fn store_failed(&mut self, _: OperationId, _: Option<PacketIdentifier>) {
        self.bound_given_up();
    }

    #[inline]
    pub(crate) fn forget(&mut self, _: OperationId) {}

    pub(crate) fn forget_queued(&mut self, _: &TrackedMessage) {}

    pub(crate) fn forget_acked(&mut self, _: &Acked) {}

    pub(crate) fn resume_stored(&mut self) {}

    pub(crate) fn begin_incarnation(&mut self, _: Version) -> Vec<OperationId> {
        Vec::new()
    }

    pub(crate) fn forget_flows(&mut self, _: Vec<OperationId>) {}

    pub(crate) fn keep_all(&mut self) {}
}

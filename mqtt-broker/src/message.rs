//! Messages that the broker keeps.

use crate::ids::SessionId;
use core::time::Duration;
use martlet_proto::{Publish, QoS, SubscriptionIdentifier};
use std::sync::Arc;

/// A message that the broker keeps; shared by all who wait for it.
#[derive(Debug)]
pub(crate) struct Content {
    /// Its topic, properties and payload, in memory of their own.
    pub(crate) publish: Publish,
    pub(crate) expires: Option<Duration>,
}

/// A message on its way to one client.
#[derive(Debug, Clone)]
pub(crate) struct OutgoingMessage {
    pub(crate) content: Arc<Content>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) identifiers: Vec<SubscriptionIdentifier>,
    /// Its place among all that was ever queued for the session.
    pub(crate) sequence: u64,
}

/// The retained message of a topic.
#[derive(Debug)]
pub(crate) struct Retained {
    pub(crate) content: Arc<Content>,
    pub(crate) sender: Option<SessionId>,
}

impl Content {
    pub(crate) fn is_expired(&self, now: Duration) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

impl OutgoingMessage {
    /// What it costs to keep it, in bytes. What others share of it is counted for each of them.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>()
            + size_of::<Content>()
            + size_of_val(self.identifiers.as_slice())
            + self.content.publish.len()
    }
}

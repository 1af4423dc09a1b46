//! What a publish uses when it does not say.

use martlet_proto::{QoS, TopicName};
use martlet_session::OutgoingPublish;
use std::collections::HashMap;

/// What a [`publish`](crate::Client::publish) uses when it does not say: what its topic has here,
/// or else what all have. Set with [`Builder::publish_defaults`](crate::Builder::publish_defaults).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PublishDefaults {
    /// The QoS of all topics. Default: 0.
    pub qos: QoS,
    /// Whether messages of all topics are retained. Default: false.
    pub retain: bool,
    /// What single topics have of their own. Default: none.
    pub topics: HashMap<TopicName, TopicDefaults>,
}

/// What a publish to one topic uses when it does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicDefaults {
    /// `None`: that of all topics.
    pub qos: Option<QoS>,
    /// `None`: that of all topics.
    pub retain: Option<bool>,
}

impl PublishDefaults {
    /// Gives them to a message about which nothing was said yet.
    pub(crate) fn apply(&self, message: &mut OutgoingPublish) {
        let own = self.topics.get(&message.topic).copied().unwrap_or_default();
        message.qos = own.qos.unwrap_or(self.qos);
        message.retain = own.retain.unwrap_or(self.retain);
    }
}

//! What a publish uses when it does not say.

use martlet_proto::{QoS, TopicName};
use martlet_session::OutgoingPublish;
use std::collections::HashMap;

/// What a [`publish`](crate::Client::publish) uses when it does not say: what its topic has here,
/// or else what all have. Set with [`Builder::publish_defaults`](crate::Builder::publish_defaults).
///
/// ```
/// # use martlet_client::{Client, QoS, client::{PublishDefaults, TopicDefaults}};
/// # use std::collections::HashMap;
/// let state = ("lamps/1/state".try_into()?, TopicDefaults::default().retain(true));
/// let defaults = PublishDefaults::default().qos(QoS::AtLeastOnce).topics(HashMap::from([state]));
/// let builder = Client::builder("mqtt://broker.example").publish_defaults(defaults);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PublishDefaults {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) topics: HashMap<TopicName, TopicDefaults>,
}

impl PublishDefaults {
    /// Sets the QoS of all topics. Default: 0.
    #[must_use]
    pub fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// Sets whether messages of all topics are retained. Default: false.
    #[must_use]
    pub fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Sets what single topics have of their own. Default: none.
    #[must_use]
    pub fn topics(mut self, topics: HashMap<TopicName, TopicDefaults>) -> Self {
        self.topics = topics;
        self
    }
}

/// What a publish to one topic uses when it does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TopicDefaults {
    /// See [`qos`](Self::qos).
    pub qos: Option<QoS>,
    /// See [`retain`](Self::retain).
    pub retain: Option<bool>,
}

impl TopicDefaults {
    /// Sets the QoS. `None`: that of all topics.
    #[must_use]
    pub fn qos(mut self, qos: impl Into<Option<QoS>>) -> Self {
        self.qos = qos.into();
        self
    }

    /// Sets whether messages are retained. `None`: as those of all topics.
    #[must_use]
    pub fn retain(mut self, retain: impl Into<Option<bool>>) -> Self {
        self.retain = retain.into();
        self
    }
}

impl PublishDefaults {
    /// Gives them to a message about which nothing was said yet.
    pub(crate) fn apply(&self, message: &mut OutgoingPublish) {
        let own = self.topics.get(&message.topic).copied().unwrap_or_default();
        message.qos = own.qos.unwrap_or(self.qos);
        message.retain = own.retain.unwrap_or(self.retain);
    }
}

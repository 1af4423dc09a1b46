//! Messages that were acknowledged and dropped although nobody had taken them, until they are
//! reported.

use crate::event::ClientEvent;
use crate::hub::message::Message;
use bytes::Bytes;
use martlet_proto::{QoS, TopicName};

/// How many, and which was the last.
#[derive(Debug, Default)]
pub(crate) struct Discards {
    messages: u64,
    last: Option<(TopicName, QoS)>,
}

impl Discards {
    pub(crate) fn add(&mut self, message: &Message) {
        self.messages += 1;
        self.last = Some((message.topic_name(), message.qos()));
    }

    /// The event that reports them, if there are any. It does not hold on to the buffer that the
    /// message came in.
    pub(crate) fn report(self) -> Option<ClientEvent> {
        let (topic, qos) = self.last?;
        let topic =
            TopicName::from_bytes(Bytes::copy_from_slice(topic.as_bytes())).unwrap_or(topic);
        Some(ClientEvent::Discarded {
            messages: self.messages,
            topic,
            qos,
        })
    }
}

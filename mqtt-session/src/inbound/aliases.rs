//! Topic aliases that the server has set on this connection (MQTT 5 §3.3.2.3.4).

use crate::Misbehaviour;
use alloc::vec::Vec;
use bytes::Bytes;
use core::num::NonZeroU16;
use martlet_proto::TopicName;

/// The topics, by their alias less one.
#[derive(Debug, Default)]
pub(crate) struct HeardAliases(Vec<Option<TopicName>>);

impl HeardAliases {
    /// The topic that `alias` stands for in a PUBLISH without a topic name. One with a topic name
    /// sets it.
    pub(crate) fn resolve(
        &mut self,
        alias: NonZeroU16,
        topic: &[u8],
    ) -> Result<Option<TopicName>, Misbehaviour> {
        let index = usize::from(alias.get()) - 1;
        if topic.is_empty() {
            let known = self.0.get(index).cloned().flatten();
            return known.map(Some).ok_or(Misbehaviour::TopicAlias(alias.get()));
        }
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        // A copy: the topic must not keep alive the buffer in which it arrived.
        self.0[index] = TopicName::from_bytes(Bytes::copy_from_slice(topic)).ok();
        Ok(None)
    }
}

//! Messages that cannot be taken: those above our maximum packet size, whose bytes are skipped
//! where the server cannot know that maximum, and malformed ones, which end the connection.

use crate::event::RejectedMessage;
use crate::session::Skipped;
use crate::store::context::Context;
use crate::{ConnectionError, Event, Oversized, Session};
use alloc::boxed::Box;
use bytes::{Buf, BytesMut};
use martlet_proto::{
    DecodeError, DecodeErrorKind, FixedHeader, PacketType, PublishHead, PublishRef, QoS, TopicName,
    Utf8String,
};

/// A head of 3.x is never larger: fixed header, topic name and packet identifier.
const LARGEST_HEAD: usize = 5 + 2 + u16::MAX as usize + 2;

/// From this many connections in a row that ended with a message that cannot be taken, each such
/// message is named.
const NAMED_FROM: u32 = 3;

/// What to do with a packet that the decoder rejects.
pub(crate) enum Rejected {
    /// The connection goes on: its bytes are skipped from now on, or it has failed one request
    /// only.
    Skip,
    /// More of it is needed to say.
    Incomplete,
    Fail(ConnectionError),
}

impl Session {
    /// Judges the packet at the front of `input`, which the decoder has rejected.
    #[cold]
    pub(crate) fn reject(&mut self, error: DecodeError, input: &mut BytesMut) -> Rejected {
        let is_publish = error.packet_type() == Some(PacketType::Publish);
        if is_publish
            && matches!(error.kind(), DecodeErrorKind::PacketTooLarge { .. })
            && self.skips()
        {
            return match PublishHead::decode(input, self.output.version) {
                Ok(Some(_)) => match self.begin_skip(input) {
                    Ok(()) => Rejected::Skip,
                    Err(error) => Rejected::Fail(error),
                },
                Ok(None)
                    if input.len() < LARGEST_HEAD.max(self.config.maximum_packet_size as usize) =>
                {
                    Rejected::Incomplete
                }
                Ok(None) => Rejected::Fail(ConnectionError::Malformed(error)),
                Err(error) => Rejected::Fail(self.malformed(error, input)),
            };
        }
        if is_publish {
            return Rejected::Fail(self.malformed(error, input));
        }
        match self.handle_undecodable(input, error) {
            Ok(()) => Rejected::Skip,
            Err(error) => Rejected::Fail(error),
        }
    }

    /// Whether messages above our maximum are skipped: not if CONNECT has announced the maximum to
    /// the server.
    fn skips(&self) -> bool {
        self.config.oversized == Oversized::Skip
            && !(self.output.version.has_properties() && self.config.announce_maximum_packet_size)
            && self.is_online()
    }

    fn begin_skip(&mut self, input: &mut BytesMut) -> Result<(), ConnectionError> {
        let Ok(Some(head)) = PublishHead::decode(input, self.output.version) else {
            return Ok(());
        };
        let (delivery, head_size) = (head.publish.delivery(), head.head_size);
        let size = u32::try_from(head.packet_size).unwrap_or(u32::MAX);
        if self.inbound.has_no_place(delivery.qos()) {
            return Err(ConnectionError::InboundOverrun);
        }
        let aliased = match head.publish.properties().scan().topic_alias {
            Some(alias) => self
                .inbound
                .resolve_alias(
                    head.publish.topic_bytes(),
                    alias,
                    self.config.topic_alias_maximum,
                )
                .map_err(ConnectionError::PeerMisbehaved)?,
            None => None,
        };
        let topic = aliased
            .or_else(|| TopicName::new(head.publish.topic()).ok())
            .expect("a head without a topic alias has a topic");
        self.skipping = (head.packet_size - head_size) as u32;
        self.rare.get_or_insert_default().skipped = Some(Box::new(Skipped {
            delivery,
            topic,
            size,
        }));
        input.advance(head_size);
        self.skip(input);
        Ok(())
    }

    /// Drops bytes of the message that is being skipped. With the last of them it is over: it is
    /// acknowledged in its turn, as if the application had taken it.
    #[cold]
    pub(crate) fn skip(&mut self, input: &mut BytesMut) {
        let n = input.len().min(self.skipping as usize);
        input.advance(n);
        self.skipping -= n as u32;
        if self.skipping > 0 {
            return;
        }
        let skipped = self
            .rare
            .as_deref_mut()
            .and_then(|rare| rare.skipped.take());
        let Some(Skipped {
            delivery,
            topic,
            size,
        }) = skipped.map(|skipped| *skipped)
        else {
            return;
        };
        let context = Context::new(&mut self.output, &mut self.journal);
        self.inbound.pass_over(delivery, context);
        self.output.tally.counters_mut().oversized_skipped += 1;
        self.events.push_back(Event::MessageSkipped {
            topic,
            size,
            qos: delivery.qos(),
        });
    }

    /// The connection is gone: what was not skipped to its end comes again.
    pub(crate) fn stop_skipping(&mut self) {
        if core::mem::take(&mut self.skipping) > 0 {
            self.rare.get_or_insert_default().skipped = None;
        }
    }

    /// A message that cannot be taken ends the connection, and likely the next one too.
    fn malformed(&mut self, error: DecodeError, input: &[u8]) -> ConnectionError {
        let rare = self.rare.get_or_insert_default();
        rare.rejected_in_a_row = rare.rejected_in_a_row.saturating_add(1);
        let connections = rare.rejected_in_a_row;
        if connections >= NAMED_FROM {
            let header = FixedHeader::decode(input, self.output.version)
                .ok()
                .flatten();
            let message = RejectedMessage {
                error,
                topic: PublishRef::readable_topic(input)
                    .and_then(|topic| Utf8String::new(topic).ok()),
                qos: header.and_then(|header| QoS::from_u8(header.flags >> 1 & 3)),
                size: header.map_or(0, |header| header.packet_size() as u32),
                connections,
            };
            self.events
                .push_back(Event::MessageRejected(Box::new(message)));
        }
        ConnectionError::Malformed(error)
    }

    /// A connection has ended for a reason that is not a message.
    pub(crate) fn forget_rejected(&mut self) {
        if let Some(rare) = self.rare.as_deref_mut() {
            rare.rejected_in_a_row = 0;
        }
    }
}

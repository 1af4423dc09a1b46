//! What a session has to tell the application, in order.

use crate::{Event, ReceivedPublish};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use martlet_proto::QoS;

/// A queue in two lanes: messages of QoS 0, which may be dropped, and all else. The oldest of the
/// former is found without a search, and the order of all is kept. A session that has never had an
/// event holds nothing.
#[derive(Debug, Default)]
pub(crate) struct EventQueue(Option<Box<Lanes>>);

#[derive(Debug, Default)]
struct Lanes {
    others: VecDeque<Event>,
    /// Each with the number of others that were pushed before it.
    qos0: VecDeque<(u64, ReceivedPublish)>,
    /// How many others were pushed and popped.
    pushed: u64,
    popped: u64,
}

impl EventQueue {
    #[inline]
    pub(crate) fn push_back(&mut self, event: Event) {
        let lanes = self.0.get_or_insert_default();
        match event {
            Event::Message(message) if message.token.qos == QoS::AtMostOnce => {
                lanes.qos0.push_back((lanes.pushed, message));
            }
            event => {
                lanes.pushed += 1;
                lanes.others.push_back(event);
            }
        }
    }

    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<Event> {
        let lanes = self.0.as_mut()?;
        if lanes
            .qos0
            .front()
            .is_some_and(|(after, _)| *after <= lanes.popped)
        {
            return self.pop_qos0().map(Event::Message);
        }
        let event = lanes.others.pop_front()?;
        lanes.popped += 1;
        Some(event)
    }

    /// The oldest message of QoS 0.
    #[inline]
    pub(crate) fn pop_qos0(&mut self) -> Option<ReceivedPublish> {
        self.0
            .as_mut()?
            .qos0
            .pop_front()
            .map(|(_, message)| message)
    }
}

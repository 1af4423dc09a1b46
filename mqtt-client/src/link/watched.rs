//! The observer of a link.

use crate::event::ClientEvent;
use crate::link::Link;
use crate::link::observer::{Observer, Trace};
use martlet_session::Instant;

impl Link {
    /// Shows every packet to `observer`.
    pub fn set_observer(&mut self, observer: Box<dyn Observer + Send>) {
        self.trace = Some(Trace::new(observer, self.maximum_packet_size));
    }

    /// Shows an event of the client to the observer, if there is one.
    pub(crate) fn show(&mut self, at: Instant, event: &ClientEvent) {
        if let Some(trace) = &mut self.trace {
            trace.event(at, event);
        }
    }

    pub(crate) fn has_observer(&self) -> bool {
        self.trace.as_ref().is_some_and(Trace::has_observer)
    }

    /// Whether the observer has panicked since the last question.
    pub(crate) fn observer_has_panicked(&mut self) -> bool {
        self.trace.as_mut().is_some_and(Trace::has_panicked)
    }
}

//! Reason strings and user properties of the server's answers: a server may send as many bytes of
//! them as a packet has, with every answer, so the session holds on to a bounded number of bytes.

use crate::error::{ConnectionError, PublishError, Rejection, ServerDisconnect};
use crate::event::{Answer, AuthMessage, PublishOutcome};
use crate::{Event, Session};
use martlet_proto::{ConnAckProperties, UserProperties, Utf8String};

/// The diagnostics of one packet.
pub(crate) type Parts<'a> = (&'a mut Option<Utf8String>, &'a mut UserProperties);

impl Session {
    /// Queues an event that may have diagnostics, as far as there is room for them.
    pub(crate) fn tell(&mut self, mut event: Event) {
        // Those of other events are in memory of their own already.
        let shares = matches!(
            event,
            Event::Published { .. } | Event::Subscribed { .. } | Event::Unsubscribed { .. }
        );
        if let Some(parts) = parts(&mut event) {
            let room = self
                .config
                .diagnostics
                .saturating_sub(self.diagnostics_waiting);
            let (size, left_out) = keep(parts, room as usize, shares);
            // No more than the room.
            self.diagnostics_waiting += size as u32;
            self.count_left_out(left_out);
        }
        self.events.push_back(event);
    }

    /// An event has left the queue.
    #[cold]
    pub(crate) fn release_diagnostics(&mut self, event: &mut Event) {
        let size = parts(event).map_or(0, size);
        self.diagnostics_waiting = self.diagnostics_waiting.saturating_sub(size as u32);
    }

    /// Copies the diagnostics of a packet out of its bytes, as far as there may be any.
    pub(crate) fn own_diagnostics(&mut self, parts: Parts<'_>) {
        let (_, left_out) = keep(parts, self.config.diagnostics as usize, true);
        self.count_left_out(left_out);
    }

    fn count_left_out(&mut self, parts: u64) {
        if parts > 0 {
            self.output.tally.counters_mut().diagnostics_left_out += parts;
        }
    }
}

/// Leaves out what there is no room for. Returns how many bytes there are now, and how many parts
/// were left out.
fn keep((reason_string, user_properties): Parts<'_>, room: usize, detach: bool) -> (usize, u64) {
    let mut left_out = 0;
    let mut kept = 0;
    if reason_string.as_ref().is_some_and(|text| text.len() > room) {
        *reason_string = None;
        left_out += 1;
    }
    if let Some(text) = reason_string {
        kept += text.len();
        if detach {
            text.detach();
        }
    }
    if user_properties.size() > room - kept {
        user_properties.clear();
        left_out += 1;
    }
    kept += user_properties.size();
    if detach {
        user_properties.detach();
    }
    (kept, left_out)
}

fn size((reason_string, user_properties): Parts<'_>) -> usize {
    reason_string.as_ref().map_or(0, Utf8String::len) + user_properties.size()
}

/// The diagnostics of an event, if it can have any.
fn parts(event: &mut Event) -> Option<Parts<'_>> {
    match event {
        Event::Published {
            result: Ok(PublishOutcome { details, .. }),
            ..
        }
        | Event::Published {
            result: Err(PublishError::Rejected { details, .. }),
            ..
        }
        | Event::Subscribed {
            result: Ok(Answer { details, .. }),
            ..
        }
        | Event::Unsubscribed {
            result: Ok(Answer { details, .. }),
            ..
        } => details
            .as_deref_mut()
            .map(|details| (&mut details.reason_string, &mut details.user_properties)),
        Event::AuthChallenge(message)
        | Event::Authenticated(message)
        | Event::Reauthenticated {
            result: Ok(message),
            ..
        } => {
            let AuthMessage {
                reason_string,
                user_properties,
                ..
            } = &mut **message;
            Some((reason_string, user_properties))
        }
        Event::Connected(connected) => {
            let ConnAckProperties {
                reason_string,
                user_properties,
                ..
            } = &mut connected.connack.properties;
            Some((reason_string, user_properties))
        }
        Event::Disconnected(ConnectionError::Rejected(rejection)) => {
            let Rejection {
                reason_string,
                user_properties,
                ..
            } = &mut **rejection;
            Some((reason_string, user_properties))
        }
        Event::Disconnected(ConnectionError::DisconnectedByPeer(disconnect)) => {
            let ServerDisconnect {
                reason_string,
                user_properties,
                ..
            } = &mut **disconnect;
            Some((reason_string, user_properties))
        }
        _ => None,
    }
}

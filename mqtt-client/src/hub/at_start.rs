//! The builder's subscriptions, whose messages go to the stream of unmatched messages, and what is
//! rejected to streams.

use crate::event::ClientEvent;
use crate::hub::requests::{AskedAtStart, AtStart, is_rejection};
use crate::hub::route::{RouteKey, UNMATCHED};
use crate::hub::shared::{Shared, State};
use crate::hub::wakers::Wakers;
use martlet_proto::{SubAckReasonCode, SubscribeFilter, TopicFilter};
use martlet_session::{Answer, Instant, RequestError, SubscribeRequest};

impl Shared {
    /// Subscribes, before there is a connection, to what the stream of unmatched messages shall
    /// get.
    pub(crate) fn subscribe_at_start(&self, mut subscriptions: Vec<SubscribeFilter>) {
        if subscriptions.is_empty() {
            return;
        }
        let mut state = self.lock();
        let identifier = state.routes.add_to_unmatched(&mut subscriptions);
        state.requests.at_start.asked =
            Some(Box::new(AskedAtStart::new(subscriptions, identifier)));
        // Nobody reads events yet; what cannot be asked now is asked on the first connection.
        state.ask_at_start(&mut Wakers::default());
    }
}

impl State {
    /// The server has rejected a stream these filters. Where another stream has left that had
    /// subscribed to one before, nobody wants it any more.
    pub(crate) fn reject(&mut self, now: Instant, key: RouteKey, mut filters: Vec<TopicFilter>) {
        filters.retain(|filter| self.routes.reject_filter(key, filter));
        self.withdraw_subscriptions(now, filters);
    }

    /// Withdraws subscriptions that no stream has any more. That includes a session on hold, which
    /// would make them again when it goes on.
    pub(crate) fn withdraw_subscriptions(&mut self, now: Instant, filters: Vec<TopicFilter>) {
        let has_ended_for_good = self.session.is_ended() && !self.session.is_on_hold();
        if !filters.is_empty() && !has_ended_for_good {
            self.session.withdraw_subscriptions(now, filters);
        }
    }

    /// There is a new connection: the builder's subscriptions are asked for on it, unless that is
    /// under way.
    pub(crate) fn handle_connected_at_start(&mut self, wakers: &mut Wakers) {
        let AtStart {
            asked, retry_at, ..
        } = &self.requests.at_start;
        let waits = retry_at.is_some() && asked.as_ref().is_some_and(|asked| asked.are_suspect);
        if !waits {
            self.ask_at_start(wakers);
        }
    }

    /// What failed is asked for again, if it is time. Returns whether it was.
    pub(crate) fn retry_at_start(&mut self, wakers: &mut Wakers) -> bool {
        let now = self.now;
        let is_due = self
            .requests
            .at_start
            .retry_at
            .take_if(|at| *at <= now)
            .is_some();
        if is_due && !self.session.is_ended() {
            self.ask_at_start(wakers);
        }
        is_due
    }

    /// Subscribes to the builder's subscriptions, unless that is under way.
    fn ask_at_start(&mut self, wakers: &mut Wakers) {
        let at_start = &mut self.requests.at_start;
        let (None, Some(asked)) = (at_start.operation, &mut at_start.asked) else {
            return;
        };
        // Since it was last asked for, somebody may have subscribed to the same at another QoS, or
        // unsubscribed.
        self.routes.renew_unmatched(&mut asked.subscriptions);
        if asked.subscriptions.is_empty() {
            self.requests.at_start = AtStart::default();
            return;
        }
        let request = SubscribeRequest::new(asked.subscriptions.iter().cloned())
            .subscription_identifier(asked.identifier);
        match self.session.subscribe(self.now, request) {
            Ok(operation) => {
                at_start.operation = Some(operation);
                at_start.retry_at = None;
            }
            Err(error) => {
                if error == RequestError::TooMany {
                    at_start.retry(self.now, &error);
                }
                // Otherwise this server does not take it, but perhaps the next one does.
                self.events
                    .push(&ClientEvent::Subscribed(Err(error)), wakers);
            }
        }
    }

    /// The server has answered the builder's subscriptions, or will not.
    pub(crate) fn answered_at_start(
        &mut self,
        result: Result<Answer<SubAckReasonCode>, RequestError>,
        wakers: &mut Wakers,
    ) {
        self.requests.at_start.operation = None;
        // They wait for a connection as long as it takes.
        let on_hold = matches!(result, Err(RequestError::Closed(_))) && self.session.is_on_hold();
        if on_hold || result == Err(RequestError::NotConnected) {
            return;
        }
        match &result {
            Err(
                error @ (RequestError::Timeout
                | RequestError::TooMany
                | RequestError::ConnectionsLost { .. }),
            ) => {
                self.requests.at_start.retry(self.now, error);
                let event = ClientEvent::Subscribed(Err(error.clone()));
                return self.events.push(&event, wakers);
            }
            // This server cannot be asked for them, but perhaps the next one can.
            Err(error @ (RequestError::NotSupported(_) | RequestError::PacketTooLarge { .. })) => {
                let event = ClientEvent::Subscribed(Err(error.clone()));
                return self.events.push(&event, wakers);
            }
            _ => {}
        }
        let Some(asked) = std::mem::take(&mut self.requests.at_start).asked else {
            return;
        };
        let filters: Vec<_> = asked.filters().cloned().collect();
        let rejected = match &result {
            Ok(answer) => {
                self.requests.at_start.asked = asked.left_to_ask(&answer.reasons);
                let answered = filters.iter().zip(&answer.reasons);
                let rejected = answered.filter(|(_, reason)| is_rejection(**reason));
                rejected.map(|(filter, _)| filter.clone()).collect()
            }
            Err(RequestError::InvalidAnswer(_)) => filters.clone(),
            Err(_) => Vec::new(),
        };
        self.reject(self.now, UNMATCHED, rejected);
        let result = result.map(|answer| filters.into_iter().zip(answer.reasons).collect());
        self.events.push(&ClientEvent::Subscribed(result), wakers);
    }
}

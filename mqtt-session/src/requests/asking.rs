//! Transitions of wishes: commands of the application, answers of the server, lost connections and
//! lost sessions.

use super::operations::FilterOutcome;
use super::{
    Blame, Entry, Key, Past, PendingRequest, Registered, RequestKind, Stage, Waiter, Wish, Wishes,
};
use crate::error::Details;
use crate::ordered::Ordered;
use crate::{Event, Instant, Limits, OperationId, RequestError};
use alloc::vec::Vec;
use martlet_proto::{
    QoS, SubAckReasonCode, SubscribeFilter, SubscriptionIdentifier, TopicFilter,
    UnsubAckReasonCode, UserProperties,
};

/// How large the SUBSCRIBEs that restore subscriptions become, in bytes: a compromise between round
/// trips and what a server may reject.
const RESTORE_SIZE: usize = 8 * 1024;

/// What headers, identifier and properties take at most in a SUBSCRIBE without user properties.
pub(crate) const OVERHEAD: usize = 16;

fn unsubscribe(filter: TopicFilter, waiters: Vec<Waiter>) -> Wish {
    Wish {
        subscription: SubscribeFilter::new(filter, QoS::AtMostOnce),
        waiters,
    }
}

impl Wishes {
    // ---- the application

    /// Subscribes or unsubscribes, in packets of a bounded number of filters. Of a filter that is
    /// named twice the last counts, as with the server.
    pub(crate) fn ask(
        &mut self,
        operation: OperationId,
        expires: Instant,
        action: RequestKind,
        subscriptions: Vec<SubscribeFilter>,
        most: usize,
    ) {
        let asked = subscriptions
            .iter()
            .map(|entry| (entry.filter.clone(), entry.qos))
            .collect();
        self.begin(operation, action.is_unsubscribe(), asked, expires);
        let mut wishes: Vec<Wish> = Vec::with_capacity(subscriptions.len());
        let mut places: Ordered<TopicFilter, usize> = Ordered::default();
        for (place, subscription) in subscriptions.into_iter().enumerate() {
            let waiter = Waiter { operation, place };
            let at = *places.get_or_insert_with(subscription.filter.clone(), || wishes.len());
            match wishes.get_mut(at) {
                Some(wish) => {
                    wish.subscription = subscription;
                    wish.waiters.push(waiter);
                }
                None => wishes.push(Wish {
                    subscription,
                    waiters: [waiter].into(),
                }),
            }
        }
        for filter in places.keys() {
            let ended = action.is_unsubscribe() && self.ungrant(filter);
            let entry = self
                .filters
                .get_or_insert_with(filter.clone(), Entry::default);
            entry.wanted = !action.is_unsubscribe();
            entry.asked |= ended;
        }
        let request = PendingRequest::new(action, operation.get(), wishes);
        request
            .split(most, usize::MAX)
            .into_iter()
            .for_each(|chunk| self.place(chunk));
    }

    /// Withdraws the wishes for these filters. What was not sent leaves nothing behind; only what
    /// the server may have is unsubscribed.
    pub(crate) fn withdraw(&mut self, order: OperationId, filters: Vec<TopicFilter>, most: usize) {
        let mut wishes = Vec::new();
        for filter in filters {
            if self.filters.get(&filter).is_none_or(|entry| !entry.wanted) {
                continue;
            }
            for wish in self
                .extract(&filter)
                .into_iter()
                .flat_map(|older| older.wishes)
            {
                self.settle_all(
                    wish.waiters,
                    &FilterOutcome::failed(RequestError::Superseded),
                );
            }
            let ended = self.ungrant(&filter);
            let Some(entry) = self.filters.get_mut(&filter) else {
                continue;
            };
            entry.wanted = false;
            entry.asked |= ended;
            if entry.asked || matches!(entry.stage, Stage::Sent(_)) {
                wishes.push(unsubscribe(filter, Vec::new()));
            } else {
                self.tidy(&filter);
            }
        }
        let request = PendingRequest::new(
            RequestKind::Unsubscribe {
                user_properties: UserProperties::new(),
            },
            order.get(),
            wishes,
        );
        request
            .split(most, usize::MAX)
            .into_iter()
            .for_each(|chunk| self.place(chunk));
    }

    // ---- the server

    /// SUBACK. A rejection leaves an earlier subscription of the filter as it was; one that the
    /// server had lost is over.
    pub(crate) fn handle_suback(
        &mut self,
        mut request: PendingRequest,
        reasons: &[SubAckReasonCode],
        details: Option<&Details>,
    ) {
        self.identifiers -= 1;
        self.not_awaited(&mut request);
        let RequestKind::Subscribe { identifier, .. } = request.action else {
            return;
        };
        let mut restored = Vec::new();
        let mut acknowledged = Vec::new();
        for (
            Wish {
                subscription,
                waiters,
            },
            &reason,
        ) in request.wishes.into_iter().zip(reasons)
        {
            let filter = subscription.filter.clone();
            if let Some(entry) = self.filters.get_mut(&filter) {
                if entry.lost {
                    restored.push((filter.clone(), reason));
                }
                // What was unsubscribed in the meantime does not come back with a late answer.
                let (granted, wanted) = (!reason.is_error(), entry.wanted);
                if granted || entry.stage == Stage::Sent(request.number) {
                    entry.asked = granted && !wanted;
                }
                match granted {
                    true if wanted => {
                        self.grant(
                            &filter,
                            Registered {
                                subscription,
                                identifier,
                                order: request.order,
                            },
                        );
                    }
                    false if entry.lost => drop(self.ungrant(&filter)),
                    _ => {}
                }
            }
            self.release(request.number, &filter);
            self.tidy(&filter);
            acknowledged.push((waiters, reason));
        }
        self.report_restored(restored);
        for (waiters, reason) in acknowledged {
            self.add_details(&waiters, details);
            self.settle_all(waiters, &FilterOutcome::Subscribed(reason));
        }
    }

    /// UNSUBACK. The subscriptions were removed when the unsubscribe was requested.
    pub(crate) fn handle_unsuback(
        &mut self,
        mut request: PendingRequest,
        reasons: &[UnsubAckReasonCode],
        details: Option<&Details>,
    ) {
        self.identifiers -= 1;
        self.not_awaited(&mut request);
        for (
            Wish {
                subscription,
                waiters,
            },
            &reason,
        ) in request.wishes.into_iter().zip(reasons)
        {
            let filter = subscription.filter;
            if let Some(entry) = self.filters.get_mut(&filter) {
                let is_late = entry.stage == Stage::Idle && !entry.wanted;
                entry.asked &= entry.stage != Stage::Sent(request.number) && !is_late;
            }
            self.release(request.number, &filter);
            self.tidy(&filter);
            self.add_details(&waiters, details);
            self.settle_all(waiters, &FilterOutcome::Unsubscribed(reason));
        }
    }

    /// An answer that does not fit came for the second time: the request is over.
    pub(crate) fn handle_misanswered(&mut self, mut request: PendingRequest, error: &RequestError) {
        self.identifiers -= 1;
        self.not_awaited(&mut request);
        let number = request.number;
        let filters: Vec<_> = request
            .wishes
            .iter()
            .map(|wish| wish.subscription.filter.clone())
            .collect();
        for filter in &filters {
            if let Some(entry) = self.filters.get_mut(filter) {
                // Whether the server has the subscription is not known. A second UNSUBSCRIBE would
                // fare no better.
                entry.asked = !request.action.is_unsubscribe();
            }
        }
        self.fail_request(request, error);
        for filter in &filters {
            self.release(number, filter);
            self.tidy(filter);
        }
    }

    /// The answer to a request has not come in time. Its identifier stays taken.
    pub(crate) fn handle_timeout(&mut self, request: &mut PendingRequest) {
        self.not_awaited(request);
        let waiters = request
            .wishes
            .iter_mut()
            .flat_map(|wish| core::mem::take(&mut wish.waiters));
        let operations = waiters.map(|waiter| (waiter.operation.0, 0)).collect();
        self.fail_all(&operations, &RequestError::Timeout);
        for wish in &request.wishes {
            let filter = &wish.subscription.filter;
            if let Some(entry) = self.filters.get_mut(filter) {
                entry.asked = true;
            }
            self.release(request.number, filter);
        }
    }

    fn report_restored(&mut self, restored: Vec<(TopicFilter, SubAckReasonCode)>) {
        if !restored.is_empty() {
            self.events.push_back(Event::Resubscribed(restored));
        }
    }

    /// Fails a request, which is not sent again.
    fn fail_request(&mut self, request: PendingRequest, error: &RequestError) {
        let mut restored = Vec::new();
        for Wish {
            subscription,
            waiters,
        } in request.wishes
        {
            self.fail_wish(
                &subscription.filter,
                waiters,
                error,
                SubAckReasonCode::UnspecifiedError,
                &mut restored,
            );
        }
        self.report_restored(restored);
    }

    /// The server of this connection cannot be asked for a filter.
    pub(crate) fn reject(&mut self, wish: Wish, error: &RequestError, code: SubAckReasonCode) {
        let mut restored = Vec::new();
        let filter = wish.subscription.filter;
        self.fail_wish(&filter, wish.waiters, error, code, &mut restored);
        self.report_restored(restored);
        self.tidy(&filter);
    }

    fn fail_wish(
        &mut self,
        filter: &TopicFilter,
        waiters: Vec<Waiter>,
        error: &RequestError,
        code: SubAckReasonCode,
        restored: &mut Vec<(TopicFilter, SubAckReasonCode)>,
    ) {
        let waited = waiters.iter().any(|waiter| self.is_live(waiter));
        let lost = self.filters.get(filter).is_some_and(|entry| entry.lost);
        if lost {
            self.ungrant(filter);
            restored.push((filter.clone(), code));
        }
        let is_in_code = lost
            && !matches!(
                error,
                RequestError::ConnectionsLost { .. } | RequestError::InvalidAnswer(_)
            );
        if !waited && !is_in_code {
            self.report_failure(filter, error.clone());
        }
        self.settle_all(waiters, &FilterOutcome::Failed(error.clone(), code));
    }

    // ---- the connection

    /// The connection is gone: what was sent and not answered waits for the next, unless it has
    /// ended `most` connections. With each request comes whether any of it was handed out. A
    /// subscribe that nobody waits for is forgotten; subscriptions that are to be made again are
    /// not: the server may have begun a new session before they arrived.
    pub(crate) fn handle_close(
        &mut self,
        unanswered: Vec<(PendingRequest, bool)>,
        most: u32,
        blame: Blame,
    ) {
        self.outstanding = 0;
        self.identifiers = 0;
        self.probing = false;
        self.probe_at = None;
        let handed_out = unanswered
            .iter()
            .filter(|(_, was_handed_out)| *was_handed_out)
            .count();
        self.filters
            .iter_mut()
            .map(|(_, entry)| entry)
            .filter(|entry| matches!(entry.stage, Stage::Sent(_)))
            .for_each(|entry| {
                entry.stage = Stage::Idle;
            });
        let mut filters = Vec::new();
        for (mut request, was_handed_out) in unanswered {
            let is_restored = |wish: &Wish| {
                self.filters
                    .get(&wish.subscription.filter)
                    .is_some_and(|entry| entry.lost)
            };
            let is_suspected = match blame {
                Blame::All => true,
                Blame::New => !request.wishes.iter().all(is_restored),
                Blame::None => false,
            };
            request.past.losses += u32::from(was_handed_out);
            request.past.suspicions += u32::from(was_handed_out && is_suspected);
            let alone = request.alone || handed_out == 1;
            let is_unsubscribe = request.action.is_unsubscribe();
            for wish in core::mem::take(&mut request.wishes) {
                filters.push(wish.subscription.filter.clone());
                let entry = self
                    .filters
                    .get_mut(&wish.subscription.filter)
                    .map(|entry| {
                        entry.asked |= was_handed_out;
                        &*entry
                    });
                let Some(entry) = entry.filter(|entry| entry.wanted != is_unsubscribe) else {
                    // The opposite was asked for since.
                    self.settle_all(
                        wish.waiters,
                        &FilterOutcome::failed(RequestError::Superseded),
                    );
                    continue;
                };
                if is_unsubscribe
                    || entry.lost
                    || wish.waiters.iter().any(|waiter| self.is_live(waiter))
                {
                    request.wishes.push(wish);
                }
            }
            self.retry(request, most, alone);
        }
        filters.iter().for_each(|filter| self.tidy(filter));
        self.fail_overdue();
    }

    /// A request is sent again: apart where that is the last attempt, and not at all after it.
    fn retry(&mut self, mut request: PendingRequest, most: u32, alone: bool) {
        let last = most.saturating_sub(1).max(1);
        if request.past.losses < last {
            return self.place(request);
        }
        if request.wishes.len() > 1 {
            // Most of the filters are not the reason.
            for wish in core::mem::take(&mut request.wishes) {
                let single = request.with_wishes([wish].into());
                self.place(PendingRequest {
                    past: Past {
                        losses: last,
                        ..request.past
                    },
                    ..single
                });
            }
            return;
        }
        if !request.past.is_over(most) || !alone {
            return self.place(request);
        }
        for wish in &request.wishes {
            // A server that closes the connection instead of answering has not granted anything.
            if let Some(entry) = self.filters.get_mut(&wish.subscription.filter) {
                entry.asked = false;
            }
        }
        let connections = request.past.losses;
        self.fail_request(request, &RequestError::ConnectionsLost { connections });
    }

    // ---- the server's session

    /// The server has no session: there is nothing to unsubscribe from.
    pub(crate) fn lose_session(&mut self, code: UnsubAckReasonCode) {
        self.filters
            .iter_mut()
            .for_each(|(_, entry)| entry.asked = false);
        let is_unsubscribe = |(key, request): (&Key, &PendingRequest)| {
            request.action.is_unsubscribe().then_some(*key)
        };
        let keys: Vec<_> = self.ready.iter().filter_map(is_unsubscribe).collect();
        for key in keys {
            for wish in self
                .take(key)
                .into_iter()
                .flat_map(|request| request.wishes)
            {
                self.settle_all(wish.waiters, &FilterOutcome::Unsubscribed(code));
            }
        }
        self.filters.retain(|_, entry| !entry.is_over());
    }

    /// The server may have lost all subscriptions: they are asked for again, before anything that
    /// waits. Gives back those that this server does not take; they are over. It may still have
    /// them all where its session is `present`.
    pub(crate) fn restore(
        &mut self,
        limits: &Limits,
        most: usize,
        present: bool,
    ) -> Vec<(TopicFilter, SubAckReasonCode)> {
        let mut rejected = Vec::new();
        let mut places: Ordered<u64, u64> = Ordered::default();
        let mut by_identifier: Vec<(Option<SubscriptionIdentifier>, Vec<Wish>)> = Vec::new();
        for (filter, entry) in self.filters.iter_mut() {
            let Some(Registered {
                subscription,
                identifier,
                ..
            }) = &entry.granted
            else {
                continue;
            };
            if let Some((reason, _)) = limits.rejection(subscription) {
                rejected.push((filter.clone(), reason));
                continue;
            }
            self.lost += usize::from(!core::mem::replace(&mut entry.lost, true));
            entry.asked |= present;
            // Otherwise it is to be asked for already.
            if entry.stage == Stage::Idle {
                let wish = Wish {
                    subscription: subscription.clone(),
                    waiters: Vec::new(),
                };
                let number = identifier.map_or(0, SubscriptionIdentifier::get);
                let place = *places.get_or_insert_with(number.into(), || {
                    by_identifier.push((*identifier, Vec::new()));
                    by_identifier.len() as u64 - 1
                });
                by_identifier[place as usize].1.push(wish);
            }
        }
        for (filter, _) in &rejected {
            self.ungrant(filter);
            self.tidy(filter);
        }
        let bytes = RESTORE_SIZE
            .min(limits.maximum_packet_size as usize)
            .saturating_sub(OVERHEAD);
        for (_, place) in places.into_entries() {
            let (identifier, wishes) = core::mem::take(&mut by_identifier[place as usize]);
            let action = RequestKind::Subscribe {
                identifier,
                user_properties: UserProperties::new(),
            };
            let chunks = PendingRequest::new(action, 0, wishes).split(most, bytes);
            chunks.into_iter().for_each(|chunk| self.put(chunk));
        }
        rejected
    }
}

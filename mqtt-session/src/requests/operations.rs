//! Operations of the application: a subscribe or unsubscribe of any number of filters, with one
//! answer however many packets it took.

use super::{Waiter, Wishes};
use crate::error::Details;
use crate::event::Answer;
use crate::ordered::Ordered;
use crate::{Event, Instant, OperationId, RequestError};
use alloc::boxed::Box;
use alloc::vec::Vec;
use martlet_proto::{QoS, SubAckReasonCode, TopicFilter, UnsubAckReasonCode};

#[derive(Debug)]
pub(super) struct Operation {
    is_unsubscribe: bool,
    /// Until when it waits to be sent.
    expires: Instant,
    /// That time is over, but all of it had been sent.
    overdue: bool,
    filters: Vec<(TopicFilter, QoS)>,
    /// What became of each filter.
    outcomes: Vec<Option<FilterOutcome>>,
    missing: usize,
    details: Option<Box<Details>>,
}

/// What became of one filter of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FilterOutcome {
    Subscribed(SubAckReasonCode),
    Unsubscribed(UnsubAckReasonCode),
    /// It was not answered; beside others that were, this code stands for it.
    Failed(RequestError, SubAckReasonCode),
}

impl FilterOutcome {
    pub(super) fn failed(error: RequestError) -> Self {
        Self::Failed(error, SubAckReasonCode::UnspecifiedError)
    }

    fn subscribed(&self) -> SubAckReasonCode {
        match self {
            Self::Subscribed(code) | Self::Failed(_, code) => *code,
            Self::Unsubscribed(_) => SubAckReasonCode::UnspecifiedError,
        }
    }

    fn unsubscribed(&self) -> UnsubAckReasonCode {
        match self {
            Self::Unsubscribed(code) => *code,
            _ => UnsubAckReasonCode::UnspecifiedError,
        }
    }
}

/// A set of operations, by their numbers. The values mean nothing; a map of these types is there anyway.
pub(super) type Operations = Ordered<u64, u64>;

impl Wishes {
    /// An operation begins.
    pub(super) fn begin(
        &mut self,
        operation: OperationId,
        is_unsubscribe: bool,
        filters: Vec<(TopicFilter, QoS)>,
        expires: Instant,
    ) {
        if self.operations.is_empty() {
            (self.earliest, self.latest) = (expires, expires);
            self.is_mixed = false;
        }
        self.is_mixed |= expires < self.latest;
        self.earliest = self.earliest.min(expires);
        self.latest = self.latest.max(expires);
        let missing = filters.len();
        let outcomes = filters.iter().map(|_| None).collect();
        let details = None;
        let begun = Operation {
            is_unsubscribe,
            expires,
            overdue: false,
            filters,
            outcomes,
            missing,
            details,
        };
        self.operations.insert(operation, begun);
    }

    /// When the next operation has waited for too long. Where all wait equally long, the oldest is
    /// the first; otherwise it may be earlier than that, and [`expire`](Self::expire) finds out.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let oldest = self.expiries().next()?;
        Some(if self.is_mixed { self.earliest } else { oldest })
    }

    /// When those that are not overdue expire, the oldest operation first.
    fn expiries(&self) -> impl Iterator<Item = Instant> + '_ {
        let waiting = self
            .operations
            .iter()
            .filter(|(_, operation)| !operation.overdue);
        waiting.map(|(_, operation)| operation.expires)
    }

    pub(super) fn is_live(&self, waiter: &Waiter) -> bool {
        self.operations.contains_key(&waiter.operation)
    }

    /// Those who wait for a filter have their answer.
    pub(super) fn settle_all(&mut self, waiters: Vec<Waiter>, outcome: &FilterOutcome) {
        for Waiter { operation, place } in waiters {
            let Some(found) = self.operations.get_mut(&operation) else {
                continue;
            };
            if let Some(slot @ None) = found.outcomes.get_mut(place) {
                *slot = Some(outcome.clone());
                found.missing -= 1;
            }
            if found.missing == 0 {
                self.complete(operation);
            }
        }
    }

    /// Keeps the server's reason string and user properties for the operations of these waiters.
    pub(super) fn add_details(&mut self, waiters: &[Waiter], details: Option<&Details>) {
        let Some(details) = details else { return };
        for waiter in waiters {
            if let Some(found) = self.operations.get_mut(&waiter.operation) {
                found
                    .details
                    .get_or_insert_with(|| Box::new(details.clone()));
            }
        }
    }

    /// All filters of an operation have an outcome.
    fn complete(&mut self, operation: OperationId) {
        let Some(Operation {
            is_unsubscribe,
            filters,
            outcomes,
            details,
            ..
        }) = self.operations.remove(&operation)
        else {
            return;
        };
        let outcomes: Vec<FilterOutcome> = outcomes.into_iter().flatten().collect();
        let is_failed = |outcome: &FilterOutcome| matches!(outcome, FilterOutcome::Failed(..));
        if let (true, Some(FilterOutcome::Failed(error, _))) =
            (outcomes.iter().all(is_failed), outcomes.first())
        {
            let event = failed(operation, is_unsubscribe, error.clone());
            self.events.push_back(event);
            return;
        }
        // The answer has codes only.
        for ((filter, _), outcome) in filters.iter().zip(&outcomes) {
            if let FilterOutcome::Failed(error, _) = outcome {
                self.report_failure(filter, error.clone());
            }
        }
        let event = if is_unsubscribe {
            let reasons = outcomes.iter().map(FilterOutcome::unsubscribed).collect();
            Event::Unsubscribed {
                operation,
                result: Ok(Answer { reasons, details }),
            }
        } else {
            let codes = outcomes.iter().map(FilterOutcome::subscribed);
            let reasons = filters
                .iter()
                .zip(codes)
                .map(|((_, most), code)| at_most(code, *most))
                .collect();
            Event::Subscribed {
                operation,
                result: Ok(Answer { reasons, details }),
            }
        };
        self.events.push_back(event);
    }

    /// Reports a failure that no answer carries.
    pub(super) fn report_failure(&mut self, filter: &TopicFilter, error: RequestError) {
        if error != RequestError::Superseded {
            self.events.push_back(Event::RequestFailed {
                filter: filter.clone(),
                error,
            });
        }
    }

    /// Ends operations as a whole. Subscriptions that only they wanted, and that were not sent, are
    /// not wanted any more; what was to be unsubscribed still is. Many may want the same filter:
    /// each is looked at once.
    pub(super) fn fail_all(&mut self, operations: &Operations, error: &RequestError) {
        for filter in self.filters_of(operations).keys() {
            let Some((wish, is_unsubscribe)) = self.unsent_wish(filter) else {
                continue;
            };
            wish.waiters
                .retain(|waiter| !operations.contains_key(&waiter.operation.0));
            let is_over = wish.waiters.is_empty() && !is_unsubscribe;
            if is_over && self.filters.get(filter).is_some_and(|entry| !entry.lost) {
                self.extract(filter);
                self.tidy(filter);
            }
        }
        for operation in operations.keys() {
            let operation = OperationId(*operation);
            if let Some(ended) = self.operations.remove(&operation) {
                self.events
                    .push_back(failed(operation, ended.is_unsubscribe, error.clone()));
            }
        }
    }

    /// Every filter that any of these operations names.
    fn filters_of(&self, operations: &Operations) -> Ordered<TopicFilter, usize> {
        let found = operations
            .keys()
            .filter_map(|operation| self.operations.get(&OperationId(*operation)));
        found
            .flat_map(|found| found.filters.iter().map(|(filter, _)| (filter.clone(), 0)))
            .collect()
    }

    /// Those of these operations that have a filter which waits to be sent.
    fn unsent(&mut self, operations: &Operations) -> Operations {
        let mut unsent = Operations::default();
        for filter in self.filters_of(operations).keys() {
            if let Some((wish, _)) = self.unsent_wish(filter) {
                for waiter in &wish.waiters {
                    if operations.contains_key(&waiter.operation.0) {
                        unsent.insert(waiter.operation.0, 0);
                    }
                }
            }
        }
        unsent
    }

    /// Fails what has waited to be sent for too long.
    pub(crate) fn expire(&mut self, now: Instant, error: &RequestError) {
        let due: Operations = self
            .operations
            .iter()
            .filter(|(_, operation)| !operation.overdue)
            .take_while(|(_, operation)| self.is_mixed || operation.expires <= now)
            .filter(|(_, operation)| operation.expires <= now)
            .map(|(id, _)| (id.0, 0))
            .collect();
        let unsent = self.unsent(&due);
        self.fail_all(&unsent, error);
        for operation in due.keys() {
            if let Some(found) = self.operations.get_mut(&OperationId(*operation)) {
                found.overdue = true;
            }
        }
        if self.is_mixed {
            self.earliest = self.expiries().min().unwrap_or(self.latest);
            self.is_mixed = !self.expiries().is_sorted();
        }
    }

    /// Fails what waits to be sent once more, and had its time.
    pub(super) fn fail_overdue(&mut self) {
        let overdue = self.operations.iter().filter(|(_, it)| it.overdue);
        let overdue = overdue.map(|(operation, _)| (operation.0, 0)).collect();
        self.fail_all(&overdue, &RequestError::NotConnected);
    }

    /// Fails every operation that was not sent as a whole.
    pub(crate) fn fail_unsent(&mut self, error: &RequestError) {
        let all = self
            .operations
            .keys()
            .map(|operation| (operation.0, 0))
            .collect();
        let unsent = self.unsent(&all);
        self.fail_all(&unsent, error);
    }
}

/// The code for one of several places that name the same filter: none is granted more than it asked
/// for.
fn at_most(code: SubAckReasonCode, most: QoS) -> SubAckReasonCode {
    if code.is_error() || code.as_u8() <= most as u8 {
        return code;
    }
    match most {
        QoS::AtMostOnce => SubAckReasonCode::GrantedQos0,
        QoS::AtLeastOnce => SubAckReasonCode::GrantedQos1,
        QoS::ExactlyOnce => SubAckReasonCode::GrantedQos2,
    }
}

fn failed(operation: OperationId, is_unsubscribe: bool, error: RequestError) -> Event {
    if is_unsubscribe {
        Event::Unsubscribed {
            operation,
            result: Err(error),
        }
    } else {
        Event::Subscribed {
            operation,
            result: Err(error),
        }
    }
}

//! Requests that wait for their answers: SUBSCRIBE, UNSUBSCRIBE and PINGREQ.

use crate::hub::unread::Unread;
use crate::hub::wakers::{Caller, KeptWaker, Wakers};
use martlet_proto::{
    SubAckReasonCode, SubscribeFilter, SubscriptionIdentifier, TopicFilter, UnsubAckReasonCode,
};
use martlet_session::{Answer, ConnectionError, Details, Instant, OperationId, RequestError};
use std::collections::BTreeMap;
use std::task::Poll;
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct RequestReplies {
    replies: BTreeMap<OperationId, RequestState>,
    /// The diagnostics in replies that nobody has looked at.
    unread: Unread,
    pub(crate) at_start: AtStart,
}

/// The pauses before what failed is asked for again: the first, and the longest, to which they
/// double.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LAST_PAUSE: Duration = Duration::from_secs(3600);

/// What the builder subscribes to: asked for until the server has answered.
#[derive(Debug, Default)]
pub(crate) struct AtStart {
    /// What is asked for, until it is answered.
    pub(crate) asked: Option<Box<AskedAtStart>>,
    /// The SUBSCRIBE that waits for its answer or a connection.
    pub(crate) operation: Option<OperationId>,
    /// When it is asked for again, also on the connection that there is.
    pub(crate) retry_at: Option<Instant>,
}

/// The builder's subscriptions.
#[derive(Debug)]
pub(crate) struct AskedAtStart {
    pub(crate) subscriptions: Vec<SubscribeFilter>,
    pub(crate) identifier: SubscriptionIdentifier,
    /// The last pause before they were asked for again.
    pause: Duration,
    /// They may be what has ended the last connections: a new one is no reason to ask again.
    pub(crate) are_suspect: bool,
}

impl AskedAtStart {
    pub(crate) fn new(
        subscriptions: Vec<SubscribeFilter>,
        identifier: SubscriptionIdentifier,
    ) -> Self {
        Self {
            subscriptions,
            identifier,
            pause: Duration::ZERO,
            are_suspect: false,
        }
    }

    pub(crate) fn filters(&self) -> impl Iterator<Item = &TopicFilter> {
        self.subscriptions
            .iter()
            .map(|subscription| &subscription.filter)
    }

    /// What is left to be asked for after these answers: what this server does not support, the next one may.
    pub(crate) fn left_to_ask(
        mut self: Box<Self>,
        reasons: &[SubAckReasonCode],
    ) -> Option<Box<Self>> {
        let mut reasons = reasons.iter();
        self.subscriptions
            .retain(|_| reasons.next().is_some_and(|reason| is_unsupported(*reason)));
        (!self.subscriptions.is_empty()).then_some(self)
    }
}

/// Whether it is about the server, whatever the filter is.
fn is_unsupported(reason: SubAckReasonCode) -> bool {
    matches!(
        reason,
        SubAckReasonCode::SharedSubscriptionsNotSupported
            | SubAckReasonCode::WildcardSubscriptionsNotSupported
    )
}

/// Whether the server does not grant this filter, and no other server is to be asked for it.
pub(crate) fn is_rejection(reason: SubAckReasonCode) -> bool {
    reason.is_error() && !is_unsupported(reason)
}

impl AtStart {
    /// When it is asked for again.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether this is the SUBSCRIBE that asks for it.
    pub(crate) fn is(&self, operation: OperationId) -> bool {
        self.operation == Some(operation)
    }

    /// It failed, and is asked for again.
    pub(crate) fn retry(&mut self, now: Instant, error: &RequestError) {
        if let Some(asked) = &mut self.asked {
            asked.pause = (asked.pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
            asked.are_suspect = matches!(error, RequestError::ConnectionsLost { .. });
            self.retry_at = Some(now + asked.pause);
        }
    }
}

#[derive(Debug)]
enum RequestState {
    Waiting(Option<KeptWaker>),
    Done(Reply),
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) enum Reply {
    Subscribed(Result<Answer<SubAckReasonCode>, RequestError>),
    Unsubscribed(Result<Answer<UnsubAckReasonCode>, RequestError>),
    Pong(Result<(), RequestError>),
}

impl RequestReplies {
    /// A request has been accepted; its answer will be kept until it is asked for.
    pub(crate) fn expect_reply(&mut self, operation: OperationId) {
        let state = RequestState::Waiting(None);
        self.replies.insert(operation, state);
    }

    pub(crate) fn poll_reply(
        &mut self,
        operation: OperationId,
        caller: &mut Caller<'_>,
    ) -> Poll<Reply> {
        let mut waker = match self.replies.remove(&operation) {
            Some(RequestState::Done(reply)) => {
                self.unread.release(reply.details());
                return Poll::Ready(reply);
            }
            Some(RequestState::Waiting(waker)) => waker,
            None => None,
        };
        caller.wait_in(&mut waker);
        let state = RequestState::Waiting(waker);
        self.replies.insert(operation, state);
        Poll::Pending
    }

    pub(crate) fn forget_reply(&mut self, operation: OperationId, deferred: &mut Vec<KeptWaker>) {
        match self.replies.remove(&operation) {
            Some(RequestState::Waiting(waker)) => deferred.extend(waker),
            Some(RequestState::Done(reply)) => self.unread.release(reply.details()),
            None => {}
        }
    }

    /// The server has answered, or will not.
    pub(crate) fn reply(&mut self, operation: OperationId, mut reply: Reply, wakers: &mut Wakers) {
        let Some(state) = self.replies.get_mut(&operation) else {
            return;
        };
        if let Some(details) = reply.details_mut() {
            self.unread.admit(details);
        }
        let before = std::mem::replace(state, RequestState::Done(reply));
        if let RequestState::Waiting(Some(waker)) = before {
            wakers.push(waker);
        }
    }

    /// No request that waits will be answered.
    pub(crate) fn fail_all(&mut self, error: &ConnectionError, wakers: &mut Wakers) {
        for state in self.replies.values_mut() {
            if let RequestState::Waiting(waker) = state {
                wakers.take(waker);
                let error = RequestError::Closed(error.clone());
                *state = RequestState::Done(Reply::Pong(Err(error)));
            }
        }
    }
}

impl Reply {
    fn details(&self) -> Option<&Details> {
        match self {
            Self::Subscribed(Ok(answer)) => answer.details.as_deref(),
            Self::Unsubscribed(Ok(answer)) => answer.details.as_deref(),
            _ => None,
        }
    }

    fn details_mut(&mut self) -> Option<&mut Option<Box<Details>>> {
        match self {
            Self::Subscribed(Ok(answer)) => Some(&mut answer.details),
            Self::Unsubscribed(Ok(answer)) => Some(&mut answer.details),
            _ => None,
        }
    }

    pub(crate) fn error(self) -> RequestError {
        match self {
            Self::Subscribed(Err(error))
            | Self::Unsubscribed(Err(error))
            | Self::Pong(Err(error)) => error,
            // The answer to nobody's question.
            Self::Subscribed(Ok(_)) | Self::Unsubscribed(Ok(_)) | Self::Pong(Ok(())) => {
                RequestError::Closed(ConnectionError::ClosedHere)
            }
        }
    }

    pub(crate) fn into_unsubscribed(self) -> Result<Answer<UnsubAckReasonCode>, RequestError> {
        match self {
            Self::Unsubscribed(Ok(answer)) => Ok(answer),
            other => Err(other.error()),
        }
    }

    pub(crate) fn into_pong(self) -> Result<(), RequestError> {
        match self {
            Self::Pong(Ok(())) => Ok(()),
            other => Err(other.error()),
        }
    }
}

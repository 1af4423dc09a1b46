//! A message on its way: from waiting for room to its end.

use crate::api::receipt::Receipt;
#[cfg(feature = "tracing")]
use crate::api::spans;
use crate::hub::admission::Offered;
use crate::hub::completions::{PublishResult, SENT};
use crate::hub::shared::{Shared, wake};
use crate::hub::sleeper::{Sleeper, is_over};
use crate::hub::wakers::{Caller, KeptWaker, Wakers};
use martlet_proto::{QoS, TopicError};
use martlet_session::{Connected, Instant, OutgoingPublish, PublishError};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Waits for room, publishes, and then waits as far as it is asked to: the machine of the futures
/// of a publish.
#[derive(Debug)]
pub(super) struct Sending<'a> {
    shared: &'a Arc<Shared>,
    step: SendStep,
    /// Until the first poll.
    timeout: Option<Duration>,
    sleeper: Option<Box<Sleeper>>,
    /// The only connection that may take it.
    connection: Option<&'a Arc<Connected>>,
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

#[derive(Debug)]
enum SendStep {
    /// Not accepted yet. `place`: the number under which it waits for room.
    Offering {
        message: Result<OutgoingPublish, TopicError>,
        place: Option<u64>,
    },
    Accepted(Receipt),
    Finished,
}

impl SendStep {
    /// The message, which has a topic, and is there until it is accepted.
    #[inline]
    fn take_message(&mut self) -> OutgoingPublish {
        match std::mem::replace(self, Self::Finished) {
            Self::Offering {
                message: Ok(message),
                ..
            } => message,
            _ => unreachable!("it was looked at a moment ago"),
        }
    }
}

/// How the message was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acceptance {
    /// In this step, and that was all: it is of QoS 0 and in the output.
    Sent,
    /// In this step. Its end wakes the caller.
    Awaited,
    /// Its end is to be asked for.
    Accepted,
}

impl<'a> Sending<'a> {
    #[inline]
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        message: Result<OutgoingPublish, TopicError>,
        timeout: Option<Duration>,
        connection: Option<&'a Arc<Connected>>,
    ) -> Self {
        Self {
            #[cfg(feature = "tracing")]
            span: message
                .as_ref()
                .map_or_else(|_| tracing::Span::none(), spans::publish),
            shared,
            step: SendStep::Offering {
                message,
                place: None,
            },
            timeout,
            sleeper: None,
            connection,
        }
    }

    /// The end of the message.
    #[inline]
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<PublishResult> {
        let mut polled = self.poll_end_once(cx);
        if polled.is_pending() && self.is_over(cx) {
            // There may be room, or the end, since it was looked for.
            polled = self.poll_end_once(cx);
            if polled.is_pending() {
                polled = Poll::Ready(Err(self.give_up()));
            }
        }
        #[cfg(feature = "tracing")]
        if let Poll::Ready(end) = &polled {
            spans::record_end(&self.span, end);
        }
        polled
    }

    #[inline]
    fn poll_end_once(&mut self, cx: &mut Context<'_>) -> Poll<PublishResult> {
        match self.poll_accepted(cx, true) {
            Poll::Ready(Ok(Acceptance::Sent)) => Poll::Ready(Ok(SENT)),
            Poll::Ready(Ok(Acceptance::Awaited)) | Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Acceptance::Accepted)) => self.receipt().poll_end(cx),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    /// A receipt for the message, once it is accepted, and stored if a store gets it.
    pub(super) fn poll_receipt(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Receipt, PublishError>> {
        let mut polled = self.poll_receipt_once(cx);
        if polled.is_pending() && self.is_over(cx) {
            // There may be room, or it may be stored, since it was looked at.
            polled = self.poll_receipt_once(cx);
            if polled.is_pending() {
                polled = Poll::Ready(Err(self.give_up()));
            }
        }
        #[cfg(feature = "tracing")]
        if let Poll::Ready(end) = &polled {
            spans::record_end(&self.span, end);
        }
        polled
    }

    fn poll_receipt_once(&mut self, cx: &mut Context<'_>) -> Poll<Result<Receipt, PublishError>> {
        match self.poll_accepted(cx, false) {
            Poll::Ready(Ok(Acceptance::Sent)) => {
                return Poll::Ready(Ok(Receipt::new(self.shared, None)));
            }
            Poll::Ready(Ok(Acceptance::Awaited | Acceptance::Accepted)) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        let receipt = self.receipt();
        if receipt.is_to_be_stored() {
            match receipt.poll_stored(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.finish(error))),
                Poll::Pending => return Poll::Pending,
            }
        }
        let SendStep::Accepted(mut receipt) = std::mem::replace(&mut self.step, SendStep::Finished)
        else {
            unreachable!("it was accepted a moment ago");
        };
        receipt.set_sleeper(self.sleeper.take());
        Poll::Ready(Ok(receipt))
    }

    /// The receipt of a message that was accepted.
    #[inline]
    fn receipt(&mut self) -> &mut Receipt {
        match &mut self.step {
            SendStep::Accepted(receipt) => receipt,
            SendStep::Offering { .. } | SendStep::Finished => panic!("polled after it was ready"),
        }
    }

    /// Publishes the message when there is room. The caller waits for its end from then on, if
    /// `awaits_end` and its waker is there.
    fn poll_accepted(
        &mut self,
        cx: &Context<'_>,
        awaits_end: bool,
    ) -> Poll<Result<Acceptance, PublishError>> {
        let (shared, connection) = (self.shared, self.connection);
        let SendStep::Offering { message, place } = &mut self.step else {
            return Poll::Ready(Ok(Acceptance::Accepted));
        };
        if let Some(timeout) = self.timeout.take() {
            self.sleeper = Some(Box::new(Sleeper::new(self.shared, timeout)));
        }
        let offered = match message {
            Ok(message) => message,
            Err(error) => {
                let error = PublishError::Topic(*error);
                return Poll::Ready(Err(self.finish(error)));
            }
        };
        // It needs no waker, and as a rule it leaves: that is 4 % cheaper than through all of what follows.
        if offered.qos == QoS::AtMostOnce && place.is_none() && offered.properties.is_empty() {
            match send_at_once(shared, offered, connection) {
                Ok(true) => {
                    self.step = SendStep::Finished;
                    return Poll::Ready(Ok(Acceptance::Sent));
                }
                Ok(false) => {}
                Err(error) => return Poll::Ready(Err(self.finish(error))),
            }
        }
        let now = expiry_clock(shared, offered);
        // Their ends are always waited for.
        let is_awaited = awaits_end && offered.qos != QoS::AtMostOnce;
        let mut waker = is_awaited.then(|| KeptWaker::cloned(cx));
        let (mut state, offered) = loop {
            let mut state = shared.lock();
            match state.admit(offered, connection, *place) {
                Ok(Offered::Wait(_)) => {
                    drop(state);
                    let waker = waker.take().unwrap_or_else(|| KeptWaker::cloned(cx));
                    let caller = Caller::with(cx, Some(waker));
                    ready!(poll_room(shared, offered, connection, place, caller));
                }
                Ok(offered) => break (state, offered),
                Err(error) => {
                    drop(state);
                    return Poll::Ready(Err(self.finish(error)));
                }
            }
        };
        if let Some(place) = place.take() {
            state.forget_room(place);
        }
        let mut acceptance = Acceptance::Accepted;
        let accepted = match offered {
            Offered::Room => {
                if waker.is_some() {
                    acceptance = Acceptance::Awaited;
                }
                state.accept(self.step.take_message(), now, waker)
            }
            Offered::Sent | Offered::Wait(_) => Ok(None),
        };
        let driver = state.call_driver();
        drop(state);
        wake(driver);
        match accepted {
            Ok(Some(pending)) => {
                self.step = SendStep::Accepted(Receipt::new(self.shared, Some(pending)));
                Poll::Ready(Ok(acceptance))
            }
            Ok(None) => {
                self.step = SendStep::Finished;
                Poll::Ready(Ok(Acceptance::Sent))
            }
            Err(error) => Poll::Ready(Err(self.finish(error))),
        }
    }

    /// Whether the time has run out, if there is a limit.
    #[inline]
    fn is_over(&mut self, cx: &Context<'_>) -> bool {
        is_over(&mut self.sleeper, cx)
    }

    /// The time has run out. Returns what has become of the message.
    fn give_up(&mut self) -> PublishError {
        let error = match &self.step {
            SendStep::Offering {
                message: Ok(message),
                ..
            } => self.shared.lock().session.no_room_for(message),
            _ => PublishError::Timeout,
        };
        self.finish(error)
    }

    /// Nothing is waited for any more: it does not keep its place before those that go on to wait.
    fn finish(&mut self, error: PublishError) -> PublishError {
        self.leave_room();
        self.step = SendStep::Finished;
        error
    }

    /// It does not wait for room any more.
    #[inline]
    fn leave_room(&mut self) {
        if let SendStep::Offering { place, .. } = &mut self.step {
            if let Some(place) = place.take() {
                self.give_up_place(place);
            }
        }
    }

    #[cold]
    fn give_up_place(&self, place: u64) {
        let mut wakers = Wakers::default();
        self.shared.lock().leave_room(place, &mut wakers);
        wakers.wake();
    }
}

impl Drop for Sending<'_> {
    #[inline]
    fn drop(&mut self) {
        self.leave_room();
    }
}

/// Sends a message of QoS 0 that can leave at once. Returns whether it has left.
#[inline]
fn send_at_once(
    shared: &Shared,
    message: &OutgoingPublish,
    connection: Option<&Arc<Connected>>,
) -> Result<bool, PublishError> {
    let mut state = shared.lock();
    if !state.send_at_once(message, connection)? {
        return Ok(false);
    }
    let driver = state.call_driver();
    drop(state);
    wake(driver);
    Ok(true)
}

/// Waits while there is no room for a message, under a number that the first call sets. Room comes from
/// the driver, which was called by the one that took it.
#[cold]
fn poll_room(
    shared: &Shared,
    message: &OutgoingPublish,
    connection: Option<&Arc<Connected>>,
    place: &mut Option<u64>,
    caller: Caller<'_>,
) -> Poll<()> {
    shared.poll(caller, |state, caller| {
        // It was there a moment ago, under another lock.
        if connection.is_some_and(|connection| !state.connection.is(connection)) {
            return Poll::Ready(());
        }
        let room = &state.publishers.room;
        match room.need(&state.session, message, *place) {
            Ok(Some(need)) => {
                state.await_room(place, need, caller);
                Poll::Pending
            }
            // It may be published, or not at all.
            Ok(None) | Err(_) => Poll::Ready(()),
        }
    })
}

/// The time, for a message whose expiry counts from now; everything else can do with that of the
/// driver's last turn.
fn expiry_clock(shared: &Shared, message: &OutgoingPublish) -> Option<Instant> {
    (!message.properties.is_empty()).then(|| shared.now())
}

/// Publishes a message, or rejects it.
pub(super) fn send_now(
    shared: &Arc<Shared>,
    message: OutgoingPublish,
    connection: Option<&Arc<Connected>>,
) -> Result<Receipt, PublishError> {
    #[cfg(feature = "tracing")]
    let span = spans::publish(&message);
    let now = expiry_clock(shared, &message);
    let mut state = shared.lock();
    let result = match state.send_at_once(&message, connection) {
        Ok(true) => Ok(None),
        // In the queue it could leave on another connection.
        Ok(false)
            if connection.is_some()
                && message.qos == QoS::AtMostOnce
                && !state.session.has_output_room() =>
        {
            Err(PublishError::QueueFull)
        }
        Ok(false) => state.accept(message, now, None),
        Err(error) => Err(error),
    };
    let driver = state.call_driver();
    drop(state);
    wake(driver);
    #[cfg(feature = "tracing")]
    spans::record_end(&span, &result);
    result.map(|pending| Receipt::new(shared, pending))
}

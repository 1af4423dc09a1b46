//! The receipt of a message that was accepted.

use crate::hub::admission::AcceptedMessage;
use crate::hub::completions::{PublishResult, SENT};
use crate::hub::shared::Shared;
use crate::hub::sleeper::{Sleeper, is_over};
use crate::hub::wakers::{Caller, Wakers};
use martlet_session::{OperationId, PublishError, Withdrawal as How};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

/// How far a message had come when it was [withdrawn](Receipt::withdraw).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Withdrawn {
    /// It was not sent, and will not be.
    Unsent,
    /// It was sent, and may have arrived; it is not sent again.
    InFlight,
    /// It had come to this end before.
    Ended(PublishResult),
    /// It had ended before, and the result is not available: the receipt had already returned it,
    /// or the client has disconnected and it is not known yet whether the store keeps the message.
    TooLate,
}

/// Stands for a message that was accepted. Await it for the server's answer, or drop it: the
/// message is delivered in the background.
///
/// One from [`PublishBuilder::enqueue`](crate::client::PublishBuilder::enqueue) is of a message
/// that is stored, if the client has a [`store`](crate::Builder::store) and its QoS is 1 or 2; with
/// one from [`try_enqueue`](crate::client::PublishBuilder::try_enqueue), [`stored`](Self::stored)
/// waits for that.
///
/// After [`PublishError::Timeout`] it still stands for the message: await it by reference
/// (`(&mut receipt).await`) to keep it, then await it again, without a limit, or
/// [`withdraw`](Self::withdraw) the message. Once it has returned another result, it must not be
/// polled again.
///
/// # Panics
/// Polled again after it has returned a result other than [`PublishError::Timeout`].
///
/// ```
/// # use martlet_client::{Client, PublishError, QoS};
/// # async fn example(client: Client) -> Result<(), PublishError> {
/// let mut receipts = Vec::new();
/// for n in 0..100 {
///     let publish = client.publish("counter", n.to_string()).qos(QoS::AtLeastOnce);
///     receipts.push(publish.enqueue().await?); // accepted, and on its way
/// }
/// for receipt in receipts {
///     receipt.await?; // acknowledged by the server
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Receipt {
    state: ReceiptState,
    sleeper: Option<Box<Sleeper>>,
}

#[derive(Debug)]
enum ReceiptState {
    /// QoS 0, and in the output.
    Acknowledged,
    Pending {
        shared: Arc<Shared>,
        pending: AcceptedMessage,
    },
    /// The end was returned.
    Returned,
}

impl Receipt {
    /// `None`: the message was of QoS 0, and is in the output.
    #[inline]
    pub(super) fn new(shared: &Arc<Shared>, pending: Option<AcceptedMessage>) -> Self {
        let state = match pending {
            Some(pending) => ReceiptState::Pending {
                shared: Arc::clone(shared),
                pending,
            },
            None => ReceiptState::Acknowledged,
        };
        Self {
            state,
            sleeper: None,
        }
    }

    /// Its end is waited for until then.
    pub(super) fn set_sleeper(&mut self, sleeper: Option<Box<Sleeper>>) {
        self.sleeper = sleeper;
    }

    /// The operation, by which [events](crate::ClientEvent::ServerHangsUp) name the message; `None`
    /// for a message of QoS 0 that was sent at once, and once the receipt has given the server's
    /// answer.
    pub fn operation(&self) -> Option<OperationId> {
        match &self.state {
            ReceiptState::Pending { pending, .. } => Some(pending.operation),
            ReceiptState::Acknowledged | ReceiptState::Returned => None,
        }
    }

    /// Takes the message back. What has not left is not sent, also if it is stored; what is in
    /// flight is given up: it may have arrived, and is not sent again. Its packet identifier rests
    /// until the server answers, or has lost the session.
    ///
    /// To withdraw a message whose receipt is gone, see
    /// [`Client::withdraw`](crate::Client::withdraw).
    pub fn withdraw(mut self) -> Withdrawn {
        if matches!(self.state, ReceiptState::Returned) {
            return Withdrawn::TooLate;
        }
        loop {
            if let Poll::Ready(result) = self.poll_end(&mut Context::from_waker(Waker::noop())) {
                return Withdrawn::Ended(result);
            }
            let ReceiptState::Pending { shared, pending } = &self.state else {
                return Withdrawn::TooLate;
            };
            let mut wakers = Wakers::default();
            let withdrawn =
                shared.act(|state, _| match state.session.withdraw(pending.operation) {
                    How::Unsent => Some(Withdrawn::Unsent),
                    How::InFlight => Some(Withdrawn::InFlight),
                    // Its end is among the events that were not dispatched, or it is not known yet
                    // what the store keeps.
                    _ => (!state.dispatch(&mut wakers)).then_some(Withdrawn::TooLate),
                });
            wakers.wake();
            if let Some(withdrawn) = withdrawn {
                return withdrawn;
            }
        }
    }

    /// Waits until the message is stored: from then on it survives a crash of the process or the
    /// machine, and is delivered. When a message is stored, so are all that were accepted before
    /// it: waiting for the last of many is enough.
    ///
    /// Cancel safe. The receipt can be awaited for the server's answer before or after.
    ///
    /// # Errors
    /// [`PublishError::NotStored`] where nothing is stored: at QoS 0, without a store, and once the
    /// receipt has given the server's answer. [`PublishError::Store`] when the store failed and the
    /// message was given up; another error when the message came to such an end before it was
    /// stored, or is not sent any more, as when it was withdrawn.
    pub async fn stored(&mut self) -> Result<(), PublishError> {
        poll_fn(|cx| self.poll_stored(cx)).await
    }

    pub(super) fn poll_stored(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PublishError>> {
        match &self.state {
            ReceiptState::Pending { shared, pending } if pending.is_stored => {
                shared.poll(Caller::new(cx), |state, caller| {
                    let publishers = &mut state.publishers;
                    publishers.poll_stored(pending.key, pending.operation, caller)
                })
            }
            _ => Poll::Ready(Err(PublishError::NotStored)),
        }
    }

    pub(super) fn is_to_be_stored(&self) -> bool {
        matches!(&self.state, ReceiptState::Pending { pending, .. } if pending.is_stored)
    }

    /// The end of the message, whatever its time limit. It is returned once.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<PublishResult> {
        let end = match &self.state {
            ReceiptState::Acknowledged => Ok(SENT),
            ReceiptState::Pending { shared, pending } => {
                let end = shared.poll(Caller::new(cx), |state, caller| {
                    state.publishers.completions.poll(pending.key, caller)
                });
                ready!(end)
            }
            ReceiptState::Returned => panic!("polled after it was ready"),
        };
        self.state = ReceiptState::Returned;
        Poll::Ready(end)
    }
}

impl Future for Receipt {
    type Output = PublishResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<PublishResult> {
        let mut polled = self.poll_end(cx);
        if polled.is_pending() && is_over(&mut self.sleeper, cx) {
            // It may have ended since it was looked at.
            polled = self.poll_end(cx);
            if polled.is_pending() {
                // The message goes on, and so does the receipt.
                self.sleeper = None;
                return Poll::Ready(Err(PublishError::Timeout));
            }
        }
        polled
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let ReceiptState::Pending { shared, pending } = &self.state else {
            return;
        };
        let state = &mut *shared.lock();
        let publishers = &mut state.publishers;
        if pending.is_stored {
            let storing = &mut publishers.storing;
            storing.forget(pending.operation);
        }
        let completions = &mut publishers.completions;
        completions.abandon(pending.key, &mut state.deferred);
    }
}

//! Waiting for the answer to a request.

use crate::hub::requests::Reply;
use crate::hub::shared::{Handle, State};
use crate::hub::wakers::Caller;
use martlet_session::{Instant, OperationId, RequestError};
use std::sync::Arc;
use std::task::{Context, Poll};

/// The answer to a request, until somebody asks for it.
#[derive(Debug)]
pub(crate) struct PendingReply {
    handle: Arc<Handle>,
    operation: Option<OperationId>,
}

impl PendingReply {
    /// Makes a request, and changes what goes with it in the same step: nobody comes in between.
    pub(crate) fn ask(
        handle: &Arc<Handle>,
        ask: impl FnOnce(&mut State, Instant) -> Result<OperationId, RequestError>,
    ) -> Result<Self, RequestError> {
        handle.shared.act(|state, now| {
            let operation = ask(state, now)?;
            Ok(Self::new(handle, state, operation))
        })
    }

    /// For a request that was made.
    pub(crate) fn new(handle: &Arc<Handle>, state: &mut State, operation: OperationId) -> Self {
        state.requests.expect_reply(operation);
        Self {
            handle: Arc::clone(handle),
            operation: Some(operation),
        }
    }

    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Reply> {
        let operation = self.operation.expect("polled after it was ready");
        let shared = &self.handle.shared;
        let reply = shared.poll(Caller::new(cx), |state, caller| {
            state.requests.poll_reply(operation, caller)
        });
        if reply.is_ready() {
            self.operation = None;
        }
        reply
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if let Some(operation) = self.operation {
            let state = &mut *self.handle.shared.lock();
            state.requests.forget_reply(operation, &mut state.deferred);
        }
    }
}

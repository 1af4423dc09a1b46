//! What machines of messages write to.

use crate::OperationId;
use crate::output::{DelayedAnswer, Output};
use crate::store::journal::Journal;
use alloc::boxed::Box;

/// What machines of messages write to: the connection's output, and the journal, for which some of
/// that waits.
pub(crate) struct Context<'a> {
    pub(crate) output: &'a mut Output,
    pub(crate) journal: &'a mut Option<Box<Journal>>,
}

impl<'a> Context<'a> {
    #[inline]
    pub(crate) fn new(output: &'a mut Output, journal: &'a mut Option<Box<Journal>>) -> Self {
        Self { output, journal }
    }

    /// Answers the server when everything until now is stored.
    #[inline]
    pub(crate) fn answer_when_stored(&mut self, answer: DelayedAnswer) {
        match self.journal {
            Some(journal) if journal.is_behind() => journal.delay(answer),
            _ => self.output.write_answer(answer),
        }
    }

    /// Whether the PUBLISH of this message, which has its packet identifier, may leave.
    #[inline]
    pub(crate) fn may_publish(&self, operation: OperationId) -> bool {
        self.journal
            .as_ref()
            .is_none_or(|journal| journal.may_publish(operation))
    }

    /// Whether the PUBRELs of an earlier connection may leave.
    pub(crate) fn may_release(&self) -> bool {
        self.journal
            .as_ref()
            .is_none_or(|journal| journal.may_release())
    }
}

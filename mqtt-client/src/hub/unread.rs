//! The diagnostics of answers that the application has not looked at: a server may send a large
//! answer to each of many operations, and the application may look at none of them.

use crate::hub::completions::PublishResult;
use martlet_session::{Details, PublishError, PublishOutcome};

/// At most this many bytes of diagnostics wait in answers that nobody has looked at; what comes
/// then is left out.
const MOST: usize = 1024 * 1024;

/// How many bytes wait.
#[derive(Debug, Default)]
pub(crate) struct Unread(usize);

impl Unread {
    /// An answer waits for the application from now on.
    pub(crate) fn admit(&mut self, details: &mut Option<Box<Details>>) {
        let Some(found) = details else { return };
        let size = found.size();
        if self.0 + size > MOST {
            *details = None;
        } else {
            self.0 += size;
        }
    }

    /// The application has it, or never will.
    pub(crate) fn release(&mut self, details: Option<&Details>) {
        self.0 -= details.map_or(0, Details::size);
    }

    #[inline]
    pub(crate) fn admit_result(&mut self, result: &mut PublishResult) {
        if let Ok(PublishOutcome { details, .. }) | Err(PublishError::Rejected { details, .. }) =
            result
        {
            self.admit(details);
        }
    }

    #[inline]
    pub(crate) fn release_result(&mut self, result: &PublishResult) {
        if let Ok(PublishOutcome { details, .. }) | Err(PublishError::Rejected { details, .. }) =
            result
        {
            self.release(details.as_deref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_proto::Utf8String;

    fn result(size: usize) -> PublishResult {
        let reason_string = Utf8String::new("x".repeat(size)).ok();
        let mut acknowledged = PublishOutcome::SUCCESS;
        acknowledged.details = Some(Box::new(Details::default().reason_string(reason_string)));
        Ok(acknowledged)
    }

    #[test]
    fn what_there_is_no_room_for_is_left_out_until_something_is_read() {
        let mut unread = Unread::default();
        let mut results: Vec<_> = (0..20).map(|_| result(65_535)).collect();
        results
            .iter_mut()
            .for_each(|result| unread.admit_result(result));
        let kept = |results: &[PublishResult]| {
            results
                .iter()
                .filter(|result| {
                    matches!(
                        result,
                        Ok(PublishOutcome {
                            details: Some(_),
                            ..
                        })
                    )
                })
                .count()
        };
        assert_eq!((kept(&results), unread.0), (16, 16 * 65_535));
        results
            .iter()
            .for_each(|result| unread.release_result(result));
        assert_eq!(unread.0, 0);
        let mut again = result(65_535);
        unread.admit_result(&mut again);
        assert_eq!((kept(&[again]), unread.0), (1, 65_535));
    }
}

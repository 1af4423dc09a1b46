//! Topics and payloads of completed messages, handed back so that the caller can drop them outside
//! its lock.

use crate::{OutgoingPublish, SendBuffer};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

/// Topics and payloads, once somebody has asked to have them. Properties are memory of our own:
/// dropping them runs nobody's code.
#[derive(Debug, Default)]
pub(crate) struct DeferredDrops(Option<Box<Kept>>);

#[derive(Debug, Default)]
struct Kept(Vec<Bytes>);

impl DeferredDrops {
    pub(crate) fn keep(&mut self) {
        self.0.get_or_insert_default();
    }

    /// Whether somebody wants it; otherwise it may be dropped where it is.
    #[inline]
    pub(crate) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|kept| kept.0.is_empty())
    }

    #[inline]
    pub(crate) fn add(&mut self, message: OutgoingPublish) {
        if let Some(kept) = &mut self.0 {
            kept.0.push(message.topic.into_bytes());
            if !message.payload.is_empty() {
                kept.0.push(message.payload);
            }
        }
    }

    /// Empties the buffer of a connection that is over.
    pub(crate) fn clear(&mut self, buffer: &mut SendBuffer) {
        if let Some(kept) = &mut self.0 {
            kept.0.extend(buffer.segments());
        }
        buffer.clear();
    }

    pub(crate) fn take(&mut self, out: &mut Vec<Bytes>) {
        match &mut self.0 {
            Some(kept) if out.is_empty() => core::mem::swap(&mut kept.0, out),
            Some(kept) => out.append(&mut kept.0),
            None => {}
        }
    }
}

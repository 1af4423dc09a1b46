//! Counters of what is rare.

use crate::Counters;
use alloc::boxed::Box;
use core::ops::{Deref, DerefMut};

/// Counters that take memory once something is counted: a session is small. Ask whether there is
/// anything to add first.
#[derive(Debug, Default)]
pub(crate) struct LazyCounters(Option<Box<Counters>>);

impl Deref for LazyCounters {
    type Target = Counters;
    fn deref(&self) -> &Counters {
        const NOTHING: &Counters = &Counters::NOTHING;
        self.0.as_deref().unwrap_or(NOTHING)
    }
}

impl DerefMut for LazyCounters {
    fn deref_mut(&mut self) -> &mut Counters {
        self.0.get_or_insert_default()
    }
}

//! The text of one level of a filter.

use alloc::boxed::Box;
use core::fmt;

/// The longest text that stands in the node itself.
const SHORT: usize = 14;

/// Most levels are short: comparing one then needs no memory but the node's.
#[derive(Clone)]
pub(super) enum Level {
    Short(u8, [u8; SHORT]),
    Long(Box<Box<[u8]>>),
}

impl Level {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut short = [0; SHORT];
        match (short.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(text);
                Self::Short(len, short)
            }
            _ => Self::Long(Box::new(text.into())),
        }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(len, text) => &text[..usize::from(*len)],
            Self::Long(text) => text,
        }
    }
}

impl Default for Level {
    fn default() -> Self {
        Self::Short(0, [0; SHORT])
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().fmt(f)
    }
}

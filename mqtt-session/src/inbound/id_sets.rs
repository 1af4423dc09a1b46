//! Sets of packet identifiers: what is known of QoS 2 messages on their way in.

use alloc::vec::Vec;
use core::num::NonZeroU16;

/// Its PUBLISH has come, and not its PUBREL.
pub(crate) const RECEIVED: usize = 0;
/// Its PUBREC has left, or is about to.
pub(crate) const RECORDED: usize = 1;
/// The server may have forgotten it, and use it anew.
pub(crate) const DOUBTED: usize = 2;

/// Three sets of packet identifiers: one bit each, as many as were seen.
#[derive(Debug, Default)]
pub(crate) struct IdSets(Vec<[u64; 3]>);

impl IdSets {
    #[inline]
    fn place(id: NonZeroU16) -> (usize, u64) {
        (usize::from(id.get() >> 6), 1 << (id.get() & 63))
    }

    #[inline]
    pub(crate) fn contains(&self, id: NonZeroU16, set: usize) -> bool {
        let (word, bit) = Self::place(id);
        self.0.get(word).is_some_and(|words| words[set] & bit != 0)
    }

    #[inline]
    pub(crate) fn insert(&mut self, id: NonZeroU16, set: usize) {
        let (word, bit) = Self::place(id);
        if self.0.len() <= word {
            self.0.resize(word + 1, [0; 3]);
        }
        self.0[word][set] |= bit;
    }

    pub(crate) fn iter(&self, set: usize) -> impl Iterator<Item = NonZeroU16> + '_ {
        (1..=u16::MAX)
            .take(self.0.len() * 64)
            .filter_map(NonZeroU16::new)
            .filter(move |&id| self.contains(id, set))
    }

    /// Makes one set what another is.
    pub(crate) fn copy(&mut self, from: usize, to: usize) {
        self.0.iter_mut().for_each(|words| words[to] = words[from]);
    }

    pub(crate) fn remove_from(&mut self, id: NonZeroU16, set: usize) {
        let (word, bit) = Self::place(id);
        if let Some(words) = self.0.get_mut(word) {
            words[set] &= !bit;
        }
    }

    /// From all.
    #[inline]
    pub(crate) fn remove(&mut self, id: NonZeroU16) {
        let (word, bit) = Self::place(id);
        if let Some(words) = self.0.get_mut(word) {
            words.iter_mut().for_each(|word| *word &= !bit);
        }
    }
}

//! A map for what has one entry nearly always.

use std::collections::BTreeMap;

/// A map from keys, such as those of routes and of filters. One entry stands in place: looking it
/// up needs no other memory.
#[expect(clippy::box_collection, reason = "it makes the other variant small")]
#[derive(Debug)]
pub(super) enum Few<V> {
    One(Option<(usize, V)>),
    More(Box<BTreeMap<usize, V>>),
}

impl<V> Few<V> {
    pub(super) fn new() -> Self {
        Self::One(None)
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(entry) => usize::from(entry.is_some()),
            Self::More(entries) => entries.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn contains_key(&self, key: usize) -> bool {
        match self {
            Self::One(entry) => entry.as_ref().is_some_and(|(only, _)| *only == key),
            Self::More(entries) => entries.contains_key(&key),
        }
    }

    /// Sets the value of a key.
    pub(super) fn insert(&mut self, key: usize, value: V) {
        match self {
            Self::One(entry) if entry.as_ref().is_none_or(|(only, _)| *only == key) => {
                *entry = Some((key, value));
            }
            Self::One(entry) => {
                let more = entry.take().into_iter().chain([(key, value)]).collect();
                *self = Self::More(Box::new(more));
            }
            Self::More(entries) => {
                entries.insert(key, value);
            }
        }
    }

    pub(super) fn remove(&mut self, key: usize) -> Option<V> {
        match self {
            Self::One(entry) => entry
                .take_if(|(only, _)| *only == key)
                .map(|(_, value)| value),
            Self::More(entries) => {
                let value = entries.remove(&key);
                if entries.len() == 1 {
                    *self = Self::One(entries.pop_first());
                }
                value
            }
        }
    }

    /// Calls `on_key` with each key, in order.
    #[inline]
    pub(super) fn for_each_key(&self, on_key: impl FnMut(usize)) {
        match self {
            Self::One(entry) => entry.iter().map(|(key, _)| *key).for_each(on_key),
            Self::More(entries) => entries.keys().copied().for_each(on_key),
        }
    }

    /// The keys, in order.
    pub(super) fn into_keys(self) -> Vec<usize> {
        let mut keys = Vec::with_capacity(self.len());
        self.for_each_key(|key| keys.push(key));
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::Few;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// It is a map like any other.
        #[test]
        fn as_a_map(steps in prop::collection::vec((0..4_usize, any::<bool>(), any::<u8>()), 0..64)) {
            let (mut few, mut map) = (Few::new(), BTreeMap::new());
            for (key, inserts, value) in steps {
                if inserts {
                    few.insert(key, value);
                    map.insert(key, value);
                } else {
                    prop_assert_eq!(few.remove(key), map.remove(&key));
                }
                let mut keys = Vec::new();
                few.for_each_key(|key| keys.push(key));
                prop_assert!(keys.iter().eq(map.keys()));
                prop_assert_eq!((few.len(), few.is_empty()), (map.len(), map.is_empty()));
                prop_assert!((0..4).all(|key| few.contains_key(key) == map.contains_key(&key)));
            }
        }
    }
}

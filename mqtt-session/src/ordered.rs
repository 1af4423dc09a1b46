//! A map in the order of its keys that is small in memory and in code: chunks of entries in the order of their keys. A
//! step costs a search, and moves a chunk at most; the standard library's map needs ten times the code for each type of key.

use alloc::vec::Vec;

/// How many entries a chunk has at most.
const MOST: usize = 32;

/// A map in the order of its keys.
#[derive(Debug)]
pub(crate) struct Ordered<K, V> {
    /// None is empty.
    chunks: Vec<Vec<(K, V)>>,
}

impl<K, V> Default for Ordered<K, V> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<K: Ord, V> Ordered<K, V> {
    // ---- getters

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    #[inline]
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        if self.is_empty() {
            return None;
        }
        let (chunk, place) = self.find(key);
        let place = place.ok()?;
        Some(&self.chunks[chunk][place].1)
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.find(key).1.is_ok()
    }

    pub(crate) fn first_key(&self) -> Option<&K> {
        Some(&self.chunks.first()?.first()?.0)
    }

    pub(crate) fn last_key(&self) -> Option<&K> {
        Some(&self.chunks.last()?.last()?.0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.chunks
            .iter()
            .flatten()
            .map(|(key, value)| (key, value))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    // ---- commands

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (chunk, place) = self.find(key);
        let place = place.ok()?;
        Some(&mut self.chunks[chunk][place].1)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.chunks
            .iter_mut()
            .flatten()
            .map(|(key, value)| (&*key, value))
    }

    /// The value of this key, which is made if there is none.
    pub(crate) fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let (chunk, place) = self.find(&key);
        let (chunk, place) = match place {
            Ok(place) => (chunk, place),
            Err(place) => self.insert_at(chunk, place, (key, make())),
        };
        &mut self.chunks[chunk][place].1
    }

    /// Puts a value in the place of the one that the key has, if it has one. Returns that.
    #[inline(never)]
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (chunk, place) = self.find(&key);
        match place {
            Ok(place) => Some(core::mem::replace(&mut self.chunks[chunk][place].1, value)),
            Err(place) => {
                self.insert_at(chunk, place, (key, value));
                None
            }
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        // Maps of what is rare are asked for each message.
        if self.is_empty() {
            return None;
        }
        self.remove_found(key)
    }

    #[inline(never)]
    fn remove_found(&mut self, key: &K) -> Option<V> {
        let (at, place) = self.find(key);
        let place = place.ok()?;
        let chunk = &mut self.chunks[at];
        let (_, value) = chunk.remove(place);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        Some(value)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.chunks.retain_mut(|chunk| {
            chunk.retain(|(key, value)| keep(key, value));
            !chunk.is_empty()
        });
    }

    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
    }

    pub(crate) fn into_entries(self) -> impl DoubleEndedIterator<Item = (K, V)> {
        self.chunks.into_iter().flatten()
    }

    /// The chunk of a key, and its place there or where it belongs.
    #[inline(never)]
    fn find(&self, key: &K) -> (usize, Result<usize, usize>) {
        let is_before = |chunk: &Vec<(K, V)>| chunk.last().is_some_and(|(last, _)| last < key);
        let at = self.chunks.partition_point(is_before);
        match self.chunks.get(at) {
            Some(chunk) => (at, chunk.binary_search_by(|(it, _)| it.cmp(key))),
            // Behind all others.
            None => (
                at.saturating_sub(1),
                Err(self.chunks.last().map_or(0, Vec::len)),
            ),
        }
    }

    /// Returns where the entry is then.
    #[inline(never)]
    fn insert_at(&mut self, at: usize, place: usize, entry: (K, V)) -> (usize, usize) {
        if self.chunks.is_empty() {
            self.chunks.push(Vec::new());
        }
        let chunk = &mut self.chunks[at];
        if chunk.len() < MOST {
            chunk.insert(place, entry);
            return (at, place);
        }
        // Keys that rise leave full chunks behind.
        let from = if place == MOST { MOST } else { MOST / 2 };
        let rest = chunk.split_off(from);
        self.chunks.insert(at + 1, rest);
        let (at, place) = match place.checked_sub(from) {
            Some(place) => (at + 1, place),
            None => (at, place),
        };
        self.chunks[at].insert(place, entry);
        (at, place)
    }
}

/// Sorts: where in their order distinct keys stand, from the least to the greatest.
pub(crate) fn places_in_order(keys: impl Iterator<Item = u64>) -> Vec<usize> {
    let mut order = Ordered::default();
    for (place, key) in keys.enumerate() {
        let before = order.insert(key, place as u64);
        debug_assert!(before.is_none(), "keys are distinct");
    }
    order
        .into_entries()
        .map(|(_, place)| place as usize)
        .collect()
}

impl<K: Ord, V> FromIterator<(K, V)> for Ordered<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut ordered = Self::default();
        for (key, value) in entries {
            ordered.insert(key, value);
        }
        ordered
    }
}

#[cfg(test)]
mod tests {
    use super::Ordered;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn entries(map: &Ordered<u16, u32>) -> Vec<(u16, u32)> {
        map.iter().map(|(&key, &value)| (key, value)).collect()
    }

    proptest! {
        /// The same as the standard library's map, whatever is done to it.
        #[test]
        fn it_is_a_map_in_order(steps in prop::collection::vec((0..5_u8, 0..400_u16, any::<u32>()), 0..1500)) {
            let (mut map, mut model) = (Ordered::default(), BTreeMap::new());
            for (step, key, value) in steps {
                match step {
                    0 | 1 => {
                        map.insert(key, value);
                        model.insert(key, value);
                    }
                    2 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    3 => prop_assert_eq!(
                        *map.get_or_insert_with(key, || value),
                        *model.entry(key).or_insert(value)
                    ),
                    _ if value % 64 == 0 => {
                        map.retain(|&it, _| it % 3 != key % 3);
                        model.retain(|&it, _| it % 3 != key % 3);
                    }
                    _ => {
                        prop_assert_eq!(map.get(&key), model.get(&key));
                        prop_assert_eq!(map.get_mut(&key), model.get_mut(&key));
                    }
                }
                prop_assert_eq!(map.contains_key(&key), model.contains_key(&key));
                prop_assert_eq!(map.first_key(), model.keys().next());
                prop_assert_eq!(map.last_key(), model.keys().next_back());
                prop_assert_eq!(map.len(), model.len());
                prop_assert_eq!(map.is_empty(), model.is_empty());
            }
            let expected: Vec<_> = model.into_iter().collect();
            prop_assert_eq!(entries(&map), expected.clone());
            prop_assert!(map.chunks.iter().all(|chunk| (1..=super::MOST).contains(&chunk.len())));
            prop_assert_eq!(map.into_entries().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn keys_are_sorted() {
        let keys = [5, 1, 9, 3];
        assert_eq!(super::places_in_order(keys.into_iter()), [1, 3, 0, 2]);
    }

    #[test]
    fn keys_that_rise_leave_full_chunks_behind() {
        let map: Ordered<u32, ()> = (0..1000).map(|key| (key, ())).collect();
        assert_eq!(map.chunks.len(), 1000_usize.div_ceil(super::MOST));
    }
}

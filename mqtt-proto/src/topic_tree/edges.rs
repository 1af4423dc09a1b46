//! Which child of a node has which text.

use alloc::vec::Vec;

/// The node where all filters begin. It is nobody's child, so its number also stands for "none".
pub(super) const ROOT: u32 = 0;

/// Finds children by the hash of their parent and their text: open addressing, at most half full,
/// `ROOT` is no child.
#[derive(Clone)]
pub(super) struct Edges {
    table: Vec<Edge>,
    used: usize,
    seed: u64,
}

/// A child, and half of its hash: another node is hardly ever looked at.
#[derive(Clone, Copy)]
struct Edge {
    id: u32,
    hash: u32,
}

const NONE: Edge = Edge { id: ROOT, hash: 0 };

impl Edges {
    pub(super) const fn with_seed(seed: u64) -> Self {
        Self {
            table: Vec::new(),
            used: 0,
            seed,
        }
    }

    pub(super) const fn seed(&self) -> u64 {
        self.seed
    }

    /// Mixes eight bytes at a time.
    #[inline]
    fn hash(&self, parent: u32, level: &[u8]) -> u32 {
        const K: u64 = 0x9e37_79b9_7f4a_7c15;
        let mix = |hash: u64, word: u64| {
            let product = u128::from(hash ^ word) * u128::from(K);
            (product as u64) ^ ((product >> 64) as u64)
        };
        let mut hash = mix(self.seed, u64::from(parent) << 32 | level.len() as u64);
        let mut chunks = level.chunks_exact(8);
        for chunk in &mut chunks {
            hash = mix(
                hash,
                u64::from_le_bytes(chunk.try_into().expect("eight bytes")),
            );
        }
        let last = chunks
            .remainder()
            .iter()
            .fold(0, |word, &byte| word << 8 | u64::from(byte));
        mix(mix(hash, last), self.seed) as u32
    }

    /// Where the table begins to be looked through for this hash.
    #[inline]
    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.table.len() - 1)
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.table.len() - 1)
    }

    /// The child of this parent with this text; `is_it` looks whether one is.
    #[inline]
    pub(super) fn find(&self, parent: u32, level: &[u8], is_it: impl Fn(u32) -> bool) -> u32 {
        if self.table.is_empty() {
            return ROOT;
        }
        let hash = self.hash(parent, level);
        let mut at = self.home(hash);
        loop {
            let edge = self.table[at];
            if edge.id == ROOT || (edge.hash == hash && is_it(edge.id)) {
                return edge.id;
            }
            at = self.after(at);
        }
    }

    /// Adds a child that is not there.
    pub(super) fn insert(&mut self, id: u32, parent: u32, level: &[u8]) {
        self.used += 1;
        if self.used * 2 > self.table.len() {
            let size = (self.table.len() * 2).max(8);
            let before = core::mem::replace(&mut self.table, alloc::vec![NONE; size]);
            before
                .into_iter()
                .filter(|edge| edge.id != ROOT)
                .for_each(|edge| self.put(edge));
        }
        let hash = self.hash(parent, level);
        self.put(Edge { id, hash });
    }

    fn put(&mut self, edge: Edge) {
        let mut at = self.home(edge.hash);
        while self.table[at].id != ROOT {
            at = self.after(at);
        }
        self.table[at] = edge;
    }

    /// Removes a child that is there, and moves those up that were put behind it because their
    /// places were taken.
    pub(super) fn remove(&mut self, id: u32, parent: u32, level: &[u8]) {
        let mask = self.table.len() - 1;
        let mut hole = self.home(self.hash(parent, level));
        while self.table[hole].id != id {
            hole = self.after(hole);
        }
        let mut at = hole;
        loop {
            at = self.after(at);
            let next = self.table[at];
            if next.id == ROOT {
                break;
            }
            let home = self.home(next.hash);
            // It may go into the hole unless its home lies behind that.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.table[hole] = next;
                hole = at;
            }
        }
        self.table[hole] = NONE;
        self.used -= 1;
    }

    /// How many places are looked at for a child.
    #[cfg(test)]
    pub(super) fn probes(&self, parent: u32, level: &[u8], is_it: impl Fn(u32) -> bool) -> usize {
        let mut at = self.home(self.hash(parent, level));
        let mut probes = 1;
        while self.table[at].id != ROOT && !is_it(self.table[at].id) {
            at = self.after(at);
            probes += 1;
        }
        probes
    }
}

//! Values by topic filter, found by topic name: a tree with one node for each level of the filters.

mod edges;
mod level;

use self::edges::{Edges, ROOT};
use self::level::Level;
use crate::ground::topic::TopicFilter;
use alloc::vec::Vec;
use core::fmt;

/// Alternatives that a search keeps without allocating: one for each level at which both `+` and
/// the level's own text lead on.
const INLINE: usize = 8;

/// A map from topic filters to values that finds all filters that match a topic name (MQTT 5 §4.7).
///
/// The cost of a search depends on the levels of the topic and on how many filters match it, not on
/// how many filters there are: the children of a node are found by a hash of their text. Nothing
/// recurses, so a filter may have as many levels as fit in it. Filters that differ only in the
/// share name of a shared subscription have one entry: what is kept is [`TopicFilter::pattern`].
///
/// ```
/// use martlet_proto::{TopicFilter, TopicTree};
///
/// let mut tree = TopicTree::new();
/// tree.insert(&TopicFilter::new("sensors/+/temp")?, "temperature");
/// tree.insert(&TopicFilter::new("sensors/#")?, "everything");
/// let mut found: Vec<_> = tree.matches("sensors/1/temp").copied().collect();
/// found.sort();
/// assert_eq!(found, ["everything", "temperature"]);
/// assert_eq!(tree.matches("sensors").count(), 1);
/// # Ok::<(), martlet_proto::TopicError>(())
/// ```
#[derive(Clone)]
pub struct TopicTree<T> {
    nodes: Vec<Node<T>>,
    /// Nodes that can be used again.
    free: Vec<u32>,
    edges: Edges,
    len: usize,
}

#[derive(Clone)]
struct Node<T> {
    parent: u32,
    /// The text of its level; of no use for the root and for `+`.
    level: Level,
    /// How many children it has, `+` not counted.
    children: u32,
    /// The child for the level `+`.
    any: u32,
    /// The value of the filter that ends here.
    here: Option<T>,
    /// The value of the filter that ends here with `/#`.
    below: Option<T>,
}

/// A place where a value can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TreePlace {
    node: u32,
    below: bool,
}

impl<T> TopicTree<T> {
    /// An empty tree.
    pub const fn new() -> Self {
        Self::with_seed(0)
    }

    /// An empty tree whose hashes depend on `seed`. Pass a random number where strangers choose the
    /// filters: without knowing it, they cannot choose filters whose hashes collide.
    pub const fn with_seed(seed: u64) -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            edges: Edges::with_seed(seed),
            len: 0,
        }
    }

    /// How many filters have a value.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no filter has a value.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of this filter.
    pub fn get(&self, filter: &TopicFilter) -> Option<&T> {
        self.value(self.find(filter)?)
    }

    /// The value of this filter.
    pub fn get_mut(&mut self, filter: &TopicFilter) -> Option<&mut T> {
        let place = self.find(filter)?;
        self.slot(place).as_mut()
    }

    /// The value of this filter; if it has none, what `make` returns becomes its value.
    pub fn get_or_insert_with(&mut self, filter: &TopicFilter, make: impl FnOnce() -> T) -> &mut T {
        let place = self.make(filter);
        if self.value(place).is_none() {
            self.len += 1;
        }
        self.slot(place).get_or_insert_with(make)
    }

    /// Sets the value of this filter, and returns the one before.
    pub fn insert(&mut self, filter: &TopicFilter, value: T) -> Option<T> {
        let place = self.make(filter);
        let before = self.slot(place).replace(value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Removes the value of this filter, and the nodes that no other filter needs.
    pub fn remove(&mut self, filter: &TopicFilter) -> Option<T> {
        let place = self.find(filter)?;
        let value = self.slot(place).take()?;
        self.len -= 1;
        self.prune(place.node);
        Some(value)
    }

    /// The values of all filters that match this topic name, in no particular order. A filter that
    /// begins with a wildcard does not match a topic that begins with `$` (MQTT 5 §4.7.2).
    pub fn matches<'a>(&'a self, topic: &'a (impl AsRef<[u8]> + ?Sized)) -> Matches<'a, T> {
        let topic = topic.as_ref();
        Matches {
            tree: self,
            walk: Walk::new(self, topic),
            topic,
        }
    }

    /// Calls `on_match` with the values of all filters that match this topic name, in no particular
    /// order.
    pub fn for_each_match_mut(
        &mut self,
        topic: &(impl AsRef<[u8]> + ?Sized),
        mut on_match: impl FnMut(&mut T),
    ) {
        let topic = topic.as_ref();
        let mut walk = Walk::new(self, topic);
        while let Some(place) = walk.next(self, topic) {
            if let Some(value) = self.slot(place) {
                on_match(value);
            }
        }
    }

    fn value(&self, place: TreePlace) -> Option<&T> {
        let node = self.nodes.get(place.node as usize)?;
        if place.below {
            node.below.as_ref()
        } else {
            node.here.as_ref()
        }
    }

    fn slot(&mut self, place: TreePlace) -> &mut Option<T> {
        let node = &mut self.nodes[place.node as usize];
        if place.below {
            &mut node.below
        } else {
            &mut node.here
        }
    }

    /// Where the value of this filter is, if all its levels have nodes.
    fn find(&self, filter: &TopicFilter) -> Option<TreePlace> {
        let mut node = ROOT;
        for level in filter.pattern_bytes().split(|&b| b == b'/') {
            node = match level {
                b"#" => return Some(TreePlace { node, below: true }),
                b"+" => self.nodes.get(node as usize)?.any,
                _ => self.child(node, level),
            };
            if node == ROOT {
                return None;
            }
        }
        Some(TreePlace { node, below: false })
    }

    /// Where the value of this filter is to be.
    fn make(&mut self, filter: &TopicFilter) -> TreePlace {
        if self.nodes.is_empty() {
            self.nodes.push(Node::new(ROOT, b""));
        }
        let mut node = ROOT;
        for level in filter.pattern_bytes().split(|&b| b == b'/') {
            node = match level {
                b"#" => return TreePlace { node, below: true },
                b"+" => match self.nodes[node as usize].any {
                    ROOT => {
                        let any = self.add(Node::new(node, b""));
                        self.nodes[node as usize].any = any;
                        any
                    }
                    any => any,
                },
                _ => match self.child(node, level) {
                    ROOT => {
                        let child = self.add(Node::new(node, level));
                        self.nodes[node as usize].children += 1;
                        self.edges.insert(child, node, level);
                        child
                    }
                    child => child,
                },
            };
        }
        TreePlace { node, below: false }
    }

    fn add(&mut self, node: Node<T>) -> u32 {
        match self.free.pop() {
            Some(id) => {
                self.nodes[id as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).expect("fewer nodes than memory has room for")
            }
        }
    }

    /// The child for this text; `ROOT` if there is none.
    #[inline]
    fn child(&self, parent: u32, level: &[u8]) -> u32 {
        let is_it = |id: u32| {
            let node = &self.nodes[id as usize];
            node.parent == parent && node.level.as_bytes() == level
        };
        self.edges.find(parent, level, is_it)
    }

    /// Removes this node, and its parents, as far as nobody needs them.
    fn prune(&mut self, mut id: u32) {
        while id != ROOT {
            let node = &mut self.nodes[id as usize];
            if node.children > 0 || node.any != ROOT || node.here.is_some() || node.below.is_some()
            {
                return;
            }
            let (parent, level) = (node.parent, core::mem::take(&mut node.level));
            if self.nodes[parent as usize].any == id {
                self.nodes[parent as usize].any = ROOT;
            } else {
                self.edges.remove(id, parent, level.as_bytes());
                self.nodes[parent as usize].children -= 1;
            }
            self.free.push(id);
            id = parent;
        }
        if self.len == 0 {
            *self = Self::with_seed(self.edges.seed());
        }
    }
}

impl<T> Default for TopicTree<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for TopicTree<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicTree")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl<T> Node<T> {
    fn new(parent: u32, level: &[u8]) -> Self {
        Self {
            parent,
            level: Level::new(level),
            children: 0,
            any: ROOT,
            here: None,
            below: None,
        }
    }
}

/// The values of the filters that match a topic name, from [`TopicTree::matches`].
pub struct Matches<'a, T> {
    tree: &'a TopicTree<T>,
    topic: &'a [u8],
    walk: Walk,
}

impl<'a, T> Iterator for Matches<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(value) = self.tree.value(self.walk.next(self.tree, self.topic)?) {
                return Some(value);
            }
        }
    }
}

impl<T> fmt::Debug for Matches<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matches")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// Visits the nodes that a topic name leads to.
struct Walk {
    /// Where it goes on: a node, and how much of the topic has led to it.
    at: Option<(u32, Rest)>,
    /// Filters that end at this node are next.
    here: Option<u32>,
    /// Other ways that a `+` has opened.
    few: [(u32, Rest); INLINE],
    kept: usize,
    more: Vec<(u32, Rest)>,
}

/// Where in the topic the next level begins.
#[derive(Clone, Copy)]
enum Rest {
    /// The first level: a leading wildcard does not match it if it begins with `$` [MQTT-4.7.2-1].
    First,
    At(u32),
    /// There is no level left.
    End,
}

impl Walk {
    fn new<T>(tree: &TopicTree<T>, topic: &[u8]) -> Self {
        let at = (!tree.nodes.is_empty() && !topic.is_empty()).then_some((ROOT, Rest::First));
        Self {
            at,
            here: None,
            few: [(ROOT, Rest::End); INLINE],
            kept: 0,
            more: Vec::new(),
        }
    }

    /// The next place where a value may be.
    #[inline]
    fn next<T>(&mut self, tree: &TopicTree<T>, topic: &[u8]) -> Option<TreePlace> {
        loop {
            if let Some(node) = self.here.take() {
                return Some(TreePlace { node, below: false });
            }
            let (id, rest) = self.at.take().or_else(|| self.take())?;
            let node = &tree.nodes[id as usize];
            let wildcards = !matches!(rest, Rest::First) || !topic.starts_with(b"$");
            let from = match rest {
                Rest::First => 0,
                Rest::At(from) => from as usize,
                Rest::End => {
                    self.here = Some(id);
                    return Some(TreePlace {
                        node: id,
                        below: true,
                    });
                }
            };
            let left = &topic[from..];
            let (level, rest) = match left.iter().position(|&b| b == b'/') {
                Some(n) => (
                    &left[..n],
                    u32::try_from(from + n + 1).map_or(Rest::End, Rest::At),
                ),
                None => (left, Rest::End),
            };
            let child = if node.children > 0 {
                tree.child(id, level)
            } else {
                ROOT
            };
            match (child, node.any) {
                (ROOT, any) => self.at = (any != ROOT && wildcards).then_some((any, rest)),
                (child, any) => {
                    self.at = Some((child, rest));
                    if any != ROOT && wildcards {
                        self.keep((any, rest));
                    }
                }
            }
            if wildcards && node.below.is_some() {
                return Some(TreePlace {
                    node: id,
                    below: true,
                });
            }
        }
    }

    fn keep(&mut self, way: (u32, Rest)) {
        if let Some(place) = self.few.get_mut(self.kept) {
            *place = way;
            self.kept += 1;
        } else {
            self.more.push(way);
        }
    }

    fn take(&mut self) -> Option<(u32, Rest)> {
        if let Some(way) = self.more.pop() {
            return Some(way);
        }
        self.kept = self.kept.checked_sub(1)?;
        Some(self.few[self.kept])
    }
}

#[cfg(test)]
mod tests;

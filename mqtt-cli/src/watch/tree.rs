//! The topics as a tree: what was counted, what came last, and which rows are shown. There is
//! neither a clock nor a terminal here.
//!
//! A message costs as much as its topic has levels, and so does a step from one row to the next,
//! beside the search in one level.

use super::message::{Arrival, Last, Room};
use super::rate::Rate;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

/// A row of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(u32);

/// Its children are the first levels of all topics.
pub(super) const ROOT: NodeId = NodeId(0);

/// Levels from this one on are one row: a topic may have 65,536.
pub(super) const MAX_LEVELS: usize = 32;

/// What a row takes beside its texts and its payload, at most; a test measures it.
const NODE_BYTES: usize = 640;

/// The bounds of what is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) topics: usize,
    /// All rows with their texts, all payloads and all properties.
    pub(super) bytes: usize,
    /// One payload.
    pub(super) payload: usize,
}

type Children = BTreeMap<Arc<str>, NodeId>;

/// A level of one or more topics.
#[derive(Debug)]
pub(super) struct Node {
    name: Arc<str>,
    parent: NodeId,
    /// 0 is the root.
    depth: usize,
    children: Children,
    /// Those that have a topic which the filter matches in them, while there is a filter.
    matching: Children,
    is_open: bool,
    /// While there is a filter, everything is open but these.
    is_folded: bool,
    /// Topics in this branch.
    topics: usize,
    /// Messages in this branch.
    messages: u64,
    rate: Rate,
    /// What came on exactly this topic.
    last: Option<Box<Last>>,
}

impl Node {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    pub(super) fn is_branch(&self) -> bool {
        !self.children.is_empty()
    }

    pub(super) fn topics(&self) -> usize {
        self.topics
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    pub(super) fn rate(&self) -> &Rate {
        &self.rate
    }

    pub(super) fn last(&self) -> Option<&Last> {
        self.last.as_deref()
    }
}

/// A filter by text: a topic is shown where it contains it, in upper or lower case.
#[derive(Debug)]
struct Narrow {
    text: String,
    topics: usize,
}

impl Narrow {
    fn matches(&self, topic: &str) -> bool {
        topic.to_lowercase().contains(&self.text)
    }
}

/// The topics.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    limits: Limits,
    /// Levels of branches that are open from the start.
    open_levels: usize,
    bytes: usize,
    left_out: u64,
    /// Topics that an earlier tree has: the limit is for the others.
    known: usize,
    narrow: Option<Narrow>,
    /// How often a row was looked at: what everything costs, without a clock.
    #[cfg(test)]
    visits: std::cell::Cell<u64>,
}

impl Tree {
    pub(super) fn new(limits: Limits, open_levels: usize) -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            limits,
            open_levels,
            bytes: 0,
            left_out: 0,
            known: 0,
            narrow: None,
            #[cfg(test)]
            visits: std::cell::Cell::new(0),
        };
        tree.nodes.push(Node::new("".into(), ROOT, 0, true));
        tree
    }

    /// A tree for what comes from now on, which can be merged into this one: it has room for as
    /// many new topics as this one.
    pub(super) fn later(&self) -> Self {
        let limits = Limits {
            topics: self.limits.topics.saturating_sub(self.root().topics),
            ..self.limits
        };
        Self::new(limits, self.open_levels)
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        #[cfg(test)]
        self.visits.set(self.visits.get() + 1);
        &self.nodes[id.0 as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        #[cfg(test)]
        self.visits.set(self.visits.get() + 1);
        &mut self.nodes[id.0 as usize]
    }

    pub(super) fn root(&self) -> &Node {
        self.node(ROOT)
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Messages on topics for which there was no room.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The text that narrows the topics, and how many are left.
    pub(super) fn narrowed(&self) -> Option<(&str, usize)> {
        let narrow = self.narrow.as_ref()?;
        Some((&narrow.text, narrow.topics))
    }

    /// The whole topic of a row.
    pub(super) fn topic(&self, id: NodeId) -> String {
        self.path(id).join("/")
    }

    fn is_topic(&self, topic: &str) -> bool {
        self.find(topic)
            .is_some_and(|id| self.node(id).last.is_some())
    }

    pub(super) fn find(&self, topic: &str) -> Option<NodeId> {
        let mut levels = topic.splitn(MAX_LEVELS, '/');
        levels.try_fold(ROOT, |id, level| self.node(id).children.get(level).copied())
    }

    /// Takes a message.
    pub(super) fn add(&mut self, arrival: &Arrival<'_>, now: Duration) {
        self.add_new(arrival, now, false);
    }

    /// Takes a message into a tree that was made by [`later`](Self::later) of this one.
    pub(super) fn add_later(&mut self, arrival: &Arrival<'_>, now: Duration, before: &Self) {
        let is_known = before.is_topic(arrival.topic);
        let topics = self.root().topics;
        self.add_new(arrival, now, is_known);
        if is_known {
            self.known += self.root().topics - topics;
        }
    }

    fn add_new(&mut self, arrival: &Arrival<'_>, now: Duration, is_known: bool) {
        let counted = |node: &mut Node| {
            node.messages += 1;
            node.rate.add(now);
        };
        let Some(id) = self.enter(arrival.topic, is_known) else {
            self.left_out += 1;
            return counted(self.node_mut(ROOT));
        };
        self.up(id, counted);
        let room = self.room(id);
        let last = self.last_mut(id);
        last.replace(arrival, now, room);
        last.messages += 1;
        last.rate.add(now);
        self.bytes += last.bytes();
    }

    /// Takes what another tree has: it came later.
    pub(super) fn merge(&mut self, later: Self) {
        let mut later = later;
        for index in 0..later.nodes.len() {
            let Some(last) = later.nodes[index].last.take() else {
                continue;
            };
            let topic = later.topic(NodeId(u32::try_from(index).unwrap_or(u32::MAX)));
            let Some(id) = self.enter(&topic, false) else {
                self.left_out += last.messages;
                continue;
            };
            self.up(id, |node| {
                // The root has what was left out as well.
                if node.depth > 0 {
                    node.messages += last.messages;
                    node.rate.merge(&last.rate);
                }
            });
            let room = self.room(id);
            let own = self.last_mut(id);
            own.replace_by(*last, room);
            self.bytes += own.bytes();
        }
        self.left_out += later.left_out;
        let (messages, rate) = (later.root().messages, *later.root().rate());
        let root = self.node_mut(ROOT);
        root.messages += messages;
        root.rate.merge(&rate);
    }

    /// The server has no retained message on this topic any more.
    pub(super) fn forget_retained(&mut self, topic: &str) {
        if let Some(id) = self.find(topic) {
            if let Some(last) = &mut self.node_mut(id).last {
                last.is_retained = Some(false);
            }
        }
    }

    /// What a message may take that replaces this row's, whose bytes are no longer counted.
    fn room(&mut self, id: NodeId) -> Room {
        let before = self.node(id).last().map_or(0, Last::bytes);
        self.bytes -= before;
        Room {
            payload: self.limits.payload,
            bytes: self.limits.bytes.saturating_sub(self.bytes),
        }
    }

    /// What came last on this topic; it is a topic from now on.
    fn last_mut(&mut self, id: NodeId) -> &mut Last {
        if self.node(id).last.is_none() {
            self.up(id, |node| node.topics += 1);
            let is_matching = match &self.narrow {
                Some(narrow) => narrow.matches(&self.topic(id)),
                None => false,
            };
            if is_matching {
                self.show(id);
            }
        }
        self.node_mut(id).last.get_or_insert_default()
    }

    fn up(&mut self, from: NodeId, mut change: impl FnMut(&mut Node)) {
        let mut at = from;
        loop {
            let node = self.node_mut(at);
            change(node);
            if at == ROOT {
                return;
            }
            at = node.parent;
        }
    }

    /// The row of a topic, which is made where there is none and there is room.
    fn enter(&mut self, topic: &str, is_known: bool) -> Option<NodeId> {
        let mut levels = topic.splitn(MAX_LEVELS, '/').peekable();
        let mut id = ROOT;
        while let Some(level) = levels.peek() {
            let Some(child) = self.node(id).children.get(*level) else {
                break;
            };
            id = *child;
            levels.next();
        }
        let is_full = !is_known && self.root().topics - self.known >= self.limits.topics;
        if self.node(id).last.is_some() && levels.peek().is_none() {
            return Some(id);
        }
        let missing = levels.clone();
        let bytes: usize = missing.map(|level| NODE_BYTES + 2 * level.len()).sum();
        if is_full || self.bytes + bytes > self.limits.bytes {
            return None;
        }
        self.bytes += bytes;
        for level in levels {
            id = self.insert(id, level);
        }
        Some(id)
    }

    fn insert(&mut self, parent: NodeId, name: &str) -> NodeId {
        let name: Arc<str> = name.into();
        // The limit of bytes is far below.
        let id = NodeId(u32::try_from(self.nodes.len()).expect("there are fewer rows"));
        let depth = self.node(parent).depth + 1;
        let is_open = depth <= self.open_levels;
        let node = Node::new(Arc::clone(&name), parent, depth, is_open);
        self.node_mut(parent).children.insert(name, id);
        self.nodes.push(node);
        id
    }
}

/// What is shown.
impl Tree {
    /// Shows only topics that contain this text; an empty one shows all.
    pub(super) fn narrow(&mut self, text: &str) {
        for node in &mut self.nodes {
            node.matching.clear();
            node.is_folded = false;
        }
        self.narrow = None;
        if text.is_empty() {
            return;
        }
        let narrow = Narrow {
            text: text.to_lowercase(),
            topics: 0,
        };
        let ids = (0..u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)).map(NodeId);
        let is_matching =
            |id: &NodeId| self.node(*id).last.is_some() && narrow.matches(&self.topic(*id));
        let found: Vec<NodeId> = ids.filter(is_matching).collect();
        self.narrow = Some(narrow);
        for id in found {
            self.show(id);
        }
    }

    /// The filter matches this topic.
    fn show(&mut self, topic: NodeId) {
        if let Some(narrow) = &mut self.narrow {
            narrow.topics += 1;
        }
        let mut at = topic;
        while at != ROOT {
            let (name, parent) = (Arc::clone(&self.node(at).name), self.node(at).parent);
            if self.node_mut(parent).matching.insert(name, at).is_some() {
                return;
            }
            at = parent;
        }
    }

    fn shown(&self, id: NodeId) -> &Children {
        let node = self.node(id);
        match self.narrow {
            Some(_) => &node.matching,
            None => &node.children,
        }
    }

    pub(super) fn is_open(&self, id: NodeId) -> bool {
        let node = self.node(id);
        match self.narrow {
            Some(_) => !node.is_folded,
            None => node.is_open,
        }
    }

    /// Opens or folds a branch.
    pub(super) fn set_open(&mut self, id: NodeId, is_open: bool) {
        let is_narrowed = self.narrow.is_some();
        let node = self.node_mut(id);
        match is_narrowed {
            true => node.is_folded = !is_open,
            false => node.is_open = is_open,
        }
    }

    /// Opens or folds a branch and all that are in it.
    pub(super) fn set_all_open(&mut self, id: NodeId, is_open: bool) {
        let mut branches = vec![id];
        while let Some(branch) = branches.pop() {
            self.set_open(branch, is_open);
            branches.extend(self.shown(branch).values().copied());
        }
    }

    pub(super) fn parent(&self, id: NodeId) -> Option<NodeId> {
        let parent = self.node(id).parent;
        (parent != ROOT).then_some(parent)
    }

    pub(super) fn first_child(&self, id: NodeId) -> Option<NodeId> {
        self.shown(id).values().next().copied()
    }

    /// The first row.
    pub(super) fn first(&self) -> Option<NodeId> {
        self.first_child(ROOT)
    }

    /// The last row.
    pub(super) fn last(&self) -> Option<NodeId> {
        self.first()?;
        Some(self.last_in(ROOT))
    }

    fn last_in(&self, id: NodeId) -> NodeId {
        let mut at = id;
        while at == ROOT || self.is_open(at) {
            let Some(child) = self.shown(at).values().next_back() else {
                break;
            };
            at = *child;
        }
        at
    }

    /// The row below.
    pub(super) fn below(&self, id: NodeId) -> Option<NodeId> {
        if self.is_open(id) {
            if let Some(child) = self.first_child(id) {
                return Some(child);
            }
        }
        let mut at = id;
        while at != ROOT {
            let node = self.node(at);
            let after = (Bound::Excluded(node.name()), Bound::Unbounded);
            let mut siblings = self.shown(node.parent).range::<str, _>(after);
            if let Some((_, sibling)) = siblings.next() {
                return Some(*sibling);
            }
            at = node.parent;
        }
        None
    }

    /// The row above.
    pub(super) fn above(&self, id: NodeId) -> Option<NodeId> {
        let node = self.node(id);
        let before = (Bound::Unbounded, Bound::Excluded(node.name()));
        let mut siblings = self.shown(node.parent).range::<str, _>(before);
        match siblings.next_back() {
            Some((_, sibling)) => Some(self.last_in(*sibling)),
            None => self.parent(id),
        }
    }

    /// The row that stands for this one: itself, or the branch that hides it; `None` where the
    /// filter does.
    pub(super) fn visible(&self, id: NodeId) -> Option<NodeId> {
        let mut found = id;
        let mut at = id;
        while at != ROOT {
            let node = self.node(at);
            if self.shown(node.parent).get(node.name()) != Some(&at) {
                return None;
            }
            at = node.parent;
            if at != ROOT && !self.is_open(at) {
                found = at;
            }
        }
        Some(found)
    }

    /// Whether a row is above another one.
    pub(super) fn is_above(&self, one: NodeId, other: NodeId) -> bool {
        self.path(one) < self.path(other)
    }

    /// The levels of a topic.
    fn path(&self, id: NodeId) -> Vec<&str> {
        let mut names = Vec::new();
        let mut at = id;
        while at != ROOT {
            let node = self.node(at);
            names.push(node.name());
            at = node.parent;
        }
        names.reverse();
        names
    }
}

impl Node {
    fn new(name: Arc<str>, parent: NodeId, depth: usize, is_open: bool) -> Self {
        Self {
            name,
            parent,
            depth,
            children: Children::new(),
            matching: Children::new(),
            is_open,
            is_folded: false,
            topics: 0,
            messages: 0,
            rate: Rate::default(),
            last: None,
        }
    }
}

#[cfg(test)]
mod tests;

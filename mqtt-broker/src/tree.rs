//! Who has subscribed to what: a tree with one node for each level of the topic filters.

use crate::session::SessionId;
use core::ops::Bound;
use martlet_proto::{QoS, SubscriptionIdentifier, TopicFilter};
use std::collections::BTreeMap;

/// The levels that a topic filter may have. The tree is walked, and dropped, by recursion; this bounds its depth.
pub(crate) const MAX_LEVELS: usize = 128;

/// What one subscription was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) identifier: Option<SubscriptionIdentifier>,
}

/// A subscription that matches a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Match {
    pub(crate) session: SessionId,
    pub(crate) grant: Grant,
    pub(crate) shared: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Tree {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    /// By the text of the level.
    children: BTreeMap<Box<str>, Node>,
    /// The level `+`.
    any: Option<Box<Node>>,
    /// Filters that end here.
    here: Entries,
    /// Filters that end here with `/#`.
    below: Entries,
}

#[derive(Debug, Default)]
struct Entries {
    direct: BTreeMap<SessionId, Grant>,
    /// By share name.
    shared: BTreeMap<Box<str>, Group>,
}

/// The subscribers that share the messages of one filter.
#[derive(Debug, Default)]
struct Group {
    members: BTreeMap<SessionId, Grant>,
    /// Who got the last message.
    last: Option<SessionId>,
}

impl Tree {
    /// Adds a subscription, or replaces the one of this session and filter.
    pub(crate) fn subscribe(&mut self, filter: &TopicFilter, session: SessionId, grant: Grant) {
        let mut node = &mut self.root;
        let mut levels = filter.pattern().split('/');
        let entries = loop {
            match levels.next() {
                None => break &mut node.here,
                Some("#") => break &mut node.below,
                Some("+") => node = node.any.get_or_insert_default(),
                Some(level) => {
                    // Looked up twice rather than copied each time.
                    if !node.children.contains_key(level) {
                        node.children.insert(level.into(), Node::default());
                    }
                    node = node.children.get_mut(level).expect("inserted when it was missing");
                }
            }
        };
        match filter.share_name() {
            None => entries.direct.insert(session, grant),
            Some(name) => entries.shared.entry(name.into()).or_default().members.insert(session, grant),
        };
    }

    /// Removes a subscription and the nodes that nobody needs any more.
    pub(crate) fn unsubscribe(&mut self, filter: &TopicFilter, session: SessionId) {
        self.root.remove(filter.pattern().split('/'), filter.share_name(), session);
    }

    /// Adds to `found` the subscriptions that match `topic`; of each shared one the member whose turn it is, of those
    /// that are `online` if there are any.
    pub(crate) fn find(&mut self, topic: &str, online: impl Fn(SessionId) -> bool, found: &mut Vec<Match>) {
        // A leading wildcard does not match a topic that begins with `$` [MQTT-4.7.2-1].
        self.root.visit(topic.split('/'), !topic.starts_with('$'), &mut |entries| {
            found.extend(entries.direct.iter().map(|(&session, &grant)| Match {
                session,
                grant,
                shared: false,
            }));
            for group in entries.shared.values_mut() {
                found.extend(group.choose(&online));
            }
        });
    }
}

impl Node {
    fn visit(
        &mut self,
        mut levels: core::str::Split<'_, char>,
        wildcards: bool,
        on_match: &mut dyn FnMut(&mut Entries),
    ) {
        if wildcards {
            on_match(&mut self.below);
        }
        match levels.next() {
            None => on_match(&mut self.here),
            Some(level) => {
                if let Some(any) = self.any.as_mut().filter(|_| wildcards) {
                    any.visit(levels.clone(), true, on_match);
                }
                if let Some(child) = self.children.get_mut(level) {
                    child.visit(levels, true, on_match);
                }
            }
        }
    }

    fn remove(
        &mut self,
        mut levels: core::str::Split<'_, char>,
        share_name: Option<&str>,
        session: SessionId,
    ) {
        match levels.next() {
            None => self.here.remove(share_name, session),
            Some("#") => self.below.remove(share_name, session),
            Some("+") => {
                if let Some(any) = &mut self.any {
                    any.remove(levels, share_name, session);
                    if any.is_empty() {
                        self.any = None;
                    }
                }
            }
            Some(level) => {
                if let Some(child) = self.children.get_mut(level) {
                    child.remove(levels, share_name, session);
                    if child.is_empty() {
                        self.children.remove(level);
                    }
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.any.is_none() && self.here.is_empty() && self.below.is_empty()
    }
}

impl Entries {
    fn remove(&mut self, share_name: Option<&str>, session: SessionId) {
        let Some(name) = share_name else {
            self.direct.remove(&session);
            return;
        };
        if let Some(group) = self.shared.get_mut(name) {
            group.members.remove(&session);
            if group.members.is_empty() {
                self.shared.remove(name);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.direct.is_empty() && self.shared.is_empty()
    }
}

impl Group {
    fn choose(&mut self, online: &impl Fn(SessionId) -> bool) -> Option<Match> {
        let (after, upto) = match self.last {
            Some(last) => (Bound::Excluded(last), Bound::Included(last)),
            None => (Bound::Unbounded, Bound::Excluded(SessionId::FIRST)),
        };
        let turns = || {
            self.members.range((after, Bound::Unbounded)).chain(self.members.range((Bound::Unbounded, upto)))
        };
        let (&session, &grant) = turns().find(|&(&session, _)| online(session)).or_else(|| turns().next())?;
        self.last = Some(session);
        Some(Match { session, grant, shared: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANT: Grant =
        Grant { qos: QoS::AtMostOnce, no_local: false, retain_as_published: false, identifier: None };

    fn found(tree: &mut Tree, topic: &str) -> Vec<u64> {
        let mut found = Vec::new();
        tree.find(topic, |session| session.0 != 9, &mut found);
        found.iter().map(|found| found.session.0).collect()
    }

    #[test]
    fn it_finds_what_the_filters_match() {
        let filters = [
            "#", "+", "+/+", "a/#", "a/+", "a/b", "a/b/#", "/", "/+", "+/b/+", "a//c", "$SYS/#", "$SYS/+",
            "a/b/",
        ];
        let topics =
            ["a", "a/b", "a/b/c", "/", "/b", "a//c", "$SYS", "$SYS/x", "a/b/", "b", "$SYS/x/y", "x/b/"];
        let mut tree = Tree::default();
        for (i, filter) in filters.iter().enumerate() {
            tree.subscribe(&TopicFilter::new(*filter).unwrap(), SessionId(i as u64), GRANT);
        }
        for topic in topics {
            let expected: Vec<u64> = (0u64..)
                .zip(filters)
                .filter(|(_, filter)| TopicFilter::new(*filter).unwrap().matches(topic))
                .map(|(i, _)| i)
                .collect();
            let mut found = found(&mut tree, topic);
            found.sort_unstable();
            assert_eq!(found, expected, "{topic}");
        }
        for (i, filter) in filters.iter().enumerate() {
            tree.unsubscribe(&TopicFilter::new(*filter).unwrap(), SessionId(i as u64));
        }
        assert!(tree.root.is_empty());
    }

    #[test]
    fn a_group_takes_turns_and_prefers_who_is_online() {
        let filter = TopicFilter::new("$share/g/a").unwrap();
        let mut tree = Tree::default();
        for session in [1, 2, 9] {
            tree.subscribe(&filter, SessionId(session), GRANT);
        }
        let turns: Vec<u64> = (0..4).flat_map(|_| found(&mut tree, "a")).collect();
        assert_eq!(turns, [1, 2, 1, 2]);
        tree.unsubscribe(&filter, SessionId(1));
        tree.unsubscribe(&filter, SessionId(2));
        assert_eq!(found(&mut tree, "a"), [9]);
        tree.unsubscribe(&filter, SessionId(9));
        assert!(tree.root.is_empty());
    }
}

//! The subscriptions of all sessions, by topic filter.

use crate::ids::SessionId;
use core::ops::Bound;
use martlet_proto::{QoS, SubscriptionIdentifier, TopicFilter, TopicTree};
use std::collections::BTreeMap;

/// The levels that a topic filter may have: each takes a node of the tree.
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

/// All subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    tree: TopicTree<Entries>,
}

/// The subscriptions to one topic filter, and to what shares it.
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

impl Subscriptions {
    /// Adds a subscription, or replaces the one of this session and filter.
    pub(crate) fn subscribe(&mut self, filter: &TopicFilter, session: SessionId, grant: Grant) {
        let entries = self.tree.get_or_insert_with(filter, Entries::default);
        match filter.share_name() {
            None => entries.direct.insert(session, grant),
            Some(name) => entries
                .shared
                .entry(name.into())
                .or_default()
                .members
                .insert(session, grant),
        };
    }

    /// Removes a subscription.
    pub(crate) fn unsubscribe(&mut self, filter: &TopicFilter, session: SessionId) {
        let Some(entries) = self.tree.get_mut(filter) else {
            return;
        };
        entries.remove(filter.share_name(), session);
        if entries.is_empty() {
            self.tree.remove(filter);
        }
    }

    /// Adds to `found` the subscriptions that match `topic`; of each shared one the member whose
    /// turn it is, of those that are `online` if there are any.
    pub(crate) fn find(
        &mut self,
        topic: &str,
        online: impl Fn(SessionId) -> bool,
        found: &mut Vec<Match>,
    ) {
        self.tree.for_each_match_mut(topic, |entries| {
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
            self.members
                .range((after, Bound::Unbounded))
                .chain(self.members.range((Bound::Unbounded, upto)))
        };
        let (&session, &grant) = turns()
            .find(|&(&session, _)| online(session))
            .or_else(|| turns().next())?;
        self.last = Some(session);
        Some(Match {
            session,
            grant,
            shared: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANT: Grant = Grant {
        qos: QoS::AtMostOnce,
        no_local: false,
        retain_as_published: false,
        identifier: None,
    };

    fn found(subscriptions: &mut Subscriptions, topic: &str) -> Vec<u64> {
        let mut found = Vec::new();
        subscriptions.find(topic, |session| session.0 != 9, &mut found);
        found.iter().map(|found| found.session.0).collect()
    }

    #[test]
    fn a_group_takes_turns_and_prefers_who_is_online() {
        let filter = TopicFilter::new("$share/g/a").unwrap();
        let mut subscriptions = Subscriptions::default();
        for session in [1, 2, 9] {
            subscriptions.subscribe(&filter, SessionId(session), GRANT);
        }
        let turns: Vec<u64> = (0..4)
            .flat_map(|_| found(&mut subscriptions, "a"))
            .collect();
        assert_eq!(turns, [1, 2, 1, 2]);
        subscriptions.unsubscribe(&filter, SessionId(1));
        subscriptions.unsubscribe(&filter, SessionId(2));
        assert_eq!(found(&mut subscriptions, "a"), [9]);
        subscriptions.unsubscribe(&filter, SessionId(9));
        assert!(subscriptions.tree.is_empty());
    }
}

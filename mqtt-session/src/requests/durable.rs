//! What a durable session stores of its subscriptions, and gets back after a restart.

use super::{Entry, Registered, Wishes};
use martlet_proto::{SubscribeFilter, SubscriptionIdentifier, TopicFilter};

impl Wishes {
    /// A subscription as it was made.
    pub(crate) fn registered(
        &self,
        filter: &TopicFilter,
    ) -> Option<(&SubscribeFilter, Option<SubscriptionIdentifier>, u64)> {
        let Registered {
            subscription,
            identifier,
            order,
        } = self.filters.get(filter)?.granted.as_ref()?;
        Some((subscription, *identifier, *order))
    }

    /// A subscription that an earlier process has made.
    pub(crate) fn restore_registered(
        &mut self,
        subscription: SubscribeFilter,
        identifier: Option<SubscriptionIdentifier>,
        order: u64,
    ) {
        let filter = subscription.filter.clone();
        let granted = Some(Registered {
            subscription,
            identifier,
            order,
        });
        self.filters.insert(
            filter,
            Entry {
                granted,
                wanted: true,
                ..Entry::default()
            },
        );
    }

    /// Whether subscriptions are being made again that the server has lost.
    pub(crate) fn is_restoring(&self) -> bool {
        self.lost > 0
    }
}

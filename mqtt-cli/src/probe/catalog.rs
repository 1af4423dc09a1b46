//! All capabilities, in the order in which they are tried and printed.

use super::checks;
use super::context::Context;
use super::finding::Finding;
use super::trouble::Trouble;

/// What finds out about one capability, or about several at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Versions,
    EmptyIdentifier,
    Takeover,
    Announced,
    MaximumQos,
    LargestPayload,
    ManyFilters,
    UserProperties,
    MessageProperties,
    AliasesToServer,
    AliasesFromServer,
    MessageExpiry,
    Retained,
    RetainedForWildcards,
    RetainHandling,
    RetainAsPublished,
    Wildcards,
    DollarTopics,
    Shared,
    Identifiers,
    NoLocal,
    Overlapping,
    DeliveryQos,
    SessionKept,
    SessionWithoutSubscriptions,
    OfflineQueue,
    OfflineOrder,
    Redelivery,
    PublishedOnce,
    DeliveredOnce,
    ReceiveMaximum,
    Wills,
    WillDelay,
    DeniedTopic,
}

/// A check, and what it finds out.
pub(super) struct Entry {
    pub(super) check: Check,
    /// The heading that it is printed under.
    pub(super) group: &'static str,
    /// The capabilities, in the order of the check's findings.
    pub(super) names: &'static [&'static str],
    /// What has no meaning before MQTT 5.
    pub(super) only_in_5: bool,
}

const fn entry(check: Check, group: &'static str, names: &'static [&'static str]) -> Entry {
    Entry {
        check,
        group,
        names,
        only_in_5: false,
    }
}

const fn only_in_5(check: Check, group: &'static str, names: &'static [&'static str]) -> Entry {
    Entry {
        only_in_5: true,
        ..entry(check, group, names)
    }
}

const CONNECTING: &str = "Connecting";
const LIMITS: &str = "Limits";
const PUBLISHING: &str = "Messages";
const RETAINED: &str = "Retained messages";
const SUBSCRIBING: &str = "Subscriptions";
const SESSIONS: &str = "Sessions";
const DELIVERY: &str = "Delivery";
const WILLS: &str = "Wills";
const ACCESS: &str = "Access";

/// All of them. The versions come first: the others depend on them. The highest QoS comes before
/// what publishes.
pub(super) const ALL: &[Entry] = &[
    entry(
        Check::Versions,
        CONNECTING,
        &["mqtt-3.1", "mqtt-3.1.1", "mqtt-5"],
    ),
    entry(
        Check::EmptyIdentifier,
        CONNECTING,
        &["empty-client-identifier"],
    ),
    entry(Check::Takeover, CONNECTING, &["session-takeover"]),
    only_in_5(
        Check::Announced,
        LIMITS,
        &[
            "receive-maximum",
            "maximum-packet-size",
            "topic-alias-maximum",
            "server-keep-alive",
            "session-expiry",
        ],
    ),
    entry(Check::MaximumQos, LIMITS, &["maximum-qos"]),
    entry(Check::LargestPayload, LIMITS, &["largest-payload"]),
    entry(
        Check::ManyFilters,
        LIMITS,
        &["nine-filters", "hundred-filters"],
    ),
    only_in_5(Check::UserProperties, PUBLISHING, &["user-properties"]),
    only_in_5(
        Check::MessageProperties,
        PUBLISHING,
        &["message-properties"],
    ),
    only_in_5(Check::AliasesToServer, PUBLISHING, &["topic-aliases"]),
    only_in_5(
        Check::AliasesFromServer,
        PUBLISHING,
        &["topic-aliases-from-server"],
    ),
    only_in_5(Check::MessageExpiry, PUBLISHING, &["message-expiry"]),
    entry(
        Check::Retained,
        RETAINED,
        &["retained-messages", "retained-cleared"],
    ),
    entry(
        Check::RetainedForWildcards,
        RETAINED,
        &["retained-for-wildcards"],
    ),
    only_in_5(Check::RetainHandling, RETAINED, &["retain-handling"]),
    only_in_5(Check::RetainAsPublished, RETAINED, &["retain-as-published"]),
    entry(Check::Wildcards, SUBSCRIBING, &["wildcards"]),
    entry(
        Check::DollarTopics,
        SUBSCRIBING,
        &["wildcards-spare-dollar-topics"],
    ),
    entry(Check::Shared, SUBSCRIBING, &["shared-subscriptions"]),
    only_in_5(
        Check::Identifiers,
        SUBSCRIBING,
        &["subscription-identifiers"],
    ),
    only_in_5(Check::NoLocal, SUBSCRIBING, &["no-local"]),
    entry(
        Check::Overlapping,
        SUBSCRIBING,
        &["overlapping-subscriptions"],
    ),
    entry(Check::DeliveryQos, SUBSCRIBING, &["delivery-qos"]),
    entry(Check::SessionKept, SESSIONS, &["session-kept"]),
    entry(
        Check::SessionWithoutSubscriptions,
        SESSIONS,
        &["session-without-subscriptions"],
    ),
    entry(
        Check::OfflineQueue,
        SESSIONS,
        &["offline-qos-0", "offline-qos-1", "offline-qos-2"],
    ),
    entry(Check::OfflineOrder, SESSIONS, &["offline-order"]),
    entry(
        Check::Redelivery,
        DELIVERY,
        &["redelivery", "redelivery-order", "redelivery-dup"],
    ),
    entry(Check::PublishedOnce, DELIVERY, &["qos-2-publish"]),
    entry(Check::DeliveredOnce, DELIVERY, &["qos-2-deliver"]),
    only_in_5(Check::ReceiveMaximum, DELIVERY, &["receive-maximum-obeyed"]),
    entry(
        Check::Wills,
        WILLS,
        &["will-on-cut", "will-not-on-disconnect"],
    ),
    only_in_5(Check::WillDelay, WILLS, &["will-delay"]),
    entry(
        Check::DeniedTopic,
        ACCESS,
        &["denied-subscribe", "denied-publish"],
    ),
];

/// The names of all capabilities.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().flat_map(|entry| entry.names).copied()
}

impl Check {
    /// Whether it publishes on the topics of the probe, or subscribes to them.
    pub(super) fn uses_topics(self) -> bool {
        !matches!(
            self,
            Self::Versions
                | Self::EmptyIdentifier
                | Self::Takeover
                | Self::Announced
                | Self::DeniedTopic
        )
    }

    /// A finding for each of its names, or why there are none.
    pub(super) async fn run(self, cx: &Context) -> Result<Vec<Finding>, Trouble> {
        match self {
            Self::Versions => checks::versions(cx).await,
            Self::EmptyIdentifier => checks::empty_identifier(cx).await,
            Self::Takeover => checks::takeover(cx).await,
            Self::Announced => checks::announced(cx).await,
            Self::MaximumQos => checks::maximum_qos(cx).await,
            Self::LargestPayload => checks::largest_payload(cx).await,
            Self::ManyFilters => checks::many_filters(cx).await,
            Self::UserProperties => checks::user_properties(cx).await,
            Self::MessageProperties => checks::message_properties(cx).await,
            Self::AliasesToServer => checks::aliases_to_server(cx).await,
            Self::AliasesFromServer => checks::aliases_from_server(cx).await,
            Self::MessageExpiry => checks::message_expiry(cx).await,
            Self::Retained => checks::retained_messages(cx).await,
            Self::RetainedForWildcards => checks::retained_for_wildcards(cx).await,
            Self::RetainHandling => checks::retain_handling(cx).await,
            Self::RetainAsPublished => checks::retain_as_published(cx).await,
            Self::Wildcards => checks::wildcards(cx).await,
            Self::DollarTopics => checks::dollar_topics(cx).await,
            Self::Shared => checks::shared(cx).await,
            Self::Identifiers => checks::subscription_identifiers(cx).await,
            Self::NoLocal => checks::no_local(cx).await,
            Self::Overlapping => checks::overlapping(cx).await,
            Self::DeliveryQos => checks::delivery_qos(cx).await,
            Self::SessionKept => checks::session_kept(cx).await,
            Self::SessionWithoutSubscriptions => checks::session_without_subscriptions(cx).await,
            Self::OfflineQueue => checks::offline_queue(cx).await,
            Self::OfflineOrder => checks::offline_order(cx).await,
            Self::Redelivery => checks::redelivery(cx).await,
            Self::PublishedOnce => checks::published_once(cx).await,
            Self::DeliveredOnce => checks::delivered_once(cx).await,
            Self::ReceiveMaximum => checks::receive_maximum(cx).await,
            Self::Wills => checks::wills(cx).await,
            Self::WillDelay => checks::will_delay(cx).await,
            Self::DeniedTopic => checks::denied_topic(cx).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_capability_has_one_name_in_kebab_case() {
        let different: BTreeSet<_> = names().collect();
        assert_eq!(different.len(), names().count());
        for name in different {
            let is_kebab =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
            assert!(name.chars().all(is_kebab), "{name}");
        }
    }

    #[test]
    fn the_entries_of_a_group_stand_together() {
        let mut groups: Vec<_> = ALL.iter().map(|entry| entry.group).collect();
        groups.dedup();
        let different: BTreeSet<_> = groups.iter().collect();
        assert_eq!(different.len(), groups.len());
    }
}

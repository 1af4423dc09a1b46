//! Distributes messages to subscribers, and retains them for later ones.

use crate::broker::Broker;
use crate::config::reached;
use crate::deadlines::BrokerTimer;
use crate::event::BrokerEvent;
use crate::ids::SessionId;
use crate::message::{Content, OutgoingMessage, Retained};
use crate::subscriptions::{Grant, Match};
use core::ops::Bound;
use core::time::Duration;
use martlet_proto::{
    PubAckReasonCode, Publish, PublishRef, SubscriptionIdentifier, TopicFilter, TopicName, Version,
};
use std::sync::Arc;

/// What became of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Routed {
    /// Somebody has subscribed to it.
    pub(crate) matched: bool,
    /// It was to be retained, and there are too many already.
    pub(crate) over_quota: bool,
}

impl Routed {
    /// What the sender is answered, as far as its version can say it.
    pub(crate) fn reason(self, version: Version) -> PubAckReasonCode {
        match self {
            _ if !version.has_properties() => PubAckReasonCode::Success,
            routed if routed.over_quota => PubAckReasonCode::QuotaExceeded,
            routed if !routed.matched => PubAckReasonCode::NoMatchingSubscribers,
            _ => PubAckReasonCode::Success,
        }
    }
}

/// A message that is copied into memory of its own when the first needs to keep it.
struct RoutedMessage<'a> {
    publish: PublishRef<'a>,
    expires: Option<Duration>,
    content: Option<Arc<Content>>,
}

impl Broker {
    /// Gives a message to all its subscribers, and retains it if RETAIN is set. Its topic
    /// name is there, and it has no properties of a single sending.
    pub(crate) fn route(
        &mut self,
        now: Duration,
        publish: PublishRef<'_>,
        sender: Option<SessionId>,
    ) -> Routed {
        self.record(|broker| BrokerEvent::Accepted {
            client_identifier: sender
                .and_then(|id| Some(broker.sessions.get(&id)?.client_identifier.clone())),
            publish: publish.into(),
        });
        let mut message = RoutedMessage::new(now, publish);
        let over_quota = publish.retain() && !self.retain(now, &mut message, sender);
        let mut matches = core::mem::take(&mut self.matches);
        matches.clear();
        let sessions = &self.sessions;
        let online = |id| {
            sessions
                .get(&id)
                .is_some_and(|session| session.connection.is_some())
        };
        self.subscriptions
            .find(publish.topic(), online, &mut matches);
        // One copy for each session and, apart from that, one for each of its shared subscriptions
        // (MQTT 5 §4.8.2).
        matches.sort_by_key(|found| (found.session, found.shared));
        for copy in matches.chunk_by(|a, b| a.session == b.session && !b.shared) {
            self.deliver(&mut message, copy, sender);
        }
        let matched = !matches.is_empty();
        self.matches = matches;
        Routed {
            matched,
            over_quota,
        }
    }

    /// Gives one copy to one session, for all of its subscriptions that match: with the highest QoS
    /// of them, and all of their identifiers (MQTT 5 §3.3.4).
    fn deliver(
        &mut self,
        message: &mut RoutedMessage<'_>,
        matches: &[Match],
        sender: Option<SessionId>,
    ) {
        let Some(session) = matches.first().map(|found| found.session) else {
            return;
        };
        let mut granted = None;
        let mut retain = false;
        let mut identifiers = Vec::new();
        for Match { grant, .. } in matches {
            if grant.no_local && sender == Some(session) {
                continue;
            }
            granted = granted.max(Some(grant.qos));
            retain |= grant.retain_as_published && message.publish.retain();
            identifiers.extend(grant.identifier);
        }
        if let Some(qos) = granted {
            let content = message.content();
            let qos = qos.min(message.publish.delivery().qos());
            self.enqueue(
                session,
                OutgoingMessage {
                    content,
                    qos,
                    retain,
                    identifiers,
                    sequence: 0,
                },
            );
        }
    }

    fn enqueue(&mut self, id: SessionId, message: OutgoingMessage) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let connection = session.connection;
        let content = message.content.clone();
        match session.enqueue(
            message,
            self.config.max_queued,
            self.config.max_queued_bytes,
        ) {
            Ok(()) => {
                if let Some(connection) = connection {
                    self.mark_ready(connection);
                }
            }
            Err(reason) => {
                let client_identifier = session.client_identifier.clone();
                self.statistics.dropped += 1;
                self.record(|_| BrokerEvent::Dropped {
                    client_identifier,
                    reason,
                    publish: content.publish.clone(),
                });
            }
        }
    }

    /// Keeps a message as the retained one of its topic, or removes that when the payload is empty
    /// [MQTT-3.3.1-5, MQTT-3.3.1-6]. False when there is no room for another topic.
    fn retain(
        &mut self,
        now: Duration,
        message: &mut RoutedMessage<'_>,
        sender: Option<SessionId>,
    ) -> bool {
        let topic = message.publish.topic_bytes();
        if message.publish.payload().is_empty() {
            self.retained.remove(topic);
            return true;
        }
        let is_full = |broker: &Self| {
            let most = broker.config.max_retained;
            !broker.retained.contains_key(topic) && reached(broker.retained.len(), most)
        };
        if is_full(self) {
            // Expired ones are removed when there is no room, and when a subscription looks for them.
            self.retained
                .retain(|_, kept| !kept.content.is_expired(now));
        }
        if is_full(self) {
            return false;
        }
        let content = message.content();
        // The key shares the message's memory, so the entry is replaced whole.
        self.retained.remove(topic);
        if let Some(topic) = content.publish.topic_name() {
            self.retained
                .insert(topic.into_bytes(), Retained { content, sender });
        }
        true
    }

    /// Gives a new subscription the retained messages that it matches (MQTT 5 §3.3.1.3).
    pub(crate) fn deliver_retained(
        &mut self,
        now: Duration,
        id: SessionId,
        filter: &TopicFilter,
        grant: Grant,
    ) {
        let pattern = filter.pattern();
        let prefix = pattern.split(['+', '#']).next().unwrap_or(pattern);
        // "a/#" matches "a" too.
        let prefix = if prefix.len() < pattern.len() {
            prefix.trim_end_matches('/')
        } else {
            prefix
        };
        let mut found = Vec::new();
        let mut expired = Vec::new();
        let range = (Bound::Included(prefix.as_bytes()), Bound::Unbounded);
        for (topic, Retained { content, sender }) in self.retained.range::<[u8], _>(range) {
            if !topic.starts_with(prefix.as_bytes()) {
                break;
            }
            if content.is_expired(now) {
                expired.push(topic.clone());
            } else if filter.matches(content.publish.topic())
                && !(grant.no_local && *sender == Some(id))
            {
                found.push(content.clone());
            }
        }
        for topic in expired {
            self.retained.remove(&topic);
        }
        for content in found {
            let qos = grant.qos.min(content.publish.delivery().qos());
            let identifiers: Vec<SubscriptionIdentifier> = grant.identifier.into_iter().collect();
            self.enqueue(
                id,
                OutgoingMessage {
                    content,
                    qos,
                    retain: true,
                    identifiers,
                    sequence: 0,
                },
            );
        }
    }

    /// Publishes the topics under `$SYS`, and does so again after the interval.
    pub(crate) fn publish_sys(&mut self, now: Duration) {
        let interval = self.config.sys_interval;
        if interval.is_zero() {
            return;
        }
        let statistics = self.statistics();
        for (topic, payload) in self.sys.report(now, &statistics) {
            let topic = TopicName::from_static(topic).expect("a topic name");
            self.route(
                now,
                PublishRef::new(&topic, payload.as_bytes()).with_retain(true),
                None,
            );
        }
        self.deadlines
            .set(BrokerTimer::Sys, now.saturating_add(interval));
    }
}

impl<'a> RoutedMessage<'a> {
    fn new(now: Duration, publish: PublishRef<'a>) -> Self {
        let expires = publish
            .properties()
            .message_expiry_interval()
            .map(|seconds| {
                // One of 0 seconds is worth delivering at this moment only.
                now.saturating_add(Duration::from_secs(seconds.into()).max(Duration::from_nanos(1)))
            });
        Self {
            publish,
            expires,
            content: None,
        }
    }

    fn content(&mut self) -> Arc<Content> {
        let (publish, expires) = (self.publish, self.expires);
        let make = || {
            Arc::new(Content {
                publish: Publish::from(publish),
                expires,
            })
        };
        self.content.get_or_insert_with(make).clone()
    }
}

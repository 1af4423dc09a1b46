//! What a broker does wrong on purpose.

use martlet_proto::{Subscribe, TopicFilter, Utf8String};

/// What a [`Broker`](crate::Broker) does wrong on purpose, as servers have been seen to. Default: nothing.
///
/// ```
/// use martlet_broker::{BrokerConfig, Moods};
/// use martlet_proto::TopicFilter;
///
/// // As a policy that forbids a topic is enforced by some.
/// let forbidden = TopicFilter::new("forbidden/#").unwrap();
/// let config = BrokerConfig::default().moods(Moods::new().hang_up_on_publish(forbidden));
/// # let _ = config;
/// ```
///
/// Each time that it acts it is recorded as [`BrokerEvent::Misbehaved`](crate::BrokerEvent::Misbehaved).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moods {
    forbidden_topics: Option<TopicFilter>,
    forbidden_filters: Option<TopicFilter>,
    most_filters: Option<usize>,
    pub(crate) overshoot: u16,
    pub(crate) miscounts: bool,
    pub(crate) wrong_flow: bool,
    pub(crate) renames: Option<Utf8String>,
}

impl Moods {
    /// A broker that does nothing wrong.
    pub fn new() -> Self {
        Self::default()
    }

    /// Closes the connection without a word when a PUBLISH of QoS 1 or 2 to a topic comes that
    /// matches this filter. The message is not accepted.
    #[must_use]
    pub fn hang_up_on_publish(self, topics: TopicFilter) -> Self {
        Self {
            forbidden_topics: Some(topics),
            ..self
        }
    }

    /// Closes the connection without a word when a SUBSCRIBE has a filter that, read as a topic
    /// name, matches this one.
    #[must_use]
    pub fn hang_up_on_subscribe(self, filters: TopicFilter) -> Self {
        Self {
            forbidden_filters: Some(filters),
            ..self
        }
    }

    /// Closes the connection without a word when a SUBSCRIBE has more filters than this.
    #[must_use]
    pub fn hang_up_on_filters(self, more_than: usize) -> Self {
        Self {
            most_filters: Some(more_than),
            ..self
        }
    }

    /// Sends this many QoS 1 and 2 messages more than the client's Receive Maximum allows (MQTT 5).
    #[must_use]
    pub fn overshoot(self, by: u16) -> Self {
        Self {
            overshoot: by,
            ..self
        }
    }

    /// Answers with a SUBACK or UNSUBACK that has the wrong number of codes: one less, or two where
    /// one was due.
    #[must_use]
    pub fn miscount_codes(self) -> Self {
        Self {
            miscounts: true,
            ..self
        }
    }

    /// Answers a PUBLISH of QoS 2 with PUBACK, and forgets the message.
    #[must_use]
    pub fn acknowledge_in_the_wrong_flow(self) -> Self {
        Self {
            wrong_flow: true,
            ..self
        }
    }

    /// Assigns this client identifier to clients that have one (MQTT 5). The session is that of
    /// their own.
    #[must_use]
    pub fn rename_clients(self, to: Utf8String) -> Self {
        Self {
            renames: Some(to),
            ..self
        }
    }

    pub(crate) fn forbids_topic(&self, topic: &str) -> bool {
        self.forbidden_topics
            .as_ref()
            .is_some_and(|topics| topics.matches(topic))
    }

    pub(crate) fn forbids(&self, subscribe: &Subscribe) -> bool {
        let subscriptions = &subscribe.subscriptions;
        let is_forbidden = |filters: &TopicFilter| {
            subscriptions
                .iter()
                .any(|subscription| filters.matches(subscription.filter.as_str()))
        };
        self.most_filters
            .is_some_and(|most| subscriptions.len() > most)
            || self.forbidden_filters.as_ref().is_some_and(is_forbidden)
    }

    /// As many codes as filters, or not.
    pub(crate) fn miscount<T: Clone>(&self, codes: &mut Vec<T>) -> bool {
        if !self.miscounts || codes.is_empty() {
            return false;
        }
        match &codes[..] {
            [only] => codes.push(only.clone()),
            _ => codes.truncate(codes.len() - 1),
        }
        true
    }
}

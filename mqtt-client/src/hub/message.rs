//! A message as the application gets it.

use bytes::Bytes;
use martlet_proto::{Publish, PublishPropertiesRef, PublishRef, QoS, TopicName};
use martlet_session::{AckToken, ReceivedPublish};
use std::fmt;

/// A message that arrived. A clone shares its memory.
///
/// ```
/// # use martlet_client::Message;
/// fn show(message: &Message) {
///     match message.text() {
///         Some(text) => println!("{}: {text}", message.topic()),
///         None => println!("{}: {} bytes", message.topic(), message.payload().len()),
///     }
///     for (name, value) in message.properties().user_properties() {
///         println!("  {name}: {value}");
///     }
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    publish: Publish,
    /// The topic that a topic alias stood for.
    aliased: Option<TopicName>,
}

impl Message {
    /// A message of QoS 0, not retained, without properties, as no server has sent it: for tests of
    /// your own code. [`from_packet`](Self::from_packet) makes any other.
    ///
    /// ```
    /// use martlet_client::{Message, TopicName};
    ///
    /// fn degrees(message: &Message) -> Option<f64> {
    ///     message.text()?.parse().ok()
    /// }
    /// let message = Message::new(&TopicName::new("sensors/1/temp")?, "21.5");
    /// assert_eq!(degrees(&message), Some(21.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(topic: &TopicName, payload: impl AsRef<[u8]>) -> Self {
        Self {
            publish: Publish::from(PublishRef::new(topic, payload.as_ref())),
            aliased: None,
        }
    }

    /// The message of this packet; `None` where a topic alias stands for the topic.
    ///
    /// ```
    /// use martlet_client::{Message, TopicName, proto::{Publish, PublishRef}};
    ///
    /// let topic = TopicName::new("lamps/1")?;
    /// let retained = Publish::from(PublishRef::new(&topic, b"on").with_retain(true));
    /// assert!(Message::from_packet(retained).is_some_and(|message| message.retain()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_packet(publish: Publish) -> Option<Self> {
        publish.topic_name().map(|_| Self {
            publish,
            aliased: None,
        })
    }

    pub(crate) fn received(delivery: ReceivedPublish) -> (Self, AckToken) {
        let aliased = delivery
            .publish
            .as_ref()
            .topic_bytes()
            .is_empty()
            .then(|| delivery.topic_name());
        (
            Self {
                publish: delivery.publish,
                aliased,
            },
            delivery.token,
        )
    }

    /// Bytes that it holds on to.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.publish.len()
    }

    /// Copies it out of the buffer that it came in.
    pub(crate) fn detach(&mut self) {
        self.publish.detach();
    }

    /// The topic name, sharing the message's memory.
    pub fn topic_name(&self) -> TopicName {
        self.aliased
            .clone()
            .or_else(|| self.publish.topic_name())
            .expect("no message is without a topic")
    }

    /// The topic name.
    pub fn topic(&self) -> &str {
        self.aliased
            .as_ref()
            .map_or_else(|| self.publish.topic(), TopicName::as_str)
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        self.publish.payload()
    }

    /// The payload, sharing the message's memory.
    pub fn payload_bytes(&self) -> Bytes {
        self.publish.payload_bytes()
    }

    /// The payload as text; `None` when it is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.payload()).ok()
    }

    /// The quality of service that it came with.
    pub fn qos(&self) -> QoS {
        self.publish.delivery().qos()
    }

    /// Whether it is a retained message, or was published as one (MQTT 5 §3.3.1.3).
    pub fn retain(&self) -> bool {
        self.publish.retain()
    }

    /// Whether the server may have sent it before.
    pub fn duplicate(&self) -> bool {
        self.publish.delivery().duplicate()
    }

    /// Its properties (MQTT 5 §3.3.2.3).
    pub fn properties(&self) -> PublishPropertiesRef<'_> {
        self.publish.properties()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic())
            .field("qos", &self.qos())
            .field("retain", &self.retain())
            .field("properties", &self.properties())
            .field("payload", &self.payload_bytes())
            .finish()
    }
}

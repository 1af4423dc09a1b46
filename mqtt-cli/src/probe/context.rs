//! What every check has: the way to the server, topics and sessions of its own, and what is to be
//! removed in the end.

use super::connection::{Bounds, Connection, Outgoing, bounds};
use super::target::Target;
use super::trouble::Trouble;
use martlet_tokio::proto::{
    ConnAck, ConnAckProperties, Connect, SubAckReasonCode, SubscribeFilter, Utf8String, Will,
};
use martlet_tokio::{QoS, TopicFilter, TopicName, Version};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::time::Duration;
use tokio::time::Instant;

/// How long the server keeps the sessions of a probe that was killed, in seconds.
const SESSION_EXPIRY: u32 = 600;

/// The keep alive that connections ask for, in seconds.
pub(super) const KEEP_ALIVE: u16 = 60;

/// How a probe is to go about it.
pub(super) struct Setup {
    pub(super) target: Target,
    /// The topic that all others are under, without what is random.
    pub(super) topic_prefix: String,
    /// What client identifiers begin with; it differs in each probe.
    pub(super) id_prefix: String,
    /// How long what is expected may take.
    pub(super) wait: Duration,
    pub(super) max_payload: u32,
    pub(super) denied: Option<TopicName>,
    /// Whether packets are shown on standard error.
    pub(super) shows_packets: bool,
    /// Differs in each probe.
    pub(super) random: u64,
}

/// What every check has.
pub(super) struct Context {
    setup: Setup,
    /// The version that the checks speak.
    version: Cell<Version>,
    announced: RefCell<ConnAckProperties>,
    maximum_qos: Cell<QoS>,
    clients: Cell<u32>,
    leftovers: RefCell<Leftovers>,
}

/// What is to be removed in the end.
#[derive(Default)]
struct Leftovers {
    sessions: BTreeSet<String>,
    retained: BTreeSet<String>,
}

/// What a CONNECT asks for.
pub(super) struct Ask {
    pub(super) identifier: String,
    pub(super) clean_start: bool,
    /// Seconds; 0: the session ends with the connection.
    pub(super) expiry: u32,
    pub(super) receive_maximum: Option<NonZeroU16>,
    pub(super) topic_alias_maximum: Option<u16>,
    pub(super) will: Option<Will>,
}

impl Ask {
    /// A session that ends with its connection.
    pub(super) fn new(identifier: impl Into<String>) -> Self {
        Self {
            identifier: identifier.into(),
            clean_start: true,
            expiry: 0,
            receive_maximum: None,
            topic_alias_maximum: None,
            will: None,
        }
    }

    /// A session that is kept: the one that is there, or a new one. Without Clean Start, as clients
    /// begin such a session: some servers drop it at the end of a connection with Clean Start.
    pub(super) fn session(identifier: impl Into<String>) -> Self {
        Self {
            clean_start: false,
            expiry: SESSION_EXPIRY,
            ..Self::new(identifier)
        }
    }
}

impl Context {
    pub(super) fn new(setup: Setup) -> Self {
        Self {
            setup,
            version: Cell::new(Version::V5),
            announced: RefCell::default(),
            maximum_qos: Cell::new(QoS::ExactlyOnce),
            clients: Cell::new(0),
            leftovers: RefCell::default(),
        }
    }

    // ---- getters

    pub(super) fn target(&self) -> &Target {
        &self.setup.target
    }

    pub(super) fn version(&self) -> Version {
        self.version.get()
    }

    pub(super) fn is_5(&self) -> bool {
        self.version() == Version::V5
    }

    /// How long what is expected may take.
    pub(super) fn wait(&self) -> Duration {
        self.setup.wait
    }

    /// How long nothing has to come where nothing may come.
    pub(super) fn quiet(&self) -> Duration {
        self.setup.wait / 10
    }

    pub(super) fn max_payload(&self) -> u32 {
        self.setup.max_payload
    }

    pub(super) fn topic_prefix(&self) -> &str {
        &self.setup.topic_prefix
    }

    pub(super) fn denied(&self) -> Option<&TopicName> {
        self.setup.denied.as_ref()
    }

    /// What the CONNACK of the first connection in this version has.
    pub(super) fn announced(&self) -> ConnAckProperties {
        self.announced.borrow().clone()
    }

    /// This QoS, or the highest that the server has.
    pub(super) fn at_most(&self, qos: QoS) -> QoS {
        qos.min(self.maximum_qos.get())
    }

    /// The QoS that most checks publish and subscribe at.
    pub(super) fn qos(&self) -> QoS {
        self.at_most(QoS::AtLeastOnce)
    }

    // ---- what the checks find out for others

    /// The checks speak this version.
    pub(super) fn speak(&self, version: Version) {
        self.version.set(version);
    }

    pub(super) fn set_announced(&self, properties: ConnAckProperties) {
        if let Some(qos) = properties.maximum_qos {
            self.limit_qos(qos);
        }
        *self.announced.borrow_mut() = properties;
    }

    pub(super) fn limit_qos(&self, qos: QoS) {
        self.maximum_qos.set(qos.min(self.maximum_qos.get()));
    }

    // ---- names

    /// A topic of this probe.
    pub(super) fn topic(&self, rest: &str) -> Result<TopicName, Trouble> {
        let topic = format!("{}/{rest}", self.root());
        TopicName::new(topic).map_err(|error| Trouble::NotEncodable(error.to_string()))
    }

    /// A filter below the topics of this probe.
    pub(super) fn filter(&self, rest: &str) -> Result<TopicFilter, Trouble> {
        filter(&format!("{}/{rest}", self.root()))
    }

    fn root(&self) -> String {
        let Setup {
            topic_prefix,
            random,
            ..
        } = &self.setup;
        format!("{topic_prefix}/{random:016x}")
    }

    /// A client identifier that was not used before.
    pub(super) fn identifier(&self) -> String {
        let number = self.clients.get() + 1;
        self.clients.set(number);
        format!("{}-{number}", self.setup.id_prefix)
    }

    // ---- connections

    /// Connects in the version that the checks speak.
    pub(super) async fn connect(&self, ask: Ask) -> Result<(Connection, ConnAck), Trouble> {
        self.connect_in(self.version(), ask).await
    }

    pub(super) async fn connect_in(
        &self,
        version: Version,
        ask: Ask,
    ) -> Result<(Connection, ConnAck), Trouble> {
        self.connect_within(version, ask, bounds(self.setup.max_payload))
            .await
    }

    async fn connect_within(
        &self,
        version: Version,
        ask: Ask,
        bounds: Bounds,
    ) -> Result<(Connection, ConnAck), Trouble> {
        let target = self.target();
        let until = Instant::now() + target.timeout;
        let (socket, transport) = target.open(until).await?;
        let mut connection = Connection::new(socket, transport, version, bounds, self.setup.wait);
        if self.setup.shows_packets {
            connection.show_as(&ask.identifier);
        }
        connection.open(until).await?;
        let is_kept = ask.expiry > 0;
        if is_kept {
            let mut leftovers = self.leftovers.borrow_mut();
            leftovers.sessions.insert(ask.identifier.clone());
        }
        let identifier = Utf8String::new(ask.identifier)
            .map_err(|error| Trouble::NotEncodable(error.to_string()))?;
        let mut connect = Connect::new(version, identifier);
        connect.keep_alive = KEEP_ALIVE;
        connect.will = ask.will;
        connect.user_name = target.user_name.clone();
        connect.password = target.password.clone();
        if version == Version::V5 {
            connect.clean_start = ask.clean_start;
            connect.properties.session_expiry_interval = is_kept.then_some(ask.expiry);
            connect.properties.receive_maximum = ask.receive_maximum;
            connect.properties.topic_alias_maximum = ask.topic_alias_maximum;
        } else {
            connect.clean_start = !is_kept;
        }
        let answer = connection.connect(connect, until).await?;
        Ok((connection, answer))
    }

    /// A client whose session ends with its connection.
    pub(super) async fn client(&self) -> Result<Connection, Trouble> {
        let (connection, _) = self.connect(Ask::new(self.identifier())).await?;
        Ok(connection)
    }

    /// A client that has subscribed.
    pub(super) async fn subscriber(
        &self,
        filters: Vec<SubscribeFilter>,
    ) -> Result<Connection, Trouble> {
        let mut client = self.client().await?;
        self.subscribe(&mut client, filters).await?;
        Ok(client)
    }

    /// Subscribes, where the server has to accept it.
    pub(super) async fn subscribe(
        &self,
        client: &mut Connection,
        filters: Vec<SubscribeFilter>,
    ) -> Result<(), Trouble> {
        let names: Vec<_> = filters.iter().map(|filter| filter.filter.clone()).collect();
        let reasons = client.subscribe(filters, None).await?;
        accepted(names.iter().zip(reasons))
    }

    /// Publishes at the QoS of most checks; then the server has the message.
    pub(super) async fn publish(
        &self,
        client: &mut Connection,
        topic: &TopicName,
        payload: &[u8],
    ) -> Result<(), Trouble> {
        self.publish_message(client, &Outgoing::new(topic, payload, self.qos()))
            .await
    }

    /// Publishes; then the server has the message.
    pub(super) async fn publish_message(
        &self,
        client: &mut Connection,
        message: &Outgoing<'_>,
    ) -> Result<(), Trouble> {
        if message.retain && !message.payload.is_empty() {
            let mut leftovers = self.leftovers.borrow_mut();
            leftovers.retained.insert(message.topic.as_str().to_owned());
        }
        match client.publish(message).await? {
            Some(reason) if reason.is_error() => Err(Trouble::unpublished(reason)),
            Some(_) => Ok(()),
            None => client.ping().await,
        }
    }

    /// A session with these subscriptions whose client has disconnected.
    pub(super) async fn offline_session(
        &self,
        filters: Vec<SubscribeFilter>,
    ) -> Result<String, Trouble> {
        let identifier = self.identifier();
        let (mut client, _) = self.connect(Ask::session(&identifier)).await?;
        if !filters.is_empty() {
            self.subscribe(&mut client, filters).await?;
        }
        client.disconnect(None).await?;
        Ok(identifier)
    }

    /// Receives a message on a topic of the probe, or returns why this client cannot.
    pub(super) async fn use_topics(&self) -> Result<(), Trouble> {
        let qos = QoS::AtMostOnce;
        let topic = self.topic("use")?;
        let mut client = self.client().await?;
        let filter = SubscribeFilter::new(self.filter("use")?, qos);
        let reasons = client.subscribe(vec![filter], None).await?;
        if let Some(reason) = reasons.into_iter().find(|reason| reason.is_error()) {
            return Err(Trouble::Denied(format!(
                "the server rejects a subscription: {reason}"
            )));
        }
        self.publish_message(&mut client, &Outgoing::new(&topic, b"x", qos))
            .await?;
        match client.message(Instant::now() + self.wait()).await? {
            Some(_) => Ok(()),
            None => Err(Trouble::Silent("message")),
        }
    }

    // ---- the end

    /// Removes the sessions and retained messages, and returns what may be left.
    pub(super) async fn tidy(&self) -> Vec<String> {
        let retained: Vec<_> = self.leftovers.borrow().retained.iter().cloned().collect();
        if !retained.is_empty() {
            // What fails stays among the leftovers.
            let _ = self.clear(&retained).await;
        }
        let sessions: Vec<_> = self.leftovers.borrow().sessions.iter().cloned().collect();
        for session in sessions {
            let removed = async {
                let (client, _) = self.connect(Ask::new(&session)).await?;
                client.disconnect(Some(0)).await
            };
            match removed.await {
                Ok(()) => drop(self.leftovers.borrow_mut().sessions.remove(&session)),
                // The others would only cost time.
                Err(Trouble::Unreachable(_)) => break,
                Err(_) => {}
            }
        }
        self.left()
    }

    /// What was not removed.
    pub(super) fn left(&self) -> Vec<String> {
        let leftovers = self.leftovers.borrow();
        let retained = leftovers.retained.iter();
        let retained = retained.map(|topic| format!("the retained message of {topic}"));
        let sessions = leftovers.sessions.iter();
        let sessions = sessions.map(|session| format!("the session of {session}"));
        retained.chain(sessions).collect()
    }

    async fn clear(&self, topics: &[String]) -> Result<(), Trouble> {
        for text in topics {
            let topic = TopicName::new(text.as_str())
                .map_err(|error| Trouble::NotEncodable(error.to_string()))?;
            let cleared = match self.clear_one(&topic).await {
                Ok(()) => true,
                Err(trouble @ Trouble::Unreachable(_)) => return Err(trouble),
                // A server that rejects what is retained has retained nothing.
                Err(_) => !self.is_retained(text).await?,
            };
            if cleared {
                self.leftovers.borrow_mut().retained.remove(text);
            }
        }
        Ok(())
    }

    async fn clear_one(&self, topic: &TopicName) -> Result<(), Trouble> {
        let mut client = self.client().await?;
        let mut message = Outgoing::new(topic, b"", self.qos());
        message.retain = true;
        self.publish_message(&mut client, &message).await?;
        client.disconnect(None).await
    }

    async fn is_retained(&self, topic: &str) -> Result<bool, Trouble> {
        let filter = SubscribeFilter::new(filter(topic)?, self.qos());
        let mut client = self.subscriber(vec![filter]).await?;
        client.ping().await?;
        let message = client.message(Instant::now() + self.quiet()).await?;
        Ok(message.is_some())
    }
}

/// A filter.
pub(super) fn filter(text: &str) -> Result<TopicFilter, Trouble> {
    TopicFilter::new(text).map_err(|error| Trouble::NotEncodable(error.to_string()))
}

/// Whether all of these were accepted.
fn accepted<'a>(
    mut reasons: impl Iterator<Item = (&'a TopicFilter, SubAckReasonCode)>,
) -> Result<(), Trouble> {
    match reasons.find(|(_, reason)| reason.is_error()) {
        None => Ok(()),
        Some((filter, reason)) => {
            let filter = filter.as_str();
            let text = format!("the server rejects a subscription to {filter}: {reason}");
            Err(Trouble::unsubscribed(reason, text))
        }
    }
}

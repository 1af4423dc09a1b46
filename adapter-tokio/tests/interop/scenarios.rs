//! What every broker is tried with, in each version that it serves, while the linter looks at what
//! the client sends.

mod messages;
mod sessions;
mod subscriptions;

use crate::flaws::Flaw;
use crate::peers::{Peer, in_time};
use bytes::Bytes;
use martlet_tests::linter::Relay;
use martlet_tokio::{
    Builder, Client, Message, PacketLogger, QoS, Reconnect, Subscription, Version,
    session::CleanStart,
};
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A broker that runs, and the linter before it.
#[derive(Debug)]
pub(crate) struct Broker {
    relay: Relay,
    /// Whom it lets in.
    user: Option<(&'static str, &'static str)>,
    flaws: &'static [Flaw],
    _peer: Peer,
}

impl Broker {
    /// The one behind a port of this peer.
    pub(crate) fn new(peer: Peer, port: usize, flaws: &'static [Flaw]) -> Self {
        let relay =
            Relay::start((Ipv4Addr::LOCALHOST, peer.ports[port]).into()).expect("a free port");
        Self {
            relay,
            user: None,
            flaws,
            _peer: peer,
        }
    }

    pub(crate) fn user(self, name: &'static str, password: &'static str) -> Self {
        Self {
            user: Some((name, password)),
            ..self
        }
    }

    #[expect(
        clippy::print_stdout,
        reason = "the harness keeps it, and shows it where a test fails"
    )]
    fn builder(&self) -> Builder {
        let builder = Client::builder(format!("mqtt://{}", self.relay.address()));
        let builder = match self.user {
            Some((name, password)) => builder.credentials(name, password),
            None => builder,
        };
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = COUNT.fetch_add(1, Ordering::Relaxed).to_string();
        let builder = builder.observer(PacketLogger::new(name, |line| println!("{line}")));
        builder.reconnect(
            Reconnect::default()
                .initial(Duration::from_millis(20))
                .max(Duration::from_millis(100)),
        )
    }
}

/// Goes through everything with this broker in these versions, to the end whatever fails.
///
/// # Panics
/// With what has failed, and with what the linter has found.
pub(crate) async fn everything(broker: Broker, versions: &[Version]) {
    let broker = Arc::new(broker);
    let mut failed = Vec::new();
    for &version in versions {
        for (name, scenario) in SCENARIOS {
            let what = format!("{version}: {name}");
            // One that has failed may have left some.
            broker.relay.cut_after([]);
            let place = Place {
                broker: Arc::clone(&broker),
                version,
            };
            let in_time = |what: String| async move { in_time(&what, scenario(place)).await };
            // A task of its own keeps a panic to itself.
            if tokio::spawn(in_time(what.clone())).await.is_err() {
                failed.push(format!("{what}: failed, see above"));
            }
        }
    }
    // Without a version the client speaks the newest of them.
    if !broker.flaws.contains(&Flaw::SilentToOtherVersions) {
        let negotiated = connect(broker.builder()).await;
        let version = negotiated.connection().expect("connected").version;
        failed.extend(
            (version != versions[versions.len() - 1]).then(|| format!("{version} was negotiated")),
        );
        disconnect(negotiated).await;
    }
    failed.extend(broker.relay.findings().iter().map(ToString::to_string));
    assert!(
        broker.relay.connections() > 0,
        "nobody came through the linter"
    );
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

/// Where a scenario plays.
struct Place {
    broker: Arc<Broker>,
    version: Version,
}

impl Place {
    fn has(&self, flaw: Flaw) -> bool {
        self.broker.flaws.contains(&flaw)
    }

    /// A builder of a client of its own.
    fn builder(&self) -> Builder {
        let builder = self.broker.builder().version(self.version);
        if self.has(Flaw::OneAliasForAFilter) {
            return builder.topic_alias_maximum(0);
        }
        builder
    }

    /// What is tried, from the lowest.
    fn qos(&self) -> &'static [QoS] {
        if self.has(Flaw::NoQos2) {
            &QOS[..2]
        } else {
            &QOS
        }
    }

    /// The highest of them.
    fn highest_qos(&self) -> QoS {
        self.qos()[self.qos().len() - 1]
    }

    /// A client whose session the broker keeps, however bad the network; its name has no slashes.
    fn persistent(&self, name: &str) -> Builder {
        let name = self.own(name).replace('/', "");
        let builder = self.builder().client_identifier(&name);
        builder
            .clean_start(CleanStart::Never)
            .session_expiry_interval(3600)
            .max_request_losses(u32::MAX)
    }

    /// A name that no other version's run has. It has no dots: RabbitMQ takes them for slashes.
    fn own(&self, name: &str) -> String {
        let version = match self.version {
            Version::V3_1 => "v31",
            Version::V3_1_1 => "v311",
            Version::V5 => "v5",
        };
        format!("{version}/{name}")
    }
}

async fn connect(builder: Builder) -> Client {
    martlet_tokio::connect_with(builder)
        .await
        .expect("a connection")
}

async fn subscribe(client: &Client, filter: &str, qos: QoS) -> Subscription {
    let subscribe = client.subscribe(filter).qos(qos);
    subscribe.await.expect("a subscription")
}

/// Publishes, and waits for the last answer of the QoS.
async fn publish(client: &Client, topic: &str, payload: impl Into<Bytes>, qos: QoS) {
    let publish = client.publish(topic, payload).qos(qos);
    publish.await.expect("acknowledged");
}

async fn next(messages: &mut Subscription) -> Message {
    messages.next().await.expect("the stream goes on")
}

async fn next_text(messages: &mut Subscription) -> String {
    next(messages).await.text().expect("text").to_owned()
}

async fn disconnect(client: Client) {
    client.disconnect().await;
}

type Scenario = fn(Place) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! scenarios {
    ($($family:ident::$name:ident)*) => {
        &[$((stringify!($name), |place| Box::pin($family::$name(place)))),*]
    };
}

const SCENARIOS: &[(&str, Scenario)] = scenarios! {
    sessions::sessions_are_clean_or_resumed
    messages::messages_of_each_qos_cross_at_once
    messages::retained_messages_come_and_are_cleared
    sessions::a_will_is_published_when_a_client_breaks_off_and_only_then
    subscriptions::what_is_unsubscribed_comes_no_more
    messages::large_payloads_arrive_as_they_were_sent
    sessions::each_message_arrives_once_through_cuts
    subscriptions::shared_subscriptions_share
    subscriptions::subscription_identifiers_tell_streams_apart
    subscriptions::options_of_subscriptions_are_kept
    messages::topic_aliases_are_used_and_understood
    messages::properties_arrive_and_requests_are_answered
};

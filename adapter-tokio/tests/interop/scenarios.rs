//! What every broker is tried with, in each version that it serves, while the linter looks at what
//! the client sends.

use crate::flaws::Flaw;
use crate::peers::{Peer, in_time};
use martlet_tests::linter::Relay;
use martlet_tokio::Reconnect;
use martlet_tokio::hooks::Observer;
use martlet_tokio::proto::{BinaryData, Packet, RetainHandling, Utf8String};
use martlet_tokio::session::CleanStart;
use martlet_tokio::{Builder, Client, Message, PacketLogger, PublishProperties, QoS, Subscription};
use martlet_tokio::{Tokio, TopicName, Version, Will, session::Instant};
use std::collections::{BTreeMap, BTreeSet};
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
    ($($name:ident)*) => { &[$((stringify!($name), |place| Box::pin($name(place)))),*] };
}

const SCENARIOS: &[(&str, Scenario)] = scenarios! {
    sessions_are_clean_or_resumed
    messages_of_each_qos_cross_at_once
    retained_messages_come_and_are_cleared
    a_will_is_published_when_a_client_breaks_off_and_only_then
    what_is_unsubscribed_comes_no_more
    large_payloads_arrive_as_they_were_sent
    each_message_arrives_once_through_cuts
    shared_subscriptions_share
    subscription_identifiers_tell_streams_apart
    options_of_subscriptions_are_kept
    topic_aliases_are_used_and_understood
    properties_arrive_and_requests_are_answered
};

async fn sessions_are_clean_or_resumed(place: Place) {
    let client = connect(place.builder()).await;
    assert!(!client.connection().expect("connected").session_present);
    client.ping().await.expect("an answer");
    disconnect(client).await;

    let topics = [
        (place.own("away/1"), QoS::AtLeastOnce),
        (place.own("away/2"), place.highest_qos()),
    ];
    let client = connect(place.persistent("away")).await;
    let messages = client
        .subscribe_all(topics.clone())
        .await
        .expect("a subscription");
    // The streams are dropped after the client has disconnected: nothing is unsubscribed.
    client.disconnect().await;
    drop((messages, client));
    let publisher = connect(place.builder()).await;
    for text in ["1", "2", "3"] {
        for (topic, qos) in &topics {
            publisher
                .publish(&**topic, text)
                .qos(*qos)
                .await
                .expect("settled");
        }
    }
    disconnect(publisher).await;

    let (client, driver) = place.persistent("away").build(Tokio).expect("a client");
    let mut messages = client.catch_all().expect("nobody has it");
    tokio::spawn(driver);
    assert!(
        client
            .connected()
            .await
            .expect("a connection")
            .session_present
    );
    let mut arrived: BTreeMap<(String, QoS), Vec<String>> = BTreeMap::new();
    for _ in 0..6 {
        let message = next(&mut messages).await;
        let text = message.text().expect("text").to_owned();
        arrived
            .entry((message.topic().to_owned(), message.qos()))
            .or_default()
            .push(text);
    }
    let expected = topics.map(|topic| (topic, ["1", "2", "3"].map(str::to_owned).to_vec()));
    assert_eq!(arrived, BTreeMap::from(expected));

    // A clean start forgets it all.
    disconnect(client).await;
    drop(messages);
    let client = connect(place.persistent("away").clean_start(CleanStart::First)).await;
    assert!(!client.connection().expect("connected").session_present);
    disconnect(client).await;
}

async fn messages_of_each_qos_cross_at_once(place: Place) {
    const MANY: usize = 100;
    let subscriber = connect(place.builder()).await;
    let (filter, highest) = (place.own("each/+"), place.highest_qos());
    let mut messages = subscriber
        .subscribe(&*filter)
        .qos(highest)
        .await
        .expect("a subscription");
    let publisher = connect(place.builder()).await;
    let topics = place
        .qos()
        .iter()
        .map(|&qos| (place.own(&format!("each/{}", qos as u8)), qos));
    let topics: BTreeMap<String, QoS> = topics.collect();
    let publishing = topics.clone().into_iter().map(|(topic, qos)| {
        let publisher = publisher.clone();
        tokio::spawn(async move {
            let mut receipts = Vec::new();
            for n in 0..MANY {
                let publish = publisher.publish(&*topic, n.to_string()).qos(qos);
                receipts.push(publish.enqueue().await.expect("accepted"));
            }
            for receipt in receipts {
                receipt.await.expect("settled");
            }
        })
    });
    let publishing: Vec<_> = publishing.collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..MANY * topics.len() {
        let message = next(&mut messages).await;
        let (topic, &qos) = topics
            .get_key_value(message.topic())
            .expect("one of the topics");
        let count = counts.entry(topic).or_default();
        let qos = if place.has(Flaw::QosOfSubscription) {
            highest
        } else {
            qos
        };
        assert_eq!(
            (message.text(), message.qos()),
            (Some(&*count.to_string()), qos),
            "{topic}"
        );
        *count += 1;
    }
    for publishing in publishing {
        publishing.await.expect("all are settled");
    }
    assert_eq!((publisher.in_flight(), publisher.queued()), (0, 0));
    disconnect(publisher).await;
    disconnect(subscriber).await;
}

async fn retained_messages_come_and_are_cleared(place: Place) {
    if place.has(Flaw::RetainsLater) {
        return;
    }
    let client = connect(place.builder()).await;
    let topic = place.own("retained/one");
    let filter = if place.has(Flaw::NoRetainedForWildcards) {
        topic.clone()
    } else {
        place.own("retained/+")
    };
    for &qos in place.qos() {
        client
            .publish(&*topic, "before")
            .qos(qos)
            .retain(true)
            .await
            .expect("settled");
        // At QoS 0 this is how to know that it has come.
        client.ping().await.expect("an answer");
        let mut messages = client
            .subscribe(&*filter)
            .qos(qos)
            .await
            .expect("a subscription");
        let message = next(&mut messages).await;
        assert_eq!(
            (message.topic(), message.text(), message.retain()),
            (&*topic, Some("before"), true)
        );
        client
            .publish(&*topic, "after")
            .qos(qos)
            .retain(true)
            .await
            .expect("settled");
        let message = next(&mut messages).await;
        assert_eq!((message.text(), message.retain()), (Some("after"), false));
        // An empty one clears.
        client
            .publish(&*topic, "")
            .qos(qos)
            .retain(true)
            .await
            .expect("settled");
        assert_eq!(next(&mut messages).await.payload(), b"");
        messages.unsubscribe().await.expect("an answer");
        let mut messages = client
            .subscribe(&*filter)
            .qos(qos)
            .await
            .expect("a subscription");
        client
            .publish(&*topic, "fence")
            .qos(qos)
            .await
            .expect("settled");
        assert_eq!(
            next_text(&mut messages).await,
            "fence",
            "nothing is retained any more"
        );
        messages.unsubscribe().await.expect("an answer");
    }
    disconnect(client).await;
}

fn will(topic: &str, text: &str) -> Will {
    Will {
        topic: TopicName::new(topic).expect("a topic name"),
        payload: BinaryData::new(text.to_owned()).expect("short"),
        qos: QoS::AtLeastOnce,
        retain: false,
        delay_interval: None,
        properties: Default::default(),
    }
}

async fn a_will_is_published_when_a_client_breaks_off_and_only_then(place: Place) {
    let witness = connect(place.builder()).await;
    let filter = place.own("will/+");
    let mut wills = witness
        .subscribe(&*filter)
        .qos(QoS::AtLeastOnce)
        .await
        .expect("a subscription");
    let topic = place.own("will/said");
    disconnect(connect(place.builder().will_message(will(&topic, "polite"))).await).await;
    // The driver is dropped, and the socket with it.
    let rude = place.builder().will_message(will(&topic, "rude"));
    let (rude, driver) = rude.build(Tokio).expect("a client");
    let driver = tokio::spawn(driver);
    rude.connected().await.expect("a connection");
    driver.abort();
    let message = next(&mut wills).await;
    assert_eq!(
        (message.topic(), message.text(), message.qos()),
        (&*topic, Some("rude"), QoS::AtLeastOnce)
    );
    disconnect(witness).await;
}

async fn what_is_unsubscribed_comes_no_more(place: Place) {
    let client = connect(place.builder()).await;
    let mut rest = client.catch_all().expect("nobody has it");
    for &qos in place.qos() {
        let [stays, goes] = ["stays", "goes"].map(|name| place.own(&format!("unsubscribe/{name}")));
        let mut staying = client
            .subscribe(&*stays)
            .qos(qos)
            .await
            .expect("a subscription");
        let going = client
            .subscribe(&*goes)
            .qos(qos)
            .await
            .expect("a subscription");
        going.unsubscribe().await.expect("an answer");
        for topic in [&goes, &stays] {
            client
                .publish(&**topic, "x")
                .qos(qos)
                .await
                .expect("settled");
        }
        assert_eq!(next(&mut staying).await.topic(), stays);
        staying.unsubscribe().await.expect("an answer");
        assert!(rest.try_next().is_none());
    }
    disconnect(client).await;
}

async fn large_payloads_arrive_as_they_were_sent(place: Place) {
    let client = connect(place.builder()).await;
    // No period that a buffer's size could hide.
    let payload: Vec<u8> = (0..300_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let topic = place.own("large");
    for &qos in place.qos() {
        let mut messages = client
            .subscribe(&*topic)
            .qos(qos)
            .await
            .expect("a subscription");
        client
            .publish(&*topic, payload.clone())
            .qos(qos)
            .await
            .expect("settled");
        let message = next(&mut messages).await;
        assert!(
            message.payload() == payload,
            "{qos}: {} bytes",
            message.payload().len()
        );
        messages.unsubscribe().await.expect("an answer");
    }
    disconnect(client).await;
}

/// Both the publisher's connection and the subscriber's are cut again and again, in the middle of
/// packets and of QoS 2 flows. Both have sessions.
async fn each_message_arrives_once_through_cuts(place: Place) {
    const MANY: usize = 600;
    const CUTS: usize = 24;
    let topic = place.own("cut");
    let qos = if place.has(Flaw::ForgetsQos2Flows) {
        QoS::AtLeastOnce
    } else {
        place.highest_qos()
    };
    let subscriber = connect(place.persistent("cutto")).await;
    let mut messages = subscriber
        .subscribe(&*topic)
        .qos(qos)
        .await
        .expect("a subscription");
    let publisher = connect(place.persistent("cutfrom")).await;
    if place.has(Flaw::NoSessionOfPublishers) {
        publisher
            .subscribe(&*place.own("nothing"))
            .await
            .expect("a subscription")
            .detach();
    }
    let relay = &place.broker.relay;
    let before = relay.connections();
    // No packet has such a length: they fall on everything.
    relay.cut_after((0..CUTS).map(|n| 503 + 227 * n));
    relay.cut();

    let mut publishing = tokio::spawn({
        let (publisher, topic) = (publisher.clone(), topic.clone());
        async move {
            let mut receipts = Vec::new();
            for n in 0..MANY {
                let publish = publisher.publish(&*topic, format!("{n:050}")).qos(qos);
                receipts.push(publish.enqueue().await.expect("accepted"));
            }
            for (n, receipt) in receipts.into_iter().enumerate() {
                receipt
                    .await
                    .unwrap_or_else(|error| panic!("message {n}: {error}"));
            }
            publisher
                .publish(&*topic, format!("{MANY:050}"))
                .qos(qos)
                .await
                .expect("settled");
        }
    });
    if place.has(Flaw::LosesDeliveries) {
        tokio::select! {
            () = async { while messages.next().await.is_some() {} } => panic!("the stream has ended"),
            published = &mut publishing => published.expect("all are settled"),
        }
    } else if place.has(Flaw::ResendsLater) {
        let mut arrived = BTreeSet::new();
        while arrived.len() <= MANY {
            let n: usize = next_text(&mut messages).await.parse().expect("a number");
            assert!(
                arrived.insert(n) || qos != QoS::ExactlyOnce,
                "message {n} came twice"
            );
        }
        publishing.await.expect("all are settled");
    } else {
        let mut expected = 0;
        while expected <= MANY {
            let n: usize = next_text(&mut messages).await.parse().expect("a number");
            // At QoS 1 what has come may come again.
            if qos == QoS::ExactlyOnce || n >= expected {
                assert_eq!(n, expected, "the next one, and no other");
                expected += 1;
            }
        }
        publishing.await.expect("all are settled");
    }
    let was_cut = relay.connections() - before > CUTS || place.has(Flaw::LosesDeliveries);
    assert!(was_cut, "all cuts were made");
    assert_eq!((publisher.in_flight(), publisher.queued()), (0, 0));
    disconnect(publisher).await;
    disconnect(subscriber).await;
}

async fn shared_subscriptions_share(place: Place) {
    const MANY: usize = 40;
    let publisher = connect(place.builder()).await;
    if !publisher
        .connection()
        .expect("connected")
        .limits
        .shared_subscription_available
        || place.version != Version::V5
    {
        return disconnect(publisher).await;
    }
    let (filter, topic) = (place.own("shared/+"), place.own("shared/one"));
    let filter = format!("$share/group/{filter}");
    let [one, two] = [
        connect(place.builder()).await,
        connect(place.builder()).await,
    ];
    let mut at_one = one
        .subscribe(&*filter)
        .qos(QoS::AtLeastOnce)
        .await
        .expect("a subscription");
    let mut at_two = two
        .subscribe(&*filter)
        .qos(QoS::AtLeastOnce)
        .await
        .expect("a subscription");
    for n in 0..MANY {
        publisher
            .publish(&*topic, n.to_string())
            .qos(QoS::AtLeastOnce)
            .await
            .expect("settled");
    }
    let mut arrived = Vec::new();
    while arrived.len() < MANY {
        let text = tokio::select! {
            text = next_text(&mut at_one) => text,
            text = next_text(&mut at_two) => text,
        };
        arrived.push(text.parse::<usize>().expect("a number"));
    }
    // What came to both would have come by now.
    for client in [&one, &two] {
        client.ping().await.expect("an answer");
    }
    assert!(at_one.try_next().is_none() && at_two.try_next().is_none());
    arrived.sort_unstable();
    assert!(arrived.into_iter().eq(0..MANY));
    for client in [one, two, publisher] {
        disconnect(client).await;
    }
}

async fn subscription_identifiers_tell_streams_apart(place: Place) {
    if place.version != Version::V5 {
        return;
    }
    let client = connect(place.builder()).await;
    let available = client
        .connection()
        .expect("connected")
        .limits
        .subscription_identifier_available;
    let (deep, flat) = (place.own("identified/#"), place.own("identified/+"));
    let mut deep = client
        .subscribe(&*deep)
        .qos(QoS::AtLeastOnce)
        .await
        .expect("a subscription");
    let mut flat = client
        .subscribe(&*flat)
        .qos(QoS::AtLeastOnce)
        .await
        .expect("a subscription");
    for n in 0..10 {
        let topic = place.own("identified/one");
        client
            .publish(&*topic, n.to_string())
            .qos(QoS::AtLeastOnce)
            .await
            .expect("settled");
    }
    for n in 0..10 {
        for stream in [&mut deep, &mut flat] {
            let message = next(stream).await;
            assert_eq!(
                message.text(),
                Some(&*n.to_string()),
                "once in each, however often it comes"
            );
            let identifiers = message.properties().subscription_identifiers().count();
            assert_eq!(identifiers > 0, available, "{identifiers} identifiers");
        }
    }
    disconnect(client).await;
}

async fn options_of_subscriptions_are_kept(place: Place) {
    if place.version != Version::V5 {
        return;
    }
    let [client, other] = [
        connect(place.builder()).await,
        connect(place.builder()).await,
    ];
    let topic = place.own("options/one");

    // No Local: what others say only.
    let messages = client
        .subscribe(&*topic)
        .qos(QoS::AtLeastOnce)
        .no_local(true);
    let mut messages = messages.await.expect("a subscription");
    client
        .publish(&*topic, "ours")
        .qos(QoS::AtLeastOnce)
        .await
        .expect("settled");
    if place.has(Flaw::IgnoresOptions) {
        assert_eq!(next_text(&mut messages).await, "ours");
    }
    other
        .publish(&*topic, "theirs")
        .qos(QoS::AtLeastOnce)
        .await
        .expect("settled");
    assert_eq!(next_text(&mut messages).await, "theirs");
    messages.unsubscribe().await.expect("an answer");

    // Retain As Published: the flag stays.
    let messages = client
        .subscribe(&*topic)
        .qos(QoS::AtLeastOnce)
        .retain_as_published(true);
    let mut messages = messages.await.expect("a subscription");
    other
        .publish(&*topic, "kept")
        .qos(QoS::AtLeastOnce)
        .retain(true)
        .await
        .expect("settled");
    let message = next(&mut messages).await;
    let kept = !place.has(Flaw::IgnoresOptions);
    assert_eq!((message.text(), message.retain()), (Some("kept"), kept));
    messages.unsubscribe().await.expect("an answer");

    // Retain Handling: what is retained does not come.
    let messages = client
        .subscribe(&*topic)
        .qos(QoS::AtLeastOnce)
        .retain_handling(RetainHandling::DoNotSend);
    let mut messages = messages.await.expect("a subscription");
    if place.has(Flaw::IgnoresOptions) {
        assert_eq!(next_text(&mut messages).await, "kept");
    }
    other
        .publish(&*topic, "")
        .qos(QoS::AtLeastOnce)
        .retain(true)
        .await
        .expect("settled");
    assert_eq!(next(&mut messages).await.payload(), b"");
    messages.unsubscribe().await.expect("an answer");
    disconnect(other).await;
    disconnect(client).await;
}

/// Counts topic aliases that stand for a topic.
#[derive(Default, Clone)]
struct Aliases(Arc<AtomicUsize>);

impl Observer for Aliases {
    fn packet_sent(&mut self, _at: Instant, packet: &Packet) {
        if let Packet::Publish(publish) = packet {
            let is_alias =
                publish.topic().is_empty() && publish.properties().topic_alias().is_some();
            self.0.fetch_add(usize::from(is_alias), Ordering::Relaxed);
        }
    }

    fn packet_received(&mut self, _at: Instant, _packet: &Packet) {}
}

async fn topic_aliases_are_used_and_understood(place: Place) {
    if place.version != Version::V5 {
        return;
    }
    const MANY: usize = 20;
    let aliases = Aliases::default();
    let publisher = connect(place.builder().observer(aliases.clone())).await;
    let subscriber = connect(place.builder()).await;
    let topics = ["one", "two", "three"]
        .map(|name| place.own(&format!("a/rather/long/topic/aliased/{name}")));
    let filter = place.own("a/rather/long/topic/aliased/+");
    let mut messages = subscriber
        .subscribe(&*filter)
        .qos(QoS::AtLeastOnce)
        .await
        .expect("a subscription");
    for n in 0..MANY {
        for topic in &topics {
            publisher
                .publish(&**topic, n.to_string())
                .qos(QoS::AtLeastOnce)
                .await
                .expect("settled");
        }
    }
    let mut counts = BTreeMap::from(topics.clone().map(|topic| (topic, 0)));
    for _ in 0..MANY * topics.len() {
        let message = next(&mut messages).await;
        let count = counts.get_mut(message.topic()).expect("one of the topics");
        assert_eq!(message.text(), Some(&*count.to_string()));
        *count += 1;
    }
    let allowed = publisher
        .connection()
        .expect("connected")
        .limits
        .topic_alias_maximum;
    assert_eq!(
        aliases.0.load(Ordering::Relaxed) > 0,
        allowed > 0,
        "{allowed} are allowed"
    );
    disconnect(publisher).await;
    disconnect(subscriber).await;
}

async fn properties_arrive_and_requests_are_answered(place: Place) {
    if place.version != Version::V5 {
        return;
    }
    let text = |text: &'static str| Utf8String::from_static(text).expect("text");
    let [client, other] = [
        connect(place.builder()).await,
        connect(place.builder()).await,
    ];
    let (topic, responses) = (place.own("properties"), place.own("responses"));
    let mut messages = client
        .subscribe(&*topic)
        .qos(QoS::AtLeastOnce)
        .await
        .expect("a subscription");
    let properties = PublishProperties::builder()
        .payload_is_utf8(true)
        .message_expiry_interval(1000)
        .content_type(text("text/plain"))
        .response_topic(TopicName::new(&*responses).expect("a topic name"))
        .correlation_data(BinaryData::new(&b"\0\xff"[..]).expect("short"))
        .user_property(text("b"), text("1"))
        .user_property(text("a"), text("2"))
        .user_property(text("b"), text("3"))
        .build();
    other
        .publish(&*topic, "x")
        .qos(QoS::AtLeastOnce)
        .properties(properties)
        .await
        .expect("settled");
    let message = next(&mut messages).await;
    let properties = message.properties();
    assert_eq!(properties.payload_is_utf8(), Some(true));
    assert!(
        properties
            .message_expiry_interval()
            .is_some_and(|seconds| (900..=1000).contains(&seconds))
    );
    assert_eq!(properties.content_type(), Some("text/plain"));
    assert_eq!(properties.response_topic(), Some(&*responses));
    assert_eq!(properties.correlation_data(), Some(&b"\0\xff"[..]));
    assert!(
        properties
            .user_properties()
            .eq([("b", "1"), ("a", "2"), ("b", "3")])
    );

    let answering = async {
        let question = next(&mut messages).await;
        let topic = question
            .properties()
            .response_topic()
            .expect("it is a request")
            .to_owned();
        let data = question
            .properties()
            .correlation_data()
            .expect("it is a request")
            .to_vec();
        let properties =
            PublishProperties::builder().correlation_data(BinaryData::new(data).expect("short"));
        let answer = client
            .publish(&*topic, "yes")
            .qos(QoS::AtLeastOnce)
            .properties(properties.build());
        answer.await.expect("settled");
    };
    let (answer, ()) = tokio::join!(other.request(&*topic, "well?").into_future(), answering);
    assert_eq!(answer.expect("an answer").text(), Some("yes"));
    disconnect(other).await;
    disconnect(client).await;
}

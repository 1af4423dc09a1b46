//! Everything that can be set before a client connects.

pub(crate) mod build;
pub(crate) mod durable;
mod session;
#[cfg(feature = "tls")]
mod tls;

use self::durable::DurableBuilder;
use crate::api::client::Client;
use crate::defaults::PublishDefaults;
use crate::driver::authenticator::Authenticator;
use crate::driver::hooks::BeforeConnect;
use crate::driver::socket::SocketOptions;
use crate::error::ConnectError;
use crate::hub::own::Own;
use crate::link::attempt::Attempt;
use crate::link::observer::Observer;
use crate::link::reconnect::Reconnect;
use crate::link::stage::check_header;
use crate::link::{LinkConfig, VersionChoice};
use crate::store::Store;
use martlet_proto::{
    BinaryData, QoS, TextError, TopicError, TopicFilter, TopicName, Utf8String, Version, Will,
    WillError,
};
use martlet_session::{Config, ConnectOptions, GivenUp, WhenStoreFails};
use martlet_transport::{Endpoint, ProxyUri, Stack, Transport, UriError};
#[cfg(feature = "tls")]
use martlet_transport::{Trust, TrustError, TrustFiles};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Makes an observer, a hook or the like for each client that is built.
type Make<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// Sets up a client. Made by [`Client::builder`]. A clone sets up another that is like it.
///
/// ```
/// # use martlet_client::{Client, ConnectError, QoS};
/// # use std::time::Duration;
/// let builder = Client::builder("mqtt://user:secret@broker.example")
///     .client_identifier("meter-7")
///     .keep_alive(30)
///     .will("meters/7/state", "gone")
///     .connect_timeout(Duration::from_secs(5));
/// builder.check()?; // what is wrong with the settings, before anything is dialled
/// # Ok::<(), ConnectError>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    /// The first setting that is wrong.
    wrong: Option<ConnectError>,
    pub(crate) config: Config,
    /// [`CleanStart`] was set.
    pub(crate) has_clean_start: bool,
    /// Its seed, and what depends on the hooks, are set in the end.
    link: LinkConfig,
    socket: SocketOptions,
    /// Whom TLS trusts if it comes to be spoken and nothing else was said; nothing is read before.
    #[cfg(feature = "tls")]
    trust: Make<Result<Trust, TrustError>>,
    /// What TLS's configuration was read from.
    #[cfg(feature = "tls")]
    trust_files: Option<Box<TrustFiles>>,
    drain: Duration,
    seed: Option<u64>,
    has_client_identifier: bool,
    /// Streams that are dropped leave their subscriptions with the server.
    keep_subscriptions: bool,
    observer: Option<Make<Box<dyn Observer + Send>>>,
    publish_defaults: PublishDefaults,
    subscriptions: Vec<(TopicFilter, QoS)>,
    before_connect: Option<Make<BeforeConnect>>,
    hook_timeout: Duration,
    authenticator: Option<Make<Box<dyn Authenticator>>>,
}

impl Client {
    /// A client of this server, a URI (`mqtt://user:password@host:port`) or an [`Endpoint`], with
    /// everything else at its default. What is wrong with a setting is said by
    /// [`build`](Builder::build), the first of them.
    pub fn builder(server: impl TryInto<Endpoint, Error: Into<UriError>>) -> Builder {
        let (endpoint, wrong) = match server.try_into() {
            Ok(endpoint) => (endpoint, None),
            Err(error) => {
                // One that is never dialled, because no client is built.
                let nowhere = Endpoint::parse("mqtt://localhost").expect("a URI");
                (nowhere, Some(error.into().into()))
            }
        };
        Builder {
            wrong,
            config: Config::default(),
            has_clean_start: false,
            link: LinkConfig::new(endpoint),
            socket: SocketOptions::default(),
            #[cfg(feature = "tls")]
            trust: Arc::new(|| Ok(Trust::new())),
            #[cfg(feature = "tls")]
            trust_files: None,
            drain: Duration::from_secs(5),
            seed: None,
            has_client_identifier: false,
            keep_subscriptions: false,
            observer: None,
            publish_defaults: PublishDefaults::default(),
            subscriptions: Vec::new(),
            before_connect: None,
            hook_timeout: Duration::from_secs(10),
            authenticator: None,
        }
    }
}

impl Builder {
    fn change(&mut self, change: impl FnOnce(Config) -> Config) {
        self.config = change(std::mem::take(&mut self.config));
    }

    fn change_connect(&mut self, change: impl FnOnce(ConnectOptions) -> ConnectOptions) {
        let options = std::mem::replace(&mut self.link.connect, ConnectOptions::new(Version::V5));
        self.link.connect = change(options);
    }

    /// Sets what could be made, or notes what is wrong with it.
    fn set<T>(mut self, value: Result<T, ConnectError>, put: impl FnOnce(&mut Self, T)) -> Self {
        match value {
            Ok(value) => put(&mut self, value),
            Err(error) => drop(self.wrong.get_or_insert(error)),
        }
        self
    }

    /// Adds a server to fail over to. [`build`](Self::build) reports a wrong URI as
    /// [`ConnectError::Uri`].
    pub fn server(self, server: impl TryInto<Endpoint, Error: Into<UriError>>) -> Self {
        let endpoint = server.try_into().map_err(|error| error.into().into());
        self.set(endpoint, |builder, endpoint| {
            builder.link.endpoints.push(endpoint);
        })
    }

    /// Sets the client identifier. Default: `martlet` and 16 random letters and digits. Empty: the
    /// server assigns one. [`build`](Self::build) reports one that is over 65,535 bytes or holds
    /// U+0000 as [`ConnectError::Setting`].
    pub fn client_identifier(
        self,
        identifier: impl TryInto<Utf8String, Error: Into<TextError>>,
    ) -> Self {
        let identifier = setting("client identifier", identifier.try_into());
        self.set(identifier, |builder, identifier| {
            builder.change(|config| config.client_identifier(identifier));
            builder.has_client_identifier = true;
        })
    }

    /// Sets the user name and the password. Those in the URI, if it has any, take precedence.
    /// [`build`](Self::build) reports either over 65,535 bytes, or a user name with U+0000, as
    /// [`ConnectError::Setting`].
    pub fn credentials(
        self,
        user_name: impl TryInto<Utf8String, Error: Into<TextError>>,
        password: impl AsRef<[u8]>,
    ) -> Self {
        self.user_name(user_name).password(password)
    }

    /// Sets the user name alone, as [`credentials`](Self::credentials) does.
    pub fn user_name(self, user_name: impl TryInto<Utf8String, Error: Into<TextError>>) -> Self {
        let user_name = setting("user name", user_name.try_into());
        self.set(user_name, |builder, user_name| {
            builder.change_connect(|options| options.user_name(user_name));
        })
    }

    /// Sets the password alone, as [`credentials`](Self::credentials) does; before MQTT 5 it needs
    /// a user name.
    pub fn password(self, password: impl AsRef<[u8]>) -> Self {
        let password = setting("password", BinaryData::try_from(password.as_ref()));
        self.set(password, |builder, password| {
            builder.change_connect(|options| options.password(password));
        })
    }

    /// Sets the message that the server publishes when the connection breaks: at QoS 0, not
    /// retained. Default: none. [`build`](Self::build) reports a topic that is none, and a payload
    /// over 65,535 bytes, as [`ConnectError::Setting`].
    pub fn will(
        self,
        topic: impl TryInto<TopicName, Error: Into<TopicError>>,
        payload: impl AsRef<[u8]>,
    ) -> Self {
        let will = Will::new(topic, payload.as_ref()).map_err(|error| match error {
            WillError::Topic(error) => ConnectError::Topic {
                what: "will topic",
                error,
            },
            WillError::Payload(error) => ConnectError::Setting {
                what: "will payload",
                error,
            },
        });
        self.set(will, |builder, will| {
            builder.change_connect(|options| options.will(will));
        })
    }

    /// Sets the will as [`will`](Self::will) does, with a QoS, properties and a delay of your own,
    /// or as a retained message.
    pub fn will_message(mut self, mut will: Will) -> Self {
        will.own();
        self.change_connect(|options| options.will(will));
        self
    }

    /// Speaks this version and no other. Default: MQTT 5, and 3.1.1 with a server that does not
    /// know it.
    pub fn version(mut self, version: Version) -> Self {
        self.link.version = VersionChoice::Fixed(version);
        self
    }

    /// Sets when a lost connection is made again. Default: [`Reconnect::default`]: after a random
    /// wait of up to 1 s that doubles up to 60 s, without end.
    pub fn reconnect(mut self, policy: Reconnect) -> Self {
        self.link.reconnect = policy;
        self
    }

    /// Sets how sockets are set up. Default: without delay (`TCP_NODELAY`), all else as the
    /// operating system has it.
    pub fn socket(mut self, options: SocketOptions) -> Self {
        self.socket = options;
        self
    }

    /// Goes to servers through this proxy: `http://host:port` (HTTP CONNECT) or
    /// `socks5://host:port`, perhaps with `user:password@`. The proxy resolves the server's name.
    /// Unix sockets are opened without it. Default: none. A wrong URI is a [`ConnectError::Uri`];
    /// one whose parts cannot be said to a proxy a [`ConnectError::Stack`].
    pub fn proxy(self, uri: &str) -> Self {
        let proxy = self.read_proxy(uri);
        self.set(proxy, |builder, proxy| {
            builder.link.stack.proxy = Some(proxy);
        })
    }

    fn read_proxy(&self, uri: &str) -> Result<ProxyUri, ConnectError> {
        let proxy = ProxyUri::parse(uri)?;
        Transport::new(&Stack::default().proxy(Some(proxy.tunnel(&self.link.endpoints[0]))))?;
        Ok(proxy)
    }

    /// Adds a header to the request that begins a WebSocket connection, such as `Authorization`.
    /// [`build`](Self::build) reports an invalid header, and one that the handshake sets itself, as
    /// [`ConnectError::Stack`].
    pub fn header(self, name: &str, value: &str) -> Self {
        let checked = check_header(name, value).map_err(ConnectError::from);
        self.set(checked, |builder, ()| {
            let header = (name.to_owned(), value.to_owned());
            builder.link.stack.headers.push(header);
        })
    }

    /// Sets how long the handshakes of proxy, TLS and WebSocket may take in all. Default: 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.link.handshake_timeout = timeout;
        self
    }

    /// Sets how long resolving the name and opening the socket may take in all. Default: 10 s.
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.link.dial_timeout = timeout;
        self
    }

    /// Sets how long what was published may take to be acknowledged when the client disconnects.
    /// Default: 5 s.
    pub fn drain(mut self, time: Duration) -> Self {
        self.drain = time;
        self
    }

    /// Sets the seed of everything random: the client identifier, the waits between attempts and
    /// the correlation data of requests. Two processes with the same seed have the same; it is for
    /// tests. Default: a new one for each client.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets what a publish uses when it does not say: a QoS, whether it is retained, and that for
    /// single topics.
    pub fn publish_defaults(mut self, defaults: PublishDefaults) -> Self {
        self.publish_defaults = defaults;
        self
    }

    /// Subscribes to these filters as soon as there is a connection. Their messages come to
    /// [`Client::unmatched`], the server's answer as
    /// [`ClientEvent::Subscribed`](crate::ClientEvent::Subscribed); where there is none, they are
    /// asked for again. Streams on the same filters
    /// have them too, and the subscriptions outlive those: only [`Client::unsubscribe`] ends them.
    /// [`build`](Self::build) reports a filter that is none as [`ConnectError::Topic`].
    pub fn subscriptions<F>(self, subscriptions: impl IntoIterator<Item = (F, QoS)>) -> Self
    where
        F: TryInto<TopicFilter, Error: Into<TopicError>>,
    {
        subscriptions
            .into_iter()
            .fold(self, |builder, (filter, qos)| {
                let filter = filter.try_into().map_err(|error| ConnectError::Topic {
                    what: "topic filter",
                    error: error.into(),
                });
                builder.set(filter, |builder, mut filter| {
                    filter.own();
                    builder.subscriptions.push((filter, qos));
                })
            })
    }

    /// Shows every packet and every event to this observer, such as a
    /// [`PacketLogger`](crate::PacketLogger). Each client that is built has a clone of it.
    pub fn observer(mut self, observer: impl Observer + Clone + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(move || Box::new(observer.clone())));
        self
    }

    /// Asks this hook before each attempt to connect: it may change where the attempt goes and what
    /// its CONNECT says, as with a fresh token. It may await, but must not block; the driver polls
    /// it, outside its lock. An error counts as a failed attempt; whether there is another is the
    /// hook's to say ([`GivenUp`]), and the reconnect policy's. Default: none.
    ///
    /// With a hook, a [permanent error](crate::reconnect::ErrorClass::Permanent) of a server, as
    /// because of the credentials (0x86, 0x87), counts as such only from the second in a row on:
    /// the hook sees why as [`Attempt::last_error`], and may give others or go elsewhere. The very
    /// first attempt's failure ends the client, unless the policy has `retry_first`.
    ///
    /// A hook that panics fails the attempt, and
    /// [`ClientEvent::HookPanicked`](crate::ClientEvent::HookPanicked) reports it. Each client that
    /// is built has a clone of it.
    ///
    /// ```
    /// # use martlet_client::{Client, ConnectError, hooks::GivenUp};
    /// # async fn fresh_token() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// let builder = Client::builder("mqtt://broker.example").before_connect(|mut attempt| async move {
    ///     let token = fresh_token().await.map_err(GivenUp::for_now)?;
    ///     attempt.set_credentials("device-7", token)?;
    ///     Ok(attempt)
    /// });
    /// # Ok::<(), ConnectError>(())
    /// ```
    pub fn before_connect<F, A>(mut self, hook: F) -> Self
    where
        F: FnMut(Attempt) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Result<Attempt, GivenUp>> + Send + 'static,
    {
        self.before_connect = Some(Arc::new(move || {
            let mut hook = hook.clone();
            Box::new(move |attempt| Box::pin(hook(attempt)))
        }));
        self
    }

    /// Sets how long hooks may take to prepare an attempt:
    /// [`before_connect`](Self::before_connect), and an authenticator's first data. Default: 10 s.
    pub fn hook_timeout(mut self, timeout: Duration) -> Self {
        self.hook_timeout = timeout;
        self
    }

    /// Authenticates by this method of enhanced authentication (MQTT 5 §4.12). A server that knows
    /// no MQTT 5 is not connected to then. A permanent error counts from the second in a row on,
    /// and panics are caught, as with [`before_connect`](Self::before_connect). Default: none.
    /// Each client that is built has a clone of it.
    pub fn authenticator(
        mut self,
        authenticator: impl Authenticator + Clone + Sync + 'static,
    ) -> Self {
        self.authenticator = Some(Arc::new(move || Box::new(authenticator.clone())));
        self
    }

    /// Keeps the session in this store: what was published with QoS 1 and 2 and accepted, and what
    /// was received with QoS 2, survives the process. A PUBLISH above QoS 0 leaves when it is
    /// stored. The client identifier is stored too: one that is generated is so once for each
    /// store.
    ///
    /// Set everything else before: the [`DurableBuilder`] that this returns is only to be built, and
    /// its driver spawned by you, since reading the store blocks.
    ///
    /// When a message of QoS 1 or 2 survives a crash:
    ///
    /// | | is ready | the message is stored |
    /// |---|---|---|
    /// | [`publish`](Client::publish)`().await` | when the server has acknowledged it | yes, before it was sent |
    /// | [`enqueue`](crate::client::PublishBuilder::enqueue)`().await` | when it is stored | yes |
    /// | [`try_enqueue`](crate::client::PublishBuilder::try_enqueue) | at once | when [`Receipt::stored`](crate::Receipt::stored) says so |
    ///
    /// A message of QoS 0 is never stored.
    ///
    /// ```no_run
    /// # use martlet_client::{Client, ClientEvent, runtime::Runtime, store::MemoryStore};
    /// # async fn example<R: Runtime + Unpin>(runtime: R, spawn: impl FnOnce(martlet_client::Driver<R>)) -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = MemoryStore::new();
    /// // With the feature `redb`: let store = RedbStore::open("outbox.redb")?;
    /// let (client, driver) = Client::builder("mqtt://localhost").client_identifier("meter-7").store(store).build(runtime)?;
    /// let mut events = client.events(); // before the driver runs: it first tells what was in the store
    /// spawn(driver);
    /// while let Some(event) = events.next().await {
    ///     if let ClientEvent::Published { operation, result } = event {
    ///         println!("message {} of an earlier process: {result:?}", operation.get());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn store(self, store: impl Store + 'static) -> DurableBuilder {
        DurableBuilder {
            builder: self,
            store: Box::new(store),
            when_store_fails: WhenStoreFails::default(),
        }
    }
}

fn setting<T>(
    what: &'static str,
    value: Result<T, impl Into<TextError>>,
) -> Result<T, ConnectError> {
    value.map_err(|error| ConnectError::Setting {
        what,
        error: error.into(),
    })
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("endpoints", &self.link.endpoints)
            .field("version", &self.link.version)
            .field("config", &self.config)
            .field("connect", &self.link.connect)
            .field("reconnect", &self.link.reconnect)
            .field("dial_timeout", &self.link.dial_timeout)
            .field("handshake_timeout", &self.link.handshake_timeout)
            .finish_non_exhaustive()
    }
}

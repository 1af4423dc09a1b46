//! Everything that can be set before a client connects.

use crate::authenticator::Authenticator;
use crate::client::Client;
use crate::defaults::PublishDefaults;
use crate::driver::Driver;
use crate::error::ConnectError;
use crate::hooks::{Attempt, BeforeConnect, Hooks};
use crate::link::{Link, LinkConfig, PATIENCE, VersionChoice};
use crate::observer::Observer;
use crate::own::Own;
use crate::reconnect::{Reconnect, SplitMix, random_seed};
use crate::runtime::Runtime;
use crate::shared::Shared;
use crate::socket::SocketOptions;
use crate::stage::{StackConfig, check_header};
use crate::store::{DurableBuilder, Store};
use martlet_proto::{BinaryData, QoS, Subscription, TopicFilter, Utf8String, Version, Will};
use martlet_session::{Config, ConnectOptions, GivenUp, Session};
use martlet_transport::{Endpoint, ProxyUri, Stack, Transport};
#[cfg(feature = "tls")]
use martlet_transport::{TlsConfig, Trust, TrustError};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Sets up a client. Made by [`Client::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    endpoints: Vec<Endpoint>,
    pub(crate) config: Config,
    /// Clean start was set.
    pub(crate) clean_start: bool,
    connect: ConnectOptions,
    version: VersionChoice,
    reconnect: Reconnect,
    socket: SocketOptions,
    stack: StackConfig,
    /// Whom TLS trusts if it comes to be spoken and nothing else was said; nothing is read before.
    #[cfg(feature = "tls")]
    trust: Box<dyn FnOnce() -> Result<TlsConfig, TrustError> + Send>,
    dial_timeout: Duration,
    handshake_timeout: Duration,
    drain: Duration,
    seed: Option<u64>,
    client_identifier: bool,
    observer: Option<Box<dyn Observer + Send>>,
    publish_defaults: PublishDefaults,
    subscriptions: Vec<(TopicFilter, QoS)>,
    before_connect: Option<BeforeConnect>,
    hook_timeout: Duration,
    authenticator: Option<Box<dyn Authenticator>>,
}

impl Client {
    /// A client of the server at this URI (`mqtt://user:password@host:port`), with everything else at its default.
    ///
    /// # Errors
    /// [`ConnectError::Uri`] when the URI is wrong.
    pub fn builder(uri: &str) -> Result<Builder, ConnectError> {
        Ok(Builder {
            endpoints: vec![Endpoint::parse(uri)?],
            config: Config::default(),
            clean_start: false,
            connect: ConnectOptions::new(Version::V5),
            version: VersionChoice::Negotiate,
            reconnect: Reconnect::default(),
            socket: SocketOptions::default(),
            stack: StackConfig::default(),
            #[cfg(feature = "tls")]
            trust: Box::new(|| Trust::new().build()),
            dial_timeout: PATIENCE,
            handshake_timeout: PATIENCE,
            drain: Duration::from_secs(5),
            seed: None,
            client_identifier: false,
            observer: None,
            publish_defaults: PublishDefaults::default(),
            subscriptions: Vec::new(),
            before_connect: None,
            hook_timeout: Duration::from_secs(10),
            authenticator: None,
        })
    }
}

impl Builder {
    /// Adds a server to fail over to.
    ///
    /// # Errors
    /// [`ConnectError::Uri`] when the URI is wrong.
    pub fn server(mut self, uri: &str) -> Result<Self, ConnectError> {
        self.endpoints.push(Endpoint::parse(uri)?);
        Ok(self)
    }

    /// Sets the client identifier. Default: `martlet` and 16 random letters and digits. Empty: the server assigns one.
    ///
    /// # Errors
    /// [`ConnectError::Setting`] when it is too long or holds U+0000.
    pub fn client_identifier(mut self, identifier: &str) -> Result<Self, ConnectError> {
        self.config.client_identifier = setting("client identifier", identifier.try_into())?;
        self.client_identifier = true;
        Ok(self)
    }

    /// Sets who we are; the URI's user name and password, if it has any, take its place.
    ///
    /// # Errors
    /// [`ConnectError::Setting`] when one is too long or the name holds U+0000.
    pub fn credentials(self, user_name: &str, password: impl AsRef<[u8]>) -> Result<Self, ConnectError> {
        self.user_name(user_name)?.password(password)
    }

    /// Sets the user name alone, as [`credentials`](Self::credentials) does.
    ///
    /// # Errors
    /// [`ConnectError::Setting`] when it is too long or holds U+0000.
    pub fn user_name(mut self, user_name: &str) -> Result<Self, ConnectError> {
        self.connect.user_name = Some(setting("user name", Utf8String::try_from(user_name))?);
        Ok(self)
    }

    /// Sets the password alone, as [`credentials`](Self::credentials) does; before MQTT 5 it needs a user name.
    ///
    /// # Errors
    /// [`ConnectError::Setting`] when it is too long.
    pub fn password(mut self, password: impl AsRef<[u8]>) -> Result<Self, ConnectError> {
        self.connect.password = Some(setting("password", BinaryData::try_from(password.as_ref()))?);
        Ok(self)
    }

    /// Sets the message that the server publishes when the connection breaks. Default: none.
    pub fn will(mut self, will: Will) -> Self {
        self.connect.will = Some(Box::new(will));
        self
    }

    /// Speaks this version and no other. Default: MQTT 5, and 3.1.1 with a server that does not know it.
    pub fn version(mut self, version: Version) -> Self {
        self.version = VersionChoice::Fixed(version);
        self
    }

    /// Sets whether the first connection begins a new session. Default: true, or false with a
    /// [`store`](Self::store).
    pub fn clean_start(mut self, clean: bool) -> Self {
        self.config.clean_start = clean;
        self.clean_start = true;
        self
    }

    /// Sets the keep alive, in seconds; 0 turns it off. Default: 60.
    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.config.keep_alive = seconds;
        self
    }

    /// Changes anything of the session's configuration: windows, queues, limits, deadlines.
    pub fn session(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Sets when a lost connection is made again.
    pub fn reconnect(mut self, change: impl FnOnce(&mut Reconnect)) -> Self {
        change(&mut self.reconnect);
        self
    }

    /// Changes how sockets are set up.
    pub fn socket(mut self, change: impl FnOnce(&mut SocketOptions)) -> Self {
        change(&mut self.socket);
        self
    }

    /// Sets whom TLS trusts, and who we are to it. Default: the certificate authorities of the operating system, and no
    /// client certificate. This reads the files that it names.
    ///
    /// # Errors
    /// [`ConnectError::Trust`] says what is wrong, with which file.
    #[cfg(feature = "tls")]
    pub fn trust(mut self, trust: &Trust) -> Result<Self, ConnectError> {
        self.stack.tls = Some(Ok(trust.build()?));
        Ok(self)
    }

    /// Sets what [`trust`](Self::trust) does, where a server that is spoken to over TLS may come up only later.
    #[cfg(feature = "tls")]
    pub(crate) fn trust_if_needed(
        mut self,
        read: impl FnOnce() -> Result<TlsConfig, TrustError> + Send + 'static,
    ) -> Self {
        self.trust = Box::new(read);
        self
    }

    /// Sets the configuration of TLS, such as one that [`rustls`](crate::rustls) made; it takes the place of [`trust`](Self::trust).
    #[cfg(feature = "tls")]
    pub fn tls_config(mut self, config: TlsConfig) -> Self {
        self.stack.tls = Some(Ok(config));
        self
    }

    /// Goes to servers through this proxy: `http://host:port` (HTTP CONNECT) or `socks5://host:port`, perhaps with
    /// `user:password@`. The proxy resolves the server's name. Unix sockets are opened without it. Default: none.
    ///
    /// # Errors
    /// [`ConnectError::Uri`] when the URI is wrong; [`ConnectError::Stack`] when its parts cannot be said to a proxy.
    pub fn proxy(mut self, uri: &str) -> Result<Self, ConnectError> {
        let proxy = ProxyUri::parse(uri)?;
        let tunnel = Some(proxy.tunnel(&self.endpoints[0]));
        Transport::new(&Stack { proxy: tunnel, ..Stack::default() }, 0)?;
        self.stack.proxy = Some(proxy);
        Ok(self)
    }

    /// Adds a header to the request that begins a WebSocket connection, such as `Authorization`.
    ///
    /// # Errors
    /// [`ConnectError::Stack`] when it is none, or one that the handshake sets itself.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, ConnectError> {
        check_header(name, value)?;
        self.stack.headers.push((name.to_owned(), value.to_owned()));
        Ok(self)
    }

    /// Sets how long the handshakes of proxy, TLS and WebSocket may take in all. Default: 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Sets how long resolving the name and opening the socket may take in all. Default: 10 s.
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial_timeout = timeout;
        self
    }

    /// Sets how long what was published may take to be settled when the client disconnects. Default: 5 s.
    pub fn drain(mut self, time: Duration) -> Self {
        self.drain = time;
        self
    }

    /// Sets the seed of everything random: the client identifier and the waits between attempts. Default: a new one
    /// for each client.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Changes what a publish uses when it does not say: a QoS, whether it is retained, and that for single topics.
    pub fn publish_defaults(mut self, change: impl FnOnce(&mut PublishDefaults)) -> Self {
        change(&mut self.publish_defaults);
        self
    }

    /// Subscribes to these filters as soon as there is a connection, in one SUBSCRIBE. Their messages come to
    /// [`Client::catch_all`], the server's answer as [`ClientEvent::Subscribed`](crate::ClientEvent::Subscribed). Streams on
    /// the same filters have them too, and the subscriptions outlive those: only [`Client::unsubscribe`] ends them.
    pub fn subscriptions(mut self, subscriptions: impl IntoIterator<Item = (TopicFilter, QoS)>) -> Self {
        self.subscriptions.extend(subscriptions.into_iter().map(|(mut filter, qos)| {
            filter.own();
            (filter, qos)
        }));
        self
    }

    /// Shows every packet and every event to this observer, such as a [`PacketLogger`](crate::PacketLogger).
    pub fn observer(mut self, observer: impl Observer + Send + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Asks this hook before each attempt to connect: it may change where the attempt goes and what its CONNECT says, as
    /// with a fresh token. It may await, but must not block; the driver polls it, outside its lock. An error counts as
    /// a failed attempt; whether there is another is the hook's to say ([`GivenUp`]), and the reconnect policy's.
    /// Default: none.
    ///
    /// With a hook, a server that refuses for good, as because of the credentials (0x86, 0x87), or that disconnects for
    /// such a reason, is asked once more when the policy says so: the hook sees why as [`Attempt::last_error`], and may
    /// give others or go elsewhere. The second such answer of the server, without a connection that lasted in between,
    /// counts: a listed server is left out, and one that the hook has chosen ends the client. The very first attempt's
    /// failure is told at once, unless the policy has `retry_first`.
    ///
    /// ```
    /// # use martlet_client::{Client, ConnectError, GivenUp};
    /// # async fn fresh_token() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// let builder = Client::builder("mqtt://broker.example")?.before_connect(|mut attempt| async move {
    ///     let token = fresh_token().await.map_err(GivenUp::for_now)?;
    ///     attempt.set_credentials("device-7", token)?;
    ///     Ok(attempt)
    /// });
    /// # Ok::<(), ConnectError>(())
    /// ```
    pub fn before_connect<F, A>(mut self, mut hook: F) -> Self
    where
        F: FnMut(Attempt) -> A + Send + 'static,
        A: Future<Output = Result<Attempt, GivenUp>> + Send + 'static,
    {
        self.before_connect = Some(Box::new(move |attempt| Box::pin(hook(attempt))));
        self
    }

    /// Sets how long hooks may take to prepare an attempt: [`before_connect`](Self::before_connect), and an
    /// authenticator's first data. Default: 10 s.
    pub fn hook_timeout(mut self, timeout: Duration) -> Self {
        self.hook_timeout = timeout;
        self
    }

    /// Authenticates by this method of enhanced authentication (MQTT 5 §4.12). A server that knows no MQTT 5 is not
    /// connected to then. A server that refuses for good is asked once more, as with
    /// [`before_connect`](Self::before_connect). Default: none.
    pub fn authenticator(mut self, authenticator: impl Authenticator + 'static) -> Self {
        self.authenticator = Some(Box::new(authenticator));
        self
    }

    /// Reads the certificate authorities, those of the operating system by default, where TLS may be spoken and they were
    /// not read yet. A hook may go to a server that is not in the list.
    #[cfg(feature = "tls")]
    fn read_trust(&mut self) {
        let is_needed =
            self.before_connect.is_some() || self.endpoints.iter().any(|endpoint| endpoint.scheme().is_tls());
        if self.stack.tls.is_none() && is_needed {
            let read = std::mem::replace(&mut self.trust, Box::new(|| Trust::new().build()));
            self.stack.tls = Some(read());
        }
    }

    /// Keeps the session in this store: what was published with QoS 1 and 2 and accepted, and what was received with
    /// QoS 2, survives the process. A PUBLISH above QoS 0 leaves when it is stored. The client identifier is stored
    /// too: one that is generated is so once for each store.
    ///
    /// ```no_run
    /// # use martlet_client::{Client, ClientEvent, MemoryStore, Runtime};
    /// # async fn example<R: Runtime + Unpin>(runtime: R, spawn: impl FnOnce(martlet_client::Driver<R>)) -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = MemoryStore::new();
    /// // With the feature `redb`: let store = RedbStore::open("outbox.redb")?;
    /// let (client, driver) = Client::builder("mqtt://localhost")?.client_identifier("meter-7")?.store(store).build(runtime)?;
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
        DurableBuilder { builder: self, store: Box::new(store) }
    }

    /// Makes the client and its driver, which dials when it is first polled.
    ///
    /// With a server that is spoken to over TLS and without [`trust`](Self::trust), this reads the operating system's
    /// certificate authorities; without any such a server cannot be connected to.
    pub fn build<R: Runtime + Unpin>(self, runtime: R) -> (Client, Driver<R>) {
        let Ok(built) = self.build_session(runtime, true, |config| Ok::<_, Infallible>(Session::new(config)));
        built
    }

    /// Makes them around this session; `is_new`: it needs a client identifier.
    pub(crate) fn build_session<R: Runtime + Unpin, E>(
        mut self,
        runtime: R,
        is_new: bool,
        session: impl FnOnce(Config) -> Result<Session, E>,
    ) -> Result<(Client, Driver<R>), E> {
        let mut random = SplitMix(self.seed.unwrap_or_else(random_seed));
        if is_new && !self.client_identifier {
            self.config.client_identifier = generated_identifier(&mut random);
        }
        #[cfg(feature = "tls")]
        self.read_trust();
        let hooks = Hooks::new(self.before_connect, self.authenticator);
        let mut link = Link::new(LinkConfig {
            prepare_timeout: hooks.is_some().then_some(self.hook_timeout),
            endpoints: self.endpoints,
            version: self.version,
            connect: self.connect,
            reconnect: self.reconnect,
            stack: self.stack,
            dial_timeout: self.dial_timeout,
            handshake_timeout: self.handshake_timeout,
            maximum_packet_size: self.config.maximum_packet_size,
            seed: random.next(),
        });
        let defaults = Some(self.publish_defaults).filter(|defaults| *defaults != PublishDefaults::default());
        let shared = Shared::new(session(self.config)?, R::now, self.drain, defaults.map(Box::new));
        shared.subscribe_at_start(
            self.subscriptions.into_iter().map(|(filter, qos)| Subscription::new(filter, qos)).collect(),
        );
        let shared = Arc::new(shared);
        if let Some(observer) = self.observer {
            link.set_observer(observer);
        }
        let client = Client::new(Arc::clone(&shared));
        Ok((client, Driver::new(runtime, shared, link, self.socket, hooks)))
    }
}

/// 23 letters and digits: what every server must take (MQTT 5 §3.1.3.1).
fn generated_identifier(random: &mut SplitMix) -> Utf8String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let letters = (0..16).map(|_| char::from(ALPHABET[(random.next() % 62) as usize]));
    let identifier: String = "martlet".chars().chain(letters).collect();
    Utf8String::new(identifier).expect("letters and digits")
}

fn setting<T>(what: &'static str, value: Result<T, martlet_proto::TextError>) -> Result<T, ConnectError> {
    value.map_err(|error| ConnectError::Setting { what, error })
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("endpoints", &self.endpoints)
            .field("config", &self.config)
            .field("connect", &self.connect)
            .finish_non_exhaustive()
    }
}

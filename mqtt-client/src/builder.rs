//! Everything that can be set before a client connects.

pub(crate) mod durable;

use self::durable::DurableBuilder;
use crate::api::client::Client;
use crate::defaults::PublishDefaults;
use crate::driver::Driver;
use crate::driver::authenticator::Authenticator;
use crate::driver::hooks::{BeforeConnect, Hooks};
use crate::driver::runtime::Runtime;
use crate::driver::socket::SocketOptions;
use crate::error::ConnectError;
use crate::hub::own::Own;
use crate::hub::responses::CorrelationKey;
use crate::hub::shared::Shared;
use crate::link::attempt::Attempt;
use crate::link::observer::Observer;
use crate::link::reconnect::{Reconnect, SplitMix, random_seed};
use crate::link::stage::check_header;
use crate::link::{Link, LinkConfig, VersionChoice};
use crate::store::Store;
use martlet_proto::{
    BinaryData, EncodeError, QoS, SubscribeFilter, TextError, TopicFilter, Utf8String, Version,
    Will,
};
use martlet_session::{
    Config, ConfigError, ConnectOptions, ConnectionError, GivenUp, Instant, Session,
};
use martlet_transport::{Endpoint, ProxyUri, Stack, Transport, UriError};
#[cfg(feature = "tls")]
use martlet_transport::{TlsConfig, Trust, TrustError, TrustFiles};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Sets up a client. Made by [`Client::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    /// The first setting that is wrong.
    wrong: Option<ConnectError>,
    pub(crate) config: Config,
    /// Clean start was set.
    pub(crate) clean_start: bool,
    /// Its seed, and what depends on the session and the hooks, are set in the end.
    link: LinkConfig,
    socket: SocketOptions,
    /// Whom TLS trusts if it comes to be spoken and nothing else was said; nothing is read before.
    #[cfg(feature = "tls")]
    trust: Box<dyn FnOnce() -> Result<Trust, TrustError> + Send>,
    /// What TLS's configuration was read from.
    #[cfg(feature = "tls")]
    trust_files: Option<Box<TrustFiles>>,
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
            clean_start: false,
            link: LinkConfig::new(endpoint),
            socket: SocketOptions::default(),
            #[cfg(feature = "tls")]
            trust: Box::new(|| Ok(Trust::new())),
            #[cfg(feature = "tls")]
            trust_files: None,
            drain: Duration::from_secs(5),
            seed: None,
            client_identifier: false,
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
            builder.config.client_identifier = identifier;
            builder.client_identifier = true;
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
            builder.link.connect.user_name = Some(user_name);
        })
    }

    /// Sets the password alone, as [`credentials`](Self::credentials) does; before MQTT 5 it needs
    /// a user name.
    pub fn password(self, password: impl AsRef<[u8]>) -> Self {
        let password = setting("password", BinaryData::try_from(password.as_ref()));
        self.set(password, |builder, password| {
            builder.link.connect.password = Some(password);
        })
    }

    /// Sets the message that the server publishes when the connection breaks. Default: none.
    pub fn will(mut self, will: Will) -> Self {
        self.link.connect.will = Some(Box::new(will));
        self
    }

    /// Speaks this version and no other. Default: MQTT 5, and 3.1.1 with a server that does not
    /// know it.
    pub fn version(mut self, version: Version) -> Self {
        self.link.version = VersionChoice::Fixed(version);
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
        change(&mut self.link.reconnect);
        self
    }

    /// Changes how sockets are set up.
    pub fn socket(mut self, change: impl FnOnce(&mut SocketOptions)) -> Self {
        change(&mut self.socket);
        self
    }

    /// Sets whom TLS trusts, and who we are to it. Default: the certificate authorities of the
    /// operating system, and no client certificate. This reads the files that it names. They are
    /// read again, by the driver, before an attempt to connect when they have changed:
    /// [`ClientEvent::TrustReloaded`](crate::ClientEvent::TrustReloaded) reports that, and
    /// [`TrustNotReloaded`](crate::ClientEvent::TrustNotReloaded) that what was in use stays so.
    /// That blocks the thread which polls the driver: for as long as the files take, and with an
    /// encrypted key for tens to hundreds of milliseconds. Where that is too long, a
    /// [`before_connect`](Self::before_connect) hook can set a configuration that was made
    /// elsewhere. What cannot be used is a [`ConnectError::Trust`], which says with which file.
    #[cfg(feature = "tls")]
    pub fn trust(self, trust: &Trust) -> Self {
        let files = TrustFiles::new(trust.clone());
        let config = files.config().clone().map_err(ConnectError::from);
        self.set(config, |builder, config| {
            builder.link.stack.tls = Some(Ok(config));
            builder.trust_files = Some(Box::new(files));
        })
    }

    /// Sets whom TLS trusts, as [`trust`](Self::trust) does, but calls `read` and reads the files
    /// only if TLS can be needed: when the client is built, if a server's URI asks for TLS, or a
    /// [`before_connect`](Self::before_connect) hook may choose a server whose URI does. An error
    /// fails each attempt that needs TLS.
    ///
    /// For programs that know where the certificates are before they know the server.
    /// [`trust`](Self::trust) and [`tls_config`](Self::tls_config) take precedence.
    ///
    /// ```
    /// # use martlet_client::{Client, ConnectError, Trust};
    /// // Over plain TCP nobody looks for the file.
    /// let builder = Client::builder("mqtt://localhost")
    ///     .trust_if_needed(|| Ok(Trust::new().ca_file("/etc/factory/ca.pem")));
    /// # Ok::<(), ConnectError>(())
    /// ```
    #[cfg(feature = "tls")]
    pub fn trust_if_needed(
        mut self,
        read: impl FnOnce() -> Result<Trust, TrustError> + Send + 'static,
    ) -> Self {
        self.trust = Box::new(read);
        self
    }

    /// Sets the configuration of TLS, such as one that [`rustls`](crate::transport::rustls) made;
    /// it takes the place of [`trust`](Self::trust).
    #[cfg(feature = "tls")]
    pub fn tls_config(mut self, config: TlsConfig) -> Self {
        self.link.stack.tls = Some(Ok(config));
        self.trust_files = None;
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
        Transport::new(&Stack {
            proxy: Some(proxy.tunnel(&self.link.endpoints[0])),
            ..Stack::default()
        })?;
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

    /// Sets how long what was published may take to be settled when the client disconnects.
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

    /// Changes what a publish uses when it does not say: a QoS, whether it is retained, and that
    /// for single topics.
    pub fn publish_defaults(mut self, change: impl FnOnce(&mut PublishDefaults)) -> Self {
        change(&mut self.publish_defaults);
        self
    }

    /// Subscribes to these filters as soon as there is a connection. Their messages come to
    /// [`Client::catch_all`], the server's answer as
    /// [`ClientEvent::Subscribed`](crate::ClientEvent::Subscribed); where there is none, they are
    /// asked for again. Streams on the same filters
    /// have them too, and the subscriptions outlive those: only [`Client::unsubscribe`] ends them.
    pub fn subscriptions(
        mut self,
        subscriptions: impl IntoIterator<Item = (TopicFilter, QoS)>,
    ) -> Self {
        self.subscriptions
            .extend(subscriptions.into_iter().map(|(mut filter, qos)| {
                filter.own();
                (filter, qos)
            }));
        self
    }

    /// Shows every packet and every event to this observer, such as a
    /// [`PacketLogger`](crate::PacketLogger).
    pub fn observer(mut self, observer: impl Observer + Send + 'static) -> Self {
        self.observer = Some(Box::new(observer));
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
    /// [`ClientEvent::HookPanicked`](crate::ClientEvent::HookPanicked) reports it.
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
    pub fn before_connect<F, A>(mut self, mut hook: F) -> Self
    where
        F: FnMut(Attempt) -> A + Send + 'static,
        A: Future<Output = Result<Attempt, GivenUp>> + Send + 'static,
    {
        self.before_connect = Some(Box::new(move |attempt| Box::pin(hook(attempt))));
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
    pub fn authenticator(mut self, authenticator: impl Authenticator + 'static) -> Self {
        self.authenticator = Some(Box::new(authenticator));
        self
    }

    /// Reads the certificate authorities, those of the operating system by default, where TLS may
    /// be spoken and they were not read yet. A hook may go to a server that is not in the list.
    #[cfg(feature = "tls")]
    fn read_trust(&mut self) {
        let is_needed = self.before_connect.is_some()
            || self
                .link
                .endpoints
                .iter()
                .any(|endpoint| endpoint.scheme().is_tls());
        if self.link.stack.tls.is_none() && is_needed {
            let read = std::mem::replace(&mut self.trust, Box::new(|| Ok(Trust::new())));
            self.link.stack.tls = Some(read().and_then(|trust| {
                let files = TrustFiles::new(trust);
                let config = files.config().clone();
                self.trust_files = Some(Box::new(files));
                config
            }));
        }
    }

    /// Keeps the session in this store: what was published with QoS 1 and 2 and accepted, and what
    /// was received with QoS 2, survives the process. A PUBLISH above QoS 0 leaves when it is
    /// stored. The client identifier is stored too: one that is generated is so once for each
    /// store.
    ///
    /// When a message of QoS 1 or 2 survives a crash:
    ///
    /// | | is ready | the message is stored |
    /// |---|---|---|
    /// | [`publish`](Client::publish)`().await` | when the server has acknowledged it | yes, before it was sent |
    /// | [`enqueue`](crate::client::PublishBuilder::enqueue)`().await` | when it is stored | yes |
    /// | [`try_publish`](Client::try_publish) | at once | when [`Receipt::stored`](crate::Receipt::stored) says so |
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
        }
    }

    /// Checks whether a client can be made of this that can work, as [`build`](Self::build) does.
    ///
    /// # Errors
    /// The first setting that is wrong; [`ConnectError::Connection`] with
    /// [`ConnectionError::Configuration`] names the setting that is in the way;
    /// [`ConnectionError::CannotConnect`] says what the version that was [set](Self::version)
    /// cannot carry.
    pub fn check(&self) -> Result<(), ConnectError> {
        if let Some(error) = &self.wrong {
            return Err(error.clone());
        }
        let zero = |time: Duration, setting| match time {
            Duration::ZERO => Err(ConnectionError::Configuration(ConfigError::Zero(setting))),
            _ => Ok(()),
        };
        self.config
            .check()
            .map_err(ConnectionError::Configuration)?;
        zero(self.link.dial_timeout, "dial_timeout")?;
        zero(self.link.handshake_timeout, "handshake_timeout")?;
        let has_hooks = self.before_connect.is_some() || self.authenticator.is_some();
        if has_hooks {
            zero(self.hook_timeout, "hook_timeout")?;
        }
        let VersionChoice::Fixed(version) = self.link.version else {
            return Ok(());
        };
        if self.authenticator.is_some() && !version.has_properties() {
            let what = EncodeError::NotInVersion {
                what: "enhanced authentication",
                version,
            };
            return Err(ConnectionError::CannotConnect { version, what }.into());
        }
        if self.before_connect.is_some() {
            // It may change what the CONNECT says.
            return Ok(());
        }
        let mut config = self.config.clone();
        if !self.client_identifier {
            config.client_identifier = generated_identifier(&mut SplitMix(0));
        }
        let mut options = ConnectOptions {
            version,
            ..self.link.connect.clone()
        };
        let endpoint = &self.link.endpoints[0];
        if let Some(name) = endpoint.user_name() {
            options.user_name = Utf8String::try_from(name).ok().or(options.user_name);
        }
        let mut session = Session::new(config);
        session.handle_open(Instant::EPOCH, options);
        match session.poll_close() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Makes the client and its driver, which dials when it is first polled.
    ///
    /// With a server that is spoken to over TLS and without [`trust`](Self::trust), this reads the
    /// operating system's certificate authorities; without any such a server cannot be connected
    /// to.
    ///
    /// # Errors
    /// The first setting that is wrong, or cannot work: see [`check`](Self::check).
    pub fn build<R: Runtime + Unpin>(
        self,
        runtime: R,
    ) -> Result<(Client, Driver<R>), ConnectError> {
        self.build_session(runtime, true, |config| Ok(Session::new(config)))
    }

    /// Makes them around this session; `is_new`: it needs a client identifier.
    pub(crate) fn build_session<R: Runtime + Unpin, E: From<ConnectError>>(
        mut self,
        runtime: R,
        is_new: bool,
        session: impl FnOnce(Config) -> Result<Session, E>,
    ) -> Result<(Client, Driver<R>), E> {
        self.check()?;
        let mut random = SplitMix(self.seed.unwrap_or_else(random_seed));
        if is_new && !self.client_identifier {
            self.config.client_identifier = generated_identifier(&mut random);
        }
        #[cfg(feature = "tls")]
        self.read_trust();
        let hooks = Hooks::new(self.before_connect, self.authenticator);
        let mut link = Link::new(LinkConfig {
            prepare_timeout: hooks.is_some().then_some(self.hook_timeout),
            maximum_packet_size: self.config.maximum_packet_size,
            seed: random.next(),
            ..self.link
        });
        let defaults =
            Some(self.publish_defaults).filter(|defaults| *defaults != PublishDefaults::default());
        let shared = Shared::new(
            session(self.config)?,
            R::now,
            self.drain,
            defaults.map(Box::new),
        );
        shared.subscribe_at_start(
            self.subscriptions
                .into_iter()
                .map(|(filter, qos)| SubscribeFilter::new(filter, qos))
                .collect(),
        );
        let shared = Arc::new(shared);
        if let Some(observer) = self.observer {
            link.set_observer(observer);
        }
        // Fresh randomness, where there is no seed: identifiers, which everybody sees, are made
        // with the other.
        let secret = match self.seed {
            Some(_) => [random.next(), random.next()],
            None => [random_seed(), random_seed()],
        };
        shared
            .lock()
            .routes
            .responses
            .set_secret(CorrelationKey(secret));
        let client = Client::new(Arc::clone(&shared));
        let driver = Driver::new(runtime, shared, link, self.socket, hooks);
        #[cfg(feature = "tls")]
        let driver = driver.with_trust(self.trust_files);
        Ok((client, driver))
    }
}

/// 23 letters and digits: what every server must take (MQTT 5 §3.1.3.1).
fn generated_identifier(random: &mut SplitMix) -> Utf8String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let letters = (0..16).map(|_| char::from(ALPHABET[(random.next() % 62) as usize]));
    let identifier: String = "martlet".chars().chain(letters).collect();
    Utf8String::new(identifier).expect("letters and digits")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(Builder) -> Builder) -> Option<String> {
        let builder = Client::builder("mqtt://localhost");
        change(builder).check().err().map(|error| error.to_string())
    }

    /// Settings that no connection can work with were found out one connection after the other, as
    /// the server's fault.
    #[test]
    fn what_cannot_work_is_refused_before_anything_is_dialled() {
        assert_eq!(refusal(|builder| builder), None);
        let text = |setting| {
            Some(format!(
                "the configuration cannot work: {setting} is 0; it must be more"
            ))
        };
        assert_eq!(
            refusal(|builder| builder.dial_timeout(Duration::ZERO)),
            text("dial_timeout")
        );
        assert_eq!(
            refusal(|builder| builder.handshake_timeout(Duration::ZERO)),
            text("handshake_timeout")
        );
        assert_eq!(
            refusal(|builder| builder.hook_timeout(Duration::ZERO)),
            None,
            "there is no hook"
        );
        let hook = |builder: Builder| builder.before_connect(|attempt| async move { Ok(attempt) });
        assert_eq!(
            refusal(|builder| hook(builder).hook_timeout(Duration::ZERO)),
            text("hook_timeout")
        );
        let bound = |builder: Builder| builder.session(|config| config.inbound.hard_bytes = 0);
        assert_eq!(refusal(bound), text("inbound.hard_bytes"));
        let too_small =
            "the configuration cannot work: maximum_packet_size is 10 bytes; a CONNACK may need 60";
        let small = |builder: Builder| builder.session(|config| config.maximum_packet_size = 10);
        assert_eq!(refusal(small).as_deref(), Some(too_small));
    }

    /// The first setting that is wrong is the one that is named.
    #[test]
    fn what_is_wrong_is_said_when_the_client_is_built() {
        let wrong = refusal(|builder| builder.server("mq://h").client_identifier("a\0b"));
        assert!(wrong.is_some_and(|text| text.starts_with("wrong URI: ")));
        let wrong = refusal(|builder| builder.client_identifier("a\0b").server("mq://h"));
        assert!(wrong.is_some_and(|text| text.starts_with("client identifier: ")));
        // HTTP's Basic scheme ends a user name at a colon.
        let wrong = refusal(|builder| builder.proxy("http://us%3Aer:p@proxy"));
        assert!(wrong.is_some_and(|text| text.contains("colon")));
        assert_eq!(
            refusal(|builder| builder.proxy("http://user:p@proxy")),
            None
        );
    }

    /// With a version that was set, what its CONNECT cannot say is known. With negotiation it is
    /// not.
    #[test]
    fn what_the_version_cannot_say_is_refused() {
        let nameless = |builder: Builder| builder.client_identifier("").clean_start(false);
        assert_eq!(refusal(nameless), None);
        assert_eq!(
            refusal(|builder| nameless(builder).version(Version::V5)),
            None
        );
        for version in [Version::V3_1, Version::V3_1_1] {
            let refused = refusal(|builder| nameless(builder).version(version));
            assert!(refused.is_some_and(|text| text.contains("client identifier")));
            let refused = refusal(|builder| builder.password("secret").version(version));
            assert!(refused.is_some_and(|text| text.contains("password without a user name")));
            assert_eq!(refusal(|builder| builder.version(version)), None);
            // A hook may still name it.
            let hook =
                |builder: Builder| builder.before_connect(|attempt| async move { Ok(attempt) });
            assert_eq!(
                refusal(|builder| hook(nameless(builder)).version(version)),
                None
            );
        }
    }
}

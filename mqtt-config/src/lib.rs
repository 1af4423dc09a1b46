//! The configuration of a Martlet client as one structure: from a YAML file, or written in code.
//!
//! **What it does.** [`Settings`] has a field for each key of the file. Names and meaning are those
//! of the Python client amqtt, whose files load unchanged; what it has no key for stands under
//! [`martlet`](Settings::martlet). A key without a value is equivalent to no key. Unknown keys,
//! wrong types and settings that contradict each other are rejected, with line and column.
//! [`Settings::builder`] looks up secrets and certificates, and makes a `martlet_client::Builder`.
//!
//! **What it does not touch.** It opens no connection and knows no runtime: the builder is given to
//! an adapter (`martlet-tokio`, `martlet-smol`, `martlet-async-std`), each of which exports this
//! crate as `settings`. It reads files and environment variables only where this page says so:
//! `Settings::load`, [`Settings::builder`] and `Settings::durable_builder`.
//!
//! ```
//! use martlet_client::QoS;
//! use martlet_config::Settings;
//!
//! # #[cfg(feature = "yaml")] {
//! let settings = Settings::from_yaml(
//!     "
//!     keep_alive: 30
//!     default_qos: 1
//!     connection:
//!       uri: mqtt://broker.example
//!     ",
//! )?;
//! let builder = settings.builder()?; // and on from here, in code
//! # drop(builder);
//!
//! let error = Settings::from_yaml("keep_alive: 30\nconection: {uri: mqtt://h}").unwrap_err();
//! assert_eq!(error.to_string(), r#"2:1: there is no such key; did you mean "connection"?"#);
//! # }
//!
//! let mut settings = Settings::default();
//! settings.keep_alive = 30;
//! settings.default_qos = QoS::AtLeastOnce;
//! # settings.builder()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `yaml` | yes | `Settings::from_yaml`, `load` and `to_yaml` |
//! | `serde` | with `yaml` | `Settings` implements `Serialize` and `Deserialize`, for any other format |
//! | `redb` | no | `Settings::durable_builder`: a session that is kept in a file |
//! | `ring`, `websocket` | yes | the features of `martlet-client` of these names |
//! | `tls`, `aws-lc-rs`, `encrypted-keys`, `international-names` | no | likewise |
//!
//! Without `tls`, a URI that asks for TLS is rejected, whatever `martlet-client` can do: what the
//! configuration says of certificates would not be obeyed.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod apply;
mod check;
mod error;
#[cfg(feature = "serde")]
mod formats;
#[cfg(any(feature = "redb", feature = "tls"))]
mod named;
#[cfg(feature = "yaml")]
mod numbers;
mod secret;
#[cfg(feature = "yaml")]
mod tree;
#[cfg(feature = "yaml")]
mod yaml;

pub use error::{Position, SettingsError, SettingsErrorKind};
pub use secret::{Secret, Uri};

use martlet_client::{
    QoS, Version,
    client::TopicDefaults,
    session::{InboundLimits, QueueLimits},
};
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

/// The configuration of a client. [`builder`](Self::builder) turns it into a
/// [`Builder`](martlet_client::Builder).
///
/// `Debug` and the printed YAML leave secrets out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(Serialize, Deserialize),
    serde(default = "Settings::amqtt", deny_unknown_fields)
)]
#[non_exhaustive]
pub struct Settings {
    /// Seconds of the keep alive that CONNECT announces; 0 turns it off (MQTT 5 §3.1.2.10).
    /// Default: 60; in a file 10.
    pub keep_alive: u16,
    /// How many seconds before the end of the keep alive a PINGREQ is due, `keep_alive` at most; 0,
    /// or as many as `keep_alive`: a quarter of it. `None`: 1, or a quarter of the keep alive where
    /// that is less. Default: 0; in a file `None`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub ping_delay: Option<u16>,
    /// The QoS of a publish that sets none, to a topic for which `topics` sets none: 0, 1 or 2.
    /// Default: 0.
    #[cfg_attr(feature = "serde", serde(with = "formats::qos"))]
    pub default_qos: QoS,
    /// Whether such a publish is retained. Default: false.
    pub default_retain: bool,
    /// Whether a connection that fails is tried again, the first one only with
    /// [`retry_first`](Martlet::retry_first). Default: true.
    pub auto_reconnect: bool,
    /// Seconds that each step of connecting may take: name and socket together, the handshakes, the
    /// server's answer. More than 0. Default: 10; in a file 60.
    #[cfg_attr(feature = "serde", serde(with = "formats::seconds"))]
    pub connection_timeout: Duration,
    /// How many retries follow the one attempt after a failure; negative: no limit. Default: -1; in
    /// a file 2.
    pub reconnect_retries: i32,
    /// Seconds: the longest wait between two attempts; 0: a tenth of a second. Default: 60; in a
    /// file 10.
    #[cfg_attr(feature = "serde", serde(with = "formats::seconds"))]
    pub reconnect_max_interval: Duration,
    /// Whether the first connection begins a new session (MQTT 5 §3.1.2.4). If not, the session
    /// outlives the client in every version, also after it has disconnected: in MQTT 5 it does not
    /// expire unless [`session_expiry_interval`](Martlet::session_expiry_interval) is set. It belongs to the client
    /// identifier. Default: true.
    pub cleansession: bool,
    /// The QoS and retain flag of publishes to single topics, where the publish sets none. The keys
    /// are topic names, without wildcards. Default: none.
    #[cfg_attr(feature = "serde", serde(with = "formats::topics"))]
    pub topics: BTreeMap<String, TopicDefaults>,
    /// The server's URI and the certificates to trust; in a file also called `broker`, which takes
    /// precedence over `connection`.
    #[cfg_attr(feature = "serde", serde(alias = "broker"))]
    pub connection: ConnectionSettings,
    /// Observers of the connection. In a file a map of names to their options, or a list. Default:
    /// none.
    #[cfg_attr(feature = "serde", serde(with = "formats::plugins"))]
    pub plugins: Vec<Plugin>,
    /// Whether the server's certificate must be for the host of the URI. Default: true.
    pub check_hostname: bool,
    /// Whether the server's certificate must be signed by a trusted authority. Over TLS, false
    /// needs `check_hostname: false` too. Default: true.
    pub verify_cert: bool,
    /// The Will Message, which the server publishes when the connection breaks. Default: none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub will: Option<WillSettings>,
    /// The settings that amqtt has no key for.
    pub martlet: Martlet,
}

impl Settings {
    /// The defaults of amqtt: what a configuration file means that leaves everything out.
    ///
    /// They differ from [`Settings::default`], which is for code, in `keep_alive` (10),
    /// `ping_delay` (1), `connection_timeout` (60), `reconnect_retries` (2),
    /// `reconnect_max_interval` (10), `martlet.retry_first` (true) and `martlet.version`
    /// (3.1.1).
    ///
    /// ```
    /// use martlet_config::Settings;
    ///
    /// assert_eq!((Settings::amqtt().keep_alive, Settings::default().keep_alive), (10, 60));
    /// # #[cfg(feature = "yaml")]
    /// assert_eq!(Settings::from_yaml("{}"), Ok(Settings::amqtt()));
    /// ```
    pub fn amqtt() -> Self {
        Self {
            keep_alive: 10,
            ping_delay: None,
            connection_timeout: Duration::from_secs(60),
            reconnect_retries: 2,
            reconnect_max_interval: Duration::from_secs(10),
            martlet: Martlet::amqtt(),
            ..Self::default()
        }
    }
}

/// The defaults of [`Client::builder`](martlet_client::Client::builder), and the server
/// `mqtt://127.0.0.1:1883`. A configuration file has [others](Settings::amqtt).
impl Default for Settings {
    fn default() -> Self {
        Self {
            keep_alive: 60,
            ping_delay: Some(0),
            default_qos: QoS::AtMostOnce,
            default_retain: false,
            auto_reconnect: true,
            connection_timeout: Duration::from_secs(10),
            reconnect_retries: -1,
            reconnect_max_interval: Duration::from_secs(60),
            cleansession: true,
            topics: BTreeMap::new(),
            connection: ConnectionSettings::default(),
            plugins: Vec::new(),
            check_hostname: true,
            verify_cert: true,
            will: None,
            martlet: Martlet::default(),
        }
    }
}

/// The server's URI and the certificates of both sides.
///
/// In a file the keys of certificates may also stand at the top, outside of `connection`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(Serialize, Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct ConnectionSettings {
    /// The server, such as `mqtts://user:password@host:8883`. Default: `mqtt://127.0.0.1:1883`.
    pub uri: Uri,
    /// A file of certificates (PEM) to trust in place of the operating system's.
    #[cfg_attr(
        feature = "serde",
        serde(
            serialize_with = "formats::path",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub cafile: Option<PathBuf>,
    /// A folder of files of certificates (PEM) to trust.
    #[cfg_attr(
        feature = "serde",
        serde(
            serialize_with = "formats::path",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub capath: Option<PathBuf>,
    /// Certificates (PEM) to trust, as text.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub cadata: Option<String>,
    /// The client's certificate chain (PEM), for a server that asks for one. Needs `keyfile`.
    #[cfg_attr(
        feature = "serde",
        serde(
            serialize_with = "formats::path",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub certfile: Option<PathBuf>,
    /// The private key of the client's certificate (PEM).
    #[cfg_attr(
        feature = "serde",
        serde(
            serialize_with = "formats::path",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub keyfile: Option<PathBuf>,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            uri: Uri::from("mqtt://127.0.0.1:1883"),
            cafile: None,
            capath: None,
            cadata: None,
            certfile: None,
            keyfile: None,
        }
    }
}

/// The Will Message, which the server publishes when the connection breaks (MQTT 5 §3.1.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(Serialize, Deserialize),
    serde(deny_unknown_fields)
)]
#[non_exhaustive]
pub struct WillSettings {
    /// The topic that it is published to.
    pub topic: String,
    /// The payload, at most 65,535 bytes; it may be empty.
    pub message: Secret,
    /// The QoS that it is published with: 0, 1 or 2. Default: 0.
    #[cfg_attr(feature = "serde", serde(default, with = "formats::qos"))]
    pub qos: QoS,
    /// Whether the server retains it. Default: false.
    #[cfg_attr(feature = "serde", serde(default))]
    pub retain: bool,
}

impl WillSettings {
    /// With QoS 0, not retained.
    pub fn new(topic: impl Into<String>, message: impl Into<Secret>) -> Self {
        Self {
            topic: topic.into(),
            message: message.into(),
            qos: QoS::AtMostOnce,
            retain: false,
        }
    }
}

/// An observer of the connection that can be named in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Plugin {
    /// Logs every event of the client with the crate `log`, at the level of debugging and the target
    /// `martlet::packets`, among its packets, which are in the log without this too (with the
    /// feature `tracing` as its events); `amqtt.plugins.logging_amqtt.PacketLoggerPlugin` in a file.
    PacketLogger,
}

/// The settings that amqtt has no key for. Each may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(Serialize, Deserialize),
    serde(default = "Martlet::amqtt", deny_unknown_fields)
)]
#[non_exhaustive]
pub struct Martlet {
    /// The version to speak: 3.1, 3.1.1 or 5. `None`, which is `auto` in a file: 5, and 3.1.1 with
    /// a server that does not know it. Default: `None`; in a file 3.1.1, because amqtt speaks
    /// nothing else and its broker does not answer a CONNECT of another version.
    #[cfg_attr(feature = "serde", serde(with = "formats::version"))]
    pub version: Option<Version>,
    /// Whether the first connection is retried as all others are; if not, its failure ends the
    /// client at once. Needs [`auto_reconnect`](Settings::auto_reconnect). Default: false; in a
    /// file true.
    pub retry_first: bool,
    /// The client identifier; empty: the server assigns one. Default: 23 letters and digits, other
    /// ones each time.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub client_identifier: Option<String>,
    /// The user name, where the URI has neither that nor a password.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub user_name: Option<Secret>,
    /// The password, where the URI has neither that nor a user name.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub password: Option<Secret>,
    /// Servers to fail over to, in this order.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub servers: Vec<Uri>,
    /// The proxy to go through: `http://host:port` or `socks5://host:port`, perhaps with
    /// `user:password@`. Default: none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub proxy: Option<Uri>,
    /// Headers of the request that begins a WebSocket connection, such as `Authorization`. In a
    /// file a map, or a list of maps with one header each.
    #[cfg_attr(
        feature = "serde",
        serde(with = "formats::headers", skip_serializing_if = "Vec::is_empty")
    )]
    pub headers: Vec<(String, Secret)>,
    /// The password that decrypts the key in `keyfile`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub key_password: Option<Secret>,
    /// The server name for TLS: sent to the server (SNI) and expected in its certificate. Default:
    /// the host of the URI.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub server_name: Option<String>,
    /// The application protocols to offer (ALPN, RFC 7301), in order of preference. Default: none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub alpn: Vec<String>,
    /// The most QoS 1 and 2 messages that are in flight at a time, 1 to 65,535. Default: 100.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub max_in_flight: Option<NonZeroU16>,
    /// The same for MQTT 3.1 and 3.1.1, in which a server cannot announce its own limit. Default:
    /// 20.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub max_in_flight_3x: Option<NonZeroU16>,
    /// Limits of the messages that wait to be sent.
    pub queue: QueueLimits,
    /// Limits of the messages that have arrived and that the application has not handled.
    pub inbound: InboundLimits,
    /// The largest packet that is accepted, in bytes. Default: 16 MiB.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub maximum_packet_size: Option<u32>,
    /// Seconds that a publish of QoS 1 or 2 waits for its acknowledgement. More than 0. Default: no
    /// limit.
    #[cfg_attr(
        feature = "serde",
        serde(
            with = "formats::optional_seconds",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub publish_timeout: Option<Duration>,
    /// Seconds that a SUBSCRIBE or UNSUBSCRIBE waits for its answer. More than 0. Default: 10.
    #[cfg_attr(
        feature = "serde",
        serde(
            with = "formats::optional_seconds",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub request_timeout: Option<Duration>,
    /// Seconds within which any byte must arrive after a PINGREQ became due. More than 0. Default:
    /// 10.
    #[cfg_attr(
        feature = "serde",
        serde(
            with = "formats::optional_seconds",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub ping_timeout: Option<Duration>,
    /// Seconds that the session outlives a connection (MQTT 5 §3.1.2.11.2); 4,294,967,295: it does
    /// not expire. Default: 3,600 while the client reconnects, 0 after it has disconnected; with
    /// [`cleansession: false`](Settings::cleansession) the session does not expire.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub session_expiry_interval: Option<u32>,
    /// The file that stores the session; `Settings::durable_builder` (feature `redb`) opens it.
    /// Default: none.
    #[cfg_attr(
        feature = "serde",
        serde(
            serialize_with = "formats::path",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub store: Option<PathBuf>,
    /// Filters to subscribe to with each new session. Their messages are delivered to
    /// [`Client::unmatched`](martlet_client::Client::unmatched).
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "BTreeMap::is_empty"))]
    pub subscriptions: BTreeMap<String, FilterSettings>,
}

impl Martlet {
    /// The section of a file that leaves it out.
    fn amqtt() -> Self {
        Self {
            version: Some(Version::V3_1_1),
            retry_first: true,
            ..Self::default()
        }
    }
}

/// The options of one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(Serialize, Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct FilterSettings {
    /// The highest QoS with which the server may deliver messages: 0, 1 or 2. Default: 0.
    #[cfg_attr(feature = "serde", serde(with = "formats::qos"))]
    pub qos: QoS,
}

#[cfg(all(doctest, feature = "yaml"))]
#[doc = include_str!("../README.md")]
mod readme {}

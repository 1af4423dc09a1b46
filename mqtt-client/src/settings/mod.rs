//! The configuration of a client as one structure: from a YAML file, or written in code.
//!
//! The fields are the keys of the file. Their names and meaning are those of the Python client amqtt, whose files load
//! unchanged; what it has no key for stands under [`martlet`](Settings::martlet). A key without a value is as good as no
//! key. Unknown keys, wrong types and settings that contradict each other are refused, with line and column.
//!
//! ```
//! use martlet_client::{QoS, Settings};
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
//! assert_eq!(error.to_string(), r#"2:1: there is no key "conection"; did you mean "connection"?"#);
//! # }
//!
//! let settings = Settings { keep_alive: 30, default_qos: QoS::AtLeastOnce, ..Settings::default() };
//! # settings.builder()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Without the feature `yaml` there is no reading of files; `serde` alone gives `Settings` of any other format.

mod apply;
mod check;
mod error;
#[cfg(feature = "serde")]
pub(crate) mod formats;
mod secret;
#[cfg(feature = "yaml")]
mod tree;
#[cfg(feature = "yaml")]
mod yaml;

pub use error::{Position, SettingsError, SettingsErrorKind};
pub use secret::{Secret, Uri};

use crate::defaults::TopicDefaults;
use martlet_proto::{QoS, Version};
use martlet_session::{InboundLimits, QueueLimits};
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be configured. [`builder`](Self::builder) makes it the beginning of a client.
///
/// `Debug` and the printed YAML leave secrets out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(default, deny_unknown_fields))]
pub struct Settings {
    /// Seconds of the keep alive that CONNECT announces; 0 turns it off (MQTT 5 §3.1.2.10). Default: 10.
    pub keep_alive: u16,
    /// A PINGREQ is due so many seconds before the keep alive ends, less than `keep_alive`; 0: a quarter of it. Default:
    /// 1, or a quarter of the keep alive where that is less.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub ping_delay: Option<u16>,
    /// QoS of a publish that does not say, on a topic that `topics` does not name: 0, 1 or 2. Default: 0.
    #[cfg_attr(feature = "serde", serde(with = "formats::qos"))]
    pub default_qos: QoS,
    /// Whether such a publish is retained. Default: false.
    pub default_retain: bool,
    /// Whether a connection that fails, the first included, is tried again. Default: true.
    pub auto_reconnect: bool,
    /// Seconds that each step of connecting may take: name and socket together, the handshakes, the server's answer.
    /// More than 0. Default: 60.
    #[cfg_attr(feature = "serde", serde(with = "formats::seconds"))]
    pub connection_timeout: Duration,
    /// After a failure there is one attempt more, and then so many retries; negative: no end of them. Default: 2.
    pub reconnect_retries: i32,
    /// Seconds: the longest wait between two attempts. More than 0. Default: 10.
    #[cfg_attr(feature = "serde", serde(with = "formats::seconds"))]
    pub reconnect_max_interval: Duration,
    /// Whether the first connection begins a new session (MQTT 5 §3.1.2.4). Default: true.
    pub cleansession: bool,
    /// What a publish to this very topic uses when it does not say; no wildcards. Default: none.
    pub topics: BTreeMap<String, TopicDefaults>,
    /// Where the server is and how to trust it; in a file also called `broker`.
    #[cfg_attr(feature = "serde", serde(alias = "broker"))]
    pub connection: Connection,
    /// What looks on. In a file a map of names to their options, or a list. Default: nothing.
    #[cfg_attr(feature = "serde", serde(with = "formats::plugins"))]
    pub plugins: Vec<Plugin>,
    /// Whether the server's certificate must be for the host of the URI. Default: true.
    pub check_hostname: bool,
    /// Whether the server's certificate must be signed by somebody trusted; false only together with
    /// `check_hostname: false`. Default: true.
    pub verify_cert: bool,
    /// What the server publishes when the connection breaks. Default: nothing.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub will: Option<Will>,
    /// What amqtt has no key for.
    pub martlet: Martlet,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keep_alive: 10,
            ping_delay: None,
            default_qos: QoS::AtMostOnce,
            default_retain: false,
            auto_reconnect: true,
            connection_timeout: Duration::from_secs(60),
            reconnect_retries: 2,
            reconnect_max_interval: Duration::from_secs(10),
            cleansession: true,
            topics: BTreeMap::new(),
            connection: Connection::default(),
            plugins: Vec::new(),
            check_hostname: true,
            verify_cert: true,
            will: None,
            martlet: Martlet::default(),
        }
    }
}

/// Where the server is and how to trust it.
///
/// In a file the keys of certificates may also stand outside of `connection`, at the top.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(default, deny_unknown_fields))]
pub struct Connection {
    /// The server, such as `mqtts://user:password@host:8883`. Default: `mqtt://127.0.0.1:1883`.
    pub uri: Uri,
    /// A file of certificates (PEM) to trust in place of the operating system's.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "formats::path", skip_serializing_if = "Option::is_none")
    )]
    pub cafile: Option<PathBuf>,
    /// A folder of such files.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "formats::path", skip_serializing_if = "Option::is_none")
    )]
    pub capath: Option<PathBuf>,
    /// Such certificates themselves.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub cadata: Option<String>,
    /// Our own certificates (PEM) for a server that asks; together with `keyfile`.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "formats::path", skip_serializing_if = "Option::is_none")
    )]
    pub certfile: Option<PathBuf>,
    /// The key of our certificate (PEM).
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "formats::path", skip_serializing_if = "Option::is_none")
    )]
    pub keyfile: Option<PathBuf>,
}

impl Default for Connection {
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

/// What the server publishes when the connection breaks (MQTT 5 §3.1.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(deny_unknown_fields))]
pub struct Will {
    /// Where it is published to.
    pub topic: String,
    /// Its payload, at most 65,535 bytes; it may be empty.
    pub message: Secret,
    /// 0, 1 or 2. Default: 0.
    #[cfg_attr(feature = "serde", serde(default, with = "formats::qos"))]
    pub qos: QoS,
    /// Whether the server keeps it. Default: false.
    #[cfg_attr(feature = "serde", serde(default))]
    pub retain: bool,
}

/// What looks on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Plugin {
    /// Logs every packet; `amqtt.plugins.logging_amqtt.PacketLoggerPlugin` in a file.
    PacketLogger,
}

/// What amqtt has no key for. Everything may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(default, deny_unknown_fields))]
pub struct Martlet {
    /// The version to speak: 3.1, 3.1.1 or 5. Default: 5, and 3.1.1 with a server that does not know it.
    #[cfg_attr(feature = "serde", serde(with = "formats::version", skip_serializing_if = "Option::is_none"))]
    pub protocol_version: Option<Version>,
    /// The client identifier; empty: the server assigns one. Default: 23 letters and digits, other ones each time.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub client_id: Option<String>,
    /// Who we are, if the URI does not say.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub user_name: Option<Secret>,
    /// How we prove it, if the URI does not say.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub password: Option<Secret>,
    /// Servers to fail over to, in this order.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub servers: Vec<Uri>,
    /// The proxy to go through: `http://host:port` or `socks5://host:port`, perhaps with `user:password@`. Default: none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub proxy: Option<Uri>,
    /// Headers of the request that begins a WebSocket connection, such as `Authorization`. In a file a map, or a list of
    /// maps with one header each.
    #[cfg_attr(feature = "serde", serde(with = "formats::headers", skip_serializing_if = "Vec::is_empty"))]
    pub headers: Vec<(String, Secret)>,
    /// Decrypts the key in `keyfile`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub key_password: Option<Secret>,
    /// The name to ask the server for and to look for in its certificate. Default: the host of the URI.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub server_name: Option<String>,
    /// The application protocols to offer (ALPN, RFC 7301), the best first. Default: none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub alpn: Vec<String>,
    /// QoS 1 and 2 messages unacknowledged at a time, 1 to 65,535. Default: 100.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub max_in_flight: Option<NonZeroU16>,
    /// The same for a server of 3.1 or 3.1.1, which cannot tell its own limit. Default: 20.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub max_in_flight_3x: Option<NonZeroU16>,
    /// Messages that wait to be sent.
    #[cfg_attr(feature = "serde", serde(with = "formats::QueueLimitsDef"))]
    pub queue: QueueLimits,
    /// Messages that have arrived and wait to be taken.
    #[cfg_attr(feature = "serde", serde(with = "formats::InboundLimitsDef"))]
    pub inbound: InboundLimits,
    /// The largest packet to take, in bytes. Default: 16 MiB.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub maximum_packet_size: Option<u32>,
    /// Seconds that a publish of QoS 1 or 2 waits for its acknowledgement. More than 0. Default: for ever.
    #[cfg_attr(
        feature = "serde",
        serde(with = "formats::optional_seconds", skip_serializing_if = "Option::is_none")
    )]
    pub ack_timeout: Option<Duration>,
    /// Seconds that a SUBSCRIBE or UNSUBSCRIBE waits for its answer. More than 0. Default: 10.
    #[cfg_attr(
        feature = "serde",
        serde(with = "formats::optional_seconds", skip_serializing_if = "Option::is_none")
    )]
    pub request_timeout: Option<Duration>,
    /// Seconds in which something must have come after a PINGREQ became due. More than 0. Default: 10.
    #[cfg_attr(
        feature = "serde",
        serde(with = "formats::optional_seconds", skip_serializing_if = "Option::is_none")
    )]
    pub ping_timeout: Option<Duration>,
    /// Seconds that the session outlives a connection (MQTT 5 §3.1.2.11.2). Default: 3,600 while the client means to come
    /// back, 0 after it has disconnected.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub session_expiry: Option<u32>,
    /// Filters to subscribe to with each new session. Their messages come to the catch-all stream.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "BTreeMap::is_empty"))]
    pub subscriptions: BTreeMap<String, Filter>,
}

/// How to subscribe to one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(default, deny_unknown_fields))]
pub struct Filter {
    /// The highest QoS that messages are to come with: 0, 1 or 2. Default: 0.
    #[cfg_attr(feature = "serde", serde(with = "formats::qos"))]
    pub qos: QoS,
}

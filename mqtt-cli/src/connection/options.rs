//! The options of the connection. Where mosquitto's tools have an option, its letter, name and
//! meaning are theirs.

use crate::exit::Failure;
use clap::Args;
use martlet_tokio::Version;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Options of every command that connects.
#[derive(Args)]
pub(crate) struct ConnectionOptions {
    /// Host to connect to [default: localhost]
    #[arg(short = 'h', long, value_name = "HOST", help_heading = "Server")]
    pub(super) host: Option<String>,
    /// Port to connect to [default: 1883, over TLS 8883, with --ws 80 and 443]; 8883 stands for TLS
    #[arg(short, long, value_name = "PORT", help_heading = "Server", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// Server, credentials and topic at once: mqtt[s]://[user[:password]@]host[:port][/topic], ws[s]://host/path or mqtt+unix:///path
    #[arg(short = 'L', long, value_name = "URL", help_heading = "Server", conflicts_with_all = ["host", "port", "unix", "ws"])]
    pub(super) url: Option<String>,
    /// Connect through a Unix socket
    #[arg(long, value_name = "PATH", help_heading = "Server", conflicts_with_all = ["host", "port", "ws", "proxy"])]
    pub(super) unix: Option<PathBuf>,
    /// Speak MQTT over WebSocket
    #[arg(long, help_heading = "Server")]
    pub(super) ws: bool,
    /// Path of WebSocket [default: /mqtt]
    #[arg(long, value_name = "PATH", help_heading = "Server", conflicts_with_all = ["url", "unix"])]
    pub(super) ws_path: Option<String>,
    /// Header of the request that begins a WebSocket connection; may be repeated
    #[arg(long, value_name = "NAME: VALUE", help_heading = "Server")]
    pub(super) header: Vec<String>,
    /// Proxy to go through: socks5h://[user[:password]@]host[:port] or http://…
    #[arg(long, value_name = "URL", help_heading = "Server")]
    pub(super) proxy: Option<String>,
    /// Local address to connect from
    #[arg(
        short = 'A',
        long = "bind",
        value_name = "ADDRESS",
        help_heading = "Server"
    )]
    pub(super) bind: Option<IpAddr>,
    /// Accepted for mosquitto's sake: sockets are always without delay
    #[arg(long, hide = true)]
    nodelay: bool,
    /// Version of MQTT: 5, 311, 31, or auto, which tries 5 and then 3.1.1 [default: auto]
    #[arg(short = 'V', long = "protocol-version", value_name = "VERSION", help_heading = "Server", value_parser = version)]
    pub(super) version: Option<VersionOption>,
    /// Configuration file of the library (YAML); options of the command line have precedence. Its servers give way to -h, -L and --unix
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub(super) config: Option<PathBuf>,

    /// Client identifier [default: a random one]
    #[arg(
        short,
        long,
        value_name = "ID",
        help_heading = "Session",
        conflicts_with = "id_prefix"
    )]
    pub(super) id: Option<String>,
    /// Client identifier that begins with this, and ends with the number of the process
    #[arg(short = 'I', long, value_name = "PREFIX", help_heading = "Session")]
    pub(super) id_prefix: Option<String>,
    /// Keep the session of the client identifier (-i), and go on with it
    #[arg(short = 'c', long = "disable-clean-session", help_heading = "Session")]
    pub(super) keep_session: bool,
    /// Seconds that the server keeps the session after the connection; -1: for ever (MQTT 5) [default: 0, with -c -1]
    #[arg(short = 'x', long, value_name = "SECONDS", help_heading = "Session", value_parser = expiry)]
    pub(super) session_expiry_interval: Option<u32>,
    /// Seconds of the keep alive; 0 turns it off [default: 60]
    #[arg(short, long, value_name = "SECONDS", help_heading = "Session")]
    pub(super) keepalive: Option<u16>,
    /// Most messages of QoS 1 and 2 in flight [default: 100, in 3.x 20]
    #[arg(short = 'M', long, value_name = "MESSAGES", help_heading = "Session", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) max_inflight: Option<u16>,
    /// Largest packet to take, in bytes [default: 16 MiB]
    #[arg(long, value_name = "BYTES", help_heading = "Session")]
    pub(super) max_packet_size: Option<u32>,
    /// Property of MQTT 5: COMMAND IDENTIFIER VALUE, or COMMAND user-property NAME VALUE; may be repeated
    #[arg(
        short = 'D',
        long,
        value_name = "COMMAND IDENTIFIER [NAME] VALUE",
        help_heading = "Session"
    )]
    pub(super) property: Vec<String>,
    /// File that keeps the session: what was accepted is sent by the next command if this one cannot
    #[arg(long, value_name = "FILE", help_heading = "Session")]
    pub(super) store: Option<PathBuf>,

    /// Seconds that each step of connecting may take [default: 10]
    #[arg(long, value_name = "SECONDS", help_heading = "Reconnecting", value_parser = seconds)]
    pub(super) connect_timeout: Option<Duration>,
    /// Attempts in a row that may fail after a connection was lost; 0: none is made [default: sub and watch no limit, others 3]
    #[arg(long, value_name = "ATTEMPTS", help_heading = "Reconnecting")]
    pub(super) retries: Option<u32>,
    /// Longest wait between two attempts [default: 60]
    #[arg(long, value_name = "SECONDS", help_heading = "Reconnecting", value_parser = seconds)]
    pub(super) retry_max_wait: Option<Duration>,
    /// Retry the first connection too: the server may start later
    #[arg(long, help_heading = "Reconnecting")]
    pub(super) retry_first: bool,

    /// User name
    #[arg(short, long, value_name = "NAME", help_heading = "Credentials")]
    pub(super) username: Option<String>,
    /// Password; other processes may see it: better --password-env or --password-file
    #[arg(short = 'P', long = "pw", visible_alias = "password", value_name = "PASSWORD", help_heading = "Credentials", conflicts_with_all = ["password_env", "password_file"])]
    pub(super) password: Option<OsString>,
    /// Environment variable that holds the password
    #[arg(
        long,
        value_name = "NAME",
        help_heading = "Credentials",
        conflicts_with = "password_file"
    )]
    pub(super) password_env: Option<String>,
    /// File that holds the password; a line break at its end is not part of it
    #[arg(long, value_name = "FILE", help_heading = "Credentials")]
    pub(super) password_file: Option<PathBuf>,

    /// Speak TLS, and trust the authorities of the operating system
    #[arg(long, help_heading = "TLS")]
    pub(super) tls: bool,
    /// File of certificates to trust (PEM)
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(super) cafile: Option<PathBuf>,
    /// Folder of files of certificates to trust (PEM)
    #[arg(long, value_name = "FOLDER", help_heading = "TLS")]
    pub(super) capath: Option<PathBuf>,
    /// The client's certificate (PEM)
    #[arg(long, value_name = "FILE", help_heading = "TLS", requires = "key")]
    pub(super) cert: Option<PathBuf>,
    /// The key of the client's certificate (PEM)
    #[arg(long, value_name = "FILE", help_heading = "TLS", requires = "cert")]
    pub(super) key: Option<PathBuf>,
    /// File that holds the password of an encrypted key
    #[arg(long, value_name = "FILE", help_heading = "TLS", requires = "key")]
    pub(super) key_password_file: Option<PathBuf>,
    /// Do not check that the server's certificate is for its host name: for tests only
    #[arg(long, help_heading = "TLS")]
    pub(super) insecure: bool,
    /// Trust the authorities of the operating system
    #[arg(long, help_heading = "TLS", conflicts_with_all = ["cafile", "capath"])]
    pub(super) tls_use_os_certs: bool,
    /// Application protocol to offer (ALPN); may be repeated
    #[arg(long, value_name = "PROTOCOL", help_heading = "TLS")]
    pub(super) tls_alpn: Vec<String>,
    /// Name that the server's certificate must be for [default: the host]
    #[arg(long, value_name = "NAME", help_heading = "TLS")]
    pub(super) server_name: Option<String>,

    /// Topic of the will, which the server publishes when the connection breaks
    #[arg(long, value_name = "TOPIC", help_heading = "Will")]
    pub(super) will_topic: Option<String>,
    /// Payload of the will [default: empty]
    #[arg(
        long,
        value_name = "TEXT",
        help_heading = "Will",
        requires = "will_topic"
    )]
    pub(super) will_payload: Option<OsString>,
    /// QoS of the will [default: 0]
    #[arg(long, value_name = "QOS", help_heading = "Will", requires = "will_topic", value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(super) will_qos: Option<u8>,
    /// Retain the will
    #[arg(long, help_heading = "Will", requires = "will_topic")]
    pub(super) will_retain: bool,

    /// Print packets and events to standard error, without payloads and secrets
    #[arg(short, long, help_heading = "Diagnostics")]
    pub(crate) debug: bool,
    /// Print no errors and warnings of the connection and the messages; the exit status has them
    #[arg(long, help_heading = "Diagnostics")]
    pub(crate) quiet: bool,
    /// File of options to read first, one a line [default: ~/.config/martlet_COMMAND]
    #[arg(long, value_name = "FILE", help_heading = "Diagnostics")]
    pub(super) options_file: Option<PathBuf>,
    /// Read no file of options
    #[arg(long, help_heading = "Diagnostics", conflicts_with = "options_file")]
    pub(super) no_options_file: bool,

    /// Options of mosquitto's tools that are not supported.
    #[command(flatten)]
    pub(super) rejected: RejectedOptions,
}

impl ConnectionOptions {
    /// Rejects the options that have no meaning for a probe, whose sessions, wills and properties
    /// are those of its checks.
    pub(crate) fn reject_for_probe(&self) -> Result<(), Failure> {
        let options = [
            (self.keep_session, "-c"),
            (self.session_expiry_interval.is_some(), "-x"),
            (self.keepalive.is_some(), "-k"),
            (self.max_inflight.is_some(), "-M"),
            (self.max_packet_size.is_some(), "--max-packet-size"),
            (!self.property.is_empty(), "-D"),
            (self.store.is_some(), "--store"),
            (self.will_topic.is_some(), "--will-topic"),
            (self.retries.is_some(), "--retries"),
            (self.retry_max_wait.is_some(), "--retry-max-wait"),
        ];
        match options.into_iter().find(|(is_given, _)| *is_given) {
            None => Ok(()),
            Some((_, option)) => Err(Failure::usage(format!(
                "{option} is not for probe, whose connections differ in it: leave it out"
            ))),
        }
    }

    /// Whether a configuration file has defaults that the options do not show.
    pub(crate) fn has_configuration(&self) -> bool {
        self.config.is_some()
    }

    /// The client identifier, or what those of several clients begin with.
    pub(crate) fn identifier(&self) -> Option<String> {
        let process = std::process::id();
        let prefix = self.id_prefix.as_ref();
        let with_process = prefix.map(|prefix| format!("{prefix}{process}"));
        self.id.clone().or(with_process)
    }

    /// The first option about reconnecting that was given.
    pub(crate) fn reconnect_option(&self) -> Option<&'static str> {
        let options = [
            (self.retries.is_some_and(|retries| retries > 0), "--retries"),
            (self.retry_max_wait.is_some(), "--retry-max-wait"),
            (self.retry_first, "--retry-first"),
        ];
        let found = options.into_iter().find(|(is_given, _)| *is_given);
        found.map(|(_, name)| name)
    }
}

/// Options of mosquitto's tools that are not supported: they are known, so that the error says what
/// to do in their place.
#[derive(Args)]
pub(crate) struct RejectedOptions {
    #[arg(short = 'S', hide = true)]
    srv: bool,
    #[arg(long, hide = true, value_name = "CIPHERS")]
    ciphers: Option<String>,
    #[arg(long, hide = true, value_name = "VERSION")]
    tls_version: Option<String>,
    #[arg(long, hide = true, value_name = "KEY")]
    psk: Option<OsString>,
    #[arg(long, hide = true, value_name = "IDENTITY")]
    psk_identity: Option<String>,
    #[arg(long, hide = true, value_name = "ENGINE")]
    tls_engine: Option<String>,
    #[arg(long, hide = true, value_name = "HASH")]
    tls_engine_kpass_sha1: Option<OsString>,
    #[arg(long, hide = true, value_name = "FORM")]
    keyform: Option<String>,
}

impl RejectedOptions {
    /// The first that was given, and what to do about it.
    pub(super) fn found(&self) -> Option<(&'static str, &'static str)> {
        let engine = self.tls_engine.is_some() || self.tls_engine_kpass_sha1.is_some();
        let options = [
            (
                self.srv,
                "-S",
                "name the host with -h: SRV records are not looked up",
            ),
            (
                self.ciphers.is_some(),
                "--ciphers",
                "leave it out: the ciphers are rustls's",
            ),
            (
                self.tls_version.is_some(),
                "--tls-version",
                "leave it out: TLS 1.3 and 1.2 are negotiated",
            ),
            (
                self.psk.is_some() || self.psk_identity.is_some(),
                "--psk",
                "use certificates: rustls has no keys that are shared before",
            ),
            (engine, "--tls-engine", "name a file of the key with --key"),
            (
                self.keyform.as_deref().is_some_and(|form| form != "pem"),
                "--keyform",
                "keys are files in PEM",
            ),
        ];
        let found = options.into_iter().find(|(is_given, ..)| *is_given);
        found.map(|(_, name, advice)| (name, advice))
    }
}

/// What `-V` says; `None` in it: negotiated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct VersionOption(pub(super) Option<Version>);

fn version(text: &str) -> Result<VersionOption, String> {
    let version = match text {
        "5" | "5.0" | "mqttv5" | "mqttv50" => Some(Version::V5),
        "311" | "3.1.1" | "mqttv311" => Some(Version::V3_1_1),
        "31" | "3.1" | "mqttv31" => Some(Version::V3_1),
        "auto" => None,
        _ => return Err("expected 5, 311, 31 or auto".to_owned()),
    };
    Ok(VersionOption(version))
}

/// Seconds, also parts of them.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number of seconds above 0".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    // A year: no timer has to be longer.
    if duration.is_zero() || duration > Duration::from_secs(366 * 24 * 60 * 60) {
        return Err(wrong());
    }
    Ok(duration)
}

/// Seconds that may be 0.
pub(crate) fn pause(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0.0) => Ok(Duration::ZERO),
        _ => seconds(text),
    }
}

fn expiry(text: &str) -> Result<u32, String> {
    match text {
        "-1" | "∞" => Ok(u32::MAX),
        text => text
            .parse()
            .map_err(|_| "expected seconds from 0 to 4294967295, or -1".to_owned()),
    }
}

//! From the options to a client that is ready to connect. Everything that can be wrong with them is
//! found here, before anything is sent.

use super::options::{ConnectionOptions, VersionOption};
use super::property::Properties;
use crate::exit::{Failure, in_one_line};
use crate::report::to_standard_error;
use martlet_tokio::proto::{BinaryData, Will};
use martlet_tokio::reconnect::{ErrorClass, Reaction};
use martlet_tokio::runtime::SocketOptions;
use martlet_tokio::session::InboundLimits;
use martlet_tokio::settings::{Secret, Uri};
use martlet_tokio::{
    Builder, ConnectError, Endpoint, PacketLogger, QoS, Reconnect, Settings, Version,
};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

/// A server that accepts and hangs up is not asked without a pause.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// Which command asks, and what that means for its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Publish,
    Subscribe,
    Request,
    Probe,
    Watch,
}

impl Kind {
    /// The packets that `-D` can name.
    fn packets(self) -> &'static [&'static str] {
        match self {
            Self::Publish => &["connect", "publish", "will", "disconnect"],
            Self::Subscribe => &["connect", "subscribe", "unsubscribe", "will", "disconnect"],
            Self::Request => &["connect", "publish", "subscribe", "will", "disconnect"],
            Self::Probe => &[],
            Self::Watch => &["connect", "subscribe", "will", "disconnect"],
        }
    }

    /// How many attempts may fail in a row by default: who subscribes waits for the server, and
    /// what is to be done once ends.
    fn retries(self) -> Option<u32> {
        match self {
            Self::Publish | Self::Request => Some(3),
            Self::Subscribe | Self::Watch => None,
            // A connection that is lost is a result.
            Self::Probe => Some(0),
        }
    }
}

/// A client that is ready to connect.
pub(crate) struct Plan {
    pub(crate) builder: Builder,
    /// The file that keeps its session.
    pub(crate) store: Option<PathBuf>,
    /// Whether the server keeps the session after the connection.
    pub(crate) is_lasting: bool,
    /// The topic in the URL.
    pub(crate) topic: Option<String>,
    /// The filters that the configuration subscribes to.
    pub(crate) subscriptions: BTreeMap<String, QoS>,
    pub(crate) properties: Properties,
    pub(crate) is_quiet: bool,
    /// For connections that are not the client's. It is the first server's.
    pub(crate) settings: Settings,
    /// The address to connect from.
    pub(crate) bind: Option<IpAddr>,
}

impl ConnectionOptions {
    /// Checks the options, and reads the files that they name. `only_in_5`: an option of the
    /// command that no other version has.
    pub(crate) fn plan(
        &self,
        kind: Kind,
        only_in_5: Option<&'static str>,
    ) -> Result<Plan, Failure> {
        if let Some((option, advice)) = self.rejected.found() {
            return Err(Failure::usage(format!(
                "{option} is not supported: {advice}"
            )));
        }
        let properties = Properties::read(&self.property, kind.packets())?;
        self.check_alike(&properties)?;
        let mut settings = self.base()?;
        let topic = self.set_server(&mut settings)?;
        self.set_credentials(&mut settings)?;
        self.set_session(&mut settings, &properties)?;
        if kind == Kind::Probe {
            self.set_probe(&mut settings);
        }
        self.set_version(&mut settings, only_in_5)?;
        self.set_tls(&mut settings)?;
        if let Some(timeout) = self.connect_timeout {
            settings.connection_timeout = timeout;
        }
        let subscriptions = std::mem::take(&mut settings.martlet.subscriptions);
        let store = settings.martlet.store.take();
        let is_lasting = store.is_some()
            || !settings.cleansession
            || settings
                .martlet
                .session_expiry_interval
                .is_some_and(|seconds| seconds > 0);
        let builder = settings.builder().map_err(|error| self.explain(&error))?;
        let builder = self.set_reconnect(builder, &settings, kind);
        let builder = self.set_will(builder, &properties)?;
        let mut builder = set_connect_properties(builder, &properties, settings.martlet.inbound);
        if let Some(authenticator) = properties.connect.authentication.authenticator()? {
            builder = builder.authenticator(authenticator);
        }
        let builder = self.set_socket(builder);
        let builder = self.set_observer(builder);
        builder.check().map_err(|error| self.explain(&error))?;
        Ok(Plan {
            builder,
            store,
            is_lasting,
            topic,
            subscriptions: subscriptions
                .into_iter()
                .map(|(filter, settings)| (filter, settings.qos))
                .collect(),
            properties,
            is_quiet: self.quiet,
            settings,
            bind: self.bind,
        })
    }

    /// Rejects options of which one would make another one void.
    fn check_alike(&self, properties: &Properties) -> Result<(), Failure> {
        let connect = &properties.connect;
        let pairs = [
            (
                self.max_packet_size.is_some() && connect.maximum_packet_size.is_some(),
                "--max-packet-size",
                "-D connect maximum-packet-size",
            ),
            (
                self.session_expiry_interval.is_some() && connect.session_expiry_interval.is_some(),
                "-x",
                "-D connect session-expiry-interval",
            ),
        ];
        if let Some((_, one, other)) = pairs.into_iter().find(|(are_given, ..)| *are_given) {
            return Err(Failure::usage(format!(
                "{one} and {other} set the same: leave one of them out"
            )));
        }
        let useless = [
            (self.retry_first, "--retry-first"),
            (self.retry_max_wait.is_some(), "--retry-max-wait"),
        ];
        let useless = useless.into_iter().find(|(is_given, _)| *is_given);
        match (self.retries, useless) {
            (Some(0), Some((_, option))) => Err(Failure::usage(format!(
                "{option} cannot be used with --retries 0, after which no attempt follows"
            ))),
            _ => Ok(()),
        }
    }

    /// The defaults of the library, or the configuration file.
    fn base(&self) -> Result<Settings, Failure> {
        match &self.config {
            None => Ok(Settings::default()),
            Some(path) => Settings::load(path).map_err(|error| {
                let error = ConnectError::settings(error);
                Failure::usage(format!("--config: {}", in_one_line(error)))
            }),
        }
    }

    fn set_server(&self, settings: &mut Settings) -> Result<Option<String>, Failure> {
        let mut topic = None;
        if let Some(server) = self.server(settings)? {
            settings.martlet.servers.clear();
            let mut uri = server.uri;
            if self.username.is_some() || self.has_password() {
                // Those of the options have precedence, and those of a URI would.
                if let (Some(name), None) = (server.endpoint.user_name(), &self.username) {
                    settings.martlet.user_name = Some(name.into());
                }
                if let (Some(password), false) = (server.endpoint.password(), self.has_password()) {
                    settings.martlet.password = Some(password.to_vec().into());
                }
                uri = without_credentials(&uri);
            }
            settings.connection.uri = Uri::from(uri.as_str());
            topic = server.topic;
        }
        for header in &self.header {
            let Some((name, value)) = header.split_once(':') else {
                return Err(Failure::usage("--header: expected NAME: VALUE"));
            };
            let value = value.trim().to_owned();
            settings
                .martlet
                .headers
                .push((name.trim().to_owned(), Secret::Text(value)));
        }
        if let Some(proxy) = &self.proxy {
            // The library says socks5; the name is resolved by the proxy there too.
            let proxy = match proxy.strip_prefix("socks5h://") {
                Some(rest) => format!("socks5://{rest}"),
                None => proxy.clone(),
            };
            settings.martlet.proxy = Some(Uri::from(proxy.as_str()));
        }
        Ok(topic)
    }

    fn has_password(&self) -> bool {
        self.password.is_some() || self.password_env.is_some() || self.password_file.is_some()
    }

    fn set_credentials(&self, settings: &mut Settings) -> Result<(), Failure> {
        if let Some(name) = &self.username {
            settings.martlet.user_name = Some(name.as_str().into());
        }
        if let Some(password) = &self.password {
            settings.martlet.password = Some(password.as_encoded_bytes().to_vec().into());
        }
        if let Some(name) = &self.password_env {
            // The library's error names the key of a configuration.
            if std::env::var_os(name).is_none() {
                return Err(Failure::usage(
                    "--password-env: this environment variable is not set",
                ));
            }
            settings.martlet.password = Some(Secret::Env(name.clone()));
        }
        if let Some(path) = &self.password_file {
            readable("--password-file", path)?;
            settings.martlet.password = Some(Secret::File(path.clone()));
        }
        Ok(())
    }

    fn set_session(&self, settings: &mut Settings, properties: &Properties) -> Result<(), Failure> {
        if let Some(id) = &self.id {
            settings.martlet.client_identifier = Some(id.clone());
        }
        if let Some(prefix) = &self.id_prefix {
            let process = std::process::id();
            settings.martlet.client_identifier = Some(format!("{prefix}{process}"));
        }
        if let Some(seconds) = self.keepalive {
            settings.keep_alive = seconds;
            settings.ping_delay = Some(0);
        }
        if let Some(messages) = self.max_inflight.and_then(NonZeroU16::new) {
            settings.martlet.max_in_flight = Some(messages);
            settings.martlet.max_in_flight_3x = Some(messages);
        }
        if let Some(bytes) = self.max_packet_size {
            settings.martlet.maximum_packet_size = Some(bytes);
        }
        if let Some(path) = &self.store {
            settings.martlet.store = Some(path.clone());
        }
        let of_property = properties.connect.session_expiry_interval;
        if let Some(seconds) = of_property.or(self.session_expiry_interval) {
            settings.martlet.session_expiry_interval = Some(seconds);
        }
        if self.keep_session {
            settings.cleansession = false;
        }
        let identifier = settings.martlet.client_identifier.as_deref();
        let is_named = identifier.is_some_and(|id| !id.is_empty()) && self.id_prefix.is_none();
        let never_expires = |seconds| seconds == Some(u32::MAX);
        let options = [
            (self.keep_session, "-c"),
            (never_expires(self.session_expiry_interval), "-x -1"),
            (
                never_expires(of_property),
                "-D connect session-expiry-interval",
            ),
        ];
        for (_, option) in options.iter().filter(|(given, _)| *given) {
            if !is_named {
                return Err(Failure::usage(format!(
                    "{option} keeps the session of a client identifier: name one with -i"
                )));
            }
        }
        Ok(())
    }

    /// A probe is of one server, and must not take over the session of a client that runs.
    fn set_probe(&self, settings: &mut Settings) {
        settings.martlet.servers.clear();
        settings.martlet.store = None;
        settings.will = None;
        settings.cleansession = true;
        settings.martlet.session_expiry_interval = None;
        let configured = settings.martlet.client_identifier.as_ref();
        let given = self.id.as_ref().or(self.id_prefix.as_ref()).or(configured);
        let prefix = given.map_or("probe-", String::as_str);
        // In 3.1 an identifier has at most 23 characters.
        let random = RandomState::new().hash_one(std::process::id()) as u32;
        settings.martlet.client_identifier = Some(format!("{prefix}{random:08x}"));
    }

    /// An option that only MQTT 5 has makes that the version.
    fn set_version(
        &self,
        settings: &mut Settings,
        only_in_5: Option<&'static str>,
    ) -> Result<(), Failure> {
        let expiry = self.session_expiry_interval.map(|_| "-x");
        let property = (!self.property.is_empty()).then_some("-D");
        let needs_5 = expiry.or(property).or(only_in_5);
        match (self.version, needs_5) {
            (Some(VersionOption(Some(version))), Some(option)) if version != Version::V5 => {
                return Err(Failure::usage(format!(
                    "{option} needs MQTT 5, and -V says {version}"
                )));
            }
            (Some(VersionOption(version)), None) => settings.martlet.version = version,
            (_, Some(_)) => settings.martlet.version = Some(Version::V5),
            (None, None) => {}
        }
        let version = settings.martlet.version;
        let has_name = settings.martlet.user_name.is_some()
            || Endpoint::parse(settings.connection.uri.as_str())
                .is_ok_and(|endpoint| endpoint.user_name().is_some());
        if self.has_password() && !has_name && version != Some(Version::V5) {
            if version.is_some() {
                return Err(Failure::usage(
                    "--pw needs a user name (-u) in this version of MQTT; MQTT 5 does not",
                ));
            }
            settings.martlet.version = Some(Version::V5);
        }
        Ok(())
    }

    fn set_tls(&self, settings: &mut Settings) -> Result<(), Failure> {
        let connection = &mut settings.connection;
        let files = [
            (&self.cafile, &mut connection.cafile, "--cafile"),
            (&self.capath, &mut connection.capath, "--capath"),
            (&self.cert, &mut connection.certfile, "--cert"),
            (&self.key, &mut connection.keyfile, "--key"),
        ];
        for (given, setting, option) in files {
            if let Some(path) = given {
                readable(option, path)?;
                *setting = Some(path.clone());
            }
        }
        if let Some(path) = &self.key_password_file {
            readable("--key-password-file", path)?;
            settings.martlet.key_password = Some(Secret::File(path.clone()));
        }
        if self.insecure {
            settings.check_hostname = false;
        }
        if !self.tls_alpn.is_empty() {
            settings.martlet.alpn.clone_from(&self.tls_alpn);
        }
        if let Some(name) = &self.server_name {
            settings.martlet.server_name = Some(name.clone());
        }
        Ok(())
    }

    /// The configured policy, except that an error which will not go away by itself ends the command:
    /// its user sees the error, or the exit status.
    fn set_reconnect(&self, builder: Builder, settings: &Settings, kind: Kind) -> Builder {
        let retries = match (self.retries, &self.config) {
            (Some(retries), _) => Some(retries),
            (None, Some(_)) => u32::try_from(settings.reconnect_retries)
                .ok()
                .map(|retries| retries.saturating_add(1)),
            (None, None) => kind.retries(),
        };
        let is_enabled = settings.auto_reconnect && retries != Some(0);
        let mut policy = Reconnect::default()
            .enabled(is_enabled)
            .retry_first(is_enabled && (settings.martlet.retry_first || self.retry_first))
            .retries(retries)
            .after_first(ErrorClass::Permanent, Reaction::Stop);
        if self.config.is_some() {
            policy = policy.max(settings.reconnect_max_interval.max(SHORTEST_WAIT));
        }
        if let Some(wait) = self.retry_max_wait {
            policy = policy.max(wait).initial(wait.min(Duration::from_secs(1)));
        }
        builder.reconnect(policy)
    }

    fn set_will(&self, builder: Builder, properties: &Properties) -> Result<Builder, Failure> {
        let Some(topic) = &self.will_topic else {
            if properties.has_will {
                return Err(Failure::usage("--property will: there is no --will-topic"));
            }
            return Ok(builder);
        };
        let payload = self.will_payload.clone().unwrap_or_default();
        let payload = BinaryData::new(payload.into_encoded_bytes())
            .map_err(|error| Failure::usage(format!("--will-payload: {error}")))?;
        let mut will = Will::new(topic.as_str(), payload)
            .map_err(|error| Failure::usage(format!("--will-topic: {}", causes(&error))))?
            .qos(qos(self.will_qos.unwrap_or(0)))
            .retain(self.will_retain)
            .properties(properties.will.clone());
        if let Some(seconds) = properties.will_delay {
            will = will.delay_interval(seconds);
        }
        Ok(builder.will_message(will))
    }

    fn set_socket(&self, builder: Builder) -> Builder {
        match self.bind {
            Some(address) => builder.socket(SocketOptions::default().local_address(address)),
            None => builder,
        }
    }

    fn set_observer(&self, builder: Builder) -> Builder {
        if !self.debug {
            return builder;
        }
        let name = self.id.clone().unwrap_or_else(|| "martlet".to_owned());
        builder.observer(PacketLogger::new(name, |line: &str| {
            to_standard_error(&format!("{line}\n"));
        }))
    }

    /// The library's error about a setting. It names the key of a configuration: where an option
    /// has set that, the option is named in its place.
    fn explain(&self, error: &ConnectError) -> Failure {
        let mut text = in_one_line(error.clone());
        let password = self.password_file.is_some();
        let name = self.id.is_some() || self.id_prefix.is_some();
        let options = [
            ("connection.cafile", "--cafile", self.cafile.is_some()),
            ("connection.capath", "--capath", self.capath.is_some()),
            ("connection.certfile", "--cert", self.cert.is_some()),
            ("connection.keyfile", "--key", self.key.is_some()),
            (
                "martlet.key_password",
                "--key-password-file",
                self.key_password_file.is_some(),
            ),
            (
                "martlet.server_name",
                "--server-name",
                self.server_name.is_some(),
            ),
            ("martlet.alpn", "--tls-alpn", !self.tls_alpn.is_empty()),
            ("martlet.proxy", "--proxy", self.proxy.is_some()),
            ("martlet.headers", "--header", !self.header.is_empty()),
            ("martlet.client_identifier", "--id", name),
            ("martlet.user_name", "--username", self.username.is_some()),
            ("martlet.password", "--password-file", password),
            ("martlet.password", "--pw", !password && self.has_password()),
            (
                "martlet.maximum_packet_size",
                "--max-packet-size",
                self.max_packet_size.is_some(),
            ),
            (
                "maximum_packet_size",
                "--max-packet-size",
                self.max_packet_size.is_some(),
            ),
            (
                "maximum_packet_size",
                "-D connect maximum-packet-size",
                self.property
                    .iter()
                    .any(|text| text.contains("maximum-packet-size")),
            ),
        ];
        for (key, option, _) in options.iter().filter(|(.., is_given)| *is_given) {
            text = text.replace(key, option);
        }
        if matches!(error, ConnectError::Stack(_)) && !self.header.is_empty() {
            text = format!("--header: {text}");
        }
        let is_of_file = text.contains("martlet.") || text.contains("connection.");
        match is_of_file && self.config.is_some() {
            true => Failure::usage(format!("--config: {text}")),
            false => Failure::usage(text),
        }
    }
}

/// `limits`: those of the configuration, of which one may be set here.
fn set_connect_properties(
    builder: Builder,
    properties: &Properties,
    limits: InboundLimits,
) -> Builder {
    let connect = &properties.connect;
    let mut builder = builder;
    if let Some(messages) = connect.receive_maximum {
        builder = builder.inbound(limits.receive_maximum(messages.get()));
    }
    if let Some(bytes) = connect.maximum_packet_size {
        builder = builder.maximum_packet_size(bytes);
    }
    if let Some(maximum) = connect.topic_alias_maximum {
        builder = builder.topic_alias_maximum(maximum);
    }
    if let Some(asks) = connect.request_response_information {
        builder = builder.request_response_information(asks);
    }
    if connect.user.is_empty() {
        return builder;
    }
    let user = connect.user.clone();
    builder.before_connect(move |mut attempt| {
        attempt.set_user_properties(user.clone());
        async move { Ok(attempt) }
    })
}

/// A URI that was read before, without its user name and password.
fn without_credentials(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return uri.to_owned();
    };
    // Behind the authority an @ has nothing to do with credentials.
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => uri.to_owned(),
    }
}

/// A file that cannot be read is named by its option, before anything is sent.
fn readable(option: &str, path: &std::path::Path) -> Result<(), Failure> {
    let result = match path.is_dir() {
        true => std::fs::read_dir(path).map(drop),
        false => std::fs::File::open(path).map(drop),
    };
    result.map_err(|error| {
        Failure::usage(format!("{option}: cannot read {}: {error}", path.display()))
    })
}

/// The error and its causes, in one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// The QoS of an option that clap has checked.
pub(crate) fn qos(number: u8) -> QoS {
    match number {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receive_maximum_leaves_the_other_limits_of_a_configuration() {
        let option = ["connect", "receive-maximum", "5"].join("\0");
        let properties = Properties::read(&[option], &["connect"]).unwrap();
        let limits = InboundLimits::default().soft_messages(77);
        let builder = Settings::default().builder().unwrap();
        let builder = set_connect_properties(builder, &properties, limits);
        let text = format!("{builder:?}");
        assert!(text.contains("soft_messages: 77"), "{text}");
        assert!(text.contains("receive_maximum: 5"), "{text}");
    }

    #[test]
    fn credentials_end_before_the_host_and_nothing_else_is_cut() {
        for (uri, expected) in [
            ("mqtt://u:p@h:1", "mqtt://h:1"),
            ("mqtt://u@corp:p@h", "mqtt://h"),
            (
                "wss://h/mqtt?user=a@example.com",
                "wss://h/mqtt?user=a@example.com",
            ),
            (
                "wss://u:p@h/mqtt?user=a@example.com",
                "wss://h/mqtt?user=a@example.com",
            ),
            ("wss://u@h?user=a@example.com", "wss://h?user=a@example.com"),
            ("mqtt+unix:///run/a@b", "mqtt+unix:///run/a@b"),
            ("mqtt://h", "mqtt://h"),
        ] {
            assert_eq!(without_credentials(uri), expected, "{uri}");
        }
    }
}

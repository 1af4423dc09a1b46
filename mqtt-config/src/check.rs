//! Checks that types cannot express: impossible values, and settings that contradict each other.
//! Nothing is looked up here.

use crate::error::{PathStep, SettingsError, SettingsErrorKind as Kind};
use crate::{Secret, Settings, Uri};
use martlet_client::{
    Client, Endpoint, QoS, TopicFilter, TopicName, Version,
    client::TopicDefaults,
    proto::{BinaryData, TopicError, Utf8String},
    session::{Config, ConfigError},
    transport::{ProxyUri, UriError},
};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

type Checked<T> = Result<T, SettingsError>;

impl Settings {
    /// Finds what no builder can be made of, as far as that can be seen without looking anything
    /// up.
    pub(crate) fn check(&self) -> Checked<()> {
        self.check_times()?;
        self.check_servers()?;
        self.check_credentials()?;
        self.check_trust()?;
        self.checked_topics()?;
        self.checked_will_topic()?;
        self.checked_subscriptions()?;
        self.checked_client_id()?;
        self.check_limits()?;
        let martlet = &self.martlet;
        if martlet.session_expiry_interval.is_some()
            && martlet.version.is_some_and(|version| version < Version::V5)
        {
            let text = "a session expiry needs MQTT 5; set martlet.version to 5 or auto";
            return Err(conflict(["martlet", "session_expiry_interval"], text));
        }
        Ok(())
    }

    fn check_times(&self) -> Checked<()> {
        if self.keep_alive > 0 && self.ping_delay.is_some_and(|delay| delay > self.keep_alive) {
            let text = "must not be more than keep_alive".to_owned();
            return Err(conflict(["ping_delay"], text));
        }
        positive(["connection_timeout"], Some(self.connection_timeout))?;
        positive(["martlet", "publish_timeout"], self.martlet.publish_timeout)?;
        positive(["martlet", "request_timeout"], self.martlet.request_timeout)?;
        positive(["martlet", "ping_timeout"], self.martlet.ping_timeout)
    }

    fn check_limits(&self) -> Checked<()> {
        let maximum_packet_size = self
            .martlet
            .maximum_packet_size
            .unwrap_or(Config::DEFAULT_MAXIMUM_PACKET_SIZE);
        let config = Config::default()
            .inbound(self.martlet.inbound)
            .maximum_packet_size(maximum_packet_size);
        let path = match config.check() {
            Ok(()) => return Ok(()),
            Err(ConfigError::Zero(setting)) => setting,
            Err(error) => {
                let text = error.to_string();
                return Err(SettingsError::new(
                    ["martlet", "maximum_packet_size"],
                    Kind::Value(text),
                ));
            }
        };
        let name = path.strip_prefix("inbound.").unwrap_or(path);
        Err(SettingsError::new(
            ["martlet", "inbound", name],
            Kind::Value("must be more than 0".to_owned()),
        ))
    }

    fn check_servers(&self) -> Checked<()> {
        uri(
            &self.connection.uri,
            Endpoint::parse,
            ["connection", "uri"].map(PathStep::from),
        )?;
        for (n, server) in self.martlet.servers.iter().enumerate() {
            uri(
                server,
                Endpoint::parse,
                ["martlet".into(), "servers".into(), n.into()],
            )?;
        }
        if let Some(proxy) = &self.martlet.proxy {
            uri(
                proxy,
                ProxyUri::parse,
                ["martlet", "proxy"].map(PathStep::from),
            )?;
        }
        for (name, value) in &self.martlet.headers {
            let path = ["martlet", "headers", name];
            not_hidden(path, value)?;
            header(
                path,
                name,
                if let Secret::Text(value) = value {
                    value
                } else {
                    ""
                },
            )?;
        }
        Ok(())
    }

    fn check_credentials(&self) -> Checked<()> {
        let martlet = &self.martlet;
        let named = [
            ("user_name", &martlet.user_name),
            ("password", &martlet.password),
        ];
        for (key, secret) in named {
            let Some(secret) = secret else { continue };
            not_hidden(["martlet", key], secret)?;
            let endpoint = Endpoint::parse(self.connection.uri.as_str());
            if endpoint.is_ok_and(|endpoint| {
                endpoint.user_name().is_some() || endpoint.password().is_some()
            }) {
                return Err(conflict(
                    ["martlet", key],
                    "the URI has a user name or a password too",
                ));
            }
        }
        if let Some(Secret::Text(name)) = &martlet.user_name {
            text(["martlet", "user_name"], name)?;
        }
        Ok(())
    }

    fn check_trust(&self) -> Checked<()> {
        // Without TLS there is no certificate, and amqtt takes it.
        if !self.verify_cert && self.check_hostname && self.speaks_tls() {
            let text = "a certificate that is not verified has no host name to check; set check_hostname to false too";
            return Err(conflict(["verify_cert"], text));
        }
        let connection = &self.connection;
        let files = [
            ("cafile", &connection.cafile),
            ("capath", &connection.capath),
            ("certfile", &connection.certfile),
            ("keyfile", &connection.keyfile),
        ];
        for (key, file) in files {
            if file.as_deref().is_some_and(is_no_name) {
                let text =
                    "this is not the name of a file; certificates themselves may stand in cadata"
                        .to_owned();
                return Err(SettingsError::new(["connection", key], Kind::Value(text)));
            }
        }
        match (&self.connection.certfile, &self.connection.keyfile) {
            (Some(_), None) => Err(conflict(
                ["connection", "certfile"],
                "a certificate needs its keyfile",
            )),
            (None, Some(_)) => Err(conflict(
                ["connection", "keyfile"],
                "a key needs its certfile",
            )),
            _ => Ok(()),
        }?;
        match &self.martlet.key_password {
            Some(_) if self.connection.keyfile.is_none() => Err(conflict(
                ["martlet", "key_password"],
                "there is no keyfile that it could be for",
            )),
            Some(password) => not_hidden(["martlet", "key_password"], password),
            None => Ok(()),
        }
    }

    pub(crate) fn checked_topics(&self) -> Checked<HashMap<TopicName, TopicDefaults>> {
        let topics = self.topics.iter().map(|(topic, defaults)| {
            let name = TopicName::new(topic.as_str())
                .map_err(|error| wrong_topic(["topics", topic], error))?;
            Ok((name, *defaults))
        });
        topics.collect()
    }

    pub(crate) fn checked_will_topic(&self) -> Checked<Option<TopicName>> {
        let Some(will) = &self.will else {
            return Ok(None);
        };
        not_hidden(["will", "message"], &will.message)?;
        match &will.message {
            Secret::Text(message) => drop(will_payload(message.as_bytes())?),
            Secret::Bytes(message) => drop(will_payload(message)?),
            _ => {}
        }
        let topic = TopicName::new(will.topic.as_str())
            .map_err(|error| wrong_topic(["will", "topic"], error))?;
        Ok(Some(topic))
    }

    pub(crate) fn checked_subscriptions(&self) -> Checked<Vec<(TopicFilter, QoS)>> {
        let subscriptions = self.martlet.subscriptions.iter().map(|(filter, options)| {
            let path = ["martlet", "subscriptions", filter];
            let filter =
                TopicFilter::new(filter.as_str()).map_err(|error| wrong_topic(path, error))?;
            Ok((filter, options.qos))
        });
        subscriptions.collect()
    }

    pub(crate) fn checked_client_id(&self) -> Checked<Option<&str>> {
        let Some(identifier) = &self.martlet.client_identifier else {
            return Ok(None);
        };
        text(["martlet", "client_identifier"], identifier)?;
        Ok(Some(identifier))
    }
}

/// The payload of the will, which MQTT gives two bytes of length.
pub(crate) fn will_payload(bytes: &[u8]) -> Checked<BinaryData> {
    BinaryData::try_from(bytes)
        .map_err(|error| SettingsError::new(["will", "message"], Kind::Value(error.to_string())))
}

/// Text as MQTT has it.
pub(crate) fn text<const N: usize>(path: [&str; N], text: &str) -> Checked<Utf8String> {
    Utf8String::try_from(text)
        .map_err(|error| SettingsError::new(path, Kind::Value(error.to_string())))
}

/// A header of the request of WebSocket. The error quotes neither its name nor its value: the whole
/// header may have come in either place.
pub(crate) fn header<const N: usize>(path: [&str; N], name: &str, value: &str) -> Checked<()> {
    if cfg!(not(feature = "websocket")) {
        // No header is sent, and the builder says so.
        return Ok(());
    }
    let builder = Client::builder("ws://localhost").header(name, value);
    builder.check().map_err(|_| {
        let text = "it is not a header that can be sent: a name of letters, digits and hyphens which the handshake does \
                    not set itself, and a value on one line";
        SettingsError::new(path, Kind::Value(text.to_owned()))
    })
}

/// Whether a key or a certificate stands where the name of its file should: the error of opening it
/// would quote it.
fn is_no_name(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.contains(['\n', '\r']) || text.contains("-----BEGIN")
}

fn conflict<const N: usize>(path: [&str; N], text: impl Into<String>) -> SettingsError {
    SettingsError::new(path, Kind::Conflict(text.into()))
}

fn wrong_topic<const N: usize>(path: [&str; N], error: TopicError) -> SettingsError {
    SettingsError::new(path, Kind::Value(error.to_string()))
}

fn positive<const N: usize>(path: [&str; N], time: Option<Duration>) -> Checked<()> {
    match time {
        Some(Duration::ZERO) => Err(SettingsError::new(
            path,
            Kind::Value("must be more than 0".to_owned()),
        )),
        _ => Ok(()),
    }
}

fn not_hidden<const N: usize>(path: [&str; N], secret: &Secret) -> Checked<()> {
    if secret.is_hidden() {
        Err(SettingsError::new(path, Kind::Hidden))
    } else {
        Ok(())
    }
}

fn uri<T, const N: usize>(
    uri: &Uri,
    parse: fn(&str) -> Result<T, UriError>,
    path: [PathStep; N],
) -> Checked<()> {
    if uri.is_hidden() {
        return Err(SettingsError::new(path, Kind::Hidden));
    }
    // What it says of the scheme quotes it, and it may be the beginning of a password.
    let text = match parse(uri.as_str()) {
        Ok(_) => return Ok(()),
        Err(UriError::Scheme(_)) => {
            "its scheme is not supported; use mqtt, mqtts, ws, wss or mqtt+unix".to_owned()
        }
        Err(UriError::ProxyScheme(_)) => {
            "its scheme is not a proxy's; use http or socks5".to_owned()
        }
        Err(error) => error.to_string(),
    };
    Err(SettingsError::new(path, Kind::Value(text)))
}

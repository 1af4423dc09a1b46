//! What types do not say: values that cannot be, and settings that contradict each other. Nothing is looked up here.

use super::error::{SettingsError, SettingsErrorKind as Kind, Step};
use super::{Secret, Settings, Uri};
use crate::defaults::TopicDefaults;
use martlet_proto::{BinaryData, QoS, TopicError, TopicFilter, TopicName, Utf8String, Version};
use martlet_transport::{Endpoint, ProxyUri, UriError};
use std::collections::HashMap;
use std::time::Duration;

type Checked<T> = Result<T, SettingsError>;

impl Settings {
    /// Finds what no builder can be made of, as far as that can be seen without looking anything up.
    pub(super) fn check(&self) -> Checked<()> {
        self.check_times()?;
        self.check_servers()?;
        self.check_credentials()?;
        self.check_trust()?;
        self.checked_topics()?;
        self.checked_will_topic()?;
        self.checked_subscriptions()?;
        self.checked_client_id()?;
        let martlet = &self.martlet;
        if martlet.session_expiry.is_some()
            && martlet.protocol_version.is_some_and(|version| version < Version::V5)
        {
            return Err(conflict(["martlet", "session_expiry"], "a session expiry needs MQTT 5"));
        }
        Ok(())
    }

    fn check_times(&self) -> Checked<()> {
        if self.keep_alive > 0 && self.ping_delay.is_some_and(|delay| delay >= self.keep_alive) {
            let text = format!("must be less than the keep alive of {} s", self.keep_alive);
            return Err(conflict(["ping_delay"], text));
        }
        positive(["connection_timeout"], Some(self.connection_timeout))?;
        positive(["reconnect_max_interval"], Some(self.reconnect_max_interval))?;
        positive(["martlet", "ack_timeout"], self.martlet.ack_timeout)?;
        positive(["martlet", "request_timeout"], self.martlet.request_timeout)?;
        positive(["martlet", "ping_timeout"], self.martlet.ping_timeout)
    }

    fn check_servers(&self) -> Checked<()> {
        uri(&self.connection.uri, Endpoint::parse, ["connection", "uri"].map(Step::from))?;
        for (n, server) in self.martlet.servers.iter().enumerate() {
            uri(server, Endpoint::parse, ["martlet".into(), "servers".into(), n.into()])?;
        }
        if let Some(proxy) = &self.martlet.proxy {
            uri(proxy, ProxyUri::parse, ["martlet", "proxy"].map(Step::from))?;
        }
        for (name, value) in &self.martlet.headers {
            not_hidden(["martlet", "headers", name], value)?;
        }
        Ok(())
    }

    fn check_credentials(&self) -> Checked<()> {
        let martlet = &self.martlet;
        let named = [("user_name", &martlet.user_name), ("password", &martlet.password)];
        for (key, secret) in named {
            let Some(secret) = secret else { continue };
            not_hidden(["martlet", key], secret)?;
            let endpoint = Endpoint::parse(self.connection.uri.as_str());
            if endpoint.is_ok_and(|endpoint| endpoint.user_name().is_some() || endpoint.password().is_some())
            {
                return Err(conflict(["martlet", key], "the URI has a user name or a password too"));
            }
        }
        if let Some(Secret::Text(name)) = &martlet.user_name {
            text(["martlet", "user_name"], name)?;
        }
        Ok(())
    }

    fn check_trust(&self) -> Checked<()> {
        if !self.verify_cert && self.check_hostname {
            let text = "a certificate that is not verified has no host name to check; set check_hostname to false too";
            return Err(conflict(["verify_cert"], text));
        }
        match (&self.connection.certfile, &self.connection.keyfile) {
            (Some(_), None) => Err(conflict(["connection", "certfile"], "a certificate needs its keyfile")),
            (None, Some(_)) => Err(conflict(["connection", "keyfile"], "a key needs its certfile")),
            _ => Ok(()),
        }?;
        match &self.martlet.key_password {
            Some(_) if self.connection.keyfile.is_none() => {
                Err(conflict(["martlet", "key_password"], "there is no keyfile that it could be for"))
            }
            Some(password) => not_hidden(["martlet", "key_password"], password),
            None => Ok(()),
        }
    }

    pub(super) fn checked_topics(&self) -> Checked<HashMap<TopicName, TopicDefaults>> {
        let topics = self.topics.iter().map(|(topic, defaults)| {
            let name =
                TopicName::new(topic.as_str()).map_err(|error| wrong_topic(["topics", topic], error))?;
            Ok((name, *defaults))
        });
        topics.collect()
    }

    pub(super) fn checked_will_topic(&self) -> Checked<Option<TopicName>> {
        let Some(will) = &self.will else { return Ok(None) };
        not_hidden(["will", "message"], &will.message)?;
        if let Secret::Text(message) = &will.message {
            will_payload(message.as_bytes())?;
        }
        let topic =
            TopicName::new(will.topic.as_str()).map_err(|error| wrong_topic(["will", "topic"], error))?;
        Ok(Some(topic))
    }

    pub(super) fn checked_subscriptions(&self) -> Checked<Vec<(TopicFilter, QoS)>> {
        let subscriptions = self.martlet.subscriptions.iter().map(|(filter, options)| {
            let path = ["martlet", "subscriptions", filter];
            let filter = TopicFilter::new(filter.as_str()).map_err(|error| wrong_topic(path, error))?;
            Ok((filter, options.qos))
        });
        subscriptions.collect()
    }

    pub(super) fn checked_client_id(&self) -> Checked<Option<&str>> {
        let Some(identifier) = &self.martlet.client_id else { return Ok(None) };
        text(["martlet", "client_id"], identifier)?;
        Ok(Some(identifier))
    }
}

/// The payload of the will, which MQTT gives two bytes of length.
pub(super) fn will_payload(bytes: &[u8]) -> Checked<BinaryData> {
    BinaryData::try_from(bytes)
        .map_err(|error| SettingsError::new(["will", "message"], Kind::Value(error.to_string())))
}

/// Text as MQTT has it.
pub(super) fn text<const N: usize>(path: [&str; N], text: &str) -> Checked<Utf8String> {
    Utf8String::try_from(text).map_err(|error| SettingsError::new(path, Kind::Value(error.to_string())))
}

fn conflict<const N: usize>(path: [&str; N], text: impl Into<String>) -> SettingsError {
    SettingsError::new(path, Kind::Conflict(text.into()))
}

fn wrong_topic<const N: usize>(path: [&str; N], error: TopicError) -> SettingsError {
    SettingsError::new(path, Kind::Value(error.to_string()))
}

fn positive<const N: usize>(path: [&str; N], time: Option<Duration>) -> Checked<()> {
    match time {
        Some(Duration::ZERO) => Err(SettingsError::new(path, Kind::Value("must be more than 0".to_owned()))),
        _ => Ok(()),
    }
}

fn not_hidden<const N: usize>(path: [&str; N], secret: &Secret) -> Checked<()> {
    if secret.is_hidden() { Err(SettingsError::new(path, Kind::Hidden)) } else { Ok(()) }
}

fn uri<T, const N: usize>(uri: &Uri, parse: fn(&str) -> Result<T, UriError>, path: [Step; N]) -> Checked<()> {
    if uri.is_hidden() {
        return Err(SettingsError::new(path, Kind::Hidden));
    }
    match parse(uri.as_str()) {
        Ok(_) => Ok(()),
        Err(error) => Err(SettingsError::new(path, Kind::Value(error.to_string()))),
    }
}

//! From a configuration to the builder of a client.

use crate::error::{SettingsError, SettingsErrorKind as Kind};
#[cfg(feature = "redb")]
use crate::named::store_error;
use crate::{Plugin, Secret, Settings, check};
use martlet_client::{
    Builder, Client, ClientEvent, ConnectError, Endpoint, PacketLogger, PublishProperties,
    Reconnect, Will,
    client::PublishDefaults,
    hooks::Observer,
    proto::Packet,
    session::{CleanStart, Instant},
};
#[cfg(feature = "redb")]
use martlet_client::{DurableBuilder, store::RedbStore};
#[cfg(feature = "tls")]
use martlet_client::{
    Trust,
    transport::{PemSource, TrustError},
};
use std::time::Duration;

/// What `reconnect_max_interval: 0` stands for: a server that accepts and hangs up is not asked
/// without a pause.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// The ping delay of `None`, unless a quarter of the keep alive is less.
const PING_DELAY: Duration = Duration::from_secs(1);

impl Settings {
    /// The builder of a client with these settings; more can be set on it. Secrets are looked up
    /// here.
    ///
    /// # Errors
    /// [`ConnectError::Settings`] when a setting cannot be, contradicts another, or names what is
    /// not there.
    pub fn builder(&self) -> Result<Builder, ConnectError> {
        if self.martlet.store.is_some() {
            let text = "a session that is kept begins with durable_builder()".to_owned();
            return Err(SettingsError::new(["martlet", "store"], Kind::Conflict(text)).into());
        }
        self.builder_without_store()
    }

    /// The builder of a client whose session is kept in the file of
    /// [`store`](crate::Martlet::store). This opens the file, which blocks.
    ///
    /// # Errors
    /// As [`builder`](Self::builder); also when no file is named, or it cannot be opened.
    #[cfg(feature = "redb")]
    pub fn durable_builder(&self) -> Result<DurableBuilder, ConnectError> {
        let fail = |text| SettingsError::new(["martlet", "store"], Kind::Value(text));
        let Some(path) = &self.martlet.store else {
            return Err(fail("no file is named".to_owned()).into());
        };
        let builder = self.builder_without_store()?;
        let store = RedbStore::open(path).map_err(|error| store_error(path, &error))?;
        Ok(builder.store(store))
    }

    fn builder_without_store(&self) -> Result<Builder, ConnectError> {
        self.check()?;
        let martlet = &self.martlet;
        let mut builder = Client::builder(self.connection.uri.as_str());
        for server in &martlet.servers {
            builder = builder.server(server.as_str());
        }
        if let Some(version) = martlet.version {
            builder = builder.version(version);
        }
        if let Some(identifier) = self.checked_client_id()? {
            builder = builder.client_identifier(identifier);
        }
        builder = self.with_credentials(builder)?;
        builder = self.with_transport(builder)?;
        if let Some(will) = self.looked_up_will()? {
            builder = builder.will_message(will);
        }
        if self.plugins.contains(&Plugin::PacketLogger) {
            let name = martlet.client_identifier.as_deref().unwrap_or("client");
            let log = |line: &str| log::debug!(target: "martlet::packets", "{line}");
            builder = builder.observer(EventLogger(PacketLogger::new(name, log)));
        }
        // The session is set below, and checked when the client is built.
        builder.check()?;
        let topics = self.checked_topics()?;
        let defaults = PublishDefaults::default()
            .qos(self.default_qos)
            .retain(self.default_retain)
            .topics(topics);
        let clean_start = if self.cleansession && martlet.store.is_none() {
            CleanStart::First
        } else {
            CleanStart::Never
        };
        let builder = builder
            .clean_start(clean_start)
            .keep_alive(self.keep_alive)
            .keep_alive_margin(self.ping_margin())
            .dial_timeout(self.connection_timeout)
            .handshake_timeout(self.connection_timeout)
            .connect_timeout(self.connection_timeout)
            .publish_defaults(defaults)
            .subscriptions(self.checked_subscriptions()?)
            .reconnect(self.reconnect_policy())
            .session_expiry_interval(martlet.session_expiry_interval.or(self.lasting_session()))
            .publish_timeout(martlet.publish_timeout)
            .queue(martlet.queue)
            .inbound(martlet.inbound);
        Ok(self.with_limits(builder))
    }

    fn reconnect_policy(&self) -> Reconnect {
        // One attempt follows the failure, and the retries that one.
        let retries = u32::try_from(self.reconnect_retries).ok();
        Reconnect::default()
            .enabled(self.auto_reconnect)
            .retry_first(self.auto_reconnect && self.martlet.retry_first)
            .max(self.reconnect_max_interval.max(SHORTEST_WAIT))
            .retries(retries.map(|retries| retries + 1))
    }

    /// What has a default of the session's.
    fn with_limits(&self, mut builder: Builder) -> Builder {
        let martlet = &self.martlet;
        if let Some(timeout) = martlet.request_timeout {
            builder = builder.request_timeout(timeout);
        }
        if let Some(timeout) = martlet.ping_timeout {
            builder = builder.ping_timeout(timeout);
        }
        if let Some(messages) = martlet.max_in_flight {
            builder = builder.max_in_flight(messages.get());
        }
        if let Some(messages) = martlet.max_in_flight_3x {
            builder = builder.max_in_flight_3x(messages.get());
        }
        if let Some(bytes) = martlet.maximum_packet_size {
            builder = builder.maximum_packet_size(bytes);
        }
        builder
    }

    /// How long before the end of the keep alive a PINGREQ is due; `None`: a quarter of it.
    fn ping_margin(&self) -> Option<Duration> {
        match self.ping_delay {
            Some(0) => None,
            // amqtt would announce no keep alive; a client that asks for one is to notice a dead
            // connection.
            Some(delay) if delay >= self.keep_alive => None,
            Some(delay) => Some(Duration::from_secs(delay.into())),
            None => Some(PING_DELAY.min(Duration::from_secs(self.keep_alive.into()) / 4)),
        }
    }

    /// The session expiry of `cleansession: false`: what a session of 3.1.1 without CleanSession
    /// has (MQTT 5 §3.1.2.11.2).
    fn lasting_session(&self) -> Option<u32> {
        (!self.cleansession).then_some(u32::MAX)
    }

    fn with_credentials(&self, mut builder: Builder) -> Result<Builder, ConnectError> {
        if let Some(name) = &self.martlet.user_name {
            let path = ["martlet", "user_name"];
            let name = looked_up_text(path, name)?;
            builder = builder.user_name(check::text(path, &name)?);
        }
        if let Some(password) = &self.martlet.password {
            builder = builder.password(password.look_up(["martlet", "password"])?);
        }
        Ok(builder)
    }

    fn with_transport(&self, mut builder: Builder) -> Result<Builder, ConnectError> {
        if let Some(proxy) = &self.martlet.proxy {
            builder = builder.proxy(proxy.as_str());
        }
        for (name, value) in &self.martlet.headers {
            let path = ["martlet", "headers", name];
            let value = looked_up_text(path, value)?;
            check::header(path, name, &value)?;
            builder = builder.header(name, &value);
        }
        if cfg!(not(feature = "tls")) && self.speaks_tls() {
            let text = "TLS needs the feature `tls` of martlet-config, which this build is without";
            return Err(
                SettingsError::new(["connection", "uri"], Kind::Value(text.to_owned())).into(),
            );
        }
        #[cfg(feature = "tls")]
        {
            let (trust, password) = (self.trust(), self.martlet.key_password.clone());
            builder = if self.speaks_tls() {
                // Another setting's error must not be reported as one of the certificates.
                builder.check()?;
                let trusted = builder.trust(unlocking(trust, password.as_ref())?);
                trusted
                    .check()
                    .map_err(|error| self.without_values(error))?;
                trusted
            } else {
                let source_name =
                    PemSource::Path(self.connection.keyfile.clone().unwrap_or_default());
                builder.trust_if_needed(move || {
                    let unlocking = unlocking(trust.clone(), password.as_ref());
                    let bad = |error: SettingsError| TrustError::BadKey {
                        source_name: source_name.clone(),
                        reason: error.to_string(),
                    };
                    unlocking.map_err(bad)
                })
            };
        }
        Ok(builder)
    }

    /// Whether any server is spoken to over TLS; otherwise neither the files of certificates nor
    /// the password of the key are looked for yet.
    pub(crate) fn speaks_tls(&self) -> bool {
        let mut uris = std::iter::once(&self.connection.uri).chain(&self.martlet.servers);
        uris.any(|uri| {
            Endpoint::parse(uri.as_str()).is_ok_and(|endpoint| endpoint.scheme().is_tls())
        })
    }

    /// Without the password of the key, which is a secret to be looked up.
    #[cfg(feature = "tls")]
    fn trust(&self) -> Trust {
        let (connection, martlet) = (&self.connection, &self.martlet);
        let mut trust = Trust::new().alpn(martlet.alpn.iter().map(String::as_str));
        if let Some(file) = &connection.cafile {
            trust = trust.ca_file(file);
        }
        if let Some(directory) = &connection.capath {
            trust = trust.ca_directory(directory);
        }
        if let Some(pem) = &connection.cadata {
            trust = trust.ca_pem(pem.as_str());
        }
        if let (Some(certificate), Some(key)) = (&connection.certfile, &connection.keyfile) {
            trust = trust.certificate_file(certificate).key_file(key);
        }
        if let Some(name) = &martlet.server_name {
            trust = trust.server_name(name);
        }
        if !self.check_hostname {
            trust = trust.danger_skip_host_name_check();
        }
        // Only together, as `check_trust` has it; with a server that no URI names, certificates are
        // checked.
        if !self.verify_cert && !self.check_hostname {
            trust = trust.danger_skip_certificate_check();
        }
        trust
    }

    fn looked_up_will(&self) -> Result<Option<Will>, SettingsError> {
        let (Some(will), Some(topic)) = (&self.will, self.checked_will_topic()?) else {
            return Ok(None);
        };
        Ok(Some(Will {
            topic,
            payload: check::will_payload(&will.message.look_up(["will", "message"])?)?,
            qos: will.qos,
            retain: will.retain,
            delay_interval: None,
            properties: PublishProperties::default(),
        }))
    }
}

/// Logs the client's events only: the client itself logs its packets, with the same target.
#[derive(Clone)]
struct EventLogger<W>(PacketLogger<W>);

impl<W: FnMut(&str)> Observer for EventLogger<W> {
    fn packet_sent(&mut self, _: Instant, _: &Packet) {}

    fn packet_received(&mut self, _: Instant, _: &Packet) {}

    fn client_event(&mut self, at: Instant, event: &ClientEvent) {
        self.0.client_event(at, event);
    }
}

#[cfg(feature = "tls")]
fn unlocking(trust: Trust, password: Option<&Secret>) -> Result<Trust, SettingsError> {
    let Some(password) = password else {
        return Ok(trust);
    };
    Ok(trust.key_password(password.look_up(["martlet", "key_password"])?))
}

fn looked_up_text<const N: usize>(
    path: [&str; N],
    secret: &Secret,
) -> Result<String, SettingsError> {
    String::from_utf8(secret.look_up(path)?)
        .map_err(|_| SettingsError::new(path, Kind::Secret("it is not UTF-8".to_owned())))
}

//! From settings to a client.

use crate::api::client::Client;
use crate::builder::Builder;
use crate::builder::durable::{DurableBuilder, OpenError};
use crate::clock::Clock;
use crate::defaults::PublishDefaults;
use crate::driver::Driver;
use crate::driver::hooks::Hooks;
use crate::driver::runtime::Runtime;
use crate::error::ConnectError;
use crate::hub::responses::CorrelationKey;
use crate::hub::shared::Shared;
use crate::link::reconnect::{SplitMix, random_seed};
use crate::link::{Link, LinkConfig, VersionChoice};
use martlet_proto::{EncodeError, SubscribeFilter, Utf8String};
use martlet_session::{Config, ConfigError, ConnectionError, Instant, Session};
use std::sync::Arc;
use std::time::Duration;

/// What an adapter makes a client of: a [`Builder`], or a [`DurableBuilder`].
pub trait IntoClient {
    /// Why there is none.
    type Error: From<ConnectError>;

    /// Makes the client and its driver, as [`Builder::build`] and [`DurableBuilder::build`] do.
    ///
    /// # Errors
    /// As theirs.
    fn into_client<R: Runtime + Unpin>(
        self,
        runtime: R,
    ) -> Result<(Client, Driver<R>), Self::Error>;
}

impl IntoClient for Builder {
    type Error = ConnectError;

    fn into_client<R: Runtime + Unpin>(
        self,
        runtime: R,
    ) -> Result<(Client, Driver<R>), ConnectError> {
        self.build(runtime)
    }
}

impl IntoClient for DurableBuilder {
    type Error = OpenError;

    fn into_client<R: Runtime + Unpin>(self, runtime: R) -> Result<(Client, Driver<R>), OpenError> {
        self.build(runtime)
    }
}

impl Builder {
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
        if !self.has_client_identifier {
            config = config.client_identifier(generated_identifier(&mut SplitMix(0)));
        }
        let mut options = self.link.connect.clone().version(version);
        let named = self.link.endpoints[0].user_name();
        if let Some(Ok(name)) = named.map(Utf8String::try_from) {
            options = options.user_name(name);
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
        let clock = runtime.clock();
        self.build_session(runtime, clock, true, |config| Ok(Session::new(config)))
    }

    /// Makes them around this session; `is_new`: it needs a client identifier.
    pub(crate) fn build_session<R: Runtime + Unpin, E: From<ConnectError>>(
        mut self,
        runtime: R,
        clock: Clock,
        is_new: bool,
        session: impl FnOnce(Config) -> Result<Session, E>,
    ) -> Result<(Client, Driver<R>), E> {
        self.check()?;
        let mut random = SplitMix(self.seed.unwrap_or_else(random_seed));
        if is_new && !self.has_client_identifier {
            let identifier = generated_identifier(&mut random);
            self.config = self.config.client_identifier(identifier);
        }
        #[cfg(feature = "tls")]
        self.read_trust();
        let hooks = Hooks::new(
            self.before_connect.map(|make| make()),
            self.authenticator.map(|make| make()),
        );
        let session = session(self.config)?;
        let link = LinkConfig {
            prepare_timeout: hooks.is_some().then_some(self.hook_timeout),
            seed: random.next(),
            ..self.link
        };
        let mut link = Link::new(link, &session);
        let defaults =
            Some(self.publish_defaults).filter(|defaults| *defaults != PublishDefaults::default());
        let mut shared = Shared::new(session, clock, self.drain, defaults.map(Box::new));
        shared.keep_on_server = self.keep_subscriptions;
        shared.subscribe_at_start(
            self.subscriptions
                .into_iter()
                .map(|(filter, qos)| SubscribeFilter::new(filter, qos))
                .collect(),
        );
        let shared = Arc::new(shared);
        if let Some(make) = self.observer {
            link.set_observer(make());
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

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_proto::Version;
    use martlet_session::{CleanStart, InboundLimits};

    fn rejection(change: impl FnOnce(Builder) -> Builder) -> Option<String> {
        let builder = Client::builder("mqtt://localhost");
        let error = change(builder).check().err()?;
        Some(format!("{:#}", crate::Error::from(error)))
    }

    /// Settings that no connection can work with were found out one connection after the other, as
    /// the server's fault.
    #[test]
    fn what_cannot_work_is_rejected_before_anything_is_dialled() {
        assert_eq!(rejection(|builder| builder), None);
        let text = |setting| {
            Some(format!(
                "the configuration cannot work: {setting} is 0; it must be more"
            ))
        };
        assert_eq!(
            rejection(|builder| builder.dial_timeout(Duration::ZERO)),
            text("dial_timeout")
        );
        assert_eq!(
            rejection(|builder| builder.handshake_timeout(Duration::ZERO)),
            text("handshake_timeout")
        );
        assert_eq!(
            rejection(|builder| builder.hook_timeout(Duration::ZERO)),
            None,
            "there is no hook"
        );
        let hook = |builder: Builder| builder.before_connect(|attempt| async move { Ok(attempt) });
        assert_eq!(
            rejection(|builder| hook(builder).hook_timeout(Duration::ZERO)),
            text("hook_timeout")
        );
        let bound = |builder: Builder| builder.inbound(InboundLimits::default().hard_bytes(0));
        assert_eq!(rejection(bound), text("inbound.hard_bytes"));
        let too_small =
            "the configuration cannot work: maximum_packet_size is 10 bytes; a CONNACK may need 60";
        let small = |builder: Builder| builder.maximum_packet_size(10);
        assert_eq!(rejection(small).as_deref(), Some(too_small));
    }

    /// The first setting that is wrong is the one that is named.
    #[test]
    fn what_is_wrong_is_said_when_the_client_is_built() {
        let wrong = rejection(|builder| builder.server("mq://h").client_identifier("a\0b"));
        assert!(wrong.is_some_and(|text| text.starts_with("the URI is wrong: ")));
        let wrong = rejection(|builder| builder.client_identifier("a\0b").server("mq://h"));
        assert!(wrong.is_some_and(|text| text.starts_with("client identifier: ")));
        // HTTP's Basic scheme ends a user name at a colon.
        let wrong = rejection(|builder| builder.proxy("http://us%3Aer:p@proxy"));
        assert!(wrong.is_some_and(|text| text.contains("colon")));
        assert_eq!(
            rejection(|builder| builder.proxy("http://user:p@proxy")),
            None
        );
    }

    /// With a version that was set, what its CONNECT cannot say is known. With negotiation it is
    /// not.
    #[test]
    fn what_the_version_cannot_say_is_rejected() {
        let nameless =
            |builder: Builder| builder.client_identifier("").clean_start(CleanStart::Never);
        assert_eq!(rejection(nameless), None);
        assert_eq!(
            rejection(|builder| nameless(builder).version(Version::V5)),
            None
        );
        for version in [Version::V3_1, Version::V3_1_1] {
            let rejected = rejection(|builder| nameless(builder).version(version));
            assert!(rejected.is_some_and(|text| text.contains("client identifier")));
            let rejected = rejection(|builder| builder.password("secret").version(version));
            assert!(rejected.is_some_and(|text| text.contains("password without a user name")));
            assert_eq!(rejection(|builder| builder.version(version)), None);
            // A hook may still name it.
            let hook =
                |builder: Builder| builder.before_connect(|attempt| async move { Ok(attempt) });
            assert_eq!(
                rejection(|builder| hook(nameless(builder)).version(version)),
                None
            );
        }
    }
}

//! What is decided anew for each connection, and for its end.

use alloc::boxed::Box;
use core::time::Duration;
use martlet_proto::{BinaryData, DisconnectReasonCode, UserProperties, Utf8String, Version, Will};

/// What one CONNECT says besides what [`Config`](crate::Config) holds for all: decided anew for
/// each connection. `Debug` shows neither the password nor the user name, which may be a token.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    pub(crate) version: Version,
    pub(crate) user_name: Option<Utf8String>,
    pub(crate) password: Option<BinaryData>,
    pub(crate) will: Option<Box<Will>>,
    pub(crate) authentication: Option<Box<Authentication>>,
    pub(crate) user_properties: UserProperties,
}

impl ConnectOptions {
    /// This version, no credentials, no will.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            user_name: None,
            password: None,
            will: None,
            authentication: None,
            user_properties: UserProperties::new(),
        }
    }

    /// Sets the version to speak.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Sets the user name. Default: none.
    #[must_use]
    pub fn user_name(mut self, user_name: impl Into<Option<Utf8String>>) -> Self {
        self.user_name = user_name.into();
        self
    }

    /// Sets how we prove it. In 3.x only together with a user name. Default: not at all.
    #[must_use]
    pub fn password(mut self, password: impl Into<Option<BinaryData>>) -> Self {
        self.password = password.into();
        self
    }

    /// Sets what the server publishes when the connection breaks. Default: nothing.
    #[must_use]
    pub fn will(mut self, will: impl Into<Option<Will>>) -> Self {
        self.will = will.into().map(Box::new);
        self
    }

    /// Sets the enhanced authentication (MQTT 5 §4.12). In 3.x, which has none, no connection is
    /// made then. Default: none.
    #[must_use]
    pub fn authentication(mut self, authentication: impl Into<Option<Authentication>>) -> Self {
        self.authentication = authentication.into().map(Box::new);
        self
    }

    /// Sets name-value pairs of the users' own (MQTT 5). Default: none.
    #[must_use]
    pub fn user_properties(mut self, user_properties: UserProperties) -> Self {
        self.user_properties = user_properties;
        self
    }
}

/// How a CONNECT begins an enhanced authentication (MQTT 5 §3.1.2.11.9). `Debug` shows the length
/// of the data only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    pub(crate) method: Utf8String,
    pub(crate) data: Option<BinaryData>,
}

impl Authentication {
    /// Begins with this method, such as `SCRAM-SHA-256`. It stays the same as long as the
    /// connection lasts.
    pub fn new(method: Utf8String) -> Self {
        Self { method, data: None }
    }

    /// Sets the first data of the method, if it begins with the client. Default: none.
    #[must_use]
    pub fn data(mut self, data: impl Into<Option<BinaryData>>) -> Self {
        self.data = data.into();
        self
    }
}

impl core::fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("version", &self.version)
            .field(
                "user_name",
                &self.user_name.as_ref().map(|name| Hidden(name.len())),
            )
            .field("password", &self.password)
            .field("will", &self.will)
            .field("authentication", &self.authentication)
            .finish_non_exhaustive()
    }
}

/// How long it is, and no more.
struct Hidden(usize);

impl core::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "[{} bytes]", self.0)
    }
}

/// How to end a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisconnectOptions {
    pub(crate) reason: DisconnectReasonCode,
    pub(crate) drain: Duration,
    pub(crate) session_expiry_interval: Option<u32>,
    pub(crate) reason_string: Option<Utf8String>,
    pub(crate) user_properties: UserProperties,
}

impl DisconnectOptions {
    /// Sets the reason to send. 3.x has only a normal disconnection; with another reason the
    /// connection is closed without a DISCONNECT, so that the will is published. Default: normal
    /// disconnection.
    #[must_use]
    pub fn reason(mut self, reason: DisconnectReasonCode) -> Self {
        self.reason = reason;
        self
    }

    /// Sets how long to wait until everything accepted is acknowledged. Default: not at all.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Sets how many seconds the session is to outlive the connection (MQTT 5 §3.14.2.2.2).
    /// Default: what the configuration says, or 0 if it says nothing and the session is not
    /// durable.
    #[must_use]
    pub fn session_expiry_interval(
        mut self,
        session_expiry_interval: impl Into<Option<u32>>,
    ) -> Self {
        self.session_expiry_interval = session_expiry_interval.into();
        self
    }

    /// Sets a text for people (MQTT 5). Default: none.
    #[must_use]
    pub fn reason_string(mut self, reason_string: impl Into<Option<Utf8String>>) -> Self {
        self.reason_string = reason_string.into();
        self
    }

    /// Sets name-value pairs of the users' own (MQTT 5). Default: none.
    #[must_use]
    pub fn user_properties(mut self, user_properties: UserProperties) -> Self {
        self.user_properties = user_properties;
        self
    }
}

impl Default for DisconnectOptions {
    fn default() -> Self {
        Self {
            reason: DisconnectReasonCode::NormalDisconnection,
            drain: Duration::ZERO,
            session_expiry_interval: None,
            reason_string: None,
            user_properties: UserProperties::new(),
        }
    }
}

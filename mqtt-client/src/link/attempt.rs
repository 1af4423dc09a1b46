//! An attempt to connect, as the application may change it.

use crate::error::ConnectError;
use crate::hub::own::Own;
use crate::link::stage::{StackConfig, check_header};
use martlet_proto::{BinaryData, UserProperties, Utf8String, Version, Will};
use martlet_session::{Authentication, ConnectOptions, ConnectionError};
use martlet_transport::Endpoint;
#[cfg(feature = "tls")]
use martlet_transport::TlsConfig;

/// An attempt to connect that is about to begin. A hook may change where it goes and what its
/// CONNECT says; the next attempt begins with the builder's settings again. `Debug` shows no
/// secrets.
///
/// ```
/// # use martlet_client::{Client, hooks::{Attempt, GivenUp}};
/// # async fn token() -> Result<String, std::io::Error> { Ok(String::new()) }
/// let builder = Client::builder("mqtts://broker.example").before_connect(|mut attempt: Attempt| async {
///     let token = token().await.map_err(GivenUp::for_now)?;
///     attempt.set_credentials("device-7", token).map_err(GivenUp::for_good)?;
///     Ok(attempt)
/// });
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Attempt {
    number: u32,
    last_error: Option<ConnectionError>,
    endpoint: Endpoint,
    connect: ConnectOptions,
    headers: Vec<(String, String)>,
    #[cfg(feature = "tls")]
    tls: Option<TlsConfig>,
}

impl Attempt {
    pub(crate) fn new(
        number: u32,
        last_error: Option<ConnectionError>,
        endpoint: Endpoint,
        connect: ConnectOptions,
        headers: Vec<(String, String)>,
    ) -> Self {
        Self {
            number,
            last_error,
            endpoint,
            connect,
            headers,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// 1 for the first attempt of a client, and for the first after a connection; one more for each
    /// that fails.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Why the last attempt or connection ended; `None` at the very first.
    pub fn last_error(&self) -> Option<&ConnectionError> {
        self.last_error.as_ref()
    }

    /// Where it goes.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Goes to another server, with the credentials of its URI if it has any.
    pub fn set_endpoint(&mut self, endpoint: Endpoint) {
        self.endpoint = endpoint;
        self.take_credentials();
    }

    /// Changes what the CONNECT says.
    fn change(&mut self, change: impl FnOnce(ConnectOptions) -> ConnectOptions) {
        let options = std::mem::replace(&mut self.connect, ConnectOptions::new(Version::V5));
        self.connect = change(options);
    }

    /// Sets the message that the server publishes when this connection breaks; `None`: there is
    /// none.
    pub fn set_will(&mut self, will: impl Into<Option<Will>>) {
        let mut will = will.into();
        will.own();
        self.change(|options| options.will(will));
    }

    /// Sets the name-value pairs of the CONNECT (MQTT 5).
    pub fn set_user_properties(&mut self, mut properties: UserProperties) {
        properties.own();
        self.change(|options| options.user_properties(properties));
    }

    pub(crate) fn set_authentication(&mut self, authentication: Authentication) {
        self.change(|options| options.authentication(authentication));
    }

    /// Sets who we are.
    ///
    /// # Errors
    /// [`ConnectError::Setting`] when one is too long or the name holds U+0000.
    pub fn set_credentials(
        &mut self,
        user_name: &str,
        password: impl AsRef<[u8]>,
    ) -> Result<(), ConnectError> {
        let setting = |what| move |error| ConnectError::Setting { what, error };
        let user_name = Utf8String::try_from(user_name).map_err(setting("user name"))?;
        let password = BinaryData::try_from(password.as_ref()).map_err(setting("password"))?;
        self.change(|options| options.user_name(user_name).password(password));
        Ok(())
    }

    /// Sets a header of the request that begins a WebSocket connection, such as `Authorization`, in
    /// place of one with the same name. Other connections have no use for it.
    ///
    /// # Errors
    /// [`ConnectError::Stack`] when it is none, or one that the handshake sets itself.
    pub fn set_header(&mut self, name: &str, value: &str) -> Result<(), ConnectError> {
        check_header(name, value)?;
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// Sets the configuration of TLS, as with a certificate that is good for an hour. Servers
    /// without TLS have no use for it.
    #[cfg(feature = "tls")]
    pub fn set_tls_config(&mut self, config: TlsConfig) {
        self.tls = Some(config);
    }

    #[cfg(feature = "tls")]
    pub(crate) fn has_tls_config(&self) -> bool {
        self.tls.is_some()
    }

    /// Makes the stack that of this attempt.
    pub(crate) fn adapt(&self, stack: &mut StackConfig) {
        stack.headers.clone_from(&self.headers);
        #[cfg(feature = "tls")]
        if let Some(config) = &self.tls {
            stack.tls = Some(Ok(config.clone()));
        }
    }

    pub(crate) fn options(&self) -> &ConnectOptions {
        &self.connect
    }

    fn take_credentials(&mut self) {
        let endpoint = &self.endpoint;
        if endpoint.user_name().is_some() || endpoint.password().is_some() {
            // Checked by `Endpoint::parse`.
            let user_name = endpoint.user_name().and_then(|name| name.try_into().ok());
            let password = endpoint
                .password()
                .and_then(|password| password.try_into().ok());
            self.change(|options| options.user_name(user_name).password(password));
        }
    }
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt")
            .field("number", &self.number)
            .field("last_error", &self.last_error)
            .field("endpoint", &self.endpoint)
            .field("connect", &self.connect)
            .finish_non_exhaustive()
    }
}

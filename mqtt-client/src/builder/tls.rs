//! Whom TLS trusts.

use crate::builder::Builder;
use crate::error::ConnectError;
use martlet_transport::{TlsConfig, Trust, TrustError, TrustFiles};
use std::sync::Arc;

impl Builder {
    /// Sets which certificates TLS trusts, and the client's own. Default: the certificate
    /// authorities of the operating system, and no client certificate. This reads the files that it
    /// names. They are read again, by the driver, before an attempt to connect when they have
    /// changed: [`ClientEvent::TrustReloaded`](crate::ClientEvent::TrustReloaded) reports that, and
    /// [`TrustNotReloaded`](crate::ClientEvent::TrustNotReloaded) that what was in use stays so.
    /// That blocks the thread which polls the driver: for as long as the files take, and with an
    /// encrypted key for tens to hundreds of milliseconds. Where that is too long, a
    /// [`before_connect`](Self::before_connect) hook can set a configuration that was made
    /// elsewhere. What cannot be used is a [`ConnectError::Trust`], which says with which file.
    pub fn trust(self, trust: Trust) -> Self {
        let files = TrustFiles::new(trust);
        let config = files.config().clone().map_err(ConnectError::from);
        self.set(config, |builder, config| {
            builder.link.stack.tls = Some(Ok(config));
            builder.trust_files = Some(Box::new(files));
        })
    }

    /// Sets which certificates TLS trusts, as [`trust`](Self::trust) does, but calls `read` and
    /// reads the files only if TLS can be needed: when the client is built, if a server's URI asks
    /// for TLS, or a [`before_connect`](Self::before_connect) hook may choose a server whose URI
    /// does. An error fails each attempt that needs TLS.
    ///
    /// For programs that know where the certificates are before they know the server.
    /// [`trust`](Self::trust) and [`tls_config`](Self::tls_config) take precedence.
    ///
    /// ```
    /// # use martlet_client::{Client, ConnectError, Trust};
    /// // Over plain TCP the file is not looked for.
    /// let builder = Client::builder("mqtt://localhost")
    ///     .trust_if_needed(|| Ok(Trust::new().ca_file("/etc/factory/ca.pem")));
    /// # Ok::<(), ConnectError>(())
    /// ```
    pub fn trust_if_needed(
        mut self,
        read: impl Fn() -> Result<Trust, TrustError> + Send + Sync + 'static,
    ) -> Self {
        self.trust = Arc::new(read);
        self
    }

    /// Sets the configuration of TLS, such as one that [`rustls`](crate::transport::rustls) made;
    /// it takes the place of [`trust`](Self::trust).
    pub fn tls_config(mut self, config: TlsConfig) -> Self {
        self.link.stack.tls = Some(Ok(config));
        self.trust_files = None;
        self
    }

    /// Reads the certificate authorities, those of the operating system by default, where TLS may
    /// be spoken and they were not read yet. A hook may go to a server that is not in the list.
    pub(super) fn read_trust(&mut self) {
        let is_needed = self.before_connect.is_some()
            || self
                .link
                .endpoints
                .iter()
                .any(|endpoint| endpoint.scheme().is_tls());
        if self.link.stack.tls.is_none() && is_needed {
            self.link.stack.tls = Some((self.trust)().and_then(|trust| {
                let files = TrustFiles::new(trust);
                let config = files.config().clone();
                self.trust_files = Some(Box::new(files));
                config
            }));
        }
    }
}

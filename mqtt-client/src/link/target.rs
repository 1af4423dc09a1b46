//! What a link asks to open.

use martlet_transport::{Endpoint, ProxyUri, Scheme};

/// What to open a stream to: a server, or the proxy on the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    endpoint: Endpoint,
    proxy: Option<ProxyUri>,
}

impl Target {
    /// The server, or with a `proxy` that one.
    pub(crate) fn new(endpoint: Endpoint, proxy: Option<ProxyUri>) -> Self {
        Self { endpoint, proxy }
    }

    /// The server that the stream is for in the end.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The host to connect to, the proxy's if there is one: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        self.proxy
            .as_ref()
            .map_or(self.endpoint.host(), ProxyUri::host)
    }

    /// The port to connect to, the proxy's if there is one.
    pub fn port(&self) -> u16 {
        self.proxy
            .as_ref()
            .map_or(self.endpoint.port(), ProxyUri::port)
    }

    /// The zone of the host, where that is an IPv6 address with one: see [`Endpoint::zone`].
    pub fn zone(&self) -> Option<&str> {
        self.proxy
            .as_ref()
            .map_or(self.endpoint.zone(), ProxyUri::zone)
    }

    /// The path of the Unix socket to connect to, if it is one.
    pub fn unix_path(&self) -> Option<&str> {
        (self.endpoint.scheme() == Scheme::Unix).then(|| self.endpoint.path())
    }
}

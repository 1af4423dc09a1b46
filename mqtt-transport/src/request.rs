//! What is asked of a server to have MQTT over WebSocket.

use std::fmt;

/// The request that begins a WebSocket connection. The subprotocol `mqtt` is asked for with it
/// (MQTT 5, section 6).
#[derive(Clone, PartialEq, Eq)]
pub struct WebSocketRequest {
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl WebSocketRequest {
    /// Over plain TCP (`ws`). The host is a name or an address, IPv6 with or without brackets; path
    /// and query, as in `/mqtt?token=1`, are sent as they are, and a missing slash is put before
    /// them.
    pub fn ws(host: &str, port: u16, path_and_query: &str) -> Self {
        Self::new(host, port, 80, path_and_query)
    }

    /// Over TLS (`wss`), which must be in the [`Stack`](crate::Stack) too. The parts are those of
    /// [`ws`](Self::ws).
    pub fn wss(host: &str, port: u16, path_and_query: &str) -> Self {
        Self::new(host, port, 443, path_and_query)
    }

    fn new(host: &str, port: u16, default_port: u16, path_and_query: &str) -> Self {
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        // RFC 6455, section 4.1: the port only where it is not the scheme's.
        let authority = if port == default_port {
            host
        } else {
            format!("{host}:{port}")
        };
        let slash = if path_and_query.starts_with('/') {
            ""
        } else {
            "/"
        };
        Self {
            authority,
            path: format!("{slash}{path_and_query}"),
            headers: Vec::new(),
        }
    }

    /// Adds a header, such as `Authorization`. Those that make up the handshake cannot be set.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// A query and the values of headers may be secrets.
impl fmt::Debug for WebSocketRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketRequest")
            .field("authority", &self.authority)
            .field("path", &shown_path(&self.path))
            .field(
                "headers",
                &self
                    .headers
                    .iter()
                    .map(|(name, _)| name)
                    .collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}

/// A path without its query, which may hold a token.
pub(crate) fn shown_path(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}

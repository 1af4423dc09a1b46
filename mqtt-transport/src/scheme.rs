//! The schemes of URIs that lead to an MQTT server.

use std::fmt;

/// How bytes reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `mqtt`, also `tcp`: plain TCP, port 1883.
    Mqtt,
    /// `mqtts`, also `ssl`, `tls`, `mqtt+ssl` and `mqtt+tls`: TLS, port 8883.
    Mqtts,
    /// `ws`: WebSocket, port 80.
    Ws,
    /// `wss`: WebSocket over TLS, port 443.
    Wss,
    /// `mqtt+unix`: a Unix socket.
    Unix,
}

impl Scheme {
    /// As it stands in a URI, without an alias.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "mqtt+unix",
        }
    }

    /// The port when the URI names none; 0 where there are no ports.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Mqtt => 1883,
            Self::Mqtts => 8883,
            Self::Ws => 80,
            Self::Wss => 443,
            Self::Unix => 0,
        }
    }

    /// Whether bytes are encrypted.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }

    /// Whether packets travel in WebSocket messages.
    pub const fn is_web_socket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

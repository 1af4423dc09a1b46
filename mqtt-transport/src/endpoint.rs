//! Where a server is, from a URI.

use crate::uri::{self, UriError};
use percent_encoding::percent_decode_str;
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

    fn parse(scheme: &str) -> Result<Self, UriError> {
        let scheme = match scheme {
            "mqtt" | "tcp" => Self::Mqtt,
            "mqtts" | "ssl" | "tls" | "mqtt+ssl" | "mqtt+tls" => Self::Mqtts,
            "ws" => Self::Ws,
            "wss" => Self::Wss,
            "mqtt+unix" => Self::Unix,
            other => return Err(UriError::Scheme(other.to_owned())),
        };
        if scheme.is_tls() && !cfg!(feature = "tls") {
            return Err(UriError::FeatureOff { scheme, feature: "tls" });
        }
        if scheme.is_web_socket() && !cfg!(feature = "websocket") {
            return Err(UriError::FeatureOff { scheme, feature: "websocket" });
        }
        Ok(scheme)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A server and who we are to it, from a URI. `Debug` and `Display` leave out user name, password and query.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
    user_name: Option<String>,
    password: Option<Vec<u8>>,
}

impl Endpoint {
    /// Reads a URI: `mqtt`, `mqtts`, `ws` or `wss`, `://`, perhaps `user:password@`, a host, perhaps `:port`, and for
    /// WebSocket a path and a query; or `mqtt+unix://` and the path of a socket, credentials before the host
    /// `localhost`. What has a meaning of its own in a URI is percent-encoded.
    ///
    /// # Errors
    /// [`UriError`] names the part that is wrong. It never holds the password.
    pub fn parse(uri: &str) -> Result<Self, UriError> {
        let url = uri::read(uri)?;
        let scheme = Scheme::parse(url.scheme())?;
        if url.fragment().is_some() {
            return Err(UriError::Fragment);
        }
        if url.query().is_some() && !scheme.is_web_socket() {
            return Err(UriError::Query(scheme));
        }
        let (user_name, password) = uri::credentials(&url, usize::from(u16::MAX))?;
        let (host, port) = match scheme {
            Scheme::Unix => match (url.host_str(), url.port()) {
                (None | Some("" | "localhost"), None) => ("localhost".to_owned(), 0),
                _ => return Err(UriError::UnixHost),
            },
            _ => (uri::host(&url)?, uri::port(&url, scheme.default_port())?),
        };
        let path = match scheme {
            Scheme::Mqtt | Scheme::Mqtts if matches!(url.path(), "" | "/") => String::new(),
            Scheme::Mqtt | Scheme::Mqtts => return Err(UriError::Path(scheme)),
            Scheme::Ws | Scheme::Wss => match url.query() {
                Some(query) => format!("{}?{query}", url.path()),
                None => url.path().to_owned(),
            },
            Scheme::Unix => match percent_decode_str(url.path()).decode_utf8() {
                Ok(path) if path.len() > 1 && path.starts_with('/') && !path.contains('\0') => {
                    path.into_owned()
                }
                _ => return Err(UriError::UnixPath),
            },
        };
        Ok(Self { scheme, host, port, path, user_name, password })
    }

    /// The server that this one refers to in a Server Reference (MQTT 5 §4.11), which is a list of hosts with or without
    /// a port: the first of them, reached like this one, without credentials.
    ///
    /// # Errors
    /// [`UriError`] when the reference cannot be read, or is a URI with another scheme than ours.
    pub fn referred(&self, reference: &str) -> Result<Self, UriError> {
        let first = reference.split_ascii_whitespace().next().unwrap_or_default();
        let Self { scheme, path, .. } = self;
        if *scheme == Scheme::Unix {
            return Err(UriError::UnixHost);
        }
        let mut endpoint = if first.contains("://") {
            Self::parse(first)?
        } else {
            // Host and port only: whoever can write a path can write a user name.
            Self::parse(&format!("{scheme}://{}", first.replace(['/', '@', '?', '#', '\\'], "%")))?
        };
        if endpoint.scheme != *scheme {
            return Err(UriError::OtherScheme(endpoint.scheme));
        }
        endpoint.path.clone_from(path);
        (endpoint.user_name, endpoint.password) = (None, None);
        Ok(endpoint)
    }

    /// The same place without the query of its path, in which tokens may stand.
    #[must_use]
    pub fn without_query(mut self) -> Self {
        let end = self.path.find('?').unwrap_or(self.path.len());
        self.path.truncate(end);
        self
    }

    /// How bytes reach the server.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// A name in lower case and ASCII, or an address; an IPv6 address without brackets. `localhost` for a Unix socket.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 for a Unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// For WebSocket the path and the query, as they are sent; the path of a Unix socket, percent-decoded; else empty.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The user name, percent-decoded.
    pub fn user_name(&self) -> Option<&str> {
        self.user_name.as_deref()
    }

    /// The password, percent-decoded; there may be one without a user name.
    pub fn password(&self) -> Option<&[u8]> {
        self.password.as_deref()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port, path, .. } = self;
        write!(f, "{scheme}://")?;
        if *scheme != Scheme::Unix {
            uri::authority(f, host, *port)?;
        }
        // A query may hold a token.
        match path.split_once('?').filter(|_| scheme.is_web_socket()) {
            Some((path, _)) => write!(f, "{path}?…"),
            None => f.write_str(path),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Endpoint {
    type Err = UriError;
    fn from_str(uri: &str) -> Result<Self, UriError> {
        Self::parse(uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_parts() {
        use Scheme::{Mqtt, Unix};
        let table = [
            ("mqtt://localhost", Mqtt, "localhost", 1883, ""),
            ("MQTT://LocalHost:1884/", Mqtt, "localhost", 1884, ""),
            ("tcp://127.0.0.1", Mqtt, "127.0.0.1", 1883, ""),
            ("mqtt://127.1", Mqtt, "127.0.0.1", 1883, ""),
            ("mqtt://[::1]:9", Mqtt, "::1", 9, ""),
            ("mqtt://b%C3%BCcher.example", Mqtt, "xn--bcher-kva.example", 1883, ""),
            ("mqtt://bücher.example", Mqtt, "xn--bcher-kva.example", 1883, ""),
            (" mqtt://a ", Mqtt, "a", 1883, ""),
            ("mqtt+unix:///run/mqtt.sock", Unix, "localhost", 0, "/run/mqtt.sock"),
            ("mqtt+unix:/run/mqtt.sock", Unix, "localhost", 0, "/run/mqtt.sock"),
            ("mqtt+unix://me:secret@localhost/run/a%20b", Unix, "localhost", 0, "/run/a b"),
        ];
        for (uri, scheme, host, port, path) in table {
            let endpoint = Endpoint::parse(uri).unwrap();
            let parts = (endpoint.scheme(), endpoint.host(), endpoint.port(), endpoint.path());
            assert_eq!(parts, (scheme, host, port, path), "{uri}");
        }
    }

    #[cfg(all(feature = "tls", feature = "websocket"))]
    #[test]
    fn reads_the_parts_of_tls_and_websocket() {
        use Scheme::{Mqtts, Ws, Wss};
        let table = [
            ("mqtts://Broker.Example", Mqtts, "broker.example", 8883, ""),
            ("ssl://1.2.3.4", Mqtts, "1.2.3.4", 8883, ""),
            ("tls://h", Mqtts, "h", 8883, ""),
            ("mqtt+ssl://h/", Mqtts, "h", 8883, ""),
            ("mqtt+tls://h:1", Mqtts, "h", 1, ""),
            ("ws://h", Ws, "h", 80, "/"),
            ("ws://[::1]:80/mqtt", Ws, "::1", 80, "/mqtt"),
            ("wss://BÜCHER.example/a%2Fb/?x=%20&y", Wss, "xn--bcher-kva.example", 443, "/a%2Fb/?x=%20&y"),
            ("wss://h:444?q", Wss, "h", 444, "/?q"),
        ];
        for (uri, scheme, host, port, path) in table {
            let endpoint = Endpoint::parse(uri).unwrap();
            let parts = (endpoint.scheme(), endpoint.host(), endpoint.port(), endpoint.path());
            assert_eq!(parts, (scheme, host, port, path), "{uri}");
        }
    }

    #[test]
    fn a_scheme_whose_feature_is_off_names_it() {
        for (uri, feature, on) in [
            ("mqtts://h", "tls", cfg!(feature = "tls")),
            ("ws://h", "websocket", cfg!(feature = "websocket")),
        ] {
            match Endpoint::parse(uri) {
                Ok(_) => assert!(on),
                Err(error) => assert!(!on && error.to_string().contains(feature), "{error}"),
            }
        }
    }

    #[test]
    fn decodes_credentials_and_keeps_them_to_itself() {
        let endpoint = Endpoint::parse("mqtt://c%40mpl3x:p%2F%2F%7C%5C%3A%24%24@h").unwrap();
        assert_eq!(endpoint.user_name(), Some("c@mpl3x"));
        assert_eq!(endpoint.password(), Some(&b"p//|\\:$$"[..]));
        assert!(!format!("{endpoint:?} {endpoint}").contains("p//"));
        let only_user = Endpoint::parse("mqtt://u:@h").unwrap();
        assert_eq!((only_user.user_name(), only_user.password()), (Some("u"), None));
        let only_password = Endpoint::parse("mqtt://:p@h").unwrap();
        assert_eq!((only_password.user_name(), only_password.password()), (None, Some(&b"p"[..])));
    }

    #[test]
    fn is_shown_as_a_uri_without_secrets() {
        let table = [
            ("tcp://u:canary@H", "mqtt://h:1883"),
            ("mqtt://u:canary@[::1]", "mqtt://[::1]:1883"),
            ("mqtt+unix://u:canary@localhost/a%20b", "mqtt+unix:///a b"),
        ];
        let encrypted = [("tls://u:canary@h", "mqtts://h:8883")];
        let web = [
            ("ws://u:canary@[::1]/mqtt", "ws://[::1]:80/mqtt"),
            ("ws://u:canary@h/mqtt?token=canary", "ws://h:80/mqtt?…"),
        ];
        let encrypted = encrypted.into_iter().filter(|_| cfg!(feature = "tls"));
        let web = web.into_iter().filter(|_| cfg!(feature = "websocket"));
        for (uri, shown) in table.into_iter().chain(encrypted).chain(web) {
            let endpoint = Endpoint::parse(uri).unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(format!("{endpoint:?}"), shown);
        }
    }

    #[test]
    fn says_which_part_is_wrong() {
        assert!(matches!(Endpoint::parse("localhost"), Err(UriError::NotAUri(_))));
        assert!(matches!(Endpoint::parse("\"mqtt://x"), Err(UriError::NotAUri(_))));
        assert_eq!(Endpoint::parse("mq://h"), Err(UriError::Scheme("mq".into())));
        assert_eq!(Endpoint::parse("localhost:1883"), Err(UriError::Scheme("localhost".into())));
        assert_eq!(Endpoint::parse("mqtt://"), Err(UriError::NoHost));
        assert_eq!(Endpoint::parse("mqtt://u:p@"), Err(UriError::NoHost));
        assert_eq!(Endpoint::parse("mqtt:h"), Err(UriError::NoHost));
        assert_eq!(Endpoint::parse("mqtt://:1883"), Err(UriError::NoHost));
        assert!(matches!(Endpoint::parse("mqtt://a b"), Err(UriError::NotAUri(_))));
        assert_eq!(Endpoint::parse("mqtt://%FF"), Err(UriError::Host("it is not UTF-8")));
        assert!(matches!(Endpoint::parse("mqtt://a%20b"), Err(UriError::Host(_))));
        assert!(matches!(Endpoint::parse("mqtt://1.2.3.999"), Err(UriError::Host(_))));
        assert_eq!(Endpoint::parse("mqtt://h:0"), Err(UriError::PortZero));
        assert!(matches!(Endpoint::parse("mqtt://h:65536"), Err(UriError::NotAUri(_))));
        assert_eq!(Endpoint::parse("mqtt://h/mqtt"), Err(UriError::Path(Scheme::Mqtt)));
        assert_eq!(Endpoint::parse("mqtt://h//"), Err(UriError::Path(Scheme::Mqtt)));
        assert_eq!(Endpoint::parse("mqtt://h?a=b"), Err(UriError::Query(Scheme::Mqtt)));
        assert_eq!(Endpoint::parse("mqtt://h#a"), Err(UriError::Fragment));
        assert_eq!(Endpoint::parse("mqtt://%00@h"), Err(UriError::UserName));
        assert_eq!(Endpoint::parse("mqtt://%FF@h"), Err(UriError::UserName));
        let long = "x".repeat(65_536);
        assert_eq!(Endpoint::parse(&format!("mqtt://{long}@h")), Err(UriError::CredentialsTooLong(65_535)));
        assert_eq!(Endpoint::parse("mqtt+unix://h/x"), Err(UriError::UnixHost));
        assert_eq!(Endpoint::parse("mqtt+unix://localhost:1/x"), Err(UriError::UnixHost));
        for uri in ["mqtt+unix:", "mqtt+unix:x", "mqtt+unix:///", "mqtt+unix:///a%00", "mqtt+unix:///%FF"] {
            assert_eq!(Endpoint::parse(uri), Err(UriError::UnixPath), "{uri}");
        }
        assert_eq!(Endpoint::parse("mqtt+unix:///x?y"), Err(UriError::Query(Scheme::Unix)));
        if cfg!(feature = "websocket") {
            assert_eq!(Endpoint::parse("ws://h:0"), Err(UriError::PortZero));
            assert_eq!(Endpoint::parse("ws://"), Err(UriError::NoHost));
            assert_eq!(Endpoint::parse("ws://h/#a"), Err(UriError::Fragment));
        }
    }

    #[test]
    fn a_secret_is_in_no_error() {
        for uri in [
            "mq://u:canary@h",
            "mqtt://u:canary@",
            "mqtt://u:canary@h:0",
            "mqtt://u:canary@h/x",
            "mqtt://u:canary@h:x",
            "mqtt://u:canary@h?x",
            "mqtt://u:canary@h#x",
            "mqtt://u:canary@%FF",
            "mqtt:u:canary@h",
            "mqtt:/u:canary@h",
            "mqtt:///u:canary@h",
            "mqtt://h/u:canary@h",
            "mqtt+unix://u:canary@h/x",
            "mqtt+unix:u:canary@h/x",
        ] {
            let error = Endpoint::parse(uri).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("canary"), "{uri}: {error}");
        }
    }

    #[test]
    fn a_server_reference_is_a_host_reached_the_same_way() {
        let endpoint = Endpoint::parse("mqtt://u:p@h:1").unwrap();
        let table = [
            ("other.example", "mqtt://other.example:1883"),
            ("10.10.151.22:8883", "mqtt://10.10.151.22:8883"),
            ("[fe80::9610:3eff:fe1c]:1884 second.example", "mqtt://[fe80::9610:3eff:fe1c]:1884"),
            ("tcp://other.example:2", "mqtt://other.example:2"),
        ];
        for (reference, shown) in table {
            let referred = endpoint.referred(reference).unwrap();
            assert_eq!(referred.to_string(), shown);
            assert_eq!((referred.user_name(), referred.password()), (None, None));
        }
        for reference in ["", "u:p@x", "x/y", "x?y", "x#y", "x\\y", "[::1", "ftp://x", "mqtt+unix:///x"] {
            assert!(endpoint.referred(reference).is_err(), "{reference}");
        }
        if cfg!(all(feature = "tls", feature = "websocket")) {
            let endpoint = Endpoint::parse("wss://h/mqtt?x").unwrap();
            assert_eq!(endpoint.referred("other").unwrap().path(), "/mqtt?x");
            assert_eq!(endpoint.referred("mqtt://other"), Err(UriError::OtherScheme(Scheme::Mqtt)));
        }
    }
}

//! Where a server is, from a URI.

use crate::scheme::Scheme;
use crate::uri::{self, UriError};
use crate::zone;
use percent_encoding::percent_decode_str;
use std::fmt;

/// A server and the credentials for it, from a URI. `Debug` and `Display` leave out user name,
/// password and query.
///
/// ```
/// # use martlet_transport::Endpoint;
/// let endpoint = Endpoint::parse("mqtt://user:secret@broker.example")?;
/// assert_eq!((endpoint.host(), endpoint.port()), ("broker.example", 1883));
/// assert_eq!(endpoint.to_string(), "mqtt://broker.example:1883"); // without credentials
/// # Ok::<(), martlet_transport::UriError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    host: String,
    port: u16,
    /// Of an IPv6 address; only this machine knows it.
    zone: Option<String>,
    path: String,
    user_name: Option<String>,
    password: Option<Vec<u8>>,
}

impl Endpoint {
    /// Reads a URI: `mqtt`, `mqtts`, `ws` or `wss`, `://`, perhaps `user:password@`, a host,
    /// perhaps `:port`, and for WebSocket a path and a query; or `mqtt+unix://` and the path of a
    /// socket, credentials before the host `localhost`. What has a meaning of its own in a URI is
    /// percent-encoded: in a user name or a password `/` is written `%2F`, `?` `%3F` and `#` `%23`,
    /// and `@` in a path `%40`. An `@` behind the host is rejected, as the host is then likely a
    /// user name. An IPv6 address may have a zone, the name or number of a network interface:
    /// `[fe80::1%25eth0]`, also written `[fe80::1%eth0]`.
    ///
    /// # Errors
    /// [`UriError`] names the part that is wrong. It never holds the password.
    pub fn parse(uri: &str) -> Result<Self, UriError> {
        let (uri, zone) = zone::split(uri.trim())?;
        let uri = uri::read(&uri)?;
        let scheme = uri::scheme(&uri)?;
        if uri.has_fragment {
            return Err(UriError::Fragment);
        }
        if uri.query.is_some() && !scheme.is_web_socket() {
            return Err(UriError::Query(scheme));
        }
        let (user_name, password) = uri::credentials(&uri, usize::from(u16::MAX))?;
        let (host, port) = match scheme {
            Scheme::Unix if uri::is_local(&uri) => ("localhost".to_owned(), 0),
            Scheme::Unix => return Err(UriError::UnixHost),
            _ => (uri::host(&uri)?, uri::port(&uri, scheme.default_port())?),
        };
        let path = match scheme {
            Scheme::Mqtt | Scheme::Mqtts if matches!(uri.path, "" | "/") => String::new(),
            Scheme::Mqtt | Scheme::Mqtts => return Err(UriError::Path(scheme)),
            Scheme::Ws | Scheme::Wss => uri::path_and_query(&uri),
            Scheme::Unix => match percent_decode_str(uri.path).decode_utf8() {
                Ok(path) if path.len() > 1 && path.starts_with('/') && !path.contains('\0') => {
                    path.into_owned()
                }
                _ => return Err(UriError::UnixPath),
            },
        };
        Ok(Self {
            scheme,
            host,
            port,
            zone,
            path,
            user_name,
            password,
        })
    }

    /// The server that this one refers to in a Server Reference (MQTT 5 §4.11), which is a list of
    /// hosts with or without a port: the first of them, reached like this one, without credentials.
    ///
    /// # Errors
    /// [`UriError`] when the reference cannot be read, or is a URI with another scheme than this.
    pub fn referred(&self, reference: &str) -> Result<Self, UriError> {
        let first = reference
            .split_ascii_whitespace()
            .next()
            .unwrap_or_default();
        let Self { scheme, path, .. } = self;
        if *scheme == Scheme::Unix {
            return Err(UriError::UnixHost);
        }
        let mut endpoint = if first.contains("://") {
            Self::parse(first)?
        } else {
            // Host and port only: a path could smuggle in a user name.
            Self::parse(&format!(
                "{scheme}://{}",
                first.replace(['/', '@', '?', '#', '\\'], "%")
            ))?
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

    /// A name in lower case and ASCII, or an address; an IPv6 address without brackets. `localhost`
    /// for a Unix socket.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The zone of an IPv6 address: the name or number of the network interface by which a
    /// link-local address is reached. It is for the socket alone: servers and certificates know
    /// nothing of it.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The port; 0 for a Unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// For WebSocket the path and the query, as they are sent; the path of a Unix socket,
    /// percent-decoded; else empty.
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
        let Self {
            scheme,
            host,
            port,
            zone,
            path,
            ..
        } = self;
        write!(f, "{scheme}://")?;
        if *scheme != Scheme::Unix {
            uri::authority(f, host, zone.as_deref(), *port)?;
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

impl TryFrom<&str> for Endpoint {
    type Error = UriError;
    fn try_from(uri: &str) -> Result<Self, UriError> {
        Self::parse(uri)
    }
}

impl TryFrom<&String> for Endpoint {
    type Error = UriError;
    fn try_from(uri: &String) -> Result<Self, UriError> {
        Self::parse(uri)
    }
}

impl TryFrom<String> for Endpoint {
    type Error = UriError;
    fn try_from(uri: String) -> Result<Self, UriError> {
        Self::parse(&uri)
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

    #[track_caller]
    fn assert_parts(uri: &str, expected: (Scheme, &str, u16, &str)) {
        let endpoint = Endpoint::parse(uri).unwrap();
        let parts = (
            endpoint.scheme(),
            endpoint.host(),
            endpoint.port(),
            endpoint.path(),
        );
        assert_eq!(parts, expected, "{uri}");
    }

    #[test]
    fn reads_the_parts() {
        use Scheme::{Mqtt, Unix};
        let table = [
            ("mqtt://localhost", Mqtt, "localhost", 1883, ""),
            ("MQTT://LocalHost:1884/", Mqtt, "localhost", 1884, ""),
            ("tcp://127.0.0.1", Mqtt, "127.0.0.1", 1883, ""),
            ("mqtt://[::1]:9", Mqtt, "::1", 9, ""),
            (" mqtt://a ", Mqtt, "a", 1883, ""),
            (
                "mqtt+unix:///run/mqtt.sock",
                Unix,
                "localhost",
                0,
                "/run/mqtt.sock",
            ),
            (
                "mqtt+unix:/run/mqtt.sock",
                Unix,
                "localhost",
                0,
                "/run/mqtt.sock",
            ),
            (
                "mqtt+unix://me:secret@localhost/run/a%20b",
                Unix,
                "localhost",
                0,
                "/run/a b",
            ),
        ];
        for (uri, scheme, host, port, path) in table {
            assert_parts(uri, (scheme, host, port, path));
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
            (
                "wss://h.example/a%2Fb/?x=%20&y",
                Wss,
                "h.example",
                443,
                "/a%2Fb/?x=%20&y",
            ),
            (
                "wss://h/ä b?ö \"",
                Wss,
                "h",
                443,
                "/%C3%A4%20b?%C3%B6%20%22",
            ),
            ("wss://h:444?q", Wss, "h", 444, "/?q"),
        ];
        for (uri, scheme, host, port, path) in table {
            assert_parts(uri, (scheme, host, port, path));
        }
    }

    #[test]
    fn international_names_are_a_feature() {
        for uri in ["mqtt://b%C3%BCcher.example", "mqtt://BÜCHER.example"] {
            let endpoint = Endpoint::parse(uri);
            if cfg!(feature = "international-names") {
                assert_eq!(endpoint.unwrap().host(), "xn--bcher-kva.example");
            } else {
                let error = endpoint.unwrap_err().to_string();
                assert!(error.contains("international-names"), "{error}");
            }
        }
        let endpoint = Endpoint::parse("mqtt://XN--bcher-kva.example").unwrap();
        assert_eq!(endpoint.host(), "xn--bcher-kva.example");
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
        assert_eq!(
            (only_user.user_name(), only_user.password()),
            (Some("u"), None)
        );
        let only_password = Endpoint::parse("mqtt://:p@h").unwrap();
        assert_eq!(
            (only_password.user_name(), only_password.password()),
            (None, Some(&b"p"[..]))
        );
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

    /// A broker on the link, found by its link-local address, could not be written down.
    #[test]
    fn an_ipv6_address_may_have_a_zone() {
        for (uri, zone, shown) in [
            (
                "mqtt://[fe80::1%25eth0]",
                "eth0",
                "mqtt://[fe80::1%25eth0]:1883",
            ),
            (
                "mqtt://[fe80::1%eth0]:9",
                "eth0",
                "mqtt://[fe80::1%25eth0]:9",
            ),
            ("mqtt://[FE80::1%253]/", "3", "mqtt://[fe80::1%253]:1883"),
            ("mqtt://[fe80::1%25]", "25", "mqtt://[fe80::1%2525]:1883"),
            (
                "mqtt://[fe80::1%25wlan%2D0.1]",
                "wlan-0.1",
                "mqtt://[fe80::1%25wlan-0.1]:1883",
            ),
            (
                " mqtt://me:a%5Bb%25c@[fe80::1%25eth0]:9 ",
                "eth0",
                "mqtt://[fe80::1%25eth0]:9",
            ),
        ] {
            let endpoint = Endpoint::parse(uri).unwrap();
            assert_eq!(
                (endpoint.host(), endpoint.zone()),
                ("fe80::1", Some(zone)),
                "{uri}"
            );
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(
                Endpoint::parse(shown).unwrap().zone(),
                Some(zone),
                "{shown}"
            );
        }
        assert_eq!(Endpoint::parse("mqtt://[fe80::1]").unwrap().zone(), None);
        for uri in [
            "mqtt://[fe80::1%]",
            "mqtt://[fe80::1%25a%2Fb]",
            "mqtt://[fe80::1%a b]",
            "mqtt://[fe80::1%%]",
        ] {
            assert!(
                matches!(Endpoint::parse(uri), Err(UriError::Host(_))),
                "{uri}"
            );
        }
        assert!(Endpoint::parse("mqtt://[1.2.3.4%25eth0]").is_err());
        assert!(Endpoint::parse("mqtt://1.2.3.4%25eth0").is_err());
    }

    /// Asserts what is wrong with a URI.
    #[track_caller]
    fn assert_wrong(uri: &str, expected: UriError) {
        assert_eq!(Endpoint::parse(uri), Err(expected), "{uri}");
    }

    #[test]
    fn what_is_no_uri_is_rejected() {
        for uri in [
            "localhost",
            "\"mqtt://x",
            "mqtt:h",
            "mqtt://a\tb",
            "mqtt://a\nb",
            "mqtt://h:+1",
            "mqtt://h:65536",
            "1mqtt://h",
        ] {
            let error = Endpoint::parse(uri).unwrap_err();
            assert!(matches!(error, UriError::NotAUri(_)), "{uri}: {error}");
        }
        assert_wrong("mq://h", UriError::Scheme("mq".into()));
        assert_wrong("localhost:1883", UriError::Scheme("localhost".into()));
    }

    #[test]
    fn wrong_hosts_and_ports_are_rejected() {
        for uri in ["mqtt://", "mqtt://u:p@", "mqtt://:1883"] {
            assert_wrong(uri, UriError::NoHost);
        }
        for host in [
            "a b",
            "a%20b",
            "a\\b",
            "a^b",
            "127.1",
            "1.2.3.4.5",
            "1.2.3.999",
            "0x7f.1",
            "a.1",
            "[::1",
            "[1.2.3.4]",
            "[::1]x",
        ] {
            let uri = format!("mqtt://{host}");
            let error = Endpoint::parse(&uri).unwrap_err();
            assert!(matches!(error, UriError::Host(_)), "{uri}: {error}");
        }
        assert_wrong("mqtt://%FF", UriError::Host("it is not UTF-8"));
        assert_wrong("mqtt://h:0", UriError::PortZero);
        if cfg!(feature = "websocket") {
            assert_wrong("ws://", UriError::NoHost);
            assert_wrong("ws://h:0", UriError::PortZero);
        }
    }

    #[test]
    fn wrong_paths_queries_and_fragments_are_rejected() {
        assert_wrong("mqtt://h/mqtt", UriError::Path(Scheme::Mqtt));
        assert_wrong("mqtt://h//", UriError::Path(Scheme::Mqtt));
        assert_wrong("mqtt://h?a=b", UriError::Query(Scheme::Mqtt));
        assert_wrong("mqtt://h#a", UriError::Fragment);
        if cfg!(feature = "websocket") {
            assert_wrong("ws://h/#a", UriError::Fragment);
        }
    }

    #[test]
    fn wrong_credentials_are_rejected() {
        assert_wrong("mqtt://%00@h", UriError::UserName);
        assert_wrong("mqtt://%FF@h", UriError::UserName);
        let long = "x".repeat(65_536);
        assert_wrong(
            &format!("mqtt://{long}@h"),
            UriError::CredentialsTooLong(65_535),
        );
    }

    #[test]
    fn wrong_paths_of_unix_sockets_are_rejected() {
        assert_wrong("mqtt+unix://h/x", UriError::UnixHost);
        assert_wrong("mqtt+unix://localhost:1/x", UriError::UnixHost);
        for uri in [
            "mqtt+unix:",
            "mqtt+unix:x",
            "mqtt+unix:///",
            "mqtt+unix:///a%00",
            "mqtt+unix:///%FF",
        ] {
            assert_wrong(uri, UriError::UnixPath);
        }
        assert_wrong("mqtt+unix:///x?y", UriError::Query(Scheme::Unix));
    }

    /// Browsers take these for URIs with a host; what was shown of them led elsewhere, and a part
    /// of a password could be a path.
    #[cfg(all(feature = "tls", feature = "websocket"))]
    #[test]
    fn a_scheme_without_slashes_is_rejected() {
        for uri in [
            "wss:host/mqtt",
            "ws:/host",
            "ws:\\\\host",
            "ws:/\t/host",
            "wss:u:12/ss@host",
            "ws:/a://[fe80::1%25eth0]:1",
        ] {
            let error = Endpoint::parse(uri).unwrap_err();
            assert!(matches!(error, UriError::NotAUri(_)), "{uri:?}: {error}");
            assert!(error.to_string().contains("://"), "{error}");
        }
    }

    /// `ws://u:12/ss@host` was dialled as host `u`, port 12, and the rest of the password sent
    /// there as the path; others were "invalid port number".
    #[test]
    fn a_password_that_is_not_escaped_is_recognised() {
        for scheme in ["mqtt", "mqtts", "ws", "wss", "WS", "tcp", "mqtt+unix"] {
            for mark in ["/", "?", "#"] {
                for uri in [
                    format!("{scheme}://u:12{mark}ss@host"),
                    format!("{scheme}://u:p{mark}ss@host:1883/mqtt"),
                    format!("{scheme}://us{mark}er:pw@host"),
                    format!("{scheme}://u:a@b{mark}c@host"),
                ] {
                    assert_eq!(Endpoint::parse(&uri), Err(UriError::Unescaped), "{uri}");
                }
            }
        }
        assert!(UriError::Unescaped.to_string().contains("write / as %2F"));
        let proxy = crate::ProxyUri::parse("http://u:p/ss@proxy:3128");
        assert_eq!(proxy, Err(UriError::Unescaped));
        // What is none of it.
        Endpoint::parse("mqtt+unix:///run/mqtt@1.sock").unwrap();
        Endpoint::parse("mqtt+unix://u:p@localhost/run/mqtt@1.sock").unwrap();
        Endpoint::parse("mqtt://u:p@ss@host").unwrap();
        if cfg!(feature = "websocket") {
            for uri in [
                "ws://h:8080/mqtt?user=ann@example.com",
                "ws://u:p@h/mqtt?a=b&c=@",
                "ws://h/%40x?%40",
            ] {
                Endpoint::parse(uri).unwrap();
            }
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
            assert!(
                !format!("{error} {error:?}").contains("canary"),
                "{uri}: {error}"
            );
        }
    }

    #[test]
    fn a_server_reference_is_a_host_reached_the_same_way() {
        let endpoint = Endpoint::parse("mqtt://u:p@h:1").unwrap();
        let table = [
            ("other.example", "mqtt://other.example:1883"),
            ("10.10.151.22:8883", "mqtt://10.10.151.22:8883"),
            (
                "[fe80::9610:3eff:fe1c]:1884 second.example",
                "mqtt://[fe80::9610:3eff:fe1c]:1884",
            ),
            ("tcp://other.example:2", "mqtt://other.example:2"),
            // A reference does not choose the credentials.
            (
                "mqtt://eve:secret@other.example:3",
                "mqtt://other.example:3",
            ),
        ];
        for (reference, shown) in table {
            let referred = endpoint.referred(reference).unwrap();
            assert_eq!(referred.to_string(), shown);
            assert_eq!((referred.user_name(), referred.password()), (None, None));
        }
        for reference in [
            "",
            "u:p@x",
            "x/y",
            "x?y",
            "x#y",
            "x\\y",
            "[::1",
            "ftp://x",
            "mqtt+unix:///x",
        ] {
            assert!(endpoint.referred(reference).is_err(), "{reference}");
        }
        if cfg!(all(feature = "tls", feature = "websocket")) {
            let endpoint = Endpoint::parse("wss://h/mqtt?x").unwrap();
            assert_eq!(endpoint.referred("other").unwrap().path(), "/mqtt?x");
            assert_eq!(
                endpoint.referred("mqtt://other"),
                Err(UriError::OtherScheme(Scheme::Mqtt))
            );
        }
    }
}

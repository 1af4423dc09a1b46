//! Where a proxy is, from a URI.

use crate::proxy::ProxyKind;
use crate::uri::{self, UriError};
use crate::zone;
use crate::{Endpoint, ProxyTunnel};
use std::fmt;

/// A proxy and who we are to it, from a URI. `Debug` and `Display` leave out user name and
/// password.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUri {
    kind: ProxyKind,
    host: String,
    port: u16,
    zone: Option<String>,
    credentials: Option<(String, String)>,
}

/// What SOCKS5 has room for (RFC 1929); HTTP has no limit that matters.
const CREDENTIALS_LIMIT: usize = 255;

impl ProxyUri {
    /// Reads `http://host:port` (HTTP CONNECT; port 80 when there is none) or `socks5://host:port`
    /// (also `socks5h`; port 1080), perhaps with `user:password@` before the host.
    ///
    /// # Errors
    /// [`UriError`] names the part that is wrong. It never holds the password.
    pub fn parse(uri: &str) -> Result<Self, UriError> {
        let (uri, zone) = zone::split(uri.trim())?;
        let uri = uri::read(&uri)?;
        let (kind, default_port) = match &*uri.scheme {
            "http" => (ProxyKind::HttpConnect, 80),
            "socks5" | "socks5h" => (ProxyKind::Socks5, 1080),
            other => return Err(UriError::ProxyScheme(other.to_owned())),
        };
        if !matches!(uri.path, "" | "/") || uri.query.is_some() || uri.has_fragment {
            return Err(UriError::ProxyPath);
        }
        let credentials = match uri::credentials(&uri, CREDENTIALS_LIMIT)? {
            (None, None) => None,
            (Some(user), Some(password)) => Some((
                user,
                String::from_utf8(password).map_err(|_| UriError::ProxyCredentials)?,
            )),
            _ => return Err(UriError::ProxyCredentials),
        };
        Ok(Self {
            kind,
            host: uri::host(&uri)?,
            port: uri::port(&uri, default_port)?,
            zone,
            credentials,
        })
    }

    /// A name or an address; an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The zone of an IPv6 address: see [`Endpoint::zone`].
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The way through it to this server.
    pub fn tunnel(&self, to: &Endpoint) -> ProxyTunnel {
        let tunnel = match self.kind {
            ProxyKind::HttpConnect => ProxyTunnel::http_connect(to.host(), to.port()),
            ProxyKind::Socks5 => ProxyTunnel::socks5(to.host(), to.port()),
        };
        match &self.credentials {
            Some((user, password)) => tunnel.credentials(user, password),
            None => tunnel,
        }
    }
}

impl fmt::Display for ProxyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ProxyKind::HttpConnect => "http://",
            ProxyKind::Socks5 => "socks5://",
        })?;
        uri::authority(f, &self.host, self.zone.as_deref(), self.port)
    }
}

impl fmt::Debug for ProxyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for ProxyUri {
    type Err = UriError;
    fn from_str(uri: &str) -> Result<Self, UriError> {
        Self::parse(uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_with_a_zone_has_one() {
        let of = |uri| {
            let proxy = ProxyUri::parse(uri).unwrap();
            (proxy.host().to_owned(), proxy.zone().map(str::to_owned))
        };
        let zoned = of("http://[fe80::1%25eth0]:3128");
        assert_eq!(zoned, ("fe80::1".to_owned(), Some("eth0".to_owned())));
        assert_eq!(of("http://[fe80::1]:3128"), ("fe80::1".to_owned(), None));
        assert_eq!(of("http://proxy:3128"), ("proxy".to_owned(), None));
    }

    #[test]
    fn reads_the_parts_and_keeps_secrets() {
        let table = [
            (
                "http://Proxy.example:3128",
                "proxy.example",
                3128,
                "http://proxy.example:3128",
            ),
            ("http://u:canary@h/", "h", 80, "http://h:80"),
            (
                "socks5://u:c%61nary@[::1]",
                "::1",
                1080,
                "socks5://[::1]:1080",
            ),
            (
                "socks5h://Proxy.example:9",
                "proxy.example",
                9,
                "socks5://proxy.example:9",
            ),
        ];
        for (uri, host, port, shown) in table {
            let proxy = ProxyUri::parse(uri).unwrap();
            assert_eq!((proxy.host(), proxy.port()), (host, port), "{uri}");
            assert_eq!(
                (proxy.to_string(), format!("{proxy:?}")),
                (shown.to_owned(), shown.to_owned())
            );
            let tunnel = proxy.tunnel(&Endpoint::parse("mqtt://s").unwrap());
            assert!(!format!("{tunnel:?}").contains("canary"));
        }
    }

    #[test]
    fn says_which_part_is_wrong() {
        let long = "x".repeat(256);
        let table = [
            ("https://h", UriError::ProxyScheme("https".into())),
            ("socks4://h", UriError::ProxyScheme("socks4".into())),
            ("http://h/x", UriError::ProxyPath),
            ("socks5://h?x", UriError::ProxyPath),
            ("http://h#x", UriError::ProxyPath),
            ("socks5://", UriError::NoHost),
            ("http://h:0", UriError::PortZero),
            ("http://u@h", UriError::ProxyCredentials),
            ("http://:canary@h", UriError::ProxyCredentials),
            ("http://u:%FFcanary@h", UriError::ProxyCredentials),
            (
                &format!("socks5://u:{long}@h"),
                UriError::CredentialsTooLong(255),
            ),
        ];
        for (uri, wrong) in table {
            assert_eq!(ProxyUri::parse(uri), Err(wrong.clone()), "{uri}");
            assert!(!format!("{wrong} {wrong:?}").contains("canary"));
        }
        assert!(matches!(
            ProxyUri::parse("proxy:3128"),
            Err(UriError::ProxyScheme(_))
        ));
    }
}

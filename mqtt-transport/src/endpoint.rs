//! URIs of MQTT servers. The `url` crate treats `mqtt` as a scheme that it does not know: hosts are not lowercased, an
//! IPv4 address stays a name, other alphabets come percent-encoded, an empty host and port 0 pass. Each is handled here.

use percent_encoding::percent_decode_str;
use std::fmt;
use url::Url;

/// How bytes reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheme {
    /// `mqtt`, also `tcp`: plain TCP, port 1883.
    Mqtt,
}

/// A server and who we are to it, from a URI. `Debug` and `Display` leave the password out.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    host: String,
    port: u16,
    user_name: Option<String>,
    password: Option<Vec<u8>>,
}

/// Which part of a URI is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// It is not a URI.
    #[error("not a URI ({0}); write it like mqtt://host:1883")]
    NotAUri(url::ParseError),
    /// A scheme that is not MQTT's.
    #[error("the scheme {0:?} is not supported; use mqtt")]
    Scheme(String),
    /// No host.
    #[error("the host is missing; write it like mqtt://host:1883")]
    NoHost,
    /// A host that cannot be read.
    #[error("the host cannot be read: {0}")]
    Host(&'static str),
    /// Port 0.
    #[error("port 0 cannot be connected to")]
    PortZero,
    /// A path, which plain MQTT has no use for.
    #[error("mqtt URIs have no path, but there is {0:?}")]
    Path(String),
    /// A query or fragment, which plain MQTT has no use for.
    #[error("mqtt URIs have no query and no fragment")]
    QueryOrFragment,
    /// A user name that is not UTF-8, or holds U+0000.
    #[error("the user name is not text that MQTT can carry")]
    UserName,
    /// A user name or password over 65,535 bytes.
    #[error("the user name or password is longer than the 65535 bytes that MQTT can carry")]
    CredentialsTooLong,
}

impl Scheme {
    /// The port when the URI names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Mqtt => 1883,
        }
    }
}

impl Endpoint {
    /// Reads a URI.
    ///
    /// # Errors
    /// [`UriError`] names the part that is wrong. It never holds the password.
    pub fn parse(uri: &str) -> Result<Self, UriError> {
        let url = Url::parse(uri.trim()).map_err(UriError::NotAUri)?;
        let scheme = match url.scheme() {
            "mqtt" | "tcp" => Scheme::Mqtt,
            other => return Err(UriError::Scheme(other.to_owned())),
        };
        if !matches!(url.path(), "" | "/") {
            return Err(UriError::Path(url.path().to_owned()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(UriError::QueryOrFragment);
        }
        let user_name = match url.username() {
            "" => None,
            encoded => {
                let decoded = percent_decode_str(encoded).decode_utf8().map_err(|_| UriError::UserName)?;
                if decoded.contains('\0') {
                    return Err(UriError::UserName);
                }
                Some(decoded.into_owned())
            }
        };
        let password =
            url.password().filter(|p| !p.is_empty()).map(|p| percent_decode_str(p).collect::<Vec<u8>>());
        if user_name.as_ref().map_or(0, String::len).max(password.as_ref().map_or(0, Vec::len))
            > usize::from(u16::MAX)
        {
            return Err(UriError::CredentialsTooLong);
        }
        let port = match url.port() {
            Some(0) => return Err(UriError::PortZero),
            Some(port) => port,
            None => scheme.default_port(),
        };
        Ok(Self { scheme, host: host(&url)?, port, user_name, password })
    }

    /// How bytes reach the server.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// A name or an address; an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
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

fn host(url: &Url) -> Result<String, UriError> {
    match url.host() {
        None => Err(UriError::NoHost),
        Some(url::Host::Domain("")) => Err(UriError::NoHost),
        Some(url::Host::Ipv4(address)) => Ok(address.to_string()),
        Some(url::Host::Ipv6(address)) => Ok(address.to_string()),
        Some(url::Host::Domain(name)) => {
            // Parsed again as a scheme that `url` knows, for lower case and IDNA.
            let name =
                percent_decode_str(name).decode_utf8().map_err(|_| UriError::Host("it is not UTF-8"))?;
            match url::Host::parse(&name) {
                Ok(url::Host::Domain(name)) => Ok(name),
                Ok(url::Host::Ipv4(address)) => Ok(address.to_string()),
                Ok(url::Host::Ipv6(address)) => Ok(address.to_string()),
                Err(_) => Err(UriError::Host("it is neither a name nor an address")),
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme: Scheme::Mqtt, host, port, .. } = self;
        if host.contains(':') {
            write!(f, "mqtt://[{host}]:{port}")
        } else {
            write!(f, "mqtt://{host}:{port}")
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
        let table = [
            ("mqtt://localhost", "localhost", 1883),
            ("MQTT://LocalHost:1884/", "localhost", 1884),
            ("tcp://127.0.0.1", "127.0.0.1", 1883),
            ("mqtt://[::1]:9", "::1", 9),
            ("mqtt://b%C3%BCcher.example", "xn--bcher-kva.example", 1883),
            ("mqtt://bücher.example", "xn--bcher-kva.example", 1883),
            (" mqtt://a ", "a", 1883),
        ];
        for (uri, host, port) in table {
            let endpoint = Endpoint::parse(uri).unwrap();
            assert_eq!((endpoint.host(), endpoint.port()), (host, port), "{uri}");
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
    fn says_which_part_is_wrong() {
        assert!(matches!(Endpoint::parse("localhost"), Err(UriError::NotAUri(_))));
        assert!(matches!(Endpoint::parse("\"mqtt://x"), Err(UriError::NotAUri(_))));
        assert_eq!(Endpoint::parse("mq://h"), Err(UriError::Scheme("mq".into())));
        assert_eq!(Endpoint::parse("mqtt://"), Err(UriError::NoHost));
        assert!(matches!(Endpoint::parse("mqtt://:1883"), Err(UriError::NotAUri(_) | UriError::NoHost)));
        assert_eq!(Endpoint::parse("mqtt://h:0"), Err(UriError::PortZero));
        assert!(matches!(Endpoint::parse("mqtt://h:65536"), Err(UriError::NotAUri(_))));
        assert_eq!(Endpoint::parse("mqtt://h/mqtt"), Err(UriError::Path("/mqtt".into())));
        assert_eq!(Endpoint::parse("mqtt://h?a=b"), Err(UriError::QueryOrFragment));
        assert_eq!(Endpoint::parse("mqtt://%00@h"), Err(UriError::UserName));
    }

    #[test]
    fn a_secret_is_in_no_error() {
        for uri in [
            "mq://u:canary@h",
            "mqtt://u:canary@",
            "mqtt://u:canary@h:0",
            "mqtt://u:canary@h/x",
            "mqtt://u:canary@h:x",
        ] {
            let error = Endpoint::parse(uri).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("canary"), "{uri}");
        }
    }
}

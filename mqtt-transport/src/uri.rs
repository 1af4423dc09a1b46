//! The parts of a URI, as MQTT wants them.
//!
//! The `url` crate treats `mqtt` as a scheme that it does not know: hosts are not lowercased, an IPv4 address stays a
//! name, other alphabets come percent-encoded, an empty host and port 0 pass. Each is handled here.

use crate::Scheme;
use percent_encoding::percent_decode_str;
use url::Url;

/// Which part of a URI is wrong. It never holds a password, nor a part in which a misplaced one might stand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// It is not a URI.
    #[error("not a URI ({0}); write it like mqtt://host:1883")]
    NotAUri(String),
    /// A scheme that leads to no MQTT server.
    #[error("the scheme {0:?} is not supported; use mqtt, mqtts, ws, wss or mqtt+unix")]
    Scheme(String),
    /// A scheme that leads to no proxy.
    #[error("the scheme {0:?} is not a proxy's; use http or socks5")]
    ProxyScheme(String),
    /// A scheme that this program was built without.
    #[error("{scheme} needs the cargo feature {feature:?}, which is off")]
    FeatureOff {
        /// The scheme.
        scheme: Scheme,
        /// What to turn on.
        feature: &'static str,
    },
    /// No host.
    #[error("the host is missing; write it like mqtt://host:1883")]
    NoHost,
    /// A host that cannot be read.
    #[error("the host cannot be read: {0}")]
    Host(&'static str),
    /// A host or a port with a Unix socket, which has none.
    #[error("a Unix socket has neither host nor port; write it like mqtt+unix:///run/mqtt.sock")]
    UnixHost,
    /// Port 0.
    #[error("port 0 cannot be connected to")]
    PortZero,
    /// A path, which plain MQTT has no use for.
    #[error("{0} URIs have no path; leave it out, or use ws or wss if the server speaks WebSocket")]
    Path(Scheme),
    /// No path to the Unix socket, or one that is not UTF-8 or holds U+0000.
    #[error("the path of the Unix socket cannot be read; write it like mqtt+unix:///run/mqtt.sock")]
    UnixPath,
    /// A path, a query or a fragment of a proxy.
    #[error("a proxy is a host and a port; it has no path, query or fragment")]
    ProxyPath,
    /// A query, which only WebSocket has a use for.
    #[error("{0} URIs have no query")]
    Query(Scheme),
    /// A fragment, which nobody has a use for.
    #[error("there is a fragment, which servers are never sent; write a # in another part as %23")]
    Fragment,
    /// A user name that is not UTF-8, or holds U+0000.
    #[error("the user name is not text that MQTT can carry")]
    UserName,
    /// A password for a proxy that is not UTF-8, or none or one without a user name.
    #[error("a proxy is given a user name and a password, both as UTF-8, or neither")]
    ProxyCredentials,
    /// A user name or password over 65,535 bytes, over 255 for a proxy.
    #[error("the user name or password is longer than the {0} bytes that there is room for")]
    CredentialsTooLong(usize),
    /// A Server Reference that leads to another scheme.
    #[error("the server refers to {0}, which is another scheme than ours")]
    OtherScheme(Scheme),
}

/// The URI itself, of any scheme.
pub(crate) fn read(uri: &str) -> Result<Url, UriError> {
    Url::parse(uri.trim()).map_err(|error| match error {
        url::ParseError::EmptyHost => UriError::NoHost,
        error => UriError::NotAUri(error.to_string()),
    })
}

/// A name in lower case and ASCII, or an address without brackets.
pub(crate) fn host(url: &Url) -> Result<String, UriError> {
    match url.host() {
        None | Some(url::Host::Domain("")) => Err(UriError::NoHost),
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

/// The port, which there is one of to connect to.
pub(crate) fn port(url: &Url, default: u16) -> Result<u16, UriError> {
    match url.port() {
        Some(0) => Err(UriError::PortZero),
        Some(port) => Ok(port),
        None => Ok(default),
    }
}

/// User name and password, percent-decoded, each of `limit` bytes at most.
pub(crate) fn credentials(url: &Url, limit: usize) -> Result<(Option<String>, Option<Vec<u8>>), UriError> {
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
    if user_name.as_ref().map_or(0, String::len).max(password.as_ref().map_or(0, Vec::len)) > limit {
        return Err(UriError::CredentialsTooLong(limit));
    }
    Ok((user_name, password))
}

/// A host and a port as URIs and the `Host` header have them: an IPv6 address in brackets.
pub(crate) fn authority(f: &mut std::fmt::Formatter<'_>, host: &str, port: u16) -> std::fmt::Result {
    if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
}

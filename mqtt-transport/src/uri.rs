//! The parts of a URI (RFC 3986), as MQTT wants them.
//!
//! The `url` crate is for browsers: `mqtt` is a scheme that it does not know, whose hosts are not
//! lowercased and whose IPv4 addresses stay names, and it takes `ws:host` for `ws://host`. Worse,
//! its tables of international names are a third of what a small client compiles. It reads those
//! names alone, with the feature `international-names`.

use crate::scheme::Scheme;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Which part of a URI is wrong. It never holds a password, nor a part in which a misplaced one
/// might stand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// It is not a URI.
    #[error("not a URI ({0}); write it like mqtt://host:1883")]
    NotAUri(&'static str),
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
    #[error(
        "{0} URIs have no query; a client identifier, a keep alive and the like are settings of their own"
    )]
    Query(Scheme),
    /// A fragment, which has no meaning here.
    #[error("there is a fragment, which servers are never sent; write a # in another part as %23")]
    Fragment,
    /// There is an `@` behind the host: a user name or password with an unescaped `/`, `?` or `#`
    /// ends there, and the text before it is taken for the host.
    #[error(
        "there is an @ behind the host; in a user name and a password write / as %2F, ? as %3F and # as %23 (or give them \
         apart from the URI), and in a path write @ as %40"
    )]
    Unescaped,
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
    #[error("the server refers to {0}, which uses a different scheme")]
    OtherScheme(Scheme),
}

/// For arguments that are either a URI or an [`Endpoint`](crate::Endpoint).
impl From<std::convert::Infallible> for UriError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// What a path may not hold as it is.
const IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'{')
    .add(b'}');
/// Likewise a query.
const IN_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>');

/// A URI in its parts, of any scheme, nothing decoded.
pub(crate) struct UriParts<'a> {
    /// In lower case.
    pub(crate) scheme: String,
    user_name: &'a str,
    password: &'a str,
    /// `None` where no `//` is: the path of a Unix socket.
    host: Option<&'a str>,
    port: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) has_fragment: bool,
}

/// The parts of a URI.
pub(crate) fn read(uri: &str) -> Result<UriParts<'_>, UriError> {
    let uri = uri.trim();
    if has_loose_credentials(uri) {
        return Err(UriError::Unescaped);
    }
    if uri.contains(|c: char| c.is_ascii_control()) {
        return Err(UriError::NotAUri(
            "it has a line break or another control character",
        ));
    }
    let Some((scheme, rest)) = uri.split_once(':') else {
        return Err(UriError::NotAUri("it has no scheme"));
    };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !is_scheme {
        return Err(UriError::NotAUri("what is before the : is no scheme"));
    }
    let (rest, fragment) = split_optional(rest, '#');
    let (rest, query) = split_optional(rest, '?');
    let mut parts = UriParts {
        scheme: scheme.to_ascii_lowercase(),
        user_name: "",
        password: "",
        host: None,
        port: "",
        path: rest,
        query,
        has_fragment: fragment.is_some(),
    };
    if let Some(rest) = rest.strip_prefix("//") {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user_info, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        (parts.user_name, parts.password) = user_info.split_once(':').unwrap_or((user_info, ""));
        let end = if host.starts_with('[') {
            host.find(']').map_or(host.len(), |at| at + 1)
        } else {
            host.find(':').unwrap_or(host.len())
        };
        let (host, port) = host.split_at(end);
        (parts.host, parts.path) = (Some(host), path);
        parts.port = match port {
            "" => "",
            _ => port
                .strip_prefix(':')
                .ok_or(UriError::Host("something stands behind its ]"))?,
        };
    }
    Ok(parts)
}

/// What is before the first mark, and what is behind it if there is one.
fn split_optional(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    }
}

/// Whether an `@` stands where it seems to end a password, a part of which was taken for something
/// else. The host would be the user name: it must not be dialled.
fn has_loose_credentials(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return false;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    // The path of a Unix socket may have one, if there is no host in it.
    let host = authority.rsplit('@').next().unwrap_or_default();
    if scheme.eq_ignore_ascii_case("mqtt+unix") && matches!(host, "" | "localhost") {
        return false;
    }
    let (behind, fragment) = behind.split_once('#').unwrap_or((behind, ""));
    let (path, query) = behind.split_once('?').unwrap_or((behind, ""));
    // As the value of a parameter it means something: ws://host/mqtt?user=ann@example.com
    let is_loose = |pair: &str| {
        pair.split_once('@')
            .is_some_and(|(before, _)| !before.contains('='))
    };
    path.contains('@') || fragment.contains('@') || query.split('&').any(is_loose)
}

/// The scheme, if this build has what it needs.
pub(crate) fn scheme(uri: &UriParts<'_>) -> Result<Scheme, UriError> {
    let scheme = match &*uri.scheme {
        "mqtt" | "tcp" => Scheme::Mqtt,
        "mqtts" | "ssl" | "tls" | "mqtt+ssl" | "mqtt+tls" => Scheme::Mqtts,
        "ws" => Scheme::Ws,
        "wss" => Scheme::Wss,
        "mqtt+unix" => Scheme::Unix,
        other => return Err(UriError::Scheme(other.to_owned())),
    };
    if scheme.is_tls() && !cfg!(feature = "tls") {
        return Err(UriError::FeatureOff {
            scheme,
            feature: "tls",
        });
    }
    if scheme.is_web_socket() && !cfg!(feature = "websocket") {
        return Err(UriError::FeatureOff {
            scheme,
            feature: "websocket",
        });
    }
    Ok(scheme)
}

/// A name in lower case and ASCII, or an address without brackets.
pub(crate) fn host(uri: &UriParts<'_>) -> Result<String, UriError> {
    let host = match uri.host {
        None => return Err(UriError::NotAUri("no :// behind the scheme")),
        Some("") => return Err(UriError::NoHost),
        Some(host) => host,
    };
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']');
        return match address.map(str::parse::<Ipv6Addr>) {
            Some(Ok(address)) => Ok(address.to_string()),
            _ => Err(UriError::Host("what is in [] is no IPv6 address")),
        };
    }
    let name = percent_decode_str(host)
        .decode_utf8()
        .map_err(|_| UriError::Host("it is not UTF-8"))?;
    let name = ascii(&name)?;
    // What is in a certificate or on a list of names has none of them; an `@` or a `/` that was
    // percent-encoded would be read otherwise when the URI is shown and read again.
    if name.is_empty()
        || name
            .bytes()
            .any(|b| !b.is_ascii_graphic() || b"\"#%/:<>?@[\\]^`{|}".contains(&b))
    {
        return Err(UriError::Host("it is neither a name nor an address"));
    }
    // No top-level domain is a number: it is an address, or meant to be one.
    let last = name.strip_suffix('.').unwrap_or(&name).rsplit('.').next();
    if !last.is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Ok(name);
    }
    match name.parse::<Ipv4Addr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(UriError::Host(
            "an IPv4 address is four numbers of 0 to 255",
        )),
    }
}

/// A name in lower case, in other alphabets as Punycode.
fn ascii(name: &str) -> Result<String, UriError> {
    if name.is_ascii() {
        return Ok(name.to_ascii_lowercase());
    }
    #[cfg(feature = "international-names")]
    return match url::Host::parse(name) {
        Ok(url::Host::Domain(name)) => Ok(name),
        _ => Err(UriError::Host("it is no international name")),
    };
    #[cfg(not(feature = "international-names"))]
    Err(UriError::Host(
        "it is not ASCII: write it as Punycode (xn--…), or turn on the cargo feature \"international-names\"",
    ))
}

/// The port, which there is one of to connect to.
pub(crate) fn port(uri: &UriParts<'_>, default: u16) -> Result<u16, UriError> {
    if uri.port.is_empty() {
        return Ok(default);
    }
    let is_number = uri.port.bytes().all(|b| b.is_ascii_digit());
    match uri.port.parse() {
        Ok(0) => Err(UriError::PortZero),
        Ok(port) if is_number => Ok(port),
        _ => Err(UriError::NotAUri("the port is no number of 1 to 65535")),
    }
}

/// Whether the host is this machine and no port is given, as with the path of a Unix socket.
pub(crate) fn is_local(uri: &UriParts<'_>) -> bool {
    matches!(uri.host, None | Some("" | "localhost")) && uri.port.is_empty()
}

/// Path and query as they are sent: what may not stand there is percent-encoded.
pub(crate) fn path_and_query(uri: &UriParts<'_>) -> String {
    let path = if uri.path.is_empty() { "/" } else { uri.path };
    let path = Cow::from(utf8_percent_encode(path, IN_PATH));
    match uri.query {
        Some(query) => format!("{path}?{}", utf8_percent_encode(query, IN_QUERY)),
        None => path.into_owned(),
    }
}

/// User name and password, percent-decoded, each of `limit` bytes at most.
pub(crate) fn credentials(
    uri: &UriParts<'_>,
    limit: usize,
) -> Result<(Option<String>, Option<Vec<u8>>), UriError> {
    let user_name = percent_decode_str(uri.user_name)
        .decode_utf8()
        .map_err(|_| UriError::UserName)?;
    if user_name.contains('\0') {
        return Err(UriError::UserName);
    }
    let password: Cow<'_, [u8]> = percent_decode_str(uri.password).into();
    if user_name.len().max(password.len()) > limit {
        return Err(UriError::CredentialsTooLong(limit));
    }
    Ok((
        (!user_name.is_empty()).then(|| user_name.into_owned()),
        (!password.is_empty()).then(|| password.into_owned()),
    ))
}

/// A host and a port as URIs have them: an IPv6 address in brackets, with its zone.
pub(crate) fn authority(
    f: &mut std::fmt::Formatter<'_>,
    host: &str,
    zone: Option<&str>,
    port: u16,
) -> std::fmt::Result {
    match zone {
        Some(zone) => write!(f, "[{host}%25{zone}]:{port}"),
        None if host.contains(':') => write!(f, "[{host}]:{port}"),
        None => write!(f, "{host}:{port}"),
    }
}

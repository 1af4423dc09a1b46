//! The way through a proxy: HTTP CONNECT (RFC 9110, section 9.3.6) and SOCKS5 (RFC 1928, RFC 1929).
//!
//! ```text
//! HTTP CONNECT   Head ──────────────────────────────────────────────► done
//! SOCKS5         Method ──┬──────────────────► Reply ──────────────► done
//!                         └► Authentication ──►
//! ```

use crate::error::{StackError, StackErrorKind, TLS_ALERT};
use crate::head::{self, Head};
use bytes::{BufMut, BytesMut};
use data_encoding::BASE64;
use std::fmt;
use std::net::IpAddr;

/// The way to a server through a proxy. The socket is opened to the proxy; the name of the server
/// goes to the proxy as it is, and is resolved there.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyTunnel {
    kind: ProxyKind,
    host: String,
    port: u16,
    credentials: Option<(String, String)>,
}

/// What a proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyKind {
    HttpConnect,
    Socks5,
}

impl ProxyTunnel {
    /// Through an HTTP proxy, to this server. An IPv6 address is written without brackets.
    pub fn http_connect(host: impl Into<String>, port: u16) -> Self {
        Self {
            kind: ProxyKind::HttpConnect,
            host: host.into(),
            port,
            credentials: None,
        }
    }

    /// Through a SOCKS5 proxy, to this server. An IPv6 address is written without brackets.
    pub fn socks5(host: impl Into<String>, port: u16) -> Self {
        Self {
            kind: ProxyKind::Socks5,
            ..Self::http_connect(host, port)
        }
    }

    /// Who we are to the proxy: HTTP's Basic scheme (no colon in the user name), or RFC 1929 (up to
    /// 255 bytes each).
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some((user.into(), password.into()));
        self
    }

    /// Whether it can be said to a proxy at all.
    fn check(&self) -> Result<(), StackError> {
        let wrong = |text: &str| Err(StackError::permanent(StackErrorKind::Configuration, text));
        if self.host.is_empty() || self.host.len() > 255 {
            return wrong("the name of a server behind a proxy has 1 to 255 bytes");
        }
        if !self
            .host
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"/@?#[]\\".contains(&b))
        {
            return wrong(
                "the name of a server behind a proxy has a character that no host name has",
            );
        }
        match (&self.credentials, self.kind) {
            (Some((user, password)), ProxyKind::Socks5)
                if user.is_empty() || user.len() > 255 || password.len() > 255 =>
            {
                wrong(
                    "SOCKS5 has room for a user name of 1 to 255 bytes and a password of up to 255",
                )
            }
            (Some((user, password)), ProxyKind::HttpConnect)
                if user.contains(':')
                    || user.chars().chain(password.chars()).any(char::is_control) =>
            {
                wrong(
                    "an HTTP proxy's user name has no colon, and neither it nor the password a control character",
                )
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for ProxyTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyTunnel")
            .field("kind", &self.kind)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.credentials.as_ref().map(|(user, _)| user))
            .finish_non_exhaustive()
    }
}

/// The conversation with the proxy.
pub(crate) struct Conversation {
    tunnel: ProxyTunnel,
    state: ConversationState,
    /// An answer of SOCKS5 that is not all there yet.
    input: BytesMut,
    output: BytesMut,
}

enum ConversationState {
    Head(Head),
    Method,
    Authentication,
    Reply,
}

impl Conversation {
    pub(crate) fn new(tunnel: &ProxyTunnel) -> Result<Self, StackError> {
        tunnel.check()?;
        let tunnel = tunnel.clone();
        let mut output = BytesMut::new();
        let state = match tunnel.kind {
            ProxyKind::HttpConnect => {
                output.extend_from_slice(connect_request(&tunnel).as_bytes());
                ConversationState::Head(Head::default())
            }
            ProxyKind::Socks5 => {
                // No authentication, and the user name if there is one.
                output.extend_from_slice(if tunnel.credentials.is_some() {
                    &[5, 2, 0, 2]
                } else {
                    &[5, 1, 0]
                });
                ConversationState::Method
            }
        };
        Ok(Self {
            tunnel,
            state,
            input: BytesMut::new(),
            output,
        })
    }

    /// Takes what the proxy said from the front; `true` once the way is open, and what remains is
    /// the server's.
    pub(crate) fn handle(&mut self, wire: &mut BytesMut) -> Result<bool, StackError> {
        if let ConversationState::Head(head) = &mut self.state {
            while let Some(head) = head.take(wire).map_err(not_a_proxy)? {
                match head::status(&head) {
                    Some(200..=299) => return Ok(true),
                    // Something comes before the answer.
                    Some(100..=199) => {}
                    status => return Err(rejected_by_http(&head, status)),
                }
            }
            return Ok(false);
        }
        loop {
            // Never more than one answer is held: 262 bytes at most.
            let missing = self.answer_len()? - self.input.len();
            if missing > 0 {
                if wire.is_empty() {
                    return Ok(false);
                }
                self.input
                    .extend_from_slice(&wire.split_to(missing.min(wire.len())));
                self.check_version()?;
                self.check_code()?;
                continue;
            }
            let second = self.input[1];
            self.input.clear();
            self.state = match (&self.state, second) {
                (ConversationState::Method, 0) => self.ask(),
                (ConversationState::Method, 2) if self.tunnel.credentials.is_some() => {
                    self.authenticate()
                }
                (ConversationState::Method, 0xff) if self.tunnel.credentials.is_some() => {
                    return Err(denied(
                        "the SOCKS5 proxy takes neither a user name and password nor none",
                    ));
                }
                (ConversationState::Method, 0xff) => {
                    return Err(denied(
                        "the SOCKS5 proxy wants authentication, and no user name was given",
                    ));
                }
                (ConversationState::Method, method) => {
                    return Err(not_a_proxy(format!(
                        "chose SOCKS5 method {method}, which was not offered"
                    )));
                }
                (ConversationState::Authentication, 0) => self.ask(),
                (ConversationState::Authentication, _) => {
                    return Err(denied(
                        "the SOCKS5 proxy does not accept the user name and password",
                    ));
                }
                // Another code was an error as soon as it came.
                (ConversationState::Reply, _) => return Ok(true),
                (ConversationState::Head(_), _) => unreachable!("an HTTP proxy is spoken to above"),
            };
        }
    }

    /// What is to be sent to the proxy is moved to `wire`.
    pub(crate) fn poll(&mut self, wire: &mut BytesMut) {
        wire.unsplit(self.output.split());
    }

    /// The proxy hung up.
    pub(crate) fn end(&self) -> StackError {
        let silent = match &self.state {
            ConversationState::Head(head) => head.is_empty(),
            ConversationState::Method => self.input.is_empty(),
            ConversationState::Authentication | ConversationState::Reply => false,
        };
        let kind = match self.tunnel.kind {
            ProxyKind::HttpConnect => "an HTTP",
            ProxyKind::Socks5 => "a SOCKS5",
        };
        StackError::new(
            StackErrorKind::Proxy,
            if silent {
                format!("the proxy closed the connection without an answer; is it {kind} proxy?")
            } else {
                "the proxy closed the connection before the way to the server was open".to_owned()
            },
        )
    }

    /// How long the answer is, as far as its beginning says.
    fn answer_len(&self) -> Result<usize, StackError> {
        match (&self.state, &self.input[..]) {
            (ConversationState::Reply, [_, _, _, kind, length, ..]) => match kind {
                1 => Ok(4 + 4 + 2),
                3 => Ok(4 + 1 + usize::from(*length) + 2),
                4 => Ok(4 + 16 + 2),
                kind => Err(not_a_proxy(format!(
                    "answered with address type {kind}, which SOCKS5 does not have"
                ))),
            },
            (ConversationState::Reply, _) => Ok(5),
            _ => Ok(2),
        }
    }

    fn check_version(&self) -> Result<(), StackError> {
        // The version of RFC 1929 is 1; some proxies repeat that of SOCKS.
        match (&self.state, self.input[0]) {
            (ConversationState::Authentication, 1 | 5) | (_, 5) => Ok(()),
            (_, b'H') => Err(not_a_proxy("answered with HTTP; is it an HTTP proxy?")),
            (_, TLS_ALERT) => Err(not_a_proxy("speaks TLS, and is not a SOCKS5 proxy")),
            (_, first) => Err(not_a_proxy(format!(
                "is not a SOCKS5 proxy (it answered with {first:#04x})"
            ))),
        }
    }

    /// A rejection counts as soon as its code is there: some proxies leave out the address that follows, or send
    /// one of no type.
    fn check_code(&self) -> Result<(), StackError> {
        match (&self.state, &self.input[..]) {
            (ConversationState::Reply, &[_, code, ..]) if code != 0 => Err(rejected_by_socks(code)),
            _ => Ok(()),
        }
    }

    fn authenticate(&mut self) -> ConversationState {
        if let Some((user, password)) = &self.tunnel.credentials {
            self.output.put_u8(1);
            for part in [user, password] {
                self.output
                    .put_u8(u8::try_from(part.len()).expect("`check` has seen it"));
                self.output.put_slice(part.as_bytes());
            }
        }
        ConversationState::Authentication
    }

    fn ask(&mut self) -> ConversationState {
        self.output.put_slice(&[5, 1, 0]);
        match self.tunnel.host.parse() {
            Ok(IpAddr::V4(address)) => {
                self.output.put_u8(1);
                self.output.put_slice(&address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                self.output.put_u8(4);
                self.output.put_slice(&address.octets());
            }
            Err(_) => {
                self.output.put_u8(3);
                self.output
                    .put_u8(u8::try_from(self.tunnel.host.len()).expect("`check` has seen it"));
                self.output.put_slice(self.tunnel.host.as_bytes());
            }
        }
        self.output.put_u16(self.tunnel.port);
        ConversationState::Reply
    }
}

fn connect_request(tunnel: &ProxyTunnel) -> String {
    let ProxyTunnel { host, port, .. } = tunnel;
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.clone()
    };
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    if let Some((user, password)) = &tunnel.credentials {
        let encoded = BASE64.encode(format!("{user}:{password}").as_bytes());
        request.push_str(&format!("Proxy-Authorization: Basic {encoded}\r\n"));
    }
    request.push_str("\r\n");
    request
}

fn not_a_proxy(what: impl fmt::Display) -> StackError {
    StackError::new(StackErrorKind::Proxy, format!("the proxy {what}"))
}

fn denied(text: &str) -> StackError {
    StackError::permanent(StackErrorKind::ProxyRejected, text)
}

fn rejected_by_http(head: &[u8], status: Option<u16>) -> StackError {
    let line = head::status_line(head);
    match status {
        None => not_a_proxy(format!("answered \"{line}\", which has no status")),
        // 401 is what some say instead, tinyproxy among them.
        Some(401 | 407) => denied(&format!(
            "the proxy answered \"{line}\": it wants a user name and password, or others than those given"
        )),
        Some(403) => denied(&format!(
            "the proxy answered \"{line}\": it does not allow this server or port"
        )),
        Some(405) => denied(&format!(
            "the proxy answered \"{line}\": it does not allow CONNECT"
        )),
        Some(_) => StackError::new(
            StackErrorKind::ProxyRejected,
            format!("the proxy answered \"{line}\""),
        ),
    }
}

/// RFC 1928, section 6.
fn rejected_by_socks(code: u8) -> StackError {
    let reason = match code {
        1 => "general failure",
        2 => {
            return denied(
                "the SOCKS5 proxy rejected the request: its rules do not allow this server or port",
            );
        }
        3 => "the server's network is unreachable",
        4 => "the server is unreachable, or the proxy cannot resolve its name",
        5 => "the server refused the connection",
        6 => "time to live expired",
        7 => "it does not support CONNECT",
        8 => "it does not support this type of address",
        _ => "a reason that SOCKS5 does not name",
    };
    StackError::new(
        StackErrorKind::ProxyRejected,
        format!("the SOCKS5 proxy rejected the request: {reason} (code {code})"),
    )
}

//! The way to the server, as the options of the connection have it: for connections whose packets
//! are written one by one.

use super::trouble::Trouble;
use crate::connection::Plan;
use crate::exit::{Failure, in_one_line};
use martlet_tokio::proto::{BinaryData, Utf8String};
use martlet_tokio::runtime::SocketOptions;
use martlet_tokio::settings::Secret;
use martlet_tokio::transport::{
    ProxyUri, Scheme, Stack, StackError, TlsClient, Transport, WebSocketRequest,
};
use martlet_tokio::{ConnectError, Endpoint, Settings, Trust};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// A socket of either kind.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket for S {}

/// A server, what is between it and MQTT, and who connects.
pub(super) struct Target {
    endpoint: Endpoint,
    /// The proxy that sockets are opened to.
    proxy: Option<ProxyUri>,
    /// `None`: MQTT's bytes are the socket's.
    stack: Option<Stack>,
    socket: SocketOptions,
    pub(super) user_name: Option<Utf8String>,
    pub(super) password: Option<BinaryData>,
    /// How long opening a connection may take, up to its CONNACK.
    pub(super) timeout: Duration,
}

impl Target {
    /// The first server of the plan.
    pub(super) fn new(plan: &Plan) -> Result<Self, Failure> {
        let settings = &plan.settings;
        let endpoint = Endpoint::parse(settings.connection.uri.as_str())
            .map_err(|error| Failure::usage(format!("the server's URL: {error}")))?;
        let proxy = match (&settings.martlet.proxy, endpoint.scheme()) {
            (None, _) | (_, Scheme::Unix) => None,
            (Some(proxy), _) => {
                let proxy = ProxyUri::parse(proxy.as_str());
                Some(proxy.map_err(|error| Failure::usage(format!("--proxy: {error}")))?)
            }
        };
        let text = |secret: &Secret| {
            let bytes = look_up(secret)?;
            String::from_utf8(bytes).map_err(|_| Failure::usage("a secret is not UTF-8"))
        };
        let martlet = &settings.martlet;
        let user_name = match (endpoint.user_name(), &martlet.user_name) {
            (Some(name), _) => Some(name.to_owned()),
            (None, Some(name)) => Some(text(name)?),
            (None, None) => None,
        };
        let password = match (endpoint.password(), &martlet.password) {
            (Some(password), _) => Some(password.to_vec()),
            (None, Some(password)) => Some(look_up(password)?),
            (None, None) => None,
        };
        let stack = stack(settings, &endpoint, proxy.as_ref())?;
        let too_long = |_| Failure::usage("the user name or the password is too long for MQTT");
        Ok(Self {
            proxy,
            stack,
            socket: SocketOptions::default().local_address(plan.bind),
            user_name: user_name
                .map(Utf8String::new)
                .transpose()
                .map_err(too_long)?,
            password: password
                .map(BinaryData::new)
                .transpose()
                .map_err(too_long)?,
            timeout: settings.connection_timeout,
            endpoint,
        })
    }

    /// The server without credentials.
    pub(super) fn name(&self) -> String {
        self.endpoint.to_string()
    }

    /// Opens a socket. The handshakes of the [`Transport`], where there is one, are the caller's.
    pub(super) async fn open(
        &self,
        until: Instant,
    ) -> Result<(Box<dyn Socket>, Option<Transport>), Trouble> {
        let unreachable = |error: StackError| Trouble::Unreachable(error.to_string());
        let transport = match &self.stack {
            Some(stack) => Some(Transport::new(stack).map_err(unreachable)?),
            None => None,
        };
        match timeout_at(until, self.dial()).await {
            Ok(Ok(socket)) => Ok((socket, transport)),
            Ok(Err(error)) => Err(Trouble::Unreachable(error.to_string())),
            Err(_) => Err(Trouble::Unreachable("timed out".to_owned())),
        }
    }

    async fn dial(&self) -> std::io::Result<Box<dyn Socket>> {
        if self.endpoint.scheme() == Scheme::Unix {
            return unix(self.endpoint.path()).await;
        }
        let (host, zone, port) = match &self.proxy {
            Some(proxy) => (proxy.host(), proxy.zone(), proxy.port()),
            None => (
                self.endpoint.host(),
                self.endpoint.zone(),
                self.endpoint.port(),
            ),
        };
        let host = match zone {
            Some(zone) => format!("{host}%{zone}"),
            None => host.to_owned(),
        };
        let mut last = std::io::Error::other("the name of the host has no address");
        for address in tokio::net::lookup_host((host, port)).await? {
            let opened = async {
                let socket = TcpStream::from_std(self.socket.connect(address)?)?;
                socket.writable().await?;
                match socket.take_error()? {
                    Some(error) => Err(error),
                    None => Ok(socket),
                }
            };
            match opened.await {
                Ok(socket) => return Ok(Box::new(socket)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

#[cfg(unix)]
async fn unix(path: &str) -> std::io::Result<Box<dyn Socket>> {
    Ok(Box::new(tokio::net::UnixStream::connect(path).await?))
}

#[cfg(not(unix))]
async fn unix(_: &str) -> std::io::Result<Box<dyn Socket>> {
    Err(std::io::Error::other("there are no Unix sockets here"))
}

/// What is between the socket and MQTT.
fn stack(
    settings: &Settings,
    endpoint: &Endpoint,
    proxy: Option<&ProxyUri>,
) -> Result<Option<Stack>, Failure> {
    let (scheme, host, port) = (endpoint.scheme(), endpoint.host(), endpoint.port());
    if proxy.is_none() && !scheme.is_tls() && !scheme.is_web_socket() {
        return Ok(None);
    }
    let request = match scheme {
        Scheme::Ws => Some(WebSocketRequest::ws(host, port, endpoint.path())),
        Scheme::Wss => Some(WebSocketRequest::wss(host, port, endpoint.path())),
        _ => None,
    };
    let request = match request {
        Some(mut request) => {
            for (name, value) in &settings.martlet.headers {
                let value = String::from_utf8(look_up(value)?)
                    .map_err(|_| Failure::usage("--header: the value is not UTF-8"))?;
                request = request.header(name, value);
            }
            Some(request)
        }
        None => None,
    };
    let tls = match scheme.is_tls() {
        true => {
            let config = trust(settings)?
                .build()
                .map_err(|error| Failure::usage(in_one_line(ConnectError::from(error))))?;
            let client = TlsClient::new(&config, host);
            Some(client.map_err(|error| Failure::usage(error.to_string()))?)
        }
        false => None,
    };
    Ok(Some(
        Stack::default()
            .proxy(proxy.map(|proxy| proxy.tunnel(endpoint)))
            .tls(tls)
            .web_socket(request),
    ))
}

/// As the library has it.
fn trust(settings: &Settings) -> Result<Trust, Failure> {
    let (connection, martlet) = (&settings.connection, &settings.martlet);
    let mut trust = Trust::new().alpn(martlet.alpn.iter().map(String::as_str));
    if let Some(file) = &connection.cafile {
        trust = trust.ca_file(file);
    }
    if let Some(folder) = &connection.capath {
        trust = trust.ca_directory(folder);
    }
    if let Some(pem) = &connection.cadata {
        trust = trust.ca_pem(pem.as_str());
    }
    if let (Some(certificate), Some(key)) = (&connection.certfile, &connection.keyfile) {
        trust = trust.certificate_file(certificate).key_file(key);
    }
    if let Some(password) = &martlet.key_password {
        trust = trust.key_password(look_up(password)?);
    }
    if let Some(name) = &martlet.server_name {
        trust = trust.server_name(name);
    }
    if !settings.check_hostname {
        trust = trust.danger_skip_host_name_check();
        if !settings.verify_cert {
            trust = trust.danger_skip_certificate_check();
        }
    }
    Ok(trust)
}

/// A secret that the library has looked up before: what can be wrong with it was reported.
fn look_up(secret: &Secret) -> Result<Vec<u8>, Failure> {
    let wrong = || Failure::usage("a secret cannot be read any more");
    match secret {
        Secret::Text(text) => Ok(text.clone().into_bytes()),
        Secret::Bytes(bytes) => Ok(bytes.clone()),
        Secret::Env(name) => std::env::var(name)
            .map(String::into_bytes)
            .map_err(|_| wrong()),
        Secret::File(path) => {
            let bytes = std::fs::read(path).map_err(|_| wrong())?;
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
            let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            Ok(bytes.strip_suffix(b"\r").unwrap_or(bytes).to_vec())
        }
        _ => Err(wrong()),
    }
}

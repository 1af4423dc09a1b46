//! The way to an MQTT server: where it is, from a URI, and the byte stack between its socket and
//! MQTT.
//!
//! **What it does.** [`Endpoint::parse`] reads `mqtt://user:secret@host:1883`, or `mqtts`, `ws`,
//! `wss` or `mqtt+unix`, and returns its parts, or names the wrong part and what to do about
//! it. A [`Transport`] turns the bytes of a socket into those of MQTT and back, through a proxy
//! (HTTP CONNECT, SOCKS5), TLS and WebSocket, each where the [`Stack`] has it.
//!
//! **What it does not touch.** It opens nothing, resolves nothing and waits for nothing: bytes are
//! handed to it and taken from it. It reads no clock, except that TLS holds certificates against
//! the system's time. It knows nothing of MQTT but WebSocket's subprotocol. Passwords and keys
//! never appear in its errors or in `Debug`.
//!
//! ```
//! use martlet_transport::Endpoint;
//!
//! let endpoint = Endpoint::parse("mqtt://ann:p%40ss@[::1]")?;
//! assert_eq!((endpoint.host(), endpoint.port()), ("::1", 1883));
//! assert_eq!(endpoint.user_name(), Some("ann"));
//! assert_eq!(endpoint.password(), Some(&b"p@ss"[..]));
//! assert_eq!(format!("{endpoint}"), "mqtt://[::1]:1883");
//! # Ok::<(), martlet_transport::UriError>(())
//! ```
//!
//! The loop around a [`Transport`], here with a socket that blocks:
//!
//! ```no_run
//! use bytes::BytesMut;
//! use martlet_transport::{ProxyTunnel, Stack, Transport};
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//!
//! let proxy = ProxyTunnel::socks5("broker.example", 1883).credentials("ann", "secret");
//! let stack = Stack::default().proxy(Some(proxy));
//! let mut socket = TcpStream::connect("proxy.example:1080")?;
//!
//! let mut transport = Transport::new(&stack)?;
//! let (mut wire, mut plain) = (BytesMut::new(), BytesMut::new());
//! let mut connect = &b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0"[..];
//! loop {
//!     transport.write(&mut connect)?; // takes nothing before `is_open`
//!     if transport.poll_wire(&mut wire) > 0 {
//!         socket.write_all(&wire)?;
//!         wire.clear();
//!     }
//!     let mut buffer = [0; 4096];
//!     match socket.read(&mut buffer)? {
//!         0 => {
//!             transport.handle_eof()?;
//!             break;
//!         }
//!         length => wire.extend_from_slice(&buffer[..length]),
//!     }
//!     let result = transport.handle_wire(&mut wire, &mut plain);
//!     println!("{plain:?} came from the server");
//!     plain.clear();
//!     if let Err(error) = result {
//!         // The server is sent the reason.
//!         let _ = transport.poll_wire(&mut wire);
//!         socket.write_all(&wire)?;
//!         return Err(error.into());
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//! None but `std` is on by default. `ring` and `aws-lc-rs` are TLS by rustls with either
//! cryptography, `tls` is TLS with what the process has installed in rustls; `encrypted-keys` reads
//! private keys that are encrypted; `international-names` takes names of hosts in other alphabets
//! than ASCII; `websocket` is WebSocket by tungstenite.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(all(feature = "tls", feature = "websocket")))]
mod absent;
#[cfg(feature = "tls")]
mod der;
mod endpoint;
mod error;
#[cfg(feature = "tls")]
mod explain;
mod head;
mod proxy;
#[cfg(feature = "tls")]
mod reload;
mod request;
mod scheme;
#[cfg(feature = "tls")]
mod tls;
mod transport;
#[cfg(feature = "tls")]
mod trust;
mod uri;
mod uri_proxy;
#[cfg(feature = "tls")]
mod verify;
#[cfg(feature = "websocket")]
mod web_socket;
mod wire;
mod zone;

#[cfg(not(feature = "tls"))]
use absent::tls;
#[cfg(not(feature = "websocket"))]
use absent::web_socket;

/// rustls, to configure all of TLS with it: see [`TlsConfig::from_rustls`]. It follows rustls'
/// releases: what is used of it is not covered by this crate's version number.
#[cfg(feature = "tls")]
#[doc(no_inline)]
pub use ::rustls;
pub use endpoint::Endpoint;
pub use error::{StackError, StackErrorKind};
pub use proxy::ProxyTunnel;
#[cfg(feature = "tls")]
pub use reload::TrustFiles;
pub use request::WebSocketRequest;
pub use scheme::Scheme;
pub use tls::TlsClient;
pub use transport::{Handshake, Stack, Transport};
#[cfg(feature = "tls")]
pub use trust::{Crypto, PemSource, TlsConfig, Trust, TrustError};
pub use uri::UriError;
pub use uri_proxy::ProxyUri;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

//! The Martlet MQTT client on async-std.
//!
//! ```no_run
//! use martlet_async_std::QoS;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! async_std::task::block_on(async {
//!     let client = martlet_async_std::connect("mqtt://user:secret@broker.example").await?;
//!     let mut readings = client.subscribe("sensors/+/temp").qos(QoS::AtLeastOnce).await?;
//!     client.publish("sensors/1/temp", "21.5").qos(QoS::AtLeastOnce).await?; // acknowledged by the server
//!     if let Some(message) = readings.next().await {
//!         println!("{}: {:?}", message.topic(), message.text());
//!     }
//!     client.disconnect().await; // last: what was published leaves before the program ends
//!     Ok(())
//! })
//! # }
//! ```
//!
//! **What it does.** [`connect`] spawns a driver on async-std's executor and waits for the
//! connection. For more say, `Client::builder(uri).build(AsyncStd)` gives the client and its
//! driver: spawn the driver yourself, or poll it where you like. **What it does not touch.**
//! Everything but sockets, time and the spawn is `martlet-client`'s, whose types are exported here.
//!
//! Streams of your own, anything that is `Read` and `Write` as `async_std::io` has them, take the
//! place of the runtime's sockets with [`Streams`](runtime::Streams):
//!
//! ```
//! use martlet_async_std::{AsyncStd, Client, Endpoint, runtime::Streams};
//! use async_std::net::TcpStream;
//!
//! # async fn example() -> Result<(), martlet_async_std::ConnectError> {
//! let tunnel = Streams::new(AsyncStd, |endpoint: Endpoint| TcpStream::connect(("127.0.0.1", endpoint.port())));
//! let (client, driver) = Client::builder("mqtt://broker.example").build(tunnel)?;
//! async_std::task::spawn(driver);
//! client.connected().await?;
//! # Ok(())
//! # }
//! ```
//!
//! **async-std is no longer developed**; its authors point to smol. This crate is for programs that
//! still run on it, and the only one of Martlet's that depends on it. A program that moves to smol
//! takes `martlet-smol`, which differs in names alone.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod runtime;
mod socket;

pub use martlet_client::{
    AuthenticateError, Builder, Client, ClientEvent, ConnectError, ConnectionError,
    ConnectionState, Driver, DurableBuilder, Endpoint, Error, Events, Message, OpenError,
    PacketLogger, PublishError, PublishProperties, QoS, Receipt, Reconnect, RequestError,
    ResponseError, StateChanges, StreamLimits, SubscribeError, Subscription, TopicFilter,
    TopicName, Unacknowledged, UnsubscribeError, UserProperties, Version, Will, client, embedded,
    hooks, proto, reconnect, session, store, transport,
};
#[cfg(feature = "tls")]
pub use martlet_client::{TlsConfig, Trust};
#[cfg(feature = "settings")]
pub use martlet_config::{self as settings, Settings};
pub use runtime::AsyncStd;

use martlet_client::runtime::IntoClient;

/// Connects with everything at its default, as [`connect_with`] does.
///
/// ```no_run
/// # async fn example() -> Result<(), martlet_async_std::ConnectError> {
/// let client = martlet_async_std::connect("mqtt://user:secret@broker.example").await?;
/// # Ok(())
/// # }
/// ```
///
/// Cancel safe: dropped while it waits, the attempt ends.
///
/// # Errors
/// [`ConnectError`] when the URI is wrong, no connection can be made, or the server rejects it;
/// with its code.
pub async fn connect(
    server: impl TryInto<Endpoint, Error: Into<transport::UriError>>,
) -> Result<Client, ConnectError> {
    connect_with(Client::builder(server)).await
}

/// Connects with what the builder says: [`start`]s the client and waits for the server's answer.
///
/// ```no_run
/// # async fn example() -> Result<(), martlet_async_std::ConnectError> {
/// use martlet_async_std::Client;
///
/// let builder = Client::builder("mqtt://broker.example").client_identifier("meter-7");
/// let client = martlet_async_std::connect_with(builder).await?;
/// # Ok(())
/// # }
/// ```
///
/// Cancel safe: dropped while it waits, the attempt ends.
///
/// # Errors
/// [`ConnectError`] when no connection can be made, or the server rejects it; with its code.
/// [`OpenError`] of a [`DurableBuilder`], whose store is read here, which blocks.
pub async fn connect_with<B: IntoClient>(builder: B) -> Result<Client, B::Error> {
    let client = start(builder)?;
    client.connected().await?;
    Ok(client)
}

/// Spawns the driver on async-std's executor and returns the client at once. It connects meanwhile, and what is
/// asked of it waits; [`Client::connected`] waits for the server's answer.
///
/// By default each server is tried once; when none accepts, the client stops, and everything that waits fails with
/// the reason. For a service that may start before its broker, set
/// [`Reconnect::retry_first`](Reconnect::retry_first).
///
/// ```no_run
/// # async fn example() -> Result<(), martlet_async_std::ConnectError> {
/// use martlet_async_std::{Client, Reconnect};
///
/// let policy = Reconnect::default().retry_first(true);
/// let client = martlet_async_std::start(Client::builder("mqtt://broker.example").reconnect(policy))?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ConnectError`] when a setting is wrong. [`OpenError`] of a [`DurableBuilder`], whose store is read here, which
/// blocks.
pub fn start<B: IntoClient>(builder: B) -> Result<Client, B::Error> {
    let (client, driver) = builder.into_client(AsyncStd)?;
    async_std::task::spawn(driver);
    Ok(client)
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

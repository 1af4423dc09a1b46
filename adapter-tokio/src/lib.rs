//! The Martlet MQTT client on tokio.
//!
//! ```no_run
//! use martlet_tokio::QoS;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), martlet_tokio::Error> {
//!     let client = martlet_tokio::connect("mqtt://user:secret@broker.example").await?;
//!     let mut readings = client.subscribe("sensors/+/temp").qos(QoS::AtLeastOnce).await?;
//!     client.publish("sensors/1/temp", "21.5").qos(QoS::AtLeastOnce).await?; // acknowledged by the server
//!     if let Some(message) = readings.next().await {
//!         println!("{}: {:?}", message.topic(), message.text());
//!     }
//!     client.disconnect().await; // last: what was published leaves before the program ends
//!     Ok(())
//! }
//! ```
//!
//! **What it does.** [`connect`] spawns a driver and waits for the connection; `build(Tokio)` of a
//! [`Builder`] returns client and driver, for a `select!` of your own. **What it does not touch.**
//! Everything but sockets, time and the spawn is `martlet-client`'s, whose types are exported here.
//!
//! `tokio::time::pause()` drives all of the client's time: keep alive, deadlines, reconnects.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod runtime;

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
pub use runtime::Tokio;

use martlet_client::runtime::IntoClient;

/// Connects with everything at its default, as [`connect_with`] does.
///
/// ```no_run
/// # async fn example() -> Result<(), martlet_tokio::ConnectError> {
/// let client = martlet_tokio::connect("mqtt://user:secret@broker.example").await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ConnectError`] when the URI is wrong, no connection can be made, or the server rejects it;
/// with its code.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn connect(
    server: impl TryInto<Endpoint, Error: Into<transport::UriError>>,
) -> Result<Client, ConnectError> {
    connect_with(Client::builder(server)).await
}

/// Connects with what the builder says: [`start`]s the client and waits for the server's answer.
///
/// ```no_run
/// # async fn example() -> Result<(), martlet_tokio::ConnectError> {
/// use martlet_tokio::Client;
///
/// let builder = Client::builder("mqtt://broker.example").client_identifier("meter-7");
/// let client = martlet_tokio::connect_with(builder).await?;
/// # Ok(())
/// # }
/// ```
///
/// Cancel safe: dropped while it waits, the attempt ends.
///
/// # Errors
/// [`ConnectError`] when no connection can be made, or the server rejects it; with its code.
/// [`OpenError`] of a [`DurableBuilder`], whose store is read here, which blocks.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn connect_with<B: IntoClient>(builder: B) -> Result<Client, B::Error> {
    let client = start(builder)?;
    client.connected().await?;
    Ok(client)
}

/// Spawns the driver on the current runtime and returns the client at once. It connects meanwhile, and what is
/// asked of it waits; [`Client::connected`] waits for the server's answer.
///
/// By default each server is tried once; when none accepts, the client stops, and everything that waits fails with
/// the reason. For a service that may start before its broker, set
/// [`Reconnect::retry_first`](Reconnect::retry_first).
///
/// ```no_run
/// # async fn example() -> Result<(), martlet_tokio::ConnectError> {
/// use martlet_tokio::{Client, Reconnect};
///
/// let policy = Reconnect::default().retry_first(true);
/// let client = martlet_tokio::start(Client::builder("mqtt://broker.example").reconnect(policy))?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ConnectError`] when a setting is wrong. [`OpenError`] of a [`DurableBuilder`], whose store is read here, which
/// blocks.
///
/// # Panics
/// Outside a tokio runtime.
pub fn start<B: IntoClient>(builder: B) -> Result<Client, B::Error> {
    let (client, driver) = builder.into_client(Tokio)?;
    tokio::spawn(driver);
    Ok(client)
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

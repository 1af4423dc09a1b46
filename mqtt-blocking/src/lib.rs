//! The Martlet MQTT client for programs without an async runtime.
//!
//! ```no_run
//! use martlet_blocking::{QoS, Wait};
//!
//! fn main() -> Result<(), martlet_blocking::Error> {
//!     let client = martlet_blocking::connect("mqtt://user:secret@broker.example")?;
//!     let readings = client.subscribe("sensors/+/temp").qos(QoS::AtLeastOnce).wait()?;
//!     client.publish("sensors/1/temp", "21.5").qos(QoS::AtLeastOnce).wait()?; // acknowledged by the server
//!     for message in readings {
//!         println!("{}: {:?}", message.topic(), message.text());
//!     }
//!     Ok(()) // dropping the client sends what was published, and disconnects
//! }
//! ```
//!
//! **What it does.** A thread for each client drives it, and waits for sockets and timers with `mio`
//! alone. A [`Client`] is a handle for any number of other threads: its methods, and [`Wait`] for
//! what they return, block the thread that calls them. A [`Subscription`] is an iterator of
//! messages, [`Events`] and [`StateChanges`] are iterators, too. **What it does not touch.**
//! Everything but sockets, time and waiting is `martlet-client`'s, whose types are exported here.
//!
//! **Callbacks** run on the client's thread, where [nothing can be waited
//! for](Wait#on-the-clients-own-thread).
//!
//! [`start`] does not wait for the connection. A client with streams of your own in place of sockets
//! ([`Streams`](runtime::Streams)) is built and then driven, by [`drive`].

#![cfg_attr(docsrs, feature(doc_cfg))]

mod events;
mod handle;
mod park;
pub mod runtime;
mod subscription;
mod wait;

pub use events::{Events, NothingCame, StateChanges};
pub use handle::Client;
pub use martlet_client::{
    AuthenticateError, Builder, ClientEvent, ConnectError, ConnectionError, ConnectionState,
    Driver, DurableBuilder, Endpoint, Error, Message, OpenError, PacketLogger, PublishError,
    PublishProperties, QoS, Receipt, Reconnect, RequestError, ResponseError, StreamLimits,
    SubscribeError, TopicFilter, TopicName, Unacknowledged, UnsubscribeError, UserProperties,
    Version, Will, client, embedded, hooks, proto, reconnect, session, store, transport,
};
#[cfg(feature = "tls")]
pub use martlet_client::{TlsConfig, Trust};
#[cfg(feature = "settings")]
pub use martlet_config::{self as settings, Settings};
pub use runtime::Blocking;
pub use subscription::Subscription;
pub use wait::{Wait, wait_for};

use martlet_client::runtime::{IntoClient, Runtime};

/// Connects with everything at its default: starts a thread that drives the client, and blocks for
/// the server's answer.
///
/// ```no_run
/// # fn main() -> Result<(), martlet_blocking::ConnectError> {
/// let client = martlet_blocking::connect("mqtt://user:secret@broker.example")?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ConnectError`] when the URI is wrong, no connection can be made, or the server rejects it;
/// with its code.
pub fn connect(
    server: impl TryInto<Endpoint, Error: Into<transport::UriError>>,
) -> Result<Client, ConnectError> {
    connect_with(Client::builder(server))
}

/// Connects with what the builder says: [`start`]s the client and blocks for the server's answer.
///
/// ```no_run
/// # fn main() -> Result<(), martlet_blocking::ConnectError> {
/// use martlet_blocking::Client;
///
/// let builder = Client::builder("mqtt://broker.example").client_identifier("meter-7");
/// let client = martlet_blocking::connect_with(builder)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ConnectError`] when no connection can be made, or the server rejects it; with its code.
/// [`OpenError`] of a [`DurableBuilder`].
pub fn connect_with<B: IntoClient>(builder: B) -> Result<Client, B::Error> {
    let client = start(builder)?;
    client.connected()?;
    Ok(client)
}

/// Starts a thread that drives the client, and returns the client at once. It connects meanwhile,
/// and what is asked of it waits; [`Client::connected`] waits for the server's answer.
///
/// By default each server is tried once; when none accepts, the client stops, and everything that
/// waits fails with the reason. For a program that may start before its broker, set
/// [`Reconnect::retry_first`](Reconnect::retry_first).
///
/// ```no_run
/// # fn main() -> Result<(), martlet_blocking::ConnectError> {
/// use martlet_blocking::{Client, Reconnect};
///
/// let policy = Reconnect::default().retry_first(true);
/// let client = martlet_blocking::start(Client::builder("mqtt://broker.example").reconnect(policy))?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ConnectError`] when a setting is wrong, or the system has no thread or file descriptor left.
/// [`OpenError`] of a [`DurableBuilder`].
pub fn start<B: IntoClient>(builder: B) -> Result<Client, B::Error> {
    let (client, driver) = builder.into_client(Blocking)?;
    Ok(drive(client, driver)?)
}

/// Starts a thread that drives a client which was built, such as one with streams of your own.
///
/// ```no_run
/// use martlet_blocking::{Blocking, Client, drive, runtime::Streams};
/// # async fn open() -> std::io::Result<martlet_blocking::runtime::BlockingSocket> { Err(std::io::ErrorKind::Unsupported.into()) }
///
/// # fn main() -> Result<(), martlet_blocking::ConnectError> {
/// let tunnel = Streams::new(Blocking, |_server| open());
/// let (client, driver) = Client::builder("mqtt://broker.example").build(tunnel)?;
/// let client = drive(client, driver)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ConnectError`] when the system has no thread or file descriptor left.
pub fn drive<R>(client: martlet_client::Client, driver: Driver<R>) -> Result<Client, ConnectError>
where
    R: Runtime + Unpin,
    Driver<R>: Send + 'static,
{
    Client::drive(client, driver)
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

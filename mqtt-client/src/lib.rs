//! The MQTT client for every Rust runtime.
//!
//! **What it does.** A [`Client`] is a handle: it publishes, subscribes and disconnects. A [`Driver`] is one future that
//! moves bytes between the session and a socket of some [`Runtime`]. Between them is a [`Link`], which decides when to
//! dial, and the session of `martlet-session`, under one mutex that is never held across a system call or user code.
//!
//! **What it does not touch.** It knows no async runtime. An adapter (`martlet-tokio`, `martlet-smol`,
//! `martlet-async-std`) provides sockets, a timer and a spawn; most programs use its `connect` function and need
//! nothing from here but the types.
//!
//! ```no_run
//! # use martlet_client::{Client, QoS, Runtime};
//! # async fn example<R: Runtime + Unpin>(runtime: R, spawn: impl FnOnce(martlet_client::Driver<R>)) -> Result<(), Box<dyn std::error::Error>> {
//! let (client, driver) = Client::builder("mqtt://localhost")?.keep_alive(30).build(runtime);
//! spawn(driver); // on any executor
//!
//! let mut readings = client.subscribe("sensors/+/temp").qos(QoS::AtLeastOnce).await?;
//! client.publish("sensors/1/temp", "21.5").qos(QoS::AtLeastOnce).await?; // settled by the server
//! while let Some(message) = readings.next().await {
//!     println!("{}: {:?}", message.topic(), message.text());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Without a runtime,** in an event loop of one's own, [`Embedded`] is the session and the link behind one surface.
//!
//! **Waiting** is an `.await`; nothing blocks a thread. Dropping a future says what happens to its operation: see each.

mod authenticator;
mod builder;
mod client;
mod clock;
mod completions;
mod defaults;
mod dial;
mod driver;
mod embedded;
mod error;
mod events;
mod hooks;
mod intake;
mod link;
mod message;
mod observer;
mod own;
mod packet_logger;
mod publish;
mod reconnect;
mod request;
mod route;
mod routes;
mod runtime;
mod servers;
pub mod settings;
mod shared;
mod socket;
mod spent;
mod stage;
mod state;
mod store;
mod streams;
mod subscription;
mod wakers;

pub use authenticator::Authenticator;
pub use builder::Builder;
pub use client::{Client, Disconnect, LeftBehind};
pub use clock::StdClock;
pub use defaults::{PublishDefaults, TopicDefaults};
pub use dial::{Dial, Target};
pub use driver::Driver;
pub use embedded::{Embedded, EmbeddedEvent};
pub use error::{AuthenticateError, ConnectError, SubscribeError, UnsubscribeError};
pub use events::{ClientEvent, Events};
pub use hooks::{Attempt, HookFuture};
pub use link::{Link, LinkConfig, LinkEvent, VersionChoice};
pub use message::{Item, Message, Unacknowledged};
pub use observer::Observer;
pub use packet_logger::PacketLogger;
pub use publish::{Enqueue, Publish, PublishFuture, Receipt};
pub use reconnect::Reconnect;
pub use request::{Request, ResponseError};
pub use route::StreamLimits;
pub use runtime::{Network, Runtime, Timer};
pub use settings::{Settings, SettingsError};
pub use socket::{Address, SocketOptions, Stream};
pub use stage::StackConfig;
pub use state::{ConnectionState, StateChanges};
#[cfg(feature = "redb")]
pub use store::RedbStore;
pub use store::{DurableBuilder, MemoryStore, OpenError, Store};
pub use streams::{Opening, Streams};
pub use subscription::{NoMessage, Subscribe, SubscribeFuture, Subscription, Unsubscribe};

pub use {martlet_proto as proto, martlet_session as session};

pub use martlet_proto::{
    BinaryData, ConnAck, ConnectReasonCode, DisconnectReasonCode, Packet, PubAckReasonCode,
    PublishProperties, PublishPropertiesBuilder, PublishPropertiesRef, QoS, RetainHandling, SubAckReasonCode,
    SubscriptionIdentifier, TextError, TopicError, TopicFilter, TopicName, UnsubAckReasonCode,
    UserProperties, Utf8String, Version, Will,
};
pub use martlet_session::{
    Answer, AuthMessage, Authentication, Awaited, BadRecord, Config, ConnectOptions, Connected,
    ConnectionError, Details, DropQos0, Durable, Farewell, GivenUp, InboundLimits, Instant, Limits,
    LostSession, Misbehaviour, OperationId, Publish as PublishMessage, PublishError, Quarantined,
    QueueLimits, RecordKey, Refusal, RequestError, RestoreError, RestoreErrorKind, SendBuffer, Session,
    Settled, StoreError, StoreErrorKind, StoreOp, TopicAliases, TransportError, TransportErrorKind, WhenFull,
    WhenStoreFails,
};
#[cfg(feature = "tls")]
pub use martlet_transport::{Crypto, PemSource, TlsConfig, Trust, TrustError, rustls};
pub use martlet_transport::{
    Endpoint, Error as StackError, ErrorKind as StackErrorKind, ProxyUri, Scheme, UriError,
};

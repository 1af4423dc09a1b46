//! The MQTT client for every Rust runtime.
//!
//! **What it does.** A [`Client`] is a handle: it publishes, subscribes and disconnects. A
//! [`Driver`] is one future that moves bytes between the session and a socket of some
//! [`Runtime`](runtime::Runtime). Between them is a [`Link`](embedded::Link), which decides when to
//! dial, and the session of `martlet-session`, under one mutex that is never held across a system
//! call or user code.
//!
//! **What it does not touch.** It knows no async runtime. An adapter (`martlet-tokio`,
//! `martlet-smol`, `martlet-async-std`) provides sockets, a timer and a spawn; most programs use
//! its `connect` function and need nothing from here but the types.
//!
//! ```no_run
//! # use martlet_client::{Client, QoS, runtime::Runtime};
//! # async fn example<R: Runtime + Unpin>(runtime: R, spawn: impl FnOnce(martlet_client::Driver<R>)) -> Result<(), Box<dyn std::error::Error>> {
//! let (client, driver) = Client::builder("mqtt://localhost").keep_alive(30).build(runtime)?;
//! spawn(driver); // on any executor
//!
//! let mut readings = client.subscribe("sensors/+/temp").qos(QoS::AtLeastOnce).await?;
//! client.publish("sensors/1/temp", "21.5").qos(QoS::AtLeastOnce).await?; // acknowledged by the server
//! while let Some(message) = readings.next().await {
//!     println!("{}: {:?}", message.topic(), message.text());
//! }
//! client.disconnect().await; // last: what was published leaves before the program ends
//! # Ok(())
//! # }
//! ```
//!
//! **Without a runtime,** in your own event loop, [`Embedded`](embedded::Embedded) is the session
//! and the link behind one surface.
//!
//! **Waiting** is an `.await`; nothing blocks a thread. Dropping a future says what happens to its
//! operation: see each.
//!
//! # Where is what
//! At the root is what applications name. [`client`] has what the methods of [`Client`] return,
//! [`hooks`] what an application may have called by the client, [`reconnect`] the policy's parts,
//! [`store`] sessions that outlive the process, [`embedded`] the client for a loop of your own,
//! [`runtime`] what an adapter provides. [`proto`], [`session`] and [`transport`] are the crates
//! below, whole.
//!
//! # Logs
//! What happens to a client is a line in the log, with its client identifier and the text of the
//! [`ClientEvent`]: by the crate `log` with the target `martlet`; with the feature `tracing` an
//! event of that target, with the fields `client` and `event`, a name such as `disconnected`.
//!
//! | level | what |
//! |---|---|
//! | error | the client has stopped by itself; the store fails; a callback has panicked |
//! | warn | rejected by the server, tried again without much hope, dropped, failed |
//! | info | connected, disconnected with the reason and the next attempt, subscribed, closed |
//! | debug | each attempt; packets without payloads, with the target `martlet::packets` |
//!
//! Neither payloads nor secrets are in it. It is written outside the client's lock, by the driver:
//! a logger that blocks holds up its connection. A [`PacketLogger`] gives packets to a function of
//! your own.
//!
//! With `tracing` there are spans, too: `connect` and `connection` at info, with the target
//! `martlet`; `publish` and `deliver` at debug, with the target `martlet::messages`.
//!
//! # Features
//! | feature | default | |
//! |---|---|---|
//! | `ring` | yes | `mqtts` and `wss`, with ring, which needs a C compiler |
//! | `aws-lc-rs` | | the same with aws-lc-rs, which needs a C compiler and cmake |
//! | `tls` | with either | the same with what the process has installed in rustls |
//! | `websocket` | yes | `ws`, and `wss` with TLS |
//! | `encrypted-keys` | | private keys that are encrypted |
//! | `international-names` | | names of hosts in other alphabets than ASCII |
//! | `redb` | | [`store`]: `RedbStore`, a file |
//! | `tracing` | | what happens goes to `tracing` in place of `log`: [Logs](#logs) |
//! | `metrics` | | the figures of [`Client::statistics`] go to the recorder of `metrics` |
//! | `serde` | | `session::QueueLimits` and `InboundLimits` implement `Serialize` and `Deserialize` |
//! | `scram` | | [`hooks`]: `Scram`, enhanced authentication by SCRAM-SHA-256 and SCRAM-SHA-512 |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod any_error;
mod api;
mod builder;
mod clock;
mod defaults;
mod driver;
pub mod embedded;
mod error;
mod event;
mod event_text;
mod hub;
mod link;
pub mod store;
mod sync;

pub use {martlet_proto as proto, martlet_session as session, martlet_transport as transport};

pub use any_error::Error;
pub use api::client::Client;
pub use api::events::Events;
pub use api::message::Unacknowledged;
pub use api::receipt::Receipt;
pub use api::request::ResponseError;
pub use api::state_changes::StateChanges;
pub use api::subscription::Subscription;
pub use builder::Builder;
pub use builder::durable::{DurableBuilder, OpenError};
pub use driver::Driver;
pub use error::{AuthenticateError, ConnectError, SubscribeError, UnsubscribeError};
pub use event::ClientEvent;
pub use hub::connection::ConnectionState;
pub use hub::message::Message;
pub use hub::route::StreamLimits;
pub use link::packet_logger::PacketLogger;
pub use link::reconnect::Reconnect;
pub use martlet_proto::{
    PublishProperties, QoS, TopicFilter, TopicName, UserProperties, Version, Will,
};
pub use martlet_session::{ConnectionError, PublishError, RequestError};
pub use martlet_transport::Endpoint;
#[cfg(feature = "tls")]
pub use martlet_transport::{TlsConfig, Trust};

/// What the methods of [`Client`] return: operations that wait to be awaited, and their parts.
pub mod client {
    pub mod trace_context;

    pub use crate::api::batch::{
        BatchError, BatchReceipt, BatchWithdrawn, EnqueueAll, PublishAll, PublishAllFuture,
    };
    pub use crate::api::client::{DisconnectBuilder, Reconnecting};
    pub use crate::api::message::Item;
    pub use crate::api::position::{Acknowledger, Position, PositionError, Positioned};
    pub use crate::api::publish::{Enqueue, PublishBuilder, PublishFuture};
    pub use crate::api::receipt::Withdrawn;
    pub use crate::api::request::RequestBuilder;
    pub use crate::api::subscribe::{SubscribeBuilder, SubscribeFuture};
    pub use crate::api::subscription::NoMessage;
    pub use crate::api::unsubscribe::UnsubscribeBuilder;
    pub use crate::defaults::{PublishDefaults, TopicDefaults};
    pub use crate::event::Callback;
    pub use crate::hub::connection::LeftBehind;
    pub use crate::hub::statistics::{HeldAcknowledgements, Statistics};
    pub use crate::hub::stream_statistics::StreamStatistics;
    pub use martlet_session::{
        AcknowledgementTimes, DeliveryStage, OutgoingPublish, PacketCount, StoreLag, Traffic,
        Undelivered,
    };
}

/// What an application may have called by the client: before each attempt to connect, in an
/// authentication of several steps, and for each packet.
pub mod hooks {
    pub use crate::driver::authenticator::Authenticator;
    pub use crate::driver::guard::HookFuture;
    #[cfg(feature = "scram")]
    pub use crate::driver::scram::{Scram, ScramError, ScramPart};
    pub use crate::link::attempt::Attempt;
    pub use crate::link::observer::Observer;
    pub use martlet_session::{AuthMessage, Authentication, GivenUp};
}

/// The parts of the policy of [`Reconnect`].
pub mod reconnect {
    pub use crate::link::reconnect::Reaction;
    pub use martlet_session::ErrorClass;
}

/// What an adapter provides: sockets, a timer, a clock. What an application may set of it:
/// [`SocketOptions`](runtime::SocketOptions).
pub mod runtime {
    pub use crate::builder::build::IntoClient;
    pub use crate::clock::Clock;
    pub use crate::driver::dial::Dial;
    pub use crate::driver::runtime::{Network, Runtime, Timer};
    pub use crate::driver::socket::{Address, EitherStream, SocketOptions};
    pub use crate::driver::streams::{Opening, Streams};
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../../docs/migrating-from-paho.md")]
#[doc = include_str!("../../docs/migrating-from-rumqttc.md")]
mod pages {}

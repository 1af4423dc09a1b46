//! A small in-memory MQTT broker for tests, demos and simulation: MQTT 3.1, 3.1.1 and 5.
//!
//! **Not for production.** It keeps everything in memory, serves all clients one after the other,
//! has no access control beyond a list of passwords, and knows nothing of TLS. What it is good for
//! is to be the other side of a client under test: it follows the specifications, each of its
//! limits can be set, it can be made to misbehave on purpose (reject, cut off, forget, restart, and
//! what [`Moods`] has), and the same input gives the same output.
//!
//! To test your own code, begin with [`TestBroker`].
//!
//! **What it does not touch.** [`Broker`] opens no socket, reads no clock, draws no randomness and
//! starts nothing. Bytes go in and come out, and time is an argument:
//!
//! ```
//! use bytes::BytesMut;
//! use core::time::Duration;
//! use martlet_broker::{Broker, BrokerConfig};
//! use martlet_proto::{Connect, Packet, Version};
//!
//! let mut broker = Broker::new(BrokerConfig::default());
//! let mut now = Duration::ZERO;
//! let connection = broker.handle_open(now);
//!
//! // What the client sends...
//! let mut wire = BytesMut::new();
//! let connect = Connect::new(Version::V3_1_1, "a".try_into()?);
//! Packet::from(connect).encode(Version::V3_1_1, &mut wire)?;
//! broker.handle_input(now, connection, &mut wire);
//!
//! // ... and what it gets. After each call: transmit, close, and wait for the sockets or the timeout.
//! let mut out = BytesMut::new();
//! while broker.poll_transmit(now, connection, &mut out) > 0 {}
//! assert_eq!(&out[..], [0x20, 2, 0, 0]);
//! assert_eq!(broker.poll_close(), None);
//!
//! // The client is silent for one and a half times its keep alive of 60 seconds.
//! while let Some(at) = broker.poll_timeout() {
//!     now = at;
//!     broker.handle_timeout(now);
//!     if let Some(closed) = broker.poll_close() {
//!         assert_eq!(closed, connection);
//!         break;
//!     }
//! }
//! assert_eq!(now, Duration::from_secs(90));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Features.** `kit`, on by default, has [`TestBroker`]: a broker on a real port in one line, with
//! faults, a transcript and waits, beneath any runtime or none. It is what most tests want, and needs
//! no crate besides. `tokio` has `tokio::Server`, which serves streams in memory too, so that tests run
//! on tokio's paused time. Without both nothing here does I/O.
//!
//! Where the specifications leave a choice:
//!
//! * Overlapping subscriptions of a client bring one copy, with the highest QoS and all
//!   subscription identifiers.
//! * QoS 0 is not kept for clients that are not connected. A full queue drops new messages and
//!   emits [`BrokerEvent::Dropped`].
//! * Shared subscriptions take turns among those who are connected; a message that was given to a
//!   client stays with its session. They work in 3.x too.
//! * A QoS 2 message is passed on when its PUBLISH comes; its PUBREL only frees the identifier.
//! * A filter has at most 128 levels.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod authentication;
mod broker;
mod config;
mod connection;
mod deadlines;
mod event;
mod exchange;
mod ids;
#[cfg(feature = "kit")]
mod kit;
mod lifecycle;
mod message;
mod misbehaving;
mod moods;
mod routing;
mod session;
mod subscriptions;
mod sys;
#[cfg(feature = "tokio")]
pub mod tokio;

pub use broker::{Broker, Memory};
pub use config::{BrokerConfig, BrokerLimits, ScriptedAuthentication};
pub use event::{BrokerEvent, DropReason, Ending};
pub use ids::ConnectionId;
#[cfg(feature = "kit")]
pub use kit::{Conversation, Direction, Fault, TestBroker, Wait, WaitError, WaitErrorKind};
pub use martlet_proto as proto;
pub use moods::Moods;
pub use sys::Statistics;

#[cfg(all(doctest, feature = "kit"))]
#[doc = include_str!("../README.md")]
mod readme {}

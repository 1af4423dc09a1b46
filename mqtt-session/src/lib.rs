//! The client's half of an MQTT session: a state machine for MQTT 3.1, 3.1.1 and 5.
//!
//! **What it does.** Bytes and the time come in; bytes, deliveries and completions come out. It
//! connects, keeps alive, subscribes, publishes and receives at QoS 0, 1 and 2, acknowledges in
//! order, obeys every limit of the server, and resumes across connections: QoS 1 and 2 survive
//! everything that MQTT lets them survive.
//!
//! **What it does not touch.** No sockets, no clock, no randomness, no threads, no `async`. The
//! caller moves the bytes and says what time it is.
//!
//! ```
//! use bytes::{Buf, BytesMut};
//! use martlet_proto::{ConnectReasonCode, ConnAck, Packet, PubAckReasonCode, QoS, TopicName, Version};
//! use martlet_session::{Config, ConnectOptions, ConnectionError, Durable, Event, Instant, OutgoingPublish, SendBuffer, Session, StoreOp};
//! use std::collections::BTreeMap;
//!
//! let mut disk = BTreeMap::new();                     // stands for the store: `Session::restore` takes it up again
//! let mut session = Session::new(Config::default().durable(Durable::default()));
//! let mut now = Instant::EPOCH;                       // any epoch: it only has to go forward
//! let mut server = BytesMut::new();                   // stands for the socket
//!
//! session.handle_open(now, ConnectOptions::new(Version::V5));
//! session.publish(now, OutgoingPublish::new(TopicName::new("a/b")?, "hi").qos(QoS::AtLeastOnce).key(7))?;
//!
//! let mut acknowledged = false;
//! while !acknowledged {
//!     // Drain: store, transmit, events, close, timeout.
//!     let mut out = SendBuffer::new();
//!     loop {
//!         while let Some((upto, operation)) = session.poll_store(now) {
//!             match operation {                       // the disk; as many at a time as there are
//!                 StoreOp::Put { key, value } => drop(disk.insert(key, value)),
//!                 StoreOp::Delete { key } => drop(disk.remove(&key)),
//!             }
//!             session.handle_stored(upto);            // now, or when it is done
//!         }
//!         if session.poll_transmit(now, &mut out) == 0 {
//!             break;
//!         }
//!         server.extend_from_slice(out.chunk());      // write to the socket; here: small, so one chunk
//!         let n = out.remaining();
//!         out.advance(n);
//!     }
//!     while let Some(event) = session.poll_event() {
//!         match event {
//!             Event::Message(message) => session.acknowledge(message.token, PubAckReasonCode::Success),
//!             Event::Published { key: Some(7), result, .. } => acknowledged = result.is_ok(),
//!             _ => {}
//!         }
//!     }
//!     if let Some(reason) = session.poll_close() {
//!         session.handle_close(now, reason);          // close the socket
//!     }
//!     // Wait for the socket or for this:
//!     if let Some(at) = session.poll_timeout().filter(|_| server.is_empty()) {
//!         now = now.max(at);
//!         session.handle_timeout(now);
//!     }
//!     # // The server's side of the example.
//!     # let mut input = BytesMut::new();
//!     # match Packet::decode(&mut server, Version::V5, 1000)? {
//!     #     Some(Packet::Connect(_)) => Packet::from(ConnAck::new(ConnectReasonCode::Success)).encode(Version::V5, &mut input)?,
//!     #     Some(Packet::Publish(publish)) => Packet::PubAck(martlet_proto::Ack::new(publish.delivery().packet_identifier().unwrap(), PubAckReasonCode::Success)).encode(Version::V5, &mut input)?,
//!     #     _ => {}
//!     # }
//!     session.handle_input(now, &mut input);          // bytes from the socket; whole packets are consumed
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **The rule to drain.** After every handler or command, drain the polls in this order:
//! `poll_store`, `poll_transmit`, these two in turns until there is nothing to write, `poll_event`,
//! `poll_close`, `poll_timeout`; the last is then the only thing to wait for besides the socket and
//! the store. When the socket is full, leave `poll_transmit` out and go on with the others. Early
//! and spurious calls do nothing.
//!
//! **Durable** sessions outlive the process, if [`Config::durable`] says so. Otherwise leave
//! `poll_store` out.
//!
//! **Memory** is bounded by [`Config`]: the queue of unsent messages, the messages that wait to be
//! taken, the size of a packet.
//!
//! Features: `durable` (on by default) is what stored sessions need; without it they are left out of
//! the code. `std` (on by default) gives [`SendBuffer`] real vectored chunks. Without it the crate
//! needs `alloc` only. `portable-atomic` is for targets without compare-and-swap.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod config;
#[cfg(feature = "durable")]
#[doc(hidden)]
pub mod drain;
mod error;
mod error_class;
mod event;
mod event_handler;
mod inbound;
mod limits;
mod ordered;
mod outbound;
mod output;
mod publish;
mod reported;
mod requests;
mod session;
mod shared_error;
mod store;
mod time;
mod traffic;

pub use config::{
    Authentication, CleanStart, Config, ConfigError, ConnectOptions, DisconnectOptions, DropQos0,
    Excess, InboundLimits, LostSession, Oversized, QueueLimits, TopicAliases, WhenFull,
    WhenServerHangsUp,
};
#[cfg(feature = "durable")]
pub use config::{Durable, WhenStoreFails};
pub use error::{
    AnswerProblem, Awaited, ConnectionError, Details, Instead, InvalidAnswer, Misbehaviour,
    PublishError, Rejection, RequestError, ServerDisconnect, Unsupported,
};
pub use error_class::ErrorClass;
pub use event::{
    Accepted, AckToken, Answer, AuthMessage, Connected, Counters, DeliveryId, DeliveryStage, Event,
    OperationId, PublishOutcome, ReceivedPublish, RejectedMessage, SubscribeRequest, Undelivered,
    UnsubscribeRequest,
};
#[doc(hidden)]
pub use event_handler::EventHandler;
pub use limits::Limits;
pub use output::SendBuffer;
pub use publish::OutgoingPublish;
pub use reported::{GivenUp, StoreError, StoreErrorKind, TransportError, TransportErrorKind};
#[cfg(feature = "durable")]
pub use session::Restored;
pub use session::{Admission, Session, Withdrawal};
pub use shared_error::SharedError;
#[cfg(feature = "durable")]
pub use store::journal::{StoreOp, StoreSeq};
#[cfg(feature = "durable")]
pub use store::lag::StoreLag;
#[cfg(feature = "durable")]
pub use store::record::{BadRecord, RecordKey};
#[cfg(feature = "durable")]
pub use store::restore::{Quarantined, RestoreError, RestoreErrorKind};
pub use time::Instant;
pub use traffic::{AcknowledgementTimes, PacketCount, RoundTrips, Traffic};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

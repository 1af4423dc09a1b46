//! The Martlet MQTT client for microcontrollers: `no_std` with `alloc`, on any executor, over the
//! traits of `embedded-io-async` and a clock that you give it.
//!
//! **What it does.** [`Client`] connects, keeps the connection alive and makes it again, publishes,
//! subscribes and receives at QoS 0, 1 and 2, in MQTT 3.1, 3.1.1 and 5, with every bound and every
//! deadline of [`martlet-session`](session). **What it does not touch.** It opens no socket and
//! spawns nothing: a [`Network`] makes the connections, a [`Clock`] tells the time, and the client
//! does its work while your task waits for one of its futures.
//!
//! ```
//! use martlet_embedded::proto::{QoS, SubscribeFilter};
//! use martlet_embedded::session::{Config, DisconnectOptions, OutgoingPublish, SubscribeRequest};
//! use martlet_embedded::{Backoff, Client, Clock, Network};
//!
//! async fn device<N: Network, C: Clock>(network: N, clock: C) -> Result<(), Box<dyn std::error::Error>> {
//!     let config = Config::small().client_identifier("meter-7".try_into()?);
//!     let mut client = Client::new(config, network, clock, Backoff::new(7)); // its serial number
//!     let filter = SubscribeFilter::new("meter-7/set".try_into()?, QoS::AtLeastOnce);
//!     client.subscribe(SubscribeRequest::new([filter])).await?;
//!     let reading = OutgoingPublish::new("meter-7/set".try_into()?, "21.5").qos(QoS::AtLeastOnce);
//!     client.publish(reading).await?; // acknowledged by the server
//!     let message = client.next().await?;
//!     assert_eq!(message.publish.payload(), b"21.5");
//!     client.disconnect(DisconnectOptions::default()).await;
//!     Ok(())
//! }
//! # // The embedded broker behind a network in memory, where no time passes.
//! # use martlet_broker::{Broker, BrokerConfig, ConnectionId};
//! # use martlet_embedded::session::Instant;
//! # use std::{cell::RefCell, convert::Infallible, future, rc::Rc, time::Duration};
//! # #[derive(Clone)]
//! # struct Board(Rc<RefCell<(Broker, Option<ConnectionId>, bytes::BytesMut)>>);
//! # impl Network for Board {
//! #     type Reader<'a> = Self;
//! #     type Writer<'a> = Self;
//! #     type Error = &'static str;
//! #     async fn dial(&mut self) -> Result<(), &'static str> {
//! #         let (broker, connection, _) = &mut *self.0.borrow_mut();
//! #         *connection = Some(broker.handle_open(Duration::ZERO));
//! #         Ok(())
//! #     }
//! #     fn split(&mut self) -> (Self, Self) { (self.clone(), self.clone()) }
//! #     fn hang_up(&mut self) {}
//! # }
//! # impl embedded_io_async::ErrorType for Board { type Error = Infallible; }
//! # impl embedded_io_async::Read for Board {
//! #     async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
//! #         let mut output = bytes::BytesMut::new();
//! #         let (broker, connection, _) = &mut *self.0.borrow_mut();
//! #         let _ = broker.poll_transmit(Duration::ZERO, connection.unwrap(), &mut output);
//! #         buffer[..output.len()].copy_from_slice(&output);
//! #         Ok(output.len())
//! #     }
//! # }
//! # impl embedded_io_async::Write for Board {
//! #     async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
//! #         let (broker, connection, input) = &mut *self.0.borrow_mut();
//! #         input.extend_from_slice(bytes);
//! #         broker.handle_input(Duration::ZERO, connection.unwrap(), input);
//! #         Ok(bytes.len())
//! #     }
//! #     async fn flush(&mut self) -> Result<(), Infallible> { Ok(()) }
//! # }
//! # impl Clock for Board {
//! #     fn now(&self) -> Instant { Instant::EPOCH }
//! #     async fn sleep_until(&mut self, _: Instant) { future::pending().await }
//! # }
//! # let state = (Broker::new(BrokerConfig::default()), None, bytes::BytesMut::new());
//! # let board = Board(Rc::new(RefCell::new(state)));
//! # embassy_futures::block_on(device(board.clone(), board)).unwrap();
//! ```
//!
//! **Not like the other adapters.** There is no handle to clone and no stream for each subscription: one
//! task owns the client, all messages come from [`Client::next`], and between two calls nothing
//! happens. Other tasks send theirs through a channel, which this one waits for beside `next`.
//! There is no TLS: where the server wants it, the network is a TLS connection, such as that of
//! `embedded-tls`.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

mod backoff;
mod client;
mod machine;
mod network;

pub use backoff::Backoff;
pub use client::{Client, Message};
#[cfg(feature = "embassy-time")]
pub use network::EmbassyClock;
pub use network::{Clock, Network};

pub use martlet_proto as proto;
pub use martlet_session as session;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

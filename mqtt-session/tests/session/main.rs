//! A session, tried against a server that is a test ([`driver`]).

#![allow(clippy::unwrap_used, reason = "a test may")]

mod acknowledge;
mod acknowledge_all;
mod after_crash;
mod aliases;
mod allocations;
mod answers;
mod at_once;
mod authentication;
mod connect;
mod copies;
mod crashes;
mod deadlines;
mod deferred_drops;
mod disconnect;
mod driver;
mod durable;
mod expiry;
mod failing_store;
mod figures;
mod hang_ups;
mod identifiers;
mod inbound_bounds;
mod keep_alive;
mod large;
mod liveness;
mod lost_session;
mod misbehaviour;
mod oversized;
mod publish;
mod queue;
mod random;
mod receive;
mod record_contents;
mod records;
mod requests;
mod restored_subscriptions;
mod resume;
mod suspects;
mod undelivered;
mod values;
mod wishes;
mod withdraw;
mod wrong_answers;

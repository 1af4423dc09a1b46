//! The codec from outside: a module for each family of tests, in one program.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod allocations;
mod exhaustive;
mod golden;
mod malformed;
mod notation;
mod publish_edits;
mod publish_views;
mod unspellable;
mod values;

//! The pages of this folder, so that their code is compiled, and run where it needs no server.

#[cfg(doctest)]
#[doc = include_str!("bridges.md")]
#[doc = include_str!("brokers.md")]
#[doc = include_str!("conformance.md")]
#[doc = include_str!("guide.md")]
#[doc = include_str!("measuring.md")]
#[doc = include_str!("monitoring.md")]
#[doc = include_str!("microcontrollers.md")]
#[doc = include_str!("migrating-from-mosquitto.md")]
#[doc = include_str!("probe.md")]
#[doc = include_str!("proof.md")]
#[doc = include_str!("testing.md")]
#[doc = include_str!("watching.md")]
mod pages {}

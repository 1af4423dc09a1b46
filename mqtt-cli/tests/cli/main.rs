//! The binary against the broker in this process: each group of options, and each exit status.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing, its parts too"
)]

mod bench;
mod documents;
mod ends;
mod meddler;
#[cfg(target_os = "linux")]
mod memory;
mod peer;
mod probe;
mod probe_flaws;
mod publish;
mod request;
mod run;
mod subscribe;
mod transports;
mod usage;
#[cfg(unix)]
mod watch;

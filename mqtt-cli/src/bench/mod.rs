//! `martlet bench`: what a server does under load.
//!
//! Pure parts, which no clock is in: [`schedule`] (when messages are due), [`sequence`] (losses and
//! duplicates), [`latency`] (percentiles and their course), [`payload`], [`topic`]. The rest does
//! the work: [`run`] is the command, [`thread`] the work of one thread, [`shard`] what its tasks
//! share, [`publisher`], [`receiver`] and [`connections`] what its clients do, [`meter`] what they
//! count, [`report`] and [`plot`] the result.

mod clock;
mod connections;
mod latency;
mod machine;
mod meter;
mod options;
mod payload;
mod plot;
mod progress;
mod publisher;
mod receiver;
mod report;
mod run;
mod schedule;
mod sequence;
mod shard;
mod thread;
mod topic;

pub(crate) use options::{BenchOptions, COMMANDS, after_help};
pub(crate) use run::run;

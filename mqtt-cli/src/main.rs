//! `martlet`: an MQTT client for the command line.
//!
//! Each command is a module: [`publish`], [`subscribe`], [`request`], [`probe`], [`watch`],
//! [`bench`], [`broker`] and [`documents`].
//! What they share is in [`connection`] (the options of the connection, and the client that they
//! make), [`output`] (how a message is printed), [`input`] (where payloads come from) and [`exit`]
//! (the exit statuses). [`arguments`] is the command line as a whole.
#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    rustdoc::bare_urls,
    reason = "comments of options are what `--help` prints"
)]

mod arguments;
mod bench;
mod broker;
mod connection;
mod documents;
mod escape;
mod exit;
mod input;
mod open_files;
mod output;
mod probe;
mod publish;
mod report;
mod request;
mod signals;
mod subscribe;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    arguments::run(std::env::args_os().collect()).into()
}

//! `martlet broker`: the broker for tests on a port.

use crate::exit::{Failure, Status};
use crate::open_files;
use crate::report::Report;
use crate::signals::Signals;
use clap::Args;
use martlet_broker::tokio::Server;
use martlet_broker::{BrokerConfig, BrokerLimits};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Options of `martlet broker`.
#[derive(Args)]
pub(crate) struct BrokerOptions {
    /// Address to listen at
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Port to listen at; 0: a free one
    #[arg(short, long, value_name = "PORT", default_value_t = 1883)]
    port: u16,
    /// Let in this user only
    #[arg(short, long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// File that holds the user's password; a line break at its end is not part of it
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// Largest packet to take, in bytes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(LEAST_PACKET..))]
    max_packet_size: Option<u32>,
}

/// A CONNECT of 3.1.1 with an empty client identifier has 14 bytes: no client gets in with less.
const LEAST_PACKET: i64 = 14;

/// The longest password that MQTT has, and a line break.
const MAX_PASSWORD: u64 = 65_535 + 2;

/// Reads no more than a password can have: what is no regular file may not end.
fn read_password(path: &Path) -> std::io::Result<String> {
    let mut password = String::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_PASSWORD + 1).read_to_string(&mut password)?;
    match password.len() as u64 > MAX_PASSWORD {
        true => Err(std::io::Error::other("longer than 65535 bytes")),
        false => Ok(password),
    }
}

/// Runs until SIGINT or SIGTERM, which is what it is asked for.
pub(crate) async fn run(options: BrokerOptions) -> Result<(), Failure> {
    let mut config = BrokerConfig::default().record_events(false);
    if let (Some(name), Some(path)) = (&options.username, &options.password_file) {
        let password = read_password(path).map_err(|error| {
            Failure::usage(format!("--password-file: {}: {error}", path.display()))
        })?;
        let password = password.strip_suffix('\n').unwrap_or(&password);
        let password = password.strip_suffix('\r').unwrap_or(password);
        config = config
            .with_user(name, password)
            .map_err(|error| Failure::usage(format!("--username: {error}")))?;
    }
    if let Some(bytes) = options.max_packet_size {
        config = config.limits(BrokerLimits::default().maximum_packet_size(bytes));
    }
    // Each client is an open file. Where no more is allowed, there are fewer clients.
    open_files::allow_most();
    let mut signals = Signals::listen()?;
    let address = SocketAddr::new(options.bind, options.port);
    let server = Server::bind(address, config).await.map_err(|error| {
        Failure::new(
            Status::Failed,
            format!("cannot listen at {address}: {error}; choose another --port"),
        )
    })?;
    Report::new(false).warning("a broker for tests and for trying things out, not for production");
    let line = format!("{}\n", server.uri());
    // A closed output is no reason to end: clients may know the port without it.
    let _ = std::io::stdout().write_all(line.as_bytes());
    signals.next().await;
    server.shutdown().await;
    Ok(())
}

//! `martlet broker`: the broker for tests on a port.

use crate::exit::{Failure, Status};
use crate::report::Report;
use crate::signals::Signals;
use clap::Args;
use martlet_broker::tokio::Server;
use martlet_broker::{BrokerConfig, BrokerLimits};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

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
    #[arg(long, value_name = "BYTES")]
    max_packet_size: Option<u32>,
}

/// Runs until SIGINT or SIGTERM, which is what it is asked for.
pub(crate) async fn run(options: BrokerOptions) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let mut config = BrokerConfig::default().record_events(false);
    if let (Some(name), Some(path)) = (&options.username, &options.password_file) {
        let wrong = |text: String| Failure::usage(format!("--password-file: {text}"));
        let password = std::fs::read_to_string(path)
            .map_err(|error| wrong(format!("{}: {error}", path.display())))?;
        let password = password.strip_suffix('\n').unwrap_or(&password);
        let password = password.strip_suffix('\r').unwrap_or(password);
        config = config
            .with_user(name, password)
            .map_err(|error| Failure::usage(format!("--username: {error}")))?;
    }
    if let Some(bytes) = options.max_packet_size {
        config = config.limits(BrokerLimits::default().maximum_packet_size(bytes));
    }
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

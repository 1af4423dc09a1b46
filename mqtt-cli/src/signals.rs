//! SIGINT and SIGTERM: the first ends the command in good order, the second at once.

use crate::exit::{Failure, Status};
use tokio::sync::mpsc;

/// The signals that end a command.
pub(crate) struct Signals {
    first: mpsc::Receiver<Status>,
}

impl Signals {
    /// Listens from now on.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let mut signals = Both::listen().map_err(|error| {
            Failure::new(
                Status::Failed,
                format!("cannot listen for signals: {error}"),
            )
        })?;
        let (sender, first) = mpsc::channel(1);
        tokio::spawn(async move {
            let status = signals.next().await;
            // The command has ended where nobody receives it.
            let _ = sender.send(status).await;
            let status = signals.next().await;
            std::process::exit(status.code().into());
        });
        Ok(Self { first })
    }

    /// Waits for the first signal.
    pub(crate) async fn next(&mut self) -> Status {
        match self.first.recv().await {
            Some(status) => status,
            // It was received before; the second ends the process.
            None => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
struct Both {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Both {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Status {
        tokio::select! {
            _ = self.interrupt.recv() => Status::Interrupted,
            _ = self.terminate.recv() => Status::Terminated,
        }
    }
}

#[cfg(not(unix))]
struct Both;

#[cfg(not(unix))]
impl Both {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Status {
        let _ = tokio::signal::ctrl_c().await;
        Status::Interrupted
    }
}

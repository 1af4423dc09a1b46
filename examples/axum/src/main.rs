//! The program: the service of the library on an address, until Ctrl-C or SIGTERM.
//!
//! ```text
//! cargo run -p lamps -- mqtt://localhost 127.0.0.1:3000
//! curl -d on http://127.0.0.1:3000/lamps/kitchen
//! mosquitto_pub -t lamps/kitchen/state -m on
//! curl http://127.0.0.1:3000/lamps/kitchen
//! ```

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next();
    let address = arguments.next();
    let stop = asked_to_stop()?; // before anybody can know that the program runs
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:3000")).await?;
    println!("http://{}", listener.local_addr()?);
    let mqtt = lamps::mqtt(server.as_deref().unwrap_or("mqtt://localhost"));
    let client = martlet_tokio::start(mqtt)?; // it connects meanwhile
    lamps::serve(listener, client, stop).await?;
    println!("stopped");
    Ok(())
}

/// Ready at Ctrl-C, or at the SIGTERM of a service manager or a container.
#[cfg(unix)]
fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ready at Ctrl-C.
#[cfg(windows)]
fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}

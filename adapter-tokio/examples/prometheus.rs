//! The figures of a client on a page for Prometheus.
//!
//! ```toml
//! [dependencies]
//! martlet-tokio = { path = "martlet/adapter-tokio", features = ["metrics"] } # a clone of the repository
//! metrics-exporter-prometheus = { version = "0.18", default-features = false }
//! tokio = { version = "1", features = ["io-util", "macros", "net", "rt-multi-thread", "time"] }
//! ```
//!
//! `cargo run -- mqtt://localhost` runs it with your server; `curl http://127.0.0.1:9464` shows the page.

#![allow(clippy::print_stdout)]

use martlet_tokio::{Client, QoS};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::error::Error;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Before the client is made, so that it can say what its metrics are.
pub(crate) fn install() -> Result<PrometheusHandle, Box<dyn Error>> {
    Ok(PrometheusBuilder::new().install_recorder()?)
}

/// Answers each connection with the page.
pub(crate) async fn serve(listener: TcpListener, page: PrometheusHandle) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let page = page.clone();
        // One that asks for nothing holds up nobody, and not for long.
        tokio::spawn(tokio::time::timeout(Duration::from_secs(10), async move {
            answer(stream, &page).await
        }));
    }
}

async fn answer(mut stream: TcpStream, page: &PrometheusHandle) -> std::io::Result<()> {
    let mut request = BufReader::new(&mut stream).lines();
    while request
        .next_line()
        .await?
        .is_some_and(|line| !line.is_empty())
    {}
    page.run_upkeep();
    let text = page.render();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close";
    let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// Does something to be seen.
pub(crate) async fn run(uri: &str) -> Result<(), Box<dyn Error>> {
    let client =
        martlet_tokio::connect_with(Client::builder(uri).client_identifier("meter-7")).await?;
    let mut readings = client
        .subscribe("sensors/+/temp")
        .qos(QoS::AtLeastOnce)
        .await?;
    for n in 0..10 {
        let reading = client.publish("sensors/1/temp", format!("2{n}.5"));
        reading.qos(QoS::AtLeastOnce).await?;
        readings.next().await;
    }
    client.disconnect().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let uri = std::env::args()
        .nth(1)
        .ok_or("usage: prometheus <uri of the server>")?;
    let page = install()?;
    let listener = TcpListener::bind("127.0.0.1:9464").await?;
    println!("http://{}", listener.local_addr()?);
    let server = tokio::spawn(serve(listener, page));
    run(&uri).await?;
    server.await??; // the page stays there
    Ok(())
}

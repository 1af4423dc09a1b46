//! A server that asks for our certificate, with an authority of its own: TLS by files, as a
//! configuration names them.
//!
//! ```text
//! cargo run --example mutual_tls                                            # against the embedded broker
//! cargo run --example mutual_tls -- mqtts://host ca.pem client.pem key.pem  # against yours
//! ```
//!
//! `martlet` is the adapter of your runtime: `use martlet_tokio as martlet;`.
#![allow(clippy::print_stdout)]

use crate::martlet::{self, Settings};
use martlet_tests::certificates::{Certificates, Directory};
use martlet_tests::server::{Setup, TestServer};
use std::error::Error;

pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut settings = Settings::default();
    if let [uri, authority, certificate, key] = arguments.as_slice() {
        settings.connection.uri = uri.as_str().into();
        settings.connection.cafile = Some(authority.into());
        settings.connection.certfile = Some(certificate.into());
        settings.connection.keyfile = Some(key.into());
        return hello(&settings).await;
    }
    let (server, files) = (
        TestServer::start(Setup::mutual_tls()).await,
        Directory::new(),
    );
    let certificates = Certificates::shared();
    settings.connection.uri = server.uri_by_name().into();
    settings.connection.cafile = Some(files.write("ca.pem", &certificates.authority.pem));
    settings.connection.certfile = Some(files.write("client.pem", &certificates.client.chain_pem));
    settings.connection.keyfile = Some(files.write("key.pem", &certificates.client.key_pem));
    hello(&settings).await
}

async fn hello(settings: &Settings) -> Result<(), Box<dyn Error>> {
    let client = martlet::connect_with(settings.builder()?).await?;
    println!("connected to {}", settings.connection.uri);
    let mut messages = client.subscribe("martlet/hello").await?;
    client.publish("martlet/hello", "hello over TLS").await?;
    if let Some(message) = messages.next().await {
        println!(
            "received: {} => {}",
            message.topic(),
            message.text().unwrap_or("(binary)")
        );
    }
    client.disconnect().await;
    Ok(())
}

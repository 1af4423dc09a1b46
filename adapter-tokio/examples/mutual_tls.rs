//! TLS with certificates of both sides: the client trusts the CA of a file, and shows its own certificate.
//!
//! ```toml
//! [dependencies]
//! martlet-tokio = { path = "martlet/adapter-tokio" } # a clone of the repository
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! `cargo run -- mqtts://localhost ca.pem client.pem client.key` runs it with your server and your files.

#![allow(clippy::print_stdout)]

use martlet_tokio::{Client, Error, QoS, Trust};
use std::path::Path;

pub(crate) async fn run(
    server: &str,
    authority: &Path,
    certificate: &Path,
    key: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let trust = Trust::new()
        .ca_file(authority) // in place of the authorities of the operating system
        .certificate_file(certificate) // a client's own, with the intermediate ones behind it
        .key_file(key);
    let builder = Client::builder(server).trust(trust);
    let client = match martlet_tokio::connect_with(builder).await {
        Ok(client) => client,
        Err(error) => {
            // With all causes: which file cannot be used, or what is wrong with whose certificate.
            println!("no connection: {:#}", Error::from(error.clone()));
            return Err(error.into());
        }
    };
    println!("connected to {server}");

    let mut messages = client.subscribe("martlet/hello").await?;
    client
        .publish("martlet/hello", "hello over TLS")
        .qos(QoS::AtLeastOnce)
        .await?;
    if let Some(message) = messages.next().await {
        println!("{} => {:?}", message.topic(), message.text());
    }
    client.disconnect().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |n: usize, default| arguments.get(n).map_or(default, String::as_str);
    run(
        argument(0, "mqtts://localhost"),
        Path::new(argument(1, "ca.pem")),
        Path::new(argument(2, "client.pem")),
        Path::new(argument(3, "client.key")),
    )
    .await
}

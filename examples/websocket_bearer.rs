//! WebSocket with a bearer token in a header of its request.
//!
//! ```text
//! cargo run --example websocket_bearer                                   # against the embedded broker
//! TOKEN=... cargo run --example websocket_bearer -- wss://host/mqtt      # against yours
//! ```
//!
//! `martlet` is the adapter of your runtime: `use martlet_tokio as martlet;`.
#![allow(clippy::print_stdout)]

use crate::martlet::{self, Settings};
use martlet_tests::server::{Setup, TestServer};
use std::error::Error;

pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let mut settings = Settings::default();
    let mut server = None;
    match std::env::args().nth(1) {
        Some(uri) => {
            settings.connection.uri = uri.into();
            let bearer = format!("Bearer {}", std::env::var("TOKEN")?);
            settings.martlet.headers = vec![("Authorization".to_owned(), bearer.into())];
        }
        None => {
            let embedded = TestServer::start(Setup::tcp().websocket()).await;
            settings.connection.uri = format!("{}/mqtt", embedded.uri()).into();
            settings.martlet.headers =
                vec![("Authorization".to_owned(), "Bearer an-example".into())];
            server = Some(embedded);
        }
    }
    println!("headers: {:?}", settings.martlet.headers);
    let client = martlet::connect_with(settings.builder()?).await?;
    println!("connected to {}", settings.connection.uri);
    client.ping().await?;
    client.disconnect().await;
    if let Some(server) = server {
        println!(
            "the server got: {:?}",
            server.seen()[0].header("authorization")
        );
    }
    Ok(())
}

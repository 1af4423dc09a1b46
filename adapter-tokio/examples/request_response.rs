//! A request and the response to it (MQTT 5): one client asks, another one answers.
//!
//! ```toml
//! [dependencies]
//! futures-lite = "2"
//! martlet-tokio = { path = "martlet/adapter-tokio" } # a clone of the repository
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! `cargo run -- mqtt://localhost` runs it with your server.

#![allow(clippy::print_stdout)]

use futures_lite::future;
use martlet_tokio::proto::{BinaryData, PublishProperties};
use martlet_tokio::{Client, Message, QoS, ResponseError, Subscription};
use std::time::Duration;

/// Answers requests for as long as the client is there.
async fn respond(
    client: &Client,
    mut requests: Subscription,
) -> Result<(), Box<dyn std::error::Error>> {
    while let Some(request) = requests.next().await {
        println!("request: {} {:?}", request.topic(), request.text());
        answer(client, &request).await?;
    }
    Ok(())
}

async fn answer(client: &Client, request: &Message) -> Result<(), Box<dyn std::error::Error>> {
    let asked = request.properties();
    let Some(topic) = asked.response_topic() else {
        return Ok(()); // not a request: no answer is expected
    };
    let mut properties = PublishProperties::builder();
    // By this the requester knows which of its requests is answered.
    if let Some(data) = asked.correlation_data() {
        properties = properties.correlation_data(BinaryData::new(data.to_vec())?);
    }
    client
        .publish(topic, "80 %")
        .qos(QoS::AtLeastOnce)
        .properties(properties.build())
        .await?;
    Ok(())
}

/// Asks a lamp that answers and one that is not there.
async fn ask(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
    let response = client.request("lamps/1/get", "brightness").await?;
    println!("response: {:?}", response.text());

    let request = client.request("lamps/2/get", "brightness");
    match request.timeout(Duration::from_secs(5)).await {
        Ok(response) => println!("response: {:?}", response.text()),
        Err(ResponseError::NobodyListens) => println!("the server says that nobody listens"),
        Err(ResponseError::Timeout) => println!("no response within 5 s"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

pub(crate) async fn run(server: &str) -> Result<(), Box<dyn std::error::Error>> {
    let lamp = martlet_tokio::connect(server).await?;
    let requests = lamp.subscribe("lamps/1/get").qos(QoS::AtLeastOnce).await?;
    let client = martlet_tokio::connect(server).await?;
    // In a program these are two programs.
    future::or(ask(&client), respond(&lamp, requests)).await?;
    client.disconnect().await;
    lamp.disconnect().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args().nth(1);
    run(server.as_deref().unwrap_or("mqtt://localhost")).await
}

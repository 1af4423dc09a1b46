//! Two clients that pass on the context of a distributed trace, in user properties as W3C Trace Context has them.
//!
//! ```toml
//! [dependencies]
//! martlet-tokio = { path = "martlet/adapter-tokio" } # a clone of the repository
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! `cargo run -- mqtt://localhost` runs it with your server.

#![allow(clippy::print_stdout)]

use martlet_tokio::client::trace_context::{self, TraceContext};
use martlet_tokio::{Client, PublishProperties, QoS, UserProperties, Version};
use std::error::Error;
use std::hash::{BuildHasher, RandomState};

/// A random id, which is not zero: a tracing library would give that of its span.
fn id() -> u64 {
    RandomState::new().hash_one("id") | 1
}

/// The context as it travels with a message.
fn with(context: &TraceContext) -> PublishProperties {
    let mut pairs = UserProperties::new();
    trace_context::inject(context, &mut pairs);
    PublishProperties::builder().user_properties(&pairs).build()
}

async fn connect(uri: &str) -> Result<Client, Box<dyn Error>> {
    // Versions before 5 have no user properties.
    Ok(martlet_tokio::connect_with(Client::builder(uri).version(Version::V5)).await?)
}

/// An order is placed, and shipped by another program: both belong to one trace.
pub(crate) async fn run(uri: &str) -> Result<(), Box<dyn Error>> {
    let (shop, warehouse) = (connect(uri).await?, connect(uri).await?);
    let mut orders = warehouse
        .subscribe("orders/+")
        .qos(QoS::AtLeastOnce)
        .await?;
    let mut shipped = shop.subscribe("shipped/+").qos(QoS::AtLeastOnce).await?;

    let trace_id = (u128::from(id()) << 64 | u128::from(id())).to_be_bytes();
    let placed = TraceContext::new(trace_id, id().to_be_bytes())?.with_state("shop=spring")?;
    let order = shop.publish("orders/7", "a lamp").qos(QoS::AtLeastOnce);
    order.properties(with(&placed)).await?;

    let order = orders.next().await.ok_or("the connection has ended")?;
    // A sender may have written anything: what is malformed begins a new trace.
    let context = match trace_context::extract(order.properties().user_properties()) {
        Ok(Some(context)) => context.with_parent(id().to_be_bytes())?,
        Ok(None) | Err(_) => TraceContext::new(trace_id, id().to_be_bytes())?,
    };
    let answer = warehouse
        .publish("shipped/7", "a lamp")
        .qos(QoS::AtLeastOnce);
    answer.properties(with(&context)).await?;

    let answer = shipped.next().await.ok_or("the connection has ended")?;
    let context = trace_context::extract(answer.properties().user_properties())?;
    let context = context.ok_or("no context")?;
    println!("placed:  {placed}\nshipped: {context} {}", context.state());
    let is_same =
        context.trace_id() == placed.trace_id() && context.parent_id() != placed.parent_id();
    shop.disconnect().await;
    warehouse.disconnect().await;
    is_same
        .then_some(())
        .ok_or_else(|| "it is another trace".into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let uri = std::env::args()
        .nth(1)
        .ok_or("usage: trace_context <uri of the server>")?;
    run(&uri).await
}

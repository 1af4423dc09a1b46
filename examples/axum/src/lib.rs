//! An HTTP service that speaks MQTT, with axum.
//!
//! | request | publishes or has received | answer |
//! |---|---|---|
//! | `POST /lamps/{name}` | the body, to `lamps/{name}/set` at QoS 1 | 202: acknowledged by the MQTT server; 503: not |
//! | `GET /lamps/{name}` | the last message of `lamps/{name}/state` | 200 with it; 404: none has come yet |
//!
//! [`serve`] ends in good order: no new connections, the requests under way are finished, and the MQTT client
//! disconnects last.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Router, body::Bytes};
use martlet_tokio::{
    Builder, Client, ConnectionState, QoS, Reconnect, StateChanges, Subscription, TopicName,
};
use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpListener;

/// How long a request waits for the MQTT server, and how long the message is worth delivering: a lamp that goes on a
/// minute later is worse than one that does not.
const LIMIT: Duration = Duration::from_secs(5);

type States = Arc<RwLock<HashMap<String, Bytes>>>;

/// What handlers share; a clone is cheap.
#[derive(Debug, Clone)]
struct App {
    client: Client,
    states: States,
}

/// The MQTT client of the service. It subscribes by itself on each connection that needs it, and goes on trying if the
/// server is not there at first, so the service does not depend on the order in which things start.
pub fn mqtt(server: &str) -> Builder {
    Client::builder(server)
        .reconnect(Reconnect::default().retry_first(true))
        .subscriptions([("lamps/+/state", QoS::AtLeastOnce)])
}

/// Serves until `shutdown` is ready or the client has stopped, and then ends in good order.
///
/// # Errors
/// When the client has stopped by itself, as after a rejected password, or the listener fails.
pub async fn serve(
    listener: TcpListener,
    client: Client,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Box<dyn Error>> {
    let states = States::default();
    // The messages of the builder's subscriptions.
    let messages = client
        .unmatched()
        .ok_or("the stream of unmatched messages is taken")?;
    let watching = tokio::spawn(watch(messages, Arc::clone(&states)));
    let changes = client.state_changes();
    let shutdown = async {
        tokio::select! {
            () = shutdown => {}
            () = stopped(changes) => {}
        }
    };
    let app = App {
        client: client.clone(),
        states,
    };
    let router = Router::new()
        .route("/lamps/{name}", get(state).post(switch))
        .with_state(app);

    // Ready when the last request is answered; until then there is a client for it.
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await;
    let state = client.state();
    client.disconnect().await; // last: what was published leaves before the program ends
    watching.await?; // the stream has ended with the client
    if let ConnectionState::Stopped { reason } = state {
        return Err(reason.into());
    }
    Ok(served?)
}

/// Keeps the last state of each lamp.
async fn watch(mut messages: Subscription, states: States) {
    while let Some(message) = messages.next().await {
        let levels: Vec<&str> = message.topic().split('/').collect();
        if let ["lamps", name, "state"] = *levels {
            // A copy: the message's own bytes share the memory of all that was read with them.
            let payload = Bytes::copy_from_slice(message.payload());
            let mut states = states.write().unwrap_or_else(PoisonError::into_inner);
            states.insert(name.to_owned(), payload);
        }
    }
}

/// Ready when the client has stopped by itself.
async fn stopped(mut changes: StateChanges) {
    while let Some(state) = changes.next().await {
        if let ConnectionState::Stopped { .. } = state {
            break;
        }
    }
}

async fn state(State(app): State<App>, Path(name): Path<String>) -> Result<Bytes, StatusCode> {
    let states = app.states.read().unwrap_or_else(PoisonError::into_inner);
    states.get(&name).cloned().ok_or(StatusCode::NOT_FOUND)
}

async fn switch(
    State(app): State<App>,
    Path(name): Path<String>,
    body: Bytes,
) -> (StatusCode, String) {
    // The name is the caller's: `+`, `#` and the like are none for a topic.
    let topic = match TopicName::new(format!("lamps/{name}/set")) {
        Ok(topic) => topic,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let publish = app
        .client
        .publish(topic, body)
        .qos(QoS::AtLeastOnce)
        .expires_after(LIMIT)
        .timeout(LIMIT);
    match publish.await {
        // Success, or that no lamp listens (MQTT 5).
        Ok(outcome) => (StatusCode::ACCEPTED, format!("{}\n", outcome.reason)),
        // With all causes. `Timeout`: it may still be delivered.
        Err(error) => {
            let text = format!("{:#}\n", martlet_tokio::Error::from(error));
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

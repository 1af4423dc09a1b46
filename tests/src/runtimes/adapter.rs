//! An adapter under test.

use martlet_client::{
    Builder, Client, ClientEvent, ConnectError, ConnectionError, Driver, Events, QoS,
    runtime::Network,
};
use std::future::Future;

/// An adapter, as far as its users see it.
pub trait Adapter {
    /// Its runtime.
    type Runtime: Network + Unpin + Default;

    /// Runs `future` as a program's main function would.
    fn block_on<F: Future>(future: F) -> F::Output;

    /// The adapter's `connect`.
    fn connect(uri: &str) -> impl Future<Output = Result<Client, ConnectError>>;

    /// The adapter's `connect_with`.
    fn connect_with(builder: Builder) -> impl Future<Output = Result<Client, ConnectError>>;

    /// Spawns a driver. The future is its end.
    fn spawn(driver: Driver<Self::Runtime>) -> impl Future<Output = ConnectionError>;
}

pub(super) const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

pub(super) async fn until(events: &mut Events, mut found: impl FnMut(&ClientEvent) -> bool) {
    while !found(&events.next().await.expect("the client goes on")) {}
}

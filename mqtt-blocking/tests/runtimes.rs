//! What every adapter must do, on the loop of a thread.

use martlet_blocking::runtime::{block_on, off_thread};
use martlet_blocking::{Blocking, Builder, Client, ConnectError, ConnectionError, Driver};
use martlet_tests::runtimes::Adapter;
use std::future::Future;

struct OnThreads;

/// The client of `connect` has its own thread, and the test another one.
impl Adapter for OnThreads {
    type Runtime = Blocking;

    fn block_on<F: Future>(future: F) -> F::Output {
        block_on(future).expect("a loop")
    }

    async fn connect(uri: &str) -> Result<martlet_client::Client, ConnectError> {
        let uri = uri.to_owned();
        let connected = off_thread(move || martlet_blocking::connect(&*uri)).await;
        connected.expect("a thread").map(Client::into_async)
    }

    async fn connect_with(builder: Builder) -> Result<martlet_client::Client, ConnectError> {
        let connected = off_thread(|| martlet_blocking::connect_with(builder)).await;
        connected.expect("a thread").map(Client::into_async)
    }

    fn spawn(driver: Driver<Blocking>) -> impl Future<Output = ConnectionError> {
        let driven = off_thread(|| block_on(driver).expect("a loop"));
        async { driven.await.expect("nothing panics") }
    }
}

martlet_tests::runtime_tests!(OnThreads);
martlet_tests::transport_tests!(OnThreads);
martlet_tests::hostile_tests!(OnThreads);

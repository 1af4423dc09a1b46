//! What every adapter must do, on tokio.

use martlet_tests::runtimes::Adapter;
use martlet_tokio::{Builder, Client, ConnectError, ConnectionError, Driver, Tokio};
use std::future::Future;

struct OnTokio;

impl Adapter for OnTokio {
    type Runtime = Tokio;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(future)
    }

    async fn connect(uri: &str) -> Result<Client, ConnectError> {
        martlet_tokio::connect(uri).await
    }

    async fn connect_with(builder: Builder) -> Result<Client, ConnectError> {
        martlet_tokio::connect_with(builder).await
    }

    fn spawn(driver: Driver<Tokio>) -> impl Future<Output = ConnectionError> {
        let task = tokio::spawn(driver);
        async { task.await.expect("nobody cancels it") }
    }
}

martlet_tests::runtime_tests!(OnTokio);
martlet_tests::transport_tests!(OnTokio);
martlet_tests::hostile_tests!(OnTokio);
martlet_tests::kit_tests!(OnTokio);

//! What every adapter must do, on async-std.

use martlet_async_std::{AsyncStd, Builder, Client, ConnectError, ConnectionError, Driver};
use martlet_tests::runtimes::Adapter;
use std::future::Future;

struct OnAsyncStd;

impl Adapter for OnAsyncStd {
    type Runtime = AsyncStd;

    fn block_on<F: Future>(future: F) -> F::Output {
        async_std::task::block_on(future)
    }

    async fn connect(uri: &str) -> Result<Client, ConnectError> {
        martlet_async_std::connect(uri).await
    }

    async fn connect_with(builder: Builder) -> Result<Client, ConnectError> {
        martlet_async_std::connect_with(builder).await
    }

    fn spawn(driver: Driver<AsyncStd>) -> impl Future<Output = ConnectionError> {
        async_std::task::spawn(driver)
    }
}

martlet_tests::runtime_tests!(OnAsyncStd);
martlet_tests::transport_tests!(OnAsyncStd);
martlet_tests::hostile_tests!(OnAsyncStd);
martlet_tests::kit_tests!(OnAsyncStd);

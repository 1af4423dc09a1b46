//! What every adapter must do, on smol; and an executor of one thread.

use martlet_smol::{
    Builder, Client, ConnectError, ConnectionError, Driver, Endpoint, QoS, Smol, runtime::Streams,
};
use martlet_tests::runtimes::Adapter;
use martlet_tests::server::{Setup, TestServer};
use smol::LocalExecutor;
use smol::net::TcpStream;
use std::future::Future;
use std::rc::Rc;

struct OnSmol;

impl Adapter for OnSmol {
    type Runtime = Smol;

    fn block_on<F: Future>(future: F) -> F::Output {
        smol::block_on(future)
    }

    async fn connect(uri: &str) -> Result<Client, ConnectError> {
        martlet_smol::connect(uri).await
    }

    async fn connect_with(builder: Builder) -> Result<Client, ConnectError> {
        martlet_smol::connect_with(builder).await
    }

    fn spawn(driver: Driver<Smol>) -> impl Future<Output = ConnectionError> {
        smol::spawn(driver)
    }
}

martlet_tests::runtime_tests!(OnSmol);
martlet_tests::transport_tests!(OnSmol);
martlet_tests::hostile_tests!(OnSmol);
martlet_tests::kit_tests!(OnSmol);

/// Everything on one thread, spawned, with a runtime that is not `Send`.
#[test]
fn a_local_executor_drives_it() {
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        let broker = TestServer::start(Setup::tcp()).await;
        let local = Rc::new(Smol);
        let runtime = Rc::clone(&local);
        let streams = Streams::new(Smol, move |endpoint: Endpoint| {
            let _runtime = &runtime;
            let address = format!("{}:{}", endpoint.host(), endpoint.port());
            TcpStream::connect(address)
        });
        let (client, driver) = Client::builder(broker.uri()).build(streams).unwrap();
        let driver = executor.spawn(driver);
        let mut messages = client.subscribe("a").qos(QoS::AtLeastOnce).await.unwrap();
        client
            .publish("a", "b")
            .qos(QoS::AtLeastOnce)
            .await
            .unwrap();
        assert_eq!(messages.next().await.unwrap().text(), Some("b"));
        drop((client, messages));
        assert_eq!(driver.await, ConnectionError::ClosedHere);
        assert_eq!(Rc::strong_count(&local), 1);
    }));
}

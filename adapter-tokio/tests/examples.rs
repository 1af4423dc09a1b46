//! The examples as tests, and what their first lines promise.

#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../examples/back_pressure.rs"]
mod back_pressure;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../examples/birth_and_death.rs"]
mod birth_and_death;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../examples/durable_session.rs"]
mod durable_session;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../examples/from_yaml.rs"]
mod from_yaml;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../examples/manual_acknowledgement.rs"]
mod manual_acknowledgement;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../examples/mutual_tls.rs"]
mod mutual_tls;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../examples/ordered_workers.rs"]
mod ordered_workers;
#[cfg(feature = "metrics")]
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../examples/prometheus.rs"]
mod prometheus;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../examples/request_response.rs"]
mod request_response;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../examples/several_servers.rs"]
mod several_servers;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../examples/shared_subscriptions.rs"]
mod shared_subscriptions;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../examples/testing.rs"]
mod testing;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../examples/token_refresh.rs"]
mod token_refresh;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../examples/trace_context.rs"]
mod trace_context;
#[cfg(feature = "tracing")]
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../examples/tracing.rs"]
mod tracing_example;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../examples/websocket_bearer.rs"]
mod websocket_bearer;

use martlet_broker::Memory;
use martlet_tests::directory::Directory;
use martlet_tests::examples::{accepted, recording};
use martlet_tokio::{QoS, Tokio};
use std::future::Future;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(future)
}

martlet_tests::example_tests!(Tokio, block_on);

/// Three processes: one without a server, one with it, and one that finds what came meanwhile.
#[tokio::test]
async fn durable_session() {
    let server = recording().await;
    let (uri, files) = (server.uri(), Directory::new());
    let file = files.path().join("session.redb");
    server.kill(Memory::Lost).await;
    durable_session::run(&uri, &file).await.unwrap();
    server.revive().await;
    durable_session::run(&uri, &file).await.unwrap();
    assert_eq!(accepted(&server).await.len(), 6);
    let other = martlet_tokio::connect(&uri).await.unwrap();
    let command = other
        .publish("commands/meter-7", "off")
        .qos(QoS::AtLeastOnce);
    assert_eq!(
        command.await.unwrap().reason,
        martlet_tokio::proto::PubAckReasonCode::Success
    );
    other.disconnect().await;
    durable_session::run(&uri, &file).await.unwrap();
    assert_eq!(accepted(&server).await.len(), 4);
}

#[tokio::test]
async fn trace_context() {
    let server = recording().await;
    trace_context::run(&server.uri()).await.unwrap();
    assert_eq!(accepted(&server).await.len(), 2);
}

#[cfg(feature = "tracing")]
#[tokio::test]
async fn tracing_example() {
    let server = recording().await;
    tracing_example::install(tracing::Level::WARN);
    tracing_example::run(&server.uri()).await.unwrap();
    assert_eq!(accepted(&server).await.len(), 1);
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn prometheus() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = recording().await;
    let page = prometheus::install().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(prometheus::serve(listener, page));
    prometheus::run(&server.uri()).await.unwrap();
    // The driver records the last figures when it ends.
    let sent = "messaging_client_sent_messages{messaging_system=\"mqtt\",messaging_client_id=\"meter-7\",messaging_operation_name=\"publish\"} 10";
    loop {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        if answer.lines().any(|line| line == sent) {
            break;
        }
        assert!(accepted(&server).await.len() <= 10, "{answer}");
    }
}

/// One sentence, the dependencies, and how to run it; and nothing that only this workspace has.
#[test]
fn each_example_can_be_pasted() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let path = path.display();
        let lines = text.lines().count();
        assert!((30..=100).contains(&lines), "{path} has {lines} lines");
        let (head, code) = text.split_once("\n\n").unwrap();
        let paragraphs: Vec<&str> = head.split("\n//!\n").collect();
        let [sentence, dependencies, how] = &*paragraphs else {
            panic!("{path} begins with {paragraphs:?}");
        };
        assert!(
            sentence.ends_with('.') && !sentence.contains(". "),
            "{path}"
        );
        assert!(
            dependencies.starts_with("//! ```toml\n//! [dependencies]\n"),
            "{path}"
        );
        assert!(how.contains("cargo run"), "{path}");
        assert!(
            code.contains("\n#[tokio::main]\nasync fn main() -> Result<"),
            "{path}"
        );
        for ours in [
            "martlet_tests",
            "martlet_broker",
            "martlet_client",
            "crate::",
        ] {
            assert!(!code.contains(ours), "{path} has {ours}");
        }
    }
}

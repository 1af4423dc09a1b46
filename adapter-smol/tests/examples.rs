//! The examples of `martlet-tokio` on smol: the same files, and `martlet_tokio` is another name for this adapter.
//! `durable_session` is not among them: a client with a store is built with the runtime's own type, and its driver is
//! spawned by hand.

extern crate martlet_smol as martlet_tokio;

#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../../adapter-tokio/examples/back_pressure.rs"]
mod back_pressure;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../../adapter-tokio/examples/birth_and_death.rs"]
mod birth_and_death;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../../adapter-tokio/examples/from_yaml.rs"]
mod from_yaml;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../../adapter-tokio/examples/manual_acknowledgement.rs"]
mod manual_acknowledgement;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../../adapter-tokio/examples/mutual_tls.rs"]
mod mutual_tls;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../../adapter-tokio/examples/ordered_workers.rs"]
mod ordered_workers;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../../adapter-tokio/examples/request_response.rs"]
mod request_response;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../../adapter-tokio/examples/several_servers.rs"]
mod several_servers;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../../adapter-tokio/examples/shared_subscriptions.rs"]
mod shared_subscriptions;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../../adapter-tokio/examples/testing.rs"]
mod testing;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../../adapter-tokio/examples/token_refresh.rs"]
mod token_refresh;
#[expect(dead_code, reason = "its `main` does not run here")]
#[path = "../../adapter-tokio/examples/websocket_bearer.rs"]
mod websocket_bearer;

martlet_tests::example_tests!(martlet_smol::Smol, smol::block_on);

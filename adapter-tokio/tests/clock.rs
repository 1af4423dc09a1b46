//! The epoch of the client's time, in a process of its own: the first call sets it.

use martlet_tokio::{Tokio, runtime::Runtime};
use std::time::Duration;

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

/// The epoch used to be the tokio time of the first caller. Where that was a paused runtime that
/// had been advanced, the client's clock stood still in all others until they had come as far.
#[test]
fn each_paused_runtime_has_a_clock_that_goes() {
    paused().block_on(async {
        tokio::time::advance(Duration::from_secs(600)).await;
        Tokio::now();
    });
    paused().block_on(async {
        let start = Tokio::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(
            Tokio::now().saturating_duration_since(start),
            Duration::from_secs(1)
        );
    });
}

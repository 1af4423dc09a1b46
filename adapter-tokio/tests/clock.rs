//! The client's time, on tokio's clock.

use martlet_tokio::{Tokio, runtime::Runtime};
use std::time::Duration;

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

/// The epoch was the process's. Where its first caller was in a paused runtime that had been
/// advanced, the client's clock stood still in all others until they had come as far.
#[test]
fn a_clock_goes_wherever_it_was_made() {
    let outside = Tokio.clock();
    paused().block_on(async {
        tokio::time::advance(Duration::from_secs(600)).await;
        Tokio.clock().now();
    });
    paused().block_on(async {
        for clock in [Tokio.clock(), outside] {
            let start = clock.now();
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(
                clock.now().saturating_duration_since(start),
                Duration::from_secs(1)
            );
        }
    });
}

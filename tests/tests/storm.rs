//! Clients that lose their server at once do not come back at once.

use martlet_client::Reconnect;
use martlet_tests::storm::Storm;
use std::time::Duration;

#[test]
fn a_server_that_comes_back_is_not_run_over() {
    let (clients, outage) = (2_000, Duration::from_secs(60));
    let dial = Duration::from_millis(20);
    let seen = Storm {
        clients,
        outage,
        dial,
        reconnect: Reconnect::default(),
    }
    .run();
    assert_eq!(seen.connected.iter().sum::<u32>(), clients, "all are back");
    // The first attempts are spread over a second; later ones over more and more.
    assert!(seen.attempts[0] <= clients * 3 / 2, "{seen}");
    assert!(seen.peak_from(10) <= clients / 4, "{seen}");
    assert!(seen.peak_from(60) <= clients / 15, "{seen}");
    assert!(
        seen.connected
            .iter()
            .all(|&connected| connected <= clients / 15),
        "{seen}"
    );
    // And nobody waits for longer than the policy says.
    assert!(seen.attempts.len() <= 60 + 60 + 1, "{seen}");
}

/// Without the growing waits the server hears everybody all the time.
#[test]
fn the_bound_is_the_policy_s() {
    let (clients, outage) = (2_000, Duration::from_secs(20));
    let second = Duration::from_secs(1);
    let reconnect = Reconnect::default().initial(second).max(second);
    let seen = Storm {
        clients,
        outage,
        dial: Duration::from_millis(20),
        reconnect,
    }
    .run();
    assert!(seen.peak_from(10) > clients, "{seen}");
}

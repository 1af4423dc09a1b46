//! The simulated world: sessions, the model broker and a network that fails.

use martlet_proto::Version;
use martlet_tests::sim::{Failure, Faults, Misdeeds, Options, Sabotage, World};
use std::env;

/// What a world does before the faults stop, in steps.
const STEPS: u64 = 3_000;

fn simulate(seed: u64) {
    let mut world = World::new(seed, Options::from_seed(seed));
    if let Err(failure) = world.run(STEPS).and_then(|()| world.finish()) {
        panic!("{failure}");
    }
}

#[test]
fn some_hundred_worlds_keep_the_promises() {
    (0..300).for_each(simulate);
}

/// Processes die between any two operations on their store.
#[test]
fn a_hundred_worlds_of_stored_sessions_keep_the_promises() {
    (0..100).for_each(simulate_durable);
}

fn simulate_durable(seed: u64) {
    let mut world = World::new(seed, Options::durable(seed));
    if let Err(failure) = world.run(STEPS).and_then(|()| world.finish()) {
        panic!("{failure}");
    }
}

/// Servers that hang up on a topic, on a filter or on too many of them, overshoot, count wrongly,
/// answer the wrong flow and rename clients, in all combinations, among cuts and without: every
/// operation ends, nothing is sent for ever, and nothing is sent that nobody wants.
#[test]
fn a_hundred_worlds_with_a_misbehaving_server_keep_the_promises() {
    (0..100).for_each(simulate_moody);
}

fn simulate_moody(seed: u64) {
    let mut world = World::new(seed, Options::moody(seed));
    if let Err(failure) = world.run(STEPS).and_then(|()| world.finish()) {
        panic!("{failure}");
    }
}

/// One misdeed at a time, among cuts and without.
#[test]
fn each_misdeed_alone_is_survived() {
    let none = Misdeeds::default;
    let misdeeds = [
        Misdeeds {
            forbidden_publish: 20,
            ..none()
        },
        Misdeeds {
            forbidden_filter: 20,
            ..none()
        },
        Misdeeds {
            many_filters: 30,
            ..none()
        },
        Misdeeds {
            overshoot: 10,
            ..none()
        },
        Misdeeds {
            miscount: 10,
            ..none()
        },
        Misdeeds {
            wrong_flow: 10,
            ..none()
        },
        Misdeeds {
            rename: 10,
            ..none()
        },
    ];
    let mut failures = Vec::new();
    for misdeeds in misdeeds.map(Misdeeds::survived) {
        for seed in 0..20 {
            let seeded = Options::from_seed(seed);
            let faults = if seed % 2 == 0 {
                Faults::default()
            } else {
                Faults {
                    disconnect: 0,
                    ..seeded.faults.clone()
                }
            };
            let options = Options {
                misdeeds: misdeeds.clone(),
                faults,
                ..seeded
            };
            let mut world = World::new(seed, options);
            if let Err(failure) = world.run(STEPS).and_then(|()| world.finish()) {
                failures.push(format!("{misdeeds:?}: {failure}"));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A session with this bug; where it shows.
fn sabotaged(sabotage: Sabotage) -> Failure {
    for seed in 0..60 {
        let seeded = Options::from_seed(seed);
        let options = Options {
            version: Version::V5,
            limits_change: true,
            max_in_flight: 10,
            receive_maximum: 10,
            faults: Faults {
                disconnect: 3,
                ..seeded.faults.clone()
            },
            sabotage: Some(sabotage),
            ..seeded
        };
        // With a keep alive of less than a pause nobody pings otherwise.
        let options = match sabotage {
            Sabotage::NeverPings => Options {
                burst: 0,
                ..options.without_faults()
            },
            Sabotage::ReusesIdentifiers => Options {
                burst: 12,
                latency: (20, 40),
                pace: 5,
                ..options.without_faults()
            },
            Sabotage::PublishesForEver => {
                let misdeeds = Misdeeds {
                    forbidden_publish: 20,
                    ..Misdeeds::default()
                };
                Options {
                    misdeeds,
                    limits_change: false,
                    publish_timeout: None,
                    ..options.without_faults()
                }
            }
            Sabotage::SubscribesForEver | Sabotage::NeverRefuses => {
                let misdeeds = Misdeeds {
                    forbidden_filter: 20,
                    ..Misdeeds::default()
                };
                Options {
                    misdeeds,
                    ..options.without_faults()
                }
            }
            Sabotage::ReceivesUnstored | Sabotage::ReleasesUnstored | Sabotage::ForgetsReceived => {
                Options {
                    durable: Some((100, 300)),
                    limits_change: false,
                    latency: (20, 40),
                    pace: 10,
                    slow_reader: 0,
                    max_in_flight: 10,
                    receive_maximum: 10,
                    faults: Faults {
                        crash: 15,
                        ..Faults::default()
                    },
                    sabotage: Some(sabotage),
                    version: Version::V5,
                    ..Options::durable(seed)
                }
            }
            _ => options,
        };
        let mut world = World::new(seed, options);
        if let Err(failure) = world.run(STEPS).and_then(|()| world.finish()) {
            return failure;
        }
    }
    panic!("{sabotage:?} went unnoticed");
}

#[test]
fn planted_bugs_are_caught() {
    for (sabotage, what) in [
        (Sabotage::ForgetsDup, "DupMissing"),
        (Sabotage::ClaimsDup, "DupClaimed"),
        (Sabotage::PublishesAfterPubrel, "PublishReleased"),
        (Sabotage::SwallowsPubrel, "stuck"),
        // Or the server's answers go to the wrong message: what is seen first depends on the seed.
        (Sabotage::ReusesIdentifiers, ""),
        (Sabotage::IgnoresReceiveMaximum, "ReceiveMaximum"),
        (Sabotage::IgnoresPacketSize, "PacketSize"),
        (Sabotage::IgnoresMaximumQos, "MaximumQos"),
        (Sabotage::TalksAfterDisconnect, "AfterDisconnect"),
        (Sabotage::ConnectsTwice, "ConnectOnce"),
        (Sabotage::AcknowledgesOutOfOrder, "PubAckOrder"),
        (Sabotage::NeverPings, "KeepAlive"),
        (Sabotage::DeliversTwice, "delivered twice or out of order"),
        (
            Sabotage::DeliversOutOfOrder,
            "delivered twice or out of order",
        ),
        // Seen by the next of its topic, or at the end.
        (Sabotage::LosesDeliveries, ""),
        (Sabotage::SettlesTwice, "ended twice"),
        (
            Sabotage::NeverSettles,
            "messages are open, and the session holds",
        ),
        (
            Sabotage::ReceivesUnstored,
            "delivered twice or out of order",
        ),
        // The linter sees it on the wire, or the broker takes it twice.
        (Sabotage::ReleasesUnstored, ""),
        (Sabotage::ForgetsReceived, "delivered twice or out of order"),
        // After its end; or the linter sees that it is out of order.
        (Sabotage::PublishesForEver, ""),
        // Likewise.
        (Sabotage::SubscribesForEver, "SUBSCRIBE for forbidden/"),
        // It is stuck in the end, where a session gives up.
        (Sabotage::NeverRefuses, ""),
    ] {
        let failure = sabotaged(sabotage);
        assert!(
            failure.what.contains(what),
            "{sabotage:?} shows as: {failure}"
        );
    }
}

/// Replays the world of the seed in `MARTLET_SEED`, as the test above and as the long run of the
/// example does.
#[test]
fn replay() {
    if let Ok(seed) = env::var("MARTLET_SEED") {
        let seed = seed.parse().expect("MARTLET_SEED is a number");
        simulate(seed);
        simulate_durable(seed);
        simulate_moody(seed);
        for options in [
            Options::from_seed(seed),
            Options::durable(seed),
            Options::moody(seed),
        ] {
            if let Err(failure) = World::new(seed, options).run_to_end(5_000, 100_000) {
                panic!("{failure}");
            }
        }
    }
}

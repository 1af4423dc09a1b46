//! The simulated world: sessions, the model broker and a network that fails.

use martlet_proto::Version;
use martlet_tests::sim::{Failure, Faults, Options, Sabotage, World};
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

/// A session with this bug; where it shows.
fn sabotaged(sabotage: Sabotage) -> Failure {
    for seed in 0..60 {
        let seeded = Options::from_seed(seed);
        let options = Options {
            version: Version::V5,
            limits_change: true,
            max_in_flight: 10,
            receive_maximum: 10,
            faults: Faults { disconnect: 3, ..seeded.faults.clone() },
            sabotage: Some(sabotage),
            ..seeded
        };
        // With a keep alive of less than a pause nobody pings otherwise.
        let options = match sabotage {
            Sabotage::NeverPings => Options { burst: 0, ..options.without_faults() },
            Sabotage::ReusesIdentifiers => {
                Options { burst: 12, latency: (20, 40), pace: 5, ..options.without_faults() }
            }
            Sabotage::ReceivesUnstored | Sabotage::ReleasesUnstored | Sabotage::ForgetsReceived => Options {
                durable: Some((100, 300)),
                limits_change: false,
                latency: (20, 40),
                pace: 10,
                slow_reader: 0,
                max_in_flight: 10,
                receive_maximum: 10,
                faults: Faults { crash: 15, ..Faults::default() },
                sabotage: Some(sabotage),
                version: Version::V5,
                ..Options::durable(seed)
            },
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
        (Sabotage::DeliversOutOfOrder, "delivered twice or out of order"),
        // Seen by the next of its topic, or at the end.
        (Sabotage::LosesDeliveries, ""),
        (Sabotage::SettlesTwice, "ended twice"),
        (Sabotage::NeverSettles, "messages are open, and the session holds"),
        (Sabotage::ReceivesUnstored, "delivered twice or out of order"),
        // The linter sees it on the wire, or the broker takes it twice.
        (Sabotage::ReleasesUnstored, ""),
        (Sabotage::ForgetsReceived, "delivered twice or out of order"),
    ] {
        let failure = sabotaged(sabotage);
        assert!(failure.what.contains(what), "{sabotage:?} shows as: {failure}");
    }
}

/// Replays the world of the seed in `MARTLET_SEED`, as the test above and as the long run of the example does.
#[test]
fn replay() {
    if let Ok(seed) = env::var("MARTLET_SEED") {
        let seed = seed.parse().expect("MARTLET_SEED is a number");
        simulate(seed);
        simulate_durable(seed);
        for options in [Options::from_seed(seed), Options::durable(seed)] {
            if let Err(failure) = World::new(seed, options).run_to_end(5_000, 100_000) {
                panic!("{failure}");
            }
        }
    }
}

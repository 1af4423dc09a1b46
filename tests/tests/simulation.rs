//! The simulated world: sessions, the model broker and a network that fails.

use martlet_tests::sim::{Options, World};
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

/// Replays the world of the seed in `MARTLET_SEED`.
#[test]
fn replay() {
    if let Ok(seed) = env::var("MARTLET_SEED") {
        simulate(seed.parse().expect("MARTLET_SEED is a number"));
    }
}

//! A simulated world: client sessions, the model broker and a network that fails, in one thread, on
//! simulated time, from one seed.
//!
//! ```
//! use martlet_tests::sim::{Options, World};
//!
//! let mut world = World::new(7, Options::from_seed(7));
//! world.run(2_000).unwrap();      // messages, cuts, restarts, slow readers...
//! world.finish().unwrap();        // the faults stop: everything settles
//! ```
//!
//! After each step the books are balanced, at a cost that does not grow: the
//! [linter](crate::linter) watches every byte that a client sends against the rules that bind it,
//! `model` follows every message from the publisher to the subscriber. Neither asks the session for
//! its opinion, except for how much it says is still waiting.
//!
//! To show that this finds bugs, a [`Sabotage`] stands between a session and the world and behaves
//! as a session with that bug would.

mod client;
mod model;
mod network;
mod options;
mod random;
mod report;
mod saboteur;
mod wire;
mod wishes;
mod world;

pub use options::{Faults, Misdeeds, Options};
pub use random::Random;
pub use report::{Counts, Failure};
pub use saboteur::Sabotage;
pub(crate) use saboteur::{Reported, Saboteur};
pub(crate) use wire::{WireFrames, frame_len};
pub use world::World;

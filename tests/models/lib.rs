//! Models of the client's shared half: small worlds of a few tasks, run under many schedules, in each of
//! which the tasks are interrupted at other places where one of them locks, unlocks or waits. A
//! schedule fails when a task still waits and none can run: a deadlock or a lost wake-up.
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" cargo test -p martlet-models
//! ```
//!
//! `MODEL_SCHEDULES` sets how many schedules each model runs under with each of two schedulers (default:
//! 500). A random schedule that fails prints its seed; `SHUTTLE_RANDOM_SEED=… MODEL_SCHEDULES=1` replays it. Of one of the
//! other scheduler all of it is printed, for `shuttle::replay`.

#![cfg(all(shuttle, test))]
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
#![expect(
    clippy::print_stderr,
    reason = "how much was tried is part of the result"
)]

mod publishing;
mod scheduling;
mod streams;
mod world;

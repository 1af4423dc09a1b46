//! Memory, counted by an allocator of the process's own.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing, its parts too"
)]
#![allow(
    clippy::print_stdout,
    reason = "`--nocapture` prints the numbers and the table"
)]

mod connections;
mod hostile;
mod messages;
mod wire;

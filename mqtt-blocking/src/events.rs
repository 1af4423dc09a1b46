//! What happens to the client, one after the other.

use crate::park::{after, wait};
use martlet_client::{ClientEvent, ConnectionState, Error};
use std::time::{Duration, Instant};

/// Nothing has come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NothingCame;

impl std::fmt::Display for NothingCame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no event came in time")
    }
}

impl std::error::Error for NothingCame {}

impl From<NothingCame> for Error {
    fn from(error: NothingCame) -> Self {
        Self::other(error)
    }
}

/// A stream whose methods block.
macro_rules! blocking_stream {
    ($(#[$attribute:meta])* $name:ident of $item:ty) => {
        $(#[$attribute])*
        #[derive(Debug)]
        pub struct $name {
            stream: martlet_client::$name,
        }

        impl $name {
            pub(crate) fn new(stream: martlet_client::$name) -> Self {
                Self { stream }
            }

            /// Blocks for the next one; `None` at the end, and on a client's own thread when none
            /// has come ([why](crate::Wait#on-the-clients-own-thread)).
            pub fn recv(&mut self) -> Option<$item> {
                wait(self.stream.next(), None).flatten()
            }

            /// Blocks for the next one for this time at most; `Ok(None)` at the end.
            ///
            /// # Errors
            /// [`NothingCame`] after `timeout`, and on a client's own thread at once.
            pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<$item>, NothingCame> {
                wait(self.stream.next(), after(timeout)).ok_or(NothingCame)
            }

            /// One that has come already; does not block.
            pub fn try_recv(&mut self) -> Option<$item> {
                wait(self.stream.next(), Some(Instant::now())).flatten()
            }
        }

        /// `recv`, again and again.
        impl Iterator for $name {
            type Item = $item;

            fn next(&mut self) -> Option<$item> {
                self.recv()
            }
        }
    };
}

blocking_stream! {
    /// The events of a client, from when it was made. As an iterator it blocks for the next one,
    /// and ends when the client has disconnected or stopped. A slow reader misses events as
    /// [`martlet_client::Events`] says, which this is, with methods that block.
    ///
    /// ```no_run
    /// # fn example(client: &martlet_blocking::Client) {
    /// let events = client.events();
    /// std::thread::spawn(move || {
    ///     for event in events {
    ///         println!("{event}");
    ///     }
    /// });
    /// # }
    /// ```
    Events of ClientEvent
}

blocking_stream! {
    /// The states of a connection: first the present one, then each that comes. As an iterator it
    /// blocks for the next one, and ends after [`Closed`](ConnectionState::Closed) and
    /// [`Stopped`](ConnectionState::Stopped). The latest counts: a reader that looks late misses
    /// those in between.
    ///
    /// ```no_run
    /// # fn example(client: &martlet_blocking::Client) {
    /// for state in client.state_changes() {
    ///     println!("{state}");
    /// }
    /// # }
    /// ```
    StateChanges of ConnectionState
}

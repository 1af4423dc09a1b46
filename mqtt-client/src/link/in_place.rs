//! Reading large packets into their places.

use super::{Link, Phase};
use crate::link::observer::Trace;
use bytes::BytesMut;
use std::io;
use std::task::Poll;

impl Link {
    /// Lets `read` fill the place of what is missing of a large packet, which saves a copy: instead
    /// of [`handle_wire`](Self::handle_wire). `None`: there is no such place, and nothing was read.
    pub(crate) fn read_in_place(
        &mut self,
        read: impl FnOnce(&mut BytesMut, usize) -> Poll<io::Result<usize>>,
    ) -> Option<Poll<io::Result<usize>>> {
        let Phase::Connected(connection) = &mut self.phase else {
            return None;
        };
        // An observer sees all bytes in one piece, so they come the other way.
        let is_watched = self.trace.as_ref().is_some_and(Trace::is_watched);
        if is_watched || !connection.reads_in_place() {
            return None;
        }
        let (version, largest) = (self.servers.version(), self.maximum_packet_size);
        let result = connection.read_in_place(read, version, largest);
        if let Poll::Ready(Ok(n)) = result {
            self.wire[1] = self.wire[1].saturating_add(n as u32);
        }
        Some(result)
    }
}

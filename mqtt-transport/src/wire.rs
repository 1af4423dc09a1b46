//! Bytes on their way to the socket: how many may wait, and moving them on.

use bytes::BytesMut;

/// The most that [`Transport::write`](crate::Transport::write) accepts before
/// [`Transport::poll_wire`](crate::Transport::poll_wire) is called, in bytes of the wire.
pub(crate) const WRITE_LIMIT: usize = 64 * 1024;

/// Appends all of `from` to `to`, without a copy where `to` is empty.
pub(crate) fn move_bytes(from: &mut BytesMut, to: &mut BytesMut) {
    if to.is_empty() {
        std::mem::swap(from, to);
    } else {
        to.extend_from_slice(from);
    }
    from.clear();
}

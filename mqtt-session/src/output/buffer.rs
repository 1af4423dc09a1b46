//! Bytes that are to be written, small ones together, large ones by reference.

use alloc::collections::VecDeque;
use bytes::{Buf, Bytes, BytesMut};

/// From this size on a payload is kept by reference: below it, a copy is cheaper than another
/// segment to write.
const BY_REFERENCE: usize = 4096;

/// Up to this size copying is cheaper than changing buffers: an acknowledgement, a small message.
const HANDFUL: usize = 256;

/// Bytes on their way out. Small packets stand together in one block, so that one write takes them
/// all; a payload of 4 KiB or more is shared, not copied. It is a [`Buf`]: write its chunks, then
/// `advance`. Credentials travel in it, so `Debug` shows the length only.
#[derive(Default)]
pub struct SendBuffer {
    /// Before `block`, in order.
    segments: VecDeque<Bytes>,
    segments_len: usize,
    block: BytesMut,
}

impl SendBuffer {
    /// An empty one; nothing is allocated.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.segments_len + self.block.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all bytes, keeps the memory.
    pub fn clear(&mut self) {
        self.segments.clear();
        self.segments_len = 0;
        self.block.clear();
    }

    /// The block at the end, to append small things to.
    #[inline]
    pub(crate) fn block(&mut self) -> &mut BytesMut {
        &mut self.block
    }

    /// Takes out the segments, payloads among them; the block stays.
    pub(crate) fn segments(&mut self) -> impl Iterator<Item = Bytes> + '_ {
        self.segments_len = 0;
        self.segments.drain(..)
    }

    /// Appends a payload, by reference when it is large.
    #[inline]
    pub(crate) fn put_payload(&mut self, payload: &Bytes) {
        if payload.len() < BY_REFERENCE {
            self.block.extend_from_slice(payload);
        } else {
            self.put_segment(payload.clone());
        }
    }

    fn put_segment(&mut self, segment: Bytes) {
        if !self.block.is_empty() {
            let block = self.block.split().freeze();
            self.segments_len += block.len();
            self.segments.push_back(block);
        }
        self.segments_len += segment.len();
        self.segments.push_back(segment);
    }

    /// Moves everything from `other` to the end of this one. Nothing but a handful of bytes is
    /// copied when this one is empty.
    #[inline]
    pub fn append(&mut self, other: &mut Self) {
        if other.segments.is_empty() && other.block.len() <= HANDFUL {
            self.block.extend_from_slice(&other.block);
            other.block.clear();
            return;
        }
        self.append_much(other);
    }

    fn append_much(&mut self, other: &mut Self) {
        if self.is_empty() {
            self.clear();
            core::mem::swap(self, other);
            return;
        }
        for segment in other.segments.drain(..) {
            if segment.len() < BY_REFERENCE {
                self.block.extend_from_slice(&segment);
            } else {
                self.put_segment(segment);
            }
        }
        self.block.extend_from_slice(&other.block);
        other.clear();
    }
}

impl Buf for SendBuffer {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self.segments.front().map_or(&self.block, |segment| segment)
    }

    #[cfg(feature = "std")]
    fn chunks_vectored<'a>(&'a self, dst: &mut [std::io::IoSlice<'a>]) -> usize {
        let chunks = self
            .segments
            .iter()
            .map(|segment| &segment[..])
            .chain(core::iter::once(&self.block[..]));
        let mut n = 0;
        for (slot, chunk) in dst.iter_mut().zip(chunks.filter(|chunk| !chunk.is_empty())) {
            *slot = std::io::IoSlice::new(chunk);
            n += 1;
        }
        n
    }

    fn advance(&mut self, mut n: usize) {
        assert!(n <= self.len(), "advanced by {n} bytes of {}", self.len());
        while let Some(front) = self.segments.front_mut() {
            if n < front.len() {
                front.advance(n);
                self.segments_len -= n;
                return;
            }
            n -= front.len();
            self.segments_len -= front.len();
            self.segments.pop_front();
        }
        if n == self.block.len() {
            // Keeps the block's memory from its start on, where `advance` would walk away from it.
            self.block.clear();
        } else {
            self.block.advance(n);
        }
    }
}

impl core::fmt::Debug for SendBuffer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "[{} bytes]", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn contents(mut buffer: SendBuffer, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while buffer.has_remaining() {
            let n = step.min(buffer.chunk().len());
            all.extend_from_slice(&buffer.chunk()[..n]);
            buffer.advance(n);
        }
        all
    }

    fn mixed() -> (SendBuffer, Vec<u8>) {
        let mut buffer = SendBuffer::new();
        let mut expected = Vec::new();
        for (i, size) in [3, 5000, 10, 4096, 4095, 1].into_iter().enumerate() {
            let payload = vec![i as u8; size];
            buffer.put_payload(&Bytes::from(payload.clone()));
            expected.extend(payload);
        }
        (buffer, expected)
    }

    #[test]
    fn keeps_the_order_of_small_and_large() {
        for step in [1, 7, 4096, 100_000] {
            let (buffer, expected) = mixed();
            assert_eq!(buffer.len(), expected.len());
            assert_eq!(contents(buffer, step), expected);
        }
    }

    #[test]
    fn large_payloads_are_shared() {
        let payload = Bytes::from(vec![7; 64 * 1024]);
        let mut buffer = SendBuffer::new();
        buffer.block().extend_from_slice(b"head");
        buffer.put_payload(&payload);
        buffer.advance(4);
        assert_eq!(buffer.chunk().as_ptr(), payload.as_ptr());
    }

    #[test]
    fn append_keeps_the_order() {
        let (mut one, mut expected) = mixed();
        let (mut two, more) = mixed();
        expected.extend(more);
        one.append(&mut two);
        assert!(two.is_empty());
        assert_eq!(contents(one, 1000), expected);
    }

    #[cfg(feature = "std")]
    #[test]
    fn vectored_chunks_are_the_chunks() {
        let (buffer, expected) = mixed();
        let mut slices = [std::io::IoSlice::new(&[]); 16];
        let n = buffer.chunks_vectored(&mut slices);
        let all: Vec<u8> = slices[..n]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect();
        assert_eq!(all, expected);
    }
}

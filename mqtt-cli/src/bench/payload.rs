//! The payload of a message: a header that says whose it is and when it was due, and filler.
//!
//! | bytes | |
//! |---|---|
//! | 0–3 | `mlt1` |
//! | 4–11 | the identifier of the run |
//! | 12–15 | the number of the client that published it, from 0 |
//! | 16–23 | the number of the message among those of its client, from 0 |
//! | 24–31 | when it was due: nanoseconds since 1970 |
//!
//! Numbers are unsigned, the most significant byte first.

use bytes::Bytes;

/// What a message begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) run: u64,
    pub(super) client: u32,
    pub(super) sequence: u64,
    /// Nanoseconds since 1970.
    pub(super) due: u64,
}

/// The bytes of a header.
pub(super) const HEADER: usize = 32;

const MAGIC: [u8; 4] = *b"mlt1";

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..12].copy_from_slice(&self.run.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.client.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[24..].copy_from_slice(&self.due.to_be_bytes());
        bytes
    }

    /// The header of a payload; none where it has none.
    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let (magic, rest) = payload.split_first_chunk()?;
        let (run, rest) = rest.split_first_chunk()?;
        let (client, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (due, _) = rest.split_first_chunk()?;
        (*magic == MAGIC).then(|| Self {
            run: u64::from_be_bytes(*run),
            client: u32::from_be_bytes(*client),
            sequence: u64::from_be_bytes(*sequence),
            due: u64::from_be_bytes(*due),
        })
    }
}

/// Makes payloads of one size.
#[derive(Debug)]
pub(super) struct Payloads {
    /// All of it where there is no room for a header.
    filler: Bytes,
    has_header: bool,
}

impl Payloads {
    pub(super) fn new(size: usize) -> Self {
        let has_header = size >= HEADER;
        let filler = if has_header { size - HEADER } else { size };
        Self {
            filler: vec![b'.'; filler].into(),
            has_header,
        }
    }

    pub(super) fn with(&self, header: &Header) -> Bytes {
        if !self.has_header {
            return self.filler.clone();
        }
        let mut bytes = Vec::with_capacity(HEADER + self.filler.len());
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(&self.filler);
        bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_as_documented() {
        let header = Header {
            run: 0x0102_0304_0506_0708,
            client: 0x1112_1314,
            sequence: 0x2122_2324_2526_2728,
            due: 0x3132_3334_3536_3738,
        };
        let payload = Payloads::new(34).with(&header);
        let expected = [
            b"mlt1".as_slice(),
            &[1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14],
            &[0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28],
            &[0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38],
            b"..",
        ];
        assert_eq!(payload[..], expected.concat());
        assert_eq!(Header::decode(&payload), Some(header));
        assert_eq!(Header::decode(&payload[..HEADER]), Some(header));
        for wrong in [&payload[..HEADER - 1], &payload[1..], b""] {
            assert_eq!(Header::decode(wrong), None);
        }
    }

    #[test]
    fn payloads_have_their_size() {
        let header = Header {
            run: 1,
            client: 2,
            sequence: 3,
            due: 4,
        };
        for size in [0, 1, HEADER - 1, HEADER, HEADER + 1, 10_000] {
            let payload = Payloads::new(size).with(&header);
            assert_eq!(payload.len(), size);
            assert_eq!(Header::decode(&payload).is_some(), size >= HEADER);
        }
    }
}

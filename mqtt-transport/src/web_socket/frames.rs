//! The frames that a server sends (RFC 6455, section 5.2). The payload of data frames is passed on
//! as it arrives, so neither a frame nor a message needs a largest size: MQTT's packets have one of
//! their own. A control frame has at most 125 bytes, and is collected.

use bytes::{Buf, BytesMut};
use std::io::Cursor;
use tungstenite::Error as FrameError;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// The longest payload of a control frame.
const MAX_CONTROL: u64 = 125;

/// Where in the server's frames the connection is.
#[derive(Default)]
pub(super) struct Frames {
    /// The beginning of a frame: its header, and what a control frame holds.
    head: BytesMut,
    /// How much payload the current data frame still has.
    left: u64,
    /// A message has begun whose last frame has not.
    in_message: bool,
}

/// Why the server's frames cannot be read on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FrameFault {
    /// A text message.
    Text,
    /// A rule of RFC 6455 is broken, in words.
    Broken(String),
}

impl Frames {
    /// Takes bytes from the front of `input` and appends the payload of data frames to `plain`.
    /// Returns at the end of a control frame, with all of that frame, and at the end of `input`.
    pub(super) fn read(
        &mut self,
        input: &mut BytesMut,
        plain: &mut BytesMut,
    ) -> Result<Option<BytesMut>, FrameFault> {
        loop {
            self.pass_on(input, plain);
            if input.is_empty() || !self.collect(input, 2) {
                return Ok(None);
            }
            let header_length = header_length(self.head[1]);
            if !self.collect(input, header_length) {
                return Ok(None);
            }
            let (header, length) = parse(&self.head)?;
            let is_last = header.is_final;
            match header.opcode {
                OpCode::Control(_) if !is_last => {
                    return Err(ProtocolError::FragmentedControlFrame.into());
                }
                OpCode::Control(_) if length > MAX_CONTROL => {
                    return Err(ProtocolError::ControlFrameTooBig.into());
                }
                OpCode::Control(_) => {
                    let whole = self.collect(input, header_length + length as usize);
                    return Ok(whole.then(|| self.head.split()));
                }
                OpCode::Data(Data::Continue) if !self.in_message => {
                    return Err(ProtocolError::UnexpectedContinueFrame.into());
                }
                OpCode::Data(Data::Continue) => {}
                OpCode::Data(other) if self.in_message => {
                    return Err(ProtocolError::ExpectedFragment(other).into());
                }
                OpCode::Data(Data::Text) => return Err(FrameFault::Text),
                OpCode::Data(_) => {}
            }
            self.head.clear();
            self.left = length;
            self.in_message = !is_last;
        }
    }

    /// Moves what is there of the current data frame's payload.
    fn pass_on(&mut self, input: &mut BytesMut, plain: &mut BytesMut) {
        let here = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        plain.extend_from_slice(&input[..here]);
        input.advance(here);
        self.left -= here as u64;
    }

    /// Fills `head` up to `length` bytes. Returns whether it has them.
    fn collect(&mut self, input: &mut BytesMut, length: usize) -> bool {
        let missing = length.saturating_sub(self.head.len()).min(input.len());
        self.head.extend_from_slice(&input[..missing]);
        input.advance(missing);
        self.head.len() >= length
    }
}

/// The length of a frame's header, by its second byte.
fn header_length(second: u8) -> usize {
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    2 + length + mask
}

/// A whole header that a server may send, and the length of the payload.
fn parse(head: &[u8]) -> Result<(FrameHeader, u64), FrameFault> {
    let (header, length) = match FrameHeader::parse(&mut Cursor::new(head)) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => unreachable!("the header is whole"),
        Err(FrameError::Protocol(error)) => return Err(error.into()),
        Err(other) => return Err(FrameFault::Broken(other.to_string())),
    };
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(ProtocolError::NonZeroReservedBits.into());
    }
    if header.mask.is_some() {
        return Err(ProtocolError::MaskedFrameFromServer.into());
    }
    if length >> 63 != 0 {
        return Err(FrameFault::Broken(
            "The highest bit of a frame's length is set".into(),
        ));
    }
    Ok((header, length))
}

impl From<ProtocolError> for FrameFault {
    fn from(error: ProtocolError) -> Self {
        Self::Broken(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads pieces as they arrive: what is in data frames, control frames, and the fault.
    fn read<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> (BytesMut, Vec<BytesMut>, Option<FrameFault>) {
        let (mut frames, mut plain, mut control) = (Frames::default(), BytesMut::new(), Vec::new());
        for piece in pieces {
            let mut input = BytesMut::from(piece);
            loop {
                match frames.read(&mut input, &mut plain) {
                    Ok(Some(frame)) => control.push(frame),
                    Ok(None) => break,
                    Err(fault) => return (plain, control, Some(fault)),
                }
            }
            assert!(input.is_empty(), "all of it is taken");
        }
        (plain, control, None)
    }

    /// Frames of every kind and form of length; each split point, and each pair of them.
    #[test]
    fn frames_may_be_cut_anywhere() {
        let medium = [&[0x82, 126, 0, 130][..], &[7; 130]].concat();
        let long = [&[0x00, 127, 0, 0, 0, 0, 0, 0, 0, 3][..], b"cde"].concat();
        let wire = [
            &b"\x82\x00\x02\x02ab\x89\x04ping"[..],
            &long,
            b"\x8a\x00\x80\x01f",
            &medium,
            b"\x88\x02\x03\xe8",
        ]
        .concat();
        let plain = [&b"abcdef"[..], &[7; 130]].concat();
        let control = [&b"\x89\x04ping"[..], b"\x8a\x00", b"\x88\x02\x03\xe8"];
        for first in 0..wire.len() {
            for second in first..wire.len() {
                let pieces = [&wire[..first], &wire[first..second], &wire[second..]];
                let (got, frames, fault) = read(pieces);
                assert_eq!((&got[..], fault), (&plain[..], None), "{first} {second}");
                assert_eq!(frames, control, "{first} {second}");
            }
        }
        assert_eq!(read(wire.chunks(1)).0, plain);
    }

    /// What arrives goes on at once: nothing waits for the end of a frame or of a message.
    #[test]
    fn a_message_is_not_collected() {
        const LENGTH: usize = 20 << 20;
        let block = [7; 64 << 10];
        let header = [&[0x82, 127][..], &(LENGTH as u64).to_be_bytes()].concat();
        let fragment = [&[0x00, 127][..], &(block.len() as u64).to_be_bytes()].concat();
        for in_one in [true, false] {
            let mut frames = Frames::default();
            let (mut plain, mut sum) = (BytesMut::new(), 0);
            let mut step = |bytes: &[u8]| {
                let found = frames.read(&mut BytesMut::from(bytes), &mut plain);
                assert_eq!(found, Ok(None));
                sum += std::mem::take(&mut plain).len();
                sum
            };
            step(if in_one { &header } else { b"\x02\x00" });
            for round in 1..=LENGTH / block.len() {
                if !in_one {
                    step(&fragment);
                }
                assert_eq!(step(&block), round * block.len());
            }
            if !in_one {
                step(b"\x80\x00");
            }
            assert_eq!(step(b"\x82\x01x"), LENGTH + 1, "the next message");
        }
    }

    #[test]
    fn the_rules_are_held() {
        let table: &[(&[u8], &str)] = &[
            (b"\xc2\x01x", "Reserved bits are non-zero"),
            (b"\xa2\x01x", "Reserved bits are non-zero"),
            (b"\x92\x01x", "Reserved bits are non-zero"),
            (b"\x82\x81\0\0\0\0x", "Received a masked frame from server"),
            (b"\x80\x01x", "Continue frame but nothing to continue"),
            (
                b"\x02\x01x\x82\x01y",
                "While waiting for more fragments received: BINARY",
            ),
            (
                b"\x02\x01x\x81\x01y",
                "While waiting for more fragments received: TEXT",
            ),
            (b"\x09\x00", "Fragmented control frame"),
            (
                b"\x89\x7e\0\x7e",
                "Control frame too big (payload must be 125 bytes or less)",
            ),
            (b"\x83\x00", "Encountered invalid opcode: 3"),
            (b"\x8b\x00", "Encountered invalid opcode: 11"),
            (
                b"\x82\x7f\x80\0\0\0\0\0\0\0",
                "The highest bit of a frame's length is set",
            ),
        ];
        for (wire, words) in table {
            let expected = Some(FrameFault::Broken((*words).into()));
            assert_eq!(read([*wire]).2, expected);
            assert_eq!(read(wire.chunks(1)).2, expected);
        }
        assert_eq!(read([&b"\x81\x01x"[..]]).2, Some(FrameFault::Text));
        let (plain, _, fault) = read([&b"\x82\x02ab\x01\x01x"[..]]);
        assert_eq!((&plain[..], fault), (&b"ab"[..], Some(FrameFault::Text)));
    }

    /// The largest length that there is: the frame never ends, and nothing is reserved for it.
    #[test]
    fn a_length_reserves_nothing() {
        let wire = [&[0x82, 0x7f][..], &(u64::MAX >> 1).to_be_bytes(), b"abc"].concat();
        let (plain, _, fault) = read([&wire[..]]);
        assert_eq!((&plain[..], fault), (&b"abc"[..], None));
        assert!(plain.capacity() < 1024);
    }
}

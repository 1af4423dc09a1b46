//! Every short input of the codec, none left out: what [`fuzz`](crate::fuzz) tries at random.
//!
//! Two spaces, each in every version:
//!
//! * [`Space::Strings`]: all byte strings of up to 5 bytes. They are a tree, in which a string's children are one byte
//!   longer. A branch is left out only below a string that has decided about all of it, and the count says for how many
//!   strings each visited one stands, so that the sum must be 256¹ + … + 256⁵. [`Space::Unpruned`] leaves nothing out,
//!   which shows that the pruning is right, as far as its strings go.
//! * [`Space::Frames`]: all packets of up to 12 bytes of which each byte is one of a few. The first byte is any that begins
//!   a packet, the second the length, the others are of an alphabet for the packet type.
//!
//! For each: no panic, nothing is consumed but the packet, what was decoded is encoded and decodes to the same, and the
//! linter's decoder agrees ([`agreement`] has the list of what differs on purpose).

use crate::fuzz::{Agreement, agreement, survives, tolerated};
use bytes::BytesMut;
use martlet_proto::{DecodeError, FixedHeader, MAX_PACKET_SIZE, Packet, Version};
use std::ops::AddAssign;

/// What was tried, and what became of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Byte strings that the decoder was given.
    pub visited: u64,
    /// Byte strings that these decide about, themselves among them.
    pub decided: u64,
    /// Visited strings that are a packet.
    pub packets: u64,
    /// Visited strings that were rejected.
    pub rejected: u64,
    /// Visited strings that are the beginning of something.
    pub incomplete: u64,
    /// Packets that were encoded and decoded again.
    pub encoded: u64,
    /// Packets about which the two decoders differ on purpose.
    pub tolerated: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.visited += other.visited;
        self.decided += other.decided;
        self.packets += other.packets;
        self.rejected += other.rejected;
        self.incomplete += other.incomplete;
        self.encoded += other.encoded;
        self.tolerated += other.tolerated;
    }
}

/// What is tried whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// All byte strings of 1 to this number of bytes, pruned.
    Strings(usize),
    /// The same, with nothing left out: each string must say what its shortest deciding beginning says.
    Unpruned(usize),
    /// All packets of up to `bytes` bytes, with the first `letters` bytes of each alphabet.
    Frames {
        /// The largest packet, in bytes.
        bytes: usize,
        /// How many bytes of each alphabet.
        letters: usize,
    },
}

/// A part of a space, to be tried by one thread.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    space: Space,
    version: Version,
    first: u8,
}

/// The parts of a space.
#[must_use]
pub fn parts(space: Space) -> Vec<Part> {
    let of_version = |version| {
        (0..=255).map(move |first| Part {
            space,
            version,
            first,
        })
    };
    Version::ALL.into_iter().flat_map(of_version).collect()
}

impl Part {
    /// The version in which it decodes.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Tries all of it.
    ///
    /// # Panics
    /// When a property does not hold. The input is printed.
    #[must_use]
    pub fn run(self) -> Counts {
        let mut walk = Walk {
            version: self.version,
            counts: Counts::default(),
            bytes: vec![self.first],
        };
        match self.space {
            Space::Strings(longest) => walk.strings(longest),
            Space::Unpruned(longest) => walk.unpruned(longest, None),
            Space::Frames { bytes, letters } => walk.frames(bytes, letters),
        }
        walk.counts
    }
}

/// Prints what was tried when it panics.
struct Walk {
    version: Version,
    counts: Counts,
    bytes: Vec<u8>,
}

impl Drop for Walk {
    #[allow(
        clippy::print_stderr,
        reason = "a panic in the decoder does not say with what"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: {:02x?}", self.version, self.bytes);
        }
    }
}

/// What the decoder says of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It begins with a packet of this size.
    Packet(usize),
    Rejected(DecodeError),
    Incomplete,
}

impl Walk {
    /// The string at hand, and below it those that it does not decide about.
    ///
    /// Why nothing is lost:
    ///
    /// * Once a string is a packet or is rejected, its children are decided: the decoder looks at the fixed header, which
    ///   ends where its length ends, and then at a frame of exactly that length. What is behind it is the next packet's.
    ///   Each child here is one byte longer than a string that was incomplete, so the packet ends with the child.
    /// * Once the header says that the packet is longer than the longest string, all children are incomplete: nothing of a
    ///   packet is looked at before all of it is there. Each string is tried with two endings that make it the longest.
    /// * The last byte of the longest length has three kinds of values ([`ends_of_a_length`](Self::ends_of_a_length)).
    fn strings(&mut self, longest: usize) {
        let outcome = self.visit();
        let below = longest - self.bytes.len();
        let whole = 1 + (1..=below as u32).map(|n| 256u64.pow(n)).sum::<u64>();
        let decided = match outcome {
            Outcome::Packet(size) => {
                assert_eq!(size, self.bytes.len(), "its beginning was incomplete");
                true
            }
            Outcome::Rejected(_) => true,
            Outcome::Incomplete => {
                let header = FixedHeader::decode(&self.bytes, self.version).expect("not rejected");
                header.is_some_and(|header| header.packet_size() > longest)
            }
        };
        if decided {
            self.counts.decided += whole;
            self.endings(outcome, longest);
            return;
        }
        self.counts.decided += 1;
        if below == 1 && self.bytes.len() == 4 && self.is_ordinary_length() {
            return self.ends_of_a_length();
        }
        if below > 0 {
            for byte in 0..=255 {
                self.bytes.push(byte);
                self.strings(longest);
                self.bytes.pop();
            }
        }
    }

    /// Whether all bytes but the first are of a length that goes on, and not of those lengths whose last bytes are all
    /// tried: of the digits 0, 1 and 127.
    fn is_ordinary_length(&self) -> bool {
        let length = &self.bytes[1..];
        length.iter().all(|&byte| byte >= 0x80)
            && !length.iter().all(|byte| matches!(byte, 0x80 | 0x81 | 0xff))
    }

    /// The last byte of a length of four bytes, of which there would be 256 for each of two million lengths and each first
    /// byte. It is 0, and then the length is too long for its value; or up to 127, and then the packet is longer than any
    /// string here; or more, and then the length does not end. The smallest and the largest of each kind are tried, and
    /// stand for those between them.
    fn ends_of_a_length(&mut self) {
        let mut last = None;
        for (byte, decides) in [(0x00, 1), (0x01, 1), (0x7f, 126), (0x80, 1), (0xff, 127)] {
            self.bytes.push(byte);
            let outcome = self.visit();
            self.bytes.pop();
            self.counts.decided += decides;
            if decides > 1 {
                assert_eq!(last, Some(outcome), "as the smallest of its kind");
            }
            let incomplete = matches!(byte, 0x01 | 0x7f);
            assert_eq!(outcome == Outcome::Incomplete, incomplete, "{byte:#04x}");
            last = Some(outcome);
        }
    }

    /// Whether the longest strings below one say the same: with zeros, and with ones.
    fn endings(&mut self, outcome: Outcome, longest: usize) {
        let len = self.bytes.len();
        if len == longest {
            return;
        }
        for ending in [0x00, 0xff] {
            self.bytes.resize(longest, ending);
            assert_eq!(self.decode().0, outcome, "with an ending of {ending:#04x}");
            let _ = agreement(self.version, &self.bytes);
            self.bytes.truncate(len);
        }
    }

    /// Every string, and whether it says what the beginning that decided says.
    fn unpruned(&mut self, longest: usize, decided: Option<Outcome>) {
        let outcome = match decided {
            Some(decided) => {
                let (outcome, packet) = self.decode();
                self.count(outcome, packet.as_ref());
                assert_eq!(outcome, decided);
                let _ = agreement(self.version, &self.bytes);
                outcome
            }
            None => self.visit(),
        };
        self.counts.decided += 1;
        if self.bytes.len() == longest {
            return;
        }
        let decided = (outcome != Outcome::Incomplete).then_some(outcome);
        for byte in 0..=255 {
            self.bytes.push(byte);
            self.unpruned(longest, decided);
            self.bytes.pop();
        }
    }

    /// Every packet with this first byte.
    fn frames(&mut self, longest: usize, letters: usize) {
        let first = self.bytes[0];
        if FixedHeader::decode(&[first], self.version).is_err() {
            return;
        }
        let (beginning, alphabet) = alphabet(first >> 4, self.version);
        let alphabet = &alphabet[..letters.min(alphabet.len())];
        for len in 0..=longest - 2 {
            self.bytes.truncate(1);
            self.bytes.push((beginning.len() + len) as u8);
            self.bytes.extend_from_slice(beginning);
            self.body(len, alphabet);
        }
    }

    fn body(&mut self, left: usize, alphabet: &[u8]) {
        if left == 0 {
            let outcome = self.visit();
            assert_ne!(outcome, Outcome::Incomplete, "all of it is there");
            self.counts.decided += 1;
            return;
        }
        for &letter in alphabet {
            self.bytes.push(letter);
            self.body(left - 1, alphabet);
            self.bytes.pop();
        }
    }

    /// Decodes the string at hand and checks all that must hold.
    fn visit(&mut self) -> Outcome {
        let (outcome, packet) = self.decode();
        self.count(outcome, packet.as_ref());
        if let Some(packet) = &packet {
            let version = match packet {
                Packet::Connect(connect) => connect.version,
                _ => self.version,
            };
            let encoded = survives(version, packet);
            assert!(encoded || tolerated(version, packet), "{packet:?}");
            self.counts.encoded += u64::from(encoded);
        }
        if agreement(self.version, &self.bytes) == Agreement::Tolerated {
            self.counts.tolerated += 1;
        }
        outcome
    }

    fn count(&mut self, outcome: Outcome, packet: Option<&Packet>) {
        self.counts.visited += 1;
        self.counts.packets += u64::from(packet.is_some());
        self.counts.rejected += u64::from(matches!(outcome, Outcome::Rejected(_)));
        self.counts.incomplete += u64::from(outcome == Outcome::Incomplete);
    }

    fn decode(&self) -> (Outcome, Option<Packet>) {
        let mut input = BytesMut::from(&self.bytes[..]);
        match Packet::decode(&mut input, self.version, MAX_PACKET_SIZE) {
            Ok(Some(packet)) => {
                let size = self.bytes.len().checked_sub(input.len());
                let size = size.expect("no more than there is");
                assert_eq!(self.bytes[size..], input[..], "what follows is not touched");
                (Outcome::Packet(size), Some(packet))
            }
            Ok(None) => {
                assert_eq!(self.bytes[..], input[..], "nothing is taken of a part");
                (Outcome::Incomplete, None)
            }
            Err(error) => {
                assert!(error.at() <= self.bytes.len());
                (Outcome::Rejected(error), None)
            }
        }
    }
}

/// How the body of a packet type begins, and the bytes of which the others are: those that matter most come first.
/// Lengths and identifiers, flags and QoS, reason codes, properties, wildcards, and a letter.
fn alphabet(kind: u8, version: Version) -> (&'static [u8], [u8; 8]) {
    // A CONNECT of 12 bytes is none: its fixed beginning is not counted.
    let beginning: &[u8] = match (kind, version) {
        (1, Version::V3_1) => b"\0\x06MQIsdp\x03",
        (1, Version::V3_1_1) => b"\0\x04MQTT\x04",
        (1, Version::V5) => b"\0\x04MQTT\x05",
        _ => b"",
    };
    let letters = match kind {
        // Clean start, a will, a user name; Request Problem Information.
        1 => [0x00, 0x01, 0x02, b'a', 0x17, 0x04, 0x80, 0xc2],
        // Receive Maximum, Maximum QoS, quota exceeded.
        2 => [0x00, 0x01, 0x03, 0x21, 0x24, 0x02, 0x97, 0x25],
        // Topic Alias, Content Type, Payload Format Indicator as a length and a flag.
        3 => [0x00, 0x01, b'a', 0x03, 0x23, 0x0b, b'#', 0x26],
        // Reason String and User Property; no matching subscribers, identifier not found.
        4 | 5 => [0x00, 0x01, 0x10, 0x04, 0x1f, 0x26, b'a', 0x80],
        6 | 7 => [0x00, 0x01, 0x92, 0x04, 0x1f, 0x26, b'a', 0x05],
        // Subscription Identifier; wildcards, options.
        8 => [0x00, 0x01, b'#', 0x02, 0x0b, b'+', b'/', 0x2c],
        9 => [0x00, 0x01, 0x80, 0x04, 0x1f, 0x02, 0x26, b'a'],
        10 => [0x00, 0x01, b'#', b'/', b'+', 0x02, 0x05, 0x26],
        11 => [0x00, 0x01, 0x11, 0x04, 0x1f, 0x80, 0x26, b'a'],
        // Session Expiry Interval, Reason String, Server Reference.
        14 => [0x00, 0x04, 0x05, 0x11, 0x1f, 0x1c, 0x9d, 0x01],
        // Authentication Method and Data.
        15 => [0x00, 0x01, 0x18, 0x15, 0x04, 0x16, b'a', 0x08],
        _ => [0x00, 0x01, 0x02, b'a', 0x1f, 0x26, 0x80, 0xff],
    };
    (beginning, letters)
}

//! Properties of the codec as harnesses of bolero: property tests here, targets of its fuzzers, and proofs of the model
//! checker Kani (`cargo kani --tests -p martlet-tests`, which has not been run).
//!
//! The assertions are in [`fuzz`], whose functions the fuzz targets and the test of the seeds call too. As a proof, a
//! harness is about every input of up to [`WIRE`] bytes, in each version and with each limit of [`fuzz`]: a generator can
//! produce every value, and prefers those that make a random input a packet.

use bolero::{ValueGenerator, generator::one_of, produce};
use martlet_tests::fuzz;

/// The longest input, in bytes.
const WIRE: usize = 12;
/// How many random inputs are tried, unless `BOLERO_RANDOM_ITERATIONS` sets another number.
const ITERATIONS: usize = 200_000;

/// The byte that chooses version and limit, and what is on the wire.
#[derive(Debug)]
struct Input {
    bytes: [u8; 1 + WIRE],
    len: usize,
}

impl Input {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Any bytes. Half of the inputs begin with a fixed header: `packet` has its packet type, and how many bytes follow the
/// packet.
fn input() -> impl ValueGenerator<Output = Input> {
    let byte = || one_of((0..8u8, produce::<u8>()));
    let wire = [(); WIRE].map(|()| byte());
    let packet = produce::<Option<(u8, u8)>>();
    (produce::<u8>(), wire, 0..=1 + WIRE, packet).map_gen(arranged)
}

fn arranged((choice, wire, len, packet): (u8, [u8; WIRE], usize, Option<(u8, u8)>)) -> Input {
    let mut bytes = [choice; 1 + WIRE];
    bytes[1..].copy_from_slice(&wire);
    if let (Some((packet_type, behind)), 3..) = (packet, len) {
        let flags = match packet_type & 0xf {
            3 => wire[0] & 0xf,
            6 | 8 | 10 => 2 | wire[0] & 8,
            _ => 0,
        };
        bytes[1] = packet_type << 4 | flags;
        bytes[2] = (len as u8 - 3).saturating_sub(behind & 3);
    }
    Input { bytes, len }
}

/// Random bytes are seldom a CONNECT, or a packet with properties. Here are seeds of the fuzz targets, which are packets
/// of every kind in each version, with a few changes.
#[cfg(not(kani))]
mod near_packets {
    use super::*;
    use std::fs;
    use std::path::Path;
    use std::sync::LazyLock;

    static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/round_trip");
        let mut files: Vec<_> = fs::read_dir(folder)
            .expect("the seeds")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        files
            .iter()
            .map(|file| fs::read(file).expect("a seed"))
            .filter(|seed| seed.len() > 2)
            .collect()
    });

    /// Bytes that mean something in one field or another.
    const SPECIAL: &[u8] = b"\x00\x01\x02\x03+#/$\x7f\x80\xff";

    /// Which seed, what is done to it, and how often.
    type Choice = (u16, [(u8, u8, u8, u8); 3], u8);

    fn changed((seed, changes, count): Choice) -> Vec<u8> {
        let mut bytes = SEEDS[usize::from(seed) % SEEDS.len()].clone();
        for (kind, at, other, value) in changes.into_iter().take(usize::from(count % 4)) {
            let place = |place: u8| 1 + usize::from(place) % (bytes.len() - 1);
            let (at, other) = (place(at), place(other));
            match kind % 8 {
                0 => bytes[at] = value,
                1 => bytes[at] = SPECIAL[usize::from(value) % SPECIAL.len()],
                2 => bytes[at] ^= 1 << (value % 8),
                // A property twice, or one less, with the lengths that go with it.
                3..6 => {
                    let end = (at + usize::from(value % 12)).min(bytes.len());
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part.iter().copied());
                    lengthen(&mut bytes, other, part.len() as u8);
                }
                _ => {
                    let end = (at + usize::from(value % 12)).min(bytes.len() - 1);
                    let removed = bytes.splice(at.min(end)..end, []).count() as u8;
                    lengthen(&mut bytes, other, removed.wrapping_neg());
                }
            }
            if bytes.len() < 3 {
                break;
            }
        }
        bytes
    }

    /// The remaining length of the first packet, and perhaps another length in it.
    fn lengthen(bytes: &mut [u8], other: usize, by: u8) {
        let places = if other > 2 { &[2, other][..] } else { &[2] };
        for &place in places {
            if let Some(length) = bytes.get_mut(place) {
                *length = length.wrapping_add(by);
            }
        }
    }

    fn check(body: fn(&[u8])) {
        bolero::check!()
            .with_iterations(ITERATIONS)
            .with_generator(produce::<Choice>().map_gen(changed))
            .for_each(|bytes| body(bytes));
    }

    #[test]
    fn the_decoder_never_panics_and_consumes_no_more_than_a_packet() {
        check(fuzz::decode);
    }

    #[test]
    fn what_was_decoded_is_encoded_and_decodes_to_the_same() {
        check(fuzz::round_trip);
    }

    #[test]
    fn wherever_the_bytes_are_cut_the_same_packets_come() {
        check(fuzz::chunking);
    }

    #[test]
    fn the_linters_decoder_agrees() {
        check(fuzz::second_opinion);
    }
}

#[test]
#[cfg_attr(kani, kani::proof, kani::unwind(16))]
fn the_decoder_never_panics_and_consumes_no_more_than_a_packet() {
    bolero::check!()
        .with_iterations(ITERATIONS)
        .with_generator(input())
        .for_each(|input| fuzz::decode(input.bytes()));
}

#[test]
#[cfg_attr(kani, kani::proof, kani::unwind(16))]
fn what_was_decoded_is_encoded_and_decodes_to_the_same() {
    bolero::check!()
        .with_iterations(ITERATIONS)
        .with_generator(input())
        .for_each(|input| fuzz::round_trip(input.bytes()));
}

#[test]
#[cfg_attr(kani, kani::proof, kani::unwind(16))]
fn wherever_the_bytes_are_cut_the_same_packets_come() {
    bolero::check!()
        .with_iterations(ITERATIONS)
        .with_generator(input())
        .for_each(|input| fuzz::chunking(input.bytes()));
}

#[test]
#[cfg_attr(kani, kani::proof, kani::unwind(16))]
fn the_linters_decoder_agrees() {
    bolero::check!()
        .with_iterations(ITERATIONS)
        .with_generator(input())
        .for_each(|input| fuzz::second_opinion(input.bytes()));
}

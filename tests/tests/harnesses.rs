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

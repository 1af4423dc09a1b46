//! Measures Martlet beside its peers; see the README of this folder.
#![forbid(unsafe_code)]

fn main() {
    martlet_bench::main(None);
}

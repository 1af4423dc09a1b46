//! The seeds of the fuzz targets through their bodies, without a fuzzer.

use martlet_tests::{fuzz, fuzz_transport};
use std::fs;
use std::path::{Path, PathBuf};

type Body = fn(&[u8]);

const TARGETS: &[(&str, Body)] = &[
    ("chunking", fuzz::chunking),
    ("config", fuzz::config),
    ("decode", fuzz::decode),
    ("restore", fuzz::restore),
    ("round_trip", fuzz::round_trip),
    ("second_opinion", fuzz::second_opinion),
    ("session_bytes", fuzz::session_bytes),
    ("session_operations", fuzz::session_operations),
    ("topic", fuzz::topic),
    ("transport", fuzz_transport::transport),
    ("url", fuzz::url),
];

/// Its body is in the fuzz workspace, with the other codec that it needs.
const ELSEWHERE: &str = "differential";

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz")
        .join(name)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a readable name")
        })
        .collect();
    names.sort();
    names
}

#[test]
fn every_seed_passes_every_body() {
    for (target, _) in TARGETS {
        for seed in names(&folder("seeds").join(target)) {
            let data = fs::read(folder("seeds").join(target).join(&seed)).unwrap();
            // What is interesting to one target is often so to another.
            for (name, body) in TARGETS {
                let result = std::panic::catch_unwind(|| body(&data));
                assert!(result.is_ok(), "{target}/{seed} fails {name}");
            }
        }
    }
}

#[test]
fn every_target_has_seeds_and_stands_here() {
    let here: Vec<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut here: Vec<String> = here.into_iter().chain([ELSEWHERE.to_owned()]).collect();
    here.sort();
    assert_eq!(names(&folder("seeds")), here);
    let targets: Vec<String> = here.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&folder("fuzz_targets")), targets);
    for target in &here {
        assert!(!names(&folder("seeds").join(target)).is_empty(), "{target}");
    }
}

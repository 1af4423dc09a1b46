//! The README's example is the one of the crate's documentation, which is compiled.

use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines between the first fence that begins so and its end, without those that documentation hides.
fn example<'a>(lines: impl Iterator<Item = &'a str>, fence: &str) -> Vec<&'a str> {
    let block =
        lines.skip_while(|line| !line.starts_with(fence)).skip(1).take_while(|line| !line.starts_with("```"));
    block.filter(|line| !line.starts_with("# ")).collect()
}

#[test]
fn the_example_is_the_one_of_the_documentation() {
    let (readme, source) = (read("../README.md"), read("src/lib.rs"));
    let documentation =
        source.lines().map_while(|line| line.strip_prefix("//!")).map(|line| line.trim_start_matches(' '));
    let ours = example(readme.lines().map(str::trim_start), "```rust");
    assert!(!ours.is_empty());
    assert_eq!(ours, example(documentation, "```no_run"));
}

//! Prints which module imports from which, and whether the bounds are kept, which a test holds:
//! `cargo run -p martlet-tests --example modules`.
//!
//! A *cycle* is a set of modules each of which imports, directly or not, from each other one
//! (a strongly connected component). A *room* is a first-level folder of a crate's sources; the
//! files beside the folders are one room, `.`.

#![allow(clippy::print_stdout, reason = "printing is its purpose")]

mod graph;
mod source;

use graph::{Graph, cycles};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The upper bounds of a crate. They only go down; the goal is 3 and 0.
struct Bounds {
    folder: &'static str,
    /// The most modules in one cycle; 1 is no cycle.
    cycle: usize,
    /// The most cycles with modules in more than one room.
    across_rooms: usize,
}

const fn bounds(folder: &'static str, cycle: usize, across_rooms: usize) -> Bounds {
    Bounds {
        folder,
        cycle,
        across_rooms,
    }
}

const CRATES: &[Bounds] = &[
    bounds("mqtt-proto", 1, 0),
    bounds("mqtt-session", 3, 0),
    bounds("mqtt-transport", 1, 0),
    bounds("mqtt-client", 2, 0),
    bounds("mqtt-config", 1, 0),
    bounds("mqtt-broker", 1, 0),
    bounds("mqtt-cli", 1, 0),
    bounds("adapter-tokio", 1, 0),
    bounds("adapter-smol", 1, 0),
    bounds("adapter-async-std", 1, 0),
    bounds("mqtt-blocking", 1, 0),
    bounds("tests", 3, 0),
];

/// The most lines of a file.
const FILE_LINES: usize = 700;

/// The most lines of a function.
const FUNCTION_LINES: usize = 80;

/// The folders with sources that are no crate of [`CRATES`].
const OTHER_FOLDERS: &[&str] = &["bench", "docs", "examples", "fuzz"];

fn main() -> Result<(), String> {
    let broken = inspect(true)?;
    if broken.is_empty() {
        println!("\nall bounds are kept");
        return Ok(());
    }
    Err(broken.join("\n"))
}

/// Prints what there is, with every arrow if `arrows`, and returns the bounds that are broken.
fn inspect(arrows: bool) -> Result<Vec<String>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("the tests have no workspace")?;
    let mut broken = Vec::new();
    for bounds in CRATES {
        let graph = Graph::read(&root.join(bounds.folder).join("src"))?;
        print_crate(bounds, &graph, arrows);
        judge(bounds, &graph, &mut broken);
    }
    measure_files(root, &mut broken)?;
    Ok(broken)
}

fn name(module: &[String]) -> String {
    if module.is_empty() {
        "lib".to_owned()
    } else {
        module.join("/")
    }
}

fn names(modules: &[Vec<String>]) -> String {
    let names: Vec<String> = modules.iter().map(|module| name(module)).collect();
    names.join(" ")
}

fn print_crate(bounds: &Bounds, graph: &Graph, arrows: bool) {
    println!(
        "\n{}: {} modules, {} arrows",
        bounds.folder,
        graph.modules.len(),
        graph.arrows.len()
    );
    for module in graph.modules.keys().filter(|_| arrows) {
        let targets: Vec<String> = graph
            .arrows
            .iter()
            .filter(|(from, _)| from == module)
            .map(|(_, to)| name(to))
            .collect();
        println!("  {} -> {}", name(module), targets.join(" "));
    }
    let rooms = graph.room_arrows();
    for (from, to) in &rooms {
        let back = rooms.contains(&(to.clone(), from.clone()));
        println!(
            "  room {from} -> {to}{}",
            if back { " (both ways)" } else { "" }
        );
    }
    let nodes: BTreeSet<String> = rooms.iter().map(|(from, _)| from.clone()).collect();
    let nodes: Vec<String> = nodes.into_iter().collect();
    for cycle in cycles(&nodes, &rooms) {
        println!("  rooms in a cycle: {}", cycle.join(" "));
    }
    for cycle in graph.cycles() {
        let across = if graph.crosses_rooms(&cycle) {
            ", across rooms"
        } else {
            ""
        };
        println!("  cycle of {}{across}: {}", cycle.len(), names(&cycle));
    }
}

fn judge(bounds: &Bounds, graph: &Graph, broken: &mut Vec<String>) {
    let cycles = graph.cycles();
    let largest = cycles.iter().map(Vec::len).max().unwrap_or(1);
    if largest > bounds.cycle {
        broken.push(format!(
            "{}: a cycle of {largest} modules, where {} are allowed",
            bounds.folder, bounds.cycle
        ));
    } else if largest < bounds.cycle {
        println!("  the bound on cycles can go down to {largest}");
    }
    let across = cycles
        .iter()
        .filter(|cycle| graph.crosses_rooms(cycle))
        .count();
    if across > bounds.across_rooms {
        broken.push(format!(
            "{}: {across} cycles across rooms, where {} are allowed",
            bounds.folder, bounds.across_rooms
        ));
    } else if across < bounds.across_rooms {
        println!("  the bound on cycles across rooms can go down to {across}");
    }
}

fn measure_files(root: &Path, broken: &mut Vec<String>) -> Result<(), String> {
    let mut files = Vec::new();
    let crates = CRATES.iter().map(|bounds| bounds.folder);
    for folder in crates.chain(OTHER_FOLDERS.iter().copied()) {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut lengths = Vec::new();
    for file in &files {
        let text =
            fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let name = file
            .strip_prefix(root)
            .unwrap_or(file)
            .display()
            .to_string();
        for function in source::functions(&source::tokens(&text)) {
            if function.lines > FUNCTION_LINES {
                broken.push(format!(
                    "{name}:{}: {} has {} lines, where {FUNCTION_LINES} are allowed",
                    function.line, function.name, function.lines
                ));
            }
        }
        let lines = text.lines().count();
        lengths.push(lines);
        if lines > FILE_LINES {
            broken.push(format!(
                "{name}: {lines} lines, where {FILE_LINES} are allowed"
            ));
        }
    }
    lengths.sort_unstable();
    println!(
        "\n{} files, median {} lines, largest {}",
        lengths.len(),
        lengths.get(lengths.len() / 2).unwrap_or(&0),
        lengths.last().unwrap_or(&0)
    );
    Ok(())
}

/// Every `.rs` file below `dir`, behind no link.
fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", dir.display());
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&entry.path(), files)?;
        } else if kind.is_file() && name.ends_with(".rs") {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[test]
fn the_bounds_are_kept() {
    let broken = inspect(false).unwrap();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

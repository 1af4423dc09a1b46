//! The machine that is measured on, and the versions of what is measured.

use serde::{Deserialize, Serialize};
use std::process::Command;

/// The folder of this benchmark.
const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

/// The machine's load average of the last minute.
pub fn load() -> f64 {
    read("/proc/loadavg")
        .split_whitespace()
        .next()
        .and_then(|load| load.parse().ok())
        .unwrap_or(f64::NAN)
}

/// What was measured, and on what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub processor: String,
    pub kernel: String,
    pub compiler: String,
    /// The commit of this project that was measured.
    pub commit: String,
}

impl Machine {
    /// This machine, and the commit that is checked out.
    pub fn here() -> Self {
        let cpu = read("/proc/cpuinfo");
        let model = cpu
            .lines()
            .find(|line| line.starts_with("model name"))
            .and_then(|line| line.split_once(": "))
            .map_or("unknown", |(_, model)| model);
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        Self {
            processor: format!("{model}, {cores} cores"),
            kernel: output("uname", &["-sr"]),
            compiler: output("rustc", &["--version"]),
            commit: commit(),
        }
    }
}

/// The commit that is checked out, and whether anything but the reports differs from it.
fn commit() -> String {
    let git = |arguments: &[&str]| output("git", &[&["-C", FOLDER], arguments].concat());
    let head = git(&["rev-parse", "--short", "HEAD"]);
    let others = [":/", ":!/bench/RESULTS.md", ":!/bench/chart.svg"];
    match &*git(&[&["status", "--porcelain", "--"], others.as_slice()].concat()) {
        "" => head,
        _ => format!("{head}, changed"),
    }
}

/// The date and time (UTC).
pub fn now() -> String {
    output("date", &["-u", "+%F %T"])
}

/// The version of a package in this workspace's lock file.
pub fn version(package: &str) -> &'static str {
    let header = format!("name = \"{package}\"\nversion = \"");
    let lock = include_str!("../Cargo.lock");
    lock.split_once(&header)
        .and_then(|(_, rest)| rest.split('"').next())
        .unwrap_or("unknown")
}

pub fn has_strace() -> bool {
    Command::new("strace").arg("-V").output().is_ok()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

//! The machine that is measured on, and the versions of what is measured.

use std::process::Command;

/// The machine's load average of the last minute.
pub fn load() -> f64 {
    read("/proc/loadavg")
        .split_whitespace()
        .next()
        .and_then(|load| load.parse().ok())
        .unwrap_or(f64::NAN)
}

/// Lines of Markdown.
pub fn describe() -> Vec<String> {
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        format!("* processor: {model}, {cores} cores"),
        format!("* kernel: {}", output("uname", &["-sr"])),
        format!("* compiler: {}", output("rustc", &["--version"])),
    ]
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

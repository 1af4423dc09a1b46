//! `martlet man`, `martlet completions` and `martlet broker`.

use crate::run::{Running, martlet, run, status};
use martlet_tests::certificates::Directory;
use std::io::{BufRead, BufReader};

#[test]
fn every_command_has_a_manual_page() {
    let folder = Directory::new();
    run(martlet(["man", "--to-dir"]).arg(folder.path())).expect(status::DONE);
    for (name, part) in [
        ("martlet", "completions"),
        ("martlet-pub", "stdin\\-line"),
        ("martlet-sub", "filter\\-out"),
        ("martlet-rr", "response\\-topic"),
        ("martlet-probe", "denied\\-topic"),
        ("martlet-watch", "max\\-topics"),
        ("martlet-bench", "pubsub"),
        ("martlet-bench-conn", "concurrency"),
        ("martlet-broker", "not for production"),
        ("martlet-completions", "zsh"),
        ("martlet-man", "to\\-dir"),
    ] {
        let page = std::fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
        assert!(page.contains(part), "{name}");
        assert!(page.contains(&format!(".TH {name} 1")), "{name}: {page}");
    }
    let ended = run(&mut martlet(["man", "sub"])).expect(status::DONE);
    assert!(ended.text().contains("143"), "the exit statuses are there");
    let ended = run(&mut martlet(["man", "bench-pub"])).expect(status::DONE);
    assert!(ended.text().contains(".TH martlet-bench-pub 1"));
    run(&mut martlet(["man", "--to-dir", "/nonexistent"]))
        .expect(status::FAILED)
        .says("--to-dir");
}

#[test]
fn shells_complete_the_options() {
    for (shell, part) in [
        ("bash", "--filter-out"),
        ("zsh", "--filter-out"),
        ("fish", "-l filter-out"),
    ] {
        let ended = run(&mut martlet(["completions", shell])).expect(status::DONE);
        assert!(ended.text().contains(part), "{shell}");
    }
}

#[test]
fn the_broker_serves_until_it_is_stopped() {
    let folder = Directory::new();
    let password = folder.write("password", "secret\n");
    let mut command = martlet(["broker", "-p", "0", "-u", "me", "--password-file"]);
    let mut broker = Running::start(command.arg(&password));
    let mut out = BufReader::new(broker.child().stdout.take().unwrap());
    let mut uri = String::new();
    out.read_line(&mut uri).unwrap();
    let uri = uri.trim_end();
    let publish = |user: &str| {
        run(martlet([
            "pub",
            "-t",
            "a",
            "-m",
            "x",
            "-L",
            uri,
            "-u",
            user,
            "--password-file",
        ])
        .arg(&password))
    };
    publish("me").expect(status::DONE);
    publish("you").expect(status::REJECTED);
    let port = uri.rsplit(':').next().unwrap();
    let ended = run(&mut martlet(["broker", "-p", port])).expect(status::FAILED);
    ended.says("--port");
    broker.signal("-INT");
    let ended = broker.end().expect(status::DONE);
    assert!(ended.errors.contains("not for production"));
}

/// The broker kept the limit that it was started with, often 1,024, and could not have more clients.
#[cfg(target_os = "linux")]
#[test]
fn the_broker_may_open_as_many_files_as_it_is_allowed() {
    let mut shell = std::process::Command::new("sh");
    let script = "ulimit -Sn 100 && exec \"$0\" broker -p 0";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_martlet")]);
    shell.stdout(std::process::Stdio::piped());
    shell.stderr(std::process::Stdio::null());
    let mut broker = Running::start(&mut shell);
    let mut out = BufReader::new(broker.child().stdout.take().unwrap());
    let mut uri = String::new();
    out.read_line(&mut uri).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", broker.child().id())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let numbers: Vec<_> = line
        .unwrap()
        .split_ascii_whitespace()
        .skip(3)
        .take(2)
        .collect();
    assert_eq!(numbers[0], numbers[1], "{limits}");
}

//! Runs the binary.

use martlet_broker::TestBroker;
use std::ffi::OsStr;
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a command may take: far more than it does, so that it only ends what hangs.
const TIME: Duration = Duration::from_secs(60);

/// The exit statuses that are documented.
pub(crate) mod status {
    pub(crate) const DONE: i32 = 0;
    pub(crate) const FAILED: i32 = 1;
    pub(crate) const USAGE: i32 = 2;
    pub(crate) const CONNECTION: i32 = 3;
    pub(crate) const REJECTED: i32 = 4;
    pub(crate) const TLS: i32 = 5;
    pub(crate) const PUBLISH: i32 = 6;
    pub(crate) const SUBSCRIBE: i32 = 7;
    pub(crate) const PARTIAL: i32 = 8;
    pub(crate) const LOST: i32 = 9;
    pub(crate) const MISSING: i32 = 10;
    pub(crate) const TIMED_OUT: i32 = 27;
    pub(crate) const INTERRUPTED: i32 = 130;
    pub(crate) const BROKEN_PIPE: i32 = 141;
    pub(crate) const TERMINATED: i32 = 143;
}

/// What a command has printed, and its exit status.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) errors: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            status: output.status.code().expect("it ends by itself"),
            out: output.stdout,
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    /// Checks the status; the errors are shown where it is another.
    #[track_caller]
    pub(crate) fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Checks that there is one line of errors, and that it holds this.
    #[track_caller]
    pub(crate) fn says(self, part: &str) -> Self {
        let lines: Vec<_> = self.errors.lines().collect();
        assert!(
            matches!(lines[..], [line] if line.contains(part)),
            "{part}: {self:?}"
        );
        self
    }
}

/// The command with these arguments, away from the settings of the user who runs the tests.
pub(crate) fn martlet(arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_martlet"));
    command
        .args(arguments)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("HOME")
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A command of this broker: its arguments are separated by spaces.
pub(crate) fn at(broker: &TestBroker, arguments: &str) -> Command {
    at_port(broker.local_addr().port(), arguments)
}

/// A command of the server at this port: its arguments are separated by spaces.
pub(crate) fn at_port(port: u16, arguments: &str) -> Command {
    let mut words = arguments.split(' ');
    let name = words.next().unwrap();
    let mut command = martlet([name, "-h", "127.0.0.1", "-p", &port.to_string()]);
    command.args(words.filter(|word| !word.is_empty()));
    command
}

/// A command that runs. It is killed when this is dropped.
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(Some(command.spawn().unwrap()))
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    /// Sends a signal, by the program that every Unix has.
    pub(crate) fn signal(&mut self, name: &str) {
        let process = self.child().id().to_string();
        let status = Command::new("kill")
            .args([name, &process])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let child = self.0.take().unwrap();
        let process = child.id().to_string();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        match receiver.recv_timeout(TIME) {
            Ok(output) => Ended::of(output.unwrap()),
            Err(_) => {
                let _ = Command::new("kill").args(["-KILL", &process]).status();
                panic!("the command does not end");
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    Running::start(command).end()
}

/// Runs a command that reads this.
pub(crate) fn run_with(command: &mut Command, input: &[u8]) -> Ended {
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let mut stdin = running.child().stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let ended = running.end();
    // It may have ended before it has read everything.
    let _ = writer.join().unwrap();
    ended
}

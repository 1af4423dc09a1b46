//! A real mosquitto on a free loopback port, and its two command-line clients.

use martlet_tests::linter::Relay;
use martlet_tokio::{QoS, Version};
use std::future::Future;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long anything here may take: far more than it does, so that it only ends what hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a broker that is not up yet is left alone between two attempts to connect.
const READY_POLL: Duration = Duration::from_millis(10);

/// Another process may take the free port before the broker does.
const START_ATTEMPTS: usize = 5;

/// Ends what hangs.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// A running mosquitto with a directory of its own, where its persistence is kept. Dropping it
/// kills it and removes the directory.
///
/// Our clients reach it through a linter; dropping it fails the test if that has found anything.
#[derive(Debug)]
pub(crate) struct Mosquitto {
    relay: Relay,
    port: u16,
    directory: PathBuf,
    settings: String,
    process: Child,
    log: Log,
}

impl Mosquitto {
    /// Starts one that lets everybody in.
    pub(crate) async fn start() -> Self {
        Self::start_in(new_directory(), "allow_anonymous true\n".to_owned()).await
    }

    /// Starts one that lets in this user only.
    pub(crate) async fn start_with_user(name: &str, password: &str) -> Self {
        let directory = new_directory();
        let file = directory.join("passwords");
        let mut command = Command::new(find("mosquitto_passwd"));
        let output = run(command
            .arg("-c")
            .arg("-b")
            .arg(&file)
            .args([name, password]))
        .await;
        assert!(output.status.success(), "mosquitto_passwd: {output:?}");
        let settings = format!("allow_anonymous false\npassword_file {}\n", file.display());
        Self::start_in(directory, settings).await
    }

    async fn start_in(directory: PathBuf, settings: String) -> Self {
        for _ in 0..START_ATTEMPTS {
            let port = free_port();
            if let Some((process, log)) = launch(&directory, &settings, port).await {
                let relay = Relay::start((Ipv4Addr::LOCALHOST, port).into()).expect("a free port");
                return Self {
                    relay,
                    port,
                    directory,
                    settings,
                    process,
                    log,
                };
            }
        }
        panic!("mosquitto does not start on any of {START_ATTEMPTS} free ports");
    }

    pub(crate) fn uri(&self) -> String {
        format!("mqtt://{}", self.relay.address())
    }

    /// The same with a user.
    pub(crate) fn uri_of(&self, name: &str, password: &str) -> String {
        format!("mqtt://{name}:{password}@{}", self.relay.address())
    }

    /// Asks it to end, as a system that shuts down does, and waits until it has saved its state and
    /// is gone.
    pub(crate) async fn stop(&mut self) {
        self.signal("TERM").await;
        let status = in_time("the broker's end", self.process.wait())
            .await
            .expect("a child");
        assert!(
            status.success(),
            "mosquitto ended with {status}: {:?}",
            self.log.lines()
        );
    }

    /// Starts it again on the same port with what it has saved.
    pub(crate) async fn start_again(&mut self) {
        let again = launch(&self.directory, &self.settings, self.port).await;
        (self.process, self.log) = again.expect("the port is still free");
    }

    /// Makes it stand still: its sockets stay open and nobody answers.
    pub(crate) async fn freeze(&self) {
        self.signal("STOP").await;
    }

    /// Ends [`freeze`](Self::freeze).
    pub(crate) async fn thaw(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let process = self.process.id().expect("it runs").to_string();
        let output = run(Command::new("kill").args(["-s", signal, &process])).await;
        assert!(output.status.success(), "kill: {output:?}");
    }

    /// `mosquitto_pub`, which ends when its messages are acknowledged.
    pub(crate) async fn publish(&self, version: Version, topic: &str, qos: QoS, more: &[&str]) {
        let mut command = self.client("mosquitto_pub", version);
        command
            .args(["-t", topic, "-q", &(qos as u8).to_string()])
            .args(more);
        let output = run(&mut command).await;
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "mosquitto_pub: {output:?}"
        );
    }

    /// `mosquitto_sub`, once it has subscribed.
    pub(crate) async fn subscribe(
        &self,
        version: Version,
        filter: &str,
        qos: QoS,
        more: &[&str],
    ) -> Subscriber {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let client_identifier = &format!("theirs-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut command = self.client("mosquitto_sub", version);
        command
            .args([
                "-i",
                client_identifier,
                "-t",
                filter,
                "-q",
                &(qos as u8).to_string(),
            ])
            .args(more);
        let process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto_sub");
        let is_it = |line: &str| line.contains(&format!(" {client_identifier} "));
        in_time("a subscription", self.log.wait_for(is_it)).await;
        Subscriber { process }
    }

    fn client(&self, program: &str, version: Version) -> Command {
        let version = match version {
            Version::V3_1 => "mqttv31",
            Version::V3_1_1 => "mqttv311",
            Version::V5 => "mqttv5",
        };
        let mut command = Command::new(find(program));
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-V",
            version,
        ]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.start_kill();
        let _ = std::fs::remove_dir_all(&self.directory);
        if !std::thread::panicking() {
            assert!(
                self.relay.connections() > 0,
                "nobody came through the linter"
            );
            assert_eq!(self.relay.findings(), [], "what the linter has found");
        }
    }
}

/// A running `mosquitto_sub`; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Subscriber {
    process: Child,
}

impl Subscriber {
    /// Waits until it has got the requested number of messages, and returns what it printed.
    pub(crate) async fn output(self) -> Vec<u8> {
        let output = in_time("mosquitto_sub", self.process.wait_with_output())
            .await
            .expect("a child");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "mosquitto_sub: {output:?}"
        );
        output.stdout
    }

    /// Likewise, as lines.
    pub(crate) async fn lines(self) -> Vec<String> {
        let output = String::from_utf8(self.output().await).expect("text");
        output.lines().map(str::to_owned).collect()
    }

    /// Ends it without a DISCONNECT.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.expect("it runs");
    }
}

/// What the broker has written to its standard error.
#[derive(Debug, Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    more: Arc<Notify>,
}

impl Log {
    fn read(from: ChildStderr) -> Self {
        let log = Self::default();
        let reader = log.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(from).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                reader
                    .lines
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
                reader.more.notify_waiters();
            }
        });
        log
    }

    fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn wait_for(&self, is_it: impl Fn(&str) -> bool) {
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            if self.lines().iter().any(|line| is_it(line)) {
                return;
            }
            more.await;
        }
    }
}

/// Starts a broker and waits until it takes connections; `None` when it ends before it does.
async fn launch(directory: &Path, settings: &str, port: u16) -> Option<(Child, Log)> {
    let configuration = directory.join("mosquitto.conf");
    let text = format!(
        "listener {port} 127.0.0.1\n\
         {settings}\
         user root\n\
         persistence true\n\
         persistence_location {directory}/\n\
         autosave_interval 1\n\
         max_queued_messages 0\n\
         set_tcp_nodelay true\n\
         log_dest stderr\n\
         log_type error\n\
         log_type warning\n\
         log_type subscribe\n",
        directory = directory.display()
    );
    std::fs::write(&configuration, text).expect("a file in a directory of our own");
    let mut command = Command::new(find("mosquitto"));
    command
        .arg("-c")
        .arg(&configuration)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut process = command
        .kill_on_drop(true)
        .spawn()
        .expect("mosquitto starts");
    let log = Log::read(process.stderr.take().expect("piped"));
    loop {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .is_ok()
        {
            break;
        }
        if timeout(READY_POLL, process.wait()).await.is_ok() {
            return None;
        }
    }
    // Somebody else may have answered.
    process
        .try_wait()
        .expect("a child")
        .is_none()
        .then_some((process, log))
}

async fn run(command: &mut Command) -> Output {
    let what = format!("{command:?}");
    in_time(
        &what,
        command.stdin(Stdio::null()).kill_on_drop(true).output(),
    )
    .await
    .expect("the program runs")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}

fn new_directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "martlet-interop-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).expect("a directory for temporary files");
    directory
}

/// Where a program is: some systems keep daemons out of a user's PATH.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = places
        .map(|place| place.join(program))
        .find(|file| file.is_file());
    found
        .unwrap_or_else(|| panic!("there is no {program}: install mosquitto and mosquitto-clients"))
}

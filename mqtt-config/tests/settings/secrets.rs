//! Whatever stands in a file, and wherever: errors quote the names of our own keys and nothing
//! else.

use martlet_client::ConnectError;
use martlet_config::{Settings, SettingsError};
use std::collections::hash_map::RandomState;
use std::error::Error;
use std::hash::BuildHasher;

/// Text that stands nowhere else, different in each run; nothing of it may be shown.
fn random_secret() -> String {
    let number = RandomState::new().hash_one(0);
    let letters: String = (0..16)
        .map(|n| char::from(b'a' + (number >> (4 * n) & 15) as u8))
        .collect();
    format!("Zq{letters}")
}

/// All words of an error, in each way that it is shown.
fn words(error: &impl Error) -> String {
    let mut words = format!("{error} {error:?} {error:#?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        words += &format!(" {error} {error:?}");
        cause = error.source();
    }
    words
}

/// Asserts that reading this shows nothing of the secret, and returns whether it was rejected.
#[track_caller]
fn keeps(yaml: &str, secret: &str) -> bool {
    // Any half of it is too much.
    let halves = [&secret[..secret.len() / 2], &secret[secret.len() / 2..]];
    let check = |words: &str, how: &str| {
        let words = words.to_lowercase();
        let found = halves
            .iter()
            .find(|half| words.contains(&half.to_lowercase()));
        assert!(found.is_none(), "{how} shows the secret: {words}\n{yaml}");
    };
    match Settings::from_yaml(yaml) {
        Err(error) => {
            check(&words(&error), "the error");
            check(&error.path(), "the path");
            true
        }
        Ok(settings) => match settings.builder() {
            Err(ConnectError::Trust(_)) | Ok(_) => false,
            Err(error) => {
                check(&words(&error), "the builder's error");
                true
            }
        },
    }
}

const WHOLE: &str = "\
keep_alive: 10
ping_delay: 1
default_qos: 1
default_retain: false
auto_reconnect: true
connection_timeout: 60
reconnect_retries: 2
reconnect_max_interval: 10
cleansession: true
check_hostname: true
verify_cert: true
topics:
  a/b: {qos: 1, retain: true}
connection:
  uri: mqtt://127.0.0.1:1883
  cafile: ca.pem
  capath: folder
  cadata: text
  certfile: a.pem
  keyfile: b.pem
plugins:
  amqtt.plugins.logging_amqtt.PacketLoggerPlugin:
will: {topic: a, message: gone, qos: 1, retain: false}
martlet:
  version: 5
  client_identifier: it
  user_name: ann
  password: {env: CARGO_PKG_NAME}
  servers: ['mqtt://second']
  proxy: socks5://proxy:1080
  headers: {X-Device: seven, Authorization: {env: CARGO_PKG_NAME}}
  key_password: {env: CARGO_PKG_NAME}
  server_name: broker.example
  alpn: [mqtt]
  max_in_flight: 50
  max_in_flight_3x: 5
  queue: {messages: 100, bytes: 65536, when_full: drop_oldest, qos0_offline: false}
  inbound: {receive_maximum: 10, soft_messages: 20, soft_bytes: 10000, qos0_when_full: drop_newest}
  maximum_packet_size: 1000000
  publish_timeout: 2.5
  request_timeout: 3
  ping_timeout: 4
  session_expiry_interval: 60
  subscriptions:
    sensors/#: {qos: 1}
";

/// The beginnings and ends of the words of `WHOLE`: each is a place where a secret may be put by
/// mistake.
fn places() -> Vec<(usize, usize)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_.-/:#'".contains(c);
    let mut places = Vec::new();
    let mut start = None;
    for (at, c) in WHOLE.char_indices() {
        match start {
            None if is_word(c) => start = Some(at),
            Some(begin) if !is_word(c) => {
                let end = if WHOLE[..at].ends_with(':') {
                    at - 1
                } else {
                    at
                };
                places.push((begin, end));
                start = None;
            }
            _ => {}
        }
    }
    places
}

/// A password in the place of a key, of a number, of a header's name or behind `!!` was in the
/// error, and from there in the log. Here each word of a whole file is replaced by a secret, in
/// many forms.
#[test]
fn a_secret_at_any_place_is_in_no_error() {
    let secret = random_secret();
    assert!(Settings::from_yaml(WHOLE).is_ok_and(|settings| settings.to_yaml().len() > 100));
    let forms: &[fn(&str) -> String] = &[
        |secret| secret.to_owned(),
        |secret| format!("'{secret}'"),
        |secret| format!("\"{secret}\\0\""),
        |secret| format!("'{secret} \n {secret}'"),
        |secret| format!("'Authorization: Bearer {secret}'"),
        |secret| format!("!!int {secret}"),
        |secret| format!("!!binary {secret}*"),
        |secret| format!("!{secret} x"),
        |secret| format!("!!{secret} x"),
        |secret| format!("!{secret}! x"),
        |secret| format!("!<{secret}> x"),
        |secret| format!("&{secret} x"),
        |secret| format!("*{secret}"),
        |secret| format!("&{secret} *{secret}"),
        |secret| format!("[{secret}]"),
        |secret| format!("{{{secret}: {secret}}}"),
        |secret| format!("{{{secret}}}"),
        |secret| format!("{{env: {secret}}}"),
        |secret| format!("{{file: {secret}}}"),
        |secret| format!("{{file: '/no/{secret}'}}"),
        |secret| format!("{{<<: {secret}}}"),
        |secret| format!("? {secret}"),
        |secret| format!("? [{secret}]"),
        |secret| format!("'mqtt://ann:{secret}@h:x'"),
        |secret| format!("'mqtt://ann:{secret}/{secret}@h'"),
        |secret| format!("'mqtt://h/?{secret}#{secret}'"),
        |secret| format!("'{secret}://h'"),
        |secret| format!("{secret}:1883"),
        |secret| format!("'mqtt://h:{secret}'"),
        |secret| format!("'a/+/{secret}/#/{secret}'"),
        |secret| format!("'$share//{secret}'"),
        |secret| format!("|\n {secret}\n"),
        |secret| format!("\"{secret}"),
        |secret| format!("'{secret}"),
        |secret| format!("\"\\{secret}\""),
        |secret| format!("%{secret}"),
        |secret| format!("@{secret}"),
        |secret| format!("`{secret}"),
        |secret| format!("{secret}: {secret}: {secret}"),
        |secret| format!("-----BEGIN {secret}"),
        |secret| "\"".to_owned() + &secret.repeat(100) + "\"",
    ];
    let mut rejected = 0;
    for (begin, end) in places() {
        for form in forms {
            let yaml = [&WHOLE[..begin], &form(&secret), &WHOLE[end..]].concat();
            rejected += usize::from(keeps(&yaml, &secret));
        }
        // The key and its value in one, and a key given twice.
        let line = WHOLE[..begin].rfind('\n').map_or(0, |at| at + 1);
        let indent = WHOLE[line..].len() - WHOLE[line..].trim_start().len();
        let indent = &WHOLE[line..line + indent];
        for more in [
            format!("{indent}{secret}: {secret}\n"),
            format!("{indent}'{secret} {secret}': {{a: b}}\n{indent}'{secret} {secret}': 1\n"),
            format!("{indent}!!str {secret}: 1\n"),
            format!("{indent}{secret}\n"),
            format!("%TAG !{secret}! {secret}\n---\n"),
            format!("--- {secret}\n"),
        ] {
            let yaml = [&WHOLE[..line], &more, &WHOLE[line..]].concat();
            rejected += usize::from(keeps(&yaml, &secret));
        }
    }
    assert!(rejected > 2000, "{rejected}: were they no mistakes?");
}

/// The same numbers: a PIN is a secret too.
#[test]
fn a_number_at_any_place_is_in_no_error() {
    let secret = (RandomState::new().hash_one(0) | 1 << 63).to_string();
    for (begin, end) in places() {
        for form in [
            secret.clone(),
            format!("-{secret}"),
            format!("{secret}.5"),
            format!("0x{secret}"),
        ] {
            keeps(&[&WHOLE[..begin], &form, &WHOLE[end..]].concat(), &secret);
        }
    }
}

/// The places that are there for secrets, in what a program may log.
#[test]
fn debug_of_a_configuration_has_no_secrets() {
    let secret = random_secret();
    let yaml = WHOLE
        .replace("ann", &secret)
        .replace("gone", &secret)
        .replace("{env: CARGO_PKG_NAME}", &secret)
        .replace("socks5://proxy", &format!("socks5://ann:{secret}@proxy"))
        .replace("mqtt://second", &format!("mqtt://ann:{secret}@second"))
        .replace("seven", &secret);
    let settings = Settings::from_yaml(&yaml).unwrap();
    for shown in [
        format!("{settings:?}"),
        format!("{settings:#?}"),
        settings.to_yaml(),
    ] {
        assert!(!shown.contains(&secret), "{shown}");
        assert!(shown.contains("***"));
    }
    let bytes = martlet_config::Secret::Bytes(vec![200, 201]);
    assert_eq!(format!("{bytes:?}"), "***");
}

/// A private key, pasted where the name of its file should stand, was in the error that the file
/// cannot be opened.
#[test]
fn a_key_in_the_place_of_its_file_is_not_quoted() {
    let text = "this is not the name of a file; certificates themselves may stand in cadata";
    let pem = "-----BEGIN PRIVATE KEY-----\\nc2VjcmV0\\n-----END PRIVATE KEY-----";
    for key in ["cafile", "capath", "certfile", "keyfile"] {
        let error: SettingsError =
            Settings::from_yaml(&format!("connection: {{{key}: \"{pem}\"}}")).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with(&format!("connection.{key}: {text}")),
            "{error}"
        );
    }
}

/// What `error.rs` quotes is listed there; a key that is missing from the list would be shown as
/// `*`.
#[test]
fn every_key_of_the_sample_has_its_name_in_errors() {
    let sample = include_str!("../../../docs/martlet.yaml");
    let mut path = Vec::<(usize, String)>::new();
    let mut checked = 0;
    for line in sample.lines() {
        let line = line.replacen(
            "# ",
            "",
            usize::from(line.trim_start().starts_with("# ") && line.starts_with(' ')),
        );
        let Some((key, value)) = line.trim().split_once(':') else {
            continue;
        };
        if key.starts_with('#') || key.starts_with('-') || key.contains(['/', ' ', '.', '{', '"']) {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        path.retain(|(outer, _)| *outer < indent);
        path.push((indent, key.to_owned()));
        if matches!(key, "topics" | "plugins" | "subscriptions") || value.trim().is_empty() {
            continue;
        }
        // A list of lists is nowhere right.
        let names: Vec<&str> = path.iter().map(|(_, name)| name.as_str()).collect();
        let yaml = names.iter().rev().fold("[[]]".to_owned(), |inner, name| {
            format!("{{{name}: {inner}}}")
        });
        let error = Settings::from_yaml(&yaml).unwrap_err();
        let shown = error.path();
        assert!(
            shown.starts_with(&names.join(".")),
            "{shown} for {names:?}: {error}"
        );
        checked += 1;
    }
    assert!(checked > 40, "{checked}");
}

/// A password in the line of a file's name stood in the error that the file cannot be read, and so
/// in the log. The key is named, and not its value.
#[cfg(feature = "tls")]
mod names_of_files_are_not_quoted {
    use super::*;
    use martlet_tests::directory::Directory;

    /// Writes a file whose name is not to be quoted.
    fn file(directory: &Directory, name: &str, content: &str) -> String {
        let name = format!("canary-{name}");
        directory.write(&name, content).display().to_string()
    }

    fn missing(directory: &Directory) -> String {
        directory.path().join("canary").display().to_string()
    }

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    const BROKEN: &str = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    const ENCRYPTED_KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
        DEK-Info: DES-CBC,00\n\nMAA=\n-----END RSA PRIVATE KEY-----\n";

    /// Asserts the error for these keys of `connection`.
    #[track_caller]
    fn assert_error(keys: &str, words: &str) {
        let yaml = format!("connection: {{uri: 'mqtts://h', {keys}}}");
        let settings = Settings::from_yaml(&yaml).expect("nothing is wrong but the files");
        let error = settings.builder().expect_err(keys);
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains("canary"), "{shown}");
        }
        assert!(error.to_string().contains(words), "{error}");
    }

    #[test]
    fn of_certificates_to_trust() {
        let directory = Directory::new();
        let folder = Directory::new();
        let canary = folder.path().join("canary");
        std::fs::create_dir(&canary).unwrap();
        std::fs::write(canary.join("broken"), BROKEN).unwrap();
        assert_error(
            &format!("capath: {}", canary.display()),
            "connection.capath: broken in the directory that is named here is not well-formed",
        );
        assert_error(
            &format!("capath: {}", missing(&directory)),
            "connection.capath: the directory that is named here cannot be read",
        );
        let files = [
            (missing(&directory), "cannot be read"),
            (file(&directory, "empty", ""), "holds no certificate"),
            (file(&directory, "broken", BROKEN), "is not well-formed"),
        ];
        for (file, wrong) in files {
            let words = format!("connection.cafile: the file that is named here {wrong}");
            assert_error(&format!("cafile: {file}"), &words);
        }
        let certificate = file(&directory, "certificate", CERTIFICATE);
        assert_error(&format!("cafile: {certificate}"), "connection.cafile: ");
    }

    #[test]
    fn of_our_own_identity() {
        let directory = Directory::new();
        let certificate = file(&directory, "certificate", CERTIFICATE);
        let key = file(&directory, "key", KEY);
        assert_error(
            &format!("certfile: {}, keyfile: {key}", missing(&directory)),
            "connection.certfile: the file that is named here cannot be read",
        );
        let unusable = "the private key in the file that is named here cannot be used";
        for (key, words) in [
            (
                missing(&directory),
                "the file that is named here cannot be read",
            ),
            (
                file(&directory, "empty", ""),
                "the file that is named here holds no private key",
            ),
            (key, unusable),
            (file(&directory, "encrypted", ENCRYPTED_KEY), unusable),
        ] {
            let keys = format!("certfile: {certificate}, keyfile: {key}");
            assert_error(&keys, &format!("connection.keyfile: {words}"));
        }
    }

    #[test]
    fn of_servers() {
        let yaml = "connection: {uri: 'mqtts://h'}\nmartlet: {server_name: 'the canary'}";
        let error = Settings::from_yaml(yaml).unwrap().builder().unwrap_err();
        assert_eq!(
            error.to_string(),
            "martlet.server_name: it is neither a host name nor an address"
        );
    }

    #[cfg(feature = "redb")]
    #[test]
    fn of_the_store() {
        let directory = Directory::new();
        let mut settings = Settings::default();
        settings.martlet.store = Some(file(&directory, "empty", "").into());
        let error = settings
            .durable_builder()
            .map(drop)
            .unwrap_err()
            .to_string();
        let words = "martlet.store: the file that is named here: damaged";
        assert!(
            error.starts_with(words) && !error.contains("canary"),
            "{error}"
        );
    }
}

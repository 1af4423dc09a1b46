//! A secret may stand anywhere in a configuration; it is never shown.

use martlet_config::{Secret, Settings, WillSettings};
use martlet_tests::canary::{CANARY, assert_hidden, wrong_uris};

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.connection.uri = "mqtt://h".into();
    settings.martlet.servers = vec![format!("mqtt://ann:{CANARY}@second").into()];
    settings.martlet.user_name = Some("ann".into());
    settings.martlet.password = Some(Secret::from(CANARY));
    settings.martlet.proxy = Some(format!("http://ann:{CANARY}@proxy").into());
    settings.martlet.headers = vec![("Authorization".into(), format!("Bearer {CANARY}").into())];
    settings.connection.certfile = Some("a".into());
    settings.connection.keyfile = Some("b".into());
    settings.martlet.key_password = Some(CANARY.into());
    settings.will = Some(WillSettings::new("t", CANARY));
    settings
}

#[test]
fn settings_do_not_show_it() {
    let settings = settings();
    assert_hidden(format!("{settings:?} {settings:#?}"));
    assert_hidden(settings.to_yaml());
    let mut in_uri = Settings::default();
    in_uri.connection.uri = format!("mqtt://ann:{CANARY}@h").into();
    assert_hidden(format!("{in_uri:?}"));
    assert_hidden(in_uri.to_yaml());
    assert_hidden(format!("{:?}", in_uri.builder().unwrap()));
}

#[test]
fn what_is_made_of_them_does_not_show_it() {
    let builder = settings().builder().unwrap();
    assert_hidden(format!("{builder:?} {builder:#?}"));
}

#[test]
fn wrong_uris_do_not_show_it() {
    for uri in wrong_uris() {
        let mut settings = Settings::default();
        settings.connection.uri = uri.as_str().into();
        if !uri.contains("h/") {
            assert_hidden(format!("{settings:?}"));
        }
        if let Err(error) = settings.builder() {
            assert_hidden(format!("{error} {error:?}"));
        }
    }
}

/// Files that are wrong, with the secret where it should be or where it came by mistake.
#[test]
fn wrong_files_do_not_show_it() {
    for yaml in [
        "keep_alive: {}",
        "default_qos: {}",
        "cleansession: {}",
        "connection_timeout: {}",
        "topics: {}",
        "topics: [{}]",
        "topics: {a: {}}",
        "plugins: {}",
        "plugins: [{}]",
        "connection: {}",
        "connection: ['mqtt://ann:{}@h']",
        "connection: {uri: 'mqtt://ann:{}@h:0'}",
        "connection: {uri: 'mqtt://ann:{}@h', cafile: [1]}",
        "will: {}",
        "will: {topic: a, message: {}, qos: 7}",
        "will: {topic: a, message: [{}]}",
        "will: {topic: a, message: {text: {}}}",
        "will: {topic: 'a/#', message: {}}",
        "martlet: {}",
        "martlet: {password: [{}]}",
        "martlet: {password: {text: {}}}",
        "martlet: {password: {{}: 1}}",
        "martlet: {password: {file: /no/such/file, env: {}}}",
        "martlet: {password: {}, version: 7}",
        "martlet: {password: {}",
        "martlet: {password: \"{}}",
        "martlet: {password: {}, password: b}",
        "martlet: {password: !secret {}, client_identifier: 7}",
        "martlet: {version: {}}",
        "martlet: {queue: {when_full: {}}}",
        "martlet: {servers: ['{}@h']}",
        "martlet: {proxy: 'ann:{}@h'}",
        "martlet: {proxy: 'socks5://ann:{}@h/x'}",
        "martlet: {headers: {}}",
        "martlet: {headers: {Authorization: [{}]}}",
        "martlet: {headers: [[Authorization, {}]]}",
        "martlet: {headers: ['Authorization: Bearer {}']}",
        "martlet: {key_password: {}}",
        "martlet: {client_identifier: {}\n",
        "connection: {uri: 'mqtt://ann:{}@h'}\nmartlet: {password: {}}",
    ] {
        let yaml = yaml.replace("{}", CANARY);
        let error = Settings::from_yaml(&yaml).expect_err(&yaml);
        assert_hidden(format!("{error} {error:?}"));
    }
    for value in ["\n{}", "Bearer\0{}"] {
        let mut settings = settings();
        settings.martlet.headers =
            vec![("Authorization".into(), value.replace("{}", CANARY).into())];
        let error = settings.builder().unwrap_err();
        assert_hidden(format!("{error} {error:?}"));
    }
    let long = CANARY.repeat(6000);
    let mut settings = settings();
    settings.will.as_mut().unwrap().message = long.as_str().into();
    let error = settings.builder().unwrap_err();
    assert_hidden(format!("{error} {error:?}"));
}

//! Configuration files: those written for amqtt, our own section, and everything that can be wrong
//! with one.
#![cfg(feature = "yaml")]

mod amqtt_files;
mod defaults;
mod files;
mod hidden;
mod our_keys;
mod printing;
mod rejected;
mod secrets;
mod values;
mod yaml;

use martlet_config::{Settings, SettingsError};

fn load(yaml: &str) -> Settings {
    Settings::from_yaml(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

#[track_caller]
fn rejected(yaml: &str) -> SettingsError {
    match Settings::from_yaml(yaml) {
        Ok(settings) => panic!("{yaml} is taken for {settings:?}"),
        Err(error) => error,
    }
}

#[track_caller]
fn assert_rejected(table: &[(&str, &str)]) {
    for (yaml, message) in table {
        assert_eq!(rejected(yaml).to_string(), *message, "{yaml}");
    }
}

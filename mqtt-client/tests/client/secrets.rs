//! A secret may come in anywhere; it is never shown.

use martlet_client::Client;
use martlet_tests::canary::{CANARY, assert_hidden, wrong_uris};

#[test]
fn a_password_does_not_show() {
    let builder = Client::builder(format!("mqtt://ann:{CANARY}@h"));
    let builder = builder.credentials("ann", CANARY);
    assert_hidden(format!("{builder:?} {builder:#?}"));
}

/// The user name was shown: with some servers it is the token.
#[test]
fn a_user_name_may_be_a_secret() {
    let builder = Client::builder(format!("mqtt://{CANARY}:password@h"));
    let builder = builder.user_name(CANARY);
    assert_hidden(format!("{builder:?} {builder:#?}"));
}

#[test]
fn wrong_uris_do_not_show_it() {
    for uri in wrong_uris() {
        if let Err(error) = Client::builder(&uri).check() {
            assert_hidden(format!("{error} {error:?}"));
        }
    }
}

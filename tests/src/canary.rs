//! A secret to put wherever one may stand, and to look for in all that is shown.

/// The secret.
pub const CANARY: &str = "kanarienvogel";

/// Asserts that a text does not show [`CANARY`].
#[track_caller]
pub fn assert_hidden(shown: impl AsRef<str>) {
    let shown = shown.as_ref();
    assert!(!shown.contains(CANARY), "{shown}");
    // Nor as bytes, nor a part of it.
    let bytes = format!("{:?}", CANARY.as_bytes());
    assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
    assert!(!shown.contains(&CANARY[4..]), "{shown}");
}

/// URIs that are wrong in every part, with the secret where a secret may stand by mistake.
pub fn wrong_uris() -> impl Iterator<Item = String> {
    [
        "mqtt://ann:{}@",
        "mqtt://ann:{}@h:99999",
        "mqtt://ann:{}@h:0",
        "mqtt://ann:{}@h/path",
        "mqtt://ann:{}@h?a=b",
        "mqtt://ann:{}@h#a",
        "mqtt://ann:{}@h@i:x",
        "mqtt://ann:{}@[::1",
        "mqtt://ann:pass/{}@h",
        "mqtt://ann:pass?{}@h",
        "mqtt://ann:pass#{}@h",
        "mqtt:ann:{}@h",
        "mqtt//ann:{}@h",
        "mq://ann:{}@h",
        "ann:{}@h",
        "mqtt://an%00n:{}@h",
        "mqtt://ann:{}@a b",
        "ws://h/{}",
        "ws://h?token={}#x",
    ]
    .into_iter()
    .map(|uri| uri.replace("{}", CANARY))
}

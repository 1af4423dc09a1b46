//! A secret to put wherever one may stand, and to look for in all that is shown.

/// The secret.
pub const CANARY: &str = "kanarienvogel";

/// Asserts that a text does not show [`CANARY`]: in letters, as bytes in decimal and in hexadecimal,
/// in Base64 and behind a percent sign; nor a part of it.
#[track_caller]
pub fn assert_hidden(shown: impl AsRef<str>) {
    let shown = shown.as_ref();
    let lower = shown.to_lowercase();
    let part = &CANARY[3..9];
    let decimal: Vec<_> = part.bytes().map(|byte| byte.to_string()).collect();
    let hexadecimal: Vec<_> = part.bytes().map(|byte| format!("{byte:02x}")).collect();
    let forms = [
        part.to_owned(),
        CANARY[4..].to_owned(),
        decimal.join(", "),
        hexadecimal.concat(),
        hexadecimal.join(" "),
        hexadecimal.join(", 0x"),
        format!("%{}", hexadecimal.join("%")),
        // "ann:kanarienvogel" and "kanarienvogel", a part of it.
        "a2FuYXJpZW".to_owned(),
        "rYW5hcmllbn".to_owned(),
    ];
    for form in forms {
        let found = lower.find(&form).or_else(|| shown.find(&form));
        let around = found.map(|at| lower.get(at.saturating_sub(200)..(at + 60).min(lower.len())));
        assert_eq!(around, None, "{form}");
    }
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

//! Topics of MQTT and subjects of NATS: `plant/line-1/speed` is `plant.line-1.speed`.

use std::fmt::Write as _;

/// The subject for a topic. What a subject cannot hold is `%` and two digits, so that two topics never have one subject.
pub fn subject(topic: &str) -> String {
    let levels: Vec<_> = topic.split('/').map(escape).collect();
    levels.join(".")
}

/// The topic for a subject; `None` when no topic has this subject.
pub fn topic(subject: &str) -> Option<String> {
    let levels: Option<Vec<_>> = subject.split('.').map(unescape).collect();
    Some(levels?.join("/"))
}

/// A text as one token of a subject; it can be the value of a header too.
pub fn escape(text: &str) -> String {
    if text.is_empty() {
        return "%".to_owned();
    }
    let mut token = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '.' | '*' | '>' | '%')
            || character.is_control()
            || character.is_whitespace()
        {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(token, "%{byte:02x}"); // a String takes everything
            }
        } else {
            token.push(character);
        }
    }
    token
}

fn unescape(token: &str) -> Option<String> {
    if token == "%" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(token.len());
    let mut parts = token.split('%');
    bytes.extend(parts.next()?.bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{subject, topic};

    #[test]
    fn each_topic_has_a_subject_of_its_own_and_comes_back_from_it() {
        for (of_mqtt, of_nats) in [
            ("plant/line-1/speed", "plant.line-1.speed"),
            ("plant//speed", "plant.%.speed"),
            ("/plant/", "%.plant.%"),
            ("plant/v1.2/50 %", "plant.v1%2e2.50%20%25"),
            ("plant/a*b>c", "plant.a%2ab%3ec"),
            ("plant/Größe\u{a0}1", "plant.Größe%c2%a01"),
        ] {
            assert_eq!(subject(of_mqtt), of_nats);
            assert_eq!(topic(of_nats).as_deref(), Some(of_mqtt));
        }
    }

    #[test]
    fn a_subject_that_is_no_topic_is_found() {
        for wrong in ["plant.%2", "plant.%zz", "plant.%ff", "plant.a%"] {
            assert_eq!(topic(wrong), None, "{wrong}");
        }
    }
}

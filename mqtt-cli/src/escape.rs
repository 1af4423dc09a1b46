//! Text of others on a terminal: control sequences are made visible.

use std::fmt::Write;

/// Whether a terminal may do more with this character than show it: control characters, those of
/// C1 among them, and characters that change the direction of the text around them.
pub(crate) fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Appends the text; what a terminal would act on is escaped, except for these characters.
fn append(out: &mut String, text: &str, except: &[char]) {
    for c in text.chars() {
        match c {
            c if !is_active(c) || except.contains(&c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a string does not fail.
            c if u32::from(c) < 0x80 => drop(write!(out, "\\x{:02x}", u32::from(c))),
            c => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
        }
    }
}

/// Text that must stay in its line, such as a topic.
pub(crate) fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    append(&mut out, text, &[]);
    out
}

/// A payload: line breaks and tabs stay, and bytes that are not UTF-8 are `\xNN`.
pub(crate) fn payload(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        append(&mut out, chunk.valid(), &['\n', '\t']);
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Whether it can go into JSON on a terminal as it is: JSON itself escapes only below U+0020.
pub(crate) fn needs_json_escape(c: char) -> bool {
    is_active(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_is_left() {
        assert_eq!(
            line("a\x1b[31m\r\n\u{9b}2J\u{202e}é"),
            "a\\x1b[31m\\r\\n\\u{9b}2J\\u{202e}é"
        );
        assert_eq!(
            payload(b"a\n\tb\x07\xff\xc2\x9b"),
            "a\n\tb\\x07\\xff\\u{9b}"
        );
        let all: String = ('\0'..=char::MAX).collect();
        assert!(!line(&all).chars().any(is_active));
        assert!(
            !payload(all.as_bytes())
                .chars()
                .any(|c| is_active(c) && c != '\n' && c != '\t')
        );
    }
}

//! A message as JSON: the keys are mosquitto's, and it is always JSON.

use super::style::Style;
use crate::escape;
use jiff::Zoned;
use martlet_tokio::{Message, QoS};
use serde::de::IgnoredAny;

/// The payload is not JSON, and was to be put into JSON as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotJson;

/// How the payload is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// As a string; as base64 under another key where it is not UTF-8.
    Text,
    /// As the JSON that it is.
    Json,
}

/// Appends the message.
pub(crate) fn write(
    out: &mut Vec<u8>,
    message: &Message,
    now: &Zoned,
    style: Style,
    payload: Payload,
) -> Result<(), NotJson> {
    let mut object = Object::begin(out, style, 0);
    let time = now.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z").to_string();
    object.text("tst", &time);
    object.text("topic", message.topic());
    object.number("qos", message.qos() as u64);
    object.number("retain", message.retain().into());
    object.number("payloadlen", message.payload().len() as u64);
    properties(&mut object, message);
    let bytes = message.payload();
    match (payload, message.text()) {
        (Payload::Json, text) => {
            let text = text.filter(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
            let text = text.ok_or(NotJson)?;
            object.key("payload");
            reformat(object.out, text, style, 1);
        }
        (Payload::Text, Some("")) => object.raw("payload", b"null"),
        (Payload::Text, Some(text)) => object.text("payload", text),
        (Payload::Text, None) => {
            object.text("payload_base64", &data_encoding::BASE64.encode(bytes));
        }
    }
    object.end();
    Ok(())
}

fn properties(object: &mut Object<'_>, message: &Message) {
    let properties = message.properties();
    let identifiers = || properties.subscription_identifiers();
    let is_empty = properties.is_empty() && identifiers().next().is_none();
    if is_empty {
        return;
    }
    object.key("properties");
    let mut inner = Object::begin(object.out, object.style, object.depth + 1);
    user_properties(&mut inner, message);
    if let Some(text) = properties.content_type() {
        inner.text("content-type", text);
    }
    match properties
        .correlation_data()
        .map(|data| (data, std::str::from_utf8(data)))
    {
        Some((_, Ok(text))) => inner.text("correlation-data", text),
        Some((data, Err(_))) => {
            inner.text(
                "correlation-data_base64",
                &data_encoding::BASE64.encode(data),
            );
        }
        None => {}
    }
    if let Some(topic) = properties.response_topic() {
        inner.text("response-topic", topic);
    }
    if let Some(is_text) = properties.payload_is_utf8() {
        inner.number("payload-format-indicator", is_text.into());
    }
    if let Some(seconds) = properties.message_expiry_interval() {
        inner.number("message-expiry-interval", seconds.into());
    }
    if let Some(identifier) = identifiers().next() {
        inner.number("subscription-identifier", identifier.get().into());
    }
    inner.end();
}

/// A name that comes more than once has a list of values: an object with a key twice is read
/// differently by every reader.
fn user_properties(object: &mut Object<'_>, message: &Message) {
    let mut names: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (name, value) in message.properties().user_properties() {
        let place = *places.entry(name).or_insert_with(|| {
            names.push((name, Vec::new()));
            names.len() - 1
        });
        names[place].1.push(value);
    }
    if names.is_empty() {
        return;
    }
    object.key("user-properties");
    let mut inner = Object::begin(object.out, object.style, object.depth + 1);
    for (name, values) in names {
        match values[..] {
            [value] => inner.text(name, value),
            _ => inner.texts(name, &values),
        }
    }
    inner.end();
}

/// An object that is being written, in the layout of mosquitto's.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    style: Style,
    depth: usize,
    is_empty: bool,
}

impl<'a> Object<'a> {
    fn begin(out: &'a mut Vec<u8>, style: Style, depth: usize) -> Self {
        out.push(b'{');
        Self {
            out,
            style,
            depth,
            is_empty: true,
        }
    }

    fn key(&mut self, key: &str) {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        if self.style.pretty {
            new_line(self.out, self.depth + 1);
        }
        string(self.out, key, self.style);
        self.out.push(b':');
        if self.style.pretty {
            self.out.push(b'\t');
        }
    }

    fn raw(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        self.out.extend_from_slice(value);
    }

    fn number(&mut self, key: &str, value: u64) {
        self.raw(key, value.to_string().as_bytes());
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        string(self.out, value, self.style);
    }

    fn texts(&mut self, key: &str, values: &[&str]) {
        self.key(key);
        self.out.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.out
                    .extend_from_slice(if self.style.pretty { b", " } else { b"," });
            }
            string(self.out, value, self.style);
        }
        self.out.push(b']');
    }

    fn end(self) {
        if self.style.pretty {
            new_line(self.out, self.depth);
        }
        self.out.push(b'}');
    }
}

fn new_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b'\t', depth));
}

fn string(out: &mut Vec<u8>, text: &str, style: Style) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if c < ' ' || (style.escape && escape::needs_json_escape(c)) => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// JSON laid out as mosquitto does; `None` where it is none. Its order and its digits stay.
pub(crate) fn pretty(text: &str) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let style = Style {
        escape: true,
        pretty: true,
    };
    let mut out = Vec::new();
    reformat(&mut out, text, style, 0);
    String::from_utf8(out).ok()
}

/// Appends JSON that was read before, without white space between its parts, or laid out as
/// mosquitto does. Strings and numbers stay as they are.
fn reformat(out: &mut Vec<u8>, text: &str, style: Style, mut depth: usize) {
    let mut chars = text.char_indices().peekable();
    while let Some((begin, c)) = chars.next() {
        match c {
            '"' => {
                let mut end = text.len();
                let mut is_escaped = false;
                for (at, c) in chars.by_ref() {
                    match c {
                        _ if is_escaped => is_escaped = false,
                        '\\' => is_escaped = true,
                        '"' => {
                            end = at + 1;
                            break;
                        }
                        _ => {}
                    }
                }
                verbatim(out, &text[begin..end], style);
            }
            ' ' | '\t' | '\n' | '\r' => {}
            '{' | '[' => {
                out.push(c as u8);
                depth += 1;
                let is_empty = text[begin + 1..].trim_start().starts_with('}');
                if style.pretty && c == '{' && !is_empty {
                    new_line(out, depth);
                }
            }
            '}' => {
                depth = depth.saturating_sub(1);
                if style.pretty {
                    new_line(out, depth);
                }
                out.push(b'}');
            }
            ']' => {
                depth = depth.saturating_sub(1);
                out.push(b']');
            }
            ':' => out.extend_from_slice(if style.pretty { b":\t" } else { b":" }),
            ',' if style.pretty => comma(out, text, begin, depth),
            // What is left is ASCII: numbers, literals and commas.
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// A comma between members of an object, or between elements of an array.
fn comma(out: &mut Vec<u8>, text: &str, at: usize, depth: usize) {
    if is_in_object(text, at) {
        out.push(b',');
        new_line(out, depth);
    } else {
        out.extend_from_slice(b", ");
    }
}

/// Whether the comma at this place is followed by a key.
fn is_in_object(text: &str, at: usize) -> bool {
    let rest = text[at + 1..].trim_start();
    let Some(inside) = rest.strip_prefix('"') else {
        return false;
    };
    let mut is_escaped = false;
    for (end, c) in inside.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return inside[end + 1..].trim_start().starts_with(':'),
            _ => {}
        }
    }
    false
}

/// A string of JSON as it is, but for what a terminal would act on.
fn verbatim(out: &mut Vec<u8>, text: &str, style: Style) {
    if !style.escape {
        return out.extend_from_slice(text.as_bytes());
    }
    for c in text.chars() {
        match c {
            c if escape::needs_json_escape(c) => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// The number of a QoS in JSON.
const _: () = assert!(QoS::ExactlyOnce as u64 == 2);

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_tokio::proto::{Publish, PublishProperties, PublishRef, TopicName};

    fn json(payload: &[u8], how: Payload, escape: bool, pretty: bool) -> Result<String, NotJson> {
        let properties = PublishProperties::builder()
            .try_user_property("a", "1")
            .and_then(|builder| builder.try_user_property("b", "\u{9b}"))
            .and_then(|builder| builder.try_user_property("a", "2"))
            .unwrap()
            .build();
        let topic = TopicName::new("t\"x").unwrap();
        let publish = PublishRef::new(&topic, payload).with_properties(&properties);
        let message = Message::from_packet(Publish::from(publish)).unwrap();
        let now: Zoned = "2026-11-30T22:20:57.0165+01:00[+01:00]".parse().unwrap();
        let mut out = Vec::new();
        write(&mut out, &message, &now, Style { escape, pretty }, how)?;
        let text = String::from_utf8(out).unwrap();
        serde_json::from_str::<IgnoredAny>(&text).expect("it is JSON");
        Ok(text)
    }

    #[test]
    fn whatever_the_payload_it_is_json() {
        let begin = "{\"tst\":\"2026-11-30T22:20:57.016500+01:00\",\"topic\":\"t\\\"x\",\"qos\":0,\"retain\":0,";
        let middle = "\"properties\":{\"user-properties\":{\"a\":[\"1\",\"2\"],\"b\":\"\u{9b}\"}},";
        let all = |len: usize, payload: &str| {
            Ok(format!("{begin}\"payloadlen\":{len},{middle}{payload}}}"))
        };
        let text = |payload: &[u8]| json(payload, Payload::Text, false, false);
        assert_eq!(
            text(b"a\"\n\x1b"),
            all(4, "\"payload\":\"a\\\"\\n\\u001b\"")
        );
        assert_eq!(text(b"a\0b"), all(3, "\"payload\":\"a\\u0000b\""));
        assert_eq!(text(b"\xff\0"), all(2, "\"payload_base64\":\"/wA=\""));
        assert_eq!(text(b""), all(0, "\"payload\":null"));
        let embedded = |payload: &[u8]| json(payload, Payload::Json, false, false);
        let payload = b" {\"a\": 27.0 , \"b\\\"\":[1, \"x y\", {}]}\n";
        let expected = "\"payload\":{\"a\":27.0,\"b\\\"\":[1,\"x y\",{}]}";
        assert_eq!(embedded(payload), all(payload.len(), expected));
        for payload in [&b"hello"[..], b"", b"{\"a\":1", b"1 2", b"\xff", b"NaN"] {
            assert_eq!(embedded(payload), Err(NotJson));
        }
        let deep = "[".repeat(100_000);
        assert_eq!(embedded(deep.as_bytes()), Err(NotJson));
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        let out = json(b"\x7f\xc2\x9b\xe2\x80\xae", Payload::Text, true, false).unwrap();
        assert!(
            out.contains("\"payload\":\"\\u007f\\u009b\\u202e\""),
            "{out}"
        );
        assert!(out.contains("\"b\":\"\\u009b\""));
        let out = json(b"[\"\xc2\x9b\"]", Payload::Json, true, false).unwrap();
        assert!(out.contains("\"payload\":[\"\\u009b\"]"), "{out}");
    }

    /// The layout of mosquitto_sub 2.0.11.
    #[test]
    fn pretty_is_mosquittos_layout() {
        let payload = b"{\"a\":{},\"b\":[],\"c\":[{\"d\":1},{}],\"e\":[\"x\",\"y\"]}";
        let out = json(payload, Payload::Json, false, true).unwrap();
        let expected = "\t\"payload\":\t{\n\t\t\"a\":\t{\n\t\t},\n\t\t\"b\":\t[],\n\t\t\"c\":\t[{\n\t\t\t\t\"d\":\t1\n\t\t\t}, {\n\t\t\t}],\n\t\t\"e\":\t[\"x\", \"y\"]\n\t}\n}";
        assert!(out.ends_with(expected), "{out}");
        assert!(out.starts_with("{\n\t\"tst\":\t\"2026"));
        assert!(out.contains(
            "\n\t\"properties\":\t{\n\t\t\"user-properties\":\t{\n\t\t\t\"a\":\t[\"1\", \"2\"],\n"
        ));
    }
}

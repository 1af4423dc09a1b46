//! A message as it is kept, and the lines that show it.

use super::rate::Rate;
use crate::escape;
use crate::output::pretty_json;
use martlet_tokio::Message;
use std::time::Duration;

/// What is kept of the properties of one message, in bytes.
const PROPERTY_BYTES: usize = 8 * 1024;

/// What a text takes beside its bytes, at most: the allocator rounds up.
const TEXT_BYTES: usize = 32;

/// A name and a value, as they are shown.
type Property = (String, String);

/// What a property takes, at most.
fn property_bytes(name: &str, value: &str) -> usize {
    size_of::<Property>() + 2 * TEXT_BYTES + name.len() + value.len()
}

fn all_bytes(properties: &[Property]) -> usize {
    let bytes = |(name, value): &Property| property_bytes(name, value);
    properties.iter().map(bytes).sum()
}

/// A message that has come.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) properties: Vec<Property>,
}

impl<'a> Arrival<'a> {
    pub(super) fn of(message: &'a Message) -> Self {
        Self {
            topic: message.topic(),
            payload: message.payload(),
            qos: message.qos() as u8,
            retain: message.retain(),
            properties: properties(message),
        }
    }
}

fn properties(message: &Message) -> Vec<Property> {
    let properties = message.properties();
    if properties.is_empty() {
        return Vec::new();
    }
    let mut kept = Kept::default();
    if let Some(text) = properties.content_type() {
        kept.add("content-type", text);
    }
    if let Some(topic) = properties.response_topic() {
        kept.add("response-topic", topic);
    }
    if let Some(data) = properties.correlation_data() {
        kept.add("correlation-data", &escape::payload(data));
    }
    if let Some(is_text) = properties.payload_is_utf8() {
        let indicator = if is_text { "1" } else { "0" };
        kept.add("payload-format-indicator", indicator);
    }
    if let Some(seconds) = properties.message_expiry_interval() {
        kept.add("message-expiry-interval", &seconds.to_string());
    }
    for (name, value) in properties.user_properties() {
        kept.add(&format!("user-property {name}"), value);
    }
    kept.finish()
}

/// Properties, as far as there is room for them.
#[derive(Default)]
struct Kept {
    properties: Vec<Property>,
    bytes: usize,
    left_out: usize,
}

impl Kept {
    fn add(&mut self, name: &str, value: &str) {
        let bytes = property_bytes(name, value);
        if self.left_out > 0 || self.bytes + bytes > PROPERTY_BYTES {
            self.left_out += 1;
            return;
        }
        self.bytes += bytes;
        self.properties.push((name.to_owned(), value.to_owned()));
    }

    fn finish(mut self) -> Vec<Property> {
        if self.left_out > 0 {
            let text = format!(
                "{} not kept: the limit is {PROPERTY_BYTES} bytes",
                self.left_out
            );
            self.properties.push(("more".to_owned(), text));
        }
        self.properties
    }
}

/// What a message may take, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Its payload.
    pub(super) payload: usize,
    /// Its payload and its properties.
    pub(super) bytes: usize,
}

/// What came last on a topic.
#[derive(Debug, Default)]
pub(super) struct Last {
    /// Since the start of the command.
    pub(super) at: Duration,
    pub(super) qos: u8,
    /// The flag of this message.
    pub(super) retain: bool,
    /// Whether the server has a retained message on this topic; `None`: nothing was seen of one.
    pub(super) is_retained: Option<bool>,
    /// Of the whole payload, in bytes.
    pub(super) length: usize,
    /// Its beginning.
    pub(super) payload: Vec<u8>,
    pub(super) properties: Vec<Property>,
    /// Properties for which there was no room.
    pub(super) left_out: usize,
    /// On exactly this topic.
    pub(super) messages: u64,
    pub(super) rate: Rate,
}

impl Last {
    /// What it takes beside its row.
    pub(super) fn bytes(&self) -> usize {
        self.payload.capacity() + all_bytes(&self.properties)
    }

    /// Takes the place of what was there.
    pub(super) fn replace(&mut self, arrival: &Arrival<'_>, now: Duration, room: Room) {
        self.at = now;
        self.qos = arrival.qos;
        self.retain = arrival.retain;
        // A publish without the flag leaves what is retained as it is.
        if arrival.retain {
            self.is_retained = Some(!arrival.payload.is_empty());
        }
        self.length = arrival.payload.len();
        self.keep(arrival.payload, room);
        (self.properties, self.left_out) = match self.has_room(&arrival.properties, room) {
            true => (arrival.properties.clone(), 0),
            false => (Vec::new(), arrival.properties.len()),
        };
    }

    /// Takes the place of what was there; it came later.
    pub(super) fn replace_by(&mut self, mut later: Self, room: Room) {
        self.keep(&later.payload, room);
        if !self.has_room(&later.properties, room) {
            later.left_out = std::mem::take(&mut later.properties).len();
        }
        let was_retained = self.is_retained;
        *self = Self {
            is_retained: later.is_retained.or(was_retained),
            payload: std::mem::take(&mut self.payload),
            messages: self.messages + later.messages,
            rate: self.rate,
            ..later
        };
        self.rate.merge(&later.rate);
    }

    /// Whether there is room for these beside the payload.
    fn has_room(&self, properties: &[Property], room: Room) -> bool {
        self.payload.capacity() + all_bytes(properties) <= room.bytes
    }

    fn keep(&mut self, payload: &[u8], room: Room) {
        let kept = &payload[..payload.len().min(room.payload).min(room.bytes)];
        self.payload.clear();
        // What one large payload took is given back.
        if self.payload.capacity() < kept.len() || self.payload.capacity() > 2 * kept.len() + 64 {
            self.payload = Vec::with_capacity(kept.len());
        }
        self.payload.extend_from_slice(kept);
    }
}

/// How payloads are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Mode {
    /// As JSON where it is some, as text where it is UTF-8 that can be read, as hexadecimal digits
    /// otherwise.
    #[default]
    Auto,
    Text,
    Json,
    Hex,
}

impl Mode {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Auto => Self::Text,
            Self::Text => Self::Json,
            Self::Json => Self::Hex,
            Self::Hex => Self::Auto,
        }
    }
}

/// The lines of a payload, and how they show it. They are not escaped.
pub(super) fn lines(payload: &[u8], mode: Mode) -> (Vec<String>, &'static str) {
    let text = std::str::from_utf8(payload);
    let json = || {
        let text = text.ok()?;
        let is_structure = text.trim_start().starts_with(['{', '[']);
        let wanted = mode == Mode::Json || (mode == Mode::Auto && is_structure);
        pretty_json(text).filter(|_| wanted)
    };
    if let Some(json) = json() {
        return (text_lines(&json), "JSON");
    }
    let is_readable = text.is_ok_and(|text| {
        !text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    });
    match mode {
        Mode::Hex => (hex_lines(payload), "hex"),
        Mode::Auto if !is_readable => (hex_lines(payload), "hex"),
        Mode::Json => (text_lines(&escape::payload(payload)), "text: no JSON"),
        _ => (text_lines(&escape::payload(payload)), "text"),
    }
}

fn text_lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.replace('\t', "  ")).collect()
}

fn hex_lines(payload: &[u8]) -> Vec<String> {
    let line = |(number, bytes): (usize, &[u8])| {
        let mut hex = String::new();
        for (index, byte) in bytes.iter().enumerate() {
            let gap = if index == 8 { "  " } else { " " };
            hex.push_str(&format!("{gap}{byte:02x}"));
        }
        let shown = |byte: &u8| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        };
        let text: String = bytes.iter().map(shown).collect();
        format!("{:06x} {hex:<49}  {text}", number * 16)
    };
    payload.chunks(16).enumerate().map(line).collect()
}

/// The beginning of a payload in one line, for at most this many columns.
pub(super) fn preview(payload: &[u8], width: usize) -> String {
    // No character has more than four bytes, and no glyph more than three characters; what is not
    // shown is not read.
    let beginning = &payload[..payload.len().min(12 * (width + 1))];
    let mut text = String::new();
    let mut rest = beginning;
    // The cut may be in the middle of a character.
    if beginning.len() < payload.len() {
        let is_within = |byte: &u8| byte & 0xc0 == 0x80;
        let within = payload[beginning.len()..]
            .iter()
            .take(3)
            .take_while(|byte| is_within(byte));
        rest = &payload[..beginning.len() + within.count()];
    }
    for chunk in rest.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(payload: &[u8], mode: Mode) -> (String, &'static str) {
        let (lines, kind) = lines(payload, mode);
        (lines.join("\n"), kind)
    }

    #[test]
    fn a_payload_is_shown_as_what_it_is() {
        let text = |text: &str, kind| (text.to_owned(), kind);
        assert_eq!(shown(b"21.5", Mode::Auto), text("21.5", "text"));
        assert_eq!(shown(b"21.5", Mode::Json), text("21.5", "JSON"));
        assert_eq!(shown(b"x", Mode::Json), text("x", "text: no JSON"));
        assert_eq!(
            shown(br#"{"b":1.10,"a":[1,2]}"#, Mode::Auto),
            text("{\n  \"b\":  1.10,\n  \"a\":  [1, 2]\n}", "JSON"),
            "order and digits stay"
        );
        assert_eq!(
            shown(b"a\xff\x00", Mode::Auto),
            text(
                "000000  61 ff 00                                          a..",
                "hex"
            )
        );
        assert_eq!(
            shown(b"a\tb\n\xff\x1b", Mode::Text),
            text("a  b\n\\xff\\x1b", "text")
        );
        assert_eq!(shown(b"", Mode::Auto), text("", "text"));
        let (lines, _) = lines(&[7; 40], Mode::Hex);
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("000010"));
    }

    #[test]
    fn a_preview_reads_no_more_than_it_shows() {
        assert_eq!(preview(b"a\xffb", 10), "a\\xffb");
        let long = "日".repeat(10_000);
        let text = preview(long.as_bytes(), 5);
        assert!(
            text.chars().all(|c| c == '日') && text.len() < 100,
            "{text}"
        );
    }

    #[test]
    fn what_is_retained_stays_so_until_an_empty_message_with_the_flag_comes() {
        let mut last = Last::default();
        let mut arrive = |payload: &[u8], retain| {
            let arrival = Arrival {
                topic: "a",
                payload,
                qos: 0,
                retain,
                properties: Vec::new(),
            };
            let room = Room {
                payload: 100,
                bytes: 100,
            };
            last.replace(&arrival, Duration::ZERO, room);
            last.is_retained == Some(true)
        };
        assert!(!arrive(b"x", false));
        assert!(arrive(b"x", true));
        assert!(arrive(b"y", false));
        assert!(arrive(b"", false));
        assert!(!arrive(b"", true));
    }

    #[test]
    fn properties_have_a_limit() {
        let mut kept = Kept::default();
        for _ in 0..100 {
            kept.add("name", &"x".repeat(1000));
        }
        let properties = kept.finish();
        assert_eq!(properties.len(), 8);
        assert!(properties[7].1.starts_with("93 not kept"), "{properties:?}");
        let mut kept = Kept::default();
        for _ in 0..500 {
            kept.add("user-property ", "");
        }
        assert!(
            kept.finish().len() < 100,
            "a property takes memory without a text"
        );
    }
}

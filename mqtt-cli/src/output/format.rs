//! The format language of mosquitto's `-F`: `%` for the message, `@` for strftime(3), `\` for
//! characters.

use super::json::{self, NotJson, Payload};
use super::style::Style;
use crate::escape;
use jiff::Zoned;
use jiff::fmt::strtime;
use martlet_tokio::Message;

/// A format that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Field {
        what: Field,
        shape: Shape,
    },
    /// A conversion of strftime(3), such as `%H`.
    Time(String),
    /// The nanoseconds of the second.
    Nanoseconds,
}

/// What is printed of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    TopicAlias,
    ContentType,
    CorrelationData,
    MessageExpiry,
    PayloadFormat,
    Iso8601,
    Json,
    JsonOfJson,
    PayloadLength,
    UserProperties,
    Payload,
    Qos,
    ResponseTopic,
    Retain,
    SubscriptionIdentifier,
    Topic,
    UnixTime,
    LowerHex,
    UpperHex,
}

/// How wide it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Shape {
    is_left: bool,
    zeros: bool,
    width: usize,
    most: Option<usize>,
}

/// The widest that a field can be asked to be: memory is bounded.
const MAX_WIDTH: usize = 65_535;

impl Template {
    /// Reads a format; the error says what is wrong with it.
    pub(crate) fn parse(format: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            let piece = match c {
                '%' => percent(&mut chars)?,
                '@' => at(chars.next())?,
                '\\' => Piece::Literal(vec![backslash(chars.next())?]),
                c => Piece::Literal(c.to_string().into_bytes()),
            };
            match piece {
                Piece::Literal(bytes) => literal.extend_from_slice(&bytes),
                piece => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(piece);
                }
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self(pieces))
    }

    /// The message as JSON, for `--output json`.
    pub(crate) fn json() -> Self {
        Self(vec![Piece::Field {
            what: Field::Json,
            shape: Shape::default(),
        }])
    }

    /// Appends the message; nothing of it where it is not what the template needs.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        message: &Message,
        now: &Zoned,
        style: Style,
    ) -> Result<(), NotJson> {
        let begin = out.len();
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Time(conversion) => out.extend_from_slice(time(conversion, now).as_bytes()),
                Piece::Nanoseconds => {
                    let nanoseconds = now.subsec_nanosecond();
                    out.extend_from_slice(format!("{nanoseconds:09}").as_bytes());
                }
                Piece::Field { what, shape } => {
                    let written = field(out, *what, *shape, message, now, style);
                    if let Err(error) = written {
                        out.truncate(begin);
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }
}

fn percent(chars: &mut std::str::Chars<'_>) -> Result<Piece, String> {
    let mut shape = Shape::default();
    let mut next = chars.next();
    if next == Some('-') {
        shape.is_left = true;
        next = chars.next();
    }
    if next == Some('0') {
        shape.zeros = true;
        next = chars.next();
    }
    shape.width = digits(&mut next, chars)?;
    if next == Some('.') {
        next = chars.next();
        shape.most = Some(digits(&mut next, chars)?);
    }
    let what = match next {
        Some('%') => return Ok(Piece::Literal(b"%".to_vec())),
        Some('A') => Field::TopicAlias,
        Some('C') => Field::ContentType,
        Some('D') => Field::CorrelationData,
        Some('E') => Field::MessageExpiry,
        Some('F') => Field::PayloadFormat,
        Some('I') => Field::Iso8601,
        Some('j') => Field::Json,
        Some('J') => Field::JsonOfJson,
        Some('l') => Field::PayloadLength,
        Some('P') => Field::UserProperties,
        Some('p') => Field::Payload,
        Some('q') => Field::Qos,
        Some('R') => Field::ResponseTopic,
        Some('r') => Field::Retain,
        Some('S') => Field::SubscriptionIdentifier,
        Some('t') => Field::Topic,
        Some('U') => Field::UnixTime,
        Some('x') => Field::LowerHex,
        Some('X') => Field::UpperHex,
        Some('m') => {
            return Err(
                "%m is not supported: the packet identifier belongs to the connection, and the message comes without it; -d shows it"
                    .to_owned(),
            );
        }
        Some(c) => return Err(format!("there is no %{}", escape::line(&c.to_string()))),
        None => return Err("the format ends with an incomplete %".to_owned()),
    };
    Ok(Piece::Field { what, shape })
}

/// A number, perhaps an empty one.
fn digits(next: &mut Option<char>, chars: &mut std::str::Chars<'_>) -> Result<usize, String> {
    let mut value = 0usize;
    while let Some(digit) = next.and_then(|c| c.to_digit(10)) {
        value = value * 10 + digit as usize;
        if value > MAX_WIDTH {
            return Err(format!("a field of the format is wider than {MAX_WIDTH}"));
        }
        *next = chars.next();
    }
    Ok(value)
}

fn at(conversion: Option<char>) -> Result<Piece, String> {
    match conversion {
        Some('@') => Ok(Piece::Literal(b"@".to_vec())),
        Some('N') => Ok(Piece::Nanoseconds),
        Some(c) => match strftime(c) {
            Some(conversion) => Ok(Piece::Time(conversion)),
            None => Err(format!("there is no @{}", escape::line(&c.to_string()))),
        },
        None => Err("the format ends with an incomplete @".to_owned()),
    }
}

/// A conversion of strftime(3) as the C locale has it; in the language of the crate some letters
/// stand for something else.
fn strftime(c: char) -> Option<String> {
    let conversion = match c {
        'c' => "%a %b %e %H:%M:%S %Y".to_owned(),
        'r' => "%I:%M:%S %p".to_owned(),
        'x' => "%m/%d/%y".to_owned(),
        'X' => "%H:%M:%S".to_owned(),
        c if "aAbBCdDeFgGhHIjklmMnpPRsStTuUVwWyYzZ".contains(c) => format!("%{c}"),
        _ => return None,
    };
    let is_known = strtime::format(&conversion, &Zoned::now()).is_ok();
    is_known.then_some(conversion)
}

fn backslash(c: Option<char>) -> Result<u8, String> {
    match c {
        Some('\\') => Ok(b'\\'),
        Some('0') => Ok(0),
        Some('a') => Ok(0x07),
        Some('e') => Ok(0x1b),
        Some('n') => Ok(b'\n'),
        Some('r') => Ok(b'\r'),
        Some('t') => Ok(b'\t'),
        Some('v') => Ok(0x0b),
        Some(c) => Err(format!("there is no \\{}", escape::line(&c.to_string()))),
        None => Err("the format ends with an incomplete \\".to_owned()),
    }
}

fn time(conversion: &str, now: &Zoned) -> String {
    // It was tried when the format was read.
    strtime::format(conversion, now).unwrap_or_default()
}

fn field(
    out: &mut Vec<u8>,
    what: Field,
    shape: Shape,
    message: &Message,
    now: &Zoned,
    style: Style,
) -> Result<(), NotJson> {
    let properties = message.properties();
    match what {
        Field::TopicAlias => number(
            out,
            properties.topic_alias().map(|alias| alias.get().into()),
            shape,
        ),
        Field::ContentType => text(out, properties.content_type(), shape, style),
        Field::ResponseTopic => text(out, properties.response_topic(), shape, style),
        Field::Topic => text(out, Some(message.topic()), shape, style),
        Field::CorrelationData => {
            bytes(
                out,
                properties.correlation_data().unwrap_or_default(),
                Shape::default(),
                style,
            );
        }
        Field::MessageExpiry => {
            number(
                out,
                properties.message_expiry_interval().map(u64::from),
                shape,
            );
        }
        Field::PayloadFormat => number(out, properties.payload_is_utf8().map(u64::from), shape),
        Field::Iso8601 => text(out, Some(&time("%Y-%m-%dT%H:%M:%S%z", now)), shape, style),
        Field::UnixTime => out.extend_from_slice(unix_time(now).as_bytes()),
        Field::PayloadLength => number(out, Some(message.payload().len() as u64), shape),
        Field::Qos => out.push(b'0' + message.qos() as u8),
        Field::Retain => out.push(b'0' + u8::from(message.retain())),
        Field::SubscriptionIdentifier => {
            let first = properties.subscription_identifiers().next();
            number(out, first.map(|identifier| identifier.get().into()), shape);
        }
        Field::UserProperties => user_properties(out, message, style),
        Field::Payload => bytes(out, message.payload(), shape, style),
        Field::LowerHex => {
            pad(
                out,
                data_encoding::HEXLOWER.encode(message.payload()).as_bytes(),
                shape,
            );
        }
        Field::UpperHex => {
            pad(
                out,
                data_encoding::HEXUPPER.encode(message.payload()).as_bytes(),
                shape,
            );
        }
        Field::Json => json::write(out, message, now, style, Payload::Text)?,
        Field::JsonOfJson => json::write(out, message, now, style, Payload::Json)?,
    }
    Ok(())
}

fn unix_time(now: &Zoned) -> String {
    let timestamp = now.timestamp();
    format!(
        "{}.{:09}",
        timestamp.as_second(),
        timestamp.subsec_nanosecond()
    )
}

/// A number that is absent has its width all the same: what follows stays in its column.
fn number(out: &mut Vec<u8>, number: Option<u64>, shape: Shape) {
    let shape = Shape {
        most: None,
        // As mosquitto has it: no digit stands before the zeros.
        is_left: shape.is_left && number.is_some(),
        ..shape
    };
    let digits = number.map_or_else(String::new, |number| number.to_string());
    pad(out, digits.as_bytes(), shape);
}

fn text(out: &mut Vec<u8>, text: Option<&str>, shape: Shape, style: Style) {
    let text = text.unwrap_or_default();
    let text = match style.escape {
        true => escape::line(text),
        false => text.to_owned(),
    };
    let end = match shape.most {
        // Whole characters: half of one is no text.
        Some(most) => (0..=most.min(text.len()))
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0),
        None => text.len(),
    };
    pad(
        out,
        &text.as_bytes()[..end],
        Shape {
            zeros: false,
            ..shape
        },
    );
}

fn bytes(out: &mut Vec<u8>, payload: &[u8], shape: Shape, style: Style) {
    match style.escape {
        true => pad(out, escape::payload(payload).as_bytes(), shape),
        false => pad(out, payload, shape),
    }
}

fn user_properties(out: &mut Vec<u8>, message: &Message, style: Style) {
    let mut separator = "";
    for (name, value) in message.properties().user_properties() {
        out.extend_from_slice(separator.as_bytes());
        text(out, Some(name), Shape::default(), style);
        out.push(b':');
        text(out, Some(value), Shape::default(), style);
        separator = " ";
    }
}

fn pad(out: &mut Vec<u8>, bytes: &[u8], shape: Shape) {
    let missing = shape.width.saturating_sub(bytes.len());
    let filling = if shape.zeros && !shape.is_left {
        b'0'
    } else {
        b' '
    };
    if shape.is_left {
        out.extend_from_slice(bytes);
    }
    out.extend(std::iter::repeat_n(filling, missing));
    if !shape.is_left {
        out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_tokio::proto::{BinaryData, Publish, PublishProperties, PublishRef, TopicName};

    const PLAIN: Style = Style {
        escape: false,
        pretty: false,
    };

    fn message(payload: &[u8]) -> Message {
        let properties = PublishProperties::builder()
            .content_type("text/plain".try_into().unwrap())
            .correlation_data(BinaryData::try_from("cd").unwrap())
            .message_expiry_interval(60)
            .payload_is_utf8(true)
            .response_topic(TopicName::try_from("re/sp").unwrap())
            .try_user_property("k1", "v1")
            .and_then(|builder| builder.try_user_property("k2", "v2"))
            .unwrap()
            .build();
        let topic = TopicName::new("r/a").unwrap();
        let publish = PublishRef::new(&topic, payload)
            .with_retain(true)
            .with_properties(&properties);
        Message::from_packet(Publish::from(publish)).unwrap()
    }

    fn printed(format: &str, payload: &[u8], style: Style) -> Vec<u8> {
        let mut out = Vec::new();
        let now: Zoned = "2026-11-30T22:20:57.0165+01:00[+01:00]".parse().unwrap();
        let template = Template::parse(format).unwrap();
        template
            .write(&mut out, &message(payload), &now, style)
            .unwrap();
        out
    }

    /// As mosquitto_sub 2.0.11 prints them, but for what its manual page promises and it does not:
    /// a width is the least, not the most.
    #[test]
    fn fields_have_the_shape_that_mosquitto_gives_them() {
        for (format, expected) in [
            (
                "[%A][%C][%D][%E][%F][%l][%P][%q][%R][%r][%S][%t][%x][%X]",
                "[][text/plain][cd][60][1][9][k1:v1 k2:v2][0][re/sp][1][][r/a][68656c6c6f20227722][68656C6C6F20227722]",
            ),
            (
                "[%20C][%-20C][%.3C][%010l][%-10l][%10.2t]",
                "[          text/plain][text/plain          ][tex][0000000009][9         ][        r/]",
            ),
            (
                "[%20p][%-20p][%020p][%06E][%5P][%3q]",
                "[           hello \"w\"][hello \"w\"           ][00000000000hello \"w\"][000060][k1:v1 k2:v2][0]",
            ),
            ("[%5p][%4x]", "[hello \"w\"][68656c6c6f20227722]"),
            // What is absent has its width, so that columns stay columns.
            ("[%3A][%-3A][%03A][%-03S][%.2A]", "[   ][   ][000][000][]"),
            (
                "@Y-@m-@dT@H:@M:@S@z @@ @N",
                "2026-11-30T22:20:57+0100 @ 016500000",
            ),
            (
                "@c|@x|@X|@r",
                "Mon Nov 30 22:20:57 2026|11/30/26|22:20:57|10:20:57 PM",
            ),
            ("%I %U", "2026-11-30T22:20:57+0100 1796073657.016500000"),
            ("\\\\\\0\\a\\e\\n\\r\\t\\v%%", "\\\0\x07\x1b\n\r\t\x0b%"),
        ] {
            let out = printed(format, b"hello \"w\"", PLAIN);
            assert_eq!(String::from_utf8_lossy(&out), expected, "{format}");
        }
    }

    /// mosquitto_sub pads what a message lacks; `%12C` of messages with and without a content type has
    /// moved all that follows it.
    #[test]
    fn what_is_absent_has_its_width() {
        let topic = TopicName::new("a").unwrap();
        let publish = PublishRef::new(&topic, b"x");
        let message = Message::from_packet(Publish::from(publish)).unwrap();
        let now: Zoned = "2026-11-30T22:20:57.0165+01:00[+01:00]".parse().unwrap();
        let mut out = Vec::new();
        let template = Template::parse("[%4C][%-4R][%04C][%04E][%-04F][%4.2C][%4D][%4P]").unwrap();
        template.write(&mut out, &message, &now, PLAIN).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "[    ][    ][    ][0000][0000][    ][][]"
        );
    }

    #[test]
    fn text_of_others_is_escaped_and_that_of_the_format_is_not() {
        let style = Style {
            escape: true,
            pretty: false,
        };
        assert_eq!(
            printed("\\e[1m%p\\e[0m", b"\x1b[2J\xff", style),
            b"\x1b[1m\\x1b[2J\\xff\x1b[0m"
        );
        assert_eq!(
            printed("\\e[1m%p", b"\x1b[2J\xff", PLAIN),
            b"\x1b[1m\x1b[2J\xff"
        );
    }

    #[test]
    fn a_wrong_format_is_an_error() {
        for format in [
            "%",
            "%Z",
            "%k",
            "\\q",
            "\\",
            "@",
            "%99999999p",
            "%-0",
            "%5.",
            "%m",
            "@\u{e9}",
            // Those of the crate.
            "@f",
            "@q",
            "@Q",
            "@-",
        ] {
            assert!(Template::parse(format).is_err(), "{format}");
        }
    }
}

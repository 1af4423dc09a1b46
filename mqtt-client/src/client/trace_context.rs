//! The context of a distributed trace in user properties, as [W3C Trace Context] has it: `traceparent`
//! and `tracestate`. [`inject`] writes it into a message, [`extract`] reads it; spans and their ids
//! are the application's, or its tracing library's.
//!
//! ```
//! # use martlet_client::{Client, Message, PublishProperties, UserProperties, client::trace_context};
//! # use martlet_client::client::trace_context::TraceContext;
//! # async fn example(client: Client, message: Message) -> Result<(), Box<dyn std::error::Error>> {
//! // The trace that a message belongs to goes on in the one that answers it.
//! let span = [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]; // the id of this program's span
//! let context = match trace_context::extract(message.properties().user_properties()) {
//!     Ok(Some(context)) => context.with_parent(span)?,
//!     Ok(None) | Err(_) => TraceContext::new([7; 16], span)?, // a new trace
//! };
//! let mut pairs = UserProperties::new();
//! trace_context::inject(&context, &mut pairs);
//! let properties = PublishProperties::builder().user_properties(&pairs);
//! client.publish("answers", "42").properties(properties).await?;
//! # Ok(())
//! # }
//! ```
//!
//! User properties are of MQTT 5: on a connection of 3.x they are left out.
//!
//! [W3C Trace Context]: https://www.w3.org/TR/trace-context-1/

use martlet_proto::{UserProperties, Utf8String};
use std::fmt;
use std::str::FromStr;

/// The names of the user properties.
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The most members of a `tracestate` (§3.3.1.1).
const MEMBERS: usize = 32;

/// How long a `traceparent` of version 00 is.
const LENGTH: usize = 55;

/// Where in a distributed trace something happens: its `traceparent`, and the `tracestate` of the
/// tracing systems that took part.
///
/// ```
/// use martlet_client::client::trace_context::TraceContext;
///
/// let context: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse()?;
/// assert!(context.is_sampled());
/// assert_eq!(context.trace_id()[0], 0x4b);
/// # Ok::<(), martlet_client::client::trace_context::TraceContextError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    is_sampled: bool,
    state: String,
}

impl TraceContext {
    /// The context of a new trace, which is sampled; `parent_id` is the id of the span that sends it.
    ///
    /// # Errors
    /// [`TraceContextError`] if either is all zero.
    pub fn new(trace_id: [u8; 16], parent_id: [u8; 8]) -> Result<Self, TraceContextError> {
        if trace_id == [0; 16] {
            return Err(TraceContextError::TraceId);
        }
        let context = Self {
            trace_id,
            parent_id,
            is_sampled: true,
            state: String::new(),
        };
        context.with_parent(parent_id)
    }

    /// The same trace, in another span.
    ///
    /// # Errors
    /// [`TraceContextError::ParentId`] if it is all zero.
    pub fn with_parent(mut self, parent_id: [u8; 8]) -> Result<Self, TraceContextError> {
        if parent_id == [0; 8] {
            return Err(TraceContextError::ParentId);
        }
        self.parent_id = parent_id;
        Ok(self)
    }

    /// Sets whether the sender may have recorded the trace. Default: true for a new one.
    #[must_use]
    pub fn with_sampled(mut self, is_sampled: bool) -> Self {
        self.is_sampled = is_sampled;
        self
    }

    /// Sets the `tracestate`. Put your own member in front, as the specification asks.
    ///
    /// # Errors
    /// [`TraceContextError::State`] if it is malformed, has more than 32 members or one twice.
    pub fn with_state(mut self, state: &str) -> Result<Self, TraceContextError> {
        self.state = checked_state([state])?;
        Ok(self)
    }

    /// The id of the trace.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The id of the span that sent it.
    pub fn parent_id(&self) -> [u8; 8] {
        self.parent_id
    }

    /// Whether the sender may have recorded the trace.
    pub fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// The `tracestate`; empty if there is none.
    pub fn state(&self) -> &str {
        &self.state
    }
}

/// The `traceparent`, of version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace_id
            .iter()
            .try_for_each(|n| write!(f, "{n:02x}"))?;
        f.write_str("-")?;
        self.parent_id
            .iter()
            .try_for_each(|n| write!(f, "{n:02x}"))?;
        write!(f, "-{:02x}", u8::from(self.is_sampled))
    }
}

/// A `traceparent`. One of a version that is not known yet is read as far as this one goes (§4.3).
impl FromStr for TraceContext {
    type Err = TraceContextError;

    fn from_str(text: &str) -> Result<Self, TraceContextError> {
        let bytes = text.as_bytes();
        let (Some(head), rest) = (bytes.get(..LENGTH), bytes.get(LENGTH..)) else {
            return Err(TraceContextError::Length);
        };
        let [version] = hex(&head[..2]).ok_or(TraceContextError::Version)?;
        match (version, rest) {
            (0xff, _) => return Err(TraceContextError::Version),
            (0, Some([_, ..])) => return Err(TraceContextError::Length),
            (_, Some([next, ..])) if *next != b'-' => return Err(TraceContextError::Length),
            _ => {}
        }
        if [2, 35, 52].iter().any(|&at| head[at] != b'-') {
            return Err(TraceContextError::Length);
        }
        let trace_id = hex(&head[3..35]).ok_or(TraceContextError::TraceId)?;
        let parent_id = hex(&head[36..52]).ok_or(TraceContextError::ParentId)?;
        let [flags] = hex(&head[53..55]).ok_or(TraceContextError::Flags)?;
        // Other flags mean nothing yet, and are not handed on (§3.2.2.5).
        Ok(Self::new(trace_id, parent_id)?.with_sampled(flags & 1 == 1))
    }
}

/// What is wrong with a trace context. The sender has made it; a receiver begins a new trace (§3.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceContextError {
    /// The `traceparent` is too short, too long, or its parts are not where they belong.
    #[error("the traceparent is not of the form version-traceid-parentid-flags")]
    Length,
    /// Its version is no hexadecimal number in lower case, or ff.
    #[error("the version of the traceparent is invalid")]
    Version,
    /// The trace id is no hexadecimal number in lower case, or zero.
    #[error("the trace id is invalid")]
    TraceId,
    /// The parent id is no hexadecimal number in lower case, or zero.
    #[error("the parent id is invalid")]
    ParentId,
    /// The flags are no hexadecimal number in lower case.
    #[error("the flags of the traceparent are invalid")]
    Flags,
    /// There is more than one `traceparent`.
    #[error("there is more than one traceparent")]
    Repeated,
    /// The `tracestate` is malformed, has too many members, or one twice.
    #[error("the tracestate is invalid")]
    State,
}

/// A number of `N` bytes, in lower case.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut number = [0; N];
    for (n, pair) in number.iter_mut().zip(digits.chunks_exact(2)) {
        *n = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(number)
}

/// Writes the context into the user properties of a message. What they have of one is replaced.
#[expect(
    clippy::missing_panics_doc,
    reason = "a tracestate was checked when it was set"
)]
pub fn inject(context: &TraceContext, properties: &mut UserProperties) {
    let text = |text: &str| Utf8String::try_from(text).expect("short, and of ASCII");
    let is_ours = |name: &str| matches!(name, TRACEPARENT | TRACESTATE);
    if properties.iter().any(|(name, _)| is_ours(name)) {
        let others = properties.iter().filter(|(name, _)| !is_ours(name));
        let others: Vec<_> = others
            .map(|(name, value)| (text(name), text(value)))
            .collect();
        properties.clear();
        for (name, value) in others {
            properties.push(name, value);
        }
    }
    properties.push(text(TRACEPARENT), text(&context.to_string()));
    if !context.state.is_empty() {
        properties.push(text(TRACESTATE), text(&context.state));
    }
}

/// Reads the context out of user properties; `None` if they have none. Several `tracestate` are one
/// (§3.3.1), and one that is malformed is left out, as the specification asks.
///
/// # Errors
/// [`TraceContextError`] if the `traceparent` is malformed, or there are several.
pub fn extract<'a>(
    properties: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Option<TraceContext>, TraceContextError> {
    let (mut parent, mut states) = (None, Vec::new());
    for (name, value) in properties {
        match name {
            TRACEPARENT if parent.is_some() => return Err(TraceContextError::Repeated),
            TRACEPARENT => parent = Some(value),
            // More than that is malformed.
            TRACESTATE if states.len() <= MEMBERS => states.push(value),
            _ => {}
        }
    }
    let Some(parent) = parent else {
        return Ok(None);
    };
    let mut context: TraceContext = parent.parse()?;
    context.state = checked_state(states).unwrap_or_default();
    Ok(Some(context))
}

/// The members of a `tracestate`, with one comma between them.
fn checked_state<'a>(
    states: impl IntoIterator<Item = &'a str>,
) -> Result<String, TraceContextError> {
    let mut members: Vec<(&str, &str)> = Vec::new();
    let all = states.into_iter().flat_map(|state| state.split(','));
    for member in all {
        let member = member.trim_matches([' ', '\t']);
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_once('=').ok_or(TraceContextError::State)?;
        let is_new = members.iter().all(|(known, _)| *known != key);
        if !is_key(key) || !is_value(value) || !is_new || members.len() == MEMBERS {
            return Err(TraceContextError::State);
        }
        members.push((key, value));
    }
    let members = members.iter().map(|(key, value)| format!("{key}={value}"));
    Ok(members.collect::<Vec<_>>().join(","))
}

/// §3.3.1.3.1.
fn is_key(key: &str) -> bool {
    let is_part = |part: &str, most: usize, digit_first: bool| {
        let first = part.as_bytes().first();
        let begins = first.is_some_and(|first| {
            first.is_ascii_lowercase() || (digit_first && first.is_ascii_digit())
        });
        let rest = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte)
        };
        begins && part.len() <= most && part.bytes().all(rest)
    };
    match key.split_once('@') {
        Some((tenant, system)) => is_part(tenant, 241, true) && is_part(system, 14, false),
        None => is_part(key, 256, false),
    }
}

/// §3.3.1.3.2.
fn is_value(value: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    (1..=256).contains(&value.len()) && !value.ends_with(' ') && value.bytes().all(allowed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_traceparent_is_read_strictly() {
        use TraceContextError as E;
        let valid = |text: &str| {
            text.parse::<TraceContext>()
                .map(|context| context.to_string())
        };
        let good = format!("00-{TRACE}-{SPAN}-01");
        let unsampled = format!("00-{TRACE}-{SPAN}-00");
        for (text, expected) in [
            (good.clone(), Ok(&good)),
            (unsampled.clone(), Ok(&unsampled)),
            // Flags that mean nothing yet are not handed on.
            (format!("00-{TRACE}-{SPAN}-ff"), Ok(&good)),
            (format!("00-{TRACE}-{SPAN}-02"), Ok(&unsampled)),
            // Versions to come.
            (format!("cc-{TRACE}-{SPAN}-01"), Ok(&good)),
            (format!("cc-{TRACE}-{SPAN}-01-what"), Ok(&good)),
            (format!("01-{TRACE}-{SPAN}-01-"), Ok(&good)),
            (format!("cc-{TRACE}-{SPAN}-01.what"), Err(E::Length)),
            (format!("00-{TRACE}-{SPAN}-01-"), Err(E::Length)),
            (format!("00-{TRACE}-{SPAN}-0"), Err(E::Length)),
            (format!("ff-{TRACE}-{SPAN}-01"), Err(E::Version)),
            (format!("0x-{TRACE}-{SPAN}-01"), Err(E::Version)),
            (format!("CC-{TRACE}-{SPAN}-01"), Err(E::Version)),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), Err(E::TraceId)),
            (
                format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
                Err(E::TraceId),
            ),
            (
                format!("00-{TRACE}-{}-01", "0".repeat(16)),
                Err(E::ParentId),
            ),
            (
                format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
                Err(E::ParentId),
            ),
            (format!("00-{TRACE}-{SPAN}-0A"), Err(E::Flags)),
            (format!("00-{TRACE}-{SPAN}-.0"), Err(E::Flags)),
            (format!("00_{TRACE}-{SPAN}-01"), Err(E::Length)),
            (format!("00-{TRACE}_{SPAN}-01"), Err(E::Length)),
            (format!("00-{TRACE}-{SPAN}_01"), Err(E::Length)),
            (format!(" 00-{TRACE}-{SPAN}-01"), Err(E::Version)),
            ("é".repeat(30), Err(E::Version)),
            (String::new(), Err(E::Length)),
        ] {
            assert_eq!(valid(&text).as_ref(), expected.as_ref().copied(), "{text}");
        }
        assert_eq!(TraceContext::new([0; 16], [1; 8]), Err(E::TraceId));
        assert_eq!(TraceContext::new([1; 16], [0; 8]), Err(E::ParentId));
    }

    #[test]
    fn a_tracestate_is_read_strictly() {
        let context = TraceContext::new([1; 16], [2; 8]).unwrap();
        let state = |text: &str| {
            let context = context.clone().with_state(text);
            context.ok().map(|context| context.state().to_owned())
        };
        let many = |n: usize| {
            (0..n)
                .map(|n| format!("k{n}=v"))
                .collect::<Vec<_>>()
                .join(",")
        };
        for good in [
            "a=1",
            "rojo=00f067,congo=t61",
            "1a@b=x y",
            "a-b_c*d/e= x",
            &many(32),
            "",
        ] {
            assert_eq!(state(good).as_deref(), Some(good));
        }
        assert_eq!(state("a=1 , ,\tb=2,").as_deref(), Some("a=1,b=2"));
        let long = format!("a={}", "x".repeat(257));
        for bad in [
            "a",
            "=1",
            "a=",
            "A=1",
            "1=1",
            "a=1=2",
            "a@=1",
            "@b=1",
            "a@1b=x",
            "a@b@c=1",
            "é=1",
            "a=é",
            "a=1,a=2",
            &many(33),
            &long,
        ] {
            assert_eq!(state(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_injected_is_extracted() {
        let context = TraceContext::new([0xab; 16], [7; 8]).unwrap();
        let context = context.with_sampled(false).with_state("a=1,b=2").unwrap();
        let mut properties = UserProperties::try_from([
            ("unit", "C"),
            (TRACEPARENT, "old"),
            (TRACESTATE, "old=1"),
            ("room", "7"),
        ])
        .unwrap();
        inject(&context, &mut properties);
        assert_eq!(extract(properties.iter()), Ok(Some(context.clone())));
        assert_eq!((properties.len(), properties.get("room")), (4, Some("7")));
        let plain = context.with_state("").unwrap();
        inject(&plain, &mut properties);
        assert_eq!(extract(properties.iter()), Ok(Some(plain)));
        assert_eq!(properties.len(), 3);
    }

    #[test]
    fn what_is_wrong_is_told_or_left_out() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        let of = |pairs: &[(&'static str, &str)]| {
            extract(pairs.iter().copied())
                .map(|context| context.map(|found| found.state().to_owned()))
        };
        assert_eq!(of(&[("unit", "C"), (TRACESTATE, "a=1")]), Ok(None));
        let twice = [(TRACEPARENT, &*good), (TRACEPARENT, &good)];
        assert_eq!(of(&twice), Err(TraceContextError::Repeated));
        assert_eq!(of(&[(TRACEPARENT, "x")]), Err(TraceContextError::Length));
        let combined = [
            (TRACESTATE, "a=1"),
            (TRACEPARENT, &good),
            (TRACESTATE, "b=2"),
        ];
        assert_eq!(of(&combined), Ok(Some("a=1,b=2".to_owned())));
        let malformed = [(TRACEPARENT, &*good), (TRACESTATE, "A")];
        assert_eq!(of(&malformed), Ok(Some(String::new())));
        let mut many = vec![(TRACEPARENT, &*good)];
        many.extend([(TRACESTATE, "")].repeat(10_000));
        assert_eq!(of(&many), Ok(Some(String::new())));
    }
}

//! Topic names and topic filters (MQTT 5 §4.7, §4.8.2), checked when they are made.

use crate::ground::text::{MAX_LEN, TextError, Utf8String, check_text, is_plain_topic};
use alloc::string::String;
use bytes::Bytes;
use core::fmt;

/// The topic that a message is published to: at least one character, no wildcards (MQTT 5 §4.7). A
/// clone shares it.
///
/// ```
/// # use martlet_proto::{TopicError, TopicName};
/// assert_eq!(TopicName::new("sensors/1/temp")?.as_str(), "sensors/1/temp");
/// assert!(TopicName::new("sensors/+/temp").is_err()); // a filter
/// # Ok::<(), TopicError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Utf8String);

/// What a subscription asks for: a topic name in which `+` stands for one level and `#`, at the
/// end, for all that follow; `$share/{name}/{filter}` shares the messages among the subscribers of
/// that name (MQTT 5 §4.7, §4.8.2).
///
/// ```
/// # use martlet_proto::{TopicError, TopicFilter};
/// let filter = TopicFilter::new("sensors/+/temp")?;
/// assert!(filter.matches("sensors/1/temp") && !filter.matches("sensors/1/level"));
/// # Ok::<(), TopicError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Utf8String);

/// Why something is not a topic name or a topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// No character at all [MQTT-4.7.3-1].
    #[error("a topic needs at least one character")]
    Empty,
    /// Not a string that MQTT can carry.
    #[error(transparent)]
    Text(#[from] TextError),
    /// `+` or `#` in a topic name [MQTT-3.3.2-2].
    #[error(
        "a topic name holds the wildcard {wildcard:?} at byte {at}; wildcards are for subscriptions"
    )]
    Wildcard {
        /// `+` or `#`.
        wildcard: char,
        /// Index of the byte.
        at: u32,
    },
    /// `#` that is not a whole last level [MQTT-4.7.1-1].
    #[error("'#' at byte {at} must stand alone, as the last level")]
    MultiLevel {
        /// Index of the byte.
        at: u32,
    },
    /// `+` that is not a whole level [MQTT-4.7.1-2].
    #[error("'+' at byte {at} must be a whole level")]
    SingleLevel {
        /// Index of the byte.
        at: u32,
    },
    /// `$share/` without a share name, or with `/`, `+` or `#` in it [MQTT-4.8.2-1, MQTT-4.8.2-2].
    #[error(
        "the share name after '$share/' must be one or more characters without '/', '+' and '#'"
    )]
    ShareName,
    /// `$share/name` without a filter behind it [MQTT-4.8.2-2], or with one that has a share name
    /// itself.
    #[error("a shared subscription needs '/' and a filter that is not shared after its share name")]
    ShareFilter,
}

impl TopicName {
    /// Checks `name` and takes it; borrowed text is copied, owned text is not.
    ///
    /// # Errors
    /// [`TopicError`] when it is empty, too long, or holds a wildcard or U+0000.
    pub fn new(name: impl Into<String>) -> Result<Self, TopicError> {
        Self::from_bytes(Bytes::from(name.into().into_bytes()))
    }

    /// Checks a name that lives as long as the program; nothing is copied.
    ///
    /// # Errors
    /// [`TopicError`] when it is empty, too long, or holds a wildcard or U+0000.
    pub fn from_static(name: &'static str) -> Result<Self, TopicError> {
        Self::from_bytes(Bytes::from_static(name.as_bytes()))
    }

    /// Checks bytes and shares them.
    ///
    /// # Errors
    /// [`TopicError`] when they are not a topic name.
    pub fn from_bytes(name: Bytes) -> Result<Self, TopicError> {
        if name.is_empty() {
            return Err(TopicError::Empty);
        }
        check_name(&name)?;
        Ok(Self(Utf8String::from_checked(name)))
    }

    pub(crate) fn from_checked(name: Bytes) -> Self {
        Self(Utf8String::from_checked(name))
    }

    /// Copies the name to memory of its own, so that it does not keep alive the buffer in which it
    /// arrived.
    pub fn detach(&mut self) {
        self.0.detach();
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Its UTF-8 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Its UTF-8 bytes, shared.
    pub fn into_bytes(self) -> Bytes {
        self.0.into_bytes()
    }
}

impl TopicFilter {
    /// Copies the filter to memory of its own, so that it does not keep alive the buffer in which
    /// it arrived.
    pub fn detach(&mut self) {
        self.0.detach();
    }

    /// Checks `filter` and takes it; borrowed text is copied, owned text is not.
    ///
    /// # Errors
    /// [`TopicError`] when it is empty or too long, holds U+0000, or a wildcard or share name is in
    /// the wrong place.
    pub fn new(filter: impl Into<String>) -> Result<Self, TopicError> {
        Self::from_bytes(Bytes::from(filter.into().into_bytes()))
    }

    /// The filter of a shared subscription, `$share/{share_name}/{filter}` (MQTT 5 §4.8.2).
    ///
    /// ```
    /// # use martlet_proto::{TopicError, TopicFilter};
    /// let filter = TopicFilter::shared("workers", "jobs/+")?;
    /// assert_eq!(filter.as_str(), "$share/workers/jobs/+");
    /// assert_eq!(TopicFilter::shared("a/b", "jobs/+"), Err(TopicError::ShareName));
    /// # Ok::<(), TopicError>(())
    /// ```
    ///
    /// # Errors
    /// [`TopicError::ShareName`] when the share name is empty or holds `/`, `+` or `#`,
    /// [`TopicError::ShareFilter`] when the filter is that of a shared subscription already, and
    /// what [`new`](Self::new) returns.
    pub fn shared(
        share_name: impl AsRef<str>,
        filter: impl TryInto<Self, Error: Into<TopicError>>,
    ) -> Result<Self, TopicError> {
        let (share_name, filter) = (share_name.as_ref(), filter.try_into().map_err(Into::into)?);
        if share_name.contains('/') {
            return Err(TopicError::ShareName);
        }
        if filter.share_name().is_some() {
            return Err(TopicError::ShareFilter);
        }
        Self::new(alloc::format!("{SHARE}{share_name}/{filter}"))
    }

    /// Checks bytes and shares them.
    ///
    /// # Errors
    /// [`TopicError`] when they are not a topic filter.
    pub fn from_bytes(filter: Bytes) -> Result<Self, TopicError> {
        check_filter(&filter)?;
        Ok(Self(Utf8String::from_checked(filter)))
    }

    pub(crate) fn from_checked(filter: Bytes) -> Self {
        Self(Utf8String::from_checked(filter))
    }

    /// The filter.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Its UTF-8 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The share name of `$share/{name}/{filter}` (MQTT 5 §4.8.2).
    pub fn share_name(&self) -> Option<&str> {
        Some(self.as_str().strip_prefix(SHARE)?.split_once('/')?.0)
    }

    /// What is matched: the filter, without `$share/{name}/`.
    pub fn pattern(&self) -> &str {
        let text = self.as_str();
        match text
            .strip_prefix(SHARE)
            .and_then(|shared| shared.split_once('/'))
        {
            Some((_, pattern)) => pattern,
            None => text,
        }
    }

    /// Whether it holds `+` or `#`.
    pub fn has_wildcards(&self) -> bool {
        self.pattern_bytes().iter().any(|&b| b == b'+' || b == b'#')
    }

    /// Whether a message with this topic name is meant (MQTT 5 §4.7.1, §4.7.2): compared character
    /// by character, without normalisation; a filter that begins with a wildcard never matches a
    /// topic that begins with `$`. Of a shared subscription, the part behind the share name is
    /// matched.
    pub fn matches(&self, topic: &(impl AsRef<[u8]> + ?Sized)) -> bool {
        matches(self.pattern_bytes(), topic.as_ref())
    }

    #[inline]
    pub(crate) fn pattern_bytes(&self) -> &[u8] {
        pattern(self.as_bytes())
    }
}

/// The part of a filter behind `$share/` and the share name, if it has one.
#[inline]
fn pattern(filter: &[u8]) -> &[u8] {
    let Some(shared) = filter.strip_prefix(SHARE.as_bytes()) else {
        return filter;
    };
    match shared.iter().position(|&b| b == b'/') {
        Some(at) => &shared[at + 1..],
        None => filter,
    }
}

const SHARE: &str = "$share/";

/// `filter` is well-formed and without a share name. One pass, no allocation.
fn matches(filter: &[u8], topic: &[u8]) -> bool {
    if filter == topic {
        // A filter that is a topic name; no name has wildcards.
        return !topic.is_empty();
    }
    if topic.is_empty() || (topic[0] == b'$' && matches!(filter.first(), Some(b'+' | b'#'))) {
        return false;
    }
    let mut levels = topic.split(|&b| b == b'/');
    for wanted in filter.split(|&b| b == b'/') {
        if wanted == b"#" {
            // Also the parent level: "a/#" matches "a".
            return true;
        }
        match levels.next() {
            Some(level) if wanted == b"+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Everything but emptiness: a PUBLISH may name its topic by an alias and have none of its own.
#[inline]
pub(crate) fn check_name(name: &[u8]) -> Result<(), TopicError> {
    if name.len() <= MAX_LEN && is_plain_topic(name) {
        return Ok(());
    }
    check_name_slowly(name)
}

#[cold]
fn check_name_slowly(name: &[u8]) -> Result<(), TopicError> {
    check_text(name)?;
    match name.iter().position(|&b| b == b'+' || b == b'#') {
        Some(at) => Err(TopicError::Wildcard {
            wildcard: name[at] as char,
            at: at as u32,
        }),
        None => Ok(()),
    }
}

pub(crate) fn check_filter(filter: &[u8]) -> Result<(), TopicError> {
    if filter.is_empty() {
        return Err(TopicError::Empty);
    }
    check_text(filter)?;
    let mut at = 0;
    if let Some(shared) = filter.strip_prefix(SHARE.as_bytes()) {
        let name = shared.iter().position(|&b| b == b'/');
        let share_name = &shared[..name.unwrap_or(shared.len())];
        if share_name.is_empty() || share_name.iter().any(|&b| b == b'+' || b == b'#') {
            return Err(TopicError::ShareName);
        }
        match name {
            Some(slash) if slash + 1 < shared.len() => at = SHARE.len() + slash + 1,
            _ => return Err(TopicError::ShareFilter),
        }
    }
    let end = filter.len();
    for level in filter[at..].split(|&b| b == b'/') {
        if level.len() > 1 {
            if let Some(i) = level.iter().position(|&b| b == b'+' || b == b'#') {
                let at = (at + i) as u32;
                return Err(if level[i] == b'#' {
                    TopicError::MultiLevel { at }
                } else {
                    TopicError::SingleLevel { at }
                });
            }
        } else if level == b"#" && at + 1 < end {
            return Err(TopicError::MultiLevel { at: at as u32 });
        }
        at += level.len() + 1;
    }
    Ok(())
}

macro_rules! text_traits {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }
        impl TryFrom<&str> for $name {
            type Error = TopicError;
            fn try_from(text: &str) -> Result<Self, TopicError> {
                Self::new(text)
            }
        }
        impl TryFrom<&String> for $name {
            type Error = TopicError;
            fn try_from(text: &String) -> Result<Self, TopicError> {
                Self::new(text.as_str())
            }
        }
        impl TryFrom<String> for $name {
            type Error = TopicError;
            fn try_from(text: String) -> Result<Self, TopicError> {
                Self::new(text)
            }
        }
        impl From<&$name> for $name {
            fn from(same: &$name) -> Self {
                same.clone()
            }
        }
        impl core::str::FromStr for $name {
            type Err = TopicError;
            fn from_str(text: &str) -> Result<Self, TopicError> {
                Self::new(text)
            }
        }
    };
}
text_traits!(TopicName);
text_traits!(TopicFilter);

impl From<core::convert::Infallible> for TopicError {
    fn from(never: core::convert::Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [
            "a",
            "/",
            "//",
            " ",
            "a b/ü/\u{feff}",
            "$SYS/x",
            "*",
            "$share/a/b",
        ] {
            assert!(TopicName::new(good).is_ok(), "{good:?}");
        }
        assert_eq!(TopicName::new(""), Err(TopicError::Empty));
        assert_eq!(
            TopicName::new("a/+"),
            Err(TopicError::Wildcard {
                wildcard: '+',
                at: 2
            })
        );
        assert_eq!(
            TopicName::new("ü#"),
            Err(TopicError::Wildcard {
                wildcard: '#',
                at: 2
            })
        );
        assert_eq!(
            TopicName::new("a\0"),
            Err(TopicError::Text(TextError::Null { at: 1 }))
        );
        // MQTT-4.7.3-3
        assert!(
            TopicName::new("é/".repeat(21_845)).is_ok()
                && TopicFilter::new("é/".repeat(21_845)).is_ok()
        );
        let too_long = TopicError::Text(TextError::TooLong { len: 65_536 });
        assert_eq!(TopicName::new("x".repeat(65_536)), Err(too_long));
        assert_eq!(TopicFilter::new("x".repeat(65_536)), Err(too_long));
    }

    #[test]
    fn filters() {
        for good in [
            "#",
            "+",
            "/",
            "+/",
            "/+",
            "a/#",
            "+/+/#",
            "a//#",
            "$share/g/a",
            "$share/g/#",
            "$share//",
            "$share",
            "$shared/#",
        ] {
            let bad = good == "$share//";
            assert_eq!(TopicFilter::new(good).is_ok(), !bad, "{good:?}");
        }
        let error = |text: &str| TopicFilter::new(text).unwrap_err();
        assert_eq!(error(""), TopicError::Empty);
        assert_eq!(error("a#"), TopicError::MultiLevel { at: 1 });
        assert_eq!(error("a/#/b"), TopicError::MultiLevel { at: 2 });
        assert_eq!(error("#/"), TopicError::MultiLevel { at: 0 });
        assert_eq!(error("sport+"), TopicError::SingleLevel { at: 5 });
        assert_eq!(error("a/+b"), TopicError::SingleLevel { at: 2 });
        assert_eq!(error("$share/"), TopicError::ShareName);
        assert_eq!(error("$share/+/a"), TopicError::ShareName);
        assert_eq!(error("$share/g"), TopicError::ShareFilter);
        assert_eq!(error("$share/g/"), TopicError::ShareFilter);
        assert_eq!(error("$share/g/a#"), TopicError::MultiLevel { at: 10 });
    }

    #[test]
    fn filters_of_shared_subscriptions() {
        let shared = |name: &str, filter: &str| TopicFilter::shared(name, filter);
        for (name, filter) in [("g", "a/+"), ("$g ü", "#"), ("g", "$SYS/#"), ("g", "/")] {
            let shared = shared(name, filter).unwrap();
            assert_eq!(shared.as_str(), alloc::format!("$share/{name}/{filter}"));
            assert_eq!(shared.share_name(), Some(name));
            assert_eq!(shared.pattern(), filter);
        }
        for name in ["", "/", "a/", "a/b", "+", "a+", "#", "a#b"] {
            assert_eq!(shared(name, "a"), Err(TopicError::ShareName), "{name:?}");
        }
        assert_eq!(shared("g", ""), Err(TopicError::Empty));
        assert_eq!(shared("g", "$share/h/a"), Err(TopicError::ShareFilter));
        assert_eq!(shared("g", "a#"), Err(TopicError::MultiLevel { at: 1 }));
        assert_eq!(shared("g\0", "a"), Err(TextError::Null { at: 8 }.into()));
        let too_long = TextError::TooLong { len: 65_536 };
        assert_eq!(
            shared("g", &"x".repeat(65_527)),
            Err(TopicError::Text(too_long))
        );
        let name = TopicFilter::new("a").unwrap();
        assert!(TopicFilter::shared(String::from("g"), name).is_ok());
    }

    #[test]
    fn matching() {
        // (filter, topic, matches), MQTT 5 §4.7 and §4.8.2
        let table = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/ranking",
                true,
            ),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/score/wimbledon",
                true,
            ),
            ("sport/#", "sport", true),
            ("sport/#", "sports", false),
            ("#", "a/b", true),
            ("#", "/", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("ACCOUNTS", "Accounts", false),
            ("a/b", "a/b", true),
            ("a/b", "a/b/", false),
            ("a/b/", "a/b", false),
            ("a//b", "a/b", false),
            ("$share/g/a/+", "a/b", true),
            ("$share/g/#", "$SYS/x", false),
            ("$share/g/$SYS/#", "$SYS/x", true),
            ("$share/g/a", "$share/g/a", false),
        ];
        for (filter, topic, expected) in table {
            assert_eq!(
                TopicFilter::new(filter).unwrap().matches(topic),
                expected,
                "{filter} {topic}"
            );
        }
        let shared = TopicFilter::new("$share/g/a/+").unwrap();
        assert_eq!((shared.share_name(), shared.pattern()), (Some("g"), "a/+"));
        assert_eq!(TopicFilter::new("a/b").unwrap().share_name(), None);
        assert!(shared.has_wildcards() && !TopicFilter::new("a/b").unwrap().has_wildcards());
    }
}

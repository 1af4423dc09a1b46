//! UTF-8 encoded strings and binary data (MQTT 5 §1.5.4, §1.5.6): checked when made, cheap to
//! clone.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

/// A string as MQTT carries it: well-formed UTF-8 without U+0000, at most 65,535 bytes (MQTT 5
/// §1.5.4).
///
/// U+FEFF is an ordinary character here and is kept [MQTT-1.5.4-3]. A clone shares the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Utf8String(Bytes);

/// Why some bytes are not a string that MQTT can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// More than 65,535 bytes.
    #[error("{len} bytes is too long: MQTT carries at most 65535 bytes here")]
    TooLong {
        /// How many bytes there are; `u32::MAX` also stands for more.
        len: u32,
    },
    /// U+0000 at this byte.
    #[error("the null character U+0000 at byte {at} is not allowed")]
    Null {
        /// Index of the byte.
        at: u32,
    },
    /// Ill-formed UTF-8 (an encoded surrogate included) from this byte on.
    #[error("ill-formed UTF-8 at byte {at}")]
    NotUtf8 {
        /// Index of the first bad byte.
        at: u32,
    },
}

/// The longest string or binary data that a two-byte length can carry.
pub(crate) const MAX_LEN: usize = u16::MAX as usize;

impl Utf8String {
    /// Checks `text` and takes it; borrowed text is copied, owned text is not.
    ///
    /// # Errors
    /// [`TextError`] when it is too long or holds U+0000.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        Self::from_bytes(Bytes::from(text.into().into_bytes()))
    }

    /// Checks a string that lives as long as the program; nothing is copied.
    ///
    /// # Errors
    /// [`TextError`] when it is too long or holds U+0000.
    pub fn from_static(text: &'static str) -> Result<Self, TextError> {
        Self::from_bytes(Bytes::from_static(text.as_bytes()))
    }

    /// Checks bytes and shares them.
    ///
    /// # Errors
    /// [`TextError`] when they are too long, hold U+0000 or are ill-formed UTF-8.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, TextError> {
        check_text(&bytes)?;
        Ok(Self(bytes))
    }

    /// For bytes that a decoder has checked already.
    pub(crate) fn from_checked(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        checked_str(&self.0)
    }

    /// The UTF-8 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The UTF-8 bytes, shared.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Copies the text to memory of its own, so that it does not keep alive the buffer in which it
    /// arrived.
    pub fn detach(&mut self) {
        self.0 = Bytes::copy_from_slice(&self.0);
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Utf8String {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Utf8String {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<core::convert::Infallible> for TextError {
    fn from(never: core::convert::Infallible) -> Self {
        match never {}
    }
}

impl TryFrom<&str> for Utf8String {
    type Error = TextError;
    fn try_from(text: &str) -> Result<Self, TextError> {
        Self::new(text)
    }
}

impl TryFrom<&String> for Utf8String {
    type Error = TextError;
    fn try_from(text: &String) -> Result<Self, TextError> {
        Self::new(text.as_str())
    }
}

impl TryFrom<String> for Utf8String {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        Self::new(text)
    }
}

impl PartialEq<str> for Utf8String {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Utf8String {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

/// Binary data as MQTT carries it: at most 65,535 bytes (MQTT 5 §1.5.6). A clone shares the bytes.
///
/// Passwords and authentication data travel in it, so `Debug` shows the length only.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct BinaryData(Bytes);

impl BinaryData {
    /// Takes the bytes.
    ///
    /// # Errors
    /// [`TextError::TooLong`] above 65,535 bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, TextError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_LEN {
            return Err(too_long(&bytes));
        }
        Ok(Self(bytes))
    }

    pub(crate) fn from_checked(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, shared.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Copies the data to memory of its own, so that it does not keep alive the buffer in which it
    /// arrived.
    pub fn detach(&mut self) {
        self.0 = Bytes::copy_from_slice(&self.0);
    }
}

impl fmt::Debug for BinaryData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl TryFrom<&[u8]> for BinaryData {
    type Error = TextError;
    fn try_from(bytes: &[u8]) -> Result<Self, TextError> {
        Self::new(Vec::from(bytes))
    }
}

impl TryFrom<&str> for BinaryData {
    type Error = TextError;
    fn try_from(text: &str) -> Result<Self, TextError> {
        Self::new(Vec::from(text))
    }
}

impl TryFrom<String> for BinaryData {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        Self::new(text)
    }
}

impl TryFrom<Vec<u8>> for BinaryData {
    type Error = TextError;
    fn try_from(bytes: Vec<u8>) -> Result<Self, TextError> {
        Self::new(bytes)
    }
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Has its high bit set in some byte when `word` holds a zero byte there (and possibly above the
/// lowest one).
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(LOW) & !word
}

/// Eight bytes at a time, the last word overlapping the one before: `bad` marks bytes by their high
/// bit. It stops at the first bad word, also because a loop that does not is made into one for long
/// strings, and most are short.
#[inline(always)]
fn all_words(bytes: &[u8], bad: impl Fn(u64) -> u64) -> bool {
    let good = |word: [u8; 8]| bad(u64::from_le_bytes(word)) & HIGH == 0;
    let Some(last) = bytes.last_chunk::<8>() else {
        // Shorter than a word: pad with a byte that is never bad.
        let mut word = [b'a'; 8];
        word.iter_mut()
            .zip(bytes)
            .for_each(|(to, &from)| *to = from);
        return good(word);
    };
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        if !good(*word) {
            return false;
        }
        rest = behind;
    }
    rest.is_empty() || good(*last)
}

/// Whether it is ASCII without NUL, as nearly every string is, in one pass.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    all_words(bytes, |w| w | zeros(w))
}

/// ASCII without NUL, `+` and `#`.
#[inline]
pub(crate) fn is_plain_topic(bytes: &[u8]) -> bool {
    all_words(bytes, |w| {
        w | zeros(w) | zeros(w ^ (LOW * b'+' as u64)) | zeros(w ^ (LOW * b'#' as u64))
    })
}

#[inline]
pub(crate) fn check_text(bytes: &[u8]) -> Result<(), TextError> {
    if bytes.len() <= MAX_LEN && is_plain(bytes) {
        return Ok(());
    }
    check_text_slowly(bytes)
}

#[cold]
fn check_text_slowly(bytes: &[u8]) -> Result<(), TextError> {
    if bytes.len() > MAX_LEN {
        return Err(too_long(bytes));
    }
    let valid = core::str::from_utf8(bytes).map_or_else(|e| e.valid_up_to(), str::len);
    if let Some(at) = bytes[..valid].iter().position(|&b| b == 0) {
        return Err(TextError::Null { at: at as u32 });
    }
    if valid < bytes.len() {
        return Err(TextError::NotUtf8 { at: valid as u32 });
    }
    Ok(())
}

const fn too_long(bytes: &[u8]) -> TextError {
    let len = bytes.len();
    TextError::TooLong {
        len: if len < u32::MAX as usize {
            len as u32
        } else {
            u32::MAX
        },
    }
}

/// The text of bytes that were checked when they were taken. (Checked again, because `unsafe` is
/// forbidden here: it costs a nanosecond or two, and only those who look pay it.)
pub(crate) fn checked_str(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).expect("checked when it was made")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    #[cfg_attr(miri, ignore = "too slow: 400,000 texts")]
    fn words_agree_with_bytes() {
        for len in 0..40 {
            for at in 0..len {
                for byte in 0..=255u8 {
                    let mut text = vec![b'x'; len];
                    text[at] = byte;
                    let plain = byte.is_ascii() && byte != 0;
                    assert_eq!(is_plain(&text), plain, "{byte:#x} at {at} of {len}");
                    assert_eq!(
                        is_plain_topic(&text),
                        plain && byte != b'+' && byte != b'#',
                        "{byte:#x} at {at} of {len}"
                    );
                }
            }
        }
    }

    #[test]
    fn strings_are_checked_when_made() {
        assert_eq!(Utf8String::new("a\0b"), Err(TextError::Null { at: 1 }));
        assert_eq!(
            Utf8String::from_bytes(Bytes::from_static(b"ab\xff")),
            Err(TextError::NotUtf8 { at: 2 })
        );
        assert_eq!(
            Utf8String::from_bytes(Bytes::from_static(b"\xed\xa0\x80")),
            Err(TextError::NotUtf8 { at: 0 })
        );
        assert_eq!(
            Utf8String::new("x".repeat(65_536)),
            Err(TextError::TooLong { len: 65_536 })
        );
        assert!(Utf8String::new("x".repeat(65_535)).is_ok());
        assert_eq!(
            Utf8String::new("\u{feff}é").unwrap().as_bytes(),
            b"\xef\xbb\xbf\xc3\xa9"
        );
        assert_eq!(
            BinaryData::new(vec![0; 65_536]),
            Err(TextError::TooLong { len: 65_536 })
        );
    }

    #[test]
    fn binary_data_keeps_its_secret() {
        assert_eq!(
            std::format!("{:?}", BinaryData::try_from("secret").unwrap()),
            "[6 bytes]"
        );
    }
}

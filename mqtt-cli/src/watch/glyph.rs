//! Text of others as cells of a terminal. What a terminal would act on, and what nobody would see,
//! is escaped here: there is no other way from a text to the screen.

use crate::escape;
use unicode_width::UnicodeWidthChar;

/// What one place of the screen shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Glyph {
    pub(super) c: char,
    /// Characters without a width of their own, such as accents; NUL where there is none.
    pub(super) marks: [char; MARKS],
    /// In columns: 1 or 2.
    pub(super) width: usize,
}

/// More accents on one character are escaped: they would be painted over the lines around it.
const MARKS: usize = 2;

impl Glyph {
    pub(super) const fn plain(c: char) -> Self {
        Self {
            c,
            marks: ['\0'; MARKS],
            width: 1,
        }
    }

    pub(super) fn marks(&self) -> impl Iterator<Item = char> {
        self.marks.into_iter().take_while(|mark| *mark != '\0')
    }
}

/// Whether this character has no looks: it could hide the difference between two topics, and
/// terminals disagree about its width.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// The glyphs of a text, one after the other: nothing is read beyond what is asked for.
pub(super) fn glyphs(text: &str) -> Glyphs<'_> {
    Glyphs {
        chars: text.chars(),
        next: None,
        escaped: String::new(),
        at: 0,
    }
}

/// Iterator of [`glyphs`].
pub(super) struct Glyphs<'a> {
    chars: std::str::Chars<'a>,
    /// A character that was read and belongs to the next glyph.
    next: Option<char>,
    /// An escape that is on its way out, and how much of it is.
    escaped: String,
    at: usize,
}

impl Iterator for Glyphs<'_> {
    type Item = Glyph;

    fn next(&mut self) -> Option<Glyph> {
        if let Some(byte) = self.escaped.as_bytes().get(self.at) {
            self.at += 1;
            return Some(Glyph::plain(char::from(*byte)));
        }
        let c = self.next.take().or_else(|| self.chars.next())?;
        let width = match is_invisible(c) || escape::is_active(c) {
            true => 0,
            false => c.width().unwrap_or(0),
        };
        if !(1..=2).contains(&width) {
            // Also a mark that stands on nothing, and the one character of three columns.
            self.escaped = escape_of(c);
            self.at = 0;
            return self.next();
        }
        let mut glyph = Glyph {
            width,
            ..Glyph::plain(c)
        };
        for mark in &mut glyph.marks {
            match self.chars.next() {
                Some(next) if is_mark(next) => *mark = next,
                next => {
                    self.next = next;
                    break;
                }
            }
        }
        Some(glyph)
    }
}

fn is_mark(c: char) -> bool {
    c.width() == Some(0) && !is_invisible(c) && !escape::is_active(c)
}

/// In ASCII.
fn escape_of(c: char) -> String {
    match escape::is_active(c) {
        true => escape::line(c.encode_utf8(&mut [0; 4])),
        false => format!("\\u{{{:x}}}", u32::from(c)),
    }
}

/// At most this many columns of a text, and how many they are; one that is longer ends with `…`.
pub(super) fn fit(text: &str, width: usize) -> (Vec<Glyph>, usize) {
    let mut fitting = Vec::new();
    let mut used = 0;
    for glyph in glyphs(text) {
        if used + glyph.width <= width {
            used += glyph.width;
            fitting.push(glyph);
            continue;
        }
        while used + 1 > width {
            let Some(last) = fitting.pop() else {
                return (fitting, used);
            };
            used -= last.width;
        }
        fitting.push(Glyph::plain('…'));
        return (fitting, used + 1);
    }
    (fitting, used)
}

/// The columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    glyphs(text).map(|glyph| glyph.width).sum()
}

/// A line in pieces of at most this many columns.
pub(super) fn wrap(line: &str, width: usize) -> Vec<Vec<Glyph>> {
    let mut lines = Vec::new();
    let mut current = Vec::new();
    let mut used = 0;
    for glyph in glyphs(line) {
        if used + glyph.width > width && !current.is_empty() {
            lines.push(std::mem::take(&mut current));
            used = 0;
        }
        used += glyph.width;
        current.push(glyph);
    }
    lines.push(current);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(glyphs: &[Glyph]) -> String {
        let mut text = String::new();
        for glyph in glyphs {
            text.push(glyph.c);
            text.extend(glyph.marks());
        }
        text
    }

    fn fitted(from: &str, width: usize) -> (String, usize) {
        let (glyphs, used) = fit(from, width);
        (text(&glyphs), used)
    }

    #[test]
    fn what_a_terminal_acts_on_and_what_nobody_sees_is_escaped() {
        for (from, expected) in [
            ("a\x1b[2J\u{9b}b\r\n", r"a\x1b[2J\u{9b}b\r\n"),
            ("a\u{202e}b\u{2066}c\u{61c}", r"a\u{202e}b\u{2066}c\u{61c}"),
            (
                "a\u{200b}\u{feff}\u{200d}\u{fe0f}\u{e0041}",
                r"a\u{200b}\u{feff}\u{200d}\u{fe0f}\u{e0041}",
            ),
            ("\u{301}e\u{301}e", "\\u{301}e\u{301}e"),
            (
                "e\u{301}\u{302}\u{303}\u{304}f",
                "e\u{301}\u{302}\\u{303}\\u{304}f",
            ),
            ("日本 é ü", "日本 é ü"),
        ] {
            assert_eq!(fitted(from, 100).0, expected);
        }
        let all: String = ('\0'..=char::MAX).collect();
        for glyph in glyphs(&all) {
            assert!(glyph.width == 1 || glyph.width == 2, "{glyph:?}");
            for c in std::iter::once(glyph.c).chain(glyph.marks()) {
                assert!(!escape::is_active(c) && !is_invisible(c), "{c:?}");
            }
        }
    }

    #[test]
    fn a_text_fits_whatever_its_width_is() {
        assert_eq!(fitted("abc", 3), ("abc".to_owned(), 3));
        assert_eq!(fitted("abcd", 3), ("ab…".to_owned(), 3));
        assert_eq!(fitted("日本", 4), ("日本".to_owned(), 4));
        assert_eq!(fitted("日本", 3), ("日…".to_owned(), 3));
        assert_eq!(fitted("日本語", 4), ("日…".to_owned(), 3));
        assert_eq!(fitted("日", 1), ("…".to_owned(), 1));
        assert_eq!(fitted("abc", 0), (String::new(), 0));
        assert_eq!(fitted("\x1b", 3), ("\\x…".to_owned(), 3));
        let pieces = |line, width| -> Vec<String> {
            wrap(line, width).iter().map(|line| text(line)).collect()
        };
        assert_eq!(pieces("abcdefg", 3), ["abc", "def", "g"]);
        assert_eq!(pieces("a日本b", 3), ["a日", "本b"]);
        assert_eq!(pieces("", 3), [""]);
        assert_eq!(
            pieces("日本", 1),
            ["日", "本"],
            "it ends, even without room"
        );
    }

    #[test]
    fn a_long_text_is_not_read_to_its_end() {
        let long = "a".repeat(1_000_000);
        let mut glyphs = glyphs(&long);
        assert_eq!(glyphs.by_ref().take(10).count(), 10);
        assert!(glyphs.chars.as_str().len() >= long.len() - 12 - MARKS);
        assert_eq!(width("日a\x07"), 7);
    }
}

//! The screen as cells, and the bytes that turn one screen into the next.

use super::glyph::{self, Glyph};
use crossterm::cursor::MoveTo;
use crossterm::queue;
use crossterm::style::{Attribute, Color, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{Clear, ClearType};
use std::io::{self, Write};

/// How a cell looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Style {
    is_bold: bool,
    is_dim: bool,
    is_reversed: bool,
    colour: Option<Color>,
}

impl Style {
    pub(super) const PLAIN: Self = Self {
        is_bold: false,
        is_dim: false,
        is_reversed: false,
        colour: None,
    };

    pub(super) const BOLD: Self = Self {
        is_bold: true,
        ..Self::PLAIN
    };

    pub(super) const DIM: Self = Self {
        is_dim: true,
        ..Self::PLAIN
    };

    pub(super) const fn reversed(self) -> Self {
        Self {
            is_reversed: true,
            ..self
        }
    }

    pub(super) const fn coloured(self, colour: Color) -> Self {
        Self {
            colour: Some(colour),
            ..self
        }
    }

    fn write(self, out: &mut Vec<u8>, has_colours: bool) -> io::Result<()> {
        queue!(out, SetAttribute(Attribute::Reset))?;
        let attributes = [
            (self.is_bold, Attribute::Bold),
            (self.is_dim, Attribute::Dim),
            (self.is_reversed, Attribute::Reverse),
        ];
        for (_, attribute) in attributes.iter().filter(|(is_set, _)| *is_set) {
            queue!(out, SetAttribute(*attribute))?;
        }
        match self.colour {
            Some(colour) if has_colours => queue!(out, SetForegroundColor(colour)),
            _ => Ok(()),
        }
    }
}

/// A place of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    /// `None`: the second column of the glyph before.
    glyph: Option<Glyph>,
    style: Style,
}

const BLANK: Cell = Cell {
    glyph: Some(Glyph::plain(' ')),
    style: Style::PLAIN,
};

/// A screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grid {
    width: usize,
    height: usize,
    cells: Vec<Cell>,
}

impl Grid {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            cells: vec![BLANK; width * height],
        }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn height(&self) -> usize {
        self.height
    }

    /// Puts a text at this place, in at most `width` columns, and returns how many it has taken.
    pub(super) fn put(
        &mut self,
        (x, y): (usize, usize),
        width: usize,
        text: &str,
        style: Style,
    ) -> usize {
        let width = width.min(self.width.saturating_sub(x));
        let (glyphs, used) = glyph::fit(text, width);
        self.put_glyphs((x, y), &glyphs, style);
        used
    }

    /// Puts a text so that it ends in the last of these columns.
    pub(super) fn put_right(
        &mut self,
        (x, y): (usize, usize),
        width: usize,
        text: &str,
        style: Style,
    ) {
        let (glyphs, used) = glyph::fit(text, width);
        self.put_glyphs((x + width - used, y), &glyphs, style);
    }

    pub(super) fn put_glyphs(&mut self, (x, y): (usize, usize), glyphs: &[Glyph], style: Style) {
        let mut at = x;
        for glyph in glyphs {
            if y >= self.height || at + glyph.width > self.width {
                return;
            }
            let begin = y * self.width + at;
            let end = begin + glyph.width;
            // The other half of a wide glyph is none any more.
            if at > 0 && self.cells[begin].glyph.is_none() {
                self.cells[begin - 1].glyph = Some(Glyph::plain(' '));
            }
            if at + glyph.width < self.width && self.cells[end].glyph.is_none() {
                self.cells[end].glyph = Some(Glyph::plain(' '));
            }
            for cell in &mut self.cells[begin..end] {
                *cell = Cell { glyph: None, style };
            }
            self.cells[begin].glyph = Some(*glyph);
            at += glyph.width;
        }
    }

    /// Gives a whole line a style, for texts that are put there afterwards as well.
    pub(super) fn paint(&mut self, y: usize, style: Style) {
        if y < self.height {
            for cell in &mut self.cells[y * self.width..(y + 1) * self.width] {
                cell.style = style;
            }
        }
    }

    /// Makes a rectangle empty.
    pub(super) fn clear(&mut self, (x, y): (usize, usize), width: usize, height: usize) {
        let blanks = vec![Glyph::plain(' '); width];
        for line in y..y + height {
            self.put_glyphs((x, line), &blanks, Style::PLAIN);
        }
    }

    /// The lines as text.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for line in self.cells.chunks(self.width.max(1)) {
            let mut written = String::new();
            for glyph in line.iter().filter_map(|cell| cell.glyph) {
                written.push(glyph.c);
                written.extend(glyph.marks());
            }
            text.push_str(written.trim_end());
            text.push('\n');
        }
        text
    }

    /// Appends the bytes with which a terminal that shows `before` shows this.
    pub(super) fn write_over(
        &self,
        before: Option<&Self>,
        out: &mut Vec<u8>,
        has_colours: bool,
    ) -> io::Result<()> {
        let same_size = |grid: &&Self| (grid.width, grid.height) == (self.width, self.height);
        let before = before.filter(same_size);
        queue!(out, SetAttribute(Attribute::Reset), ResetColor)?;
        if before.is_none() {
            queue!(out, Clear(ClearType::All))?;
        }
        let mut style = Style::PLAIN;
        // Where the terminal writes next, as far as that is certain.
        let mut cursor = None;
        for (index, cell) in self.cells.iter().enumerate() {
            let shown = before.map_or(&BLANK, |before| &before.cells[index]);
            let Some(glyph) = cell.glyph.filter(|_| shown != cell) else {
                continue;
            };
            if cursor != Some(index) {
                let (x, y) = (index % self.width, index / self.width);
                // A terminal has no more than this.
                let place = |place| u16::try_from(place).unwrap_or(u16::MAX);
                queue!(out, MoveTo(place(x), place(y)))?;
            }
            if cell.style != style {
                style = cell.style;
                style.write(out, has_colours)?;
            }
            write!(out, "{}", glyph.c)?;
            for mark in glyph.marks() {
                write!(out, "{mark}")?;
            }
            // Terminals disagree about the widths of others; and at the end of a line some wait.
            let is_certain = glyph.c.is_ascii() && glyph.marks().next().is_none();
            let is_last = (index + 1) % self.width == 0;
            cursor = (is_certain && !is_last).then_some(index + 1);
        }
        queue!(out, SetAttribute(Attribute::Reset), ResetColor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator of numbers: what it gives depends on its seed alone.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 33) as usize % limit
        }
    }

    fn random_grid(random: &mut Random, width: usize, height: usize) -> Grid {
        const PIECES: [&str; 10] = [
            "a",
            "bc",
            "日本語",
            "e\u{301}",
            "…",
            " ",
            "──",
            "\x1b[2J",
            "\u{202e}",
            "ü",
        ];
        const STYLES: [Style; 4] = [
            Style::PLAIN,
            Style::BOLD,
            Style::DIM.reversed(),
            Style::PLAIN.coloured(Color::Red),
        ];
        let mut grid = Grid::new(width, height);
        for _ in 0..random.below(12) {
            let place = (random.below(width), random.below(height));
            match random.below(6) {
                0 => grid.clear(place, random.below(width), random.below(height)),
                1 => grid.paint(place.1, STYLES[random.below(4)]),
                _ => {
                    let text: String = (0..random.below(8))
                        .map(|_| PIECES[random.below(10)])
                        .collect();
                    grid.put(place, random.below(width), &text, STYLES[random.below(4)]);
                }
            }
        }
        grid
    }

    /// Whatever was shown before, the terminal shows what is in the cells.
    #[test]
    fn a_terminal_shows_what_is_in_the_cells() {
        for seed in 0..300 {
            let mut random = Random(seed);
            let (width, height) = (10 + random.below(20), 1 + random.below(6));
            let size = |size: usize| u16::try_from(size).unwrap();
            let mut terminal = vt100::Parser::new(size(height), size(width), 0);
            let mut before = None;
            for _ in 0..6 {
                let grid = random_grid(&mut random, width, height);
                let mut bytes = Vec::new();
                grid.write_over(before.as_ref(), &mut bytes, true).unwrap();
                terminal.process(&bytes);
                let shown: String = terminal
                    .screen()
                    .rows(0, size(width))
                    .map(|row| format!("{}\n", row.trim_end()))
                    .collect();
                assert_eq!(shown, grid.text(), "seed {seed}");
                let mut again = Vec::new();
                grid.write_over(Some(&grid), &mut again, true).unwrap();
                assert!(again.len() < 20, "what is shown is not written again");
                before = Some(grid);
            }
        }
    }

    #[test]
    fn without_colours_there_are_none() {
        let mut grid = Grid::new(20, 1);
        grid.put((0, 0), 20, "red", Style::BOLD.coloured(Color::Red));
        let bytes = |has_colours| {
            let mut bytes = Vec::new();
            grid.write_over(None, &mut bytes, has_colours).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        assert!(bytes(true).contains("\x1b[38;5;9m"), "{:?}", bytes(true));
        assert!(!bytes(false).contains("\x1b[38"), "{:?}", bytes(false));
        assert!(bytes(false).contains("\x1b[1m"));
    }
}

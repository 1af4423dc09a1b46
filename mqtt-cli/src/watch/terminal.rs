//! The terminal: taken at the beginning, and given back however the command ends.

use super::grid::Grid;
use crossterm::cursor::{Hide, Show};
use crossterm::queue;
use crossterm::style::{Attribute, SetAttribute};
use crossterm::terminal::{
    self, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen,
};
use data_encoding::BASE64;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The terminal, while it shows a screen of ours. Dropping it restores it.
pub(super) struct Terminal<W: Write> {
    out: W,
    shown: Option<Grid>,
    has_colours: bool,
    /// Whether it is still to be restored: by the hook of a panic, or when this is dropped.
    is_taken: Arc<AtomicBool>,
}

impl Terminal<io::Stdout> {
    /// Takes the terminal of standard output. A panic gives it back before its message is printed.
    pub(super) fn take() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let terminal = Self::enter(io::stdout(), !no_colour)?;
        let is_taken = Arc::clone(&terminal.is_taken);
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore(&mut io::stdout(), &is_taken);
            previous(panic);
        }));
        Ok(terminal)
    }
}

impl<W: Write> Terminal<W> {
    fn enter(out: W, has_colours: bool) -> io::Result<Self> {
        let mut terminal = Self {
            out,
            shown: None,
            has_colours,
            is_taken: Arc::new(AtomicBool::new(true)),
        };
        let mut bytes = Vec::new();
        queue!(bytes, EnterAlternateScreen, Hide, DisableLineWrap)?;
        terminal.write(&bytes)?;
        Ok(terminal)
    }

    /// Shows this; only what has changed is written.
    pub(super) fn show(&mut self, grid: Grid) -> io::Result<()> {
        let mut bytes = Vec::new();
        grid.write_over(self.shown.as_ref(), &mut bytes, self.has_colours)?;
        self.shown = Some(grid);
        self.write(&bytes)
    }

    /// The next screen is written whole.
    pub(super) fn forget(&mut self) {
        self.shown = None;
    }

    /// Hands bytes to the terminal's clipboard: OSC 52, in base64.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(format!("\x1b]52;c;{}\x1b\\", BASE64.encode(bytes)).as_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Terminal<W> {
    fn drop(&mut self) {
        restore(&mut self.out, &self.is_taken);
    }
}

/// Gives the terminal back, once: a second time would move the cursor.
fn restore(out: &mut impl Write, is_taken: &AtomicBool) {
    if !is_taken.swap(false, Ordering::Relaxed) {
        return;
    }
    let mut bytes = Vec::new();
    // Writing to memory does not fail; and without a terminal there is nothing to restore.
    let _ = queue!(
        bytes,
        SetAttribute(Attribute::Reset),
        EnableLineWrap,
        Show,
        LeaveAlternateScreen
    );
    let _ = out.write_all(&bytes).and_then(|()| out.flush());
    let _ = terminal::disable_raw_mode();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_panic_and_an_error_restore_the_terminal() {
        let mut written = Vec::new();
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut terminal = Terminal::enter(&mut written, true).unwrap();
            terminal.show(Grid::new(3, 3)).unwrap();
            panic!("in the middle");
        }));
        assert!(result.is_err());
        let mut terminal = vt100::Parser::new(10, 20, 0);
        terminal.process(b"before");
        terminal.process(&written[..20]);
        assert!(terminal.screen().alternate_screen() && terminal.screen().hide_cursor());
        terminal.process(&written[20..]);
        assert!(!terminal.screen().alternate_screen() && !terminal.screen().hide_cursor());
        assert_eq!(terminal.screen().contents(), "before");
    }
}

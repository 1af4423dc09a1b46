//! Errors and warnings on standard error, one a line.

use crate::escape;
use crate::exit::Failure;
use std::io::{IsTerminal, Write};

/// Where errors and warnings go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    is_quiet: bool,
    is_coloured: bool,
}

impl Report {
    /// `--quiet` silences all but usage errors.
    pub(crate) fn new(is_quiet: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            is_quiet,
            is_coloured: wanted && std::io::stderr().is_terminal(),
        }
    }

    pub(crate) fn is_quiet(self) -> bool {
        self.is_quiet
    }

    pub(crate) fn failure(self, failure: &Failure) {
        if !failure.is_quiet() {
            self.error(&failure.to_string());
        }
    }

    pub(crate) fn error(self, text: &str) {
        self.line("error", "31", text);
    }

    pub(crate) fn warning(self, text: &str) {
        self.line("warning", "33", text);
    }

    fn line(self, level: &str, colour: &str, text: &str) {
        if self.is_quiet {
            return;
        }
        let text = escape::line(text);
        let line = match self.is_coloured {
            true => format!("\x1b[{colour};1m{level}:\x1b[0m {text}\n"),
            false => format!("{level}: {text}\n"),
        };
        to_standard_error(&line);
    }
}

/// Writes for people. A standard error that is closed ends no command: its work goes on, and
/// there is no other place to report it.
pub(crate) fn to_standard_error(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

//! Messages as text: what `sub` and `rr` print.

mod format;
mod json;
mod printer;
mod style;

pub(crate) use printer::{OutputOptions, Printed, Printer};

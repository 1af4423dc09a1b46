//! Messages as text: what `sub` and `rr` print.

mod format;
mod json;
mod printer;
mod style;

pub(crate) use json::pretty as pretty_json;
pub(crate) use printer::{OutputOptions, Printed, Printer};

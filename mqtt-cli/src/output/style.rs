//! How a message is printed, beside its format.

/// What depends on where it is printed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Text of others is escaped: the output is a terminal.
    pub(super) escape: bool,
    /// JSON has line breaks.
    pub(super) pretty: bool,
}

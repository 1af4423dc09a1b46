//! What was found out about one capability.

use serde::Serialize;

/// Whether the server has a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Support {
    Yes,
    No,
    /// In part; the note says which.
    Limited,
    NotTried,
}

impl Support {
    pub(super) const ALL: [Self; 4] = [Self::Yes, Self::Limited, Self::No, Self::NotTried];

    /// A text for the table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Limited => "limited",
            Self::NotTried => "not tried",
        }
    }
}

/// How it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Evidence {
    /// The server was seen to do it, or not to.
    Observed,
    /// The CONNACK says so, and nothing else was tried.
    Announced,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    Number(u64),
    Text(String),
}

/// What was found out about one capability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) result: Support,
    pub(super) evidence: Option<Evidence>,
    pub(super) value: Option<Value>,
    pub(super) note: Option<String>,
    /// What to do about it in a client.
    pub(super) advice: Option<String>,
}

impl Finding {
    fn new(result: Support) -> Self {
        Self {
            result,
            evidence: Some(Evidence::Observed),
            value: None,
            note: None,
            advice: None,
        }
    }

    pub(super) fn yes() -> Self {
        Self::new(Support::Yes)
    }

    pub(super) fn no(note: impl Into<String>) -> Self {
        Self::new(Support::No).note(note)
    }

    pub(super) fn limited(note: impl Into<String>) -> Self {
        Self::new(Support::Limited).note(note)
    }

    pub(super) fn not_tried(note: impl Into<String>) -> Self {
        Self {
            evidence: None,
            ..Self::new(Support::NotTried).note(note)
        }
    }

    pub(super) fn number(mut self, value: impl Into<u64>) -> Self {
        self.value = Some(Value::Number(value.into()));
        self
    }

    pub(super) fn text(mut self, value: impl Into<String>) -> Self {
        self.value = Some(Value::Text(value.into()));
        self
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    pub(super) fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    pub(super) fn announced(mut self) -> Self {
        self.evidence = Some(Evidence::Announced);
        self
    }
}

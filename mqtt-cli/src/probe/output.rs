//! The findings as a table for people, line by line as they come, or as JSON.

use super::catalog::names;
use super::finding::{Evidence, Finding, Support, Value};
use crate::escape;
use crate::exit::{Failure, Status};
use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};
use std::io::{self, ErrorKind, IsTerminal, Write};

/// Between the columns.
const GAP: usize = 2;

/// The widest result.
const RESULT_WIDTH: usize = "not tried".len();

/// The widest value that does not move what follows it.
const VALUE_WIDTH: usize = 10;

/// All that was found out.
#[derive(Default)]
pub(super) struct Results {
    pub(super) server: String,
    /// That of the checks.
    pub(super) version: Option<String>,
    /// By name, with the group.
    pub(super) findings: Vec<(&'static str, &'static str, Finding)>,
    /// What `--require` names.
    pub(super) required: Vec<String>,
    /// What could not be removed.
    pub(super) left: Vec<String>,
}

impl Results {
    /// What is required and not there, in the order of the command line.
    pub(super) fn missing(&self) -> Vec<&str> {
        let is_there = |required: &str| {
            self.findings
                .iter()
                .any(|(name, _, finding)| *name == required && finding.result == Support::Yes)
        };
        let names = self.required.iter().map(String::as_str);
        names.filter(|name| !is_there(name)).collect()
    }
}

/// Where the findings are printed.
pub(super) struct Output {
    is_json: bool,
    is_coloured: bool,
    width: usize,
    group: &'static str,
}

impl Output {
    pub(super) fn new(is_json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            is_json,
            is_coloured: wanted && !is_json && io::stdout().is_terminal(),
            width: names().map(str::len).max().unwrap_or(0) + GAP,
            group: "",
        }
    }

    /// Prints where the server is.
    pub(super) fn begin(&mut self, server: &str) -> Result<(), Failure> {
        match self.is_json {
            true => Ok(()),
            false => write(&format!("{}\n", escape::line(server))),
        }
    }

    /// Prints a finding.
    pub(super) fn finding(
        &mut self,
        name: &str,
        group: &'static str,
        finding: &Finding,
    ) -> Result<(), Failure> {
        if self.is_json {
            return Ok(());
        }
        let mut text = String::new();
        if self.group != group {
            self.group = group;
            text.push_str(&format!("\n{}\n", self.painted("1", group)));
        }
        text.push_str(&self.row(name, finding));
        write(&text)
    }

    fn row(&self, name: &str, finding: &Finding) -> String {
        let colour = match finding.result {
            Support::Yes => "32",
            Support::Limited => "33",
            Support::No => "31",
            Support::NotTried => "2",
        };
        let result = finding.result.name();
        let pad = RESULT_WIDTH - result.len();
        let value = match &finding.value {
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Text(text)) => escape::line(text),
            None => String::new(),
        };
        let mut note = finding
            .note
            .as_deref()
            .map(escape::line)
            .unwrap_or_default();
        if finding.evidence == Some(Evidence::Announced) {
            note.insert_str(
                0,
                if note.is_empty() {
                    "announced"
                } else {
                    "announced: "
                },
            );
        }
        let width = self.width;
        let row = format!(
            "  {name:width$}{}{:pad$}  {value:VALUE_WIDTH$}  {note}",
            self.painted(colour, result),
            ""
        );
        let mut row = row.trim_end().to_owned();
        row.push('\n');
        if let Some(advice) = &finding.advice {
            let arrow = self.painted("36", "-> ");
            row.push_str(&format!("  {:width$}{arrow}{}\n", "", escape::line(advice)));
        }
        row
    }

    /// Prints what comes last.
    pub(super) fn end(&mut self, results: &Results) -> Result<(), Failure> {
        if self.is_json {
            let json = serde_json::to_string_pretty(results).map_err(|error| {
                Failure::new(Status::Failed, format!("standard output: {error}"))
            })?;
            return write(&format!("{json}\n"));
        }
        let counts = Support::ALL.map(|support| {
            let all = results.findings.iter();
            let count = all
                .filter(|(.., finding)| finding.result == support)
                .count();
            format!("{count} {}", support.name())
        });
        write(&format!("\n{}\n", counts.join(", ")))
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        match self.is_coloured {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

impl Serialize for Results {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut results = serializer.serialize_struct("Results", 6)?;
        results.serialize_field("server", &self.server)?;
        results.serialize_field("version", &self.version)?;
        results.serialize_field("capabilities", &Capabilities(&self.findings))?;
        results.serialize_field("required", &self.required)?;
        results.serialize_field("missing", &self.missing())?;
        results.serialize_field("left_behind", &self.left)?;
        results.end()
    }
}

/// An object whose keys are the names, in their order.
struct Capabilities<'a>(&'a [(&'static str, &'static str, Finding)]);

impl Serialize for Capabilities<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut capabilities = serializer.serialize_map(Some(self.0.len()))?;
        for (name, _, finding) in self.0 {
            capabilities.serialize_entry(name, finding)?;
        }
        capabilities.end()
    }
}

fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::quiet(Status::BrokenPipe),
        _ => Failure::new(Status::Failed, format!("standard output: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Output {
        Output {
            is_json: false,
            is_coloured: false,
            width: 8,
            group: "",
        }
    }

    #[test]
    fn rows_are_aligned_and_harmless() {
        let finding = Finding::no("a\x1b[2J\nb").number(7_u64).advice("c\r");
        assert_eq!(
            plain().row("name", &finding),
            "  name    no         7           a\\x1b[2J\\nb\n          -> c\\r\n"
        );
        assert_eq!(
            plain().row("name", &Finding::yes().announced()),
            "  name    yes                    announced\n"
        );
        assert_eq!(plain().row("name", &Finding::yes()), "  name    yes\n");
    }

    #[test]
    fn only_yes_is_enough_where_something_is_required() {
        let results = Results {
            findings: vec![
                ("mqtt-5", "", Finding::yes()),
                ("no-local", "", Finding::limited("x")),
            ],
            required: ["mqtt-5", "no-local", "wildcards"]
                .map(str::to_owned)
                .into(),
            ..Results::default()
        };
        assert_eq!(results.missing(), ["no-local", "wildcards"]);
    }

    #[test]
    fn json_has_an_object_for_each_capability() {
        let results = Results {
            server: "mqtt://h".to_owned(),
            findings: vec![("mqtt-5", "", Finding::yes().number(5_u64))],
            ..Results::default()
        };
        assert_eq!(
            serde_json::to_string(&results).unwrap(),
            r#"{"server":"mqtt://h","version":null,"capabilities":{"mqtt-5":{"result":"yes","evidence":"observed","value":5,"note":null,"advice":null}},"required":[],"missing":[],"left_behind":[]}"#
        );
    }
}

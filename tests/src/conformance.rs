//! The lists of what a client has to do, and the tests that prove it.
//!
//! `conformance/mqtt-3.1.1.tsv` and `conformance/mqtt-5.tsv` have a row for each normative
//! statement that binds a client, in words of this project: the statement of the specification is
//! what counts. `conformance/lessons.tsv` has one for each situation in which clients are known to
//! fail. `conformance/server-3.1.1.tsv` and `conformance/server-5.tsv` have one for each statement
//! that binds a server: what a client does when it is broken. The last column names the tests as
//! `path/to/file.rs::test`, or gives a reason why there is none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A list.
#[derive(Debug)]
pub struct List {
    /// Where it is, from the root of the workspace.
    pub path: &'static str,
    /// In the order of the file.
    pub rows: Vec<Row>,
}

/// Something that a client has to do.
#[derive(Debug)]
pub struct Row {
    /// The statement's identifier, as in `MQTT-3.1.0-1`, or a name.
    pub id: String,
    /// What it asks for.
    pub statement: String,
    /// What shows it.
    pub proof: Proof,
}

/// What shows that something is done, or why nothing does.
#[derive(Debug, PartialEq, Eq)]
pub enum Proof {
    /// Tests, as `path/to/file.rs::test`; each would fail if the statement were broken.
    Tests(Vec<String>),
    /// This client does not do it yet.
    NotYet(String),
    /// It is done, but nothing proves it.
    NotTested(String),
    /// It is about something that this client never does, or never sees.
    NotApplicable(String),
}

/// How many rows a list has, by what shows that they are done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// All of them.
    pub rows: usize,
    /// Those that tests prove.
    pub tested: usize,
    /// Those that are not done yet.
    pub not_yet: usize,
    /// Those that are done, and not proved.
    pub not_tested: usize,
    /// Those that are about something else.
    pub not_applicable: usize,
}

impl List {
    /// Counts the rows.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            rows: self.rows.len(),
            ..Summary::default()
        };
        for row in &self.rows {
            *match row.proof {
                Proof::Tests(_) => &mut summary.tested,
                Proof::NotYet(_) => &mut summary.not_yet,
                Proof::NotTested(_) => &mut summary.not_tested,
                Proof::NotApplicable(_) => &mut summary.not_applicable,
            } += 1;
        }
        summary
    }
}

/// The lists, by their paths.
pub const LISTS: [&str; 5] = [
    "tests/conformance/mqtt-3.1.1.tsv",
    "tests/conformance/mqtt-5.tsv",
    "tests/conformance/lessons.tsv",
    "tests/conformance/server-3.1.1.tsv",
    "tests/conformance/server-5.tsv",
];

/// The root of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Reads a list.
///
/// # Errors
/// What is wrong with the file, and in which line.
pub fn read(path: &'static str) -> Result<List, String> {
    let text =
        std::fs::read_to_string(root().join(path)).map_err(|error| format!("{path}: {error}"))?;
    let mut rows = Vec::new();
    // The first line has the names of the columns.
    for (i, line) in text.lines().enumerate().skip(1) {
        let row = row(line).map_err(|error| format!("{path}:{}: {error}: {line}", i + 1))?;
        rows.push(row);
    }
    Ok(List { path, rows })
}

/// The lists as a page of the documentation, whose links are relative to `docs`. What a statement asks for and what a test is
/// called are theirs; the result is that of the tests of `.ci/run`, without which nothing is merged.
///
/// # Errors
/// As [`read`].
pub fn markdown() -> Result<String, String> {
    let mut lists = Vec::new();
    for path in LISTS {
        lists.push(read(path)?);
    }
    let mut page = String::from(
        "# Conformance\n\n\
         Each statement of MQTT that binds a client or, when a server breaks it, concerns one, with the tests that prove it.\n\
         Generated: `cargo run -p martlet-tests --example conformance -- --markdown > docs/conformance.md`; a test holds this\n\
         page against the tables. [Proofs](proof.md) says what else is tried.\n\n\
         | list | rows | tested | not yet | not tested | not applicable |\n|---|---|---|---|---|---|\n",
    );
    for list in &lists {
        let sum = list.summary();
        page += &format!(
            "| [{path}](../{path}) | {} | {} | {} | {} | {} |\n",
            sum.rows,
            sum.tested,
            sum.not_yet,
            sum.not_tested,
            sum.not_applicable,
            path = list.path
        );
    }
    for list in &lists {
        page += &format!(
            "\n## {}\n\n| statement | asks for | result |\n|---|---|---|\n",
            list.path
        );
        for row in &list.rows {
            page += &format!(
                "| {} | {} | {} |\n",
                row.id,
                cell(&row.statement),
                result(&row.proof)
            );
        }
    }
    Ok(page)
}

fn result(proof: &Proof) -> String {
    match proof {
        Proof::Tests(tests) => {
            let links = tests.iter().map(|test| match test.split_once("::") {
                Some((file, name)) => format!("[`{name}`](../{file})"),
                None => test.clone(),
            });
            format!("tested: {}", links.collect::<Vec<_>>().join(", "))
        }
        Proof::NotYet(why) => format!("not yet: {}", cell(why)),
        Proof::NotTested(why) => format!("not tested: {}", cell(why)),
        Proof::NotApplicable(why) => format!("not applicable: {}", cell(why)),
    }
}

/// Text in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn row(line: &str) -> Result<Row, String> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [id, statement, proof] = columns[..] else {
        return Err("a row has three columns: id, statement, proof".into());
    };
    if id.is_empty() || statement.is_empty() {
        return Err("an empty column".into());
    }
    let reason = |reason: &str| {
        let reason = reason.trim();
        if reason.is_empty() {
            Err("a reason is missing".to_owned())
        } else {
            Ok(reason.to_owned())
        }
    };
    let proof = if let Some(why) = proof.strip_prefix("not yet:") {
        Proof::NotYet(reason(why)?)
    } else if let Some(why) = proof.strip_prefix("not tested:") {
        Proof::NotTested(reason(why)?)
    } else if let Some(why) = proof.strip_prefix("not applicable:") {
        Proof::NotApplicable(reason(why)?)
    } else {
        let tests: Vec<String> = proof.split_whitespace().map(str::to_owned).collect();
        if tests.is_empty() {
            return Err("neither a test nor `not yet:`, `not tested:`, `not applicable:`".into());
        }
        if let Some(test) = tests.iter().find(|test| !test.contains(".rs::")) {
            return Err(format!("{test} is not `path/to/file.rs::test`"));
        }
        Proof::Tests(tests)
    };
    Ok(Row {
        id: id.to_owned(),
        statement: statement.to_owned(),
        proof,
    })
}

/// The tests of a source file, and the statements named at each: `[MQTT-3.1.0-1]` in the comments
/// above it or in it. Ignored tests do not count, except those that `.ci/run` runs with the broker
/// that they need.
#[must_use]
pub fn tests_of(source: &str) -> BTreeMap<String, Vec<String>> {
    let mut tests = BTreeMap::new();
    // The comments and attributes above the next item.
    let (mut is_test, mut is_ignored, mut above) = (false, false, Vec::new());
    let mut current: Option<String> = None;
    for line in source.lines() {
        let line = line.trim();
        let named = statements_in(line);
        if line.starts_with("//") {
            above.extend(named);
        } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if line.starts_with("#[ignore") {
            is_ignored = !line.contains("see .ci/run");
        } else if let Some(name) = function(line) {
            current = (is_test && !is_ignored).then(|| name.to_owned());
            if let Some(test) = &current {
                tests.insert(test.clone(), std::mem::take(&mut above));
            }
            (is_test, is_ignored) = (false, false);
            above.clear();
        } else if !line.is_empty() && !line.starts_with('#') {
            // A comment within a body belongs to that body.
            let named = above.drain(..).chain(named);
            if let Some(statements) = current.as_ref().and_then(|test| tests.get_mut(test)) {
                statements.extend(named);
            }
        }
    }
    tests
}

fn function(line: &str) -> Option<&str> {
    let line = line.strip_prefix("async ").unwrap_or(line);
    let (name, _) = line.strip_prefix("fn ")?.split_once(['(', '<'])?;
    Some(name)
}

/// `[MQTT-3.1.0-1, MQTT-3.1.0-2]`: the identifiers of statements in a text.
#[must_use]
pub fn statements_in(text: &str) -> Vec<String> {
    let ids = text.match_indices("MQTT-").map(|(at, _)| {
        let rest = &text[at + 5..];
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-'))
            .unwrap_or(rest.len());
        format!("MQTT-{}", rest[..end].trim_end_matches(['.', '-']))
    });
    // `MQTT-5` is a version, and `MQTT-3.14.2` a section.
    ids.filter(|id| id["MQTT-".len()..].contains('-')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_with_the_statements_named_at_them() {
        let source = r#"
            // [MQTT-1.1.1-1, MQTT-1.1.1-2], §MQTT-3.14.2
            #[test]
            #[expect(clippy::all)]
            fn plain() {
                // [MQTT-3-8.3-4]
                assert!(true, "[MQTT-4.3.3-4]");
            }
            // [MQTT-9.9.9-9]
            fn helper() {}
            #[tokio::test(start_paused = true)]
            async fn on_tokio() {}
            proptest! {
                #[test]
                fn random(x in 0..1) {}
            }
            #[test]
            #[ignore = "slow"]
            fn ignored() {}
        "#;
        let tests = tests_of(source);
        assert_eq!(
            tests.keys().collect::<Vec<_>>(),
            ["on_tokio", "plain", "random"]
        );
        assert_eq!(
            tests["plain"],
            [
                "MQTT-1.1.1-1",
                "MQTT-1.1.1-2",
                "MQTT-3-8.3-4",
                "MQTT-4.3.3-4"
            ]
        );
        assert!(tests["on_tokio"].is_empty() && tests["random"].is_empty());
    }

    #[test]
    fn a_row_has_a_proof_or_a_reason() {
        let proof = |line: &str| row(line).map(|row| row.proof);
        let tests = ["a.rs::b", "c/d.rs::e"].map(str::to_owned).to_vec();
        assert_eq!(
            proof("id\tit is so\ta.rs::b c/d.rs::e"),
            Ok(Proof::Tests(tests))
        );
        assert_eq!(
            proof("id\tit is so\tnot yet: next year"),
            Ok(Proof::NotYet("next year".into()))
        );
        for wrong in [
            "id\tit is so",
            "\tit is so\ta.rs::b",
            "id\tit is so\t",
            "id\tit is so\tnot yet:",
        ] {
            assert!(row(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            proof("id\tit is so\tthe tests"),
            Err("the is not `path/to/file.rs::test`".into())
        );
    }
}

//! Each statement of MQTT that binds a client has a test that proves it, or a reason why not, and
//! each test named so exists; likewise each situation in which clients are known to fail.

use martlet_tests::conformance::{
    LISTS, List, Proof, markdown, read, root, statements_in, tests_of,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The statements of 3.1.1 that bind a client, by section. `3-8.3` is how one of them is printed.
const MQTT_3_1_1: &[&str] = &[
    "1.5.3: 1 2 3",
    "2.2.2: 1 2",
    "2.3.1: 1 2 3 5 6",
    "3.1.0: 1 2",
    "3.1.2: 4 6 9 11 13 14 15 18 19 20 21 22 23",
    "3.1.3: 1 2 3 4 7 10 11",
    "3.3.1: 1 2 3 4",
    "3.3.2: 1 2",
    "3.3.4: 1",
    "3.6.1: 1",
    "3.8.1: 1",
    "3.8.3: 1 3",
    "3-8.3: 4",
    "3.10.1: 1",
    "3.10.3: 1 2",
    "3.14.1: 1",
    "3.14.4: 1 2",
    "4.1.0: 1 2",
    "4.3.1: 1",
    "4.3.2: 1 2",
    "4.3.3: 1 2",
    "4.4.0: 1",
    "4.5.0: 2",
    "4.6.0: 1 2 3 4",
    "4.7.1: 1 2 3",
    "4.7.3: 1 2 3",
    "4.8.0: 1 2",
    "6.0.0: 1 2 3",
    "7.0.0: 2",
    "7.1.2: 1",
];

/// The statements of 5 that bind a client. One of them stands in the text as 4.2-1 and in the
/// appendix as 4.2.0-1.
const MQTT_5: &[&str] = &[
    "1.5.4: 1 2 3",
    "1.5.5: 1",
    "1.5.7: 1",
    "2.1.3: 1",
    "2.2.1: 2 3 5",
    "2.2.2: 1",
    "3.1.0: 1 2",
    "3.1.2: 4 9 11 12 13 16 17 18 19 20 21 23 30",
    "3.1.3: 1 2 3 4 11 12",
    "3.2.2: 4 5 11 14 15 17 18 21",
    "3.3.1: 1 2 3 4",
    "3.3.2: 1 2 7 8 9 10 13 14 19",
    "3.3.4: 1 6 7 8",
    "3.4.2: 1 2 3",
    "3.5.2: 1 2 3",
    "3.6.1: 1",
    "3.6.2: 1 2 3",
    "3.7.2: 1 2 3",
    "3.8.1: 1",
    "3.8.3: 1 2 4 5",
    "3.10.1: 1",
    "3.10.3: 1 2",
    "3.14.1: 1",
    "3.14.2: 1 3 4",
    "3.14.4: 1 2",
    "3.15.1: 1",
    "3.15.2: 1 2 3",
    "4.1.0: 1",
    "4.2: 1",
    "4.2.0: 1",
    "4.3.1: 1",
    "4.3.2: 1 2 3 4 5",
    "4.3.3: 1 2 3 4 5 6 7 8 9 10 11 12 13",
    "4.4.0: 1 2",
    "4.5.0: 2",
    "4.6.0: 1 2 3 4",
    "4.7.0: 1",
    "4.7.1: 1 2",
    "4.7.3: 1 2 3",
    "4.8.2: 1 2",
    "4.9.0: 1 2 3",
    "4.12.0: 3 5 7",
    "4.12.1: 1 2",
    "4.13.2: 1",
    "6.0.0: 1 2 3",
];

/// The statements of 3.1.1 that bind a server. One of them is printed as 3.1.2.7.
const MQTT_3_1_1_OF_SERVERS: &[&str] = &[
    "2.3.1: 4 7",
    "3.1.2: 1 2 3 5 7 8 10 12 16 17 24",
    "3.1.3: 5 6 8 9",
    "3.1.4: 1 2 3 4 5",
    "3.2.0: 1",
    "3.2.2: 1 2 3 4 5 6",
    "3.3.1: 5 6 7 8 9 10 11 12",
    "3.3.2: 3",
    "3.3.5: 1 2",
    "3.8.3: 2",
    "3.8.4: 1 2 3 4 5 6",
    "3.9.3: 1 2",
    "3.10.4: 1 2 3 4 5 6",
    "3.12.4: 1",
    "3.14.4: 3",
    "4.5.0: 1",
    "4.6.0: 5 6",
    "4.7.2: 1",
    "4.7.3: 4",
    "6.0.0: 4",
    "7.0.0: 1",
    "7.1.1: 1",
];

/// The statements of 5 that bind a server.
const MQTT_5_OF_SERVERS: &[&str] = &[
    "2.2.1: 4 6",
    "3.1.2: 1 2 3 5 6 7 8 10 14 15 22 24 25 26 27 28 29",
    "3.1.3: 5 6 7 8 9 10",
    "3.1.4: 1 2 3 4 5 6",
    "3.2.0: 1 2",
    "3.2.2: 1 2 3 6 7 8 9 10 12 13 16 19 20 22",
    "3.3.1: 5 6 7 8 9 10 11 12 13",
    "3.3.2: 3 4 5 6 11 12 15 16 17 18 20",
    "3.3.4: 2 3 4 5 9 10",
    "3.8.3: 3",
    "3.8.4: 1 2 3 4 5 6 7 8",
    "3.9.2: 1 2",
    "3.9.3: 1 2",
    "3.10.4: 1 2 3 4 5 6",
    "3.11.2: 1 2",
    "3.11.3: 1 2",
    "3.12.4: 1",
    "3.14.0: 1",
    "3.14.2: 2",
    "3.14.4: 3",
    "4.1.0: 2",
    "4.5.0: 1",
    "4.6.0: 5 6",
    "4.7.2: 1",
    "4.7.3: 4",
    "4.8.2: 3 4 5 6",
    "4.12.0: 1 2 4 6",
    "4.13.1: 1",
    "6.0.0: 4",
];

/// What a client is made of.
const FOLDERS: [&str; 6] = [
    "mqtt-proto",
    "mqtt-session",
    "mqtt-transport",
    "mqtt-client",
    "adapter-tokio",
    "tests/tests",
];

fn spelt_out(sections: &[&str]) -> Vec<String> {
    let statements = |section: &&str| {
        let (section, numbers) = section.split_once(": ").expect("section: numbers");
        numbers
            .split(' ')
            .map(|number| format!("MQTT-{section}-{number}"))
            .collect::<Vec<_>>()
    };
    sections.iter().flat_map(statements).collect()
}

fn list(path: &'static str) -> List {
    read(path).unwrap_or_else(|error| panic!("{error}"))
}

fn complete(path: &'static str, sections: &[&str], number: usize) {
    let list = list(path);
    let rows: Vec<&str> = list.rows.iter().map(|row| row.id.as_str()).collect();
    let expected = spelt_out(sections);
    let missing: Vec<_> = expected
        .iter()
        .filter(|id| !rows.contains(&id.as_str()))
        .collect();
    assert!(missing.is_empty(), "{path}: no row for {missing:?}");
    let surplus: Vec<_> = rows
        .iter()
        .filter(|id| !expected.iter().any(|known| known == *id))
        .collect();
    assert!(
        surplus.is_empty(),
        "{path}: no statement of this list: {surplus:?}"
    );
    assert_eq!(
        (rows.len(), expected.len()),
        (number, number),
        "{path}: each statement has one row"
    );
}

#[test]
fn every_statement_of_3_1_1_has_its_row() {
    complete(LISTS[0], MQTT_3_1_1, 76);
}

#[test]
fn every_statement_of_5_has_its_row() {
    complete(LISTS[1], MQTT_5, 136);
}

/// What a server does that it may not, a client has to survive: where it can be seen, a test says
/// how.
#[test]
fn every_statement_that_binds_a_server_has_its_row() {
    complete(LISTS[3], MQTT_3_1_1_OF_SERVERS, 65);
    complete(LISTS[4], MQTT_5_OF_SERVERS, 116);
}

#[test]
fn every_lesson_has_its_row() {
    let list = list(LISTS[2]);
    let ids: BTreeSet<&str> = list.rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(
        (list.rows.len(), ids.len()),
        (38, 38),
        "{}: each has one row",
        list.path
    );
}

#[test]
fn every_test_that_is_named_exists() {
    let mut files = BTreeMap::new();
    let mut wrong = Vec::new();
    for path in LISTS {
        for row in list(path).rows {
            let Proof::Tests(tests) = row.proof else {
                continue;
            };
            for test in tests {
                let (file, name) = test.split_once("::").expect("checked when it was read");
                let known = files.entry(file.to_owned()).or_insert_with(|| {
                    std::fs::read_to_string(root().join(file))
                        .map(|source| tests_of(&source))
                        .ok()
                });
                match known {
                    None => wrong.push(format!("{path}: {}: there is no file {file}", row.id)),
                    Some(tests) if !tests.contains_key(name) => {
                        wrong.push(format!(
                            "{path}: {}: there is no test {name} in {file}",
                            row.id
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Every source file below a folder.
fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).expect("a source file");
            let path = path
                .strip_prefix(root())
                .expect("below the root")
                .display()
                .to_string();
            let path = path.replace(std::path::MAIN_SEPARATOR, "/");
            found.push((path, source));
        }
    }
}

/// A test that names a statement stands in the row of that statement, and no comment names one that
/// does not exist.
#[test]
fn every_statement_that_is_named_at_a_test_is_in_the_lists() {
    let mut rows = BTreeMap::new();
    for path in LISTS
        .iter()
        .filter(|path| path.contains("mqtt-") || path.contains("server-"))
    {
        for row in list(path).rows {
            let tests = match row.proof {
                Proof::Tests(tests) => tests,
                _ => Vec::new(),
            };
            rows.entry(row.id).or_insert_with(Vec::new).extend(tests);
        }
    }
    let mut found = Vec::new();
    for folder in FOLDERS {
        sources(&root().join(folder), &mut found);
    }
    let mut wrong = Vec::new();
    for (path, source) in found {
        for (i, line) in source.lines().enumerate() {
            for id in statements_in(line) {
                if !rows.contains_key(&id) {
                    wrong.push(format!("{path}:{}: {id} is in no list", i + 1));
                }
            }
        }
        for (test, statements) in tests_of(&source) {
            let name = format!("{path}::{test}");
            for id in statements {
                if rows.get(&id).is_some_and(|tests| !tests.contains(&name)) {
                    wrong.push(format!(
                        "{name} says that it is about {id}, whose row does not name it"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// `cargo run -p martlet-tests --example conformance -- --markdown > docs/conformance.md`
#[test]
fn the_page_is_what_the_tables_say() {
    let page = std::fs::read_to_string(root().join("docs/conformance.md")).unwrap();
    assert!(
        page == markdown().unwrap(),
        "docs/conformance.md is old: see the first lines of tests/examples/conformance.rs"
    );
}

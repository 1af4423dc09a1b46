//! The numbers as they are stored: rows, each with the run that measured it. A run of some scenarios
//! replaces their rows and leaves the others.

use crate::machine::Machine;
use crate::peers::{Entry, PEERS};
use crate::sample::{ClientSample, ServerSample};
use crate::scenario::Scenario;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// All results of one peer in one scenario.
#[derive(Default, Serialize, Deserialize)]
pub struct Cell {
    pub samples: Vec<ClientSample>,
    pub servers: Vec<ServerSample>,
    /// Allocations of one message.
    pub allocations: Option<f64>,
    /// Bytes of one message or connection that are allocated.
    pub heap: Option<f64>,
    /// System calls of one message.
    pub system_calls: Option<f64>,
    /// Why there is no number.
    pub note: Option<String>,
}

impl Cell {
    pub fn without_number(note: &str) -> Self {
        Self {
            note: Some(note.to_owned()),
            ..Self::default()
        }
    }
}

/// What rows of the same run have in common.
#[derive(Clone, Serialize, Deserialize)]
pub struct Run {
    /// The date and time (UTC), which no other run has.
    pub began: String,
    pub machine: Machine,
    /// The load average before and after.
    pub load: (f64, f64),
    /// The names of the peers, and their versions.
    pub versions: Vec<(String, String)>,
    /// The names of those that were not on the machine, and why.
    pub missing: Vec<(String, String)>,
}

/// One scenario.
#[derive(Serialize, Deserialize)]
pub struct Row {
    pub scenario: Scenario,
    pub run: Run,
    /// The results of the peers, by name.
    pub cells: Vec<(String, Cell)>,
}

impl Row {
    /// The result of each peer that the run had.
    pub fn cells(&self) -> impl Iterator<Item = (&'static Entry, &Cell)> {
        PEERS
            .iter()
            .filter_map(|peer| Some((peer, self.cell(peer.name)?)))
    }

    /// How many rounds there were.
    pub fn rounds(&self) -> usize {
        let rounds = self.cells.iter().map(|(_, cell)| cell.samples.len());
        rounds.max().unwrap_or(0)
    }

    pub fn cell(&self, peer: &str) -> Option<&Cell> {
        let found = self.cells.iter().find(|(name, _)| name == peer);
        found.map(|(_, cell)| cell)
    }
}

#[derive(Default, Serialize, Deserialize)]
pub struct Results {
    pub rows: Vec<Row>,
}

impl Results {
    /// What was stored; nothing before the first run.
    pub fn load() -> Self {
        let path = stored();
        if !path.exists() {
            return Self::default();
        }
        let json = std::fs::read_to_string(&path).expect("a file that can be read");
        serde_json::from_str(&json).unwrap_or_else(|error| {
            panic!(
                "{}: {error}; a whole run replaces what another version stored",
                path.display()
            )
        })
    }

    pub fn store(&self) {
        let json = serde_json::to_string(self).expect("results");
        std::fs::write(stored(), json).expect("a file");
    }

    /// Takes rows of a new run in, in place of those of the same scenarios.
    pub fn replace(&mut self, rows: Vec<Row>) {
        let is_new = |scenario| rows.iter().any(|row| row.scenario == scenario);
        self.rows.retain(|row| !is_new(row.scenario));
        self.rows.extend(rows);
        let order = Scenario::all();
        self.rows
            .sort_by_key(|row| order.iter().position(|scenario| *scenario == row.scenario));
    }

    /// The runs that rows are left of, the oldest first.
    pub fn runs(&self) -> Vec<&Run> {
        let mut runs: Vec<&Run> = self.rows.iter().map(|row| &row.run).collect();
        runs.sort_by(|a, b| a.began.cmp(&b.began));
        runs.dedup_by(|a, b| a.began == b.began);
        runs
    }

    /// The number of the run of a row, from 1; nothing if all are of one run.
    pub fn run(&self, row: &Row) -> Option<usize> {
        let runs = self.runs();
        let at = runs.iter().position(|run| run.began == row.run.began)?;
        (runs.len() > 1).then_some(at + 1)
    }

    /// The peers of any run.
    pub fn peers(&self) -> Vec<&'static Entry> {
        let is_there = |peer: &&Entry| self.rows.iter().any(|row| row.cell(peer.name).is_some());
        PEERS.iter().filter(is_there).collect()
    }
}

/// The file, beside this program.
fn stored() -> PathBuf {
    let me = std::env::current_exe().expect("this program");
    me.with_file_name("martlet-bench-results.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(scenario: Scenario, began: &str) -> Row {
        Row {
            scenario,
            run: Run {
                began: began.to_owned(),
                machine: Machine::default(),
                load: (0.0, 0.0),
                versions: Vec::new(),
                missing: Vec::new(),
            },
            cells: Vec::new(),
        }
    }

    #[test]
    fn a_run_of_one_scenario_replaces_its_row_and_no_other() {
        let mut results = Results::default();
        results.replace(vec![
            row(Scenario::Awaited, "first"),
            row(Scenario::Idle(1_000), "first"),
        ]);
        assert_eq!(results.run(&results.rows[0]), None, "all are of one run");
        results.replace(vec![row(Scenario::Awaited, "second")]);

        let rows = results.rows.iter();
        let rows: Vec<_> = rows.map(|row| (row.scenario, &*row.run.began)).collect();
        let expected = [
            (Scenario::Awaited, "second"),
            (Scenario::Idle(1_000), "first"),
        ];
        assert_eq!(rows, expected);
        assert_eq!(results.run(&results.rows[0]), Some(2));
        assert_eq!(results.run(&results.rows[1]), Some(1));
    }
}

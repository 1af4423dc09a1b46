//! Prints which test proves which statement, and how many are proved. With `--markdown`, as a page to read:
//!
//! ```text
//! cargo run -p martlet-tests --example conformance
//! cargo run -p martlet-tests --example conformance -- --markdown > docs/conformance.md
//! ```

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "that is what it is for"
)]

use martlet_tests::conformance::{LISTS, markdown, read};
use martlet_tests::conformance::{Proof, Summary};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let printed = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => print_text(),
        ["--markdown"] => markdown().map(|page| print!("{page}")),
        _ => Err("usage: conformance [--markdown]".to_owned()),
    };
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn print_text() -> Result<(), String> {
    let mut summary = Vec::new();
    for path in LISTS {
        let list = read(path)?;
        println!("{path}\n");
        for row in &list.rows {
            println!("{}  {}", row.id, row.statement);
            match &row.proof {
                Proof::Tests(tests) => tests.iter().for_each(|test| println!("    {test}")),
                Proof::NotYet(why) => println!("    not yet: {why}"),
                Proof::NotTested(why) => println!("    not tested: {why}"),
                Proof::NotApplicable(why) => println!("    not applicable: {why}"),
            }
        }
        println!();
        let Summary {
            rows,
            tested,
            not_yet,
            not_tested,
            not_applicable,
        } = list.summary();
        summary.push(format!(
            "{path}: {rows} rows, {tested} tested, {not_yet} not yet, {not_tested} not tested, \
             {not_applicable} not applicable"
        ));
    }
    println!("{}", summary.join("\n"));
    Ok(())
}

//! Prints which test proves which statement, and how many are proved:
//! `cargo run -p martlet-tests --example conformance`.

#![allow(clippy::print_stdout, reason = "that is what it is for")]

use martlet_tests::conformance::{LISTS, Proof, read};

fn main() -> Result<(), String> {
    let mut summary = Vec::new();
    for path in LISTS {
        let list = read(path)?;
        let (mut tested, mut not_yet, mut not_tested, mut not_applicable) = (0, 0, 0, 0);
        println!("{path}\n");
        for row in &list.rows {
            println!("{}  {}", row.id, row.statement);
            match &row.proof {
                Proof::Tests(tests) => {
                    tested += 1;
                    for test in tests {
                        println!("    {test}");
                    }
                }
                Proof::NotYet(why) => {
                    not_yet += 1;
                    println!("    not yet: {why}");
                }
                Proof::NotTested(why) => {
                    not_tested += 1;
                    println!("    not tested: {why}");
                }
                Proof::NotApplicable(why) => {
                    not_applicable += 1;
                    println!("    not applicable: {why}");
                }
            }
        }
        println!();
        summary.push(format!(
            "{path}: {} rows, {tested} tested, {not_yet} not yet, {not_tested} not tested, \
             {not_applicable} not applicable",
            list.rows.len()
        ));
    }
    println!("{}", summary.join("\n"));
    Ok(())
}

//! Damages the files of a store, one at a time and in many ways, checks them, and salvages what is intact.
//!
//! ```text
//! cargo run --release --example salvage -- --damages 10000 [--seed N]
//! ```
//!
//! Exits with 0 when each was found or did no harm, and each copy held all that was not said to be lost.

#![expect(clippy::print_stdout, reason = "the report is its output")]

use std::process::ExitCode;

use connectify::{server::hide_caught_panics, trial::Ruin};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().collect();
    let number = |flag: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == flag);
        at.and_then(|at| arguments.get(at + 1)).and_then(|number| number.parse().ok()).unwrap_or(default)
    };
    // Panics of the database below are caught, and told as damage.
    hide_caught_panics();
    match (Ruin { seed: number("--seed", 1), damages: number("--damages", 10_000) }).run() {
        Ok(report) => {
            println!("nothing is missing that was not said to be lost: {report:?}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

//! Flips single bits of the files of a store, one at a time and in every class of byte, and reads everything back.
//!
//! ```text
//! cargo run --release --example bitrot -- --flips 100000 [--seed N]
//! ```
//!
//! Exits with 0 when every flip was found or did no harm; otherwise it prints where it was.

#![expect(clippy::print_stdout, reason = "the report is its output")]

#[path = "support/arguments.rs"]
mod arguments;

use std::process::ExitCode;

use connectify::{planted::Planted, server::hide_caught_panics, trial::Rot};

fn main() -> ExitCode {
    // Panics of the database below are caught, and told as corrupted data.
    hide_caught_panics();
    let rot = Rot {
        seed: arguments::number("--seed", 1),
        flips: arguments::number("--flips", 100_000),
        planted: Planted::default(),
    };
    match rot.run() {
        Ok(report) => {
            println!("{report}\nnothing was read that was not written");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

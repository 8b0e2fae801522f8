//! Flips single bits of the files of a store, one at a time, and reads everything back.
//!
//! ```text
//! cargo run --release --example bitrot -- --flips 100000 [--seed N]
//! ```
//!
//! Exits with 0 when every flip was found or did no harm; otherwise it prints where it was.

#![expect(clippy::print_stdout, reason = "the report is its output")]

use std::process::ExitCode;

use connectify::{planted::Planted, trial::Rot};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().collect();
    let number = |flag: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == flag);
        at.and_then(|at| arguments.get(at + 1)).and_then(|number| number.parse().ok()).unwrap_or(default)
    };
    // Panics of the database below are caught, and told as corrupted data.
    std::panic::set_hook(Box::new(|_| {}));
    let rot = Rot { seed: number("--seed", 1), flips: number("--flips", 100_000), planted: Planted::default() };
    match rot.run() {
        Ok(report) => {
            println!("nothing was read that was not written: {report:?}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

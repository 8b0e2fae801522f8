//! Cuts the power of a simulated disk under the real engine, again and again, and checks what is left.
//!
//! ```text
//! cargo run --release --example powercut -- --cuts 1000000 [--seed N]
//! ```
//!
//! Exits with 0 when every promise held at every cut; otherwise it prints the seed and the operation of the first that
//! did not.

#![expect(clippy::print_stdout, reason = "the report is its output")]

#[path = "support/arguments.rs"]
mod arguments;

use std::process::ExitCode;

use connectify::trial::Campaign;

fn main() -> ExitCode {
    let campaign = Campaign {
        seed: arguments::number("--seed", 1),
        cuts: arguments::number("--cuts", 100_000),
        planted: Default::default(),
    };
    println!("{campaign:?}");
    let mut next = 0;
    let outcome = campaign.run(|report| {
        if report.cuts >= next {
            println!("{report:?}");
            next = report.cuts + campaign.cuts / 20;
        }
    });
    match outcome {
        Ok(report) => {
            println!("every promise held: {report:?}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

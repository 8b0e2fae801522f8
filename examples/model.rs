//! Asks the real broker and a reference the same things, and compares every answer.
//!
//! ```text
//! cargo run --release --example model -- --steps 1000000 [--seed N]
//! ```
//!
//! Exits with 0 when all answers were the same; otherwise it prints the seed, the first that was not, and the shortest
//! way there that it found.

#![expect(clippy::print_stdout, reason = "the report is its output")]

#[path = "support/arguments.rs"]
mod arguments;

use std::process::ExitCode;

use connectify::{
    planted::Planted,
    trial::{Coverage, Model},
};

/// Steps of one run.
const STEPS: usize = 100;

fn main() -> ExitCode {
    let runs = arguments::number("--steps", 100_000).div_ceil(STEPS as u64);
    let model = Model { seed: arguments::number("--seed", 1), runs, steps: STEPS, planted: Planted::default() };
    println!("{model:?}");
    let mut next = 0;
    let outcome = model.run(|compared| {
        if compared.runs >= next {
            println!("{} runs, {} steps", compared.runs, compared.steps);
            next = compared.runs + runs.div_ceil(20);
        }
    });
    match outcome {
        Ok(compared) => {
            for kind in Coverage::KINDS {
                println!("{:>9}  {kind}", compared.coverage.of(kind));
            }
            println!("every answer was the same: {} runs, {} steps", compared.runs, compared.steps);
            ExitCode::SUCCESS
        }
        Err(divergence) => {
            println!("{divergence}{}", divergence.shortest());
            ExitCode::FAILURE
        }
    }
}

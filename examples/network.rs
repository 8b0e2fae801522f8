//! Real clients and a real server on a simulated network and a simulated disk, in one storm after the other; a checker
//! looks at what was acknowledged, read and stored.
//!
//! ```text
//! cargo run --release --example network -- --seeds 10000 [--seed N] [--trace]
//! ```
//!
//! Exits with 0 when every promise held in every run; otherwise it prints the seed of the first in which one did not.
//! `--trace` prints all that happened in the run of one seed.

#![expect(clippy::print_stdout, reason = "the report is its output")]

use std::process::ExitCode;

use connectify::trial::net::{Campaign, traced};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().collect();
    let number = |flag: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == flag);
        at.and_then(|at| arguments.get(at + 1)).and_then(|number| number.parse().ok()).unwrap_or(default)
    };
    let campaign = Campaign { seed: number("--seed", 1), seeds: number("--seeds", 100), planted: Default::default() };
    if arguments.iter().any(|argument| argument == "--trace") {
        return trace(campaign.seed);
    }
    println!("{campaign:?}");
    let step = campaign.seeds.div_ceil(20).max(1);
    let outcome = campaign.run(|report| {
        if report.runs % step == 0 {
            println!("{report:?}");
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

fn trace(seed: u64) -> ExitCode {
    let (trace, run) = traced(seed, Default::default());
    trace.iter().for_each(|line| println!("{line}"));
    println!("{run:?}");
    if run.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! Random choices for the properties that take long: some in `cargo test`, millions in a campaign, which
//! `CONNECTIFY_FUZZ_RUNS` and `CONNECTIFY_FUZZ_SEED` ask for.

#![allow(clippy::print_stderr, reason = "a campaign shows how far it is")]

use crate::trial::Rng;

/// Most memory that one input takes at once: a disk, a server, its peers and what is known of them.
const MAX_MEMORY_BYTES: u64 = 64 << 20;

/// Calls a property with so many random inputs of less than `max_bytes`, or with as many as a campaign asks for.
pub(super) fn try_out(property: fn(&[u8]), usual_runs: u64, max_bytes: usize) {
    let number = |name: &str| Some(std::env::var(name).ok()?.parse::<u64>().expect("a number"));
    let runs = number("CONNECTIFY_FUZZ_RUNS").unwrap_or(usual_runs);
    let mut most = 0;
    let mut rng = Rng::new(number("CONNECTIFY_FUZZ_SEED").unwrap_or(7));
    for run in 1..=runs {
        let length = rng.index(max_bytes);
        let data: Vec<u8> = (0..length).map(|_| rng.number().to_le_bytes()[0]).collect();
        let taken = allocation_counter::measure(|| property(&data)).bytes_max;
        assert!(taken <= MAX_MEMORY_BYTES, "input {run} took {taken} bytes");
        most = most.max(taken);
        if run.is_multiple_of(10_000) {
            eprintln!("{run} inputs, at most {most} bytes of memory");
        }
    }
}

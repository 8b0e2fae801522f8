//! README.md: its commands run as pasted, its options exist, its numbers are those of the code.

use std::collections::BTreeSet;

use connectify::limits;

use crate::support::{Running, Server, run};

const README: &str = include_str!("../../README.md");
const BINARY: &str = "target/release/connectify";

/// The text from one heading to the next.
fn section(heading: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    rest.split("\n## ").next().unwrap_or(rest)
}

#[test]
fn the_quick_start_runs_as_pasted_and_prints_what_it_says() {
    let server = Server::ephemeral();
    let commands: Vec<&str> = section("Quick start").lines().filter(|line| line.contains(BINARY)).collect();
    assert!(commands.len() >= 4, "{commands:?}");
    for line in commands {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &line.replace(BINARY, env!("CARGO_BIN_EXE_connectify"))]);
        shell.env("CONNECTIFY_SERVER", &server.address);
        for pipe in [std::process::Command::stdin, std::process::Command::stdout, std::process::Command::stderr] {
            pipe(&mut shell, std::process::Stdio::piped());
        }
        let printed = Running::start(shell).end().text();
        if let Some((_, expected)) = line.split_once('#') {
            assert_eq!(printed.split_whitespace().collect::<Vec<_>>().join(" "), expected.trim(), "{line}");
        }
    }
}

#[test]
fn every_option_that_it_names_exists() {
    let commands = [
        "serve",
        "check",
        "topic create",
        "topic list",
        "topic delete",
        "produce",
        "consume",
        "size",
        "dequeue",
        "info",
        "ship",
        "pipe",
        "agent run",
        "agent status",
        "bench append",
        "bench latency",
        "bench tail",
        "bench floor",
    ];
    let helps: String =
        commands.iter().map(|command| run(&command.split(' ').chain(["--help"]).collect::<Vec<_>>()).text()).collect();
    let is_part = |c: char| c.is_ascii_lowercase() || c == '-';
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c| !is_part(c)).filter(|word| word.starts_with("--") && word.len() > 3);
        words.map(str::to_owned).collect()
    };
    let known = words(&helps);
    let of_others =
        ["--release", "--open", "--sanitizer", "--name", "--rw", "--bs", "--fdatasync", "--fallocate", "--filename"];
    let unknown: Vec<_> =
        words(README).into_iter().filter(|w| !known.contains(w) && !of_others.contains(&w.as_str())).collect();
    assert!(unknown.is_empty(), "README.md names {unknown:?}");
}

#[test]
fn the_defaults_of_serve_are_those_that_its_help_tells() {
    let help = run(&["serve", "--help"]).text();
    let help: String = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows = section("Configuration").lines().filter(|line| line.starts_with("| `--"));
    let mut compared = 0;
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let (option, default) = (cells[1].split(' ').next().unwrap_or_default(), cells[2]);
        if default.is_empty() {
            continue;
        }
        let (_, told) = help.split_once(&format!("{option} <")).unwrap_or_else(|| panic!("no {option} in the help"));
        let (_, told) = told.split_once("[default: ").expect("it has a default");
        assert_eq!(told.split(']').next(), Some(default), "{option}");
        compared += 1;
    }
    assert_eq!(compared, 6);
}

#[test]
fn its_limits_are_those_of_the_code() {
    let section = section("Limits");
    for (what, limit) in [
        ("a record, encoded", format!("{} MiB", limits::MAX_RECORD_BYTES >> 20)),
        ("a key", format!("{} KiB", limits::MAX_KEY_BYTES >> 10)),
        ("headers of a record", limits::MAX_HEADERS.to_string()),
        ("a topic's name", format!("{} bytes", limits::MAX_TOPIC_NAME_BYTES)),
        ("topics", thousands(limits::MAX_TOPICS)),
        ("producers", thousands(limits::MAX_PRODUCERS)),
        ("consumers", thousands(limits::MAX_CONSUMERS)),
        ("wait of a dequeue or a fetch, at once", format!("{} s", limits::MAX_WAIT_MS / 1_000)),
    ] {
        assert!(section.contains(&format!("| {what} | {limit} |\n")), "{what} is {limit}");
    }
}

fn thousands(number: usize) -> String {
    format!("{},{:03}", number / 1_000, number % 1_000)
}

//! Rules about one file at a time.

use crate::source::Source;

const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 80;

/// Arrows, the lines of diagrams, and the ellipsis; everything else is ASCII.
const DRAWING: &str = "\u{2026}\u{2190}\u{2191}\u{2192}\u{2193}\u{2194}\u{2500}\u{2502}\u{250c}\u{2510}\u{2514}\u{2518}\u{251c}\u{2524}\u{252c}\u{2534}\u{253c}\u{25b2}\u{25b6}\u{25bc}\u{25c0}";

/// Files that may name bincode: its functions in the first, its traits, for derives, in the next three. The last is a suite
/// of tests, whose little state machine wants an encoding and has no protocol to borrow one from.
const BINCODE: [&str; 5] = [
    "src/protocol/body.rs",
    "src/protocol/error_code.rs",
    "src/protocol/message.rs",
    "src/protocol/messages.rs",
    "src/storage/conformance.rs",
];

/// Rooms of bytes and rules, and the one whose work is on threads of its own.
const WITHOUT_TOKIO: [&str; 3] = ["src/record/", "src/protocol/", "src/storage/"];

/// A dependency named where it does not belong: each has a room of its own, so that it can be replaced.
pub(crate) fn misplaced_dependencies(source: &Source) -> Vec<String> {
    let path = source.path.as_str();
    if !path.starts_with("src/") {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    if !path.starts_with("src/storage/") && source.has_word("redb") {
        wrong.push("redb");
    }
    if !BINCODE.contains(&path) && !is_encoder_of_broker(source) && source.has_word("bincode") {
        wrong.push("bincode");
    }
    if WITHOUT_TOKIO.iter().any(|room| path.starts_with(room)) {
        if source.has_word("tokio") {
            wrong.push("tokio");
        }
        if path != "src/protocol/codec.rs" && source.has_word("tokio_util") {
            wrong.push("tokio_util");
        }
    }
    wrong.into_iter().map(|name| format!("{path}: {name} does not belong here")).collect()
}

/// Whether this is where the broker encodes its own events and snapshots.
pub(crate) fn is_encoder_of_broker(source: &Source) -> bool {
    source.path.starts_with("src/broker/") && source.has_word("bincode")
}

/// Files and functions that have grown a second noun.
pub(crate) fn too_long(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.code.lines().collect();
    let mut problems = Vec::new();
    if lines.len() > MAX_FILE_LINES {
        problems.push(format!("{}: {} lines, at most {MAX_FILE_LINES}", source.path, lines.len()));
    }
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let length = function_lines(&lines[at..]);
        if length > MAX_FUNCTION_LINES {
            let number = at + 1;
            problems
                .push(format!("{}:{number}: fn {name} has {length} lines, at most {MAX_FUNCTION_LINES}", source.path));
        }
    }
    problems
}

/// How many lines a function takes that begins on the first of these, which rustfmt has laid out.
fn function_lines(lines: &[&str]) -> usize {
    let first = lines[0];
    if first.trim_end().ends_with(['}', ';']) {
        return 1;
    }
    let indent = &first[..first.len() - first.trim_start().len()];
    let is_last = |line: &&str| {
        let at_indent = line.strip_prefix(indent).unwrap_or_default();
        at_indent.trim_end() == "}" || (at_indent.starts_with(')') && at_indent.ends_with(';'))
    };
    lines.iter().position(is_last).map_or(0, |last| last + 1)
}

/// The name of the function that begins on this line.
fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    if rest.starts_with("pub") {
        rest = rest.split_once(' ')?.1;
    }
    for word in ["const ", "async ", "unsafe "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    rest.strip_prefix("fn ")?.split(['(', '<']).next()
}

/// Text that does not belong in a source: loose ends, characters that look like others, paths of one person's machine.
pub(crate) fn bad_text(source: &Source) -> Vec<String> {
    let loose_ends = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let workplace = concat!("/wo", "rk/");
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(source.text.lines()) {
        let mut report = |what: String| problems.push(format!("{}:{number}: {what}", source.path));
        if let Some(c) = line.chars().find(|c| !c.is_ascii() && !DRAWING.contains(*c)) {
            report(format!("U+{:04X} is not ASCII", u32::from(c)));
        }
        if let Some(word) = loose_ends.iter().find(|word| line.contains(**word)) {
            report(format!("{word} is a loose end"));
        }
        if line.contains(workplace) {
            report(format!("{workplace} is a workplace, not a path of the project"));
        }
    }
    problems
}

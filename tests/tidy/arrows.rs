//! Who may use whom.

use std::collections::BTreeMap;

use crate::source::Source;

/// The rooms under `src`, and the rooms that each may use besides itself. Nothing else is allowed.
///
/// The command line is the crate of the binary: it sees `connectify::`, the public interface, and no room of the library.
const ARROWS: [(&str, &[&str]); 14] = [
    ("limits", &[]),
    ("planted", &[]),
    ("record", &["limits"]),
    ("protocol", &["limits", "record"]),
    ("storage", &["limits", "planted", "record"]),
    ("broker", &["limits", "planted", "record", "storage"]),
    ("server", &["broker", "limits", "protocol", "record"]),
    ("client", &["limits", "protocol", "record"]),
    ("tracing", &["agent", "client", "protocol", "record"]),
    ("agent", &["client", "limits", "protocol", "record"]),
    ("trial", &["broker", "client", "limits", "planted", "protocol", "record", "server", "storage"]),
    ("fuzzing", &["client", "limits", "protocol", "record", "trial"]),
    ("cli", &[]),
    ("main", &["cli"]),
];

/// The names that the root of the crate re-exports, and the rooms they come from.
pub(crate) struct Exports {
    rooms: BTreeMap<String, String>,
}

impl Exports {
    pub(crate) fn read(lib: &Source) -> Self {
        let mut rooms = BTreeMap::new();
        for statement in lib.code.split("pub use ").skip(1) {
            let tree = statement.split(';').next().unwrap_or_default();
            let Some((room, names)) = tree.split_once("::") else { continue };
            for branch in branches(names.trim_start_matches('{')) {
                let name = branch.rsplit([':', ' ']).next().unwrap_or_default();
                rooms.insert(name.to_owned(), room.trim().to_owned());
            }
        }
        Self { rooms }
    }
}

/// A second reader of the protocol, to be held against the first: it may know nothing of the crate.
const INDEPENDENT: &str = "src/fuzzing/independent/";

/// Uses that go against the arrows.
pub(crate) fn problems(source: &Source, exports: &Exports) -> Vec<String> {
    let Some(path) = source.path.strip_prefix("src/").filter(|path| *path != "lib.rs") else { return Vec::new() };
    let room = path.split(['/', '.']).next().unwrap_or_default();
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{}: {room} is not a room; it needs its place among the arrows", source.path)];
    };
    let mut problems = Vec::new();
    if source.path.starts_with(INDEPENDENT) && (source.code.contains("crate::") || source.has_word("connectify")) {
        problems.push(format!("{}: what is independent uses nothing of the crate", source.path));
    }
    for name in used_names(&source.code) {
        let used = exports.rooms.get(&name).unwrap_or(&name);
        if used != room && !allowed.contains(&used.as_str()) {
            problems.push(format!("{}: {room} may not use {used} (crate::{name})", source.path));
        }
    }
    problems
}

/// What follows each `crate::`: one name, or the first name of every branch of a group.
fn used_names(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for path in code.split("crate::").skip(1) {
        match path.strip_prefix('{') {
            Some(group) => names.extend(branches(group).iter().map(|branch| ident(branch))),
            None => names.push(ident(path)),
        }
    }
    names
}

/// The branches of a group, up to the brace that closes it.
fn branches(group: &str) -> Vec<String> {
    let (mut found, mut depth, mut branch) = (Vec::new(), 1, String::new());
    for c in group.chars().chain([',']) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth > 1 || (depth == 1 && c != ',') {
            branch.push(c);
            continue;
        }
        found.push(branch.trim().to_owned());
        branch.clear();
        if depth == 0 {
            break;
        }
    }
    found.retain(|branch| !branch.is_empty());
    found
}

fn ident(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

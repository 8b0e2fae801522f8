//! A file of Rust, and its code without comments and literals.

use std::{fs, path::Path};

/// A file.
pub(crate) struct Source {
    /// From the top of the project, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments, strings and characters blanked out, line by line and column by column.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: blank_out(text) }
    }

    /// Every file under a folder of the project; none if there is no such folder.
    pub(crate) fn read_all(top: &Path, folder: &str) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(top.join(folder)) else { return Vec::new() };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.expect("a directory entry");
            let name = entry.file_name().into_string().expect("our files have ASCII names");
            let path = format!("{folder}/{name}");
            if entry.path().is_dir() {
                found.extend(Self::read_all(top, &path));
            } else if name.ends_with(".rs") {
                found.push(Self::new(&path, &fs::read_to_string(entry.path()).expect("a file in UTF-8")));
            }
        }
        found
    }

    /// Whether the code, not a comment, holds this word as a whole.
    pub(crate) fn has_word(&self, word: &str) -> bool {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        self.code
            .match_indices(word)
            .any(|(at, _)| !self.code[..at].ends_with(is_part) && !self.code[at + word.len()..].starts_with(is_part))
    }
}

/// Replaces what is not code by spaces. Good enough for formatted code that compiles.
fn blank_out(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = literal_len(rest, code.chars().last()).unwrap_or(0);
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[length..];
    }
    code
}

/// The length of the comment, string or character that the text begins with.
fn literal_len(text: &str, before: Option<char>) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment_len(text));
    }
    if !before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        let raw = text.strip_prefix("br").or_else(|| text.strip_prefix('r'));
        if let Some(length) = raw.and_then(raw_string_len) {
            return Some(text.len() - raw.map_or(0, str::len) + length);
        }
    }
    match text.as_bytes()[0] {
        b'"' => Some(quoted_len(text, '"')),
        // A lifetime has no second quote after one character.
        b'\'' if text.starts_with("'\\") || text.chars().nth(2) == Some('\'') => Some(quoted_len(text, '\'')),
        _ => None,
    }
}

fn block_comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let step = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of `#"..."#`, what stands before it left out.
fn raw_string_len(text: &str) -> Option<usize> {
    let hashes = text.len() - text.trim_start_matches('#').len();
    let body = text[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", &text[..hashes]);
    Some(hashes + 1 + body.find(&end)? + end.len())
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

//! A vector and a file of them, as `tests/vectors/*.json` holds them. protocol.md section 12 describes each member.

use std::{fs, path::PathBuf, sync::Once};

use connectify::protocol::ErrorCode;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::{document::unhex, is_writing, make};

/// The version of the form of the files.
pub(crate) const FORMAT: u32 = 1;

/// Above this a number is written as a string, since some readers of JSON have only floating point numbers.
const MAX_PLAIN: u64 = (1 << 53) - 1;

/// The vectors of one subject.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) format: u32,
    pub(crate) group: String,
    pub(crate) about: String,
    pub(crate) vectors: Vec<Vector>,
}

/// Bytes, and what they mean or why they are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub(crate) field_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<State>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_timestamp: Option<Value>,
    pub(crate) hex: String,
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub(crate) canonical: bool,
    /// `null` is a value, too: that of an `option` that is absent.
    #[serde(default, deserialize_with = "even_null", skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Refused>,
    #[serde(default, skip_serializing_if = "is_no")]
    pub(crate) incomplete: bool,
}

/// What the bytes of a vector are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Preface,
    Frame,
    Body,
    Field,
    Varint,
    Zigzag,
    Checksum,
    Record,
    Batch,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Preface,
        Self::Frame,
        Self::Body,
        Self::Field,
        Self::Varint,
        Self::Zigzag,
        Self::Checksum,
        Self::Record,
        Self::Batch,
    ];
}

/// The state of the connection (section 2.3) in which a frame arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum State {
    Hello,
    Open,
}

/// With which error, and where it shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    pub(crate) code: u16,
    pub(crate) name: String,
    #[serde(rename = "where")]
    pub(crate) place: Place,
    /// What section 6.3 lists for the code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) details: Vec<u64>,
}

/// Where an error shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    /// The server says it in GoAway, and closes.
    GoAway,
    /// The server says it in the answer to the request.
    #[serde(rename = "answer")]
    Answer,
    /// The bytes go from a server to a client, which closes the connection.
    #[serde(rename = "client")]
    Client,
    /// Nowhere: the server ignores the request.
    #[serde(rename = "ignored")]
    Ignored,
}

impl Vector {
    pub(crate) fn new(name: impl Into<String>, kind: Kind, bytes: &[u8]) -> Self {
        Self {
            name: name.into(),
            kind,
            field_type: None,
            message: None,
            state: None,
            first_timestamp: None,
            hex: hex(bytes),
            canonical: true,
            value: None,
            error: None,
            incomplete: false,
        }
    }

    pub(crate) fn of_message(self, message: &str) -> Self {
        Self { message: Some(message.to_owned()), ..self }
    }

    pub(crate) fn of_type(self, field_type: &str) -> Self {
        Self { field_type: Some(field_type.to_owned()), ..self }
    }

    pub(crate) fn in_state(self, state: State) -> Self {
        Self { state: Some(state), ..self }
    }

    pub(crate) fn means(self, value: Value) -> Self {
        Self { value: Some(value), ..self }
    }

    /// Refused with this error.
    pub(crate) fn gets(self, code: ErrorCode, place: Place, details: &[u64]) -> Self {
        let error = Refused { code: code as u16, name: code.name().to_owned(), place, details: details.to_vec() };
        Self { error: Some(error), ..self }
    }

    /// Neither good nor bad so far.
    pub(crate) fn awaits_more(self) -> Self {
        Self { incomplete: true, ..self }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        unhex(&self.hex)
    }

    /// Whether the bytes have no meaning. Those that have one can be refused all the same, for what they mean.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.error.is_some() && self.value.is_none()
    }
}

impl File {
    /// One vector a line, so that a change shows as the vectors that it changes.
    pub(crate) fn to_text(&self) -> String {
        let lines = self.vectors.iter().map(|vector| serde_json::to_string(vector).expect("plain data"));
        let (group, about) = (json!(self.group), json!(self.about));
        format!(
            "{{\n\"format\": {},\n\"group\": {group},\n\"about\": {about},\n\"vectors\": [\n{}\n]\n}}\n",
            self.format,
            lines.collect::<Vec<_>>().join(",\n")
        )
    }

    pub(crate) fn path(&self) -> PathBuf {
        folder().join(format!("{}.json", self.group))
    }
}

pub(crate) fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "vectors"].iter().collect()
}

/// The files as they are in the repository, in order of name. The schema is not one of them.
///
/// When they are to be written, they are written before anyone reads them.
pub(crate) fn read_all() -> Vec<File> {
    static WRITTEN: Once = Once::new();
    if is_writing() {
        let write = |file: &File| fs::write(file.path(), file.to_text()).expect("the source tree is writable");
        WRITTEN.call_once(|| make::files().iter().for_each(write));
    }
    let entries = fs::read_dir(folder()).expect("committed with the code");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a directory entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "json") && !path.ends_with("schema.json"));
    paths.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file: File = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(file.path(), *path, "the group is the name of the file");
        file
    };
    paths.iter().map(read).collect()
}

/// All vectors of the repository.
pub(crate) fn all() -> Vec<Vector> {
    read_all().into_iter().flat_map(|file| file.vectors).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number as the files have it.
pub(crate) fn plain(number: u64) -> Value {
    if number <= MAX_PLAIN { json!(number) } else { json!(number.to_string()) }
}

/// The same for one that may be negative.
pub(crate) fn plain_signed(number: i64) -> Value {
    if number.unsigned_abs() <= MAX_PLAIN { json!(number) } else { json!(number.to_string()) }
}

/// The number that a value of the files is.
pub(crate) fn number(value: &Value) -> u64 {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let number = number.unwrap_or_else(|| panic!("{value} is not a number"));
    assert_eq!(plain(number), *value, "there is one form of each number");
    number
}

fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn yes() -> bool {
    true
}

fn is_yes(flag: &bool) -> bool {
    *flag
}

fn is_no(flag: &bool) -> bool {
    !*flag
}

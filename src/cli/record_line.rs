//! One record, one line: its value as it is, or all of it as JSON.

use connectify::{
    client::ConsumerRecord,
    record::{Offset, Record, Timestamp},
};
use serde::Serialize;

use super::{base64, output::Output, timestamp};

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The bytes of the value.
    Value,
    /// An object with everything.
    Json,
}

impl Form {
    pub(crate) fn new(json: bool) -> Self {
        if json { Self::Json } else { Self::Value }
    }

    pub(crate) fn write(self, record: &ConsumerRecord, out: &mut Output) -> anyhow::Result<()> {
        match self {
            Self::Value => out.line(&record.record.value),
            Self::Json => out.json(&JsonRecord::new(record.offset, record.append_time, &record.record)),
        }
    }
}

#[derive(Serialize)]
struct JsonRecord<'a> {
    offset: u64,
    append_time: String,
    timestamp: Option<String>,
    key: Option<JsonBytes<'a>>,
    headers: Vec<JsonHeader<'a>>,
    value: JsonBytes<'a>,
}

#[derive(Serialize)]
struct JsonHeader<'a> {
    name: &'a str,
    value: JsonBytes<'a>,
}

/// A string when the bytes are UTF-8, else `{"base64": "..."}`.
#[derive(Serialize)]
#[serde(untagged)]
enum JsonBytes<'a> {
    Text(&'a str),
    Other { base64: String },
}

impl<'a> JsonRecord<'a> {
    fn new(offset: Offset, append_time: Timestamp, record: &'a Record) -> Self {
        let headers = record.headers.iter();
        Self {
            offset: offset.0,
            append_time: timestamp::display(append_time),
            timestamp: record.timestamp.map(timestamp::display),
            key: record.key.as_deref().map(JsonBytes::new),
            headers: headers.map(|h| JsonHeader { name: &h.name, value: JsonBytes::new(&h.value) }).collect(),
            value: JsonBytes::new(&record.value),
        }
    }
}

impl<'a> JsonBytes<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Other { base64: base64::encode(bytes) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_a_string_and_other_bytes_are_base64() {
        let record = Record::new("a\"b\r").key(&b"\xff"[..]).header("h", "v").timestamp(Timestamp(1_500_000));
        let json = serde_json::to_string(&JsonRecord::new(Offset(7), Timestamp(2_000_000), &record)).expect("plain");
        assert_eq!(
            json,
            concat!(
                r#"{"offset":7,"append_time":"1970-01-01T00:00:02Z","timestamp":"1970-01-01T00:00:01.500000Z","#,
                r#""key":{"base64":"/w=="},"headers":[{"name":"h","value":"v"}],"value":"a\"b\r"}"#
            )
        );
        let bare = Record::new("");
        let json = serde_json::to_string(&JsonRecord::new(Offset(0), Timestamp(0), &bare)).expect("plain");
        assert!(json.ends_with(r#""timestamp":null,"key":null,"headers":[],"value":""}"#), "{json}");
    }
}

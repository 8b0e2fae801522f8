//! From the meaning of a body to its bytes: an encoder that is driven by the tables of protocol.md and by section 1.2.
//!
//! It shares no code with the crate. Beside the bytes it gives what `Debug` shows for the crate's types, so that a value of
//! the files can be compared with what the two decoders read.

use serde_json::{Map, Value};

use crate::{
    document::unhex,
    tables::{Layouts, Type},
    vector::number,
};

/// What some bytes of a body are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum What {
    Byte,
    Bool,
    /// The first byte of an `option`.
    Present,
    /// With the largest value of its type.
    Number(u64),
    /// Of a string, a byte string or a list.
    Count,
    Text,
    Bytes,
    Id,
    Tag,
    Batch,
}

/// The bytes of one field, or of the count in front of it.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Which field, such as `parts[0].topic_id`.
    pub(crate) path: String,
    pub(crate) what: What,
    pub(crate) bytes: Vec<u8>,
}

/// A body, piece by piece.
pub(crate) struct Written {
    pub(crate) pieces: Vec<Piece>,
    /// As `Debug` would show what it means.
    pub(crate) debug: String,
}

impl Written {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        joined(&self.pieces)
    }
}

pub(crate) fn joined(pieces: &[Piece]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| piece.bytes.clone()).collect()
}

/// The body of this message, or of this structure.
pub(crate) fn write_body(layouts: &Layouts, message: &str, value: &Value) -> Written {
    let mut writer = Writer { layouts, pieces: Vec::new() };
    let debug = writer.structure(message, value, "");
    Written { pieces: writer.pieces, debug }
}

/// A field of one of the types of section 1.2.
pub(crate) fn write_field(layouts: &Layouts, kind: &str, value: &Value) -> Written {
    let mut writer = Writer { layouts, pieces: Vec::new() };
    let debug = writer.value(&Type::parse(kind), value, "value");
    Written { pieces: writer.pieces, debug }
}

/// A number of section 1.2 in its only form.
pub(crate) fn shortest(number: u64) -> Vec<u8> {
    let bytes = number.to_le_bytes();
    match number {
        0..=250 => vec![bytes[0]],
        251..=0xffff => [&[0xfb], &bytes[..2]].concat(),
        0x1_0000..=0xffff_ffff => [&[0xfc], &bytes[..4]].concat(),
        _ => [&[0xfd], &bytes[..]].concat(),
    }
}

struct Writer<'a> {
    layouts: &'a Layouts,
    pieces: Vec<Piece>,
}

impl Writer<'_> {
    fn push(&mut self, path: &str, what: What, bytes: &[u8]) {
        self.pieces.push(Piece { path: path.to_owned(), what, bytes: bytes.to_vec() });
    }

    fn structure(&mut self, name: &str, value: &Value, path: &str) -> String {
        let layouts = self.layouts;
        let members = object(value);
        let fields = layouts.fields(name);
        assert_eq!(members.len(), fields.len(), "{name} has other fields than {value}");
        let mut shown = Vec::new();
        for (field, kind) in fields {
            if *kind == Type::Batches {
                let batches = members["batches"].as_array().expect("a list of batches");
                batches.iter().enumerate().for_each(|(index, batch)| {
                    self.push(&format!("batch {index}"), What::Batch, &unhex(text(batch)));
                });
                continue;
            }
            let value = members.get(field).unwrap_or_else(|| panic!("{name} has a field {field}, {value} has not"));
            let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
            shown.push(format!("{field}: {}", self.value(kind, value, &path)));
        }
        if shown.is_empty() { name.to_owned() } else { format!("{name} {{ {} }}", shown.join(", ")) }
    }

    fn value(&mut self, kind: &Type, value: &Value, path: &str) -> String {
        match kind {
            Type::Byte => {
                let byte = u8::try_from(number(value)).expect("a byte");
                self.push(path, What::Byte, &[byte]);
                byte.to_string()
            }
            Type::Bool => {
                let flag = value.as_bool().expect("true or false");
                self.push(path, What::Bool, &[u8::from(flag)]);
                flag.to_string()
            }
            Type::Number(largest) => {
                let number = number(value);
                assert!(number <= *largest, "{path}: {number} is over {largest}");
                self.push(path, What::Number(*largest), &shortest(number));
                number.to_string()
            }
            Type::Text => {
                self.counted(path, What::Text, text(value).as_bytes());
                format!("{:?}", text(value))
            }
            Type::Bytes => {
                let bytes = unhex(text(value));
                self.counted(path, What::Bytes, &bytes);
                format!("{bytes:?}")
            }
            Type::Id => {
                let bytes = unhex(text(value));
                assert_eq!(bytes.len(), 16, "{path} is an id");
                self.push(path, What::Id, &bytes);
                format!("{bytes:?}")
            }
            Type::Option(inner) => {
                self.push(path, What::Present, &[u8::from(!value.is_null())]);
                if value.is_null() { "None".to_owned() } else { format!("Some({})", self.value(inner, value, path)) }
            }
            Type::List(inner) => {
                let elements = value.as_array().expect("a list");
                self.push(path, What::Count, &shortest(elements.len() as u64));
                let elements = elements.iter().enumerate();
                let shown = elements.map(|(index, element)| self.value(inner, element, &format!("{path}[{index}]")));
                format!("[{}]", shown.collect::<Vec<_>>().join(", "))
            }
            Type::Named(name) if name == "Start" => self.start(value, path),
            Type::Named(name) => self.structure(name, value, path),
            Type::Batches => panic!("batches stand behind all fields"),
        }
    }

    /// `{"Head": null}`, `{"Offset": 300}`: the name of the tag, and what follows it.
    fn start(&mut self, value: &Value, path: &str) -> String {
        let layouts = self.layouts;
        let (name, follows) = object(value).iter().next().expect("a tag by its name");
        assert_eq!(object(value).len(), 1, "{value} has more than a tag");
        let (tag, _, kind) = layouts.tags().iter().find(|(_, tag, _)| tag == name).expect("a tag of section 4.16");
        self.push(path, What::Tag, &[*tag]);
        match kind {
            None => {
                assert!(follows.is_null(), "nothing follows {name}");
                name.clone()
            }
            Some(kind) => format!("{name}({})", self.value(kind, follows, path)),
        }
    }

    fn counted(&mut self, path: &str, what: What, bytes: &[u8]) {
        self.push(path, What::Count, &shortest(bytes.len() as u64));
        self.push(path, what, bytes);
    }
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("{value} is not an object"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string"))
}

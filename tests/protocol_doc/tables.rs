//! A decoder of frames and control bodies that is driven by the tables of protocol.md and by section 1.2 alone.
//!
//! It shares no code with the crate. What it decodes it shows in the form that `Debug` gives the crate's types, so that
//! names, order and values can be compared, and as the annotated lines of the document's hex blocks.

use std::collections::BTreeMap;

use super::document::{Document, quoted};

/// The type of a field, as section 1.2 names it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    Byte,
    Bool,
    /// `u16`, `u32` or `u64`: the largest value.
    Number(u64),
    Text,
    Bytes,
    Id,
    Option(Box<Self>),
    List(Box<Self>),
    Named(String),
    Batches,
}

/// What the tables of section 4 and 6.1 say.
pub(crate) struct Layouts {
    structures: BTreeMap<String, Vec<(String, Type)>>,
    /// `Start`: tag, name, and what follows the tag.
    tags: Vec<(u8, String, Option<Type>)>,
    pub(crate) messages: Vec<MessageRow>,
    /// `MAX_CONTROL_BYTES` of section 7.
    max_control_bytes: usize,
}

/// A row of the table of opcodes.
pub(crate) struct MessageRow {
    pub(crate) opcode: u16,
    pub(crate) name: String,
    pub(crate) request: Option<String>,
    pub(crate) answer: Option<String>,
}

/// Why the tables do not allow some bytes.
pub(crate) type Refusal = &'static str;

impl Type {
    pub(crate) fn parse(text: &str) -> Self {
        let inner = |prefix| text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('>'));
        match text {
            "u8" => Self::Byte,
            "bool" => Self::Bool,
            "u16" => Self::Number(u16::MAX.into()),
            "u32" => Self::Number(u32::MAX.into()),
            "u64" => Self::Number(u64::MAX),
            "string" => Self::Text,
            "bytes" => Self::Bytes,
            "id" => Self::Id,
            "batches" => Self::Batches,
            _ => match (inner("option<"), inner("list<")) {
                (Some(inner), _) => Self::Option(Self::parse(inner).into()),
                (_, Some(inner)) => Self::List(Self::parse(inner).into()),
                _ => Self::Named(text.to_owned()),
            },
        }
    }
}

impl Layouts {
    /// protocol.md and its tables.
    pub(crate) fn with_document() -> (Document, Self) {
        let document = Document::read();
        let layouts = Self::read(&document);
        (document, layouts)
    }

    pub(crate) fn read(document: &Document) -> Self {
        let mut structures = BTreeMap::new();
        let mut add = |caption: &str, fields| {
            let is_layout = ["Request ", "Answer ", "Type "].iter().any(|kind| caption.starts_with(kind));
            if is_layout && structures.insert(quoted(caption)[0].to_owned(), fields).is_some() {
                panic!("two tables for {caption}");
            }
        };
        for line in document.prose.iter().filter(|line| line.ends_with(": no fields.")) {
            add(line, Vec::new());
        }
        for table in document.tables.iter().filter(|table| table.columns == ["field", "type", "meaning", "limit"]) {
            let unquote = |cell: &String| quoted(cell).first().copied().unwrap_or_default().to_owned();
            let fields = table.rows.iter().map(|row| (unquote(&row[0]), Type::parse(&unquote(&row[1])))).collect();
            add(&table.caption, fields);
        }
        let tags = document.table(&["tag", "name", "followed by", "meaning"]).rows.iter().map(|row| {
            let follows = quoted(&row[2]).first().map(|text| Type::parse(text));
            (row[0].parse().unwrap(), quoted(&row[1])[0].to_owned(), follows)
        });
        let messages = document.table(&["opcode", "message", "request", "answer", "asked by"]).rows.iter().map(|row| {
            let name = |cell: &str| quoted(cell).first().map(|name| (*name).to_owned());
            let opcode = u16::from_str_radix(row[0].trim_matches('`').trim_start_matches("0x"), 16).unwrap();
            MessageRow { opcode, name: row[1].clone(), request: name(&row[2]), answer: name(&row[3]) }
        });
        let limits = &document.table(&["limit", "value", "unit", "meaning"]).rows;
        let control = limits.iter().find(|row| row[0] == "`MAX_CONTROL_BYTES`").expect("section 1.2 names it");
        let max_control_bytes = control[1].replace(',', "").parse().unwrap();
        Self { tags: tags.collect(), messages: messages.collect(), structures, max_control_bytes }
    }

    pub(crate) fn fields(&self, name: &str) -> &[(String, Type)] {
        self.structures.get(name).unwrap_or_else(|| panic!("no table describes {name}"))
    }

    /// Names of all structures, messages and others.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.structures.keys().map(String::as_str)
    }

    pub(crate) fn tags(&self) -> &[(u8, String, Option<Type>)] {
        &self.tags
    }

    /// Decodes a whole body.
    pub(crate) fn body(&self, name: &str, body: &[u8]) -> Result<Decoded, Refusal> {
        self.whole(name, body, |decoder| decoder.structure(name, ""))
    }

    /// Decodes a field of one of the types of section 1.2, and nothing behind it.
    pub(crate) fn field(&self, kind: &str, bytes: &[u8]) -> Result<Decoded, Refusal> {
        self.whole(kind, bytes, |decoder| decoder.value(&Type::parse(kind), kind))
    }

    fn whole(
        &self,
        name: &str,
        body: &[u8],
        decode: impl FnOnce(&mut BodyDecoder<'_>) -> Result<String, Refusal>,
    ) -> Result<Decoded, Refusal> {
        let mut decoder =
            BodyDecoder { layouts: self, body, at: 0, control_bytes: None, lengths: Vec::new(), lines: Vec::new() };
        let debug = decode(&mut decoder)?;
        if decoder.at != body.len() {
            return Err("goes on after its last field");
        }
        if decoder.control_bytes.unwrap_or(decoder.at) > self.max_control_bytes {
            return Err("control fields are over the limit");
        }
        Ok(Decoded { name: name.to_owned(), debug, lines: decoder.lines })
    }

    /// Decodes a whole frame by the table of section 3.
    pub(crate) fn frame(&self, frame: &[u8]) -> Result<Decoded, Refusal> {
        let (head, body) = frame.split_at_checked(12).ok_or("shorter than a frame's header")?;
        let number = |at: usize, size: usize| head[at..at + size].iter().rfold(0u32, |n, b| n << 8 | u32::from(*b));
        let (length, opcode, version, flags, id) = (number(0, 4), number(4, 2), head[6], head[7], number(8, 4));
        if length as usize != frame.len() - 4 {
            return Err("length is another one");
        }
        let row = self.messages.iter().find(|row| u32::from(row.opcode) == opcode & 0x7fff).ok_or("unknown opcode")?;
        let (is_answer, is_error) = (opcode & 0x8000 != 0, flags == 1);
        let name = match (is_answer, is_error) {
            (true, true) => Some("ErrorBody".to_owned()),
            (true, false) if flags == 0 => row.answer.clone(),
            (false, false) if flags == 0 => row.request.clone(),
            _ => return Err("flags that do not fit"),
        };
        let mut decoded = self.body(&name.ok_or("no such request or answer")?, body)?;
        let what = format!("opcode: {opcode:#06x}, {}{}", if is_answer { "answer to " } else { "" }, row.name);
        let what = what.replace("answer to Deliver", "Deliver");
        let header = [
            (0..4, format!("length: {length}")),
            (4..6, what),
            (6..7, format!("version: {version}")),
            (7..8, format!("flags: {flags}{}", if is_error { ", error" } else { "" })),
            (8..12, format!("correlation id: {id}")),
        ];
        let header = header.into_iter().map(|(range, comment)| Line { bytes: head[range].to_vec(), comment });
        decoded.lines = header.chain(decoded.lines).collect();
        Ok(decoded)
    }
}

/// What came out of a frame or a body.
pub(crate) struct Decoded {
    pub(crate) name: String,
    /// As `Debug` would show it.
    pub(crate) debug: String,
    pub(crate) lines: Vec<Line>,
}

/// Bytes and what they are.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) bytes: Vec<u8>,
    pub(crate) comment: String,
}

/// Lines as they stand in a `hex` block: at most 16 bytes each, comments aligned.
pub(crate) fn hex_block(lines: &[Line]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    let widest = lines.iter().map(|line| line.bytes.len().min(16) * 3 - 1).max().unwrap_or(0);
    let mut out = String::new();
    for line in lines {
        for (index, bytes) in line.bytes.chunks(16).enumerate() {
            match index {
                0 => out += &format!("{:<widest$}  # {}\n", hex(bytes), line.comment),
                _ => out += &format!("{}\n", hex(bytes)),
            }
        }
    }
    out
}

struct BodyDecoder<'a> {
    layouts: &'a Layouts,
    body: &'a [u8],
    at: usize,
    /// Where the batches begin, once they are reached.
    control_bytes: Option<usize>,
    /// Values of the fields named `batch_bytes`.
    lengths: Vec<u64>,
    lines: Vec<Line>,
}

impl BodyDecoder<'_> {
    fn structure(&mut self, name: &str, path: &str) -> Result<String, Refusal> {
        let layouts = self.layouts;
        let mut fields = Vec::new();
        for (field, kind) in layouts.fields(name) {
            match kind {
                Type::Batches => self.batches()?,
                _ => fields.push(format!("{field}: {}", self.value(kind, &join(path, field))?)),
            }
        }
        match fields.is_empty() {
            true => Ok(name.to_owned()),
            false => Ok(format!("{name} {{ {} }}", fields.join(", "))),
        }
    }

    fn value(&mut self, kind: &Type, path: &str) -> Result<String, Refusal> {
        let from = self.at;
        match kind {
            Type::Byte => {
                let byte = self.take(1)?[0];
                Ok(self.line(from, path, &byte.to_string()))
            }
            Type::Bool => {
                let value = self.zero_or_one()?;
                Ok(self.line(from, path, &value.to_string()))
            }
            Type::Number(largest) => {
                let number = self.number(*largest)?;
                if path.rsplit('.').next().is_some_and(|name| name.starts_with("batch_bytes")) {
                    self.lengths.push(number);
                }
                Ok(self.line(from, path, &number.to_string()))
            }
            Type::Text => {
                let text = String::from_utf8(self.counted()?.to_vec()).map_err(|_| "not UTF-8")?;
                Ok(self.line(from, path, &format!("{text:?}")))
            }
            Type::Bytes => {
                let bytes = self.counted()?.to_vec();
                self.line(from, path, &format!("{} bytes", bytes.len()));
                Ok(format!("{bytes:?}"))
            }
            Type::Id => {
                let bytes = self.take(16)?.to_vec();
                self.line(from, path, &uuid_text(&bytes));
                Ok(format!("{bytes:?}"))
            }
            Type::Option(inner) => match self.zero_or_one()? {
                false => {
                    self.line(from, path, "absent");
                    Ok("None".to_owned())
                }
                true => {
                    self.line(from, path, "present");
                    Ok(format!("Some({})", self.value(inner, path)?))
                }
            },
            Type::List(inner) => {
                let count = self.number(u64::MAX)?;
                self.line(from, path, &format!("count {count}"));
                let mut elements = Vec::new();
                for index in 0..count {
                    elements.push(self.value(inner, &format!("{path}[{index}]"))?);
                }
                Ok(format!("[{}]", elements.join(", ")))
            }
            Type::Named(name) if name == "Start" => self.start(path),
            Type::Named(name) => self.structure(name, path),
            Type::Batches => Err("batches inside of a field"),
        }
    }

    fn start(&mut self, path: &str) -> Result<String, Refusal> {
        let (from, layouts) = (self.at, self.layouts);
        let tag = self.take(1)?[0];
        let (_, name, follows) = layouts.tags.iter().find(|(number, ..)| *number == tag).ok_or("unknown tag")?;
        self.line(from, path, &format!("tag {tag}, {name}"));
        match follows {
            None => Ok(name.clone()),
            Some(kind) => Ok(format!("{name}({})", self.value(kind, path)?)),
        }
    }

    fn batches(&mut self) -> Result<(), Refusal> {
        self.control_bytes = Some(self.at);
        for (index, length) in self.lengths.clone().into_iter().enumerate() {
            let from = self.at;
            self.take(length)?;
            if length > 0 {
                self.line(from, &format!("batch {index}"), &format!("{length} bytes"));
            }
        }
        Ok(())
    }

    /// The number of section 1.2, in its only form.
    fn number(&mut self, largest: u64) -> Result<u64, Refusal> {
        let (size, least) = match self.take(1)?[0] {
            small @ 0..=250 => return Ok(small.into()),
            0xfb => (2, 251),
            0xfc => (4, 0x1_0000),
            0xfd => (8, 0x1_0000_0000),
            _ => return Err("reserved first byte of a number"),
        };
        let number = self.take(size)?.iter().rfold(0, |number, byte| number << 8 | u64::from(*byte));
        match number {
            _ if number < least => Err("number in a longer form than necessary"),
            _ if number > largest => Err("number does not fit its type"),
            _ => Ok(number),
        }
    }

    fn counted(&mut self) -> Result<&[u8], Refusal> {
        let count = self.number(u64::MAX)?;
        self.take(count)
    }

    fn zero_or_one(&mut self) -> Result<bool, Refusal> {
        match self.take(1)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("neither 0 nor 1"),
        }
    }

    fn take(&mut self, count: u64) -> Result<&[u8], Refusal> {
        let rest = &self.body[self.at..];
        let count = usize::try_from(count).map_err(|_| "ends before its last field")?;
        let taken = rest.get(..count).ok_or("ends before its last field")?;
        self.at += count;
        Ok(taken)
    }

    /// Notes what the bytes since `from` are; gives `value` back.
    fn line(&mut self, from: usize, path: &str, value: &str) -> String {
        self.lines.push(Line { bytes: self.body[from..self.at].to_vec(), comment: format!("{path}: {value}") });
        value.to_owned()
    }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// The text form of a UUID.
pub(crate) fn uuid_text(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

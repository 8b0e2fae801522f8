//! A decoder of frames and bodies that goes by the tables of protocol.md and by section 1.2.
//!
//! What it decodes it shows in the form that `Debug` gives the crate's types, so that names, order and values can be
//! compared.

use std::fmt::{self, Write};

use super::{
    notes::{Notes, uuid_text},
    tables::{Layouts, Type},
};

/// Why the tables do not allow some bytes.
pub(crate) type Refusal = &'static str;

/// What came out of a frame or a body.
pub(crate) struct Decoded {
    pub(crate) name: String,
    /// As `Debug` would show it.
    pub(crate) debug: String,
}

impl Layouts {
    /// Decodes a whole body.
    pub(crate) fn body(&self, name: &str, body: &[u8]) -> Result<Decoded, Refusal> {
        self.whole(name, body, &mut (), |decoder| decoder.structure(name, &Path::Top))
    }

    /// Decodes a field of one of the types of section 1.2, and nothing behind it.
    pub(crate) fn field(&self, kind: &str, bytes: &[u8]) -> Result<Decoded, Refusal> {
        self.whole(kind, bytes, &mut (), |decoder| decoder.value(&Type::parse(kind), &Path::Field(&Path::Top, kind)))
    }

    fn whole<N: Notes>(
        &self,
        name: &str,
        body: &[u8],
        notes: &mut N,
        decode: impl FnOnce(&mut BodyDecoder<'_, N>) -> Result<(), Refusal>,
    ) -> Result<Decoded, Refusal> {
        let (lengths, shown) = (Vec::new(), String::new());
        let mut decoder = BodyDecoder { layouts: self, body, at: 0, control_bytes: None, lengths, shown, notes };
        decode(&mut decoder)?;
        if decoder.at != body.len() {
            return Err("goes on after its last field");
        }
        if decoder.control_bytes.unwrap_or(decoder.at) > self.limit("MAX_CONTROL_BYTES") {
            return Err("control fields are over the limit");
        }
        Ok(Decoded { name: name.to_owned(), debug: decoder.shown })
    }

    /// Decodes a whole frame by the table of section 3.
    pub(crate) fn frame(&self, frame: &[u8], notes: &mut impl Notes) -> Result<Decoded, Refusal> {
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
        let name = name.ok_or("no such request or answer")?;
        let what = format!("opcode: {opcode:#06x}, {}{}", if is_answer { "answer to " } else { "" }, row.name);
        notes.note(&head[0..4], || format!("length: {length}"));
        notes.note(&head[4..6], || what.replace("answer to Deliver", "Deliver"));
        notes.note(&head[6..7], || format!("version: {version}"));
        notes.note(&head[7..8], || format!("flags: {flags}{}", if is_error { ", error" } else { "" }));
        notes.note(&head[8..12], || format!("correlation id: {id}"));
        self.whole(&name, body, notes, |decoder| decoder.structure(&name, &Path::Top))
    }
}

/// Where a field is, such as `parts[0].topic_id`: told only when somebody takes notes.
enum Path<'a> {
    Top,
    Field(&'a Self, &'a str),
    Element(&'a Self, u64),
}

impl Path<'_> {
    /// Whether this is the length of a batch, or a list of them.
    fn is_batch_bytes(&self) -> bool {
        match self {
            Self::Top => false,
            Self::Field(_, name) => *name == "batch_bytes",
            Self::Element(list, _) => list.is_batch_bytes(),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top => Ok(()),
            Self::Field(Path::Top, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Element(list, index) => write!(f, "{list}[{index}]"),
        }
    }
}

struct BodyDecoder<'a, N> {
    layouts: &'a Layouts,
    body: &'a [u8],
    at: usize,
    /// Where the batches begin, once they are reached.
    control_bytes: Option<usize>,
    /// Values of the fields named `batch_bytes`.
    lengths: Vec<u64>,
    /// What was decoded so far, as `Debug` would show it.
    shown: String,
    notes: &'a mut N,
}

impl<'a, N: Notes> BodyDecoder<'a, N> {
    fn structure(&mut self, name: &str, path: &Path<'_>) -> Result<(), Refusal> {
        let layouts = self.layouts;
        self.show(name);
        let mut before = " { ";
        for (field, kind) in layouts.fields(name) {
            if *kind == Type::Batches {
                self.batches()?;
                continue;
            }
            self.show(format_args!("{before}{field}: "));
            self.value(kind, &Path::Field(path, field))?;
            before = ", ";
        }
        if before == ", " {
            self.show(" }");
        }
        Ok(())
    }

    fn value(&mut self, kind: &Type, path: &Path<'_>) -> Result<(), Refusal> {
        let from = self.at;
        match kind {
            Type::Byte => {
                let byte = self.take(1)?[0];
                self.shown_line(from, path, byte);
            }
            Type::Bool => {
                let value = self.zero_or_one()?;
                self.shown_line(from, path, value);
            }
            Type::Number(largest) => {
                let number = self.number(*largest)?;
                if path.is_batch_bytes() {
                    self.lengths.push(number);
                }
                self.shown_line(from, path, number);
            }
            Type::Text => {
                let text = std::str::from_utf8(self.counted()?).map_err(|_| "not UTF-8")?;
                self.shown_line(from, path, format_args!("{text:?}"));
            }
            Type::Bytes => {
                let bytes = self.counted()?;
                self.line(from, path, format_args!("{} bytes", bytes.len()));
                self.show(format_args!("{bytes:?}"));
            }
            Type::Id => {
                let bytes = self.take(16)?;
                self.notes.note(bytes, || format!("{path}: {}", uuid_text(bytes)));
                self.show(format_args!("{bytes:?}"));
            }
            Type::Option(inner) => self.option(inner, path)?,
            Type::List(inner) => self.list(inner, path)?,
            Type::Named(name) if name == "Start" => self.start(path)?,
            Type::Named(name) => self.structure(name, path)?,
            Type::Batches => return Err("batches inside of a field"),
        }
        Ok(())
    }

    fn option(&mut self, inner: &Type, path: &Path<'_>) -> Result<(), Refusal> {
        let from = self.at;
        if !self.zero_or_one()? {
            self.line(from, path, "absent");
            self.show("None");
            return Ok(());
        }
        self.line(from, path, "present");
        self.show("Some(");
        self.value(inner, path)?;
        self.show(")");
        Ok(())
    }

    fn list(&mut self, inner: &Type, path: &Path<'_>) -> Result<(), Refusal> {
        let from = self.at;
        let count = self.number(u64::MAX)?;
        self.line(from, path, format_args!("count {count}"));
        self.show("[");
        for index in 0..count {
            if index > 0 {
                self.show(", ");
            }
            self.value(inner, &Path::Element(path, index))?;
        }
        self.show("]");
        Ok(())
    }

    fn start(&mut self, path: &Path<'_>) -> Result<(), Refusal> {
        let (from, layouts) = (self.at, self.layouts);
        let tag = self.take(1)?[0];
        let (_, name, follows) = layouts.tags().iter().find(|(number, ..)| *number == tag).ok_or("unknown tag")?;
        self.line(from, path, format_args!("tag {tag}, {name}"));
        self.show(name);
        if let Some(kind) = follows {
            self.show("(");
            self.value(kind, path)?;
            self.show(")");
        }
        Ok(())
    }

    fn batches(&mut self) -> Result<(), Refusal> {
        self.control_bytes = Some(self.at);
        for (index, length) in std::mem::take(&mut self.lengths).into_iter().enumerate() {
            let bytes = self.take(length)?;
            if length > 0 {
                self.notes.note(bytes, || format!("batch {index}: {length} bytes"));
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

    fn counted(&mut self) -> Result<&'a [u8], Refusal> {
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

    fn take(&mut self, count: u64) -> Result<&'a [u8], Refusal> {
        let rest = &self.body[self.at..];
        let count = usize::try_from(count).map_err(|_| "ends before its last field")?;
        let taken = rest.get(..count).ok_or("ends before its last field")?;
        self.at += count;
        Ok(taken)
    }

    fn show(&mut self, value: impl fmt::Display) {
        write!(self.shown, "{value}").expect("writing to a string cannot fail");
    }

    /// Notes what the bytes since `from` are.
    fn line(&mut self, from: usize, path: &Path<'_>, value: impl fmt::Display) {
        self.notes.note(&self.body[from..self.at], || format!("{path}: {value}"));
    }

    fn shown_line(&mut self, from: usize, path: &Path<'_>, value: impl fmt::Display) {
        self.line(from, path, &value);
        self.show(value);
    }
}

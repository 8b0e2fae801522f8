//! The tables of protocol.md: messages, structures, types, limits and the codes of errors.

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
    limits: Limits,
    /// Numbers and names of section 6.3.
    pub(crate) codes: Vec<(u16, String)>,
}

/// What section 7 says.
pub(crate) struct Limits(BTreeMap<String, usize>);

/// A row of the table of opcodes.
pub(crate) struct MessageRow {
    pub(crate) opcode: u16,
    pub(crate) name: String,
    pub(crate) request: Option<String>,
    pub(crate) answer: Option<String>,
}

impl Limits {
    pub(crate) fn read(document: &Document) -> Self {
        let rows = &document.table(&["limit", "value", "unit", "meaning"]).rows;
        let number = |text: &str| text.replace(',', "").parse().expect("limits are numbers");
        Self(rows.iter().map(|row| (quoted(&row[0])[0].to_owned(), number(&row[1]))).collect())
    }

    pub(crate) fn get(&self, name: &str) -> usize {
        *self.0.get(name).unwrap_or_else(|| panic!("section 7 has no {name}"))
    }
}

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
            (row[0].parse().expect("tags are numbers"), quoted(&row[1])[0].to_owned(), follows)
        });
        let messages = document.table(&["opcode", "message", "request", "answer", "asked by"]).rows.iter().map(|row| {
            let name = |cell: &str| quoted(cell).first().map(|name| (*name).to_owned());
            let opcode = u16::from_str_radix(row[0].trim_matches('`').trim_start_matches("0x"), 16);
            let opcode = opcode.expect("opcodes are hexadecimal numbers");
            MessageRow { opcode, name: row[1].clone(), request: name(&row[2]), answer: name(&row[3]) }
        });
        let codes = &document.table(&["code", "name", "facts", "meaning", "details", "the client"]).rows;
        let code = |row: &Vec<String>| (row[0].parse().expect("codes are numbers"), quoted(&row[1])[0].to_owned());
        let (codes, limits) = (codes.iter().map(code).collect(), Limits::read(document));
        Self { tags: tags.collect(), messages: messages.collect(), structures, limits, codes }
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

    /// A limit of section 7.
    pub(crate) fn limit(&self, name: &str) -> usize {
        self.limits.get(name)
    }
}

//! Bodies made from the tables of protocol.md alone, in their one allowed form.

use super::tables::{Layouts, Type};

/// A body of `name`. When `spoiled` counts down to 0 at a `bool`, an `option`, a number or a tag, that field gets a value
/// just outside of its type.
pub(crate) struct BodyMaker<'a> {
    layouts: &'a Layouts,
    state: u64,
    spoiled: Option<usize>,
    lengths: usize,
    out: Vec<u8>,
}

impl<'a> BodyMaker<'a> {
    pub(crate) fn new(layouts: &'a Layouts, seed: u64) -> Self {
        Self { layouts, state: seed, spoiled: None, lengths: 0, out: Vec::new() }
    }

    /// Spoils the field with this index, if there are so many.
    pub(crate) fn spoil(self, index: usize) -> Self {
        Self { spoiled: Some(index), ..self }
    }

    /// The body, and whether a field of it was spoiled.
    pub(crate) fn body(mut self, name: &str) -> (Vec<u8>, bool) {
        let asked = self.spoiled.is_some();
        self.structure(name);
        (self.out, asked && self.spoiled.is_none())
    }

    fn structure(&mut self, name: &str) {
        for (field, kind) in self.layouts.fields(name).to_vec() {
            let is_length = field == "batch_bytes";
            match kind {
                Type::Batches => self.out.resize(self.out.len() + self.lengths, 0xab),
                Type::List(inner) if is_length => self.list(&inner, true),
                kind => self.value(&kind, is_length),
            }
        }
    }

    fn value(&mut self, kind: &Type, is_length: bool) {
        match kind {
            Type::Byte => {
                let byte = self.byte();
                self.out.push(byte);
            }
            Type::Bool => self.zero_or_one(),
            Type::Number(largest) => self.field(*largest, is_length),
            Type::Text => {
                let text: String =
                    (0..self.below(9)).map(|_| ['a', '0', '"', '\n', '\u{e9}', '\u{8a9e}'][self.below(6)]).collect();
                self.number(text.len() as u64);
                self.out.extend_from_slice(text.as_bytes());
            }
            Type::Bytes => {
                let bytes: Vec<u8> = (0..self.below(9)).map(|_| self.byte()).collect();
                self.number(bytes.len() as u64);
                self.out.extend(bytes);
            }
            Type::Id => {
                let bytes: Vec<u8> = (0..16).map(|_| self.byte()).collect();
                self.out.extend(bytes);
            }
            Type::Option(inner) => {
                self.zero_or_one();
                if self.out.last() == Some(&1) {
                    self.value(inner, is_length);
                }
            }
            Type::List(inner) => self.list(inner, is_length),
            Type::Named(name) if name == "Start" => self.start(),
            Type::Named(name) => self.structure(name),
            Type::Batches => panic!("batches stand behind all fields"),
        }
    }

    fn list(&mut self, inner: &Type, is_length: bool) {
        let count = self.below(4);
        self.number(count as u64);
        (0..count).for_each(|_| self.value(inner, is_length));
    }

    fn start(&mut self) {
        let index = self.below(self.layouts.tags().len());
        let (tag, _, follows) = self.layouts.tags()[index].clone();
        if self.spoils() {
            return self.out.push(0xff);
        }
        self.out.push(tag);
        if let Some(kind) = follows {
            self.value(&kind, false);
        }
    }

    fn field(&mut self, largest: u64, is_length: bool) {
        if self.spoils() {
            return match largest.checked_add(1) {
                Some(over) => self.number(over),
                None => self.out.extend([0xfe; 17]),
            };
        }
        // As many small values as large ones, and the ends of every range.
        let shift = self.below(64);
        let edges = [0, 250, 251, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, largest, self.next() >> shift];
        let value = edges[self.below(edges.len())].min(largest);
        let value = if is_length { value % 300 } else { value };
        if is_length {
            self.lengths += usize::try_from(value).unwrap();
        }
        self.number(value);
    }

    fn zero_or_one(&mut self) {
        let byte = if self.spoils() { 2 } else { self.byte() % 2 };
        self.out.push(byte);
    }

    fn number(&mut self, value: u64) {
        let bytes = value.to_le_bytes();
        match value {
            0..=250 => self.out.push(bytes[0]),
            251..=0xffff => self.out.extend([&[0xfb], &bytes[..2]].concat()),
            0x1_0000..=0xffff_ffff => self.out.extend([&[0xfc], &bytes[..4]].concat()),
            _ => self.out.extend([&[0xfd], &bytes[..]].concat()),
        }
    }

    fn spoils(&mut self) -> bool {
        let now = self.spoiled == Some(0);
        self.spoiled = self.spoiled.and_then(|left| left.checked_sub(1));
        now
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[7]
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// splitmix64: enough randomness to choose values, the same for the same seed.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

//! A decoder of batches that is driven by the table of section 5.1, and written from sections 5.2 and 5.3.
//!
//! It shares no code with the crate: the checksum is computed bit by bit, LZ4 blocks are decoded here. Only for Zstandard
//! it uses the library.

use super::{
    document::{Document, quoted},
    tables::{Line, uuid_text},
};

/// A batch as the document describes it.
pub(crate) struct DecodedBatch {
    /// Header fields by name.
    pub(crate) header: Vec<(String, u128)>,
    pub(crate) records: Vec<DecodedRecord>,
    pub(crate) lines: Vec<Line>,
}

/// A record as section 5.2 describes it.
#[derive(Debug, PartialEq)]
pub(crate) struct DecodedRecord {
    pub(crate) timestamp: u64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) value: Vec<u8>,
}

impl DecodedBatch {
    pub(crate) fn field(&self, name: &str) -> u128 {
        self.header.iter().find(|(field, _)| field == name).unwrap_or_else(|| panic!("no field {name}")).1
    }
}

/// Decodes a whole, good batch.
pub(crate) fn decode(document: &Document, bytes: &[u8]) -> DecodedBatch {
    let (mut header, mut lines, mut at) = (Vec::new(), Vec::new(), 0);
    for row in &document.table(&["offset", "size", "type", "field", "meaning"]).rows {
        assert_eq!(row[0].parse(), Ok(at), "{} does not follow the field before it", row[3]);
        let Ok(size) = row[1].parse::<usize>() else { break };
        let field = &bytes[at..at + size];
        let (sizes, kind) = ([("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8), ("id", 16)], quoted(&row[2])[0]);
        assert!(sizes.contains(&(kind, size)), "{kind} does not take {size} bytes");
        let number = field.iter().rfold(0, |number, byte| number << 8 | u128::from(*byte));
        let shown = match kind {
            "id" => uuid_text(field),
            _ if row[3] == "checksum" => format!("{number:#010x}"),
            _ => number.to_string(),
        };
        lines.push(Line { bytes: field.to_vec(), comment: format!("{}: {shown}", row[3]) });
        header.push((row[3].clone(), number));
        at += size;
    }
    let mut batch = DecodedBatch { header, records: Vec::new(), lines };
    assert_eq!(batch.field("batch length"), bytes.len() as u128);
    assert_eq!(batch.field("checksum"), crc32c(&bytes[24..]).into());
    assert_eq!(batch.field("version"), 1);
    assert_eq!(batch.field("reserved"), 0);
    let (length, compressed) = (usize::try_from(batch.field("records length")).unwrap(), &bytes[at..]);
    let (name, records) = match batch.field("attributes") {
        0 => ("none", compressed.to_vec()),
        1 => ("lz4", lz4_block(compressed)),
        2 => ("zstd", zstd::stream::decode_all(compressed).unwrap()),
        other => panic!("attributes {other}"),
    };
    assert_eq!(records.len(), length);
    let mut reader = Reader { rest: &records, lines: Vec::new() };
    let first = u64::try_from(batch.field("first timestamp")).unwrap();
    while !reader.rest.is_empty() {
        batch.records.push(reader.record(batch.records.len(), first));
    }
    assert_eq!(batch.field("record count"), batch.records.len() as u128);
    match name {
        "none" => batch.lines.extend(reader.lines),
        _ => batch.lines.push(Line { bytes: compressed.to_vec(), comment: format!("records, {name}") }),
    }
    batch
}

/// CRC-32C as section 5.1 defines it, a bit at a time.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let reflected = 0x1EDC_6F41_u32.reverse_bits();
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ reflected } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// A raw LZ4 block: sequences of literals and matches.
fn lz4_block(block: &[u8]) -> Vec<u8> {
    fn length(nibble: u8, rest: &mut &[u8]) -> usize {
        let mut length = usize::from(nibble);
        let mut goes_on = nibble == 15;
        while goes_on {
            let byte = take(rest, 1)[0];
            length += usize::from(byte);
            goes_on = byte == 255;
        }
        length
    }
    let (mut rest, mut out) = (block, Vec::new());
    while !rest.is_empty() {
        let token = take(&mut rest, 1)[0];
        let literals = length(token >> 4, &mut rest);
        out.extend_from_slice(take(&mut rest, literals));
        if rest.is_empty() {
            break; // the last sequence has no match
        }
        let distance = take(&mut rest, 2);
        let distance = usize::from(u16::from_le_bytes([distance[0], distance[1]]));
        for _ in 0..length(token & 15, &mut rest) + 4 {
            out.push(out[out.len() - distance]);
        }
    }
    out
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, after) = rest.split_at(count);
    *rest = after;
    taken
}

/// Reads records and notes what each byte is.
struct Reader<'a> {
    rest: &'a [u8],
    lines: Vec<Line>,
}

impl<'a> Reader<'a> {
    fn record(&mut self, index: usize, first_timestamp: u64) -> DecodedRecord {
        let length = self.varint(&format!("record {index}, length"));
        let end = self.rest.len() - length;
        let from = self.rest;
        let delta = varint(&mut self.rest);
        let delta = if delta & 1 == 0 { i128::from(delta / 2) } else { -i128::from(delta / 2) - 1 };
        self.note(from, &format!("timestamp delta: {delta}"));
        let timestamp = u64::try_from(i128::from(first_timestamp) + delta).unwrap();
        let key = match self.varint("key length + 1") {
            0 => None,
            more => Some(self.bytes("key", more - 1)),
        };
        let mut headers = Vec::new();
        for _ in 0..self.varint("header count") {
            let length = self.varint("header name length");
            let name = String::from_utf8(self.bytes("header name", length)).unwrap();
            let length = self.varint("header value length");
            headers.push((name, self.bytes("header value", length)));
        }
        let value = self.bytes("value", self.rest.len() - end);
        DecodedRecord { timestamp, key, headers, value }
    }

    fn varint(&mut self, what: &str) -> usize {
        let from = self.rest;
        let value = varint(&mut self.rest);
        self.note(from, &format!("{what}: {value}"));
        usize::try_from(value).unwrap()
    }

    fn bytes(&mut self, what: &str, count: usize) -> Vec<u8> {
        let from = self.rest;
        let bytes = take(&mut self.rest, count).to_vec();
        if count > 0 {
            self.note(from, &format!("{what}: {:?}", String::from_utf8_lossy(&bytes)));
        }
        bytes
    }

    fn note(&mut self, from: &'a [u8], comment: &str) {
        let bytes = from[..from.len() - self.rest.len()].to_vec();
        self.lines.push(Line { bytes, comment: comment.to_owned() });
    }
}

/// LEB128, shortest form only.
fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0u128;
    for index in 0.. {
        let byte = take(rest, 1)[0];
        value |= u128::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            assert!(index == 0 || byte != 0, "a longer form than necessary");
            break;
        }
    }
    u64::try_from(value).expect("64 bits")
}

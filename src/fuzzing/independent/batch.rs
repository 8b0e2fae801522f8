//! A reader of batches that goes by the table of section 5.1, and is written from sections 5.2 to 5.4.
//!
//! The checksum is computed here, too.

use super::{
    compression,
    document::{Document, quoted},
    notes::{Notes, uuid_text},
    tables::Limits,
};

/// What the table of section 5.1 says.
pub(crate) struct BatchLayout {
    fields: Vec<HeaderField>,
    limits: Limits,
}

struct HeaderField {
    name: String,
    at: usize,
    size: usize,
    is_id: bool,
}

/// The name of the error that section 5.4 lists for a fault.
pub(crate) type Fault = &'static str;

/// A batch as the document describes it.
pub(crate) struct DecodedBatch {
    /// Header fields by name.
    pub(crate) header: Vec<(String, u128)>,
    pub(crate) records: Vec<DecodedRecord>,
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

    /// A field that counts bytes or records, or is a time.
    fn number(&self, name: &str) -> u64 {
        u64::try_from(self.field(name)).expect("only the producer id takes more than 8 bytes")
    }
}

/// Decodes a whole, good batch.
pub(crate) fn decode(document: &Document, bytes: &[u8]) -> DecodedBatch {
    BatchLayout::read(document).decode(bytes, &mut ()).unwrap_or_else(|faults| panic!("{faults:?}"))
}

impl BatchLayout {
    pub(crate) fn read(document: &Document) -> Self {
        let (mut fields, mut at) = (Vec::new(), 0);
        for row in &document.table(&["offset", "size", "type", "field", "meaning"]).rows {
            assert_eq!(row[0].parse(), Ok(at), "{} does not follow the field before it", row[3]);
            let Ok(size) = row[1].parse::<usize>() else { break };
            let (sizes, kind) = ([("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8), ("id", 16)], quoted(&row[2])[0]);
            assert!(sizes.contains(&(kind, size)), "{kind} does not take {size} bytes");
            fields.push(HeaderField { name: row[3].clone(), at, size, is_id: kind == "id" });
            at += size;
        }
        Self { fields, limits: Limits::read(document) }
    }

    /// The batch, or its faults: all that can be told apart, of which section 5.4 wants one to be named.
    pub(crate) fn decode(&self, bytes: &[u8], notes: &mut impl Notes) -> Result<DecodedBatch, Vec<Fault>> {
        let header_bytes = self.limits.get("BATCH_HEADER_BYTES");
        let Some((header, compressed)) = bytes.split_at_checked(header_bytes) else {
            return Err(vec!["BatchMalformed"]);
        };
        let mut batch = DecodedBatch { header: self.header(header, notes), records: Vec::new() };
        let faults = self.faults_of_header(&batch, bytes);
        if !faults.is_empty() {
            return Err(faults);
        }
        let length = usize::try_from(batch.number("records length")).expect("checked against a limit");
        let (name, records) = match batch.field("attributes") {
            0 => {
                batch.records = self.records(&batch, compressed, notes)?;
                return Ok(batch);
            }
            1 => ("lz4", compression::lz4_block(compressed, length)),
            _ => ("zstd", compression::zstd_frame(compressed, length)),
        };
        notes.note(compressed, || format!("records, {name}"));
        batch.records = self.records(&batch, &records.ok_or(["BadCompression"])?, &mut ())?;
        Ok(batch)
    }

    fn header(&self, header: &[u8], notes: &mut impl Notes) -> Vec<(String, u128)> {
        let fields = self.fields.iter().map(|field| {
            let bytes = &header[field.at..field.at + field.size];
            let number = bytes.iter().rfold(0, |number, byte| number << 8 | u128::from(*byte));
            notes.note(bytes, || match field.name.as_str() {
                _ if field.is_id => format!("{}: {}", field.name, uuid_text(bytes)),
                "checksum" => format!("checksum: {number:#010x}"),
                name => format!("{name}: {number}"),
            });
            (field.name.clone(), number)
        });
        fields.collect()
    }

    /// The checks of section 5.4 before the records.
    fn faults_of_header(&self, batch: &DecodedBatch, bytes: &[u8]) -> Vec<Fault> {
        let limit = |name| self.limits.get(name) as u64;
        let length = bytes.len() as u64;
        let whole = limit("BATCH_HEADER_BYTES") + batch.number("records length");
        let is_known = batch.field("attributes") <= 2;
        let checks = [
            (batch.number("batch length") == length, "BatchMalformed"),
            (batch.field("version") == 1, "BatchVersion"),
            (is_known, "UnknownCompression"),
            (batch.field("reserved") == 0, "BatchMalformed"),
            (whole.max(length) <= limit("MAX_BATCH_BYTES"), "BatchTooLarge"),
            (batch.field("attributes") != 0 || whole == batch.number("batch length"), "BatchMalformed"),
            ((1..=limit("MAX_BATCH_RECORDS")).contains(&batch.number("record count")), "BatchMalformed"),
            (batch.field("sequence start") < batch.field("sequence end"), "BadSequenceRange"),
            (batch.field("checksum") == u128::from(crc32c(&bytes[24..])), "BatchChecksum"),
        ];
        checks.into_iter().filter(|(holds, _)| !holds).map(|(_, fault)| fault).collect()
    }

    fn records(
        &self,
        batch: &DecodedBatch,
        records: &[u8],
        notes: &mut impl Notes,
    ) -> Result<Vec<DecodedRecord>, Vec<Fault>> {
        let (count, first_timestamp) = (batch.number("record count"), batch.number("first timestamp"));
        let (mut reader, mut found) = (Reader { rest: records, limits: &self.limits, notes }, Vec::new());
        while !reader.rest.is_empty() {
            let has_enough = found.len() as u64 == count;
            let more = has_enough.then_some("CountMismatch");
            match reader.record(found.len(), first_timestamp) {
                Ok(_) if has_enough => return Err(vec!["CountMismatch"]),
                Ok(record) => found.push(record),
                Err(faults) => return Err(faults.into_iter().chain(more).collect()),
            }
        }
        if found.len() as u64 == count { Ok(found) } else { Err(vec!["CountMismatch"]) }
    }
}

/// What a byte does to a CRC-32C of 0: the polynomial of section 5.1, a bit at a time.
const CRC_OF_BYTE: [u32; 256] = {
    let (mut table, mut byte) = ([0; 256], 0u32);
    while byte < 256 {
        let (mut crc, mut bit) = (byte, 0);
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x1EDC_6F41_u32.reverse_bits() } else { 0 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

/// CRC-32C as section 5.1 defines it.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| (crc >> 8) ^ CRC_OF_BYTE[usize::from(crc.to_le_bytes()[0] ^ byte)])
}

/// Reads records and notes what each byte is.
struct Reader<'a, N> {
    rest: &'a [u8],
    limits: &'a Limits,
    notes: &'a mut N,
}

const MALFORMED: [Fault; 1] = ["BatchMalformed"];

impl<N: Notes> Reader<'_, N> {
    fn record(&mut self, index: usize, first_timestamp: u64) -> Result<DecodedRecord, Vec<Fault>> {
        let before = self.rest.len();
        let length = self.varint(|| format!("record {index}, length"))?;
        let is_too_large = (before - self.rest.len() + length) > self.limits.get("MAX_RECORD_BYTES");
        let too_large = is_too_large.then_some("RecordTooLarge");
        let Some(end) = self.rest.len().checked_sub(length) else {
            return Err(MALFORMED.into_iter().chain(too_large).collect());
        };
        if let Some(fault) = too_large {
            return Err(vec![fault]);
        }
        let behind = &self.rest[length..];
        self.rest = &self.rest[..length];
        let record = self.parts(first_timestamp)?;
        assert!(self.rest.is_empty() && behind.len() == end, "the value takes all that is left");
        self.rest = behind;
        Ok(record)
    }

    fn parts(&mut self, first_timestamp: u64) -> Result<DecodedRecord, [Fault; 1]> {
        let from = self.rest;
        let folded = varint(&mut self.rest).ok_or(MALFORMED)?;
        let delta = if folded & 1 == 0 { i128::from(folded / 2) } else { -i128::from(folded / 2) - 1 };
        self.notes.note(&from[..from.len() - self.rest.len()], || format!("timestamp delta: {delta}"));
        let timestamp = u64::try_from(i128::from(first_timestamp) + delta).map_err(|_| MALFORMED)?;
        let key = match self.varint(|| "key length + 1".to_owned())? {
            0 => None,
            more => Some(self.bytes("key", more - 1, self.limits.get("MAX_KEY_BYTES"))?),
        };
        let count = self.varint(|| "header count".to_owned())?;
        if count > self.limits.get("MAX_HEADERS") {
            return Err(MALFORMED);
        }
        let mut headers = Vec::new();
        for _ in 0..count {
            let length = self.varint(|| "header name length".to_owned())?;
            let name = self.bytes("header name", length, self.limits.get("MAX_HEADER_NAME_BYTES"))?;
            let length = self.varint(|| "header value length".to_owned())?;
            let value = self.bytes("header value", length, usize::MAX)?;
            headers.push((String::from_utf8(name).map_err(|_| MALFORMED)?, value));
        }
        let value = self.bytes("value", self.rest.len(), usize::MAX)?;
        Ok(DecodedRecord { timestamp, key, headers, value })
    }

    /// A varint that counts something.
    fn varint(&mut self, what: impl FnOnce() -> String) -> Result<usize, [Fault; 1]> {
        let from = self.rest;
        let value = varint(&mut self.rest).ok_or(MALFORMED)?;
        self.notes.note(&from[..from.len() - self.rest.len()], || format!("{}: {value}", what()));
        // More than memory has is more than there is.
        Ok(usize::try_from(value).unwrap_or(usize::MAX).min(usize::MAX / 2))
    }

    fn bytes(&mut self, what: &str, count: usize, limit: usize) -> Result<Vec<u8>, [Fault; 1]> {
        let (bytes, rest) = self.rest.split_at_checked(count).filter(|_| count <= limit).ok_or(MALFORMED)?;
        self.rest = rest;
        if count > 0 {
            self.notes.note(bytes, || format!("{what}: {:?}", String::from_utf8_lossy(bytes)));
        }
        Ok(bytes.to_vec())
    }
}

/// LEB128: at most 64 bits, in at most 10 bytes, shortest form only.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u128;
    for index in 0..10 {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u128::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return u64::try_from(value).ok().filter(|_| index == 0 || byte != 0);
        }
    }
    None
}

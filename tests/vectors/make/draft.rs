//! Batches and records as section 5 lays them out, with any field as wrong as a vector wants it.

use serde_json::{Value, json};

use super::PRODUCER;
use crate::{
    batch::crc32c,
    document::unhex,
    vector::{hex, plain},
};

/// A number as records have it: 7 bits a byte, the lowest first.
pub(super) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

/// 0, -1, 1, -2 ... as 0, 1, 2, 3 ...
pub(super) fn zigzag(number: i64) -> Vec<u8> {
    let folded = i128::from(number) * 2;
    let folded = if number < 0 { -folded - 1 } else { folded };
    varint(u64::try_from(folded).expect("64 bits hold every signed number of 64 bits"))
}

/// Bytes behind a varint that counts them.
pub(super) fn counted(bytes: &[u8]) -> Vec<u8> {
    [varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A record.
#[derive(Clone, Default)]
pub(super) struct Entry {
    pub(super) delta: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) value: Vec<u8>,
}

impl Entry {
    pub(super) fn of(value: &[u8]) -> Self {
        Self { value: value.to_vec(), ..Self::default() }
    }

    pub(super) fn after(self, delta: i64) -> Self {
        Self { delta, ..self }
    }

    pub(super) fn key(self, key: &[u8]) -> Self {
        Self { key: Some(key.to_vec()), ..self }
    }

    pub(super) fn header(mut self, name: &str, value: &[u8]) -> Self {
        self.headers.push((name.to_owned(), value.to_vec()));
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let key = self.key.as_ref().map_or(vec![0], |key| [varint(key.len() as u64 + 1), key.clone()].concat());
        let headers = self.headers.iter().flat_map(|(name, value)| [counted(name.as_bytes()), counted(value)].concat());
        let headers = [varint(self.headers.len() as u64), headers.collect()].concat();
        counted(&[zigzag(self.delta), key, headers, self.value.clone()].concat())
    }

    /// What it means.
    pub(super) fn meaning(&self, first_timestamp: u64) -> Value {
        let timestamp = first_timestamp.checked_add_signed(self.delta).expect("a good record");
        let headers = self.headers.iter().map(|(name, value)| json!({"name": name, "value": hex(value)}));
        json!({
            "timestamp": plain(timestamp),
            "key": self.key.as_ref().map(|key| hex(key)),
            "headers": headers.collect::<Vec<_>>(),
            "value": hex(&self.value),
        })
    }
}

/// A batch. What is `None` follows from the rest.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) base_offset: u64,
    pub(super) append_time: u64,
    pub(super) attributes: u8,
    pub(super) epoch: u32,
    pub(super) sequence: (u64, u64),
    pub(super) first_timestamp: u64,
    pub(super) entries: Vec<Entry>,
    pub(super) record_count: Option<u32>,
    pub(super) records_bytes: Option<u32>,
    /// What stands behind the header, unless the records do as they are.
    pub(super) payload: Option<Vec<u8>>,
}

impl Draft {
    pub(super) fn of(entries: &[Entry]) -> Self {
        Self {
            base_offset: 0,
            append_time: 0,
            attributes: 0,
            epoch: 3,
            sequence: (0, entries.len() as u64),
            first_timestamp: 1_767_225_600_000_000,
            entries: entries.to_vec(),
            record_count: None,
            records_bytes: None,
            payload: None,
        }
    }

    pub(super) fn of_values(values: &[&str]) -> Self {
        Self::of(&values.iter().map(|value| Entry::of(value.as_bytes())).collect::<Vec<_>>())
    }

    pub(super) fn covering(self, start: u64, end: u64) -> Self {
        Self { sequence: (start, end), ..self }
    }

    /// As a consumer gets it.
    pub(super) fn stored_at(self, base_offset: u64) -> Self {
        Self { base_offset, append_time: 1_767_225_600_000_350, ..self }
    }

    /// With these bytes for its records, compressed as the attributes say.
    pub(super) fn compressed(self, attributes: u8, payload: &[u8]) -> Self {
        Self { attributes, payload: Some(payload.to_vec()), ..self }
    }

    pub(super) fn records(&self) -> Vec<u8> {
        self.entries.iter().flat_map(Entry::bytes).collect()
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let narrow = |number: usize| u32::try_from(number).expect("a short batch");
        let records = self.records();
        let payload = self.payload.as_ref().unwrap_or(&records);
        let mut bytes = [self.base_offset.to_le_bytes(), self.append_time.to_le_bytes()].concat();
        bytes.extend(narrow(80 + payload.len()).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend([1, self.attributes, 0, 0]);
        bytes.extend(self.record_count.unwrap_or(narrow(self.entries.len())).to_le_bytes());
        bytes.extend(unhex(PRODUCER));
        bytes.extend(self.epoch.to_le_bytes());
        bytes.extend(self.records_bytes.unwrap_or(narrow(records.len())).to_le_bytes());
        for number in [self.sequence.0, self.sequence.1, self.first_timestamp] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(payload);
        sealed(bytes)
    }

    /// What it means.
    pub(super) fn meaning(&self) -> Value {
        let bytes = self.bytes();
        let checksum = u32::from_le_bytes([bytes[20], bytes[21], bytes[22], bytes[23]]);
        let records = self.entries.iter().map(|entry| entry.meaning(self.first_timestamp));
        json!({
            "base_offset": plain(self.base_offset),
            "append_time": plain(self.append_time),
            "batch_length": bytes.len(),
            "checksum": checksum,
            "version": 1,
            "attributes": self.attributes,
            "reserved": 0,
            "record_count": self.entries.len(),
            "producer_id": PRODUCER,
            "producer_epoch": self.epoch,
            "records_length": self.records().len(),
            "sequence_start": plain(self.sequence.0),
            "sequence_end": plain(self.sequence.1),
            "first_timestamp": plain(self.first_timestamp),
            "records": records.collect::<Vec<_>>(),
        })
    }
}

/// The same with its checksum computed anew.
pub(super) fn sealed(mut batch: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c(&batch[24..]);
    batch[20..24].copy_from_slice(&checksum.to_le_bytes());
    batch
}

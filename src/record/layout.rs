//! The layout of one record inside a batch (protocol.md section 5.2).
//!
//! ```text
//! varint  bytes that follow
//! varint  timestamp minus the batch's first timestamp, zigzag
//! varint  0: no key; otherwise length of the key + 1, then the key
//! varint  number of headers, then for each: varint length, name, varint length, value
//!         value: what is left
//! ```

use bytes::Bytes;

use super::{BatchError, Header, Record, Timestamp, reader::Reader, varint};
use crate::limits::{MAX_HEADER_NAME_BYTES, MAX_HEADERS, MAX_KEY_BYTES, MAX_RECORD_BYTES};

/// Where a record's parts are in the slice it was parsed from.
pub(super) struct Parsed<'a> {
    pub(super) timestamp: Timestamp,
    pub(super) key: Option<&'a [u8]>,
    headers: Reader<'a>,
    header_count: usize,
    pub(super) value: &'a [u8],
}

/// Bytes that [`write()`] appends, without the length in front.
pub(super) fn body_len(record: &Record, delta: i64) -> usize {
    let key = record.key.as_ref().map_or(1, |key| varint::len(key.len() as u64 + 1) + key.len());
    let headers: usize = record.headers.iter().map(|h| counted_len(h.name.len()) + counted_len(h.value.len())).sum();
    varint::len(varint::zigzag(delta)) + key + varint::len(record.headers.len() as u64) + headers + record.value.len()
}

fn counted_len(bytes: usize) -> usize {
    varint::len(bytes as u64) + bytes
}

/// Checks the limits of a record whose encoded form takes `bytes`, its length in front included.
pub(super) fn check(record: &Record, bytes: usize) -> Result<(), BatchError> {
    if bytes > MAX_RECORD_BYTES {
        return Err(BatchError::RecordTooLarge { bytes, limit: MAX_RECORD_BYTES });
    }
    if record.key.as_ref().is_some_and(|key| key.len() > MAX_KEY_BYTES) {
        return Err(BatchError::Malformed("a key is over the limit of 16384 bytes"));
    }
    check_headers(record.headers.len(), record.headers.iter().map(|h| h.name.len()))
}

fn check_headers(count: usize, mut name_lengths: impl Iterator<Item = usize>) -> Result<(), BatchError> {
    if count > MAX_HEADERS {
        return Err(BatchError::Malformed("a record has more than 64 headers"));
    }
    match name_lengths.any(|bytes| bytes > MAX_HEADER_NAME_BYTES) {
        true => Err(BatchError::Malformed("the name of a header is over the limit of 255 bytes")),
        false => Ok(()),
    }
}

/// Appends a record; `body_len` is what [`body_len`] gave for it.
pub(super) fn write(out: &mut Vec<u8>, record: &Record, delta: i64, body_len: usize) {
    varint::write(out, body_len as u64);
    varint::write(out, varint::zigzag(delta));
    match &record.key {
        None => out.push(0),
        Some(key) => {
            varint::write(out, key.len() as u64 + 1);
            out.extend_from_slice(key);
        }
    }
    varint::write(out, record.headers.len() as u64);
    for header in &record.headers {
        varint::write(out, header.name.len() as u64);
        out.extend_from_slice(header.name.as_bytes());
        varint::write(out, header.value.len() as u64);
        out.extend_from_slice(&header.value);
    }
    out.extend_from_slice(&record.value);
}

impl<'a> Parsed<'a> {
    /// Takes one record off the front of `records`. All its parts are checked, nothing is copied.
    pub(super) fn next(records: &mut Reader<'a>, first_timestamp: Timestamp) -> Result<Self, BatchError> {
        let before = records.remaining();
        let body = records.counted("record")?;
        let bytes = before - records.remaining();
        if bytes > MAX_RECORD_BYTES {
            return Err(BatchError::RecordTooLarge { bytes, limit: MAX_RECORD_BYTES });
        }
        let mut body = Reader::new(body);
        let delta = varint::unzigzag(body.varint("timestamp delta")?);
        let timestamp = first_timestamp.0.checked_add_signed(delta);
        let timestamp = Timestamp(timestamp.ok_or(BatchError::Malformed("timestamp is out of range"))?);
        let key = Self::key(&mut body)?;
        let header_count = usize::try_from(body.varint("header count")?).unwrap_or(usize::MAX);
        check_headers(header_count, std::iter::empty())?;
        let headers_from = Reader::new(body.peek());
        for _ in 0..header_count {
            let name = body.counted("header name")?;
            check_headers(0, std::iter::once(name.len()))?;
            std::str::from_utf8(name).map_err(|_| BatchError::Malformed("the name of a header is not UTF-8"))?;
            body.counted("header value")?;
        }
        Ok(Self { timestamp, key, headers: headers_from, header_count, value: body.all() })
    }

    fn key(body: &mut Reader<'a>) -> Result<Option<&'a [u8]>, BatchError> {
        let Some(length) = body.varint("key length")?.checked_sub(1) else {
            return Ok(None);
        };
        if length > MAX_KEY_BYTES as u64 {
            return Err(BatchError::Malformed("a key is over the limit of 16384 bytes"));
        }
        let length = usize::try_from(length).expect("under the limit");
        body.take(length, "key").map(Some)
    }

    /// The record, its parts sharing the memory of `whole`, the buffer that it was parsed from.
    pub(super) fn into_record(mut self, whole: &Bytes) -> Record {
        let headers = (0..self.header_count).map(|_| self.header(whole)).collect();
        Record {
            value: whole.slice_ref(self.value),
            key: self.key.map(|key| whole.slice_ref(key)),
            headers,
            timestamp: Some(self.timestamp),
        }
    }

    fn header(&mut self, whole: &Bytes) -> Header {
        let mut part = || self.headers.counted("header").expect("Parsed::next checked every header");
        let (name, value) = (part(), part());
        let name = std::str::from_utf8(name).expect("Parsed::next checked every name");
        Header { name: name.to_owned(), value: whole.slice_ref(value) }
    }
}

//! The tables of a segment file, and the values in them that are not journal.

use redb::{ReadTransaction, TableDefinition, TableError, WriteTransaction};

use super::{StorageError, index::Span};
use crate::{
    limits::MAX_CHUNK_BYTES,
    record::{Offset, TopicId},
};

/// Position in the segment's journal → the bytes from there on.
pub(super) const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");
/// Topic and base offset of the first run → packed runs. Sealed segments only.
pub(super) const INDEX: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("index");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const TOPICS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("topics");
pub(super) const SNAPSHOT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("snapshot");

/// The format that this version writes, and the highest that it reads: 1 had no write-ahead log.
const FORMAT: u64 = 2;
/// From this one on, a live segment may have blocks in the write-ahead log.
pub(super) const FORMAT_WITH_LOG: u64 = 2;
const PACKED_SPAN_BYTES: usize = 28;

/// Writes the format into a new segment.
pub(super) fn write_format(txn: &WriteTransaction) -> Result<(), StorageError> {
    txn.open_table(META)?.insert("format", FORMAT)?;
    Ok(())
}

/// Checks the format, also that of a file in which nothing was committed yet.
pub(super) fn check_format(txn: &ReadTransaction) -> Result<(), StorageError> {
    match meta(txn, "format")? {
        None | Some(1..=FORMAT) => Ok(()),
        Some(found) => {
            let number = |format| u32::try_from(format).unwrap_or(u32::MAX);
            Err(StorageError::NewerFormat { found: number(found), supported: number(FORMAT) })
        }
    }
}

/// Whether a segment is of the format that this version writes.
pub(super) fn is_current(txn: &ReadTransaction) -> Result<bool, StorageError> {
    Ok(meta(txn, "format")? == Some(FORMAT))
}

/// Whether a live segment may have blocks in the write-ahead log.
pub(super) fn has_log(txn: &ReadTransaction) -> Result<bool, StorageError> {
    Ok(meta(txn, "format")?.is_some_and(|format| format >= FORMAT_WITH_LOG))
}

/// Makes a segment look as if a later version had written it.
#[cfg(test)]
pub(super) fn write_later_format(txn: &WriteTransaction) {
    txn.open_table(META).expect("it is there").insert("format", FORMAT + 1).expect("in memory");
}

/// Makes a segment look as if a version without a write-ahead log had written it.
#[cfg(test)]
pub(super) fn write_earlier_format(txn: &WriteTransaction) {
    txn.open_table(META).expect("it is there").insert("format", FORMAT_WITH_LOG - 1).expect("in memory");
}

fn meta(txn: &ReadTransaction, key: &str) -> Result<Option<u64>, StorageError> {
    match txn.open_table(META) {
        Ok(table) => Ok(table.get(key)?.map(|value| value.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What makes a segment sealed: the topics it holds and the state after it.
pub(super) fn write_seal(txn: &WriteTransaction, spans: &[Span], snapshot: &[u8]) -> Result<(), StorageError> {
    let mut packed = Vec::with_capacity(spans.len() * PACKED_SPAN_BYTES);
    for span in spans {
        packed.extend_from_slice(&span.topic.0.to_le_bytes());
        packed.extend_from_slice(&span.first.0.to_le_bytes());
        packed.extend_from_slice(&span.end.0.to_le_bytes());
        packed.extend_from_slice(&span.bytes.to_le_bytes());
    }
    write_blob(txn, TOPICS, &packed)?;
    write_blob(txn, SNAPSHOT, snapshot)?;
    txn.open_table(META)?.insert("sealed", 1)?;
    Ok(())
}

/// The topics that a sealed segment holds; `None` when it is not sealed.
pub(super) fn read_spans(txn: &ReadTransaction) -> Result<Option<Vec<Span>>, StorageError> {
    if meta(txn, "sealed")?.is_none() {
        return Ok(None);
    }
    unpack_spans(&read_blob(txn, TOPICS)?).map(Some)
}

/// The topics that a sealed segment holds, from the bytes of that table.
pub(super) fn unpack_spans(packed: &[u8]) -> Result<Vec<Span>, StorageError> {
    let (packed, rest) = packed.as_chunks::<PACKED_SPAN_BYTES>();
    if !rest.is_empty() {
        return Err(StorageError::Corrupted("the topics of a sealed segment are cut off".to_owned()));
    }
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
    let span = |span: &[u8; PACKED_SPAN_BYTES]| Span {
        topic: TopicId(u32::from_le_bytes(span[..4].try_into().expect("4 bytes"))),
        first: Offset(number(&span[4..12])),
        end: Offset(number(&span[12..20])),
        bytes: number(&span[20..]),
    };
    Ok(packed.iter().map(span).collect())
}

/// The state after a sealed segment.
pub(super) fn read_snapshot(txn: &ReadTransaction) -> Result<Vec<u8>, StorageError> {
    read_blob(txn, SNAPSHOT)
}

type Blob = TableDefinition<'static, u64, &'static [u8]>;

/// Bytes in pieces that fit pages, the first one their CRC-32C: redb does not check pages when it reads them.
fn write_blob(txn: &WriteTransaction, blob: Blob, bytes: &[u8]) -> Result<(), StorageError> {
    let mut table = txn.open_table(blob)?;
    table.insert(0, &crc32c::crc32c(bytes).to_le_bytes()[..])?;
    for (number, piece) in (1..).zip(bytes.chunks(MAX_CHUNK_BYTES)) {
        table.insert(number, piece)?;
    }
    Ok(())
}

fn read_blob(txn: &ReadTransaction, blob: Blob) -> Result<Vec<u8>, StorageError> {
    let table = txn.open_table(blob)?;
    let checksum = table.get(0)?.map(|value| value.value().to_vec());
    let mut bytes = Vec::new();
    for piece in table.range(1..)? {
        bytes.extend_from_slice(piece?.1.value());
    }
    match checksum {
        Some(checksum) if checksum == crc32c::crc32c(&bytes).to_le_bytes() => Ok(bytes),
        _ => Err(StorageError::Corrupted(format!("{blob} of a sealed segment fails its checksum"))),
    }
}

//! The journal of a segment: a stream of bytes, kept as values that fill pages.

use redb::{Database, Durability, ReadTransaction, ReadableTable, TableError, WriteTransaction};

use super::{StorageError, tables::JOURNAL};
use crate::limits::MAX_CHUNK_BYTES;

/// What redb adds to a value that has a page, or several, of its own.
const PAGE_OVERHEAD_BYTES: usize = 128;

/// Appends `bytes` at `position`, which is the journal's end.
pub(super) fn write(txn: &WriteTransaction, position: u64, bytes: &[u8]) -> Result<(), StorageError> {
    let mut table = txn.open_table(JOURNAL)?;
    let (mut at, mut rest) = (position, bytes);
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(first_chunk(rest.len()));
        table.insert(at, chunk)?;
        at += chunk.len() as u64;
        rest = after;
    }
    Ok(())
}

/// Takes back what was written at or behind `position`.
pub(super) fn take_back(database: &Database, position: u64) -> Result<(), StorageError> {
    let mut txn = database.begin_write()?;
    txn.set_durability(Durability::None)?;
    txn.open_table(JOURNAL)?.retain_in(position.., |_, _| false)?;
    Ok(txn.commit()?)
}

/// How many of `len` bytes to put into the next value: redb rounds a value that is larger than a page up to a power of
/// two, so what would waste more than a quarter is cut.
fn first_chunk(len: usize) -> usize {
    if len >= MAX_CHUNK_BYTES {
        return MAX_CHUNK_BYTES;
    }
    let page = (len + PAGE_OVERHEAD_BYTES).next_power_of_two();
    let wastes = len + PAGE_OVERHEAD_BYTES < page / 4 * 3;
    if wastes && page > 8192 { page / 2 - PAGE_OVERHEAD_BYTES } else { len }
}

/// Where the journal ends.
pub(super) fn end(txn: &ReadTransaction) -> Result<u64, StorageError> {
    let table = match txn.open_table(JOURNAL) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    Ok(table.last()?.map_or(0, |(position, chunk)| position.value() + chunk.value().len() as u64))
}

/// Bytes `position..position + len`.
pub(super) fn read(txn: &ReadTransaction, position: u64, len: usize) -> Result<Vec<u8>, StorageError> {
    let table = txn.open_table(JOURNAL)?;
    let first = table.range(..=position)?.next_back().transpose()?.map_or(position, |(start, _)| start.value());
    let mut out = Vec::with_capacity(len);
    let mut at = first;
    for chunk in table.range(first..)? {
        let (start, chunk) = chunk?;
        let (start, chunk) = (start.value(), chunk.value());
        if start != at {
            break;
        }
        at += chunk.len() as u64;
        let skip = usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX).min(chunk.len());
        let wanted = &chunk[skip..];
        out.extend_from_slice(&wanted[..wanted.len().min(len - out.len())]);
        if out.len() == len {
            return Ok(out);
        }
    }
    Err(StorageError::Corrupted(format!("journal has no bytes at {at}")))
}

/// Calls `each` with every chunk in order.
pub(super) fn scan(
    txn: &ReadTransaction,
    mut each: impl FnMut(&[u8]) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let table = match txn.open_table(JOURNAL) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut at = 0;
    for chunk in table.range(0..)? {
        let (start, chunk) = chunk?;
        if start.value() != at {
            return Err(StorageError::Corrupted(format!("journal has no bytes at {at}")));
        }
        at += chunk.value().len() as u64;
        each(chunk.value())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use redb::ReadableDatabase as _;

    use super::*;
    use crate::storage::{MemoryVolume, live::open_database};

    #[test]
    fn values_waste_at_most_a_quarter_of_their_pages() {
        for len in (1..400_000).step_by(97) {
            let (mut rest, mut pages) = (len, 0);
            while rest > 0 {
                let chunk = first_chunk(rest);
                pages += if chunk > 4096 { (chunk + PAGE_OVERHEAD_BYTES).next_power_of_two() } else { chunk };
                rest -= chunk;
            }
            assert!(pages <= len * 4 / 3 + 4096, "{len} bytes take {pages}");
        }
    }

    /// Pieces of a block that was not finished would be made durable when the database is closed.
    #[test]
    fn what_is_taken_back_is_gone_when_the_file_is_opened_again() {
        let volume = MemoryVolume::default();
        let database = open_database(&volume, "f").expect("in memory");
        let append = |at: u64, len: usize, durability| {
            let mut txn = database.begin_write().expect("nobody else writes");
            txn.set_durability(durability).expect("no savepoints");
            write(&txn, at, &vec![7; len]).expect("in memory");
            txn.commit().expect("in memory");
        };
        append(0, 5000, Durability::Immediate);
        append(5000, 300_000, Durability::None);
        append(305_000, 10, Durability::None);
        take_back(&database, 5000).expect("in memory");
        database.close().expect("in memory");
        let database = open_database(&volume, "f").expect("it was made");
        assert_eq!(end(&database.begin_read().expect("in memory")).expect("in memory"), 5000);
    }
}

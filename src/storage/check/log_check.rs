//! Looking at the write-ahead log: as much of it as can be read, and what is wrong with it.

use std::io;

use redb::StorageBackend;

use super::{Damage, Findings, Loss};
use crate::storage::{
    StorageError, Volume,
    frames::{Frames, PAGE_BYTES, WAL},
};

/// The write-ahead log of a volume.
#[derive(Debug)]
pub(super) struct LogCheck {
    pub(super) frames: Frames,
    is_missing: bool,
    wrong: Option<String>,
}

impl LogCheck {
    /// Reads the log. `last`: the last segment that there is.
    pub(super) fn read(volume: &dyn Volume, last: Option<u64>) -> Result<Self, StorageError> {
        let Some(file) = volume.open_log(WAL)? else {
            return Ok(Self { frames: Frames::default(), is_missing: true, wrong: None });
        };
        let (bytes, unreadable) = read_pages(file.as_ref()).map_err(StorageError::io(format!("measuring {WAL}")))?;
        let (frames, damage) = Frames::salvage(bytes)?;
        let strange =
            frames.all().iter().map(|frame| frame.segment).find(|number| last.is_none_or(|last| *number > last));
        let strange = strange.map(|number| format!("it has blocks of segment {number}, which is missing"));
        Ok(Self { frames, is_missing: false, wrong: unreadable.or(damage).or(strange) })
    }

    /// Tells what is wrong. `is_needed`: a segment may have blocks in the log.
    pub(super) fn tell(&self, is_needed: bool, findings: &mut dyn Findings) {
        if let Some(what) = &self.wrong {
            findings.damage(Damage::of_file(WAL, what, Loss::End));
        } else if self.is_missing && is_needed {
            findings.damage(Damage::of_file(WAL, "it is missing", Loss::End));
        }
    }
}

/// The bytes of a file, zeros where the disk does not give them, and what it says of the first such place.
fn read_pages(file: &dyn StorageBackend) -> io::Result<(Vec<u8>, Option<String>)> {
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let mut unreadable = None;
    for (number, page) in bytes.chunks_mut(PAGE_BYTES).enumerate() {
        let at = number * PAGE_BYTES;
        if let Err(error) = file.read(at as u64, page) {
            unreadable.get_or_insert_with(|| format!("the page at {at} cannot be read: {error}"));
        }
    }
    Ok((bytes, unreadable))
}

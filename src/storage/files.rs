//! The names of segment files: `0000000012-3.redb` is segment 12, written for the third time after the first.

use std::collections::BTreeMap;

use super::{StorageError, Volume};

/// Which writing of which segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId {
    pub(super) number: u64,
    /// 0 as it was appended to; higher when it was rewritten.
    pub(super) generation: u32,
}

impl FileId {
    pub(super) fn name(self) -> String {
        format!("{:010}-{}.redb", self.number, self.generation)
    }

    /// While it is being made. Never opened again after a crash.
    pub(super) fn unfinished_name(self) -> String {
        format!("{:010}-{}.unfinished", self.number, self.generation)
    }

    fn parse(name: &str) -> Option<Self> {
        let (number, generation) = name.strip_suffix(".redb")?.split_once('-')?;
        Some(Self { number: number.parse().ok()?, generation: generation.parse().ok()? })
    }
}

/// In a volume for as long as a copy into it is not complete: its newest segments may be missing, and what they held
/// would be given away a second time.
pub(super) const INCOMPLETE: &str = "INCOMPLETE";

/// The segments of a volume, oldest first, and the names of what an interrupted rewrite left: unfinished files, and the
/// generations that a finished one replaced.
pub(super) fn list(volume: &dyn Volume) -> Result<(Vec<FileId>, Vec<String>), StorageError> {
    let mut latest = BTreeMap::<u64, FileId>::new();
    let mut stale = Vec::new();
    for name in volume.list()? {
        if name == INCOMPLETE {
            return Err(StorageError::IncompleteCopy);
        }
        if name.ends_with(".unfinished") {
            stale.push(name);
        } else if let Some(id) = FileId::parse(&name) {
            let kept = latest.entry(id.number).or_insert(id);
            if *kept != id {
                let older = id.min(*kept);
                *kept = id.max(*kept);
                stale.push(older.name());
            }
        }
    }
    Ok((latest.into_values().collect(), stale))
}

/// The segments of a volume, oldest first. Removes what an interrupted rewrite left.
pub(super) fn list_and_clean(volume: &dyn Volume) -> Result<Vec<FileId>, StorageError> {
    let (segments, stale) = list(volume)?;
    // What a crashed server made and did not sync must be durable before anything is acknowledged in it, and before
    // what it replaced is removed.
    volume.sync()?;
    if !stale.is_empty() {
        stale.iter().try_for_each(|name| volume.remove(name))?;
        volume.sync()?;
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::{super::MemoryVolume, *};

    #[test]
    fn the_latest_generation_of_each_segment_is_kept() {
        let volume = MemoryVolume::default();
        let names = ["0000000002-0.redb", "0000000001-0.redb", "0000000001-10.redb", "0000000001-9.redb", "LOCK"];
        for name in names.into_iter().chain(["0000000002-1.unfinished"]) {
            drop(volume.create(name).expect("in memory"));
        }
        let ids = list_and_clean(&volume).expect("in memory");
        assert_eq!(ids, [FileId { number: 1, generation: 10 }, FileId { number: 2, generation: 0 }]);
        let mut left = volume.list().expect("in memory");
        left.sort();
        assert_eq!(left, ["0000000001-10.redb", "0000000002-0.redb", "LOCK"]);
    }
}

//! A data directory that is looked at while no server has it.

use std::{
    fs,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use super::{Progress, Report, audit, audited_bytes};
use crate::storage::{DirVolume, LOCK, ReadOnlyDir, StorageError};

/// A data directory that no server has, and that none takes for as long as this lives. Nothing in it is changed.
#[derive(Debug)]
pub struct DataDir(ReadOnlyDir);

impl DataDir {
    /// Opens a data directory.
    ///
    /// # Errors
    /// [`StorageError::Locked`] when a server has it, [`StorageError::NoData`] when it is none,
    /// [`StorageError::IncompleteCopy`] when a salvage into it did not finish, [`StorageError::Io`] otherwise.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        ReadOnlyDir::open(path).map(Self)
    }

    /// Bytes of its files: what there is to look at.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn bytes(&self) -> Result<u64, StorageError> {
        audited_bytes(&self.0)
    }

    /// Looks at everything. `tell` is called often.
    ///
    /// # Errors
    /// [`StorageError`] when it cannot be looked at. Damage is no error.
    pub fn check(&self, mut tell: impl FnMut(Progress)) -> Result<Report, StorageError> {
        audit(&self.0, None, &mut tell)
    }

    /// Looks at everything, and copies what is intact into a directory that does not exist or is empty. A server on it
    /// has every intact record at its offset, and tells readers of those that are missing as a gap.
    ///
    /// # Errors
    /// [`StorageError::NotEmpty`]; [`StorageError::Nested`] when one directory is in the other; and as
    /// [`DataDir::check`]. What was copied until then stays, and is refused as [`StorageError::IncompleteCopy`]; before
    /// there is anything that is refused, nothing stays.
    pub fn salvage(&self, target: &Path, mut tell: impl FnMut(Progress)) -> Result<Report, StorageError> {
        let (from, to) = (resolved(self.0.path()), resolved(target));
        if to.starts_with(&from) || from.starts_with(&to) {
            return Err(StorageError::Nested(self.0.path().to_owned(), target.to_owned()));
        }
        let is_taken = fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_some());
        if is_taken {
            return Err(StorageError::NotEmpty(target.to_owned()));
        }
        let was_there = target.exists();
        let salvaged = DirVolume::open(target).and_then(|copy| audit(&self.0, Some(Arc::new(copy)), &mut tell));
        salvaged.inspect_err(|_| leave_no_trace(target, was_there))
    }
}

/// A path without links and without `..`, as far as it exists; what does not exist yet has no links.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(resolved.pop()),
            component => resolved.push(component),
        }
        resolved = resolved.canonicalize().unwrap_or(resolved);
    }
    resolved
}

/// Takes a directory back that nothing was copied into, and that does not even say that it is incomplete: a server would
/// begin there as if there had never been any data.
fn leave_no_trace(target: &Path, was_there: bool) {
    let entries: Vec<_> = fs::read_dir(target).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    if entries.iter().all(|name| name == LOCK) {
        entries.iter().for_each(|name| drop(fs::remove_file(target.join(name))));
        if !was_there {
            drop(fs::remove_dir(target));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data directory, as far as its name goes.
    fn data(parent: &Path) -> PathBuf {
        let data = parent.join("data");
        fs::create_dir(&data).expect("writable");
        fs::write(data.join("0000000001-0.redb"), [7; 8192]).expect("writable");
        data
    }

    fn salvage(data: &Path, target: &Path) -> StorageError {
        DataDir::open(data).expect("nobody has it").salvage(target, |_| {}).expect_err("nothing in it can be read")
    }

    /// The new directory was in the old one, and what was copied lay beside what it was copied from.
    #[test]
    fn a_copy_into_the_directory_itself_is_refused_whatever_it_is_called() {
        let parent = tempfile::tempdir().expect("a directory");
        let data = data(parent.path());
        std::os::unix::fs::symlink(&data, parent.path().join("link")).expect("writable");
        std::os::unix::fs::symlink(parent.path(), data.join("up")).expect("writable");
        for target in ["data", "data/new", "data/new/deeper", "link", "link/new", "none/../data/new", "data/up", ""] {
            let refused = salvage(&data, &parent.path().join(target));
            assert!(matches!(refused, StorageError::Nested(..)), "{target}: {refused}");
        }
        assert!(!data.join("new").exists(), "nothing was made");
        let other = salvage(&data, &parent.path().join("data-2"));
        assert!(matches!(other, StorageError::Corrupted(_)), "{other}");
    }

    /// The file that says that a copy is incomplete could not be made: the directory stayed, empty, and a server began in
    /// it with no data at all. Here its path is too long for that file, and not for the lock.
    #[test]
    fn a_salvage_that_cannot_even_begin_leaves_nothing() {
        const LONGEST: usize = 4088;
        let parent = tempfile::tempdir().expect("a directory");
        let data = data(parent.path());
        let mut target = parent.path().to_owned();
        loop {
            let room = LONGEST - target.as_os_str().len() - 1;
            target.push("x".repeat(if room > 250 { 200.min(room - 20) } else { room }));
            if target.as_os_str().len() == LONGEST {
                break;
            }
        }
        fs::create_dir_all(target.parent().expect("many")).expect("writable");
        let refused = salvage(&data, &target);
        assert!(matches!(refused, StorageError::Io { .. }), "{refused}");
        assert!(!target.exists(), "it was not there before");
        fs::create_dir(&target).expect("writable");
        let refused = salvage(&data, &target);
        assert!(matches!(refused, StorageError::Io { .. }), "{refused}");
        assert_eq!(fs::read_dir(&target).expect("a directory").count(), 0);
    }
}

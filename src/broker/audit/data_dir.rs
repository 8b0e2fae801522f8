//! A data directory that is looked at while no server has it.

use std::{fs, path::Path, sync::Arc};

use super::{Progress, Report, audit, audited_bytes};
use crate::storage::{DirVolume, ReadOnlyDir, StorageError};

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
    /// [`StorageError::NotEmpty`], and as [`DataDir::check`]. What was copied until then stays, and is
    /// refused as [`StorageError::IncompleteCopy`].
    pub fn salvage(&self, target: &Path, mut tell: impl FnMut(Progress)) -> Result<Report, StorageError> {
        let is_taken = fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_some());
        if is_taken {
            return Err(StorageError::NotEmpty(target.to_owned()));
        }
        audit(&self.0, Some(Arc::new(DirVolume::open(target)?)), &mut tell)
    }
}

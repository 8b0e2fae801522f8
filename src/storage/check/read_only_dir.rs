//! A directory that is only looked at.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use redb::StorageBackend;

use crate::storage::{LOCK, StorageError, Volume, files};

/// A data directory that no server has, and that stays as it is: no file is opened for writing.
#[derive(Debug)]
pub struct ReadOnlyDir {
    path: PathBuf,
    /// Keeps servers out for as long as it is open. A copy of the segments may have no lock file.
    _lock: Option<File>,
}

impl ReadOnlyDir {
    /// Opens a data directory.
    ///
    /// # Errors
    /// [`StorageError::Locked`] when a server has it, [`StorageError::NoData`] when there is no segment in it,
    /// [`StorageError::IncompleteCopy`] when a salvage into it did not finish, [`StorageError::Io`] otherwise.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let path = path.into();
        let io = |what: &str| StorageError::io(format!("{what} {}", path.display()));
        let lock = match File::open(path.join(LOCK)) {
            Ok(lock) => match lock.try_lock_shared() {
                Ok(()) => Some(lock),
                Err(fs::TryLockError::WouldBlock) => return Err(StorageError::Locked(path)),
                Err(fs::TryLockError::Error(error)) => return Err(io("locking")(error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io("opening the lock file of")(error)),
        };
        let directory = Self { path, _lock: lock };
        match files::list(&directory)?.0.is_empty() {
            true => Err(StorageError::NoData(directory.path)),
            false => Ok(directory),
        }
    }
}

impl ReadOnlyDir {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[derive(Debug)]
struct ReadOnlyFile(File);

fn refused() -> io::Error {
    io::ErrorKind::PermissionDenied.into()
}

impl StorageBackend for ReadOnlyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(refused())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(refused())
    }
}

impl Volume for ReadOnlyDir {
    fn create(&self, name: &str) -> Result<Box<dyn StorageBackend>, StorageError> {
        Err(StorageError::io(format!("creating {name}"))(refused()))
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn StorageBackend>>, StorageError> {
        let path = self.path.join(name);
        match File::open(&path) {
            Ok(file) => Ok(Some(Box::new(ReadOnlyFile(file)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::io(format!("opening {}", path.display()))(error)),
        }
    }

    fn rename(&self, from: &str, _: &str) -> Result<(), StorageError> {
        Err(StorageError::io(format!("renaming {from}"))(refused()))
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        Err(StorageError::io(format!("removing {name}"))(refused()))
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        let io = || StorageError::io(format!("listing {}", self.path.display()));
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(io())? {
            names.extend(entry.map_err(io())?.file_name().into_string());
        }
        Ok(names)
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn stored_bytes(&self) -> u64 {
        0
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }
}

//! Where an engine's files live: a directory, or memory.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use redb::StorageBackend;

use super::{
    StorageError,
    segment_file::{SegmentFile, Spare},
};
use crate::limits::ACTIVE_CACHE_BYTES;

/// A flat set of named files. Creation, renaming and removal are durable only after [`Volume::sync`].
pub trait Volume: Send + Sync + fmt::Debug {
    /// Opens a file, making it if it does not exist.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn create(&self, name: &str) -> Result<Box<dyn StorageBackend>, StorageError>;

    /// Opens a file; `None` when it does not exist.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn open(&self, name: &str) -> Result<Option<Box<dyn StorageBackend>>, StorageError>;

    /// [`Volume::create`] for a file of which small parts are written and synced, one after the other.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn create_log(&self, name: &str) -> Result<Box<dyn StorageBackend>, StorageError> {
        self.create(name)
    }

    /// [`Volume::open`], likewise.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn open_log(&self, name: &str) -> Result<Option<Box<dyn StorageBackend>>, StorageError> {
        self.open(name)
    }

    /// Gives a file another name, replacing what has that name.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError>;

    /// Removes a file. Handles that are open stay valid.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn remove(&self, name: &str) -> Result<(), StorageError>;

    /// The names of all files, in no order.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn list(&self) -> Result<Vec<String>, StorageError>;

    /// Makes creations, renamings and removals durable.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn sync(&self) -> Result<(), StorageError>;

    /// Memory for the pages of a file that is written.
    fn cache_bytes(&self) -> usize {
        ACTIVE_CACHE_BYTES
    }

    /// Bytes that the files take.
    fn stored_bytes(&self) -> u64;

    /// Bytes left; `None` where there is no such bound.
    fn free_bytes(&self) -> Option<u64>;
}

/// The file of a directory that is locked while somebody has it.
pub(crate) const LOCK: &str = "LOCK";

/// A directory that this process has for itself.
#[derive(Debug)]
pub struct DirVolume {
    path: PathBuf,
    spare: Spare,
    /// Locked for as long as it is open.
    _lock: File,
}

impl DirVolume {
    /// Makes the directory if it does not exist, and locks it.
    ///
    /// # Errors
    /// [`StorageError::Locked`] when another process has it, [`StorageError::Io`] otherwise.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let path = path.into();
        let io = |what: &str| StorageError::io(format!("{what} {}", path.display()));
        let made: Vec<_> = path.ancestors().take_while(|path| !path.exists()).collect();
        fs::create_dir_all(&path).map_err(io("creating directory"))?;
        // Every directory that was made is an entry in the one above it. The last one always is synced: an earlier
        // server may have made it and crashed.
        for directory in made.into_iter().chain([path.as_path()]) {
            if let Some(parent) = directory.canonicalize().ok().as_deref().and_then(Path::parent) {
                sync_dir(parent)?;
            }
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK));
        let lock = lock.map_err(io("opening the lock file of"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, spare: Spare::default(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(StorageError::Locked(path)),
            Err(fs::TryLockError::Error(error)) => Err(io("locking")(error)),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn create_file(&self, name: &str) -> Result<SegmentFile, StorageError> {
        let path = self.file(name);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(StorageError::io(format!("creating {}", path.display())))?;
        Ok(SegmentFile::new(file, &path, self.spare.clone()))
    }

    fn open_file(&self, name: &str) -> Result<Option<SegmentFile>, StorageError> {
        let path = self.file(name);
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Ok(Some(SegmentFile::new(file, &path, self.spare.clone()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::io(format!("opening {}", path.display()))(error)),
        }
    }
}

fn sync_dir(path: &Path) -> Result<(), StorageError> {
    let what = || format!("syncing directory {}", path.display());
    File::open(path).and_then(|dir| dir.sync_all()).map_err(StorageError::io(what()))
}

impl Volume for DirVolume {
    fn create(&self, name: &str) -> Result<Box<dyn StorageBackend>, StorageError> {
        Ok(Box::new(self.create_file(name)?))
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn StorageBackend>>, StorageError> {
        Ok(self.open_file(name)?.map(|file| Box::new(file) as Box<dyn StorageBackend>))
    }

    fn create_log(&self, name: &str) -> Result<Box<dyn StorageBackend>, StorageError> {
        Ok(Box::new(self.create_file(name)?.for_small_writes()))
    }

    fn open_log(&self, name: &str) -> Result<Option<Box<dyn StorageBackend>>, StorageError> {
        Ok(self.open_file(name)?.map(|file| Box::new(file.for_small_writes()) as Box<dyn StorageBackend>))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        fs::rename(self.file(from), self.file(to)).map_err(StorageError::io(format!("renaming {from} to {to}")))
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        fs::remove_file(self.file(name)).map_err(StorageError::io(format!("removing {name}")))
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
        sync_dir(&self.path)
    }

    fn stored_bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        // Blocks, not lengths: redb sets a file's length ahead of what it has written.
        let blocks = |entry: fs::DirEntry| Some(entry.metadata().ok()?.blocks());
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.filter_map(blocks).sum::<u64>() * 512
    }

    fn free_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.path).ok()?;
        Some(stat.f_bavail * stat.f_frsize)
    }
}

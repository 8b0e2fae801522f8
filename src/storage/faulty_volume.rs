//! A volume in memory whose disk can be made to fail, for tests.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

use redb::StorageBackend;

use super::{MemoryVolume, StorageError, Volume};

/// Files in memory; while `failing` is set, nothing can be written, synced or opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyVolume {
    files: MemoryVolume,
    pub(crate) failing: Arc<AtomicBool>,
    /// Bytes left, once it is not 0.
    pub(crate) free: Arc<AtomicU64>,
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn StorageBackend>,
    failing: Arc<AtomicBool>,
}

fn check(failing: &AtomicBool) -> io::Result<()> {
    if failing.load(SeqCst) { Err(io::Error::other("the disk fails")) } else { Ok(()) }
}

impl StorageBackend for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        check(&self.failing)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        check(&self.failing)?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        check(&self.failing)?;
        self.file.write(offset, data)
    }
}

impl Volume for FaultyVolume {
    fn create(&self, name: &str) -> Result<Box<dyn StorageBackend>, StorageError> {
        check(&self.failing).map_err(StorageError::io(format!("creating {name}")))?;
        Ok(Box::new(FaultyFile { file: self.files.create(name)?, failing: self.failing.clone() }))
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn StorageBackend>>, StorageError> {
        check(&self.failing).map_err(StorageError::io(format!("opening {name}")))?;
        let faulty = |file| Box::new(FaultyFile { file, failing: self.failing.clone() }) as Box<dyn StorageBackend>;
        Ok(self.files.open(name)?.map(faulty))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        self.files.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        self.files.remove(name)
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        self.files.list()
    }

    fn sync(&self) -> Result<(), StorageError> {
        check(&self.failing).map_err(StorageError::io("syncing the directory"))
    }

    fn stored_bytes(&self) -> u64 {
        self.files.stored_bytes()
    }

    fn free_bytes(&self) -> Option<u64> {
        Some(self.free.load(SeqCst)).filter(|free| *free > 0)
    }
}

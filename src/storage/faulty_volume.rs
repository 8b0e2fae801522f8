//! A volume in memory whose disk can be made to fail, to fill up, and to lose power, for tests of the engine and the
//! broker themselves. The simulated disk of `trial` can do more, but is in a room above theirs, and takes a broker that is
//! driven step by step: here real threads work.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

use redb::StorageBackend;

use super::{MemoryVolume, StorageError, Volume};

/// Files in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyVolume {
    files: MemoryVolume,
    disks: Arc<Mutex<HashMap<String, Arc<OnDisk>>>>,
    /// While it is set, nothing can be written, synced or opened.
    pub(crate) failing: Arc<AtomicBool>,
    /// So many syncs fail, once each, as Linux does it: what they should have written never is, and nobody says so again.
    pub(crate) failing_syncs: Arc<AtomicU64>,
    /// Bytes left, once it is not 0.
    pub(crate) free: Arc<AtomicU64>,
}

/// What of a file a power cut would leave.
#[derive(Debug, Default)]
struct OnDisk {
    bytes: Mutex<Vec<u8>>,
    /// A sync has failed: the system believes that this file's pages are written.
    is_broken: AtomicBool,
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn StorageBackend>,
    disk: Arc<OnDisk>,
    volume: FaultyVolume,
}

impl FaultyVolume {
    fn check(&self) -> io::Result<()> {
        if self.failing.load(SeqCst) { Err(io::Error::other("the disk fails")) } else { Ok(()) }
    }

    fn disks(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<OnDisk>>> {
        self.disks.lock().expect("no panic while it is locked")
    }

    fn file(&self, name: &str, file: Box<dyn StorageBackend>) -> Box<dyn StorageBackend> {
        let disk = self.disks().entry(name.to_owned()).or_default().clone();
        Box::new(FaultyFile { file, disk, volume: self.clone() })
    }

    /// The files as they are after a power cut: as of the last sync that really wrote. Names are durable at once.
    pub(crate) fn after_power_cut(&self) -> Self {
        let after = Self::default();
        for (name, disk) in self.disks().iter() {
            let bytes = disk.bytes.lock().expect("no panic while it is locked").clone();
            let file = after.create(name).expect("in memory");
            file.set_len(bytes.len() as u64).expect("in memory");
            file.write(0, &bytes).expect("in memory");
            file.sync_data().expect("in memory");
        }
        after
    }
}

impl StorageBackend for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.volume.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.volume.check()?;
        let take = |left: u64| left.checked_sub(1);
        if self.volume.failing_syncs.fetch_update(SeqCst, SeqCst, take).is_ok() {
            self.disk.is_broken.store(true, SeqCst);
            return Err(io::Error::other("the disk failed"));
        }
        if !self.disk.is_broken.load(SeqCst) {
            let mut bytes = vec![0; usize::try_from(self.file.len()?).expect("in memory")];
            self.file.read(0, &mut bytes)?;
            *self.disk.bytes.lock().expect("no panic while it is locked") = bytes;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.volume.check()?;
        self.file.write(offset, data)
    }
}

impl Volume for FaultyVolume {
    fn create(&self, name: &str) -> Result<Box<dyn StorageBackend>, StorageError> {
        self.check().map_err(StorageError::io(format!("creating {name}")))?;
        Ok(self.file(name, self.files.create(name)?))
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn StorageBackend>>, StorageError> {
        self.check().map_err(StorageError::io(format!("opening {name}")))?;
        Ok(self.files.open(name)?.map(|file| self.file(name, file)))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        self.files.rename(from, to)?;
        let mut disks = self.disks();
        let disk = disks.remove(from).unwrap_or_default();
        disks.insert(to.to_owned(), disk);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        self.disks().remove(name);
        self.files.remove(name)
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        self.files.list()
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.check().map_err(StorageError::io("syncing the directory"))
    }

    fn stored_bytes(&self) -> u64 {
        self.files.stored_bytes()
    }

    fn free_bytes(&self) -> Option<u64> {
        Some(self.free.load(SeqCst)).filter(|free| *free > 0)
    }
}

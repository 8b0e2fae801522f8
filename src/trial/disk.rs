//! A disk in memory that keeps what was not synced apart, so that the power can be cut at any of its operations.
//!
//! Every operation is written down. [`super::cut`] makes from the first n of them what a disk may hold when the power
//! goes: names that were made durable by a sync of the directory, contents that were by a sync of the file, and of
//! everything else whatever chance leaves.

use std::{
    collections::BTreeMap,
    fmt, io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::storage::{StorageBackend, StorageError, Volume};

/// Which file, whatever its name is.
pub(super) type Inode = usize;

/// What was done to the disk.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create {
        name: String,
        inode: Inode,
    },
    Rename {
        from: String,
        to: String,
        inode: Inode,
    },
    Remove {
        name: String,
    },
    SyncDirectory,
    Write {
        inode: Inode,
        offset: u64,
        data: Arc<[u8]>,
    },
    SetLen {
        inode: Inode,
        len: u64,
    },
    Sync {
        inode: Inode,
    },
    /// A sync failed: the system takes what was written for clean, and never writes it.
    Forget {
        inode: Inode,
    },
}

/// Names and contents.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) names: BTreeMap<String, Inode>,
    pub(super) files: Vec<Vec<u8>>,
}

/// A kind of operation of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskWork {
    /// Reading a file.
    Read,
    /// Writing a file.
    Write,
    /// Making what was written to a file durable.
    Sync,
    /// Making a file longer or shorter.
    SetLen,
    /// Creating, opening, renaming, removing and listing files, and making names durable.
    Names,
}

impl DiskWork {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Sync, Self::SetLen, Self::Names];
}

/// Which operation fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kinds of operations that may fail.
    pub work: &'static [DiskWork],
    /// The first that fails, counted from 0 over the operations of these kinds.
    pub at: u64,
    /// Whether all after it fail, too.
    pub sticky: bool,
    /// How it fails.
    pub kind: io::ErrorKind,
}

#[derive(Default)]
struct State {
    /// What a reader of the disk sees.
    now: Image,
    /// What was on the disk at first.
    start: Image,
    /// Operations before that, of which nothing is kept.
    before: u64,
    ops: Vec<Op>,
    fault: Option<Fault>,
    /// Operations that might have failed since the fault was set.
    tried: u64,
    failed: u64,
    free: Option<u64>,
    /// What of a file can no longer be read.
    bad_sectors: Option<(Inode, Range<u64>)>,
    /// Whether the directory is synced in vain, as if nobody had asked for it.
    skips_directory_syncs: bool,
    /// So many operations until the process that uses it is killed, if it is.
    lives: Option<u64>,
}

/// Called when a sync begins, before anything is durable by it.
type Probe = Arc<dyn Fn() + Send + Sync>;

/// A disk, shared by all handles to it.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    probe: Arc<Mutex<Option<Probe>>>,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a simulated disk after {} operations", self.ops())
    }
}

impl SimDisk {
    pub(super) fn with(image: Image) -> Self {
        let state = State { now: image.clone(), start: image, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), probe: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the disk is locked")
    }

    /// How many operations there were.
    #[must_use]
    pub fn ops(&self) -> u64 {
        let state = self.state();
        state.before + state.ops.len() as u64
    }

    /// How many of them are told no more: there was a power cut behind them.
    pub(super) fn forgotten(&self) -> u64 {
        self.state().before
    }

    /// A disk that holds what a power cut has left of this one, and goes on counting.
    pub(super) fn after_a_cut(&self, image: Image) -> Self {
        let disk = Self::with(image);
        disk.state().before = self.ops();
        disk.state().skips_directory_syncs = self.state().skips_directory_syncs;
        disk
    }

    /// What was on it at first, and every operation since.
    pub(super) fn story(&self) -> (Image, Vec<Op>) {
        let state = self.state();
        (state.start.clone(), state.ops.clone())
    }

    /// Lets operations fail from now on.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.state();
        (state.fault, state.tried, state.failed) = (fault, 0, 0);
    }

    /// How many operations failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.state().failed
    }

    /// From now on these bytes of a file cannot be read.
    pub fn set_bad_sectors(&self, name: &str, bytes: Range<u64>) {
        let mut state = self.state();
        state.bad_sectors = state.now.names.get(name).map(|inode| (*inode, bytes));
    }

    /// Says how much room is left.
    pub fn set_free_bytes(&self, free: Option<u64>) {
        self.state().free = free;
    }

    pub(super) fn free(&self) -> Option<u64> {
        self.state().free
    }

    /// Has the process that uses it killed after so many operations more: none of those behind them happens. What it wrote
    /// before stays with the system, synced or not.
    pub(super) fn kill_after(&self, operations: u64) {
        self.state().lives = Some(operations);
    }

    /// Another process uses it.
    pub(super) fn revive(&self) {
        self.state().lives = None;
    }

    /// From now on the directory is synced in vain.
    pub(super) fn skip_directory_syncs(&self) {
        self.state().skips_directory_syncs = true;
    }

    /// Calls `probe` whenever a sync begins.
    pub fn on_sync(&self, probe: Option<Probe>) {
        *self.probe.lock().expect("no panic while it is locked") = probe;
    }

    /// The contents of all files, to look at or to damage.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        state.now.names.iter().map(|(name, inode)| (name.clone(), state.now.files[*inode].clone())).collect()
    }

    /// A disk with these files, all of them durable.
    #[must_use]
    pub fn holding(files: BTreeMap<String, Vec<u8>>) -> Self {
        let mut image = Image::default();
        for (name, content) in files {
            image.names.insert(name, image.files.len());
            image.files.push(content);
        }
        Self::with(image)
    }
}

impl State {
    /// Whether the next operation fails.
    fn try_one(&mut self, work: DiskWork) -> io::Result<()> {
        match &mut self.lives {
            Some(0) => return Err(io::Error::other("the process was killed")),
            Some(lives) if work != DiskWork::Read => *lives -= 1,
            _ => {}
        }
        let Some(fault) = self.fault.filter(|fault| fault.work.contains(&work)) else {
            return Ok(());
        };
        let number = self.tried;
        self.tried += 1;
        if number != fault.at && !(fault.sticky && number > fault.at) {
            return Ok(());
        }
        self.failed += 1;
        Err(io::Error::new(fault.kind, "the disk fails, as it was told"))
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: Inode,
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).expect("it is in memory")
}

impl StorageBackend for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().now.files[self.inode].len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.try_one(DiskWork::Read)?;
        let is_bad = |bytes: &Range<u64>| offset < bytes.end && bytes.start < offset + out.len() as u64;
        if state.bad_sectors.as_ref().is_some_and(|(inode, bytes)| *inode == self.inode && is_bad(bytes)) {
            return Err(io::Error::other("the sector cannot be read"));
        }
        let file = &state.now.files[self.inode];
        let found = file.get(at(offset)..at(offset) + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.try_one(DiskWork::SetLen)?;
        state.now.files[self.inode].resize(at(len), 0);
        state.ops.push(Op::SetLen { inode: self.inode, len });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let probe = self.disk.probe.lock().expect("no panic while it is locked").clone();
        if let Some(probe) = probe {
            probe();
        }
        let mut state = self.disk.state();
        let (inode, tried) = (self.inode, state.try_one(DiskWork::Sync));
        if state.lives == Some(0) && tried.is_err() {
            return tried;
        }
        state.ops.push(if tried.is_ok() { Op::Sync { inode } } else { Op::Forget { inode } });
        tried
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.try_one(DiskWork::Write)?;
        let file = &mut state.now.files[self.inode];
        let part = file.get_mut(at(offset)..at(offset) + data.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        part.copy_from_slice(data);
        state.ops.push(Op::Write { inode: self.inode, offset, data: data.into() });
        Ok(())
    }
}

/// For pages that are written.
const CACHE_BYTES: usize = 32 * 1024;

impl Volume for SimDisk {
    /// So little that a large append does not fit, and pages of it are written before its commit.
    fn cache_bytes(&self) -> usize {
        CACHE_BYTES
    }

    fn create(&self, name: &str) -> Result<Box<dyn StorageBackend>, StorageError> {
        let mut state = self.state();
        state.try_one(DiskWork::Names).map_err(failed(name))?;
        let inode = match state.now.names.get(name) {
            Some(inode) => *inode,
            None => {
                let inode = state.now.files.len();
                state.now.files.push(Vec::new());
                state.now.names.insert(name.to_owned(), inode);
                state.ops.push(Op::Create { name: name.to_owned(), inode });
                inode
            }
        };
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn StorageBackend>>, StorageError> {
        let mut state = self.state();
        state.try_one(DiskWork::Names).map_err(failed(name))?;
        let inode = state.now.names.get(name).copied();
        Ok(inode.map(|inode| Box::new(SimFile { disk: self.clone(), inode }) as Box<dyn StorageBackend>))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        let mut state = self.state();
        state.try_one(DiskWork::Names).map_err(failed(from))?;
        let inode = state.now.names.remove(from).ok_or(io::ErrorKind::NotFound.into()).map_err(failed(from))?;
        state.now.names.insert(to.to_owned(), inode);
        state.ops.push(Op::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        let mut state = self.state();
        state.try_one(DiskWork::Names).map_err(failed(name))?;
        state.now.names.remove(name).ok_or(io::ErrorKind::NotFound.into()).map_err(failed(name))?;
        state.ops.push(Op::Remove { name: name.to_owned() });
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        let mut state = self.state();
        state.try_one(DiskWork::Names).map_err(failed("the directory"))?;
        Ok(state.now.names.keys().cloned().collect())
    }

    fn sync(&self) -> Result<(), StorageError> {
        let mut state = self.state();
        state.try_one(DiskWork::Names).map_err(failed("the directory"))?;
        if !state.skips_directory_syncs {
            state.ops.push(Op::SyncDirectory);
        }
        Ok(())
    }

    fn stored_bytes(&self) -> u64 {
        let state = self.state();
        state.now.names.values().map(|inode| state.now.files[*inode].len() as u64).sum()
    }

    fn free_bytes(&self) -> Option<u64> {
        self.state().free
    }
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> StorageError {
    let what = what.to_owned();
    move |source| StorageError::Io { what, source }
}

//! Files that are looked at and never written: what the database writes while it opens one stays in memory.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use redb::StorageBackend;

const PAGE_BYTES: u64 = 4096;

/// A file as it is, under what was written over it here. Handles of it see the same.
#[derive(Clone, Debug)]
pub(super) struct Overlay(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Box<dyn StorageBackend>,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    /// What is left of the file's own bytes; beyond it there are zeros.
    own_len: u64,
    pages: HashMap<u64, Box<[u8]>>,
}

impl Overlay {
    pub(super) fn new(file: Box<dyn StorageBackend>) -> io::Result<Self> {
        let len = file.len()?;
        let written = Mutex::new(Written { len, own_len: len, pages: HashMap::new() });
        Ok(Self(Arc::new(Inner { file, written })))
    }

    /// The file without what was written over it.
    pub(super) fn into_unwritten(self) -> Self {
        let mut written = self.written();
        // Nobody made the file shorter meanwhile.
        let len = self.0.file.len().unwrap_or(written.len);
        *written = Written { len, own_len: len, pages: HashMap::new() };
        drop(written);
        self
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.0.written.lock().expect("no panic while it is locked")
    }

    /// Reads the part of the file's own bytes that is left of them, and zeros behind it.
    fn read_own(&self, own_len: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let own = usize::try_from(own_len.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (own, rest) = out.split_at_mut(own);
        rest.fill(0);
        if own.is_empty() { Ok(()) } else { self.0.file.read(offset, own) }
    }
}

/// The parts of `offset..offset + len`, page by page: number of the page, where in it, how much.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let (mut at, end) = (offset, offset + len as u64);
    std::iter::from_fn(move || {
        let (page, from) = (at / PAGE_BYTES, at % PAGE_BYTES);
        let count = (PAGE_BYTES - from).min(end - at);
        at += count;
        let small = |number| usize::try_from(number).expect("within a page");
        (count > 0).then(|| (page, small(from), small(count)))
    })
}

fn check(len: u64, offset: u64, bytes: usize) -> io::Result<()> {
    match offset.checked_add(bytes as u64) {
        Some(end) if end <= len => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        check(written.len, offset, out.len())?;
        self.read_own(written.own_len, offset, out)?;
        if written.pages.is_empty() {
            return Ok(());
        }
        let mut done = 0;
        for (page, from, count) in parts(offset, out.len()) {
            if let Some(bytes) = written.pages.get(&page) {
                out[done..done + count].copy_from_slice(&bytes[from..from + count]);
            }
            done += count;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written();
        written.own_len = written.own_len.min(len);
        // What grows back must be zero.
        written.pages.retain(|page, _| page * PAGE_BYTES < len);
        if let Some(last) = written.pages.get_mut(&(len / PAGE_BYTES)) {
            last[usize::try_from(len % PAGE_BYTES).expect("within a page")..].fill(0);
        }
        written.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        check(written.len, offset, data.len())?;
        let own_len = written.own_len;
        let mut done = 0;
        for (page, from, count) in parts(offset, data.len()) {
            let bytes = match written.pages.entry(page) {
                std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::hash_map::Entry::Vacant(entry) => {
                    let mut bytes = vec![0; usize::try_from(PAGE_BYTES).expect("small")].into_boxed_slice();
                    self.read_own(own_len, page * PAGE_BYTES, &mut bytes)?;
                    entry.insert(bytes)
                }
            };
            bytes[from..from + count].copy_from_slice(&data[done..done + count]);
            done += count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::{MemoryVolume, Volume as _};

    proptest! {
        #[test]
        fn it_reads_as_it_was_written_and_the_file_stays_as_it_was(
            first in 1usize..20_000,
            ops in prop::collection::vec((any::<bool>(), 0u64..30_000, 0usize..9_000), 1..20),
        ) {
            let volume = MemoryVolume::default();
            let file = volume.create("f").expect("in memory");
            file.set_len(first as u64).expect("in memory");
            let own: Vec<_> = (0..first).map(|at| u8::try_from(at % 251).expect("small")).collect();
            file.write(0, &own).expect("in memory");
            let overlay = Overlay::new(volume.open("f").expect("in memory").expect("just made")).expect("in memory");
            let mut model = own.clone();
            for (index, (resize, offset, count)) in ops.into_iter().enumerate() {
                let at = usize::try_from(offset).expect("small");
                if resize {
                    overlay.set_len(offset).expect("in memory");
                    model.resize(at, 0);
                } else {
                    let data = vec![u8::try_from(index + 1).expect("small"); count];
                    match model.get_mut(at..at + count) {
                        Some(part) => {
                            part.copy_from_slice(&data);
                            overlay.write(offset, &data).expect("in range");
                        }
                        None => prop_assert!(overlay.write(offset, &data).is_err()),
                    }
                }
                let mut read = vec![9; model.len()];
                overlay.read(0, &mut read).expect("in range");
                prop_assert!(read == model);
            }
            let mut read = vec![0; first];
            file.read(0, &mut read).expect("in memory");
            prop_assert!(read == own);
        }
    }
}

//! Segment files in memory, for `--ephemeral` and for tests.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, RwLock},
};

use redb::StorageBackend;

use super::{StorageError, Volume};

/// Memory is taken in pieces of this size, as they are written: redb sets a file's length far ahead.
const PIECE_BYTES: usize = 64 * 1024;

/// Named files in memory. They live as long as the volume, or as a handle to them.
#[derive(Clone, Debug, Default)]
pub struct MemoryVolume {
    files: Arc<Mutex<HashMap<String, MemoryFile>>>,
}

#[derive(Clone, Debug, Default)]
struct MemoryFile(Arc<RwLock<Pieces>>);

#[derive(Debug, Default)]
struct Pieces {
    len: u64,
    pieces: Vec<Option<Box<[u8]>>>,
}

impl MemoryVolume {
    fn files(&self) -> std::sync::MutexGuard<'_, HashMap<String, MemoryFile>> {
        self.files.lock().expect("no panic while the map is locked")
    }
}

impl Volume for MemoryVolume {
    fn create(&self, name: &str) -> Result<Box<dyn StorageBackend>, StorageError> {
        Ok(Box::new(self.files().entry(name.to_owned()).or_default().clone()))
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn StorageBackend>>, StorageError> {
        Ok(self.files().get(name).map(|file| Box::new(file.clone()) as Box<dyn StorageBackend>))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        let mut files = self.files();
        let file = files.remove(from).ok_or_else(|| missing(from))?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        self.files().remove(name).map(drop).ok_or_else(|| missing(name))
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        Ok(self.files().keys().cloned().collect())
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn stored_bytes(&self) -> u64 {
        self.files().values().map(|file| file.taken_bytes()).sum()
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }
}

fn missing(name: &str) -> StorageError {
    StorageError::io(format!("finding {name}"))(io::ErrorKind::NotFound.into())
}

impl MemoryFile {
    fn taken_bytes(&self) -> u64 {
        let file = self.0.read().expect("no panic while the file is locked");
        file.pieces.iter().flatten().count() as u64 * PIECE_BYTES as u64
    }
}

/// The parts of `offset..offset + len`, piece by piece: index of the piece, where in it, how much.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let mut at = usize::try_from(offset).expect("memory is addressed by usize");
    let end = at + len;
    std::iter::from_fn(move || {
        let (piece, from) = (at / PIECE_BYTES, at % PIECE_BYTES);
        let count = (PIECE_BYTES - from).min(end - at);
        at += count;
        (count > 0).then_some((piece, from, count))
    })
}

impl Pieces {
    fn check(&self, offset: u64, len: usize) -> io::Result<()> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl StorageBackend for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.read().expect("no panic while the file is locked").len)
    }

    fn read(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let file = self.0.read().expect("no panic while the file is locked");
        file.check(offset, out.len())?;
        for (piece, from, count) in parts(offset, out.len()) {
            let (part, rest) = out.split_at_mut(count);
            match &file.pieces[piece] {
                Some(bytes) => part.copy_from_slice(&bytes[from..from + count]),
                None => part.fill(0),
            }
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut file = self.0.write().expect("no panic while the file is locked");
        let whole = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        file.pieces.resize_with(whole.div_ceil(PIECE_BYTES), || None);
        if len < file.len
            && let Some(Some(last)) = file.pieces.last_mut()
            && !whole.is_multiple_of(PIECE_BYTES)
        {
            // What grows back must be zero.
            last[whole % PIECE_BYTES..].fill(0);
        }
        file.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut file = self.0.write().expect("no panic while the file is locked");
        file.check(offset, data.len())?;
        for (piece, from, count) in parts(offset, data.len()) {
            let (part, rest) = data.split_at(count);
            let bytes = file.pieces[piece].get_or_insert_with(|| vec![0; PIECE_BYTES].into_boxed_slice());
            bytes[from..from + count].copy_from_slice(part);
            data = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_file_in_memory_is_a_vector_of_bytes(ops in prop::collection::vec((any::<bool>(), 0u64..1_000_000, 0usize..600_000), 1..20)) {
            let (file, mut model) = (MemoryFile::default(), Vec::<u8>::new());
            for (index, (resize, offset, count)) in ops.into_iter().enumerate() {
                if resize {
                    file.set_len(offset).expect("in memory");
                    model.resize(usize::try_from(offset).expect("small"), 0);
                    continue;
                }
                let data = vec![u8::try_from(index + 1).expect("small"); count];
                let at = usize::try_from(offset).expect("small");
                match model.get_mut(at..at + count) {
                    Some(part) => {
                        part.copy_from_slice(&data);
                        file.write(offset, &data).expect("in range");
                    }
                    None => prop_assert!(file.write(offset, &data).is_err()),
                }
                let mut out = vec![9; model.len()];
                file.read(0, &mut out).expect("in range");
                prop_assert!(out == model);
            }
        }
    }
}

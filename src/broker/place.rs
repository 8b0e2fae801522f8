//! Where the data is: what the broker is opened on.

use std::{fmt, path::PathBuf, sync::Arc};

use super::BrokerConfig;
use crate::storage::{DirVolume, Engine, EngineOptions, MemoryVolume, RedbEngine, StorageError, Volume};

/// Makes an engine on the broker's place: when the broker starts, and again after the disk failed, which it is told.
pub(super) type OpenEngine = Box<dyn Fn(bool) -> Result<Box<dyn Engine>, StorageError> + Send>;

/// Where the data is.
#[derive(Clone)]
pub enum Place {
    /// In a directory, which is made if it does not exist.
    Directory(PathBuf),
    /// In memory: gone with the broker.
    Memory,
    /// In files of the caller's.
    Volume(Arc<dyn Volume>),
}

impl Place {
    pub(super) fn into_engine(self, config: &BrokerConfig) -> Result<OpenEngine, StorageError> {
        let volume: Arc<dyn Volume> = match self {
            Self::Directory(path) => Arc::new(DirVolume::open(path)?),
            Self::Memory => Arc::new(MemoryVolume::default()),
            Self::Volume(volume) => volume,
        };
        let BrokerConfig { segment_bytes, tail_cache_bytes, wal_bytes, group_bytes, background, planted, .. } = *config;
        let options = EngineOptions {
            segment_bytes,
            tail_cache_bytes,
            wal_bytes,
            piece_bytes: group_bytes,
            background,
            planted,
            ..EngineOptions::default()
        };
        Ok(Box::new(move |after_failure| {
            let options = EngineOptions { after_failure, ..options };
            Ok(Box::new(RedbEngine::new(volume.clone(), options)))
        }))
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.fmt(f),
            Self::Memory => f.write_str("memory"),
            Self::Volume(volume) => volume.fmt(f),
        }
    }
}

//! What the broker may take, and what it tells about itself.

use uuid::Uuid;

use crate::{
    limits::{DEFAULT_RESERVE_BYTES, DEFAULT_SEGMENT_BYTES, DEFAULT_TAIL_CACHE_BYTES, MAX_GROUP_BYTES, WAL_BYTES},
    planted::Planted,
    storage::Background,
};

/// What the broker may take.
#[derive(Clone, Copy, Debug)]
pub struct BrokerConfig {
    /// Appends are refused while the filesystem has less than this left. Default: 256 MiB.
    pub reserve_bytes: u64,
    /// Most that one commit writes, unless a single append is larger. More means fewer syncs under load and more
    /// memory. Default: 2 MiB.
    pub group_bytes: usize,
    /// A segment is ended at this size. More makes recovery after a crash slower, less makes more files. Default:
    /// 512 MiB.
    pub segment_bytes: u64,
    /// Memory for the newest records, from which consumers that keep up are served. Default: 12 MiB.
    pub tail_cache_bytes: usize,
    /// The file that small groups are written to first. Default: 4 MiB.
    pub wal_bytes: usize,
    /// Where the store works behind the writer, and old records are read. Default: on threads.
    pub background: Background,
    /// Default: none.
    pub planted: Planted,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            reserve_bytes: DEFAULT_RESERVE_BYTES,
            group_bytes: MAX_GROUP_BYTES,
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            tail_cache_bytes: DEFAULT_TAIL_CACHE_BYTES,
            wal_bytes: WAL_BYTES,
            background: Background::default(),
            planted: Planted::default(),
        }
    }
}

/// Whether the broker takes appends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It does.
    #[default]
    Well,
    /// The disk is down to its reserve; reads go on.
    DiskFull,
    /// The disk failed, and the store could not be opened again yet.
    Failed,
}

/// How the broker is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Status {
    /// Identity of the data; survives restarts.
    pub server_id: Uuid,
    /// Whether it takes appends.
    pub health: Health,
    /// Topics.
    pub topics: usize,
    /// Registered producers.
    pub producers: usize,
    /// Registered consumers.
    pub consumers: usize,
    /// Bytes of the store's files.
    pub stored_bytes: u64,
    /// Bytes left on the filesystem; `None` without one.
    pub free_bytes: Option<u64>,
    /// Appends are refused while less than this is left.
    pub reserve_bytes: u64,
}

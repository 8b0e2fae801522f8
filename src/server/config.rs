//! What a server may take.

use std::path::PathBuf;

use crate::{
    broker::{BrokerConfig, Place},
    limits::{
        DEFAULT_INBOUND_BUDGET_BYTES, DEFAULT_MAX_CONNECTIONS, DEFAULT_OUTBOUND_BUDGET_BYTES, DEFAULT_RESERVE_BYTES,
        DEFAULT_SEGMENT_BYTES, DEFAULT_TAIL_CACHE_BYTES, FIXED_MEMORY_BYTES, MAX_FRAME_BYTES, MAX_IN_FLIGHT_REQUESTS,
        MIN_MEMORY_BYTES,
    },
};

/// Where a server keeps its data and what it may take. Starts from [`Default`]; each `with_` changes one thing.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    pub(super) data_dir: Option<PathBuf>,
    pub(super) segment_bytes: u64,
    pub(super) reserve_bytes: u64,
    pub(super) tail_cache_bytes: usize,
    pub(super) max_connections: usize,
    pub(super) inbound_budget_bytes: usize,
    pub(super) outbound_budget_bytes: usize,
    pub(super) credentials: Vec<u8>,
    /// Whether those who ask in vain are slowed down.
    pub(super) has_pacing: bool,
    /// How many requests a client is granted in flight; more are taken all the same.
    pub(super) granted_requests: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            data_dir: Some(PathBuf::from("connectify-data")),
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            reserve_bytes: DEFAULT_RESERVE_BYTES,
            tail_cache_bytes: DEFAULT_TAIL_CACHE_BYTES,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            inbound_budget_bytes: DEFAULT_INBOUND_BUDGET_BYTES,
            outbound_budget_bytes: DEFAULT_OUTBOUND_BUDGET_BYTES,
            credentials: Vec::new(),
            has_pacing: true,
            granted_requests: MAX_IN_FLIGHT_REQUESTS,
        }
    }
}

impl ServerConfig {
    /// Keeps data in this directory, which is made if it does not exist. Default: `connectify-data`.
    #[must_use]
    pub fn with_data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Keeps data in memory only: it is gone when the server stops.
    #[must_use]
    pub fn with_ephemeral(mut self) -> Self {
        self.data_dir = None;
        self
    }

    /// Ends a segment at this size. Smaller ones recover faster and are deleted sooner; each is a file. Default:
    /// 512 MiB; at most 1 GiB.
    #[must_use]
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes.clamp(64 * 1024, 1 << 30);
        self
    }

    /// Refuses appends while the filesystem has less than this left. Default: 256 MiB.
    #[must_use]
    pub fn with_reserve_bytes(mut self, bytes: u64) -> Self {
        self.reserve_bytes = bytes;
        self
    }

    /// Memory for the newest records, from which consumers that keep up are served. Default: 12 MiB.
    #[must_use]
    pub fn with_tail_cache_bytes(mut self, bytes: usize) -> Self {
        self.tail_cache_bytes = bytes;
        self
    }

    /// Connections at once; an idle one takes a few KiB. Default: 16,384.
    #[must_use]
    pub fn with_max_connections(mut self, count: usize) -> Self {
        self.max_connections = count;
        self
    }

    /// Memory for requests, over all connections; when it is spent, sockets are not read. Default: 32 MiB, at least
    /// 16 MiB.
    #[must_use]
    pub fn with_inbound_budget_bytes(mut self, bytes: usize) -> Self {
        self.inbound_budget_bytes = bytes.clamp(2 * MAX_FRAME_BYTES, u32::MAX as usize / 2);
        self
    }

    /// Memory for what is read from the log to be sent, over all connections; when it is spent, consumers wait.
    /// Default: 32 MiB, at least 16 MiB.
    #[must_use]
    pub fn with_outbound_budget_bytes(mut self, bytes: usize) -> Self {
        self.outbound_budget_bytes = bytes.clamp(2 * MAX_FRAME_BYTES, u32::MAX as usize / 2);
        self
    }

    /// Memory of the whole server: what it does not need itself is divided among requests, what is read to be sent, and
    /// the newest records. A target, not a limit that the system enforces. At least 64 MiB. Default: each has its own.
    #[must_use]
    pub fn with_memory_bytes(self, bytes: usize) -> Self {
        let divided = bytes.max(MIN_MEMORY_BYTES) - FIXED_MEMORY_BYTES;
        let config = self.with_inbound_budget_bytes(divided / 8 * 3).with_outbound_budget_bytes(divided / 8 * 3);
        let budgets = config.inbound_budget_bytes + config.outbound_budget_bytes;
        config.with_tail_cache_bytes(divided.saturating_sub(budgets))
    }

    /// Bytes that every client must send in Hello. They cross the network as they are. Default: none.
    #[must_use]
    pub fn with_credentials(mut self, credentials: impl Into<Vec<u8>>) -> Self {
        self.credentials = credentials.into();
        self
    }

    /// Answers also those who ask in vain as fast as it can: requests that are wrong in themselves, Pings, connections
    /// that are turned away. For fuzzers and their like, which do nothing else. Default: a burst, and then about a
    /// thousand a second on each connection, and a hundred connections a second.
    #[must_use]
    pub fn without_pacing(mut self) -> Self {
        self.has_pacing = false;
        self
    }

    /// Grants clients fewer requests in flight, so that they wait for each other's answers.
    #[cfg(feature = "trial")]
    #[must_use]
    pub fn with_granted_requests(mut self, count: usize) -> Self {
        self.granted_requests = count.clamp(1, MAX_IN_FLIGHT_REQUESTS);
        self
    }

    pub(super) fn is_ephemeral(&self) -> bool {
        self.data_dir.is_none()
    }

    pub(super) fn place(&self) -> Place {
        self.data_dir.clone().map_or(Place::Memory, Place::Directory)
    }

    pub(super) fn broker_config(&self) -> BrokerConfig {
        BrokerConfig {
            reserve_bytes: self.reserve_bytes,
            segment_bytes: self.segment_bytes,
            tail_cache_bytes: self.tail_cache_bytes,
            ..BrokerConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_divided_and_each_part_has_what_it_needs() {
        const MIB: usize = 1024 * 1024;
        for (given, memory) in [(0, 64), (60, 64), (64, 64), (100, 100), (4096, 4096)] {
            let config = ServerConfig::default().with_memory_bytes(given * MIB);
            let (inbound, outbound, tail) =
                (config.inbound_budget_bytes, config.outbound_budget_bytes, config.tail_cache_bytes);
            assert_eq!(inbound + outbound + tail + FIXED_MEMORY_BYTES, memory * MIB, "{given}");
            assert!(inbound >= 2 * MAX_FRAME_BYTES && outbound >= 2 * MAX_FRAME_BYTES && tail >= 2 * MIB, "{given}");
        }
    }
}

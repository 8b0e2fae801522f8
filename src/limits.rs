//! Every bound of the system, in one place.
//!
//! The wire limits are normative: protocol.md section 7 lists them, and `tests/protocol_doc.rs` compares the two.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

// ---- frames ----

/// Bytes of a frame after its length field: opcode, version, flags, correlation id.
pub const FRAME_HEADER_BYTES: usize = 8;
/// Largest value of a frame's length field before the answer to Hello.
pub const MAX_HANDSHAKE_FRAME_BYTES: usize = 4 * KIB;
/// Largest value of a frame's length field that a server grants.
pub const MAX_FRAME_BYTES: usize = 8 * MIB;
/// Smallest maximum that a client may ask for.
pub const MIN_FRAME_BYTES: usize = 64 * KIB;
/// Largest control body, batches not counted.
pub const MAX_CONTROL_BYTES: usize = 64 * KIB;
/// Largest text of an error or of a GoAway.
pub const MAX_MESSAGE_BYTES: usize = 512;

// ---- names ----

/// Longest topic name.
pub const MAX_TOPIC_NAME_BYTES: usize = 200;
/// Longest name of a client, a producer or a consumer.
pub const MAX_NAME_BYTES: usize = 200;
/// Longest credentials in Hello.
pub const MAX_CREDENTIALS_BYTES: usize = 1024;

// ---- records and batches ----

/// Bytes of a batch before its records.
pub const BATCH_HEADER_BYTES: usize = 80;
/// Largest batch, header included, both as encoded and with its records decompressed.
pub const MAX_BATCH_BYTES: usize = MAX_FRAME_BYTES - MAX_CONTROL_BYTES - FRAME_HEADER_BYTES;
/// Largest encoded record: its own length prefix, timestamp, key, headers and value.
pub const MAX_RECORD_BYTES: usize = 4 * MIB;
/// Most records in one batch.
pub const MAX_BATCH_RECORDS: usize = 65_536;
/// Longest key of a record.
pub const MAX_KEY_BYTES: usize = 16 * KIB;
/// Most headers of a record.
pub const MAX_HEADERS: usize = 64;
/// Longest name of a record's header.
pub const MAX_HEADER_NAME_BYTES: usize = 255;

// ---- requests ----

/// Most (topic, batch) parts of one Append.
pub const MAX_APPEND_PARTS: usize = 1_024;
/// Most cursors that one Append moves.
pub const MAX_APPEND_COMMITS: usize = 256;
/// Most topics in one answer to ListTopics.
pub const MAX_LIST_TOPICS: usize = 128;
/// Most producers in one answer to ListProducers.
pub const MAX_LIST_PRODUCERS: usize = 128;
/// Most consumers in one answer to DescribeTopic.
pub const MAX_DESCRIBE_CONSUMERS: usize = 128;
/// Most batches in one answer to Fetch or Dequeue, or in one Deliver.
pub const MAX_DELIVERY_BATCHES: usize = 8_192;
/// Longest wait of a Fetch or a Dequeue.
pub const MAX_WAIT_MS: u32 = 60_000;
/// Most credit that a subscription may hold.
pub const MAX_CREDIT_BYTES: u64 = 1 << 30;

// ---- one connection ----

/// Requests of one connection that are not answered yet; above it the server stops reading.
pub const MAX_IN_FLIGHT_REQUESTS: usize = 1_024;
/// Bytes of requests of one connection that are not answered yet; above it the server stops reading.
pub const MAX_IN_FLIGHT_BYTES: usize = 16 * MIB;
/// Subscriptions of one connection.
pub const MAX_SUBSCRIPTIONS: usize = 256;
/// Answers queued to one connection; above it nothing more is read from the log for it.
pub const MAX_OUTBOX_BYTES: usize = MIB;
/// Most that one Deliver carries, unless a single batch is larger.
pub const MAX_DELIVERY_BYTES: usize = 256 * KIB;

/// From accept to the end of Hello.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which a side sends a Ping; twice that, and it closes the connection.
pub const KEEPALIVE: Duration = Duration::from_secs(20);
/// A frame that has begun arrives at this rate or faster, after [`FRAME_GRACE`].
pub const MIN_FRAME_BYTES_PER_SECOND: usize = 256 * KIB;
/// See [`MIN_FRAME_BYTES_PER_SECOND`].
pub const FRAME_GRACE: Duration = Duration::from_secs(10);
/// The same, while other frames wait for the memory that it takes; then it is what has arrived that counts.
pub const FRAME_GRACE_UNDER_PRESSURE: Duration = Duration::from_secs(2);
/// A frame that others wait for, and of which nothing comes for this long, is given up.
pub const FRAME_STALL_UNDER_PRESSURE: Duration = Duration::from_secs(1);
/// A peer that takes nothing for this long while answers wait for it is dropped.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// The same, while the budget for answers is nearly spent: what the peer does not take, others wait for.
pub const WRITE_STALL_UNDER_PRESSURE: Duration = Duration::from_secs(5);

// ---- the whole server (defaults) ----

/// Connections at once.
pub const DEFAULT_MAX_CONNECTIONS: usize = 16_384;
/// Connections that wait to be accepted; the system may allow fewer (`net.core.somaxconn`).
pub const LISTEN_BACKLOG: u32 = 4096;
/// Bytes of requests in memory, over all connections.
pub const DEFAULT_INBOUND_BUDGET_BYTES: usize = 32 * MIB;
/// Bytes read from the log and queued to be sent, over all connections.
pub const DEFAULT_OUTBOUND_BUDGET_BYTES: usize = 32 * MIB;
/// Most that is read at once for a subscription: a read takes a while to begin, and a peer that takes all of it in the
/// meantime would wait.
pub const MAX_READ_BYTES: usize = 4 * MAX_DELIVERY_BYTES;
/// Memory that a server takes beside its budgets and the tail cache: code, redb's pages, a group on its way, what only the
/// write-ahead log has, the index.
pub const FIXED_MEMORY_BYTES: usize = 28 * MIB;
/// Least memory that a server can be given.
pub const MIN_MEMORY_BYTES: usize = 64 * MIB;
/// Recent blocks kept in memory for consumers that keep up.
pub const DEFAULT_TAIL_CACHE_BYTES: usize = 12 * MIB;
/// Time that a graceful shutdown may take.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

// ---- the pace of those who ask in vain ----

/// Requests of one connection that are wrong in themselves, Pings, and frames without an effect: so many are read as
/// fast as they come. A client in another language that is being written makes some, and a flood soon has them spent.
pub const VAIN_REQUESTS_AT_ONCE: u32 = 1_024;
/// And so many a second afterwards.
pub const VAIN_REQUESTS_PER_SECOND: u32 = 1_000;
/// For so long, and for as long as tokens are owed, nothing is read: the larger, the fewer wake-ups.
pub const PACING_PAUSE: Duration = Duration::from_millis(50);
/// Connections that are turned away for what they sent: so many are told at once, over the whole server.
pub const TURNED_AWAY_AT_ONCE: u32 = 128;
/// And so many a second afterwards.
pub const TURNED_AWAY_PER_SECOND: u32 = 100;
/// Longest time that the pace adds to anything.
pub const MAX_PACING_DELAY: Duration = Duration::from_secs(1);
/// Connections whose GoAway waits; beyond that it does not.
pub const MAX_DELAYED_GOAWAYS: usize = 1_024;

// ---- broker ----

/// Most topics.
pub const MAX_TOPICS: usize = 65_536;
/// Most registered producers.
pub const MAX_PRODUCERS: usize = 262_144;
/// Most registered consumers.
pub const MAX_CONSUMERS: usize = 262_144;
/// Appended ranges that the server remembers per producer, to answer duplicates with their offsets.
pub const MAX_PRODUCER_RANGES: usize = 16;
/// A producer or a consumer without a name that has been silent for this long is forgotten.
pub const UNNAMED_EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);
/// How exactly it is known when it was heard last: noting every sign of life would be a write for every poll.
pub const ACTIVITY_PRECISION: Duration = Duration::from_secs(24 * 3600);
/// Most that one group commit writes; a single append that is larger is written with several. With its pages it stays below half of
/// [`ACTIVE_CACHE_BYTES`]: of more, redb writes pages early and reads them back for their checksums.
pub const MAX_GROUP_BYTES: usize = 2 * MIB;
/// Retention cuts a topic into about this many pieces, and drops whole pieces.
pub const RETENTION_PIECES: u64 = 32;

// ---- storage ----

/// A journal value: just under 128 KiB, because redb rounds a value and its overhead up to a power of two of pages.
pub const MAX_CHUNK_BYTES: usize = 128 * KIB - 128;
/// The write-ahead log: half of it is written while the other half moves to the journal.
pub const WAL_BYTES: usize = 4 * MIB;
/// Larger blocks are written into the journal at once.
pub const MAX_LOGGED_BYTES: usize = 64 * KIB;
/// The active segment is closed, and the next one begun, at this size.
pub const DEFAULT_SEGMENT_BYTES: u64 = 512 * MIB as u64;
/// Or at this number of entries in its index, which is held in memory (24 bytes each).
pub const DEFAULT_SEGMENT_RUNS: usize = 512 * KIB;
/// Appends are refused while the filesystem has less than this left.
pub const DEFAULT_RESERVE_BYTES: u64 = 256 * MIB as u64;
/// Neighbouring batches of a topic share an index entry up to this many bytes.
pub const MAX_RUN_BYTES: usize = 256 * KIB;
/// Page cache of the active segment's database.
pub const ACTIVE_CACHE_BYTES: usize = 6 * MIB;
/// Page cache of one sealed segment's database.
pub const SEALED_CACHE_BYTES: usize = MIB;
/// Sealed segments whose files are open at once.
pub const MAX_OPEN_SEGMENTS: usize = 16;

const _: () = assert!(MAX_GROUP_BYTES * 5 / 4 < ACTIVE_CACHE_BYTES / 2);
const _: () = assert!(MAX_BATCH_BYTES + MAX_CONTROL_BYTES + FRAME_HEADER_BYTES <= MAX_FRAME_BYTES);
const _: () = assert!(MAX_RECORD_BYTES + BATCH_HEADER_BYTES <= MAX_BATCH_BYTES);
const _: () = assert!(MAX_KEY_BYTES + MAX_HEADERS * MAX_HEADER_NAME_BYTES < MAX_RECORD_BYTES);
const _: () = assert!(MAX_HANDSHAKE_FRAME_BYTES <= MIN_FRAME_BYTES && MIN_FRAME_BYTES <= MAX_FRAME_BYTES);
const _: () = assert!(MAX_FRAME_BYTES <= MAX_IN_FLIGHT_BYTES && MAX_IN_FLIGHT_BYTES <= DEFAULT_INBOUND_BUDGET_BYTES);
const _: () = assert!(MAX_FRAME_BYTES <= DEFAULT_OUTBOUND_BUDGET_BYTES);
const _: () = assert!(MAX_APPEND_PARTS * 15 + MAX_APPEND_COMMITS * 25 <= MAX_CONTROL_BYTES);
const _: () = assert!(MAX_DELIVERY_BATCHES * 5 + 64 <= MAX_CONTROL_BYTES);

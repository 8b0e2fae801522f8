//! The limits that section 7 lists, from the code.

use std::time::Duration;

use connectify::limits::*;

/// A limit by its name in the code.
pub(crate) struct Limit {
    pub(crate) name: &'static str,
    pub(crate) value: u64,
    pub(crate) is_seconds: bool,
}

/// What a limit can be.
trait Value: Copy {
    fn limit(self, name: &'static str) -> Limit;
}

macro_rules! values {
    ($($number:ty)*) => {
        $(impl Value for $number {
            fn limit(self, name: &'static str) -> Limit {
                Limit { name, value: self as u64, is_seconds: false }
            }
        })*
    };
}

values!(usize u32 u64);

impl Value for Duration {
    fn limit(self, name: &'static str) -> Limit {
        assert_eq!(self.subsec_nanos(), 0, "{name} is not whole seconds");
        Limit { name, value: self.as_secs(), is_seconds: true }
    }
}

macro_rules! limits {
    ($($name:ident)*) => {
        /// In the order of src/limits.rs.
        pub(crate) fn wire() -> Vec<Limit> {
            vec![$(Value::limit($name, stringify!($name))),*]
        }
    };
}

limits! {
    FRAME_HEADER_BYTES MAX_HANDSHAKE_FRAME_BYTES MAX_FRAME_BYTES MIN_FRAME_BYTES MAX_CONTROL_BYTES MAX_MESSAGE_BYTES
    MAX_TOPIC_NAME_BYTES MAX_NAME_BYTES MAX_CREDENTIALS_BYTES
    BATCH_HEADER_BYTES MAX_BATCH_BYTES MAX_RECORD_BYTES MAX_BATCH_RECORDS MAX_KEY_BYTES MAX_HEADERS
    MAX_HEADER_NAME_BYTES
    MAX_APPEND_PARTS MAX_APPEND_COMMITS MAX_LIST_TOPICS MAX_LIST_PRODUCERS MAX_DESCRIBE_CONSUMERS MAX_DELIVERY_BATCHES MAX_WAIT_MS
    MAX_CREDIT_BYTES
    MAX_IN_FLIGHT_REQUESTS MAX_IN_FLIGHT_BYTES MAX_SUBSCRIPTIONS MAX_OUTBOX_BYTES MAX_DELIVERY_BYTES
    HANDSHAKE_TIMEOUT KEEPALIVE MIN_FRAME_BYTES_PER_SECOND FRAME_GRACE FRAME_GRACE_UNDER_PRESSURE
    FRAME_STALL_UNDER_PRESSURE
    WRITE_STALL_TIMEOUT WRITE_STALL_UNDER_PRESSURE
    DEFAULT_MAX_CONNECTIONS SHUTDOWN_TIMEOUT
    MAX_TOPICS MAX_PRODUCERS MAX_CONSUMERS MAX_PRODUCER_RANGES UNNAMED_EXPIRY RETENTION_PIECES
}

/// Limits of the wire that src/limits.rs has and [`wire`] leaves out. From "the whole server" on they are the server's own
/// affair, except for those that a client can notice, which [`wire`] lists.
pub(crate) fn missing() -> Vec<String> {
    let source = include_str!("../../src/limits.rs");
    let (of_the_wire, _) = source.split_once("// ---- the whole server").expect("the sections of src/limits.rs");
    let names =
        of_the_wire.split("pub const ").skip(1).map(|rest| rest.split(':').next().unwrap_or_default().to_owned());
    names.filter(|name| wire().iter().all(|limit| limit.name != name)).collect()
}

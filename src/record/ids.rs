//! Numbers and ids that must not be swapped for one another.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use uuid::Uuid;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }

        impl From<$name> for $inner {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

number! {
    /// The position of a record in its topic: dense, from 0.
    Offset(u64)
}
number! {
    /// What a producer counts: records for a client library, bytes of the file for an agent that follows one.
    Sequence(u64)
}
number! {
    /// The server's number for a topic. A topic that is deleted and created again gets another one.
    TopicId(u32)
}
number! {
    /// Grows each time a producer is registered again. A batch of another epoch than the last is fenced.
    Epoch(u32)
}
number! {
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(u64)
}
number! {
    /// The id of a registered producer.
    ProducerId(Uuid)
}
number! {
    /// The id of a registered consumer.
    ConsumerId(Uuid)
}

impl Offset {
    /// The offset `count` records further on.
    ///
    /// # Panics
    /// When the result exceeds `u64::MAX`, which takes 584,000 years at a million records a second.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.checked_add(count).expect("offsets fit in 64 bits"))
    }
}

impl Timestamp {
    /// The time now, by this machine's clock.
    #[must_use]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// The time as the standard library has it; the latest it can hold when this is later.
    #[must_use]
    pub fn to_system_time(self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_micros(self.0)).unwrap_or(UNIX_EPOCH)
    }
}

impl From<SystemTime> for Timestamp {
    /// A time before 1970 becomes 0.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// The sequence numbers that a batch covers: `start..end`, half open, never empty in a stored batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceRange {
    /// The first.
    pub start: Sequence,
    /// One past the last.
    pub end: Sequence,
}

impl SequenceRange {
    /// `start..start + count`.
    #[must_use]
    pub fn counting(start: Sequence, count: u64) -> Self {
        Self { start, end: Sequence(start.0.saturating_add(count)) }
    }

    /// How many numbers it covers.
    #[must_use]
    pub fn width(self) -> u64 {
        self.end.0 - self.start.0
    }
}

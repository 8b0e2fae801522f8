//! What time it is for the writer: the machine's time, or in a trial what the test says.

use std::time::Instant;

use crate::record::Timestamp;

/// Where the writer reads the time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Clock {
    /// From the machine.
    Machine,
    /// From whoever drives the broker.
    #[cfg(feature = "trial")]
    Told {
        /// What the calendar says; it may be set back.
        now: Timestamp,
        /// What pauses are measured with; it never goes back.
        instant: Instant,
    },
}

impl Clock {
    pub(super) fn now(self) -> Timestamp {
        match self {
            Self::Machine => Timestamp::now(),
            #[cfg(feature = "trial")]
            Self::Told { now, .. } => now,
        }
    }

    pub(super) fn instant(self) -> Instant {
        match self {
            Self::Machine => Instant::now(),
            #[cfg(feature = "trial")]
            Self::Told { instant, .. } => instant,
        }
    }
}

//! Reading without a subscription: one request, some batches.

use std::time::Duration;

use super::{
    Client, Error,
    admin::topic_name,
    call::{Repeat, Terms},
    continuity::Continuity,
};
use crate::{
    limits::{MAX_DELIVERY_BYTES, MAX_WAIT_MS},
    protocol::Fetch,
    record::{Batch, Offset},
};

/// How much to fetch, and how long to wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchOptions {
    /// About how many bytes of batches; one batch comes whatever its size. Default: 256 KiB.
    pub max_bytes: u32,
    /// How long the server waits when there is nothing yet, at most 60 s. Default: not at all.
    pub max_wait: Duration,
}

impl Default for FetchOptions {
    fn default() -> Self {
        let max_bytes = u32::try_from(MAX_DELIVERY_BYTES).expect("256 KiB fit in 32 bits");
        Self { max_bytes, max_wait: Duration::ZERO }
    }
}

impl FetchOptions {
    /// Sets about how many bytes of batches come.
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: u32) -> Self {
        Self { max_bytes, ..self }
    }

    /// Sets how long the server waits when there is nothing yet.
    #[must_use]
    pub fn with_max_wait(self, max_wait: Duration) -> Self {
        Self { max_wait, ..self }
    }
}

/// What a fetch brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// First offset that is kept.
    pub head: Offset,
    /// Next offset to be assigned.
    pub tail: Offset,
    /// Whole batches, their checksums verified, one behind the other. The first holds the record asked for, and maybe
    /// others before it. None: there is nothing yet.
    pub batches: Vec<Batch>,
}

/// A wait as it travels: milliseconds, rounded up, within the limit.
pub(super) fn wait_ms(wait: Duration) -> u32 {
    u32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX).min(MAX_WAIT_MS)
}

impl Client {
    /// Reads stored batches from an offset on.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`OffsetBeforeHead`](crate::protocol::ErrorCode::OffsetBeforeHead),
    /// [`OffsetBeyondTail`](crate::protocol::ErrorCode::OffsetBeyondTail) or
    /// [`UnknownTopic`](crate::protocol::ErrorCode::UnknownTopic); [`Error::Corrupt`] when a batch does not match its
    /// checksum; [`Error::TimedOut`].
    ///
    /// # Cancel safety
    /// Nothing changes on the server.
    pub async fn fetch(&self, topic: &str, offset: Offset, options: FetchOptions) -> Result<Fetched, Error> {
        let max_wait_ms = wait_ms(options.max_wait);
        let request = Fetch { topic: topic_name(topic)?, offset: offset.0, max_bytes: options.max_bytes, max_wait_ms };
        let wait = Duration::from_millis(max_wait_ms.into());
        let answered = self.ask(&request, Terms::from(Repeat::Harmless).waiting(wait)).await?;
        let mut continuity = Continuity::new(offset);
        let batches = answered.batches.into_iter().map(|bytes| continuity.accept(bytes));
        Ok(Fetched {
            batches: batches.collect::<Result<_, _>>()?,
            head: Offset(answered.answer.head),
            tail: Offset(answered.answer.tail),
        })
    }
}

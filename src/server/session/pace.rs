//! The pace of a connection that asks in vain: what no honest client makes much of is read at a pace of ours.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    limits::{PACING_PAUSE, VAIN_REQUESTS_AT_ONCE, VAIN_REQUESTS_PER_SECOND},
    protocol::{ErrorBody, ErrorCode},
    server::token_bucket::TokenBucket,
};

/// Counts what a connection asked for in vain: requests that no state could grant, frames that have no answer and no
/// effect, and Pings, which are worth little when there are thousands of them.
#[derive(Debug, Default)]
pub(in crate::server) struct Vain(AtomicU32);

impl Vain {
    pub(in crate::server) fn note(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Notes a refusal, if it is of a request that is wrong in itself. Who asks for a topic that is not there yet, or
    /// appends out of order, may be right to try.
    pub(in crate::server) fn note_refusal(&self, error: &ErrorBody) {
        if error.known().is_some_and(is_wrong_in_itself) {
            self.note();
        }
    }
}

fn is_wrong_in_itself(code: ErrorCode) -> bool {
    use ErrorCode as Code;
    let is_wrong_frame =
        matches!(code, Code::HelloRepeated | Code::UnknownOpcode | Code::UnknownMessageVersion | Code::MalformedBody);
    let is_wrong_value = matches!(code, Code::LimitExceeded | Code::InvalidName | Code::InvalidRetention);
    is_wrong_frame || is_wrong_value || is_wrong_batch(code)
}

fn is_wrong_batch(code: ErrorCode) -> bool {
    use ErrorCode as Code;
    matches!(
        code,
        Code::BatchMalformed
            | Code::BatchChecksum
            | Code::BatchVersion
            | Code::BatchTooLarge
            | Code::RecordTooLarge
            | Code::UnknownCompression
            | Code::BadCompression
            | Code::CountMismatch
            | Code::BadSequenceRange
    )
}

/// How fast a connection is read that asks in vain. Nothing else slows it down, and nothing is refused for it: what it
/// sends waits in the buffers of the system, and at last with the peer.
#[derive(Debug)]
pub(super) struct Pace(TokenBucket);

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self(TokenBucket::new(VAIN_REQUESTS_AT_ONCE, VAIN_REQUESTS_PER_SECOND, now))
    }

    /// For how long nothing is to be read, if there was something in vain. The time is asked for only then.
    pub(super) fn pause(&mut self, vain: &Vain) -> Option<Duration> {
        if vain.0.load(Relaxed) == 0 {
            return None;
        }
        let owed = self.0.take(vain.0.swap(0, Relaxed), Instant::now());
        // A pause for each frame would cost more than the frame.
        (!owed.is_zero()).then(|| owed + PACING_PAUSE)
    }
}

//! Whether the peer is still there and fast enough. Pure: it is told the time.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    limits::{FRAME_GRACE, KEEPALIVE, MIN_FRAME_BYTES_PER_SECOND},
    protocol::{ErrorBody, ErrorCode},
};

/// When the peer was heard last, and what is expected of it.
pub(super) struct Liveness {
    heard: Instant,
    is_pinged: bool,
    /// When the frame that has begun must be complete.
    frame_due: Option<Instant>,
}

/// What time asks for.
pub(super) enum Due {
    Nothing,
    Ping,
    Close(ErrorBody),
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: now, is_pinged: false, frame_due: None }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.is_pinged = false;
    }

    /// We listen again, after a while in which we did not: neither silence nor slowness was the peer's.
    pub(super) fn listening_again(&mut self, now: Instant) {
        self.heard(now);
        self.frame_due = None;
    }

    /// A frame of `bytes` has begun.
    pub(super) fn frame_begun(&mut self, bytes: usize, now: Instant) {
        let seconds = (bytes / MIN_FRAME_BYTES_PER_SECOND) as u64;
        self.frame_due.get_or_insert(now + FRAME_GRACE + Duration::from_secs(seconds));
    }

    pub(super) fn frame_complete(&mut self) {
        self.frame_due = None;
    }

    /// When to call [`Liveness::due`] next.
    pub(super) fn next(&self) -> Instant {
        let keepalive = self.heard + if self.is_pinged { KEEPALIVE * 2 } else { KEEPALIVE };
        self.frame_due.map_or(keepalive, |due| due.min(keepalive))
    }

    pub(super) fn due(&mut self, now: Instant) -> Due {
        if self.frame_due.is_some_and(|due| due <= now) {
            let message = format!("a frame arrived slower than {MIN_FRAME_BYTES_PER_SECOND} bytes a second");
            return Due::Close(ErrorBody::new(ErrorCode::TooSlow, message, Vec::new()));
        }
        let silence = now - self.heard;
        if silence >= KEEPALIVE * 2 {
            let message = format!("nothing was heard for {} s", silence.as_secs());
            return Due::Close(ErrorBody::new(ErrorCode::IdleTimeout, message, Vec::new()));
        }
        if silence >= KEEPALIVE && !self.is_pinged {
            self.is_pinged = true;
            return Due::Ping;
        }
        Due::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_pinged_once_and_then_ends_the_connection() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        assert!(matches!(liveness.due(start + KEEPALIVE / 2), Due::Nothing));
        assert_eq!(liveness.next(), start + KEEPALIVE);
        assert!(matches!(liveness.due(start + KEEPALIVE), Due::Ping));
        assert_eq!(liveness.next(), start + KEEPALIVE * 2);
        assert!(matches!(liveness.due(start + KEEPALIVE), Due::Nothing));
        liveness.heard(start + KEEPALIVE);
        assert!(matches!(liveness.due(start + KEEPALIVE * 2), Due::Ping));
        let Due::Close(error) = liveness.due(start + KEEPALIVE * 3) else { panic!("still there") };
        assert_eq!(error.known(), Some(ErrorCode::IdleTimeout));
    }

    #[test]
    fn time_in_which_we_did_not_listen_does_not_count() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        liveness.frame_begun(1000, start);
        let later = start + KEEPALIVE * 10;
        liveness.listening_again(later);
        assert!(matches!(liveness.due(later), Due::Nothing));
        assert_eq!(liveness.next(), later + KEEPALIVE);
        liveness.frame_begun(1000, later);
        assert_eq!(liveness.next(), later + FRAME_GRACE);
    }

    #[test]
    fn a_frame_must_be_complete_in_time_however_often_a_byte_of_it_comes() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        liveness.frame_begun(10 * MIN_FRAME_BYTES_PER_SECOND, start);
        let due = start + FRAME_GRACE + Duration::from_secs(10);
        liveness.heard(due - Duration::from_millis(1));
        liveness.frame_begun(10 * MIN_FRAME_BYTES_PER_SECOND, due - Duration::from_millis(1));
        let Due::Close(error) = liveness.due(due) else { panic!("not slow") };
        assert_eq!(error.known(), Some(ErrorCode::TooSlow));
    }
}

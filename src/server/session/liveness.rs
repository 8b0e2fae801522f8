//! Whether the peer is still there and fast enough. Pure: it is told the time.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    limits::{
        FRAME_GRACE, FRAME_GRACE_UNDER_PRESSURE, FRAME_STALL_UNDER_PRESSURE, KEEPALIVE, MIN_FRAME_BYTES_PER_SECOND,
    },
    protocol::{ErrorBody, ErrorCode},
};

/// Between looks whether others wait for the memory of a frame that is arriving.
const PRESSURE_PAUSE: Duration = Duration::from_millis(250);

/// When the peer was heard last, and what is expected of it.
pub(super) struct Liveness {
    heard: Instant,
    is_pinged: bool,
    frame: Option<Frame>,
}

/// A frame that has begun.
struct Frame {
    begun: Instant,
    /// When something of it came last.
    moved: Instant,
    /// What of it was there when it began.
    had: usize,
    /// What of it is there now.
    has: usize,
    /// All of it, once its length is there.
    bytes: usize,
    /// Whether others wait for the memory that it takes.
    is_wanted: bool,
    /// When that was asked last; `None` while it takes none to speak of.
    asked: Option<Instant>,
}

impl Frame {
    /// When the connection is closed for it, unless more of it comes.
    fn due(&self) -> Instant {
        let time = |bytes: usize| Duration::from_secs((bytes / MIN_FRAME_BYTES_PER_SECOND) as u64);
        match self.is_wanted {
            true => {
                let keeps_coming = self.begun + FRAME_GRACE_UNDER_PRESSURE + time(self.has - self.had);
                keeps_coming.min(self.moved + FRAME_STALL_UNDER_PRESSURE)
            }
            false => self.begun + FRAME_GRACE + time(self.bytes),
        }
    }
}

/// What time asks for.
pub(super) enum Due {
    Nothing,
    Ping,
    Close(ErrorBody),
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: now, is_pinged: false, frame: None }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.is_pinged = false;
    }

    /// We listen again, after a while in which we did not: neither silence nor slowness was the peer's.
    pub(super) fn listening_again(&mut self, now: Instant) {
        self.heard(now);
        self.frame = None;
    }

    /// A frame of `bytes` is arriving, as far as that is known, and `has` of them are there.
    pub(super) fn frame_arrives(&mut self, has: usize, bytes: usize, now: Instant) {
        let frame = Frame { begun: now, moved: now, had: has, has, bytes, is_wanted: false, asked: None };
        let frame = self.frame.get_or_insert(frame);
        if has > frame.has {
            frame.moved = now;
        }
        (frame.has, frame.bytes) = (has, bytes);
    }

    /// The frame that is arriving takes memory; `is_wanted` by others, too.
    pub(super) fn frame_takes_memory(&mut self, is_wanted: bool, now: Instant) {
        if let Some(frame) = &mut self.frame {
            (frame.is_wanted, frame.asked) = (is_wanted, Some(now));
        }
    }

    /// Whether a frame is arriving that takes memory.
    pub(super) fn has_memory(&self) -> bool {
        self.frame.as_ref().is_some_and(|frame| frame.asked.is_some())
    }

    /// Whether nothing came for as long as a sign of life is due after.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        now - self.heard >= KEEPALIVE
    }

    pub(super) fn frame_complete(&mut self) {
        self.frame = None;
    }

    /// When to call [`Liveness::due`] next.
    pub(super) fn next(&self) -> Instant {
        let keepalive = self.heard + if self.is_pinged { KEEPALIVE * 2 } else { KEEPALIVE };
        let Some(frame) = &self.frame else { return keepalive };
        let ask = frame.asked.map_or(keepalive, |asked| asked + PRESSURE_PAUSE);
        frame.due().min(keepalive).min(ask)
    }

    pub(super) fn due(&mut self, now: Instant) -> Due {
        if self.frame.as_ref().is_some_and(|frame| frame.due() <= now) {
            let message =
                format!("a frame came slower than {MIN_FRAME_BYTES_PER_SECOND} bytes a second, or not at all");
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
        liveness.frame_arrives(1, 1000, start);
        let later = start + KEEPALIVE * 10;
        liveness.listening_again(later);
        assert!(matches!(liveness.due(later), Due::Nothing));
        assert_eq!(liveness.next(), later + KEEPALIVE);
        liveness.frame_arrives(1, 1000, later);
        assert_eq!(liveness.next(), later + FRAME_GRACE);
    }

    #[test]
    fn a_frame_must_be_complete_in_time_however_often_a_byte_of_it_comes() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        liveness.frame_arrives(1, 10 * MIN_FRAME_BYTES_PER_SECOND, start);
        let due = start + FRAME_GRACE + Duration::from_secs(10);
        liveness.heard(due - Duration::from_millis(1));
        liveness.frame_arrives(2, 10 * MIN_FRAME_BYTES_PER_SECOND, due - Duration::from_millis(1));
        let Due::Close(error) = liveness.due(due) else { panic!("not slow") };
        assert_eq!(error.known(), Some(ErrorCode::TooSlow));
    }

    /// Three peers announced large frames, sent 4 KB of them, and held the memory that others needed for 42 seconds.
    #[test]
    fn a_frame_that_others_wait_for_must_keep_coming() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        let second = MIN_FRAME_BYTES_PER_SECOND;
        liveness.frame_arrives(4096, 30 * second, start);
        liveness.frame_takes_memory(false, start);
        assert_eq!(liveness.next(), start + PRESSURE_PAUSE, "to see whether others wait");
        let now = start + PRESSURE_PAUSE;
        assert!(matches!(liveness.due(now), Due::Nothing));
        liveness.frame_arrives(4096 + 3 * second, 30 * second, now);
        liveness.frame_takes_memory(true, now);
        let due = start + FRAME_GRACE_UNDER_PRESSURE + Duration::from_secs(3);
        // Something comes again and again, and is too little.
        for ago in (0..8).rev() {
            let now = due - FRAME_STALL_UNDER_PRESSURE / 2 * ago - Duration::from_millis(1);
            liveness.frame_arrives(4096 + 3 * second + 8 - ago as usize, 30 * second, now);
            assert!(matches!(liveness.due(now), Due::Nothing));
        }
        assert!(matches!(liveness.due(due), Due::Close(_)));
        liveness.frame_takes_memory(false, due);
        assert!(matches!(liveness.due(due), Due::Nothing), "nobody waits any more");
    }

    /// A thousand peers sent one half of a frame of 30 KB. Those that held memory for it were given up after two seconds,
    /// the next ones, which had waited for it with nothing more to send, two seconds later, and so on: an honest frame of
    /// 100 KB waited for twelve.
    #[test]
    fn a_frame_that_others_wait_for_and_of_which_nothing_comes_is_given_up_soon() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        liveness.frame_arrives(15_000, 30_000, start);
        liveness.frame_takes_memory(true, start);
        let due = start + FRAME_STALL_UNDER_PRESSURE;
        assert!(matches!(liveness.due(due - Duration::from_millis(1)), Due::Nothing));
        let Due::Close(error) = liveness.due(due) else { panic!("not given up") };
        assert_eq!(error.known(), Some(ErrorCode::TooSlow));
        liveness.frame_arrives(15_001, 30_000, due);
        assert!(matches!(liveness.due(due), Due::Nothing), "it goes on");
        liveness.frame_takes_memory(false, due);
        assert!(matches!(liveness.due(due + FRAME_STALL_UNDER_PRESSURE), Due::Nothing), "nobody waits");
    }
}

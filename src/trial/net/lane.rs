//! One direction of a simulated connection: bytes under way, in pieces, each with the time at which it arrives.

use std::{collections::VecDeque, task::Waker, time::Duration};

use bytes::{Buf as _, Bytes};
use tokio::{io::ReadBuf, time::Instant};

use super::super::Rng;

/// How the bytes of a connection travel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// A piece is at most so long.
    pub(super) piece_bytes: usize,
    /// And takes at most so long.
    pub(super) latency: Duration,
    /// What a sender may have under way, as in the buffers of sockets.
    pub(super) room_bytes: usize,
}

impl Pace {
    /// Everything at once.
    pub(super) const SMOOTH: Self = Self { piece_bytes: 1 << 20, latency: Duration::ZERO, room_bytes: 1 << 20 };

    /// Of anything from the machine beside to another continent.
    pub(super) fn any(rng: &mut Rng) -> Self {
        let piece_bytes = [7, 64, 1500, 64 * 1024][rng.index(4)];
        let latency = Duration::from_millis([0, 1, 20, 100][rng.index(4)]);
        let room_bytes = [1024, 8 * 1024, 256 * 1024][rng.index(3)];
        Self { piece_bytes, latency, room_bytes }
    }

    pub(super) fn delay(&self, rng: &mut Rng) -> Duration {
        let most = u64::try_from(self.latency.as_millis()).expect("less than a second");
        Duration::from_millis(rng.below(most + 1))
    }
}

/// How a direction ends, behind all that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The sender has said all.
    Fin,
    /// The sender is gone.
    Reset,
}

/// What a reader finds.
pub(super) enum Found {
    /// So many bytes.
    Bytes(usize),
    End(Ending),
    /// Nothing before this time, unless more is sent.
    NotBefore(Option<Instant>),
}

/// See the module.
#[derive(Default)]
pub(super) struct Lane {
    pieces: VecDeque<(Instant, Bytes)>,
    /// Bytes of them.
    under_way: usize,
    /// Bytes that arrived.
    pub(super) arrived: u64,
    /// The last arrival that was planned: nothing overtakes.
    last: Option<Instant>,
    ending: Option<(Instant, Ending)>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl Lane {
    pub(super) fn is_ended(&self) -> bool {
        self.ending.is_some()
    }

    pub(super) fn has_unread(&self) -> bool {
        self.under_way > 0
    }

    pub(super) fn room(&self, pace: &Pace) -> usize {
        pace.room_bytes.saturating_sub(self.under_way)
    }

    fn arrival(&mut self, pace: &Pace, rng: &mut Rng) -> Instant {
        let at = (Instant::now() + pace.delay(rng)).max(self.last.unwrap_or_else(Instant::now));
        self.last = Some(at);
        at
    }

    /// Sends bytes on their way.
    pub(super) fn send(&mut self, mut bytes: Bytes, pace: &Pace, rng: &mut Rng) {
        self.under_way += bytes.len();
        while bytes.has_remaining() {
            let length = bytes.len().min(1 + rng.index(pace.piece_bytes));
            let at = self.arrival(pace, rng);
            self.pieces.push_back((at, bytes.split_to(length)));
        }
        wake(&mut self.reader);
    }

    /// Nothing is sent any more.
    pub(super) fn end(&mut self, ending: Ending, pace: &Pace, rng: &mut Rng) {
        if ending == Ending::Reset && !self.pieces.is_empty() {
            // What had not left the sender's buffers is gone with it.
            let left = rng.index(self.pieces.len() + 1);
            self.pieces.truncate(left);
            self.under_way = self.pieces.iter().map(|(_, piece)| piece.len()).sum();
        }
        let at = self.arrival(pace, rng);
        self.ending = Some((at, ending));
        wake(&mut self.reader);
    }

    /// Takes what has arrived, at most `most` bytes, while the network is `open` from that time on.
    pub(super) fn take(&mut self, out: &mut ReadBuf<'_>, most: usize, open: Instant) -> Found {
        let now = Instant::now();
        let Some((at, piece)) = self.pieces.front_mut() else {
            return match self.ending {
                Some((at, ending)) if at.max(open) <= now => Found::End(ending),
                ending => Found::NotBefore(ending.map(|(at, _)| at.max(open))),
            };
        };
        let at = (*at).max(open);
        if at > now {
            return Found::NotBefore(Some(at));
        }
        let length = piece.len().min(out.remaining()).min(most);
        out.put_slice(&piece.split_to(length));
        if piece.is_empty() {
            self.pieces.pop_front();
        }
        self.under_way -= length;
        self.arrived += length as u64;
        wake(&mut self.writer);
        Found::Bytes(length)
    }

    pub(super) fn wake_all(&mut self) {
        wake(&mut self.reader);
        wake(&mut self.writer);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

//! A simulated connection: two lanes, and what becomes of it.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    super::Rng,
    lane::{Ending, Found, Lane, Pace},
    replay::Replay,
    trace::Trace,
};

/// Which end of a connection, and which direction: that of the bytes which this end sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Client,
    /// The server's.
    Server,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Both ends are told that it is broken.
    Reset,
    /// Both ends are told that the other one has said all.
    Fin,
    /// This end is told, the other one hears nothing any more, and its bytes vanish.
    HalfOpen(Side),
    /// Neither is told.
    Silent,
}

/// What an end sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Reset,
    Fin,
    Deaf,
}

/// Where a connection is cut by itself: when so many bytes of one direction have arrived.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Whose bytes are counted.
    pub side: Side,
    /// How many of them arrive, at least 1.
    pub at: u64,
    /// What happens then.
    pub cut: Cut,
}

/// See the module.
pub(super) struct Pipe {
    name: String,
    lanes: [Lane; 2],
    fates: [Fate; 2],
    /// Whether an end was given up by its owner.
    gone: [bool; 2],
    /// Until when nothing arrives that this side sends.
    blocked: [Instant; 2],
    pace: Pace,
    plan: Option<Plan>,
    replay: Option<Replay>,
    rng: Rng,
    trace: Trace,
}

/// A connection, as whoever made it holds it.
pub(super) type SharedPipe = Arc<Mutex<Pipe>>;

impl Pipe {
    pub(super) fn new(
        name: String,
        pace: Pace,
        plan: Option<Plan>,
        replay: Option<Replay>,
        rng: Rng,
        trace: Trace,
    ) -> Self {
        let now = Instant::now();
        Self {
            name,
            lanes: Default::default(),
            fates: [Fate::Open; 2],
            gone: [false; 2],
            blocked: [now; 2],
            pace,
            plan,
            replay,
            rng,
            trace,
        }
    }

    /// Its two ends: the client's, the server's.
    pub(super) fn ends(self) -> (SharedPipe, End, End) {
        let pipe = Arc::new(Mutex::new(self));
        let end = |side| End { pipe: pipe.clone(), side, timer: Box::pin(sleep_until(Instant::now())) };
        let (client, server) = (end(Side::Client), end(Side::Server));
        (pipe, client, server)
    }

    fn note(&self, what: String) {
        self.trace.note(&self.name, what);
    }

    /// It is not cut by itself any more.
    pub(super) fn forget_plan(&mut self) {
        self.plan = None;
    }

    /// Cuts it now, unless that was done before; says whether it was done.
    pub(super) fn cut(&mut self, cut: Cut) -> bool {
        let is_first = self.fates == [Fate::Open; 2];
        let [client, server] = &mut self.fates;
        if is_first {
            (*client, *server) = match cut {
                Cut::Reset => (Fate::Reset, Fate::Reset),
                Cut::Fin => (Fate::Fin, Fate::Fin),
                Cut::HalfOpen(Side::Client) => (Fate::Reset, Fate::Deaf),
                Cut::HalfOpen(Side::Server) => (Fate::Deaf, Fate::Reset),
                Cut::Silent => (Fate::Deaf, Fate::Deaf),
            };
            self.note(format!("is cut: {cut:?}"));
        }
        self.wake();
        is_first
    }

    /// The machine at one end is gone, whatever was done before: that end is told, so that what it held ends.
    pub(super) fn kill(&mut self, side: Side, tells_other: bool) {
        self.fates[side as usize] = Fate::Reset;
        let other = &mut self.fates[side.other() as usize];
        if *other == Fate::Open {
            *other = if tells_other { Fate::Reset } else { Fate::Deaf };
        }
        self.wake();
    }

    /// Until then nothing arrives that this side sends.
    pub(super) fn block(&mut self, side: Side, until: Instant) {
        self.blocked[side as usize] = until;
        self.wake();
    }

    fn wake(&mut self) {
        self.lanes.iter_mut().for_each(Lane::wake_all);
    }

    /// What is left until the planned cut, in bytes of this direction.
    fn uncut(&self, from: Side) -> usize {
        let planned = self.plan.filter(|plan| plan.side == from);
        let left = planned.map_or(u64::MAX, |plan| plan.at.saturating_sub(self.lanes[from as usize].arrived));
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    fn read(
        &mut self,
        side: Side,
        out: &mut ReadBuf<'_>,
        context: &Context<'_>,
    ) -> Result<io::Result<()>, Option<Instant>> {
        let from = side.other();
        match self.fates[side as usize] {
            Fate::Open => {}
            Fate::Reset => return Ok(Err(io::ErrorKind::ConnectionReset.into())),
            Fate::Fin => return Ok(Ok(())),
            Fate::Deaf => {
                self.lanes[from as usize].reader = Some(context.waker().clone());
                return Err(None);
            }
        }
        let (most, open) = (self.uncut(from), self.blocked[from as usize]);
        let lane = &mut self.lanes[from as usize];
        match lane.take(out, most, open) {
            Found::Bytes(count) => {
                self.note(format!("{from:?} > {count}"));
                if self.uncut(from) == 0
                    && let Some(plan) = self.plan.take()
                {
                    self.cut(plan.cut);
                }
                Ok(Ok(()))
            }
            Found::End(Ending::Fin) => Ok(Ok(())),
            Found::End(Ending::Reset) => Ok(Err(io::ErrorKind::ConnectionReset.into())),
            Found::NotBefore(at) => {
                lane.reader = Some(context.waker().clone());
                Err(at)
            }
        }
    }

    fn write(&mut self, side: Side, bytes: &[u8], context: &Context<'_>) -> Poll<io::Result<usize>> {
        match self.fates[side as usize] {
            Fate::Reset => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Fate::Fin => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Fate::Open | Fate::Deaf => {}
        }
        let Self { lanes, pace, rng, .. } = self;
        if self.gone[side.other() as usize] && self.fates[side as usize] == Fate::Open {
            // Nobody takes it; the answer is a reset, which overtakes nothing.
            if !lanes[side.other() as usize].is_ended() {
                lanes[side.other() as usize].end(Ending::Reset, pace, rng);
            }
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let lane = &mut lanes[side as usize];
        let room = lane.room(pace);
        if room == 0 {
            lane.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = room.min(bytes.len());
        let sent = Bytes::copy_from_slice(&bytes[..count]);
        match self.replay.as_mut().filter(|_| side == Side::Server) {
            Some(replay) => {
                let (sent, repeated) = replay.pass(&sent, rng);
                lane.send(sent, pace, rng);
                if let Some(repeated) = repeated {
                    self.note(repeated);
                }
            }
            None => lane.send(sent, pace, rng),
        }
        Poll::Ready(Ok(count))
    }

    fn shut_down(&mut self, side: Side) {
        let lane = &mut self.lanes[side as usize];
        if !lane.is_ended() {
            lane.end(Ending::Fin, &self.pace, &mut self.rng);
        }
    }

    fn give_up(&mut self, side: Side) {
        self.gone[side as usize] = true;
        let has_unread = self.lanes[side.other() as usize].has_unread();
        let lane = &mut self.lanes[side as usize];
        if has_unread || !lane.is_ended() {
            // Closing a socket with bytes that were not read resets the connection.
            let ending = if has_unread { Ending::Reset } else { Ending::Fin };
            lane.end(ending, &self.pace, &mut self.rng);
        }
        self.note(format!("{side:?} is gone"));
        self.wake();
    }
}

/// One end of a connection.
pub(super) struct End {
    pipe: SharedPipe,
    side: Side,
    timer: Pin<Box<Sleep>>,
}

impl End {
    fn pipe(&self) -> MutexGuard<'_, Pipe> {
        self.pipe.lock().expect("no panic while it is locked")
    }
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let found = self.pipe().read(self.side, out, context);
            let at = match found {
                Ok(read) => return Poll::Ready(read),
                Err(None) => return Poll::Pending,
                Err(Some(at)) => at,
            };
            self.timer.as_mut().reset(at);
            if self.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.pipe().write(self.side, bytes, context)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe().shut_down(self.side);
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.pipe().give_up(self.side);
    }
}

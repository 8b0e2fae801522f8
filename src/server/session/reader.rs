//! Reading frames off a socket, within the budgets and in time.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::{BufMut as _, BytesMut};
use futures::FutureExt as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, Sleep, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    End,
    admission::{Admission, Admitted, Arriving, InboundBudget},
    liveness::{Due, Liveness},
    outbox::{Held, Outbox},
};
use crate::{
    limits::{FRAME_GRACE, KEEPALIVE},
    protocol::{ErrorBody, ErrorCode, Frame, FrameDecoder, Ping, encode_request},
};

/// The buffer of a connection that has said little.
const SMALL_READ_BYTES: usize = 1024;
/// The buffer of one that speaks: it serves many small requests, which share its memory until they are stored.
const MEDIUM_READ_BYTES: usize = 8 * 1024;
/// The buffer of one that fills medium ones.
const LARGE_READ_BYTES: usize = 64 * 1024;
/// A frame that does not come in one piece takes its part of the budget when this much of it is there.
const ARRIVING_BYTES: usize = 2 * 1024;
/// The length field of a frame, which its length does not count.
const LENGTH_BYTES: usize = 4;
/// Less room than this is not worth a read.
const MIN_SPARE_BYTES: usize = 512;

/// Says whether the peer has closed the connection, also while something that it sent before is not read yet.
pub(in crate::server) type HasLeft<R> = fn(&R) -> bool;

/// The reading half of a connection.
pub(super) struct Reader<R> {
    stream: R,
    has_left: HasLeft<R>,
    buffer: BytesMut,
    decoder: FrameDecoder,
    liveness: Liveness,
    timer: Pin<Box<Sleep>>,
    stopping: CancellationToken,
    budget: Arc<InboundBudget>,
    read_bytes: usize,
    next_ping: u32,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(
        stream: R,
        has_left: HasLeft<R>,
        stopping: CancellationToken,
        budget: Arc<InboundBudget>,
    ) -> Self {
        let liveness = Liveness::new(Instant::now());
        let timer = Box::pin(sleep_until(liveness.next()));
        Self {
            stream,
            has_left,
            buffer: BytesMut::new(),
            decoder: FrameDecoder::default(),
            liveness,
            timer,
            stopping,
            budget,
            read_bytes: SMALL_READ_BYTES,
            next_ping: 1,
        }
    }

    pub(super) fn set_max_frame_bytes(&mut self, bytes: usize) {
        self.decoder.set_max_frame_bytes(bytes);
    }

    pub(super) fn stream_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    /// What has arrived and is not part of a frame yet: for the preface.
    pub(super) fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next frame, read once there is room for it.
    pub(super) async fn next(&mut self, admission: &Admission, outbox: &Outbox) -> Result<(Frame, Admitted), End> {
        let (mut entered, mut arriving) = (None, Arriving::default());
        loop {
            let bytes = self.decoder.frame_bytes(&self.buffer)?;
            let is_whole = bytes.is_some_and(|bytes| self.buffer.len() >= bytes);
            // A length alone takes nothing from the budgets: the frame has to be coming.
            if let Some(bytes) = bytes.filter(|_| is_whole || self.buffer.len() >= ARRIVING_BYTES) {
                let own = match entered.take() {
                    Some(entered) => entered,
                    None => self.wait(outbox, admission.enter(bytes)).await?,
                };
                if is_whole {
                    let admitted = self.wait(outbox, admission.admit(own, bytes)).await?;
                    if let Some(frame) = self.decode()? {
                        return Ok((frame, admitted));
                    }
                    continue;
                }
                entered = Some(own);
                let has = self.buffer.len();
                while arriving.room() < bytes.min(has + ARRIVING_BYTES) {
                    self.arrive(outbox, admission, &mut arriving, bytes).await?;
                }
                if has >= LARGE_READ_BYTES / 2 {
                    self.buffer.reserve(arriving.room() - has);
                }
            }
            self.frame_arrives(bytes);
            let most = if arriving.room() > 0 { arriving.room() - self.buffer.len() } else { self.read_bytes };
            self.fill(outbox, most).await?;
        }
    }

    /// Waits for room for the next step of a frame. Who has a part of the memory does not keep it for ever meanwhile.
    async fn arrive(
        &mut self,
        outbox: &Outbox,
        admission: &Admission,
        arriving: &mut Arriving,
        bytes: usize,
    ) -> Result<(), End> {
        let (has, holds) = (self.buffer.len(), arriving.room() > 0);
        let wait = self.wait(outbox, admission.arrive(arriving, has, bytes));
        if !holds {
            return wait.await;
        }
        tokio::time::timeout(FRAME_GRACE, wait).await.unwrap_or_else(|_| {
            let message = format!("no room for a frame of {bytes} bytes within {} s", FRAME_GRACE.as_secs());
            Err(End::GoAway(ErrorBody::new(ErrorCode::TooSlow, message, Vec::new())))
        })
    }

    /// Waits for room. The peer may be silent for as long as we are deaf, but must know that we are there.
    async fn wait<T>(&mut self, outbox: &Outbox, room: impl Future<Output = T>) -> Result<T, End> {
        let mut room = std::pin::pin!(room);
        // There nearly always is room: then the clock need not be asked.
        if let Some(room) = room.as_mut().now_or_never() {
            return Ok(room);
        }
        loop {
            tokio::select! {
                biased;
                room = &mut room => {
                    self.liveness.listening_again(Instant::now());
                    self.timer.as_mut().reset(self.liveness.next());
                    return Ok(room);
                }
                () = self.stopping.cancelled() => return Err(shutting_down()),
                () = &mut self.timer => {
                    self.ping(outbox);
                    self.timer.as_mut().reset(Instant::now() + KEEPALIVE);
                }
            }
        }
    }

    /// Reads nothing for a while. A peer that has left by then is gone, whatever of it is still to be read: at this pace
    /// that could take minutes.
    pub(super) async fn pause(&mut self, outbox: &Outbox, pause: Duration) -> Result<(), End> {
        self.wait(outbox, sleep(pause)).await?;
        if (self.has_left)(&self.stream) { Err(End::Gone) } else { Ok(()) }
    }

    /// Gives back the memory of what has arrived: nothing more is read here.
    pub(super) fn forget(&mut self) {
        self.buffer = BytesMut::new();
    }

    /// Waits for what cannot be given up half-way. The peer may be silent meanwhile.
    pub(super) async fn deaf<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if let Some(done) = work.as_mut().now_or_never() {
            return done;
        }
        let done = work.await;
        self.liveness.listening_again(Instant::now());
        self.timer.as_mut().reset(self.liveness.next());
        done
    }

    fn ping(&mut self, outbox: &Outbox) {
        outbox.push(encode_request(&Ping::default(), self.next_ping, Vec::new()), Held::default());
        self.next_ping = self.next_ping.wrapping_add(1).max(1);
    }

    /// The frame at the front of the buffer, if all of it is there.
    pub(super) fn decode(&mut self) -> Result<Option<Frame>, End> {
        let frame = self.decoder.decode(&mut self.buffer)?;
        if frame.is_some() {
            self.liveness.frame_complete();
            if self.buffer.is_empty() && self.buffer.capacity() > LARGE_READ_BYTES {
                self.buffer = BytesMut::new();
            }
        }
        Ok(frame)
    }

    /// Reads what has come, waiting for something.
    ///
    /// Makes room for as much as is usual, or for `most` if that is less.
    pub(super) async fn fill(&mut self, outbox: &Outbox, most: usize) -> Result<(), End> {
        loop {
            if self.buffer.capacity() - self.buffer.len() < MIN_SPARE_BYTES.min(most) {
                self.buffer.reserve(self.read_bytes.min(most));
            }
            // What is left of an earlier frame's buffer may be more than this one has room for.
            let room = most.min(self.buffer.capacity() - self.buffer.len());
            let mut spare = (&mut self.buffer).limit(room);
            tokio::select! {
                biased;
                read = self.stream.read_buf(&mut spare) => {
                    let count = read?;
                    if count == 0 {
                        return Err(End::Finished);
                    }
                    let is_bulk = count == room && room >= MEDIUM_READ_BYTES / 2;
                    self.read_bytes = if is_bulk { LARGE_READ_BYTES } else { MEDIUM_READ_BYTES };
                    self.liveness.heard(Instant::now());
                    return Ok(());
                }
                () = self.stopping.cancelled() => return Err(shutting_down()),
                () = &mut self.timer => self.on_time(outbox)?,
            }
        }
    }

    /// Notes how far a frame is, if one has begun: `bytes` long, as far as that is known.
    fn frame_arrives(&mut self, bytes: Option<usize>) {
        let has = self.buffer.len();
        if has == 0 {
            return;
        }
        let now = Instant::now();
        self.liveness.frame_arrives(has, bytes.map_or(has, |bytes| bytes - LENGTH_BYTES), now);
        if has >= ARRIVING_BYTES {
            self.liveness.frame_takes_memory(self.budget.is_wanted(), now);
        }
        if self.liveness.next() < self.timer.deadline() {
            self.timer.as_mut().reset(self.liveness.next());
        }
    }

    fn on_time(&mut self, outbox: &Outbox) -> Result<(), End> {
        let now = Instant::now();
        if self.liveness.has_memory() {
            self.liveness.frame_takes_memory(self.budget.is_wanted(), now);
        }
        match self.liveness.due(now) {
            Due::Close(error) => return Err(End::GoAway(error)),
            Due::Ping => self.ping(outbox),
            Due::Nothing => {}
        }
        self.timer.as_mut().reset(self.liveness.next());
        // Nothing came for a while: ten thousand connections like this must not cost much.
        if self.buffer.is_empty() && self.liveness.is_silent(now) {
            self.buffer = BytesMut::new();
            self.read_bytes = SMALL_READ_BYTES;
        }
        Ok(())
    }
}

fn shutting_down() -> End {
    End::GoAway(ErrorBody::new(ErrorCode::ShuttingDown, "server is shutting down", Vec::new()))
}

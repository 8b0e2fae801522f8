//! The broker behind a real session: requests are frames in a pipe, and answers what comes back. Beside them go frames of
//! strangers, bent ones, each on a connection of its own: they are refused, and change nothing.

use std::{cell::RefCell, collections::HashMap, future::poll_fn, rc::Rc, task::Poll, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    runtime::Runtime,
    time::timeout,
};

use super::{
    drive::Waiting,
    request::{Dequeue, Request},
    translate,
};
use crate::{
    broker::{Broker, Retention, Room},
    limits::MAX_FRAME_BYTES,
    protocol::{
        ErrorBody, ErrorCode, Frame, FrameDecoder, Hello, Opcode, OutFrame, PROTOCOL_VERSION, decode_answer,
        encode_request, preface,
    },
    server::{ServerConfig, Sessions},
    trial::Rng,
};

/// Room in each direction of a connection: frames are larger, so that they arrive in pieces.
const PIPE_BYTES: usize = 3000;
/// On a clock that jumps: everybody has done what there is to do.
const QUIET: Duration = Duration::from_millis(1);
/// What an answer takes beside its first batch, and for each further one.
const FRONT_BYTES: usize = 64;
const LENGTH_BYTES: usize = 5;
/// Of a hundred requests, so many are followed by a bent copy.
const BENT_PERCENT: u64 = 30;

/// See the module.
pub(super) struct Wire {
    runtime: Runtime,
    sessions: Sessions,
    line: Line,
    answers: Rc<RefCell<HashMap<u32, Frame>>>,
    last_id: u32,
    /// Decides what strangers do.
    strange: Rng,
}

/// One connection, as a client has it.
struct Line {
    stream: DuplexStream,
    decoder: FrameDecoder,
    buffer: BytesMut,
    is_closed: bool,
}

impl Wire {
    /// A server on this broker, and a connection to it.
    pub(super) fn new(broker: Broker, strange: Rng) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let sessions = Sessions::new(broker, ServerConfig::default().with_ephemeral());
        let line = runtime.block_on(Line::open(&sessions))?;
        Ok(Self { runtime, sessions, line, answers: Rc::default(), last_id: 1, strange })
    }

    /// Sends a request; it has arrived when this returns.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Waiting, String> {
        self.last_id += 1;
        let id = self.last_id;
        let frame = translate::request(request, id);
        self.runtime.block_on(self.line.send(&frame.to_bytes()));
        self.settle()?;
        if self.strange.percent(BENT_PERCENT) {
            self.bend(&frame)?;
        }
        let (answers, request) = (self.answers.clone(), request.clone());
        Ok(Box::pin(poll_fn(move |_| match answers.borrow_mut().remove(&id) {
            Some(frame) => Poll::Ready(translate::answer(&request, &frame)),
            None => Poll::Pending,
        })))
    }

    /// Lets everybody do what there is to do, and takes what comes.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        for frame in self.runtime.block_on(self.line.listen())? {
            let header = frame.header;
            if !header.is_answer && header.opcode == Opcode::Ping as u16 {
                continue;
            }
            let before = self.answers.borrow_mut().insert(header.correlation_id, frame);
            if before.is_some() || !header.is_answer {
                return Err(format!("a frame that nobody asked for: {header:?}"));
            }
        }
        match self.line.is_closed {
            true => Err("the server closed a connection that did nothing wrong".to_owned()),
            false => Ok(()),
        }
    }

    /// Ends all connections. Whatever they held of the server's memory has to be free then.
    pub(super) fn close(self) -> Result<Rng, String> {
        let Self { runtime, sessions, line, strange, .. } = self;
        drop(line);
        // A session that goes may linger for what its peer still reads.
        runtime.block_on(async { tokio::time::sleep(Duration::from_secs(120)).await });
        match (sessions.connections(), sessions.is_whole()) {
            (0, true) => Ok(strange),
            (connections, is_whole) => Err(format!("{connections} connections are left, budgets whole: {is_whole}")),
        }
    }

    /// Sends a copy of a frame of which some bytes are others, from a stranger.
    fn bend(&mut self, frame: &OutFrame) -> Result<(), String> {
        let mut bytes = frame.to_bytes().to_vec();
        for _ in 0..=self.strange.below(3) {
            let at = if self.strange.percent(60) {
                self.strange.index(bytes.len().min(40))
            } else {
                self.strange.index(bytes.len())
            };
            bytes[at] = u8::try_from(self.strange.below(256)).expect("8 bits");
        }
        if self.strange.percent(20) {
            bytes.truncate(self.strange.index(bytes.len() + 1));
        }
        // It may have become a good one again, which would change what the reference does not know of.
        if translate::may_change_something(&bytes) {
            return Ok(());
        }
        let sessions = self.sessions.clone();
        let heard = self.runtime.block_on(async {
            let mut line = Line::open(&sessions).await?;
            line.send(&bytes).await;
            line.listen().await
        })?;
        heard.iter().try_for_each(|frame| is_allowed(&bytes, frame))
    }
}

/// Whether the server may say this to bytes that nobody should have sent.
fn is_allowed(bytes: &[u8], frame: &Frame) -> Result<(), String> {
    let header = frame.header;
    let is_farewell = !header.is_answer && header.opcode == Opcode::GoAway as u16;
    if !is_farewell && !header.is_error() {
        return match translate::is_harmless(bytes) {
            true => Ok(()),
            false => Err(format!("{header:?} answers bytes that are no request: {bytes:02x?}")),
        };
    }
    let (body, _) = decode_answer::<ErrorBody>(frame).map_err(|error| format!("a refusal that is none: {error}"))?;
    match body.known() {
        None => Err(format!("a refusal with a code that is not documented: {body:?}")),
        Some(ErrorCode::Internal | ErrorCode::StorageFailed | ErrorCode::Indeterminate | ErrorCode::Corrupted) => {
            Err(format!("the server blames itself: {body:?}"))
        }
        Some(_) => Ok(()),
    }
}

impl Line {
    async fn open(sessions: &Sessions) -> Result<Self, String> {
        let (near, far) = duplex(PIPE_BYTES);
        sessions.accept(far, 1);
        let decoder = FrameDecoder::new(MAX_FRAME_BYTES);
        let mut line = Self { stream: near, decoder, buffer: BytesMut::new(), is_closed: false };
        let hello = Hello {
            client_name: "model".to_owned(),
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            credentials: Vec::new(),
            max_frame_bytes: 0,
        };
        line.send(&preface()).await;
        line.send(&encode_request(&hello, 1, Vec::new()).to_bytes()).await;
        match &line.listen().await?[..] {
            [answer] if answer.header.is_answer && !answer.header.is_error() => Ok(line),
            other => Err(format!("Hello was answered with {other:?}")),
        }
    }

    /// Sends as much as the server takes; one that closes the connection takes the rest of it for nothing.
    async fn send(&mut self, bytes: &[u8]) {
        self.is_closed |= self.stream.write_all(bytes).await.is_err();
    }

    /// What comes until everybody is quiet.
    async fn listen(&mut self) -> Result<Vec<Frame>, String> {
        let mut frames = Vec::new();
        loop {
            while let Some(frame) = self.decoder.decode(&mut self.buffer).map_err(|error| error.to_string())? {
                frames.push(frame);
            }
            match timeout(QUIET, self.stream.read_buf(&mut self.buffer)).await {
                Err(_) => return Ok(frames),
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => {
                    self.is_closed = true;
                    return Ok(frames);
                }
            }
        }
    }
}

/// What of a request can be said in a frame: a server has its own room for answers, and counts ages in milliseconds.
/// `None`: it is refused before the broker sees it.
pub(super) fn in_a_frame(request: Request) -> Option<Request> {
    let whole =
        |retention: Retention| Retention { age_us: retention.age_us.map(|age| age.div_ceil(1000) * 1000), ..retention };
    Some(match request {
        Request::CreateTopic { name, retention, if_absent } => {
            Request::CreateTopic { name, retention: whole(retention), if_absent }
        }
        Request::RegisterProducer { topic, name, create } => {
            Request::RegisterProducer { topic, name, create: create.map(whole) }
        }
        Request::Append(appending) if appending.parts.is_empty() => return None,
        Request::Dequeue(dequeue) if dequeue.max_records == 0 => return None,
        Request::Dequeue(dequeue) => Request::Dequeue(Dequeue {
            max_records: dequeue.max_records.min(u64::from(u32::MAX)),
            room: Room { bytes: MAX_FRAME_BYTES - FRONT_BYTES, per_batch: LENGTH_BYTES },
            ..dequeue
        }),
        request => request,
    })
}

//! The server: each step of it is a choice of the fuzzer.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc::UnboundedReceiver,
    time::timeout,
};

use super::{answers, ledger::Ledger};
use crate::{
    limits::MAX_FRAME_BYTES,
    protocol::{
        Append, ErrorBody, Frame, FrameDecoder, Gap, HelloAnswer, Opcode, OutFrame, PREFACE_BYTES, Ping,
        decode_request, encode_answer, encode_error, encode_request,
    },
    record::Batch,
    trial::Rng,
};

/// How long to listen before a step: on this clock it takes no time when nobody else has anything to do.
const LISTENING: Duration = Duration::from_millis(1);
/// Requests that wait to be answered, at most: the first ones are passed over then.
const MAX_WAITING: usize = 64;
/// Random bytes at once.
const MAX_NOISE_BYTES: u64 = 40;
/// How long the server does nothing, at most.
const MAX_SILENCE_MS: u64 = 60_000;

/// See the module.
pub(super) struct Server {
    rng: Rng,
    incoming: UnboundedReceiver<DuplexStream>,
    ledger: Arc<Ledger>,
    /// Offset of the next record that is appended.
    next_offset: u64,
}

/// One connection.
struct Talk {
    stream: DuplexStream,
    decoder: FrameDecoder,
    buffer: BytesMut,
    /// Requests that are not answered.
    waiting: Vec<Frame>,
    /// The last frame that was sent.
    last: Option<OutFrame>,
    /// The last subscription, and what it is pushed next.
    subscribed: Option<(Frame, u64)>,
}

/// The connection is over.
struct Over;

impl Server {
    pub(super) fn new(rng: Rng, incoming: UnboundedReceiver<DuplexStream>, ledger: Arc<Ledger>) -> Self {
        Self { rng, incoming, ledger, next_offset: 0 }
    }

    /// Serves one connection after the other until all choices are made; then there is nobody to connect to.
    pub(super) async fn run(mut self) {
        while !self.rng.is_spent() {
            let Some(stream) = self.incoming.recv().await else { return };
            let decoder = FrameDecoder::new(MAX_FRAME_BYTES);
            let mut talk =
                Talk { stream, decoder, buffer: BytesMut::new(), waiting: Vec::new(), last: None, subscribed: None };
            if self.greet(&mut talk).await.is_ok() {
                while !self.rng.is_spent() && self.step(&mut talk).await.is_ok() {}
            }
        }
    }

    async fn greet(&mut self, talk: &mut Talk) -> Result<(), Over> {
        while talk.buffer.len() < PREFACE_BYTES {
            let read = talk.stream.read_buf(&mut talk.buffer).await.map_err(|_| Over)?;
            if read == 0 {
                return Err(Over);
            }
        }
        drop(talk.buffer.split_to(PREFACE_BYTES));
        talk.listen(&self.ledger).await?;
        let hello = talk.waiting.pop().ok_or(Over)?;
        match self.rng.below(16) {
            0 => Err(Over),
            1 => self.refuse(talk, &hello).await.and(Err(Over)),
            2 => self.noise(talk).await,
            3 => talk.send(self.hello(&hello, true)).await,
            _ => talk.send(self.hello(&hello, false)).await,
        }
    }

    /// The answer to Hello, perhaps with limits that are hardly any.
    fn hello(&mut self, hello: &Frame, is_narrow: bool) -> OutFrame {
        let mut answer = answers::hello();
        if is_narrow {
            let mut some = || u32::try_from(self.rng.below(1 << 16)).expect("16 bits");
            answer = HelloAnswer {
                max_frame_bytes: some(),
                max_batch_bytes: some(),
                max_record_bytes: some(),
                max_in_flight_requests: some() % 4,
                max_in_flight_bytes: some(),
                keepalive_ms: some(),
                ..answer
            };
        }
        encode_answer(Opcode::Hello, hello.header.correlation_id, &answer, Vec::new())
    }

    async fn step(&mut self, talk: &mut Talk) -> Result<(), Over> {
        talk.listen(&self.ledger).await?;
        match self.rng.below(20) {
            0..8 => self.answer(talk).await,
            8 | 9 => match talk.take(&mut self.rng) {
                Some(frame) => self.refuse(talk, &frame).await,
                None => Ok(()),
            },
            10 => talk.again().await,
            11 => self.bend(talk).await,
            12 => self.noise(talk).await,
            13..16 => self.push(talk).await,
            16 => talk.send(encode_request(&Ping {}, 1, Vec::new())).await,
            17 => talk.send(encode_request(&self.error(), 0, Vec::new())).await,
            18 => Err(Over),
            _ => {
                tokio::time::sleep(Duration::from_millis(self.rng.below(MAX_SILENCE_MS))).await;
                Ok(())
            }
        }
    }

    /// Answers a request as it should be.
    async fn answer(&mut self, talk: &mut Talk) -> Result<(), Over> {
        let Some(frame) = talk.take(&mut self.rng) else { return Ok(()) };
        let base = self.next_offset;
        let Some(answer) = answers::answer(&frame, base, 1 + self.rng.below(3)) else { return Ok(()) };
        if let Some(values) = appended_values(&frame) {
            self.ledger.stored(&values, base);
            self.next_offset += values.len() as u64;
        }
        if frame.header.opcode == Opcode::Subscribe as u16 {
            talk.subscribed = Some((frame, 0));
        }
        talk.send(answer).await
    }

    fn error(&mut self) -> ErrorBody {
        let code = u16::try_from(self.rng.below(256)).expect("8 bits");
        let facts = u8::try_from(self.rng.below(8)).expect("3 bits");
        ErrorBody { code, facts, message: "hostile".to_owned(), details: vec![self.rng.below(256)] }
    }

    /// Refuses a request for a reason that may make no sense.
    async fn refuse(&mut self, talk: &mut Talk, frame: &Frame) -> Result<(), Over> {
        let error = self.error();
        if !error.is(ErrorBody::MAY_HAVE_APPLIED)
            && let Some(values) = appended_values(frame)
        {
            self.ledger.refused(&values);
        }
        talk.send(encode_error(frame.header, &error)).await
    }

    /// Sends an answer of which some bytes are others.
    async fn bend(&mut self, talk: &mut Talk) -> Result<(), Over> {
        let Some(frame) = talk.take(&mut self.rng) else { return Ok(()) };
        let Some(answer) = answers::answer(&frame, self.next_offset, 2) else { return Ok(()) };
        self.ledger.garble();
        let mut bytes = answer.to_bytes().to_vec();
        for _ in 0..=self.rng.below(3) {
            let at = self.rng.index(bytes.len());
            bytes[at] = u8::try_from(self.rng.below(256)).expect("8 bits");
        }
        talk.send_bytes(&bytes).await
    }

    async fn noise(&mut self, talk: &mut Talk) -> Result<(), Over> {
        self.ledger.garble();
        let count = self.rng.below(MAX_NOISE_BYTES);
        let bytes: Vec<u8> = (0..count).map(|_| u8::try_from(self.rng.below(256)).expect("8 bits")).collect();
        talk.send_bytes(&bytes).await
    }

    /// Pushes records to the last subscription, mostly those that come next.
    async fn push(&mut self, talk: &mut Talk) -> Result<(), Over> {
        let Some((frame, next)) = &mut talk.subscribed else { return Ok(()) };
        let mut from = if self.rng.percent(90) { *next } else { self.rng.below(20) };
        let count = 1 + self.rng.below(3);
        let gap = self.rng.percent(20).then(|| {
            // One in five is a lie: it begins elsewhere, or is none.
            let lie = if self.rng.percent(20) { 1 + self.rng.below(3) } else { 0 };
            let gap = Gap { from: from + lie, to: from + 1 + self.rng.below(3) };
            from = gap.to;
            gap
        });
        *next = from + count;
        let deliver = answers::deliver(frame.header, gap, from, count);
        talk.send(deliver).await
    }
}

impl Talk {
    /// Takes what the client has sent so far.
    async fn listen(&mut self, ledger: &Ledger) -> Result<(), Over> {
        loop {
            while let Some(frame) = self.decoder.decode(&mut self.buffer).expect("clients send good frames") {
                if let Some(values) = appended_values(&frame) {
                    ledger.arrived(&values);
                }
                if !frame.header.is_answer && frame.header.opcode != Opcode::Credit as u16 {
                    self.waiting.push(frame);
                }
            }
            let excess = self.waiting.len().saturating_sub(MAX_WAITING);
            self.waiting.drain(..excess);
            match timeout(LISTENING, self.stream.read_buf(&mut self.buffer)).await {
                Err(_) => return Ok(()),
                Ok(Ok(0) | Err(_)) => return Err(Over),
                Ok(Ok(_)) => {}
            }
        }
    }

    /// A request to be answered: mostly the first one.
    fn take(&mut self, rng: &mut Rng) -> Option<Frame> {
        if self.waiting.is_empty() {
            return None;
        }
        let at = if rng.percent(80) { 0 } else { rng.index(self.waiting.len()) };
        Some(self.waiting.remove(at))
    }

    /// Sends the last frame once more.
    async fn again(&mut self) -> Result<(), Over> {
        match self.last.take() {
            Some(frame) => self.send(frame).await,
            None => Ok(()),
        }
    }

    async fn send(&mut self, frame: OutFrame) -> Result<(), Over> {
        let bytes = frame.to_bytes();
        self.last = Some(frame);
        self.send_bytes(&bytes).await
    }

    async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Over> {
        self.stream.write_all(bytes).await.map_err(|_| Over)
    }
}

/// The values of the records in an append; `None` for another request.
fn appended_values(frame: &Frame) -> Option<Vec<Vec<u8>>> {
    if frame.header.opcode != Opcode::Append as u16 {
        return None;
    }
    let (_, batches) = decode_request::<Append>(frame).expect("clients send good bodies");
    let batches = batches.into_iter().map(|bytes| Batch::check(bytes).expect("producers send good batches"));
    let records = batches.flat_map(|batch| batch.records().expect("checked").collect::<Vec<_>>());
    Some(records.map(|record| record.expect("checked").1.value.to_vec()).collect())
}

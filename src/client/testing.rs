//! A scripted server at the other end of an in-memory pipe: tests read what the client sends, and say what it hears.
//!
//! Tests run on a paused clock, which jumps when nothing else can happen: a wait that would never end fails at once.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
    time::timeout,
};

use super::{BoxTransport, Client, ClientBuilder};
use crate::{
    limits,
    protocol::{
        Answer, ErrorBody, ErrorCode, Frame, FrameDecoder, FrameHeader, Hello, HelloAnswer, Opcode, OutFrame,
        PREFACE_BYTES, Request, check_preface, decode_request, encode_answer, encode_error, encode_request,
    },
    record::{BatchBuilder, Compression, Epoch, Offset, ProducerId, Record, Sequence, SequenceRange, Stamp, Timestamp},
};

/// Longer than anything that is to happen, shorter than the keepalive.
const DEADLINE: Duration = Duration::from_secs(10);
/// Room in each direction of the pipe.
const PIPE_BYTES: usize = 1 << 20;

pub(super) const SERVER_ID: [u8; 16] = [7; 16];

pub(super) fn hello() -> Hello {
    super::settings::Settings::new("scripted".into()).hello()
}

/// A number as the protocol has it.
pub(super) fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("tests use small numbers")
}

pub(super) fn granted_answer() -> HelloAnswer {
    HelloAnswer {
        server_id: SERVER_ID,
        server_version: "scripted".to_owned(),
        version: 1,
        features: 0,
        max_frame_bytes: narrow(limits::MAX_FRAME_BYTES),
        max_batch_bytes: narrow(limits::MAX_BATCH_BYTES),
        max_record_bytes: narrow(limits::MAX_RECORD_BYTES),
        max_in_flight_requests: narrow(limits::MAX_IN_FLIGHT_REQUESTS),
        max_in_flight_bytes: narrow(limits::MAX_IN_FLIGHT_BYTES),
        keepalive_ms: 20_000,
    }
}

/// A batch as a server stores it: records with these values, from this offset on.
pub(super) fn stored_batch(base: u64, values: &[&'static str]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.push(&Record::new(*value), Timestamp(1)).expect("small");
    }
    let range = SequenceRange::counting(Sequence(0), values.len() as u64);
    let mut bytes = builder.finish(ProducerId::default(), Epoch(1), range, Compression::None).to_vec();
    Stamp { base_offset: Offset(base), append_time: Timestamp(77) }.write(&mut bytes);
    Bytes::from(bytes)
}

/// Where a client under test connects to.
pub(super) struct Server {
    incoming: mpsc::UnboundedReceiver<DuplexStream>,
}

/// A server, and a client that will connect to it.
pub(super) fn server() -> (Server, ClientBuilder) {
    let (sender, incoming) = mpsc::unbounded_channel();
    let builder = Client::builder("scripted").seed(1).connector(move || {
        let (near, far) = duplex(PIPE_BYTES);
        let sent = sender.send(far);
        Box::pin(async move {
            sent.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok(Box::new(near) as BoxTransport)
        })
    });
    (Server { incoming }, builder)
}

/// A server, a connected client, and the server's end of the connection.
pub(super) async fn connected() -> (Server, Peer, Client) {
    let (mut server, builder) = server();
    let (client, peer) = tokio::join!(builder.connect(), server.accept());
    (server, peer, client.expect("the server accepts"))
}

impl Server {
    /// The next connection, before anything was said.
    pub(super) async fn connection(&mut self) -> Peer {
        let stream = timeout(DEADLINE, self.incoming.recv()).await.expect("a connection in time");
        let decoder = FrameDecoder::new(limits::MAX_FRAME_BYTES);
        Peer { stream: stream.expect("the client lives"), buffer: BytesMut::new(), decoder }
    }

    /// The next connection, greeted.
    pub(super) async fn accept(&mut self) -> Peer {
        self.accept_with(&granted_answer()).await
    }

    /// The next connection, greeted like this.
    pub(super) async fn accept_with(&mut self, answer: &HelloAnswer) -> Peer {
        let mut peer = self.connection().await;
        let hello = peer.hello().await;
        peer.answer(&hello, answer).await;
        peer
    }

    /// Whether a connection waits to be accepted.
    pub(super) fn has_connection(&self) -> bool {
        !self.incoming.is_empty()
    }
}

/// The server's end of one connection. Dropping it closes the connection.
pub(super) struct Peer {
    stream: DuplexStream,
    buffer: BytesMut,
    decoder: FrameDecoder,
}

/// A request as it arrived.
#[derive(Debug)]
pub(super) struct Asked<R> {
    pub(super) header: FrameHeader,
    pub(super) request: R,
    pub(super) batches: Vec<Bytes>,
}

impl Peer {
    pub(super) async fn hello(&mut self) -> Asked<Hello> {
        while self.buffer.len() < PREFACE_BYTES {
            self.read().await;
        }
        let preface = self.buffer.split_to(PREFACE_BYTES);
        assert_eq!(check_preface(&preface), Ok(true));
        self.expect().await
    }

    async fn read(&mut self) -> usize {
        let read = timeout(DEADLINE, self.stream.read_buf(&mut self.buffer)).await;
        read.expect("bytes in time").expect("the pipe works")
    }

    /// The next frame; `None` when the client has closed the connection.
    pub(super) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buffer).expect("clients send good frames") {
                return Some(frame);
            }
            if self.read().await == 0 {
                return None;
            }
        }
    }

    /// The next request, which is an `R`.
    pub(super) async fn expect<R: Request>(&mut self) -> Asked<R> {
        let frame = self.frame().await.expect("the client stays");
        let opcode = Opcode::from_number(frame.header.opcode);
        assert_eq!(opcode, Some(R::OPCODE), "{:?}", frame.header);
        let (request, batches) = decode_request::<R>(&frame).expect("clients send good bodies");
        Asked { header: frame.header, request, batches }
    }

    pub(super) async fn answer<R: Request>(&mut self, asked: &Asked<R>, answer: &R::Answer) {
        self.answer_with(asked, answer, Vec::new()).await;
    }

    pub(super) async fn answer_with<R: Request>(&mut self, asked: &Asked<R>, answer: &R::Answer, batches: Vec<Bytes>) {
        self.send(encode_answer(R::OPCODE, asked.header.correlation_id, answer, batches)).await;
    }

    pub(super) async fn refuse<R>(&mut self, asked: &Asked<R>, code: ErrorCode) {
        self.send(encode_error(asked.header, &ErrorBody::new(code, "scripted", Vec::new()))).await;
    }

    /// A push to a subscription.
    pub(super) async fn push<R>(&mut self, asked: &Asked<R>, deliver: &impl Answer, batches: Vec<Bytes>) {
        self.send(encode_answer(Opcode::Deliver, asked.header.correlation_id, deliver, batches)).await;
    }

    /// A request of the server's own.
    pub(super) async fn ask<R: Request>(&mut self, id: u32, request: &R) {
        self.send(encode_request(request, id, Vec::new())).await;
    }

    pub(super) async fn go_away(&mut self, code: ErrorCode) {
        self.ask(0, &ErrorBody::new(code, "scripted", Vec::new())).await;
    }

    pub(super) async fn send(&mut self, frame: OutFrame) {
        self.send_bytes(&frame.to_bytes()).await;
    }

    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) {
        // A client that is gone does not hear; tests see that elsewhere.
        timeout(DEADLINE, self.stream.write_all(bytes)).await.expect("room in time").ok();
    }

    /// Everything that the client can do by itself is done, and it sent nothing.
    pub(super) async fn expect_silence(&mut self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(self.buffer.is_empty(), "frames left from before");
        let read = timeout(Duration::ZERO, self.stream.read_buf(&mut self.buffer)).await;
        assert!(read.is_err(), "the client sent {read:?}: {:02x?}", self.buffer);
    }

    /// The client closes the connection, whatever it sends before.
    pub(super) async fn expect_close(&mut self) {
        while self.frame().await.is_some() {}
    }
}

/// Waits for something, no longer than it takes in a world that moves.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("it happens in time")
}

//! A connection that speaks bytes, and says how the server ended it.

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use connectify::{
    limits::MAX_FRAME_BYTES,
    protocol::{
        ErrorBody, ErrorCode, Frame, FrameDecoder, Hello, Opcode, PROTOCOL_VERSION, Request, decode_answer,
        encode_request, preface,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::Stage;

/// One connection. Its halves can be used at once.
pub(crate) struct Peer {
    pub(crate) sending: OwnedWriteHalf,
    pub(crate) receiving: Receiving,
    last_id: u32,
}

/// What comes from the server.
pub(crate) struct Receiving {
    stream: OwnedReadHalf,
    buffer: BytesMut,
    decoder: FrameDecoder,
}

/// What a client says first, with these credentials.
pub(crate) fn hello(credentials: &[u8]) -> Bytes {
    let hello = Hello {
        client_name: "abuser".to_owned(),
        min_version: PROTOCOL_VERSION,
        max_version: PROTOCOL_VERSION,
        credentials: credentials.to_vec(),
        max_frame_bytes: 0,
    };
    encode_request(&hello, 1, Vec::new()).to_bytes()
}

impl Peer {
    /// A connection on which nothing was said. A server that has no room for it right now is asked again.
    pub(crate) async fn connect(stage: &Stage) -> Self {
        let _turn = stage.turn().await;
        let stream = loop {
            match TcpStream::connect(stage.address).await {
                Ok(stream) => break stream,
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse),
                    "cannot connect: {error}"
                ),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        stream.set_nodelay(true).expect("a TCP option");
        let (stream, sending) = stream.into_split();
        let receiving = Receiving { stream, buffer: BytesMut::new(), decoder: FrameDecoder::new(MAX_FRAME_BYTES) };
        Self { sending, receiving, last_id: 1 }
    }

    /// A connection that takes requests.
    pub(crate) async fn open(stage: &Stage) -> Self {
        let mut peer = Self::connect(stage).await;
        peer.greet().await.expect("the server takes connections");
        peer
    }

    /// Says Hello, and waits for the answer.
    pub(crate) async fn greet(&mut self) -> io::Result<()> {
        self.send(&[&preface()[..], &hello(b"")].concat()).await?;
        let answer = self.receiving.frame().await?.ok_or(ErrorKind::ConnectionReset)?;
        assert!(answer.header.is_answer && !answer.header.is_error(), "{answer:?}");
        Ok(())
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sending.write_all(bytes).await
    }

    pub(crate) fn next_id(&mut self) -> u32 {
        self.last_id += 1;
        self.last_id
    }

    /// Sends a request without waiting for its answer; gives its id.
    pub(crate) async fn submit<R: Request>(&mut self, request: &R, batches: Vec<Bytes>) -> io::Result<u32> {
        let id = self.next_id();
        self.send(&encode_request(request, id, batches).to_bytes()).await?;
        Ok(id)
    }

    /// Sends a request that is granted; nothing else is on its way.
    pub(crate) async fn ask<R: Request>(&mut self, request: &R) -> io::Result<R::Answer> {
        let id = self.submit(request, Vec::new()).await?;
        loop {
            let frame = self.receiving.frame().await?.ok_or(ErrorKind::ConnectionReset)?;
            if frame.header.correlation_id == id && frame.header.is_answer {
                assert!(!frame.header.is_error(), "{:?}", error_of(&frame));
                return Ok(decode_answer::<R::Answer>(&frame).expect("the answer follows its table").0);
            }
        }
    }

    /// Reads to the end of the connection; says how it ended.
    pub(crate) async fn end(&mut self) -> String {
        self.receiving.end().await
    }

    /// Leaves without a word: what was sent to it and not read is lost, and the server sees a reset.
    pub(crate) fn reset(self) {
        self.sending.as_ref().set_zero_linger().expect("a TCP option");
    }
}

impl Receiving {
    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buffer).expect("the server's frames are well formed") {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Takes one byte of what has come; `false` at the end of the connection.
    pub(crate) async fn byte(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]).await, Ok(1))
    }

    /// Reads to the end of the connection; says how it ended.
    pub(crate) async fn end(&mut self) -> String {
        let mut last = "closed".to_owned();
        loop {
            match self.frame().await {
                Ok(Some(frame)) if is_goodbye(&frame) => last = format!("GoAway {}", name_of(&error_of(&frame))),
                Ok(Some(_)) => {}
                Ok(None) => return last,
                Err(_) if last != "closed" => return last,
                Err(_) => return "reset".to_owned(),
            }
        }
    }
}

pub(crate) fn is_goodbye(frame: &Frame) -> bool {
    frame.header.opcode == Opcode::GoAway as u16 && !frame.header.is_answer
}

/// The error in a frame.
pub(crate) fn error_of(frame: &Frame) -> ErrorBody {
    decode_answer::<ErrorBody>(frame).expect("an error follows its table").0
}

/// The name of its code.
pub(crate) fn name_of(error: &ErrorBody) -> String {
    name_of_code(error.code)
}

/// The name of a code, as protocol.md has it.
pub(crate) fn name_of_code(code: u16) -> String {
    ErrorCode::from_number(code).map_or_else(|| format!("code {code}"), |code| code.name().to_owned())
}

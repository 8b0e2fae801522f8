//! A connection that speaks bytes: it sends what no client would, and says what came back.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    net::SocketAddr,
};

use bytes::{Bytes, BytesMut};
use connectify::{
    limits::{MAX_FRAME_BYTES, MAX_MESSAGE_BYTES},
    protocol::{
        ErrorBody, ErrorCode, Frame, FrameDecoder, Hello, HelloAnswer, Opcode, OutFrame, PROTOCOL_VERSION, Ping,
        Request, decode_answer, encode_request, preface,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::within;

/// One connection, frame by frame.
pub(crate) struct Raw {
    stream: TcpStream,
    buffer: BytesMut,
    decoder: FrameDecoder,
    /// Arrived while something else was waited for.
    passed_over: VecDeque<Frame>,
    last_id: u32,
}

/// What a well-behaved client says first.
pub(crate) fn hello() -> Hello {
    Hello {
        client_name: "test".to_owned(),
        min_version: PROTOCOL_VERSION,
        max_version: PROTOCOL_VERSION,
        credentials: Vec::new(),
        max_frame_bytes: 0,
    }
}

impl Raw {
    /// A connection on which nothing has been said.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(address)).await.expect("the server listens");
        stream.set_nodelay(true).expect("a TCP option");
        let (buffer, decoder) = (BytesMut::new(), FrameDecoder::new(MAX_FRAME_BYTES));
        Self { stream, buffer, decoder, passed_over: VecDeque::new(), last_id: 0 }
    }

    /// A connection that is open for requests.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, hello()).await.0
    }

    /// A connection that is open for requests, by this Hello.
    pub(crate) async fn open_with(address: SocketAddr, hello: Hello) -> (Self, HelloAnswer) {
        let mut raw = Self::connect(address).await;
        raw.send(&preface()).await;
        let answer = raw.ask(&hello).await;
        (raw, answer)
    }

    // ---- sending ----

    /// Sends bytes. A server that has closed the connection meanwhile is not an error: it is seen by reading.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        match within("sending", self.stream.write_all(bytes)).await {
            Ok(()) => {}
            Err(error) if is_end(&error) => {}
            Err(error) => panic!("cannot send: {error}"),
        }
    }

    pub(crate) async fn send_frame(&mut self, frame: &OutFrame) {
        self.send(&frame.to_bytes()).await;
    }

    /// A correlation id that was not used before.
    pub(crate) fn next_id(&mut self) -> u32 {
        self.last_id += 1;
        self.last_id
    }

    /// Sends a request without waiting for its answer.
    pub(crate) async fn submit<R: Request>(&mut self, request: &R, batches: Vec<Bytes>) -> u32 {
        let id = self.next_id();
        self.send_frame(&encode_request(request, id, batches)).await;
        id
    }

    /// Says that nothing more will be sent.
    pub(crate) async fn finish_sending(&mut self) {
        within("shutting down", self.stream.shutdown()).await.ok();
    }

    /// Ends the connection without a word and without reading: a reset.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().expect("a TCP option");
    }

    /// Both halves of the socket, for who reads and writes at once.
    pub(crate) fn into_stream(self) -> TcpStream {
        assert!(self.buffer.is_empty() && self.passed_over.is_empty(), "nothing has arrived that would be lost");
        self.stream
    }

    // ---- receiving ----

    /// The next frame that arrives; `None` when the connection has ended.
    async fn read(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buffer).expect("the server's frames are well formed") {
                return Some(frame);
            }
            match within("a frame, or the end", self.stream.read_buf(&mut self.buffer)).await {
                Ok(0) => {
                    assert!(self.buffer.is_empty(), "the connection ends inside a frame");
                    return None;
                }
                Ok(_) => {}
                Err(error) if is_end(&error) => return None,
                Err(error) => panic!("cannot read: {error}"),
            }
        }
    }

    /// The next frame for which `is_wanted` holds. Others wait for their turn.
    #[track_caller]
    pub(crate) fn frame_where(&mut self, is_wanted: impl Fn(&Frame) -> bool) -> impl Future<Output = Frame> {
        let caller = std::panic::Location::caller();
        async move {
            if let Some(at) = self.passed_over.iter().position(&is_wanted) {
                return self.passed_over.remove(at).expect("it was found there");
            }
            loop {
                let frame = self.read().await;
                let frame = frame.unwrap_or_else(|| panic!("the connection ended, asked for a frame at {caller}"));
                if is_wanted(&frame) {
                    return frame;
                }
                assert!(!is_goodbye(&frame), "GoAway at {caller}: {:?}", error_of(&frame));
                self.passed_over.push_back(frame);
            }
        }
    }

    /// The answer under a correlation id.
    #[track_caller]
    pub(crate) fn answer_to(&mut self, id: u32) -> impl Future<Output = Frame> {
        self.frame_where(move |frame| is_answer_to(frame, id))
    }

    /// What a request gets.
    #[track_caller]
    pub(crate) fn answered<R: Request>(
        &mut self,
        id: u32,
    ) -> impl Future<Output = Result<(R::Answer, Vec<Bytes>), ErrorBody>> {
        let answer = self.answer_to(id);
        async move {
            let frame = answer.await;
            assert_eq!((frame.header.opcode, frame.header.version), (R::OPCODE as u16, 1), "{frame:?}");
            match frame.header.is_error() {
                true => Err(error_of(&frame)),
                false => Ok(decode_answer::<R::Answer>(&frame).expect("the answer follows its table")),
            }
        }
    }

    /// Sends a request and waits for what it gets.
    #[track_caller]
    pub(crate) fn try_ask<R: Request>(
        &mut self,
        request: &R,
        batches: Vec<Bytes>,
    ) -> impl Future<Output = Result<(R::Answer, Vec<Bytes>), ErrorBody>> {
        let caller = std::panic::Location::caller();
        async move {
            let id = self.submit(request, batches).await;
            let frame = self.frame_where(move |frame| is_answer_to(frame, id) || is_goodbye(frame)).await;
            assert!(!is_goodbye(&frame), "GoAway at {caller}: {:?}", error_of(&frame));
            self.passed_over.push_front(frame);
            self.answered::<R>(id).await
        }
    }

    /// Sends a request that is granted.
    #[track_caller]
    pub(crate) fn ask<R: Request>(&mut self, request: &R) -> impl Future<Output = R::Answer> {
        let answered = self.ask_with(request, Vec::new());
        async move { answered.await.0 }
    }

    /// Sends a request with batches, or one that is answered by batches.
    #[track_caller]
    pub(crate) fn ask_with<R: Request>(
        &mut self,
        request: &R,
        batches: Vec<Bytes>,
    ) -> impl Future<Output = (R::Answer, Vec<Bytes>)> {
        let caller = std::panic::Location::caller();
        let answered = self.try_ask(request, batches);
        async move { answered.await.unwrap_or_else(|error| panic!("refused at {caller}: {error:?}")) }
    }
    /// Sends a request that must be refused with this code, on a connection that must go on.
    #[track_caller]
    pub(crate) fn refused<R: Request>(
        &mut self,
        code: ErrorCode,
        request: &R,
        batches: Vec<Bytes>,
    ) -> impl Future<Output = ErrorBody> {
        let caller = std::panic::Location::caller();
        async move {
            let id = self.submit(request, batches).await;
            let error = self.refused_under(id, code).await;
            assert!(!closes(code), "{} ends a connection, asked for at {caller}", code.name());
            error
        }
    }

    /// Checks that what was sent under an id is refused as the table of errors says for this code: the connection ends
    /// when it says so, and goes on otherwise.
    #[track_caller]
    pub(crate) fn refused_under(&mut self, id: u32, code: ErrorCode) -> impl Future<Output = ErrorBody> {
        let caller = std::panic::Location::caller();
        async move {
            if closes(code) {
                return self.goodbye(code).await;
            }
            // Not is_answer_to: a Deliver that a client sends is refused under the opcode of Deliver.
            let is_answer = move |frame: &Frame| frame.header.is_answer && frame.header.correlation_id == id;
            let frame = self.frame_where(move |frame| is_answer(frame) || is_goodbye(frame)).await;
            let error = error_of(&frame);
            assert!(!is_goodbye(&frame), "GoAway at {caller}: {error:?}");
            assert_eq!(error.known(), Some(code), "at {caller}: {error:?}");
            assert_eq!(error.facts, code.facts(), "at {caller}: {error:?}");
            check_message(&error);
            self.is_open().await;
            error
        }
    }

    /// Whether something that was pushed to a subscription has arrived and was not looked at.
    pub(crate) fn has_pushed(&self, subscribed: u32) -> bool {
        self.passed_over.iter().any(|frame| is_pushed_to(frame, subscribed))
    }

    /// Looks no more at what was pushed to a subscription.
    pub(crate) fn forget_pushed(&mut self, subscribed: u32) {
        self.passed_over.retain(|frame| !is_pushed_to(frame, subscribed));
    }

    /// Checks that the connection takes requests.
    #[track_caller]
    pub(crate) fn is_open(&mut self) -> impl Future<Output = ()> {
        let answered = self.ask(&Ping {});
        async move {
            answered.await;
        }
    }

    /// Checks that the server says GoAway with this code, and closes.
    #[track_caller]
    pub(crate) fn goodbye(&mut self, code: ErrorCode) -> impl Future<Output = ErrorBody> {
        let caller = std::panic::Location::caller();
        async move {
            let frame = self.frame_where(is_goodbye).await;
            let error = error_of(&frame);
            assert_eq!((frame.header.correlation_id, frame.header.flags, frame.header.version), (0, 0, 1));
            assert_eq!(error.known(), Some(code), "at {caller}: {error:?}");
            assert_eq!(error.facts, code.facts() | ErrorBody::CLOSES_CONNECTION, "at {caller}: {error:?}");
            check_message(&error);
            self.end().await;
            error
        }
    }

    /// Checks that the server closes the connection without another word.
    #[track_caller]
    pub(crate) fn end(&mut self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let frame = self.read().await;
            assert!(frame.is_none(), "the connection should have ended at {caller}: {frame:?}");
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}

fn is_goodbye(frame: &Frame) -> bool {
    frame.header.opcode == Opcode::GoAway as u16 && !frame.header.is_answer
}

/// Deliveries have the form of answers, and are none.
fn is_answer_to(frame: &Frame, id: u32) -> bool {
    let header = &frame.header;
    header.is_answer && header.correlation_id == id && header.opcode != Opcode::Deliver as u16
}

/// Whether a frame was pushed to the subscription that was asked for under this id.
pub(crate) fn is_pushed_to(frame: &Frame, subscribed: u32) -> bool {
    let header = &frame.header;
    header.is_answer && header.opcode == Opcode::Deliver as u16 && header.correlation_id == subscribed
}

/// Whether the table of errors says that the connection ends.
pub(crate) fn closes(code: ErrorCode) -> bool {
    code.facts() & ErrorBody::CLOSES_CONNECTION != 0
}

/// The error in a frame.
pub(crate) fn error_of(frame: &Frame) -> ErrorBody {
    decode_answer::<ErrorBody>(frame).expect("an error follows its table").0
}

fn check_message(error: &ErrorBody) {
    let bytes = error.message.len();
    assert!((1..=MAX_MESSAGE_BYTES).contains(&bytes), "a message of {bytes} bytes");
    assert!(!error.message.ends_with('.') && !error.message.contains('\n'), "{:?}", error.message);
}

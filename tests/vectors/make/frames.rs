//! Frames as they arrive at a server, before and after Hello is answered.

use connectify::protocol::{ErrorCode, ErrorCode::*};
use serde_json::json;

use super::{CONSUMER, Maker};
use crate::{
    document::unhex,
    meaning::write_body,
    vector::{Kind, Place, State, Vector, hex},
};

/// A frame as section 3 draws it.
#[derive(Clone)]
struct Draft {
    opcode: u16,
    answer: bool,
    version: u8,
    flags: u8,
    correlation_id: u32,
    body: Vec<u8>,
}

fn request(opcode: u16, body: &[u8]) -> Draft {
    Draft { opcode, answer: false, version: 1, flags: 0, correlation_id: 7, body: body.to_vec() }
}

fn answer(opcode: u16, body: &[u8]) -> Draft {
    Draft { answer: true, ..request(opcode, body) }
}

impl Draft {
    fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(8 + self.body.len()).expect("a short frame");
        let opcode = self.opcode | if self.answer { 0x8000 } else { 0 };
        let header = [&length.to_le_bytes()[..], &opcode.to_le_bytes(), &[self.version, self.flags]].concat();
        [&header[..], &self.correlation_id.to_le_bytes(), &self.body].concat()
    }

    /// A frame that can be read.
    fn read(&self, state: State, name: &str) -> Vector {
        vector(state, name, &self.bytes()).means(json!({
            "opcode": self.opcode,
            "answer": self.answer,
            "version": self.version,
            "flags": self.flags,
            "correlation_id": self.correlation_id,
            "body": hex(&self.body),
        }))
    }

    /// A frame that can be read, and whose header is refused.
    fn refused(&self, state: State, name: &str, code: ErrorCode, place: Place) -> Vector {
        self.read(state, name).gets(code, place, &[])
    }
}

fn vector(state: State, name: &str, bytes: &[u8]) -> Vector {
    let when = if state == State::Hello { "before-hello" } else { "open" };
    Vector::new(format!("frame-{when}-{name}"), Kind::Frame, bytes).in_state(state)
}

pub(super) fn vectors(maker: &Maker) -> Vec<Vector> {
    [read(maker), refused_before_hello(maker), refused_open(maker), unreadable(), incomplete()].concat()
}

fn hello(maker: &Maker) -> Vec<u8> {
    let value = json!({
        "client_name": "vectors", "min_version": 1, "max_version": 1, "credentials": "", "max_frame_bytes": 0,
    });
    write_body(&maker.layouts, "Hello", &value).bytes()
}

fn read(maker: &Maker) -> Vec<Vector> {
    let (ping, pong) = (request(2, b""), answer(2, b""));
    let consumer = unhex(CONSUMER);
    let open = |draft: &Draft, name: &str| draft.read(State::Open, name);
    vec![
        request(1, &hello(maker)).read(State::Hello, "hello"),
        Draft { correlation_id: u32::MAX, ..request(1, &hello(maker)) }.read(State::Hello, "hello-with-the-last-id"),
        open(&ping, "ping"),
        open(&Draft { correlation_id: 1, ..ping.clone() }, "ping-with-the-first-id"),
        open(&Draft { correlation_id: u32::MAX, ..ping }, "ping-with-the-last-id"),
        open(&pong, "answer-to-a-ping-that-was-not-sent"),
        open(&Draft { correlation_id: 0, ..pong }, "answer-to-a-ping-that-was-not-sent-with-id-0"),
        open(&request(4, b""), "server-info"),
        open(&request(0x12, &[0, 5]), "list-topics"),
        open(&request(0x34, &[1, 0xfa]), "credit-for-no-subscription"),
        open(&Draft { version: 2, ..request(0x34, &[1, 0xfa]) }, "credit-of-version-2"),
        open(&request(0x38, &consumer), "backlog"),
    ]
}

fn refused_before_hello(maker: &Maker) -> Vec<Vector> {
    let hello = request(1, &hello(maker));
    let refused = |draft: &Draft, name: &str, code| draft.refused(State::Hello, name, code, Place::GoAway);
    vec![
        refused(&request(2, b""), "ping", HelloExpected),
        refused(&request(4, b""), "server-info", HelloExpected),
        refused(&request(0x21, &[0, 0]), "append", HelloExpected),
        refused(&request(0x7fff, b""), "unknown-opcode", HelloExpected),
        refused(&Draft { correlation_id: 0, ..hello.clone() }, "hello-with-id-0", BadFrame),
        refused(&Draft { version: 0, ..hello.clone() }, "hello-of-version-0", UnknownMessageVersion),
        refused(&Draft { version: 2, ..hello }, "hello-of-version-2", UnknownMessageVersion),
    ]
}

fn refused_open(maker: &Maker) -> Vec<Vector> {
    let bad = |draft: &Draft, name: &str| draft.refused(State::Open, name, BadFrame, Place::GoAway);
    let answered = |draft: &Draft, name: &str, code| draft.refused(State::Open, name, code, Place::Answer);
    let (ping, fetch) = (request(2, b""), request(0x31, &[1, b'a', 0, 0, 0]));
    let go_away = request(3, &[15, 5, 0, 0]);
    vec![
        bad(&Draft { correlation_id: 0, ..ping.clone() }, "ping-with-id-0"),
        bad(&Draft { correlation_id: 0, ..request(0x34, &[1, 1]) }, "credit-with-id-0"),
        bad(&Draft { correlation_id: 0, ..go_away.clone() }, "go-away-with-id-0"),
        bad(&answer(1, b""), "answer-to-hello"),
        bad(&answer(0x31, &[0, 0, 0]), "answer-to-fetch"),
        bad(&answer(0x33, &[1, 0, 0, 0, 0]), "deliver"),
        bad(&answer(0x7fff, b""), "answer-to-an-unknown-opcode"),
        bad(&Draft { flags: 1, ..answer(0x31, &[10, 0, 0, 0]) }, "refusal-of-a-fetch"),
        answered(&request(1, &hello(maker)), "second-hello", HelloRepeated),
        answered(&go_away, "go-away", UnknownOpcode),
        answered(&request(0x33, &[1, 0, 0, 0, 0]), "deliver-as-a-request", UnknownOpcode),
        answered(&request(0, b""), "opcode-0", UnknownOpcode),
        answered(&request(5, b""), "opcode-5", UnknownOpcode),
        answered(&request(0x14, b""), "opcode-0x14", UnknownOpcode),
        answered(&request(0x25, b""), "opcode-0x25", UnknownOpcode),
        answered(&request(0x3a, b""), "opcode-0x3a", UnknownOpcode),
        answered(&request(0x0102, b""), "opcode-of-a-ping-and-something-above-it", UnknownOpcode),
        answered(&request(0x7fff, b""), "last-opcode", UnknownOpcode),
        answered(&Draft { version: 0, ..ping.clone() }, "ping-of-version-0", UnknownMessageVersion),
        answered(&Draft { version: 2, ..ping.clone() }, "ping-of-version-2", UnknownMessageVersion),
        answered(&Draft { version: 255, ..ping }, "ping-of-version-255", UnknownMessageVersion),
        answered(&Draft { version: 2, ..fetch }, "fetch-of-version-2", UnknownMessageVersion),
    ]
}

fn unreadable() -> Vec<Vector> {
    let flags = |flags, draft: Draft| Draft { flags, ..draft }.bytes();
    let refused = |state, name: &str, bytes: &[u8], code, details: &[u64]| {
        vector(state, name, bytes).gets(code, Place::GoAway, details)
    };
    let ping = request(2, b"");
    let mut vectors = Vec::new();
    for state in [State::Hello, State::Open] {
        vectors.extend([
            refused(state, "length-0", &[0; 4], FrameTooShort, &[0]),
            refused(state, "length-7", &[7, 0, 0, 0], FrameTooShort, &[7]),
            refused(
                state,
                "length-7-and-all-of-it",
                &[&[7, 0, 0, 0][..], &ping.bytes()[4..11]].concat(),
                FrameTooShort,
                &[7],
            ),
            refused(state, "with-the-error-bit-in-a-request", &flags(1, ping.clone()), BadFrame, &[]),
            refused(state, "with-a-flag-that-does-not-exist", &flags(2, ping.clone()), BadFrame, &[]),
            refused(state, "with-all-flags", &flags(0xff, ping.clone()), BadFrame, &[]),
            refused(state, "answer-with-the-last-flag", &flags(0x80, answer(2, b"")), BadFrame, &[]),
        ]);
        let limit: u32 = if state == State::Hello { 4_096 } else { 8_388_608 };
        for (name, length) in [("one-over-the-limit", limit + 1), ("of-4-gib", u32::MAX)] {
            let details = [u64::from(length), u64::from(limit)];
            vectors.push(refused(state, name, &length.to_le_bytes(), FrameTooLarge, &details));
        }
    }
    vectors
}

fn incomplete() -> Vec<Vector> {
    let ping = request(2, b"").bytes();
    let mut list = request(0x12, &[0, 5]).bytes();
    list.pop();
    let mut vectors = vec![
        vector(State::Open, "of-which-the-last-byte-is-missing", &list),
        vector(State::Hello, "of-the-largest-length", &4_096_u32.to_le_bytes()),
        vector(State::Open, "of-the-largest-length", &8_388_608_u32.to_le_bytes()),
        vector(
            State::Open,
            "of-the-largest-length-and-its-header",
            &[&8_388_608_u32.to_le_bytes(), &ping[4..]].concat(),
        ),
    ];
    for end in [0, 1, 3, 4, 8, 11] {
        vectors.push(vector(State::Open, &format!("cut-off-after-{end}-bytes"), &ping[..end]));
    }
    vectors.into_iter().map(Vector::awaits_more).collect()
}

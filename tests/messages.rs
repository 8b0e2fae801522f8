//! Every message, the same way: its literal bytes, back and forth, cut off anywhere, and with a byte too many.
//!
//! The bytes are written from protocol.md section 4. A body has one form only: whatever decodes encodes to the same bytes.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says what it expects by failing")]

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use connectify::protocol::*;
use proptest::prelude::*;

/// A message with the bytes that it must have.
struct Case {
    /// With the answer bit.
    opcode: u16,
    /// The body, batches included.
    literal: Vec<u8>,
    /// What the message encodes to: a whole frame.
    encoded: Vec<u8>,
    /// Whether a frame decodes to this message, and to the batches behind it.
    is_same: IsSame,
    /// Decodes a frame as a message of this kind and encodes it again.
    again: fn(&Frame) -> Result<Vec<u8>, BodyError>,
}

type IsSame = Box<dyn Fn(&Frame) -> Result<bool, BodyError>>;

const CORRELATION_ID: u32 = 0x0a0b_0c0d;

fn request<R: Request + PartialEq + 'static>(opcode: u16, request: R, batches: &[&str], control: &str) -> Case {
    let batches: Vec<_> = batches.iter().map(|batch| Bytes::from(unhex(batch))).collect();
    let encoded = encode_request(&request, CORRELATION_ID, batches.clone()).to_bytes().to_vec();
    let literal = [unhex(control), batches.concat()].concat();
    let is_same = move |frame: &Frame| {
        let (found, behind) = decode_request::<R>(frame)?;
        Ok(found == request && behind == batches)
    };
    Case { opcode, literal, encoded, is_same: Box::new(is_same), again: request_again::<R> }
}

fn answer<A: Answer + PartialEq + 'static>(opcode: u16, answer: A, batches: &[&str], control: &str) -> Case {
    let batches: Vec<_> = batches.iter().map(|batch| Bytes::from(unhex(batch))).collect();
    let asked = Opcode::from_number(opcode & !Opcode::ANSWER).unwrap();
    let encoded = encode_answer(asked, CORRELATION_ID, &answer, batches.clone()).to_bytes().to_vec();
    let literal = [unhex(control), batches.concat()].concat();
    let is_same = move |frame: &Frame| {
        let (found, behind) = decode_answer::<A>(frame)?;
        Ok(found == answer && behind == batches)
    };
    Case { opcode, literal, encoded, is_same: Box::new(is_same), again: answer_again::<A> }
}

fn request_again<R: Request>(frame: &Frame) -> Result<Vec<u8>, BodyError> {
    let (request, batches) = decode_request::<R>(frame)?;
    Ok([encode_body(&request), batches.concat()].concat())
}

fn answer_again<A: Answer>(frame: &Frame) -> Result<Vec<u8>, BodyError> {
    let (answer, batches) = decode_answer::<A>(frame)?;
    Ok([encode_body(&answer), batches.concat()].concat())
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

impl Case {
    fn name(&self) -> String {
        let name = Opcode::from_number(self.opcode & !Opcode::ANSWER).unwrap().name();
        if self.opcode & Opcode::ANSWER == 0 { name.to_owned() } else { format!("answer to {name}") }
    }

    /// The frame with another body.
    fn frame(&self, body: &[u8]) -> Frame {
        let header = FrameHeader {
            opcode: self.opcode & !Opcode::ANSWER,
            is_answer: self.opcode & Opcode::ANSWER != 0,
            version: 1,
            flags: 0,
            correlation_id: CORRELATION_ID,
        };
        Frame { header, body: Bytes::copy_from_slice(body) }
    }
}

const ID: Id = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255];
const ID_HEX: &str = "000102030405060708090a0b0c0d0eff";

fn all() -> Vec<Case> {
    [connection(), topics(), producers(), consumers(), reading()].into_iter().flatten().collect()
}

fn connection() -> Vec<Case> {
    let hello = Hello {
        client_name: "a client".into(),
        min_version: 1,
        max_version: 300,
        credentials: vec![0, 255],
        max_frame_bytes: 65_536,
    };
    let hello_answer = HelloAnswer {
        server_id: ID,
        server_version: "0.1".into(),
        version: 1,
        features: 1 << 40,
        max_frame_bytes: 8 << 20,
        max_batch_bytes: 250,
        max_record_bytes: 251,
        max_in_flight_requests: 65_535,
        max_in_flight_bytes: u32::MAX,
        keepalive_ms: 20_000,
    };
    let info = ServerInfoAnswer {
        server_id: ID,
        server_version: String::new(),
        uptime_ms: 5,
        now_us: 1_767_225_600_000_000,
        connections: 1,
        topics: 2,
        producers: 3,
        consumers: 4,
        stored_bytes: 65_535,
        free_bytes: Some(0),
        accepts_appends: true,
        ephemeral: false,
    };
    let going = ErrorBody::new(ErrorCode::ShuttingDown, "stop", vec![251, 7]);
    let hello_answer_hex =
        format!("{ID_HEX} 03 302e31 01 fd 00000000 00010000 fc 00008000 fa fb fb00 fb ffff fc ffffffff fb 204e");
    let info_hex = format!("{ID_HEX} 00 05 fd 00402046 48470600 01 02 03 04 fb ffff 01 00 01 00");
    vec![
        request(0x01, hello, &[], "08 6120636c69656e74 01 fb 2c01 02 00ff fc 00000100"),
        answer(0x8001, hello_answer, &[], &hello_answer_hex),
        request(0x02, Ping {}, &[], ""),
        answer(0x8002, PingAnswer {}, &[], ""),
        request(0x03, going, &[], "0f 05 04 73746f70 02 fb fb00 07"),
        request(0x04, ServerInfo {}, &[], ""),
        answer(0x8004, info, &[], &info_hex),
    ]
}

fn topics() -> Vec<Case> {
    let retention = Retention { bytes: Some(1 << 32), age_ms: None };
    let info = |name: &str| TopicInfo {
        name: name.into(),
        topic_id: 7,
        head: 250,
        tail: 1000,
        bytes: 65_536,
        retention: retention.clone(),
        created_us: 0,
        producers: 2,
        consumers: 1,
    };
    let info_hex = "07 fa fb e803 fc 00000100 01 fd 00000000 01000000 00 00 02 01";
    let consumers = vec![
        ConsumerInfo { consumer_id: ID, name: Some("\u{e9}".into()), cursor: 900, backlog: 100 },
        ConsumerInfo { consumer_id: ID, name: None, cursor: 0, backlog: 1000 },
    ];
    let consumers_hex = format!("02 {ID_HEX} 01 02 c3a9 fb 8403 64 {ID_HEX} 00 00 fb e803");
    vec![
        request(
            0x10,
            CreateTopic { topic: "logs".into(), retention: retention.clone(), if_absent: true },
            &[],
            "04 6c6f6773 01 fd 00000000 01000000 00 01",
        ),
        answer(0x8010, CreateTopicAnswer { topic_id: 7, created: false }, &[], "07 00"),
        request(0x11, DeleteTopic { topic: "a".into(), if_present: true }, &[], "01 61 01"),
        answer(0x8011, DeleteTopicAnswer { deleted: true }, &[], "01"),
        request(0x12, ListTopics { after: String::new(), limit: 128 }, &[], "00 80"),
        answer(
            0x8012,
            ListTopicsAnswer { topics: vec![info("a"), info("bc")], more: true },
            &[],
            &format!("02 01 61 {info_hex} 02 6263 {info_hex} 01"),
        ),
        request(0x13, DescribeTopic { topic: "a".into() }, &[], "01 61"),
        answer(
            0x8013,
            DescribeTopicAnswer { topic: info("a"), consumers },
            &[],
            &format!("01 61 {info_hex} {consumers_hex}"),
        ),
    ]
}

fn producers() -> Vec<Case> {
    let register = RegisterProducer {
        topic: "a".into(),
        name: Some("p".into()),
        create: Some(Retention { bytes: None, age_ms: Some(1000) }),
    };
    let parts = vec![AppendPart { topic_id: 300, batch_bytes: 3 }, AppendPart { topic_id: 1, batch_bytes: 1 }];
    let commits = vec![CursorMove { consumer_id: ID, offset: u64::MAX }];
    let appended = vec![
        AppendedPart { base_offset: Some(251), duplicate: false },
        AppendedPart { base_offset: None, duplicate: true },
    ];
    let listed = ProducerInfo { name: "p".into(), producer_id: ID, epoch: 3, last_sequence: 250, last_offset: Some(9) };
    let listed_hex = format!("01 01 70 {ID_HEX} 03 fa 01 09 00");
    vec![
        request(0x20, register, &[], "01 61 01 01 70 01 00 01 fb e803"),
        answer(
            0x8020,
            RegisterProducerAnswer { producer_id: ID, epoch: 3, topic_id: 7, last_sequence: 1 << 20 },
            &[],
            &format!("{ID_HEX} 03 07 fc 00001000"),
        ),
        request(
            0x21,
            Append { parts, commits },
            &["aabbcc", "dd"],
            &format!("02 fb 2c01 03 01 01 01 {ID_HEX} fd ffffffff ffffffff"),
        ),
        answer(0x8021, AppendAnswer { parts: appended }, &[], "02 01 fb fb00 00 00 01"),
        request(0x22, ProducerState { producer_id: ID }, &[], ID_HEX),
        answer(
            0x8022,
            ProducerStateAnswer { topic_id: 7, name: None, epoch: 0, last_sequence: 250 },
            &[],
            "07 00 00 fa",
        ),
        request(
            0x23,
            ListProducers { topic: "a".into(), prefix: "b".into(), after: String::new(), limit: 128 },
            &[],
            "01 61 01 62 00 80",
        ),
        answer(0x8023, ListProducersAnswer { producers: vec![listed], more: false }, &[], &listed_hex),
        request(0x24, ForgetProducer { producer_id: ID }, &[], ID_HEX),
        answer(0x8024, ForgetProducerAnswer { forgotten: true }, &[], "01"),
    ]
}

fn consumers() -> Vec<Case> {
    let dequeue = Dequeue { consumer_id: ID, cursor: 9, attempt: u64::MAX, max_records: 10, max_wait_ms: 60_000 };
    let dequeued = DequeueAnswer { offset: 9, next: 11, tail: 300, repeated: true, batch_bytes: vec![2] };
    let backlog = BacklogAnswer { backlog: 1, cursor: 2, head: 3, tail: 4 };
    vec![
        request(
            0x30,
            RegisterConsumer { topic: "a".into(), name: None, start: Start::Timestamp(1000) },
            &[],
            "01 61 00 03 fb e803",
        ),
        request(
            0x30,
            RegisterConsumer { topic: "a".into(), name: Some("c".into()), start: Start::Head },
            &[],
            "01 61 01 01 63 00",
        ),
        answer(
            0x8030,
            RegisterConsumerAnswer { consumer_id: ID, cursor: 5, existed: true },
            &[],
            &format!("{ID_HEX} 05 01"),
        ),
        request(
            0x36,
            Commit { consumer_id: ID, offset: 65_536, rewind: true },
            &[],
            &format!("{ID_HEX} fc 00000100 01"),
        ),
        answer(0x8036, CommitAnswer { cursor: 1 }, &[], "01"),
        request(0x37, dequeue, &[], &format!("{ID_HEX} 09 fd ffffffff ffffffff 0a fb 60ea")),
        answer(0x8037, dequeued, &["0102"], "09 0b fb 2c01 01 01 02"),
        request(0x38, Backlog { consumer_id: ID }, &[], ID_HEX),
        answer(0x8038, backlog, &[], "01 02 03 04"),
    ]
}

fn reading() -> Vec<Case> {
    let subscribe = |start| Subscribe { topic: "a".into(), start, credit_bytes: 1 << 20 };
    let deliver = Deliver {
        subscription_id: 1,
        head: 2,
        tail: 300,
        gap: Some(Gap { from: 1, to: 2 }),
        batch_bytes: vec![1, 0, 251],
    };
    vec![
        request(
            0x31,
            Fetch { topic: "a".into(), offset: 251, max_bytes: 1 << 20, max_wait_ms: 0 },
            &[],
            "01 61 fb fb00 fc 00001000 00",
        ),
        answer(0x8031, FetchAnswer { head: 0, tail: 9, batch_bytes: vec![] }, &[], "00 09 00"),
        request(0x32, subscribe(Start::Tail), &[], "01 61 01 fc 00001000"),
        request(0x32, subscribe(Start::Offset(7)), &[], "01 61 02 07 fc 00001000"),
        request(0x32, subscribe(Start::Cursor(ID)), &[], &format!("01 61 04 {ID_HEX} fc 00001000")),
        answer(0x8032, SubscribeAnswer { subscription_id: 1, offset: 2, head: 3, tail: 4 }, &[], "01 02 03 04"),
        answer(0x8033, deliver, &["aa", "", &"bb".repeat(251)], "01 02 fb 2c01 01 01 02 03 01 00 fb fb00"),
        request(0x34, Credit { subscription_id: 300, bytes: 1 << 33 }, &[], "fb 2c01 fd 00000000 02000000"),
        request(0x35, Unsubscribe { subscription_id: 0 }, &[], "00"),
        answer(0x8035, UnsubscribeAnswer {}, &[], ""),
        request(
            0x39,
            OffsetForTimestamp { topic: "a".into(), timestamp_us: u64::MAX },
            &[],
            "01 61 fd ffffffff ffffffff",
        ),
        answer(0x8039, OffsetForTimestampAnswer { offset: 0 }, &[], "00"),
    ]
}

#[test]
fn every_message_is_here() {
    let found: BTreeSet<_> = all().iter().map(|case| case.opcode).collect();
    let without_request = [Opcode::Deliver];
    let without_answer = [Opcode::GoAway, Opcode::Credit];
    let requests = Opcode::ALL.iter().filter(|opcode| !without_request.contains(opcode)).map(|opcode| *opcode as u16);
    let answers = Opcode::ALL.iter().filter(|opcode| !without_answer.contains(opcode));
    let expected = requests.chain(answers.map(|opcode| *opcode as u16 | Opcode::ANSWER));
    assert_eq!(found, expected.collect());
}

#[test]
fn every_message_has_its_literal_bytes() {
    for case in all() {
        let length = u32::try_from(case.literal.len() + 8).unwrap();
        let opcode = case.opcode.to_le_bytes();
        let header = [&length.to_le_bytes()[..], &opcode, &[1, 0], &[0x0d, 0x0c, 0x0b, 0x0a]].concat();
        assert_eq!(case.encoded, [header, case.literal.clone()].concat(), "{}", case.name());
    }
}

#[test]
fn every_message_comes_back_as_it_went() {
    for case in all() {
        let mut buffer = BytesMut::from(&case.encoded[..]);
        let frame = FrameDecoder::default().decode(&mut buffer).unwrap().expect("a whole frame");
        assert_eq!(frame, case.frame(&case.literal), "{}", case.name());
        assert_eq!((case.is_same)(&frame), Ok(true), "{}", case.name());
        assert!(buffer.is_empty());
    }
}

#[test]
fn every_truncation_of_a_body_is_refused_and_of_a_frame_is_waited_for() {
    for case in all() {
        for end in 0..case.literal.len() {
            let cut = (case.is_same)(&case.frame(&case.literal[..end]));
            assert!(cut.is_err(), "{} cut off after {end} bytes is read", case.name());
        }
        for end in 0..case.encoded.len() {
            let decoded = FrameDecoder::default().decode(&mut BytesMut::from(&case.encoded[..end]));
            assert_eq!(decoded, Ok(None), "{} cut off after {end} bytes", case.name());
        }
    }
}

#[test]
fn a_byte_behind_a_message_is_refused() {
    for case in all() {
        for byte in [0, 1, 0xff] {
            let longer = [&case.literal[..], &[byte]].concat();
            let refused = (case.is_same)(&case.frame(&longer));
            assert!(matches!(refused, Err(BodyError::Length { .. })), "{}: {refused:?}", case.name());
        }
    }
}

#[test]
fn a_refusal_answers_its_request_and_carries_what_is_wrong() {
    let error = ErrorBody { code: 51, facts: 0, message: "gap".into(), details: vec![0, 251] };
    let asked = FrameHeader::request(Opcode::Append, CORRELATION_ID);
    let encoded = encode_error(asked, &error).to_bytes();
    assert_eq!(encoded[..], unhex("13000000 2180 01 01 0d0c0b0a 33 00 03 676170 02 00 fb fb00"));
    let frame = FrameDecoder::default().decode(&mut BytesMut::from(encoded)).unwrap().unwrap();
    assert!(frame.header.is_answer && frame.header.is_error());
    assert_eq!(decode_answer::<ErrorBody>(&frame), Ok((error, vec![])));
    for end in 0..frame.body.len() {
        let cut = Frame { header: frame.header, body: frame.body.slice(..end) };
        assert!(decode_answer::<ErrorBody>(&cut).is_err());
    }
}

/// Bytes that mean something more often than chance would have it.
fn likely_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => 0u8..5, 2 => 249u8..=255, 1 => any::<u8>()];
    prop::collection::vec(byte, 0..80)
}

/// What decodes must have been in the one allowed form.
fn check_canonical(case: &Case, body: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(again) = (case.again)(&case.frame(body)) {
        prop_assert_eq!(&again, body, "{}", case.name());
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_encode_to_themselves(body in likely_bytes()) {
        for case in all() {
            check_canonical(&case, &body)?;
        }
    }

    #[test]
    fn a_damaged_message_is_refused_or_encodes_to_itself(
        at: prop::sample::Index, remove in 0usize..3, insert in likely_bytes().prop_map(|b| b[..b.len() % 4].to_vec()),
    ) {
        for case in all() {
            let mut body = case.literal.clone();
            let at = at.index(body.len() + 1);
            body.splice(at..(at + remove).min(body.len()), insert.iter().copied());
            check_canonical(&case, &body)?;
        }
    }

    #[test]
    fn a_number_in_a_longer_form_never_passes(number: u32, at: prop::sample::Index) {
        // Wherever a short number stands, in every message.
        let longer = [&[0xfc][..], &(number % 251).to_le_bytes()].concat();
        for case in all().iter().filter(|case| !case.literal.is_empty()) {
            let mut body = case.literal.clone();
            let at = at.index(body.len());
            body.splice(at..=at, longer.iter().copied());
            check_canonical(case, &body)?;
        }
    }
}

//! What a server that means well answers.

use bytes::Bytes;

use crate::{
    limits,
    protocol::{
        self, Answer, AppendAnswer, AppendedPart, CommitAnswer, CreateTopicAnswer, DeleteTopicAnswer, Deliver,
        DequeueAnswer, DescribeTopicAnswer, FetchAnswer, Frame, FrameHeader, Gap, HelloAnswer, ListTopicsAnswer,
        Opcode, OutFrame, PingAnswer, RegisterConsumerAnswer, RegisterProducerAnswer, Request, ServerInfoAnswer,
        SubscribeAnswer, TopicInfo, UnsubscribeAnswer, decode_request, encode_answer,
    },
    record::{BatchBuilder, Compression, Epoch, Offset, ProducerId, Record, Sequence, SequenceRange, Stamp, Timestamp},
};

/// Where the topic of this server begins and ends, for those who read.
const HEAD: u64 = 0;
const TAIL: u64 = 1000;

/// What the record at an offset holds.
pub(super) fn stored_value(offset: u64) -> Bytes {
    Bytes::from(format!("stored at {offset}"))
}

/// Records as they are stored, from this offset on.
pub(super) fn stored_batch(base: u64, count: u64) -> Bytes {
    let mut builder = BatchBuilder::new();
    for offset in base..base + count {
        builder.push(&Record::new(stored_value(offset)), Timestamp(1)).expect("small");
    }
    let range = SequenceRange::counting(Sequence(base), count);
    let mut bytes = builder.finish(ProducerId::default(), Epoch(1), range, Compression::None).to_vec();
    Stamp { base_offset: Offset(base), append_time: Timestamp(77) }.write(&mut bytes);
    Bytes::from(bytes)
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("limits fit in 32 bits")
}

/// The answer to Hello.
pub(super) fn hello() -> HelloAnswer {
    HelloAnswer {
        server_id: [7; 16],
        server_version: "hostile".to_owned(),
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

/// A push of records to a subscription.
pub(super) fn deliver(header: FrameHeader, gap: Option<Gap>, base: u64, count: u64) -> OutFrame {
    let batch = stored_batch(base, count);
    let batch_bytes = vec![narrow(batch.len())];
    let deliver = Deliver { subscription_id: 1, head: HEAD, tail: TAIL, gap, batch_bytes };
    encode_answer(Opcode::Deliver, header.correlation_id, &deliver, vec![batch])
}

/// The answer to a request, with so many records if it reads; `None` when it has none.
pub(super) fn answer(frame: &Frame, base: u64, count: u64) -> Option<OutFrame> {
    let opcode = Opcode::from_number(frame.header.opcode)?;
    let id = frame.header.correlation_id;
    Some(match opcode {
        Opcode::Ping => encode(opcode, id, &PingAnswer {}),
        Opcode::ServerInfo => encode(opcode, id, &ServerInfoAnswer::default()),
        Opcode::CreateTopic => encode(opcode, id, &CreateTopicAnswer { topic_id: 5, created: true }),
        Opcode::DeleteTopic => encode(opcode, id, &DeleteTopicAnswer { deleted: true }),
        Opcode::ListTopics => encode(opcode, id, &ListTopicsAnswer::default()),
        Opcode::DescribeTopic => encode(opcode, id, &described()),
        Opcode::RegisterProducer => encode(opcode, id, &registered()),
        Opcode::Append => return appended(frame, base),
        Opcode::ListProducers => encode(opcode, id, &protocol::ListProducersAnswer::default()),
        Opcode::ForgetProducer => encode(opcode, id, &protocol::ForgetProducerAnswer { forgotten: true }),
        Opcode::RegisterConsumer => {
            encode(opcode, id, &RegisterConsumerAnswer { consumer_id: [3; 16], cursor: 0, existed: true })
        }
        Opcode::Fetch => return fetched(frame, count),
        Opcode::Subscribe => encode(opcode, id, &subscribed()),
        Opcode::Unsubscribe => encode(opcode, id, &UnsubscribeAnswer {}),
        Opcode::Commit => encode(opcode, id, &CommitAnswer { cursor: 2 }),
        Opcode::Dequeue => return dequeued(frame, count),
        Opcode::Backlog => encode(opcode, id, &protocol::BacklogAnswer::default()),
        Opcode::OffsetForTimestamp => encode(opcode, id, &protocol::OffsetForTimestampAnswer::default()),
        _ => return None,
    })
}

fn encode<A: Answer>(opcode: Opcode, id: u32, answer: &A) -> OutFrame {
    encode_answer(opcode, id, answer, Vec::new())
}

fn described() -> DescribeTopicAnswer {
    let topic = TopicInfo { name: "logs".to_owned(), topic_id: 5, head: HEAD, tail: TAIL, ..TopicInfo::default() };
    DescribeTopicAnswer { topic, consumers: Vec::new() }
}

fn registered() -> RegisterProducerAnswer {
    RegisterProducerAnswer { producer_id: [9; 16], epoch: 1, topic_id: 5, last_sequence: 0 }
}

fn subscribed() -> SubscribeAnswer {
    SubscribeAnswer { subscription_id: 1, offset: HEAD, head: HEAD, tail: TAIL }
}

fn appended(frame: &Frame, base: u64) -> Option<OutFrame> {
    let part = AppendedPart { base_offset: Some(base), duplicate: false };
    let (request, _) = decode_request::<protocol::Append>(frame).ok()?;
    Some(encode(Opcode::Append, frame.header.correlation_id, &AppendAnswer { parts: vec![part; request.parts.len()] }))
}

fn fetched(frame: &Frame, count: u64) -> Option<OutFrame> {
    let (request, _) = decode_request::<protocol::Fetch>(frame).ok()?;
    let batch = stored_batch(request.offset, count);
    let answer = FetchAnswer { head: HEAD, tail: TAIL, batch_bytes: vec![narrow(batch.len())] };
    Some(encode_answer(protocol::Fetch::OPCODE, frame.header.correlation_id, &answer, vec![batch]))
}

fn dequeued(frame: &Frame, count: u64) -> Option<OutFrame> {
    let (request, _) = decode_request::<protocol::Dequeue>(frame).ok()?;
    let (offset, next) = (request.cursor, request.cursor + count.min(request.max_records.into()));
    let batch = stored_batch(offset, count);
    let batch_bytes = vec![narrow(batch.len())];
    let answer = DequeueAnswer { offset, next, tail: TAIL.max(next), repeated: false, batch_bytes };
    Some(encode_answer(protocol::Dequeue::OPCODE, frame.header.correlation_id, &answer, vec![batch]))
}

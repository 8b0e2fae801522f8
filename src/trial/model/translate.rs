//! Requests and answers of the model, as they are said in frames.

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use super::request::{Answer, Answered, Batches, Dequeue, Request};
use crate::{
    broker::{Appended, ConsumerState, Listed, Listing, ProducerState, Retention, StartAt, TopicCreated, TopicRange},
    limits::MAX_FRAME_BYTES,
    protocol::{
        self, AppendPart, CursorMove, ErrorBody, Frame, FrameDecoder, Id, Opcode, OutFrame, Request as Message, Start,
        decode_answer, decode_request, encode_request,
    },
    record::{Batch, ConsumerId, Epoch, Offset, ProducerId, Sequence, TopicId},
};

fn plain<R: Message>(request: &R, id: u32) -> OutFrame {
    encode_request(request, id, Vec::new())
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).expect("the model uses small numbers")
}

fn bytes_of(id: Uuid) -> Id {
    *id.as_bytes()
}

fn retention(retention: Retention) -> protocol::Retention {
    protocol::Retention { bytes: retention.bytes, age_ms: retention.age_us.map(|age| age / 1000) }
}

/// A request as a frame.
pub(super) fn request(request: &Request, id: u32) -> OutFrame {
    match request {
        Request::CreateTopic { name, retention: keep, if_absent } => {
            let (topic, retention) = (name.to_string(), retention(*keep));
            plain(&protocol::CreateTopic { topic, retention, if_absent: *if_absent }, id)
        }
        Request::DeleteTopic { name, if_present } => {
            plain(&protocol::DeleteTopic { topic: name.to_string(), if_present: *if_present }, id)
        }
        Request::RegisterProducer { topic, name, create } => {
            let (topic, name, create) = (topic.to_string(), name.clone(), create.map(retention));
            plain(&protocol::RegisterProducer { topic, name, create }, id)
        }
        Request::ProducerState(producer) => plain(&protocol::ProducerState { producer_id: bytes_of(producer.0) }, id),
        Request::ListProducers(Listing { topic, prefix, after, limit }) => {
            let (topic, prefix, after) = (topic.to_string(), prefix.clone(), after.clone());
            plain(&protocol::ListProducers { topic, prefix, after, limit: narrow(*limit as u64) }, id)
        }
        Request::ForgetProducer(producer) => plain(&protocol::ForgetProducer { producer_id: bytes_of(producer.0) }, id),
        Request::Append(appending) => {
            let parts = appending.parts.iter().map(|(topic, batch)| AppendPart {
                topic_id: topic.0,
                batch_bytes: narrow(batch.as_bytes().len() as u64),
            });
            let commits = appending.commits.iter();
            let commits =
                commits.map(|(consumer, offset)| CursorMove { consumer_id: bytes_of(consumer.0), offset: offset.0 });
            let append = protocol::Append { parts: parts.collect(), commits: commits.collect() };
            encode_request(&append, id, appending.parts.iter().map(|(_, batch)| batch.as_bytes().clone()).collect())
        }
        Request::RegisterConsumer { topic, name, start } => {
            let start = match start {
                StartAt::Head => Start::Head,
                StartAt::Tail => Start::Tail,
                StartAt::Offset(offset) => Start::Offset(offset.0),
            };
            plain(&protocol::RegisterConsumer { topic: topic.to_string(), name: name.clone(), start }, id)
        }
        Request::Commit { consumer, offset, rewind } => {
            let (consumer_id, offset) = (bytes_of(consumer.0), offset.0);
            plain(&protocol::Commit { consumer_id, offset, rewind: *rewind }, id)
        }
        Request::Dequeue(Dequeue { consumer, cursor, attempt, max_records, .. }) => {
            let (consumer_id, max_records) = (bytes_of(consumer.0), narrow(*max_records));
            let (cursor, attempt) = (cursor.0, *attempt);
            plain(&protocol::Dequeue { consumer_id, cursor, attempt, max_records, max_wait_ms: 0 }, id)
        }
        Request::Backlog(consumer) => plain(&protocol::Backlog { consumer_id: bytes_of(consumer.0) }, id),
        Request::Fetch { topic, from, max_bytes } => {
            let (topic, max_bytes) = (topic.to_string(), narrow(*max_bytes as u64));
            plain(&protocol::Fetch { topic, offset: from.0, max_bytes, max_wait_ms: 0 }, id)
        }
        Request::OffsetFor { topic, time } => {
            plain(&protocol::OffsetForTimestamp { topic: topic.to_string(), timestamp_us: time.0 }, id)
        }
    }
}

/// What a frame answers to a request. One that is no answer to it is a refusal that no server gives.
pub(super) fn answer(request: &Request, frame: &Frame) -> Answered {
    if frame.header.is_error() {
        let (body, _) = decode_answer::<ErrorBody>(frame).map_err(unreadable)?;
        return Err(body);
    }
    match request {
        Request::CreateTopic { .. } => {
            let (answer, _) = read::<protocol::CreateTopic>(frame)?;
            Ok(Answer::Topic(TopicCreated { id: TopicId(answer.topic_id), created: answer.created }))
        }
        Request::DeleteTopic { .. } => Ok(Answer::Deleted(read::<protocol::DeleteTopic>(frame)?.0.deleted)),
        Request::RegisterProducer { .. } => {
            let (answer, _) = read::<protocol::RegisterProducer>(frame)?;
            let (epoch, last) = (answer.epoch, answer.last_sequence);
            Ok(producer(answer.producer_id, answer.topic_id, None, epoch, last))
        }
        Request::ProducerState(id) => {
            let (answer, _) = read::<protocol::ProducerState>(frame)?;
            let (epoch, last) = (answer.epoch, answer.last_sequence);
            Ok(producer(bytes_of(id.0), answer.topic_id, answer.name, epoch, last))
        }
        Request::ListProducers(_) => {
            let (answer, _) = read::<protocol::ListProducers>(frame)?;
            Ok(Answer::Producers { page: answer.producers.into_iter().map(listed).collect(), more: answer.more })
        }
        Request::ForgetProducer(_) => Ok(Answer::Forgotten(read::<protocol::ForgetProducer>(frame)?.0.forgotten)),
        Request::Append(_) => {
            let (answer, _) = read::<protocol::Append>(frame)?;
            let parts = answer
                .parts
                .into_iter()
                .map(|part| Appended { base_offset: part.base_offset.map(Offset), duplicate: part.duplicate });
            Ok(Answer::Appended(parts.collect()))
        }
        Request::RegisterConsumer { .. } => {
            let (answer, _) = read::<protocol::RegisterConsumer>(frame)?;
            let id = ConsumerId(Uuid::from_bytes(answer.consumer_id));
            Ok(Answer::Consumer(ConsumerState { id, cursor: Offset(answer.cursor), existed: answer.existed }))
        }
        Request::Commit { .. } => Ok(Answer::Cursor(Offset(read::<protocol::Commit>(frame)?.0.cursor))),
        Request::Dequeue(_) => {
            let (answer, batches) = read::<protocol::Dequeue>(frame)?;
            let (first, next, tail) = (Offset(answer.offset), Offset(answer.next), Offset(answer.tail));
            Ok(Answer::Dequeued { first, next, tail, repeated: answer.repeated, batches: Batches(batches) })
        }
        Request::Backlog(_) => {
            let (answer, _) = read::<protocol::Backlog>(frame)?;
            let (backlog, cursor) = (answer.backlog, Offset(answer.cursor));
            Ok(Answer::Backlog { backlog, cursor, range: range(answer.head, answer.tail) })
        }
        Request::Fetch { .. } => {
            let (answer, batches) = read::<protocol::Fetch>(frame)?;
            Ok(Answer::Fetched { range: range(answer.head, answer.tail), batches: Batches(batches) })
        }
        Request::OffsetFor { .. } => Ok(Answer::Offset(Offset(read::<protocol::OffsetForTimestamp>(frame)?.0.offset))),
    }
}

fn read<R: Message>(frame: &Frame) -> Result<(R::Answer, Vec<Bytes>), ErrorBody> {
    match frame.header.opcode == R::OPCODE as u16 {
        true => decode_answer::<R::Answer>(frame).map_err(unreadable),
        false => Err(unreadable(format!("opcode {:#06x} answers {}", frame.header.opcode, R::OPCODE.name()))),
    }
}

fn unreadable(error: impl ToString) -> ErrorBody {
    ErrorBody { code: 0, facts: 0, message: error.to_string(), details: Vec::new() }
}

/// The topic is not in it.
fn listed(info: protocol::ProducerInfo) -> Listed {
    let state = ProducerState {
        id: ProducerId(Uuid::from_bytes(info.producer_id)),
        topic: TopicId(0),
        name: Some(info.name),
        epoch: Epoch(info.epoch),
        last_sequence: Sequence(info.last_sequence),
    };
    Listed { state, last_offset: info.last_offset.map(Offset) }
}

fn producer(id: Id, topic: u32, name: Option<String>, epoch: u32, last_sequence: u64) -> Answer {
    Answer::Producer(ProducerState {
        id: ProducerId(Uuid::from_bytes(id)),
        topic: TopicId(topic),
        name,
        epoch: Epoch(epoch),
        last_sequence: Sequence(last_sequence),
    })
}

fn range(head: u64, tail: u64) -> TopicRange {
    TopicRange { head: Offset(head), tail: Offset(tail), ..TopicRange::default() }
}

/// What of an answer is in its frame.
pub(super) fn shown(request: &Request, answer: Answer) -> Answer {
    match (request, answer) {
        (Request::RegisterProducer { .. }, Answer::Producer(state)) => {
            Answer::Producer(ProducerState { name: None, ..state })
        }
        (_, Answer::Producers { mut page, more }) => {
            page.iter_mut().for_each(|listed| listed.state.topic = TopicId(0));
            Answer::Producers { page, more }
        }
        (_, Answer::Backlog { backlog, cursor, range: whole }) => {
            Answer::Backlog { backlog, cursor, range: range(whole.head.0, whole.tail.0) }
        }
        (_, Answer::Fetched { range: whole, batches }) => {
            Answer::Fetched { range: range(whole.head.0, whole.tail.0), batches }
        }
        (_, answer) => answer,
    }
}

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let (mut decoder, mut buffer) = (FrameDecoder::new(MAX_FRAME_BYTES), BytesMut::from(bytes));
    std::iter::from_fn(|| decoder.decode(&mut buffer).ok().flatten()).collect()
}

/// Whether a request that changes what is stored is among these bytes.
pub(super) fn may_change_something(bytes: &[u8]) -> bool {
    fn is<R: Message>(frame: &Frame) -> bool {
        decode_request::<R>(frame).is_ok()
    }
    frames(bytes).iter().any(|frame| match Opcode::from_number(frame.header.opcode) {
        Some(Opcode::CreateTopic) => is::<protocol::CreateTopic>(frame),
        Some(Opcode::DeleteTopic) => is::<protocol::DeleteTopic>(frame),
        Some(Opcode::RegisterProducer) => is::<protocol::RegisterProducer>(frame),
        Some(Opcode::ProducerState) => is::<protocol::ProducerState>(frame),
        Some(Opcode::ForgetProducer) => is::<protocol::ForgetProducer>(frame),
        Some(Opcode::RegisterConsumer) => is::<protocol::RegisterConsumer>(frame),
        Some(Opcode::Commit) => is::<protocol::Commit>(frame),
        Some(Opcode::Dequeue) => is::<protocol::Dequeue>(frame),
        Some(Opcode::Append) => decode_request::<protocol::Append>(frame)
            .is_ok_and(|(_, batches)| batches.into_iter().all(|batch| Batch::check(batch).is_ok())),
        _ => false,
    })
}

/// Whether these bytes are a request that reads, after all.
pub(super) fn is_harmless(bytes: &[u8]) -> bool {
    frames(bytes).iter().any(|frame| match Opcode::from_number(frame.header.opcode) {
        Some(Opcode::Ping) => decode_request::<protocol::Ping>(frame).is_ok(),
        Some(Opcode::ServerInfo) => decode_request::<protocol::ServerInfo>(frame).is_ok(),
        Some(Opcode::ListTopics) => decode_request::<protocol::ListTopics>(frame).is_ok(),
        Some(Opcode::ListProducers) => decode_request::<protocol::ListProducers>(frame).is_ok(),
        Some(Opcode::DescribeTopic) => decode_request::<protocol::DescribeTopic>(frame).is_ok(),
        Some(Opcode::Fetch) => decode_request::<protocol::Fetch>(frame).is_ok(),
        Some(Opcode::Subscribe) => decode_request::<protocol::Subscribe>(frame).is_ok(),
        Some(Opcode::Backlog) => decode_request::<protocol::Backlog>(frame).is_ok(),
        Some(Opcode::OffsetForTimestamp) => decode_request::<protocol::OffsetForTimestamp>(frame).is_ok(),
        _ => false,
    })
}

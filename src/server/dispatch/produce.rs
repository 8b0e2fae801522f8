//! Producers and appends.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::{
    Answered, Call, Context,
    admin::{from_wire, id},
    page_limit, plain,
};
use crate::{
    broker::{self, Appended, Appending, Listed, Listing},
    limits::{MAX_APPEND_COMMITS, MAX_APPEND_PARTS, MAX_GROUP_BYTES, MAX_LIST_PRODUCERS},
    protocol::{
        Append, AppendAnswer, AppendedPart, ErrorBody, ErrorCode, ForgetProducer, ForgetProducerAnswer, Frame,
        ListProducers, ListProducersAnswer, ProducerInfo, ProducerState, ProducerStateAnswer, RegisterProducer,
        RegisterProducerAnswer, decode_request,
    },
    record::{Batch, BatchHeader, Compression, ConsumerId, Offset, ProducerId, TopicId, TopicName, check_name},
    server::{refusal::over_limit, shared::Shared},
};

/// Batches that decompress to more than this are checked elsewhere: a connection may not keep others from being served.
const MAX_BYTES_AT_ONCE: usize = 32 * 1024;

pub(super) async fn register_producer(
    context: Arc<Context>,
    request: RegisterProducer,
) -> Answered<RegisterProducerAnswer> {
    let topic = TopicName::new(&request.topic)?;
    request.name.as_deref().map_or(Ok(()), check_name)?;
    let create = request.create.map(from_wire).transpose()?;
    let producer = context.shared.broker.register_producer(topic, request.name, create).await?;
    let answer = RegisterProducerAnswer {
        producer_id: id(producer.id.0),
        epoch: producer.epoch.0,
        topic_id: producer.topic.0,
        last_sequence: producer.last_sequence.0,
    };
    Ok(plain(answer))
}

pub(super) async fn producer_state(context: Arc<Context>, request: ProducerState) -> Answered<ProducerStateAnswer> {
    let producer = ProducerId(Uuid::from_bytes(request.producer_id));
    let producer = context.shared.broker.producer_state(producer).await?;
    let answer = ProducerStateAnswer {
        topic_id: producer.topic.0,
        name: producer.name,
        epoch: producer.epoch.0,
        last_sequence: producer.last_sequence.0,
    };
    Ok(plain(answer))
}

pub(super) async fn list_producers(context: Arc<Context>, request: ListProducers) -> Answered<ListProducersAnswer> {
    let topic = TopicName::new(&request.topic)?;
    let limit = page_limit(request.limit, MAX_LIST_PRODUCERS);
    let listing = Listing { topic, prefix: request.prefix, after: request.after, limit };
    let (producers, more) = context.shared.broker.producers(listing).await?;
    Ok(plain(ListProducersAnswer { producers: producers.into_iter().map(producer_info).collect(), more }))
}

fn producer_info(listed: Listed) -> ProducerInfo {
    ProducerInfo {
        name: listed.state.name.unwrap_or_default(),
        producer_id: id(listed.state.id.0),
        epoch: listed.state.epoch.0,
        last_sequence: listed.state.last_sequence.0,
        last_offset: listed.last_offset.map(|offset| offset.0),
    }
}

pub(super) async fn forget_producer(context: Arc<Context>, request: ForgetProducer) -> Answered<ForgetProducerAnswer> {
    let producer = ProducerId(Uuid::from_bytes(request.producer_id));
    let forgotten = context.shared.broker.forget_producer(producer).await?;
    Ok(plain(ForgetProducerAnswer { forgotten }))
}

/// The hot path: no task, the writer thread answers. Until the batches are checked, nothing behind them is read.
pub(super) async fn append(call: Call, frame: Frame) {
    let bytes = frame.body.len();
    let checked = match decode_request::<Append>(&frame) {
        Ok((request, batches)) if decompressed_bytes(&batches) > MAX_BYTES_AT_ONCE => {
            let bytes = decompressed_bytes(&batches);
            call.context.shared.checks.run(bytes, move || check(&request, batches)).await
        }
        Ok((request, batches)) => check(&request, batches),
        Err(error) => Err(error.into()),
    };
    match checked {
        Ok(appending) => {
            let turn = turn_of_large(&call.context.shared, bytes).await;
            let broker = call.context.shared.broker.clone();
            let settle = move |outcome| {
                drop(turn);
                call.settle::<Append>(answered(outcome));
            };
            broker.append(appending, Box::new(settle));
        }
        Err(error) => call.refuse_with(&error),
    }
}

/// An append that is a group of its own holds up all others while it is written. So there is one of them on its way at a
/// time: what arrives meanwhile is stored before the next one.
async fn turn_of_large(shared: &Shared, bytes: usize) -> Option<OwnedSemaphorePermit> {
    if bytes <= MAX_GROUP_BYTES {
        return None;
    }
    Some(shared.large_appends.clone().acquire_owned().await.expect("this semaphore is never closed"))
}

/// What batches decompress to, as far as their headers say it.
fn decompressed_bytes(batches: &[Bytes]) -> usize {
    let headers = batches.iter().filter_map(|batch| BatchHeader::read(batch).ok());
    headers.filter(|header| header.compression != Compression::None).map(|header| header.records_bytes as usize).sum()
}

fn answered(outcome: Result<Vec<Appended>, broker::Error>) -> Answered<AppendAnswer> {
    let part = |part: Appended| AppendedPart {
        base_offset: part.base_offset.map(|offset| offset.0),
        duplicate: part.duplicate,
    };
    Ok(plain(AppendAnswer { parts: outcome?.into_iter().map(part).collect() }))
}

/// Checks all that can be checked without the state: counts, and every batch down to its last record.
fn check(request: &Append, batches: Vec<Bytes>) -> Result<Appending, ErrorBody> {
    let (parts, commits) = (request.parts.len(), request.commits.len());
    if parts == 0 {
        return Err(ErrorBody::new(ErrorCode::LimitExceeded, "append has no parts, at least 1 is needed", vec![0, 1]));
    }
    if parts > MAX_APPEND_PARTS {
        return Err(over_limit("number of parts", parts as u64, MAX_APPEND_PARTS as u64));
    }
    if commits > MAX_APPEND_COMMITS {
        return Err(over_limit("number of commits", commits as u64, MAX_APPEND_COMMITS as u64));
    }
    let parts = request.parts.iter().zip(batches).enumerate();
    let parts = parts.map(|(index, (part, batch))| Ok((TopicId(part.topic_id), check_batch(index, batch)?)));
    let commits = request.commits.iter();
    let commits = commits.map(|commit| (ConsumerId(Uuid::from_bytes(commit.consumer_id)), Offset(commit.offset)));
    Ok(Appending { parts: parts.collect::<Result<_, ErrorBody>>()?, commits: commits.collect() })
}

fn check_batch(index: usize, batch: Bytes) -> Result<Batch, ErrorBody> {
    Batch::check(batch).map_err(|error| {
        let error = ErrorBody::from(error);
        let message = format!("part {index}: {}", error.message);
        ErrorBody { message, details: vec![index as u64], ..error }
    })
}

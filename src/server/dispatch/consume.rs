//! Consumers, cursors, fetches and subscriptions.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use uuid::Uuid;

use super::{Answered, Call, Context, Reply, admin::id, lengths, plain, room};
use crate::{
    broker::{Dequeued, Error, Room, StartAt, TopicView},
    limits::{MAX_CREDIT_BYTES, MAX_DELIVERY_BYTES, MAX_WAIT_MS},
    protocol::{
        Backlog, BacklogAnswer, Commit, CommitAnswer, Dequeue, DequeueAnswer, ErrorBody, ErrorCode, Fetch, FetchAnswer,
        Frame, FrameHeader, Id, OffsetForTimestamp, OffsetForTimestampAnswer, Opcode, RegisterConsumer,
        RegisterConsumerAnswer, Start, Subscribe, SubscribeAnswer, Unsubscribe, UnsubscribeAnswer, decode_request,
        encode_answer,
    },
    record::{ConsumerId, Offset, Timestamp, TopicName, check_name},
    server::{
        refusal::over_limit,
        session::{self, Held},
    },
};

pub(super) async fn register_consumer(
    context: Arc<Context>,
    request: RegisterConsumer,
) -> Answered<RegisterConsumerAnswer> {
    request.name.as_deref().map_or(Ok(()), check_name)?;
    let name = TopicName::new(&request.topic)?;
    let start = match request.start {
        Start::Head => StartAt::Head,
        Start::Tail => StartAt::Tail,
        Start::Offset(offset) => StartAt::Offset(Offset(offset)),
        Start::Timestamp(_) => {
            StartAt::Offset(resolve(&context, &topic(&context, &request.topic)?, request.start).await?)
        }
        Start::Cursor(_) => {
            let message = "a consumer cannot start at a cursor";
            return Err(ErrorBody::new(ErrorCode::MalformedBody, message, Vec::new()));
        }
    };
    let consumer = context.shared.broker.register_consumer(name, request.name, start).await?;
    let (consumer_id, cursor) = (id(consumer.id.0), consumer.cursor.0);
    Ok(plain(RegisterConsumerAnswer { consumer_id, cursor, existed: consumer.existed }))
}

pub(super) async fn fetch(context: Arc<Context>, request: Fetch) -> Answered<FetchAnswer> {
    let topic = topic(&context, &request.topic)?;
    let from = Offset(request.offset);
    let patience = patience(request.max_wait_ms)?;
    let range = topic.range();
    if from == range.tail {
        wait(&context, &topic, from, patience).await;
    }
    let max_bytes = (request.max_bytes as usize).clamp(1, room(context.max_frame_bytes).bytes);
    let (turn, budget, mut fetched) = session::read_within(&context, &topic, from, max_bytes).await?;
    room(context.max_frame_bytes).fit(&mut fetched.batches)?;
    let (head, tail) = (fetched.range.head.0, fetched.range.tail.0);
    let answer = FetchAnswer { head, tail, batch_bytes: lengths(&fetched.batches) };
    drop(turn);
    Ok(Reply { answer, batches: fetched.batches, budget: Some(budget) })
}

/// Its answer is not the last frame under its correlation id: deliveries follow, the first one after the answer.
pub(super) fn subscribe(call: Call, frame: &Frame) {
    let request = match decode_request::<Subscribe>(frame) {
        Ok((request, _)) => request,
        Err(error) => return call.refuse_with(&error.into()),
    };
    tokio::spawn(async move {
        let (context, ended) = (call.context.clone(), call.context.ended.clone());
        let opened = tokio::select! {
            biased;
            () = ended.cancelled() => return,
            opened = open(&context, &request, call.header) => opened,
        };
        match opened {
            Ok((answer, subscription)) => {
                let frame = encode_answer(Opcode::Subscribe, call.header.correlation_id, &answer, Vec::new());
                let place = Some(call.admitted.into_place());
                context.outbox.push(frame, Held { place, budget: None });
                subscription.start(request.credit_bytes);
            }
            Err(error) => call.refuse_with(&error),
        }
    });
}

async fn open(
    context: &Arc<Context>,
    request: &Subscribe,
    asked: FrameHeader,
) -> Result<(SubscribeAnswer, session::Subscription), ErrorBody> {
    if request.credit_bytes > MAX_CREDIT_BYTES {
        return Err(over_limit("credit in bytes", request.credit_bytes, MAX_CREDIT_BYTES));
    }
    let topic = topic(context, &request.topic)?;
    let from = resolve(context, &topic, request.start).await?;
    let range = topic.range();
    if from > range.tail {
        let message = format!("offset {from} is beyond the tail, {}", range.tail);
        return Err(ErrorBody::new(ErrorCode::OffsetBeyondTail, message, vec![range.head.0, range.tail.0]));
    }
    let subscription = session::Subscription::new(context, topic, from, asked)?;
    let (subscription_id, offset) = (subscription.id(), from.0);
    Ok((SubscribeAnswer { subscription_id, offset, head: range.head.0, tail: range.tail.0 }, subscription))
}

pub(super) fn unsubscribe(context: &Context, request: Unsubscribe) -> Result<UnsubscribeAnswer, ErrorBody> {
    match context.subscriptions.remove(request.subscription_id) {
        Some(correlation_id) => {
            context.outbox.forget(correlation_id);
            Ok(UnsubscribeAnswer::default())
        }
        None => {
            let message = format!("connection has no subscription {}", request.subscription_id);
            Err(ErrorBody::new(ErrorCode::UnknownSubscription, message, Vec::new()))
        }
    }
}

pub(super) async fn commit(context: Arc<Context>, request: Commit) -> Answered<CommitAnswer> {
    let broker = &context.shared.broker;
    let cursor = broker.commit(consumer(request.consumer_id), Offset(request.offset), request.rewind).await?;
    Ok(plain(CommitAnswer { cursor: cursor.0 }))
}

pub(super) async fn dequeue(context: Arc<Context>, request: Dequeue) -> Answered<DequeueAnswer> {
    let patience = patience(request.max_wait_ms)?;
    if request.max_records == 0 {
        let message = "dequeue of 0 records, at least 1 is needed";
        return Err(ErrorBody::new(ErrorCode::LimitExceeded, message, vec![0, 1]));
    }
    let (broker, id, cursor) = (&context.shared.broker, consumer(request.consumer_id), Offset(request.cursor));
    let until = Instant::now() + patience;
    let (taken, budget) = loop {
        let (view, topic) = broker.consumer(id)?;
        let (from, left) = (cursor.max(topic.range().head), until.saturating_duration_since(Instant::now()));
        if view.cursor == cursor && from == topic.range().tail {
            tokio::select! {
                biased;
                () = wait(&context, &topic, from, left) => {}
                // There is nothing to wait for when somebody else has moved it.
                () = topic.wait_moved(id, cursor) => {}
            }
        }
        let (taken, budget) = take(&context, &request).await?;
        let is_nothing = taken.first == taken.next && taken.next == cursor && !taken.repeated;
        // A move that was on its way put the cursor where it was expected: now it can be waited there.
        if !is_nothing || left.is_zero() || Instant::now() >= until || context.finishing.is_cancelled() {
            break (taken, budget);
        }
    };
    let answer = DequeueAnswer {
        offset: taken.first.0,
        next: taken.next.0,
        tail: taken.tail.0,
        repeated: taken.repeated,
        batch_bytes: lengths(&taken.batches),
    };
    Ok(Reply { answer, batches: taken.batches, budget: Some(budget) })
}

/// Takes what is there, within the budget for what is read from the log.
async fn take(context: &Context, request: &Dequeue) -> Result<(Dequeued, OwnedSemaphorePermit), ErrorBody> {
    let (id, cursor) = (consumer(request.consumer_id), Offset(request.cursor));
    let most = room(context.max_frame_bytes);
    let mut reserved = MAX_DELIVERY_BYTES.min(most.bytes);
    loop {
        let (turn, mut budget) = session::reserve(context, reserved).await.ok_or_else(shutting_down)?;
        // Dequeues of one connection share commits.
        drop(turn);
        let room = Room { bytes: reserved, ..most };
        let (broker, records) = (&context.shared.broker, request.max_records.into());
        match broker.dequeue(id, cursor, request.attempt, records, room).await {
            // A large batch, and the cursor has not moved: come again with room for it, holding nothing meanwhile.
            Err(Error::AnswerTooLarge { bytes, .. }) if bytes <= most.bytes => reserved = bytes,
            Err(Error::AnswerTooLarge { bytes, .. }) => {
                return Err(Error::AnswerTooLarge { bytes, limit: most.bytes }.into());
            }
            Err(error) => return Err(error.into()),
            Ok(taken) => {
                let bytes: usize = taken.batches.iter().map(Bytes::len).sum();
                drop(budget.split(reserved - bytes));
                return Ok((taken, budget));
            }
        }
    }
}

pub(super) fn backlog(context: &Context, request: Backlog) -> Result<BacklogAnswer, ErrorBody> {
    let (consumer, topic) = context.shared.broker.consumer(consumer(request.consumer_id))?;
    let range = topic.range();
    let (cursor, head, tail) = (consumer.cursor.0, range.head.0, range.tail.0);
    Ok(BacklogAnswer { backlog: range.backlog(consumer.cursor), cursor, head, tail })
}

pub(super) async fn offset_for_timestamp(
    context: Arc<Context>,
    request: OffsetForTimestamp,
) -> Answered<OffsetForTimestampAnswer> {
    let topic = topic(&context, &request.topic)?;
    let offset = resolve(&context, &topic, Start::Timestamp(request.timestamp_us)).await?;
    Ok(plain(OffsetForTimestampAnswer { offset: offset.0 }))
}

fn topic(context: &Context, name: &str) -> Result<Arc<TopicView>, ErrorBody> {
    let name = TopicName::new(name)?;
    Ok(context.shared.broker.topic(name.as_str())?)
}

fn consumer(id: Id) -> ConsumerId {
    ConsumerId(Uuid::from_bytes(id))
}

/// The offset that a start means now.
async fn resolve(context: &Context, topic: &Arc<TopicView>, start: Start) -> Result<Offset, ErrorBody> {
    let broker = &context.shared.broker;
    match start {
        Start::Head => Ok(topic.range().head),
        Start::Tail => Ok(topic.range().tail),
        Start::Offset(offset) => Ok(Offset(offset)),
        Start::Timestamp(time) => Ok(broker.offset_for(topic, Timestamp(time)).await?),
        Start::Cursor(id) => {
            let (view, theirs) = broker.consumer(consumer(id))?;
            if theirs.id == topic.id {
                return Ok(view.cursor);
            }
            let message = format!("consumer is registered for topic {}", theirs.name);
            Err(ErrorBody::new(ErrorCode::UnknownConsumer, message, Vec::new()))
        }
    }
}

fn patience(max_wait_ms: u32) -> Result<Duration, ErrorBody> {
    if max_wait_ms > MAX_WAIT_MS {
        return Err(over_limit("wait in milliseconds", max_wait_ms.into(), MAX_WAIT_MS.into()));
    }
    Ok(Duration::from_millis(max_wait_ms.into()))
}

/// Waits for records at `from`; not longer than `patience`, and not once the connection is finishing.
async fn wait(context: &Context, topic: &TopicView, from: Offset, patience: Duration) {
    if patience.is_zero() {
        return;
    }
    tokio::select! {
        biased;
        () = topic.wait_beyond(from) => {}
        () = tokio::time::sleep(patience) => {}
        () = context.finishing.cancelled() => {}
    }
}

fn shutting_down() -> ErrorBody {
    ErrorBody::new(ErrorCode::ShuttingDown, "server is shutting down", Vec::new())
}

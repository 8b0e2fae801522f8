//! Topics, and the server itself.

use std::sync::Arc;

use uuid::Uuid;

use super::{Answered, Context, page_limit, plain};
use crate::{
    broker::{self, Health, TopicView},
    limits::{MAX_DESCRIBE_CONSUMERS, MAX_LIST_TOPICS},
    protocol::{
        ConsumerInfo, CreateTopic, CreateTopicAnswer, DeleteTopic, DeleteTopicAnswer, DescribeTopic,
        DescribeTopicAnswer, ErrorBody, ErrorCode, Id, ListTopics, ListTopicsAnswer, Retention, ServerInfo,
        ServerInfoAnswer, TopicInfo,
    },
    record::{Timestamp, TopicName},
};

pub(super) fn server_info(context: &Context, _: ServerInfo) -> Result<ServerInfoAnswer, ErrorBody> {
    let status = context.shared.broker.status();
    let uptime = context.shared.started.elapsed().as_millis();
    Ok(ServerInfoAnswer {
        server_id: *status.server_id.as_bytes(),
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: u64::try_from(uptime).unwrap_or(u64::MAX),
        now_us: Timestamp::now().0,
        connections: count(context.shared.connections()),
        topics: count(status.topics),
        producers: count(status.producers),
        consumers: count(status.consumers),
        stored_bytes: status.stored_bytes,
        free_bytes: status.free_bytes,
        accepts_appends: status.health == Health::Well,
        ephemeral: context.shared.config.is_ephemeral(),
    })
}

pub(super) async fn create_topic(context: Arc<Context>, request: CreateTopic) -> Answered<CreateTopicAnswer> {
    let (name, retention) = (TopicName::new(&request.topic)?, from_wire(request.retention)?);
    let topic = context.shared.broker.create_topic(name, retention, request.if_absent).await?;
    Ok(plain(CreateTopicAnswer { topic_id: topic.id.0, created: topic.created }))
}

pub(super) async fn delete_topic(context: Arc<Context>, request: DeleteTopic) -> Answered<DeleteTopicAnswer> {
    let name = TopicName::new(&request.topic)?;
    let deleted = context.shared.broker.delete_topic(name, request.if_present).await?;
    Ok(plain(DeleteTopicAnswer { deleted }))
}

pub(super) fn list_topics(context: &Context, request: ListTopics) -> Result<ListTopicsAnswer, ErrorBody> {
    let limit = page_limit(request.limit, MAX_LIST_TOPICS);
    let (topics, more) = context.shared.broker.topics(&request.after, limit);
    Ok(ListTopicsAnswer { topics: topics.iter().map(|topic| topic_info(topic)).collect(), more })
}

pub(super) fn describe_topic(context: &Context, request: DescribeTopic) -> Result<DescribeTopicAnswer, ErrorBody> {
    let name = TopicName::new(&request.topic)?;
    let topic = context.shared.broker.topic(name.as_str())?;
    let range = topic.range();
    let consumers = topic.list_consumers(MAX_DESCRIBE_CONSUMERS).into_iter().map(|consumer| ConsumerInfo {
        consumer_id: id(consumer.id.0),
        name: consumer.name,
        cursor: consumer.cursor.0,
        backlog: range.backlog(consumer.cursor),
    });
    Ok(DescribeTopicAnswer { topic: topic_info(&topic), consumers: consumers.collect() })
}

fn topic_info(topic: &TopicView) -> TopicInfo {
    let range = topic.range();
    TopicInfo {
        name: topic.name.as_str().to_owned(),
        topic_id: topic.id.0,
        head: range.head.0,
        tail: range.tail.0,
        bytes: range.bytes,
        retention: Retention { bytes: topic.retention.bytes, age_ms: topic.retention.age_us.map(|us| us / 1000) },
        created_us: topic.created.0,
        producers: count(range.producers),
        consumers: count(range.consumers),
    }
}

/// Retention as the broker has it.
pub(super) fn from_wire(retention: Retention) -> Result<broker::Retention, ErrorBody> {
    let too_long = |ms| {
        let message = format!("retention of {ms} ms is longer than the server can count");
        ErrorBody::new(ErrorCode::InvalidRetention, message, Vec::new())
    };
    let age_us = retention.age_ms.map(|ms: u64| ms.checked_mul(1000).ok_or_else(|| too_long(ms))).transpose()?;
    Ok(broker::Retention { bytes: retention.bytes, age_us })
}

/// An id as the wire has it.
pub(super) fn id(id: Uuid) -> Id {
    *id.as_bytes()
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

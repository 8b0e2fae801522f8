//! What is said about a topic, in the form that `--json` prints.

use connectify::{
    protocol::{ConsumerInfo, DescribeTopicAnswer, Retention, TopicInfo},
    record::Timestamp,
};
use serde::Serialize;
use uuid::Uuid;

use super::{byte_size::ByteSize, duration, timestamp};

/// A topic. `consumers` is how many there are, or which.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct TopicReport<Consumers> {
    pub(crate) name: String,
    pub(crate) head: u64,
    pub(crate) tail: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) retention_bytes: Option<u64>,
    pub(crate) retention_age_ms: Option<u64>,
    pub(crate) created: String,
    pub(crate) producers: u32,
    pub(crate) consumers: Consumers,
}

/// A consumer of a topic.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ConsumerReport {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) cursor: u64,
    pub(crate) backlog: u64,
}

impl<Consumers> TopicReport<Consumers> {
    fn new(topic: TopicInfo, consumers: Consumers) -> Self {
        Self {
            records: topic.tail.saturating_sub(topic.head),
            name: topic.name,
            head: topic.head,
            tail: topic.tail,
            bytes: topic.bytes,
            retention_bytes: topic.retention.bytes,
            retention_age_ms: topic.retention.age_ms,
            created: timestamp::display(Timestamp(topic.created_us)),
            producers: topic.producers,
            consumers,
        }
    }

    /// How long records stay, for people.
    pub(crate) fn retention(&self) -> String {
        match (self.retention_bytes.map(ByteSize), self.retention_age_ms.map(duration::display_ms)) {
            (None, None) => "for ever".into(),
            (Some(bytes), None) => bytes.to_string(),
            (None, Some(age)) => age,
            (Some(bytes), Some(age)) => format!("{bytes}, {age}"),
        }
    }
}

impl From<TopicInfo> for TopicReport<u32> {
    fn from(topic: TopicInfo) -> Self {
        let consumers = topic.consumers;
        Self::new(topic, consumers)
    }
}

impl From<DescribeTopicAnswer> for TopicReport<Vec<ConsumerReport>> {
    fn from(answer: DescribeTopicAnswer) -> Self {
        Self::new(answer.topic, answer.consumers.into_iter().map(ConsumerReport::from).collect())
    }
}

impl From<ConsumerInfo> for ConsumerReport {
    fn from(consumer: ConsumerInfo) -> Self {
        Self {
            id: Uuid::from_bytes(consumer.consumer_id).to_string(),
            name: consumer.name,
            cursor: consumer.cursor,
            backlog: consumer.backlog,
        }
    }
}

/// What the server is asked to keep.
pub(crate) fn retention(bytes: Option<ByteSize>, age: Option<std::time::Duration>) -> anyhow::Result<Retention> {
    let age_ms = age.map(|age| u64::try_from(age.as_millis())).transpose()?;
    Ok(Retention { bytes: bytes.map(|bytes| bytes.0), age_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> TopicInfo {
        TopicInfo {
            name: "logs".into(),
            topic_id: 3,
            head: 10,
            tail: 25,
            bytes: 4096,
            retention: Retention { bytes: Some(1 << 30), age_ms: Some(604_800_000) },
            created_us: 1_000_000,
            producers: 2,
            consumers: 1,
        }
    }

    #[test]
    fn the_json_of_a_topic_has_the_fields_that_scripts_know() {
        let json = serde_json::to_string(&TopicReport::<u32>::from(topic())).expect("plain fields");
        assert_eq!(
            json,
            concat!(
                r#"{"name":"logs","head":10,"tail":25,"records":15,"bytes":4096,"retention_bytes":1073741824,"#,
                r#""retention_age_ms":604800000,"created":"1970-01-01T00:00:01Z","producers":2,"consumers":1}"#
            )
        );
    }

    #[test]
    fn the_json_of_a_described_topic_lists_its_consumers() {
        let consumer = ConsumerInfo { consumer_id: [7; 16], name: None, cursor: 11, backlog: 14 };
        let answer = DescribeTopicAnswer { topic: topic(), consumers: vec![consumer] };
        let json = serde_json::to_string(&TopicReport::<Vec<_>>::from(answer)).expect("plain fields");
        let list =
            r#""consumers":[{"id":"07070707-0707-0707-0707-070707070707","name":null,"cursor":11,"backlog":14}]}"#;
        assert!(json.ends_with(list), "{json}");
    }

    #[test]
    fn retention_reads_as_a_person_would_say_it() {
        let said = |bytes, age_ms| {
            let retention = Retention { bytes, age_ms };
            TopicReport::<u32>::from(TopicInfo { retention, ..topic() }).retention()
        };
        assert_eq!(said(None, None), "for ever");
        assert_eq!(said(Some(1 << 30), None), "1GiB");
        assert_eq!(said(None, Some(604_800_000)), "7d");
        assert_eq!(said(Some(1 << 30), Some(604_800_000)), "1GiB, 7d");
    }
}

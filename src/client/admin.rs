//! Topics, and the server itself.

use std::time::Duration;

use tokio::time::Instant;

use super::{Client, Error, call::Repeat};
use crate::{
    limits::{MAX_PRODUCERS, MAX_TOPICS},
    protocol::{
        CreateTopic, DeleteTopic, DescribeTopic, DescribeTopicAnswer, ForgetProducer, ListProducers, ListTopics,
        OffsetForTimestamp, Ping, ProducerInfo, ProducerState, ProducerStateAnswer, Retention, ServerInfo,
        ServerInfoAnswer, TopicInfo,
    },
    record::{Offset, ProducerId, Timestamp, TopicId, TopicName},
};

/// Checks the name of a topic before it travels.
pub(super) fn topic_name(topic: &str) -> Result<String, Error> {
    match TopicName::new(topic) {
        Ok(_) => Ok(topic.to_owned()),
        Err(source) => Err(Error::InvalidName { what: "topic", source }),
    }
}

/// Whether names come in order behind the last one, and some do if there are more.
fn is_next_page<'a>(after: &'a String, mut names: impl Iterator<Item = &'a String> + Clone, more: bool) -> bool {
    let is_ordered = names.clone().is_sorted_by(|a, b| a < b);
    is_ordered && names.next().map_or(!more, |first| first > after)
}

impl Client {
    /// Makes a topic. A retention with no bound keeps records for ever.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`TopicExists`](crate::protocol::ErrorCode::TopicExists) when there is one of that name;
    /// when the connection is lost before the answer, an error whose `may_have_applied` is true.
    ///
    /// # Cancel safety
    /// The topic may have been made.
    pub async fn create_topic(&self, topic: &str, retention: Retention) -> Result<TopicId, Error> {
        let request = CreateTopic { topic: topic_name(topic)?, retention, if_absent: false };
        Ok(TopicId(self.call(&request, Repeat::Never).await?.topic_id))
    }

    /// Makes a topic unless there is one of that name, whatever its retention. Says whether this call made it; when the
    /// connection was lost meanwhile, it may say no although an earlier try of the same call did.
    ///
    /// # Errors
    /// [`Error::Refused`], for example for a retention of zero; [`Error::TimedOut`].
    ///
    /// # Cancel safety
    /// The topic may have been made. Calling again is harmless.
    pub async fn ensure_topic(&self, topic: &str, retention: Retention) -> Result<bool, Error> {
        let request = CreateTopic { topic: topic_name(topic)?, retention, if_absent: true };
        Ok(self.call(&request, Repeat::Harmless).await?.created)
    }

    /// Removes a topic with its records, producers and consumers, if there is one of that name. Says whether this call
    /// removed it; when the connection was lost meanwhile, it may say no although an earlier try of the same call did.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::TimedOut`].
    ///
    /// # Cancel safety
    /// The topic may have been removed. Calling again is harmless, unless somebody made it anew.
    pub async fn delete_topic(&self, topic: &str) -> Result<bool, Error> {
        let request = DeleteTopic { topic: topic_name(topic)?, if_present: true };
        Ok(self.call(&request, Repeat::Harmless).await?.deleted)
    }

    /// All topics, in order of name. Topics that come or go meanwhile may be missing or not.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::TimedOut`].
    ///
    /// # Cancel safety
    /// Nothing changes on the server.
    pub async fn list_topics(&self) -> Result<Vec<TopicInfo>, Error> {
        let mut topics: Vec<TopicInfo> = Vec::new();
        loop {
            let after = topics.last().map_or_else(String::new, |last| last.name.clone());
            let page = self.call(&ListTopics { after: after.clone(), limit: 0 }, Repeat::Harmless).await?;
            let goes_on = is_next_page(&after, page.topics.iter().map(|topic| &topic.name), page.more);
            if !goes_on || topics.len() + page.topics.len() > MAX_TOPICS {
                return Err(Error::violation("topics are not in order of name, or too many"));
            }
            topics.extend(page.topics);
            if !page.more {
                return Ok(topics);
            }
        }
    }

    /// One topic with its consumers, as of its last durable record.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`UnknownTopic`](crate::protocol::ErrorCode::UnknownTopic); [`Error::TimedOut`].
    ///
    /// # Cancel safety
    /// Nothing changes on the server.
    pub async fn describe_topic(&self, topic: &str) -> Result<DescribeTopicAnswer, Error> {
        self.call(&DescribeTopic { topic: topic_name(topic)? }, Repeat::Harmless).await
    }

    /// The offset of the first record of the first batch that was appended at a time or after it, by the server's
    /// clock; the tail of the topic if there is none.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`UnknownTopic`](crate::protocol::ErrorCode::UnknownTopic); [`Error::TimedOut`].
    ///
    /// # Cancel safety
    /// Nothing changes on the server.
    pub async fn offset_for_timestamp(&self, topic: &str, at: Timestamp) -> Result<Offset, Error> {
        let request = OffsetForTimestamp { topic: topic_name(topic)?, timestamp_us: at.0 };
        Ok(Offset(self.call(&request, Repeat::Harmless).await?.offset))
    }

    /// The last sequence and epoch of a producer.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`UnknownProducer`](crate::protocol::ErrorCode::UnknownProducer); [`Error::TimedOut`].
    ///
    /// # Cancel safety
    /// Nothing changes on the server.
    pub async fn producer_state(&self, id: ProducerId) -> Result<ProducerStateAnswer, Error> {
        self.call(&ProducerState { producer_id: *id.0.as_bytes() }, Repeat::Harmless).await
    }

    /// Producers of a topic whose names begin with `prefix`, in order of name. Those that come or go meanwhile may be
    /// missing or not.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`UnknownTopic`](crate::protocol::ErrorCode::UnknownTopic); [`Error::TimedOut`].
    ///
    /// # Cancel safety
    /// Nothing changes on the server.
    pub async fn list_producers(&self, topic: &str, prefix: &str) -> Result<Vec<ProducerInfo>, Error> {
        let mut producers: Vec<ProducerInfo> = Vec::new();
        loop {
            let after = producers.last().map_or_else(String::new, |last| last.name.clone());
            let (topic, prefix) = (topic_name(topic)?, prefix.to_owned());
            let request = ListProducers { topic, prefix, after: after.clone(), limit: 0 };
            let page = self.call(&request, Repeat::Harmless).await?;
            let goes_on = is_next_page(&after, page.producers.iter().map(|producer| &producer.name), page.more);
            if !goes_on || producers.len() + page.producers.len() > MAX_PRODUCERS {
                return Err(Error::violation("producers are not in order of name, or too many"));
            }
            producers.extend(page.producers);
            if !page.more {
                return Ok(producers);
            }
        }
    }

    /// Removes a producer: what is still sent in its name is refused, and the name begins anew. Says whether this call
    /// removed it; when the connection was lost meanwhile, it may say no although an earlier try of the same call did.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::TimedOut`].
    ///
    /// # Cancel safety
    /// The producer may have been removed. Calling again is harmless.
    pub async fn forget_producer(&self, id: ProducerId) -> Result<bool, Error> {
        let request = ForgetProducer { producer_id: *id.0.as_bytes() };
        Ok(self.call(&request, Repeat::Harmless).await?.forgotten)
    }

    /// What the server is and how it is.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::TimedOut`].
    ///
    /// # Cancel safety
    /// Nothing changes on the server.
    pub async fn server_info(&self) -> Result<ServerInfoAnswer, Error> {
        self.call(&ServerInfo {}, Repeat::Harmless).await
    }

    /// How long the server takes to answer a request that asks for nothing; waiting for a connection counts.
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    ///
    /// # Cancel safety
    /// Nothing changes on the server.
    pub async fn ping(&self) -> Result<Duration, Error> {
        let asked = Instant::now();
        self.call(&Ping {}, Repeat::Harmless).await?;
        Ok(asked.elapsed())
    }
}

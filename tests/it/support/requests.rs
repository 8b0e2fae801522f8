//! Requests that tests make again and again.

use bytes::Bytes;
use connectify::protocol::{
    Append, AppendPart, AppendedPart, Commit, ConsumerInfo, CreateTopic, CursorMove, Deliver, Dequeue, DequeueAnswer,
    DescribeTopic, ErrorBody, Fetch, FetchAnswer, Id, RegisterConsumer, RegisterConsumerAnswer, RegisterProducer,
    RegisterProducerAnswer, Retention, Start, Subscribe, SubscribeAnswer, TopicInfo, decode_answer,
};

use super::{
    Raw, batch, narrow,
    raw::{error_of, is_pushed_to},
    values,
};

/// An Append of these batches, each for a topic.
pub(crate) fn append_of(parts: &[(u32, Bytes)], commits: &[CursorMove]) -> (Append, Vec<Bytes>) {
    let part = |(topic_id, batch): &(u32, Bytes)| AppendPart { topic_id: *topic_id, batch_bytes: narrow(batch.len()) };
    let append = Append { parts: parts.iter().map(part).collect(), commits: commits.to_vec() };
    (append, parts.iter().map(|(_, batch)| batch.clone()).collect())
}

/// A Fetch that does not wait.
pub(crate) fn fetch_of(topic: &str, offset: u64) -> Fetch {
    Fetch { topic: topic.to_owned(), offset, max_bytes: 1 << 20, max_wait_ms: 0 }
}

pub(crate) fn subscribe_of(topic: &str, start: Start, credit_bytes: u64) -> Subscribe {
    Subscribe { topic: topic.to_owned(), start, credit_bytes }
}

/// What a subscription pushes: batches with their gap, or its end.
pub(crate) type Pushed = Result<(Deliver, Vec<Bytes>), ErrorBody>;

impl Raw {
    pub(crate) async fn create_topic(&mut self, topic: &str, retention: Retention) -> u32 {
        let request = CreateTopic { topic: topic.to_owned(), retention, if_absent: false };
        self.ask(&request).await.topic_id
    }

    pub(crate) async fn topic(&mut self, topic: &str) -> TopicInfo {
        self.ask(&DescribeTopic { topic: topic.to_owned() }).await.topic
    }

    pub(crate) async fn consumers(&mut self, topic: &str) -> Vec<ConsumerInfo> {
        self.ask(&DescribeTopic { topic: topic.to_owned() }).await.consumers
    }

    /// Registers a producer without a name, and makes the topic if need be.
    pub(crate) async fn producer(&mut self, topic: &str) -> RegisterProducerAnswer {
        self.producer_named(topic, None).await
    }

    /// Registers a producer, and makes the topic if need be.
    pub(crate) async fn producer_named(&mut self, topic: &str, name: Option<&str>) -> RegisterProducerAnswer {
        let (topic, name) = (topic.to_owned(), name.map(str::to_owned));
        self.ask(&RegisterProducer { topic, name, create: Some(Retention::default()) }).await
    }

    /// Appends one batch that is taken.
    #[track_caller]
    pub(crate) fn append(
        &mut self,
        producer: &RegisterProducerAnswer,
        batch: &Bytes,
    ) -> impl Future<Output = AppendedPart> {
        let (append, batches) = append_of(&[(producer.topic_id, batch.clone())], &[]);
        async move { self.ask_with(&append, batches).await.0.parts.remove(0) }
    }

    /// Appends one record for each value, each in a batch of its own, from this sequence on.
    pub(crate) async fn append_each(&mut self, producer: &RegisterProducerAnswer, from: u64, values: &[&str]) {
        for (sequence, value) in (from..).zip(values) {
            let part = self.append(producer, &batch(producer, sequence..sequence + 1, &[value])).await;
            assert!(!part.duplicate, "{value} was appended before");
        }
    }

    #[track_caller]
    pub(crate) fn fetch(&mut self, topic: &str, offset: u64) -> impl Future<Output = (FetchAnswer, Vec<Bytes>)> {
        let request = fetch_of(topic, offset);
        async move { self.ask_with(&request, Vec::new()).await }
    }

    /// Every record of a topic, with its offset.
    pub(crate) async fn read_all(&mut self, topic: &str) -> Vec<(u64, String)> {
        let (mut found, mut next) = (Vec::new(), self.topic(topic).await.head);
        loop {
            let (answer, batches) = self.fetch(topic, next).await;
            found.extend(values(&batches));
            match found.last() {
                Some((last, _)) if last + 1 < answer.tail => next = last + 1,
                _ => return found,
            }
        }
    }

    pub(crate) async fn consumer(&mut self, topic: &str, name: Option<&str>, start: Start) -> RegisterConsumerAnswer {
        self.ask(&RegisterConsumer { topic: topic.to_owned(), name: name.map(str::to_owned), start }).await
    }

    pub(crate) async fn commit(&mut self, consumer_id: Id, offset: u64, rewind: bool) -> u64 {
        self.ask(&Commit { consumer_id, offset, rewind }).await.cursor
    }

    /// A Dequeue that does not wait.
    pub(crate) async fn dequeue(
        &mut self,
        consumer_id: Id,
        cursor: u64,
        attempt: u64,
        max_records: u32,
    ) -> (DequeueAnswer, Vec<(u64, String)>) {
        let request = Dequeue { consumer_id, cursor, attempt, max_records, max_wait_ms: 0 };
        let (answer, batches) = self.ask_with(&request, Vec::new()).await;
        let mut found = values(&batches);
        found.retain(|(offset, _)| (answer.offset..answer.next).contains(offset));
        (answer, found)
    }

    /// Subscribes; gives the correlation id, under which deliveries come, and the answer.
    pub(crate) async fn subscribe(&mut self, topic: &str, start: Start, credit_bytes: u64) -> (u32, SubscribeAnswer) {
        let id = self.submit(&subscribe_of(topic, start, credit_bytes), Vec::new()).await;
        let answer = self.answered::<Subscribe>(id).await.expect("the subscription is granted").0;
        (id, answer)
    }

    /// What a subscription pushes next.
    #[track_caller]
    pub(crate) fn pushed(&mut self, subscribed: u32) -> impl Future<Output = Pushed> {
        let frame = self.frame_where(move |frame| is_pushed_to(frame, subscribed));
        async move {
            let frame = frame.await;
            match frame.header.is_error() {
                true => Err(error_of(&frame)),
                false => Ok(decode_answer::<Deliver>(&frame).expect("a delivery follows its table")),
            }
        }
    }

    /// The batches that a subscription pushes next, with what comes with them.
    #[track_caller]
    pub(crate) fn delivered(&mut self, subscribed: u32) -> impl Future<Output = (Deliver, Vec<Bytes>)> {
        let pushed = self.pushed(subscribed);
        async move { pushed.await.expect("the subscription goes on") }
    }
}

//! What the server removes by itself: records (section 8.6), and what has no name and is silent (section 4.9).
//!
//! When exactly, and how much more than it must, is the server's choice within bounds. The reference holds it to them and
//! follows.

use std::{rc::Rc, time::Duration};

use super::{Reference, Topic};
use crate::{
    limits::{ACTIVITY_PRECISION, RETENTION_PIECES, UNNAMED_EXPIRY},
    record::{ConsumerId, Offset, ProducerId, Timestamp, TopicName},
};

/// Between looks at what expires by age.
const SWEEP: Duration = Duration::from_secs(1);
/// Between looks at what has no name; the calendar may be set back meanwhile.
const EXPIRY: Duration = Duration::from_secs(2 * 3600);

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("days")
}

impl Reference {
    /// Takes the head that the broker shows of a topic, if it is one that retention allows now.
    pub(in crate::trial::model) fn follow_head(&mut self, name: &TopicName, head: Offset) -> Result<(), String> {
        let now = self.now;
        let topic = &self.topics[name];
        topic.check_head(head, now).map_err(|what| format!("topic {name}, whose head was {}: {what}", topic.head))?;
        if head != topic.head {
            let topic = self.topic_mut(name);
            topic.batches.retain(|batch| batch.base >= head);
            topic.head = head;
        }
        Ok(())
    }

    /// Whether anybody without a name may have been forgotten.
    pub(in crate::trial::model) fn may_forget(&self) -> bool {
        let is_old = |name: &Option<String>, heard| name.is_none() && self.silence(heard) >= oldest_kept();
        self.topics.values().any(|topic| {
            topic.producers.iter().any(|producer| is_old(&producer.name, producer.heard))
                || topic.consumers.iter().any(|consumer| is_old(&consumer.name, consumer.heard))
        })
    }

    /// Forgets whom the broker has forgotten, if it may, and complains of those that it had to forget.
    pub(in crate::trial::model) fn follow_expiry(
        &mut self,
        has_producer: impl Fn(ProducerId) -> bool,
        has_consumer: impl Fn(ConsumerId) -> bool,
    ) -> Result<(), String> {
        let names: Vec<_> = self.topics.keys().cloned().collect();
        let known = self.clone();
        let judge = |what: String, is_named: bool, heard, is_there: bool| {
            let silence = known.silence(heard);
            if !is_there && (is_named || silence < oldest_kept()) {
                return Err(format!("{what} was forgotten after {silence:?}"));
            }
            if is_there && !is_named && silence > UNNAMED_EXPIRY + EXPIRY {
                return Err(format!("{what} is still known after {silence:?}"));
            }
            Ok(())
        };
        for topic in &names {
            for producer in &known.topics[topic].producers {
                let is_there = has_producer(producer.id);
                judge(format!("producer {}", producer.id), producer.name.is_some(), producer.heard, is_there)?;
            }
            for consumer in &known.topics[topic].consumers {
                let is_there = has_consumer(consumer.id);
                judge(format!("consumer {}", consumer.id), consumer.name.is_some(), consumer.heard, is_there)?;
            }
            let topic = self.topic_mut(topic);
            topic.producers.retain(|producer| has_producer(producer.id));
            topic.consumers.retain(|consumer| has_consumer(consumer.id));
        }
        Ok(())
    }

    fn silence(&self, heard: Timestamp) -> Duration {
        Duration::from_micros(self.now.0.saturating_sub(heard.0))
    }
}

/// Somebody who was heard is noted with a precision of a day.
fn oldest_kept() -> Duration {
    UNNAMED_EXPIRY - ACTIVITY_PRECISION
}

impl Topic {
    /// Whether retention may, or must, have brought the head there by now.
    fn check_head(&self, head: Offset, now: Timestamp) -> Result<(), String> {
        let kept = self.batches.partition_point(|batch| batch.base < head);
        let (gone, kept) = self.batches.split_at(kept);
        let begins = kept.first().map_or(self.tail, |batch| batch.base);
        if head < self.head || head != begins {
            return Err(format!("{head} is where no batch begins"));
        }
        let bytes: u64 = kept.iter().map(|batch| batch.bytes.len() as u64).sum();
        let max_bytes = self.retention.bytes.unwrap_or(u64::MAX);
        let age = self.retention.age_us;
        let is_old = |time: Timestamp| age.is_some_and(|age| time.0.saturating_add(age) < now.0);
        if let Some(last) = gone.last() {
            // A piece is a 32nd of the limit, or one batch that is larger.
            let piece = (max_bytes / RETENTION_PIECES).max(last.bytes.len() as u64);
            let is_too_much = !kept.is_empty() && bytes.saturating_add(piece) > max_bytes;
            if !is_too_much && !is_old(last.time) {
                return Err(format!("too much went: the head is {head}, {bytes} bytes are kept of {max_bytes}"));
            }
        }
        if bytes > max_bytes && kept.len() > 1 {
            return Err(format!("too little went: the head is {head}, {bytes} bytes are kept of {max_bytes}"));
        }
        let latest =
            |first: &Rc<super::reads::Stored>, age: u64| first.time.0 + age + age / RETENTION_PIECES + us(SWEEP);
        match (kept.first(), age) {
            (Some(first), Some(age)) if latest(first, age) < now.0 => {
                Err(format!("too little went: {head} is of {}, which is too long ago", first.time))
            }
            _ => Ok(()),
        }
    }
}

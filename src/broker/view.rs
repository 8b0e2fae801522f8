//! What readers see: heads, tails and cursors as of the last durable group. Written by the writer, read by everybody.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use tokio::sync::{Notify, watch};

use super::{
    Error, Health, Retention, Status,
    state::{Consumer, State, Topic},
};
use crate::{
    record::{ConsumerId, Offset, Timestamp, TopicId, TopicName},
    storage::LogReader,
};

/// The durable range of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicRange {
    /// First offset that is kept.
    pub head: Offset,
    /// Next offset to be assigned.
    pub tail: Offset,
    /// Bytes of the batches between them.
    pub bytes: u64,
    /// Registered producers.
    pub producers: usize,
    /// Registered consumers.
    pub consumers: usize,
    /// Whether the topic is gone.
    pub is_deleted: bool,
}

impl TopicRange {
    /// How many records a consumer has not read whose cursor is there.
    #[must_use]
    pub fn backlog(&self, cursor: Offset) -> u64 {
        self.tail.0 - cursor.max(self.head).min(self.tail).0
    }
}

/// A topic as readers see it.
#[derive(Debug)]
pub struct TopicView {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// How long it keeps its records.
    pub retention: Retention,
    /// When it was created.
    pub created: Timestamp,
    /// What damage took, in order.
    lost: Vec<(Offset, Offset)>,
    range: watch::Sender<TopicRange>,
    consumers: Mutex<BTreeMap<ConsumerId, Listed>>,
}

/// A consumer among those of its topic.
#[derive(Debug)]
struct Listed {
    view: ConsumerView,
    /// Made by the first one who waits for the cursor to move.
    moved: Option<Arc<Notify>>,
}

/// A consumer as readers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerView {
    /// Its id.
    pub id: ConsumerId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The offset it reads next.
    pub cursor: Offset,
}

impl TopicView {
    /// The durable range now.
    #[must_use]
    pub fn range(&self) -> TopicRange {
        *self.range.borrow()
    }

    /// The range that damage took and that holds `offset`, if there is one.
    #[must_use]
    pub fn lost_at(&self, offset: Offset) -> Option<(Offset, Offset)> {
        let range = self.lost.get(self.lost.partition_point(|(_, to)| *to <= offset))?;
        (range.0 <= offset).then_some(*range)
    }

    /// Sees every change of the durable range, or the last of several.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<TopicRange> {
        self.range.subscribe()
    }

    /// Ready when the durable tail is beyond `offset`, or the topic is deleted.
    ///
    /// # Cancel safety
    /// Nothing is changed by waiting.
    pub async fn wait_beyond(&self, offset: Offset) {
        let mut range = self.watch();
        // The sender is part of this view.
        drop(range.wait_for(|range| range.tail > offset || range.is_deleted).await);
    }

    /// Ready when the consumer's cursor is not at `cursor`, or the consumer is gone.
    ///
    /// # Cancel safety
    /// Nothing is changed by waiting.
    pub async fn wait_moved(&self, consumer: ConsumerId, cursor: Offset) {
        loop {
            let moved = match self.consumers().get_mut(&consumer) {
                Some(listed) if listed.view.cursor == cursor => listed.moved.get_or_insert_default().clone(),
                _ => return,
            };
            let notified = moved.notified();
            // It may have moved before anybody waited.
            if self.consumers().get(&consumer).is_some_and(|listed| listed.view.cursor == cursor) {
                notified.await;
            }
        }
    }

    fn consumers(&self) -> MutexGuard<'_, BTreeMap<ConsumerId, Listed>> {
        self.consumers.lock().expect("no panic while it is locked")
    }

    /// Its consumers: named ones first, in order of name; at most `limit`.
    #[must_use]
    pub fn list_consumers(&self, limit: usize) -> Vec<ConsumerView> {
        let mut consumers: Vec<_> = self.consumers().values().map(|listed| listed.view.clone()).collect();
        consumers.sort_by(|a, b| (a.name.is_none(), &a.name, a.id).cmp(&(b.name.is_none(), &b.name, b.id)));
        consumers.truncate(limit);
        consumers
    }
}

#[derive(Default)]
struct Topics {
    by_name: BTreeMap<TopicName, Arc<TopicView>>,
    by_id: HashMap<TopicId, Arc<TopicView>>,
    consumers: HashMap<ConsumerId, TopicId>,
}

/// All topics and consumers.
#[derive(Default)]
pub(super) struct View {
    topics: RwLock<Topics>,
    reader: RwLock<Option<Arc<dyn LogReader>>>,
    status: Mutex<Status>,
    is_reopening: AtomicBool,
}

impl View {
    fn topics_now(&self) -> RwLockReadGuard<'_, Topics> {
        self.topics.read().expect("no panic while it is locked")
    }

    pub(super) fn topic(&self, name: &str) -> Result<Arc<TopicView>, Error> {
        self.topics_now().by_name.get(name).cloned().ok_or_else(|| Error::UnknownTopic(name.to_owned()))
    }

    pub(super) fn topics(&self, after: &str, limit: usize) -> (Vec<Arc<TopicView>>, bool) {
        let topics = self.topics_now();
        let mut rest = topics.by_name.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        let page = rest.by_ref().take(limit).map(|(_, topic)| topic.clone()).collect();
        (page, rest.next().is_some())
    }

    pub(super) fn consumer(&self, id: ConsumerId) -> Result<(ConsumerView, Arc<TopicView>), Error> {
        let topics = self.topics_now();
        let topic = topics.consumers.get(&id).and_then(|topic| topics.by_id.get(topic));
        let found = topic.and_then(|topic| {
            let view = topic.consumers().get(&id)?.view.clone();
            Some((view, topic.clone()))
        });
        found.ok_or_else(|| Error::UnknownConsumer(id.to_string()))
    }

    pub(super) fn reader(&self) -> Option<Arc<dyn LogReader>> {
        self.reader.read().expect("no panic while it is locked").clone()
    }

    pub(super) fn set_reader(&self, reader: Arc<dyn LogReader>) {
        *self.reader.write().expect("no panic while it is locked") = Some(reader);
    }

    /// Whether the engine behind the reader is closed, and another one may come.
    pub(super) fn is_reopening(&self) -> bool {
        self.is_reopening.load(SeqCst)
    }

    pub(super) fn set_reopening(&self, is_reopening: bool) {
        self.is_reopening.store(is_reopening, SeqCst);
    }

    pub(super) fn status(&self) -> Status {
        let (stored_bytes, free_bytes) = self.reader().map_or((0, None), |reader| reader.space());
        let last = self.last_status();
        // Nobody may have tried to append since the disk became full.
        let is_full = last.health == Health::Well && free_bytes.is_some_and(|free| free < last.reserve_bytes);
        let health = if is_full { Health::DiskFull } else { last.health };
        Status { stored_bytes, free_bytes, health, ..last }
    }

    /// Without a look at the files.
    pub(super) fn last_status(&self) -> Status {
        *self.status.lock().expect("no panic while it is locked")
    }

    pub(super) fn set_status(&self, status: Status) {
        *self.status.lock().expect("no panic while it is locked") = status;
    }

    /// Shows what is durable now of these topics and consumers. Wakes whoever waits for them.
    pub(super) fn publish(&self, state: &State, topics: &[TopicId], consumers: &[ConsumerId]) {
        for id in topics {
            match state.topics.get(id) {
                Some(topic) => self.publish_topic(topic),
                None => self.remove_topic(*id),
            }
        }
        for id in consumers {
            match state.consumers.get(id) {
                Some(consumer) => self.publish_consumer(consumer),
                None => self.remove_consumer(*id),
            }
        }
    }

    /// Shows a state that was recovered, whatever was shown before.
    pub(super) fn publish_all(&self, state: &State) {
        let shown: Vec<_> = self.topics_now().by_id.keys().copied().collect();
        let gone: Vec<_> = shown.into_iter().filter(|id| !state.topics.contains_key(id)).collect();
        gone.iter().for_each(|id| self.remove_topic(*id));
        let topics: Vec<_> = state.topics.keys().copied().collect();
        let consumers: Vec<_> = state.consumers.keys().copied().collect();
        self.publish(state, &topics, &consumers);
    }

    fn publish_topic(&self, topic: &Topic) {
        let range = TopicRange {
            head: topic.head,
            tail: topic.tail,
            bytes: topic.bytes,
            producers: topic.producers.len(),
            consumers: topic.consumers.len(),
            is_deleted: false,
        };
        if let Some(view) = self.topics_now().by_id.get(&topic.id) {
            view.range.send_replace(range);
            return;
        }
        let view = Arc::new(TopicView {
            id: topic.id,
            name: topic.name.clone(),
            retention: topic.retention,
            created: topic.created,
            lost: topic.lost.clone(),
            range: watch::Sender::new(range),
            consumers: Mutex::default(),
        });
        let mut topics = self.topics.write().expect("no panic while it is locked");
        topics.by_name.insert(topic.name.clone(), view.clone());
        topics.by_id.insert(topic.id, view);
    }

    fn remove_topic(&self, id: TopicId) {
        let mut topics = self.topics.write().expect("no panic while it is locked");
        let Some(view) = topics.by_id.remove(&id) else {
            return;
        };
        // A topic that was created anew since has the name now.
        if topics.by_name.get(&view.name).is_some_and(|named| named.id == id) {
            topics.by_name.remove(&view.name);
        }
        view.range.send_modify(|range| range.is_deleted = true);
        let gone = std::mem::take(&mut *view.consumers());
        for listed in gone.into_values() {
            topics.consumers.remove(&listed.view.id);
            listed.moved.inspect(|moved| moved.notify_waiters());
        }
    }

    fn remove_consumer(&self, id: ConsumerId) {
        let mut topics = self.topics.write().expect("no panic while it is locked");
        let topic = topics.consumers.remove(&id).and_then(|topic| topics.by_id.get(&topic));
        if let Some(topic) = topic {
            let removed = topic.consumers().remove(&id);
            removed.and_then(|listed| listed.moved).inspect(|moved| moved.notify_waiters());
        }
    }

    fn publish_consumer(&self, consumer: &Consumer) {
        let topics = self.topics_now();
        let Some(topic) = topics.by_id.get(&consumer.topic) else {
            return;
        };
        if let Some(listed) = topic.consumers().get_mut(&consumer.id) {
            listed.view.cursor = consumer.cursor;
            listed.moved.iter().for_each(|moved| moved.notify_waiters());
            return;
        }
        let view = ConsumerView { id: consumer.id, name: consumer.name.clone(), cursor: consumer.cursor };
        let is_new = topic.consumers().insert(consumer.id, Listed { view, moved: None }).is_none();
        drop(topics);
        if is_new {
            self.topics.write().expect("no panic while it is locked").consumers.insert(consumer.id, consumer.topic);
        }
    }
}

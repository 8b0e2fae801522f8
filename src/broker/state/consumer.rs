//! A consumer: its cursor, and the last dequeue, so that a retry of it gets the same records.

use uuid::Uuid;

use crate::{
    broker::event::{self, Dequeue},
    record::{ConsumerId, Offset, Timestamp, TopicId},
};

/// A registered consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Consumer {
    pub(in crate::broker) id: ConsumerId,
    pub(in crate::broker) topic: TopicId,
    pub(in crate::broker) name: Option<String>,
    pub(in crate::broker) cursor: Offset,
    pub(in crate::broker) last_active: Timestamp,
    pub(in crate::broker) last_dequeue: Option<Dequeue>,
}

impl Consumer {
    pub(in crate::broker) fn new(topic: TopicId, name: Option<String>, cursor: Offset, now: Timestamp) -> Self {
        Self { id: ConsumerId(Uuid::new_v4()), topic, name, cursor, last_active: now, last_dequeue: None }
    }

    pub(super) fn from_event(event: &event::Consumer) -> Self {
        Self {
            id: ConsumerId(Uuid::from_bytes(event.id)),
            topic: TopicId(event.topic),
            name: event.name.clone(),
            cursor: Offset(event.cursor),
            last_active: Timestamp(event.last_active_us),
            last_dequeue: event.last_dequeue,
        }
    }

    pub(in crate::broker) fn to_event(&self) -> event::Consumer {
        event::Consumer {
            id: *self.id.0.as_bytes(),
            topic: self.topic.0,
            name: self.name.clone(),
            cursor: self.cursor.0,
            last_active_us: self.last_active.0,
            last_dequeue: self.last_dequeue,
        }
    }
}

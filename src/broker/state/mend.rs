//! Folding what is left of a damaged journal: an entry that does not follow is taken for what it says, and what it does
//! not say is made up so that nothing that is intact is given up. Each says what did not follow.

use std::{collections::HashSet, sync::Arc};

use super::{Event, Impossible, Producer, State, Topic};
use crate::{
    broker::event,
    record::{BatchHeader, Offset, TopicId, TopicName},
};

/// Topics that are known to be deleted. That a later topic exists says nothing of an earlier one: its creation may be in
/// what is damaged.
#[derive(Debug, Default)]
pub(in crate::broker) struct Deleted {
    /// In the last state that is known every topic below this is there, unless it was deleted.
    next_topic: u32,
    /// Those whose deletion was found since.
    since: HashSet<TopicId>,
}

impl Deleted {
    /// Those that are absent from a state that is known.
    pub(in crate::broker) fn before(state: &State) -> Self {
        Self { next_topic: state.next_topic, since: HashSet::new() }
    }

    /// Takes note of an event, if it is a deletion.
    pub(in crate::broker) fn see(&mut self, bytes: &[u8]) {
        if let Some(Event::TopicDeleted(id)) = Event::decode(bytes) {
            self.since.insert(TopicId(id));
        }
    }

    /// Whether a topic that is not in the state was deleted.
    fn holds(&self, id: TopicId) -> bool {
        id.0 < self.next_topic || self.since.contains(&id)
    }
}

impl State {
    /// Applies the append of a batch, whatever is missing before it.
    ///
    /// # Errors
    /// What did not follow. It is applied all the same, unless its topic was deleted before or it is before the tail
    /// already.
    pub(in crate::broker) fn mend_batch(
        &mut self,
        id: TopicId,
        header: &BatchHeader,
        deleted: &Deleted,
    ) -> Result<(), Impossible> {
        let mut wrong = Ok(());
        if !self.topics.contains_key(&id) {
            wrong = Err(Impossible("a batch of an unknown topic"));
            if deleted.holds(id) {
                return wrong;
            }
            self.put_topic(&nameless(self.unused_name(id), id))?;
        }
        let topic = self.topic_mut(id)?;
        let mut header = *header;
        if header.stamp.base_offset < topic.tail {
            return Err(Impossible("a batch is not at the tail of its topic"));
        }
        if header.stamp.base_offset > topic.tail {
            wrong = Err(Impossible("a batch is not at the tail of its topic"));
        }
        if header.stamp.append_time < topic.last_append {
            wrong = Err(Impossible("the append times of a topic go back"));
            header.stamp.append_time = topic.last_append;
        }
        topic.append(&header);
        self.mend_producer(id, &header).and(wrong)
    }

    fn mend_producer(&mut self, id: TopicId, header: &BatchHeader) -> Result<(), Impossible> {
        let mut wrong = Ok(());
        let Some(producer) = self.producers.get_mut(&header.producer) else {
            let mut producer = Producer::new(id, None, header.stamp.append_time);
            producer.id = header.producer;
            self.topic_mut(id)?.producers.insert(producer.id);
            self.producers.insert(producer.id, Arc::new(producer));
            return self.mend_producer(id, header).and(Err(Impossible("a batch of an unknown producer")));
        };
        let producer = Arc::make_mut(producer);
        if producer.topic != id || producer.end > header.sequence.start {
            return Err(Impossible("a batch that its producer had stored already"));
        }
        if producer.end < header.sequence.start {
            wrong = Err(Impossible("a batch whose producer had stored nothing before it"));
        }
        producer.epoch = producer.epoch.max(header.epoch);
        producer.append(header);
        wrong
    }

    /// Applies an event, if it can be applied to what is known.
    ///
    /// # Errors
    /// What did not follow.
    pub(in crate::broker) fn mend_event(&mut self, bytes: &[u8]) -> Result<(), Impossible> {
        let event = Event::decode(bytes).ok_or(Impossible("an event that this version does not know"))?;
        let mut wrong = Ok(());
        match &event {
            Event::Topic(topic) => {
                let older = TopicName::new(&topic.name).ok().and_then(|name| self.names.get(&name).copied());
                if let Some(older) = older.filter(|older| older.0 != topic.id) {
                    wrong = Err(Impossible("a topic has the name of another one"));
                    self.make_way(older)?;
                }
            }
            Event::Trimmed { topic, head } => {
                let topic = self.topic_mut(TopicId(*topic))?;
                if Offset(*head) > topic.tail {
                    wrong = Err(Impossible("the head of a topic moves to where it cannot be"));
                    topic.tail = Offset(*head);
                }
            }
            _ => {}
        }
        self.apply(&event).and(wrong)
    }

    /// Another topic takes the name of this one: its deletion is missing, unless the name was made up here.
    fn make_way(&mut self, id: TopicId) -> Result<(), Impossible> {
        let topic = self.topic_mut(id)?;
        if !is_made_up(topic) {
            return self.delete_topic(id);
        }
        let name = topic.name.clone();
        // The old name is taken still, so this is another one.
        let unused = self.unused_name(id);
        self.topic_mut(id)?.name = unused.clone();
        self.names.remove(&name);
        self.names.insert(unused, id);
        Ok(())
    }

    fn unused_name(&self, id: TopicId) -> TopicName {
        let mut name = format!("{MADE_UP}{id}");
        loop {
            let checked = TopicName::new(&name).expect("letters, digits and dashes, and not many");
            if !self.names.contains_key(&checked) {
                return checked;
            }
            name.push('-');
        }
    }
}

/// How names begin that are made up.
const MADE_UP: &str = "salvaged-";
/// When topics were created of which nobody knows when: before all others.
const UNKNOWN_US: u64 = 0;

/// Whether nobody knows the name of this topic.
fn is_made_up(topic: &Topic) -> bool {
    topic.created.0 == UNKNOWN_US && topic.name.as_str().starts_with(MADE_UP)
}

/// A topic of which nobody knows the name any more.
pub(super) fn nameless(name: TopicName, id: TopicId) -> event::Topic {
    event::Topic {
        id: id.0,
        name: name.as_str().to_owned(),
        created_us: UNKNOWN_US,
        retention_bytes: None,
        retention_age_us: None,
        head: 0,
        tail: 0,
        bytes: 0,
        last_append_us: 0,
        pieces: Vec::new(),
    }
}

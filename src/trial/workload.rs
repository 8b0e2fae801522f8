//! A run: appends, cursors, dequeues, topics that come and go with what is in them, on a broker that is driven step by step.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    Rng, SimDisk,
    calls::{Settle, later, outcome_of},
    contents::records_of,
    cut::Cutter,
    history::{Append, Commit, Deletion, Forgetting, History, Outcome, Read, Stored},
};
use crate::{
    broker::{
        Appending, Background, BrokerConfig, Error, Place, ProducerState, Retention, Room, StartAt, Stepped,
        StorageError,
    },
    planted::{Bug, Planted},
    record::{
        Batch, BatchBuilder, Compression, ConsumerId, Offset, ProducerId, Record, Sequence, SequenceRange, Timestamp,
        TopicName,
    },
};

/// Small, so that a short run rolls, seals, trims and rewrites.
const SEGMENT_BYTES: u64 = 12 * 1024;
/// Headers and twice two frames, so that groups are folded, written over, and too large for it.
const WAL_BYTES: usize = (2 + 2 * 2) * 4096;
/// So that large appends are written in pieces.
const GROUP_BYTES: usize = 4 * 1024;
/// Of a hundred records, so many may be too large for the write-ahead log, too.
const LARGE_PERCENT: u64 = 3;
/// Of the topic that forgets.
const RETENTION_BYTES: u64 = 14 * 1024;
/// What that leaves: whole pieces go, of a 32nd or of one batch.
pub(super) const LEAST_KEPT_BYTES: u64 = RETENTION_BYTES - RETENTION_BYTES / 32 - 3 * 1024;
pub(super) const FORGETFUL_TOPIC: &str = "forgetful";
/// Of the topic whose records grow old.
const RETENTION_AGE: Duration = Duration::from_secs(12);
pub(super) const AGING_TOPIC: &str = "aging";
const TOPICS: [&str; 4] = ["kept", "other", FORGETFUL_TOPIC, AGING_TOPIC];
/// From one step to the next.
const STEP: Duration = Duration::from_secs(1);
/// When runs begin.
pub(super) const BEGINNING: Timestamp = Timestamp(1_700_000_000_000_000);
/// A writer of the topic that forgets.
const FORGETFUL: usize = 2;
/// Writers of topics that stay. Those behind them write to a topic that goes, one after the other.
const LASTING_WRITERS: usize = 5;
/// What a dequeue may take.
pub(super) const ROOM: Room = Room { bytes: 1 << 20, per_batch: 5 };
/// Steps with the same kind of work.
const FOCUS_STEPS: usize = 10;
/// Of a hundred steps, so many end with the process being killed, within so many operations of the disk, where there are
/// kills.
const KILL_PERCENT: u64 = 8;
const KILLED_WITHIN: u64 = 6;
/// Of a hundred kills, so many are by a power cut.
const CUT_PERCENT: u64 = 40;

/// Opens the store on a disk.
pub(super) fn open(disk: &SimDisk, planted: Planted) -> Result<Stepped, StorageError> {
    open_at(disk, planted, Background::Inline, BEGINNING)
}

fn open_at(disk: &SimDisk, planted: Planted, background: Background, now: Timestamp) -> Result<Stepped, StorageError> {
    if planted.has(Bug::SkipDirectorySync) {
        disk.skip_directory_syncs();
    }
    let config = BrokerConfig {
        segment_bytes: SEGMENT_BYTES,
        wal_bytes: WAL_BYTES,
        group_bytes: GROUP_BYTES,
        tail_cache_bytes: 32 * 1024,
        reserve_bytes: 0,
        background,
        planted,
    };
    Stepped::open_at(Place::Volume(Arc::new(disk.clone())), config, now)
}

struct Writer {
    state: ProducerState,
    /// When its registration was answered.
    since: u64,
    topic: String,
    /// When the deletion of its topic, or of itself, was asked for.
    gone: Option<u64>,
    /// What it has been sent, each with its sequence.
    next: u64,
    /// The last batch, for a retry.
    last: Option<(Vec<(String, Stored)>, Batch)>,
    /// Whether that was an append of its own: it is sent again as a whole, or not at all.
    is_alone: bool,
}

/// What an answer will be written into.
type Slot<T> = Arc<Mutex<Option<(Result<T, Error>, u64)>>>;

/// A run as it goes on.
pub(super) struct Run {
    pub(super) disk: SimDisk,
    pub(super) store: Stepped,
    pub(super) history: Arc<Mutex<History>>,
    /// The heads that retention asked for, and since when.
    pub(super) heads: Vec<(u64, String, u64)>,
    now: Timestamp,
    /// The tail of the topic whose records grow old, and when it was there.
    aging: Vec<(Timestamp, u64)>,
    rng: Rng,
    writers: Vec<Writer>,
    consumers: Vec<(ConsumerId, &'static str)>,
    payload: u64,
    topics_made: u64,
    calls: u64,
    /// Whether only the topic that forgets is appended to, so that whole segments die.
    is_focused: bool,
    /// Whether the process is killed now and then, and started again.
    has_kills: bool,
    background: Background,
    planted: Planted,
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("minutes")
}

fn name(name: &str) -> TopicName {
    TopicName::new(name).expect("a good name")
}

impl Run {
    /// Begins: topics, producers, consumers. An error of the store ends the run.
    pub(super) fn begin(disk: SimDisk, planted: Planted, rng: Rng) -> Result<Self, Error> {
        Self::begin_with(disk, planted, rng, Background::Inline)
    }

    /// The same, with the background work as late as on a thread, and the process killed now and then and started again.
    pub(super) fn begin_roughly(disk: SimDisk, planted: Planted, mut rng: Rng) -> Result<Self, Error> {
        let background = Background::Deferred(rng.number());
        Self::begin_with(disk, planted, rng, background).map(|run| Self { has_kills: true, ..run })
    }

    fn begin_with(disk: SimDisk, planted: Planted, rng: Rng, background: Background) -> Result<Self, Error> {
        let store = open_at(&disk, planted, background, BEGINNING).map_err(|_| Error::StorageFailed)?;
        let history = Arc::new(Mutex::new(History { has_every_sequence: true, ..History::default() }));
        let mut run = Self {
            disk,
            store,
            history,
            heads: Vec::new(),
            now: BEGINNING,
            aging: Vec::new(),
            rng,
            writers: Vec::new(),
            consumers: Vec::new(),
            payload: 0,
            topics_made: 0,
            calls: 0,
            is_focused: false,
            has_kills: false,
            background,
            planted,
        };
        run.watch();
        for (number, topic) in TOPICS.into_iter().cycle().take(LASTING_WRITERS).enumerate() {
            let retention = Retention {
                bytes: (topic == FORGETFUL_TOPIC).then_some(RETENTION_BYTES),
                age_us: (topic == AGING_TOPIC).then_some(us(RETENTION_AGE)),
            };
            let producer = format!("p{number}");
            let state = run.store.call(|broker| async move {
                broker.register_producer(name(topic), Some(producer), Some(retention)).await
            })?;
            let since = run.disk.ops();
            run.writers.push(Writer {
                state,
                since,
                topic: topic.to_owned(),
                gone: None,
                next: 0,
                last: None,
                is_alone: true,
            });
        }
        for topic in &TOPICS[..2] {
            let consumer = run.store.call(|broker| async move {
                broker.register_consumer(name(topic), Some("c".to_owned()), StartAt::Head).await
            })?;
            run.consumers.push((consumer.id, topic));
        }
        Ok(run)
    }

    /// Reads what consumers see whenever the disk begins to sync.
    fn watch(&self) {
        let (peek, history, disk) = (self.store.peek(), self.history.clone(), self.disk.clone());
        let seen = Mutex::new(BTreeMap::<&str, u64>::new());
        self.disk.on_sync(Some(Arc::new(move || {
            let at = disk.ops();
            let mut next = seen.lock().expect("no panic while it is locked");
            for topic in TOPICS {
                let from = next.entry(topic).or_default();
                let found = records_of(topic, &peek.batches(topic, Offset(*from)));
                if let Some(last) = found.last().cloned() {
                    let read = Read { at, from: Some(*from), seen: found };
                    *from = last.offset + 1;
                    history.lock().expect("no panic while it is locked").reads.push(read);
                }
            }
        })));
    }

    /// So many steps: some operations each, which become durable together. Ends early when the store fails.
    pub(super) fn steps(&mut self, count: usize) {
        for step in 0..count {
            if step % FOCUS_STEPS == 0 {
                self.is_focused = self.rng.percent(50);
            }
            let began = self.disk.ops();
            self.pass(STEP);
            let mut settle: Vec<Settle> = Vec::new();
            for _ in 0..=self.rng.below(3) {
                let settling = match self.rng.below(20) {
                    0 => self.topic_comes_and_goes(),
                    1..=2 => self.commit(),
                    3 => self.dequeue(),
                    4 => self.repeat(),
                    5..=6 => self.append(2),
                    _ => self.append(1),
                };
                settle.extend(settling);
            }
            let is_killed = self.has_kills && self.rng.percent(KILL_PERCENT);
            if is_killed {
                self.disk.kill_after(self.rng.below(KILLED_WITHIN));
            }
            self.store.step();
            settle.into_iter().for_each(|settle| settle(self));
            if is_killed {
                self.start_again();
            }
            self.note_heads(began);
        }
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now.0 += us(time);
        self.store.pass(time, self.now);
    }

    /// Notes how far retention went since, or how far it might have gone if that is less.
    fn note_heads(&mut self, since: u64) {
        for topic in self.store.broker().topics("", 100).0 {
            let (range, name) = (topic.range(), topic.name.to_string());
            // Nothing is ever trimmed elsewhere.
            let mut head = if name == FORGETFUL_TOPIC || name == AGING_TOPIC { range.head.0 } else { 0 };
            if name == AGING_TOPIC {
                let oldest = self.now.0 - us(RETENTION_AGE);
                let expired = self.aging.iter().rfind(|(when, _)| when.0 < oldest);
                head = head.min(expired.map_or(0, |(_, tail)| *tail));
                self.aging.push((self.now, range.tail.0));
            }
            self.heads.push((since, name, head));
        }
    }

    /// The process is killed, and started again: what it wrote is there, though the disk may not have it; or the power went,
    /// and it is not. Clients send again what was not answered.
    fn start_again(&mut self) {
        self.disk.on_sync(None);
        self.disk.kill_after(0);
        let elsewhere = Stepped::open(Place::Memory, BrokerConfig::default()).expect("in memory");
        drop(std::mem::replace(&mut self.store, elsewhere));
        self.disk.revive();
        if self.rng.percent(CUT_PERCENT) {
            let mut cutter = Cutter::new(self.disk.story());
            cutter.advance(self.disk.ops() - self.disk.forgotten());
            self.disk = self.disk.after_a_cut(cutter.sample(&mut self.rng));
        }
        self.store = open_at(&self.disk, self.planted, self.background, self.now)
            .unwrap_or_else(|error| panic!("it does not open again: {}", error.with_causes()));
        self.watch();
        let states = self.store.producers();
        let mut settle = Vec::new();
        for at in 0..self.writers.len() {
            let writer = &mut self.writers[at];
            let Some(state) = states.iter().find(|state| state.id == writer.state.id) else { continue };
            let stored = state.last_sequence.0;
            let topic = writer.state.topic;
            let Some((records, batch)) = writer.last.clone() else { continue };
            let range = batch.header().sequence;
            let is_stored = range.end.0 <= stored;
            // What is missing in front of it is gone: nobody waits for that, nor for this.
            let may_follow = writer.is_alone && range.start.0 <= stored;
            match self.rng.percent(70) {
                true if is_stored || may_follow => settle.push(self.send(records, vec![(topic, batch)], Vec::new())),
                _ if is_stored => {}
                _ => (writer.next, writer.last) = (stored, None),
            }
        }
        self.store.step();
        settle.into_iter().for_each(|settle| settle(self));
    }

    /// One append with batches for so many topics; with two, a cursor moves in the same instant.
    fn append(&mut self, parts: usize) -> Option<Settle> {
        let (mut records, mut batches) = (Vec::new(), Vec::new());
        let first = self.writer();
        for number in 0..if self.is_focused { 1 } else { parts } {
            let at = match number {
                _ if self.is_focused => FORGETFUL,
                0 => first,
                _ => (first + number) % LASTING_WRITERS,
            };
            let (part, batch) = self.batch(at);
            batches.push((self.writers[at].state.topic, batch.clone()));
            records.extend(part.iter().cloned());
            (self.writers[at].last, self.writers[at].is_alone) = (Some((part, batch)), parts == 1 || self.is_focused);
        }
        let cursors = if batches.len() > 1 { self.next_cursor() } else { None };
        Some(self.send(records, batches, cursors.into_iter().collect()))
    }

    /// The writer of the topic that goes, while that is there.
    fn passing_writer(&self) -> Option<usize> {
        (LASTING_WRITERS..self.writers.len()).next_back().filter(|writer| self.writers[*writer].gone.is_none())
    }

    /// Any writer whose topic is there.
    fn writer(&mut self) -> usize {
        match self.passing_writer() {
            Some(writer) if self.rng.percent(30) => writer,
            _ => self.rng.index(LASTING_WRITERS),
        }
    }

    /// The last batch of a producer again.
    fn repeat(&mut self) -> Option<Settle> {
        let at = if self.is_focused { FORGETFUL } else { self.writer() };
        let (records, batch) = self.writers[at].last.clone()?;
        let topic = self.writers[at].state.topic;
        Some(self.send(records, vec![(topic, batch)], Vec::new()))
    }

    /// A place for a consumer that it was not at before, and that exists.
    fn next_cursor(&mut self) -> Option<(usize, u64)> {
        let consumer = self.rng.index(self.consumers.len());
        let (id, _) = self.consumers[consumer];
        let (view, topic) = self.store.broker().consumer(id).ok()?;
        (view.cursor < topic.range().tail).then(|| (consumer, view.cursor.0 + 1))
    }

    fn next_call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    fn batch(&mut self, at: usize) -> (Vec<(String, Stored)>, Batch) {
        let writer = &mut self.writers[at];
        let (start, count) = (writer.next, 1 + self.rng.below(3));
        let (mut builder, mut records) = (BatchBuilder::new(), Vec::new());
        for sequence in start..start + count {
            self.payload += 1;
            let may_be_large = self.rng.percent(LARGE_PERCENT) && writer.topic != FORGETFUL_TOPIC;
            let longest = if may_be_large { 14_000 } else { 900 };
            let padding = self.rng.index(longest);
            let value = format!("{at} {sequence} {} {}", self.payload, "x".repeat(padding));
            let stored = Stored { producer: at as u64, sequence, checksum: crc32c::crc32c(value.as_bytes()) };
            records.push((writer.topic.clone(), stored));
            builder.push(&Record::new(value), Timestamp(0)).expect("small");
        }
        writer.next += count;
        let range = SequenceRange::counting(Sequence(start), count);
        let bytes = builder.finish(writer.state.id, writer.state.epoch, range, Compression::None);
        (records, Batch::check(bytes).expect("just built"))
    }

    fn send(
        &mut self,
        records: Vec<(String, Stored)>,
        parts: Vec<(crate::record::TopicId, Batch)>,
        cursors: Vec<(usize, u64)>,
    ) -> Settle {
        let counts: Vec<_> = parts.iter().map(|(_, batch)| u64::from(batch.header().record_count)).collect();
        let commits = cursors.iter().map(|(consumer, offset)| (self.consumers[*consumer].0, Offset(*offset)));
        let appending = Appending { commits: commits.collect(), parts };
        let cursors = cursors.into_iter().map(|(consumer, offset)| (consumer as u64, offset)).collect();
        let invoked = self.disk.ops();
        let number = self.next_call();
        let append = Append { number, invoked, records, cursors, outcome: Outcome::Unknown, offsets: Vec::new() };
        let mut history = self.history.lock().expect("no panic while it is locked");
        history.appends.push(append);
        let number = history.appends.len() - 1;
        drop(history);
        let slot = Slot::default();
        let (tell, disk) = (slot.clone(), self.disk.clone());
        let done = move |outcome| *tell.lock().expect("one thread") = Some((outcome, disk.ops()));
        self.store.broker().append(appending, Box::new(done));
        Box::new(move |run: &mut Self| {
            let Some((outcome, at)) = slot.lock().expect("one thread").take() else { return };
            let mut history = run.history.lock().expect("no panic while it is locked");
            let append = &mut history.appends[number];
            match outcome {
                Ok(parts) => {
                    let each = parts.iter().zip(&counts).flat_map(|(part, count)| {
                        let base = part.base_offset;
                        (0..*count).map(move |n| base.map(|base| base.0 + n))
                    });
                    append.offsets = each.collect();
                    append.outcome = Outcome::Acked((), at);
                }
                Err(Error::Indeterminate) => {}
                Err(_) => append.outcome = Outcome::Refused,
            }
        })
    }

    fn commit(&mut self) -> Option<Settle> {
        let consumer = self.rng.index(self.consumers.len());
        let (id, _) = self.consumers[consumer];
        let (_, topic) = self.store.broker().consumer(id).ok()?;
        let (offset, rewind) = (self.rng.below(topic.range().tail.0 + 1), self.rng.percent(30));
        let invoked = self.disk.ops();
        let number = self.next_call();
        let entry = Commit { number, invoked, consumer: consumer as u64, offset, rewind, outcome: Outcome::Unknown };
        let mut history = self.history.lock().expect("no panic while it is locked");
        history.commits.push(entry);
        let number = history.commits.len() - 1;
        drop(history);
        let broker = self.store.broker().clone();
        let call = async move { broker.commit(id, Offset(offset), rewind).await };
        Some(later(&self.disk, call, move |history, answer, at| {
            history.commits[number].outcome = outcome_of(answer.map(|cursor| cursor.0), at);
        }))
    }

    /// The next record of a consumer, and its cursor behind it.
    fn dequeue(&mut self) -> Option<Settle> {
        let (consumer, next) = self.next_cursor()?;
        let (id, _) = self.consumers[consumer];
        let (invoked, number) = (self.disk.ops(), self.next_call());
        let (cursor, outcome) = (Offset(next - 1), Outcome::Unknown);
        let entry = Commit { number, invoked, consumer: consumer as u64, offset: next, rewind: false, outcome };
        let mut history = self.history.lock().expect("no panic while it is locked");
        history.commits.push(entry);
        let at = history.commits.len() - 1;
        drop(history);
        let answer = self.store.call(|broker| async move { broker.dequeue(id, cursor, number, 1, ROOM).await });
        let outcome = outcome_of(answer.map(|dequeued| dequeued.next.0), self.disk.ops());
        self.history.lock().expect("no panic while it is locked").commits[at].outcome = outcome;
        None
    }

    /// Makes a topic with a producer, or deletes the one that was made last, with what is in it, or has its producer
    /// forgotten.
    fn topic_comes_and_goes(&mut self) -> Option<Settle> {
        if let Some(writer) = self.passing_writer() {
            return Some(if self.rng.percent(60) { self.delete_topic_of(writer) } else { self.forget(writer) });
        }
        let topic = format!("passing-{}", self.topics_made);
        self.topics_made += 1;
        let (called, producer) = (name(&topic), format!("p-{topic}"));
        let state = self.store.call(|broker| async move {
            broker.register_producer(called, Some(producer), Some(Retention::default())).await
        });
        // On a disk that fails it may be there all the same, and stays empty.
        if let Ok(state) = state {
            self.writers.push(Writer {
                state,
                since: self.disk.ops(),
                topic,
                gone: None,
                next: 0,
                last: None,
                is_alone: true,
            });
        }
        None
    }

    fn forget(&mut self, writer: usize) -> Settle {
        let (invoked, id) = (self.disk.ops(), self.writers[writer].state.id);
        self.writers[writer].gone = Some(invoked);
        let broker = self.store.broker().clone();
        let mut history = self.history.lock().expect("no panic while it is locked");
        history.forgotten.push(Forgetting { invoked, producer: writer as u64, outcome: Outcome::Unknown });
        let number = history.forgotten.len() - 1;
        drop(history);
        let call = async move { broker.forget_producer(id).await };
        later(&self.disk, call, move |history, answer, at| {
            history.forgotten[number].outcome = outcome_of(answer.map(drop), at);
        })
    }

    fn delete_topic_of(&mut self, writer: usize) -> Settle {
        let (invoked, topic) = (self.disk.ops(), self.writers[writer].topic.clone());
        self.writers[writer].gone = Some(invoked);
        let (broker, called) = (self.store.broker().clone(), name(&topic));
        let mut history = self.history.lock().expect("no panic while it is locked");
        history.deletions.push(Deletion { invoked, topic, outcome: Outcome::Unknown });
        let number = history.deletions.len() - 1;
        drop(history);
        let call = async move { broker.delete_topic(called, true).await };
        later(&self.disk, call, move |history, answer, at| {
            history.deletions[number].outcome = outcome_of(answer.map(drop), at);
        })
    }

    /// The consumers, for whoever looks at the store after a cut.
    pub(super) fn consumer_ids(&self) -> Vec<ConsumerId> {
        self.consumers.iter().map(|(id, _)| *id).collect()
    }

    /// The producers, by number.
    pub(super) fn producer_ids(&self) -> Vec<ProducerId> {
        self.writers.iter().map(|writer| writer.state.id).collect()
    }

    /// The producers whose registration was answered by a time, as they were registered, unless their topic was on its
    /// way out.
    pub(super) fn producers(&self, time: u64) -> Vec<ProducerState> {
        let is_gone = |writer: &Writer| writer.gone.is_some_and(|since| since <= time);
        let there = self.writers.iter().filter(|writer| writer.since <= time && !is_gone(writer));
        there.map(|writer| writer.state.clone()).collect()
    }

    /// The furthest head that retention may have asked for before a time.
    pub(super) fn max_heads(&self, time: u64) -> BTreeMap<String, u64> {
        let mut heads = BTreeMap::new();
        for (_, topic, head) in self.heads.iter().filter(|(since, ..)| *since <= time) {
            let most = heads.entry(topic.clone()).or_default();
            *most = (*head).max(*most);
        }
        heads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Topics that were deleted were empty, so no cut fell into the deletion of a record.
    #[test]
    fn topics_go_with_their_records_and_consumers_dequeue() {
        let (mut deleted_records, mut moves) = (0, 0);
        for seed in 0..10 {
            let mut run =
                Run::begin(SimDisk::default(), Planted::default(), Rng::new(seed)).expect("a disk that works");
            run.steps(60);
            let history = run.history.lock().expect("no panic");
            let is_deleted = |topic: &String| {
                let mut deletions = history.deletions.iter();
                deletions.any(|deletion| deletion.topic == *topic && deletion.outcome.time().is_some())
            };
            deleted_records +=
                history.acked().flat_map(|append| &append.records).filter(|(topic, _)| is_deleted(topic)).count();
            moves += history.commits.iter().filter(|commit| !commit.rewind && commit.outcome.time().is_some()).count();
        }
        assert!(deleted_records > 50 && moves > 50, "{deleted_records} records went with their topics, {moves} moves");
    }
}

//! What any engine must do. A suite of properties over the contract alone: give it a way to open an engine on the same
//! place again, and it tells whether the engine may carry the broker.

use std::collections::HashMap;

use super::{Block, Engine, Entry, LiveHeads, Recovery, StorageError};
use crate::record::{
    Batch, BatchBuilder, Compression, Epoch, Offset, ProducerId, Record, Sequence, SequenceRange, Stamp, Timestamp,
    TopicId,
};

/// Opens an engine on the same place as the time before.
pub(super) type Open<'a> = &'a dyn Fn() -> Box<dyn Engine>;

/// A state machine of the simplest kind: all events, and the batches of each topic.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    events: Vec<Vec<u8>>,
    tails: HashMap<TopicId, Offset>,
}

impl Model {
    fn encode(&self) -> Vec<u8> {
        let mut tails: Vec<_> = self.tails.iter().map(|(topic, tail)| (topic.0, tail.0)).collect();
        tails.sort_unstable();
        bincode::encode_to_vec((&self.events, tails), bincode::config::standard()).expect("into memory")
    }

    fn decode(bytes: &[u8]) -> Self {
        let ((events, tails), _): ((_, Vec<_>), _) =
            bincode::decode_from_slice(bytes, bincode::config::standard()).expect("our own snapshot");
        Self { events, tails: tails.into_iter().map(|(topic, tail)| (TopicId(topic), Offset(tail))).collect() }
    }
}

impl Recovery for Model {
    fn snapshot(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        assert_eq!(*self, Self::default(), "the snapshot comes first");
        *self = Self::decode(bytes);
        Ok(())
    }

    fn entry(&mut self, entry: Entry<'_>) -> Result<(), StorageError> {
        match entry {
            Entry::Event(event) => self.events.push(event.to_vec()),
            Entry::Batch(topic, bytes) => {
                let batch = Batch::check(bytes.to_vec().into()).expect("stored batches are whole");
                let tail = self.tails.entry(topic).or_default();
                assert_eq!(batch.header().stamp.base_offset, *tail, "offsets of {topic} are dense");
                *tail = batch.header().next_offset();
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Vec<u8> {
        self.encode()
    }
}

/// An engine beside the model of what was committed to it.
struct Driver {
    engine: Box<dyn Engine>,
    model: Model,
    rolls: usize,
}

impl Driver {
    fn open(open: Open<'_>) -> Self {
        let (mut engine, mut model) = (open(), Model::default());
        engine.recover(&mut model).expect("recovers");
        Self { engine, model, rolls: 0 }
    }

    /// Opens again, after a crash or a clean close, and checks that nothing was lost or added.
    fn reopen(self, open: Open<'_>, crash: bool) -> Self {
        if crash {
            drop(self.engine);
        } else {
            self.engine.close().expect("closes");
        }
        let again = Self::open(open);
        assert_eq!(again.model, self.model);
        Self { rolls: self.rolls, ..again }
    }

    /// Commits one block with a batch for each of `topics`, and an event.
    fn commit(&mut self, topics: &[u32], payload: &str) {
        let mut block = Block::default();
        for &topic in topics {
            let tail = self.model.tails.entry(TopicId(topic)).or_default();
            let mut builder = BatchBuilder::new();
            builder.push(&Record::new(format!("{topic}/{tail} {payload}")), Timestamp(1)).expect("small");
            builder.push(&Record::new(payload.to_owned()), Timestamp(2)).expect("small");
            let range = SequenceRange::counting(Sequence(tail.0), 2);
            let batch = builder.finish(ProducerId::default(), Epoch(0), range, Compression::None);
            block.push_batch(TopicId(topic), Stamp { base_offset: *tail, append_time: Timestamp(3) }, 2, &batch);
            *tail = tail.plus(2);
        }
        let event = format!("event {}", self.model.events.len()).into_bytes();
        block.push_event(&event);
        self.model.events.push(event);
        self.engine.commit(block).expect("commits");
        if self.engine.wants_roll() {
            let snapshot = self.model.encode();
            self.engine.roll(Box::new(move || snapshot)).expect("rolls");
            self.rolls += 1;
        }
    }

    /// Reads a topic from an offset to its tail, in steps of `max_bytes`, checking every batch.
    fn check_topic(&self, topic: u32, from: u64, max_bytes: usize) {
        let (reader, tail) = (self.engine.reader(), self.model.tails[&TopicId(topic)]);
        let mut next = from;
        while next < tail.0 {
            let batches = reader.read(TopicId(topic), Offset(next), max_bytes).expect("reads");
            assert!(!batches.is_empty(), "topic {topic} ends at {next} instead of {tail}");
            if let Some(cached) = reader.read_cached(TopicId(topic), Offset(next), max_bytes) {
                assert_eq!(cached[..], batches[..cached.len()]);
            }
            for bytes in batches {
                let batch = Batch::check(bytes).expect("as it was committed");
                let base = batch.header().stamp.base_offset.0;
                assert!(base <= next && next < batch.header().next_offset().0, "{base} at {next}");
                let first = batch.records().expect("plain").next().expect("two").expect("whole").1;
                assert!(first.value.starts_with(format!("{topic}/{base} ").as_bytes()));
                next = batch.header().next_offset().0;
            }
        }
        assert_eq!(next, tail.0);
        assert_eq!(reader.read(TopicId(topic), tail, max_bytes).expect("reads"), Vec::<bytes::Bytes>::new());
    }

    fn check(&self) {
        for (topic, tail) in &self.model.tails {
            for (from, max_bytes) in [(0, 1), (0, 1 << 20), (tail.0 / 2, 500), (tail.0 - 1, 1)] {
                self.check_topic(topic.0, from, max_bytes);
            }
        }
    }
}

/// What was committed is read back, before and after opening again, in one topic and in many.
pub(super) fn what_is_committed_is_read_back(open: Open<'_>) {
    let mut driver = Driver::open(open);
    for round in 0..30 {
        driver.commit(&[1], "one topic");
        driver.commit(&[round % 7 + 2, 1], "two topics");
    }
    driver.commit(&[1, 9], &"x".repeat(300_000));
    driver.check();
    for crash in [true, false, true] {
        driver = driver.reopen(open, crash);
        driver.check();
        driver.commit(&[1, 4], "after opening again");
        driver.check();
    }
}

/// Rolling loses nothing, and recovery starts from the snapshot. The engine must roll at 64 KiB or so.
pub(super) fn segments_roll_without_a_trace(open: Open<'_>) {
    let mut driver = Driver::open(open);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    for round in 0.. {
        driver.commit(&[round % 3, 3, 4 + round % 50], &"payload ".repeat(100));
        if driver.rolls >= 6 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "rolled {} times only", driver.rolls);
    }
    driver.check();
    for crash in [true, false] {
        driver = driver.reopen(open, crash);
        driver.check();
        driver.commit(&[0, 1, 2], "after opening again");
    }
}

/// Trimming takes nothing that is live, and gives room back.
pub(super) fn trimming_takes_only_what_is_dead(open: Open<'_>) {
    let mut driver = Driver::open(open);
    while driver.rolls < 6 {
        driver.commit(&[1, 2], &"payload ".repeat(100));
    }
    let before = driver.engine.reader().space().0;
    let tail = driver.model.tails[&TopicId(2)].0;
    driver.engine.trim(LiveHeads::from([(TopicId(1), Offset(0)), (TopicId(2), Offset(tail - 1))]));
    driver.check_topic(1, 0, 1000);
    driver.check_topic(2, tail - 1, 1000);
    // Topic 1 is deleted, too: whole segments are dead now.
    driver.engine.trim(LiveHeads::from([(TopicId(2), Offset(tail - 1))]));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while driver.engine.reader().space().0 * 3 > before * 2 {
        assert!(std::time::Instant::now() < deadline, "{before} bytes are {} now", driver.engine.reader().space().0);
        std::thread::yield_now();
    }
    driver.check_topic(2, tail - 1, 1000);
    driver = driver.reopen(open, true);
    driver.check_topic(2, tail - 1, 1000);
    driver.commit(&[2], "goes on");
    driver.check_topic(2, tail - 1, 1);
}

/// An old segment in which something is damaged is no reason to stop appending. `damage` is done while it is closed.
pub(super) fn damaged_history_does_not_stop_it(open: Open<'_>, damage: &dyn Fn()) {
    let mut driver = Driver::open(open);
    while driver.rolls < 5 {
        driver.commit(&[2], &"payload ".repeat(3000));
        driver.commit(&[1], "small");
    }
    driver.engine.close().expect("closes");
    damage();
    let mut driver = Driver { rolls: driver.rolls, ..Driver::open(open) };
    let heads = [(TopicId(1), Offset(0)), (TopicId(2), driver.model.tails[&TopicId(2)])];
    driver.engine.trim(LiveHeads::from(heads));
    driver.commit(&[1], "goes on");
    driver.check_topic(1, 0, 1 << 20);
    driver.engine.close().expect("closes");
}

/// What lives between the dead is kept when room is given back, in order and to the last batch.
pub(super) fn what_is_rewritten_reads_the_same(open: Open<'_>) {
    let mut driver = Driver::open(open);
    let large = "payload ".repeat(3000);
    while driver.rolls < 5 {
        driver.commit(&[2], &large);
        driver.commit(&[1, 3], "small");
    }
    let before = driver.engine.reader().space().0;
    let tail = driver.model.tails[&TopicId(2)];
    let heads = [(TopicId(1), Offset(0)), (TopicId(2), tail), (TopicId(3), Offset(7))];
    driver.engine.trim(LiveHeads::from(heads));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while driver.engine.reader().space().0 * 3 > before * 2 {
        assert!(std::time::Instant::now() < deadline, "{before} bytes are {} now", driver.engine.reader().space().0);
        driver.check_topic(1, 0, 300);
        driver.check_topic(3, 7, 1);
    }
    for crash in [true, false] {
        driver.check_topic(1, 0, 1 << 20);
        driver.check_topic(3, 7, 500);
        driver = driver.reopen(open, crash);
        driver.commit(&[1, 3], "after opening again");
    }
}

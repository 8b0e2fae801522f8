//! Group commits of the engine: in memory, which is its own work alone, and in a directory, which adds the disk's.

use std::sync::Arc;

use bytes::Bytes;
use connectify::{
    Compression, Offset, Timestamp,
    record::{Stamp, TopicId},
    storage::{
        Block, DirVolume, Engine, EngineOptions, Entry, MemoryVolume, Recovery, RedbEngine, StorageError, Volume,
    },
};
use criterion::{Criterion, Throughput};

/// Groups: one record, the records of 64 callers, one large batch.
const GROUPS: [(&str, u64, u32, usize); 3] =
    [("1 x 200 B", 1, 1, 200), ("64 x 200 B", 64, 1, 200), ("1 x 1000 records of 1 KiB", 1, 1_000, 1_024)];

/// What was written is let go of a segment at a time, so that neither memory nor disk fills up.
const SEGMENT_BYTES: u64 = 64 << 20;

pub(crate) fn measure(criterion: &mut Criterion) {
    for (name, batches, records, bytes) in GROUPS {
        let batch = crate::batch(records, bytes, Compression::None);
        let memory: Arc<dyn Volume> = Arc::new(MemoryVolume::default());
        commit(criterion, "commit in memory", name, memory, (batches, records, &batch));
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = DirVolume::open(directory.path()).expect("it is empty and ours");
        commit(criterion, "commit in a directory", name, Arc::new(disk), (batches, records, &batch));
    }
}

fn commit(
    criterion: &mut Criterion,
    group: &str,
    name: &str,
    volume: Arc<dyn Volume>,
    (batches, records, batch): (u64, u32, &Bytes),
) {
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Bytes(batches * batch.len() as u64));
    group.sample_size(20);
    let mut engine =
        RedbEngine::new(volume, EngineOptions { segment_bytes: SEGMENT_BYTES, ..EngineOptions::default() });
    engine.recover(&mut Nothing).expect("there is nothing to recover");
    let mut next = Offset(0);
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let mut block = Block::with_capacity(0);
            for _ in 0..batches {
                let stamp = Stamp { base_offset: next, append_time: Timestamp(1) };
                block.push_batch(TopicId(1), stamp, records, batch);
                next = next.plus(u64::from(records));
            }
            engine.commit(block).expect("the volume works");
            if engine.wants_roll() {
                engine.roll(Box::new(Vec::new)).expect("the volume works");
                engine.trim([(TopicId(1), next)].into());
            }
        });
    });
    group.finish();
    Box::new(engine).close().expect("the volume works");
}

/// A state that nobody needs.
struct Nothing;

impl Recovery for Nothing {
    fn snapshot(&mut self, _: &[u8]) -> Result<(), StorageError> {
        Ok(())
    }

    fn entry(&mut self, _: Entry<'_>) -> Result<(), StorageError> {
        Ok(())
    }

    fn state(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

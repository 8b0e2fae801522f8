//! What every record goes through, function by function: `cargo bench`, or `cargo bench -- NAME` for some of them.
//!
//! They say what a change of one function costs. What a server does as a whole is the affair of `connectify bench`.

#[path = "hot_paths/batches.rs"]
mod batches;
#[path = "hot_paths/checksum.rs"]
mod checksum;
#[path = "hot_paths/commit.rs"]
mod commit;
#[path = "hot_paths/frames.rs"]
mod frames;

use std::time::Duration;

use bytes::Bytes;
use connectify::{
    Compression, Record, Timestamp,
    record::{BatchBuilder, Epoch, ProducerId, Sequence, SequenceRange},
};
use criterion::{Criterion, criterion_group, criterion_main};

/// A record's value that does not repeat itself within a page.
fn value(bytes: usize) -> Bytes {
    (0..bytes).map(|index| (index.wrapping_mul(7919) >> 3).to_le_bytes()[0]).collect()
}

/// A batch of so many records of so many bytes each.
fn batch(records: u32, value_bytes: usize, compression: Compression) -> Bytes {
    let (record, mut builder) = (Record::new(value(value_bytes)), BatchBuilder::new());
    for _ in 0..records {
        builder.push(&record, Timestamp(1)).expect("within the limits");
    }
    let sequence = SequenceRange::counting(Sequence(0), u64::from(records));
    builder.finish(ProducerId::default(), Epoch(1), sequence, compression)
}

criterion_group! {
    name = all;
    // Two minutes for all of them, which is enough to see five per cent.
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = checksum::measure, batches::measure, frames::measure, commit::measure
}
criterion_main!(all);

//! Batches: built by a producer, checked by the server, decoded by a consumer.

use std::hint::black_box;

use connectify::{Compression, record::Batch};
use criterion::{Criterion, Throughput};

/// Records and bytes of each: one small one, many small ones, many large ones.
const SHAPES: [(u32, usize); 3] = [(1, 200), (1_000, 200), (256, 1_024)];

pub(crate) fn measure(criterion: &mut Criterion) {
    build(criterion);
    for (name, compression) in [("", Compression::None), (", lz4", Compression::Lz4), (", zstd", Compression::Zstd)] {
        check(criterion, name, compression);
        decode(criterion, name, compression);
    }
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build a batch");
    for (records, bytes) in SHAPES {
        group.throughput(Throughput::Bytes(u64::from(records) * bytes as u64));
        for (name, compression) in [("", Compression::None), (", lz4", Compression::Lz4), (", zstd", Compression::Zstd)]
        {
            group.bench_function(format!("{records} x {bytes} B{name}"), |bencher| {
                bencher.iter(|| crate::batch(black_box(records), black_box(bytes), compression));
            });
        }
    }
    group.finish();
}

/// What the server does with a batch before it stores it: everything but decoding its records.
fn check(criterion: &mut Criterion, name: &str, compression: Compression) {
    let mut group = criterion.benchmark_group("check a batch");
    for (records, bytes) in SHAPES {
        let batch = crate::batch(records, bytes, compression);
        group.throughput(Throughput::Bytes(batch.len() as u64));
        group.bench_function(format!("{records} x {bytes} B{name}"), |bencher| {
            bencher.iter(|| Batch::check(black_box(batch.clone())).expect("it is sound"));
        });
    }
    group.finish();
}

fn decode(criterion: &mut Criterion, name: &str, compression: Compression) {
    let mut group = criterion.benchmark_group("decode the records of a batch");
    for (records, bytes) in SHAPES {
        let batch = Batch::check(crate::batch(records, bytes, compression)).expect("it is sound");
        group.throughput(Throughput::Elements(u64::from(records)));
        group.bench_function(format!("{records} x {bytes} B{name}"), |bencher| {
            bencher.iter(|| {
                let records = black_box(&batch).records().expect("they decompress");
                records.map(|record| record.expect("it is sound").1.value.len()).sum::<usize>()
            });
        });
    }
    group.finish();
}

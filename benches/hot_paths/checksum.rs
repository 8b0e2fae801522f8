//! CRC-32C, which every batch passes three times: at the producer, the server and the consumer.

use std::hint::black_box;

use criterion::{Criterion, Throughput};

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crc32c");
    for bytes in [200, 4 << 10, 256 << 10] {
        let value = crate::value(bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{bytes} B"), |bencher| bencher.iter(|| crc32c::crc32c(black_box(&value))));
    }
    group.finish();
}

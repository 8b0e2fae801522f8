//! Frames: an append as it is written to a socket and as it is read from one.

use std::hint::black_box;

use bytes::BytesMut;
use connectify::{
    Compression,
    limits::MAX_FRAME_BYTES,
    protocol::{FrameCodec, FrameHeader, Opcode, OutFrame},
};
use criterion::{BatchSize, Criterion, Throughput};
use tokio_util::codec::{Decoder, Encoder};

/// Frames that lie in the buffer together, as they do when a socket is read.
const TOGETHER: usize = 16;

pub(crate) fn measure(criterion: &mut Criterion) {
    for (records, bytes) in [(1, 200), (256, 1_024)] {
        // The control body of an append to one topic takes some twenty bytes.
        let header = FrameHeader::request(Opcode::Append, 7);
        let frame = OutFrame::new(header, &[1; 20], vec![crate::batch(records, bytes, Compression::None)]);
        let frame_bytes = frame.to_bytes().len();
        encode(criterion, &format!("{records} x {bytes} B"), &frame, frame_bytes);
        decode(criterion, &format!("{records} x {bytes} B"), &frame, frame_bytes);
    }
}

fn encode(criterion: &mut Criterion, name: &str, frame: &OutFrame, frame_bytes: usize) {
    let mut group = criterion.benchmark_group("encode a frame");
    group.throughput(Throughput::Bytes(frame_bytes as u64));
    let mut codec = FrameCodec::new(MAX_FRAME_BYTES);
    let mut buffer = BytesMut::with_capacity(frame_bytes);
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            buffer.clear();
            codec.encode(black_box(frame.clone()), &mut buffer).expect("memory has room");
            buffer.len()
        });
    });
    group.finish();
}

fn decode(criterion: &mut Criterion, name: &str, frame: &OutFrame, frame_bytes: usize) {
    let mut group = criterion.benchmark_group("decode frames");
    group.throughput(Throughput::Bytes((frame_bytes * TOGETHER) as u64));
    let mut sixteen = BytesMut::new();
    (0..TOGETHER).for_each(|_| frame.write(&mut sixteen));
    group.bench_function(format!("{TOGETHER} of {name}"), |bencher| {
        let decode = |mut buffer: BytesMut| {
            let mut codec = FrameCodec::new(MAX_FRAME_BYTES);
            let mut frames = 0;
            while codec.decode(&mut buffer).expect("they are sound").is_some() {
                frames += 1;
            }
            assert_eq!(frames, TOGETHER);
        };
        bencher.iter_batched(|| sixteen.clone(), decode, BatchSize::LargeInput);
    });
    group.finish();
}

//! Properties of everything that reads bytes from a peer or from a disk, for any bytes whatever.
//!
//! Each is called by a fuzz target (`fuzz/fuzz_targets`), by the test below that replays `fuzz/seeds`, and by proptest. A
//! crash that a fuzzer finds becomes a regression test by adding its input to the seeds.

use bytes::{Bytes, BytesMut};

use crate::{
    limits::{BATCH_HEADER_BYTES, FRAME_HEADER_BYTES, MAX_FRAME_BYTES},
    protocol::{
        self, Answer, Frame, FrameDecoder, FrameError, FrameHeader, Opcode, OutFrame, Request, decode_answer,
        decode_request, encode_answer, encode_request,
    },
    record::{Batch, Offset, Stamp, Timestamp},
};

const LENGTH_AND_HEADER_BYTES: usize = 4 + FRAME_HEADER_BYTES;

/// Frames are the same whether bytes arrive at once or in pieces, and encode to the bytes they were decoded from.
///
/// The first byte is the length of the pieces.
pub fn frame(data: &[u8]) {
    let Some((&piece_bytes, stream)) = data.split_first() else { return };
    let whole = decode_frames([stream]);
    let pieces = decode_frames(stream.chunks(usize::from(piece_bytes).max(1)));
    assert_eq!(whole, pieces);
    let encoded: Vec<u8> =
        whole.0.iter().flat_map(|f| OutFrame::new(f.header, &f.body, Vec::new()).to_bytes()).collect();
    assert!(stream.starts_with(&encoded), "frames encode to other bytes than they came from");
}

fn decode_frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<FrameError>) {
    let (mut decoder, mut buffer, mut frames) = (FrameDecoder::new(MAX_FRAME_BYTES), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// What a body decodes to encodes to the same bytes: there is one form of each message and no other.
///
/// The first byte says which message.
pub fn bodies(data: &[u8]) {
    let Some((&message, body)) = data.split_first() else { return };
    BODIES[usize::from(message) % BODIES.len()](body);
}

fn request<R: Request>(body: &[u8]) {
    let header = FrameHeader::request(R::OPCODE, 7);
    if let Ok((request, batches)) = decode_request::<R>(&Frame { header, body: Bytes::copy_from_slice(body) }) {
        assert_body(&encode_request(&request, 7, batches), body);
    }
}

fn answer<A: Answer>(body: &[u8]) {
    let header = FrameHeader::answer(Opcode::Ping, 7);
    if let Ok((answer, batches)) = decode_answer::<A>(&Frame { header, body: Bytes::copy_from_slice(body) }) {
        assert_body(&encode_answer(Opcode::Ping, 7, &answer, batches), body);
    }
}

fn assert_body(frame: &OutFrame, body: &[u8]) {
    assert_eq!(
        frame.to_bytes()[LENGTH_AND_HEADER_BYTES..],
        *body,
        "a message encodes to other bytes than it came from"
    );
}

/// Every message that has fields, in an order that seeds depend on: append, never reorder.
const BODIES: &[fn(&[u8])] = &[
    request::<protocol::Hello>,
    request::<protocol::Ping>,
    request::<protocol::ServerInfo>,
    request::<protocol::CreateTopic>,
    request::<protocol::DeleteTopic>,
    request::<protocol::ListTopics>,
    request::<protocol::DescribeTopic>,
    request::<protocol::RegisterProducer>,
    request::<protocol::Append>,
    request::<protocol::ProducerState>,
    request::<protocol::RegisterConsumer>,
    request::<protocol::Fetch>,
    request::<protocol::Subscribe>,
    request::<protocol::Credit>,
    request::<protocol::Unsubscribe>,
    request::<protocol::Commit>,
    request::<protocol::Dequeue>,
    request::<protocol::Backlog>,
    request::<protocol::OffsetForTimestamp>,
    answer::<protocol::HelloAnswer>,
    answer::<protocol::ServerInfoAnswer>,
    answer::<protocol::CreateTopicAnswer>,
    answer::<protocol::DeleteTopicAnswer>,
    answer::<protocol::ListTopicsAnswer>,
    answer::<protocol::DescribeTopicAnswer>,
    answer::<protocol::RegisterProducerAnswer>,
    answer::<protocol::AppendAnswer>,
    answer::<protocol::ProducerStateAnswer>,
    answer::<protocol::RegisterConsumerAnswer>,
    answer::<protocol::FetchAnswer>,
    answer::<protocol::SubscribeAnswer>,
    answer::<protocol::Deliver>,
    answer::<protocol::CommitAnswer>,
    answer::<protocol::DequeueAnswer>,
    answer::<protocol::BacklogAnswer>,
    answer::<protocol::OffsetForTimestampAnswer>,
    answer::<protocol::ErrorBody>,
];

/// A batch that the server would store can be read by every consumer, record by record, as many as its header says; and
/// what a consumer can read from anywhere else, it can read without a panic.
///
/// Length and checksum are put right first, as a hostile producer would: otherwise nothing gets past them.
pub fn batch(data: &[u8]) {
    let mut bytes = data.to_vec();
    put_length_and_checksum_right(&mut bytes);
    if let Ok(records) = Batch::parse(Bytes::copy_from_slice(&bytes)).and_then(|batch| batch.records()) {
        records.for_each(drop);
    }
    let Ok(checked) = Batch::check(Bytes::copy_from_slice(&bytes)) else { return };
    let count = u64::from(checked.header().record_count);
    Stamp { base_offset: Offset(7), append_time: Timestamp(9) }.write(&mut bytes);
    let stored = Batch::parse(Bytes::from(bytes)).expect("what was checked and stamped can be read");
    let records: Result<Vec<_>, _> = stored.records().expect("checked records decompress").collect();
    let offsets = records.expect("checked records decode").into_iter().map(|(offset, _)| offset.0);
    assert!(offsets.eq(7..7 + count), "offsets are dense, and as many as the header says");
    assert_eq!(stored.header().next_offset(), Offset(7 + count));
}

/// protocol.md section 5.1: the length is at 16, the checksum at 20, and it covers what follows it.
fn put_length_and_checksum_right(batch: &mut [u8]) {
    let Ok(length) = u32::try_from(batch.len()) else { return };
    if batch.len() < BATCH_HEADER_BYTES {
        return;
    }
    batch[16..20].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c(&batch[24..]);
    batch[20..24].copy_from_slice(&checksum.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        protocol::{AppendPart, ErrorBody, ErrorCode, Retention, Start, TopicInfo, encode_body},
        record::{BatchBuilder, Compression, Epoch, ProducerId, Record, Sequence, SequenceRange},
    };

    type Property = fn(&[u8]);

    const TARGETS: [(&str, Property); 3] = [("frame", frame), ("bodies", bodies), ("batch", batch)];

    fn folder(target: &str) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "fuzz", "seeds", target].iter().collect()
    }

    /// Whatever lies in `fuzz/seeds`: the seeds made below, and every input that once broke something.
    #[test]
    fn every_seed_holds_its_property() {
        for (target, property) in TARGETS {
            let seeds: Vec<_> = fs::read_dir(folder(target)).expect("committed with the code").collect();
            assert!(seeds.len() >= 8, "{target} has {} seeds", seeds.len());
            for seed in seeds {
                let path = seed.expect("a directory entry").path();
                property(&fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
            }
        }
    }

    /// A seed that has fallen behind the layout leads a fuzzer nowhere. `WRITE_SEEDS=1 cargo test --lib seeds` writes
    /// them anew.
    #[test]
    fn the_seeds_follow_the_layout_of_today() {
        for (target, name, bytes) in frame_seeds().into_iter().chain(body_seeds()).chain(batch_seeds()) {
            let path = folder(target).join(name);
            if std::env::var_os("WRITE_SEEDS").is_some() {
                fs::create_dir_all(folder(target)).expect("the source tree is writable");
                fs::write(&path, &bytes).expect("the source tree is writable");
            }
            // What compressors write may change with their version, what it says may not.
            if !name.contains("compressed") {
                assert_eq!(fs::read(&path).unwrap_or_default(), bytes, "{}", path.display());
            }
        }
    }

    #[test]
    fn every_batch_seed_that_claims_to_be_good_is() {
        for (_, name, bytes) in batch_seeds().into_iter().filter(|(_, name, _)| name.starts_with("good")) {
            assert!(Batch::check(Bytes::from(bytes)).is_ok(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_hold_the_property_of_frames(data: Vec<u8>) {
            frame(&data);
        }

        #[test]
        fn short_frames_hold_the_property_of_frames(piece: u8, bodies in prop::collection::vec((any::<u64>(), 0u8..20), 0..5)) {
            let mut data = vec![piece];
            for (header, length) in bodies {
                data.extend((8 + u32::from(length)).to_le_bytes());
                data.extend(header.to_le_bytes());
                data.resize(data.len() + usize::from(length), length);
            }
            frame(&data);
        }

        #[test]
        fn any_bytes_hold_the_property_of_bodies(message in 0..BODIES.len(), body in prop::collection::vec(any::<u8>(), 0..80)) {
            BODIES[message](&body);
        }

        #[test]
        fn any_records_hold_the_property_of_batches(how in 0u8..4, count in 1u8..4, records: Vec<u8>) {
            let mut data = plain_batch(&[Record::new("")]);
            data.truncate(BATCH_HEADER_BYTES);
            data[25] = how;
            data[28] = count;
            let records_bytes = u32::try_from(records.len()).expect("short");
            data[52..56].copy_from_slice(&records_bytes.to_le_bytes());
            data.extend(records);
            batch(&data);
        }

        #[test]
        fn any_bytes_hold_the_property_of_batches(data: Vec<u8>) {
            batch(&data);
        }
    }

    type Seed = (&'static str, &'static str, Vec<u8>);

    fn stream(frames: &[(FrameHeader, &[u8])]) -> Vec<u8> {
        let mut out = BytesMut::from(&[5][..]);
        frames.iter().for_each(|&(header, body)| OutFrame::new(header, body, Vec::new()).write(&mut out));
        out.to_vec()
    }

    fn frame_seeds() -> Vec<Seed> {
        let ping = FrameHeader::request(Opcode::Ping, 1);
        let error = encode_body(&ErrorBody::new(ErrorCode::UnknownTopic, "no topic", vec![7]));
        let one = stream(&[(ping, b"")]);
        let with = |at: usize, byte: u8| {
            let mut changed = one.clone();
            changed[at] = byte;
            changed
        };
        vec![
            ("frame", "ping", one.clone()),
            ("frame", "answer", stream(&[(FrameHeader::answer(Opcode::Ping, 1), b"")])),
            ("frame", "refusal", stream(&[(FrameHeader::request(Opcode::Append, 9).refusal(), &error)])),
            (
                "frame",
                "three",
                stream(&[(ping, b"abc"), (FrameHeader::answer(Opcode::Fetch, 2), &[0; 40]), (ping, b"")]),
            ),
            ("frame", "begun", one[..9].to_vec()),
            ("frame", "length-begun", one[..3].to_vec()),
            ("frame", "too-short", with(1, 7)),
            ("frame", "too-large", with(4, 0xff)),
            ("frame", "unknown-flags", with(8, 0x80)),
            ("frame", "error-flag-on-request", with(8, 1)),
        ]
    }

    fn body_seeds() -> Vec<Seed> {
        fn seed(name: &'static str, message: u8, body: Vec<u8>) -> Seed {
            ("bodies", name, [vec![message], body].concat())
        }
        let retention = Retention { bytes: Some(1 << 30), age_ms: None };
        let topic = TopicInfo {
            name: "logs".into(),
            topic_id: 3,
            tail: 300,
            retention: retention.clone(),
            ..TopicInfo::default()
        };
        let hello = protocol::Hello { client_name: "seed".into(), max_version: 1, ..protocol::Hello::default() };
        let part = AppendPart { topic_id: 3, batch_bytes: 25 };
        let append = protocol::Append { parts: vec![part; 3], commits: Vec::new() };
        let deliver = protocol::Deliver { batch_bytes: vec![1, 251], ..protocol::Deliver::default() };
        let subscribe =
            |start| encode_body(&protocol::Subscribe { topic: "logs".into(), start, credit_bytes: 1 << 20 });
        vec![
            seed("hello", 0, encode_body(&hello)),
            seed(
                "create-topic",
                3,
                encode_body(&protocol::CreateTopic { topic: "logs".into(), retention, if_absent: true }),
            ),
            seed("list-answer", 23, encode_body(&protocol::ListTopicsAnswer { topics: vec![topic; 2], more: true })),
            seed("append", 8, [encode_body(&append), vec![0; 3 * 25]].concat()),
            seed("subscribe-timestamp", 12, subscribe(Start::Timestamp(u64::MAX))),
            seed("subscribe-cursor", 12, subscribe(Start::Cursor([9; 16]))),
            seed("deliver", 31, [encode_body(&deliver), vec![0; 252]].concat()),
            seed("error", 36, encode_body(&ErrorBody::new(ErrorCode::SequenceGap, "gap", vec![1, 1 << 40]))),
            seed("longer-form-of-a-number", 13, vec![251, 5, 0, 0]),
            seed("list-that-claims-to-be-long", 23, vec![253, 255, 255, 255, 255, 255, 255, 255, 255]),
        ]
    }

    fn batch_of(records: &[Record], compression: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        records.iter().for_each(|record| builder.push(record, Timestamp(1_000)).expect("within limits"));
        let range = SequenceRange::counting(Sequence(5), records.len() as u64);
        builder.finish(ProducerId::default(), Epoch(1), range, compression).to_vec()
    }

    fn plain_batch(records: &[Record]) -> Vec<u8> {
        batch_of(records, Compression::None)
    }

    fn batch_seeds() -> Vec<Seed> {
        let full =
            Record::new("value").key("key").header("name", "value").header("name", "").timestamp(Timestamp(2_000));
        let same = vec![Record::new("the same line again and again"); 40];
        let plain = plain_batch(&[Record::new("one"), full.clone(), Record::new("")]);
        let with = |at: usize, byte: u8| {
            let mut changed = plain.clone();
            changed[at] = byte;
            changed
        };
        vec![
            ("batch", "good-one", plain_batch(&[Record::new("one")])),
            ("batch", "good-empty-value", plain_batch(&[Record::new("")])),
            ("batch", "good-full", plain_batch(&[full])),
            ("batch", "good-three", plain.clone()),
            ("batch", "good-compressed-lz4", batch_of(&same, Compression::Lz4)),
            ("batch", "good-compressed-zstd", batch_of(&same, Compression::Zstd)),
            ("batch", "count-too-high", with(28, 4)),
            ("batch", "count-too-low", with(28, 2)),
            ("batch", "unknown-version", with(24, 2)),
            ("batch", "claims-to-be-lz4", with(25, 1)),
            ("batch", "claims-to-be-zstd", with(25, 2)),
            ("batch", "header-cut-short", plain[..60].to_vec()),
            // A fuzzer found it: the stamp is not under the checksum, and adding to this offset overflowed.
            ("batch", "last-offset-of-all", [&[0xff; 8][..], &plain[8..]].concat()),
        ]
    }
}

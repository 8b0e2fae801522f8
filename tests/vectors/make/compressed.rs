//! Batches whose records are compressed, or said to be. Blocks and frames are put together here, byte by byte, so that
//! they stay the same whatever a compressor does; two were written by real ones.

use connectify::{
    Compression, Record, Timestamp,
    protocol::ErrorCode::*,
    record::{BatchBuilder, Epoch, ProducerId, Sequence, SequenceRange},
};

use super::{
    Maker,
    batches::{good, meaning, of_the_document},
    draft::{Draft, Entry, varint},
    unreadable_batches::refused,
};
use crate::{
    batch::decode,
    vector::{Kind, Vector},
};

const LZ4: u8 = 1;
const ZSTD: u8 = 2;

/// The largest records of a batch, decompressed.
const MAX_RECORDS_BYTES: usize = 8_323_064 - 80;

pub(super) fn vectors(maker: &Maker) -> Vec<Vector> {
    [good_lz4(maker), good_zstd(maker), bad_lz4(), bad_zstd(), bombs(), large()].concat()
}

// ---- LZ4 blocks ----

/// A length of a sequence beyond what its four bits hold.
fn lz4_more(length: usize) -> Vec<u8> {
    let more = length - 15;
    [vec![0xff; more / 255], vec![u8::try_from(more % 255).expect("a remainder")]].concat()
}

/// Literals, and then a match of `matched` bytes unless it is 0.
fn lz4_sequence(literals: &[u8], distance: u16, matched: usize) -> Vec<u8> {
    let nibble = |length: usize| u8::try_from(length.min(15)).expect("four bits");
    let of_match = matched.saturating_sub(4);
    let mut bytes = vec![nibble(literals.len()) << 4 | nibble(of_match)];
    if literals.len() >= 15 {
        bytes.extend(lz4_more(literals.len()));
    }
    bytes.extend(literals);
    if matched > 0 {
        bytes.extend(distance.to_le_bytes());
        if of_match >= 15 {
            bytes.extend(lz4_more(of_match));
        }
    }
    bytes
}

fn lz4_literals(bytes: &[u8]) -> Vec<u8> {
    lz4_sequence(bytes, 0, 0)
}

/// Of one record whose value is the same byte again and again.
fn run(bytes: usize) -> Draft {
    Draft::of(&[Entry::of(&vec![b'x'; bytes])])
}

fn good_lz4(maker: &Maker) -> Vec<Vector> {
    let three = Draft::of_values(&["one", "two", "three"]);
    let records = run(400).records();
    // Five bytes are length, timestamp, key and headers; the last five of a block are literals.
    let matched = [lz4_sequence(&records[..6], 1, records.len() - 11), lz4_literals(&[b'x'; 5])].concat();
    vec![
        of_the_document(maker, "lz4"),
        good("lz4-of-literals", &three.clone().compressed(LZ4, &lz4_literals(&three.records()))),
        good("lz4-of-a-match-that-overlaps-itself", &run(400).compressed(LZ4, &matched)),
        good("lz4-whose-last-match-begins-12-bytes-before-the-end", &lz4_end(7, 5)),
        good("lz4-of-two-sequences-of-literals", &{
            let records = run(60).records();
            let block = [lz4_sequence(&records[..20], 4, 8), lz4_literals(&records[28..])].concat();
            run(60).compressed(LZ4, &block)
        }),
        written_by(maker, "lz4", Compression::Lz4),
    ]
}

/// What the crate's compressor makes of lines of a log.
fn written_by(maker: &Maker, name: &str, compression: Compression) -> Vector {
    let mut builder = BatchBuilder::new();
    for line in 0..40_u64 {
        let record =
            Record::new(format!("GET /index.html 200 from 10.0.0.{}", line % 7)).key(format!("host-{}", line % 3));
        builder.push(&record, Timestamp(1_767_225_600_000_000 + line)).expect("within limits");
    }
    let range = SequenceRange::counting(Sequence(7), 40);
    let bytes = builder.finish(ProducerId::default(), Epoch(1), range, compression);
    let vector = Vector::new(format!("batch-{name}-as-a-compressor-writes-it"), Kind::Batch, &bytes);
    Vector { canonical: false, ..vector.means(meaning(&decode(&maker.document, &bytes))) }
}

/// A run that ends in a match of so many bytes and so many literals behind it.
fn lz4_end(matched: usize, literals: usize) -> Draft {
    let run = run(400);
    let records = run.records();
    let middle = records.len() - matched - literals - 12;
    let block = [
        lz4_sequence(&records[..6], 1, middle),
        lz4_sequence(&[b'x'; 6], 1, matched),
        lz4_literals(&vec![b'x'; literals]),
    ];
    run.compressed(LZ4, &block.concat())
}

fn bad_lz4() -> Vec<Vector> {
    let bad_end = |name: &str, matched, literals| {
        refused(&format!("lz4-{name}"), &lz4_end(matched, literals).bytes(), BadCompression)
    };
    let draft = Draft::of_values(&["one", "two", "three"]);
    let records = draft.records();
    let literals = lz4_literals(&records);
    let bad = |name: &str, payload: &[u8]| {
        refused(&format!("lz4-{name}"), &draft.clone().compressed(LZ4, payload).bytes(), BadCompression)
    };
    let length = u32::try_from(records.len()).expect("short");
    vec![
        bad("that-is-not-compressed", &records),
        bad("of-no-bytes", &[]),
        bad("cut-short", &literals[..literals.len() - 1]),
        bad("that-lacks-a-record", &lz4_literals(&records[..records.len() - 9])),
        bad("with-a-byte-too-many", &lz4_literals(&[&records[..], &[0]].concat())),
        bad("with-its-length-in-front", &[&length.to_le_bytes()[..], &literals].concat()),
        bad("in-a-frame", &[&[0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82][..], &literals].concat()),
        bad(
            "with-a-match-before-its-first-byte",
            &[lz4_sequence(&records[..4], 9, 8), lz4_literals(&records[12..])].concat(),
        ),
        bad("with-a-match-at-distance-0", &[lz4_sequence(&records[..4], 0, 8), lz4_literals(&records[12..])].concat()),
        bad_end("whose-last-match-is-followed-by-4-literals", 20, 4),
        bad_end("that-ends-with-a-match", 20, 0),
        bad_end("whose-last-match-begins-11-bytes-before-the-end", 6, 5),
        bad("whose-match-ends-inside-of-its-distance", &[&lz4_sequence(&records, 1, 4)[..records.len() + 3]].concat()),
        bad("whose-literals-are-longer-than-it", &[&[0xf0, 0xff, 0xff, 0x00][..], &records].concat()),
    ]
}

// ---- Zstandard frames ----

/// A block of section 3.1.1.2 of RFC 8878.
fn block(is_last: bool, kind: u32, size: usize, content: &[u8]) -> Vec<u8> {
    let header = u32::from(is_last) | kind << 1 | u32::try_from(size).expect("a block is at most 128 KiB") << 3;
    [&header.to_le_bytes()[..3], content].concat()
}

fn raw(is_last: bool, content: &[u8]) -> Vec<u8> {
    block(is_last, 0, content.len(), content)
}

/// The same byte `size` times.
fn rle(is_last: bool, size: usize) -> Vec<u8> {
    block(is_last, 1, size, b"x")
}

/// A frame with its content's size in 4 bytes.
fn zstd_frame(content_bytes: usize, blocks: &[Vec<u8>]) -> Vec<u8> {
    let size = u32::try_from(content_bytes).expect("under 4 GiB");
    [&[0x28, 0xb5, 0x2f, 0xfd, 0xa0][..], &size.to_le_bytes(), &blocks.concat()].concat()
}

/// A frame that says nothing of its size, with this window descriptor.
fn zstd_stream(window: u8, blocks: &[Vec<u8>]) -> Vec<u8> {
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, window][..], &blocks.concat()].concat()
}

/// 1 KiB, 1 MiB and 8 MiB, and the first that is more.
const WINDOW_OF_1_KIB: u8 = 0;
const WINDOW_OF_1_MIB: u8 = 10 << 3;
const WINDOW_OF_8_MIB: u8 = 13 << 3;
const WINDOW_OF_9_MIB: u8 = 13 << 3 | 1;

fn good_zstd(maker: &Maker) -> Vec<Vector> {
    let three = Draft::of_values(&["one", "two", "three"]);
    let records = three.records();
    let (front, back) = records.split_at(9);
    let good = |name: &str, payload: &[u8]| good(&format!("zstd-{name}"), &three.clone().compressed(ZSTD, payload));
    let long = run(400).records();
    vec![
        of_the_document(maker, "zstd"),
        good("of-one-block", &zstd_frame(records.len(), &[raw(true, &records)])),
        good("of-two-blocks", &zstd_frame(records.len(), &[raw(false, front), raw(true, back)])),
        good("with-an-empty-last-block", &zstd_frame(records.len(), &[raw(false, &records), raw(true, b"")])),
        good("that-says-its-size-in-8-bytes", &{
            let size = (records.len() as u64).to_le_bytes();
            [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &size, &raw(true, &records)].concat()
        }),
        good("that-does-not-say-its-size", &zstd_stream(WINDOW_OF_1_MIB, &[raw(true, &records)])),
        good("with-the-largest-window", &zstd_stream(WINDOW_OF_8_MIB, &[raw(true, &records)])),
        super::batches::good(
            "zstd-of-a-run",
            &run(400).compressed(ZSTD, &zstd_frame(long.len(), &[raw(false, &long[..5]), rle(true, long.len() - 5)])),
        ),
        written_by(maker, "zstd", Compression::Zstd),
    ]
}

/// A block that is longer than the window of 1 KiB, in a frame that says its size, and in one that does not. A library that
/// decodes a frame of a known size in one go may not look at the length of a block.
fn block_over_the_window() -> [Draft; 2] {
    let run = run(1_100);
    let records = run.records();
    let length = u32::try_from(records.len()).expect("short").to_le_bytes();
    let sized = [&[0x28, 0xb5, 0x2f, 0xfd, 0x80, WINDOW_OF_1_KIB][..], &length, &raw(true, &records)].concat();
    [run.clone().compressed(ZSTD, &sized), run.compressed(ZSTD, &zstd_stream(WINDOW_OF_1_KIB, &[raw(true, &records)]))]
}

fn bad_zstd() -> Vec<Vector> {
    let draft = Draft::of_values(&["one", "two", "three"]);
    let records = draft.records();
    let whole = zstd_frame(records.len(), &[raw(true, &records)]);
    let bad = |name: &str, payload: &[u8]| {
        refused(&format!("zstd-{name}"), &draft.clone().compressed(ZSTD, payload).bytes(), BadCompression)
    };
    let stream = |window, records: &[u8]| zstd_stream(window, &[raw(true, records)]);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7];
    let with = |at: usize, byte: u8| {
        let mut frame = whole.clone();
        frame[at] = byte;
        frame
    };
    let wrong_sum = {
        let mut frame = with(4, 0xa4);
        frame.extend([0, 0, 0, 0]);
        frame
    };
    // A library that decodes a frame of a known size in one go needs no window, and may not look at it.
    let too_large_and_sized = {
        let length = u32::try_from(records.len()).expect("short").to_le_bytes();
        [&[0x28, 0xb5, 0x2f, 0xfd, 0x80, WINDOW_OF_9_MIB][..], &length, &raw(true, &records)].concat()
    };
    let [sized, not_sized] = block_over_the_window();
    let for_dictionary = [&[0x28, 0xb5, 0x2f, 0xfd, 0x01, WINDOW_OF_1_MIB, 7][..], &raw(true, &records)].concat();
    vec![
        bad("that-is-not-compressed", &records),
        bad("of-no-bytes", &[]),
        bad("of-a-magic-number-alone", &whole[..4]),
        bad("cut-short", &whole[..whole.len() - 1]),
        bad("without-a-last-block", &zstd_frame(records.len(), &[raw(false, &records)])),
        bad("that-lacks-a-record", &stream(WINDOW_OF_1_MIB, &records[..records.len() - 9])),
        bad("with-a-byte-too-many", &stream(WINDOW_OF_1_MIB, &[&records[..], &[0]].concat())),
        bad("with-a-byte-behind-it", &[&whole[..], &[0]].concat()),
        bad("with-an-empty-frame-behind-it", &[&whole[..], &zstd_frame(0, &[raw(true, b"")])].concat()),
        bad("with-a-skippable-frame-behind-it", &[&whole[..], &skippable].concat()),
        bad("with-a-skippable-frame-before-it", &[&skippable[..], &whole].concat()),
        bad(
            "cut-into-two-frames",
            &[stream(WINDOW_OF_1_MIB, &records[..9]), stream(WINDOW_OF_1_MIB, &records[9..])].concat(),
        ),
        bad("with-a-window-that-is-too-large", &stream(WINDOW_OF_9_MIB, &records)),
        bad("with-a-window-that-is-too-large-and-its-size", &too_large_and_sized),
        bad("with-a-window-of-2-tib", &stream(31 << 3, &records)),
        bad("that-says-another-size-than-it-has", &with(5, whole[5] + 1)),
        // A library that decodes it as it arrives looks at the size only when the last block holds something.
        bad(
            "that-says-another-size-than-it-has-and-ends-with-an-empty-block",
            &zstd_frame(records.len() + 1, &[raw(false, &records), raw(true, b"")]),
        ),
        bad("with-a-reserved-bit", &with(4, 0xa8)),
        // Libraries that decode a frame as it arrives may pass over such a block; those that decode it in one go do not.
        bad(
            "with-a-compressed-block-of-no-bytes",
            &zstd_frame(records.len(), &[block(false, 2, 0, b""), raw(true, &records)]),
        ),
        bad("with-a-reserved-kind-of-block", &zstd_frame(records.len(), &[block(true, 3, records.len(), &records)])),
        bad("whose-own-checksum-is-wrong", &wrong_sum),
        bad("that-wants-a-dictionary", &for_dictionary),
        refused("zstd-with-a-block-that-is-longer-than-its-window-and-its-size", &sized.bytes(), BadCompression),
        refused("zstd-with-a-block-that-is-longer-than-its-window", &not_sized.bytes(), BadCompression),
        bad("that-is-a-frame-of-gzip", &[0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0xff]),
    ]
}

// ---- what grows ----

/// As many bytes of the same kind as a frame says, in blocks of 128 KiB.
fn zstd_run(front: &[u8], bytes: usize) -> Vec<u8> {
    let block_bytes = 128 << 10;
    let mut blocks = vec![raw(false, front)];
    blocks.extend((0..bytes / block_bytes).map(|_| rle(false, block_bytes)));
    blocks.push(rle(true, bytes % block_bytes));
    zstd_stream(WINDOW_OF_8_MIB, &blocks)
}

/// Blocks and frames that grow beyond what the header says.
fn bombs() -> Vec<Vector> {
    let draft = Draft::of_values(&["one", "two", "three"]);
    let bomb = |name: &str, attributes, payload: &[u8], records_bytes: usize| {
        let records_bytes = Some(u32::try_from(records_bytes).expect("32 bits"));
        let draft = Draft { records_bytes, ..draft.clone().compressed(attributes, payload) };
        refused(name, &draft.bytes(), BadCompression)
    };
    let records = draft.records();
    let lz4 = [lz4_sequence(&records, 1, 1 << 20), lz4_literals(b"tail!")].concat();
    let zstd = zstd_run(&records, 64 << 20);
    vec![
        bomb("lz4-that-grows-to-1-mib", LZ4, &lz4, records.len()),
        bomb("lz4-that-grows-and-says-1000", LZ4, &lz4, 1_000),
        bomb("lz4-that-says-far-more-than-it-can-hold", LZ4, &lz4_literals(&records), MAX_RECORDS_BYTES),
        bomb("zstd-that-grows-to-64-mib", ZSTD, &zstd, records.len()),
        bomb("zstd-that-grows-to-64-mib-and-says-all-that-may-be", ZSTD, &zstd, MAX_RECORDS_BYTES),
        bomb(
            "zstd-that-says-far-more-than-it-has",
            ZSTD,
            &zstd_frame(records.len(), &[raw(true, &records)]),
            MAX_RECORDS_BYTES,
        ),
    ]
}

/// Records at the limits, which only compression makes small enough to be written down.
fn large() -> Vec<Vector> {
    // Length, timestamp, key, headers: 4 bytes of length, and 3 of the rest.
    let record = |bytes: usize| [varint(bytes as u64 - 4), vec![0, 0, 0]].concat();
    let of_one = |name: &str, record_bytes: usize, code| {
        let front = record(record_bytes);
        let records_bytes = Some(u32::try_from(record_bytes).expect("32 bits"));
        let payload = zstd_run(&front, record_bytes - front.len());
        refused(
            name,
            &Draft { records_bytes, ..Draft::of(&[Entry::default()]).compressed(ZSTD, &payload) }.bytes(),
            code,
        )
    };
    let limit = 4_194_304;
    // The next one is the limit itself, and has one record too few: so its size is not what is wrong.
    let at_the_limit = {
        let front = record(limit);
        let payload = zstd_run(&front, limit - front.len());
        let records_bytes = Some(u32::try_from(limit).expect("32 bits"));
        Draft { records_bytes, record_count: Some(2), ..Draft::of(&[Entry::default()]).compressed(ZSTD, &payload) }
    };
    vec![
        of_one("zstd-of-a-record-one-byte-over-the-limit", limit + 1, RecordTooLarge),
        of_one("zstd-of-a-record-as-large-as-a-batch", MAX_RECORDS_BYTES, RecordTooLarge),
        refused("zstd-of-a-record-at-the-limit-and-none-behind-it", &at_the_limit.bytes(), CountMismatch),
        refused(
            "zstd-whose-records-would-exceed-the-limit-by-a-byte",
            &Draft {
                records_bytes: Some(u32::try_from(MAX_RECORDS_BYTES + 1).expect("32 bits")),
                ..Draft::of(&[Entry::default()]).compressed(ZSTD, &zstd_run(&[3, 0, 0, 0], MAX_RECORDS_BYTES - 3))
            }
            .bytes(),
            BatchTooLarge,
        ),
    ]
}

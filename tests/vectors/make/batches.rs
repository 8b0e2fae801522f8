//! Batches that are good and not compressed.

use serde_json::json;

use super::{
    Maker,
    draft::{Draft, Entry},
};
use crate::{
    batch::{DecodedBatch, decode},
    vector::{Kind, Vector, hex, plain},
};

pub(super) fn good(name: &str, draft: &Draft) -> Vector {
    let vector = Vector::new(format!("batch-{name}"), Kind::Batch, &draft.bytes()).means(draft.meaning());
    // What a compressor writes is its own affair, as long as it decompresses to the same.
    Vector { canonical: draft.attributes == 0, ..vector }
}

/// A batch of the document, by the decoder that goes by its tables.
pub(super) fn of_the_document(maker: &Maker, name: &str) -> Vector {
    let caption = format!("Example batch `{name}`");
    let example = maker.document.examples.iter().find(|example| example.caption.starts_with(&caption));
    let bytes = &example.expect("section 5.5 shows it").bytes;
    let vector = Vector::new(format!("batch-of-the-document-{name}"), Kind::Batch, bytes);
    Vector { canonical: name == "none", ..vector.means(meaning(&decode(&maker.document, bytes))) }
}

/// A batch as the files show it.
pub(crate) fn meaning(batch: &DecodedBatch) -> serde_json::Value {
    let mut value = json!({});
    for (field, number) in &batch.header {
        value[field.replace(' ', "_")] = match field.as_str() {
            "producer id" => json!(hex(&number.to_le_bytes())),
            _ => plain(u64::try_from(*number).expect("64 bits")),
        };
    }
    let records = batch.records.iter().map(|record| {
        let headers = record.headers.iter().map(|(name, value)| json!({"name": name, "value": hex(value)}));
        json!({
            "timestamp": plain(record.timestamp),
            "key": record.key.as_ref().map(|key| hex(key)),
            "headers": headers.collect::<Vec<_>>(),
            "value": hex(&record.value),
        })
    });
    value["records"] = records.collect();
    value
}

pub(super) fn vectors(maker: &Maker) -> Vec<Vector> {
    let one = Draft::of_values(&["hello"]);
    let full = Entry::of(b"GET / 200").after(1_500).key(b"host-7").header("level", b"info").header("tls", b"");
    let latest = Draft { first_timestamp: u64::MAX, epoch: u32::MAX, ..one.clone() };
    let numbers: Vec<_> = (0..300_u64).map(|n| Entry::of(n.to_string().as_bytes())).collect();
    vec![
        of_the_document(maker, "none"),
        good("of-one-record", &one),
        good("of-one-record-as-it-is-stored", &one.clone().stored_at(1_000)),
        good("of-one-record-of-nothing", &Draft::of(&[Entry::of(b"")])),
        good("of-three-records", &Draft::of_values(&["one", "two", "three"])),
        good("of-a-full-record", &Draft::of(std::slice::from_ref(&full))),
        good(
            "of-records-that-go-back-in-time",
            &Draft::of(&[full, Entry::of(b"a").after(-20), Entry::of(b"b").after(-9)]),
        ),
        good("whose-first-record-is-not-at-the-first-timestamp", &Draft::of(&[Entry::of(b"a").after(7)])),
        good("of-300-records", &Draft::of(&numbers).covering(5, 305)),
        good("of-a-record-of-2000-bytes", &Draft::of(&[Entry::of(&[b'x'; 2_000])])),
        good("of-bytes-that-are-not-text", &Draft::of(&[Entry::of(&(0..=255).collect::<Vec<_>>())])),
        good("whose-range-is-wider-than-its-records", &one.clone().covering(1_000, 5_096)),
        good("whose-range-is-narrower-than-its-records", &Draft::of_values(&["one", "two"]).covering(8, 9)),
        good("of-the-last-sequence", &one.clone().covering(u64::MAX - 1, u64::MAX)),
        good("of-all-sequences", &one.clone().covering(0, u64::MAX)),
        good("of-the-largest-numbers", &latest),
        good("at-time-0", &Draft { first_timestamp: 0, ..one.clone() }),
        good("of-the-first-epoch", &Draft { epoch: 0, ..one.clone() }),
        good("at-the-last-offset-that-there-can-be", &one.stored_at(u64::MAX - 1)),
    ]
}

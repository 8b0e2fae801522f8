//! What is left of a topic whose creation is damaged.

use std::sync::Arc;

use super::{Report, audit};
use crate::{
    broker::{Appending, Background, BrokerConfig, Place, ProducerState, Retention, Stepped},
    record::{Batch, BatchBuilder, Compression, Record, Sequence, SequenceRange, Timestamp, TopicName},
    storage::{MemoryVolume, StorageBackend, Volume as _},
};

fn open(volume: &MemoryVolume) -> Stepped {
    let config = BrokerConfig { reserve_bytes: 0, background: Background::Inline, ..BrokerConfig::default() };
    Stepped::open(Place::Volume(Arc::new(volume.clone())), config).expect("opens")
}

fn register(store: &mut Stepped, topic: &str) -> ProducerState {
    let topic = TopicName::new(topic).expect("a good name");
    let registered =
        store.call(|broker| async move { broker.register_producer(topic, None, Some(Retention::default())).await });
    registered.expect("registers")
}

/// Appends a record for each of these sequences, each in a batch of its own.
fn append(store: &mut Stepped, producer: &ProducerState, sequences: std::ops::Range<u64>) {
    for sequence in sequences {
        let mut builder = BatchBuilder::new();
        builder.push(&Record::new(format!("record {sequence}")), Timestamp(0)).expect("small");
        let range = SequenceRange::counting(Sequence(sequence), 1);
        let bytes = builder.finish(producer.id, producer.epoch, range, Compression::None);
        let parts = vec![(producer.topic, Batch::check(bytes).expect("just built"))];
        let appending = Appending { parts, commits: Vec::new() };
        store.call(|broker| async move { broker.append_wait(appending).await }).expect("stored");
    }
}

/// Flips a bit wherever a file holds these bytes.
fn damage(volume: &MemoryVolume, bytes: &[u8]) {
    let mut places = 0;
    for name in volume.list().expect("in memory") {
        let file = volume.open(&name).expect("in memory").expect("it was listed");
        for at in places_of(file.as_ref(), bytes) {
            file.write(at, &[bytes[0] ^ 1]).expect("in range");
            places += 1;
        }
    }
    assert!(places > 0, "no file holds it");
}

fn places_of(file: &dyn StorageBackend, bytes: &[u8]) -> Vec<u64> {
    let mut content = vec![0; usize::try_from(file.len().expect("in memory")).expect("small")];
    file.read(0, &mut content).expect("in range");
    let found = content.windows(bytes.len()).enumerate().filter(|(_, window)| *window == bytes);
    found.map(|(at, _)| at as u64).collect()
}

fn salvage(volume: &MemoryVolume) -> (Report, MemoryVolume) {
    let copy = MemoryVolume::default();
    let report = audit(volume, Some(Arc::new(copy.clone())), &mut |_| {}).expect("it can be looked at");
    (report, copy)
}

/// The creation of the first topic was damaged, that of the second one was not: the number of the first was below the next
/// one, so the topic was taken for a deleted one. The copy had none of its records, and the report did not say so.
#[test]
fn a_topic_whose_creation_is_damaged_is_saved_though_a_later_one_is_known() {
    let volume = MemoryVolume::default();
    let mut store = open(&volume);
    let (one, _two) = (register(&mut store, "aaaa-one"), register(&mut store, "bbbb-two"));
    append(&mut store, &one, 0..5);
    damage(&volume, b"aaaa-one");
    let (report, copy) = salvage(&volume);
    assert!(!report.is_intact() && report.records == 5, "{report:?}");
    let name = format!("salvaged-{}", one.topic);
    let copied = open(&copy);
    let (topics, _) = copied.broker().topics("", 10);
    let names: Vec<_> = topics.iter().map(|topic| topic.name.to_string()).collect();
    assert_eq!(names, ["bbbb-two", &name[..]]);
    assert_eq!(copied.read(&name, crate::record::Offset(0), usize::MAX).expect("reads").len(), 5);
}

/// Batches of a topic whose creation was damaged were kept under a name that was made up, and a user's topic got that very
/// name later: the first one was taken for deleted, and its records were gone.
#[test]
fn a_made_up_name_that_somebody_else_has_is_made_up_anew() {
    let volume = MemoryVolume::default();
    let mut store = open(&volume);
    let one = register(&mut store, "aaaa-one");
    append(&mut store, &one, 0..5);
    let made_up = format!("salvaged-{}", one.topic);
    let theirs = register(&mut store, &made_up);
    append(&mut store, &theirs, 0..3);
    damage(&volume, b"aaaa-one");
    let (report, copy) = salvage(&volume);
    assert!(!report.is_intact() && report.records == 8, "{report:?}");
    let copied = open(&copy);
    let (topics, _) = copied.broker().topics("", 10);
    let names: Vec<_> = topics.iter().map(|topic| topic.name.to_string()).collect();
    assert_eq!(names, [made_up.clone(), format!("{made_up}-")]);
    let records = |name: &str| copied.read(name, crate::record::Offset(0), usize::MAX).expect("reads").len();
    assert_eq!((records(&made_up), records(&format!("{made_up}-"))), (3, 5));
}

/// The batches that are left of a topic whose creation was damaged, and whose deletion was not, bring nothing back.
#[test]
fn a_topic_whose_deletion_is_known_stays_deleted() {
    let volume = MemoryVolume::default();
    let mut store = open(&volume);
    let (one, _two) = (register(&mut store, "aaaa-one"), register(&mut store, "bbbb-two"));
    append(&mut store, &one, 0..5);
    let name = TopicName::new("aaaa-one").expect("a good name");
    store.call(|broker| async move { broker.delete_topic(name, false).await }).expect("deletes");
    damage(&volume, b"aaaa-one");
    let (report, copy) = salvage(&volume);
    assert!(!report.is_intact(), "{report:?}");
    let (topics, _) = open(&copy).broker().topics("", 10);
    let names: Vec<_> = topics.iter().map(|topic| topic.name.to_string()).collect();
    assert_eq!(names, ["bbbb-two"]);
}

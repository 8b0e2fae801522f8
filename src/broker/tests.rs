//! The broker over files in memory: exactly once, all or nothing, what a restart and a failing disk leave.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use super::*;
use crate::{
    record::{Batch, BatchBuilder, Compression, Record, Sequence, SequenceRange, Timestamp},
    storage::FaultyVolume,
};

fn open_on(volume: &FaultyVolume) -> Broker {
    let config = BrokerConfig { segment_bytes: 64 * 1024, tail_cache_bytes: 16 * 1024, ..BrokerConfig::default() };
    Broker::open(Place::Volume(Arc::new(volume.clone())), config).expect("opens")
}

const ROOM: Room = Room { bytes: 1 << 20, per_batch: 5 };

fn name(name: &str) -> TopicName {
    TopicName::new(name).expect("a good name")
}

fn batch(producer: &ProducerState, start: u64, payloads: &[&str]) -> Batch {
    let mut builder = BatchBuilder::new();
    for payload in payloads {
        builder.push(&Record::new(payload.to_string()), Timestamp(0)).expect("small");
    }
    let range = SequenceRange::counting(Sequence(start), payloads.len() as u64);
    Batch::check(builder.finish(producer.id, producer.epoch, range, Compression::None)).expect("just built")
}

async fn producer(broker: &Broker, topic: &str) -> ProducerState {
    broker.register_producer(name(topic), Some("p".to_owned()), Some(Retention::default())).await.expect("registers")
}

async fn append(broker: &Broker, producer: &ProducerState, start: u64, payloads: &[&str]) -> Result<Appended, Error> {
    let parts = vec![(producer.topic, batch(producer, start, payloads))];
    Ok(broker.append_wait(Appending { parts, commits: Vec::new() }).await?[0])
}

async fn read_all(broker: &Broker, topic: &str) -> Vec<String> {
    let topic = broker.topic(topic).expect("exists");
    let (mut next, mut values) = (topic.range().head, Vec::new());
    while next < topic.range().tail {
        for bytes in broker.read(&topic, next, 1000).await.expect("reads").batches {
            for record in Batch::check(bytes).expect("whole").records().expect("plain") {
                let (offset, record) = record.expect("whole");
                assert_eq!(offset, next, "offsets are dense");
                next = next.plus(1);
                values.push(String::from_utf8(record.value.to_vec()).expect("text"));
            }
        }
    }
    values
}

#[tokio::test]
async fn a_batch_is_stored_once_however_often_it_is_sent_and_wherever_the_server_restarts() {
    let volume = FaultyVolume::default();
    let mut broker = open_on(&volume);
    let p = producer(&broker, "t").await;
    for restart in 0..3 {
        let first = append(&broker, &p, restart * 2, &["a", "b"]).await.expect("stored");
        assert_eq!(first, Appended { base_offset: Some(Offset(restart * 2)), duplicate: false });
        broker.close().expect("closes");
        broker = open_on(&volume);
        let again = append(&broker, &p, restart * 2, &["a", "b"]).await.expect("known");
        assert_eq!(again, Appended { base_offset: first.base_offset, duplicate: true });
        let gap = append(&broker, &p, restart * 2 + 3, &["z"]).await;
        let expected = Sequence(restart * 2 + 2);
        let gap = gap.expect_err("a gap");
        assert!(
            matches!(&gap, Error::Part { error, .. } if matches!(**error, Error::Gap { expected: e, .. } if e == expected)),
            "{gap}"
        );
    }
    assert_eq!(read_all(&broker, "t").await, ["a", "b"].repeat(3));
}

#[tokio::test]
async fn one_bad_part_or_cursor_refuses_the_whole_append() {
    let broker = open_on(&FaultyVolume::default());
    let (one, two) = (producer(&broker, "one").await, producer(&broker, "two").await);
    let consumer = broker.register_consumer(name("one"), None, StartAt::Head).await.expect("registers").id;
    let parts = |start| vec![(one.topic, batch(&one, 0, &["x"])), (two.topic, batch(&two, start, &["y"]))];
    let attempts = [
        Appending { parts: parts(5), commits: vec![] },
        Appending { parts: parts(0), commits: vec![(consumer, Offset(2))] },
        Appending { parts: vec![(one.topic, batch(&two, 0, &["y"]))], commits: vec![] },
    ];
    for attempt in attempts {
        broker.append_wait(attempt).await.expect_err("refused");
        assert_eq!((read_all(&broker, "one").await.len(), read_all(&broker, "two").await.len()), (0, 0));
    }
    // A cursor may move over what the same append adds.
    let good = Appending { parts: parts(0), commits: vec![(consumer, Offset(1))] };
    broker.append_wait(good).await.expect("stored");
    assert_eq!(broker.consumer(consumer).expect("registered").0.cursor, Offset(1));
}

#[tokio::test]
async fn two_parts_of_one_producer_follow_each_other() {
    let broker = open_on(&FaultyVolume::default());
    let p = producer(&broker, "t").await;
    let parts = vec![(p.topic, batch(&p, 0, &["a"])), (p.topic, batch(&p, 1, &["b", "c"]))];
    broker.append_wait(Appending { parts, commits: vec![] }).await.expect("stored");
    assert_eq!(read_all(&broker, "t").await, ["a", "b", "c"]);
    // The same twice in one request: the second one repeats the first.
    let parts = vec![(p.topic, batch(&p, 3, &["d"])), (p.topic, batch(&p, 3, &["d"]))];
    let appended = broker.append_wait(Appending { parts, commits: vec![] }).await.expect("stored");
    let at = |duplicate| Appended { base_offset: Some(Offset(3)), duplicate };
    assert_eq!(appended, [at(false), at(true)]);
}

#[tokio::test]
async fn a_cursor_at_fault_is_named_behind_the_parts() {
    let broker = open_on(&FaultyVolume::default());
    let p = producer(&broker, "t").await;
    let consumer = broker.register_consumer(name("t"), None, StartAt::Tail).await.expect("registers").id;
    let parts = vec![(p.topic, batch(&p, 0, &["a"]))];
    let commits = vec![(consumer, Offset(1)), (consumer, Offset(2))];
    let refused = broker.append_wait(Appending { parts, commits }).await.expect_err("beyond what it adds");
    let Error::Cursor { index: 1, parts: 1, error } = refused else { panic!("{refused}") };
    assert_eq!(*error, Error::BeyondTail { offset: Offset(2), head: Offset(0), tail: Offset(0) });
}

#[tokio::test]
async fn a_failing_disk_makes_the_outcome_unknown_and_nothing_acknowledged_is_lost() {
    let volume = FaultyVolume::default();
    let broker = open_on(&volume);
    let p = producer(&broker, "t").await;
    append(&broker, &p, 0, &["kept"]).await.expect("stored");
    volume.failing.store(true, SeqCst);
    assert_eq!(append(&broker, &p, 1, &["retried"]).await, Err(Error::Indeterminate));
    let refused = append(&broker, &p, 1, &["retried"]).await;
    assert_eq!(refused, Err(Error::StorageFailed), "the store could not be opened again");
    assert_eq!(broker.status().health, Health::Failed);
    assert_eq!(read_all(&broker, "t").await, ["kept"], "what is in memory can be read");
    volume.failing.store(false, SeqCst);
    broker.close().expect("there is nothing left to close");

    let broker = open_on(&volume);
    append(&broker, &p, 1, &["retried"]).await.expect("stored");
    assert_eq!(read_all(&broker, "t").await, ["kept", "retried"]);
}

/// A sync failed; the store was opened again and read what the system still had in memory; a retry was answered with
/// "stored before", and the power cut that followed took it.
#[tokio::test]
async fn what_is_acknowledged_after_a_failed_sync_survives_a_power_cut() {
    let volume = FaultyVolume::default();
    let broker = open_on(&volume);
    let p = producer(&broker, "t").await;
    append(&broker, &p, 0, &["before"]).await.expect("stored");
    volume.failing_syncs.store(1, SeqCst);
    assert_eq!(append(&broker, &p, 1, &["in question"]).await, Err(Error::Indeterminate));
    append(&broker, &p, 1, &["in question"]).await.expect("stored, by this or by the one before");
    append(&broker, &p, 2, &["after"]).await.expect("stored");
    let after = open_on(&volume.after_power_cut());
    assert_eq!(read_all(&after, "t").await, ["before", "in question", "after"]);
    assert_eq!(read_all(&broker, "t").await, ["before", "in question", "after"]);
}

#[tokio::test]
async fn a_full_disk_refuses_appends_and_keeps_serving_reads_until_there_is_room_again() {
    let volume = FaultyVolume::default();
    let broker = open_on(&volume);
    let p = producer(&broker, "t").await;
    let consumer = broker.register_consumer(name("t"), None, StartAt::Head).await.expect("registers").id;
    append(&broker, &p, 0, &["kept"]).await.expect("stored");
    volume.free.store(200 << 20, SeqCst);
    let refused = append(&broker, &p, 1, &["later"]).await.expect_err("no room");
    assert!(matches!(refused, Error::DiskFull { .. }), "{refused}");
    let refused = broker.create_topic(name("u"), Retention::default(), false).await.expect_err("no room");
    assert!(matches!(refused, Error::DiskFull { .. }), "{refused}");
    assert_eq!(broker.status().health, Health::DiskFull);
    assert_eq!(read_all(&broker, "t").await, ["kept"]);
    assert_eq!(broker.commit(consumer, Offset(1), false).await, Ok(Offset(1)), "cursors move in the reserve");
    let again = append(&broker, &p, 0, &["kept"]).await.expect("it is stored already");
    assert_eq!(again, Appended { base_offset: Some(Offset(0)), duplicate: true });
    assert_eq!(producer(&broker, "t").await.epoch.0, 1, "who comes back is let in");
    let refused = broker.register_producer(name("t"), None, None).await.expect_err("no room");
    assert!(matches!(refused, Error::DiskFull { .. }), "{refused}");
    volume.free.store(1000, SeqCst);
    let refused = broker.commit(consumer, Offset(0), true).await.expect_err("no room at all");
    assert!(matches!(refused, Error::DiskFull { free: 1000, .. }), "{refused}");
    volume.free.store(u64::MAX / 2, SeqCst);
    let p = producer(&broker, "t").await;
    append(&broker, &p, 1, &["later"]).await.expect("stored");
    assert_eq!(read_all(&broker, "t").await, ["kept", "later"]);
}

/// A dequeue waited for records at the tail, and did not see that its cursor had been moved back to some.
#[tokio::test]
async fn who_waits_at_a_cursor_is_told_when_it_moves_or_goes() {
    let broker = open_on(&FaultyVolume::default());
    let p = producer(&broker, "t").await;
    append(&broker, &p, 0, &["a"]).await.expect("stored");
    let consumer = broker.register_consumer(name("t"), None, StartAt::Tail).await.expect("registers").id;
    let topic = broker.topic("t").expect("exists");
    let mut moved = Box::pin(topic.wait_moved(consumer, Offset(1)));
    assert!(futures::poll!(&mut moved).is_pending());
    broker.commit(consumer, Offset(0), true).await.expect("rewinds");
    moved.await;
    topic.wait_moved(consumer, Offset(1)).await;
    let mut gone = Box::pin(topic.wait_moved(consumer, Offset(0)));
    assert!(futures::poll!(&mut gone).is_pending());
    broker.delete_topic(name("t"), false).await.expect("deleted");
    gone.await;
    topic.wait_beyond(Offset(1)).await;
    assert!(matches!(broker.consumer(consumer), Err(Error::UnknownConsumer(_))));
}

#[test]
fn an_answer_holds_what_fits_and_says_what_does_not() {
    let batches = |sizes: &[usize]| sizes.iter().map(|size| bytes::Bytes::from(vec![0; *size])).collect::<Vec<_>>();
    let fit = |sizes| {
        let mut batches = batches(sizes);
        Room { bytes: 100, per_batch: 5 }.fit(&mut batches).map(|()| batches.len())
    };
    assert_eq!(fit(&[]), Ok(0));
    assert_eq!(fit(&[100]), Ok(1));
    assert_eq!(fit(&[101, 1]), Err(Error::AnswerTooLarge { bytes: 101, limit: 100 }));
    assert_eq!(fit(&[50, 45]), Ok(2));
    assert_eq!(fit(&[50, 46]), Ok(1));
    assert_eq!(fit(&[10, 10, 10, 10, 10, 10, 10, 10]), Ok(7), "their lengths take room, too");
}

#[tokio::test]
async fn a_dequeue_whose_answer_was_lost_gives_the_same_records_and_another_caller_gets_none_of_them() {
    let volume = FaultyVolume::default();
    let broker = open_on(&volume);
    let p = producer(&broker, "t").await;
    append(&broker, &p, 0, &["a", "b", "c"]).await.expect("stored");
    let consumer =
        broker.register_consumer(name("t"), Some("c".to_owned()), StartAt::Head).await.expect("registers").id;
    let first = broker.dequeue(consumer, Offset(0), 77, 2, ROOM).await.expect("records");
    assert_eq!((first.first, first.next, first.repeated), (Offset(0), Offset(2), false));
    broker.close().expect("closes");
    let broker = open_on(&volume);
    let again = broker.dequeue(consumer, Offset(0), 77, 2, ROOM).await.expect("records");
    assert_eq!((again.first, again.next, again.repeated), (Offset(0), Offset(2), true));
    assert_eq!(again.batches, first.batches);
    let other = broker.dequeue(consumer, Offset(0), 78, 2, ROOM).await.expect_err("another caller");
    assert_eq!(other, Error::CursorMismatch { expected: Offset(0), cursor: Offset(2) });
    let rest = broker.dequeue(consumer, Offset(2), 79, 2, ROOM).await.expect("records");
    assert_eq!((rest.first, rest.next), (Offset(2), Offset(3)));
    let none = broker.dequeue(consumer, Offset(3), 80, 2, ROOM).await.expect("nothing");
    assert_eq!((none.first, none.next, none.batches.len()), (Offset(3), Offset(3), 0));
}

#[tokio::test]
async fn retention_by_bytes_keeps_the_newest_records_within_the_limit() {
    let volume = FaultyVolume::default();
    let broker = open_on(&volume);
    let retention = Retention { bytes: Some(20_000), age_us: None };
    let p = broker.register_producer(name("t"), None, Some(retention)).await.expect("registers");
    let payload = "x".repeat(500);
    for n in 0..200 {
        append(&broker, &p, n, &[&payload]).await.expect("stored");
        let range = broker.topic("t").expect("exists").range();
        assert!(range.bytes <= 20_000 && range.tail == Offset(n + 1));
    }
    let range = broker.topic("t").expect("exists").range();
    assert!(range.bytes > 18_000, "not more than a piece too many is dropped: {}", range.bytes);
    assert_eq!(read_all(&broker, "t").await.len() as u64, range.tail.0 - range.head.0);
    let topic = broker.topic("t").expect("exists");
    assert!(matches!(broker.read(&topic, Offset(0), 1).await, Err(Error::BeforeHead { .. })));
    broker.close().expect("closes");
    assert_eq!(open_on(&volume).topic("t").expect("exists").range(), range);
}

#[tokio::test]
async fn offsets_are_found_by_time() {
    let broker = open_on(&FaultyVolume::default());
    let p = producer(&broker, "t").await;
    let topic = broker.topic("t").expect("exists");
    assert_eq!(broker.offset_for(&topic, Timestamp(0)).await, Ok(Offset(0)));
    let mut times = Vec::new();
    for n in 0..20 {
        append(&broker, &p, n * 2, &["a", "b"]).await.expect("stored");
        let found = broker.read(&topic, Offset(n * 2), 1).await.expect("reads").batches;
        times.push(crate::record::Stamp::read(&found[0]).expect("a batch").append_time);
    }
    for time in &times {
        let first = times.iter().position(|other| other >= time).expect("it is there") as u64;
        assert_eq!(broker.offset_for(&topic, *time).await, Ok(Offset(first * 2)));
    }
    let late = Timestamp(times[19].0 + 1);
    assert_eq!(broker.offset_for(&topic, late).await, Ok(Offset(40)));
}

/// A topic that keeps little, its producer, which has stored one record, and a consumer in front of that.
#[cfg(feature = "trial")]
fn forgetful_store() -> (Stepped, ProducerState, ConsumerId) {
    let mut store = Stepped::open(Place::Memory, BrokerConfig::default()).expect("opens");
    let small = Some(Retention { bytes: Some(200), age_us: None });
    let p = store.call(async |broker| broker.register_producer(name("t"), None, small).await).expect("registers");
    store.call(async |broker| append(&broker, &p, 0, &["a"]).await).expect("stored");
    let consumer = store.call(async |broker| broker.register_consumer(name("t"), None, StartAt::Head).await);
    (store, p, consumer.expect("registers").id)
}

/// A dequeue was sent again, its topic was deleted behind it, and it was answered with `UnknownTopic`. That is none of its
/// errors (protocol.md section 4.21): a client takes it for the answer to something else. The consumer is what is gone. When
/// retention had taken the records before, it was answered as if both were there (model, seed 71009252).
#[cfg(feature = "trial")]
#[test]
fn a_repeated_dequeue_whose_topic_is_deleted_behind_it_is_told_that_the_consumer_is_unknown() {
    use futures::FutureExt as _;

    for is_trimmed in [false, true] {
        let (mut store, p, consumer) = forgetful_store();
        let taken = store.call(async |broker| broker.dequeue(consumer, Offset(0), 7, 1, ROOM).await);
        assert_eq!(taken.expect("there is one").next, Offset(1));
        if is_trimmed {
            store.call(async |broker| append(&broker, &p, 1, &["b".repeat(300).as_str()]).await).expect("stored");
            assert_eq!(store.broker().topic("t").expect("exists").range().head, Offset(1));
        }

        let broker = store.broker().clone();
        let mut again = Box::pin(broker.dequeue(consumer, Offset(0), 7, 1, ROOM));
        assert!(again.as_mut().now_or_never().is_none(), "it waits for the writer");
        let mut deletion = Box::pin(broker.delete_topic(name("t"), false));
        assert!(deletion.as_mut().now_or_never().is_none(), "it stands behind the dequeue");
        assert!(store.step());
        let told = again.now_or_never().expect("the writer has worked").expect_err("it is gone");
        assert_eq!(told, Error::UnknownConsumer(consumer.to_string()));
    }
}

/// A dequeue was sent twice before the writer had decided the first. The same commit trimmed what it took. The second was
/// told rightly that none of the records is left, and got the batch that it had found when it arrived: one that retention
/// had removed, with none of its records.
#[cfg(feature = "trial")]
#[test]
fn a_repeated_dequeue_whose_records_are_gone_brings_no_batches() {
    use futures::FutureExt as _;

    let (mut store, p, consumer) = forgetful_store();
    let broker = store.broker().clone();
    let parts = vec![(p.topic, batch(&p, 1, &["b".repeat(300).as_str()]))];
    broker.append(Appending { parts, commits: Vec::new() }, Box::new(|stored| assert!(stored.is_ok())));
    let mut first = Box::pin(broker.dequeue(consumer, Offset(0), 7, 1, ROOM));
    let mut again = Box::pin(broker.dequeue(consumer, Offset(0), 7, 1, ROOM));
    assert!(first.as_mut().now_or_never().is_none() && again.as_mut().now_or_never().is_none());
    assert!(store.step());
    let first = first.now_or_never().expect("the writer has worked").expect("there was one");
    let again = again.now_or_never().expect("the writer has worked").expect("it is known");
    assert_eq!((first.first, first.next, first.batches.len()), (Offset(0), Offset(1), 1));
    assert_eq!(broker.topic("t").expect("exists").range().head, Offset(1));
    assert!(again.repeated);
    assert_eq!((again.first, again.next, again.batches.len()), (Offset(1), Offset(1), 0));
}

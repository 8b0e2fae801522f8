//! Exactly once (protocol.md section 8.3): what is stored, what is a duplicate, what is refused, whatever was lost.

use connectify::{
    limits::MAX_PRODUCER_RANGES,
    protocol::{
        AppendedPart, CursorMove, ErrorCode, ForgetProducer, ListProducers, ProducerState, RegisterProducer,
        RegisterProducerAnswer, Start,
    },
};

use crate::support::{Raw, TestServer, append_of, batch, images::directory};

fn stored_at(offset: u64) -> AppendedPart {
    AppendedPart { base_offset: Some(offset), duplicate: false }
}

fn duplicate_of(offset: u64) -> AppendedPart {
    AppendedPart { base_offset: Some(offset), duplicate: true }
}

fn texts(found: &[(u64, String)]) -> Vec<&str> {
    found.iter().map(|(_, value)| value.as_str()).collect()
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_a_duplicate_at_its_first_offset() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    let (first, second) = (batch(&producer, 0..2, &["a", "b"]), batch(&producer, 2..3, &["c"]));
    assert_eq!(raw.append(&producer, &first).await, stored_at(0));
    assert_eq!(raw.append(&producer, &second).await, stored_at(2));
    assert_eq!(raw.append(&producer, &first).await, duplicate_of(0));
    assert_eq!(raw.append(&producer, &second).await, duplicate_of(2));
    assert_eq!(texts(&raw.read_all("t").await), ["a", "b", "c"]);
    let state = raw.ask(&ProducerState { producer_id: producer.producer_id }).await;
    assert_eq!((state.topic_id, state.name, state.epoch, state.last_sequence), (producer.topic_id, None, 0, 3));
}

#[tokio::test]
async fn the_offsets_of_the_last_ranges_are_remembered_and_older_duplicates_are_still_known_as_such() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    let count = MAX_PRODUCER_RANGES as u64 + 5;
    let nth = |n: u64| batch(&producer, n..n + 1, &[&n.to_string()]);
    for n in 0..count {
        assert_eq!(raw.append(&producer, &nth(n)).await, stored_at(n));
    }
    for n in 0..count {
        let part = raw.append(&producer, &nth(n)).await;
        assert!(part.duplicate);
        match part.base_offset {
            Some(offset) => assert_eq!(offset, n),
            None => assert!(n < 5, "range {n} is one of the last and is forgotten"),
        }
    }
    assert_eq!(raw.topic("t").await.tail, count);
}

#[tokio::test]
async fn a_gap_is_refused_with_the_sequence_that_was_expected() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    raw.append(&producer, &batch(&producer, 0..3, &["a"])).await;
    let (append, batches) = append_of(&[(producer.topic_id, batch(&producer, 4..5, &["x"]))], &[]);
    let error = raw.refused(ErrorCode::SequenceGap, &append, batches).await;
    assert_eq!(error.details, [0, 3]);
    assert_eq!(raw.append(&producer, &batch(&producer, 3..4, &["b"])).await, stored_at(1));
}

#[tokio::test]
async fn an_overlap_is_refused_from_either_side() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    raw.append(&producer, &batch(&producer, 0..10, &["a"])).await;
    for sequences in [0..11, 5..11, 9..u64::MAX] {
        let (append, batches) = append_of(&[(producer.topic_id, batch(&producer, sequences, &["x"]))], &[]);
        let error = raw.refused(ErrorCode::SequenceOverlap, &append, batches).await;
        assert_eq!(error.details, [0, 10]);
    }
    // A range within what is stored is a duplicate, although it was never sent as such.
    let part = raw.append(&producer, &batch(&producer, 3..7, &["x"])).await;
    assert!(part.duplicate);
    assert_eq!(texts(&raw.read_all("t").await), ["a"]);
}

#[tokio::test]
async fn sequences_count_what_the_producer_likes_up_to_the_last_number() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    assert_eq!(raw.append(&producer, &batch(&producer, 0..1 << 40, &["a", "b"])).await, stored_at(0));
    assert_eq!(raw.append(&producer, &batch(&producer, 1 << 40..u64::MAX, &["c"])).await, stored_at(2));
    assert_eq!(raw.append(&producer, &batch(&producer, 1 << 40..u64::MAX, &["c"])).await, duplicate_of(2));
    assert_eq!(raw.producer_named("t", None).await.last_sequence, 0);
}

#[tokio::test]
async fn a_name_that_is_registered_again_fences_the_one_before() {
    let server = TestServer::ephemeral();
    let (mut old, mut new) = (Raw::open(server.address).await, Raw::open(server.address).await);
    let first = old.producer_named("t", Some("agent")).await;
    assert_eq!((first.epoch, first.last_sequence), (0, 0));
    old.append(&first, &batch(&first, 0..5, &["a"])).await;
    let second = new.producer_named("t", Some("agent")).await;
    assert_eq!((second.producer_id, second.epoch, second.last_sequence), (first.producer_id, 1, 5));
    // Fenced: a new batch, and also one that would be a duplicate.
    for sequences in [5..6, 0..5] {
        let (append, batches) = append_of(&[(first.topic_id, batch(&first, sequences, &["x"]))], &[]);
        let error = old.refused(ErrorCode::ProducerFenced, &append, batches).await;
        assert_eq!(error.details, [0, 1]);
    }
    let ahead = RegisterProducerAnswer { epoch: 2, ..second.clone() };
    let (append, batches) = append_of(&[(ahead.topic_id, batch(&ahead, 5..6, &["x"]))], &[]);
    new.refused(ErrorCode::ProducerFenced, &append, batches).await;
    assert_eq!(new.append(&second, &batch(&second, 5..6, &["b"])).await, stored_at(1));
    assert_eq!(texts(&old.read_all("t").await), ["a", "b"]);
}

#[tokio::test]
async fn producers_with_names_are_listed_with_what_they_stored_last() {
    let data = directory();
    let server = TestServer::on(data.path());
    let mut raw = Raw::open(server.address).await;
    let mut names: Vec<_> = (0..300).map(|n| format!("file-{n:03}")).collect();
    for name in &names {
        raw.producer_named("t", Some(name)).await;
    }
    let (other, unnamed) = (raw.producer_named("t", Some("other")).await, raw.producer("t").await);
    raw.append(&unnamed, &batch(&unnamed, 0..1, &["x"])).await;
    raw.append(&other, &batch(&other, 0..700, &["a", "b"])).await;

    let mut list = async |prefix: &str, after: &str, limit| {
        let (topic, prefix, after) = ("t".to_owned(), prefix.to_owned(), after.to_owned());
        raw.ask(&ListProducers { topic, prefix, after, limit }).await
    };
    let first = list("file-", "", 0).await;
    assert_eq!((first.producers.len(), first.more), (128, true));
    let found = list("o", "", 7).await;
    let [found] = &found.producers[..] else { panic!("{found:?}") };
    assert_eq!((found.producer_id, found.epoch, found.name.as_str()), (other.producer_id, 0, "other"));
    assert_eq!((found.last_sequence, found.last_offset), (700, Some(2)));
    // One page after the other, of any size, they are all there once.
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = list("file-", &after, 77).await;
        assert!(page.producers.iter().all(|producer| (producer.last_sequence, producer.last_offset) == (0, None)));
        seen.extend(page.producers.into_iter().map(|producer| producer.name));
        after.clone_from(seen.last().expect("no page is empty"));
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, names);
    // `after` need not be a name, nor begin with the prefix.
    assert_eq!(list("file-2", "a", 1).await.producers[0].name, "file-200");
    assert_eq!(list("file-2", "file-2\u{10ffff}", 1).await.producers, []);
    assert_eq!(list("", "", 1).await.producers[0].name, names.remove(0));
    let unknown = ListProducers { topic: "nowhere".to_owned(), ..ListProducers::default() };
    raw.refused(ErrorCode::UnknownTopic, &unknown, Vec::new()).await;
}

#[tokio::test]
async fn a_producer_that_is_forgotten_is_unknown_and_its_name_begins_anew_also_after_a_restart() {
    let data = directory();
    let server = TestServer::on(data.path());
    let mut raw = Raw::open(server.address).await;
    let old = raw.producer_named("t", Some("file")).await;
    raw.append(&old, &batch(&old, 0..10, &["a"])).await;
    let forget = ForgetProducer { producer_id: old.producer_id };
    assert!(raw.ask(&forget).await.forgotten);
    assert!(!raw.ask(&forget).await.forgotten, "it is gone already");
    server.stop().await;

    let server = TestServer::on(data.path());
    let mut raw = Raw::open(server.address).await;
    raw.refused(ErrorCode::UnknownProducer, &ProducerState { producer_id: old.producer_id }, Vec::new()).await;
    let (append, batches) = append_of(&[(old.topic_id, batch(&old, 10..11, &["x"]))], &[]);
    raw.refused(ErrorCode::UnknownProducer, &append, batches).await;
    assert_eq!(raw.topic("t").await.producers, 0);
    let new = raw.producer_named("t", Some("file")).await;
    assert_ne!(new.producer_id, old.producer_id);
    assert_eq!((new.epoch, new.last_sequence), (0, 0));
    assert_eq!(texts(&raw.read_all("t").await), ["a"], "its records stay");
}

#[tokio::test]
async fn the_same_name_in_another_topic_is_another_producer() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let (here, there) = (raw.producer_named("a", Some("agent")).await, raw.producer_named("b", Some("agent")).await);
    assert_ne!(here.producer_id, there.producer_id);
    assert_eq!((here.epoch, there.epoch), (0, 0));
    let unnamed = [raw.producer("a").await.producer_id, raw.producer("a").await.producer_id];
    assert_ne!(unnamed[0], unnamed[1]);
    assert_eq!(raw.topic("a").await.producers, 3);
}

#[tokio::test]
async fn one_bad_part_and_nothing_of_the_append_is_stored_in_any_topic() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let (a, b) = (raw.producer("a").await, raw.producer("b").await);
    let consumer = raw.consumer("a", None, Start::Head).await;
    let good = (a.topic_id, batch(&a, 0..1, &["good"]));
    let nobody = RegisterProducerAnswer { producer_id: [7; 16], ..b.clone() };
    let fenced = RegisterProducerAnswer { epoch: 9, ..b.clone() };
    let bad = [
        (ErrorCode::SequenceGap, (b.topic_id, batch(&b, 1..2, &["bad"]))),
        (ErrorCode::UnknownProducer, (b.topic_id, batch(&nobody, 0..1, &["bad"]))),
        (ErrorCode::ProducerFenced, (b.topic_id, batch(&fenced, 0..1, &["bad"]))),
        (ErrorCode::ProducerNotForTopic, (b.topic_id, batch(&a, 1..2, &["bad"]))),
        (ErrorCode::UnknownTopic, (4_000_000_000, batch(&b, 0..1, &["bad"]))),
    ];
    let commits = [CursorMove { consumer_id: consumer.consumer_id, offset: 1 }];
    for (code, bad) in bad {
        for (index, parts) in [(1, [good.clone(), bad.clone()]), (0, [bad.clone(), good.clone()])] {
            let (append, batches) = append_of(&parts, &commits);
            let error = raw.refused(code, &append, batches).await;
            assert_eq!(error.details.first(), Some(&index), "{error:?}");
        }
    }
    assert_eq!((raw.topic("a").await.tail, raw.topic("b").await.tail), (0, 0));
    assert_eq!(raw.consumers("a").await[0].cursor, 0);
    // The same parts, now all of them good, are new to the server.
    let (append, batches) = append_of(&[good, (b.topic_id, batch(&b, 0..1, &["good too"]))], &commits);
    let (answer, _) = raw.ask_with(&append, batches).await;
    assert_eq!(answer.parts, [stored_at(0), stored_at(0)]);
    assert_eq!(raw.consumers("a").await[0].cursor, 1);
}

#[tokio::test]
async fn parts_of_one_producer_are_decided_in_order_each_behind_the_one_before() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let p = raw.producer("t").await;
    let part = |range: std::ops::Range<u64>, value: &str| (p.topic_id, batch(&p, range, &[value]));
    let (append, batches) = append_of(&[part(0..1, "a"), part(1..2, "b"), part(0..1, "a"), part(2..3, "c")], &[]);
    let (answer, _) = raw.ask_with(&append, batches).await;
    assert_eq!(answer.parts[..2], [stored_at(0), stored_at(1)]);
    assert!(answer.parts[2].duplicate);
    assert_eq!(answer.parts[3], stored_at(2));
    let (append, batches) = append_of(&[part(4..5, "e"), part(3..4, "d")], &[]);
    let error = raw.refused(ErrorCode::SequenceGap, &append, batches).await;
    assert_eq!(error.details, [0, 3]);
    let (append, batches) = append_of(&[part(3..5, "d"), part(4..6, "e")], &[]);
    let error = raw.refused(ErrorCode::SequenceOverlap, &append, batches).await;
    assert_eq!(error.details, [1, 5]);
    assert_eq!(texts(&raw.read_all("t").await), ["a", "b", "c"]);
}

#[tokio::test]
async fn cursors_move_with_the_append_or_neither_does_anything() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let (source, sink) = (raw.producer("source").await, raw.producer("sink").await);
    raw.append_each(&source, 0, &["a", "b", "c"]).await;
    let consumer = raw.consumer("source", Some("job"), Start::Head).await;
    let to = |offset| [CursorMove { consumer_id: consumer.consumer_id, offset }];
    let result = |sequence: u64| [(sink.topic_id, batch(&sink, sequence..sequence + 1, &["result"]))];

    let (append, batches) = append_of(&result(0), &to(2));
    raw.ask_with(&append, batches).await;
    assert_eq!((raw.topic("sink").await.tail, raw.consumers("source").await[0].cursor), (1, 2));

    // Beyond the tail, and of nobody: nothing is appended either.
    let (append, batches) = append_of(&result(1), &to(4));
    let error = raw.refused(ErrorCode::OffsetBeyondTail, &append, batches).await;
    assert_eq!(error.details, [1, 0, 3], "cursors are counted behind the parts");
    let (append, batches) = append_of(&result(1), &[CursorMove { consumer_id: [9; 16], offset: 0 }]);
    raw.refused(ErrorCode::UnknownConsumer, &append, batches).await;
    assert_eq!((raw.topic("sink").await.tail, raw.consumers("source").await[0].cursor), (1, 2));

    // A refused part keeps the cursor where it is, and a cursor is never moved back.
    let (append, batches) = append_of(&result(7), &to(3));
    raw.refused(ErrorCode::SequenceGap, &append, batches).await;
    assert_eq!(raw.consumers("source").await[0].cursor, 2);
    let (append, batches) = append_of(&result(1), &to(1));
    raw.ask_with(&append, batches).await;
    assert_eq!((raw.topic("sink").await.tail, raw.consumers("source").await[0].cursor), (2, 2));
}

#[tokio::test]
async fn a_cursor_may_move_to_the_end_of_what_the_same_append_adds() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let p = raw.producer("t").await;
    let consumer = raw.consumer("t", None, Start::Head).await;
    let parts = [(p.topic_id, batch(&p, 0..2, &["a", "b"]))];
    let to = |offset| [CursorMove { consumer_id: consumer.consumer_id, offset }];
    let (append, batches) = append_of(&parts, &to(3));
    raw.refused(ErrorCode::OffsetBeyondTail, &append, batches).await;
    let (append, batches) = append_of(&parts, &to(2));
    raw.ask_with(&append, batches).await;
    assert_eq!(raw.consumers("t").await[0].cursor, 2);
    // Sent again, its part is a duplicate that adds nothing, and its commit is where the cursor is.
    let (append, batches) = append_of(&parts, &to(2));
    assert_eq!(raw.ask_with(&append, batches).await.0.parts, [duplicate_of(0)]);
}

#[tokio::test]
async fn an_append_whose_connection_broke_is_stored_once_when_it_is_sent_again_on_the_next() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let p = raw.producer_named("t", Some("agent")).await;
    for round in 0..20 {
        let sent = batch(&p, round..round + 1, &[&round.to_string()]);
        let (append, batches) = append_of(&[(p.topic_id, sent.clone())], &[]);
        raw.submit(&append, batches).await;
        // Nobody knows whether it was read before the connection went.
        raw.reset();
        raw = Raw::open(server.address).await;
        let part = raw.append(&p, &sent).await;
        assert_eq!(part.base_offset, Some(round));
    }
    assert_eq!(raw.topic("t").await.tail, 20);
}

#[tokio::test]
async fn a_restarted_server_knows_its_producers_their_ranges_and_their_epochs() {
    let directory = directory();
    let server = TestServer::on(directory.path());
    let mut raw = Raw::open(server.address).await;
    let (named, unnamed) = (raw.producer_named("t", Some("agent")).await, raw.producer("t").await);
    let (first, second) = (batch(&named, 0..2, &["a", "b"]), batch(&unnamed, 0..1, &["c"]));
    raw.append(&named, &first).await;
    raw.append(&unnamed, &second).await;
    server.stop().await;

    let server = TestServer::on(directory.path());
    let mut raw = Raw::open(server.address).await;
    assert_eq!(raw.append(&named, &first).await, duplicate_of(0));
    assert_eq!(raw.append(&unnamed, &second).await, duplicate_of(2));
    let (append, batches) = append_of(&[(named.topic_id, batch(&named, 3..4, &["x"]))], &[]);
    assert_eq!(raw.refused(ErrorCode::SequenceGap, &append, batches).await.details, [0, 2]);
    assert_eq!(raw.append(&named, &batch(&named, 2..3, &["d"])).await, stored_at(3));
    let again = raw.producer_named("t", Some("agent")).await;
    assert_eq!((again.producer_id, again.epoch, again.last_sequence), (named.producer_id, 1, 3));
    assert_eq!(texts(&raw.read_all("t").await), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_producer_of_a_topic_that_was_deleted_is_unknown_and_the_new_topic_is_another_one() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let old = raw.producer_named("t", Some("agent")).await;
    raw.append(&old, &batch(&old, 0..1, &["gone"])).await;
    raw.ask(&connectify::protocol::DeleteTopic { topic: "t".to_owned(), if_present: false }).await;
    raw.refused(ErrorCode::UnknownProducer, &ProducerState { producer_id: old.producer_id }, Vec::new()).await;
    let request = RegisterProducer { topic: "t".to_owned(), name: Some("agent".to_owned()), create: None };
    raw.refused(ErrorCode::UnknownTopic, &request, Vec::new()).await;

    let new = raw.producer_named("t", Some("agent")).await;
    assert_ne!((new.producer_id, new.topic_id), (old.producer_id, old.topic_id));
    assert_eq!((new.epoch, new.last_sequence), (0, 0));
    for (topic_id, code) in [(new.topic_id, ErrorCode::UnknownProducer), (old.topic_id, ErrorCode::UnknownTopic)] {
        let (append, batches) = append_of(&[(topic_id, batch(&old, 1..2, &["x"]))], &[]);
        raw.refused(code, &append, batches).await;
    }
    assert_eq!(raw.append(&new, &batch(&new, 0..1, &["new"])).await, stored_at(0));
}

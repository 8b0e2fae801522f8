//! Subscriptions: credit, gaps, and how they end.

use bytes::Bytes;
use connectify::{
    limits::MAX_DELIVERY_BYTES,
    protocol::{Credit, DeleteTopic, ErrorCode, Opcode, Ping, Retention, Start, Unsubscribe, encode_request},
};

use crate::support::{Raw, TestServer, batch, config, requests::subscribe_of, values};

/// Values of 1,000 bytes, so that a batch takes a little more.
const VALUE_BYTES: usize = 1000;

/// Gives credit. There is no answer to wait for, so the Ping behind it says when it was read.
async fn give_credit(raw: &mut Raw, subscription_id: u32, bytes: u64) {
    let id = raw.next_id();
    raw.send_frame(&encode_request(&Credit { subscription_id, bytes }, id, Vec::new())).await;
    raw.ask(&Ping {}).await;
}

/// A topic with so many records, each in a batch of its own.
async fn filled_topic(raw: &mut Raw, count: u64) -> connectify::protocol::RegisterProducerAnswer {
    let producer = raw.producer("t").await;
    let value = "x".repeat(VALUE_BYTES);
    raw.append_each(&producer, 0, &vec![value.as_str(); usize::try_from(count).expect("few")]).await;
    producer
}

#[tokio::test]
async fn what_is_stored_and_what_comes_later_is_pushed_in_order_to_every_subscription() {
    for tail_cache_bytes in [0, 24 << 20] {
        let server = TestServer::start(config().with_tail_cache_bytes(tail_cache_bytes));
        let (mut reader, mut writer) = (Raw::open(server.address).await, Raw::open(server.address).await);
        let producer = writer.producer("t").await;
        let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        writer.append_each(&producer, 0, &names[..50]).await;
        let from = [(Start::Head, 0), (Start::Tail, 50), (Start::Offset(17), 17), (Start::Timestamp(0), 0)];
        let mut subscribed = Vec::new();
        for (start, first) in from {
            let (id, answer) = reader.subscribe("t", start, 1 << 20).await;
            assert_eq!((answer.offset, answer.head, answer.tail), (first, 0, 50));
            subscribed.push((id, answer.subscription_id, first));
        }
        writer.append_each(&producer, 50, &names[50..]).await;
        for (id, subscription_id, first) in subscribed {
            let mut found = Vec::new();
            while found.last().is_none_or(|(offset, _)| *offset < 99) {
                let (deliver, batches) = reader.delivered(id).await;
                assert_eq!((deliver.subscription_id, deliver.head, deliver.gap), (subscription_id, 0, None));
                found.extend(values(&batches));
            }
            let expected: Vec<_> = (first..100).map(|n| (n, n.to_string())).collect();
            assert_eq!(found, expected);
        }
    }
}

#[tokio::test]
async fn no_more_is_pushed_than_the_credit_and_one_delivery() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    filled_topic(&mut raw, 100).await;
    let (id, answer) = raw.subscribe("t", Start::Head, 0).await;
    let (subscription_id, mut credit, mut next) = (answer.subscription_id, 0, 0);
    for given in [1, 1, 2500, 1, 5000, 1 << 20] {
        give_credit(&mut raw, subscription_id, given).await;
        credit += i64::try_from(given).expect("few bytes");
        while credit > 0 && next < 100 {
            let (deliver, batches) = raw.delivered(id).await;
            let bytes: u32 = deliver.batch_bytes.iter().sum();
            let largest = i64::from(*deliver.batch_bytes.iter().max().expect("a delivery without a gap has batches"));
            assert!(i64::from(bytes) < credit.max(1) + largest, "{bytes} bytes were pushed for a credit of {credit}");
            credit -= i64::from(bytes);
            for (offset, _) in values(&batches) {
                assert_eq!(offset, next);
                next += 1;
            }
        }
        // Nothing is on its way: what another subscription gets would have come behind it.
        let (probe, _) = raw.subscribe("t", Start::Offset(99), 1).await;
        raw.delivered(probe).await;
        assert!(!raw.has_pushed(id), "pushed with a credit of {credit}");
    }
    assert_eq!(next, 100);
}

#[tokio::test]
async fn a_delivery_ends_with_the_batch_that_brings_it_to_256_kib() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let producer = filled_topic(&mut raw, 500).await;
    let large = "x".repeat(2 * MAX_DELIVERY_BYTES);
    raw.append(&producer, &batch(&producer, 500..501, &[&large])).await;
    let (id, _) = raw.subscribe("t", Start::Head, 1 << 30).await;
    let mut next = 0;
    while next <= 500 {
        let (_, batches) = raw.delivered(id).await;
        let before_last: usize = batches.iter().rev().skip(1).map(Bytes::len).sum();
        assert!(before_last < MAX_DELIVERY_BYTES, "{before_last} bytes, and another batch");
        next += batches.len();
    }
}

#[tokio::test]
async fn credit_goes_to_one_subscription_and_an_unknown_one_is_passed_over() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    filled_topic(&mut raw, 3).await;
    let (starved, _) = raw.subscribe("t", Start::Head, 0).await;
    let (fed, answer) = raw.subscribe("t", Start::Head, 0).await;
    for unknown in [0, 77, u32::MAX] {
        give_credit(&mut raw, unknown, 1 << 20).await;
    }
    give_credit(&mut raw, answer.subscription_id, u64::MAX).await;
    let mut found = Vec::new();
    while found.len() < 3 {
        found.extend(values(&raw.delivered(fed).await.1));
    }
    assert!(!raw.has_pushed(starved));
}

#[tokio::test]
async fn nothing_is_pushed_after_the_answer_to_unsubscribe() {
    let server = TestServer::ephemeral();
    let (mut reader, mut writer) = (Raw::open(server.address).await, Raw::open(server.address).await);
    let producer = writer.producer("t").await;
    for n in 0..50 {
        let (id, answer) = reader.subscribe("t", Start::Tail, 1 << 20).await;
        // The append and the end of the subscription race.
        let (append, batches) =
            crate::support::append_of(&[(producer.topic_id, batch(&producer, n..n + 1, &["x"]))], &[]);
        let appending = writer.submit(&append, batches).await;
        reader.ask(&Unsubscribe { subscription_id: answer.subscription_id }).await;
        reader.forget_pushed(id);
        writer.answer_to(appending).await;
        reader.ask(&Ping {}).await;
        assert!(!reader.has_pushed(id), "round {n}");
        let again = Unsubscribe { subscription_id: answer.subscription_id };
        reader.refused(ErrorCode::UnknownSubscription, &again, Vec::new()).await;
    }
}

/// A topic that keeps about 1,000 bytes, and a producer for it.
async fn forgetful_topic(raw: &mut Raw) -> connectify::protocol::RegisterProducerAnswer {
    raw.create_topic("t", Retention { bytes: Some(1000), age_ms: None }).await;
    raw.producer("t").await
}

#[tokio::test]
async fn a_subscription_that_retention_overtakes_is_told_the_gap_also_without_credit() {
    let server = TestServer::ephemeral();
    let (mut reader, mut writer) = (Raw::open(server.address).await, Raw::open(server.address).await);
    let producer = forgetful_topic(&mut writer).await;
    let (id, answer) = reader.subscribe("t", Start::Head, 0).await;
    assert_eq!(answer.offset, 0);
    writer.append_each(&producer, 0, &["some value"; 50]).await;
    let head = writer.topic("t").await.head;
    let mut next = 0;
    // The head moved several times, and may be told in as many gaps.
    while next < head {
        let (deliver, batches) = reader.delivered(id).await;
        let gap = deliver.gap.clone().expect("without credit there is nothing but gaps");
        assert!(batches.is_empty() && gap.from == next && gap.to > next && gap.to <= deliver.head, "{deliver:?}");
        next = gap.to;
    }
    assert_eq!(next, head);
    give_credit(&mut reader, answer.subscription_id, 1 << 20).await;
    let mut found = Vec::new();
    while found.len() as u64 + head < 50 {
        let (deliver, batches) = reader.delivered(id).await;
        assert_eq!(deliver.gap, None);
        found.extend(values(&batches).into_iter().map(|(offset, _)| offset));
    }
    assert_eq!(found, (head..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_answer_to_subscribe_comes_before_everything_that_is_pushed() {
    let server = TestServer::ephemeral();
    let (mut reader, mut writer) = (Raw::open(server.address).await, Raw::open(server.address).await);
    let producer = forgetful_topic(&mut writer).await;
    writer.append_each(&producer, 0, &["some value"; 50]).await;
    for _ in 0..300 {
        // Before the head, so that there is a gap to tell at once.
        let id = reader.submit(&subscribe_of("t", Start::Offset(0), 1 << 20), Vec::new()).await;
        let first = reader.frame_where(|frame| frame.header.correlation_id == id).await;
        assert_eq!(first.header.opcode, Opcode::Subscribe as u16, "a delivery came first");
        let (answer, _) = connectify::protocol::decode_answer::<connectify::protocol::SubscribeAnswer>(&first)
            .expect("the answer follows its table");
        reader.ask(&Unsubscribe { subscription_id: answer.subscription_id }).await;
        reader.forget_pushed(id);
    }
}

#[tokio::test]
async fn deleting_a_topic_ends_its_subscriptions_with_an_error_also_without_credit() {
    let server = TestServer::ephemeral();
    let (mut reader, mut writer) = (Raw::open(server.address).await, Raw::open(server.address).await);
    filled_topic(&mut writer, 3).await;
    let (at_tail, _) = reader.subscribe("t", Start::Tail, 1000).await;
    let (starved, _) = reader.subscribe("t", Start::Head, 0).await;
    let (other, answer) = {
        writer.producer("other").await;
        reader.subscribe("other", Start::Head, 1000).await
    };
    writer.ask(&DeleteTopic { topic: "t".to_owned(), if_present: false }).await;
    for id in [at_tail, starved] {
        let error = reader.pushed(id).await.expect_err("the topic is gone");
        assert_eq!((error.known(), error.facts), (Some(ErrorCode::UnknownTopic), 0));
    }
    // Its correlation id is free again, and the subscription to the other topic stands.
    reader.send_frame(&encode_request(&Ping {}, at_tail, Vec::new())).await;
    reader.answer_to(at_tail).await;
    assert!(!reader.has_pushed(other));
    reader.ask(&Unsubscribe { subscription_id: answer.subscription_id }).await;
}

#[tokio::test]
async fn a_topic_that_is_made_again_is_not_what_an_old_subscription_reads() {
    let server = TestServer::ephemeral();
    let (mut reader, mut writer) = (Raw::open(server.address).await, Raw::open(server.address).await);
    filled_topic(&mut writer, 3).await;
    let (old, _) = reader.subscribe("t", Start::Tail, 1 << 20).await;
    writer.ask(&DeleteTopic { topic: "t".to_owned(), if_present: false }).await;
    let producer = writer.producer("t").await;
    let (new, _) = reader.subscribe("t", Start::Tail, 1 << 20).await;
    writer.append_each(&producer, 0, &["new"]).await;
    reader.pushed(old).await.expect_err("its topic is gone");
    assert_eq!(values(&reader.delivered(new).await.1), [(0, "new".to_owned())]);
}

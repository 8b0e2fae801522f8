//! Dialogues about consumers: reading on across connections, gaps, credit, cursors.

mod dequeues;

use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use proptest::prelude::*;

use super::{Consumer, ConsumerBuilder};
use crate::{
    client::{
        Client, Error,
        testing::{Asked, Peer, Server, connected, granted_answer, narrow, soon, stored_batch},
    },
    limits::KEEPALIVE,
    protocol::{
        Backlog, BacklogAnswer, Commit, CommitAnswer, Credit, Deliver, Dequeue, DequeueAnswer, DescribeTopic,
        DescribeTopicAnswer, ErrorBody, ErrorCode, FrameHeader, Gap, OffsetForTimestamp, OffsetForTimestampAnswer,
        Opcode, OutFrame, RegisterConsumer, RegisterConsumerAnswer, Start, Subscribe, SubscribeAnswer, TopicInfo,
        Unsubscribe, UnsubscribeAnswer, encode_error,
    },
    record::{Batch, Offset, Timestamp},
};

const CONSUMER: [u8; 16] = [4; 16];
const SUBSCRIPTION: u32 = 66;
const WAIT: Duration = Duration::from_millis(1500);

impl Peer {
    /// Answers the question where the topic begins and ends.
    async fn describe(&mut self, head: u64, tail: u64) {
        let asked = self.expect::<DescribeTopic>().await;
        let topic = TopicInfo { name: asked.request.topic.clone(), head, tail, ..TopicInfo::default() };
        self.answer(&asked, &DescribeTopicAnswer { topic, consumers: Vec::new() }).await;
    }

    async fn register(&mut self, cursor: u64) -> Asked<RegisterConsumer> {
        let asked = self.expect::<RegisterConsumer>().await;
        let answer = RegisterConsumerAnswer { consumer_id: CONSUMER, cursor, existed: false };
        self.answer(&asked, &answer).await;
        asked
    }

    async fn backlog(&mut self, cursor: u64, tail: u64) {
        let asked = self.expect::<Backlog>().await;
        assert_eq!(asked.request.consumer_id, CONSUMER);
        self.answer(&asked, &BacklogAnswer { backlog: tail - cursor, cursor, head: 0, tail }).await;
    }

    /// Grants a subscription that begins where it is asked to.
    async fn subscribe(&mut self, expected: Start, offset: u64) -> Asked<Subscribe> {
        let asked = self.expect::<Subscribe>().await;
        assert_eq!(asked.request.start, expected);
        let answer = SubscribeAnswer { subscription_id: SUBSCRIPTION, offset, head: 0, tail: 100 };
        self.answer(&asked, &answer).await;
        asked
    }

    async fn deliver(&mut self, to: &Asked<Subscribe>, gap: Option<Gap>, batches: Vec<Bytes>) {
        let batch_bytes = batches.iter().map(|batch| narrow(batch.len())).collect();
        let deliver = Deliver { subscription_id: SUBSCRIPTION, head: 0, tail: 100, gap, batch_bytes };
        self.push(to, &deliver, batches).await;
    }

    async fn unsubscribed(&mut self) {
        let asked = self.expect::<Unsubscribe>().await;
        assert_eq!(asked.request.subscription_id, SUBSCRIPTION);
        self.answer(&asked, &UnsubscribeAnswer {}).await;
    }
}

/// A consumer without a name that starts at an offset of a topic with records 0..100.
async fn consuming(
    start: u64,
    change: impl FnOnce(ConsumerBuilder) -> ConsumerBuilder,
) -> (Server, Peer, Client, Consumer) {
    let (server, mut peer, client) = connected().await;
    let builder = change(client.consumer("logs").start(Start::Offset(start)));
    let (consumer, ()) = tokio::join!(builder.open(), peer.describe(0, 100));
    (server, peer, client, consumer.expect("the topic exists"))
}

/// A named consumer with its cursor at an offset.
async fn named(cursor: u64) -> (Server, Peer, Client, Consumer) {
    let (server, mut peer, client) = connected().await;
    let script = async {
        let asked = peer.register(cursor).await;
        assert_eq!((asked.request.name.as_deref(), asked.request.start), (Some("billing"), Start::Head));
        peer.backlog(cursor, 100).await;
    };
    let (consumer, ()) = tokio::join!(client.consumer("logs").name("billing").open(), script);
    (server, peer, client, consumer.expect("registered"))
}

/// Runs a script while the consumer waits for a record that does not come.
async fn meanwhile<T>(consumer: &mut Consumer, script: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        record = consumer.next_record() => panic!("nothing was delivered, yet there is {record:?}"),
        done = script => done,
    }
}

/// Lets a consumer subscribe that has read everything before this offset.
async fn started(consumer: &mut Consumer, peer: &mut Peer, offset: u64) -> Asked<Subscribe> {
    meanwhile(consumer, peer.subscribe(Start::Offset(offset), offset)).await
}

async fn next_value(consumer: &mut Consumer) -> (u64, String) {
    let record = soon(consumer.next_record()).await.expect("good records").expect("the stream goes on");
    (record.offset.0, String::from_utf8(record.record.value.to_vec()).expect("text"))
}

async fn next_error(consumer: &mut Consumer) -> Error {
    soon(consumer.next_record()).await.expect_err("an error is next")
}

#[tokio::test(start_paused = true)]
async fn records_come_in_order_from_the_wanted_one_on() {
    let (_server, mut peer, _client, mut consumer) = consuming(6, |builder| builder).await;
    peer.expect_silence().await;
    let subscribed = started(&mut consumer, &mut peer, 6).await;
    peer.deliver(&subscribed, None, vec![stored_batch(5, &["five", "six", "seven"]), stored_batch(8, &["eight"])])
        .await;
    peer.deliver(&subscribed, None, vec![stored_batch(9, &["nine"])]).await;
    assert_eq!(next_value(&mut consumer).await, (6, "six".to_owned()));
    assert_eq!((consumer.position(), consumer.tail(), consumer.lag()), (Offset(7), Offset(100), 93));
    let rest: Vec<_> = consumer.by_ref().take(3).map(|record| record.expect("good").offset.0).collect().await;
    assert_eq!(rest, [7, 8, 9]);
    assert_eq!(consumer.position(), Offset(10));
    assert!(consumer.next_record().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn batches_hold_what_the_records_before_them_left() {
    let (_server, mut peer, _client, mut consumer) = consuming(6, |builder| builder).await;
    let subscribed = started(&mut consumer, &mut peer, 6).await;
    peer.deliver(&subscribed, None, vec![stored_batch(5, &["5", "6", "7", "8"]), stored_batch(9, &["9"])]).await;
    assert_eq!(next_value(&mut consumer).await.0, 6);
    let rest = soon(consumer.next_batch()).await.expect("good").expect("goes on");
    assert_eq!((rest.first_offset(), rest.next_offset(), rest.append_time()), (Offset(7), Offset(9), Timestamp(77)));
    let offsets: Vec<u64> = rest.records().expect("plain").map(|record| record.expect("good").offset.0).collect();
    assert_eq!((offsets, consumer.position()), (vec![7, 8], Offset(9)));
    let next = soon(consumer.batches().next()).await.expect("goes on").expect("good");
    assert_eq!((next.first_offset(), next.batch().header().record_count), (Offset(9), 1));
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_connection_reading_goes_on_behind_the_last_batch() {
    let (mut server, mut peer, _client, mut consumer) = consuming(0, |builder| builder).await;
    let subscribed = started(&mut consumer, &mut peer, 0).await;
    peer.deliver(&subscribed, None, vec![stored_batch(0, &["0", "1", "2"]), stored_batch(3, &["3"])]).await;
    assert_eq!(next_value(&mut consumer).await.0, 0);
    drop(peer);
    let mut peer = server.accept().await;
    // What was delivered is read first.
    for expected in [1, 2, 3] {
        assert_eq!(next_value(&mut consumer).await.0, expected);
    }
    let subscribed = started(&mut consumer, &mut peer, 4).await;
    peer.deliver(&subscribed, None, vec![stored_batch(2, &["2", "3", "4"])]).await;
    assert_eq!(next_value(&mut consumer).await, (4, "4".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn after_go_away_reading_goes_on_at_the_next_connection() {
    let (mut server, mut old, _client, mut consumer) = consuming(0, |builder| builder).await;
    let subscribed = started(&mut consumer, &mut old, 0).await;
    old.deliver(&subscribed, None, vec![stored_batch(0, &["0"])]).await;
    old.go_away(ErrorCode::ShuttingDown).await;
    let mut new = server.accept().await;
    assert_eq!(next_value(&mut consumer).await.0, 0);
    let subscribed = started(&mut consumer, &mut new, 1).await;
    new.deliver(&subscribed, None, vec![stored_batch(1, &["1"])]).await;
    assert_eq!(next_value(&mut consumer).await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_lost_before_its_answer_is_asked_for_again() {
    let (mut server, mut peer, _client, mut consumer) = consuming(0, |builder| builder).await;
    meanwhile(&mut consumer, peer.expect::<Subscribe>()).await;
    drop(peer);
    let mut peer = server.accept().await;
    let subscribed = started(&mut consumer, &mut peer, 0).await;
    peer.deliver(&subscribed, None, vec![stored_batch(0, &["0"])]).await;
    assert_eq!(next_value(&mut consumer).await.0, 0);
}

/// A network fell silent under a consumer that subscribed. Its stream ended with a time-out after 30 s, ten seconds before
/// the keepalive would have given the connection up, though on the next one the server was well.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_not_answered_is_asked_for_again_on_the_next_connection() {
    let (mut server, mut silent, _client, mut consumer) = consuming(0, |builder| builder).await;
    meanwhile(&mut consumer, silent.expect::<Subscribe>()).await;
    meanwhile(&mut consumer, tokio::time::sleep(KEEPALIVE * 2)).await;
    let mut peer = meanwhile(&mut consumer, server.accept()).await;
    let subscribed = started(&mut consumer, &mut peer, 0).await;
    peer.deliver(&subscribed, None, vec![stored_batch(0, &["0"])]).await;
    assert_eq!(next_value(&mut consumer).await.0, 0);
}

#[tokio::test(start_paused = true)]
async fn credit_is_given_back_as_batches_are_taken_in_pieces_of_half_the_window() {
    let batch = || stored_batch(0, &["0"]);
    let window = 4 * batch().len() as u64;
    let (_server, mut peer, _client, mut consumer) = consuming(0, |builder| builder.credit_bytes(window)).await;
    let subscribed = started(&mut consumer, &mut peer, 0).await;
    assert_eq!(subscribed.request.credit_bytes, window);
    let batches = ["0", "1", "2", "3"].into_iter().zip(0..).map(|(value, at)| stored_batch(at, &[value]));
    peer.deliver(&subscribed, None, batches.collect()).await;
    assert_eq!(next_value(&mut consumer).await.0, 0);
    peer.expect_silence().await;
    assert_eq!(next_value(&mut consumer).await.0, 1);
    let credit = peer.expect::<Credit>().await;
    assert_eq!((credit.request.subscription_id, credit.request.bytes), (SUBSCRIPTION, window / 2));
    // Nobody takes the others: nothing is given back for them.
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_floods_a_sleeping_consumer_loses_the_connection() {
    let (mut server, mut peer, _client, mut consumer) = consuming(0, |builder| builder.credit_bytes(1000)).await;
    let subscribed = started(&mut consumer, &mut peer, 0).await;
    let large: Vec<Bytes> = (0..1000u64).map(|at| stored_batch(at, &["the same value in every record"])).collect();
    for _ in 0..100 {
        peer.deliver(&subscribed, None, large.clone()).await;
        tokio::task::yield_now().await;
    }
    server.accept().await;
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_said_once_and_reading_goes_on_behind_it() {
    let (_server, mut peer, _client, mut consumer) = consuming(0, |builder| builder).await;
    let subscribed = started(&mut consumer, &mut peer, 0).await;
    peer.deliver(&subscribed, None, vec![stored_batch(0, &["0"])]).await;
    peer.deliver(&subscribed, Some(Gap { from: 1, to: 7 }), vec![stored_batch(6, &["6", "7"])]).await;
    assert_eq!(next_value(&mut consumer).await.0, 0);
    let gap = next_error(&mut consumer).await;
    assert!(matches!(gap, Error::Gap { from: Offset(1), to: Offset(7) }), "{gap:?}");
    assert!(gap.is_retryable());
    assert_eq!(consumer.position(), Offset(7));
    assert_eq!(next_value(&mut consumer).await.0, 7);
}

#[tokio::test(start_paused = true)]
async fn records_that_went_while_the_connection_was_lost_are_a_gap() {
    let (mut server, mut peer, _client, mut consumer) = consuming(0, |builder| builder).await;
    let subscribed = started(&mut consumer, &mut peer, 0).await;
    peer.deliver(&subscribed, None, vec![stored_batch(0, &["0"])]).await;
    assert_eq!(next_value(&mut consumer).await.0, 0);
    drop(peer);
    let mut peer = server.accept().await;
    let (gap, subscribed) = tokio::join!(next_error(&mut consumer), peer.subscribe(Start::Offset(1), 40));
    assert!(matches!(gap, Error::Gap { from: Offset(1), to: Offset(40) }), "{gap:?}");
    peer.deliver(&subscribed, None, vec![stored_batch(40, &["40"])]).await;
    assert_eq!(next_value(&mut consumer).await.0, 40);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_a_leaving_server_ends_goes_on_elsewhere() {
    let (mut server, mut old, _client, mut consumer) = consuming(0, |builder| builder).await;
    let mut subscribed = started(&mut consumer, &mut old, 0).await;
    subscribed.header.opcode = Opcode::Deliver as u16;
    old.refuse(&subscribed, ErrorCode::ShuttingDown).await;
    let mut new = meanwhile(&mut consumer, server.accept()).await;
    started(&mut consumer, &mut new, 0).await;
}

/// A disk failed under a server, which granted each subscription and ended it at the first read. A consumer asked for the
/// next one at once, as often as the network allowed.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_the_server_ends_again_and_again_is_asked_for_with_growing_pauses() {
    let (_server, mut peer, _client, mut consumer) = consuming(0, |builder| builder).await;
    let began = tokio::time::Instant::now();
    for _ in 0..8 {
        let mut subscribed = started(&mut consumer, &mut peer, 0).await;
        subscribed.header.opcode = Opcode::Deliver as u16;
        peer.refuse(&subscribed, ErrorCode::StorageFailed).await;
    }
    let subscribed = started(&mut consumer, &mut peer, 0).await;
    // From 50 ms on they double, and chance halves them at most.
    assert!(began.elapsed() > Duration::from_millis(25 * 255), "{:?}", began.elapsed());
    peer.deliver(&subscribed, None, vec![stored_batch(0, &["0"])]).await;
    assert_eq!(next_value(&mut consumer).await.0, 0);
}

/// A sector of the server's disk could not be read, and never will be: a consumer waited for it for ever, and said nothing.
#[tokio::test(start_paused = true)]
async fn a_disk_that_keeps_failing_is_told_after_the_time_of_a_request() {
    let (_server, mut peer, _client, mut consumer) = consuming(0, |builder| builder).await;
    let began = tokio::time::Instant::now();
    let server = async {
        loop {
            let mut subscribed = peer.subscribe(Start::Offset(0), 0).await;
            subscribed.header.opcode = Opcode::Deliver as u16;
            peer.refuse(&subscribed, ErrorCode::StorageFailed).await;
        }
    };
    let error = tokio::select! {
        record = consumer.next_record() => record.expect_err("nothing is delivered"),
        () = server => unreachable!("it goes on for ever"),
    };
    assert_eq!((error.code(), error.is_retryable()), (Some(ErrorCode::StorageFailed), true));
    assert!(began.elapsed() >= Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(consumer.next().await.is_none(), "the stream has ended");
}

#[tokio::test(start_paused = true)]
async fn whoever_starts_at_the_head_misses_nothing_when_the_head_moves_before() {
    let (_server, mut peer, client) = connected().await;
    let (consumer, ()) = tokio::join!(client.consumer("logs").open(), peer.describe(10, 100));
    let mut consumer = consumer.expect("the topic exists");
    assert_eq!((consumer.position(), consumer.head(), consumer.lag()), (Offset(10), Offset(10), 90));
    let subscribed = meanwhile(&mut consumer, peer.subscribe(Start::Head, 30)).await;
    peer.deliver(&subscribed, None, vec![stored_batch(30, &["30"])]).await;
    assert_eq!(next_value(&mut consumer).await.0, 30);
}

#[tokio::test(start_paused = true)]
async fn each_start_becomes_an_offset_when_the_consumer_is_opened() {
    let (_server, mut peer, client) = connected().await;
    let open = |start| client.consumer("logs").start(start).open();
    let (consumer, ()) = tokio::join!(open(Start::Tail), peer.describe(10, 100));
    assert_eq!(consumer.expect("the topic exists").position(), Offset(100));
    let (consumer, ()) = tokio::join!(open(Start::Timestamp(5)), async {
        peer.describe(10, 100).await;
        let asked = peer.expect::<OffsetForTimestamp>().await;
        assert_eq!(asked.request.timestamp_us, 5);
        peer.answer(&asked, &OffsetForTimestampAnswer { offset: 33 }).await;
    });
    assert_eq!(consumer.expect("the topic exists").position(), Offset(33));
    let (consumer, ()) = tokio::join!(open(Start::Cursor(CONSUMER)), peer.backlog(44, 100));
    let mut consumer = consumer.expect("the consumer exists");
    assert_eq!(consumer.position(), Offset(44));
    // It has moved on meanwhile, which is no gap for somebody who starts there.
    let subscribed = meanwhile(&mut consumer, peer.subscribe(Start::Cursor(CONSUMER), 50)).await;
    peer.deliver(&subscribed, None, vec![stored_batch(50, &["50"])]).await;
    assert_eq!(next_value(&mut consumer).await.0, 50);
    let script = async {
        let asked = peer.expect::<DescribeTopic>().await;
        peer.refuse(&asked, ErrorCode::UnknownTopic).await;
    };
    let (consumer, ()) = tokio::join!(open(Start::Offset(7)), script);
    assert_eq!(consumer.expect_err("no such topic").code(), Some(ErrorCode::UnknownTopic));
}

#[tokio::test(start_paused = true)]
async fn a_hole_that_nobody_announced_ends_the_stream_until_it_seeks() {
    let (_server, mut peer, _client, mut consumer) = consuming(0, |builder| builder).await;
    let subscribed = started(&mut consumer, &mut peer, 0).await;
    peer.deliver(&subscribed, None, vec![stored_batch(0, &["0"]), stored_batch(2, &["2"])]).await;
    assert_eq!(next_value(&mut consumer).await.0, 0);
    let error = next_error(&mut consumer).await;
    assert!(matches!(error, Error::Violation(_)), "{error:?}");
    assert_eq!(soon(consumer.next_record()).await.expect("said once"), None);
    peer.unsubscribed().await;
    let to = Start::Offset(consumer.position().0);
    let (sought, ()) = tokio::join!(consumer.seek(to), peer.describe(0, 100));
    sought.expect("the topic exists");
    started(&mut consumer, &mut peer, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_batch_ends_the_stream_and_leaves_the_position() {
    let (_server, mut peer, _client, mut consumer) = consuming(0, |builder| builder).await;
    let subscribed = started(&mut consumer, &mut peer, 0).await;
    let mut damaged = stored_batch(1, &["the value"]).to_vec();
    *damaged.last_mut().expect("bytes") ^= 1;
    peer.deliver(&subscribed, None, vec![stored_batch(0, &["0"]), Bytes::from(damaged)]).await;
    assert_eq!(next_value(&mut consumer).await.0, 0);
    let error = next_error(&mut consumer).await;
    assert!(matches!(error, Error::Corrupt { offset: Offset(1), .. }), "{error:?}");
    assert_eq!((consumer.position(), soon(consumer.next_record()).await.expect("said once")), (Offset(1), None));
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_deleted_ends_the_stream_with_an_error() {
    for opcode in [Opcode::Subscribe, Opcode::Deliver] {
        let (_server, mut peer, _client, mut consumer) = consuming(0, |builder| builder).await;
        let mut subscribed = started(&mut consumer, &mut peer, 0).await;
        peer.deliver(&subscribed, None, vec![stored_batch(0, &["0"])]).await;
        subscribed.header.opcode = opcode as u16;
        peer.refuse(&subscribed, ErrorCode::UnknownTopic).await;
        assert_eq!(next_value(&mut consumer).await.0, 0);
        assert_eq!(next_error(&mut consumer).await.code(), Some(ErrorCode::UnknownTopic));
        assert_eq!(soon(consumer.next_record()).await.expect("said once"), None);
        drop(consumer);
        peer.expect_silence().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_credit_that_meets_the_end_of_its_subscription_does_no_harm() {
    let (_server, mut peer, client, mut consumer) = consuming(0, |builder| builder.credit_bytes(1)).await;
    let subscribed = started(&mut consumer, &mut peer, 0).await;
    peer.deliver(&subscribed, None, vec![stored_batch(0, &["0"])]).await;
    assert_eq!(next_value(&mut consumer).await.0, 0);
    let credit = peer.expect::<Credit>().await;
    peer.refuse(&subscribed, ErrorCode::UnknownTopic).await;
    peer.refuse(&credit, ErrorCode::UnknownSubscription).await;
    assert_eq!(next_error(&mut consumer).await.code(), Some(ErrorCode::UnknownTopic));
    let (described, ()) = tokio::join!(client.describe_topic("logs"), peer.describe(0, 1));
    described.expect("the connection goes on");
}

#[tokio::test(start_paused = true)]
async fn nothing_that_belongs_to_one_data_is_said_to_another() {
    let (mut server, mut peer, _client, mut consumer) = named(5).await;
    started(&mut consumer, &mut peer, 5).await;
    drop(peer);
    let mut other = granted_answer();
    other.server_id = [8; 16];
    let (error, mut peer) = tokio::join!(next_error(&mut consumer), server.accept_with(&other));
    let seek = consumer.seek(Start::Head).await.expect_err("other data");
    let dequeue = consumer.dequeue(1, WAIT).await.expect_err("other data");
    let (commit, backlog) = (consumer.commit(Offset(6)).await, consumer.backlog().await);
    for error in [error, seek, dequeue, commit.expect_err("other data"), backlog.expect_err("other data")] {
        assert!(matches!(error, Error::ServerChanged { .. }), "{error:?}");
    }
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_dropped_ends_its_subscription_and_late_deliveries_are_passed_over() {
    let (server, mut peer, client, mut consumer) = consuming(0, |builder| builder).await;
    let subscribed = started(&mut consumer, &mut peer, 0).await;
    assert!(consumer.next_record().now_or_never().is_none());
    drop(consumer);
    let asked = peer.expect::<Unsubscribe>().await;
    peer.deliver(&subscribed, None, vec![stored_batch(0, &["0"])]).await;
    peer.answer(&asked, &UnsubscribeAnswer {}).await;
    let (described, ()) = tokio::join!(client.describe_topic("logs"), peer.describe(0, 1));
    described.expect("the connection goes on");
    assert!(!server.has_connection());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_granted_to_nobody_is_ended() {
    let (server, mut peer, _client, mut consumer) = consuming(0, |builder| builder).await;
    let asked = meanwhile(&mut consumer, peer.expect::<Subscribe>()).await;
    drop(consumer);
    let answer = SubscribeAnswer { subscription_id: SUBSCRIPTION, offset: 0, head: 0, tail: 1 };
    peer.answer(&asked, &answer).await;
    peer.deliver(&asked, None, vec![stored_batch(0, &["0"])]).await;
    peer.unsubscribed().await;
    peer.expect_silence().await;
    assert!(!server.has_connection());
}

#[tokio::test(start_paused = true)]
async fn a_named_consumer_starts_at_its_cursor_and_commits_forward_and_backward() {
    let (_server, mut peer, _client, mut consumer) = named(42).await;
    assert_eq!((consumer.position(), consumer.lag()), (Offset(42), 58));
    let subscribed = started(&mut consumer, &mut peer, 42).await;
    peer.deliver(&subscribed, None, vec![stored_batch(42, &["42"])]).await;
    assert_eq!(next_value(&mut consumer).await.0, 42);
    for (rewind, to) in [(false, 43), (true, 5)] {
        let script = async {
            let asked = peer.expect::<Commit>().await;
            let expected = Commit { consumer_id: CONSUMER, offset: to, rewind };
            assert_eq!(asked.request, expected);
            peer.answer(&asked, &CommitAnswer { cursor: to }).await;
        };
        let moved = async {
            match rewind {
                false => consumer.commit(consumer.position()).await,
                true => consumer.rewind(Offset(to)).await,
            }
        };
        assert_eq!(tokio::join!(moved, script).0.expect("committed"), Offset(to));
    }
    assert_eq!(consumer.position(), Offset(43));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_without_a_name_is_registered_once_when_it_needs_a_cursor() {
    let (_server, mut peer, _client, consumer) = consuming(7, |builder| builder).await;
    let script = async {
        let asked = peer.register(7).await;
        assert_eq!((asked.request.name, asked.request.start), (None, Start::Offset(7)));
        peer.backlog(7, 100).await;
    };
    assert_eq!(tokio::join!(consumer.backlog(), script).0.expect("registered"), 93);
    let moved = consumer.cursor_move(Offset(9)).now_or_never().expect("it is registered by now").expect("registered");
    assert_eq!((moved.consumer_id, moved.offset), (CONSUMER, 9));
}

/// Answers a Dequeue with records from an offset on.
async fn dequeued(peer: &mut Peer, asked: &Asked<Dequeue>, offset: u64, values: &[&'static str], repeated: bool) {
    // A record before and one behind, as the batch may hold them.
    let all: Vec<&str> = std::iter::once("before").chain(values.iter().copied()).chain(["behind"]).collect();
    let batch = stored_batch(offset - 1, &all);
    let (next, batch_bytes) = (offset + values.len() as u64, vec![narrow(batch.len())]);
    let answer = DequeueAnswer { offset, next, tail: 100, repeated, batch_bytes };
    peer.answer_with(asked, &answer, vec![batch]).await;
}

#[test]
fn handles_can_be_shared_and_sent() {
    fn shared<T: Send + Sync>() {}
    fn sent(_: impl Send) {}
    shared::<(Client, crate::client::Producer, crate::client::Ticket, Consumer, Error)>();
    let _ = |consumer: &'static mut Consumer| sent(consumer.next_batch());
    let _ = |consumer: &'static mut Consumer| sent(consumer.dequeue(1, WAIT));
    let _ = |consumer: &'static Consumer| sent(consumer.commit(Offset(1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_delivery_is_read_or_refused_without_a_panic(
        gap in prop::option::of((0u64..20, any::<u64>())),
        base in prop_oneof![0u64..10, Just(u64::MAX)],
        flip in prop::option::of((any::<prop::sample::Index>(), 0u32..8)),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let (_server, mut peer, _client, mut consumer) = consuming(3, |builder| builder).await;
            let subscribed = started(&mut consumer, &mut peer, 3).await;
            let mut batch = stored_batch(base, &["0", "1", "2", "3"]).to_vec();
            if let Some((at, bit)) = flip {
                let at = at.index(batch.len());
                batch[at] ^= 1 << bit;
            }
            let batch = Bytes::from(batch);
            let is_good = Batch::check(batch.clone()).is_ok() && (3..7).contains(&base.saturating_add(4)) && gap.is_none();
            let batch_bytes = vec![narrow(batch.len())];
            let gap = gap.map(|(from, to)| Gap { from, to });
            let deliver = Deliver { subscription_id: SUBSCRIPTION, head: 9, tail: 3, gap, batch_bytes };
            let mut body = crate::protocol::encode_body(&deliver);
            body.extend_from_slice(&batch);
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len()));
            }
            let header = FrameHeader::answer(Opcode::Deliver, subscribed.header.correlation_id);
            peer.send(OutFrame::new(header, &body, Vec::new())).await;
            let first = soon(consumer.next_record()).await;
            if cut.is_none() && is_good && flip.is_none() {
                assert_eq!(first.expect("good").expect("goes on").offset, Offset(3));
            }
        });
    }
}

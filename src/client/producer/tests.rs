//! Dialogues about producers: what is sent, what is sent again, and what tickets say.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::time::Instant;

use super::{Producer, ProducerBuilder, Ticket, TryEnqueueError};
use crate::{
    client::{
        Client, Error,
        testing::{Asked, Peer, SERVER_ID, Server, connected, granted_answer, server, soon},
    },
    protocol::{
        Append, AppendAnswer, AppendedPart, CursorMove, ErrorBody, ErrorCode, HelloAnswer, RegisterProducer,
        RegisterProducerAnswer, ServerInfo, encode_error,
    },
    record::{Batch, Compression, Epoch, Offset, ProducerId, Record, Sequence, TopicId},
};

const EPOCH: u32 = 3;
const LAST_SEQUENCE: u64 = 1000;

/// Answers the registration of the producer that `builder` opens.
async fn opened(builder: ProducerBuilder, peer: &mut Peer) -> Producer {
    let script = async {
        let asked = peer.expect::<RegisterProducer>().await;
        let (producer_id, epoch, topic_id, last_sequence) = ([9; 16], EPOCH, 5, LAST_SEQUENCE);
        peer.answer(&asked, &RegisterProducerAnswer { producer_id, epoch, topic_id, last_sequence }).await;
    };
    tokio::join!(builder.open(), script).0.expect("registered")
}

async fn producing(change: impl FnOnce(ProducerBuilder) -> ProducerBuilder) -> (Server, Peer, Client, Producer) {
    let (server, mut peer, client) = connected().await;
    let producer = opened(change(client.producer("logs")), &mut peer).await;
    (server, peer, client, producer)
}

impl Asked<Append> {
    fn batch(&self) -> Batch {
        let [bytes] = &self.batches[..] else { panic!("one batch expected: {self:?}") };
        Batch::check(bytes.clone()).expect("producers send good batches")
    }

    /// Where its sequence starts, and its values.
    fn content(&self) -> (u64, Vec<String>) {
        let batch = self.batch();
        let values = batch.records().expect("checked").map(|record| record.expect("checked").1.value);
        let values = values.map(|value| String::from_utf8(value.to_vec()).expect("text")).collect();
        (batch.header().sequence.start.0 - LAST_SEQUENCE, values)
    }
}

impl Peer {
    async fn stored(&mut self, asked: &Asked<Append>, base: u64) {
        let part = AppendedPart { base_offset: Some(base), duplicate: false };
        self.answer(asked, &AppendAnswer { parts: vec![part] }).await;
    }

    /// Takes an append, and what it holds.
    async fn append(&mut self) -> (Asked<Append>, u64, Vec<String>) {
        let asked = self.expect::<Append>().await;
        let (start, values) = asked.content();
        (asked, start, values)
    }
}

async fn enqueue_each(producer: &Producer, values: &[&'static str]) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    for value in values {
        tickets.push(producer.enqueue(Record::new(*value)).await.expect("there is room"));
    }
    tickets
}

#[tokio::test(start_paused = true)]
async fn a_record_alone_leaves_at_once_and_those_that_come_meanwhile_leave_together() {
    let (_server, mut peer, _client, producer) = producing(|builder| builder.max_in_flight(1)).await;
    let mut tickets = enqueue_each(&producer, &["a"]).await;
    let (first, start, values) = peer.append().await;
    assert_eq!((start, values), (0, vec!["a".to_owned()]));
    let header = *first.batch().header();
    assert_eq!((header.producer, header.epoch), (producer.id(), Epoch(EPOCH)));
    assert_eq!(TopicId(first.request.parts[0].topic_id), TopicId(5));

    tickets.extend(enqueue_each(&producer, &["b", "c", "d"]).await);
    peer.expect_silence().await;
    peer.stored(&first, 70).await;
    let (second, start, values) = peer.append().await;
    assert_eq!((start, values.len()), (1, 3));
    peer.stored(&second, 80).await;
    for (ticket, offset) in tickets.into_iter().zip([70, 80, 81, 82]) {
        assert_eq!(soon(ticket).await.expect("stored"), Offset(offset));
    }
    assert_eq!(producer.last_sequence(), Sequence(LAST_SEQUENCE));
    producer.close().await.expect("nothing is left");
}

#[tokio::test(start_paused = true)]
async fn several_batches_are_in_flight_and_may_be_acknowledged_in_any_order() {
    let (_server, mut peer, _client, producer) = producing(|builder| builder.max_in_flight(3)).await;
    let (mut asked, mut tickets) = (Vec::new(), Vec::new());
    for value in ["a", "b", "c"] {
        tickets.extend(enqueue_each(&producer, &[value]).await);
        asked.push(peer.append().await.0);
    }
    tickets.extend(enqueue_each(&producer, &["d"]).await);
    peer.expect_silence().await;
    for (asked, base) in asked.iter().zip([0, 1, 2]).rev() {
        peer.stored(asked, base).await;
    }
    let (last, start, _) = peer.append().await;
    assert_eq!(start, 3);
    peer.stored(&last, 3).await;
    for (ticket, offset) in tickets.into_iter().zip(0..) {
        assert_eq!(soon(ticket).await.expect("stored"), Offset(offset));
    }
}

/// In a campaign of 2,500 kills a record was given up after two minutes, with a server that answered: its connection had
/// ended while the batch waited for its turn on it, nothing else was in flight, and nothing woke the producer again.
#[tokio::test(start_paused = true)]
async fn a_batch_whose_connection_ends_before_it_is_sent_goes_out_on_the_next() {
    let (mut server, builder) = server();
    let one_at_a_time = HelloAnswer { max_in_flight_requests: 1, ..granted_answer() };
    let (client, mut peer) = tokio::join!(builder.connect(), server.accept_with(&one_at_a_time));
    let client = client.expect("the server accepts");
    let producer = opened(client.producer("logs"), &mut peer).await;
    let asking = tokio::spawn(async move { client.server_info().await });
    peer.expect::<ServerInfo>().await;
    let mut tickets = enqueue_each(&producer, &["a"]).await;
    peer.expect_silence().await;
    asking.abort();
    drop(peer);

    let mut peer = server.accept().await;
    let (asked, start, values) = peer.append().await;
    assert_eq!((start, values), (0, vec!["a".to_owned()]));
    peer.stored(&asked, 40).await;
    assert_eq!(soon(tickets.remove(0)).await.expect("stored"), Offset(40));
}

#[tokio::test(start_paused = true)]
async fn what_was_not_acknowledged_is_sent_again_with_the_same_bytes_in_the_same_order() {
    let (mut server, mut peer, _client, producer) = producing(|builder| builder.max_in_flight(2)).await;
    let mut tickets = enqueue_each(&producer, &["a"]).await;
    let (first, ..) = peer.append().await;
    tickets.extend(enqueue_each(&producer, &["b"]).await);
    let (second, ..) = peer.append().await;
    // The server stores both; the first acknowledgement arrives, the second one is lost.
    peer.stored(&first, 40).await;
    drop(peer);

    tickets.extend(enqueue_each(&producer, &["c"]).await);
    let mut peer = server.accept().await;
    let (again, ..) = peer.append().await;
    assert_eq!(again.batches, second.batches);
    let (third, start, _) = peer.append().await;
    assert_eq!(start, 2);
    let part = AppendedPart { base_offset: Some(41), duplicate: true };
    peer.answer(&again, &AppendAnswer { parts: vec![part] }).await;
    peer.stored(&third, 42).await;
    for (ticket, offset) in tickets.into_iter().zip(40..) {
        assert_eq!(soon(ticket).await.expect("stored"), Offset(offset));
    }
    producer.close().await.expect("all durable");
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn records_gather_while_there_is_no_connection() {
    let (mut server, peer, _client, producer) = producing(|builder| builder).await;
    drop(peer);
    let mut next = server.connection().await;
    let tickets = enqueue_each(&producer, &["a", "b", "c", "d", "e"]).await;
    let hello = next.hello().await;
    next.answer(&hello, &granted_answer()).await;
    let (asked, start, values) = next.append().await;
    assert_eq!((start, values.len()), (0, 5));
    next.stored(&asked, 0).await;
    assert_eq!(soon(tickets.into_iter().next_back().expect("five")).await.expect("stored"), Offset(4));
}

#[tokio::test(start_paused = true)]
async fn after_go_away_batches_move_only_when_the_old_connection_has_answered() {
    let (mut server, mut old, _client, producer) = producing(|builder| builder).await;
    let mut tickets = enqueue_each(&producer, &["a"]).await;
    let (first, ..) = old.append().await;
    old.go_away(ErrorCode::ShuttingDown).await;
    let mut new = server.accept().await;
    tickets.extend(enqueue_each(&producer, &["b"]).await);
    new.expect_silence().await;
    old.stored(&first, 0).await;
    let (second, start, _) = new.append().await;
    assert_eq!(start, 1);
    new.stored(&second, 1).await;
    for (ticket, offset) in tickets.into_iter().zip(0..) {
        assert_eq!(soon(ticket).await.expect("stored"), Offset(offset));
    }
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_without_an_offset_is_stored_all_the_same() {
    let (_server, mut peer, _client, producer) = producing(|builder| builder).await;
    let tickets = enqueue_each(&producer, &["a"]).await;
    let (asked, ..) = peer.append().await;
    peer.answer(&asked, &AppendAnswer { parts: vec![AppendedPart { base_offset: None, duplicate: true }] }).await;
    let error = soon(tickets.into_iter().next().expect("one")).await.expect_err("no offset");
    assert!(matches!(error, Error::OffsetUnknown) && error.may_have_applied(), "{error:?}");
    producer.close().await.expect("durable");
}

#[tokio::test(start_paused = true)]
async fn a_full_window_makes_enqueue_wait_and_try_enqueue_give_the_record_back() {
    let (_server, mut peer, _client, producer) = producing(|builder| builder.window_bytes(1000)).await;
    let tickets = vec![producer.enqueue(Record::new(vec![b'x'; 900])).await.expect("there is room")];
    let record = Record::new(vec![b'y'; 900]);
    let TryEnqueueError::Full(back) = producer.try_enqueue(record.clone()).expect_err("full") else {
        panic!("not full")
    };
    assert_eq!(back, record);
    let mut waiting = Box::pin(producer.enqueue(record));
    assert!(waiting.as_mut().now_or_never().is_none());
    let (asked, ..) = peer.append().await;
    assert!(waiting.as_mut().now_or_never().is_none());
    peer.stored(&asked, 0).await;
    let second = soon(waiting).await.expect("room again");
    let (asked, ..) = peer.append().await;
    peer.stored(&asked, 1).await;
    assert_eq!(soon(second).await.expect("stored"), Offset(1));
    drop(tickets);
}

#[tokio::test(start_paused = true)]
async fn a_record_larger_than_the_window_passes_alone() {
    let (_server, mut peer, _client, producer) = producing(|builder| builder.window_bytes(100)).await;
    let small = producer.enqueue(Record::new("small")).await.expect("there is room");
    let mut large = Box::pin(producer.send(Record::new(vec![b'x'; 5000])));
    assert!(large.as_mut().now_or_never().is_none());
    let (asked, ..) = peer.append().await;
    peer.stored(&asked, 0).await;
    assert_eq!(soon(small).await.expect("stored"), Offset(0));
    assert!(large.as_mut().now_or_never().is_none());
    let (asked, ..) = peer.append().await;
    peer.stored(&asked, 1).await;
    assert_eq!(soon(large).await.expect("stored"), Offset(1));
}

#[tokio::test(start_paused = true)]
async fn an_enqueue_that_is_given_up_while_it_waits_enqueues_nothing() {
    let (_server, mut peer, _client, producer) = producing(|builder| builder.window_bytes(100)).await;
    let first = producer.enqueue(Record::new(vec![b'x'; 70])).await.expect("there is room");
    let mut given_up = Box::pin(producer.enqueue(Record::new(vec![b'y'; 70])));
    assert!(given_up.as_mut().now_or_never().is_none());
    drop(given_up);
    let (asked, ..) = peer.append().await;
    peer.stored(&asked, 0).await;
    soon(first).await.expect("stored");
    producer.flush().await.expect("nothing is left");
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_over_a_limit_fails_its_own_call_only() {
    let (_server, mut peer, _client, producer) = producing(|builder| builder).await;
    let error = producer.enqueue(Record::new(vec![0; crate::limits::MAX_RECORD_BYTES])).await.expect_err("too large");
    assert!(matches!(error, Error::Record(_)) && !error.may_have_applied(), "{error:?}");
    let ticket = producer.enqueue(Record::new("good")).await.expect("the producer goes on");
    let (asked, ..) = peer.append().await;
    peer.stored(&asked, 0).await;
    soon(ticket).await.expect("stored");
}

#[tokio::test(start_paused = true)]
async fn fencing_fails_everything_that_is_outstanding_and_every_later_call() {
    let (_server, mut peer, _client, producer) = producing(|builder| builder.max_in_flight(2)).await;
    let mut tickets = enqueue_each(&producer, &["a"]).await;
    let (first, ..) = peer.append().await;
    tickets.extend(enqueue_each(&producer, &["b"]).await);
    let (second, ..) = peer.append().await;
    tickets.extend(enqueue_each(&producer, &["c"]).await);
    peer.refuse(&first, ErrorCode::ProducerFenced).await;
    peer.refuse(&second, ErrorCode::ProducerFenced).await;
    for ticket in tickets {
        let error = soon(ticket).await.expect_err("fenced");
        assert_eq!((error.code(), error.may_have_applied()), (Some(ErrorCode::ProducerFenced), false));
    }
    let code = |error: Error| error.code();
    assert_eq!(producer.send(Record::new("d")).await.map_err(code), Err(Some(ErrorCode::ProducerFenced)));
    assert_eq!(producer.flush().await.map_err(code), Err(Some(ErrorCode::ProducerFenced)));
    assert_eq!(producer.close().await.map_err(code), Err(Some(ErrorCode::ProducerFenced)));
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_lost_and_then_fenced_may_have_been_stored() {
    let (mut server, mut peer, _client, producer) = producing(|builder| builder).await;
    let tickets = enqueue_each(&producer, &["a"]).await;
    peer.append().await;
    drop(peer);
    let mut peer = server.accept().await;
    let (again, ..) = peer.append().await;
    peer.refuse(&again, ErrorCode::ProducerFenced).await;
    let error = soon(tickets.into_iter().next().expect("one")).await.expect_err("fenced");
    assert_eq!((error.code(), error.may_have_applied()), (Some(ErrorCode::ProducerFenced), true));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_now_is_followed_by_all_that_was_in_flight_in_order() {
    let (_server, mut peer, _client, producer) = producing(|builder| builder.max_in_flight(3)).await;
    let (mut asked, mut tickets) = (Vec::new(), Vec::new());
    for value in ["a", "b", "c"] {
        tickets.extend(enqueue_each(&producer, &[value]).await);
        asked.push(peer.append().await.0);
    }
    tickets.extend(enqueue_each(&producer, &["d"]).await);
    // The refusals of those behind come first; nothing is sent before the last one is there.
    peer.refuse(&asked[2], ErrorCode::SequenceGap).await;
    peer.refuse(&asked[1], ErrorCode::SequenceGap).await;
    peer.expect_silence().await;
    peer.refuse(&asked[0], ErrorCode::DiskFull).await;
    peer.expect_silence().await;
    let began = Instant::now();
    for (before, base) in asked.iter().zip(0..) {
        let (again, ..) = peer.append().await;
        assert_eq!(again.batches, before.batches);
        peer.stored(&again, base).await;
    }
    assert!(began.elapsed() >= Duration::from_millis(25), "{:?}", began.elapsed());
    let (last, start, _) = peer.append().await;
    assert_eq!(start, 3);
    peer.stored(&last, 3).await;
    for (ticket, offset) in tickets.into_iter().zip(0..) {
        assert_eq!(soon(ticket).await.expect("stored"), Offset(offset));
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_that_nothing_explains_ends_the_producer() {
    let (_server, mut peer, _client, producer) = producing(|builder| builder).await;
    let tickets = enqueue_each(&producer, &["a"]).await;
    let (asked, ..) = peer.append().await;
    peer.refuse(&asked, ErrorCode::SequenceGap).await;
    let error = soon(tickets.into_iter().next().expect("one")).await.expect_err("refused");
    assert_eq!((error.code(), error.may_have_applied()), (Some(ErrorCode::SequenceGap), false));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_stays_full_is_reported_when_the_delivery_time_is_over() {
    let timeout = Duration::from_secs(9);
    let (_server, mut peer, _client, producer) = producing(|builder| builder.delivery_timeout(timeout)).await;
    let began = Instant::now();
    let refusing = async {
        loop {
            let (asked, ..) = peer.append().await;
            peer.refuse(&asked, ErrorCode::DiskFull).await;
        }
    };
    let sent = tokio::select! {
        sent = producer.send(Record::new("a")) => sent,
        () = refusing => unreachable!("it refuses for ever"),
    };
    let error = sent.expect_err("the disk stays full");
    assert_eq!((error.code(), error.may_have_applied()), (Some(ErrorCode::DiskFull), false));
    assert!(began.elapsed() <= timeout, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_batch_without_an_answer_may_have_been_stored_and_one_that_never_left_was_not() {
    let timeout = Duration::from_secs(5);
    let change = |builder: ProducerBuilder| builder.delivery_timeout(timeout).max_in_flight(1);
    let (_server, mut peer, _client, producer) = producing(change).await;
    let sent = enqueue_each(&producer, &["a"]).await;
    peer.append().await;
    let unsent = enqueue_each(&producer, &["b"]).await;
    let began = Instant::now();
    let errors: Vec<Error> =
        futures::future::join_all(sent.into_iter().chain(unsent)).await.into_iter().filter_map(Result::err).collect();
    assert_eq!(began.elapsed(), timeout);
    assert_eq!(errors.iter().map(Error::may_have_applied).collect::<Vec<_>>(), [true, false]);
    assert!(errors.iter().all(|error| matches!(error, Error::TimedOut { .. })), "{errors:?}");
}

#[tokio::test(start_paused = true)]
async fn the_delivery_time_runs_while_there_is_no_connection() {
    let timeout = Duration::from_secs(5);
    let (server, peer, _client, producer) = producing(|builder| builder.delivery_timeout(timeout)).await;
    drop((server, peer));
    let began = Instant::now();
    let error = producer.send(Record::new("a")).await.expect_err("no server");
    assert!(matches!(error, Error::TimedOut { may_have_applied: false, source: Some(_), .. }), "{error:?}");
    assert_eq!(began.elapsed(), timeout);
}

#[tokio::test(start_paused = true)]
async fn a_server_with_other_data_gets_nothing_of_what_was_meant_for_the_first() {
    let (mut server, peer, _client, producer) = producing(|builder| builder).await;
    drop(peer);
    let mut other = granted_answer();
    other.server_id = [8; 16];
    let (error, mut peer) = tokio::join!(producer.send(Record::new("a")), server.accept_with(&other));
    let error = error.expect_err("other data");
    assert!(matches!(error, Error::ServerChanged { .. }), "{error:?}");
    assert_ne!(SERVER_ID, other.server_id);
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn send_all_is_one_batch_with_its_cursors_in_order_with_the_rest() {
    let (_server, mut peer, _client, producer) = producing(|builder| builder).await;
    let producer = Arc::new(producer);
    let before = enqueue_each(&producer, &["a"]).await;
    let (first, ..) = peer.append().await;
    let cursor = CursorMove { consumer_id: [4; 16], offset: 17 };
    let (all, shared) = (vec![Record::new("b"), Record::new("c")], Arc::clone(&producer));
    let moving = {
        let cursor = cursor.clone();
        tokio::spawn(async move { shared.send_all(all, &[cursor]).await })
    };
    let (second, start, values) = peer.append().await;
    assert_eq!((start, values), (1, vec!["b".to_owned(), "c".to_owned()]));
    assert_eq!(second.request.commits, [cursor]);
    let after = enqueue_each(&producer, &["d"]).await;
    // Its refusal would leave a hole behind it, so nothing follows yet.
    peer.expect_silence().await;
    peer.stored(&first, 0).await;
    peer.stored(&second, 1).await;
    assert_eq!(soon(moving).await.expect("no panic").expect("stored"), Offset(1)..Offset(3));
    let (third, start, _) = peer.append().await;
    assert_eq!(start, 3);
    peer.stored(&third, 3).await;
    for ticket in before.into_iter().chain(after) {
        soon(ticket).await.expect("stored");
    }
}

#[tokio::test(start_paused = true)]
async fn send_all_with_a_cursor_that_does_not_exist_fails_alone() {
    let (_server, mut peer, _client, producer) = producing(|builder| builder).await;
    let cursor = [CursorMove { consumer_id: [4; 16], offset: 17 }];
    let script = async {
        let (asked, start, _) = peer.append().await;
        assert_eq!(start, 0);
        peer.refuse(&asked, ErrorCode::UnknownConsumer).await;
    };
    let (moved, ()) = tokio::join!(producer.send_all(vec![Record::new("a")], &cursor), script);
    let error = moved.expect_err("refused");
    assert_eq!((error.code(), error.may_have_applied()), (Some(ErrorCode::UnknownConsumer), false));
    let ticket = producer.enqueue(Record::new("b")).await.expect("the producer goes on");
    let (asked, start, values) = peer.append().await;
    assert_eq!((start, values), (0, vec!["b".to_owned()]));
    peer.stored(&asked, 0).await;
    soon(ticket).await.expect("stored");
    producer.flush().await.expect("that call had its own error");
}

#[tokio::test(start_paused = true)]
async fn flush_waits_for_what_was_enqueued_before_and_for_nothing_else() {
    let (_server, mut peer, _client, producer) = producing(|builder| builder.max_in_flight(2)).await;
    producer.flush().await.expect("nothing to wait for");
    let before = enqueue_each(&producer, &["a"]).await;
    let (first, ..) = peer.append().await;
    let mut flush = Box::pin(producer.flush());
    assert!(flush.as_mut().now_or_never().is_none());
    let after = enqueue_each(&producer, &["b"]).await;
    let (_second, ..) = peer.append().await;
    peer.stored(&first, 0).await;
    soon(flush).await.expect("the first is durable");
    assert!(soon(async { before.into_iter().next().expect("one").await }).await.is_ok());
    assert!(after.into_iter().next().expect("one").now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_is_dropped_delivers_in_the_background() {
    let (_server, mut peer, client, producer) = producing(|builder| builder.max_in_flight(1)).await;
    let first = enqueue_each(&producer, &["a"]).await;
    let (asked, ..) = peer.append().await;
    let second = enqueue_each(&producer, &["b"]).await;
    drop((producer, client));
    peer.stored(&asked, 0).await;
    let (asked, ..) = peer.append().await;
    peer.stored(&asked, 1).await;
    for ticket in first.into_iter().chain(second) {
        soon(ticket).await.expect("stored");
    }
    // The driver was the last to hold the client.
    peer.expect_close().await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_client_fails_what_its_producers_still_hold() {
    let (_server, mut peer, client, producer) = producing(|builder| builder.max_in_flight(1)).await;
    let mut tickets = enqueue_each(&producer, &["a"]).await;
    let (asked, ..) = peer.append().await;
    tickets.extend(enqueue_each(&producer, &["b"]).await);
    let closing = tokio::spawn(client.close());
    peer.expect_silence().await;
    peer.stored(&asked, 0).await;
    soon(closing).await.expect("no panic");
    let [first, second] = &mut tickets[..] else { panic!("two") };
    assert_eq!(soon(first).await.expect("answered"), Offset(0));
    assert!(matches!(soon(second).await, Err(Error::Closed)));
    assert!(matches!(producer.send(Record::new("c")).await, Err(Error::Closed)));
}

#[tokio::test(start_paused = true)]
async fn answers_that_make_no_sense_end_the_producer_and_panic_nowhere() {
    let part = |base_offset, duplicate| AppendedPart { base_offset, duplicate };
    let nonsense = [
        vec![],
        vec![part(Some(1), false), part(Some(2), false)],
        vec![part(None, false)],
        vec![part(Some(u64::MAX), false)],
    ];
    for parts in nonsense {
        let (_server, mut peer, _client, producer) = producing(|builder| builder).await;
        let tickets = enqueue_each(&producer, &["a"]).await;
        let (asked, ..) = peer.append().await;
        peer.answer(&asked, &AppendAnswer { parts }).await;
        let error = soon(tickets.into_iter().next().expect("one")).await.expect_err("nonsense");
        assert!(error.may_have_applied(), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_number_that_is_not_known_is_judged_by_its_facts() {
    let (_server, mut peer, _client, producer) = producing(|builder| builder).await;
    let tickets = enqueue_each(&producer, &["a"]).await;
    let (asked, ..) = peer.append().await;
    let facts = ErrorBody::RETRYABLE | ErrorBody::MAY_HAVE_APPLIED;
    let body = ErrorBody { code: 9999, facts, message: "from the future".to_owned(), details: Vec::new() };
    peer.send(encode_error(asked.header, &body)).await;
    let (again, ..) = peer.append().await;
    assert_eq!(again.batches, asked.batches);
    let body = ErrorBody { code: 9998, facts: 0, message: "from the future".to_owned(), details: Vec::new() };
    peer.send(encode_error(again.header, &body)).await;
    let error = soon(tickets.into_iter().next().expect("one")).await.expect_err("refused");
    assert_eq!((error.code(), error.may_have_applied()), (None, true));
    assert_eq!(error.refusal().map(|refusal| refusal.number()), Some(9998));
}

#[tokio::test(start_paused = true)]
async fn compression_is_the_producers_choice() {
    let (_server, mut peer, _client, producer) = producing(|builder| builder.compression(Compression::Lz4)).await;
    let ticket = producer.enqueue(Record::new(vec![b'x'; 10_000])).await.expect("there is room");
    let (asked, ..) = peer.append().await;
    assert_eq!(asked.batch().header().compression, Compression::Lz4);
    assert_eq!(asked.batch().header().producer, ProducerId(uuid::Uuid::from_bytes([9; 16])));
    peer.stored(&asked, 0).await;
    soon(ticket).await.expect("stored");
}

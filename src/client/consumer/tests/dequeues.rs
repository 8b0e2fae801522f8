//! Dialogues about dequeues: the cursor, lost answers, other callers.

use super::*;

fn offsets(records: &[crate::client::ConsumerRecord]) -> Vec<u64> {
    records.iter().map(|record| record.offset.0).collect()
}

#[tokio::test(start_paused = true)]
async fn dequeue_takes_records_at_the_cursor_and_follows_it() {
    let (_server, mut peer, _client, mut consumer) = named(42).await;
    let script = async {
        peer.backlog(42, 100).await;
        let first = peer.expect::<Dequeue>().await;
        assert_eq!((first.request.cursor, first.request.max_records, first.request.max_wait_ms), (42, 2, 1500));
        dequeued(&mut peer, &first, 42, &["42", "43"], false).await;
        let second = peer.expect::<Dequeue>().await;
        assert_eq!(second.request.cursor, 44);
        assert_ne!(second.request.attempt, first.request.attempt);
        let answer = DequeueAnswer { offset: 44, next: 44, tail: 44, repeated: false, batch_bytes: Vec::new() };
        peer.answer(&second, &answer).await;
    };
    let calls = async {
        assert_eq!(offsets(&consumer.dequeue(2, WAIT).await.expect("records")), [42, 43]);
        assert_eq!(consumer.dequeue(2, WAIT).await.expect("nothing yet"), []);
    };
    tokio::join!(calls, script);
}

#[tokio::test(start_paused = true)]
async fn a_dequeue_whose_answer_is_lost_is_the_same_attempt_again() {
    let (mut server, mut peer, _client, mut consumer) = named(42).await;
    let script = async {
        peer.backlog(42, 100).await;
        let lost = peer.expect::<Dequeue>().await;
        drop(peer);
        let mut peer = server.accept().await;
        let again = peer.expect::<Dequeue>().await;
        assert_eq!(again.request, lost.request);
        dequeued(&mut peer, &again, 42, &["42"], true).await;
        peer
    };
    let (records, _peer) = tokio::join!(consumer.dequeue(5, WAIT), script);
    assert_eq!(offsets(&records.expect("the same records")), [42]);
}

#[tokio::test(start_paused = true)]
async fn a_dequeue_that_is_dropped_loses_nothing() {
    let (_server, mut peer, _client, mut consumer) = named(42).await;
    let given_up = {
        let mut given_up = Box::pin(consumer.dequeue(5, WAIT));
        assert!(given_up.as_mut().now_or_never().is_none());
        peer.backlog(42, 100).await;
        tokio::select! {
            biased;
            _ = &mut given_up => panic!("nothing was answered"),
            asked = peer.expect::<Dequeue>() => asked,
        }
    };
    dequeued(&mut peer, &given_up, 42, &["42"], false).await;
    let script = async {
        let again = peer.expect::<Dequeue>().await;
        assert_eq!(again.request, given_up.request);
        dequeued(&mut peer, &again, 42, &["42"], true).await;
    };
    let (records, ()) = tokio::join!(consumer.dequeue(5, WAIT), script);
    assert_eq!(offsets(&records.expect("the same records")), [42]);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_another_moved_is_followed_unless_records_may_be_lost() {
    let (mut server, mut peer, _client, mut consumer) = named(42).await;
    let script = async {
        peer.backlog(42, 100).await;
        let first = peer.expect::<Dequeue>().await;
        // A server that does not say where the cursor is has to be asked.
        peer.refuse(&first, ErrorCode::CursorMismatch).await;
        peer.backlog(50, 100).await;
        let second = peer.expect::<Dequeue>().await;
        assert_eq!(second.request.cursor, 50);
        dequeued(&mut peer, &second, 50, &["50"], false).await;
        // The answer to this one is lost, and meanwhile the cursor moves.
        peer.expect::<Dequeue>().await;
        drop(peer);
        let mut peer = server.accept().await;
        let again = peer.expect::<Dequeue>().await;
        let mismatch = ErrorBody::new(ErrorCode::CursorMismatch, "scripted", vec![60]);
        peer.send(encode_error(again.header, &mismatch)).await;
        let next = peer.expect::<Dequeue>().await;
        assert_eq!(next.request.cursor, 60);
        dequeued(&mut peer, &next, 60, &["60"], false).await;
        peer
    };
    let calls = async {
        assert_eq!(offsets(&consumer.dequeue(1, WAIT).await.expect("behind the other")), [50]);
        let error = consumer.dequeue(1, WAIT).await.expect_err("nobody knows");
        assert!(error.code() == Some(ErrorCode::CursorMismatch) && error.may_have_applied(), "{error:?}");
        assert_eq!(offsets(&consumer.dequeue(1, WAIT).await.expect("goes on")), [60]);
    };
    tokio::join!(calls, script);
}

#[tokio::test(start_paused = true)]
async fn a_gap_before_dequeued_records_is_said_first_and_the_records_come_next() {
    let (_server, mut peer, _client, mut consumer) = named(42).await;
    let script = async {
        peer.backlog(42, 100).await;
        let asked = peer.expect::<Dequeue>().await;
        dequeued(&mut peer, &asked, 60, &["60"], false).await;
    };
    let (gap, ()) = tokio::join!(consumer.dequeue(1, WAIT), script);
    let gap = gap.expect_err("a gap");
    assert!(matches!(gap, Error::Gap { from: Offset(42), to: Offset(60) }), "{gap:?}");
    let records = consumer.dequeue(1, WAIT).now_or_never().expect("they are here").expect("records");
    assert_eq!(offsets(&records), [60]);
}

#[tokio::test(start_paused = true)]
async fn a_dequeue_answer_that_is_not_what_it_says_is_asked_for_again() {
    let (_server, mut peer, _client, mut consumer) = named(42).await;
    let script = async {
        peer.backlog(42, 100).await;
        let first = peer.expect::<Dequeue>().await;
        for (offset, next) in [(41, 42), (42, 41), (42, 99)] {
            let asked = if offset == 41 { None } else { Some(peer.expect::<Dequeue>().await) };
            let asked = asked.as_ref().unwrap_or(&first);
            assert_eq!(asked.request, first.request);
            let batch = stored_batch(42, &["42"]);
            let batch_bytes = vec![narrow(batch.len())];
            let answer = DequeueAnswer { offset, next, tail: 100, repeated: false, batch_bytes };
            peer.answer_with(asked, &answer, vec![batch]).await;
        }
    };
    let calls = async {
        for _ in 0..3 {
            let error = consumer.dequeue(1, WAIT).await.expect_err("nonsense");
            assert!(matches!(error, Error::Violation(_)), "{error:?}");
        }
    };
    tokio::join!(calls, script);
}

//! What the client is asked to do, and what must hold of each outcome.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{answers::stored_value, ledger::Ledger};
use crate::{
    client::{Client, Error, FetchOptions, Retention, Start},
    record::{Offset, Record},
};

pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_WAIT: Duration = Duration::from_secs(1);
/// What a call takes behind its deadline: timers of this clock go by milliseconds.
pub(super) const SLACK: Duration = Duration::from_millis(10);
/// How long somebody reads who is told nothing.
const READING: Duration = Duration::from_secs(20);
const RECORDS: u64 = 12;
const READS: usize = 20;

/// Makes all calls, side by side.
pub(super) async fn make(client: &Client, ledger: &Ledger) {
    tokio::join!(
        produce(client, ledger, 0, Some("named")),
        produce(client, ledger, 1, None),
        consume(client, ledger),
        dequeue(client, ledger),
        fetch(client, ledger),
        administrate(client),
    );
}

/// Waits for a call, which must end by its deadline.
async fn by_deadline<T>(limit: Duration, call: impl Future<Output = T>) -> T {
    let ended = timeout(limit + SLACK, call).await;
    ended.unwrap_or_else(|_| panic!("a call has not ended within its {limit:?}"))
}

async fn produce(client: &Client, ledger: &Ledger, who: u64, name: Option<&str>) {
    let builder = client.producer("logs").delivery_timeout(DELIVERY_TIMEOUT).max_in_flight(2);
    let builder = name.map_or(builder.clone(), |name| builder.name(name));
    let Ok(producer) = by_deadline(2 * REQUEST_TIMEOUT, builder.open()).await else { return };
    let mut tickets = Vec::new();
    for number in 0..RECORDS {
        let value = format!("{who} {number}").into_bytes();
        match by_deadline(SLACK, producer.enqueue(Record::new(value.clone()))).await {
            Ok(ticket) => tickets.push((value, ticket, Instant::now())),
            Err(error) => assert!(!error.may_have_applied(), "a record that was not taken was not sent: {error:?}"),
        }
        // Some leave together, others do not.
        if number % 3 == 2 {
            tokio::time::sleep(SLACK).await;
        }
    }
    for (value, ticket, since) in tickets {
        let left = (since + DELIVERY_TIMEOUT).saturating_duration_since(Instant::now());
        let outcome = by_deadline(left, ticket).await;
        ledger.judge(&value, &outcome.map(|offset| offset.0));
    }
    drop(by_deadline(DELIVERY_TIMEOUT, producer.flush()).await);
}

async fn consume(client: &Client, ledger: &Ledger) {
    let opened = by_deadline(2 * REQUEST_TIMEOUT, client.consumer("logs").credit_bytes(5000).open()).await;
    let Ok(mut consumer) = opened else { return };
    // The head may have moved before the first record came.
    let (mut next, until) = (None, Instant::now() + READING);
    for _ in 0..READS {
        let Ok(record) = tokio::time::timeout_at(until, consumer.next_record()).await else { return };
        match record {
            Ok(Some(record)) => {
                let offset = record.offset.0;
                assert_eq!(offset, next.unwrap_or(offset), "a record out of order");
                let is_true = record.record.value == stored_value(offset);
                assert!(is_true || ledger.is_garbled(), "the client made up a record");
                next = Some(offset + 1);
            }
            Err(Error::Gap { from, to }) => {
                assert_eq!(from.0, next.unwrap_or(from.0), "a gap that begins elsewhere");
                next = Some(to.0);
            }
            Ok(None) => return,
            // Damage is told once; what the reader makes of it is its own affair.
            Err(_) => return,
        }
    }
    drop(by_deadline(REQUEST_TIMEOUT, consumer.seek(Start::Tail)).await);
}

async fn dequeue(client: &Client, ledger: &Ledger) {
    let opened = by_deadline(2 * REQUEST_TIMEOUT, client.consumer("logs").name("worker").open()).await;
    let Ok(mut consumer) = opened else { return };
    let mut next = None;
    for _ in 0..4 {
        match by_deadline(2 * REQUEST_TIMEOUT + MAX_WAIT, consumer.dequeue(3, MAX_WAIT)).await {
            Ok(records) => {
                for record in records {
                    let expected = next.unwrap_or(record.offset.0);
                    assert!(record.offset.0 >= expected, "{} was dequeued after {expected}", record.offset);
                    let is_true = record.record.value == stored_value(record.offset.0);
                    assert!(is_true || ledger.is_garbled(), "the client made up a record");
                    next = Some(record.offset.0 + 1);
                }
            }
            Err(Error::Gap { to, .. }) => next = Some(to.0),
            // The cursor was moved by somebody else, for all it knows.
            Err(_) => next = None,
        }
    }
    drop(by_deadline(REQUEST_TIMEOUT, consumer.commit(Offset(2))).await);
    drop(by_deadline(REQUEST_TIMEOUT, consumer.rewind(Offset(1))).await);
    drop(by_deadline(REQUEST_TIMEOUT, consumer.backlog()).await);
}

async fn fetch(client: &Client, ledger: &Ledger) {
    for from in 0..4 {
        let options = FetchOptions::default().with_max_wait(MAX_WAIT);
        let fetched = by_deadline(REQUEST_TIMEOUT + MAX_WAIT, client.fetch("logs", Offset(from), options)).await;
        let Ok(fetched) = fetched else { continue };
        let first = fetched.batches.first().map(|batch| batch.header().stamp.base_offset.0);
        assert!(first.is_none_or(|first| first <= from), "a fetch from {from} gave batches from {first:?} on");
        for record in fetched.batches.iter().flat_map(|batch| batch.records().into_iter().flatten()) {
            let Ok((offset, record)) = record else { break };
            assert!(record.value == stored_value(offset.0) || ledger.is_garbled(), "the client made up a record");
        }
    }
}

async fn administrate(client: &Client) {
    drop(by_deadline(REQUEST_TIMEOUT, client.create_topic("logs", Retention::default())).await);
    drop(by_deadline(REQUEST_TIMEOUT, client.ensure_topic("logs", Retention::default())).await);
    drop(by_deadline(REQUEST_TIMEOUT, client.describe_topic("logs")).await);
    drop(by_deadline(REQUEST_TIMEOUT, client.server_info()).await);
    drop(by_deadline(REQUEST_TIMEOUT, client.ping()).await);
    drop(by_deadline(REQUEST_TIMEOUT, client.delete_topic("other")).await);
}

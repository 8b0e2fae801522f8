//! Subscriptions: batches pushed as they become durable, within the credit that the client gave.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tokio::sync::{MutexGuard, OwnedSemaphorePermit, watch};

use super::{Context, Held};
use crate::{
    broker::{Error, Fetched, TopicView},
    limits::{MAX_CREDIT_BYTES, MAX_DELIVERY_BYTES, MAX_READ_BYTES, MAX_SUBSCRIPTIONS},
    protocol::{Deliver, ErrorBody, ErrorCode, FrameHeader, Gap, Opcode, encode_answer, encode_error},
    record::{BatchHeader, Offset},
    server::dispatch::{lengths, room},
};

/// Bytes that may be sent: below zero by at most one delivery.
type Credit = watch::Sender<i64>;

#[derive(Default)]
struct Table {
    next_id: u32,
    /// Credit by id. Dropping a sender ends its subscription.
    credits: HashMap<u32, (u32, Credit)>,
}

/// The subscriptions of one connection.
#[derive(Default)]
pub(in crate::server) struct Subscriptions {
    table: Mutex<Table>,
}

impl Subscriptions {
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().expect("no panic while it is locked")
    }

    fn add(&self, correlation_id: u32) -> Result<(u32, watch::Receiver<i64>), ErrorBody> {
        let mut table = self.table();
        if table.credits.len() >= MAX_SUBSCRIPTIONS {
            let message = format!("connection has {MAX_SUBSCRIPTIONS} subscriptions, the limit");
            let details = vec![MAX_SUBSCRIPTIONS as u64];
            return Err(ErrorBody::new(ErrorCode::TooManySubscriptions, message, details));
        }
        table.next_id += 1;
        let id = table.next_id;
        let (credit, credited) = watch::channel(0);
        table.credits.insert(id, (correlation_id, credit));
        Ok((id, credited))
    }

    /// Adds credit. `false`: the subscription is unknown. It may just have ended, so that is not an error.
    pub(in crate::server) fn credit(&self, id: u32, bytes: u64) -> bool {
        let table = self.table();
        let Some((_, credit)) = table.credits.get(&id) else { return false };
        credit.send_modify(|credit| *credit = credit.saturating_add(to_credit(bytes)).min(to_credit(u64::MAX)));
        true
    }

    fn spend(&self, id: u32, bytes: usize) {
        let bytes = i64::try_from(bytes).expect("less than a frame");
        if let Some((_, credit)) = self.table().credits.get(&id) {
            credit.send_modify(|credit| *credit -= bytes);
        }
    }

    /// Ends a subscription; gives the correlation id of its Subscribe. Nothing is pushed for it afterwards.
    pub(in crate::server) fn remove(&self, id: u32) -> Option<u32> {
        self.table().credits.remove(&id).map(|(correlation_id, _)| correlation_id)
    }

    /// Runs `push` if the subscription still stands.
    fn if_present(&self, id: u32, push: impl FnOnce()) {
        let table = self.table();
        if table.credits.contains_key(&id) {
            push();
        }
    }
}

/// How many of these batches make a delivery: the last one is that which brings it to its size.
fn one_delivery(batches: &[Bytes]) -> usize {
    let mut bytes = 0;
    let is_before_last = |batch: &&Bytes| {
        bytes += batch.len();
        bytes < MAX_DELIVERY_BYTES
    };
    (batches.iter().take_while(is_before_last).count() + 1).min(batches.len())
}

fn bytes_of(batches: &[Bytes]) -> usize {
    batches.iter().map(Bytes::len).sum()
}

fn to_credit(bytes: u64) -> i64 {
    i64::try_from(bytes.min(MAX_CREDIT_BYTES)).expect("at most a GiB")
}

/// Pushes the batches of a topic to one connection.
pub(in crate::server) struct Subscription {
    id: u32,
    context: Arc<Context>,
    topic: Arc<TopicView>,
    next: Offset,
    asked: FrameHeader,
    credited: watch::Receiver<i64>,
    /// Whether more could be read the last time than was wanted.
    is_behind: bool,
}

impl Subscription {
    /// A subscription at `from`, without credit, that pushes nothing yet.
    pub(in crate::server) fn new(
        context: &Arc<Context>,
        topic: Arc<TopicView>,
        from: Offset,
        asked: FrameHeader,
    ) -> Result<Self, ErrorBody> {
        let (id, credited) = context.subscriptions.add(asked.correlation_id)?;
        Ok(Self { id, context: context.clone(), topic, next: from, asked, credited, is_behind: false })
    }

    /// Its id on this connection.
    pub(in crate::server) fn id(&self) -> u32 {
        self.id
    }

    /// Lets it push, on a task of its own, with this credit.
    pub(in crate::server) fn start(mut self, credit: u64) {
        self.context.subscriptions.credit(self.id, credit);
        tokio::spawn(async move {
            let ended = self.context.ended.clone();
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                end = self.run() => self.end(end),
            }
        });
    }

    /// Pushes until the subscription ends: with an error, or because the client wanted it.
    async fn run(&mut self) -> Option<ErrorBody> {
        let mut range = self.topic.watch();
        loop {
            let next = self.next;
            let is_removed = async { while self.credited.changed().await.is_ok() {} };
            tokio::select! {
                biased;
                () = is_removed => return None,
                changed = range.wait_for(|range| range.tail > next || range.is_deleted) => drop(changed.ok()?),
            }
            // What needs no credit is told without any.
            tokio::select! {
                biased;
                changed = range.wait_for(|range| range.head > next || range.is_deleted) => drop(changed.ok()?),
                credit = self.credited.wait_for(|credit| *credit > 0) => drop(credit.ok()?),
            }
            let wanted = self.wanted();
            let context = self.context.clone();
            match read_within(&context, &self.topic, self.next, wanted).await {
                Ok((_turn, budget, fetched)) => {
                    // As many as were read.
                    self.is_behind = budget.num_permits() >= wanted;
                    if let Err(error) = self.deliver(fetched, budget) {
                        return Some(error);
                    }
                }
                Err(Error::BeforeHead { head: to, .. } | Error::Lost { to, .. }) => self.tell_gap(to),
                Err(error) => return Some(error.into()),
            }
        }
    }

    /// What to read: as much as the credit allows and one delivery takes, and more for a peer that has taken everything.
    fn wanted(&self) -> usize {
        let is_waited_for = self.is_behind && self.context.outbox.is_empty();
        let most = if is_waited_for { MAX_READ_BYTES } else { MAX_DELIVERY_BYTES };
        usize::try_from(*self.credited.borrow()).unwrap_or(0).clamp(1, most)
    }

    /// Pushes what was read, one delivery after the other.
    fn deliver(&mut self, fetched: Fetched, mut budget: OwnedSemaphorePermit) -> Result<(), ErrorBody> {
        let mut rest = fetched.batches;
        while !rest.is_empty() {
            let count = one_delivery(&rest);
            let behind = rest.split_off(count);
            let mut batches = std::mem::replace(&mut rest, behind);
            room(self.context.max_frame_bytes).fit(&mut batches)?;
            if batches.len() < count {
                // What does not fit is read again.
                rest.clear();
            }
            let Some(last) = batches.last() else { return Ok(()) };
            self.next = BatchHeader::read(last)?.next_offset();
            let bytes = bytes_of(&batches);
            let deliver = Deliver { batch_bytes: lengths(&batches), ..self.empty_deliver() };
            let frame = encode_answer(Opcode::Deliver, self.asked.correlation_id, &deliver, batches);
            let held = Held { budget: budget.split(bytes), place: None };
            self.context.subscriptions.spend(self.id, bytes);
            self.context.subscriptions.if_present(self.id, || self.context.outbox.push(frame, held));
        }
        Ok(())
    }

    fn tell_gap(&mut self, to: Offset) {
        let gap = Gap { from: self.next.0, to: to.0 };
        self.next = to;
        let deliver = Deliver { gap: Some(gap), ..self.empty_deliver() };
        let frame = encode_answer(Opcode::Deliver, self.asked.correlation_id, &deliver, Vec::new());
        self.context.subscriptions.if_present(self.id, || self.context.outbox.push(frame, Held::default()));
    }

    fn empty_deliver(&self) -> Deliver {
        let range = self.topic.range();
        Deliver { subscription_id: self.id, head: range.head.0, tail: range.tail.0, gap: None, batch_bytes: Vec::new() }
    }

    /// Tells the client that nothing more comes, unless it asked for that itself.
    fn end(&self, error: Option<ErrorBody>) {
        let (Some(error), Some(correlation_id)) = (error, self.context.subscriptions.remove(self.id)) else {
            return;
        };
        let deliver = FrameHeader::answer(Opcode::Deliver, correlation_id);
        self.context.outbox.answer(correlation_id, encode_error(deliver, &error), Held::default());
    }
}

/// Takes part of the budget for what is read from the log. `None`: the server is going down.
///
/// One at a time for each connection, and only while its outbox has room: a peer that does not read what it asked for
/// holds up little of the budget. The turn is kept until the frame is in the outbox.
pub(in crate::server) async fn reserve(
    context: &Context,
    bytes: usize,
) -> Option<(MutexGuard<'_, ()>, OwnedSemaphorePermit)> {
    let turn = context.turn.lock().await;
    context.outbox.room().await;
    let budget = context.shared.outbound.acquire(bytes).await?;
    Some((turn, budget))
}

/// Reads about `wanted` bytes of a topic; what was read holds its real size of the budget, no more and no less.
pub(in crate::server) async fn read_within<'a>(
    context: &'a Context,
    topic: &TopicView,
    from: Offset,
    wanted: usize,
) -> Result<(MutexGuard<'a, ()>, OwnedSemaphorePermit, Fetched), Error> {
    let mut reserved = wanted;
    loop {
        let (turn, mut budget) = reserve(context, reserved).await.ok_or(Error::ShuttingDown)?;
        let mut fetched = context.shared.broker.read(topic, from, wanted).await?;
        let mut bytes = bytes_of(&fetched.batches);
        // The last batch may go beyond what was wanted.
        while bytes > reserved && fetched.batches.len() > 1 {
            bytes -= fetched.batches.pop().map_or(0, |batch| batch.len());
        }
        if bytes <= reserved {
            drop(budget.split(reserved - bytes));
            return Ok((turn, budget, fetched));
        }
        // One batch was larger than what was wanted: come again with more, holding nothing meanwhile.
        reserved = bytes;
    }
}

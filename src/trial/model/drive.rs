//! The broker under test: a stepped one on a simulated disk, with a clock that is told.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use futures::FutureExt as _;
use tokio::sync::oneshot;

use super::{
    op::Free,
    reference::{self, RESERVE_BYTES, Reference},
    request::{Answer, Answered, Batches, Decided, Dequeue, Request},
    translate,
    wire::{self, Wire},
};
use crate::{
    broker::{Appended, Background, Broker, BrokerConfig, Dequeued, Error, Fetched, Place, Stepped},
    planted::Planted,
    record::{Offset, Timestamp, TopicName},
    trial::{Rng, SimDisk},
};

/// Small, so that a short run rolls, seals, trims and rewrites.
const SEGMENT_BYTES: u64 = 12 * 1024;
/// Headers and twice two frames, so that groups are folded, written over, and too large for it.
const WAL_BYTES: usize = (2 + 2 * 2) * 4096;
/// Less than three segments, so that records are read from disk, too.
const CACHE_BYTES: usize = 16 * 1024;

/// An answer that is waited for.
pub(super) type Waiting = Pin<Box<dyn Future<Output = Answered>>>;

pub(super) struct Driver {
    pub(super) disk: SimDisk,
    store: Option<Stepped>,
    planted: Planted,
    now: Timestamp,
    /// Appends that were acknowledged and stored something.
    told: Arc<AtomicU64>,
    /// Set when requests go through a session.
    wire: Option<Wire>,
}

fn open(disk: &SimDisk, planted: Planted, now: Timestamp) -> Result<Stepped, String> {
    let config = BrokerConfig {
        segment_bytes: SEGMENT_BYTES,
        wal_bytes: WAL_BYTES,
        tail_cache_bytes: CACHE_BYTES,
        reserve_bytes: RESERVE_BYTES,
        background: Background::Inline,
        planted,
        ..BrokerConfig::default()
    };
    let opened = Stepped::open_at(Place::Volume(Arc::new(disk.clone())), config, now);
    opened.map_err(|error| format!("it does not open: {}", error.with_causes()))
}

impl Driver {
    pub(super) fn new(planted: Planted, now: Timestamp) -> Result<Self, String> {
        let disk = SimDisk::default();
        let store = Some(open(&disk, planted, now)?);
        Ok(Self { disk, store, planted, now, told: Arc::default(), wire: None })
    }

    /// The same, asked through a session, beside strangers that do what chance says.
    pub(super) fn on_a_wire(now: Timestamp, strange: Rng) -> Result<Self, String> {
        let mut driver = Self::new(Planted::default(), now)?;
        driver.wire = Some(Wire::new(driver.broker().clone(), strange)?);
        Ok(driver)
    }

    /// A request as it can be made here; `None` when it cannot.
    pub(super) fn fit(&self, request: Request) -> Option<Request> {
        if self.wire.is_some() { wire::in_a_frame(request) } else { Some(request) }
    }

    /// What of an answer can be seen here.
    pub(super) fn shown(&self, request: &Request, answer: Answer) -> Answer {
        if self.wire.is_some() { translate::shown(request, answer) } else { answer }
    }

    /// Ends what was opened.
    pub(super) fn end(&mut self) -> Result<(), String> {
        self.wire.take().map_or(Ok(()), |wire| wire.close().map(drop))
    }

    pub(super) fn store(&self) -> &Stepped {
        self.store.as_ref().expect("it is open between steps")
    }

    pub(super) fn broker(&self) -> &Broker {
        self.store().broker()
    }

    /// Hands a request to the broker. Its first poll, which the caller makes, is its arrival.
    pub(super) fn ask(&mut self, request: Request) -> Result<Waiting, String> {
        match &mut self.wire {
            Some(wire) => wire.ask(&request),
            None => Ok(self.ask_broker(request)),
        }
    }

    fn ask_broker(&self, request: Request) -> Waiting {
        let (broker, told) = (self.broker().clone(), self.told.clone());
        Box::pin(async move { ask(broker, request, told).await.map_err(Into::into) })
    }

    /// Lets the writer work on what waits. Looks at the moment before anything can be durable: nobody sees it yet, and
    /// nobody was told.
    pub(super) fn step(&mut self, durable: &Reference) -> Result<(), String> {
        let tails: Vec<_> = durable.topic_names().map(|name| (name.clone(), durable.ends(name))).collect();
        let (is_first, ahead) = (AtomicBool::new(true), Arc::new(Mutex::new(None)));
        let (broker, told, found) = (self.broker().clone(), self.told.clone(), ahead.clone());
        let told_before = told.load(SeqCst);
        self.disk.on_sync(Some(Arc::new(move || {
            if is_first.swap(false, SeqCst) {
                let what = match told.load(SeqCst) - told_before {
                    0 => seen_ahead(&broker, &tails),
                    told => Some(format!("{told} appends were acknowledged before they were durable")),
                };
                *found.lock().expect("no panic while it is locked") = what;
            }
        })));
        self.store.as_mut().expect("it is open between steps").step();
        self.disk.on_sync(None);
        self.wire.as_mut().map_or(Ok(()), Wire::settle)?;
        ahead.lock().expect("no panic while it is locked").take().map_or(Ok(()), Err)
    }

    pub(super) fn pass(&mut self, time: Duration, now: Timestamp) {
        self.now = now;
        self.store.as_mut().expect("it is open between steps").pass(time, now);
    }

    pub(super) fn set_free(&self, free: Free) {
        self.disk.set_free_bytes(Some(reference::free_bytes(free)));
    }

    /// Closes the broker in order, or takes the files as a kill leaves them, and opens it again.
    pub(super) fn restart(&mut self, killed: bool) -> Result<(), String> {
        let free = self.disk.free();
        let strange = self.wire.take().map(Wire::close).transpose()?;
        let store = self.store.take().expect("it is open between steps");
        let files = if killed {
            let files = self.disk.files();
            // Whatever closing does from here on, it does not do it to these files.
            drop(store);
            files
        } else {
            store.close().map_err(|error| format!("it does not close: {}", error.with_causes()))?;
            self.disk.files()
        };
        self.disk = SimDisk::holding(files);
        self.disk.set_free_bytes(free);
        self.store = Some(open(&self.disk, self.planted, self.now)?);
        self.wire = strange.map(|strange| Wire::new(self.broker().clone(), strange)).transpose()?;
        Ok(())
    }

    /// All batches of a topic, as a consumer gets them.
    pub(super) fn read_all(&self, topic: &TopicName) -> Result<Batches, String> {
        let (mut all, mut from) =
            (Vec::new(), self.broker().topic(topic.as_str()).map_err(|e| e.to_string())?.range().head);
        loop {
            let request = Request::Fetch { topic: topic.clone(), from, max_bytes: 64 * 1024 };
            let answered = self.ask_broker(request).now_or_never().ok_or("a read waits for something")?;
            match answered {
                Ok(Answer::Fetched { batches, .. }) if batches.0.is_empty() => return Ok(Batches(all)),
                Ok(Answer::Fetched { batches, .. }) => {
                    all.extend(batches.0);
                    from = next_offset(&all)?;
                }
                other => return Err(format!("reading from {from} on gives {other:?}")),
            }
        }
    }
}

fn next_offset(batches: &[bytes::Bytes]) -> Result<Offset, String> {
    let last = batches.last().ok_or("no batch")?;
    let header = crate::record::BatchHeader::read(last).map_err(|error| error.to_string())?;
    Ok(header.next_offset())
}

/// The tail of a topic that readers see and that is not durable yet.
fn seen_ahead(broker: &Broker, tails: &[(TopicName, Option<(Offset, Offset)>)]) -> Option<String> {
    tails.iter().find_map(|(name, ends)| {
        let (seen, tail) = (broker.topic(name.as_str()).ok()?.range().tail, ends.as_ref()?.1);
        (seen != tail).then(|| format!("readers of {name} see the tail {seen}, but only {tail} is durable"))
    })
}

async fn ask(broker: Broker, request: Request, told: Arc<AtomicU64>) -> Decided {
    match request {
        Request::CreateTopic { name, retention, if_absent } => {
            broker.create_topic(name, retention, if_absent).await.map(Answer::Topic)
        }
        Request::DeleteTopic { name, if_present } => broker.delete_topic(name, if_present).await.map(Answer::Deleted),
        Request::RegisterProducer { topic, name, create } => {
            broker.register_producer(topic, name, create).await.map(Answer::Producer)
        }
        Request::ProducerState(id) => broker.producer_state(id).await.map(Answer::Producer),
        Request::ListProducers(listing) => {
            broker.producers(listing).await.map(|(page, more)| Answer::Producers { page, more })
        }
        Request::ForgetProducer(id) => broker.forget_producer(id).await.map(Answer::Forgotten),
        Request::Append(appending) => {
            let (tell, answer) = oneshot::channel();
            let done = move |outcome: Result<Vec<Appended>, Error>| {
                let is_new = outcome.as_ref().is_ok_and(|parts| parts.iter().any(|part| !part.duplicate));
                told.fetch_add(is_new.into(), SeqCst);
                drop(tell.send(outcome));
            };
            broker.append(appending, Box::new(done));
            answer.await.unwrap_or(Err(Error::Indeterminate)).map(Answer::Appended)
        }
        Request::RegisterConsumer { topic, name, start } => {
            broker.register_consumer(topic, name, start).await.map(Answer::Consumer)
        }
        Request::Commit { consumer, offset, rewind } => {
            broker.commit(consumer, offset, rewind).await.map(Answer::Cursor)
        }
        Request::Dequeue(Dequeue { consumer, cursor, attempt, max_records, room }) => {
            let dequeued = broker.dequeue(consumer, cursor, attempt, max_records, room).await?;
            let Dequeued { first, next, tail, repeated, batches } = dequeued;
            Ok(Answer::Dequeued { first, next, tail, repeated, batches: Batches(batches) })
        }
        Request::Backlog(id) => {
            let (consumer, topic) = broker.consumer(id)?;
            let (range, cursor) = (topic.range(), consumer.cursor);
            Ok(Answer::Backlog { backlog: range.backlog(cursor), cursor, range })
        }
        Request::Fetch { topic, from, max_bytes } => {
            let topic = broker.topic(topic.as_str())?;
            let Fetched { range, batches } = broker.read(&topic, from, max_bytes).await?;
            Ok(Answer::Fetched { range, batches: Batches(batches) })
        }
        Request::OffsetFor { topic, time } => {
            let topic = broker.topic(topic.as_str())?;
            broker.offset_for(&topic, time).await.map(Answer::Offset)
        }
    }
}

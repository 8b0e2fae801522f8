//! What the handles of a connection share with its driver. The lock is held for a few map operations at a time, never
//! across an await.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, oneshot, watch},
    time::Instant,
};

use super::{
    Granted, Lost,
    answer::decode,
    outbound::WriteBuffer,
    pending::{Asker, Pending, Permit, Waiter},
    routes::{Route, RouteEnd},
};
use crate::{
    client::error::{Disconnect, Error},
    protocol::{
        ErrorBody, Frame, Opcode, OutFrame, Ping, Request, Subscribe, SubscribeAnswer, Unsubscribe, decode_answer,
        encode_request,
    },
};

/// How far a connection is on its way.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Requests and answers.
    Open,
    /// Answers only: one side is about to leave.
    Draining(Disconnect),
    /// The socket is given up.
    Closed(Disconnect),
}

/// See the module.
pub(super) struct Shared {
    granted: Granted,
    pending: Mutex<Pending>,
    /// Changed only while `pending` is locked, so that nobody joins a table that was emptied for good.
    phase: watch::Sender<Phase>,
    outbox_filled: Notify,
    requests: Arc<Semaphore>,
    request_bytes: Arc<Semaphore>,
    started: Instant,
    heard_us: AtomicU64,
}

impl Shared {
    pub(super) fn new(granted: Granted) -> Self {
        Self {
            pending: Mutex::default(),
            phase: watch::Sender::new(Phase::Open),
            outbox_filled: Notify::new(),
            requests: Arc::new(Semaphore::new(granted.max_in_flight_requests)),
            request_bytes: Arc::new(Semaphore::new(granted.max_in_flight_bytes as usize)),
            started: Instant::now(),
            heard_us: AtomicU64::new(0),
            granted,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn granted(&self) -> &Granted {
        &self.granted
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    fn is_open(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Open)
    }

    /// Waits for a phase, and gives what led to it.
    pub(super) async fn wait_for_phase(&self, wanted: impl FnMut(&Phase) -> bool) -> Disconnect {
        let mut phase = self.phase.subscribe();
        match phase.wait_for(wanted).await.as_deref() {
            Ok(Phase::Draining(why) | Phase::Closed(why)) => why.clone(),
            Ok(Phase::Open) | Err(_) => Disconnect::Abandoned,
        }
    }

    // ---- asking ----

    pub(super) fn new_id(&self) -> u32 {
        self.lock().new_id()
    }

    /// Waits until the server has room for a request of this size; one larger than all the room goes alone.
    pub(super) async fn permit(&self, bytes: usize) -> Result<Permit, Disconnect> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.granted.max_in_flight_bytes);
        let room = async {
            let request = Arc::clone(&self.requests).acquire_owned().await?;
            let bytes = Arc::clone(&self.request_bytes).acquire_many_owned(bytes).await?;
            Ok::<_, tokio::sync::AcquireError>(Permit { _request: request, _bytes: bytes })
        };
        room.await.map_err(|_| self.why_not_open())
    }

    fn why_not_open(&self) -> Disconnect {
        match &*self.phase.borrow() {
            Phase::Open => Disconnect::Abandoned,
            Phase::Draining(why) | Phase::Closed(why) => why.clone(),
        }
    }

    /// Queues a request whose number is from [`Self::new_id`].
    pub(super) fn ask(
        &self,
        opcode: Opcode,
        id: u32,
        frame: OutFrame,
        permit: Permit,
        route: Option<Route>,
    ) -> Result<oneshot::Receiver<Result<Frame, Lost>>, Disconnect> {
        let (caller, receiver) = oneshot::channel();
        let waiter = Waiter { opcode, was_sent: false, asker: Asker::Caller(caller), _permit: Some(permit) };
        let mut pending = self.lock();
        if !self.is_open() {
            drop(pending);
            return Err(self.why_not_open());
        }
        pending.ask(id, waiter, frame);
        if let Some(route) = route {
            pending.routes.insert(id, route);
        }
        drop(pending);
        self.outbox_filled.notify_one();
        Ok(receiver)
    }

    /// Queues a request of the connection's own, outside of the room that the server granted.
    fn ask_aside<R: Request>(&self, request: &R, asker: Asker) {
        let mut pending = self.lock();
        if self.is_open() {
            let id = pending.new_id();
            let waiter = Waiter { opcode: R::OPCODE, was_sent: false, asker, _permit: None };
            pending.ask(id, waiter, encode_request(request, id, Vec::new()));
            drop(pending);
            self.outbox_filled.notify_one();
        }
    }

    /// Asks for a sign of life.
    pub(super) fn ping(&self) {
        self.ask_aside(&Ping {}, Asker::Keepalive);
    }

    /// Ends a subscription; until the answer its route passes over what still comes.
    pub(super) fn unsubscribe(&self, route_id: u32, subscription_id: u32) {
        self.ask_aside(&Unsubscribe { subscription_id }, Asker::Unsubscribe(route_id));
    }

    /// Queues what is not answered.
    pub(super) fn post(&self, frame: OutFrame) {
        let mut pending = self.lock();
        if self.is_open() {
            let posted = pending.post(frame);
            drop(pending);
            match posted {
                Ok(()) => self.outbox_filled.notify_one(),
                Err(why) => self.close(why),
            }
        }
    }

    /// Moves frames to the socket's buffer; waits until there are some.
    pub(super) async fn fill(&self, buffer: &mut WriteBuffer) {
        while !self.lock().fill(buffer) {
            self.outbox_filled.notified().await;
        }
    }

    // ---- answers ----

    /// Hands an answer to who asked.
    pub(super) fn answer(&self, opcode: Opcode, frame: Frame) -> Result<(), Disconnect> {
        let (id, is_error) = (frame.header.correlation_id, frame.header.is_error());
        let mut pending = self.lock();
        let Some(waiter) = pending.take(id, opcode) else {
            drop(pending);
            return self.end_route(opcode, &frame);
        };
        if is_error && opcode == Opcode::Subscribe {
            pending.routes.remove(&id);
        }
        if let Asker::Unsubscribe(route_id) = waiter.asker {
            pending.routes.remove(&route_id);
        }
        let is_last = pending.is_empty();
        drop(pending);
        if let Asker::Caller(caller) = waiter.asker
            && let Err(Ok(frame)) = caller.send(Ok(frame))
        {
            self.discard(&frame);
        }
        if is_last && let Phase::Draining(why) = self.phase() {
            self.close(why);
        }
        Ok(())
    }

    /// A subscription can be refused after it was granted: its topic was deleted, for example. So can a Credit, which
    /// is not answered otherwise, when it meets such a refusal half way.
    fn end_route(&self, opcode: Opcode, frame: &Frame) -> Result<(), Disconnect> {
        let id = frame.header.correlation_id;
        if let Err(error) = decode::<Subscribe>(frame) {
            let route = self.lock().routes.remove(&id);
            match (opcode, route) {
                (Opcode::Subscribe | Opcode::Deliver, Some(route)) => {
                    route.end(match error {
                        Error::Refused(refusal) if refusal.is(ErrorBody::RETRYABLE) => {
                            RouteEnd::Lost(Disconnect::Refused(refusal))
                        }
                        error => RouteEnd::Failed(error),
                    });
                    return Ok(());
                }
                (Opcode::Credit, None) => return Ok(()),
                _ => {}
            }
        }
        Err(Disconnect::violation(format!("nobody waits for answer {id} to {}", opcode.name())))
    }

    /// Hands a delivery to its subscription.
    pub(super) fn deliver(&self, frame: Frame) -> Result<(), Disconnect> {
        let id = frame.header.correlation_id;
        match self.lock().routes.get(&id) {
            Some(route) => route.deliver(frame),
            None => Err(Disconnect::violation(format!("no subscription has correlation id {id}"))),
        }
    }

    /// Takes a request back, unless it was sent; says whether it was.
    pub(super) fn forget(&self, id: u32) -> bool {
        self.lock().forget(id)
    }

    /// Undoes on this connection what an answer says that nobody waited for.
    pub(super) fn discard(&self, frame: &Frame) {
        let header = frame.header;
        if header.opcode == Opcode::Subscribe as u16
            && !header.is_error()
            && let Ok((answer, _)) = decode_answer::<SubscribeAnswer>(frame)
        {
            self.unsubscribe(header.correlation_id, answer.subscription_id);
        }
    }

    // ---- the end ----

    /// Takes no more requests; gives back those that were not sent, and closes once the others are answered.
    pub(super) fn drain(&self, why: Disconnect) {
        let mut pending = self.lock();
        if !self.is_open() {
            return;
        }
        self.phase.send_replace(Phase::Draining(why.clone()));
        self.requests.close();
        self.request_bytes.close();
        let unsent = pending.take_unsent();
        // They stay, to pass over what still comes.
        pending.routes.values().for_each(|route| route.end(RouteEnd::Lost(why.clone())));
        let is_empty = pending.is_empty();
        drop(pending);
        unsent.into_iter().for_each(|waiter| waiter.lose(&why));
        if is_empty {
            self.close(why);
        }
    }

    /// Gives the socket up, and tells everybody who waits.
    pub(super) fn close(&self, why: Disconnect) {
        let mut pending = self.lock();
        let why = match self.phase() {
            Phase::Open => why,
            // What began the end says more than the end.
            Phase::Draining(first) => first,
            Phase::Closed(_) => return,
        };
        self.phase.send_replace(Phase::Closed(why.clone()));
        self.requests.close();
        self.request_bytes.close();
        let lost = pending.take_all();
        let routes = std::mem::take(&mut pending.routes);
        drop(pending);
        lost.into_iter().for_each(|waiter| waiter.lose(&why));
        routes.values().for_each(|route| route.end(RouteEnd::Lost(why.clone())));
    }

    // ---- signs of life ----

    /// Bytes arrived.
    pub(super) fn heard(&self) {
        let since = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.heard_us.store(since, Ordering::Relaxed);
    }

    /// When bytes arrived last.
    pub(super) fn last_heard(&self) -> Instant {
        self.started + Duration::from_micros(self.heard_us.load(Ordering::Relaxed))
    }
}

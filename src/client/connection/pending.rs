//! Who waits for which answer, and what waits to be written. Plain maps: no lock, no clock, no socket.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Lost, outbound::WriteBuffer, routes::Route};
use crate::{
    client::error::Disconnect,
    protocol::{Frame, Opcode, OutFrame},
};

/// Frames that no answer bounds, Pong and Credit, and that wait to be written; one more, and the connection is given
/// up: its server sends and does not read.
const MAX_UNWRITTEN_NOTICES: usize = 1024;
/// No more than this is taken out of the outbox at once.
const MAX_WRITE_BYTES: usize = 1024 * 1024;

/// See the module.
#[derive(Default)]
pub(super) struct Pending {
    last_id: u32,
    waiters: BTreeMap<u32, Waiter>,
    pub(super) routes: BTreeMap<u32, Route>,
    outbox: VecDeque<Outgoing>,
    unwritten_notices: usize,
}

/// A request that is not answered yet.
pub(super) struct Waiter {
    pub(super) opcode: Opcode,
    pub(super) was_sent: bool,
    pub(super) asker: Asker,
    /// Given back with the answer, also when nobody waits for it any more: the server counts until it has answered.
    pub(super) _permit: Option<Permit>,
}

/// Who wants the answer.
pub(super) enum Asker {
    /// A caller, if it still waits.
    Caller(oneshot::Sender<Result<Frame, Lost>>),
    /// The end of the subscription with this route.
    Unsubscribe(u32),
    /// The keepalive, which is content with any sign of life.
    Keepalive,
}

/// Room for one request.
pub(super) struct Permit {
    pub(super) _request: OwnedSemaphorePermit,
    pub(super) _bytes: OwnedSemaphorePermit,
}

struct Outgoing {
    /// `None` for a notice.
    request_id: Option<u32>,
    frame: OutFrame,
}

impl Pending {
    /// A correlation id that nothing uses. 0 stands for what nobody asked for.
    pub(super) fn new_id(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            let id = self.last_id;
            if id != 0 && !self.waiters.contains_key(&id) && !self.routes.contains_key(&id) {
                return id;
            }
        }
    }

    /// Queues a request. Its number must come from [`Self::new_id`].
    pub(super) fn ask(&mut self, id: u32, waiter: Waiter, frame: OutFrame) {
        let before = self.waiters.insert(id, waiter);
        assert!(before.is_none(), "correlation id {id} is in use");
        self.outbox.push_back(Outgoing { request_id: Some(id), frame });
    }

    /// Queues what is not answered.
    pub(super) fn post(&mut self, frame: OutFrame) -> Result<(), Disconnect> {
        if self.unwritten_notices == MAX_UNWRITTEN_NOTICES {
            return Err(Disconnect::violation(format!("it took none of {MAX_UNWRITTEN_NOTICES} frames")));
        }
        self.unwritten_notices += 1;
        self.outbox.push_back(Outgoing { request_id: None, frame });
        Ok(())
    }

    /// Moves frames to the socket's buffer; from here on they count as sent. Says whether there is anything to write.
    pub(super) fn fill(&mut self, buffer: &mut WriteBuffer) -> bool {
        while buffer.size() < MAX_WRITE_BYTES
            && let Some(Outgoing { request_id, frame }) = self.outbox.pop_front()
        {
            match request_id {
                None => self.unwritten_notices -= 1,
                Some(id) => self.waiters.get_mut(&id).expect("ask inserts both").was_sent = true,
            }
            buffer.push(frame);
        }
        buffer.size() > 0
    }

    /// Who waits for this answer. Nobody, when the request has not even left.
    pub(super) fn take(&mut self, id: u32, opcode: Opcode) -> Option<Waiter> {
        match self.waiters.get(&id) {
            Some(waiter) if waiter.opcode == opcode && waiter.was_sent => self.waiters.remove(&id),
            _ => None,
        }
    }

    /// Takes a request back, unless it was sent; says whether it was.
    pub(super) fn forget(&mut self, id: u32) -> bool {
        let was_sent = self.waiters.get(&id).is_none_or(|waiter| waiter.was_sent);
        if !was_sent {
            self.waiters.remove(&id);
            self.routes.remove(&id);
            self.outbox.retain(|outgoing| outgoing.request_id != Some(id));
        }
        was_sent
    }

    /// The requests that were not sent, taken back.
    pub(super) fn take_unsent(&mut self) -> Vec<Waiter> {
        let ids: Vec<u32> = self.outbox.drain(..).filter_map(|outgoing| outgoing.request_id).collect();
        self.unwritten_notices = 0;
        ids.iter().filter_map(|id| self.waiters.remove(id)).collect()
    }

    /// All requests, sent or not.
    pub(super) fn take_all(&mut self) -> Vec<Waiter> {
        self.outbox.clear();
        self.unwritten_notices = 0;
        std::mem::take(&mut self.waiters).into_values().collect()
    }

    /// Whether no request waits for its answer.
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }
}

impl Waiter {
    /// Tells the asker that there will be no answer.
    pub(super) fn lose(self, cause: &Disconnect) {
        if let Asker::Caller(caller) = self.asker {
            // A caller that is gone needs no telling.
            caller.send(Err(Lost { was_sent: self.was_sent, cause: cause.clone() })).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Ping, encode_request};

    fn ask(pending: &mut Pending) -> (u32, oneshot::Receiver<Result<Frame, Lost>>) {
        let id = pending.new_id();
        let (caller, receiver) = oneshot::channel();
        let waiter = Waiter { opcode: Opcode::Ping, was_sent: false, asker: Asker::Caller(caller), _permit: None };
        pending.ask(id, waiter, encode_request(&Ping {}, id, Vec::new()));
        (id, receiver)
    }

    #[test]
    fn numbers_go_round_without_zero_and_without_those_in_use() {
        let mut pending = Pending::default();
        let (first, _receiver) = ask(&mut pending);
        assert_eq!(first, 1);
        pending.last_id = u32::MAX - 1;
        assert_eq!((pending.new_id(), pending.new_id()), (u32::MAX, 2));
    }

    #[test]
    fn an_answer_to_a_request_that_has_not_left_is_nobodys() {
        let mut pending = Pending::default();
        let (id, _receiver) = ask(&mut pending);
        assert!(pending.take(id, Opcode::Ping).is_none());
        assert!(pending.fill(&mut WriteBuffer::default()));
        assert!(pending.take(id, Opcode::Fetch).is_none());
        assert!(pending.take(id, Opcode::Ping).is_some());
        assert!(pending.take(id, Opcode::Ping).is_none());
    }

    #[test]
    fn a_request_is_taken_back_only_before_it_has_left() {
        let mut pending = Pending::default();
        let ((sent, _first), mut buffer) = (ask(&mut pending), WriteBuffer::default());
        pending.fill(&mut buffer);
        let (unsent, _second) = ask(&mut pending);
        assert_eq!((pending.forget(sent), pending.forget(unsent)), (true, false));
        let before = buffer.size();
        pending.fill(&mut buffer);
        assert_eq!(buffer.size(), before);
        assert!(pending.take(sent, Opcode::Ping).is_some() && pending.is_empty());
    }

    #[test]
    fn what_is_lost_knows_whether_it_had_left() {
        let mut pending = Pending::default();
        let ((_, mut sent), (_, mut unsent)) = {
            let first = ask(&mut pending);
            pending.fill(&mut WriteBuffer::default());
            (first, ask(&mut pending))
        };
        pending.take_all().into_iter().for_each(|waiter| waiter.lose(&Disconnect::Closed));
        let was_sent = |receiver: &mut oneshot::Receiver<Result<Frame, Lost>>| match receiver.try_recv() {
            Ok(Err(lost)) => lost.was_sent,
            other => panic!("{other:?}"),
        };
        assert!(was_sent(&mut sent) && !was_sent(&mut unsent));
    }
}

//! Calls that are handed to the writer now, and whose answers are written down once it has worked.

use std::{
    sync::{Arc, Mutex},
    task::{Context, Wake, Waker},
};

use futures::FutureExt as _;

use super::{
    SimDisk,
    history::{History, Outcome},
    workload::Run,
};
use crate::broker::Error;

/// Writes down the answer to a call, once the writer has worked.
pub(super) type Settle = Box<dyn FnOnce(&mut Run)>;

/// What an answer says of a call.
pub(super) fn outcome_of<T>(answer: Result<T, Error>, at: u64) -> Outcome<T> {
    match answer {
        Ok(answer) => Outcome::Acked(answer, at),
        Err(Error::Indeterminate) => Outcome::Unknown,
        Err(_) => Outcome::Refused,
    }
}

/// Notes when a call was answered: the writer may do much more in the same step.
struct Answered {
    disk: SimDisk,
    at: Mutex<Option<u64>>,
}

impl Wake for Answered {
    fn wake(self: Arc<Self>) {
        self.at.lock().expect("one thread").get_or_insert(self.disk.ops());
    }
}

/// Hands a call to the writer; `note` writes its answer down once the writer has worked.
pub(super) fn later<T: 'static>(
    disk: &SimDisk,
    call: impl Future<Output = Result<T, Error>> + 'static,
    note: impl FnOnce(&mut History, Result<T, Error>, u64) + 'static,
) -> Settle {
    let mut call = Box::pin(call);
    let answered = Arc::new(Answered { disk: disk.clone(), at: Mutex::new(None) });
    // The first poll hands it over.
    let waker = Waker::from(answered.clone());
    let early = call.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
    Box::new(move |run: &mut Run| {
        assert!(!early, "the writer has not worked yet");
        let Some(answer) = call.as_mut().now_or_never() else { return };
        let at = answered.at.lock().expect("one thread").expect("who is answered is woken");
        note(&mut run.history.lock().expect("no panic while it is locked"), answer, at);
    })
}

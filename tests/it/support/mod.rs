//! What every test needs: a server, a connection that speaks bytes, batches to send, somebody who must not be disturbed.

pub(crate) mod batches;
pub(crate) mod bystander;
pub(crate) mod images;
pub(crate) mod raw;
pub(crate) mod requests;
pub(crate) mod server;

use std::time::Duration;

use tokio::time::{Instant, timeout};

pub(crate) use self::{
    batches::{batch, forged, values},
    bystander::Bystander,
    raw::Raw,
    requests::append_of,
    server::{TestServer, config},
};

/// Far longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits, but not for ever.
#[track_caller]
pub(crate) fn within<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match timeout(PATIENCE, future).await {
            Ok(output) => output,
            Err(_) => panic!("not within {PATIENCE:?}, asked for at {caller}: {what}"),
        }
    }
}

/// Asks again until the answer is yes. What it asks takes a round trip, so the loop does not spin.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !within(what, is_so()).await {
        assert!(Instant::now() < deadline, "not so after {PATIENCE:?}: {what}");
        tokio::task::yield_now().await;
    }
}

/// A number as the protocol has it.
pub(crate) fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("tests use small numbers")
}

/// A time to wait that outlives every test, as Fetch and Dequeue take it.
pub(crate) const LONG_WAIT_MS: u32 = connectify::limits::MAX_WAIT_MS;

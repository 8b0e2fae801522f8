//! One connection: read frames, admit them, hand them to dispatch; write what is in the outbox.
//!
//! # Invariants
//! - What of a frame is in memory has its place in a budget, but for the first 2 KiB.
//! - Requests reach the broker in the order of their arrival.
//! - When the session ends, every request it admitted has been answered or the peer is gone.

mod admission;
mod handshake;
mod liveness;
mod outbound;
mod outbox;
mod pace;
mod reader;
mod subscription;
#[cfg(test)]
mod tests;
mod writer;

pub(super) use admission::{Admitted, InboundBudget};
pub(super) use outbound::OutboundBudget;
pub(super) use outbox::{Held, Outbox};
pub(super) use pace::Vain;
pub(super) use reader::HasLeft;
pub(super) use subscription::{Subscription, Subscriptions, read_within, reserve};

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    sync::Mutex,
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{dispatch, shared::Shared, turned_away::is_fault_of_the_peer};
use crate::{
    limits::{HANDSHAKE_TIMEOUT, MAX_IN_FLIGHT_REQUESTS, SHUTDOWN_TIMEOUT, WRITE_STALL_TIMEOUT},
    protocol::{ErrorBody, ErrorCode, encode_request},
};
use admission::Admission;
use pace::Pace;
use reader::Reader;

/// How long and how much to go on reading after a GoAway: closing at once would reset the connection, and the peer
/// would not see why.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// What the tasks of one connection share.
pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) subscriptions: Subscriptions,
    pub(super) vain: Vain,
    /// Largest frame that the peer takes.
    pub(super) max_frame_bytes: usize,
    /// Taken by whoever reads from the log for this connection.
    pub(super) turn: Mutex<()>,
    /// Cancelled when nothing is waited for any more: the peer sends no more, or the server stops.
    pub(super) finishing: CancellationToken,
    /// Cancelled when nothing more is to be sent.
    pub(super) ended: CancellationToken,
}

/// Why a session ends.
pub(super) enum End {
    /// The connection broke.
    Gone,
    /// The peer sends no more, and may wait for answers.
    Finished,
    /// The server closes it, and says why.
    GoAway(ErrorBody),
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

impl<E: Into<ErrorBody>> From<E> for End {
    fn from(error: E) -> Self {
        Self::GoAway(error.into())
    }
}

/// Serves one connection until it ends.
pub(super) async fn run<R, W>(shared: Arc<Shared>, stream: R, has_left: HasLeft<R>, sink: W, peer: SocketAddr)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let outbox = Arc::new(Outbox::default());
    let mut writer = tokio::spawn(writer::run(sink, outbox.clone(), shared.outbound.clone()));
    let ended = CancellationToken::new();
    let mut reader = Reader::new(stream, has_left, shared.stopping.clone(), shared.inbound.clone());
    let end = tokio::select! {
        biased;
        end = serve(&shared, &mut reader, &outbox, &ended) => end,
        // It ends first when the peer takes nothing: whatever else the peer sends cannot be answered.
        _ = &mut writer => End::Gone,
    };
    ended.cancel();
    let last = if let End::GoAway(error) = &end {
        tracing::debug!(%peer, code = error.code, message = error.message, "closing the connection");
        if is_fault_of_the_peer(error.known()) && shared.config.has_pacing {
            reader.forget();
            shared.stopping.run_until_cancelled(shared.turned_away.turn()).await;
        }
        Some(encode_request(error, 0, Vec::new()))
    } else {
        None
    };
    outbox.close(last);
    finish(end, reader, writer).await;
}

async fn serve<R: AsyncRead + Unpin>(
    shared: &Arc<Shared>,
    reader: &mut Reader<R>,
    outbox: &Arc<Outbox>,
    ended: &CancellationToken,
) -> End {
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake::run(shared, reader, outbox));
    let max_frame_bytes = match handshake.await {
        Ok(Ok(max_frame_bytes)) => max_frame_bytes,
        Ok(Err(end)) => return end,
        Err(_) => {
            let message = format!("no Hello within {} s", HANDSHAKE_TIMEOUT.as_secs());
            return End::GoAway(ErrorBody::new(ErrorCode::TooSlow, message, Vec::new()));
        }
    };
    reader.set_max_frame_bytes(max_frame_bytes);
    let context = Arc::new(Context {
        shared: shared.clone(),
        outbox: outbox.clone(),
        subscriptions: Subscriptions::default(),
        vain: Vain::default(),
        max_frame_bytes,
        turn: Mutex::new(()),
        finishing: shared.stopping.child_token(),
        ended: ended.clone(),
    });
    let admission = Admission::new(shared.inbound.clone());
    let end = requests(&context, reader, &admission).await;
    let is_orderly = match &end {
        End::Gone => false,
        End::Finished => true,
        End::GoAway(error) => error.known() == Some(ErrorCode::ShuttingDown),
    };
    if is_orderly {
        // What was accepted is answered before the connection is closed; what waits for records waits no more.
        context.finishing.cancel();
        drop(tokio::time::timeout(SHUTDOWN_TIMEOUT, admission.all_answered()).await);
    }
    end
}

/// Reads requests until the session ends.
async fn requests<R: AsyncRead + Unpin>(context: &Arc<Context>, reader: &mut Reader<R>, admission: &Admission) -> End {
    let mut pace = Pace::new(Instant::now());
    loop {
        let (frame, admitted) = match reader.next(admission, &context.outbox).await {
            Ok(next) => next,
            Err(end) => return end,
        };
        let handling = dispatch::dispatch(context, frame, admitted);
        if let Err(end) = reader.deaf(handling).await {
            return end;
        }
        if let Some(pause) = pace.pause(&context.vain).filter(|_| context.shared.config.has_pacing)
            && let Err(end) = reader.pause(&context.outbox, pause).await
        {
            return end;
        }
    }
}

/// Sends what is left, and lets the peer read it.
async fn finish<R: AsyncRead + Unpin>(end: End, mut reader: Reader<R>, writer: JoinHandle<()>) {
    if matches!(end, End::Gone) {
        return writer.abort();
    }
    let abort = writer.abort_handle();
    if tokio::time::timeout(WRITE_STALL_TIMEOUT.min(SHUTDOWN_TIMEOUT / 2), writer).await.is_err() {
        return abort.abort();
    }
    let linger = async {
        let (mut stream, mut rest) = (reader.stream_mut().take(LINGER_BYTES as u64), [0; 1024]);
        while let Ok(1..) = stream.read(&mut rest).await {}
    };
    drop(tokio::time::timeout(LINGER, linger).await);
}

const _: () = assert!(MAX_IN_FLIGHT_REQUESTS <= u32::MAX as usize);

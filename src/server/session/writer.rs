//! Writing the outbox to the socket: small frames joined, batches as they are.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::Instant,
};

use super::{
    outbound::OutboundBudget,
    outbox::{Outbox, Outgoing},
};
use crate::limits::{WRITE_STALL_TIMEOUT, WRITE_STALL_UNDER_PRESSURE};

/// Pieces shorter than this are copied together rather than handed to the system one by one.
const JOIN_BYTES: usize = 4096;
/// Pieces for one call of the system.
const MAX_PIECES: usize = 64;

/// Writes until the outbox is closed and empty, or the peer takes nothing any more.
///
/// A peer that takes nothing is given [`WRITE_STALL_TIMEOUT`], but less when others wait for the budget that it holds.
pub(super) async fn run(mut sink: impl AsyncWrite + Unpin, outbox: Arc<Outbox>, budget: OutboundBudget) {
    while let Some(frames) = outbox.take().await {
        // The budgets of these frames are given back when they are written.
        if write_all(&mut sink, &frames, &budget).await.is_none() {
            return outbox.close(None);
        }
    }
    drop(sink.shutdown().await);
}

async fn write_all(sink: &mut (impl AsyncWrite + Unpin), frames: &[Outgoing], budget: &OutboundBudget) -> Option<()> {
    let mut pieces = join(frames);
    let mut first = 0;
    while first < pieces.len() {
        let mut written = write_in_time(sink, &pieces[first..], budget).await?;
        while written > 0 {
            let count = written.min(pieces[first].len());
            pieces[first].advance(count);
            written -= count;
            if pieces[first].is_empty() {
                first += 1;
            }
        }
    }
    Some(())
}

/// Writes something; `None` when the connection broke or the peer took nothing for too long.
async fn write_in_time(
    sink: &mut (impl AsyncWrite + Unpin),
    pieces: &[Bytes],
    budget: &OutboundBudget,
) -> Option<usize> {
    let started = Instant::now();
    loop {
        // Trying again is safe: a write that is given up has written nothing.
        match tokio::time::timeout(WRITE_STALL_UNDER_PRESSURE, write(sink, pieces)).await {
            Ok(written) => return written.ok().filter(|written| *written > 0),
            Err(_) if started.elapsed() >= WRITE_STALL_TIMEOUT || budget.is_nearly_spent() => {
                return None;
            }
            Err(_) => {}
        }
    }
}

/// One call of the system.
async fn write(sink: &mut (impl AsyncWrite + Unpin), pieces: &[Bytes]) -> io::Result<usize> {
    if let [piece] = pieces {
        return sink.write(piece).await;
    }
    let slices: Vec<_> = pieces.iter().take(MAX_PIECES).map(|piece| IoSlice::new(piece)).collect();
    sink.write_vectored(&slices).await
}

fn join(frames: &[Outgoing]) -> Vec<Bytes> {
    let (mut pieces, mut small) = (Vec::new(), BytesMut::new());
    let all = frames.iter().flat_map(|outgoing| std::iter::once(&outgoing.frame.front).chain(&outgoing.frame.batches));
    for piece in all.filter(|piece| !piece.is_empty()) {
        if piece.len() < JOIN_BYTES {
            small.extend_from_slice(piece);
            continue;
        }
        if !small.is_empty() {
            pieces.push(small.split().freeze());
        }
        pieces.push(piece.clone());
    }
    if !small.is_empty() {
        pieces.push(small.freeze());
    }
    pieces
}

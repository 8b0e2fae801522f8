//! The task that owns the socket: reads frames, writes frames, notices silence.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, ReadHalf, WriteHalf, split},
    time::timeout,
};

use super::{
    inbound, keepalive,
    outbound::WriteBuffer,
    shared::{Phase, Shared},
};
use crate::{
    client::{error::Disconnect, transport::BoxTransport},
    protocol::FrameDecoder,
};

/// Room for at least this is there before a read...
const MIN_READ_BYTES: usize = 16 * 1024;
/// ...and this much is made when it is not.
const READ_BUFFER_BYTES: usize = 128 * 1024;
/// A socket that takes no more bytes may still hold answers, and why it was closed: how long to read them.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs a connection to its end. `rest` is what arrived behind the answer to Hello.
pub(super) async fn run(transport: BoxTransport, rest: BytesMut, shared: Arc<Shared>) {
    let on_drop = CloseOnDrop(&shared);
    let (reader, writer) = split(transport);
    let mut receiving = std::pin::pin!(receive(reader, rest, &shared));
    let why = tokio::select! {
        biased;
        _ = shared.wait_for_phase(|phase| matches!(phase, Phase::Closed(_))) => Disconnect::Abandoned,
        why = &mut receiving => why,
        why = send(writer, &shared) => timeout(LAST_WORDS, receiving).await.unwrap_or(why),
        why = keepalive::watch(&shared) => why,
    };
    shared.close(why);
    drop(on_drop);
}

async fn receive(mut reader: ReadHalf<BoxTransport>, mut buffer: BytesMut, shared: &Shared) -> Disconnect {
    let mut decoder = FrameDecoder::new(shared.granted().max_frame_bytes);
    loop {
        loop {
            match decoder.decode(&mut buffer) {
                Ok(None) => break,
                Ok(Some(frame)) => match inbound::accept(shared, frame) {
                    Ok(()) => {}
                    Err(why) => return why,
                },
                Err(error) => return Disconnect::violation(error.to_string()),
            }
        }
        if buffer.capacity() - buffer.len() < MIN_READ_BYTES {
            buffer.reserve(READ_BUFFER_BYTES);
        }
        match reader.read_buf(&mut buffer).await {
            Ok(0) => return Disconnect::Closed,
            Ok(_) => shared.heard(),
            Err(error) => return error.into(),
        }
    }
}

async fn send(mut writer: WriteHalf<BoxTransport>, shared: &Shared) -> Disconnect {
    let mut buffer = WriteBuffer::default();
    loop {
        shared.fill(&mut buffer).await;
        if let Err(error) = buffer.write_once(&mut writer).await {
            return error.into();
        }
    }
}

/// A runtime that shuts down drops its tasks: also then nobody is left waiting.
struct CloseOnDrop<'a>(&'a Shared);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close(Disconnect::Abandoned);
    }
}

//! Writing frames: small pieces are put together, large batches go out from where they are.

use std::{collections::VecDeque, io, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::protocol::OutFrame;

/// A piece smaller than this is copied: cheaper than a slice of its own.
const MIN_SLICE_BYTES: usize = 4096;
/// Slices per write.
const MAX_SLICES: usize = 64;

/// Bytes on their way to the socket.
#[derive(Default)]
pub(super) struct WriteBuffer {
    pieces: VecDeque<Bytes>,
    /// Small pieces after the last of `pieces`.
    small: BytesMut,
    size: usize,
}

impl WriteBuffer {
    /// Bytes not written yet.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Adds a frame at the end.
    pub(super) fn push(&mut self, frame: OutFrame) {
        self.size += frame.size();
        for piece in std::iter::once(frame.front).chain(frame.batches) {
            if piece.len() < MIN_SLICE_BYTES {
                self.small.extend_from_slice(&piece);
            } else {
                self.seal();
                self.pieces.push_back(piece);
            }
        }
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push_back(self.small.split().freeze());
        }
    }

    /// Writes once, as much as the socket takes; flushes when that was all.
    pub(super) async fn write_once(&mut self, socket: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        self.seal();
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let used = self.pieces.len().min(MAX_SLICES);
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
        }
        let written = socket.write_vectored(&slices[..used]).await?;
        if written == 0 && self.size > 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.advance(written);
        match self.size {
            0 => socket.flush().await,
            _ => Ok(()),
        }
    }

    fn advance(&mut self, mut written: usize) {
        self.size -= written;
        while let Some(front) = self.pieces.front_mut() {
            let taken = written.min(front.len());
            front.advance(taken);
            written -= taken;
            if !front.is_empty() {
                return;
            }
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn frames_come_out_as_they_went_in_whatever_the_socket_takes() {
        let piece = |bytes: usize, fill: u8| Bytes::from(vec![fill; bytes]);
        let frames: Vec<OutFrame> = (0..100u8)
            .map(|n| OutFrame {
                front: piece(20, n),
                batches: vec![piece(usize::from(n) * 100, n), piece(5000, 255 - n), Bytes::new()],
            })
            .collect();
        let expected: Vec<u8> = frames.iter().flat_map(|frame| frame.to_bytes()).collect();
        for room in [1000, 1 << 22] {
            let (mut near, mut far) = tokio::io::duplex(room);
            let mut buffer = WriteBuffer::default();
            frames.iter().for_each(|frame| buffer.push(frame.clone()));
            assert_eq!(buffer.size(), expected.len());
            let writer = async {
                while buffer.size() > 0 {
                    buffer.write_once(&mut near).await.expect("the pipe is open");
                }
                drop(near);
            };
            let mut found = Vec::new();
            let (_, read) = tokio::join!(writer, far.read_to_end(&mut found));
            read.expect("the pipe is open");
            assert!(found == expected);
        }
    }
}

//! A network, or a server, that says things twice: frames of the server come again, at once or late.

use bytes::{Buf as _, Bytes, BytesMut};

use super::super::Rng;

/// The length field of a frame, which its length does not count.
const LENGTH_BYTES: usize = 4;
/// Frames that may come again late.
const KEPT: usize = 8;

/// Passes frames on, and repeats one of them.
pub(super) struct Replay {
    /// Frames to pass before.
    countdown: u64,
    /// A frame that is not complete.
    arriving: BytesMut,
    passed: Vec<Bytes>,
}

impl Replay {
    /// Repeats a frame once, behind this many.
    pub(super) fn after(frames: u64) -> Self {
        Self { countdown: frames, arriving: BytesMut::new(), passed: Vec::new() }
    }

    /// Takes what the server sends, and gives whole frames; also says what it repeated.
    pub(super) fn pass(&mut self, bytes: &[u8], rng: &mut Rng) -> (Bytes, Option<String>) {
        self.arriving.extend_from_slice(bytes);
        let (mut out, mut said) = (BytesMut::new(), None);
        while let Some(frame) = self.next_frame() {
            out.extend_from_slice(&frame);
            if self.passed.len() == KEPT {
                self.passed.remove(0);
            }
            self.passed.push(frame);
            if self.countdown == 0 {
                let which = if rng.percent(50) { self.passed.len() - 1 } else { rng.index(self.passed.len()) };
                out.extend_from_slice(&self.passed[which]);
                let age = self.passed.len() - 1 - which;
                said = Some(format!("Server repeats a frame of {} bytes, {age} later", self.passed[which].len()));
                self.countdown = u64::MAX;
            }
            self.countdown -= 1;
        }
        (out.freeze(), said)
    }

    fn next_frame(&mut self) -> Option<Bytes> {
        let length = self.arriving.get(..LENGTH_BYTES)?.get_u32_le();
        let length = LENGTH_BYTES + usize::try_from(length).expect("at least 32 bits");
        (self.arriving.len() >= length).then(|| self.arriving.split_to(length).freeze())
    }
}

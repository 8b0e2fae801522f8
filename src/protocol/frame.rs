//! Frames: a length, what the frame is, and a body (protocol.md section 3).
//!
//! ```text
//!  0  length          u32   bytes after this field, 8 or more
//!  4  opcode          u16   top bit: answer
//!  6  version         u8    of the message, 1
//!  7  flags           u8    bit 0: the answer is an error
//!  8  correlation id  u32   chosen by the asker, 0 for what nobody asked for
//! 12  body                  control fields, then batches as they are stored
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Opcode;
use crate::limits::{FRAME_HEADER_BYTES, MAX_HANDSHAKE_FRAME_BYTES};

const LENGTH_BYTES: usize = 4;
/// The decoder asks for no more room than this ahead of the bytes that have arrived.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// Bits of a frame's flags.
pub mod flags {
    /// The answer is an [`ErrorBody`](super::super::ErrorBody).
    pub const ERROR: u8 = 1;
}

/// The version of every message so far.
const MESSAGE_VERSION: u8 = 1;

/// What stands between a frame's length and its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Number of the message, without the answer bit.
    pub opcode: u16,
    /// Whether the frame answers.
    pub is_answer: bool,
    /// Version of the message.
    pub version: u8,
    /// See [`flags`].
    pub flags: u8,
    /// Which request it is, or answers.
    pub correlation_id: u32,
}

impl FrameHeader {
    /// The header of a request.
    #[must_use]
    pub fn request(opcode: Opcode, correlation_id: u32) -> Self {
        Self { opcode: opcode as u16, is_answer: false, version: MESSAGE_VERSION, flags: 0, correlation_id }
    }

    /// The header of an answer.
    #[must_use]
    pub fn answer(opcode: Opcode, correlation_id: u32) -> Self {
        Self { is_answer: true, ..Self::request(opcode, correlation_id) }
    }

    /// The header of the refusal of this request.
    #[must_use]
    pub fn refusal(self) -> Self {
        Self { is_answer: true, version: MESSAGE_VERSION, flags: flags::ERROR, ..self }
    }

    /// Whether the body is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.flags & flags::ERROR != 0
    }

    /// Whether this build knows the version of the message.
    #[must_use]
    pub fn has_known_version(&self) -> bool {
        self.version == MESSAGE_VERSION
    }
}

/// A frame as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub header: FrameHeader,
    /// Control fields, then batches.
    pub body: Bytes,
}

/// A frame about to be sent: its front in one piece, the batches shared with whoever else holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutFrame {
    /// Length, header and control fields.
    pub front: Bytes,
    /// Batches, in order.
    pub batches: Vec<Bytes>,
}

impl OutFrame {
    /// Bytes on the wire.
    #[must_use]
    pub fn size(&self) -> usize {
        self.front.len() + self.batches.iter().map(Bytes::len).sum::<usize>()
    }

    /// The frame with this header, control body and batches.
    ///
    /// # Panics
    /// When it is over 4 GiB; callers stay under the negotiated limit.
    #[must_use]
    pub fn new(header: FrameHeader, control: &[u8], batches: Vec<Bytes>) -> Self {
        let length = FRAME_HEADER_BYTES + control.len() + batches.iter().map(Bytes::len).sum::<usize>();
        let mut front = BytesMut::with_capacity(LENGTH_BYTES + FRAME_HEADER_BYTES + control.len());
        front.put_u32_le(u32::try_from(length).expect("callers keep frames under the negotiated limit"));
        front.put_u16_le(header.opcode | if header.is_answer { Opcode::ANSWER } else { 0 });
        front.put_u8(header.version);
        front.put_u8(header.flags);
        front.put_u32_le(header.correlation_id);
        front.put_slice(control);
        Self { front: front.freeze(), batches }
    }

    /// All bytes in one piece.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.size());
        self.write(&mut out);
        out.freeze()
    }

    /// Appends all bytes to `out`.
    pub fn write(&self, out: &mut BytesMut) {
        out.put_slice(&self.front);
        self.batches.iter().for_each(|batch| out.put_slice(batch));
    }
}

/// Why a connection cannot go on: after a bad frame nobody knows where the next one starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is under 8.
    #[error("frame of {0} bytes is shorter than its header of 8")]
    TooShort(u32),
    /// The length is over the limit in force.
    #[error("frame of {bytes} bytes exceeds limit of {limit}")]
    TooLarge {
        /// What the frame's length says.
        bytes: u32,
        /// The limit in force.
        limit: usize,
    },
    /// Reserved flags are set.
    #[error("frame has unknown flags {0:#04x}")]
    Flags(u8),
}

/// Cuts a stream of bytes into frames, whatever pieces they arrive in.
#[derive(Clone, Debug)]
pub struct FrameDecoder {
    max_frame_bytes: usize,
}

impl Default for FrameDecoder {
    /// With the limit that holds until Hello is answered.
    fn default() -> Self {
        Self { max_frame_bytes: MAX_HANDSHAKE_FRAME_BYTES }
    }
}

impl FrameDecoder {
    /// A decoder with this limit on a frame's length.
    #[must_use]
    pub fn new(max_frame_bytes: usize) -> Self {
        Self { max_frame_bytes }
    }

    /// Sets the limit, once both sides agreed on one.
    pub fn set_max_frame_bytes(&mut self, bytes: usize) {
        self.max_frame_bytes = bytes;
    }

    /// Bytes of the frame at the front, its length field included, once that field is there.
    ///
    /// # Errors
    /// [`FrameError`] when the length is not allowed, before any memory is set aside for it.
    pub fn frame_bytes(&self, buffer: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length);
        let bytes = length as usize;
        if bytes < FRAME_HEADER_BYTES {
            return Err(FrameError::TooShort(length));
        }
        if bytes > self.max_frame_bytes {
            return Err(FrameError::TooLarge { bytes: length, limit: self.max_frame_bytes });
        }
        Ok(Some(LENGTH_BYTES + bytes))
    }

    /// Takes the frame at the front of `buffer`, if all of it is there. The body shares the buffer's memory.
    ///
    /// Makes room for the rest of a frame a piece at a time, so that memory grows with what really arrives.
    ///
    /// # Errors
    /// [`FrameError`] when the connection cannot go on.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(bytes) = self.frame_bytes(buffer)? else {
            return Ok(None);
        };
        if buffer.len() < bytes {
            let missing = bytes - buffer.len();
            buffer.reserve(missing.min(READ_AHEAD_BYTES.max(buffer.len())));
            return Ok(None);
        }
        let mut frame = buffer.split_to(bytes).freeze();
        frame.advance(LENGTH_BYTES);
        let opcode = frame.get_u16_le();
        let header = FrameHeader {
            opcode: opcode & !Opcode::ANSWER,
            is_answer: opcode & Opcode::ANSWER != 0,
            version: frame.get_u8(),
            flags: frame.get_u8(),
            correlation_id: frame.get_u32_le(),
        };
        if header.flags & !flags::ERROR != 0 || (header.is_error() && !header.is_answer) {
            return Err(FrameError::Flags(header.flags));
        }
        Ok(Some(Frame { header, body: frame }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut out = BytesMut::new();
        for (id, body) in (1..).zip(bodies) {
            OutFrame::new(FrameHeader::request(Opcode::Ping, id), body, Vec::new()).write(&mut out);
        }
        out.to_vec()
    }

    fn decode_all(decoder: &mut FrameDecoder, buffer: &mut BytesMut) -> Result<Vec<Frame>, FrameError> {
        std::iter::from_fn(|| decoder.decode(buffer).transpose()).collect()
    }

    proptest! {
        #[test]
        fn frames_are_the_same_however_the_bytes_are_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..6),
            cuts in prop::collection::vec(1usize..20, 1..40),
        ) {
            let bytes = encoded(&bodies);
            let whole = decode_all(&mut FrameDecoder::default(), &mut BytesMut::from(&bytes[..]));
            let (mut decoder, mut buffer, mut found) = (FrameDecoder::default(), BytesMut::new(), Vec::new());
            let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*cuts.next().expect("a cycle")));
                buffer.extend_from_slice(piece);
                found.extend(decode_all(&mut decoder, &mut buffer).expect("well formed"));
                rest = after;
            }
            prop_assert_eq!(found.iter().map(|f| f.body.to_vec()).collect::<Vec<_>>(), bodies);
            prop_assert_eq!(Ok(found), whole);
        }
    }

    #[test]
    fn lengths_are_judged_before_memory_is_reserved() {
        for (length, error) in [
            (0, FrameError::TooShort(0)),
            (7, FrameError::TooShort(7)),
            (4097, FrameError::TooLarge { bytes: 4097, limit: 4096 }),
            (u32::MAX, FrameError::TooLarge { bytes: u32::MAX, limit: 4096 }),
        ] {
            let mut buffer = BytesMut::from(&length.to_le_bytes()[..]);
            assert_eq!(FrameDecoder::default().decode(&mut buffer), Err(error));
            assert!(buffer.capacity() < 100);
        }
    }

    #[test]
    fn memory_grows_with_what_arrives_not_with_what_is_announced() {
        let mut buffer = BytesMut::from(&(8u32 << 20).to_le_bytes()[..]);
        assert_eq!(FrameDecoder::new(8 << 20).decode(&mut buffer), Ok(None));
        assert!(buffer.capacity() <= READ_AHEAD_BYTES + LENGTH_BYTES);
    }

    #[test]
    fn unknown_flags_end_the_connection() {
        let frame = |flags| FrameHeader { flags, ..FrameHeader::request(Opcode::Ping, 1) };
        for flags in [1, 2, 0x80] {
            let mut buffer = BytesMut::from(&OutFrame::new(frame(flags), b"", Vec::new()).to_bytes()[..]);
            assert_eq!(FrameDecoder::default().decode(&mut buffer), Err(FrameError::Flags(flags)));
        }
    }
}

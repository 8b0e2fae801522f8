//! The frame decoder as a tokio-util codec, for whoever frames a socket with `Framed`.

use std::io;

use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

use super::{Frame, FrameDecoder, OutFrame};

/// Decodes [`Frame`]s and encodes [`OutFrame`]s. The preface is not part of it.
#[derive(Clone, Debug, Default)]
pub struct FrameCodec {
    decoder: FrameDecoder,
}

impl FrameCodec {
    /// A codec with this limit on a frame's length; the default one has the limit that holds before Hello.
    #[must_use]
    pub fn new(max_frame_bytes: usize) -> Self {
        Self { decoder: FrameDecoder::new(max_frame_bytes) }
    }

    /// Sets the limit, once both sides agreed on one.
    pub fn set_max_frame_bytes(&mut self, bytes: usize) {
        self.decoder.set_max_frame_bytes(bytes);
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
        self.decoder.decode(buffer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl Encoder<OutFrame> for FrameCodec {
    type Error = io::Error;

    fn encode(&mut self, frame: OutFrame, out: &mut BytesMut) -> io::Result<()> {
        frame.write(out);
        Ok(())
    }
}

//! Streams of frames.

use bytes::BytesMut;

use crate::{
    limits::MAX_FRAME_BYTES,
    protocol::{Frame, FrameDecoder, FrameError, OutFrame},
};

/// Frames are the same whether bytes arrive at once or in pieces, and encode to the bytes they were decoded from.
///
/// The first byte is the length of the pieces.
pub fn frame(data: &[u8]) {
    let Some((&piece_bytes, stream)) = data.split_first() else { return };
    let whole = decode_frames([stream]);
    let pieces = decode_frames(stream.chunks(usize::from(piece_bytes).max(1)));
    assert_eq!(whole, pieces);
    let encoded: Vec<u8> =
        whole.0.iter().flat_map(|f| OutFrame::new(f.header, &f.body, Vec::new()).to_bytes()).collect();
    assert!(stream.starts_with(&encoded), "frames encode to other bytes than they came from");
}

fn decode_frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<FrameError>) {
    let (mut decoder, mut buffer, mut frames) = (FrameDecoder::new(MAX_FRAME_BYTES), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_hold_the_property_of_frames(data: Vec<u8>) {
            frame(&data);
        }

        #[test]
        fn short_frames_hold_the_property_of_frames(piece: u8, bodies in prop::collection::vec((any::<u64>(), 0u8..20), 0..5)) {
            let mut data = vec![piece];
            for (header, length) in bodies {
                data.extend((8 + u32::from(length)).to_le_bytes());
                data.extend(header.to_le_bytes());
                data.resize(data.len() + usize::from(length), length);
            }
            frame(&data);
        }
    }
}

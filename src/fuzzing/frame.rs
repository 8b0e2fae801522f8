//! What a stream of bytes is cut into.

use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

use super::specification::assert_documented;
use crate::{
    limits::{MAX_FRAME_BYTES, MAX_HANDSHAKE_FRAME_BYTES},
    protocol::{
        Frame, FrameCodec, FrameDecoder, FrameError, OutFrame, PREFACE_BYTES, PrefaceError, check_preface, preface,
    },
};

/// What the decoder may set aside ahead of what has arrived, and what a buffer that doubles has to spare.
const SPARE_BYTES: usize = 128 * 1024;

/// Frames are the same whether bytes arrive at once or in pieces, and encode to the bytes they were decoded from. Memory
/// grows with what arrives, not with what is announced.
///
/// The first byte is the length of the pieces; its top bit, the limit before Hello.
pub fn frame(data: &[u8]) {
    let Some((&first, stream)) = data.split_first() else { return };
    preface_is_judged_by_its_bytes(stream);
    let limit = if first & 0x80 == 0 { MAX_FRAME_BYTES } else { MAX_HANDSHAKE_FRAME_BYTES };
    let whole = at_once(stream, limit);
    let pieces = in_pieces(stream.chunks(usize::from(first & 0x7f).max(1)), limit);
    assert_eq!(whole, pieces);
    let (frames, error) = whole;
    error.iter().for_each(assert_documented);
    let mut encoded = BytesMut::new();
    for frame in frames {
        assert!(frame.body.len() <= limit, "a frame is over the limit");
        let again = OutFrame::new(frame.header, &frame.body, Vec::new());
        FrameCodec::default().encode(again, &mut encoded).expect("encoding into memory cannot fail");
    }
    assert!(stream.starts_with(&encoded), "frames encode to other bytes than they came from");
}

type Cut = (Vec<Frame>, Option<FrameError>);

fn at_once(stream: &[u8], limit: usize) -> Cut {
    let (mut decoder, mut buffer, mut frames) = (FrameDecoder::default(), BytesMut::from(stream), Vec::new());
    decoder.set_max_frame_bytes(limit);
    loop {
        match decoder.decode(&mut buffer) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

fn in_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> Cut {
    let (mut codec, mut buffer, mut frames, mut arrived) = (FrameCodec::default(), BytesMut::new(), Vec::new(), 0);
    codec.set_max_frame_bytes(limit);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        arrived += piece.len();
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    let error = error.get_ref().and_then(|error| error.downcast_ref::<FrameError>());
                    return (frames, Some(*error.expect("the codec gives what the decoder says")));
                }
            }
        }
        assert!(buffer.capacity() <= 4 * arrived + SPARE_BYTES, "{} bytes for {arrived}", buffer.capacity());
    }
    (frames, None)
}

/// protocol.md section 2.1: a wrong byte is found as soon as it is there, and nothing before it changes the verdict.
fn preface_is_judged_by_its_bytes(stream: &[u8]) {
    let (expected, version_at) = (preface(), PREFACE_BYTES - 2);
    for end in 0..=stream.len().min(PREFACE_BYTES) {
        let begun = &stream[..end];
        let magic = &begun[..end.min(version_at)];
        let verdict = match begun.get(version_at..PREFACE_BYTES) {
            _ if !expected.starts_with(magic) => Err(PrefaceError::Magic),
            None => Ok(false),
            Some(version) if *version == expected[version_at..] => Ok(true),
            Some(version) => Err(PrefaceError::Version(u16::from_le_bytes([version[0], version[1]]))),
        };
        let judged = check_preface(begun);
        assert_eq!(judged, verdict, "{begun:02x?}");
        judged.iter().for_each(|whole| assert_eq!(*whole, end >= PREFACE_BYTES));
        judged.err().iter().for_each(assert_documented);
    }
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

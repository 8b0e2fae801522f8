//! protocol.md as the independent reader knows it, read once.

use std::{
    fmt::Display,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

use super::independent::{batch::BatchLayout, document::Document, tables::Layouts};
use crate::limits::MAX_FRAME_BYTES;
use crate::protocol::{
    ErrorBody, ErrorCode, Frame, FrameDecoder, FrameHeader, Opcode, OutFrame, decode_answer, encode_error,
};

pub(super) static SPECIFICATION: LazyLock<Specification> = LazyLock::new(|| {
    let document = Document::read();
    Specification { layouts: Layouts::read(&document), batches: BatchLayout::read(&document) }
});

pub(super) struct Specification {
    pub(super) layouts: Layouts,
    pub(super) batches: BatchLayout,
}

/// A refusal has a code that protocol.md lists, and a client reads it as it was meant.
pub(super) fn assert_documented<E: Display>(error: &E)
where
    for<'a> ErrorCode: From<&'a E>,
{
    /// Codes that were seen before. A property is asked millions of times.
    static IS_KNOWN: [AtomicBool; 128] = [const { AtomicBool::new(false) }; 128];
    let code = ErrorCode::from(error);
    if !IS_KNOWN[code as usize].swap(true, Ordering::Relaxed) {
        let is_code = |known: &(u16, String)| known.0 == code as u16 && known.1 == code.name();
        assert!(SPECIFICATION.layouts.codes.iter().any(is_code), "{code:?} is not in protocol.md: {error}");
        assert_readable(code, &error.to_string());
    }
}

fn assert_readable(code: ErrorCode, text: &str) {
    let sent = ErrorBody::new(code, text, vec![1, u64::MAX]);
    let asked = FrameHeader::request(Opcode::Append, 7);
    let frame = one_frame(&encode_error(asked, &sent));
    assert_eq!(frame.header, asked.refusal());
    let (received, _) = decode_answer::<ErrorBody>(&frame).expect("it was just encoded");
    assert_eq!(received, sent);
    assert_eq!((received.known(), received.facts), (Some(code), code.facts()));
    assert_eq!(received.message, text, "the text of an error fits its limit");
}

/// The frame, as it arrives.
pub(super) fn one_frame(sent: &OutFrame) -> Frame {
    let mut buffer = bytes::BytesMut::from(sent.to_bytes());
    let frame = FrameDecoder::new(MAX_FRAME_BYTES).decode(&mut buffer).expect("a frame of ours");
    assert!(buffer.is_empty(), "a frame ends where its length says");
    frame.expect("all of it is there")
}

//! From messages to frames and back: control fields by [`super::body`], batches behind them untouched.

use bincode::{Decode, Encode};
use bytes::Bytes;

use super::{BodyError, ErrorBody, Frame, FrameHeader, Opcode, OutFrame, decode_body, encode_body};

/// The body of a request.
pub trait Request: Encode + Decode<()> {
    /// Its number.
    const OPCODE: Opcode;
    /// What answers it.
    type Answer: Answer;

    /// Lengths of the batches behind the control fields, in order.
    fn batch_lengths(&self) -> Vec<u32> {
        Vec::new()
    }
}

/// The body of an answer.
pub trait Answer: Encode + Decode<()> {
    /// Lengths of the batches behind the control fields, in order.
    fn batch_lengths(&self) -> Vec<u32> {
        Vec::new()
    }
}

/// A request as a frame. `batches` are the ones whose lengths the request lists.
#[must_use]
pub fn encode_request<R: Request>(request: &R, correlation_id: u32, batches: Vec<Bytes>) -> OutFrame {
    debug_assert!(lengths_agree(&request.batch_lengths(), &batches), "the request lists the batches it comes with");
    OutFrame::new(FrameHeader::request(R::OPCODE, correlation_id), &encode_body(request), batches)
}

/// An answer as a frame. `batches` are the ones whose lengths the answer lists.
#[must_use]
pub fn encode_answer<A: Answer>(opcode: Opcode, correlation_id: u32, answer: &A, batches: Vec<Bytes>) -> OutFrame {
    debug_assert!(lengths_agree(&answer.batch_lengths(), &batches), "the answer lists the batches it comes with");
    OutFrame::new(FrameHeader::answer(opcode, correlation_id), &encode_body(answer), batches)
}

/// A refusal as a frame.
#[must_use]
pub fn encode_error(asked: FrameHeader, error: &ErrorBody) -> OutFrame {
    OutFrame::new(asked.refusal(), &encode_body(error), Vec::new())
}

/// The request in a frame, and the batches behind it, which share the frame's memory.
///
/// # Errors
/// [`BodyError`] when the body is not what protocol.md says for this message.
pub fn decode_request<R: Request>(frame: &Frame) -> Result<(R, Vec<Bytes>), BodyError> {
    let (request, used) = decode_body::<R>(&frame.body)?;
    let batches = split(frame.body.slice(used..), &request.batch_lengths())?;
    Ok((request, batches))
}

/// The answer in a frame, and the batches behind it, which share the frame's memory.
///
/// # Errors
/// [`BodyError`] when the body is not what protocol.md says for this message.
pub fn decode_answer<A: Answer>(frame: &Frame) -> Result<(A, Vec<Bytes>), BodyError> {
    let (answer, used) = decode_body::<A>(&frame.body)?;
    let batches = split(frame.body.slice(used..), &answer.batch_lengths())?;
    Ok((answer, batches))
}

impl Answer for ErrorBody {}

fn split(mut rest: Bytes, lengths: &[u32]) -> Result<Vec<Bytes>, BodyError> {
    let expected = lengths.iter().map(|&length| length as usize).sum();
    if rest.len() != expected {
        return Err(BodyError::Length { expected, actual: rest.len() });
    }
    Ok(lengths.iter().map(|&length| rest.split_to(length as usize)).collect())
}

fn lengths_agree(lengths: &[u32], batches: &[Bytes]) -> bool {
    lengths.iter().map(|&length| length as usize).eq(batches.iter().map(Bytes::len))
}

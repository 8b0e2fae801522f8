//! There is one form of each message and no other.

use super::{
    messages::{Kind, Message, frame_of},
    specification::assert_documented,
};
use crate::{
    limits::{FRAME_HEADER_BYTES, MAX_MESSAGE_BYTES},
    protocol::{ErrorBody, ErrorCode, OutFrame, encode_body},
};

const LENGTH_AND_HEADER_BYTES: usize = 4 + FRAME_HEADER_BYTES;

/// What a body decodes to encodes to the same bytes, and these decode to the same.
///
/// The first byte says which message.
pub fn bodies(data: &[u8]) {
    if let Some((kind, body)) = Kind::choose(data) {
        (kind.is_canonical)(body);
        refusals_are_short(data[0], body);
    }
}

/// Whatever an error is about, it fits into the answer that tells it, with the facts of its code.
fn refusals_are_short(first: u8, body: &[u8]) {
    let code = ErrorCode::from_number(first.into()).unwrap_or(ErrorCode::Internal);
    let text = String::from_utf8_lossy(body);
    let refusal = ErrorBody::new(code, text.repeat(1 + 2 * MAX_MESSAGE_BYTES / (1 + text.len())), Vec::new());
    assert!(refusal.message.len() <= MAX_MESSAGE_BYTES, "{refusal:?}");
    assert_eq!(refusal.known(), Some(code));
    assert!(!refusal.is(ErrorBody::MAY_HAVE_APPLIED) || refusal.is(ErrorBody::RETRYABLE), "{refusal:?}");
    is_canonical::<ErrorBody>(&encode_body(&refusal));
}

pub(super) fn is_canonical<M: Message>(body: &[u8]) {
    let (message, batches) = match M::decode(&frame_of(body)) {
        Ok(decoded) => decoded,
        Err(error) => return assert_documented(&error),
    };
    // What a message holds is in its body: nothing grows while it is decoded.
    assert!(batches.iter().map(|batch| batch.len()).sum::<usize>() <= body.len());
    let again = control_and_batches(&message.encode(batches.clone()));
    assert_eq!(again, body, "a message encodes to other bytes than it came from");
    assert_eq!(M::decode(&frame_of(&again)), Ok((message, batches)));
}

fn control_and_batches(frame: &OutFrame) -> Vec<u8> {
    frame.to_bytes()[LENGTH_AND_HEADER_BYTES..].to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_hold_the_property_of_bodies(message: u8, body in prop::collection::vec(any::<u8>(), 0..80)) {
            bodies(&[&[message], &body[..]].concat());
        }
    }
}

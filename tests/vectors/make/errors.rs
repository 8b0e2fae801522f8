//! The body of an error for every code.

use connectify::protocol::ErrorCode;
use serde_json::json;

use super::{Maker, slug};
use crate::vector::{Vector, plain};

/// Codes whose details section 6.3 lists, with numbers as they might be.
const DETAILS: &[(ErrorCode, &[u64])] = {
    use ErrorCode::*;
    &[
        (UnsupportedVersion, &[1]),
        (FrameTooLarge, &[8_388_609, 8_388_608]),
        (FrameTooShort, &[7]),
        (TooManyConnections, &[16_384]),
        (AnswerTooLarge, &[70_000, 65_472]),
        (LimitExceeded, &[60_001, 60_000]),
        (UnknownTopic, &[0]),
        (UnknownProducer, &[0]),
        (ProducerNotForTopic, &[1]),
        (ProducerFenced, &[0, 4]),
        (SequenceGap, &[0, 40]),
        (SequenceOverlap, &[2, 1 << 40]),
        (BatchMalformed, &[0]),
        (BatchChecksum, &[1]),
        (BatchVersion, &[0]),
        (BatchTooLarge, &[0]),
        (RecordTooLarge, &[0]),
        (UnknownCompression, &[0]),
        (BadCompression, &[0]),
        (CountMismatch, &[0]),
        (BadSequenceRange, &[1_023]),
        (UnknownConsumer, &[3]),
        (CursorMismatch, &[1_001]),
        (OffsetBeforeHead, &[256, 1_000]),
        (OffsetBeyondTail, &[1, 256, 1_000]),
        (TooManySubscriptions, &[256]),
    ]
};

pub(super) fn vectors(maker: &Maker) -> Vec<Vector> {
    let error = |code: u16, facts: u8, message: &str, details: &[u64]| {
        let details: Vec<_> = details.iter().map(|detail| plain(*detail)).collect();
        json!({"code": code, "facts": facts, "message": message, "details": details})
    };
    let mut vectors = maker.bodies(
        "ErrorBody",
        [
            ("of-a-gap-in-the-sequence", error(51, 0, "part 0: sequence starts at 50, expected 40", &[0, 40])),
            ("of-a-code-that-nobody-knows", error(65_535, 0, "", &[])),
            ("with-facts-that-nobody-knows", error(251, 0xff, "from a later version", &[])),
            ("with-a-message-of-512-bytes", error(112, 0, &"m".repeat(512), &[])),
            ("with-a-message-that-is-not-ascii", error(34, 0, "name holds '\u{e9}'", &[])),
            ("with-more-details-than-are-listed", error(81, 0, "cursor is 7", &[7, 8, u64::MAX])),
            ("that-closes-although-its-code-does-not", error(10, 4, "Hello is malformed", &[])),
        ],
    );
    for code in ErrorCode::ALL {
        let details = DETAILS.iter().find(|(known, _)| known == code).map_or(&[][..], |(_, details)| *details);
        let value = error(*code as u16, code.facts(), "what was wrong", details);
        vectors.push(maker.body("ErrorBody", &slug(code.name()), value));
    }
    vectors
}

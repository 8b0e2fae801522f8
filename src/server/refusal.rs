//! Errors of every room as what crosses the wire: the one place where broker errors get their codes. Those of bytes have
//! them from src/protocol/refusal.rs.

use crate::{
    broker,
    protocol::{BodyError, ErrorBody, ErrorCode, FrameError, PrefaceError},
    record::{BatchError, InvalidName},
};

impl From<broker::Error> for ErrorBody {
    fn from(error: broker::Error) -> Self {
        use broker::Error;
        let message = error.to_string();
        let (index, error) = match error {
            Error::Part { index, error } => (Some(index), *error),
            Error::Cursor { index, parts, error } => (Some(parts + index), *error),
            error => (None, error),
        };
        let (code, details) = match &error {
            Error::UnknownTopic(_) => (ErrorCode::UnknownTopic, vec![]),
            Error::TopicExists(_) => (ErrorCode::TopicExists, vec![]),
            Error::InvalidRetention => (ErrorCode::InvalidRetention, vec![]),
            Error::TooManyTopics(_) => (ErrorCode::TooManyTopics, vec![]),
            Error::UnknownProducer(_) => (ErrorCode::UnknownProducer, vec![]),
            Error::ProducerNotForTopic(_) => (ErrorCode::ProducerNotForTopic, vec![]),
            Error::Fenced { current, .. } => (ErrorCode::ProducerFenced, vec![u64::from(*current)]),
            Error::Gap { expected, .. } => (ErrorCode::SequenceGap, vec![expected.0]),
            Error::Overlap { expected, .. } => (ErrorCode::SequenceOverlap, vec![expected.0]),
            Error::TooManyProducers(_) => (ErrorCode::TooManyProducers, vec![]),
            Error::UnknownConsumer(_) => (ErrorCode::UnknownConsumer, vec![]),
            Error::TooManyConsumers(_) => (ErrorCode::TooManyConsumers, vec![]),
            Error::CursorMismatch { cursor, .. } => (ErrorCode::CursorMismatch, vec![cursor.0]),
            Error::BeforeHead { head, tail, .. } => (ErrorCode::OffsetBeforeHead, vec![head.0, tail.0]),
            Error::BeyondTail { head, tail, .. } => (ErrorCode::OffsetBeyondTail, vec![head.0, tail.0]),
            Error::DiskFull { .. } => (ErrorCode::DiskFull, vec![]),
            Error::Indeterminate => (ErrorCode::Indeterminate, vec![]),
            Error::StorageFailed | Error::ReadFailed(_) => (ErrorCode::StorageFailed, vec![]),
            Error::AnswerTooLarge { bytes, limit } => (ErrorCode::AnswerTooLarge, vec![*bytes as u64, *limit as u64]),
            // A subscription and a dequeue tell it as a gap.
            Error::Corrupted(_) | Error::Lost { .. } => (ErrorCode::Corrupted, vec![]),
            Error::ShuttingDown => (ErrorCode::ShuttingDown, vec![]),
            Error::Part { .. } | Error::Cursor { .. } => unreachable!("they hold what is neither of them"),
        };
        Self::new(code, message, index.into_iter().map(|index| index as u64).chain(details).collect())
    }
}

impl From<BatchError> for ErrorBody {
    fn from(error: BatchError) -> Self {
        Self::new(ErrorCode::from(&error), error.to_string(), Vec::new())
    }
}

impl From<FrameError> for ErrorBody {
    fn from(error: FrameError) -> Self {
        let details = match error {
            FrameError::TooShort(bytes) => vec![bytes.into()],
            FrameError::TooLarge { bytes, limit } => vec![bytes.into(), limit as u64],
            FrameError::Flags(_) => vec![],
        };
        Self::new(ErrorCode::from(&error), error.to_string(), details)
    }
}

impl From<PrefaceError> for ErrorBody {
    fn from(error: PrefaceError) -> Self {
        Self::new(ErrorCode::from(&error), error.to_string(), Vec::new())
    }
}

impl From<BodyError> for ErrorBody {
    fn from(error: BodyError) -> Self {
        Self::new(ErrorCode::from(&error), error.to_string(), Vec::new())
    }
}

impl From<InvalidName> for ErrorBody {
    fn from(error: InvalidName) -> Self {
        Self::new(ErrorCode::from(&error), error.to_string(), Vec::new())
    }
}

/// A number is over its limit.
pub(super) fn over_limit(what: &str, value: u64, limit: u64) -> ErrorBody {
    let message = format!("{what} of {value} exceeds limit of {limit}");
    ErrorBody::new(ErrorCode::LimitExceeded, message, vec![value, limit])
}

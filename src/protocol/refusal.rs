//! Which code refuses which fault of bytes (protocol.md sections 3.3, 5.4 and 6.2).
//!
//! What the state of a server refuses has its codes where the state is; these are the faults that bytes have by
//! themselves.

use super::{BodyError, ErrorCode, FrameError, PrefaceError};
use crate::record::{BatchError, InvalidName};

impl From<&PrefaceError> for ErrorCode {
    fn from(error: &PrefaceError) -> Self {
        match error {
            PrefaceError::Magic => Self::BadPreface,
            PrefaceError::Version(_) => Self::UnsupportedVersion,
        }
    }
}

impl From<&FrameError> for ErrorCode {
    fn from(error: &FrameError) -> Self {
        match error {
            FrameError::TooShort(_) => Self::FrameTooShort,
            FrameError::TooLarge { .. } => Self::FrameTooLarge,
            FrameError::Flags(_) => Self::BadFrame,
        }
    }
}

impl From<&BodyError> for ErrorCode {
    fn from(_: &BodyError) -> Self {
        Self::MalformedBody
    }
}

impl From<&InvalidName> for ErrorCode {
    fn from(_: &InvalidName) -> Self {
        Self::InvalidName
    }
}

impl From<&BatchError> for ErrorCode {
    fn from(error: &BatchError) -> Self {
        match error {
            BatchError::Truncated(_) | BatchError::Malformed(_) => Self::BatchMalformed,
            BatchError::Checksum { .. } => Self::BatchChecksum,
            BatchError::Version(_) => Self::BatchVersion,
            BatchError::Compression(_) => Self::UnknownCompression,
            BatchError::Decompress(_) | BatchError::Expands { .. } => Self::BadCompression,
            BatchError::TooLarge { .. } => Self::BatchTooLarge,
            BatchError::RecordTooLarge { .. } => Self::RecordTooLarge,
            BatchError::Count { .. } => Self::CountMismatch,
            BatchError::SequenceRange { .. } => Self::BadSequenceRange,
        }
    }
}

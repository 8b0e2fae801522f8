//! A cursor over bytes that came from a peer or from a disk: every read is checked, nothing is allocated.

use super::{BatchError, varint};

/// Reads fields from the front of a slice.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], BatchError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(BatchError::Truncated(field))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn varint(&mut self, field: &'static str) -> Result<u64, BatchError> {
        let (value, used) = varint::read(self.rest).ok_or(BatchError::Malformed(field))?;
        self.rest = &self.rest[used..];
        Ok(value)
    }

    /// A varint that counts bytes of this same slice, and those bytes.
    pub(super) fn counted(&mut self, field: &'static str) -> Result<&'a [u8], BatchError> {
        let count = self.varint(field)?;
        self.take(usize::try_from(count).unwrap_or(usize::MAX), field)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// What is left, without taking it.
    pub(super) fn peek(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

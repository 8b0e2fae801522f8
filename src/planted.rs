//! Bugs that are planted on purpose, to see whether the tests find them. Without the feature `trial` there are none,
//! and what asks for them is compiled away.

/// A bug that a log queue can have and must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A commit does not wait for the disk.
    SkipSync,
    /// Callers are told before the commit.
    AckBeforeCommit,
    /// Checksums of batches are not looked at when they are read.
    SkipChecksum,
    /// A batch that was stored already is stored again.
    NoDedupe,
    /// Readers see a group before it is durable.
    ReadAhead,
    /// A cursor that moves with an append is committed before it.
    CursorFirst,
    /// Created, renamed and removed files are not made durable in their directory.
    SkipDirectorySync,
    /// Trimming removes one segment more than is dead.
    TrimTooMuch,
    /// The write-ahead log is written over before the journal has what is in it.
    ReuseLog,
    /// What is found in the write-ahead log is taken for durable.
    TrustLog,
    /// Of a half of the write-ahead log with blocks of two segments only the last is folded before it is written over.
    FoldLastOnly,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::SkipSync,
        Self::AckBeforeCommit,
        Self::SkipChecksum,
        Self::NoDedupe,
        Self::ReadAhead,
        Self::CursorFirst,
        Self::SkipDirectorySync,
        Self::TrimTooMuch,
        Self::ReuseLog,
        Self::TrustLog,
        Self::FoldLastOnly,
    ];
}

/// The bug that is planted, if there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    #[cfg(feature = "trial")]
    bug: Option<Bug>,
}

impl Planted {
    /// Plants a bug.
    #[cfg(feature = "trial")]
    #[must_use]
    pub fn one(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }

    /// Whether this bug is planted.
    #[cfg(feature = "trial")]
    pub(crate) fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether this bug is planted: never.
    #[cfg(not(feature = "trial"))]
    pub(crate) const fn has(self, _: Bug) -> bool {
        false
    }
}

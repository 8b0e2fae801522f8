//! What goes wrong for a caller, and the two questions that every caller has: may I try again, and may it have happened?

use std::{borrow::Cow, fmt, io, sync::Arc, time::Duration};

use crate::{
    protocol::{ErrorBody, ErrorCode},
    record::{BatchError, InvalidName, Offset},
};

/// Why a call of this client failed.
///
/// Cheap to clone: one failure may be the answer to many tickets.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused the request, and says why.
    #[error("{0}")]
    Refused(Refusal),
    /// No connection came about in the time that connecting may take.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where to.
        address: Arc<str>,
        /// What ended the last try.
        source: Disconnect,
    },
    /// The connection ended before the answer came, and the request is not one that may be sent again unasked.
    #[error("connection was lost before the answer came")]
    ConnectionLost {
        /// Whether any of the request's bytes had left.
        may_have_applied: bool,
        /// What ended the connection.
        source: Disconnect,
    },
    /// The time that the call may take is over; it may have been spent on connecting again.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// How long that was.
        after: Duration,
        /// Whether any of the request's bytes had left.
        may_have_applied: bool,
        /// What keeps the client from being connected, if that is what the time was spent on.
        source: Option<Disconnect>,
    },
    /// These offsets no longer exist: retention removed them, or the disk lost them.
    ///
    /// It is said once. The consumer stands behind the gap, and the next call goes on from there.
    #[error("offsets {from}..{to} no longer exist")]
    Gap {
        /// First missing.
        from: Offset,
        /// One past the last missing.
        to: Offset,
    },
    /// The record **is stored, once**, but where is not known: it was sent again after a lost connection, and the
    /// server no longer remembers the offsets of what that producer had stored before.
    #[error("the record is stored, its offset is no longer known")]
    OffsetUnknown,
    /// The record, or the records of one call, cannot be a batch. Nothing of it was sent.
    #[error("the record cannot be sent")]
    Record(#[source] BatchError),
    /// A name is not allowed. Nothing was sent.
    #[error("the name of a {what} is not allowed")]
    InvalidName {
        /// Of what.
        what: &'static str,
        /// What is wrong with it.
        source: InvalidName,
    },
    /// An argument makes no sense. Nothing was sent.
    #[error("{0}")]
    InvalidArgument(Cow<'static, str>),
    /// A stored batch arrived with bytes that are not the ones its producer sent.
    #[error("the batch at offset {offset} is damaged")]
    Corrupt {
        /// The offset that the batch should have started with.
        offset: Offset,
        /// What is wrong with it.
        source: BatchError,
    },
    /// The server did what the protocol does not allow.
    #[error("the server broke the protocol: {0}")]
    Violation(Cow<'static, str>),
    /// The server at this address now has other data than the one that this producer or consumer was opened on.
    #[error("the server's data is not the one that was opened: its id was {opened}, is {found}")]
    ServerChanged {
        /// The id of the data at the time of `open`.
        opened: uuid::Uuid,
        /// The id of the data now.
        found: uuid::Uuid,
    },
    /// The client, or the producer, was closed.
    #[error("the client is closed")]
    Closed,
}

/// What a server says when it refuses.
///
/// Its text shows control characters escaped: it comes from a peer and may end up on a terminal.
#[derive(Clone, Debug)]
pub struct Refusal {
    body: Arc<ErrorBody>,
    may_have_applied: bool,
}

/// What ended a connection, or kept it from coming about.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Disconnect {
    /// The other side closed it without a word.
    #[error("the connection was closed")]
    Closed,
    /// The socket failed.
    #[error("the socket failed")]
    Io(#[source] Arc<io::Error>),
    /// It did not come about in time.
    #[error("the server did not answer within {0:?}")]
    ConnectTimedOut(Duration),
    /// Nothing was heard for twice the keepalive time, not even an answer to Ping.
    #[error("nothing was heard from the server for {0:?}")]
    Silent(Duration),
    /// The server said that it ends the connection, and why.
    #[error("the server ended the connection: {0}")]
    Refused(Refusal),
    /// What arrived is not the protocol.
    #[error("the server broke the protocol: {0}")]
    Violation(Cow<'static, str>),
    /// This client closed it.
    #[error("this side closed the connection")]
    Abandoned,
}

impl Error {
    /// Whether the same call, made again, may succeed.
    ///
    /// It does not say that this is harmless: see [`Self::may_have_applied`].
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.body.is(ErrorBody::RETRYABLE),
            Self::Connect { .. } | Self::ConnectionLost { .. } | Self::TimedOut { .. } | Self::Gap { .. } => true,
            _ => false,
        }
    }

    /// Whether the call may have taken effect although it failed. `false` is certain: it has not.
    #[must_use]
    pub fn may_have_applied(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.may_have_applied,
            Self::ConnectionLost { may_have_applied, .. } | Self::TimedOut { may_have_applied, .. } => {
                *may_have_applied
            }
            // An answer came, but not one that says anything.
            Self::Violation(_) => true,
            Self::OffsetUnknown => true,
            _ => false,
        }
    }

    /// The number with which the server refused, if it did and this version knows it.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        self.refusal()?.body.known()
    }

    /// All that the server said when it refused.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Connect { source: Disconnect::Refused(refusal), .. } => Some(refusal),
            Self::ConnectionLost { source: Disconnect::Refused(refusal), .. } => Some(refusal),
            Self::TimedOut { source: Some(Disconnect::Refused(refusal)), .. } => Some(refusal),
            _ => None,
        }
    }

    /// The same failure for a call of which it is known whether it may have taken effect.
    pub(super) fn with_effect(mut self, known: bool) -> Self {
        match &mut self {
            Self::Refused(Refusal { may_have_applied, .. })
            | Self::ConnectionLost { may_have_applied, .. }
            | Self::TimedOut { may_have_applied, .. } => *may_have_applied = known,
            // These two have no room for the answer, so they become what has.
            Self::Violation(text) if !known => return Self::lost(false, Disconnect::Violation(text.clone())),
            Self::Closed | Self::ServerChanged { .. } if known => return Self::lost(true, Disconnect::Abandoned),
            _ => {}
        }
        self
    }

    pub(super) fn lost(may_have_applied: bool, source: Disconnect) -> Self {
        Self::ConnectionLost { may_have_applied, source }
    }

    pub(super) fn violation(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Violation(text.into())
    }

    pub(super) fn invalid(text: impl Into<Cow<'static, str>>) -> Self {
        Self::InvalidArgument(text.into())
    }
}

impl Refusal {
    pub(super) fn new(body: ErrorBody) -> Self {
        let may_have_applied = body.is(ErrorBody::MAY_HAVE_APPLIED);
        Self { body: Arc::new(body), may_have_applied }
    }

    /// The refusal of a request that had been sent before, with an outcome that nobody knows.
    pub(super) fn after_lost_send(mut self, was_lost: bool) -> Self {
        self.may_have_applied |= was_lost;
        self
    }

    /// The number of the error, also when this version does not know it.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.body.code
    }

    /// The code, if this version knows it.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        self.body.known()
    }

    /// What the server says for people, as it arrived.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.body.message
    }

    /// What the server says for programs: protocol.md section 6 lists it for each code.
    #[must_use]
    pub fn details(&self) -> &[u64] {
        &self.body.details
    }

    pub(super) fn is(&self, fact: u8) -> bool {
        self.body.is(fact)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.body.message.chars() {
            match c.is_control() {
                true => write!(f, "{}", c.escape_default())?,
                false => write!(f, "{c}")?,
            }
        }
        match self.body.known() {
            Some(code) => write!(f, " ({})", code.name()),
            None => write!(f, " (error {})", self.body.code),
        }
    }
}

impl From<io::Error> for Disconnect {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl Disconnect {
    pub(super) fn violation(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Violation(text.into())
    }

    /// Whether another try would end the same way.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Refused(refusal) => !refusal.is(ErrorBody::RETRYABLE),
            // An address without a port, for example.
            Self::Io(error) => error.kind() == io::ErrorKind::InvalidInput,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: ErrorCode) -> Error {
        Error::Refused(Refusal::new(ErrorBody::new(code, "topic \u{1b}[2J is gone", vec![7])))
    }

    #[test]
    fn a_refusal_answers_what_its_facts_say() {
        let (full, unclear, fenced) =
            (refused(ErrorCode::DiskFull), refused(ErrorCode::Indeterminate), refused(ErrorCode::ProducerFenced));
        assert_eq!((full.is_retryable(), full.may_have_applied()), (true, false));
        assert_eq!((unclear.is_retryable(), unclear.may_have_applied()), (true, true));
        assert_eq!((fenced.is_retryable(), fenced.may_have_applied()), (false, false));
        assert_eq!(fenced.code(), Some(ErrorCode::ProducerFenced));
        assert_eq!(fenced.refusal().expect("refused").details(), [7]);
    }

    #[test]
    fn text_of_a_peer_cannot_steer_a_terminal() {
        assert_eq!(refused(ErrorCode::UnknownTopic).to_string(), "topic \\u{1b}[2J is gone (UnknownTopic)");
    }

    #[test]
    fn what_is_known_about_the_effect_goes_into_the_error() {
        let timed_out = Error::TimedOut { after: Duration::ZERO, may_have_applied: true, source: None };
        for error in [refused(ErrorCode::ProducerFenced), timed_out, Error::Closed, Error::violation("x")] {
            assert!(error.clone().with_effect(true).may_have_applied());
            assert!(!error.with_effect(false).may_have_applied());
        }
    }

    #[test]
    fn errors_stay_small_enough_to_be_returned_per_record() {
        assert!(size_of::<Error>() <= 64, "{}", size_of::<Error>());
    }
}

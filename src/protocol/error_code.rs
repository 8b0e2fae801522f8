//! The numbers of the errors and what a client must know about each (protocol.md section 6). Never reused.

use bincode::{Decode, Encode};

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $facts:literal,)*) => {
        /// Why a request was refused or a connection closed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum ErrorCode {
            $($(#[$doc])* $name = $number,)*
        }

        impl ErrorCode {
            /// All of them, in order of number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code with this number; `None` when a newer peer sent it.
            #[must_use]
            pub fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name in protocol.md.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The facts that travel with it: bits of [`ErrorBody::facts`].
            #[must_use]
            pub fn facts(self) -> u8 {
                let letters: &str = match self {
                    $(Self::$name => $facts,)*
                };
                letters.chars().map(|letter| match letter {
                    'R' => ErrorBody::RETRYABLE,
                    'M' => ErrorBody::MAY_HAVE_APPLIED,
                    _ => ErrorBody::CLOSES_CONNECTION,
                }).sum()
            }
        }
    };
}

// Facts: R retryable, M may have applied, C closes the connection.
error_codes! {
    // ---- the connection ----
    /// The first bytes are not the preface.
    BadPreface = 1, "C",
    /// No version that both sides speak.
    UnsupportedVersion = 2, "C",
    /// A frame's length is over the limit in force.
    FrameTooLarge = 3, "C",
    /// A frame's length is under 8.
    FrameTooShort = 4, "C",
    /// Reserved bits of a frame are set, or the bits do not fit the opcode.
    BadFrame = 5, "C",
    /// Something other than Hello came first.
    HelloExpected = 6, "C",
    /// Hello came twice.
    HelloRepeated = 7, "",
    /// No message has this opcode.
    UnknownOpcode = 8, "",
    /// The message exists, but not in this version.
    UnknownMessageVersion = 9, "",
    /// The body is not what the message's table says.
    MalformedBody = 10, "",
    /// The credentials are not the ones the server expects.
    Unauthorized = 11, "C",
    /// The server has as many connections as it takes.
    TooManyConnections = 12, "RC",
    /// Hello did not arrive in time, or a frame arrived too slowly.
    TooSlow = 13, "RC",
    /// Nothing was heard from the client, not even an answer to Ping.
    IdleTimeout = 14, "RC",
    /// The server is stopping; what it had accepted is answered.
    ShuttingDown = 15, "RC",
    /// A request with this correlation id is still in flight.
    CorrelationInUse = 16, "C",
    /// The answer does not fit the frame size that the client asked for.
    AnswerTooLarge = 17, "",
    /// A number in the request is over its limit.
    LimitExceeded = 18, "",

    // ---- topics ----
    /// No topic has this name or id.
    UnknownTopic = 32, "",
    /// A topic has this name already.
    TopicExists = 33, "",
    /// The name of a topic, client, producer or consumer is not allowed.
    InvalidName = 34, "",
    /// The server has as many topics as it takes.
    TooManyTopics = 35, "",
    /// A retention of zero, or one that the server cannot keep.
    InvalidRetention = 36, "",

    // ---- producers and appends ----
    /// No producer has this id: it was never registered, or its topic is gone.
    UnknownProducer = 48, "",
    /// The producer is registered for another topic.
    ProducerNotForTopic = 49, "",
    /// The producer was registered again since: this epoch may append no more.
    ProducerFenced = 50, "",
    /// The batch starts after the producer's last sequence: something is missing between.
    SequenceGap = 51, "",
    /// The batch repeats some sequences and adds others.
    SequenceOverlap = 52, "",
    /// The server has as many producers as it takes.
    TooManyProducers = 53, "",

    // ---- batches ----
    /// The bytes are not a batch.
    BatchMalformed = 64, "",
    /// The checksum does not match the bytes.
    BatchChecksum = 65, "R",
    /// The batch has a layout version that the server does not know.
    BatchVersion = 66, "",
    /// The batch is over the limit, as encoded or when decompressed.
    BatchTooLarge = 67, "",
    /// A record is over the limit.
    RecordTooLarge = 68, "",
    /// The compression is not known.
    UnknownCompression = 69, "",
    /// The records do not decompress to the length that the header declares.
    BadCompression = 70, "",
    /// The header's record count is not the number of records.
    CountMismatch = 71, "",
    /// The sequence range is empty or backwards.
    BadSequenceRange = 72, "",

    // ---- consumers ----
    /// No consumer has this id: it was never registered, or its topic is gone.
    UnknownConsumer = 80, "",
    /// The cursor is not where Dequeue expected it.
    CursorMismatch = 81, "",
    /// The offset is before the head: those records are gone.
    OffsetBeforeHead = 82, "",
    /// The offset is beyond the tail: those records do not exist yet.
    OffsetBeyondTail = 83, "",
    /// The server has as many consumers as it takes.
    TooManyConsumers = 84, "",
    /// The connection has as many subscriptions as it may.
    TooManySubscriptions = 85, "",
    /// The connection has no subscription with this id.
    UnknownSubscription = 86, "",

    // ---- storage ----
    /// The disk is down to its reserve; reads go on.
    DiskFull = 96, "R",
    /// The disk failed while the request was being made durable: it may have been, or not.
    Indeterminate = 97, "RM",
    /// The disk failed: nothing is appended until the server could open the store again, or a read gave nothing back.
    StorageFailed = 98, "R",
    /// What the disk gave back is not what was written.
    Corrupted = 99, "",

    // ---- the server ----
    /// A fault of the server's own.
    Internal = 112, "",
}

/// The body of every answer that refuses, and of GoAway (protocol.md section 6).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ErrorBody {
    /// A number of [`ErrorCode`], or one that this version does not know.
    pub code: u16,
    /// [`Self::RETRYABLE`], [`Self::MAY_HAVE_APPLIED`], [`Self::CLOSES_CONNECTION`].
    pub facts: u8,
    /// For people: what was wrong, with the value and the limit.
    pub message: String,
    /// For programs: what protocol.md lists for the code, such as the sequence that was expected.
    pub details: Vec<u64>,
}

impl ErrorBody {
    /// The same request may succeed later, unchanged.
    pub const RETRYABLE: u8 = 1;
    /// The request may have taken effect; only a retry that is recognised as one is safe.
    pub const MAY_HAVE_APPLIED: u8 = 2;
    /// The sender closes the connection after this.
    pub const CLOSES_CONNECTION: u8 = 4;

    /// An error with its facts.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>, details: Vec<u64>) -> Self {
        let mut message = message.into();
        if message.len() > crate::limits::MAX_MESSAGE_BYTES {
            let end = message.floor_char_boundary(crate::limits::MAX_MESSAGE_BYTES);
            message.truncate(end);
        }
        Self { code: code as u16, facts: code.facts(), message, details }
    }

    /// The code, if this version knows it.
    #[must_use]
    pub fn known(&self) -> Option<ErrorCode> {
        ErrorCode::from_number(self.code)
    }

    /// Whether a fact holds.
    #[must_use]
    pub fn is(&self, fact: u8) -> bool {
        self.facts & fact != 0
    }
}

//! The messages, field by field, in the order of the wire (protocol.md section 4).
//!
//! The bytes of a field follow from its type: unsigned numbers are varints, a `String` or `Vec` is a count and its
//! elements, an `Option` is 0 or 1 and the value, [`Id`] is 16 bytes, `bool` is one byte.

use bincode::{
    BorrowDecode, Decode, Encode,
    de::{BorrowDecoder, Decoder},
    enc::Encoder,
    error::{DecodeError, EncodeError},
};

/// A UUID: its 16 bytes in the order of its text form.
pub type Id = [u8; 16];

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident $({ $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })?)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
            pub struct $name { $($($(#[$field_doc])* pub $field: $type,)*)? }
        )*
    };
}

// ---- the connection ----

messages! {
    /// The first message of a connection.
    Hello {
        /// For the server's log: program, host, purpose.
        client_name: String,
        /// Lowest protocol version that the client speaks.
        min_version: u16,
        /// Highest protocol version that the client speaks.
        max_version: u16,
        /// What the server was configured to expect; empty when nothing.
        credentials: Vec<u8>,
        /// Largest frame length that the client takes and wants to send, in bytes; 0: whatever the server grants.
        max_frame_bytes: u32,
    }
    /// What the server grants.
    HelloAnswer {
        /// Identity of the data; survives restarts.
        server_id: Id,
        /// Version of the program, for people.
        server_version: String,
        /// Protocol version of this connection.
        version: u16,
        /// Bits for what later versions add; 0 so far.
        features: u64,
        /// Largest frame length in both directions from now on.
        max_frame_bytes: u32,
        /// Largest batch.
        max_batch_bytes: u32,
        /// Largest encoded record.
        max_record_bytes: u32,
        /// Requests that may be unanswered before the server stops reading.
        max_in_flight_requests: u32,
        /// Bytes of requests that may be unanswered before the server stops reading.
        max_in_flight_bytes: u32,
        /// After this much silence a side sends Ping; after twice that it closes.
        keepalive_ms: u32,
    }
    /// Asks for an answer, nothing else. Servers send it too.
    Ping
    /// Nothing to add.
    PingAnswer
    /// Asks what the server is and how it is.
    ServerInfo
    /// What the server is and how it is.
    ServerInfoAnswer {
        /// Identity of the data; survives restarts.
        server_id: Id,
        /// Version of the program.
        server_version: String,
        /// Time since the server was started.
        uptime_ms: u64,
        /// The server's clock, microseconds since 1970.
        now_us: u64,
        /// Connections, this one included.
        connections: u32,
        /// Topics.
        topics: u32,
        /// Registered producers.
        producers: u32,
        /// Registered consumers.
        consumers: u32,
        /// Bytes of the server's files.
        stored_bytes: u64,
        /// Bytes left on the filesystem; `None` without one.
        free_bytes: Option<u64>,
        /// Whether appends are taken: not when the disk is down to its reserve or has failed.
        accepts_appends: bool,
        /// Whether records live in memory only.
        ephemeral: bool,
    }
}

// ---- topics ----

messages! {
    /// How long a topic keeps its records. `None`: for ever.
    Retention {
        /// The oldest records go when the topic holds more bytes of batches than this.
        bytes: Option<u64>,
        /// Records go when they were appended longer ago than this, in milliseconds.
        age_ms: Option<u64>,
    }
    /// Makes a topic.
    CreateTopic {
        /// Its name.
        topic: String,
        /// How long it keeps its records.
        retention: Retention,
        /// Be content if it exists already, whatever its retention.
        if_absent: bool,
    }
    /// The topic exists.
    CreateTopicAnswer {
        /// Its id.
        topic_id: u32,
        /// Whether this request made it.
        created: bool,
    }
    /// Removes a topic with its records, producers and consumers.
    DeleteTopic {
        /// Its name.
        topic: String,
        /// Be content if it does not exist.
        if_present: bool,
    }
    /// The topic does not exist.
    DeleteTopicAnswer {
        /// Whether this request removed it.
        deleted: bool,
    }
    /// Asks for topics in order of name, a page at a time.
    ListTopics {
        /// Only names greater than this; empty for the first page.
        after: String,
        /// At most this many; 0 and anything over the limit mean the limit.
        limit: u32,
    }
    /// A page of topics.
    ListTopicsAnswer {
        /// In order of name.
        topics: Vec<TopicInfo>,
        /// Whether there are more.
        more: bool,
    }
    /// A topic, as of its last durable record.
    TopicInfo {
        /// Its name.
        name: String,
        /// Its id.
        topic_id: u32,
        /// First offset that is kept.
        head: u64,
        /// Next offset to be assigned.
        tail: u64,
        /// Bytes of the batches that are kept.
        bytes: u64,
        /// How long it keeps its records.
        retention: Retention,
        /// When it was created, microseconds since 1970.
        created_us: u64,
        /// How many producers are registered.
        producers: u32,
        /// How many consumers are registered.
        consumers: u32,
    }
    /// Asks for one topic with its consumers.
    DescribeTopic {
        /// Its name.
        topic: String,
    }
    /// One topic with its consumers.
    DescribeTopicAnswer {
        /// The topic.
        topic: TopicInfo,
        /// Its consumers, named ones first, in order of name; at most 128.
        consumers: Vec<ConsumerInfo>,
    }
    /// A consumer.
    ConsumerInfo {
        /// Its id.
        consumer_id: Id,
        /// Its name, if it has one.
        name: Option<String>,
        /// The offset it reads next.
        cursor: u64,
        /// How many records it has not read.
        backlog: u64,
    }
}

// ---- producers ----

messages! {
    /// Registers a producer for a topic.
    RegisterProducer {
        /// The topic.
        topic: String,
        /// A stable name: the same one gives the same id, the next epoch, and the last sequence.
        name: Option<String>,
        /// Make the topic, with this retention, if it does not exist.
        create: Option<Retention>,
    }
    /// The producer is registered.
    RegisterProducerAnswer {
        /// For the header of its batches.
        producer_id: Id,
        /// For the header of its batches; lower ones are fenced.
        epoch: u32,
        /// For Append.
        topic_id: u32,
        /// End of the last stored sequence range: where its next batch starts.
        last_sequence: u64,
    }
    /// Appends batches and moves cursors, all or nothing.
    Append {
        /// The batches, which follow the control fields in this order.
        parts: Vec<AppendPart>,
        /// Cursors that move in the same instant.
        commits: Vec<CursorMove>,
    }
    /// One batch of an Append.
    AppendPart {
        /// The topic that the batch's producer is registered for.
        topic_id: u32,
        /// Length of the batch.
        batch_bytes: u32,
    }
    /// A cursor that an Append moves.
    CursorMove {
        /// Whose.
        consumer_id: Id,
        /// Where to; moves forward only.
        offset: u64,
    }
    /// All parts are durable, and all cursors moved.
    AppendAnswer {
        /// One for each part.
        parts: Vec<AppendedPart>,
    }
    /// Where a batch is.
    AppendedPart {
        /// Offset of its first record; `None` for a duplicate that was stored too long ago to tell.
        base_offset: Option<u64>,
        /// Whether it was stored before, by an earlier send of the same batch.
        duplicate: bool,
    }
    /// Asks for the state of a producer.
    ProducerState {
        /// Which.
        producer_id: Id,
    }
    /// The state of a producer.
    ProducerStateAnswer {
        /// Its topic.
        topic_id: u32,
        /// Its name, if it has one.
        name: Option<String>,
        /// Its current epoch.
        epoch: u32,
        /// End of the last stored sequence range.
        last_sequence: u64,
    }
    /// Asks for producers of a topic that have names.
    ListProducers {
        /// Of which topic.
        topic: String,
        /// Only those whose name begins with this.
        prefix: String,
        /// Only those whose name comes behind this one.
        after: String,
        /// At most so many; 0 means as many as fit.
        limit: u32,
    }
    /// Producers, in order of name.
    ListProducersAnswer {
        /// One page of them.
        producers: Vec<ProducerInfo>,
        /// Whether there are more behind them.
        more: bool,
    }
    /// A producer that has a name.
    ProducerInfo {
        /// Its name.
        name: String,
        /// Its id.
        producer_id: Id,
        /// Its current epoch.
        epoch: u32,
        /// End of the last stored sequence range.
        last_sequence: u64,
        /// Offset of the last record that it stored; `None` when there is none.
        last_offset: Option<u64>,
    }
    /// Removes a producer: its id is unknown from then on, and its name free.
    ForgetProducer {
        /// Which.
        producer_id: Id,
    }
    /// The producer is gone.
    ForgetProducerAnswer {
        /// Whether this request removed it.
        forgotten: bool,
    }
}

// ---- consumers ----

messages! {
    /// Registers a consumer for a topic.
    RegisterConsumer {
        /// The topic.
        topic: String,
        /// A stable name: the same one gives the same id and the cursor where it was left.
        name: Option<String>,
        /// Where a new consumer starts; an existing one stays where it is. Not `Cursor`.
        start: Start,
    }
    /// The consumer is registered.
    RegisterConsumerAnswer {
        /// For the requests that name it.
        consumer_id: Id,
        /// The offset it reads next.
        cursor: u64,
        /// Whether it was registered before.
        existed: bool,
    }
    /// Asks for stored batches.
    Fetch {
        /// The topic.
        topic: String,
        /// The first record wanted.
        offset: u64,
        /// About how many bytes of batches; one batch comes whatever its size.
        max_bytes: u32,
        /// How long to wait when there is nothing yet, at most 60,000 milliseconds.
        max_wait_ms: u32,
    }
    /// Stored batches; the first one holds the offset asked for.
    FetchAnswer {
        /// First offset that is kept.
        head: u64,
        /// Next offset to be assigned.
        tail: u64,
        /// Lengths of the batches that follow.
        batch_bytes: Vec<u32>,
    }
    /// Asks for batches to be pushed from some place on.
    Subscribe {
        /// The topic.
        topic: String,
        /// Where to start.
        start: Start,
        /// How many bytes may be pushed before more credit comes.
        credit_bytes: u64,
    }
    /// The subscription stands.
    SubscribeAnswer {
        /// Its id on this connection.
        subscription_id: u32,
        /// The first offset that will be pushed.
        offset: u64,
        /// First offset that is kept.
        head: u64,
        /// Next offset to be assigned.
        tail: u64,
    }
    /// A push: an answer to Subscribe that comes again and again, under its correlation id.
    Deliver {
        /// Which subscription.
        subscription_id: u32,
        /// First offset that is kept.
        head: u64,
        /// Next offset to be assigned.
        tail: u64,
        /// Offsets that were to be pushed and no longer exist.
        gap: Option<Gap>,
        /// Lengths of the batches that follow. Records of the first one before the subscription's offset are to be
        /// passed over.
        batch_bytes: Vec<u32>,
    }
    /// Offsets `from..to` that no longer exist.
    Gap {
        /// First missing.
        from: u64,
        /// One past the last missing.
        to: u64,
    }
    /// Lets a subscription send more. Not answered.
    Credit {
        /// Which subscription.
        subscription_id: u32,
        /// Added to its credit.
        bytes: u64,
    }
    /// Ends a subscription. Nothing is pushed after the answer.
    Unsubscribe {
        /// Which subscription.
        subscription_id: u32,
    }
    /// The subscription is gone.
    UnsubscribeAnswer
    /// Moves a consumer's cursor.
    Commit {
        /// Whose.
        consumer_id: Id,
        /// The offset that it reads next.
        offset: u64,
        /// Move it also backward; otherwise an offset behind the cursor leaves it where it is.
        rewind: bool,
    }
    /// The cursor is durable.
    CommitAnswer {
        /// Where it is.
        cursor: u64,
    }
    /// Reads at a consumer's cursor and moves it on, in one.
    Dequeue {
        /// Whose.
        consumer_id: Id,
        /// Where the caller believes the cursor is.
        cursor: u64,
        /// Chosen by the caller, the same for a retry: it tells a retry from another caller at the same cursor.
        attempt: u64,
        /// At most this many records.
        max_records: u32,
        /// How long to wait when there is nothing yet, at most 60,000 milliseconds.
        max_wait_ms: u32,
    }
    /// Records `offset..next` were the consumer's; its cursor is durably at `next`.
    DequeueAnswer {
        /// First record that was dequeued; greater than the cursor asked for when retention took some.
        offset: u64,
        /// Where the cursor is now; equal to `offset` when there was nothing.
        next: u64,
        /// Next offset to be assigned.
        tail: u64,
        /// Whether an earlier send of the same request had moved the cursor.
        repeated: bool,
        /// Lengths of the batches that follow, which hold these records and others.
        batch_bytes: Vec<u32>,
    }
    /// Asks how many records a consumer has not read.
    Backlog {
        /// Which.
        consumer_id: Id,
    }
    /// How many records a consumer has not read.
    BacklogAnswer {
        /// Records from the cursor, or the head if that is later, to the tail.
        backlog: u64,
        /// The offset it reads next.
        cursor: u64,
        /// First offset that is kept.
        head: u64,
        /// Next offset to be assigned.
        tail: u64,
    }
    /// Asks where a time is.
    OffsetForTimestamp {
        /// The topic.
        topic: String,
        /// Microseconds since 1970.
        timestamp_us: u64,
    }
    /// Where a time is.
    OffsetForTimestampAnswer {
        /// First record of the first batch that was appended then or later; the tail if there is none.
        offset: u64,
    }
}

/// Where to start reading: a tag, then its number or id if it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Tag 0: the first record that is kept.
    #[default]
    Head,
    /// Tag 1: the next record to be appended.
    Tail,
    /// Tag 2: this offset.
    Offset(u64),
    /// Tag 3: the first record appended at this time or later, microseconds since 1970.
    Timestamp(u64),
    /// Tag 4: the cursor of this consumer.
    Cursor(Id),
}

impl Encode for Start {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        match self {
            Self::Head => 0u8.encode(encoder),
            Self::Tail => 1u8.encode(encoder),
            Self::Offset(offset) => (2u8, offset).encode(encoder),
            Self::Timestamp(timestamp) => (3u8, timestamp).encode(encoder),
            Self::Cursor(id) => (4u8, id).encode(encoder),
        }
    }
}

impl<Context> Decode<Context> for Start {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        match u8::decode(decoder)? {
            0 => Ok(Self::Head),
            1 => Ok(Self::Tail),
            2 => u64::decode(decoder).map(Self::Offset),
            3 => u64::decode(decoder).map(Self::Timestamp),
            4 => Id::decode(decoder).map(Self::Cursor),
            _ => Err(DecodeError::Other("unknown tag of Start")),
        }
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for Start {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

messages! {
    /// What answers a Credit: nothing is ever sent.
    NoAnswer
}

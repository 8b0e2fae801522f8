//! The numbers of the messages (protocol.md section 4). Never reused.

macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// What a frame asks for. On the wire the top bit says that it answers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Opcode {
            $($(#[$doc])* $name = $number,)*
        }

        impl Opcode {
            /// All of them, in order of number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The opcode with this number.
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
        }
    };
}

opcodes! {
    /// Names the client, agrees on version and limits.
    Hello = 0x01,
    /// Asks the other side for a sign of life; both sides may.
    Ping = 0x02,
    /// The sender is about to close the connection, and says why.
    GoAway = 0x03,
    /// What the server is and how it is.
    ServerInfo = 0x04,
    /// Makes a topic.
    CreateTopic = 0x10,
    /// Removes a topic with its records, producers and consumers.
    DeleteTopic = 0x11,
    /// Topics, a page at a time.
    ListTopics = 0x12,
    /// One topic with its consumers.
    DescribeTopic = 0x13,
    /// Gives a producer its id and epoch.
    RegisterProducer = 0x20,
    /// Appends batches, all or nothing.
    Append = 0x21,
    /// The last sequence of a producer.
    ProducerState = 0x22,
    /// Producers that have names, a page at a time.
    ListProducers = 0x23,
    /// Removes a producer.
    ForgetProducer = 0x24,
    /// Gives a consumer its id and cursor.
    RegisterConsumer = 0x30,
    /// Reads a topic from an offset, waiting for records if asked to.
    Fetch = 0x31,
    /// Asks for batches to be pushed.
    Subscribe = 0x32,
    /// A push to a subscription.
    Deliver = 0x33,
    /// Lets a subscription send more bytes.
    Credit = 0x34,
    /// Ends a subscription.
    Unsubscribe = 0x35,
    /// Moves a consumer's cursor.
    Commit = 0x36,
    /// Reads at a consumer's cursor and moves it on.
    Dequeue = 0x37,
    /// How many records a consumer has not read.
    Backlog = 0x38,
    /// The first offset that was appended at a time or after it.
    OffsetForTimestamp = 0x39,
}

impl Opcode {
    /// Set in the opcode of an answer.
    pub const ANSWER: u16 = 0x8000;
}

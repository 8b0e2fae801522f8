//! Messages out of bytes.

use super::source::{Generate, Source};
use crate::protocol::*;

macro_rules! numbers {
    ($($number:ty)*) => {
        $(impl Generate for $number {
            fn generate(source: &mut Source<'_>) -> Self {
                // A number that does not fit becomes the largest one.
                source.number().try_into().unwrap_or(Self::MAX)
            }
        })*
    };
}

numbers!(u16 u32 u64);

impl Generate for u8 {
    fn generate(source: &mut Source<'_>) -> Self {
        source.byte()
    }
}

impl Generate for bool {
    fn generate(source: &mut Source<'_>) -> Self {
        source.byte() & 1 == 1
    }
}

impl Generate for String {
    fn generate(source: &mut Source<'_>) -> Self {
        Self::from_utf8_lossy(source.counted()).into_owned()
    }
}

impl Generate for Id {
    fn generate(source: &mut Source<'_>) -> Self {
        source.array()
    }
}

impl<T: Generate> Generate for Option<T> {
    fn generate(source: &mut Source<'_>) -> Self {
        source.make::<bool>().then(|| source.make())
    }
}

impl<T: Generate> Generate for Vec<T> {
    fn generate(source: &mut Source<'_>) -> Self {
        source.list(T::generate)
    }
}

impl Generate for Start {
    fn generate(source: &mut Source<'_>) -> Self {
        match source.byte() % 5 {
            0 => Self::Head,
            1 => Self::Tail,
            2 => Self::Offset(source.make()),
            3 => Self::Timestamp(source.make()),
            _ => Self::Cursor(source.make()),
        }
    }
}

impl Generate for AppendPart {
    fn generate(source: &mut Source<'_>) -> Self {
        Self { topic_id: source.make(), batch_bytes: source.batch_bytes() }
    }
}

macro_rules! messages {
    ($($name:ident $({ $($field:ident)* $(| $lengths:ident)? })?)*) => {
        $(impl Generate for $name {
            fn generate(_source: &mut Source<'_>) -> Self {
                Self {
                    $($($field: _source.make(),)* $($lengths: _source.list(Source::batch_bytes),)?)?
                }
            }
        })*
    };
}

// The fields in the order of the wire; behind the bar the lengths of batches.
messages! {
    Hello { client_name min_version max_version credentials max_frame_bytes }
    HelloAnswer {
        server_id server_version version features max_frame_bytes max_batch_bytes max_record_bytes
        max_in_flight_requests max_in_flight_bytes keepalive_ms
    }
    Ping
    PingAnswer
    ServerInfo
    ServerInfoAnswer {
        server_id server_version uptime_ms now_us connections topics producers consumers stored_bytes free_bytes
        accepts_appends ephemeral
    }
    Retention { bytes age_ms }
    CreateTopic { topic retention if_absent }
    CreateTopicAnswer { topic_id created }
    DeleteTopic { topic if_present }
    DeleteTopicAnswer { deleted }
    ListTopics { after limit }
    ListTopicsAnswer { topics more }
    TopicInfo { name topic_id head tail bytes retention created_us producers consumers }
    DescribeTopic { topic }
    DescribeTopicAnswer { topic consumers }
    ConsumerInfo { consumer_id name cursor backlog }
    RegisterProducer { topic name create }
    RegisterProducerAnswer { producer_id epoch topic_id last_sequence }
    Append { parts commits }
    CursorMove { consumer_id offset }
    AppendAnswer { parts }
    AppendedPart { base_offset duplicate }
    ProducerState { producer_id }
    ProducerStateAnswer { topic_id name epoch last_sequence }
    ListProducers { topic prefix after limit }
    ListProducersAnswer { producers more }
    ProducerInfo { name producer_id epoch last_sequence last_offset }
    ForgetProducer { producer_id }
    ForgetProducerAnswer { forgotten }
    RegisterConsumer { topic name start }
    RegisterConsumerAnswer { consumer_id cursor existed }
    Fetch { topic offset max_bytes max_wait_ms }
    FetchAnswer { head tail | batch_bytes }
    Subscribe { topic start credit_bytes }
    SubscribeAnswer { subscription_id offset head tail }
    Deliver { subscription_id head tail gap | batch_bytes }
    Gap { from to }
    Credit { subscription_id bytes }
    Unsubscribe { subscription_id }
    UnsubscribeAnswer
    Commit { consumer_id offset rewind }
    CommitAnswer { cursor }
    Dequeue { consumer_id cursor attempt max_records max_wait_ms }
    DequeueAnswer { offset next tail repeated | batch_bytes }
    Backlog { consumer_id }
    BacklogAnswer { backlog cursor head tail }
    OffsetForTimestamp { topic timestamp_us }
    OffsetForTimestampAnswer { offset }
    ErrorBody { code facts message details }
}

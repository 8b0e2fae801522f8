//! Every message, listed once, so that each property can be asked of each.

use std::fmt::Debug;

use bytes::Bytes;

use super::{bodies, differential, round_trip, source::Generate};
use crate::protocol::{
    self, Answer, BodyError, Frame, FrameHeader, Opcode, OutFrame, Request, decode_answer, decode_request,
    encode_answer, encode_request,
};

/// A request or an answer.
pub(super) trait Message: Debug + PartialEq + Generate {
    /// Its name in protocol.md.
    const NAME: &'static str;

    fn decode(frame: &Frame) -> Result<(Self, Vec<Bytes>), BodyError>;

    fn encode(&self, batches: Vec<Bytes>) -> OutFrame;

    fn batch_lengths(&self) -> Vec<u32>;
}

/// What the decoders of bodies are given; they do not look at the header.
pub(super) fn frame_of(body: &[u8]) -> Frame {
    Frame { header: FrameHeader::request(Opcode::Ping, 7), body: Bytes::copy_from_slice(body) }
}

/// A message's properties.
pub(super) struct Kind {
    #[cfg(test)]
    pub(super) decodes: fn(&[u8]) -> bool,
    pub(super) is_canonical: fn(&[u8]),
    pub(super) means_the_same: fn(&[u8]),
    pub(super) round_trips: fn(&[u8]),
}

impl Kind {
    const fn of<M: Message>() -> Self {
        Self {
            #[cfg(test)]
            decodes: |body| M::decode(&frame_of(body)).is_ok(),
            is_canonical: bodies::is_canonical::<M>,
            means_the_same: differential::means_the_same::<M>,
            round_trips: round_trip::round_trips::<M>,
        }
    }

    /// The message that the first byte names, and what follows it.
    pub(super) fn choose(data: &[u8]) -> Option<(&'static Self, &[u8])> {
        let (&first, rest) = data.split_first()?;
        Some((&KINDS[usize::from(first) % KINDS.len()], rest))
    }
}

macro_rules! messages {
    (requests: $($request:ident)* ; answers: $($answer:ident)*) => {
        $(impl Message for protocol::$request {
            const NAME: &'static str = stringify!($request);

            fn decode(frame: &Frame) -> Result<(Self, Vec<Bytes>), BodyError> {
                decode_request(frame)
            }

            fn encode(&self, batches: Vec<Bytes>) -> OutFrame {
                encode_request(self, 7, batches)
            }

            fn batch_lengths(&self) -> Vec<u32> {
                Request::batch_lengths(self)
            }
        })*
        $(impl Message for protocol::$answer {
            const NAME: &'static str = stringify!($answer);

            fn decode(frame: &Frame) -> Result<(Self, Vec<Bytes>), BodyError> {
                decode_answer(frame)
            }

            fn encode(&self, batches: Vec<Bytes>) -> OutFrame {
                encode_answer(Opcode::Ping, 7, self, batches)
            }

            fn batch_lengths(&self) -> Vec<u32> {
                Answer::batch_lengths(self)
            }
        })*
        const KINDS: &[Kind] = &[$(Kind::of::<protocol::$request>(),)* $(Kind::of::<protocol::$answer>()),*];
    };
}

// In an order that seeds depend on.
messages! {
    requests: Hello Ping ServerInfo CreateTopic DeleteTopic ListTopics DescribeTopic RegisterProducer Append ProducerState
        RegisterConsumer Fetch Subscribe Credit Unsubscribe Commit Dequeue Backlog OffsetForTimestamp
        ListProducers ForgetProducer;
    answers: HelloAnswer ServerInfoAnswer CreateTopicAnswer DeleteTopicAnswer ListTopicsAnswer DescribeTopicAnswer
        RegisterProducerAnswer AppendAnswer ProducerStateAnswer RegisterConsumerAnswer FetchAnswer SubscribeAnswer
        Deliver CommitAnswer DequeueAnswer BacklogAnswer OffsetForTimestampAnswer ErrorBody PingAnswer UnsubscribeAnswer
        ListProducersAnswer ForgetProducerAnswer
}

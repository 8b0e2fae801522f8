//! Bodies of messages.

use bytes::Bytes;

use crate::{
    limits::FRAME_HEADER_BYTES,
    protocol::{
        self, Answer, Frame, FrameHeader, Opcode, OutFrame, Request, decode_answer, decode_request, encode_answer,
        encode_request,
    },
};

const LENGTH_AND_HEADER_BYTES: usize = 4 + FRAME_HEADER_BYTES;

/// What a body decodes to encodes to the same bytes: there is one form of each message and no other.
///
/// The first byte says which message.
pub fn bodies(data: &[u8]) {
    let Some((&message, body)) = data.split_first() else { return };
    BODIES[usize::from(message) % BODIES.len()](body);
}

fn request<R: Request>(body: &[u8]) {
    let header = FrameHeader::request(R::OPCODE, 7);
    if let Ok((request, batches)) = decode_request::<R>(&Frame { header, body: Bytes::copy_from_slice(body) }) {
        assert_body(&encode_request(&request, 7, batches), body);
    }
}

fn answer<A: Answer>(body: &[u8]) {
    let header = FrameHeader::answer(Opcode::Ping, 7);
    if let Ok((answer, batches)) = decode_answer::<A>(&Frame { header, body: Bytes::copy_from_slice(body) }) {
        assert_body(&encode_answer(Opcode::Ping, 7, &answer, batches), body);
    }
}

fn assert_body(frame: &OutFrame, body: &[u8]) {
    assert_eq!(
        frame.to_bytes()[LENGTH_AND_HEADER_BYTES..],
        *body,
        "a message encodes to other bytes than it came from"
    );
}

/// Every message that has fields, in an order that seeds depend on: append, never reorder.
const BODIES: &[fn(&[u8])] = &[
    request::<protocol::Hello>,
    request::<protocol::Ping>,
    request::<protocol::ServerInfo>,
    request::<protocol::CreateTopic>,
    request::<protocol::DeleteTopic>,
    request::<protocol::ListTopics>,
    request::<protocol::DescribeTopic>,
    request::<protocol::RegisterProducer>,
    request::<protocol::Append>,
    request::<protocol::ProducerState>,
    request::<protocol::RegisterConsumer>,
    request::<protocol::Fetch>,
    request::<protocol::Subscribe>,
    request::<protocol::Credit>,
    request::<protocol::Unsubscribe>,
    request::<protocol::Commit>,
    request::<protocol::Dequeue>,
    request::<protocol::Backlog>,
    request::<protocol::OffsetForTimestamp>,
    answer::<protocol::HelloAnswer>,
    answer::<protocol::ServerInfoAnswer>,
    answer::<protocol::CreateTopicAnswer>,
    answer::<protocol::DeleteTopicAnswer>,
    answer::<protocol::ListTopicsAnswer>,
    answer::<protocol::DescribeTopicAnswer>,
    answer::<protocol::RegisterProducerAnswer>,
    answer::<protocol::AppendAnswer>,
    answer::<protocol::ProducerStateAnswer>,
    answer::<protocol::RegisterConsumerAnswer>,
    answer::<protocol::FetchAnswer>,
    answer::<protocol::SubscribeAnswer>,
    answer::<protocol::Deliver>,
    answer::<protocol::CommitAnswer>,
    answer::<protocol::DequeueAnswer>,
    answer::<protocol::BacklogAnswer>,
    answer::<protocol::OffsetForTimestampAnswer>,
    answer::<protocol::ErrorBody>,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_hold_the_property_of_bodies(message in 0..BODIES.len(), body in prop::collection::vec(any::<u8>(), 0..80)) {
            BODIES[message](&body);
        }
    }
}

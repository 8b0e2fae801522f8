//! The crate's view of a frame: which message it is, its fields, and the bytes that it encodes to again.

use bytes::BytesMut;
use connectify::{limits::MAX_FRAME_BYTES, protocol::*};

/// What the crate makes of a frame.
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) debug: String,
    pub(crate) bytes: Vec<u8>,
}

/// The one frame that `bytes` are.
pub(crate) fn frame(bytes: &[u8]) -> Frame {
    let mut buffer = BytesMut::from(bytes);
    let frame = FrameDecoder::new(MAX_FRAME_BYTES).decode(&mut buffer).unwrap().expect("a whole frame");
    assert!(buffer.is_empty(), "bytes follow the frame");
    frame
}

/// Decodes a frame of whatever message and encodes it again.
pub(crate) fn decode(frame: &Frame) -> Result<Seen, BodyError> {
    let opcode = Opcode::from_number(frame.header.opcode).expect("a known opcode");
    if frame.header.is_error() {
        return error(frame);
    }
    match opcode {
        Opcode::Hello => message::<Hello>(frame),
        Opcode::Ping => message::<Ping>(frame),
        Opcode::GoAway => message::<ErrorBody>(frame),
        Opcode::ServerInfo => message::<ServerInfo>(frame),
        Opcode::CreateTopic => message::<CreateTopic>(frame),
        Opcode::DeleteTopic => message::<DeleteTopic>(frame),
        Opcode::ListTopics => message::<ListTopics>(frame),
        Opcode::DescribeTopic => message::<DescribeTopic>(frame),
        Opcode::RegisterProducer => message::<RegisterProducer>(frame),
        Opcode::Append => message::<Append>(frame),
        Opcode::ProducerState => message::<ProducerState>(frame),
        Opcode::ListProducers => message::<ListProducers>(frame),
        Opcode::ForgetProducer => message::<ForgetProducer>(frame),
        Opcode::RegisterConsumer => message::<RegisterConsumer>(frame),
        Opcode::Fetch => message::<Fetch>(frame),
        Opcode::Subscribe => message::<Subscribe>(frame),
        Opcode::Deliver => answer::<Deliver>(opcode, frame),
        Opcode::Credit => message::<Credit>(frame),
        Opcode::Unsubscribe => message::<Unsubscribe>(frame),
        Opcode::Commit => message::<Commit>(frame),
        Opcode::Dequeue => message::<Dequeue>(frame),
        Opcode::Backlog => message::<Backlog>(frame),
        Opcode::OffsetForTimestamp => message::<OffsetForTimestamp>(frame),
    }
}

/// Names of the request and of the answer of an opcode; `None` where there is none.
pub(crate) fn names(opcode: Opcode) -> (Option<String>, Option<String>) {
    fn of<R: Request>() -> (Option<String>, Option<String>) {
        (Some(name::<R>()), Some(name::<R::Answer>()).filter(|name| name != "NoAnswer"))
    }
    match opcode {
        Opcode::Hello => of::<Hello>(),
        Opcode::Ping => of::<Ping>(),
        Opcode::GoAway => of::<ErrorBody>(),
        Opcode::ServerInfo => of::<ServerInfo>(),
        Opcode::CreateTopic => of::<CreateTopic>(),
        Opcode::DeleteTopic => of::<DeleteTopic>(),
        Opcode::ListTopics => of::<ListTopics>(),
        Opcode::DescribeTopic => of::<DescribeTopic>(),
        Opcode::RegisterProducer => of::<RegisterProducer>(),
        Opcode::Append => of::<Append>(),
        Opcode::ProducerState => of::<ProducerState>(),
        Opcode::ListProducers => of::<ListProducers>(),
        Opcode::ForgetProducer => of::<ForgetProducer>(),
        Opcode::RegisterConsumer => of::<RegisterConsumer>(),
        Opcode::Fetch => of::<Fetch>(),
        Opcode::Subscribe => of::<Subscribe>(),
        Opcode::Deliver => (None, Some(name::<Deliver>())),
        Opcode::Credit => of::<Credit>(),
        Opcode::Unsubscribe => of::<Unsubscribe>(),
        Opcode::Commit => of::<Commit>(),
        Opcode::Dequeue => of::<Dequeue>(),
        Opcode::Backlog => of::<Backlog>(),
        Opcode::OffsetForTimestamp => of::<OffsetForTimestamp>(),
    }
}

fn message<R: Request + std::fmt::Debug>(frame: &Frame) -> Result<Seen, BodyError>
where
    R::Answer: std::fmt::Debug,
{
    if frame.header.is_answer {
        return answer::<R::Answer>(R::OPCODE, frame);
    }
    let (request, batches) = decode_request::<R>(frame)?;
    let bytes = encode_request(&request, frame.header.correlation_id, batches).to_bytes().to_vec();
    Ok(Seen { name: name::<R>(), debug: format!("{request:?}"), bytes })
}

fn answer<A: Answer + std::fmt::Debug>(opcode: Opcode, frame: &Frame) -> Result<Seen, BodyError> {
    let (answer, batches) = decode_answer::<A>(frame)?;
    let bytes = encode_answer(opcode, frame.header.correlation_id, &answer, batches).to_bytes().to_vec();
    Ok(Seen { name: name::<A>(), debug: format!("{answer:?}"), bytes })
}

fn error(frame: &Frame) -> Result<Seen, BodyError> {
    let (error, _) = decode_answer::<ErrorBody>(frame)?;
    let asked = FrameHeader { is_answer: false, flags: 0, ..frame.header };
    let bytes = encode_error(asked, &error).to_bytes().to_vec();
    Ok(Seen { name: name::<ErrorBody>(), debug: format!("{error:?}"), bytes })
}

fn name<T>() -> String {
    std::any::type_name::<T>().rsplit("::").next().unwrap_or_default().to_owned()
}

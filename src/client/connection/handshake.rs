//! The first words of a connection: preface and Hello, then the answer, and nothing else before it (protocol.md
//! section 2).

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Granted, answer::decode};
use crate::{
    client::{
        error::{Disconnect, Error, Refusal},
        transport::BoxTransport,
    },
    protocol::{ErrorBody, Frame, FrameDecoder, Hello, Opcode, decode_answer, encode_request, preface},
};

/// The only request that is in flight then.
const HELLO_ID: u32 = 1;

/// Says Hello and gives what the server granted, with the bytes that arrived after its answer.
pub(super) async fn greet(transport: &mut BoxTransport, hello: &Hello) -> Result<(Granted, BytesMut), Disconnect> {
    let mut first = BytesMut::from(&preface()[..]);
    first.put_slice(&encode_request(hello, HELLO_ID, Vec::new()).to_bytes());
    transport.write_all(&first).await?;
    transport.flush().await?;

    let mut buffer = BytesMut::new();
    let mut decoder = FrameDecoder::default();
    loop {
        if let Some(frame) = decoder.decode(&mut buffer).map_err(|error| Disconnect::violation(error.to_string()))? {
            return Ok((accept(hello, &frame)?, buffer));
        }
        if transport.read_buf(&mut buffer).await? == 0 {
            return Err(Disconnect::Closed);
        }
    }
}

fn accept(hello: &Hello, frame: &Frame) -> Result<Granted, Disconnect> {
    let header = frame.header;
    if !header.is_answer && header.opcode == Opcode::GoAway as u16 {
        let (body, _) = decode_answer::<ErrorBody>(frame).map_err(|error| Disconnect::violation(error.to_string()))?;
        return Err(Disconnect::Refused(Refusal::new(body)));
    }
    if !header.is_answer || header.opcode != Opcode::Hello as u16 || header.correlation_id != HELLO_ID {
        return Err(Disconnect::violation(format!("opcode {:#06x} came before the answer to Hello", header.opcode)));
    }
    match decode::<Hello>(frame) {
        Ok((answer, _)) => Granted::check(hello, &answer),
        Err(Error::Refused(refusal)) => Err(Disconnect::Refused(refusal)),
        Err(error) => Err(Disconnect::violation(error.to_string())),
    }
}

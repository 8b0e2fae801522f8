//! What a frame from the server means.

use crate::{
    client::{
        connection::shared::Shared,
        error::{Disconnect, Refusal},
    },
    protocol::{ErrorBody, Frame, Opcode, Ping, PingAnswer, Request, decode_answer, decode_request, encode_answer},
};

/// Takes a frame. `Err`: the server does what the protocol does not allow, and the connection cannot go on.
pub(super) fn accept(shared: &Shared, frame: Frame) -> Result<(), Disconnect> {
    let header = frame.header;
    let Some(opcode) = Opcode::from_number(header.opcode).filter(|_| header.has_known_version()) else {
        let (opcode, version) = (header.opcode, header.version);
        return Err(Disconnect::violation(format!("opcode {opcode:#06x} in version {version} is not known")));
    };
    match (opcode, header.is_answer) {
        (Opcode::Deliver, true) if !header.is_error() => shared.deliver(frame),
        (opcode, true) => {
            let refusal = header.is_error().then(|| decode_answer::<ErrorBody>(&frame).ok()).flatten();
            shared.answer(opcode, frame)?;
            // The server closes after this, though other answers may follow.
            if let Some((body, _)) = refusal
                && body.is(ErrorBody::CLOSES_CONNECTION)
            {
                shared.drain(Disconnect::Refused(Refusal::new(body)));
            }
            Ok(())
        }
        (Opcode::Ping, false) => {
            let _: Ping = read(&frame)?;
            shared.post(encode_answer(Opcode::Ping, header.correlation_id, &PingAnswer {}, Vec::new()));
            Ok(())
        }
        (Opcode::GoAway, false) => {
            let why = Refusal::new(read::<ErrorBody>(&frame)?);
            shared.drain(Disconnect::Refused(why));
            Ok(())
        }
        (opcode, false) => Err(Disconnect::violation(format!("{} is not a request of servers", opcode.name()))),
    }
}

fn read<R: Request>(frame: &Frame) -> Result<R, Disconnect> {
    let unreadable = |error| Disconnect::violation(format!("{}: {error}", R::OPCODE.name()));
    decode_request(frame).map(|(request, _)| request).map_err(unreadable)
}

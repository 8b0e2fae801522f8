//! Preface and Hello (protocol.md section 2).

use bytes::Buf as _;
use tokio::io::AsyncRead;

use super::{
    End,
    outbox::{Held, Outbox},
    reader::Reader,
};
use crate::{
    limits::{
        KEEPALIVE, MAX_BATCH_BYTES, MAX_CREDENTIALS_BYTES, MAX_FRAME_BYTES, MAX_HANDSHAKE_FRAME_BYTES,
        MAX_IN_FLIGHT_BYTES, MAX_RECORD_BYTES, MIN_FRAME_BYTES,
    },
    protocol::{
        ErrorBody, ErrorCode, Frame, Hello, HelloAnswer, Opcode, PREFACE_BYTES, PROTOCOL_VERSION, check_preface,
        decode_request, encode_answer,
    },
    record::check_name,
    server::{dispatch::room, refusal::over_limit, shared::Shared},
};

/// Agrees with the peer; gives the largest frame from now on.
pub(super) async fn run<R: AsyncRead + Unpin>(
    shared: &Shared,
    reader: &mut Reader<R>,
    outbox: &Outbox,
) -> Result<usize, End> {
    while !check_preface(reader.buffer_mut())? {
        reader.fill(outbox, MAX_HANDSHAKE_FRAME_BYTES).await?;
    }
    reader.buffer_mut().advance(PREFACE_BYTES);
    let frame = loop {
        match reader.decode()? {
            Some(frame) => break frame,
            None => reader.fill(outbox, MAX_HANDSHAKE_FRAME_BYTES).await?,
        }
    };
    let hello = read_hello(&frame)?;
    let max_frame_bytes = check(&hello, shared)?;
    let answer = answer(shared, max_frame_bytes);
    outbox.push(encode_answer(Opcode::Hello, frame.header.correlation_id, &answer, Vec::new()), Held::default());
    tracing::debug!(client = hello.client_name, max_frame_bytes, "connected");
    Ok(max_frame_bytes)
}

fn read_hello(frame: &Frame) -> Result<Hello, End> {
    let header = &frame.header;
    if header.is_answer || header.opcode != Opcode::Hello as u16 {
        let message = format!("opcode {:#06x} came before Hello", header.opcode);
        return Err(End::GoAway(ErrorBody::new(ErrorCode::HelloExpected, message, Vec::new())));
    }
    if header.correlation_id == 0 {
        return Err(End::GoAway(ErrorBody::new(ErrorCode::BadFrame, "correlation id of a request is 0", Vec::new())));
    }
    if !header.has_known_version() {
        let message = format!("version {} of Hello is not known", header.version);
        return Err(closing(ErrorBody::new(ErrorCode::UnknownMessageVersion, message, Vec::new())));
    }
    decode_request::<Hello>(frame).map(|(hello, _)| hello).map_err(|error| closing(error.into()))
}

/// The largest frame to grant.
fn check(hello: &Hello, shared: &Shared) -> Result<usize, End> {
    if !(hello.min_version..=hello.max_version).contains(&PROTOCOL_VERSION) {
        let message = format!("client speaks {} to {}, server speaks 1", hello.min_version, hello.max_version);
        return Err(End::GoAway(ErrorBody::new(ErrorCode::UnsupportedVersion, message, vec![PROTOCOL_VERSION.into()])));
    }
    check_name(&hello.client_name).map_err(|error| closing(error.into()))?;
    let given = hello.credentials.len();
    if given > MAX_CREDENTIALS_BYTES {
        return Err(closing(over_limit("credentials", given as u64, MAX_CREDENTIALS_BYTES as u64)));
    }
    if !shared.config.credentials.is_empty() && !is_equal(&hello.credentials, &shared.config.credentials) {
        let message = "credentials are not the ones that the server expects";
        return Err(End::GoAway(ErrorBody::new(ErrorCode::Unauthorized, message, Vec::new())));
    }
    match hello.max_frame_bytes as usize {
        0 => Ok(MAX_FRAME_BYTES),
        wanted if wanted < MIN_FRAME_BYTES => {
            let message = format!("frame size of {wanted} is under the minimum of {MIN_FRAME_BYTES}");
            let details = vec![wanted as u64, MIN_FRAME_BYTES as u64];
            Err(closing(ErrorBody::new(ErrorCode::LimitExceeded, message, details)))
        }
        wanted => Ok(wanted.min(MAX_FRAME_BYTES)),
    }
}

/// Before Hello is answered every refusal ends the connection.
fn closing(mut error: ErrorBody) -> End {
    error.facts |= ErrorBody::CLOSES_CONNECTION;
    End::GoAway(error)
}

/// Compares without telling by its time where the first difference is.
fn is_equal(given: &[u8], expected: &[u8]) -> bool {
    let differences = given.iter().zip(expected).fold(0, |all, (a, b)| all | (a ^ b));
    differences == 0 && given.len() == expected.len()
}

fn answer(shared: &Shared, max_frame_bytes: usize) -> HelloAnswer {
    let number = |bytes: usize| u32::try_from(bytes).expect("limits are under 4 GiB");
    HelloAnswer {
        server_id: *shared.broker.server_id().as_bytes(),
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        version: PROTOCOL_VERSION,
        features: 0,
        max_frame_bytes: number(max_frame_bytes),
        max_batch_bytes: number(MAX_BATCH_BYTES.min(room(max_frame_bytes).bytes)),
        max_record_bytes: number(MAX_RECORD_BYTES),
        max_in_flight_requests: number(shared.config.granted_requests),
        max_in_flight_bytes: number(MAX_IN_FLIGHT_BYTES),
        keepalive_ms: u32::try_from(KEEPALIVE.as_millis()).expect("seconds"),
    }
}

//! The wire protocol: bytes and rules (protocol.md). No redb, no clock, no I/O.
//!
//! ```text
//! client                                server
//!   preface: 8 bytes of magic, version  →
//!   Hello                               →
//!                                       ←  Hello answer: limits
//!   requests, many in flight            →
//!                                       ←  answers, in any order; Deliver; Ping; GoAway
//! ```
//!
//! Two layers of decoding decide how far an error reaches: a bad frame closes the connection, a bad body is the answer
//! to its request.

mod body;
mod codec;
mod error_code;
mod frame;
mod message;
mod messages;
mod opcode;
mod pairs;
mod preface;
mod refusal;

pub use body::{BodyError, decode_body, encode_body};
pub use codec::FrameCodec;
pub use error_code::{ErrorBody, ErrorCode};
pub use frame::{Frame, FrameDecoder, FrameError, FrameHeader, OutFrame, flags};
pub use message::{Answer, Request, decode_answer, decode_request, encode_answer, encode_error, encode_request};
pub use messages::*;
pub use opcode::Opcode;
pub use preface::{PREFACE_BYTES, PROTOCOL_VERSION, PrefaceError, check_preface, preface};

//! Control bodies: bincode 2, standard configuration, decoded strictly (protocol.md section 1.2).
//!
//! This is the only file that names the crate's functions, so it can be replaced without a byte changing.

use bincode::{
    Decode, Encode,
    config::{Configuration, Limit, LittleEndian, Varint, standard},
    enc::{EncoderImpl, write::Writer},
    error::EncodeError,
};

use crate::limits::MAX_CONTROL_BYTES;

/// The decoder claims the memory of what it decodes, which for lists is more than their bytes on the wire: 24 bytes for the
/// 2 of an [`AppendedPart`](super::AppendedPart), which is the most that any element grows.
const CLAIM_LIMIT: usize = 16 * MAX_CONTROL_BYTES;
const CONFIG: Configuration<LittleEndian, Varint, Limit<CLAIM_LIMIT>> = standard().with_limit::<CLAIM_LIMIT>();

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is not what the message's table says.
    #[error("body does not follow the layout of the message")]
    Layout,
    /// A number is not in its shortest form.
    #[error("body holds a number that is not in its shortest form")]
    NotCanonical,
    /// Bytes follow the last field, or batches are missing or too many.
    #[error("body has {actual} bytes after its control fields, {expected} were announced")]
    Length {
        /// What the lengths in the control fields add up to.
        expected: usize,
        /// What is there.
        actual: usize,
    },
    /// The control fields are over the limit.
    #[error("control fields exceed limit of {MAX_CONTROL_BYTES} bytes")]
    TooLarge,
}

/// The control fields of a message as bytes.
///
/// # Panics
/// Never for the messages of this protocol: encoding into memory cannot fail.
pub fn encode_body(message: &impl Encode) -> Vec<u8> {
    bincode::encode_to_vec(message, standard()).expect("encoding into memory cannot fail")
}

/// Decodes control fields from the front of `body`; also gives how many bytes they took.
///
/// # Errors
/// [`BodyError`] unless these are exactly the bytes that [`encode_body`] gives for the same message.
pub fn decode_body<M: Encode + Decode<()>>(body: &[u8]) -> Result<(M, usize), BodyError> {
    let (message, used) = bincode::decode_from_slice::<M, _>(body, CONFIG).map_err(|_| BodyError::Layout)?;
    if used > MAX_CONTROL_BYTES {
        return Err(BodyError::TooLarge);
    }
    // bincode reads 251,5,0 as 5; only 5 is allowed. Encoding again and comparing settles every such case at once.
    let mut same = EncoderImpl::new(SameBytes { rest: &body[..used] }, standard());
    message.encode(&mut same).map_err(|_| BodyError::NotCanonical)?;
    Ok((message, used))
}

/// A writer that only compares, so that the check costs no memory.
struct SameBytes<'a> {
    rest: &'a [u8],
}

impl Writer for SameBytes<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        match self.rest.strip_prefix(bytes) {
            Some(rest) => self.rest = rest,
            None => return Err(EncodeError::UnexpectedEnd),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    /// The limit on what is claimed was 8 times that of the body, so lists of small elements were refused as malformed
    /// long before they were too large: 22,000 parts of an AppendAnswer, which take 44,003 bytes.
    #[test]
    fn a_body_as_large_as_allowed_is_read_whatever_it_holds() {
        fn read<M: Encode + Decode<()>>(of_count: impl Fn(usize) -> M) -> Result<usize, BodyError> {
            let bytes_of = |count| encode_body(&of_count(count)).len();
            let of_one = bytes_of(1) - bytes_of(0);
            let body = encode_body(&of_count((MAX_CONTROL_BYTES - 16) / of_one));
            assert!((MAX_CONTROL_BYTES - 64..=MAX_CONTROL_BYTES).contains(&body.len()), "{} bytes", body.len());
            decode_body::<M>(&body).map(|(_, used)| body.len() - used)
        }
        assert_eq!(read(|count| AppendAnswer { parts: vec![AppendedPart::default(); count] }), Ok(0));
        assert_eq!(read(|count| Append { parts: vec![AppendPart::default(); count], ..Append::default() }), Ok(0));
        assert_eq!(read(|count| FetchAnswer { batch_bytes: vec![0; count], ..FetchAnswer::default() }), Ok(0));
        assert_eq!(read(|count| ErrorBody::new(ErrorCode::Internal, "", vec![0; count])), Ok(0));
        let topics = |count| ListTopicsAnswer { topics: vec![TopicInfo::default(); count], more: false };
        assert_eq!(read(topics), Ok(0));
        let consumers = |count| vec![ConsumerInfo::default(); count];
        assert_eq!(
            read(|count| DescribeTopicAnswer { consumers: consumers(count), ..DescribeTopicAnswer::default() }),
            Ok(0)
        );
    }

    #[test]
    fn longer_forms_of_a_number_are_refused() {
        assert_eq!(decode_body::<u64>(&[5]), Ok((5, 1)));
        assert_eq!(decode_body::<u64>(&[251, 251, 0]), Ok((251, 3)));
        assert_eq!(decode_body::<u64>(&[251, 5, 0]), Err(BodyError::NotCanonical));
        assert_eq!(decode_body::<Vec<u8>>(&[252, 1, 0, 0, 0, 9]), Err(BodyError::NotCanonical));
    }

    #[test]
    fn a_list_that_claims_to_be_long_reserves_nothing() {
        assert_eq!(decode_body::<Vec<u64>>(&[253, 255, 255, 255, 255, 255, 255, 255, 255]), Err(BodyError::Layout));
        assert_eq!(decode_body::<String>(&[252, 255, 255, 255, 127]), Err(BodyError::Layout));
    }
}

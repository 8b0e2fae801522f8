//! The 8 bytes that a client sends first, before any length is believed (protocol.md section 2.1).

/// Bytes of the preface.
pub const PREFACE_BYTES: usize = 8;
/// The only version of the protocol so far.
pub const PROTOCOL_VERSION: u16 = 1;

/// CR LF is in it so that a proxy that rewrites line ends is found out at once.
const MAGIC: [u8; 6] = *b"CNFY\r\n";

/// What is wrong with the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefaceError {
    /// Not this protocol: HTTP, TLS, or chance.
    #[error("the connection does not start with the connectify preface")]
    Magic,
    /// A version of the frame layout that this build does not speak.
    #[error("protocol version {0} is not supported, only version 1")]
    Version(u16),
}

/// What a client sends first.
#[must_use]
pub fn preface() -> [u8; PREFACE_BYTES] {
    let version = PROTOCOL_VERSION.to_le_bytes();
    let [a, b, c, d, e, f] = MAGIC;
    [a, b, c, d, e, f, version[0], version[1]]
}

/// Checks what a client sent first. `Ok(false)`: right so far, but not all there yet.
///
/// # Errors
/// [`PrefaceError`] as soon as the bytes cannot become a preface, so that a stray client is turned away at once.
pub fn check_preface(bytes: &[u8]) -> Result<bool, PrefaceError> {
    let magic = &bytes[..bytes.len().min(MAGIC.len())];
    if !MAGIC.starts_with(magic) {
        return Err(PrefaceError::Magic);
    }
    let Some(version) = bytes.get(MAGIC.len()..PREFACE_BYTES) else {
        return Ok(false);
    };
    match u16::from_le_bytes([version[0], version[1]]) {
        PROTOCOL_VERSION => Ok(true),
        other => Err(PrefaceError::Version(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_recognised_by_their_first_byte() {
        let preface = preface();
        for end in 0..PREFACE_BYTES {
            assert_eq!(check_preface(&preface[..end]), Ok(false));
        }
        assert_eq!(check_preface(&preface), Ok(true));
        for stranger in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"CNFX", b"CNFY\n\n"] {
            assert_eq!(check_preface(stranger), Err(PrefaceError::Magic));
        }
        assert_eq!(check_preface(b"CNFY\r\n\x02\x00"), Err(PrefaceError::Version(2)));
    }
}

//! What each byte is, for whoever wants to know.

/// Hears of all bytes, in order.
pub(crate) trait Notes {
    fn note(&mut self, bytes: &[u8], comment: impl FnOnce() -> String);
}

/// Nobody listens, and no comment is made.
impl Notes for () {
    fn note(&mut self, _: &[u8], _: impl FnOnce() -> String) {}
}

/// Bytes and what they are: a line of the document's hex blocks.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) bytes: Vec<u8>,
    pub(crate) comment: String,
}

impl Notes for Vec<Line> {
    fn note(&mut self, bytes: &[u8], comment: impl FnOnce() -> String) {
        self.push(Line { bytes: bytes.to_vec(), comment: comment() });
    }
}

/// The text form of a UUID.
pub(crate) fn uuid_text(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

//! The secret that client and server share, from a file.

use std::path::Path;

use anyhow::{Context, ensure};
use connectify::limits::MAX_CREDENTIALS_BYTES;

/// The content of the file, without the line end that an editor leaves at its end.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = std::fs::read(path).with_context(|| format!("cannot read credentials from {}", path.display()))?;
    trim_line_end(&mut bytes);
    ensure!(!bytes.is_empty(), "credentials in {} are empty", path.display());
    ensure!(
        bytes.len() <= MAX_CREDENTIALS_BYTES,
        "credentials of {} bytes in {} exceed limit of {MAX_CREDENTIALS_BYTES}",
        bytes.len(),
        path.display()
    );
    Ok(bytes)
}

fn trim_line_end(bytes: &mut Vec<u8>) {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_not_part_of_the_secret() {
        for (file, secret) in [("s3cret", "s3cret"), ("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), ("a\n\n", "a\n")]
        {
            let mut bytes = file.into();
            trim_line_end(&mut bytes);
            assert_eq!(bytes, secret.as_bytes());
        }
    }
}

//! Numbers of bytes as people write and read them: `512`, `64KiB`, `1GB`.

use std::{fmt, str::FromStr};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteSize(pub(crate) u64);

/// Largest first within a family. The decimal ones are read, never written.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let number: u64 = number.parse().map_err(|_| "want a number of bytes, such as 512, 64KiB or 1GB".to_owned())?;
        let factor = match unit {
            "" => 1,
            _ => unit_bytes(unit)
                .ok_or_else(|| format!("unknown unit {unit:?}; known are B KB MB GB TB KiB MiB GiB TiB"))?,
        };
        number.checked_mul(factor).map(Self).ok_or_else(|| format!("{text} is more than {} bytes", u64::MAX))
    }
}

fn unit_bytes(unit: &str) -> Option<u64> {
    UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|&(_, bytes)| bytes)
}

impl fmt::Display for ByteSize {
    /// In binary units: a whole number when that is exact, and can be read back, else one digit after the point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((name, unit)) = UNITS[..4].iter().find(|&&(_, unit)| self.0 >= unit) else {
            return write!(f, "{}B", self.0);
        };
        if self.0.is_multiple_of(*unit) {
            return write!(f, "{}{name}", self.0 / unit);
        }
        let tenths = u128::from(self.0) * 10 / u128::from(*unit);
        write!(f, "{}.{}{name}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("7B", 7),
            ("64KiB", 64 << 10),
            ("64kib", 64 << 10),
            ("3MiB", 3 << 20),
            ("1GiB", 1 << 30),
            ("2TiB", 2 << 40),
            ("1KB", 1_000),
            ("5MB", 5_000_000),
            ("10GB", 10_000_000_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in
            ["", "GiB", "-1", "1.5GiB", "1 GiB", "1K", "1GiBs", "18446744073709551616", "20000000TiB", "\u{0661}"]
        {
            text.parse::<ByteSize>().expect_err(text);
        }
    }

    #[test]
    fn sizes_are_written_short() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1536, "1.5KiB"),
            ((1 << 20) - 1, "1023.9KiB"),
            (512 << 20, "512MiB"),
            (u64::MAX, "16777215.9TiB"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
